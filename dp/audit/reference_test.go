package audit

import (
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
)

// A formula computes the law of the recursive estimator from its definition: it places the records in cells in every possible way, and multiplies the
// probabilities of the exponential mechanism. It shares no code with the estimator, which splits, refines and rejects.
type formula struct {
	levels        uint
	weights       []uint64
	quantiles     []*big.Rat
	epsilon       *big.Rat
	contributions int64
	arity         int      // 0 means 2
	shares        []uint64 // nil means equal
	edges         bool
	joint         bool
	buckets       bool
	sharp         bool
	priors        []recursive.Prior // by quantile, instead of weights
}

// weightsFor returns what the buckets weigh for a quantile in the cuts a to b.
func (f formula) weightsFor(q *big.Rat, a, b int) []uint64 {
	if f.priors == nil {
		return f.weights
	}
	j := slices.IndexFunc(f.quantiles, func(r *big.Rat) bool { return r.Cmp(q) == 0 })
	n := len(f.weights)
	top := n << f.levels
	if f.edges {
		a, b = 0, top-1
	}
	first, last := min(a, top-1)>>f.levels, min(b, top-1)>>f.levels+1
	weights := slices.Repeat([]uint64{1 << 40}, n) // outside of the range, where nothing may look
	copy(weights[first:], f.priors[j].Within(first, last, uint64(a), uint64(b), f.levels, nil))
	return weights
}

func (f formula) law(records []uint64) Law {
	law := Law{}
	cells := make([]int64, len(records)<<f.levels)
	var place func(bucket, cell int, left uint64, p *big.Rat)
	place = func(bucket, cell int, left uint64, p *big.Rat) {
		if bucket == len(records) {
			for answer, q := range f.solve(cells, 0, len(cells), f.quantiles, new(big.Rat), big.NewRat(1, 1), 0) {
				if law[answer] == nil {
					law[answer] = float()
				}
				law[answer].Add(law[answer], q.Mul(q, float().SetRat(p)))
			}
			return
		}
		size := 1 << f.levels
		if cell == size-1 {
			cells[bucket*size+cell] = int64(left)
			next := uint64(0)
			if bucket+1 < len(records) {
				next = records[bucket+1]
			}
			place(bucket+1, 0, next, p)
			return
		}
		for k := uint64(0); k <= left; k++ {
			cells[bucket*size+cell] = int64(k)
			// Each of the left records falls into this cell, of the size−cell that remain, with equal probability.
			in := big.NewRat(1, int64(size-cell))
			out := new(big.Rat).Sub(big.NewRat(1, 1), in)
			share := new(big.Rat).SetInt(new(big.Int).Binomial(int64(left), int64(k)))
			for i := uint64(0); i < left; i++ {
				if i < k {
					share.Mul(share, in)
				} else {
					share.Mul(share, out)
				}
			}
			place(bucket, cell+1, left-k, share.Mul(share, p))
		}
	}
	place(0, 0, records[0], big.NewRat(1, 1))
	return law
}

// draws returns which of m quantiles a node draws: those at the i/arity of them, or all if they are fewer than arity.
func (f formula) draws(m int) []int {
	var js []int
	arity := max(f.arity, 2)
	for j := range m {
		for i := 1; i < arity; i++ {
			if m < arity || j == i*m/arity {
				js = append(js, j)
				break
			}
		}
	}
	return js
}

// depth is the number of nodes on the longest path, by walking the tree.
func (f formula) depth(m int) int64 {
	if m == 0 {
		return 0
	}
	longest, from := int64(0), 0
	for _, j := range append(f.draws(m), m) {
		longest, from = max(longest, f.depth(j-from)), j+1
	}
	return 1 + longest
}

