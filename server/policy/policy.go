// Package policy parses, validates and compares what operators declare: the sources of data with their
// privacy budgets, and the metrics on them.
package policy

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/subject"
	"github.com/quietile/quietile/sketch"
)

const (
	defaultWindow   = duration(time.Hour)
	defaultLateness = duration(time.Minute)
	maxPerWindow    = 1_000_000
	maxBuckets      = 1 << 20
)

// file is a policy file.
type file struct {
	Sources []source `yaml:"sources"`
	Metrics []metric `yaml:"metrics"`
}

type source struct {
	Name    string   `yaml:"name"`
	Unit    string   `yaml:"unit"`
	Epsilon decimal  `yaml:"epsilon"`
	Period  duration `yaml:"period"`
}

type metric struct {
	Name           string         `yaml:"name"`
	Source         string         `yaml:"source"`
	Grid           grid           `yaml:"grid"`
	Representative string         `yaml:"representative,omitempty"`
	Clock          string         `yaml:"clock,omitempty"`
	Window         *duration      `yaml:"window,omitempty"`
	Lateness       *duration      `yaml:"lateness,omitempty"`
	Contributions  *contributions `yaml:"contributions,omitempty"`
}

type grid struct {
	Exponential *exponentialGrid `yaml:"exponential,omitempty"`
	Linear      *linearGrid      `yaml:"linear,omitempty"`
	Explicit    []float64        `yaml:"explicit,omitempty"`
}

type exponentialGrid struct {
	Scale int32    `yaml:"scale"`
	Min   *float64 `yaml:"min,omitempty"`
	Max   *float64 `yaml:"max,omitempty"`
}

type linearGrid struct {
	Lower float64 `yaml:"lower"`
	Upper float64 `yaml:"upper"`
	Bins  uint32  `yaml:"bins"`
}

type contributions struct {
	PerWindow uint32 `yaml:"per_window"`
	Windows   uint32 `yaml:"windows"`
}

// decimal is an epsilon, read from the digits as they stand in the file.
type decimal dp.Epsilon

func (d *decimal) UnmarshalYAML(b []byte) error {
	e, err := dp.ParseEpsilon(strings.Trim(strings.TrimSpace(string(b)), `"'`))
	*d = decimal(e)
	return err
}

func (d decimal) MarshalYAML() ([]byte, error) { return []byte(dp.Epsilon(d).String()), nil }

// duration is a time.Duration that may also be written in days and weeks.
type duration time.Duration

func (d *duration) UnmarshalYAML(b []byte) error {
	v, err := ParseDuration(strings.Trim(strings.TrimSpace(string(b)), `"'`))
	*d = duration(v)
	return err
}

func (d duration) MarshalYAML() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// ParseDuration reads a duration such as 90s, 1h30m, 7d or 2w.
func ParseDuration(s string) (time.Duration, error) {
	unit := map[byte]time.Duration{'d': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	if n := len(s); n > 1 && unit[s[n-1]] != 0 {
		v, err := strconv.ParseInt(s[:n-1], 10, 32)
		if err != nil || v > math.MaxInt64/int64(unit[s[n-1]]) || v < 0 {
			return 0, fmt.Errorf("%q is not a duration such as 90s, 1h30m, 7d or 2w", s)
		}
		return time.Duration(v) * unit[s[n-1]], nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 90s, 1h30m, 7d or 2w", s)
	}
	return d, nil
}

// ParseFile reads a policy file.
func ParseFile(path string) (*quietilev1.Policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// Parse reads a policy in YAML. Every error is one line and names the field.
func Parse(data []byte) (*quietilev1.Policy, error) {
	var f file
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		return nil, oneLine(err)
	}
	p := new(quietilev1.Policy)
	for _, s := range f.Sources {
		q := &quietilev1.Source{
			Name:              s.Name,
			BudgetNanoEpsilon: int64(s.Epsilon),
			PeriodNanos:       int64(s.Period),
		}
		switch s.Unit {
		case "event":
			q.Unit = quietilev1.Unit_UNIT_EVENT
		case "user":
			q.Unit = quietilev1.Unit_UNIT_USER
		default:
			return nil, fmt.Errorf("source %q: unit %q is neither event nor user", s.Name, s.Unit)
		}
		p.Sources = append(p.Sources, q)
	}
	for _, m := range f.Metrics {
		q, err := m.proto(p.Sources)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", m.Name, err)
		}
		p.Metrics = append(p.Metrics, q)
	}
	return p, Validate(p)
}

