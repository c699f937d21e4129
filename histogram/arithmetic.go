package histogram

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Count returns the sum of the counts, R's Count. It is 0 for a histogram of nothing. It costs O(n).
func (h *Histogram) Count() float64 {
	sum := 0.0
	for _, c := range h.Counts {
		sum += c
	}
	return sum
}

// Add returns the sum of histograms with equal breaks, R's AddHistograms: each count is the sum of their counts. The name is
// "Merge of a and b" of the names that are not empty.
//
// The error wraps [ErrArgument] if there is no histogram, that of [Histogram.Validate] for one that is none, and [ErrMismatch] for
// breaks that differ; all name the histogram by its index. [AddOnto] adds histograms of different breaks. It costs O(n) for each histogram.
func Add(hs ...*Histogram) (*Histogram, error) {
	if len(hs) == 0 {
		return nil, fmt.Errorf("%w: there is no histogram to add", ErrArgument)
	}
	if err := hs[0].Validate(); err != nil {
		return nil, fmt.Errorf("histogram 0: %w", err)
	}
	sum := hs[0].Clone()
	for j, h := range hs[1:] {
		if err := sum.accumulate(h); err != nil {
			return nil, fmt.Errorf("histogram %d: %w", j+1, err)
		}
	}
	if err := checkCounts(sum.Counts); err != nil { // sums may be infinite
		return nil, fmt.Errorf("sum: %w", err)
	}
	sum.Name = sumName(hs)
	return sum, nil
}

// accumulate adds h, which may be unsound, to the counts of a sound histogram.
func (h *Histogram) accumulate(other *Histogram) error {
	if len(other.Counts) != len(h.Counts) || !slices.Equal(h.Breaks, other.Breaks) {
		if err := other.Validate(); err != nil {
			return err
		}
		return checkSameBreaks(h, other)
	}
	sums, sound := h.Counts, true
	for i, c := range other.Counts[:len(sums)] {
		sound = sound && c >= 0 && c <= math.MaxFloat64
		sums[i] += c
	}
	if !sound {
		return checkCounts(other.Counts)
	}
	return nil
}

// checkSameBreaks returns an error that wraps [ErrMismatch] and names the first break that differs.
func checkSameBreaks(a, b *Histogram) error {
	for i := range min(len(a.Breaks), len(b.Breaks)) {
		if a.Breaks[i] != b.Breaks[i] {
			return fmt.Errorf("%w: break %d is %v and %v", ErrMismatch, i, a.Breaks[i], b.Breaks[i])
		}
	}
	if len(a.Breaks) != len(b.Breaks) {
		i := min(len(a.Breaks), len(b.Breaks))
		longer := a.Breaks
		if len(b.Breaks) > i {
			longer = b.Breaks
		}
		return fmt.Errorf("%w: one has %d of them and the other %d, from break %d, %v, on", ErrMismatch, len(a.Breaks), len(b.Breaks), i, longer[i])
	}
	return nil
}

// checkPair returns nil for two histograms with equal breaks.
func checkPair(a, b *Histogram) error {
	if err := a.Validate(); err != nil {
		return fmt.Errorf("first histogram: %w", err)
	}
	if err := b.Validate(); err != nil {
		return fmt.Errorf("second histogram: %w", err)
	}
	return checkSameBreaks(a, b)
}

// sumName returns the name of a sum.
func sumName(hs []*Histogram) string {
	var names []string
	for _, h := range hs {
		if h.Name != "" {
			names = append(names, h.Name)
		}
	}
	switch n := len(names); {
	case n == 0:
		return ""
	case n == 1 && len(hs) == 1:
		return names[0]
	case n == 1:
		return "Merge of " + names[0] + " and others"
	case n > maxNames:
		return fmt.Sprintf("Merge of %s and %d others", strings.Join(names[:maxNames], ", "), len(hs)-maxNames)
	default:
		name := strings.Join(names[:n-1], ", ") + " and " + names[n-1]
		if n < len(hs) {
			name = strings.Join(names, ", ") + " and others"
		}
		return "Merge of " + name
	}
}

// maxNames is how many names the name of a sum holds at most.
const maxNames = 8

// Scale returns the histogram with each count times factor, which is finite and not negative, R's ScaleHistogram. The error
// wraps [ErrArgument] for another factor, and [ErrCounts] if a product is beyond float64. It costs O(n).
func (h *Histogram) Scale(factor float64) (*Histogram, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	if !(factor >= 0) || math.IsInf(factor, 1) {
		return nil, fmt.Errorf("%w: factor %v is not finite and at least 0", ErrArgument, factor)
	}
	scaled := h.Clone()
	for i := range scaled.Counts {
		scaled.Counts[i] *= factor
	}
	return scaled, checkCounts(scaled.Counts)
}

// Normalize returns the histogram with its counts divided by their sum, so that they are shares: what R's ScaleHistogram does without a factor.
// The error wraps [ErrEmpty] if the sum is 0. It costs O(n).
func (h *Histogram) Normalize() (*Histogram, error) {
	if err := h.checkNonEmpty(); err != nil {
		return nil, err
	}
	shares, err := h.shares()
	if err != nil {
		return nil, err
	}
	return &Histogram{slices.Clone(h.Breaks), shares, h.Name}, nil
}

// shares returns the counts divided by their sum, which is not 0.
func (h *Histogram) shares() ([]float64, error) {
	total := h.Count()
	if math.IsInf(total, 1) {
		return nil, fmt.Errorf("%w: their sum is more than a float64 holds", ErrCounts)
	}
	shares := make([]float64, len(h.Counts))
	for i, c := range h.Counts {
		shares[i] = c / total
	}
	return shares, nil
}

// Intersect returns the smaller of the two counts of each bucket, R's IntersectHistograms, without a name. The error is that of
// [Histogram.Validate] or wraps [ErrMismatch]. It costs O(n).
func Intersect(a, b *Histogram) (*Histogram, error) {
	if err := checkPair(a, b); err != nil {
		return nil, err
	}
	both := a.Clone()
	both.Name = ""
	for i, c := range b.Counts {
		both.Counts[i] = min(both.Counts[i], c)
	}
	return both, nil
}
