package sketch

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// TestEveryOctaveIsLikeTheOneOfOne checks all boundaries of all octaves: those from 1 to 2 exactly, and the others
// by the law Index(2^e·x) = Index(x) + e·N, or its quotient by 2^-scale.
func TestEveryOctaveIsLikeTheOneOfOne(t *testing.T) {
	for scale := minScale; scale <= maxScale; scale++ {
		g, err := NewExponential(scale)
		if err != nil {
			t.Fatal(err)
		}
		r := g.roots
		fine := func(x float64) int { return g.Index(x) - r.positive() - 2 + r.first } // k of x > 0
		for j := range 1 << r.up {
			b := r.fraction[j]
			for _, x := range []float64{math.Nextafter(b, 0), b, math.Nextafter(b, 2)} {
				checkBucket(t, g, x)
				for e := -1074; e < 1024; e++ {
					y := math.Ldexp(x, e)
					if y == 0 || math.IsInf(y, 0) {
						continue
					}
					// A subnormal y is rounded: it has the bucket of y·2^200, which is not.
					want := fine(math.Ldexp(x, e&(1<<r.down-1))) + (e>>r.down)<<r.up
					if y < 0x1p-1022 {
						up := 256
						want = fine(math.Ldexp(y, up)) - (up>>r.down)<<r.up
					}
					if got := fine(y); got != want {
						t.Fatalf("scale %d: %v·2^%d is in bucket %d, want %d", scale, x, e, got, want)
					}
					if g.Index(-y) != 2*g.Index(0)-g.Index(y) {
						t.Fatalf("scale %d: %v and its negative are in buckets %d and %d around %d", scale, y, g.Index(y), g.Index(-y), g.Index(0))
					}
				}
			}
		}
	}
}

func TestABoundedGridIsARunOfTheUnboundedOne(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	ends := [][2]float64{
		{-math.MaxFloat64, math.MaxFloat64},
		{0, 1},
		{-1, 0},
		{5e-324, 1e-323},
		{1, math.Nextafter(1, 2)},
		{-4, 4},
		{2, 3},
		{1.1, 1.2},
	}
	for range 50 {
		a, b := random.NormFloat64()*math.Ldexp(1, random.IntN(40)-20), random.NormFloat64()
		ends = append(ends, [2]float64{min(a, b), max(a, b)})
	}
	for scale := minScale; scale <= maxScale; scale++ {
		whole, err := NewExponential(scale)
		if err != nil {
			t.Fatal(err)
		}
		for _, end := range ends {
			g, err := NewBoundedExponential(scale, end[0], end[1])
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			first, last := whole.Index(end[0]), whole.Index(end[1])
			if g.Len() != last-first+3 || g.Index(end[0]) != 1 || g.Index(end[1]) != g.Len()-2 {
				t.Fatalf("seed %d: %v has %d buckets, its ends lie in %d and %d", seed, g, g.Len(), g.Index(end[0]), g.Index(end[1]))
			}
			for _, x := range append(values(random, 100), end[0], end[1], math.Nextafter(end[0], math.Inf(-1)), math.Nextafter(end[1], math.Inf(1))) {
				if x != x {
					continue
				}
				want := min(max(whole.Index(x)-first+1, 0), g.Len()-1)
				if got := g.Index(x); got != want {
					t.Fatalf("seed %d: %v: %v is in bucket %d, want %d", seed, g, x, got, want)
				}
			}
			for i := 1; i < g.Len()-1; i++ {
				lower, upper := g.Bounds(i)
				if l, u := whole.Bounds(first + i - 1); l != lower || u != upper {
					t.Fatalf("%v: bucket %d is %v to %v, want %v to %v", g, i, lower, upper, l, u)
				}
				if i > 40 && i < g.Len()-40 {
					i = g.Len() - 40 // the middle is like the ends
				}
			}
		}
	}
}

func TestPowersOfTwoEndTheirBucket(t *testing.T) {
	for scale := minScale; scale <= maxScale; scale++ {
		g, err := NewExponential(scale)
		if err != nil {
			t.Fatal(err)
		}
		for e := -1074; e < 1024; e++ {
			if e&(1<<g.roots.down-1) != 0 {
				continue // no boundary of this scale
			}
			x := math.Ldexp(1, e)
			i := g.Index(x)
			if _, upper := g.Bounds(i); upper != x || g.Index(math.Nextafter(x, math.Inf(1))) != i+1 && x >= 0x1p-1022 {
				t.Fatalf("scale %d: 2^%d is in bucket %d, which ends at %v", scale, e, i, upper)
			}
			if lower, _ := g.Bounds(g.Index(-x)); lower != -x {
				t.Fatalf("scale %d: -2^%d is in a bucket that starts at %v", scale, e, lower)
			}
		}
	}
}

