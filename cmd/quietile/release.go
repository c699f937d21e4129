package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	"github.com/quietile/quietile/sketch"
)

const releaseLong = `Release private quantiles of the numbers in a file, without a daemon.

FILE, or standard input for "-", is plain or gzip. With --column it is a table whose first line names
the columns, unless --no-header is given; a column is picked by its name or its number from 1. Without
--column each line is a number, unless it is a dump file, which is recognised.

All answers together are ε-differentially private for adding or removing one unit, whose share is at
most --contributions rows (the unit is "event" when that is 1, otherwise "user"). This command keeps no
account: running it again on the same people adds up.

With --unit-column the file says whose a row is, and of each unit the first --contributions rows are taken,
whatever it has. With --by there is a release for each group of rows, named by the labels in those columns.
Labels are data too: a label appears only if enough units have it, by differentially private selection with
--delta, and --epsilon is divided among selection, the groups' sizes and their quantiles.

The grid decides which answers are possible, and must not be looked up in the data:
  --min and --max   the range of possible values; what is outside counts as just outside. With integer
                    limits at most 8192 apart every integer is a bucket edge, otherwise there are 8192
                    buckets; --bins sets another number
  --integer         buckets of width 1, for whole numbers
  --grid SPEC       linear:lower=0,upper=128,bins=8192   exponential:scale=5[,min=0.001,max=1000]
                    explicit:0,1,5,10
Without any of them no range is needed: the buckets are 1.1 % wide and cover all numbers, and the prior is
cauchy:location=0,scale=1, which expects small numbers but rules no large ones out.
An answer is its bucket's lower edge, which is the value itself where values are bucket edges, or with
--representative within (the default on exponential grids) a point inside the bucket.

--estimator auto takes the estimator that is expected to err least, and --explain shows the comparison. It is made by
simulation on records that lie as the prior says by and large, about as many as --n-hint, and never sees the data.

--delta asks for an (ε, δ) guarantee instead of a pure one: the recursive estimator is then more accurate where many quantiles
are asked for. --confidence adds, for each answer, an interval for how far its rank is from the quantile's.

Of a dump all sketches are added up, whatever their keys and windows; --contributions counts a unit's
records in all of them. Their grid must be the one that the flags describe; --dump --public-grid takes it
from the dump, and says that nobody chose it by looking at the data and that anyone may know that the dump
holds a sketch.

A cell that is empty, NaN or no number is an error that names its line, unless --skip-invalid leaves
such rows out.`

// defaultBins is the number of buckets between --min and --max, or the most when integers are to be edges.
const defaultBins = 8192

// The grid and the prior of a release for which no range is given.
const (
	anyScale = 6
	anyPrior = "cauchy:location=0,scale=1"
)

// The values of --representative.
const (
	representLower  = "lower"
	representWithin = "within"
)

// releaseFlags are the flags of the release command.
type releaseFlags struct {
	column         string
	dump           bool
	publicGrid     bool
	noHeader       bool
	delimiter      *delimiterValue
	skipInvalid    bool
	quantiles      *quantileList
	epsilon        *epsilonValue
	delta          *deltaValue
	contributions  int
	estimator      string
	prior          string
	groups         *groupFlags
	records        uint64
	confidence     float64
	share          float64 // of the budget for the rank errors
	neighbours     *choice
	explain        bool
	anyRange       bool // neither a range nor a grid is given
	min, max       float64
	bins           int
	integer        bool
	grid           *gridValue
	representative *choice
	format         *choice
}

