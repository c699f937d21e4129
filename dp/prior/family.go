package prior

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/quietile/quietile/sketch"
)

// ErrPrior is wrapped by every error about the description of a prior; the text names the field and its value.
var ErrPrior = errors.New("prior")

// defaultRobust is the share of a prior's weight that is spread evenly over all buckets: a prior that is wrong costs at most as much as ln(10) more in the bound of the
// error than the uniform prior does (Khodak, Amin, Dick, Vassilvitskii, ICML 2023, section 3.2).
const defaultRobust = 0.1

// A distribution is a family of distributions of a value.
type distribution struct {
	fields []string // names of its parameters
	check  func(p []float64) error
	// tails returns the probability of a value below x, and that of one above, each to nearly full relative precision.
	tails func(p []float64, x float64) (below, above float64)
}

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
}

// Parse reads the description of a prior:
//
//	uniform
//	cauchy:location=0,scale=1
//	half-cauchy:location=0,scale=1
//	laplace:location=40,scale=10
//	gaussian:location=40,scale=10
//	log-uniform:min=0.001,max=1000
//
// Of any but the first a share, 0.1 unless robust=… says otherwise, is spread evenly over the buckets, so that a wrong guess costs little. Errors wrap [ErrPrior].
func Parse(s string) (Prior, error) {
	name, rest, _ := strings.Cut(s, ":")
	if s == "uniform" || s == "" {
		return Uniform(), nil
	}
	d, ok := distributions[name]
	if !ok {
		return nil, fmt.Errorf("%w %q: there are uniform, cauchy, gaussian, half-cauchy, laplace and log-uniform, with parameters such as cauchy:location=0,scale=1", ErrPrior, s)
	}
	f := family{name: name, parameters: make([]float64, len(d.fields)), robust: defaultRobust}
	seen := map[string]bool{}
	for field := range strings.SplitSeq(rest, ",") {
		key, text, _ := strings.Cut(field, "=")
		i := slices.Index(d.fields, key)
		if i < 0 && key != "robust" {
			return nil, fmt.Errorf("%s %w: unknown field %q: there are %s and robust", name, ErrPrior, key, strings.Join(d.fields, ", "))
		}
		if seen[key] {
			return nil, fmt.Errorf("%s %w: field %s stands twice", name, ErrPrior, key)
		}
		seen[key] = true
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%s %w: %s %q is not a finite number", name, ErrPrior, key, text)
		}
		if i >= 0 {
			f.parameters[i] = v + 0 // -0 is 0
		} else if f.robust = v; !(v > 0 && v <= 1) {
			return nil, fmt.Errorf("%s %w: robust %v is not in (0, 1]", name, ErrPrior, v)
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

// Name returns the description that [Parse] reads.
func (f family) Name() string {
	s := f.name + ":"
	for i, key := range distributions[f.name].fields {
		s += key + "=" + strconv.FormatFloat(f.parameters[i], 'g', -1, 64) + ","
	}
	if f.robust != defaultRobust {
		return s + "robust=" + strconv.FormatFloat(f.robust, 'g', -1, 64)
	}
	return strings.TrimSuffix(s, ",")
}

// Weights implements [Prior].
func (f family) Weights(g *sketch.Grid) ([]uint64, error) {
	tails := distributions[f.name].tails
	w := make([]uint64, g.Len())
	even := f.robust / float64(len(w))
	below, above := 0.0, 1.0
	for i := range w {
		_, upper := g.Bounds(i)
		b, a := 1.0, 0.0
		if i < len(w)-1 && !math.IsInf(upper, 1) {
			b, a = tails(f.parameters, upper)
		}
		// The difference of the smaller ones is the more precise.
		mass := b - below
		if above < below {
			mass = above - a
		}
		below, above = b, a
		// Parts of 2^60, so that the sum stays below MaxTotal whatever the rounding, and never zero.
		w[i] = 1 + uint64(math.Ldexp((1-f.robust)*max(mass, 0)+even, 60))
	}
	return w, nil
}
