package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/histogram"
)

// The words of --breaks of hist build.
const (
	breaksSturges = "sturges"
	breaksScott   = "scott"
	breaksFD      = "fd"
	breaksLog     = "log"
)

const histBuildLong = `Count the numbers of files into a histogram.

Each FILE, or standard input for "-" or none, is plain or gzip. With --column it is a table; otherwise each line is a
number. A bucket holds its upper break, and the first both.

  --breaks sturges   round breaks, for about 1 + log2 n buckets
  --breaks scott     round breaks, as wide as the standard deviation says
  --breaks fd        round breaks, as wide as the quartiles say (Freedman and Diaconis)
  --breaks log       powers of ten, --per-decade in each
  --breaks LIST      these, such as 0,1,5,10, which hold all values

All values are held in memory. A cell that is no finite number is an error that names its line.`

// histBuildFlags are the flags of hist build.
type histBuildFlags struct {
	column, title string
	noHeader      bool
	delimiter     *delimiterValue
	breaks        *breaksValue
	perDecade     int
	output        *histOutput
}

func newHistBuildCommand() *cobra.Command {
	var f histBuildFlags
	cmd := &cobra.Command{
		Use:   "build [FILE…|-]",
		Short: "Count numbers into a histogram",
		Long:  histBuildLong,
		Example: `  quietile hist build latency.txt
  quietile hist build people.csv --column age --breaks fd -o age.pb
  quietile hist build latency.txt --breaks log --per-decade 5 --format json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return runHistBuild(cmd, args, &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.column, "column", "", "column of the values, by name or number from 1 (default: each line is a value)")
	flags.BoolVar(&f.noHeader, "no-header", false, "the first line is a row, not the columns' names")
	f.delimiter = addDelimiter(cmd)
	flags.StringVar(&f.title, "title", "", "name of the histogram (default: that of the column)")
	f.breaks = addBreaks(cmd, "breaks", "breaks, or the rule that makes them (default sturges)", breaksSturges, breaksScott, breaksFD, breaksLog)
	flags.IntVar(&f.perDecade, "per-decade", 3, "buckets for each power of ten, of --breaks log")
	f.output = addHistOutput(cmd)
	return cmd
}

func runHistBuild(cmd *cobra.Command, names []string, f *histBuildFlags) error {
	if err := f.output.check(cmd); err != nil {
		return err
	}
	var columns []string
	if cmd.Flags().Changed("column") {
		columns = []string{f.column}
		if err := checkColumns(!f.noHeader, []string{"column"}, columns); err != nil {
			return err
		}
	}
	names, err := inputNames(names)
	if err != nil {
		return err
	}
	var values []float64
	file := ""
	for _, name := range names {
		in, err := openInput(cmd, name)
		if err != nil {
			return err
		}
		title := ""
		values, title, err = appendValues(values, in, f, columns)
		in.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
		if file == "" {
			file = in.name
		}
		if f.title == "" {
			f.title = title
		}
	}
	breaks, err := f.breaksOf(values)
	if err != nil {
		return fmt.Errorf("%s: %w", file, histProblem(err))
	}
	h, err := histogram.FromValues(values, breaks, f.title)
	if err != nil {
		return fmt.Errorf("%s: %w", file, histProblem(err))
	}
	return f.output.write(cmd, []named{{file, h}})
}

// breaksOf returns the breaks that the flags ask for.
func (f *histBuildFlags) breaksOf(values []float64) ([]float64, error) {
	switch f.breaks.word {
	case breaksScott:
		return histogram.ScottBreaks(values)
	case breaksFD:
		return histogram.FreedmanDiaconisBreaks(values)
	case breaksLog:
		return histogram.LogBreaks(values, f.perDecade)
	}
	if f.breaks.breaks != nil {
		return f.breaks.breaks, nil
	}
	return histogram.SturgesBreaks(values)
}

// appendValues appends the values of an input, and returns the name of their column.
func appendValues(values []float64, in *input, f *histBuildFlags, columns []string) ([]float64, string, error) {
	rows, err := newColumnReader(in, byte(*f.delimiter), !f.noHeader, columns)
	if err != nil {
		return nil, "", err
	}
	title := ""
	if len(columns) > 0 {
		if title = rows.names[0]; f.noHeader {
			title = "column " + title
		}
	}
	for {
		cells, err := rows.read()
		if errors.Is(err, io.EOF) {
			return values, title, nil
		}
		if err != nil {
			return nil, "", err
		}
		x, ok := parseValue(cells[0])
		if !ok || x != x {
			return nil, "", errors.New("line " + strconv.Itoa(rows.line()) + ": " + shorten(cells[0]) + " is no number")
		}
		values = append(values, x)
	}
}
