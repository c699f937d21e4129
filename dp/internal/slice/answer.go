package slice

import (
	"slices"
	"sort"

	"github.com/quietile/quietile/dp/exact"
)

// spareItems is how many splits a draw has room for before its scratch grows; it takes some forty on average.
const spareItems = 256

// Answer returns a cut for each rank, ascending: the exponential mechanism on the slices of the records around the ranks.
func Answer(p *Problem, ranks []int64, s exact.Sampler) []uint64 {
	cuts, _ := answer(p, ranks, s)
	return cuts
}

// AnswerAndCount answers as [Answer] does, and counts the records below the first cut, between each cut and the next, and from the last on. The counts are not private: they are those of
// the positions that were drawn for the records, for a mechanism that takes its turn after this one.
func AnswerAndCount(p *Problem, ranks []int64, s exact.Sampler) (cuts, between []uint64) {
	cuts, before := answer(p, ranks, s)
	n, last := uint64(0), uint64(0)
	for _, c := range p.Counts {
		n += c.Records
	}
	for _, b := range append(before, n) {
		between = append(between, b-last)
		last = b
	}
	return cuts, between
}

// answer also returns the number of records before each cut.
func answer(p *Problem, ranks []int64, s exact.Sampler) (cuts, before []uint64) {
	width := p.width()
	v := &solver{
		Problem: p,
		sampler: s,
		top:     uint64(len(p.Weights)) << p.Levels,
		slices:  cut(ranks, int64(width)),
		weights: make([]uint64, len(p.Weights)+1),
		records: make([]uint64, len(p.Counts)+1),
		roots:   make([]int32, len(p.Counts)),
		halves:  make([]halves, 1, 64*len(ranks)), // index 0 means "not split"
		cuts:    make([]uint64, len(ranks)),
		before:  make([]uint64, len(ranks)),
	}
	for i, w := range p.Weights {
		v.weights[i+1] = v.weights[i] + w
	}
	for i, c := range p.Counts {
		v.records[i+1] = v.records[i] + c.Records
	}
	rate, err := exact.NewRate(p.rate(width))
	if err != nil {
		panic("slice: " + err.Error()) // the bounds of a Problem's fields keep it within [2⁻⁴⁰⁰, 2³²]
	}
	v.rate = rate
	v.solve(position{}, position{cut: v.top, before: v.records[len(p.Counts)]}, 0, len(ranks))
	return v.cuts, v.before
}

// A slice is of the records of ranks from+1 … to, those before the first and after the last of all being at the ends of the line; it is centred at the rank target.
type slice struct{ from, target, to int64 }

// cut returns the slices of so many records on either side of the ranks. A rank above a later one is moved down to it, and a slice ends where the next one starts, so that no two have
// a record in common.
func cut(ranks []int64, width int64) []slice {
	all := make([]slice, len(ranks))
	next, start := int64(maxRank), int64(maxRank+maxWidth)
	for j, r := range slices.Backward(ranks) {
		r = max(min(r, next), -maxRank)
		all[j] = slice{r - width, r, min(r+width, start)}
		next, start = r, r-width
	}
	return all
}

// distance returns the distance in records of a cut from the slice's centre, a cut outside of the slice being at its end. Before the cut are so many records of all.
func (x *slice) distance(before uint64) uint64 {
	at := min(max(int64(before), x.from), x.to)
	return uint64(max(at-x.target, x.target-at))
}

// score returns the least distance of cuts that have least to most records before them.
func (x *slice) score(least, most uint64) exact.Uint128 {
	at := uint64(min(max(x.target, int64(least)), int64(most)))
	return exact.From64(x.distance(at))
}

// A position is a cut and the number of records before it.
type position struct{ cut, before uint64 }

// halves is a split block: the records of its left half, and the splits of both halves (0: not split yet).
type halves struct {
	left  uint64
	split [2]int32
}

type solver struct {
	*Problem
	sampler exact.Sampler
	rate    *exact.Rate
	top     uint64 // N, the number of cells
	slices  []slice
	weights []uint64 // prior weight before each bucket
	records []uint64 // records before each bucket of Counts
	roots   []int32  // the split of each bucket of Counts
	halves  []halves // the memo of splits, one for the whole release
	cuts    []uint64
	before  []uint64 // records before each cut

	blocks []block // scratch of sample
	items  []exact.Item
}

// A block is a run of cells. With records it is dyadic inside its bucket; without, it may span buckets, and then every cut in it has as many records before it.
type block struct {
	start, end uint64 // cells [start, end)
	before     uint64 // records of all before it
	records    uint64
	split      splitRef
}

// A splitRef says where the index of a block's split is kept: in roots, or in the half of another split.
type splitRef struct {
	parent int32 // 0: roots[slot]; otherwise halves[parent].split[slot]
	slot   int32
}

// solve answers the slices from … to−1 within the cuts a to b, the middle one first: the others are on its answer's sides.
func (v *solver) solve(a, b position, from, to int) {
	if from == to {
		return
	}
	if a.cut == b.cut { // a test of the range, which is public here; never of the counts
		for j := from; j < to; j++ {
			v.cuts[j], v.before[j] = a.cut, a.before
		}
		return
	}
	j := from + (to-from)/2
	z := v.sample(a, b, &v.slices[j])
	v.cuts[j], v.before[j] = z.cut, z.before
	v.solve(a, z, from, j)
	v.solve(z, b, j+1, to)
}

