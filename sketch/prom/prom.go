// Package prom converts sketches to and from the histograms that Prometheus' clients expose.
//
// A native histogram of schema s numbers its buckets like an exponential grid of scale s, plus one. A classic histogram
// has buckets that hold their upper boundary, le; a sketch's hold their lower one, which is the float64 after le. So
// counts go over as they are:
//
//   - Native, schemas −4 to 8, the grids of [sketch.NewExponential]: exactly, both ways, infinities and NaN included. A
//     zero bucket with a threshold is read as zero; thresholds are written as 0.
//   - Native, schemas 9 to 52: two buckets become one for each step of schema, as if the values had been counted at 8.
//   - [sketch.NewBoundedExponential]: written as native and exactly, except that what is outside of its limits is in the
//     buckets next to the outermost ones. Reading gives an unbounded grid.
//   - Classic, [sketch.NewLinear] and [sketch.NewExplicit]: exactly, both ways. NaN is counted in the last bucket, as
//     Prometheus' clients do, and stays there. A linear grid comes back as an explicit one with the same boundaries.
//
// The sum is not read; it is written as NaN, which is what a sum that includes a NaN is. Times and exemplars are not
// read, and are not written.
package prom

import (
	"fmt"
	"math"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/internal/wire"
	"github.com/quietile/quietile/sketch"
)

const (
	coarsestSchema = -4
	finestSchema   = 8
	// maxSchema is the last of those that Prometheus keeps for powers of two.
	maxSchema = 52
	// customSchema is that of native histograms with boundaries of their own.
	customSchema = -53
)

// FromHistogram returns the counts of a histogram, which may come from anywhere. If it has native buckets, the sketch is on
// the unbounded exponential grid of its schema, and classic buckets beside them are passed over; otherwise it is on
// the explicit grid whose boundaries are the float64 after each finite le.
//
// Counts of float histograms are read if they are whole numbers. The NaN count of a native histogram is its sample
// count less that of its buckets. What is in a zero bucket is counted as zero, and is at most the zero threshold from it.
//
// It returns an error that wraps [sketch.ErrGrid] for a schema outside of −4 to 52, [sketch.ErrOverflow] for a total
// beyond 2^63−1 and [sketch.ErrEncoding] for any other contradiction; each names the field and the value.
// Native histograms with boundaries of their own, schema −53, are exposed as classic ones: the message has no field for their
// boundaries. Time and memory are in proportion to the number of buckets.
func FromHistogram(h *dto.Histogram) (*sketch.Binned, error) {
	switch {
	case h == nil:
		return nil, fmt.Errorf("%w: the histogram is missing", sketch.ErrEncoding)
	case isNative(h):
		return fromNative(h)
	case len(h.GetBucket()) > 0:
		return fromClassic(h)
	case h.GetSchema() == customSchema:
		return nil, fmt.Errorf("exponential %w: schema %d has boundaries of its own, which the message does not hold", sketch.ErrGrid, customSchema)
	}
	return nil, fmt.Errorf("%w: the histogram has neither native nor classic buckets", sketch.ErrEncoding)
}

// isNative says whether a histogram has native buckets, by the rule of Prometheus' scraper: an empty one has a span
// of no buckets.
func isNative(h *dto.Histogram) bool {
	return h.GetSchema() != customSchema && (h.GetZeroThreshold() != 0 || h.GetZeroCount() > 0 || h.GetZeroCountFloat() != 0 ||
		len(h.GetPositiveSpan()) > 0 || len(h.GetNegativeSpan()) > 0)
}

