package histogram

import (
	"fmt"
	"math"
	"slices"
)

// Rebin returns the histogram with neighbouring buckets merged into exactly k, such that no other choice of k has a smaller EMDCC, but for rounding. No count is split.
//
// The error wraps [ErrArgument] unless 1 ≤ k ≤ Len, [ErrEmpty] if nothing is counted, and [ErrInfinite] if a bucket reaches to infinity.
// It costs O(k·n·log n), and memory for O(n) and at most 64 MiB.
//
// The method is dynamic programming over the end of the last bucket. A bucket costs its count times its width, and merged costs obey the quadrangle
// inequality: for neighbours of counts c₁, c₂, c₃ and widths w₁, w₂, w₃ the two overlapping pairs cost c₁w₃ + c₃w₁ less than all three and the middle one. So the
// best beginning of the last bucket never goes back as its end goes on, and each layer is solved by halving.
//
// Source: Yao, "Efficient dynamic programming using quadrangle inequalities", STOC 1980; Hirschberg, "A linear space algorithm for computing maximal common subsequences",
// Communications of the ACM 18 (1975), for the memory.
func (h *Histogram) Rebin(k int) (*Histogram, error) {
	if err := h.checkRebin(k); err != nil {
		return nil, err
	}
	sums := make([]float64, len(h.Breaks)) // of counts before each break
	for i, c := range h.Counts {
		sums[i+1] = sums[i] + c
	}
	whole := h.Breaks[len(h.Breaks)-1] - h.Breaks[0]
	cost := func(i, j int) float64 { return (sums[j] - sums[i]) * ((h.Breaks[j] - h.Breaks[i]) / whole) }
	return h.merge(partitioner{cost, monotoneLayer{cost}.solve, tableSize}.split(0, len(h.Counts), k, nil)), nil
}

// RebinLeastSquares returns the histogram with neighbouring buckets merged into exactly k, such that no other choice of k has a smaller squared error, but for rounding. The
// squared error is the integral of the squared difference of two densities, that of the histogram before and that after. No count is split. For buckets of one
// width this is the V-optimal histogram.
//
// The error is that of [Histogram.Rebin]. It costs O(n·p·log n) where some price for each bucket makes k buckets best, as it often does, otherwise O(k·n·p) at most, and memory as
// Rebin does. p is how many beginnings of the last bucket may still become best: at most n, and most often a few to two hundred.
//
// Source: Jagadish et al., "Optimal histograms with quality guarantees", VLDB 1998; Rigaill, "A pruned dynamic programming algorithm to recover the best segmentations with 1 to
// K_max change-points", Journal de la SFdS 156 (2015), for the pruning; Haynes, Eckley and Fearnhead, "Computationally efficient changepoint detection for a range of penalties",
// Journal of Computational and Graphical Statistics 26 (2017), for the prices.
func (h *Histogram) RebinLeastSquares(k int) (*Histogram, error) {
	if err := h.checkRebin(k); err != nil {
		return nil, err
	}
	l := newSquaresLayer(h)
	ends, bound := l.splitByPrice(k)
	if ends == nil {
		if (k-1)*len(h.Breaks) <= tableSize { // otherwise layers of parts are solved too, which have other bounds
			l.bound = bound
		}
		ends = partitioner{l.cost, l.solve, tableSize}.split(0, len(h.Counts), k, nil)
	}
	return h.merge(ends), nil
}

func (h *Histogram) checkRebin(k int) error {
	if err := h.checkNonEmpty(); err != nil {
		return err
	}
	if k < 1 || k > len(h.Counts) {
		return fmt.Errorf("%w: %d buckets to leave is not from 1 to %d", ErrArgument, k, len(h.Counts))
	}
	if math.IsInf(h.Count(), 1) {
		return fmt.Errorf("%w: their sum is more than a float64 holds", ErrCounts)
	}
	return h.checkFinite()
}

// layer finds, for each end from least to most, relative to lo, the beginning from first to before end with the least before[beginning] plus the cost of the bucket from lo+beginning to
// lo+end. It writes that sum and the beginning. before is defined from first to most−1.
type layer func(lo, first, least, most int, before, after []float64, beginning []int32)

// tableSize is the size that a partitioner has but in tests.
const tableSize = 1 << 24

// partitioner finds the parts that cost least in all.
type partitioner struct {
	cost  func(i, j int) float64
	solve layer
	// table is for how many ends of parts, all layers together, the best beginnings are kept.
	table int
}

