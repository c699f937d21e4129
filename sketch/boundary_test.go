package sketch

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// compareWithBoundary compares |x|^N with 2^k exactly, which orders |x| and 2^(k/N); N = 2^up.
func compareWithBoundary(x float64, k int, up uint) int {
	power := new(big.Float).SetPrec(53 << up).SetFloat64(math.Abs(x)) // 53·N bits hold |x|^N exactly
	for range up {
		power.Mul(power, power)
	}
	return power.Cmp(new(big.Float).SetMantExp(big.NewFloat(1), k))
}

// checkBucket checks that a finite x ≠ 0 lies in the bucket that Index says: 2^(k/N) < |x| ≤ 2^((k+1)/N).
func checkBucket(t *testing.T, g *Grid, x float64) {
	t.Helper()
	r := g.roots
	zero := r.positive() + 1
	i := g.Index(x)
	k := i - zero - 1 + r.first
	if x < 0 {
		k = zero - i - 1 + r.first
	}
	if (x > 0) != (i > zero) || i <= 0 || i >= g.Len()-1 {
		t.Fatalf("scale %d: %v is in bucket %d of %d", g.scale, x, i, g.Len())
	}
	if compareWithBoundary(x, k<<r.down, r.up) <= 0 || compareWithBoundary(x, (k+1)<<r.down, r.up) > 0 {
		t.Fatalf("scale %d: %v (%x) is in bucket k=%d", g.scale, x, x, k)
	}
}

func TestEveryFloatIsInItsExponentialBucket(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for scale := minScale; scale <= maxScale; scale++ {
		g, err := NewExponential(scale)
		if err != nil {
			t.Fatal(err)
		}
		r := g.roots
		around := func(x float64) {
			for _, y := range []float64{math.Nextafter(x, 0), x, math.Nextafter(x, math.Inf(1))} {
				if y > 0 && !math.IsInf(y, 1) {
					checkBucket(t, g, y)
					checkBucket(t, g, -y)
				}
			}
		}
		// Every boundary of some octaves, subnormal ones among them, and some of all others.
		for e := -1075; e <= 1024; e++ {
			for j := range 1 << r.up {
				if e%97 == 0 || e < -1070 || e > 1022 || random.IntN(200) == 0 {
					around(math.Ldexp(r.fraction[j], e))
				}
			}
			around(math.Ldexp(1, e))
		}
		for range 2000 {
			if x := math.Float64frombits(random.Uint64()); x != 0 && x == x && !math.IsInf(x, 0) {
				checkBucket(t, g, x)
			}
		}
		for _, x := range []float64{math.SmallestNonzeroFloat64, math.MaxFloat64, 0x1p-1022, 1} {
			around(x)
		}
		zero := r.positive() + 1
		for x, want := range map[float64]int{0: zero, math.Copysign(0, -1): zero, math.Inf(1): g.Len() - 1, math.Inf(-1): 0} {
			if got := g.Index(x); got != want {
				t.Errorf("scale %d: %v is in bucket %d, want %d", scale, x, got, want)
			}
		}
	}
}

// Every boundary of every scale, with both its neighbours and both signs, is compared with the boundary to 300 bits, and
// counted by Add and AddBatch alike where Index says.
func TestEveryBoundaryOfEveryScale(t *testing.T) {
	for scale := minScale; scale <= maxScale; scale++ {
		g, err := NewExponential(scale)
		if err != nil {
			t.Fatal(err)
		}
		r, zero := g.roots, g.zero()
		root := new(big.Float).SetPrec(300).SetInt64(2)
		for range r.up {
			root.Sqrt(root)
		}
		fractions := []*big.Float{new(big.Float).SetPrec(300).SetInt64(1)}
		for len(fractions) < 1<<r.up {
			fractions = append(fractions, new(big.Float).Mul(fractions[len(fractions)-1], root))
		}
		b, batch := NewBinned(g), NewBinned(g)
		checked := 0
		for e := -1074 >> r.down << r.down; e <= 1023; e += 1 << r.down {
			var xs []float64
			var want []int
			for j, fraction := range fractions {
				boundary := new(big.Float).SetMantExp(fraction, e)
				nearest, _ := boundary.Float64()
				for _, x := range []float64{math.Nextafter(nearest, 0), nearest, math.Nextafter(nearest, math.Inf(1))} {
					if x == 0 || math.IsInf(x, 0) {
						continue
					}
					if x < 0x1p-1000 { // a neighbour may be several buckets away
						checkBucket(t, g, x)
						checkBucket(t, g, -x)
					} else {
						k := (e<<r.up + j) >> r.down
						if new(big.Float).SetFloat64(x).Cmp(boundary) <= 0 {
							k--
						}
						if i := zero + k - r.first + 1; g.Index(x) != i || g.Index(-x) != 2*zero-i {
							t.Fatalf("scale %d: %v is in bucket %d, and its negative in %d; want %d and %d", scale, x, g.Index(x), g.Index(-x), i, 2*zero-i)
						}
					}
					checked++
					xs = append(xs, x, -x)
					want = append(want, g.Index(x), g.Index(-x))
				}
			}
			if scale > 5 && e%7 != 0 && e < 1000 && e > -1000 {
				continue // counting takes longer
			}
			b.Reset()
			batch.Reset()
			for range 2 { // the first time may open the window
				for _, x := range xs {
					b.Add(x)
				}
				batch.AddBatch(xs)
			}
			counts := map[int]uint64{}
			for _, i := range want {
				counts[i] += 2
			}
			for i, n := range counts {
				if b.Bucket(i) != n || batch.Bucket(i) != n {
					t.Fatalf("scale %d: bucket %d of octave %d holds %d by Add and %d by AddBatch, want %d", scale, i, e, b.Bucket(i), batch.Bucket(i), n)
				}
			}
			if n := uint64(2 * len(xs)); b.Count() != n || batch.Count() != n {
				t.Fatalf("scale %d: octave %d: %d and %d values are counted, want %d", scale, e, b.Count(), batch.Count(), n)
			}
		}
		if most := 3 * (2098<<r.up>>r.down - 1); checked < most-6-2<<r.up {
			t.Fatalf("scale %d: %d values are checked of %d", scale, checked, most)
		}
	}
}

