package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
)

// built is what sketch build makes of numbers, one a line.
func built(t *testing.T, numbers string, more ...string) string {
	t.Helper()
	return succeed(t, numbers, append([]string{"sketch", "build"}, more...)...)
}

// lines writes numbers one a line.
func lines(xs ...float64) string {
	var b strings.Builder
	for _, x := range xs {
		fmt.Fprintln(&b, x)
	}
	return b.String()
}

// numbered returns n random numbers of all magnitudes, the same for the same seed.
func numbered(t *testing.T, n int) []float64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	xs := []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.MaxFloat64, 5e-324, -1}
	for len(xs) < n {
		xs = append(xs, math.Exp(20*rng.NormFloat64())*float64(rng.IntN(3)-1))
	}
	return xs
}

// inspected is what sketch inspect says of one sketch.
func inspected(t *testing.T, file string, more ...string) inspectView {
	t.Helper()
	var views []inspectView
	if err := json.Unmarshal([]byte(succeed(t, file, append([]string{"sketch", "inspect", "--format", "json", "--buckets"}, more...)...)), &views); err != nil {
		t.Fatal(err)
	}
	if len(views) != 1 {
		t.Fatalf("%d sketches, want 1", len(views))
	}
	return views[0]
}

// binned is a sketch on a grid of numbers.
func binned(t *testing.T, grid string, xs ...float64) *sketch.Binned {
	t.Helper()
	g, err := sketch.ParseGrid(grid)
	if err != nil {
		t.Fatal(err)
	}
	s := sketch.NewBinned(g)
	s.AddBatch(xs)
	return s
}

// squeezed is a text without the spaces that align columns.
func squeezed(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return b.String()
}

func TestBuildCountsLinesAndColumns(t *testing.T) {
	const grid = "linear:lower=0,upper=8,bins=8"
	want, err := encodeProto(binned(t, grid, 1, 2, 3.5))
	if err != nil {
		t.Fatal(err)
	}
	one, two := write(t, "1.csv", "name,age\na,1\n"), write(t, "2.csv.gz", zip(t, "age,name\n2,b\n"))
	for _, got := range []string{
		built(t, "1\n2\n3.5\n", "--grid", grid, "--to", "proto"),
		built(t, "age\n1\n2\n3.5\n", "--grid", grid, "--to", "proto", "--column", "age"),
		built(t, "a;1\nb;2\nc;3.5\n", "--grid", grid, "--to", "proto", "--column", "2", "--no-header", "--delimiter", ";"),
		built(t, "1\n\ntwo\nNaN\n2\n3.5\n", "--grid", grid, "--to", "proto", "--skip-invalid"),
		built(t, "age\n3.5\n", "--grid", grid, "--to", "proto", "--column", "age", one, "-", two),
	} {
		if got != string(want) {
			t.Errorf("built %q, want %q", got, want)
		}
	}
}

func TestBuildChoosesTheGridByItsRelativeError(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		if got := inspected(t, built(t, "1\n", args...)).Grid; got != want {
			t.Errorf("build %q is on the grid %s, want %s", args, got, want)
		}
	}
	f("exponential:scale=6")
	f("exponential:scale=5", "--relative-error", "0.03")
	f("explicit:0,1", "--grid", "explicit:0,1")
}

func TestBuildOfKeysIsADumpOfASketchEach(t *testing.T) {
	const grid = "explicit:0,1,2"
	file := built(t, "k,v\nb,1\na,2\nb,0\n", "--column", "v", "--key-column", "k", "--grid", grid)
	got := succeed(t, file, "sketch", "inspect", "--format", "csv", "--buckets")
	want := `file,key,window_start,window_end,bucket,lower,upper,count
standard input,a,,,3,2,+inf,1
standard input,b,,,1,0,1,1
standard input,b,,,2,1,2,1
`
	if got != want {
		t.Errorf("buckets are\n%s\nwant\n%s", got, want)
	}
	if got := succeed(t, file, "sketch", "convert", "--key", "b", "--to", "proto"); got != built(t, "1\n0\n", "--grid", grid, "--to", "proto") {
		t.Errorf("the sketch of b is %q", got)
	}
	if got := succeed(t, built(t, "k,v\n", "--column", "v", "--key-column", "k"), "sketch", "inspect", "--format", "json"); got != "[]\n" {
		t.Errorf("a dump of no rows holds %s", got)
	}
}

