package audit

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/adaptive"
	"github.com/quietile/quietile/dp/internal/recursive"
	noisytree "github.com/quietile/quietile/dp/internal/tree"
	"github.com/quietile/quietile/sketch"
)

// A Trial is a mechanism and a pair of neighbours that are too large to enumerate the answers of.
type Trial struct {
	Mechanism string
	Setting   string
	Data      string  // what the pair is
	Epsilon   float64 // claimed
	Delta     float64 // claimed with it; 0 for a pure ε
	Runs      int     // of the mechanism on either data set; at least 4
	// Answers run the mechanism on either data set. All answers have the same length.
	Answers [2]func(s exact.NoiseSampler) []int64
}

// doubt is the probability that the loss is less than the bound of a [Trial.Run].
const doubt = 1e-6

// Run draws answers on both data sets and returns a lower bound of the loss, which is wrong with a probability of at most one in a million. The row is OK unless the bound exceeds the
// claim.
//
// The first quarter of the answers estimates the ratio of their two likelihoods, place by place, the second chooses a threshold for it, and in the others the event is counted that
// the ratio is beyond the threshold. If it has a probability of at least p on one data set and at most q on the other (Clopper, Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika
// 1934), then ε ≥ ln((p−δ)/q).
func (t Trial) Run(ctx context.Context, s exact.NoiseSampler) (Row, error) {
	var all [2][][]int64
	for d, answer := range t.Answers {
		for range t.Runs {
			if err := ctx.Err(); err != nil {
				return Row{}, fmt.Errorf("trial of %s, %s: %w", t.Mechanism, t.Setting, err)
			}
			all[d] = append(all[d], answer(s))
		}
	}
	part := func(from, to int) [2][][]int64 { // in quarters
		from, to = from*t.Runs/4, to*t.Runs/4
		return [2][][]int64{all[0][from:to], all[1][from:to]}
	}
	score := newLikelihood(part(0, 1))
	scores := func(answers [2][][]int64) (sorted [2][]float64) {
		for d := range answers {
			for _, a := range answers[d] {
				sorted[d] = append(sorted[d], score.of(a))
			}
			slices.Sort(sorted[d])
		}
		return sorted
	}
	chosen, counted := scores(part(1, 2)), scores(part(2, 4))
	best := event{bound: math.Inf(-1)}
	for _, e := range events(chosen) {
		if e.bound = t.bound(e, chosen); e.bound > best.bound {
			best = e
		}
	}
	bound := max(t.bound(best, counted), 0)
	return Row{
		Mechanism: t.Mechanism, Setting: t.Setting, Method: "drawing", Pairs: 1, Epsilon: t.Epsilon, Worst: bound, OK: bound <= t.Epsilon,
		Data: t.Data,
	}, nil
}

// An event is that the score is at least the threshold, likelier on the first data set, or below it, likelier on the second.
type event struct {
	threshold float64
	below     bool
	bound     float64
}

// events are those at the 2nd, 4th, … 98th percentile of the scores on either data set.
func events(scores [2][]float64) []event {
	var all []event
	for _, sorted := range scores {
		for p := 2; p < 100; p += 2 {
			threshold := sorted[p*len(sorted)/100]
			all = append(all, event{threshold: threshold}, event{threshold: threshold, below: true})
		}
	}
	return all
}

// bound returns the lower bound of the loss that the counts of an event among sorted scores give, which may be negative.
func (t Trial) bound(e event, scores [2][]float64) float64 {
	var counts [2]int
	for d, sorted := range scores {
		counts[d], _ = slices.BinarySearch(sorted, e.threshold)
		if !e.below {
			counts[d] = len(sorted) - counts[d]
		}
	}
	likely, other := counts[0], counts[1]
	if e.below {
		likely, other = other, likely
	}
	n := len(scores[0])
	// That at least so many are counted is that at most so many others are not.
	p := 1 - atMost(n-likely, n)
	if p <= t.Delta {
		return math.Inf(-1)
	}
	return math.Log((p - t.Delta) / atMost(other, n))
}

// atMost returns the upper limit of Clopper and Pearson for the probability of an event that came k times in n: with the limit, so few come with a chance of doubt/2.
func atMost(k, n int) float64 {
	if k == n {
		return 1
	}
	low, high := float64(k)/float64(n), 1.0
	for range 60 {
		if p := (low + high) / 2; binomialTail(k, n, p) > doubt/2 {
			low = p
		} else {
			high = p
		}
	}
	return high
}

