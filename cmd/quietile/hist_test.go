package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quietile/quietile/histogram"
	"github.com/quietile/quietile/sketch/histogramtools"
)

// dtraceSample is what DTrace prints of two aggregations.
const dtraceSample = `
  reader
           value  ------------- Distribution ------------- count
               0 |                                         0
               1 |@@@@@@@@@@@@@@@@@@@@                     20
               2 |@@@@@@@@@@                               10
               4 |@@@@@@@@@@                               10
               8 |                                         0

  writer
           value  ------------- Distribution ------------- count
               1 |                                         0
               2 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@           3
               4 |@@@@@@@@@@                               1
               8 |                                         0
`

// hist is what a command that writes histograms writes as JSON, of one histogram.
func hist(t *testing.T, stdin string, args ...string) *histogram.Histogram {
	t.Helper()
	h := new(histogram.Histogram)
	text := succeed(t, stdin, append(append([]string{"hist"}, args...), "--format", "json")...)
	if err := json.Unmarshal([]byte(text), h); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return h
}

// asJSON is a histogram in JSON.
func asJSON(t *testing.T, breaks, counts []float64, name string) string {
	t.Helper()
	h, err := histogram.New(breaks, counts, name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestHistCommandsDoWhatTheirNamesSay(t *testing.T) {
	four := asJSON(t, []float64{0, 1, 2, 4, 8}, []float64{0, 6, 3, 1}, "latency")
	f := func(want string, args ...string) {
		t.Helper()
		if got := hist(t, four, args...).String(); got != want {
			t.Errorf("hist %q: %s, want %s", args, got, want)
		}
	}
	f("latency: [0, 1] 0, (1, 2] 6, (2, 4] 3, (4, 8] 1", "convert")
	f("latency: [1, 2] 6, (2, 4] 3, (4, 8] 1", "trim")
	f("latency: [1, 2] 6, (2, 4] 3, (4, 8] 1", "trim", "--left")
	f("latency: [0, 1] 0, (1, 2] 6, (2, 4] 3, (4, 8] 1", "trim", "--right")
	f("latency: [1, 2] 6, (2, 4] 3", "subset", "--min", "1", "--max", "4")
	f("latency: [2, 4] 3, (4, 8] 1", "subset", "--min", "2")
	f("latency: [0, 2] 6, (2, 8] 4", "merge", "--adjacent", "2")
	f("latency: [0, 2] 6, (2, 8] 4", "merge", "--number", "3")
	f("latency: [0, 1] 0, (1, 8] 10", "merge", "--breaks", "0,1,8")
	f("latency: [0, 2] 6, (2, 4] 3, (4, 8] 1", "rebin", "-k", "3", "--by", "emdcc")
	f("latency: [0, 1] 0, (1, 2] 6, (2, 8] 4", "rebin", "-k", "3", "--by", "squares")
	f("latency: [0, 1] 0, (1, 2] 3, (2, 4] 1.5, (4, 8] 0.5", "scale", "--factor", "0.5")
	f("latency: [0, 1] 0, (1, 2] 0.6, (2, 4] 0.3, (4, 8] 0.1", "scale")
	one := write(t, "one.json", four)
	f("Merge of latency and latency: [0, 1] 0, (1, 2] 12, (2, 4] 6, (4, 8] 2", "add", one, "-")
	f("[0, 1] 0, (1, 2] 6, (2, 4] 3, (4, 8] 1", "intersect", one, "-")
}

func TestEveryFormatOfHistogramsIsRecognised(t *testing.T) {
	want := hist(t, dtraceSample, "convert", "--name", "reader")
	if want.String() != "reader: [0, 1] 0, (1, 2] 20, (2, 4] 10, (4, 8] 10" {
		t.Fatal(want)
	}
	for _, format := range histFormatNames(true) {
		data := succeed(t, dtraceSample, "hist", "convert", "--name", "reader", "--to", format)
		for _, input := range []string{data, zip(t, data)} {
			if got := hist(t, input, "convert"); !got.Equal(want) {
				t.Errorf("%s: %v, want %v", format, got, want)
			}
		}
		if got := hist(t, data, "convert", "--from", format); !got.Equal(want) {
			t.Errorf("--from %s: %v, want %v", format, got, want)
		}
		path := filepath.Join(t.TempDir(), "out")
		succeed(t, data, "hist", "convert", "--to", format, "-o", path)
		if got := hist(t, "", "convert", path); !got.Equal(want) {
			t.Errorf("%s in a file: %v, want %v", format, got, want)
		}
	}
	// What show prints reads again.
	for _, format := range []string{formatJSON, formatCSV} {
		if got := hist(t, succeed(t, dtraceSample, "hist", "show", "--name", "reader", "--format", format), "convert"); !got.Equal(want) {
			t.Errorf("shown as %s: %v, want %v", format, got, want)
		}
	}
	bare, err := os.ReadFile("../../sketch/histogramtools/testdata/right.pb")
	if err != nil {
		t.Fatal(err)
	}
	if got := hist(t, string(bare), "convert"); got.Count() != 8 || got.Len() != 4 {
		t.Errorf("a file of R: %v", got)
	}
}

func TestFormatsOfFilesFollowTheirNames(t *testing.T) {
	for name, recognise := range map[string]func([]byte) bool{
		"a.json": isHistJSON, "a.CSV": isHistCSV, "a.hist": histogram.IsBinary, "a.pb": histogram.IsProto, "a": histogram.IsProto,
	} {
		path := filepath.Join(t.TempDir(), name)
		succeed(t, dtraceSample, "hist", "convert", "--name", "writer", "-o", path)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !recognise(data) {
			t.Errorf("%s holds %q", name, data)
		}
	}
}

func TestSketchesAreHistograms(t *testing.T) {
	for _, grid := range []string{"linear:lower=0,upper=4,bins=4", "exponential:scale=0", "explicit:0,1,2.5"} {
		for _, format := range []string{formatBinary, formatProto, formatJSON} {
			data := built(t, "0.5\n1.5\n1.7\n", "--grid", grid, "--to", format)
			if got := hist(t, data, "convert"); got.Count() != 3 {
				t.Errorf("%s as %s: %v", grid, format, got)
			}
		}
	}
	sketch := built(t, "k,v\nb,1.5\na,3\nb,3\n", "--grid", "exponential:scale=0", "--column", "v", "--key-column", "k")
	var all []*histogram.Histogram
	if err := json.Unmarshal([]byte(succeed(t, sketch, "hist", "convert", "--format", "json")), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].String() != "a: [2, 4] 1" || all[1].String() != "b: [1, 2] 1, (2, 4] 1" {
		t.Errorf("%v", all)
	}
	if got := hist(t, sketch, "convert", "--name", "b"); got.Count() != 2 {
		t.Errorf("%v", got)
	}
	kll := built(t, "1\n2\n", "--kll")
	fail(t, exitUsage, kll, []string{"hist", "show"}, "a histogram is made of a sketch on a grid", "KLL")
	fail(t, exitFailed, built(t, "1\nNaN\n", "--column", "1", "--no-header", "--skip-invalid", "--grid", "exponential:scale=0")[:5], []string{"hist", "show"}, "sketch")
}

func TestHistLossPrintsPlainFieldNames(t *testing.T) {
	var one map[string]any
	if err := json.Unmarshal([]byte(succeed(t, asJSON(t, []float64{0, 1, 2, 4, 8}, []float64{0, 6, 3, 1}, "latency"), "hist", "loss", "--format", "json")), &one); err != nil {
		t.Fatal(err)
	}
	if one["ksdcc"] != 0.6 || math.Abs(one["emdcc"].(float64)-0.2) > 1e-15 || one["name"] != "latency" || one["lower"] != 1.0 || one["upper"] != 2.0 {
		t.Errorf("%v", one)
	}
	var all []map[string]any
	if err := json.Unmarshal([]byte(succeed(t, dtraceSample, "hist", "loss", "--format", "json")), &all); err != nil || len(all) != 2 || all[1]["ksdcc"] != 0.75 {
		t.Errorf("%v, error %v", all, err)
	}
	if got, want := squeezed(succeed(t, dtraceSample, "hist", "loss")), "name KSDCC EMDCC lower upper\nreader 0.5 0.25 1 2\nwriter 0.75 0.35714286 2 4\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := succeed(t, asJSON(t, []float64{0, 1, math.Inf(1)}, []float64{1, 1}, ""), "hist", "loss", "--format", "csv"); got != "file,name,ksdcc,emdcc,lower,upper\nstandard input,,0.5,,0,1\n" {
		t.Errorf("%q", got)
	}
}

func TestHistDistancePrintsEveryDistance(t *testing.T) {
	breaks := []float64{0, 1, 2}
	a, b := write(t, "a.json", asJSON(t, breaks, []float64{1, 3}, "a")), write(t, "b.json", asJSON(t, breaks, []float64{4, 0}, "b"))
	var got map[string]any
	if err := json.Unmarshal([]byte(succeed(t, "", "hist", "distance", a, b, "-p", "1,inf", "--format", "json")), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"minkowski1": 6.0, "minkowski_inf": 3.0, "intersection": 0.75, "kullback_leibler": nil, "total_variation": 0.75, "kolmogorov_smirnov": 0.75, "wasserstein": 0.75,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v, want %v", name, value, want)
		}
	}
	for _, d := range histDistances {
		if _, ok := got[d.name]; !ok {
			t.Errorf("%s is missing", d.name)
		}
	}
	if table := squeezed(succeed(t, "", "hist", "distance", a, b)); !strings.Contains(table, "kullback_leibler +inf\n") {
		t.Errorf("%s", table)
	}
	fail(t, exitUsage, dtraceSample, []string{"hist", "distance"}, "break 0 is 0 and 1", "--breaks common")
	fail(t, exitUsage, "", []string{"hist", "distance", a}, "two histograms are compared, and there are 1")
	if csv := succeed(t, dtraceSample, "hist", "distance", "--breaks", "0,8", "--format", "csv"); !strings.Contains(csv, "standard input,reader,standard input,writer,wasserstein,0\n") {
		t.Errorf("%s", csv)
	}
}

