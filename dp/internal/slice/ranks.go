package slice

import (
	"github.com/quietile/quietile/dp/exact"
)

// A node of the tree of noise covers the quantiles index·b^level … (index+1)·b^level − 1, b being the branching.
type node struct{ level, index int }

// shape returns the branching and the height of the tree: those given, and otherwise those with about the least mean variance of ranks.
func (p *Problem) shape() (branching, height int) {
	m := len(p.Quantiles)
	best := 0 // the mean variance times 2·branching, in units of a node's of a tree of height 1
	for h := 1; 1<<(h-1) <= m; h++ {
		for b := 2; b <= maxBranching; b++ {
			if p.Height != 0 && h != p.Height || p.Branching != 0 && b != p.Branching {
				continue
			}
			// A rank has b/4 nodes of a level, ⌊b²/4⌋ for all of b ranks, and half of the uppermost.
			top := m
			for range h - 1 {
				top = (top-1)/b + 1
			}
			variance := h * h * (2*(h-1)*(b*b/4) + b*(top+1))
			if branching == 0 || variance*branching < best*b {
				branching, height, best = b, h, variance
			}
		}
	}
	return branching, height
}

// eachNode calls f for the nodes whose signed sum covers the first quantiles, as many as prefix says. Where most of a node is covered, it is taken as a whole less what is not.
func eachNode(prefix, branching, height int, f func(v node, sign int64)) {
	for level := range height {
		digit := prefix
		if level < height-1 {
			digit = prefix % branching
		}
		if level < height-1 && 2*digit > branching {
			for i := prefix; i < prefix-digit+branching; i++ {
				f(node{level, i}, -1)
			}
			prefix += branching
		} else {
			for i := prefix - digit; i < prefix; i++ {
				f(node{level, i}, 1)
			}
		}
		prefix /= branching
	}
}

// Ranks returns a rank for each quantile: that in the noisy number of records, plus the noise of the nodes that cover it and all quantiles before it, signed. Every node has its own noise,
// drawn once.
func Ranks(p *Problem, records int64, s exact.NoiseSampler) []int64 {
	noise, drawn := laplace(p.rankScale()), map[node]int64{}
	branching, height := p.shape()
	ranks := make([]int64, len(p.Quantiles))
	for j, q := range p.Quantiles {
		nominal, _ := exact.Product(uint64(q), uint64(records)).Add(exact.From64(Unit / 2)).QuoRem64(Unit)
		ranks[j] = int64(nominal.Lo)
		eachNode(j+1, branching, height, func(v node, sign int64) {
			x, ok := drawn[v]
			if !ok {
				x = min(max(s.Noisy(0, noise), -maxNoise), maxNoise)
				drawn[v] = x
			}
			ranks[j] += sign * x
		})
	}
	return ranks
}
