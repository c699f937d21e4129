package sketch

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

func TestKeysHaveTheOrderOfValues(t *testing.T) {
	xs := []float64{
		math.Inf(-1), -math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, math.Copysign(0, -1),
		0, math.SmallestNonzeroFloat64, 1, math.MaxFloat64, math.Inf(1),
	}
	for i, x := range xs {
		if got := value(order(x)); math.Float64bits(got) != math.Float64bits(x) {
			t.Errorf("%v came back as %v", x, got)
		}
		if i > 0 && order(xs[i-1]) >= order(x) {
			t.Errorf("the key of %v is not less than that of %v", xs[i-1], x)
		}
	}
	if order(math.Inf(1)) == math.MaxInt64 {
		t.Error("infinity has the key that fills runs")
	}
}

// A network that sorts all zeros and ones sorts everything.
func TestTheNetworkSortsEveryPatternOfZerosAndOnes(t *testing.T) {
	for pattern := range 1 << 8 {
		var keys [8]int64
		for i := range keys {
			keys[i] = int64(pattern >> i & 1)
		}
		sort8(&keys)
		if !slices.IsSorted(keys[:]) {
			t.Errorf("%08b became %v", pattern, keys)
		}
	}
}

func TestKeysAreSortedAndMerged(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 8))
	for n := range 100 {
		for range 50 {
			keys := make([]int64, n)
			for i := range keys {
				keys[i] = int64(r.IntN(1 + r.IntN(200)))
			}
			want := slices.Sorted(slices.Values(keys))
			sorted := slices.Clone(keys)
			sortKeys(sorted)
			at := 0
			if n > 0 {
				at = r.IntN(n + 1)
			}
			slices.Sort(keys[:at])
			slices.Sort(keys[at:])
			merged := make([]int64, n)
			mergeKeys(merged, keys[:at], keys[at:])
			down := make([]int64, n)
			copy(down[at:], keys[at:])
			mergeDown(down, keys[:at])
			if !slices.Equal(sorted, want) || !slices.Equal(merged, want) || !slices.Equal(down, want) {
				t.Fatalf("seed %d: %v became %v, %v and %v", seed, keys, sorted, merged, down)
			}
		}
	}
}

func TestCoinsAreFairAndOppositeInPairs(t *testing.T) {
	seed := rand.Uint64()
	c := coins{state: seed}
	const n = 100000
	heads := [2][3]int{}
	var last uint64
	for i := range 2 * n {
		for level, side := range []int{0, 1, 62} {
			coin := c.flip(side)
			heads[i%2][level] += int(coin)
			if level == 0 {
				if i%2 == 1 && coin == last {
					t.Fatalf("seed %d: coin %d is as the one before", seed, i)
				}
				last = coin
			}
		}
	}
	for _, level := range heads[0] {
		if math.Abs(float64(level)-n/2) > 6*math.Sqrt(n)/2 {
			t.Errorf("seed %d: %d of %d coins are 1", seed, level, n)
		}
	}
}

func TestEqualSeedsGiveEqualSketchesHoweverValuesCome(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 9))
	xs := make([]float64, 50000)
	for i := range xs {
		xs[i] = r.NormFloat64()
		if r.IntN(100) == 0 {
			xs[i] = math.NaN()
		}
	}
	for _, k := range []int{8, 11, 200, 3000} {
		single, batch, weighted, other := newKLL(t, k, seed), newKLL(t, k, seed), newKLL(t, k, seed), newKLL(t, k, seed+1)
		for _, x := range xs {
			single.Add(x)
			other.Add(x)
			if err := weighted.AddN(x, 1); err != nil {
				t.Fatal(err)
			}
		}
		for rest := xs; len(rest) > 0; {
			n := min(len(rest), r.IntN(300))
			batch.AddBatch(rest[:n])
			rest = rest[n:]
		}
		for name, s := range map[string]*KLL{"a batch": batch, "weights of one": weighted} {
			checkKLL(t, s)
			if !s.Equal(single) || !bytes.Equal(bytesOf(t, s), bytesOf(t, single)) || s.coins != single.coins {
				t.Errorf("seed %d, k %d: %s gives %v, not %v", seed, k, name, s, single)
			}
		}
		if other.Equal(single) || other.Count() != single.Count() || other.NaNCount() != single.NaNCount() {
			t.Errorf("seed %d, k %d: another seed gives %v, not %v", seed, k, other, single)
		}
	}
}

