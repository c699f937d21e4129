// Package gradient measures, with noise, sums of the gradients of a learner's loss on the data of many releases.
//
// The mechanism, its theorem and the proof are in docs/proofs/learned-priors.md.
package gradient

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/surrogate"
)

const (
	// Lattice is the length to which gradients are clipped, in steps of the lattice to which they are rounded.
	Lattice = 1024
	// Clip is the same length in the units of the loss: G of PRIVACY P6.
	Clip = 2.0
	// MaxLevels limits a tree to 2^MaxLevels − 1 releases.
	MaxLevels = 20
	// MaxWindows limits the windows of one unit.
	MaxWindows = 1 << 12
	// MaxVariance limits noise.
	MaxVariance = 1 << 60
	// offset makes sums positive for noise that is added to counts. Sums are below 2⁴⁰.
	offset = 1 << 61
)

// A Count is the number of records in one bucket.
type Count struct {
	Bucket  int
	Records uint64
}

// A Quantile is one whose forecast is learned, with its parameters: θ for each feature, and φ > 0.
type Quantile struct {
	Q     int64 // in billionths
	Theta []float64
	Phi   float64
	// Origin and Unit turn positions in buckets into the loss's: (position − Origin)/Unit.
	Origin, Unit float64
}

// A Problem is one measurement. All but Counts and Open is public.
type Problem struct {
	Counts    []Count // buckets ascending
	Quantiles []Quantile
	Features  []float64 // as many as each Theta
	Levels    int       // of the tree: it has room for 2^Levels − 1 releases
	Number    uint64    // of this release in its tree, from 1
	Windows   uint64    // of the tree that hold records of one unit at most
	Rho       int64     // what a unit with records in one window may lose, in billionths: all that its gradient ever goes into
	Lattice   int64     // the length to which gradients are clipped in steps of the lattice; 0 stands for Lattice, the most
	// Open are the unfinished nodes, by level, before this release, empty for levels without one.
	Open []Node
}

// A Node is an unfinished one: the exact sum of its gradients, which is not public, and the variance that the noise of any sum with them must have.
type Node struct {
	Values   []int64
	Variance int64
}

// A Sum is a noisy sum of gradients: of the 2^Level releases up to number Last.
type Sum struct {
	Level  int
	Last   uint64
	Values []int64
}

// ErrProblem is wrapped by the errors of [Problem.Check].
var ErrProblem = errors.New("gradient")

// Check returns an error about the first of the public fields that is out of range.
func (p *Problem) Check() error {
	switch {
	case p.Levels < 1 || p.Levels > MaxLevels:
		return fmt.Errorf("%w: levels %d are not between 1 and %d", ErrProblem, p.Levels, MaxLevels)
	case p.Number < 1 || p.Number >= 1<<p.Levels:
		return fmt.Errorf("%w: number %d is not between 1 and %d", ErrProblem, p.Number, 1<<p.Levels-1)
	case p.Windows < 1 || p.Windows > MaxWindows:
		return fmt.Errorf("%w: windows %d are not between 1 and %d", ErrProblem, p.Windows, MaxWindows)
	case p.Rho <= 0:
		return fmt.Errorf("%w: rho %d is not positive", ErrProblem, p.Rho)
	case len(p.Quantiles) == 0:
		return fmt.Errorf("%w: there are no quantiles", ErrProblem)
	}
	for _, q := range p.Quantiles {
		if len(q.Theta) != len(p.Features) || !(q.Phi > 0) || !(q.Unit > 0) {
			return fmt.Errorf("%w: quantile %d has %d weights for %d features, φ %v and unit %v", ErrProblem, q.Q, len(q.Theta), len(p.Features), q.Phi, q.Unit)
		}
	}
	_, err := p.variance()
	return err
}

// Size returns the number of parameters: the length of every sum.
func (p *Problem) Size() int { return len(p.Quantiles) * (len(p.Features) + 1) }

