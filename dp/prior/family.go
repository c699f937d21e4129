package prior

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/quietile/quietile/sketch"
)

// ErrPrior is wrapped by every error about the description of a prior; the text names the field and its value.
var ErrPrior = errors.New("prior")

// DefaultRobust is the share of a prior's weight that is spread evenly over all buckets: a prior that is wrong costs at most as much as ln(10) more in the bound of the
// error than the uniform prior does (Khodak, Amin, Dick, Vassilvitskii, ICML 2023, section 3.2).
const DefaultRobust = 0.1

// A distribution is a family of distributions of a value.
type distribution struct {
	fields []string // names of its parameters
	check  func(p []float64) error
	// tails returns the probability of a value below x, and that of one above, each to nearly full relative precision.
	tails func(p []float64, x float64) (below, above float64)
}

// distributions are the families with parameters, in terms of the values, or of the positions in buckets with axis=buckets.
var distributions = map[string]distribution{
	"cauchy": {[]string{"location", "scale"}, positiveScale, func(p []float64, x float64) (float64, float64) {
		z := (x - p[0]) / p[1]
		return math.Atan2(1, -z) / math.Pi, math.Atan2(1, z) / math.Pi
	}},
	"half-cauchy": {[]string{"location", "scale"}, positiveScale, func(p []float64, x float64) (float64, float64) {
		z := max((x-p[0])/p[1], 0)
		return 2 * math.Atan(z) / math.Pi, 2 * math.Atan2(1, z) / math.Pi
	}},
	"laplace": {[]string{"location", "scale"}, positiveScale, func(p []float64, x float64) (float64, float64) {
		z := (x - p[0]) / p[1]
		tail := math.Exp(-math.Abs(z)) / 2
		if z < 0 {
			return tail, 1 - tail
		}
		return 1 - tail, tail
	}},
	"gaussian": {[]string{"location", "scale"}, positiveScale, func(p []float64, x float64) (float64, float64) {
		z := (x - p[0]) / p[1] / math.Sqrt2
		return math.Erfc(-z) / 2, math.Erfc(z) / 2
	}},
	// What a learner of quantiles believes: three quarters of the weight at its forecast, within its usual error; the rest around the latest answer, as much within any distance as within its double, up to
	// the reach: a shift of any size is found.
	"forecast": {[]string{"location", "scale", "last", "reach"}, func(p []float64) error {
		if !(p[3] > 0) {
			return fmt.Errorf("forecast %w: reach %v is not positive", ErrPrior, p[3])
		}
		return positiveScale(p)
	}, func(p []float64, x float64) (float64, float64) {
		below := math.Exp(-math.Abs(x-p[0])/p[1]) / 2
		above := 1 - below
		if x > p[0] {
			below, above = above, below
		}
		far := (1 - min(math.Log1p(math.Abs(x-p[2])/p[1])/math.Log1p(p[3]/p[1]), 1)) / 2
		near := 1 - far
		if x < p[2] {
			far, near = near, far
		}
		const known = 0.75
		return known*below + (1-known)*near, known*above + (1-known)*far
	}},
	"log-uniform": {[]string{"min", "max"}, func(p []float64) error {
		if !(p[0] > 0 && p[0] < p[1]) {
			return fmt.Errorf("log-uniform %w: min %v and max %v are not positive and ascending", ErrPrior, p[0], p[1])
		}
		return nil
	}, func(p []float64, x float64) (float64, float64) {
		x = min(max(x, p[0]), p[1])
		all := math.Log(p[1]) - math.Log(p[0])
		return (math.Log(x) - math.Log(p[0])) / all, (math.Log(p[1]) - math.Log(x)) / all
	}},
}

func positiveScale(p []float64) error {
	if !(p[1] > 0) {
		return fmt.Errorf("%w: scale %v is not positive", ErrPrior, p[1])
	}
	return nil
}

// family is a distribution with its parameters, mixed with the uniform prior.
type family struct {
	name       string
	parameters []float64
	robust     float64
	near       float64
	buckets    bool // the distribution is one of positions in buckets
}

// ErrFile says that a prior is in a file, which [Parse] does not read: "public:FILE". Who may read files uses [Public].
var ErrFile = fmt.Errorf("%w: a public data set is named where the file can be read, in a policy or on a command line", ErrPrior)

