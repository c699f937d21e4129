package dp

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/tree"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// curveOf returns the curve of a function that returns where a share is reached.
func curveOf(at func(share float64) float64) Curve {
	var c Curve
	for k := range curveSteps + 1 {
		c.At = append(c.At, at(float64(k)/curveSteps))
	}
	return c
}

func TestCurvesAreReadBothWays(t *testing.T) {
	c := curveOf(func(share float64) float64 { return 10 + 50*share*share })
	for _, share := range []float64{0, 0.1, 0.5, 0.777, 1} {
		if x := c.Share(c.Position(share)); math.Abs(x-share) > 1e-12 {
			t.Errorf("share %v is read back as %v", share, x)
		}
	}
	if c.Share(9) != 0 || c.Share(61) != 1 {
		t.Errorf("outside a curve shares are %v and %v", c.Share(9), c.Share(61))
	}
	later := curveOf(func(share float64) float64 { return 40 + 50*share*share })
	mean := c.Mean(later, 0.25)
	if err := mean.Check(100); err != nil {
		t.Fatal(err)
	}
	for at := range 100 {
		if x, want := mean.Share(float64(at)), 0.75*c.Share(float64(at))+0.25*later.Share(float64(at)); math.Abs(x-want) > 0.005 {
			t.Errorf("the mean's share at %d is %v, not %v", at, x, want)
		}
	}
	if x := c.Apart(c); x > 1e-20 {
		t.Errorf("a curve is %v apart from itself", x)
	}
	if x := c.Apart(later); x < 0.1 {
		t.Errorf("curves that hardly meet are %v apart", x)
	}
	// Of any curves the mean is one.
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		drawn := func() (c Curve) {
			for range 2 + r.IntN(10) {
				c.At = append(c.At, float64(r.IntN(12))+0.5*float64(r.IntN(2)))
			}
			slices.Sort(c.At)
			return c
		}
		a, b := drawn(), drawn()
		if err := a.Mean(b, r.Float64()).Check(13); err != nil {
			t.Fatalf("the mean of %v and %v: %v", a, b, err)
		}
	}
}

func TestWrongForecastsAreNamed(t *testing.T) {
	g := linear(t, 0, 100, 100)
	for _, c := range []struct {
		estimator string
		forecast  Curve
		want      string
	}{
		{"recursive", Curve{}, "recursive"},
		{"adaptive", Curve{}, "adaptive"},
		{"tree", Curve{At: []float64{1}}, "1 points"},
		{"tree", Curve{At: []float64{1, 103}}, "103"},
		{"tree", Curve{At: []float64{2, 1}}, "point at 1"},
		{"density", Curve{At: []float64{1, math.NaN()}}, "NaN"},
		{"tree", Curve{At: []float64{1, 2}, Variance: math.NaN()}, "variance NaN"},
		{"tree", Curve{At: make([]float64, 300)}, "300 points"},
	} {
		o := Options{Quantiles: []float64{0.5}, Epsilon: 1e9, Forecast: &c.forecast}
		var err error
		if o.Estimator, err = ParseEstimator(c.estimator); err != nil {
			t.Fatal(err)
		}
		if err := o.ValidateOn(g); !errors.Is(err, ErrOptions) || !errors.Is(err, prior.ErrPrior) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %v: %v", c.estimator, c.forecast, err)
		}
	}
	// "auto" may choose either.
	auto, err := ParseEstimator("auto")
	if err != nil {
		t.Fatal(err)
	}
	for _, quantiles := range [][]float64{{0.5}, percentiles()} {
		r, err := Release(sketch.NewBinned(g), Options{Quantiles: quantiles, Epsilon: 1e9, Estimator: auto, Forecast: &Curve{}})
		if err != nil {
			t.Fatal(err)
		}
		if e, err := ParseEstimator(r.Estimator); err != nil || e.counts() != (r.Curve != nil) {
			t.Errorf("%s has the curve %v", r.Estimator, r.Curve)
		}
	}
}