func TestBadRowsOfABuildAreNamed(t *testing.T) {
	f := func(stdin string, args []string, texts ...string) {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out")
		fail(t, exitFailed, stdin, append([]string{"sketch", "build", "-o", out}, args...), append(texts, "standard input")...)
		if _, err := os.Stat(out); err == nil {
			t.Errorf("build %q of bad rows wrote a file", args)
		}
	}
	f("1\nNaN\n", nil, "line 2", `"NaN"`, "not a number")
	f("1\n2\nthree\n", nil, "line 3", `"three"`, "--column")
	f("1\n\n2\n", nil, "line 2", `""`)
	f("k,v\na,1\nb,x\n", []string{"--column", "v"}, "line 3", `"x"`)
	f("k,v\na,1\nb\n", []string{"--column", "v"}, "line 3", "column v is missing")
	f("k,v\na,1\n,2\n", []string{"--column", "v", "--key-column", "k"}, "line 3", "key is empty")
	f("k,v\n\xff,2\n", []string{"--column", "v", "--key-column", "k"}, "line 2", "UTF-8")
}

func TestWrongBuildsAreRefused(t *testing.T) {
	f := func(args []string, texts ...string) {
		t.Helper()
		fail(t, exitUsage, "k,v\na,1\n", append([]string{"sketch", "build"}, args...), texts...)
	}
	f([]string{"--column", "x"}, `"x"`, `"k", "v"`)
	f([]string{"--column", ""}, "--column")
	f([]string{"--key-column", "k"}, "--key-column", "--column")
	f([]string{"--column", "v", "--key-column", "0"}, "--key-column 0")
	f([]string{"--no-header"}, "--column")
	f([]string{"--grid", "explicit:0", "--relative-error", "0.1"}, "--grid", "--relative-error")
	f([]string{"--grid", "round"}, "--grid", "round")
	f([]string{"--relative-error", "0.0001"}, "--relative-error", "0.0001")
	f([]string{"--relative-error", "-1"}, "--relative-error", "-1")
	f([]string{"--to", "xml"}, "--to", `"xml"`, "proto", "dump", "json")
	f([]string{"--column", "v", "--key-column", "k", "--to", "proto"}, "--to proto", "keys")
	f([]string{"-o", ""}, "-o")
	f([]string{"no such file"}, "no such file")
}

// lossless are the formats that hold every sketch on a grid with every count.
var lossless = []string{"binary", "proto", "json", "dump"}

