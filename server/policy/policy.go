// Package policy reads, validates and compares what operators declare: the sources of data with their
// privacy budgets, and the metrics on them.
//
// A policy file is YAML:
//
//	sources:
//	  - name: shop      # a population of users, or a body of events, that one budget protects
//	    unit: user      # user | event
//	    epsilon: 4      # the budget of each period, taken exactly
//	    delta: 1e-6     # optional: the budget is (epsilon, delta), and losses also add up as rho
//	    period: 24h     # aligned to the Unix epoch
//	metrics:
//	  - name: checkout-latency
//	    source: shop
//	    grid: {exponential: {scale: 5, min: 0.001, max: 1000}}
//	                            # or {linear: {lower: 0, upper: 128, bins: 8192}} or {explicit: [0, 1, 5]}
//	    representative: within  # lower | within; by default within if the grid is exponential, else lower
//	    clock: stream           # stream | manual; by default stream
//	    window: 1h              # by default 1h; the period is a multiple of it
//	    lateness: 1m            # by default 1m; only with clock stream
//	    contributions: {per_window: 3, windows: 24} # if the unit is user, and then both
//	    budget: {epsilon: 1, delta: 1e-7} # optional: what its own releases may spend of the source's budget
//	    records: 20000          # optional: about how many a window has, as far as is public
//	    release:                # optional: what is believed before a release; by default a proxy
//	      prior: proxy          # proxy | previous | dp-ftrl | curve | public:FILE, a dump | uniform | cauchy:location=0,scale=1 …
//	      robust: 0.1           # the share of the robust part
//	      optimiser: ridge      # ridge | cocob | sgd
//	      features: [hour, weekday] # or [none]; by default hour if the window has 12 hours or less
//	      covariates: [rain]    # numbers that come with each question, and are public
//	      share: 0.1            # of each release's budget that dp-ftrl takes
package policy

import (
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/subject"
	"github.com/quietile/quietile/sketch"
)

const (
	maxPerWindow = 1_000_000
	maxBuckets   = 1 << 20
	maxLateness  = 365 * 24 * time.Hour
	// maxBudget is the largest ε that a policy file can name.
	maxBudget = dp.Epsilon(1000_000_000_000)
	// one is the δ that no budget reaches.
	one = budget.Delta(1_000_000_000_000_000_000)
	// maxRecords is the largest hint that a release takes.
	maxRecords = 1 << 40
)

// Validate checks a policy, which may come from anywhere. Every error names the source or metric, the
// field and the value. Versions are not looked at.
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

const nameRule = "lower-case letters, digits, _ and -, starting with a letter or digit, at most 64 of them"

func validateSource(s *quietilev1.Source) error {
	switch {
	case !subject.ValidMetric(s.GetName()):
		return fmt.Errorf("name %q is not %s", s.GetName(), nameRule)
	case s.GetUnit() != quietilev1.Unit_UNIT_EVENT && s.GetUnit() != quietilev1.Unit_UNIT_USER:
		return fmt.Errorf("unit %v is neither event nor user", s.GetUnit())
	case time.Duration(s.GetPeriodNanos()) < time.Second:
		return fmt.Errorf("period %v is less than 1s", time.Duration(s.GetPeriodNanos()))
	}
	return validateBudget("", dp.Epsilon(s.GetBudgetNanoEpsilon()), budget.Delta(s.GetBudgetAttoDelta()))
}

// validateBudget checks a budget whose fields have names that begin with a prefix.
func validateBudget(prefix string, e dp.Epsilon, d budget.Delta) error {
	switch {
	case e <= 0:
		return fmt.Errorf("%sepsilon %v is not more than 0", prefix, e)
	case e > maxBudget:
		return fmt.Errorf("%sepsilon %v is more than %v", prefix, e, maxBudget)
	case d < 0:
		return fmt.Errorf("%sdelta %v is negative", prefix, d)
	case d >= one:
		return fmt.Errorf("%sdelta %v is not less than 1", prefix, d)
	}
	return nil
}

// withinSource says what of a metric's own budget is more than its source has: such a budget would say nothing.
func withinSource(m *quietilev1.Metric, s *quietilev1.Source) error {
	if e, most := dp.Epsilon(m.GetBudgetNanoEpsilon()), dp.Epsilon(s.GetBudgetNanoEpsilon()); e > most {
		return fmt.Errorf("budget.epsilon %v is more than its source's, %v", e, most)
	}
	if d, most := budget.Delta(m.GetBudgetAttoDelta()), budget.Delta(s.GetBudgetAttoDelta()); d > most {
		return fmt.Errorf("budget.delta %v is more than its source's, %v", d, most)
	}
	return nil
}

