package prior

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/quietile/quietile/sketch"
)

// ByQuantile is a [Prior] that differs between quantiles. Its Weights are for those who need one prior for all: the mean over its quantiles.
type ByQuantile interface {
	Prior
	// At returns the prior of a quantile in (0, 1).
	At(q float64) Prior
}

// maxQuantiles limits the priors of [Each].
const maxQuantiles = 10_000

// A Quantile is a prior for one quantile.
type Quantile struct {
	Q     float64 // in (0, 1)
	Prior Prior
}

type each []Quantile

// Each returns the prior that has one for each quantile. A quantile that is not among them has that of the nearest, the lower of two. Errors wrap [ErrPrior].
func Each(priors []Quantile) (ByQuantile, error) {
	if len(priors) == 0 || len(priors) > maxQuantiles {
		return nil, fmt.Errorf("each %w: %d quantiles are not between 1 and %d", ErrPrior, len(priors), maxQuantiles)
	}
	e := each(slices.SortedFunc(slices.Values(priors), func(a, b Quantile) int { return cmp.Compare(a.Q, b.Q) }))
	for i, p := range e {
		if !(p.Q > 0 && p.Q < 1) {
			return nil, fmt.Errorf("each %w: quantile %v is not in (0, 1)", ErrPrior, p.Q)
		}
		if i > 0 && e[i-1].Q == p.Q {
			return nil, fmt.Errorf("each %w: quantile %v stands twice", ErrPrior, p.Q)
		}
	}
	return e, nil
}

func parseEach(s string) (Prior, error) {
	var all []Quantile
	for field := range strings.SplitSeq(s, ";") {
		q, text, _ := strings.Cut(field, "=")
		x, err := parseFinite(q)
		if err != nil {
			return nil, fmt.Errorf("each %w: quantile %w", ErrPrior, err)
		}
		if strings.HasPrefix(text, "each:") || strings.HasPrefix(text, "release:") {
			return nil, fmt.Errorf("each %w: quantile %v has %q, which differs between quantiles itself", ErrPrior, x, text)
		}
		p, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("each %w: quantile %v: %w", ErrPrior, x, err)
		}
		all = append(all, Quantile{x, p})
	}
	return Each(all)
}

// Name returns the description that [Parse] reads, if it reads those of the quantiles' priors.
func (e each) Name() string {
	var fields []string
	for _, p := range e {
		fields = append(fields, formatNumber(p.Q)+"="+p.Prior.Name())
	}
	return "each:" + strings.Join(fields, ";")
}

// At implements [ByQuantile].
func (e each) At(q float64) Prior {
	nearest := e[0]
	for _, p := range e[1:] {
		if math.Abs(p.Q-q) < math.Abs(nearest.Q-q) {
			nearest = p
		}
	}
	return nearest.Prior
}

// Weights implements [Prior]: the mean over the quantiles.
func (e each) Weights(g *sketch.Grid) ([]uint64, error) {
	sum := make([]uint64, g.Len())
	for _, p := range e {
		w, err := p.Prior.Weights(g)
		if err == nil {
			err = Check(w, g.Len())
		}
		if err != nil {
			return nil, fmt.Errorf("quantile %v: %w", p.Q, err)
		}
		total := uint64(0)
		for _, x := range w {
			total += x
		}
		// Each has the same part of 2^60, whatever its own total.
		scale := math.Ldexp(1, whole) / float64(len(e)) / float64(total)
		for i, x := range w {
			sum[i] += 1 + uint64(scale*float64(x))
		}
	}
	return sum, nil
}

// A release is the answers of an earlier one.
type release struct {
	answers []answer
	scale   float64 // in buckets; 0 for a quarter of the distance to the nearest other answer
	robust  float64
}

type answer struct{ q, value float64 }

// Release returns a prior made of the answers of an earlier release: a quantile's is a Cauchy distribution of positions in buckets around the answer, or between the answers of its neighbours, with a
// scale in buckets, 0 standing for a quarter of the distance to the nearest other answer, and at least half a bucket. The uniform prior has the share robust in (0, 1]. Errors wrap [ErrPrior].
func Release(values map[float64]float64, scale, robust float64) (ByQuantile, error) {
	r := release{scale: scale, robust: robust}
	for q, x := range values {
		if !(q > 0 && q < 1) {
			return nil, fmt.Errorf("release %w: quantile %v is not in (0, 1)", ErrPrior, q)
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, fmt.Errorf("release %w: value %v of quantile %v is not finite", ErrPrior, x, q)
		}
		r.answers = append(r.answers, answer{q, x})
	}
	switch {
	case len(r.answers) == 0 || len(r.answers) > maxQuantiles:
		return nil, fmt.Errorf("release %w: %d answers are not between 1 and %d", ErrPrior, len(r.answers), maxQuantiles)
	case !(scale >= 0) || math.IsInf(scale, 1):
		return nil, fmt.Errorf("release %w: scale %v is not a number of buckets", ErrPrior, scale)
	case !(robust > 0 && robust <= 1):
		return nil, fmt.Errorf("release %w: robust %v is not in (0, 1]", ErrPrior, robust)
	}
	slices.SortFunc(r.answers, func(a, b answer) int { return cmp.Compare(a.q, b.q) })
	for i, a := range r.answers[1:] {
		if before := r.answers[i]; a.value < before.value {
			return nil, fmt.Errorf("release %w: value %v of quantile %v is below %v of quantile %v", ErrPrior, a.value, a.q, before.value, before.q)
		}
	}
	return r, nil
}

