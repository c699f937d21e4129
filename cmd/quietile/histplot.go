package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"gonum.org/v1/plot"

	"github.com/quietile/quietile/histogram"
	"github.com/quietile/quietile/histogram/histplot"
)

const histPlotLong = `Draw histograms as SVG or PNG, or as text for a terminal.

  --kind histogram  counts; densities where buckets differ in width
         frequency  shares of values
         ecdf       the distribution function over its bounds
         ksdcc      both bounds, and an arrow where they are farthest apart
         emdcc      the boxes between the bounds
         bytes      the distribution function of sizes, on a logarithmic axis
         time       the same of durations in seconds
         shifted    an average shifted histogram over the bars, smooth over --smooth buckets
         compare    two histograms over each other

-o FILE.svg or FILE.png draws a picture; without -o it is text, of at most 40 lines. --format says it otherwise; with
json it is the numbers that the text shows. Pick one of several histograms with --name, and two for compare.`

// The values of --format of hist plot, beside formatText and formatJSON.
const (
	formatSVG = "svg"
	formatPNG = "png"
)

// histKind is a kind of picture.
type histKind struct {
	name string
	draw func(hs []*histogram.Histogram, f *histPlotFlags) (*plot.Plot, error)
	// rows returns what the text shows.
	rows func(hs []*histogram.Histogram, f *histPlotFlags) ([]plotRow, error)
}

// histKinds are all kinds, the one that is drawn unless another is asked for first.
var histKinds = []histKind{
	{"histogram", drawOne(histplot.Histogram), rowsOfCounts},
	{"frequency", drawOne(histplot.RelativeFrequency), rowsOfShares},
	{"ecdf", drawOne(histplot.ECDF), rowsOfBounds},
	{kindKSDCC, drawOne(histplot.KSDCC), rowsOfBounds},
	{"emdcc", drawOne(histplot.EMDCC), rowsOfBounds},
	{kindBytes, drawOne(histplot.Log2ByteECDF), rowsOfBounds},
	{kindTime, drawOne(histplot.LogTimeECDF), rowsOfBounds},
	{"shifted", drawShifted, rowsOfShifted},
	{kindCompare, drawPair, rowsOfPair},
}

// The kinds that differ from others in more than what is drawn.
const (
	kindKSDCC   = "ksdcc"
	kindBytes   = "bytes"
	kindTime    = "time"
	kindCompare = "compare"
)

func drawOne(draw func(*histogram.Histogram) (*plot.Plot, error)) func([]*histogram.Histogram, *histPlotFlags) (*plot.Plot, error) {
	return func(hs []*histogram.Histogram, _ *histPlotFlags) (*plot.Plot, error) { return draw(hs[0]) }
}

func drawShifted(hs []*histogram.Histogram, f *histPlotFlags) (*plot.Plot, error) {
	return histplot.AverageShifted(hs[0], f.smooth, histogram.Kernel{})
}

func drawPair(hs []*histogram.Histogram, _ *histPlotFlags) (*plot.Plot, error) {
	return histplot.Compare(hs[0], hs[1])
}

// histPlotFlags are the flags of hist plot.
type histPlotFlags struct {
	input         *histInput
	kind, format  *choice
	output        string
	width, height int
	smooth        int
	title, xLabel string
}

func newHistPlotCommand() *cobra.Command {
	var f histPlotFlags
	cmd := &cobra.Command{
		Use:   "plot [FILE…|-]",
		Short: "Draw histograms as pictures or as text",
		Long:  histPlotLong,
		Example: `  quietile hist plot latency.pb -o latency.svg
  quietile hist plot latency.pb --kind ksdcc
  quietile hist plot reads.dtrace --name make --kind bytes -o make.png --width 900
  quietile hist plot monday.pb tuesday.pb --kind compare -o both.svg`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return runHistPlot(cmd, args, &f) },
	}
	f.input = addHistInput(cmd)
	var kinds []string
	for _, k := range histKinds {
		kinds = append(kinds, k.name)
	}
	f.kind = addChoice(cmd, "kind", "what to draw", kinds[0], kinds...)
	f.format = addChoice(cmd, "format", "how to draw (default: as the name of the file says, otherwise text)", "", formatText, formatSVG, formatPNG, formatJSON)
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "-", "file to write")
	flags.IntVar(&f.width, "width", 600, "of a picture, in pixels")
	flags.IntVar(&f.height, "height", 400, "of a picture, in pixels")
	flags.IntVar(&f.smooth, "smooth", 5, "over how many buckets --kind shifted is smooth")
	flags.StringVar(&f.title, "title", "", "title of a picture (default: the histogram's name)")
	flags.StringVar(&f.xLabel, "x-label", "", "what the horizontal axis of a picture shows, such as seconds")
	return cmd
}

