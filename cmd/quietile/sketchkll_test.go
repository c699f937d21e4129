package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/quietile/quietile/sketch"
)

// emptyKLL is an empty KLL sketch with k=200 as Apache DataSketches writes it.
const emptyKLL = "\x02\x01\x0f\x01\xc8\x00\x08\x00"

func TestNoPrivateReleaseOfAKLLSketch(t *testing.T) {
	f := func(stdin, name string, more ...string) {
		t.Helper()
		args := append([]string{"release", name, "-q", "0.5", "--epsilon", "1"}, more...)
		fail(t, exitUsage, stdin, args, "KLL", "depends on the data", "one record more", "sensitivity is not 1", "quietile sketch build", "--grid linear:", "--to dump", "release FILE.qtd --dump --public-grid")
	}
	for _, more := range [][]string{{"--dump", "--public-grid"}, {"--dump", "--grid", dumpedGrid}, {"--min", "0", "--max", "1"}} {
		f(emptyKLL, "-", more...)
		f(built(t, "1\n", "--kll"), "-", more...)
		f(built(t, lines(many(1, 1000)...), "--kll"), "-", more...)
		f(built(t, "1\n2\n", "--kll", "--to", "proto"), "-", more...)
		f(built(t, lines(many(1, 1000)...), "--kll", "--to", "proto"), "-", more...)
		f(zip(t, emptyKLL), "-", more...)
		f("", write(t, "latency", emptyKLL), more...)
		f("", write(t, "latency.kll", "anything"), more...)
		f("", write(t, "latency.kll.gz", zip(t, "anything")), more...)
	}
}

func TestWhatTheRefusalOfAKLLSketchSaysWorks(t *testing.T) {
	file := write(t, "ages.qtd", built(t, strings.Repeat("40\n", 1000), "--grid", "linear:lower=0,upper=128,bins=8192", "--to", "dump"))
	if got := succeed(t, "", "release", file, "--dump", "--public-grid", "-q", "0.5", "--epsilon", "100", "--format", "csv"); !strings.Contains(got, ",0.5,40,40,40.015625,") {
		t.Errorf("released %s", got)
	}
}

func TestTextsAndDumpsAreNotTakenForKLL(t *testing.T) {
	for _, text := range []string{"", "\n", "1\n2\n3\n4\n5\n", "age,hours\n1,2\n", "\x05\x01\x0f", "\n", "\n\n\n\n\n\n\n\n\n\n\n\n", "\n1\n2\n3\n4\n5\n6\n", dumped(t, nil, [][]float64{{1}}, dumpedGrid)} {
		if b := []byte(text)[:min(len(text), kllStart)]; beginsKLL(b) || beginsKLLMessage(b) {
			t.Errorf("%q is taken for a KLL sketch", text)
		}
	}
}

func TestKLLSketchesAreBuiltMergedInspectedAndAsked(t *testing.T) {
	var all, odd, even strings.Builder
	for i := range 100 {
		line := strconv.Itoa(i+1) + "\n"
		all.WriteString(line)
		if i%2 == 0 {
			odd.WriteString(line)
		} else {
			even.WriteString(line)
		}
	}
	file := built(t, all.String(), "--kll")
	if !beginsKLL([]byte(file)) {
		t.Fatalf("built %q", file)
	}
	merged := succeed(t, built(t, odd.String(), "--kll"), "sketch", "merge", "-", write(t, "even.kll", built(t, even.String(), "--kll")))
	for _, file := range []string{file, merged} { // no more values than are retained: exact
		v := inspected(t, file)
		if v.Kind != "kll" || v.K != sketch.DefaultK || v.Grid != "" || v.Count != 100 || *v.AtLeast != 1 || *v.AtMost != 100 || v.Error.Rank == nil || v.Error.Confidence != 0.99 {
			t.Errorf("inspect says %+v", v)
		}
		if n := v.Bytes[formatDataSketches]; n != len(file) {
			t.Errorf("%d bytes, inspect says %d", len(file), n)
		}
		got := succeed(t, file, "sketch", "quantile", "-q", "0.5", "--rank", "25", "--bounds", "--format", "json")
		var answer struct{ Sketches []answersView }
		if err := json.Unmarshal([]byte(got), &answer); err != nil || len(answer.Sketches) != 1 {
			t.Fatalf("%v in %s", err, got)
		}
		if a := answer.Sketches[0].Quantiles[0]; *a.Value < 50 || *a.Value > 51 || *a.Lower > *a.Value || *a.Upper < *a.Value || *a.Upper > 55 || *a.Lower < 45 {
			t.Errorf("the median is %s", got)
		}
		if r := answer.Sketches[0].Ranks[0]; *r.Rank != 0.25 || *r.Lower < 0.2 || *r.Lower > 0.25 || *r.Upper < 0.25 || *r.Upper > 0.3 {
			t.Errorf("the rank of 25 is %s", got)
		}
	}
	if got := succeed(t, file, "sketch", "inspect"); !strings.Contains(got, "k=200") || !strings.Contains(got, "% of ranks, at 99 %") {
		t.Errorf("inspect says\n%s", got)
	}
	for _, to := range []string{formatDataSketches, formatProto, formatJSON} {
		other := succeed(t, file, "sketch", "convert", "--to", to)
		for _, from := range [][]string{nil, {"--from", to}} {
			if got := succeed(t, other, append([]string{"sketch", "convert", "--to", formatDataSketches}, from...)...); got != file {
				t.Errorf("through %s comes another KLL sketch", to)
			}
		}
	}
	if empty := inspected(t, built(t, "", "--kll")); empty.Count != 0 || empty.AtLeast != nil || empty.Kind != "kll" {
		t.Errorf("a KLL sketch of nothing is %+v", empty)
	}
}

