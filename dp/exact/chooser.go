package exact

import (
	"math/big"
	"math/bits"
)

// An Item is one candidate of a [Chooser]: it weighs Mass·exp(−rate·Score). Mass must not be 0. Masses of one chooser sum to less than 2¹²⁸.
type Item struct{ Mass, Score Uint128 }

// A Chooser draws among weighted items that may be replaced between draws. Not safe for concurrent use.
type Chooser interface {
	// Choose returns the index of an item, each with probability exactly proportional to its weight, independent of every earlier draw.
	Choose() int
	// Replace changes the item at an index.
	Replace(i int, item Item)
	// Append adds an item after the others.
	Append(item Item)
}

// blockItems is the number of items that share a partial sum.
const blockItems = 128

// A chooser keeps, for each item, a lower bound of its weight as a 128-bit integer in a common unit: the true weight w̄ satisfies
// w ≤ w̄ ≤ (w+1)·(1+2⁻⁵⁸) (exact-sampling.md, lemma 3). A draw that these bounds cannot decide goes to resolve.
type chooser struct {
	g      *Generator
	rate   *Rate
	items  []Item
	weight []Uint128
	expo   []int32   // scratch of rebase: weight·2^−expo before the unit is known
	block  []Uint128 // sums of weight over runs of blockItems
	total  Uint128
	ref    Uint128 // the score whose weight is the mass itself
	scale  int     // the unit is 2^(scale−64) masses at score ref
	stale  bool    // weights do not match items; rebase before use

	lastGap   Uint128 // the score gap of the last power
	lastWhole uint
	lastPower uint64
}

func (c *chooser) reset(g *Generator, rate *Rate, items []Item) {
	if len(items) == 0 {
		panic("exact: a chooser needs an item")
	}
	c.g, c.rate, c.items = g, rate, items
	c.weight, c.block = c.weight[:0], c.block[:0]
	c.rebase()
}

// product returns p and v such that p·2^−v is a lower bound of 2⁶⁴ times the item's weight in masses at score ref: p is the 128-bit product of the mass's leading
// 64 bits and the power.
func (c *chooser) product(item Item) (p Uint128, v int) {
	gap := item.Score.Sub(c.ref)
	if gap != c.lastGap {
		c.lastGap = gap
		c.lastWhole, c.lastPower = c.rate.power(gap)
	}
	n := item.Mass.BitLen()
	var mantissa uint64
	if n <= 64 {
		mantissa = item.Mass.Lo << (64 - uint(n))
	} else {
		mantissa = item.Mass.Shr(uint(n - 64)).Lo
	}
	hi, lo := bits.Mul64(mantissa, c.lastPower)
	return Uint128{hi, lo}, int(c.lastWhole) - (n - 64)
}

// rebase takes the least score as reference and a unit in which the largest weight nearly fills what may be summed without overflow.
func (c *chooser) rebase() {
	c.ref = c.items[0].Score
	for _, item := range c.items {
		if item.Score.Less(c.ref) {
			c.ref = item.Score
		}
	}
	c.lastGap = Uint128{}
	c.lastWhole, c.lastPower = c.rate.power(Uint128{})
	n := len(c.items)
	c.weight = append(c.weight[:0], make([]Uint128, n)...)
	if cap(c.expo) < n {
		c.expo = make([]int32, n+n/4)
	}
	c.expo = c.expo[:n]
	least := int32(1 << 30)
	for i, item := range c.items {
		p, v := c.product(item)
		c.weight[i], c.expo[i] = p, int32(v)
		least = min(least, int32(v))
	}
	// Each weight is below 2^(128−room), so their sum is below 2¹²⁶, and the largest is at least 2^(125−room).
	room := bits.Len(uint(n)) + 2
	c.scale = room - int(least)
	c.block = append(c.block[:0], make([]Uint128, (n+blockItems-1)/blockItems)...)
	c.total = Uint128{}
	for i := range c.weight {
		w := c.weight[i].Shr(uint(c.scale + int(c.expo[i])))
		c.weight[i] = w
		b := &c.block[i/blockItems]
		*b = b.Add(w)
		c.total = c.total.Add(w)
	}
	c.stale = false
}