func TestASketchThatIsNotFullIsExact(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 10))
	for _, n := range []int{1, 2, 50, 200} {
		s := newKLL(t, 200, seed)
		xs := make([]float64, n)
		for i := range xs {
			xs[i] = math.Floor(r.NormFloat64() * 30)
			s.Add(xs[i])
		}
		slices.Sort(xs)
		if s.RankError() != 0 || s.RankErrorPMF() != 0 || s.Retained() != n {
			t.Errorf("%v has an error of %v", s, s.RankError())
		}
		for i := range 101 {
			q := float64(i) / 100
			want := xs[rank(q, uint64(n))-1]
			got, err := s.Quantile(q)
			lower, upper, boundsErr := s.QuantileBounds(q)
			if err != nil || boundsErr != nil || got != want || lower != want || upper != want {
				t.Fatalf("seed %d, %d values: quantile %v is %v, from %v to %v, not %v: %v, %v", seed, n, q, got, lower, upper, want, err, boundsErr)
			}
			share, err := s.Rank(want)
			if err != nil || share != shareOf(xs, want) {
				t.Fatalf("seed %d, %d values: the rank of %v is %v, not %v: %v", seed, n, want, share, shareOf(xs, want), err)
			}
		}
	}
}

func TestWeightsAreExactUntilTheSketchIsFull(t *testing.T) {
	s := newKLL(t, 200, 1)
	weights := map[float64]uint64{1: 1<<62 + 12345, 2: 1, 3: 7 << 40, 4: 0, 5: 1 << 20}
	var total uint64
	for x, n := range weights {
		if err := s.AddN(x, n); err != nil {
			t.Fatal(err)
		}
		total += n
		checkKLL(t, s)
	}
	if s.Count() != total {
		t.Errorf("%d of %d", s.Count(), total)
	}
	var below uint64
	for x := 1.0; x <= 4; x++ {
		below += weights[x]
		if got, err := s.Rank(x); err != nil || got != float64(below)/float64(total) {
			t.Errorf("the rank of %v is %v, not %v: %v", x, got, float64(below)/float64(total), err)
		}
	}
	if low, _ := s.Min(); low != 1 {
		t.Errorf("smallest value %v", low)
	}
	if high, _ := s.Max(); high != 5 {
		t.Errorf("largest value %v", high)
	}
}

func TestDataSketchesReadsHeavyWeights(t *testing.T) {
	s := newKLL(t, 200, 1)
	for i := range 1000 {
		// DataSketches for Go v0.2.0 counts the bytes of the levels in eight bits, so that it cannot read more than 58.
		if err := s.AddN(float64(i), uint64(i)<<40|1<<46>>(i%47)); err != nil {
			t.Fatal(err)
		}
	}
	checkKLL(t, s)
	sameAsPeer(t, "weights", s, readPeer(t, bytesOf(t, s)))
}

func TestInfinitiesAreValuesZerosAreEqualAndNaNIsApart(t *testing.T) {
	s := newKLL(t, 8, 1)
	for _, x := range []float64{math.Inf(1), math.Copysign(0, -1), math.NaN(), 0, math.Inf(-1), math.NaN(), 1} {
		s.Add(x)
	}
	if err := s.AddN(math.NaN(), 40); err != nil {
		t.Fatal(err)
	}
	if s.Count() != 5 || s.NaNCount() != 42 {
		t.Errorf("%v", s)
	}
	low, _ := s.Min()
	high, _ := s.Max()
	if !math.IsInf(low, -1) || !math.IsInf(high, 1) {
		t.Errorf("from %v to %v", low, high)
	}
	for _, zero := range []float64{0, math.Copysign(0, -1)} {
		if got, err := s.Rank(zero); err != nil || got != 3.0/5 {
			t.Errorf("the rank of %v is %v: %v", zero, got, err)
		}
	}
	again := readKLLOrFail(t, bytesOf(t, s))
	if again.NaNCount() != 0 || again.Count() != 5 {
		t.Errorf("%v came back as %v", s, again)
	}
}