func (f formula) solve(cells []int64, a, b int, quantiles []*big.Rat, lo, hi *big.Rat, level int) Law {
	if len(quantiles) == 0 {
		return Law{"": float().SetInt64(1)}
	}
	if a == b {
		same := make([]uint64, len(quantiles))
		for i := range same {
			same[i] = uint64(a)
		}
		return Law{key(same): float().SetInt64(1)}
	}
	js := f.draws(len(quantiles))
	epsilon := new(big.Rat).Quo(f.epsilon, new(big.Rat).SetInt64(f.depth(len(f.quantiles))))
	if f.shares != nil {
		sum := uint64(0)
		for _, w := range f.shares {
			sum += w
		}
		epsilon.Mul(f.epsilon, big.NewRat(int64(f.shares[level]), int64(sum)))
	}
	if !f.joint {
		epsilon.Quo(epsilon, new(big.Rat).SetInt64(int64(len(js))))
	}
	law := Law{}
	// choose draws the cuts of js[i:], given those before.
	var choose func(i int, zs []int, p *big.Float)
	choose = func(i int, zs []int, p *big.Float) {
		if i == 0 && f.joint {
			own := make([]*big.Rat, len(js))
			for i, j := range js {
				own[i] = quantiles[j]
			}
			law := f.together
			if f.buckets && len(js) == len(quantiles) {
				law = f.inBuckets
			}
			for answer, q := range law(cells, a, b, own, lo, hi, epsilon) {
				zs := make([]int, len(js))
				for i, z := range answerOf(answer) {
					zs[i] = int(z)
				}
				choose(len(js), zs, float().Mul(p, q))
			}
			return
		}
		if i < len(js) {
			for z, q := range f.mechanism(cells, a, b, quantiles[js[i]], lo, hi, epsilon) {
				choose(i+1, append(slices.Clone(zs), a+z), float().Mul(p, q))
			}
			return
		}
		slices.Sort(zs)
		// The laws of the ranges between, one after the other.
		joint, start, from, low := Law{"": p}, a, 0, lo
		for i := range len(js) + 1 {
			end, to, high, own := b, len(quantiles), hi, ""
			if i < len(js) {
				end, to, high, own = zs[i], js[i], quantiles[js[i]], key([]uint64{uint64(zs[i])})
			}
			next := Law{}
			for answer, q := range f.solve(cells, start, end, quantiles[from:to], low, high, level+1) {
				for before, p := range joint {
					next[before+answer+own] = float().Mul(p, q)
				}
			}
			joint, start, from, low = next, end, to+1, high
		}
		for answer, p := range joint {
			if law[answer] == nil {
				law[answer] = float()
			}
			law[answer].Add(law[answer], p)
		}
	}
	choose(0, nil, float().SetInt64(1))
	return law
}

// mechanism returns the probability of each cut from a to b.
func (f formula) mechanism(cells []int64, a, b int, q, lo, hi, epsilon *big.Rat) []*big.Float {
	one := big.NewRat(1, 1)
	p := new(big.Rat).Quo(new(big.Rat).Sub(q, lo), new(big.Rat).Sub(hi, lo))
	spread := new(big.Rat).Sub(one, p)
	if spread.Cmp(p) < 0 {
		spread.Set(p)
	}
	rate := new(big.Rat).Quo(epsilon, new(big.Rat).SetInt64(2*f.contributions))
	rate.Quo(rate, spread)
	n := int64(0)
	for _, c := range cells[a:b] {
		n += c
	}
	buckets := f.weightsFor(q, a, b)
	cut := func(z int) int64 { return int64(buckets[min(z>>f.levels, len(buckets)-1)]) }
	weights, sum, below := make([]*big.Float, b-a+1), float(), int64(0)
	for z := a; z <= b; z++ {
		score := new(big.Rat).Mul(p, new(big.Rat).SetInt64(n))
		score.Sub(score, new(big.Rat).SetInt64(below)).Abs(score)
		weight := cut(z)
		if f.edges && z == a {
			for y := range a {
				weight += cut(y)
			}
		}
		if f.edges && z == b {
			for y := b + 1; y <= len(cells); y++ {
				weight += cut(y)
			}
		}
		weights[z-a] = expNeg(score.Mul(score, rate))
		weights[z-a].Mul(weights[z-a], float().SetInt64(weight))
		sum.Add(sum, weights[z-a])
		if z < b {
			below += cells[z]
		}
	}
	for _, w := range weights {
		w.Quo(w, sum)
	}
	return weights
}

