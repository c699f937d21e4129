package histogram

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// Interpolation says what an [ECDF] does inside of a bucket. The zero value is that of [Linear].
type Interpolation struct {
	constant bool
	f        float64
}

// Linear returns the interpolation by a straight line from break to break, as if the values of a bucket were spread evenly over it: method
// "linear" of R's HistToEcdf.
func Linear() Interpolation { return Interpolation{} }

// Constant returns the interpolation by the constant (1−f)·L + f·U between two breaks, where L and U are the shares of values up to the lower and up to the
// upper break: method "constant" of R's HistToEcdf, with its f. f is from 0, the lower bound of the true function, to 1, the upper.
func Constant(f float64) Interpolation { return Interpolation{true, f} }

// ECDF is the cumulative distribution function of the values of a histogram, R's HistToEcdf: which share of them is at most x. At the
// breaks it is exact, in between it interpolates.
type ECDF struct {
	breaks []float64
	shares []float64 // up to each break
	with   Interpolation
}

// ECDF returns the cumulative distribution function. The error wraps [ErrEmpty] if nothing is counted, and [ErrArgument] for
// an f of [Constant] that is not from 0 to 1. It costs O(n).
func (h *Histogram) ECDF(with Interpolation) (*ECDF, error) {
	if err := h.checkNonEmpty(); err != nil {
		return nil, err
	}
	if err := checkShares("f", []float64{with.f}); err != nil {
		return nil, err
	}
	total := h.Count()
	if math.IsInf(total, 1) {
		return nil, fmt.Errorf("%w: their sum is more than a float64 holds", ErrCounts)
	}
	e := &ECDF{slices.Clone(h.Breaks), make([]float64, len(h.Breaks)), with}
	sum := 0.0
	for i, c := range h.Counts {
		sum += c
		e.shares[i+1] = sum / total
	}
	return e, nil
}

// Knots returns copies of the breaks and of the shares of values up to each of them, from 0 to 1. It costs O(n).
func (e *ECDF) Knots() (breaks, shares []float64) {
	return slices.Clone(e.breaks), slices.Clone(e.shares)
}

// bucket returns i with break i ≤ x < break i+1, −1 below the first break and the number of buckets from the last one on.
func (e *ECDF) bucket(x float64) int {
	i, found := slices.BinarySearch(e.breaks, x)
	if found {
		return i
	}
	return i - 1
}

// At returns the share of values that are at most x, from 0 to 1: 0 below the first break, 1 above the last, and NaN for NaN. In a
// bucket that reaches to infinity a line has no slope: there [Linear] gives the lower bound. It costs O(log n).
func (e *ECDF) At(x float64) float64 {
	if math.IsNaN(x) {
		return x
	}
	i := e.bucket(x)
	switch {
	case i < 0:
		return 0
	case i >= len(e.breaks)-1 || e.breaks[i] == x:
		return e.shares[min(i, len(e.shares)-1)]
	}
	low, high := e.shares[i], e.shares[i+1]
	if e.with.constant {
		return (1-e.with.f)*low + e.with.f*high
	}
	a, b := e.breaks[i], e.breaks[i+1]
	if math.IsInf(a, 0) || math.IsInf(b, 0) {
		return low
	}
	return min(high, low+(high-low)*portion(a, x, b)) // it may be rounded up
}

// portion returns which part of the way from a to b x is, for finite a ≤ x ≤ b.
func portion(a, x, b float64) float64 {
	if width := b - a; !math.IsInf(width, 0) {
		return (x - a) / width
	}
	return (x/2 - a/2) / (b/2 - a/2)
}

// Bounds returns the least and the greatest share of values that may be at most x, from 0 to 1. They hold for all values that have the histogram,
// whichever break belongs to a bucket, and no narrower ones do. It returns NaN for NaN. It costs O(log n).
func (e *ECDF) Bounds(x float64) (low, high float64) {
	if math.IsNaN(x) {
		return x, x
	}
	i := e.bucket(x)
	switch {
	case i < 0:
		return 0, 0
	case i >= len(e.breaks)-1:
		return 1, 1
	}
	return e.shares[i], e.shares[i+1]
}

// Inverse returns where the function reaches the share p in [0, 1], in the unit of the breaks: R's HistToEcdf with inverse=TRUE, which exchanges the axes
// and interpolates as before. With [Constant] it is (1−f)·a + f·b in the bucket from a to b that reaches p. Where the function is level at p, because
// buckets are empty, it is the greatest x of the level; and the last break for 1. The result may be infinite if the bucket is.
//
// The error wraps [ErrArgument] for a p outside [0, 1]. It costs O(log n).
func (e *ECDF) Inverse(p float64) (float64, error) {
	if err := checkShares("share", []float64{p}); err != nil {
		return 0, err
	}
	last := len(e.shares) - 1
	if p == e.shares[last] {
		return e.breaks[last], nil
	}
	i := sort.Search(len(e.shares), func(i int) bool { return e.shares[i] > p }) - 1
	a, b := e.breaks[i], e.breaks[i+1]
	switch {
	case e.shares[i] == p:
		return a, nil
	case e.with.constant && e.with.f == 0:
		return a, nil
	case e.with.constant && e.with.f == 1:
		return b, nil
	case e.with.constant:
		return (1-e.with.f)*a + e.with.f*b, nil
	case math.IsInf(a, 0):
		return a, nil
	case math.IsInf(b, 0):
		return b, nil
	}
	portion := (p - e.shares[i]) / (e.shares[i+1] - e.shares[i])
	if width := b - a; !math.IsInf(width, 0) {
		return a + width*portion, nil
	}
	return (1-portion)*a + portion*b, nil
}