func TestAnEmptySketchHasNoAnswersAndBadQuestionsAreNamed(t *testing.T) {
	s := newKLL(t, 8, 1)
	full := newKLL(t, 8, 1)
	full.Add(1)
	g, _ := NewLinear(0, 10, 10)
	b := NewBinned(g)
	b.Add(1)
	for name, f := range map[string]func(s *KLL) error{
		"Min":            func(s *KLL) error { _, err := s.Min(); return err },
		"Max":            func(s *KLL) error { _, err := s.Max(); return err },
		"Quantile":       func(s *KLL) error { _, err := s.Quantile(0.5); return err },
		"Quantiles":      func(s *KLL) error { _, err := s.Quantiles([]float64{0.5}); return err },
		"QuantileBounds": func(s *KLL) error { _, _, err := s.QuantileBounds(0.5); return err },
		"Rank":           func(s *KLL) error { _, err := s.Rank(1); return err },
		"CDF":            func(s *KLL) error { _, err := s.CDF([]float64{1}); return err },
		"PMF":            func(s *KLL) error { _, err := s.PMF([]float64{1}); return err },
	} {
		for _, s := range []*KLL{s, new(KLL)} {
			if err := f(s); !errors.Is(err, ErrEmpty) {
				t.Errorf("%s of an empty sketch: %v", name, err)
			}
		}
		if err := f(full); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The errors are those of a binned sketch.
	same := func(got, want error) {
		t.Helper()
		if got == nil || want == nil || got.Error() != want.Error() {
			t.Errorf("%v, not %v", got, want)
		}
	}
	for _, q := range []float64{-0.1, 1.1, math.NaN()} {
		_, want := b.Quantile(q)
		_, err := full.Quantile(q)
		same(err, want)
		_, err = full.Quantiles([]float64{0, q})
		same(err, want)
		_, _, err = full.QuantileBounds(q)
		same(err, want)
	}
	_, want := b.Rank(math.NaN())
	_, err := full.Rank(math.NaN())
	same(err, want)
	_, want = b.CDF([]float64{1, math.NaN()})
	_, err = full.CDF([]float64{1, math.NaN()})
	same(err, want)
	_, want = b.PMF([]float64{2, 1})
	_, err = full.PMF([]float64{2, 1})
	same(err, want)
	for _, k := range []int{-1, 0, 7, 65536} {
		if _, err := NewKLL(k, 0); err == nil {
			t.Errorf("k %d is taken", k)
		}
	}
}

func TestTooManyValuesAreRefusedAndNothingChanges(t *testing.T) {
	most := newKLL(t, 20, 1)
	if err := most.AddN(1, math.MaxInt64-1); err != nil {
		t.Fatal(err)
	}
	if err := most.AddN(math.NaN(), math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	before := most.Clone()
	one, two, nan := newKLL(t, 20, 2), newKLL(t, 20, 3), newKLL(t, 20, 4)
	one.Add(5)
	two.Add(6)
	nan.Add(math.NaN())
	for name, f := range map[string]func() error{
		"a weight of 2":      func() error { return most.AddN(2, 2) },
		"a weight of 2^64−1": func() error { return most.AddN(2, math.MaxUint64) },
		"one NaN":            func() error { return most.AddN(math.NaN(), 1) },
		"two sketches":       func() error { return most.Merge(one, two) },
		"itself":             func() error { return most.Merge(most) },
		"a sketch of NaN":    func() error { return most.Merge(nan) },
	} {
		if err := f(); !errors.Is(err, ErrOverflow) || !most.Equal(before) || most.coins != before.coins {
			t.Errorf("%s: %v, %v", name, most, err)
		}
	}
	if err := most.Merge(one); err != nil || most.Count() != math.MaxInt64 {
		t.Errorf("%v: %v", most, err)
	}
	checkKLL(t, most)
	if again, err := KLLFromProto(most.Proto()); err != nil || !again.Equal(most) {
		t.Errorf("%v came back as %v: %v", most, again, err)
	}
	for range 1000 {
		most.Add(3)
	}
	checkKLL(t, most)
	if _, err := most.MarshalBinary(); !errors.Is(err, ErrOverflow) {
		t.Errorf("%v is written: %v", most, err)
	}
	if _, err := KLLFromProto(most.Proto()); err == nil {
		t.Errorf("%v is read", most)
	}
}

func TestMergeLeavesTheOthersAsTheyAreAndKeepsCountsAndEnds(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 11))
	for range 200 {
		to := newKLL(t, 8+r.IntN(100), r.Uint64())
		for range r.IntN(3000) {
			to.Add(r.NormFloat64())
		}
		count, nan := to.Count(), to.NaNCount()
		low, high := math.Inf(1), math.Inf(-1)
		others := make([]*KLL, r.IntN(5), 6)
		for i := range others {
			others[i] = newKLL(t, 8+r.IntN(100), r.Uint64())
			for range r.IntN(1 + r.IntN(5000)) {
				others[i].Add(10 * r.NormFloat64())
			}
			others[i].Add(math.NaN())
		}
		if r.IntN(2) == 0 {
			others = append(others, to)
		}
		var before []*KLL
		smallest := to.minK
		for _, o := range append(slices.Clone(others), to) {
			if v, err := o.Min(); err == nil {
				low = min(low, v)
			}
			if v, err := o.Max(); err == nil {
				high = max(high, v)
			}
		}
		for _, o := range others {
			before = append(before, o.Clone())
			count += o.Count()
			nan += o.NaNCount()
			if o.RankError() > 0 {
				smallest = min(smallest, o.K())
			}
		}
		k := to.K()
		bound := newKLL(t, smallest, 0)
		bound.raise(2)
		if err := to.Merge(others...); err != nil {
			t.Fatal(err)
		}
		checkKLL(t, to)
		for i, o := range others {
			if o != to && (!o.Equal(before[i]) || o.coins != before[i].coins || !bytes.Equal(bytesOf(t, o), bytesOf(t, before[i]))) {
				t.Fatalf("seed %d: %v became %v", seed, before[i], o)
			}
		}
		if to.Count() != count || to.NaNCount() != nan || to.K() != k || to.minK != smallest ||
			to.height > 1 && (to.RankError() != bound.RankError() || to.RankErrorPMF() != bound.RankErrorPMF()) {
			t.Fatalf("seed %d: %v with error %v, not %d values, %d NaN, k %d, smallest k %d", seed, to, to.RankError(), count, nan, k, smallest)
		}
		if count == 0 {
			continue
		}
		gotLow, _ := to.Min()
		gotHigh, _ := to.Max()
		if gotLow != low || gotHigh != high {
			t.Fatalf("seed %d: from %v to %v, not %v to %v", seed, gotLow, gotHigh, low, high)
		}
	}
}

