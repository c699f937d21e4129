// Package recursive draws the cuts of the recursive quantile estimator from any sampler, so that a release and the audit run the same code.
//
// The mechanism, its theorem and the proof are in docs/proofs/recursive.md.
package recursive

import (
	"math"
	"math/big"
	"slices"
	"sort"

	"github.com/quietile/quietile/dp/exact"
)

// Unit is the denominator of quantiles and of ε: both are integers in billionths.
const Unit = 1_000_000_000

// A Count is the number of records in one bucket.
type Count struct {
	Bucket  int
	Records uint64
}

// A Problem is one release. All but Counts is public.
type Problem struct {
	Levels        uint     // a bucket has 2^Levels cells; at most 40
	Weights       []uint64 // prior weight of each bucket; positive, summing to at most prior.MaxTotal
	Counts        []Count  // buckets ascending; buckets left out are empty; records sum to less than 2⁶⁴
	Quantiles     []int64  // in billionths, strictly ascending, within (0, Unit)
	Epsilon       int64    // of the whole release, in billionths, positive; 0 for a release of Rho
	Rho           int64    // zero-concentrated loss of the whole release instead, in billionths, positive
	Contributions uint64   // records that one privacy unit contributes at most, positive
	Arity         int      // a node draws Arity−1 quantiles at once; at least 2; 0 means 2
	Shares        []uint64 // of ε or ρ, by the depth of a node, the root's first: as many as Depth, positive, with a sum below 2³²; nil for equal ones
	Edges         bool     // the prior weight outside of a node's range goes to its ends, instead of nowhere
	Draws         int      // how many of the quantiles are drawn at most; the others are read from straight lines over the prior's weight between those. 0 means all
	Joint         bool     // a node draws its quantiles together, with all of its share; then arity is at most MaxJoint+1, and there are no edges
	Buckets       bool     // a node without children that draws jointly draws buckets, whose records may be divided in any way, and a cut within each: for where only an answer's bucket matters
	Sharp         bool     // such a draw takes all that pure ε allows, unless the release is of Rho (docs/proofs/joint.md, lemma 8)
	Priors        []Prior  // one for each quantile, instead of Weights for all of them; nil for none, as for Joint
}

// Depth returns the number of nodes on the longest path of the tree of m ≥ 1 quantiles in which a node with at least arity of them draws arity−1 and any other
// draws all it has.
func Depth(m, arity int) int {
	depth := 1
	for ; m >= arity; depth++ {
		m /= arity // the first child has this many, and no other has more
	}
	return depth
}

// Rho returns a bound of the zero-concentrated loss of a release of m quantiles in units of ε²/8: the sum over the levels of the largest loss of a node. A node's draws
// share ε_v equally, and add up to ε_v² divided by their number; together they are one draw. Arity, shares and joint are as in a [Problem].
func Rho(m, arity int, shares []uint64, joint bool) *big.Rat {
	arity = max(arity, 2)
	depth := Depth(m, arity)
	rho := new(big.Rat)
	for level := range depth {
		s := share(shares, depth, level)
		s.Mul(s, s)
		if !joint {
			s.Quo(s, new(big.Rat).SetInt64(int64(fewest(m, arity, level))))
		}
		rho.Add(rho, s)
	}
	return rho
}

// Pure returns the ε, in billionths, of a release of m quantiles by a problem that has Rho instead: the sum over the levels of the largest loss of a node, whose draws
// spend equal parts of its share of ρ. Arity, shares and joint are as in a [Problem].
func Pure(m, arity int, shares []uint64, joint bool, rho int64) int64 {
	arity = max(arity, 2)
	depth := Depth(m, arity)
	sum := int64(0)
	for level := range depth {
		most, last := int64(0), min(arity-1, m)
		if joint {
			last = 1
		}
		for draws := 1; draws <= last; draws++ {
			most = max(most, int64(draws)*ofRho(rho, share(shares, depth, level), draws))
		}
		sum += most
	}
	return sum
}

// ofRho returns the largest ε, in billionths, of each of so many draws whose ε²/8 add up to at most a share of ρ, given in billionths.
func ofRho(rho int64, share *big.Rat, draws int) int64 {
	// e²/(8·10¹⁸)·draws ≤ ρ/10⁹·share
	square := big.NewInt(8 * Unit)
	square.Mul(square, big.NewInt(rho)).Mul(square, share.Num())
	square.Quo(square, new(big.Int).Mul(share.Denom(), big.NewInt(int64(draws))))
	return square.Sqrt(square).Int64()
}

