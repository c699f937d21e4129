package histogram

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// answers is what the R package answered.
type answers struct {
	Cases  map[string]answersOfOne  `json:"cases"`
	Pairs  map[string]answersOfPair `json:"pairs"`
	DTrace map[string]*Histogram    `json:"dtrace"`
}

type answersOfOne struct {
	Histogram *Histogram
	Count     float64
	Mean      float64
	Probs     []float64
	Quantiles []float64
	KSDCC     float64
	EMDCC     float64
	ECDF      struct {
		X          []float64
		ConstantF0 []float64 `json:"constant_f0"`
		ConstantF1 []float64 `json:"constant_f1"`
		Linear     []float64
	}
	Inverse struct {
		P, X []float64
	} `json:"inverse_ecdf_linear"`
	Trim        *Histogram
	TrimLeft    *Histogram `json:"trim_left"`
	TrimRight   *Histogram `json:"trim_right"`
	Merge2      *Histogram
	Merge3      *Histogram
	MergeTo4    *Histogram `json:"merge_to_4"`
	MergeBreaks *Histogram `json:"merge_breaks"`
	Subset      *Histogram
	Scale       *Histogram
	ScaleHalf   *Histogram `json:"scale_half"`
	Protobuf    string     `json:"protobuf_base64"`
	Shifted     *struct {
		X, Y []float64
	} `json:"ash_m5_k22"`
}

type answersOfPair struct {
	A, B         *Histogram
	Minkowski1   float64
	Minkowski2   float64
	Minkowski3   float64
	Intersect    float64
	KL           orNaN
	Jeffrey      orNaN
	Intersection *Histogram
	Sum          *Histogram
}

// orNaN is a number, or "NaN" as a text.
type orNaN float64

func (x *orNaN) UnmarshalJSON(data []byte) error {
	if string(data) == `"NaN"` {
		*x = orNaN(math.NaN())
		return nil
	}
	return json.Unmarshal(data, (*float64)(x))
}

func golden(t *testing.T) *answers {
	t.Helper()
	data, err := os.ReadFile("testdata/answers.json")
	if err != nil {
		t.Fatal(err)
	}
	a := new(answers)
	if err := json.Unmarshal(data, a); err != nil {
		t.Fatal(err)
	}
	if len(a.Cases) != 6 || len(a.Pairs) != 2 || len(a.DTrace) != 54 {
		t.Fatalf("%d cases, %d pairs, %d histograms of DTrace", len(a.Cases), len(a.Pairs), len(a.DTrace))
	}
	return a
}

// close says whether reals agree to 10⁻¹² of them.
func near(got, want float64) bool {
	return got == want || math.Abs(got-want) <= 1e-12*math.Abs(want)
}

// must returns a function that fails the test on an error.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestAnswersAreThoseOfHistogramTools(t *testing.T) {
	all := golden(t)
	for name, want := range all.Cases {
		t.Run(name, func(t *testing.T) {
			h := want.Histogram
			of, real, reals := must[*Histogram](t), must[float64](t), must[[]float64](t)
			same := func(what string, got, want *Histogram) {
				t.Helper()
				if !got.Equal(want) {
					t.Errorf("%s: %v, want %v", what, got, want)
				}
			}
			number := func(what string, got, want float64) {
				t.Helper()
				if !near(got, want) {
					t.Errorf("%s: %.17g, want %.17g", what, got, want)
				}
			}
			numbers := func(what string, got, want []float64) {
				t.Helper()
				if len(got) != len(want) {
					t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
				}
				for i := range got {
					if !near(got[i], want[i]) {
						t.Errorf("%s, number %d: %.17g, want %.17g", what, i, got[i], want[i])
					}
				}
			}
			if got := h.Count(); got != want.Count {
				t.Errorf("count %v, want %v", got, want.Count)
			}
			number("mean", real(h.Mean()), want.Mean)
			numbers("quantiles", reals(h.Quantiles(want.Probs)), want.Quantiles)
			number("KSDCC", real(h.KSDCC()), want.KSDCC)
			number("EMDCC", real(h.EMDCC()), want.EMDCC)

			at := func(with Interpolation) (values []float64) {
				e := must[*ECDF](t)(h.ECDF(with))
				for _, x := range want.ECDF.X {
					values = append(values, e.At(x))
				}
				return values
			}
			numbers("constant ECDF, f=0", at(Constant(0)), want.ECDF.ConstantF0)
			numbers("constant ECDF, f=1", at(Constant(1)), want.ECDF.ConstantF1)
			numbers("linear ECDF", at(Linear()), want.ECDF.Linear)
			e := must[*ECDF](t)(h.ECDF(Linear()))
			var inverse []float64
			for _, p := range want.Inverse.P {
				inverse = append(inverse, real(e.Inverse(p)))
			}
			numbers("inverse ECDF", inverse, want.Inverse.X)

			same("trim", of(h.Trim()), want.Trim)
			same("trim left", of(h.TrimLeft()), want.TrimLeft)
			same("trim right", of(h.TrimRight()), want.TrimRight)
			same("merge 2", of(h.MergeBuckets(2)), want.Merge2)
			same("merge 3", of(h.MergeBuckets(3)), want.Merge3)
			same("merge to 4", of(h.MergeBucketsTo(4)), want.MergeTo4)
			same("merge breaks", of(h.MergeBucketsAt(want.MergeBreaks.Breaks)), want.MergeBreaks)
			ends := want.Subset.Breaks
			same("subset", of(h.Subset(ends[0], ends[len(ends)-1])), want.Subset)
			same("scale by a half", of(h.Scale(0.5)), want.ScaleHalf)
			shares := of(h.Normalize())
			numbers("scale", shares.Counts, want.Scale.Counts)
			same("scale, breaks", &Histogram{shares.Breaks, nil, shares.Name}, &Histogram{want.Scale.Breaks, nil, want.Scale.Name})

			if want.Shifted != nil {
				d := must[*Density](t)(h.AverageShifted(5, Kernel{2, 2}))
				numbers("average shifted, x", d.X, want.Shifted.X)
				numbers("average shifted, y", d.Y, want.Shifted.Y)
			}

			bytes := must[[]byte](t)(base64.StdEncoding.DecodeString(want.Protobuf))
			read := of(UnmarshalProto(bytes))
			same("protobuf, counts", &Histogram{nil, read.Counts, read.Name}, &Histogram{nil, h.Counts, h.Name})
			numbers("protobuf, breaks", read.Breaks, h.Breaks)
			if got := must[[]byte](t)(read.MarshalProto()); !slices.Equal(got, bytes) {
				t.Errorf("protobuf: %x, want %x", got, bytes)
			}
			if name == "latency" {
				return // the answers have its breaks, powers of 2^(1/4), with 15 digits
			}
			if got := must[[]byte](t)(h.MarshalProto()); !slices.Equal(got, bytes) {
				t.Errorf("protobuf of the histogram: %x, want %x", got, bytes)
			}
		})
	}
}