// variance returns what the noise of every node with this release's gradient must have at least. A unit in one window changes one node of each of the levels by at most 2·Lattice in Euclidean length; in k windows, by k times that, which its
// k charges must cover: it is (k·2·Lattice)²·levels/(2·k·ρ), rounded up to an integer.
func (p *Problem) variance() (int64, error) {
	num := big.NewInt(2 * p.lattice() * p.lattice() * 1_000_000_000)
	num.Mul(num, new(big.Int).SetUint64(p.Windows)).Mul(num, big.NewInt(int64(p.Levels)))
	num.Add(num, big.NewInt(p.Rho-1)).Quo(num, big.NewInt(p.Rho))
	if !num.IsInt64() || num.Int64() > MaxVariance {
		return 0, fmt.Errorf("%w: rho %d is too little for %d windows and %d levels", ErrProblem, p.Rho, p.Windows, p.Levels)
	}
	return num.Int64(), nil
}

// Variance returns that of the noise of a node of releases that all pay as much, in steps of the lattice squared.
func (p *Problem) Variance() float64 {
	v, err := p.variance()
	if err != nil {
		return math.Inf(1)
	}
	return float64(v)
}

// Gradient returns the gradient of ln Σ exp(loss of quantile j) in all parameters, clipped and rounded towards 0: its Euclidean length is at most Lattice, whatever the data.
func (p *Problem) Gradient() []int64 {
	total := uint64(0)
	for _, c := range p.Counts {
		total += c.Records
	}
	var losses []float64
	var parts [][]float64
	for _, q := range p.Quantiles {
		theta := 0.0
		for i, f := range p.Features {
			theta += q.Theta[i] * f
		}
		b := float64(p.cell(q.Q, total))
		loss, dTheta, dPhi := surrogate.Loss(theta, q.Phi, (b-q.Origin)/q.Unit, (b+1-q.Origin)/q.Unit)
		part := make([]float64, 0, len(p.Features)+1)
		for _, f := range p.Features {
			part = append(part, dTheta*f)
		}
		losses, parts = append(losses, loss), append(parts, append(part, dPhi))
	}
	most, sum := slices.Max(losses), 0.0
	for _, l := range losses {
		sum += math.Exp(l - most)
	}
	var g []float64
	for j, part := range parts {
		for _, x := range part {
			g = append(g, math.Exp(losses[j]-most)/sum*x)
		}
	}
	return clip(g, p.lattice())
}

func (p *Problem) lattice() int64 {
	if p.Lattice == 0 {
		return Lattice
	}
	return p.Lattice
}

// cell returns the bucket that holds the record of rank q·n, the first bucket if there are no records.
func (p *Problem) cell(q int64, total uint64) int {
	hi, lo := bits.Mul64(uint64(q), total)
	target, rest := bits.Div64(hi, lo, 1_000_000_000)
	if rest > 0 {
		target++
	}
	before := uint64(0)
	for _, c := range p.Counts {
		if before += c.Records; before >= target && c.Records > 0 {
			return c.Bucket
		}
	}
	return 0
}

// clip scales a vector to a length of at most Clip and rounds it to the lattice, towards 0. What is computed with float64 is checked with integers: one that is too long nevertheless, or not a number, becomes 0.
func clip(g []float64, lattice int64) []int64 {
	length := 0.0
	for _, x := range g {
		length = math.Hypot(length, x)
	}
	const rounding = 1 + 1e-9 // so that what rounding errors take below a step is that step
	scale := float64(lattice) / Clip * min(1, Clip/length) * rounding
	v := make([]int64, len(g))
	for i, x := range g {
		if y := x * scale; math.Abs(y) < float64(lattice)+1 { // not so if it is not a number
			v[i] = int64(y)
		}
	}
	if squared(v) > lattice*lattice {
		clear(v)
	}
	return v
}

// squared returns the squared length of a vector of numbers of at most Lattice.
func squared(v []int64) (sum int64) {
	for _, x := range v {
		sum += x * x
	}
	return sum
}

