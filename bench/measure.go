package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quietile/quietile/sketch"
)

// asked are the quantiles whose errors are measured: all percentiles, and one far out.
func asked() []float64 {
	qs := make([]float64, 0, 100)
	for i := 1; i < 100; i++ {
		qs = append(qs, float64(i)/100)
	}
	return append(qs, 0.999)
}

// timed are the quantiles of which the time is taken.
var timed = []float64{0.5, 0.9, 0.95, 0.99, 0.999}

// figures are what was measured of a library on a dataset. Times are in nanoseconds, one for each round; none where the library has no such call.
type figures struct {
	library             *library
	single, batch       []float64 // for each value
	merge               []float64 // of two sketches of all values, or of one of a thousand parts into the whole
	quantile            []float64 // of timed
	allocations         float64   // for each value, once warm
	resident            uint64    // bytes of a sketch in memory
	bytes               int       // of a sketch in its own form
	maxRank, meanRank   float64   // errors as shares of the number of values
	worst               float64   // relative error of a value
	merges, sameInOrder bool      // whether it merges, and any order gives the same bytes
}

// results are what was measured on a dataset.
type results struct {
	dataset string
	figures []*figures
	sum     []float64 // the physical limit: nanoseconds for each value to add them up
}

// sink keeps the compiler from leaving out what is not used.
var sink float64

// clock returns the nanoseconds that f takes, in a quiet moment.
func clock(f func()) float64 {
	start := time.Now()
	f()
	return float64(time.Since(start).Nanoseconds())
}

// measure takes all figures of all libraries on a dataset. In each round each library has its turn, in random order, so that what disturbs the machine
// disturbs all alike.
func measure(d dataset, libraries []library, rounds int, random *rand.Rand, progress io.Writer) *results {
	r := &results{dataset: d.name}
	sorted := slices.Sorted(slices.Values(d.values))
	n := float64(len(d.values))
	sketches := make([]any, len(libraries))
	others := make([]any, len(libraries))
	for i := range libraries {
		l := &libraries[i]
		f := &figures{library: l}
		r.figures = append(r.figures, f)
		whole := build(l, d)
		f.bytes = len(l.encode(whole))
		f.errors(l, whole, sorted)
		f.resident = resident(l, d.values)
		if l.merge != nil {
			f.merges = true
			f.sameInOrder = sameInOrder(l, d.values)
		}
		sketches[i] = whole
		others[i] = l.make()
		part := d.values
		if d.parts > 1 {
			part = part[:len(part)/d.parts]
		}
		l.add(others[i], part)
	}
	for round := range rounds {
		fmt.Fprintf(progress, "\r%-20s round %d of %d ", d.name, round+1, rounds)
		runtime.GC()
		r.sum = append(r.sum, clock(func() {
			s := 0.0
			for _, x := range d.values {
				s += x
			}
			sink += s
		})/n)
		for _, i := range random.Perm(len(libraries)) {
			l, f := &libraries[i], r.figures[i]
			s := sketches[i]
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f.single = append(f.single, clock(func() { l.add(s, d.values) })/n)
			runtime.ReadMemStats(&after)
			f.allocations = float64(after.Mallocs-before.Mallocs) / n
			if l.batch != nil {
				f.batch = append(f.batch, clock(func() { l.batch(s, d.values) })/n)
			}
			if l.merge != nil {
				const merges = 100
				l.merge(s, others[i])
				f.merge = append(f.merge, clock(func() {
					for range merges {
						l.merge(s, others[i])
					}
				})/merges)
			}
			if l.quantiles != nil {
				const asks = 20
				f.quantile = append(f.quantile, clock(func() {
					for range asks {
						sink += l.quantiles(s, timed)[0]
					}
				})/asks)
			}
		}
	}
	fmt.Fprintf(progress, "\r%60s\r", "")
	return r
}

// build sketches a dataset, by its parts if it has any.
func build(l *library, d dataset) any {
	whole := l.make()
	if d.parts == 1 || l.merge == nil {
		l.add(whole, d.values)
		return whole
	}
	for part := range slices.Chunk(d.values, len(d.values)/d.parts) {
		s := l.make()
		l.add(s, part)
		l.merge(whole, s)
	}
	return whole
}

