package dp

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

func linear(t testing.TB, lower, upper float64, bins int) *sketch.Grid {
	t.Helper()
	g, err := sketch.NewLinear(lower, upper, bins)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func epsilon(t testing.TB, s string) Epsilon {
	t.Helper()
	e, err := ParseEpsilon(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func percentiles() []float64 {
	var qs []float64
	for i := 1; i < 100; i++ {
		qs = append(qs, float64(i)/100)
	}
	return qs
}

func TestEpsilonIsReadExactly(t *testing.T) {
	f := func(s string, want Epsilon) {
		t.Helper()
		if got := epsilon(t, s); got != want {
			t.Errorf("%q is %d billionths, want %d", s, got, want)
		}
		if again := epsilon(t, want.String()); again != want {
			t.Errorf("%d prints as %s", want, want)
		}
	}
	f("0.5", 500_000_000)
	f("1", 1_000_000_000)
	f("1000", 1_000_000_000_000)
	f("0.000000001", 1)
	f("007.10", 7_100_000_000)
	f(".25", 250_000_000)
	f("3.", 3_000_000_000)
	for _, s := range []string{"", ".", "0", "0.0", "-1", "+1", "1e3", "1.2.3", "1000.000000001", "0.0000000001", "inf", "NaN", "99999999999999999999", " 1"} {
		if e, err := ParseEpsilon(s); err == nil || !strings.Contains(err.Error(), `"`+s+`"`) {
			t.Errorf("%q is %v, error %v", s, e, err)
		}
	}
	if s := Epsilon(500_000_000).String(); s != "0.5" {
		t.Errorf("half prints as %s", s)
	}
	if s := Epsilon(-1_500_000_000).String(); s != "-1.5" {
		t.Errorf("−1.5 prints as %s", s)
	}
	if s := Epsilon(math.MaxInt64).Rat().FloatString(9); s != "9223372036.854775807" {
		t.Errorf("the largest is %s", s)
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	s := sketch.NewBinned(linear(t, 0, 1, 4))
	f := func(o Options, word string) {
		t.Helper()
		_, err := Release(s, o)
		if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), word) {
			t.Errorf("%+v: %v", o, err)
		}
		if v := o.Validate(); v == nil || v.Error() != err.Error() {
			t.Errorf("Validate says %v, Release %v", v, err)
		}
		if e, rho := Cost(o); e != 0 || rho != 0 {
			t.Errorf("%+v costs %v and %d", o, e, rho)
		}
	}
	f(Options{Epsilon: 1}, "0 quantiles")
	f(Options{Epsilon: 1, Quantiles: make([]float64, 10_001)}, "10001 quantiles")
	for q, word := range map[float64]string{0: "quantile 0 ", 1: "quantile 1 ", -0.1: "-0.1", 1.5: "1.5", math.Inf(1): "+Inf", 0.12345678901: "0.12345678901"} {
		f(Options{Epsilon: 1, Quantiles: []float64{0.5, q}}, word)
	}
	f(Options{Epsilon: 1, Quantiles: []float64{math.NaN()}}, "NaN")
	f(Options{Quantiles: []float64{0.5}}, "epsilon 0 ")
	f(Options{Epsilon: -5, Quantiles: []float64{0.5}}, "epsilon -0.000000005")
	f(Options{Epsilon: 1000_000_000_001, Quantiles: []float64{0.5}}, "epsilon 1000.000000001")
	f(Options{Epsilon: 1, Quantiles: []float64{0.5}, Contributions: -3}, "contributions -3")
	f(Options{Epsilon: 1, Quantiles: []float64{0.5}, Representative: 7}, "representative 7")
}

// wrongPrior breaks the contract of its interface.
type wrongPrior []uint64

func (wrongPrior) Name() string                             { return "wrong" }
func (p wrongPrior) Weights(*sketch.Grid) ([]uint64, error) { return p, nil }

func TestPriorsThatBreakTheirContractAreRefused(t *testing.T) {
	s := sketch.NewBinned(linear(t, 0, 1, 1))
	for _, p := range []wrongPrior{{1, 1}, {1, 0, 1}, {prior.MaxTotal, 1, 1}, {math.MaxUint64, math.MaxUint64, math.MaxUint64}} {
		if r, err := Release(s, Options{Epsilon: 1, Quantiles: []float64{0.5}, Prior: p}); err == nil {
			t.Errorf("prior %v gave %+v", p, r)
		}
	}
}

func TestCostIsTheWorstPath(t *testing.T) {
	f := func(e string, m int, rho int64) {
		t.Helper()
		o := Options{Epsilon: epsilon(t, e), Quantiles: percentiles()[:m]}
		o.Quantiles = append(o.Quantiles, o.Quantiles[0]) // repeating a quantile is free
		if gotE, got := Cost(o); gotE != o.Epsilon || got != rho {
			t.Errorf("ε %s for %d quantiles costs %v and ρ %d, want %d", e, m, gotE, got, rho)
		}
	}
	f("1", 1, 125_000_000)
	f("1", 2, 62_500_000)
	f("1", 3, 62_500_000)
	f("1", 4, 41_666_667)
	f("1", 99, 17_857_143)
	f("0.000000001", 1, 1)
	f("1000", 1, 125_000_000_000_000)
}

func TestAnswersAreSortedRepeatedAndInTheOrderAsked(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, text := range []string{"linear:lower=-50,upper=50,bins=64", "exponential:scale=2", "exponential:scale=-4", "exponential:scale=3,min=0.5,max=90", "explicit:-1e308,-3,0,2,1e308"} {
		g, err := sketch.ParseGrid(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, rep := range []Representative{Lower, Within} {
			for _, n := range []int{0, 1, 30, 3000} {
				s := sketch.NewBinned(g)
				for range n {
					s.Add(random.NormFloat64() * 40)
				}
				r, err := Release(s, Options{Quantiles: []float64{0.9, 0.1, 0.5, 0.1, 0.999999999, 0.25, 0.000000001}, Epsilon: epsilonUnit, Representative: rep})
				if err != nil {
					t.Fatal(err)
				}
				if r.Quantiles[1] != r.Quantiles[3] {
					t.Errorf("0.1 is %+v and %+v", r.Quantiles[1], r.Quantiles[3])
				}
				if r.Quantiles[0].Q != 0.9 || r.Quantiles[6].Q != 0.000000001 {
					t.Errorf("answers are out of order: %+v", r.Quantiles)
				}
				for _, a := range r.Quantiles {
					if math.IsInf(a.Value, 0) || math.IsNaN(a.Value) || a.Value < a.Lower || a.Value > a.Upper {
						t.Errorf("%s: %+v", text, a)
					}
				}
				sorted := slices.SortedFunc(slices.Values(r.Quantiles), func(a, b Quantile) int {
					if a.Q < b.Q {
						return -1
					}
					return 1
				})
				if !slices.IsSortedFunc(sorted, func(a, b Quantile) int {
					switch {
					case a.Value < b.Value:
						return -1
					case a.Value > b.Value:
						return 1
					}
					return 0
				}) {
					t.Errorf("%s: values fall: %+v", text, sorted)
				}
			}
		}
	}
}

func TestResultSaysWhatWasSpentAndHow(t *testing.T) {
	r, err := Release(sketch.NewBinned(linear(t, 0, 1, 4)), Options{Quantiles: []float64{0.5, 0.25}, Epsilon: epsilon(t, "0.1")})
	if err != nil {
		t.Fatal(err)
	}
	r.Quantiles = nil
	want := &Result{Estimator: "recursive", Epsilon: 100_000_000, NanoRho: 625_000, Contributions: 1, Neighbours: "add-remove", Prior: "uniform"}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

// The answer of a cut is checked at the ends of the grid, where buckets have no width or no end.
func TestACutBecomesANumber(t *testing.T) {
	f := func(text string, bucket int, share float64, rep Representative, value float64) {
		t.Helper()
		g, err := sketch.ParseGrid(text)
		if err != nil {
			t.Fatal(err)
		}
		cut := uint64(bucket)<<levels + uint64(share*(1<<levels))
		if a := answer(g, cut, 0.5, rep); a.Value != value {
			t.Errorf("%s bucket %d + %g: %+v, want %g", text, bucket, share, a, value)
		}
	}
	const grid = "linear:lower=10,upper=20,bins=5"
	f(grid, 0, 0.5, Lower, 10)
	f(grid, 0, 0.5, Within, 10)
	f(grid, 1, 0.5, Lower, 10)
	f(grid, 1, 0.5, Within, 11)
	f(grid, 5, 0.75, Lower, 18)
	f(grid, 5, 0.75, Within, 19.5)
	f(grid, 6, 0.5, Lower, 20)
	f(grid, 6, 0.5, Within, 20)
	f(grid, 7, 0, Lower, 20)
	f(grid, 7, 0, Within, 20)
	f("explicit:-1.7e308,1.7e308", 1, 0.5, Within, 0)
	f("explicit:-1.7e308,1.7e308", 1, 0, Within, -1.7e308)
}

func TestPercentilesOfAHundredMillionRecordsAreClose(t *testing.T) {
	s := hundredMillion(t)
	r, err := Release(s, Options{Quantiles: percentiles(), Epsilon: epsilonUnit, Representative: Within})
	if err != nil {
		t.Fatal(err)
	}
	n := float64(s.Count())
	for _, a := range r.Quantiles {
		rank, err := s.Rank(a.Value)
		if err != nil {
			t.Fatal(err)
		}
		// Beyond the node's noise of some hundred records, half a bucket of interpolation.
		if off := math.Abs(rank-a.Q) * n; off > 30_000 {
			t.Errorf("quantile %g is %g, off by %g records", a.Q, a.Value, off)
		}
	}
}

func TestUnitsWithMoreRecordsGetMoreNoise(t *testing.T) {
	s := hundredMillion(t)
	o := Options{Quantiles: []float64{0.3}, Epsilon: epsilon(t, "0.01"), Representative: Within}
	spread := func(c int) float64 {
		o.Contributions = c
		var values []float64
		for range 60 {
			r, err := Release(s, o)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, r.Quantiles[0].Value)
		}
		slices.Sort(values)
		return values[50] - values[10]
	}
	one, many := spread(1), spread(10_000)
	// The rank's error is exponential with mean c/ε: ten thousand times as wide, but for the sampling error of sixty draws.
	if ratio := many / one; ratio < 2000 || ratio > 50_000 {
		t.Errorf("the middle half of 60 answers is %g wide at 1 record a unit, %g at 10,000", one, many)
	}
}

// hundredMillion is a bell of 10⁸ records on 8,192 buckets.
func hundredMillion(t testing.TB) *sketch.Binned {
	t.Helper()
	g := linear(t, 0, 1, 8190)
	s := sketch.NewBinned(g)
	left := uint64(100_000_000)
	for i := 1; i < g.Len()-1; i++ {
		x := (float64(i)/8192 - 0.5) * 6
		n := uint64(100_000_000 * math.Exp(-x*x/2) / 8192 * 2.39)
		n = min(n, left)
		left -= n
		if err := s.AddBucket(i, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddBucket(4096, left); err != nil {
		t.Fatal(err)
	}
	return s
}

func BenchmarkRelease99Quantiles8192Buckets100MRecords(b *testing.B) {
	s := hundredMillion(b)
	o := Options{Quantiles: percentiles(), Epsilon: epsilonUnit}
	if _, err := Release(s, o); err != nil { // builds the binomial tables, once a process
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Release(s, o); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReleaseMedianOfEmptyExponentialGrid(b *testing.B) {
	g, err := sketch.NewExponential(5)
	if err != nil {
		b.Fatal(err)
	}
	s, o := sketch.NewBinned(g), Options{Quantiles: []float64{0.5}, Epsilon: epsilonUnit}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := release(s, o, exact.New()); err != nil {
			b.Fatal(err)
		}
	}
}

// Without records the answers are drawn from the priors: each quantile's from its own.
func TestEachQuantileHasItsPrior(t *testing.T) {
	g, err := sketch.NewLinear(0, 100, 100)
	if err != nil {
		t.Fatal(err)
	}
	p, err := prior.Parse("each:0.25=gaussian:location=20,scale=0.1,robust=1e-9;0.75=gaussian:location=70,scale=0.1,robust=1e-9")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Quantiles: []float64{0.25, 0.75}, Epsilon: epsilonUnit, Prior: p}
	r, err := Release(sketch.NewBinned(g), o)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := r.Quantiles[0].Value, r.Quantiles[1].Value; math.Abs(a-20) > 2 || math.Abs(b-70) > 2 {
		t.Errorf("answers %v and %v, where the priors say 20 and 70", a, b)
	}
	if r.Prior != p.Name() {
		t.Errorf("the answer's prior is %q", r.Prior)
	}
	o.Estimator = Estimator{kind: autoKind}
	if all, err := o.Choose(g); err != nil || len(all) < 3 {
		t.Errorf("auto chooses among %v, error %v", all, err)
	}
	// A prior that does not fit is refused by the options and the grid alone.
	if o.Prior, err = prior.Parse("each:0.25=weights:1,2;0.75=uniform"); err != nil {
		t.Fatal(err)
	}
	o.Estimator = Estimator{}
	if err := o.ValidateOn(g); !errors.Is(err, prior.ErrPrior) || !strings.Contains(err.Error(), "2 weights") {
		t.Errorf("a prior on another grid: %v", err)
	}
}

func TestPriorsOfTooManyQuantilesAreRefused(t *testing.T) {
	p, err := prior.Parse("release:0.5=1")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Epsilon: epsilonUnit, Prior: p}
	for i := range 5000 {
		o.Quantiles = append(o.Quantiles, float64(i+1)/1e4)
	}
	if err := o.ValidateOn(linear(t, 0, 1, 4000)); !errors.Is(err, prior.ErrPrior) || !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "4002 buckets and 5000 quantiles") {
		t.Errorf("5000 quantiles on 4002 buckets: %v", err)
	}
	o.Estimator = Estimator{kind: treeKind} // reads no prior
	if err := o.ValidateOn(linear(t, 0, 1, 4000)); err != nil {
		t.Errorf("a tree: %v", err)
	}
}
