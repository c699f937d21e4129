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
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/adaptive"
	"github.com/quietile/quietile/dp/internal/recursive"
	"github.com/quietile/quietile/dp/internal/slice"
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
	// defaultShare is the part of the budget that measures rank errors.
	defaultShare = 0.1
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
	// Lower answers a bucket's lower edge: right where the values are those edges, as integers are on a grid with an edge at each. Then only the buckets of answers matter, and joint draws are of buckets.
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
	// Epsilon is the privacy loss of all answers together, at most 1000; 0 for a release with NanoRho.
	Epsilon Epsilon
	// NanoRho is their loss in zero-concentrated differential privacy instead, in billionths, at most 1000·10⁹: what dp/budget makes of an ε and a δ. Then estimators that
	// read their answers from counts use Gaussian noise.
	NanoRho int64
	// Contributions is how many records one privacy unit has in the sketch at most. 0 means 1.
	Contributions int
	// Prior weighs the grid's buckets. nil means [prior.Uniform]. The recursive estimators use a [prior.ByQuantile] for each quantile as it says, and make a [prior.Mixture] inside each range; others
	// use its Weights.
	Prior prior.Prior
	// Estimator says how ε is spent. The zero value is the recursive estimator. "auto" is the one that [Options.Choose] puts first.
	Estimator Estimator
	// Neighbours is whom the guarantee protects against. The zero value is [AddRemove].
	Neighbours Neighbours
	// Confidence, in (0, 1), asks for an interval of the rank error of each answer; all of a release hold at once with that probability, for fewer than 2⁵³ records. 0 asks for none. Estimators that read their
	// answers from counts know their noise; others spend ConfidenceShare of the budget on noisy counts of the records between their answers (docs/proofs/rank-error.md).
	Confidence float64
	// ConfidenceShare is that part, in (0, 1), read to nine decimals. 0 means 0.1.
	ConfidenceShare float64
	// Records is about how many records there are, from public knowledge or an earlier release: a hint for the choice of an estimator, for how many bins a density has, and for how wide slices
	// are or whether they are refused. At most 2^40. 0 means not known, and then 10,000.
	Records uint64
	// Representative picks the answer's place in its bucket. The zero value is [Lower].
	Representative Representative
	// Forecast is for estimators that read their answers from counts: what earlier releases make expect of the records. They combine it with what their own noisy counts show, by the variances of both, at no cost
	// (docs/proofs/learned-priors.md), and publish that too, as Result.Curve. An empty curve asks for this alone; nil for neither. Estimators that "auto" may choose besides do not look at it.
	Forecast *Curve
	// Learn asks for a gradient besides the answers, for [ReleaseAndLearn]; nil for none.
	Learn *Learning

	// each are the priors of the different quantiles on the grid, once they are checked; nil if one list of weights is all there is.
	each []recursive.Prior
}

// An Interval is what a rank error lies in: the rank of the answer, less that of the quantile, in records. A bucket with records has many ranks; the interval holds the error of one of
// them at least. Where the errors of several are known to be among its ranks it is the one nearest to 0.
type Interval struct{ Low, High float64 }

// A Quantile is one answer.
type Quantile struct {
	// Q is the quantile asked for.
	Q float64
	// Value is the answer, finite and never falling as Q rises. In a bucket that reaches to infinity it is the bucket's finite edge.
	Value float64
	// Lower and Upper are the edges of the bucket that holds the answer, infinite for a bucket that reaches to infinity.
	Lower, Upper float64
	// RankError holds the rank error, with the Confidence asked for, for all answers of the release at once; nil if none was asked for.
	RankError *Interval
}

