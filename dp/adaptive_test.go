package dp

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// A blindSampler gives noisy counts that do not depend on the counts, and notes what noise is asked for.
type blindSampler struct {
	exact.NoiseSampler
	random *rand.Rand
	asked  []string
}

func (s *blindSampler) Noisy(_ uint64, noise exact.Noise) int64 {
	law := ""
	switch n := noise.(type) {
	case *exact.Laplace:
		law = "scale " + n.Scale().RatString()
	case *exact.Gaussian:
		law = "variance " + n.Variance().RatString()
	}
	s.asked = append(s.asked, law)
	return s.random.Int64N(1<<s.random.IntN(14)) - 5
}

// Nothing but noisy counts and public numbers decides a bin, its noise or an answer: if noisy counts are the same, so is all else, whatever the records are and however many.
func TestAdaptiveHistogramsSeeRecordsThroughNoiseAlone(t *testing.T) {
	g := linear(t, 0, 1, 500)
	full, one, crowd := sketch.NewBinned(g), sketch.NewBinned(g), sketch.NewBinned(g)
	for i := range g.Len() {
		if err := full.AddBucket(i, uint64(i*i)); err != nil {
			t.Fatal(err)
		}
	}
	for s, n := range map[*sketch.Binned]uint64{one: 1, crowd: 1 << 62} {
		if err := s.AddBucket(300, n); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"adaptive", "adaptive:rounds=7", "adaptive:bins=30,power=0", "adaptive:spikes"} {
		e, err := ParseEstimator(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []Options{{Epsilon: 1e8}, {NanoRho: 1e7, Contributions: 3}, {Epsilon: 1e9, Confidence: 0.9, Neighbours: ReplaceOne}} {
			o.Quantiles, o.Estimator = []float64{0.001, 0.3, 0.5, 0.9}, e
			for seed := range uint64(20) {
				var want *Result
				var noise []string
				for i, s := range []*sketch.Binned{sketch.NewBinned(g), one, full, crowd} {
					sampler := &blindSampler{NoiseSampler: exact.New(), random: rand.New(rand.NewPCG(seed, 0))}
					got, err := release(s, o, sampler)
					if err != nil {
						t.Fatal(err)
					}
					if i == 0 {
						want, noise = got, sampler.asked
					}
					if !reflect.DeepEqual(got, want) || !slices.Equal(sampler.asked, noise) {
						t.Fatalf("%s, %+v: data %d has %+v from %d noisy counts, no records %+v from %d", name, o, i, got, len(sampler.asked), want, len(noise))
					}
				}
			}
		}
	}
}

// The rounds spend what Options leaves to the answers, and all of it, each in proportion to its share.
func TestAdaptiveHistogramsSpendWhatOptionsSay(t *testing.T) {
	spent := func(estimator string, o Options) string {
		t.Helper()
		var err error
		if o.Estimator, err = ParseEstimator(estimator); err != nil {
			t.Fatal(err)
		}
		o.Quantiles = []float64{0.5}
		s := &blindSampler{NoiseSampler: exact.New(), random: rand.New(rand.NewPCG(1, 1))}
		if _, err := release(sketch.NewBinned(linear(t, 0, 1, 100)), o, s); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(slices.Compact(s.asked))
	}
	f := func(estimator string, o Options, want string) {
		t.Helper()
		if got := spent(estimator, o); got != want {
			t.Errorf("%s, %+v: noise of %s, want %s", estimator, o, got, want)
		}
	}
	f("adaptive:rounds=3", Options{Epsilon: 6e9}, "[scale 1 scale 1/2 scale 1/3]")
	f("adaptive:rounds=3", Options{Epsilon: 6e9, Contributions: 4}, "[scale 4 scale 2 scale 4/3]")
	f("adaptive:rounds=3", Options{Epsilon: 12e9, Neighbours: ReplaceOne}, "[scale 1 scale 1/2 scale 1/3]")
	f("adaptive:rounds=3,power=0", Options{Epsilon: 6e9}, "[scale 1/2]")
	f("adaptive:rounds=2", Options{Epsilon: 12e9, Confidence: 0.5, ConfidenceShare: 0.25}, "[scale 1/3 scale 1/6 scale 1/3]")
	f("adaptive:rounds=2", Options{NanoRho: 3e9, Contributions: 2}, "[variance 2 variance 1]")
	f("adaptive:rounds=2", Options{NanoRho: 12e9, Contributions: 2, Neighbours: ReplaceOne}, "[variance 2 variance 1]")
	f("adaptive:rounds=2", Options{NanoRho: 6e9, Confidence: 0.5, ConfidenceShare: 0.5}, "[variance 1/2 variance 1/4 variance 1/6]")
	// A fifth of what is left for the answers is for spikes.
	f("adaptive:rounds=2,spikes", Options{Epsilon: 15e9}, "[scale 1/4 scale 1/8 scale 1/3]")
	f("adaptive:rounds=2,power=0,spikes", Options{Epsilon: 5e9, Contributions: 3}, "[scale 3/2 scale 3]")
	f("adaptive:rounds=2,spikes", Options{NanoRho: 30e9, Neighbours: ReplaceOne}, "[variance 1/4 variance 1/8 variance 1/3]")
	f("adaptive:rounds=2,spikes", Options{Epsilon: 30e9, Confidence: 0.5, ConfidenceShare: 0.5}, "[scale 1/4 scale 1/8 scale 1/3 scale 1/15]")
}

// Auto rehearses adaptive histograms without parameters, with spikes and with 33 bins, and those of two rounds only where these are not those without a number of rounds.
func TestAutoRehearsesAdaptiveHistogramsOnce(t *testing.T) {
	f := func(records uint64, want int) {
		t.Helper()
		all, err := (Options{Quantiles: []float64{0.5}, Epsilon: 1e8, Records: records}).Choose(linear(t, 0, 1, 1000))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, p := range all {
			if p.Estimator.kind == adaptiveKind {
				got++
			}
		}
		if got != want {
			t.Errorf("%d records: adaptive histograms are rehearsed %d times, want %d: %v", records, got, want, all)
		}
	}
	f(1000, 4)
	f(1<<30, 3)
}

// Intervals hold where records lie in few buckets, at the ends of the grid too, and where there are none.
func TestRankErrorsOfAdaptiveHistogramsHoldAtTheEnds(t *testing.T) {
	g := linear(t, 0, 1, 62)
	last := g.Len() - 1
	f := func(name string, o Options, records map[int]uint64) {
		t.Helper()
		s, before := sketch.NewBinned(g), make([]float64, g.Len()+1)
		for b := range g.Len() {
			if err := s.AddBucket(b, records[b]); err != nil {
				t.Fatal(err)
			}
			before[b+1] = before[b] + float64(records[b])
		}
		o.Estimator, o.Quantiles, o.Confidence, o.ConfidenceShare = Estimator{kind: adaptiveKind, power: 1}, []float64{1e-9, 0.01, 0.5, 0.99, 1 - 1e-9}, 0.8, 0.5
		_, weights, err := o.checkOn(g)
		if err != nil {
			t.Fatal(err)
		}
		nominal, err := o.nominal()
		if err != nil {
			t.Fatal(err)
		}
		held, releases := 0, 200
		for range releases {
			cuts, intervals, _ := o.cuts(s, nominal, weights, exact.New())
			good := true
			for j, cut := range cuts {
				b, target := int(min(cut>>levels, uint64(last))), o.Quantiles[j]*before[g.Len()]
				if cut == uint64(g.Len())<<levels { // the top has one rank
					b = g.Len()
				}
				good = good && before[b]-target <= intervals[j].High+1e-6 && before[min(b+1, g.Len())]-target >= intervals[j].Low-1e-6
			}
			if good {
				held++
			}
		}
		if least := 0.8*200 - 4*math.Sqrt(200*0.8*0.2); float64(held) < least {
			t.Errorf("%s: the intervals held in %d of %d releases, fewer than %.0f", name, held, releases, least)
		}
		t.Logf("%s: the intervals held in %d of %d releases", name, held, releases)
	}
	f("none", Options{Epsilon: 1e9}, nil)
	f("one", Options{Epsilon: 1e8}, map[int]uint64{last: 1})
	f("the first bucket", Options{Epsilon: 1e9}, map[int]uint64{0: 1000})
	f("the last bucket", Options{Epsilon: 1e9}, map[int]uint64{last: 1000})
	f("both", Options{NanoRho: 1e7}, map[int]uint64{0: 100_000, last: 100_000})
	f("three ties", Options{Epsilon: 1e8, Contributions: 2}, map[int]uint64{10: 3000, 11: 1, 12: 500, 40: 3000})
}

// A prior of each quantile has weights to be made for each, which the bound of the work counts, and which are made once.
func TestWorkCountsThePriorsOfQuantiles(t *testing.T) {
	text, o := "", Options{Epsilon: 1e9}
	for i := range 20 {
		q := float64(i+1) / 100
		text += fmt.Sprintf(";%v=gaussian:location=%d,scale=3,robust=0.01", q, i)
		o.Quantiles = append(o.Quantiles, q)
	}
	p, err := prior.Parse("each:" + text[1:])
	if err != nil {
		t.Fatal(err)
	}
	g := linear(t, 0, 100, 1000)
	for _, name := range []string{"adaptive", "density", "tree:bins=100", "tree"} {
		if o.Estimator, err = ParseEstimator(name); err != nil {
			t.Fatal(err)
		}
		o.Prior = nil
		plain := Work(o, g)
		o.Prior = p
		want := uint64(2 * 20 * g.Len())
		if name == "tree" { // which has no use for a prior
			want = 0
		}
		if more := Work(o, g) - plain; more != want {
			t.Errorf("%s: %d steps for the priors of 20 quantiles, want %d", name, more, want)
		}
		if checked, _, err := o.checkOn(g); err != nil || checked.each != nil {
			t.Errorf("%s: %d priors of quantiles are made that nobody reads, error %v", name, len(checked.each), err)
		}
	}
}

// What Validate lets through no grid and no data make a panic of, after it was paid for: extreme budgets, shares and contributions on few and many buckets.
func TestAdaptiveHistogramsNeverFailOnceValidated(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random, sampler := rand.New(rand.NewPCG(seed, 0)), exact.New()
	loss := func() int64 { return min(1+random.Int64N(1<<random.IntN(41)), maxEpsilon) }
	valid := 0
	for i := range 20_000 {
		e := Estimator{kind: adaptiveKind, rounds: random.IntN(17), power: 1, spikes: random.IntN(2) == 0}
		if random.IntN(2) == 0 {
			e.power = random.Float64()*8 - 4
		}
		if random.IntN(2) == 0 {
			e.bins = 2 + random.IntN(1<<random.IntN(11))
			e.bins = min(e.bins, 1024)
		}
		o := Options{Estimator: e, Records: random.Uint64N(1 << random.IntN(41)), Contributions: random.IntN(1 << random.IntN(42)), Neighbours: Neighbours(random.IntN(2))}
		if o.Epsilon = Epsilon(loss()); random.IntN(2) == 0 {
			o.Epsilon, o.NanoRho = 0, loss()
		}
		if random.IntN(3) == 0 {
			o.Epsilon, o.NanoRho = o.Epsilon%64, o.NanoRho%64
		}
		for range 1 + random.IntN(20) {
			o.Quantiles = append(o.Quantiles, []float64{1e-9, 0.1, 0.25, 0.5, 0.9, 1 - 1e-9}[random.IntN(6)])
		}
		if random.IntN(3) == 0 {
			o.Confidence = 0.5
			if random.IntN(2) == 0 {
				o.ConfidenceShare = random.Float64()
			}
		}
		if o.Validate() != nil {
			continue
		}
		valid++
		for _, buckets := range []int{1, 2, 3, 5, 100, 10_000, sketch.MaxBuckets} {
			if err := o.histograms(buckets).Check(); err != nil {
				t.Fatalf("%+v on %d buckets: %v", o, buckets, err)
			}
		}
		if i%20 > 0 {
			continue
		}
		g := linear(t, 0, 1, 1+random.IntN(1<<random.IntN(8)))
		s := sketch.NewBinned(g)
		for range random.IntN(5) {
			if err := s.AddBucket(random.IntN(g.Len()), 1<<random.IntN(61)); err != nil {
				t.Fatal(err)
			}
		}
		r, err := release(s, o, sampler)
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		for _, q := range r.Quantiles {
			if math.IsNaN(q.Value) || math.IsInf(q.Value, 0) {
				t.Fatalf("%+v: %v", o, q)
			}
		}
	}
	t.Logf("%d valid", valid)
}
