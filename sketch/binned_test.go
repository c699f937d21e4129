package sketch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// awkward returns values at and around every edge of a grid, and every kind of odd float64.
func awkward(g *Grid, random *rand.Rand) []float64 {
	xs := []float64{
		math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 5e-324, -5e-324, 0x1p-1022, -0x1p-1022,
		math.Nextafter(0x1p-1022, 0), math.MaxFloat64, -math.MaxFloat64, math.Float64frombits(0xfff8000000000001),
	}
	for range 200 {
		lower, upper := g.Bounds(random.IntN(g.Len()))
		for _, x := range []float64{lower, upper} {
			xs = append(xs, math.Nextafter(x, math.Inf(-1)), x, math.Nextafter(x, math.Inf(1)))
		}
	}
	xs = append(xs, values(random, 1000)...)
	random.Shuffle(len(xs), func(i, j int) { xs[i], xs[j] = xs[j], xs[i] })
	return xs
}

func TestABatchCountsAsItsValuesDo(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	grids := testGrids(t)
	for scale := minScale; scale <= maxScale; scale++ {
		g, err := NewExponential(scale)
		if err != nil {
			t.Fatal(err)
		}
		h, err := NewBoundedExponential(scale, -3, 1e9)
		if err != nil {
			t.Fatal(err)
		}
		grids = append(grids, g, h)
	}
	for _, g := range grids {
		xs := awkward(g, random)
		one, weighted, byIndex := NewBinned(g), NewBinned(g), NewBinned(g)
		for _, x := range xs {
			one.Add(x)
			if err := weighted.AddN(x, 1); err != nil {
				t.Fatal(err)
			}
			if x == x {
				if err := byIndex.AddBucket(g.Index(x), 1); err != nil {
					t.Fatal(err)
				}
			} else {
				byIndex.Add(x)
			}
		}
		batch := NewBinned(g)
		for rest := xs; len(rest) > 0; {
			n := min(random.IntN(500), len(rest))
			batch.AddBatch(rest[:n])
			rest = rest[n:]
		}
		for name, b := range map[string]*Binned{"AddBatch": batch, "AddN": weighted, "AddBucket": byIndex} {
			if !b.Equal(one) || !one.Equal(b) || b.NaNCount() != one.NaNCount() || !bytes.Equal(encoded(t, b), encoded(t, one)) {
				t.Errorf("seed %d: %v: %s counts %v, Add counts %v", seed, g, name, b, one)
			}
		}
	}
}

func TestACloneIsApartAndAResetSketchIsNew(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, g := range testGrids(t) {
		b := sketchOf(g, values(random, 200))
		before := encoded(t, b)
		c := b.Clone()
		c.Add(1)
		c.Add(math.NaN())
		if !bytes.Equal(encoded(t, b), before) || c.Equal(b) || b.Equal(c) || c.Count() != b.Count()+1 {
			t.Errorf("seed %d: %v: the clone is not apart", seed, g)
		}
		other := b.Clone()
		if err := other.Merge(sketchOf(g, []float64{math.NaN()})); err != nil || other.Equal(b) {
			t.Errorf("seed %d: %v: NaN does not tell sketches apart, %v", seed, g, err)
		}
		if err := b.Merge(b); err != nil || b.Count() != 2*(c.Count()-1) {
			t.Errorf("seed %d: merged with itself, %d values become %d, %v", seed, c.Count()-1, b.Count(), err)
		}
		if err := b.Subtract(b); err != nil || !b.Equal(NewBinned(g)) {
			t.Errorf("seed %d: itself subtracted, there is left %v, %v", seed, b, err)
		}
		c.Reset()
		if !c.Equal(NewBinned(g)) || !bytes.Equal(encoded(t, c), encoded(t, NewBinned(g))) {
			t.Errorf("seed %d: after Reset there is %v", seed, c)
		}
		for i, n := range c.All() {
			t.Errorf("after Reset bucket %d holds %d", i, n)
		}
	}
}

func TestSketchesOfEqualCountsDiffer(t *testing.T) {
	g := testGrids(t)[6]
	if a, b := sketchOf(g, []float64{1, 2}), sketchOf(g, []float64{1, 3}); a.Equal(b) || b.Equal(a) {
		t.Errorf("%v equals %v", a, b)
	}
}

