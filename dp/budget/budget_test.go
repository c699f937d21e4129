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

var day = time.Date(2024, 5, 17, 0, 0, 0, 0, time.UTC)

func hour(h int) time.Time { return day.Add(time.Duration(h) * time.Hour) }

func charge(id, metric string, window time.Time, k int, e dp.Epsilon) Charge {
	return Charge{ReleaseID: id, Source: "shop", Metric: metric, Window: window, Period: day, Windows: k, Epsilon: e}
}

func shop(budget dp.Epsilon) Source {
	return Source{Name: "shop", Unit: User, Budget: budget, Period: 24 * time.Hour}
}

// account returns an account with charges, whose ids are made up.
func account(t *testing.T, charges ...Charge) *Account {
	t.Helper()
	a := New()
	for i, c := range charges {
		if c.ReleaseID == "" {
			c.ReleaseID = fmt.Sprint("release-", i)
		}
		if err := a.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func TestLossIsTheKLargestWindowsOfEachMetric(t *testing.T) {
	f := func(name string, want dp.Epsilon, charges ...Charge) {
		t.Helper()
		if got := account(t, charges...).Spent("shop", day); got != want {
			t.Errorf("%s: spent %v, want %v", name, got, want)
		}
	}
	f("nothing", 0)
	f("one charge", 5, charge("", "a", hour(0), 1, 5))
	f("charges of one window add up", 8, charge("", "a", hour(0), 1, 5), charge("", "a", hour(0), 1, 3))
	f("events lie in one window", 5, charge("", "a", hour(0), 1, 5), charge("", "a", hour(1), 1, 3))
	f("a user lies in two windows", 8, charge("", "a", hour(0), 2, 3), charge("", "a", hour(1), 2, 5), charge("", "a", hour(2), 2, 2))
	f("fewer windows than k", 8, charge("", "a", hour(0), 9, 3), charge("", "a", hour(1), 9, 5))
	f("metrics add up", 8, charge("", "a", hour(0), 1, 5), charge("", "b", hour(1), 1, 3))
	f("the largest k counts", 8, charge("", "a", hour(0), 2, 5), charge("", "a", hour(1), 1, 3))
	f("sums beyond int64 stay at its end", math.MaxInt64, charge("", "a", hour(0), 1, math.MaxInt64), charge("", "a", hour(0), 1, 3), charge("", "b", hour(0), 1, 3))
}

func TestPeriodsAndSourcesHaveBudgetsOfTheirOwn(t *testing.T) {
	a := account(t, charge("", "a", hour(0), 1, 5))
	if got := a.Spent("shop", day.AddDate(0, 0, 1)); got != 0 {
		t.Errorf("another period spent %v", got)
	}
	if got := a.Spent("census", day); got != 0 {
		t.Errorf("another source spent %v", got)
	}
	if got := a.Spent("shop", day.In(time.FixedZone("elsewhere", 3600))); got != 5 {
		t.Errorf("the same moment elsewhere spent %v, want 5e-9", got)
	}
}

func TestAddingAReleaseTwiceChangesNothing(t *testing.T) {
	a := account(t, charge("r", "a", hour(0), 1, 5))
	again := charge("r", "a", hour(0).In(time.FixedZone("elsewhere", 3600)), 1, 5)
	if err := a.Add(again); err != nil {
		t.Error(err)
	}
	if err := a.Check(shop(5), again); err != nil {
		t.Errorf("checking it again: %v", err)
	}
	if got := a.Spent("shop", day); got != 5 {
		t.Errorf("spent %v, want 5e-9", got)
	}
}

func TestAReleaseIDNamesOneCharge(t *testing.T) {
	a := account(t, charge("r", "a", hour(0), 1, 5))
	other := charge("r", "a", hour(0), 1, 6)
	if a.Add(other) == nil || a.Check(shop(100), other) == nil {
		t.Error("another charge under a known release id was taken")
	}
	if got := a.Spent("shop", day); got != 5 {
		t.Errorf("spent %v, want 5e-9", got)
	}
}

func TestMalformedChargesAreRefused(t *testing.T) {
	f := func(want string, spoil func(*Charge)) {
		t.Helper()
		c := charge("r", "a", hour(0), 1, 5)
		spoil(&c)
		a := New()
		s := shop(100)
		for _, err := range []error{a.Add(c), a.Check(s, c)} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			if errors.Is(err, ErrExceeded) {
				t.Errorf("%v wraps ErrExceeded", err)
			}
		}
		if len(a.charges) != 0 || len(a.periods) != 0 {
			t.Errorf("%q was counted", want)
		}
	}
	f("release id is empty", func(c *Charge) { c.ReleaseID = "" })
	f("source is empty", func(c *Charge) { c.Source = "" })
	f("metric is empty", func(c *Charge) { c.Metric = "" })
	f("windows 0 is less than 1", func(c *Charge) { c.Windows = 0 })
	f("epsilon -0.000000001 is negative", func(c *Charge) { c.Epsilon = -1 })
	f("delta -0.5 is outside", func(c *Charge) { c.Delta = -0.5 })
	f("delta NaN is outside", func(c *Charge) { c.Delta = math.NaN() })
	f("rho -1 is negative", func(c *Charge) { c.NanoRho = -1 })
}

func TestCheckRefusesAChargeOfAnotherKindOfSource(t *testing.T) {
	a := New()
	if err := a.Check(Source{Name: "census", Unit: User, Budget: 100, Period: 24 * time.Hour}, charge("r", "a", hour(0), 1, 5)); err == nil {
		t.Error("a charge of another source passed")
	}
	if err := a.Check(Source{Name: "shop", Unit: Event, Budget: 100, Period: 24 * time.Hour}, charge("r", "a", hour(0), 2, 5)); err == nil {
		t.Error("an event in two windows passed")
	}
}

func TestAChargeCannotSpendTheBudgetOfAnotherPeriod(t *testing.T) {
	f := func(want string, window, period time.Time, length time.Duration) {
		t.Helper()
		c := charge("r", "a", window, 1, 5)
		c.Period = period
		err := New().Check(Source{Name: "shop", Unit: User, Budget: 100, Period: length}, c)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("window %v, period %v of %v: %v, want %q", window, period, length, err, want)
		}
		if errors.Is(err, ErrExceeded) {
			t.Errorf("%v wraps ErrExceeded", err)
		}
	}
	nano := func(t int64) time.Time { return time.Unix(0, t) }
	const length = 24 * time.Hour
	f("", hour(0), day, length)
	f("", hour(24).Add(-1), day, length)
	f("", nano(-1), nano(-int64(length)), length)
	f("", nano(math.MinInt64), nano(math.MinInt64), length)
	f("", nano(math.MaxInt64), nano(math.MaxInt64-math.MaxInt64%int64(length)), length)
	f("", nano(-1), nano(-math.MaxInt64), math.MaxInt64)
	f("period from 2024-05-17T00:00:00Z is not the one of source shop that holds the window from 2024-05-18T00:00:00Z, which is from 2024-05-18T00:00:00Z", hour(24), day, length)
	f("which is from 2024-05-16T00:00:00Z", hour(0).Add(-1), day, length)
	f("which is from 2024-05-17T00:00:00Z", hour(1), hour(1), length)
	f("which is from 1970-01-01T00:00:00Z", nano(0), nano(-1), length)
	f("is not the one of source shop", nano(-1), nano(math.MinInt64), math.MaxInt64)
	f("is not the one of source shop", nano(math.MinInt64), nano(-math.MaxInt64), math.MaxInt64)
	f("period 0s of source shop is not more than 0", hour(0), day, 0)
	f("period -1ns of source shop is not more than 0", hour(0), day, -1)
}

