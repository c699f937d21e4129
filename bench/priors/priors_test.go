package main

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// A release of ten records on three buckets, by hand.
func TestGapsAreDistancesOfRanks(t *testing.T) {
	g := grid("explicit:1,2")
	s := sketchOf(g, []float64{0, 0, 0, 1.5, 1.5, 1.5, 1.5, 3, 3, 3})
	answer := func(q, x float64) dp.Quantile {
		lower, upper := g.Bounds(g.Index(x))
		return dp.Quantile{Q: q, Value: x, Lower: lower, Upper: upper}
	}
	x := gapOf(s, &dp.Result{Quantiles: []dp.Quantile{answer(0.5, 1.5), answer(0.2, 1.5), answer(0.9, 0)}}, nil)
	if math.Abs(x.mean-(0+1+6)/3.) > 1e-12 || x.most != 6 || math.Abs(x.surprise-math.Log(3)) > 1e-12 {
		t.Errorf("gap %+v", x)
	}
}

// What the law says is what releases do, and descent finds no worse weights than it began with.
func TestLawsAreThoseOfReleases(t *testing.T) {
	g := grid("linear:lower=0,upper=100,bins=100")
	r := rand.New(rand.NewPCG(1, 1))
	s := sketch.NewBinned(g)
	for range 200 {
		s.Add(50 + 10*r.NormFloat64())
	}
	l := lawOf(s, 0.25, 0.1)
	for _, text := range []string{"uniform", "laplace:location=60,scale=2", "cauchy:location=43,scale=1"} {
		p := must(prior.Parse(text))
		const reps = 4000
		var sum gap
		for range reps {
			sum.add(gapOf(s, must(dp.Release(s, dp.Options{Quantiles: []float64{0.25}, Epsilon: nano(0.1), Prior: p, Estimator: must(dp.ParseEstimator("recursive"))})), nil), 1./reps)
		}
		if want := l.mean(weightsOf(p, g)); math.Abs(sum.mean-want) > 5*sum.deviation(reps) {
			t.Errorf("%s: releases are off by %.3f ± %.3f, the law says %.3f", text, sum.mean, sum.deviation(reps), want)
		}
	}
	even := weightsOf(prior.Uniform(), g)
	if w := best([]law{l}, even, 50); !(l.mean(w) < l.mean(even)/2) {
		t.Errorf("the best prior is off by %.3f, the uniform one by %.3f", l.mean(w), l.mean(even))
	}
}

// A few windows of each kind of sequence, so that all learners run.
func TestSequencesRun(t *testing.T) {
	for _, rho := range []bool{false, true} {
		q := sequence{stream: withGrid(seasonal(2, 1), "linear:lower=0,upper=200,bins=200"), learners: append(learners(), counting()...), n: 50, m: 2, epsilon: 1, rho: rho, windows: 4, reps: 2, seed: 1}
		gaps := q.run()
		if len(gaps) != len(q.learners) || len(gaps[0]) != 4 {
			t.Fatalf("%d learners", len(gaps))
		}
		for k := range gaps {
			if x := over(gaps[k]); !(x.mean >= 0 && x.mean <= x.most && x.most <= 50 && x.surprise > 0) {
				t.Errorf("%s: %+v", q.learners[k].name, x)
			}
		}
		var w bytes.Buffer
		row(&w, "x", gaps)
		if bytes.Contains(w.Bytes(), []byte("NaN")) {
			t.Errorf("the row is %s", w.String())
		}
	}
}
