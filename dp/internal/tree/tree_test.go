package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quietile/quietile/dp/exact"
)

// seeded returns randomness for a test and prints how to repeat it.
func seeded(t testing.TB) (*rand.Rand, *exact.Generator) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.New(rand.NewPCG(seed, 1)), exact.NewFrom(rand.NewChaCha8(key))
}

// counts makes the counts of a problem from a dense list.
func counts(records ...uint64) []Count {
	var all []Count
	for b, n := range records {
		if n > 0 {
			all = append(all, Count{b, n})
		}
	}
	return all
}

// shapes are trees of all kinds.
func shapes() []*Problem {
	return []*Problem{
		{Buckets: 1, Branching: 2, Epsilon: Unit},
		{Buckets: 2, Branching: 2, Epsilon: Unit},
		{Buckets: 8, Branching: 2, Epsilon: Unit},
		{Buckets: 7, Branching: 2, Epsilon: Unit, Shares: Geometric(4, 3, 2)},
		{Buckets: 9, Branching: 2, Epsilon: 3 * Unit, Shares: Geometric(5, 1, 4), Contributions: 3},
		{Buckets: 13, Branching: 3, Epsilon: Unit, Shares: []uint64{1, 7, 2, 3}},
		{Buckets: 13, Branching: 3, Levels: 3, Epsilon: Unit, Shares: []uint64{5, 1, 9}},
		{Buckets: 11, Branching: 100, Epsilon: Unit},
		{Buckets: 11, Branching: 2, Levels: 2, Noise: Gaussian, Rho: Unit / 10},
		{Buckets: 10, Branching: 3, Noise: Gaussian, Rho: Unit / 100, Shares: Geometric(4, 2, 1)},
		{Buckets: 17, Branching: 4, Noise: Gaussian, Rho: Unit, Contributions: 2},
		{Buckets: 9, Branching: 9, Epsilon: Unit, Unrooted: true},
		{Buckets: 13, Branching: 3, Epsilon: Unit, Unrooted: true, Shares: []uint64{1, 7, 2}},
		{Buckets: 10, Branching: 2, Levels: 3, Noise: Gaussian, Rho: Unit, Unrooted: true},
	}
}

func (p *Problem) String() string {
	return fmt.Sprintf("%d buckets, branching %d, levels %d, noise %d, shares %v", p.Buckets, p.Branching, p.levels(), p.Noise, p.Shares)
}

// weights returns the weight of each noisy count in the best linear estimate of each leaf, by the normal equations, and the variance of each noise, in the order of
// levels: code of its own, to check the two passes against.
func weights(t *testing.T, p *Problem) (byLeaf [][]float64, variance, scale []float64) {
	t.Helper()
	noise, err := p.noise()
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]float64 // of each node, 1 for the leaves below it
	sizes := p.sizes()
	for level, n := range sizes {
		if p.Unrooted && level == 0 {
			continue
		}
		for i := range n {
			row := make([]float64, p.Buckets)
			for leaf := range row {
				at := leaf
				for l := len(sizes) - 1; l > level; l-- {
					at = p.parent(l, at)
				}
				if at == i {
					row[leaf] = 1
				}
			}
			rows = append(rows, row)
			d := noise[level].Deviation()
			variance, scale = append(variance, d*d), append(scale, d/math.Sqrt2)
		}
	}
	// Solve (Σ rows·rowsᵀ/variance)·X = rowsᵀ/variance by elimination.
	system := make([][]float64, p.Buckets)
	for a := range system {
		system[a] = make([]float64, p.Buckets+len(rows))
		for v, row := range rows {
			system[a][p.Buckets+v] = row[a] / variance[v]
			for b := range p.Buckets {
				system[a][b] += row[a] * row[b] / variance[v]
			}
		}
	}
	for a := range system {
		for b := range system {
			if b == a {
				continue
			}
			factor := system[b][a] / system[a][a]
			for i := range system[b] {
				system[b][i] -= factor * system[a][i]
			}
		}
	}
	for a := range system {
		row := system[a][p.Buckets:]
		for i := range row {
			row[i] /= system[a][a]
		}
		byLeaf = append(byLeaf, row)
	}
	return byLeaf, variance, scale
}