// errors compares the answers of a sketch with the exact ones.
func (f *figures) errors(l *library, s any, sorted []float64) {
	answer := l.quantiles
	if answer == nil {
		answer = l.read
	}
	qs := asked()
	n := float64(len(sorted))
	for i, v := range answer(s, qs) {
		below, _ := slices.BinarySearch(sorted, v)
		to, _ := slices.BinarySearch(sorted, math.Nextafter(v, math.Inf(1)))
		target := qs[i] * n
		rank := max(0, float64(below)-target, target-float64(to)) / n
		f.maxRank = max(f.maxRank, rank)
		f.meanRank += rank / float64(len(qs))
		exact := sorted[max(int(math.Ceil(target)), 1)-1]
		f.worst = max(f.worst, math.Abs(v-exact)/math.Abs(exact))
	}
}

// resident returns the bytes in memory of one of many sketches.
func resident(l *library, values []float64) uint64 {
	const copies = 16
	values = values[:min(len(values), 20_000)]
	keep := make([]any, copies)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range keep {
		keep[i] = l.make()
		l.add(keep[i], values)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	defer runtime.KeepAlive(keep)
	return max(after.HeapAlloc, before.HeapAlloc)/copies - before.HeapAlloc/copies
}

// sameInOrder says whether merging parts forwards and backwards gives the same bytes.
func sameInOrder(l *library, values []float64) bool {
	var parts []any
	for part := range slices.Chunk(values[:min(len(values), 50_000)], 1000) {
		s := l.make()
		l.add(s, part)
		parts = append(parts, s)
	}
	forth, back := l.make(), l.make()
	for i := range parts {
		l.merge(forth, parts[i])
		l.merge(back, parts[len(parts)-1-i])
	}
	return bytes.Equal(l.encode(forth), l.encode(back))
}

// trial compares the rank errors of the two KLL sketches over many small streams.
func trial(trials, n int, seed uint64) (ours, theirs struct{ mean, max float64 }) {
	random := rand.New(rand.NewPCG(seed, 7))
	peer := dataSketches()
	for range trials {
		values := make([]float64, n)
		for i := range values {
			values[i] = random.NormFloat64()
		}
		sorted := slices.Sorted(slices.Values(values))
		own := must(sketch.NewKLL(200, random.Uint64()))
		own.AddBatch(values)
		other := peer.make()
		peer.add(other, values)
		var a, b figures
		a.errors(&library{quantiles: func(_ any, qs []float64) []float64 { return must(own.Quantiles(qs)) }}, nil, sorted)
		b.errors(&peer, other, sorted)
		ours.mean += a.meanRank / float64(trials)
		ours.max += a.maxRank / float64(trials)
		theirs.mean += b.meanRank / float64(trials)
		theirs.max += b.maxRank / float64(trials)
	}
	return ours, theirs
}

// contention is the time of an insert by one of several goroutines, in nanoseconds of the whole machine, one for each round.
type contention struct {
	name       string
	goroutines int
	times      []float64
}

// contend measures inserts from many goroutines.
func contend(values []float64, rounds int) []*contention {
	var all []*contention
	for _, goroutines := range []int{1, 2, 8} {
		row := func(name string) *contention {
			c := &contention{name: name, goroutines: goroutines}
			all = append(all, c)
			return c
		}
		run := func(c *contention, add func([]float64)) {
			part := len(values) / goroutines
			var all sync.WaitGroup
			c.times = append(c.times, clock(func() {
				for g := range goroutines {
					all.Go(func() { add(values[g*part : (g+1)*part]) })
				}
				all.Wait()
			})/float64(part*goroutines))
		}
		recorder := sketch.NewRecorder(must(sketch.NewExponential(5)))
		own, native, locked := row("Quietile Recorder"), row("Prometheus native"), row("DDSketch log behind a mutex")
		histogram := prometheusNative().make().(prometheus.Histogram)
		dd := ddSketch("", must2(mapping.NewLogarithmicMapping(0.01))).make().(*ddsketch.DDSketch)
		var mu sync.Mutex
		for range rounds {
			run(own, func(xs []float64) {
				for _, x := range xs {
					recorder.Add(x)
				}
			})
			run(native, func(xs []float64) {
				for _, x := range xs {
					histogram.Observe(x)
				}
			})
			run(locked, func(xs []float64) {
				for _, x := range xs {
					mu.Lock()
					check(dd.Add(x))
					mu.Unlock()
				}
			})
		}
	}
	return all
}

func median(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(xs))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// ratio returns the median of the ratios of two figures, round by round.
func ratio(of, to []float64) float64 {
	if len(of) == 0 || len(to) == 0 {
		return math.NaN()
	}
	r := make([]float64, min(len(of), len(to)))
	for i := range r {
		r[i] = of[i] / to[i]
	}
	return median(r)
}
