package adaptive

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/tree"
)

func seeded(t testing.TB) (*rand.Rand, *exact.Generator) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), byte(seed >> 32)})
	return rand.New(rand.NewPCG(seed, 0)), exact.NewFrom(source)
}

// spread returns a problem with records on these buckets, one ε to a record or two.
func spread(buckets int, at ...int) *Problem {
	p := &Problem{Weights: slices.Repeat([]uint64{1}, buckets), Bins: 8, Rounds: 4, Epsilon: tree.Unit, Contributions: 1}
	slices.Sort(at)
	for _, b := range at {
		if last := len(p.Counts) - 1; last >= 0 && p.Counts[last].Bucket == b {
			p.Counts[last].Records++
		} else {
			p.Counts = append(p.Counts, tree.Count{Bucket: b, Records: 1})
		}
	}
	return p
}

func TestCheckNamesFieldAndValue(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Problem)
		want   string
	}{
		"bins":          {func(p *Problem) { p.Bins = 1 }, "1 bins is not in [2, 1024]"},
		"many bins":     {func(p *Problem) { p.Bins = 1025 }, "1025 bins"},
		"rounds":        {func(p *Problem) { p.Rounds = 0 }, "0 rounds is not in [1, 16]"},
		"many rounds":   {func(p *Problem) { p.Rounds = 17 }, "17 rounds"},
		"shares":        {func(p *Problem) { p.Shares = []uint64{1, 2} }, "2 shares for 4 rounds"},
		"share 0":       {func(p *Problem) { p.Shares = []uint64{1, 0, 1, 1} }, "share 0"},
		"epsilon":       {func(p *Problem) { p.Epsilon = 3 }, "epsilon of 3 billionths"},
		"rho":           {func(p *Problem) { p.Noise = tree.Gaussian }, "rho of 0 billionths"},
		"contributions": {func(p *Problem) { p.Contributions = 0 }, "contributions 0"},
	} {
		p := spread(10)
		c.change(p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.want)
		}
	}
	if err := spread(10).Check(); err != nil {
		t.Error(err)
	}
}

// The rounds spend all that there is and no more, in proportion to their shares, and their noise is what they spend.
func TestRoundsSpendTheBudget(t *testing.T) {
	_, s := seeded(t)
	for _, noise := range []tree.Kind{tree.Laplace, tree.Gaussian} {
		p := spread(100, 1, 2, 3)
		p.Shares, p.Contributions = []uint64{1, 2, 3, 4}, 3
		if p.Noise = noise; noise == tree.Gaussian {
			p.Epsilon, p.Rho = 0, tree.Unit
		}
		spent := 0.0
		for i, r := range Measure(p, s) {
			cost := 3 * math.Sqrt2 / r.Deviation // c/scale
			if noise == tree.Gaussian {
				cost = 9 / (2 * r.Deviation * r.Deviation)
			}
			if want := float64(i+1) / 10; math.Abs(cost-want) > 1e-6 {
				t.Errorf("noise %d, round %d spends %v, want %v", noise, i, cost, want)
			}
			spent += cost
		}
		if math.Abs(spent-1) > 1e-6 {
			t.Errorf("noise %d: all rounds spend %v of 1", noise, spent)
		}
	}
}

// Bins of every round go from end to end without a gap and number at most what they may, whatever was measured; the counts are those of the records in them, plus noise.
func TestRoundsCountTheirBins(t *testing.T) {
	random, s := seeded(t)
	for range 300 {
		buckets := 1 + random.IntN(60)
		p := spread(buckets)
		for b := range buckets {
			if random.IntN(2) == 0 {
				p.Counts = append(p.Counts, tree.Count{Bucket: b, Records: random.Uint64N(1 << random.IntN(40))})
			}
			p.Weights[b] = 1 + random.Uint64N(1<<random.IntN(50))
		}
		p.Bins, p.Rounds, p.Epsilon = 2+random.IntN(12), 1+random.IntN(6), 900*tree.Unit // next to no noise
		f := Release(p, s)
		for i, r := range f.rounds {
			if r.Edges[0] != 0 || r.Edges[len(r.Edges)-1] != buckets || len(r.Edges)-1 > p.Bins || len(r.Counts) != len(r.Edges)-1 || !slices.IsSorted(r.Edges) || len(slices.Compact(slices.Clone(r.Edges))) != len(r.Edges) {
				t.Fatalf("round %d has the edges %v and %d counts, of %d buckets and %d bins", i, r.Edges, len(r.Counts), buckets, p.Bins)
			}
			for bin, y := range r.Counts {
				want := uint64(0)
				for _, c := range p.Counts {
					if c.Bucket >= r.Edges[bin] && c.Bucket < r.Edges[bin+1] {
						want += c.Records
					}
				}
				if math.Abs(float64(y)-float64(want)) > 60*r.Deviation {
					t.Fatalf("round %d, bin %d counts %d, want %d", i, bin, y, want)
				}
			}
		}
	}
}