// together returns the law of the cuts of all quantiles from a to b at once, by going through all vectors of cuts in any order.
func (f formula) together(cells []int64, a, b int, quantiles []*big.Rat, lo, hi, epsilon *big.Rat) Law {
	var parts []*big.Rat
	last := lo
	for _, q := range append(slices.Clone(quantiles), hi) {
		part := new(big.Rat).Sub(q, last)
		parts = append(parts, part.Quo(part, new(big.Rat).Sub(hi, lo)))
		last = q
	}
	rate := new(big.Rat).Quo(epsilon, new(big.Rat).SetInt64(2*f.contributions))
	n := int64(0)
	for _, c := range cells[a:b] {
		n += c
	}
	score := func(zs []int) *big.Rat {
		var least *big.Rat
		for records := range 2*n + 1 { // beyond 2n the last N, 0, was better
			sum, from := new(big.Rat), a
			for j, to := range append(slices.Clone(zs), b) {
				gap := int64(0)
				for _, c := range cells[from:to] {
					gap += c
				}
				off := new(big.Rat).Mul(parts[j], new(big.Rat).SetInt64(records))
				sum.Add(sum, off.Sub(off, new(big.Rat).SetInt64(gap)).Abs(off))
				from = to
			}
			if least == nil || sum.Cmp(least) < 0 {
				least = sum
			}
		}
		return least
	}
	law, sum := Law{}, float()
	var place func(zs []int, weight int64)
	place = func(zs []int, weight int64) {
		if len(zs) < len(quantiles) {
			for z := a; z <= b; z++ {
				place(append(slices.Clone(zs), z), weight*int64(f.weights[min(z>>f.levels, len(f.weights)-1)]))
			}
			return
		}
		slices.Sort(zs)
		answer := make([]uint64, len(zs))
		for j, z := range zs {
			answer[j] = uint64(z)
		}
		s := score(zs)
		p := expNeg(s.Mul(s, rate))
		p.Mul(p, float().SetInt64(weight))
		law.add(key(answer), p)
		sum.Add(sum, p)
	}
	place(nil, 1)
	for _, p := range law {
		p.Quo(p, sum)
	}
	return law
}

