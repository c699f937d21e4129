// Package release answers questions about sealed windows with differential privacy, and pays for
// each answer from its source's budget.
//
// The order is what the guarantee rests on (PRIVACY P7): the charge is durable before any data is
// read, the answer is durable before it is returned, and nothing about either depends on the data.
package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	"github.com/quietile/quietile/dp/prior/learn"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/control"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/sketch"
)

// storeTimeout is how long the ledger may take to store an answer.
const storeTimeout = 30 * time.Second

// ErrNotSealed says that samples may still enter the window asked for.
var ErrNotSealed = errors.New("the window is not sealed")

// Service answers questions. It is safe for concurrent use.
type Service struct {
	store      *store.Store
	catalog    *control.Catalog
	partitions int
	slot       time.Duration
	now        func() time.Time

	// turn is held by the one release that is being made: the ledger has one writer, and so two that ask the same at once get the same.
	turn sync.Mutex
	// mu guards the ledger in memory. It is never held while data is read or an answer is drawn, which take time that depends on the
	// data: who asks for a budget or for an answer that is stored must not wait for that.
	mu     sync.Mutex
	ledger *Ledger
	// believers are what was learned, by metric, version and learner; with the ledger under mu.
	believers map[string]*believer
	// charged runs between the charge and the reading of data. Tests end the process there.
	charged func()
}

// New returns a service over a ledger that is open. A fresh answer is stored and returned at a multiple of the slot after its charge.
func New(s *store.Store, c *control.Catalog, l *Ledger, partitions int, slot time.Duration, charged func()) *Service {
	return &Service{store: s, catalog: c, partitions: partitions, slot: slot, now: time.Now, ledger: l, believers: map[string]*believer{}, charged: charged}
}

const (
	// stepTime is what a step of a release takes at most, three times what it does on a small machine.
	stepTime = 100 * time.Nanosecond
	// longest is the longest time that a question may take: then it is refused before it is paid for.
	longest = 10 * time.Second
)

// bound returns a time that a release takes at most, whatever the data: a multiple of the slot.
func (s *Service) bound(o dp.Options, g *sketch.Grid) time.Duration {
	work := time.Duration(min(dp.Work(o, g), uint64(math.MaxInt64/stepTime))) * stepTime
	return (work/s.slot + 1) * s.slot
}

// await waits until a time after a start, or if that has passed until the next slot.
func (s *Service) await(start time.Time, bound time.Duration) {
	late := max(time.Since(start)-bound, 0)
	if late > 0 {
		late = (late/s.slot + 1) * s.slot
	}
	time.Sleep(time.Until(start.Add(bound + late)))
}