// fewest returns the smallest number of draws of the nodes of a level.
func fewest(m, arity, level int) int {
	sizes := map[int]bool{m: true}
	for range level {
		next := map[int]bool{}
		for n := range sizes {
			eachChild(n, arity, func(from, to int) { next[to-from] = true })
		}
		sizes = next
	}
	least := arity
	for n := range sizes {
		if n > 0 {
			least = min(least, n)
		}
	}
	return min(least, arity-1)
}

// eachChild calls f for the quantiles of each child of a node with n.
func eachChild(n, arity int, f func(from, to int)) {
	from := 0
	for _, j := range drawn(nil, 0, n, arity) {
		f(from, j)
		from = j + 1
	}
	f(from, n)
}

// drawn appends to js which of the quantiles from … to−1 their node draws.
func drawn(js []int, from, to, arity int) []int {
	n := to - from
	if n < arity {
		for j := from; j < to; j++ {
			js = append(js, j)
		}
		return js
	}
	for i := 1; i < arity; i++ {
		js = append(js, from+i*n/arity)
	}
	return js
}

// share returns what share of ε the nodes of a level have.
func share(shares []uint64, depth, level int) *big.Rat {
	if shares == nil {
		return big.NewRat(1, int64(depth))
	}
	sum := uint64(0)
	for _, w := range shares[:depth] {
		sum += w
	}
	return big.NewRat(int64(shares[level]), int64(sum))
}

// Solve returns a cut for each quantile, ascending: cut b·2^Levels + k is the left edge of cell k of bucket b, and cut len(Weights)·2^Levels is the top.
func Solve(p *Problem, s exact.Sampler) []uint64 {
	cuts, _ := SolveAndCount(p, s)
	return cuts
}

// SolveAndCount solves as [Solve] does, and counts the records below the first cut, between each cut and the next, and from the last on. The counts are not private: they
// are those of the positions that were drawn for the records, for a mechanism that takes its turn after this one.
func SolveAndCount(p *Problem, s exact.Sampler) (cuts, between []uint64) {
	drawn := *p
	drawn.Quantiles = Drawn(p.Quantiles, p.Draws)
	v := newSolver(&drawn, s)
	v.solve(0, v.top, 0, len(drawn.Quantiles), 0, Unit, 0)
	if len(drawn.Quantiles) < len(p.Quantiles) {
		v.cuts = v.interpolate(p.Quantiles)
	}
	from := uint64(0)
	for _, z := range append(v.cuts, v.top) {
		if from == z {
			between = append(between, 0)
			continue
		}
		v.tile(from, z)
		between = append(between, v.blocks[len(v.blocks)-1].before)
		from = z
	}
	return v.cuts, between
}

// Drawn returns which of the quantiles, ascending in billionths, are drawn if so many are at most: the first and the last, and others so that the arc sines of their roots are about evenly spaced, which
// puts more of them near the ends, where records are spread farther.
func Drawn(quantiles []int64, draws int) []int64 {
	m := len(quantiles)
	if draws <= 0 || m <= draws {
		return quantiles
	}
	place := func(j int) float64 { return math.Asin(math.Sqrt(float64(quantiles[j]) / Unit)) }
	first, last := place(0), place(m-1)
	var drawn []int64
	j := 0
	for i := range draws {
		at := first + (last-first)*float64(i)/float64(max(draws-1, 1))
		for j < m-draws+i && place(j) < at-1e-12 { // as many are left as are still wanted
			j++
		}
		drawn = append(drawn, quantiles[j])
		j++
	}
	return drawn
}

// interpolate returns cuts for quantiles, of which some are drawn: between two cuts a quantile's is as far into the prior's weight as it is between the two quantiles.
func (v *solver) interpolate(quantiles []int64) []uint64 {
	cuts := make([]uint64, len(quantiles))
	from, to, i := int64(0), int64(Unit), -1 // the quantiles drawn on both sides, the first of them being the i-th
	if len(v.Quantiles) > 0 {
		to = v.Quantiles[0]
	}
	for j, q := range quantiles {
		for q >= to && i+1 < len(v.Quantiles) {
			i++
			from, to = v.Quantiles[i], Unit
			if i+1 < len(v.Quantiles) {
				to = v.Quantiles[i+1]
			}
		}
		a, b := uint64(0), v.top
		if i >= 0 {
			a = v.cuts[i]
		}
		if i+1 < len(v.cuts) {
			b = v.cuts[i+1]
		}
		if q == from {
			cuts[j] = a
			continue
		}
		low := v.weightBefore(a)
		part := v.weightBefore(b).Sub(low).Big()
		part.Mul(part, big.NewInt(q-from)).Quo(part, big.NewInt(to-from))
		if cuts[j] = a; part.Sign() > 0 {
			cuts[j] = v.cutAt(low.Add(uint128(part)))
		}
	}
	return cuts
}

