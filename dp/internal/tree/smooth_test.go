package tree

import (
	"math"
	"slices"
	"testing"
)

// The filter is compared with the expectation that all counts' covariances give at once, and its likelihood with theirs.
func TestFilterFindsWhatIsExpectedOfRecords(t *testing.T) {
	random, _ := seeded(t)
	for _, p := range shapes() {
		leaf := p.levels() - 1
		variance := make([]float64, p.levels())
		noisy := make([][]int64, p.levels())
		for level, n := range p.sizes() {
			noisy[level] = make([]int64, n)
			if level >= p.first() {
				variance[level] = math.Exp(2 * random.NormFloat64())
				for i := range noisy[level] {
					noisy[level][i] = random.Int64N(40) - 10
				}
			}
		}
		for range 4 {
			step, roughness := math.Exp(2*random.NormFloat64()), math.Exp(2*random.NormFloat64())
			sizes := make([]float64, p.Buckets)
			for b := range sizes {
				sizes[b] = random.Float64() * 2
			}
			f := newFilter(p, noisy, variance, step, roughness, sizes)
			start := f.covariance[walk][walk]
			means := f.expected()

			// What each count adds up, and the covariances of buckets.
			var below [][]bool
			var y, own []float64
			for level := p.first(); level <= leaf; level++ {
				for i, count := range noisy[level] {
					row := make([]bool, p.Buckets)
					for b := range row {
						node := b
						for l := leaf; l > level; l-- {
							node = p.parent(l, node)
						}
						row[b] = node == i
					}
					below, y, own = append(below, row), append(y, float64(count)), append(own, variance[level])
				}
			}
			prior := func(a, b int) float64 {
				c := start
				for _, size := range sizes[:min(a, b)+1] {
					c += step * size * size
				}
				if a == b {
					c += roughness * sizes[a]
				}
				return c
			}
			with := func(b, k int) (c float64) { // covariance of a bucket and a count
				for a, in := range below[k] {
					if in {
						c += prior(a, b)
					}
				}
				return c
			}
			system := make([][]float64, len(y))
			for k := range y {
				for l := range y {
					c := 0.0
					for b, in := range below[k] {
						if in {
							c += with(b, l)
						}
					}
					if k == l {
						c += own[k]
					}
					system[k] = append(system[k], c)
				}
				system[k] = append(system[k], y[k])
			}
			solution, logDeterminant := eliminate(system)
			square := 0.0
			for k := range y {
				square += y[k] * solution[k]
			}
			if want := -(logDeterminant + square) / 2; math.Abs(f.logLikelihood-want) > 1e-6*(1+math.Abs(want)) {
				t.Fatalf("%v, step %v, roughness %v: log-likelihood %v, want %v", p, step, roughness, f.logLikelihood, want)
			}
			for b, got := range means {
				want := 0.0
				for k := range y {
					want += with(b, k) * solution[k]
				}
				if math.Abs(got-want) > 1e-5*(1+math.Abs(want)) {
					t.Fatalf("%v, step %v, roughness %v: bucket %d is expected to have %v records, want %v", p, step, roughness, b, got, want)
				}
			}
		}
	}
}

