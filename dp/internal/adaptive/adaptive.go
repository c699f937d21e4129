// Package adaptive measures histograms one after the other, the bins of each made of what the ones before it showed, so that few noisy counts describe records wherever they are.
//
// The mechanism, its theorem and the proof are in docs/proofs/adaptive.md. [Measure] is all of it that sees data; bins and quantiles are made of noisy counts and public numbers, and may be
// calculated in floating point.
package adaptive

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/tree"
)

// Bounds of a [Problem].
const (
	MaxRounds    = 16
	MaxBins      = 1024
	MaxSpikeBins = 1 << 13
)

// ErrProblem is wrapped by the errors of [Problem.Check].
var ErrProblem = errors.New("adaptive histograms out of range")

// A Problem is one release. All but Counts is public.
type Problem struct {
	Weights       []uint64     // of the buckets in the prior, positive, with a sum below 2⁶⁴
	Counts        []tree.Count // buckets ascending; buckets left out are empty; records sum to less than 2⁶⁴
	Bins          int          // of a round, at most: between 2 and [MaxBins]
	Rounds        int          // between 1 and [MaxRounds]
	SpikeBins     int          // bins, at most, of one more round, which finds buckets with many more records than their neighbours: between 2 and [MaxSpikeBins], or 0 for no such round
	Noise         tree.Kind    // Laplace or Gaussian
	Epsilon       int64        // of all rounds with Laplace noise, in billionths, at least one for each and at most 1000·[tree.Unit]
	Rho           int64        // of all rounds with Gaussian noise, likewise
	Shares        []uint64     // of ε or ρ, by round, that of spikes last: as many as those, positive, with a sum below 2³²; nil for equal ones
	Contributions uint64       // records that one privacy unit contributes at most, positive
}

// Check returns an error that names the field and the value unless every public field but Weights is in range. It does not look at the counts.
func (p *Problem) Check() error {
	switch {
	case p.Bins < 2 || p.Bins > MaxBins:
		return fmt.Errorf("%w: %d bins is not in [2, %d]", ErrProblem, p.Bins, MaxBins)
	case p.Rounds < 1 || p.Rounds > MaxRounds:
		return fmt.Errorf("%w: %d rounds is not in [1, %d]", ErrProblem, p.Rounds, MaxRounds)
	case p.SpikeBins != 0 && (p.SpikeBins < 2 || p.SpikeBins > MaxSpikeBins):
		return fmt.Errorf("%w: %d bins for spikes is neither 0 nor in [2, %d]", ErrProblem, p.SpikeBins, MaxSpikeBins)
	case p.Shares != nil && len(p.Shares) != p.measured():
		return fmt.Errorf("%w: %d shares for %d rounds", ErrProblem, len(p.Shares), p.measured())
	}
	// What divides a loss among the levels of a tree divides it among rounds, and needs the same of it.
	return (&tree.Problem{
		Buckets: 1 << p.measured(), Branching: 2, Unrooted: true, Noise: p.Noise, Epsilon: p.Epsilon, Rho: p.Rho, Shares: p.Shares, Contributions: p.Contributions,
	}).Check()
}

// measured returns the number of rounds, that of spikes among them.
func (p *Problem) measured() int {
	if p.SpikeBins > 0 {
		return p.Rounds + 1
	}
	return p.Rounds
}

// A Round is a noisy histogram.
type Round struct {
	Edges     []int   // buckets: bin i is from Edges[i] to before Edges[i+1]
	Counts    []int64 // noisy, of the bins
	Deviation float64 // of the noise
}

// sum returns what the counts add up to.
func (r *Round) sum() float64 {
	sum := 0.0
	for _, y := range r.Counts {
		sum += float64(y)
	}
	return sum
}

// Measure returns the rounds, that of spikes last, each on bins that the ones before it make. It is the only part of a release that sees the data. It panics if [Problem.Check] returns an error.
func Measure(p *Problem, s exact.NoiseSampler) []Round {
	if err := p.Check(); err != nil {
		panic(err)
	}
	public := *p
	public.Counts = nil
	f := newFit(&public)
	for i, loss := range p.losses() {
		f.add(measure(p, f.next(i), loss, s))
	}
	return f.rounds
}

