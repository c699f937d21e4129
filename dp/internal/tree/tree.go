// Package tree releases noisy counts of the nodes of a tree over a grid's buckets, from any sampler, so that a release and the audit run the same code.
//
// The mechanism, its theorem and the proof are in docs/proofs/tree.md. [Measure] is all of it that sees data; what makes quantiles, counts and bands of the noisy counts
// is post-processing, and may calculate in floating point.
package tree

import (
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/quietile/quietile/dp/exact"
)

// Unit is the denominator of quantiles, of ε and of ρ: all are integers in billionths.
const Unit = 1_000_000_000

// CellBits is the number of bits of a cut below those of its bucket: cut b·2^CellBits + k is k/2^CellBits of the way into bucket b.
const CellBits = 40

// Bounds of a [Problem].
const (
	maxBuckets  = 1 << 22
	maxLevels   = 64
	maxLoss     = 1000 * Unit
	maxShareSum = 1 << 32
	// With contributions up to these the noise of every level exists, whatever its budget: as ratios that are not yet in lowest terms, a scale is c·10⁹/ε_l and a variance c²·10⁹/(2·ρ_l), ε_l and
	// ρ_l being at most maxLoss billionths, and package exact takes numerators below 2⁶³ and up to 2⁶⁰.
	maxLaplace  = (1<<63 - 1) / Unit
	maxGaussian = 33_953 // √(2⁶⁰/10⁹)
)

// ErrProblem is wrapped by the errors of [Problem.Check].
var ErrProblem = errors.New("tree out of range")

// A Kind is a law of noise and the privacy loss that goes with it.
type Kind int

const (
	// Laplace noise spends Epsilon: the noisy counts are ε-differentially private.
	Laplace Kind = iota
	// Gaussian noise spends Rho: the noisy counts are ρ-zero-concentrated differentially private, and have no pure ε.
	Gaussian
)

// A Count is the number of records in one bucket.
type Count struct {
	Bucket  int
	Records uint64
}

// A Problem is one release. All but Counts is public.
type Problem struct {
	Buckets       int      // leaves of the tree, between 1 and 2²²
	Counts        []Count  // buckets ascending; buckets left out are empty; records sum to less than 2⁶⁴
	Branching     int      // children of a node, at least 2; the last node of a level may have fewer, and the root more if Levels are few
	Levels        int      // from the root to the leaves, both counted; at least 2, or 1 for a single bucket, and at most [Depth]; 0 means Depth
	Noise         Kind     // Laplace or Gaussian
	Epsilon       int64    // of the whole release with Laplace noise, in billionths, at least one for each level and at most 1000·Unit
	Rho           int64    // of the whole release with Gaussian noise, likewise
	Unrooted      bool     // the root's count is not released: there are at least two buckets, and the other levels share all of the loss
	Shares        []uint64 // of ε or ρ, by level released, the first one's first: as many as those, positive, with a sum below 2³²; nil for equal ones
	Contributions uint64   // records that one privacy unit contributes at most, positive
	Smooth        bool     // buckets are taken to differ little from their neighbours where the noisy counts allow it, and are at most 2¹³; this is no part of the measurement
}

// Depth returns the levels of a tree with this many leaves in which no node has more than branching children.
func Depth(buckets, branching int) int {
	levels := 1
	for ; buckets > 1; levels++ {
		buckets = (buckets-1)/branching + 1
	}
	return levels
}

// Geometric returns shares of levels that grow by the factor num/den from each level to the next, rounded to whole numbers of which the largest is 2²⁴ and none is 0.
// Levels are at most 64, num and den positive.
func Geometric(levels int, num, den int64) []uint64 {
	ratio, top := big.NewRat(num, den), big.NewRat(1<<24, 1)
	shares := make([]uint64, levels)
	for i := range shares {
		at := levels - 1 - i // the largest first
		if num < den {
			at = i
		}
		shares[at] = max(1, new(big.Int).Quo(top.Num(), top.Denom()).Uint64())
		if num < den {
			top.Mul(top, ratio)
		} else {
			top.Quo(top, ratio)
		}
	}
	return shares
}

// Check returns an error that wraps [ErrProblem] and names the field and the value unless every public field is in range. It does not look at the counts.
func (p *Problem) Check() error {
	loss, name := p.loss()
	levels, released, shares := p.levels(), p.levels()-p.first(), uint64(0)
	for _, s := range p.Shares {
		if s == 0 || s >= maxShareSum {
			return fmt.Errorf("%w: share %d is not in [1, 2^32)", ErrProblem, s)
		}
		shares += s
	}
	switch {
	case p.Buckets < 1 || p.Buckets > maxBuckets:
		return fmt.Errorf("%w: %d buckets is not in [1, %d]", ErrProblem, p.Buckets, maxBuckets)
	case p.Branching < 2:
		return fmt.Errorf("%w: branching %d is less than 2", ErrProblem, p.Branching)
	case levels < min(2, p.Buckets) || levels > Depth(p.Buckets, p.Branching):
		return fmt.Errorf("%w: %d levels is not between %d and %d", ErrProblem, levels, min(2, p.Buckets), Depth(p.Buckets, p.Branching))
	case p.Unrooted && p.Buckets == 1:
		return fmt.Errorf("%w: 1 bucket has no tree without a root", ErrProblem)
	case p.Noise != Laplace && p.Noise != Gaussian:
		return fmt.Errorf("%w: noise %d is neither Laplace nor Gaussian", ErrProblem, p.Noise)
	case loss < int64(released) || loss > maxLoss:
		return fmt.Errorf("%w: %s of %d billionths is not in [%d, %d]", ErrProblem, name, loss, released, int64(maxLoss))
	case p.Contributions == 0:
		return fmt.Errorf("%w: contributions 0", ErrProblem)
	case p.Noise == Laplace && p.Contributions > maxLaplace, p.Noise == Gaussian && p.Contributions > maxGaussian:
		return fmt.Errorf("%w: contributions %d are more than the %d that noisy counts with %s can hide", ErrProblem, p.Contributions, map[Kind]int64{Laplace: maxLaplace, Gaussian: maxGaussian}[p.Noise], name)
	case p.Shares != nil && (len(p.Shares) != released || shares >= maxShareSum):
		return fmt.Errorf("%w: %d shares that add up to %d for %d levels", ErrProblem, len(p.Shares), shares, released)
	}
	for i, budget := range p.budgets() {
		if budget == 0 {
			return fmt.Errorf("%w: share %d leaves nothing of %s %d to level %d", ErrProblem, p.Shares[i], name, loss, i+p.first())
		}
	}
	return nil
}

