package dp

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

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
		if err := c.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(c.open[0] == nil, next.open[0] == nil) {
			t.Fatalf("the carry is %v, read back %v, error %v", next, c, err)
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
	good, err := Carry{open: [][]int64{{1, -2}, nil, {3, 4}}}.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, {21}, good[:len(good)-1], append(append([]byte{}, good...), 0), {1, 200, 1}} {
		if err := new(Carry).UnmarshalBinary(b); !errors.Is(err, ErrCarry) {
			t.Errorf("%v: %v", b, err)
		}
	}
}
