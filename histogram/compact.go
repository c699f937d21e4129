package histogram

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// The compact form is
//
//	'H', the version 1, a byte of forms: that of the counts in the low four bits, that of the breaks in the high four
//	the number of bytes of the name, and these
//	the number of buckets
//	the first break, and the n others in their form
//	the n counts in their form
//
// Numbers are unsigned varints, and float64 eight bytes, the lowest first. A series of integers v is a run of tokens: 2v+1 followed by r−2 is v, r ≥ 2 times, and 2v is v once.
// Forms of breaks:
//
//	0  steps of float64: each break is the one before plus so many float64, as a series
//	1  equal widths: the float64 w; break i is the first plus i·w, as float64 has it
//	2  each a float64
//
// Forms of counts:
//
//	0  each a series of integers below 2⁵³
//	1  each less the one before, zigzag, as a series
//	2  each a float64, as pairs of one and how often it follows, less 1

const (
	compactMagic   = 'H'
	compactVersion = 1

	breaksSteps  = 0
	breaksEqual  = 1
	breaksRaw    = 2
	countsWhole  = 0
	countsDeltas = 1
	countsRaw    = 2
)

// maxWhole is the first whole number that the compact form does not take for an integer.
const maxWhole = 1 << 53

// MarshalBinary returns the compact form: run lengths and differences of breaks and counts, whichever of its forms is shortest. Every float64 is kept exactly. Equal histograms give
// equal bytes. The error is that of [Histogram.Validate], or wraps [ErrArgument] for more than [MaxBuckets] buckets. It costs O(n).
func (h *Histogram) MarshalBinary() ([]byte, error) { return h.AppendBinary(nil) }

// AppendBinary appends to dst what [Histogram.MarshalBinary] returns, with the same errors.
func (h *Histogram) AppendBinary(dst []byte) ([]byte, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	if len(h.Counts) > MaxBuckets {
		return nil, fmt.Errorf("%w: %d buckets are more than %d", ErrArgument, len(h.Counts), MaxBuckets)
	}
	breaksForm, breaks := shortest(h.compactBreaks())
	countsForm, counts := shortest(h.compactCounts())
	dst = append(dst, compactMagic, compactVersion, breaksForm<<4|countsForm)
	dst = append(binary.AppendUvarint(dst, uint64(len(h.Name))), h.Name...)
	dst = binary.AppendUvarint(dst, uint64(len(h.Counts)))
	dst = appendFloat(dst, h.Breaks[0])
	return append(append(dst, breaks...), counts...), nil
}

// shortest returns the shortest of the forms that are not nil, and its number.
func shortest(forms [3][]byte) (byte, []byte) {
	best := -1
	for i, f := range forms {
		if f != nil && (best < 0 || len(f) < len(forms[best])) {
			best = i
		}
	}
	return byte(best), forms[best]
}

// compactBreaks returns the forms of the breaks after the first, nil for one that does not hold them.
func (h *Histogram) compactBreaks() [3][]byte {
	var forms [3][]byte
	n := len(h.Counts)
	var steps, raw []byte
	deltas := make([]uint64, n)
	for i := range n {
		deltas[i] = ordered(h.Breaks[i+1]) - ordered(h.Breaks[i])
		raw = appendFloat(raw, h.Breaks[i+1])
	}
	steps = appendSeries([]byte{}, deltas)
	if slices.IndexFunc(deltas, func(d uint64) bool { return d >= 1<<63 }) >= 0 {
		steps = nil // a token has no room for it
	}
	forms[breaksSteps], forms[breaksRaw] = steps, raw
	if width, ok := h.equalWidth(); ok {
		forms[breaksEqual] = appendFloat(nil, width)
	}
	return forms
}

// equalWidth returns the width w such that break i is exactly the first plus i·w, if there is one.
func (h *Histogram) equalWidth() (float64, bool) {
	n := len(h.Counts)
	for _, width := range []float64{h.Breaks[1] - h.Breaks[0], (h.Breaks[n] - h.Breaks[0]) / float64(n)} {
		equal := !math.IsInf(width, 0)
		for i := 1; equal && i <= n; i++ {
			equal = math.Float64bits(evenBreak(h.Breaks[0], width, i)) == math.Float64bits(h.Breaks[i])
		}
		if equal {
			return width, true
		}
	}
	return 0, false
}

// evenBreak returns break i of breaks of one width. The product is rounded before the sum, on every machine.
func evenBreak(first, width float64, i int) float64 { return first + float64(float64(i)*width) }

// compactCounts returns the forms of the counts, nil for one that does not hold them.
func (h *Histogram) compactCounts() [3][]byte {
	var forms [3][]byte
	whole := true
	for _, c := range h.Counts {
		whole = whole && c == math.Trunc(c) && c < maxWhole && !math.Signbit(c)
	}
	if whole {
		values, deltas := make([]uint64, len(h.Counts)), make([]uint64, len(h.Counts))
		before := int64(0)
		for i, c := range h.Counts {
			values[i] = uint64(c)
			d := int64(c) - before
			deltas[i] = uint64(d<<1) ^ uint64(d>>63)
			before = int64(c)
		}
		forms[countsWhole] = appendSeries([]byte{}, values)
		forms[countsDeltas] = appendSeries([]byte{}, deltas)
		return forms
	}
	for i := 0; i < len(h.Counts); {
		run := 1
		for i+run < len(h.Counts) && math.Float64bits(h.Counts[i+run]) == math.Float64bits(h.Counts[i]) {
			run++
		}
		forms[countsRaw] = binary.AppendUvarint(appendFloat(forms[countsRaw], h.Counts[i]), uint64(run-1))
		i += run
	}
	return forms
}