func TestBoundsSurroundTheValuesOfTheirBucket(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, g := range testGrids(t) {
		previous := math.Inf(-1)
		for i := range g.Len() {
			lower, upper := g.Bounds(i)
			if lower > upper || lower < previous {
				t.Fatalf("%v: bucket %d is %v to %v, after %v", g, i, lower, upper, previous)
			}
			previous = lower
		}
		for range 2000 {
			x := random.NormFloat64() * math.Pow(10, float64(random.IntN(8)-4))
			i := g.Index(x)
			if lower, upper := g.Bounds(i); x < lower || x > upper {
				t.Fatalf("seed %d: %v: %v is in bucket %d, %v to %v", seed, g, x, i, lower, upper)
			}
			if y := math.Nextafter(x, math.Inf(1)); g.Index(y) < i {
				t.Fatalf("seed %d: %v: %v comes before %v", seed, g, y, x)
			}
		}
	}
}

// testGrids returns grids of all kinds.
func testGrids(t testing.TB) []*Grid {
	t.Helper()
	var grids []*Grid
	for _, s := range []string{
		"exponential:scale=-4", "exponential:scale=0", "exponential:scale=3",
		"exponential:scale=5,min=0.001,max=1000", "exponential:scale=2,min=-10,max=-0.1", "exponential:scale=1,min=-3,max=5",
		"linear:lower=0,upper=128,bins=8192", "linear:lower=0.1,upper=0.7,bins=3", "linear:lower=-1e+06,upper=1e+06,bins=77",
		"explicit:-1,0,1,5,10", "explicit:0",
	} {
		g, err := ParseGrid(s)
		if err != nil {
			t.Fatal(err)
		}
		if g.String() != s {
			t.Errorf("%q is printed as %q", s, g)
		}
		grids = append(grids, g)
	}
	return grids
}

func TestALinearBucketBeginsExactlyAtItsBreak(t *testing.T) {
	for _, c := range []struct {
		lower, upper float64
		bins         int
	}{{0, 128, 8192}, {0.1, 0.7, 3}, {-30, 30, 600}, {0, 500, 50000}, {1e15, 1e15 + 64, 512}, {-1e300, 1e299, 1001}} {
		g, err := NewLinear(c.lower, c.upper, c.bins)
		if err != nil {
			t.Fatal(err)
		}
		lower, width := new(big.Rat).SetFloat64(c.lower), new(big.Rat).SetFloat64(c.upper)
		width.Sub(width, lower).Quo(width, big.NewRat(int64(c.bins), 1))
		for i := range c.bins + 1 {
			exact := new(big.Rat).Mul(width, big.NewRat(int64(i), 1))
			want, _ := exact.Add(exact, lower).Float64()
			at, _ := g.Bounds(i + 1)
			if at != want {
				t.Fatalf("%v: break %d is %v, want %v", g, i, at, want)
			}
			if got := g.Index(at); got != i+1 {
				t.Fatalf("%v: %v is in bucket %d, want %d", g, at, got, i+1)
			}
			if got := g.Index(math.Nextafter(at, math.Inf(-1))); got != i {
				t.Fatalf("%v: just below %v is bucket %d, want %d", g, at, got, i)
			}
		}
	}
}

func TestWrongGridsNameTheirField(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		_, err := ParseGrid(s)
		if err == nil || !contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", s, err, want)
		}
	}
	f("exponential:scale=9", "scale 9")
	f("exponential:scale=-5", "scale -5")
	f("exponential:scale=1.5", `scale "1.5"`)
	f("exponential:scale=3,min=1", "max is missing")
	f("exponential:scale=3,min=2,max=1", "min 2 is not less than max 1")
	f("exponential:scale=3,min=NaN,max=1", "min is NaN")
	f("linear:lower=0,upper=1,bins=0", "bins 0")
	f("linear:lower=0,upper=1,bins=3000000", `bins "3000000"`)
	f("linear:lower=1,upper=1,bins=2", "lower 1 is not less than upper 1")
	f("linear:lower=1,upper=1.0000000000000004,bins=9", "bins 9")
	f("linear:lower=-1e308,upper=1e308,bins=9", "too wide")
	f("linear:lower=0,upper=1", "bins is missing")
	f("linear:lower=0,upper=1,bins=2,bins=3", "bins stands twice")
	f("linear:lower=0,upper=1,color=2", `"color"`)
	f("explicit:1,1", "break 1, 1,")
	f("explicit:1,x", `break "x"`)
	f("explicit:1,Inf", "break 1 is +Inf")
	f("round:1", `"round"`)
	f("", "form")
}