// The fit is where no bin wants to move: θ = (count − x)·σ̄/(stiffness·σ²), x = prior·exp(Σθ)·factor, and x adds up to the records.
func TestFitIsWhereNothingMoves(t *testing.T) {
	random, s := seeded(t)
	for range 100 {
		var at []int
		for range 2000 {
			at = append(at, int(math.Abs(random.NormFloat64())*100)%1000)
		}
		p := spread(1000, at...)
		p.Epsilon, p.Bins, p.Rounds = tree.Unit/5, 5, 3
		for b := range p.Weights {
			p.Weights[b] = 1 + random.Uint64N(100)
		}
		f := Release(p, s)
		spans, n := f.prepare(), f.records()
		for range 100_000 {
			if f.sweep(spans, n) < 1e-8 {
				break
			}
		}
		least, sum := math.Inf(1), 0.0
		for _, r := range f.rounds {
			least = min(least, r.Deviation)
		}
		for _, m := range f.mass {
			sum += m
		}
		if n := f.records(); math.Abs(sum-n) > 1e-6*n {
			t.Fatalf("masses add up to %v, want %v", sum, n)
		}
		factor := math.NaN()
		exponents := make([]float64, len(f.mass))
		for i, r := range f.rounds {
			for bin, y := range r.Counts {
				x := 0.0
				for atom := range f.mass {
					if f.edges[atom] >= r.Edges[bin] && f.edges[atom+1] <= r.Edges[bin+1] {
						x += f.mass[atom]
						exponents[atom] += f.theta[i][bin]
					}
				}
				want := (float64(y) + (sum-r.sum())/float64(len(r.Counts)) - x) * least / (stiffness * r.Deviation * r.Deviation)
				if math.Abs(f.theta[i][bin]-min(max(want, -limit), limit)) > 1e-3 {
					t.Errorf("round %d, bin %d of %d records by %v: θ = %v, want %v", i, bin, y, x, f.theta[i][bin], want)
				}
			}
		}
		for atom, m := range f.mass {
			now := m / f.share(atom) / math.Exp(exponents[atom])
			if math.IsNaN(factor) {
				factor = now
			}
			if math.Abs(now-factor) > 1e-6*factor {
				t.Errorf("atom %d is %v times its prior and exponents, others %v times", atom, now, factor)
			}
		}
	}
}

func TestStepSolvesItsEquation(t *testing.T) {
	random, _ := seeded(t)
	for range 100_000 {
		sum, stiff := math.Exp(random.NormFloat64()*15), math.Exp(random.NormFloat64()*8)
		count, theta := random.NormFloat64()*math.Exp(random.NormFloat64()*10), random.NormFloat64()*10
		theta = min(max(theta, -limit), limit)
		d := step(sum, count, theta, stiff)
		at := sum*math.Exp(d) + stiff*(theta+d) - count
		scale := sum*math.Exp(d) + stiff + math.Abs(count)
		switch off := theta + d; {
		case off < -limit+1e-9 && at > -1e-6*scale, off > limit-1e-9 && at < 1e-6*scale: // the root is beyond
		case math.Abs(at) > 1e-5*scale:
			t.Fatalf("step(%v, %v, %v, %v) = %v leaves %v", sum, count, theta, stiff, d, at)
		}
	}
}

