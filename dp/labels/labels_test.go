package labels

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/sketch"
)

var someGrid = func() *sketch.Grid {
	g, err := sketch.NewLinear(0, 100, 100)
	if err != nil {
		panic(err)
	}
	return g
}()

func group(g *sketch.Grid, label string, units int64, at float64) Group {
	s := sketch.NewBinned(g)
	for range units {
		s.Add(at)
	}
	return Group{label, units, s}
}

var options = Options{
	Options:   dp.Options{Quantiles: []float64{0.5}, Epsilon: 1e9},
	Grid:      someGrid,
	Selection: 1e9, Count: 1e9, Delta: 1e-6,
}

func TestLargeGroupsAppearAndSmallOnesDoNot(t *testing.T) {
	g := someGrid
	results, err := Release([]Group{group(g, "town", 5000, 40), group(g, "hamlet", 1, 7), group(g, "city", 9000, 60)}, options)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 || results[0].Label != "city" || results[1].Label != "town" {
		t.Fatalf("there are %+v", results)
	}
	for i, want := range []struct{ value, n float64 }{{60, 9000}, {40, 5000}} {
		r := results[i]
		if r.Quantiles[0].Value != want.value || math.Abs(float64(*r.Count)-want.n) > 60 {
			t.Errorf("%s: median %v of %d, want %v of %v", r.Label, r.Quantiles[0].Value, *r.Count, want.value, want.n)
		}
	}
	if epsilon, delta := options.Cost(); epsilon != 3e9 || delta != 1e-6 {
		t.Errorf("the cost is %v, %v", epsilon, delta)
	}
}

// A label of one unit appears with probability δ: about 2000 of 20,000 times.
func TestALabelOfOneUnitAppearsWithProbabilityDelta(t *testing.T) {
	g, o := someGrid, options
	o.Delta, o.Count = 0.1, 0
	appeared := 0
	for range 20_000 {
		keep, err := o.withDefaults().keep(group(g, "x", 1, 1))
		if err != nil {
			t.Fatal(err)
		}
		if keep {
			appeared++
		}
	}
	if math.Abs(float64(appeared)-2000) > 6*math.Sqrt(1800) {
		t.Errorf("it appeared %d times of 20,000", appeared)
	}
}

// The noise of a size has the scale c/ε: its mean magnitude is that too.
func TestSizesHaveTheNoiseOfAllContributions(t *testing.T) {
	g, o := someGrid, options
	o.Contributions, o.GroupsPerUnit, o.Count = 5, 2, 5e8
	o = o.withDefaults()
	sum := 0.0
	const n = 4000
	for range n {
		size, err := o.size(group(g, "x", 1000, 1))
		if err != nil {
			t.Fatal(err)
		}
		sum += math.Abs(float64(size) - 1000)
	}
	if mean := sum / n; math.Abs(mean-10) > 1 {
		t.Errorf("the mean magnitude of the noise is %v, want 10", mean)
	}
}

func TestNoGroupsAreNoError(t *testing.T) {
	if results, err := Release(nil, options); err != nil || len(results) != 0 {
		t.Errorf("%v, %v", results, err)
	}
}

func TestWrongOptionsNameTheField(t *testing.T) {
	f := func(change func(*Options), want string) {
		t.Helper()
		o := options
		change(&o)
		if _, err := Release(nil, o); !errors.Is(err, dp.ErrOptions) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	f(func(o *Options) { o.Neighbours = dp.ReplaceOne }, "replace-one")
	f(func(o *Options) { o.Selection = 0 }, "selection 0")
	f(func(o *Options) { o.Count = -1 }, "counts -0.000000001")
	f(func(o *Options) { o.Selection, o.GroupsPerUnit, o.Contributions = 750e9, 4, 4 }, "selection 750")
	f(func(o *Options) { o.Count = 101e9 }, "counts 101")
	f(func(o *Options) { o.Delta = 0 }, "delta 0")
	f(func(o *Options) { o.Delta = math.NaN() }, "delta NaN")
	f(func(o *Options) { o.Delta = 1 }, "delta 1")
	f(func(o *Options) { o.GroupsPerUnit = 2 }, "groups per unit 2")
	f(func(o *Options) { o.Grid = nil }, "grid")
	f(func(o *Options) { o.NanoRho, o.Epsilon = 1e9, 0 }, "rho 1")
	// What the library cannot select with is refused without any group, so that an error does not tell of one.
	f(func(o *Options) { o.Selection, o.Delta = 1, 1e-320 }, "delta 1e-320")
	f(func(o *Options) { o.Epsilon = 0 }, "epsilon 0")
	g := someGrid
	if _, err := Release([]Group{group(g, "a", 1, 1), group(g, "a", 1, 1)}, options); !errors.Is(err, ErrGroups) {
		t.Errorf("twice the same label: %v", err)
	}
}

// Whether there is an error does not depend on how many units a group has.
func TestOptionsThatPassSelectAnyGroup(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		o := options
		o.Selection = dp.Epsilon(1 + random.Int64N(1<<random.IntN(38)))
		o.Delta = math.Pow(10, -random.Float64()*18)
		o.Contributions = 1 + random.IntN(20)
		if o.Validate() != nil {
			continue
		}
		o = o.withDefaults()
		for _, units := range []int64{1, 2, 7, 1000, 1 << 30, 1 << 50} {
			if _, err := o.keep(Group{Units: units}); err != nil {
				t.Fatalf("selection %v, delta %v, %d units: %v", o.Selection, o.Delta, units, err)
			}
		}
	}
}

func TestEpsilonIsNeverRoundedUp(t *testing.T) {
	for _, e := range []dp.Epsilon{1, 3, 1e8, 7e8, 1e9, 999_999_999_999} {
		exact, got := big.NewRat(int64(e), 1e9), new(big.Rat).SetFloat64(below(e))
		if got.Cmp(exact) > 0 || new(big.Rat).SetFloat64(math.Nextafter(below(e), 1e9)).Cmp(exact) <= 0 {
			t.Errorf("%v becomes %v", e, below(e))
		}
	}
}
