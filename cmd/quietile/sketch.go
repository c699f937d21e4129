package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// sketchLong lists the formats at %s.
const sketchLong = `Build, merge, inspect, ask and convert sketches in files and pipes.

A sketch holds counts of values in buckets of a grid that is fixed beforehand, so sketches of parts merge
to the sketch of the whole. What it holds is exact and not private: "quietile release" answers privately.
A KLL sketch needs no grid: it retains some of the values, and has a bounded error of ranks. It can never be
released privately.

Formats, for --to and --from:
%s
Without --from a format is recognised by its bytes where that is safe. Input may be gzip.`

func newSketchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "sketch",
		GroupID: groupFiles,
		Short:   "Build, merge, inspect, ask and convert sketches",
		Long:    fmt.Sprintf(sketchLong, formatHelp()),
		Example: `  quietile sketch build people.csv --column age -o age.sketch
  quietile sketch merge part-*.sketch -o all.sketch
  quietile sketch inspect all.sketch
  quietile sketch quantile all.sketch -q 0.5,0.99 --bounds
  quietile sketch convert all.sketch --to json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return usagef("unknown command %q; did you mean sketch %s?", args[0], near[0])
			}
			return usagef("unknown command %q; quietile sketch --help lists the commands", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(newSketchBuildCommand(), newSketchMergeCommand(), newSketchInspectCommand(), newSketchQuantileCommand(), newSketchConvertCommand())
	return cmd
}

// labelled is a sketch with what is known about where it comes from.
type labelled struct {
	file string
	// key is empty outside of dumps.
	key string
	// header is that of the segment of a dump, otherwise nil.
	header *quietilev1.DumpHeader
	sketch summary
}

// window returns the window that a dump names, or nil.
func (l *labelled) window() *windowView {
	if l.header == nil || l.header.WindowStartUnixNano == nil || l.header.WindowEndUnixNano == nil {
		return nil
	}
	return &windowView{time.Unix(0, l.header.GetWindowStartUnixNano()).UTC(), time.Unix(0, l.header.GetWindowEndUnixNano()).UTC()}
}

// labelling says which of the labels tell sketches apart.
type labelling struct{ files, keys, windows bool }

// add takes note of what a sketch is labelled with.
func (l *labelling) add(s *labelled, files int) {
	l.files = l.files || files > 1
	l.keys = l.keys || s.key != ""
	l.windows = l.windows || s.window() != nil
}

// columns returns the columns of the labels for a table.
func (l labelling) columns() []tableColumn {
	var columns []tableColumn
	if l.files {
		columns = append(columns, word("file"))
	}
	if l.keys {
		columns = append(columns, word("key"))
	}
	if l.windows {
		columns = append(columns, word("window"))
	}
	return columns
}

// cells returns what stands in these columns.
func (l labelling) cells(s *labelled) []string {
	var cells []string
	if l.files {
		cells = append(cells, printable(s.file))
	}
	if l.keys {
		cells = append(cells, printable(s.key))
	}
	if l.windows {
		cell := ""
		if w := s.window(); w != nil {
			cell = w.Start.Format(time.RFC3339) + " to " + w.End.Format(time.RFC3339)
		}
		cells = append(cells, cell)
	}
	return cells
}

// labelHeader names the cells that csvLabels returns.
var labelHeader = []string{"file", "key", "window_start", "window_end"}

// csvLabels returns all labels of a sketch.
func csvLabels(s *labelled) []string {
	start, end := "", ""
	if w := s.window(); w != nil {
		start, end = w.Start.Format(time.RFC3339Nano), w.End.Format(time.RFC3339Nano)
	}
	return []string{s.file, s.key, start, end}
}

// numberList is the value of a flag that takes numbers, separated by commas. A flag given again adds to the list.
type numberList struct {
	values []float64
	given  bool
	// least and most bound the numbers.
	least, most float64
}

func (l *numberList) Type() string { return "list" }

func (l *numberList) String() string {
	var texts []string
	for _, x := range l.values {
		texts = append(texts, formatNumber(x))
	}
	return strings.Join(texts, ",")
}

func (l *numberList) Set(s string) error {
	var parsed []float64
	for text := range strings.SplitSeq(s, ",") {
		x, ok := parseValue([]byte(text))
		switch {
		case !ok || math.IsNaN(x):
			return fmt.Errorf("%q is not a number", text)
		case x < l.least || x > l.most:
			return fmt.Errorf("%s is not between %s and %s", strings.TrimSpace(text), formatNumber(l.least), formatNumber(l.most))
		}
		parsed = append(parsed, x)
	}
	if !l.given {
		l.values, l.given = nil, true
	}
	l.values = append(l.values, parsed...)
	return nil
}

// sketchOutput is where a command writes sketches, and how.
type sketchOutput struct {
	name string
	to   *choice
}

// addSketchOutput adds -o and --to.
func addSketchOutput(cmd *cobra.Command) *sketchOutput {
	o := &sketchOutput{to: addChoice(cmd, "to", "format to write (default: dump where there are keys, "+formatDataSketches+" of a KLL sketch, otherwise "+formatStandard+")", "", formatNames()...)}
	cmd.Flags().StringVarP(&o.name, "output", "o", "-", "file to write")
	return o
}

// check makes the checks that need no input: sketches that are no text are not written to a terminal unless -o says so.
func (o *sketchOutput) check(cmd *cobra.Command) error {
	file, ok := cmd.OutOrStdout().(*os.File)
	if o.name == "" {
		return usagef("-o is empty")
	}
	return o.checkTerminal(cmd.Flags().Changed("output"), ok && term.IsTerminal(int(file.Fd())))
}

func (o *sketchOutput) checkTerminal(given, terminal bool) error {
	if !given && terminal && o.to.value != formatJSON {
		return usagef("a sketch is no text for a terminal: name a file with -o, or use --to json; -o - writes it all the same")
	}
	return nil
}

// choose returns the format that --to names, or the one that fits the sketches.
func (o *sketchOutput) choose(all []labelled) string {
	if o.to.value != "" {
		return o.to.value
	}
	if len(all) != 1 || all[0].key != "" || all[0].header != nil {
		return formatDump
	}
	return standardFormat(all[0].sketch)
}

// write writes the sketches. Only a dump holds several, or their keys.
func (o *sketchOutput) write(cmd *cobra.Command, producer string, all []labelled) error {
	name := o.choose(all)
	if name == formatDump {
		return o.writeDump(cmd, producer, all)
	}
	if len(all) != 1 {
		return usagef("--to %s holds one sketch, and there are %d: pick one with --key, merge them, or write --to %s", name, len(all), formatDump)
	}
	data, err := findFormat(name).encode(all[0].sketch)
	if err != nil {
		return fmt.Errorf("--to %s: %w", name, err)
	}
	return writeOutput(cmd, o.name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// writeDump writes any number of sketches.
func (o *sketchOutput) writeDump(cmd *cobra.Command, producer string, all []labelled) error {
	for _, l := range all {
		if err := dumpable(l.sketch); err != nil {
			return err
		}
	}
	return writeOutput(cmd, o.name, func(w io.Writer) error { return writeSegments(w, producer, all) })
}
