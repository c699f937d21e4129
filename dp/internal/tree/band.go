package tree

import (
	"fmt"
	"math"
	"slices"

	"github.com/quietile/quietile/dp/exact"
)

// A Band bounds the errors of all answers of a [Tree] at once: with the confidence it was made for, every interval it returns holds what it says, whatever the records
// are. It follows from the noise's law alone. It is immutable and safe for concurrent use.
type Band struct {
	least, most       []float64 // bounds of the records before each bucket, and of all
	restLeast, restUp []float64 // bounds of the records from each bucket on
}

// Band returns the band of a confidence in (0, 1) by calculation. With Laplace noise it takes O(Buckets·levels) time and some twenty logarithms for each bucket.
// The bounds are union bounds over the 2·Buckets − 1 counts before, and from, each bucket, each by Chernoff's method from the variance of its least-squares estimate and the
// largest weight that a single noise has in it (docs/proofs/tree.md, lemma 4). They hold for fewer than 2⁶² records, rounding of float64 aside.
func (t *Tree) Band(confidence float64) *Band {
	// Two sides for each of 2·Buckets − 1 counts.
	logInverse := math.Log(float64(4*t.problem.Buckets-2) / (1 - confidence))
	return t.band(t.spreads(), func(s spread) float64 { return s.bound(logInverse) })
}

// CalibratedBand returns a band of a confidence in (0, 1) by simulation, narrower than [Tree.Band]'s: it makes so many releases of no records, whose errors have the same law as
// this one's, and takes as many deviations as nearly all of them needed (docs/proofs/tree.md, lemma 5). The confidence is that of release and simulation
// together. The sampler is not spent on data; runs must be at least confidence/(1−confidence), 19 for 0.95, and some hundreds make the width steady. It takes the time
// of that many releases. It panics if runs are too few.
func (t *Tree) CalibratedBand(confidence float64, runs int, s exact.NoiseSampler) *Band {
	buckets, spreads := t.problem.Buckets, t.spreads()
	var before, rest []float64 // 1/deviation
	for i := 1; i <= buckets; i++ {
		before = append(before, 1/math.Sqrt(spreads.at(i, 0).variance))
		rest = append(rest, 1/math.Sqrt(spreads.at(i, 1).variance)) // of no use for the last
	}
	factor := t.calibrate(confidence, runs, s, func(empty *Tree) float64 {
		n := empty.prefix[buckets]
		needed := math.Abs(n) * before[buckets-1]
		for i, e := range empty.prefix[1:buckets] {
			needed = max(needed, math.Abs(e)*before[i], math.Abs(n-e)*rest[i])
		}
		return needed
	})
	return t.band(spreads, func(s spread) float64 { return factor * math.Sqrt(s.variance) })
}

// calibrate returns what a share confidence of releases needs at most, measured on so many releases of no records.
func (t *Tree) calibrate(confidence float64, runs int, s exact.NoiseSampler, needs func(empty *Tree) float64) float64 {
	order := int(math.Ceil(confidence * float64(runs+1)))
	if order > runs {
		panic(fmt.Sprintf("tree: %d runs are too few for confidence %v", runs, confidence))
	}
	empty := *t.problem  // it has no counts
	empty.Smooth = false // which changes nothing of what is needed
	needed := make([]float64, runs)
	for r := range needed {
		needed[r] = needs(Release(&empty, s))
	}
	slices.Sort(needed)
	return needed[order-1]
}

// band makes a band of the half-width that belongs to each spread.
func (t *Tree) band(s *spreads, width func(spread) float64) *Band {
	buckets := t.problem.Buckets
	b := &Band{
		least: make([]float64, buckets+1), most: make([]float64, buckets+1),
		restLeast: make([]float64, buckets+1), restUp: make([]float64, buckets+1),
	}
	n := t.prefix[buckets]
	for i := 1; i <= buckets; i++ {
		before, rest := s.at(i, 0), s.at(i, 1)
		if i == buckets {
			rest = spread{}
		}
		w, wRest := width(before), width(rest)
		b.least[i], b.most[i] = max(t.prefix[i]-w, 0), t.prefix[i]+w
		b.restLeast[i], b.restUp[i] = max(n-t.prefix[i]-wRest, 0), n-t.prefix[i]+wRest
	}
	b.restLeast[0], b.restUp[0] = b.least[buckets], b.most[buckets]
	b.restLeast[buckets], b.restUp[buckets] = 0, 0
	// Counts before a bucket never fall from bucket to bucket, and those from it on never rise.
	for i := 1; i <= buckets; i++ {
		b.least[i] = max(b.least[i], b.least[i-1])
		b.restUp[i] = min(b.restUp[i], b.restUp[i-1])
	}
	for i := buckets - 1; i >= 0; i-- {
		b.most[i] = min(b.most[i], b.most[i+1])
		b.restLeast[i] = max(b.restLeast[i], b.restLeast[i+1])
	}
	for i, most := range b.most { // a count that cannot be negative, whatever its estimate
		b.most[i] = max(most, 0)
		b.restUp[i] = max(b.restUp[i], 0)
	}
	return b
}