// losses returns the ε or ρ of each round.
func (p *Problem) losses() []int64 {
	loss, shares := p.Epsilon, p.Shares
	if p.Noise == tree.Gaussian {
		loss = p.Rho
	}
	if shares == nil {
		shares = slices.Repeat([]uint64{1}, p.measured())
	}
	return tree.Divide(loss, shares)
}

// measure counts the records of bins with noise that spends a loss.
func measure(p *Problem, edges []int, loss int64, s exact.NoiseSampler) Round {
	bins := len(edges) - 1
	h := &tree.Problem{Buckets: bins, Branching: 2, Levels: 1, Noise: p.Noise, Epsilon: loss, Contributions: p.Contributions}
	if bins > 1 { // a tree with nothing above the bins
		h.Branching, h.Levels, h.Unrooted = bins, 2, true
	}
	if p.Noise == tree.Gaussian {
		h.Epsilon, h.Rho = 0, loss
	}
	bin := 0
	for _, c := range p.Counts {
		for c.Bucket >= edges[bin+1] {
			bin++
		}
		if last := len(h.Counts) - 1; last >= 0 && h.Counts[last].Bucket == bin {
			h.Counts[last].Records += c.Records
		} else {
			h.Counts = append(h.Counts, tree.Count{Bucket: bin, Records: c.Records})
		}
	}
	return Round{edges, tree.Measure(h, s)[h.Levels-1], h.Deviation()}
}

// Release measures, and fits a distribution to the noisy counts. It panics if [Problem.Check] returns an error.
func Release(p *Problem, s exact.NoiseSampler) *Fit {
	public := *p
	public.Counts = nil
	f, rounds := newFit(&public), Measure(p, s)
	for _, r := range rounds[:p.Rounds] {
		f.add(r)
	}
	f.solve()
	if p.SpikeBins > 0 {
		f.spikes = f.find(rounds[p.Rounds])
		f.solve()
	}
	return f
}

// How a distribution is fitted, and bins are made of it: values with small errors on records of many shapes.
const (
	// stiffness is how strongly the prior draws the distribution, in units of the noise.
	stiffness = 0.1
	// spare is the share of the bins that lie as the prior says, whatever was measured.
	spare = 1. / 32
	// Sweeps end when no bin's records move by more than this share of the noise, or after so many. Of θ there is more to find then, which many rounds can share in many ways, and errors gain nothing by it: they were the
	// same with 10 and with 2000 sweeps.
	tolerance = 1e-3
	maxSweeps = 30
	// limit bounds the exponents of a bin, so that products of one for each round stay within float64.
	limit = 30
	// A bin is a spike if its count is by more than so many deviations of the noise above the distribution. By noise alone fewer than one of 2¹³ Laplace counts is, on average, and next to none of as many Gaussian ones.
	prominence = 6
	// A count that was chosen for being high has noise that is rather high, and is taken for so many deviations less.
	excess = 2
	// So many spikes are taken at most, which bounds the time. Errors with 1024, and with all, were the same.
	maxSpikes = 256
)

// A Fit is a distribution that was made of noisy counts and public numbers alone, so that any number of answers can be read from it at no further privacy loss.
//
// It is the x that makes Σ x·ln(x/prior) + Σ (count − x of the bin)²·σ̄/(2·stiffness·σ²) least, of those that add up to the estimated number of records. The second sum goes over the bins of all rounds but that of
// spikes, and over the spikes; σ² is the variance of a count, σ̄ the least deviation of those rounds. A number added to all counts of a round changes nothing then, and makes them add up to the records too. So x is the
// prior's weight times exp(θ) of each bin and of the spike that it is in, times a factor for all, and θ = (count − x of the bin)·σ̄/(stiffness·σ²): one after the other gets the θ for which that is so.
type Fit struct {
	problem *Problem
	before  []uint64    // the prior's weight before each bucket, and of all
	rounds  []Round     // without that of spikes
	theta   [][]float64 // by round and bin
	spikes  []spike
	edges   []int     // of atoms, buckets that neither a round's bins nor a spike divides: atom i is from edges[i] to before edges[i+1]
	mass    []float64 // records of each atom
}

