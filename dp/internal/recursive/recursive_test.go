package recursive

import (
	"math"
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
	random := rand.New(rand.NewPCG(3, 5))
	p := &Problem{Levels: 40, Weights: ones(8192), Epsilon: Unit, Contributions: 1}
	for b := range 8192 {
		if b%3 != 0 {
			p.Counts = append(p.Counts, Count{b, random.Uint64N(20000)})
		}
	}
	p.Counts = slices.DeleteFunc(p.Counts, func(c Count) bool { return c.Records == 0 })
	for i := int64(1); i < 100; i++ {
		p.Quantiles = append(p.Quantiles, i*Unit/100)
	}
	for range 5 {
		cuts := Solve(p, exact.New())
		if !slices.IsSorted(cuts) {
			t.Fatalf("cuts %v fall", cuts)
		}
		for i, z := range cuts {
			// An error of 2000 records at ε/7 per node has probability below e^−130.
			if e := rankError(p, z, p.Quantiles[i]); e > 2000 {
				t.Errorf("quantile %d is off by %g records", p.Quantiles[i], e)
			}
		}
	}
}

func TestHeavyTiesShareTheirBucketFairly(t *testing.T) {
	p := &Problem{Levels: 40, Weights: ones(5), Counts: []Count{{2, 600_000}}, Epsilon: Unit, Contributions: 1}
	for i := int64(1); i < 10; i++ {
		p.Quantiles = append(p.Quantiles, i*Unit/10)
	}
	for range 20 {
		for i, z := range Solve(p, exact.New()) {
			// Inside the atom the cut's position is its rank, up to noise of some hundred records in 600,000.
			share := float64(z-2<<40) / (1 << 40)
			if z>>40 != 2 || math.Abs(share-float64(i+1)/10) > 0.01 {
				t.Errorf("quantile 0.%d is cut %#x", i+1, z)
			}
		}
	}
}

func TestNoRecordsSampleThePrior(t *testing.T) {
	w := []uint64{1, 2, 5}
	p := &Problem{Levels: 40, Weights: w, Quantiles: []int64{Unit / 2}, Epsilon: Unit, Contributions: 1}
	counts := [3]int{}
	const draws = 8000
	g := exact.New()
	for range draws {
		counts[Solve(p, g)[0]>>40]++
	}
	for b, n := range counts {
		want := draws * float64(w[b]) / 8
		if math.Abs(float64(n)-want) > 8*math.Sqrt(want) {
			t.Errorf("bucket %d: %d draws, expected %g", b, n, want)
		}
	}
}

func TestTheLargestCountsAndSharesDoNotOverflow(t *testing.T) {
	p := &Problem{
		Levels: 40, Weights: []uint64{1, 1 << 61, 1}, Counts: []Count{{0, 1 << 40}, {1, 3}, {2, 1 << 40}},
		Quantiles: []int64{1, Unit/2 - 1, Unit / 2, Unit/2 + 1, Unit - 1}, Epsilon: 1000 * Unit, Contributions: 1,
	}
	cuts := Solve(p, exact.New())
	if cuts[0]>>40 != 0 || cuts[4]>>40 != 2 {
		t.Errorf("cuts %#x", cuts)
	}
	for i, z := range cuts {
		if e := rankError(p, z, p.Quantiles[i]); e > 1000 {
			t.Errorf("quantile %d is off by %g records", p.Quantiles[i], e)
		}
	}
}

func TestTheLargestSketchIsAnswered(t *testing.T) {
	p := &Problem{
		Levels: 40, Weights: ones(3), Counts: []Count{{0, 1 << 63}, {2, 1<<63 - 1}},
		Quantiles: []int64{Unit / 4, Unit / 2, 3 * Unit / 4}, Epsilon: Unit, Contributions: 1,
	}
	cuts := Solve(p, exact.New())
	for i, z := range cuts {
		if e := rankError(p, z, p.Quantiles[i]); e > 1<<24 {
			t.Errorf("quantile %d is off by %g records", p.Quantiles[i], e)
		}
	}
	// Quarters fall in the middle of either atom.
	for i, want := range map[int]float64{0: 0.5, 2: 2.5} {
		if at := float64(cuts[i]) / (1 << 40); math.Abs(at-want) > 1e-6 {
			t.Errorf("quantile %d is cut %g", p.Quantiles[i], at)
		}
	}
}

