package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// reference is what the ratios are to.
const reference = "Quietile scale 5"

// A claim is something that this library says of itself, and what the run found.
type claim struct {
	text, found string
	holds       bool
}

func (r *results) of(name string) *figures {
	for _, f := range r.figures {
		if f.library.name == name {
			return f
		}
	}
	panic("there is no library " + name)
}

// worst returns the largest relative error of a library's answers on any dataset.
func (r *run) worst(l *library) float64 {
	worst := 0.0
	for _, d := range r.results {
		worst = max(worst, d.of(l.name).worst)
	}
	return worst
}

// asGood returns the figures on a dataset of the sketch of this library with the fewest buckets whose answers were no worse, in the largest relative error on any
// dataset, than those of a peer; nil if there is none.
func (r *run) asGood(d *results, peer *library) *figures {
	for _, own := range d.figures {
		if own.library.ours && own.library.bounded && r.worst(own.library) <= r.worst(peer) {
			return own // they come in order of their scale
		}
	}
	return nil
}

// claims judges the run.
func (r *run) claims() []claim {
	var all []claim
	add := func(holds bool, text, format string, args ...any) {
		all = append(all, claim{text, fmt.Sprintf(format, args...), holds})
	}
	main := r.results[0]
	single := median(main.of(reference).single)
	linear := median(main.of("Quietile linear 8192").single)
	add(single <= 2.5 && linear <= 2.5, "A single Add takes at most 2.5 ns", "%.2f ns at scale 5, %.2f ns on a linear grid", single, linear)
	fastest, name := math.Inf(1), ""
	for _, f := range main.figures {
		if x := ratio(f.single, main.of(reference).single); !f.library.ours && x < fastest {
			fastest, name = x, f.library.name
		}
	}
	add(fastest > 1, "and less than that of every peer", "the fastest peer, %s, takes %.1f times as long", name, fastest)
	worst := 0.0
	for _, f := range main.figures {
		if f.library.ours && f.library.bounded {
			worst = max(worst, median(f.batch))
		}
	}
	batch := median(main.of("Quietile linear 8192").batch)
	add(batch <= 1 && worst <= 1.5, "AddBatch takes at most 1 ns a value on a linear grid, 1.5 ns on exponential ones", "%.2f ns and, at the slowest of scales 2 to 8, %.2f ns", batch, worst)

	holds, found := true, []string{}
	for _, f := range main.figures {
		if f.library.ours || !f.library.bounded || f.library.merge == nil {
			continue
		}
		own := r.asGood(main, f.library)
		if own == nil {
			holds = false
			found = append(found, fmt.Sprintf("no scale is as accurate as %s", f.library.name))
			continue
		}
		x := ratio(f.merge, own.merge)
		holds = holds && x > 1
		found = append(found, fmt.Sprintf("%s ×%.1f of scale %s", f.library.name, x, strings.TrimPrefix(own.library.name, "Quietile scale ")))
	}
	add(holds, "Merging two latency sketches takes less than for every peer of the same accuracy", "%s", strings.Join(found, "; "))

	holds = true
	least, where := math.Inf(1), ""
	for _, d := range r.results {
		for _, f := range d.figures {
			if f.library.ours || !f.library.bounded {
				continue
			}
			own := r.asGood(d, f.library)
			if own == nil {
				holds = false
				where += fmt.Sprintf("no scale is as accurate as %s on %s; ", f.library.name, d.dataset)
				continue
			}
			if x := float64(f.bytes) / float64(own.bytes); x < least {
				least, name = x, fmt.Sprintf("%s on %s", f.library.name, d.dataset)
			}
		}
	}
	add(holds && least > 1, "A sketch has fewer bytes than that of every peer with the same worst relative error, on every dataset", "%sthe nearest, %s, has %.2f times as many", where, name, least)

	kll := ratio(main.of("Quietile KLL k=200").single, main.of("DataSketches KLL k=200").single)
	add(kll <= 0.8, "KLL inserts take at most 0.8 of datasketches-go's at k = 200", "%.2f of it", kll)
	add(r.ownKLL.mean <= 1.02*r.peerKLL.mean && r.ownKLL.max <= 1.02*r.peerKLL.max, "with a rank error that is no worse", "mean %.4f %% against %.4f %%, largest %.3f %% against %.3f %%, on average over %d streams",
		100*r.ownKLL.mean, 100*r.peerKLL.mean, 100*r.ownKLL.max, 100*r.peerKLL.max, r.trials)
	return all
}

// number prints a figure with three digits, or a dash for none.
func number(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case x == 0:
		return "0"
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x >= 0.1:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.2g", x)
}

