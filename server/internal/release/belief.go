package release

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/dp/prior/learn"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/control"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/sketch"
)

// A believer is what was learned of one version of a metric by one learner: a function of the answers in the ledger, in the order of their entries.
type believer struct {
	state *learn.State
	grid  *sketch.Grid
	last  entryKey // of the last answer that was looked at
	seen  int      // how many were
	wrong error    // why that one was not learned from; nil if it was
}

// entryKey orders entries.
type entryKey struct {
	time int64
	id   string
}

func keyOf(e *quietilev1.LedgerEntry) entryKey {
	return entryKey{e.GetTimeUnixNano(), e.GetReleaseId()}
}

func (a entryKey) compare(b entryKey) int {
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.id, b.id))
}

// believerOf returns what was learned of a version of a metric from all answers that the ledger has, from memory, from the store or from the answers. The caller holds mu.
func (s *Service) believerOf(m *quietilev1.Metric, g *sketch.Grid, learner string) (*believer, error) {
	name := stateName(m, learner)
	if b := s.believers[name]; b != nil && b.seen == s.ledger.answered[m.GetName()] {
		return b, nil
	}
	b, err := s.restored(m, g, learner)
	if err == nil && b == nil {
		b, err = s.replay(m, g, learner)
	}
	if err != nil {
		return nil, err
	}
	s.believers[name] = b
	return b, nil
}

func stateName(m *quietilev1.Metric, learner string) string {
	return fmt.Sprintf("%s/%d/%s", m.GetName(), m.GetVersion(), learner)
}

// restored returns what the store has, or nil if that is not all that the ledger says.
func (s *Service) restored(m *quietilev1.Metric, g *sketch.Grid, learner string) (*believer, error) {
	data, err := s.store.Prior(m.GetName(), m.GetVersion(), learner)
	if err != nil || data == nil {
		return nil, err
	}
	p := new(quietilev1.PriorState)
	if proto.Unmarshal(data, p) != nil {
		return nil, nil
	}
	state, err := learn.FromProto(p, policy.Learner(m, learner), g)
	if err != nil {
		return nil, nil // another version's, or damaged: the answers say it again
	}
	all := s.answered(m.GetName())
	if n := len(all); n == 0 || uint64(n) != state.Releases() || all[n-1].GetReleaseId() != state.Last() {
		return nil, nil
	}
	return &believer{state: state, grid: g, last: keyOf(all[len(all)-1]), seen: len(all)}, nil
}

// replay makes a state of the answers in the ledger.
func (s *Service) replay(m *quietilev1.Metric, g *sketch.Grid, learner string) (*believer, error) {
	state, err := learn.New(policy.Learner(m, learner), g)
	if err != nil {
		return nil, err
	}
	b := &believer{state: state, grid: g}
	for _, e := range s.answered(m.GetName()) {
		b.take(e, s.ledger.answers[e.GetReleaseId()])
	}
	return b, nil
}

// answered returns the entries of a metric that have answers, in their order.
func (s *Service) answered(metric string) []*quietilev1.LedgerEntry {
	var all []*quietilev1.LedgerEntry
	for id, e := range s.ledger.entries {
		if e.GetRequest().GetMetric() == metric && s.ledger.answers[id] != nil {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *quietilev1.LedgerEntry) int { return keyOf(a).compare(keyOf(b)) })
	return all
}

// take learns from an answer.
func (b *believer) take(e *quietilev1.LedgerEntry, a *quietilev1.ReleaseResult) {
	b.last, b.seen = keyOf(e), b.seen+1
	r := resultOf(a)
	if r.Curve != nil && !b.on(e.GetGrid()) { // another version's, whose buckets are others
		r.Curve = nil
	}
	b.wrong = b.state.Observe(e.GetReleaseId(), windowOf(e), r)
}

// on tells whether a grid, as entries have it, is the one that positions are about.
func (b *believer) on(grid []byte) bool {
	p := new(quietilev1.Grid)
	if proto.Unmarshal(grid, p) != nil {
		return false
	}
	g, err := sketch.GridFromProto(p)
	return err == nil && g.Equal(b.grid)
}

// windowOf returns what is public of an entry's window.
func windowOf(e *quietilev1.LedgerEntry) learn.Window {
	return learn.Window{
		Start:  time.Unix(0, e.GetWindowStartUnixNano()).UTC(),
		Period: time.Unix(0, e.GetPeriodStartUnixNano()).UTC(), Covariates: e.GetRequest().GetCovariates(),
	}
}

