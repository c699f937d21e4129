package exact

import (
	"math/big"
	"math/bits"
	"sync"
)

// expLoss bounds, in units of 2⁻⁶⁴, how far [halfPower] of a rounded exponent lies below the true power; see exact-sampling.md, lemma 2.
const expLoss = 16

// constants are the numbers the fast path needs, computed once with directed rounding.
type constants struct {
	log2e  *big.Int    // 2^constantBits·log₂ e, too small by less than 2
	ln2    uint64      // ⌊2⁶⁴·ln 2⌋
	coarse [256]uint64 // a lower bound of 2^(64 − i/2⁸), too small by less than 1 + 2⁻⁶⁰
	fine   [256]uint64 // a lower bound of 2^(64 − i/2¹⁶), likewise
}

// constantBits is the number of fractional bits to which log₂ e is kept.
const constantBits = 320

var loadConstants = sync.OnceValue(func() *constants {
	const p = constantBits + 64
	lo, hi := lnTwo(p)
	c := new(constants)
	// hi is above 2^p·ln 2 by at most 2, which costs the quotient less than a unit beyond its own rounding.
	one := new(big.Int).Lsh(big.NewInt(1), p+constantBits)
	c.log2e = new(big.Int).Quo(one, hi)
	c.ln2 = new(big.Int).Rsh(lo, p-64).Uint64()
	for i := range c.coarse {
		c.coarse[i] = tableEntry(i, 8, lo, p)
		c.fine[i] = tableEntry(i, 16, lo, p)
	}
	return c
})

// tableEntry returns a lower bound of 2^(64 − i/2^scale), too small by less than 1 + 2⁻⁶⁰.
func tableEntry(i int, scale uint, ln2 *big.Int, p uint) uint64 {
	if i == 0 {
		return 1<<64 - 1
	}
	// ln2/2^p is below ln 2 by less than 2^(1−p), so taking the next one up makes the exponent an upper bound.
	num := new(big.Int).Add(ln2, big.NewInt(2))
	num.Mul(num, big.NewInt(int64(i)))
	lo, _ := expNeg(num, new(big.Int).Lsh(big.NewInt(1), p+scale), 128)
	return lo.Rsh(lo, 64).Uint64()
}

// lnTwo returns integers lo ≤ 2^p·ln 2 ≤ hi with hi − lo = 2, from ln 2 = 2·artanh(1/3) = Σ 2/((2k+1)·3^(2k+1)).
func lnTwo(p uint) (lo, hi *big.Int) {
	const guard = 32
	power := new(big.Int).Lsh(big.NewInt(2), p+guard)
	power.Quo(power, big.NewInt(3))
	sum, term, nine := new(big.Int), new(big.Int), big.NewInt(9)
	terms := int64(0)
	for k := int64(0); power.Sign() > 0; k++ {
		sum.Add(sum, term.Quo(power, big.NewInt(2*k+1)))
		power.Quo(power, nine)
		terms++
	}
	// Each term is floored twice and inherits less than 2 units from its power: fewer than 4 units a term, and the rest of the series is below 1.
	if 4*terms+1 >= 1<<guard {
		panic("exact: ln 2 needs more guard bits")
	}
	lo = sum.Rsh(sum, guard)
	return lo, new(big.Int).Add(lo, big.NewInt(2))
}

// halfPower returns a lower bound of 2⁶⁴·2^(−f/2⁶⁴), too small by less than 12; see exact-sampling.md, lemma 1.
func (c *constants) halfPower(f uint64) uint64 {
	t, _ := bits.Mul64(c.coarse[f>>56], c.fine[f>>48&255])
	z, _ := bits.Mul64(f&(1<<48-1), c.ln2) // z ≤ 2⁶⁴·r·ln 2 < z+2 for the last 48 bits r of the exponent
	over := z + 2
	square, _ := bits.Mul64(z, z)
	squareOver, _ := bits.Mul64(over, over)
	cube, _ := bits.Mul64(squareOver+1, over)
	// 1 − z + z²/2 − z³/6 ≤ e^−z; the first step wraps around from 2⁶⁴.
	poly := -over + square>>1 - ((cube+1)/6 + 1)
	t, _ = bits.Mul64(t, poly)
	return t
}

// expNeg returns integers lo ≤ 2^prec·e^(−num/den) ≤ hi with lo ≥ 0, for num ≥ 0 and den > 0. They are at most 4 apart.
func expNeg(num, den *big.Int, prec uint) (lo, hi *big.Int) {
	if num.Sign() == 0 {
		lo = new(big.Int).Lsh(big.NewInt(1), prec)
		return lo, new(big.Int).Set(lo)
	}
	whole := new(big.Int).Quo(num, den)
	if whole.BitLen() > 62 || whole.Uint64() > uint64(prec) {
		return new(big.Int), big.NewInt(1) // e^−x < 2^−x ≤ 2^−prec
	}
	// Halve the argument until it is below 2⁻⁸, sum the series of e^x there, square back, invert. Every step rounds lo down and hi up.
	halvings := uint(whole.BitLen()) + 8
	wp := prec + 2*halvings + 32
	x := new(big.Int).Lsh(num, wp-halvings)
	x.Quo(x, den)
	one := new(big.Int).Lsh(big.NewInt(1), wp)
	lo, hi = expSmall(x, wp, one), expSmall(new(big.Int).Add(x, big.NewInt(1)), wp, one)
	// expSmall floors: each of its terms is short by less than 2 units, and the rest of the series is below the last unit.
	hi.Add(hi, big.NewInt(int64(2*wp)))
	up := new(big.Int).Sub(one, big.NewInt(1))
	for range halvings {
		lo.Rsh(lo.Mul(lo, lo), wp)
		hi.Rsh(hi.Add(hi.Mul(hi, hi), up), wp)
	}
	// lo ≤ 2^wp·e^x ≤ hi; take 2^prec/e^x.
	scaled := new(big.Int).Lsh(big.NewInt(1), wp+prec)
	l := new(big.Int).Quo(scaled, hi)
	h := new(big.Int).Quo(scaled, lo)
	return l, h.Add(h, big.NewInt(1))
}

// expSmall returns 2^wp·e^(x/2^wp) rounded down, short by less than 2 units for each of its fewer than wp terms, for 0 ≤ x < 2^(wp−7).
func expSmall(x *big.Int, wp uint, one *big.Int) *big.Int {
	sum, term := new(big.Int).Set(one), new(big.Int).Set(one)
	for k := int64(1); ; k++ {
		term.Rsh(term.Mul(term, x), wp)
		term.Quo(term, big.NewInt(k))
		if term.Sign() == 0 {
			return sum
		}
		sum.Add(sum, term)
	}
}
