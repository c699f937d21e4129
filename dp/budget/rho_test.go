package budget

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quietile/quietile/dp"
)

// referenceBits is the precision of the references, which share no code with what they check.
const referenceBits = 400

func real(x float64) *big.Float { return new(big.Float).SetPrec(referenceBits).SetFloat64(x) }

func realRat(r *big.Rat) *big.Float { return new(big.Float).SetPrec(referenceBits).SetRat(r) }

func newReal() *big.Float { return new(big.Float).SetPrec(referenceBits) }

// realExp returns e^x by halving x, Taylor's series and squaring.
func realExp(x *big.Float) *big.Float {
	const halvings = 40
	small := newReal().SetMantExp(x, -halvings)
	sum, term := real(1), real(1)
	for k := 1; k < 60; k++ {
		term.Mul(term, small).Quo(term, real(float64(k)))
		sum.Add(sum, term)
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return sum
}

// realLn returns the logarithm of x by Newton's method on e^y = x, from what math.Log says.
func realLn(x *big.Float) *big.Float {
	mantissa := newReal()
	exponent := x.MantExp(mantissa)
	m, _ := mantissa.Float64()
	y := real(math.Log(m) + float64(exponent)*math.Ln2)
	for range 4 { // each doubles the digits: 50, 100, 200, 400 bits
		y.Add(y, newReal().Sub(newReal().Quo(x, realExp(y)), real(1)))
	}
	return y
}

func TestLogarithmsAreBoundedFromBothSides(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 300 {
		x := big.NewRat(r.Int64N(1000)+1, r.Int64N(1000)+1)
		switch i % 3 {
		case 1:
			x.SetFloat64(math.Exp(r.NormFloat64() * 30))
		case 2:
			x.SetFloat64(1 + r.NormFloat64()*1e-12)
		}
		low, high, exact := realRat(ln(x, false)), realRat(ln(x, true)), realLn(realRat(x))
		if low.Cmp(exact) > 0 || high.Cmp(exact) < 0 {
			t.Fatalf("ln %v = %v is not between %v and %v", x, exact, low, high)
		}
		if gap := newReal().Sub(high, low); gap.Cmp(newReal().SetMantExp(real(1), -170)) > 0 {
			t.Fatalf("ln %v: the bounds are %v apart", x, gap)
		}
	}
}

// referenceEpsilon returns the formula of Rho.Epsilon at its least, not rounded: α by bisecting the derivative, then the formula as the paper prints it.
func referenceEpsilon(rho, delta *big.Rat) *big.Float {
	r, d, one := realRat(rho), realRat(delta), real(1)
	// ρ(α−1)² + ln α < ln(1/δ) left of the best α. In logarithms of α−1.
	low, high := -60.0, 60.0
	order := func(log float64) *big.Float { return realExp(real(log)) }
	for range 48 {
		middle := (low + high) / 2
		t := order(middle)
		left := newReal().Mul(r, newReal().Mul(t, t))
		left.Add(left, realLn(newReal().Add(one, t))).Add(left, realLn(d))
		if left.Sign() < 0 {
			low = middle
		} else {
			high = middle
		}
	}
	t := order(low)
	alpha := newReal().Add(one, t)
	sum := newReal().Mul(r, alpha)
	sum.Add(sum, newReal().Quo(realLn(newReal().Quo(one, newReal().Mul(alpha, d))), t))
	return sum.Add(sum, realLn(newReal().Sub(one, newReal().Quo(one, alpha))))
}

var (
	gridRho   = []Rho{1, 7, 1000, 123_456, 5_000_000, 16_612_345, 125_000_000, billion, 17 * billion, 1000 * billion, 1_000_000 * billion, 8_000_000_000 * billion}
	gridDelta = []Delta{1, 9, 1_000_000, deltaUnit / 1e10, deltaUnit / 1e6, deltaUnit / 1e5 * 3, deltaUnit / 100, deltaUnit / 2, deltaUnit - deltaUnit/1000, deltaUnit - 1}
)

func TestEpsilonOfRhoIsTheFormulaRoundedUp(t *testing.T) {
	for _, r := range gridRho {
		for _, d := range gridDelta {
			exact := referenceEpsilon(r.Rat(), d.Rat())
			if exact.Sign() < 0 {
				exact = real(0)
			}
			got := newReal().Quo(real(0).SetInt64(int64(r.Epsilon(d))), real(billion))
			excess := newReal().Sub(got, exact)
			if excess.Sign() < 0 || excess.Cmp(real(1e-9)) > 0 {
				t.Errorf("rho %v at delta %v: epsilon %v is %.3g from %.20g", r, d, r.Epsilon(d), excess, exact)
			}
		}
	}
}

func TestEpsilonOfRhoHoldsForTheGaussianMechanism(t *testing.T) {
	// The normal law with σ² = 1/(2ρ) and shift 1 is exactly ρ-zCDP. Its δ at ε (Balle, Wang 2018, theorem 8) must not exceed what was asked.
	normal := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	for _, r := range []Rho{1000, 5_000_000, 125_000_000, billion, 10 * billion} {
		for _, d := range []Delta{deltaUnit / 1e9, deltaUnit / 1e5, deltaUnit / 100} {
			e, mu := float64(r.Epsilon(d))/billion, math.Sqrt(2*float64(r)/billion)
			delta := normal(mu/2-e/mu) - math.Exp(e)*normal(-mu/2-e/mu)
			asked, _ := d.Rat().Float64()
			if delta > asked {
				t.Errorf("rho %v: epsilon %v has delta %v, asked %v", r, e, delta, asked)
			}
			if delta < asked/100 {
				t.Errorf("rho %v: epsilon %v has delta %v, asked %v: the bound is loose", r, e, delta, asked)
			}
		}
	}
}

func TestEpsilonRisesWithRhoAndFallsWithDelta(t *testing.T) {
	for _, r := range gridRho {
		for _, d := range gridDelta {
			e := r.Epsilon(d)
			if next := r.plus(1).Epsilon(d); next < e {
				t.Errorf("rho %v: epsilon %v, and %v at the next rho", r, e, next)
			}
			if next := r.Epsilon(d + 1); next > e {
				t.Errorf("delta %v: epsilon %v, and %v at the next delta", d, e, next)
			}
		}
	}
}

func TestRhoWithinIsTheLargestThatFits(t *testing.T) {
	for _, e := range []dp.Epsilon{0, 1, 1000, 10_000_000, 500_000_000, billion, 10 * billion, 1000 * billion, 1_000_000_000 * billion, Unlimited - 1} {
		for _, d := range gridDelta {
			r := RhoWithin(e, d)
			if r.Epsilon(d) > e {
				t.Errorf("epsilon %v at delta %v: rho %v has epsilon %v", e, d, r, r.Epsilon(d))
			}
			if r != Unlimited && r.plus(1).Epsilon(d) <= e {
				t.Errorf("epsilon %v at delta %v: the rho after %v has epsilon %v", e, d, r, r.plus(1).Epsilon(d))
			}
		}
	}
}

func TestEndsOfTheConversions(t *testing.T) {
	f := func(what string, got, want int64) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	f("no loss at delta 0", int64(Rho(0).Epsilon(0)), 0)
	f("some loss at delta 0", int64(Rho(1).Epsilon(0)), Unlimited)
	f("any loss at delta 1", int64(Rho(Unlimited).Epsilon(deltaUnit)), 0)
	f("unlimited loss", int64(Rho(Unlimited).Epsilon(deltaUnit/2)), Unlimited)
	f("rho within delta 0", int64(RhoWithin(billion, 0)), 0)
	f("rho within delta 1", int64(RhoWithin(0, deltaUnit)), Unlimited)
	f("rho within a negative epsilon", int64(RhoWithin(-1, deltaUnit/2)), 0)
	f("rho of a draw, rounded up", int64(RhoOfDraw(1)), 1)
	f("rho of a draw with epsilon 1", int64(RhoOfDraw(billion)), 125_000_000)
	f("rho of a pure mechanism with epsilon 0.1", int64(RhoOfPure(billion/10)), 5_000_000)
	f("rho of a pure mechanism, rounded up", int64(RhoOfPure(billion/10+1)), 5_000_001)
	f("rho beyond int64", int64(RhoOfPure(1_000_000*billion)), Unlimited)
	f("rho of what has no bound", int64(RhoOfDraw(Unlimited)), Unlimited)
}

func TestPureWithinIsTheLargestThatFits(t *testing.T) {
	for _, r := range append([]Rho{0, Unlimited - 1}, gridRho...) {
		if e := pureWithin(r); RhoOfPure(e) > r || RhoOfPure(e+1) <= r {
			t.Errorf("rho %v: epsilon %v", r, e)
		}
	}
}

func TestGroupsLoseTheirSizeTimesAndSquared(t *testing.T) {
	if got := GroupEpsilon(billion/2, 2); got != billion {
		t.Errorf("replacing one: epsilon %v, want 1", got)
	}
	if got := GroupRho(5_000_000, 2); got != 20_000_000 {
		t.Errorf("replacing one: rho %v, want 0.02", got)
	}
	if got := GroupRho(RhoOfPure(billion/10), 7); got != RhoOfPure(GroupEpsilon(billion/10, 7)) {
		t.Errorf("rho of seven: %v, want %v", got, RhoOfPure(GroupEpsilon(billion/10, 7)))
	}
	for _, k := range []int{0, 1, math.MaxInt} {
		want := [3]int64{0, Unlimited - 1, Unlimited}[min(k, 2)]
		if e, r := GroupEpsilon(Unlimited-1, k), GroupRho(Unlimited-1, k); int64(e) != want || int64(r) != want {
			t.Errorf("%d units lose epsilon %v and rho %v, want %d", k, e, r, want)
		}
	}
	if e, r := GroupEpsilon(Unlimited, 1), GroupRho(Unlimited, 2); e != Unlimited || r != Unlimited {
		t.Errorf("what has no bound: epsilon %v, rho %v", e, r)
	}
}

func TestDeltasAreReadExactly(t *testing.T) {
	f := func(text string, want Delta, printed string) {
		t.Helper()
		got, err := ParseDelta(text)
		if err != nil || got != want || got.String() != printed {
			t.Errorf("%q: %d %v, %v, want %d %s", text, got, got, err, want, printed)
		}
		if again, err := ParseDelta(printed); again != want {
			t.Errorf("%q: %d, %v, want %d", printed, again, err, want)
		}
		// What a mechanism in floating point gets must be recorded as no less than δ's decimal, and be no more than δ.
		if b := got.Below(); new(big.Rat).SetFloat64(b).Cmp(got.Rat()) > 0 || new(big.Rat).SetFloat64(math.Nextafter(b, 1)).Cmp(got.Rat()) <= 0 {
			t.Errorf("%q: %v is not the float64 below", text, b)
		}
	}
	f("1e-6", deltaUnit/1e6, "1e-06")
	f("0.000001", deltaUnit/1e6, "1e-06")
	f("1E-5", deltaUnit/1e5, "1e-05")
	f("12.50e-10", 1_250_000_000, "1.25e-09")
	f("0.5", deltaUnit/2, "0.5")
	f("1e-18", 1, "1e-18")
	f("0.999999999999999999", deltaUnit-1, "0.999999999999999999")
	f("10.0000000000000000000000e-19", 1, "1e-18")
	f("0.0001", deltaUnit/1e4, "0.0001")
	for text, want := range map[string]string{
		"0": "not more than 0", "1": "not less than 1", "1e99": "not less than 1", "1e-19": "more than 18 decimals", "-1e-6": "not a number", "": "not a number",
		"1e": "not a number", "e-6": "not a number", "0x1p-3": "not a number", "1e-99999": "not a number", "NaN": "not a number", "1_0e-6": "not a number",
	} {
		if d, err := ParseDelta(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", text, d, err, want)
		}
	}
}

func TestFloatDeltasAreReadAsTheirShortestDecimalRoundedUp(t *testing.T) {
	for f, want := range map[float64]Delta{
		0: 0, 1: deltaUnit, 1e-5: deltaUnit / 1e5, 1e-6: deltaUnit / 1e6, 5e-324: 1, 1e-19: 1, 1.1e-18: 2, 1.0000000000000002e-5: 10_000_000_000_001,
		0.1: deltaUnit / 10, math.Nextafter(1, 0): 999_999_999_999_999_900,
	} {
		if got := deltaOf(f); got != want {
			t.Errorf("%v: %d, want %d", f, got, want)
		}
	}
}
