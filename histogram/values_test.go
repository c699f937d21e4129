package histogram

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

func TestBreaksOfValuesAreThoseOfR(t *testing.T) {
	data, err := os.ReadFile("testdata/breaks.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Values, Sturges, Scott, FD, Counts []float64 }
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 24 {
		t.Fatalf("%d cases", len(cases))
	}
	for i, c := range cases {
		f := func(rule string, got []float64, err error, want []float64) {
			t.Helper()
			if err != nil || !slices.EqualFunc(got, want, near) {
				t.Errorf("case %d, %s: %v, want %v, error %v", i, rule, got, want, err)
			}
		}
		sturges, err := SturgesBreaks(c.Values)
		f("Sturges", sturges, err, c.Sturges)
		scott, err := ScottBreaks(c.Values)
		f("Scott", scott, err, c.Scott)
		fd, err := FreedmanDiaconisBreaks(c.Values)
		f("Freedman–Diaconis", fd, err, c.FD)
		if h := must[*Histogram](t)(FromValues(c.Values, sturges, "")); !slices.Equal(h.Counts, c.Counts) {
			t.Errorf("case %d: counts %v, want %v", i, h.Counts, c.Counts)
		}
	}
}

// rules are all the rules for breaks.
var rules = map[string]func([]float64) ([]float64, error){
	"Sturges": SturgesBreaks, "Scott": ScottBreaks, "Freedman–Diaconis": FreedmanDiaconisBreaks,
	"log": func(values []float64) ([]float64, error) { return LogBreaks(values, 5) },
}

func TestBreaksCoverAllValues(t *testing.T) {
	rng := random(t)
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			for range trials {
				values := make([]float64, 1+rng.IntN(40))
				unit, shift := math.Exp(40*rng.NormFloat64()), math.Round(rng.NormFloat64())
				for i := range values {
					values[i] = unit * (shift + rng.NormFloat64())
					if rng.IntN(5) == 0 {
						values[i] = unit * math.Round(values[i]/unit)
					}
					if name == "log" {
						values[i] = max(math.Abs(values[i]), 5e-324)
					}
				}
				breaks, err := rule(values)
				if err != nil {
					t.Fatalf("%v: %v", values, err)
				}
				h, err := FromValues(values, breaks, "")
				if err != nil || h.Count() != float64(len(values)) {
					t.Errorf("%v on %v: %v, error %v", values, breaks, h, err)
				}
				if most := float64(len(values)); slices.Min(values) < slices.Max(values) && h.Counts[0]+h.Counts[h.Len()-1] == 0 {
					t.Errorf("%v of %v values are in the outer buckets of %v", 0, most, h)
				}
			}
		})
	}
}

func TestOneValueHasOneBucket(t *testing.T) {
	for name, rule := range rules {
		for _, x := range []float64{1, 3, 0.7, 1e300, 1e-300} {
			for _, values := range [][]float64{{x}, {x, x, x}} {
				breaks := must[[]float64](t)(rule(values))
				if len(breaks) != 2 || !(breaks[0] <= x && x <= breaks[1]) {
					t.Errorf("%s of %v: %v", name, values, breaks)
				}
			}
		}
	}
	if got := must[[]float64](t)(SturgesBreaks([]float64{0})); len(got) != 2 || got[1] != 0 {
		t.Errorf("%v", got)
	}
}

func TestLogBreaksArePowersOfTen(t *testing.T) {
	f := func(want []float64, perDecade int, values ...float64) {
		t.Helper()
		if got := must[[]float64](t)(LogBreaks(values, perDecade)); !slices.EqualFunc(got, want, near) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	f([]float64{1, 10, 100, 1000}, 1, 3, 200)
	f([]float64{1, 10}, 1, 1, 10)
	f([]float64{0.001, 0.01, 0.1}, 1, 0.001, 0.05)
	f([]float64{1, math.Sqrt(10), 10}, 2, 2, 9)
	f([]float64{10, 100}, 1, 10)
}

func TestValuesWithoutABucketAreRefusedByIndex(t *testing.T) {
	breaks := []float64{0, 1, 2}
	refused(t, second(FromValues([]float64{1, math.NaN()}, breaks, "")), ErrArgument, "value 1, NaN, is not from the first break, 0, to the last, 2")
	refused(t, second(FromValues([]float64{1, 2, 2.5}, breaks, "")), ErrArgument, "value 2, 2.5")
	refused(t, second(FromValues(nil, []float64{0, 0}, "")), ErrBreaks, "break 1")
	refused(t, second(SturgesBreaks(nil)), ErrEmpty, "no values")
	refused(t, second(ScottBreaks([]float64{1, math.Inf(1)})), ErrArgument, "value 1 is +Inf")
	refused(t, second(ScottBreaks([]float64{-1.5e308, 1.5e308})), ErrArgument, "value 0, -1.5e+308, and value 1, 1.5e+308, are farther apart")
	refused(t, second(LogBreaks([]float64{3, -1}, 1)), ErrArgument, "value 1, -1, is not more than 0")
	refused(t, second(LogBreaks([]float64{1, 2}, 0)), ErrArgument, "0 buckets for a decade")
	refused(t, second(LogBreaks([]float64{1e-300, 1e300}, 1e6)), ErrArgument, "more than 1048576")
	far := append(make([]float64, 1000), 1e12)
	for i := range far[:1000] {
		far[i] = float64(i)
	}
	refused(t, second(FreedmanDiaconisBreaks(far)), ErrArgument, "are more than 1048576")
}

func TestABucketHoldsItsUpperBreakAndTheFirstBoth(t *testing.T) {
	got := must[*Histogram](t)(FromValues([]float64{0, 1, 1.5, 2, 2, 3}, []float64{0, 1, 2, 3}, "n"))
	if want := (&Histogram{[]float64{0, 1, 2, 3}, []float64{2, 3, 1}, "n"}); !got.Equal(want) {
		t.Errorf("%v, want %v", got, want)
	}
}