// split appends to ends where k parts of the buckets from lo to before hi end. Where a table of beginnings would be too large it only finds where the first half of the
// parts ends, and solves the two halves.
func (p partitioner) split(lo, hi, k int, ends []int) []int {
	n := hi - lo
	switch k {
	case 1:
		return append(ends, hi)
	case n:
		for end := lo + 1; end <= hi; end++ {
			ends = append(ends, end)
		}
		return ends
	}
	half := k / 2
	var table []int32 // of beginnings
	if (k-1)*(n+1) <= p.table {
		table = make([]int32, (k-1)*(n+1))
	}
	before, after := make([]float64, n+1), make([]float64, n+1)
	beginning, crossing, crossed := make([]int32, n+1), make([]int32, n+1), make([]int32, n+1)
	for j := 1; j <= n-k+1; j++ {
		before[j] = p.cost(lo, lo+j)
		crossing[j] = int32(j)
	}
	for parts := 2; parts <= k; parts++ {
		least, most := parts, n-k+parts
		if parts == k {
			least = n
		}
		if table != nil {
			beginning = table[(parts-2)*(n+1) : (parts-1)*(n+1)]
		}
		p.solve(lo, parts-1, least, most, before, after, beginning)
		before, after = after, before
		if table != nil {
			continue
		}
		for j := least; j <= most; j++ {
			crossed[j] = int32(j)
			if parts > half {
				crossed[j] = crossing[beginning[j]]
			}
		}
		crossing, crossed = crossed, crossing
	}
	if table == nil {
		at := lo + int(crossing[n])
		return p.split(at, hi, k-half, p.split(lo, at, half, ends))
	}
	first := len(ends)
	end := n
	for parts := k; ; parts-- {
		ends = append(ends, lo+end)
		if parts == 1 {
			break
		}
		end = int(table[(parts-2)*(n+1)+end])
	}
	slices.Reverse(ends[first:])
	return ends
}

// monotoneLayer solves layers of costs whose best beginnings never go back.
type monotoneLayer struct{ cost func(i, j int) float64 }

func (l monotoneLayer) solve(lo, first, least, most int, before, after []float64, beginning []int32) {
	l.halve(lo, least, most, first, most-1, before, after, beginning)
}

// halve solves the ends from least to most, whose best beginnings are from first to last.
func (l monotoneLayer) halve(lo, least, most, first, last int, before, after []float64, beginning []int32) {
	for least <= most {
		end := (least + most) / 2
		best, at := math.Inf(1), first
		for i := first; i <= min(last, end-1); i++ {
			if sum := before[i] + l.cost(lo+i, lo+end); sum < best {
				best, at = sum, i
			}
		}
		after[end], beginning[end] = best, int32(at)
		l.halve(lo, least, end-1, first, at, before, after, beginning)
		least, first = end+1, at
	}
}

// squaresLayer solves layers of squared errors. It follows, for each height that the last bucket might have, which beginning is best for that height, as the end goes
// on. A beginning that is best for no height never becomes best again.
type squaresLayer struct {
	// widths, counts and squares are sums before each break: of widths, of counts less those of the mean density, and of width times density squared.
	widths, counts, squares []float64
	lowest, highest         float64 // of densities, less the mean
	pieces, spare           []piece
	// bound tells which states need no look, if it is not nil.
	bound *bound
}

// bound is what is known before k layers are solved: some choice of k parts costs most, and the parts from a break on cost at least rest there less the price of each.
type bound struct {
	k           int
	most, price float64
	rest        []float64
}

// reaches says whether so many parts up to end that cost so much may begin a choice that is as good as the known one.
func (b *bound) reaches(parts, end int, cost float64) bool {
	return b == nil || cost+b.rest[end]-b.price*float64(b.k-parts) <= b.most
}

// piece is a range of heights for which a beginning is best, and what that costs up to some end: sum + width·(height−middle)² for a height.
type piece struct {
	low, high          float64
	beginning          int
	sum, width, middle float64
}

func newSquaresLayer(h *Histogram) *squaresLayer {
	n := len(h.Counts)
	l := &squaresLayer{widths: make([]float64, n+1), counts: make([]float64, n+1), squares: make([]float64, n+1), lowest: math.Inf(1), highest: math.Inf(-1)}
	// In units of the whole width and the whole count the mean density is 1.
	whole, total := h.Breaks[n]-h.Breaks[0], h.Count()
	for i, c := range h.Counts {
		width := (h.Breaks[i+1] - h.Breaks[i]) / whole
		density := c/total/width - 1
		l.widths[i+1] = l.widths[i] + width
		l.counts[i+1] = l.counts[i] + width*density
		l.squares[i+1] = l.squares[i] + width*density*density
		l.lowest, l.highest = min(l.lowest, density), max(l.highest, density)
	}
	return l
}

// cost returns the squared error of one bucket.
func (l *squaresLayer) cost(i, j int) float64 {
	c := l.counts[j] - l.counts[i]
	return max(0, l.squares[j]-l.squares[i]-c*c/(l.widths[j]-l.widths[i]))
}

func (l *squaresLayer) solve(lo, first, least, most int, before, after []float64, beginning []int32) {
	parts := first + 1
	l.pieces = append(l.pieces[:0], piece{low: l.lowest, high: l.highest, beginning: none, sum: math.Inf(1)})
	for end := first; end <= most; end++ {
		best, at := l.advance(lo, end, before)
		if end >= least {
			after[end], beginning[end] = best, int32(at)
		}
		if end < most && l.bound.reaches(parts-1, end, before[end]) {
			l.begin(end, before[end])
		}
		if l.bound != nil {
			l.drop(l.bound.most + l.bound.price*float64(l.bound.k-parts))
		}
	}
}

