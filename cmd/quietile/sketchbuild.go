package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/sketch"
)

const sketchBuildLong = `Count the numbers of files into a sketch.

Each FILE, or standard input for "-" or none, is plain or gzip. With --column it is a table whose first
line names the columns, unless --no-header is given; a column is picked by its name or its number from 1.
Without --column each line is a number. With --key-column each key has a sketch of its own, and the output
is a dump.

  --relative-error E   a grid over all numbers whose buckets are at most the share E wide; 0.01 if nothing
                       else is given
  --grid SPEC          linear:lower=0,upper=128,bins=128   exponential:scale=5[,min=0.001,max=1000]
                       explicit:0,1,5,10
  --kll                no grid but a KLL sketch, which retains some of the values: as --k grows its error of
                       ranks falls and its size rises. It is the same whenever the values, their order and
                       --seed are, and can never be released privately

Choose the grid without looking at the data, and the same for all parts, and "quietile release --dump" can
answer privately of what is written with --to dump.

A cell that is empty, NaN or no number is an error that names its line, unless --skip-invalid leaves such
rows out. Nothing is written then. The sketch is not private.`

// sketchBuildFlags are the flags of the sketch build command.
type sketchBuildFlags struct {
	column        string
	keyColumn     string
	noHeader      bool
	delimiter     *delimiterValue
	skipInvalid   bool
	grid          *gridValue
	relativeError float64
	kll           bool
	k             int
	seed          uint64
	output        *sketchOutput
}

