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
	p := &Problem{Levels: []uint{0, 1, 3, 40}[r.IntN(4)], Epsilon: 1 + r.Int64N([]int64{Unit / 100, Unit, 30 * Unit}[r.IntN(3)]), Contributions: 1 + r.Uint64N(3), Joint: true, Buckets: r.IntN(2) == 0, Sharp: r.IntN(2) == 0}
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
	return v.newJoint(0, v.top, drawn(nil, 0, len(p.Quantiles), p.Arity), 0, Unit, 0, p.Buckets)
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
					w, limit, ways := window{x: -p.excess(c, j+1)}, len(l.places), c.total
					if j < len(p.layers)-1 {
						next := &p.layers[j+1]
						v := r.IntN(len(next.places))
						w, limit, ways = next.window(v, p.excess(c, j+1)), next.latest[v], c.ways[j+1][v]
					}
					order := newOutward(l.middle, w, limit)
					for k := range order.len() {
						if !w.has(l.middle[order.at(k)]) {
							t.Fatalf("%v has not the middle %v that is drawn", w, l.middle[order.at(k)])
						}
					}
					check(p.oddsOfRuns(l, c, j, order, w, ways))
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
				for v := r.IntN(3); v < len(to.places); v += 1 + r.IntN(40) {
					var want wide
					w := to.window(v, excess)
					for u := range to.latest[v] {
						if w.has(from.middle[u]) {
							want = want.plus(c.messages[j-1][u].times(wideExp(w.cost(p.eta, c, from.middle[u]))))
						}
					}
					if got := c.ways[j][v]; want.m != 0 && math.Abs(got.log()-want.log()) > 1e-8 || want.m == 0 != (got.m == 0) {
						t.Fatalf("cell %d … %d, layer %d, run %d of %d: %v, and one by one %v", c.first, c.last, j, v, len(to.places), got, want)
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
			at, most := uint64(0), exact.Uint128{}
			for i, x := range l.places {
				same := i > 0 && x.start == l.places[i-1].start // the same bucket with more records before the cut
				if i > 0 && x.start != at && !same || x.end <= x.start {
					t.Fatalf("layer %d: run %+v after one that ends at %d", j, x, at)
				}
				piece := i > 0 && x.before == l.places[i-1].before && x.records == l.places[i-1].records // of a run that was cut up
				if i > 0 && !(piece && x.side == around) && (x.low.Less(most) || same && x.low != most) {
					t.Fatalf("layer %d: run %+v after one with up to %v records before it", j, x, most)
				}
				at, most = x.end, x.high
				if x.side != around && (x.end-1)>>g.Levels != x.start>>g.Levels {
					t.Fatalf("layer %d: run %+v is no bucket", j, x)
				}
				for range 3 {
					z := x.start + r.Uint64N(x.end-x.start)
					from, to := z, z
					if g.whole && z != g.b {
						from, to = z>>g.Levels<<g.Levels, (z>>g.Levels+1)<<g.Levels
					}
					low, high := exact.Product(g.recordsBefore(from)-g.first, g.den), exact.Product(g.recordsBefore(to)-g.first, g.den)
					if x.side == around && (low.Less(x.low) || x.high.Less(high)) || x.side != around && (x.low.Less(low) || high.Less(x.high)) {
						t.Fatalf("cut %d of run %+v has %v … %v records before it", z, x, low, high)
					}
				}
			}
		}
	}
}

