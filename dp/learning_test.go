package dp

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/gradient"
	"github.com/quietile/quietile/dp/internal/recursive"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

func learning(t *testing.T) (*sketch.Binned, Options) {
	t.Helper()
	s := sketch.NewBinned(linear(t, 0, 100, 100))
	for i := range 1000 {
		s.Add(float64(i) / 10)
	}
	parameter := func(q float64) Parameter { return Parameter{Q: q, Theta: []float64{0}, Phi: 1, Origin: 20, Unit: 8} }
	return s, Options{
		Quantiles: []float64{0.75, 0.25, 0.75}, NanoRho: 5e7,
		Learn: &Learning{Share: 0.2, Parameters: []Parameter{parameter(0.25), parameter(0.75)}, Features: []float64{1}, Levels: 3, Number: 1},
	}
}

func TestAGradientIsPaidForByItsRelease(t *testing.T) {
	s, o := learning(t)
	if epsilon, rho := Cost(o); epsilon != 0 || rho != 5e7 {
		t.Errorf("the release costs epsilon %v and rho %v", epsilon, rho)
	}
	if rho := LearningCost(o); rho != 1e7 {
		t.Errorf("the gradient costs rho %v", rho)
	}
	answers, _ := o.budgets()
	if answers.nanoRho != 4e7 {
		t.Errorf("the answers have rho %v", answers.nanoRho)
	}
	replaced := o
	replaced.Neighbours = ReplaceOne
	if answers, _ := replaced.budgets(); answers.nanoRho != 1e7 || LearningCost(replaced) != 1e7 {
		t.Errorf("against replacement: answers have rho %v, the gradient costs %v", answers.nanoRho, LearningCost(replaced))
	}
	var c Carry
	for number := uint64(1); number < 8; number++ {
		o.Learn.Number = number
		r, next, err := ReleaseAndLearn(s, o, c)
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		for number>>(want-1)&1 == 0 {
			want++
		}
		if len(r.Learned) != want || len(r.Learned[0].Values) != 4 || r.LearnedNanoRho != 1e7 || r.NanoRho != 5e7 || len(r.Quantiles) != 3 {
			t.Fatalf("release %d: %+v", number, r)
		}
		b, err := next.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(c, next) {
			t.Fatalf("the carry is %v, read back %v, error %v", next, c, err)
		}
	}
}

// A unit in more windows needs more noise.
func TestWindowsOfAUnitReachTheNoise(t *testing.T) {
	_, o := learning(t)
	f := func(windows uint64, times float64) {
		t.Helper()
		one := o.Learn.problem(o).Variance()
		l := *o.Learn
		l.Windows = windows
		if got := l.problem(o).Variance(); math.Abs(got-times*one) > times {
			t.Errorf("%d windows: variance %v, and of one %v", windows, got, one)
		}
	}
	f(0, 1)
	f(1, 1)
	f(6, 6)
}

// zeroes is a prior that breaks its contract, in one of its parts.
type zeroes struct {
	prior.Prior
	own, robust uint64
}

func (z zeroes) Mixed(g *sketch.Grid) (own, robust []uint64, share float64, err error) {
	return slices.Repeat([]uint64{z.own}, g.Len()), slices.Repeat([]uint64{z.robust}, g.Len()), 0.1, nil
}