func TestHistogramsOfDifferentBreaksAreAddedWithTheirLoss(t *testing.T) {
	a := write(t, "a.json", asJSON(t, []float64{0, 1, 2, 4}, []float64{4, 4, 2}, "a"))
	b := write(t, "b.json", asJSON(t, []float64{0, 2, 3, 4}, []float64{6, 3, 1}, "b"))
	fail(t, exitUsage, "", []string{"hist", "add", a, b}, "a.json", "histogram 1", "break 1 is 1 and 2")
	var sum struct {
		histogramJSON
		Loss map[string]float64 `json:"loss"`
	}
	if err := json.Unmarshal([]byte(succeed(t, "", "hist", "add", a, b, "--breaks", "common", "--format", "json")), &sum); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sum.Breaks, []float64{0, 2, 4}) || !slices.Equal(sum.Counts, []float64{14, 6}) || sum.Name != "Merge of a and b" {
		t.Errorf("%+v", sum)
	}
	for name, want := range map[string]float64{"ksdcc": 0.7, "added_ksdcc": 0.2, "emdcc": 0.5, "added_emdcc": 0.15} {
		if math.Abs(sum.Loss[name]-want) > 1e-12 {
			t.Errorf("%s is %v, want %v", name, sum.Loss[name], want)
		}
	}
	if text := succeed(t, "", "hist", "add", a, b, "--breaks", "union"); !strings.Contains(text, "\nloss: KSDCC ") {
		t.Errorf("%s", text)
	}
	o := execute(t, "", "hist", "add", a, b, "--breaks", "0,4", "--format", "csv")
	if o.code != exitOK || o.stdout != "name,lower,upper,count\nMerge of a and b,0,4,20\n" || o.stderr != "loss: KSDCC 1, of which 0.5 of breaks; EMDCC 0.9375, of which 0.5875 of breaks\n" {
		t.Errorf("%+v", o)
	}
	fail(t, exitUsage, "", []string{"hist", "add", a, b, "--breaks", "0,3"}, "bucket 2, from 2 to 4, counts 2, and is not within the breaks from 0 to 3")
	fail(t, exitUsage, "", []string{"hist", "add", a, "--breaks", "0,x"}, `break 1, "x", is no number`)
}