func newReleaseCommand() *cobra.Command {
	var f releaseFlags
	cmd := &cobra.Command{
		Use:     "release FILE|- -q LIST --epsilon E (--min A --max B | --grid SPEC | --dump --public-grid)",
		GroupID: groupFiles,
		Short:   "Release private quantiles of a file",
		Long:    releaseLong,
		Example: `  quietile release people.csv --column age -q 0.25,0.5,0.75 --epsilon 1 --min 0 --max 128
  zcat latency.gz | quietile release - -q 0.5,0.99 --epsilon 0.5
  quietile release visits.csv --column minutes --unit-column visitor --contributions 3 -q 0.5 --epsilon 1
  quietile release people.csv --column income --by city,sex -q 0.5,0.9 --epsilon 1 --delta 1e-6
  zcat income.gz | quietile release - -q 0.1,0.5,0.9 --epsilon 1 --grid exponential:scale=6 --prior log-uniform:min=1e3,max=1e6
  quietile release latency.qtd --dump --public-grid --contributions 2 -q 0.5 --epsilon 1`,
		Args: positional(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runRelease(cmd, args[0], &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.column, "column", "", "column of the values, by name or number from 1 (default: each line is a value)")
	flags.BoolVar(&f.dump, "dump", false, "the input is a dump of sketches, even if it is not recognised as one")
	flags.BoolVar(&f.publicGrid, "public-grid", false, "the dump's grid is public: use it")
	flags.BoolVar(&f.noHeader, "no-header", false, "the first line is a row, not the columns' names")
	f.delimiter = addDelimiter(cmd)
	flags.BoolVar(&f.skipInvalid, "skip-invalid", false, "leave out rows without a number instead of failing")
	f.quantiles = addQuantiles(cmd, "quantiles to release, such as 0.5,0.9; may be repeated")
	f.epsilon = addEpsilon(cmd, "privacy loss of all answers together")
	f.delta = addDelta(cmd, "make the guarantee (ε, δ), such as 1e-6, by zero-concentrated differential privacy; with --by for the selection of labels")
	flags.IntVar(&f.contributions, "contributions", 1, "rows that one unit has at most")
	f.groups = addGroupFlags(cmd)
	flags.StringVar(&f.prior, "prior", "", "uniform, cauchy:location=0,scale=1, half-cauchy:…, laplace:…, gaussian:…, log-uniform:min=0.001,max=1000, weights:…, release:0.5=37,…, each:…, or public:FILE, a dump of public records on the grid")
	flags.StringVar(&f.estimator, "estimator", "recursive", "auto, recursive, recursive:arity=4,power=0.5,edges, tree:branching=8,bins=512, density:bins=64, adaptive:rounds=3,bins=16,spikes, slice, independent")
	flags.Uint64Var(&f.records, "n-hint", 0, "about how many rows there are, if that is public: helps auto to choose, and says how wide slices are (default 10000)")
	flags.Float64Var(&f.confidence, "confidence", 0, "give an interval for the rank error of each answer; all of a release, with --by all of a group, hold with this probability, such as 0.95")
	flags.Float64Var(&f.share, "confidence-share", 0, "with --confidence: the share of --epsilon that measures rank errors; tree and density need none (default 0.1)")
	f.neighbours = addChoice(cmd, "neighbours", "what --epsilon protects: that a unit is there, or which records it has", dp.AddRemove.String(), dp.AddRemove.String(), dp.ReplaceOne.String())
	flags.BoolVar(&f.explain, "explain", false, "compare the estimators by simulation, without reading the file, and release nothing")
	flags.Float64Var(&f.min, "min", 0, "smallest possible value")
	flags.Float64Var(&f.max, "max", 0, "largest possible value")
	flags.IntVar(&f.bins, "bins", 0, "number of buckets between --min and --max (default: at most 8192)")
	flags.BoolVar(&f.integer, "integer", false, "the values are whole numbers: buckets of width 1")
	f.grid = addGrid(cmd, "grid of the answers instead of --min and --max", nil)
	f.representative = addChoice(cmd, "representative", "which point of its bucket an answer is (default: lower, on exponential grids within)", "", representLower, representWithin)
	f.format = addFormat(cmd)
	return cmd
}

func runRelease(cmd *cobra.Command, name string, f *releaseFlags) error {
	grid, options, err := f.check(cmd)
	if err != nil {
		return err
	}
	if f.explain {
		return f.printComparison(cmd, grid, options)
	}
	in, err := openInput(cmd, name)
	if err != nil {
		return err
	}
	defer in.Close()
	if f.representative.value == "" && grid != nil {
		if _, ok := grid.Scale(); ok {
			f.representative.value = representWithin
		}
	}
	if f.representative.value == representWithin {
		options.Representative = dp.Within
	}
	if len(f.groups.by) > 0 {
		if err := f.runGroups(cmd, in, grid, options); err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
		return nil
	}
	s, metric, err := f.readInput(cmd, in, grid)
	if err != nil {
		return fmt.Errorf("%s: %w", in.name, err)
	}
	in.Close()
	if _, ok := s.Grid().Scale(); ok && f.representative.value == "" {
		options.Representative = dp.Within
	}
	r, err := dp.Release(s, options)
	if err != nil {
		return err
	}
	view := fileResult(metric, f.unit(), r)
	if f.delta.Delta > 0 { // what was asked, of which the release keeps the ρ
		view.Epsilon, view.Delta = epsilonNumber(f.epsilon.Epsilon), f.delta.float64()
	}
	return printResult(cmd.OutOrStdout(), f.format.value, view)
}

// maxRho is the most that a release may spend, in billionths.
const maxRho = 1000_000_000_000

// predictionView is what is expected of an estimator as it is printed.
type predictionView struct {
	Estimator string  `json:"estimator"`
	Mean      float64 `json:"mean_rank_error"`
	Max       float64 `json:"max_rank_error"`
}

func viewPrediction(p dp.Prediction) predictionView {
	return predictionView{p.Estimator.String(), p.Mean, p.Max}
}

// printComparison prints what is expected of each estimator, the best first.
func (f *releaseFlags) printComparison(cmd *cobra.Command, grid *sketch.Grid, options dp.Options) error {
	if grid == nil {
		return usagef("--explain reads no file: describe the grid with --min and --max or --grid")
	}
	all, err := options.Choose(grid)
	if err != nil {
		return err
	}
	var views []predictionView
	var rows [][]string
	for _, p := range all {
		v := viewPrediction(p)
		views = append(views, v)
		rows = append(rows, []string{v.Estimator, strconv.FormatFloat(v.Mean, 'f', 2, 64), strconv.FormatFloat(v.Max, 'f', 2, 64)})
	}
	columns := []tableColumn{word("estimator"), number("mean_rank_error"), number("max_rank_error")}
	return printRows(cmd.OutOrStdout(), f.format.value, columns, rows, views)
}

// textFlags are the flags that say how to read a text.
var textFlags = []string{"column", "no-header", "delimiter", "skip-invalid", "unit-column", "by"}

// check makes every check that needs no input. The grid is nil if it is the dump's.
func (f *releaseFlags) check(cmd *cobra.Command) (*sketch.Grid, dp.Options, error) {
	var options dp.Options
	if err := requireFlags(cmd, "quantiles", "epsilon"); err != nil {
		return nil, options, err
	}
	if f.contributions < 1 {
		return nil, options, usagef("--contributions %d is less than 1", f.contributions)
	}
	if err := excludeFlags(cmd, "dump", textFlags...); err != nil {
		return nil, options, err
	}
	if f.publicGrid && !f.dump {
		return nil, options, usagef("--public-grid needs --dump")
	}
	if cmd.Flags().Changed("column") {
		if err := checkColumns(!f.noHeader, []string{"column"}, []string{f.column}); err != nil {
			return nil, options, err
		}
	} else if f.noHeader || cmd.Flags().Changed("delimiter") {
		return nil, options, usagef("--no-header and --delimiter need --column: without it each line is one number")
	}
	if err := f.groups.check(cmd, f); err != nil {
		return nil, options, err
	}
	grid, err := f.chooseGrid(cmd)
	if err != nil {
		return nil, options, err
	}
	estimator, err := dp.ParseEstimator(f.estimator)
	if err != nil {
		return nil, options, usagef("--estimator: %w", err)
	}
	if f.prior == "" && f.anyRange {
		f.prior = anyPrior
	}
	weights, err := parsePrior(cmd, f.prior, grid, f.records)
	if err != nil {
		return nil, options, usagef("--prior: %w", err)
	}
	options = dp.Options{
		Quantiles: f.quantiles.values, Epsilon: f.epsilon.Epsilon, Contributions: f.contributions, Estimator: estimator, Prior: weights,
		Records: f.records, Confidence: f.confidence, ConfidenceShare: f.share,
	}
	if f.delta.Delta > 0 && len(f.groups.by) == 0 {
		rho := budget.RhoWithin(options.Epsilon, f.delta.Delta)
		if rho == 0 {
			return nil, options, usagef("--epsilon %v with --delta %v is too little", options.Epsilon, f.delta)
		}
		options.Epsilon, options.NanoRho = 0, int64(min(rho, maxRho))
	}
	if f.neighbours.value == dp.ReplaceOne.String() {
		options.Neighbours = dp.ReplaceOne
	}
	return grid, options, asUsage(options.Validate())
}

// chooseGrid returns the grid that the flags describe, nil if it is the dump's.
func (f *releaseFlags) chooseGrid(cmd *cobra.Command) (*sketch.Grid, error) {
	if err := excludeFlags(cmd, "grid", "min", "max", "bins", "integer"); err != nil {
		return nil, err
	}
	if err := excludeFlags(cmd, "public-grid", "grid", "min", "max", "bins", "integer"); err != nil {
		return nil, err
	}
	if err := excludeFlags(cmd, "bins", "integer"); err != nil {
		return nil, err
	}
	if f.grid.grid != nil {
		return f.grid.grid, nil
	}
	if f.publicGrid {
		return nil, nil
	}
	if !cmd.Flags().Changed("min") && !cmd.Flags().Changed("max") {
		if cmd.Flags().Changed("bins") || cmd.Flags().Changed("integer") {
			return nil, usagef("--bins and --integer need --min and --max")
		}
		f.anyRange = true
		return sketch.NewExponential(anyScale)
	}
	if !cmd.Flags().Changed("min") || !cmd.Flags().Changed("max") {
		return nil, usagef("--min and --max go together: give both, or --grid, or none of them to need no range")
	}
	for _, limit := range []struct {
		flag  string
		value float64
	}{{"min", f.min}, {"max", f.max}} {
		if math.IsNaN(limit.value) || math.IsInf(limit.value, 0) {
			return nil, usagef("--%s %v is not finite", limit.flag, limit.value)
		}
	}
	if f.min >= f.max {
		return nil, usagef("--min %s is not less than --max %s", formatNumber(f.min), formatNumber(f.max))
	}
	bins, err := f.chooseBins(cmd)
	if err != nil {
		return nil, err
	}
	grid, err := sketch.NewLinear(f.min, f.max, bins)
	return grid, asUsage(err)
}

// chooseBins returns the number of buckets between min < max.
func (f *releaseFlags) chooseBins(cmd *cobra.Command) (int, error) {
	integers := f.min == math.Trunc(f.min) && f.max == math.Trunc(f.max)
	width := f.max - f.min
	switch {
	case f.integer && !integers:
		return 0, usagef("--min %s and --max %s must be whole numbers with --integer", formatNumber(f.min), formatNumber(f.max))
	case f.integer && width > sketch.MaxBuckets-2:
		return 0, usagef("--integer would need %s buckets between --min and --max, more than %d", formatNumber(width), sketch.MaxBuckets-2)
	case f.integer:
		return int(width), nil
	case cmd.Flags().Changed("bins"):
		if f.bins < 1 || f.bins > sketch.MaxBuckets-2 {
			return 0, usagef("--bins %d is not between 1 and %d", f.bins, sketch.MaxBuckets-2)
		}
		return f.bins, nil
	case integers && width <= defaultBins:
		bins := int(width)
		for bins*2 <= defaultBins {
			bins *= 2
		}
		return bins, nil
	}
	return defaultBins, nil
}

// readInput counts what the input holds, a text or a dump, on the grid, which is the dump's if nil. The name is that of a text's column. Of a dump only counts are
// taken: it has segments for windows with samples only, so that to print the metric they name would say whether there are any (PRIVACY P1).
func (f *releaseFlags) readInput(cmd *cobra.Command, in *input, grid *sketch.Grid) (s *sketch.Binned, name string, err error) {
	isDump, all, err := sniffDump(in)
	if err != nil {
		return nil, "", err
	}
	if !isDump {
		if all, err = refuseKLL(all, in.name); err != nil {
			return nil, "", err
		}
	}
	if !isDump && !f.dump && f.groups.unitColumn != "" {
		name, groups, err := f.readGroups(all, grid)
		if err != nil {
			return nil, "", err
		}
		return groups[0].Sketch, name, nil
	}
	if !isDump && !f.dump {
		s = sketch.NewBinned(grid)
		name, err = f.read(all, s)
		return s, name, err
	}
	for _, flag := range textFlags {
		if cmd.Flags().Changed(flag) {
			return nil, "", usagef("--%s is for texts, and this is a dump", flag)
		}
	}
	if f.anyRange {
		return nil, "", usagef("this is a dump: describe its grid with --min and --max or --grid, or say --dump --public-grid")
	}
	s, err = readDump(all, grid)
	return s, "", err
}

// read counts the values of a text, and returns the name of their column, if any. It takes memory for one row, whatever the number of rows.
func (f *releaseFlags) read(in io.Reader, s *sketch.Binned) (name string, err error) {
	var columns []string
	if f.column != "" {
		columns = []string{f.column}
	}
	rows, err := newColumnReader(in, byte(*f.delimiter), !f.noHeader, columns)
	if err != nil {
		return "", err
	}
	if len(rows.names) > 0 {
		name = rows.names[0]
	}
	batch := make([]float64, 0, 1024)
	for {
		cells, err := rows.read()
		switch {
		case errors.Is(err, io.EOF):
			s.AddBatch(batch)
			return name, nil
		case f.skipInvalid && isRowError(err):
			continue
		case err != nil:
			return "", err
		}
		x, ok := parseValue(cells[0])
		if !ok || math.IsNaN(x) {
			if f.skipInvalid {
				continue
			}
			hint := ""
			if f.column == "" {
				hint = "; --column picks a column of a table"
			}
			return "", &rowError{rows.line(), shorten(cells[0]) + " is not a number" + hint}
		}
		if batch = append(batch, x); len(batch) == cap(batch) {
			s.AddBatch(batch)
			batch = batch[:0]
		}
	}
}

// fileResult returns a release of a file as it is printed.
func fileResult(metric, unit string, r *dp.Result) resultView {
	var predicted *predictionView
	if r.Predicted != nil {
		v := viewPrediction(*r.Predicted)
		predicted = &v
	}
	return resultView{
		Predicted:       predicted,
		Metric:          metric,
		Estimator:       r.Estimator,
		Epsilon:         epsilonNumber(r.Epsilon),
		Rho:             json.Number(budget.Rho(r.NanoRho).String()),
		Confidence:      r.Confidence,
		ConfidenceShare: r.ConfidenceShare,
		Neighbours:      r.Neighbours,
		Unit:            unit,
		Contributions:   r.Contributions,
		Prior:           r.Prior,
		Quantiles:       viewQuantiles(r.Quantiles),
	}
}
