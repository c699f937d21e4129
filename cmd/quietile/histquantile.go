package main

import (
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/histogram"
)

// histQuantilesView is what a histogram answers. The names of its JSON fields do not change.
type histQuantilesView struct {
	File      string              `json:"file"`
	Name      string              `json:"name"`
	Count     float64             `json:"count"`
	Quantiles []histQuantileView  `json:"quantiles,omitempty"`
	Points    []histECDFPointView `json:"points,omitempty"`
}

// histQuantileView is a quantile, and the bucket that holds the exact one.
type histQuantileView struct {
	Q     float64 `json:"q"`
	Value edge    `json:"value"`
	Lower edge    `json:"lower"`
	Upper edge    `json:"upper"`
}

// histECDFPointView is a share of values, and the limits that hold the exact one.
type histECDFPointView struct {
	X     edge    `json:"x"`
	Share float64 `json:"share"`
	Lower float64 `json:"lower"`
	Upper float64 `json:"upper"`
}

// The methods of hist quantile and hist ecdf.
const (
	methodMidpoints = "midpoints"
	methodLinear    = "linear"
	methodConstant  = "constant"
)

func newHistQuantileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quantile [FILE…|-]",
		Short: "Print quantiles of a histogram, which are not private",
		Long: `Print values below which given shares of all values lie. They come from exact counts and are not private.

  --method midpoints  as R's ApproxQuantile: each value in the middle of its bucket, and linear between two ranks
  --method linear     the values of a bucket spread evenly over it

"lower" and "upper" are the ends of the bucket that holds the exact quantile.`,
		Example: "  quietile hist quantile latency.pb -q 0.5,0.9,0.99\n  quietile hist quantile reads.dtrace --name make --method linear --format json",
		Args:    cobra.ArbitraryArgs,
	}
	input := addHistInput(cmd)
	qs := &numberList{values: []float64{0.5, 0.9, 0.99}, least: 0, most: 1}
	cmd.Flags().VarP(qs, "quantiles", "q", "quantiles to print, such as 0.5,0.9; may be repeated")
	method := addChoice(cmd, "method", "where values lie in their bucket", methodMidpoints, methodMidpoints, methodLinear)
	format := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, err := input.read(cmd, args)
		if err != nil {
			return err
		}
		answers, err := eachHist(all, func(h *histogram.Histogram) ([]histQuantileView, error) {
			return histQuantiles(h, qs.values, method.value)
		})
		if err != nil {
			return err
		}
		views := make([]histQuantilesView, len(all))
		for i, n := range all {
			views[i] = histQuantilesView{File: n.file, Name: n.histogram.Name, Count: n.histogram.Count(), Quantiles: answers[i]}
		}
		return printHistQuantiles(cmd, format.value, all, views)
	}
	return cmd
}

// histQuantiles returns the quantiles of a histogram by a method.
func histQuantiles(h *histogram.Histogram, qs []float64, method string) ([]histQuantileView, error) {
	lower, err := h.ECDF(histogram.Constant(0))
	if err != nil {
		return nil, err
	}
	values := make([]float64, len(qs))
	if method == methodMidpoints {
		if values, err = h.Quantiles(qs); err != nil {
			return nil, err
		}
	} else {
		linear, err := h.ECDF(histogram.Linear())
		if err != nil {
			return nil, err
		}
		for i, q := range qs {
			if values[i], err = linear.Inverse(q); err != nil {
				return nil, err
			}
		}
	}
	views := make([]histQuantileView, len(qs))
	_, shares := lower.Knots()
	for i, q := range qs {
		bucket := bucketOf(shares, q)
		from, to := h.Bounds(bucket)
		views[i] = histQuantileView{q, edge(values[i]), edge(from), edge(to)}
	}
	return views, nil
}

// bucketOf returns the bucket that holds the exact quantile q: the first that reaches the share, and counts something.
func bucketOf(shares []float64, q float64) int {
	for i := range len(shares) - 1 {
		if shares[i+1] >= q && shares[i+1] > shares[i] {
			return i
		}
	}
	return len(shares) - 2
}

func printHistQuantiles(cmd *cobra.Command, format string, all []named, views []histQuantilesView) error {
	out := cmd.OutOrStdout()
	labels := histLabelsOf(all)
	var exact, rows [][]string
	for i, v := range views {
		for _, q := range v.Quantiles {
			exact = append(exact, []string{v.File, v.Name, formatNumber(q.Q), q.Value.String(), q.Lower.String(), q.Upper.String()})
			rows = append(rows, append(labels.cells(all[i]), formatNumber(q.Q), q.Value.compact(), q.Lower.compact(), q.Upper.compact()))
		}
	}
	switch format {
	case formatJSON:
		return printJSON(out, oneOrAll(views))
	case formatCSV:
		return printCSV(out, []string{"file", "name", "q", "value", "lower", "upper"}, exact)
	}
	return printTable(out, append(labels.columns(), number("q"), number("value"), number("lower"), number("upper")), rows)
}