func TestEstimatesAreTheBestLinearOnes(t *testing.T) {
	random, _ := seeded(t)
	for _, p := range shapes() {
		p.Contributions = max(p.Contributions, 1)
		byLeaf, variance, scale := weights(t, p)
		noisy := make([][]int64, p.levels())
		var flat []float64
		for level, n := range p.sizes() {
			if p.Unrooted && level == 0 {
				continue
			}
			for range n {
				y := random.Int64N(1000)
				noisy[level], flat = append(noisy[level], y), append(flat, float64(y))
			}
		}
		tree := fit(p, noisy)
		s := tree.spreads()
		sum := make([]float64, len(flat)) // weights in the prefix
		all := make([]float64, len(flat)) // weights in n
		for _, row := range byLeaf {
			for v, w := range row {
				all[v] += w
			}
		}
		for b := 1; b <= p.Buckets; b++ {
			want := 0.0
			for v, w := range byLeaf[b-1] {
				sum[v] += w
				want += sum[v] * flat[v]
			}
			if math.Abs(tree.prefix[b]-want) > 1e-6 {
				t.Errorf("%v: %g records before bucket %d, want %g", p, tree.prefix[b], b, want)
			}
			for _, q := range []float64{0, 0.3, 1} {
				spreadWant, most := 0.0, 0.0
				for v := range sum {
					w := sum[v] - q*all[v]
					spreadWant += w * w * variance[v]
					most = max(most, math.Abs(w)*scale[v])
				}
				got := s.at(b, q)
				if math.Abs(got.variance-spreadWant) > 1e-6*(1+spreadWant) {
					t.Errorf("%v: variance %g before bucket %d less %g of all, want %g", p, got.variance, b, q, spreadWant)
				}
				if p.Noise == Laplace && (got.most < most*(1-1e-9)-1e-9 || got.most > 2.5*most+1e-9) {
					t.Errorf("%v: largest weight %g before bucket %d less %g of all, want %g", p, got.most, b, q, most)
				}
			}
		}
	}
}

// The projection keeps its conditions, and no small step that keeps them too comes nearer.
func TestProjectionIsNearest(t *testing.T) {
	random, _ := seeded(t)
	for range 300 {
		n := 1 + random.IntN(12)
		xs, variances := make([]float64, n), make([]float64, n)
		for i := range xs {
			xs[i], variances[i] = random.NormFloat64()*20+5, 1+random.Float64()*9
		}
		total := max(0, random.NormFloat64()*50)
		got := slices.Clone(xs)
		project(got, variances, total)
		sum, distance := 0.0, func(ys []float64) (d float64) {
			for i, y := range ys {
				d += (y - xs[i]) * (y - xs[i]) / variances[i]
			}
			return d
		}
		for _, x := range got {
			if x < 0 {
				t.Fatalf("%v of %v", got, xs)
			}
			sum += x
		}
		if math.Abs(sum-total) > 1e-9*(1+total) {
			t.Fatalf("%v of %v adds up to %v, not %v", got, xs, sum, total)
		}
		least := distance(got)
		for from := range got {
			for to := range got {
				step := slices.Clone(got)
				move := min(got[from], 0.01)
				step[from] -= move
				step[to] += move
				if distance(step) < least-1e-9 {
					t.Fatalf("%v with variances %v and total %v: %v is nearer than %v", xs, variances, total, step, got)
				}
			}
		}
	}
}

func TestWithoutNoiseAnswersAreTheData(t *testing.T) {
	_, g := seeded(t)
	for _, p := range []*Problem{
		{Buckets: 4, Branching: 2, Epsilon: 1000 * Unit, Contributions: 1},
		{Buckets: 4, Branching: 2, Noise: Gaussian, Rho: 1000 * Unit, Contributions: 1},
	} {
		p.Counts = counts(10, 0, 20, 10)
		tree := Release(p, g)
		if math.Abs(tree.N()-40) > 1e-9 || math.Abs(tree.CDF(2)-10) > 1e-9 || math.Abs(tree.Range(2, 4)-30) > 1e-9 || tree.CDF(0) != 0 || tree.CDF(4) != tree.N() {
			t.Errorf("%v: n %g, distribution %v", p, tree.N(), tree.cdf)
		}
		const cell = 1 << CellBits
		want := []uint64{cell * 4 / 10, 2*cell + cell/2, 3*cell + cell/2, 2 * cell / 2}
		for i, cut := range tree.Quantiles([]int64{Unit / 10, Unit / 2, 7 * Unit / 8, Unit / 4}) {
			if off := int64(cut - want[i]); off > 2 || off < -2 {
				t.Errorf("%v: quantile %d is %d, want %d", p, i, cut, want[i])
			}
		}
	}
}

