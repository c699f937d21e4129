package ddsketch

import (
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	datadog "github.com/DataDog/sketches-go/ddsketch"
	datadogmapping "github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/pb/sketchpb"
	datadogstore "github.com/DataDog/sketches-go/ddsketch/store"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/internal/wire"
	"github.com/quietile/quietile/sketch"
)

// random returns a generator, whose seed it prints.
func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// values returns n random values of either sign, zeros among them, none of which is on a boundary.
func values(rng *rand.Rand, n int, spread float64) []float64 {
	xs := []float64{0, 0, math.Copysign(0, -1)}
	for len(xs) < n {
		xs = append(xs, math.Exp(spread*rng.NormFloat64())*float64(1-2*rng.IntN(2)))
	}
	return xs
}

// theirs is what DataDog's library makes of values.
func theirs(t *testing.T, m datadogmapping.IndexMapping, make datadogstore.Provider, xs []float64) *datadog.DDSketch {
	t.Helper()
	s := datadog.NewDDSketch(m, make(), make())
	for _, x := range xs {
		if err := s.Add(x); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func marshal(t *testing.T, p *sketchpb.DDSketch) []byte {
	t.Helper()
	data, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func logarithmic(t *testing.T, gamma, offset float64) datadogmapping.IndexMapping {
	t.Helper()
	m, err := datadogmapping.NewLogarithmicMappingWithGamma(gamma, offset)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exponential(t *testing.T, scale int, xs []float64) *sketch.Binned {
	t.Helper()
	g, err := sketch.NewExponential(scale)
	if err != nil {
		t.Fatal(err)
	}
	b := sketch.NewBinned(g)
	b.AddBatch(xs)
	return b
}

// same checks that two sketches have equal grids and equal counts in every bucket.
func same(t *testing.T, got, want *sketch.Binned) {
	t.Helper()
	if !got.Grid().Equal(want.Grid()) {
		t.Fatalf("the grid is %v, want %v", got.Grid(), want.Grid())
	}
	for i := range want.Grid().Len() {
		if got.Bucket(i) != want.Bucket(i) {
			lower, upper := want.Grid().Bounds(i)
			t.Errorf("bucket %d, from %v to %v: %d, want %d", i, lower, upper, got.Bucket(i), want.Bucket(i))
		}
	}
	if got.Count() != want.Count() || got.NaNCount() != want.NaNCount() {
		t.Errorf("%v, want %v", got, want)
	}
}

// stores are what DataDog's library keeps counts in; the message of the first is contiguous, that of the second sparse.
var stores = []datadogstore.Provider{
	datadogstore.DenseStoreConstructor, datadogstore.SparseStoreConstructor, datadogstore.BufferedPaginatedStoreConstructor,
}

func TestPowersOfTwoReadAsTheirValuesWouldCount(t *testing.T) {
	rng := random(t)
	for scale := -4; scale <= 8; scale++ {
		for _, offset := range []float64{0, 7, -100} {
			for _, store := range stores {
				xs := values(rng, 1000, 3)
				data := marshal(t, theirs(t, logarithmic(t, math.Exp2(math.Exp2(-float64(scale))), offset), store, xs).ToProto())
				got, err := Unmarshal(data)
				if err != nil {
					t.Fatal(err)
				}
				same(t, got, exponential(t, scale, xs))
			}
		}
	}
}

func TestInterpolationsOfCoarseScalesAreExponential(t *testing.T) {
	rng := random(t)
	for scale := -4; scale <= 0; scale++ {
		gamma := math.Exp2(math.Exp2(-float64(scale)))
		linear, err := datadogmapping.NewLinearlyInterpolatedMappingWithGamma(gamma, 3)
		if err != nil {
			t.Fatal(err)
		}
		cubic, err := datadogmapping.NewCubicallyInterpolatedMappingWithGamma(gamma, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []datadogmapping.IndexMapping{linear, cubic} {
			xs := values(rng, 1000, 3)
			got, err := Unmarshal(marshal(t, theirs(t, m, stores[0], xs).ToProto()))
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, exponential(t, scale, xs))
		}
	}
}

func TestTheirLibraryReadsWhatIsWritten(t *testing.T) {
	rng := random(t)
	for scale := -4; scale <= 8; scale++ {
		for _, spread := range []float64{0.1, 3, 100} { // contiguous and sparse
			xs := slices.DeleteFunc(values(rng, 1000, spread), func(x float64) bool { return x != 0 && math.Abs(x) < 1e-300 })
			b := exponential(t, scale, xs)
			data, err := Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			var p sketchpb.DDSketch
			if err := proto.Unmarshal(data, &p); err != nil {
				t.Fatal(err)
			}
			got, err := datadog.FromProtoWithStoreProvider(&p, datadogstore.SparseStoreConstructor)
			if err != nil {
				t.Fatal(err)
			}
			want := theirs(t, logarithmic(t, math.Exp2(math.Exp2(-float64(scale))), 0), datadogstore.SparseStoreConstructor, xs)
			if !got.IndexMapping.Equals(want.IndexMapping) || got.GetZeroCount() != want.GetZeroCount() || got.GetCount() != want.GetCount() {
				t.Errorf("scale %d: zero %v of %v, want %v of %v", scale, got.GetZeroCount(), got.GetCount(), want.GetZeroCount(), want.GetCount())
			}
			for _, side := range [][2]datadogstore.Store{
				{got.GetPositiveValueStore(), want.GetPositiveValueStore()}, {got.GetNegativeValueStore(), want.GetNegativeValueStore()},
			} {
				g, w := bins(side[0]), bins(side[1])
				if len(g) != len(w) {
					t.Errorf("scale %d: %d bins, want %d", scale, len(g), len(w))
				}
				for i, n := range w {
					if g[i] != n {
						t.Errorf("scale %d: bin %d has %v, want %v", scale, i, g[i], n)
					}
				}
			}
			// They merge with what the library counted itself.
			if err := want.MergeWith(got); err != nil {
				t.Error(err)
			}
		}
	}
}

func bins(s datadogstore.Store) map[int]float64 {
	m := map[int]float64{}
	s.ForEach(func(index int, count float64) bool {
		m[index] = count
		return false
	})
	return m
}

func TestEveryOtherMappingReadsIntoItsOwnBoundaries(t *testing.T) {
	rng := random(t)
	f := func(m datadogmapping.IndexMapping, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, store := range stores {
			xs := values(rng, 1000, 5)
			s := theirs(t, m, store, xs)
			got, err := Unmarshal(marshal(t, s.ToProto()))
			if err != nil {
				t.Fatal(err)
			}
			if got.Count() != uint64(len(xs)) || float64(got.Bucket(got.Grid().Index(0))) != s.GetZeroCount() {
				t.Errorf("%v, zero %d; want zero %v", got, got.Bucket(got.Grid().Index(0)), s.GetZeroCount())
			}
			filled := 1
			for sign, side := range map[float64]datadogstore.Store{1: s.GetPositiveValueStore(), -1: s.GetNegativeValueStore()} {
				for index, count := range bins(side) {
					filled++
					lower, upper := m.LowerBound(index), m.LowerBound(index+1)
					i := got.Grid().Index(sign * math.Sqrt(lower*upper))
					if float64(got.Bucket(i)) != count {
						t.Errorf("bin %d of sign %v has %d, want %v", index, sign, got.Bucket(i), count)
					}
					// The same values: theirs holds the boundary that is nearer to zero.
					low, high := got.Grid().Bounds(i)
					if sign < 0 {
						low, high = -math.Nextafter(high, math.Inf(-1)), -math.Nextafter(low, math.Inf(-1))
					}
					near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-14*b }
					if !near(low, lower) || !near(high, upper) {
						t.Errorf("bin %d of sign %v is from %v to %v, want %v to %v", index, sign, low, high, lower, upper)
					}
				}
			}
			for range got.All() {
				filled--
			}
			if filled != 0 {
				t.Errorf("%d bins are in no bucket of their own", filled)
			}
		}
	}
	for _, accuracy := range []float64{0.3, 0.01, 0.002} {
		m, err := datadogmapping.NewLogarithmicMapping(accuracy)
		f(m, err)
		l, err := datadogmapping.NewLinearlyInterpolatedMapping(accuracy)
		f(l, err)
		c, err := datadogmapping.NewCubicallyInterpolatedMapping(accuracy)
		f(c, err)
	}
	m, err := datadogmapping.NewLogarithmicMappingWithGamma(1.02, 0.5)
	f(m, err)
	m, err = datadogmapping.NewLogarithmicMappingWithGamma(1.00001, 0) // more buckets than a grid may have
	f(m, err)
}

func TestBoundariesOfALogarithmicMappingAreTheirs(t *testing.T) {
	for _, gamma := range []float64{1.5, 1.02, 1.0001, 3} {
		ours := mapping{gamma: gamma, offset: 0.25}
		m := logarithmic(t, gamma, 0.25)
		for _, i := range []int{-3000, -17, 0, 1, 2, 500} {
			if got, want := ours.lower(i), m.LowerBound(i); got != want {
				t.Errorf("gamma %v: bin %d begins at %v, want %v", gamma, i, got, want)
			}
		}
	}
}

func TestABoundaryIsInTheBucketThatIsFurtherFromZero(t *testing.T) {
	for interpolation := uint64(none); interpolation <= cubic; interpolation++ {
		m := mapping{gamma: 1.02, offset: 0.5, interpolation: interpolation}
		b, err := m.boundaries(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, number := range []int{-500, -1, 0, 1, 77, 3000} {
			for _, sign := range []int{1, -1} {
				i, ok := b.bucket(sign, number)
				begin, end := float64(sign)*m.lower(number), float64(sign)*m.lower(number+1)
				if !ok || b.grid.Index(begin) != i || b.grid.Index(math.Nextafter(end, 0)) != i || b.grid.Index(end) != i+sign {
					t.Errorf("interpolation %d: %v to %v are in %d to %d, want %d", interpolation, begin, end, b.grid.Index(begin), b.grid.Index(end), i)
				}
			}
		}
	}
}

// In float64 a mapping and its inverse do not agree on the values next to a boundary.
func TestValuesAreCountedWithinTheStatedDistanceOfTheirBucket(t *testing.T) {
	rng := random(t)
	for interpolation := uint64(none); interpolation <= cubic; interpolation++ {
		for _, gamma := range []float64{1.02, 1.1, 5} {
			m := mapping{gamma: gamma, interpolation: interpolation}
			var library datadogmapping.IndexMapping
			switch interpolation {
			case none:
				library, _ = datadogmapping.NewLogarithmicMappingWithGamma(gamma, 0)
			case linear:
				library, _ = datadogmapping.NewLinearlyInterpolatedMappingWithGamma(gamma, 0)
			case cubic:
				library, _ = datadogmapping.NewCubicallyInterpolatedMappingWithGamma(gamma, 0)
			}
			first, last := m.ends()
			for range 5000 {
				i := int(first) + 2 + rng.IntN(int(last-first)-3)
				x := m.lower(i)
				if math.IsInf(x, 1) { // some machines' math.Exp ends before float64 does
					continue
				}
				below, above := x*(1-1e-12), x*(1+1e-12)
				if got := int(math.Floor(m.number(below))); got != i-1 {
					t.Fatalf("interpolation %d, gamma %v: %v, below bin %d, is in %d", interpolation, gamma, below, i, got)
				}
				if got := int(math.Floor(m.number(above))); got != i {
					t.Fatalf("interpolation %d, gamma %v: %v, at the beginning of bin %d, is in %d", interpolation, gamma, above, i, got)
				}
				if library != nil && (library.Index(below) != i-1 || library.Index(above) != i) {
					t.Fatalf("interpolation %d, gamma %v: their library has %v and %v in %d and %d, want %d and %d",
						interpolation, gamma, below, above, library.Index(below), library.Index(above), i-1, i)
				}
			}
		}
	}
}

// DataDog's Go library has no quadratic interpolation; that of the one for Java agrees with the logarithm at powers of
// two and is a parabola between with slopes of which the first is twice the last.
func TestTheQuadraticInterpolationIsAParabola(t *testing.T) {
	m := mapping{gamma: 1.01, interpolation: quadratic}
	for i, want := range map[float64]float64{1: 0, 2: 1, 1024: 10, 0.25: -2, 1.5: 7.0 / 12, 3: 19.0 / 12} {
		if got := m.number(i) * math.Log2(1.01); math.Abs(got-want) > 1e-12 {
			t.Errorf("the logarithm of %v is %v, want %v", i, got, want)
		}
	}
}

func TestBothFormsOfAStoreAdd(t *testing.T) {
	data := marshal(t, &sketchpb.DDSketch{
		Mapping: &sketchpb.IndexMapping{Gamma: 2},
		NegativeValues: &sketchpb.Store{
			BinCounts: map[int32]float64{-1: 2, 3: 1}, ContiguousBinIndexOffset: -2, ContiguousBinCounts: []float64{5, 7, 0},
		},
	})
	got, err := Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	want := exponential(t, 0, nil)
	for x, n := range map[float64]uint64{-0.3: 5, -0.75: 9, -12: 1} { // k −2, −1 and 3
		if err := want.AddN(x, n); err != nil {
			t.Fatal(err)
		}
	}
	same(t, got, want)
}

func TestReadingUndoesWriting(t *testing.T) {
	rng := random(t)
	for scale := -4; scale <= 8; scale++ {
		b := exponential(t, scale, append(values(rng, 300, 100), math.Inf(1), math.Inf(-1), math.MaxFloat64, 5e-324, -5e-324, 1, 2))
		data, err := Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Unmarshal(data)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, b)
	}
}

func TestEqualMappingsMerge(t *testing.T) {
	m, err := datadogmapping.NewLogarithmicMapping(0.01)
	if err != nil {
		t.Fatal(err)
	}
	sum := theirs(t, m, stores[0], []float64{1, 2, 3, -100})
	other := theirs(t, m, stores[0], []float64{1e6, 1e-6, 0})
	a, err := Unmarshal(marshal(t, sum.ToProto()))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Unmarshal(marshal(t, other.ToProto()))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Merge(b); err != nil {
		t.Fatal(err)
	}
	if err := sum.MergeWith(other); err != nil {
		t.Fatal(err)
	}
	want, err := Unmarshal(marshal(t, sum.ToProto()))
	if err != nil {
		t.Fatal(err)
	}
	same(t, a, want)
}

func TestWhatADDSketchDoesNotHoldIsRefused(t *testing.T) {
	f := func(b *sketch.Binned, sentinel error, want string) {
		t.Helper()
		if _, err := Marshal(b); !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	g, err := sketch.NewLinear(0, 10, 10)
	if err != nil {
		t.Fatal(err)
	}
	f(sketch.NewBinned(g), sketch.ErrGrid, "linear:lower=0,upper=10,bins=10 is not exponential")
	f(exponential(t, 3, []float64{math.NaN()}), ErrNaN, "there are 1")
	b := exponential(t, 0, nil)
	if err := b.AddN(3, 1<<53+1); err != nil {
		t.Fatal(err)
	}
	f(b, ErrCount, "9007199254740993 from 2 to 4")
	b = exponential(t, 0, nil)
	if err := b.AddN(3, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	f(b, ErrCount, "9223372036854775807")
	b = exponential(t, 0, nil)
	if err := b.AddN(3, 1<<62); err != nil {
		t.Fatal(err)
	}
	if err := b.AddN(5, 1<<62-1); err != nil {
		t.Fatal(err)
	}
	b.Add(5)
	f(b, sketch.ErrOverflow, "")
}

func TestUnsoundSketchesAreRefused(t *testing.T) {
	type counts = map[int32]float64
	f := func(p *sketchpb.DDSketch, sentinel error, want string) {
		t.Helper()
		if _, err := Unmarshal(marshal(t, p)); !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	two := &sketchpb.IndexMapping{Gamma: 2}
	f(&sketchpb.DDSketch{}, sketch.ErrEncoding, "the mapping is missing")
	f(&sketchpb.DDSketch{Mapping: &sketchpb.IndexMapping{Gamma: 1}}, sketch.ErrEncoding, "gamma is 1,")
	f(&sketchpb.DDSketch{Mapping: &sketchpb.IndexMapping{Gamma: math.NaN()}}, sketch.ErrEncoding, "gamma is NaN")
	f(&sketchpb.DDSketch{Mapping: &sketchpb.IndexMapping{Gamma: math.Inf(1)}}, sketch.ErrEncoding, "gamma is +Inf")
	f(&sketchpb.DDSketch{Mapping: &sketchpb.IndexMapping{Gamma: 2, IndexOffset: math.Inf(-1)}}, sketch.ErrEncoding, "indexOffset is -Inf")
	f(&sketchpb.DDSketch{Mapping: &sketchpb.IndexMapping{Gamma: 2, Interpolation: 4}}, sketch.ErrEncoding, "interpolation is 4")
	f(&sketchpb.DDSketch{Mapping: two, ZeroCount: 0.5}, ErrCount, "zeroCount has 0.5")
	f(&sketchpb.DDSketch{Mapping: two, ZeroCount: -1}, ErrCount, "zeroCount has -1")
	f(&sketchpb.DDSketch{Mapping: two, ZeroCount: math.NaN()}, ErrCount, "zeroCount has NaN")
	f(&sketchpb.DDSketch{Mapping: two, ZeroCount: 0x1p63}, ErrCount, "zeroCount has 9.2233")
	f(&sketchpb.DDSketch{Mapping: two, PositiveValues: &sketchpb.Store{BinCounts: counts{3: 1.25}}}, ErrCount, "positiveValues bin 3 has 1.25")
	f(&sketchpb.DDSketch{Mapping: two, NegativeValues: &sketchpb.Store{ContiguousBinCounts: []float64{0, 0.5}}}, ErrCount, "negativeValues bin 1 has 0.5")
	f(&sketchpb.DDSketch{Mapping: two, NegativeValues: &sketchpb.Store{BinCounts: counts{1025: 1}}}, sketch.ErrEncoding, "negativeValues bin 1025")
	f(&sketchpb.DDSketch{Mapping: two, PositiveValues: &sketchpb.Store{BinCounts: counts{math.MinInt32: 1}}}, sketch.ErrEncoding, "bin -2147483648")
	f(&sketchpb.DDSketch{
		Mapping: two, ZeroCount: 0x1p62, PositiveValues: &sketchpb.Store{BinCounts: counts{3: 0x1p62}},
	}, sketch.ErrOverflow, "positiveValues bin 3")
	f(&sketchpb.DDSketch{
		Mapping: &sketchpb.IndexMapping{Gamma: 1.02}, PositiveValues: &sketchpb.Store{BinCounts: counts{40000: 1}},
	}, sketch.ErrEncoding, "bin 40000 holds no float64")
	f(&sketchpb.DDSketch{
		Mapping:        &sketchpb.IndexMapping{Gamma: math.Nextafter(1, 2), IndexOffset: -0x1p53},
		PositiveValues: &sketchpb.Store{BinCounts: counts{100: 1, 101: 2, 102: 3}},
	}, sketch.ErrGrid, "is not more than the one before")
	f(&sketchpb.DDSketch{Mapping: &sketchpb.IndexMapping{Gamma: 1.02, IndexOffset: -1e300}}, sketch.ErrGrid, "indexOffset -1e+300")
}

func TestMappingsAtTheEndsOfTheirTypesAreRead(t *testing.T) {
	for _, m := range []*sketchpb.IndexMapping{
		{Gamma: 1e300},
		{Gamma: math.MaxFloat64, IndexOffset: 0.5},
		{Gamma: math.Nextafter(1, 2)},
		{Gamma: 1e300, Interpolation: 1},
		{Gamma: 1e300, Interpolation: 2},
		{Gamma: 1e300, Interpolation: 3},
		{Gamma: 1.02, IndexOffset: 1e300},
	} {
		got, err := Unmarshal(marshal(t, &sketchpb.DDSketch{Mapping: m, ZeroCount: 3}))
		if err != nil {
			t.Fatalf("%v: %v", m, err)
		}
		if n := got.Bucket(got.Grid().Index(0)); n != 3 || got.Count() != 3 {
			t.Errorf("%v: zero has %d of %d", m, n, got.Count())
		}
		if lower, upper := got.Grid().Bounds(got.Grid().Index(0)); !(lower > -1e-300 && upper < 1e-300) {
			t.Errorf("%v: zero is from %v to %v", m, lower, upper)
		}
	}
}

func TestDamageIsAnErrorThatSaysWhere(t *testing.T) {
	data, err := Marshal(exponential(t, 3, []float64{1, -2, 3, 0, 1e9}))
	if err != nil {
		t.Fatal(err)
	}
	// A cut between two fields leaves a message.
	var between []int
	for f, err := range wire.Fields(data, sketch.ErrEncoding) {
		if err != nil {
			t.Fatal(err)
		}
		between = append(between, f.At)
	}
	for n := range data {
		if _, err := Unmarshal(data[:n]); err == nil && !slices.Contains(between, n) {
			t.Errorf("%d of %d bytes are no error", n, len(data))
		}
	}
	f := func(data []byte, want string) {
		t.Helper()
		if _, err := Unmarshal(data); !errors.Is(err, sketch.ErrEncoding) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	f([]byte{0x0a, 9, 9, 0}, "field 1 at byte 0 is damaged or cut off")
	f([]byte{0x0a, 2, 0x08, 1}, "field 1 at byte 2 has the wire type 0, which is no double")
	f([]byte{0x12, 4, 0x0a, 2, 0x09, 1}, "field 1 at byte 4")
	f([]byte{0x12, 3, 0x12, 1, 1}, "field 2 at byte 2 has 1 bytes of float64")
	f([]byte{0x20, 1}, "field 4 at byte 0 has the wire type 0")
}

// TotalAlloc counts what was freed meanwhile too.
func TestMemoryIsInProportionToTheBytes(t *testing.T) {
	f := func(data []byte) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Unmarshal(data)
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(200*len(data)+64<<20); got > limit {
			t.Errorf("%d bytes took %d, more than %d (%v)", len(data), got, limit, err)
		}
	}
	for _, gamma := range []float64{1.00136, 1.00001, 1.02, 2} {
		m := &sketchpb.IndexMapping{Gamma: gamma}
		f(marshal(t, &sketchpb.DDSketch{Mapping: m}))
		counts := map[int32]float64{}
		for i := int32(-900); i < 900; i++ {
			counts[i] = 1
		}
		for i := int32(-200_000); i < 200_000; i += 64 {
			counts[i] = 1
		}
		f(marshal(t, &sketchpb.DDSketch{Mapping: m, PositiveValues: &sketchpb.Store{BinCounts: counts}}))
	}
	f([]byte(strings.Repeat("\x12\x02\x0a\x00", 100_000)))
}

func FuzzUnmarshal(f *testing.F) {
	g, err := sketch.NewExponential(3)
	if err != nil {
		f.Fatal(err)
	}
	b := sketch.NewBinned(g)
	b.AddBatch([]float64{-1, 0, 0.3, 12, 12, 1e9, math.Inf(1)})
	whole, err := Marshal(b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{})
	for _, m := range []*sketchpb.IndexMapping{{Gamma: 1.3, IndexOffset: 0.5}, {Gamma: 1.2, Interpolation: 1}, {Gamma: 1.2, Interpolation: 2}, {Gamma: 1.2, Interpolation: 3}} {
		data, err := proto.Marshal(&sketchpb.DDSketch{
			Mapping: m, ZeroCount: 2,
			PositiveValues: &sketchpb.Store{BinCounts: map[int32]float64{-1: 2, 3: 1}},
			NegativeValues: &sketchpb.Store{ContiguousBinCounts: []float64{1, 2}, ContiguousBinIndexOffset: -5},
		})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		read, err := Unmarshal(data)
		if err != nil {
			return
		}
		total := uint64(0)
		for _, n := range read.All() {
			total += n
		}
		if total != read.Count() || read.NaNCount() > 0 {
			t.Fatalf("%v has %d in its buckets", read, total)
		}
		again, err := Marshal(read)
		if errors.Is(err, sketch.ErrGrid) || errors.Is(err, ErrCount) {
			return
		}
		if err != nil {
			t.Fatalf("%v was read, but is not written: %v", read, err)
		}
		back, err := Unmarshal(again)
		if err != nil {
			t.Fatalf("%v was written, but is not read: %v", read, err)
		}
		if !back.Equal(read) {
			t.Fatalf("%v came back as %v", read, back)
		}
	})
}
