package histogram

import (
	"fmt"
	"math"
	"sort"
)

// Mean returns the mean that the values would have if each were in the middle of its bucket, R's ApproxMean, in the unit of the
// breaks. It is at most half of the widest bucket off. The error wraps [ErrEmpty] if nothing is counted, and [ErrInfinite] if a bucket that reaches to
// infinity counts anything. It costs O(n).
func (h *Histogram) Mean() (float64, error) {
	if err := h.checkNonEmpty(); err != nil {
		return 0, err
	}
	sum, total := 0.0, 0.0
	for i, c := range h.Counts {
		if c == 0 {
			continue
		}
		mid, err := h.finiteMidpoint(i)
		if err != nil {
			return 0, err
		}
		sum += mid * c
		total += c
	}
	if math.IsInf(total, 0) {
		return 0, fmt.Errorf("%w: their sum is more than a float64 holds", ErrCounts)
	}
	if math.IsInf(sum, 0) || math.IsNaN(sum) { // though the mean is not
		sum = 0
		for i, c := range h.Counts {
			if c > 0 {
				sum += h.Midpoint(i) * (c / total)
			}
		}
		return sum, nil
	}
	return sum / total, nil
}

// finiteMidpoint returns the middle of a bucket, or an error that wraps [ErrInfinite].
func (h *Histogram) finiteMidpoint(i int) (float64, error) {
	mid := h.Midpoint(i)
	if math.IsInf(mid, 0) || math.IsNaN(mid) {
		return 0, fmt.Errorf("%w: bucket %d, from %v to %v, has no middle, and counts %v", ErrInfinite, i, h.Breaks[i], h.Breaks[i+1], h.Counts[i])
	}
	return mid, nil
}

// Quantile returns the quantile q in [0, 1] of the values, each taken to be in the middle of its bucket. See [Histogram.Quantiles].
func (h *Histogram) Quantile(q float64) (float64, error) {
	values, err := h.Quantiles([]float64{q})
	if err != nil {
		return 0, err
	}
	return values[0], nil
}

// Quantiles returns a quantile for each q in [0, 1], in the unit of the breaks: R's ApproxQuantile, which is wtd.quantile of the package Hmisc on
// the middles of the buckets with the counts for weights. A weight is how often a value occurs. With N values in all, the quantile is at the rank
// r = 1+(N−1)q, and interpolates linearly between the values of the ranks ⌊r⌋ and ⌊r⌋+1.
//
// So counts should be whole numbers: those of a normalized histogram add up to one value, whose quantiles are all the greatest.
//
// The error wraps [ErrArgument], with the index, for a q outside [0, 1], [ErrEmpty] if nothing is counted, and [ErrInfinite] if a bucket that
// reaches to infinity counts anything. It costs O(n), and O(log n) for each q. [ECDF.Inverse] interpolates inside of buckets instead.
func (h *Histogram) Quantiles(qs []float64) ([]float64, error) {
	if err := h.checkNonEmpty(); err != nil {
		return nil, err
	}
	if err := checkShares("quantile", qs); err != nil {
		return nil, err
	}
	var middles, ranks []float64 // of the filled buckets; the rank of the last value in each
	total := 0.0
	for i, c := range h.Counts {
		if c == 0 {
			continue
		}
		mid, err := h.finiteMidpoint(i)
		if err != nil {
			return nil, err
		}
		total += c
		middles, ranks = append(middles, mid), append(ranks, total)
	}
	if math.IsInf(total, 1) {
		return nil, fmt.Errorf("%w: their sum is more than a float64 holds", ErrCounts)
	}
	of := func(rank float64) float64 {
		return middles[min(sort.SearchFloat64s(ranks, rank), len(middles)-1)]
	}
	values := make([]float64, len(qs))
	for i, q := range qs {
		rank := 1 + (total-1)*q
		low := max(math.Floor(rank), 1)
		high := min(low+1, total)
		share := rank - math.Floor(rank)
		values[i] = (1-share)*of(low) + share*of(high)
	}
	return values, nil
}

// checkShares returns an error that wraps [ErrArgument] for the first that is not from 0 to 1.
func checkShares(name string, shares []float64) error {
	for i, s := range shares {
		if !(s >= 0 && s <= 1) {
			return fmt.Errorf("%w: %s %d, %v, is not from 0 to 1", ErrArgument, name, i, s)
		}
	}
	return nil
}
