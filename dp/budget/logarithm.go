package budget

import (
	"math/big"
	"sync"
)

const (
	// lnBits is how many binary places a logarithm is computed to.
	lnBits = 192
	// lnTerms is how many terms of the series are summed: (1/3)^(2·64) is below 2^−202.
	lnTerms = 64
)

// ln returns a bound of the natural logarithm of x > 0, from above if up and from below otherwise, less than 2⁻¹⁷⁰ away for x between 2^±10000.
// With x = m·2^k and 1/2 < m < 2 it is ln m + k·ln 2, and ln m = 2·artanh((m−1)/(m+1)).
func ln(x *big.Rat, up bool) *big.Rat {
	k := x.Num().BitLen() - x.Denom().BitLen()
	num, den := new(big.Int).Set(x.Num()), new(big.Int).Set(x.Denom())
	if k >= 0 {
		den.Lsh(den, uint(k))
	} else {
		num.Lsh(num, uint(-k))
	}
	var mantissa *big.Int
	if num.Cmp(den) >= 0 {
		mantissa = doubleArtanh(new(big.Int).Sub(num, den), new(big.Int).Add(num, den), up)
	} else { // the logarithm is negative: bound its opposite the other way
		mantissa = doubleArtanh(new(big.Int).Sub(den, num), new(big.Int).Add(num, den), !up)
		mantissa.Neg(mantissa)
	}
	two := lnTwo()[0]
	if up == (k >= 0) {
		two = lnTwo()[1]
	}
	mantissa.Add(mantissa, new(big.Int).Mul(two, big.NewInt(int64(k))))
	return new(big.Rat).SetFrac(mantissa, new(big.Int).Lsh(big.NewInt(1), lnBits))
}

// lnTwo returns 2^lnBits·ln 2 bounded from below and from above; ln 2 = 2·artanh(1/3).
var lnTwo = sync.OnceValue(func() [2]*big.Int {
	return [2]*big.Int{doubleArtanh(big.NewInt(1), big.NewInt(3), false), doubleArtanh(big.NewInt(1), big.NewInt(3), true)}
})

// doubleArtanh bounds 2^lnBits·2·artanh(num/den) for 0 ≤ num/den ≤ 1/3 from above if up and from below otherwise. It sums z + z³/3 + z⁵/5 + …, each step rounded in
// the direction of the bound.
func doubleArtanh(num, den *big.Int, up bool) *big.Int {
	one := new(big.Int).Lsh(big.NewInt(1), lnBits)
	power := quo(new(big.Int).Lsh(num, lnBits), den, up)
	square := quo(new(big.Int).Mul(power, power), one, up)
	sum := new(big.Int)
	for k := range int64(lnTerms) {
		sum.Add(sum, quo(power, big.NewInt(2*k+1), up))
		power = quo(new(big.Int).Mul(power, square), one, up)
	}
	if up { // what is left of the series is below power·(1 + z² + z⁴ + …) ≤ power·9/8, and rounding z up cannot make 9/8 reach 2
		sum.Add(sum, power).Add(sum, power)
	}
	return sum.Lsh(sum, 1)
}

// quo returns a/b for b > 0 rounded up or down to a whole number.
func quo(a, b *big.Int, up bool) *big.Int {
	q, m := new(big.Int).DivMod(a, b, new(big.Int))
	if up && m.Sign() != 0 {
		q.Add(q, big.NewInt(1))
	}
	return q
}
