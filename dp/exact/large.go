package exact

import (
	"math/big"
	"math/bits"
)

// minLarge is the size 2^minLarge from which binomials are drawn by rejection, whose time does not grow with it.
const minLarge = 30

// binomialLarge draws Binomial(2·half, ½) for 2^11 ≤ half < 2^63, by rejection from a geometric mixture of uniform blocks (exact-sampling.md, lemmas 7 and 8).
func (g *Generator) binomialLarge(half uint64) uint64 {
	block := blockBits(half)
	for {
		k := uint64(0)
		for g.Coin() {
			k++
		}
		if k > half>>block {
			continue // beyond the last value
		}
		i := k<<block + g.src.bits(block)
		if i > half || i == 0 && g.Coin() || !g.acceptRatio(half, i, uint(k)) {
			continue
		}
		if g.Coin() {
			return half + i
		}
		return half - i
	}
}

// blockBits returns the least b for which blocks of 2^b are surely as long as √(2·half).
func blockBits(half uint64) uint { return uint(bits.Len64(2*half-1)+1) / 2 }

// ratioPrecision is the first precision of [Generator.acceptRatio] in bits: one in 2⁴⁰ is undecided.
const ratioPrecision = 64

// acceptRatio is true with probability 2^k·C(2h, h+i)/C(2h, h), which must be at most 1.
func (g *Generator) acceptRatio(h, i uint64, k uint) bool {
	u, width := new(big.Int), uint(0)
	for prec := min(g.start, ratioPrecision); ; prec *= 2 {
		for width < prec {
			u, width = g.extend(u), width+64
		}
		lo, hi := centralRatio(h, i, width)
		if u.Cmp(lo.Lsh(lo, k)) < 0 {
			return true
		}
		if u.Cmp(hi.Lsh(hi, k)) >= 0 {
			return false
		}
	}
}

// centralRatio returns lo ≤ 2^prec·C(2h, h+i)/C(2h, h) ≤ hi for i ≤ h.
func centralRatio(h, i uint64, prec uint) (lo, hi *big.Int) {
	if j := uint(bits.Len64(h)); i > h/2 || prec+16 > 17*(j-2) {
		return centralRatioByProduct(h, i, prec)
	}
	p := prec + 16
	y, slack := negLogRatio(h, i, p)
	one := new(big.Int).Lsh(big.NewInt(1), p)
	least := new(big.Int).Sub(y, slack)
	if least.Sign() < 0 {
		least.SetInt64(0)
	}
	lo, _ = expNeg(new(big.Int).Add(y, slack), one, prec)
	_, hi = expNeg(least, one, prec)
	return lo, hi
}

// negLogRatio returns −2^p·ln(C(2h, h+i)/C(2h, h)) with an error of at most slack, for i ≤ h/2, h ≥ 2^(j−1) and p ≤ 17·(j−2), by Stirling's series with its remainder.
func negLogRatio(half, i uint64, p uint) (y, slack *big.Int) {
	h := new(big.Int).SetUint64(half)
	h2 := new(big.Int).Mul(h, h)
	// Σ x^2r·(h/(r(2r−1)) − 1/(2r)) with x = i/h; power is h·x^2r.
	square := new(big.Int).SetUint64(i)
	square.Mul(square, square)
	power := new(big.Int).Lsh(square, p)
	power.Quo(power, h)
	y = new(big.Int)
	term := new(big.Int)
	r := int64(1)
	for ; power.Sign() > 0; r++ {
		y.Add(y, term.Quo(power, big.NewInt(r*(2*r-1))))
		term.Quo(power, h)
		y.Sub(y, term.Quo(term, big.NewInt(2*r)))
		power.Mul(power, square)
		power.Quo(power, h2)
	}
	// s(h+i) + s(h−i) − 2·s(h), s(n) = ln n! − ((n+½)·ln n − n + ½·ln 2π) = Σ B_2m/(2m(2m−1)·n^(2m−1)).
	offset := new(big.Int).SetUint64(i)
	for _, part := range []struct {
		n     *big.Int
		times int64
	}{{new(big.Int).Add(h, offset), 1}, {new(big.Int).Sub(h, offset), 1}, {h, -2}} {
		scale := new(big.Int).Set(part.n)
		n2 := new(big.Int).Mul(part.n, part.n)
		for _, c := range [][2]int64{{1, 12}, {-1, 360}, {1, 1260}, {-1, 1680}, {1, 1188}, {-691, 360360}, {1, 156}, {-3617, 122400}} {
			term.Lsh(big.NewInt(c[0]*part.times), p)
			y.Add(y, term.Quo(term, new(big.Int).Mul(scale, big.NewInt(c[1]))))
			scale.Mul(scale, n2)
		}
	}
	return y, big.NewInt(8*r + 64)
}

// centralRatioByProduct multiplies the ratios of successive coefficients, in i steps: it serves where Stirling's series does not reach, which takes some hundred
// random bits of one value to come to.
func centralRatioByProduct(h, i uint64, prec uint) (lo, hi *big.Int) {
	lo = new(big.Int).Lsh(big.NewInt(1), prec)
	hi = new(big.Int).Set(lo)
	num, den := new(big.Int), new(big.Int)
	for t := range i {
		num.SetUint64(h - t)
		den.SetUint64(h + t + 1)
		lo.Quo(lo.Mul(lo, num), den)
		hi.Quo(hi.Mul(hi, num), den)
		hi.Add(hi, big.NewInt(1))
	}
	return lo, hi
}
