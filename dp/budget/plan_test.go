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

// hourly is a pure release of every hour of a day.
func hourly(name string, e dp.Epsilon) Planned {
	return Planned{
		Name: name, Source: shop(billion), Metric: "a", Window: time.Hour, Contributions: 3,
		Span: 1, Every: 1, Times: 1, Cost: Loss{Epsilon: e, Rho: RhoOfPure(e)},
	}
}

func TestAPlanTellsWhatAPeriodCosts(t *testing.T) {
	f := func(name string, change func(*Planned), want PlannedCost) {
		t.Helper()
		p := hourly("r", 100_000_000)
		change(&p)
		got, err := Plan([]Planned{p})
		want.Total = want.Period
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
	tenth := Loss{100_000_000, 5_000_000, 0}
	f("every hour", func(*Planned) {}, PlannedCost{tenth, 24, 24, Loss{300_000_000, 15_000_000, 0}, Loss{}, true})
	f("every sixth hour", func(p *Planned) { p.Every = 6 }, PlannedCost{tenth, 4, 4, Loss{300_000_000, 15_000_000, 0}, Loss{}, true})
	f("a day at once", func(p *Planned) { p.Span, p.Every = 24, 24 },
		PlannedCost{Loss{33_333_334, 1_666_667, 0}, 1, 24, Loss{100_000_002, 5_000_001, 0}, Loss{}, true})
	f("two hours at once, every hour", func(p *Planned) { p.Span = 2 },
		PlannedCost{Loss{50_000_000, 2_500_000, 0}, 23, 24, Loss{300_000_000, 15_000_000, 0}, Loss{}, true})
	f("two hours at once, every five", func(p *Planned) { p.Span, p.Every = 2, 5 },
		PlannedCost{Loss{50_000_000, 2_500_000, 0}, 5, 10, Loss{150_000_000, 7_500_000, 0}, Loss{}, true})
	f("four questions", func(p *Planned) { p.Times = 4 }, PlannedCost{tenth, 96, 24, Loss{1_200_000_000, 60_000_000, 0}, Loss{}, false})
	f("events", func(p *Planned) { p.Source.Unit, p.Contributions, p.Span = Event, 1, 2 },
		PlannedCost{tenth, 23, 24, Loss{200_000_000, 10_000_000, 0}, Loss{}, true})
	noise := Loss{Unlimited, 5_000_000, 0}
	f("Gaussian noise on a budget in epsilon", func(p *Planned) { p.Cost = noise },
		PlannedCost{noise, 24, 24, Loss{Unlimited, 15_000_000, 0}, Loss{}, false})
	f("Gaussian noise on a budget with delta", func(p *Planned) { p.Cost, p.Source.Delta = noise, deltaUnit/1e6 },
		PlannedCost{noise, 24, 24, Loss{Unlimited, 15_000_000, 0}, Loss{}, true})
}

func TestWhatNoPlanCanBeIsRefused(t *testing.T) {
	f := func(want string, change func(*Planned)) {
		t.Helper()
		p := hourly("second", 1)
		change(&p)
		if got, err := Plan([]Planned{hourly("first", 1), p}); err == nil || !strings.Contains(err.Error(), want) || got != nil {
			t.Errorf("%v, %v, want %q", got, err, want)
		}
	}
	f(`release "first" stands twice`, func(p *Planned) { p.Name = "first" })
	f("period 0s of source shop is not more than 0", func(p *Planned) { p.Source.Period = 0 })
	f("window 5h0m0s does not divide period 24h0m0s", func(p *Planned) { p.Window = 5 * time.Hour })
	f("window 0s does not divide", func(p *Planned) { p.Window = 0 })
	f("has more than 1048576 of them", func(p *Planned) { p.Window = time.Millisecond })
	f("contributions 0 is less", func(p *Planned) { p.Contributions = 0 })
	f("contributions 3 is not 1 window", func(p *Planned) { p.Source.Unit = Event })
	f("span 0 is outside", func(p *Planned) { p.Span = 0 })
	f("span 25 is outside", func(p *Planned) { p.Span = 25 })
	f("every 0 is outside", func(p *Planned) { p.Every = 0 })
	f("every 9223372036854775807 is outside", func(p *Planned) { p.Every = math.MaxInt })
	f("times 0 is outside", func(p *Planned) { p.Times = 0 })
	f("times 1048577 is outside", func(p *Planned) { p.Times = maxPlanned + 1 })
	f("is negative", func(p *Planned) { p.Cost.Epsilon = -1 })
	f("is negative", func(p *Planned) { p.Cost.Rho = -1 })
	f("is negative", func(p *Planned) { p.Cost.Delta = -1 })
	f("delta 1e-18 with span 2", func(p *Planned) { p.Cost.Delta, p.Span = 1, 2 })
	f("approximate 1e-18 is not from 0", func(p *Planned) { p.Source.Approximate = 1 })
	f("source shop is", func(p *Planned) { p.Source.Budget++ })
	f("metric a has windows of 2h0m0s", func(p *Planned) { p.Window = 2 * time.Hour })
	f("contributions in 4 of them", func(p *Planned) { p.Contributions = 4 })
}

func TestAPlanSaysWhatAnAccountWillSay(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	fitted := map[bool]int{}
	for round := range 300 {
		source := shop(dp.Epsilon(r.Int64N(2 * billion)))
		source.Period = 6 * time.Hour
		if r.IntN(2) == 0 {
			source.Delta = deltaUnit / 1e5
			source.Approximate = source.Delta / 2
		}
		k := map[string]int{"a": 1 + r.IntN(4), "b": 1 + r.IntN(4)}
		if round%3 == 0 {
			source.Unit, k["a"], k["b"] = Event, 1, 1
		}
		var schedule []Planned
		for i := range 1 + r.IntN(4) {
			p := Planned{Name: fmt.Sprint(i), Source: source, Metric: []string{"a", "b"}[r.IntN(2)], Every: 1 + r.IntN(6), Span: 1 + r.IntN(6), Times: 1 + r.IntN(2)}
			p.Window = map[string]time.Duration{"a": time.Hour, "b": 30 * time.Minute}[p.Metric]
			p.Contributions = k[p.Metric]
			c := charge("r", p.Metric, day, 1, dp.Epsilon(1+r.Int64N(200_000_000)))
			switch r.IntN(6) {
			case 0:
				c.NanoRho, c.Epsilon = 1+r.Int64N(10_000_000), 0
			case 1:
				c.Delta, p.Span = 1e-6, 1
			case 2, 3:
				c.NanoRho = int64(RhoOfDraw(c.Epsilon))
			}
			p.Cost = c.Loss()
			schedule = append(schedule, p)
		}
		costs, err := Plan(schedule)
		if err != nil {
			t.Fatal(err)
		}
		// The whole schedule, charge by charge.
		a, refused := New(), false
		for i, p := range schedule {
			alone, charged, releases := New(), map[time.Time]bool{}, 0
			for first := 0; first+p.Span <= p.windows(); first += p.Every {
				for n := range p.Times {
					releases++
					for w := first; w < first+p.Span; w++ {
						c := charge(fmt.Sprint(p.Name, " ", first, " ", n, " ", w), p.Metric, day.Add(p.Window*time.Duration(w)), p.Contributions, 0)
						share := 1.0
						if source.Unit == User {
							share = float64(min(p.Span, p.Contributions))
						}
						if c.NanoRho = int64(math.Ceil(float64(p.Cost.Rho) / share)); p.Cost.Epsilon != Unlimited {
							c.Epsilon = dp.Epsilon(math.Ceil(float64(p.Cost.Epsilon) / share))
						}
						if c.Delta, _ = p.Cost.Delta.Rat().Float64(); c.Delta > 0 {
							c.NanoRho = int64(p.Cost.Rho)
						}
						if want := c.Loss(); want != costs[i].Window {
							t.Fatalf("release %+v charges %+v, want %+v", p, costs[i].Window, want)
						}
						charged[c.Window] = true
						refused = refused || a.Check(source, c) != nil
						for _, a := range []*Account{a, alone} {
							if err := a.Add(c); err != nil {
								t.Fatal(err)
							}
						}
					}
				}
			}
			want := PlannedCost{costs[i].Window, releases, len(charged), alone.Loss("shop", day), a.Loss("shop", day), !refused}
			if costs[i] != want {
				t.Fatalf("%+v costs %+v, and the account says %+v", p, costs[i], want)
			}
			fitted[!refused]++
		}
	}
	if fitted[true] == 0 || fitted[false] == 0 {
		t.Errorf("%v: too few of a kind", fitted)
	}
}

func TestARefusedPlanIsRefusedByTheAccount(t *testing.T) {
	p := hourly("r", 400_000_000) // 1.2 of 1 in three windows
	costs, err := Plan([]Planned{p})
	if err != nil || costs[0].Fits {
		t.Fatalf("%+v, %v", costs, err)
	}
	a := New()
	for h := range 3 {
		c := charge(fmt.Sprint(h), "a", hour(h), 3, 400_000_000)
		if err := a.Check(p.Source, c); errors.Is(err, ErrExceeded) != (h == 2) {
			t.Errorf("hour %d: %v", h, err)
		}
		if err := a.Add(c); err != nil {
			t.Fatal(err)
		}
	}
}
