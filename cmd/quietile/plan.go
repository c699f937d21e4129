package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/spf13/cobra"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/policy"
)

const planLong = `Plan tells what a schedule of releases costs one user or event in each budget period, before anything is
released. FILE, or standard input for "-", is YAML:

  policy: metrics.yaml     # declares sources and metrics; beside FILE; optional
  sources:                 # more sources, or other budgets for those of the policy
    - name: shop
      unit: user           # user | event
      epsilon: 1           # the budget of each period
      delta: 1e-6          # optional: the budget is (epsilon, delta), and losses add up as rho if that is less
      approximate: 1e-7    # optional: the part of delta for releases with a delta of their own
      period: 24h
  metrics:                 # more metrics
    - name: latency
      source: shop
      window: 1h           # by default 1h
      contributions: {windows: 3} # for users: how many windows of a period hold samples of one at most
  releases:
    - name: hourly
      metric: latency
      quantiles: [0.5, 0.9, 0.99] # optional: says what the loss in rho is
      estimator: recursive # optional, with quantiles
      epsilon: 0.1         # of each release; or rho, for Gaussian noise
      delta: 1e-9          # optional: of each release, without quantiles
      span: 1h             # what one release covers; by default a window
      every: 1h            # when the next one begins; by default where this one ends
      times: 2             # how many questions about each span; by default 1

Spans begin with the period and none reaches beyond it. The table shows each release's cost to a window and to a
unit in a period, and what is left of the source's budget after it and those above it. A release fits if the source's budget
and the metric's own, if the policy gives it one, admit it. It ends with exit code 3 if something does not fit.`

func newPlanCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "plan FILE|-",
		GroupID: groupFiles,
		Short:   "Tell what a schedule of releases costs before it is run",
		Long:    planLong,
		Example: `  quietile plan schedule.yaml
  quietile plan - --format json < schedule.yaml`,
		Args: positional(cobra.ExactArgs(1)),
	}
	format := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, err := openInput(cmd, args[0])
		if err != nil {
			return err
		}
		defer in.Close()
		data, err := io.ReadAll(in)
		if err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
		in.Close()
		folder := ""
		if args[0] != "-" {
			folder = filepath.Dir(args[0])
		}
		schedule, err := readSchedule(data, folder)
		if err != nil {
			return usagef("%s: %w", in.name, err)
		}
		if err := schedule.plan(); err != nil {
			return usagef("%s: %w", in.name, err)
		}
		return schedule.print(cmd.OutOrStdout(), format.value)
	}
	return cmd
}

// literal is a single value of a schedule as it stands in the file, without quotes. Its line is 0 if it is not given.
type literal struct {
	text string
	line int
}

// UnmarshalYAML takes a text or a number.
func (l *literal) UnmarshalYAML(n ast.Node) error {
	t := n.GetToken()
	switch n.Type() {
	case ast.StringType, ast.IntegerType, ast.FloatType:
		*l = literal{t.Value, t.Position.Line}
		return nil
	}
	return fmt.Errorf("line %d: %q is not a text or a number", t.Position.Line, t.Value)
}

func (l literal) given() bool { return l.line > 0 }

// refuse returns an error about a field.
func (l literal) refuse(field, format string, args ...any) error {
	return fmt.Errorf("line %d: %s %w", l.line, field, fmt.Errorf(format, args...))
}

// scheduleFile is a schedule as it stands in the file.
type scheduleFile struct {
	Policy  literal `yaml:"policy"`
	Sources []struct {
		Name        literal `yaml:"name"`
		Unit        literal `yaml:"unit"`
		Epsilon     literal `yaml:"epsilon"`
		Delta       literal `yaml:"delta"`
		Approximate literal `yaml:"approximate"`
		Period      literal `yaml:"period"`
	} `yaml:"sources"`
	Metrics []struct {
		Name          literal `yaml:"name"`
		Source        literal `yaml:"source"`
		Window        literal `yaml:"window"`
		Contributions struct {
			Windows literal `yaml:"windows"`
		} `yaml:"contributions"`
	} `yaml:"metrics"`
	Releases []scheduledRelease `yaml:"releases"`
}

