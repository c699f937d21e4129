package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/sketch"
)

const sketchQuantileLong = `Print quantiles and ranks of sketches, trusted and not private.

THE ANSWERS ARE NOT PRIVATE: they are computed from the counts as they are, and may give away a single
person. They are for those who may see the data; "quietile release" and "quietile query" answer privately.

FILE is standard input for "-" or none. -q asks for values below which given shares of all values lie, from
0 to 1. --rank and --cdf ask the reverse: which share of the values is at most X. --bounds adds limits that
hold the exact answer: for certain, those of its bucket, or with 99 % confidence of a KLL sketch.

A sketch of nothing has no quantiles: they are "-", null in JSON and empty in CSV. So is an infinite value in
JSON.`

// notPrivate is said above every table of trusted quantiles.
const notPrivate = "Trusted, not private: these answers come from exact counts. Publish them to nobody."

// sketchQuantileFlags are the flags of the sketch quantile command.
type sketchQuantileFlags struct {
	input     *sketchInput
	quantiles *numberList
	ranks     *numberList
	bounds    bool
	format    *choice
}

func newSketchQuantileCommand() *cobra.Command {
	var f sketchQuantileFlags
	cmd := &cobra.Command{
		Use:   "quantile [FILE|-]",
		Short: "Print trusted quantiles and ranks, which are not private",
		Long:  sketchQuantileLong,
		Example: `  quietile sketch quantile age.sketch -q 0.25,0.5,0.75
  quietile sketch quantile latency.sketch -q 0.99 --bounds --format json
  quietile sketch build latency.txt | quietile sketch quantile --cdf 0.1,0.5,1`,
		Args: positional(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runSketchQuantile(cmd, args, &f) },
	}
	f.input = addSketchInput(cmd)
	f.quantiles = &numberList{values: []float64{0.5, 0.9, 0.99}, least: 0, most: 1}
	cmd.Flags().VarP(f.quantiles, "quantiles", "q", "quantiles to print, such as 0.5,0.9; may be repeated")
	f.ranks = &numberList{least: math.Inf(-1), most: math.Inf(1)}
	cmd.Flags().Var(f.ranks, "rank", "print which share of the values is at most this; may be repeated")
	cmd.Flags().Var(f.ranks, "cdf", "the same for several, such as 0.1,0.5,1")
	cmd.Flags().BoolVar(&f.bounds, "bounds", false, "print limits that hold the exact answer")
	f.format = addFormat(cmd)
	return cmd
}

func runSketchQuantile(cmd *cobra.Command, names []string, f *sketchQuantileFlags) error {
	qs := f.quantiles.values
	if f.ranks.given && !f.quantiles.given {
		qs = nil
	}
	var (
		views  = []answersView{}
		shown  labelling
		answer = func(l labelled) error {
			v, err := newAnswersView(l, qs, f.ranks.values, f.bounds)
			if err != nil {
				return fmt.Errorf("%s: %w", l.file, err)
			}
			shown.add(&l, len(names))
			views = append(views, v)
			return nil
		}
	)
	if err := f.input.each(cmd, names, answer); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	switch f.format.value {
	case formatJSON:
		return printJSON(out, struct {
			Private  bool          `json:"private"`
			Sketches []answersView `json:"sketches"`
		}{false, views})
	case formatCSV:
		return printAnswersCSV(out, views)
	}
	return printAnswersTable(out, shown, views, f.bounds)
}

// answersView is what a sketch answers as it is printed. The names of its JSON fields do not change.
type answersView struct {
	labelled  `json:"-"`
	Key       string       `json:"key,omitempty"`
	Window    *windowView  `json:"window,omitempty"`
	Count     uint64       `json:"count"`
	NaN       uint64       `json:"nan"`
	Quantiles []answerView `json:"quantiles,omitempty"`
	Ranks     []rankView   `json:"ranks,omitempty"`
}

// answerView is a quantile.
type answerView struct {
	Q float64 `json:"q"`
	// Value is nil if there are no values.
	Value *edge `json:"value"`
	// Lower and Upper are nil unless limits were asked for.
	Lower *edge `json:"lower,omitempty"`
	Upper *edge `json:"upper,omitempty"`
}

