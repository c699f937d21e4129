package main

import (
	"bytes"
	"fmt"
	"math"
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

// publicToPrivate takes one half of the Adult census for public, and releases samples of the other.
func publicToPrivate(s settings, w *bytes.Buffer, _ string) {
	const n = 1000
	fmt.Fprintf(w, "\n## From public to private\n\nOne half of the census is public, and %d records of the other are released: mean rank error over %d releases, with the ratio to the uniform prior's. *Ranks* is `public:FILE`; *answers* are the public half's quantiles as an earlier release. "+
		"The bounded grid has an edge at each integer, so that answers are whole years or hours and the errors of all are small; the other is the one that needs no range.\n\n| data | grid | m | ε | uniform | ranks | ratio | answers | ratio |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n", n, s.reps)
	for _, name := range []string{"age", "hours"} {
		values := column(s.data, "adult.csv.gz", name)
		if values == nil {
			continue
		}
		for _, g := range []string{"linear:lower=0,upper=128,bins=128", "exponential:scale=6"} {
			halves := rand.New(rand.NewPCG(s.seed, 99)).Perm(len(values))
			half := func(from, to int) (xs []float64) {
				for _, i := range halves[from:to] {
					xs = append(xs, values[i])
				}
				return xs
			}
			known, private := sketchOf(grid(g), half(0, len(values)/2)), half(len(values)/2, len(values))
			for _, m := range []int{1, 9} {
				for _, epsilon := range []float64{0.05, 0.1, 0.5} {
					answers := map[float64]float64{}
					for _, q := range even(m) {
						answers[q] = quantile(known, q)
					}
					priors := []prior.Prior{prior.Uniform(), must(prior.Public("half", known, n, prior.DefaultRobust)), must(prior.Release(answers, 0, prior.DefaultRobust))}
					sums := make([][]float64, s.reps)
					parallel(s.reps, func(i int) {
						r := rand.New(rand.NewPCG(s.seed, uint64(i)))
						xs := make([]float64, n)
						for j := range xs {
							xs[j] = private[r.IntN(len(private))]
						}
						data := sketchOf(grid(g), xs)
						for _, p := range priors {
							o := dp.Options{Quantiles: even(m), Epsilon: nano(epsilon), Prior: p, Representative: dp.Within}
							sums[i] = append(sums[i], gapOf(data, must(dp.Release(data, o)), nil).mean)
						}
					})
					var mean [3]float64
					for _, x := range sums {
						for k, y := range x {
							mean[k] += y / float64(s.reps)
						}
					}
					ratio := func(x float64) string {
						if mean[0] == 0 {
							return "–"
						}
						return fmt.Sprintf("%.2f", x/mean[0])
					}
					fmt.Fprintf(w, "| %s | %s | %d | %v | %.2f | %.2f | %s | %.2f | %s |\n", name, g, m, epsilon, mean[0], mean[1], ratio(mean[1]), mean[2], ratio(mean[2]))
				}
			}
		}
	}
}

// quantile returns the middle of the bucket of a quantile of public records.
func quantile(s *sketch.Binned, q float64) float64 {
	target, before := q*float64(s.Count()), 0.0
	for i, n := range s.All() {
		if before += float64(n); before >= target {
			lower, upper := s.Grid().Bounds(i)
			return lower + (upper-lower)/2
		}
	}
	return math.NaN()
}