func TestBucketsAscendWithTheirValues(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, g := range testGrids(t) {
		xs := slices.DeleteFunc(values(random, 5000), func(x float64) bool { return x != x })
		xs = append(xs, math.Inf(-1), math.Inf(1), math.MaxFloat64, -math.MaxFloat64)
		slices.Sort(xs)
		for i, x := range xs {
			at := g.Index(x)
			if at < 0 || at >= g.Len() || i > 0 && at < g.Index(xs[i-1]) {
				t.Fatalf("seed %d: %v: %v is in bucket %d, the value before, %v, in %d", seed, g, x, at, xs[max(i-1, 0)], g.Index(xs[max(i-1, 0)]))
			}
			lower, upper := g.Bounds(at)
			if x < lower || x > upper || g.kind != exponential && x == upper && !math.IsInf(x, 1) {
				t.Fatalf("seed %d: %v: %v is in bucket %d, from %v to %v", seed, g, x, at, lower, upper)
			}
		}
	}
}

func TestLinearBoundariesAreTheNearestToTheExactOnes(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	f := func(lower, upper float64, bins int) {
		t.Helper()
		g, err := NewLinear(lower, upper, bins)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		low, width := new(big.Rat).SetFloat64(lower), new(big.Rat).SetFloat64(upper)
		width.Sub(width, low).Quo(width, big.NewRat(int64(bins), 1))
		for i := range bins + 1 {
			exact := new(big.Rat).Mul(width, big.NewRat(int64(i), 1))
			want, _ := exact.Add(exact, low).Float64()
			_, at := g.Bounds(i)
			if math.Float64bits(at) != math.Float64bits(want+0) {
				t.Fatalf("seed %d: %v: boundary %d is %v, want %v", seed, g, i, at, want)
			}
			if above, below := g.Index(at), g.Index(math.Nextafter(at, math.Inf(-1))); above != i+1 || below != i {
				t.Fatalf("seed %d: %v: %v is in bucket %d and the value before it in %d, want %d and %d", seed, g, at, above, below, i+1, i)
			}
		}
		if again, err := ParseGrid(g.String()); err != nil || !again.Equal(g) || again.String() != g.String() {
			t.Fatalf("seed %d: %v is read as %v, %v", seed, g, again, err)
		}
	}
	f(0.1, 0.7, 3)
	f(-0.7, -0.1, 7)
	f(-0.1, 0.2, 3) // one boundary is next to nothing
	f(-1, 1e-300, 2)
	f(-1e300, 1e-300, 7)
	f(-5e-324, 1, 10)
	f(0, 1e-300, 1000)
	f(0, 0x1p-1000, 3)
	f(1, math.Nextafter(2, 1), 98)
	f(1, math.Nextafter(2, 1), 6)
	f(1e15, 1e15+100, 700)
	f(math.Copysign(0, -1), 1, 2)
	f(-1, math.Copysign(0, -1), 3)
	f(-math.MaxFloat64/2, math.MaxFloat64/2, 1001)
	for range 200 {
		scale := math.Ldexp(1, random.IntN(600)-300)
		lower, width := random.NormFloat64()*scale, random.Float64()*scale*math.Ldexp(1, random.IntN(12)-6)
		f(lower, lower+width, 1+random.IntN(200))
	}
}

func TestGridsKeepTheirDescription(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	f := func(g *Grid, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		parsed, err := ParseGrid(g.String())
		if err != nil || !parsed.Equal(g) || !g.Equal(parsed) || parsed.String() != g.String() || parsed.Len() != g.Len() {
			t.Errorf("seed %d: %v is read as %v, %v", seed, g, parsed, err)
		}
		again, err := GridFromProto(g.Proto())
		if err != nil || !again.Equal(g) || again.String() != g.String() {
			t.Errorf("seed %d: %v comes back as %v, %v", seed, g, again, err)
		}
	}
	for scale := minScale; scale <= maxScale; scale++ {
		f(NewExponential(scale))
		f(NewBoundedExponential(scale, -math.MaxFloat64, math.MaxFloat64))
		for range 20 {
			a, b := random.NormFloat64(), random.ExpFloat64()*1e6
			f(NewBoundedExponential(scale, min(a, b), max(a, b)))
		}
	}
	for range 20 {
		breaks := make([]float64, 1+random.IntN(50))
		for i := range breaks {
			breaks[i] = random.NormFloat64() * 1e3
		}
		slices.Sort(breaks)
		f(NewExplicit(slices.Compact(breaks)))
	}
}

