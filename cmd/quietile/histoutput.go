package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/quietile/quietile/histogram"
)

// histOutput is where a command writes histograms, and how.
type histOutput struct {
	name string
	to   *choice
}

// addHistOutput adds -o and --format.
func addHistOutput(cmd *cobra.Command) *histOutput {
	formats := append([]string{formatTable}, histFormatNames(true)...)
	o := &histOutput{to: addChoice(cmd, "format", "how to print or write (default: table, and with -o as the name of the file says)", "", formats...)}
	cmd.Flags().StringVarP(&o.name, "output", "o", "-", "file to write")
	return o
}

// format returns the format that --format names, or the name of the file, or that for people.
func (o *histOutput) format() string {
	switch {
	case o.to.value != "":
		return o.to.value
	case o.name == "-":
		return formatTable
	}
	switch strings.ToLower(filepath.Ext(o.name)) {
	case ".json":
		return formatJSON
	case ".csv":
		return formatCSV
	case ".hist":
		return formatCompact
	}
	return formatProto
}

// check makes the checks that need no input: histograms that are no text are not written to a terminal unless -o says so.
func (o *histOutput) check(cmd *cobra.Command) error {
	if o.name == "" {
		return usagef("-o is empty")
	}
	file, ok := cmd.OutOrStdout().(*os.File)
	return o.checkTerminal(cmd.Flags().Changed("output"), ok && term.IsTerminal(int(file.Fd())))
}

func (o *histOutput) checkTerminal(given, terminal bool) error {
	if format := o.format(); !given && terminal && (format == formatProto || format == formatCompact) {
		return usagef("--format %s is no text for a terminal: name a file with -o; -o - writes it all the same", format)
	}
	return nil
}

// write writes histograms.
func (o *histOutput) write(cmd *cobra.Command, all []named) error {
	name := o.format()
	return writeOutput(cmd, o.name, func(w io.Writer) error {
		if name == formatTable {
			return printHistograms(w, all)
		}
		format := findHistFormat(name)
		if len(all) != 1 && !format.several {
			return usagef("--format %s holds one histogram, and there are %d: pick one with --name, add them, or write --format %s", name, len(all), formatJSON)
		}
		hs := make([]*histogram.Histogram, len(all))
		for i, n := range all {
			hs[i] = n.histogram
		}
		if err := format.encode(w, hs); err != nil {
			return fmt.Errorf("--format %s: %w", name, err)
		}
		return nil
	})
}

// printHistograms prints the buckets of each histogram for people.
func printHistograms(w io.Writer, all []named) error {
	labels := histLabelsOf(all)
	columns := append(labels.columns(), number("lower"), number("upper"), number("count"), number("share"))
	var rows [][]string
	for _, n := range all {
		h := n.histogram
		total := h.Count()
		for i, c := range h.Counts {
			share := "-"
			if total > 0 {
				share = compactNumber(c / total)
			}
			lower, upper := h.Bounds(i)
			rows = append(rows, append(labels.cells(n), edge(lower).compact(), edge(upper).compact(), compactNumber(c), share))
		}
	}
	return printTable(w, columns, rows)
}

// histCommand is a command that makes histograms of histograms.
type histCommand struct {
	cmd    *cobra.Command
	input  *histInput
	output *histOutput
}

// apply says what the command makes of the histograms, and returns it.
func (c histCommand) apply(f func(all []named) ([]named, error)) *cobra.Command {
	c.cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.output.check(cmd); err != nil {
			return err
		}
		all, err := c.input.read(cmd, args)
		if err != nil {
			return err
		}
		if all, err = f(all); err != nil {
			return err
		}
		return c.output.write(cmd, all)
	}
	return c.cmd
}

// newHistCommandOf gives a command any number of files to read histograms from, and flags for what it writes.
func newHistCommandOf(cmd *cobra.Command) histCommand {
	cmd.Args = cobra.ArbitraryArgs
	return histCommand{cmd, addHistInput(cmd), addHistOutput(cmd)}
}

// mapHists makes an apply of a function for one histogram.
func mapHists(f func(*histogram.Histogram) (*histogram.Histogram, error)) func([]named) ([]named, error) {
	return func(all []named) ([]named, error) {
		made, err := eachHist(all, f)
		if err != nil {
			return nil, err
		}
		result := make([]named, len(all))
		for i, h := range made {
			result[i] = named{all[i].file, h}
		}
		return result, nil
	}
}

func newHistConvertCommand() *cobra.Command {
	c := newHistCommandOf(&cobra.Command{
		Use:   "convert [FILE…|-]",
		Short: "Write histograms in another format",
		Long: `Write histograms in another format. proto is a bare HistogramTools.HistogramState, which R reads: it holds one
histogram, whose counts are whole numbers below 2^31. json, csv and compact keep every number exactly. csv and json
hold several.`,
		Example: `  quietile hist convert reads.dtrace --format json
  quietile hist convert reads.dtrace --name make --to proto -o make.pb
  quietile sketch build latency.txt | quietile hist convert --to csv`,
	})
	c.cmd.Flags().Var(c.output.to, "to", "the same as --format")
	return c.apply(func(all []named) ([]named, error) { return all, nil })
}

