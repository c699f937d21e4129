package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/dp/prior"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

// publicPrefix begins a prior that is made of a file of public records.
const publicPrefix = policy.PublicPrior + ":"

func newPriorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "prior",
		GroupID: groupDaemon,
		Short:   "Show what is believed of quantiles before they are released, or make a prior of public records",
		Args:    positional(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPriorShowCommand(), newPriorLearnCommand())
	return cmd
}

// covariateList is the value of --covariate: name=value, again for each.
type covariateList map[string]float64

func (l covariateList) String() string {
	var fields []string
	for name, x := range l {
		fields = append(fields, name+"="+formatNumber(x))
	}
	return strings.Join(fields, ",")
}

// Type names the flag's value in the help.
func (l covariateList) Type() string { return "name=number" }

// Set reads one.
func (l covariateList) Set(s string) error {
	name, text, ok := strings.Cut(s, "=")
	x, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil || name == "" {
		return fmt.Errorf("covariate %q is not a name and a number, such as rain=0.5", s)
	}
	l[name] = x
	return nil
}

func addCovariates(cmd *cobra.Command) covariateList {
	l := covariateList{}
	cmd.Flags().Var(l, "covariate", "a covariate of the window that the metric declares, such as rain=0.5; anyone may know it; may be repeated")
	return l
}

// beliefView is what is believed of a metric's quantiles as it is printed.
type beliefView struct {
	Metric   string         `json:"metric"`
	Prior    string         `json:"prior"`
	Window   windowView     `json:"window"`
	Releases uint64         `json:"releases"`
	Fallback string         `json:"fallback,omitempty"`
	Beliefs  []quantileView `json:"-"`
	// Quantiles are what was learned of each.
	Quantiles []believedView `json:"quantiles"`
}