func TestACloneOfAKLLIsApartAndResetKeepsOnlyK(t *testing.T) {
	s := newKLL(t, 20, 1)
	for i := range 1000 {
		s.Add(float64(i))
	}
	s.Add(math.NaN())
	before := bytesOf(t, s)
	c := s.Clone()
	if !c.Equal(s) || !bytes.Equal(bytesOf(t, c), before) {
		t.Fatalf("%v is not %v", c, s)
	}
	for i := range 1000 {
		c.Add(float64(i))
	}
	if !bytes.Equal(bytesOf(t, s), before) || c.Equal(s) {
		t.Errorf("the clone changed %v", s)
	}
	if _, err := c.Quantile(0.5); err != nil {
		t.Fatal(err)
	}
	c.Reset()
	checkKLL(t, c)
	if !c.Equal(newKLL(t, 20, 1)) || c.Count() != 0 || c.NaNCount() != 0 {
		t.Errorf("after Reset there is %v", c)
	}
	c.Add(7)
	if v, err := c.Quantile(0.5); err != nil || v != 7 {
		t.Errorf("after Reset the median of 7 is %v: %v", v, err)
	}
	other := newKLL(t, 20, 1)
	other.Add(8)
	if c.Equal(other) || other.Equal(c) {
		t.Error("7 is equal to 8")
	}
	if got, want := s.String(), fmt.Sprintf("kll(20): 1000 values, %d kept, height %d, 1 NaN", s.Retained(), s.height); got != want {
		t.Errorf("printed as %q, not %q", got, want)
	}
}

func TestAnswersFollowEveryChange(t *testing.T) {
	s := newKLL(t, 20, 1)
	o := newKLL(t, 20, 2)
	o.Add(1000)
	data := bytesOf(t, o)
	largest := func(want float64) {
		t.Helper()
		if v, err := s.Quantile(1); err != nil || v != want {
			t.Errorf("the largest value is %v, not %v: %v", v, want, err)
		}
		if v, err := s.Rank(want - 0.5); err != nil || v == 1 {
			t.Errorf("the rank below %v is %v: %v", want, v, err)
		}
	}
	s.Add(1)
	largest(1)
	s.Add(2)
	largest(2)
	s.AddBatch([]float64{3})
	largest(3)
	if err := s.AddN(4, 1); err != nil {
		t.Fatal(err)
	}
	largest(4)
	if err := s.AddN(5, 2); err != nil {
		t.Fatal(err)
	}
	largest(5)
	if err := s.Merge(o); err != nil {
		t.Fatal(err)
	}
	largest(1000)
	heavy := newKLL(t, 20, 3)
	if err := heavy.AddN(2000, 2); err != nil { // none of them in level 0
		t.Fatal(err)
	}
	if err := s.Merge(heavy); err != nil {
		t.Fatal(err)
	}
	largest(2000)
	s.Reset()
	s.Add(1)
	if v, err := s.Quantile(1); err != nil || v != 1 {
		t.Errorf("the largest value is %v: %v", v, err)
	}
	if err := s.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Quantile(0); err != nil || v != 1000 {
		t.Errorf("the smallest value is %v: %v", v, err)
	}
}