func TestAnswersRiseAndStayOnTheGrid(t *testing.T) {
	random, g := seeded(t)
	for _, p := range shapes() {
		p.Contributions = max(p.Contributions, 1)
		for range 40 {
			records := make([]uint64, p.Buckets)
			for i := range records {
				records[i] = random.Uint64N(3)
			}
			p.Counts = counts(records...)
			tree := Release(p, g)
			qs := []int64{1}
			for q := int64(Unit / 50); q < Unit; q += Unit / 50 {
				qs = append(qs, q)
			}
			cuts := tree.Quantiles(append(qs, Unit-1))
			if !slices.IsSorted(cuts) || cuts[len(cuts)-1] > uint64(p.Buckets)<<CellBits || !slices.IsSorted(tree.cdf) || tree.cdf[0] != 0 {
				t.Fatalf("%v: cuts %v of %v", p, cuts, tree.cdf)
			}
		}
	}
}

func TestNoRecordsAreSpreadEvenly(t *testing.T) {
	p := &Problem{Buckets: 4, Branching: 2, Epsilon: Unit, Contributions: 1}
	tree := fit(p, [][]int64{{-5}, {-2, -3}, {0, -1, 0, -3}})
	if tree.N() != 0 {
		t.Errorf("n %g", tree.N())
	}
	want := []uint64{1 << CellBits, 5 << (CellBits - 1), 0}
	if cuts := tree.Quantiles([]int64{Unit / 4, 5 * Unit / 8, 0}); !slices.Equal(cuts, want) {
		t.Errorf("cuts %v, want %v", cuts, want)
	}
}

func TestBudgetsAddUp(t *testing.T) {
	for _, p := range shapes() {
		sum, loss := int64(0), max(p.Epsilon, p.Rho)
		for _, b := range p.budgets() {
			sum += b
		}
		if sum != loss {
			t.Errorf("%v: budgets %v add up to %d, want %d", p, p.budgets(), sum, loss)
		}
	}
	p := &Problem{Buckets: 4, Branching: 2, Epsilon: 1000 * Unit, Shares: []uint64{1, 1 << 31, 1 << 30}}
	if b := p.budgets(); b[0]+b[1]+b[2] != 1000*Unit {
		t.Errorf("budgets %v", b)
	}
	if got, want := Geometric(3, 2, 1), []uint64{1 << 22, 1 << 23, 1 << 24}; !slices.Equal(got, want) {
		t.Errorf("shares %v, want %v", got, want)
	}
	if got, want := Geometric(3, 1, 1<<13), []uint64{1 << 24, 1 << 11, 1}; !slices.Equal(got, want) {
		t.Errorf("shares %v, want %v", got, want)
	}
}

