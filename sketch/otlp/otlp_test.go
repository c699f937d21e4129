package otlp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/sketch"
)

// random returns a generator, whose seed it prints.
func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// values returns n random finite values of either sign, zero among them.
func values(rng *rand.Rand, n int, spread float64) []float64 {
	xs := []float64{0, 0, 1, -1, 2, -1024}
	for len(xs) < n {
		xs = append(xs, math.Exp(spread*rng.NormFloat64())*float64(1-2*rng.IntN(2)))
	}
	return xs
}

// recorded is what OpenTelemetry's SDK makes of values at a scale that it starts at. It takes a coarser one if there
// are more buckets than size.
func recorded(t *testing.T, xs []float64, scale, size int32) *metricsv1.ExponentialHistogramDataPoint {
	t.Helper()
	ctx := context.Background()
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader), sdk.WithView(sdk.NewView(
		sdk.Instrument{Name: "latency"},
		sdk.Stream{Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: size, MaxScale: scale}},
	)))
	defer provider.Shutdown(ctx)
	histogram, err := provider.Meter("test").Float64Histogram("latency")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range xs {
		histogram.Record(ctx, x)
	}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &all); err != nil {
		t.Fatal(err)
	}
	p := all.ScopeMetrics[0].Metrics[0].Data.(metricdata.ExponentialHistogram[float64]).DataPoints[0]
	return &metricsv1.ExponentialHistogramDataPoint{
		TimeUnixNano: uint64(p.Time.UnixNano()), Sum: &p.Sum, Count: p.Count, Scale: p.Scale,
		ZeroCount: p.ZeroCount, ZeroThreshold: p.ZeroThreshold,
		Positive: &metricsv1.ExponentialHistogramDataPoint_Buckets{Offset: p.PositiveBucket.Offset, BucketCounts: p.PositiveBucket.Counts},
		Negative: &metricsv1.ExponentialHistogramDataPoint_Buckets{Offset: p.NegativeBucket.Offset, BucketCounts: p.NegativeBucket.Counts},
	}
}

// counted is a sketch of values on the grid of a scale.
func counted(t *testing.T, xs []float64, scale int) *sketch.Binned {
	t.Helper()
	g, err := Grid(scale)
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

// trimmed returns the buckets of a data point without empty ones at their ends.
func trimmed(b *metricsv1.ExponentialHistogramDataPoint_Buckets) map[int]uint64 {
	m := map[int]uint64{}
	for i, n := range b.GetBucketCounts() {
		if n > 0 {
			m[int(b.GetOffset())+i] = n
		}
	}
	return m
}

func TestHistogramsOfTheSDKReadAsTheirValuesWouldCount(t *testing.T) {
	rng := random(t)
	for scale := int32(-10); scale <= 8; scale++ {
		xs := values(rng, 2000, 3)
		p := recorded(t, xs, scale, 1<<16)
		if p.Scale != scale {
			t.Fatalf("the SDK took scale %d for %d", p.Scale, scale)
		}
		got, err := FromDataPoint(p)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, counted(t, xs, int(scale)))
	}
}

func TestScalesThatAreTooFineAreHalvedExactly(t *testing.T) {
	rng := random(t)
	for scale := int32(9); scale <= 20; scale++ {
		xs := values(rng, 500, 1e-3)
		xs = slices.DeleteFunc(xs, func(x float64) bool { return x == -1024 })
		p := recorded(t, xs, scale, 1<<22)
		if p.Scale != scale {
			t.Fatalf("the SDK took scale %d for %d", p.Scale, scale)
		}
		got, err := FromDataPoint(p)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, counted(t, xs, 8))
	}
}

func TestTheScaleThatTheSDKFallsBackToIsRead(t *testing.T) {
	xs := values(random(t), 3000, 4)
	p := recorded(t, xs, 20, 160)
	got, err := FromDataPoint(p)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, counted(t, xs, int(p.Scale)))
}

func TestSketchesAreWrittenAsTheSDKRecordsTheirValues(t *testing.T) {
	rng := random(t)
	for scale := int32(-10); scale <= 8; scale++ {
		xs := values(rng, 2000, 3)
		want := recorded(t, xs, scale, 1<<16)
		data, err := Marshal(counted(t, xs, int(scale)))
		if err != nil {
			t.Fatal(err)
		}
		var got metricsv1.ExponentialHistogramDataPoint
		if err := proto.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if got.Scale != want.Scale || got.Count != want.Count || got.ZeroCount != want.ZeroCount || got.Sum != nil || got.Min != nil || got.Max != nil {
			t.Errorf("scale %d: %v, want %v", scale, &got, want)
		}
		for _, side := range [][2]*metricsv1.ExponentialHistogramDataPoint_Buckets{{got.Positive, want.Positive}, {got.Negative, want.Negative}} {
			g, w := trimmed(side[0]), trimmed(side[1])
			if fmt.Sprint(g) != fmt.Sprint(w) {
				t.Errorf("scale %d: buckets %v, want %v", scale, g, w)
			}
		}
	}
}