// binomialTail returns the chance of at most k heads in n tosses of a coin with heads of probability p > k/n.
func binomialTail(k, n int, p float64) float64 {
	if p >= 1 {
		return 0
	}
	choose := func(n int) float64 { x, _ := math.Lgamma(float64(n) + 1); return x }
	term := math.Exp(choose(n) - choose(k) - choose(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	sum := 0.0
	for i := k; i >= 0 && term > sum*1e-16; i-- { // terms fall, since k is below the mean
		sum += term
		term *= float64(i) / float64(n-i+1) * (1 - p) / p
	}
	return sum
}

// places is how many ranges the values of one place of the answer are sorted into.
const places = 32

// A likelihood estimates the logarithm of the ratio of an answer's probabilities on two data sets, as if its places were independent.
type likelihood struct {
	edges [][]int64   // for each place, the values that ranges begin with, but for the first range
	ratio [][]float64 // for each place, the logarithm of each range; nil if both data sets look the same there
}

func newLikelihood(answers [2][][]int64) *likelihood {
	l := &likelihood{}
	for place := range answers[0][0] {
		var values []int64
		for d := range answers {
			for _, a := range answers[d] {
				values = append(values, a[place])
			}
		}
		slices.Sort(values)
		var edges []int64
		for i := 1; i < places; i++ {
			edges = append(edges, values[i*len(values)/places])
		}
		edges = slices.Compact(edges)
		var counts [2][]float64
		for d := range answers {
			counts[d] = make([]float64, len(edges)+1)
			for _, a := range answers[d] {
				counts[d][rangeOf(edges, a[place])]++
			}
		}
		// Pearson's statistic of two samples from the same law has about so many as mean, and twice that as variance.
		x, free := 0.0, float64(len(edges))
		ratio := make([]float64, len(edges)+1)
		for i := range ratio {
			a, b := counts[0][i], counts[1][i]
			if a+b > 0 {
				x += (a - b) * (a - b) / (a + b)
			}
			ratio[i] = math.Log((a + 1) / (b + 1))
		}
		if x < free+3*math.Sqrt(2*free) {
			ratio = nil
		}
		l.edges, l.ratio = append(l.edges, edges), append(l.ratio, ratio)
	}
	return l
}

func rangeOf(edges []int64, x int64) int {
	i, found := slices.BinarySearch(edges, x)
	if found {
		i++
	}
	return i
}

func (l *likelihood) of(answer []int64) float64 {
	sum := 0.0
	for place, x := range answer {
		if l.ratio[place] != nil {
			sum += l.ratio[place][rangeOf(l.edges[place], x)]
		}
	}
	return sum
}

// Trials returns what is measured by drawing, with the production sampler: releases of hundreds to a hundred thousand records on hundreds of buckets. Each takes some seconds.
func Trials() []Trial {
	const u = recursive.Unit
	median, top, quartiles := []int64{u / 2}, []int64{9 * u / 10}, []int64{u / 4, u / 2, 3 * u / 4}
	between, many := halfway(63)
	return []Trial{
		recursiveTrial(recursive.Problem{Levels: 40, Quantiles: median, Epsilon: u}, missed(256, 200, median, 1), 12_000),
		recursiveTrial(recursive.Problem{Levels: 40, Quantiles: top, Epsilon: 2 * u}, missed(256, 100_000, top, 2), 10_000),
		recursiveTrial(recursive.Problem{Levels: 40, Quantiles: quartiles, Epsilon: 2 * u}, missed(256, 10_000, quartiles, 1), 6_000),
		recursiveTrial(recursive.Problem{Levels: 40, Quantiles: quartiles, Epsilon: 2 * u, Arity: 4}, missed(256, 10_000, quartiles, 1), 6_000),
		recursiveTrial(recursive.Problem{Levels: 40, Quantiles: quartiles, Epsilon: 2 * u, Edges: true, Shares: []uint64{1, 2}}, missed(256, 10_000, quartiles, 2), 6_000),
		recursiveTrial(recursive.Problem{Quantiles: many, Epsilon: 2 * u}, between, 4_000),
		noisyTreeTrial(noisytree.Problem{Branching: 16, Epsilon: u}, missed(256, 10_000, median, 1), 6_000),
		noisyTreeTrial(noisytree.Problem{Branching: 2, Epsilon: 2 * u}, missed(256, 200, median, 2), 4_000),
		noisyTreeTrial(noisytree.Problem{Branching: 256, Levels: 2, Unrooted: true, Epsilon: u}, missed(256, 10_000, median, 1), 10_000),
		noisyTreeTrial(noisytree.Problem{Branching: 16, Noise: noisytree.Gaussian, Rho: u / 10}, missed(256, 10_000, median, 1), 4_000),
		adaptiveTrial(adaptive.Problem{Bins: 8, Rounds: 3, Epsilon: u}, missed(256, 10_000, median, 1), 10_000),
		adaptiveTrial(adaptive.Problem{Bins: 16, Rounds: 2, Epsilon: 2 * u, Shares: []uint64{1, 3}}, missed(256, 200, median, 2), 6_000),
		replaceTrial(missed(256, 200, median, 1), 6_000),
	}
}

// A neighbourhood is a pair of neighbours: counts of records in buckets of public weights, and where how many are added.
type neighbourhood struct {
	weights, counts []uint64
	bucket          int
	add             uint64
}

// missed spreads so many records on the buckets, and leaves one empty at each quantile, the ranks of which are whole numbers. The answers lie there with some nine chances in
// ten, until the records of one unit, added on the farther side, carry them off: what an exponential mechanism loses most on.
func missed(buckets int, records uint64, quantiles []int64, add uint64) neighbourhood {
	p := neighbourhood{counts: make([]uint64, buckets), weights: make([]uint64, buckets), add: add}
	perBucket := (records + uint64(buckets) - 1) / uint64(buckets)
	rank := func(q int64) uint64 { return uint64(q) * records / recursive.Unit }
	bucket := func(q int64) int { return int(q * int64(buckets) / recursive.Unit) }
	for b := range p.weights {
		p.weights[b] = perBucket // one for each record
	}
	from, before := 0, uint64(0)
	for _, q := range append(slices.Clone(quantiles), recursive.Unit) {
		to := bucket(q) // left empty
		for b := from; b < to; b++ {
			p.counts[b] = (rank(q)-before)*uint64(b+1-from)/uint64(to-from) - (rank(q)-before)*uint64(b-from)/uint64(to-from)
		}
		if to < buckets {
			p.weights[to] = 10
		}
		from, before = to+1, rank(q)
	}
	if quantiles[len(quantiles)/2] > recursive.Unit/2 {
		p.bucket = buckets - 1
	}
	return p
}

func (p neighbourhood) String() string {
	records := uint64(0)
	for _, n := range p.counts {
		records += n
	}
	return fmt.Sprintf("%d records on %d buckets, and %d more in bucket %d", records, len(p.counts), p.add, p.bucket)
}

// sides returns the counts with and without the records added.
func (p neighbourhood) sides() [2][]uint64 {
	more := slices.Clone(p.counts)
	more[p.bucket] += p.add
	return [2][]uint64{more, p.counts}
}

// recursiveTrial is the recursive estimator, for units of as many records as are added.
func recursiveTrial(p recursive.Problem, pair neighbourhood, runs int) Trial {
	p.Weights, p.Contributions = pair.weights, pair.add
	t := Trial{
		Mechanism: "recursive", Setting: fmt.Sprintf("quantiles %d%v, c %d", len(p.Quantiles), tree{arity: p.Arity, shares: p.Shares, edges: p.Edges}, p.Contributions),
		Data: pair.String(), Epsilon: float64(p.Epsilon) / recursive.Unit, Runs: runs,
	}
	for side, counts := range pair.sides() {
		p := p
		for b, n := range counts {
			if n > 0 {
				p.Counts = append(p.Counts, recursive.Count{Bucket: b, Records: n})
			}
		}
		t.Answers[side] = func(s exact.NoiseSampler) []int64 {
			cuts := recursive.Solve(&p, s)
			answer := make([]int64, len(cuts))
			for i, cut := range cuts {
				answer[i] = int64(cut)
			}
			return answer
		}
	}
	return t
}

// halfway returns m quantiles near the median, of a hundred thousand records on m+2 buckets, and a pair in which each lies halfway between the cuts that are likely for it, until
// a record more makes one of them likelier. So each node of the tree of quantiles gives a little away.
func halfway(m int) (neighbourhood, []int64) {
	const records, perBucket = 100_000, 20
	p := neighbourhood{counts: make([]uint64, m+2), weights: make([]uint64, m+2), add: 1}
	var quantiles []int64
	for b := range p.counts {
		p.counts[b], p.weights[b] = perBucket, 1
		if 0 < b && b <= m {
			quantiles = append(quantiles, int64(records/2+(2*b-m-1)*perBucket/2)*(recursive.Unit/records))
		}
	}
	outer := (records - uint64(m)*perBucket) / 2
	p.counts[0], p.counts[m+1] = outer, outer
	return p, quantiles
}

// adaptiveTrial is, of each round of adaptive histograms, the noisy count of the bin in which records are added, and where it starts and ends.
func adaptiveTrial(p adaptive.Problem, pair neighbourhood, runs int) Trial {
	p.Weights, p.Contributions = pair.weights, pair.add
	t := Trial{
		Mechanism: "adaptive", Setting: fmt.Sprintf("%d rounds, %d bins, c %d", p.Rounds, p.Bins, p.Contributions),
		Data: pair.String(), Epsilon: float64(p.Epsilon) / noisytree.Unit, Runs: runs,
	}
	for side, counts := range pair.sides() {
		p := p
		p.Counts = countsOf(counts)
		t.Answers[side] = func(s exact.NoiseSampler) (answer []int64) {
			for _, r := range adaptive.Measure(&p, s) {
				bin, found := slices.BinarySearch(r.Edges, pair.bucket)
				if !found {
					bin--
				}
				answer = append(answer, r.Counts[bin], int64(r.Edges[bin]), int64(r.Edges[bin+1]))
			}
			return answer
		}
	}
	return t
}

// noisyTreeTrial is the noisy counts of a tree, from which all else is made. The loss of Gaussian noise is claimed with δ = 10⁻⁶ (Bun, Steinke, "Concentrated differential
// privacy: simplifications, extensions, and lower bounds", TCC 2016, proposition 1.3).
func noisyTreeTrial(p noisytree.Problem, pair neighbourhood, runs int) Trial {
	p.Buckets, p.Contributions = len(pair.counts), pair.add
	t := Trial{
		Mechanism: "tree", Setting: fmt.Sprintf("branching %d, c %d", p.Branching, p.Contributions),
		Data: pair.String(), Epsilon: float64(p.Epsilon) / noisytree.Unit, Runs: runs,
	}
	if p.Noise == noisytree.Gaussian {
		rho := float64(p.Rho) / noisytree.Unit
		t.Delta = 1e-6
		t.Epsilon = rho + 2*math.Sqrt(-rho*math.Log(t.Delta))
		t.Setting += fmt.Sprintf(", ρ %g", rho)
	}
	if p.Unrooted {
		t.Setting += ", no root"
	}
	for side, counts := range pair.sides() {
		p := p
		p.Counts = countsOf(counts)
		t.Answers[side] = func(s exact.NoiseSampler) []int64 { return slices.Concat(noisytree.Measure(&p, s)...) }
	}
	return t
}

// replaceTrial is the median of [dp.Release] itself, whatever the sampler with bits from the system's source, between data sets of which one record is another. Its ε is 2.
func replaceTrial(pair neighbourhood, runs int) Trial {
	must := func(err error) {
		if err != nil {
			panic(err) // all of the question is constant
		}
	}
	grid, err := sketch.NewLinear(0, float64(len(pair.counts)), len(pair.counts))
	must(err)
	epsilon, err := dp.ParseEpsilon("2")
	must(err)
	t := Trial{
		Mechanism: "recursive", Setting: "replace-one, quantiles 1, by dp.Release", Epsilon: 2, Runs: runs, Data: pair.String() + ", or in the last",
	}
	for side, bucket := range [2]int{pair.bucket, len(pair.counts) - 1} {
		b := sketch.NewBinned(grid)
		for i, n := range pair.counts {
			if i == bucket {
				n += pair.add
			}
			must(b.AddN(float64(i)+0.5, n))
		}
		t.Answers[side] = func(exact.NoiseSampler) []int64 {
			r, err := dp.Release(b, dp.Options{
				Quantiles: []float64{0.5}, Epsilon: epsilon, Contributions: int(pair.add), Neighbours: dp.ReplaceOne, Representative: dp.Within,
			})
			must(err)
			return []int64{int64(r.Quantiles[0].Value * 1e6)}
		}
	}
	return t
}
