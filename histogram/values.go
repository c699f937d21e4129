package histogram

import (
	"fmt"
	"math"
	"slices"
)

// FromValues returns the histogram of values on the breaks: a bucket holds its upper break, and the first both of its own, as R's hist() has it by default but
// without its tolerance for values next to a break.
//
// The error wraps [ErrBreaks] for breaks that make no buckets, and [ErrArgument], with the index, for a value that is NaN or outside of the
// breaks. It costs O(m·log n) for m values.
func FromValues(values, breaks []float64, name string) (*Histogram, error) {
	if err := checkBreaks(breaks); err != nil {
		return nil, err
	}
	h := &Histogram{slices.Clone(breaks), make([]float64, len(breaks)-1), name}
	last := len(breaks) - 1
	for i, x := range values {
		if !(x >= breaks[0] && x <= breaks[last]) {
			return nil, fmt.Errorf("%w: value %d, %v, is not from the first break, %v, to the last, %v", ErrArgument, i, x, breaks[0], breaks[last])
		}
		at, _ := slices.BinarySearch(breaks, x) // the first break that is not less
		h.Counts[max(at-1, 0)]++
	}
	return h, nil
}

// SturgesBreaks returns breaks at round numbers that cover the values, for about 1 + log₂ n buckets where n values are given. It suits values that are about normally
// distributed, and not too many. R's hist() has it by default.
//
// The error wraps [ErrEmpty] without values, and [ErrArgument], with the index, for one that is not finite, or if values are too far apart for
// float64. It costs O(n).
//
// Source: Sturges, "The choice of a class interval", Journal of the American Statistical Association 21 (1926).
func SturgesBreaks(values []float64) ([]float64, error) {
	low, high, err := spanOf(values)
	if err != nil {
		return nil, err
	}
	return roundBreaks(low, high, math.Ceil(math.Log2(float64(len(values)))+1))
}

// ScottBreaks returns breaks at round numbers that cover the values, for buckets about 3.5·s·n^(−1/3) wide, where s is the standard deviation of n values. It is best for
// values that are normally distributed. The error is that of [SturgesBreaks], or wraps [ErrArgument] for more than [MaxBuckets] buckets. It costs O(n).
//
// Source: Scott, "On optimal and data-based histograms", Biometrika 66 (1979).
func ScottBreaks(values []float64) ([]float64, error) {
	low, high, err := spanOf(values)
	if err != nil {
		return nil, err
	}
	return breaksOfWidth(low, high, 3.5*deviation(values)/math.Cbrt(float64(len(values))))
}

// FreedmanDiaconisBreaks returns breaks at round numbers that cover the values, for buckets about 2·IQR·n^(−1/3) wide, where IQR is the distance of the quartiles of n
// values. A few values far out do not widen the buckets. If the quartiles are equal it is [ScottBreaks], where R tries quantiles farther out before. The error is that of
// [ScottBreaks]. It costs O(n·log n).
//
// Source: Freedman and Diaconis, "On the histogram as a density estimator: L₂ theory", Zeitschrift für Wahrscheinlichkeitstheorie 57 (1981).
func FreedmanDiaconisBreaks(values []float64) ([]float64, error) {
	low, high, err := spanOf(values)
	if err != nil {
		return nil, err
	}
	sorted := slices.Sorted(slices.Values(values))
	width := 2 * (sample(sorted, 0.75) - sample(sorted, 0.25)) / math.Cbrt(float64(len(values)))
	if width == 0 {
		return ScottBreaks(values)
	}
	return breaksOfWidth(low, high, width)
}

// LogBreaks returns the breaks 10^(k/perDecade) that cover the values, which are more than 0: buckets whose ends have one ratio, as suits durations and sizes.
// The least value is in the first bucket and the greatest in the last.
//
// The error wraps [ErrEmpty] without values, and [ErrArgument] for a value, named by its index, that is not finite and more than 0, for perDecade < 1, and for more than
// [MaxBuckets] buckets. It costs O(n).
func LogBreaks(values []float64, perDecade int) ([]float64, error) {
	low, high, err := spanOf(values)
	if err != nil {
		return nil, err
	}
	if low <= 0 {
		return nil, fmt.Errorf("%w: value %d, %v, is not more than 0, and has no logarithm", ErrArgument, slices.Index(values, low), low)
	}
	if perDecade < 1 || perDecade > MaxBuckets {
		return nil, fmt.Errorf("%w: %d buckets for a decade is not from 1 to %d", ErrArgument, perDecade, MaxBuckets)
	}
	at := func(k float64) float64 { return math.Pow(10, k/float64(perDecade)) }
	first := math.Floor(math.Log10(low) * float64(perDecade))
	for at(first) > low { // the logarithm may be rounded up
		first--
	}
	var breaks []float64
	for k := first; ; k++ {
		b := at(k)
		if math.IsInf(b, 1) {
			b = math.MaxFloat64
		}
		if n := len(breaks); n > 0 && b <= breaks[n-1] {
			return nil, fmt.Errorf("%w: %d buckets for a decade are too narrow for float64 at %v", ErrArgument, perDecade, b)
		}
		if breaks = append(breaks, b); len(breaks) > 1 && b >= high {
			return breaks, nil
		}
		if len(breaks) > MaxBuckets {
			return nil, fmt.Errorf("%w: %d buckets for a decade are more than %d from %v to %v", ErrArgument, perDecade, MaxBuckets, low, high)
		}
	}
}