// A score is the least over all N and, for buckets, over all divisions into parts of 1/den, which the best is one of; also in a range whose ends are inside buckets.
func TestScoresAreTheLeast(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		p := &Problem{Levels: 3, Weights: ones(4), Quantiles: []int64{Unit / 2}, Epsilon: Unit, Contributions: 1}
		for b := range 4 {
			if n := r.Uint64N(6); n > 0 {
				p.Counts = append(p.Counts, Count{b, n})
			}
		}
		v := newSolver(p, exact.New())
		g := &joint{solver: v, a: r.Uint64N(16), b: 16 + r.Uint64N(17), whole: r.IntN(2) == 0}
		g.first = v.recordsBefore(g.a)
		g.n = v.recordsBefore(g.b) - g.first
		for range 2 + r.IntN(2) {
			g.parts = append(g.parts, 1+r.Uint64N(3))
			g.den += g.parts[len(g.parts)-1]
		}
		var cuts []uint64
		for range len(g.parts) - 1 {
			cuts = append(cuts, g.a+r.Uint64N(g.b-g.a+1))
		}
		slices.Sort(cuts)
		value := g.valued(cuts)
		score, first, last := g.best(value)
		for records := range 2*g.n + 2 {
			// By den times the records before a cut, the least sum so far.
			best := map[int64]int64{0: 0}
			for j, part := range g.parts {
				low, high := g.n, g.n
				if j < len(cuts) {
					from, to := cuts[j], cuts[j]
					if g.whole && cuts[j] < g.b {
						from, to = max(cuts[j]&^7, g.a), min(cuts[j]&^7+8, g.b)
					}
					low, high = v.recordsBefore(from)-g.first, v.recordsBefore(to)-g.first
				}
				next := map[int64]int64{}
				for x := int64(low * g.den); x <= int64(high*g.den); x++ {
					for last, sum := range best {
						if last > x {
							continue
						}
						off := x - last - int64(part*records)
						if sum += max(off, -off); next[x] == 0 || sum+1 < next[x] {
							next[x] = sum + 1 // 0 is none
						}
					}
				}
				for x := range next {
					next[x]--
				}
				best = next
			}
			if got, want := int64(value(records).Lo), 2*best[int64(g.n*g.den)]; got != want {
				t.Fatalf("cuts %v from %d to %d, parts %v, N %d: %d, want %d", cuts, g.a, g.b, g.parts, records, got, want)
			}
			if here := value(records); here.Less(score) || (here == score) != (records >= first && records <= last) {
				t.Fatalf("cuts %v, parts %v: %v of %d … %d is said to be best, and %d has %v", cuts, g.parts, score, first, last, records, here)
			}
		}
	}
}

