package recursive

import (
	"iter"
	"math/big"
	"slices"

	"github.com/quietile/quietile/dp/exact"
)

// A bonus is what the deep vector of a sharp draw weighs more than an exponential mechanism would have it (docs/proofs/joint.md, lemma 8).
type bonus struct {
	path []run // the lightest of the vector and of those next to it, which the bonus is measured by
	at   []int // which of the blocks have the targets
}

// sharpen sets depth to what the next best vector's score is above that of the deep one, less the record that rounding N may have added, and the bonus. Blocks are the tiling by buckets, at the indices of those with the targets.
func (g *joint) sharpen(at []int) {
	g.depth = exact.Uint128{}
	unit := exact.From64(2 * g.den) // one record
	lightest, product := g.deep, g.massOfAll(g.deep)
	var least exact.Uint128
	for i, next := range g.besides() { // there are some
		cuts := make([]uint64, len(next))
		for j, r := range next {
			cuts[j] = r.start
		}
		score, _, _ := g.best(g.valued(cuts))
		if i == 0 || score.Less(least) {
			least = score
		}
		if mass := g.massOfAll(next); mass.Cmp(product) < 0 {
			lightest, product = next, mass
		}
	}
	if !unit.Less(least) {
		return
	}
	g.depth = least.Sub(unit)
	if most := exact.Product(2*g.den, g.recordsOf(deepest)); most.Less(g.depth) {
		g.depth = most
	}
	g.bonus = &bonus{path: lightest, at: at}
}

// besides returns the vectors next to the deep one: a target, with those behind it in its bucket, in the next bucket, or with those before it in the one before.
func (g *joint) besides() (all [][]run) {
	for j, r := range g.deep {
		up := slices.Clone(g.deep)
		for i := j; i < len(up) && g.deep[i] == r; i++ {
			up[i] = g.partAt(r.end)
		}
		all = append(all, up)
		if r.start > g.a {
			down := slices.Clone(g.deep)
			for i := j; i >= 0 && g.deep[i] == r; i-- {
				down[i] = g.partAt(r.start - 1)
			}
			all = append(all, down)
		}
	}
	return all
}

// partAt returns the cuts of the range in the bucket of a cut, without the last cut of the range, which is a part of its own.
func (g *joint) partAt(z uint64) run {
	if z == g.b {
		return run{start: g.b, end: g.b + 1}
	}
	return run{start: max(z>>g.Levels<<g.Levels, g.a), end: min((z>>g.Levels+1)<<g.Levels, g.b)}
}

// massOf returns the weight of a run's cuts.
func (v *solver) massOf(r *run) exact.Uint128 {
	return v.weightBefore(r.end).Sub(v.weightBefore(r.start))
}

// massOfAll returns the product of the weights of runs.
func (v *solver) massOfAll(runs []run) *big.Int {
	product := big.NewInt(1)
	for i := range runs {
		product.Mul(product, v.massOf(&runs[i]).Big())
	}
	return product
}

// acceptBonus is true with the probability that what is left of the bonus has in exp(η·(depth − 1)) times the lightest mass: (1 − exp(−2·η·depth))·max(0, 1 − exp(η·depth)·B).
func (g *joint) acceptBonus() bool {
	return !g.sampler.Accept(g.rate, g.depth.Shl(1)) && !g.sampler.AcceptSum(g.rate, g.others(), g.massOfAll(g.bonus.path))
}

// others yields terms whose sum, over the lightest mass, is exp(η·depth)·B: B bounds what all vectors but the deep one and the next best weigh. The distances of terms grow.
func (g *joint) others() iter.Seq2[exact.Uint128, *big.Int] {
	return func(yield func(k exact.Uint128, num *big.Int) bool) {
		g.tileBuckets(g.a, g.b)
		mass, lightest := g.massOf(&run{start: g.a, end: g.b + 1}), g.massOfAll(g.bonus.path)
		// What is farther off counts as at this distance, where all of it weighs next to nothing, so that there are not too many terms.
		bits := mass.BitLen()*len(g.deep) - lightest.BitLen() + 21
		limit := 2 * (g.recordsOf(deepest+uint64(bits)) + 1)
		walks, sums := make([]walk, len(g.deep)), make([]exact.Uint128, len(g.deep))
		upTo := uint64(0)
		for j, i := range g.bonus.at {
			upTo += g.parts[j]
			walks[j] = g.newWalk(i, upTo, limit)
			x := g.blocks[i]
			sums[j] = g.massOf(&run{start: x.start, end: x.end})
		}
		product := func() *big.Int {
			p := big.NewInt(1)
			for _, s := range sums {
				p.Mul(p, s.Big())
			}
			return p
		}
		last := product() // of the deep vector itself
		first := true
		for {
			at := limit
			for j := range walks {
				at = min(at, walks[j].next())
			}
			for j := range walks {
				if at == limit {
					sums[j] = mass
				}
				for at < limit && walks[j].next() == at {
					sums[j] = sums[j].Add(walks[j].step())
				}
			}
			all := product()
			num := new(big.Int).Sub(all, last)
			if first { // the next best
				num.Sub(num, lightest)
				first = false
			}
			if num.Sign() > 0 && !yield(exact.Product(g.den, at).Sub(g.depth), num) || at == limit {
				return
			}
			last = all
		}
	}
}

// A walk goes from the block with a target to those ever farther on both sides.
type walk struct {
	*joint
	left, right int // the next blocks
	upTo        uint64
	limit       uint64
	toLeft      uint64 // how far they are, in half records of what one changes that by
	toRight     uint64
}

func (g *joint) newWalk(i int, upTo, limit uint64) walk {
	w := walk{joint: g, left: i - 1, right: i + 1, upTo: upTo, limit: limit}
	w.look()
	return w
}

// next returns how far the next block is, at most the limit.
func (w *walk) next() uint64 { return min(w.toLeft, w.toRight) }

// look finds how far the next blocks are.
func (w *walk) look() {
	rank := exact.Product(w.upTo, w.n)
	halves := func(off exact.Uint128) uint64 {
		n, _ := off.Shl(1).QuoRem64(max(w.upTo, w.den-w.upTo))
		if n.Less(exact.From64(w.limit)) {
			return n.Lo
		}
		return w.limit
	}
	w.toLeft, w.toRight = w.limit, w.limit
	if w.left >= 0 {
		x := w.blocks[w.left]
		w.toLeft = halves(rank.Sub(exact.Product(x.before+x.records, w.den)))
	}
	if w.right < len(w.blocks) {
		w.toRight = halves(exact.Product(w.blocks[w.right].before, w.den).Sub(rank))
	}
}

// step takes the nearer block, and returns its mass.
func (w *walk) step() exact.Uint128 {
	i := w.right
	if w.toLeft <= w.toRight {
		i = w.left
		w.left--
	} else {
		w.right++
	}
	w.look()
	return w.massOf(&run{start: w.blocks[i].start, end: w.blocks[i].end})
}
