package dp

import (
	"fmt"
	"math"
	"sort"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/tree"
	"github.com/quietile/quietile/dp/prior"
)

// curveSteps is how many steps a released curve has.
const curveSteps = 256

// curveRuns is how many releases are simulated to find a curve's variance.
const curveRuns = 4

// A Curve is the distribution function of a window's records as noisy counts or earlier curves have it, and so public: 0 before its first point, 1 after its last one, a straight line between any two.
type Curve struct {
	// At are positions on the grid, in buckets, that never fall: of K+1 of them the k-th, from 0, is where the share k/K is reached. None for a curve of which nothing is known.
	At []float64
	// Variance is that of the curve's shares around the true ones, the mean over its points.
	Variance float64
}

// Share returns the share of the records before a position.
func (c Curve) Share(at float64) float64 {
	last := len(c.At) - 1
	i := sort.Search(len(c.At), func(i int) bool { return c.At[i] > at })
	switch {
	case i == 0:
		return 0
	case i > last:
		return 1
	}
	return (float64(i-1) + (at-c.At[i-1])/(c.At[i]-c.At[i-1])) / float64(last)
}

// Position returns where a share in [0, 1] is reached.
func (c Curve) Position(share float64) float64 {
	last := len(c.At) - 1
	i := min(int(share*float64(last)), last-1)
	return c.At[i] + (c.At[i+1]-c.At[i])*(share*float64(last)-float64(i))
}

// Apart returns the mean squared difference of the shares of two curves, at the points of the second.
func (c Curve) Apart(from Curve) (mean float64) {
	last := float64(len(from.At) - 1)
	for k, at := range from.At {
		off := c.Share(at) - float64(k)/last
		mean += off * off / (last + 1)
	}
	return mean
}

// Check returns an error, which wraps [prior.ErrPrior], unless the curve is one of a grid of so many buckets, or empty.
func (c Curve) Check(buckets int) error {
	switch {
	case len(c.At) == 0:
		return nil
	case len(c.At) < 2 || len(c.At) > curveSteps+1:
		return fmt.Errorf("%w: curve of %d points is not between 2 and %d", prior.ErrPrior, len(c.At), curveSteps+1)
	case !(c.Variance >= 0 && c.Variance <= 1):
		return fmt.Errorf("%w: curve with variance %v is not in [0, 1]", prior.ErrPrior, c.Variance)
	}
	before := 0.0
	for _, at := range c.At {
		if !(at >= before && at <= float64(buckets)) {
			return fmt.Errorf("%w: curve with a point at %v is not in [%v, %d]", prior.ErrPrior, at, before, buckets)
		}
		before = at
	}
	return nil
}

// believed returns the weight of a forecast beside a released curve: by their variances, and less where the two are farther apart than these explain. A forecast is off by one of its steps besides.
func (c Curve) believed(forecast Curve) float64 {
	if len(forecast.At) == 0 {
		return 0
	}
	step := 1 / float64(len(forecast.At)-1)
	return c.Variance / max(c.Variance+forecast.Variance+step*step, forecast.Apart(c))
}

// Mean returns the curve whose shares are the mean of two curves' on the same grid, with a weight in [0, 1] of the second. Its variance is left 0.
func (c Curve) Mean(other Curve, weight float64) Curve {
	at := sort.Float64Slice(append(append([]float64{}, c.At...), other.At...))
	at.Sort()
	shares := make([]float64, len(at))
	for i, x := range at {
		shares[i] = (1-weight)*c.Share(x) + weight*other.Share(x)
	}
	mean := Curve{At: make([]float64, curveSteps+1)}
	mean.At[0], mean.At[curveSteps] = at[max(sort.Search(len(at), func(i int) bool { return shares[i] > 0 })-1, 0)], at[len(at)-1]
	for k := 1; k < curveSteps; k++ {
		share := float64(k) / curveSteps
		i := min(sort.SearchFloat64s(shares, share), len(at)-1) // the first point where it is reached
		mean.At[k] = at[i]
		if i > 0 && shares[i] > shares[i-1] {
			mean.At[k] -= (at[i] - at[i-1]) * (shares[i] - share) / (shares[i] - shares[i-1])
		}
		mean.At[k] = min(max(mean.At[k], mean.At[k-1]), mean.At[curveSteps])
	}
	return mean
}

// read returns cuts of the bins for quantiles, and what a tree of noisy counts in bins shows of the records, if a forecast was given: it is then combined with that. What it looks at is public, or follows from
// noisy counts; the sampler is not spent on data.
func (b *binning) read(t *tree.Tree, quantiles []int64, forecast *Curve, sampler exact.NoiseSampler) ([]uint64, *Curve) {
	if forecast == nil {
		return t.Quantiles(quantiles), nil
	}
	own := b.curve(t)
	if t.N() == 0 { // it shows nothing
		own.Variance = 1
	} else {
		for range curveRuns {
			own.Variance += b.curve(t.Again(sampler)).Apart(own) / curveRuns
		}
	}
	weight := own.believed(*forecast)
	if weight == 0 {
		return t.Quantiles(quantiles), &own
	}
	shares := make([]float64, b.len()+1)
	for i, share := range t.Shares() {
		shares[i] = (1-weight)*share + weight*forecast.Share(float64(b.starts[i]))
	}
	return tree.Cuts(shares, quantiles), &own
}

// curve returns what a tree of counts in bins shows of the records, without its variance.
func (b *binning) curve(t *tree.Tree) Curve {
	shares, last := t.Shares(), b.len()
	var steps []int64
	for k := int64(1); k < curveSteps; k++ {
		steps = append(steps, k*epsilonUnit/curveSteps)
	}
	c := Curve{At: make([]float64, 1, curveSteps+1)}
	c.At[0] = float64(b.starts[max(sort.Search(last, func(i int) bool { return shares[i] > 0 })-1, 0)])
	for _, cut := range tree.Cuts(shares, steps) {
		c.At = append(c.At, math.Ldexp(float64(b.cut(cut)), -levels))
	}
	c.At = append(c.At, float64(b.starts[sort.SearchFloat64s(shares, 1)]))
	return c
}
