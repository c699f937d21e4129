package prom

import (
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
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

// values returns n random values of either sign with zeros, infinities and NaN among them.
func values(rng *rand.Rand, n int, spread float64) []float64 {
	xs := []float64{0, 0, math.Copysign(0, -1), 1, -1, 2, -1024, math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, 5e-324, -0x1p-1060}
	for len(xs) < n {
		xs = append(xs, math.Exp(spread*rng.NormFloat64())*float64(1-2*rng.IntN(2)))
	}
	return xs
}

// observed is what Prometheus' client makes of values.
func observed(t *testing.T, opts prometheus.HistogramOpts, xs []float64) *dto.Histogram {
	t.Helper()
	opts.Name = "latency"
	h := prometheus.NewHistogram(opts)
	for _, x := range xs {
		h.Observe(x)
	}
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetHistogram()
}

// native are the options for native histograms of a schema with no zero threshold.
func native(schema int) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		NativeHistogramBucketFactor:  math.Exp2(math.Exp2(-float64(schema))) * (1 + 1e-9),
		NativeHistogramZeroThreshold: prometheus.NativeHistogramZeroThresholdZero,
	}
}

func exponential(t *testing.T, scale int, xs []float64) *sketch.Binned {
	t.Helper()
	g, err := sketch.NewExponential(scale)
	if err != nil {
		t.Fatal(err)
	}
	return counted(g, xs)
}

func counted(g *sketch.Grid, xs []float64) *sketch.Binned {
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

func TestNativeHistogramsOfTheClientReadAsTheirValuesWouldCount(t *testing.T) {
	rng := random(t)
	for schema := -4; schema <= 8; schema++ {
		xs := values(rng, 3000, 20)
		h := observed(t, native(schema), xs)
		if h.GetSchema() != int32(schema) {
			t.Fatalf("the client took schema %d for %d", h.GetSchema(), schema)
		}
		got, err := FromHistogram(h)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, exponential(t, schema, xs))
	}
}

func TestSketchesAreWrittenAsTheClientWritesTheirValues(t *testing.T) {
	rng := random(t)
	for schema := -4; schema <= 8; schema++ {
		for _, n := range []int{13, 3000} {
			xs := values(rng, n, 20)
			want := observed(t, native(schema), xs)
			want.CreatedTimestamp = nil
			data, err := Marshal(exponential(t, schema, xs))
			if err != nil {
				t.Fatal(err)
			}
			var got dto.Histogram
			if err := proto.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			if !math.IsNaN(got.GetSampleSum()) {
				t.Errorf("the sum is %v", got.GetSampleSum())
			}
			got.SampleSum = want.SampleSum
			if !proto.Equal(&got, want) {
				t.Errorf("schema %d: %v, want %v", schema, &got, want)
			}
		}
	}
}

func TestTheClientTakesWhatIsWritten(t *testing.T) {
	rng := random(t)
	for schema := -4; schema <= 8; schema++ {
		h, err := Histogram(exponential(t, schema, values(rng, 1000, 3)))
		if err != nil {
			t.Fatal(err)
		}
		// buckets lists the counts of spans, as a scraper does.
		buckets := func(spans []*dto.BucketSpan, deltas []int64) map[int]int64 {
			m := map[int]int64{}
			at, n := 0, int64(0)
			for _, s := range spans {
				at += int(s.GetOffset())
				for range s.GetLength() {
					n += deltas[0]
					deltas = deltas[1:]
					if n > 0 {
						m[at] = n
					}
					at++
				}
			}
			return m
		}
		metric, err := prometheus.NewConstNativeHistogram(prometheus.NewDesc("latency", "", nil, nil), h.GetSampleCount(), h.GetSampleSum(),
			buckets(h.GetPositiveSpan(), h.GetPositiveDelta()), buckets(h.GetNegativeSpan(), h.GetNegativeDelta()),
			h.GetZeroCount(), h.GetSchema(), h.GetZeroThreshold(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		var m dto.Metric
		if err := metric.Write(&m); err != nil {
			t.Fatal(err)
		}
		got := m.GetHistogram()
		got.CreatedTimestamp = nil
		got.ZeroCount = h.ZeroCount
		if !proto.Equal(got, h) {
			t.Errorf("schema %d: %v, want %v", schema, got, h)
		}
	}
}

func TestEmptyHistogramsAreNative(t *testing.T) {
	want := observed(t, native(3), nil)
	got, err := Histogram(exponential(t, 3, nil))
	if err != nil {
		t.Fatal(err)
	}
	want.CreatedTimestamp, want.SampleSum = nil, got.SampleSum
	if !proto.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	b, err := FromHistogram(got)
	if err != nil {
		t.Fatal(err)
	}
	same(t, b, exponential(t, 3, nil))
}

func TestTheZeroBucketOfTheClientIsReadAsZero(t *testing.T) {
	opts := native(3)
	opts.NativeHistogramZeroThreshold = 0.001
	got, err := FromHistogram(observed(t, opts, []float64{0.001, -0.0005, 0, 0.0011}))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, exponential(t, 3, []float64{0, 0, 0, 0.0011}))
}

func TestNativeBucketsAreReadRatherThanClassicOnes(t *testing.T) {
	opts := native(2)
	opts.Buckets = []float64{1, 10}
	xs := []float64{0.5, 3, 300}
	got, err := FromHistogram(observed(t, opts, xs))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, exponential(t, 2, xs))
}