// place puts an item's weight at index i, or leaves the chooser stale when the unit or the reference no longer fits.
func (c *chooser) place(i int, item Item) {
	c.items[i] = item
	if c.stale || item.Score.Less(c.ref) {
		c.stale = true
		return
	}
	p, v := c.product(item)
	shift := c.scale + v
	if shift < 2 {
		c.stale = true
		return
	}
	w := p.Shr(uint(shift))
	b := &c.block[i/blockItems]
	*b = b.Add(w).Sub(c.weight[i])
	c.total = c.total.Add(w).Sub(c.weight[i])
	c.weight[i] = w
	// Below 2¹²⁷ before and the new weight below 2¹²⁶: the sum has not wrapped. Too large or too small a sum asks for a new unit.
	c.stale = c.total.Hi >= 1<<63 || c.total.Hi < 1<<32
}

// Replace implements [Chooser].
func (c *chooser) Replace(i int, item Item) { c.place(i, item) }

// Append implements [Chooser].
func (c *chooser) Append(item Item) {
	i := len(c.items)
	c.items = append(c.items, item)
	c.weight = append(c.weight, Uint128{})
	if i%blockItems == 0 {
		c.block = append(c.block, Uint128{})
	}
	c.place(i, item)
}

// Choose implements [Chooser].
func (c *chooser) Choose() int {
	if c.stale {
		c.rebase()
	}
	width := c.g.width
	u := c.g.src.bits(width) << (64 - width)
	// The lazily drawn uniform lies in [u, u+2^(64−width))/2⁶⁴; x is the matching point among the partial sums.
	x := mulShift64(c.total, u)
	err := c.total.Shr(c.g.loss).Add(From64(uint64(len(c.items)) + 1))
	slack := err.Add(c.total.Shr(width)).Add(From64(3))
	i, below := 0, Uint128{}
	for b, sum := range c.block {
		next := below.Add(sum)
		if x.Less(next) {
			i = b * blockItems
			break
		}
		below = next
	}
	for ; i < len(c.weight)-1; i++ {
		next := below.Add(c.weight[i])
		if x.Less(next) {
			break
		}
		below = next
	}
	// Partial sums are below the true ones by at most err; the true point lies in [x, x+slack) (exact-sampling.md, lemma 4).
	sure := (i == 0 || !x.Less(below.Add(err))) && !below.Add(c.weight[i]).Less(x.Add(slack))
	if sure {
		return i
	}
	return c.resolve(u>>(64-width), width)
}

// mulShift64 returns ⌊x·u/2⁶⁴⌋.
func mulShift64(x Uint128, u uint64) Uint128 {
	h0, _ := bits.Mul64(x.Lo, u)
	h1, l1 := bits.Mul64(x.Hi, u)
	lo, carry := bits.Add64(l1, h0, 0)
	return Uint128{h1 + carry, lo}
}

// resolve decides a draw whose first bits are given: it brackets every weight to a doubled precision, and draws further bits, until one item holds the whole bracket.
func (c *chooser) resolve(first uint64, width uint) int {
	u := new(big.Int).SetUint64(first)
	n := len(c.items)
	lo, hi := make([]*big.Int, n), make([]*big.Int, n)
	for prec := c.g.start; ; prec *= 2 {
		for width < prec {
			u, width = c.g.extend(u), width+64
		}
		var l, h *big.Int // of exp(−rate·gap), kept while the score repeats
		sumLo, sumHi := new(big.Int), new(big.Int)
		for i, item := range c.items {
			if i == 0 || item.Score != c.items[i-1].Score {
				l, h = c.rate.expNeg(item.Score.Sub(c.ref), prec)
			}
			mass := item.Mass.Big()
			sumLo = new(big.Int).Add(sumLo, new(big.Int).Mul(mass, l))
			sumHi = new(big.Int).Add(sumHi, mass.Mul(mass, h))
			lo[i], hi[i] = sumLo, sumHi
		}
		// The point lies in [u·sumLo, (u+1)·sumHi]/2^width.
		from := new(big.Int).Mul(u, sumLo)
		to := new(big.Int).Add(u, big.NewInt(1))
		to.Mul(to, sumHi)
		for i := range c.items {
			if to.Cmp(new(big.Int).Lsh(lo[i], width)) > 0 {
				continue
			}
			if i == 0 || from.Cmp(new(big.Int).Lsh(hi[i-1], width)) >= 0 {
				return i
			}
			break
		}
	}
}