// Parse reads the description of a prior:
//
//	uniform
//	uniform:near=0.5                              half of it near other quantiles' answers (see [Near])
//	cauchy:location=0,scale=1
//	half-cauchy:location=0,scale=1
//	laplace:location=40,scale=10
//	gaussian:location=40,scale=10
//	log-uniform:min=0.001,max=1000
//	forecast:location=812.5,scale=3,last=810,reach=8194   what a learner believes; positions in buckets
//	weights:0*10,2.5,7,0*20                      relative weights of the grid's buckets, 0*10 being ten times 0
//	release:0.25=28,0.5=37,0.75=48               the answers of an earlier release; each quantile has a prior of its own (see [Release])
//	each:0.5=laplace:location=1,scale=2;0.9=…    for each quantile a prior of its own (see [Each])
//
// The first six may be about positions in buckets instead of values with axis=buckets: 3.5 is the middle of the fourth bucket. Of any but the first a share, 0.1 unless robust=… says otherwise,
// is spread evenly over the buckets, so that a wrong guess costs little, and inside a range of the recursive estimator over the buckets there; near=0.5 takes half of that share to the neighbourhood of other quantiles' answers, which is what forecast does unless it has near=0. Errors wrap [ErrPrior] and name the field and its value.
func Parse(s string) (Prior, error) {
	name, rest, _ := strings.Cut(s, ":")
	switch {
	case s == "uniform" || s == "":
		return Uniform(), nil
	case len(s) > maxText:
		return nil, fmt.Errorf("%w: a description of %d bytes is longer than %d", ErrPrior, len(s), maxText)
	}
	switch name {
	case "uniform":
		return parseSpread(rest)
	case "weights":
		return parseWeights(rest)
	case "release":
		return parseRelease(rest)
	case "each":
		return parseEach(rest)
	case "public":
		return nil, fmt.Errorf("%w: %q", ErrFile, s)
	}
	d, ok := distributions[name]
	if !ok {
		return nil, fmt.Errorf("%w %q: there are uniform, %s, release, weights and each, with parameters such as cauchy:location=0,scale=1", ErrPrior, s, strings.Join(slices.Sorted(maps.Keys(distributions)), ", "))
	}
	f := family{name: name, parameters: make([]float64, len(d.fields)), robust: DefaultRobust, buckets: name == "forecast"}
	if f.buckets {
		f.near = defaultNear
	}
	seen := map[string]bool{}
	for field := range strings.SplitSeq(rest, ",") {
		key, text, _ := strings.Cut(field, "=")
		i := slices.Index(d.fields, key)
		if i < 0 && key != "robust" && key != "axis" && key != "near" {
			return nil, fmt.Errorf("%s %w: unknown field %q: there are %s, axis, near and robust", name, ErrPrior, key, strings.Join(d.fields, ", "))
		}
		if seen[key] {
			return nil, fmt.Errorf("%s %w: field %s stands twice", name, ErrPrior, key)
		}
		seen[key] = true
		if key == "axis" {
			if text != "values" && text != "buckets" || f.buckets && text == "values" {
				return nil, fmt.Errorf("%s %w: axis %q is neither values nor buckets, or not what this family has", name, ErrPrior, text)
			}
			f.buckets = text == "buckets"
			continue
		}
		v, err := parseFinite(text)
		if err != nil {
			return nil, fmt.Errorf("%s %w: %s %w", name, ErrPrior, key, err)
		}
		if i >= 0 {
			f.parameters[i] = v
		} else if key == "near" {
			if f.near = v; !(v >= 0 && v <= 1) {
				return nil, fmt.Errorf("%s %w: near %v is not in [0, 1]", name, ErrPrior, v)
			}
		} else if f.robust, err = parseRobust(text); err != nil {
			return nil, fmt.Errorf("%s %w: %w", name, ErrPrior, err)
		}
	}
	for _, key := range d.fields {
		if !seen[key] {
			return nil, fmt.Errorf("%s %w: %s is missing", name, ErrPrior, key)
		}
	}
	if err := d.check(f.parameters); err != nil {
		return nil, err
	}
	return f, nil
}

// maxText is the most bytes of a description: some of a prior for each of a thousand quantiles.
const maxText = 1 << 18

// parseFinite reads a finite number. The error begins with the text.
func parseFinite(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is not a finite number", text)
	}
	return v + 0, nil // -0 is 0
}

