package recursive

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quietile/quietile/dp/exact"
)

// randomJoint returns a problem of one node with few or many records, on any grid.
func randomJoint(r *rand.Rand) *Problem {
	p := &Problem{Levels: []uint{0, 1, 3, 40}[r.IntN(4)], Epsilon: 1 + r.Int64N([]int64{Unit / 100, Unit, 30 * Unit}[r.IntN(3)]), Contributions: 1 + r.Uint64N(3), Joint: true}
	for b := range 1 + r.IntN(50) {
		p.Weights = append(p.Weights, 1+r.Uint64N(1<<[]uint{1, 10, 40}[r.IntN(3)]))
		if n := r.Uint64N(1 << r.IntN(12)); n > 0 {
			p.Counts = append(p.Counts, Count{b, n})
		}
	}
	for q := int64(0); len(p.Quantiles) < 1+r.IntN(6); {
		if q += 1 + r.Int64N(Unit/7); q >= Unit {
			break
		}
		p.Quantiles = append(p.Quantiles, q)
	}
	p.Arity = len(p.Quantiles) + 1
	return p
}

// jointOf returns the one node of a problem.
func jointOf(p *Problem, s exact.Sampler) *joint {
	v := newSolver(p, s)
	return v.newJoint(0, v.top, drawn(nil, 0, len(p.Quantiles), p.Arity), 0, Unit, 0)
}

// What proposals are drawn by never adds up to more than all.
func TestOddsNeverAddUpToMoreThanAll(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	states := 0
	for range 100 {
		p := jointOf(randomJoint(r), exact.New()).proposal
		check := func(all func(func(uint64) bool)) {
			t.Helper()
			states++
			sum := new(big.Int)
			for odds := range all {
				sum.Add(sum, new(big.Int).SetUint64(odds))
			}
			if sum.Cmp(new(big.Int).Lsh(big.NewInt(1), oddsBits)) > 0 {
				t.Fatalf("odds add up to %v of 2^%d", sum, oddsBits)
			}
		}
		check(slices.Values(p.odds))
		for i := range p.cells {
			c := &p.cells[i]
			for j := range p.layers {
				// From some runs of the next layer, or the end.
				for range 5 {
					l := &p.layers[j]
					x, limit, ways := 0., len(l.runs), c.total
					if j < len(p.layers)-1 {
						v := r.IntN(len(p.layers[j+1].runs))
						x, limit, ways = p.layers[j+1].middle[v], p.layers[j+1].latest[v], c.ways[j+1][v]
					}
					x -= p.excess(c, j+1)
					check(p.oddsOfRuns(l, c, j, newOutward(l.middle[:limit], x), x, ways))
				}
			}
		}
	}
	t.Logf("%d states", states)
}

// The sums that take time in proportion to the runs are those by their definition.
func TestSumsOverRunsAreTheDefined(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 60 {
		p := jointOf(randomJoint(r), exact.New()).proposal
		for i := range p.cells {
			c := &p.cells[i]
			for j := 1; j < len(p.layers); j++ {
				from, to, excess := &p.layers[j-1], &p.layers[j], p.excess(c, j)
				for v := r.IntN(3); v < len(to.runs); v += 1 + r.IntN(40) {
					var want wide
					for u := range to.latest[v] {
						want = want.plus(c.messages[j-1][u].times(wideExp(c.cost(p.eta, to.middle[v]-from.middle[u]-excess))))
					}
					if got := c.ways[j][v]; want.m != 0 && math.Abs(got.log()-want.log()) > 1e-8 || want.m == 0 != (got.m == 0) {
						t.Fatalf("cell %d … %d, layer %d, run %d of %d: %v, and one by one %v", c.first, c.last, j, v, len(to.runs), got, want)
					}
				}
			}
		}
	}
}