func TestKLLSketchesAreTheSameForTheSameSeed(t *testing.T) {
	xs := lines(numbered(t, 20_000)...)
	seventh := built(t, xs, "--kll", "--seed", "7")
	if again := built(t, xs, "--kll", "--seed", "7"); again != seventh {
		t.Error("two sketches of the same values with the same seed differ")
	}
	if other := built(t, xs, "--kll", "--seed", "8"); other == seventh {
		t.Error("the seed makes no difference")
	}
	if small, large := built(t, xs, "--kll", "--k", "20"), built(t, xs, "--kll", "--k", "400"); len(small) >= len(large) {
		t.Errorf("k=20 takes %d bytes, k=400 takes %d", len(small), len(large))
	}
}

func TestKindsOfSketchesAreNotMixed(t *testing.T) {
	k := write(t, "a.kll", built(t, "1\n", "--kll"))
	b := write(t, "b.sketch", built(t, "1\n", "--grid", "explicit:0,1"))
	for _, files := range [][]string{{k, b}, {b, k}} {
		fail(t, exitFailed, "", append([]string{"sketch", "merge"}, files...), "a.kll", "b.sketch", "different kinds", "a KLL sketch with k=200", "a sketch on the grid explicit:0,1")
	}
	fail(t, exitUsage, "", []string{"sketch", "convert", k, "--to", "binary"}, "--to binary", "a KLL sketch with k=200")
	fail(t, exitUsage, "", []string{"sketch", "convert", k, "--to", "dump"}, "--to dump", "a KLL sketch with k=200")
	fail(t, exitUsage, "", []string{"sketch", "convert", k, "--to", formatDataSketches, "--grid", "explicit:0,1"}, "--grid", "a KLL sketch with k=200")
	fail(t, exitUsage, "", []string{"sketch", "convert", b, "--to", formatDataSketches}, "--to datasketches", "a sketch on the grid explicit:0,1")
}

func TestWrongKLLBuildsAreRefused(t *testing.T) {
	f := func(args []string, texts ...string) {
		t.Helper()
		fail(t, exitUsage, "1\n", append([]string{"sketch", "build"}, args...), texts...)
	}
	f([]string{"--kll", "--grid", "explicit:0"}, "--kll", "--grid")
	f([]string{"--kll", "--relative-error", "0.1"}, "--kll", "--relative-error")
	f([]string{"--kll", "--column", "v", "--key-column", "k"}, "--kll", "--key-column")
	f([]string{"--kll", "--k", "7"}, "7", "8")
	f([]string{"--k", "100"}, "--kll")
	f([]string{"--seed", "1"}, "--kll")
	f([]string{"--kll", "--to", "binary"}, "--to binary", "KLL")
}

func TestDamagedKLLSketchesAreRefused(t *testing.T) {
	fail(t, exitFailed, `{"datasketches":"AgEPAcgACA=="}`, []string{"sketch", "inspect"}, "json", "datasketches")
	fail(t, exitFailed, `{"datasketches":1}`, []string{"sketch", "inspect"}, "json", "datasketches")
	message := built(t, "1\n2\n3\n", "--kll", "--to", "proto")
	fail(t, exitFailed, message[:len(message)-1], []string{"sketch", "inspect", "--from", "proto"}, "proto: not a quietile.v1.KLL")
	file := built(t, "1\n2\n3\n", "--kll")
	for n := range len(file) {
		if o := execute(t, file[:n], "sketch", "inspect", "--from", formatDataSketches); o.code != exitFailed || o.stdout != "" || !strings.Contains(o.stderr, "standard input: datasketches: ") {
			t.Errorf("%d of %d bytes: exit code %d, standard error %q", n, len(file), o.code, o.stderr)
		}
	}
}