// resultOf returns what a learner reads of an answer.
func resultOf(a *quietilev1.ReleaseResult) *dp.Result {
	r := &dp.Result{LearnedNanoRho: a.GetLearnedNanoRho()}
	for _, v := range a.GetQuantiles() {
		r.Quantiles = append(r.Quantiles, dp.Quantile{Q: v.GetQ(), Value: v.GetValue(), Lower: v.GetLower(), Upper: v.GetUpper()})
	}
	if c := a.GetCurve(); c != nil {
		r.Curve = &dp.Curve{At: c.GetAt(), Variance: c.GetVariance()}
	}
	for _, x := range a.GetLearned() {
		r.Learned = append(r.Learned, dp.GradientSum{Level: int(x.GetLevel()), Last: x.GetLast(), Values: x.GetValues()})
	}
	return r
}

// learned brings what was learned of the metric up to an answer that is durable, and stores it.
func (s *Service) learned(q *question, a *quietilev1.ReleaseResult) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, learner := range learn.Learners {
		b := s.believers[stateName(q.metric, learner)]
		if b == nil {
			continue // nobody asked; the answers say it when somebody does
		}
		if b.seen+1 == s.ledger.answered[q.metric.GetName()] && b.last.compare(keyOf(q.entry)) < 0 {
			b.take(q.entry, a)
		} else { // another's answers, or another version's, came between
			var wrong error
			if b, wrong = s.replay(q.metric, q.grid, learner); wrong != nil {
				err = errors.Join(err, wrong)
				continue
			}
			s.believers[stateName(q.metric, learner)] = b
		}
		data, wrong := proto.MarshalOptions{Deterministic: true}.Marshal(b.state.Proto())
		if wrong == nil {
			wrong = s.store.SetPrior(q.metric.GetName(), q.metric.GetVersion(), learner, data)
		}
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("store what was learned of %s: %w", q.metric.GetName(), wrong))
		}
	}
	return err
}

// believe fixes the prior of a question: it goes into the entry before any data is read (PRIVACY P7). A prior that cannot be used leaves its robust part, and the entry says why.
func (s *Service) believe(q *question) error {
	e := q.entry
	e.Priors, e.Forecast, e.PriorReleases, e.PriorFallback, e.LearningNanoRho = nil, nil, 0, "", 0
	q.opts.Learn, q.opts.Forecast = nil, nil
	switch {
	case slices.Contains(learn.Learners, q.prior):
		s.mu.Lock()
		defer s.mu.Unlock()
		b, err := s.believerOf(q.metric, q.grid, q.prior)
		if err != nil {
			return err
		}
		q.answers, q.leader = b.seen, b.state.Leader()
		if q.prior == learn.Curve { // which combines its forecast with noisy counts, and makes no prior
			q.opts.Forecast, e.PriorReleases = b.state.Forecast(windowOf(e)), b.state.Releases()
			e.Forecast = curveProto(q.opts.Forecast)
			break
		}
		p, err := b.state.Prior(windowOf(e), q.opts.Quantiles)
		if p == nil {
			return fmt.Errorf("%w: %w", control.ErrInvalid, err)
		}
		if err != nil {
			e.PriorFallback = err.Error()
		}
		q.opts.Prior, e.PriorReleases = p, b.state.Releases()
		for _, x := range q.opts.Quantiles {
			e.Priors = append(e.Priors, &quietilev1.QuantilePrior{Q: x, Prior: p.At(x).Name()})
		}
		if q.prior == learn.FTRL && q.opts.NanoRho > 0 {
			windows, capacity := 1, int(q.metric.GetPeriodNanos()/q.metric.GetWindowNanos())
			if q.metric.GetUnit() == quietilev1.Unit_UNIT_USER {
				windows = int(q.metric.GetMaxWindows())
			}
			q.opts.Learn = b.state.Learning(windowOf(e), q.opts.Quantiles, windows, capacity, policy.LearningShare(q.metric))
			if q.opts.Learn != nil && q.opts.Validate() != nil { // too much for one release: it answers without learning
				q.opts.Learn = nil
			}
			e.LearningNanoRho = dp.LearningCost(q.opts)
		}
	case q.prior == policy.PublicPrior:
		r := q.metric.GetRelease()
		records, err := sketch.FromProto(r.GetPublic())
		if err == nil {
			q.opts.Prior, err = prior.Public(r.GetPublicName(), records, q.opts.Records, policy.Robust(q.metric))
		}
		if err != nil {
			q.fallBack(fmt.Errorf("%w: metric %s has no public records: %w", prior.ErrPrior, q.metric.GetName(), err))
		}
	}
	// Weights of each quantile are many: what a release cannot have, or a prior of another grid, leaves the robust part.
	if err := q.opts.ValidateOn(q.grid); errors.Is(err, prior.ErrPrior) {
		q.fallBack(err)
	}
	return nil
}

