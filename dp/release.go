// Package dp releases quantiles of a sketch with differential privacy.
//
// Two data sets are neighbours when one privacy unit is added or removed, and a unit contributes at most [Options].Contributions records; keeping to that limit is
// the work of whoever built the sketch. The grid, the prior and every other option must not depend on the data. Then all answers of one [Release] together are
// ε-differentially private, exactly: probabilities are never rounded (package exact), every step is proved in docs/proofs and the code that runs is checked by
// enumeration (package audit).
//
// Sampling takes time that depends on the data; whoever answers others should answer at fixed times.
package dp

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
	"github.com/quietile/quietile/dp/internal/tree"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// ErrOptions is wrapped by every error about [Options]; the text names the field and the value.
var ErrOptions = errors.New("release options")

const (
	// levels is d of PRIVACY P3: a bucket has 2^d cells, among which records that share the bucket are spread.
	levels = 40
	// maxQuantiles limits the work of one release.
	maxQuantiles = 10_000
	// maxConfidence keeps bounds finite, and the simulations few.
	maxConfidence = 0.999
	// maxRecords and unknownRecords are bounds and default of the hint.
	maxRecords     = 1 << 40
	unknownRecords = 10_000
	// maxIndependent does so where each quantile looks at all records.
	maxIndependent = 100
	// maxContributions keeps the rate of the exponential mechanism within range.
	maxContributions = 1 << 40
)

// Representative says which number of its bucket an answer is.
type Representative int

const (
	// Lower answers a bucket's lower edge: right where the values are those edges, as integers are on a grid with an edge at each.
	Lower Representative = iota
	// Within answers the position inside the bucket at which its records were split.
	Within
)

// Neighbours says which data sets a guarantee makes hard to tell apart.
type Neighbours int

const (
	// AddRemove: one is the other without the records of one unit.
	AddRemove Neighbours = iota
	// ReplaceOne: one unit's records are others, or none. It takes half the ε to answer with, since replacing is removing and adding.
	ReplaceOne
)

// String returns "add-remove" or "replace-one".
func (n Neighbours) String() string {
	if n == ReplaceOne {
		return "replace-one"
	}
	return "add-remove"
}

// Options are the question of a [Release]. They must not depend on the data.
type Options struct {
	// Quantiles lie in (0, 1). Each is read as its shortest decimal, with at most nine decimals. They may repeat and come in any order; at most 10,000.
	Quantiles []float64
	// Epsilon is the privacy loss of all answers together, at most 1000.
	Epsilon Epsilon
	// Contributions is how many records one privacy unit has in the sketch at most. 0 means 1.
	Contributions int
	// Prior weighs the grid's buckets. nil means [prior.Uniform].
	Prior prior.Prior
	// Estimator says how ε is spent. The zero value is the recursive estimator. "auto" is the one that [Options.Choose] puts first.
	Estimator Estimator
	// Neighbours is whom Epsilon protects against. The zero value is [AddRemove].
	Neighbours Neighbours
	// Confidence, in (0, 1), asks for a bound of the error of each answer that holds for all of them at once with that probability; 0 asks for none. It costs no more: the tree knows its
	// noise, and no other estimator tells.
	Confidence float64
	// Records is about how many records there are, from public knowledge or an earlier release: a hint for the choice of an estimator, at most 2^40. 0 means not known, and
	// then 10,000.
	Records uint64
	// Representative picks the answer's place in its bucket. The zero value is [Lower].
	Representative Representative
}

// A Quantile is one answer.
type Quantile struct {
	// Q is the quantile asked for.
	Q float64
	// Value is the answer, finite and never falling as Q rises. In a bucket that reaches to infinity it is the bucket's finite edge.
	Value float64
	// Lower and Upper are the edges of the bucket that holds the answer, infinite for a bucket that reaches to infinity.
	Lower, Upper float64
	// RankError is how many records the rank of the answer's bucket is away from that of the quantile at most, with the Confidence asked for, for all answers of the release at once; nil if
	// none was asked for.
	RankError *float64
}