// No run of a bucket's records is drawn in two ways for the same cuts: what is before a cut decides it.
func TestWindowsDivideWhatIsBefore(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 9))
	several := 0
	for range 200 {
		p := randomJoint(r)
		p.Buckets, p.Epsilon = true, 1+r.Int64N(30*Unit)
		q := jointOf(p, exact.New()).proposal
		for j := range q.layers {
			l := &q.layers[j]
			for range 20 {
				middle, excess := r.NormFloat64()*float64(int64(1)<<r.IntN(10)), r.NormFloat64()*10
				for i := 0; i < len(l.places); {
					to := i + 1
					for to < len(l.places) && l.places[to].start == l.places[i].start {
						to++
					}
					ways := 0
					for k := i; k < to; k++ {
						if w := l.window(k, excess); w.has(middle) {
							ways++
						}
					}
					if ways != 1 {
						t.Fatalf("a cut at %v is before %d of the runs of a bucket", middle, ways)
					}
					if to > i+1 {
						several++
					}
					i = to
				}
			}
		}
	}
	if several < 1000 {
		t.Errorf("%d buckets had several runs, too few to tell", several)
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

// limitedTrials gives up after so many trials, so that a test ends where a draw would not.
type limitedTrials struct {
	*countingSampler
	most int
}

func (s limitedTrials) Repeat(trial func() bool) {
	s.countingSampler.Repeat(func() bool { return trial() || s.trials > s.most })
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
		for i := range 4 {
			p.Buckets = i%2 == 1
			s := &countingSampler{Sampler: exact.New()}
			const most = 8 * trialsOfProposal
			if Solve(p, limitedTrials{s, most}); s.trials > most {
				t.Fatalf("%d trials of %d quantiles from %d, ε %d, %d buckets with records, buckets drawn %v", s.trials, len(quantiles), quantiles[0], epsilon, len(records), p.Buckets)
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
	// A part of a record that a bucket may be divided in costs much.
	for _, epsilon := range []int64{100 * Unit, 200 * Unit, 1000 * Unit} {
		f(epsilon, map[int]uint64{5: 10_001}, even(3)...)
		f(epsilon, map[int]uint64{5: 1_000_000, 700: 1_000_003}, even(7)...)
		f(epsilon, map[int]uint64{5: 10, 6: 3, 7: 1000}, even(9)...)
	}
}

// Runs are cut into pieces of about equal mass, also where weights are so small that a piece has part of one.
func TestRunsAreCutEvenly(t *testing.T) {
	for _, buckets := range []bool{false, true} {
		g := jointOf(&Problem{Weights: ones(133), Quantiles: []int64{Unit / 2}, Epsilon: Unit, Contributions: 1, Joint: true, Buckets: buckets, Arity: 2}, exact.New())
		for _, pieces := range []int{2, 7, 90, 134, 1000} {
			longest, at := uint64(0), uint64(0)
			for _, r := range g.proposal.cutUp(run{start: 0, end: 134}, pieces) {
				if r.start != at || r.end <= r.start {
					t.Fatalf("%d pieces: run %+v after one that ends at %d", pieces, r, at)
				}
				at, longest = r.end, max(longest, r.end-r.start)
			}
			if at != 134 || longest > uint64(134/pieces+2) {
				t.Errorf("%d pieces end at %d, and one has %d cuts", pieces, at, longest)
			}
		}
	}
}

// Tiles by buckets are all of the cuts of a range, whose ends may be inside buckets, and say how many of its records are before them.
func TestBucketsTileTheRange(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 8))
	for range 2000 {
		p := &Problem{Levels: 3, Weights: ones(4), Quantiles: []int64{Unit / 2}, Epsilon: Unit, Contributions: 1}
		for b := range 4 {
			if n := r.Uint64N(1 << r.IntN(5)); n > 0 {
				p.Counts = append(p.Counts, Count{b, n})
			}
		}
		v := newSolver(p, exact.New())
		a := r.Uint64N(v.top)
		b := a + 1 + r.Uint64N(v.top-a)
		v.tileBuckets(a, b)
		at, first := a, v.recordsBefore(a)
		for i, x := range v.blocks {
			records := v.recordsBefore(min(x.end, b)) - v.recordsBefore(x.start)
			if x.start != at || x.end <= x.start || x.before != v.recordsBefore(x.start)-first || x.records != records || i == len(v.blocks)-1 && x.records != 0 {
				t.Fatalf("range %d … %d: tile %+v with %d records after one that ends at %d", a, b, x, records, at)
			}
			at = x.end
		}
		if at != b+1 {
			t.Fatalf("range %d … %d: tiles end at %d", a, b, at)
		}
	}
}

// With the largest ε a record weighs so much that its parts matter, and quantiles lie between them: in one bucket or two, with one record or nearly 2⁵¹, and where the prior is elsewhere.
func TestTrialsSucceedSoonInFullBuckets(t *testing.T) {
	for _, m := range []int{1, 9, 32} {
		for _, epsilon := range []int64{Unit / 1000, Unit, 1000 * Unit} {
			for _, counts := range [][]Count{nil, {{400, 1}}, {{400, 10}}, {{400, 1e9}}, {{10, 1e9}, {800, 1e9}}, {{10, 1 << 50}, {800, 1 << 50}}} {
				for i, weight := range []uint64{1, 1 << 40, 1, 1 << 40} {
					p := &Problem{Levels: 40, Weights: ones(1000), Counts: counts, Epsilon: epsilon, Contributions: 1, Joint: true, Buckets: true, Sharp: i > 1, Arity: m + 1}
					p.Weights[600] = weight
					for i := range int64(m) {
						p.Quantiles = append(p.Quantiles, (i+1)*Unit/int64(m+1))
					}
					s := &countingSampler{Sampler: exact.New()}
					Solve(p, s)
					if s.trials > trialsOfProposal {
						t.Errorf("%d trials of %d quantiles, ε %d, records %v, weight %d", s.trials, m, epsilon, counts, weight)
					}
				}
			}
		}
	}
}

func TestSumsThatAreNotKeptAreTheSameAgain(t *testing.T) {
	defer func(most int) { mostKept = most }(mostKept)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		p, key := randomJoint(r), [32]byte{byte(r.Uint64())}
		var cuts [2][]uint64
		for i, most := range []int{1 << 22, 0} {
			mostKept = most
			cuts[i] = Solve(p, exact.NewFrom(rand.NewChaCha8(key)))
		}
		if !slices.Equal(cuts[0], cuts[1]) {
			t.Fatalf("cuts %v if sums are kept, and otherwise %v", cuts[0], cuts[1])
		}
	}
}