func parseRelease(s string) (Prior, error) {
	values, scale, robust := map[float64]float64{}, 0.0, DefaultRobust
	for field := range strings.SplitSeq(s, ",") {
		key, text, _ := strings.Cut(field, "=")
		x, err := parseFinite(text)
		if err != nil {
			return nil, fmt.Errorf("release %w: %s %w", ErrPrior, key, err)
		}
		switch key {
		case "scale":
			scale = x
		case "robust":
			robust = x
		default:
			q, err := strconv.ParseFloat(key, 64)
			if err != nil {
				return nil, fmt.Errorf("release %w: unknown field %q: there are quantiles such as 0.5=37, scale and robust", ErrPrior, key)
			}
			if _, ok := values[q]; ok {
				return nil, fmt.Errorf("release %w: quantile %v stands twice", ErrPrior, q)
			}
			values[q] = x
		}
	}
	return Release(values, scale, robust)
}

// Name returns the description that [Parse] reads.
func (r release) Name() string {
	var fields []string
	for _, a := range r.answers {
		fields = append(fields, formatNumber(a.q)+"="+formatNumber(a.value))
	}
	if r.scale > 0 {
		fields = append(fields, "scale="+formatNumber(r.scale))
	}
	if text := robustText(r.robust); text != "" {
		fields = append(fields, text)
	}
	return "release:" + strings.Join(fields, ",")
}

// Weights implements [Prior]: the mean over the answers' quantiles.
func (r release) Weights(g *sketch.Grid) ([]uint64, error) {
	var all each
	for _, a := range r.answers {
		all = append(all, Quantile{a.q, r.At(a.q)})
	}
	return all.Weights(g)
}

// At implements [ByQuantile].
func (r release) At(q float64) Prior { return located{r, q} }

// located is a release's prior of one quantile.
type located struct {
	r release
	q float64
}

// Name implements [Prior]; [Parse] does not read it.
func (l located) Name() string { return fmt.Sprintf("%s at %v", l.r.Name(), l.q) }

func (l located) share() float64 { return l.r.robust }

func (l located) masses(g *sketch.Grid) ([]float64, error) {
	at := make([]float64, len(l.r.answers)) // positions
	for i, a := range l.r.answers {
		at[i] = Position(g, a.value)
	}
	i, _ := slices.BinarySearchFunc(l.r.answers, l.q, func(a answer, q float64) int { return cmp.Compare(a.q, q) })
	location := at[min(i, len(at)-1)]
	if i > 0 && i < len(at) {
		share := (l.q - l.r.answers[i-1].q) / (l.r.answers[i].q - l.r.answers[i-1].q)
		location = at[i-1] + share*(at[i]-at[i-1])
	}
	scale := l.r.scale
	if scale == 0 {
		scale = float64(g.Len()) / 100
		if len(at) > 1 {
			nearest := math.Inf(1)
			for k := range len(at) - 1 {
				if k >= i-1 && k <= i || k == len(at)-2 && i == len(at) {
					nearest = min(nearest, at[k+1]-at[k])
				}
			}
			scale = nearest / 4
		}
	}
	return family{name: "cauchy", parameters: []float64{location, max(scale, 0.5)}, robust: l.r.robust, buckets: true}.masses(g)
}

// Weights implements [Prior].
func (l located) Weights(g *sketch.Grid) ([]uint64, error) { return mix(l, g) }

// Mixed implements [Mixture].
func (l located) Mixed(g *sketch.Grid) (own, robust []uint64, share float64, err error) {
	return parts(l, g)
}

// Position returns where a value, which is not NaN, lies on a grid, in buckets: 3.25 is a quarter into the fourth. In a bucket that reaches to infinity, or has one value, it is the middle.
func Position(g *sketch.Grid, x float64) float64 {
	i := g.Index(x)
	lower, upper := g.Bounds(i)
	if math.IsInf(lower, -1) || math.IsInf(upper, 1) || lower == upper {
		return float64(i) + 0.5
	}
	part := (x - lower) / (upper - lower)
	if math.IsInf(upper-lower, 1) {
		part = (x/2 - lower/2) / (upper/2 - lower/2)
	}
	return float64(i) + min(max(part, 0), 1)
}
