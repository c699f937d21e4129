package histogram

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

var (
	// ErrBreaks is wrapped by errors about breaks that make no buckets: fewer than two, NaN, not ascending, or infinite inside.
	ErrBreaks = errors.New("unsound breaks")
	// ErrCounts is wrapped by errors about counts: not as many as buckets, negative, NaN or infinite, or too much for a format.
	ErrCounts = errors.New("unsound counts")
	// ErrMismatch is wrapped by errors about histograms whose breaks differ where they must be equal.
	ErrMismatch = errors.New("the breaks of two histograms differ")
	// ErrEmpty is wrapped by errors of questions that a histogram of nothing cannot answer.
	ErrEmpty = errors.New("the histogram counts nothing")
	// ErrInfinite is wrapped by errors of what has no answer while a bucket reaches to infinity.
	ErrInfinite = errors.New("a bucket reaches to infinity")
	// ErrArgument is wrapped by errors about other arguments that are out of range.
	ErrArgument = errors.New("an argument is out of range")
	// ErrEncoding is wrapped by errors about bytes and texts that are no histogram; the text says what is wrong and where.
	ErrEncoding = errors.New("not a histogram")
)

// Histogram is what a data set looks like through buckets. The zero value is not a histogram; [Histogram.Validate] says what is
// missing. Functions of this package check the histograms they are given, and return its error for one that is unsound.
type Histogram struct {
	// Breaks are the n+1 boundaries of n ≥ 1 buckets, ascending. The first may be -Inf and the last +Inf.
	Breaks []float64
	// Counts are the n counts: finite and not negative. They are whole numbers unless a histogram was scaled or spread.
	Counts []float64
	// Name says what was counted. It may be empty.
	Name string
}

// New returns a histogram of copies of breaks and counts, or the error of [Histogram.Validate]. It costs O(n).
func New(breaks, counts []float64, name string) (*Histogram, error) {
	h := &Histogram{slices.Clone(breaks), slices.Clone(counts), name}
	if err := h.Validate(); err != nil {
		return nil, err
	}
	return h, nil
}

// Validate returns nil if the fields are as the type says. Otherwise the error names the first index that is wrong and what
// stands there; it wraps [ErrBreaks] or [ErrCounts]. It costs O(n).
func (h *Histogram) Validate() error {
	if err := checkBreaks(h.Breaks); err != nil {
		return err
	}
	if len(h.Counts) != len(h.Breaks)-1 {
		return fmt.Errorf("%w: %d of them for %d breaks, which have %d buckets", ErrCounts, len(h.Counts), len(h.Breaks), len(h.Breaks)-1)
	}
	return checkCounts(h.Counts)
}

func checkBreaks(breaks []float64) error {
	if len(breaks) < 2 {
		return fmt.Errorf("%w: there are %d, and a bucket needs 2", ErrBreaks, len(breaks))
	}
	for i, b := range breaks {
		switch {
		case math.IsNaN(b):
			return fmt.Errorf("%w: break %d is NaN", ErrBreaks, i)
		case i > 0 && b == breaks[i-1]:
			return fmt.Errorf("%w: break %d, %v, is the one before again", ErrBreaks, i, b)
		case i > 0 && b < breaks[i-1]:
			return fmt.Errorf("%w: break %d, %v, is less than the one before, %v", ErrBreaks, i, b, breaks[i-1])
		case i == 0 && math.IsInf(b, 1) || i == len(breaks)-1 && math.IsInf(b, -1): // the only ones not caught by the order
			return fmt.Errorf("%w: break %d is %v", ErrBreaks, i, b)
		}
	}
	return nil
}

func checkCounts(counts []float64) error {
	for i, c := range counts {
		if !(c >= 0) || math.IsInf(c, 1) {
			return fmt.Errorf("%w: count %d is %v", ErrCounts, i, c)
		}
	}
	return nil
}

// checkNonEmpty returns the error of Validate, or one that wraps [ErrEmpty].
func (h *Histogram) checkNonEmpty() error {
	if err := h.Validate(); err != nil {
		return err
	}
	for _, c := range h.Counts {
		if c > 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: all its %d counts are 0", ErrEmpty, len(h.Counts))
}

// checkFinite returns an error that wraps [ErrInfinite] if a break is infinite.
func (h *Histogram) checkFinite() error {
	last := len(h.Breaks) - 1
	for _, i := range []int{0, last} {
		if math.IsInf(h.Breaks[i], 0) {
			return fmt.Errorf("%w: break %d is %v", ErrInfinite, i, h.Breaks[i])
		}
	}
	if math.IsInf(h.Breaks[last]-h.Breaks[0], 0) {
		return fmt.Errorf("%w: from break 0, %v, to break %d, %v, is more than a float64 holds", ErrInfinite, h.Breaks[0], last, h.Breaks[last])
	}
	return nil
}

// Clone returns a copy that shares no memory. It costs O(n).
func (h *Histogram) Clone() *Histogram {
	return &Histogram{slices.Clone(h.Breaks), slices.Clone(h.Counts), h.Name}
}

// Equal says whether breaks, counts and names are equal. It costs O(n).
func (h *Histogram) Equal(other *Histogram) bool {
	return slices.Equal(h.Breaks, other.Breaks) && slices.Equal(h.Counts, other.Counts) && h.Name == other.Name
}

// Len returns the number of buckets.
func (h *Histogram) Len() int { return len(h.Counts) }

// Bounds returns the breaks around bucket i, from 0 to Len()−1. It panics for another i.
func (h *Histogram) Bounds(i int) (lower, upper float64) { return h.Breaks[i], h.Breaks[i+1] }

// Midpoint returns the middle of bucket i, from 0 to Len()−1; infinite if the bucket is. It panics for another i.
func (h *Histogram) Midpoint(i int) float64 {
	lower, upper := h.Bounds(i)
	if mid := (lower + upper) / 2; !math.IsInf(mid, 0) {
		return mid
	}
	return lower/2 + upper/2 // a sum of finite breaks may be beyond float64
}

// String returns the name and the buckets on one line, such as "latency: [0, 1] 3, (1, 2] 0", for messages and for debugging.
func (h *Histogram) String() string {
	var b strings.Builder
	if h.Name != "" {
		b.WriteString(h.Name + ": ")
	}
	for i := range min(len(h.Counts), max(len(h.Breaks)-1, 0)) {
		open, end, separator := '(', ']', ", "
		if i == 0 {
			open, separator = '[', ""
		}
		if math.IsInf(h.Breaks[i], 0) {
			open = '('
		}
		if math.IsInf(h.Breaks[i+1], 0) {
			end = ')'
		}
		fmt.Fprintf(&b, "%s%c%s, %s%c %s", separator, open, number(h.Breaks[i]), number(h.Breaks[i+1]), end, number(h.Counts[i]))
	}
	return b.String()
}

// number returns the shortest text that reads back as x.
func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
