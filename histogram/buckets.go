package histogram

import (
	"fmt"
	"math"
	"slices"
)

// Trim returns the histogram without the empty buckets at both ends, R's TrimHistogram. The error wraps [ErrEmpty] if all are empty.
// It costs O(n).
func (h *Histogram) Trim() (*Histogram, error) { return h.trim(true, true) }

// TrimLeft is [Histogram.Trim] for the lower end only.
func (h *Histogram) TrimLeft() (*Histogram, error) { return h.trim(true, false) }

// TrimRight is [Histogram.Trim] for the upper end only.
func (h *Histogram) TrimRight() (*Histogram, error) { return h.trim(false, true) }

func (h *Histogram) trim(left, right bool) (*Histogram, error) {
	if err := h.checkNonEmpty(); err != nil {
		return nil, err
	}
	first, last := 0, len(h.Counts)-1
	for left && h.Counts[first] == 0 {
		first++
	}
	for right && h.Counts[last] == 0 {
		last--
	}
	return h.part(first, last+1), nil
}

// part returns the buckets from first to before end.
func (h *Histogram) part(first, end int) *Histogram {
	return &Histogram{slices.Clone(h.Breaks[first : end+1]), slices.Clone(h.Counts[first:end]), h.Name}
}

// Subset returns the buckets from the break lower to the break upper, R's SubsetHistogram. -Inf stands for the first break and
// +Inf for the last. The error wraps [ErrArgument] if one of the two is no break, or if lower is not less than upper. It costs O(n).
func (h *Histogram) Subset(lower, upper float64) (*Histogram, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	first, end := 0, len(h.Counts)
	for _, side := range []struct {
		name  string
		value float64
		all   int
		at    *int
	}{{"lower", lower, -1, &first}, {"upper", upper, 1, &end}} {
		if math.IsInf(side.value, side.all) {
			continue
		}
		i, found := slices.BinarySearch(h.Breaks, side.value)
		if !found {
			return nil, fmt.Errorf("%w: %s %v is no break; %s", ErrArgument, side.name, side.value, h.around(i))
		}
		*side.at = i
	}
	if first >= end {
		return nil, fmt.Errorf("%w: lower %v is not less than upper %v", ErrArgument, lower, upper)
	}
	return h.part(first, end), nil
}

// around names the breaks next to a value that would be at index i of the breaks.
func (h *Histogram) around(i int) string {
	switch {
	case i == 0:
		return fmt.Sprintf("the first is %v", h.Breaks[0])
	case i == len(h.Breaks):
		return fmt.Sprintf("the last, break %d, is %v", i-1, h.Breaks[i-1])
	}
	return fmt.Sprintf("it is between break %d, %v, and break %d, %v", i-1, h.Breaks[i-1], i, h.Breaks[i])
}

// MergeBuckets returns the histogram with each k ≥ 1 neighbouring buckets merged into one, from the lower end on; the last may be of
// fewer. This is R's MergeBuckets with adj.buckets. The error wraps [ErrArgument] for k < 1. It costs O(n).
func (h *Histogram) MergeBuckets(k int) (*Histogram, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	if k < 1 {
		return nil, fmt.Errorf("%w: %d buckets to merge into one is less than 1", ErrArgument, k)
	}
	var ends []int
	for end := k; end < len(h.Counts); end += k {
		ends = append(ends, end)
		if end > math.MaxInt-k {
			break
		}
	}
	return h.merge(append(ends, len(h.Counts))), nil
}

// MergeBucketsTo returns the histogram with neighbouring buckets merged, equally many into each but for the last, so that at most n ≥ 1 are left:
// ⌈Len/n⌉ become one. This is R's MergeBuckets with a number of breaks, and like that it may leave fewer than n. [Histogram.Rebin] leaves
// exactly n. The error wraps [ErrArgument] for n < 1. It costs O(n).
func (h *Histogram) MergeBucketsTo(n int) (*Histogram, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	if n < 1 {
		return nil, fmt.Errorf("%w: %d buckets to leave is less than 1", ErrArgument, n)
	}
	return h.MergeBuckets((len(h.Counts)-1)/n + 1)
}

// MergeBucketsAt returns the histogram on some of its breaks, of which the first and the last are the histogram's own. This is R's
// MergeBuckets with breaks. The error wraps [ErrBreaks] for breaks that make no buckets, and [ErrArgument], with the index and the value, for one
// that is none of the histogram's, and for other ends. It costs O(n).
func (h *Histogram) MergeBucketsAt(breaks []float64) (*Histogram, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	if err := checkBreaks(breaks); err != nil {
		return nil, err
	}
	var ends []int
	at := 0
	for i, b := range breaks {
		for at < len(h.Breaks) && h.Breaks[at] < b {
			at++
		}
		if at == len(h.Breaks) || h.Breaks[at] != b {
			return nil, fmt.Errorf("%w: break %d, %v, is none of the histogram's; %s", ErrArgument, i, b, h.around(at))
		}
		if i == 0 && at != 0 {
			return nil, fmt.Errorf("%w: break 0 is %v, and not %v as the histogram's; Subset leaves buckets out", ErrArgument, b, h.Breaks[0])
		}
		if i > 0 {
			ends = append(ends, at)
		}
	}
	if last := len(h.Breaks) - 1; at != last {
		return nil, fmt.Errorf("%w: break %d is %v, and not %v as the histogram's last; Subset leaves buckets out", ErrArgument, len(breaks)-1, h.Breaks[at], h.Breaks[last])
	}
	return h.merge(ends), nil
}

// merge merges the buckets up to each of the ends, ascending, of which the last is all.
func (h *Histogram) merge(ends []int) *Histogram {
	merged := &Histogram{Breaks: make([]float64, 1, len(ends)+1), Counts: make([]float64, 0, len(ends)), Name: h.Name}
	merged.Breaks[0] = h.Breaks[0]
	from := 0
	for _, end := range ends {
		sum := 0.0
		for _, c := range h.Counts[from:end] {
			sum += c
		}
		merged.Breaks = append(merged.Breaks, h.Breaks[end])
		merged.Counts = append(merged.Counts, sum)
		from = end
	}
	return merged
}
