package prior

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/quietile/quietile/sketch"
)

func parse(t *testing.T, s string) Prior {
	t.Helper()
	p, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPriorsPrintAsTheyAreRead(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		p := parse(t, s)
		if p.Name() != want || parse(t, p.Name()).Name() != want {
			t.Errorf("%q is %q, want %q", s, p.Name(), want)
		}
	}
	f("", "uniform")
	f("uniform", "uniform")
	f("cauchy:scale=2.50,location=-0", "cauchy:location=0,scale=2.5")
	f("gaussian:location=1,scale=2,robust=0.1", "gaussian:location=1,scale=2")
	f("log-uniform:min=1e-3,max=1000,robust=0.5", "log-uniform:min=0.001,max=1000,robust=0.5")
	f("laplace:axis=buckets,scale=2,location=1e1", "laplace:location=10,scale=2,axis=buckets")
	f("laplace:location=1,scale=2,axis=values", "laplace:location=1,scale=2")
	f("forecast:last=3,location=4,scale=2,reach=9", "forecast:location=4,scale=2,last=3,reach=9")
	f("forecast:last=3,location=4,scale=2,reach=9,near=0.5", "forecast:location=4,scale=2,last=3,reach=9")
	f("forecast:last=3,location=4,scale=2,reach=9,near=0", "forecast:location=4,scale=2,last=3,reach=9,near=0")
	f("gaussian:location=1,scale=2,near=0.5", "gaussian:location=1,scale=2,near=0.5")
	f("uniform:near=0.50", "uniform:near=0.5")
	f("weights:1,1,2.50,0,0,0", "weights:1*2,2.5,0*3")
	f("weights:robust=0.25,7*2,1*1", "weights:7*2,1,robust=0.25")
	f("release:0.75=4,0.25=-1e3", "release:0.25=-1000,0.75=4")
	f("release:0.5=4,scale=3,robust=1", "release:0.5=4,scale=3,robust=1")
	f("each:0.9=uniform;0.5=laplace:location=1,scale=2", "each:0.5=laplace:location=1,scale=2;0.9=uniform")
}

func TestWrongPriorsNameTheField(t *testing.T) {
	for s, want := range map[string]string{
		"normal":                               `"normal": there are uniform`,
		"cauchy":                               `unknown field ""`,
		"cauchy:location=1":                    "scale is missing",
		"cauchy:location=1,scale=0":            "scale 0",
		"cauchy:location=1,scale=NaN":          `scale "NaN"`,
		"cauchy:location=1,scale=1,scale=2":    "scale stands twice",
		"laplace:location=1,scale=1,robust=0":  "robust 0",
		"laplace:location=x,scale=1":           `location "x"`,
		"log-uniform:min=0,max=1":              "min 0",
		"log-uniform:min=2,max=1":              "max 1",
		"gaussian:location=1,scale=1,color=-1": `"color"`,
		"laplace:location=1,scale=1,axis=y":    `axis "y"`,
		"uniform:near=2":                       "near 2",
		"uniform:far=1":                        `"far=1"`,
		"laplace:location=1,scale=1,near=-1":   "near -1",
		"weights:1,-2":                         "weight -2 of bucket 1",
		"weights:1,NaN":                        `weight of bucket 1, "NaN" is not a finite`,
		"weights:0,0":                          "no weight of 2 is more than 0",
		"weights:1*0":                          `"1*0" does not repeat`,
		"weights:1,robust=2":                   "robust 2",
		"release:0.5=Inf":                      `0.5 "Inf" is not a finite`,
		"release:1.5=3":                        "quantile 1.5",
		"release:0.5=3,0.5=4":                  "quantile 0.5 stands twice",
		"release:0.5=3,0.6=2":                  "value 2 of quantile 0.6 is below 3",
		"release:0.5=3,scale=-1":               "scale -1",
		"release:0.5=3,size=1":                 `"size"`,
		"release:scale=1":                      "0 answers",
		"each:0.5=cauchy:location=1":           "quantile 0.5: cauchy prior: scale is missing",
		"each:2=uniform":                       "quantile 2",
		"each:0.5=uniform;0.50=uniform":        "quantile 0.5 stands twice",
		"each:0.5=each:0.5=uniform":            "differs between quantiles itself",
		"public:people.csv":                    "public data set is named where",
	} {
		if _, err := Parse(s); !errors.Is(err, ErrPrior) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", s, err, want)
		}
	}
}

