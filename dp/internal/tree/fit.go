package tree

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/quietile/quietile/dp/exact"
)

// A Tree is what a release knows of the records: estimates that agree with each other, made of noisy counts and public numbers alone, so that any number of answers
// can be read from it at no further privacy loss. It does not change and is safe for concurrent use.
type Tree struct {
	problem *Problem // without counts
	// By level and node: the variance of the estimate that the noisy counts of a node and its descendants give.
	variance [][]float64
	prefix   []float64 // the consistent estimate of the records before each bucket, and of all: the best linear one without bias
	cdf      []float64 // an estimate that never falls, from 0 to n
}

// fit estimates all counts from the noisy ones by weighted least squares, subject to the counts of children adding up to their parent's: the two-pass algorithm of Hay, Rastogi,
// Miklau, Suciu, "Boosting the accuracy of differentially private histograms through consistency" (VLDB 2010), section 4.1, with variances that differ by level and any number of
// children (tree.md, lemma 2). The distribution function comes from a second way down on which no count becomes negative.
func fit(p *Problem, noisy [][]int64) *Tree {
	noise, err := p.noise()
	if err != nil {
		panic(err) // Measure has called it
	}
	variance := make([]float64, len(noisy)) // of the noise, by level
	for level := p.first(); level < len(noisy); level++ {
		variance[level] = noise[level].Deviation() * noise[level].Deviation()
	}
	t := &Tree{problem: p, variance: make([][]float64, len(noisy))}
	estimate := make([][]float64, len(noisy))
	// sums holds, for the nodes of a level, what their children's estimates and variances add up to.
	type sum struct{ estimate, variance float64 }
	sums := make([][]sum, len(noisy))
	sizes := p.sizes()
	for level := len(noisy) - 1; level >= 0; level-- {
		released, own := level >= p.first(), variance[level]
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
	positive := t.positive(estimate)
	if leaf := len(noisy) - 1; p.Smooth && p.Buckets <= MaxSmooth && leaf > 0 && math.Abs(recordsOf(noisy[leaf])) < plenty*math.Sqrt(variance[leaf]) {
		positive = t.positive(smoothed(p, noisy, variance, t.sizesOf(positive[len(noisy)-2])))
	}
	for level := 1; level < len(noisy); level++ {
		for i := range estimate[level] {
			parent := p.parent(level, i)
			below := sums[level-1][parent]
			// A child takes up a share of what its parent's estimate has more than the children's, in proportion to its variance.
			estimate[level][i] += (estimate[level-1][parent] - below.estimate) * t.variance[level][i] / below.variance
		}
	}
	t.prefix, t.cdf = make([]float64, p.Buckets+1), make([]float64, p.Buckets+1)
	n := positive[0][0]
	for i, x := range estimate[len(estimate)-1] {
		t.prefix[i+1] = t.prefix[i] + x
		t.cdf[i+1] = min(t.cdf[i]+positive[len(positive)-1][i], n)
	}
	t.prefix[p.Buckets], t.cdf[p.Buckets] = estimate[0][0], n
	return t
}

// positive returns numbers near those of the nodes, by level, of which none is negative and children add up to their parent's: from the root's down.
func (t *Tree) positive(estimate [][]float64) [][]float64 {
	all := [][]float64{{max(estimate[0][0], 0)}}
	for level := 1; level < len(estimate); level++ {
		xs := slices.Clone(estimate[level])
		from := 0
		for parent, total := range all[level-1] {
			to := from
			for to < len(xs) && t.problem.parent(level, to) == parent {
				to++
			}
			project(xs[from:to], t.variance[level][from:to], total)
			from = to
		}
		all = append(all, xs)
	}
	return all
}

// project replaces xs by the numbers nearest to them, in the sum of squared distances divided by their variances, that add up to total ≥ 0 without one being negative
// (tree.md, lemma 6). It takes O(k·log k) time for k of them.
func project(xs, variances []float64, total float64) {
	// They are max(0, x + shift·variance) for one shift, so those with the largest x/variance are positive: as many as stay so.
	order := make([]int, len(xs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(xs[b]/variances[b], xs[a]/variances[a]) })
	sum, variance, shift := 0.0, 0.0, math.Inf(1)
	for _, i := range order {
		if xs[i]+shift*variances[i] <= 0 {
			break
		}
		sum, variance = sum+xs[i], variance+variances[i]
		shift = (total - sum) / variance
	}
	for i, x := range xs {
		xs[i] = max(x+shift*variances[i], 0)
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
	if t.N() == 0 {
		whole, part := math.Modf(float64(q) / Unit * float64(t.problem.Buckets))
		return uint64(whole)<<CellBits + uint64(part*cells)
	}
	return cut(t.cdf, q)
}

const cells = 1 << CellBits

// Shares returns the estimated share of the records in the buckets before each, and in all. If [Tree.N] is 0 the buckets count as equally full.
func (t *Tree) Shares() []float64 {
	shares := make([]float64, len(t.cdf))
	for i := range shares {
		if t.N() == 0 {
			shares[i] = float64(i) / float64(t.problem.Buckets)
		} else {
			shares[i] = t.cdf[i] / t.N()
		}
	}
	return shares
}

// Again returns the tree of a release of what this one estimates the records to be, in whole numbers: how far it is from this one tells how far this one is from the records. The sampler is not spent on data.
func (t *Tree) Again(s exact.NoiseSampler) *Tree {
	p := *t.problem
	before := uint64(0)
	for i := range p.Buckets {
		until := uint64(math.Round(min(t.cdf[i+1], 1<<62)))
		if until > before {
			p.Counts = append(p.Counts, Count{Bucket: i, Records: until - before})
		}
		before = until
	}
	return Release(&p, s)
}

// Cuts returns a cut for each quantile as [Tree.Quantiles] does, from a distribution function that never falls, at the edges of the buckets.
func Cuts(cdf []float64, quantiles []int64) []uint64 {
	cuts := make([]uint64, len(quantiles))
	for j, q := range quantiles {
		cuts[j] = cut(cdf, q)
	}
	return cuts
}

func cut(cdf []float64, q int64) uint64 {
	last := len(cdf) - 1
	target := float64(q) / Unit * cdf[last]
	// The bucket at whose end the function has reached the target; at its start it has not, so it rises in between. It is one before the top: target ≤ all.
	b := sort.Search(last-1, func(i int) bool { return cdf[i+1] >= target })
	part := (target - cdf[b]) / (cdf[b+1] - cdf[b])
	if !(part > 0) { // a target too small for float64
		part = 0
	}
	return uint64(b)<<CellBits + uint64(min(part, 1)*cells)
}