type scheduledRelease struct {
	Name      literal   `yaml:"name"`
	Metric    literal   `yaml:"metric"`
	Quantiles []literal `yaml:"quantiles"`
	Estimator literal   `yaml:"estimator"`
	Epsilon   literal   `yaml:"epsilon"`
	Rho       literal   `yaml:"rho"`
	Delta     literal   `yaml:"delta"`
	Span      literal   `yaml:"span"`
	Every     literal   `yaml:"every"`
	Times     literal   `yaml:"times"`
}

// scheduledMetric is what a schedule must know of a metric.
type scheduledMetric struct {
	source        budget.Source
	own           budget.Source // the metric's own budget, under the metric's name; none if that is empty
	window        time.Duration
	contributions int
}

// schedule is a schedule that was read, with what it costs once it is planned.
type schedule struct {
	releases []budget.Planned
	costs    []budget.PlannedCost
	// own are those releases again whose metrics have budgets of their own, with these as sources.
	own      []budget.Planned
	ownCosts []budget.PlannedCost
}

// plan fills in the costs.
func (s *schedule) plan() (err error) {
	if s.costs, err = budget.Plan(s.releases); err != nil {
		return err
	}
	s.ownCosts, err = budget.Plan(s.own)
	return err
}

// readSchedule reads a schedule, and the policy it names from a folder. Errors about the file's form name the line.
func readSchedule(data []byte, folder string) (*schedule, error) {
	var f scheduleFile
	d := yaml.NewDecoder(strings.NewReader(string(data)), yaml.Strict())
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one document, and a schedule is one")
	}
	if len(f.Releases) == 0 {
		return nil, errors.New("releases is missing: there is nothing to plan")
	}
	p := new(quietilev1.Policy)
	if f.Policy.given() {
		path := f.Policy.text
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		var err error
		if p, err = policy.ParseFile(path); err != nil {
			return nil, f.Policy.refuse("policy", "is refused: %w", err)
		}
	}
	sources, err := f.sources(p)
	if err != nil {
		return nil, err
	}
	metrics, err := f.metrics(p, sources)
	if err != nil {
		return nil, err
	}
	s := new(schedule)
	for i, r := range f.Releases {
		planned, err := r.planned(fmt.Sprintf("releases[%d]", i), metrics)
		if err != nil {
			return nil, err
		}
		s.releases = append(s.releases, planned)
		if own := metrics[planned.Metric].own; own.Name != "" {
			planned.Source = own
			s.own = append(s.own, planned)
		}
	}
	return s, nil
}

// yamlError reduces an error of the YAML library, which draws the place in the file, to one line.
func yamlError(err error) error {
	var y yaml.Error
	if errors.As(err, &y) {
		if t := y.GetToken(); t != nil && t.Position != nil {
			return fmt.Errorf("line %d: %s", t.Position.Line, y.GetMessage())
		}
	}
	return err
}

