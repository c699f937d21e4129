// Package budget adds up what releases cost the units whose data they used.
//
// A budget belongs to a source of data and to a period of its time, and never to a metric's name: the
// metrics of a source compose, and deleting a metric gives nothing back. Epsilons are integers, so that
// sums are exact.
package budget

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/quietile/quietile/dp"
)

// ErrExceeded is wrapped by every [ExceededError].
var ErrExceeded = errors.New("privacy budget exceeded")

// Unit is what one neighbour adds or removes.
type Unit int

const (
	// Event is one record, which lies in one window of a metric.
	Event Unit = iota
	// User is one named origin with records in at most k windows of a metric and period.
	User
)

// String returns "event" or "user".
func (u Unit) String() string {
	if u == User {
		return "user"
	}
	return "event"
}

// Source is a body of data, or a population of users, that one budget protects.
type Source struct {
	Name string
	Unit Unit
	// Budget of each period: the most that one unit may lose by all releases of the period's data.
	Budget dp.Epsilon
	// Period is how much event time one budget covers: data of another period has another budget. Periods
	// are aligned to the Unix epoch. It is more than 0.
	Period time.Duration
}

// covers says what is wrong with the period of a charge unless it is the source's period that holds the
// window. The charge would else spend another budget than the one that protects the window's data.
func (s Source) covers(c Charge) error {
	window, length := c.Window.UnixNano(), int64(s.Period)
	if length <= 0 {
		return fmt.Errorf("charge %s: period %v of source %s is not more than 0", c.ReleaseID, s.Period, s.Name)
	}
	into := window % length
	if into < 0 {
		into += length
	}
	start := int64(math.MinInt64) // where a period starts that began earlier
	if window >= math.MinInt64+into {
		start = window - into
	}
	if start != c.Period.UnixNano() {
		return fmt.Errorf("charge %s: period from %s is not the one of source %s that holds the window from %s, which is from %s",
			c.ReleaseID, clock(c.Period), s.Name, clock(c.Window), clock(time.Unix(0, start)))
	}
	return nil
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Charge is what one release cost.
type Charge struct {
	ReleaseID string // names the release among all releases
	Source    string
	Metric    string
	Window    time.Time // start of the window that was released
	Period    time.Time // start of the budget period it lies in
	// Windows is k, the most windows of the metric in the period that hold records of one unit: 1 for
	// events.
	Windows int
	Epsilon dp.Epsilon // the pure loss, which is what budgets limit
	Delta   float64    // of the approximate loss; 0 for a pure release
	NanoRho int64      // the zero-concentrated loss in billionths, rounded up
}

// check says what is malformed in a charge.
func (c Charge) check() error {
	switch {
	case c.ReleaseID == "":
		return errors.New("charge: the release id is empty")
	case c.Source == "":
		return fmt.Errorf("charge %s: the source is empty", c.ReleaseID)
	case c.Metric == "":
		return fmt.Errorf("charge %s: the metric is empty", c.ReleaseID)
	case c.Windows < 1:
		return fmt.Errorf("charge %s: windows %d is less than 1", c.ReleaseID, c.Windows)
	case c.Epsilon < 0:
		return fmt.Errorf("charge %s: epsilon %v is negative", c.ReleaseID, c.Epsilon)
	case !(c.Delta >= 0 && c.Delta <= 1):
		return fmt.Errorf("charge %s: delta %v is outside 0 to 1", c.ReleaseID, c.Delta)
	case c.NanoRho < 0:
		return fmt.Errorf("charge %s: rho %d is negative", c.ReleaseID, c.NanoRho)
	}
	return nil
}

// normal returns c with times that are equal exactly if they are the same moment.
func (c Charge) normal() Charge {
	c.Window, c.Period = time.Unix(0, c.Window.UnixNano()).UTC(), time.Unix(0, c.Period.UnixNano()).UTC()
	return c
}

// ExceededError says that a charge is more than what is left. It wraps [ErrExceeded].
type ExceededError struct {
	Source string
	Period time.Time  // start of the budget period
	Asked  dp.Epsilon // by how much the charge would raise the loss
	Left   dp.Epsilon // the budget less what is spent, at least 0
}

// Error names the source, the period, what was asked and what is left.
func (e *ExceededError) Error() string {
	return fmt.Sprintf("%v: the release would add epsilon %v to what source %s lost in the period from %s, and %v is left",
		ErrExceeded, e.Asked, e.Source, clock(e.Period), e.Left)
}

// Unwrap returns [ErrExceeded].
func (e *ExceededError) Unwrap() error { return ErrExceeded }

// Account holds charges. It is not safe for concurrent use.
type Account struct {
	charges map[string]Charge // by release id
	periods map[periodKey]map[string]*spending
}

type periodKey struct {
	source string
	start  int64 // nanoseconds since the Unix epoch
}

func keyOf(source string, period time.Time) periodKey { return periodKey{source, period.UnixNano()} }

// spending is what was spent on one metric in one period.
type spending struct {
	windows map[int64]dp.Epsilon // totals by start of the window
	k       int                  // the largest of any charge
}

// New returns an account without charges.
func New() *Account {
	return &Account{charges: map[string]Charge{}, periods: map[periodKey]map[string]*spending{}}
}

// Add counts a charge. The same charge once more, known by its release id, changes nothing. Another
// charge under the id of an earlier one, and a malformed one, are errors and count nothing.
func (a *Account) Add(c Charge) error {
	counted, err := a.counted(c)
	if err != nil || counted {
		return err
	}
	a.charges[c.ReleaseID] = c.normal()
	key := keyOf(c.Source, c.Period)
	metrics := a.periods[key]
	if metrics == nil {
		metrics = map[string]*spending{}
		a.periods[key] = metrics
	}
	s := metrics[c.Metric]
	if s == nil {
		s = &spending{windows: map[int64]dp.Epsilon{}}
		metrics[c.Metric] = s
	}
	s.add(c)
	return nil
}

// counted tells whether a charge was added before.
func (a *Account) counted(c Charge) (bool, error) {
	if err := c.check(); err != nil {
		return false, err
	}
	old, ok := a.charges[c.ReleaseID]
	if ok && old != c.normal() {
		return false, fmt.Errorf("charge %s: %+v was counted under this release id, not %+v", c.ReleaseID, old, c.normal())
	}
	return ok, nil
}

func (s *spending) add(c Charge) {
	s.k = max(s.k, c.Windows)
	w := c.Window.UnixNano()
	s.windows[w] = plus(s.windows[w], c.Epsilon)
}

// plus adds what is not negative without wrapping around.
func plus(a, b dp.Epsilon) dp.Epsilon {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// loss is the most that one unit can have lost: the k largest totals of windows, since it has records
// in at most k of them (PRIVACY P7).
func (s *spending) loss() dp.Epsilon {
	totals := slices.Sorted(maps.Values(s.windows))
	var sum dp.Epsilon
	for _, e := range totals[max(0, len(totals)-s.k):] {
		sum = plus(sum, e)
	}
	return sum
}

// Spent returns the most that one unit of a source can have lost in the period that starts at a moment:
// the sum over the source's metrics of the k largest totals of windows, k being the largest that a
// charge on the metric in the period came with. A sum beyond int64 is its largest value. It takes
// O(n log n) for n windows with charges.
func (a *Account) Spent(source string, period time.Time) dp.Epsilon {
	var sum dp.Epsilon
	for _, s := range a.periods[keyOf(source, period)] {
		sum = plus(sum, s.loss())
	}
	return sum
}

// Left returns the budget of a source in the period that starts at a moment less what is spent, and 0
// when that is less. A charge of at most that fits, as long as the metric's k stays. A larger one may fit
// too, on a window that is not among the k costliest: see [Account.Check].
func (a *Account) Left(s Source, period time.Time) dp.Epsilon {
	spent := a.Spent(s.Name, period)
	if spent >= s.Budget {
		return 0
	}
	return s.Budget - spent
}

// Charges returns what was counted on a source, by period, window, metric and release id. It takes
// O(n log n) for n charges on any source.
func (a *Account) Charges(source string) []Charge {
	var charges []Charge
	for _, c := range a.charges {
		if c.Source == source {
			charges = append(charges, c)
		}
	}
	slices.SortFunc(charges, func(x, y Charge) int {
		return cmp.Or(x.Period.Compare(y.Period), x.Window.Compare(y.Window),
			cmp.Compare(x.Metric, y.Metric), cmp.Compare(x.ReleaseID, y.ReleaseID))
	})
	return charges
}

// Check returns an [*ExceededError] if the loss after the charge would be above the source's budget.
// It counts nothing. What [Account.Add] refuses, a charge of another source, k other than 1 for a source
// of events, and another period than the source's that holds the window are errors too.
func (a *Account) Check(s Source, c Charge) error {
	counted, err := a.counted(c)
	if err != nil {
		return err
	}
	if c.Source != s.Name {
		return fmt.Errorf("charge %s: source %s is not %s", c.ReleaseID, c.Source, s.Name)
	}
	if s.Unit == Event && c.Windows != 1 {
		return fmt.Errorf("charge %s: windows %d is not 1, and an event of source %s lies in one window of a metric", c.ReleaseID, c.Windows, s.Name)
	}
	if err := s.covers(c); err != nil {
		return err
	}
	before := a.Spent(s.Name, c.Period)
	after := before
	if !counted {
		after = a.spentWith(c)
	}
	if after > s.Budget {
		return &ExceededError{Source: s.Name, Period: c.Period, Asked: after - before, Left: a.Left(s, c.Period)}
	}
	return nil
}

// spentWith is what Spent would return after Add(c).
func (a *Account) spentWith(c Charge) dp.Epsilon {
	with := &spending{windows: map[int64]dp.Epsilon{}}
	var sum dp.Epsilon
	for metric, s := range a.periods[keyOf(c.Source, c.Period)] {
		if metric == c.Metric {
			with = &spending{windows: maps.Clone(s.windows), k: s.k}
		} else {
			sum = plus(sum, s.loss())
		}
	}
	with.add(c)
	return plus(sum, with.loss())
}
