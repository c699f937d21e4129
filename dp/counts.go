package dp

import (
	"math"
	"math/bits"
	"slices"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/tree"
	"github.com/quietile/quietile/sketch"
)

// readCounts returns cuts read from noisy counts: of a tree over bins, or of bins alone; and the curve of these if a forecast is given, which the cuts then follow too.
func (o Options) readCounts(s *sketch.Binned, quantiles []int64, weights []uint64, sampler exact.NoiseSampler) ([]uint64, []Interval, *Curve) {
	b := newBins(weights, o.bins())
	p := o.noisyTree(b.len())
	for bucket, n := range s.All() {
		if bin := b.of(bucket); len(p.Counts) > 0 && p.Counts[len(p.Counts)-1].Bucket == bin {
			p.Counts[len(p.Counts)-1].Records += n
		} else {
			p.Counts = append(p.Counts, tree.Count{Bucket: bin, Records: n})
		}
	}
	t := tree.Release(p, sampler)
	cuts, curve := b.read(t, quantiles, o.Forecast, sampler)
	var intervals []Interval
	if o.Confidence > 0 {
		band := t.CalibratedBand(o.Confidence, int(runs(o.Confidence)), sampler)
		for j, q := range quantiles {
			intervals = append(intervals, b.interval(band, q, cuts[j]))
		}
	}
	for j := range cuts {
		cuts[j] = b.cut(cuts[j])
	}
	return cuts, intervals, curve
}

// runs is how many trees of no records are simulated for a confidence: ten times as many as it needs at least, so that the bounds are steady.
func runs(confidence float64) uint64 { return uint64(math.Ceil(10 / (1 - confidence))) }

// noisyTree returns the tree over so many bins, without counts.
func (o Options) noisyTree(bins int) *tree.Problem {
	answers, _ := o.budgets()
	p := o.noisy(bins, answers)
	if o.Estimator.kind == densityKind { // nothing above the bins
		p.Branching, p.Levels = bins, 2
		return p
	}
	p.Branching, p.Smooth = defaultBranching, o.Estimator.smooth
	if o.Estimator.branching > 0 {
		p.Branching = o.Estimator.branching
	}
	p.Levels = tree.Depth(bins, p.Branching)
	if o.Estimator.height > 0 {
		p.Levels = min(p.Levels, o.Estimator.height)
	}
	p.Shares = o.Estimator.shares(p.Levels - 1)
	return p
}

// noisy returns a tree with the noise that spends a budget. Its root is not released: the levels below know it well enough, and have the more to spend.
func (o Options) noisy(buckets int, b budget) *tree.Problem {
	p := &tree.Problem{Buckets: buckets, Branching: 2, Unrooted: true, Epsilon: int64(b.epsilon), Rho: b.nanoRho, Contributions: uint64(max(o.Contributions, 1))}
	if b.nanoRho > 0 {
		p.Noise = tree.Gaussian
	}
	return p
}

// bins returns how many bins the estimator counts in, 0 for the buckets themselves.
//
// A density's bins, if it has no number of its own, are as many as make the noise of the counts before a bin, which is √bins times that of a bin, as large as what straight lines
// within bins miss of a smooth distribution function, some n/(bins·4)² for densities that change by their own size within an eighth of the range: the trade-off of Lalanne,
// Garivier and Gribonval, "Private statistical estimation of many quantiles" (ICML 2023), section 4, in terms of ranks.
func (o Options) bins() int {
	if o.Estimator.kind != densityKind || o.Estimator.bins > 0 {
		return o.Estimator.bins
	}
	return int(min(max(math.Pow(2*o.perNoise(), 0.4), 2), 1<<20))
}

// perNoise returns how many times the noise of a count that spends all the budget there are records.
func (o Options) perNoise() float64 {
	records := float64(o.Records)
	if o.Records == 0 {
		records = unknownRecords
	}
	answers, _ := o.budgets()
	deviation := math.Sqrt2 / (float64(answers.epsilon) / epsilonUnit)
	if answers.nanoRho > 0 {
		deviation = 1 / math.Sqrt(2*float64(answers.nanoRho)/epsilonUnit)
	}
	return records / (deviation * float64(max(o.Contributions, 1)))
}

// A binning divides a grid into bins: runs of neighbouring buckets, which weigh nearly the same each.
type binning struct {
	starts []int    // the first bucket of each, and the number of buckets
	before []uint64 // prior weight before each bucket, and of all
}

// newBins makes at most n bins of buckets with these weights, and at least two; 0 makes one for each bucket.
func newBins(weights []uint64, n int) *binning {
	b := &binning{before: make([]uint64, len(weights)+1)}
	for i, w := range weights {
		b.before[i+1] = b.before[i] + w
	}
	total := b.before[len(weights)]
	last := -1
	for i := range weights {
		at := i
		if n > 0 && n < len(weights) { // by the weight of what is before a bucket and half of its own
			hi, lo := bits.Mul64(b.before[i]+weights[i]/2, uint64(n))
			quotient, _ := bits.Div64(hi, lo, total)
			at = int(quotient)
		}
		if at != last || len(b.starts) == 1 && i == len(weights)-1 {
			b.starts, last = append(b.starts, i), at
		}
	}
	b.starts = append(b.starts, len(weights))
	return b
}

func (b *binning) len() int { return len(b.starts) - 1 }