// histECDFFlags are the flags of hist ecdf.
type histECDFFlags struct {
	input      *histInput
	xs, shares *numberList
	method     *choice
	f          float64
	format     *choice
}

func newHistECDFCommand() *cobra.Command {
	var f histECDFFlags
	cmd := &cobra.Command{
		Use:   "ecdf [FILE…|-]",
		Short: "Print the cumulative distribution function of a histogram",
		Long: `Print which share of the values is at most x, at each break or at those of -x. "lower" and "upper" hold the exact
share. With --inverse it is the x where the function reaches given shares.

  --method linear    a straight line from break to break
  --method constant  level between breaks: at --f 0 the lower bound, at 1 the upper, in between a mean of both`,
		Example: "  quietile hist ecdf latency.pb\n  quietile hist ecdf latency.pb -x 0.5,1,2 --format json\n  quietile hist ecdf latency.pb --inverse 0.5,0.9 --method constant --f 1",
		Args:    cobra.ArbitraryArgs,
	}
	f.input = addHistInput(cmd)
	f.xs = &numberList{least: math.Inf(-1), most: math.Inf(1)}
	cmd.Flags().VarP(f.xs, "at", "x", "where to evaluate, such as 0.5,1 (default: at each break)")
	f.shares = &numberList{least: 0, most: 1}
	cmd.Flags().Var(f.shares, "inverse", "shares to print the x of, such as 0.5,0.9")
	f.method = addChoice(cmd, "method", "how to interpolate inside of buckets", methodLinear, methodLinear, methodConstant)
	cmd.Flags().Float64Var(&f.f, "f", 0, "of --method constant, from 0 to 1")
	f.format = addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runHistECDF(cmd, args, &f) }
	return cmd
}

func runHistECDF(cmd *cobra.Command, args []string, f *histECDFFlags) error {
	if err := excludeFlags(cmd, "inverse", "at"); err != nil {
		return err
	}
	with := histogram.Linear()
	if f.method.value == methodConstant {
		with = histogram.Constant(f.f)
	} else if cmd.Flags().Changed("f") {
		return usagef("--f is for --method constant")
	}
	all, err := f.input.read(cmd, args)
	if err != nil {
		return err
	}
	if f.shares.given {
		return runHistInverse(cmd, f, all, with)
	}
	points, err := eachHist(all, func(h *histogram.Histogram) ([]histECDFPointView, error) {
		e, err := h.ECDF(with)
		if err != nil {
			return nil, err
		}
		xs := h.Breaks
		if f.xs.given {
			xs = f.xs.values
		}
		var points []histECDFPointView
		for _, x := range xs {
			low, high := e.Bounds(x)
			points = append(points, histECDFPointView{edge(x), e.At(x), low, high})
		}
		return points, nil
	})
	if err != nil {
		return err
	}
	labels := histLabelsOf(all)
	views := make([]histQuantilesView, len(all))
	var exact, rows [][]string
	for i, n := range all {
		views[i] = histQuantilesView{File: n.file, Name: n.histogram.Name, Count: n.histogram.Count(), Points: points[i]}
		for _, p := range points[i] {
			exact = append(exact, []string{n.file, n.histogram.Name, p.X.String(), formatNumber(p.Share), formatNumber(p.Lower), formatNumber(p.Upper)})
			rows = append(rows, append(labels.cells(n), p.X.compact(), compactNumber(p.Share), compactNumber(p.Lower), compactNumber(p.Upper)))
		}
	}
	out := cmd.OutOrStdout()
	switch f.format.value {
	case formatJSON:
		return printJSON(out, oneOrAll(views))
	case formatCSV:
		return printCSV(out, []string{"file", "name", "x", "share", "lower", "upper"}, exact)
	}
	return printTable(out, append(labels.columns(), number("x"), number("share"), number("lower"), number("upper")), rows)
}

// runHistInverse prints where distribution functions reach shares.
func runHistInverse(cmd *cobra.Command, f *histECDFFlags, all []named, with histogram.Interpolation) error {
	answers, err := eachHist(all, func(h *histogram.Histogram) ([]histQuantileView, error) {
		e, err := h.ECDF(with)
		if err != nil {
			return nil, err
		}
		_, shares := e.Knots()
		var views []histQuantileView
		for _, q := range f.shares.values {
			x, err := e.Inverse(q)
			if err != nil {
				return nil, fmt.Errorf("share %v: %w", q, err)
			}
			lower, upper := h.Bounds(bucketOf(shares, q))
			views = append(views, histQuantileView{q, edge(x), edge(lower), edge(upper)})
		}
		return views, nil
	})
	if err != nil {
		return err
	}
	views := make([]histQuantilesView, len(all))
	for i, n := range all {
		views[i] = histQuantilesView{File: n.file, Name: n.histogram.Name, Count: n.histogram.Count(), Quantiles: answers[i]}
	}
	return printHistQuantiles(cmd, f.format.value, all, views)
}