// histView is what is said of a histogram. The names of its JSON fields do not change.
type histView struct {
	File    string `json:"file"`
	Name    string `json:"name"`
	Buckets int    `json:"buckets"`
	Filled  int    `json:"filled"`
	// Count is that of all values.
	Count float64 `json:"count"`
	// The others are nil where there is no answer.
	Mean   *edge `json:"mean"`
	Median *edge `json:"median"`
	KSDCC  *edge `json:"ksdcc"`
	EMDCC  *edge `json:"emdcc"`
	// What is printed can be read again.
	Breaks []edgeText `json:"breaks"`
	Counts []float64  `json:"counts"`
}

// histState is a histogram within other JSON, as package histogram reads it.
type histState struct {
	Name   string     `json:"name"`
	Breaks []edgeText `json:"breaks"`
	Counts []float64  `json:"counts"`
}

func histStateOf(h *histogram.Histogram) histState {
	s := histState{h.Name, nil, h.Counts}
	for _, b := range h.Breaks {
		s.Breaks = append(s.Breaks, edgeText(b))
	}
	return s
}

// edgeText is a break in JSON as package histogram reads it.
type edgeText float64

// MarshalJSON writes a number, or "Infinity".
func (e edgeText) MarshalJSON() ([]byte, error) {
	if text := edge(e).String(); text == "-inf" {
		return []byte(`"-Infinity"`), nil
	} else if text == "+inf" {
		return []byte(`"Infinity"`), nil
	}
	return []byte(strconv.FormatFloat(float64(e), 'g', -1, 64)), nil
}

// optional returns a number, nil where an error says that there is none.
func optional(x float64, err error) *edge {
	if err != nil {
		return nil
	}
	return edgeOf(x)
}

func newHistView(n named) histView {
	h := n.histogram
	v := histView{
		File: n.file, Name: h.Name, Buckets: h.Len(), Count: h.Count(), Counts: h.Counts, Breaks: histStateOf(h).Breaks,
		Mean: optional(h.Mean()), Median: optional(h.Quantile(0.5)), KSDCC: optional(h.KSDCC()), EMDCC: optional(h.EMDCC()),
	}
	for _, c := range h.Counts {
		if c > 0 {
			v.Filled++
		}
	}
	return v
}

func newHistShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [FILE…|-]",
		Short: "Say what histograms hold",
		Long: `Say what histograms hold: how many values in how many buckets, how many of these are filled, the mean and the
median if values were in the middles of their buckets, and the two bounds on lost information ("quietile hist loss"). "-" is what has
no answer: of nothing, or where a bucket reaches to infinity. The buckets are listed if there is one histogram, or with
--buckets. In JSON and CSV they always are.`,
		Example: `  quietile hist show latency.pb
  quietile hist show reads.dtrace --name make --name sh --buckets
  quietile hist show reads.dtrace --format csv`,
		Args: cobra.ArbitraryArgs,
	}
	input := addHistInput(cmd)
	buckets := cmd.Flags().Bool("buckets", false, "list the buckets of several histograms too")
	format := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, err := input.read(cmd, args)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		views := make([]histView, len(all))
		for i, n := range all {
			views[i] = newHistView(n)
		}
		switch format.value {
		case formatJSON:
			return printJSON(out, oneOrAll(views))
		case formatCSV:
			hs := make([]*histogram.Histogram, len(all))
			for i, n := range all {
				hs[i] = n.histogram
			}
			return histogram.WriteCSV(out, hs...)
		}
		return printHistShow(out, all, views, *buckets || len(all) == 1)
	}
	return cmd
}

func printHistShow(w io.Writer, all []named, views []histView, buckets bool) error {
	labels := histLabelsOf(all)
	columns := append(labels.columns(), number("count"), number("buckets"), number("filled"), number("from"), number("to"), number("mean"), number("median"), number("KSDCC"), number("EMDCC"))
	var rows [][]string
	for i, v := range views {
		h := all[i].histogram
		rows = append(rows, append(labels.cells(all[i]), compactNumber(v.Count), strconv.Itoa(v.Buckets), strconv.Itoa(v.Filled),
			edge(h.Breaks[0]).compact(), edge(h.Breaks[h.Len()]).compact(), cellOf(v.Mean), cellOf(v.Median), cellOf(v.KSDCC), cellOf(v.EMDCC)))
	}
	if err := printTable(w, columns, rows); err != nil || !buckets {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return printHistograms(w, all)
}
