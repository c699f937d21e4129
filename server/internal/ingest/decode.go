package ingest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// sample is one decoded sample. Its value may still be NaN and its metric unknown.
type sample struct {
	value  float64
	time   int64 // event time, nanoseconds since the Unix epoch
	unit   string
	weight uint64
}

// maxWeight bounds a sample's weight, so that no sum of counts overflows before 2^43 samples.
const maxWeight = 1 << 20

// decodeSample reads the payload of a single sample: a protobuf Sample, whose first byte is the tag
// of its value; a JSON object {"value", "time", "unit", "weight"}; or a bare number. Without a time
// of its own the sample has the stream's.
func decodeSample(data []byte, streamTime int64) (sample, error) {
	s := sample{time: streamTime, weight: 1}
	if len(data) == 0 {
		return s, errors.New("the payload is empty")
	}
	if _, err := strconv.ParseFloat(string(bytes.TrimSpace(data)), 64); data[0] == valueTag && err != nil {
		m := new(quietilev1.Sample)
		if err := proto.Unmarshal(data, m); err != nil {
			return s, errors.New("the payload is not a protobuf Sample")
		}
		s.value, s.unit = m.GetValue(), m.GetUnit()
		if m.TimeUnixNano != nil {
			s.time = m.GetTimeUnixNano()
		}
		if m.Weight != nil {
			s.weight = m.GetWeight()
		}
		return s, checkWeight(s.weight)
	}
	text := bytes.TrimSpace(data)
	if len(text) > 0 && text[0] == '{' {
		return decodeJSON(text, s)
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return s, errors.New("the payload is not a number, a JSON object or a protobuf Sample")
	}
	s.value = v
	return s, nil
}

// valueTag is the first byte of a protobuf Sample: field 1, eight bytes. It is a tab, too, with which a
// number may be indented.
const valueTag = 1<<3 | byte(protowire.Fixed64Type)

func decodeJSON(text []byte, s sample) (sample, error) {
	var m struct {
		Value  *json.Number `json:"value"`
		Time   *string      `json:"time"`
		Unit   string       `json:"unit"`
		Weight *uint64      `json:"weight"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return s, fmt.Errorf("the payload is not a JSON sample: %w", err)
	}
	if d.More() {
		return s, errors.New("the payload has more than one JSON value")
	}
	if m.Value == nil {
		return s, errors.New(`the JSON sample has no "value"`)
	}
	v, err := strconv.ParseFloat(m.Value.String(), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return s, fmt.Errorf(`the JSON sample's "value" is %q`, m.Value.String())
	}
	s.value, s.unit = v, m.Unit
	if m.Time != nil {
		t, err := time.Parse(time.RFC3339Nano, *m.Time)
		if err != nil {
			return s, fmt.Errorf(`the JSON sample's "time" is %q, not a time such as 2026-01-02T15:04:05Z`, *m.Time)
		}
		if s.time, err = nanos(t); err != nil {
			return s, err
		}
	}
	if m.Weight != nil {
		s.weight = *m.Weight
	}
	return s, checkWeight(s.weight)
}

// nanos converts a time that a nanosecond count can hold.
func nanos(t time.Time) (int64, error) {
	if y := t.Year(); y < 1678 || y > 2261 {
		return 0, fmt.Errorf("the year %d is outside 1678 to 2261", y)
	}
	return t.UnixNano(), nil
}

func checkWeight(w uint64) error {
	if w == 0 || w > maxWeight {
		return fmt.Errorf("the weight %d is outside 1 to %d", w, uint64(maxWeight))
	}
	return nil
}

// column is a decoded SampleColumn. Its slices are reused from batch to batch.
type column struct {
	metric  []byte
	values  []float64
	base    int64
	hasBase bool
	deltas  []int64
	units   []string
	index   []uint32
	weights []uint64
}

func (c *column) reset() {
	c.metric, c.base, c.hasBase = nil, 0, false
	c.values, c.deltas, c.units = c.values[:0], c.deltas[:0], c.units[:0]
	c.index, c.weights = c.index[:0], c.weights[:0]
}

// batch decodes SampleBatch messages without allocating once it is warm.
type batch struct {
	columns []column
	used    int
}

