package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

// sorted returns lines as LC_ALL=C sort orders them.
func sorted(text string) string {
	lines := slices.Collect(strings.Lines(text))
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// mapped is the output of the mapper for rows without a header.
func mapped(t *testing.T, rows string, more ...string) string {
	t.Helper()
	return succeed(t, rows, append([]string{"map", "--no-header"}, more...)...)
}

func TestShardsReduceToTheOnePassAnswer(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	keys := []string{"a", "a b", "ab", "b!", "b", "é", "日本", "-", "10", "9", "A", "\xff", "\"q", "x=y"}
	var rows []string
	for range 5000 {
		key := strings.ReplaceAll(keys[rng.IntN(len(keys))], `"`, `""`)
		value := math.Exp(10*rng.NormFloat64()) * float64(rng.IntN(3)-1)
		rows = append(rows, fmt.Sprintf("\"%s\",%g\n", key, value))
	}
	rows = append(rows, "a,NaN\n", "b,+Inf\n", "b,-inf\n", "A,0\n", "only nan,nan\n")
	whole := succeed(t, sorted(mapped(t, strings.Join(rows, ""))), "reduce")
	if n := strings.Count(whole, "\n"); n != len(keys)+1 {
		t.Fatalf("%d keys in the one-pass answer, want %d", n, len(keys)+1)
	}
	for _, shards := range []int{1, 2, 3, 17, 400} {
		for _, most := range []string{"1", "2", "5", "100000"} {
			parts := make([]strings.Builder, shards)
			for _, i := range rng.Perm(len(rows)) {
				parts[rng.IntN(shards)].WriteString(rows[i])
			}
			var all, half strings.Builder
			for i := range parts {
				out := mapped(t, parts[i].String(), "--max-keys", most)
				all.WriteString(out)
				if i%2 == 0 { // some parts pass a combiner on their way
					out = succeed(t, sorted(out), "reduce")
				}
				half.WriteString(out)
			}
			if got := succeed(t, sorted(all.String()), "reduce"); got != whole {
				t.Errorf("%d shards, %s keys in memory: not the one-pass answer", shards, most)
			}
			if got := succeed(t, sorted(half.String()), "reduce"); got != whole {
				t.Errorf("%d shards, %s keys in memory, combined: not the one-pass answer", shards, most)
			}
		}
	}
}

// pipeline is cat shards | quietile map | LC_ALL=C sort | quietile reduce with all commands at work at once, a mapper for each shard.
func pipeline(t *testing.T, shards []string, reduce ...string) string {
	t.Helper()
	toSort, mapOut := io.Pipe()
	toReduce, sortOut := io.Pipe()
	var mapErr, reduceErr, reduced bytes.Buffer
	codes := make(chan int, 2)
	go func() {
		code := exitOK
		for _, shard := range shards {
			code = max(code, run(t.Context(), []string{"map", "--no-header", "--max-keys", "3"}, strings.NewReader(shard), mapOut, &mapErr))
		}
		mapOut.Close()
		codes <- code
	}()
	go func() {
		text, err := io.ReadAll(toSort)
		if err == nil {
			_, err = io.WriteString(sortOut, sorted(string(text)))
		}
		sortOut.CloseWithError(err)
	}()
	go func() {
		code := run(t.Context(), append([]string{"reduce"}, reduce...), toReduce, &reduced, &reduceErr)
		toReduce.Close()
		codes <- code
	}()
	if a, b := <-codes, <-codes; a != exitOK || b != exitOK {
		t.Fatalf("exit codes %d and %d; map: %s, reduce: %s", a, b, mapErr.String(), reduceErr.String())
	}
	return reduced.String()
}

func TestPipelinesWriteTheOnePassAnswerInEveryFormat(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 2))
	t.Logf("seed %d", seed)
	var rows []string
	for range 3000 {
		rows = append(rows, fmt.Sprintf("host %d,%g\n", rng.IntN(40), rng.NormFloat64()))
	}
	for _, reduce := range [][]string{nil, {"--format", "dump"}, {"--format", "table"}} {
		whole := succeed(t, mapped(t, strings.Join(rows, "")), append([]string{"reduce"}, reduce...)...)
		for _, n := range []int{1, 7, 100} {
			shards := make([]string, n)
			for _, row := range rows {
				shards[rng.IntN(n)] += row
			}
			if got := pipeline(t, shards, reduce...); got != whole {
				t.Errorf("reduce %q of %d shards is not the one-pass answer", reduce, n)
			}
		}
	}
}

func TestMapWritesTheSketchOfEachKey(t *testing.T) {
	const grid = "linear:lower=0,upper=8,bins=8"
	out := succeed(t, "k,v\nb,1\na,2\nb,3.5\n", "map", "--key-column", "k", "--value-column", "v", "--grid", grid)
	lines := strings.Split(out, "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "a\t") || !strings.HasPrefix(lines[1], "b\t") || lines[2] != "" {
		t.Fatalf("lines %q", lines)
	}
	g, err := sketch.ParseGrid(grid)
	if err != nil {
		t.Fatal(err)
	}
	want := sketch.NewBinned(g)
	want.AddBatch([]float64{1, 3.5})
	if key, got, err := parseRecord([]byte(lines[1])); err != nil || string(key) != "b" || !got.Equal(want) {
		t.Errorf("record %q, %v, %v; want %v", key, got, err, want)
	}
}