func TestWhatOverflowsChangesNothing(t *testing.T) {
	g := testGrids(t)[6]
	full := NewBinned(g)
	if err := errors.Join(full.AddN(1, maxCount), full.AddN(math.NaN(), maxCount)); err != nil {
		t.Fatal(err)
	}
	before := full.Clone()
	one, nan := sketchOf(g, []float64{3}), sketchOf(g, []float64{math.NaN()})
	f := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrOverflow) || !full.Equal(before) || !bytes.Equal(encoded(t, full), encoded(t, before)) {
			t.Errorf("%s: %v, then there is %v", what, err, full)
		}
	}
	f("AddN", full.AddN(2, 1))
	f("AddN of the most there is", full.AddN(2, math.MaxUint64))
	f("AddN of NaN", full.AddN(math.NaN(), 1))
	f("AddBucket", full.AddBucket(0, 1))
	f("Merge", full.Merge(one))
	f("Merge of NaN", full.Merge(nan))
	f("AddCounts", full.AddCounts(one.AppendCounts(nil)))
	f("AddCounts of NaN", full.AddCounts(nan.AppendCounts(nil)))
	_, err := MergeCounts(full.AppendCounts(nil), one.AppendCounts(nil)) // in different buckets: the total counts
	f("MergeCounts", err)
	_, err = MergeCounts(full.AppendCounts(nil), nan.AppendCounts(nil))
	f("MergeCounts of NaN", err)
	again, err := FromProto(full.Proto())
	if err != nil || !again.Equal(full) {
		t.Errorf("the fullest sketch comes back as %v, %v", again, err)
	}
	other := sketchOf(g, []float64{1, 5})
	untouched := other.Clone()
	if err := other.Subtract(sketchOf(g, []float64{1, math.NaN()})); !errors.Is(err, ErrNotThere) || !other.Equal(untouched) {
		t.Errorf("NaN that is not there is subtracted: %v, then there is %v", err, other)
	}
}

func TestMergedCountsAreThoseOfTheMergedSketch(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, g := range testGrids(t) {
		want := NewBinned(g)
		var all [][]byte
		for range random.IntN(6) {
			b := sketchOf(g, values(random, random.IntN(100)))
			if err := want.Merge(b); err != nil {
				t.Fatal(err)
			}
			all = append(all, b.AppendCounts(nil))
		}
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		got, err := MergeCounts(all...)
		if err != nil || !bytes.Equal(got, want.AppendCounts(nil)) {
			t.Errorf("seed %d: %v: %d operands make %x, %v, want %x", seed, g, len(all), got, err, want.AppendCounts(nil))
		}
		if prefixed := want.AppendCounts([]byte("prefix")); string(prefixed) != "prefix"+string(got) {
			t.Errorf("AppendCounts does not append: %x", prefixed)
		}
	}
}

func TestHostileCountsAreRefusedAndSayWhere(t *testing.T) {
	g, err := NewLinear(0, 10, 1000)
	if err != nil {
		t.Fatal(err)
	}
	// stream says that so many buckets are filled, and writes pairs of a gap and a count.
	stream := func(nan, filled uint64, pairs ...uint64) []byte {
		w := bitWriter{dst: binary.AppendUvarint(binary.AppendUvarint([]byte{countsVersion}, nan), filled)}
		var d differences
		for ; len(pairs) > 0; pairs = pairs[2:] {
			w.count(&d, pairs[0], pairs[1])
		}
		return w.finish()
	}
	f := func(data []byte, on bool, want string) {
		t.Helper()
		b := sketchOf(g, []float64{4})
		before := b.Clone()
		if err := b.AddCounts(data); err == nil || !contains(err.Error(), want) || !b.Equal(before) {
			t.Errorf("AddCounts of %x: %v, want %q; then there is %v", data, err, want, b)
		}
		if merged, err := MergeCounts(b.AppendCounts(nil), data); (err == nil) == on {
			t.Errorf("MergeCounts of %x: %x, %v", data, merged, err)
		}
	}
	f(nil, true, "no bytes")
	f([]byte{0, 0}, true, "version 0 at byte 0")
	f([]byte{2, 0}, true, "version 2 at byte 0")
	f([]byte{countsVersion}, true, "byte 1")
	f(stream(1<<63, 0), true, "NaN count 9223372036854775808 at byte 1")
	f([]byte{countsVersion, 0}, true, "byte 2 is damaged or cut off")
	f([]byte{countsVersion, 0x80, 0, 0}, true, "byte 1 is damaged") // a longer 0
	f(stream(0, 3), true, "3 buckets at byte 2 in 0 bytes")
	f(stream(0, math.MaxUint64, 0, 1), true, "18446744073709551615 buckets at byte 2")
	f(stream(0, 1, 5, 0), true, "the count at byte 3 is 0")
	f(stream(0, 2, 5, 7, 1, 0), true, "the count at byte 5 is 0")
	f(stream(0, 2, 5, 7), true, "cut off at byte 6")
	f(stream(0, 1, 5, 7, 5, 7), true, "the counts end at byte 5 of 7")
	f(append(stream(0, 1, 5, 7), 0), true, "the counts end at byte 5 of 7")
	f([]byte{countsVersion, 0, 1, 0, 0, 0, 0, 1}, true, "a gap of 2^32 buckets or more at byte 3")
	f(stream(0, 1, MaxBuckets-1, 1), false, "1002")        // on a smaller grid than others
	f(stream(0, 2, MaxBuckets-1, 1, 0, 1), true, "1002")   // on no grid
	f(stream(0, 1, 1002, 1), false, "gap of 1002")         // one bucket too far
	f(stream(0, 2, 1001, 1, 0, 1), false, "leaves a grid") // the last bucket, and one more
	f(stream(0, 1, 0, math.MaxUint64), true, "the count at byte 3 is 18446744073709551615")
	f(stream(0, 2, 0, maxCount, 0, 1), true, "2^63-1")
	f(append(stream(0, 1), bytes.Repeat([]byte{0xff}, 10)...), true, "byte 3 is longer than it need be")
	f(append(stream(0, 1), 0b1000_0111), true, "the last byte, 3, is not filled with zeros")
}