// inBuckets returns the law of the cuts of all quantiles from a to b if buckets are drawn at once, and a cut in each, by going through all vectors of buckets, all N and all ways to divide the records of buckets that may be best.
func (f formula) inBuckets(cells []int64, a, b int, quantiles []*big.Rat, lo, hi, epsilon *big.Rat) Law {
	one := big.NewRat(1, 1)
	var upTo []*big.Rat // shares
	for _, q := range append(slices.Clone(quantiles), hi) {
		part := new(big.Rat).Sub(q, lo)
		upTo = append(upTo, part.Quo(part, new(big.Rat).Sub(hi, lo)))
	}
	rate := new(big.Rat).Quo(epsilon, new(big.Rat).SetInt64(2*f.contributions))
	// The parts of the range: of each bucket its cells before b, and cut b.
	type part struct {
		cuts      []int
		low, high int64 // records before it, and with its own
	}
	var parts []part
	n := int64(0)
	for z := a; z < b; z++ {
		if len(parts) == 0 || z>>f.levels != parts[len(parts)-1].cuts[0]>>f.levels {
			parts = append(parts, part{low: n})
		}
		p := &parts[len(parts)-1]
		n += cells[z]
		p.cuts, p.high = append(p.cuts, z), n
	}
	parts = append(parts, part{[]int{b}, n, n})
	score := func(vector []part) *big.Rat {
		var least *big.Rat
		for records := range 2*n + 1 {
			whole := new(big.Rat).SetInt64(records)
			ends := func(j int) (low, high *big.Rat) { // of how many records more than the shares of so many are before cut j
				shift := new(big.Rat).Mul(upTo[j], whole)
				p := part{low: n, high: n}
				if j < len(vector) {
					p = vector[j]
				}
				low, high = new(big.Rat).SetInt64(p.low), new(big.Rat).SetInt64(p.high)
				return low.Sub(low, shift), high.Sub(high, shift)
			}
			// A division that is best has, for each cut, a number of these: a sum of distances is least at an end of one of its terms.
			at := []*big.Rat{new(big.Rat)}
			for j := range upTo {
				low, high := ends(j)
				at = append(at, low, high)
			}
			best := map[string]*big.Rat{new(big.Rat).RatString(): new(big.Rat)} // by where the last cut is
			for j := range upTo {
				low, high := ends(j)
				next := map[string]*big.Rat{}
				for _, x := range at {
					if x.Cmp(low) < 0 || x.Cmp(high) > 0 {
						continue
					}
					for from, sum := range best {
						y, _ := new(big.Rat).SetString(from)
						off := new(big.Rat).Sub(x, y)
						share := new(big.Rat).Set(upTo[j])
						if j > 0 {
							share.Sub(share, upTo[j-1])
						}
						if gap := share.Mul(share, whole); gap.Add(gap, off).Sign() < 0 { // records before cuts do not fall
							continue
						}
						total := off.Abs(off)
						total.Add(total, sum)
						if old := next[x.RatString()]; old == nil || total.Cmp(old) < 0 {
							next[x.RatString()] = total
						}
					}
				}
				best = next
			}
			for _, sum := range best {
				if least == nil || sum.Cmp(least) < 0 {
					least = sum
				}
			}
		}
		return least
	}
	cut := func(z int) *big.Rat {
		return new(big.Rat).SetInt64(int64(f.weights[min(z>>f.levels, len(f.weights)-1)]))
	}
	// By how many records a target is from the cuts of a part at least, or less than 0 if inside, in units of what one record changes that by.
	away := func(j int, p part) *big.Rat {
		target := new(big.Rat).Mul(upTo[j], new(big.Rat).SetInt64(n))
		low, high := new(big.Rat).Sub(new(big.Rat).SetInt64(p.low), target), new(big.Rat).Sub(target, new(big.Rat).SetInt64(p.high))
		most := new(big.Rat).Sub(one, upTo[j])
		if most.Cmp(upTo[j]) < 0 {
			most = upTo[j]
		}
		if low.Cmp(high) < 0 {
			low = high
		}
		return low.Quo(low, most)
	}
	farthest := func(vector []part) *big.Rat {
		most := away(0, vector[0])
		for j, p := range vector {
			if off := away(j, p); off.Cmp(most) > 0 {
				most = off
			}
		}
		return most
	}
	weight := func(vector []part) *big.Rat {
		w := big.NewRat(1, 1)
		for _, p := range vector {
			all := new(big.Rat)
			for _, z := range p.cuts {
				all.Add(all, cut(z))
			}
			w.Mul(w, all)
		}
		return w
	}
	power := func(x *big.Rat) *big.Float { // e^(rate·x)
		y := new(big.Rat).Mul(x, rate)
		p := expNeg(new(big.Rat).Abs(y))
		if y.Sign() > 0 {
			p.Quo(float().SetInt64(1), p)
		}
		return p
	}
	limit := func(exponent int64) *big.Rat { // the least whole number of records with that exponent
		x := new(big.Rat).Quo(big.NewRat(exponent, 1), rate)
		return new(big.Rat).SetInt(new(big.Int).Neg(new(big.Int).Div(new(big.Int).Neg(x.Num()), x.Denom())))
	}
	least := func(x, y *big.Rat) *big.Rat {
		if y.Cmp(x) < 0 {
			return y
		}
		return x
	}
	floor := func(x *big.Rat) *big.Rat { return new(big.Rat).SetInt(new(big.Int).Div(x.Num(), x.Denom())) }
	// sharp returns what the vector weighs if it is the one with all targets strictly inside: its own exponential and the bonus, over its weight.
	sharp := func(indices []int) *big.Float {
		var vector []part
		for _, i := range indices {
			vector = append(vector, parts[i])
		}
		if farthest(vector).Sign() >= 0 {
			return nil
		}
		var next *big.Rat // the least score of a vector beside this
		lightest, nearest := weight(vector), (*big.Rat)(nil)
		for j, i := range indices {
			for _, step := range []int{-1, 1} {
				if i+step < 0 {
					continue
				}
				beside := slices.Clone(vector)
				for k := range indices {
					if indices[k] == i && (k-j)*step >= 0 {
						beside[k] = parts[i+step]
					}
				}
				if s := score(beside); next == nil || s.Cmp(next) < 0 {
					next = s
				}
				if w := weight(beside); w.Cmp(lightest) < 0 {
					lightest = w
				}
				if off := farthest(beside); nearest == nil || off.Cmp(nearest) < 0 {
					nearest = off
				}
			}
		}
		depth := least(new(big.Rat).Sub(next, one), limit(64))
		if depth.Sign() <= 0 {
			return nil
		}
		whole := big.NewInt(0) // the weight of all cuts, in units of a cut's
		for z := a; z <= b; z++ {
			whole.Add(whole, cut(z).Num())
		}
		most := new(big.Rat).Add(limit(int64(64+21+whole.BitLen()*len(vector)-lightest.Num().BitLen())), one)
		halves := func(off *big.Rat) *big.Rat {
			x := floor(new(big.Rat).Add(off, off))
			return least(x.Quo(x, big.NewRat(2, 1)), most)
		}
		others := float()
		var add func(other []part)
		add = func(other []part) {
			if len(other) < len(vector) {
				for _, p := range parts {
					add(append(slices.Clone(other), p))
				}
				return
			}
			for j, p := range other {
				if p.cuts[0] != vector[j].cuts[0] {
					w := weight(other)
					others.Add(others, float().Mul(float().SetRat(w.Quo(w, lightest)), power(new(big.Rat).Neg(halves(farthest(other))))))
					return
				}
			}
		}
		add(nil)
		others.Sub(others, power(new(big.Rat).Neg(halves(nearest))))
		x := power(depth)
		left := float().Sub(float().SetInt64(1), float().Mul(x, others))
		if left.Sign() < 0 {
			left = float()
		}
		bonus := float().Sub(x, float().Quo(float().SetInt64(1), x))
		bonus.Mul(bonus, left).Mul(bonus, power(big.NewRat(-1, 1))).Mul(bonus, float().SetRat(lightest.Quo(lightest, weight(vector))))
		return x.Add(x, bonus)
	}
	law, sum := Law{}, float()
	var place func(indices []int, from int)
	place = func(indices []int, from int) {
		if len(indices) < len(quantiles) {
			for i := from; i < len(parts); i++ {
				place(append(slices.Clone(indices), i), i)
			}
			return
		}
		var vector []part
		for _, i := range indices {
			vector = append(vector, parts[i])
		}
		var p *big.Float
		inside := farthest(vector)
		if inside.Neg(inside); f.sharp {
			p = sharp(indices)
		} else if depth := least(floor(inside), limit(64)); depth.Sign() > 0 { // such a vector has the score −depth
			p = power(depth)
		}
		if p == nil {
			p = power(new(big.Rat).Neg(score(vector)))
		}
		// Each with all its cuts, of which it weighs as much as they do together.
		var within func(zs []uint64, weight *big.Rat)
		within = func(zs []uint64, weight *big.Rat) {
			if len(zs) == len(vector) {
				slices.Sort(zs)
				q := float().Mul(p, float().SetRat(weight))
				law.add(key(zs), q)
				sum.Add(sum, q)
				return
			}
			for _, z := range vector[len(zs)].cuts {
				within(append(slices.Clone(zs), uint64(z)), new(big.Rat).Mul(weight, cut(z)))
			}
		}
		within(nil, one)
	}
	place(nil, 0)
	for _, p := range law {
		p.Quo(p, sum)
	}
	return law
}

