package learn

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/prior"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func linear(t *testing.T) *sketch.Grid {
	t.Helper()
	g, err := sketch.NewLinear(0, 1000, 4000)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func state(t *testing.T, c Config, g *sketch.Grid) *State {
	t.Helper()
	s, err := New(c, g)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// result is a release that answered these values.
func result(g *sketch.Grid, q []float64, values ...float64) *dp.Result {
	r := new(dp.Result)
	for i, x := range values {
		lower, upper := g.Bounds(g.Index(x))
		r.Quantiles = append(r.Quantiles, dp.Quantile{Q: q[i], Value: x, Lower: lower, Upper: upper})
	}
	return r
}

func quarters(t int) Window {
	return Window{Start: start.Add(time.Duration(t) * 6 * time.Hour), Period: start}
}

// season is where the median of a stream with a daily season lies.
func season(t int) float64 { return 400 + 100*math.Cos(math.Pi/2*float64(t)) + 0.5*float64(t) }

func configs() []Config {
	return []Config{
		{Learner: Previous},
		{Features: []string{Hour}},
		{Optimiser: COCOB, Features: []string{Hour}},
		{Optimiser: SGD, Features: []string{Hour}},
		{Features: []string{Hour, Weekday}, Covariates: []string{"x"}},
		{Learner: FTRL},
		{Learner: Curve, Features: []string{Hour, Weekday}},
	}
}

// window returns a window with what a configuration needs.
func (c Config) window(t int) Window {
	w := quarters(t)
	for _, name := range c.Covariates {
		if w.Covariates == nil {
			w.Covariates = map[string]float64{}
		}
		w.Covariates[name] = float64(t % 3)
	}
	return w
}

func TestALearnerFollowsASeason(t *testing.T) {
	g := linear(t)
	off := func(c Config) (sum float64) {
		s := state(t, c, g)
		random := rand.New(rand.NewPCG(1, 1))
		for i := range 60 {
			p, err := s.Prior(quarters(i), []float64{0.5})
			if err != nil {
				t.Fatal(err)
			}
			if location, _ := prior.Located(p.At(0.5).Name()); i >= 40 {
				sum += math.Abs(location/4-season(i)) / 20
			}
			if err := s.Observe(fmt.Sprint(i), quarters(i), result(g, []float64{0.5}, season(i)+3*random.NormFloat64())); err != nil {
				t.Fatal(err)
			}
		}
		return sum
	}
	previous, ridge := off(Config{Learner: Previous}), off(Config{Features: []string{Hour}})
	t.Logf("the forecast is off by %.1f with the previous answer, %.1f with a season that was learned", previous, ridge)
	if ridge > previous/2 {
		t.Error("the season was not learned")
	}
}

// A shift is believed with the second answer that says so; a single one that is far off changes little.
func TestAShiftIsBelievedWhenItRepeats(t *testing.T) {
	g := linear(t)
	s := state(t, Config{}, g)
	at := func(i int, x float64) float64 {
		if err := s.Observe("", quarters(i), result(g, []float64{0.5}, x)); err != nil {
			t.Fatal(err)
		}
		location, _ := s.forecast(s.find(0.5), []float64{1})
		return location / 4
	}
	for i := range 20 {
		at(i, 300+float64(i%3))
	}
	if x := at(20, 900); math.Abs(x-301) > 5 {
		t.Errorf("after one answer of 900 the forecast is %v", x)
	}
	if x := at(21, 905); math.Abs(x-905) > 10 {
		t.Errorf("after two it is %v", x)
	}
}

// Releases that miss their quantile answer what their prior believes: drawn from it here, these answers make no forecast that is trusted for long, and the right ones do.
func TestAForecastOfMissesIsNotTrusted(t *testing.T) {
	g := linear(t)
	const q = 0.5
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 5))
		s := state(t, Config{}, g)
		at := 0
		observe := func(x float64) (location, share float64) {
			if err := s.Observe("", quarters(at), result(g, []float64{q}, x)); err != nil {
				t.Fatal(err)
			}
			at++
			f, _ := s.forecast(s.find(q), []float64{1})
			return f / 4, s.find(q).believed()
		}
		trusted := 0.0
		for range 40 {
			p, err := s.Prior(quarters(at), []float64{q})
			if err != nil {
				t.Fatal(err)
			}
			w, err := p.At(q).Weights(g)
			if err != nil {
				t.Fatal(err)
			}
			_, share := observe(draw(random, w) / 4)
			trusted += share / 40
		}
		if trusted > 0.8 {
			t.Errorf("seed %d: forecasts made of misses are believed with %.2f", seed, trusted)
		}
		var location, share float64
		for i := range 20 {
			location, share = observe(210 + float64(i%3))
		}
		if math.Abs(location-211) > 25 || share < 0.8 {
			t.Errorf("seed %d: after twenty answers around 211 the forecast is %.1f, believed with %.2f", seed, location, share)
		}
	}
}