// newSolver returns a solver that has drawn nothing.
func newSolver(p *Problem, s exact.Sampler) *solver {
	v := &solver{
		Problem: p,
		sampler: s,
		records: make([]uint64, len(p.Counts)+1),
		roots:   make([]int32, len(p.Counts)),
		halves:  make([]halves, 1, 64*len(p.Quantiles)), // index 0 means "not split"
		blocks:  make([]block, 0, 2*len(p.Counts)+spareItems),
		cuts:    make([]uint64, len(p.Quantiles)),
	}
	v.start()
	for i, c := range p.Counts {
		v.records[i+1] = v.records[i] + c.Records
	}
	v.arity = max(p.Arity, 2)
	v.depth = Depth(len(p.Quantiles), v.arity)
	return v
}

// spareItems is how many splits a draw has room for before its scratch grows; it takes some forty on average.
const spareItems = 256

// halves is a split block: the records of its left half, and the splits of both halves (0: not split yet).
type halves struct {
	left  uint64
	split [2]int32
}

type solver struct {
	*Problem
	sampler exact.Sampler
	weighing
	records []uint64 // records before each bucket of Counts
	roots   []int32  // the split of each bucket of Counts
	halves  []halves // the memo of splits, one for the whole release
	cuts    []uint64
	arity   int
	depth   int

	blocks []block // scratch of sample
	items  []exact.Item
}

// A block is a run of cells. With records it is dyadic inside its bucket; without, it may span buckets, and then every cut in it has the same score.
type block struct {
	start, end uint64 // cells [start, end)
	before     uint64 // records of the range before it
	records    uint64
	split      splitRef
	outside    exact.Uint128 // prior weight instead of that of its cuts, for an end of the range that has weight from outside
}

// A splitRef says where the index of a block's split is kept: in roots, or in the half of another split.
type splitRef struct {
	parent int32 // 0: roots[slot]; otherwise halves[parent].split[slot]
	slot   int32
}

// solve answers Quantiles[from:to] within the cuts a to b, whose nominal quantiles are lo and hi, by a node of a level and its descendants.
func (v *solver) solve(a, b uint64, from, to int, lo, hi int64, level int) {
	if from == to {
		return
	}
	if a == b { // a test of the range, which is public here; never of the counts
		for j := from; j < to; j++ {
			v.cuts[j] = a
		}
		return
	}
	js := drawn(nil, from, to, v.arity)
	if v.Joint {
		v.sampleJoint(a, b, js, lo, hi, level, v.Buckets && len(js) == to-from)
	} else {
		for _, j := range js {
			v.weigh(j, a, b)
			v.cuts[j] = v.sample(a, b, uint64(v.Quantiles[j]-lo), uint64(hi-lo), len(js), level)
		}
	}
	if len(js) > 1 { // their order is not part of the draws: the first range ends at the first cut
		zs := make([]uint64, len(js))
		for i, j := range js {
			zs[i] = v.cuts[j]
		}
		slices.Sort(zs)
		for i, j := range js {
			v.cuts[j] = zs[i]
		}
	}
	for _, j := range js {
		z, q := v.cuts[j], v.Quantiles[j]
		v.solve(a, z, from, j, lo, q, level+1)
		a, from, lo = z, j+1, q
	}
	v.solve(a, b, from, to, lo, hi, level+1)
}