func TestHostileMessagesSayWhatAndWhere(t *testing.T) {
	grid := testGrids(t)[7].Proto() // three bins: five buckets
	f := func(gaps []uint32, counts []uint64, want ...string) {
		t.Helper()
		b, err := FromProto(&quietilev1.Sketch{Grid: grid, Gaps: gaps, Counts: counts})
		if err == nil {
			t.Fatalf("gaps %v and counts %v make %v", gaps, counts, b)
		}
		for _, w := range want {
			if !contains(err.Error(), w) {
				t.Errorf("gaps %v, counts %v: %v, want an error with %q", gaps, counts, err, w)
			}
		}
	}
	f([]uint32{5}, []uint64{1}, "count 0", "gap of 5", "grid with 5")
	f([]uint32{4, 0}, []uint64{1, 1}, "count 1", "gap of 0", "bucket 5")
	f([]uint32{0, math.MaxUint32}, []uint64{1, 1}, "count 1", "gap of 4294967295")
	f([]uint32{0, 0, 0, 0, 0, 0}, []uint64{1, 1, 1, 1, 1, 1}, "count 5")
	f([]uint32{1}, []uint64{0}, "count 0", "bucket 1 has the count 0")
	f([]uint32{1}, nil, "1 gaps for 0 counts")
	f(nil, []uint64{1}, "0 gaps for 1 counts")
	f([]uint32{0, 0}, []uint64{maxCount, 1}, "count 1", "2^63-1")
	f([]uint32{0, 0}, []uint64{math.MaxUint64, 1}, "count 0", "2^63-1")
}

func TestFewBytesTakeLittleMemory(t *testing.T) {
	memory := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	g, err := NewLinear(0, 1, MaxBuckets-2)
	if err != nil {
		t.Fatal(err)
	}
	b := NewBinned(g)
	data := sketchOf(g, []float64{-1, 2}).AppendCounts(nil)
	// A block for each of the two, once to read and once to keep.
	if n := memory(func() { err = b.AddCounts(data) }); err != nil || n > 1<<13 {
		t.Errorf("%d bytes of counts take %d bytes of memory, %v", len(data), n, err)
	}
	huge := &quietilev1.Sketch{Grid: &quietilev1.Grid{Kind: &quietilev1.Grid_Linear{
		Linear: &quietilev1.LinearGrid{Upper: 1, Bins: math.MaxUint32},
	}}}
	if n := memory(func() { _, err = FromProto(huge) }); err == nil || n > 1<<14 {
		t.Errorf("a grid that is refused takes %d bytes of memory, %v", n, err)
	}
}

func TestQuantilesAtTheEnds(t *testing.T) {
	f := func(grid string, xs []float64, q, want float64) {
		t.Helper()
		g, err := ParseGrid(grid)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := sketchOf(g, xs).Quantile(q); err != nil || got != want {
			t.Errorf("%s: quantile %v of %v is %v, %v, want %v", grid, q, xs, got, err, want)
		}
	}
	inf := math.Inf(1)
	f("exponential:scale=0", []float64{3}, 0, 3)
	f("exponential:scale=0", []float64{3}, 1, 3)
	f("exponential:scale=0", []float64{-3}, 0, -3)
	f("exponential:scale=0", []float64{3, 3}, 0, 2.5)
	f("exponential:scale=0", []float64{3, 3}, 1, 3.5)
	f("exponential:scale=0", []float64{-1, 0, 0, 0, 1}, 0.5, 0)
	f("exponential:scale=0", []float64{inf}, 0.5, math.MaxFloat64)
	f("exponential:scale=0", []float64{-inf}, 0.5, -math.MaxFloat64)
	f("linear:lower=0,upper=10,bins=10", []float64{-5}, 0.5, 0)
	f("linear:lower=0,upper=10,bins=10", []float64{10}, 0.5, 10)
	f("linear:lower=0,upper=10,bins=10", []float64{3, 3}, 0.5, 3)
	f("linear:lower=0,upper=10,bins=20", []float64{3, 3}, 0.5, 3.125)
	f("linear:lower=0.5,upper=10.5,bins=10", []float64{3}, 0.5, 3)
	f("explicit:5", []float64{1, 9}, 0.5, 5)
	f("explicit:-0x1p1023,0x1p1023", []float64{0, 0, 0}, 0.5, 0) // the width is no float64
	f("explicit:-0x1p1023,0x1p1023", []float64{0, 0}, 0.75, 0x1p1022)
}