// Whatever the grid, the weights keep the contract and are the probabilities of the buckets, mixed with even ones.
func TestWeightsAreTheProbabilitiesOfTheBuckets(t *testing.T) {
	for _, s := range []string{
		"cauchy:location=3,scale=2", "half-cauchy:location=0,scale=1", "laplace:location=-3,scale=0.5", "gaussian:location=40,scale=10",
		"log-uniform:min=0.5,max=50", "laplace:location=6.5,scale=2,axis=buckets", "forecast:location=6.5,scale=2,last=1,reach=100", "cauchy:location=1e308,scale=1e-300", "gaussian:location=0,scale=1e300",
	} {
		p := parse(t, s)
		f := p.(family)
		for _, d := range []string{"linear:lower=0,upper=128,bins=8192", "exponential:scale=5", "exponential:scale=3,min=-10,max=1000", "explicit:-1,0,7"} {
			g, err := sketch.ParseGrid(d)
			if err != nil {
				t.Fatal(err)
			}
			w, err := p.Weights(g)
			if err == nil {
				err = Check(w, g.Len())
			}
			if err != nil {
				t.Fatalf("%s on %s: %v", s, d, err)
			}
			sum := 0.0
			for _, x := range w {
				sum += float64(x)
			}
			if math.Abs(sum/0x1p60-1) > 1e-9 && !f.buckets {
				t.Errorf("%s on %s: the weights sum to %v of 2^60", s, d, sum/0x1p60)
			}
			for i := 0; i < g.Len(); i += 1 + g.Len()/100 {
				lower, upper := g.Bounds(i)
				if f.buckets {
					lower, upper = float64(i), float64(i+1)
				}
				_, high := distributions[f.name].tails(f.parameters, lower)
				low, _ := distributions[f.name].tails(f.parameters, upper)
				want := (1-f.robust)*(low+high-1) + f.robust/float64(g.Len())
				if i == 0 || i == g.Len()-1 {
					continue
				}
				if got := float64(w[i]) / 0x1p60; math.Abs(got-want) > 1e-12 {
					t.Errorf("%s on %s: bucket %d from %v to %v weighs %v, want %v", s, d, i, lower, upper, got, want)
				}
			}
		}
	}
}

// A Cauchy tail is 1/(π·z): it keeps its relative precision where 1 − F does not.
func TestTailsAreNotRoundedAway(t *testing.T) {
	below, above := distributions["cauchy"].tails([]float64{0, 1}, 1e30)
	if math.Abs(above*math.Pi*1e30-1) > 1e-12 || below != 1 {
		t.Errorf("tails %v and %v", below, above)
	}
}

