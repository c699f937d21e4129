package sketch

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"sync"
)

const (
	minScale = -4
	maxScale = 8

	mantissaBits = 52
	mantissaMask = 1<<mantissaBits - 1
	bias         = 1023

	// Slots of the mantissa, and how it is shifted to find its own.
	slots     = 2 << maxScale
	slotShift = mantissaBits - 1 - maxScale
)

func scaleError(scale int) error {
	return fmt.Errorf("exponential %w: scale %d is outside %d to %d", ErrGrid, scale, minScale, maxScale)
}

// roots locates values among the boundaries 2^(k/2^scale).
//
// Bucket k of the positive values is (2^(k/N), 2^((k+1)/N)] with N = 2^scale. For x = 2^e·(1+m/2^52)
// its k is e·N − 1 plus the number of j in 0…N−1 with m > b_j, where b_j = ⌊(2^(j/N)−1)·2^52⌋: the
// boundaries with 0 < j < N are irrational, so that m > b_j exactly when 1+m/2^52 > 2^(j/N), and b_0 = 0
// puts powers of two below. Neighbouring boundaries are at least ln 2/N apart, so at most one falls into
// each of 512 equal slots of the mantissa, N being at most 256; for slot i with j boundaries before it
// and b_j in it,
//
//	(m + t[i]) >> 52 = j + (m > b_j)   with   t[i] = (j+1)<<52 − 1 − b_j,
//
// and t[i] = j<<52 when there is none. A negative scale halves the k of scale 0 that many times.
type roots struct {
	up, down uint // scale = up or −down
	table    [slots]uint64
	// fraction[j] is the float64 nearest to 2^(j/N).
	fraction []float64
	// first and last k of all float64.
	first, last int
}

var rootsCache [maxScale - minScale + 1]struct {
	once  sync.Once
	roots roots
}

func rootsOf(scale int) (*roots, error) {
	if scale < minScale || scale > maxScale {
		return nil, scaleError(scale)
	}
	c := &rootsCache[scale-minScale]
	c.once.Do(func() { c.roots.init(scale) })
	return &c.roots, nil
}

func (r *roots) init(scale int) {
	r.up, r.down = uint(max(scale, 0)), uint(max(-scale, 0))
	n := 1 << r.up
	// The root is exact to some 200 bits, and its powers to nearly as many: no boundary comes that near
	// to a multiple of 2^-52, which the tests check against exact arithmetic.
	root := new(big.Float).SetPrec(256).SetInt64(2)
	for range r.up {
		root.Sqrt(root)
	}
	bounds := make([]uint64, n)
	r.fraction = make([]float64, n)
	power := new(big.Float).SetPrec(256).SetInt64(1)
	one := new(big.Float).SetInt64(1)
	for j := range n {
		r.fraction[j], _ = power.Float64()
		m := new(big.Float).SetPrec(256).Sub(power, one)
		bounds[j], _ = m.SetMantExp(m, mantissaBits).Uint64()
		power.Mul(power, root)
	}
	j := 0
	for i := range r.table {
		end := uint64(i+1) << slotShift
		if j < n && bounds[j] < end {
			r.table[i] = uint64(j+1)<<mantissaBits - 1 - bounds[j]
			j++
		} else {
			r.table[i] = uint64(j) << mantissaBits
		}
	}
	r.first, r.last = r.bucket(math.SmallestNonzeroFloat64), r.bucket(math.MaxFloat64)
}

// bucket returns k for a finite x > 0.
func (r *roots) bucket(x float64) int {
	b := math.Float64bits(x)
	e, m := int(b>>mantissaBits)-bias, b&mantissaMask
	if e == -bias { // subnormal: make the leading bit implicit
		zeros := bits.LeadingZeros64(m) - (63 - mantissaBits)
		m = m << uint(zeros) & mantissaMask
		e = 1 - bias - zeros
	}
	return r.locate(e, m)
}

// locate returns k for x = 2^e·(1+m/2^52).
func (r *roots) locate(e int, m uint64) int {
	return (e<<r.up + int((m+r.table[m>>slotShift])>>mantissaBits) - 1) >> r.down
}

// positive is the number of buckets of the positive values.
func (r *roots) positive() int { return r.last - r.first + 1 }

// unbounded is the number of buckets of the unbounded grid: both infinities, zero, and the others.
func (r *roots) unbounded() int { return 2*r.positive() + 3 }

// index returns the number of a value's bucket in the unbounded grid: 0 for −Inf, then the negative
// values by falling magnitude, zero, the positive values, +Inf.
func (r *roots) index(x float64) int {
	zero := r.positive() + 1
	switch {
	case x == 0:
		return zero
	case math.IsInf(x, 1):
		return r.unbounded() - 1
	case math.IsInf(x, -1):
		return 0
	case x < 0:
		return zero - (r.bucket(-x) - r.first + 1)
	default:
		return zero + (r.bucket(x) - r.first + 1)
	}
}

// bounds returns the boundaries of a bucket by its number in the unbounded grid.
func (r *roots) bounds(i int) (lower, upper float64) {
	zero := r.positive() + 1
	switch {
	case i == zero:
		return 0, 0
	case i == 0:
		return math.Inf(-1), -math.MaxFloat64
	case i == r.unbounded()-1:
		return math.MaxFloat64, math.Inf(1)
	case i < zero:
		k := zero - i - 1 + r.first
		return -r.boundary(k + 1), -r.boundary(k) + 0
	default:
		k := i - zero - 1 + r.first
		return r.boundary(k), r.boundary(k + 1)
	}
}

// boundary returns 2^(k/2^scale), at most the largest float64.
func (r *roots) boundary(k int) float64 {
	k <<= r.down
	return min(math.Ldexp(r.fraction[k&(1<<r.up-1)], k>>r.up), math.MaxFloat64)
}