// sources returns the sources of a policy and of the schedule, by name.
func (f *scheduleFile) sources(p *quietilev1.Policy) (map[string]budget.Source, error) {
	sources := map[string]budget.Source{}
	for _, s := range p.GetSources() {
		unit := budget.Event
		if s.GetUnit() == quietilev1.Unit_UNIT_USER {
			unit = budget.User
		}
		sources[s.GetName()] = budget.Source{
			Name: s.GetName(), Unit: unit, Period: time.Duration(s.GetPeriodNanos()),
			Budget: dp.Epsilon(s.GetBudgetNanoEpsilon()), Delta: budget.Delta(s.GetBudgetAttoDelta()),
		}
	}
	seen := map[string]bool{}
	for i, y := range f.Sources {
		path := fmt.Sprintf("sources[%d]", i)
		if err := requireFields(path, y.Name, "name", y.Name, "unit", y.Unit, "epsilon", y.Epsilon, "period", y.Period); err != nil {
			return nil, err
		}
		s := budget.Source{Name: y.Name.text}
		if seen[s.Name] {
			return nil, y.Name.refuse(path+".name", "%q stands twice", s.Name)
		}
		seen[s.Name] = true
		switch y.Unit.text {
		case "user":
			s.Unit = budget.User
		case "event":
		default:
			return nil, y.Unit.refuse(path+".unit", "is %q, neither event nor user", y.Unit.text)
		}
		err := cmp.Or(
			readField(y.Epsilon, path+".epsilon", dp.ParseEpsilon, &s.Budget),
			readField(y.Delta, path+".delta", budget.ParseDelta, &s.Delta),
			readField(y.Approximate, path+".approximate", budget.ParseDelta, &s.Approximate),
			readField(y.Period, path+".period", policy.ParseDuration, &s.Period))
		if err != nil {
			return nil, err
		}
		if old, ok := sources[s.Name]; ok && (old.Unit != s.Unit || old.Period != s.Period) {
			return nil, y.Name.refuse(path, "has unit %v and period %s, and %v and %s in the policy", s.Unit, policy.FormatDuration(s.Period), old.Unit, policy.FormatDuration(old.Period))
		}
		sources[s.Name] = s
	}
	return sources, nil
}

// metrics returns the metrics of a policy and of the schedule, by name.
func (f *scheduleFile) metrics(p *quietilev1.Policy, sources map[string]budget.Source) (map[string]scheduledMetric, error) {
	metrics := map[string]scheduledMetric{}
	for _, m := range p.GetMetrics() {
		s := scheduledMetric{source: sources[m.GetSource()], window: time.Duration(m.GetWindowNanos()), contributions: max(1, int(m.GetMaxWindows()))}
		if e := dp.Epsilon(m.GetBudgetNanoEpsilon()); e > 0 {
			s.own = budget.Source{Name: m.GetName(), Unit: s.source.Unit, Period: s.source.Period, Budget: e, Delta: budget.Delta(m.GetBudgetAttoDelta())}
		}
		metrics[m.GetName()] = s
	}
	for i, y := range f.Metrics {
		path := fmt.Sprintf("metrics[%d]", i)
		if err := requireFields(path, y.Name, "name", y.Name, "source", y.Source); err != nil {
			return nil, err
		}
		if _, ok := metrics[y.Name.text]; ok {
			return nil, y.Name.refuse(path+".name", "%q stands twice", y.Name.text)
		}
		source, ok := sources[y.Source.text]
		if !ok {
			return nil, y.Source.refuse(path+".source", "%q is not declared", y.Source.text)
		}
		m := scheduledMetric{source: source, window: time.Hour, contributions: 1}
		err := cmp.Or(
			readField(y.Window, path+".window", policy.ParseDuration, &m.window),
			readField(y.Contributions.Windows, path+".contributions.windows", parseCount, &m.contributions))
		if err != nil {
			return nil, err
		}
		if given := y.Contributions.Windows; given.given() != (source.Unit == budget.User) {
			if !given.given() {
				return nil, y.Name.refuse(path, "has no contributions.windows, as a metric of users needs")
			}
			return nil, given.refuse(path+".contributions", "are given, and source %q is of events", source.Name)
		}
		metrics[y.Name.text] = m
	}
	return metrics, nil
}

