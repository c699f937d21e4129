package prior

import (
	"fmt"
	"math"
	"strings"

	"github.com/quietile/quietile/sketch"
)

// A Mixture is a [Prior] with a robust part: (1−share) of its weight is its own, and share, in (0, 1], is the robust part's. An estimator that draws within ranges restricts both to a range
// before it mixes them (PRIVACY P3, "conditional").
type Mixture interface {
	Prior
	// Mixed returns weights of both parts, each as those of [Prior.Weights], and the share of the second.
	Mixed(g *sketch.Grid) (own, robust []uint64, share float64, err error)
}

// Nearby is a [Mixture] that takes a part of its robust share to where other quantiles of the same release were found: as much to any distance from an end of the range, as far as that is an answer, as to its double.
// Quantiles of a release tend to lie near each other, on whatever scale: in a range that reaches to infinity nothing else is known of them.
type Nearby interface {
	Mixture
	// Near returns the part, in [0, 1].
	Near() float64
}

// defaultNear is the part of a learner's priors.
const defaultNear = 0.5

// Near returns the uniform prior of which a part, in (0, 1], is near other quantiles' answers (see [Nearby]). It is an error, which wraps [ErrPrior], if it is not that.
func Near(part float64) (Prior, error) {
	if !(part > 0 && part <= 1) {
		return nil, fmt.Errorf("uniform %w: near %v is not in (0, 1]", ErrPrior, part)
	}
	return near{Uniform(), part}, nil
}

type near struct {
	Prior
	part float64
}

func parseSpread(s string) (Prior, error) {
	text, ok := strings.CutPrefix(s, "near=")
	if !ok {
		return nil, fmt.Errorf("uniform %w: unknown field %q: there is near", ErrPrior, s)
	}
	part, err := parseFinite(text)
	if err != nil {
		return nil, fmt.Errorf("uniform %w: near %w", ErrPrior, err)
	}
	return Near(part)
}

// Name returns the description that [Parse] reads.
func (n near) Name() string { return "uniform:near=" + formatNumber(n.part) }

// Mixed implements [Mixture]: all of it is robust.
func (n near) Mixed(g *sketch.Grid) (own, robust []uint64, share float64, err error) {
	robust, err = n.Weights(g)
	return robust, robust, 1, err
}

// Near implements [Nearby].
func (n near) Near() float64 { return n.part }

// A source of a mixture's own part.
type source interface {
	// masses returns non-negative numbers in proportion to the probability of each bucket, which sum to at most about 1.
	masses(g *sketch.Grid) ([]float64, error)
	// share is that of the robust part.
	share() float64
}

// whole is about the sum of weights. Its parts sum to less than [MaxTotal] whatever the rounding.
const whole = 60 // 2^60

// mix returns the weights of a source with its robust part on the whole grid.
func mix(s source, g *sketch.Grid) ([]uint64, error) {
	m, err := s.masses(g)
	if err != nil {
		return nil, err
	}
	w := make([]uint64, len(m))
	even := s.share() / float64(len(w))
	for i, mass := range m {
		w[i] = 1 + uint64(math.Ldexp((1-s.share())*mass+even, whole)) // never zero
	}
	return w, nil
}

// parts returns what [Mixture.Mixed] does, with the uniform prior as the robust part.
func parts(s source, g *sketch.Grid) (own, robust []uint64, share float64, err error) {
	m, err := s.masses(g)
	if err != nil {
		return nil, nil, 0, err
	}
	own = make([]uint64, len(m))
	for i, mass := range m {
		own[i] = 1 + uint64(math.Ldexp(mass, whole))
	}
	robust, err = Uniform().Weights(g)
	return own, robust, s.share(), err
}

// normal divides masses by their sum. It is an error if they are not non-negative, finite and positive in some bucket; the error names the bucket and the value.
func normal(m []float64) error {
	most := 0.0
	for i, x := range m {
		if !(x >= 0) || math.IsInf(x, 1) {
			return fmt.Errorf("%w: weight %v of bucket %d is not a finite number of at least 0", ErrPrior, x, i)
		}
		most = max(most, x)
	}
	if most == 0 {
		return fmt.Errorf("%w: no weight of %d is more than 0", ErrPrior, len(m))
	}
	sum := 0.0
	for i := range m {
		m[i] /= most
		sum += m[i]
	}
	for i := range m {
		m[i] /= sum
	}
	return nil
}
