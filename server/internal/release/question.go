package release

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/dp/prior/learn"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/control"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/sketch"
)

// Defaults of dp.Options: who names them asks the same as who does not.
const (
	defaultRecords = 10_000
	defaultShare   = 0.1
)

// question is a question on its way to its answer.
type question struct {
	entry  *quietilev1.LedgerEntry
	source *quietilev1.Source
	metric *quietilev1.Metric
	grid   *sketch.Grid
	opts   dp.Options
	// prior is the name of a learner, "public", or empty for one that opts has.
	prior string
	// answers is how many answers of the metric that learner had seen, leader the last release whose gradient it had.
	answers int
	leader  string
	// plain says that the question names no prior.
	plain bool
	// predicted is why the estimator was chosen, nil if it was asked for.
	predicted *dp.Prediction
}

// resolve reads a question, so that the answer may be looked up. It reads no samples, and rehearses nothing.
func (s *Service) resolve(q *quietilev1.ReleaseRequest) (*question, error) {
	versions, err := s.catalog.Versions(q.GetMetric())
	if err != nil {
		return nil, err
	}
	if _, _, err := optionsOf(q, versions[len(versions)-1]); err != nil { // wrong whatever the window
		return nil, fmt.Errorf("%w: %w", control.ErrInvalid, err)
	}
	m, start, end, err := s.window(q)
	if err != nil {
		return nil, err
	}
	opts, learner, err := optionsOf(q, m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", control.ErrInvalid, err)
	}
	if opts.Records == 0 {
		opts.Records = m.GetRecords()
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
		return nil, fmt.Errorf("%w: %w", control.ErrInvalid, err)
	}
	source, ok := s.catalog.Source(m.GetSource())
	if !ok {
		return nil, fmt.Errorf("metric %s: source %q is not declared", m.GetName(), m.GetSource())
	}
	grid, err := sketch.GridFromProto(m.GetGrid())
	if err != nil {
		return nil, err
	}
	gridBytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.GetGrid())
	if err != nil {
		return nil, err
	}
	var id [16]byte
	rand.Read(id[:]) // never returns an error: it ends the program instead
	return &question{source: source, metric: m, grid: grid, opts: opts, prior: learner, plain: q.GetPrior() == "", entry: &quietilev1.LedgerEntry{
		ReleaseId:           hex.EncodeToString(id[:]),
		Source:              m.GetSource(),
		Request:             canonical(q, opts, learner, start),
		WindowStartUnixNano: start,
		WindowEndUnixNano:   end,
		PeriodStartUnixNano: policy.PeriodOf(m, start),
		Unit:                unit,
		Contributions:       uint32(opts.Contributions),
		Windows:             windows,
		PolicyVersion:       m.GetVersion(),
		Grid:                gridBytes,
		TimeUnixNano:        s.now().UnixNano(),
	}}, nil
}

// optionsOf returns what a question says of itself. Errors name the field and the value; what dp.Options.Validate checks is left to that.
// What it does not say of the prior the metric does; learner names what makes that, if something does.
func optionsOf(q *quietilev1.ReleaseRequest, m *quietilev1.Metric) (_ dp.Options, learner string, err error) {
	estimator, err := dp.ParseEstimator(q.GetEstimator())
	if err != nil {
		return dp.Options{}, "", err
	}
	name := cmp.Or(q.GetPrior(), policy.Prior(m))
	var weights prior.Prior
	if slices.Contains(learn.Learners, name) || name == policy.PublicPrior && m.GetRelease().GetPublic() != nil {
		learner = name
	} else if weights, err = prior.Parse(name); err != nil {
		return dp.Options{}, "", err
	}
	o, err := guaranteeOf(q, dp.Options{Estimator: estimator, Prior: weights})
	return o, learner, err
}

// guaranteeOf returns options with what a question says besides its estimator and prior.
func guaranteeOf(q *quietilev1.ReleaseRequest, o dp.Options) (dp.Options, error) {
	o.Quantiles = slices.Compact(slices.Sorted(slices.Values(q.GetQuantiles())))
	o.Epsilon, o.Contributions, o.Records = dp.Epsilon(q.GetNanoEpsilon()), 1, q.GetRecords()
	o.Confidence, o.ConfidenceShare = q.GetConfidence()+0, q.GetConfidenceShare()+0 // -0 is 0
	switch q.GetNeighbours() {
	case "", dp.AddRemove.String():
	case dp.ReplaceOne.String():
		o.Neighbours = dp.ReplaceOne
	default:
		return o, fmt.Errorf("neighbours %q are neither %v nor %v", q.GetNeighbours(), dp.AddRemove, dp.ReplaceOne)
	}
	delta := budget.Delta(q.GetAttoDelta())
	switch {
	case delta == 0:
		return o, nil
	case delta < 0 || delta >= oneDelta:
		return o, fmt.Errorf("delta %v is not in (0, 1)", delta)
	case o.Epsilon <= 0 || o.Epsilon > maxLoss:
		return o, fmt.Errorf("epsilon %v is not in (0, %v]", o.Epsilon, dp.Epsilon(maxLoss))
	}
	rho := budget.RhoWithin(o.Epsilon, delta)
	if rho == 0 {
		return o, fmt.Errorf("epsilon %v with delta %v is too little", o.Epsilon, delta)
	}
	o.Epsilon, o.NanoRho = 0, int64(min(rho, maxLoss))
	return o, nil
}

const (
	oneDelta = 1_000_000_000_000_000_000
	// maxLoss is the most ε, and the most ρ, of a release, in billionths.
	maxLoss = 1000_000_000_000
)

