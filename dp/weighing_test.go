package dp

import (
	"math"
	"testing"

	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// Most of a prior's weight may be spread evenly: the place that it believes in is where it has more than elsewhere.
func TestAPriorsPlaceIsWhereItHasMoreThanElsewhere(t *testing.T) {
	g, err := sketch.NewLinear(0, 1000, 1000)
	if err != nil {
		t.Fatal(err)
	}
	f := func(description string, want, within float64) {
		t.Helper()
		p, err := prior.Parse(description)
		if err != nil {
			t.Fatal(err)
		}
		weights, err := priorOf(p, g)
		if err != nil {
			t.Fatal(err)
		}
		if x := position(weights, 0.5); !(math.Abs(x-want) <= within) && !(math.IsNaN(x) && math.IsNaN(want)) {
			t.Errorf("%s: the middle is at %v, not %v", description, x, want)
		}
	}
	for _, robust := range []string{"0.1", "0.55", "0.95"} {
		f("laplace:location=100,scale=5,axis=buckets,robust="+robust, 100, 1)
		f("forecast:location=800,scale=5,last=790,reach=1002,robust="+robust, 800, 5)
	}
	f("uniform:near=0.5", math.NaN(), 0)
}
