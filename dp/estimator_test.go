package dp

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/sketch"
)

func TestEstimatorsPrintAsTheyAreRead(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		e, err := ParseEstimator(s)
		if err != nil || e.String() != want {
			t.Errorf("%q is %q, %v, want %q", s, e, err, want)
		}
		if again, err := ParseEstimator(e.String()); err != nil || again != e {
			t.Errorf("%q is %+v, and printed and read %+v, %v", s, e, again, err)
		}
	}
	f("", "recursive")
	f("recursive", "recursive")
	f("recursive:arity=2", "recursive")
	f("recursive:arity=4", "recursive:arity=4")
	f("recursive:edges,power=0.50,arity=3", "recursive:arity=3,power=0.5,edges")
	f("recursive:power=-1", "recursive:power=-1")
	f("independent", "independent")
	f("auto", "auto")
	f("tree", "tree")
	f("tree:branching=8", "tree")
	f("tree:branching=16", "tree:branching=16")
}

func TestWrongEstimatorsNameTheField(t *testing.T) {
	for s, want := range map[string]string{
		"median":                       `"median": there are`,
		"independent:arity=2":          "there are",
		"recursive:":                   "there are",
		"auto:n=3":                     "there are",
		"tree:":                        "there are",
		"tree:branching=1":             `branching "1"`,
		"tree:branching=x":             `branching "x"`,
		"tree:arity=2":                 "there are",
		"recursive:arity=1":            `arity "1"`,
		"recursive:arity=65":           `arity "65"`,
		"recursive:arity":              `arity ""`,
		"recursive:power=NaN":          `power "NaN"`,
		"recursive:power=5":            `power "5"`,
		"recursive:edges=1":            "there are",
		"recursive:edges,edges":        "edges stands twice",
		"recursive:arity=3,breadth=12": "there are",
	} {
		if _, err := ParseEstimator(s); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", s, err, want)
		}
	}
}

// The dearest path: m draws of ε/m together spend ε, and ε²/(8m) of ρ; a deeper tree spends its shares' squares.
func TestCostsOfEstimators(t *testing.T) {
	f := func(estimator string, want int64, quantiles ...float64) {
		t.Helper()
		e, err := ParseEstimator(estimator)
		if err != nil {
			t.Fatal(err)
		}
		if epsilon, rho := Cost(Options{Quantiles: quantiles, Epsilon: 8e9, Estimator: e}); epsilon != 8e9 || rho != want {
			t.Errorf("%s: ε %v and ρ %d billionths, want %d", estimator, epsilon, rho, want)
		}
	}
	f("independent", 4e9, 0.3, 0.6)
	f("tree", 32e9, 0.3, 0.6)
	f("recursive", 4e9, 0.25, 0.5, 0.75)
	f("recursive:arity=4", 2666666667, 0.25, 0.5, 0.75)
	f("recursive:power=1", int64(math.Ceil(8e9*5/9)), 0.25, 0.5, 0.75)
}

func TestEveryEstimatorAnswersInOrder(t *testing.T) {
	s := sketch.NewBinned(linear(t, 0, 100, 1000))
	for i := range 1000 {
		if err := s.AddBucket(i+1, 10); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"recursive", "recursive:arity=3,edges", "recursive:power=1", "independent", "tree", "tree:branching=3"} {
		e, err := ParseEstimator(name)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Quantiles: []float64{0.9, 0.1, 0.5, 0.5, 0.3}, Epsilon: 50e9, Estimator: e}
		r, err := Release(s, o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Estimator != name {
			t.Errorf("%s says that it is %s", name, r.Estimator)
		}
		for i, want := range []float64{90, 10, 50, 50, 30} {
			if got := r.Quantiles[i].Value; math.Abs(got-want) > 3 {
				t.Errorf("%s: quantile %v is %v, want nearly %v", name, o.Quantiles[i], got, want)
			}
		}
	}
}

func TestIndependentQuantilesAreLimited(t *testing.T) {
	e, err := ParseEstimator("independent")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Quantiles: percentiles(), Epsilon: 1e9, Estimator: e}
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	o.Quantiles = append(o.Quantiles, 0.001, 0.002)
	if err := o.Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "101 quantiles") {
		t.Errorf("101 independent quantiles: %v", err)
	}
}

