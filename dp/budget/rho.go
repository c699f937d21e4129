package budget

import (
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/quietile/quietile/dp"
)

// Rho is a loss in zero-concentrated differential privacy in billionths: Rho(5_000_000) is ρ = 0.005. It is exact, so that sums of charges are too.
type Rho int64

// billion is ε = 1 and ρ = 1.
const billion = 1_000_000_000

// Unlimited is the [dp.Epsilon] and the [Rho] of a loss that has no bound, or none that int64 holds. Sums stay there.
const Unlimited = math.MaxInt64

// ParseRho reads a decimal such as "0.005": digits with at most one point and at most nine decimals, more than 0 and at most 1000. The error names the text.
func ParseRho(s string) (Rho, error) {
	e, err := dp.ParseEpsilon(s)
	if err != nil {
		return 0, fmt.Errorf("rho%s", strings.TrimPrefix(err.Error(), "epsilon"))
	}
	return Rho(e), nil
}

// Rat returns ρ as a rational.
func (r Rho) Rat() *big.Rat { return big.NewRat(int64(r), billion) }

// String returns ρ as the shortest decimal, such as "0.005", and "unlimited" for [Unlimited].
func (r Rho) String() string {
	if r == Unlimited {
		return "unlimited"
	}
	return dp.Epsilon(r).String()
}

func (r Rho) plus(other Rho) Rho { return saturated(r, other) }

// RhoOfDraw returns the loss of one draw of the exponential mechanism with ε ≥ 0: ε²/8, rounded up (Cesar, Rogers 2021; proof in docs/proofs/exponential-mechanism.md).
func RhoOfDraw(e dp.Epsilon) Rho { return squareOver(e, 8) }

// RhoOfPure returns the loss of any mechanism that is ε-differentially private, ε ≥ 0: ε²/2, rounded up (Bun, Steinke 2016, proposition 1.4).
func RhoOfPure(e dp.Epsilon) Rho { return squareOver(e, 2) }

// squareOver returns e²/divisor, rounded up.
func squareOver(e dp.Epsilon, divisor int64) Rho {
	if e == Unlimited {
		return Unlimited
	}
	square := new(big.Int).Mul(big.NewInt(int64(e)), big.NewInt(int64(e)))
	return Rho(clamped(quo(square, big.NewInt(divisor*billion), true)))
}

// pureWithin returns the largest ε whose [RhoOfPure] is at most r ≥ 0.
func pureWithin(r Rho) dp.Epsilon {
	square := new(big.Int).Mul(big.NewInt(int64(r)), big.NewInt(2*billion))
	return dp.Epsilon(clamped(square.Sqrt(square))) // e² ≤ 2·10⁹·r, and r is whole
}

// Epsilon returns the least ε such that every mechanism with this loss is (ε, δ)-differentially private by corollary 13 of Canonne, Kamath, Steinke, "The discrete
// Gaussian for differential privacy" (NeurIPS 2020),
//
//	ε = min over α > 1 of  α·ρ + ln(1/(α·δ))/(α−1) + ln(1−1/α),
//
// rounded up to a billionth and at least 0. It never falls as ρ rises or δ falls. It is [Unlimited] if δ is 0 and ρ is not, and beyond int64.
func (r Rho) Epsilon(d Delta) dp.Epsilon {
	switch {
	case r <= 0 || d >= deltaUnit:
		return 0
	case d <= 0 || r == Unlimited:
		return Unlimited
	}
	// Any α gives a bound, so only the last step, which rounds up, must be trusted.
	return epsilonAt(bestOrder(r, d), r, d)
}

