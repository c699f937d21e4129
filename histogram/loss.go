package histogram

import (
	"fmt"
	"math"
)

// KSDCC returns the Kolmogorov–Smirnov distance of the cumulative curves, R's KSDCC: how far apart, from 0 to 1, the distribution functions of two data sets can
// be at most that have this histogram. It is the largest share of values in one bucket. The error wraps [ErrEmpty] if nothing is counted. It costs O(n).
//
// Source: HistogramTools. Agrawal, Bolosky, Douceur and Lorch, "A Five-Year Study of File-System Metadata", FAST 2007, call it the maximum displacement of the cumulative curves.
func (h *Histogram) KSDCC() (float64, error) {
	_, share, err := h.FullestBucket()
	return share, err
}

// FullestBucket returns the bucket that counts most, the first of them if there are several, and its share of the values, from 0 to 1. The error
// wraps [ErrEmpty] if nothing is counted. It costs O(n).
func (h *Histogram) FullestBucket() (bucket int, share float64, err error) {
	if err := h.checkNonEmpty(); err != nil {
		return 0, 0, err
	}
	total := h.Count()
	for i, c := range h.Counts {
		if c > h.Counts[bucket] {
			bucket = i
		}
	}
	if math.IsInf(total, 1) {
		return 0, 0, fmt.Errorf("%w: their sum is more than a float64 holds", ErrCounts)
	}
	return bucket, h.Counts[bucket] / total, nil
}

// EMDCC returns the earth mover's distance of the cumulative curves, R's EMDCC: the area between the distribution functions of two data sets
// is at most this, from 0 to 1, if they have this histogram, where the unit is the width of the whole histogram. It is the mean over all values of the
// width of a value's bucket, divided by that of all buckets. The error wraps [ErrEmpty] if nothing is counted, and [ErrInfinite] if a bucket reaches to
// infinity. It costs O(n).
func (h *Histogram) EMDCC() (float64, error) {
	if err := h.checkNonEmpty(); err != nil {
		return 0, err
	}
	if err := h.checkFinite(); err != nil {
		return 0, err
	}
	area, total := 0.0, 0.0
	whole := h.Breaks[len(h.Breaks)-1] - h.Breaks[0]
	for i, c := range h.Counts {
		area += c * ((h.Breaks[i+1] - h.Breaks[i]) / whole)
		total += c
	}
	if math.IsInf(total, 1) {
		return 0, fmt.Errorf("%w: their sum is more than a float64 holds", ErrCounts)
	}
	return area / total, nil
}
