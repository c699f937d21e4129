package budget

import (
	"fmt"
	"slices"
	"time"

	"github.com/quietile/quietile/dp"
)

// maxPlanned is the most windows of a period, and the most spans, that [Plan] goes through for a release.
const maxPlanned = 1 << 20

// Planned is a release that a schedule repeats in every period.
type Planned struct {
	Name   string // names the release in the schedule
	Source Source
	Metric string
	// Window is the length of the metric's windows, which divides the source's period.
	Window time.Duration
	// Contributions is k, the most windows of the metric in a period that hold records of one unit: 1 for events.
	Contributions int
	// Span is how many windows one release covers, from 1 to as many as a period has. The first span begins with
	// the period, the next Every ≥ 1 windows later, and so on, as long as they end with the period. Times ≥ 1 is
	// how many releases there are of each span, with different questions: the same question is answered from
	// the ledger.
	Span, Every, Times int
	// Cost of one release: see [Charge.Loss]. With a δ of its own the span must be one window.
	Cost Loss
}

// PlannedCost is what a planned release costs in each period.
type PlannedCost struct {
	// Window is what each release charges to each window of its span.
	Window Loss
	// Releases is how many releases there are, and Windows how many windows they charge.
	Releases, Windows int
	// Period is the most that one unit loses by them.
	Period Loss
	// Total is the most that one unit loses by them and by what stands before them in the schedule on the same
	// source, and Fits tells whether the source's budget admits that.
	Total Loss
	Fits  bool
}

// Plan returns what a schedule costs in each period, release by release. It says before anything is read what
// [Account.Check] would say while the schedule runs in its order, if the period has no other charges. A release
// over J windows of users charges ε/min(k, J) and ρ/min(k, J) to each, rounded up, and one of events ε and ρ
// (PRIVACY P7). Errors name the release and the field: values out of range, a period with more than 2²⁰
// windows, and sources or metrics of one name that differ. It takes O(w·log w) for each release on a metric with w
// windows in a period.
func Plan(schedule []Planned) ([]PlannedCost, error) {
	var costs []PlannedCost
	sources := map[string]Source{}
	metrics := map[[2]string]*plannedMetric{}
	for i, p := range schedule {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("release %q: %w", p.Name, err)
		}
		if slices.ContainsFunc(schedule[:i], func(q Planned) bool { return q.Name == p.Name }) {
			return nil, fmt.Errorf("release %q stands twice", p.Name)
		}
		if s, ok := sources[p.Source.Name]; ok && s != p.Source {
			return nil, fmt.Errorf("release %q: source %s is %+v, and %+v before", p.Name, s.Name, p.Source, s)
		}
		sources[p.Source.Name] = p.Source
		m := metrics[[2]string{p.Source.Name, p.Metric}]
		if m == nil {
			m = &plannedMetric{window: p.Window, k: p.Contributions, totals: make([]Loss, p.windows())}
			metrics[[2]string{p.Source.Name, p.Metric}] = m
		}
		if m.window != p.Window || m.k != p.Contributions {
			return nil, fmt.Errorf("release %q: metric %s has windows of %v and contributions in %d of them, and windows of %v and contributions in %d before",
				p.Name, p.Metric, p.Window, p.Contributions, m.window, m.k)
		}
		c := p.cost()
		alone := p.charge(c.Window)
		for w, l := range alone {
			m.totals[w] = m.totals[w].plus(l)
		}
		c.Period = worst(alone, p.Contributions)
		m.loss = worst(slices.Clone(m.totals), m.k)
		for name, other := range metrics {
			if name[0] == p.Source.Name {
				c.Total = c.Total.plus(other.loss)
			}
		}
		c.Fits = p.Source.fits(c.Total)
		costs = append(costs, c)
	}
	return costs, nil
}

// plannedMetric is a metric of a schedule.
type plannedMetric struct {
	window time.Duration
	k      int
	totals []Loss // of each window of a period
	loss   Loss   // of a unit
}

// windows is how many windows a period has.
func (p Planned) windows() int { return int(p.Source.Period / p.Window) }

func (p Planned) check() error {
	s := p.Source
	switch {
	case s.Period <= 0:
		return fmt.Errorf("period %v of source %s is not more than 0", s.Period, s.Name)
	case p.Window <= 0 || s.Period%p.Window != 0:
		return fmt.Errorf("window %v does not divide period %v of source %s", p.Window, s.Period, s.Name)
	case s.Period/p.Window > maxPlanned:
		return fmt.Errorf("window %v: a period of %v has more than %d of them", p.Window, s.Period, maxPlanned)
	case p.Contributions < 1:
		return fmt.Errorf("contributions %d is less than 1 window", p.Contributions)
	case s.Unit == Event && p.Contributions != 1:
		return fmt.Errorf("contributions %d is not 1 window, and an event of source %s lies in one window of a metric", p.Contributions, s.Name)
	case p.Span < 1 || p.Span > p.windows():
		return fmt.Errorf("span %d is outside 1 to the %d windows of a period", p.Span, p.windows())
	case p.Every < 1 || p.Every > p.windows():
		return fmt.Errorf("every %d is outside 1 to the %d windows of a period", p.Every, p.windows())
	case p.Times < 1 || p.Times > maxPlanned:
		return fmt.Errorf("times %d is outside 1 to %d", p.Times, maxPlanned)
	case p.Cost.Epsilon < 0 || p.Cost.Rho < 0 || p.Cost.Delta < 0:
		return fmt.Errorf("cost %+v is negative", p.Cost)
	case p.Cost.Delta > 0 && p.Span > 1:
		return fmt.Errorf("delta %v with span %d: a release with a delta of its own covers one window", p.Cost.Delta, p.Span)
	}
	return s.check()
}

// cost returns what does not depend on other releases.
func (p Planned) cost() PlannedCost {
	spans := (p.windows()-p.Span)/p.Every + 1
	c := PlannedCost{Window: p.Cost, Releases: spans * p.Times, Windows: (spans-1)*min(p.Every, p.Span) + p.Span}
	if share := int64(min(p.Contributions, p.Span)); p.Source.Unit == User && share > 1 {
		if p.Cost.Epsilon != Unlimited {
			c.Window.Epsilon = dp.Epsilon(over(int64(p.Cost.Epsilon), share))
		}
		if p.Cost.Rho != Unlimited {
			c.Window.Rho = Rho(over(int64(p.Cost.Rho), share))
		}
	}
	return c
}

// over returns n/d rounded up, for n ≥ 0 and d ≥ 1.
func over(n, d int64) int64 {
	q := n / d
	if n%d > 0 {
		q++
	}
	return q
}

// charge returns what each window of a period is charged, when each release charges l to each of its span.
func (p Planned) charge(l Loss) []Loss {
	windows := make([]Loss, p.windows())
	begin := make([]int, len(windows)+1) // how many more spans cover a window than the one before
	for first := 0; first+p.Span <= len(windows); first += p.Every {
		begin[first]++
		begin[first+p.Span]--
	}
	spans := 0
	for w := range windows {
		spans += begin[w]
		if w > 0 && begin[w] == 0 {
			windows[w] = windows[w-1]
			continue
		}
		n := spans * p.Times
		windows[w] = Loss{dp.Epsilon(times(int64(l.Epsilon), n, 1)), Rho(times(int64(l.Rho), n, 1)), Delta(times(int64(l.Delta), n, 1))}
	}
	return windows
}
