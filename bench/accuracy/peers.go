package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"

	"github.com/google/differential-privacy/go/v3/dpagg"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/sketch"
)

// An entrant answers quantiles of data sets. All of them are ε-differentially private for adding or removing one record. The peers work on positions in buckets, on which the values are
// mapped for everybody alike, with ties spread evenly within their bucket; but for Google's, they are written from their papers, and draw with float64 arithmetic, which is good
// enough to compare errors and would not do to protect anybody.
type entrant struct {
	name string
	ours bool
	note string
	// can tells whether the entrant is tried on so many records and quantiles.
	can func(n, m int) bool
	// prepare does what is the same in all repetitions and is not part of a release's time, and returns the release: a position in buckets for each quantile, ascending.
	prepare func(d *dataset, quantiles []float64, epsilon float64) func(r *rand.Rand) []float64
}

func always(int, int) bool { return true }

// times returns how many times as often as asked the entrant is tried on so many quantiles: where few are drawn several entrants do the same thing, and a hundred releases tell them apart by chance.
func (e entrant) times(m int) int {
	switch {
	case e.name == "tree" || e.name == "BoundedQuantiles": // too slow
		return 1
	case m == 1:
		return 40
	case m <= 3:
		return 10
	case m <= 9:
		return 2
	}
	return 1
}

func entrants() []entrant {
	return []entrant{
		own("auto", "what Quietile chooses, by simulation without data, for the number of records as a public hint; it is asked for buckets, which are all that is compared"),
		own("recursive", ""),
		own("tree", ""),
		{"AQ", false, "ApproximateQuantiles: Kaplan, Schnapp, Stemmer (ICML 2022), with the sensitivity max(q, 1−q) of adding or removing, as the authors' code does", always, aq},
		{"JointExp", false, "Gillenwater, Joseph, Kulesza (ICML 2021), with the sensitivity 2·(1−least gap) of adding or removing; up to 10⁴ records and 29 quantiles", func(n, m int) bool { return n <= maxPoints && m <= 29 }, jointExp},
		{"SliceQuantiles", false, "Imola and others (NeurIPS 2025), half of ε for the ranks, the noise of a tree whose branching has the least variance, for them, answers sorted. Their test for overlapping slices, which would make it fail in most cells, is left out: where slices overlap it is more accurate than it is private", always, slice},
		{"BoundedQuantiles", false, "Google's library go/v3 v3.0.0, Laplace noise, its default tree; up to 10⁵ records and 29 quantiles", func(n, m int) bool { return n <= 100_000 && m <= 29 }, google},
		{"consistent tree", false, "a tree of 16 children to a node, better here than the 22 of OpenDP's formula, no noise on padding, made consistent by variances and inverted by bisection as OpenDP does, after Hay and others (VLDB 2010)", always, consistentTree},
		{"histogram", false, "Laplace noise on every bucket, negative counts kept, since many zeros without them would add up", always, func(d *dataset, qs []float64, epsilon float64) func(*rand.Rand) []float64 {
			return histogram(d, qs, epsilon, d.grid.Len())
		}},
		{"coarse histogram", false, "the same with √n bins", always, func(d *dataset, qs []float64, epsilon float64) func(*rand.Rand) []float64 {
			return histogram(d, qs, epsilon, min(d.grid.Len(), int(math.Sqrt(float64(d.n)))))
		}},
		{"independent", false, "an exponential mechanism with ε/m for each quantile (Smith, STOC 2011), with sensitivity max(q, 1−q); up to 29 quantiles", func(_, m int) bool { return m <= 29 }, independent},
	}
}

// own is one of ours by an estimator's description.
func own(name, note string) entrant {
	return entrant{name, true, note, always, func(d *dataset, quantiles []float64, epsilon float64) func(*rand.Rand) []float64 {
		o := dp.Options{
			Quantiles: quantiles, Epsilon: dp.Epsilon(math.Round(epsilon * 1e9)), Records: uint64(d.n), Estimator: must(dp.ParseEstimator(name)),
		}
		o.Estimator = chosen(d.grid, o)
		return func(*rand.Rand) []float64 {
			released := must(dp.Release(d.sketch, o))
			answers := make([]float64, len(quantiles))
			for j, q := range released.Quantiles {
				answers[j] = position(d, q)
			}
			return answers
		}
	}}
}