// sample draws a cut of [a, b] with probability ∝ W(cut)·exp(−η·distance from the slice's centre).
func (v *solver) sample(a, b position, x *slice) position {
	v.tile(a, b)
	score := func(y *block) exact.Uint128 {
		if y.end-y.start == 1 { // the one cut has the rank of its left edge
			return x.score(y.before, y.before)
		}
		return x.score(y.before, y.before+y.records)
	}
	v.items = slices.Grow(v.items[:0], len(v.blocks)+spareItems)
	for i := range v.blocks {
		v.items = append(v.items, exact.Item{Mass: v.mass(&v.blocks[i]), Score: score(&v.blocks[i])})
	}
	chooser := v.sampler.Chooser(v.rate, v.items)
restart:
	i := chooser.Choose()
	for {
		y := v.blocks[i]
		if y.records == 0 {
			return position{v.within(&y), y.before}
		}
		if y.end-y.start == 1 {
			return position{y.start, y.before}
		}
		left, right := v.divide(&y)
		parent, last := score(&y), len(v.blocks)
		scores := [2]exact.Uint128{score(&left), score(&right)}
		v.blocks[i] = left
		v.blocks = append(v.blocks, right)
		chooser.Replace(i, exact.Item{Mass: v.mass(&left), Score: scores[0]})
		chooser.Append(exact.Item{Mass: v.mass(&right), Score: scores[1]})
		// Each half has half the mass: U(half)/U(y) = ½·exp(−η·(s(half) − s(y))).
		child := 0
		if v.sampler.Coin() {
			child, i = 1, last
		}
		if !v.sampler.Accept(v.rate, scores[child].Sub(parent)) {
			goto restart
		}
	}
}

// weightBefore returns W of the cells before z, for z ≤ top+1: each cell weighs as its bucket's weight says, and the cut at the top as the last cell.
func (v *solver) weightBefore(z uint64) exact.Uint128 {
	if z > v.top {
		return v.weightBefore(v.top).Add(exact.From64(v.Weights[len(v.Weights)-1]))
	}
	b := z >> v.Levels
	w := exact.From64(v.weights[b]).Shl(v.Levels)
	if k := z & (1<<v.Levels - 1); k > 0 {
		w = w.Add(exact.Product(v.Weights[b], k))
	}
	return w
}

// mass returns W of a block's cuts.
func (v *solver) mass(x *block) exact.Uint128 {
	return v.weightBefore(x.end).Sub(v.weightBefore(x.start))
}

// within draws a cut of a block without records, in proportion to the prior.
func (v *solver) within(x *block) uint64 {
	if x.end-x.start == 1 {
		return x.start
	}
	at := v.weightBefore(x.start).Add(v.sampler.Uniform(v.mass(x)))
	whole := at.Shr(v.Levels).Lo
	// The bucket that holds the point: the last one with no more weight before it.
	b := sort.Search(len(v.Weights), func(i int) bool { return v.weights[i+1] > whole })
	if b == len(v.Weights) {
		return v.top
	}
	k, _ := at.Sub(exact.From64(v.weights[b]).Shl(v.Levels)).QuoRem64(v.Weights[b])
	return uint64(b)<<v.Levels + k.Lo
}

// tile sets blocks to the tiling of the cuts a to b: the maximal dyadic blocks with records between them, and runs without records, of which the last holds the cut b.
func (v *solver) tile(a, b position) {
	at := a
	blocks := v.blocks[:0]
	// walk puts the part between a and b of a block.
	var walk func(x block)
	walk = func(x block) {
		switch {
		case x.records == 0 || x.end <= a.cut || b.cut <= x.start:
		case a.cut <= x.start && x.end <= b.cut:
			if at.cut < x.start {
				blocks = append(blocks, block{start: at.cut, end: x.start, before: x.before})
			}
			blocks = append(blocks, x)
			at = position{x.end, x.before + x.records}
		default: // a or b lies strictly inside, so it was drawn by splitting this block: divide reads the memo
			left, right := v.divide(&x)
			walk(left)
			walk(right)
		}
	}
	first := sort.Search(len(v.Counts), func(i int) bool { return uint64(v.Counts[i].Bucket) >= a.cut>>v.Levels })
	for i := first; i < len(v.Counts) && uint64(v.Counts[i].Bucket)<<v.Levels < b.cut; i++ {
		start := uint64(v.Counts[i].Bucket) << v.Levels
		walk(block{start: start, end: start + 1<<v.Levels, before: v.records[i], records: v.Counts[i].Records, split: splitRef{slot: int32(i)}})
	}
	v.blocks = append(blocks, block{start: at.cut, end: b.cut + 1, before: b.before})
}

// divide returns the halves of a block with records and more than one cell. The first time, each record goes to either half by a fair coin; from then on, and for
// every slice of the release, the memo answers. The right half holds what the left does not.
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
