package main

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/quietile/quietile/sketch"
)

// asked is a release command line on standard input that is right, with more flags behind it.
func asked(more ...string) []string {
	return append([]string{"release", "-", "-q", "0.25,0.5", "--epsilon", "1", "--min", "0", "--max", "8"}, more...)
}

// answer is the part of a release's JSON that tests look at.
type answer struct {
	Metric        string
	Epsilon       json.Number
	Unit          string
	Contributions int
	Quantiles     []struct{ Q, Value float64 }
}

func parseAnswer(t *testing.T, text string) (a answer) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return a
}

func TestWrongReleasesAreRefused(t *testing.T) {
	f := func(args []string, texts ...string) {
		t.Helper()
		fail(t, exitUsage, "never read", args, texts...)
	}
	release := func(args ...string) []string { return append([]string{"release", "-"}, args...) }

	f(release("--epsilon", "1", "--min", "0", "--max", "1"), "-q is required")
	f(release("-q", "0.5", "--min", "0", "--max", "1"), "--epsilon is required")
	for _, epsilon := range []string{"0", "-1", "0.0", "1001", "x", "1e-3", "NaN", ""} {
		f(release("-q", "0.5", "--epsilon="+epsilon, "--min", "0", "--max", "1"), "--epsilon", strconv.Quote(epsilon))
	}
	for _, q := range []string{"0", "1", "1.5", "-0.5", "x", "", "0.5,", "NaN", "5e-1", "0.5;0.6"} {
		f(release("-q="+q, "--epsilon", "1", "--min", "0", "--max", "1"), "quantile")
	}
	f(release("-q", "0.5,1.5", "--epsilon", "1", "--min", "0", "--max", "1"), "1.5")
	f(release("-q", "0.1234567891", "--epsilon", "1", "--min", "0", "--max", "1"), "0.1234567891", "nine decimals")
	f(release("-q", "0.5", "--epsilon", "1", "--bins", "7"), "--bins", "--min", "--max")
	f(release("-q", "0.5", "--epsilon", "1", "--prior", "cauchy:scale=1"), "--prior", "location is missing")
	f(release("-q", "0.5", "--epsilon", "1", "--estimator", "magic"), "--estimator", "magic", "recursive")
	f(release("-q", "0.5", "--epsilon", "1", "--min", "0"), "--min", "--max", "--grid")
	f(release("-q", "0.5", "--epsilon", "1", "--min", "2", "--max", "1"), "--min 2", "--max 1")
	f(release("-q", "0.5", "--epsilon", "1", "--min", "1", "--max", "1"), "--min 1", "--max 1")
	f(release("-q", "0.5", "--epsilon", "1", "--min", "NaN", "--max", "1"), "--min NaN")
	f(release("-q", "0.5", "--epsilon", "1", "--min", "0", "--max", "Inf"), "--max +Inf")
	f(release("-q", "0.5", "--epsilon", "1", "--min", "a", "--max", "1"), "--min", `"a"`)
	f(release("-q", "0.5", "--epsilon", "1", "--grid", "cubic"), "--grid", "cubic")
	f(asked("--grid", "explicit:0,1"), "--grid", "--min")
	f(asked("--integer", "--bins", "3"), "--integer", "--bins")
	f(asked("--bins", "0"), "--bins 0")
	f(asked("--bins", "2097151"), "--bins 2097151")
	f(release("-q", "0.5", "--epsilon", "1", "--min", "0.5", "--max", "3", "--integer"), "--min 0.5", "--integer")
	f(release("-q", "0.5", "--epsilon", "1", "--min", "0", "--max", "1e9", "--integer"), "--integer", "1000000000")
	f(asked("--contributions", "0"), "--contributions 0")
	f(asked("--representative", "upper"), "--representative", `"upper"`)
	f(asked("--format", "xml"), "--format", `"xml"`)
	f(asked("--column", ""), "--column")
	f(asked("--column", "0"), "--column 0")
	f(asked("--column", "age", "--no-header"), `--column "age"`, "--no-header")
	f(asked("--no-header"), "--no-header", "--column")
	f(asked("--delimiter", ";;", "--column", "1"), "--delimiter", `";;"`)
	f(asked("another"), "2")
	f([]string{"release", "no such file", "-q", "0.5", "--epsilon", "1", "--min", "0", "--max", "1"}, "no such file")
	f([]string{"release", t.TempDir(), "-q", "0.5", "--epsilon", "1", "--min", "0", "--max", "1"}, "is a directory")
}

