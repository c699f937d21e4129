package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/histogram"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
	"github.com/quietile/quietile/sketch/histogramtools"
)

// The names of formats of histograms, beside formatJSON, formatCSV, formatProto and formatDump.
const (
	formatCompact = "compact"
	formatDTrace  = "dtrace"
	formatSketch  = "sketch"
)

// histFormat is a form of histograms in bytes.
type histFormat struct {
	name, about string
	// recognise says whether bytes that may be anything are of this format.
	recognise func(data []byte) bool
	decode    func(data []byte) ([]*histogram.Histogram, error)
	// encode is nil for a format that is only read. several says whether it holds more than one.
	encode  func(w io.Writer, hs []*histogram.Histogram) error
	several bool
}

// histFormats are all formats but that of dumps.
var histFormats = []histFormat{
	{formatProto, "a HistogramTools.HistogramState message of R; written", histogram.IsProto, decodeOne(histogram.UnmarshalProto), encodeOne((*histogram.Histogram).MarshalProto), false},
	{formatJSON, `{"name": …, "breaks": […], "counts": […]}, or an array of such; written`, isHistJSON, decodeHistJSON, encodeHistJSON, true},
	{formatCSV, "a table with the columns name, lower, upper, count; written", isHistCSV, decodeReader(histogram.ReadCSV), encodeHistCSV, true},
	{formatCompact, "the smallest, of this library; written", histogram.IsBinary, decodeOne(unmarshalCompact), encodeOne((*histogram.Histogram).MarshalBinary), false},
	{formatDTrace, "what quantize() and lquantize() of DTrace print", isDTrace, decodeReader(histogram.ParseDTrace), nil, true},
	{formatSketch, "a sketch on a grid, in a form that quietile sketch recognises", isAnySketch, decodeSketch, nil, false},
}

// histFormatHelp returns a line about each format.
func histFormatHelp() string {
	var b strings.Builder
	for _, f := range histFormats {
		fmt.Fprintf(&b, "  %-9s%s\n", f.name, f.about)
	}
	fmt.Fprintf(&b, "  %-9s%s\n", formatDump, "a dump file of sketches, whose keys become names")
	return b.String()
}

// histFormatNames returns the names of the formats that are read, or of those that are written.
func histFormatNames(written bool) []string {
	var names []string
	for _, f := range histFormats {
		if !written || f.encode != nil {
			names = append(names, f.name)
		}
	}
	if !written {
		names = append(names, formatDump)
	}
	return names
}

// findHistFormat returns a format by its name, nil if there is none.
func findHistFormat(name string) *histFormat {
	for i := range histFormats {
		if histFormats[i].name == name {
			return &histFormats[i]
		}
	}
	return nil
}

func decodeOne(decode func([]byte) (*histogram.Histogram, error)) func([]byte) ([]*histogram.Histogram, error) {
	return func(data []byte) ([]*histogram.Histogram, error) {
		h, err := decode(data)
		return []*histogram.Histogram{h}, err
	}
}

func decodeReader(decode func(io.Reader) ([]*histogram.Histogram, error)) func([]byte) ([]*histogram.Histogram, error) {
	return func(data []byte) ([]*histogram.Histogram, error) { return decode(bytes.NewReader(data)) }
}

func encodeOne(encode func(*histogram.Histogram) ([]byte, error)) func(io.Writer, []*histogram.Histogram) error {
	return func(w io.Writer, hs []*histogram.Histogram) error {
		data, err := encode(hs[0])
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}
}

func unmarshalCompact(data []byte) (*histogram.Histogram, error) {
	h := new(histogram.Histogram)
	return h, h.UnmarshalBinary(data)
}

// isHistJSON says whether data are an object or an array of objects with breaks. Where they are damaged JSON, it is enough that they name breaks, and no grid as a sketch has it.
func isHistJSON(data []byte) bool {
	type state struct{ Breaks json.RawMessage }
	var (
		one  state
		some []state
	)
	switch {
	case isJSON(data) && json.Valid(data):
		return json.Unmarshal(data, &one) == nil && one.Breaks != nil
	case isJSONArray(data) && json.Valid(data):
		return json.Unmarshal(data, &some) == nil && (len(some) == 0 || some[0].Breaks != nil)
	}
	return (isJSON(data) || isJSONArray(data)) && bytes.Contains(data, []byte(`"breaks"`)) && !bytes.Contains(data, []byte(`"grid"`))
}

