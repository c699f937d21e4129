package exact

import (
	"math/big"
	"math/bits"
)

// Uint128 is an unsigned integer of 128 bits, Hi·2⁶⁴ + Lo. Its operations do not check for overflow: each caller states why its operands fit.
type Uint128 struct{ Hi, Lo uint64 }

// From64 returns x as a Uint128.
func From64(x uint64) Uint128 { return Uint128{Lo: x} }

// Product returns x·y, which always fits.
func Product(x, y uint64) Uint128 {
	hi, lo := bits.Mul64(x, y)
	return Uint128{hi, lo}
}

// Add returns x + y modulo 2¹²⁸.
func (x Uint128) Add(y Uint128) Uint128 {
	lo, carry := bits.Add64(x.Lo, y.Lo, 0)
	hi, _ := bits.Add64(x.Hi, y.Hi, carry)
	return Uint128{hi, lo}
}

// Sub returns x − y modulo 2¹²⁸.
func (x Uint128) Sub(y Uint128) Uint128 {
	lo, borrow := bits.Sub64(x.Lo, y.Lo, 0)
	hi, _ := bits.Sub64(x.Hi, y.Hi, borrow)
	return Uint128{hi, lo}
}

// Less reports whether x < y.
func (x Uint128) Less(y Uint128) bool {
	return x.Hi < y.Hi || x.Hi == y.Hi && x.Lo < y.Lo
}

// IsZero reports whether x is 0.
func (x Uint128) IsZero() bool { return x.Hi|x.Lo == 0 }

// Shl returns x·2ˢ modulo 2¹²⁸.
func (x Uint128) Shl(s uint) Uint128 {
	if s >= 64 {
		return Uint128{Hi: x.Lo << (s - 64)}
	}
	return Uint128{x.Hi<<s | x.Lo>>(64-s), x.Lo << s}
}

// Shr returns x/2ˢ rounded down.
func (x Uint128) Shr(s uint) Uint128 {
	if s >= 64 {
		return Uint128{Lo: x.Hi >> (s - 64)}
	}
	return Uint128{x.Hi >> s, x.Hi<<(64-s) | x.Lo>>s}
}

// BitLen returns the number of bits of x, 0 for 0.
func (x Uint128) BitLen() int {
	if x.Hi != 0 {
		return 64 + bits.Len64(x.Hi)
	}
	return bits.Len64(x.Lo)
}

// QuoRem64 returns x/y rounded down and the remainder. y must not be 0.
func (x Uint128) QuoRem64(y uint64) (Uint128, uint64) {
	hi := x.Hi / y
	lo, rem := bits.Div64(x.Hi%y, x.Lo, y)
	return Uint128{hi, lo}, rem
}

// Big returns x as a big integer.
func (x Uint128) Big() *big.Int {
	b := new(big.Int).SetUint64(x.Hi)
	b.Lsh(b, 64)
	return b.Or(b, new(big.Int).SetUint64(x.Lo))
}