// Runs of a layer are all of the cuts whose ranks are within the reach, each once, and say how many records are before them.
func TestRunsTellTheirRanks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		g := jointOf(randomJoint(r), exact.New())
		for j, l := range g.proposal.layers {
			at := uint64(0)
			for i, x := range l.runs {
				if i > 0 && x.start != at || x.end <= x.start {
					t.Fatalf("layer %d: run %+v after one that ends at %d", j, x, at)
				}
				at = x.end
				for range 3 {
					z := x.start + r.Uint64N(x.end-x.start)
					if n := g.recordsBefore(z) - g.first; n < x.before || n > x.before+x.records {
						t.Fatalf("cut %d of run %+v has %d records before it", z, x, n)
					}
				}
			}
		}
	}
}

// A score is the least over all N.
func TestScoresAreTheLeastOverN(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		g := &joint{}
		for range 2 + r.IntN(5) {
			g.parts = append(g.parts, 1+r.Uint64N(9))
			g.den += g.parts[len(g.parts)-1]
		}
		gaps, n := make([]uint64, len(g.parts)), uint64(0)
		for j := range gaps {
			gaps[j] = r.Uint64N(1 << r.IntN(7))
			n += gaps[j]
		}
		least, at := int64(math.MaxInt64), uint64(0)
		for records := range 2*n + 3 {
			sum := int64(0)
			for j := range gaps {
				x := int64(gaps[j]*g.den) - int64(g.parts[j]*records)
				sum += 2 * max(x, -x)
			}
			if sum < least {
				least, at = sum, records
			}
		}
		score, first, last := g.score(gaps)
		if score != exact.From64(uint64(least)) || first > at || last < at {
			t.Fatalf("gaps %v, parts %v: score %v for %d … %d, and the least is %d at %d", gaps, g.parts, score, first, last, least, at)
		}
		for n := range min(last, 2*n) + 3 {
			sum := int64(0)
			for j := range gaps {
				x := int64(gaps[j]*g.den) - int64(g.parts[j]*n)
				sum += 2 * max(x, -x)
			}
			if (sum == least) != (n >= first && n <= last) {
				t.Fatalf("gaps %v, parts %v: %d … %d are said to be best, and %d is %d of %d", gaps, g.parts, first, last, n, sum, least)
			}
		}
	}
}

// A countingSampler counts trials.
type countingSampler struct {
	exact.Sampler
	trials int
}

func (s *countingSampler) Repeat(trial func() bool) {
	s.Sampler.Repeat(func() bool {
		s.trials++
		return trial()
	})
}

// No data and no prior make trials fail for long.
func TestTrialsSucceedSoon(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	most := 0
	for range 300 {
		p := randomJoint(r)
		s := &countingSampler{Sampler: exact.New()}
		Solve(p, s)
		limit := 20 * trialsOfProposal
		if p.Levels < 40 { // records that cannot be told apart, as in no release
			limit *= 10
		}
		if most = max(most, s.trials); s.trials > limit {
			t.Errorf("%d trials of %d quantiles, ε %d, %d cells a bucket", s.trials, len(p.Quantiles), p.Epsilon, 1<<p.Levels)
		}
	}
	t.Logf("at most %d trials", most)
}

func TestJointCutsAreSortedAndClose(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	p := &Problem{Levels: 40, Weights: ones(8192), Epsilon: Unit, Contributions: 1, Joint: true, Arity: 10}
	for b := range 8192 {
		if n := random.Uint64N(20000); b%3 != 0 && n > 0 {
			p.Counts = append(p.Counts, Count{b, n})
		}
	}
	for i := int64(1); i < 100; i++ {
		p.Quantiles = append(p.Quantiles, i*Unit/100)
	}
	for range 3 {
		cuts := Solve(p, exact.New())
		if !slices.IsSorted(cuts) {
			t.Fatalf("cuts %v fall", cuts)
		}
		for i, z := range cuts {
			if e := rankError(p, z, p.Quantiles[i]); e > 1000 { // beyond e^−100
				t.Errorf("quantile %d is off by %g records", p.Quantiles[i], e)
			}
		}
	}
}

