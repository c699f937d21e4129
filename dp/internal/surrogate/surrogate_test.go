package surrogate

import (
	"math"
	"math/rand/v2"
	"testing"
)

// mass is P(a < X ≤ b) of a Laplace distribution, by its tails.
func mass(location, scale, a, b float64) float64 {
	tail := func(x float64) float64 { return math.Exp(-math.Abs(x-location)/scale) / 2 }
	switch {
	case b < location:
		return tail(b) - tail(a)
	case a > location:
		return tail(a) - tail(b)
	}
	return 1 - tail(a) - tail(b)
}

func TestTheLossIsMinusTheLogarithmOfTheMass(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		location, scale := random.NormFloat64(), math.Exp(random.NormFloat64())
		a := location + scale*3*random.NormFloat64()
		b := a + scale*math.Exp(2*random.NormFloat64())
		got, _, _ := Loss(location/scale, 1/scale, a, b)
		if want := -math.Log(mass(location, scale, a, b)); math.Abs(got-want) > 1e-9*max(1, math.Abs(want)) {
			t.Fatalf("location %v, scale %v, cell %v to %v: %v, want %v", location, scale, a, b, got, want)
		}
	}
}

func TestDerivativesAreThoseOfTheLoss(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 10_000 {
		theta, phi := 3*random.NormFloat64(), math.Exp(random.NormFloat64())
		a := 2 * random.NormFloat64()
		b := a + math.Exp(2*random.NormFloat64())
		_, dTheta, dPhi := Loss(theta, phi, a, b)
		const h = 1e-6
		up, _, _ := Loss(theta+h, phi, a, b)
		down, _, _ := Loss(theta-h, phi, a, b)
		if x := (up - down) / (2 * h); math.Abs(x-dTheta) > 1e-4 {
			t.Fatalf("θ %v, φ %v, cell %v to %v: derivative in θ is %v, differences say %v", theta, phi, a, b, dTheta, x)
		}
		up, _, _ = Loss(theta, phi*(1+h), a, b)
		down, _, _ = Loss(theta, phi*(1-h), a, b)
		if x := (up - down) / (2 * h * phi); math.Abs(x-dPhi) > 1e-4*max(1, math.Abs(dPhi)) {
			t.Fatalf("θ %v, φ %v, cell %v to %v: derivative in φ is %v, differences say %v", theta, phi, a, b, dPhi, x)
		}
	}
}

func TestTheLossIsConvex(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		a := 2 * random.NormFloat64()
		b := a + math.Exp(2*random.NormFloat64())
		x := [2]float64{3 * random.NormFloat64(), math.Exp(2 * random.NormFloat64())}
		y := [2]float64{3 * random.NormFloat64(), math.Exp(2 * random.NormFloat64())}
		at := func(p float64) float64 { l, _, _ := Loss(p*x[0]+(1-p)*y[0], p*x[1]+(1-p)*y[1], a, b); return l }
		if middle, ends := at(0.5), (at(0)+at(1))/2; middle > ends+1e-9*math.Abs(ends) {
			t.Fatalf("cell %v to %v: %v half way between %v and %v, where %v is the mean", a, b, middle, x, y, ends)
		}
	}
}

// Cells far narrower and far wider than the scale, where sinh r is 0 or infinite to float64.
func TestSmallAndLargeCellsAreFinite(t *testing.T) {
	f := func(theta, phi, a, b, want float64) {
		t.Helper()
		loss, dTheta, dPhi := Loss(theta, phi, a, b)
		if math.Abs(loss-want) > 1e-9*max(1, math.Abs(want)) || math.IsNaN(dTheta+dPhi) || math.IsInf(dTheta+dPhi, 0) {
			t.Errorf("θ %v, φ %v, cell %v to %v: loss %v, want %v; derivatives %v and %v", theta, phi, a, b, loss, want, dTheta, dPhi)
		}
	}
	f(1, 1, 0, 1e-200, 1-math.Log(5e-201))   // off − ln r
	f(5000, 1, 0, 2000, 4000-1000+math.Ln2)  // off − r + ln 2, sinh 1000 being infinite
	f(0, 1, -1e6, 1e6, 0)                    // all of the mass
	f(0, 1e-300, -1, 1, -math.Log(1e-300))   // ln of the scale
	f(1000, 1, 0, 2000, 0)                   // in the middle of a wide cell
	f(0.5e-9, 1, 0, 1e-9, -math.Log(0.5e-9)) // in the middle of a narrow one
}