// table prints rows as Markdown that lines up as text too.
func table(w io.Writer, header []string, rows [][]string) {
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			gap := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 {
				fmt.Fprintf(w, "| %s%s ", cell, gap)
			} else {
				fmt.Fprintf(w, "| %s%s ", gap, cell)
			}
		}
		fmt.Fprintln(w, "|")
	}
	line(header)
	for i := range header {
		dashes := strings.Repeat("-", widths[i]+1)
		if i == 0 {
			fmt.Fprintf(w, "|%s-", dashes)
		} else {
			fmt.Fprintf(w, "|%s:", dashes)
		}
	}
	fmt.Fprintln(w, "|")
	for _, row := range rows {
		line(row)
	}
	fmt.Fprintln(w)
}

// write prints the whole report in Markdown.
func (r *run) write(w io.Writer) {
	fmt.Fprintf(w, "# Benchmarks\n\nMade by `make bench` on %s: %s, %s, %d cores. %d values in each dataset, %d rounds, seed %d.\n\n", r.date, r.goVersion, r.cpu, r.cores, r.n, r.rounds, r.seed)
	fmt.Fprint(w, "In each round every library has its turn, in random order, and a ratio is the median of the ratios of the rounds, so that what disturbs the machine disturbs all alike.\n"+
		"Inserts are loops over concrete types. A sketch is warm when it is timed. Rank errors are shares of the number of values over all percentiles and 99.9 %;\n"+
		"the worst relative error is over the same quantiles; two libraries are of the same accuracy by the largest on any dataset. A dash means that the library has no such call.\n\n")
	fmt.Fprint(w, "## What is claimed, and what was found\n\n")
	var rows [][]string
	for _, c := range r.claims() {
		verdict := "yes"
		if !c.holds {
			verdict = "**no**"
		}
		rows = append(rows, []string{c.text, c.found, verdict})
	}
	table(w, []string{"claim", "found", "holds"}, rows)

	main := r.results[0]
	ref := main.of(reference)
	fmt.Fprintf(w, "## Ratios to %s, log-normal values\n\n", reference)
	rows = nil
	for _, f := range main.figures {
		rows = append(rows, []string{
			f.library.name, number(ratio(f.single, ref.single)), number(ratio(f.batch, ref.batch)), number(ratio(f.merge, ref.merge)), number(ratio(f.quantile, ref.quantile)),
			number(float64(f.bytes) / float64(ref.bytes)), number(float64(f.resident) / float64(ref.resident)),
		})
	}
	rows = append(rows, []string{"the sum of the values", number(ratio(main.sum, ref.single)), number(ratio(main.sum, ref.batch)), "–", "–", "–", "–"})
	table(w, []string{"", "insert", "batch", "merge", "5 quantiles", "bytes", "memory"}, rows)
	fmt.Fprint(w, "![Time of an insert](benchmarks/insert.svg)\n![Bytes against worst relative error](benchmarks/size.svg)\n![Rank error](benchmarks/rank.svg)\n\n")

	for _, d := range r.results {
		fmt.Fprintf(w, "## %s\n\n", strings.ToUpper(d.dataset[:1])+d.dataset[1:])
		rows = nil
		for _, f := range d.figures {
			order := "–"
			if f.merges {
				order = "no"
				if f.sameInOrder {
					order = "yes"
				}
			}
			rows = append(rows, []string{
				f.library.name, number(median(f.single)), number(median(f.batch)), number(f.allocations), number(median(f.merge)), number(median(f.quantile)),
				fmt.Sprint(f.bytes), fmt.Sprint(f.resident), number(100 * f.meanRank), number(100 * f.maxRank), number(100 * f.worst), order,
			})
		}
		rows = append(rows, []string{"the sum of the values", number(median(d.sum)), number(median(d.sum)), "0", "–", "–", "–", "–", "–", "–", "–", "–"})
		table(w, []string{"", "insert ns", "batch ns", "allocations", "merge ns", "5 quantiles ns", "bytes", "memory", "mean rank %", "max rank %", "worst value %", "same in any order"}, rows)
	}
	fmt.Fprint(w, "## Many goroutines\n\nNanoseconds of the whole machine for one insert.\n\n")
	rows = nil
	for _, c := range r.contention {
		rows = append(rows, []string{c.name, fmt.Sprint(c.goroutines), number(median(c.times))})
	}
	table(w, []string{"", "goroutines", "ns"}, rows)
	fmt.Fprint(w, "## Peers\n\n")
	for _, m := range r.modules {
		fmt.Fprintf(w, "- %s\n", m)
	}
	fmt.Fprintln(w)
	for _, f := range main.figures {
		if f.library.note != "" {
			fmt.Fprintf(w, "%s: %s.\n", f.library.name, f.library.note)
		}
	}
}