// Smoothing is worth it where neighbours are alike, and costs little where they are not.
func TestSmoothingErrsLessWhereNeighboursAreAlike(t *testing.T) {
	random, g := seeded(t)
	const buckets, releases = 128, 300
	even, peak, single := make([]uint64, buckets), make([]uint64, buckets), make([]uint64, buckets)
	for b := range buckets {
		even[b] = 8
		peak[b] = uint64(60 * math.Exp(-math.Pow(float64(b-40)/9, 2)))
		if random.IntN(8) == 0 {
			single[b] = uint64(random.IntN(130))
		}
	}
	for _, c := range []struct {
		name    string
		records []uint64
		most    float64
	}{{"even", even, 0.95}, {"peak", peak, 0.97}, {"single", single, 1.25}} {
		errors := map[bool]float64{}
		for range releases {
			for _, smooth := range []bool{false, true} {
				p := &Problem{Buckets: buckets, Counts: counts(c.records...), Branching: 16, Epsilon: Unit / 10, Unrooted: true, Contributions: 1, Smooth: smooth}
				before, all := 0.0, 0.0
				for _, n := range c.records {
					all += float64(n)
				}
				for b, share := range Release(p, g).Shares()[1:] {
					before += float64(c.records[b])
					errors[smooth] += math.Abs(share - before/all)
				}
			}
		}
		ratio := errors[true] / errors[false]
		t.Logf("%s: %.3f", c.name, ratio)
		if ratio > c.most {
			t.Errorf("%s: with smoothing errors are %.3f times as large, want at most %v", c.name, ratio, c.most)
		}
	}
}

// What a band says rests on sums that are not smoothed.
func TestSmoothingLeavesSumsAlone(t *testing.T) {
	random, _ := seeded(t)
	for _, p := range shapes() {
		noisy := make([][]int64, p.levels())
		for level, n := range p.sizes() {
			for range n {
				noisy[level] = append(noisy[level], random.Int64N(40)-10)
			}
		}
		if p.Contributions == 0 {
			p.Contributions = 1
		}
		smooth := *p
		smooth.Smooth = true
		plain, other := fit(p, noisy), fit(&smooth, noisy)
		if !slices.Equal(plain.prefix, other.prefix) {
			t.Errorf("%v: sums %v, with smoothing %v", p, plain.prefix, other.prefix)
		}
		for b := range p.Buckets {
			if r := other.Range(b, b+1); !(r >= 0) {
				t.Errorf("%v: %v records in bucket %d", p, r, b)
			}
		}
	}
}

// However many records there are, and however little noise, smoothing does not cost more than it may gain: float64 has digits for both, or it is left.
func TestSmoothingKeepsItsDigits(t *testing.T) {
	_, g := seeded(t)
	const buckets, releases = 128, 20
	for _, epsilon := range []int64{Unit / 10, Unit, 10 * Unit, 100 * Unit} {
		for n := 1e3; n < 1e15; n *= 10 {
			records := make([]uint64, buckets)
			all := 0.0
			for b := range records {
				records[b] = uint64(n / 22 * math.Exp(-math.Pow(float64(b-40)/12, 2)))
				all += float64(records[b])
			}
			squares := map[bool]float64{}
			for range releases {
				for _, smooth := range []bool{false, true} {
					p := &Problem{Buckets: buckets, Counts: counts(records...), Branching: 8, Epsilon: epsilon, Contributions: 1, Smooth: smooth}
					tree, before := Release(p, g), 0.0
					for b, k := range records {
						before += float64(k)
						squares[smooth] += math.Pow(tree.CDF(b+1)-before, 2)
					}
				}
			}
			if ratio := math.Sqrt(squares[true] / max(squares[false], buckets*releases)); ratio > 1.6 {
				t.Errorf("ε = %d billionths, %g records: with smoothing errors are %.3f times as large", epsilon, n, ratio)
			}
		}
	}
}

// eliminate solves a symmetric positive system, whose right-hand side is in the last column, and returns the logarithm of its determinant too.
func eliminate(a [][]float64) (x []float64, logDeterminant float64) {
	for i := range a {
		logDeterminant += math.Log(a[i][i])
		for j := i + 1; j < len(a); j++ {
			factor := a[j][i] / a[i][i]
			for k := i; k <= len(a); k++ {
				a[j][k] -= factor * a[i][k]
			}
		}
	}
	x = make([]float64, len(a))
	for i := len(a) - 1; i >= 0; i-- {
		x[i] = a[i][len(a)]
		for k := i + 1; k < len(a); k++ {
			x[i] -= a[i][k] * x[k]
		}
		x[i] /= a[i][i]
	}
	return x, logDeterminant
}
