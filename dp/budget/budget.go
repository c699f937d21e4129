// Package budget adds up what releases cost the units whose data they used.
//
// A budget belongs to a source of data and to a period of its time, and never to a metric's name: the
// metrics of a source compose, and deleting a metric gives nothing back. Epsilons are integers, so that
// sums are exact.
package budget

import (
	"errors"
	"fmt"
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

// Source is a body of data that one budget protects.
type Source struct {
	Name string
	Unit Unit
	// Budget of each period.
	Budget dp.Epsilon
	// Period is how long a budget lasts: data of another period has another budget.
	Period time.Duration
}

// Charge is what one release cost.
type Charge struct {
	ReleaseID string
	Source    string
	Metric    string
	Window    time.Time // start of the window that was released
	Period    time.Time // start of the budget period it lies in
	// Windows is k, the most windows of the metric in the period that hold records of one unit: 1 for
	// events.
	Windows int
	Epsilon dp.Epsilon
	Delta   float64
	NanoRho int64
}

func (c Charge) check() error {
	switch {
	case c.ReleaseID == "":
		return errors.New("charge: the release id is empty")
	case c.Source == "" || c.Metric == "":
		return fmt.Errorf("charge %s: source %q or metric %q is empty", c.ReleaseID, c.Source, c.Metric)
	case c.Windows < 1:
		return fmt.Errorf("charge %s: windows %d is less than 1", c.ReleaseID, c.Windows)
	case c.Epsilon < 0:
		return fmt.Errorf("charge %s: epsilon %v is negative", c.ReleaseID, c.Epsilon)
	}
	return nil
}

// ExceededError says that a charge is more than what is left. It wraps [ErrExceeded].
type ExceededError struct {
	Source string
	Period time.Time
	Asked  dp.Epsilon // by how much the charge would raise the loss
	Left   dp.Epsilon
}

func (e *ExceededError) Error() string {
	return fmt.Sprintf("%v: the release would add epsilon %v to what source %s lost in the period from %s, and %v is left",
		ErrExceeded, e.Asked, e.Source, e.Period.UTC().Format(time.RFC3339), e.Left)
}

func (e *ExceededError) Unwrap() error { return ErrExceeded }

// Account holds charges. It is not safe for concurrent use.
type Account struct {
	seen    map[string]bool // by release id
	periods map[periodKey]map[string]*spending
}

type periodKey struct {
	source string
	start  int64 // nanoseconds since the Unix epoch
}

// spending is what was spent on one metric in one period.
type spending struct {
	windows map[int64]dp.Epsilon // by start
	k       int
}

// New returns an account without charges.
func New() *Account {
	return &Account{seen: map[string]bool{}, periods: map[periodKey]map[string]*spending{}}
}

// Add counts a charge. A charge with a release id that was counted before changes nothing.
func (a *Account) Add(c Charge) error {
	if err := c.check(); err != nil {
		return err
	}
	if a.seen[c.ReleaseID] {
		return nil
	}
	a.seen[c.ReleaseID] = true
	key := periodKey{c.Source, c.Period.UnixNano()}
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
	s.k = max(s.k, c.Windows)
	w := c.Window.UnixNano()
	s.windows[w] = plus(s.windows[w], c.Epsilon)
	return nil
}

// plus adds without wrapping around.
func plus(a, b dp.Epsilon) dp.Epsilon {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// loss is the most that one unit can have lost: the k largest totals of windows, since it has records
// in at most k of them (PRIVACY P7).
func (s *spending) loss() dp.Epsilon {
	totals := make([]dp.Epsilon, 0, len(s.windows))
	for _, e := range s.windows {
		totals = append(totals, e)
	}
	slices.Sort(totals)
	var sum dp.Epsilon
	for _, e := range totals[max(0, len(totals)-s.k):] {
		sum = plus(sum, e)
	}
	return sum
}

// Spent returns the most that one unit of a source can have lost in a period: the sum over the source's
// metrics of the k largest totals of windows.
func (a *Account) Spent(source string, period time.Time) dp.Epsilon {
	var sum dp.Epsilon
	for _, s := range a.periods[periodKey{source, period.UnixNano()}] {
		sum = plus(sum, s.loss())
	}
	return sum
}

// Left returns what is left of a source's budget in a period.
func (a *Account) Left(s Source, period time.Time) dp.Epsilon {
	return max(0, s.Budget-a.Spent(s.Name, period))
}

// Check returns an [ExceededError] if the charge would raise the loss above the source's budget. It
// counts nothing.
func (a *Account) Check(s Source, c Charge) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Source != s.Name {
		return fmt.Errorf("charge %s: source %s is not %s", c.ReleaseID, c.Source, s.Name)
	}
	before := a.Spent(s.Name, c.Period)
	after := before
	var old *spending
	if metrics := a.periods[periodKey{c.Source, c.Period.UnixNano()}]; metrics != nil {
		old = metrics[c.Metric]
	}
	with := &spending{windows: map[int64]dp.Epsilon{}, k: c.Windows}
	if old != nil {
		after -= old.loss()
		with.k = max(with.k, old.k)
		for w, e := range old.windows {
			with.windows[w] = e
		}
	}
	w := c.Window.UnixNano()
	with.windows[w] = plus(with.windows[w], c.Epsilon)
	after = plus(after, with.loss())
	if after > s.Budget {
		return &ExceededError{Source: s.Name, Period: c.Period, Asked: after - before, Left: a.Left(s, c.Period)}
	}
	return nil
}
