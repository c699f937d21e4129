package sketch

import (
	"fmt"
	"math"
	"slices"
)

// reach is how much of its bucket's width an estimate on an exponential grid may be away from a value in it.
const reach = 0.9

// relativeError returns how far an estimate on an exponential grid may be off.
func relativeError(scale int) float64 { return reach * math.Expm1(math.Ldexp(math.Ln2, -scale)) }

// RelativeError returns the coarsest scale on which a quantile is within the share e of the exact one: 0.9·(2^(2^-scale) − 1) ≤ e. It is 6 for 1 %, 5 for 2 %. It
// returns ErrGrid if e is not above zero, or is less than the 0.24 % of scale 8. Subnormal and infinite values are not within e of anything.
func RelativeError(e float64) (scale int, err error) {
	if !(e > 0) {
		return 0, fmt.Errorf("exponential %w: relative error %v is not above 0", ErrGrid, e)
	}
	for scale = minScale; scale <= maxScale; scale++ {
		if relativeError(scale) <= e {
			return scale, nil
		}
	}
	return 0, fmt.Errorf("exponential %w: relative error %v is less than the %.2g of scale %d, the finest", ErrGrid, e, relativeError(maxScale), maxScale)
}

// RelativeError returns how far [Binned.Quantile] may be off on an exponential grid, as a share of the exact quantile, if that is normal and, on a bounded grid, within
// the bounds. It is infinite for other grids, the error of which is at most the width of a bucket.
func (g *Grid) RelativeError() float64 {
	if g.kind != exponential {
		return math.Inf(1)
	}
	return relativeError(g.scale)
}

// Scale returns the scale of an exponential grid; ok is false for other grids.
func (g *Grid) Scale() (scale int, ok bool) { return g.scale, g.kind == exponential }

// Unbounded says whether the grid is an exponential one over all of float64.
func (g *Grid) Unbounded() bool { return g.kind == exponential && !g.bounded }

// Breaks returns all boundaries of a linear or explicit grid, Len()−1 ascending float64. It returns nil for an
// exponential grid.
func (g *Grid) Breaks() []float64 { return slices.Clone(g.breaks) }

// Power returns the place of a bucket of an exponential grid in the numbering of OpenTelemetry and Prometheus'
// native histograms: the bucket holds the values of that sign whose magnitude is in (2^(k/2^scale), 2^((k+1)/2^scale)].
// The bucket of zero has sign 0 and k 0. An outer bucket, which has no such limits, has the place one beyond
// that of its neighbour.
func (g *Grid) Power(i int) (sign, k int) {
	if g.kind != exponential || i < 0 || i >= g.len {
		panic(fmt.Sprintf("sketch: power of bucket %d of %v", i, g))
	}
	r := g.roots
	switch at := i - g.zero(); {
	case at == 0:
		return 0, 0
	case at < 0:
		return -1, r.first - at - 1
	default:
		return 1, r.first + at - 1
	}
}

// PowerIndex returns the number of the bucket that [Grid.Power] says has that sign and that k; ok is false if the
// grid has none. The outer buckets have the places one beyond their neighbours'.
func (g *Grid) PowerIndex(sign, k int) (i int, ok bool) {
	if g.kind != exponential {
		panic(fmt.Sprintf("sketch: power in %v", g))
	}
	r := g.roots
	at := g.zero()
	switch {
	case sign == 0:
		return at, k == 0 && uint(at) < uint(g.len)
	case k < r.first || k > r.last+1:
		return 0, false
	case sign < 0:
		at -= k - r.first + 1
	default:
		at += k - r.first + 1
	}
	return at, uint(at) < uint(g.len)
}

// Downscale returns the exponential grid of a coarser scale, each bucket of which is the union of 2^d buckets of
// this one, d the difference. It returns ErrGrid for a finer scale and for a grid that is not exponential, and for
// a bounded grid if its first or last boundary lies within a bucket of the coarser one.
func (g *Grid) Downscale(scale int) (*Grid, error) {
	if g.kind != exponential {
		return nil, fmt.Errorf("%w %v: there is no scale to change", ErrGrid, g)
	}
	if scale > g.scale {
		return nil, fmt.Errorf("exponential %w: scale %d is finer than the %d of %v", ErrGrid, scale, g.scale, g)
	}
	if scale == g.scale {
		return g, nil
	}
	if !g.bounded {
		return NewExponential(scale)
	}
	coarse, err := NewBoundedExponential(scale, g.min, g.max)
	if err != nil {
		return nil, err
	}
	for _, upper := range []bool{false, true} {
		if sign, k := g.end(upper); sign != 0 {
			_, c := coarse.end(upper)
			// Between the outermost boundaries and the finite values nearest to them there is nothing.
			if k != c<<(g.scale-scale) && k != g.roots.first && k != g.roots.last+1 {
				return nil, fmt.Errorf("exponential %w: %v ends within a bucket of scale %d", ErrGrid, g, scale)
			}
		}
	}
	return coarse, nil
}

// end returns the sign of the lower end of the first inner bucket of a bounded grid, or of the upper end of the last,
// and k with the end at 2^(k/2^scale). The sign is 0 if the bucket is that of zero.
func (g *Grid) end(upper bool) (sign, k int) {
	i := 1
	if upper {
		i = g.len - 2
	}
	sign, k = g.Power(i)
	if upper == (sign > 0) {
		k++
	}
	return sign, k
}

// zero returns the number of the bucket of zero of an exponential grid, which need not be one of its buckets.
func (g *Grid) zero() int { return g.roots.positive() + 1 - g.base }

// origin is what the place of a bucket of an exponential grid is above its k.
func (r *roots) origin() int {
	if r.down > 0 {
		return (bias + 1) >> r.down
	}
	return bias<<r.up + 1
}

// place returns the side and the place of a bucket. The bucket of zero of an exponential grid is on the side −1.
func (g *Grid) place(i int) (side, place int) {
	if g.kind != exponential {
		return 0, i
	}
	switch sign, k := g.Power(i); sign {
	case 0:
		return -1, 0
	case 1:
		return 0, k + g.roots.origin()
	default:
		return 1, k + g.roots.origin()
	}
}

// bucketAt returns the number of the bucket at a place.
func (g *Grid) bucketAt(side, place int) int {
	if g.kind != exponential {
		return place
	}
	at := place - g.roots.origin() - g.roots.first + 1 // from the bucket of zero
	switch side {
	case -1:
		return g.zero()
	case 0:
		return g.zero() + at
	default:
		return g.zero() - at
	}
}

// coarser returns the place here of a bucket that has a place in a finer exponential grid.
func (g *Grid) coarser(fine *Grid, place int) int {
	return (place-fine.roots.origin())>>(fine.scale-g.scale) + g.roots.origin()
}

// middle returns a value of a bucket: the middle of its finite values, or its finite end.
func (g *Grid) middle(i int) float64 {
	lower, upper := g.Bounds(i)
	at := [5]float64{
		lower/2 + upper/2, upper, lower,
		math.Nextafter(upper, math.Inf(-1)), math.Nextafter(lower, math.Inf(1)),
	}
	if math.IsInf(lower, -1) {
		at[0], at[2] = upper, math.Nextafter(upper, math.Inf(-1))
	} else if math.IsInf(upper, 1) {
		at[0], at[1] = lower, math.Nextafter(lower, math.Inf(1))
	}
	for _, x := range at {
		if g.Index(x) == i {
			return x
		}
	}
	return lower // not reached: a bucket is not empty
}
