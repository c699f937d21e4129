package main

import (
	"strings"
	"testing"
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
	for _, text := range []string{"", "\n", "1\n2\n3\n4\n5\n", "age,hours\n1,2\n", "\x05\x01\x0f", dumped(t, nil, [][]float64{{1}}, dumpedGrid)} {
		if beginsKLL([]byte(text)[:min(len(text), kllPreamble)]) {
			t.Errorf("%q is taken for a KLL sketch", text)
		}
	}
}