func TestFinerSchemasAreHalvedExactly(t *testing.T) {
	rng := random(t)
	for _, schema := range []int32{9, 12, 20, 52} {
		// Bucket i of the schema is (2^((i−1)/2^schema), 2^(i/2^schema)]: 1 is in bucket 0, and so are those next to it in 8.
		h := &dto.Histogram{Schema: proto.Int32(schema)}
		want := exponential(t, 8, nil)
		var positive spans
		at := -200_000
		for range 500 {
			at += 1 + rng.IntN(800)
			n := uint64(1 + rng.IntN(9))
			positive.add(at, n)
			i, ok := want.Grid().PowerIndex(1, int(math.Ceil(math.Ldexp(float64(at), int(8-schema))))-1)
			if !ok || want.AddBucket(i, n) != nil {
				t.Fatalf("no place for bucket %d", at)
			}
		}
		h.PositiveSpan, h.PositiveDelta, h.SampleCount = positive.spans, positive.deltas, proto.Uint64(want.Count())
		got, err := FromHistogram(h)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, want)
	}
}

func TestFloatHistogramsOfWholeNumbersAreRead(t *testing.T) {
	xs := values(random(t), 500, 5)
	b := exponential(t, 3, xs)
	h, err := Histogram(b)
	if err != nil {
		t.Fatal(err)
	}
	absolute := func(deltas []int64) (counts []float64) {
		n := int64(0)
		for _, d := range deltas {
			n += d
			counts = append(counts, float64(n))
		}
		return counts
	}
	h.PositiveCount, h.NegativeCount = absolute(h.PositiveDelta), absolute(h.NegativeDelta)
	h.ZeroCountFloat, h.SampleCountFloat = proto.Float64(float64(*h.ZeroCount)), proto.Float64(float64(*h.SampleCount))
	h.PositiveDelta, h.NegativeDelta, h.ZeroCount, h.SampleCount = nil, nil, nil, nil
	data, err := proto.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, b)
	h.PositiveCount[0] = 0.5
	if _, err := FromHistogram(h); !errors.Is(err, sketch.ErrEncoding) || !strings.Contains(err.Error(), "the count is 0.5") {
		t.Errorf("the error is %v", err)
	}
}

func TestClassicHistogramsOfTheClientReadAsTheirValuesWouldCount(t *testing.T) {
	rng := random(t)
	les := []float64{-5, -1, -0x1p-1074, 0, 0.25, 1, 2.5, 1e6}
	xs := append(values(rng, 500, 3), les...)
	for _, le := range les {
		xs = append(xs, math.Nextafter(le, math.Inf(1)), math.Nextafter(le, math.Inf(-1)))
	}
	h := observed(t, prometheus.HistogramOpts{Buckets: les}, xs)
	got, err := FromHistogram(h)
	if err != nil {
		t.Fatal(err)
	}
	var breaks []float64
	for _, le := range les {
		breaks = append(breaks, math.Nextafter(le, math.Inf(1)))
	}
	g, err := sketch.NewExplicit(breaks)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range xs { // the client counts NaN in the last bucket
		if math.IsNaN(x) {
			xs[i] = math.Inf(1)
		}
	}
	same(t, got, counted(g, xs))
}

