package dp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/gradient"
	"github.com/quietile/quietile/sketch"
)

// Learning asks a release to measure, besides its answers, in which direction the forecasts of its quantiles were wrong: the gradient of a learner's loss on the records, clipped, rounded and summed up with those of
// earlier releases in a tree of noisy sums (docs/proofs/learned-priors.md). It takes a share of the release's budget, which must be in ρ, since the noise is Gaussian: the gradient is read nowhere else, so that no learner reads
// records that nobody was charged for. All of it is public.
type Learning struct {
	// Share is the part of the release's ρ that pays for the gradient, for every sum it will ever be in; in (0, 1), read to nine decimals.
	Share float64
	// Parameters are those of each quantile of the release, ascending and without repetition: the point at which the gradient is taken.
	Parameters []Parameter
	// Features of the window, by which forecasts are made.
	Features []float64
	// Levels of the tree, at most 20: it has room for 2^Levels − 1 releases. Number is this one's, from 1, in the order of their windows, no window twice.
	Levels int
	Number uint64
	// Windows is how many windows of the tree may hold records of one unit. 0 means 1.
	Windows uint64
}

// A Parameter is a forecast: location θ·f/φ and scale 1/φ, in units from an origin. Origin and unit are in buckets.
type Parameter struct {
	Q            float64
	Theta        []float64
	Phi          float64
	Origin, Unit float64
}

// A GradientSum is a noisy sum of the gradients of the 2^Level releases up to number Last, by quantile and, in each, by θ and φ, in 1024ths of half of the length to which gradients are clipped.
type GradientSum struct {
	Level  int
	Last   uint64
	Values []int64
}

// A Carry is what a release leaves to the next one of its tree: exact sums of gradients. It is made of records and must be kept as these are; losing it costs accuracy and no privacy. It may be given to one release only: two would publish sums of the same
// gradients, for which nobody paid twice. The zero value is empty.
type Carry struct {
	levels int    // of the tree
	number uint64 // of the release that left it
	open   []gradient.Node
}

// ErrCarry is wrapped by the errors of [Carry.UnmarshalBinary].
var ErrCarry = errors.New("carry")

// MarshalBinary returns the carry for storage beside the records.
func (c Carry) MarshalBinary() ([]byte, error) {
	b := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(c.levels)), c.number)
	for _, node := range c.open {
		b = binary.AppendUvarint(b, uint64(len(node.Values)))
		if len(node.Values) > 0 {
			b = binary.AppendUvarint(b, uint64(node.Variance))
		}
		for _, x := range node.Values {
			b = binary.AppendVarint(b, x)
		}
	}
	return b, nil
}

// UnmarshalBinary reads what [Carry.MarshalBinary] wrote. Errors wrap [ErrCarry].
func (c *Carry) UnmarshalBinary(b []byte) error {
	next := func(most uint64) (uint64, error) {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > most {
			return 0, fmt.Errorf("%w: a number of %d is more than %d, or cut off", ErrCarry, n, most)
		}
		b = b[size:]
		return n, nil
	}
	levels, err := next(gradient.MaxLevels)
	if err != nil {
		return err
	}
	number, err := next(1<<levels - 1)
	if err != nil {
		return err
	}
	read := Carry{levels: int(levels), number: number, open: make([]gradient.Node, levels)}
	for i := range read.open {
		n, err := next(uint64(len(b)))
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		variance, err := next(gradient.MaxVariance)
		if err != nil {
			return err
		}
		if variance == 0 {
			return fmt.Errorf("%w: noise without variance", ErrCarry)
		}
		node := gradient.Node{Variance: int64(variance)}
		for range n {
			x, size := binary.Varint(b)
			if size <= 0 || x < -maxCarried || x > maxCarried {
				return fmt.Errorf("%w: a number is cut off or beyond %d", ErrCarry, int64(maxCarried))
			}
			node.Values, b = append(node.Values, x), b[size:]
		}
		read.open[i] = node
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %d bytes too many", ErrCarry, len(b))
	}
	*c = read
	return nil
}

// before returns the unfinished nodes that a release joins: none unless the carry is that of the release before it in a tree of as many levels. A gradient is paid for in so many sums.
func (c Carry) before(l *Learning) []gradient.Node {
	if c.levels != l.Levels || c.number+1 != l.Number {
		return nil
	}
	return c.open
}

