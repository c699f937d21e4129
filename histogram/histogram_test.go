package histogram

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// random returns a generator, whose seed it prints.
func random(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 6))
}

// of makes a histogram of breaks and counts, and does not check it.
func of(breaks []float64, counts ...float64) *Histogram { return &Histogram{breaks, counts, ""} }

// randomBreaks returns n+1 breaks.
func randomBreaks(rng *rand.Rand, n int) []float64 {
	breaks := []float64{math.Round(20*rng.NormFloat64()) / 4}
	for range n {
		breaks = append(breaks, breaks[len(breaks)-1]+float64(1+rng.IntN(12))/4)
	}
	return breaks
}

// randomOn returns a histogram on breaks that counts something.
func randomOn(rng *rand.Rand, breaks []float64) *Histogram {
	h := &Histogram{breaks, make([]float64, len(breaks)-1), ""}
	for i := range h.Counts {
		if rng.IntN(3) > 0 {
			h.Counts[i] = float64(rng.IntN(30))
		}
	}
	h.Counts[rng.IntN(len(h.Counts))] += 1
	return h
}

func randomHistogram(rng *rand.Rand) *Histogram {
	return randomOn(rng, randomBreaks(rng, 1+rng.IntN(12)))
}

// randomValues returns values that a histogram counts as they are counted: the breaks themselves are likely.
func randomValues(rng *rand.Rand, h *Histogram) []float64 {
	var values []float64
	for i, c := range h.Counts {
		for range int(c) {
			lower, upper := h.Bounds(i)
			x := upper - (upper-lower)*rng.Float64() // not the lower break
			if rng.IntN(4) == 0 {
				x = upper
			}
			if i == 0 && rng.IntN(4) == 0 {
				x = lower
			}
			values = append(values, x)
		}
	}
	return values
}

// refused checks an error.
func refused(t *testing.T, err, sentinel error, want string) {
	t.Helper()
	if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want one with %q that wraps %q", err, want, sentinel)
	}
}

func TestUnsoundHistogramsAreRefusedWithTheIndexAndTheValue(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	f := func(breaks, counts []float64, sentinel error, want string) {
		t.Helper()
		_, err := New(breaks, counts, "")
		refused(t, err, sentinel, want)
		h := &Histogram{breaks, counts, ""}
		_, err = h.Mean()
		refused(t, err, sentinel, want)
		_, err = Add(of([]float64{0, 1, 2}, 1, 1), h)
		refused(t, err, sentinel, "histogram 1: ")
		refused(t, err, sentinel, want)
	}
	f(nil, nil, ErrBreaks, "there are 0")
	f([]float64{1}, nil, ErrBreaks, "there are 1")
	f([]float64{0, 2, 1}, []float64{1, 1}, ErrBreaks, "break 2, 1, is less than the one before, 2")
	f([]float64{0, 2, 2}, []float64{1, 1}, ErrBreaks, "break 2, 2, is the one before again")
	f([]float64{0, nan, 2}, []float64{1, 1}, ErrBreaks, "break 1 is NaN")
	f([]float64{inf, 2}, []float64{1}, ErrBreaks, "break 0 is +Inf")
	f([]float64{0, inf, inf}, []float64{1, 1}, ErrBreaks, "break 2, +Inf, is the one before again")
	f([]float64{0, 1, 2}, []float64{1}, ErrCounts, "1 of them for 3 breaks, which have 2 buckets")
	f([]float64{0, 1, 2}, []float64{1, 1, 1}, ErrCounts, "3 of them for 3 breaks")
	f([]float64{0, 1, 2}, []float64{1, -3}, ErrCounts, "count 1 is -3")
	f([]float64{0, 1, 2}, []float64{nan, 1}, ErrCounts, "count 0 is NaN")
	f([]float64{0, 1, 2}, []float64{1, inf}, ErrCounts, "count 1 is +Inf")
	if _, err := New([]float64{-inf, 0, inf}, []float64{1, 2}, ""); err != nil {
		t.Error(err)
	}
	refused(t, of([]float64{math.Inf(-1), -inf}, 1).Validate(), ErrBreaks, "break 1")
}