// parseRobust reads the share of the robust part.
func parseRobust(text string) (float64, error) {
	v, err := parseFinite(text)
	if err != nil {
		return 0, fmt.Errorf("robust %w", err)
	}
	if !(v > 0 && v <= 1) {
		return 0, fmt.Errorf("robust %v is not in (0, 1]", v)
	}
	return v, nil
}

// robustText returns the field of a description that [parseRobust] reads, nothing for the default.
func robustText(share float64) string {
	if share == DefaultRobust {
		return ""
	}
	return "robust=" + formatNumber(share)
}

func formatNumber(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// Name returns the description that [Parse] reads.
func (f family) Name() string {
	var fields []string
	for i, key := range distributions[f.name].fields {
		fields = append(fields, key+"="+formatNumber(f.parameters[i]))
	}
	if f.buckets && f.name != "forecast" {
		fields = append(fields, "axis=buckets")
	}
	if usual := map[bool]float64{true: defaultNear}[f.name == "forecast"]; f.near != usual {
		fields = append(fields, "near="+formatNumber(f.near))
	}
	if r := robustText(f.robust); r != "" {
		fields = append(fields, r)
	}
	return f.name + ":" + strings.Join(fields, ",")
}

// masses returns the distribution's probability of each bucket.
func (f family) masses(g *sketch.Grid) ([]float64, error) {
	tails := distributions[f.name].tails
	m := make([]float64, g.Len())
	below, above := 0.0, 1.0
	if f.buckets { // there is nothing beyond the first and the last
		below, above = tails(f.parameters, 0)
	}
	for i := range m {
		upper := float64(i + 1)
		if !f.buckets {
			_, upper = g.Bounds(i)
		}
		b, a := 1.0, 0.0
		if f.buckets || i < len(m)-1 && !math.IsInf(upper, 1) {
			b, a = tails(f.parameters, upper)
		}
		// The difference of the smaller ones is the more precise.
		mass := b - below
		if above < below {
			mass = above - a
		}
		below, above = b, a
		if mass > 0 { // extreme parameters may make it no number, which counts as 0 on every machine
			m[i] = mass
		}
	}
	return m, nil
}

func (f family) share() float64 { return f.robust }

// Near implements [Nearby].
func (f family) Near() float64 { return f.near }

// Weights implements [Prior].
func (f family) Weights(g *sketch.Grid) ([]uint64, error) { return mix(f, g) }

// Mixed implements [Mixture].
func (f family) Mixed(g *sketch.Grid) (own, robust []uint64, share float64, err error) {
	return parts(f, g)
}

// Forecast returns the prior that a learner makes: the family "forecast" of [Parse]. The error wraps [ErrPrior].
func Forecast(location, scale, last, reach, robust float64) (Prior, error) {
	f := family{name: "forecast", parameters: []float64{location, scale, last, reach}, robust: robust, near: defaultNear, buckets: true}
	for i, x := range f.parameters {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, fmt.Errorf("forecast %w: %s %v is not finite", ErrPrior, distributions["forecast"].fields[i], x)
		}
	}
	if !(robust > 0 && robust <= 1) {
		return nil, fmt.Errorf("forecast %w: robust %v is not in (0, 1]", ErrPrior, robust)
	}
	return f, distributions["forecast"].check(f.parameters)
}

// Surprise returns −ln of the mass that a prior gives a bucket of a grid, which it must fit, +Inf if it does not.
func Surprise(p Prior, g *sketch.Grid, bucket int) float64 {
	if f, ok := p.(family); ok && f.buckets {
		tails := distributions[f.name].tails
		below, above := tails(f.parameters, float64(bucket))
		b, a := tails(f.parameters, float64(bucket+1))
		mass := b - below
		if a < b {
			mass = above - a
		}
		return -math.Log((1-f.robust)*max(mass, 0) + f.robust/float64(g.Len()))
	}
	w, err := p.Weights(g)
	if err != nil {
		return math.Inf(1)
	}
	total := 0.0
	for _, x := range w {
		total += float64(x)
	}
	return -math.Log(float64(w[bucket]) / total)
}

// Located returns location and scale, in buckets, of the description of a learner's forecast, NaN for anything else.
func Located(description string) (location, scale float64) {
	p, err := Parse(description)
	if f, ok := p.(family); ok && err == nil && f.name == "forecast" {
		return f.parameters[0], f.parameters[1]
	}
	return math.NaN(), math.NaN()
}