func TestMissingColumnsAreNamed(t *testing.T) {
	f := func(stdin string, args []string, texts ...string) {
		t.Helper()
		fail(t, exitUsage, stdin, args, texts...)
	}
	f("age,hours\n1,2\n", asked("--column", "agee"), `"agee"`, `"age", "hours"`)
	f("age,hours\n1,2\n", asked("--column", "3"), "column 3", "2")
	f("1,2\n", asked("--column", "3", "--no-header"), "column 3", "2")
	f("", asked("--column", "age"), `"age"`)
}

func TestBadCellsAreNamed(t *testing.T) {
	f := func(stdin string, args []string, texts ...string) {
		t.Helper()
		fail(t, exitFailed, stdin, args, texts...)
		succeed(t, stdin, append(args, "--skip-invalid")...)
	}
	f("1\n2\nthree\n", asked(), "line 3", `"three"`)
	f("1\n\n2\n", asked(), "line 2", `""`)
	f("1\nNaN", asked(), "line 2", `"NaN"`)
	f("a,b\n1,2\n3,\n", asked("--column", "b"), "line 3", `""`)
	f("a,b\n1,2\n3\n", asked("--column", "b"), "line 3", "column b is missing")
	f("a,b\n1,2\n3,4\"5\n\"\n1,2", asked("--column", "b"), "line 3", "stray quote in cell 2")
	f("a,b\n1,2\n3,\"5\n", asked("--column", "b"), "line 3", "not closed")
	f(strings.Repeat("x", 1000), asked(), "line 1", "xxx")
	fail(t, exitFailed, strings.Repeat("1", 2<<20), asked(), "line 1", "longer than")
	fail(t, exitFailed, "\x1f\x8bnot gzip", asked(), "standard input", "gzip")
}

func TestReleasesHaveTheAskedForm(t *testing.T) {
	a := parseAnswer(t, succeed(t, "age;n\n3;1\n4;1\n", asked("--column", "age", "--delimiter", ";", "--format", "json")...))
	if a.Metric != "age" || a.Epsilon != "1" || a.Unit != "event" || a.Contributions != 1 || len(a.Quantiles) != 2 || a.Quantiles[0].Q != 0.25 || a.Quantiles[1].Q != 0.5 {
		t.Errorf("answer %+v", a)
	}
	for _, q := range a.Quantiles {
		if q.Value < 0 || q.Value > 8 {
			t.Errorf("value %v is outside [0, 8]", q.Value)
		}
	}
	a = parseAnswer(t, succeed(t, "", asked("-q", "0.9", "--contributions", "4", "--format", "json")...))
	if a.Metric != "" || a.Unit != "user" || a.Contributions != 4 || len(a.Quantiles) != 3 || a.Quantiles[2].Q != 0.9 {
		t.Errorf("answer %+v", a)
	}
}