// oneLine reduces an error of the YAML library, which draws the place in the file, to one line.
func oneLine(err error) error {
	var y yaml.Error
	if errors.As(err, &y) {
		if t := y.GetToken(); t != nil && t.Position != nil {
			return fmt.Errorf("line %d: %s", t.Position.Line, strings.ReplaceAll(y.GetMessage(), "\n", " "))
		}
		return errors.New(strings.ReplaceAll(y.GetMessage(), "\n", " "))
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(text)
}

func (m *metric) proto(sources []*quietilev1.Source) (*quietilev1.Metric, error) {
	q := &quietilev1.Metric{Name: m.Name, Source: m.Source, WindowNanos: int64(defaultWindow)}
	for _, s := range sources {
		if s.GetName() == m.Source {
			q.Unit, q.PeriodNanos = s.GetUnit(), s.GetPeriodNanos()
		}
	}
	if m.Window != nil {
		q.WindowNanos = int64(*m.Window)
	}
	kinds := 0
	q.Representative = quietilev1.Representative_REPRESENTATIVE_LOWER
	if e := m.Grid.Exponential; e != nil {
		kinds++
		q.Grid = &quietilev1.Grid{Kind: &quietilev1.Grid_Exponential{Exponential: &quietilev1.ExponentialGrid{Scale: e.Scale, Min: e.Min, Max: e.Max}}}
		q.Representative = quietilev1.Representative_REPRESENTATIVE_WITHIN
	}
	if l := m.Grid.Linear; l != nil {
		kinds++
		q.Grid = &quietilev1.Grid{Kind: &quietilev1.Grid_Linear{Linear: &quietilev1.LinearGrid{Lower: l.Lower, Upper: l.Upper, Bins: l.Bins}}}
	}
	if m.Grid.Explicit != nil {
		kinds++
		q.Grid = &quietilev1.Grid{Kind: &quietilev1.Grid_Explicit{Explicit: &quietilev1.ExplicitGrid{Breaks: m.Grid.Explicit}}}
	}
	if kinds != 1 {
		return nil, fmt.Errorf("grid: %d kinds are given, and it takes exactly one of exponential, linear and explicit", kinds)
	}
	switch m.Representative {
	case "":
	case "lower":
		q.Representative = quietilev1.Representative_REPRESENTATIVE_LOWER
	case "within":
		q.Representative = quietilev1.Representative_REPRESENTATIVE_WITHIN
	default:
		return nil, fmt.Errorf("representative %q is neither lower nor within", m.Representative)
	}
	switch m.Clock {
	case "", "stream":
		q.Clock = quietilev1.Clock_CLOCK_STREAM
		q.LatenessNanos = int64(defaultLateness)
	case "manual":
		q.Clock = quietilev1.Clock_CLOCK_MANUAL
	default:
		return nil, fmt.Errorf("clock %q is neither stream nor manual", m.Clock)
	}
	if m.Lateness != nil {
		q.LatenessNanos = int64(*m.Lateness)
	}
	if c := m.Contributions; c != nil {
		q.MaxPerWindow, q.MaxWindows = c.PerWindow, c.Windows
	}
	return q, nil
}

// Validate checks a policy, which may come from anywhere. Every error names the source or metric, the
// field and the value.
func Validate(p *quietilev1.Policy) error {
	sources := map[string]*quietilev1.Source{}
	for _, s := range p.GetSources() {
		if err := validateSource(s); err != nil {
			return fmt.Errorf("source %q: %w", s.GetName(), err)
		}
		if sources[s.GetName()] != nil {
			return fmt.Errorf("source %q stands twice", s.GetName())
		}
		sources[s.GetName()] = s
	}
	metrics := map[string]bool{}
	for _, m := range p.GetMetrics() {
		if err := validateMetric(m, sources[m.GetSource()]); err != nil {
			return fmt.Errorf("metric %q: %w", m.GetName(), err)
		}
		if metrics[m.GetName()] {
			return fmt.Errorf("metric %q stands twice", m.GetName())
		}
		metrics[m.GetName()] = true
	}
	return nil
}

const nameRule = "lower-case letters, digits, _ and -, starting with a letter or digit, at most 64"

func validateSource(s *quietilev1.Source) error {
	switch {
	case !subject.ValidMetric(s.GetName()):
		return fmt.Errorf("the name is not of the form: %s", nameRule)
	case s.GetUnit() != quietilev1.Unit_UNIT_EVENT && s.GetUnit() != quietilev1.Unit_UNIT_USER:
		return fmt.Errorf("unit %v is neither event nor user", s.GetUnit())
	case s.GetBudgetNanoEpsilon() <= 0:
		return fmt.Errorf("epsilon %v is not more than 0", dp.Epsilon(s.GetBudgetNanoEpsilon()))
	case time.Duration(s.GetPeriodNanos()) < time.Second:
		return fmt.Errorf("period %v is less than 1s", time.Duration(s.GetPeriodNanos()))
	}
	return nil
}

func validateMetric(m *quietilev1.Metric, s *quietilev1.Source) error {
	window, period := m.GetWindowNanos(), m.GetPeriodNanos()
	switch {
	case !subject.ValidMetric(m.GetName()):
		return fmt.Errorf("the name is not of the form: %s", nameRule)
	case s == nil:
		return fmt.Errorf("source %q is not declared in this policy", m.GetSource())
	case m.GetUnit() != s.GetUnit():
		return fmt.Errorf("unit %v is not its source's, %v", m.GetUnit(), s.GetUnit())
	case period != s.GetPeriodNanos():
		return fmt.Errorf("period %v is not its source's, %v", time.Duration(period), time.Duration(s.GetPeriodNanos()))
	case time.Duration(window) < time.Second:
		return fmt.Errorf("window %v is less than 1s", time.Duration(window))
	case period%window != 0:
		return fmt.Errorf("window %v does not divide its source's period %v", time.Duration(window), time.Duration(period))
	case m.GetClock() != quietilev1.Clock_CLOCK_STREAM && m.GetClock() != quietilev1.Clock_CLOCK_MANUAL:
		return fmt.Errorf("clock %v is neither stream nor manual", m.GetClock())
	case m.GetLatenessNanos() < 0 || m.GetLatenessNanos() > int64(365*24*time.Hour):
		return fmt.Errorf("lateness %v is outside 0s to 365d", time.Duration(m.GetLatenessNanos()))
	case m.GetClock() == quietilev1.Clock_CLOCK_MANUAL && m.GetLatenessNanos() != 0:
		return fmt.Errorf("lateness %v with clock manual: windows are sealed by command, nothing is late before", time.Duration(m.GetLatenessNanos()))
	case m.GetRepresentative() != quietilev1.Representative_REPRESENTATIVE_LOWER && m.GetRepresentative() != quietilev1.Representative_REPRESENTATIVE_WITHIN:
		return fmt.Errorf("representative %v is neither lower nor within", m.GetRepresentative())
	}
	if s.GetUnit() == quietilev1.Unit_UNIT_USER {
		switch {
		case m.GetMaxPerWindow() < 1 || m.GetMaxPerWindow() > maxPerWindow:
			return fmt.Errorf("contributions.per_window %d is outside 1 to %d, as a user metric needs", m.GetMaxPerWindow(), maxPerWindow)
		case m.GetMaxWindows() < 1 || int64(m.GetMaxWindows()) > period/window:
			return fmt.Errorf("contributions.windows %d is outside 1 to the %d windows of a period, as a user metric needs", m.GetMaxWindows(), period/window)
		}
	} else if m.GetMaxPerWindow() != 0 || m.GetMaxWindows() != 0 {
		return errors.New("contributions are for metrics whose unit is user")
	}
	g, err := sketch.GridFromProto(m.GetGrid())
	if err != nil {
		return err
	}
	if g.Len() > maxBuckets {
		return fmt.Errorf("grid %v has %d buckets: at most %d can be released", g, g.Len(), maxBuckets)
	}
	return nil
}

// Format writes a policy as YAML that Parse reads back.
func Format(p *quietilev1.Policy) ([]byte, error) {
	var f file
	for _, s := range p.GetSources() {
		f.Sources = append(f.Sources, source{
			Name: s.GetName(), Unit: unitName(s.GetUnit()),
			Epsilon: decimal(s.GetBudgetNanoEpsilon()), Period: duration(s.GetPeriodNanos()),
		})
	}
	for _, m := range p.GetMetrics() {
		window, lateness := duration(m.GetWindowNanos()), duration(m.GetLatenessNanos())
		q := metric{Name: m.GetName(), Source: m.GetSource(), Window: &window, Clock: "stream", Representative: "lower"}
		if m.GetRepresentative() == quietilev1.Representative_REPRESENTATIVE_WITHIN {
			q.Representative = "within"
		}
		if m.GetClock() == quietilev1.Clock_CLOCK_MANUAL {
			q.Clock = "manual"
		} else {
			q.Lateness = &lateness
		}
		if m.GetUnit() == quietilev1.Unit_UNIT_USER {
			q.Contributions = &contributions{PerWindow: m.GetMaxPerWindow(), Windows: m.GetMaxWindows()}
		}
		switch k := m.GetGrid().GetKind().(type) {
		case *quietilev1.Grid_Exponential:
			q.Grid.Exponential = &exponentialGrid{Scale: k.Exponential.GetScale(), Min: k.Exponential.Min, Max: k.Exponential.Max}
		case *quietilev1.Grid_Linear:
			q.Grid.Linear = &linearGrid{Lower: k.Linear.GetLower(), Upper: k.Linear.GetUpper(), Bins: k.Linear.GetBins()}
		case *quietilev1.Grid_Explicit:
			q.Grid.Explicit = k.Explicit.GetBreaks()
		}
		f.Metrics = append(f.Metrics, q)
	}
	return yaml.Marshal(f)
}

func unitName(u quietilev1.Unit) string {
	if u == quietilev1.Unit_UNIT_USER {
		return "user"
	}
	return "event"
}

// Change returns what wanted, a valid policy, adds to or changes in current, which holds the latest
// version of everything declared. What wanted does not name stays.
//
// A new metric has version 1 and is in force for all time, so that historic data can be loaded. A
// changed one has the next version, in force from the start of the next budget period. A source's unit
// and period, and a metric's source, never change; a source's budget may.
func Change(current, wanted *quietilev1.Policy, now time.Time) (*quietilev1.Policy, error) {
	change := new(quietilev1.Policy)
	sources := map[string]*quietilev1.Source{}
	for _, s := range current.GetSources() {
		sources[s.GetName()] = s
	}
	for _, s := range wanted.GetSources() {
		old := sources[s.GetName()]
		switch {
		case old != nil && old.GetUnit() != s.GetUnit():
			return nil, fmt.Errorf("source %q: unit %s cannot become %s", s.GetName(), unitName(old.GetUnit()), unitName(s.GetUnit()))
		case old != nil && old.GetPeriodNanos() != s.GetPeriodNanos():
			return nil, fmt.Errorf("source %q: period %v cannot become %v", s.GetName(), time.Duration(old.GetPeriodNanos()), time.Duration(s.GetPeriodNanos()))
		case old == nil || !proto.Equal(old, s):
			change.Sources = append(change.Sources, s)
		}
	}
	metrics := map[string]*quietilev1.Metric{}
	for _, m := range current.GetMetrics() {
		metrics[m.GetName()] = m
	}
	for _, m := range wanted.GetMetrics() {
		old, next := metrics[m.GetName()], proto.CloneOf(m)
		if old == nil {
			next.Version, next.EffectiveFromUnixNano = 1, math.MinInt64
			change.Metrics = append(change.Metrics, next)
			continue
		}
		next.Version, next.EffectiveFromUnixNano = old.GetVersion(), old.GetEffectiveFromUnixNano()
		if proto.Equal(old, next) {
			continue
		}
		if old.GetSource() != m.GetSource() {
			return nil, fmt.Errorf("metric %q: source %q cannot become %q", m.GetName(), old.GetSource(), m.GetSource())
		}
		next.Version++
		next.EffectiveFromUnixNano = max(PeriodStart(m.GetPeriodNanos(), now.UnixNano())+m.GetPeriodNanos(), old.GetEffectiveFromUnixNano())
		change.Metrics = append(change.Metrics, next)
	}
	return change, nil
}