// planned reads a release.
func (r scheduledRelease) planned(path string, metrics map[string]scheduledMetric) (budget.Planned, error) {
	var p budget.Planned
	if err := requireFields(path, r.Name, "name", r.Name, "metric", r.Metric); err != nil {
		return p, err
	}
	m, ok := metrics[r.Metric.text]
	if !ok {
		return p, r.Metric.refuse(path+".metric", "%q is not declared", r.Metric.text)
	}
	p = budget.Planned{Name: r.Name.text, Source: m.source, Metric: r.Metric.text, Window: m.window, Contributions: m.contributions, Times: 1}
	if m.window <= 0 {
		return p, r.Metric.refuse(path+".metric", "%q has windows of %v", r.Metric.text, m.window)
	}
	span := m.window
	if err := readField(r.Span, path+".span", policy.ParseDuration, &span); err != nil {
		return p, err
	}
	every := span
	err := cmp.Or(
		readField(r.Every, path+".every", policy.ParseDuration, &every),
		readField(r.Times, path+".times", parseCount, &p.Times))
	if err != nil {
		return p, err
	}
	if span%m.window != 0 || span <= 0 || span > m.source.Period {
		return p, r.Span.refuse(path+".span", "%s is not a number of windows of %s within the period of %s",
			policy.FormatDuration(span), policy.FormatDuration(m.window), policy.FormatDuration(m.source.Period))
	}
	if every%m.window != 0 || every <= 0 {
		return p, r.Every.refuse(path+".every", "%s is not a number of windows of %s", policy.FormatDuration(every), policy.FormatDuration(m.window))
	}
	// One that begins when the next period does begins with that.
	p.Span, p.Every = int(span/m.window), int(min(every, m.source.Period)/m.window)
	p.Cost, err = r.cost(path)
	return p, err
}

// cost returns what one release costs.
func (r scheduledRelease) cost(path string) (budget.Loss, error) {
	var l budget.Loss
	if r.Epsilon.given() == r.Rho.given() {
		return l, r.Name.refuse(path, "takes one of epsilon and rho")
	}
	err := cmp.Or(
		readField(r.Epsilon, path+".epsilon", dp.ParseEpsilon, &l.Epsilon),
		readField(r.Rho, path+".rho", budget.ParseRho, &l.Rho),
		readField(r.Delta, path+".delta", budget.ParseDelta, &l.Delta))
	if err != nil {
		return l, err
	}
	switch {
	case len(r.Quantiles) > 0 && r.Rho.given():
		return l, r.Rho.refuse(path+".rho", "is given with quantiles, whose loss is set by epsilon")
	case len(r.Quantiles) > 0 && r.Delta.given():
		return l, r.Delta.refuse(path+".delta", "is given with quantiles, which are released without one")
	case len(r.Quantiles) > 0:
		o := dp.Options{Epsilon: l.Epsilon}
		for i, y := range r.Quantiles {
			var list quantileList
			if err := list.Set(y.text); err != nil {
				return l, y.refuse(fmt.Sprintf("%s.quantiles[%d]", path, i), "is refused: %w", err)
			}
			o.Quantiles = append(o.Quantiles, list.values...)
		}
		if err := readField(r.Estimator, path+".estimator", dp.ParseEstimator, &o.Estimator); err != nil {
			return l, err
		}
		if err := o.Validate(); err != nil {
			return l, r.Name.refuse(path, "is refused: %w", err)
		}
		_, rho := dp.Cost(o)
		l.Rho = budget.Rho(rho)
	case r.Estimator.given():
		return l, r.Estimator.refuse(path+".estimator", "is given without quantiles")
	case r.Epsilon.given():
		l.Rho = budget.RhoOfPure(l.Epsilon)
	}
	if r.Rho.given() || r.Delta.given() {
		l.Epsilon = budget.Unlimited
	}
	return l, nil
}

// requireFields returns an error about the first of the fields, which are given by name and value, that is missing. It tells the line of name, if that is given.
func requireFields(path string, name literal, fields ...any) error {
	for i := 0; i < len(fields); i += 2 {
		switch field, l := fields[i].(string), fields[i+1].(literal); {
		case l.given():
		case name.given():
			return name.refuse(path+"."+field, "is missing")
		default:
			return fmt.Errorf("%s.%s is missing", path, field)
		}
	}
	return nil
}

