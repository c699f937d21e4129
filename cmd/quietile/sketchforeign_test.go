package main

import (
	"math"
	"testing"
)

// foreignFormats are the formats of other libraries that hold sketches on exponential grids.
var foreignFormats = []string{"otlp", "prometheus", "ddsketch"}

func TestForeignFormatsKeepEveryCount(t *testing.T) {
	for _, grid := range []string{"exponential:scale=8", "exponential:scale=5", "exponential:scale=-4"} {
		original := built(t, lines(append(numbered(t, 3000), 0, -1, 1e300, -1e-300)...), "--grid", grid, "--to", "proto")
		for _, f := range foreignFormats {
			bytes := succeed(t, original, "sketch", "convert", "--to", f)
			if got := succeed(t, bytes, "sketch", "convert", "--from", f, "--to", "proto"); got != original {
				t.Errorf("%s: through %s comes another sketch", grid, f)
			}
			fail(t, exitUsage, bytes, []string{"sketch", "inspect"}, "--from", f)
		}
	}
}

func TestForeignFormatsSayWhatTheyDoNotHold(t *testing.T) {
	linear := built(t, "1\n2\n", "--grid", "linear:lower=0,upper=4,bins=4")
	for _, f := range []string{"otlp", "ddsketch"} {
		fail(t, exitUsage, linear, []string{"sketch", "convert", "--to", f}, f, "linear:lower=0,upper=4,bins=4")
		o := execute(t, linear, "sketch", "convert", "--to", f, "--grid", "exponential:scale=3")
		if o.code != exitOK || o.stdout == "" || o.stderr == "" {
			t.Errorf("on another grid %s is %q, and standard error %q", f, o.stdout, o.stderr)
		}
	}
	if got := succeed(t, succeed(t, linear, "sketch", "convert", "--to", "prometheus"), "sketch", "quantile", "--from", "prometheus", "-q", "0.5", "--format", "csv"); got == "" {
		t.Error("a classic histogram answers nothing")
	}
	binary := succeed(t, succeed(t, linear, "sketch", "convert", "--to", "prometheus"), "sketch", "convert", "--from", "prometheus", "--to", "binary")
	if v := inspected(t, binary); v.Count != 2 {
		t.Errorf("of 2 values %d come back", v.Count)
	}
	nan := binned(t, "exponential:scale=3", 1, math.NaN())
	data, err := nan.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	fail(t, exitUsage, string(data), []string{"sketch", "convert", "--to", "ddsketch"}, "NaN")
}

func TestHistogramToolsKeepsEveryCount(t *testing.T) {
	original := built(t, lines(-3, 0, 0.5, 1, 1, 2.5, 7), "--grid", "explicit:0,1,2.5,5", "--to", "proto")
	for _, f := range []string{"histogramtools", "histogramtools-right"} {
		back := succeed(t, succeed(t, original, "sketch", "convert", "--to", f), "sketch", "convert", "--from", f, "--to", "proto")
		before, after := inspected(t, original, "--buckets"), inspected(t, back, "--buckets")
		if after.Count != 7 || len(after.Buckets) != len(before.Buckets) {
			t.Fatalf("%s: %+v comes back as %+v", f, before, after)
		}
		for i, b := range before.Buckets {
			if after.Buckets[i].Count != b.Count {
				t.Errorf("%s: bucket %d holds %d, want %d", f, i, after.Buckets[i].Count, b.Count)
			}
		}
	}
	fail(t, exitUsage, built(t, "1\n"), []string{"sketch", "convert", "--to", "histogramtools"}, "exponential", "--grid")
}
