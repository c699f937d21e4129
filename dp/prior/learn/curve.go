package learn

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/prior"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// A rule says which earlier curves a forecast is the mean of, by the inverse of their variances: those of all windows or those of the same season, each by a factor less than the one after it.
type rule struct {
	season string // [Hour], [Weekday] or empty
	factor float64
}

// The rules that [Curve] chooses from; those of seasons that are no features are left out.
var rules = []rule{{"", 0}, {"", 0.2}, {"", 0.5}, {"", 0.8}, {Hour, 0.5}, {Hour, 0.8}, {Weekday, 0.5}, {Weekday, 0.8}}

// phase returns the season of a window with features f, and false if the rule is left out.
func (r rule) phase(c Config, f []float64) (int, bool) {
	switch r.season {
	case Hour:
		return int(f[1]), slices.Contains(c.Features, Hour)
	case Weekday:
		return int(f[2]), slices.Contains(c.Features, Weekday)
	}
	return 0, true
}

// curves is what the learner [Curve] knows: by rule and phase means of released curves, and how well each rule has forecast those that came after.
type curves struct {
	window int64 // start of the latest window
	means  []weighed
	scores [8]score // by rule
}

// weighed is the mean of the curves of a rule and a phase, with the sum of their weights.
type weighed struct {
	rule, phase int
	mean        dp.Curve
	weight      float64
}

// score is the mean squared difference of forecasts and released curves, without what noise explains of it, as a sum and its weight.
type score struct{ sum, weight float64 }

// leastVariance keeps weights finite.
const leastVariance = 1e-15

func (a weighed) compare(b weighed) int {
	return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.phase, b.phase))
}

// at returns where the mean of a rule for features f is, or would be.
func (l *curves) at(c Config, rule int, f []float64) (i int, found bool) {
	phase, ok := rules[rule].phase(c, f)
	if !ok {
		return 0, false
	}
	return slices.BinarySearchFunc(l.means, weighed{rule: rule, phase: phase}, weighed.compare)
}

// forecast returns the mean of the rule that has forecast best until now, with the variance that its forecasts had; an empty curve if nothing was forecast yet.
func (l *curves) forecast(c Config, f []float64) (best dp.Curve) {
	least := math.Inf(1)
	for r, s := range l.scores {
		i, ok := l.at(c, r, f)
		if ok && s.weight > 0 && s.sum/s.weight < least {
			least, best = s.sum/s.weight, l.means[i].mean
			best.Variance = min(max(least, 0), 1)
		}
	}
	return best
}

// observe takes in a released curve.
func (l *curves) observe(c Config, f []float64, window int64, released dp.Curve) {
	if l.window == window && len(l.means) > 0 {
		return
	}
	l.window = window
	for r, rule := range rules {
		phase, ok := rule.phase(c, f)
		if !ok {
			continue
		}
		weight := 1 / max(released.Variance, leastVariance)
		i, known := l.at(c, r, f)
		if !known {
			l.means = slices.Insert(l.means, i, weighed{r, phase, released, weight})
			continue
		}
		m, s := &l.means[i], &l.scores[r]
		s.sum = forgetting*s.sum + m.mean.Apart(released) - released.Variance
		s.weight = forgetting*s.weight + 1
		m.weight = rule.factor*m.weight + weight
		m.mean = m.mean.Mean(released, weight/m.weight)
	}
}

// located returns position and usual error of a quantile in a forecast.
func located(c dp.Curve, q float64) (location, scale float64) {
	off := math.Sqrt(c.Variance)
	return c.Position(q), (c.Position(min(q+off, 1)) - c.Position(max(q-off, 0))) / 2
}

// Forecast returns what [Curve] expects of a window's records, for [dp.Options]: an empty curve where nothing was learned, nil for other learners.
func (s *State) Forecast(w Window) *dp.Curve {
	f, _, err := s.config.features(w, s.magnitude)
	if s.curves == nil || err != nil {
		return nil
	}
	c := s.curves.forecast(s.config, f)
	return &c
}

func (l *curves) proto() *quietilev1.CurveState {
	p := &quietilev1.CurveState{WindowStartUnixNano: l.window}
	for _, s := range l.scores {
		p.Sums, p.Weights = append(p.Sums, s.sum), append(p.Weights, s.weight)
	}
	for _, m := range l.means {
		p.Means = append(p.Means, &quietilev1.MeanCurve{Rule: uint32(m.rule), Phase: uint32(m.phase), Weight: m.weight, At: slices.Clone(m.mean.At)})
	}
	return p
}

// restore reads what proto wrote.
func (l *curves) restore(p *quietilev1.CurveState, buckets int) error {
	if len(p.GetSums()) != len(rules) || len(p.GetWeights()) != len(rules) {
		return fmt.Errorf("%w: state with scores of %d and %d rules, not %d", prior.ErrPrior, len(p.GetSums()), len(p.GetWeights()), len(rules))
	}
	l.window = p.GetWindowStartUnixNano()
	for r := range rules {
		s := score{p.GetSums()[r], p.GetWeights()[r]}
		if math.IsNaN(s.sum) || math.IsInf(s.sum, 0) || !(s.weight >= 0 && s.weight <= math.MaxFloat64) {
			return fmt.Errorf("%w: state whose rule %d has the score %v of weight %v", prior.ErrPrior, r, s.sum, s.weight)
		}
		l.scores[r] = s
	}
	for i, m := range p.GetMeans() {
		x := weighed{int(m.GetRule()), int(m.GetPhase()), dp.Curve{At: slices.Clone(m.GetAt())}, m.GetWeight()}
		if x.rule >= len(rules) || i > 0 && l.means[i-1].compare(x) >= 0 {
			return fmt.Errorf("%w: state whose mean of rule %d is out of order", prior.ErrPrior, x.rule)
		}
		if err := x.mean.Check(buckets); err != nil || len(x.mean.At) == 0 || !(x.weight > 0 && x.weight <= math.MaxFloat64) {
			return fmt.Errorf("%w: state whose rule %d has a mean of weight %v, %d points: %w", prior.ErrPrior, x.rule, x.weight, len(x.mean.At), cmp.Or(err, prior.ErrPrior))
		}
		l.means = append(l.means, x)
	}
	return nil
}
