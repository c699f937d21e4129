package sketch

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// values returns n random values of many kinds.
func values(random *rand.Rand, n int) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		switch random.IntN(12) {
		case 0:
			xs[i] = math.NaN()
		case 1:
			xs[i] = math.Inf(random.IntN(2)*2 - 1)
		case 2:
			xs[i] = 0
		case 3:
			xs[i] = math.Float64frombits(random.Uint64())
		case 4:
			xs[i] = 5e-324 * float64(random.IntN(10))
		default:
			xs[i] = random.NormFloat64() * 50
		}
	}
	return xs
}

func sketchOf(g *Grid, xs []float64) *Binned {
	b := NewBinned(g)
	b.AddBatch(xs)
	return b
}

func encoded(t *testing.T, b *Binned) []byte {
	t.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(b.Proto())
	if err != nil {
		t.Fatal(err)
	}
	return append(data, b.AppendCounts(nil)...)
}

func TestLawsOfMerging(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	for _, g := range testGrids(t) {
		for range 20 {
			xs, ys, zs := values(random, random.IntN(300)), values(random, random.IntN(300)), values(random, random.IntN(5))
			a, b, c := sketchOf(g, xs), sketchOf(g, ys), sketchOf(g, zs)
			one := NewBinned(g)
			for _, x := range slices.Concat(xs, ys, zs) {
				one.Add(x)
			}
			left, right := a.Clone(), c.Clone()
			must(left.Merge(b))
			must(left.Merge(c))
			must(right.Merge(b))
			must(right.Merge(a))
			merged, err := MergeCounts(a.AppendCounts(nil), b.AppendCounts(nil), c.AppendCounts(nil))
			must(err)
			if !bytes.Equal(encoded(t, left), encoded(t, one)) || !bytes.Equal(encoded(t, right), encoded(t, one)) || !bytes.Equal(merged, one.AppendCounts(nil)) {
				t.Fatalf("seed %d: %v: the order of merging shows", seed, g)
			}
			must(left.Subtract(c))
			must(left.Subtract(b))
			if !left.Equal(a) || !bytes.Equal(encoded(t, left), encoded(t, a)) {
				t.Fatalf("seed %d: %v: subtracting does not undo merging", seed, g)
			}
			again, err := FromProto(one.Proto())
			must(err)
			counts := NewBinned(g)
			must(counts.AddCounts(one.AppendCounts(nil)))
			want, err := proto.MarshalOptions{Deterministic: true}.Marshal(one.Proto())
			must(err)
			if got := one.AppendProto([]byte("x")); !bytes.Equal(got[1:], want) {
				t.Fatalf("seed %d: %v: written as %x, want %x", seed, g, got[1:], want)
			}
			data, err := one.MarshalBinary()
			must(err)
			var binary Binned
			must(binary.UnmarshalBinary(data))
			if !binary.Equal(one) || !binary.Grid().Equal(g) || binary.NaNCount() != one.NaNCount() {
				t.Fatalf("seed %d: %v comes back as %v", seed, one, &binary)
			}
			if !again.Equal(one) || !counts.Equal(one) || again.NaNCount() != one.NaNCount() {
				t.Fatalf("seed %d: %v: decoding does not undo encoding", seed, g)
			}
			var total uint64
			for i, n := range one.All() {
				if total += n; n != one.Bucket(i) {
					t.Fatalf("bucket %d holds %d and %d", i, n, one.Bucket(i))
				}
			}
			if total != one.Count() || total+one.NaNCount() != uint64(len(xs)+len(ys)+len(zs)) {
				t.Fatalf("seed %d: %v: %d values of %d are counted", seed, g, total, len(xs)+len(ys)+len(zs))
			}
		}
	}
}

func TestSketchesOnDifferentGridsDoNotMix(t *testing.T) {
	grids := testGrids(t)
	for i, g := range grids {
		for j, h := range grids {
			err := NewBinned(g).Merge(NewBinned(h))
			if g.Unbounded() && h.Unbounded() {
				continue // these do
			}
			if i == j && err != nil || i != j && (!errors.Is(err, ErrGridMismatch) || !contains(err.Error(), g.String()) || !contains(err.Error(), h.String())) {
				t.Errorf("%v and %v: %v", g, h, err)
			}
		}
	}
}