// histogramJSON is the plain form of a histogram.
type histogramJSON struct {
	Name           string
	Breaks, Counts []float64
}

func TestHistQuantilesAndSharesHaveLimits(t *testing.T) {
	four := asJSON(t, []float64{0, 1, 2, 4, 8}, []float64{0, 6, 3, 1}, "")
	f := func(want string, args ...string) {
		t.Helper()
		if got := succeed(t, four, append([]string{"hist"}, args...)...); got != want {
			t.Errorf("hist %q: %s, want %s", args, got, want)
		}
	}
	const header = "file,name,q,value,lower,upper\n"
	f(header+"standard input,,0.5,1.5,1,2\nstandard input,,1,6,4,8\n", "quantile", "-q", "0.5,1", "--format", "csv")
	f(header+"standard input,,0,1,1,2\nstandard input,,0.75,3,2,4\n", "quantile", "-q", "0,0.75", "--method", "linear", "--format", "csv")
	f(header+"standard input,,0.75,2,2,4\n", "ecdf", "--inverse", "0.75", "--method", "constant", "--format", "csv")
	f("file,name,x,share,lower,upper\nstandard input,,3,0.75,0.6,0.9\n", "ecdf", "-x", "3", "--format", "csv")
	f("file,name,x,share,lower,upper\nstandard input,,3,0.9,0.6,0.9\n", "ecdf", "-x", "3", "--method", "constant", "--f", "1", "--format", "csv")
	var v histQuantilesView
	if err := json.Unmarshal([]byte(succeed(t, four, "hist", "ecdf", "--format", "json")), &v); err != nil || len(v.Points) != 5 || v.Points[4].Share != 1 || v.Count != 10 {
		t.Errorf("%+v, error %v", v, err)
	}
	fail(t, exitUsage, four, []string{"hist", "ecdf", "--inverse", "0.5", "-x", "1"}, "exclude each other")
	fail(t, exitUsage, four, []string{"hist", "ecdf", "--f", "0.5"}, "--f is for --method constant")
	fail(t, exitUsage, four, []string{"hist", "ecdf", "--method", "constant", "--f", "1.5"}, "f 0, 1.5, is not from 0 to 1")
	fail(t, exitUsage, four, []string{"hist", "quantile", "-q", "2"}, "2 is not between 0 and 1")
	fail(t, exitFailed, asJSON(t, []float64{0, 1}, []float64{0}, "none"), []string{"hist", "quantile"}, `"none"`, "the histogram counts nothing")
}