// A Result is what a [Release] publishes. All of it may be shown to anyone.
type Result struct {
	// Quantiles are the answers in the order asked.
	Quantiles []Quantile
	// Estimator describes the estimator, as [Estimator.String] does.
	Estimator string
	// Epsilon is the privacy loss of all answers together.
	Epsilon Epsilon
	// NanoRho is the loss in zero-concentrated differential privacy, in billionths, rounded up.
	NanoRho int64
	// Contributions is the number of records a unit may contribute under this guarantee.
	Contributions int
	// Neighbours is "add-remove" or "replace-one".
	Neighbours string
	// Prior is the name of the prior.
	Prior string
	// Predicted is what made "auto" choose the estimator, nil if another was asked for. It knows nothing of the data.
	Predicted *Prediction
}

// Validate makes the checks of [Release] that need no data. Its errors wrap [ErrOptions].
func (o Options) Validate() error {
	_, err := o.nominal()
	if err != nil {
		return err
	}
	if o.Epsilon <= 0 || o.Epsilon > maxEpsilon {
		return fmt.Errorf("%w: epsilon %v is not in (0, 1000]", ErrOptions, o.Epsilon)
	}
	if o.Neighbours != AddRemove && o.Neighbours != ReplaceOne {
		return fmt.Errorf("%w: neighbours %d are neither AddRemove nor ReplaceOne", ErrOptions, o.Neighbours)
	}
	if o.spent() <= 0 {
		return fmt.Errorf("%w: epsilon %v is too little to halve for replace-one", ErrOptions, o.Epsilon)
	}
	if o.Contributions < 0 || o.Contributions > maxContributions {
		return fmt.Errorf("%w: contributions %d is not in [1, %d]", ErrOptions, o.Contributions, maxContributions)
	}
	if m := len(o.Quantiles); o.Estimator.independent && m > maxIndependent {
		return fmt.Errorf("%w: %d quantiles are more than the %d that the independent estimator answers", ErrOptions, m, maxIndependent)
	}
	if o.Confidence != 0 && !(o.Confidence > 0 && o.Confidence <= maxConfidence) {
		return fmt.Errorf("%w: confidence %v is not in (0, %v]", ErrOptions, o.Confidence, maxConfidence)
	}
	if o.Confidence != 0 && o.Estimator.branching == 0 {
		return fmt.Errorf("%w: confidence %v by estimator %v: only a tree tells the error of its answers", ErrOptions, o.Confidence, o.Estimator)
	}
	if o.Records > maxRecords {
		return fmt.Errorf("%w: records %d are more than %d", ErrOptions, o.Records, uint64(maxRecords))
	}
	if o.Estimator.branching > 0 {
		// What the deepest tree can take any other can: no grid makes an error of it after it was paid for.
		if err := o.noisyTree(2 * sketch.MaxBuckets).Check(); err != nil {
			return fmt.Errorf("%w: estimator %v: %w", ErrOptions, o.Estimator, err)
		}
	}
	if o.Representative != Lower && o.Representative != Within {
		return fmt.Errorf("%w: representative %d is neither Lower nor Within", ErrOptions, o.Representative)
	}
	return nil
}

// spent returns the ε that the mechanism spends for neighbours of the kind add-remove. Whoever replaces a unit's records removes them and adds others: two steps of such
// neighbours, and twice the loss (docs/proofs/README.md).
func (o Options) spent() Epsilon {
	if o.Neighbours == ReplaceOne {
		return o.Epsilon / 2
	}
	return o.Epsilon
}

