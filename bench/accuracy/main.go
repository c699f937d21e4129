// Command accuracy compares private estimators of many quantiles at the same ε, for the same neighbours, on the same data in one run.
package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quietile/quietile/bench/internal/section"
)

// A cell is a data set, a number of quantiles and an ε, and what all entrants did there.
type cell struct {
	data    string
	n, m    int
	epsilon float64
	results map[string]*result
	again   map[string]*result // by name, of auto and a peer that erred less, with more repetitions
}

// A result is one entrant's in a cell: of each repetition the mean and the largest rank error, in records, and the median time of a release.
type result struct {
	mean, most []float64
	time       time.Duration
}

// A run is all that was measured, and how.
type run struct {
	date, goVersion, command string
	seed                     uint64
	reps, draws              int
	entrants                 []entrant
	cells                    []*cell
	speed                    []speedRow
}

func main() {
	ns := flag.String("n", "1000,10000,100000,1000000", "numbers of records")
	ms := flag.String("m", "1,3,9,29,99,199", "numbers of quantiles")
	epsilons := flag.String("epsilon", "0.1,0.5,1,5", "privacy losses")
	only := flag.String("only", "", "names of entrants, all others are left out, and descriptions of other estimators of ours, separated by semicolons")
	sets := flag.String("sets", "", "names of data sets, all others are left out, separated by semicolons")
	reps := flag.Int("reps", 100, "repetitions of each cell, and more with few quantiles")
	draws := flag.Int("draws", 20, "how many times the records of each data set are drawn anew: repetitions are spread over them")
	seed := flag.Uint64("seed", 1, "seed of the data and of the peers")
	data := flag.String("data", defaultData(), "folder with adult.csv.gz and books.csv.gz")
	out := flag.String("out", "../docs", "folder of benchmarks.md and of the pictures; empty for none")
	quick := flag.Bool("quick", false, "a few cells and repetitions, for a look")
	flag.Parse()
	if *quick {
		*ns, *ms, *epsilons, *reps, *draws = "1000,100000", "1,9,99", "0.1,1", 10, 2
	}
	r := &run{date: time.Now().UTC().Format("2006-01-02"), goVersion: runtime.Version(), seed: *seed, reps: *reps, draws: *draws, command: strings.TrimSpace("go run ./accuracy " + strings.Join(os.Args[1:], " "))}
	r.entrants = entrants()
	if *only != "" {
		r.entrants = nil
		for name := range strings.SplitSeq(*only, ";") {
			if i := slices.IndexFunc(entrants(), func(e entrant) bool { return e.name == name }); i >= 0 {
				r.entrants = append(r.entrants, entrants()[i])
			} else {
				r.entrants = append(r.entrants, own(name, ""))
			}
		}
	}
	fmt.Fprintf(os.Stderr, "seed %d\n", *seed)
	for _, s := range sources(*data) {
		if *sets != "" && !slices.Contains(strings.Split(*sets, ";"), s.name) {
			continue
		}
		for _, n := range numbers(*ns) {
			var ds []*dataset
			for i := range *draws {
				ds = append(ds, newDataset(s, int(n), rand.New(rand.NewPCG(*seed, hash(s.name, n, i)))))
			}
			var cells []*cell
			for _, epsilon := range numbers(*epsilons) {
				for _, m := range numbers(*ms) {
					cells = append(cells, &cell{data: s.name, n: int(n), m: int(m), epsilon: epsilon, results: map[string]*result{}, again: map[string]*result{}})
				}
			}
			onAllCores(cells, func(c *cell) { r.measure(ds, c) })
			onAllCores(cells, func(c *cell) { r.measureAgain(ds, c) })
			r.cells = append(r.cells, cells...)
			fmt.Fprintf(os.Stderr, "%s, %d records\n", s.name, int(n))
		}
	}
	r.speed = speed()
	var report bytes.Buffer
	r.write(&report)
	os.Stdout.Write(report.Bytes())
	r.detail(os.Stdout)
	if *out != "" {
		check(os.MkdirAll(filepath.Join(*out, "benchmarks"), 0o755))
		check(section.Replace(filepath.Join(*out, "benchmarks.md"), "accuracy", report.String()))
		r.plots(filepath.Join(*out, "benchmarks"))
	}
}

// onAllCores does something with each cell.
func onAllCores(cells []*cell, do func(*cell)) {
	var cores sync.WaitGroup
	next := make(chan *cell)
	for range runtime.NumCPU() {
		cores.Go(func() {
			for c := range next {
				do(c)
			}
		})
	}
	for _, c := range cells {
		next <- c
	}
	close(next)
	cores.Wait()
}

func defaultData() string {
	if dir := os.Getenv("QUIETILE_DATA"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "shared", "data")
}

func numbers(list string) []float64 {
	var all []float64
	for s := range strings.SplitSeq(list, ",") {
		all = append(all, must(strconv.ParseFloat(s, 64)))
	}
	return all
}

func hash(parts ...any) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, parts...)
	return h.Sum64()
}

// measure lets every entrant that can answer the cell.
func (r *run) measure(ds []*dataset, c *cell) {
	for _, e := range r.entrants {
		if e.can(c.n, c.m) {
			c.results[e.name] = r.releases(ds, c, e, 1)
		}
	}
}

