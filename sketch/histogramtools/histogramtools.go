// Package histogramtools converts sketches to and from the histograms of the R package HistogramTools, version 0.3.2, in
// its protobuf form, HistogramTools.HistogramState: breaks and, for each two neighbours of them, a count.
//
// A bucket of R's hist() holds its upper break and not its lower one, except that the first holds both; with right=FALSE
// it holds its lower break and not its upper one, except that the last holds both. The message does not say which. A
// bucket of a sketch holds its lower break. There are two ways to go over, each of which undoes itself and changes no count:
//
//   - [Marshal] and [Unmarshal] keep the breaks as they are. This is exact for right=FALSE, but for values equal to the last
//     break. With right=TRUE, R's default, a value that is equal to a break is counted in the bucket that ends there, and
//     so bounds of quantiles hold nevertheless. Choose it if values are hardly ever equal to a break, or if the
//     breaks matter to other tools.
//   - [MarshalRightClosed] and [UnmarshalRightClosed] move each break, but the first if it is finite, to the neighbouring
//     float64, such that the buckets hold the same values as those of R with right=TRUE. This is exact for those.
//
// R itself takes values to be equal to a break that are within 10⁻⁷ of the buckets' median width from it.
//
// Linear and explicit grids are written, and read as explicit ones. Their outer buckets are written, with an infinite
// break, if they hold anything; R takes those. The name of a histogram is not read, and none is written.
package histogramtools

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/quietile/quietile/internal/wire"
	"github.com/quietile/quietile/sketch"
)

var (
	// ErrNaN says that a sketch has NaN, which a histogram does not count.
	ErrNaN = errors.New("a histogram has no place for NaN")
	// ErrCount says that a count is negative, or more than the int32 that the counts of the message are.
	ErrCount = errors.New("a count is out of range")
)

// The numbers of the fields of HistogramTools.HistogramState.
const (
	fieldBreaks = 1
	fieldCounts = 2
)

// Marshal returns the bytes of a HistogramState with the breaks and the counts of a sketch on a linear or explicit
// grid, as the package's comment says. Equal sketches give equal bytes.
//
// It returns an error that wraps [sketch.ErrGrid], and names the grid, for an exponential grid, and for one whose breaks make
// no bucket; for such call [sketch.Binned.Rebin] with a linear or explicit one. It returns [ErrNaN] if the sketch has NaN,
// and [ErrCount], with the bucket, for a count above 2^31−1.
func Marshal(b *sketch.Binned) ([]byte, error) { return marshal(b, false) }

// MarshalRightClosed is Marshal for R's default: a bucket of the histogram, with its upper break and without its lower
// one, holds the same values as that of the sketch. It returns an error that wraps [sketch.ErrGrid] too if two breaks are
// neighbouring float64 and become one.
func MarshalRightClosed(b *sketch.Binned) ([]byte, error) { return marshal(b, true) }

func marshal(b *sketch.Binned, rightClosed bool) ([]byte, error) {
	g := b.Grid()
	breaks := g.Breaks()
	if breaks == nil {
		return nil, fmt.Errorf("%w %v is exponential, where a histogram has breaks: Rebin the sketch onto a linear or explicit grid", sketch.ErrGrid, g)
	}
	if n := b.NaNCount(); n > 0 {
		return nil, fmt.Errorf("%w: there are %d", ErrNaN, n)
	}
	first, last := 1, g.Len()-2 // of the buckets to write
	if b.Bucket(0) > 0 {
		first = 0
		breaks = slices.Insert(breaks, 0, math.Inf(-1))
	}
	if b.Bucket(g.Len()-1) > 0 {
		last = g.Len() - 1
		breaks = append(breaks, math.Inf(1))
	}
	if len(breaks) < 2 {
		return nil, fmt.Errorf("%w %v has one break, and so no bucket: Rebin the sketch onto one with two or more", sketch.ErrGrid, g)
	}
	var out []byte
	for i, at := range breaks {
		if rightClosed && i > 0 && !math.IsInf(at, 1) {
			at = math.Nextafter(at, math.Inf(-1))
			if at == breaks[i-1] {
				return nil, fmt.Errorf("%w %v: breaks %v and %v have nothing between them", sketch.ErrGrid, g, at, breaks[i])
			}
			breaks[i] = at
		}
		out = protowire.AppendFixed64(protowire.AppendTag(out, fieldBreaks, protowire.Fixed64Type), math.Float64bits(at))
	}
	for i := first; i <= last; i++ {
		n := b.Bucket(i)
		if n > math.MaxInt32 {
			lower, upper := g.Bounds(i)
			return nil, fmt.Errorf("%w: %d from %v to %v is more than %d", ErrCount, n, lower, upper, math.MaxInt32)
		}
		out = protowire.AppendVarint(protowire.AppendTag(out, fieldCounts, protowire.VarintType), n)
	}
	return out, nil
}

// Unmarshal returns the counts of the bytes of a HistogramState, which may come from anywhere, on the explicit grid of
// its finite breaks, as the package's comment says.
//
// It returns an error that wraps [sketch.ErrEncoding] for damaged bytes, and says where, and for a number of counts that
// is not one less than that of the breaks, or zero; [sketch.ErrGrid] for breaks that do not ascend, or of which none is finite; and
// [ErrCount] for a count that is no int32 from 0 on. It takes memory for at most 200 bytes for each byte, and 1 MiB.
func Unmarshal(data []byte) (*sketch.Binned, error) { return unmarshal(data, false) }

// UnmarshalRightClosed is Unmarshal for R's default: a bucket of the sketch holds the same values as that of the
// histogram, with its upper break and without its lower one, and the first with both.
func UnmarshalRightClosed(data []byte) (*sketch.Binned, error) { return unmarshal(data, true) }

func unmarshal(data []byte, rightClosed bool) (*sketch.Binned, error) {
	var breaks []float64
	var counts []uint64
	for f, err := range wire.Fields(data, sketch.ErrEncoding) {
		if err != nil {
			return nil, err
		}
		switch f.Number {
		case fieldBreaks:
			breaks, err = f.AppendDoubles(breaks)
		case fieldCounts:
			counts, err = f.AppendUints(counts)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(breaks) != len(counts)+1 || len(counts) == 0 {
		return nil, fmt.Errorf("%w: %d breaks for %d counts", sketch.ErrEncoding, len(breaks), len(counts))
	}
	if rightClosed {
		for i := range breaks {
			if i > 0 {
				breaks[i] = math.Nextafter(breaks[i], math.Inf(1))
			}
		}
	}
	first := 1 // the bucket of the first count
	if math.IsInf(breaks[0], -1) {
		first, breaks = 0, breaks[1:]
	}
	if n := len(breaks); n > 0 && math.IsInf(breaks[n-1], 1) {
		breaks = breaks[:n-1]
	}
	g, err := sketch.NewExplicit(breaks)
	if err != nil {
		return nil, err
	}
	b := sketch.NewBinned(g)
	for i, n := range counts {
		if n > math.MaxInt32 {
			return nil, fmt.Errorf("%w: count %d is %d", ErrCount, i, int64(n))
		}
		if err := b.AddBucket(first+i, n); err != nil {
			return nil, fmt.Errorf("count %d: %w", i, err)
		}
	}
	return b, nil
}