// nominal returns the quantiles in billionths, in the order asked.
func (o Options) nominal() ([]int64, error) {
	if len(o.Quantiles) == 0 || len(o.Quantiles) > maxQuantiles {
		return nil, fmt.Errorf("%w: %d quantiles is not between 1 and %d", ErrOptions, len(o.Quantiles), maxQuantiles)
	}
	nominal := make([]int64, len(o.Quantiles))
	for i, q := range o.Quantiles {
		if !(q > 0 && q < 1) {
			return nil, fmt.Errorf("%w: quantile %v is not in (0, 1)", ErrOptions, q)
		}
		_, decimals, _ := strings.Cut(strconv.FormatFloat(q, 'f', -1, 64), ".")
		if len(decimals) > 9 {
			return nil, fmt.Errorf("%w: quantile %v has more than nine decimals", ErrOptions, q)
		}
		n, err := strconv.ParseInt((decimals + "000000000")[:9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: quantile %v: %w", ErrOptions, q, err)
		}
		nominal[i] = n
	}
	return nominal, nil
}

// distinct returns the different values of nominal, ascending.
func distinct(nominal []int64) []int64 {
	sorted := slices.Clone(nominal)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// Cost returns what a [Release] with these options costs: its ε, and its ρ in billionths, rounded up. Each draw spends a share ε′ of ε, and ε′²/8 of ρ; the cost is
// that of the dearest path of the tree of quantiles. A tree of noisy counts spends ε²/2 of ρ. Options that [Options.Validate] refuses cost nothing, for they release nothing.
// The estimator must not be "auto": see [Options.Chosen].
func Cost(o Options) (epsilon Epsilon, nanoRho int64) {
	nominal, err := o.nominal()
	if err != nil || o.Validate() != nil {
		return 0, 0
	}
	// ρ = ε²/8·Rho, so in billionths e²/(8·10⁹)·Rho for ε = e/10⁹.
	e := big.NewInt(int64(o.Epsilon))
	cost := big.NewRat(4, 1) // of ε²/8: a pure mechanism is ε²/2-zCDP (Bun, Steinke 2016, proposition 1.4)
	if o.Estimator.branching == 0 {
		m := len(distinct(nominal))
		arity, shares := o.Estimator.tree(m)
		cost = recursive.Rho(m, arity, shares)
	}
	cost.Mul(cost, new(big.Rat).SetFrac(e.Mul(e, e), big.NewInt(8*epsilonUnit)))
	rho, rem := new(big.Int).QuoRem(cost.Num(), cost.Denom(), new(big.Int))
	if rem.Sign() > 0 {
		rho.Add(rho, big.NewInt(1))
	}
	return o.Epsilon, rho.Int64() // at most 10²⁴/(8·10⁹)
}

// Release answers quantiles of the records in s, which may be empty. Without other instructions it does so by the recursive estimator (docs/proofs/recursive.md) after
// Kaplan, Schnapp and Stemmer, "Differentially private approximate quantiles" (ICML 2022), algorithm 1, with relative quantiles on the data inside each range, and ties
// split by lot.
// An error depends on the options and the grid only; errors about options wrap [ErrOptions].
// It takes O((k + 400)·m) steps for m quantiles on k non-empty buckets, whatever the number of records.
func Release(s *sketch.Binned, o Options) (*Result, error) {
	return release(s, o, exact.New())
}

func release(s *sketch.Binned, o Options, sampler exact.NoiseSampler) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	grid := s.Grid()
	if o.Prior == nil {
		o.Prior = prior.Uniform()
	}
	weights, err := o.weights(grid)
	if err != nil {
		return nil, err
	}
	o, predicted, err := o.Chosen(grid)
	if err != nil {
		return nil, err
	}
	nominal, err := o.nominal()
	if err != nil {
		return nil, err
	}
	o.Contributions = max(o.Contributions, 1)
	asked := distinct(nominal)
	cuts, errs := o.cuts(s, asked, weights, sampler)
	r := &Result{
		Estimator:     o.Estimator.String(),
		Contributions: o.Contributions,
		Neighbours:    o.Neighbours.String(),
		Prior:         o.Prior.Name(),
		Predicted:     predicted,
	}
	if o.Estimator.branching > 0 {
		r.Prior = noPrior
	}
	r.Epsilon, r.NanoRho = Cost(o)
	for i, q := range o.Quantiles {
		j, _ := slices.BinarySearch(asked, nominal[i])
		a := answer(grid, cuts[j], q, o.Representative)
		if errs != nil {
			a.RankError = &errs[j]
		}
		r.Quantiles = append(r.Quantiles, a)
	}
	return r, nil
}

// Work returns a bound of the steps that a [Release] with these options takes on a grid, some 30 ns each, whatever the data: who answers others can wait for as long as they may
// take at most. The estimator must not be "auto".
func Work(o Options, g *sketch.Grid) uint64 {
	const splits = 400 // of blocks, for each draw
	m, buckets := uint64(len(o.Quantiles)), uint64(g.Len())
	if o.Estimator.branching > 0 {
		releases := uint64(1)
		if o.Confidence > 0 {
			releases += runs(o.Confidence)
		}
		return 2*buckets*releases + m // nodes of the tree
	}
	arity, _ := o.Estimator.tree(int(m))
	draws := min(uint64(arity-1), m)
	// The ranges of a level are disjoint, and each draw looks at all of its range.
	return uint64(recursive.Depth(int(max(m, 1)), arity))*draws*buckets + splits*m
}

// cuts returns a cut for each of the quantiles, ascending, and a bound of the error of each if one is asked for.
func (o Options) cuts(s *sketch.Binned, quantiles []int64, weights []uint64, sampler exact.NoiseSampler) (cuts []uint64, errs []float64) {
	if o.Estimator.branching > 0 {
		return o.countTree(s, quantiles, sampler)
	}
	return o.recursive(s, quantiles, weights, sampler), nil
}

// noPrior is the prior of a release that uses none.
const noPrior = "none"

// recursive returns a cut for each of the quantiles by the recursive estimator.
func (o Options) recursive(s *sketch.Binned, quantiles []int64, weights []uint64, sampler exact.NoiseSampler) []uint64 {
	p := &recursive.Problem{
		Levels:        levels,
		Weights:       weights,
		Quantiles:     quantiles,
		Epsilon:       int64(o.spent()),
		Contributions: uint64(max(o.Contributions, 1)),
		Edges:         o.Estimator.edges,
	}
	p.Arity, p.Shares = o.Estimator.tree(len(quantiles))
	for bucket, n := range s.All() {
		p.Counts = append(p.Counts, recursive.Count{Bucket: bucket, Records: n})
	}
	return recursive.Solve(p, sampler)
}

// countTree returns a cut for each of the quantiles from a tree of noisy counts, and bounds of their errors.
func (o Options) countTree(s *sketch.Binned, quantiles []int64, sampler exact.NoiseSampler) (cuts []uint64, errs []float64) {
	p := o.noisyTree(s.Grid().Len())
	for bucket, n := range s.All() {
		p.Counts = append(p.Counts, tree.Count{Bucket: bucket, Records: n})
	}
	t := tree.Release(p, sampler)
	cuts = t.Quantiles(quantiles)
	if o.Confidence == 0 {
		return cuts, nil
	}
	band := t.CalibratedBand(o.Confidence, int(runs(o.Confidence)), sampler)
	for j, q := range quantiles {
		low, high := band.RankError(q, cuts[j])
		errs = append(errs, max(0, high, -low))
	}
	return cuts, errs
}

// runs is how many trees of no records are simulated for a confidence: ten times as many as it needs at least, so that the bounds are steady.
func runs(confidence float64) uint64 { return uint64(math.Ceil(10 / (1 - confidence))) }

// noisyTree returns the tree over so many buckets, without counts.
func (o Options) noisyTree(buckets int) *tree.Problem {
	return &tree.Problem{
		Buckets:       buckets,
		Branching:     o.Estimator.branching,
		Noise:         tree.Laplace,
		Epsilon:       int64(o.spent()),
		Contributions: uint64(max(o.Contributions, 1)),
	}
}

// answer turns a cut into numbers: a function of the grid and the cut alone, since anything else that knew the data would have to be charged.
func answer(g *sketch.Grid, cut uint64, q float64, rep Representative) Quantile {
	b := int(cut >> levels)
	if b == g.Len() { // the top: right of every record
		lower, upper := g.Bounds(b - 1)
		value := upper
		if math.IsInf(upper, 1) {
			value = lower
		}
		return Quantile{Q: q, Value: value, Lower: lower, Upper: upper}
	}
	lower, upper := g.Bounds(b)
	value := lower
	switch {
	case math.IsInf(lower, -1):
		value = upper
	case rep == Within && !math.IsInf(upper, 1):
		share := float64(cut&(1<<levels-1)) / (1 << levels)
		if width := upper - lower; math.IsInf(width, 1) {
			value = min(2*(lower/2+(upper/2-lower/2)*share), upper)
		} else {
			value = min(lower+width*share, upper)
		}
	}
	return Quantile{Q: q, Value: value, Lower: lower, Upper: upper}
}