// Measure returns the noisy sums of the nodes that this release completes, and the nodes that remain open, which are not public. Each node is measured once, when its last release is there, with the noise that the one of its releases needs that pays least.
func Measure(p *Problem, s exact.NoiseSampler) (sums []Sum, open []Node) {
	variance, err := p.variance()
	if err != nil {
		panic("gradient: " + err.Error()) // Check was not asked
	}
	current := Node{p.Gradient(), variance}
	open = make([]Node, p.Levels)
	copy(open, p.Open)
	// Like adding 1 to a binary number: at each level a finished node joins the open one before it, or stays open.
	for level := 0; ; level++ {
		sums = append(sums, Sum{Level: level, Last: p.Number, Values: current.noisy(s)})
		if p.Number>>level&1 == 1 {
			open[level] = current
			return sums, open
		}
		if before := open[level]; len(before.Values) == len(current.Values) { // what was lost counts as 0
			current = before.joined(current)
		}
		open[level] = Node{}
	}
}

func (n Node) noisy(s exact.NoiseSampler) []int64 {
	noise, err := exact.NewGaussian(new(big.Rat).SetInt64(n.Variance))
	if err != nil {
		panic("gradient: " + err.Error()) // variances are positive, and at most MaxVariance
	}
	values := make([]int64, len(n.Values))
	for i, x := range n.Values {
		values[i] = s.Noisy(uint64(offset+x), noise) - offset
	}
	return values
}

func (n Node) joined(m Node) Node {
	sum := Node{slices.Clone(n.Values), max(n.Variance, m.Variance)}
	for i, x := range m.Values {
		sum.Values[i] += x
	}
	return sum
}

// An Estimate is the best linear estimate of the sum of all gradients of a tree so far, in steps of the lattice, of its noisy sums: each node's own value and the sum of its halves, weighted by their variances
// (Honaker, "Efficient use of differentially private binary trees", 2015). It is a function of what is public. The zero value is of no releases.
type Estimate struct {
	number uint64
	runs   []run // by level: the nodes that the releases so far are made of
}

type run struct {
	sum      []float64
	variance float64 // in that of a node's own value
}

// Add takes in the sums of the next release of the tree, each of so many numbers. One that is missing says nothing.
func (e *Estimate) Add(number uint64, sums []Sum, size int) {
	e.number = number
	var current run
	for level := range bits.TrailingZeros64(number) + 1 {
		i := slices.IndexFunc(sums, func(s Sum) bool { return s.Level == level && s.Last == number && len(s.Values) == size })
		switch {
		case level == 0:
			current = run{make([]float64, size), 1}
		case level <= len(e.runs) && len(e.runs[level-1].sum) == size:
			left := e.runs[level-1]
			for j, x := range left.sum {
				current.sum[j] += x
			}
			current.variance += left.variance
		default: // nothing is known of the half before
			current.variance++
		}
		if i >= 0 {
			weight := 1.0 // of its own value
			if level > 0 {
				weight = current.variance / (current.variance + 1)
				current.variance = 1 / (1 + 1/current.variance)
			}
			for j, x := range sums[i].Values {
				current.sum[j] = weight*float64(x) + (1-weight)*current.sum[j]
			}
		}
	}
	highest := bits.TrailingZeros64(number)
	clear(e.runs[:min(highest, len(e.runs))])
	for len(e.runs) <= highest {
		e.runs = append(e.runs, run{})
	}
	e.runs[highest] = current
}

// Sum returns the estimate, of so many numbers.
func (e *Estimate) Sum(size int) []float64 {
	total := make([]float64, size)
	for level := len(e.runs) - 1; level >= 0; level-- {
		if r := e.runs[level]; e.number>>level&1 == 1 && len(r.sum) == size {
			for j, x := range r.sum {
				total[j] += x
			}
		}
	}
	return total
}