// rankView is the share of values that are at most X.
type rankView struct {
	X edge `json:"x"`
	// Rank is nil if there are no values.
	Rank  *edge `json:"rank"`
	Lower *edge `json:"lower,omitempty"`
	Upper *edge `json:"upper,omitempty"`
}

// newAnswersView asks a sketch.
func newAnswersView(l labelled, qs, xs []float64, bounds bool) (answersView, error) {
	s := l.sketch
	v := answersView{labelled: l, Key: l.key, Window: l.window(), Count: s.Count(), NaN: s.NaNCount()}
	values, err := s.Quantiles(qs)
	if err != nil && !errors.Is(err, sketch.ErrEmpty) {
		return v, err
	}
	ranks, err := s.CDF(xs)
	if err != nil && !errors.Is(err, sketch.ErrEmpty) {
		return v, err
	}
	empty := errors.Is(err, sketch.ErrEmpty)
	for i, q := range qs {
		a := answerView{Q: q}
		if !empty {
			a.Value = edgeOf(values[i])
			if bounds {
				lower, upper, err := s.QuantileBounds(q)
				if err != nil {
					return v, err
				}
				a.Lower, a.Upper = edgeOf(lower), edgeOf(upper)
			}
		}
		v.Quantiles = append(v.Quantiles, a)
	}
	for i, x := range xs {
		r := rankView{X: edge(x)}
		if !empty {
			r.Rank = edgeOf(ranks[i])
			if bounds {
				lower, upper, err := s.RankBounds(x)
				if err != nil {
					return v, err
				}
				r.Lower, r.Upper = edgeOf(lower), edgeOf(upper)
			}
		}
		v.Ranks = append(v.Ranks, r)
	}
	return v, nil
}

func edgeOf(x float64) *edge {
	e := edge(x)
	return &e
}

// cellOf returns a number for a table, "-" where there is none.
func cellOf(e *edge) string {
	if e == nil {
		return "-"
	}
	return e.compact()
}

// exactCell returns a number for CSV, nothing where there is none.
func exactCell(e *edge) string {
	if e == nil {
		return ""
	}
	return e.String()
}

func printAnswersTable(w io.Writer, shown labelling, views []answersView, bounds bool) error {
	if _, err := fmt.Fprintln(w, notPrivate); err != nil {
		return err
	}
	var quantiles, ranks [][]string
	for i := range views {
		v := &views[i]
		for _, a := range v.Quantiles {
			row := append(shown.cells(&v.labelled), formatNumber(a.Q), cellOf(a.Value))
			if bounds {
				row = append(row, cellOf(a.Lower), cellOf(a.Upper))
			}
			quantiles = append(quantiles, row)
		}
		for _, r := range v.Ranks {
			row := append(shown.cells(&v.labelled), r.X.compact(), cellOf(r.Rank))
			if bounds {
				row = append(row, cellOf(r.Lower), cellOf(r.Upper))
			}
			ranks = append(ranks, row)
		}
	}
	for _, t := range []struct {
		rows        [][]string
		asked, told string
	}{{quantiles, "q", "value"}, {ranks, "x", "rank"}} {
		if len(t.rows) == 0 {
			continue
		}
		columns := append(shown.columns(), number(t.asked), number(t.told))
		if bounds {
			columns = append(columns, number("lower"), number("upper"))
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
		if err := printTable(w, columns, t.rows); err != nil {
			return err
		}
	}
	return nil
}

// printAnswersCSV prints a row for each answer. A rank is the q of a value that was given.
func printAnswersCSV(w io.Writer, views []answersView) error {
	header := append(append([]string{"private"}, labelHeader...), "count", "nan", "asked", "q", "value", "lower", "upper")
	var rows [][]string
	for i := range views {
		v := &views[i]
		start := append(append([]string{"false"}, csvLabels(&v.labelled)...), strconv.FormatUint(v.Count, 10), strconv.FormatUint(v.NaN, 10))
		row := func(cells ...string) { rows = append(rows, append(start[:len(start):len(start)], cells...)) }
		for _, a := range v.Quantiles {
			row("value", formatNumber(a.Q), exactCell(a.Value), exactCell(a.Lower), exactCell(a.Upper))
		}
		for _, r := range v.Ranks {
			row("rank", exactCell(r.Rank), r.X.String(), exactCell(r.Lower), exactCell(r.Upper))
		}
	}
	return printCSV(w, header, rows)
}
