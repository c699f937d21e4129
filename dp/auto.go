package dp

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// A Prediction is what [Options.Choose] expects of an estimator on records that are as the prior says.
type Prediction struct {
	Estimator Estimator
	// Mean and Max are the mean over the quantiles, and the largest, of the errors of rank, in records: how far the share of records up to an answer is from the quantile.
	// They are means over some releases.
	Mean, Max float64
}

// Of each estimator at most so many releases are simulated, and at least two, in about so many steps.
const (
	maxRehearsals  = 12
	rehearsalSteps = 3_000_000
)

// Choose compares estimators for these options on a grid, whatever their own Estimator, and returns the one with the least expected error first, and the others in
// order. It sees the options, the grid and Records, and never the data: records that are distributed as the prior says are released some times by each estimator, by the code
// that releases the data. Equal arguments give equal predictions. Errors are those of [Options.Validate] and of the prior.
func (o Options) Choose(g *sketch.Grid) ([]Prediction, error) {
	o.Estimator = Estimator{}
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
	s := expected(g, weights, records)
	var all []Prediction
	for _, name := range []string{"recursive", "recursive:power=0.5", "independent", "tree:branching=4", "tree", "tree:branching=16", "tree:branching=32"} {
		e, err := ParseEstimator(name)
		if err != nil {
			return nil, err
		}
		o := o
		if o.Estimator = e; o.Validate() != nil {
			continue // not for so many quantiles, or so small a budget
		}
		// What is left for the answers, which are all that is compared.
		answers, _ := o.budgets()
		o.Epsilon, o.NanoRho, o.Neighbours, o.Confidence, o.ConfidenceShare = answers.epsilon, answers.nanoRho, AddRemove, 0, 0
		p := Prediction{Estimator: e}
		// Pseudorandom bits from a fixed seed: nothing here is secret, and the choice must be the same each time.
		sampler := exact.NewFrom(rand.NewChaCha8([32]byte{}))
		rehearsals := float64(min(max(rehearsalSteps/Work(o, g), 2), maxRehearsals))
		for range int(rehearsals) {
			cuts, _ := o.cuts(s, asked, weights, sampler)
			mean, most := rankErrors(s, asked, cuts)
			p.Mean += mean / rehearsals
			p.Max += most / rehearsals
		}
		all = append(all, p)
	}
	slices.SortStableFunc(all, func(a, b Prediction) int {
		x, y := a.Mean*a.Max, b.Mean*b.Max
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return all, nil
}

// expected returns so many records with as many in each bucket as the weights say, rounded.
func expected(g *sketch.Grid, weights []uint64, records uint64) *sketch.Binned {
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	s := sketch.NewBinned(g)
	before, share := uint64(0), 0.0
	for i, w := range weights {
		share += float64(w) / total
		if upTo := uint64(math.Round(min(share, 1) * float64(records))); upTo > before {
			if err := s.AddBucket(i, upTo-before); err != nil {
				panic(err) // records are bounded by Validate
			}
			before = upTo
		}
	}
	return s
}

// rankErrors returns the mean and the largest distance of cuts from the ranks that were asked for, in records, those of a bucket being spread over it.
func rankErrors(s *sketch.Binned, asked []int64, cuts []uint64) (mean, most float64) {
	before := make([]float64, s.Grid().Len()+1)
	for i, n := range s.All() {
		before[i+1] = float64(n)
	}
	for i := 1; i < len(before); i++ {
		before[i] += before[i-1]
	}
	n := before[len(before)-1]
	for j, cut := range cuts {
		b := cut >> levels
		rank := before[b]
		if int(b) < len(before)-1 {
			rank += (before[b+1] - before[b]) * float64(cut&(1<<levels-1)) / (1 << levels)
		}
		off := math.Abs(rank - float64(asked[j])/float64(epsilonUnit)*n)
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
	return o, &all[0], nil
}
