package histogram

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// jsonState is a histogram as JSON. The names of its fields do not change.
type jsonState struct {
	Name   string       `json:"name"`
	Breaks []jsonNumber `json:"breaks"`
	Counts []jsonNumber `json:"counts"`
}

// jsonNumber is a float64 in JSON, where infinity is a text as in the JSON form of protobuf.
type jsonNumber float64

const (
	jsonInfinity         = `"Infinity"`
	jsonNegativeInfinity = `"-Infinity"`
)

// MarshalJSON writes a number, or a text for an infinite one.
func (x jsonNumber) MarshalJSON() ([]byte, error) {
	switch {
	case math.IsInf(float64(x), 1):
		return []byte(jsonInfinity), nil
	case math.IsInf(float64(x), -1):
		return []byte(jsonNegativeInfinity), nil
	}
	return json.Marshal(float64(x))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (x *jsonNumber) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case jsonInfinity:
		*x = jsonNumber(math.Inf(1))
		return nil
	case jsonNegativeInfinity:
		*x = jsonNumber(math.Inf(-1))
		return nil
	case "null":
		return errors.New("null is no number")
	}
	return json.Unmarshal(data, (*float64)(x))
}

// MarshalJSON returns the histogram as {"name": "…", "breaks": […], "counts": […]}. Numbers are the shortest that read back as the same float64; infinite breaks are
// the texts "-Infinity" and "Infinity". The error is that of [Histogram.Validate]. It costs O(n).
func (h *Histogram) MarshalJSON() ([]byte, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	s := jsonState{h.Name, make([]jsonNumber, len(h.Breaks)), make([]jsonNumber, len(h.Counts))}
	for i, b := range h.Breaks {
		s.Breaks[i] = jsonNumber(b)
	}
	for i, c := range h.Counts {
		s.Counts[i] = jsonNumber(c)
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads what [Histogram.MarshalJSON] writes. A name may be missing, and other fields are passed over. The error wraps [ErrEncoding] for what is no JSON of
// this form, otherwise it is that of [Histogram.Validate]; the histogram then stays as it was. It costs O(n).
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var s struct {
		Name   string            `json:"name"`
		Breaks []json.RawMessage `json:"breaks"`
		Counts []json.RawMessage `json:"counts"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	read := Histogram{Name: s.Name}
	for _, field := range []struct {
		name string
		from []json.RawMessage
		to   *[]float64
	}{{"break", s.Breaks, &read.Breaks}, {"count", s.Counts, &read.Counts}} {
		numbers := make([]float64, len(field.from))
		for i, text := range field.from {
			var x jsonNumber
			if err := x.UnmarshalJSON(bytes.TrimSpace(text)); err != nil {
				return fmt.Errorf("%w: %s %d, %s, is no number", ErrEncoding, field.name, i, quote(string(text)))
			}
			numbers[i] = float64(x)
		}
		*field.to = numbers
	}
	if err := read.Validate(); err != nil {
		return err
	}
	*h = read
	return nil
}
