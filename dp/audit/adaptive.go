package audit

import (
	"fmt"
	"math/big"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/adaptive"
	noisytree "github.com/quietile/quietile/dp/internal/tree"
)

// adaptiveCases are histograms whose bins earlier noisy ones made. All that is published is made of the noisy counts.
func adaptiveCases() []Case {
	pair := func(c Case, x, y []uint64) Case {
		c.Pairs = append(c.Pairs, [2][]uint64{x, y})
		return c
	}
	return []Case{
		adaptiveCase(adaptive.Problem{Weights: []uint64{1, 1, 1, 1}, Bins: 2, Rounds: 2}, 1, 1, 3),
		adaptiveCase(adaptive.Problem{Weights: []uint64{1, 1, 1, 1, 1, 1}, Bins: 2, Rounds: 3, Shares: []uint64{1, 2, 3}}, 2, 1, 2),
		adaptiveCase(adaptive.Problem{Weights: []uint64{5, 1, 1, 2}, Bins: 3, Rounds: 2, Shares: []uint64{1, 3}}, 2, 2, 2),
		adaptiveCase(adaptive.Problem{Weights: []uint64{1}, Bins: 2, Rounds: 2}, 1, 1, 3),
		pair(adaptiveCase(adaptive.Problem{Weights: []uint64{1, 1, 1, 1, 1, 1}, Bins: 2, Rounds: 2}, 1, 1, -1), []uint64{0, 0, 0, 0, 0, 0}, []uint64{0, 0, 0, 0, 1, 0}),
		adaptiveCase(adaptive.Problem{Weights: []uint64{1, 1, 1}, Bins: 2, Rounds: 2, SpikeBins: 3, Shares: []uint64{4, 8, 3}}, 1, 1, 2),
		adaptiveCase(adaptive.Problem{Weights: []uint64{1, 2, 1, 1}, Bins: 2, Rounds: 1, SpikeBins: 3}, 2, 2, 2), // bins for spikes are made of the first round
		measuredAdaptiveCase(adaptive.Problem{Weights: []uint64{1, 1, 1}, Bins: 2, Rounds: 2}, []int64{noisytree.Unit / 4, noisytree.Unit / 2}, 1, 1, 1, 2),
	}
}

// adaptiveCase audits the noisy counts of all rounds, moved into a small window around the counts themselves, with an epsilon in whole numbers.
func adaptiveCase(p adaptive.Problem, epsilon int64, contributions, records int) Case {
	p.Epsilon, p.Contributions = epsilon*noisytree.Unit, uint64(contributions)
	setting := fmt.Sprintf("%d rounds, %d bins", p.Rounds, p.Bins)
	if p.SpikeBins > 0 {
		setting += fmt.Sprintf(", %d for spikes", p.SpikeBins)
	}
	if p.Shares != nil {
		setting += fmt.Sprintf(", shares %v", p.Shares)
	}
	return Case{
		Mechanism:     "adaptive",
		Setting:       fmt.Sprintf("%s, prior %v, c %d", setting, p.Weights, contributions),
		Epsilon:       float64(epsilon),
		Contributions: contributions,
		Buckets:       len(p.Weights),
		Records:       records,
		Answer:        adaptiveAnswer(p, adaptive.Measure),
	}
}

// measuredAdaptiveCase is the quantiles of such histograms, whose rank errors are measured with an epsilon of its own.
func measuredAdaptiveCase(p adaptive.Problem, quantiles []int64, epsilon, measured int64, contributions, records int) Case {
	c := adaptiveCase(p, epsilon, contributions, records)
	p.Epsilon, p.Contributions = epsilon*noisytree.Unit, uint64(contributions)
	ruler := noisytree.Problem{Buckets: len(quantiles) + 1, Branching: 2, Unrooted: true, Epsilon: measured * noisytree.Unit, Contributions: uint64(contributions)}
	measure, known := noisyTreeAnswer(ruler, noisytree.Measure, 0, 1), map[noisyCount][]*big.Float{}
	c.Mechanism, c.Epsilon = "rank error", float64(epsilon+measured)
	c.Setting = "adaptive, " + c.Setting
	c.Answer = func(records []uint64, s exact.Sampler) []uint64 {
		p := p
		p.Counts = countsOf(records)
		cuts := adaptive.Release(&p, windowOf(s, 0, 1, known)).Quantiles(quantiles)
		for j := range cuts {
			cuts[j] &^= 1<<(noisytree.CellBits-1) - 1 // to the half of a bucket, where lots soon decide
		}
		return append(cuts, measure(adaptive.Between(p.Counts, cuts, s), s)...)
	}
	return c
}

// adaptiveAnswer runs what measures rounds and returns the noisy counts of all of them, moved into 0 … 2. Those of one round tell the bins of the next.
func adaptiveAnswer(p adaptive.Problem, measure func(*adaptive.Problem, exact.NoiseSampler) []adaptive.Round) func([]uint64, exact.Sampler) []uint64 {
	known := map[noisyCount][]*big.Float{}
	return func(records []uint64, s exact.Sampler) []uint64 {
		p := p
		p.Counts = countsOf(records)
		var answer []uint64
		for _, r := range measure(&p, windowOf(s, 0, 2, known)) {
			for _, y := range r.Counts {
				answer = append(answer, uint64(y))
			}
		}
		return answer
	}
}

// countsOf returns the buckets with records.
func countsOf(records []uint64) []noisytree.Count {
	var counts []noisytree.Count
	for b, n := range records {
		if n > 0 {
			counts = append(counts, noisytree.Count{Bucket: b, Records: n})
		}
	}
	return counts
}
