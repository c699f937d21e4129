package histogram

import (
	"fmt"
	"math"
)

// Minkowski returns (Σ|a−b|^p)^(1/p) over the counts of two histograms with equal breaks, R's minkowski.dist: 1 is the Manhattan
// distance, 2 the Euclidean one, and +Inf the largest difference. From 1 on it is a metric of counts. It is in the unit of counts, and histograms of
// unlike totals differ by that alone: [Histogram.Normalize] them to compare shapes.
//
// The error wraps [ErrArgument] unless p > 0, and [ErrMismatch] for breaks that differ. It costs O(n).
func Minkowski(a, b *Histogram, p float64) (float64, error) {
	if err := checkPair(a, b); err != nil {
		return 0, err
	}
	if !(p > 0) {
		return 0, fmt.Errorf("%w: p %v is not more than 0", ErrArgument, p)
	}
	most := 0.0 // differences are divided by it, so that no power is beyond float64
	for i, c := range a.Counts {
		most = max(most, math.Abs(c-b.Counts[i]))
	}
	if most == 0 || math.IsInf(p, 1) {
		return most, nil
	}
	sum := 0.0
	for i, c := range a.Counts {
		sum += math.Pow(math.Abs(c-b.Counts[i])/most, p)
	}
	return most * math.Pow(sum, 1/p), nil
}

// Intersection returns 1 − Σmin(a, b)/Σb over the counts of two histograms with equal breaks, R's intersect.dist, from 0 to 1: which share of b lies outside of a. It
// is symmetric only if both count as much, and then half the sum of the differences of shares. It is no metric.
//
// The error wraps [ErrMismatch] for breaks that differ, and [ErrEmpty] if b counts nothing. It costs O(n).
func Intersection(a, b *Histogram) (float64, error) {
	if err := checkPair(a, b); err != nil {
		return 0, err
	}
	if err := b.checkNonEmpty(); err != nil {
		return 0, fmt.Errorf("second histogram: %w", err)
	}
	common, total := 0.0, 0.0
	for i, c := range b.Counts {
		common += min(a.Counts[i], c)
		total += c
	}
	if math.IsInf(total, 1) {
		return 0, fmt.Errorf("%w: their sum is more than a float64 holds", ErrCounts)
	}
	return max(0, 1-common/total), nil
}

// KullbackLeibler returns the divergence Σ p·ln(p/q) of a from b in nats, where p and q are the shares of a and b: R's kl.divergence. It is from 0, for equal
// shares, to +Inf, where a bucket of a counts something and that of b nothing. Buckets where a counts nothing add 0, where R returns NaN. It is not
// symmetric, and no metric.
//
// The error wraps [ErrMismatch] for breaks that differ, and [ErrEmpty] if one of them counts nothing. It costs O(n).
func KullbackLeibler(a, b *Histogram) (float64, error) {
	p, q, err := pairOfShares(a, b)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i := range p {
		sum += divergence(p[i], q[i])
	}
	return max(0, sum), nil // it is rounding below 0
}

// divergence returns p·ln(p/q), 0 for p = 0.
func divergence(p, q float64) float64 {
	if p == 0 {
		return 0
	}
	return p * math.Log(p/q)
}

// Jeffrey returns Σ p·ln(p/m) + q·ln(q/m) in nats, where p and q are the shares of a and b, and m is (p+q)/2: R's jeffrey.divergence. It is twice the
// Jensen–Shannon divergence, symmetric, and from 0 to 2·ln 2. Its square root is a metric of shares; it is none itself. Buckets where one counts nothing add what the
// limit is, where R returns NaN.
//
// The error wraps [ErrMismatch] for breaks that differ, and [ErrEmpty] if one of them counts nothing. It costs O(n).
//
// Source: Puzicha, Hofmann and Buhmann, "Non-parametric similarity measures for unsupervised texture segmentation and image retrieval", CVPR 1997;
// Endres and Schindelin, "A new metric for probability distributions", IEEE Transactions on Information Theory 49 (2003), for the root.
func Jeffrey(a, b *Histogram) (float64, error) {
	p, q, err := pairOfShares(a, b)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i := range p {
		// p/m as 2/(1+q/p): a mean of the least float64 may be rounded to 0.
		if p[i] > 0 {
			sum += p[i] * math.Log(2/(1+q[i]/p[i]))
		}
		if q[i] > 0 {
			sum += q[i] * math.Log(2/(1+p[i]/q[i]))
		}
	}
	return max(0, sum), nil
}