// fallBack leaves the robust part of a question's prior.
func (q *question) fallBack(err error) {
	q.opts.Prior, q.opts.Forecast = prior.Uniform(), nil
	q.entry.PriorFallback, q.entry.Priors, q.entry.Forecast = err.Error(), nil, nil
}

// curveProto returns a curve as a message, nil for nil.
func curveProto(c *dp.Curve) *quietilev1.ReleasedCurve {
	if c == nil {
		return nil
	}
	return &quietilev1.ReleasedCurve{At: c.At, Variance: c.Variance}
}

// carry takes what the last release of a tree left, nothing if that is lost. It is gone then, whatever becomes of this release: one whose answer is stored although nobody saw that would otherwise have its sums published again.
func (s *Service) carry(q *question) (c dp.Carry, err error) {
	if q.opts.Learn.Number == 1 {
		return c, nil
	}
	data, err := s.store.TakeCarry(q.metric.GetName(), q.metric.GetVersion())
	if err != nil {
		return c, err
	}
	rest, ok := bytes.CutPrefix(data, []byte(q.leader))
	if !ok || c.UnmarshalBinary(rest) != nil {
		return dp.Carry{}, nil
	}
	return c, nil
}

// keep stores what a release left for the next of its tree, behind its name. It is raw, and stays in the store beside the counts.
func (s *Service) keep(q *question, c dp.Carry) error {
	data, err := c.MarshalBinary()
	if err != nil {
		return err
	}
	return s.store.SetCarry(q.metric.GetName(), q.metric.GetVersion(), append([]byte(q.entry.GetReleaseId()), data...))
}

// Prior reports what is believed of a metric's quantiles, from released answers only.
func (s *Service) Prior(q *quietilev1.PriorRequest) (*quietilev1.PriorReport, error) {
	versions, err := s.catalog.Versions(q.GetMetric())
	if err != nil {
		return nil, err
	}
	m := versions[len(versions)-1]
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.answered(m.GetName())
	var at int64
	switch {
	case q.WindowTimeUnixNano != nil:
		at = q.GetWindowTimeUnixNano()
	case len(all) > 0:
		for _, e := range all {
			at = max(at, e.GetWindowEndUnixNano())
		}
	default:
		at = s.now().UnixNano()
	}
	if m, err = s.catalog.At(q.GetMetric(), at); err != nil {
		return nil, err
	}
	grid, err := sketch.GridFromProto(m.GetGrid())
	if err != nil {
		return nil, err
	}
	start, end := policy.WindowOf(m, at)
	r := &quietilev1.PriorReport{Metric: m.GetName(), Prior: policy.Prior(m), WindowStartUnixNano: start, WindowEndUnixNano: end, Grid: grid.String()}
	if r.Prior == policy.PublicPrior {
		r.Prior += ":" + m.GetRelease().GetPublicName()
	}
	if !slices.Contains(learn.Learners, r.GetPrior()) {
		return r, nil
	}
	b, err := s.believerOf(m, grid, r.GetPrior())
	if err != nil {
		return nil, err
	}
	r.State = b.state.Proto()
	var quantiles []float64
	for _, k := range r.GetState().GetQuantiles() {
		quantiles = append(quantiles, k.GetQ())
	}
	if len(quantiles) == 0 {
		return r, nil
	}
	p, err := b.state.Prior(learn.Window{Start: time.Unix(0, start).UTC(), Covariates: q.GetCovariates()}, quantiles)
	if p == nil {
		return nil, err
	}
	if err != nil {
		r.Fallback = err.Error()
	}
	for _, x := range quantiles {
		r.Priors = append(r.Priors, &quietilev1.QuantilePrior{Q: x, Prior: p.At(x).Name()})
	}
	return r, nil
}