func TestProblemOutOfRangeIsRefused(t *testing.T) {
	f := func(change func(p *Problem), names string) {
		t.Helper()
		p := &Problem{Buckets: 8, Branching: 2, Epsilon: Unit, Contributions: 1}
		change(p)
		if err := p.Check(); !errors.Is(err, ErrProblem) || !strings.Contains(err.Error(), names) {
			t.Errorf("error %v does not name %q", err, names)
		}
	}
	f(func(p *Problem) { p.Buckets = 0 }, "0 buckets")
	f(func(p *Problem) { p.Buckets = 1<<22 + 1 }, "buckets")
	f(func(p *Problem) { p.Branching = 1 }, "branching 1")
	f(func(p *Problem) { p.Levels = 1 }, "1 levels")
	f(func(p *Problem) { p.Levels = -1 }, "-1 levels")
	f(func(p *Problem) { p.Levels = 5 }, "5 levels")
	f(func(p *Problem) { p.Noise = 2 }, "noise 2")
	f(func(p *Problem) { p.Epsilon = 3 }, "epsilon of 3")
	f(func(p *Problem) { p.Epsilon = 1001 * Unit }, "epsilon")
	f(func(p *Problem) { p.Noise = Gaussian }, "rho of 0")
	f(func(p *Problem) { p.Contributions = 0 }, "contributions 0")
	f(func(p *Problem) { p.Contributions = 1 << 63 }, "contributions 9223372036854775808")
	f(func(p *Problem) { p.Contributions = 9_223_372_037 }, "contributions 9223372037")
	f(func(p *Problem) { p.Noise, p.Rho, p.Contributions = Gaussian, Unit, 33_954 }, "contributions 33954")
	f(func(p *Problem) { p.Shares = []uint64{1, 2, 3} }, "3 shares")
	f(func(p *Problem) { p.Shares = []uint64{1, 0, 3, 4} }, "share 0")
	f(func(p *Problem) { p.Shares = []uint64{1, 1 << 40, 3, 4} }, "share 1099511627776")
	f(func(p *Problem) { p.Unrooted, p.Shares = true, []uint64{1, 1, 1, 1} }, "4 shares")
	f(func(p *Problem) { p.Unrooted, p.Buckets = true, 1 }, "1 bucket ")
	f(func(p *Problem) { p.Epsilon, p.Shares = 4, []uint64{1, 1, 1, 1000} }, "share 1 leaves nothing")
	for _, p := range shapes() {
		p.Contributions = 1
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
}

// What [Problem.Check] takes has noise on every level, whatever the budgets, up to the most contributions.
func TestEveryProblemThatIsTakenHasNoise(t *testing.T) {
	random, _ := seeded(t)
	for range 20_000 {
		p := &Problem{Buckets: 2 + random.IntN(300), Branching: 2 + random.IntN(20), Noise: Kind(random.IntN(2)), Unrooted: random.IntN(2) == 0}
		loss := 1 + random.Int64N(1<<random.IntN(40))
		p.Contributions = 1 + random.Uint64N(1<<random.IntN(34))
		if random.IntN(10) == 0 {
			p.Contributions = []uint64{maxLaplace, maxGaussian}[p.Noise]
		}
		if p.Noise == Gaussian {
			p.Rho = loss
		} else {
			p.Epsilon = loss
		}
		if p.Check() != nil {
			continue
		}
		if _, err := p.noise(); err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
	}
}

// Every interval of a band holds in at least the stated share of releases, for all buckets and quantiles at once.
func TestBandsHold(t *testing.T) {
	random, g := seeded(t)
	f := func(p *Problem, confidence float64, releases int, calculated, simulated float64) {
		t.Helper()
		records := make([]uint64, p.Buckets)
		for i := range records {
			if random.IntN(3) == 0 {
				records[i] = random.Uint64N(2000)
			}
		}
		p.Counts = counts(records...)
		truth := make([]float64, p.Buckets+1)
		for i, n := range records {
			truth[i+1] = truth[i] + float64(n)
		}
		n := truth[p.Buckets]
		var qs []int64
		for q := int64(Unit / 20); q < Unit; q += Unit / 20 {
			qs = append(qs, q)
		}
		holds := func(tree *Tree, band *Band) bool {
			for i := range truth {
				if least, most := band.CDF(i); truth[i] < least-1e-6 || truth[i] > most+1e-6 {
					return false
				}
			}
			for i, cut := range tree.Quantiles(qs) {
				low, high := band.RankError(qs[i], cut)
				start, end := int(cut>>CellBits), int((cut+1<<CellBits-1)>>CellBits)
				if target := float64(qs[i]) / Unit * n; truth[start] > target+high+1e-6 || truth[end] < target+low-1e-6 {
					return false
				}
			}
			return true
		}
		// Half of the widest interval, where truth is far from 0 and n, against the largest error of a count, both in their quantiles.
		width := func(b *Band) float64 {
			w := 0.0
			for i := range truth {
				least, most := b.CDF(i)
				w = max(w, (most-least)/2)
			}
			return w
		}
		held, heldSimulated, wide, wideSimulated, needed := 0, 0, 0.0, 0.0, []float64(nil)
		for range releases {
			tree := Release(p, g)
			worst := 0.0
			for i := range truth {
				worst = max(worst, math.Abs(tree.prefix[i]-truth[i]))
			}
			needed = append(needed, worst)
			band := tree.Band(confidence)
			if holds(tree, band) {
				held++
			}
			wide = max(wide, width(band))
			band = tree.CalibratedBand(confidence, 59, g)
			if holds(tree, band) {
				heldSimulated++
			}
			wideSimulated += width(band) / float64(releases)
		}
		slices.Sort(needed)
		enough := needed[int(confidence*float64(releases))]
		t.Logf("%v: %d releases, of which calculated bands held in %d and simulated in %d; half-widths %.1f and %.1f where %.1f were needed",
			p, releases, held, heldSimulated, wide, wideSimulated, enough)
		// Three standard deviations for the simulated one, whose confidence is nearly exact.
		slack := 3 * math.Sqrt(float64(releases)*confidence*(1-confidence))
		if float64(held) < confidence*float64(releases) || float64(heldSimulated) < confidence*float64(releases)-slack {
			t.Errorf("%v: held in %d and %d of %d", p, held, heldSimulated, releases)
		}
		if wide > calculated*enough || wideSimulated > simulated*enough {
			t.Errorf("%v: half-widths %.1f and %.1f are more than %g and %g times the %.1f needed", p, wide, wideSimulated, calculated, simulated, enough)
		}
	}
	f(&Problem{Buckets: 64, Branching: 2, Epsilon: Unit, Contributions: 1}, 0.95, 500, 3, 2)
	f(&Problem{Buckets: 100, Branching: 4, Epsilon: Unit / 10, Contributions: 2, Shares: Geometric(5, 3, 2)}, 0.95, 200, 3, 2)
	f(&Problem{Buckets: 100, Branching: 3, Noise: Gaussian, Rho: Unit / 100, Contributions: 1}, 0.95, 200, 3, 2)
	f(&Problem{Buckets: 30, Branching: 2, Levels: 2, Epsilon: 5 * Unit, Contributions: 1}, 0.9, 300, 3.5, 2)
	f(&Problem{Buckets: 1024, Branching: 16, Epsilon: Unit, Contributions: 1}, 0.95, 40, 3, 2)
	f(&Problem{Buckets: 12, Branching: 12, Epsilon: Unit, Unrooted: true, Contributions: 1}, 0.95, 500, 3, 2)
}

func TestTooFewRunsPanic(t *testing.T) {
	_, g := seeded(t)
	defer func() {
		if r := recover(); r == nil {
			t.Error("no panic")
		}
	}()
	Release(&Problem{Buckets: 4, Branching: 2, Epsilon: Unit, Contributions: 1}, g).CalibratedBand(0.95, 18, g)
}

func BenchmarkRelease(b *testing.B) {
	random, g := seeded(b)
	records := make([]uint64, 8192)
	for range 1_000_000 {
		records[min(max(int(random.NormFloat64()*800+4096), 0), 8191)]++
	}
	qs := make([]int64, 1000)
	for i := range qs {
		qs[i] = int64(i+1) * Unit / 1001
	}
	for _, p := range []*Problem{
		{Buckets: 8192, Branching: 2, Epsilon: Unit, Contributions: 1},
		{Buckets: 8192, Branching: 16, Epsilon: Unit, Contributions: 1},
		{Buckets: 8192, Branching: 16, Smooth: true, Epsilon: Unit, Contributions: 1},
		{Buckets: 8192, Branching: 2, Noise: Gaussian, Rho: Unit / 10, Contributions: 1},
		{Buckets: 8192, Branching: 16, Noise: Gaussian, Rho: Unit / 10, Contributions: 1},
	} {
		p.Counts = counts(records...)
		name := fmt.Sprintf("noise=%d/branching=%d/smooth=%t", p.Noise, p.Branching, p.Smooth)
		b.Run("1000 quantiles/"+name, func(b *testing.B) {
			for b.Loop() {
				Release(p, g).Quantiles(qs)
			}
		})
		b.Run("band/"+name, func(b *testing.B) {
			tree := Release(p, g)
			for b.Loop() {
				tree.Band(0.95)
			}
		})
	}
}
