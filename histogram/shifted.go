package histogram

import (
	"fmt"
	"math"
)

// Kernel is the weight (1−|t|^A)^B of a bucket at the distance t in (−1, 1), in units of the smoothing. A and B are finite and more than 0. The zero value stands for
// A = B = 2, the biweight kernel, R's kopt = c(2, 2).
type Kernel struct{ A, B float64 }

// Density is an estimate of a density at the middles of buckets.
type Density struct {
	// X are the middles, ascending, in the unit of the breaks, and Y the densities there, in shares per unit.
	X, Y []float64
	// Cut says that a part of the estimate lies outside of the histogram, whose outer buckets count something: then it integrates to less than 1.
	Cut bool
}

// AverageShifted returns the average shifted histogram, R's HistToASH: each bucket counts for itself and, with less weight, for the m−1 on either side of
// it, so that the estimate is smooth over m buckets. R has m = 5. Buckets must be of one width, but for 10⁻⁶ of it.
//
// The error wraps [ErrArgument] for an m that is not from 1 to [MaxBuckets] and for a kernel that is none, [ErrEmpty] if nothing is counted, [ErrInfinite] if a bucket reaches to infinity, and
// [ErrBreaks] for a bucket of another width. It costs O(m·n).
//
// Source: Scott, "Averaged shifted histograms: effective nonparametric density estimators in several dimensions", Annals of Statistics 13 (1985).
func (h *Histogram) AverageShifted(m int, k Kernel) (*Density, error) {
	if err := h.checkNonEmpty(); err != nil {
		return nil, err
	}
	if err := h.checkFinite(); err != nil {
		return nil, err
	}
	if m < 1 || m > MaxBuckets {
		return nil, fmt.Errorf("%w: m %d is not from 1 to %d", ErrArgument, m, MaxBuckets)
	}
	if k == (Kernel{}) {
		k = Kernel{2, 2}
	}
	for _, x := range []float64{k.A, k.B} {
		if !(x > 0) || math.IsInf(x, 1) {
			return nil, fmt.Errorf("%w: kernel %v has %v, which is not finite and more than 0", ErrArgument, k, x)
		}
	}
	n := len(h.Counts)
	first := h.Breaks[0]
	width := (h.Breaks[n] - first) / float64(n)
	for i := range n {
		const tolerance = 1e-6
		if w := h.Breaks[i+1] - h.Breaks[i]; math.Abs(w-width) > tolerance*width {
			return nil, fmt.Errorf("%w: bucket %d, from %v to %v, is %v wide, where an average shifted histogram needs all to be %v", ErrBreaks, i, h.Breaks[i], h.Breaks[i+1], w, width)
		}
	}
	if math.IsInf(h.Count(), 1) {
		return nil, fmt.Errorf("%w: their sum is more than a float64 holds", ErrCounts)
	}
	weights := k.weights(m, n)
	smoothed := float64(m) * width
	total := h.Count()
	density := &Density{X: make([]float64, n), Y: make([]float64, n)}
	reach := len(weights) - 1
	for i, c := range h.Counts {
		density.X[i] = first + (float64(i)+0.5)*width
		if c == 0 {
			continue
		}
		height := float64(float32(c / (total * smoothed)))
		density.Cut = density.Cut || i < m-1 || i > n-m
		for j := max(0, i-reach); j <= min(n-1, i+reach); j++ {
			density.Y[j] += height * weights[max(i-j, j-i)]
		}
	}
	return density, nil
}

// weights returns the weights of buckets at the distances from 0 to m−1, or to n−1 if that is less; those of all 2m−1 buckets add up to m. The package ash, which R's
// HistToASH asks, has weights and heights in single precision. They are rounded as there, so that the answers are R's; it changes them by some 10⁻⁷ of them.
func (k Kernel) weights(m, n int) []float64 {
	weights := make([]float64, min(m, n))
	sum := float32(0)
	for d := range m {
		t := float32(d) / float32(m)
		w := float64(float32(math.Pow(float64(1-float32(math.Pow(float64(t), k.A))), k.B)))
		if d < len(weights) {
			weights[d] = w
		}
		if d > 0 {
			w *= 2
		}
		sum = float32(float64(sum) + w)
	}
	unit := float64(float32(m) / sum)
	for d := range weights {
		weights[d] *= unit
	}
	return weights
}