// maxCarried is the largest number of a sum: of 2^20 gradients.
const maxCarried = gradient.Lattice << gradient.MaxLevels

// validate checks a learning for the options it stands in.
func (l *Learning) validate(o Options) error {
	switch {
	case !(l.Share > 0 && l.Share < 1):
		return fmt.Errorf("%w: learning share %v is not in (0, 1)", ErrOptions, l.Share)
	case o.NanoRho == 0:
		return fmt.Errorf("%w: learning needs a budget in rho, for its noise is Gaussian, and the release has epsilon %v", ErrOptions, o.Epsilon)
	}
	nominal, err := o.nominal()
	if err != nil {
		return err
	}
	asked := distinct(nominal)
	if len(asked) != len(l.Parameters) {
		return fmt.Errorf("%w: learning has parameters for %d of %d quantiles", ErrOptions, len(l.Parameters), len(asked))
	}
	for j, p := range l.Parameters {
		if int64(math.Round(p.Q*epsilonUnit)) != asked[j] {
			return fmt.Errorf("%w: learning has parameters for quantile %v instead of %v", ErrOptions, p.Q, float64(asked[j])/epsilonUnit)
		}
	}
	if err := l.problem(o).Check(); err != nil {
		return fmt.Errorf("%w: learning: %w", ErrOptions, err)
	}
	return nil
}

// problem returns what is measured, without records.
func (l *Learning) problem(o Options) *gradient.Problem {
	p := &gradient.Problem{Features: l.Features, Levels: l.Levels, Number: l.Number, Windows: max(l.Windows, 1), Rho: o.learning()}
	for _, x := range l.Parameters {
		p.Quantiles = append(p.Quantiles, gradient.Quantile{Q: int64(math.Round(x.Q * epsilonUnit)), Theta: x.Theta, Phi: x.Phi, Origin: x.Origin, Unit: x.Unit})
	}
	return p
}

// learning returns what the gradient may spend against neighbours of the kind add-remove, in billionths of ρ: 0 without learning.
func (o Options) learning() int64 {
	if o.Learn == nil {
		return 0
	}
	return partOf(o.NanoRho/o.Neighbours.squared(), int64(o.Learn.Share*epsilonUnit))
}

// LearningCost returns the part of the cost of a release (see [Cost]) that pays for its gradient, in billionths of ρ, rounded up.
func LearningCost(o Options) int64 {
	if o.Learn == nil || o.Validate() != nil {
		return 0
	}
	return o.learning() * o.Neighbours.squared()
}

// ReleaseAndLearn does what [Release] does, and measures the gradient that [Options].Learn asks for, without which it is an error. The carry is the one that the release of the number before left, or the zero value; the new one is for the next. A carry of another release counts as lost.
func ReleaseAndLearn(s *sketch.Binned, o Options, c Carry) (*Result, Carry, error) {
	if o.Learn == nil {
		return nil, c, fmt.Errorf("%w: learning is missing", ErrOptions)
	}
	return releaseAndLearn(s, o, c, exact.New())
}

func releaseAndLearn(s *sketch.Binned, o Options, c Carry, sampler exact.NoiseSampler) (*Result, Carry, error) {
	r, err := release(s, o, sampler)
	if err != nil {
		return nil, c, err
	}
	p := o.Learn.problem(o)
	p.Open = c.before(o.Learn)
	for bucket, n := range s.All() {
		p.Counts = append(p.Counts, gradient.Count{Bucket: bucket, Records: n})
	}
	sums, open := gradient.Measure(p, sampler)
	for _, x := range sums {
		r.Learned = append(r.Learned, GradientSum(x))
	}
	r.LearnedNanoRho = LearningCost(o)
	return r, Carry{p.Levels, p.Number, open}, nil
}

// A GradientEstimate is the best linear estimate of the sum of the gradients of a tree so far, from its noisy sums. The zero value is of no releases.
type GradientEstimate struct{ e gradient.Estimate }

// Add takes in the sums of the next release of a tree, of so many parameters.
func (e *GradientEstimate) Add(number uint64, sums []GradientSum, parameters int) {
	all := make([]gradient.Sum, len(sums))
	for i, x := range sums {
		all[i] = gradient.Sum(x)
	}
	e.e.Add(number, all, parameters)
}

// Sum returns the estimate, in the units of the sums (see [GradientSum]).
func (e *GradientEstimate) Sum(parameters int) []float64 { return e.e.Sum(parameters) }
