package sketch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/datasketches-go/common"
	"github.com/apache/datasketches-go/kll"
	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

type peer = kll.ItemsSketch[float64]

func newPeer(t testing.TB, k int) *peer {
	t.Helper()
	p, err := kll.NewKllItemsSketch[float64](uint16(k), 8, common.ItemSketchDoubleComparator(false), common.ItemSketchDoubleSerDe{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func readPeer(t testing.TB, data []byte) *peer {
	t.Helper()
	p, err := kll.NewKllItemsSketchFromSlice[float64](data, common.ItemSketchDoubleComparator(false), common.ItemSketchDoubleSerDe{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func bytesOfPeer(t testing.TB, p *peer) []byte {
	t.Helper()
	data, err := p.ToSlice()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func newKLL(t testing.TB, k int, seed uint64) *KLL {
	t.Helper()
	s, err := NewKLL(k, seed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func bytesOf(t testing.TB, s *KLL) []byte {
	t.Helper()
	data, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readKLLOrFail(t testing.TB, data []byte) *KLL {
	t.Helper()
	s := new(KLL)
	if err := s.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	return s
}

// sameAsPeer fails unless both answer alike.
func sameAsPeer(t testing.TB, name string, s *KLL, p *peer) {
	t.Helper()
	if s.Count() != p.GetN() || s.Retained() != int(p.GetNumRetained()) || s.K() != int(p.GetK()) {
		t.Fatalf("%s: %v, but DataSketches has %d values, %d of them kept, k %d", name, s, p.GetN(), p.GetNumRetained(), p.GetK())
	}
	if s.Count() == 0 {
		if _, err := s.Min(); !errors.Is(err, ErrEmpty) {
			t.Fatalf("%s: the smallest value of none: %v", name, err)
		}
		return
	}
	low, _ := s.Min()
	high, _ := s.Max()
	peerLow, _ := p.GetMinItem()
	peerHigh, _ := p.GetMaxItem()
	if low != peerLow || high != peerHigh {
		t.Fatalf("%s: from %v to %v, but DataSketches has %v to %v", name, low, high, peerLow, peerHigh)
	}
	if p.IsEstimationMode() && (s.RankError() != p.GetNormalizedRankError(false) || s.RankErrorPMF() != p.GetNormalizedRankError(true)) {
		t.Fatalf("%s: rank errors %v and %v, but DataSketches has %v and %v", name, s.RankError(), s.RankErrorPMF(), p.GetNormalizedRankError(false), p.GetNormalizedRankError(true))
	}
	n := float64(s.Count())
	for i := 1; i < 128; i++ {
		q := float64(i) / 128
		if r := math.Ceil(q * n); r <= 1 || r >= n {
			continue // exact here, and not there
		}
		got, err := s.Quantile(q)
		want, peerErr := p.GetQuantile(q, true)
		if err != nil || peerErr != nil || got != want {
			t.Fatalf("%s: quantile %v is %v (%v), but DataSketches has %v (%v)", name, q, got, err, want, peerErr)
		}
		rank, err := s.Rank(got)
		share, peerErr := p.GetRank(got, true)
		if err != nil || peerErr != nil || math.Abs(rank-share) > 1.001/n {
			t.Fatalf("%s: rank of %v is %v (%v), but DataSketches has %v (%v)", name, got, rank, err, share, peerErr)
		}
	}
}

func TestPublishedSketchesAreReadAndWrittenToTheByte(t *testing.T) {
	files, err := filepath.Glob("testdata/datasketches/*.sk")
	if err != nil || len(files) != 24 {
		t.Fatalf("%d published sketches: %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var n uint64
		if _, err := fmt.Sscanf(filepath.Base(file), "kll_double_n%d_", &n); err != nil {
			t.Fatal(err)
		}
		s := readKLLOrFail(t, data)
		if s.Count() != n || s.K() != 200 || !bytes.Equal(bytesOf(t, s), data) {
			t.Errorf("%s: %v", file, s)
		}
		sameAsPeer(t, file, s, readPeer(t, data))
		if n == 0 {
			continue
		}
		if low, _ := s.Min(); low != 1 {
			t.Errorf("%s: smallest value %v", file, low)
		}
		if high, _ := s.Max(); high != float64(n) {
			t.Errorf("%s: largest value %v", file, high)
		}
		for q := 0.0; q <= 1; q += 1.0 / 64 {
			if v, err := s.Quantile(q); err != nil || math.Abs(v/float64(n)-q) > 2*s.RankError()+1/float64(n) {
				t.Errorf("%s: quantile %v is %v: %v", file, q, v, err)
			}
		}
	}
}

func TestDataSketchesReadsWhatIsWrittenAndTheReverse(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, k := range []int{8, 9, 20, 200, 1000} {
		for _, n := range []int{0, 1, 2, 7, 8, 9, 100, 199, 200, 201, 202, 1000, 12345, 200000} {
			name := fmt.Sprintf("seed %d, k %d, n %d", seed, k, n)
			ours, theirs := newKLL(t, k, seed), newPeer(t, k)
			for range n {
				x := math.Round(r.NormFloat64() * 1e4)
				switch r.IntN(1000) {
				case 0:
					x = math.Inf(1)
				case 1:
					x = math.Inf(-1)
				}
				ours.Add(x)
				theirs.Update(x)
			}
			there := readPeer(t, bytesOf(t, ours))
			sameAsPeer(t, name+", written", ours, there)
			here := readKLLOrFail(t, bytesOfPeer(t, theirs))
			sameAsPeer(t, name+", read", here, theirs)
			if again := readKLLOrFail(t, bytesOf(t, ours)); !again.Equal(ours) || !bytes.Equal(bytesOf(t, again), bytesOf(t, ours)) {
				t.Fatalf("%s: reading and writing is not the identity: %v", name, again)
			}
			// Both go on from the other's bytes, and merge.
			for range 1000 {
				x := r.NormFloat64()
				there.Update(x)
				here.Add(x)
			}
			sameAsPeer(t, name+", gone on there", readKLLOrFail(t, bytesOfPeer(t, there)), there)
			sameAsPeer(t, name+", gone on here", here, readPeer(t, bytesOf(t, here)))
			if err := ours.Merge(here); err != nil {
				t.Fatal(err)
			}
			theirs.Merge(there)
			sameAsPeer(t, name+", merged here", ours, readPeer(t, bytesOf(t, ours)))
			if n > 1 { // DataSketches for Go misplaces a single item it has read
				sameAsPeer(t, name+", merged there", readKLLOrFail(t, bytesOfPeer(t, theirs)), theirs)
			}
		}
	}
}

func TestAMessageGoesOnAsItsSketch(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for range 50 {
		s := newKLL(t, 8+r.IntN(300), r.Uint64())
		n := r.IntN(20000)
		for range n {
			s.Add(r.NormFloat64())
		}
		if r.IntN(2) == 0 {
			s.Add(math.NaN())
		}
		data, err := proto.Marshal(s.Proto())
		if err != nil {
			t.Fatal(err)
		}
		p := new(quietilev1.KLL)
		if err := proto.Unmarshal(data, p); err != nil {
			t.Fatal(err)
		}
		again, err := KLLFromProto(p)
		if err != nil || !again.Equal(s) || again.NaNCount() != s.NaNCount() {
			t.Fatalf("seed %d: %v came back as %v: %v", seed, s, again, err)
		}
		for range 5000 {
			x := r.NormFloat64()
			s.Add(x)
			again.Add(x)
		}
		if !proto.Equal(s.Proto(), again.Proto()) {
			t.Fatalf("seed %d: %v and %v went on differently", seed, s, again)
		}
		p.Coins = nil
		if _, err := KLLFromProto(p); err != nil {
			t.Fatalf("seed %d: without coins: %v", seed, err)
		}
	}
}

// damaged returns bytes that no sketch has, each with a part of the error they give.
func damaged(t testing.TB) map[string][]byte {
	s := newKLL(t, 8, 1)
	for i := range 100 {
		s.Add(float64(i))
	}
	good := bytesOf(t, s)
	one := newKLL(t, 8, 1)
	one.Add(1)
	single := bytesOf(t, one)
	height := int(good[18])
	items := 20 + 4*height + 16
	top := items + 8*int(s.levels[height-1]-s.levels[0])
	change := func(data []byte, at int, with ...byte) []byte {
		data = slices.Clone(data)
		copy(data[at:], with)
		return data
	}
	nan := []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x7f}
	return map[string][]byte{
		"0 bytes, of at least 8": {},
		"7 bytes, of at least 8": good[:7],
		"preamble of 3 words":    change(good, 0, 3),
		"serial version 4 at byte 1, where only 1 and 2 are known":     change(good, 1, 4),
		"serial version 3 at byte 1":                                   change(good, 1, 3),
		"version 2 and flags 0x0":                                      change(good, 1, 2),
		"family 14 at byte 2":                                          change(good, 2, 14),
		"unknown flags 0x8 at byte 3":                                  change(good, 3, 8),
		"flags 0x1 at bytes":                                           change(good, 3, 1),
		"k 7 is outside 8 to 65535 at byte 4":                          change(good, 4, 7, 0),
		"m 4 at byte 6":                                                change(good, 6, 4),
		"19 bytes, of at least 20":                                     good[:19],
		"count 0 at byte 8":                                            change(good, 8, make([]byte, 8)...),
		"count 9223372036854775908 at byte 8":                          change(good, 15, 0x80),
		"the count at byte 8 is 72057594037927936":                     change(good, 8, 0, 0, 0, 0, 0, 0, 0, 1),
		"the items weigh 100, where the count at byte 8 is 101":        change(good, 8, 101),
		"weigh more than is left of the count 99":                      change(good, 8, 99),
		"smallest k 7 at byte 16":                                      change(good, 16, 7, 0),
		"smallest k 9 at byte 16":                                      change(good, 16, 9, 0),
		"0 levels at byte 18":                                          change(good, 18, 0),
		"64 levels at byte 18":                                         change(good, 18, 64),
		"where the items begin":                                        good[:items-1],
		"bytes of items from byte":                                     good[:len(good)-1],
		"where " + fmt.Sprint(s.Retained()) + " items have":            append(slices.Clone(good), 0),
		"level 0 begins at item 1000":                                  change(good, 20, 0xe8, 3, 0, 0),
		"level 0 is from item":                                         change(good, 24, 0xff, 0xff),
		"level 1 is from item":                                         change(good, 28, 0, 0),
		fmt.Sprintf("smallest value NaN at byte %d", items-16):         change(good, items-16, nan...),
		fmt.Sprintf("largest value NaN at byte %d", items-8):           change(good, items-8, nan...),
		fmt.Sprintf("value NaN at byte %d", items):                     change(good, items, nan...),
		fmt.Sprintf("at byte %d is outside the range", items+8):        change(good, items+8, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f),
		fmt.Sprintf("value 0 at byte %d of level %d", top+8, height-1): change(good, top+8, make([]byte, 8)...),
		"9 bytes, where an empty sketch has 8":                         append(bytesOf(t, newKLL(t, 8, 1)), 0),
		"15 bytes, where a sketch of one value":                        single[:15],
		"17 bytes, where a sketch of one value":                        append(slices.Clone(single), 0),
		"the value at byte 8 is NaN":                                   change(single, 8, nan...),
	}
}

func TestDamagedSketchesAreRefusedWithTheirPlace(t *testing.T) {
	for want, data := range damaged(t) {
		s := newKLL(t, 20, 1)
		s.Add(1)
		before := s.Clone()
		err := s.UnmarshalBinary(data)
		if err == nil || !errors.Is(err, ErrEncoding) || !contains(err.Error(), want) || !s.Equal(before) {
			t.Errorf("where %q is expected: %v", want, err)
		}
	}
	good := newKLL(t, 20, 1).Proto()
	f := func(want error, p *quietilev1.KLL) {
		t.Helper()
		if _, err := KLLFromProto(p); !errors.Is(err, want) {
			t.Errorf("%v, not %v", err, want)
		}
	}
	f(ErrEncoding, nil)
	f(ErrEncoding, &quietilev1.KLL{})
	f(ErrOverflow, &quietilev1.KLL{Datasketches: good.Datasketches, NanCount: 1 << 63})
	f(ErrEncoding, &quietilev1.KLL{Datasketches: good.Datasketches, Coins: &quietilev1.KLLCoins{Last: 2, Owed: 1}})
}

func TestBytesAloneDecideHowASketchGoesOn(t *testing.T) {
	seeds := map[uint64]bool{}
	for n := range 100 {
		s := newKLL(t, 200, 1)
		for i := range n {
			s.Add(float64(i))
		}
		data := bytesOf(t, s)
		a, b := readKLLOrFail(t, data), readKLLOrFail(t, data)
		if a.coins != b.coins {
			t.Errorf("%v goes on in two ways", a)
		}
		seeds[a.coins.state] = true
	}
	if len(seeds) != 100 {
		t.Errorf("100 sketches go on with %d seeds", len(seeds))
	}
}

// DataSketches takes zeros of both signs as equal, and keeps them in any order.
func TestZerosOfBothSignsMayComeInAnyOrder(t *testing.T) {
	s := newKLL(t, 8, 1)
	negative := math.Copysign(0, -1)
	for _, x := range []float64{negative, 0, 1} {
		if err := s.AddN(x, 2); err != nil {
			t.Fatal(err)
		}
	}
	data := bytesOf(t, s)
	items := 20 + 4*s.height + 16
	zero := func(at int, x float64) { binary.LittleEndian.PutUint64(data[at:], math.Float64bits(x)) }
	zero(items-16, 0) // the smallest value
	zero(items, 0)
	zero(items+8, negative)
	again := readKLLOrFail(t, data)
	checkKLL(t, again)
	if !again.Equal(s) {
		t.Errorf("%v came back as %v", s, again)
	}
	if got, err := again.Rank(negative); err != nil || got != 2.0/3 {
		t.Errorf("the rank of zero is %v: %v", got, err)
	}
}

func TestASmallImageTakesLittleMemory(t *testing.T) {
	s := newKLL(t, 65535, 1)
	if err := s.AddN(1, 1<<62); err != nil {
		t.Fatal(err)
	}
	if err := s.AddN(2, 1); err != nil {
		t.Fatal(err)
	}
	data := bytesOf(t, s)
	// The items, the sketch itself, and nothing for what may come.
	if n := testing.AllocsPerRun(10, func() { readKLLOrFail(t, data) }); n > 5 {
		t.Errorf("%v allocations", n)
	}
	if got := readKLLOrFail(t, data); len(got.items) != 2 || !got.Equal(s) {
		t.Errorf("%v has room for %d items", got, len(got.items))
	}
}

func FuzzKLLUnmarshalBinary(f *testing.F) {
	for _, data := range damaged(f) {
		f.Add(data)
	}
	for _, n := range []int{0, 1, 2, 20, 1000} {
		s := newKLL(f, 8, 1)
		for i := range n {
			s.Add(float64(i % 37))
		}
		f.Add(bytesOf(f, s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := new(KLL)
		if err := s.UnmarshalBinary(data); err != nil {
			if !errors.Is(err, ErrEncoding) {
				t.Fatal(err)
			}
			return
		}
		checkKLL(t, s)
		again := readKLLOrFail(t, bytesOf(t, s))
		if !again.Equal(s) {
			t.Fatalf("%v came back as %v", s, again)
		}
		goOn(t, s)
	})
}

func FuzzKLLFromProto(f *testing.F) {
	for _, data := range damaged(f) {
		b, err := proto.Marshal(&quietilev1.KLL{Datasketches: data, NanCount: 3})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := newKLL(f, 8, 1)
	for i := range 1000 {
		s.Add(float64(i % 37))
	}
	b, err := proto.Marshal(s.Proto())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		p := new(quietilev1.KLL)
		if proto.Unmarshal(data, p) != nil {
			return
		}
		s, err := KLLFromProto(p)
		if err != nil {
			if !errors.Is(err, ErrEncoding) && !errors.Is(err, ErrOverflow) {
				t.Fatal(err)
			}
			return
		}
		checkKLL(t, s)
		again, err := KLLFromProto(s.Proto())
		if err != nil || !again.Equal(s) || !proto.Equal(again.Proto(), s.Proto()) {
			t.Fatalf("%v came back as %v: %v", s, again, err)
		}
		goOn(t, s)
	})
}

// goOn uses a sketch that was read in every way, and checks it.
func goOn(t *testing.T, s *KLL) {
	t.Helper()
	if s.Count() > 0 {
		if _, err := s.Quantiles([]float64{0, 0.5, 1}); err != nil {
			t.Fatal(err)
		}
	}
	o := s.Clone()
	for i := range 300 {
		o.Add(float64(i))
	}
	checkKLL(t, o)
	if err := o.AddN(7, 12345); err != nil && !errors.Is(err, ErrOverflow) {
		t.Fatal(err)
	}
	checkKLL(t, o)
	if err := o.Merge(s, o); err != nil && !errors.Is(err, ErrOverflow) {
		t.Fatal(err)
	}
	checkKLL(t, o)
}

// checkKLL fails unless a sketch is as its comments say.
func checkKLL(t testing.TB, s *KLL) {
	t.Helper()
	if int(s.levels[s.height]) != len(s.items) || s.levels[0] < s.floor || int(s.floor) != max(0, len(s.items)-s.capacity) || s.Retained() > s.capacity {
		t.Fatalf("levels %v, floor %d, %d items, capacity %d", s.levels[:s.height+1], s.floor, len(s.items), s.capacity)
	}
	var above uint64
	for h := range s.height {
		level := s.items[s.levels[h]:s.levels[h+1]]
		if h > 0 {
			above += uint64(len(level)) << h
			if !slices.IsSorted(level) {
				t.Fatalf("level %d is not in order: %v", h, level)
			}
		}
		for _, key := range level {
			if h > 0 && (key < s.min || key > s.max) || value(key) != value(key) {
				t.Fatalf("level %d has %v, outside of %v to %v", h, value(key), value(s.min), value(s.max))
			}
		}
	}
	if above != s.above {
		t.Fatalf("the levels above 0 weigh %d, not %d", above, s.above)
	}
}