// appendSeries appends integers below 2⁶³ as tokens.
func appendSeries(dst []byte, values []uint64) []byte {
	for i := 0; i < len(values); {
		run := 1
		for i+run < len(values) && values[i+run] == values[i] {
			run++
		}
		if run == 1 {
			dst = binary.AppendUvarint(dst, values[i]<<1)
		} else {
			dst = binary.AppendUvarint(dst, values[i]<<1|1)
			dst = binary.AppendUvarint(dst, uint64(run-2))
		}
		i += run
	}
	return dst
}

func appendFloat(dst []byte, x float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(x))
}

// ordered returns an integer for each float64 that grows as it grows, by 1 from one to the next.
func ordered(x float64) uint64 {
	bits := math.Float64bits(x)
	if bits>>63 != 0 {
		return ^bits
	}
	return bits | 1<<63
}

// unordered undoes ordered.
func unordered(n uint64) float64 {
	if n>>63 != 0 {
		return math.Float64frombits(n &^ (1 << 63))
	}
	return math.Float64frombits(^n)
}

// IsBinary says whether data begin as [Histogram.MarshalBinary] writes them. No text does, since the second byte is a control character.
func IsBinary(data []byte) bool {
	return len(data) > 1 && data[0] == compactMagic && data[1] == compactVersion
}

// UnmarshalBinary reads what [Histogram.MarshalBinary] writes; the bytes may come from anywhere. The error wraps [ErrEncoding] and names the byte for those that are
// damaged or too short or go on after the end, and for more than [MaxBuckets] buckets. Otherwise it is that of [Histogram.Validate]. The histogram then stays as it was. It costs O(n) for n
// buckets, of which a few bytes may stand for up to MaxBuckets.
func (h *Histogram) UnmarshalBinary(data []byte) error {
	r := &compactReader{data: data}
	if !IsBinary(data) {
		return fmt.Errorf("%w: the bytes do not begin with %q and the version %d", ErrEncoding, compactMagic, compactVersion)
	}
	r.at = 2
	forms := r.byte()
	read := Histogram{Name: string(r.take(r.limited("name", uint64(len(data)))))}
	n := r.limited("number of buckets", MaxBuckets)
	first := r.float()
	if r.err != nil {
		return r.err
	}
	read.Breaks = append(make([]float64, 0, min(n+1, 1<<16)), first)
	switch form := forms >> 4; form {
	case breaksSteps:
		at := ordered(first)
		r.series(n, func(d uint64) {
			if at += d; at < d {
				r.fail("break %d is beyond float64", len(read.Breaks))
			}
			read.Breaks = append(read.Breaks, unordered(at))
		})
	case breaksEqual:
		width := r.float()
		for i := 1; i <= n && r.err == nil; i++ {
			read.Breaks = append(read.Breaks, evenBreak(first, width, i))
		}
	case breaksRaw:
		for i := 0; i < n && r.err == nil; i++ {
			read.Breaks = append(read.Breaks, r.float())
		}
	default:
		r.fail("the form of breaks %d is none", form)
	}
	read.Counts = make([]float64, 0, min(n, 1<<16))
	switch form := forms & 15; form {
	case countsWhole:
		r.series(n, func(v uint64) { read.Counts = append(read.Counts, float64(v)) })
	case countsDeltas:
		at := int64(0)
		r.series(n, func(v uint64) {
			at += int64(v>>1) ^ -int64(v&1)
			read.Counts = append(read.Counts, float64(at))
		})
	case countsRaw:
		for len(read.Counts) < n && r.err == nil {
			c := r.float()
			for run := r.limited("run of counts", uint64(n-len(read.Counts)-1)); run >= 0 && r.err == nil; run-- {
				read.Counts = append(read.Counts, c)
			}
		}
	default:
		r.fail("the form of counts %d is none", form)
	}
	if r.err == nil && r.at < len(data) {
		r.fail("the histogram ends before the bytes do")
	}
	if r.err != nil {
		return r.err
	}
	if err := read.Validate(); err != nil {
		return err
	}
	*h = read
	return nil
}

// compactReader reads bytes until the first error.
type compactReader struct {
	data []byte
	at   int
	err  error
}

func (r *compactReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: byte %d: %s", ErrEncoding, r.at, fmt.Sprintf(format, args...))
	}
}

// take returns the next n bytes, and nothing after an error.
func (r *compactReader) take(n int) []byte {
	if r.err == nil && n > len(r.data)-r.at {
		r.fail("%d bytes are to follow, and there are %d", n, len(r.data)-r.at)
	}
	if r.err != nil {
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at]
}

func (r *compactReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *compactReader) float() float64 {
	if b := r.take(8); b != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (r *compactReader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.data[r.at:])
	if n <= 0 {
		r.fail("a number is damaged or cut off")
		return 0
	}
	r.at += n
	return v
}

// limited reads a number that is at most so much.
func (r *compactReader) limited(name string, most uint64) int {
	v := r.uvarint()
	if v > most {
		r.fail("the %s, %d, is more than %d", name, v, most)
		return 0
	}
	return int(v)
}

// series calls visit with each of n integers.
func (r *compactReader) series(n int, visit func(uint64)) {
	for n > 0 && r.err == nil {
		token := r.uvarint()
		run := 1
		if token&1 != 0 {
			run = r.limited("run", uint64(n)) + 2
		}
		if run > n {
			r.fail("a run of %d goes beyond the last bucket", run)
		}
		for ; run > 0 && r.err == nil; run-- {
			visit(token >> 1)
			n--
		}
	}
}