func TestCertainReleasesFindTheirValues(t *testing.T) {
	f := func(want float64, stdin string, args ...string) {
		t.Helper()
		// With so many records and so large an ε a wrong answer is less likely than a broken machine.
		args = append([]string{"release", "-", "-q", "0.5", "--epsilon", "1000", "--format", "json"}, args...)
		if a := parseAnswer(t, succeed(t, stdin, args...)); a.Quantiles[0].Value != want {
			t.Errorf("quietile %q: value %v, want %v", args, a.Quantiles[0].Value, want)
		}
	}
	rows := func(row string) string { return strings.Repeat(row, 10_000) }
	f(37, rows("37\n"), "--min", "0", "--max", "128")
	f(37, rows(" 37 \r\n"), "--min", "0", "--max", "128")
	f(37, rows("3.7e1\n"), "--min", "0", "--max", "8192")
	f(37, rows("37\n"), "--min", "0", "--max", "1e6", "--integer")
	f(128, rows("128\n"), "--min", "0", "--max", "128", "--integer")
	f(128, rows("1e999\n"), "--min", "0", "--max", "128")
	f(0, rows("-7\n"), "--min", "0", "--max", "128")
	f(36, rows("37\n"), "--grid", "explicit:0,36,40", "--representative", "lower")
	f(0, rows("0\n"), "--grid", "exponential:scale=5")
	f(32, rows("37\n"), "--grid", "exponential:scale=0", "--representative", "lower")
	f(37, "\uFEFFage,n\n"+rows("37,1\n"), "--column", "age", "--min", "0", "--max", "128")
	f(37, "age, n \n"+rows("1, 37\n"), "--column", "n", "--min", "0", "--max", "128")
	f(37, "age,n\n"+rows("1,37\n"), "--column", "2", "--min", "0", "--max", "128")
	f(37, "1,2\n"+rows("37,5\n"), "--column", "1", "--min", "0", "--max", "128")
	f(37, "2,1\n"+rows("5,37\n"), "--column", "1", "--min", "0", "--max", "128")
	f(37, rows("1,37\n"), "--column", "2", "--no-header", "--min", "0", "--max", "128")
	f(37, rows("1\t37\n"), "--column", "2", "--no-header", "--delimiter", `\t`, "--min", "0", "--max", "128")
	f(37, "\"the \"\"name\"\"\",n\n"+rows("\"a,\n\"\"b\",\"37\"\r\n"), "--column", "n", "--min", "0", "--max", "128")
	f(37, "a,b\n1,x\n"+rows("1,37\n"), "--column", "b", "--skip-invalid", "--min", "0", "--max", "128")
	f(37, zip(t, rows("37\n")), "--min", "0", "--max", "128")
}

func TestReleaseReadsFiles(t *testing.T) {
	for _, path := range []string{write(t, "a.csv", "age\n1\n2\n"), write(t, "a.csv.gz", zip(t, "age\n1\n2\n"))} {
		out := succeed(t, "", "release", path, "--column", "age", "-q", "0.5", "--epsilon", "1", "--min", "0", "--max", "8", "--format", "csv")
		if rows, err := csv.NewReader(strings.NewReader(out)).ReadAll(); err != nil || len(rows) != 2 {
			t.Errorf("%s: rows %q, %v", path, rows, err)
		}
	}
	damaged := zip(t, strings.Repeat("1\n", 1000))
	fail(t, exitFailed, damaged[:len(damaged)-6], asked(), "unexpected EOF")
}

func TestDefaultGridHasIntegersAsEdges(t *testing.T) {
	f := func(want int, args ...string) {
		t.Helper()
		var f releaseFlags
		cmd := newReleaseCommand()
		flags := cmd.Flags()
		flags.Float64Var(&f.min, "lowest", 0, "")
		flags.Float64Var(&f.max, "highest", 0, "")
		if err := flags.Parse([]string{"--lowest", args[0], "--highest", args[1]}); err != nil {
			t.Fatal(err)
		}
		if bins, err := f.chooseBins(cmd); err != nil || bins != want {
			t.Errorf("%v: %d bins, %v, want %d", args, bins, err, want)
		}
	}
	f(8192, "0", "128")
	f(6400, "0", "100")
	f(8192, "-4096", "4096")
	f(8191, "0", "8191")
	f(8192, "0", "8193")
	f(8192, "0", "0.5")
	f(8192, "0.5", "4.5")
	f(8192, "0", "1")
}

// census returns a column of the census data that accompany the project, ascending, and skips the test where they are absent.
func census(t *testing.T, name string) []float64 {
	t.Helper()
	file, err := os.Open(censusFile)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no census data in ../shared/data")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(text).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var values []float64
	for _, row := range rows[1:] {
		x, err := strconv.ParseFloat(row[slices.Index(rows[0], name)], 64)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, x)
	}
	slices.Sort(values)
	return values
}

const censusFile = "../../../shared/data/adult.csv.gz"

