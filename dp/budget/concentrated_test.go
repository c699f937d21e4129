package budget

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/quietile/quietile/dp"
)

// gauss returns a charge for Gaussian noise.
func gauss(id, metric string, window time.Time, k int, r Rho) Charge {
	c := charge(id, metric, window, k, 0)
	c.NanoRho = int64(r)
	return c
}

// approximate returns a charge for a mechanism that is (ε, δ)-differentially private.
func approximate(id, metric string, window time.Time, k int, e dp.Epsilon, d float64) Charge {
	c := charge(id, metric, window, k, e)
	c.Delta = d
	return c
}

// draw returns a charge for one draw of the exponential mechanism.
func draw(id, metric string, window time.Time, k int, e dp.Epsilon) Charge {
	c := charge(id, metric, window, k, e)
	c.NanoRho = int64(RhoOfDraw(e))
	return c
}

func deltaShop(budget dp.Epsilon, delta, approximate Delta) Source {
	s := shop(budget)
	s.Delta, s.Approximate = delta, approximate
	return s
}

func TestWhatAChargeCosts(t *testing.T) {
	f := func(name string, c Charge, want Loss) {
		t.Helper()
		if got := c.Loss(); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	f("nothing", charge("r", "a", day, 1, 0), Loss{})
	f("pure", charge("r", "a", day, 1, billion), Loss{billion, 500_000_000, 0})
	f("draw", draw("r", "a", day, 1, billion), Loss{billion, 125_000_000, 0})
	f("gaussian", gauss("r", "a", day, 1, 7), Loss{Unlimited, 7, 0})
	f("approximate", approximate("r", "a", day, 1, billion, 1e-6), Loss{Unlimited, 500_000_000, deltaUnit / 1e6})
	f("delta alone", approximate("r", "a", day, 1, 0, 1e-6), Loss{Unlimited, 0, deltaUnit / 1e6})
	if e := (Loss{Unlimited, 0, 5}).EpsilonAt(4); e != Unlimited {
		t.Errorf("a loss that fails more often than asked has epsilon %v", e)
	}
	if e := (Loss{Unlimited, 0, 5}).EpsilonAt(5); e != 0 {
		t.Errorf("a loss that only fails has epsilon %v", e)
	}
	large := charge("r", "a", day, 1, billion)
	large.NanoRho = billion
	f("a share of a release over several windows", large, Loss{billion, billion, 0})
}

func TestABudgetInEpsilonAloneRefusesWhatIsNotPure(t *testing.T) {
	for _, c := range []Charge{gauss("r", "a", hour(0), 1, 1), approximate("r", "a", hour(0), 1, 1, 1e-18), approximate("r", "a", hour(0), 1, 0, 1e-18)} {
		for _, s := range []Source{shop(billion), shop(Unlimited)} {
			err := New().Check(s, c)
			if !errors.Is(err, ErrNotPure) || !errors.Is(err, ErrExceeded) {
				t.Errorf("%+v: %v", c, err)
			}
		}
	}
	// What got into the ledger all the same leaves nothing.
	a := account(t, gauss("r", "a", hour(0), 1, 1))
	for _, s := range []Source{shop(billion), shop(Unlimited)} {
		if err := a.Check(s, charge("s", "a", hour(1), 1, 1)); !errors.Is(err, ErrExceeded) || a.Left(s, day) != 0 {
			t.Errorf("budget %v after Gaussian noise: %v, and %v is left", s.Budget, err, a.Left(s, day))
		}
	}
}

func TestABudgetWithDeltaAdmitsManySmallReleases(t *testing.T) {
	// ε = 1 with δ = 10⁻⁶ is ρ = 0.0244: 194 draws of ε = 0.0316, which is 6.1 when they add up as pure ones.
	s := deltaShop(billion, deltaUnit/1e6, 0)
	a := New()
	n := 0
	for ; ; n++ {
		c := draw(fmt.Sprint(n), "a", hour(0), 1, 31_622_776)
		if err := a.Check(s, c); err != nil {
			break
		}
		if err := a.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	if want := int(s.Rho() / RhoOfDraw(31_622_776)); n != want || n < 100 {
		t.Errorf("%d releases fit, want %d", n, want)
	}
	if e := a.Loss("shop", day).EpsilonAt(s.Delta); e > s.Budget || e < s.Budget*95/100 {
		t.Errorf("epsilon %v of %v", e, s.Budget)
	}
	if err := a.Check(s, draw("large", "a", hour(0), 1, billion)); !errors.Is(err, ErrExceeded) {
		t.Errorf("a large one: %v", err)
	}
	if err := New().Check(s, charge("large", "a", hour(0), 1, billion)); err != nil {
		t.Errorf("what epsilon alone admits: %v", err)
	}
}

func TestWhatIsLeftIsToldInRhoAndDelta(t *testing.T) {
	s := deltaShop(billion, deltaUnit/1e6, deltaUnit/1e7)
	a := account(t, gauss("r", "a", hour(0), 1, 10_000_000), approximate("s", "a", hour(0), 1, 1, 6e-8))
	err := a.Check(s, approximate("t", "a", hour(0), 1, 100_000_000, 5e-8))
	var e *ExceededError
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	left := s.Rho() - 10_000_001
	if e.Asked != Unlimited || e.Left != pureWithin(left) || e.Delta != s.Delta || e.AskedRho != 5_000_000 || e.LeftRho != left ||
		e.AskedDelta != 50_000_000_000 || e.LeftDelta != 40_000_000_000 {
		t.Errorf("%+v", *e)
	}
	want := fmt.Sprintf("privacy budget exceeded: the release would add rho 0.005 and delta 5e-08 to what source shop lost in the period from 2024-05-17T00:00:00Z, and rho %v and delta 4e-08 are left", left)
	if err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if err := a.Check(s, approximate("t", "a", hour(0), 1, 100_000_000, 4e-8)); err != nil {
		t.Errorf("exactly what is left of delta: %v", err)
	}
	if err := a.Check(s, charge("t", "a", hour(0), 1, e.Left)); err != nil {
		t.Errorf("what is left in epsilon: %v", err)
	}
}

func TestBudgetsOutOfRangeAreRefused(t *testing.T) {
	f := func(delta, approximate Delta, want string) {
		t.Helper()
		err := New().Check(deltaShop(billion, delta, approximate), charge("r", "a", hour(0), 1, 1))
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, ErrExceeded) {
			t.Errorf("delta %v, approximate %v: %v, want %q", delta, approximate, err, want)
		}
	}
	f(-1, 0, "delta -0.000000000000000001 is outside")
	f(deltaUnit, 0, "delta 1 is outside")
	f(10, 10, "approximate 1e-17 is not from 0")
	f(10, -1, "approximate -0.000000000000000001 is not from 0")
	f(0, 1, "approximate 1e-18 is not from 0")
}

func TestWhatAPeriodLeavesIsNotCarriedOver(t *testing.T) {
	for _, s := range []Source{shop(5), deltaShop(5, deltaUnit/2, 0)} {
		a := account(t, charge("r", "a", hour(0), 1, 1))
		c := charge("s", "a", hour(24), 1, 6)
		if s.Delta > 0 {
			c = gauss("s", "a", hour(24), 1, s.Rho()+1)
		}
		c.Period = hour(24)
		if err := a.Check(s, c); !errors.Is(err, ErrExceeded) {
			t.Errorf("more than a period's budget after a day that left some: %v", err)
		}
	}
}

// trueDelta returns the least δ with which mechanisms that lose all that these charges say, and no more, are (ε, δ)-differentially private: randomised response for
// pure charges and for draws (with half their ε, which is range bounded by it), normal noise for Gaussian charges, and for charges with a δ randomised response that
// fails openly. It goes through all outcomes of the responses.
func trueDelta(charges []Charge, epsilon float64) float64 {
	kept, rho := 1.0, 0.0
	outcomes := map[float64]float64{0: 1} // probability by privacy loss
	for _, c := range charges {
		kept *= 1 - c.Delta
		e := float64(c.Epsilon) / billion
		switch {
		case c.Epsilon == 0:
			rho += float64(c.NanoRho) / billion
			continue
		case c.NanoRho > 0:
			e /= 2
		}
		next := map[float64]float64{}
		for loss, p := range outcomes {
			next[loss+e] += p / (1 + math.Exp(-e))
			next[loss-e] += p / (1 + math.Exp(e))
		}
		outcomes = next
	}
	normal := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	delta, mu := 0.0, math.Sqrt(2*rho)
	for loss, p := range outcomes {
		rest := epsilon - loss
		if mu == 0 {
			delta += p * max(0, 1-math.Exp(rest))
		} else {
			delta += p * (normal(mu/2-rest/mu) - math.Exp(rest)*normal(-mu/2-rest/mu))
		}
	}
	return 1 - kept + kept*delta
}

func TestNoUnitLosesMoreThanABudgetWithDelta(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const windows = 4
	ends, tight := map[string]int{}, 0.0
	for round := range 30 {
		s := deltaShop(dp.Epsilon(200_000_000+r.Int64N(3*billion)), deltaUnit/[]Delta{1e2, 1e4, 1e6}[r.IntN(3)], 0)
		if r.IntN(2) == 0 {
			s.Approximate = s.Delta / 100 * []Delta{10, 50, 95, 99}[r.IntN(4)]
		}
		most := 3
		if round%3 == 0 {
			s.Unit, most = Event, 1
		}
		k := map[string]int{"a": 1 + r.IntN(most), "b": 1 + r.IntN(most)}
		a, taken := New(), []Charge{}
		for i := range 14 {
			metric := []string{"a", "b"}[r.IntN(2)]
			id, window := fmt.Sprint(i), hour(r.IntN(windows))
			e := dp.Epsilon(1 + r.Int64N(int64(s.Budget)/3))
			var c Charge
			switch r.IntN(5) {
			case 0:
				c = charge(id, metric, window, k[metric], e)
			case 1, 2:
				c = draw(id, metric, window, k[metric], e)
			case 3:
				c = gauss(id, metric, window, k[metric], 1+Rho(r.Int64N(1+int64(s.Rho())/2)))
			case 4:
				c = approximate(id, metric, window, k[metric], e/30, (s.Approximate / Delta(1+r.Int64N(3))).Below())
			}
			// Every unit: any k windows of each metric.
			var all []Loss
			worst, worstLoss := 0.0, Loss{}
			forUnits(append(taken[:len(taken):len(taken)], c), k, windows, func(charges []Charge) {
				var sum Loss
				for _, c := range charges {
					sum = sum.plus(c.Loss())
				}
				all = append(all, sum)
				worst = max(worst, trueDelta(charges, float64(s.Budget)/billion))
				worstLoss.Epsilon, worstLoss.Rho, worstLoss.Delta = max(worstLoss.Epsilon, sum.Epsilon), max(worstLoss.Rho, sum.Rho), max(worstLoss.Delta, sum.Delta)
			})
			pure := worstLoss.Epsilon <= s.Budget
			concentrated := worstLoss.Rho.Epsilon(s.Delta-s.Approximate) <= s.Budget && worstLoss.Delta <= s.Approximate
			err := a.Check(s, c)
			if err != nil && !errors.Is(err, ErrExceeded) {
				t.Fatal(err)
			}
			if (err == nil) != (pure || concentrated) {
				t.Fatalf("budget %+v, loss %+v after the charge: %v", s, worstLoss, err)
			}
			if err != nil {
				ends["refused"]++
				continue
			}
			delta, _ := s.Delta.Rat().Float64()
			if worst > delta*(1+1e-9)+1e-15 {
				t.Fatalf("budget %+v: a unit has delta %v after %+v", s, worst, append(taken, c))
			}
			if tight = max(tight, worst/delta); !pure {
				ends["concentrated"]++
			}
			if err := a.Add(c); err != nil {
				t.Fatal(err)
			}
			taken = append(taken, c)
			if got := a.Loss("shop", day); got != worstLoss {
				t.Fatalf("loss %+v, the worst unit lost %+v", got, worstLoss)
			}
			for _, sum := range all {
				if sum.Epsilon > s.Budget && sum.EpsilonAt(s.Delta) > s.Budget {
					t.Fatalf("budget %+v: a unit lost %+v, which is epsilon %v", s, sum, sum.EpsilonAt(s.Delta))
				}
			}
			if left := a.Left(s, day); left > 0 {
				if err := a.Check(s, charge("left", metric, window, k[metric], left)); err != nil {
					t.Fatalf("what is certainly left was refused: %v", err)
				}
			}
		}
	}
	t.Logf("%v, at most %.3f of delta", ends, tight)
	if ends["refused"] == 0 || ends["concentrated"] == 0 {
		t.Errorf("%v: too few ends were met", ends)
	}
}

// forUnits calls do with the charges that touch a unit, for every choice of at most k windows of each metric that has charges.
func forUnits(charges []Charge, k map[string]int, windows int, do func([]Charge)) {
	var choices [2][]int
	for m, metric := range []string{"a", "b"} {
		for chosen := range 1 << windows {
			size := 0
			for w := range windows {
				size += chosen >> w & 1
			}
			if size <= k[metric] {
				choices[m] = append(choices[m], chosen)
			}
		}
	}
	for _, a := range choices[0] {
		for _, b := range choices[1] {
			var some []Charge
			for _, c := range charges {
				chosen := a
				if c.Metric == "b" {
					chosen = b
				}
				if chosen>>int(c.Window.Sub(day)/time.Hour)&1 == 1 {
					some = append(some, c)
				}
			}
			do(some)
		}
	}
}
