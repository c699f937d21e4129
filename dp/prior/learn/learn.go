// Package learn makes priors of the answers of earlier releases.
//
// Nothing here can read records: what a [State] takes in is a [dp.Result], which anybody may see, and what is public of its window. So a prior that is learned costs nothing more than the releases it was learned from
// (post-processing), and a state may be shown, copied and recomputed by anyone who has the answers. The one learner whose releases read more than their answers, [FTRL], does so inside [dp.Release], which
// charges for it; here it sees the noisy sums that are part of the result (docs/proofs/learned-priors.md).
//
// States are deterministic: equal configurations, grids and results in equal order make equal states.
package learn

import (
	"fmt"
	"math"
	"slices"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/prior"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
)

const (
	// format is the version of states.
	format = 2
	// kept is how many forecasts of a quantile are remembered beside their outcome, for displays.
	kept = 64
	// maxQuantiles limits a state: further ones have no learned prior.
	maxQuantiles = 1000
)

// A State is what was learned of the quantiles of one metric. It is not safe for concurrent use.
type State struct {
	config    Config
	grid      *sketch.Grid
	releases  uint64
	releaseID string
	magnitude []float64
	quantiles []*quantile // by q
	ftrl      *ftrl       // of [FTRL]
	curves    *curves     // of [Curve]
}

// quantile is what was learned of one.
type quantile struct {
	q         float64
	releases  uint64
	last      float64
	scale     float64
	weights   []float64
	memory    []float64
	surprises uint32
	surprise  float64
	trust     float64 // of [Ridge]: the odds that the forecast is near the quantile
	window    int64   // start of the latest window, nanoseconds since the Unix epoch
	forecasts []*quietilev1.Forecast
}

// New returns a state that has seen nothing. Errors are those of [Config.Validate].
func New(c Config, g *sketch.Grid) (*State, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &State{config: c.filled(), grid: g}
	s.magnitude = make([]float64, len(s.config.Covariates))
	switch s.config.Learner {
	case FTRL:
		s.ftrl = newFTRL()
	case Curve:
		s.curves = new(curves)
	}
	return s, nil
}

// Releases returns how many results were taken in.
func (s *State) Releases() uint64 { return s.releases }

// Last returns the name of the last of them, as [State.Observe] was told.
func (s *State) Last() string { return s.releaseID }

// Prior returns what is believed of quantiles in a window: for each a forecast with its usual error, and a robust part, the larger the less the forecast is proven; only that where nothing was learned. The error, which wraps [prior.ErrPrior], names the covariate
// at fault; the prior is then the robust part alone, and right to use.
func (s *State) Prior(w Window, quantiles []float64) (prior.ByQuantile, error) {
	f, _, err := s.config.features(w, s.magnitude)
	var all []prior.Quantile
	first := middle(quantiles)
	for _, q := range quantiles {
		p, none := prior.Near(nothingNear)
		if none != nil {
			return nil, none
		}
		if known := s.find(q); known != nil && err == nil {
			p = known.prior(s, f, q == first)
		}
		all = append(all, prior.Quantile{Q: q, Prior: p})
	}
	each, wrong := prior.Each(all)
	if wrong != nil {
		return nil, wrong
	}
	return each, err
}

// caution is how much wider a prior is than the usual error: where records are many one that is too narrow costs more than one that is too wide.
const caution = 1.5

// nothingNear is the part of a prior of which nothing is known that is near other quantiles' answers.
const nothingNear = 0.5

