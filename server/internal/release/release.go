// Package release answers questions about sealed windows with differential privacy, and pays for
// each answer from its source's budget.
//
// The order is what the guarantee rests on (PRIVACY P7): the charge is durable before any data is
// read, the answer is durable before it is returned, and nothing about either depends on the data.
package release

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/prior"
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
	// charged runs between the charge and the reading of data. Tests end the process there.
	charged func()
}

// New returns a service over a ledger that is open. A fresh answer is stored and returned at a multiple of the slot after its charge.
func New(s *store.Store, c *control.Catalog, l *Ledger, partitions int, slot time.Duration, charged func()) *Service {
	return &Service{store: s, catalog: c, partitions: partitions, slot: slot, now: time.Now, ledger: l, charged: charged}
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
	entry, m, opts, err := s.resolve(q)
	if err != nil {
		return nil, false, err
	}
	source, ok := s.catalog.Source(entry.GetSource())
	if !ok {
		return nil, false, fmt.Errorf("metric %s: source %q is not declared", m.GetName(), entry.GetSource())
	}
	grid, err := sketch.GridFromProto(m.GetGrid())
	if err != nil {
		return nil, false, err
	}

	if a := s.stored(entry); a != nil {
		return arrange(a, q), false, nil
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	if a := s.stored(entry); a != nil {
		return arrange(a, q), false, nil
	}
	var bought *quietilev1.ReleaseResult
	err = s.append(ctx, &quietilev1.LedgerRecord{Kind: &quietilev1.LedgerRecord_Entry{Entry: entry}}, func() error {
		if bought = s.ledger.answer(entry); bought != nil {
			return errBought
		}
		return s.ledger.account.Check(sourceOf(source), chargeOf(entry))
	})
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
	released, err := s.draw(m, entry, grid, opts)
	s.await(start, s.bound(opts, grid))
	if err != nil {
		return nil, false, err
	}
	result := &quietilev1.ReleaseResult{
		Metric:              m.GetName(),
		WindowStartUnixNano: entry.GetWindowStartUnixNano(),
		WindowEndUnixNano:   entry.GetWindowEndUnixNano(),
		Estimator:           released.Estimator,
		NanoEpsilon:         int64(released.Epsilon),
		Unit:                entry.GetUnit(),
		Contributions:       entry.GetContributions(),
		Neighbours:          released.Neighbours,
		Prior:               released.Prior,
		ReleaseId:           entry.GetReleaseId(),
	}
	for _, v := range released.Quantiles {
		result.Quantiles = append(result.Quantiles, &quietilev1.ReleasedQuantile{Q: v.Q, Value: v.Value, Lower: v.Lower, Upper: v.Upper})
	}
	// Another releaser's records do not matter any more: the charge stands. Nor does it matter whether somebody still waits, since how long an answer takes
	// depends on the data, and whether there is one must not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	err = s.append(ctx, &quietilev1.LedgerRecord{Kind: &quietilev1.LedgerRecord_Answer{Answer: result}}, func() error { return nil })
	if err != nil {
		return nil, false, err
	}
	return arrange(result, q), true, nil
}

// draw reads the data and releases it.
func (s *Service) draw(m *quietilev1.Metric, e *quietilev1.LedgerEntry, grid *sketch.Grid, opts dp.Options) (*dp.Result, error) {
	data, err := s.store.Window(m.GetName(), e.GetWindowStartUnixNano(), m.GetVersion(), grid)
	if err != nil {
		return nil, err
	}
	return dp.Release(data, opts)
}

// stored returns the answer that was bought for an entry like this one, or nil.
func (s *Service) stored(e *quietilev1.LedgerEntry) *quietilev1.ReleaseResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.answer(e)
}

// append appends to the ledger if check, which runs on the newest state of it, returns nil.
func (s *Service) append(ctx context.Context, r *quietilev1.LedgerRecord, check func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.append(ctx, r, check)
}

// errBought ends an attempt to buy what another releaser has bought meanwhile.
var errBought = errors.New("the answer was bought already")