// believedView is what is believed of a quantile.
type believedView struct {
	Q        float64 `json:"q"`
	Releases uint64  `json:"releases"`
	// Forecast is the value that is expected, Low and High its usual error below and above, Last the latest answer.
	Forecast float64 `json:"forecast"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Last     float64 `json:"last"`
	// Surprise is the mean of −ln of the mass that the prior gave to what was then released, and Uniform what the uniform prior would have had: over the latest forecasts.
	Surprise float64 `json:"surprise"`
	Uniform  float64 `json:"uniform_surprise"`
	// Prior describes it exactly.
	Prior     string         `json:"prior"`
	Forecasts []forecastView `json:"forecasts"`
}

// forecastView is a forecast beside what was released.
type forecastView struct {
	Window   string  `json:"window"`
	Forecast float64 `json:"forecast"`
	Released float64 `json:"released"`
	Surprise float64 `json:"surprise"`
}

func newPriorShowCommand() *cobra.Command {
	var window, output string
	cmd := &cobra.Command{
		Use:   "show METRIC",
		Short: "Show what is believed of a metric's quantiles, and how good the last forecasts were",
		Long: `Show prints what the daemon believes of the quantiles of a metric's next window, and how well it forecast the last
ones. All of it is computed from answers that were released; no data is read and nothing is charged. What surprises is
−ln of the mass that the prior gave to the bucket that was then released; the less it is below what the uniform prior
would have had, the less was learned. With -o a picture is written: forecasts as a line, answers as dots.`,
		Example: `  quietile prior show checkout-seconds
  quietile prior show checkout-seconds -o beliefs.svg`,
		Args: positional(cobra.ExactArgs(1)),
	}
	where := addConnection(cmd)
	format := addFormat(cmd)
	covariates := addCovariates(cmd)
	cmd.Flags().StringVar(&window, "window", "", "a time inside the window that is forecast (default: the one after the last release's)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write a picture to this SVG file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ask := &quietilev1.PriorRequest{Metric: args[0], Covariates: covariates}
		if window != "" {
			var err error
			if ask.WindowTimeUnixNano, err = windowTime(window); err != nil {
				return err
			}
		}
		c, err := where.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		r, err := c.Prior(cmd.Context(), ask)
		if err != nil {
			return refusal(err)
		}
		view, err := viewBelief(r)
		if err != nil {
			return err
		}
		if output != "" {
			if err := writeFile(output, func(w io.Writer) error { return view.chart().write(w) }); err != nil {
				return err
			}
		}
		return view.print(cmd.OutOrStdout(), format.value)
	}
	return cmd
}

// writeFile writes a file as a whole.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return asUsage(err)
	}
	if err := write(f); err != nil {
		_ = f.Close() // the other error says more
		return err
	}
	return f.Close()
}

// viewBelief returns a report as it is printed: positions in buckets become values.
func viewBelief(r *quietilev1.PriorReport) (beliefView, error) {
	grid, err := sketch.ParseGrid(r.GetGrid())
	if err != nil {
		return beliefView{}, err
	}
	v := beliefView{
		Metric: r.GetMetric(), Prior: r.GetPrior(), Window: windowView{utc(r.GetWindowStartUnixNano()), utc(r.GetWindowEndUnixNano())},
		Releases: r.GetState().GetReleases(), Fallback: r.GetFallback(),
	}
	priors := map[float64]string{}
	for _, p := range r.GetPriors() {
		priors[p.GetQ()] = p.GetPrior()
	}
	for _, k := range r.GetState().GetQuantiles() {
		b := believedView{Q: k.GetQ(), Releases: k.GetReleases(), Last: valueAt(grid, k.GetLast()), Prior: priors[k.GetQ()]}
		location, scale := prior.Located(b.Prior)
		b.Forecast, b.Low, b.High = valueAt(grid, location), valueAt(grid, location-scale), valueAt(grid, location+scale)
		for _, f := range k.GetForecasts() {
			b.Surprise += f.GetSurprise() / float64(len(k.GetForecasts()))
			b.Uniform = f.GetUniform()
			b.Forecasts = append(b.Forecasts, forecastView{
				utc(f.GetWindowStartUnixNano()).Format("2006-01-02T15:04:05Z"), valueAt(grid, f.GetLocation()), valueAt(grid, f.GetReleased()), f.GetSurprise(),
			})
		}
		v.Quantiles = append(v.Quantiles, b)
	}
	return v, nil
}

// valueAt returns the value at a position in buckets.
func valueAt(g *sketch.Grid, at float64) float64 {
	if math.IsNaN(at) {
		return math.NaN()
	}
	at = min(max(at, 0), float64(g.Len()))
	i := min(int(at), g.Len()-1)
	lower, upper := g.Bounds(i)
	switch {
	case math.IsInf(lower, -1):
		return upper
	case math.IsInf(upper, 1):
		return lower
	}
	return lower + (upper-lower)*(at-float64(i))
}

// bars are what errors of a terminal's plot are drawn with.
var bars = []rune("▁▂▃▄▅▆▇█")

// spark returns numbers as bars, of which the largest is full.
func spark(xs []float64) string {
	most := 0.0
	for _, x := range xs {
		most = max(most, x)
	}
	var b strings.Builder
	for _, x := range xs {
		i := 0
		if most > 0 {
			i = int(x / most * float64(len(bars)-1))
		}
		b.WriteRune(bars[min(max(i, 0), len(bars)-1)])
	}
	return b.String()
}

func (v beliefView) print(w io.Writer, format string) error {
	columns := []tableColumn{
		number("q"), number("releases"), number("forecast"), number("low"), number("high"), number("last"), number("surprise"), number("uniform"), word("surprises, latest right"),
	}
	var rows [][]string
	for _, b := range v.Quantiles {
		var surprises []float64
		for _, f := range b.Forecasts[max(len(b.Forecasts)-40, 0):] {
			surprises = append(surprises, f.Surprise)
		}
		rows = append(rows, []string{
			formatNumber(b.Q), strconv.FormatUint(b.Releases, 10), fmt.Sprintf("%.4g", b.Forecast), fmt.Sprintf("%.4g", b.Low), fmt.Sprintf("%.4g", b.High), fmt.Sprintf("%.4g", b.Last),
			fmt.Sprintf("%.2f", b.Surprise), fmt.Sprintf("%.2f", b.Uniform), spark(surprises),
		})
	}
	if format != formatTable {
		return printRows(w, format, columns, rows, v)
	}
	if _, err := fmt.Fprintf(w, "%s: %s, %d %s taken in, window %s to %s\n", printable(v.Metric), printable(v.Prior), v.Releases, plural(int(v.Releases), "release"),
		v.Window.Start.Format("2006-01-02T15:04:05Z"), v.Window.End.Format("2006-01-02T15:04:05Z")); err != nil {
		return err
	}
	if v.Fallback != "" {
		if _, err := fmt.Fprintf(w, "the robust part alone: %s\n", printable(v.Fallback)); err != nil {
			return err
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return printTable(w, columns, rows)
}

// chart returns the forecasts as lines and the answers as dots.
func (v beliefView) chart() chart {
	c := chart{title: fmt.Sprintf("%s: forecasts (lines) and released answers (dots)", v.Metric), x: "release", y: "value"}
	for _, b := range v.Quantiles {
		line, dots := series{name: "q " + formatNumber(b.Q)}, series{dots: true}
		for i, f := range b.Forecasts {
			line.points = append(line.points, point{float64(i), f.Forecast})
			dots.points = append(dots.points, point{float64(i), f.Released})
		}
		c.series = append(c.series, line, dots)
	}
	return c
}

func newPriorLearnCommand() *cobra.Command {
	var (
		public, output string
		robust         float64
	)
	f := sketchBuildFlags{}
	cmd := &cobra.Command{
		Use:   "learn --public FILE --grid SPEC -o OUT",
		Short: "Make a prior of records that are public",
		Long: `Learn counts the records of a file into a dump on a grid, the metric's, and says where it would believe quantiles to
be. The records must really be public: the prior shows them as they are. A policy then says "prior: public:OUT" for the
metric, and "quietile release --prior public:OUT" takes it for a file.`,
		Example: `  quietile prior learn --public census.csv --column age --grid linear:lower=0,upper=128,bins=128 -o census.qtd`,
		Args:    positional(cobra.NoArgs),
	}
	flags := cmd.Flags()
	flags.StringVar(&public, "public", "", "file of the public records, or - for standard input: a table with --column, otherwise a number on each line")
	flags.StringVar(&f.column, "column", "", "column of the values, by name or number from 1 (default: each line is a value)")
	flags.BoolVar(&f.noHeader, "no-header", false, "the first line is a row, not the columns' names")
	f.delimiter = addDelimiter(cmd)
	flags.BoolVar(&f.skipInvalid, "skip-invalid", false, "leave out rows without a number instead of failing")
	f.grid = addGrid(cmd, "the metric's grid", nil)
	flags.StringVarP(&output, "output", "o", "", "file of the prior")
	flags.Float64Var(&robust, "robust", prior.DefaultRobust, "share of the robust part, for what is printed")
	quantiles := addQuantiles(cmd, "quantiles to print", 0.25, 0.5, 0.75)
	var records uint64
	flags.Uint64Var(&records, "n-hint", 0, "about how many records a release will have (default 10000)")
	format := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := requireFlags(cmd, "public", "grid", "output"); err != nil {
			return err
		}
		if f.column != "" {
			if err := checkColumns(!f.noHeader, []string{"column"}, []string{f.column}); err != nil {
				return err
			}
		}
		s := sketch.NewBinned(f.grid.grid)
		b := &builder{empty: func() collector { return s }, builds: map[string]*build{}}
		b.of("")
		if err := f.buildInput(cmd, public, b); err != nil {
			return err
		}
		b.finish()
		p, err := prior.Public(output, s, records, robust)
		if err != nil {
			return asUsage(err)
		}
		if err := writeFile(output, func(w io.Writer) error {
			d, err := dump.NewWriter(w, &quietilev1.DumpHeader{})
			if err == nil {
				err = d.Write("public", s)
			}
			if err == nil {
				err = d.Close()
			}
			return err
		}); err != nil {
			return err
		}
		columns := []tableColumn{number("q"), number("low"), number("middle"), number("high")}
		var rows [][]string
		views := []map[string]float64{}
		for _, q := range quantiles.values {
			w, err := p.At(q).Weights(s.Grid())
			if err != nil {
				return err
			}
			low, middle, high := valueAt(s.Grid(), before(w, 0.25)), valueAt(s.Grid(), before(w, 0.5)), valueAt(s.Grid(), before(w, 0.75))
			rows = append(rows, []string{formatNumber(q), compactNumber(low), compactNumber(middle), compactNumber(high)})
			views = append(views, map[string]float64{"q": q, "low": low, "middle": middle, "high": high})
		}
		if format.value == formatTable {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %d public records on %v; where half of each prior is\n", printable(output), s.Count(), s.Grid()); err != nil {
				return err
			}
		}
		return printRows(cmd.OutOrStdout(), format.value, columns, rows, views)
	}
	return cmd
}

// before returns the position in buckets before which a share of the weights is.
func before(weights []uint64, share float64) float64 {
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	left := share * total
	for i, w := range weights {
		if left <= float64(w) {
			return float64(i) + left/float64(w)
		}
		left -= float64(w)
	}
	return float64(len(weights))
}

// parsePrior reads a prior, which may be a file of public records: a dump on the grid.
func parsePrior(cmd *cobra.Command, text string, grid *sketch.Grid, records uint64) (prior.Prior, error) {
	name, ok := strings.CutPrefix(text, publicPrefix)
	if !ok {
		return prior.Parse(text)
	}
	in, err := openInput(cmd, name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	s, err := readDump(in, grid)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in.name, err)
	}
	return prior.Public(name, s, records, prior.DefaultRobust)
}