func TestFormatsKeepEveryCount(t *testing.T) {
	xs := numbered(t, 5000)
	for _, grid := range []string{"exponential:scale=5", "exponential:scale=-4", "exponential:scale=3,min=0.001,max=1000", "linear:lower=-8,upper=8,bins=100", "explicit:-1,0,2.5"} {
		s := binned(t, grid, append(xs, math.NaN(), math.NaN())...)
		original, err := encodeProto(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range lossless {
			file := succeed(t, string(original), "sketch", "convert", "--to", from)
			for _, zipped := range []string{file, zip(t, file)} {
				if got := succeed(t, zipped, "sketch", "convert", "--to", "proto"); got != string(original) {
					t.Errorf("%s: through %s comes another sketch", grid, from)
				}
				if got := succeed(t, zipped, "sketch", "convert", "--from", from, "--to", "proto"); got != string(original) {
					t.Errorf("%s: through %s by its name comes another sketch", grid, from)
				}
			}
			if v := inspected(t, file); v.Count != s.Count() || v.NaN != 2 || v.Grid != grid || v.Bytes[from] != len(file) && from != "dump" {
				t.Errorf("%s: inspect of %s says %+v", grid, from, v)
			}
		}
	}
}

func TestSketchesPassThroughPipes(t *testing.T) {
	xs := numbered(t, 3000)
	var parts []string
	for part := range slices.Chunk(xs, 700) {
		name := filepath.Join(t.TempDir(), "part")
		to := lossless[len(parts)%len(lossless)]
		if got := built(t, lines(part...), "-o", name, "--to", to); got != "" {
			t.Errorf("with -o comes %q on standard output", got)
		}
		parts = append(parts, name)
	}
	last := parts[len(parts)-1]
	file, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	whole := built(t, lines(xs...), "--to", "proto")
	parts[len(parts)-1] = "-"
	if got := succeed(t, string(file), append([]string{"sketch", "merge", "--ignore-keys", "--to", "proto"}, parts...)...); got != whole {
		t.Error("the parts merge to another sketch than that of the whole")
	}
	slices.Reverse(parts)
	if got := succeed(t, string(file), append([]string{"sketch", "merge", "--to", "proto"}, parts...)...); got != whole {
		t.Error("the order of the parts makes a difference")
	}
}

func TestMergesOfScalesAreThatOfTheCoarsest(t *testing.T) {
	xs := numbered(t, 2000)
	a := write(t, "a", built(t, lines(xs[:500]...), "--grid", "exponential:scale=7"))
	b := write(t, "b", built(t, lines(xs[500:900]...), "--grid", "exponential:scale=2"))
	c := write(t, "c", built(t, lines(xs[900:]...), "--grid", "exponential:scale=5"))
	want := built(t, lines(xs...), "--grid", "exponential:scale=2")
	for _, order := range [][]string{{a, b, c}, {c, b, a}, {b, a, c}} {
		if got := succeed(t, "", append([]string{"sketch", "merge"}, order...)...); got != want {
			t.Errorf("merge of %q is not the sketch of scale 2", order)
		}
	}
}

func TestMergesKeepKeysApart(t *testing.T) {
	const grid = "explicit:0,1,2"
	a := write(t, "a", built(t, "x,1\ny,2\n", "--no-header", "--key-column", "1", "--column", "2", "--grid", grid))
	b := write(t, "b", built(t, "z,0\nx,0\n", "--no-header", "--key-column", "1", "--column", "2", "--grid", grid))
	alone := write(t, "c", built(t, "1\n", "--grid", grid))
	merged := succeed(t, "", "sketch", "merge", a, b, alone)
	var views []inspectView
	if err := json.Unmarshal([]byte(succeed(t, merged, "sketch", "inspect", "--format", "json")), &views); err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]uint64)
	for _, v := range views {
		counts[v.Key] += v.Count
	}
	if want := map[string]uint64{"": 1, "x": 2, "y": 1, "z": 1}; len(views) != 4 || !reflect.DeepEqual(counts, want) {
		t.Errorf("%d sketches with counts %v, want %v", len(views), counts, want)
	}
	if got := succeed(t, "", "sketch", "merge", a, b, alone, "--ignore-keys"); got != built(t, "1\n2\n0\n0\n1\n", "--grid", grid) {
		t.Errorf("with --ignore-keys comes %q", got)
	}
	if got := inspected(t, succeed(t, "", "sketch", "merge", a, b, "--key", "x")); got.Key != "x" || got.Count != 2 {
		t.Errorf("of the key x comes %+v", got)
	}
	fail(t, exitUsage, "", []string{"sketch", "merge", a, b, "--to", "proto"}, "--to proto", "there are 3", "--key")
	fail(t, exitUsage, "", []string{"sketch", "merge", a, b, "--key", "q"}, `"q"`)
}

func TestMergesThatAreNoneNameBothGrids(t *testing.T) {
	a := write(t, "a.sketch", built(t, "1\n", "--grid", "explicit:0,1"))
	b := write(t, "b.sketch", built(t, "1\n", "--grid", "linear:lower=0,upper=4,bins=2"))
	fail(t, exitFailed, "", []string{"sketch", "merge", a, b}, "a.sketch", "b.sketch", "the grids differ", "explicit:0,1", "linear:lower=0,upper=4,bins=2")
	c := write(t, "c.sketch", built(t, "1\n", "--grid", "exponential:scale=2,min=1,max=2"))
	d := write(t, "d.sketch", built(t, "1\n", "--grid", "exponential:scale=2"))
	fail(t, exitFailed, "", []string{"sketch", "merge", c, d}, "the grids differ", "min=1")
}