// With ε = 1, the median rank error of 20 releases is at most the given share of the records, at each quantile, ties counting in the answer's favour.
func TestCensusReleasesAreAccurate(t *testing.T) {
	f := func(column, list string, share float64) {
		t.Helper()
		values := census(t, column)
		n := float64(len(values))
		errs := make(map[float64][]float64)
		for range 20 {
			a := parseAnswer(t, succeed(t, "", "release", censusFile, "--column", column, "-q", list, "--epsilon", "1", "--min", "0", "--max", "128", "--format", "json"))
			for _, q := range a.Quantiles {
				below, _ := slices.BinarySearch(values, q.Value)
				through, _ := slices.BinarySearch(values, math.Nextafter(q.Value, math.Inf(1)))
				errs[q.Q] = append(errs[q.Q], max(0, q.Q*n-float64(through), float64(below)-q.Q*n)/n)
			}
		}
		if len(errs) != strings.Count(list, ",")+1 {
			t.Errorf("%s: answers for %d quantiles of %s", column, len(errs), list)
		}
		for q, e := range errs {
			slices.Sort(e)
			if median := (e[9] + e[10]) / 2; median > share {
				t.Errorf("%s: median rank error of quantile %g is %g of n, more than %g", column, q, median, share)
			}
		}
	}
	f("age", "0.25,0.5,0.75", 0.002)
	f("hours", "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9", 0.005)
}

func TestReleaseNeedsNoMemoryForItsRows(t *testing.T) {
	grid, err := sketch.NewLinear(0, 128, 8192)
	if err != nil {
		t.Fatal(err)
	}
	read := func(rows int) float64 {
		text := strings.Repeat("a,37\n", rows)
		return testing.AllocsPerRun(3, func() {
			f := releaseFlags{column: "2", noHeader: true, delimiter: new(delimiterValue)}
			*f.delimiter = ','
			if _, err := f.read(strings.NewReader(text), sketch.NewBinned(grid)); err != nil {
				t.Error(err)
			}
		})
	}
	if few, many := read(10_000), read(100_000); many > few+10 {
		t.Errorf("%v allocations for 10,000 rows and %v for 100,000", few, many)
	}
}

// Without a range the grid has all numbers, and the answers are as near as its buckets are wide.
func TestNoRangeIsNeeded(t *testing.T) {
	for _, scale := range []float64{1e-9, -1, 1, 4.2e15} {
		var rows strings.Builder
		for i := range 1000 {
			fmt.Fprintln(&rows, scale*float64(i))
		}
		var r struct {
			Prior     string
			Quantiles []struct{ Value float64 }
		}
		out := succeed(t, rows.String(), "release", "-", "-q", "0.25,0.75", "--epsilon", "50", "--format", "json")
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		if r.Prior != anyPrior {
			t.Errorf("the prior is %s", r.Prior)
		}
		for i, want := range []float64{250 * math.Abs(scale), 750 * math.Abs(scale)} {
			if scale < 0 {
				want -= 1000 * math.Abs(scale)
			}
			if got := r.Quantiles[i].Value; math.Abs(got-want) > 0.03*math.Abs(want) {
				t.Errorf("values of the order of %v: quantile %d is %v, want nearly %v", scale*1000, i, got, want)
			}
		}
	}
}

func TestExplainComparesEstimatorsWithoutTheFile(t *testing.T) {
	args := []string{"release", "no such file", "-q", "0.25,0.5,0.75", "--epsilon", "1", "--min", "0", "--max", "100", "--n-hint", "5000", "--explain"}
	var views []predictionView
	if err := json.Unmarshal([]byte(succeed(t, "", append(args, "--format", "json")...)), &views); err != nil {
		t.Fatal(err)
	}
	if len(views) != 9 || views[0].Estimator != "joint" || views[0].Mean <= 0 {
		t.Errorf("%+v", views)
	}
	if got := succeed(t, "", args...); !strings.HasPrefix(got, "estimator") || strings.Count(got, "\n") != len(views)+1 {
		t.Errorf("the table is\n%s", got)
	}
	var r struct {
		Estimator string
		Predicted *predictionView
	}
	out := succeed(t, strings.Repeat("1\n2\n3\n", 100), "release", "-", "-q", "0.25,0.5,0.75", "--epsilon", "1", "--min", "0", "--max", "100", "--n-hint", "5000", "--estimator", "auto", "--format", "json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Predicted == nil || *r.Predicted != views[0] || r.Estimator != views[0].Estimator {
		t.Errorf("chosen %+v, explained %+v", r, views[0])
	}
	fail(t, exitUsage, "", []string{"release", "-", "-q", "0.5", "--epsilon", "1", "--dump", "--public-grid", "--explain"}, "--explain", "--grid")
}
