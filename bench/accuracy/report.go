package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quietile/quietile/sketch"
)

// write writes the report in Markdown.
func (r *run) write(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
	p("# Accuracy of private quantiles\n\n")
	p("Made by `make accuracy` on %s (%s, seed %d): %d cells of data, records n, equally spaced quantiles m and ε, %d releases of each entrant in a cell, and with up to nine quantiles 2 (9), 10 (3) or 40 times (1) as many of all but tree and BoundedQuantiles. Repeat with `cd bench && %s`.\n\n",
		r.date, r.goVersion, r.seed, len(r.cells), r.reps, r.command)
	p("All are ε-differentially private for adding or removing one record, have the same public grid, and no prior. A rank error is how far the ranks of the answer's bucket are from that of the quantile, in records; an answer inside the right bucket errs by 0. Of each release "+
		"there is the mean over the quantiles, and the largest. Because errors can be 0, ratios are of (1 + error), of the mean over the releases of a cell, and geometric means over cells. The records of a cell are drawn %d times from its data, for all entrants alike, and releases are spread over the draws: small errors depend on how near to the end of a bucket a rank happens to be. Adult age and hours have a bucket for each whole number up to 128, "+
		"book pages one up to 8192; the others have 8,192 equal ones, the Gaussian from −20 to 20 standard deviations.\n\n", r.draws)
	for _, e := range r.entrants {
		if e.note != "" {
			p("- **%s**: %s.\n", e.name, e.note)
		}
	}
	all := func(*cell) bool { return true }
	p("\n## `auto` against each, below 1 is better\n\n| | cells | mean error | largest error | time of a release at m = 99, n = 10⁵ |\n|---|---:|---:|---:|---:|\n")
	for _, e := range r.entrants {
		mean, cells := r.ratio("auto", e.name, measures[0], all)
		most, _ := r.ratio("auto", e.name, measures[1], all)
		p("| %s | %d | %.2f | %.2f | %s |\n", e.name, cells, mean, most, r.timeOf(e.name))
	}
	best, second := r.standing()
	p("\nOf all that answer every cell, %s has the lowest geometric mean error, and %s comes second: the ratio is %.2f for the mean and %.2f for the largest error.\n", best.name, second.name, best.mean/second.mean, best.most/second.most)
	for _, group := range []struct {
		title string
		of    func(*cell) string
	}{
		{"m", func(c *cell) string { return strconv.Itoa(c.m) }},
		{"n", func(c *cell) string { return strconv.Itoa(c.n) }},
		{"ε", func(c *cell) string { return strconv.FormatFloat(c.epsilon, 'g', -1, 64) }},
		{"data", func(c *cell) string { return c.data }},
	} {
		var values []string
		for _, c := range r.cells {
			if v := group.of(c); !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
		p("\n## `auto` against each by %s: mean error / largest error\n\n| |", group.title)
		for _, v := range values {
			p(" %s |", v)
		}
		p("\n|---|%s\n", strings.Repeat("---:|", len(values)))
		for _, e := range r.entrants {
			if e.ours {
				continue
			}
			p("| %s |", e.name)
			for _, v := range values {
				keep := func(c *cell) bool { return group.of(c) == v }
				mean, cells := r.ratio("auto", e.name, measures[0], keep)
				most, _ := r.ratio("auto", e.name, measures[1], keep)
				if cells == 0 {
					p(" |")
				} else {
					p(" %.2f / %.2f |", mean, most)
				}
			}
			p("\n")
		}
	}
	losses := r.losses("auto")
	still, sure := 0, 0
	var rows strings.Builder
	for _, b := range losses {
		again := b.measure.compare(b.cell.again["auto"], b.cell.again[b.peer])
		if again.ratio > 1.1 {
			still++
		}
		if again.sure() {
			sure++
		}
		fmt.Fprintf(&rows, "| %s | %d | %d | %g | %s | %s | %.1f / %.1f | %.2f ± %.2f | %.2f / %.2f | %.2f ± %.2f |\n",
			b.cell.data, b.cell.n, b.cell.m, b.cell.epsilon, b.measure.name, b.peer, b.own, b.other, b.ratio, b.ratio*b.deviation, again.own, again.other, again.ratio, again.ratio*again.deviation)
	}
	p("\n## Where `auto` is more than a tenth behind the best peer\n\nIn %d of %d cells and measures the best of the peers, chosen after the fact for each, seems to err less by more than a tenth. Chance has a part in that: `auto` and that peer were measured again, with %d times as many releases. "+
		"Then it is so in %d, and in %d by more than two standard errors.\n\n", len(losses), 2*len(r.cells), moreOften, still, sure)
	p("| data | n | m | ε | error | best peer | `auto` / peer | ratio | again: `auto` / peer | ratio |\n|---|---:|---:|---:|---|---|---:|---:|---:|---:|\n%s", rows.String())
	p("\n![Mean error against the number of quantiles](benchmarks/accuracy-m.svg)\n\n![Ratio of auto to the best peer in each cell](benchmarks/accuracy-cells.svg)\n")
	p("\n## Time of a release on 8,192 buckets\n\n| | n | m | median time |\n|---|---:|---:|---:|\n")
	for _, s := range r.speed {
		p("| %s | %g | %d | %s |\n", s.name, s.n, s.m, s.median)
	}
	p("\nJointExp and BoundedQuantiles take records one by one, and cannot be filled with 10⁹; their time is that of a release once they are filled.\n")
}

// timeOf returns the median time of an entrant's releases of 99 quantiles of 10⁵ records.
func (r *run) timeOf(name string) string {
	var times []time.Duration
	for _, c := range r.cells {
		if x := c.results[name]; x != nil && c.n == 100_000 && c.m == 99 {
			times = append(times, x.time)
		}
	}
	if times == nil {
		return ""
	}
	slices.Sort(times)
	return times[len(times)/2].Round(10 * time.Microsecond).String()
}

// A score is an entrant's geometric mean error over all cells, of those that answer all.
type score struct {
	name       string
	mean, most float64
}

// standing returns the two best.
func (r *run) standing() (best, second score) {
	var all []score
	for _, e := range r.entrants {
		if e.ours && e.name != "auto" {
			continue
		}
		s := score{name: e.name}
		n := 0.0
		for _, c := range r.cells {
			x := c.results[e.name]
			if x == nil {
				break
			}
			mean, _ := average(x.mean)
			most, _ := average(x.most)
			s.mean += math.Log1p(mean)
			s.most += math.Log1p(most)
			n++
		}
		if int(n) == len(r.cells) {
			s.mean, s.most = math.Exp(s.mean/n), math.Exp(s.most/n)
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b score) int { return int(math.Copysign(1, a.mean*a.most-b.mean*b.most)) })
	if len(all) < 2 {
		return score{}, score{}
	}
	return all[0], all[1]
}

// A speedRow is the time of a release.
type speedRow struct {
	name   string
	n      float64
	m      int
	median time.Duration
}

// speed measures releases of Gaussian records on 8,192 buckets, whose counts are put there and not drawn, each entrant in turn.
func speed() []speedRow {
	type job struct {
		speedRow
		release func(*rand.Rand) []float64
		times   []time.Duration
	}
	var jobs []*job
	for _, n := range []int{10_000, 1_000_000_000} {
		d := &dataset{source: source{name: "Gaussian"}, n: n, grid: must(sketch.NewLinear(-20, 20, 8192))}
		d.sketch = sketch.NewBinned(d.grid)
		below := func(x float64) uint64 { return uint64(math.Round(float64(n) * math.Erfc(-x/math.Sqrt2) / 2)) }
		for i := range d.grid.Len() {
			lower, upper := d.grid.Bounds(i)
			if records := below(upper) - below(lower); records > 0 {
				check(d.sketch.AddBucket(i, records))
			}
		}
		d.index()
		for _, e := range append(entrants(), own("joint", "")) {
			for _, m := range []int{29, 99, 1000} {
				ours := e.name == "recursive" && m == 99 || e.name == "tree" && m >= 99 || e.name == "joint" && m == 29
				peer := n == 10_000 && (e.name == "JointExp" && m == 29 || e.name == "BoundedQuantiles" && m >= 99 || e.name == "AQ" && m == 99)
				if ours || peer {
					jobs = append(jobs, &job{speedRow: speedRow{name: e.name, n: float64(n), m: m}, release: e.prepare(d, even(m), 1)})
				}
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 21 {
		for _, i := range random.Perm(len(jobs)) {
			start := time.Now()
			jobs[i].release(random)
			jobs[i].times = append(jobs[i].times, time.Since(start))
		}
	}
	var rows []speedRow
	for _, j := range jobs {
		slices.Sort(j.times)
		j.median = j.times[len(j.times)/2].Round(10 * time.Microsecond)
		rows = append(rows, j.speedRow)
	}
	return rows
}