func TestRanksCountTheBucketsBelow(t *testing.T) {
	f := func(grid string, xs []float64, x, want float64) {
		t.Helper()
		g, err := ParseGrid(grid)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := sketchOf(g, xs).Rank(x); err != nil || got != want {
			t.Errorf("%s: the rank of %v in %v is %v, %v, want %v", grid, x, xs, got, err, want)
		}
	}
	inf := math.Inf(1)
	f("exponential:scale=0", []float64{1, 2, 4, 8}, 4, 0.75)
	f("exponential:scale=0", []float64{-1, 0, 0, 1}, 0, 0.75)
	f("exponential:scale=0", []float64{-1, 0, 0, 1}, -0.1, 0.25)
	f("exponential:scale=0", []float64{-inf, inf}, 0, 0.5)
	f("linear:lower=0,upper=10,bins=10", []float64{0, 1, 2, 3}, 2, 0.75)
	f("linear:lower=0,upper=10,bins=20", []float64{0, 1, 2, 3}, 2, 0.5)
	f("linear:lower=0,upper=10,bins=10", []float64{0, 1, 2, 3}, inf, 1)
	f("linear:lower=0,upper=10,bins=10", []float64{0, 1, 2, 3}, -inf, 0)
	f("linear:lower=0,upper=10,bins=10", []float64{-1, 1, 1, 1}, 0, 0.25)
	f("explicit:-0x1p1023,0x1p1023", []float64{0, 0}, 0, 0.5) // the width is no float64
	f("explicit:-0x1p1023,0x1p1023", []float64{0, 0}, 0x1p1022, 0.75)
}

func TestRanksAndSharesAscend(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, g := range testGrids(t) {
		data := slices.DeleteFunc(values(random, 300), func(x float64) bool { return x != x })
		b := sketchOf(g, data)
		xs := slices.DeleteFunc(awkward(g, random), func(x float64) bool { return x != x })
		slices.Sort(xs)
		xs = slices.Compact(xs)
		ranks, err := b.CDF(xs)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSorted(ranks) || ranks[0] < 0 || ranks[len(ranks)-1] != 1 {
			t.Errorf("seed %d: %v: the ranks of ascending values do not ascend from 0 to 1", seed, g)
		}
		shares, err := b.PMF(xs)
		if err != nil || slices.Min(shares) < 0 || len(shares) != len(xs)+1 {
			t.Errorf("seed %d: %v: %d shares of %d splits, the least is %v, %v", seed, g, len(shares), len(xs), slices.Min(shares), err)
		}
		qs := make([]float64, 500)
		for i := range qs {
			qs[i] = random.Float64()
		}
		slices.Sort(qs)
		quantiles, err := b.Quantiles(qs)
		if err != nil || !slices.IsSorted(quantiles) {
			t.Errorf("seed %d: %v: the quantiles do not ascend, %v", seed, g, err)
		}
		slices.Reverse(qs)
		slices.Reverse(quantiles)
		if reversed, err := b.Quantiles(qs); err != nil || !slices.Equal(reversed, quantiles) {
			t.Errorf("seed %d: %v: quantiles depend on the order they are asked in, %v", seed, g, err)
		}
	}
}

func TestWrongQuestionsNameTheValue(t *testing.T) {
	b := sketchOf(testGrids(t)[6], []float64{1})
	f := func(err error, want string) {
		t.Helper()
		if err == nil || !contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	_, err := b.Quantiles([]float64{0.5, 1.5})
	f(err, "1.5")
	_, err = b.Quantile(math.NaN())
	f(err, "NaN")
	_, err = b.CDF([]float64{1, math.NaN()})
	f(err, "value 1 is NaN")
	_, err = b.PMF([]float64{2, 2})
	f(err, "split 1, 2,")
	_, err = b.PMF([]float64{math.NaN()})
	f(err, "NaN")
	b.Reset()
	for _, ask := range []func() error{
		func() error { _, err := b.Quantiles(nil); return err },
		func() error { _, err := b.CDF([]float64{1}); return err },
		func() error { _, err := b.PMF(nil); return err },
	} {
		if err := ask(); !errors.Is(err, ErrEmpty) {
			t.Errorf("an empty sketch answers %v", err)
		}
	}
}
