package dp

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// A Prediction is what [Options.Choose] expects of an estimator.
type Prediction struct {
	Estimator Estimator
	// Mean and Max are the mean over the quantiles, and the largest, of the rank errors in records: how far the ranks of an answer's bucket are from that of the quantile. They are
	// geometric means, each error counting as one record more, over releases of all the rehearsed shapes.
	Mean, Max float64
	coarse    bool // whether records may crowd where it does not look
}

// badness is what estimators are ordered by.
func (p Prediction) badness() float64 {
	mean, most := p.Mean, p.Max
	if p.Estimator.joint() {
		mean, most = patience*mean, patience*most
	}
	product := (1 + mean) * (1 + most)
	if p.coarse {
		product *= caution
	}
	return product
}

// coarse tells whether the estimator may not see which of so many buckets records are in, where it would with other parameters.
func (o Options) coarse(buckets int) bool {
	e := o.Estimator
	if e.kind == adaptiveKind {
		return e.rounds > 0 && !o.findsBuckets(e.rounds, buckets)
	}
	return e.bins > 0 || e.draws > 0
}

// Of each estimator at most so many releases of a shape are simulated, more of few quantiles, of which one release tells less, if that is quick, and at least two, in about so many steps.
const (
	maxRehearsals  = 16
	fewQuantiles   = 10
	rehearsalSteps = 80_000_000
	quickSteps     = 2_500_000 // of the releases that are more than maxRehearsals
)

// candidates are what "auto" chooses from. A density is not among them: where records are as the prior says it looks better than it is where they are not.
var candidates = []string{"joint:sharp", "joint", "joint:draws=31", "joint:draws=19", "joint:draws=9", "recursive", "tree", "tree:height=2", "tree:bins=1024", "tree:smooth", "adaptive", "adaptive:rounds=2", "adaptive:bins=33,power=1.5", "adaptive:spikes"}

// caution is by how much the product of errors of a coarse estimator must be the smaller: records may crowd between what it looks at more than those of any shape. patience is by how much each error of joint draws must be, which take some ten times as long as others.
const (
	caution  = 1.3
	patience = 1.025
)