// find returns a quantile that was learned of, or nil.
func (s *State) find(q float64) *quantile {
	i, ok := slices.BinarySearchFunc(s.quantiles, q, func(a *quantile, q float64) int { return compare(a.q, q) })
	if !ok {
		return nil
	}
	return s.quantiles[i]
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// alone is the most that a forecast is believed for the quantile that a release finds first, where no other answer confirms it: half of the robust prior's weight is left then if it is wrong, and if it is right, half of its own is as good as all.
const alone = 0.5

// prior returns the belief of a quantile for a window with features f; first if it is the quantile that the release finds first.
func (k *quantile) prior(s *State, f []float64, first bool) prior.Prior {
	location, scale := s.forecast(k, f)
	believed := 1.0
	if s.config.Learner == Proxy && s.config.Optimiser == Ridge {
		believed = k.believed()
	}
	if first {
		believed = min(believed, alone)
	}
	p, err := prior.Forecast(location, caution*scale, k.last, float64(s.grid.Len()), 1-(1-s.config.Robust)*believed)
	if err != nil { // forecast keeps its numbers finite
		panic(err)
	}
	return p
}

// middle returns the quantile that a release finds first.
func middle(quantiles []float64) float64 {
	sorted := slices.Compact(slices.Sorted(slices.Values(quantiles)))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// forecast returns position and usual error of a quantile, finite and at least half a bucket.
func (s *State) forecast(k *quantile, f []float64) (location, scale float64) {
	switch {
	case s.config.Learner == Previous:
		location, scale = k.last, k.scale
	case s.config.Learner == FTRL:
		location, scale = s.ftrl.forecast(k, f)
	case s.config.Learner == Curve:
		location, scale = k.last, k.scale
		if c := s.curves.forecast(s.config, f); len(c.At) > 0 {
			location, scale = located(c, k.q)
		}
	case s.config.Optimiser == Ridge:
		location, scale = k.ridge(f)
	default:
		location, scale = k.surrogate(f)
	}
	n := float64(s.grid.Len())
	if !(math.Abs(location) <= 2*n) { // or NaN
		location = k.last
	}
	if !(scale <= n) {
		scale = n
	}
	return location, max(scale, 0.5)
}

// Observe takes in the result of a release of a window. Of several in a row about one window each quantile learns from the first alone: who asks more often must not count more. id names it, for [State.Last]. An error, which wraps [prior.ErrPrior], says which covariate is at fault, and leaves the state as it was.
func (s *State) Observe(id string, w Window, r *dp.Result) error {
	f, grown, err := s.config.features(w, s.magnitude)
	if err != nil {
		return err
	}
	before := map[float64]parameter{}
	if s.ftrl != nil && len(r.Learned) > 0 {
		for _, a := range r.Quantiles {
			if k := s.find(a.Q); k != nil {
				before[a.Q] = s.ftrl.parameter(s, k, len(f))
			}
		}
	}
	var quantiles []float64
	for _, a := range r.Quantiles {
		quantiles = append(quantiles, a.Q)
	}
	first := middle(quantiles)
	s.magnitude, s.releaseID = grown, id
	s.releases++
	for _, a := range r.Quantiles {
		bucket, x := s.position(a)
		k := s.find(a.Q)
		if k == nil {
			if len(s.quantiles) == maxQuantiles {
				continue
			}
			k = &quantile{q: a.Q}
			i, _ := slices.BinarySearchFunc(s.quantiles, a.Q, func(b *quantile, q float64) int { return compare(b.q, q) })
			s.quantiles = slices.Insert(s.quantiles, i, k)
		}
		start := w.Start.UnixNano()
		if k.releases > 0 && k.window == start {
			continue
		}
		k.window = start
		k.remember(s, w, f, bucket, x, a.Q == first)
		switch {
		case s.config.Learner == Previous, s.config.Learner == FTRL, s.config.Learner == Curve:
			k.track(math.Abs(x-k.last), 1)
		case s.config.Optimiser == Ridge:
			k.learnRidge(f, x, s.config.Robust, float64(s.grid.Len()))
		default:
			k.learnSurrogate(s.config.Optimiser, f, bucket, float64(s.grid.Len()))
		}
		k.last = x
		k.releases++
	}
	if len(before) > 0 {
		s.ftrl.observe(s, w, r, before)
	}
	if s.curves != nil && r.Curve != nil && len(r.Curve.At) > 0 && r.Curve.Check(s.grid.Len()) == nil {
		s.curves.observe(s.config, f, w.Start.UnixNano(), *r.Curve)
	}
	return nil
}

// remember notes what was forecast of an answer, first if it was the release's first to be found.
func (k *quantile) remember(s *State, w Window, f []float64, bucket int, x float64, first bool) {
	if k.releases == 0 {
		return
	}
	location, scale := s.forecast(k, f)
	k.forecasts = append(k.forecasts, &quietilev1.Forecast{
		WindowStartUnixNano: w.Start.UnixNano(), Location: location, Scale: scale, Released: x,
		Surprise: prior.Surprise(k.prior(s, f, first), s.grid, bucket), Uniform: math.Log(float64(s.grid.Len())),
	})
	if len(k.forecasts) > kept {
		k.forecasts = slices.Delete(k.forecasts, 0, len(k.forecasts)-kept)
	}
}

// position returns the bucket of an answer, and its position in buckets: in the middle where the answer stands for all of its bucket.
func (s *State) position(a dp.Quantile) (bucket int, at float64) {
	switch {
	case math.IsInf(a.Lower, -1):
		bucket = 0
	case math.IsInf(a.Upper, 1):
		bucket = s.grid.Len() - 1
	default:
		bucket = s.grid.Index(a.Lower + (a.Upper-a.Lower)/2)
	}
	part := 0.5
	if lower, upper := s.grid.Bounds(bucket); a.Value > lower && a.Value < upper && !math.IsInf(upper-lower, 0) {
		part = (a.Value - lower) / (upper - lower)
	}
	return bucket, float64(bucket) + part
}

// Proto returns the state as a message.
func (s *State) Proto() *quietilev1.PriorState {
	p := &quietilev1.PriorState{
		Format: format, Learner: s.config.Learner, Optimiser: s.config.Optimiser, Grid: s.grid.String(), Features: s.config.names(), Robust: s.config.Robust,
		Releases: s.releases, ReleaseId: s.releaseID, Magnitudes: slices.Clone(s.magnitude),
	}
	for _, k := range s.quantiles {
		p.Quantiles = append(p.Quantiles, &quietilev1.QuantileState{
			Q: k.q, Releases: k.releases, Last: k.last, Scale: k.scale, Weights: slices.Clone(k.weights), Memory: slices.Clone(k.memory),
			Surprises: k.surprises, Surprise: k.surprise, Trust: k.trust, Forecasts: slices.Clone(k.forecasts), WindowStartUnixNano: k.window,
		})
	}
	if s.ftrl != nil {
		p.Sums = s.ftrl.sums()
	}
	if s.curves != nil {
		p.Curves = s.curves.proto()
	}
	return p
}

// FromProto returns the state of a message for a configuration and a grid. It is an error if it is another's, of another format, or damaged; who has the answers makes it anew.
func FromProto(p *quietilev1.PriorState, c Config, g *sketch.Grid) (*State, error) {
	s, err := New(c, g)
	if err != nil {
		return nil, err
	}
	want := s.Proto()
	switch {
	case p.GetFormat() != format:
		return nil, fmt.Errorf("%w: state of format %d, not %d", prior.ErrPrior, p.GetFormat(), format)
	case p.GetGrid() != want.GetGrid():
		return nil, fmt.Errorf("%w: state on grid %s, not on %s", prior.ErrPrior, p.GetGrid(), want.GetGrid())
	case p.GetLearner() != want.GetLearner() || p.GetOptimiser() != want.GetOptimiser() || p.GetRobust() != want.GetRobust():
		return nil, fmt.Errorf("%w: state of %s by %s with robust %v, not of %s by %s with %v", prior.ErrPrior, p.GetLearner(), p.GetOptimiser(), p.GetRobust(), want.GetLearner(), want.GetOptimiser(), want.GetRobust())
	case !slices.Equal(p.GetFeatures(), want.GetFeatures()) || len(p.GetMagnitudes()) != len(s.magnitude):
		return nil, fmt.Errorf("%w: state with features %q, not %q", prior.ErrPrior, p.GetFeatures(), want.GetFeatures())
	case len(p.GetQuantiles()) > maxQuantiles:
		return nil, fmt.Errorf("%w: state of %d quantiles, more than %d", prior.ErrPrior, len(p.GetQuantiles()), maxQuantiles)
	}
	s.releases, s.releaseID = p.GetReleases(), p.GetReleaseId()
	copy(s.magnitude, p.GetMagnitudes())
	for _, x := range s.magnitude {
		if !(x >= 0) || math.IsInf(x, 1) {
			return nil, fmt.Errorf("%w: state with a covariate's magnitude %v", prior.ErrPrior, x)
		}
	}
	for i, k := range p.GetQuantiles() {
		if i > 0 && !(p.GetQuantiles()[i-1].GetQ() < k.GetQ()) || !(k.GetQ() > 0 && k.GetQ() < 1) {
			return nil, fmt.Errorf("%w: state whose quantile %v is out of order", prior.ErrPrior, k.GetQ())
		}
		numbers := slices.Concat([]float64{k.GetLast(), k.GetScale(), k.GetSurprise(), k.GetTrust()}, k.GetWeights(), k.GetMemory())
		if slices.ContainsFunc(numbers, func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }) {
			return nil, fmt.Errorf("%w: state whose quantile %v has numbers that are not finite", prior.ErrPrior, k.GetQ())
		}
		if k.GetTrust() < 0 {
			return nil, fmt.Errorf("%w: state whose quantile %v has the trust %v, less than 0", prior.ErrPrior, k.GetQ(), k.GetTrust())
		}
		if want := s.sizes(); len(k.GetWeights()) != want[0] || len(k.GetMemory()) != want[1] {
			return nil, fmt.Errorf("%w: state whose quantile %v has %d weights and %d numbers, not %d and %d", prior.ErrPrior, k.GetQ(), len(k.GetWeights()), len(k.GetMemory()), want[0], want[1])
		}
		s.quantiles = append(s.quantiles, &quantile{
			q: k.GetQ(), releases: k.GetReleases(), last: k.GetLast(), scale: k.GetScale(), weights: slices.Clone(k.GetWeights()), memory: slices.Clone(k.GetMemory()),
			surprises: k.GetSurprises(), surprise: k.GetSurprise(), trust: k.GetTrust(), forecasts: slices.Clone(k.GetForecasts()), window: k.GetWindowStartUnixNano(),
		})
	}
	if s.ftrl != nil {
		if err := s.ftrl.restore(s, p.GetSums()); err != nil {
			return nil, err
		}
	}
	if s.curves != nil {
		if err := s.curves.restore(p.GetCurves(), g.Len()); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// sizes returns how many weights and numbers of memory a quantile has.
func (s *State) sizes() [2]int {
	d := 1 + len(s.config.names())
	switch {
	case s.config.Learner == Previous, s.config.Learner == FTRL, s.config.Learner == Curve:
		return [2]int{0, 0}
	case s.config.Optimiser == Ridge:
		return [2]int{d, d * d}
	}
	return [2]int{d, memoryOf(s.config.Optimiser, d)}
}
