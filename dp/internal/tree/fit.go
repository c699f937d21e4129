package tree

import (
	"math"
	"slices"
	"sort"
)

// A Tree is what a release knows of the records: estimates that agree with each other, made of noisy counts and public numbers alone, so that any number of answers
// can be read from it at no further privacy loss. It does not change and is safe for concurrent use.
type Tree struct {
	problem *Problem // without counts
	// By level and node: the variance of the estimate that the noisy counts of a node and its descendants give.
	variance [][]float64
	prefix   []float64 // the consistent estimate of the records before each bucket, and of all: the best linear one without bias
	cdf      []float64 // the same made isotonic, from 0 to n
}

// fit estimates all counts from the noisy ones by weighted least squares, subject to the counts of children adding up to their parent's. It is the two-pass algorithm
// of Hay, Rastogi, Miklau, Suciu, "Boosting the accuracy of differentially private histograms through consistency" (VLDB 2010), section 4.1, with variances that differ
// by level and any number of children (tree.md, lemma 2).
func fit(p *Problem, noisy [][]int64) *Tree {
	noise, err := p.noise()
	if err != nil {
		panic(err) // Measure has called it
	}
	t := &Tree{problem: p, variance: make([][]float64, len(noisy))}
	estimate := make([][]float64, len(noisy))
	// sums holds, for the nodes of a level, what their children's estimates and variances add up to.
	type sum struct{ estimate, variance float64 }
	sums := make([][]sum, len(noisy))
	sizes := p.sizes()
	for level := len(noisy) - 1; level >= 0; level-- {
		released := level >= p.first()
		own := 0.0
		if released {
			own = noise[level].Deviation()
			own *= own
		}
		estimate[level], t.variance[level] = make([]float64, sizes[level]), make([]float64, sizes[level])
		if level > 0 {
			sums[level-1] = make([]sum, sizes[level-1])
		}
		for i := range estimate[level] {
			var z, v float64
			switch {
			case !released: // its children's sum alone
				z, v = sums[level][i].estimate, sums[level][i].variance
			case sums[level] == nil:
				z, v = float64(noisy[level][i]), own
			default: // the mean of the node's own count and its children's sum, weighted by inverse variances
				below := sums[level][i]
				z, v = float64(noisy[level][i]), own*below.variance/(own+below.variance)
				z += (below.estimate - z) * own / (own + below.variance)
			}
			estimate[level][i], t.variance[level][i] = z, v
			if level > 0 {
				up := &sums[level-1][p.parent(level, i)]
				up.estimate += z
				up.variance += v
			}
		}
	}
	for level := 1; level < len(noisy); level++ {
		for i := range estimate[level] {
			parent := p.parent(level, i)
			below := sums[level-1][parent]
			// A child takes up a share of what its parent's estimate has more than the children's, in proportion to its variance.
			estimate[level][i] += (estimate[level-1][parent] - below.estimate) * t.variance[level][i] / below.variance
		}
	}
	t.prefix = make([]float64, p.Buckets+1)
	for i, n := range estimate[len(estimate)-1] {
		t.prefix[i+1] = t.prefix[i] + n
	}
	n := max(estimate[0][0], 0)
	t.prefix[p.Buckets] = estimate[0][0]
	t.cdf = slices.Clone(t.prefix)
	isotonic(t.cdf[1:p.Buckets])
	for i, c := range t.cdf {
		t.cdf[i] = min(max(c, 0), n)
	}
	t.cdf[p.Buckets] = n
	return t
}

// isotonic replaces xs by the sequence that never falls and has the least sum of squared distances from it, by pooling adjacent violators (Barlow, Bartholomew,
// Bremner, Brunk, "Statistical inference under order restrictions", 1972, section 1.2). It takes O(len(xs)) time.
func isotonic(xs []float64) {
	type pool struct {
		mean float64
		size int
	}
	var pools []pool
	for _, x := range xs {
		last := pool{x, 1}
		for len(pools) > 0 && pools[len(pools)-1].mean >= last.mean {
			before := pools[len(pools)-1]
			pools = pools[:len(pools)-1]
			size := before.size + last.size
			last = pool{before.mean + (last.mean-before.mean)*float64(last.size)/float64(size), size}
		}
		pools = append(pools, last)
	}
	i := 0
	for _, p := range pools {
		for range p.size {
			xs[i] = p.mean
			i++
		}
	}
}

// N returns the estimated number of records, at least 0.
func (t *Tree) N() float64 { return t.cdf[t.problem.Buckets] }

// CDF returns the estimated number of records in the buckets before the given one, which is between 0 and Buckets. It never falls, from 0 to [Tree.N].
func (t *Tree) CDF(bucket int) float64 { return t.cdf[bucket] }

// Range returns the estimated number of records in the buckets from … to−1, at least 0.
func (t *Tree) Range(from, to int) float64 { return t.cdf[to] - t.cdf[from] }

// Quantiles returns a cut for each quantile, in billionths within (0, Unit) and in any order: where the estimated distribution function, a straight line within each
// bucket, first reaches it. Cuts never fall as quantiles rise. If [Tree.N] is 0 the buckets count as equally full. It takes O(log Buckets) time for each.
func (t *Tree) Quantiles(quantiles []int64) []uint64 {
	cuts := make([]uint64, len(quantiles))
	for j, q := range quantiles {
		cuts[j] = t.quantile(q)
	}
	return cuts
}

func (t *Tree) quantile(q int64) uint64 {
	const cells = 1 << CellBits
	share := float64(q) / Unit
	if t.N() == 0 {
		whole, part := math.Modf(share * float64(t.problem.Buckets))
		return uint64(whole)<<CellBits + uint64(part*cells)
	}
	target := share * t.N()
	// The bucket at whose end the function has reached the target; at its start it has not, so it rises in between. It is one before the top: target ≤ N.
	b := sort.Search(t.problem.Buckets-1, func(i int) bool { return t.cdf[i+1] >= target })
	part := (target - t.cdf[b]) / (t.cdf[b+1] - t.cdf[b])
	if !(part > 0) { // a target too small for float64
		part = 0
	}
	return uint64(b)<<CellBits + uint64(min(part, 1)*cells)
}