// All families, whatever the grid: weights are positive, as many as there are buckets, and within the bound on their sum; so are the parts of mixtures.
func TestNoPriorMakesABucketImpossible(t *testing.T) {
	public := sketch.NewBinned(grid(t, "linear:lower=0,upper=128,bins=128"))
	for range 50 {
		public.Add(30)
	}
	people, err := Public("people", public, 1000, DefaultRobust)
	if err != nil {
		t.Fatal(err)
	}
	priors := map[Prior]string{people: public.Grid().String(), people.At(0.5): public.Grid().String(), people.At(0.001): public.Grid().String()}
	for _, s := range []string{
		"uniform", "uniform:near=1", "cauchy:location=1e300,scale=1e-300", "gaussian:location=-1e9,scale=1e-9", "forecast:location=-5,scale=1e-9,last=1e9,reach=1e12", "release:0.5=1e300", "release:0.1=-1e300,0.5=0,0.9=1e300",
		"each:0.5=gaussian:location=0,scale=1e-200,robust=1e-18;0.9=uniform",
	} {
		for _, g := range []string{"exponential:scale=5", "exponential:scale=3,min=-10,max=1000", "linear:lower=0,upper=1,bins=1", "explicit:1"} {
			p := parse(t, s)
			key := fmt.Sprintf("%s on %s", s, g)
			check(t, key, p, grid(t, g))
		}
	}
	check(t, "weights", parse(t, "weights:0,0,1e308,1e-308"), grid(t, "explicit:1,2,3"))
	for p, g := range priors {
		check(t, p.Name(), p, grid(t, g))
	}
}

