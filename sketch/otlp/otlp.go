// Package otlp converts sketches to and from the exponential histograms of OpenTelemetry.
//
// A data point of scale s numbers its buckets as an exponential grid of scale s does: bucket k holds the values in
// (2^(k/2^s), 2^((k+1)/2^s)], a negative one those whose magnitude is there. So counts go over as they are:
//
//   - Scales −4 to 8, the grids of [sketch.NewExponential]: exactly, both ways.
//   - Finer scales: two buckets become one for each step of scale, as if the values had been counted at scale 8.
//   - Scales −5 to −10: exactly, both ways, as an explicit grid; [Grid] returns it.
//   - [sketch.NewBoundedExponential]: exactly, except that what is outside of its limits is written to the buckets next
//     to the outermost ones. Reading gives an unbounded grid.
//   - Infinities: in the first bucket beyond float64's range, both ways.
//   - A zero threshold: values that close to zero are read as zero. It is written as 0.
//
// Sum, minimum, maximum, times, attributes and exemplars are not read, and are not written.
package otlp

import (
	"errors"
	"fmt"
	"math"

	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/internal/wire"
	"github.com/quietile/quietile/sketch"
)

// ErrNaN says that a sketch has NaN, for which a data point has no place: OpenTelemetry does not record them.
var ErrNaN = errors.New("a data point has no place for NaN")

// Scales of which a sketch's grid is exponential, and the coarsest of all.
const (
	coarsestScale = -4
	finestScale   = 8
	minScale      = -10
)

// Grid returns the grid of the sketch that is read from a data point of a scale: an exponential grid from scale −4 on,
// of scale 8 for all that are finer. A grid of scale −10 to −5 is explicit: its boundaries are the powers of two of that
// scale, moved by one float64 where it takes that for a bucket to hold the same values. +Inf is then in the bucket of
// the largest float64, and so is −Inf. Other scales are an error that wraps [sketch.ErrGrid].
func Grid(scale int) (*sketch.Grid, error) {
	if scale >= coarsestScale {
		return sketch.NewExponential(min(scale, finestScale))
	}
	if scale < minScale {
		return nil, fmt.Errorf("exponential %w: scale %d is coarser than %d", sketch.ErrGrid, scale, minScale)
	}
	var positive []float64 // the lower ends of the positive buckets
	first, last := coarseRange(scale)
	for k := first; k <= last; k++ {
		positive = append(positive, math.Ldexp(1, k<<-scale))
	}
	breaks := make([]float64, 0, 2*len(positive))
	for i := len(positive) - 1; i >= 0; i-- {
		breaks = append(breaks, -positive[i])
	}
	for _, lower := range positive {
		breaks = append(breaks, math.Nextafter(lower, math.Inf(1)))
	}
	return sketch.NewExplicit(breaks)
}

// coarseRange returns the first and the last bucket of a coarse scale that hold any float64.
func coarseRange(scale int) (first, last int) {
	return -1075 >> -scale, 1023 >> -scale // the least is 2^-1074, and is in the bucket that it ends
}

// counter is a sketch to which the buckets of a data point are added.
type counter struct {
	*sketch.Binned
	scale, halvings int
	first, last     int // of a coarse scale
}

func newCounter(scale int32) (*counter, error) {
	g, err := Grid(int(scale))
	if err != nil {
		return nil, err
	}
	c := &counter{Binned: sketch.NewBinned(g), scale: int(scale), halvings: max(int(scale)-finestScale, 0)}
	if c.scale < coarsestScale {
		c.first, c.last = coarseRange(c.scale)
	}
	return c, nil
}

// bucket returns the number in the grid of a bucket of the data point.
func (c *counter) bucket(sign int, k int64) (i int, ok bool) {
	k >>= c.halvings
	if int64(int(k)) != k {
		return 0, false
	}
	if c.scale >= coarsestScale {
		return c.Grid().PowerIndex(sign, int(k))
	}
	if k < int64(c.first) || k > int64(c.last) {
		return 0, false
	}
	// In the middle of the grid is the bucket of zero.
	return c.Grid().Len()/2 + sign*(int(k)-c.first+1), true
}

