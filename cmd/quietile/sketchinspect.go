package main

import (
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/sketch"
)

const sketchInspectLong = `Say what sketches hold.

Of each sketch of each FILE, or standard input for "-" or none:

  kind, grid       what the counts are of
  count, nan       how many values, and how many NaN beside them
  at least, most   limits of all values: the ends of the first and the last bucket that holds any, or the
                   least and the greatest value of a KLL sketch
  filled           buckets that hold values, or how many values a KLL sketch retains
  outside          values beyond the grid's ends; those of the error bound's exceptions
  error            how far a quantile may be from the exact one, unless that lies outside: a share of the
                   value on exponential grids, otherwise the width of the widest bucket that is filled.
                   Of a KLL sketch: how far its rank may be from q, with 99 % confidence
  bytes            the size in each format, "-" in one that does not hold the sketch

--buckets lists the filled buckets with their ends and counts. What is printed is exact and not private.`

// sketchInspectFlags are the flags of the sketch inspect command.
type sketchInspectFlags struct {
	input   *sketchInput
	buckets bool
	format  *choice
}

func newSketchInspectCommand() *cobra.Command {
	var f sketchInspectFlags
	cmd := &cobra.Command{
		Use:   "inspect [FILE…|-]",
		Short: "Say what sketches hold",
		Long:  sketchInspectLong,
		Example: `  quietile sketch inspect latency.sketch
  quietile sketch inspect hosts.qtd --key web-1 --buckets
  quietile sketch inspect *.sketch --format csv`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return runSketchInspect(cmd, args, &f) },
	}
	f.input = addSketchInput(cmd)
	cmd.Flags().BoolVar(&f.buckets, "buckets", false, "list the filled buckets")
	f.format = addFormat(cmd)
	return cmd
}

func runSketchInspect(cmd *cobra.Command, names []string, f *sketchInspectFlags) error {
	var (
		views = []inspectView{}
		shown labelling
	)
	err := f.input.each(cmd, names, func(l labelled) error {
		v, err := newInspectView(l, f.buckets)
		if err != nil {
			return fmt.Errorf("%s: %w", l.file, err)
		}
		shown.add(&l, len(names))
		views = append(views, v)
		return nil
	})
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	switch {
	case f.format.value == formatJSON:
		return printJSON(out, views)
	case f.format.value == formatCSV && f.buckets:
		return printBucketsCSV(out, views)
	case f.format.value == formatCSV:
		return printInspectCSV(out, views)
	}
	return printInspectTable(out, shown, views)
}

// inspectView is what is to be said of a sketch. The names of its JSON fields do not change.
type inspectView struct {
	labelled `json:"-"`
	File     string      `json:"file"`
	Key      string      `json:"key,omitempty"`
	Window   *windowView `json:"window,omitempty"`
	Kind     string      `json:"kind"`
	Grid     string      `json:"grid,omitempty"`
	K        int         `json:"k,omitempty"` // of a KLL sketch
	Count    uint64      `json:"count"`
	NaN      uint64      `json:"nan"`
	// AtLeast and AtMost bound all values; nil if there are none.
	AtLeast *edge     `json:"at_least"`
	AtMost  *edge     `json:"at_most"`
	Filled  int       `json:"filled"`
	Outside uint64    `json:"outside"`
	Error   errorView `json:"error"`
	// Bytes are the sizes in the formats that hold the sketch.
	Bytes map[string]int `json:"bytes"`
	// Buckets are listed if asked for.
	Buckets []bucketView `json:"buckets,omitempty"`
}

// errorView bounds how far a quantile is from the exact one. One field is set.
type errorView struct {
	// Relative is a share of the value.
	Relative *float64 `json:"relative,omitempty"`
	// Absolute is a difference of values.
	Absolute *edge `json:"absolute,omitempty"`
	// Rank is a share of the number of values, with the probability Confidence.
	Rank       *float64 `json:"rank,omitempty"`
	Confidence float64  `json:"confidence,omitempty"`
}

// String returns the bound for people.
func (e errorView) String() string {
	switch {
	case e.Relative != nil:
		return percent(*e.Relative) + " of the value"
	case e.Absolute != nil:
		return e.Absolute.compact()
	case e.Rank != nil:
		return percent(*e.Rank) + " of ranks, at " + percent(e.Confidence)
	}
	return "-"
}

// percent returns a share for people.
func percent(x float64) string { return strconv.FormatFloat(x*100, 'g', 3, 64) + " %" }

// bucketView is a bucket that holds something.
type bucketView struct {
	Bucket int    `json:"bucket"`
	Lower  edge   `json:"lower"`
	Upper  edge   `json:"upper"`
	Count  uint64 `json:"count"`
}

func newInspectView(l labelled, buckets bool) (inspectView, error) {
	v := inspectView{
		labelled: l, File: l.file, Key: l.key, Window: l.window(),
		Count: l.sketch.Count(), NaN: l.sketch.NaNCount(), Bytes: make(map[string]int),
	}
	switch s := l.sketch.(type) {
	case *sketch.Binned:
		v.ofBinned(s, buckets)
	case kll:
		v.ofKLL(s)
	}
	for _, f := range sketchFormats {
		if data, err := f.encode(l.sketch); err == nil {
			v.Bytes[f.name] = len(data)
		}
	}
	if dumpable(l.sketch) == nil {
		var size byteCounter
		if err := writeSegments(&size, "quietile sketch convert", []labelled{l}); err != nil {
			return v, err
		}
		v.Bytes[formatDump] = int(size)
	}
	return v, nil
}

// byteCounter counts what is written.
type byteCounter int

