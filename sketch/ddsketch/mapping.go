package ddsketch

import (
	"fmt"
	"math"
	"slices"

	"github.com/quietile/quietile/sketch"
)

// Interpolations of the logarithm between powers of two. DDSketch: Masson, Rim and Lee, PVLDB 12(12), 2019; the
// interpolations are those of DataDog's sketches-go and sketches-java.
const (
	none = iota
	linear
	quadratic
	cubic
)

// Coefficients of the cubic interpolation ((a·s + b)·s + c)·s of log2(1+s).
const (
	cubicA = 6.0 / 35
	cubicB = -3.0 / 5
	cubicC = 10.0 / 7
)

// mapping numbers buckets of the positive values: i is ⌊log(x)/log(gamma) + offset⌋, with a logarithm that may be
// interpolated.
type mapping struct {
	gamma, offset float64
	interpolation uint64
	seen          bool
}

func (m *mapping) check() error {
	switch {
	case !m.seen:
		return fmt.Errorf("%w: the mapping is missing", sketch.ErrEncoding)
	case !(m.gamma > 1) || math.IsInf(m.gamma, 1):
		return fmt.Errorf("%w: the mapping's gamma is %v, where more than 1 is a base", sketch.ErrEncoding, m.gamma)
	case math.IsNaN(m.offset) || math.IsInf(m.offset, 0):
		return fmt.Errorf("%w: the mapping's indexOffset is %v", sketch.ErrEncoding, m.offset)
	case m.interpolation > cubic:
		return fmt.Errorf("%w: the mapping's interpolation is %d, where 0 to %d are known", sketch.ErrEncoding, m.interpolation, cubic)
	}
	return nil
}

// closeGamma is how far, relatively, gamma may be from the base of a scale: some units in the last place, as different
// ways to compute it give.
const closeGamma = 0x1p-50

// scale returns the scale of the exponential grid that has the buckets of the mapping, and by how much the numbers
// are higher than there.
func (m *mapping) scale() (scale, shift int, ok bool) {
	if m.offset != math.Trunc(m.offset) || math.Abs(m.offset) > math.MaxInt32 {
		return 0, 0, false
	}
	last := finestScale
	if m.interpolation != none {
		last = 0 // all logarithms agree at powers of two
	}
	for scale := coarsestScale; scale <= last; scale++ {
		if base := gammaOf(scale); math.Abs(m.gamma-base) <= closeGamma*base {
			return scale, int(m.offset), true
		}
	}
	return 0, 0, false
}

// gammaOf returns the float64 nearest to 2^(2^-scale), or one next to it.
func gammaOf(scale int) float64 { return math.Exp2(math.Exp2(-float64(scale))) }

// perUnit is the number of buckets for each unit of the logarithm, which is natural or, if interpolated, binary.
func (m *mapping) perUnit() float64 {
	if m.interpolation == none {
		return 1 / math.Log(m.gamma)
	}
	return 1 / math.Log2(m.gamma)
}

// number returns the bucket of x > 0 before it is rounded down.
func (m *mapping) number(x float64) float64 {
	if m.interpolation == none {
		return math.Log(x)*m.perUnit() + m.offset
	}
	fraction, exponent := math.Frexp(x)
	e, s := float64(exponent-1), 2*fraction-1
	switch m.interpolation {
	case linear:
		e += s
	case quadratic:
		e += s * (4 - s) / 3
	default:
		e += ((cubicA*s+cubicB)*s + cubicC) * s
	}
	return e*m.perUnit() + m.offset
}

// lower returns the lower boundary of a bucket, by the same steps as DataDog's libraries.
func (m *mapping) lower(i int) float64 {
	x := (float64(i) - m.offset) / m.perUnit()
	if m.interpolation == none {
		return math.Exp(x)
	}
	exponent := math.Floor(x)
	fraction := x - exponent
	var s float64 // 1 + what the interpolation makes fraction of
	switch m.interpolation {
	case linear:
		s = fraction + 1
	case quadratic:
		s = 3 - math.Sqrt(4-3*fraction)
	default: // Cardano's formula
		d0 := cubicB*cubicB - 3*cubicA*cubicC
		d1 := 2*cubicB*cubicB*cubicB - 9*cubicA*cubicB*cubicC - 27*cubicA*cubicA*fraction
		p := math.Cbrt((d1 - math.Sqrt(d1*d1-4*d0*d0*d0)) / 2)
		s = 1 - (cubicB+p+d0/p)/(3*cubicA)
	}
	return math.Ldexp(s, int(exponent))
}

// ends returns the numbers of the first and the last bucket that hold any float64 that is not subnormal.
func (m *mapping) ends() (first, last float64) {
	return math.Floor(m.number(0x1p-1022)), math.Floor(m.number(math.MaxFloat64))
}

// boundaries is the explicit grid of a mapping.
type boundaries struct {
	// numbers are those of the buckets whose lower ends are boundaries, ascending.
	numbers []int
	grid    *sketch.Grid
}

// boundaries returns the grid of all buckets that hold any float64 that is not subnormal or, if those are more than a
// grid may have, of the buckets given, and of what is between them and around zero.
func (m *mapping) boundaries(filled []int) (*boundaries, error) {
	b := &boundaries{}
	first, last := m.ends()
	if first >= math.MinInt32 && last <= math.MaxInt32 && 2*(last-first+2) < sketch.MaxBuckets {
		b.numbers = make([]int, int(last-first)+2)
		for i := range b.numbers {
			b.numbers[i] = int(first) + i
		}
	} else {
		b.numbers = append(b.numbers, int(max(first, -1<<62)))
		for _, i := range filled {
			b.numbers = append(b.numbers, i, i+1)
		}
		slices.Sort(b.numbers)
		b.numbers = slices.Compact(b.numbers)
	}
	n := len(b.numbers)
	breaks := make([]float64, 2*n)
	for i, number := range b.numbers {
		lower := max(m.lower(number), math.SmallestNonzeroFloat64) // not in the bucket of zero
		if math.IsInf(lower, 1) {                                  // where the last bucket ends
			breaks = breaks[n-i : n+i]
			break
		}
		breaks[n+i] = lower
		breaks[n-1-i] = math.Nextafter(-lower, math.Inf(1)) // a negative bucket holds its upper boundary
	}
	grid, err := sketch.NewExplicit(breaks)
	if err != nil {
		return nil, fmt.Errorf("the mapping's gamma %v and indexOffset %v: %w", m.gamma, m.offset, err)
	}
	b.grid = grid
	return b, nil
}

// bucket returns the number in the grid of a bucket of the mapping.
func (b *boundaries) bucket(sign, number int) (i int, ok bool) {
	at, ok := slices.BinarySearch(b.numbers, number)
	if at == len(b.numbers)-1 {
		return 0, false
	}
	i = b.grid.Len()/2 + sign*(at+1)
	return i, ok && i >= 0 && i < b.grid.Len()
}