func fromNative(h *dto.Histogram) (*sketch.Binned, error) {
	schema := int(h.GetSchema())
	if schema < coarsestSchema || schema > maxSchema {
		return nil, fmt.Errorf("exponential %w: schema %d is outside %d to %d", sketch.ErrGrid, schema, coarsestSchema, maxSchema)
	}
	g, err := sketch.NewExponential(min(schema, finestSchema))
	if err != nil {
		return nil, err
	}
	if t := h.GetZeroThreshold(); !(t >= 0) || math.IsInf(t, 1) {
		return nil, fmt.Errorf("%w: zero_threshold is %v", sketch.ErrEncoding, t)
	}
	zero, err := count("zero_count", h.GetZeroCount(), h.GetZeroCountFloat())
	if err != nil {
		return nil, err
	}
	b := sketch.NewBinned(g)
	if err := b.AddN(0, zero); err != nil {
		return nil, fmt.Errorf("zero_count %d: %w", zero, err)
	}
	if err := addSpans(b, schema, 1, h.GetPositiveSpan(), h.GetPositiveDelta(), h.GetPositiveCount()); err != nil {
		return nil, fmt.Errorf("positive %w", err)
	}
	if err := addSpans(b, schema, -1, h.GetNegativeSpan(), h.GetNegativeDelta(), h.GetNegativeCount()); err != nil {
		return nil, fmt.Errorf("negative %w", err)
	}
	total, err := count("sample_count", h.GetSampleCount(), h.GetSampleCountFloat())
	if err != nil {
		return nil, err
	}
	if total < b.Count() {
		return nil, fmt.Errorf("%w: sample_count is %d, but the buckets have %d", sketch.ErrEncoding, total, b.Count())
	}
	nan := total - b.Count()
	if nan > 0 && h.SampleSum != nil && !math.IsNaN(h.GetSampleSum()) {
		return nil, fmt.Errorf("%w: sample_count is %d and the buckets have %d, but sample_sum %v includes no NaN",
			sketch.ErrEncoding, total, b.Count(), h.GetSampleSum())
	}
	if err := b.AddNaN(nan); err != nil {
		return nil, fmt.Errorf("sample_count %d: %w", total, err)
	}
	return b, nil
}

// count returns a count that a message has as an integer or, if that is not zero, as a float64.
func count(name string, n uint64, float float64) (uint64, error) {
	if float == 0 {
		return n, nil
	}
	if !(float > 0) || float != math.Trunc(float) || float >= 1<<63 {
		return 0, fmt.Errorf("%w: %s is %v, where only whole numbers from 0 to below 2^63 are counts", sketch.ErrEncoding, name, float)
	}
	return uint64(float), nil
}

// addSpans counts the native buckets of one sign.
func addSpans(b *sketch.Binned, schema, sign int, spans []*dto.BucketSpan, deltas []int64, floats []float64) error {
	if len(deltas) > 0 && len(floats) > 0 {
		return fmt.Errorf("buckets: %w: there are %d deltas and %d counts as well", sketch.ErrEncoding, len(deltas), len(floats))
	}
	filled := len(deltas) + len(floats)
	g, at := b.Grid(), 0
	var next, n int64 // the bucket after those seen, and its count
	for i, span := range spans {
		if i > 0 && span.GetOffset() < 0 {
			return fmt.Errorf("span %d: %w: its offset is %d", i, sketch.ErrEncoding, span.GetOffset())
		}
		next += int64(span.GetOffset())
		if int64(span.GetLength()) > int64(filled-at) {
			return fmt.Errorf("span %d: %w: its length is %d, but there are %d counts more", i, sketch.ErrEncoding, span.GetLength(), filled-at)
		}
		for range span.GetLength() {
			var c uint64
			if len(floats) > 0 {
				var err error
				if c, err = count("the count", 0, floats[at]); err != nil {
					return fmt.Errorf("bucket %d: %w", next, err)
				}
			} else {
				before := n
				if n += deltas[at]; n < 0 { // beyond 2^63−1 too
					return fmt.Errorf("bucket %d: %w: its count is %d and a delta of %d", next, sketch.ErrEncoding, before, deltas[at])
				}
				c = uint64(n)
			}
			at++
			if c > 0 {
				k := (next - 1) >> max(schema-finestSchema, 0)
				place, ok := -1, int64(int(k)) == k
				if ok {
					place, ok = g.PowerIndex(sign, int(k))
				}
				if !ok {
					return fmt.Errorf("bucket %d: %w: with the count %d of schema %d it holds no float64", next, sketch.ErrEncoding, c, schema)
				}
				if err := b.AddBucket(place, c); err != nil {
					return fmt.Errorf("bucket %d with the count %d: %w", next, c, err)
				}
			}
			next++
		}
	}
	if at < filled {
		return fmt.Errorf("buckets: %w: there are %d counts for spans of %d", sketch.ErrEncoding, filled, at)
	}
	return nil
}