func (c *byteCounter) Write(p []byte) (int, error) {
	*c += byteCounter(len(p))
	return len(p), nil
}

// ofBinned fills in what only a sketch on a grid has.
func (v *inspectView) ofBinned(b *sketch.Binned, buckets bool) {
	g := b.Grid()
	v.Kind, v.Grid = "binned", g.String()
	widest := 0.0
	for i, n := range b.All() {
		lower, upper := g.Bounds(i)
		if v.Filled++; v.Filled == 1 {
			v.AtLeast = edgeOf(lower)
		}
		v.AtMost = edgeOf(upper)
		if i == 0 || i == g.Len()-1 {
			v.Outside += n
		} else {
			widest = max(widest, upper-lower)
		}
		if buckets {
			v.Buckets = append(v.Buckets, bucketView{i, edge(lower), edge(upper), n})
		}
	}
	if relative := g.RelativeError(); !math.IsInf(relative, 1) {
		v.Error.Relative = &relative
	} else {
		v.Error.Absolute = edgeOf(widest)
	}
}

// ofKLL fills in what only a KLL sketch has.
func (v *inspectView) ofKLL(s kll) {
	v.Kind, v.K, v.Filled = "kll", s.K(), s.Retained()
	if least, err := s.Min(); err == nil {
		v.AtLeast = edgeOf(least)
	}
	if most, err := s.Max(); err == nil {
		v.AtMost = edgeOf(most)
	}
	rank := s.RankError()
	v.Error.Rank, v.Error.Confidence = &rank, kllConfidence
}

// parameters returns the grid, or the k of a KLL sketch.
func (v *inspectView) parameters() string {
	if v.K != 0 {
		return "k=" + strconv.Itoa(v.K)
	}
	return v.Grid
}

// size returns the bytes in a format, or what stands for a format that does not hold the sketch.
func (v *inspectView) size(format, none string) string {
	if n, ok := v.Bytes[format]; ok {
		return strconv.Itoa(n)
	}
	return none
}

func printInspectTable(w io.Writer, shown labelling, views []inspectView) error {
	columns := append(shown.columns(), word("kind"), word("grid"), number("count"), number("nan"), number("at least"), number("at most"),
		number("filled"), number("outside"), number("error"))
	sizes := shown.columns()
	for _, name := range formatNames() {
		sizes = append(sizes, number(name))
	}
	listed := append(shown.columns(), number("bucket"), number("lower"), number("upper"), number("count"))
	var rows, sizeRows, bucketRows [][]string
	for i := range views {
		v := &views[i]
		rows = append(rows, append(shown.cells(&v.labelled), v.Kind, v.parameters(), strconv.FormatUint(v.Count, 10), strconv.FormatUint(v.NaN, 10),
			cellOf(v.AtLeast), cellOf(v.AtMost), strconv.Itoa(v.Filled), strconv.FormatUint(v.Outside, 10), v.Error.String()))
		row := shown.cells(&v.labelled)
		for _, name := range formatNames() {
			row = append(row, v.size(name, "-"))
		}
		sizeRows = append(sizeRows, row)
		for _, b := range v.Buckets {
			bucketRows = append(bucketRows, append(shown.cells(&v.labelled), strconv.Itoa(b.Bucket), b.Lower.compact(), b.Upper.compact(), strconv.FormatUint(b.Count, 10)))
		}
	}
	if err := printTable(w, columns, rows); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "\nbytes in each format:"); err != nil {
		return err
	}
	if err := printTable(w, sizes, sizeRows); err != nil {
		return err
	}
	if len(bucketRows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return printTable(w, listed, bucketRows)
}

// exactFloat returns a number for CSV, nothing where there is none.
func exactFloat(x *float64) string {
	if x == nil {
		return ""
	}
	return formatNumber(*x)
}

// confidence returns the confidence for CSV, nothing where the bound is certain.
func (e errorView) confidence() string {
	if e.Confidence == 0 {
		return ""
	}
	return formatNumber(e.Confidence)
}

func printInspectCSV(w io.Writer, views []inspectView) error {
	header := append(labelHeader[:len(labelHeader):len(labelHeader)], "kind", "grid", "count", "nan", "at_least", "at_most", "filled", "outside",
		"relative_error", "absolute_error", "rank_error", "confidence")
	for _, name := range formatNames() {
		header = append(header, "bytes_"+name)
	}
	var rows [][]string
	for i := range views {
		v := &views[i]
		row := append(csvLabels(&v.labelled), v.Kind, v.parameters(), strconv.FormatUint(v.Count, 10), strconv.FormatUint(v.NaN, 10),
			exactCell(v.AtLeast), exactCell(v.AtMost), strconv.Itoa(v.Filled), strconv.FormatUint(v.Outside, 10),
			exactFloat(v.Error.Relative), exactCell(v.Error.Absolute), exactFloat(v.Error.Rank), v.Error.confidence())
		for _, name := range formatNames() {
			row = append(row, v.size(name, ""))
		}
		rows = append(rows, row)
	}
	return printCSV(w, header, rows)
}

func printBucketsCSV(w io.Writer, views []inspectView) error {
	header := append(labelHeader[:len(labelHeader):len(labelHeader)], "bucket", "lower", "upper", "count")
	var rows [][]string
	for i := range views {
		v := &views[i]
		for _, b := range v.Buckets {
			rows = append(rows, append(csvLabels(&v.labelled), strconv.Itoa(b.Bucket), b.Lower.String(), b.Upper.String(), strconv.FormatUint(b.Count, 10)))
		}
	}
	return printCSV(w, header, rows)
}