// TotalVariation returns half the sum of the differences of shares, from 0 to 1: the largest difference of the shares of values in any set of buckets. It is a metric of
// shares. The error wraps [ErrMismatch] for breaks that differ, and [ErrEmpty] if one of them counts nothing. It costs O(n).
func TotalVariation(a, b *Histogram) (float64, error) {
	p, q, err := pairOfShares(a, b)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i := range p {
		sum += math.Abs(p[i] - q[i])
	}
	return min(1, sum/2), nil
}

// Hellinger returns √(½·Σ(√p−√q)²) over the shares of a and b, from 0 to 1. It is a metric of shares. The error wraps [ErrMismatch] for breaks
// that differ, and [ErrEmpty] if one of them counts nothing. It costs O(n).
func Hellinger(a, b *Histogram) (float64, error) {
	p, q, err := pairOfShares(a, b)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i := range p {
		d := math.Sqrt(p[i]) - math.Sqrt(q[i])
		sum += d * d
	}
	return min(1, math.Sqrt(sum/2)), nil
}

// KolmogorovSmirnov returns the largest difference of the shares of values up to any break, from 0 to 1: the distance of the [Linear] distribution functions. It is a
// metric of shares. The values themselves may be farther apart, by at most the two KSDCC.
//
// The error wraps [ErrMismatch] for breaks that differ, and [ErrEmpty] if one of them counts nothing. It costs O(n).
func KolmogorovSmirnov(a, b *Histogram) (float64, error) {
	p, q, err := pairOfShares(a, b)
	if err != nil {
		return 0, err
	}
	ahead, most := 0.0, 0.0
	for i := range p[:len(p)-1] { // up to the last break both are 1
		ahead += p[i] - q[i]
		most = max(most, math.Abs(ahead))
	}
	return min(1, most), nil
}

// Wasserstein returns the Wasserstein-1 or earth mover's distance of two histograms with equal breaks, in the unit of the breaks: the area between their [Linear]
// distribution functions, or how far a value has to go on average to make one of the other. It is a metric of shares.
//
// The error wraps [ErrMismatch] for breaks that differ, [ErrEmpty] if one of them counts nothing, and [ErrInfinite] if a bucket that reaches to infinity
// counts anything. It costs O(n).
func Wasserstein(a, b *Histogram) (float64, error) {
	p, q, err := pairOfShares(a, b)
	if err != nil {
		return 0, err
	}
	ahead, area := 0.0, 0.0
	for i := range p {
		lower, upper := a.Bounds(i)
		before := ahead
		if ahead += p[i] - q[i]; i == len(p)-1 {
			ahead = 0 // but for rounding
		}
		if p[i] == 0 && q[i] == 0 && (math.IsInf(lower, 0) || math.IsInf(upper, 0)) {
			continue
		}
		if math.IsInf(upper-lower, 0) {
			return 0, fmt.Errorf("%w: bucket %d, from %v to %v, counts %v and %v", ErrInfinite, i, lower, upper, a.Counts[i], b.Counts[i])
		}
		area += (upper - lower) * meanHeight(before, ahead)
	}
	return area, nil
}

// meanHeight returns the mean of |x| on the way from one x to another.
func meanHeight(from, to float64) float64 {
	if from < 0 == (to < 0) || from == 0 || to == 0 {
		return math.Abs(from+to) / 2
	}
	return (from*from + to*to) / (2 * (math.Abs(from) + math.Abs(to)))
}

// pairOfShares returns the shares of two histograms with equal breaks, which count something.
func pairOfShares(a, b *Histogram) (p, q []float64, err error) {
	if err := checkPair(a, b); err != nil {
		return nil, nil, err
	}
	for i, h := range []*Histogram{a, b} {
		err := h.checkNonEmpty()
		if err == nil {
			q, err = h.shares()
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s histogram: %w", []string{"first", "second"}[i], err)
		}
		if i == 0 {
			p = q
		}
	}
	return p, q, nil
}