// N bounds the number of records.
func (b *Band) N() (least, most float64) { return b.CDF(len(b.least) - 1) }

// CDF bounds the number of records in the buckets before the given one, which is between 0 and Buckets.
func (b *Band) CDF(bucket int) (least, most float64) {
	last := len(b.least) - 1
	return max(b.least[bucket], b.least[last]-b.restUp[bucket]), min(b.most[bucket], b.most[last]-b.restLeast[bucket])
}

// RankError bounds how far a cut is from a quantile in billionths, in records: q·n plus high is at least the number of records before the cut's bucket, and q·n plus
// low at most the number of those in it or before it. So the cut's bucket has the quantile's rank within max(0, high, −low) records. A cut on the lower edge of a bucket
// counts as that edge: both bounds are then of the records before it.
func (b *Band) RankError(quantile int64, cut uint64) (low, high float64) {
	q := float64(quantile) / Unit
	start := int(cut >> CellBits)
	end := start
	if cut&(1<<CellBits-1) != 0 {
		end++
	}
	last := len(b.least) - 1
	// The records before less q·n is also (1−q)·(those before) − q·(the rest), and (1−q)·n − (the rest).
	high = min(b.most[start]-q*b.least[last], (1-q)*b.most[start]-q*b.restLeast[start], (1-q)*b.most[last]-b.restLeast[start])
	low = max(b.least[end]-q*b.most[last], (1-q)*b.least[end]-q*b.restUp[end], (1-q)*b.least[last]-b.restUp[end])
	return low, high
}

// A spread is what is known of the law of an estimate's error, a sum of independent noises with weights.
type spread struct {
	variance float64 // the sum of weight²·Deviation²
	most     float64 // with Laplace noise a bound of |weight|·scale over all noises; 0 with Gaussian noise
}

// bound returns a w that the error exceeds with probability at most e^−logInverse.
func (s spread) bound(logInverse float64) float64 {
	if s.variance == 0 {
		return 0
	}
	// The best t for noise without heavy tails, and for others nearly (Boucheron, Lugosi, Massart, "Concentration inequalities", 2013, section 2.4).
	t := math.Sqrt(2 * logInverse / s.variance)
	if s.most == 0 {
		return t * s.variance
	}
	// P(error ≥ w) ≤ exp(−t·w)·E exp(t·error) for every t with t·most < 1, and E exp(t·error) ≤ (1 − (t·most)²)^(−variance/(2·most²)).
	least := math.Inf(1)
	for _, factor := range []float64{0.5, 0.7, 0.85, 1, 1.2, 1.5} {
		x := t * factor / (1 + t*factor*s.most)
		least = min(least, (logInverse-s.variance/(2*s.most*s.most)*math.Log1p(-x*x*s.most*s.most))/x)
	}
	return least
}

// spreads holds, by level and node, what the errors of prefix sums depend on.
type spreads struct {
	t       *Tree
	sizes   []int
	span    []int       // buckets of a node, by level
	own     []float64   // 1/(2·scale) of the level's noise: |weight|·scale of a noise, in units of the covariance with its node's count
	before  [][]float64 // the variances of the level's nodes before each, added up
	heavy   [][]float64 // the largest |weight|·scale of the noises of a node and its descendants, in units of the covariance with the node's count
	largest [][]float64 // of heavy·variance over a node's children
}

func (t *Tree) spreads() *spreads {
	levels := len(t.variance)
	s := &spreads{
		t: t, sizes: t.problem.sizes(), span: make([]int, levels), own: make([]float64, levels),
		before: make([][]float64, levels), heavy: make([][]float64, levels), largest: make([][]float64, levels),
	}
	s.span[0] = t.problem.Buckets
	for level, width := levels-1, 1; level > 0; level-- {
		s.span[level] = width
		width *= t.problem.Branching
	}
	for level, vs := range t.variance {
		s.before[level] = make([]float64, len(vs)+1)
		for i, v := range vs {
			s.before[level][i+1] = s.before[level][i] + v
		}
	}
	noise, err := t.problem.noise()
	if err != nil {
		panic(err) // Measure has called it
	}
	for level := levels - 1; level >= 0; level-- {
		if level >= t.problem.first() { // 0 for a root that has no noise
			s.own[level] = 1 / (math.Sqrt2 * noise[level].Deviation())
		}
		s.heavy[level], s.largest[level] = make([]float64, s.sizes[level]), make([]float64, s.sizes[level])
		for i := range s.heavy[level] {
			s.heavy[level][i] = s.own[level]
			if level < levels-1 {
				from, to := s.children(level, i)
				for j := from; j < to; j++ {
					s.largest[level][i] = max(s.largest[level][i], s.heavy[level+1][j]*t.variance[level+1][j])
				}
				s.heavy[level][i] = max(s.heavy[level][i], s.largest[level][i]/s.below(level, i))
			}
		}
	}
	return s
}

