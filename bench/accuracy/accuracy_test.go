package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// few returns a data set of Gaussian records.
func few(n int) *dataset {
	return newDataset(sources("no folder")[0], n, rand.New(rand.NewPCG(1, 2)))
}

// With a large ε all are near the truth, but for what their bins and slices miss.
func TestEveryEntrantAnswersNearTheTruth(t *testing.T) {
	d := few(3000)
	for _, m := range []int{1, 9} {
		quantiles := even(m)
		for _, e := range entrants() {
			if !e.can(d.n, m) {
				continue
			}
			release := e.prepare(d, quantiles, 50)
			sum := 0.0
			for range 5 {
				answers := release(rand.New(rand.NewPCG(3, 4)))
				if len(answers) != m || !slices.IsSorted(answers) {
					t.Fatalf("%s: %v", e.name, answers)
				}
				mean, most := d.errors(quantiles, answers)
				if mean > most {
					t.Errorf("%s: mean error %v is more than the largest, %v", e.name, mean, most)
				}
				sum += mean / 5
			}
			if limit := map[string]float64{"coarse histogram": 300, "histogram": 100, "BoundedQuantiles": 60}[e.name]; sum > max(limit, 10) {
				t.Errorf("%s errs by %.1f records at ε = 50 with %d quantiles", e.name, sum, m)
			}
		}
	}
}

// The draws of the peers have the law of the exponential mechanism on positions.
func TestDrawsFollowTheExponentialMechanism(t *testing.T) {
	d := few(100)
	d.points = nil
	n := float64(d.n)
	random := rand.New(rand.NewPCG(5, 6))
	const rate, target, cells, draws = 0.3, 30, 10, 20_000
	a, b := 3500.0, 4700.0
	// By numerical integration.
	want := make([]float64, cells)
	total := 0.0
	const steps = 200_000
	for i := range steps {
		x := a + (float64(i)+0.5)*(b-a)/steps
		w := math.Exp(-rate * math.Abs(min(max(d.rank(x), 5), n-5)-5-target))
		want[i*cells/steps] += w
		total += w
	}
	got := make([]float64, cells)
	for range draws {
		x := draw(random, d, a, b, 5, n-5, target, rate)
		if x < a || x > b {
			t.Fatalf("%v is not in [%v, %v]", x, a, b)
		}
		got[min(int((x-a)/(b-a)*cells), cells-1)]++
	}
	square := 0.0
	for i, w := range want {
		if expected := w / total * draws; expected > 1 {
			square += (got[i] - expected) * (got[i] - expected) / expected
		}
	}
	if square > 40 { // 9 degrees of freedom: one in 10⁵
		t.Errorf("chi-square %.1f: drawn %v, expected in proportion to %v", square, got, want)
	}
}

// With one quantile JointExp, AQ and the independent mechanism are the same exponential mechanism.
func TestJointExpOfOneQuantileIsTheExponentialMechanism(t *testing.T) {
	d := few(200)
	random := rand.New(rand.NewPCG(7, 8))
	errors := func(e func(*dataset, []float64, float64) func(*rand.Rand) []float64, epsilon float64) (sum float64) {
		release := e(d, []float64{0.5}, epsilon)
		for range 4000 {
			sum += math.Abs(d.rank(release(random)[0])-100) / 4000
		}
		return sum
	}
	one, two, three := errors(jointExp, 0.2), errors(independent, 0.2), errors(aq, 0.2)
	if math.Abs(one-two) > 0.08*one || math.Abs(one-three) > 0.08*one {
		t.Errorf("mean errors %.2f of JointExp, %.2f of the exponential mechanism, %.2f of AQ", one, two, three)
	}
}