// add counts the buckets of one sign.
func (c *counter) add(name string, sign int, b *metricsv1.ExponentialHistogramDataPoint_Buckets) error {
	for at, n := range b.GetBucketCounts() {
		if n == 0 {
			continue
		}
		k := int64(b.GetOffset()) + int64(at)
		i, ok := c.bucket(sign, k)
		if !ok {
			return fmt.Errorf("%w: %s bucket %d of scale %d, with the count %d, holds no float64", sketch.ErrEncoding, name, k, c.scale, n)
		}
		if err := c.AddBucket(i, n); err != nil {
			return fmt.Errorf("%s bucket %d with the count %d: %w", name, k, n, err)
		}
	}
	return nil
}

// FromDataPoint returns the counts of a data point, which may come from anywhere, in a sketch on [Grid] of its scale.
// Values that its zero threshold made zero are counted as zero, and are at most that threshold from it. It returns an
// error that wraps [sketch.ErrGrid] for a scale below −10, [sketch.ErrEncoding] for a bucket that holds no float64, a
// zero threshold that is no distance, and a count that is not the sum of those of the buckets, and
// [sketch.ErrOverflow] for a total beyond 2^63−1. Time and memory are in proportion to the number of buckets.
func FromDataPoint(p *metricsv1.ExponentialHistogramDataPoint) (*sketch.Binned, error) {
	if p == nil {
		return nil, fmt.Errorf("%w: the data point is missing", sketch.ErrEncoding)
	}
	c, err := newCounter(p.GetScale())
	if err != nil {
		return nil, err
	}
	if t := p.GetZeroThreshold(); !(t >= 0) || math.IsInf(t, 1) {
		return nil, fmt.Errorf("%w: zero_threshold is %v", sketch.ErrEncoding, t)
	}
	if err := c.AddN(0, p.GetZeroCount()); err != nil {
		return nil, fmt.Errorf("zero_count %d: %w", p.GetZeroCount(), err)
	}
	if err := c.add("positive", 1, p.GetPositive()); err != nil {
		return nil, err
	}
	if err := c.add("negative", -1, p.GetNegative()); err != nil {
		return nil, err
	}
	if p.GetCount() != c.Count() {
		return nil, fmt.Errorf("%w: count is %d, but the buckets have %d", sketch.ErrEncoding, p.GetCount(), c.Count())
	}
	return c.Binned, nil
}

// DataPoint returns the counts of a sketch as a data point, without times, attributes, sum, minimum and maximum, of
// which a sketch knows nothing. It returns an error that wraps [sketch.ErrGrid], and names the grid, for one that is not
// exponential and not returned by [Grid]; for such call [sketch.Binned.Rebin] with the grid of a scale, which moves each value by
// a bucket's width at most. It returns [ErrNaN] if the sketch has NaN, and [sketch.ErrOverflow] if it has more than 2^63−1
// values. Memory is 8 bytes for each bucket between the outermost ones with a count, which of the finest unbounded grid are
// more than a million if it has counts everywhere.
func DataPoint(b *sketch.Binned) (*metricsv1.ExponentialHistogramDataPoint, error) {
	if n := b.NaNCount(); n > 0 {
		return nil, fmt.Errorf("%w: there are %d", ErrNaN, n)
	}
	if b.Count() > math.MaxInt64 {
		return nil, sketch.ErrOverflow
	}
	scale, power, err := numbering(b.Grid())
	if err != nil {
		return nil, err
	}
	p := &metricsv1.ExponentialHistogramDataPoint{
		Count: b.Count(), Scale: int32(scale),
		Positive: &metricsv1.ExponentialHistogramDataPoint_Buckets{},
		Negative: &metricsv1.ExponentialHistogramDataPoint_Buckets{},
	}
	var negative [][2]uint64 // by ascending value: k and count
	for i, n := range b.All() {
		switch sign, k := power(i); sign {
		case 0:
			p.ZeroCount = n
		case 1:
			put(p.Positive, k, n)
		default:
			negative = append(negative, [2]uint64{uint64(k), n})
		}
	}
	for i := len(negative) - 1; i >= 0; i-- {
		put(p.Negative, int(negative[i][0]), negative[i][1])
	}
	return p, nil
}

