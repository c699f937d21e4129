package slice

import (
	"github.com/quietile/quietile/dp/exact"
)

// A node of the tree of noise covers the quantiles index·b^level … (index+1)·b^level − 1, b being the branching.
type node struct{ level, index int }

// branching returns Branching, or the one with the least mean variance of ranks.
func (p *Problem) branching() int {
	if p.Branching > 0 {
		return p.Branching
	}
	best, least := 2, 0
	for b := 2; b <= min(maxBranching, len(p.Quantiles)+1); b++ {
		draws := 0 // for all ranks
		for prefix := 1; prefix <= len(p.Quantiles); prefix++ {
			for l := prefix; l > 0; l /= b {
				draws += l % b
			}
		}
		h := digits(len(p.Quantiles), b)
		if variance := draws * h * h; b == 2 || variance < least {
			best, least = b, variance
		}
	}
	return best
}

// height returns the number of levels of the tree.
func (p *Problem) height() int { return digits(len(p.Quantiles), p.branching()) }

// digits returns the number of digits of n ≥ 1 in base b.
func digits(n, b int) int {
	d := 0
	for ; n > 0; n /= b {
		d++
	}
	return d
}

// eachNode calls f for disjoint nodes that cover the first quantiles, as many as prefix says: as many of each level as that number's digit in base b.
func eachNode(prefix, b int, f func(v node)) {
	for level := 0; prefix > 0; level, prefix = level+1, prefix/b {
		for i := prefix - prefix%b; i < prefix; i++ {
			f(node{level, i})
		}
	}
}

// Ranks returns a rank for each quantile: that in the noisy number of records, plus the noise of the nodes that cover it and all quantiles before it. Every node has its own noise,
// drawn once.
func Ranks(p *Problem, records int64, s exact.NoiseSampler) []int64 {
	noise, drawn, b := laplace(p.rankScale()), map[node]int64{}, p.branching()
	ranks := make([]int64, len(p.Quantiles))
	for j, q := range p.Quantiles {
		nominal, _ := exact.Product(uint64(q), uint64(records)).Add(exact.From64(Unit / 2)).QuoRem64(Unit)
		ranks[j] = int64(nominal.Lo)
		eachNode(j+1, b, func(v node) {
			x, ok := drawn[v]
			if !ok {
				x = min(max(s.Noisy(0, noise), -maxNoise), maxNoise)
				drawn[v] = x
			}
			ranks[j] += x
		})
	}
	return ranks
}