func TestIncompatiblePairsAreRefusedWithTheIndexAndTheValues(t *testing.T) {
	a := of([]float64{0, 1, 2}, 1, 1)
	functions := map[string]func(a, b *Histogram) error{
		"Add":       func(a, b *Histogram) error { _, err := Add(a, b); return err },
		"Intersect": func(a, b *Histogram) error { _, err := Intersect(a, b); return err },
		"Minkowski": func(a, b *Histogram) error { _, err := Minkowski(a, b, 2); return err },
	}
	for name, d := range distances {
		functions[name] = func(a, b *Histogram) error { _, err := d.of(a, b); return err }
	}
	for name, apply := range functions {
		t.Run(name, func(t *testing.T) {
			refused(t, apply(a, of([]float64{0, 1.5, 2}, 1, 1)), ErrMismatch, "break 1 is 1 and 1.5")
			refused(t, apply(a, of([]float64{0, 1, 2, 4}, 1, 1, 1)), ErrMismatch, "one has 3 of them and the other 4, from break 3, 4, on")
			refused(t, apply(a, of([]float64{0, 1}, 1)), ErrMismatch, "one has 3 of them and the other 2, from break 2, 2, on")
		})
	}
}

func TestNothingIsChangedAndNothingIsShared(t *testing.T) {
	rng := random(t)
	h := randomHistogram(rng)
	other := randomOn(rng, slices.Clone(h.Breaks))
	before, otherBefore := h.Clone(), other.Clone()
	results := []func() (*Histogram, error){
		h.Trim, h.TrimLeft, h.TrimRight, h.Normalize,
		func() (*Histogram, error) { return h.Scale(2) },
		func() (*Histogram, error) { return Add(h) },
		func() (*Histogram, error) { return Add(h, other) },
		func() (*Histogram, error) { return Intersect(h, other) },
		func() (*Histogram, error) { return h.MergeBuckets(1) },
		func() (*Histogram, error) { return h.MergeBucketsAt(h.Breaks) },
		func() (*Histogram, error) { return h.Subset(math.Inf(-1), math.Inf(1)) },
		func() (*Histogram, error) { return h.Rebin(h.Len()) },
		func() (*Histogram, error) { return h.Onto(h.Breaks) },
		func() (*Histogram, error) { s, _, err := AddOnto(h.Breaks, h, other); return s, err },
		func() (*Histogram, error) { return New(h.Breaks, h.Counts, h.Name) },
	}
	for i, f := range results {
		got, err := f()
		if err != nil {
			t.Fatal(err)
		}
		for j := range got.Counts {
			got.Counts[j] = -7
			got.Breaks[j] = -7
		}
		if !h.Equal(before) || !other.Equal(otherBefore) {
			t.Fatalf("result %d shares memory", i)
		}
	}
}