// epsilonAt bounds the formula of [Rho.Epsilon] at α = 1+t from above, for t > 0 and 0 < δ < 1. With L = ln(1/δ) it is (1+t)·ρ + (L − ln(1+t))/t + ln t − ln(1+t).
func epsilonAt(t float64, r Rho, d Delta) dp.Epsilon {
	over := new(big.Rat).SetFloat64(t)
	alpha := new(big.Rat).Add(over, big.NewRat(1, 1))
	lnAlpha := ln(alpha, false)
	sum := ln(new(big.Rat).Inv(d.Rat()), true)
	sum.Sub(sum, lnAlpha).Quo(sum, over)
	sum.Add(sum, ln(over, true)).Sub(sum, lnAlpha)
	sum.Add(sum, alpha.Mul(alpha, r.Rat()))
	sum.Mul(sum, big.NewRat(billion, 1))
	nano := quo(sum.Num(), sum.Denom(), true)
	if nano.Sign() < 0 {
		return 0
	}
	return dp.Epsilon(clamped(nano))
}

// bestOrder returns α−1 > 0 where the formula of [Rho.Epsilon] is least, about. Its derivative is ρ − ln(1/(αδ))/(α−1)², so with t = α−1 it is where
// ρt² + ln(1+t) = ln(1/δ), and the left side rises with t.
func bestOrder(r Rho, d Delta) float64 {
	rho, l := float64(r)/billion, lnInverse(d)
	high := min(math.Sqrt(l/rho), math.Expm1(l))    // either term alone reaches l here
	low := min(math.Sqrt(l/rho/2), math.Expm1(l/2)) // neither term reaches more than l/2 here
	return bisect(low, high, func(t float64) bool { return rho*t*t+math.Log1p(t) < l })
}

// lnInverse returns ln(1/δ) for 0 < δ < 1, about.
func lnInverse(d Delta) float64 {
	if d < deltaUnit/2 {
		return -math.Log(float64(d) / deltaUnit)
	}
	return -math.Log1p(-float64(deltaUnit-d) / deltaUnit)
}

// bisect returns where below, which is true and then false as t rises from low to high, turns false, about.
func bisect(low, high float64, below func(t float64) bool) float64 {
	for range 200 {
		middle := low + (high-low)/2
		if middle <= low || middle >= high {
			break
		}
		if below(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// RhoWithin returns the largest ρ whose [Rho.Epsilon] at δ is at most ε ≥ 0. It is 0 if δ is 0, and [Unlimited] if every ρ will do.
func RhoWithin(e dp.Epsilon, d Delta) Rho {
	fits := func(r Rho) bool { return r.Epsilon(d) <= e }
	switch {
	case d <= 0 || e < 0:
		return 0
	case d >= deltaUnit || e == Unlimited:
		return Unlimited
	}
	// Widen an interval from a guess until it holds the answer, then halve it. 0 fits.
	low := Rho(min(guessRho(float64(e)/billion, d)*billion, 1<<62))
	high := low
	if fits(low) {
		for step := Rho(1); fits(high); step = step.plus(step) {
			if low = high; low == Unlimited {
				return low
			}
			high = high.plus(step)
		}
	} else {
		for step := Rho(1); !fits(low); step = step.plus(step) {
			high, low = low, max(0, low-step)
		}
	}
	for high-low > 1 {
		if middle := low + (high-low)/2; fits(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// guessRho returns [RhoWithin] about. At the best order ρ = (L − ln(1+t))/t², with which the formula falls as t rises to 1/δ − 1.
func guessRho(epsilon float64, d Delta) float64 {
	l := lnInverse(d)
	rho := func(t float64) float64 { return (l - math.Log1p(t)) / (t * t) }
	// Bisect the logarithm: t spans 30 powers of ten.
	log := bisect(-60, math.Log(math.Expm1(l)), func(log float64) bool {
		t := math.Exp(log)
		return (1+t)*rho(t)+(l-math.Log1p(t))/t+log-math.Log1p(t) > epsilon
	})
	return max(0, rho(math.Exp(log)))
}

// saturated adds what is not negative without wrapping around.
func saturated[T ~int64](a, b T) T {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// clamped returns a number that is not negative, at most math.MaxInt64.
func clamped(n *big.Int) int64 {
	if !n.IsInt64() {
		return math.MaxInt64
	}
	return n.Int64()
}

// before returns the float64 before f.
func before(f float64) float64 { return math.Nextafter(f, math.Inf(-1)) }
