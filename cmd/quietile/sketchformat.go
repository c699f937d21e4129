package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/ddsketch"
	"github.com/quietile/quietile/sketch/dump"
	"github.com/quietile/quietile/sketch/histogramtools"
	"github.com/quietile/quietile/sketch/otlp"
	"github.com/quietile/quietile/sketch/prom"
)

// The names of formats, beside formatJSON and formatDump.
const (
	formatBinary = "binary"
	formatProto  = "proto"
	// formatStandard is the format of one sketch on a grid without a key, unless another is asked for.
	formatStandard = formatBinary
)

// summary is a sketch of any kind.
type summary interface {
	Count() uint64
	NaNCount() uint64
	Quantiles(qs []float64) ([]float64, error)
	QuantileBounds(q float64) (lower, upper float64, err error)
	CDF(xs []float64) ([]float64, error)
	RankBounds(x float64) (lower, upper float64, err error)
	String() string
}

// sketchFormat is a form of one sketch in bytes.
type sketchFormat struct {
	name string
	// about is said in the help.
	about string
	// recognise says whether bytes that may be anything are of this format. It is nil where that would be a guess.
	recognise func(data []byte) bool
	decode    func(data []byte) (summary, error)
	// encode returns a usage error for a kind of sketch that the format does not hold.
	encode func(s summary) ([]byte, error)
}

// sketchFormats are all formats but that of dumps, which hold many sketches.
var sketchFormats = []sketchFormat{
	{formatBinary, "the smallest, of this library", isBinary, decodeBinary, onGrid((*sketch.Binned).MarshalBinary)},
	{formatProto, "a quietile.v1.Sketch or quietile.v1.KLL message", isProto, decodeProto, encodeProto},
	{formatJSON, "the same message as JSON", isJSON, decodeJSON, encodeJSON},
	{formatDataSketches, "a KLL sketch of doubles of Apache DataSketches", beginsKLL, decodeKLL, ofKLL((*sketch.KLL).MarshalBinary)},
	{"otlp", "an ExponentialHistogramDataPoint of OpenTelemetry", nil, decodeBy(otlp.Unmarshal), onGrid(foreign(otlp.Marshal))},
	{"prometheus", "an io.prometheus.client.Histogram, native or classic", nil, decodeBy(prom.Unmarshal), onGrid(foreign(prom.Marshal))},
	{"ddsketch", "a DDSketch of DataDog", nil, decodeBy(ddsketch.Unmarshal), onGrid(foreign(ddsketch.Marshal))},
	{"histogramtools", "a HistogramState of R's HistogramTools", nil, decodeBy(histogramtools.Unmarshal), onGrid(foreign(histogramtools.Marshal))},
	{
		"histogramtools-right", "the same, with a bucket's upper break in it, as R has it by default", nil,
		decodeBy(histogramtools.UnmarshalRightClosed), onGrid(foreign(histogramtools.MarshalRightClosed)),
	},
}

// formatHelp returns a line about each format.
func formatHelp() string {
	var b strings.Builder
	line := func(name, about, more string) { fmt.Fprintf(&b, "  %-16s%s%s\n", name, about, more) }
	line(formatDump, "a dump file: any number of sketches with keys, and a checksum", "")
	for _, f := range sketchFormats {
		more := ""
		if f.recognise == nil {
			more = "; needs --from"
		}
		line(f.name, f.about, more)
	}
	return b.String()
}

// formatNames returns the names of all formats.
func formatNames() []string {
	names := []string{formatDump}
	for _, f := range sketchFormats {
		names = append(names, f.name)
	}
	return names
}

// findFormat returns a format by its name, which is one of formatNames and not that of dumps.
func findFormat(name string) *sketchFormat {
	for i := range sketchFormats {
		if sketchFormats[i].name == name {
			return &sketchFormats[i]
		}
	}
	return nil
}

// standardFormat returns the format of a sketch without a key, unless another is asked for.
func standardFormat(s summary) string {
	if _, ok := s.(kll); ok {
		return formatDataSketches
	}
	return formatStandard
}

// describe names the kind of a sketch and its parameters.
func describe(s summary) string {
	switch s := s.(type) {
	case *sketch.Binned:
		return "a sketch on the grid " + s.Grid().String()
	case kll:
		return fmt.Sprintf("a KLL sketch with k=%d", s.K())
	}
	return s.String()
}

// onGrid makes an encode of a function for sketches on grids.
func onGrid(encode func(*sketch.Binned) ([]byte, error)) func(summary) ([]byte, error) {
	return func(s summary) ([]byte, error) {
		if b, ok := s.(*sketch.Binned); ok {
			return encode(b)
		}
		return nil, usagef("this format holds sketches on grids, and not %s", describe(s))
	}
}