func TestMergesBeyondTheLargestCountAreRefused(t *testing.T) {
	most := write(t, "most.json", `{"grid":{"explicit":{"breaks":[0]}},"gaps":[1],"counts":["9223372036854775807"]}`)
	one := write(t, "one.sketch", built(t, "1\n", "--grid", "explicit:0"))
	fail(t, exitFailed, "", []string{"sketch", "merge", most, one}, "most.json", "one.sketch", "exceeds 2^63-1")
	if got := succeed(t, "", "sketch", "convert", most, "--to", "json"); !strings.Contains(got, `"9223372036854775807"`) {
		t.Errorf("the largest count becomes %s", got)
	}
}

func TestInspectSaysWhatASketchHolds(t *testing.T) {
	file := built(t, "1\n1\n5\n-3\n2.5\n", "--grid", "linear:lower=0,upper=4,bins=4")
	want := `kind    grid                           count  nan  at least  at most  filled  outside  error
binned  linear:lower=0,upper=4,bins=4      5    0      -inf     +inf       4        2      1
`
	got := succeed(t, file, "sketch", "inspect")
	if !strings.HasPrefix(got, want) {
		t.Errorf("inspect says\n%s\nwant\n%s", got, want)
	}
	for _, name := range formatNames() {
		if !strings.Contains(got, name) {
			t.Errorf("inspect does not say the bytes in the format %s:\n%s", name, got)
		}
	}
	v := inspected(t, file)
	if v.Error.Absolute == nil || *v.Error.Absolute != 1 || v.Error.Relative != nil || v.AtLeast != nil || v.AtMost != nil {
		t.Errorf("JSON says %+v", v)
	}
	if want := []bucketView{{0, 0, 0, 1}, {2, 1, 2, 2}, {3, 2, 3, 1}, {5, 4, 0, 1}}; !reflect.DeepEqual(v.Buckets, want) { // null reads as 0
		t.Errorf("buckets %v, want %v", v.Buckets, want)
	}
	if got := succeed(t, file, "sketch", "inspect", "--buckets"); !strings.Contains(got, "\n     2      1      2      2\n") {
		t.Errorf("the table lists no bucket 2:\n%s", got)
	}
	if got := succeed(t, built(t, "1\n", "--grid", "explicit:-1e308,1e308"), "sketch", "inspect", "--format", "csv"); !strings.Contains(got, ",-"+formatNumber(1e308)+","+formatNumber(1e308)+",1,0,,+inf,") {
		t.Errorf("a bucket wider than the largest float64 is %s", got)
	}
	empty := inspected(t, built(t, ""))
	if empty.Count != 0 || empty.AtLeast != nil || empty.Filled != 0 || empty.Error.Relative == nil {
		t.Errorf("inspect of nothing says %+v", empty)
	}
}

func TestInspectPrintsWhatItSaysAsCSV(t *testing.T) {
	a := write(t, "a.sketch", built(t, "1\n", "--grid", "explicit:0,1,2"))
	header := quietilev1.DumpHeader{WindowStartUnixNano: proto.Int64(0), WindowEndUnixNano: proto.Int64(60e9)}
	got := succeed(t, dumped(t, &header, [][]float64{{1}}, dumpedGrid), "sketch", "inspect", "--format", "csv", a, "-")
	rows, err := csv.NewReader(strings.NewReader(got)).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d rows, %v:\n%s", len(rows), err, got)
	}
	if want := []string{a, "", "", "", "binned", "explicit:0,1,2", "1", "0", "1", "2", "1", "0", "", "1"}; !slices.Equal(rows[1][:len(want)], want) {
		t.Errorf("row %q, want %q", rows[1], want)
	}
	if want := []string{"standard input", "key", "1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z"}; !slices.Equal(rows[2][:len(want)], want) {
		t.Errorf("row %q, want %q", rows[2], want)
	}
}