func TestDrawnQuantilesAreSpreadOut(t *testing.T) {
	var quantiles []int64
	for i := int64(1); i < 200; i++ {
		quantiles = append(quantiles, i*Unit/200)
	}
	for draws := 2; draws < 210; draws++ {
		drawn := Drawn(quantiles, draws)
		if len(drawn) != min(draws, len(quantiles)) || !slices.IsSorted(drawn) || drawn[0] != quantiles[0] || drawn[len(drawn)-1] != quantiles[198] {
			t.Fatalf("%d draws: %v", draws, drawn)
		}
		if len(slices.Compact(slices.Clone(drawn))) != len(drawn) {
			t.Fatalf("%d draws: %v has one twice", draws, drawn)
		}
	}
	if got := Drawn(quantiles, 5); got[1] < 12*Unit/100 || got[1] > 18*Unit/100 || got[2] != Unit/2 {
		t.Errorf("five of 199: %v", got)
	}
}

// What is not drawn is on straight lines over the prior's weight between what is.
func TestCutsBetweenTheDrawnAreInterpolated(t *testing.T) {
	v := newSolver(&Problem{Levels: 4, Weights: []uint64{1, 3, 4}, Quantiles: []int64{Unit / 4, 3 * Unit / 4}}, nil)
	v.cuts = []uint64{8, 40} // half of the first bucket, half of the last: weights 1/2 and 6 of 8
	got := v.interpolate([]int64{Unit / 8, Unit / 4, Unit / 2, 5 * Unit / 8, 3 * Unit / 4, 7 * Unit / 8})
	// Weights before, in sixteenths: 4, 8, 8+88/2 = 52, 8+66, 96, 96+16.
	want := []uint64{4, 8, 16 + 36/3, 32 + 10/4, 40, 44}
	if !slices.Equal(got, want) {
		t.Errorf("cuts %v, want %v", got, want)
	}
}

// Cuts that crowd in one place, and gaps that cannot be as wanted since records are whole, do not make trials fail for long either.
func TestTrialsSucceedSoonWhereCutsCrowd(t *testing.T) {
	f := func(epsilon int64, records map[int]uint64, quantiles ...int64) {
		t.Helper()
		p := &Problem{Levels: 40, Weights: ones(1000), Quantiles: quantiles, Epsilon: epsilon, Contributions: 1, Joint: true, Arity: len(quantiles) + 1}
		for b := range 1000 {
			if n := records[b]; n > 0 {
				p.Counts = append(p.Counts, Count{b, n})
			}
		}
		for range 3 {
			s := &countingSampler{Sampler: exact.New()}
			Solve(p, s)
			if s.trials > 20*trialsOfProposal {
				t.Errorf("%d trials of %d quantiles from %d, ε %d, %d buckets with records", s.trials, len(quantiles), quantiles[0], epsilon, len(records))
			}
		}
	}
	even := func(m int) (qs []int64) {
		for i := range m {
			qs = append(qs, int64(i+1)*Unit/int64(m+1))
		}
		return qs
	}
	near := func(q, step int64, m int) (qs []int64) {
		for i := range int64(m) {
			qs = append(qs, q+i*step)
		}
		return qs
	}
	spread := map[int]uint64{}
	for b := 300; b < 500; b++ {
		spread[b] = 5
	}
	f(Unit, spread, near(99*Unit/100, Unit/1000, 10)...)
	f(Unit, spread, near(99*Unit/100, Unit/10_000, 32)...)
	f(10*Unit, spread, near(Unit/2, 1, 9)...)
	f(Unit, map[int]uint64{10: 1000, 60: 1000}, near(Unit/2, 1, 9)...)
	f(1000*Unit, map[int]uint64{500: 1}, Unit/2)
	for _, n := range []int{1, 5, 12, 25, 49, 83} {
		few := map[int]uint64{}
		for i := range n {
			few[i*1000/n]++
		}
		f(20*Unit, few, even(9)...)
		f(50*Unit, few, even(19)...)
		f(20*Unit, few, even(32)...)
	}
	f(Unit, map[int]uint64{5: 1 << 50}, Unit/2)
}