// errFraming is what a batch that is not a SampleBatch is rejected with: nothing of it is counted.
var errFraming = errors.New("the payload is not a protobuf SampleBatch")

// decode reads a batch. The lengths of each column's fields fit together when it returns nil.
func (b *batch) decode(data []byte) error {
	b.used = 0
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errFraming
		}
		data = data[n:]
		if num != 1 || typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, data); n < 0 {
				return errFraming
			}
			data = data[n:]
			continue
		}
		body, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return errFraming
		}
		data = data[n:]
		if b.used == len(b.columns) {
			b.columns = append(b.columns, column{})
		}
		c := &b.columns[b.used]
		c.reset()
		if err := c.decode(body); err != nil {
			return err
		}
		b.used++
	}
	return nil
}

func (c *column) decode(data []byte) error {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errFraming
		}
		data = data[n:]
		size := protowire.ConsumeFieldValue(num, typ, data)
		if size < 0 {
			return errFraming
		}
		field := data[:size]
		data = data[size:]
		ok := true
		switch {
		case num == 1 && typ == protowire.BytesType:
			c.metric, _ = protowire.ConsumeBytes(field)
		case num == 2 && typ == protowire.BytesType:
			packed, _ := protowire.ConsumeBytes(field)
			ok = len(packed)%8 == 0
			for ; len(packed) >= 8; packed = packed[8:] {
				c.values = append(c.values, math.Float64frombits(binary.LittleEndian.Uint64(packed)))
			}
		case num == 2 && typ == protowire.Fixed64Type:
			c.values = append(c.values, math.Float64frombits(binary.LittleEndian.Uint64(field)))
		case num == 3 && typ == protowire.Fixed64Type:
			c.base, c.hasBase = int64(binary.LittleEndian.Uint64(field)), true
		case num == 4:
			ok = eachVarint(typ, field, func(v uint64) { c.deltas = append(c.deltas, protowire.DecodeZigZag(v)) })
		case num == 5 && typ == protowire.BytesType:
			unit, _ := protowire.ConsumeBytes(field)
			c.units = append(c.units, string(unit))
		case num == 6:
			ok = eachVarint(typ, field, func(v uint64) { c.index = append(c.index, uint32(min(v, math.MaxUint32))) })
		case num == 7:
			ok = eachVarint(typ, field, func(v uint64) { c.weights = append(c.weights, v) })
		}
		if !ok {
			return errFraming
		}
	}
	// proto3 strings are UTF-8; a dead letter could not hold anything else. The metric is not a unit's doing, but the units are.
	if !utf8.Valid(c.metric) {
		return errFraming
	}
	rows := len(c.values)
	fits := func(n int) bool { return n == 0 || n == rows }
	switch {
	case !fits(len(c.deltas)), !fits(len(c.index)), !fits(len(c.weights)),
		len(c.deltas) > 0 && !c.hasBase,
		len(c.index) == 0 && len(c.units) > 1,
		len(c.index) > 0 && len(c.units) == 0:
		return errFraming
	}
	for _, i := range c.index {
		if int(i) >= len(c.units) {
			return errFraming
		}
	}
	return nil
}

// eachVarint calls f with each element of a repeated varint field, packed or not.
func eachVarint(typ protowire.Type, field []byte, f func(uint64)) bool {
	if typ == protowire.BytesType {
		field, _ = protowire.ConsumeBytes(field)
	} else if typ != protowire.VarintType {
		return false
	}
	for len(field) > 0 {
		v, n := protowire.ConsumeVarint(field)
		if n < 0 {
			return false
		}
		f(v)
		field = field[n:]
	}
	return true
}

// row returns row i with its time; t is the time of row i−1, or the base for row 0.
func (c *column) row(i int, t int64) sample {
	s := sample{value: c.values[i], time: t, weight: 1}
	if len(c.deltas) > 0 {
		s.time += c.deltas[i]
	}
	switch {
	case len(c.index) > 0:
		s.unit = c.units[c.index[i]]
	case len(c.units) == 1:
		s.unit = c.units[0]
	}
	if len(c.weights) > 0 {
		s.weight = c.weights[i]
	}
	return s
}