func TestHistogramsAreBuiltFromValues(t *testing.T) {
	f := func(want, input string, args ...string) {
		t.Helper()
		if got := hist(t, input, append([]string{"build"}, args...)...).String(); got != want {
			t.Errorf("hist build %q: %s, want %s", args, got, want)
		}
	}
	f("[0, 5] 5, (5, 10] 5", lines(1, 2, 3, 4, 5, 6, 7, 8, 9, 10), "--breaks", "0,5,10")
	f("age: [20, 40] 3, (40, 60] 1", "name,age\na,25\nb,30\nc,40\nd,60\n", "--column", "age", "--breaks", "20,40,60")
	f("years: [20, 40] 1", "25\n", "--title", "years", "--breaks", "20,40")
	f("column 2: [1, 10] 1, (10, 100] 1", "a;2\nb;50\n", "--column", "2", "--no-header", "--delimiter", ";", "--breaks", "log", "--per-decade", "1")
	for _, rule := range []string{"sturges", "scott", "fd", "log"} {
		if got := hist(t, lines(1, 2, 3, 4, 5, 6, 7, 80), "build", "--breaks", rule); got.Count() != 8 {
			t.Errorf("%s: %v", rule, got)
		}
	}
	fail(t, exitFailed, "1\nx\n", []string{"hist", "build"}, `line 2: "x" is no number`)
	fail(t, exitUsage, "1\n9\n", []string{"hist", "build", "--breaks", "0,5"}, "value 1, 9, is not from the first break, 0, to the last, 5")
	fail(t, exitUsage, "-1\n", []string{"hist", "build", "--breaks", "log"}, "value 0, -1, is not more than 0")
	fail(t, exitFailed, "", []string{"hist", "build"}, "there are no values")
}