func TestOtherGridsAreWrittenAsTheClientWritesTheirValues(t *testing.T) {
	rng := random(t)
	f := func(g *sketch.Grid, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var les []float64
		for _, x := range g.Breaks() {
			les = append(les, math.Nextafter(x, math.Inf(-1)))
		}
		xs := append(append(values(rng, 500, 3), g.Breaks()...), les...)
		want := observed(t, prometheus.HistogramOpts{Buckets: les}, xs)
		got, err := Histogram(counted(g, xs))
		if err != nil {
			t.Fatal(err)
		}
		// The client leaves the bucket +Inf to its readers.
		end := len(got.Bucket) - 1
		if last := got.Bucket[end]; last.GetCumulativeCount() != want.GetSampleCount() || !math.IsInf(last.GetUpperBound(), 1) {
			t.Errorf("the last bucket is %v", last)
		}
		got.Bucket = got.Bucket[:end]
		want.CreatedTimestamp, want.SampleSum = nil, got.SampleSum
		if !proto.Equal(got, want) {
			t.Errorf("%v: %v, want %v", g, got, want)
		}
	}
	f(sketch.NewLinear(-3, 7, 20))
	f(sketch.NewExplicit([]float64{-1e300, -1, 0, 5e-324, 3, math.MaxFloat64}))
	f(sketch.NewExplicit([]float64{-math.MaxFloat64, 0}))
}

func TestReadingUndoesWriting(t *testing.T) {
	rng := random(t)
	f := func(g *sketch.Grid, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		b := counted(g, slices.DeleteFunc(values(rng, 500, 10), math.IsNaN))
		if g.Unbounded() {
			b.Add(math.NaN())
		}
		data, err := Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Unmarshal(data)
		if err != nil {
			t.Fatal(err)
		}
		want := b
		if breaks := g.Breaks(); breaks != nil {
			e, err := sketch.NewExplicit(breaks)
			if err != nil {
				t.Fatal(err)
			}
			want = b.Rebin(e)
		}
		same(t, got, want)
		again, err := Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(again, data) {
			t.Errorf("%v: the bytes differ", g)
		}
	}
	for scale := -4; scale <= 8; scale++ {
		f(sketch.NewExponential(scale))
	}
	f(sketch.NewLinear(-1, 1, 7))
	f(sketch.NewExplicit([]float64{0}))
	f(sketch.NewExplicit([]float64{-math.MaxFloat64, 0, math.MaxFloat64}))
}