// Choose compares estimators for these options on a grid, whatever their own Estimator, and returns the one with the least expected error first, and the others in
// order. It sees the options, the grid and Records, and never the data: records of several [shapes], which are spread as the prior says by and large, are released some times by
// each estimator, by the code that releases the data. Equal arguments give equal predictions. Errors are those of [Options.Validate] and of the prior.
func (o Options) Choose(g *sketch.Grid) ([]Prediction, error) {
	o.Estimator, o.Forecast = Estimator{}, nil
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Prior == nil {
		o.Prior = prior.Uniform()
	}
	weights, err := o.weights(g)
	if err != nil {
		return nil, err
	}
	nominal, err := o.nominal()
	if err != nil {
		return nil, err
	}
	asked := distinct(nominal)
	records := o.Records
	if records == 0 {
		records = unknownRecords
	}
	if o.each, err = o.priors(g, asked); err != nil {
		return nil, err
	}
	shapes := o.shapes(g, asked, weights, records)
	var all []Prediction
	for _, name := range candidates {
		e, err := ParseEstimator(name)
		if err != nil {
			return nil, err
		}
		o := o
		if o.Estimator = e; o.Validate() != nil || e.bins >= g.Len() || e.smooth && g.Len() > 1024 {
			continue // not for so many quantiles, so small a budget, the same as without bins, or never the best
		}
		// What is left for the answers, which are all that is compared.
		answers, _ := o.budgets()
		o.Epsilon, o.NanoRho, o.Neighbours, o.Confidence, o.ConfidenceShare = answers.epsilon, answers.nanoRho, AddRemove, 0, 0
		if e.joint() && (e.draws >= len(asked) || e.drawn(len(asked)) > mostJoint || o.apart(len(asked), records) < math.Log(float64(g.Len()))) {
			continue
		}
		if e == (Estimator{kind: jointKind}) && len(all) > 0 {
			continue // there are sharp draws, which err less
		}
		if e.sharp && o.perNode(len(asked)) >= 1 {
			continue // what rounding costs them is more than what they gain (joint.md)
		}
		o.Learn = nil
		if e.rounds > 0 && e.rounds == o.rounds(g.Len()) {
			continue // the same as without rounds
		}
		// Pseudorandom bits from a fixed seed: nothing here is secret, and the choice must be the same each time.
		sampler := exact.NewFrom(rand.NewChaCha8([32]byte{}))
		steps := uint64(rehearsalSteps)
		if e.joint() { // which takes nearly all of what Work says
			steps /= 16
		}
		plain := o
		plain.Estimator.sharp = false // a bonus seldom takes nearly as long as it may
		work := Work(plain, g)
		rehearsals := min(max(steps/work, 2), maxRehearsals)
		rehearsals = max(rehearsals, min(quickSteps/work, maxRehearsals*uint64(fewQuantiles/len(asked))))
		logMean, logMax := 0.0, 0.0
		for _, lots := range shapes {
			for r := range rehearsals {
				s := lots[int(r)%len(lots)]
				cuts, _, _ := o.cuts(s.Binned, asked, weights, sampler)
				mean, most := s.rankErrors(asked, cuts)
				logMean += math.Log1p(mean)
				logMax += math.Log1p(most)
			}
		}
		n := float64(rehearsals) * float64(len(shapes))
		all = append(all, Prediction{Estimator: e, Mean: math.Expm1(logMean / n), Max: math.Expm1(logMax / n), coarse: o.coarse(g.Len())})
	}
	slices.SortStableFunc(all, func(a, b Prediction) int { return cmp.Compare(a.badness(), b.badness()) })
	return all, nil
}

// mostJoint is how many quantiles may be drawn jointly in a rehearsal, which takes long with more, and wins with fewer.
const mostJoint = 200

// apart returns the exponent by which a joint draw weighs less that puts two of so many quantiles of so many records in one place. Cuts may gain the logarithm of the number of buckets by leaving their places for where
// the prior weighs most: where that is more, they do so on some data, and draws take long.
func (o Options) apart(quantiles int, records uint64) float64 {
	return o.perNode(quantiles) / 2 * float64(records) / float64(o.Estimator.drawn(quantiles)+1)
}

// perNode returns the ε of a node that draws jointly, for each record of a unit.
func (o Options) perNode(quantiles int) float64 {
	quantiles = o.Estimator.drawn(quantiles)
	arity, _ := o.Estimator.tree(quantiles)
	levels := float64(recursive.Depth(quantiles, arity))
	epsilon := float64(o.Epsilon) / epsilonUnit / levels
	if o.NanoRho > 0 {
		epsilon = math.Sqrt(8 * float64(o.NanoRho) / epsilonUnit / levels)
	}
	return epsilon / float64(max(o.Contributions, 1))
}

// A shape is a data set that stands for many.
type shape struct {
	*sketch.Binned
	before []float64 // records before each bucket, and all
}