func TestSumsHaveTheNamesOfWhatWasAdded(t *testing.T) {
	f := func(want string, names ...string) {
		t.Helper()
		var hs []*Histogram
		for _, name := range names {
			hs = append(hs, &Histogram{[]float64{0, 1}, []float64{1}, name})
		}
		sum := must[*Histogram](t)(Add(hs...))
		if sum.Name != want || sum.Counts[0] != float64(len(hs)) {
			t.Errorf("%v, want %q", sum, want)
		}
	}
	f("", "")
	f("a", "a")
	f("Merge of a and b", "a", "b")
	f("Merge of a, b and c", "a", "b", "c")
	f("Merge of a and others", "a", "")
	f("Merge of a, b and others", "a", "", "b")
	f("Merge of 1, 2, 3, 4, 5, 6, 7, 8 and 2 others", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
	_, err := Add()
	refused(t, err, ErrArgument, "no histogram to add")
	most := of([]float64{0, 1}, math.MaxFloat64)
	_, err = Add(most, most)
	refused(t, err, ErrCounts, "sum: unsound counts: count 0 is +Inf")
}

func TestArgumentsOutOfRangeAreRefusedByName(t *testing.T) {
	h := of([]float64{0, 1, 2, 4}, 1, 0, 2)
	f := func(_ *Histogram, err error) func(want string) {
		return func(want string) {
			t.Helper()
			refused(t, err, ErrArgument, want)
		}
	}
	f(h.Scale(-1))("factor -1")
	f(h.Scale(math.NaN()))("factor NaN")
	f(h.Subset(0, 3))("upper 3 is no break; it is between break 2, 2, and break 3, 4")
	f(h.Subset(-1, 2))("lower -1 is no break; the first is 0")
	f(h.Subset(0, 9))("upper 9 is no break; the last, break 3, is 4")
	f(h.Subset(2, 1))("lower 2 is not less than upper 1")
	f(h.MergeBuckets(0))("0 buckets to merge")
	f(h.MergeBucketsTo(0))("0 buckets to leave")
	f(h.MergeBucketsAt([]float64{0, 3, 4}))("break 1, 3, is none of the histogram's; it is between break 2, 2, and break 3, 4")
	f(h.MergeBucketsAt([]float64{1, 4}))("break 0 is 1, and not 0")
	f(h.MergeBucketsAt([]float64{0, 2}))("break 1 is 2, and not 4")
	f(h.MergeBucketsAt([]float64{0, 9}))("break 1, 9, is none of the histogram's; the last, break 3, is 4")
	f(h.Rebin(0))("0 buckets to leave is not from 1 to 3")
	f(h.RebinLeastSquares(4))("4 buckets to leave is not from 1 to 3")
	f(h.Onto([]float64{1, 4}))("bucket 0, from 0 to 1, counts 1, and is not within the breaks from 1 to 4")
	_, err := h.MergeBucketsAt([]float64{0, 2, 1, 4})
	refused(t, err, ErrBreaks, "break 2, 1")
	_, err = h.Quantiles([]float64{0.5, 1.5})
	refused(t, err, ErrArgument, "quantile 1, 1.5, is not from 0 to 1")
	_, err = h.ECDF(Constant(2))
	refused(t, err, ErrArgument, "f 0, 2,")
	_, err = must[*ECDF](t)(h.ECDF(Linear())).Inverse(math.NaN())
	refused(t, err, ErrArgument, "share 0, NaN")
	_, err = Minkowski(h, h, 0)
	refused(t, err, ErrArgument, "p 0")
	even := of([]float64{0, 1, 2}, 1, 1)
	_, err = even.AverageShifted(0, Kernel{})
	refused(t, err, ErrArgument, "m 0")
	_, err = even.AverageShifted(2, Kernel{A: 2})
	refused(t, err, ErrArgument, "kernel {2 0} has 0")
	_, err = h.AverageShifted(2, Kernel{})
	refused(t, err, ErrBreaks, "bucket 0, from 0 to 1, is 1 wide")
}

func TestWhatCountsNothingAnswersNothing(t *testing.T) {
	h := of([]float64{0, 1, 2}, 0, 0)
	for name, err := range map[string]error{
		"mean":      second(h.Mean()),
		"quantile":  second(h.Quantile(0.5)),
		"KSDCC":     second(h.KSDCC()),
		"EMDCC":     second(h.EMDCC()),
		"trim":      second(h.Trim()),
		"normalize": second(h.Normalize()),
		"ECDF":      second(h.ECDF(Linear())),
		"rebin":     second(h.Rebin(1)),
		"shifted":   second(h.AverageShifted(1, Kernel{})),
	} {
		t.Run(name, func(t *testing.T) { refused(t, err, ErrEmpty, "all its 2 counts are 0") })
	}
	refused(t, second(Intersection(of(h.Breaks, 1, 1), h)), ErrEmpty, "second histogram")
	refused(t, second(Hellinger(h, of(h.Breaks, 1, 1))), ErrEmpty, "first histogram")
	_, _, err := AddOnto(h.Breaks, h)
	refused(t, err, ErrEmpty, "")
	if got := h.Count(); got != 0 {
		t.Errorf("count %v", got)
	}
}

// second returns the error of a result.
func second[T any](_ T, err error) error { return err }

func TestBucketsToInfinityHaveNoMiddle(t *testing.T) {
	inf := math.Inf(1)
	h := of([]float64{-inf, 0, 2, inf}, 0, 4, 1)
	refused(t, second(h.Mean()), ErrInfinite, "bucket 2, from 2 to +Inf, has no middle, and counts 1")
	refused(t, second(h.Quantile(0.5)), ErrInfinite, "bucket 2")
	refused(t, second(h.EMDCC()), ErrInfinite, "break 0 is -Inf")
	refused(t, second(h.Rebin(2)), ErrInfinite, "break 0 is -Inf")
	refused(t, second(Wasserstein(h, h)), ErrInfinite, "bucket 2, from 2 to +Inf, counts 1 and 1")
	empty := of(h.Breaks, 0, 4, 0)
	if got := must[float64](t)(empty.Mean()); got != 1 {
		t.Errorf("mean %v, want 1: buckets that count nothing do not matter", got)
	}
	if got := must[float64](t)(Wasserstein(empty, empty)); got != 0 {
		t.Errorf("distance %v, want 0", got)
	}
	if got := must[float64](t)(h.KSDCC()); got != 0.8 {
		t.Errorf("KSDCC %v, want 0.8", got)
	}
	e := must[*ECDF](t)(h.ECDF(Linear()))
	for _, at := range []struct{ x, want float64 }{{-1e9, 0}, {1, 0.4}, {2, 0.8}, {1e9, 0.8}, {inf, 1}} {
		if got := e.At(at.x); got != at.want {
			t.Errorf("share up to %v: %v, want %v", at.x, got, at.want)
		}
	}
	if got := must[float64](t)(e.Inverse(0.9)); got != inf {
		t.Errorf("inverse %v", got)
	}
}

func TestLargeNumbersDoNotOverflow(t *testing.T) {
	most := math.MaxFloat64
	h := of([]float64{most / 2, most}, 3)
	if got := must[float64](t)(h.Mean()); got != most*0.75 {
		t.Errorf("mean %v", got)
	}
	if got := h.Midpoint(0); got != most*0.75 {
		t.Errorf("middle %v", got)
	}
	wide := of([]float64{-most, 0, most}, 1, 1)
	refused(t, second(wide.EMDCC()), ErrInfinite, "from break 0, -1.797")
	e := must[*ECDF](t)(of([]float64{-most, most}, 1).ECDF(Linear()))
	if got := e.At(0); got != 0.5 {
		t.Errorf("share %v", got)
	}
	if got := must[float64](t)(e.Inverse(0.5)); got != 0 {
		t.Errorf("inverse %v", got)
	}
	if got := must[float64](t)(Minkowski(of([]float64{0, 1, 2}, 1e300, 0), of([]float64{0, 1, 2}, 0, 1e300), 2)); !near(got, 1e300*math.Sqrt2) {
		t.Errorf("distance %v", got)
	}
}

func TestHistogramsPrintTheirBuckets(t *testing.T) {
	f := func(h *Histogram, want string) {
		t.Helper()
		if got := h.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	f(&Histogram{[]float64{0, 1, 2.5}, []float64{3, 0.5}, "latency"}, "latency: [0, 1] 3, (1, 2.5] 0.5")
	f(of([]float64{math.Inf(-1), 0, math.Inf(1)}, 1, 2), "(-Inf, 0] 1, (0, +Inf) 2")
	f(new(Histogram), "")
}