func TestCountsNeverWrapAround(t *testing.T) {
	g := testGrids(t)[6]
	b := NewBinned(g)
	if err := b.AddN(1, maxCount-1); err != nil {
		t.Fatal(err)
	}
	before := b.Clone()
	if err := b.AddN(2, 2); !errors.Is(err, ErrOverflow) || !b.Equal(before) {
		t.Errorf("AddN beyond the limit: %v, %v", err, b)
	}
	if err := b.Merge(before); !errors.Is(err, ErrOverflow) || !b.Equal(before) {
		t.Errorf("Merge beyond the limit: %v, %v", err, b)
	}
	if err := b.AddCounts(before.AppendCounts(nil)); !errors.Is(err, ErrOverflow) || !b.Equal(before) {
		t.Errorf("AddCounts beyond the limit: %v, %v", err, b)
	}
	if _, err := MergeCounts(before.AppendCounts(nil), before.AppendCounts(nil)); !errors.Is(err, ErrOverflow) {
		t.Errorf("MergeCounts beyond the limit: %v", err)
	}
	most := b.Clone()
	most.Add(1)
	if data, err := most.MarshalBinary(); err != nil {
		t.Errorf("%v: %v", most, err)
	} else if err := new(Binned).UnmarshalBinary(data); err != nil {
		t.Errorf("%v: %v", most, err)
	}
	most.Add(1)
	if err := most.AddN(1, 1); !errors.Is(err, ErrOverflow) {
		t.Errorf("AddN to %v: %v", most, err)
	}
	if _, err := most.MarshalBinary(); !errors.Is(err, ErrOverflow) {
		t.Errorf("MarshalBinary of %v: %v", most, err)
	}
	if err := NewBinned(g).Merge(most); !errors.Is(err, ErrOverflow) {
		t.Errorf("Merge of %v: %v", most, err)
	}
	one := sketchOf(g, []float64{7})
	if err := one.Subtract(sketchOf(g, []float64{8})); !errors.Is(err, ErrNotThere) || one.Count() != 1 {
		t.Errorf("subtracting what is not there: %v", err)
	}
}

func TestQuantilesLieInTheirBucketAndInvertRanks(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, g := range testGrids(t) {
		xs := make([]float64, 500)
		for i := range xs {
			xs[i] = math.Round(random.NormFloat64()*200) / 10
		}
		b := sketchOf(g, xs)
		slices.Sort(xs)
		last := math.Inf(-1)
		for q := 0.001; q < 1; q += 0.013 {
			v, err := b.Quantile(q)
			if err != nil {
				t.Fatal(err)
			}
			lower, upper := g.Bounds(g.Index(xs[int(math.Ceil(q*float64(len(xs))))-1]))
			if v < lower || v > upper || v < last {
				t.Errorf("seed %d: %v: quantile %v is %v, its bucket %v to %v, the one before %v", seed, g, q, v, lower, upper, last)
			}
			last = v
			rank, err := b.Rank(v)
			if err != nil {
				t.Fatal(err)
			}
			// On an exponential grid an estimate keeps away from the ends of its bucket, which may be full.
			slack := 0.5 / float64(len(xs))
			if g.kind == exponential {
				slack += float64(b.Bucket(g.Index(v))) / float64(len(xs))
			}
			if inside := v > lower && v < upper; inside && math.Abs(rank-q) > slack+1e-9 {
				t.Errorf("seed %d: %v: the rank of quantile %v is %v", seed, g, q, rank)
			}
		}
		shares, err := b.PMF([]float64{-10, 0, 10})
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, s := range shares {
			if sum += s; s < 0 {
				t.Errorf("%v: shares %v", g, shares)
			}
		}
		if math.Abs(sum-1) > 1e-12 {
			t.Errorf("%v: shares %v sum to %v", g, shares, sum)
		}
	}
}

func TestAnEmptySketchHasNoQuantiles(t *testing.T) {
	b := sketchOf(testGrids(t)[0], []float64{math.NaN()})
	if _, err := b.Quantile(0.5); !errors.Is(err, ErrEmpty) {
		t.Errorf("Quantile: %v", err)
	}
	if _, err := b.Rank(0); !errors.Is(err, ErrEmpty) {
		t.Errorf("Rank: %v", err)
	}
	b.Add(1)
	for _, q := range []float64{-0.1, 1.1, math.NaN()} {
		if _, err := b.Quantile(q); err == nil {
			t.Errorf("Quantile(%v) was answered", q)
		}
	}
}