// equalLaws fails the test unless the laws agree to 2^−190 of each probability.
func equalLaws(t *testing.T, name string, got, want Law) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d possible answers, want %d", name, len(got), len(want))
	}
	for answer, p := range want {
		q := got[answer]
		if q == nil {
			t.Fatalf("%s: %v is impossible, want probability %.6g", name, answerOf(answer), p)
		}
		if off := float().Sub(q, p); off.Sign() != 0 && off.MantExp(nil) > p.MantExp(nil)-190 {
			t.Fatalf("%s: %v has probability %.40g, want %.40g", name, answerOf(answer), q, p)
		}
	}
}

func TestRefinementAndRejectionGiveTheLawOfTheDefinition(t *testing.T) {
	checkWith := func(tree tree, levels uint, weights []uint64, epsilon int64, contributions, records int, nano ...int64) {
		t.Helper()
		f := formula{
			levels: levels, weights: weights, epsilon: big.NewRat(epsilon, 1), contributions: int64(contributions),
			arity: tree.arity, shares: tree.shares, edges: tree.edges, joint: tree.joint, priors: tree.priors,
		}
		for _, q := range nano {
			f.quantiles = append(f.quantiles, big.NewRat(q, recursive.Unit))
		}
		c := treeCase("", tree, levels, nano, epsilon, contributions, weights, records)
		for _, x := range multisets(len(weights), 0, records) {
			got, err := Enumerate(func(s exact.Sampler) []uint64 { return c.Answer(x, s) })
			if err != nil {
				t.Fatal(err)
			}
			equalLaws(t, fmt.Sprintf("%+v, %d cells a bucket, weights %v, q %v, records %v", tree, 1<<levels, weights, nano, x), got, f.law(x))
		}
	}
	check := func(levels uint, weights []uint64, epsilon int64, contributions, records int, nano ...int64) {
		t.Helper()
		checkWith(tree{}, levels, weights, epsilon, contributions, records, nano...)
	}
	const u = recursive.Unit
	check(0, []uint64{1, 1, 1}, 1, 1, 5, u/2)
	check(0, []uint64{1, 4, 1, 2}, 3, 2, 3, u/10, u/2, 9*u/10)
	check(1, []uint64{1, 1}, 1, 1, 5, u/2)
	check(1, []uint64{3, 1, 2}, 4, 1, 4, u/10)
	check(1, []uint64{1, 2}, 2, 1, 3, u/4, 3*u/4)
	check(1, []uint64{2, 1}, 2, 2, 2, u/4, u/2, 3*u/4)
	check(2, []uint64{1}, 5, 1, 4, 9*u/10)
	check(2, []uint64{1, 1}, 2, 1, 2, u/4, u/2)
	check(3, []uint64{1}, 5, 1, 2, u/3)

	checkWith(tree{shares: []uint64{1, 3}}, 0, []uint64{1, 4, 1, 2}, 3, 2, 3, u/10, u/2, 9*u/10)
	checkWith(tree{arity: 3}, 0, []uint64{1, 4, 1}, 3, 1, 3, u/4, u/2, 3*u/4)
	checkWith(tree{arity: 9}, 0, []uint64{1, 2, 1}, 3, 2, 3, u/4, u/2, 3*u/4)
	checkWith(tree{arity: 3, shares: []uint64{2, 1}}, 1, []uint64{1, 2}, 2, 1, 2, u/4, u/2, 3*u/4)
	checkWith(tree{arity: 4}, 1, []uint64{1, 1}, 2, 1, 2, u/4, u/2)
	checkWith(tree{edges: true}, 0, []uint64{1, 4, 1, 2}, 3, 2, 3, u/10, u/2, 9*u/10)
	checkWith(tree{edges: true}, 1, []uint64{3, 1, 2}, 2, 1, 2, u/4, u/2, 3*u/4)
	checkWith(tree{edges: true, arity: 3}, 1, []uint64{1, 2}, 2, 1, 2, u/4, u/2, 3*u/4)

	left, right := recursive.Prior{Weights: []uint64{9, 1, 2}}, recursive.Prior{Weights: []uint64{1, 2, 7}}
	mixed := recursive.Prior{Weights: []uint64{1, 9, 1}, Robust: []uint64{1, 1, 3}, Share: 0.25, Total: 16}
	all := []recursive.Prior{left, mixed, right}
	checkWith(tree{priors: all}, 0, []uint64{1, 1, 1}, 3, 2, 3, u/10, u/2, 9*u/10)
	checkWith(tree{priors: all[:2]}, 1, []uint64{1, 1, 1}, 2, 1, 2, u/4, u/2)
	checkWith(tree{priors: all, edges: true}, 0, []uint64{1, 1, 1}, 3, 2, 3, u/10, u/2, 9*u/10)
	near := recursive.Prior{Weights: []uint64{1, 9, 1}, Robust: []uint64{1, 1, 3}, Share: 0.5, Near: 0.5, Total: 16}
	checkWith(tree{priors: []recursive.Prior{near, mixed, near}}, 0, []uint64{1, 1, 1}, 3, 2, 3, u/10, u/2, 9*u/10)
	checkWith(tree{priors: []recursive.Prior{near, near}}, 1, []uint64{1, 1, 1}, 2, 1, 2, u/4, u/2)
	checkWith(tree{priors: all, arity: 4}, 0, []uint64{1, 1, 1}, 3, 2, 3, u/10, u/2, 9*u/10)
}