func TestQuantilesSayThatTheyAreNotPrivate(t *testing.T) {
	file := built(t, "1\n2\n3\n4\n", "--grid", "linear:lower=0,upper=8,bins=8")
	if got := succeed(t, file, "sketch", "quantile"); !strings.HasPrefix(got, "Trusted, not private") {
		t.Errorf("the table is\n%s", got)
	}
	if got := succeed(t, file, "sketch", "quantile", "--format", "json"); !strings.Contains(got, `"private": false`) {
		t.Errorf("the JSON is %s", got)
	}
	if got := succeed(t, file, "sketch", "quantile", "--format", "csv"); !strings.HasPrefix(got, "private,") || strings.Count(got, "\nfalse,") != 3 {
		t.Errorf("the CSV is %s", got)
	}
	if help := succeed(t, "", "sketch", "quantile", "--help"); !strings.Contains(help, "NOT PRIVATE") {
		t.Errorf("the help is %s", help)
	}
}

func TestQuantilesAndRanksArePrinted(t *testing.T) {
	const grid = "linear:lower=0,upper=8,bins=16"
	file := built(t, "1\n2\n3\n4\n", "--grid", grid)
	s := binned(t, grid, 1, 2, 3, 4)
	values, err := s.Quantiles([]float64{0.5, 1})
	if err != nil {
		t.Fatal(err)
	}
	ranks, err := s.CDF([]float64{3.5, 9})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%s\n\nq value lower upper\n0.5 %v 2 2.5\n1 %v 4 4.5\n\nx rank lower upper\n3.5 %v 0.75 0.75\n9 %v 1 1\n", notPrivate, values[0], values[1], ranks[0], ranks[1])
	got := succeed(t, file, "sketch", "quantile", "-q", "0.5,1", "--rank", "3.5", "--cdf", "9", "--bounds")
	if squeezed(got) != squeezed(want) {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
	if got := succeed(t, file, "sketch", "quantile", "--rank", "3.5", "--format", "csv"); !strings.HasSuffix(got, "\nfalse,standard input,,,,4,0,rank,0.75,3.5,,\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("the CSV is %s", got)
	}
	keys := dumped(t, nil, [][]float64{{1}, {2}}, dumpedGrid)
	if got := succeed(t, keys, "sketch", "quantile", "-q", "0.5"); strings.Count(got, "\nkey") != 3 {
		t.Errorf("a dump with keys prints\n%s", got)
	}
	if got := succeed(t, built(t, ""), "sketch", "quantile", "-q", "0.5", "--cdf", "1", "--bounds"); !strings.Contains(got, "0.5      -      -      -\n") {
		t.Errorf("a sketch of nothing prints\n%s", got)
	}
	if got := succeed(t, built(t, ""), "sketch", "quantile", "-q", "0.5", "--format", "json"); !strings.Contains(got, `"value": null`) {
		t.Errorf("a sketch of nothing prints %s", got)
	}
}

func TestBoundsHoldTheExactAnswers(t *testing.T) {
	xs := numbered(t, 1000)
	file := built(t, lines(xs...))
	slices.Sort(xs)
	args := []string{"sketch", "quantile", "--bounds", "--format", "csv"}
	var qs []float64
	for i := range 101 {
		qs = append(qs, float64(i)/100)
		args = append(args, "-q", fmt.Sprint(float64(i)/100))
	}
	for _, x := range xs {
		args = append(args, "--cdf", fmt.Sprint(x))
	}
	rows, err := csv.NewReader(strings.NewReader(succeed(t, file, args...))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	number := func(cell string) float64 {
		t.Helper()
		x, ok := parseValue([]byte(cell))
		if !ok {
			t.Fatalf("%q is not a number", cell)
		}
		return x
	}
	for i, q := range qs {
		exact := xs[max(int(math.Ceil(q*float64(len(xs)))), 1)-1]
		row := rows[1+i]
		if lower, upper := number(row[10]), number(row[11]); exact < lower || exact > upper {
			t.Errorf("quantile %v is %v, outside of %v to %v", q, exact, lower, upper)
		}
	}
	for i, x := range xs {
		n := 0
		for _, y := range xs {
			if y <= x {
				n++
			}
		}
		exact, row := float64(n)/float64(len(xs)), rows[1+len(qs)+i]
		if lower, upper := number(row[10]), number(row[11]); exact < lower || exact > upper {
			t.Errorf("the share at most %v is %v, outside of %v to %v", x, exact, lower, upper)
		}
	}
}

func TestWrongQuestionsAreRefused(t *testing.T) {
	file := built(t, "1\n")
	f := func(args []string, texts ...string) {
		t.Helper()
		fail(t, exitUsage, file, append([]string{"sketch", "quantile"}, args...), texts...)
	}
	f([]string{"-q", "1.5"}, "1.5", "between 0 and 1")
	f([]string{"-q", "half"}, `"half"`)
	f([]string{"-q", "nan"}, `"nan"`)
	f([]string{"--cdf", "1,x"}, `"x"`)
	f([]string{"a", "b"}, "sketch quantile")
	f([]string{"no such file"}, "no such file")
	f([]string{"--format", "xml"}, `"xml"`)
}

func TestConvertRebinsWhereBucketsNest(t *testing.T) {
	xs := numbered(t, 2000)
	fine := built(t, lines(xs...), "--grid", "exponential:scale=6")
	if got := succeed(t, fine, "sketch", "convert", "--grid", "exponential:scale=-1", "--to", "proto"); got != built(t, lines(xs...), "--grid", "exponential:scale=-1", "--to", "proto") {
		t.Error("a coarser scale is not the sketch of that scale")
	}
	whole := built(t, "0\n1\n2\n3\n4\n", "--grid", "linear:lower=0,upper=4,bins=8")
	if got := succeed(t, whole, "sketch", "convert", "--grid", "explicit:0,1.5,4", "--to", "proto"); got != built(t, "0\n1\n2\n3\n4\n", "--grid", "explicit:0,1.5,4", "--to", "proto") {
		t.Error("a union of linear buckets is not the sketch on it")
	}
}

func TestConvertSaysWhatItCouldNotKeep(t *testing.T) {
	o := execute(t, built(t, "0\n1\n1\n2\n", "--grid", "linear:lower=0,upper=4,bins=4"), "sketch", "convert", "--grid", "explicit:0,1.25,3", "--to", "json")
	if o.code != exitOK || !strings.HasPrefix(o.stderr, "2 values lay in buckets") || !strings.Contains(o.stdout, `"counts":["1","3"]`) {
		t.Errorf("exit code %d, standard error %q, standard output %q", o.code, o.stderr, o.stdout)
	}
}

func TestConvertKeepsKeysAndWindowsOfADump(t *testing.T) {
	window := func(at int64) *quietilev1.DumpHeader {
		return &quietilev1.DumpHeader{Metric: "m", WindowStartUnixNano: proto.Int64(at), WindowEndUnixNano: proto.Int64(at + 60e9)}
	}
	file := dumped(t, window(0), [][]float64{{1}, {2}}, dumpedGrid) + dumped(t, window(60e9), [][]float64{{3}}, dumpedGrid)
	again := succeed(t, file, "sketch", "convert", "--to", "dump")
	f := func(command ...string) {
		t.Helper()
		command = append([]string{"sketch"}, command...)
		if a, b := succeed(t, file, command...), succeed(t, again, command...); a != b {
			t.Errorf("%q says\n%s\nof the converted\n%s", command, a, b)
		}
	}
	f("inspect", "--format", "csv", "--buckets")
	f("quantile")
	fail(t, exitUsage, file, []string{"sketch", "convert", "--to", "json"}, "--to json", "there are 3")
	fail(t, exitUsage, file, []string{"sketch", "convert"}, "--to")
}

func TestUnknownInputsNameTheFormats(t *testing.T) {
	f := func(stdin string, texts ...string) {
		t.Helper()
		for _, command := range [][]string{{"inspect"}, {"quantile"}, {"merge"}, {"convert", "--to", "json"}} {
			fail(t, exitUsage, stdin, append([]string{"sketch"}, command...), append(texts, "standard input")...)
		}
	}
	all := append(formatNames(), "--from")
	f("", append(all, "empty")...)
	f("\x0a", all...)
	f("hello", all...)
	f("Quarter,Sales\n", all...)
	f("\x0a\x04\x0a\x02\x08\x0a\xff", all...)
	whole := built(t, "1\n1\n", "--grid", "explicit:0,1", "--to", "proto")
	f(whole+"\x20\x00", all...) // a NaN count of 0, which is never written
	f("1\n2\n", "sketch build")
	f(mapped(t, "a,1\n"), "quietile reduce --format dump")
}

func TestDamagedSketchesAreRefused(t *testing.T) {
	f := func(stdin, from string, texts ...string) {
		t.Helper()
		args := []string{"sketch", "inspect"}
		if from != "" {
			args = append(args, "--from", from)
		}
		fail(t, exitFailed, stdin, args, append(texts, "standard input")...)
	}
	whole := built(t, "1\n2\n", "--to", "proto")
	f(whole[:len(whole)-1], "proto", "proto")
	f("", "proto", "proto", "grid")
	packed := built(t, "1\n2\n")
	f(packed[:len(packed)-1], "binary", "binary", "byte")
	f("", "binary", "binary")
	f("Q\x07"+packed[2:], "", "binary", "version 7")
	f("{", "json", "json")
	f(`{"grid":{"exponential":{"scale":99}}}`, "json", "json", "scale", "99")
	f(`{"grid":{"exponential":{"scale":5}},"gaps":[1]}`, "json", "1 gaps for 0 counts")
	f(`{"grid":{"exponential":{"scale":5}},"later":1}`, "json", "later")
	file := dumped(t, nil, [][]float64{{1}}, dumpedGrid)
	f(file[:len(file)-1], "dump", "damaged dump")
	fail(t, exitFailed, file[:len(file)-1], []string{"sketch", "inspect"}, "damaged dump", "ends at byte")
	for i := range file {
		flipped := []byte(file)
		flipped[i] ^= 1
		if o := execute(t, string(flipped), "sketch", "quantile", "--from", "dump"); o.code != exitFailed || o.stdout != "" {
			t.Fatalf("a dump with byte %d damaged is answered: %q", i, o.stdout)
		}
	}
}

func TestSketchesAreNotWrittenToATerminal(t *testing.T) {
	f := func(o sketchOutput, given, refused bool) {
		t.Helper()
		o.to = &choice{value: o.to.value}
		if err := o.checkTerminal(given, true); (err != nil) != refused || refused && exitCode(err) != exitUsage {
			t.Errorf("-o %s given %v, --to %q, on a terminal: %v", o.name, given, o.to.value, err)
		}
		if err := o.checkTerminal(given, false); err != nil {
			t.Errorf("-o %s given %v, --to %q, in a pipe: %v", o.name, given, o.to.value, err)
		}
	}
	f(sketchOutput{"-", &choice{}}, false, true)
	f(sketchOutput{"-", &choice{value: "proto"}}, false, true)
	f(sketchOutput{"-", &choice{value: "json"}}, false, false)
	f(sketchOutput{"-", &choice{value: "proto"}}, true, false)
	f(sketchOutput{"file", &choice{}}, true, false)
}

func TestUnknownSketchCommandsAreNamed(t *testing.T) {
	fail(t, exitUsage, "", []string{"sketch", "mrege"}, `"mrege"`, "merge")
	fail(t, exitUsage, "", []string{"sketch", "zzz"}, `"zzz"`)
	if got := succeed(t, "", "sketch"); !strings.Contains(got, "Formats, for --to and --from") {
		t.Errorf("the help is %s", got)
	}
}

func TestAnInterruptEndsWaitingForSketches(t *testing.T) {
	for _, args := range [][]string{{"build"}, {"merge"}, {"inspect"}, {"quantile"}, {"convert", "--to", "json"}} {
		silent, hold := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var stdout, stderr bytes.Buffer
		if code := run(ctx, append([]string{"sketch"}, args...), silent, &stdout, &stderr); code != exitFailed || stderr.String() != "quietile: interrupted\n" || stdout.Len() > 0 {
			t.Errorf("%v: exit code %d, standard error %q, standard output %q", args, code, stderr.String(), stdout.String())
		}
		hold.Close()
	}
}

func TestInputsThatAreNoSketchTakeLittleMemory(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("{"), endlessSpace{})
	before := liveHeap()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"sketch", "inspect"}, endless, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "longer than 67108864 bytes") {
		t.Errorf("exit code %d, standard error %q", code, stderr.String())
	}
	if after := liveHeap(); after > before+16<<20 {
		t.Errorf("%d MB are in use afterwards", (after-before)>>20)
	}
}

// endlessSpace is a file of spaces without an end.
type endlessSpace struct{}

func (endlessSpace) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