func TestHostileSketchesAreRefused(t *testing.T) {
	good := sketchOf(testGrids(t)[6], []float64{1, 2, 2}).Proto()
	f := func(change func(*quietilev1.Sketch), want string) {
		t.Helper()
		bad := proto.CloneOf(good)
		change(bad)
		if _, err := FromProto(bad); err == nil || !contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	f(func(s *quietilev1.Sketch) { s.Grid = nil }, "kind is missing")
	f(func(s *quietilev1.Sketch) { s.Gaps = s.Gaps[1:] }, "1 gaps for 2 counts")
	f(func(s *quietilev1.Sketch) { s.Gaps[1] = 1 << 31 }, "count 1: ")
	f(func(s *quietilev1.Sketch) { s.Counts[1] = 0 }, "count 1: ")
	f(func(s *quietilev1.Sketch) { s.Counts[1] = 1 << 63 }, "2^63-1")
	f(func(s *quietilev1.Sketch) { s.NanCount = 1 << 63 }, "nan_count")
	f(func(s *quietilev1.Sketch) { s.Grid.GetLinear().Bins = 1 << 31 }, "bins")
	if _, err := FromProto(nil); !errors.Is(err, ErrEncoding) {
		t.Errorf("nil: %v", err)
	}
	counts := sketchOf(testGrids(t)[6], []float64{1, 2, 2}).AppendCounts(nil)
	for n := range counts {
		b := NewBinned(testGrids(t)[6])
		if err := b.AddCounts(counts[:n]); err == nil && b.Count() == 3 {
			t.Errorf("the first %d bytes are taken for all", n)
		}
	}
}

func TestAddingTakesNoMemoryOnceWarm(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, g := range testGrids(t) {
		xs := values(random, 1000)
		b := sketchOf(g, xs)
		if n := testing.AllocsPerRun(10, func() {
			b.AddBatch(xs)
			for _, x := range xs {
				b.Add(x)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations", g, n)
		}
	}
}

func FuzzFromProto(f *testing.F) {
	for _, g := range testGrids(f) {
		data, err := proto.Marshal(sketchOf(g, []float64{1, 2, 2, math.NaN()}).Proto())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := new(quietilev1.Sketch)
		if proto.Unmarshal(data, p) != nil {
			return
		}
		b, err := FromProto(p)
		if err != nil {
			return
		}
		again, err := FromProto(b.Proto())
		if err != nil || !again.Equal(b) {
			t.Errorf("%v comes back as %v, %v", b, again, err)
		}
		if want, err := (proto.MarshalOptions{Deterministic: true}).Marshal(b.Proto()); err != nil || !bytes.Equal(b.AppendProto(nil), want) {
			t.Errorf("%v is %x, want %x, %v", b, b.AppendProto(nil), want, err)
		}
	})
}

func FuzzAddCounts(f *testing.F) {
	g, err := NewLinear(0, 10, 1000)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sketchOf(g, []float64{1, 2, 2, 9, math.NaN()}).AppendCounts(nil))
	f.Add([]byte{countsVersion, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		b := NewBinned(g)
		if err := b.AddCounts(data); err != nil {
			if b.Count() != 0 {
				t.Errorf("%v after %v", b, err)
			}
			return
		}
		merged, err := MergeCounts(data)
		if err != nil || !bytes.Equal(merged, b.AppendCounts(nil)) {
			t.Errorf("MergeCounts says %x, %v; AddCounts %x", merged, err, b.AppendCounts(nil))
		}
	})
}

// FuzzUnmarshalBinary: what is read is written again as it was.
func FuzzUnmarshalBinary(f *testing.F) {
	for _, g := range testGrids(f) {
		data, err := sketchOf(g, []float64{1, 2, 2, 9, math.Inf(1), -3, math.NaN()}).MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)-1])
		f.Add(append(slices.Clone(data), 0))
		damaged := slices.Clone(data)
		damaged[len(damaged)/2] ^= 0x10
		f.Add(damaged)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b Binned
		if err := b.UnmarshalBinary(data); err != nil {
			if !errors.Is(err, ErrEncoding) && !errors.Is(err, ErrGrid) && !errors.Is(err, ErrOverflow) {
				t.Errorf("%x: %v", data, err)
			}
			return
		}
		again, err := b.MarshalBinary()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x comes back as %x, %v", data, again, err)
		}
	})
}

func FuzzParseGrid(f *testing.F) {
	for _, g := range testGrids(f) {
		f.Add(g.String())
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ParseGrid(s)
		if err != nil {
			return
		}
		again, err := ParseGrid(g.String())
		if err != nil || !again.Equal(g) {
			t.Errorf("%q is %v, which is %v, %v", s, g, again, err)
		}
	})
}

func benchmarkValues() []float64 {
	random := rand.New(rand.NewPCG(1, 2))
	xs := make([]float64, 1<<14)
	for i := range xs {
		xs[i] = math.Exp(random.NormFloat64())
	}
	return xs
}

func BenchmarkAdd(b *testing.B) {
	xs := benchmarkValues()
	for _, s := range []string{"linear:lower=0,upper=128,bins=8192", "exponential:scale=3", "exponential:scale=8"} {
		g, err := ParseGrid(s)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("single/"+s, func(b *testing.B) {
			k := NewBinned(g)
			for b.Loop() {
				for _, x := range xs {
					k.Add(x)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(xs)), "ns/value")
		})
		b.Run("batch/"+s, func(b *testing.B) {
			k := NewBinned(g)
			for b.Loop() {
				k.AddBatch(xs)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(xs)), "ns/value")
		})
	}
}