func TestOuterBucketsOfBoundedGridsAreNextToTheOthers(t *testing.T) {
	g, err := sketch.NewBoundedExponential(0, 1.5, 100)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Histogram(counted(g, []float64{-7, 0, 1.5, 3, 100, 1e9, math.Inf(1)}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromHistogram(h)
	if err != nil {
		t.Fatal(err)
	}
	// Buckets are (1, 2] to (64, 128]; what is below goes to (1/2, 1], what is above to (128, 256].
	same(t, got, exponential(t, 0, []float64{0.75, 0.75, 1.5, 3, 100, 200, 200}))
}

func TestATotalBeyondTheLimitIsReported(t *testing.T) {
	for _, x := range []float64{1, math.NaN()} {
		b := exponential(t, 3, nil)
		if err := b.AddN(x, math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		if h, err := Histogram(b); err != nil || h.GetSampleCount() != math.MaxInt64 {
			t.Errorf("%v: %v, error %v", x, h, err)
		}
		b.Add(x)
		if _, err := Histogram(b); !errors.Is(err, sketch.ErrOverflow) {
			t.Errorf("%v: the error is %v", x, err)
		}
	}
}

func TestContradictionsAreRefused(t *testing.T) {
	span := func(offset int32, length uint32) *dto.BucketSpan {
		return &dto.BucketSpan{Offset: &offset, Length: &length}
	}
	le := func(le float64, n uint64) *dto.Bucket { return &dto.Bucket{UpperBound: &le, CumulativeCount: &n} }
	f := func(h *dto.Histogram, sentinel error, want string) {
		t.Helper()
		_, err := FromHistogram(h)
		if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	one := proto.Uint64(1)
	f(nil, sketch.ErrEncoding, "missing")
	f(&dto.Histogram{}, sketch.ErrEncoding, "neither native nor classic")
	f(&dto.Histogram{Schema: proto.Int32(-53), PositiveSpan: []*dto.BucketSpan{span(0, 1)}}, sketch.ErrGrid, "schema -53 has boundaries of its own")
	f(&dto.Histogram{Schema: proto.Int32(-5), ZeroCount: one}, sketch.ErrGrid, "schema -5 is outside -4 to 52")
	f(&dto.Histogram{Schema: proto.Int32(53), ZeroCount: one}, sketch.ErrGrid, "schema 53")
	f(&dto.Histogram{ZeroThreshold: proto.Float64(-1)}, sketch.ErrEncoding, "zero_threshold is -1")
	f(&dto.Histogram{ZeroThreshold: proto.Float64(math.NaN())}, sketch.ErrEncoding, "zero_threshold is NaN")
	f(&dto.Histogram{ZeroCount: one}, sketch.ErrEncoding, "sample_count is 0, but the buckets have 1")
	f(&dto.Histogram{ZeroCount: one, SampleCount: proto.Uint64(2), SampleSum: proto.Float64(0)}, sketch.ErrEncoding, "sample_sum 0 includes no NaN")
	f(&dto.Histogram{ZeroCount: proto.Uint64(1 << 63)}, sketch.ErrOverflow, "zero_count 9223372036854775808")
	f(&dto.Histogram{ZeroCount: one, SampleCount: proto.Uint64(math.MaxUint64)}, sketch.ErrOverflow, "sample_count 18446744073709551615")
	f(&dto.Histogram{ZeroCountFloat: proto.Float64(1.5)}, sketch.ErrEncoding, "zero_count is 1.5")
	f(&dto.Histogram{ZeroCountFloat: proto.Float64(0x1p63)}, sketch.ErrEncoding, "zero_count is 9.2233")
	f(&dto.Histogram{ZeroCount: one, SampleCountFloat: proto.Float64(math.NaN())}, sketch.ErrEncoding, "sample_count is NaN")
	f(&dto.Histogram{ZeroCount: one, SampleCountFloat: proto.Float64(-1)}, sketch.ErrEncoding, "sample_count is -1")
	f(&dto.Histogram{PositiveSpan: []*dto.BucketSpan{span(0, 2)}, PositiveDelta: []int64{1}}, sketch.ErrEncoding, "positive span 0")
	f(&dto.Histogram{PositiveSpan: []*dto.BucketSpan{span(0, 1)}, PositiveDelta: []int64{1, 1}}, sketch.ErrEncoding, "there are 2 counts for spans of 1")
	f(&dto.Histogram{PositiveSpan: []*dto.BucketSpan{span(0, 1), span(-1, 1)}, PositiveDelta: []int64{1, 1}}, sketch.ErrEncoding, "span 1: not a sketch: its offset is -1")
	f(&dto.Histogram{PositiveSpan: []*dto.BucketSpan{span(0, 2)}, PositiveDelta: []int64{1, -2}}, sketch.ErrEncoding, "bucket 1: not a sketch: its count is 1 and a delta of -2")
	f(&dto.Histogram{PositiveSpan: []*dto.BucketSpan{span(0, 2)}, PositiveDelta: []int64{math.MaxInt64, 1}}, sketch.ErrEncoding, "a delta of 1")
	f(&dto.Histogram{PositiveSpan: []*dto.BucketSpan{span(0, 2)}, PositiveDelta: []int64{math.MaxInt64, 0}}, sketch.ErrOverflow, "bucket 1 with the count 9223372036854775807")
	f(&dto.Histogram{NegativeSpan: []*dto.BucketSpan{span(math.MaxInt32, 1)}, NegativeDelta: []int64{1}}, sketch.ErrEncoding, "negative bucket 2147483647")
	f(&dto.Histogram{NegativeSpan: []*dto.BucketSpan{span(math.MinInt32, 1)}, NegativeDelta: []int64{1}}, sketch.ErrEncoding, "negative bucket -2147483648")
	f(&dto.Histogram{PositiveSpan: []*dto.BucketSpan{span(0, 1)}, PositiveDelta: []int64{1}, PositiveCount: []float64{1}}, sketch.ErrEncoding, "1 deltas and 1 counts")
	f(&dto.Histogram{Bucket: []*dto.Bucket{le(math.NaN(), 1)}}, sketch.ErrEncoding, "le is NaN")
	f(&dto.Histogram{Bucket: []*dto.Bucket{le(2, 1), le(1, 1)}}, sketch.ErrEncoding, "bucket 1: not a sketch: le is 1 after 2")
	f(&dto.Histogram{Bucket: []*dto.Bucket{le(1, 2), le(2, 1)}}, sketch.ErrEncoding, "bucket 1, le 2: not a sketch: its cumulative count is 1 after 2")
	f(&dto.Histogram{Bucket: []*dto.Bucket{le(1, 2)}, SampleCount: one}, sketch.ErrEncoding, "sample_count is 1, but the buckets have 2")
	f(&dto.Histogram{Bucket: []*dto.Bucket{le(1, 2), le(math.Inf(1), 3)}, SampleCount: proto.Uint64(4)}, sketch.ErrEncoding, "the bucket +Inf has 3")
	f(&dto.Histogram{Bucket: []*dto.Bucket{le(math.Inf(1), 0)}}, sketch.ErrGrid, "0 breaks")
	f(&dto.Histogram{Bucket: []*dto.Bucket{le(1, 1<<63)}, SampleCount: proto.Uint64(1 << 63)}, sketch.ErrOverflow, "bucket 0")
}

func TestDamageIsAnErrorThatSaysWhere(t *testing.T) {
	data, err := Marshal(exponential(t, 3, []float64{1, -2, 3, 0}))
	if err != nil {
		t.Fatal(err)
	}
	// A cut between two fields can leave a message that is sound: what has lost its buckets is NaN.
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
	f([]byte{0x08, 0x80}, "field 1 at byte 0 is damaged or cut off")
	f([]byte{0x08, 1, 0x80}, "the tag at byte 2")
	f([]byte{0x08, 1, 0x10, 1}, "field 2 at byte 2 has the wire type 0")
	f([]byte{0x08, 1, 0x1a, 2, 0x11, 1}, "field 2 at byte 4")
	f([]byte{0x08, 1, 0x72, 3, 1, 2, 3}, "field 14 at byte 2 has 3 bytes of float64")
	f([]byte{0x08, 1, 0x6a, 2, 1, 0x80}, "the number at byte 5, in field 13")
	f([]byte{0x08, 1, 0x62, 2, 0x09, 1}, "field 1 at byte 4")
}

// TotalAlloc counts what was freed meanwhile too.
func TestMemoryIsInProportionToTheBytes(t *testing.T) {
	f := func(data []byte) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Unmarshal(data)
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(200*len(data)+1<<20); got > limit {
			t.Errorf("%d bytes took %d, more than %d (%v)", len(data), got, limit, err)
		}
	}
	f([]byte(strings.Repeat("\x62\x00", 100_000)))
	f([]byte(strings.Repeat("\x1a\x00", 100_000)))
	f([]byte(strings.Repeat("\x62\x02\x10\x01", 100_000) + strings.Repeat("\x68\x02", 100_000)))
	for _, step := range []int{1, 3, 64, 100} {
		b := exponential(t, 8, nil)
		for i := 0; i < b.Grid().Len(); i += step {
			if err := b.AddBucket(i, 1); err != nil {
				t.Fatal(err)
			}
		}
		data, err := Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		f(data)
	}
}

func FuzzUnmarshal(f *testing.F) {
	add := func(g *sketch.Grid, err error) {
		if err != nil {
			f.Fatal(err)
		}
		whole, err := Marshal(counted(g, []float64{-1, 0, 0.3, 12, 12, math.Inf(1), math.NaN()}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(whole)
		f.Add(whole[:len(whole)-1])
	}
	add(sketch.NewExponential(3))
	add(sketch.NewExplicit([]float64{-1, 0, 3}))
	f.Add([]byte{})
	f.Add([]byte{0x28, 24, 0x62, 4, 8, 8, 16, 1, 0x68, 2, 0x08, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		read, err := Unmarshal(data)
		if err != nil {
			return
		}
		again, err := Marshal(read)
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
