package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/histogram"
)

// histLong lists the formats at %s.
const histLong = `Work on static histograms: breaks, and between each two of them a count.

It does what R's HistogramTools does, on its files too. What a histogram holds is exact and not private.

Formats that are read, and by --format written where it says so:
%s
Without --from a format is recognised by its bytes. Input may be gzip. "-" or no FILE is standard input. A file
may hold several histograms; --name picks by name, and may be repeated. A command that works on one histogram
works on each; in JSON one is an object, and several are an array.

-o FILE takes the format from the name: .json, .csv, .hist, otherwise proto.`

func newHistCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "hist",
		GroupID: groupFiles,
		Short:   "Show, add, merge, compare, plot and convert static histograms",
		Long:    fmt.Sprintf(histLong, histFormatHelp()),
		Example: `  quietile hist show reads.dtrace
  quietile hist add monday.pb tuesday.pb -o both.pb
  quietile hist rebin both.pb -k 20 --format json
  quietile hist loss both.pb
  quietile hist distance monday.pb tuesday.pb
  quietile hist plot both.pb --kind ecdf -o both.svg`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return usagef("unknown command %q; did you mean hist %s?", args[0], near[0])
			}
			return usagef("unknown command %q; quietile hist --help lists the commands", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(newHistShowCommand(), newHistBuildCommand(), newHistConvertCommand(),
		newHistAddCommand(), newHistIntersectCommand(), newHistScaleCommand(), newHistTrimCommand(), newHistSubsetCommand(), newHistMergeCommand(), newHistRebinCommand(),
		newHistDistanceCommand(), newHistLossCommand(), newHistQuantileCommand(), newHistECDFCommand(), newHistPlotCommand())
	return cmd
}

// named is a histogram with the input that it comes from.
type named struct {
	file      string
	histogram *histogram.Histogram
}

// label names a histogram among others for people.
func (n named) label() string {
	if n.histogram.Name == "" {
		return n.file
	}
	return fmt.Sprintf("%s, %q", n.file, n.histogram.Name)
}

// histLabels says which labels tell histograms apart in a table.
type histLabels struct{ files, names bool }

func histLabelsOf(all []named) histLabels {
	var l histLabels
	for _, n := range all {
		l.files = l.files || n.file != all[0].file
		l.names = l.names || n.histogram.Name != ""
	}
	return l
}

// columns returns the columns of the labels.
func (l histLabels) columns() []tableColumn {
	var columns []tableColumn
	if l.files {
		columns = append(columns, word("file"))
	}
	if l.names {
		columns = append(columns, word("name"))
	}
	return columns
}

// cells returns what stands in these columns.
func (l histLabels) cells(n named) []string {
	var cells []string
	if l.files {
		cells = append(cells, printable(n.file))
	}
	if l.names {
		cells = append(cells, printable(n.histogram.Name))
	}
	return cells
}

// oneOrAll returns what is printed as JSON: the only view as it is, or all in an array.
func oneOrAll[T any](views []T) any {
	if len(views) == 1 {
		return views[0]
	}
	return views
}

// breaksValue is the value of a flag for breaks: one of some words, or numbers separated by commas.
type breaksValue struct {
	words  []string
	word   string
	breaks []float64
}

func (b *breaksValue) Type() string {
	return strings.Join(append(b.words[:len(b.words):len(b.words)], "LIST"), "|")
}

func (b *breaksValue) String() string {
	if b.word != "" {
		return b.word
	}
	var texts []string
	for _, x := range b.breaks {
		texts = append(texts, formatNumber(x))
	}
	return strings.Join(texts, ",")
}

func (b *breaksValue) Set(s string) error {
	for _, word := range b.words {
		if s == word {
			b.word, b.breaks = word, nil
			return nil
		}
	}
	var breaks []float64
	for i, text := range strings.Split(s, ",") {
		x, ok := parseValue([]byte(text))
		if !ok {
			return fmt.Errorf("break %d, %q, is no number, and %q none of %s", i, text, s, strings.Join(b.words, ", "))
		}
		breaks = append(breaks, x)
	}
	b.word, b.breaks = "", breaks
	return nil
}

// addBreaks adds a flag for breaks.
func addBreaks(cmd *cobra.Command, name, usage string, words ...string) *breaksValue {
	b := &breaksValue{words: words}
	cmd.Flags().Var(b, name, usage)
	return b
}

// given says whether the flag was given.
func (b *breaksValue) given() bool { return b.word != "" || b.breaks != nil }

// shared returns the breaks to put histograms on.
func (b *breaksValue) shared(hs []*histogram.Histogram) ([]float64, error) {
	switch b.word {
	case breaksCommon:
		return histogram.CommonBreaks(hs...)
	case breaksUnion:
		return histogram.UnionBreaks(hs...)
	}
	return b.breaks, nil
}

// The words of --breaks where histograms are put on shared breaks.
const (
	breaksCommon = "common"
	breaksUnion  = "union"
)