func TestDistancesAreThoseOfHistogramTools(t *testing.T) {
	for name, want := range golden(t).Pairs {
		t.Run(name, func(t *testing.T) {
			a, b := want.A, want.B
			f := func(what string, want float64, got float64, err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if !near(got, want) {
					t.Errorf("%s: %.17g, want %.17g", what, got, want)
				}
			}
			for p, want := range map[float64]float64{1: want.Minkowski1, 2: want.Minkowski2, 3: want.Minkowski3} {
				got, err := Minkowski(a, b, p)
				f("Minkowski", want, got, err)
			}
			got, err := Intersection(a, b)
			f("intersection", want.Intersect, got, err)
			kl, jeffrey := float64(want.KL), float64(want.Jeffrey)
			if name == "with_zeros" { // R's answers are NaN there, and ours defined: bucket 2 has 3 of 10 and 0 of 10
				if !math.IsNaN(kl) || !math.IsNaN(jeffrey) {
					t.Fatalf("R's answers are %v and %v, and not NaN", kl, jeffrey)
				}
				kl = math.Inf(1)
				jeffrey = 0.1*math.Log(2) + 0.3*math.Log(2) + 0.5*math.Log(0.5/0.6) + 0.7*math.Log(0.7/0.6)
			}
			got, err = KullbackLeibler(a, b)
			f("Kullback–Leibler", kl, got, err)
			got, err = Jeffrey(a, b)
			f("Jeffrey", jeffrey, got, err)
			if got := must[*Histogram](t)(Intersect(a, b)); !got.Equal(want.Intersection) {
				t.Errorf("intersection: %v, want %v", got, want.Intersection)
			}
			if got := must[*Histogram](t)(Add(a, b)); !got.Equal(want.Sum) {
				t.Errorf("sum: %v, want %v", got, want.Sum)
			}
		})
	}
}

// Without the text the answers are printed as DTrace prints, and read again.
func TestAnswersPrintedAsDTracePrintsReadBack(t *testing.T) {
	answers := golden(t).DTrace
	names := slices.Sorted(maps.Keys(answers))
	var text strings.Builder
	for _, name := range names {
		h := answers[name]
		fmt.Fprintf(&text, "\n  %-50s\n%16s  ------------- Distribution ------------- count    \n", name, "value")
		for i, b := range h.Breaks {
			count := 0.0
			if i < h.Len() {
				count = h.Counts[i]
			}
			fmt.Fprintf(&text, "%16v |%-40s %-8v \n", b, strings.Repeat("@", int(math.Round(40*count/h.Count()))), count)
		}
	}
	read := must[[]*Histogram](t)(ParseDTrace(strings.NewReader(text.String())))
	if len(read) != len(names) {
		t.Fatalf("%d histograms, want %d", len(read), len(names))
	}
	for i, h := range read {
		want := answers[names[i]]
		if h.Name != names[i] || !slices.Equal(h.Breaks, want.Breaks) || !slices.Equal(h.Counts, want.Counts) {
			t.Errorf("%v, want %v", h, want)
		}
	}
}

// The text is not part of this project. Where it is at hand, all of its histograms are read.
func TestDTraceOutputReadsAsHistogramToolsReadsIt(t *testing.T) {
	file, err := os.Open("../../shared/golden/buildkernel-readsize-dtrace.txt")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no output of DTrace in ../shared/golden")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	read, err := ParseDTrace(file)
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t).DTrace
	if len(read) != len(want) {
		t.Fatalf("%d histograms, want %d", len(read), len(want))
	}
	for _, h := range read {
		w := want[h.Name]
		if w == nil {
			t.Errorf("there is no answer for %q", h.Name)
			continue
		}
		if h == read[len(read)-1] {
			// R loses the last row of a file. Without it the last bucket, the fullest of this file, is missing in R's answer.
			if last := len(h.Counts) - 1; h.Counts[last] != 74818 || h.Breaks[last+1] != 65536 {
				t.Errorf("%v", h)
			}
			h = h.part(0, len(h.Counts)-1)
		}
		if name := strings.TrimSpace(w.Name); h.Name != name || !slices.Equal(h.Breaks, w.Breaks) || !slices.Equal(h.Counts, w.Counts) {
			t.Errorf("%v, want %v", h, w)
		}
	}
}