func fromClassic(h *dto.Histogram) (*sketch.Binned, error) {
	breaks := make([]float64, 0, len(h.GetBucket()))
	counts := make([]uint64, 0, len(h.GetBucket())+1)
	var before uint64
	last := math.Inf(-1)
	for i, bucket := range h.GetBucket() {
		le := bucket.GetUpperBound()
		if math.IsNaN(le) || i > 0 && !(le > last) {
			return nil, fmt.Errorf("bucket %d: %w: le is %v after %v", i, sketch.ErrEncoding, le, last)
		}
		last = le
		n, err := count("the cumulative count", bucket.GetCumulativeCount(), bucket.GetCumulativeCountFloat())
		if err != nil {
			return nil, fmt.Errorf("bucket %d, le %v: %w", i, le, err)
		}
		if n < before {
			return nil, fmt.Errorf("bucket %d, le %v: %w: its cumulative count is %d after %d", i, le, sketch.ErrEncoding, n, before)
		}
		after := math.Nextafter(le, math.Inf(1))
		if math.IsInf(after, 1) { // the last bucket of the grid takes it
			continue
		}
		breaks = append(breaks, after)
		counts = append(counts, n-before)
		before = n
	}
	total, err := count("sample_count", h.GetSampleCount(), h.GetSampleCountFloat())
	if err != nil {
		return nil, err
	}
	if end := h.GetBucket()[len(h.GetBucket())-1]; math.IsInf(end.GetUpperBound(), 1) {
		n, err := count("the cumulative count", end.GetCumulativeCount(), end.GetCumulativeCountFloat())
		if err != nil {
			return nil, err
		}
		if n != total {
			return nil, fmt.Errorf("%w: sample_count is %d, but the bucket +Inf has %d", sketch.ErrEncoding, total, n)
		}
	}
	if total < before {
		return nil, fmt.Errorf("%w: sample_count is %d, but the buckets have %d", sketch.ErrEncoding, total, before)
	}
	g, err := sketch.NewExplicit(breaks)
	if err != nil {
		return nil, err
	}
	b := sketch.NewBinned(g)
	for i, n := range append(counts, total-before) {
		if err := b.AddBucket(i, n); err != nil {
			return nil, fmt.Errorf("bucket %d with the count %d: %w", i, n, err)
		}
	}
	return b, nil
}

// Histogram returns the counts of a sketch as a histogram: native of the schema that is the scale of an exponential
// grid, otherwise classic with a bucket for each boundary, le being the float64 before it, and one to +Inf. The zero threshold is 0
// and the sum is NaN, as a sketch does not know it. Every grid has a form. It returns [sketch.ErrOverflow] if the sketch has
// more than 2^63−1 values.
func Histogram(b *sketch.Binned) (*dto.Histogram, error) {
	if b.Count() > math.MaxInt64 || b.NaNCount() > math.MaxInt64 {
		return nil, sketch.ErrOverflow
	}
	h := &dto.Histogram{SampleCount: proto.Uint64(b.Count() + b.NaNCount()), SampleSum: proto.Float64(math.NaN())}
	schema, exponential := b.Grid().Scale()
	if !exponential {
		h.Bucket = classic(b)
		return h, nil
	}
	h.Schema = proto.Int32(int32(schema))
	h.ZeroThreshold = proto.Float64(0)
	h.ZeroCount = proto.Uint64(0)
	var negative []bucket
	var positive, mirrored spans
	for i, n := range b.All() {
		switch sign, k := b.Grid().Power(i); sign {
		case 0:
			h.ZeroCount = proto.Uint64(n)
		case 1:
			positive.add(k+1, n)
		default:
			negative = append(negative, bucket{k + 1, n})
		}
	}
	for i := len(negative) - 1; i >= 0; i-- {
		mirrored.add(negative[i].at, negative[i].n)
	}
	h.PositiveSpan, h.PositiveDelta = positive.spans, positive.deltas
	h.NegativeSpan, h.NegativeDelta = mirrored.spans, mirrored.deltas
	if h.GetZeroCount() == 0 && len(h.PositiveSpan) == 0 && len(h.NegativeSpan) == 0 {
		h.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
	}
	return h, nil
}

// bucket is a native bucket.
type bucket struct {
	at int
	n  uint64
}

// spans is the native buckets of one sign.
type spans struct {
	spans  []*dto.BucketSpan
	deltas []int64
	next   int
	last   int64
}

// maxGap is how many empty buckets Prometheus' client writes rather than begin a span.
const maxGap = 2

// add adds a bucket after all others.
func (s *spans) add(at int, n uint64) {
	if gap := at - s.next; len(s.spans) == 0 || gap > maxGap {
		s.spans = append(s.spans, &dto.BucketSpan{Offset: proto.Int32(int32(gap)), Length: proto.Uint32(0)})
	} else {
		for range gap {
			s.put(0)
		}
	}
	s.put(int64(n))
	s.next = at + 1
}

func (s *spans) put(n int64) {
	*s.spans[len(s.spans)-1].Length++
	s.deltas = append(s.deltas, n-s.last)
	s.last = n
}