// resolve turns a question into the ledger entry that fixes it. It reads no samples.
func (s *Service) resolve(q *quietilev1.ReleaseRequest) (*quietilev1.LedgerEntry, *quietilev1.Metric, dp.Options, error) {
	fail := func(err error) (*quietilev1.LedgerEntry, *quietilev1.Metric, dp.Options, error) {
		return nil, nil, dp.Options{}, err
	}
	if _, err := s.catalog.Versions(q.GetMetric()); err != nil {
		return fail(err)
	}
	estimator, err := dp.ParseEstimator(q.GetEstimator())
	if err != nil {
		return fail(fmt.Errorf("%w: %w", control.ErrInvalid, err))
	}
	weights, err := prior.Parse(q.GetPrior())
	if err != nil {
		return fail(fmt.Errorf("%w: %w", control.ErrInvalid, err))
	}
	m, start, end, err := s.window(q)
	if err != nil {
		return fail(err)
	}
	opts := dp.Options{
		Quantiles:     slices.Compact(slices.Sorted(slices.Values(q.GetQuantiles()))),
		Epsilon:       dp.Epsilon(q.GetNanoEpsilon()),
		Contributions: 1,
		Prior:         weights,
		Estimator:     estimator,
	}
	if m.GetRepresentative() == quietilev1.Representative_REPRESENTATIVE_WITHIN {
		opts.Representative = dp.Within
	}
	unit, windows := "event", uint32(1)
	if m.GetUnit() == quietilev1.Unit_UNIT_USER {
		unit, windows = "user", m.GetMaxWindows()
		opts.Contributions = int(m.GetMaxPerWindow())
	}
	if err := opts.Validate(); err != nil {
		return fail(fmt.Errorf("%w: %w", control.ErrInvalid, err))
	}
	buckets, err := sketch.GridFromProto(m.GetGrid())
	if err != nil {
		return fail(err)
	}
	if opts, _, err = opts.Chosen(buckets); err != nil {
		return fail(fmt.Errorf("%w: %w", control.ErrInvalid, err))
	}
	if most := s.bound(opts, buckets); most > max(longest, s.slot) {
		return fail(fmt.Errorf("%w: %d quantiles by estimator %v on a grid of %d buckets may take %s, longer than %s", control.ErrInvalid, len(opts.Quantiles), opts.Estimator, buckets.Len(), most, longest))
	}
	grid, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.GetGrid())
	if err != nil {
		return fail(err)
	}
	epsilon, rho := dp.Cost(opts)
	var id [16]byte
	rand.Read(id[:]) // never returns an error: it ends the program instead
	return &quietilev1.LedgerEntry{
		ReleaseId: hex.EncodeToString(id[:]),
		Source:    m.GetSource(),
		Request: &quietilev1.ReleaseRequest{
			Metric:             m.GetName(),
			Quantiles:          opts.Quantiles,
			NanoEpsilon:        q.GetNanoEpsilon(),
			WindowTimeUnixNano: proto.Int64(start),
			Estimator:          opts.Estimator.String(),
			Prior:              opts.Prior.Name(),
		},
		WindowStartUnixNano: start,
		WindowEndUnixNano:   end,
		PeriodStartUnixNano: policy.PeriodOf(m, start),
		NanoEpsilon:         int64(epsilon),
		NanoRho:             rho,
		Unit:                unit,
		Contributions:       uint32(opts.Contributions),
		Windows:             windows,
		PolicyVersion:       m.GetVersion(),
		Grid:                grid,
		TimeUnixNano:        s.now().UnixNano(),
	}, m, opts, nil
}

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

// Budget reports the budgets of a metric's source, or of every source when metric is empty: each
// period that was charged, and the current one.
func (s *Service) Budget(metric string) (*quietilev1.BudgetReport, error) {
	var sources []*quietilev1.Source
	if metric != "" {
		versions, err := s.catalog.Versions(metric)
		if err != nil {
			return nil, err
		}
		source, _ := s.catalog.Source(versions[len(versions)-1].GetSource())
		sources = append(sources, source)
	} else {
		sources = s.catalog.Policy().GetSources()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	report := new(quietilev1.BudgetReport)
	for _, source := range sources {
		src := sourceOf(source)
		charges := map[int64][]*quietilev1.Charge{
			policy.PeriodStart(source.GetPeriodNanos(), s.now().UnixNano()): nil,
		}
		for _, e := range s.ledger.entries {
			if e.GetSource() == source.GetName() {
				charges[e.GetPeriodStartUnixNano()] = append(charges[e.GetPeriodStartUnixNano()], &quietilev1.Charge{
					ReleaseId:           e.GetReleaseId(),
					Metric:              e.GetRequest().GetMetric(),
					WindowStartUnixNano: e.GetWindowStartUnixNano(),
					NanoEpsilon:         e.GetNanoEpsilon(),
				})
			}
		}
		for start, list := range charges {
			slices.SortFunc(list, func(a, b *quietilev1.Charge) int {
				return cmpOr(a.WindowStartUnixNano, b.WindowStartUnixNano, a.Metric+a.ReleaseId, b.Metric+b.ReleaseId)
			})
			report.Budgets = append(report.Budgets, &quietilev1.SourceBudget{
				Source:              source.GetName(),
				Unit:                source.GetUnit(),
				PeriodStartUnixNano: start,
				PeriodEndUnixNano:   start + source.GetPeriodNanos(),
				BudgetNanoEpsilon:   source.GetBudgetNanoEpsilon(),
				SpentNanoEpsilon:    int64(s.ledger.account.Spent(src.Name, time.Unix(0, start).UTC())),
				Charges:             list,
			})
		}
	}
	slices.SortFunc(report.Budgets, func(a, b *quietilev1.SourceBudget) int {
		return cmpOr(a.PeriodStartUnixNano, b.PeriodStartUnixNano, a.Source, b.Source)
	})
	return report, nil
}

func cmpOr(a, b int64, x, y string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}
