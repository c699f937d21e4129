package histogram

import (
	"bytes"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/quietile/quietile/internal/wire"
)

// The numbers of the fields of HistogramTools.HistogramState, which proto/histogramtools.proto describes.
const (
	fieldBreaks = 1
	fieldCounts = 2
	fieldName   = 3
)

// MarshalProto returns the bytes of a HistogramTools.HistogramState, as R's as.Message and serialize write them: equal histograms give equal bytes. A name
// that is empty is left out, as HistogramTools does.
//
// The error wraps [ErrCounts], with the index, for a count that is not whole or more than 2³¹−1, which the message does not hold, and [ErrArgument] for a
// name that is not UTF-8. It costs O(n), 9 bytes for each break and 1 to 5 more for each count.
func (h *Histogram) MarshalProto() ([]byte, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	if !utf8.ValidString(h.Name) {
		return nil, fmt.Errorf("%w: name %q is not UTF-8", ErrArgument, h.Name)
	}
	out := make([]byte, 0, 14*len(h.Breaks)+len(h.Name)+8)
	for _, b := range h.Breaks {
		out = protowire.AppendFixed64(protowire.AppendTag(out, fieldBreaks, protowire.Fixed64Type), math.Float64bits(b))
	}
	for i, c := range h.Counts {
		if c != math.Trunc(c) {
			return nil, fmt.Errorf("%w: count %d, %v, is not whole, as HistogramState needs it", ErrCounts, i, c)
		}
		if c > math.MaxInt32 {
			return nil, fmt.Errorf("%w: count %d, %v, is more than the %d that HistogramState holds", ErrCounts, i, c, math.MaxInt32)
		}
		out = protowire.AppendVarint(protowire.AppendTag(out, fieldCounts, protowire.VarintType), uint64(c))
	}
	if h.Name != "" {
		out = protowire.AppendString(protowire.AppendTag(out, fieldName, protowire.BytesType), h.Name)
	}
	return out, nil
}

// UnmarshalProto returns the histogram of the bytes of a HistogramTools.HistogramState, which may come from anywhere: R's as.histogram. Values may be packed or not, and
// fields that the message does not have are passed over. In a name, which R may write in other encodings, what is not UTF-8 becomes U+FFFD.
//
// The error wraps [ErrEncoding] for damaged bytes, and says at which byte; otherwise it wraps [ErrBreaks] or [ErrCounts] and names the index. It costs
// O(n) and memory for at most 20 bytes for each byte.
func UnmarshalProto(data []byte) (*Histogram, error) {
	h, _, err := unmarshalProto(data)
	return h, err
}

// IsProto says whether data, which may be anything, are a HistogramTools.HistogramState: they begin with a break that is not packed, as the message has them, all of them are its fields,
// and the histogram is sound. It costs O(n).
func IsProto(data []byte) bool {
	if len(data) == 0 || data[0] != byte(protowire.EncodeTag(fieldBreaks, protowire.Fixed64Type)) {
		return false
	}
	_, foreign, err := unmarshalProto(data)
	return err == nil && !foreign
}

func unmarshalProto(data []byte) (h *Histogram, foreign bool, err error) {
	h = new(Histogram)
	var counts []uint64
	for f, err := range wire.Fields(data, ErrEncoding) {
		if err != nil {
			return nil, false, err
		}
		switch f.Number {
		case fieldBreaks:
			h.Breaks, err = f.AppendDoubles(h.Breaks)
		case fieldCounts:
			counts, err = f.AppendUints(counts)
		case fieldName:
			var name []byte
			name, err = f.Bytes()
			h.Name = string(bytes.ToValidUTF8(name, []byte("\uFFFD")))
		default:
			foreign = true
		}
		if err != nil {
			return nil, false, err
		}
	}
	if len(h.Breaks) != len(counts)+1 || len(counts) == 0 {
		return nil, false, fmt.Errorf("%w: %d breaks for %d counts", ErrEncoding, len(h.Breaks), len(counts))
	}
	h.Counts = make([]float64, len(counts))
	for i, n := range counts {
		c := int32(n) // as readers of an int32 drop the bits beyond
		if int64(n) != int64(c) {
			return nil, false, fmt.Errorf("%w: count %d is %d, which is no int32", ErrCounts, i, int64(n))
		}
		h.Counts[i] = float64(c)
	}
	if err := h.Validate(); err != nil {
		return nil, false, err
	}
	return h, foreign, nil
}