func TestChargesAreListedInOrder(t *testing.T) {
	tomorrow := charge("0", "a", hour(24), 1, 1)
	tomorrow.Period = hour(24)
	census := charge("5", "a", hour(0), 1, 1)
	census.Source = "census"
	a := account(t, tomorrow, census, charge("4", "a", hour(1), 1, 1), charge("3", "b", hour(0), 1, 1),
		charge("2", "a", hour(0), 1, 1), charge("1", "a", hour(0), 1, 7), charge("1", "a", hour(0), 1, 7))
	var ids []string
	for _, c := range a.Charges("shop") {
		ids = append(ids, c.ReleaseID)
	}
	if got, want := strings.Join(ids, " "), "1 2 3 4 0"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := a.Charges("nobody"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestAReleaseIsRefusedWhenTheBudgetIsSpent(t *testing.T) {
	a := account(t, charge("", "a", hour(0), 1, 700_000_000))
	if err := a.Check(shop(1_000_000_000), charge("r", "a", hour(0), 1, 300_000_000)); err != nil {
		t.Errorf("exactly what is left: %v", err)
	}
	err := a.Check(shop(1_000_000_000), charge("r", "a", hour(0), 1, 300_000_001))
	var exceeded *ExceededError
	if !errors.Is(err, ErrExceeded) || !errors.As(err, &exceeded) {
		t.Fatalf("%v, want an ExceededError", err)
	}
	if want := (ExceededError{Source: "shop", Period: day, Asked: 300_000_001, Left: 300_000_000}); *exceeded != want {
		t.Errorf("%+v, want %+v", *exceeded, want)
	}
	want := "privacy budget exceeded: the release would add epsilon 0.300000001 to what source shop lost in the period from 2024-05-17T00:00:00Z, and 0.3 is left"
	if err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if got := a.Spent("shop", day); got != 700_000_000 {
		t.Errorf("checking spent %v", got)
	}
}

func TestAWindowBesideTheCostliestIsFree(t *testing.T) {
	a := account(t, charge("", "a", hour(0), 1, 5))
	if err := a.Check(shop(5), charge("r", "a", hour(1), 1, 5)); err != nil {
		t.Error(err)
	}
}

func TestALoweredBudgetLeavesNothing(t *testing.T) {
	a := account(t, charge("", "a", hour(0), 1, 5))
	for _, budget := range []dp.Epsilon{4, 0, math.MinInt64} {
		if got := a.Left(shop(budget), day); got != 0 {
			t.Errorf("budget %v: %v is left", budget, got)
		}
		if err := a.Check(shop(budget), charge("r", "a", hour(1), 1, 0)); !errors.Is(err, ErrExceeded) {
			t.Errorf("budget %v: %v", budget, err)
		}
	}
}

func TestHugeChargesNeverFitByWrappingAround(t *testing.T) {
	a := account(t, charge("", "a", hour(0), 2, math.MaxInt64), charge("", "b", hour(0), 2, math.MaxInt64))
	for _, metric := range []string{"a", "b", "c"} {
		if err := a.Check(shop(1000), charge("r", metric, hour(1), 2, 7)); !errors.Is(err, ErrExceeded) {
			t.Errorf("metric %s: %v", metric, err)
		}
	}
}

// worstUnit tries every choice of at most k windows of each metric and returns the largest loss.
func worstUnit(charges []Charge, k map[string]int, windows int) dp.Epsilon {
	var sum dp.Epsilon
	for metric, k := range k {
		var worst dp.Epsilon
		for chosen := range 1 << windows {
			size, loss := 0, dp.Epsilon(0)
			for w := range windows {
				size += chosen >> w & 1
			}
			if size > k {
				continue
			}
			for _, c := range charges {
				if w := int(c.Window.Sub(day) / time.Hour); c.Metric == metric && chosen>>w&1 == 1 {
					loss += c.Epsilon
				}
			}
			worst = max(worst, loss)
		}
		sum += worst
	}
	return sum
}

func TestNoUnitLosesMoreThanSpentAndOneLosesExactlyThat(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const windows = 6
	for round := range 600 {
		// Every other source is of events, each of which lies in one window of a metric.
		source := shop(dp.Epsilon(r.IntN(60)))
		budget, most := source.Budget, 4
		if round%2 == 1 {
			source.Unit, most = Event, 1
		}
		k := map[string]int{}
		for m := range 1 + r.IntN(3) {
			k[fmt.Sprint("metric-", m)] = 1 + r.IntN(most)
		}
		a := New()
		var charges []Charge
		used := map[string]int{}
		for i := range r.IntN(20) {
			metric := fmt.Sprint("metric-", r.IntN(len(k)))
			c := charge(fmt.Sprint(i), metric, hour(r.IntN(windows)), k[metric], dp.Epsilon(r.IntN(10)))
			after := append(charges[:len(charges):len(charges)], c)
			used[metric] = k[metric]
			before, want := a.Spent("shop", day), worstUnit(after, used, windows)
			err := a.Check(source, c)
			if err != nil && !errors.Is(err, ErrExceeded) {
				t.Fatal(err)
			}
			if refused := errors.Is(err, ErrExceeded); refused != (want > budget) {
				t.Fatalf("loss %v after the charge, budget %v: %v", want, budget, err)
			}
			var exceeded *ExceededError
			if errors.As(err, &exceeded) && (exceeded.Asked != want-before || exceeded.Left != max(0, budget-before)) {
				t.Fatalf("%+v, want asked %v, left %v", exceeded, want-before, max(0, budget-before))
			}
			if before <= budget && c.Epsilon <= a.Left(source, day) && err != nil {
				t.Fatalf("what is certainly left was refused: %v", err)
			}
			if err != nil && r.IntN(2) == 0 {
				continue // else the ledger has it all the same
			}
			if err := a.Add(c); err != nil {
				t.Fatal(err)
			}
			charges = after
			if got := a.Spent("shop", day); got != want {
				t.Fatalf("spent %v, the worst unit lost %v: %+v", got, want, charges)
			}
		}
	}
}