// Every quantile is drawn by one node, and no path is longer than Depth or loses more than Rho.
func TestTheTreeOfQuantiles(t *testing.T) {
	for arity := 2; arity <= 9; arity++ {
		for m := 1; m <= 300; m++ {
			shares := make([]uint64, Depth(m, arity))
			for i := range shares {
				shares[i] = uint64(1 + i*i%7)
			}
			for _, shares := range [][]uint64{nil, shares} {
				bound, _ := Rho(m, arity, shares, false).Float64()
				times, longest, most := make([]int, m), 0, 0.0
				var walk func(from, to, level int, epsilon, rho float64)
				walk = func(from, to, level int, epsilon, rho float64) {
					longest, most = max(longest, level), max(most, rho)
					if epsilon > 1+1e-12 {
						t.Fatalf("%d quantiles, arity %d: a path spends %v", m, arity, epsilon)
					}
					if from == to {
						return
					}
					js := drawn(nil, from, to, arity)
					e, _ := share(shares, Depth(m, arity), level).Float64()
					for _, j := range js {
						times[j]++
					}
					eachChild(to-from, arity, func(f, u int) {
						walk(from+f, from+u, level+1, epsilon+e, rho+e*e/float64(len(js)))
					})
				}
				walk(0, m, 0, 0, 0)
				if longest != Depth(m, arity) || most > bound*(1+1e-12) || slices.Min(times) != 1 || slices.Max(times) != 1 {
					t.Fatalf("%d quantiles, arity %d: depth %d, want %d; ρ %v of %v; drawn %v", m, arity, Depth(m, arity), longest, most, bound, times)
				}
			}
		}
	}
}

func TestDrawsOfOneNodeAscendAndAreClose(t *testing.T) {
	for _, arity := range []int{3, 4, 10, 100} {
		p := &Problem{Levels: 40, Weights: ones(512), Epsilon: 20 * Unit, Contributions: 1, Arity: arity, Edges: arity%2 == 0}
		for b := range 512 {
			p.Counts = append(p.Counts, Count{b, 1000})
		}
		for i := int64(1); i < 60; i++ {
			p.Quantiles = append(p.Quantiles, i*Unit/60)
		}
		cuts := Solve(p, exact.New())
		if !slices.IsSorted(cuts) {
			t.Fatalf("arity %d: cuts %v fall", arity, cuts)
		}
		for i, z := range cuts {
			if e := rankError(p, z, p.Quantiles[i]); e > 5000 {
				t.Errorf("arity %d: quantile %d is off by %g records", arity, p.Quantiles[i], e)
			}
		}
	}
}

func BenchmarkSolve99Quantiles8192Buckets(b *testing.B) {
	p := &Problem{Levels: 40, Weights: ones(8192), Epsilon: Unit, Contributions: 1}
	for i := range 8192 {
		p.Counts = append(p.Counts, Count{i, 12_000 + uint64(i*7919%1000)})
	}
	for i := int64(1); i < 100; i++ {
		p.Quantiles = append(p.Quantiles, i*Unit/100)
	}
	Solve(p, exact.New())
	b.ReportAllocs()
	for b.Loop() {
		Solve(p, exact.New())
	}
}

