package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/sketch"
)

const mapLong = `Sketch the values of each key: the mapper of a Hadoop Streaming job, or of a shell pipeline.

Each FILE, or standard input for "-" or none, is a table, plain or gzip, with a key and a value in each
row. The first line of each input names its columns unless --no-header is given. The output has lines of
a key, a tab and a sketch in base64, sorted by key; "quietile reduce" merges those of equal keys, so it
makes no difference how rows are spread over mappers.

At most --max-keys keys are held; when a further one comes they are written and forgotten, so that a
key may be written several times.

The sketches are exact counts and not private: publish them to nobody. A value that is no number, and a
key that is empty or has a tab, a line end or another control character, is an error that names its line.
NaN is counted apart.`

// mapFlags are the flags of the map command.
type mapFlags struct {
	keyColumn   string
	valueColumn string
	noHeader    bool
	delimiter   *delimiterValue
	grid        *gridValue
	maxKeys     int
}

func newMapCommand() *cobra.Command {
	var f mapFlags
	cmd := &cobra.Command{
		Use:     "map [FILE…|-]",
		GroupID: groupFiles,
		Short:   "Sketch the values of each key (Hadoop Streaming mapper)",
		Long:    mapLong,
		Example: `  cat part-*.csv | quietile map --no-header | LC_ALL=C sort | quietile reduce
  quietile map --key-column country --value-column age --grid linear:lower=0,upper=128,bins=128 people.csv.gz
  hadoop jar hadoop-streaming.jar -input in -output out -mapper 'quietile map --no-header --delimiter tab' -reducer 'quietile reduce'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return runMap(cmd, args, &f) },
	}
	standard, err := sketch.NewExponential(5)
	if err != nil {
		panic(err) // 5 is a scale
	}
	flags := cmd.Flags()
	flags.StringVar(&f.keyColumn, "key-column", "1", "column of the keys, by name or number from 1")
	flags.StringVar(&f.valueColumn, "value-column", "2", "column of the values, by name or number from 1")
	flags.BoolVar(&f.noHeader, "no-header", false, "the first line is a row, not the columns' names")
	f.delimiter = addDelimiter(cmd)
	f.grid = addGrid(cmd, "grid of the sketches, the same for all mappers of a job", standard)
	flags.IntVar(&f.maxKeys, "max-keys", 100_000, "keys that are held in memory")
	return cmd
}

func runMap(cmd *cobra.Command, names []string, f *mapFlags) error {
	if err := checkColumns(!f.noHeader, []string{"key-column", "value-column"}, []string{f.keyColumn, f.valueColumn}); err != nil {
		return err
	}
	if f.maxKeys < 1 {
		return usagef("--max-keys %d is less than 1", f.maxKeys)
	}
	names, err := inputNames(names)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	c := &combiner{grid: f.grid.grid, most: f.maxKeys, tallies: make(map[string]*tally), out: recordWriter{w: out}}
	for _, name := range names {
		if err := f.mapInput(cmd, name, c); err != nil {
			return err
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	return out.Flush()
}

// mapInput counts the rows of an input.
func (f *mapFlags) mapInput(cmd *cobra.Command, name string, c *combiner) error {
	in, err := openInput(cmd, name)
	if err != nil {
		return err
	}
	defer in.Close()
	rows, err := newColumnReader(in, byte(*f.delimiter), !f.noHeader, []string{f.keyColumn, f.valueColumn})
	for err == nil {
		var cells [][]byte
		if cells, err = rows.read(); err != nil {
			break
		}
		key, value := cells[0], cells[1]
		if problem := checkKey(key); problem != nil {
			err = &rowError{rows.line(), problem.Error()}
			break
		}
		x, ok := parseValue(value)
		if !ok {
			err = &rowError{rows.line(), shorten(value) + " is not a number"}
			break
		}
		err = c.add(key, x)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("%s: %w", in.name, err)
}

// combiner counts the values of each of the keys seen lately.
type combiner struct {
	grid    *sketch.Grid
	most    int
	tallies map[string]*tally
	idle    []*sketch.Binned // emptied ones, used again
	out     recordWriter
}

// tally holds the values of a key: the last few as they are, so that a key with few values takes little memory, the others in a sketch.
type tally struct {
	recent []float64
	sketch *sketch.Binned // nil at first
}

// mostRecent is how many values a tally holds as they are.
const mostRecent = 64

func (c *combiner) add(key []byte, x float64) error {
	t := c.tallies[string(key)]
	if t == nil {
		if len(c.tallies) == c.most {
			if err := c.flush(); err != nil {
				return err
			}
		}
		t = new(tally)
		c.tallies[string(key)] = t
	}
	if t.recent = append(t.recent, x); len(t.recent) == mostRecent {
		c.count(t)
	}
	return nil
}

// count moves the recent values of a tally into its sketch.
func (c *combiner) count(t *tally) {
	if t.sketch == nil {
		if last := len(c.idle) - 1; last >= 0 {
			t.sketch, c.idle = c.idle[last], c.idle[:last]
		} else {
			t.sketch = sketch.NewBinned(c.grid)
		}
	}
	t.sketch.AddBatch(t.recent)
	t.recent = t.recent[:0]
}

// flush writes and forgets what is held, in the order of the keys.
func (c *combiner) flush() error {
	for _, key := range slices.Sorted(maps.Keys(c.tallies)) {
		t := c.tallies[key]
		c.count(t)
		if err := c.out.write(key, t.sketch); err != nil {
			return err
		}
		t.sketch.Reset()
		c.idle = append(c.idle, t.sketch)
	}
	clear(c.tallies)
	return nil
}
