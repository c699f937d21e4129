package sketch

import (
	"errors"
	"math"
	"math/big"
	"testing"
)

func TestRelativeErrorChoosesTheCoarsestScale(t *testing.T) {
	f := func(e float64, want int) {
		t.Helper()
		if got, err := RelativeError(e); err != nil || got != want {
			t.Errorf("RelativeError(%v) = %d, %v; want %d", e, got, err, want)
		}
	}
	f(0.9, 0)
	f(0.8999999, 1)
	f(0.02, 5)
	f(0.01, 6)
	f(0.005, 7)
	f(0.0025, 8)
	f(60000, -4)
	f(math.Inf(1), -4)
	for _, e := range []float64{0, -1, math.NaN(), 0.002} {
		if _, err := RelativeError(e); !errors.Is(err, ErrGrid) {
			t.Errorf("RelativeError(%v): %v", e, err)
		}
	}
}

// The place of a bucket is checked against the definition: its boundaries are 2^(k/2^scale) and the next.
func TestPowerIsThePlaceOfTheBucket(t *testing.T) {
	for scale := minScale; scale <= maxScale; scale += 3 {
		unbounded, err := NewExponential(scale)
		if err != nil {
			t.Fatal(err)
		}
		bounded, err := NewBoundedExponential(scale, -3, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range []*Grid{unbounded, bounded} {
			for i := 0; i < g.Len(); i += 1 + g.Len()/5000 {
				sign, k := g.Power(i)
				if back, ok := g.PowerIndex(sign, k); back != i || !ok {
					t.Fatalf("%v: bucket %d is %d, %d, which is bucket %d, %v", g, i, sign, k, back, ok)
				}
				if i == 0 || i == g.Len()-1 || sign == 0 {
					continue
				}
				lower, upper := g.Bounds(i)
				if sign < 0 {
					lower, upper = -upper, -lower
				}
				near := func(have float64, k int) bool {
					if math.IsInf(have, 0) || have == math.MaxFloat64 || have < 0x1p-1022 {
						return true // no float64 is at the boundary
					}
					e := big.NewRat(int64(k), 1)
					if scale > 0 {
						e.Quo(e, big.NewRat(1<<scale, 1))
					} else {
						e.Mul(e, big.NewRat(1<<-scale, 1))
					}
					want, _ := e.Float64()
					return math.Abs(math.Log2(have)-want) < 1e-9
				}
				if !near(lower, k) || !near(upper, k+1) {
					t.Fatalf("%v: bucket %d from %v to %v is said to be k %d", g, i, lower, upper, k)
				}
			}
			if _, ok := g.PowerIndex(1, 1<<20); ok {
				t.Errorf("%v has a bucket k %d", g, 1<<20)
			}
			if _, ok := g.PowerIndex(-1, -1<<20); ok {
				t.Errorf("%v has a bucket -k %d", g, -1<<20)
			}
		}
		if _, ok := bounded.PowerIndex(-1, 4000>>uint(-min(scale, 0))<<uint(max(scale, 0))); ok {
			t.Errorf("%v has a bucket far below", bounded)
		}
	}
}

func TestDownscaleOfAGridNeedsBoundariesThatMeet(t *testing.T) {
	f := func(from string, scale int, want string) {
		t.Helper()
		g, err := ParseGrid(from)
		if err != nil {
			t.Fatal(err)
		}
		coarse, err := g.Downscale(scale)
		switch {
		case want == "" && !errors.Is(err, ErrGrid):
			t.Errorf("%v to scale %d: %v, %v", g, scale, coarse, err)
		case want != "" && (err != nil || coarse.String() != want):
			t.Errorf("%v to scale %d: %v, %v, want %s", g, scale, coarse, err, want)
		}
	}
	f("exponential:scale=5", 3, "exponential:scale=3")
	f("exponential:scale=5", 5, "exponential:scale=5")
	f("exponential:scale=5", 6, "")
	f("exponential:scale=5", -5, "")
	f("linear:lower=0,upper=1,bins=2", 0, "")
	// From the bucket that ends at 1 to the one that ends at 8, all halves of which are there as well.
	f("exponential:scale=1,min=0.6,max=8", 0, "exponential:scale=0,min=0.6,max=8")
	f("exponential:scale=1,min=0.8,max=8", 0, "")
	f("exponential:scale=1,min=0.6,max=5", 0, "")
	f("exponential:scale=1,min=3,max=3.1", 0, "")
	f("exponential:scale=1,min=2.5,max=2.6", 0, "")
	f("exponential:scale=1,min=-4,max=-2.1", 0, "exponential:scale=0,min=-4,max=-2.1")
	f("exponential:scale=1,min=-4,max=-3", 0, "")
	f("exponential:scale=8,min=-1.797e308,max=5e-324", 0, "exponential:scale=0,min=-1.797e+308,max=5e-324")
	f("exponential:scale=3,min=-8,max=8", 0, "exponential:scale=0,min=-8,max=8")
}
