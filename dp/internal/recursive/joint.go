package recursive

import (
	"math"
	"math/big"
	"slices"
	"sort"

	"github.com/quietile/quietile/dp/exact"
)

// MaxJoint is how many quantiles a node draws jointly at most.
const MaxJoint = 32

// trialsOfProposal is after how many trials without success a finer proposal is made: one in 300 succeeds, where the prior is not very far from the data.
const trialsOfProposal = 1500

// A joint draws the cuts of all quantiles of a node at once (docs/proofs/joint.md). Numbers of records are counted from the start of the range.
type joint struct {
	*solver
	a, b  uint64
	first uint64   // records of all before the range
	n     uint64   // records of the range
	parts []uint64 // the shares of the gaps between cuts, in 1/den
	den   uint64
	rate  *exact.Rate // of scores in units of 1/(2·den) records

	proposal *proposal
}

// sampleJoint draws the cuts of the quantiles js in [a, b], whose nominal range is lo … hi, with probability ∝ Π W(cut)·exp(−η·score), and sorts them.
func (v *solver) sampleJoint(a, b uint64, js []int, lo, hi int64, level int) {
	g, trials := v.newJoint(a, b, js, lo, hi, level), 0
	v.sampler.Repeat(func() bool {
		if trials++; trials%trialsOfProposal == 0 { // what is proposed does not matter to what is kept
			g.proposal = g.propose(trials / trialsOfProposal)
		}
		cuts, ok := g.trial()
		if ok {
			for i, j := range js {
				v.cuts[j] = cuts[i]
			}
		}
		return ok
	})
}

func (v *solver) newJoint(a, b uint64, js []int, lo, hi int64, level int) *joint {
	g := &joint{solver: v, a: a, b: b, first: v.recordsBefore(a)}
	g.n = v.recordsBefore(b) - g.first
	last, common := lo, uint64(hi-lo)
	for _, q := range append(v.quantilesOf(js), hi) {
		g.parts = append(g.parts, uint64(q-last))
		common = gcd(common, uint64(q-last))
		last = q
	}
	for j := range g.parts {
		g.parts[j] /= common
	}
	g.den = uint64(hi-lo) / common
	// One record changes the score by at most 1 (joint.md, lemma 1): η = ε_v/(2·c), and of scores in units of 1/(2·den) it is η/(2·den).
	g.rate = v.rate(2*g.den, 1, level)
	g.proposal = g.propose(0)
	return g
}

func (v *solver) quantilesOf(js []int) []int64 {
	qs := make([]int64, len(js))
	for i, j := range js {
		qs[i] = v.Quantiles[j]
	}
	return qs
}

// trial draws cuts from the proposal, and keeps them with the probability that makes them have the law of the mechanism.
func (g *joint) trial() (cuts []uint64, ok bool) {
	p := g.proposal
	d, ok := p.draw()
	if !ok || !slices.IsSorted(d.cuts) {
		return nil, false
	}
	score, first, last := g.score(g.between(d.cuts))
	if d.inside == nil {
		if score.Less(p.far) {
			return nil, false
		}
		num, den := p.ratio(&d)
		return d.cuts, g.sampler.AcceptRatio(g.rate, score, false, num, den)
	}
	if last < d.inside.first || d.inside.last < first || !score.Less(p.far) {
		return nil, false
	}
	// exp(−η·score) is exp(−η·(score − bound)) times exp(−η·bound), which is nearly 1 with the masses over the odds of the proposal.
	sum := score.Add(d.slack)
	if sum.Less(d.gaps) {
		panic("recursive: a score below its bound")
	}
	if !g.sampler.Accept(g.rate, sum.Sub(d.gaps)) {
		return nil, false
	}
	num, den := p.ratio(&d)
	// Sorted cuts stand for all their orders, of which there are fewer if some are equal; and each of the cells that have an N of the best may return them.
	den.Mul(den, repeats(d.cuts)).Mul(den, big.NewInt(int64(p.cellOf(last)-p.cellOf(first)+1)))
	return d.cuts, g.sampler.AcceptRatio(g.rate, distance(d.gaps, d.slack), d.gaps.Less(d.slack), num, den)
}