// foreign makes usage errors of what another library's format does not hold.
func foreign(encode func(*sketch.Binned) ([]byte, error)) func(*sketch.Binned) ([]byte, error) {
	return func(b *sketch.Binned) ([]byte, error) {
		data, err := encode(b)
		if errors.Is(err, sketch.ErrGrid) {
			return nil, usagef("%w, with convert --grid", err)
		}
		return data, asUsage(err)
	}
}

// decodeBy makes a decode of a function for sketches on grids.
func decodeBy(decode func([]byte) (*sketch.Binned, error)) func([]byte) (summary, error) {
	return func(data []byte) (summary, error) { return decode(data) }
}

// dumpable returns a usage error for a sketch that dumps do not hold.
func dumpable(s summary) error {
	_, err := onGrid(func(*sketch.Binned) ([]byte, error) { return nil, nil })(s)
	if err != nil {
		return fmt.Errorf("--to %s: %w", formatDump, err)
	}
	return nil
}

// isBinary says whether data begin as the binary form does, with a Q and a version. No text has a control character there, and no message begins like this: the Q
// would be the tag of a field 10.
func isBinary(data []byte) bool { return len(data) > 1 && data[0] == 'Q' && data[1] < '\t' }

func decodeBinary(data []byte) (summary, error) {
	b := new(sketch.Binned)
	return b, b.UnmarshalBinary(data)
}

// message returns the message of a sketch.
func message(s summary) proto.Message {
	if k, ok := s.(kll); ok {
		return k.Proto()
	}
	return s.(*sketch.Binned).Proto()
}

// fromMessage makes a sketch of data that unmarshal reads, of a KLL sketch or of one on a grid.
func fromMessage(data []byte, isKLL bool, unmarshal func([]byte, proto.Message) error) (summary, error) {
	if isKLL {
		m := new(quietilev1.KLL)
		if err := unmarshal(data, m); err != nil {
			return nil, fmt.Errorf("not a quietile.v1.KLL: %w", err)
		}
		k, err := sketch.KLLFromProto(m)
		return kll{k}, err
	}
	m := new(quietilev1.Sketch)
	if err := unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("not a quietile.v1.Sketch: %w", err)
	}
	return sketch.FromProto(m)
}

func encodeProto(s summary) ([]byte, error) {
	if b, ok := s.(*sketch.Binned); ok {
		return b.AppendProto(nil), nil
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(message(s))
}

func decodeProto(data []byte) (summary, error) {
	return fromMessage(data, beginsKLLMessage(data), proto.Unmarshal)
}

// isProto says whether data are exactly the bytes that are written of the sketch they hold, or a KLL sketch. A message of another type that reads as one would have
// to begin with a complete, canonical grid or with a KLL sketch: those of the other formats begin with numbers or with messages that have numbers in those fields.
func isProto(data []byte) bool {
	s, err := decodeProto(data)
	if err != nil {
		return false
	}
	if _, ok := s.(kll); ok {
		return true
	}
	again, err := encodeProto(s)
	return err == nil && bytes.Equal(data, again)
}

func encodeJSON(s summary) ([]byte, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message(s))
	if err != nil {
		return nil, err
	}
	// The spaces that protojson writes vary from one build of a program to the next.
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func decodeJSON(data []byte) (summary, error) {
	var k struct {
		DataSketches json.RawMessage `json:"datasketches"`
	}
	_ = json.Unmarshal(data, &k) // what is wrong with it the next says
	return fromMessage(data, k.DataSketches != nil, protojson.Unmarshal)
}

// isJSON says whether data begin as a JSON object does. No message of a format here has a brace for its first byte but for space: as a tag it would be that of a group.
func isJSON(data []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte{'{'}) }