// none is the beginning of a piece of heights for which no beginning is worth a look. It costs more than any.
const none = -1

// drop forgets beginnings that cost more than most, which they will never do less.
func (l *squaresLayer) drop(most float64) {
	for k := range l.pieces {
		if p := &l.pieces[k]; p.sum > most {
			p.beginning, p.sum = none, math.Inf(1)
		}
	}
}

// advance has the last bucket end at end, and returns the least cost and its beginning.
func (l *squaresLayer) advance(lo, end int, before []float64) (best float64, at int) {
	best = math.Inf(1)
	j := lo + end
	for k := range l.pieces {
		p := &l.pieces[k]
		if p.beginning == none {
			continue
		}
		i := lo + p.beginning
		c := l.counts[j] - l.counts[i]
		p.width = l.widths[j] - l.widths[i]
		p.middle = c / p.width
		p.sum = before[p.beginning] + max(0, l.squares[j]-l.squares[i]-c*p.middle)
		if p.sum < best {
			best, at = p.sum, p.beginning
		}
	}
	return best, at
}

// splitByPrice returns where k parts of all buckets end, the cost of all being least, if there is a price for each part that makes k parts cheaper than any other number. Otherwise it
// returns what is known by then. What is cheapest at a price is cheapest for its number of parts.
func (l *squaresLayer) splitByPrice(k int) ([]int, *bound) {
	n := len(l.widths) - 1
	if k == 1 || k == n {
		return nil, nil // there is nothing to choose
	}
	type choice struct {
		parts int
		cost  float64
	}
	fewer, more := choice{1, l.cost(0, n)}, choice{n, 0}
	for {
		// At this price both choices cost the same. If none is cheaper than both, none between them ever is.
		price := (fewer.cost - more.cost) / float64(more.parts-fewer.parts)
		ends, _ := l.cheapest(price)
		cost, from := 0.0, 0
		for _, end := range ends {
			cost += l.cost(from, end)
			from = end
		}
		switch parts := len(ends); {
		case parts == k:
			return ends, nil
		case parts <= fewer.parts || parts >= more.parts:
			return nil, l.boundOf(k, fewer.cost, price)
		case parts < k:
			fewer = choice{parts, cost}
		default:
			more = choice{parts, cost}
		}
	}
}

// boundOf returns what is known where fewer than k parts cost so much: k of them cost no more.
func (l *squaresLayer) boundOf(k int, most, price float64) *bound {
	_, totals := l.mirrored().cheapest(price)
	slices.Reverse(totals)
	const rounding = 1e-9
	return &bound{k, most + rounding*l.cost(0, len(l.widths)-1), price, totals}
}

// mirrored returns the layer of the buckets in the opposite order.
func (l *squaresLayer) mirrored() *squaresLayer {
	m := &squaresLayer{lowest: l.lowest, highest: l.highest}
	for _, sums := range []struct {
		from []float64
		to   *[]float64
	}{{l.widths, &m.widths}, {l.counts, &m.counts}, {l.squares, &m.squares}} {
		n := len(sums.from) - 1
		*sums.to = make([]float64, n+1)
		for i := range sums.from {
			(*sums.to)[i] = sums.from[n] - sums.from[n-i]
		}
	}
	return m
}

// cheapest returns where parts of all buckets end, of whatever number, such that their cost and the price of each part together are least; and how much that is up to each break.
func (l *squaresLayer) cheapest(price float64) (ends []int, totals []float64) {
	n := len(l.widths) - 1
	totals = make([]float64, n+1)
	beginning := make([]int32, n+1)
	l.pieces = append(l.pieces[:0], piece{low: l.lowest, high: l.highest})
	for end := 1; end <= n; end++ {
		best, at := l.advance(0, end, totals)
		totals[end], beginning[end] = best+price, int32(at)
		if end < n {
			l.begin(end, totals[end])
		}
	}
	for end := n; end > 0; end = int(beginning[end]) {
		ends = append(ends, end)
	}
	slices.Reverse(ends)
	return ends, totals
}

// begin makes end a beginning: best for the heights for which the others cost more than it does, which is own, by now.
func (l *squaresLayer) begin(end int, own float64) {
	cut := l.spare[:0]
	put := func(low, high float64) {
		if n := len(cut); n > 0 && cut[n-1].beginning == end {
			cut[n-1].high = high
			return
		}
		cut = append(cut, piece{low: low, high: high, beginning: end})
	}
	for _, p := range l.pieces {
		room := own - p.sum
		left, right := p.middle-p.low, p.high-p.middle
		if p.width*max(left*left, right*right) <= room {
			cut = append(cut, p)
			continue
		}
		half := math.Sqrt(max(0, room) / p.width)
		from, to := max(p.low, p.middle-half), min(p.high, p.middle+half)
		if room < 0 || from >= to {
			put(p.low, p.high)
			continue
		}
		if p.low < from {
			put(p.low, from)
		}
		high := p.high
		p.low, p.high = from, to
		cut = append(cut, p)
		if to < high {
			put(to, high)
		}
	}
	l.pieces, l.spare = cut, l.pieces
}