func classic(b *sketch.Binned) []*dto.Bucket {
	var buckets []*dto.Bucket
	total := uint64(0)
	for i, at := range b.Grid().Breaks() {
		total += b.Bucket(i)
		buckets = append(buckets, &dto.Bucket{
			UpperBound:      proto.Float64(math.Nextafter(at, math.Inf(-1))),
			CumulativeCount: proto.Uint64(total),
		})
	}
	return append(buckets, &dto.Bucket{
		UpperBound: proto.Float64(math.Inf(1)), CumulativeCount: proto.Uint64(b.Count() + b.NaNCount()),
	})
}

// Marshal returns the bytes of the message that [Histogram] returns, and its error. Equal sketches give equal bytes.
func Marshal(b *sketch.Binned) ([]byte, error) {
	h, err := Histogram(b)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(h)
}

// The numbers of the fields of io.prometheus.client.Histogram, of its Bucket and of its BucketSpan.
const (
	fieldSampleCount      = 1
	fieldSampleSum        = 2
	fieldBucket           = 3
	fieldSampleCountFloat = 4
	fieldSchema           = 5
	fieldZeroThreshold    = 6
	fieldZeroCount        = 7
	fieldZeroCountFloat   = 8
	fieldNegativeSpan     = 9
	fieldNegativeDelta    = 10
	fieldNegativeCount    = 11
	fieldPositiveSpan     = 12
	fieldPositiveDelta    = 13
	fieldPositiveCount    = 14

	fieldCumulativeCount      = 1
	fieldUpperBound           = 2
	fieldCumulativeCountFloat = 4

	fieldOffset = 1
	fieldLength = 2
)

// Unmarshal returns the sketch of the bytes of an io.prometheus.client.Histogram, which may come from anywhere, as
// [FromHistogram] does of the message. Fields that a sketch has no use for are passed over. Damaged bytes are an error
// that wraps [sketch.ErrEncoding] and says where. It takes memory for at most 200 bytes for each byte, and 1 MiB.
func Unmarshal(data []byte) (*sketch.Binned, error) {
	h := &dto.Histogram{}
	for f, err := range wire.Fields(data, sketch.ErrEncoding) {
		if err != nil {
			return nil, err
		}
		switch f.Number {
		case fieldSampleCount:
			err = optional(&h.SampleCount, f.Uint64)
		case fieldSampleSum:
			err = optional(&h.SampleSum, f.Double)
		case fieldBucket:
			h.Bucket, err = appendBucket(h.Bucket, f)
		case fieldSampleCountFloat:
			err = optional(&h.SampleCountFloat, f.Double)
		case fieldSchema:
			err = optional(&h.Schema, f.Sint32)
		case fieldZeroThreshold:
			err = optional(&h.ZeroThreshold, f.Double)
		case fieldZeroCount:
			err = optional(&h.ZeroCount, f.Uint64)
		case fieldZeroCountFloat:
			err = optional(&h.ZeroCountFloat, f.Double)
		case fieldNegativeSpan:
			h.NegativeSpan, err = appendSpan(h.NegativeSpan, f)
		case fieldNegativeDelta:
			h.NegativeDelta, err = f.AppendSints(h.NegativeDelta)
		case fieldNegativeCount:
			h.NegativeCount, err = f.AppendDoubles(h.NegativeCount)
		case fieldPositiveSpan:
			h.PositiveSpan, err = appendSpan(h.PositiveSpan, f)
		case fieldPositiveDelta:
			h.PositiveDelta, err = f.AppendSints(h.PositiveDelta)
		case fieldPositiveCount:
			h.PositiveCount, err = f.AppendDoubles(h.PositiveCount)
		}
		if err != nil {
			return nil, err
		}
	}
	return FromHistogram(h)
}

// optional reads the value of a field that may be missing.
func optional[T any](to **T, read func() (T, error)) error {
	v, err := read()
	*to = &v
	return err
}

func appendBucket(to []*dto.Bucket, message wire.Field) ([]*dto.Bucket, error) {
	b := &dto.Bucket{}
	for f, err := range message.Message() {
		if err != nil {
			return nil, err
		}
		switch f.Number {
		case fieldCumulativeCount:
			err = optional(&b.CumulativeCount, f.Uint64)
		case fieldUpperBound:
			err = optional(&b.UpperBound, f.Double)
		case fieldCumulativeCountFloat:
			err = optional(&b.CumulativeCountFloat, f.Double)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(to, b), nil
}

func appendSpan(to []*dto.BucketSpan, message wire.Field) ([]*dto.BucketSpan, error) {
	s := &dto.BucketSpan{}
	for f, err := range message.Message() {
		if err != nil {
			return nil, err
		}
		switch f.Number {
		case fieldOffset:
			err = optional(&s.Offset, f.Sint32)
		case fieldLength:
			err = optional(&s.Length, f.Uint32)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(to, s), nil
}