// What a tree cannot do is refused before it is paid for, whatever the grid.
func TestTreesThatCannotBeAreRefused(t *testing.T) {
	e, err := ParseEstimator("tree:branching=2")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{
		{Quantiles: []float64{0.5}, Epsilon: 10, Estimator: e},
		{Quantiles: []float64{0.5}, Epsilon: 1000, Contributions: 1 << 40, Estimator: e},
	} {
		if err := o.Validate(); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	o := Options{Quantiles: []float64{0.5}, Epsilon: 1e9, Contributions: 1 << 20, Estimator: e}
	if err := o.Validate(); err != nil {
		t.Errorf("%+v: %v", o, err)
	}
	r, err := Release(sketch.NewBinned(linear(t, 0, 1, 3)), o)
	if err != nil || r.Prior != "none" || len(r.Quantiles) != 1 {
		t.Errorf("a tree of nothing: %+v, %v", r, err)
	}
}

// The choice is made by simulation, without data: the recursion for few quantiles, a tree for very many, and the same each time.
func TestAutoChoosesWithoutData(t *testing.T) {
	g := linear(t, 0, 100, 4096)
	f := func(m int, want string) {
		t.Helper()
		var qs []float64
		for i := 1; i <= m; i++ {
			qs = append(qs, math.Round(float64(i)/float64(m+1)*1e6)/1e6)
		}
		o := Options{Quantiles: qs, Epsilon: 1e9, Records: 100_000}
		first, err := o.Choose(g)
		if err != nil {
			t.Fatal(err)
		}
		again, err := o.Choose(g)
		if err != nil || !slices.Equal(first, again) {
			t.Errorf("%d quantiles: %v, then %v, %v", m, first, again, err)
		}
		if got := first[0].Estimator.String(); !strings.HasPrefix(got, want) || first[0].Mean <= 0 || first[0].Max < first[0].Mean {
			t.Errorf("%d quantiles: %v is chosen, want %s: %+v", m, got, want, first)
		}
		for i := 1; i < len(first); i++ {
			if first[i].Mean*first[i].Max < first[i-1].Mean*first[i-1].Max {
				t.Errorf("%d quantiles: %v comes after %v", m, first[i], first[i-1])
			}
		}
		if o.Estimator, err = ParseEstimator("auto"); err != nil {
			t.Fatal(err)
		}
		r, err := Release(sketch.NewBinned(g), o)
		if err != nil || r.Estimator != first[0].Estimator.String() {
			t.Errorf("%d quantiles: released by %+v, %v", m, r, err)
		}
	}
	f(3, "recursive")
	f(500, "tree")
	if _, err := (Options{Quantiles: []float64{0.5}, Epsilon: 1e9, Records: 1 << 41}).Choose(g); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "records 2199023255552") {
		t.Errorf("too many records: %v", err)
	}
}

// The bounds of a tree's rank errors hold for all answers of a release at once, as often as they say at least.
func TestRankErrorsAreBoundedWithTheirConfidence(t *testing.T) {
	g := linear(t, 0, 100, 256)
	s := sketch.NewBinned(g)
	for i := range 256 {
		if err := s.AddBucket(i+1, uint64(20+i%50)); err != nil {
			t.Fatal(err)
		}
	}
	e, err := ParseEstimator("tree")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Quantiles: []float64{0.05, 0.25, 0.5, 0.75, 0.95}, Epsilon: 1e9, Estimator: e, Confidence: 0.9}
	const releases = 300
	held, bound := 0, 0.0
	var needed []float64
	for range releases {
		r, err := Release(s, o)
		if err != nil {
			t.Fatal(err)
		}
		worst := 0.0
		for _, q := range r.Quantiles {
			before, upTo, n := 0.0, 0.0, float64(s.Count())
			for i, c := range s.All() {
				if _, upper := g.Bounds(i); upper <= q.Lower {
					before += float64(c)
				}
				if lower, _ := g.Bounds(i); lower <= q.Lower {
					upTo += float64(c)
				}
			}
			off := max(0, before-q.Q*n, q.Q*n-upTo)
			worst = max(worst, off/(*q.RankError))
			needed = append(needed, off)
			bound += *q.RankError / float64(releases*len(r.Quantiles))
		}
		if worst <= 1 {
			held++
		}
	}
	if held < releases*84/100 {
		t.Errorf("the bounds held in %d of %d releases", held, releases)
	}
	slices.Sort(needed)
	t.Logf("the bounds held in %d of %d releases; they are %.0f records, and 98 %% of the errors are below %.0f", held, releases, bound, needed[len(needed)*98/100])
	for _, bad := range []Options{
		{Quantiles: o.Quantiles, Epsilon: 1e9, Confidence: 0.9},
		{Quantiles: o.Quantiles, Epsilon: 1e9, Estimator: e, Confidence: 1},
		{Quantiles: o.Quantiles, Epsilon: 1e9, Estimator: e, Confidence: math.NaN()},
	} {
		if err := bad.Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "confidence") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// Against replacing, half of ε answers: the answers have the law of half the ε against adding and removing, and the cost is the whole.
func TestReplaceOneSpendsHalf(t *testing.T) {
	s := sketch.NewBinned(linear(t, 0, 100, 100))
	for i := range 100 {
		s.Add(float64(i))
	}
	o := Options{Quantiles: []float64{0.25, 0.5}, Epsilon: 2e9, Neighbours: ReplaceOne}
	half := Options{Quantiles: o.Quantiles, Epsilon: 1e9}
	same := func(o Options) *Result {
		r, err := release(s, o, exact.NewFrom(rand.NewChaCha8([32]byte{7})))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a, b := same(o), same(half)
	if !reflect.DeepEqual(a.Quantiles, b.Quantiles) || a.Neighbours != "replace-one" || b.Neighbours != "add-remove" || a.Epsilon != 2e9 || a.NanoRho != 4*b.NanoRho {
		t.Errorf("%+v, and with half of it %+v", a, b)
	}
	o.Epsilon = 1
	if err := o.Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "halve") {
		t.Errorf("a billionth: %v", err)
	}
	o.Neighbours = 2
	if err := o.Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "neighbours 2") {
		t.Errorf("other neighbours: %v", err)
	}
}
