package slice

import (
	"math/big"

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

// eachNode calls f for the nodes whose signed sum covers the first of m quantiles, as many as prefix says. Where most of a node is covered, it is taken as a whole less what is not.
// Nodes without a quantile are left out.
func eachNode(prefix, m, branching, height int, f func(v node, sign int64)) {
	for level := range height {
		digit := prefix
		if level < height-1 {
			digit = prefix % branching
		}
		if level < height-1 && 2*digit > branching {
			for i := prefix; i < min(prefix-digit+branching, m); i++ { // m is the number of nodes of the level
				f(node{level, i}, -1)
			}
			prefix += branching
		} else {
			for i := prefix - digit; i < prefix; i++ {
				f(node{level, i}, 1)
			}
		}
		prefix /= branching
		m = (m-1)/branching + 1
	}
}

// Ranks returns a rank for each quantile: that in the noisy number of records, rounded half up, plus the noise of the nodes that cover it and all quantiles before it, signed. Every node has its
// own noise, drawn once. Ranks are kept within ±maxRank; their sums are not.
func Ranks(p *Problem, records int64, s exact.NoiseSampler) []int64 {
	noise, drawn := laplace(p.rankScale()), map[node]int64{}
	branching, height := p.shape()
	ranks := make([]int64, len(p.Quantiles))
	for j, q := range p.Quantiles {
		nominal, _ := exact.Product(uint64(q), uint64(records)).Add(exact.From64(Unit / 2)).QuoRem64(Unit)
		sum := new(big.Int).SetUint64(nominal.Lo)
		eachNode(j+1, len(p.Quantiles), branching, height, func(v node, sign int64) {
			x, ok := drawn[v]
			if !ok {
				x = s.Noisy(0, noise)
				drawn[v] = x
			}
			sum.Add(sum, new(big.Int).Mul(big.NewInt(sign), big.NewInt(x)))
		})
		switch {
		case sum.Cmp(big.NewInt(maxRank)) > 0:
			ranks[j] = maxRank
		case sum.Cmp(big.NewInt(-maxRank)) < 0:
			ranks[j] = -maxRank
		default:
			ranks[j] = sum.Int64()
		}
	}
	return ranks
}
