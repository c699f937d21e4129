package dp

import (
	"math"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/adaptive"
	"github.com/quietile/quietile/dp/internal/tree"
	"github.com/quietile/quietile/sketch"
)

// adaptive returns cuts read from histograms whose bins follow the records.
func (o Options) adaptive(s *sketch.Binned, quantiles []int64, weights []uint64, sampler exact.NoiseSampler) ([]uint64, []Interval) {
	p := o.histograms(len(weights))
	p.Weights = weights
	for bucket, n := range s.All() {
		p.Counts = append(p.Counts, tree.Count{Bucket: bucket, Records: n})
	}
	cuts := adaptive.Release(p, sampler).Quantiles(quantiles)
	if !o.measures() {
		return cuts, nil
	}
	return cuts, o.measure(quantiles, adaptive.Between(p.Counts, cuts, sampler), sampler)
}

// histograms returns the problem of the adaptive estimator on so many buckets, without weights and counts.
//
// Without numbers of its own it counts in eight times the cube root of n/noise bins, all rounds together: found by trying, on records of many shapes. Rounds are as few as divide the grid, bin by bin, into four times
// as many parts as it has buckets, but at least two and at most four.
func (o Options) histograms(buckets int) *adaptive.Problem {
	answers, _ := o.budgets()
	p := &adaptive.Problem{Bins: o.Estimator.bins, Rounds: o.Estimator.rounds, Epsilon: int64(answers.epsilon), Rho: answers.nanoRho, Contributions: uint64(max(o.Contributions, 1))}
	if answers.nanoRho > 0 {
		p.Noise = tree.Gaussian
	}
	all := 8 * math.Cbrt(o.perNoise())
	bins := func(rounds int) int {
		if o.Estimator.bins > 0 {
			return o.Estimator.bins
		}
		return int(min(max(all/float64(rounds), 4), adaptive.MaxBins))
	}
	if p.Rounds == 0 {
		p.Rounds = 2
		for p.Rounds < 4 && math.Pow(float64(bins(p.Rounds)), float64(p.Rounds)) < 4*float64(buckets) {
			p.Rounds++
		}
	}
	p.Bins = bins(p.Rounds)
	p.Shares = o.Estimator.shares(p.Rounds)
	return p
}