// The law of cuts drawn jointly, and of buckets, is that of the definition, whatever the proposal.
func TestJointDrawsHaveTheLawOfTheDefinition(t *testing.T) {
	const u = recursive.Unit
	f := func(tree tree, levels uint, weights []uint64, epsilon int64, contributions, records int, nano ...int64) {
		t.Helper()
		tree.joint = true
		if tree.arity == 0 {
			tree.arity = len(nano) + 1
		}
		f := formula{levels: levels, weights: weights, epsilon: big.NewRat(epsilon, 1), contributions: int64(contributions), arity: tree.arity, shares: tree.shares, joint: true, buckets: tree.buckets, sharp: tree.sharp}
		for _, q := range nano {
			f.quantiles = append(f.quantiles, big.NewRat(q, recursive.Unit))
		}
		c := treeCase("", tree, levels, nano, epsilon, contributions, weights, records)
		for _, x := range multisets(len(weights), 0, records) {
			got, err := Enumerate(func(s exact.Sampler) []uint64 { return c.Answer(x, s) })
			if err != nil {
				t.Fatal(err)
			}
			equalLaws(t, fmt.Sprintf("%+v, %d cells a bucket, weights %v, q %v, records %v", tree, 1<<levels, weights, nano, x), got, f.law(x))
		}
	}
	f(tree{}, 0, []uint64{1, 1, 1}, 1, 1, 4, u/2)
	f(tree{}, 0, []uint64{1, 4, 1}, 3, 2, 3, u/10, u/2)
	f(tree{}, 0, []uint64{2, 1}, 40, 1, 6, u/4, u/2)
	f(tree{}, 0, []uint64{1, 2}, 2, 1, 3, u/4, u/2, 3*u/4)
	f(tree{}, 1, []uint64{1, 1}, 2, 1, 2, u/4, 3*u/4)
	f(tree{}, 2, []uint64{1}, 5, 1, 2, u/3)
	f(tree{arity: 2}, 0, []uint64{1, 1, 2}, 2, 1, 3, u/4, u/2)

	b := tree{buckets: true}
	f(b, 0, []uint64{1, 1, 1}, 1, 1, 5, u/2)
	f(b, 0, []uint64{1, 4, 1}, 3, 2, 4, u/10, u/2)
	f(b, 0, []uint64{2, 1}, 40, 1, 6, u/4, u/2)
	f(b, 0, []uint64{1, 2, 1}, 2, 1, 3, u/4, u/2, 3*u/4)
	f(b, 1, []uint64{1, 1}, 2, 1, 4, u/4, 3*u/4)
	f(b, 2, []uint64{1, 1}, 5, 1, 3, u/3)
	f(tree{buckets: true, arity: 2}, 0, []uint64{1, 1, 2}, 2, 1, 3, u/4, u/2)
	f(tree{buckets: true, arity: 2}, 1, []uint64{1, 2}, 2, 2, 2, u/4, u/2)

	sharp := tree{buckets: true, sharp: true}
	f(sharp, 0, []uint64{1, 1, 1}, 1, 1, 7, u/2)
	f(sharp, 0, []uint64{1, 1, 1}, 7, 1, 7, u/2)
	f(sharp, 0, []uint64{1, 4, 1}, 6, 2, 5, u/10, u/2)
	f(sharp, 0, []uint64{2, 1}, 40, 1, 7, u/4, u/2)
	f(sharp, 0, []uint64{1, 2, 1}, 8, 1, 4, u/4, u/2, 3*u/4)
	f(sharp, 1, []uint64{1, 1}, 9, 1, 4, u/4, 3*u/4)
	f(sharp, 2, []uint64{1, 1}, 5, 1, 4, u/3)
	f(tree{buckets: true, sharp: true, arity: 2}, 0, []uint64{1, 1, 2}, 9, 1, 4, u/4, u/2)
}
