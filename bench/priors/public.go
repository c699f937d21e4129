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

// publicGrids have an edge at each integer; fine buckets; and no range at all.
var publicGrids = []string{"linear:lower=0,upper=128,bins=128", "linear:lower=0,upper=128,bins=8192", "exponential:scale=6"}

// privateRecords is how many records of the private half are released.
const privateRecords = 1000

// halves returns a column of the census in two halves, the first public.
func halves(s settings, name string) (public, private []float64) {
	values := column(s.data, "adult.csv.gz", name)
	for k, i := range rand.New(rand.NewPCG(s.seed, 99)).Perm(len(values)) {
		if k < len(values)/2 {
			public = append(public, values[i])
		} else {
			private = append(private, values[i])
		}
	}
	return public, private
}

// sampleOf returns records of a half.
func sampleOf(g *sketch.Grid, half []float64, r *rand.Rand) *sketch.Binned {
	xs := make([]float64, privateRecords)
	for i := range xs {
		xs[i] = half[r.IntN(len(half))]
	}
	return sketchOf(g, xs)
}

// publicToPrivate takes one half of the Adult census for public, and releases samples of the other.
func publicToPrivate(s settings, w *bytes.Buffer, _ string) {
	fmt.Fprintf(w, "\n## From public to private\n\nOne half of the census is public, and %d records of the other are released: mean rank error over %d releases, with the ratio to the uniform prior's. *Ranks* is `public:FILE`; *answers* are the public half's quantiles as an earlier release. "+
		"The first grid has an edge at each integer, so that answers are whole years or hours; the last is the one that needs no range. Errors are 0 where the quantile is at an atom: half of all work 40 hours.\n\n| data | grid | m | ε | uniform | ranks | ratio | answers | ratio |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n", privateRecords, s.reps)
	for _, name := range []string{"age", "hours"} {
		public, private := halves(s, name)
		if public == nil {
			continue
		}
		for _, text := range publicGrids {
			g := grid(text)
			known := sketchOf(g, public)
			for _, m := range []int{1, 9} {
				answers := map[float64]float64{}
				for _, q := range even(m) {
					answers[q] = quantile(known, q)
				}
				priors := []prior.Prior{prior.Uniform(), must(prior.Public("half", known, privateRecords, prior.DefaultRobust)), must(prior.Release(answers, 0, prior.DefaultRobust))}
				for _, epsilon := range []float64{0.05, 0.1, 0.5} {
					sums := make([][]float64, s.reps)
					parallel(s.reps, func(i int) {
						data := sampleOf(g, private, rand.New(rand.NewPCG(s.seed, uint64(i))))
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
					fmt.Fprintf(w, "| %s | %s | %d | %v | %.2f | %.2f | %s | %.2f | %s |\n", name, text, m, epsilon, mean[0], mean[1], ratio(mean[1], mean[0]), mean[2], ratio(mean[2], mean[0]))
				}
			}
		}
	}
	bestPublic(s, w)
}

// bestPublic compares what is believed of one quantile with the best that could be.
func bestPublic(s settings, w *bytes.Buffer) {
	const epsilon = 0.1
	families := []struct {
		name    string
		density func(z float64) float64 // z in deviations of the rank
	}{
		{"Gaussian of ranks", func(z float64) float64 { return math.Exp(-z * z / 2) }},
		{"Cauchy of ranks", func(z float64) float64 { return 1 / (1 + z*z) }},
		{"Laplace of ranks", func(z float64) float64 { return math.Exp(-math.Abs(z) * math.Sqrt2) }},
	}
	fmt.Fprintf(w, "\nHow good could a prior be? For one quantile and ε = %v the mean error follows from the law of the draw, without drawing. *Gaussian of ranks*, about the distribution of an order statistic, *Cauchy* and *Laplace of ranks* have the same scale; *best* is the prior that descent makes of `public:FILE` on %d samples of the private half itself, "+
		"measured on as many others like all of them: what somebody could believe who knows how the private records are distributed. Ratios are to the uniform prior's.\n\n| data | grid | quantile | uniform |", epsilon, lawsOf(128, s))
	columns := []string{"public records", "`public:FILE`"}
	for _, f := range families {
		columns = append(columns, f.name)
	}
	columns = append(columns, "best")
	for _, c := range columns {
		fmt.Fprintf(w, " %s |", c)
	}
	fmt.Fprint(w, "\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, name := range []string{"age", "hours"} {
		public, private := halves(s, name)
		if public == nil {
			continue
		}
		for _, text := range publicGrids {
			g := grid(text)
			known := sketchOf(g, public)
			n := lawsOf(g.Len(), s)
			for _, q := range []float64{0.25, 0.5, 0.75} {
				laws := make([]law, 2*n)
				parallel(2*n, func(i int) {
					laws[i] = lawOf(sampleOf(g, private, rand.New(rand.NewPCG(s.seed, uint64(i)))), q, epsilon)
				})
				ranks := must(prior.Public("half", known, privateRecords, prior.DefaultRobust))
				all := [][]float64{weightsOf(prior.Uniform(), g), weightsOf(ranks, g), weightsOf(ranks.At(q), g)}
				deviation := math.Sqrt(q * (1 - q) * (1/float64(privateRecords) + 1/float64(known.Count())))
				for _, f := range families {
					all = append(all, robustly(known, q, func(rank float64) float64 { return f.density((rank - q) / deviation) }))
				}
				all = append(all, best(laws[:n], all[2], 60))
				fmt.Fprintf(w, "| %s | %s | %v |", name, text, q)
				uniform := meanOf(laws[n:], all[0])
				for k, x := range all {
					mean := meanOf(laws[n:], x)
					fmt.Fprintf(w, " %.2f", mean)
					if k > 0 {
						fmt.Fprintf(w, "; %s", ratio(mean, uniform))
					}
					fmt.Fprint(w, " |")
				}
				fmt.Fprintln(w)
			}
		}
	}
}

// lawsOf is how many samples are made on a grid of so many buckets.
func lawsOf(buckets int, s settings) int { return max(min(s.reps*10, 8_000_000/buckets), 10) }

// robustly returns the weights of a distribution of public ranks around q, spread as those of [prior.Public], with the robust part that is usual.
func robustly(known *sketch.Binned, q float64, density func(rank float64) float64) []float64 {
	weights := make([]float64, known.Grid().Len())
	before, total := 0.0, 0.0
	for i, c := range known.All() {
		low := before / float64(known.Count())
		before += float64(c)
		high := before / float64(known.Count())
		weights[i] = (high - low) * density(min(max(q, low), high))
		total += weights[i]
	}
	for i := range weights {
		weights[i] = (1-prior.DefaultRobust)*weights[i]/total + prior.DefaultRobust/float64(len(weights))
	}
	return weights
}

// ratio prints a ratio to what may be nothing.
func ratio(x, to float64) string {
	if to < 0.005 {
		return "–"
	}
	return fmt.Sprintf("%.2f", x/to)
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