// isJSONArray says whether data begin as a JSON array does.
func isJSONArray(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte{'['})
}

func decodeHistJSON(data []byte) ([]*histogram.Histogram, error) {
	var hs []*histogram.Histogram
	if isJSON(data) {
		h := new(histogram.Histogram)
		return append(hs, h), h.UnmarshalJSON(data)
	}
	var texts []json.RawMessage
	if err := json.Unmarshal(data, &texts); err != nil {
		return nil, fmt.Errorf("%w: %w", histogram.ErrEncoding, err)
	}
	for i, text := range texts {
		h := new(histogram.Histogram)
		if err := h.UnmarshalJSON(text); err != nil {
			return nil, fmt.Errorf("histogram %d: %w", i, err)
		}
		hs = append(hs, h)
	}
	if len(hs) == 0 {
		return nil, fmt.Errorf("%w: the array is empty", histogram.ErrEncoding)
	}
	return hs, nil
}

func encodeHistJSON(w io.Writer, hs []*histogram.Histogram) error {
	data, err := json.Marshal(oneOrAll(hs))
	if err == nil {
		_, err = w.Write(append(data, '\n'))
	}
	return err
}

// isHistCSV says whether the first line names the columns.
func isHistCSV(data []byte) bool {
	cells := strings.Split(strings.TrimPrefix(string(firstLine(data)), "\uFEFF"), ",")
	for i := range cells {
		cells[i] = strings.Trim(cells[i], ` "`)
	}
	return slices.Contains(cells, "lower") && slices.Contains(cells, "upper") && slices.Contains(cells, "count")
}

func encodeHistCSV(w io.Writer, hs []*histogram.Histogram) error { return histogram.WriteCSV(w, hs...) }

// isDTrace says whether a text has the line above a distribution.
func isDTrace(data []byte) bool {
	return bytes.IndexByte(data, 0) < 0 && bytes.Contains(data, []byte("- Distribution -"))
}

// isAnySketch says whether data are surely of one of the formats of sketches.
func isAnySketch(data []byte) bool {
	if histogram.IsProto(data) || isHistJSON(data) {
		return false
	}
	_, err := recognise(data)
	return err == nil
}

func decodeSketch(data []byte) ([]*histogram.Histogram, error) {
	format, err := recognise(data)
	if err != nil {
		return nil, err
	}
	s, err := format.decode(data)
	if err != nil {
		return nil, err
	}
	h, err := histogramOf(s)
	return []*histogram.Histogram{h}, err
}

// histogramOf returns the histogram of a sketch.
func histogramOf(s summary) (*histogram.Histogram, error) {
	b, ok := s.(*sketch.Binned)
	if !ok {
		return nil, usagef("a histogram is made of a sketch on a grid, and not of %s", describe(s))
	}
	return histogramtools.ToHistogram(b)
}

// recogniseHist returns the format of bytes. It is a usage error if that is not sure.
func recogniseHist(data []byte) (*histFormat, error) {
	var found []string
	for i := range histFormats {
		if histFormats[i].recognise(data) {
			found = append(found, histFormats[i].name)
		}
	}
	if len(found) == 1 {
		return findHistFormat(found[0]), nil
	}
	problem := "its format is not recognised"
	switch {
	case len(data) == 0:
		problem = "it is empty"
	case len(found) > 1:
		problem = "it may be " + strings.Join(found, " or ")
	case isHistTable(data):
		return nil, usagef("this is a table for people: write the histogram with --format csv or --format proto")
	case isNumber(data):
		return nil, usagef("these are numbers, not a histogram: quietile hist build makes one of them")
	}
	return nil, usagef("%s: name it with --from, one of %s", problem, strings.Join(histFormatNames(false), ", "))
}

// isHistTable says whether data begin as the tables of hist commands do.
func isHistTable(data []byte) bool {
	words := strings.Fields(string(firstLine(data)))
	return slices.Contains(words, "count") && (slices.Contains(words, "lower") && slices.Contains(words, "share") || slices.Contains(words, "KSDCC"))
}

