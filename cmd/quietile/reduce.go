package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

const reduceLong = `Merge the sketches of each key: the reducer of a Hadoop Streaming job, or of a shell pipeline.

The input, from each FILE in turn or standard input for "-" or none, plain or gzip, is what "quietile map"
writes, sorted by key as "LC_ALL=C sort" does. Sketches are merged while they pass, so memory does not
grow with the input. A key that comes after a greater one is an error, for its sketches may be scattered.

--format text writes the same lines, one for each key; dump writes a dump file; table prints for each key
the number of values and the quantiles of -q. These are exact counts and trusted, not private, quantiles:
publish them to nobody.`

// The values of --format of the reduce command beside table.
const (
	formatText = "text"
	formatDump = "dump"
)

// reduceFlags are the flags of the reduce command.
type reduceFlags struct {
	format    *choice
	quantiles *quantileList
}

func newReduceCommand() *cobra.Command {
	var f reduceFlags
	cmd := &cobra.Command{
		Use:     "reduce [FILE…|-]",
		GroupID: groupFiles,
		Short:   "Merge the sketches of each key (Hadoop Streaming reducer)",
		Long:    reduceLong,
		Example: `  cat part-*.csv | quietile map --no-header | LC_ALL=C sort | quietile reduce
  LC_ALL=C sort -m mapped-* | quietile reduce --format dump > latency.qdump
  quietile reduce --format table -q 0.5,0.99 reduced.txt`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return runReduce(cmd, args, &f) },
	}
	f.format = addChoice(cmd, "format", "what to write", formatText, formatText, formatDump, formatTable)
	f.quantiles = addQuantiles(cmd, "trusted quantiles of --format table", 0.5, 0.9, 0.99)
	return cmd
}

func runReduce(cmd *cobra.Command, names []string, f *reduceFlags) error {
	if f.format.value != formatTable && cmd.Flags().Changed("quantiles") {
		return usagef("-q needs --format table")
	}
	names, err := inputNames(names)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	sink, err := f.sink(out)
	if err != nil {
		return err
	}
	m := &merger{sink: sink}
	for _, name := range names {
		if err := reduceInput(cmd, name, m); err != nil {
			return err
		}
	}
	if err := m.flush(); err != nil {
		return err
	}
	if err := sink.close(); err != nil {
		return err
	}
	return out.Flush()
}

// reduceInput merges the text records of an input.
func reduceInput(cmd *cobra.Command, name string, m *merger) error {
	in, err := openInput(cmd, name)
	if err != nil {
		return err
	}
	defer in.Close()
	lines := newLineReader(in, maxTextRecord)
	for {
		line, err := lines.read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
		if err := m.add(line); err != nil {
			return fmt.Errorf("%s: line %d: %w", in.name, lines.line, err)
		}
	}
}

// merger merges runs of text records with equal keys.
type merger struct {
	key    []byte
	sketch *sketch.Binned // nil before the first record
	sink   sketchSink
}

func (m *merger) add(line []byte) error {
	key, s, err := parseRecord(line)
	if err != nil {
		return err
	}
	if m.sketch != nil {
		switch bytes.Compare(m.key, key) {
		case 0:
			if err := m.sketch.Merge(s); err != nil {
				return fmt.Errorf("key %s: %w", shorten(key), err)
			}
			return nil
		case 1:
			return fmt.Errorf("key %s comes after %s: sort the input with LC_ALL=C sort", shorten(key), shorten(m.key))
		}
		if err := m.flush(); err != nil {
			return err
		}
	}
	m.key, m.sketch = append(m.key[:0], key...), s
	return nil
}

// flush writes the sketch of the last key.
func (m *merger) flush() error {
	if m.sketch == nil {
		return nil
	}
	return m.sink.write(string(m.key), m.sketch)
}

// sketchSink takes the merged sketches, in the order of their keys.
type sketchSink interface {
	write(key string, s *sketch.Binned) error
	// close writes what is left after the last sketch.
	close() error
}

func (f *reduceFlags) sink(w io.Writer) (sketchSink, error) {
	switch f.format.value {
	case formatDump:
		d, err := dump.NewWriter(w, &quietilev1.DumpHeader{Producer: "quietile reduce"})
		return dumpSink{d}, err
	case formatTable:
		return &tableSink{w: w, quantiles: f.quantiles.values}, nil
	}
	return textSink{&recordWriter{w: w}}, nil
}

type textSink struct{ *recordWriter }

func (textSink) close() error { return nil }

type dumpSink struct{ d *dump.Writer }

func (s dumpSink) write(key string, b *sketch.Binned) error {
	if err := s.d.Write(key, b); err != nil {
		return fmt.Errorf("key %s: %w", shorten([]byte(key)), err)
	}
	return nil
}

func (s dumpSink) close() error { return s.d.Close() }

// tableSink keeps the rows of the table, which is laid out at the end.
type tableSink struct {
	w         io.Writer
	quantiles []float64
	rows      [][]string
}

func (t *tableSink) write(key string, s *sketch.Binned) error {
	row := []string{printable(key), strconv.FormatUint(s.Count(), 10)}
	values, err := s.Quantiles(t.quantiles)
	if err != nil && !errors.Is(err, sketch.ErrEmpty) {
		return fmt.Errorf("key %s: %w", shorten([]byte(key)), err)
	}
	for i := range t.quantiles {
		cell := "-" // nothing but NaN has this key
		if err == nil {
			cell = edge(values[i]).compact()
		}
		row = append(row, cell)
	}
	t.rows = append(t.rows, row)
	return nil
}

func (t *tableSink) close() error {
	columns := []tableColumn{word("key"), number("count")}
	for _, q := range t.quantiles {
		columns = append(columns, number("q"+formatNumber(q)))
	}
	return printTable(t.w, columns, t.rows)
}