func validateMetric(m *quietilev1.Metric, s *quietilev1.Source) error {
	window, period := m.GetWindowNanos(), m.GetPeriodNanos()
	switch {
	case !subject.ValidMetric(m.GetName()):
		return fmt.Errorf("name %q is not %s", m.GetName(), nameRule)
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
	case m.GetLatenessNanos() < 0 || m.GetLatenessNanos() > int64(maxLateness):
		return fmt.Errorf("lateness %v is outside 0s to 365d", time.Duration(m.GetLatenessNanos()))
	case m.GetClock() == quietilev1.Clock_CLOCK_MANUAL && m.GetLatenessNanos() != 0:
		return fmt.Errorf("lateness %v with clock manual: windows are sealed by command, nothing is late before", time.Duration(m.GetLatenessNanos()))
	case m.GetRepresentative() != quietilev1.Representative_REPRESENTATIVE_LOWER && m.GetRepresentative() != quietilev1.Representative_REPRESENTATIVE_WITHIN:
		return fmt.Errorf("representative %v is neither lower nor within", m.GetRepresentative())
	case m.GetRecords() > maxRecords:
		return fmt.Errorf("records %d is more than %d", m.GetRecords(), int64(maxRecords))
	}
	if e, d := dp.Epsilon(m.GetBudgetNanoEpsilon()), budget.Delta(m.GetBudgetAttoDelta()); e != 0 || d != 0 {
		if err := validateBudget("budget.", e, d); err != nil {
			return err
		}
		if err := withinSource(m, s); err != nil {
			return err
		}
	}
	if s.GetUnit() == quietilev1.Unit_UNIT_USER {
		switch {
		case m.GetMaxPerWindow() < 1 || m.GetMaxPerWindow() > maxPerWindow:
			return fmt.Errorf("contributions.per_window %d is outside 1 to %d, as a user metric needs", m.GetMaxPerWindow(), maxPerWindow)
		case m.GetMaxWindows() < 1 || int64(m.GetMaxWindows()) > period/window:
			return fmt.Errorf("contributions.windows %d is outside 1 to the %d windows of a period, as a user metric needs", m.GetMaxWindows(), period/window)
		}
	} else if m.GetMaxPerWindow() != 0 || m.GetMaxWindows() != 0 {
		return fmt.Errorf("contributions.per_window %d and contributions.windows %d are for metrics whose unit is user", m.GetMaxPerWindow(), m.GetMaxWindows())
	}
	g, err := sketch.GridFromProto(m.GetGrid())
	if err != nil {
		return err
	}
	if g.Len() > maxBuckets {
		return fmt.Errorf("grid has %d buckets, and at most %d can be released", g.Len(), maxBuckets)
	}
	return validateRelease(m, g)
}

// notice is how long before a period begins a change must be declared to be in force in it. Samples may be
// a minute ahead of the stream's time, and the change must stand in every partition's log before them.
const notice = 2 * time.Minute

// Change returns what wanted, a valid policy, adds to or changes in current, which holds the latest
// version of everything declared. What wanted does not name stays.
//
// A new metric has version 1 and is in force for all time, so that historic data can be loaded. A
// changed one has the next version, in force from the start of the first budget period after now. A
// source's unit and period, and a metric's source, never change, and an error names what would; a source's
// budget may, at once, but not below what a metric of it has as its own, which is part of the metric's version.
// Neither policy is changed.
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
			return nil, fmt.Errorf("source %q: period %s cannot become %s", s.GetName(), FormatDuration(time.Duration(old.GetPeriodNanos())), FormatDuration(time.Duration(s.GetPeriodNanos())))
		case old == nil || !proto.Equal(old, s):
			change.Sources = append(change.Sources, proto.CloneOf(s))
		}
	}
	metrics := map[string]*quietilev1.Metric{}
	for _, m := range current.GetMetrics() {
		metrics[m.GetName()] = m
		if slices.ContainsFunc(wanted.GetMetrics(), func(w *quietilev1.Metric) bool { return w.GetName() == m.GetName() }) {
			continue
		}
		for _, s := range change.GetSources() {
			if s.GetName() != m.GetSource() {
				continue
			}
			if err := withinSource(m, s); err != nil {
				return nil, fmt.Errorf("metric %q, which stays: %w", m.GetName(), err)
			}
		}
	}
	for _, m := range wanted.GetMetrics() {
		old := metrics[m.GetName()]
		next, err := Next(old, m, now)
		if err != nil {
			return nil, err
		}
		if next.GetVersion() != old.GetVersion() {
			change.Metrics = append(change.Metrics, next)
		}
	}
	return change, nil
}

// Next returns the version that declaring wanted, a valid metric, makes after old, its latest version,
// which is nil for a new metric. The version and the moment from which on it is in force are filled in as
// [Change] says; when wanted declares what old does, they are old's. Another name, source, unit or period
// than old's is an error that names both. Neither metric is changed.
func Next(old, wanted *quietilev1.Metric, now time.Time) (*quietilev1.Metric, error) {
	next := proto.CloneOf(wanted)
	if old == nil {
		next.Version, next.EffectiveFromUnixNano = 1, math.MinInt64
		return next, nil
	}
	next.Version, next.EffectiveFromUnixNano = old.GetVersion(), old.GetEffectiveFromUnixNano()
	if proto.Equal(old, next) {
		return next, nil
	}
	switch {
	case old.GetName() != wanted.GetName():
		return nil, fmt.Errorf("metric %q: name cannot become %q", old.GetName(), wanted.GetName())
	case old.GetSource() != wanted.GetSource():
		return nil, fmt.Errorf("metric %q: source %q cannot become %q", old.GetName(), old.GetSource(), wanted.GetSource())
	case old.GetUnit() != wanted.GetUnit():
		return nil, fmt.Errorf("metric %q: unit %s cannot become %s", old.GetName(), unitName(old.GetUnit()), unitName(wanted.GetUnit()))
	case old.GetPeriodNanos() != wanted.GetPeriodNanos():
		return nil, fmt.Errorf("metric %q: period %s cannot become %s", old.GetName(), FormatDuration(time.Duration(old.GetPeriodNanos())), FormatDuration(time.Duration(wanted.GetPeriodNanos())))
	}
	next.Version++
	// Not before the version it follows, which may have been declared by a clock that was ahead; and
	// not in a period for which samples ahead of their time may have come already.
	next.EffectiveFromUnixNano = max(periodEnd(wanted.GetPeriodNanos(), now.Add(notice).UnixNano()), old.GetEffectiveFromUnixNano())
	return next, nil
}