// A spike is a bin that counts far more records than the rounds before let expect. It becomes an atom.
type spike struct {
	from, to  int     // buckets
	atom      int     // that it is, once the atoms have been made
	count     float64 // without the excess
	deviation float64 // of the noise
	theta     float64
}

func newFit(p *Problem) *Fit {
	f := &Fit{problem: p, before: make([]uint64, len(p.Weights)+1), edges: []int{0, len(p.Weights)}, mass: []float64{1}}
	for i, w := range p.Weights {
		f.before[i+1] = f.before[i] + w
	}
	return f
}

// within returns the prior's probability of the buckets from one to before another: of whole numbers, since next to 1 little probabilities are too small for float64.
func (f *Fit) within(from, to int) float64 {
	return float64(f.before[to]-f.before[from]) / float64(f.before[len(f.before)-1])
}

// share returns the prior's probability of an atom.
func (f *Fit) share(atom int) float64 { return f.within(f.edges[atom], f.edges[atom+1]) }

// next returns the edges of the bins of a round, counted from 0, when those before have been added. The round of spikes has one for each bucket if it may have as many.
func (f *Fit) next(round int) []int {
	p := f.problem
	if round == p.Rounds && len(p.Weights) <= p.SpikeBins {
		edges := make([]int, len(p.Weights)+1)
		for b := range edges {
			edges[b] = b
		}
		return edges
	}
	if round > 0 {
		f.solve()
	}
	if round == p.Rounds {
		return f.bins(p.SpikeBins)
	}
	return f.bins(p.Bins)
}

// bins returns the edges of at most so many bins, whose records are about as many each: by the distribution so far, and for a small share by the prior.
func (f *Fit) bins(most int) []int {
	buckets := len(f.problem.Weights)
	total := 0.0
	for _, m := range f.mass {
		total += m
	}
	edges, next, below := []int{0}, 1, 0.0
	for i, m := range f.mass {
		share := (1-spare)*m/total + spare*f.share(i)
		for ; next < most && below+share >= float64(next)/float64(most); next++ {
			part := (float64(next)/float64(most) - below) / share
			at := part * f.share(i) // from the atom's start
			// The edge of a bucket that is nearest in the prior.
			from := f.edges[i]
			edge := from + sort.Search(f.edges[i+1]-from, func(k int) bool { return f.within(from, from+k+1) > at })
			if edge < f.edges[i+1] && f.within(from, edge+1)-at < at-f.within(from, edge) {
				edge++
			}
			if edge > edges[len(edges)-1] && edge < buckets {
				edges = append(edges, edge)
			}
		}
		below += share
	}
	return append(edges, buckets)
}

// add takes in a round.
func (f *Fit) add(r Round) {
	f.rounds = append(f.rounds, r)
	f.theta = append(f.theta, make([]float64, len(r.Counts)))
}

// find returns the spikes among the bins of a round, those with the highest counts if they are many. Only a bin within an atom can be one: of others the rounds before know more.
func (f *Fit) find(r Round) []spike {
	var spikes []spike
	atom := 0
	for bin, y := range r.Counts {
		from, to := r.Edges[bin], r.Edges[bin+1]
		for f.edges[atom+1] <= from {
			atom++
		}
		if to > f.edges[atom+1] {
			continue
		}
		x := f.mass[atom] * f.within(from, to) / f.share(atom)
		if float64(y)-x > prominence*r.Deviation {
			spikes = append(spikes, spike{from: from, to: to, count: float64(y) - excess*r.Deviation, deviation: r.Deviation})
		}
	}
	slices.SortStableFunc(spikes, func(a, b spike) int { return cmp.Compare(b.count, a.count) })
	return spikes[:min(len(spikes), maxSpikes)]
}

// records returns the estimated number of records, at least 1: the mean of the rounds' sums, weighted by their inverse variances.
func (f *Fit) records() float64 {
	sum, weight := 0.0, 0.0
	for _, r := range f.rounds {
		w := 1 / (r.Deviation * r.Deviation * float64(len(r.Counts)))
		sum, weight = sum+w*r.sum(), weight+w
	}
	return max(sum/weight, 1)
}

