package audit

import (
	"fmt"
	"math/big"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
	noisytree "github.com/quietile/quietile/dp/internal/tree"
)

// noisyTreeCases are the noisy counts of trees with Laplace noise. Everything else that a tree publishes is made of them.
func noisyTreeCases() []Case {
	return []Case{
		noisyTreeCase(noisytree.Problem{Buckets: 1, Branching: 2}, 1, 1, 4),
		noisyTreeCase(noisytree.Problem{Buckets: 2, Branching: 2}, 1, 1, 4),
		noisyTreeCase(noisytree.Problem{Buckets: 2, Branching: 2}, 2, 2, 3),
		noisyTreeCase(noisytree.Problem{Buckets: 3, Branching: 2}, 1, 1, 3),
		noisyTreeCase(noisytree.Problem{Buckets: 3, Branching: 2, Shares: []uint64{1, 2, 4}}, 3, 2, 2),
		noisyTreeCase(noisytree.Problem{Buckets: 4, Branching: 2, Levels: 2, Shares: []uint64{3, 7}}, 1, 1, 2),
		noisyTreeCase(noisytree.Problem{Buckets: 4, Branching: 4}, 1, 2, 1),
		noisyTreeCase(noisytree.Problem{Buckets: 4, Branching: 2}, 2, 1, 1),
		noisyTreeCase(noisytree.Problem{Buckets: 3, Branching: 3, Levels: 2, Unrooted: true}, 1, 1, 4),
		noisyTreeCase(noisytree.Problem{Buckets: 4, Branching: 4, Levels: 2, Unrooted: true}, 2, 2, 3),
		noisyTreeCase(noisytree.Problem{Buckets: 3, Branching: 2, Unrooted: true, Shares: []uint64{2, 1}}, 1, 1, 3),
	}
}

// noisyTreeCase audits the noisy counts, moved into a small window around the counts themselves.
func noisyTreeCase(p noisytree.Problem, epsilon int64, contributions, records int) Case {
	p.Epsilon, p.Contributions = epsilon*noisytree.Unit, uint64(contributions)
	setting := fmt.Sprintf("branching %d", p.Branching)
	if p.Levels > 0 {
		setting += fmt.Sprintf(", levels %d", p.Levels)
	}
	if p.Shares != nil {
		setting += fmt.Sprintf(", shares %v", p.Shares)
	}
	mechanism := "tree"
	if p.Unrooted {
		setting += ", no root"
		if p.Levels == 2 {
			mechanism = "density"
		}
	}
	return Case{
		Mechanism:     mechanism,
		Setting:       fmt.Sprintf("%s, %d buckets, c %d", setting, p.Buckets, contributions),
		Epsilon:       float64(epsilon),
		Contributions: contributions,
		Buckets:       p.Buckets,
		Records:       records,
		Answer:        noisyTreeAnswer(p, noisytree.Measure, 0, 2),
	}
}

// measuredCase is the recursive estimator with a share, in thousandths, of ε left to noisy counts of the records between its answers, by a tree; the answer is the cuts and the
// noisy counts moved into a small window (docs/proofs/rank-error.md).
func measuredCase(levels uint, quantiles []int64, share, epsilon int64, contributions int, weights []uint64, ruler noisytree.Problem, records int) Case {
	c := recursiveCase("", levels, quantiles, epsilon, contributions, weights, records)
	measured := epsilon * recursive.Unit / 1000 * share
	ruler.Buckets, ruler.Epsilon, ruler.Contributions = len(quantiles)+1, measured, uint64(contributions)
	c.Mechanism, c.Setting = "rank error", fmt.Sprintf("share %d/1000, %d cells a bucket%s", share, 1<<levels, c.Setting)
	c.Answer = measuredAnswer(levels, quantiles, epsilon*recursive.Unit-measured, contributions, weights, ruler)
	return c
}

func measuredAnswer(levels uint, quantiles []int64, epsilon int64, contributions int, weights []uint64, ruler noisytree.Problem) func([]uint64, exact.Sampler) []uint64 {
	measure := noisyTreeAnswer(ruler, noisytree.Measure, 0, 2)
	return func(records []uint64, s exact.Sampler) []uint64 {
		p := &recursive.Problem{Levels: levels, Weights: weights, Quantiles: quantiles, Epsilon: epsilon, Contributions: uint64(contributions)}
		for b, n := range records {
			if n > 0 {
				p.Counts = append(p.Counts, recursive.Count{Bucket: b, Records: n})
			}
		}
		cuts, between := recursive.SolveAndCount(p, s)
		return append(cuts, measure(between, s)...)
	}
}

// noisyTreeAnswer runs what measures a tree, by level and node, and returns the noisy counts moved into low … high, less low.
func noisyTreeAnswer(p noisytree.Problem, measure func(*noisytree.Problem, exact.NoiseSampler) [][]int64, low, high int64) func([]uint64, exact.Sampler) []uint64 {
	laws := map[noisyCount][]*big.Float{}
	return func(records []uint64, s exact.Sampler) []uint64 {
		p := p
		p.Counts = countsOf(records)
		var answer []uint64
		for _, nodes := range measure(&p, windowOf(s, low, high, laws)) {
			for _, y := range nodes {
				answer = append(answer, uint64(y-low))
			}
		}
		return answer
	}
}