// recognise returns the format of bytes. It is a usage error if that is not sure.
func recognise(data []byte) (*sketchFormat, error) {
	var found []*sketchFormat
	for i := range sketchFormats {
		if f := &sketchFormats[i]; f.recognise != nil && f.recognise(data) {
			found = append(found, f)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	problem := "its format is not recognised"
	switch {
	case len(data) == 0:
		problem = "it is empty"
	case len(found) > 1:
		problem = "its format may be any of several"
	case isRecord(data):
		return nil, usagef("these are lines of quietile map: make a dump of them with quietile reduce --format dump")
	case isNumber(data):
		return nil, usagef("these are numbers, not a sketch: quietile sketch build makes one of them")
	}
	return nil, usagef("%s: name it with --from, one of %s", problem, strings.Join(formatNames(), ", "))
}

// firstLine returns the first line of data.
func firstLine(data []byte) []byte {
	line, _, _ := bytes.Cut(data, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'})
}

// isRecord says whether data begin with a text record, as quietile map writes them.
func isRecord(data []byte) bool {
	_, _, err := parseRecord(firstLine(data))
	return err == nil
}

// isNumber says whether data begin with a number on a line.
func isNumber(data []byte) bool {
	_, ok := parseValue(firstLine(data))
	return ok
}

// maxSketch is the largest sketch that is read, in bytes; of a dump that of each record.
const maxSketch = dump.MaxRecord

// sketchInput says which sketches of the inputs a command reads.
type sketchInput struct {
	from *choice
	key  string
	// given says whether key counts.
	given func() bool
}

// addSketchInput adds --from and --key.
func addSketchInput(cmd *cobra.Command) *sketchInput {
	in := &sketchInput{from: addChoice(cmd, "from", "format to read (default: recognised by its bytes)", "", formatNames()...)}
	cmd.Flags().StringVar(&in.key, "key", "", "take only the sketches with this key (default: all)")
	in.given = func() bool { return cmd.Flags().Changed("key") }
	return in
}

// each calls visit with each sketch of the inputs. Those of a dump are held one at a time, and are sure only once each has returned without an error.
func (s *sketchInput) each(cmd *cobra.Command, names []string, visit func(labelled) error) error {
	names, err := inputNames(names)
	if err != nil {
		return err
	}
	matched := false
	pick := func(l labelled) error {
		if s.given() && l.key != s.key {
			return nil
		}
		matched = true
		return visit(l)
	}
	for _, name := range names {
		if err := s.eachOf(cmd, name, pick); err != nil {
			return err
		}
	}
	if s.given() && !matched {
		return usagef("no sketch has the key %s", shorten([]byte(s.key)))
	}
	return nil
}

// eachOf calls visit with each sketch of an input.
func (s *sketchInput) eachOf(cmd *cobra.Command, name string, visit func(labelled) error) error {
	in, err := openInput(cmd, name)
	if err != nil {
		return err
	}
	defer in.Close()
	isDump, all, err := sniffDump(in)
	if err != nil {
		return fmt.Errorf("%s: %w", in.name, err)
	}
	if s.from.value == formatDump || s.from.value == "" && isDump {
		return eachOfDump(in.name, all, visit)
	}
	data, err := io.ReadAll(io.LimitReader(all, maxSketch+1))
	if err == nil && len(data) > maxSketch {
		err = fmt.Errorf("it is longer than %d bytes, which no sketch is", maxSketch)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", in.name, err)
	}
	in.Close()
	format := findFormat(s.from.value)
	if format == nil {
		if format, err = recognise(data); err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
	}
	decoded, err := format.decode(data)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", in.name, format.name, err)
	}
	return visit(labelled{file: in.name, sketch: decoded})
}

// eachOfDump calls visit with each sketch of a dump.
func eachOfDump(name string, r io.Reader, visit func(labelled) error) error {
	records := dump.NewReader(r)
	for {
		record, err := records.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := visit(labelled{name, record.Key, record.Header, record.Sketch}); err != nil {
			return err
		}
	}
}

// writeSegments writes sketches as a dump: a segment for each run of sketches with the same header.
func writeSegments(w io.Writer, producer string, all []labelled) error {
	var (
		segment *dump.Writer
		header  *quietilev1.DumpHeader
	)
	for i, l := range all {
		if i == 0 || l.header != header {
			if segment != nil {
				if err := segment.Close(); err != nil {
					return err
				}
			}
			header = l.header
			var err error
			if segment, err = newSegment(w, producer, header); err != nil {
				return err
			}
		}
		b, ok := l.sketch.(*sketch.Binned)
		if !ok {
			return dumpable(l.sketch)
		}
		if err := segment.Write(l.key, b); err != nil {
			return err
		}
	}
	if segment == nil {
		var err error
		if segment, err = newSegment(w, producer, nil); err != nil {
			return err
		}
	}
	return segment.Close()
}

// newSegment begins a segment for the metric and the window of another, if any.
func newSegment(w io.Writer, producer string, header *quietilev1.DumpHeader) (*dump.Writer, error) {
	h := proto.CloneOf(header)
	if h == nil {
		h = new(quietilev1.DumpHeader)
	}
	h.Producer = producer
	return dump.NewWriter(w, h)
}