// Both parts of a mixture are restricted to the range before they are mixed: where the prior has next to nothing, the robust one has its share and no more.
func TestMixturesAreMadeInsideTheRange(t *testing.T) {
	const levels = 4
	p := Prior{Weights: []uint64{1 << 50, 1 << 50, 6, 2, 1 << 50}, Robust: []uint64{1, 1, 1, 3, 1}, Share: 0.25}
	// The range has the second half of bucket 2, and of bucket 3 the first four cells, of which the last is its cut b.
	a, b := uint64(2<<levels+8), uint64(3<<levels+3)
	w := p.Within(2, 4, a, b, levels, nil)
	own := []float64{8 * 6, 4 * 2}
	robust := []float64{8 * 1, 4 * 3}
	for i, cells := range []float64{8, 4} {
		want := 0.75*own[i]/(own[0]+own[1]) + 0.25*robust[i]/(robust[0]+robust[1])
		got := cells * float64(w[i]) / (8*float64(w[0]) + 4*float64(w[1]))
		if math.Abs(got-want) > 1e-12 {
			t.Errorf("bucket %d has %v of the range, want %v", 2+i, got, want)
		}
	}
	for _, x := range p.Within(0, 5, 0, 5<<levels, levels, nil) {
		if x == 0 {
			t.Error("a bucket weighs nothing")
		}
	}
}

// Of the robust share a part is near the ends of the range that were drawn, as much within a distance as within its double; where none was drawn there is none.
func TestAPartOfAMixtureIsNearTheAnswersAround(t *testing.T) {
	const levels, n = 4, 1000
	p := Prior{Weights: ones(n), Robust: ones(n), Share: 1, Near: 0.5}
	total := func(w []uint64) (sum float64) {
		for _, x := range w {
			sum += float64(x)
		}
		return sum
	}
	a := uint64(200 << levels)
	w := p.Within(200, n, a, n<<levels, levels, nil)
	all := total(w)
	for _, reach := range []int{1, 10, 100} {
		want := 0.5*float64(reach)/800 + 0.5*math.Log1p(float64(reach))/math.Log1p(800)
		if got := total(w[:reach]) / all; math.Abs(got-want) > 0.01 {
			t.Errorf("%d of 800 buckets have %v of the weight, want %v", reach, got, want)
		}
	}
	w = p.Within(0, n, 0, n<<levels, levels, nil)
	if w[0] != w[n/2] || w[0] != w[n-1] {
		t.Errorf("with nothing drawn, buckets weigh %d, %d and %d", w[0], w[n/2], w[n-1])
	}
	b := uint64(300<<levels + 5)
	w = p.Within(0, 301, 0, b, levels, nil)
	if w[290] < 3*w[10] {
		t.Errorf("near the upper end a bucket weighs %d, far from it %d", w[290], w[10])
	}
}

// Ranges of any kind, with priors that concentrate anywhere: answers are sorted, lie in the grid, and are right where records are plenty.
func TestPriorsOfQuantilesReachEveryRange(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 8))
	for range 200 {
		n := 1 + random.IntN(6)
		p := &Problem{Levels: 10 + uint(random.IntN(31)), Epsilon: 50 * Unit, Contributions: 1, Edges: random.IntN(4) == 0, Arity: 2 + random.IntN(3)}
		for b := range n {
			if c := random.Uint64N(3) * 1000; c > 0 {
				p.Counts = append(p.Counts, Count{b, c})
			}
		}
		for q := range int64(1 + random.IntN(9)) {
			p.Quantiles = append(p.Quantiles, (q+1)*Unit/10)
			prior := Prior{Weights: ones(n), Robust: ones(n), Share: 0.1, Near: float64(random.IntN(3)) / 2}
			prior.Weights[random.IntN(n)] = 1 << 61
			p.Priors = append(p.Priors, prior)
		}
		cuts := Solve(p, exact.New())
		if !slices.IsSorted(cuts) || cuts[len(cuts)-1] > uint64(n)<<p.Levels {
			t.Fatalf("%d buckets: cuts %v", n, cuts)
		}
		for i, z := range cuts {
			if e := rankError(p, z, p.Quantiles[i]); e > 60 && len(p.Counts) > 0 {
				t.Errorf("%+v: cut %d is off by %g records", p, z, e)
			}
		}
	}
}