// sample draws a cut of [a, b] with probability ∝ W(cut)·exp(−η·s(cut)), s the score of the relative quantile num/den on the records in [a, b), as one of several
// draws of a node of a level.
func (v *solver) sample(a, b, num, den uint64, draws, level int) uint64 {
	if g := gcd(num, den); g > 1 {
		num, den = num/g, den/g
	}
	// Scores are den·s, integers below 2⁶⁴·10⁹. Per record s changes by at most max(num, den−num)/den (score.md), so
	// η/den = ε_v / (2·c·max(num, den−num)) with ε_v the draw's part of Epsilon or Rho.
	rate := v.rate(max(num, den-num), draws, level)
	v.tile(a, b)
	total := v.blocks[len(v.blocks)-1].before
	if v.Edges {
		v.putEnds(a, b, total)
	}
	score := func(x *block) exact.Uint128 {
		target := exact.Product(num, total)
		start := exact.Product(den, x.before)
		if target.Less(start) {
			return start.Sub(target)
		}
		if x.records == 0 || x.end-x.start == 1 { // all of its cuts have its left edge's rank
			return target.Sub(start)
		}
		end := exact.Product(den, x.before+x.records)
		if end.Less(target) {
			return target.Sub(end)
		}
		return exact.Uint128{}
	}
	v.items = slices.Grow(v.items[:0], len(v.blocks)+spareItems)
	for i := range v.blocks {
		x := &v.blocks[i]
		v.items = append(v.items, exact.Item{Mass: v.mass(x), Score: score(x)})
	}
	chooser := v.sampler.Chooser(rate, v.items)
restart:
	i := chooser.Choose()
	for {
		x := v.blocks[i]
		if x.records == 0 {
			return v.within(&x)
		}
		if x.end-x.start == 1 {
			return x.start
		}
		left, right := v.divide(&x)
		parent, last := score(&x), len(v.blocks)
		scores := [2]exact.Uint128{score(&left), score(&right)}
		v.blocks[i] = left
		v.blocks = append(v.blocks, right)
		chooser.Replace(i, exact.Item{Mass: v.mass(&left), Score: scores[0]})
		chooser.Append(exact.Item{Mass: v.mass(&right), Score: scores[1]})
		// Each half has half the mass: U(half)/U(x) = ½·exp(−η·(s(half) − s(x))).
		child := 0
		if v.sampler.Coin() {
			child, i = 1, last
		}
		if !v.sampler.Accept(rate, scores[child].Sub(parent)) {
			goto restart
		}
	}
}

// rate returns ε_v / (2·c·spread), ε_v being an equal part of the level's share of ε, or what spends an equal part of its share of ρ.
func (v *solver) rate(spread uint64, draws, level int) *exact.Rate {
	den := new(big.Int).SetUint64(2 * Unit)
	den.Mul(den, new(big.Int).SetUint64(v.Contributions))
	den.Mul(den, new(big.Int).SetUint64(spread))
	part := share(v.Shares, v.depth, level)
	if v.Rho > 0 {
		part.SetInt64(ofRho(v.Rho, part, draws))
	} else {
		part.Mul(part, big.NewRat(v.Epsilon, int64(draws)))
	}
	rate, err := exact.NewRate(part.Quo(part, new(big.Rat).SetInt(den)))
	if err != nil {
		panic("recursive: " + err.Error()) // the bounds of a Problem's fields keep it within [10⁻⁵⁰, 10¹⁰]
	}
	return rate
}

// putEnds adds to blocks the cuts a and b once more, with the prior weight of the cuts below a and above b.
func (v *solver) putEnds(a, b, total uint64) {
	if below := v.weightBefore(a); below != (exact.Uint128{}) {
		v.blocks = append(v.blocks, block{start: a, end: a + 1, outside: below})
	}
	if above := v.weightBefore(v.top + 1).Sub(v.weightBefore(b + 1)); above != (exact.Uint128{}) {
		v.blocks = append(v.blocks, block{start: b, end: b + 1, before: total, outside: above})
	}
}

// weightBefore returns W of the cells before z, for z ≤ top+1: each cell weighs as its bucket's weight says, and the cut at the top as the last cell.
func (v *solver) weightBefore(z uint64) exact.Uint128 {
	if z > v.top {
		return v.weightBefore(v.top).Add(exact.From64(v.weights[len(v.weights)-1]))
	}
	b := z >> v.Levels
	w := exact.From64(v.prefix[b]).Shl(v.Levels)
	if k := z & (1<<v.Levels - 1); k > 0 {
		w = w.Add(exact.Product(v.weights[b], k))
	}
	return w
}

// mass returns W of a block's cuts.
func (v *solver) mass(x *block) exact.Uint128 {
	if x.outside != (exact.Uint128{}) {
		return x.outside
	}
	if x.records > 0 { // inside one bucket
		return exact.Product(v.weights[x.start>>v.Levels], x.end-x.start)
	}
	return v.weightBefore(x.end).Sub(v.weightBefore(x.start))
}

// within draws a cut of a block without records, in proportion to the prior.
func (v *solver) within(x *block) uint64 {
	if x.end-x.start == 1 {
		return x.start
	}
	return v.cutAt(v.weightBefore(x.start).Add(v.sampler.Uniform(v.mass(x))))
}

