package prior

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/quietile/quietile/sketch"
)

// explicit is a prior with a weight for each bucket.
type explicit struct {
	relative []float64 // as they were given
	normal   []float64 // that sum to 1
	robust   float64
}

// Weights returns the prior with the given relative weights of a grid's buckets, underflow and overflow included, of which some may be 0, mixed with the uniform one, which has the share robust in
// (0, 1]. Errors wrap [ErrPrior] and name the bucket and the value.
func Weights(relative []float64, robust float64) (Prior, error) {
	if !(robust > 0 && robust <= 1) {
		return nil, fmt.Errorf("weights %w: robust %v is not in (0, 1]", ErrPrior, robust)
	}
	if len(relative) == 0 || len(relative) > sketch.MaxBuckets {
		return nil, fmt.Errorf("weights %w: %d weights are not between 1 and %d", ErrPrior, len(relative), sketch.MaxBuckets)
	}
	e := explicit{slices.Clone(relative), slices.Clone(relative), robust}
	if err := normal(e.normal); err != nil {
		return nil, fmt.Errorf("weights %w", err)
	}
	return e, nil
}

// parseWeights reads what [explicit.Name] writes, after "weights:".
func parseWeights(s string) (Prior, error) {
	var relative []float64
	robust := DefaultRobust
	for field := range strings.SplitSeq(s, ",") {
		if text, ok := strings.CutPrefix(field, "robust="); ok {
			var err error
			if robust, err = parseRobust(text); err != nil {
				return nil, fmt.Errorf("weights %w: %w", ErrPrior, err)
			}
			continue
		}
		text, times, repeated := strings.Cut(field, "*")
		n := 1
		if repeated {
			var err error
			if n, err = strconv.Atoi(times); err != nil || n < 1 || n > sketch.MaxBuckets-len(relative) {
				return nil, fmt.Errorf("weights %w: %q does not repeat a weight 1 to %d times", ErrPrior, field, sketch.MaxBuckets-len(relative))
			}
		}
		x, err := parseFinite(text)
		if err != nil {
			return nil, fmt.Errorf("weights %w: weight of bucket %d, %w", ErrPrior, len(relative), err)
		}
		relative = append(relative, slices.Repeat([]float64{x}, n)...)
	}
	return Weights(relative, robust)
}

// Name returns the description that [Parse] reads.
func (e explicit) Name() string {
	var fields []string
	for i := 0; i < len(e.relative); {
		end := i + 1
		for end < len(e.relative) && e.relative[end] == e.relative[i] {
			end++
		}
		text := formatNumber(e.relative[i])
		if end > i+1 {
			text += "*" + strconv.Itoa(end-i)
		}
		fields, i = append(fields, text), end
	}
	if r := robustText(e.robust); r != "" {
		fields = append(fields, r)
	}
	return "weights:" + strings.Join(fields, ",")
}

func (e explicit) share() float64 { return e.robust }

func (e explicit) masses(g *sketch.Grid) ([]float64, error) {
	if len(e.normal) != g.Len() {
		return nil, fmt.Errorf("weights %w: %d weights, and grid %v has %d buckets", ErrPrior, len(e.normal), g, g.Len())
	}
	return e.normal, nil
}

// Weights implements [Prior]. It is an error if there is not one weight for each bucket.
func (e explicit) Weights(g *sketch.Grid) ([]uint64, error) { return mix(e, g) }

// Mixed implements [Mixture].
func (e explicit) Mixed(g *sketch.Grid) (own, robust []uint64, share float64, err error) {
	return parts(e, g)
}
