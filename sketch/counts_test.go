package sketch

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// Whatever comes in which order, the counts are those of a plain map that is kept beside.
func TestCountsAreThoseOfAMap(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	streams := map[string]func() float64{
		"near":      func() float64 { return math.Exp(random.NormFloat64()) },
		"both ways": func() float64 { return random.NormFloat64() * 40 },
		"far":       func() float64 { return math.Float64frombits(random.Uint64()) },
		"apart":     func() float64 { return math.Ldexp(1+random.Float64(), 300*(random.IntN(3)-1)) },
		"edges": func() float64 {
			return []float64{0, 5e-324, -5e-324, 0x1p-1022, 0x1.fffffffffffffp-1023, math.MaxFloat64, -math.MaxFloat64, math.Inf(1), math.Inf(-1), 1, 128}[random.IntN(11)]
		},
		"moving": nil,
	}
	for name, next := range streams {
		grids := testGrids(t)
		fine, err := NewExponential(8)
		if err != nil {
			t.Fatal(err)
		}
		narrow, err := NewBoundedExponential(3, -1, 5e-324)
		if err != nil {
			t.Fatal(err)
		}
		fourth, err := NewLinear(-1.5, 1000.25, 30000)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range append(grids, fine, narrow, fourth) {
			b, want := NewBinned(g), map[int]uint64{}
			moving := 1e-200
			batch := make([]float64, 37)
			for range 600 {
				for i := range batch {
					if moving *= 1.02; next == nil {
						batch[i] = moving
					} else {
						batch[i] = next()
					}
					if batch[i] == batch[i] {
						want[g.Index(batch[i])]++
					}
				}
				if random.IntN(2) == 0 {
					b.AddBatch(batch)
					continue
				}
				for _, x := range batch {
					b.Add(x)
				}
			}
			got, last := map[int]uint64{}, -1
			for i, n := range b.All() {
				if i <= last {
					t.Fatalf("seed %d: %s in %v: bucket %d comes after %d", seed, name, g, i, last)
				}
				last = i
				got[i] = n
				if b.Bucket(i) != n {
					t.Fatalf("seed %d: %s in %v: bucket %d holds %d and %d", seed, name, g, i, b.Bucket(i), n)
				}
			}
			if !maps.Equal(got, want) {
				t.Fatalf("seed %d: %s in %v: %d buckets hold something, want %d", seed, name, g, len(got), len(want))
			}
			double := b.Clone()
			if err := double.Merge(b, double); err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if double.Bucket(i) != 3*want[i] {
					t.Fatalf("seed %d: %s in %v: three times %d is %d", seed, name, g, want[i], double.Bucket(i))
				}
			}
			if double.Count() != 3*b.Count() {
				t.Fatalf("seed %d: %s in %v: three times %d is %d", seed, name, g, b.Count(), double.Count())
			}
		}
	}
}

// A window that was opened at a stray first value moves to where the values are.
func TestAWindowMovesToWhereTheValuesAre(t *testing.T) {
	g, err := NewExponential(8)
	if err != nil {
		t.Fatal(err)
	}
	b := NewBinned(g)
	b.Add(1e-300)
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 * maxWindow {
		b.Add(math.Exp(random.NormFloat64()))
	}
	if s := &b.sides[0]; len(s.far) != 1 || s.load(g.roots.bucket(1)+g.roots.origin()) == 0 {
		t.Errorf("%d blocks are outside of the window of %d places from %d on", len(s.far), len(s.window), s.first)
	}
}

