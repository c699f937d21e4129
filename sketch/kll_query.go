package sketch

import (
	"errors"
	"fmt"
	"math"
	"sort"
)

// view is the items of a sketch in ascending order, for questions.
type view struct {
	keys []int64
	ends []uint64 // the total weight up to and with each item
	low  int64    // of all values
	high int64

	changes uint64 // when it was made
	recent  int32
}

// sorted returns the view, which is made at the first question after a change, in time O(k). It returns ErrEmpty if there
// are no values.
func (s *KLL) sorted() (*view, error) {
	recent := s.levels[1] - s.levels[0]
	if v := s.cached.Load(); v != nil && v.changes == s.changes && v.recent == recent {
		return v, nil
	}
	n := s.Retained()
	if n == 0 {
		return nil, ErrEmpty
	}
	v := &view{changes: s.changes, recent: recent}
	v.low, v.high = s.extremes()
	keys, weights := make([]int64, n), make([]uint64, n)
	moreKeys, moreWeights := make([]int64, n), make([]uint64, n)
	sorted := copy(keys, s.items[s.levels[0]:s.levels[1]])
	sortKeys(keys[:sorted])
	for i := range sorted {
		weights[i] = 1
	}
	// The levels tend to grow with their number, so that it takes a time proportional to the items to merge them in turn.
	for h := 1; h < s.height; h++ {
		if level := s.items[s.levels[h]:s.levels[h+1]]; len(level) > 0 {
			mergeWeighted(moreKeys, moreWeights, keys[:sorted], weights[:sorted], level, 1<<h)
			sorted += len(level)
			keys, moreKeys = moreKeys, keys
			weights, moreWeights = moreWeights, weights
		}
	}
	v.keys, v.ends = keys, weights
	for i := 1; i < n; i++ {
		v.ends[i] += v.ends[i-1]
	}
	s.cached.Store(v)
	return v, nil
}

// at returns the item of a rank. The ranks 1 and that of the largest value are known exactly.
func (v *view) at(rank uint64) float64 {
	switch {
	case rank <= 1:
		return value(v.low)
	case rank >= v.total():
		return value(v.high)
	}
	return value(v.keys[sort.Search(len(v.ends), func(i int) bool { return v.ends[i] >= rank })])
}

func (v *view) total() uint64 { return v.ends[len(v.ends)-1] }

// share returns the share of the weight of items that are less than or equal to x.
func (v *view) share(x float64) float64 {
	if x == 0 {
		x = 0 // of both zeros, the larger key
	}
	key := order(x)
	switch {
	case key < v.low:
		return 0
	case key >= v.high:
		return 1
	}
	n := sort.Search(len(v.keys), func(i int) bool { return v.keys[i] > key })
	var below uint64
	if n > 0 {
		below = v.ends[n-1]
	}
	// The smallest value is not more than x, the largest is.
	return float64(min(max(below, 1), v.total()-1)) / float64(v.total())
}

// Min returns the smallest value added, exactly. It returns ErrEmpty if there are no values.
func (s *KLL) Min() (float64, error) {
	if s.Retained() == 0 {
		return 0, ErrEmpty
	}
	low, _ := s.extremes()
	return value(low), nil
}

// Max returns the largest value added, exactly. It returns ErrEmpty if there are no values.
func (s *KLL) Max() (float64, error) {
	if s.Retained() == 0 {
		return 0, ErrEmpty
	}
	_, high := s.extremes()
	return value(high), nil
}

// Quantile returns an estimate of the value of rank ⌈q·n⌉ among the n values, 0 ≤ q ≤ 1, the smallest having
// rank 1. It is one of the values, whose own rank is within [KLL.RankError] of it; the smallest and the largest are exact. It
// returns ErrEmpty if there are no values.
func (s *KLL) Quantile(q float64) (float64, error) {
	if !(q >= 0 && q <= 1) {
		return 0, fmt.Errorf("quantile %v is outside 0 to 1", q)
	}
	v, err := s.sorted()
	if err != nil {
		return 0, err
	}
	return v.at(rank(q, v.total())), nil
}

// Quantiles returns [KLL.Quantile] of each of qs, which may come in any order.
func (s *KLL) Quantiles(qs []float64) ([]float64, error) {
	for _, q := range qs {
		if !(q >= 0 && q <= 1) {
			return nil, fmt.Errorf("quantile %v is outside 0 to 1", q)
		}
	}
	v, err := s.sorted()
	if err != nil {
		return nil, err
	}
	values := make([]float64, len(qs))
	for i, q := range qs {
		values[i] = v.at(rank(q, v.total()))
	}
	return values, nil
}

// QuantileBounds returns bounds that hold the value of rank ⌈q·n⌉ with 99 % confidence: the quantiles
// that are [KLL.RankError] away. It returns ErrEmpty if there are no values.
func (s *KLL) QuantileBounds(q float64) (lower, upper float64, err error) {
	if !(q >= 0 && q <= 1) {
		return 0, 0, fmt.Errorf("quantile %v is outside 0 to 1", q)
	}
	v, err := s.sorted()
	if err != nil {
		return 0, 0, err
	}
	e := s.RankError()
	return v.at(rank(max(q-e, 0), v.total())), v.at(rank(min(q+e, 1), v.total())), nil
}

// Rank returns an estimate of the share of values that are less than or equal to x, from 0 to 1, which is within
// [KLL.RankError] of it. It returns ErrEmpty if there are no values, and an error if x is NaN.
func (s *KLL) Rank(x float64) (float64, error) {
	if x != x {
		return 0, errors.New("value 0 is NaN")
	}
	v, err := s.sorted()
	if err != nil {
		return 0, err
	}
	return v.share(x), nil
}

// CDF returns [KLL.Rank] of each of xs.
func (s *KLL) CDF(xs []float64) ([]float64, error) {
	for i, x := range xs {
		if x != x {
			return nil, fmt.Errorf("value %d is NaN", i)
		}
	}
	v, err := s.sorted()
	if err != nil {
		return nil, err
	}
	ranks := make([]float64, len(xs))
	for i, x := range xs {
		ranks[i] = v.share(x)
	}
	return ranks, nil
}

// PMF returns the shares of values in the intervals that the ascending splits make: up to the first,
// between each two neighbours, and above the last; len(splits)+1 in all, with sum 1. Each of them is within
// [KLL.RankErrorPMF].
func (s *KLL) PMF(splits []float64) ([]float64, error) { return pmf(s.CDF, splits) }

// RankError returns the bound of the error of a rank, as a share of all values, that holds with 99 % confidence: for
// a single question. It is 0 while the sketch holds every value. The bound is the one that DataSketches found by experiment for
// its sketches, 2.296/k^0.9723, with the smallest k of all that were merged.
func (s *KLL) RankError() float64 { return s.rankError(2.296, 0.9723) }

// RankErrorPMF is [KLL.RankError] for all of the shares that [KLL.PMF] and [KLL.CDF] return, at once: 2.446/k^0.9433.
func (s *KLL) RankErrorPMF() float64 { return s.rankError(2.446, 0.9433) }

func (s *KLL) rankError(factor, power float64) float64 {
	if s.height == 1 {
		return 0
	}
	return min(factor/math.Pow(float64(s.minK), power), 1)
}