func TestRatiosAreGeometricMeans(t *testing.T) {
	r := &run{entrants: []entrant{{name: "auto", ours: true}, {name: "A"}, {name: "B"}}}
	add := func(m int, auto, a, b float64) {
		c := &cell{m: m, results: map[string]*result{}}
		for name, x := range map[string]float64{"auto": auto, "A": a, "B": b} {
			if x >= 0 {
				c.results[name] = &result{mean: []float64{x, x}, most: []float64{2 * x, 2 * x}}
			}
		}
		r.cells = append(r.cells, c)
	}
	add(1, 0, 1, 3)
	add(9, 1, 0, -1)
	add(9, 3, 3, -1)
	all := func(*cell) bool { return true }
	if got, cells := r.ratio("auto", "A", measures[0], all); math.Abs(got-1) > 1e-12 || cells != 3 {
		t.Errorf("ratio %v over %d cells, want 1 over 3", got, cells)
	}
	if got, cells := r.ratio("auto", "B", measures[0], all); math.Abs(got-0.25) > 1e-12 || cells != 1 {
		t.Errorf("ratio %v over %d cells, want 1/4 over 1", got, cells)
	}
	losses := r.losses("auto")
	if len(losses) != 2 || losses[0].peer != "A" || losses[0].ratio != 3 || losses[1].ratio != 2 {
		t.Errorf("behind in %+v", losses)
	}
	if best, second := r.standing(); best.name != "auto" && best.name != "A" || second.name == "B" || second.name == best.name {
		t.Errorf("%+v, then %+v", best, second)
	}
}

func TestWhoSeemsToErrLessIsMeasuredAgain(t *testing.T) {
	d := few(100)
	runs := map[string]int{}
	fixed := func(name string, ours bool, at float64) entrant {
		return entrant{name, ours, "", always, func(*dataset, []float64, float64) func(*rand.Rand) []float64 {
			return func(*rand.Rand) []float64 { runs[name]++; return []float64{at} }
		}}
	}
	median := 0
	for d.before[median+1] < 50 {
		median++
	}
	r := &run{reps: 3, entrants: []entrant{fixed("auto", true, 0), fixed("A", false, 0), fixed("B", false, float64(median)+0.5), fixed("mine", true, float64(median)+0.5)}}
	c := &cell{n: 100, m: 1, epsilon: 1, results: map[string]*result{}, again: map[string]*result{}}
	r.measure([]*dataset{d, d, d, d, d, d, d}, c)
	r.measureAgain([]*dataset{d, d}, c)
	r.cells = []*cell{c}
	once := r.reps * r.entrants[0].times(1)
	for name, want := range map[string]int{"auto": once * (1 + moreOften), "A": once, "B": once * (1 + moreOften), "mine": once} {
		if runs[name] != want {
			t.Errorf("%s is run %d times, want %d", name, runs[name], want)
		}
	}
	var report strings.Builder
	if r.write(&report); !strings.Contains(report.String(), "Then it is so in 2, and in 2 by more") {
		t.Error(report.String())
	}
}

func TestErrorsAreThoseOfTheBucket(t *testing.T) {
	d := few(100)
	for i := range d.grid.Len() {
		if d.before[i] < 50 && d.before[i+1] >= 50 {
			if mean, most := d.errors([]float64{0.5}, []float64{float64(i) + 0.3}); mean != 0 || most != 0 {
				t.Errorf("the bucket of the median errs by %v", mean)
			}
			if mean, _ := d.errors([]float64{0.5}, []float64{0}); mean != 50 {
				t.Errorf("the first bucket errs by %v", mean)
			}
		}
	}
	if got := fmt.Sprint(even(3)); got != "[0.25 0.5 0.75]" {
		t.Errorf("even(3) = %s", got)
	}
}

// The noise of the first j counts is half of the root's, with that of what is to its left less what is to its right: of m = 4 and one level five Laplace variables of scale 1/ε.
func TestCountingNoiseHasTheVarianceOfItsTree(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	const draws = 40_000
	for _, f := range []struct {
		m        int
		variance float64 // in 1/ε²
	}{{1, 2}, {4, 2 * 5}, {9, 2 * 10}} {
		squares := make([]float64, f.m)
		for range draws {
			for j, x := range countingNoise(random, f.m, 0.5) {
				squares[j] += x * x / draws * 0.5 * 0.5
			}
		}
		for j, got := range squares {
			if math.Abs(got-f.variance) > 0.1*f.variance {
				t.Errorf("of %d counts, the first %d have noise of variance %.2f, want %v", f.m, j+1, got, f.variance)
			}
		}
	}
}

func TestSumsThatFallAreInverted(t *testing.T) {
	if got := fmt.Sprint(invert([]float64{0, 4, -1, 1, 4}, []float64{0.25, 0.5, 0.75})); got != "[1.5 3.999999999 4.5]" {
		t.Errorf("inverted to %s", got)
	}
	if got := invert(make([]float64, 4), []float64{0.5}); len(got) != 1 {
		t.Errorf("no records: %v", got)
	}
}
