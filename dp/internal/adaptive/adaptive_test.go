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
		"bins":               {func(p *Problem) { p.Bins = 1 }, "1 bins is not in [2, 1024]"},
		"many bins":          {func(p *Problem) { p.Bins = 1025 }, "1025 bins"},
		"rounds":             {func(p *Problem) { p.Rounds = 0 }, "0 rounds is not in [1, 16]"},
		"many rounds":        {func(p *Problem) { p.Rounds = 17 }, "17 rounds"},
		"shares":             {func(p *Problem) { p.Shares = []uint64{1, 2} }, "2 shares for 4 rounds"},
		"one for spikes":     {func(p *Problem) { p.SpikeBins = 1 }, "1 bins for spikes is neither 0 nor in [2, 8192]"},
		"many for spikes":    {func(p *Problem) { p.SpikeBins = 8193 }, "8193 bins for spikes"},
		"share of spikes":    {func(p *Problem) { p.SpikeBins, p.Shares = 2, []uint64{1, 2, 3, 4} }, "4 shares for 5 rounds"},
		"nothing for spikes": {func(p *Problem) { p.SpikeBins, p.Epsilon = 2, 4 }, "epsilon of 4 billionths"},
		"share 0":            {func(p *Problem) { p.Shares = []uint64{1, 0, 1, 1} }, "share 0"},
		"epsilon":            {func(p *Problem) { p.Epsilon = 3 }, "epsilon of 3 billionths"},
		"rho":                {func(p *Problem) { p.Noise = tree.Gaussian }, "rho of 0 billionths"},
		"contributions":      {func(p *Problem) { p.Contributions = 0 }, "contributions 0"},
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
		p.Shares, p.Contributions, p.Rounds, p.SpikeBins = []uint64{1, 2, 3, 4}, 3, 3, 50
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
		if random.IntN(2) == 0 {
			p.SpikeBins = 2 + random.IntN(80)
		}
		rounds := Measure(p, s)
		if len(rounds) != p.measured() {
			t.Fatalf("%d rounds, want %d", len(rounds), p.measured())
		}
		for i, r := range rounds {
			most := p.Bins
			if i == p.Rounds {
				most = p.SpikeBins
			}
			if i == p.Rounds && buckets <= most && len(r.Counts) != buckets {
				t.Fatalf("%d bins for spikes in %d buckets, want one for each", len(r.Counts), buckets)
			}
			if r.Edges[0] != 0 || r.Edges[len(r.Edges)-1] != buckets || len(r.Edges)-1 > most || len(r.Counts) != len(r.Edges)-1 || !slices.IsSorted(r.Edges) || len(slices.Compact(slices.Clone(r.Edges))) != len(r.Edges) {
				t.Fatalf("round %d has the edges %v and %d counts, of %d buckets and %d bins", i, r.Edges, len(r.Counts), buckets, most)
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

// The fit is where no bin and no spike wants to move: θ = (count − x)·σ̄/(stiffness·σ²), x = prior·exp(Σθ)·factor, and x adds up to the records.
func TestFitIsWhereNothingMoves(t *testing.T) {
	random, s := seeded(t)
	for i := range 100 {
		var at []int
		for range 2000 {
			at = append(at, int(math.Abs(random.NormFloat64())*100)%1000)
		}
		p := spread(1000, at...)
		p.Epsilon, p.Bins, p.Rounds, p.Shares = tree.Unit/5, 5, 3, []uint64{2, 4, 1}
		for b := range p.Weights {
			p.Weights[b] = 1 + random.Uint64N(100)
		}
		if i%2 == 0 {
			p.SpikeBins, p.Shares = 1000, append(p.Shares, 3)
			for _, c := range []int{3, 40, 41} {
				p.Counts[c].Records += 2000
			}
		}
		f := Release(p, s)
		if found := len(f.spikes); i%2 == 0 && found < 2 || i%2 == 1 && found > 0 {
			t.Fatalf("%d spikes", found)
		}
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
		for _, spike := range f.spikes {
			x := f.mass[spike.atom]
			if f.edges[spike.atom] != spike.from || f.edges[spike.atom+1] != spike.to {
				t.Fatalf("a spike from %d to %d is atom %d of the edges %v", spike.from, spike.to, spike.atom, f.edges)
			}
			exponents[spike.atom] += spike.theta
			want := (spike.count - x) * least / (stiffness * spike.deviation * spike.deviation)
			if math.Abs(spike.theta-min(max(want, -limit), limit)) > 1e-3 {
				t.Errorf("spike of %v records by %v: θ = %v, want %v", spike.count, x, spike.theta, want)
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

// The number of records is the mean of what the rounds say, each weighing the less the more noise its sum has.
func TestRecordsAreTheBestMean(t *testing.T) {
	f := &Fit{rounds: []Round{{Counts: []int64{100, -20}, Deviation: 1}, {Counts: []int64{30, 10, 0, 0}, Deviation: 2}}}
	if n, want := f.records(), (80./2+40./16)/(1./2+1./16); math.Abs(n-want) > 1e-9 {
		t.Errorf("%v records, want %v", n, want)
	}
	f.rounds[0].Counts[1] = -5000
	if n := f.records(); n != 1 {
		t.Errorf("%v records where counts say fewer than none, want 1", n)
	}
}

// The first bins weigh the same in the prior, to the nearest bucket.
func TestFirstBinsDivideThePrior(t *testing.T) {
	f := func(weights []uint64, bins int, want ...int) {
		t.Helper()
		if got := newFit(&Problem{Weights: weights}).bins(bins); !slices.Equal(got, want) {
			t.Errorf("bins %v, want %v", got, want)
		}
	}
	f(slices.Repeat([]uint64{1}, 100), 4, 0, 25, 50, 75, 100)
	f([]uint64{1, 1, 4, 9, 1, 1}, 2, 0, 3, 6)
	f([]uint64{1, 1, 1, 9, 8, 2}, 2, 0, 4, 6)
	f([]uint64{1, 1}, 10, 0, 1, 2)
	f([]uint64{7}, 3, 0, 1)
}

// Where counts show nothing some bins lie all the same.
func TestSomeBinsLieAsThePriorSays(t *testing.T) {
	p := spread(1000)
	p.Bins = 320
	f := newFit(p)
	f.edges, f.mass = []int{0, 500, 1000}, []float64{1e9, 0}
	bins := 0
	for _, e := range f.bins(p.Bins) {
		if e > 500 && e < 1000 {
			bins++
		}
	}
	if bins < 4 || bins > 6 { // half of a thirty-second of them
		t.Errorf("%d bins begin where no records were found, want about 5", bins)
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

// Where a root is beyond what exp can reach the step goes to the limit.
func TestStepsStayFinite(t *testing.T) {
	for _, sum := range []float64{5e-324, 1e-310, 1e-300, 1, 1e19} {
		for _, count := range []float64{-1e22, -1, 0, 1, 1e19, 1e22} {
			for _, stiff := range []float64{1e-4, 1, 1e18} {
				for _, theta := range []float64{-limit, 0, limit} {
					if d := step(sum, count, theta, stiff); !(math.Abs(theta+d) <= limit+1e-9) {
						t.Errorf("step(%v, %v, %v, %v) = %v", sum, count, theta, stiff, d)
					}
				}
			}
		}
	}
	if d := step(2.71549189174834e+28, -0.1334467791159131, limit, 0.1344140179859325); d != -2*limit { // some sixty steps of Newton's
		t.Errorf("step to far fewer records than there are is %v, want %v", d, -2*limit)
	}
	if d := step(1e-310, 1e10, -limit, 1); d != 2*limit {
		t.Errorf("step to far more records than there are is %v, want %v", d, 2*limit)
	}
}

// A wildSampler gives counts that no noise would.
type wildSampler struct {
	exact.NoiseSampler
	random *rand.Rand
	kind   int
	draws  int
}

func (s *wildSampler) Noisy(uint64, exact.Noise) int64 {
	s.draws++
	ends := [2]int64{math.MinInt64, math.MaxInt64}
	switch x := int64(1) << s.random.IntN(63); s.kind {
	case 0:
		return ends[0]
	case 1:
		return ends[1]
	case 2:
		return ends[s.draws%2]
	case 3:
		return ends[s.random.IntN(2)]
	default:
		return x * (1 - 2*int64(s.draws%2))
	}
}

// Whatever was measured, bins go from end to end, masses are numbers and cuts rise within the buckets.
func TestNoCountsBreakTheFit(t *testing.T) {
	random, s := seeded(t)
	spikes := 0
	for i := range 1000 {
		buckets := 1 + random.IntN(600)
		p := spread(buckets)
		for b := range p.Weights {
			p.Weights[b] = 1 + random.Uint64N(1<<random.IntN(40))
		}
		if i%3 == 0 {
			p.Weights[random.IntN(buckets)] = 1 << 62
		}
		p.Bins, p.Rounds, p.Epsilon, p.Contributions = 2+random.IntN(40), 1+random.IntN(MaxRounds), 16+random.Int64N(1<<random.IntN(39)), 1+random.Uint64N(1<<random.IntN(33))
		if random.IntN(2) == 0 {
			p.SpikeBins, p.Epsilon = 2+random.IntN(800), p.Epsilon+1
		}
		f := Release(p, &wildSampler{s, random, i % 5, 0})
		if len(f.spikes) > maxSpikes {
			t.Fatalf("%d spikes", len(f.spikes))
		}
		spikes += len(f.spikes)
		for _, r := range f.rounds {
			if r.Edges[0] != 0 || r.Edges[len(r.Edges)-1] != buckets || len(r.Edges)-1 > p.Bins || !slices.IsSorted(r.Edges) || len(slices.Compact(slices.Clone(r.Edges))) != len(r.Edges) {
				t.Fatalf("edges %v of %d buckets", r.Edges, buckets)
			}
		}
		for _, m := range f.mass {
			if !(m >= 0 && m <= 1e30) {
				t.Fatalf("%d rounds of %d bins on %d buckets: masses %v", p.Rounds, p.Bins, buckets, f.mass)
			}
		}
		cuts := f.Quantiles([]int64{1, tree.Unit / 4, tree.Unit / 2, tree.Unit - 1})
		if !slices.IsSorted(cuts) || cuts[3] > uint64(buckets)<<tree.CellBits {
			t.Fatalf("cuts %v of %d buckets", cuts, buckets)
		}
	}
	if spikes < 1000 {
		t.Errorf("%d spikes are too few for a test", spikes)
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

// smooth returns 100,000 records that lie in 8,192 buckets as evenly as can be, which are counted in two coarse rounds and one that finds spikes.
func smooth() *Problem {
	p := spread(8192)
	for b := range p.Weights {
		p.Counts = append(p.Counts, tree.Count{Bucket: b, Records: uint64((b+1)*100_000/8192 - b*100_000/8192)})
	}
	p.Bins, p.Rounds, p.SpikeBins, p.Shares = 16, 2, MaxSpikeBins, []uint64{4, 8, 3}
	return p
}

// Buckets with many times the records of their neighbours are found among these, and have about as many in the distribution, which the rounds before could not know: in a bucket of its own, next to another, at an end,
// and in bins of several buckets, where there are more buckets than the round may have bins.
func TestFindsSpikes(t *testing.T) {
	_, s := seeded(t)
	at := []int{0, 3000, 3001, 6007}
	for _, bins := range []int{MaxSpikeBins, MaxSpikeBins / 2} {
		p := smooth()
		p.SpikeBins = bins
		for _, b := range at {
			p.Counts[b].Records += 3000
		}
		f := Release(p, s)
		for _, b := range at {
			i := slices.IndexFunc(f.spikes, func(s spike) bool { return s.from <= b && b < s.to })
			if i < 0 {
				if bins == MaxSpikeBins {
					t.Errorf("no spike in bucket %d", b)
				}
				continue // in a bin that an edge of the rounds before divides
			}
			spike := f.spikes[i]
			want := 0.0
			for _, c := range p.Counts[spike.from:spike.to] {
				want += float64(c.Records)
			}
			if got := f.mass[spike.atom]; math.Abs(got-want) > 15*spike.deviation {
				t.Errorf("%v records from bucket %d to %d, want about %v", got, spike.from, spike.to, want)
			}
		}
		if bins < MaxSpikeBins {
			if len(f.spikes) < 2 {
				t.Errorf("%d spikes in bins of several buckets", len(f.spikes))
			}
			continue
		}
		var quantiles []int64
		for _, b := range at { // in the middle of each
			before := uint64(0)
			for _, c := range p.Counts[:b] {
				before += c.Records
			}
			quantiles = append(quantiles, int64((before+1500)*(tree.Unit/112_000)))
		}
		for j, cut := range f.Quantiles(quantiles) {
			if got := int(cut >> tree.CellBits); got != at[j] {
				t.Errorf("quantile %d is in bucket %d, want %d", quantiles[j], got, at[j])
			}
		}
	}
}

// Where there are no spikes noise makes few, and the answers are about what they are without.
func TestNoiseMakesFewSpikes(t *testing.T) {
	_, s := seeded(t)
	f := func(noise tree.Kind, most int) {
		t.Helper()
		found, off, without := 0, 0.0, 0.0
		for range 30 {
			p := smooth()
			if p.Noise = noise; noise == tree.Gaussian {
				p.Epsilon, p.Rho = 0, tree.Unit/2
			}
			error := func(fit *Fit) (sum float64) {
				for b := range 99 {
					q := int64(b+1) * (tree.Unit / 100)
					sum += math.Abs(float64(fit.Quantiles([]int64{q})[0])/(1<<tree.CellBits)-float64(q)/tree.Unit*8192) / 8192 * 100_000 / 99
				}
				return sum
			}
			fit := Release(p, s)
			found += len(fit.spikes)
			off += error(fit) / 30
			p.SpikeBins, p.Shares = 0, p.Shares[:2]
			if noise == tree.Laplace {
				p.Epsilon = p.Epsilon / 5 * 4
			} else {
				p.Rho = p.Rho / 5 * 4
			}
			without += error(Release(p, s)) / 30
		}
		t.Logf("noise %d: %d spikes in 30 releases, mean error %.2f records, without %.2f", noise, found, off, without)
		if found > most || off > 1.5*without+1 {
			t.Errorf("noise %d: %d spikes in 30 releases, want at most %d; mean error %v records, without %v", noise, found, most, off, without)
		}
	}
	f(tree.Laplace, 60) // 25 on average
	f(tree.Gaussian, 0)
}

// A spike is a bin within an atom whose count is more than six deviations above the distribution, and counts two less. Of many those with the highest counts are taken.
func TestSpikesStandOut(t *testing.T) {
	f := newFit(&Problem{Weights: []uint64{1, 3, 2, 2, 5, 1, 1, 1}})
	f.edges, f.mass = []int{0, 4, 5, 8}, []float64{80, 50, 30}
	f.mass[0] = 80 // ten for each of its weights
	got := f.find(Round{Edges: []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, Counts: []int64{23, 42, 20, 1000, 63, 22, 22, 23}, Deviation: 2})
	want := []spike{{from: 3, to: 4, count: 996, deviation: 2}, {from: 4, to: 5, count: 59, deviation: 2}, {from: 0, to: 1, count: 19, deviation: 2}, {from: 7, to: 8, count: 19, deviation: 2}}
	if !slices.Equal(got, want) {
		t.Errorf("spikes %v, want %v", got, want)
	}
	got = f.find(Round{Edges: []int{0, 3, 5, 6, 8}, Counts: []int64{100, 1000, 10, 33}, Deviation: 2})
	if want := []spike{{from: 0, to: 3, count: 96, deviation: 2}, {from: 6, to: 8, count: 29, deviation: 2}}; !slices.Equal(got, want) {
		t.Errorf("spikes of bins %v, want %v", got, want)
	}
	many := newFit(&Problem{Weights: slices.Repeat([]uint64{1}, 1000)})
	r := Round{Edges: make([]int, 1001), Counts: make([]int64, 1000), Deviation: 1}
	for b := range r.Counts {
		r.Edges[b+1], r.Counts[b] = b+1, int64(1000+b*7%1000)
	}
	got = many.find(r)
	if len(got) != maxSpikes || got[0].count != 1997 || got[maxSpikes-1].count != 1998-maxSpikes {
		t.Errorf("%d spikes from %v to %v", len(got), got[0], got[len(got)-1])
	}
}

// Records are found where the prior has one part in 2⁶¹, on either side of where it has all.
func TestFindsRecordsWhereThePriorHasNextToNothing(t *testing.T) {
	_, s := seeded(t)
	for heavy, bucket := range map[int]int{0: 60, 99: 30} {
		p := spread(100)
		p.Weights[heavy] = 1 << 61
		p.Counts = []tree.Count{{Bucket: bucket, Records: 100_000}}
		for _, cut := range Release(p, s).Quantiles([]int64{tree.Unit / 10, tree.Unit / 2, tree.Unit / 10 * 9}) {
			if at := int(cut >> tree.CellBits); at != bucket {
				t.Errorf("all weight in bucket %d: records in bucket %d, want %d", heavy, at, bucket)
			}
		}
	}
}

// Within an atom, and within a bucket, a quantile is as far as its share of the prior's weight.
func TestCutsFollowThePriorWithinAtoms(t *testing.T) {
	p := spread(4)
	p.Weights = []uint64{1, 3, 2, 2}
	f := newFit(p)
	f.edges, f.mass = []int{0, 2, 4}, []float64{4, 12}
	const cells = 1 << tree.CellBits
	want := []uint64{cells / 2, cells + cells/2, 2*cells + cells/3*2, 3*cells + cells/3}
	for j, cut := range f.Quantiles([]int64{tree.Unit / 32, tree.Unit / 32 * 5, tree.Unit / 2, tree.Unit / 4 * 3}) {
		if math.Abs(float64(cut)-float64(want[j])) > 1e-6*cells {
			t.Errorf("quantile %d is at %v buckets, want %v", j, float64(cut)/cells, float64(want[j])/cells)
		}
	}
}

func TestCutsRiseAndStayInside(t *testing.T) {
	random, s := seeded(t)
	for range 300 {
		buckets := 1 + random.IntN(100)
		p := spread(buckets)
		for b := range buckets {
			p.Weights[b] = 1 + random.Uint64N(1<<random.IntN(55)) // up to where a prior is next to nothing
			if random.IntN(3) == 0 {
				p.Counts = append(p.Counts, tree.Count{Bucket: b, Records: random.Uint64N(1 << random.IntN(60))})
			}
		}
		p.Rounds, p.Epsilon = 1+random.IntN(MaxRounds), max(random.Int64N(1<<random.IntN(39)), 17)
		if random.IntN(2) == 0 {
			p.SpikeBins = 2 + random.IntN(120)
		}
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

// Each record of a divided bucket has a lot of its own: the records before a cut are binomial, not a share.
func TestBetweenDrawsLots(t *testing.T) {
	_, s := seeded(t)
	const releases, n = 2000, 400
	for _, eighths := range []uint64{1, 4, 7} {
		mean, square, share := 0.0, 0.0, float64(eighths)/8
		for range releases {
			x := float64(Between([]tree.Count{{Bucket: 3, Records: n}}, []uint64{3<<tree.CellBits + eighths<<(tree.CellBits-3)}, s)[0])
			mean, square = mean+x/releases, square+x*x/releases
		}
		want := n * share * (1 - share)
		if v := square - mean*mean; math.Abs(mean-n*share) > 6*math.Sqrt(want/releases) || math.Abs(v-want) > 0.25*want {
			t.Errorf("before %d eighths of a bucket with %d records are %v with variance %v, want %v with %v", eighths, n, mean, v, n*share, want)
		}
	}
}

// The bound of the work has the noise of each bin for spikes, twenty steps, and a second fit.
func TestWorkCountsTheRoundOfSpikes(t *testing.T) {
	p := spread(1)
	f := func(buckets, bins int) {
		t.Helper()
		p.SpikeBins = 0
		without := Work(p, buckets)
		p.SpikeBins = MaxSpikeBins
		more := Work(p, buckets) - without
		if least, most := uint64(20*bins)+without/8, uint64(30*bins+buckets)+without+maxSweeps*maxSpikes*20; more < least || more > most {
			t.Errorf("%d buckets: %d steps for spikes, want between %d and %d", buckets, more, least, most)
		}
	}
	f(100, 100)
	f(8192, 8192)
	f(1<<21, 8192)
}

func BenchmarkRelease(b *testing.B) {
	random, s := seeded(b)
	for _, c := range []struct{ records, bins, rounds, spikes, clumps int }{
		{1000, 8, 4, 0, 0}, {10_000, 17, 4, 0, 0}, {100_000, 51, 3, 0, 0}, {100_000, 1024, 4, 0, 0}, {100_000, 51, 3, MaxSpikeBins, 0}, {100_000, 51, 3, MaxSpikeBins, 50}, {100_000_000, 51, 3, MaxSpikeBins, 400},
	} {
		b.Run(fmt.Sprintf("records=%d,bins=%d,rounds=%d,spikes=%d,clumps=%d", c.records, c.bins, c.rounds, c.spikes, c.clumps), func(b *testing.B) {
			p := spread(8192)
			if c.clumps == 0 {
				var at []int
				for range c.records {
					at = append(at, min(max(int(4096+random.NormFloat64()*200), 0), 8191))
				}
				p = spread(8192, at...)
			}
			for i := range c.clumps {
				p.Counts = append(p.Counts, tree.Count{Bucket: i * 8192 / c.clumps, Records: uint64(c.records / c.clumps)})
			}
			p.Bins, p.Rounds, p.SpikeBins, p.Epsilon = c.bins, c.rounds, c.spikes, tree.Unit/10
			for b.Loop() {
				Release(p, s)
			}
			b.ReportMetric(float64(Work(p, 8192))*50, "bound-ns/op")
		})
	}
}