// solve fits the distribution to the rounds, from where it was before the last of them.
func (f *Fit) solve() {
	spans, n := f.prepare(), f.records()
	f.scale(n)
	for range maxSweeps {
		if f.sweep(spans, n) < tolerance {
			break
		}
	}
}

// prepare makes the atoms of the rounds, with the masses that the θs say, and returns by round and bin its first atom, and at last how many there are.
func (f *Fit) prepare() [][]int {
	var edges []int
	for _, r := range f.rounds {
		edges = append(edges, r.Edges...)
	}
	for _, s := range f.spikes {
		edges = append(edges, s.from, s.to)
	}
	slices.Sort(edges)
	f.edges = slices.Compact(edges)
	f.mass = make([]float64, len(f.edges)-1)
	exponent := make([]float64, len(f.mass))
	spans := make([][]int, len(f.rounds))
	for i, r := range f.rounds {
		spans[i] = make([]int, len(r.Edges))
		for bin, edge := range r.Edges {
			spans[i][bin], _ = slices.BinarySearch(f.edges, edge)
			if bin > 0 {
				for atom := spans[i][bin-1]; atom < spans[i][bin]; atom++ {
					exponent[atom] += f.theta[i][bin-1]
				}
			}
		}
	}
	for i := range f.spikes {
		s := &f.spikes[i]
		s.atom, _ = slices.BinarySearch(f.edges, s.from)
		exponent[s.atom] += s.theta
	}
	for atom := range f.mass {
		f.mass[atom] = f.share(atom) * math.Exp(exponent[atom])
	}
	return spans
}

// sweep gives every bin and spike the θ that suits it, and returns by how many deviations of the noise the records of one moved at most.
func (f *Fit) sweep(spans [][]int, n float64) float64 {
	least, moved := math.Inf(1), 0.0
	for _, r := range f.rounds {
		least = min(least, r.Deviation)
	}
	for i, r := range f.rounds {
		stiff, more := stiffness*r.Deviation*r.Deviation/least, (n-r.sum())/float64(len(r.Counts))
		for bin, y := range r.Counts {
			atoms := f.mass[spans[i][bin]:spans[i][bin+1]]
			moved = max(moved, move(atoms, &f.theta[i][bin], float64(y)+more, stiff)/r.Deviation)
		}
	}
	for i := range f.spikes {
		s := &f.spikes[i]
		stiff := stiffness * s.deviation * s.deviation / least
		moved = max(moved, move(f.mass[s.atom:s.atom+1], &s.theta, s.count, stiff)/s.deviation)
	}
	f.scale(n)
	return moved
}

// move gives a bin of these atoms the θ that suits its count, and returns how many records come or go.
func move(atoms []float64, theta *float64, count, stiff float64) float64 {
	sum := 0.0
	for _, m := range atoms {
		sum += m
	}
	step := step(sum, count, *theta, stiff)
	*theta += step
	factor := math.Exp(step)
	for atom := range atoms {
		atoms[atom] *= factor
	}
	return math.Abs(factor-1) * sum
}

// scale makes the masses add up to n.
func (f *Fit) scale(n float64) {
	sum := 0.0
	for _, m := range f.mass {
		sum += m
	}
	for i := range f.mass {
		f.mass[i] *= n / sum
	}
}

// step returns the d for which sum·exp(d) + stiff·(theta + d) = count, or the nearest with theta + d within the limit. It is found by Newton's method, which for a convex function that rises
// goes down to the root from any point above it.
func step(sum, count, theta, stiff float64) float64 {
	if sum == 0 { // too small for float64
		return 0
	}
	most := limit - theta
	if sum*math.Exp(most)+stiff*limit <= count { // the root is beyond, maybe too far for exp
		return most
	}
	d := 0.0
	if sum+stiff*theta < count { // the root is above 0, and below where one of the two parts alone would be all of count
		d = min(max(-theta, math.Log(max(count, 0)/sum)), most)
	}
	for range 80 { // far above the root a step is 1, and 60 of them are between the limits
		x := sum * math.Exp(d)
		change := (x + stiff*(theta+d) - count) / (x + stiff)
		d -= change
		if math.Abs(change) < 1e-6 || theta+d < -limit {
			break
		}
	}
	return min(max(theta+d, -limit), limit) - theta
}