// A Result is what a [Release] publishes. All of it may be shown to anyone.
type Result struct {
	// Quantiles are the answers in the order asked.
	Quantiles []Quantile
	// Estimator describes the estimator, as [Estimator.String] does.
	Estimator string
	// Epsilon is the privacy loss of all answers together; 0 if there is none that is pure, for Gaussian noise.
	Epsilon Epsilon
	// NanoRho is the loss in zero-concentrated differential privacy, in billionths, rounded up.
	NanoRho int64
	// Confidence is that of the rank errors, 0 if there are none, and ConfidenceShare the share of the loss that was spent on them.
	Confidence, ConfidenceShare float64
	// Contributions is the number of records a unit may contribute under this guarantee.
	Contributions int
	// Neighbours is "add-remove" or "replace-one".
	Neighbours string
	// Prior is the name of the prior; "curve" for a tree on the grid's buckets, which has none, with a forecast.
	Prior string
	// Curve is what the noisy counts of the release itself show of the records, for forecasts of the next ones; nil unless a forecast was given.
	Curve *Curve
	// Predicted is what made "auto" choose the estimator, nil if another was asked for. It knows nothing of the data.
	Predicted *Prediction
	// Learned are the noisy sums of gradients that [Learning] asked for, and LearnedNanoRho the part of NanoRho that was spent on them.
	Learned        []GradientSum
	LearnedNanoRho int64
}

// Validate makes the checks of [Release] that need no data. Its errors wrap [ErrOptions].
func (o Options) Validate() error {
	_, err := o.nominal()
	if err != nil {
		return err
	}
	if o.NanoRho < 0 || o.NanoRho > maxEpsilon {
		return fmt.Errorf("%w: rho %v is not in (0, 1000]", ErrOptions, Epsilon(o.NanoRho))
	}
	if o.NanoRho > 0 && o.Epsilon != 0 {
		return fmt.Errorf("%w: epsilon %v and rho %v are two budgets for one release", ErrOptions, o.Epsilon, Epsilon(o.NanoRho))
	}
	if o.NanoRho == 0 && (o.Epsilon <= 0 || o.Epsilon > maxEpsilon) {
		return fmt.Errorf("%w: epsilon %v is not in (0, 1000]", ErrOptions, o.Epsilon)
	}
	if o.Neighbours != AddRemove && o.Neighbours != ReplaceOne {
		return fmt.Errorf("%w: neighbours %d are neither AddRemove nor ReplaceOne", ErrOptions, o.Neighbours)
	}
	if o.Confidence != 0 && !(o.Confidence > 0 && o.Confidence <= maxConfidence) {
		return fmt.Errorf("%w: confidence %v is not in (0, %v]", ErrOptions, o.Confidence, maxConfidence)
	}
	if o.ConfidenceShare != 0 && !(o.ConfidenceShare > 0 && o.ConfidenceShare < 1) {
		return fmt.Errorf("%w: confidence share %v is not in (0, 1)", ErrOptions, o.ConfidenceShare)
	}
	if o.ConfidenceShare != 0 && o.Confidence == 0 {
		return fmt.Errorf("%w: confidence share %v without a confidence", ErrOptions, o.ConfidenceShare)
	}
	if o.Learn != nil {
		if err := o.Learn.validate(o); err != nil {
			return err
		}
	}
	if answers, intervals := o.budgets(); answers.none() || o.measures() && intervals.none() {
		return fmt.Errorf("%w: %v is too little to divide", ErrOptions, budget{o.Epsilon, o.NanoRho})
	}
	if o.Contributions < 0 || o.Contributions > maxContributions {
		return fmt.Errorf("%w: contributions %d is not in [1, %d]", ErrOptions, o.Contributions, maxContributions)
	}
	if m := len(o.Quantiles); o.Estimator.kind == independentKind && m > maxIndependent {
		return fmt.Errorf("%w: %d quantiles are more than the %d that the independent estimator answers", ErrOptions, m, maxIndependent)
	}
	if o.Records > maxRecords {
		return fmt.Errorf("%w: records %d are more than %d", ErrOptions, o.Records, uint64(maxRecords))
	}
	if o.Estimator.kind == sliceKind && o.NanoRho > 0 {
		return fmt.Errorf("%w: rho %v: the slice estimator has a pure epsilon only", ErrOptions, Epsilon(o.NanoRho))
	}
	if o.Estimator.counts() {
		// What the deepest tree can take any other can: no grid makes an error of it after it was paid for.
		if err := o.noisyTree(2 * sketch.MaxBuckets).Check(); err != nil {
			return fmt.Errorf("%w: estimator %v: %w", ErrOptions, o.Estimator, err)
		}
	}
	if o.Forecast != nil {
		if !o.Estimator.counts() && o.Estimator.kind != autoKind {
			return fmt.Errorf("%w: %w: a forecast is combined with noisy counts, which estimator %v does not read", ErrOptions, prior.ErrPrior, o.Estimator)
		}
		if err := o.Forecast.Check(sketch.MaxBuckets); err != nil {
			return fmt.Errorf("%w: forecast: %w", ErrOptions, err)
		}
	}
	if o.Estimator.kind == adaptiveKind {
		if err := o.histograms(sketch.MaxBuckets).Check(); err != nil {
			return fmt.Errorf("%w: estimator %v: %w", ErrOptions, o.Estimator, err)
		}
	}
	if o.measures() {
		if err := o.rulers(2*len(o.Quantiles) + 1)[0].Check(); err != nil {
			return fmt.Errorf("%w: confidence %v: %w", ErrOptions, o.Confidence, err)
		}
	}
	if o.Representative != Lower && o.Representative != Within {
		return fmt.Errorf("%w: representative %d is neither Lower nor Within", ErrOptions, o.Representative)
	}
	if o.Estimator.sharp {
		return o.checkSharp()
	}
	return nil
}