// repeats returns the product of k! over all runs of k equal cuts.
func repeats(cuts []uint64) *big.Int {
	product, run := big.NewInt(1), int64(1)
	for i := 1; i < len(cuts); i++ {
		if run++; cuts[i] != cuts[i-1] {
			run = 1
		}
		product.Mul(product, big.NewInt(run))
	}
	return product
}

// between returns the records in the gaps between sorted cuts and the ends of the range.
func (g *joint) between(cuts []uint64) []uint64 {
	gaps, last := make([]uint64, 0, len(cuts)+1), g.first
	for _, z := range cuts {
		at := g.recordsBefore(z)
		gaps = append(gaps, at-last)
		last = at
	}
	return append(gaps, g.first+g.n-last)
}

// score returns the least over the whole numbers N of Σ |gap − share·N|, in units of 1/(2·den), and the numbers from first to last for which it is found.
func (g *joint) score(gaps []uint64) (least exact.Uint128, first, last uint64) {
	// A weighted median of gap/share: where the slope changes its sign. Half of the weight on either side of a place between two of them makes the sum the same all the way.
	order := make([]int, len(gaps))
	for j := range order {
		order[j] = j
	}
	slices.SortFunc(order, func(i, j int) int {
		x, y := exact.Product(gaps[i], g.parts[j]), exact.Product(gaps[j], g.parts[i])
		switch {
		case x.Less(y):
			return -1
		case y.Less(x):
			return 1
		}
		return 0
	})
	weight, k := uint64(0), 0
	for k = range order {
		if weight += g.parts[order[k]]; 2*weight >= g.den {
			break
		}
	}
	// Below 2⁶⁴: the median of gap/share is at most twice their mean, which is the number of records.
	quotient := func(j int) (whole, rest uint64) {
		x, rest := exact.Product(gaps[j], g.den).QuoRem64(g.parts[j])
		return x.Lo, rest
	}
	at := func(n uint64) exact.Uint128 {
		var sum exact.Uint128
		for j, k := range gaps {
			sum = sum.Add(distance(exact.Product(k, g.den), exact.Product(g.parts[j], n)))
		}
		return sum.Shl(1)
	}
	n, rest := quotient(order[k])
	if 2*weight == g.den { // k is not the last of them
		from, to := n, uint64(math.MaxUint64)
		if rest > 0 {
			from++
		}
		if end := order[k+1]; exact.Product(gaps[end], g.den).Less(exact.Product(g.parts[end], math.MaxUint64)) {
			to, _ = quotient(end)
		}
		if from <= to {
			return at(from), from, to
		}
	}
	here, next := at(n), at(n+1)
	switch {
	case next.Less(here):
		return next, n + 1, n + 1
	case here.Less(next):
		return here, n, n
	}
	return here, n, n + 1
}

func distance(x, y exact.Uint128) exact.Uint128 {
	if x.Less(y) {
		x, y = y, x
	}
	return x.Sub(y)
}

func uint128(x *big.Int) exact.Uint128 {
	low := new(big.Int).And(x, new(big.Int).SetUint64(math.MaxUint64))
	return exact.Uint128{Hi: new(big.Int).Rsh(x, 64).Uint64(), Lo: low.Uint64()}
}

// recordsBefore returns the number of records in the cells before cut z, splitting the block that holds it.
func (v *solver) recordsBefore(z uint64) uint64 {
	bucket := z >> v.Levels
	i := sort.Search(len(v.Counts), func(i int) bool { return uint64(v.Counts[i].Bucket) >= bucket })
	n := v.records[i]
	if i == len(v.Counts) || uint64(v.Counts[i].Bucket) != bucket {
		return n
	}
	start := bucket << v.Levels
	x := block{start: start, end: start + 1<<v.Levels, records: v.Counts[i].Records, split: splitRef{slot: int32(i)}}
	for x.start < z && x.records > 0 {
		left, right := v.divide(&x)
		if z < right.start {
			x = left
		} else {
			n += left.records
			x = right
		}
	}
	return n
}
