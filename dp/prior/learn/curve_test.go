package learn

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/prior"
)

// curved is a release that showed a curve, of the least variance.
func curved(at ...float64) *dp.Result {
	return &dp.Result{Curve: &dp.Curve{At: at}}
}

// noisy is a release that showed records evenly spread over 200 buckets from a position on, with noise.
func noisy(r *rand.Rand, from, deviation float64) *dp.Result {
	return &dp.Result{Curve: &dp.Curve{At: []float64{from, from + 200}, Variance: deviation * deviation}, Quantiles: []dp.Quantile{{Q: 0.5, Value: (from + 100 + 200*deviation*r.NormFloat64()) / 4}}}
}

// Where a stream has a season the mean of the same hour is chosen, where nothing changes a long memory, where all is new nothing is certain.
func TestTheRuleThatForecastsBestIsChosen(t *testing.T) {
	g := linear(t)
	c := Config{Learner: Curve, Features: []string{Hour}}
	follow := func(at func(i int) float64) (off float64, forecast *dp.Curve) {
		s := state(t, c, g)
		r := rand.New(rand.NewPCG(4, 4))
		for i := range 60 {
			forecast = s.Forecast(c.window(i))
			if i < 2 && len(forecast.At) > 0 {
				t.Fatalf("of %d curves the forecast is %v", i, forecast)
			}
			if i >= 40 {
				off += math.Abs(forecast.Position(0.5)-at(i)-100) / 20
			}
			x := noisy(r, at(i), 0.05)
			x.Curve.At[0] += 10 * r.NormFloat64() // 0.05 of the 200 buckets
			x.Curve.At[1] = x.Curve.At[0] + 200
			if err := s.Observe("", c.window(i), x); err != nil {
				t.Fatal(err)
			}
		}
		return off, forecast
	}
	constant, still := follow(func(int) float64 { return 1000 })
	seasonal, daily := follow(func(i int) float64 { return 1000 + 400*math.Cos(math.Pi/2*float64(i)) })
	r := rand.New(rand.NewPCG(5, 5))
	places := make([]float64, 60)
	for i := range places {
		places[i] = 3000 * r.Float64()
	}
	_, lost := follow(func(i int) float64 { return places[i] })
	t.Logf("forecasts are off by %.1f buckets where nothing changes and by %.1f in a season, with variances %.2g and %.2g; %.2g where all is new", constant, seasonal, still.Variance, daily.Variance, lost.Variance)
	if constant > 6 || seasonal > 12 {
		t.Error("forecasts are far off")
	}
	if still.Variance > 0.0025 || daily.Variance > 0.0025 || lost.Variance < 0.1 {
		t.Error("their variances are not what they are off by")
	}
}

// A curve that is known worse counts for less.
func TestCurvesWeighByTheirVariances(t *testing.T) {
	c := Config{Learner: Curve}
	s := state(t, c, linear(t))
	for i, variance := range []float64{0.001, 0.001, 0.25} {
		r := curved(1000, 1200)
		if i == 2 {
			r = curved(2000, 2200)
		}
		r.Curve.Variance = variance
		if err := s.Observe("", c.window(i), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range s.curves.means {
		if x := m.mean.Share(1500); rules[m.rule].factor == 0.8 && x < 0.98 {
			t.Errorf("%v of the records are expected before what a bad curve shows, not nearly all", x)
		}
	}
}

// Answers without curves, or with such as no grid has, leave what is expected as it is; other learners expect no curve.
func TestWhatIsNoCurveIsNotLearned(t *testing.T) {
	g := linear(t)
	c := Config{Learner: Curve}
	s := state(t, c, g)
	for i := range 3 {
		if err := s.Observe("", c.window(i), curved(1000, 1200)); err != nil {
			t.Fatal(err)
		}
	}
	before := s.Forecast(c.window(9)).Position(0.5)
	for i, r := range []*dp.Result{{}, curved(), curved(1), curved(5000, 6000), curved(2, 1), curved(math.NaN(), 1)} {
		if err := s.Observe("", c.window(3+i), r); err != nil {
			t.Fatal(err)
		}
	}
	if x := s.Forecast(c.window(9)).Position(0.5); x != before {
		t.Errorf("the forecast moved from %v to %v", before, x)
	}
	if x := state(t, Config{}, g).Forecast(c.window(0)); x != nil {
		t.Errorf("proxy expects %v", x)
	}
}

// What is believed of quantiles, for displays, is read from the forecast.
func TestQuantilesOfAForecastAreShown(t *testing.T) {
	g := linear(t)
	c := Config{Learner: Curve}
	s := state(t, c, g)
	for i := range 5 {
		r := result(g, []float64{0.5}, 999)
		r.Curve = &dp.Curve{At: []float64{1000, 1200}, Variance: 0.01}
		if err := s.Observe("", c.window(i), r); err != nil {
			t.Fatal(err)
		}
	}
	p, err := s.Prior(c.window(5), []float64{0.5})
	if err != nil {
		t.Fatal(err)
	}
	if location, _ := prior.Located(p.At(0.5).Name()); math.Abs(location-1100) > 1 {
		t.Errorf("the median is expected at %v, in the middle of the curve it is at 1100", location)
	}
}