func TestTheEndsAreExactThoughTheirItemsAreLost(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 13))
	lost := 0
	for range 100 {
		s := newKLL(t, 8, r.Uint64())
		for _, i := range r.Perm(1000) {
			s.Add(float64(i))
		}
		ends, err := s.Quantiles([]float64{0, 1})
		if err != nil || ends[0] != 0 || ends[1] != 999 {
			t.Fatalf("seed %d: from %v: %v", seed, ends, err)
		}
		if first, err := s.Rank(0); err != nil || first <= 0 {
			t.Fatalf("seed %d: the rank of the smallest value is %v: %v", seed, first, err)
		}
		if last, err := s.Rank(998.5); err != nil || last >= 1 {
			t.Fatalf("seed %d: the rank below the largest value is %v: %v", seed, last, err)
		}
		if !slices.Contains(s.items[s.levels[0]:], order(0)) {
			lost++
		}
	}
	if lost == 0 {
		t.Errorf("seed %d: the smallest value was never lost", seed)
	}
}

func TestManyMayAskAtOnce(t *testing.T) {
	s := newKLL(t, 20, 1)
	for i := range 1000 {
		s.Add(float64(i))
	}
	var all sync.WaitGroup
	answers := make([]float64, 8)
	for i := range answers {
		all.Go(func() { answers[i], _ = s.Quantile(0.5) })
	}
	all.Wait()
	for _, v := range answers {
		if v != answers[0] {
			t.Errorf("answers %v", answers)
		}
	}
}

func TestNothingIsAllocatedAfterWarmUp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 12))
	s := newKLL(t, DefaultK, 1)
	xs := make([]float64, 1<<20)
	for i := range xs {
		xs[i] = r.NormFloat64()
	}
	for _, x := range xs {
		s.Add(x)
	}
	if n := testing.AllocsPerRun(20, func() { s.AddBatch(xs[:10000]) }); n > 0 {
		t.Errorf("AddBatch: %v allocations", n)
	}
	if n := testing.AllocsPerRun(20, func() {
		for _, x := range xs[:10000] {
			s.Add(x)
		}
	}); n > 0 {
		t.Errorf("Add: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := s.AddN(xs[0], 5); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("AddN: %v allocations", n)
	}
	o := newKLL(t, DefaultK, 2)
	o.AddBatch(xs[:5000])
	if err := s.Merge(o, o); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(20, func() {
		if err := s.Merge(o); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("Merge: %v allocations", n)
	}
	if _, err := s.Quantile(0.5); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(20, func() {
		if _, err := s.Quantile(0.95); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("Quantile: %v allocations", n)
	}
}

func BenchmarkKLLAdd(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	xs := make([]float64, 1<<16)
	for i := range xs {
		xs[i] = math.Exp(r.NormFloat64())
	}
	b.Run("single", func(b *testing.B) {
		s := newKLL(b, DefaultK, 1)
		for i := range 1 << 20 {
			s.Add(xs[i%len(xs)])
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			s.Add(xs[i%len(xs)])
		}
	})
	b.Run("batch", func(b *testing.B) {
		s := newKLL(b, DefaultK, 1)
		for range 16 {
			s.AddBatch(xs)
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i += 1024 {
			s.AddBatch(xs[i%len(xs):][:1024])
		}
	})
}

func BenchmarkKLLMerge(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 3))
	from, to := newKLL(b, DefaultK, 1), newKLL(b, DefaultK, 2)
	for range 100000 {
		from.Add(math.Exp(r.NormFloat64()))
		to.Add(math.Exp(r.NormFloat64()))
	}
	b.ReportAllocs()
	for range b.N {
		if err := to.Merge(from); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKLLQuantileAfterAdd(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 4))
	s := newKLL(b, DefaultK, 1)
	for range 100000 {
		s.Add(math.Exp(r.NormFloat64()))
	}
	b.ReportAllocs()
	for range b.N {
		s.Add(1)
		if _, err := s.Quantile(0.95); err != nil {
			b.Fatal(err)
		}
	}
}
