package exact

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
)

// ErrRate is wrapped by the errors of [NewRate].
var ErrRate = errors.New("rate out of range")

// A Rate is the exact positive rational η of a weight exp(−η·score). It is immutable and safe for concurrent use.
type Rate struct {
	num, den *big.Int
	// η·log₂ e lies in [K, K+2)·2^−(shift+64) with K = hi·2⁶⁴ + lo ≥ 2¹²⁷.
	hi, lo uint64
	shift  uint
	far    Uint128 // η·log₂ e·k ≥ farExponent for every k ≥ far
	c      *constants
}

// farExponent is the power of ½ from which a weight is nothing to the fast path: masses have at most 128 bits and sums 128.
const farExponent = 2048

// NewRate returns the rate r, which must lie in [2⁻²⁵⁶, 2³²]. The error wraps [ErrRate] and holds the value.
func NewRate(r *big.Rat) (*Rate, error) {
	if r.Sign() <= 0 || r.Cmp(big.NewRat(1<<32, 1)) > 0 || r.Num().BitLen()+255 < r.Denom().BitLen() {
		return nil, fmt.Errorf("%w: %s is not in [2^-256, 2^32]", ErrRate, r.RatString())
	}
	c := loadConstants()
	rate := &Rate{num: new(big.Int).Set(r.Num()), den: new(big.Int).Set(r.Denom()), c: c}
	// κ = num·log2e / (den·2^constantBits); scale it to exactly 128 bits.
	num := new(big.Int).Mul(rate.num, c.log2e)
	x := 128 + rate.den.BitLen() - num.BitLen()
	k := scaledQuo(num, rate.den, x)
	if k.BitLen() > 128 {
		x--
		k = scaledQuo(num, rate.den, x)
	}
	rate.shift = uint(x + constantBits - 64)
	rate.lo = new(big.Int).And(k, new(big.Int).SetUint64(1<<64-1)).Uint64()
	rate.hi = new(big.Int).Rsh(k, 64).Uint64()
	// far = ⌈farExponent·2^(shift+64)/K⌉, or the largest integer of 128 bits if that is larger.
	far := new(big.Int).Lsh(big.NewInt(farExponent), rate.shift+64)
	far.Quo(far, k)
	far.Add(far, big.NewInt(1))
	rate.far = Uint128{1<<64 - 1, 1<<64 - 1}
	if far.BitLen() <= 128 {
		rate.far = Uint128{new(big.Int).Rsh(far, 64).Uint64(), new(big.Int).And(far, new(big.Int).SetUint64(1<<64-1)).Uint64()}
	}
	return rate, nil
}

// scaledQuo returns ⌊num·2^x/den⌋.
func scaledQuo(num, den *big.Int, x int) *big.Int {
	if x >= 0 {
		n := new(big.Int).Lsh(num, uint(x))
		return n.Quo(n, den)
	}
	return new(big.Int).Quo(num, new(big.Int).Lsh(den, uint(-x)))
}

// Rat returns the rate.
func (r *Rate) Rat() *big.Rat { return new(big.Rat).SetFrac(r.num, r.den) }

// power brackets exp(−r·k): it lies in [t, t+expLoss]·2^−(64+whole). For k ≥ far it returns farExponent and 0, and exp(−r·k) ≤ 2^−farExponent.
func (r *Rate) power(k Uint128) (whole uint, t uint64) {
	if !k.Less(r.far) {
		return farExponent, 0
	}
	var y Uint128 // y ≤ 2⁶⁴·κ·k < y+2
	h1, l1 := bits.Mul64(r.hi, k.Lo)
	h0, l0 := bits.Mul64(r.lo, k.Lo)
	p1, carry := bits.Add64(l1, h0, 0)
	p2 := h1 + carry
	if k.Hi == 0 {
		y = shiftRight([4]uint64{l0, p1, p2, 0}, r.shift)
	} else {
		h3, l3 := bits.Mul64(r.hi, k.Hi)
		h2, l2 := bits.Mul64(r.lo, k.Hi)
		p := [4]uint64{l0, p1, p2, h3}
		p[1], carry = bits.Add64(p[1], l2, 0)
		p[2], carry = bits.Add64(p[2], h2, carry)
		p[3] += carry
		p[2], carry = bits.Add64(p[2], l3, 0)
		p[3] += carry
		y = shiftRight(p, r.shift)
	}
	y = y.Add(Uint128{Lo: 2})
	return uint(y.Hi), r.c.halfPower(y.Lo)
}

// shiftRight returns the low 128 bits of p/2^s, p given with its lowest word first.
func shiftRight(p [4]uint64, s uint) Uint128 {
	word := func(i uint) uint64 {
		if i < 4 {
			return p[i]
		}
		return 0
	}
	i, b := s/64, s%64
	return Uint128{
		Hi: word(i+1)>>b | word(i+2)<<(64-b),
		Lo: word(i)>>b | word(i+1)<<(64-b),
	}
}

// expNeg returns lo ≤ 2^prec·exp(−r·k) ≤ hi, at most 4 apart.
func (r *Rate) expNeg(k Uint128, prec uint) (lo, hi *big.Int) {
	return expNeg(new(big.Int).Mul(r.num, k.Big()), r.den, prec)
}