// children returns which nodes of the next level are a node's.
func (s *spreads) children(level, i int) (from, to int) {
	if level == 0 {
		return 0, s.sizes[1]
	}
	return i * s.t.problem.Branching, min((i+1)*s.t.problem.Branching, s.sizes[level+1])
}

// below returns the sum of the variances of a node's children.
func (s *spreads) below(level, i int) float64 {
	from, to := s.children(level, i)
	return s.before[level+1][to] - s.before[level+1][from]
}

// at returns the spread of the estimate of (records before a bucket) − q·(all records), by tree.md, lemma 3.
func (s *spreads) at(bucket int, q float64) spread {
	root := s.t.variance[0][0]
	if bucket == s.t.problem.Buckets {
		return s.close((1-q)*(1-q)*root, math.Abs(1-q)*root*s.heavy[0][0])
	}
	// The path of the nodes that the bucket's lower edge divides; it ends above children that the edge lies between.
	depth := 0
	for bucket%s.span[depth+1] != 0 {
		depth++
	}
	// From the last node up: given its count, the expected records before the edge are share·count plus a constant, with this variance.
	share, variance := 0.0, 0.0
	means := make([]float64, depth+1) // of the weights g of the children, 1 before the edge, 0 after it and the child's share on the path
	for level := depth; level >= 0; level-- {
		node := bucket / s.span[level]
		from, _ := s.children(level, node)
		child := bucket / s.span[level+1]
		vs, all := s.before[level+1], s.below(level, node)
		first := vs[child] - vs[from]
		sum, squares := first, first
		if level < depth {
			v := s.t.variance[level+1][child]
			sum += share * v
			squares += share * share * v
		}
		mean := sum / all
		variance += max(squares-sum*mean, 0)
		share, means[level] = mean, mean
	}
	// Down again: the covariance of the estimate with each node's count, and from it the weights of the noises.
	covariance := (share - q) * root
	most := math.Abs(covariance) * s.own[0]
	for level := 0; level <= depth; level++ {
		node := bucket / s.span[level]
		toward := covariance/s.below(level, node) - means[level]
		// Children before the edge and after it, with all their descendants.
		most = max(most, max(math.Abs(toward+1), math.Abs(toward))*s.largest[level][node])
		if level == depth {
			break
		}
		child := bucket / s.span[level+1]
		covariance = s.t.variance[level+1][child] * (toward + means[level+1])
		most = max(most, math.Abs(covariance)*s.own[level+1])
	}
	return s.close((share-q)*(share-q)*root+variance, most)
}

func (s *spreads) close(variance, most float64) spread {
	if s.t.problem.Noise == Gaussian {
		most = 0
	}
	return spread{variance, most}
}

// RankErrors returns intervals for (the records before a bucket) − q·(all records), for buckets and quantiles in billionths that go together. They hold all at once with a
// confidence in (0, 1), if buckets and quantiles do not depend on the noise. Widths are found as those of [Tree.CalibratedBand], from as many runs, and are in proportion to
// each estimate's deviation (docs/proofs/rank-error.md).
func (t *Tree) RankErrors(buckets []int, quantiles []int64, confidence float64, runs int, s exact.NoiseSampler) (low, high []float64) {
	deviations := t.problem.deviations(t.spreads(), buckets, quantiles)
	estimate := func(t *Tree, j int) float64 {
		return t.prefix[buckets[j]] - float64(quantiles[j])/Unit*t.prefix[t.problem.Buckets]
	}
	factor := t.calibrate(confidence, runs, s, func(empty *Tree) (needed float64) {
		for j, d := range deviations {
			needed = max(needed, math.Abs(estimate(empty, j))/d)
		}
		return needed
	})
	for j, d := range deviations {
		e := estimate(t, j)
		low, high = append(low, e-factor*d), append(high, e+factor*d)
	}
	return low, high
}

// Deviations returns the standard deviations of the estimates of (the records before a bucket) − q·(all records), for buckets and quantiles in billionths that go together. It
// does not look at the counts, and panics if [Problem.Check] returns an error.
func (p *Problem) Deviations(buckets []int, quantiles []int64) []float64 {
	public := *p
	public.Counts = nil
	noisy := make([][]int64, p.levels())
	for level, n := range p.sizes() {
		noisy[level] = make([]int64, n)
	}
	return p.deviations(fit(&public, noisy).spreads(), buckets, quantiles)
}

func (p *Problem) deviations(s *spreads, buckets []int, quantiles []int64) []float64 {
	all := make([]float64, len(buckets))
	for j, b := range buckets {
		all[j] = math.Sqrt(s.at(b, float64(quantiles[j])/Unit).variance)
	}
	return all
}