// choices are what auto chose. Without a prior it sees of a grid how many buckets there are, and nothing else.
var choices sync.Map

// chosen returns the estimator of options, or what auto chooses for them.
func chosen(g *sketch.Grid, o dp.Options) dp.Estimator {
	type question struct {
		asked              dp.Estimator
		buckets, quantiles int
		epsilon            dp.Epsilon
		records            uint64
	}
	q := question{o.Estimator, g.Len(), len(o.Quantiles), o.Epsilon, o.Records}
	if e, ok := choices.Load(q); ok {
		return e.(dp.Estimator)
	}
	c, _, err := o.Chosen(g)
	if err != nil {
		panic(err)
	}
	choices.Store(q, c.Estimator)
	return c.Estimator
}

// position returns the middle of an answer's bucket: of ours, like of all, only the bucket counts.
func position(d *dataset, q dp.Quantile) float64 {
	if math.IsInf(q.Lower, -1) {
		return 0.5
	}
	if math.IsInf(q.Upper, 1) {
		return float64(d.grid.Len()) - 0.5
	}
	return float64(d.grid.Index(q.Lower+(q.Upper-q.Lower)/2)) + 0.5
}

// draw draws a position in [a, b] with density ∝ exp(−rate·|rank − target|), rank being records between low and high that are spread evenly in each bucket: the exponential mechanism on
// positions. Records outside of low … high, as ranks, count as none.
func draw(r *rand.Rand, d *dataset, a, b, low, high, target, rate float64) float64 {
	if b <= a {
		return a
	}
	type piece struct{ from, to, start, end, log, mass float64 }
	rank := func(x float64) float64 { return min(max(d.rank(x), low), high) - low }
	var pieces []piece
	most := math.Inf(-1)
	put := func(from, to, start, end float64) {
		if to <= from {
			return
		}
		// The exponent is a straight line from start to end, both on one side of the target.
		s, e := -rate*math.Abs(start-target), -rate*math.Abs(end-target)
		top := max(s, e)
		width := 1.0
		if x := math.Abs(s - e); x > 1e-12 {
			width = -math.Expm1(-x) / x
		}
		p := piece{from: from, to: to, start: s, end: e, log: top + math.Log((to-from)*width)}
		most = max(most, p.log)
		pieces = append(pieces, p)
	}
	// Where all ranks are below low, or above high, there is one piece.
	first := float64(sort.SearchFloat64s(d.before, low) - 1)
	last := float64(sort.Search(len(d.before), func(i int) bool { return d.before[i] > high }))
	at, start := a, rank(a)
	for at < b {
		to := min(math.Floor(at)+1, b)
		switch {
		case at < first:
			to = min(first, b)
		case at >= last:
			to = b
		}
		end := rank(to)
		// Ranks beyond low … high end the slope within a bucket.
		for _, corner := range []float64{target, 0, high - low} {
			if start < corner && corner < end {
				i := min(int(at), len(d.before)-2)
				slope := d.before[i+1] - d.before[i]
				x := float64(i) + (corner+low-d.before[i])/slope
				if x > at && x < to {
					to, end = x, rank(x)
				}
			}
		}
		put(at, to, start, end)
		at, start = to, end
	}
	total := 0.0
	for i := range pieces {
		pieces[i].mass = math.Exp(pieces[i].log - most)
		total += pieces[i].mass
	}
	u := r.Float64() * total
	for _, p := range pieces {
		if u -= p.mass; u > 0 {
			continue
		}
		v := r.Float64()
		x := p.end - p.start // the exponent's change
		share := v
		if math.Abs(x) > 1e-9 {
			share = math.Log1p(v*math.Expm1(x)) / x
			if x > 500 {
				share = 1 + math.Log(v)/x
			}
		}
		return p.from + min(max(share, 0), 1)*(p.to-p.from)
	}
	return b
}

