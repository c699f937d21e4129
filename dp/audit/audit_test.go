package audit

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
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

// Rényi divergences of neighbours stay below α·ρ, with ρ = ε²/(8·depth), depth being the number of draws among which all paths divide ε equally, or below 1 ρ itself.
func TestEveryMechanismKeepsItsConcentratedPromise(t *testing.T) {
	f := func(c Case, depth float64, x, y []uint64) {
		t.Helper()
		law := func(records []uint64) Law {
			l, err := Enumerate(func(s exact.Sampler) []uint64 { return c.Answer(records, s) })
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		p, q := law(x), law(y)
		rho := depth
		if depth >= 1 {
			rho = c.Epsilon * c.Epsilon / depth / 8
		}
		for _, alpha := range []float64{1.01, 1.5, 2, 4, 16, 64} {
			there, back := divergence(alpha, p, q), divergence(alpha, q, p)
			if d := max(there, back); d > alpha*rho*(1+1e-9) {
				t.Errorf("%s, %v against %v: divergence of order %g is %g, more than %g", c.Setting, x, y, alpha, d, alpha*rho)
			}
		}
		t.Logf("%s: ρ %.5f measured at order 2, %.5f claimed", c.Setting, max(divergence(2, p, q), divergence(2, q, p))/2, rho)
	}
	const u = recursive.Unit
	one, quarters := []int64{u / 2}, []int64{u / 4, u / 2, 3 * u / 4}
	// Targets between two cuts of equal score: the added record tells them apart as well as a record can.
	f(recursiveCase("target between cuts", 0, one, 1, 1, []uint64{1, 1, 1}, 0), 1, []uint64{20, 2, 20}, []uint64{21, 2, 20})
	f(recursiveCase("target between cuts", 0, one, 4, 1, []uint64{1, 1, 1}, 0), 1, []uint64{20, 2, 20}, []uint64{21, 2, 20})
	even := []uint64{1, 1, 1, 1, 1, 1, 1}
	f(recursiveCase("targets between cuts", 0, quarters, 1, 1, even, 0), 2, []uint64{20, 2, 19, 2, 19, 2, 20}, []uint64{21, 2, 19, 2, 19, 2, 20})
	f(recursiveCase("targets between cuts", 0, quarters, 1, 2, even, 0), 2, []uint64{40, 4, 38, 4, 38, 4, 40}, []uint64{42, 4, 38, 4, 38, 4, 40})
	f(treeCase("targets between cuts", tree{arity: 4}, 0, quarters, 1, 1, even, 0), 3, []uint64{20, 2, 19, 2, 19, 2, 20}, []uint64{21, 2, 19, 2, 19, 2, 20})
	f(recursiveCase("two cells a bucket", 1, quarters, 3, 2, []uint64{1, 1}, 0), 2, []uint64{1, 1}, []uint64{2, 2})
	f(treeCase("targets between cuts", tree{rho: u / 8}, 0, quarters, 0, 1, even, 0), 0.125, []uint64{20, 2, 19, 2, 19, 2, 20}, []uint64{21, 2, 19, 2, 19, 2, 20})
	f(treeCase("targets between cuts", tree{rho: u / 8, arity: 4}, 0, quarters, 0, 2, even, 0), 0.125, []uint64{40, 4, 38, 4, 38, 4, 40}, []uint64{42, 4, 38, 4, 38, 4, 40})
	f(treeCase("targets between cuts", tree{rho: u / 8, shares: []uint64{1, 5}}, 0, quarters, 0, 1, even, 0), 0.125, []uint64{20, 2, 19, 2, 19, 2, 20}, []uint64{21, 2, 19, 2, 19, 2, 20})
}

// divergence returns the Rényi divergence of order alpha of p from q.
func divergence(alpha float64, p, q Law) float64 {
	sum := 0.0
	for answer, x := range p {
		weight, _ := q[answer].Float64()
		ratio, _ := float().Quo(x, q[answer]).Float64()
		sum += weight * math.Pow(ratio, alpha)
	}
	return math.Log(sum) / (alpha - 1)
}

func TestAnAuditCanBeStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if rows, err := Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("rows %v, error %v", rows, err)
	}
}

func TestRowsPrintAsJSON(t *testing.T) {
	f := func(worst float64, want string) {
		t.Helper()
		got, err := json.Marshal(Row{Mechanism: "recursive", Pairs: 3, Epsilon: 1, Worst: worst})
		if err != nil || !strings.Contains(string(got), want) || strings.Count(string(got), "worst") != 1 {
			t.Errorf("%s, error %v", got, err)
		}
	}
	f(0.5, `"worst":0.5`)
	f(math.Inf(1), `"worst":"infinite"`)
}
