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
	f("joint:sharp", "joint:sharp")
	f("joint:sharp,power=1,arity=10", "joint:arity=10,power=1,sharp")
	f("tree", "tree")
	f("tree:branching=16,power=0.5", "tree")
	f("tree:branching=8", "tree:branching=8")
	f("tree:bins=100,height=3", "tree:height=3,bins=100")
	f("tree:power=1", "tree:power=1")
	f("tree:power=-0", "tree:power=0")
	f("tree:smooth", "tree:smooth")
	f("tree:power=0,smooth", "tree:smooth")
	f("tree:smooth,power=0.5,branching=16", "tree:power=0.5,smooth")
	f("density", "density")
	f("density:bins=20", "density:bins=20")
	f("adaptive", "adaptive")
	f("adaptive:power=1", "adaptive")
	f("adaptive:bins=16,rounds=3,power=0", "adaptive:rounds=3,bins=16,power=0")
	f("adaptive:spikes", "adaptive:spikes")
	f("adaptive:spikes,power=0,rounds=2,bins=9", "adaptive:rounds=2,bins=9,power=0,spikes")
	f("slice", "slice")
	f("slice:width=100", "slice:width=100")
}

func TestWrongEstimatorsNameTheField(t *testing.T) {
	for s, want := range map[string]string{
		"median":                       `"median": there are`,
		"independent:arity=2":          "there are",
		"recursive:":                   "there are",
		"auto:n=3":                     "there are",
		"tree:":                        "there are",
		"tree:branching=1":             `branching "1"`,
		"tree:height=1":                `height "1"`,
		"tree:bins=1":                  `bins "1"`,
		"density:bins":                 "bins has no value",
		"slice:width=0":                `width "0"`,
		"density:branching=3":          "there are",
		"adaptive:rounds=17":           `rounds "17"`,
		"adaptive:bins=1025":           `bins "1025"`,
		"adaptive:spikes=1":            "there are",
		"adaptive:spikes,spikes":       "spikes stands twice",
		"tree:spikes":                  "there are",
		"recursive:sharp":              "there are",
		"joint:sharp=1":                "there are",
		"recursive:spikes":             "there are",
		"tree:branching=x":             `branching "x"`,
		"tree:arity=2":                 "there are",
		"recursive:arity=1":            `arity "1"`,
		"recursive:arity=65":           `arity "65"`,
		"recursive:arity":              "arity has no value",
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
	f("slice", 32e9, 0.3, 0.6)
	f("joint", 8e9, 0.3, 0.6)
	f("joint:sharp", 32e9, 0.3, 0.6)
	f("joint:arity=2", 4e9, 0.3, 0.6)
	f("joint:sharp,arity=2", 16e9, 0.3, 0.6)
	f("recursive", 4e9, 0.25, 0.5, 0.75)
	f("recursive:arity=4", 2666666667, 0.25, 0.5, 0.75)
	f("recursive:power=1", int64(math.Ceil(8e9*5/9)), 0.25, 0.5, 0.75)
}

// Sharp draws are of buckets and for a pure ε; "auto" tries them instead of others where that is small.
func TestSharpDrawsAreRefusedWhereThereAreNone(t *testing.T) {
	g := linear(t, 0, 100, 64)
	for _, x := range []struct {
		estimator, want string
		o               Options
	}{
		{"joint:sharp", "", Options{Epsilon: 9e8}},
		{"joint:sharp", "", Options{Epsilon: 1e9}},
		{"joint:sharp,arity=2", "", Options{Epsilon: 1e9, Neighbours: ReplaceOne, Contributions: 3, Confidence: 0.9}},
		{"joint:sharp", "rho 1", Options{NanoRho: 1e9}},
		{"joint:sharp", "joint:sharp draws buckets", Options{Epsilon: 1e9, Representative: Within}},
		{"joint:sharp,draws=2", "with draws there are none", Options{Epsilon: 1e9}},
	} {
		o := x.o
		o.Quantiles, o.Records = []float64{0.25, 0.5, 0.75}, 1000
		var err error
		if o.Estimator, err = ParseEstimator(x.estimator); err != nil {
			t.Fatal(err)
		}
		if _, err := Release(sketch.NewBinned(g), o); (err == nil) != (x.want == "") || err != nil && !(errors.Is(err, ErrOptions) && strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s with %+v: %v, want %q", x.estimator, x.o, err, x.want)
		}
		all, err := o.Choose(g)
		if err != nil {
			t.Fatal(err)
		}
		joint := map[string]bool{}
		for _, p := range all {
			joint[p.Estimator.String()] = true
		}
		if sharp := x.o.NanoRho == 0 && x.o.Representative == Lower && (x.o.Epsilon < 1e9 || x.o.Contributions > 1); joint["joint:sharp"] != sharp || joint["joint"] == sharp {
			t.Errorf("%+v: auto compares %+v", x.o, all)
		}
	}
}

// With a ρ, draws spend all of it and no more, and what they cost in ε is what they add up to on the dearest path; Gaussian noise has no ε.
func TestCostsOfConcentratedReleases(t *testing.T) {
	f := func(estimator string, o Options, wantEpsilon Epsilon) {
		t.Helper()
		var err error
		if o.Estimator, err = ParseEstimator(estimator); err != nil {
			t.Fatal(err)
		}
		o.NanoRho = 125_000_000 // ε = 1 for a single draw
		epsilon, rho := Cost(o)
		if math.Abs(float64(epsilon-wantEpsilon)) > 10 || epsilon > 0 != (wantEpsilon > 0) || rho != o.NanoRho {
			t.Errorf("%s: ε %v and ρ %d billionths, want ε %v", estimator, epsilon, rho, wantEpsilon)
		}
	}
	three := []float64{0.25, 0.5, 0.75}
	root2, root3 := Epsilon(1414213562), Epsilon(1732050807)
	f("recursive", Options{Quantiles: three[:1]}, 1e9)
	f("recursive", Options{Quantiles: three}, root2)
	f("independent", Options{Quantiles: three}, root3)
	f("recursive:arity=4", Options{Quantiles: three}, root3)
	f("recursive", Options{Quantiles: three, Neighbours: ReplaceOne}, root2)
	f("tree", Options{Quantiles: three}, 0)
	f("density", Options{Quantiles: three}, 0)
	f("adaptive", Options{Quantiles: three}, 0)
	f("recursive", Options{Quantiles: three, Confidence: 0.9}, 0)
	for _, bad := range []Options{{Quantiles: three, Epsilon: 1, NanoRho: 1}, {Quantiles: three, NanoRho: -1}, {Quantiles: three, NanoRho: 1e12 + 1}} {
		if err := bad.Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "rho") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// Slices answer quantiles that are far enough apart for as many records as are expected, and refuse others by name, whatever the data and before any is read.
func TestSlicesNeedRoom(t *testing.T) {
	e, err := ParseEstimator("slice")
	if err != nil {
		t.Fatal(err)
	}
	g := linear(t, 0, 100, 1000)
	s := sketch.NewBinned(g)
	for i := range 1000 {
		if err := s.AddBucket(i+1, 20); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Quantiles: []float64{0.9, 0.5, 0.1}, Epsilon: 10e9, Estimator: e, Records: 20_000}
	r, err := Release(s, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{90, 50, 10} {
		if got := r.Quantiles[i].Value; math.Abs(got-want) > 1 {
			t.Errorf("quantile %v is %v", o.Quantiles[i], got)
		}
	}
	if epsilon, rho := Cost(o); epsilon != 10e9 || rho != 50e9 {
		t.Errorf("it costs %v and %d", epsilon, rho)
	}
	o.Quantiles, o.Records = []float64{0.5, 0.501, 0.9}, 0
	for _, data := range []*sketch.Binned{s, sketch.NewBinned(g)} {
		if _, err := Release(data, o); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "0.5 and 0.501") {
			t.Errorf("quantiles a thousandth apart: %v", err)
		}
	}
	if err := o.ValidateOn(g); !errors.Is(err, ErrOptions) {
		t.Errorf("quantiles a thousandth apart: %v", err)
	}
	o.Epsilon, o.NanoRho = 0, 1e9
	if err := o.Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "rho 1") {
		t.Errorf("slices of rho: %v", err)
	}
}

// A rateSampler notes the rates of choices and the noise of counts.
type rateSampler struct {
	exact.NoiseSampler
	rates, scales []string
}

func (s *rateSampler) Chooser(rate *exact.Rate, items []exact.Item) exact.Chooser {
	s.rates = append(s.rates, rate.Rat().RatString())
	return s.NoiseSampler.Chooser(rate, items)
}

func (s *rateSampler) Noisy(count uint64, noise exact.Noise) int64 {
	if l, ok := noise.(*exact.Laplace); ok {
		s.scales = append(s.scales, l.Scale().RatString())
	}
	return s.NoiseSampler.Noisy(count, noise)
}

// What a draw spends is decided by the options alone, and all of it.
func TestSlicesSpendWhatOptionsSay(t *testing.T) {
	e, err := ParseEstimator("slice")
	if err != nil {
		t.Fatal(err)
	}
	g := linear(t, 0, 100, 1000)
	spent := func(records uint64, o Options) *rateSampler {
		t.Helper()
		data := sketch.NewBinned(g)
		for i := range 1000 {
			if err := data.AddBucket(i+1, records/1000); err != nil {
				t.Fatal(err)
			}
		}
		o.Quantiles, o.Estimator, o.Records = []float64{0.3, 0.7}, e, 100_000
		s := &rateSampler{NoiseSampler: exact.New()}
		if _, err := release(data, o, s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := spent(100_000, Options{Epsilon: 4e9})
	f := func(name string, got *rateSampler) {
		t.Helper()
		if !slices.Equal(got.rates[:2], want.rates[:2]) || !slices.Equal(got.scales[:2], want.scales[:2]) {
			t.Errorf("%s: rates %v and scales %v, want %v and %v", name, got.rates[:2], got.scales[:2], want.rates, want.scales)
		}
	}
	f("few records", spent(1000, Options{Epsilon: 4e9}))
	f("replace-one with twice the ε", spent(100_000, Options{Epsilon: 8e9, Neighbours: ReplaceOne}))
	f("measured with half of twice the ε", spent(100_000, Options{Epsilon: 8e9, Confidence: 0.9, ConfidenceShare: 0.5}))
	// With c records everything but the width's part is divided by c.
	if got := spent(100_000, Options{Epsilon: 4e9, Contributions: 2}); got.scales[0] == want.scales[0] || got.rates[0] == want.rates[0] {
		t.Errorf("two contributions: rates %v and scales %v, the same as of one", got.rates, got.scales)
	}
}

// Bins are runs of buckets of nearly equal weight, and a cut of a bin is as far into its weight.
func TestBinsDivideThePrior(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		weights := make([]uint64, 3+random.IntN(60))
		total := uint64(0)
		for i := range weights {
			weights[i] = 1 + random.Uint64N(1<<random.IntN(50))
			total += weights[i]
		}
		n := random.IntN(len(weights) + 3)
		b := newBins(weights, n)
		if n == 0 || n >= len(weights) {
			if b.len() != len(weights) {
				t.Fatalf("%d bins of %d buckets where %d were asked for", b.len(), len(weights), n)
			}
		} else if b.len() > max(n, 2) || b.len() < 2 {
			t.Fatalf("%d bins where %d were asked for", b.len(), n)
		}
		last := uint64(0)
		for bin := range b.len() {
			weight, heaviest := uint64(0), uint64(0)
			for i := b.starts[bin]; i < b.starts[bin+1]; i++ {
				weight, heaviest = weight+weights[i], max(heaviest, weights[i])
				if b.of(i) != bin {
					t.Fatalf("bucket %d is in bin %d, not %d", i, b.of(i), bin)
				}
			}
			if n > 2 && weight > total/uint64(n)+heaviest+1 {
				t.Fatalf("bin %d of %d weighs %d of %d, its heaviest bucket %d", bin, n, weight, total, heaviest)
			}
			if got := b.cut(uint64(bin) << levels); got != uint64(b.starts[bin])<<levels {
				t.Fatalf("bin %d begins at %d", bin, got>>levels)
			}
			for range 20 {
				part := random.Uint64N(1 << levels)
				got := b.cut(uint64(bin)<<levels + part)
				at := float64(b.before[got>>levels]-b.before[b.starts[bin]]) + float64(weights[got>>levels])*float64(got&(1<<levels-1))/(1<<levels)
				if want := float64(weight) * float64(part) / (1 << levels); math.Abs(at-want) > 1e-6*float64(weight) {
					t.Fatalf("a cut %v into weight %v is at %v", want, weight, at)
				}
			}
			if got := b.cut(uint64(bin)<<levels + 1<<levels - 1); got < last || b.starts[bin+1] <= int(got>>levels) {
				t.Fatalf("the end of bin %d is in bucket %d", bin, got>>levels)
			} else {
				last = got
			}
		}
		if got := b.cut(uint64(b.len()) << levels); got != uint64(len(weights))<<levels {
			t.Fatalf("the top is %d", got>>levels)
		}
	}
}

func TestEveryEstimatorAnswersInOrder(t *testing.T) {
	s := sketch.NewBinned(linear(t, 0, 100, 1000))
	for i := range 1000 {
		if err := s.AddBucket(i+1, 10); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"recursive", "recursive:arity=3,edges", "recursive:power=1", "independent", "tree", "tree:branching=3", "tree:height=3,power=1,bins=100", "tree:smooth", "density:bins=50", "adaptive", "adaptive:rounds=5,bins=20", "adaptive:spikes"} {
		e, err := ParseEstimator(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []Options{{Epsilon: 50e9}, {NanoRho: 100e9}, {NanoRho: 400e9, Neighbours: ReplaceOne}} {
			o.Quantiles, o.Estimator = []float64{0.9, 0.1, 0.5, 0.5, 0.3}, e
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

// The choice is made by simulation, without data: joint draws for few quantiles, a tree for very many, and the same each time.
func TestAutoChoosesWithoutData(t *testing.T) {
	g := linear(t, 0, 100, 4096)
	f := func(m int, want string) {
		t.Helper()
		var qs []float64
		for i := 1; i <= m; i++ {
			qs = append(qs, math.Round(float64(i)/float64(m+1)*1e6)/1e6)
		}
		o := Options{Quantiles: qs, Epsilon: 1e8, Records: 100_000}
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
			if first[i].badness() < first[i-1].badness() {
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
	f(3, "joint")
	f(500, "tree")
	if _, err := (Options{Quantiles: []float64{0.5}, Epsilon: 1e9, Records: 1 << 41}).Choose(g); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "records 2199023255552") {
		t.Errorf("too many records: %v", err)
	}
}

// Intervals of rank errors hold for all answers of a release at once, as often as they say at least, and little more often.
func TestRankErrorsAreBoundedWithTheirConfidence(t *testing.T) {
	g := linear(t, 0, 100, 256)
	s := sketch.NewBinned(g)
	before := make([]float64, g.Len()+1)
	for i := range g.Len() {
		n := 20 + i%50
		if i == 77 {
			n = 3000
		}
		if err := s.AddBucket(i, uint64(n)); err != nil {
			t.Fatal(err)
		}
		before[i+1] = before[i] + float64(n)
	}
	f := func(estimator string, releases int, o Options) {
		t.Helper()
		var err error
		if o.Estimator, err = ParseEstimator(estimator); err != nil {
			t.Fatal(err)
		}
		o.Quantiles = []float64{0.05, 0.25, 0.5, 0.75, 0.95}
		held := 0
		for range releases {
			r, err := Release(s, o)
			if err != nil {
				t.Fatal(err)
			}
			good := true
			for _, q := range r.Quantiles {
				b := g.Index(q.Lower)
				target := q.Q * before[g.Len()]
				if q.RankError.Low > q.RankError.High || before[b]-target > q.RankError.High+1e-6 || before[b+1]-target < q.RankError.Low-1e-6 {
					good = false
				}
			}
			if good {
				held++
			}
		}
		// Three standard deviations.
		least := o.Confidence*float64(releases) - 3*math.Sqrt(float64(releases)*o.Confidence*(1-o.Confidence))
		if float64(held) < least {
			t.Errorf("%s: the intervals held in %d of %d releases, fewer than %.0f", estimator, held, releases, least)
		}
		t.Logf("%s: the intervals held in %d of %d releases", estimator, held, releases)
	}
	f("tree", 300, Options{Epsilon: 1e9, Confidence: 0.9})
	f("tree:bins=40", 300, Options{Epsilon: 1e9, Confidence: 0.9})
	f("density:bins=30", 300, Options{NanoRho: 1e7, Confidence: 0.9})
	// Whatever a forecast makes of the answers.
	for _, at := range [][]float64{{0, 256}, {60, 90}, {128, 128}, {0, 70, 70, 256}} {
		forecast := &Curve{At: at, Variance: 1e-9}
		f("tree", 100, Options{Epsilon: 1e7, Confidence: 0.9, Forecast: forecast})
		f("tree:bins=40", 100, Options{Epsilon: 1e7, Confidence: 0.9, Forecast: forecast})
		f("density:bins=30", 100, Options{NanoRho: 1e4, Confidence: 0.9, Forecast: forecast})
	}
	f("adaptive", 300, Options{Epsilon: 1e9, Confidence: 0.9})
	f("adaptive:bins=30", 300, Options{NanoRho: 1e7, Confidence: 0.9})
	f("adaptive:spikes", 300, Options{Epsilon: 1e9, Confidence: 0.9})
	f("recursive", 2000, Options{Epsilon: 1e9, Confidence: 0.95})
	f("joint", 400, Options{Epsilon: 1e9, Confidence: 0.9})
	f("joint:sharp", 400, Options{Epsilon: 1e9, Confidence: 0.9})
	f("joint:draws=2", 300, Options{NanoRho: 1e7, Confidence: 0.9, Contributions: 2})
	f("joint", 300, Options{Epsilon: 1e9, Confidence: 0.9, Representative: Within})
	f("slice:width=200", 300, Options{Epsilon: 2e9, Confidence: 0.9, Records: 14_000})
	f("independent", 300, Options{Epsilon: 1e9, Confidence: 0.9, ConfidenceShare: 0.5, Neighbours: ReplaceOne})
	f("recursive:arity=3", 300, Options{NanoRho: 1e7, Confidence: 0.9, Contributions: 3})
	half := []float64{0.5}
	for _, bad := range []Options{
		{Quantiles: half, Epsilon: 1e9, Confidence: 1},
		{Quantiles: half, Epsilon: 1e9, Confidence: math.NaN()},
		{Quantiles: half, Epsilon: 1e9, ConfidenceShare: 0.1},
		{Quantiles: half, Epsilon: 1e9, Confidence: 0.9, ConfidenceShare: 1},
		{Quantiles: half, Epsilon: 1e9, Confidence: 0.9, ConfidenceShare: math.NaN()},
	} {
		if err := bad.Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "confidence") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := (Options{Quantiles: half, Epsilon: 9, Confidence: 0.9}).Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "too little") {
		t.Errorf("nine billionths in two parts: %v", err)
	}
}

// A noiseless sampler counts exactly.
type noiselessSampler struct{ exact.NoiseSampler }

func (noiselessSampler) Noisy(n uint64, _ exact.Noise) int64 { return int64(n) }

// What is measured of an answer that is a bucket are the ranks of its ends, and what is stated the one that is nearest to the quantile's: 0 in a bucket that has it, however many records that has.
func TestRankErrorsOfBucketsAreThoseOfTheirEnds(t *testing.T) {
	g := linear(t, 0, 10, 10)
	s := sketch.NewBinned(g)
	counts := []uint64{0, 5, 0, 100, 7, 0, 8, 80, 0, 0, 0, 0}
	for b, n := range counts {
		if n > 0 {
			if err := s.AddBucket(b, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	o := Options{Epsilon: 1e9, Confidence: 0.9}
	quantiles := []int64{1, 100_000_000, 500_000_000, 510_000_000, 900_000_000, 999_999_999}
	for range 100 {
		var cuts []uint64
		for range quantiles {
			cuts = append(cuts, rand.Uint64N(uint64(g.Len())<<levels+1))
		}
		cuts[rand.IntN(len(cuts))] = uint64(g.Len()) << levels
		slices.Sort(cuts)
		for j, i := range o.measureBuckets(s, quantiles, cuts, noiselessSampler{}) {
			before, with := 0., 0.
			for b, n := range counts {
				if at := int(cuts[j] >> levels); b < at {
					before += float64(n)
				} else if b == at {
					with = float64(n)
				}
			}
			target := float64(quantiles[j]) / 1e9 * 200
			want := max(before-target, 0) + min(before+with-target, 0)
			if math.Abs(i.Low-want) > 1e-6 || math.Abs(i.High-want) > 1e-6 {
				t.Errorf("cut at %v buckets, quantile %v: %v, want %v", float64(cuts[j])/(1<<levels), float64(quantiles[j])/1e9, i, want)
			}
		}
	}
	// With noise, which the 100 records of a bucket do not add to.
	o.Quantiles, o.Epsilon = []float64{0.3}, 10e9
	var err error
	if o.Estimator, err = ParseEstimator("joint"); err != nil {
		t.Fatal(err)
	}
	r, err := Release(s, o)
	if err != nil {
		t.Fatal(err)
	}
	if i := r.Quantiles[0].RankError; i.High-i.Low > 30 {
		t.Errorf("rank error within %v for a quantile that is deep in a bucket", i)
	}
}

// Intervals are as wide as the noise of the counts between answers makes them, and no wider than twice what would do.
func TestMeasuredRankErrorsAreNotMuchTooWide(t *testing.T) {
	between := []uint64{1000, 200, 3000, 0, 77, 500, 10, 40, 900, 100}
	var qs []int64
	for i := range len(between) - 1 {
		qs = append(qs, int64(i+1)*100_000_000)
	}
	for _, o := range []Options{
		{Epsilon: 1e9, Confidence: 0.95},
		{NanoRho: 1e7, Confidence: 0.95, ConfidenceShare: 0.3},
	} {
		n, sampler := 0.0, exact.New()
		for _, c := range between {
			n += float64(c)
		}
		var needed []float64
		width := 0.0
		const releases = 400
		for range releases {
			worst, below := 0.0, 0.0
			for j, i := range o.measure(qs, between, sampler) {
				below += float64(between[j])
				worst = max(worst, math.Abs((i.Low+i.High)/2-(below-float64(qs[j])/1e9*n)))
				width = max(width, (i.High-i.Low)/2)
			}
			needed = append(needed, worst)
		}
		slices.Sort(needed)
		enough := needed[releases*95/100]
		t.Logf("half of the widest interval is %.1f records, where %.1f would do", width, enough)
		if width > 2*enough {
			t.Errorf("half of the widest interval is %.1f records, where %.1f would do", width, enough)
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
	if err := o.Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "too little") {
		t.Errorf("a billionth: %v", err)
	}
	o.Neighbours = 2
	if err := o.Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "neighbours 2") {
		t.Errorf("other neighbours: %v", err)
	}
}

// Adaptive histograms have as many bins and rounds as suit the records and find single buckets, and what they cost is all of the budget, whatever those are.
func TestAdaptiveHistogramsSuitTheRecords(t *testing.T) {
	f := func(records uint64, buckets, bins, rounds int) {
		t.Helper()
		o := Options{Quantiles: []float64{0.5}, Epsilon: 1e8, Records: records, Estimator: Estimator{kind: adaptiveKind, power: 1}}
		if p := o.histograms(buckets); p.Bins != bins || p.Rounds != rounds {
			t.Errorf("%d records on %d buckets: %d bins in %d rounds, want %d in %d", records, buckets, p.Bins, p.Rounds, bins, rounds)
		}
		if epsilon, rho := Cost(o); epsilon != o.Epsilon || rho != 5e6 {
			t.Errorf("costs ε %v and ρ %v, want 0.1 and 0.005", epsilon, Epsilon(rho))
		}
	}
	f(1000, 128, 11, 3)
	f(1000, 8192, 8, 4)
	f(10_000, 8192, 17, 4)
	f(100_000, 8192, 51, 3)
	f(1e12, 8192, 1024, 2)
	f(1, 8192, 4, 4)
	f(1, 1, 4, 2)
}

// Joint draws are of buckets where an answer is its bucket's lower edge, which finds a crowded one that a quantile lies just inside of, and of cuts where the position in a bucket matters: to the answer, or to quantiles read from
// lines between those drawn.
func TestJointDrawsAreOfBucketsWhereOnlyTheseMatter(t *testing.T) {
	crowded := sketch.NewBinned(linear(t, 0, 128, 128))
	// 80 records before a quarter of all a bucket with nearly half begins, and next to nothing is in those before it.
	for b, n := range map[int]uint64{20: 2420, 40: 4600, 60: 2980} {
		if err := crowded.AddBucket(crowded.Grid().Index(float64(b)+0.5), n); err != nil {
			t.Fatal(err)
		}
	}
	quarters := Options{Quantiles: []float64{0.25, 0.5, 0.75}, Epsilon: 2e8}
	var err error
	if quarters.Estimator, err = ParseEstimator("joint"); err != nil {
		t.Fatal(err)
	}
	missed := func(rep Representative) (n int) {
		o := quarters
		o.Representative = rep
		for range 400 {
			r, err := Release(crowded, o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Quantiles[0].Lower != 40 {
				n++
			}
		}
		return n
	}
	buckets, cuts := missed(Lower), missed(Within)
	if buckets > 6 || cuts < 12 {
		t.Errorf("a crowded bucket is missed in %d of 400 releases as a bucket, and in %d as a cut", buckets, cuts)
	}

	// Of 19 quantiles of even records in four buckets five are drawn.
	even := sketch.NewBinned(linear(t, 0, 4, 4))
	for b := range 4 {
		for range 2500 {
			even.Add(float64(b) + 0.5)
		}
	}
	o := Options{Epsilon: 1e9}
	if o.Estimator, err = ParseEstimator("joint:draws=5"); err != nil {
		t.Fatal(err)
	}
	for i := range 19 {
		o.Quantiles = append(o.Quantiles, float64(i+1)/20)
	}
	wrong := 0
	for range 50 {
		r, err := Release(even, o)
		if err != nil {
			t.Fatal(err)
		}
		for i, q := range r.Quantiles {
			if (i+1)%5 != 0 && q.Lower != float64((i+1)/5) { // those at the edges have two right buckets
				wrong++
			}
		}
	}
	if wrong > 80 {
		t.Errorf("%d of 800 quantiles between others are in the wrong bucket", wrong)
	}
}