// More records than any stream has, and the largest ε: exponents go beyond what an int64 holds if steps are as long as that allows.
func TestHugeCountsAndEpsilonsAreDrawn(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	problems := []*Problem{{
		Weights:   []uint64{1, 96, 682, 1, 1, 95, 79, 2},
		Counts:    []Count{{1, 1 << 59}, {3, 56452300}, {4, 2593}, {5, 1 << 59}, {6, 1}, {7, 6166}},
		Quantiles: []int64{12, 25, 75185398, 999999998},
	}}
	for range 40 {
		p := &Problem{Weights: ones(8)}
		for b := range 8 {
			if n := r.Uint64N(1 << r.IntN(61)); n > 0 {
				p.Counts = append(p.Counts, Count{b, n})
			}
		}
		for q := r.Int64N(Unit / 3); q < Unit; q += 1 + r.Int64N(Unit/3) {
			p.Quantiles = append(p.Quantiles, max(q, 1))
		}
		p.Quantiles = slices.Compact(p.Quantiles)
		problems = append(problems, p)
	}
	for _, p := range problems {
		p.Levels, p.Epsilon, p.Contributions, p.Joint, p.Buckets, p.Arity = 40, 1000*Unit, 2, true, true, MaxJoint+1
		p.Sharp = r.IntN(2) == 0
		if cuts := Solve(p, exact.New()); !slices.IsSorted(cuts) {
			t.Errorf("%v: cuts %v", p.Counts, cuts)
		}
	}
}

func TestTargetsDeepInsideAreFound(t *testing.T) {
	f := func(epsilon int64, contributions, want uint64, quantiles []int64, records ...uint64) {
		t.Helper()
		p := &Problem{Levels: 40, Weights: ones(len(records)), Quantiles: quantiles, Epsilon: epsilon, Contributions: contributions, Joint: true, Buckets: true, Arity: len(quantiles) + 1}
		for b, n := range records {
			if n > 0 {
				p.Counts = append(p.Counts, Count{b, n})
			}
		}
		g := jointOf(p, exact.New())
		if g.depth != exact.Product(2*g.den, want) || len(g.deep) != len(quantiles) && want > 0 || g.deep != nil && want == 0 {
			t.Errorf("ε %d, c %d, quantiles %v of %v: depth %v of %v, want %d records", epsilon, contributions, quantiles, records, g.depth, g.deep, want)
		}
	}
	median, third, quarter := []int64{Unit / 2}, []int64{Unit / 4, Unit / 2}, []int64{Unit / 4}
	f(Unit, 1, 100, median, 10, 100, 10)    // 50 records on either side, of which one moves the target by a half
	f(Unit, 1, 99, median, 10, 100, 11)     // 50.5 and 49.5
	f(Unit, 1, 0, median, 50, 0, 50)        // at an end
	f(Unit, 1, 0, median, 0, 0, 0)          // no records
	f(Unit, 1, 23, quarter, 10, 100, 0)     // 27.5 is 17.5 from the start, in units of 3/4 of a record, rounded down
	f(Unit, 1, 128, median, 0, 1000, 0)     // 64/η, η = 1/2
	f(3*Unit, 1, 43, median, 0, 1000, 0)    // 42.7, rounded up
	f(3*Unit, 2, 86, median, 0, 1000, 0)    // 85.3
	f(1000*Unit, 1, 1, median, 0, 1000, 0)  // 0.128
	f(1, 1<<40, 1<<61, median, 0, 1<<61, 0) // more than 2^62 before the limit
	f(Unit, 1, 20, third, 40, 0, 60, 0)     // 25 is 15 from the end, by 3/4; 50 is 10 from the start, by a half
	f(Unit, 1, 33, third, 0, 100, 0)        // 25 and 50 in one bucket: 25 from its start, by 3/4
}