// shapes returns data sets of so many records. A prior says about where records are, and nothing of how smoothly they lie there: one shape is as the prior says, one is normal in its
// probabilities, with a standard deviation of a twentieth, two are exponential with a mean of a twentieth and a four-hundredth (but of four buckets at least, since in one there is nothing to find), one is log-normal with a median of a sixtieth and a deviation of e^1.5, and two are clumps at a quarter and half as many places as there are buckets, of sizes in
// proportion to 1, 1/2, 1/3, … and to 1/10, 1/11, 1/12, …. Clumps have other places in each rehearsal, and the other shapes are tilted by up to a quarter either way, since where errors are small they depend on how near a quantile is to where a bucket ends.
func shapes(g *sketch.Grid, weights []uint64, records uint64) [][]shape {
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	before := make([]float64, len(weights)+1) // prior probability
	for i, w := range weights {
		before[i+1] = before[i] + float64(w)/total
	}
	const width = 1. / 20
	smooth := func(below func(u float64) float64) (all []shape) {
		for lot := range maxRehearsals {
			random := rand.New(rand.NewPCG(0, uint64(lot)))
			tilt := random.Float64()/2 - 0.25
			shares := make([]float64, len(weights))
			for i := range shares {
				shares[i] = (below(before[i+1]) - below(before[i])) * (1 + tilt*(before[i]+before[i+1]-1))
			}
			all = append(all, newShape(g, shares, records))
		}
		return all
	}
	clumps := func(n, even int) (all []shape) {
		for lot := range maxRehearsals {
			random := rand.New(rand.NewPCG(uint64(n), uint64(lot)))
			shares := make([]float64, len(weights))
			for k := range n {
				u := random.Float64()
				i := sort.Search(len(weights)-1, func(i int) bool { return before[i+1] > u })
				shares[i] += 1 / float64(k+even)
			}
			all = append(all, newShape(g, shares, records))
		}
		return all
	}
	return [][]shape{
		smooth(func(u float64) float64 { return u }),
		smooth(func(u float64) float64 { return math.Erf((u - 0.5) / width / math.Sqrt2) }),
		smooth(func(u float64) float64 { return -math.Exp(-u / width) }),
		smooth(func(u float64) float64 { return -math.Exp(-u / max(width/20, 4/float64(len(weights)))) }),
		smooth(func(u float64) float64 { return math.Erf(math.Log(u/width*3) / 1.5 / math.Sqrt2) }),
		clumps(max(len(weights)/4, 2), 1), clumps(max(len(weights)/2, 2), 10),
	}
}

// newShape returns so many records with as many in each bucket as its share says, rounded.
func newShape(g *sketch.Grid, shares []float64, records uint64) shape {
	total := 0.0
	for _, x := range shares {
		total += x
	}
	s := shape{sketch.NewBinned(g), make([]float64, len(shares)+1)}
	share, upTo := 0.0, uint64(0)
	for i, x := range shares {
		share += x / total
		if next := uint64(math.Round(min(share, 1) * float64(records))); next > upTo {
			if err := s.AddBucket(i, next-upTo); err != nil {
				panic(err) // records are bounded by Validate
			}
			upTo = next
		}
		s.before[i+1] = float64(upTo)
	}
	return s
}

// rankErrors returns the mean and the largest distance of the ranks of the cuts' buckets from those that were asked for, in records.
func (s shape) rankErrors(asked []int64, cuts []uint64) (mean, most float64) {
	last := len(s.before) - 1
	for j, cut := range cuts {
		b := min(int(cut>>levels), last-1)
		target := float64(asked[j]) / epsilonUnit * s.before[last]
		off := max(0, s.before[b]-target, target-s.before[b+1])
		mean += off / float64(len(cuts))
		most = max(most, off)
	}
	return mean, most
}

// weights returns the prior's weights of a grid's buckets.
func (o Options) weights(g *sketch.Grid) ([]uint64, error) {
	weights, err := o.Prior.Weights(g)
	if err == nil {
		err = prior.Check(weights, g.Len())
	}
	if err != nil {
		return nil, fmt.Errorf("prior %s on grid %v: %w", o.Prior.Name(), g, err)
	}
	return weights, nil
}

// Chosen returns the options with the estimator that [Options.Choose] puts first, and what it predicts, if theirs is "auto"; otherwise as they are.
func (o Options) Chosen(g *sketch.Grid) (Options, *Prediction, error) {
	if o.Estimator.kind != autoKind {
		return o, nil, nil
	}
	all, err := o.Choose(g)
	if err != nil {
		return o, nil, err
	}
	o.Estimator = all[0].Estimator
	if !o.Estimator.counts() {
		o.Forecast = nil
	}
	return o, &all[0], nil
}
