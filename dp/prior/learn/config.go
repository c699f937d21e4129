package learn

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/quietile/quietile/dp/prior"
)

// The learners.
const (
	// Previous puts a quantile where the latest release found it.
	Previous = "previous"
	// Proxy forecasts a quantile from its earlier answers, as if these were the truth.
	Proxy = "proxy"
	// FTRL follows the regularised leader by noisy gradients on the data, which each release pays for.
	FTRL = "dp-ftrl"
	// Curve combines what the noisy counts of earlier releases showed with a new release's, for estimators that read their answers from such.
	Curve = "curve"
)

// The optimisers of [Proxy].
const (
	// Ridge is recursive least squares with forgetting: a Newton step for the squared error, clipped where that is large.
	Ridge = "ridge"
	// COCOB bets on coins, without a rate: Orabona, Tommasi, "Training deep networks without learning rates through coin betting" (NeurIPS 2017), algorithm 2.
	COCOB = "cocob"
	// SGD is online gradient descent with rates that fall as 1/√t.
	SGD = "sgd"
)

// Learners and Optimisers list them.
var (
	Learners   = []string{Previous, Proxy, FTRL, Curve}
	Optimisers = []string{Ridge, COCOB, SGD}
)

// The features that come from a window's time.
const (
	Hour    = "hour"    // of the day, in UTC: two harmonics
	Weekday = "weekday" // one harmonic
)

// maxCovariates keeps a state small.
const maxCovariates = 16

// A Config says how to learn. It is public.
type Config struct {
	// Learner is one of [Learners]; empty for [Proxy].
	Learner string
	// Optimiser is one of [Optimisers]; empty for [Ridge]. Only [Proxy] has a choice.
	Optimiser string
	// Features are [Hour] and [Weekday], or less.
	Features []string
	// Covariates are the names of numbers that each window has; at most 16.
	Covariates []string
	// Robust is the share of the robust part, in (0, 1]; 0 for [prior.DefaultRobust].
	Robust float64
}

// Validate returns an error that names a field and its value, and wraps [prior.ErrPrior], unless the configuration is right.
func (c Config) Validate() error {
	c = c.filled()
	switch {
	case !slices.Contains(Learners, c.Learner):
		return fmt.Errorf("%w: learner %q is not one of %s", prior.ErrPrior, c.Learner, strings.Join(Learners, ", "))
	case !slices.Contains(Optimisers, c.Optimiser):
		return fmt.Errorf("%w: optimiser %q is not one of %s", prior.ErrPrior, c.Optimiser, strings.Join(Optimisers, ", "))
	case c.Optimiser != Ridge && c.Learner != Proxy:
		return fmt.Errorf("%w: optimiser %q is for the learner %s, not for %s", prior.ErrPrior, c.Optimiser, Proxy, c.Learner)
	case !(c.Robust > 0 && c.Robust <= 1):
		return fmt.Errorf("%w: robust %v is not in (0, 1]", prior.ErrPrior, c.Robust)
	case len(c.Covariates) > maxCovariates:
		return fmt.Errorf("%w: %d covariates are more than %d", prior.ErrPrior, len(c.Covariates), maxCovariates)
	}
	for i, f := range c.Features {
		if f != Hour && f != Weekday || slices.Contains(c.Features[:i], f) {
			return fmt.Errorf("%w: feature %q is not one of %s, %s, or stands twice", prior.ErrPrior, f, Hour, Weekday)
		}
	}
	for i, name := range c.Covariates {
		if name == "" || len(name) > 64 || slices.Contains(c.Covariates[:i], name) {
			return fmt.Errorf("%w: covariate %q is not 1 to 64 bytes, or stands twice", prior.ErrPrior, name)
		}
	}
	return nil
}

// filled returns the configuration with its defaults.
func (c Config) filled() Config {
	if c.Learner == "" {
		c.Learner = Proxy
	}
	if c.Optimiser == "" {
		c.Optimiser = Ridge
	}
	if c.Robust == 0 {
		c.Robust = prior.DefaultRobust
	}
	switch c.Learner {
	case Previous:
		c.Features, c.Covariates = nil, nil
	case Curve: // which looks up what has the same features
		c.Covariates = nil
	}
	return c
}

// names returns the names of the features after the constant.
func (c Config) names() []string {
	if c.Learner == Curve {
		return c.Features
	}
	var all []string
	for _, f := range []string{Hour, Weekday} {
		switch {
		case !slices.Contains(c.Features, f):
		case f == Hour:
			all = append(all, "hour.cos", "hour.sin", "hour.cos2", "hour.sin2")
		default:
			all = append(all, "weekday.cos", "weekday.sin")
		}
	}
	for _, name := range c.Covariates {
		all = append(all, "covariate "+name)
	}
	return all
}

// A Window is what is public of a window.
type Window struct {
	Start time.Time
	// Period is the start of its budget period. Only [FTRL] looks at it.
	Period time.Time
	// Covariates by their names.
	Covariates map[string]float64
}

// features returns the numbers that a forecast is linear in, the constant 1 first; for [Curve] the hour and the weekday themselves after it. Covariates are divided by the largest magnitudes, which grow with them. The error names the covariate that is missing, not finite or not declared.
func (c Config) features(w Window, magnitudes []float64) (f, grown []float64, err error) {
	f = []float64{1}
	turn := func(part float64, harmonics int) {
		for k := range harmonics {
			sin, cos := math.Sincos(2 * math.Pi * part * float64(k+1))
			f = append(f, cos, sin)
		}
	}
	utc := w.Start.UTC()
	if c.Learner == Curve {
		return []float64{1, float64(utc.Hour()), float64(utc.Weekday())}, nil, nil
	}
	day := float64(utc.Hour())/24 + float64(utc.Minute())/1440 + float64(utc.Second())/86400
	if slices.Contains(c.Features, Hour) {
		turn(day, 2)
	}
	if slices.Contains(c.Features, Weekday) {
		turn((float64(utc.Weekday())+day)/7, 1)
	}
	grown = slices.Clone(magnitudes)
	for i, name := range c.Covariates {
		x, ok := w.Covariates[name]
		if !ok {
			return nil, nil, fmt.Errorf("%w: covariate %q is missing", prior.ErrPrior, name)
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, nil, fmt.Errorf("%w: covariate %q is %v, not finite", prior.ErrPrior, name, x)
		}
		grown[i] = max(grown[i], math.Abs(x))
		if grown[i] > 0 {
			x /= grown[i]
		}
		f = append(f, x)
	}
	if c.Learner == Previous {
		return f, grown, nil
	}
	for name := range w.Covariates {
		if !slices.Contains(c.Covariates, name) {
			return nil, nil, fmt.Errorf("%w: covariate %q is not declared: there are %d, %q", prior.ErrPrior, name, len(c.Covariates), c.Covariates)
		}
	}
	return f, grown, nil
}