func TestMalformedHistogramsAreRefusedWithTheIndexAndTheValue(t *testing.T) {
	f := func(code int, input string, texts ...string) {
		t.Helper()
		fail(t, code, input, []string{"hist", "show"}, append(texts, "standard input: ")...)
	}
	f(exitFailed, `{"breaks": [0, 2, 1], "counts": [1, 1]}`, "json", "break 2, 1, is less than the one before, 2")
	f(exitFailed, `{"breaks": [0, 1, 1], "counts": [1, 1]}`, "break 2, 1, is the one before again")
	f(exitFailed, `{"breaks": [0, 1], "counts": [1, 2]}`, "2 of them for 2 breaks")
	f(exitFailed, `{"breaks": [0, 1], "counts": [-1]}`, "count 0 is -1")
	f(exitFailed, `{"breaks": [0, 1], "counts": [NaN]}`, "json", "invalid character 'N'")
	f(exitFailed, `[{"breaks": [0, 1], "counts": [1]}, {"breaks": [1, 0], "counts": [1]}]`, "histogram 1", "break 1, 0")
	f(exitFailed, "lower,upper,count\n0,1,NaN\n", "csv", "line 2", "count NaN is not finite")
	f(exitFailed, strings.Replace(dtraceSample, "|@@@@@@@@@@                               10", "|@@@@ ten", 1), "dtrace", `line 6: count "ten"`)
	f(exitUsage, "", "it is empty", "--from")
	f(exitUsage, "1\n2\n", "quietile hist build")
	f(exitUsage, succeed(t, dtraceSample, "hist", "trim"), "a table for people", "--format csv")
	f(exitUsage, succeed(t, dtraceSample, "hist", "show"), "a table for people", "--format csv")
	f(exitUsage, "something else\n", "not recognised", "proto, json, csv, compact, dtrace, sketch, dump")
	fail(t, exitFailed, "something else\n", []string{"hist", "show", "--from", "proto"}, "proto: ", "byte 0")
	fail(t, exitUsage, dtraceSample, []string{"hist", "show", "--name", "nobody"}, `"nobody"`, `"reader", "writer"`)
	fail(t, exitUsage, dtraceSample, []string{"hist", "convert", "--to", "proto"}, "holds one histogram, and there are 2", "--name")
	fail(t, exitFailed, asJSON(t, []float64{0, 1}, []float64{0.5}, ""), []string{"hist", "convert", "--to", "proto"}, "count 0, 0.5, is not whole")
	fail(t, exitUsage, dtraceSample, []string{"hist", "merge"}, "one of --adjacent, --number and --breaks is required")
	fail(t, exitUsage, dtraceSample, []string{"hist", "merge", "--adjacent", "0"}, `"reader"`, "0 buckets to merge")
	fail(t, exitUsage, dtraceSample, []string{"hist", "rebin"}, "-k is required")
	fail(t, exitUsage, dtraceSample, []string{"hist", "rebin", "-k", "4"}, `"writer"`, "4 buckets to leave is not from 1 to 3")
	fail(t, exitUsage, dtraceSample, []string{"hist", "subset", "--min", "3"}, "lower 3 is no break")
	fail(t, exitUsage, "", []string{"hist", "shwo"}, "show")
	fail(t, exitUsage, "", []string{"hist", "show", "/no/such/file"}, "/no/such/file")
	o := histOutput{name: "-", to: &choice{value: formatProto}}
	if err := o.checkTerminal(false, true); exitCode(err) != exitUsage {
		t.Errorf("a terminal takes protobuf: %v", err)
	}
	if err := o.checkTerminal(true, true); err != nil {
		t.Error(err)
	}
}

func TestHistShowSaysWhatThereIs(t *testing.T) {
	got := squeezed(succeed(t, asJSON(t, []float64{0, 1, math.Inf(1)}, []float64{1, 3}, ""), "hist", "show"))
	want := "count buckets filled from to mean median KSDCC EMDCC\n4 2 2 0 +inf - - 0.75 -\n\nlower upper count share\n0 1 1 0.25\n1 +inf 3 0.75\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := squeezed(succeed(t, dtraceSample, "hist", "show")); strings.Contains(got, "lower") || !strings.Contains(got, "writer 4 3 2 1 8 3.75 3 0.75 0.35714286\n") {
		t.Errorf("%q", got)
	}
	if got := squeezed(succeed(t, dtraceSample, "hist", "show", "--buckets")); !strings.Contains(got, "writer 4 8 1 0.25\n") {
		t.Errorf("%q", got)
	}
}

func TestAnEndOfASketchIsABreakOfItsHistogram(t *testing.T) {
	b := binned(t, "exponential:scale=0", 0, 3)
	h, err := histogramtools.ToHistogram(b)
	if err != nil {
		t.Fatal(err)
	}
	data, err := b.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if got := hist(t, string(data), "convert"); !got.Equal(h) {
		t.Errorf("%v, want %v", got, h)
	}
}
