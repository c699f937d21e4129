package main

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

const dumpedGrid = "linear:lower=0,upper=128,bins=128"

// dumped is a dump of one segment with a sketch of each list of values, on the grids in turn.
func dumped(t *testing.T, header *quietilev1.DumpHeader, values [][]float64, grids ...string) string {
	t.Helper()
	var b strings.Builder
	w, err := dump.NewWriter(&b, header)
	if err != nil {
		t.Fatal(err)
	}
	for i, xs := range values {
		grid, err := sketch.ParseGrid(grids[i%len(grids)])
		if err != nil {
			t.Fatal(err)
		}
		s := sketch.NewBinned(grid)
		s.AddBatch(xs)
		if err := w.Write("key", s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// many is n times x.
func many(x float64, n int) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = x
	}
	return xs
}

// ofDump is a release's command line on standard input without a grid.
func ofDump(more ...string) []string {
	return append([]string{"release", "-", "-q", "0.25,0.75", "--epsilon", "1000", "--format", "json"}, more...)
}

func TestReleasesOfDumpsAddUpAllSketches(t *testing.T) {
	named := &quietilev1.DumpHeader{Producer: "test", Metric: "latency"}
	one := dumped(t, named, [][]float64{many(30, 10_000), nil, many(40, 10_000)}, dumpedGrid)
	two := dumped(t, nil, [][]float64{many(30, 10_000)}, dumpedGrid) + dumped(t, named, [][]float64{many(40, 10_000)}, dumpedGrid)
	f := func(file string, args ...string) {
		t.Helper()
		// So many records and so large an ε leave no doubt about the answers.
		a := parseAnswer(t, succeed(t, file, ofDump(args...)...))
		if len(a.Quantiles) != 2 || a.Quantiles[0].Value != 30 || a.Quantiles[1].Value != 40 {
			t.Errorf("%q: answers %+v, want 30 and 40", args, a.Quantiles)
		}
	}
	for _, file := range []string{one, two, zip(t, one)} {
		f(file, "--grid", dumpedGrid)
		f(file, "--min", "0", "--max", "128", "--bins", "128")
		f(file, "--min", "0", "--max", "128", "--integer", "--dump")
		f(file, "--dump", "--public-grid")
	}
}

// Only answers depend on what a dump holds: not the form of the output, and no error.
func TestReleasesOfEmptyDumpsLookLikeOthers(t *testing.T) {
	named := &quietilev1.DumpHeader{Metric: "latency"}
	for _, file := range []string{
		dumped(t, nil, nil),
		dumped(t, named, nil),
		dumped(t, named, [][]float64{nil}, dumpedGrid),
		dumped(t, named, [][]float64{{1}}, dumpedGrid),
	} {
		a := parseAnswer(t, succeed(t, file, ofDump("--grid", dumpedGrid)...))
		if a.Metric != "" || a.Unit != "event" || len(a.Quantiles) != 2 {
			t.Errorf("answer %+v", a)
		}
	}
}

func TestDumpsThatCannotBeReleasedAreNamed(t *testing.T) {
	whole := dumped(t, nil, [][]float64{many(30, 10)}, dumpedGrid)
	f := func(code int, file string, args []string, texts ...string) {
		t.Helper()
		fail(t, code, file, ofDump(args...), texts...)
	}
	on := []string{"--grid", dumpedGrid}
	f(exitFailed, whole[:len(whole)-1], on, "standard input", "damaged dump", "ends at byte")
	for i := range whole {
		flipped := []byte(whole)
		flipped[i] ^= 1
		f(exitFailed, string(flipped), append(on, "--dump"), "standard input", "dump")
	}
	f(exitFailed, "1\n2\n", append(on, "--dump"), "damaged dump")
	f(exitFailed, whole, []string{"--min", "0", "--max", "128"}, "sketch 1", "the grids differ", "bins=8192", "bins=128")
	f(exitFailed, dumped(t, nil, [][]float64{{1}, {2}}, dumpedGrid, "explicit:0,1"), []string{"--dump", "--public-grid"}, "sketch 2", "the grids differ", "explicit:0,1")
	f(exitFailed, dumped(t, nil, nil), []string{"--dump", "--public-grid"}, "no sketch", "--grid")

	f(exitUsage, whole, append(on, "--column", "age"), "--column", "dump")
	f(exitUsage, whole, append(on, "--skip-invalid"), "--skip-invalid", "dump")
	f(exitUsage, whole, append(on, "--dump", "--column", "age"), "--dump", "--column")
	f(exitUsage, whole, append(on, "--dump", "--public-grid"), "--public-grid", "--grid")
	f(exitUsage, whole, []string{"--public-grid"}, "--public-grid", "--dump")
	f(exitUsage, whole, nil, "--min", "--max", "--grid")
}

func TestTextsAreNotTakenForDumps(t *testing.T) {
	for _, header := range []*quietilev1.DumpHeader{nil, {Producer: strings.Repeat("x", 300), Metric: "m"}} {
		if file := dumped(t, header, nil); !beginsDump([]byte(file)[:min(len(file), dumpStart)]) {
			t.Errorf("%q is not recognised", file)
		}
	}
	for _, text := range []string{
		"", "\n", "1\n", "1", "12\n13\n", "age,hours\n1,2\n", "4\n\x02\x08\x01", "\n\n", "\x80", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
		"1\n/" + strings.Repeat("0", 46), // the length of a record and that of a header, but no version
		"\x02\n\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\n\xf4\xff\xff\xff\xff\xff\xff\xff\xff\x01\x08",
	} {
		if beginsDump([]byte(text)[:min(len(text), dumpStart)]) {
			t.Errorf("%q is taken for a dump", text)
		}
	}
}

// heapAtEnd reads what r holds, and takes note of the live heap when that ends.
type heapAtEnd struct {
	r    io.Reader
	live uint64
}

func (h *heapAtEnd) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if errors.Is(err, io.EOF) {
		h.live = liveHeap()
	}
	return n, err
}

// liveHeap returns the bytes of the heap that are in use.
func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestReleasesDoNotHoldTheSketchesOfADump(t *testing.T) {
	grid, err := sketch.ParseGrid("linear:lower=0,upper=1,bins=100000")
	if err != nil {
		t.Fatal(err)
	}
	const sketches = 200 // 160 MB, were they all held
	var b strings.Builder
	w, err := dump.NewWriter(&b, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := sketch.NewBinned(grid)
	s.Add(0.5)
	for range sketches {
		if err := w.Write("key", s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	before := liveHeap()
	in := &heapAtEnd{r: strings.NewReader(b.String())}
	sum, err := readDump(in, grid)
	if err != nil || sum.Count() != sketches {
		t.Fatalf("sum %v, %v; want %d values", sum, err, sketches)
	}
	if in.live > before+16<<20 {
		t.Errorf("%d MB are in use after %d sketches", (in.live-before)>>20, sketches)
	}
}