func TestMapReadsManyInputs(t *testing.T) {
	one, two := write(t, "1.csv", "k,v\na,1\n"), write(t, "2.csv.gz", zip(t, "v,k\n2,a\n"))
	got := succeed(t, "k,v\na,3\n", "map", "--key-column", "k", "--value-column", "v", one, two, "-")
	if want := mapped(t, "a,1\na,2\na,3\n"); got != want {
		t.Errorf("three inputs map to %q, want %q", got, want)
	}
	if got := succeed(t, zip(t, "a\t1\na\t2\na\t3\n"), "map", "--no-header", "--delimiter", "tab", "-"); got != mapped(t, "a,1\na,2\na,3\n") {
		t.Errorf("gzip maps to %q", got)
	}
	if got := mapped(t, ""); got != "" {
		t.Errorf("no rows map to %q", got)
	}
}

func TestWrongMapsAreRefused(t *testing.T) {
	f := func(args []string, texts ...string) {
		t.Helper()
		fail(t, exitUsage, "k,v\na,1\n", append([]string{"map"}, args...), texts...)
	}
	f([]string{"--key-column", "0"}, "--key-column 0")
	f([]string{"--value-column", ""}, "--value-column")
	f([]string{"--value-column", "v", "--no-header"}, `--value-column "v"`, "--no-header")
	f([]string{"--key-column", "x"}, `"x"`, `"k", "v"`)
	f([]string{"--value-column", "3"}, "column 3")
	f([]string{"--max-keys", "0"}, "--max-keys 0")
	f([]string{"--grid", "linear:lower=1,upper=0,bins=2"}, "--grid", "upper")
	f([]string{"--delimiter", "é"}, "--delimiter")
	f([]string{"-", "no such file"}, "no such file")
	f([]string{t.TempDir()}, "is a directory")
}

func TestBadRowsOfAMapAreNamed(t *testing.T) {
	f := func(stdin string, texts ...string) {
		t.Helper()
		fail(t, exitFailed, stdin, []string{"map", "--no-header"}, texts...)
	}
	f("a,1\n,2\n", "line 2", "key is empty")
	f("a,1\n\n", "line 2", "column 2 is missing")
	f("a,1\n\"b\tc\",2\n", "line 2", `"b\tc"`)
	f("a,1\n\"b\nc\",2\n", "line 3", `"b\nc"`)
	f("a,1\nb\x01,2\n", "line 2", `"b\x01"`)
	f("a,1\nb,two\n", "line 2", `"two"`)
	f("a,1\nb\n", "line 2", "column 2 is missing")
	f("a,1\n\"b,2\n", "line 2", "not closed")
}

func TestUnsortedInputIsRefused(t *testing.T) {
	a, b := mapped(t, "a,1\n"), mapped(t, "b,1\n")
	o := execute(t, a+b+a, "reduce")
	if o.code != exitFailed || !strings.Contains(o.stderr, `line 3: key "a" comes after "b"`) || !strings.Contains(o.stderr, "LC_ALL=C sort") {
		t.Errorf("exit code %d, standard error %q", o.code, o.stderr)
	}
}

func TestBadRecordsOfAReduceAreNamed(t *testing.T) {
	f := func(stdin string, texts ...string) {
		t.Helper()
		fail(t, exitFailed, stdin, []string{"reduce"}, texts...)
	}
	a := mapped(t, "a,1\n")
	f("a\n", "line 1", "no tab")
	f("\tAA==\n", "line 1", "key is empty")
	f(a+"b\t!!\n", "line 2", `"b"`, "base64")
	f(a+"b\t"+base64.StdEncoding.EncodeToString([]byte{0xff})+"\n", "line 2", `"b"`)
	f(a+"b\t\n", "line 2", `"b"`)
	f(a+mapped(t, "a,1\n", "--grid", "explicit:0,1"), "line 2", "the grids differ", "explicit:0,1", "exponential:scale=5")
	fail(t, exitUsage, a, []string{"reduce", "-q", "0.5"}, "-q", "--format table")
	fail(t, exitUsage, a, []string{"reduce", "--format", "json"}, `"json"`)
	fail(t, exitUsage, a, []string{"reduce", "no such file"}, "no such file")
}

func TestReduceWritesDumps(t *testing.T) {
	lines := mapped(t, "a,1\nb,2\n") + mapped(t, "b,3\nc,4\n")
	reduced := succeed(t, sorted(lines), "reduce")
	r := dump.NewReader(strings.NewReader(succeed(t, sorted(lines), "reduce", "--format", "dump")))
	var again bytes.Buffer
	text := recordWriter{w: &again}
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := text.write(record.Key, record.Sketch); err != nil {
			t.Fatal(err)
		}
	}
	if again.String() != reduced {
		t.Errorf("dump holds\n%s\nwant\n%s", again.String(), reduced)
	}
	if _, err := dump.NewReader(strings.NewReader(succeed(t, "", "reduce", "--format", "dump"))).Next(); !errors.Is(err, io.EOF) {
		t.Errorf("dump of nothing: %v", err)
	}
}

func TestReducePrintsTables(t *testing.T) {
	lines := mapped(t, "b,2\nb,2\nkey,NaN\na,1\n", "--grid", "linear:lower=0,upper=4,bins=4")
	got := succeed(t, lines, "reduce", "--format", "table", "-q", "0.25,0.75")
	for line, want := range map[int]string{0: "key count q0.25 q0.75", 1: "a 1", 2: "b 2", 3: "key 0 - -"} {
		if got := strings.Join(strings.Fields(strings.Split(got, "\n")[line]), " "); !strings.HasPrefix(got, want) {
			t.Errorf("line %d of the table is %q, want %q", line+1, got, want)
		}
	}
}
