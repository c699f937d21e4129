package recursive

import (
	"math"
	"sync"
)

// A wide number is m·2^e with m in [1, 2), or 0: a float64 with an exponent that does not end. What is computed of wide numbers proposes cuts; no probability of an answer depends on them.
type wide struct {
	m float64
	e int64
}

// times returns x·y.
func (x wide) times(y wide) wide {
	return wide{x.m * y.m, x.e + y.e}.normal()
}

// plus returns x + y.
func (x wide) plus(y wide) wide {
	if y.m == 0 || x.m != 0 && x.e-y.e > 60 {
		return x
	}
	if x.m == 0 || y.e-x.e > 60 {
		return y
	}
	if x.e < y.e {
		x, y = y, x
	}
	return wide{x.m + math.Float64frombits(uint64(1023-(x.e-y.e))<<52)*y.m, x.e}.normal()
}

// over returns x/y as a float64, of a quotient that is at most about 1.
func (x wide) over(y wide) float64 {
	e := x.e - y.e
	if x.m == 0 || e < -1000 {
		return 0
	}
	return math.Ldexp(x.m/y.m, int(e))
}

// wideOf returns x ≥ 0.
func wideOf(x float64) wide {
	if x == 0 {
		return wide{}
	}
	m, e := math.Frexp(x)
	return wide{2 * m, int64(e) - 1}
}

// powersOfTwo are 2^(i/2048).
var powersOfTwo = sync.OnceValue(func() *[2048]float64 {
	t := new([2048]float64)
	for i := range t {
		t[i] = math.Exp2(float64(i) / 2048)
	}
	return t
})

// wideExp returns e^x, to some 50 bits if |x| is less than 10^4. Numbers below e^(−2^56) are taken for that, so that exponents, of which one for each cut and gap add up, stay within int64: what is proposed too often is
// kept the less.
func wideExp(x float64) wide {
	x = max(x, -(1 << 56))
	y := x * math.Log2E
	whole := int64(y)
	if y < float64(whole) {
		whole--
	}
	y = (y - float64(whole)) * 2048
	i := min(int(y), 2047)
	r := (y - float64(i)) * (math.Ln2 / 2048)
	return wide{powersOfTwo()[i] * (1 + r*(1+r*(0.5+r*(1./6)))), whole}.normal()
}

// normal returns x with m in [1, 2), for m in [1, 4).
func (x wide) normal() wide {
	if x.m >= 2 {
		return wide{x.m / 2, x.e + 1}
	}
	return x
}

// log returns ln x.
func (x wide) log() float64 { return math.Log(x.m) + float64(x.e)*math.Ln2 }