func TestAddTakesNoMemoryOnceWarm(t *testing.T) {
	xs := benchmarkValues()
	for _, g := range testGrids(t) {
		b := sketchOf(g, xs)
		if n := testing.AllocsPerRun(10, func() {
			for _, x := range xs {
				b.Add(x)
			}
			b.AddBatch(xs)
		}); n != 0 {
			t.Errorf("%v: adding takes %v allocations", g, n)
		}
		o := b.Clone()
		if n := testing.AllocsPerRun(10, func() {
			if err := b.Merge(o, o); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%v: merging takes %v allocations", g, n)
		}
	}
}

func TestAnUnboundedGridStaysSmall(t *testing.T) {
	g, err := NewExponential(8)
	if err != nil {
		t.Fatal(err)
	}
	keep := make([]*Binned, 1000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range keep {
		keep[i] = sketchOf(g, []float64{1e-300, 0, 1, -5, 1e300})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if size := (after.HeapAlloc - before.HeapAlloc) / uint64(len(keep)); size > 4<<10 {
		t.Errorf("five values of five magnitudes take %d bytes", size)
	}
	runtime.KeepAlive(keep)
}

func TestSketchesOfDifferentScalesMergeAsIfAddedToTheCoarsest(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	at := func(scale int, xs []float64) *Binned {
		g, err := NewExponential(scale)
		if err != nil {
			t.Fatal(err)
		}
		return sketchOf(g, xs)
	}
	for range 40 {
		var all []float64
		var parts []*Binned
		coarsest := maxScale
		for range 1 + random.IntN(4) {
			xs := values(random, 200)
			scale := minScale + random.IntN(maxScale-minScale+1)
			coarsest = min(coarsest, scale)
			all = append(all, xs...)
			parts = append(parts, at(scale, xs))
		}
		want := at(coarsest, all)
		copies := make([]*Binned, len(parts))
		for i, p := range parts {
			copies[i] = p.Clone()
		}
		if err := parts[0].Merge(parts[1:]...); err != nil || !parts[0].Equal(want) {
			t.Fatalf("seed %d: %v, want %v, %v", seed, parts[0], want, err)
		}
		for i, p := range parts[1:] {
			if !p.Equal(copies[i+1]) {
				t.Fatalf("seed %d: merging changed %v", seed, p)
			}
		}
		if err := copies[0].Downscale(coarsest); err != nil {
			t.Fatal(err)
		}
		if err := copies[0].Merge(copies[1:]...); err != nil || !copies[0].Equal(want) {
			t.Fatalf("seed %d: %v, want %v, %v", seed, copies[0], want, err)
		}
	}
}

func TestDownscaleOfABoundedGridKeepsItsOuterBuckets(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, s := range []string{"exponential:scale=3,min=-8,max=8", "exponential:scale=5,min=-8,max=-1.01", "exponential:scale=8,min=1.001,max=64", "exponential:scale=8,min=5e-324,max=64"} {
		g, err := ParseGrid(s)
		if err != nil {
			t.Fatal(err)
		}
		coarse, err := g.Downscale(0)
		if err != nil {
			t.Fatal(err)
		}
		xs := append(values(random, 2000), -8, 8, 1, -1, 64, 0)
		b := sketchOf(g, xs)
		if err := b.Downscale(0); err != nil || !b.Equal(sketchOf(coarse, xs)) {
			t.Errorf("seed %d: %v: %v, want %v", seed, err, b, sketchOf(coarse, xs))
		}
	}
}

func TestAFailedMergeChangesNothing(t *testing.T) {
	fine, coarse, other := testGrids(t)[0], testGrids(t)[0], testGrids(t)[4]
	b := sketchOf(fine, []float64{1, 2, 3})
	before := b.Clone()
	if err := b.Merge(sketchOf(coarse, []float64{4}), sketchOf(other, []float64{5})); !errors.Is(err, ErrGridMismatch) || !b.Equal(before) {
		t.Errorf("%v, %v", err, b)
	}
	most := NewBinned(coarse)
	if err := most.AddN(1, maxCount-3); err != nil {
		t.Fatal(err)
	}
	if err := b.Merge(sketchOf(coarse, []float64{4}), most); !errors.Is(err, ErrOverflow) || !b.Equal(before) {
		t.Errorf("%v, %v", err, b)
	}
}

// Rebinning is exact where buckets nest; elsewhere no value moves further than its own bucket is wide.
func TestRebinMovesNoValueFurtherThanItsBucket(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	fine, err := NewLinear(0, 64, 640)
	if err != nil {
		t.Fatal(err)
	}
	nested, err := NewLinear(0, 64, 64)
	if err != nil {
		t.Fatal(err)
	}
	xs := slices.DeleteFunc(values(random, 3000), func(x float64) bool { return math.IsInf(x, 0) })
	if got, want := sketchOf(fine, xs).Rebin(nested), sketchOf(nested, xs); !got.Equal(want) {
		t.Errorf("seed %d: %v, want %v", seed, got, want)
	}
	for _, from := range testGrids(t) {
		for _, to := range testGrids(t) {
			b := sketchOf(from, xs)
			r := b.Rebin(to)
			if r.Count() != b.Count() || r.NaNCount() != b.NaNCount() {
				t.Errorf("seed %d: %v has other counts than %v", seed, r, b)
			}
			for i := range b.All() {
				m := from.middle(i)
				lower, upper := from.Bounds(i)
				if m < lower || m > upper || from.Index(m) != i {
					t.Fatalf("%v: the middle of bucket %d from %v to %v is %v", from, i, lower, upper, m)
				}
			}
		}
	}
}

func TestWholeNumbersAreAnsweredExactly(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	g, err := NewLinear(-20, 130, 150)
	if err != nil {
		t.Fatal(err)
	}
	xs := make([]float64, 1+random.IntN(2000))
	for i := range xs {
		xs[i] = float64(random.IntN(150) - 20)
	}
	b := sketchOf(g, xs)
	slices.Sort(xs)
	for range 1000 {
		q := random.Float64()
		want := xs[max(int(math.Ceil(q*float64(len(xs)))), 1)-1]
		if got, err := b.Quantile(q); err != nil || got != want {
			t.Fatalf("seed %d: quantile %v is %v, %v, want %v", seed, q, got, err, want)
		}
		x := float64(random.IntN(160) - 25)
		below, _ := slices.BinarySearch(xs, x+1)
		if got, err := b.Rank(x); x >= -20 && x < 130 && (err != nil || got != float64(below)/float64(len(xs))) {
			t.Fatalf("seed %d: the rank of %v is %v, %v, want %d of %d", seed, x, got, err, below, len(xs))
		}
	}
}

// The bounds hold the exact answers, and the estimates.
func TestBoundsAreTrue(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, g := range testGrids(t) {
		xs := slices.DeleteFunc(values(random, 700), func(x float64) bool { return x != x })
		b := sketchOf(g, xs)
		slices.Sort(xs)
		for q := 0.0; q <= 1; q += 1.0 / 64 {
			exact := xs[max(int(math.Ceil(q*float64(len(xs)))), 1)-1]
			lower, upper, err := b.QuantileBounds(q)
			value, err2 := b.Quantile(q)
			if err != nil || err2 != nil || !(lower <= exact && exact <= upper) || !(lower <= value && value <= upper) {
				t.Fatalf("seed %d: %v: quantile %v is %v, estimated %v, bounds %v and %v, %v", seed, g, q, exact, value, lower, upper, err)
			}
		}
		for _, x := range append(values(random, 100), xs[:50]...) {
			if x != x {
				continue
			}
			below := 0
			for below < len(xs) && xs[below] <= x {
				below++
			}
			exact := float64(below) / float64(len(xs))
			lower, upper, err := b.RankBounds(x)
			value, err2 := b.Rank(x)
			if err != nil || err2 != nil || lower > exact || exact > upper || value < lower || value > upper {
				t.Fatalf("seed %d: %v: the rank of %v is %v, estimated %v, bounds %v and %v, %v", seed, g, x, exact, value, lower, upper, err)
			}
		}
	}
}

// An estimate on the grid of RelativeError(e) is within e of the exact quantile, also if all values are at one end of their bucket.
func TestRelativeErrorIsTrue(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, e := range []float64{60000, 2.7, 0.9, 0.5, 0.1, 0.02, 0.01, 0.003} {
		scale, err := RelativeError(e)
		if err != nil {
			t.Fatal(err)
		}
		g, err := NewExponential(scale)
		if err != nil {
			t.Fatal(err)
		}
		if bound := g.RelativeError(); bound > e {
			t.Errorf("the error on %v is said to be %v, more than %v", g, bound, e)
		}
		worst := 0.0
		for _, ties := range []bool{false, true} {
			xs := make([]float64, 500+random.IntN(5000))
			for i := range xs {
				if xs[i] = math.Exp(random.NormFloat64() * 9); i%3 == 0 {
					xs[i] *= -1
				}
				if ties && i%10 > 0 {
					lower, upper := g.Bounds(g.Index(xs[i-1]))
					if xs[i] = upper; i%20 > 10 {
						xs[i] = lower
					}
				}
			}
			b := sketchOf(g, xs)
			slices.Sort(xs)
			for q := 0.0; q <= 1; q += 1.0 / 512 {
				exact := xs[max(int(math.Ceil(q*float64(len(xs)))), 1)-1]
				got, err := b.Quantile(q)
				off := math.Abs(got-exact) / math.Abs(exact)
				if err != nil || off > e {
					t.Fatalf("seed %d: error %v: quantile %v is %v, estimated %v, %v", seed, e, q, exact, got, err)
				}
				worst = max(worst, off)
			}
		}
		if e < 0.6 && worst < g.RelativeError()/2 { // wide buckets hold more values in the middle
			t.Errorf("seed %d: the worst error on %v was %v, and is said to be up to %v", seed, g, worst, g.RelativeError())
		}
	}
}