// histInput says which histograms of the inputs a command reads.
type histInput struct {
	from  *choice
	names []string
}

// addHistInput adds --from and --name.
func addHistInput(cmd *cobra.Command) *histInput {
	in := &histInput{from: addChoice(cmd, "from", "format to read (default: recognised by its bytes)", "", histFormatNames(false)...)}
	cmd.Flags().StringArrayVar(&in.names, "name", nil, "take only the histograms with this name; may be repeated (default: all)")
	return in
}

// read returns the histograms of the inputs. With --name they are in the order of the names.
func (in *histInput) read(cmd *cobra.Command, names []string) ([]named, error) {
	names, err := inputNames(names)
	if err != nil {
		return nil, err
	}
	var all []named
	for _, name := range names {
		file, hs, err := in.readOne(cmd, name)
		if err != nil {
			return nil, err
		}
		for _, h := range hs {
			all = append(all, named{file, h})
		}
	}
	if len(in.names) == 0 {
		return all, nil
	}
	var picked []named
	for _, name := range in.names {
		before := len(picked)
		for _, n := range all {
			if n.histogram.Name == name {
				picked = append(picked, n)
			}
		}
		if len(picked) == before {
			return nil, usagef("no histogram has the name %q; %s", name, namesOf(all))
		}
	}
	return picked, nil
}

// namesOf lists the first names of histograms.
func namesOf(all []named) string {
	const most = 12
	var names []string
	for i, n := range all {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, fmt.Sprintf("%q", n.histogram.Name))
	}
	return "there are " + strings.Join(names, ", ")
}

// readOne returns the histograms of an input, and its name.
func (in *histInput) readOne(cmd *cobra.Command, name string) (string, []*histogram.Histogram, error) {
	file, err := openInput(cmd, name)
	if err != nil {
		return "", nil, err
	}
	defer file.Close()
	isDump, all, err := sniffDump(file)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", file.name, err)
	}
	if in.from.value == formatDump || in.from.value == "" && isDump {
		hs, err := histogramsOfDump(all)
		if err != nil {
			err = fmt.Errorf("%s: %w", file.name, err)
		}
		return file.name, hs, err
	}
	data, err := io.ReadAll(io.LimitReader(all, maxSketch+1))
	if err == nil && len(data) > maxSketch {
		err = fmt.Errorf("it is longer than %d bytes", maxSketch)
	}
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", file.name, err)
	}
	format := findHistFormat(in.from.value)
	if format == nil {
		if format, err = recogniseHist(data); err != nil {
			return "", nil, fmt.Errorf("%s: %w", file.name, err)
		}
	}
	hs, err := format.decode(data)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %s: %w", file.name, format.name, err)
	}
	return file.name, hs, nil
}

// histogramsOfDump returns a histogram of each sketch of a dump, once all of it is read.
func histogramsOfDump(r io.Reader) ([]*histogram.Histogram, error) {
	var hs []*histogram.Histogram
	records := dump.NewReader(r)
	for {
		record, err := records.Next()
		if errors.Is(err, io.EOF) {
			if len(hs) == 0 {
				return nil, usagef("the dump has no sketches")
			}
			return hs, nil
		}
		if err != nil {
			return nil, err
		}
		h, err := histogramtools.ToHistogram(record.Sketch)
		if err != nil {
			return nil, fmt.Errorf("sketch %s: %w", shorten([]byte(record.Key)), err)
		}
		h.Name = record.Key
		hs = append(hs, h)
	}
}

// histProblem makes a usage error of what is wrong with an argument, or with two histograms that do not fit.
func histProblem(err error) error {
	if errors.Is(err, histogram.ErrArgument) || errors.Is(err, histogram.ErrMismatch) {
		return asUsage(err)
	}
	return err
}

// eachHist returns what f makes of each histogram. An error names the histogram.
func eachHist[T any](all []named, f func(*histogram.Histogram) (T, error)) ([]T, error) {
	results := make([]T, len(all))
	for i, n := range all {
		var err error
		if results[i], err = f(n.histogram); err != nil {
			return nil, fmt.Errorf("%s: %w", n.label(), histProblem(err))
		}
	}
	return results, nil
}
