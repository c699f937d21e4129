package slice

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quietile/quietile/dp/exact"
)

func ones(n int) []uint64 {
	w := make([]uint64, n)
	for i := range w {
		w[i] = 1
	}
	return w
}

// even returns the quantiles 1/(m+1), 2/(m+1) … in billionths.
func even(m int) []int64 {
	q := make([]int64, m)
	for i := range q {
		q[i] = int64(i+1) * Unit / int64(m+1)
	}
	return q
}

// rankError is how far a quantile q is from the records before the cut's bucket and those up to its end, ties free.
func rankError(p *Problem, cut uint64, q int64) float64 {
	before, inside, n := 0.0, 0.0, 0.0
	for _, c := range p.Counts {
		n += float64(c.Records)
		switch b := int(cut >> p.Levels); {
		case c.Bucket < b:
			before += float64(c.Records)
		case c.Bucket == b:
			inside = float64(c.Records)
		}
	}
	target := float64(q) / Unit * n
	return max(0, target-before-inside, before-target)
}

func TestCutsAreSortedAndClose(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := &Problem{Levels: 40, Weights: ones(2048), Quantiles: even(99), Epsilon: Unit, Contributions: 1, Records: 1_000_000}
	for b := range 2048 {
		if n := random.Uint64N(1000); n > 0 && b%3 > 0 {
			p.Counts = append(p.Counts, Count{b, n})
		}
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		cuts := Solve(p, exact.New())
		if !slices.IsSorted(cuts) {
			t.Fatalf("cuts %v fall", cuts)
		}
		for j, z := range cuts {
			if e := rankError(p, z, p.Quantiles[j]); e > 1000 {
				t.Errorf("quantile %d is off by %g records", p.Quantiles[j], e)
			}
		}
	}
}