func (p *Problem) loss() (billionths int64, name string) {
	if p.Noise == Gaussian {
		return p.Rho, "rho"
	}
	return p.Epsilon, "epsilon"
}

func (p *Problem) levels() int {
	if p.Levels != 0 || p.Buckets < 1 || p.Branching < 2 {
		return p.Levels
	}
	return Depth(p.Buckets, p.Branching)
}

// first returns the first level that is released.
func (p *Problem) first() int {
	if p.Unrooted {
		return 1
	}
	return 0
}

// budgets divides ε or ρ among the levels released.
func (p *Problem) budgets() []int64 {
	loss, _ := p.loss()
	if p.Shares == nil {
		return Divide(loss, slices.Repeat([]uint64{1}, p.levels()-p.first()))
	}
	return Divide(loss, p.Shares)
}

// Divide divides a loss in billionths, at most 1000·[Unit], in proportion to shares with a positive sum below 2³², into parts that add up to all of it.
func Divide(loss int64, shares []uint64) []int64 {
	sum := uint64(0)
	for _, s := range shares {
		sum += s
	}
	parts, before, spent := make([]int64, len(shares)), uint64(0), int64(0)
	for i, s := range shares {
		before += s
		to, _ := exact.Product(uint64(loss), before).QuoRem64(sum) // at most loss
		parts[i], spent = int64(to.Lo)-spent, int64(to.Lo)
	}
	return parts
}

// noise returns the law of each level's noise. One unit's records change the counts of a level by at most c in sum, and so in Euclidean length too: Laplace noise of
// scale c/ε_l costs ε_l, and Gaussian noise of variance c²/(2·ρ_l) costs ρ_l (tree.md, lemma 1). It is nil for a level that is not released.
func (p *Problem) noise() ([]exact.Noise, error) {
	c := new(big.Rat).SetInt(new(big.Int).SetUint64(p.Contributions))
	noise := make([]exact.Noise, p.levels())
	for i, budget := range p.budgets() {
		loss, level := big.NewRat(budget, Unit), i+p.first()
		var err error
		if p.Noise == Gaussian {
			variance := new(big.Rat).Mul(c, c)
			noise[level], err = exact.NewGaussian(variance.Quo(variance, loss.Add(loss, loss)))
		} else {
			noise[level], err = exact.NewLaplace(new(big.Rat).Quo(c, loss))
		}
		if err != nil {
			return nil, err
		}
	}
	return noise, nil
}

// Deviation returns a bound of the standard deviation of the leaves' noise, close to it where it is large. It panics if [Problem.Check] returns an error.
func (p *Problem) Deviation() float64 {
	noise, err := p.noise()
	if err != nil {
		panic(err)
	}
	return noise[len(noise)-1].Deviation()
}

// sizes returns the number of nodes of each level, the root's first. Node i of a level has the children Branching·i … of the next.
func (p *Problem) sizes() []int {
	sizes := make([]int, p.levels())
	n := p.Buckets
	for level := len(sizes) - 1; level > 0; level-- {
		sizes[level] = n
		n = (n-1)/p.Branching + 1
	}
	sizes[0] = 1
	return sizes
}

// Measure returns the noisy count of every node, by level, the root's first, which is left out of a tree that is Unrooted: the only part of a release that sees the data.
// Every node gets its own noise, whether there are records in it or not. It panics if [Problem.Check] returns an error.
func Measure(p *Problem, s exact.NoiseSampler) [][]int64 {
	if err := p.Check(); err != nil {
		panic(err)
	}
	noise, _ := p.noise() // Check has called it
	sizes := p.sizes()
	counts := make([][]uint64, len(sizes))
	for level, n := range sizes {
		counts[level] = make([]uint64, n)
	}
	leaves := counts[len(counts)-1]
	for _, c := range p.Counts {
		leaves[c.Bucket] += c.Records
	}
	for level := len(counts) - 1; level > 0; level-- {
		for i, n := range counts[level] {
			counts[level-1][p.parent(level, i)] += n
		}
	}
	noisy := make([][]int64, len(counts))
	for level := p.first(); level < len(counts); level++ {
		nodes := counts[level]
		noisy[level] = make([]int64, len(nodes))
		for i, n := range nodes {
			noisy[level][i] = s.Noisy(n, noise[level])
		}
	}
	return noisy
}

// parent returns the index of the parent of node i of a level below the root.
func (p *Problem) parent(level, i int) int {
	if level == 1 {
		return 0
	}
	return i / p.Branching
}

// Release measures, and makes a [Tree] of the noisy counts. It panics if [Problem.Check] returns an error. It takes O(Buckets) time.
func Release(p *Problem, s exact.NoiseSampler) *Tree {
	public := *p
	public.Counts = nil
	return fit(&public, Measure(p, s))
}