// readField reads a field into v if it is given.
func readField[T any](l literal, path string, parse func(string) (T, error), v *T) error {
	if !l.given() {
		return nil
	}
	parsed, err := parse(l.text)
	if err != nil {
		return l.refuse(path, "is refused: %w", err)
	}
	*v = parsed
	return nil
}

// parseCount reads a whole number from 1 to a million.
func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 1_000_000 || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("%q is not a whole number from 1 to 1000000", s)
	}
	return n, nil
}

// planView is a plan as it is printed.
type planView struct {
	Releases []plannedView       `json:"releases"`
	Sources  []plannedSourceView `json:"sources"`
}

type plannedView struct {
	Release   string   `json:"release"`
	Metric    string   `json:"metric"`
	Source    string   `json:"source"`
	PerWindow lossView `json:"per_window"`
	Releases  int      `json:"releases"`
	Windows   int      `json:"windows"`
	PerPeriod lossView `json:"per_period"`
	Total     lossView `json:"total"`
	Fits      bool     `json:"fits"`
}

// lossView is a loss as it is printed: null is without limit.
type lossView struct {
	Epsilon *json.Number `json:"epsilon"`
	Rho     *json.Number `json:"rho"`
	Delta   json.Number  `json:"delta"`
}

type plannedSourceView struct {
	Source string `json:"source"`
	// Metric is the one whose own budget this is, absent for the budget of the whole source.
	Metric      string      `json:"metric,omitempty"`
	Unit        string      `json:"unit"`
	Period      float64     `json:"period_seconds"`
	Epsilon     json.Number `json:"epsilon"`
	Delta       json.Number `json:"delta"`
	Approximate json.Number `json:"approximate"`
	Rho         json.Number `json:"rho"`
	// Loss is the ε that one unit loses in a period, at the budget's δ.
	Loss *json.Number `json:"loss"`
	Fits bool         `json:"fits"`
}

func viewLoss(l budget.Loss) lossView {
	return lossView{viewNumber(l.Epsilon.String(), l.Epsilon == budget.Unlimited), viewNumber(l.Rho.String(), l.Rho == budget.Unlimited), json.Number(l.Delta.String())}
}

func viewNumber(s string, unlimited bool) *json.Number {
	if unlimited {
		return nil
	}
	n := json.Number(s)
	return &n
}

