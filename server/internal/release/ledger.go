package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	"github.com/quietile/quietile/dp/prior"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/journal"
	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/subject"
)

// Ledger holds every charge and every answer that a charge bought, both in the ledger stream and in
// the store. What either of them has counts. It is not safe for concurrent use.
type Ledger struct {
	store   *store.Store
	journal *journal.Journal
	entries map[string]*quietilev1.LedgerEntry
	answers map[string]*quietilev1.ReleaseResult
	// answered counts the entries of a metric that have answers.
	answered map[string]int
	// questions finds the entries of a question, by its key.
	questions map[string][]string
	// account has every charge on its source, metrics has every charge on its metric.
	account, metrics *budget.Account
}

// OpenLedger reads the ledger stream, which must exist, and the store, and brings each up to what the
// other has.
func OpenLedger(ctx context.Context, js jetstream.JetStream, s *store.Store, ring *keys.Ring, logger *slog.Logger) (*Ledger, error) {
	j, err := journal.Open(ctx, js, subject.LedgerStream, ring, logger)
	if err != nil {
		return nil, err
	}
	l := &Ledger{
		store: s, journal: j,
		entries:   map[string]*quietilev1.LedgerEntry{},
		answers:   map[string]*quietilev1.ReleaseResult{},
		answered:  map[string]int{},
		questions: map[string][]string{},
		account:   budget.New(),
		metrics:   budget.New(),
	}
	stored := map[recordID]*quietilev1.LedgerRecord{}
	if err := s.Ledger(func(r *quietilev1.LedgerRecord) { stored[idOf(r)] = r }); err != nil {
		return nil, err
	}
	if err := l.read(ctx, stored); err != nil {
		return nil, err
	}
	// A power cut can take the end of the stream; the store had it on disk.
	for _, answer := range []bool{false, true} {
		for _, id := range slices.SortedFunc(maps.Keys(stored), recordID.compare) {
			if id.answer != answer {
				continue
			}
			if err := l.append(ctx, stored[id], func() error { return nil }); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// recordID names a record of the ledger.
type recordID struct {
	release string
	answer  bool
}

func (a recordID) compare(b recordID) int {
	switch {
	case a.release < b.release:
		return -1
	case a.release > b.release:
		return 1
	}
	return 0
}

func idOf(r *quietilev1.LedgerRecord) recordID {
	if a := r.GetAnswer(); a != nil {
		return recordID{a.GetReleaseId(), true}
	}
	return recordID{r.GetEntry().GetReleaseId(), false}
}

// read takes in what the stream has that was not read yet. Each such record is removed from stored;
// one that was not there is added to the store.
func (l *Ledger) read(ctx context.Context, stored map[recordID]*quietilev1.LedgerRecord) error {
	return l.journal.Read(ctx, func(_ string, data []byte) error {
		r := new(quietilev1.LedgerRecord)
		if err := proto.Unmarshal(data, r); err != nil {
			return err
		}
		if _, ok := stored[idOf(r)]; ok {
			delete(stored, idOf(r))
		} else if err := l.store.AppendLedger(r); err != nil {
			return err
		}
		return l.take(r)
	})
}

// take counts a record. One that was counted before changes nothing.
func (l *Ledger) take(r *quietilev1.LedgerRecord) error {
	if a := r.GetAnswer(); a != nil {
		id := a.GetReleaseId()
		if e := l.entries[id]; e != nil && l.answers[id] == nil {
			l.answered[e.GetRequest().GetMetric()]++
		}
		l.answers[id] = a
		return nil
	}
	e := r.GetEntry()
	id := e.GetReleaseId()
	if _, ok := l.entries[id]; ok {
		return nil
	}
	l.entries[id] = e
	if l.answers[id] != nil {
		l.answered[e.GetRequest().GetMetric()]++
	}
	key := questionKey(e)
	l.questions[key] = append(l.questions[key], id)
	return errors.Join(l.account.Add(chargeOf(e)), l.metrics.Add(ownChargeOf(e)))
}

// check returns an error that wraps budget.ErrExceeded and says what refuses it unless the budget of the source and that of the metric, if it has one, admit a charge.
func (l *Ledger) check(s *quietilev1.Source, m *quietilev1.Metric, e *quietilev1.LedgerEntry) error {
	if err := l.account.Check(sourceOf(s), chargeOf(e)); err != nil {
		return err
	}
	if !hasBudget(m) {
		return nil
	}
	err := l.metrics.Check(ownBudgetOf(m), ownChargeOf(e))
	if beyond := (*budget.ExceededError)(nil); errors.As(err, &beyond) {
		asked, left := "epsilon "+beyond.Asked.String(), beyond.Left.String()
		if beyond.Delta > 0 {
			asked, left = "rho "+beyond.AskedRho.String(), "rho "+beyond.LeftRho.String()
		}
		return fmt.Errorf("%w: the release would add %s to what metric %s lost in the period from %s, and %s is left of the metric's own budget",
			budget.ErrExceeded, asked, m.GetName(), clock(e.GetPeriodStartUnixNano()), left)
	}
	return err
}

// append makes a record durable in both places. check runs before each attempt, after whatever
// others appended was taken in.
func (l *Ledger) append(ctx context.Context, r *quietilev1.LedgerRecord, check func() error) error {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return err
	}
	for {
		if err := check(); err != nil {
			return err
		}
		err := l.journal.Append(ctx, subject.Ledger+"record", data)
		if err == nil {
			break
		}
		// A conflict, or an attempt of which nobody knows how it ended: look before trying again.
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if readErr := l.read(ctx, nil); readErr != nil {
			return fmt.Errorf("ledger: %w", errors.Join(err, readErr))
		}
		if l.has(idOf(r)) {
			return nil
		}
		if !errors.Is(err, journal.ErrConflict) {
			return fmt.Errorf("ledger: %w", err)
		}
	}
	if err := l.store.AppendLedger(r); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return l.take(r)
}

func (l *Ledger) has(id recordID) bool {
	if id.answer {
		return l.answers[id.release] != nil
	}
	return l.entries[id.release] != nil
}

// answer returns the answer that an earlier charge for the same question bought, or nil.
func (l *Ledger) answer(e *quietilev1.LedgerEntry) *quietilev1.ReleaseResult {
	for _, id := range l.questions[questionKey(e)] {
		if a := l.answers[id]; a != nil {
			return a
		}
	}
	return nil
}

// bought returns the answer to a question that was bought before, or nil. One with the uniform prior answers who asked for none.
func (l *Ledger) bought(q *question) *quietilev1.ReleaseResult {
	a := l.answer(q.entry)
	if a == nil && q.plain {
		e := proto.CloneOf(q.entry)
		e.Request.Prior, e.Request.Covariates = prior.Uniform().Name(), nil
		a = l.answer(e)
	}
	return a
}

// questionKey is equal for entries that ask the same of the same data.
func questionKey(e *quietilev1.LedgerEntry) string {
	q := &quietilev1.LedgerEntry{
		Source:              e.GetSource(),
		Request:             e.GetRequest(),
		WindowStartUnixNano: e.GetWindowStartUnixNano(),
		PolicyVersion:       e.GetPolicyVersion(),
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(q)
	if err != nil {
		// Only text that is not UTF-8 cannot be marshalled, and such an entry was never stored.
		panic(err)
	}
	return string(b)
}

func chargeOf(e *quietilev1.LedgerEntry) budget.Charge {
	return budget.Charge{
		ReleaseID: e.GetReleaseId(),
		Source:    e.GetSource(),
		Metric:    e.GetRequest().GetMetric(),
		Window:    time.Unix(0, e.GetWindowStartUnixNano()).UTC(),
		Period:    time.Unix(0, e.GetPeriodStartUnixNano()).UTC(),
		Windows:   int(e.GetWindows()),
		Epsilon:   dp.Epsilon(e.GetNanoEpsilon()),
		Delta:     e.GetDelta(),
		NanoRho:   e.GetNanoRho(),
	}
}

// ownChargeOf returns the charge on the metric's own budget.
func ownChargeOf(e *quietilev1.LedgerEntry) budget.Charge {
	c := chargeOf(e)
	c.Source = c.Metric
	return c
}

func sourceOf(s *quietilev1.Source) budget.Source {
	return budget.Source{
		Name:   s.GetName(),
		Unit:   unitOf(s.GetUnit()),
		Budget: dp.Epsilon(s.GetBudgetNanoEpsilon()),
		Delta:  budget.Delta(s.GetBudgetAttoDelta()),
		Period: time.Duration(s.GetPeriodNanos()),
	}
}

// hasBudget tells whether a metric has a budget of its own.
func hasBudget(m *quietilev1.Metric) bool { return m.GetBudgetNanoEpsilon() > 0 }

// ownBudgetOf returns that budget, of Ledger.metrics.
func ownBudgetOf(m *quietilev1.Metric) budget.Source {
	return budget.Source{
		Name:   m.GetName(),
		Unit:   unitOf(m.GetUnit()),
		Budget: dp.Epsilon(m.GetBudgetNanoEpsilon()),
		Delta:  budget.Delta(m.GetBudgetAttoDelta()),
		Period: time.Duration(m.GetPeriodNanos()),
	}
}

func unitOf(u quietilev1.Unit) budget.Unit {
	if u == quietilev1.Unit_UNIT_USER {
		return budget.User
	}
	return budget.Event
}
