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
// [ToHistogram] returns what package histogram works on. Linear and explicit grids are written, and read as explicit ones. Their outer buckets are written, with an infinite
// break, if they hold anything; R takes those. The name of a histogram is not read, and none is written.
package histogramtools

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/quietile/quietile/histogram"
	"github.com/quietile/quietile/sketch"
)

var (
	// ErrNaN says that a sketch has NaN, which a histogram does not count.
	ErrNaN = errors.New("a histogram has no place for NaN")
	// ErrCount says that a count is negative, or more than the int32 that the counts of the message are.
	ErrCount = errors.New("a count is out of range")
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
	if g := b.Grid(); g.Breaks() == nil {
		return nil, fmt.Errorf("%w %v is exponential, where a histogram has breaks: Rebin the sketch onto a linear or explicit grid", sketch.ErrGrid, g)
	}
	h, err := ofBreaks(b, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	for i, at := range h.Breaks {
		if !rightClosed || i == 0 || math.IsInf(at, 1) {
			continue
		}
		below := math.Nextafter(at, math.Inf(-1))
		if below == h.Breaks[i-1] {
			return nil, fmt.Errorf("%w %v: breaks %v and %v have nothing between them", sketch.ErrGrid, b.Grid(), below, at)
		}
		h.Breaks[i] = below
	}
	return h.MarshalProto()
}

// ToHistogram returns a histogram of the sketch's counts, for package histogram to work on.
//
// Of a linear or explicit grid it has all breaks, and outer buckets with an infinite break if they hold anything. Of an exponential grid it has the buckets that hold anything, and what is
// empty between two of them is one bucket. There zero has a bucket of no width: its count is in the bucket from zero to the first positive value's bucket if there is a gap, otherwise in
// the one from the last negative value's bucket to zero, or else in the bucket that begins at zero. So no value is outside of the bucket, ends included, that counts it.
//
// It returns [ErrNaN] if the sketch has NaN, [ErrCount], with the bucket, for a count above 2^53, an error that wraps [histogram.ErrEmpty] for a sketch of nothing on an exponential grid, and one that
// wraps [sketch.ErrGrid] for a grid with a single break and nothing outside. It costs O(n) for n buckets of a linear or explicit grid, otherwise O(filled buckets).
func ToHistogram(b *sketch.Binned) (*histogram.Histogram, error) {
	const most = 1 << 53 // beyond, not every integer is a float64
	if b.Grid().Breaks() != nil {
		return ofBreaks(b, most)
	}
	if err := checkNaN(b); err != nil {
		return nil, err
	}
	h := new(histogram.Histogram)
	add := func(lower, upper, n float64) {
		switch last := len(h.Breaks) - 1; {
		case last < 0:
			h.Breaks = append(h.Breaks, lower)
		case upper <= h.Breaks[last]: // both round to it
			h.Counts[last-1] += n
			return
		case h.Breaks[last] < lower:
			h.Breaks, h.Counts = append(h.Breaks, lower), append(h.Counts, 0)
		}
		h.Breaks, h.Counts = append(h.Breaks, upper), append(h.Counts, n)
	}
	zeros := 0.0
	for i := range b.All() {
		n, err := count(b, i, most)
		if err != nil {
			return nil, err
		}
		lower, upper := b.Grid().Bounds(i)
		switch {
		case lower == 0 && upper == 0:
			zeros = n
			continue
		case lower == upper && lower > 0: // next to zero buckets are narrower than float64
			lower = math.Nextafter(lower, 0)
		case lower == upper:
			upper = math.Nextafter(upper, 0)
		}
		if zeros > 0 && lower >= 0 {
			switch last := len(h.Breaks) - 1; {
			case lower > 0:
				add(0, lower, zeros)
			case last >= 0 && h.Breaks[last] < 0:
				add(h.Breaks[last], 0, zeros)
			default:
				n += zeros
			}
			zeros = 0
		}
		add(lower, upper, n)
	}
	if zeros > 0 { // and nothing is positive
		if last := len(h.Breaks) - 1; last >= 0 && h.Breaks[last] < 0 {
			add(h.Breaks[last], 0, zeros)
		} else if last >= 0 {
			h.Counts[last-1] += zeros
		} else {
			add(0, 1, zeros)
		}
	}
	if len(h.Counts) == 0 {
		return nil, fmt.Errorf("%w: the sketch is on the grid %v, which has no bucket that is filled", histogram.ErrEmpty, b.Grid())
	}
	return h, nil
}

// ofBreaks returns the counts of a sketch on a linear or explicit grid, each at most so much.
func ofBreaks(b *sketch.Binned, most uint64) (*histogram.Histogram, error) {
	g := b.Grid()
	h := &histogram.Histogram{Breaks: slices.Clone(g.Breaks())}
	if err := checkNaN(b); err != nil {
		return nil, err
	}
	first, last := 1, g.Len()-2 // of the buckets to write
	if b.Bucket(0) > 0 {
		first = 0
		h.Breaks = slices.Insert(h.Breaks, 0, math.Inf(-1))
	}
	if b.Bucket(g.Len()-1) > 0 {
		last = g.Len() - 1
		h.Breaks = append(h.Breaks, math.Inf(1))
	}
	if len(h.Breaks) < 2 {
		return nil, fmt.Errorf("%w %v has one break, and so no bucket: Rebin the sketch onto one with two or more", sketch.ErrGrid, g)
	}
	for i := first; i <= last; i++ {
		n, err := count(b, i, most)
		if err != nil {
			return nil, err
		}
		h.Counts = append(h.Counts, n)
	}
	return h, nil
}

func checkNaN(b *sketch.Binned) error {
	if n := b.NaNCount(); n > 0 {
		return fmt.Errorf("%w: there are %d", ErrNaN, n)
	}
	return nil
}

// count returns the count of a bucket, or an error if that is more than most.
func count(b *sketch.Binned, bucket int, most uint64) (float64, error) {
	n := b.Bucket(bucket)
	if n > most {
		lower, upper := b.Grid().Bounds(bucket)
		return 0, fmt.Errorf("%w: %d from %v to %v is more than %d", ErrCount, n, lower, upper, most)
	}
	return float64(n), nil
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
	h, err := histogram.UnmarshalProto(data)
	switch {
	case errors.Is(err, histogram.ErrBreaks):
		return nil, fmt.Errorf("%w: %w", sketch.ErrGrid, err)
	case errors.Is(err, histogram.ErrCounts):
		return nil, fmt.Errorf("%w: %w", ErrCount, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", sketch.ErrEncoding, err)
	}
	breaks := h.Breaks
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
	for i, n := range h.Counts {
		if err := b.AddBucket(first+i, uint64(n)); err != nil {
			return nil, fmt.Errorf("count %d: %w", i, err)
		}
	}
	return b, nil
}