func newSketchBuildCommand() *cobra.Command {
	var f sketchBuildFlags
	cmd := &cobra.Command{
		Use:   "build [FILE…|-]",
		Short: "Count numbers into a sketch",
		Long:  sketchBuildLong,
		Example: `  quietile sketch build people.csv --column age --grid linear:lower=0,upper=128,bins=128 -o age.sketch
  zcat latency.gz | quietile sketch build --relative-error 0.02 -o latency.sketch
  quietile sketch build requests.csv --key-column host --column seconds -o hosts.qtd`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return runSketchBuild(cmd, args, &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.column, "column", "", "column of the values, by name or number from 1 (default: each line is a value)")
	flags.StringVar(&f.keyColumn, "key-column", "", "column of the keys, by name or number from 1: a sketch for each key")
	flags.BoolVar(&f.noHeader, "no-header", false, "the first line is a row, not the columns' names")
	f.delimiter = addDelimiter(cmd)
	flags.BoolVar(&f.skipInvalid, "skip-invalid", false, "leave out rows without a number instead of failing")
	f.grid = addGrid(cmd, "grid of the sketch", nil)
	flags.Float64Var(&f.relativeError, "relative-error", 0.01, "relative error of values, at least 0.0028: the coarsest exponential grid with it")
	flags.BoolVar(&f.kll, "kll", false, "build a KLL sketch, which has no grid")
	flags.IntVar(&f.k, "k", sketch.DefaultK, "accuracy of --kll, from 8 to 65535")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the random choices of --kll")
	f.output = addSketchOutput(cmd)
	return cmd
}

func runSketchBuild(cmd *cobra.Command, names []string, f *sketchBuildFlags) error {
	empty, err := f.check(cmd)
	if err != nil {
		return err
	}
	if format := findFormat(f.output.to.value); format != nil {
		var usage *usageError
		if _, err := format.encode(empty()); errors.As(err, &usage) { // better told before all is read than after
			return fmt.Errorf("--to %s: %w", format.name, err)
		}
	}
	if names, err = inputNames(names); err != nil {
		return err
	}
	b := &builder{empty: empty, builds: make(map[string]*build)}
	if !f.keyed() {
		b.of("") // a sketch even of no rows
	}
	for _, name := range names {
		if err := f.buildInput(cmd, name, b); err != nil {
			return err
		}
	}
	all := b.finish()
	if f.keyed() {
		return f.output.writeDump(cmd, "quietile sketch build", all)
	}
	return f.output.write(cmd, "quietile sketch build", all)
}

// keyed says whether each key has a sketch of its own.
func (f *sketchBuildFlags) keyed() bool { return f.keyColumn != "" }

// check makes every check that needs no input, and returns what makes the sketches.
func (f *sketchBuildFlags) check(cmd *cobra.Command) (empty func() collector, err error) {
	flags := cmd.Flags()
	if f.keyed() && f.column == "" {
		return nil, usagef("--key-column needs --column")
	}
	for name, column := range map[string]string{"column": f.column, "key-column": f.keyColumn} {
		if flags.Changed(name) {
			if err := checkColumns(!f.noHeader, []string{name}, []string{column}); err != nil {
				return nil, err
			}
		}
	}
	if f.column == "" && (f.noHeader || flags.Changed("delimiter")) {
		return nil, usagef("--no-header and --delimiter need --column: without it each line is one number")
	}
	if err := excludeFlags(cmd, "grid", "relative-error"); err != nil {
		return nil, err
	}
	if err := f.output.check(cmd); err != nil {
		return nil, err
	}
	if f.kll {
		return f.checkKLL(cmd)
	}
	if flags.Changed("k") || flags.Changed("seed") {
		return nil, usagef("--k and --seed need --kll")
	}
	grid := f.grid.grid
	if grid == nil {
		scale, err := sketch.RelativeError(f.relativeError)
		if err != nil {
			return nil, usagef("--relative-error: %w", err)
		}
		if grid, err = sketch.NewExponential(scale); err != nil {
			return nil, err
		}
	}
	if to := f.output.to.value; f.keyed() && to != "" && to != formatDump {
		return nil, usagef("--to %s holds no keys, which --key-column asks for: only %s does", to, formatDump)
	}
	return func() collector { return sketch.NewBinned(grid) }, nil
}

// checkKLL makes the checks of --kll, and returns what makes the sketches.
func (f *sketchBuildFlags) checkKLL(cmd *cobra.Command) (empty func() collector, err error) {
	if err := excludeFlags(cmd, "kll", "grid", "relative-error", "key-column"); err != nil {
		return nil, err
	}
	k, err := sketch.NewKLL(f.k, f.seed)
	return func() collector { return kll{k} }, asUsage(err)
}

// buildInput counts the rows of an input.
func (f *sketchBuildFlags) buildInput(cmd *cobra.Command, name string, b *builder) error {
	in, err := openInput(cmd, name)
	if err != nil {
		return err
	}
	defer in.Close()
	var columns []string
	if f.column != "" {
		columns = append(columns, f.column)
	}
	if f.keyed() {
		columns = append(columns, f.keyColumn)
	}
	rows, err := newColumnReader(in, byte(*f.delimiter), !f.noHeader, columns)
	for err == nil {
		var cells [][]byte
		if cells, err = rows.read(); err == nil {
			err = f.addRow(rows, cells, b)
		}
		if f.skipInvalid && isRowError(err) {
			err = nil
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("%s: %w", in.name, err)
}

// addRow counts a row.
func (f *sketchBuildFlags) addRow(rows *columnReader, cells [][]byte, b *builder) error {
	x, ok := parseValue(cells[0])
	if !ok || math.IsNaN(x) {
		hint := ""
		if f.column == "" {
			hint = "; --column picks a column of a table"
		}
		return &rowError{rows.line(), shorten(cells[0]) + " is not a number" + hint}
	}
	if !f.keyed() {
		b.of("").add(x)
		return nil
	}
	key := cells[1]
	if problem := checkKey(key); problem != nil {
		return &rowError{rows.line(), problem.Error()}
	}
	if !utf8.Valid(key) {
		return &rowError{rows.line(), fmt.Sprintf("key %s is not UTF-8", shorten(key))}
	}
	b.of(string(key)).add(x)
	return nil
}

// collector is a sketch that is being built.
type collector interface {
	summary
	AddBatch(xs []float64)
}

// builder builds a sketch for each key.
type builder struct {
	empty  func() collector
	builds map[string]*build
}

// build is the sketch of a key, and values that are still to be counted in it.
type build struct {
	sketch collector
	recent []float64
}

// of returns the sketch of a key.
func (b *builder) of(key string) *build {
	one := b.builds[key]
	if one == nil {
		one = &build{sketch: b.empty()}
		b.builds[key] = one
	}
	return one
}

// add counts a value.
func (b *build) add(x float64) {
	const most = 256
	if b.recent = append(b.recent, x); len(b.recent) == most {
		b.sketch.AddBatch(b.recent)
		b.recent = b.recent[:0]
	}
}

// finish returns the sketches in the order of their keys.
func (b *builder) finish() []labelled {
	var all []labelled
	for _, key := range slices.Sorted(maps.Keys(b.builds)) {
		one := b.builds[key]
		one.sketch.AddBatch(one.recent)
		all = append(all, labelled{key: key, sketch: one.sketch})
	}
	return all
}