// aq answers the middle quantile, and then each side from the records of that side alone: one record moves a node's score by max(q, 1−q), q being that of the node's own records.
func aq(d *dataset, quantiles []float64, epsilon float64) func(*rand.Rand) []float64 {
	levels := math.Floor(math.Log2(float64(len(quantiles)))) + 1
	return func(r *rand.Rand) []float64 {
		answers := make([]float64, len(quantiles))
		var solve func(from, to int, a, b, lo, hi float64)
		solve = func(from, to int, a, b, lo, hi float64) {
			if from == to {
				return
			}
			j := (from + to) / 2
			low, high := d.rank(a), d.rank(b)
			q := (quantiles[j] - lo) / (hi - lo)
			answers[j] = draw(r, d, a, b, low, high, q*(high-low), epsilon/levels/2/max(q, 1-q))
			solve(from, j, a, answers[j], lo, quantiles[j])
			solve(j+1, to, answers[j], b, quantiles[j], hi)
		}
		solve(0, len(quantiles), 0, float64(d.grid.Len()), 0, 1)
		return answers
	}
}

func independent(d *dataset, quantiles []float64, epsilon float64) func(*rand.Rand) []float64 {
	n := float64(d.n)
	return func(r *rand.Rand) []float64 {
		answers := make([]float64, len(quantiles))
		for j, q := range quantiles {
			answers[j] = draw(r, d, 0, float64(d.grid.Len()), 0, n, q*n, epsilon/float64(len(quantiles))/2/max(q, 1-q))
		}
		slices.Sort(answers)
		return answers
	}
}

// slice perturbs ranks by continual counting, draws from the slice of the records around each, and sorts what it drew.
func slice(d *dataset, quantiles []float64, epsilon float64) func(*rand.Rand) []float64 {
	m, buckets, n := len(quantiles), float64(d.grid.Len()), float64(d.n)
	half := epsilon / 2
	width := math.Ceil(2 / half * math.Log(float64(m)*buckets*n/0.05)) // of the paper's ψ, a range over the least distance of two records
	return func(r *rand.Rand) []float64 {
		answers := make([]float64, m)
		noise := countingNoise(r, m, half)
		for j, q := range quantiles {
			middle := math.Round(q*n + noise[j])
			low, high := min(max(middle-width, 0), n), min(max(middle+width, 0), n)
			answers[j] = draw(r, d, 0, buckets, low, high, middle-low, half/2)
		}
		slices.Sort(answers)
		return answers
	}
}

// countingNoise returns the errors of the first 1, 2, … m counts of a stream by a tree with Laplace noise on each node, whose branching is the one with the least variance. A node's
// first children together are half of the node, and half of them less the others, which takes half the noise: with h levels below the root its scale is (h+1)/(2ε).
func countingNoise(r *rand.Rand, m int, epsilon float64) []float64 {
	if m == 1 {
		return []float64{laplace(r, 1/epsilon)}
	}
	branching, height, least := 0, 0, math.Inf(1)
	for b := 2; b <= m; b++ {
		h, terms := 0, 1
		for size := 1; size < m; size *= b {
			h++
			terms += min(b, (m+size-1)/size)
		}
		if variance := float64((h + 1) * (h + 1) * terms); variance < least {
			branching, height, least = b, h, variance
		}
	}
	sums := make([]float64, m)
	root := laplace(r, float64(height+1)/2/epsilon)
	for j := range sums {
		sums[j] = root
	}
	size := 1 // leaves under a node
	for level := height; level > 0; level-- {
		parent := size * branching
		for from := 0; from < m; from += size {
			x := laplace(r, float64(height+1)/2/epsilon)
			siblings := from / parent * parent
			for j := siblings; j < min(siblings+parent, m); j++ {
				switch {
				case j < from:
					sums[j] -= x
				case j >= from+size || size == 1:
					sums[j] += x
				}
			}
		}
		size = parent
	}
	return sums
}

