package main

import (
	"bytes"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Each library, driven as it is timed, answers about right; a library that loses or invents values would not.
func TestEveryLibraryAnswersAboutRight(t *testing.T) {
	for _, d := range datasets(10_000, 3) {
		sorted := slices.Sorted(slices.Values(d.values))
		for _, l := range libraries() {
			var f figures
			f.errors(&l, build(&l, d), sorted)
			if l.bounded && f.worst > 0.19 { // the buckets of scale 2
				t.Errorf("%s on %s: the worst relative error is %v", l.name, d.name, f.worst)
			}
			if d.name != "heavy ties" && (f.meanRank > 0.02 || !l.bounded && f.maxRank > 0.03) { // a value next to an atom is far in rank
				t.Errorf("%s on %s: the mean rank error is %v, the largest %v", l.name, d.name, f.meanRank, f.maxRank)
			}
		}
	}
}

func TestDatasetsAreWhatTheySay(t *testing.T) {
	for _, d := range datasets(5000, 9) {
		switch {
		case len(d.values) != 5000:
			t.Errorf("%s has %d values", d.name, len(d.values))
		case d.name == "sorted up" && !slices.IsSorted(d.values):
			t.Errorf("%s is not", d.name)
		case d.name == "sorted down" && !slices.IsSortedFunc(d.values, func(a, b float64) int { return -int(math.Copysign(1, a-b)) }):
			t.Errorf("%s is not", d.name)
		case d.name == "heavy ties" && (slices.Min(d.values) != 1 || slices.Max(d.values) != 100):
			t.Errorf("%s is from %v to %v", d.name, slices.Min(d.values), slices.Max(d.values))
		}
	}
	if a, b := datasets(1000, 1), datasets(1000, 1); !slices.Equal(a[1].values, b[1].values) {
		t.Error("equal seeds give different values")
	}
}

func TestMergedPartsHoldAllValues(t *testing.T) {
	d := datasets(10_000, 5)[6]
	if d.parts != 1000 {
		t.Fatalf("%s has %d parts", d.name, d.parts)
	}
	l := ours()[0]
	whole := l.make()
	l.add(whole, d.values)
	if !bytes.Equal(l.encode(whole), l.encode(build(&l, d))) {
		t.Error("the merged parts differ from the whole")
	}
}

// The verdicts follow from the figures: worse figures turn each of them.
func TestClaimsFollowFromTheFigures(t *testing.T) {
	small := func() *run {
		r := &run{trials: 1}
		random := rand.New(rand.NewPCG(1, 1))
		for _, d := range datasets(2000, 1)[:1] {
			r.results = append(r.results, measure(d, libraries(), 1, random, io.Discard))
		}
		r.ownKLL.mean, r.peerKLL.mean, r.ownKLL.max, r.peerKLL.max = 1, 1, 1, 1
		for _, f := range r.results[0].figures {
			f.single, f.batch, f.merge, f.bytes = []float64{10}, []float64{5}, []float64{1000}, 10_000
			if f.library.ours {
				f.single, f.batch, f.merge, f.bytes = []float64{2}, []float64{0.9}, []float64{100}, 100
			}
		}
		return r
	}
	r := small()
	for _, c := range r.claims() {
		if !c.holds {
			t.Errorf("%s: %s", c.text, c.found)
		}
	}
	f := func(claim int, spoil func(r *run)) {
		t.Helper()
		r := small()
		spoil(r)
		if c := r.claims()[claim]; c.holds {
			t.Errorf("%s holds with %s", c.text, c.found)
		}
	}
	f(0, func(r *run) { r.results[0].of(reference).single = []float64{2.6} })
	f(0, func(r *run) { r.results[0].of("Quietile linear 8192").single = []float64{2.6} })
	f(1, func(r *run) { r.results[0].of("HDR 2 digits").single = []float64{1.9} })
	f(2, func(r *run) { r.results[0].of("Quietile linear 8192").batch = []float64{1.1} })
	f(2, func(r *run) { r.results[0].of("Quietile scale 8").batch = []float64{1.6} })
	f(3, func(r *run) { r.results[0].of("DDSketch log 1 %").merge = []float64{90} })
	f(4, func(r *run) { r.results[0].of("circonusllhist").bytes = 99 })
	f(4, func(r *run) { r.results[0].of("circonusllhist").worst = 0 })
	f(5, func(r *run) { r.results[0].of("Quietile KLL k=200").single = []float64{8.1} })
	f(6, func(r *run) { r.ownKLL.max = 1.1 })
}

func TestRatiosAreMediansOverRounds(t *testing.T) {
	if x := ratio([]float64{2, 40, 3, 8}, []float64{1, 10, 1, 2}); x != 3.5 {
		t.Errorf("the ratio is %v", x)
	}
	if x := ratio(nil, []float64{1}); !math.IsNaN(x) || number(x) != "–" {
		t.Errorf("the ratio of nothing is %v, printed %s", x, number(x))
	}
}

func TestReportNamesEveryLibrary(t *testing.T) {
	r := measureAll(1000, 1, 2, io.Discard)
	var b strings.Builder
	r.write(&b)
	for _, l := range libraries() {
		if strings.Count(b.String(), l.name) < 2 {
			t.Errorf("%s is missing", l.name)
		}
	}
	r.plots(t.TempDir())
}
