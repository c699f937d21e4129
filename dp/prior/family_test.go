package prior

import (
	"errors"
	"math"
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
		"log-uniform:min=0.5,max=50", "cauchy:location=1e308,scale=1e-300", "gaussian:location=0,scale=1e300",
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
			if math.Abs(sum/0x1p60-1) > 1e-9 {
				t.Errorf("%s on %s: the weights sum to %v of 2^60", s, d, sum/0x1p60)
			}
			for i := 0; i < g.Len(); i += 1 + g.Len()/100 {
				lower, upper := g.Bounds(i)
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