func TestPartsOfAPriorAreChecked(t *testing.T) {
	s, o := learning(t)
	o.Learn = nil
	f := func(name, want string, own, robust uint64) {
		t.Helper()
		o.Prior = zeroes{prior.Uniform(), own, robust}
		if _, err := Release(s, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f("own weights of 0", "bucket 0 is 0", 0, 1)
	f("robust weights of 0", "bucket 0 is 0", 1, 0)
	f("weights that wrap around", "sum to more", 1<<63, 1)
	f("robust weights that wrap around", "sum to more", 1, 1<<63)
}

// A weight within a range is positive however little both parts believe.
func TestWeightsWithinRangesArePositive(t *testing.T) {
	const n = 64
	p := recursive.Prior{Weights: slices.Repeat([]uint64{1}, n), Robust: slices.Repeat([]uint64{1}, n), Share: 1e-18}
	p.Weights[3] = 1 << 61
	p.Near = 0.5
	for _, total := range []uint64{0, 1, 24} {
		p.Total = total
		for _, r := range [][2]uint64{{0, n<<40 - 1}, {5, n << 40}, {3 << 40, 4<<40 + 1}, {1<<40 - 1, 63<<40 + 7}} {
			first, last := int(min(r[0], n<<40-1)>>40), int(min(r[1], n<<40-1)>>40)+1
			if w := p.Within(first, last, r[0], r[1], 40, nil); len(w) != last-first || slices.Min(w) == 0 {
				t.Errorf("total %d, range %v: %v", total, r, w)
			}
		}
	}
}

// Whatever the estimator: the answer is there after a time that the options decide.
func TestWorkCoversTheGradient(t *testing.T) {
	s, o := learning(t)
	for _, name := range []string{"recursive", "tree", "density"} {
		var err error
		if o.Estimator, err = ParseEstimator(name); err != nil {
			t.Fatal(err)
		}
		with, plain := o, o
		plain.Learn = nil
		if more := Work(with, s.Grid()) - Work(plain, s.Grid()); more < uint64(2*s.Grid().Len()*len(o.Learn.Parameters)) || more > 1<<20 {
			t.Errorf("%s: a gradient takes %d steps", name, more)
		}
	}
}

func TestWrongLearningIsRefused(t *testing.T) {
	f := func(want string, change func(*Options)) {
		t.Helper()
		s, o := learning(t)
		change(&o)
		if _, _, err := ReleaseAndLearn(s, o, Carry{}); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	f("learning is missing", func(o *Options) { o.Learn = nil })
	f("learning needs a budget in rho", func(o *Options) { o.NanoRho, o.Epsilon = 0, epsilonUnit })
	f("learning share 1", func(o *Options) { o.Learn.Share = 1 })
	f("parameters for 1 of 2", func(o *Options) { o.Learn.Parameters = o.Learn.Parameters[:1] })
	f("quantile 0.3 instead of 0.25", func(o *Options) { o.Learn.Parameters[0].Q = 0.3 })
	f("number 8", func(o *Options) { o.Learn.Number = 8 })
	f("φ NaN", func(o *Options) { o.Learn.Parameters[0].Phi = math.NaN() })
	s, o := learning(t)
	if _, err := Release(s, o); !errors.Is(err, ErrOptions) {
		t.Errorf("Release learns: %v", err)
	}
}

func TestADamagedCarryIsRefused(t *testing.T) {
	good, err := Carry{3, 5, []gradient.Node{{Values: []int64{1, -2}, Variance: 7}, {}, {Values: []int64{3, 4}, Variance: 9}}}.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, {21}, good[:len(good)-1], append(append([]byte{}, good...), 0), {1, 1, 200, 1}, {1, 2, 0}, {1, 1, 1, 0, 2}} {
		if err := new(Carry).UnmarshalBinary(b); !errors.Is(err, ErrCarry) {
			t.Errorf("%v: %v", b, err)
		}
	}
}

// counted adds no noise.
type counted struct{ exact.NoiseSampler }

func (counted) Noisy(count uint64, _ exact.Noise) int64 { return int64(count) }

// A gradient is paid for in one sum of each level of its tree.
func TestACarryOfAnotherReleaseIsLost(t *testing.T) {
	s, o := learning(t)
	var c Carry
	var alone []int64
	for number := uint64(1); number < 4; number++ {
		o.Learn.Number = number
		r, next, err := releaseAndLearn(s, o, c, counted{exact.New()})
		if err != nil {
			t.Fatal(err)
		}
		alone, c = r.Learned[0].Values, next
	}
	f := func(name string, levels int, number uint64, joined bool) {
		t.Helper()
		o.Learn.Levels, o.Learn.Number = levels, number
		r, _, err := releaseAndLearn(s, o, c, counted{exact.New()})
		if err != nil {
			t.Fatal(err)
		}
		last := r.Learned[len(r.Learned)-1].Values
		if joined == slices.Equal(last, alone) {
			t.Errorf("%s: the last sum is %v, one gradient is %v", name, last, alone)
		}
	}
	f("of the release before", 3, 4, true)
	f("of an earlier one", 3, 6, false)
	f("of a later one", 3, 2, false)
	f("of a lower tree", 4, 4, false)
}

func FuzzCarry(f *testing.F) {
	for _, c := range []Carry{{}, {3, 5, []gradient.Node{{Values: []int64{1, -2}, Variance: 7}, {}, {Values: []int64{3, 4}, Variance: 9}}}} {
		b, err := c.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Carry
		if err := c.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrCarry) {
				t.Error(err)
			}
			return
		}
		again, err := c.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var same Carry
		if err := same.UnmarshalBinary(again); err != nil || !reflect.DeepEqual(c, same) {
			t.Fatalf("%+v is read back as %+v, error %v", c, same, err)
		}
		// Whatever a carry holds, the next release takes it or leaves it.
		g, err := sketch.NewExplicit([]float64{1, 2})
		if err != nil || c.levels == 0 || c.number+1 >= 1<<c.levels {
			return
		}
		o := Options{Quantiles: []float64{0.5}, NanoRho: 5e7, Learn: &Learning{
			Share: 0.2, Parameters: []Parameter{{Q: 0.5, Theta: []float64{0}, Phi: 1, Unit: 1}}, Features: []float64{1}, Levels: c.levels, Number: c.number + 1,
		}}
		if _, _, err := ReleaseAndLearn(sketch.NewBinned(g), o, c); err != nil {
			t.Fatal(err)
		}
	})
}