// put appends the count of a bucket that is further from zero than all before.
func put(to *metricsv1.ExponentialHistogramDataPoint_Buckets, k int, n uint64) {
	if len(to.BucketCounts) == 0 {
		to.Offset = int32(k)
	}
	for len(to.BucketCounts) < k-int(to.Offset) {
		to.BucketCounts = append(to.BucketCounts, 0)
	}
	to.BucketCounts = append(to.BucketCounts, n)
}

// numbering returns the scale of a grid, and the sign and k of its buckets.
func numbering(g *sketch.Grid) (scale int, power func(i int) (sign, k int), err error) {
	if scale, ok := g.Scale(); ok {
		return scale, g.Power, nil
	}
	for scale := minScale; scale < coarsestScale; scale++ {
		coarse, err := Grid(scale)
		if err != nil {
			return 0, nil, err
		}
		if !coarse.Equal(g) {
			continue
		}
		first, _ := coarseRange(scale)
		zero := g.Len() / 2
		return scale, func(i int) (sign, k int) {
			switch {
			case i == zero:
				return 0, 0
			case i < zero:
				return -1, first + zero - i - 1
			default:
				return 1, first + i - zero - 1
			}
		}, nil
	}
	return 0, nil, fmt.Errorf("%w %v is not exponential, as a data point is: Rebin the sketch onto a grid that is", sketch.ErrGrid, g)
}

// The numbers of the fields of opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint and of its Buckets.
const (
	fieldCount         = 4
	fieldScale         = 6
	fieldZeroCount     = 7
	fieldPositive      = 8
	fieldNegative      = 9
	fieldZeroThreshold = 14

	fieldOffset = 1
	fieldCounts = 2
)

// Marshal returns the bytes of the message that [DataPoint] returns, and its errors. Equal sketches give equal bytes.
func Marshal(b *sketch.Binned) ([]byte, error) {
	p, err := DataPoint(b)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(p)
}

// Unmarshal returns the sketch of the bytes of an opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint, which
// may come from anywhere, as [FromDataPoint] does of the message. Fields that a sketch has no use for are passed over.
// Damaged bytes are an error that wraps [sketch.ErrEncoding] and says where. It takes memory for at most 200 bytes for each
// byte, and 1 MiB.
func Unmarshal(data []byte) (*sketch.Binned, error) {
	p := &metricsv1.ExponentialHistogramDataPoint{
		Positive: &metricsv1.ExponentialHistogramDataPoint_Buckets{},
		Negative: &metricsv1.ExponentialHistogramDataPoint_Buckets{},
	}
	for f, err := range wire.Fields(data, sketch.ErrEncoding) {
		if err != nil {
			return nil, err
		}
		switch f.Number {
		case fieldCount:
			p.Count, err = f.Fixed64()
		case fieldScale:
			p.Scale, err = f.Sint32()
		case fieldZeroCount:
			p.ZeroCount, err = f.Fixed64()
		case fieldPositive:
			err = readBuckets(p.Positive, f)
		case fieldNegative:
			err = readBuckets(p.Negative, f)
		case fieldZeroThreshold:
			p.ZeroThreshold, err = f.Double()
		}
		if err != nil {
			return nil, err
		}
	}
	return FromDataPoint(p)
}

func readBuckets(b *metricsv1.ExponentialHistogramDataPoint_Buckets, message wire.Field) error {
	for f, err := range message.Message() {
		if err != nil {
			return err
		}
		switch f.Number {
		case fieldOffset:
			b.Offset, err = f.Sint32()
		case fieldCounts:
			b.BucketCounts, err = f.AppendUints(b.BucketCounts)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
