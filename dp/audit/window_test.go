package audit

import (
	"math"
	"slices"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
	"github.com/quietile/quietile/sketch"
)

// What counts records may break the promise before a release is asked for. The models of this file are of the counting alone; that of server/internal/ingest is tested there.

// A sample has a value, in one of two buckets, and an event time; all reach the window's counter at the time 1.
type sample struct {
	bucket int
	time   int
}

// kinds are the samples of a data set by bucket: honest ones of the window that is released, which ends at 1 and waits until 2, and one kind from far ahead, of a window that is not.
// They arrive the last kind first.
var kinds = []sample{{0, 0}, {1, 0}, {0, 100}}

// countWindow returns the samples in the window by bucket. A watermark that samples move lets each sample move it as far as cap allows.
func countWindow(records []uint64, moved bool, limit int) []uint64 {
	const until = 2
	counts := make([]uint64, 2)
	watermark := 0
	for kind := len(kinds) - 1; kind >= 0; kind-- {
		for range records[kind] {
			s := kinds[kind]
			if moved {
				watermark = max(watermark, min(s.time, limit))
			}
			if s.time == 0 && watermark < until {
				counts[s.bucket]++
			}
		}
	}
	return counts
}

// medianOf is a case that releases the median of the counts that count makes of the records, each of which is one unit's, for ε = 1. A bucket is as wide as so many steps of
// the answer.
func medianOf(setting string, kinds, records int, count func(records []uint64) (counts []uint64, width uint64)) Case {
	return Case{
		Mechanism: "counting", Setting: setting, Epsilon: 1, Contributions: 1, Buckets: kinds, Records: records,
		Answer: func(records []uint64, s exact.Sampler) []uint64 {
			counts, width := count(records)
			p := &recursive.Problem{Quantiles: []int64{u / 2}, Epsilon: u, Contributions: 1}
			for b, n := range counts {
				p.Weights = append(p.Weights, 1)
				if n > 0 {
					p.Counts = append(p.Counts, recursive.Count{Bucket: b, Records: n})
				}
			}
			return []uint64{recursive.Solve(p, s)[0] * width}
		},
	}
}

func measured(t *testing.T, c Case) Row {
	t.Helper()
	row, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: loss %.4f of %v, on %s", c.Setting, row.Worst, row.Epsilon, row.Data)
	return row
}

// One sample from far ahead takes with it all that come after it: the loss grows with their number.
func TestWatermarksThatSamplesMoveAreCaught(t *testing.T) {
	f := func(setting string, moved bool, limit int) (losses []float64) {
		t.Helper()
		for _, records := range []int{4, 8, 12} {
			row := measured(t, medianOf(setting, len(kinds), records, func(records []uint64) ([]uint64, uint64) { return countWindow(records, moved, limit), 1 }))
			if row.OK == moved {
				t.Errorf("%s: loss %v of %v, on %s", setting, row.Worst, row.Epsilon, row.Data)
			}
			losses = append(losses, row.Worst)
		}
		return losses
	}
	f("ticks move the watermark", false, 0)
	for setting, limit := range map[string]int{"samples move the watermark": math.MaxInt, "samples move the watermark as far as the stream's time": 2} {
		losses := f(setting, true, limit)
		if !slices.IsSorted(losses) || losses[len(losses)-1] < 4 {
			t.Errorf("%s: losses %v", setting, losses)
		}
	}
}

// A unit's sketch on a coarser grid makes the finer buckets' edges impossible answers.
func TestAMergeThatCoarsensTheGridIsCaught(t *testing.T) {
	fine, err := sketch.NewExponential(1)
	if err != nil {
		t.Fatal(err)
	}
	coarse, err := fine.Downscale(0)
	if err != nil {
		t.Fatal(err)
	}
	values := []float64{1.2, 1.7, 2.6, 3.5} // of four buckets in a row, each two of which are one of the coarser grid
	// Units of the first kinds send a value each, and those of the last a sketch of one value on the coarser grid.
	f := func(setting string, merged bool) Row {
		t.Helper()
		return measured(t, medianOf(setting, len(values)+1, 3, func(records []uint64) (counts []uint64, width uint64) {
			sum := sketch.NewBinned(fine)
			for kind, n := range records {
				sent := sketch.NewBinned(coarse)
				if kind < len(values) {
					sent = sketch.NewBinned(fine)
				}
				if err := sent.AddN(values[kind%len(values)], n); err != nil {
					t.Fatal(err)
				}
				if n == 0 || !merged && !sent.Grid().Equal(fine) {
					continue // refused, as a function of the sketch alone
				}
				if err := sum.Merge(sent); err != nil {
					t.Fatal(err)
				}
			}
			first, last := sum.Grid().Index(values[0]), sum.Grid().Index(values[3])
			for b := first; b <= last; b++ {
				counts = append(counts, sum.Bucket(b))
			}
			return counts, uint64(len(values) / len(counts))
		}))
	}
	if row := f("sketches on another grid are refused", false); !row.OK {
		t.Errorf("loss %v of %v, on %s", row.Worst, row.Epsilon, row.Data)
	}
	if row := f("the coarsest grid is taken", true); row.OK || !math.IsInf(row.Worst, 1) {
		t.Errorf("loss %v of %v, on %s", row.Worst, row.Epsilon, row.Data)
	}
}
