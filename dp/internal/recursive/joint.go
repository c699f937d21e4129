package recursive

import (
	"cmp"
	"math"
	"math/big"
	"slices"

	"github.com/quietile/quietile/dp/exact"
)

// MaxJoint is how many quantiles a node draws jointly at most.
const MaxJoint = 32

// trialsOfProposal is after how many trials without success a finer proposal is made: one in 300 succeeds, where the prior is not very far from the data.
const trialsOfProposal = 1500

// deepest is the largest exponent, up to that of a record, by which buckets that have the targets deep inside weigh more for that: others are next to never drawn then, and numbers stay small.
const deepest = 64

// fineUnit is the least den where the records of buckets are divided: much larger than the largest rate of a record, 500.
const fineUnit = 1 << 20

// A joint draws the cuts of all quantiles of a node at once (docs/proofs/joint.md). Numbers of records are counted from the start of the range.
type joint struct {
	*solver
	a, b  uint64
	first uint64   // records of all before the range
	n     uint64   // records of the range
	parts []uint64 // the shares of the gaps between cuts, in 1/den
	den   uint64
	rate  *exact.Rate // of scores in units of 1/(2·den) records
	whole bool        // cuts stand for their buckets, whose records may be divided in any way
	// If buckets are drawn and those with the targets' ranks have them deep enough inside: these buckets, by how much their score is below 0, and what else they weigh if draws are sharp.
	deep  []run
	depth exact.Uint128 // in units of 1/(2·den)
	bonus *bonus

	proposal *proposal
}