// of returns the bin of a bucket.
func (b *binning) of(bucket int) int {
	if b.len() == len(b.before)-1 {
		return bucket
	}
	i, found := slices.BinarySearch(b.starts, bucket)
	if !found {
		i--
	}
	return i
}

// cut returns the cut of the grid for one of the bins: as far into the bin's prior weight.
func (b *binning) cut(cut uint64) uint64 {
	bin, part := int(cut>>levels), cut&(1<<levels-1)
	first := b.starts[bin]
	if part == 0 || b.starts[bin+1]-first == 1 { // the top among them
		return uint64(first)<<levels + part
	}
	hi, lo := bits.Mul64(b.before[b.starts[bin+1]]-b.before[first], part) // weight within the bin, in cells
	at := b.before[first] + hi<<(64-levels) + lo>>levels
	bucket, found := slices.BinarySearch(b.before, at)
	if !found {
		bucket--
	}
	whole := b.before[bucket+1] - b.before[bucket]
	rest, lo := at-b.before[bucket], lo&(1<<levels-1)
	// (rest + lo/2^levels)/whole of the bucket's cells.
	quotient, _ := bits.Div64(rest>>(64-levels), rest<<levels|lo, whole)
	return uint64(bucket)<<levels + quotient
}

// interval bounds the rank error of a cut of the bins: inside a bin of several buckets its rank is between those of the bin's ends.
func (b *binning) interval(band *tree.Band, q int64, cut uint64) Interval {
	bin := cut >> levels
	low, high := band.RankError(q, cut)
	if cut != bin<<levels && b.starts[bin+1]-b.starts[bin] > 1 {
		low, _ = band.RankError(q, bin<<levels)
		_, high = band.RankError(q, (bin+1)<<levels)
	}
	if low > high { // all between high and low are ranks of the bucket: the least of them
		nearest := min(max(0, high), low)
		return Interval{nearest, nearest}
	}
	return Interval{low, high}
}

// measure returns intervals of the rank errors of the answers to quantiles, by noisy counts of the records between them.
func (o Options) measure(quantiles []int64, between []uint64, sampler exact.NoiseSampler) []Interval {
	edges := make([]int, len(quantiles))
	for j := range edges {
		edges[j] = j + 1
	}
	return o.measureAt(edges, quantiles, between, sampler)
}

// measureAt returns intervals of the records before some of the edges between counts, less those of quantiles, by noisy counts.
func (o Options) measureAt(edges []int, quantiles []int64, between []uint64, sampler exact.NoiseSampler) []Interval {
	p := o.bestRuler(len(between), edges, quantiles)
	for i, n := range between {
		if n > 0 {
			p.Counts = append(p.Counts, tree.Count{Bucket: i, Records: n})
		}
	}
	low, high := tree.Release(p, sampler).RankErrors(edges, quantiles, o.Confidence, int(runs(o.Confidence)), sampler)
	intervals := make([]Interval, len(edges))
	for j := range intervals {
		intervals[j] = Interval{low[j], high[j]}
	}
	return intervals
}

// measureBuckets returns intervals of the rank errors of the answers to quantiles whose cuts stand for their buckets, by noisy counts of the records between the ends of these.
func (o Options) measureBuckets(s *sketch.Binned, quantiles []int64, cuts []uint64, sampler exact.NoiseSampler) []Interval {
	last := s.Grid().Len()
	var ends []int // the starts of all the buckets, and then where they end
	for _, cut := range cuts {
		ends = append(ends, int(cut>>levels))
	}
	for _, start := range ends[:len(cuts):len(cuts)] {
		ends = append(ends, min(start+1, last))
	}
	at := slices.Clone(ends)
	slices.Sort(at)
	at = slices.Compact(at)
	between := make([]uint64, len(at)+1)
	i := 0
	for bucket, n := range s.All() {
		for i < len(at) && at[i] <= bucket {
			i++
		}
		between[i] += n
	}
	edges := make([]int, len(ends))
	for k, end := range ends {
		edge, _ := slices.BinarySearch(at, end)
		edges[k] = edge + 1
	}
	measured := o.measureAt(edges, append(slices.Clone(quantiles), quantiles...), between, sampler)
	intervals := make([]Interval, len(quantiles))
	for j := range intervals {
		// The bucket's ranks are from one to the other, and its error is the one nearest to 0.
		start, end := measured[j], measured[len(quantiles)+j]
		intervals[j] = Interval{min(end.Low, max(start.Low, 0)), max(start.High, min(end.High, 0))}
	}
	return intervals
}

// rulers returns the trees that may measure so many counts of records, the one that divides the budget most first.
func (o Options) rulers(counts int) []*tree.Problem {
	_, budget := o.budgets()
	var all []*tree.Problem
	for _, branching := range []int{2, 4, 8, 16} {
		p := o.noisy(counts, budget)
		p.Branching = branching
		all = append(all, p)
	}
	flat := o.noisy(counts, budget)
	flat.Branching, flat.Levels = counts, 2
	return append(all, flat)
}

// bestRuler returns the one of rulers whose worst estimate deviates least.
func (o Options) bestRuler(counts int, edges []int, quantiles []int64) *tree.Problem {
	var best *tree.Problem
	least := math.Inf(1)
	for _, p := range o.rulers(counts) {
		if d := slices.Max(p.Deviations(edges, quantiles)); d < least {
			best, least = p, d
		}
	}
	return best
}