// moreOften is how many times as many repetitions there are where auto has seemed to err more than a peer: the best of many peers in one of many cells is so by chance too.
const moreOften = 30

// measureAgain lets auto and the peers that seemed to err less do it again.
func (r *run) measureAgain(ds []*dataset, c *cell) {
	for _, b := range r.behindIn(c, "auto") {
		for _, e := range r.entrants {
			if (e.name == "auto" || e.name == b.peer) && c.again[e.name] == nil {
				c.again[e.name] = r.releases(ds, c, e, moreOften)
			}
		}
	}
}

// releases lets an entrant answer a cell, with pseudorandom numbers of its own that depend on the seed, the cell and how often alone; ours draw from the secure source.
func (r *run) releases(ds []*dataset, c *cell, e entrant, often int) *result {
	quantiles := even(c.m)
	random := rand.New(rand.NewPCG(r.seed, hash(e.name, c.data, c.n, c.m, c.epsilon, often)))
	result := &result{}
	var times []time.Duration
	for i, d := range ds {
		release := e.prepare(d, quantiles, c.epsilon)
		for j := i; j < r.reps*e.times(c.m)*often; j += len(ds) {
			start := time.Now()
			answers := release(random)
			times = append(times, time.Since(start))
			mean, most := d.errors(quantiles, answers)
			result.mean, result.most = append(result.mean, mean), append(result.most, most)
		}
	}
	slices.Sort(times)
	result.time = times[len(times)/2]
	return result
}

// average returns the mean of xs and its standard error.
func average(xs []float64) (mean, deviation float64) {
	for _, x := range xs {
		mean += x / float64(len(xs))
	}
	for _, x := range xs {
		deviation += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(deviation / float64(len(xs)) / float64(max(len(xs)-1, 1)))
}

// A measure is one of the errors of a result.
type measure struct {
	name string
	of   func(*result) []float64
}

var measures = []measure{
	{"mean", func(r *result) []float64 { return r.mean }},
	{"largest", func(r *result) []float64 { return r.most }},
}

// ratio returns the geometric mean of (1 + error of a)/(1 + error of b) over the cells that both can answer and keep allows, and how many they are.
func (r *run) ratio(a, b string, m measure, keep func(*cell) bool) (ratio float64, cells int) {
	sum := 0.0
	for _, c := range r.cells {
		x, y := c.results[a], c.results[b]
		if x == nil || y == nil || !keep(c) {
			continue
		}
		ex, _ := average(m.of(x))
		ey, _ := average(m.of(y))
		sum += math.Log((1 + ex) / (1 + ey))
		cells++
	}
	return math.Exp(sum / float64(cells)), cells
}

// behind is a cell in which the first entrant errs more than a peer.
type behind struct {
	cell    *cell
	measure measure
	peer    string
	comparison
}

// A comparison is of the errors in records of two entrants in a cell.
type comparison struct {
	own, other       float64
	ratio, deviation float64 // of (1 + error), and the standard error of its logarithm
}

// sure tells whether the ratio is more than two standard errors above a tenth.
func (c comparison) sure() bool { return math.Log(c.ratio/1.1) > 2*c.deviation }

func (m measure) compare(a, b *result) comparison {
	own, ownDeviation := average(m.of(a))
	other, deviation := average(m.of(b))
	return comparison{own, other, (1 + own) / (1 + other), math.Hypot(ownDeviation/(1+own), deviation/(1+other))}
}

// behindIn returns by which measures an entrant's error is more than a tenth above that of the best peer in a cell.
func (r *run) behindIn(c *cell, name string) (all []behind) {
	if c.results[name] == nil {
		return nil
	}
	for _, m := range measures {
		best := behind{cell: c, measure: m}
		for _, e := range r.entrants {
			if other := c.results[e.name]; !e.ours && other != nil {
				if x := m.compare(c.results[name], other); x.ratio > best.ratio {
					best.peer, best.comparison = e.name, x
				}
			}
		}
		if best.ratio > 1.1 {
			all = append(all, best)
		}
	}
	return all
}

// losses returns where an entrant's error is more than a tenth above that of the best peer, the farthest first.
func (r *run) losses(name string) (all []behind) {
	for _, c := range r.cells {
		all = append(all, r.behindIn(c, name)...)
	}
	slices.SortStableFunc(all, func(a, b behind) int { return cmp.Compare(b.ratio, a.ratio) })
	return all
}

// detail prints every cell.
func (r *run) detail(w io.Writer) {
	fmt.Fprintf(w, "\n%-12s %8s %4s %5s", "data", "n", "m", "ε")
	for _, e := range r.entrants {
		fmt.Fprintf(w, " %18s", e.name)
	}
	fmt.Fprintln(w)
	for _, c := range r.cells {
		fmt.Fprintf(w, "%-12s %8d %4d %5g", c.data, c.n, c.m, c.epsilon)
		for _, e := range r.entrants {
			if x := c.results[e.name]; x != nil {
				mean, _ := average(x.mean)
				most, _ := average(x.most)
				fmt.Fprintf(w, " %18s", fmt.Sprintf("%.1f/%.1f", mean, most))
			} else {
				fmt.Fprintf(w, " %18s", "-")
			}
		}
		fmt.Fprintln(w)
	}
}