func laplace(r *rand.Rand, scale float64) float64 {
	return scale * r.ExpFloat64() * float64(1-2*r.IntN(2))
}

func google(d *dataset, quantiles []float64, epsilon float64) func(*rand.Rand) []float64 {
	options := &dpagg.BoundedQuantilesOptions{Epsilon: epsilon, MaxPartitionsContributed: 1, MaxContributionsPerPartition: 1, Lower: 0, Upper: float64(d.grid.Len())}
	filled := must(dpagg.NewBoundedQuantiles(options))
	for i := range d.grid.Len() {
		for range int(d.before[i+1] - d.before[i]) {
			check(filled.Add(float64(i) + 0.5))
		}
	}
	encoded := must(filled.GobEncode())
	return func(*rand.Rand) []float64 {
		q := new(dpagg.BoundedQuantiles)
		check(q.GobDecode(encoded))
		answers := make([]float64, len(quantiles))
		for j, x := range quantiles {
			answers[j] = must(q.Result(x))
		}
		return answers
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// consistentTree counts on every level, root and leaves included, with ε/levels each, and weighs what levels say by their variances. Nodes over no bucket have no noise.
func consistentTree(d *dataset, quantiles []float64, epsilon float64) func(*rand.Rand) []float64 {
	const b = 16
	leaves := make([]float64, d.grid.Len())
	for i := range leaves {
		leaves[i] = d.before[i+1] - d.before[i]
	}
	counts := [][]float64{leaves} // from the leaves to the root
	for below := leaves; len(below) > 1; {
		above := make([]float64, (len(below)+b-1)/b)
		for i, x := range below {
			above[i/b] += x
		}
		counts = append(counts, above)
		below = above
	}
	scale := float64(len(counts)) / epsilon
	return func(r *rand.Rand) []float64 {
		z, variance := make([][]float64, len(counts)), make([][]float64, len(counts))
		children := func(l, i int) (values []float64, sum float64, variances []float64, total float64) {
			from, to := i*b, min((i+1)*b, len(z[l-1]))
			values, variances = z[l-1][from:to], variance[l-1][from:to]
			for k, x := range values {
				sum += x
				total += variances[k]
			}
			return values, sum, variances, total
		}
		for l := range counts {
			z[l], variance[l] = make([]float64, len(counts[l])), make([]float64, len(counts[l]))
			for i, x := range counts[l] {
				z[l][i], variance[l][i] = x+laplace(r, scale), 1
				if l > 0 {
					_, sum, _, total := children(l, i)
					own := total / (1 + total)
					z[l][i], variance[l][i] = own*z[l][i]+(1-own)*sum, own
				}
			}
		}
		for l := len(counts) - 1; l > 0; l-- {
			for i, x := range z[l] {
				values, sum, variances, total := children(l, i)
				for k := range values {
					values[k] += (x - sum) * variances[k] / total
				}
			}
		}
		return invert(z[0], quantiles)
	}
}

// histogram counts bins of neighbouring buckets with noise.
func histogram(d *dataset, quantiles []float64, epsilon float64, bins int) func(*rand.Rand) []float64 {
	width := float64(d.grid.Len()) / float64(bins)
	counts := make([]float64, bins)
	for i := range counts {
		counts[i] = d.rank(float64(i+1)*width) - d.rank(float64(i)*width)
	}
	return func(r *rand.Rand) []float64 {
		noisy := make([]float64, bins)
		for i, x := range counts {
			noisy[i] = x + laplace(r, 1/epsilon)
		}
		answers := invert(noisy, quantiles)
		for j := range answers {
			answers[j] *= width
		}
		return answers
	}
}

// invert returns where the sums of counts, whose noise may make them fall, reach each quantile's share of all: by bisection, the middle quantile first and the others on its sides, and
// on a straight line within a bin, as OpenDP does.
func invert(counts, quantiles []float64) []float64 {
	sums := make([]float64, len(counts)+1)
	for i, x := range counts {
		sums[i+1] = sums[i] + x
	}
	total := sums[len(counts)]
	answers := make([]float64, len(quantiles))
	var solve func(from, to, low, high int)
	solve = func(from, to, low, high int) {
		if from == to {
			return
		}
		j := (from + to) / 2
		target := quantiles[j] * total
		i := min(low+sort.Search(high-low, func(k int) bool { return sums[low+k+1] >= target }), len(counts)-1)
		share := 0.5
		if sums[i+1] > sums[i] {
			share = min(max((target-sums[i])/(sums[i+1]-sums[i]), 0), 1-1e-9)
		}
		answers[j] = float64(i) + share
		solve(from, j, low, min(i+1, high))
		solve(j+1, to, i, high)
	}
	solve(0, len(quantiles), 0, len(counts))
	slices.Sort(answers)
	return answers
}

// jointExp draws all quantiles at once, with a probability in proportion to exp(−ε/(2Δ)·Σ|records between neighbours − what there should be|), by passing sums over the gaps between
// records forward, in O(m·n²), and drawing backward.
func jointExp(d *dataset, quantiles []float64, epsilon float64) func(*rand.Rand) []float64 {
	m, gaps := len(quantiles), len(d.points)+1
	edge := func(i int) float64 {
		switch i {
		case 0:
			return 0
		case gaps:
			return float64(d.grid.Len())
		}
		return d.points[i-1]
	}
	share := make([]float64, m+1) // of the records between quantiles
	before, least := 0.0, 1.0
	for j := range share {
		q := 1.0
		if j < m {
			q = quantiles[j]
		}
		share[j], before = q-before, q
		least = min(least, share[j])
	}
	rate := epsilon / (4 * (1 - least))
	weight := make([][]float64, m+1) // of so many records between quantiles j−1 and j
	for j := range weight {
		weight[j] = make([]float64, gaps)
		for n := range weight[j] {
			weight[j][n] = math.Exp(-rate * math.Abs(float64(n)-share[j]*float64(d.n)))
		}
	}
	// placed[k][run][i]: the first k are placed, the last run of them in gap i.
	placed, total := make([][][]float64, m+1), make([][]float64, m+1)
	for k := 1; k <= m; k++ {
		placed[k], total[k] = make([][]float64, k+1), make([]float64, gaps)
		most := 0.0
		for run := 1; run <= k; run++ {
			placed[k][run] = make([]float64, gaps)
			for i := range gaps {
				x := 0.0
				switch {
				case run > 1:
					x = placed[k-1][run-1][i] * weight[k-1][0] / float64(run)
				case k == 1:
					x = weight[0][i]
				default:
					for from, y := range total[k-1][:i] {
						x += y * weight[k-1][i-from]
					}
				}
				x *= edge(i+1) - edge(i)
				placed[k][run][i] = x
				total[k][i] += x
				most = max(most, total[k][i])
			}
		}
		for i := range gaps { // a common factor, against underflow
			for run := 1; run <= k; run++ {
				placed[k][run][i] /= most
			}
			total[k][i] /= most
		}
	}
	return func(r *rand.Rand) []float64 {
		pick := func(n int, of func(i int) float64) int {
			sum := 0.0
			for i := range n {
				sum += of(i)
			}
			u := r.Float64() * sum
			for i := range n {
				if u -= of(i); u < 0 {
					return i
				}
			}
			return n - 1
		}
		var answers []float64
		next := gaps
		for k := m; k > 0; {
			i := pick(next, func(i int) float64 {
				if k == m {
					return total[k][i] * weight[m][d.n-i]
				}
				return total[k][i] * weight[k][next-i]
			})
			run := 1 + pick(k, func(run int) float64 { return placed[k][run+1][i] })
			for range run {
				answers = append(answers, edge(i)+r.Float64()*(edge(i+1)-edge(i)))
			}
			k, next = k-run, i
		}
		slices.Sort(answers)
		return answers
	}
}
