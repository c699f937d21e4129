package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/dp/prior/learn"
)

// anyNumber is the grid of the streams: all numbers, in buckets 4.4 % wide.
const anyNumber = "exponential:scale=4"

// A stream makes the records of one window after the other, and what is public of them.
type stream struct {
	grid string
	// next returns a run's windows, each with its records.
	next func(r *rand.Rand, n int) func(t int) (values []float64, covariates map[string]float64)
}

// seasonal is n devices with a daily season and a level that drifts by 2 % from window to window; each device has its own place around the level, with a deviation of 0.4 in the logarithm, and wanders around it by a
// quarter of that. From a window on, if that is not 0, the level is shifted.
func seasonal(shifted int, by float64) stream {
	return stream{anyNumber, func(r *rand.Rand, n int) func(int) ([]float64, map[string]float64) {
		level, places := 3.0, make([]float64, n)
		for i := range places {
			places[i] = 0.4 * r.NormFloat64()
		}
		return func(t int) ([]float64, map[string]float64) {
			level += 0.02 * r.NormFloat64()
			at := level + 0.7*math.Cos(math.Pi/2*float64(t%4)+1)
			if shifted > 0 && t >= shifted {
				at += by
			}
			values := make([]float64, n)
			for i := range values {
				values[i] = math.Exp(at + places[i] + 0.1*r.NormFloat64())
			}
			return values, nil
		}
	}}
}

// explained is a stream whose level is, but for a drift, a public number.
func explained() stream {
	return stream{anyNumber, func(r *rand.Rand, n int) func(int) ([]float64, map[string]float64) {
		level := 3.0
		return func(int) ([]float64, map[string]float64) {
			level += 0.02 * r.NormFloat64()
			load := r.Float64()
			values := make([]float64, n)
			for i := range values {
				values[i] = math.Exp(level + 2*load + 0.4*r.NormFloat64())
			}
			return values, map[string]float64{"load": load}
		}
	}}
}

// drawn is a stream of samples of one body of records.
func drawn(b body) stream {
	return stream{b.grid, func(r *rand.Rand, n int) func(int) ([]float64, map[string]float64) {
		return func(int) ([]float64, map[string]float64) {
			values := make([]float64, n)
			for i := range values {
				values[i] = b.draw(r)
			}
			return values, nil
		}
	}}
}

// A learner is one way to believe windows; nil for the uniform prior.
type learner struct {
	name   string
	config *learn.Config
	// estimator is that of the releases, empty for the recursive one.
	estimator string
}

func learners() []learner {
	hour := []string{learn.Hour}
	return []learner{
		{name: "uniform"},
		{name: "previous", config: &learn.Config{Learner: learn.Previous}},
		{name: "proxy", config: &learn.Config{Features: hour}},
		{name: "proxy, COCOB", config: &learn.Config{Features: hour, Optimiser: learn.COCOB}},
		{name: "proxy, SGD", config: &learn.Config{Features: hour, Optimiser: learn.SGD}},
	}
}