// cutAt returns the cut with the last of so much weight and one more.
func (v *solver) cutAt(at exact.Uint128) uint64 {
	whole := at.Shr(v.Levels).Lo
	// The bucket that holds the point: the last one with no more weight before it.
	b := v.first + sort.Search(v.last-v.first, func(i int) bool { return v.prefix[v.first+i+1] > whole })
	if b == len(v.weights) {
		return v.top
	}
	k, _ := at.Sub(exact.From64(v.prefix[b]).Shl(v.Levels)).QuoRem64(v.weights[b])
	return uint64(b)<<v.Levels + k.Lo
}

// tile sets blocks to the tiling of the cuts a to b: the maximal dyadic blocks with records in [a, b), and between them what has none. The last block has no
// records and holds the cut b, so its field before is the number of records in [a, b).
func (v *solver) tile(a, b uint64) {
	at, before := a, uint64(0)
	blocks := v.blocks[:0]
	put := func(start, end, records uint64, split splitRef) {
		if at < start {
			blocks = append(blocks, block{start: at, end: start, before: before})
		}
		blocks = append(blocks, block{start: start, end: end, before: before, records: records, split: split})
		at, before = end, before+records
	}
	// walk puts the parts in [a, b) of the block [start, end).
	var walk func(x block)
	walk = func(x block) {
		if x.records == 0 || x.end <= a || b <= x.start {
			return
		}
		if a <= x.start && x.end <= b {
			put(x.start, x.end, x.records, x.split)
			return
		}
		// a or b lies strictly inside, so it was drawn by splitting this block: divide reads the memo.
		left, right := v.divide(&x)
		walk(left)
		walk(right)
	}
	for i := v.countAt(a); i < len(v.Counts); i++ {
		c := v.Counts[i]
		start := uint64(c.Bucket) << v.Levels
		if start >= b {
			break
		}
		end, split := start+1<<v.Levels, splitRef{slot: int32(i)}
		if a <= start && end <= b {
			put(start, end, c.Records, split)
		} else {
			walk(block{start: start, end: end, records: c.Records, split: split})
		}
	}
	v.blocks = append(blocks, block{start: at, end: b + 1, before: before})
}

// tileBuckets sets blocks to the tiling of the cuts a to b by buckets: of each with records its cells in [a, b), and between them what has none. The last block is as that of tile.
func (v *solver) tileBuckets(a, b uint64) {
	at, before, first := a, uint64(0), v.recordsBefore(a)
	blocks := v.blocks[:0]
	for i := v.countAt(a); i < len(v.Counts); i++ {
		bucket := uint64(v.Counts[i].Bucket)
		start, end := max(bucket<<v.Levels, a), min((bucket+1)<<v.Levels, b)
		if start >= b {
			break
		}
		records := v.recordsBefore(end) - first - before
		if records == 0 {
			continue
		}
		if at < start {
			blocks = append(blocks, block{start: at, end: start, before: before})
		}
		blocks = append(blocks, block{start: start, end: end, before: before, records: records})
		at, before = end, before+records
	}
	v.blocks = append(blocks, block{start: at, end: b + 1, before: before})
}

// countAt returns the index of the first count of the bucket with a cut or of one behind it.
func (v *solver) countAt(z uint64) int {
	return sort.Search(len(v.Counts), func(i int) bool { return uint64(v.Counts[i].Bucket) >= z>>v.Levels })
}

// divide returns the halves of a block with records and more than one cell. The first time, each record goes to either half by a fair coin; from then on, and for
// every node of the release, the memo answers. The right half holds what the left does not: drawn apart from it, records would be lost and invented.
func (v *solver) divide(x *block) (left, right block) {
	id := *v.memo(x.split)
	if id == 0 {
		id = int32(len(v.halves))
		*v.memo(x.split) = id
		v.halves = append(v.halves, halves{left: v.sampler.Binomial(x.records)})
	}
	n, mid := v.halves[id].left, x.start+(x.end-x.start)/2
	left = block{start: x.start, end: mid, before: x.before, records: n, split: splitRef{id, 0}}
	right = block{start: mid, end: x.end, before: x.before + n, records: x.records - n, split: splitRef{id, 1}}
	return left, right
}

// memo returns where the index of a split is kept; the pointer lives until halves grows.
func (v *solver) memo(at splitRef) *int32 {
	if at.parent == 0 {
		return &v.roots[at.slot]
	}
	return &v.halves[at.parent].split[at.slot]
}

func gcd(x, y uint64) uint64 {
	for y != 0 {
		x, y = y, x%y
	}
	return x
}