func TestGridsWithDifferentDescriptionsAreNotEqual(t *testing.T) {
	grids := []string{
		"exponential:scale=0", "exponential:scale=1", "exponential:scale=0,min=1.1,max=10",
		"exponential:scale=0,min=1.2,max=10", // the same buckets, printed otherwise
		"linear:lower=0,upper=2,bins=2", "linear:lower=0,upper=3,bins=2", "linear:lower=1,upper=3,bins=2", "linear:lower=0,upper=2,bins=3",
		"explicit:0,1,2", "explicit:0,1,3", "explicit:0,1",
	}
	for i, s := range grids {
		for j, r := range grids {
			g, err := ParseGrid(s)
			h, err2 := ParseGrid(r)
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			if g.Equal(h) != (i == j) {
				t.Errorf("%v equals %v: %v", g, h, i != j)
			}
		}
	}
}

func TestConstructorsNameTheFieldAndItsValue(t *testing.T) {
	f := func(want ...string) func(*Grid, error) {
		return func(g *Grid, err error) {
			t.Helper()
			if g != nil || !errors.Is(err, ErrGrid) {
				t.Fatalf("%v, %v, want an error with %q", g, err, want)
			}
			for _, w := range want {
				if !contains(err.Error(), w) {
					t.Errorf("%v, want an error with %q", err, w)
				}
			}
		}
	}
	nan, inf := math.NaN(), math.Inf(1)
	f("scale 9", "-4 to 8")(NewExponential(9))
	f("scale -5")(NewExponential(-5))
	f("scale 9")(NewBoundedExponential(9, 1, 2))
	f("min is NaN")(NewBoundedExponential(0, nan, 2))
	f("max is +Inf")(NewBoundedExponential(0, 1, inf))
	f("min is -Inf")(NewBoundedExponential(0, -inf, 1))
	f("min 2", "max 2")(NewBoundedExponential(0, 2, 2))
	f("lower is NaN")(NewLinear(nan, 1, 1))
	f("upper is +Inf")(NewLinear(0, inf, 1))
	f("lower 3", "upper 2")(NewLinear(3, 2, 1))
	f("bins 0")(NewLinear(0, 1, 0))
	f("bins -1")(NewLinear(0, 1, -1))
	f("bins 2097151")(NewLinear(0, 1, MaxBuckets-1))
	f("bins 9223372036854775807")(NewLinear(0, 1, math.MaxInt))
	f("lower 0", "upper 1e-310", "too narrow", "bins 100")(NewLinear(0, 1e-310, 100))
	f("lower -1e+308", "upper 1e+308", "too wide")(NewLinear(-1e308, 1e308, 4))
	f("0 breaks")(NewExplicit(nil))
	f("2097152 breaks")(NewExplicit(make([]float64, MaxBuckets)))
	f("break 0 is NaN")(NewExplicit([]float64{nan}))
	f("break 1 is +Inf")(NewExplicit([]float64{0, inf}))
	f("break 1, 0,", "before, 0")(NewExplicit([]float64{math.Copysign(0, -1), 0}))
	f("break 2, 1,", "before, 2")(NewExplicit([]float64{0, 2, 1}))

	message := func(e *quietilev1.ExponentialGrid, l *quietilev1.LinearGrid) (*Grid, error) {
		if e != nil {
			return GridFromProto(&quietilev1.Grid{Kind: &quietilev1.Grid_Exponential{Exponential: e}})
		}
		return GridFromProto(&quietilev1.Grid{Kind: &quietilev1.Grid_Linear{Linear: l}})
	}
	one := 1.0
	f("kind")(GridFromProto(nil))
	f("kind")(GridFromProto(&quietilev1.Grid{}))
	f("scale 2147483647")(message(&quietilev1.ExponentialGrid{Scale: math.MaxInt32}, nil))
	f("scale -2147483648")(message(&quietilev1.ExponentialGrid{Scale: math.MinInt32}, nil))
	f("min and max")(message(&quietilev1.ExponentialGrid{Min: &one}, nil))
	f("min and max")(message(&quietilev1.ExponentialGrid{Max: &one}, nil))
	f("bins 4294967295")(message(nil, &quietilev1.LinearGrid{Upper: 1, Bins: math.MaxUint32}))
	f("bins 0")(message(nil, &quietilev1.LinearGrid{Upper: 1}))
	f("lower 0", "upper 0")(message(nil, &quietilev1.LinearGrid{Bins: 1}))
	f("0 breaks")(GridFromProto(&quietilev1.Grid{Kind: &quietilev1.Grid_Explicit{}}))
}

func TestBoundsOfNoBucketPanic(t *testing.T) {
	g := testGrids(t)[0]
	for _, i := range []int{-1, g.Len()} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("bucket %d has bounds", i)
				}
			}()
			g.Bounds(i)
		}()
	}
}