// A forecast that is right makes errors smaller; one that is wrong, but says it is certain, not much larger.
func TestAForecastIsBelievedAsFarAsTheCountsLet(t *testing.T) {
	g := linear(t, 0, 1000, 500)
	s := sketch.NewBinned(g)
	r := rand.New(rand.NewPCG(3, 3))
	var at []float64
	for range 1000 {
		x := min(max(500+80*r.NormFloat64(), 0), 999)
		s.Add(x)
		at = append(at, x/2)
	}
	slices.Sort(at)
	right := curveOf(func(share float64) float64 { return at[int(share*999)] })
	moved := curveOf(func(share float64) float64 { return min(at[int(share*999)]+150, 502) })
	asked := []float64{0.1, 0.3, 0.5, 0.7, 0.9}
	off := func(forecast *Curve) (mean float64) {
		const releases = 200
		for range releases {
			r, err := release(s, Options{Quantiles: asked, Epsilon: 1e8, Estimator: Estimator{kind: treeKind}, Representative: Within, Forecast: forecast}, exact.New())
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range r.Quantiles {
				rank, _ := slices.BinarySearch(at, a.Value/2)
				mean += math.Abs(float64(rank)-1000*a.Q) / releases / float64(len(asked))
			}
		}
		return mean
	}
	alone, helped, misled := off(nil), off(&right), off(&moved)
	t.Logf("errors are %.1f alone, %.1f with a right forecast, %.1f with a wrong one", alone, helped, misled)
	if helped > 0.5*alone {
		t.Error("a right forecast does not help")
	}
	if misled > 1.2*alone {
		t.Error("a wrong forecast harms")
	}
}

// scripted adds given noise to the counts of a release, and noise of its own to what is simulated after it.
type scripted struct {
	exact.NoiseSampler
	noisy []int64
	seen  *[]uint64
}

func (s *scripted) Noisy(count uint64, noise exact.Noise) int64 {
	if len(s.noisy) == 0 {
		return s.NoiseSampler.Noisy(count, noise)
	}
	*s.seen = append(*s.seen, count)
	x := s.noisy[0]
	s.noisy = s.noisy[1:]
	return x
}

// Records that have the same noisy counts have the same answers, intervals and curves: nothing else of them is looked at.
func TestACombinedAnswerIsAFunctionOfNoisyCounts(t *testing.T) {
	g := linear(t, 0, 100, 64)
	forecast := curveOf(func(share float64) float64 { return 20 + 20*share })
	for _, name := range []string{"tree:branching=4", "tree:bins=9", "density:bins=10"} {
		e, err := ParseEstimator(name)
		if err != nil {
			t.Fatal(err)
		}
		var results []*Result
		var seen [2][]uint64
		for i := range seen {
			s := sketch.NewBinned(g)
			for b := range g.Len() {
				if err := s.AddBucket(b, uint64((b*(7+30*i)+i)%50)); err != nil {
					t.Fatal(err)
				}
			}
			o := Options{Quantiles: percentiles(), Epsilon: 1e8, Estimator: e, Confidence: 0.9, Forecast: &forecast}
			bins := cmp.Or(e.bins, g.Len())
			var nodes []int64
			for _, level := range tree.Measure(o.noisyTree(bins), exact.New()) {
				for range level {
					nodes = append(nodes, int64(len(nodes)*31%47))
				}
			}
			r, err := release(s, o,
				&scripted{exact.NewFrom(rand.NewChaCha8([32]byte{1})), nodes, &seen[i]})
			if err != nil {
				t.Fatal(err)
			}
			results = append(results, r)
		}
		if reflect.DeepEqual(seen[0], seen[1]) || slices.Max(seen[0]) == 0 {
			t.Fatalf("%s: the records are the same: %v", name, seen)
		}
		if !reflect.DeepEqual(results[0], results[1]) {
			t.Errorf("%s: results of the same noisy counts differ", name)
		}
		if results[0].Curve == nil || results[0].Curve.Check(g.Len()) != nil {
			t.Errorf("%s: the curve is %v", name, results[0].Curve)
		}
	}
}