// checkSharp refuses sharp draws where there are none.
func (o Options) checkSharp() error {
	switch {
	case o.NanoRho > 0:
		return fmt.Errorf("%w: rho %v: estimator %v spends all that a pure epsilon allows", ErrOptions, Epsilon(o.NanoRho), o.Estimator)
	case o.Representative != Lower:
		return fmt.Errorf("%w: estimator %v draws buckets, and what is answered is within them", ErrOptions, o.Estimator)
	case o.Estimator.draws > 0:
		return fmt.Errorf("%w: estimator %v draws buckets, and with draws there are none", ErrOptions, o.Estimator)
	}
	return nil
}

// ValidateOn makes the checks of [Options.Validate], and that the prior fits the grid: all that a [Release] of a sketch on it checks.
func (o Options) ValidateOn(g *sketch.Grid) error {
	_, _, err := o.checkOn(g)
	return err
}

// checkOn returns the prior's weights too, and the options with the priors of their quantiles.
func (o Options) checkOn(g *sketch.Grid) (Options, []uint64, error) {
	if err := o.Validate(); err != nil {
		return o, nil, err
	}
	if o.Forecast != nil {
		if err := o.Forecast.Check(g.Len()); err != nil {
			return o, nil, fmt.Errorf("%w: forecast: %w", ErrOptions, err)
		}
	}
	o.Prior = o.prior()
	nominal, err := o.nominal()
	if err != nil {
		return o, nil, err
	}
	if o.Estimator.kind == treeKind && o.Estimator.bins == 0 { // which has no use for a prior
		weights, err := prior.Uniform().Weights(g)
		return o, weights, err
	}
	if !o.Estimator.additive() { // which have one prior for all quantiles
		if o.each, err = o.priors(g, distinct(nominal)); err != nil {
			return o, nil, err
		}
	}
	if _, ok := o.Prior.(prior.ByQuantile); ok && (o.Estimator.kind == recursiveKind || o.Estimator.kind == independentKind) {
		return o, nil, nil // who has a prior for each quantile needs no weights for all of them
	}
	weights, err := o.weights(g)
	if err == nil && o.Estimator.kind == sliceKind {
		if err = o.slices(distinct(nominal), weights).Check(); err != nil {
			err = fmt.Errorf("%w: estimator %v: %w", ErrOptions, o.Estimator, err)
		}
	}
	return o, weights, err
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

// Cost returns what a [Release] with these options costs: its ε, 0 if it has none that is pure, and its ρ in billionths, rounded up. Each draw of an exponential mechanism that spends
// a share ε′ of ε spends ε′²/8 of ρ; the cost is that of the dearest path of the tree of quantiles. Sharp draws and noisy counts with ε spend ε²/2 of ρ. Options that [Options.Validate] refuses cost
// nothing, for they release nothing. The estimator must not be "auto": see [Options.Chosen].
func Cost(o Options) (epsilon Epsilon, nanoRho int64) {
	nominal, err := o.nominal()
	if err != nil || o.Validate() != nil {
		return 0, 0
	}
	m := o.Estimator.drawn(len(distinct(nominal)))
	arity, shares := o.Estimator.tree(m)
	if o.NanoRho > 0 {
		if o.Estimator.additive() || o.measures() || o.Learn != nil {
			return 0, o.NanoRho
		}
		pure := recursive.Pure(m, arity, shares, o.Estimator.joint(), o.NanoRho/o.Neighbours.squared())
		return Epsilon(pure * o.Neighbours.factor()), o.NanoRho
	}
	answers, intervals := o.budgets()
	rho := noisyRho(answers.epsilon)
	if !o.Estimator.additive() && o.Estimator.kind != sliceKind {
		divisor := int64(8)
		if o.Estimator.sharp {
			divisor = 2
		}
		rho = rhoOver(answers.epsilon, divisor, recursive.Rho(m, arity, shares, o.Estimator.joint()))
	}
	rho.Add(rho, noisyRho(intervals.epsilon))
	rho.Mul(rho, new(big.Rat).SetInt64(o.Neighbours.squared()))
	whole, rem := new(big.Int).QuoRem(rho.Num(), rho.Denom(), new(big.Int))
	if rem.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	return o.Epsilon, whole.Int64() // at most 10²⁴/(2·10⁹)
}

// noisyRho returns the ρ of noisy counts, or of any pure mechanism, with ε: ε²/2 (Bun, Steinke 2016, proposition 1.4). It is in billionths.
func noisyRho(e Epsilon) *big.Rat { return rhoOver(e, 2, big.NewRat(1, 1)) }

// rhoOver returns times·ε²/divisor in billionths.
func rhoOver(e Epsilon, divisor int64, times *big.Rat) *big.Rat {
	square := big.NewInt(int64(e))
	square.Mul(square, square)
	return new(big.Rat).Mul(times, new(big.Rat).SetFrac(square, big.NewInt(divisor*epsilonUnit)))
}

// Release answers quantiles of the records in s, which may be empty. Without other instructions it does so by the recursive estimator (docs/proofs/recursive.md) after
// Kaplan, Schnapp and Stemmer, "Differentially private approximate quantiles" (ICML 2022), algorithm 1, with relative quantiles on the data inside each range, and ties
// split by lot.
// An error depends on the options and the grid only; errors about options wrap [ErrOptions].
// It takes O(k·log m + m) steps for m quantiles on k non-empty buckets, whatever the number of records: see [Work].
func Release(s *sketch.Binned, o Options) (*Result, error) {
	if o.Learn != nil {
		return nil, fmt.Errorf("%w: learning is asked for, which ReleaseAndLearn does", ErrOptions)
	}
	return release(s, o, exact.New())
}

func release(s *sketch.Binned, o Options, sampler exact.NoiseSampler) (*Result, error) {
	grid := s.Grid()
	o, weights, err := o.checkOn(grid)
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
	cuts, intervals, curve := o.cuts(s, asked, weights, sampler)
	r := &Result{
		Estimator:     o.Estimator.String(),
		Confidence:    o.Confidence,
		Contributions: o.Contributions,
		Neighbours:    o.Neighbours.String(),
		Prior:         o.PriorName(),
		Predicted:     predicted,
		Curve:         curve,
	}
	if o.measures() {
		r.ConfidenceShare = o.share()
	}
	r.Epsilon, r.NanoRho = Cost(o)
	for i, q := range o.Quantiles {
		j, _ := slices.BinarySearch(asked, nominal[i])
		a := answer(grid, cuts[j], q, o.Representative)
		if intervals != nil {
			a.RankError = &intervals[j]
		}
		r.Quantiles = append(r.Quantiles, a)
	}
	return r, nil
}

// Work returns a bound of the steps that a [Release] with these options takes on a grid, some 50 ns each, whatever the data: who answers others can wait for as long as they may
// take at most. The estimator must not be "auto".
func Work(o Options, g *sketch.Grid) uint64 {
	// A draw splits some forty blocks, and to split one with 2³⁰ records or more takes as long as a thousand steps. With two nodes of a tree for a bucket, noisy counts and what is made of
	// them take some twenty.
	const splits, node = 40_000, 20
	m, buckets := uint64(len(o.Quantiles)), uint64(g.Len())
	releases := uint64(1)
	if o.Confidence > 0 {
		releases += runs(o.Confidence)
	}
	if o.Forecast != nil {
		releases += curveRuns + 1 // and the combined one
	}
	learning := uint64(0)
	if l := o.Learn; l != nil { // each quantile is looked for among the records; noise is drawn for each number of a node of each level
		const noise = 20
		learning = 2*buckets*m + noise*m*uint64(l.Levels*(len(l.Features)+1))
	}
	weighing := uint64(0)
	if _, ok := o.prior().(prior.ByQuantile); ok && (o.Estimator.kind != treeKind || o.Estimator.bins > 0) { // the mean of the priors of quantiles
		weighing = 2 * buckets * m
	}
	if o.Estimator.counts() {
		counted := g.Len()
		if n := o.bins(); n > 0 {
			counted = min(n, counted)
		}
		smoothing := uint64(0)
		if p := o.noisyTree(counted); p.Smooth {
			smoothing = p.Smoothing()
			if o.Forecast != nil {
				smoothing *= curveRuns + 2
			}
		}
		return node*buckets*releases + 2*m + weighing + learning + smoothing
	}
	measuring := uint64(0)
	if o.measures() {
		measuring = buckets + splits*m + node*(2*m+1)*(releases+6)
	}
	if o.Estimator.kind == adaptiveKind {
		return adaptive.Work(o.histograms(g.Len()), g.Len()) + 2*m + weighing + measuring + learning
	}
	m = uint64(o.Estimator.drawn(int(m)))
	arity, _ := o.Estimator.tree(int(m))
	draws := min(uint64(arity-1), m)
	// The ranges of a level are disjoint, and each draw looks at all of its range.
	work := uint64(recursive.Depth(int(max(m, 1)), arity))*draws*buckets + splits*m
	if o.Estimator.joint() { // cells, layers and runs of a node's proposals; nodes are m/draws
		work = uint64(recursive.Depth(int(max(m, 1)), arity))*buckets + uint64(1000*math.Pow(float64(draws), 1.5)*float64(m+draws))
	}
	if o.Estimator.sharp { // an eighth of the terms that a bonus may have, one for each half record up to where the rest weighs next to nothing: longer than the slowest took that was tried with nine and with 29 quantiles, since sums become large or have all buckets before
		const term, exponent = 15, 85
		far := float64(exponent+uint64(bits.Len64(buckets))*draws) / (2 * o.perNode(int(m)))
		work += term * draws * uint64(min(float64(draws*buckets), far*float64(m/draws+1)))
	}
	switch o.prior().(type) {
	case prior.ByQuantile:
		const mixing = 8 // a draw makes the weights of its range, after all of them were made for the grid
		work += (uint64(recursive.Depth(int(max(m, 1)), arity))*draws + 2*m) * buckets * mixing
	case prior.Mixture:
		const mixing = 4
		work += uint64(recursive.Depth(int(max(m, 1)), arity)) * draws * buckets * mixing
	}
	return work + measuring + learning
}

// cuts returns a cut for each of the quantiles, ascending, intervals of their rank errors if they are asked for, and the curve of noisy counts.
func (o Options) cuts(s *sketch.Binned, quantiles []int64, weights []uint64, sampler exact.NoiseSampler) (cuts []uint64, intervals []Interval, _ *Curve) {
	switch {
	case o.Estimator.counts():
		return o.readCounts(s, quantiles, weights, sampler)
	case o.Estimator.kind == adaptiveKind:
		cuts, intervals = o.adaptive(s, quantiles, weights, sampler)
	case o.Estimator.kind == sliceKind:
		p := o.slices(quantiles, weights)
		for bucket, n := range s.All() {
			p.Counts = append(p.Counts, slice.Count{Bucket: bucket, Records: n})
		}
		if !o.measures() {
			return slice.Solve(p, sampler), nil, nil
		}
		var between []uint64
		cuts, between = slice.SolveAndCount(p, sampler)
		intervals = o.measure(quantiles, between, sampler)
	default:
		cuts, intervals = o.recursive(s, quantiles, weights, sampler)
	}
	return cuts, intervals, nil
}

// PriorName returns the name of the prior that a [Release] uses, "none" if it is read from the counts of buckets. The estimator must not be "auto".
func (o Options) PriorName() string {
	switch {
	case o.Estimator.kind == treeKind && o.Estimator.bins == 0 && o.Forecast != nil:
		return "curve"
	case o.Estimator.kind == treeKind && o.Estimator.bins == 0:
		return "none"
	case o.Prior == nil:
		return prior.Uniform().Name()
	}
	return o.Prior.Name()
}

// slices returns the problem of the slice estimator, without counts.
func (o Options) slices(quantiles []int64, weights []uint64) *slice.Problem {
	answers, _ := o.budgets()
	records := o.Records
	if records == 0 {
		records = unknownRecords
	}
	return &slice.Problem{
		Levels: levels, Weights: weights, Quantiles: quantiles, Epsilon: int64(answers.epsilon), Contributions: uint64(max(o.Contributions, 1)), Records: records, Width: uint64(o.Estimator.width),
	}
}

// recursive returns cuts by the recursive estimator.
func (o Options) recursive(s *sketch.Binned, quantiles []int64, weights []uint64, sampler exact.NoiseSampler) ([]uint64, []Interval) {
	answers, _ := o.budgets()
	p := &recursive.Problem{
		Levels:        levels,
		Weights:       weights,
		Quantiles:     quantiles,
		Epsilon:       int64(answers.epsilon),
		Rho:           answers.nanoRho,
		Contributions: uint64(max(o.Contributions, 1)),
		Edges:         o.Estimator.edges,
		Joint:         o.Estimator.joint(),
		Buckets:       o.Representative == Lower && o.Estimator.drawn(len(quantiles)) == len(quantiles), // what is read between cuts needs to know where in a bucket they are
		Draws:         o.Estimator.draws,
		Sharp:         o.Estimator.sharp,
		Priors:        o.each,
	}
	if p.Joint { // which has one prior for all
		p.Priors = nil
	}
	p.Arity, p.Shares = o.Estimator.tree(len(quantiles))
	for bucket, n := range s.All() {
		p.Counts = append(p.Counts, recursive.Count{Bucket: bucket, Records: n})
	}
	if !o.measures() {
		return recursive.Solve(p, sampler), nil
	}
	if p.Joint && p.Buckets {
		cuts := recursive.Solve(p, sampler)
		return cuts, o.measureBuckets(s, quantiles, cuts, sampler)
	}
	cuts, between := recursive.SolveAndCount(p, sampler)
	return cuts, o.measure(quantiles, between, sampler)
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