// draw returns a position in buckets, with the probabilities of weights.
func draw(random *rand.Rand, weights []uint64) float64 {
	total := uint64(0)
	for _, w := range weights {
		total += w
	}
	left := random.Uint64N(total)
	for i, w := range weights {
		if left < w {
			return float64(i) + 0.5
		}
		left -= w
	}
	panic("unreachable")
}

// Where no other answer says where a quantile is, a forecast has no more than half of what the robust prior leaves, however often it was right.
func TestTheFirstQuantileIsBelievedHalf(t *testing.T) {
	g := linear(t)
	s := state(t, Config{}, g)
	for i := range 30 {
		if err := s.Observe("", quarters(i), result(g, []float64{0.25, 0.5, 0.75}, 300, 310, 320)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := s.Prior(quarters(30), []float64{0.25, 0.5, 0.75})
	if err != nil {
		t.Fatal(err)
	}
	f := func(q, least, most float64) {
		t.Helper()
		m, ok := p.At(q).(prior.Mixture)
		if !ok {
			t.Fatalf("the prior of %v is %s", q, p.At(q).Name())
		}
		if _, _, share, err := m.Mixed(g); err != nil || share < least || share > most {
			t.Errorf("the robust part of %v has the share %v, error %v", q, share, err)
		}
	}
	f(0.25, 0.1, 0.15)
	f(0.5, 0.55, 0.55+1e-9)
	f(0.75, 0.1, 0.15)
}

// Replaying the answers gives the identical state, byte for byte, and so does going on from a stored one.
func TestAStateIsAFunctionOfTheAnswers(t *testing.T) {
	g := linear(t)
	for _, c := range configs() {
		random := rand.New(rand.NewPCG(2, 2))
		var results []*dp.Result
		for range 100 {
			x := 1000 * random.Float64()
			r := result(g, []float64{0.5, 0.9}, x, min(x+50, 999))
			r.Curve = &dp.Curve{At: []float64{2 * x, 4 * x}, Variance: 0.01 * random.Float64()}
			results = append(results, r)
		}
		replay := func(from *State, results []*dp.Result, first int) []byte {
			for i, r := range results {
				if err := from.Observe(fmt.Sprint(first+i), c.window(first+i), r); err != nil {
					t.Fatal(err)
				}
			}
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(from.Proto())
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		want := replay(state(t, c, g), results, 0)
		if string(replay(state(t, c, g), results, 0)) != string(want) {
			t.Errorf("%+v: replayed, the state is another one", c)
		}
		stored := new(quietilev1.PriorState)
		if err := proto.Unmarshal(replay(state(t, c, g), results[:60], 0), stored); err != nil {
			t.Fatal(err)
		}
		s, err := FromProto(stored, c, g)
		if c.Learner == FTRL {
			if err == nil {
				t.Errorf("%+v: a stored state was taken", c)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if s.Releases() != 60 || s.Last() != "59" || string(replay(s, results[60:], 60)) != string(want) {
			t.Errorf("%+v: gone on from a stored state, it is another one", c)
		}
	}
}

func TestAStateOfSomethingElseIsRefused(t *testing.T) {
	g := linear(t)
	c := Config{Covariates: []string{"x"}}
	s := state(t, c, g)
	if err := s.Observe("a", c.window(0), result(g, []float64{0.5}, 10)); err != nil {
		t.Fatal(err)
	}
	f := func(want string, c Config, change func(*quietilev1.PriorState)) {
		t.Helper()
		p := s.Proto()
		change(p)
		if _, err := FromProto(p, c, g); !errors.Is(err, prior.ErrPrior) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	none := func(*quietilev1.PriorState) {}
	f("features", Config{}, none)
	f("robust", Config{Covariates: []string{"x"}, Robust: 0.5}, none)
	f("of previous", c, func(p *quietilev1.PriorState) { p.Learner = Previous })
	f("format 1", c, func(p *quietilev1.PriorState) { p.Format = 1 })
	f("grid linear", c, func(p *quietilev1.PriorState) { p.Grid = "linear:lower=0,upper=1,bins=2" })
	f("not finite", c, func(p *quietilev1.PriorState) { p.Quantiles[0].Weights[0] = math.NaN() })
	f("trust -1", c, func(p *quietilev1.PriorState) { p.Quantiles[0].Trust = -1 })
	f("magnitude -1", c, func(p *quietilev1.PriorState) { p.Magnitudes[0] = -1 })
	f("magnitude NaN", c, func(p *quietilev1.PriorState) { p.Magnitudes[0] = math.NaN() })
	f("1 weights", c, func(p *quietilev1.PriorState) { p.Quantiles[0].Weights = []float64{1} })
	f("out of order", c, func(p *quietilev1.PriorState) { p.Quantiles[0].Q = 0 })
	c = Config{Learner: Curve}
	s = state(t, c, g)
	if err := s.Observe("a", c.window(0), curved(2, 3)); err != nil {
		t.Fatal(err)
	}
	f("0 and 0 rules", c, func(p *quietilev1.PriorState) { p.Curves = nil })
	f("7 and 8 rules", c, func(p *quietilev1.PriorState) { p.Curves.Sums = p.Curves.Sums[1:] })
	f("the score NaN", c, func(p *quietilev1.PriorState) { p.Curves.Sums[0] = math.NaN() })
	f("weight -1", c, func(p *quietilev1.PriorState) { p.Curves.Weights[0] = -1 })
	f("out of order", c, func(p *quietilev1.PriorState) { p.Curves.Means[0].Rule = 1 })
	f("out of order", c, func(p *quietilev1.PriorState) { p.Curves.Means[0].Rule = 8 })
	f("weight 0", c, func(p *quietilev1.PriorState) { p.Curves.Means[0].Weight = 0 })
	f("point at 1", c, func(p *quietilev1.PriorState) { p.Curves.Means[0].At = []float64{2, 1} })
	f("0 points", c, func(p *quietilev1.PriorState) { p.Curves.Means[0].At = nil })
}

// The prior is then the robust part alone, and the release goes on.
func TestWrongCovariatesAreNamed(t *testing.T) {
	g := linear(t)
	c := Config{Covariates: []string{"temperature", "promotion"}}
	s := state(t, c, g)
	if err := s.Observe("", Window{Start: start, Covariates: map[string]float64{"temperature": 20, "promotion": 1}}, result(g, []float64{0.5}, 10)); err != nil {
		t.Fatal(err)
	}
	before := s.Proto()
	f := func(want string, covariates map[string]float64) {
		t.Helper()
		w := Window{Start: start, Covariates: covariates}
		p, err := s.Prior(w, []float64{0.5})
		if !errors.Is(err, prior.ErrPrior) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error with %q", covariates, err, want)
		}
		if p == nil || p.At(0.5).Name() != "uniform:near=0.5" {
			t.Errorf("%v: the prior is %v", covariates, p)
		}
		if err := s.Observe("", w, result(g, []float64{0.5}, 10)); err == nil || !proto.Equal(s.Proto(), before) {
			t.Errorf("%v: it was learned from, error %v", covariates, err)
		}
	}
	f(`covariate "temperature" is missing`, nil)
	f(`covariate "promotion" is missing`, map[string]float64{"temperature": 1})
	f(`covariate "temperature" is NaN`, map[string]float64{"temperature": math.NaN(), "promotion": 1})
	f(`covariate "rain" is not declared: there are 2`, map[string]float64{"temperature": 1, "promotion": 1, "rain": 1})
}

func TestWrongConfigurationsNameTheField(t *testing.T) {
	f := func(want string, c Config) {
		t.Helper()
		if _, err := New(c, linear(t)); !errors.Is(err, prior.ErrPrior) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", c, err, want)
		}
	}
	f(`learner "oracle"`, Config{Learner: "oracle"})
	f(`optimiser "adam"`, Config{Optimiser: "adam"})
	f(`optimiser "sgd" is for the learner proxy`, Config{Learner: Previous, Optimiser: SGD})
	f("robust 2", Config{Robust: 2})
	f(`feature "month"`, Config{Features: []string{"month"}})
	f(`feature "hour"`, Config{Features: []string{Hour, Hour}})
	f(`covariate ""`, Config{Covariates: []string{""}})
	f("17 covariates", Config{Covariates: make([]string, 17)})
}

// Answers anywhere, for ever: forecasts stay finite and priors fit the grid.
func TestNoAnswersBreakALearner(t *testing.T) {
	grid, err := sketch.NewBoundedExponential(2, 1e-3, 1e3)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs() {
		s := state(t, c, grid)
		random := rand.New(rand.NewPCG(3, 3))
		for i := range 500 {
			x := []float64{0, 1e-300, 1e300, 1, 5, 5, 5}[random.IntN(7)]
			if err := s.Observe("", c.window(i), result(grid, []float64{0.5}, x)); err != nil {
				t.Fatal(err)
			}
			p, err := s.Prior(c.window(i+1), []float64{0.5, 0.7})
			if err != nil {
				t.Fatal(err)
			}
			w, err := p.Weights(grid)
			if err == nil {
				err = prior.Check(w, grid.Len())
			}
			if err != nil {
				t.Fatalf("%+v: %s: %v", c, p.Name(), err)
			}
			if _, err := prior.Parse(p.Name()); err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
		}
	}
}

// A learner reads released results. Its package names nothing that holds records, and so cannot read them whatever it is changed to do without this test noticing.
func TestNoLearnerCanReadRecords(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 4 {
		t.Fatalf("files %v, error %v", files, err)
	}
	raw := map[string]bool{
		"Binned": true, "NewBinned": true, "FromProto": true, "KLL": true, "NewKLL": true, "Recorder": true, "NewRecorder": true, "Sketch": true, "Release": true, "ReleaseAndLearn": true, "Carry": true,
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if i.Name != nil && i.Name.Name != "quietilev1" {
				t.Errorf("%s imports %s as %s, which the names below do not cover", name, i.Path.Value, i.Name.Name)
			}
			switch path := strings.Trim(i.Path.Value, `"`); {
			case !strings.Contains(path, "/quietile/"), path == "github.com/quietile/quietile/dp", path == "github.com/quietile/quietile/sketch", path == "github.com/quietile/quietile/dp/prior",
				path == "github.com/quietile/quietile/dp/internal/surrogate", strings.HasSuffix(path, "proto/quietile/v1"):
			default:
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && (x.Name == "sketch" || x.Name == "dp" || x.Name == "quietilev1") && raw[s.Sel.Name] {
					t.Errorf("%s uses %s.%s", name, x.Name, s.Sel.Name)
				}
			}
			return true
		})
	}
	if _, err := os.Stat("learn.go"); err != nil {
		t.Error(err)
	}
}

// A stored state of whatever bytes is refused or goes on: priors fit the grid, and nothing ends the process.
func FuzzState(f *testing.F) {
	g, err := sketch.NewLinear(0, 10, 10)
	if err != nil {
		f.Fatal(err)
	}
	quantiles := []float64{0.25, 0.5}
	for _, c := range configs() {
		s, err := New(c, g)
		if err != nil {
			f.Fatal(err)
		}
		for i := range 3 {
			r := result(g, quantiles, 3, 4)
			r.Curve = &dp.Curve{At: []float64{1, 5, 6}, Variance: 0.1}
			if err := s.Observe("x", c.window(i), r); err != nil {
				f.Fatal(err)
			}
		}
		b, err := proto.Marshal(s.Proto())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := new(quietilev1.PriorState)
		if proto.Unmarshal(b, p) != nil {
			return
		}
		for _, c := range configs() {
			s, err := FromProto(p, c, g)
			if err != nil {
				if !errors.Is(err, prior.ErrPrior) {
					t.Error(err)
				}
				continue
			}
			for i := range 3 {
				priors, err := s.Prior(c.window(i), quantiles)
				if err != nil {
					t.Fatal(err)
				}
				for _, q := range quantiles {
					own, _, _, err := priors.At(q).(prior.Mixture).Mixed(g)
					if err == nil {
						err = prior.Check(own, g.Len())
					}
					if err != nil {
						t.Fatalf("%+v: %s: %v", c, priors.Name(), err)
					}
				}
				if c := s.Forecast(c.window(i)); c != nil && c.Check(g.Len()) != nil {
					t.Fatalf("the forecast is %v", c)
				}
				r := result(g, quantiles, 1, 8)
				r.Curve = &dp.Curve{At: []float64{2, 3}, Variance: 0.01}
				if err := s.Observe("x", c.window(i), r); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// So do answers with sums of whatever numbers.
func FuzzSums(f *testing.F) {
	g, err := sketch.NewLinear(0, 10, 10)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(0), uint64(1), int64(5), int64(-5), false)
	f.Add(uint8(1), uint64(2), int64(math.MinInt64), int64(math.MaxInt64), true)
	f.Fuzz(func(t *testing.T, level uint8, last uint64, x, y int64, short bool) {
		c := Config{Learner: FTRL}
		s := state(t, c, g)
		r := result(g, []float64{0.5}, 3)
		for i := range 5 {
			if err := s.Observe("x", c.window(i), r); err != nil {
				t.Fatal(err)
			}
			p, err := s.Prior(c.window(i), []float64{0.5})
			if err != nil {
				t.Fatal(err)
			}
			if w, err := p.Weights(g); err != nil || prior.Check(w, g.Len()) != nil {
				t.Fatalf("%s: %v", p.Name(), err)
			}
			r.Learned = []dp.GradientSum{{Level: 0, Last: uint64(i + 1), Values: []int64{x, y}}, {Level: int(level), Last: last, Values: []int64{y, x}}}
			if short {
				r.Learned[1].Values = nil
			}
			if g := s.Learning(c.window(i+1), []float64{0.5}, 1, 8, 0.5); g == nil {
				t.Fatal("nothing is learned")
			}
		}
	})
}

// Of several answers about one window a quantile learns from the first.
func TestWhoAsksMoreOftenDoesNotCountMore(t *testing.T) {
	g := linear(t)
	for _, c := range configs() {
		s, once := state(t, c, g), state(t, c, g)
		for i := range 10 {
			for again := range 3 {
				r := result(g, []float64{0.5}, 100+10*float64(i)+float64(again))
				r.Curve = &dp.Curve{At: []float64{float64(i + again), 100}, Variance: 0.1}
				if err := s.Observe("", c.window(i), r); err != nil {
					t.Fatal(err)
				}
				if again > 0 {
					continue
				}
				if err := once.Observe("", c.window(i), r); err != nil {
					t.Fatal(err)
				}
			}
		}
		if x, y := s.Proto().GetCurves(), once.Proto().GetCurves(); !proto.Equal(x, y) {
			t.Errorf("%+v: asked more often, curves are %v, otherwise %v", c, x, y)
		}
		if x, y := s.Proto().GetQuantiles()[0], once.Proto().GetQuantiles()[0]; !proto.Equal(x, y) {
			t.Errorf("%+v: asked more often, the state is %v, otherwise %v", c, x, y)
		}
	}
}

// A tree is of one period and of the same quantiles, no longer than it has room, and of ascending windows.
func TestATreeEndsWithItsPeriodAndItsQuantiles(t *testing.T) {
	g := linear(t)
	s := state(t, Config{Learner: FTRL}, g)
	both := []float64{0.25, 0.5}
	for i := range 2 {
		if err := s.Observe(fmt.Sprint(i), quarters(i), result(g, both, 400, 500)); err != nil {
			t.Fatal(err)
		}
	}
	id := 2
	f := func(w Window, quantiles []float64, windows, capacity int, number uint64) {
		t.Helper()
		l := s.Learning(w, quantiles, windows, capacity, 0.5)
		if l == nil || number == 0 {
			if l != nil || number != 0 {
				t.Fatalf("learning %+v, want number %d", l, number)
			}
			return
		}
		if l.Number != number || l.Windows != uint64(windows) || 1<<l.Levels <= capacity || len(l.Parameters) != len(quantiles) {
			t.Fatalf("learning %+v, want number %d and %d windows", l, number, windows)
		}
		r := result(g, quantiles, []float64{400, 500}[:len(quantiles)]...)
		r.Learned = []dp.GradientSum{{Last: number, Values: make([]int64, 2*len(quantiles))}}
		if err := s.Observe(fmt.Sprint(id), w, r); err != nil {
			t.Fatal(err)
		}
		if s.Leader() != fmt.Sprint(id) {
			t.Fatalf("the leader is %s, want %d", s.Leader(), id)
		}
		id++
	}
	next := func(i int) Window { w := quarters(i); w.Period = start.Add(24 * time.Hour); return w }
	f(quarters(2), both, 3, 3, 1)
	f(quarters(2), both, 3, 3, 0)
	f(quarters(1), both, 3, 3, 0)
	f(quarters(3), both, 3, 3, 2)
	f(next(4), both, 3, 3, 1)
	f(next(5), both, 3, 3, 2)
	f(next(6), both, 3, 3, 3)
	f(next(7), both, 3, 3, 0) // there is no room
	f(next(7), both[1:], 3, 3, 1)
	f(next(7), both, 3, 3, 0)
	f(next(8), both, 3, 3, 1)
	f(next(9), []float64{0.5, 0.75}, 3, 3, 0) // one is not known
}

// However long a tree is, its state is of the runs that it is made of, and as quickly made.
func TestALongTreeHasASmallState(t *testing.T) {
	g := linear(t)
	s := state(t, Config{Learner: FTRL}, g)
	for i := range 2 {
		if err := s.Observe("", quarters(i), result(g, []float64{0.5}, 400)); err != nil {
			t.Fatal(err)
		}
	}
	const last = 20_000
	for number := uint64(1); number <= last; number++ {
		r := result(g, []float64{0.5}, 400)
		for level := range bits.TrailingZeros64(number) + 1 {
			r.Learned = append(r.Learned, dp.GradientSum{Level: level, Last: number, Values: []int64{1 << level, 0}})
		}
		w := quarters(2)
		w.Start = w.Start.Add(time.Duration(number) * time.Second)
		if err := s.Observe("", w, r); err != nil {
			t.Fatal(err)
		}
	}
	total := int64(0)
	for _, x := range s.Proto().GetSums() {
		total += x.GetValues()[0]
	}
	if n := len(s.Proto().GetSums()); n != bits.OnesCount(last) || total != last {
		t.Errorf("the state has %d sums, of %d gradients", n, total)
	}
}