func TestReadingUndoesWriting(t *testing.T) {
	rng := random(t)
	for scale := -10; scale <= 8; scale++ {
		xs := append(values(rng, 300, 100), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324, -5e-324)
		want := counted(t, xs, scale)
		data, err := Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Unmarshal(data)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, want)
		again, err := Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(again, data) {
			t.Errorf("scale %d: the bytes differ", scale)
		}
	}
}

func TestFieldsWithoutUseArePassedOver(t *testing.T) {
	p := recorded(t, []float64{1, 2, 3}, 3, 160)
	p.Exemplars = []*metricsv1.Exemplar{{Value: &metricsv1.Exemplar_AsDouble{AsDouble: 2}}}
	p.Min, p.Max = proto.Float64(1), proto.Float64(3)
	data, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, counted(t, []float64{1, 2, 3}, 3))
}

func TestOuterBucketsOfBoundedGridsAreNextToTheOthers(t *testing.T) {
	g, err := sketch.NewBoundedExponential(0, 1.5, 100)
	if err != nil {
		t.Fatal(err)
	}
	b := sketch.NewBinned(g)
	b.AddBatch([]float64{-7, 0, 1.5, 3, 100, 1e9, math.Inf(1)})
	data, err := Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	// Buckets are (1, 2] to (64, 128]; what is below goes to (1/2, 1], what is above to (128, 256].
	same(t, got, counted(t, []float64{0.75, 0.75, 1.5, 3, 100, 200, 200}, 0))
}

func TestGridsOfOtherKindsAreRefusedByName(t *testing.T) {
	g, err := sketch.NewLinear(0, 10, 10)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Marshal(sketch.NewBinned(g))
	if !errors.Is(err, sketch.ErrGrid) || !strings.Contains(err.Error(), g.String()) || !strings.Contains(err.Error(), "Rebin") {
		t.Errorf("the error is %v", err)
	}
}

func TestNaNIsRefused(t *testing.T) {
	b := counted(t, []float64{1, math.NaN(), math.NaN()}, 3)
	if _, err := Marshal(b); !errors.Is(err, ErrNaN) || !strings.Contains(err.Error(), "2") {
		t.Errorf("the error is %v", err)
	}
}

func TestATotalBeyondTheLimitIsReported(t *testing.T) {
	b := counted(t, nil, 3)
	if err := b.AddN(1, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	b.Add(1)
	if _, err := Marshal(b); !errors.Is(err, sketch.ErrOverflow) {
		t.Errorf("the error is %v", err)
	}
}

func TestZeroThresholdIsReadAsZero(t *testing.T) {
	got, err := FromDataPoint(&metricsv1.ExponentialHistogramDataPoint{Count: 5, ZeroCount: 5, ZeroThreshold: 1e-6})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, counted(t, []float64{0, 0, 0, 0, 0}, 0))
}