// A sequence is an experiment: runs of a stream, each believed by several learners.
type sequence struct {
	stream   stream
	learners []learner
	n, m     int
	epsilon  float64
	rho      bool // spend what (ε, 10⁻⁶) gives instead
	law      bool // errors of the one quantile are means over the draw instead of the draw's
	windows  int
	reps     int
	seed     uint64
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// run returns, by learner and window, what releases were off by on average.
func (q sequence) run() [][]gap {
	g := grid(q.stream.grid)
	qs := even(q.m)
	sums := make([][][]gap, q.reps)
	parallel(q.reps, func(rep int) {
		next := q.stream.next(rand.New(rand.NewPCG(q.seed, uint64(rep))), q.n)
		states := make([]*learn.State, len(q.learners))
		carries := make([]dp.Carry, len(q.learners))
		sums[rep] = make([][]gap, len(q.learners))
		for k, l := range q.learners {
			sums[rep][k] = make([]gap, q.windows)
			if l.config != nil {
				states[k] = must(learn.New(*l.config, g))
			}
		}
		for t := range q.windows {
			values, covariates := next(t)
			data := sketchOf(g, values)
			for k, l := range q.learners {
				o := dp.Options{Quantiles: qs, Epsilon: nano(q.epsilon), Estimator: must(dp.ParseEstimator(l.estimator)), Representative: dp.Within}
				if q.rho {
					o.Epsilon, o.NanoRho = 0, int64(budget.RhoWithin(nano(q.epsilon), 1e12))
				}
				w := learn.Window{Start: epoch.Add(time.Duration(t) * 6 * time.Hour), Period: epoch, Covariates: covariates}
				if l.config != nil && len(l.config.Covariates) == 0 {
					w.Covariates = nil
				}
				if l.config != nil && l.config.Learner == learn.Curve {
					o.Forecast = states[k].Forecast(w)
				} else if states[k] != nil {
					o.Prior = must(states[k].Prior(w, qs))
					o.Learn = states[k].Learning(w, qs, 1, q.windows, 0.1)
				}
				var r *dp.Result
				if o.Learn != nil {
					var err error
					r, carries[k], err = dp.ReleaseAndLearn(data, o, carries[k])
					check(err)
				} else {
					r = must(dp.Release(data, o))
				}
				x := gapOf(data, r, o.Prior)
				if q.law {
					p := prior.Uniform()
					if o.Prior != nil {
						p = o.Prior.(prior.ByQuantile).At(qs[0])
					}
					x.mean = lawOf(data, qs[0], q.epsilon).mean(weightsOf(p, g))
					x.most, x.square = x.mean, x.mean*x.mean
				}
				sums[rep][k][t] = x
				if states[k] != nil {
					check(states[k].Observe("", w, r))
				}
			}
		}
	})
	mean := make([][]gap, len(q.learners))
	for k := range mean {
		mean[k] = make([]gap, q.windows)
		for _, s := range sums {
			for t, x := range s[k] {
				mean[k][t].add(x, 1/float64(q.reps))
			}
		}
	}
	return mean
}

// over returns the mean over windows.
func over(gaps []gap) (x gap) {
	for _, g := range gaps {
		x.add(g, 1/float64(len(gaps)))
	}
	return x
}

// warm is how many windows a learner has before it is measured, and measured how many from there.
const warm, measured = 30, 10

func header(w *bytes.Buffer, first string, learners []learner) {
	fmt.Fprintf(w, "\n| %s |", first)
	for _, l := range learners {
		fmt.Fprintf(w, " %s |", l.name)
	}
	fmt.Fprint(w, "\n|---|")
	for range learners {
		fmt.Fprint(w, "---:|")
	}
	fmt.Fprintln(w)
}

// row prints the means over windows, the first learner being what others are compared with.
func row(w *bytes.Buffer, name string, gaps [][]gap) {
	fmt.Fprintf(w, "| %s |", name)
	base := over(gaps[0])
	for k := range gaps {
		x := over(gaps[k])
		fmt.Fprintf(w, " %.1f / %.1f; %.1f", x.mean, x.most, x.surprise)
		if k > 0 {
			fmt.Fprintf(w, "; **%.2f**", x.mean/base.mean)
		}
		fmt.Fprint(w, " |")
	}
	fmt.Fprintln(w)
}

// few returns a part of the repetitions, at least 4.
func few(reps, part int) int { return max(reps/part, 4) }

// season measures learners on the drifting seasonal stream.
func season(s settings, w *bytes.Buffer, pictures string) {
	fmt.Fprintf(w, "\n## A daily season that drifts\n\nFour windows a day, on a grid of all numbers; windows %d to %d, mean over %d runs for one quantile and %d for nine. Each cell: mean / largest rank error; −ln Ψ; **ratio** of the mean to the uniform prior's. "+
		"How many records a window has is chosen for each ε such that the uniform prior is not good enough already.\n", warm, warm+measured, few(s.reps, 4), few(s.reps, 16))
	header(w, "m, ε, records", learners())
	for _, m := range []int{1, 9} {
		for _, epsilon := range []float64{0.05, 0.1, 0.5} {
			n, reps := int(20/epsilon), few(s.reps, 4)
			if m == 9 {
				n, reps = int(120/epsilon), few(s.reps, 16)
			}
			gaps := sequence{stream: seasonal(0, 0), learners: learners(), n: n, m: m, epsilon: epsilon, windows: warm + measured, reps: reps, seed: s.seed}.run()
			if m == 1 && epsilon == 0.1 && pictures != "" {
				picture(filepath.Join(pictures, "season.svg"), "The median of a seasonal stream that drifts: 200 records, ε = 0.1", learners(), gaps)
			}
			for k := range gaps {
				gaps[k] = gaps[k][warm:]
			}
			row(w, fmt.Sprintf("%d, %v, %d", m, epsilon, n), gaps)
		}
	}
	if pictures != "" {
		fmt.Fprint(w, "\n![Error by window on the seasonal stream](priors/season.svg)\n")
	}
}

// records shows for how many records a prior matters.
func records(s settings, w *bytes.Buffer, _ string) {
	fmt.Fprint(w, "\n## How many records\n\nThe same with ε = 0.1 and other numbers of records. Where the uniform prior finds the quantile, its error is the mechanism's own, 1/ε for a median, which no prior lowers that does not know the quantile to within as many records.\n")
	both := []learner{learners()[0], learners()[2]}
	header(w, "m, records", both)
	for _, c := range []struct{ m, n int }{{1, 100}, {1, 200}, {1, 400}, {1, 1000}, {1, 10_000}, {9, 600}, {9, 1200}, {9, 2400}, {9, 10_000}} {
		reps := few(s.reps, 6)
		if c.m == 9 {
			reps = few(s.reps, 24)
		}
		gaps := sequence{stream: seasonal(0, 0), learners: both, n: c.n, m: c.m, epsilon: 0.1, windows: warm + measured, reps: reps, seed: s.seed}.run()
		for k := range gaps {
			gaps[k] = gaps[k][warm:]
		}
		row(w, fmt.Sprintf("%d, %d", c.m, c.n), gaps)
	}
}

// moved is a stream of Gaussian records on a bounded grid of 8192 buckets, with a deviation of 100, that moves from one place to another.
func moved(shifted int, from, to float64) stream {
	return stream{"linear:lower=0,upper=8192,bins=8192", func(r *rand.Rand, n int) func(int) ([]float64, map[string]float64) {
		return func(t int) ([]float64, map[string]float64) {
			at := from
			if t >= shifted {
				at = to
			}
			values := make([]float64, n)
			for i := range values {
				values[i] = at + 100*r.NormFloat64()
			}
			return values, nil
		}
	}}
}

// shift measures what a learner that is wrong costs.
func shift(s settings, w *bytes.Buffer, pictures string) {
	const at, after = warm + 1, 20
	fmt.Fprintf(w, "\n## An abrupt shift\n\nThe same stream, whose values are multiplied from window %d on; and records on a bounded grid of 8192 buckets whose place moves; medians, mean over %d runs, in which each window's error is the mean over the draw, by its law. *Worst* is the largest ratio of the proxy's error to the uniform prior's on the same records of any of the twenty windows from there on, with its standard error, "+
		"*recovered* the first window after the shift from which three in a row are again within a third above the error before the shift (or within two standard errors of it).\n\n| stream | ε | records | uniform | proxy before | at the shift | worst | recovered after | proxy from the tenth on |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n", at, s.reps)
	both := []learner{learners()[0], learners()[2]}
	for _, c := range []struct {
		name    string
		stream  stream
		epsilon float64
		n       int
	}{
		{"× 20", seasonal(at, math.Log(20)), 0.05, 400},
		{"× 20", seasonal(at, math.Log(20)), 0.1, 200},
		{"× 20", seasonal(at, math.Log(20)), 0.5, 40},
		{"× 20", seasonal(at, math.Log(20)), 0.1, 400},
		{"× 20", seasonal(at, math.Log(20)), 0.1, 1000},
		{"× 1/20", seasonal(at, -math.Log(20)), 0.1, 200},
		{"× 1000", seasonal(at, math.Log(1000)), 0.1, 200},
		{"× 1000", seasonal(at, math.Log(1000)), 0.1, 400},
		{"1000 to 1300", moved(at, 1000, 1300), 0.1, 200},
		{"1000 to 6000", moved(at, 1000, 6000), 0.1, 120},
		{"1000 to 6000", moved(at, 1000, 6000), 0.1, 160},
		{"1000 to 6000", moved(at, 1000, 6000), 0.1, 200},
	} {
		gaps := sequence{stream: c.stream, learners: both, n: c.n, m: 1, epsilon: c.epsilon, law: true, windows: at + after, reps: s.reps, seed: s.seed}.run()
		before, worst, doubt := over(gaps[1][at-10:at]).mean, 0.0, 0.0
		recovered := after
		for t := at; t < at+after; t++ {
			if x := gaps[1][t].mean / gaps[0][t].mean; x > worst {
				worst, doubt = x, gaps[1][t].deviation(s.reps)/gaps[0][t].mean
			}
		}
		for t := at + after - 3; t >= at; t-- {
			if x := over(gaps[1][t : t+3]); x.mean > before*4/3+2*x.deviation(s.reps) {
				break
			}
			recovered = t - at
		}
		fmt.Fprintf(w, "| %s | %v | %d | %.1f | %.1f | %.1f | %.2f ± %.2f | %d | %.1f |\n", c.name, c.epsilon, c.n, over(gaps[0]).mean, before, gaps[1][at].mean, worst, doubt, recovered, over(gaps[1][at+10:]).mean)
		if c.name == "× 20" && c.epsilon == 0.1 && c.n == 200 && pictures != "" {
			picture(filepath.Join(pictures, "shift.svg"), "An abrupt shift: values are multiplied by 20 at window 31; 200 records, ε = 0.1", both, gaps)
		}
	}
	if pictures != "" {
		fmt.Fprint(w, "\n![Error by window around the shift](priors/shift.svg)\n")
	}
}

// covariates measures learners where a public number says where the stream is.
func covariates(s settings, w *bytes.Buffer, _ string) {
	fmt.Fprintf(w, "\n## A covariate that explains the location\n\nThe level is e^(2·load), load a public number between 0 and 1 that is new in each window, besides a drift; medians, windows %d to %d, mean over %d runs.\n", warm, warm+measured, few(s.reps, 4))
	all := []learner{
		{name: "uniform"},
		{name: "previous", config: &learn.Config{Learner: learn.Previous}},
		{name: "proxy without it", config: &learn.Config{}},
		{name: "proxy with it", config: &learn.Config{Covariates: []string{"load"}}},
	}
	header(w, "ε, records", all)
	for _, epsilon := range []float64{0.05, 0.1, 0.5} {
		n := int(20 / epsilon)
		gaps := sequence{stream: explained(), learners: all, n: n, m: 1, epsilon: epsilon, windows: warm + measured, reps: few(s.reps, 4), seed: s.seed}.run()
		for k := range gaps {
			gaps[k] = gaps[k][warm:]
		}
		row(w, fmt.Sprintf("%v, %d", epsilon, n), gaps)
	}
}

// realStreams releases samples of real data, one after the other.
func realStreams(s settings, w *bytes.Buffer, _ string) {
	fmt.Fprintf(w, "\n## Samples of real data, one after the other\n\nWindows of independent samples, ε = 0.1, windows %d to %d, mean over %d runs.\n", warm, warm+measured, few(s.reps, 8))
	all := learners()
	header(w, "data, records, m", all)
	for _, b := range bodies(s.data)[1:] {
		for _, m := range []int{1, 9} {
			n := 200
			if m == 9 {
				n = 1000
			}
			gaps := sequence{stream: drawn(b), learners: all, n: n, m: m, epsilon: 0.1, windows: warm + measured, reps: few(s.reps, 8), seed: s.seed}.run()
			for k := range gaps {
				gaps[k] = gaps[k][warm:]
			}
			row(w, fmt.Sprintf("%s, %d, %d", b.name, n, m), gaps)
		}
	}
}

// leader compares dp-ftrl with what is free.
func leader(s settings, w *bytes.Buffer, _ string) {
	reps := few(s.reps, 4)
	fmt.Fprintf(w, "\n## Gradients on the data\n\nThe seasonal stream, and the one that a covariate explains, with what ε and δ = 10⁻⁶ give in ρ; dp-ftrl has a tenth of it for its gradients; medians, the last ten windows of so many, mean over %d runs.\n", reps)
	all := func(c learn.Config) []learner {
		ftrl := c
		ftrl.Learner = learn.FTRL
		return []learner{{name: "uniform"}, {name: "previous", config: &learn.Config{Learner: learn.Previous}}, {name: "proxy", config: &c}, {name: "dp-ftrl", config: &ftrl}}
	}
	hour, load := learn.Config{Features: []string{learn.Hour}}, learn.Config{Covariates: []string{"load"}}
	header(w, "stream, ε, records, windows", all(hour))
	for _, c := range []struct {
		name    string
		stream  stream
		config  learn.Config
		epsilon float64
		n       int
		windows int
	}{
		{"season", seasonal(0, 0), hour, 0.1, 500, 40},
		{"season", seasonal(0, 0), hour, 0.1, 1000, 40},
		{"season", seasonal(0, 0), hour, 0.5, 1000, 40},
		{"season", seasonal(0, 0), hour, 5, 10, 60},
		{"covariate", explained(), load, 0.1, 500, 40},
		{"covariate", explained(), load, 5, 10, 60},
	} {
		gaps := sequence{stream: c.stream, learners: all(c.config), n: c.n, m: 1, epsilon: c.epsilon, rho: true, windows: c.windows, reps: reps, seed: s.seed}.run()
		for k := range gaps {
			gaps[k] = gaps[k][c.windows-measured:]
		}
		row(w, fmt.Sprintf("%s, %v, %d, %d", c.name, c.epsilon, c.n, c.windows), gaps)
	}
}

// counting are estimators that read counts, alone and with what earlier windows showed.
func counting() (all []learner) {
	for _, e := range []string{"tree", "density"} {
		all = append(all, learner{name: e, estimator: e}, learner{name: e + " with curve", estimator: e, config: &learn.Config{Learner: learn.Curve, Features: []string{learn.Hour}}})
	}
	return all
}

// combinedCounts compares trees that combine their counts with those of earlier windows to trees alone, and to the recursive estimator with the proxy.
func combinedCounts(s settings, w *bytes.Buffer, _ string) {
	const n, m, epsilon = 1000, 9, 0.1
	reps := few(s.reps, 8)
	fmt.Fprintf(w, "\n## Combining the counts of trees\n\nMean / largest rank error of nine quantiles of %d records, ε = %v, windows %d to %d, %d runs; **ratio** of the mean to that of the tree alone.\n", n, epsilon, warm, warm+measured, reps)
	all := append(counting(), learners()[2])
	all[4].name = "recursive with proxy"
	fmt.Fprintf(w, "\n| stream |")
	for _, l := range all {
		fmt.Fprintf(w, " %s |", l.name)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(all)))
	const bounded = "exponential:scale=5,min=0.01,max=10000"
	constant := drawn(body{draw: func(r *rand.Rand) float64 { return math.Exp(3 + 0.4*r.NormFloat64()) }})
	for _, c := range []struct {
		name   string
		stream stream
	}{
		{"seasonal, drifting", withGrid(seasonal(0, 0), bounded)},
		{"shifted by a factor of 3", withGrid(seasonal(warm+measured/2, math.Log(3)), bounded)},
		{"without a change", withGrid(constant, bounded)},
	} {
		gaps := sequence{stream: c.stream, learners: all, n: n, m: m, epsilon: epsilon, windows: warm + measured, reps: reps, seed: s.seed}.run()
		fmt.Fprintf(w, "| %s |", c.name)
		alone := over(gaps[0][warm:]).mean
		for k := range all {
			x := over(gaps[k][warm:])
			fmt.Fprintf(w, " %.1f / %.1f; **%.2f** |", x.mean, x.most, x.mean/alone)
		}
		fmt.Fprintln(w)
	}
}

func withGrid(s stream, g string) stream {
	s.grid = g
	return s
}