// print prints what a planned schedule costs. It returns an error that wraps [budget.ErrExceeded] if it does not fit.
func (s *schedule) print(w io.Writer, format string) error {
	last := map[string]int{}        // the last release on each source
	sourceOf := map[string]string{} // by metric
	var names []string
	for i, p := range s.releases {
		sourceOf[p.Metric] = p.Source.Name
		if _, ok := last[p.Source.Name]; !ok {
			names = append(names, p.Source.Name)
		}
		last[p.Source.Name] = i
	}
	lastOwn := map[string]int{} // the last release on each metric that has a budget of its own
	beyond := map[string]bool{} // releases that such a budget does not admit
	for i, p := range s.own {
		lastOwn[p.Metric] = i
		beyond[p.Name] = !s.ownCosts[i].Fits
	}
	var view planView
	var rows, sourceRows [][]string
	addSource := func(name, metric string, b budget.Source, c budget.PlannedCost) {
		loss := c.Total.EpsilonAt(b.Delta)
		view.Sources = append(view.Sources, plannedSourceView{
			name, metric, b.Unit.String(), b.Period.Seconds(), epsilonNumber(b.Budget), json.Number(b.Delta.String()), json.Number(b.Approximate.String()),
			json.Number(b.Rho().String()), viewNumber(loss.String(), loss == budget.Unlimited), c.Fits,
		})
		sourceRows = append(sourceRows, []string{
			printable(name), printable(metric), b.Unit.String(), policy.FormatDuration(b.Period), b.Budget.String(), b.Delta.String(), formatEpsilon(loss), yesNo(c.Fits),
		})
	}
	for i, p := range s.releases {
		c := s.costs[i]
		c.Fits = c.Fits && !beyond[p.Name]
		view.Releases = append(view.Releases, plannedView{
			p.Name, p.Metric, p.Source.Name, viewLoss(c.Window), c.Releases, c.Windows, viewLoss(c.Period), viewLoss(c.Total), c.Fits,
		})
		rows = append(rows, planRow(p, c, addsUpAsRho(p.Source, s.costs[last[p.Source.Name]].Total)))
	}
	for _, name := range names {
		addSource(name, "", s.releases[last[name]].Source, s.costs[last[name]])
	}
	for i, p := range s.own {
		if lastOwn[p.Metric] == i {
			addSource(sourceOf[p.Metric], p.Metric, p.Source, s.ownCosts[i])
		}
	}
	columns := []tableColumn{
		word("release"), word("metric"), word("source"), word("in"), number("per window"), number("windows"), number("per period"), number("budget"), number("left"), word("fits"),
	}
	if err := printRows(w, format, columns, rows, view); err != nil {
		return err
	}
	if format == formatTable {
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
		columns = []tableColumn{word("source"), word("metric"), word("unit"), word("period"), number("epsilon"), number("delta"), number("loss"), word("fits")}
		columns, sourceRows = withoutEmpty(columns, sourceRows)
		if err := printTable(w, columns, sourceRows); err != nil {
			return err
		}
	}
	return cmp.Or(firstBeyond("source", s.releases, s.costs), firstBeyond("metric", s.own, s.ownCosts))
}

// firstBeyond returns an error about the first release that the budget of its source, which is of a kind, does not admit.
func firstBeyond(kind string, releases []budget.Planned, costs []budget.PlannedCost) error {
	for i, p := range releases {
		c := costs[i]
		if c.Fits {
			continue
		}
		lost := fmt.Sprintf("epsilon %s of %v", formatEpsilon(c.Total.Epsilon), p.Source.Budget)
		if p.Source.Delta > 0 {
			lost = fmt.Sprintf("rho %v of %v and delta %v of %v", c.Total.Rho, p.Source.Rho(), c.Total.Delta, p.Source.Approximate)
		}
		return fmt.Errorf("%w: with release %q a unit of %s %q loses %s", budget.ErrExceeded, p.Name, kind, p.Source.Name, lost)
	}
	return nil
}

// addsUpAsRho tells whether the budget of a source is best shown in ρ: unless a loss fits as a pure one only.
func addsUpAsRho(s budget.Source, total budget.Loss) bool {
	return s.Delta > 0 && (total.Epsilon > s.Budget || total.Rho <= s.Rho() && total.Delta <= s.Approximate)
}

// planRow is a release in the table, in ρ or in ε.
func planRow(p budget.Planned, c budget.PlannedCost, rho bool) []string {
	row := []string{printable(p.Name), printable(p.Metric), printable(p.Source.Name)}
	windows := strconv.Itoa(c.Windows)
	if rho {
		left := "none"
		if c.Total.Rho != budget.Unlimited {
			left = (p.Source.Rho() - c.Total.Rho).String()
		}
		return append(row, "rho", c.Window.Rho.String(), windows, c.Period.Rho.String(), p.Source.Rho().String(), left, yesNo(c.Fits))
	}
	left := "none"
	if c.Total.Epsilon != budget.Unlimited {
		left = (p.Source.Budget - c.Total.Epsilon).String()
	}
	return append(row, "epsilon", formatEpsilon(c.Window.Epsilon), windows, formatEpsilon(c.Period.Epsilon), p.Source.Budget.String(), left, yesNo(c.Fits))
}

func formatEpsilon(e dp.Epsilon) string {
	if e == budget.Unlimited {
		return "unlimited"
	}
	return e.String()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
