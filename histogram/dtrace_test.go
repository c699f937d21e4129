package histogram

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func sampleFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestDTraceOutputIsReadInItsOrder(t *testing.T) {
	inf := math.Inf(1)
	f := func(text string, want ...*Histogram) {
		t.Helper()
		got := must[[]*Histogram](t)(ParseDTrace(strings.NewReader(text)))
		if !slices.EqualFunc(got, want, (*Histogram).Equal) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	quantize := sampleFile(t, "quantize.dtrace")
	two := []*Histogram{
		{[]float64{256, 512, 1024, 2048, 4096}, []float64{0, 3, 0, 9}, "nightly-backup"},
		{[]float64{-1, 0, 1, 2, 4}, []float64{0, 20, 10, 10}, "web front /var/www"},
	}
	f(quantize, two...)
	f(strings.ReplaceAll(quantize, "\n", "\r\n"), two...)
	f(strings.TrimRight(quantize, "\n "), two...)
	f(sampleFile(t, "lquantize.dtrace"), of([]float64{-inf, 0, 10, 20, 30, inf}, 2, 6, 0, 8, 4))
	const header = " value  ------------- Distribution ------------- count\n"
	f(header+" < 5 | 0\n 5 |@ 3\n >= 6 | 0\n", of([]float64{5, 6}, 3))
	f(header+" 5 |@ 3\n 6 |@ 2\n", of([]float64{5, 6, inf}, 3, 2))
}

func TestMirroredRowsCountBelowTheirValue(t *testing.T) {
	got := must[[]*Histogram](t)(ParseDTrace(strings.NewReader(sampleFile(t, "negative.dtrace"))))
	want := &Histogram{[]float64{-8, -4, -2, -1, 0, 1, 2}, []float64{5, 3, 2, 0, 7, 3}, "clock skew"}
	if len(got) != 1 || !got[0].Equal(want) {
		t.Errorf("%v, want %v", got, want)
	}
	const header = "value  ------------- Distribution ------------- count\n"
	f := func(rows string, want *Histogram) {
		t.Helper()
		if got := must[[]*Histogram](t)(ParseDTrace(strings.NewReader(header + rows))); !got[0].Equal(want) {
			t.Errorf("%v, want %v", got[0], want)
		}
	}
	f("-2 | 0\n-1 | 4\n 0 | 0\n", of([]float64{-2, -1, 0}, 0, 4))
	f("-4 | 3\n-2 | 0\n-1 | 4\n 0 | 0\n", of([]float64{-8, -4, -2, -1, 0}, 3, 0, 4, 0))
	f("-4 | 1\n-2 | 0\n-1 | 0\n", of([]float64{-8, -4, -2, -1}, 1, 0, 0)) // all are negative
	f("-4 | 0\n-2 | 3\n-1 | 2\n", of([]float64{-4, -2, -1}, 3, 2))
	f("-4 | 0\n-3 | 2\n-2 | 1\n-1 | 4\n 0 | 0\n", of([]float64{-4, -3, -2, -1, 0}, 0, 2, 1, 4)) // lquantize
}

func TestMalformedDTraceOutputIsRefusedWithTheLineAndTheText(t *testing.T) {
	const header = "value  ------------- Distribution ------------- count\n"
	f := func(text, want string) {
		t.Helper()
		_, err := ParseDTrace(strings.NewReader(text))
		refused(t, err, ErrEncoding, want)
	}
	f("", `there is no line "value`)
	f("1\n2\n", "Distribution ------------- count\" among 2")
	f(header, "line 1: the distribution has 0 rows")
	f(header+"1 | 4\n", "line 1: the distribution has 1 rows")
	f(header+"1 |@@ 4\n2 |@@ x4\n", `line 3: count "x4" is no whole number`)
	f(header+"1 |@@ 4\n2 |\n", `line 3: count "" is no whole number`)
	f(header+"1 |@@ -4\n2 | 0\n", "line 2: count -4 is less than 0")
	f(header+"one |@@ 4\n2 | 0\n", `line 2: value "one" is no whole number`)
	f(header+"2 |@@ 4\n1 | 0\n", `line 3: value "1" is not more than that of the row before, 2`)
	f(header+"2 |@@ 4\n2 | 0\n", `line 3: value "2" is not more`)
	f(header+"2 |@@ 4\nend of report\n3 | 0\n", `line 3: "end of report" is no row of a distribution`)
	f(header+"2 |@@ 4\n< 3 | 0\n", `line 3: value "< 3" is not in the first row`)
	f(header+"< 3 |@@ 4\n4 | 0\n", `line 3: value "4" is not 3, where the row before ends`)
	f(header+">= 3 |@@ 4\n4 | 0\n", `line 3: value "4" follows a row that reaches to infinity`)
	f(header+"< 3 |@@ 4\n", "line 1: the distribution has 1 rows, and a bucket needs 2")
	f(header+"99999999999999999999 | 1\n", `line 2: value "99999999999999999999" is no whole number`)
	f("\n"+strings.Repeat("x", maxDTraceLine+1), "line 2 is longer than 1048576 bytes")
	whole := sampleFile(t, "negative.dtrace")
	if _, err := ParseDTrace(strings.NewReader(strings.Replace(whole, "-4 |", "4 |", 1))); err == nil {
		t.Error("values that do not ascend are read")
	}
}

func FuzzParseDTrace(f *testing.F) {
	for _, name := range []string{"quantize.dtrace", "lquantize.dtrace", "negative.dtrace"} {
		text := sampleFile(f, name)
		f.Add(text)
		f.Add(text[:len(text)/2])
	}
	f.Add("value Distribution count\n-4 | 1\n-2 | 1\n-1 | 1\n0 | 1\n")
	f.Add("value Distribution count\n-4|1\n-2|0\n-1|00")
	f.Add("value Distribution count\n-9223372036854775808 | 1\n9223372036854775807 | 9223372036854775807\n")
	f.Fuzz(func(t *testing.T, text string) {
		hs, err := ParseDTrace(strings.NewReader(text))
		if err == nil && len(hs) == 0 {
			t.Fatal("neither a histogram nor an error")
		}
		for _, h := range hs {
			if err := h.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