// sampleJoint draws the cuts of the quantiles js in [a, b], whose nominal range is lo … hi, with probability ∝ Π W(cut)·exp(−η·score), and sorts them. With whole it draws buckets so, sorted ones, and then a cut within each.
func (v *solver) sampleJoint(a, b uint64, js []int, lo, hi int64, level int, whole bool) {
	g, trials := v.newJoint(a, b, js, lo, hi, level, whole), 0
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

func (v *solver) newJoint(a, b uint64, js []int, lo, hi int64, level int, whole bool) *joint {
	g := &joint{solver: v, a: a, b: b, first: v.recordsBefore(a), whole: whole}
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
	for whole && g.den < fineUnit { // the records of a bucket are divided in units of 1/den
		for j := range g.parts {
			g.parts[j] *= 2
		}
		g.den *= 2
	}
	// One record changes the score by at most 1 (joint.md, lemmas 1 and 5): η = ε_v/(2·c), and of scores in units of 1/(2·den) it is η/(2·den).
	g.rate = v.rate(2*g.den, 1, level)
	if whole {
		g.dig()
	}
	g.proposal = g.propose(0)
	return g
}

// dig finds the buckets that have the ranks of all targets inside, and how many records at least would have to come or go for one not to have its target's: a whole number, of which one record changes as much as it does of a score (joint.md, lemma 7).
func (g *joint) dig() {
	depth := g.recordsOf(deepest)
	g.tileBuckets(g.a, g.b)
	upTo, i := uint64(0), 0
	var at []int
	for _, part := range g.parts[:len(g.parts)-1] {
		upTo += part
		rank := exact.Product(upTo, g.n)
		for i < len(g.blocks) && !rank.Less(exact.Product(g.blocks[i].before+g.blocks[i].records, g.den)) {
			i++
		}
		if i == len(g.blocks) || rank.Less(exact.Product(g.blocks[i].before, g.den)) {
			g.deep = nil
			return
		}
		x := g.blocks[i]
		for _, off := range []exact.Uint128{rank.Sub(exact.Product(x.before, g.den)), exact.Product(x.before+x.records, g.den).Sub(rank)} {
			if records, _ := off.QuoRem64(max(upTo, g.den-upTo)); records.Less(exact.From64(depth)) {
				depth = records.Lo
			}
		}
		g.deep, at = append(g.deep, run{x.start, x.end, x.before, x.records}), append(at, i)
	}
	if g.depth = exact.Product(2*g.den, depth); g.Sharp && g.Rho == 0 {
		g.sharpen(at)
	}
	if g.depth.IsZero() {
		g.deep = nil
	}
}

// recordsOf returns the least whole number of records whose exponent is at least so much, or 2^62 if that is less. It is public, and computed without rounding.
func (g *joint) recordsOf(exponent uint64) uint64 {
	most := new(big.Rat).SetUint64(exponent)
	most.Quo(most, g.rate.Rat())
	most.Quo(most, new(big.Rat).SetInt(new(big.Int).SetUint64(2*g.den)))
	whole, rest := new(big.Int).QuoRem(most.Num(), most.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	if whole.BitLen() > 62 {
		return 1 << 62
	}
	return whole.Uint64()
}

// isDeep tells whether sorted cuts stand for the buckets that have the targets deep inside.
func (g *joint) isDeep(cuts []uint64) bool {
	for j, r := range g.deep {
		if cuts[j] < r.start || cuts[j] >= r.end {
			return false
		}
	}
	return g.deep != nil
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
	if !ok || !slices.IsSortedFunc(d.cuts, g.compare) {
		return nil, false
	}
	value := g.valued(d.cuts)
	slices.Sort(d.cuts) // those of one bucket
	if d.deep {
		num, den := p.ratio(&d)
		if !d.bonus {
			return d.cuts, g.sampler.AcceptRatio(g.rate, g.depth, true, num, den)
		}
		record := exact.From64(2 * g.den)
		return d.cuts, g.sampler.AcceptRatio(g.rate, distance(g.depth, record), record.Less(g.depth), num, den) && g.acceptBonus()
	}
	if g.isDeep(d.cuts) { // which the proposal has apart
		return nil, false
	}
	if d.inside == nil {
		score, _, _ := g.best(value)
		if score.Less(p.far) {
			return nil, false
		}
		num, den := p.ratio(&d)
		if g.whole { // of buckets each sorted vector counts once, whatever its orders
			num.Mul(num, g.repeats(d.cuts))
		}
		return d.cuts, g.sampler.AcceptRatio(g.rate, score, false, num, den)
	}
	if !d.inside.holds(value) {
		return nil, false
	}
	score, first, last := g.best(value)
	if !score.Less(p.far) {
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
	if !g.whole { // sorted cuts stand for all their orders, of which there are fewer if some are equal
		den.Mul(den, g.repeats(d.cuts))
	}
	// Each of the cells that have an N of the best may return the cuts.
	den.Mul(den, big.NewInt(int64(p.cellOf(last)-p.cellOf(first)+1)))
	return d.cuts, g.sampler.AcceptRatio(g.rate, distance(d.gaps, d.slack), d.gaps.Less(d.slack), num, den)
}

// holds tells whether one of the numbers N at which a value is least is in the cell.
func (c *cell) holds(value func(n uint64) exact.Uint128) bool {
	return (c.first == 0 || !value(c.first-1).Less(value(c.first))) && (c.last == math.MaxUint64 || !value(c.last+1).Less(value(c.last)))
}

// compare orders what is drawn: cuts, or the buckets that they stand for; the last cut of the range, which no record of it lies behind, is apart.
func (g *joint) compare(x, y uint64) int {
	if g.whole && x != g.b && y != g.b {
		x, y = x>>g.Levels, y>>g.Levels
	}
	return cmp.Compare(x, y)
}

// repeats returns the product of k! over all runs of k equals among sorted cuts.
func (g *joint) repeats(cuts []uint64) *big.Int {
	product, run := big.NewInt(1), int64(1)
	for i := 1; i < len(cuts); i++ {
		if run++; g.compare(cuts[i-1], cuts[i]) != 0 {
			run = 1
		}
		product.Mul(product, big.NewInt(run))
	}
	return product
}

// valued returns, as a function of N, Σ |gap − share·N| in units of 1/(2·den) for the gaps of sorted cuts; if these stand for their buckets, the least such sum of all ways to divide the records of each. It is convex.
func (g *joint) valued(cuts []uint64) func(n uint64) exact.Uint128 {
	if !g.whole {
		gaps := g.between(cuts)
		return func(n uint64) exact.Uint128 {
			var sum exact.Uint128
			for j, k := range gaps {
				sum = sum.Add(distance(exact.Product(k, g.den), exact.Product(g.parts[j], n)))
			}
			return sum.Shl(1)
		}
	}
	// den times the records before each bucket, and those up to its end; and all of the range.
	low, high := make([]exact.Uint128, len(cuts)+1), make([]exact.Uint128, len(cuts)+1)
	for j, z := range cuts {
		from, to := z, z
		if z != g.b {
			from, to = max(z>>g.Levels<<g.Levels, g.a), min((z>>g.Levels+1)<<g.Levels, g.b)
		}
		low[j], high[j] = exact.Product(g.recordsBefore(from)-g.first, g.den), exact.Product(g.recordsBefore(to)-g.first, g.den)
	}
	low[len(cuts)] = exact.Product(g.n, g.den)
	high[len(cuts)] = low[len(cuts)]
	return func(n uint64) (sum exact.Uint128) {
		// A cut has as many records more before it than the one before it has as its share wants; and if its bucket has none such, the nearest that it has (joint.md, lemma 6).
		var at exact.Uint128
		for j, part := range g.parts {
			at = at.Add(exact.Product(part, n))
			switch {
			case at.Less(low[j]):
				sum, at = sum.Add(low[j].Sub(at)), low[j]
			case high[j].Less(at):
				sum, at = sum.Add(at.Sub(high[j])), high[j]
			}
		}
		return sum.Shl(1)
	}
}

// best returns the least value of whole numbers N, the score, and the numbers from first to last at which it is found.
func (g *joint) best(value func(n uint64) exact.Uint128) (least exact.Uint128, first, last uint64) {
	// N records and more are missing if N is 2·n and more, which 0 is no worse than.
	most := uint64(math.MaxUint64)
	if g.n < 1<<63 {
		most = 2 * g.n
	}
	// The first number from which the value does not fall, or rises.
	search := func(low uint64, rises bool) uint64 {
		high := most
		for low < high {
			n := low + (high-low)/2
			here, next := value(n), value(n+1)
			if here.Less(next) || !rises && here == next {
				high = n
			} else {
				low = n + 1
			}
		}
		return low
	}
	first = search(0, false)
	last = search(first, true)
	return value(first), first, last
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
	i := v.countAt(z)
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