// Release answers a question. fresh is false when the answer was bought before and costs nothing now.
// Errors wrap control.ErrInvalid, ErrNotSealed, control.ErrUnknownMetric or budget.ErrExceeded where the
// question is at fault.
func (s *Service) Release(ctx context.Context, q *quietilev1.ReleaseRequest) (r *quietilev1.ReleaseResult, fresh bool, err error) {
	ask, err := s.resolve(q)
	if err != nil {
		return nil, false, err
	}
	if a := s.stored(ask); a != nil {
		return arrange(a, q), false, nil
	}
	if err := s.price(ask); err != nil {
		return nil, false, err
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	if a := s.stored(ask); a != nil {
		return arrange(a, q), false, nil
	}
	var bought *quietilev1.ReleaseResult
	for {
		ask.entry.TimeUnixNano = s.now().UnixNano() // in the order of the turns, which is that of learning
		err = s.append(ctx, &quietilev1.LedgerRecord{Kind: &quietilev1.LedgerRecord_Entry{Entry: ask.entry}}, func() error {
			if bought = s.ledger.bought(ask); bought != nil {
				return errBought
			}
			if ask.prior == learn.FTRL && ask.answers != s.ledger.answered[ask.metric.GetName()] {
				return errMoved
			}
			return s.ledger.check(ask.source, ask.metric, ask.entry)
		})
		if !errors.Is(err, errMoved) {
			break
		}
		if err := s.price(ask); err != nil {
			return nil, false, err
		}
	}
	if errors.Is(err, errBought) {
		return arrange(bought, q), false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if s.charged != nil {
		s.charged()
	}
	// How long this takes depends on the data. Whoever waits for the turn, or asks for what is stored, must see nothing of it: the answer, or the error, is there at a time
	// that the question alone decides.
	start := time.Now()
	released, carry, err := s.draw(ask)
	s.await(start, s.bound(ask.opts, ask.grid))
	if err != nil {
		return nil, false, err
	}
	result := ask.result(released)
	// Another releaser's records do not matter any more: the charge stands. Nor does it matter whether somebody still waits, since how long an answer takes
	// depends on the data, and whether there is one must not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	err = s.append(ctx, &quietilev1.LedgerRecord{Kind: &quietilev1.LedgerRecord_Answer{Answer: result}}, func() error { return nil })
	if err != nil {
		return nil, false, err
	}
	// The answer is durable: now, and not before, it may be learned from. It is the same answer if that fails, and what was learned is made of the answers again.
	err = s.learned(ask, result)
	if ask.opts.Learn != nil {
		err = errors.Join(err, s.keep(ask, carry))
	}
	if err != nil {
		return nil, false, err
	}
	return arrange(result, q), true, nil
}

// draw reads the data and releases it.
func (s *Service) draw(q *question) (*dp.Result, dp.Carry, error) {
	data, err := s.store.Window(q.metric.GetName(), q.entry.GetWindowStartUnixNano(), q.metric.GetVersion(), q.grid)
	if err != nil {
		return nil, dp.Carry{}, err
	}
	if q.opts.Learn == nil {
		r, err := dp.Release(data, q.opts)
		return r, dp.Carry{}, err
	}
	carry, err := s.carry(q)
	if err != nil {
		return nil, carry, err
	}
	return dp.ReleaseAndLearn(data, q.opts, carry)
}

// stored returns the answer that was bought for a question like this one, or nil.
func (s *Service) stored(q *question) *quietilev1.ReleaseResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.bought(q)
}

// append appends to the ledger if check, which runs on the newest state of it, returns nil.
func (s *Service) append(ctx context.Context, r *quietilev1.LedgerRecord, check func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.append(ctx, r, check)
}

// errMoved ends an attempt to buy what was priced before the learner had seen the latest answer: its tree has moved on.
var errMoved = errors.New("an answer came that was not learned from")

// errBought ends an attempt to buy what another releaser has bought meanwhile.
var errBought = errors.New("the answer was bought already")

// window finds the window asked for, which must be sealed.
func (s *Service) window(q *quietilev1.ReleaseRequest) (m *quietilev1.Metric, start, end int64, err error) {
	if q.WindowTimeUnixNano != nil {
		if m, err = s.catalog.At(q.GetMetric(), q.GetWindowTimeUnixNano()); err != nil {
			return nil, 0, 0, err
		}
		start, end = policy.WindowOf(m, q.GetWindowTimeUnixNano())
		sealed, err := s.Sealed(m, end)
		if err != nil {
			return nil, 0, 0, err
		}
		if !sealed {
			return nil, 0, 0, fmt.Errorf("%w: metric %s, %s to %s", ErrNotSealed, m.GetName(), clock(start), clock(end))
		}
		return m, start, end, nil
	}
	versions, err := s.catalog.Versions(q.GetMetric())
	if err != nil {
		return nil, 0, 0, err
	}
	for i := len(versions) - 1; i >= 0; i-- {
		m = versions[i]
		through, err := s.sealedThrough(m)
		if err != nil {
			return nil, 0, 0, err
		}
		if through == math.MinInt64 {
			break
		}
		if i+1 < len(versions) {
			through = min(through, versions[i+1].GetEffectiveFromUnixNano())
		}
		// The last window that ends at or before through is the one before the window of through.
		end, _ = policy.WindowOf(m, through)
		start = end - m.GetWindowNanos()
		if start >= m.GetEffectiveFromUnixNano() {
			return m, start, end, nil
		}
	}
	return nil, 0, 0, fmt.Errorf("%w: metric %s has no sealed window yet", ErrNotSealed, q.GetMetric())
}

func clock(t int64) string { return time.Unix(0, t).UTC().Format(time.RFC3339) }

// Sealed says whether a metric's window that ends at end is sealed.
func (s *Service) Sealed(m *quietilev1.Metric, end int64) (bool, error) {
	through, err := s.sealedThrough(m)
	return end <= through, err
}

// sealedThrough returns the moment up to which windows of a metric are sealed in every partition,
// math.MinInt64 when none is. It depends on ticks and seals only, never on samples.
func (s *Service) sealedThrough(m *quietilev1.Metric) (int64, error) {
	through := int64(math.MaxInt64)
	for p := range s.partitions {
		var t int64
		if m.GetClock() == quietilev1.Clock_CLOCK_MANUAL {
			sealed, ok, err := s.store.SealedThrough(m.GetName(), p)
			if err != nil {
				return 0, err
			}
			if !ok {
				return math.MinInt64, nil
			}
			t = sealed
		} else {
			c, err := s.store.Cursor(p)
			if err != nil {
				return 0, err
			}
			if c.Watermark == 0 {
				return math.MinInt64, nil
			}
			t = c.Watermark - m.GetLatenessNanos()
		}
		through = min(through, t)
	}
	return through, nil
}

// arrange returns an answer with its quantiles in the order asked.
func arrange(a *quietilev1.ReleaseResult, q *quietilev1.ReleaseRequest) *quietilev1.ReleaseResult {
	byQ := map[float64]*quietilev1.ReleasedQuantile{}
	for _, v := range a.GetQuantiles() {
		byQ[v.GetQ()] = v
	}
	r := proto.CloneOf(a)
	r.Quantiles = nil
	for _, want := range q.GetQuantiles() {
		r.Quantiles = append(r.Quantiles, byQ[want])
	}
	return r
}

// Budget reports the budgets of a metric and of its source, or of all sources and metrics when metric is empty: each
// period that was charged, and the current one.
func (s *Service) Budget(metric string) (*quietilev1.BudgetReport, error) {
	declared := s.catalog.Policy()
	sources, names := declared.GetSources(), []string{metric}
	if metric == "" {
		names = nil
		for _, m := range declared.GetMetrics() {
			names = append(names, m.GetName())
		}
	}
	var metrics [][]*quietilev1.Metric
	for _, name := range names {
		versions, err := s.catalog.Versions(name)
		if err != nil {
			return nil, err
		}
		metrics = append(metrics, versions)
	}
	if metric != "" {
		sources = slices.DeleteFunc(sources, func(s *quietilev1.Source) bool { return s.GetName() != metrics[0][0].GetSource() })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	report := new(quietilev1.BudgetReport)
	for _, source := range sources {
		charges := s.charges(source.GetPeriodNanos(), func(e *quietilev1.LedgerEntry) bool { return e.GetSource() == source.GetName() })
		for start, list := range charges {
			b := periodBudget(s.ledger.account, sourceOf(source), start, list)
			b.Source, b.Unit = source.GetName(), source.GetUnit()
			report.Budgets = append(report.Budgets, b)
		}
	}
	for _, versions := range metrics {
		if !slices.ContainsFunc(versions, hasBudget) {
			continue
		}
		name, period := versions[0].GetName(), versions[0].GetPeriodNanos()
		charges := s.charges(period, func(e *quietilev1.LedgerEntry) bool { return e.GetRequest().GetMetric() == name })
		for start, list := range charges {
			m := inForce(versions, start)
			if !hasBudget(m) {
				continue
			}
			b := periodBudget(s.ledger.metrics, ownBudgetOf(m), start, list)
			b.Source, b.Metric, b.Unit = m.GetSource(), m.GetName(), m.GetUnit()
			report.Budgets = append(report.Budgets, b)
		}
	}
	slices.SortFunc(report.Budgets, func(a, b *quietilev1.SourceBudget) int {
		return cmp.Or(cmp.Compare(a.PeriodStartUnixNano, b.PeriodStartUnixNano), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Metric, b.Metric))
	})
	return report, nil
}

// inForce returns the version of a metric that a moment follows, nil if there is none.
func inForce(versions []*quietilev1.Metric, t int64) (m *quietilev1.Metric) {
	for _, v := range versions {
		if v.GetEffectiveFromUnixNano() <= t {
			m = v
		}
	}
	return m
}

// charges lists the charges of some entries by the start of their period. The current period is among them.
func (s *Service) charges(period int64, of func(*quietilev1.LedgerEntry) bool) map[int64][]*quietilev1.Charge {
	all := map[int64][]*quietilev1.Charge{policy.PeriodStart(period, s.now().UnixNano()): nil}
	for _, e := range s.ledger.entries {
		if of(e) {
			all[e.GetPeriodStartUnixNano()] = append(all[e.GetPeriodStartUnixNano()], &quietilev1.Charge{
				ReleaseId:           e.GetReleaseId(),
				Metric:              e.GetRequest().GetMetric(),
				WindowStartUnixNano: e.GetWindowStartUnixNano(),
				NanoEpsilon:         e.GetNanoEpsilon(),
				NanoRho:             int64(chargeOf(e).Loss().Rho),
			})
		}
	}
	return all
}

// periodBudget reports a budget in the period that starts at a moment, without the names it goes by.
func periodBudget(a *budget.Account, s budget.Source, start int64, charges []*quietilev1.Charge) *quietilev1.SourceBudget {
	slices.SortFunc(charges, func(a, b *quietilev1.Charge) int {
		return cmp.Or(cmp.Compare(a.WindowStartUnixNano, b.WindowStartUnixNano), cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.ReleaseId, b.ReleaseId))
	})
	period := time.Unix(0, start).UTC()
	spent := a.Loss(s.Name, period)
	return &quietilev1.SourceBudget{
		PeriodStartUnixNano: start,
		PeriodEndUnixNano:   start + int64(s.Period),
		BudgetNanoEpsilon:   int64(s.Budget),
		BudgetAttoDelta:     int64(s.Delta),
		BudgetNanoRho:       int64(s.Rho()),
		SpentNanoEpsilon:    int64(spent.Epsilon),
		SpentNanoRho:        int64(spent.Rho),
		LeftNanoEpsilon:     int64(a.Left(s, period)),
		Charges:             charges,
	}
}
