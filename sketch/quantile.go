package sketch

import (
	"fmt"
	"math"
	"slices"
)

// A quantile here is trusted, not private: it is computed from the counts as they are.
//
// Values are taken to lie in their bucket with a density that is linear in the value. At the edge
// between two buckets it is the mean of their densities (the trapezoid rule); it is then scaled to the
// bucket's count. In a bucket without width, and in one that reaches to infinity, all values are taken
// to lie at its finite edge.

// segment is a bucket that holds something, with the densities at its two edges.
type segment struct {
	lower, upper float64
	before, n    float64 // values below the bucket, and in it
	left, right  float64 // densities; their scale does not matter
}

// segments returns the non-empty buckets in order.
func (b *Binned) segments() []segment {
	var all []segment
	var before float64
	for i, n := range b.All() {
		s := segment{before: before, n: float64(n)}
		before += s.n
		s.lower, s.upper = b.grid.Bounds(i)
		switch {
		case math.IsInf(s.lower, -1):
			s.lower = s.upper
		case math.IsInf(s.upper, 1):
			s.upper = s.lower
		}
		own := b.density(i)
		s.left, s.right = own, own
		if i > 0 && b.finite(i-1) {
			s.left = (own + b.density(i-1)) / 2
		}
		if i < b.grid.len-1 && b.finite(i+1) {
			s.right = (own + b.density(i+1)) / 2
		}
		all = append(all, s)
	}
	return all
}

// finite says whether a bucket has a finite width that is not zero.
func (b *Binned) finite(i int) bool {
	lower, upper := b.grid.Bounds(i)
	return upper > lower && !math.IsInf(upper-lower, 0)
}

func (b *Binned) density(i int) float64 {
	lower, upper := b.grid.Bounds(i)
	if !(upper > lower) {
		return 0
	}
	return float64(b.Bucket(i)) / (upper - lower)
}

// wide says whether the bucket's width is more than the largest float64.
func (s *segment) wide() bool { return math.IsInf(s.upper-s.lower, 0) }

// value returns the point below which the share p of the bucket's values lies.
func (s *segment) value(p float64) float64 {
	if s.upper == s.lower || p <= 0 {
		return s.lower
	}
	if p >= 1 {
		return s.upper
	}
	// The share below t, the position from 0 to 1, is (2·left·t + (right−left)·t²)/(left+right).
	t := p
	if sum := s.left + s.right; sum > 0 && !math.IsInf(sum, 0) {
		l, r := s.left/sum, s.right/sum
		t = p / (l + math.Sqrt(l*l+(r-l)*p))
	}
	v := s.lower + t*(s.upper-s.lower)
	if s.wide() {
		v = s.lower*(1-t) + s.upper*t
	}
	return min(max(v, s.lower), s.upper)
}

// share returns which share of the bucket's values lies below x, the inverse of value.
func (s *segment) share(x float64) float64 {
	if x >= s.upper {
		return 1
	}
	if x <= s.lower {
		return 0
	}
	t := (x - s.lower) / (s.upper - s.lower)
	if s.wide() {
		t = (x/2 - s.lower/2) / (s.upper/2 - s.lower/2)
	}
	if sum := s.left + s.right; sum > 0 && !math.IsInf(sum, 0) {
		l, r := s.left/sum, s.right/sum
		t = 2*l*t + (r-l)*t*t
	}
	return min(max(t, 0), 1)
}

// Quantile returns an estimate of the value below which the share q of the values lies, 0 ≤ q ≤ 1. It
// lies in the same bucket as the value of rank ⌈q·n⌉. It returns ErrEmpty if there are no values.
func (b *Binned) Quantile(q float64) (float64, error) {
	v, err := b.Quantiles([]float64{q})
	if err != nil {
		return 0, err
	}
	return v[0], nil
}

// Quantiles returns [Binned.Quantile] of each of qs, which may come in any order, in one pass.
func (b *Binned) Quantiles(qs []float64) ([]float64, error) {
	for _, q := range qs {
		if !(q >= 0 && q <= 1) {
			return nil, fmt.Errorf("quantile %v is outside 0 to 1", q)
		}
	}
	if b.count == 0 {
		return nil, ErrEmpty
	}
	all := b.segments()
	values := make([]float64, len(qs))
	for i, q := range qs {
		target := q * float64(b.count)
		// The first bucket that reaches the target.
		j, _ := slices.BinarySearchFunc(all, target, func(s segment, t float64) int {
			if s.before+s.n < t {
				return -1
			}
			return 1
		})
		s := &all[min(j, len(all)-1)]
		values[i] = s.value((target - s.before) / s.n)
	}
	return values, nil
}

// Rank returns an estimate of the share of values that are less than or equal to x, from 0 to 1. It is
// exact where x is the upper boundary of a bucket that holds it, or the lower one of a bucket that does
// not. It returns ErrEmpty if there are no values, and an error if x is NaN.
func (b *Binned) Rank(x float64) (float64, error) {
	v, err := b.CDF([]float64{x})
	if err != nil {
		return 0, err
	}
	return v[0], nil
}

// CDF returns [Binned.Rank] of each of xs.
func (b *Binned) CDF(xs []float64) ([]float64, error) {
	for i, x := range xs {
		if x != x {
			return nil, fmt.Errorf("value %d is NaN", i)
		}
	}
	if b.count == 0 {
		return nil, ErrEmpty
	}
	all := b.segments()
	ranks := make([]float64, len(xs))
	for i, x := range xs {
		// The first bucket that reaches beyond x.
		j, _ := slices.BinarySearchFunc(all, x, func(s segment, x float64) int {
			if s.upper <= x {
				return -1
			}
			return 1
		})
		if j == len(all) {
			ranks[i] = 1
			continue
		}
		s := &all[j]
		ranks[i] = (s.before + s.n*s.share(x)) / float64(b.count)
	}
	return ranks, nil
}

// PMF returns the shares of values in the intervals that the ascending splits make: up to the first,
// between each two neighbours, and above the last; len(splits)+1 in all, with sum 1.
func (b *Binned) PMF(splits []float64) ([]float64, error) {
	for i := 1; i < len(splits); i++ {
		if !(splits[i] > splits[i-1]) {
			return nil, fmt.Errorf("split %d, %v, is not more than the one before, %v", i, splits[i], splits[i-1])
		}
	}
	shares, err := b.CDF(splits)
	if err != nil {
		return nil, err
	}
	shares = append(shares, 1)
	for i := len(shares) - 1; i > 0; i-- {
		shares[i] -= shares[i-1]
	}
	return shares, nil
}