// MaxBuckets is how many buckets the rules for breaks make, and the decoders of short encodings accept.
const MaxBuckets = 1 << 20

// spanOf returns the least and the greatest of values.
func spanOf(values []float64) (low, high float64, err error) {
	if len(values) == 0 {
		return 0, 0, fmt.Errorf("%w: there are no values", ErrEmpty)
	}
	for i, x := range values {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return 0, 0, fmt.Errorf("%w: value %d is %v", ErrArgument, i, x)
		}
	}
	low, high = slices.Min(values), slices.Max(values)
	if math.IsInf(high-low, 1) {
		return 0, 0, fmt.Errorf("%w: value %d, %v, and value %d, %v, are farther apart than a float64 holds", ErrArgument, slices.Index(values, low), low, slices.Index(values, high), high)
	}
	return low, high, nil
}

// deviation returns the standard deviation of values, with n−1; 0 for one value.
func deviation(values []float64) float64 {
	if len(values) < 2 {
		return 0
	}
	mean := 0.0
	for i, x := range values {
		mean += (x - mean) / float64(i+1)
	}
	scale := 0.0 // so that no square is beyond float64
	for _, x := range values {
		scale = max(scale, math.Abs(x-mean))
	}
	if scale == 0 {
		return 0
	}
	sum := 0.0
	for _, x := range values {
		d := (x - mean) / scale
		sum += d * d
	}
	return scale * math.Sqrt(sum/float64(len(values)-1))
}

// sample returns the quantile q of sorted values, with linear interpolation between ranks.
func sample(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// breaksOfWidth returns round breaks for buckets that are about as wide, and for one bucket if width is 0.
func breaksOfWidth(low, high, width float64) ([]float64, error) {
	if width == 0 {
		return roundBreaks(low, high, 1)
	}
	return roundBreaks(low, high, max(1, math.Ceil((high-low)/width)))
}

// roundBreaks returns breaks at multiples of 1, 2 or 5 times a power of ten that cover all from low to high, for about the given number of buckets. As in R's
// pretty(), a width that is wanted is rounded up to 2, 5 or 10 from 1.4, 2.8 and 7 on.
//
// Source for the numbers: pretty() with its default biases, which favours the greater width 1.5 times as much.
func roundBreaks(low, high, buckets float64) ([]float64, error) {
	if buckets > MaxBuckets {
		return nil, fmt.Errorf("%w: %v buckets from %v to %v are more than %d", ErrArgument, buckets, low, high, MaxBuckets)
	}
	width := (high - low) / buckets
	if least := max(math.Abs(low), math.Abs(high)) * 1e-10; width < least || width == 0 { // one value, or nearly
		width = max(least, 5e-300)
		if high == low {
			width = max(math.Abs(low)*0.1, 5e-300)
			if low == 0 {
				width = 1
			}
		}
	}
	exponent := math.Floor(math.Log10(width))
	unit := math.Pow(10, exponent)
	switch times := width / unit; {
	case times > 7:
		unit *= 10
	case times > 2.8:
		unit *= 5
	case times > 1.4:
		unit *= 2
	}
	// Multiples of a power of ten below 1 are quotients: 3/10 is nearer to 0.3 than 3·0.1 is.
	multiple := func(k float64) float64 {
		if unit < 1 {
			if per := math.Round(1 / unit); per < 1<<53 {
				return k / per
			}
		}
		return k * unit
	}
	const tolerance = 1e-7 // of a width, as far as values may lie beyond a break and be rounding
	first, last := math.Floor(low/unit+tolerance), math.Ceil(high/unit-tolerance)
	for multiple(first) > low {
		first--
	}
	for multiple(last) < high {
		last++
	}
	if last == first {
		first-- // a bucket holds its upper break
	}
	var breaks []float64
	for k := first; k <= last; k++ {
		breaks = append(breaks, multiple(k)+0) // -0 is 0
	}
	if err := checkBreaks(breaks); err != nil {
		return nil, fmt.Errorf("%w: %v to %v is too narrow for breaks of float64: %w", ErrArgument, low, high, err)
	}
	if math.IsInf(breaks[0], 0) || math.IsInf(breaks[len(breaks)-1], 0) {
		return nil, fmt.Errorf("%w: there are no round breaks around %v and %v in float64", ErrArgument, low, high)
	}
	return breaks, nil
}
