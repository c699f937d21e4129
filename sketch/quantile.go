package sketch

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A quantile here is trusted, not private: it is computed from the counts as they are.
//
// Values are taken to lie in their bucket with a density that is linear in the value. At the edge
// between two buckets it is the mean of their densities (the trapezoid rule); it is then scaled to the
// bucket's count. In a bucket without width, and in one that reaches to infinity, all values are taken
// to lie at its finite edge. On a linear grid of whole numbers of width one they are taken to be whole numbers
// themselves, which is the lower edge.

// segment is a bucket that holds something, with the densities at its two edges.
type segment struct {
	lower, upper float64
	left, right  float64 // densities; their scale does not matter
}

// segment returns a bucket as the values in it are taken to lie.
func (b *Binned) segment(i int) segment {
	lower, upper := b.grid.Bounds(i)
	switch {
	case math.IsInf(lower, -1):
		return segment{lower: upper, upper: upper}
	case math.IsInf(upper, 1), b.grid.integers:
		return segment{lower: lower, upper: lower}
	}
	own := b.density(i)
	s := segment{lower, upper, own, own}
	if i > 0 && b.finite(i-1) {
		s.left = (own + b.density(i-1)) / 2
	}
	if i < b.grid.len-1 && b.finite(i+1) {
		s.right = (own + b.density(i+1)) / 2
	}
	return s
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

// rank returns ⌈q·n⌉ from 1 to n, the rank of the quantile q, 0 ≤ q ≤ 1, among n ≥ 1 values. The product is rounded to
// float64 first, so that 0.95 of 20 values has the rank 19 although the float64 0.95 is a little above.
func rank(q float64, n uint64) uint64 {
	r := math.Ceil(q * float64(n))
	if r >= float64(n) {
		return n
	}
	return max(uint64(r), 1)
}

// find calls yield for the bucket of each quantile of qs, in the order of their values: with the position of the
// quantile in qs, its rank among all values, the bucket, and how many values are below and in it.
func (b *Binned) find(qs []float64, yield func(at int, rank uint64, i int, before, n uint64)) error {
	sorted := true
	for j, q := range qs {
		if !(q >= 0 && q <= 1) {
			return fmt.Errorf("quantile %v is outside 0 to 1", q)
		}
		sorted = sorted && (j == 0 || q >= qs[j-1])
	}
	if b.count == 0 {
		return ErrEmpty
	}
	if len(qs) == 0 {
		return nil
	}
	var order []int // nil: as they are
	if !sorted {
		order = make([]int, len(qs))
		for j := range order {
			order[j] = j
		}
		slices.SortFunc(order, func(i, j int) int { return cmp.Compare(qs[i], qs[j]) })
	}
	next, at := 0, 0
	if order != nil {
		at = order[0]
	}
	wanted, before := rank(qs[at], b.count), uint64(0)
	// visit says whether more is wanted than what ends with bucket i.
	visit := func(i int, n uint64) bool {
		for wanted <= before+n {
			yield(at, wanted, i, before, n)
			if next++; next == len(qs) {
				return false
			}
			if at = next; order != nil {
				at = order[next]
			}
			wanted = rank(qs[at], b.count)
		}
		before += n
		return true
	}
	for place, n := range b.sides[1].descending() {
		if !visit(b.grid.bucketAt(1, place), n) {
			return nil
		}
	}
	if b.zero > 0 && !visit(b.grid.bucketAt(-1, 0), b.zero) {
		return nil
	}
	s := &b.sides[0]
	if len(s.far) == 0 {
		// The usual case: nothing is visited but the buckets that are wanted.
		for j, n := range s.window {
			if before+n < wanted {
				before += n
			} else if !visit(b.grid.bucketAt(0, s.first+j), n) {
				return nil
			}
		}
		return nil
	}
	for place, n := range s.ascending() {
		if !visit(b.grid.bucketAt(0, place), n) {
			return nil
		}
	}
	return nil
}

// Quantile returns an estimate of the value of rank ⌈q·n⌉ among the n values, 0 ≤ q ≤ 1, the smallest having
// rank 1. The estimate lies in the bucket that holds the value, where the values are taken to be spread evenly about the middles of
// their shares. On a linear grid whose boundaries are the whole numbers from lower to upper it is the whole number
// itself, exact if all values are whole. It returns ErrEmpty if there are no values.
func (b *Binned) Quantile(q float64) (float64, error) {
	var value float64
	err := b.find([]float64{q}, func(_ int, r uint64, i int, before, n uint64) {
		value = b.spread(r, i, before, n)
	})
	return value, err
}

// Quantiles returns [Binned.Quantile] of each of qs, which may come in any order, in one pass.
func (b *Binned) Quantiles(qs []float64) ([]float64, error) {
	values := make([]float64, len(qs))
	err := b.find(qs, func(at int, r uint64, i int, before, n uint64) {
		values[at] = b.spread(r, i, before, n)
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

// spread returns where the value of a rank is taken to lie in its bucket.
func (b *Binned) spread(r uint64, i int, before, n uint64) float64 {
	s := b.segment(i)
	v := s.value((float64(r-before) - 0.5) / float64(n))
	if b.grid.kind != exponential || s.lower == s.upper {
		return v
	}
	// All values of the bucket may be at one end of it: an estimate at the other end would be further off than need be.
	near, far := s.lower, s.upper
	if far <= 0 {
		near, far = -far, -near
	}
	width := far - near
	return math.Copysign(min(max(math.Abs(v), near+(1-reach*far/near)*width), near+reach*width), v)
}

// QuantileBounds returns the bounds of the bucket that holds the value of rank ⌈q·n⌉, of which
// [Binned.Quantile] is an estimate: lower ≤ value ≤ upper. It returns ErrEmpty if there are no values.
func (b *Binned) QuantileBounds(q float64) (lower, upper float64, err error) {
	err = b.find([]float64{q}, func(_ int, _ uint64, i int, _, _ uint64) {
		lower, upper = b.grid.Bounds(i)
	})
	return lower, upper, err
}

// Rank returns an estimate of the share of values that are less than or equal to x, from 0 to 1. It is
// exact where x is the upper boundary of a bucket that holds it, or the lower one of a bucket that does
// not, and everywhere for whole numbers in buckets of width one. It returns ErrEmpty if there are no values, and an
// error if x is NaN.
func (b *Binned) Rank(x float64) (float64, error) {
	v, err := b.CDF([]float64{x})
	if err != nil {
		return 0, err
	}
	return v[0], nil
}

// RankBounds returns bounds of the share of values that are less than or equal to x, of which [Binned.Rank] is an
// estimate: the shares of values in the buckets below that of x, and up to it.
func (b *Binned) RankBounds(x float64) (lower, upper float64, err error) {
	if x != x {
		return 0, 0, errors.New("value is NaN")
	}
	if b.count == 0 {
		return 0, 0, ErrEmpty
	}
	at := b.grid.Index(x)
	var before uint64
	for i, n := range b.All() {
		if i >= at {
			if i > at {
				n = 0
			}
			return float64(before) / float64(b.count), float64(before+n) / float64(b.count), nil
		}
		before += n
	}
	return 1, 1, nil
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
	order := make([]int, len(xs))
	for j := range order {
		order[j] = j
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(xs[i], xs[j]) })
	ranks := make([]float64, len(xs))
	before, total := uint64(0), float64(b.count)
	for i, n := range b.All() {
		s := b.segment(i)
		for ; len(order) > 0 && xs[order[0]] < s.upper; order = order[1:] {
			ranks[order[0]] = (float64(before) + float64(n)*s.share(xs[order[0]])) / total
		}
		if len(order) == 0 {
			return ranks, nil
		}
		before += n
	}
	for _, at := range order {
		ranks[at] = 1
	}
	return ranks, nil
}

// PMF returns the shares of values in the intervals that the ascending splits make: up to the first,
// between each two neighbours, and above the last; len(splits)+1 in all, with sum 1.
func (b *Binned) PMF(splits []float64) ([]float64, error) { return pmf(b.CDF, splits) }

// pmf returns the shares between splits of a cumulative distribution.
func pmf(cdf func([]float64) ([]float64, error), splits []float64) ([]float64, error) {
	for i := 1; i < len(splits); i++ {
		if !(splits[i] > splits[i-1]) {
			return nil, fmt.Errorf("split %d, %v, is not more than the one before, %v", i, splits[i], splits[i-1])
		}
	}
	shares, err := cdf(splits)
	if err != nil {
		return nil, err
	}
	shares = append(shares, 1)
	for i := len(shares) - 1; i > 0; i-- {
		shares[i] -= shares[i-1]
	}
	return shares, nil
}