func check(t *testing.T, name string, p Prior, g *sketch.Grid) {
	t.Helper()
	if q, ok := p.(ByQuantile); ok {
		for _, at := range []float64{1e-9, 0.5, 0.95} {
			check(t, fmt.Sprintf("%s at %v", name, at), q.At(at), g)
		}
	}
	w, err := p.Weights(g)
	if err == nil {
		err = Check(w, g.Len())
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	m, ok := p.(Mixture)
	if !ok {
		return
	}
	own, robust, share, err := m.Mixed(g)
	if err == nil {
		err = errors.Join(Check(own, g.Len()), Check(robust, g.Len()))
	}
	if err != nil || !(share > 0 && share <= 1) {
		t.Errorf("%s: share %v, error %v", name, share, err)
	}
}

func grid(t *testing.T, s string) *sketch.Grid {
	t.Helper()
	g, err := sketch.ParseGrid(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAPriorOnAnotherGridIsAnErrorThatNamesBoth(t *testing.T) {
	g := grid(t, "explicit:1,2,3")
	if _, err := parse(t, "weights:1,2").Weights(g); !errors.Is(err, ErrPrior) || !strings.Contains(err.Error(), "2 weights, and grid explicit:1,2,3 has 4 buckets") {
		t.Errorf("weights: %v", err)
	}
	s := sketch.NewBinned(grid(t, "explicit:1,2"))
	s.Add(1)
	p, err := Public("x", s, 0, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Weights(g); !errors.Is(err, ErrPrior) || !strings.Contains(err.Error(), "explicit:1,2, and not on explicit:1,2,3") {
		t.Errorf("public: %v", err)
	}
	if _, err := Public("x", sketch.NewBinned(g), 0, 0.1); !errors.Is(err, ErrPrior) {
		t.Errorf("public without records: %v", err)
	}
}

// The answers of a release, read as a prior: a quantile's is around its answer, one between two is between theirs.
func TestAnEarlierReleaseIsAPriorForEachQuantile(t *testing.T) {
	g := grid(t, "linear:lower=0,upper=100,bins=100")
	p := parse(t, "release:0.25=20,0.5=40,0.75=80").(ByQuantile)
	f := func(q, want float64) {
		t.Helper()
		w, err := p.At(q).Weights(g)
		if err != nil {
			t.Fatal(err)
		}
		most := slices.Index(w, slices.Max(w))
		if lower, _ := g.Bounds(most); math.Abs(lower-want) > 1 {
			t.Errorf("the prior of %v is highest at %v, want %v", q, lower, want)
		}
	}
	f(0.25, 20)
	f(0.5, 40)
	f(0.625, 60)
	f(0.01, 20)
	f(0.99, 80)
}

func TestAPublicDataSetIsAPriorForEachQuantile(t *testing.T) {
	g := grid(t, "linear:lower=0,upper=100,bins=10000")
	s := sketch.NewBinned(g)
	for i := range 10_000 {
		s.Add(float64(i) / 200) // evenly to 50
	}
	p, err := Public("half", s, 100, 0.01)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []float64{0.1, 0.5, 0.9} {
		w, err := p.At(q).Weights(g)
		if err != nil {
			t.Fatal(err)
		}
		scale := math.Sqrt(q * (1 - q) / 100)
		near, all := 0.0, 0.0
		for i, x := range w {
			lower, _ := g.Bounds(i)
			if all += float64(x); math.Abs(lower-50*q) < 50*scale {
				near += float64(x)
			}
		}
		if near /= all; near < 0.58 || near > 0.68 { // a Cauchy distribution has a half of its mass within its scale, a Laplace distribution three quarters within its deviation
			t.Errorf("quantile %v: %v of the weight is within the scale", q, near)
		}
	}
}

// Half of the public records have one value, and the quantile is at its edge: per record it has as much weight as its neighbours, though most of its ranks are far from the quantile's.
func TestAPublicAtomHasTheWeightOfItsNearestRank(t *testing.T) {
	g, err := sketch.NewLinear(0, 10, 10)
	if err != nil {
		t.Fatal(err)
	}
	s := sketch.NewBinned(g)
	add := func(x float64, records int) {
		for range records {
			s.Add(x)
		}
	}
	add(3.5, 230)
	add(4.5, 20)
	add(5.5, 500)
	add(6.5, 250)
	p, err := Public("half", s, 1000, DefaultRobust)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := p.At(0.25).(Mixture)
	if !ok {
		t.Fatal("not a mixture")
	}
	own, _, _, err := m.Mixed(g)
	if err != nil {
		t.Fatal(err)
	}
	if atom, beside, beyond := float64(own[g.Index(5.5)])/500, float64(own[g.Index(4.5)])/20, float64(own[g.Index(6.5)])/250; math.Abs(atom/beside-1) > 1e-6 || beyond > atom/100 {
		t.Errorf("weights per record: %v at the atom, %v before it, %v beyond", atom, beside, beyond)
	}
}

// Whatever a description says, it is refused or has weights that fit the grid or are refused, and reads back what it writes.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"uniform", "uniform:near=0.5", "cauchy:location=0,scale=1", "half-cauchy:location=0,scale=1,axis=buckets", "laplace:location=2,scale=0.5,near=0.5", "gaussian:location=0,scale=1,robust=0.3", "log-uniform:min=0.5,max=4",
		"forecast:location=1.5,scale=0.5,last=0.5,reach=3", "weights:0*2,5,1", "release:0.25=0.5,0.75=3,scale=2", "each:0.25=laplace:location=0,scale=1;0.75=weights:1,1,8", "public:x", "forecast:location=0,scale=1e308,last=0,reach=1e-300", "log-uniform:min=1e300,max=1.0000000000000002e300",
	} {
		f.Add(s)
	}
	small, err := sketch.NewExplicit([]float64{1, 2, 3})
	if err != nil {
		f.Fatal(err)
	}
	wide, err := sketch.NewExponential(1)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrPrior) {
				t.Error(err)
			}
			return
		}
		if again, err := Parse(p.Name()); err != nil || again.Name() != p.Name() {
			t.Errorf("%q is %q, read back %v, error %v", s, p.Name(), again, err)
		}
		for _, g := range []*sketch.Grid{small, wide} {
			if w, err := p.Weights(g); err == nil && Check(w, g.Len()) != nil {
				t.Errorf("%q: %v", s, Check(w, g.Len()))
			}
			if m, ok := p.(Mixture); ok {
				if own, robust, share, err := m.Mixed(g); err == nil && (Check(own, g.Len()) != nil || Check(robust, g.Len()) != nil || !(share > 0 && share <= 1)) {
					t.Errorf("%q: %v, %v, share %v", s, Check(own, g.Len()), Check(robust, g.Len()), share)
				}
			}
		}
	})
}