// A release without a forecast is what it was, and one with an empty forecast gives the same answers beside its curve.
func TestAnEmptyForecastAsksForTheCurveAlone(t *testing.T) {
	g := linear(t, 0, 100, 64)
	s := sketch.NewBinned(g)
	for b := range g.Len() {
		if err := s.AddBucket(b, uint64(b)); err != nil {
			t.Fatal(err)
		}
	}
	answers := func(forecast *Curve) *Result {
		r, err := release(s, Options{Quantiles: percentiles(), Epsilon: 1e9, Estimator: Estimator{kind: treeKind}, Forecast: forecast}, exact.NewFrom(rand.NewChaCha8([32]byte{2})))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	alone, empty := answers(nil), answers(&Curve{})
	if alone.Curve != nil || empty.Curve == nil || alone.Prior != "none" || empty.Prior != "curve" {
		t.Errorf("curves are %v and %v, priors %s and %s", alone.Curve, empty.Curve, alone.Prior, empty.Prior)
	}
	if !reflect.DeepEqual(alone.Quantiles, empty.Quantiles) || !reflect.DeepEqual([]any{alone.Epsilon, alone.NanoRho}, []any{empty.Epsilon, empty.NanoRho}) {
		t.Error("an empty forecast changes the answers or what they cost")
	}
	if x := empty.Curve.Apart(curveOf(func(share float64) float64 { return 1 + 64*math.Sqrt(share) })); x > 1e-3 {
		t.Errorf("the curve is %v apart from the records", x)
	}
	if v := empty.Curve.Variance; !(v > 0 && v < 1e-3) {
		t.Errorf("its variance is %v", v)
	}
}

// The interval of a combined answer is that of where it lies, and not of where the tree alone has the quantile.
func TestIntervalsAreThoseOfCombinedCuts(t *testing.T) {
	g := linear(t, 0, 100, 64)
	s := sketch.NewBinned(g)
	for b := range g.Len() {
		if err := s.AddBucket(b, uint64(b)); err != nil {
			t.Fatal(err)
		}
	}
	forecast := curveOf(func(share float64) float64 { return 64 * share })
	o := Options{Quantiles: []float64{0.2, 0.5, 0.9}, Epsilon: 1e7, Estimator: Estimator{kind: treeKind}, Confidence: 0.9, Forecast: &forecast}
	nominal, err := o.nominal()
	if err != nil {
		t.Fatal(err)
	}
	weights, err := prior.Uniform().Weights(g)
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	for seed := range byte(20) {
		sampler := func() exact.NoiseSampler { return exact.NewFrom(rand.NewChaCha8([32]byte{seed})) }
		cuts, intervals, _ := o.readCounts(s, nominal, weights, sampler())
		// The same again, by the same draws.
		p := o.noisyTree(g.Len())
		for b, n := range s.All() {
			p.Counts = append(p.Counts, tree.Count{Bucket: b, Records: n})
		}
		draws := sampler()
		alone := tree.Release(p, draws)
		for range curveRuns {
			alone.Again(draws)
		}
		band := alone.CalibratedBand(o.Confidence, int(runs(o.Confidence)), draws)
		for j, cut := range alone.Quantiles(nominal) {
			low, high := band.RankError(nominal[j], cuts[j])
			if low <= high && (intervals[j] != Interval{low, high}) {
				t.Errorf("seed %d: the interval is %v, where the cut lies it is %v to %v", seed, intervals[j], low, high)
			}
			if cut>>levels != cuts[j]>>levels {
				moved++
			}
		}
	}
	if moved < 10 {
		t.Errorf("of 60 cuts %d are elsewhere than without a forecast", moved)
	}
}

// The variance of a released curve is what it is off by, also where most bins are empty.
func TestTheVarianceIsWhatCurvesAreOffBy(t *testing.T) {
	g := linear(t, 0, 100, 500)
	s := sketch.NewBinned(g)
	r := rand.New(rand.NewPCG(6, 6))
	var at []float64
	for range 1000 {
		x := 40 + 4*r.NormFloat64()
		s.Add(x)
		at = append(at, 1+5*x)
	}
	slices.Sort(at)
	truth := curveOf(func(share float64) float64 { return at[int(share*999)] })
	for _, name := range []string{"tree", "density:bins=100"} {
		e, err := ParseEstimator(name)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Quantiles: []float64{0.5}, Epsilon: 1e8, Estimator: e, Forecast: &Curve{}}
		off, said := 0.0, 0.0
		const releases = 100
		for range releases {
			r, err := Release(s, o)
			if err != nil {
				t.Fatal(err)
			}
			off += truth.Apart(*r.Curve) / releases
			said += r.Curve.Variance / releases
		}
		t.Logf("%s: curves are off by a variance of %.2g, and say %.2g", name, off, said)
		if said > 2*off || said < off/2 {
			t.Errorf("%s: curves are off by a variance of %v, and say %v", name, off, said)
		}
	}
}

// Noisy counts of no records show nothing, and say so: the answers are the forecast's.
func TestACurveOfNoRecordsIsNotBelieved(t *testing.T) {
	g := linear(t, 0, 100, 64)
	forecast := curveOf(func(share float64) float64 { return 20 + 20*share })
	var seen []uint64
	o := Options{Quantiles: []float64{0.25, 0.5}, Epsilon: 1e8, Estimator: Estimator{kind: densityKind, bins: 66}, Representative: Within, Forecast: &forecast}
	r, err := release(sketch.NewBinned(g), o, &scripted{exact.New(), slices.Repeat([]int64{-100}, g.Len()), &seen})
	if err != nil {
		t.Fatal(err)
	}
	if r.Curve.Variance != 1 {
		t.Errorf("the variance is %v", r.Curve.Variance)
	}
	for i, want := range []float64{25, 30} { // positions: the first bucket is below 0
		if x := prior.Position(g, r.Quantiles[i].Value); math.Abs(x-want) > 0.5 {
			t.Errorf("quantile %v is at %v, expected was %v", r.Quantiles[i].Q, x, want)
		}
	}
}
