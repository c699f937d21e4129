package ingest

import (
	"testing"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
)

// A window keeps the grid of its policy: sketches on any other are refused whole, though they could be merged, and whatever else is in the window. What happens if they
// are merged is in dp/audit, TestAMergeThatCoarsensTheGridIsCaught.
func TestSketchesNeverChangeTheGridOfAWindow(t *testing.T) {
	j := newJourney(t)
	j.now = origin + minute
	j.sample("size", "a", 1.5, j.now)
	load := func(scale int, n uint64) {
		t.Helper()
		grid, err := sketch.NewExponential(scale)
		if err != nil {
			t.Fatal(err)
		}
		b := sketch.NewBinned(grid)
		if err := b.AddN(3, n); err != nil {
			t.Fatal(err)
		}
		j.control(0, &quietilev1.Control{Kind: &quietilev1.Control_Load{Load: &quietilev1.Load{
			Metric: "size", WindowStartUnixNano: origin, Sketch: b.Proto(),
		}}})
	}
	load(1, 10) // coarser
	load(3, 10) // finer
	load(2, 2)  // that of the policy
	s, letters := run(t, j.log)
	want, err := sketch.NewExponential(2)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Window("size", origin, 1, want)
	if err != nil {
		t.Fatal(err)
	}
	if len(letters) != 2 || !b.Grid().Equal(want) || b.Count() != 3 || b.Bucket(want.Index(3)) != 2 || b.Bucket(want.Index(1.5)) != 1 {
		t.Errorf("the window holds %v on %v, dead letters %v", b, b.Grid(), letters)
	}
}