// Records in one bucket of many, or a few, are found, and quantiles then have that bucket.
func TestFindsBuckets(t *testing.T) {
	random, s := seeded(t)
	for range 50 {
		bucket := random.IntN(8192)
		p := spread(8192)
		p.Counts = []tree.Count{{Bucket: bucket, Records: 5000}}
		p.Bins, p.Rounds = 12, 5
		f := Release(p, s)
		for _, cut := range f.Quantiles([]int64{tree.Unit / 10, tree.Unit / 2, tree.Unit / 10 * 9}) {
			if at := int(cut >> tree.CellBits); at != bucket {
				t.Errorf("bucket %d, want %d", at, bucket)
			}
		}
	}
}

func TestCutsRiseAndStayInside(t *testing.T) {
	random, s := seeded(t)
	for range 300 {
		buckets := 1 + random.IntN(100)
		p := spread(buckets)
		for b := range buckets {
			p.Weights[b] = 1 + random.Uint64N(1<<random.IntN(55)) // up to where a prior is too small for float64
			if random.IntN(3) == 0 {
				p.Counts = append(p.Counts, tree.Count{Bucket: b, Records: random.Uint64N(1 << random.IntN(60))})
			}
		}
		p.Rounds, p.Epsilon = 1+random.IntN(MaxRounds), max(random.Int64N(1<<random.IntN(39)), 16)
		f := Release(p, s)
		var qs []int64
		for range 50 {
			qs = append(qs, 1+random.Int64N(tree.Unit-1))
		}
		qs = append(qs, 1, tree.Unit-1)
		slices.Sort(qs)
		cuts := f.Quantiles(qs)
		if !slices.IsSorted(cuts) || cuts[len(cuts)-1] > uint64(buckets)<<tree.CellBits {
			t.Fatalf("cuts %v of %d buckets", cuts, buckets)
		}
		for _, m := range f.mass {
			if math.IsNaN(m) || math.IsInf(m, 0) || m < 0 {
				t.Fatalf("masses %v", f.mass)
			}
		}
	}
}

// Records of a bucket that cuts divide lie on their sides in proportion, and none is lost.
func TestBetweenCountsEveryRecord(t *testing.T) {
	random, s := seeded(t)
	const cells = 1 << tree.CellBits
	counts := []tree.Count{{Bucket: 0, Records: 1 << 40}, {Bucket: 2, Records: 5}, {Bucket: 3, Records: 1 << 41}}
	cuts := []uint64{0, cells / 8, cells / 2, cells, cells + 7, 3 * cells, 3*cells + cells/4*3, 3*cells + cells/4*3, 4 * cells}
	want := []float64{0, 1 << 37, 3 << 37, 1 << 39, 0, 5, 3 << 39, 0, 1 << 39, 0}
	for j, n := range Between(counts, cuts, s) {
		if math.Abs(float64(n)-want[j]) > 1e-5*(1<<41) || want[j] < 10 && float64(n) != want[j] {
			t.Errorf("%d records in interval %d, want about %g", n, j, want[j])
		}
	}
	for range 200 {
		counts, cuts, want := []tree.Count{}, []uint64{}, uint64(0)
		for b := range 20 {
			if random.IntN(2) == 0 {
				counts = append(counts, tree.Count{Bucket: b, Records: random.Uint64N(100)})
				want += counts[len(counts)-1].Records
			}
		}
		for range random.IntN(30) {
			cuts = append(cuts, random.Uint64N(20*cells+1))
		}
		slices.Sort(cuts)
		got := uint64(0)
		for _, n := range Between(counts, cuts, s) {
			got += n
		}
		if got != want {
			t.Fatalf("%d records between cuts, want %d", got, want)
		}
	}
}

func BenchmarkRelease(b *testing.B) {
	random, s := seeded(b)
	for _, c := range []struct{ records, bins, rounds int }{{1000, 8, 4}, {10_000, 17, 4}, {100_000, 51, 3}, {100_000, 1024, 4}} {
		b.Run(fmt.Sprintf("records=%d,bins=%d,rounds=%d", c.records, c.bins, c.rounds), func(b *testing.B) {
			var at []int
			for range c.records {
				at = append(at, min(max(int(4096+random.NormFloat64()*200), 0), 8191))
			}
			p := spread(8192, at...)
			p.Bins, p.Rounds, p.Epsilon = c.bins, c.rounds, tree.Unit/10
			for b.Loop() {
				Release(p, s)
			}
			b.ReportMetric(float64(Work(p, 8192))*50, "bound-ns/op")
		})
	}
}
