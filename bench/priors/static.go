package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// A body of records to draw from, with the grid and a rough guess of where they are.
type body struct {
	name, grid, cauchy string
	draw               func(r *rand.Rand) float64
}

func bodies(dir string) []body {
	all := []body{{"Gaussian", "linear:lower=-20,upper=20,bins=8192", "cauchy:location=0,scale=1", func(r *rand.Rand) float64 { return r.NormFloat64() }}}
	for _, real := range []struct{ name, file, column, grid, cauchy string }{
		{"Adult age", "adult.csv.gz", "age", "linear:lower=0,upper=128,bins=8192", "cauchy:location=40,scale=20"},
		{"Adult hours", "adult.csv.gz", "hours", "linear:lower=0,upper=128,bins=8192", "cauchy:location=40,scale=10"},
		{"book pages", "books.csv.gz", "pages", "linear:lower=0,upper=8192,bins=8192", "cauchy:location=300,scale=100"},
		{"book ratings", "books.csv.gz", "ratings_count", "linear:lower=0,upper=4194304,bins=65536", "half-cauchy:location=0,scale=1000"},
	} {
		if values := column(dir, real.file, real.column); values != nil {
			all = append(all, body{real.name, real.grid, real.cauchy, func(r *rand.Rand) float64 { return values[r.IntN(len(values))] }})
		}
	}
	return all
}

func (b body) sample(n int, r *rand.Rand) *sketch.Binned {
	s := sketch.NewBinned(grid(b.grid))
	for range n {
		s.Add(b.draw(r))
	}
	return s
}

// static compares priors and shapes of the recursion without learning.
func static(s settings, w *bytes.Buffer, _ string) {
	const n, epsilon = 1000, 0.1
	fmt.Fprintf(w, "\n## Static priors, K and p\n\n%d records, ε = %v; mean / largest rank error in records over %d releases, and −ln Ψ, Ψ being the mass that the prior gives to the bucket of the true quantile. "+
		"*Cauchy* is a guess by somebody who knows the subject; *conditional* is how all priors are restricted to ranges, *edges* the other way; *near* takes a half of the uniform prior to the neighbourhood of other answers.\n", n, epsilon, s.reps)
	kinds := []struct{ name, prior, estimator string }{
		{"uniform", "uniform", "recursive"},
		{"uniform, edges", "uniform", "recursive:edges"},
		{"near", "uniform:near=0.5", "recursive"},
		{"Cauchy, conditional", "cauchy", "recursive"},
		{"Cauchy, edges", "cauchy", "recursive:edges"},
		{"Cauchy, K = 4", "cauchy", "recursive:arity=4"},
		{"Cauchy, p = 0.5", "cauchy", "recursive:power=0.5"},
		{"Cauchy, p = 1", "cauchy", "recursive:power=1"},
	}
	for _, m := range []int{1, 9} {
		fmt.Fprintf(w, "\n| m = %d |", m)
		for _, k := range kinds {
			fmt.Fprintf(w, " %s |", k.name)
		}
		fmt.Fprintf(w, "\n|---|")
		for range kinds {
			fmt.Fprint(w, "---:|")
		}
		fmt.Fprintln(w)
		for _, b := range bodies(s.data) {
			fmt.Fprintf(w, "| %s |", b.name)
			for _, k := range kinds {
				text := k.prior
				if text == "cauchy" {
					text = b.cauchy
				}
				p := must(prior.Parse(text))
				gaps := make([]gap, s.reps)
				parallel(s.reps, func(i int) {
					data := b.sample(n, rand.New(rand.NewPCG(s.seed, uint64(i))))
					o := dp.Options{Quantiles: even(m), Epsilon: nano(epsilon), Prior: p, Estimator: must(dp.ParseEstimator(k.estimator))}
					gaps[i] = gapOf(data, must(dp.Release(data, o)), p)
				})
				var x gap
				for _, g := range gaps {
					x.add(g, 1/float64(s.reps))
				}
				fmt.Fprintf(w, " %.1f / %.1f; %.1f |", x.mean, x.most, x.surprise)
			}
			fmt.Fprintln(w)
		}
	}
}