// Quantiles returns a cut of the buckets for each quantile, in billionths within (0, tree.Unit): cut b·2^tree.CellBits + k is k/2^tree.CellBits of the way into bucket b. Within an atom of several buckets the
// distribution follows the prior's weight. Cuts never fall as quantiles rise.
func (f *Fit) Quantiles(quantiles []int64) []uint64 {
	const cells = 1 << tree.CellBits
	before := make([]float64, len(f.mass)+1)
	for i, m := range f.mass {
		before[i+1] = before[i] + m
	}
	cuts := make([]uint64, len(quantiles))
	for j, q := range quantiles {
		target := float64(q) / tree.Unit * before[len(f.mass)]
		i := sort.Search(len(f.mass)-1, func(i int) bool { return before[i+1] >= target })
		from, to := f.edges[i], f.edges[i+1]
		at := part(before[i], target, before[i+1]) * f.share(i)
		b := from + sort.Search(to-from-1, func(k int) bool { return f.within(from, from+k+1) >= at })
		cuts[j] = uint64(b)<<tree.CellBits + uint64(part(f.within(from, b), at, f.within(from, b+1))*cells)
	}
	return cuts
}

// part returns how far x is on the way from a to b, within [0, 1].
func part(a, x, b float64) float64 {
	if !(x > a) { // or a and b are one, too near for float64
		return 0
	}
	return min((x-a)/(b-a), 1)
}

// Between returns how many records are before the first of ascending cuts of the buckets, from each to before the next, and from the last on. The records of a bucket that a cut divides go to its cells by lot, each
// by itself. The counts are not private: they are for a mechanism that takes its turn after this one.
func Between(counts []tree.Count, cuts []uint64, s exact.Sampler) []uint64 {
	between := make([]uint64, len(cuts)+1)
	first := 0 // the first cut after the bucket's start
	for _, c := range counts {
		start := uint64(c.Bucket) << tree.CellBits
		for first < len(cuts) && cuts[first] <= start {
			first++
		}
		last := first
		for last < len(cuts) && cuts[last] < start+1<<tree.CellBits {
			last++
		}
		scatter(between[first:last+1], cuts[first:last], start, start+1<<tree.CellBits, c.Records, s)
	}
	return between
}

// scatter adds n records that lie in the cells from start to before end to the counts between cuts, which are strictly within.
func scatter(between, cuts []uint64, start, end, n uint64, s exact.Sampler) {
	if len(cuts) == 0 || n == 0 {
		between[0] += n
		return
	}
	left, middle := s.Binomial(n), start+(end-start)/2
	to, _ := slices.BinarySearch(cuts, middle)
	from := to
	for from < len(cuts) && cuts[from] == middle {
		from++
	}
	scatter(between[:to+1], cuts[:to], start, middle, left, s)
	scatter(between[from:], cuts[from:], middle, end, n-left, s)
}

// Work returns a bound of the steps that [Release] takes on so many buckets, some 50 ns each, whatever the data.
func Work(p *Problem, buckets int) uint64 {
	// A sweep visits each atom once for a round, and finds an exponent for each bin and spike. Buckets are summed up, and what is non-empty of them is visited in each round. The edge of a bin for spikes is found by
	// halving.
	const exponent, noise, edge = 10, 20, 5
	bins, rounds, spikes := uint64(min(p.Bins, buckets)), uint64(p.Rounds), uint64(min(p.SpikeBins, maxSpikes, buckets))
	sweep := func(spikes uint64) uint64 { return (rounds*bins+2*spikes)*rounds/8 + exponent*(rounds*bins+spikes) }
	work := uint64(buckets)*(uint64(p.measured())+4) + rounds*(bins*noise+maxSweeps*sweep(0))
	if spikes > 0 { // the fit before they are found, and that with them
		work += uint64(min(p.SpikeBins, buckets))*(noise+edge) + maxSweeps*(sweep(0)+sweep(spikes))
	}
	return work
}
