// Package budget adds up what releases cost the units whose data they used.
//
// A budget belongs to a source of data and to a period of its time, and never to a metric's name: the
// metrics of a source compose, and deleting a metric gives nothing back. What a period leaves is not carried
// over. Epsilon, rho and delta are integers, so that sums are exact. The theorems are in
// docs/proofs/accounting.md.
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

// ErrExceeded is wrapped by every [ExceededError] and by [ErrNotPure].
var ErrExceeded = errors.New("privacy budget exceeded")

// ErrNotPure says that a charge has no pure loss, as one for Gaussian noise, and that its source's budget is in
// epsilon alone. It wraps [ErrExceeded].
var ErrNotPure = fmt.Errorf("%w: the release is not pure", ErrExceeded)

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
	// Delta is the δ of the budget. If it is 0, the budget is in ε alone: losses add up as pure ones, and a
	// charge that is not pure is refused. Otherwise all releases of a period are (Budget, Delta)-differentially
	// private for each unit: losses add up as pure ones or as zero-concentrated ones, whichever admits more.
	Delta Delta
	// Approximate is the part of Delta that charges with a δ of their own may add up to; the rest converts ρ
	// to ε. It is from 0, which refuses such charges, to less than Delta.
	Approximate Delta
	// Period is how much event time one budget covers: data of another period has another budget. Periods
	// are aligned to the Unix epoch. It is more than 0.
	Period time.Duration
}

// Rho returns the most ρ that the charges of a period may add up to: what [RhoWithin] says about the budget
// and the part of its δ that charges do not use. It is 0 for a budget in ε alone.
func (s Source) Rho() Rho {
	if s.Delta == 0 {
		return 0
	}
	return RhoWithin(s.Budget, s.Delta-s.Approximate)
}

// fits tells whether a unit may lose l.
func (s Source) fits(l Loss) bool {
	// An analyst may choose between the two ways of adding up as the answers come: the proof covers that.
	pure := l.Epsilon <= s.Budget && l.Epsilon != Unlimited
	return pure || s.Delta > 0 && s.Budget >= 0 && l.Rho <= s.Rho() && l.Rho != Unlimited && l.Delta <= s.Approximate
}

// check says what is malformed in the budget.
func (s Source) check() error {
	if s.Delta < 0 || s.Delta >= deltaUnit {
		return fmt.Errorf("source %s: delta %v is outside 0 to 1", s.Name, s.Delta)
	}
	if s.Approximate < 0 || s.Approximate > 0 && s.Approximate >= s.Delta {
		return fmt.Errorf("source %s: approximate %v is not from 0 to less than delta %v", s.Name, s.Approximate, s.Delta)
	}
	return nil
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

// Loss is what a release, or many, cost one unit: a pure loss, and a zero-concentrated one that may fail
// with probability δ. Both bounds hold.
type Loss struct {
	Epsilon dp.Epsilon // of pure differential privacy; Unlimited if there is none
	Rho     Rho        // of δ-approximate zero-concentrated differential privacy
	Delta   Delta
}

// plus adds losses of releases about the same data, which may be chosen by what came before.
func (l Loss) plus(other Loss) Loss {
	return Loss{saturated(l.Epsilon, other.Epsilon), l.Rho.plus(other.Rho), l.Delta.plus(other.Delta)}
}

// EpsilonAt returns the least ε that releases fixed beforehand are known to keep with δ, rounded up: the pure loss,
// or what [Rho.Epsilon] says of ρ and the part of δ that the loss does not use. [Unlimited] if there is none.
func (l Loss) EpsilonAt(d Delta) dp.Epsilon {
	if d < l.Delta {
		return l.Epsilon
	}
	return min(l.Epsilon, l.Rho.Epsilon(d-l.Delta))
}

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
	// Epsilon is the pure loss, or with Delta the approximate one. 0 with NanoRho means that there is none, as
	// with Gaussian noise.
	Epsilon dp.Epsilon
	// Delta of the approximate loss; 0 for a pure release and for Gaussian noise. It counts as its shortest
	// decimal, rounded up to 18 decimals; the mechanism must keep to that: see [Delta.Below].
	Delta float64
	// NanoRho is the zero-concentrated loss in billionths, rounded up; with Delta it may fail with that
	// probability. 0 means what Epsilon implies if this window is the only one of the release, ε²/2.
	NanoRho int64
}

// Loss returns what the release cost a unit with records in its window.
func (c Charge) Loss() Loss {
	l := Loss{c.Epsilon, Rho(c.NanoRho), deltaOf(c.Delta)}
	if l.Rho == 0 && c.Epsilon > 0 {
		// Only then: with ε/m in each of the m windows of one release, the ρ of each is more than (ε/m)²/2.
		l.Rho = RhoOfPure(c.Epsilon)
	}
	if c.Delta > 0 || c.Epsilon == 0 && c.NanoRho > 0 {
		l.Epsilon = Unlimited
	}
	return l
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
	Asked  dp.Epsilon // by how much the charge would raise the pure loss; Unlimited if it has none
	Left   dp.Epsilon // as Account.Left says
	// Delta is the δ of the budget. The rest is 0 if that is.
	Delta                 Delta
	AskedRho, LeftRho     Rho
	AskedDelta, LeftDelta Delta
}

