// Package surrogate computes the convex loss by which learners of priors are judged.
//
// It is that of Khodak, Amin, Dick, Vassilvitskii, "Learning-augmented private algorithms for multiple quantile release" (ICML 2023), section 4: an upper bound of −ln of the mass that a Laplace distribution
// gives the cell with the quantile, in terms of θ = location/scale and φ = 1/scale, in which it is convex.
package surrogate

import "math"

// Loss returns −ln P(a < X ≤ b) for X with a Laplace distribution with θ = location/scale and φ = 1/scale > 0, a < b, and its derivatives. With off = |θ − φ(a+b)/2| and r = φ(b−a)/2 it is
// off − ln sinh r where off > r, and r − ln(e^r − cosh off) elsewhere. It is finite for finite arguments, and its derivatives keep their relative precision for small and for large r.
func Loss(theta, phi, a, b float64) (loss, dTheta, dPhi float64) {
	middle, half := a+(b-a)/2, (b-a)/2
	x, r := theta-phi*middle, phi*half
	off, sign := math.Abs(x), 1.0
	if x < 0 {
		sign = -1
	}
	if off > r {
		loss = off - logSinh(r)
		dTheta = sign
		dPhi = -sign*middle - half*coth(r)
		return loss, dTheta, dPhi
	}
	// e^r − cosh off = e^r·(1 − (e^(off−r) + e^(−off−r))/2), and 1 − that is positive: off ≤ r and r > 0.
	u, v := math.Exp(off-r), math.Exp(-off-r)
	rest := -(math.Expm1(off-r) + math.Expm1(-off-r)) / 2
	loss = -math.Log(rest)
	dOff := (u - v) / 2 / rest // sinh off/(e^r − cosh off)
	dR := -(u + v) / 2 / rest  // 1 − e^r/(e^r − cosh off)
	dTheta = dOff * sign
	dPhi = -dOff*sign*middle + dR*half
	return loss, dTheta, dPhi
}

// logSinh returns ln sinh r for r > 0.
func logSinh(r float64) float64 {
	if r < 1 {
		return math.Log(math.Sinh(r))
	}
	return r + math.Log1p(-math.Exp(-2*r)) - math.Ln2
}

// coth returns coth r for r > 0.
func coth(r float64) float64 { return 1 / math.Tanh(r) }