func TestUnsoundDataPointsAreRefused(t *testing.T) {
	type point = metricsv1.ExponentialHistogramDataPoint
	type buckets = metricsv1.ExponentialHistogramDataPoint_Buckets
	f := func(p *point, sentinel error, want string) {
		t.Helper()
		_, err := FromDataPoint(p)
		if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	one := []uint64{1}
	f(nil, sketch.ErrEncoding, "missing")
	f(&point{Scale: -11}, sketch.ErrGrid, "scale -11 is coarser than -10")
	f(&point{Scale: math.MinInt32}, sketch.ErrGrid, "scale -2147483648")
	f(&point{ZeroThreshold: math.NaN()}, sketch.ErrEncoding, "zero_threshold is NaN")
	f(&point{ZeroThreshold: -1}, sketch.ErrEncoding, "zero_threshold is -1")
	f(&point{ZeroThreshold: math.Inf(1)}, sketch.ErrEncoding, "zero_threshold is +Inf")
	f(&point{ZeroCount: 1 << 63}, sketch.ErrOverflow, "zero_count 9223372036854775808")
	f(&point{Count: 2, Positive: &buckets{BucketCounts: one}}, sketch.ErrEncoding, "count is 2, but the buckets have 1")
	f(&point{Count: 1, Positive: &buckets{Offset: math.MaxInt32, BucketCounts: []uint64{0, 1}}}, sketch.ErrEncoding, "positive bucket 2147483648 of scale 0")
	f(&point{Count: 1, Negative: &buckets{Offset: math.MinInt32, BucketCounts: one}}, sketch.ErrEncoding, "negative bucket -2147483648 of scale 0")
	f(&point{Count: 1, Positive: &buckets{Offset: 1025, BucketCounts: one}}, sketch.ErrEncoding, "positive bucket 1025")
	f(&point{Count: 1, Positive: &buckets{Offset: -1076, BucketCounts: one}}, sketch.ErrEncoding, "positive bucket -1076")
	f(&point{Scale: -5, Count: 1, Negative: &buckets{Offset: 32, BucketCounts: one}}, sketch.ErrEncoding, "negative bucket 32 of scale -5")
	f(&point{Scale: -5, Count: 1, Negative: &buckets{Offset: -35, BucketCounts: one}}, sketch.ErrEncoding, "negative bucket -35 of scale -5")
	f(&point{Positive: &buckets{Offset: -3, BucketCounts: []uint64{math.MaxInt64, 1}}}, sketch.ErrOverflow, "positive bucket -2")
}

func TestScalesAtTheEndOfTheirTypeAreRead(t *testing.T) {
	for _, offset := range []int32{math.MinInt32, 0, math.MaxInt32} {
		got, err := FromDataPoint(&metricsv1.ExponentialHistogramDataPoint{
			Scale: math.MaxInt32, Count: 1,
			Positive: &metricsv1.ExponentialHistogramDataPoint_Buckets{Offset: offset, BucketCounts: []uint64{1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		x := math.Nextafter(1, 2) // all of these buckets are next to 1
		if offset < 0 {
			x = 1
		}
		same(t, got, counted(t, []float64{x}, 8))
	}
}

func TestEveryBoundaryOfCoarseScalesIsInTheBucketThatItEnds(t *testing.T) {
	for scale := -10; scale < -4; scale++ {
		for k := -1074; k <= 1023; k++ {
			for _, x := range []float64{math.Ldexp(1, k), math.Nextafter(math.Ldexp(1, k), 0), math.Nextafter(math.Ldexp(1, k), math.Inf(1))} {
				if x == 0 {
					continue
				}
				fraction, e := math.Frexp(x) // x is in (2^(e−1), 2^e), or is 2^(e−1)
				if fraction == 0.5 {
					e--
				}
				want := (e - 1) >> -scale
				for _, sign := range []float64{1, -1} {
					p, err := DataPoint(counted(t, []float64{sign * x}, scale))
					if err != nil {
						t.Fatal(err)
					}
					side := p.Positive
					if sign < 0 {
						side = p.Negative
					}
					if len(side.BucketCounts) != 1 || int(side.Offset) != want {
						t.Fatalf("%v at scale %d is in %v, want bucket %d", sign*x, scale, p, want)
					}
				}
			}
		}
	}
}

func TestDamageIsAnErrorThatSaysWhere(t *testing.T) {
	data, err := Marshal(counted(t, []float64{1, -2, 3, 0}, 3))
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		// A cut between fields leaves a message whose count is wrong.
		if _, err := Unmarshal(data[:n]); err == nil && n > 0 {
			t.Errorf("%d of %d bytes are no error", n, len(data))
		} else if n > 0 && !errors.Is(err, sketch.ErrEncoding) {
			t.Errorf("%d of %d bytes: %v", n, len(data), err)
		}
	}
	f := func(data []byte, want string) {
		t.Helper()
		if _, err := Unmarshal(data); !errors.Is(err, sketch.ErrEncoding) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	f([]byte{0x21, 1, 2}, "field 4 at byte 0 is damaged or cut off")
	f([]byte{0x30, 2, 0x80}, "the tag at byte 2")
	f([]byte{0x30, 2, 0x20, 1}, "field 4 at byte 2 has the wire type 0")
	f([]byte{0x30, 2, 0x42, 4, 0x12, 2, 1, 0x80}, "the number at byte 7, in field 2")
	f(protowire.AppendFixed64([]byte{14<<3 | 1}, math.Float64bits(-1)), "zero_threshold is -1")
	f([]byte{0x30, 2, 0x40, 4}, "field 8 at byte 2 has the wire type 0, which is no message")
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
	for _, step := range []int{1, 2, 7, 64} {
		counts := make([]uint64, 500_000)
		total := uint64(0)
		for i := 0; i < len(counts); i += step {
			counts[i] = 1
			total++
		}
		for _, scale := range []int32{8, 20} {
			offset := -250_000 * (1 << (scale - 8))
			data, err := proto.Marshal(&metricsv1.ExponentialHistogramDataPoint{
				Count: total, Scale: scale, Negative: &metricsv1.ExponentialHistogramDataPoint_Buckets{Offset: int32(offset), BucketCounts: counts},
			})
			if err != nil {
				t.Fatal(err)
			}
			f(data)
		}
	}
	f([]byte{0x42, 0xff, 0xff, 0xff, 0xff, 0x07})
}

func FuzzUnmarshal(f *testing.F) {
	g, err := Grid(3)
	if err != nil {
		f.Fatal(err)
	}
	b := sketch.NewBinned(g)
	b.AddBatch([]float64{-1, 0, 0.3, 12, 12, math.Inf(1)})
	whole, err := Marshal(b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{})
	f.Add([]byte{0x30, 9})
	f.Add([]byte{0x21, 1, 0, 0, 0, 0, 0, 0, 0, 0x30, 40, 0x42, 5, 8, 9, 0x12, 1, 1})
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x42, 0})
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