// Error names the source, the period, what was asked and what is left.
func (e *ExceededError) Error() string {
	if e.Delta > 0 {
		return fmt.Sprintf("%v: the release would add rho %v and delta %v to what source %s lost in the period from %s, and rho %v and delta %v are left",
			ErrExceeded, e.AskedRho, e.AskedDelta, e.Source, clock(e.Period), e.LeftRho, e.LeftDelta)
	}
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
	windows map[int64]Loss // totals by start of the window
	k       int            // the largest of any charge
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
		s = &spending{windows: map[int64]Loss{}}
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
	s.windows[w] = s.windows[w].plus(c.Loss())
}

// loss is the most that one unit can have lost.
func (s *spending) loss() Loss { return worst(slices.Collect(maps.Values(s.windows)), s.k) }

// worst is the most that a unit with records in k of the windows can have lost, given their totals: in each
// measure the sum of the k largest (PRIVACY P7). It sorts totals.
func worst(totals []Loss, k int) Loss {
	var sum Loss
	rest := max(0, len(totals)-k)
	slices.SortFunc(totals, func(x, y Loss) int { return cmp.Compare(x.Epsilon, y.Epsilon) })
	for _, l := range totals[rest:] {
		sum.Epsilon = saturated(sum.Epsilon, l.Epsilon)
	}
	slices.SortFunc(totals, func(x, y Loss) int { return cmp.Compare(x.Rho, y.Rho) })
	for _, l := range totals[rest:] {
		sum.Rho = sum.Rho.plus(l.Rho)
	}
	slices.SortFunc(totals, func(x, y Loss) int { return cmp.Compare(x.Delta, y.Delta) })
	for _, l := range totals[rest:] {
		sum.Delta = sum.Delta.plus(l.Delta)
	}
	return sum
}

// Loss returns the most that one unit of a source can have lost in the period that starts at a moment, in
// each measure: the sum over the source's metrics of the k largest totals of windows, k being the largest
// that a charge on the metric in the period came with. Sums beyond int64 are [Unlimited]. It takes
// O(n log n) for n windows with charges.
func (a *Account) Loss(source string, period time.Time) Loss {
	var sum Loss
	for _, s := range a.periods[keyOf(source, period)] {
		sum = sum.plus(s.loss())
	}
	return sum
}

// Spent returns the pure part of [Account.Loss], which is [Unlimited] if a charge is not pure.
func (a *Account) Spent(source string, period time.Time) dp.Epsilon {
	return a.Loss(source, period).Epsilon
}

// Left returns an ε such that every pure charge of at most that fits the budget of a source in the period
// that starts at a moment, as long as the metric's k stays. For a budget in ε alone it is the budget less
// what is spent, at least 0; with δ it may be what the ρ that is left admits of any pure mechanism, whose ρ
// is at most ε²/2. A larger charge may fit too, if its ρ is less or if its window is not among the k costliest: see
// [Account.Check].
func (a *Account) Left(s Source, period time.Time) dp.Epsilon {
	spent := a.Loss(s.Name, period)
	left := max(0, s.Budget-min(spent.Epsilon, max(0, s.Budget)))
	if s.Delta > 0 && spent.Delta <= s.Approximate {
		left = max(left, pureWithin(max(0, s.Rho()-spent.Rho)))
	}
	return left
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
// of events, another period than the source's that holds the window, and a δ of the source that is out of
// range are errors too. A charge that is not pure is [ErrNotPure] if the budget is in ε alone.
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
	if err := s.check(); err != nil {
		return err
	}
	if s.Delta == 0 && c.Loss().Epsilon == Unlimited {
		return fmt.Errorf("charge %s: %w: it has rho %v and delta %v, and the budget of source %s is in epsilon alone",
			c.ReleaseID, ErrNotPure, c.Loss().Rho, c.Loss().Delta, s.Name)
	}
	before := a.Loss(s.Name, c.Period)
	after := before
	if !counted {
		after = a.lossWith(c)
	}
	if s.fits(after) {
		return nil
	}
	e := &ExceededError{Source: s.Name, Period: c.Period, Asked: after.Epsilon - before.Epsilon, Left: a.Left(s, c.Period)}
	if after.Epsilon == Unlimited {
		e.Asked = Unlimited
	}
	if s.Delta > 0 {
		e.Delta = s.Delta
		e.AskedRho, e.LeftRho = after.Rho-before.Rho, max(0, s.Rho()-before.Rho)
		e.AskedDelta, e.LeftDelta = after.Delta-before.Delta, max(0, s.Approximate-before.Delta)
	}
	return e
}

// lossWith is what Loss would return after Add(c).
func (a *Account) lossWith(c Charge) Loss {
	with := &spending{windows: map[int64]Loss{}}
	var sum Loss
	for metric, s := range a.periods[keyOf(c.Source, c.Period)] {
		if metric == c.Metric {
			with = &spending{windows: maps.Clone(s.windows), k: s.k}
		} else {
			sum = sum.plus(s.loss())
		}
	}
	with.add(c)
	return sum.plus(with.loss())
}
