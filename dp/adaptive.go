package dp

import (
	"math"
	"slices"

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
	if p.Rounds == 0 {
		p.Rounds = o.rounds(buckets)
	}
	if p.Bins == 0 {
		p.Bins = o.binsOf(p.Rounds)
	}
	p.Shares = o.Estimator.shares(p.Rounds)
	if o.Estimator.spikes {
		p.SpikeBins, p.Shares = adaptive.MaxSpikeBins, withSpikes(p.Shares, p.Rounds)
	}
	return p
}

// withSpikes returns shares of the same proportions as those of so many rounds, nil for equal ones, and a last one that is a fifth of all: found by trying, on records of many shapes.
func withSpikes(shares []uint64, rounds int) []uint64 {
	if shares == nil {
		shares = slices.Repeat([]uint64{1}, rounds)
	}
	sum := uint64(0)
	more := make([]uint64, rounds, rounds+1)
	for i, s := range shares {
		more[i] = 4 * s
		sum += s
	}
	return append(more, sum)
}

// rounds returns how many rounds adaptive histograms on so many buckets have without a number of their own.
func (o Options) rounds(buckets int) int {
	const least, most = 2, 4
	for rounds := least; rounds < most; rounds++ {
		if o.findsBuckets(rounds, buckets) {
			return rounds
		}
	}
	return most
}

// findsBuckets tells whether so many rounds divide the range into enough parts to find single buckets.
func (o Options) findsBuckets(rounds, buckets int) bool {
	bins := o.Estimator.bins
	if bins == 0 {
		bins = o.binsOf(rounds)
	}
	parts := 1
	for range rounds {
		if parts *= bins; parts >= 4*buckets {
			return true
		}
	}
	return false
}

// binsOf returns how many bins each of so many rounds has without a number of its own.
func (o Options) binsOf(rounds int) int {
	return int(min(max(8*math.Cbrt(o.perNoise())/float64(rounds), 4), adaptive.MaxBins))
}