// canonical returns the form of a question that all with its meaning share, in terms of the window that starts at a moment.
func canonical(q *quietilev1.ReleaseRequest, o dp.Options, learner string, start int64) *quietilev1.ReleaseRequest {
	c := &quietilev1.ReleaseRequest{
		Metric:             q.GetMetric(),
		Quantiles:          o.Quantiles,
		NanoEpsilon:        q.GetNanoEpsilon(),
		WindowTimeUnixNano: proto.Int64(start),
		Estimator:          o.Estimator.String(), // "auto" as asked: what it stands for follows from the rest
		Prior:              learner,              // as asked too: what it believes follows from earlier answers
		AttoDelta:          q.GetAttoDelta(),
		Confidence:         o.Confidence,
		Covariates:         q.GetCovariates(),
	}
	if learner == "" {
		c.Prior = o.Prior.Name()
	}
	if o.Neighbours != dp.AddRemove {
		c.Neighbours = o.Neighbours.String()
	}
	name, _, _ := strings.Cut(c.Estimator, ":")
	// The hint decides nothing else than auto's choice, how many bins a density or adaptive histograms have, how wide slices are or whether there is room for them, and how near public ranks are.
	if hinted := c.Estimator == "auto" || c.Estimator == "density" || name == "adaptive" && !strings.Contains(c.Estimator, "bins=") || name == "slice" || learner == policy.PublicPrior; hinted && o.Records != defaultRecords {
		c.Records = o.Records
	}
	// Estimators that read their answers from counts know their noise.
	if o.ConfidenceShare != defaultShare && name != "tree" && name != "density" {
		c.ConfidenceShare = o.ConfidenceShare
	}
	return c
}

// price chooses the estimator if that is left to the engine, and enters what the answer costs. Errors come before anything is charged.
func (s *Service) price(q *question) (err error) {
	if delta := q.entry.GetRequest().GetAttoDelta(); delta > 0 {
		const pure = "%w: the question has delta %v, and the budget of %s %s is in epsilon alone"
		if q.source.GetBudgetAttoDelta() == 0 {
			return fmt.Errorf(pure, budget.ErrNotPure, budget.Delta(delta), "source", q.source.GetName())
		}
		if hasBudget(q.metric) && q.metric.GetBudgetAttoDelta() == 0 {
			return fmt.Errorf(pure, budget.ErrNotPure, budget.Delta(delta), "metric", q.metric.GetName())
		}
	}
	if err := s.believe(q); err != nil {
		return err
	}
	chosen, predicted, err := q.opts.Chosen(q.grid)
	if err != nil {
		return fmt.Errorf("%w: %w", control.ErrInvalid, err)
	}
	if q.opts.Forecast != nil && chosen.Forecast == nil {
		q.fallBack(fmt.Errorf("%w: a forecast is combined with noisy counts, which estimator %v, that was chosen, does not read", prior.ErrPrior, chosen.Estimator))
	}
	q.opts, q.predicted = chosen, cmp.Or(predicted, q.predicted) // it stays chosen if the price is asked again
	if err := q.opts.ValidateOn(q.grid); err != nil {
		return fmt.Errorf("%w: %w", control.ErrInvalid, err)
	}
	if most := s.bound(q.opts, q.grid); most > max(longest, s.slot) {
		return fmt.Errorf("%w: %d quantiles by estimator %v on a grid of %d buckets may take %s, longer than %s",
			control.ErrInvalid, len(q.opts.Quantiles), q.opts.Estimator, q.grid.Len(), most, longest)
	}
	q.entry.Estimator = q.opts.Estimator.String()
	epsilon, rho := dp.Cost(q.opts)
	q.entry.NanoEpsilon, q.entry.NanoRho = int64(epsilon), rho
	return nil
}

// result returns a release as the answer to the question.
func (q *question) result(r *dp.Result) *quietilev1.ReleaseResult {
	delta, _ := budget.Delta(q.entry.GetRequest().GetAttoDelta()).Rat().Float64()
	a := &quietilev1.ReleaseResult{
		Metric:              q.metric.GetName(),
		WindowStartUnixNano: q.entry.GetWindowStartUnixNano(),
		WindowEndUnixNano:   q.entry.GetWindowEndUnixNano(),
		Estimator:           r.Estimator,
		NanoEpsilon:         q.entry.GetRequest().GetNanoEpsilon(),
		Delta:               delta,
		NanoRho:             r.NanoRho,
		Confidence:          r.Confidence,
		ConfidenceShare:     r.ConfidenceShare,
		Unit:                q.entry.GetUnit(),
		Contributions:       q.entry.GetContributions(),
		Neighbours:          r.Neighbours,
		Prior:               r.Prior,
		PriorReleases:       q.entry.GetPriorReleases(),
		PriorFallback:       q.entry.GetPriorFallback(),
		LearnedNanoRho:      r.LearnedNanoRho,
		Curve:               curveProto(r.Curve),
		ReleaseId:           q.entry.GetReleaseId(),
	}
	if r.Prior != "none" { // the prior was looked at
		a.Prior = q.entry.GetRequest().GetPrior()
	}
	for _, x := range r.Learned {
		a.Learned = append(a.Learned, &quietilev1.GradientSum{Level: uint32(x.Level), Last: x.Last, Values: x.Values})
	}
	if p := q.predicted; p != nil {
		a.Predicted = &quietilev1.Prediction{Estimator: p.Estimator.String(), Mean: p.Mean, Max: p.Max}
	}
	for _, v := range r.Quantiles {
		released := &quietilev1.ReleasedQuantile{Q: v.Q, Value: v.Value, Lower: v.Lower, Upper: v.Upper}
		if v.RankError != nil {
			released.RankError = &quietilev1.RankError{Low: v.RankError.Low, High: v.RankError.High}
		}
		a.Quantiles = append(a.Quantiles, released)
	}
	return a
}
