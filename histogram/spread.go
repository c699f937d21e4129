package histogram

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// UnionBreaks returns the breaks that any of the histograms has, ascending. The error is that of [Histogram.Validate], with the index of the
// histogram, or wraps [ErrArgument] if there is none. It costs O(n log n) for n breaks in all.
func UnionBreaks(hs ...*Histogram) ([]float64, error) {
	if len(hs) == 0 {
		return nil, fmt.Errorf("%w: there is no histogram", ErrArgument)
	}
	var all []float64
	for j, h := range hs {
		if err := h.Validate(); err != nil {
			return nil, fmt.Errorf("histogram %d: %w", j, err)
		}
		if j == 0 || !slices.Equal(h.Breaks, hs[j-1].Breaks) { // most often they are
			all = append(all, h.Breaks...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// CommonBreaks returns the breaks, ascending, that cut no bucket of any of the histograms: each is a break of all histograms that reach beyond it to
// both sides. The counts between them are sums of whole counts, so [AddOnto] adds exactly onto them. The error is that of [UnionBreaks].
// It costs O(n log n) for n breaks in all.
func CommonBreaks(hs ...*Histogram) ([]float64, error) {
	all, err := UnionBreaks(hs...)
	if err != nil {
		return nil, err
	}
	cut := make([]int, len(all)+1) // by how many buckets, as differences
	for j, h := range hs {
		if j > 0 && slices.Equal(h.Breaks, hs[j-1].Breaks) {
			continue
		}
		for i := range h.Counts {
			first, _ := slices.BinarySearch(all, h.Breaks[i])
			end, _ := slices.BinarySearch(all, h.Breaks[i+1])
			if first+1 < end {
				cut[first+1]++
				cut[end]--
			}
		}
	}
	common, open := all[:0], 0
	for i, b := range all {
		if open += cut[i]; open == 0 {
			common = append(common, b)
		}
	}
	return common, nil
}

// Onto returns the histogram on other breaks. The count of a bucket that these cut is spread in proportion to the widths of the parts, as if its values were spread
// evenly; whole buckets keep their counts exactly. [AddOnto] says what the spreading costs.
//
// The error wraps [ErrBreaks] for breaks that make no buckets, [ErrArgument] if a bucket that counts anything is not within the breaks, and [ErrInfinite] if one that
// reaches to infinity is cut; both name the bucket. It costs O(n+m) for n buckets and m breaks.
func (h *Histogram) Onto(breaks []float64) (*Histogram, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	if err := checkBreaks(breaks); err != nil {
		return nil, err
	}
	spread := &Histogram{slices.Clone(breaks), make([]float64, len(breaks)-1), h.Name}
	return spread, h.spread(spread)
}

// spread adds a histogram to one on other breaks.
func (h *Histogram) spread(to *Histogram) error {
	at := 0 // the first bucket that may hold a part
	for i, c := range h.Counts {
		if c == 0 {
			continue
		}
		lower, upper := h.Bounds(i)
		if last := len(to.Breaks) - 1; lower < to.Breaks[0] || upper > to.Breaks[last] {
			return fmt.Errorf("%w: bucket %d, from %v to %v, counts %v, and is not within the breaks from %v to %v", ErrArgument, i, lower, upper, c, to.Breaks[0], to.Breaks[last])
		}
		for to.Breaks[at+1] <= lower {
			at++
		}
		if upper <= to.Breaks[at+1] {
			to.Counts[at] += c
			continue
		}
		if math.IsInf(lower, 0) || math.IsInf(upper, 0) {
			return fmt.Errorf("%w: bucket %d, from %v to %v, counts %v, and break %d, %v, cuts it", ErrInfinite, i, lower, upper, c, at+1, to.Breaks[at+1])
		}
		placed := 0.0
		for ; to.Breaks[at+1] < upper; at++ {
			until := c * portion(lower, to.Breaks[at+1], upper)
			to.Counts[at] += max(0, until-placed)
			placed = until
		}
		to.Counts[at] += max(0, c-placed) // the parts add up to the whole
	}
	return checkCounts(to.Counts)
}

// Loss is how much a sum of histograms leaves open. Take any values that the addends may have counted, and any that the sum may be taken to count: their
// distribution functions differ by at most KSDCC, and the area between them is at most EMDCC, where the unit is the width of the whole sum. So for
// equal breaks both are those of the sum.
type Loss struct {
	// KSDCC and EMDCC are the bounds, from 0 to 1.
	KSDCC, EMDCC float64
	// AddedKSDCC and AddedEMDCC say which part of the bounds comes from different breaks: the bounds less what is open in the addends themselves, all
	// of them together. They are 0 for equal breaks.
	AddedKSDCC, AddedEMDCC float64
}

// AddOnto returns the sum of histograms with any breaks, on the given ones, and what that loses. Onto [CommonBreaks] the sum is exact and coarse. Onto
// [UnionBreaks], or any other breaks, it is finer, and spreads as [Histogram.Onto] does. The name is that of [Add].
//
// The error is that of [Histogram.Onto], with the index of the histogram. It wraps [ErrArgument] if there is none, [ErrEmpty] if nothing is counted, and
// [ErrInfinite] if a break is infinite. It costs O(n log n) for n breaks in all.
func AddOnto(breaks []float64, hs ...*Histogram) (*Histogram, Loss, error) {
	if err := checkBreaks(breaks); err != nil {
		return nil, Loss{}, err
	}
	if len(hs) == 0 {
		return nil, Loss{}, fmt.Errorf("%w: there is no histogram to add", ErrArgument)
	}
	sum := &Histogram{slices.Clone(breaks), make([]float64, len(breaks)-1), sumName(hs)}
	if err := sum.checkFinite(); err != nil {
		return nil, Loss{}, err
	}
	for j, h := range hs {
		err := h.Validate()
		if err == nil {
			err = h.spread(sum)
		}
		if err != nil {
			return nil, Loss{}, fmt.Errorf("histogram %d: %w", j, err)
		}
	}
	if err := sum.checkNonEmpty(); err != nil {
		return nil, Loss{}, err
	}
	return sum, lossOf(sum, hs), nil
}

// band is what bounds a distribution function as x grows: the counts of the buckets that have begun, and of those that have ended.
type band struct{ begun, ended float64 }

// edge is a change of the bands at x, that of the addends and that of the sum.
type edge struct {
	x       float64
	in, out band
}

// lossOf compares the bounds of the addends' values with those of the sum.
func lossOf(sum *Histogram, hs []*Histogram) Loss {
	var edges []edge
	begins := func(x, c float64, of func(*edge) *band) {
		edges = append(edges, edge{x: x})
		of(&edges[len(edges)-1]).begun = c
	}
	ends := func(x, c float64, of func(*edge) *band) {
		edges = append(edges, edge{x: x})
		of(&edges[len(edges)-1]).ended = c
	}
	add := func(h *Histogram, of func(*edge) *band) {
		for i, c := range h.Counts {
			if c > 0 {
				begins(h.Breaks[i], c, of)
				ends(h.Breaks[i+1], c, of)
			}
		}
	}
	for _, h := range hs {
		add(h, func(e *edge) *band { return &e.in })
	}
	add(sum, func(e *edge) *band { return &e.out })
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.x, b.x) })

	var (
		loss, before Loss
		in, out      band
		total        = sum.Count()
		last         = sum.Breaks[len(sum.Breaks)-1]
		whole        = last - sum.Breaks[0]
	)
	for i, e := range edges {
		in.begun, in.ended = in.begun+e.in.begun, in.ended+e.in.ended
		out.begun, out.ended = out.begun+e.out.begun, out.ended+e.out.ended
		next := last
		if i+1 < len(edges) {
			next = edges[i+1].x
		}
		if next <= e.x {
			continue
		}
		gap := max(0, in.begun-out.ended, out.begun-in.ended) / total
		own := max(0, in.begun-in.ended) / total
		loss.KSDCC, before.KSDCC = max(loss.KSDCC, gap), max(before.KSDCC, own)
		loss.EMDCC += gap * ((next - e.x) / whole)
		before.EMDCC += own * ((next - e.x) / whole)
	}
	loss.AddedKSDCC = max(0, loss.KSDCC-before.KSDCC)
	loss.AddedEMDCC = max(0, loss.EMDCC-before.EMDCC)
	const rounding = 1e-12 // of sums in another order
	if loss.AddedKSDCC < rounding {
		loss.AddedKSDCC = 0
	}
	if loss.AddedEMDCC < rounding {
		loss.AddedEMDCC = 0
	}
	return loss
}
