package audit

import (
	"testing"
	"time"
)

func TestEveryMechanismKeepsItsPromise(t *testing.T) {
	for _, c := range Cases() {
		start := time.Now()
		row, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !row.OK {
			t.Errorf("%s, %s: loss %v where %v was claimed, on %s", row.Mechanism, row.Setting, row.Worst, row.Epsilon, row.Data)
		}
		t.Logf("%s, %s: %d pairs, loss %.6f of %v (%v)", row.Mechanism, row.Setting, row.Pairs, row.Worst, row.Epsilon, time.Since(start).Round(time.Millisecond))
	}
}
