package dp

import (
	"fmt"
	"math"
	"slices"

	"github.com/quietile/quietile/dp/internal/recursive"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// maxWeights limits the weights of all quantiles together, where each has its own.
const maxWeights = 1 << 24

// priors returns a prior for each of the different quantiles, nil if all have the same, without a robust part.
func (o Options) priors(g *sketch.Grid, quantiles []int64) ([]recursive.Prior, error) {
	o.Prior = o.prior()
	byQuantile, ok := o.Prior.(prior.ByQuantile)
	if !ok {
		if _, ok := o.Prior.(prior.Mixture); !ok {
			return nil, nil
		}
		p, err := priorOf(o.Prior, g)
		if err != nil {
			return nil, err
		}
		all := make([]recursive.Prior, len(quantiles))
		for j := range all {
			all[j] = p
		}
		return all, nil
	}
	if n := len(quantiles) * g.Len(); n > maxWeights {
		return nil, fmt.Errorf("%w: %w: one for each quantile has weights for %d buckets and %d quantiles, more than %d together", ErrOptions, prior.ErrPrior, g.Len(), len(quantiles), maxWeights)
	}
	var all []recursive.Prior
	for _, q := range quantiles {
		p, err := priorOf(byQuantile.At(float64(q)/epsilonUnit), g)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// priorOf returns a prior with its parts as the recursive estimator takes them.
func priorOf(p prior.Prior, g *sketch.Grid) (r recursive.Prior, err error) {
	if m, ok := p.(prior.Mixture); ok {
		if r.Weights, r.Robust, r.Share, err = m.Mixed(g); err == nil {
			err = prior.Check(r.Robust, g.Len())
		}
		if n, ok := p.(prior.Nearby); ok {
			r.Near = n.Near()
		}
		if err == nil && !(r.Share > 0 && r.Share <= 1 && r.Near >= 0 && r.Near <= 1) {
			err = fmt.Errorf("the robust part has the share %v, not in (0, 1], or is near answers with a part of %v, not in [0, 1]", r.Share, r.Near)
		}
	} else {
		r.Weights, err = p.Weights(g)
	}
	if err == nil {
		err = prior.Check(r.Weights, g.Len())
	}
	if err != nil {
		return r, fmt.Errorf("prior %s on grid %v: %w", p.Name(), g, err)
	}
	return r, nil
}

// prior returns Prior, or what stands for it.
func (o Options) prior() prior.Prior {
	if o.Prior == nil {
		return prior.Uniform()
	}
	return o.Prior
}

// shapes returns what estimators are compared on: the [shapes] of a prior, or those that have their quantiles where the priors of quantiles believe them, if they believe them in different places.
func (o Options) shapes(g *sketch.Grid, quantiles []int64, weights []uint64, records uint64) [][]shape {
	if _, ok := o.prior().(prior.ByQuantile); !ok {
		return shapes(g, weights, records)
	}
	last := math.Inf(-1)
	for _, p := range o.each {
		at := position(p, 0.5)
		if !(at > last) || position(p, 0.75)-position(p, 0.25) > float64(g.Len())/4 { // next to nothing is believed
			return shapes(g, weights, records)
		}
		last = at
	}
	var all [][]shape
	for _, belief := range []float64{0.1, 0.25, 0.5, 0.75, 0.9} { // each quantile lies where its prior has so much below
		at := []float64{}
		for _, p := range o.each {
			at = append(at, position(p, belief))
		}
		all = append(all, []shape{shapeThrough(g, quantiles, at, records)})
	}
	return all
}

// position returns the bucket, and the part of it, before which a prior has a share of its weight, without what all buckets have alike, which says nothing of where a quantile is; NaN if there is no more.
func position(p recursive.Prior, share float64) float64 {
	weights := p.Within(0, len(p.Weights), 0, uint64(len(p.Weights))<<levels-1, levels, nil)
	least := slices.Min(weights)
	total := 0.0
	for _, w := range weights {
		total += float64(w - least)
	}
	if total == 0 {
		return math.NaN()
	}
	left := share * total
	for i, w := range weights {
		if left <= float64(w-least) {
			return float64(i) + left/float64(w-least)
		}
		left -= float64(w - least)
	}
	return float64(len(weights))
}

// shapeThrough returns so many records with quantiles at positions in buckets, which need not rise: evenly between them, and as far beyond the first and the last as they lie apart, or, if there is one, a fortieth of the grid.
func shapeThrough(g *sketch.Grid, quantiles []int64, at []float64, records uint64) shape {
	slices.Sort(at)
	n := float64(g.Len())
	margin := (at[len(at)-1] - at[0]) / float64(max(len(at)-1, 1))
	margin = max(margin, 1)
	if len(at) == 1 {
		margin = max(n/40, 1)
	}
	edges := slices.Concat([]float64{max(at[0]-margin, 0)}, at, []float64{min(at[len(at)-1]+margin, n)})
	shares := make([]float64, g.Len())
	from := int64(0)
	for j := range len(edges) - 1 {
		to := int64(epsilonUnit)
		if j < len(quantiles) {
			to = quantiles[j]
		}
		spread(shares, min(edges[j], n-1), edges[j+1], float64(to-from))
		from = to
	}
	return newShape(g, shares, records)
}

// spread adds a mass evenly to the buckets between two positions, the first below the number of buckets.
func spread(shares []float64, from, to, mass float64) {
	if to-from < 1e-9 {
		shares[int(from)] += mass
		return
	}
	for i := int(from); i < len(shares) && float64(i) < to; i++ {
		shares[i] += mass * max(0, min(to, float64(i+1))-max(from, float64(i))) / (to - from)
	}
}