func runHistPlot(cmd *cobra.Command, args []string, f *histPlotFlags) error {
	format, err := f.formatOf()
	if err != nil {
		return err
	}
	all, err := f.input.read(cmd, args)
	if err != nil {
		return err
	}
	want := 1
	if f.kind.value == kindCompare {
		want = 2
	}
	if len(all) != want {
		return usagef("--kind %s draws %d, and there are %d histograms: pick with --name; %s", f.kind.value, want, len(all), namesOf(all))
	}
	var kind histKind
	for _, k := range histKinds {
		if k.name == f.kind.value {
			kind = k
		}
	}
	hs := make([]*histogram.Histogram, len(all))
	for i, n := range all {
		hs[i] = n.histogram
	}
	if format == formatText || format == formatJSON {
		return writeRows(cmd, f, format, kind, all, hs)
	}
	p, err := kind.draw(hs, f)
	if err != nil {
		return histsProblem(all, err)
	}
	if cmd.Flags().Changed("title") {
		p.Title.Text = f.title
	}
	if f.xLabel != "" {
		p.X.Label.Text = f.xLabel
	}
	write := histplot.WriteSVG
	if format == formatPNG {
		write = histplot.WritePNG
	}
	return writeOutput(cmd, f.output, func(w io.Writer) error { return histProblem(write(w, p, f.width, f.height)) })
}

// formatOf returns the format that --format names, or the name of the file.
func (f *histPlotFlags) formatOf() (string, error) {
	extension := strings.ToLower(filepath.Ext(f.output))
	switch {
	case f.output == "":
		return "", usagef("-o is empty")
	case f.format.value != "":
		return f.format.value, nil
	case f.output == "-":
		return formatText, nil
	}
	for _, format := range []string{formatSVG, formatPNG, formatJSON} {
		if extension == "."+format {
			return format, nil
		}
	}
	if extension == ".txt" {
		return formatText, nil
	}
	return "", usagef("-o %s does not say what to draw: name it .svg, .png, .txt or .json, or use --format", f.output)
}

// plotRow is a bucket as text: a bar that is dark up to Low, and light from there to High.
type plotRow struct {
	Lower edge    `json:"lower"`
	Upper edge    `json:"upper"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// mostRows is how many buckets are shown as text.
const mostRows = 40

func rowsOf(h *histogram.Histogram, of func(i int) (low, high float64)) []plotRow {
	rows := make([]plotRow, h.Len())
	for i := range rows {
		lower, upper := h.Bounds(i)
		low, high := of(i)
		rows[i] = plotRow{edge(lower), edge(upper), low, high}
	}
	return rows
}

func rowsOfCounts(hs []*histogram.Histogram, _ *histPlotFlags) ([]plotRow, error) {
	return rowsOf(hs[0], func(i int) (float64, float64) { return hs[0].Counts[i], hs[0].Counts[i] }), nil
}

func rowsOfShares(hs []*histogram.Histogram, _ *histPlotFlags) ([]plotRow, error) {
	shares, err := hs[0].Normalize()
	if err != nil {
		return nil, err
	}
	return rowsOfCounts([]*histogram.Histogram{shares}, nil)
}

func rowsOfBounds(hs []*histogram.Histogram, _ *histPlotFlags) ([]plotRow, error) {
	e, err := hs[0].ECDF(histogram.Linear())
	if err != nil {
		return nil, err
	}
	_, shares := e.Knots()
	return rowsOf(hs[0], func(i int) (float64, float64) { return shares[i], shares[i+1] }), nil
}

func rowsOfShifted(hs []*histogram.Histogram, f *histPlotFlags) ([]plotRow, error) {
	d, err := hs[0].AverageShifted(f.smooth, histogram.Kernel{})
	if err != nil {
		return nil, err
	}
	return rowsOf(hs[0], func(i int) (float64, float64) { return d.Y[i], d.Y[i] }), nil
}

// rowsOfPair returns the shares of two histograms on shared breaks: the first dark, the second light. Where the breaks differ they are the common ones.
func rowsOfPair(hs []*histogram.Histogram, _ *histPlotFlags) ([]plotRow, error) {
	a, b, err := ontoShared(hs[0], hs[1], &breaksValue{word: breaksCommon})
	if err == nil {
		a, err = a.Normalize()
	}
	if err == nil {
		b, err = b.Normalize()
	}
	if err != nil {
		return nil, err
	}
	return rowsOf(a, func(i int) (float64, float64) { return a.Counts[i], b.Counts[i] }), nil
}

// writeRows writes the picture as text, or its numbers as JSON.
func writeRows(cmd *cobra.Command, f *histPlotFlags, format string, kind histKind, all []named, hs []*histogram.Histogram) error {
	note := ""
	if format == formatText {
		for i, h := range hs {
			if h.Len() <= mostRows {
				continue
			}
			merged, err := h.MergeBucketsTo(mostRows)
			if err != nil {
				return histsProblem(all, err)
			}
			note = fmt.Sprintf("%d buckets, of which %d lines are shown", h.Len(), merged.Len())
			hs[i] = merged
		}
	}
	rows, err := kind.rows(hs, f)
	if err != nil {
		return histsProblem(all, err)
	}
	return writeOutput(cmd, f.output, func(w io.Writer) error {
		if format == formatJSON {
			return printJSON(w, struct {
				Kind string    `json:"kind"`
				Name string    `json:"name"`
				Rows []plotRow `json:"rows"`
			}{kind.name, hs[0].Name, rows})
		}
		return printBars(w, kind.name, hs, rows, note)
	})
}
