package main

import (
	"bytes"
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/VictoriaMetrics/metrics"
	"github.com/apache/datasketches-go/common"
	"github.com/apache/datasketches-go/kll"
	"github.com/caio/go-tdigest/v4"
	"github.com/openhistogram/circonusllhist"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	otelmetric "go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/sketch"
)

func peers() []library {
	return []library{
		dataSketches(),
		ddSketch("DDSketch log 1 %", must2(mapping.NewLogarithmicMapping(0.01))),
		ddSketch("DDSketch cubic 1 %", must2(mapping.NewCubicallyInterpolatedMapping(0.01))),
		hdr(), tDigest(), prometheusNative(), openTelemetry(), circonus(), victoriaMetrics(),
	}
}

// must2 is must for a mapping, as an interface.
func must2[M mapping.IndexMapping](m M, err error) mapping.IndexMapping { return must(m, err) }

func dataSketches() library {
	type sketch = kll.ItemsSketch[float64]
	return library{
		name: "DataSketches KLL k=200",
		make: func() any {
			return must(kll.NewKllItemsSketch[float64](200, 8, common.ItemSketchDoubleComparator(false), common.ItemSketchDoubleSerDe{}))
		},
		add: func(s any, xs []float64) {
			k := s.(*sketch)
			for _, x := range xs {
				k.Update(x)
			}
		},
		merge: func(into, from any) { into.(*sketch).Merge(from.(*sketch)) },
		quantiles: func(s any, qs []float64) []float64 {
			return must(s.(*sketch).GetQuantiles(qs, true))
		},
		encode: func(s any) []byte { return must(s.(*sketch).ToSlice()) },
	}
}

func ddSketch(name string, m mapping.IndexMapping) library {
	return library{
		name: name, bounded: true,
		make: func() any { return ddsketch.NewDDSketch(m, store.NewDenseStore(), store.NewDenseStore()) },
		add: func(s any, xs []float64) {
			d := s.(*ddsketch.DDSketch)
			for _, x := range xs {
				check(d.Add(x))
			}
		},
		merge:     func(into, from any) { check(into.(*ddsketch.DDSketch).MergeWith(from.(*ddsketch.DDSketch))) },
		quantiles: func(s any, qs []float64) []float64 { return must(s.(*ddsketch.DDSketch).GetValuesAtQuantiles(qs)) },
		encode: func(s any) []byte {
			var b []byte
			s.(*ddsketch.DDSketch).Encode(&b, false)
			return b
		},
	}
}

// hdrUnit makes whole numbers of values: HDR counts no others.
const hdrUnit = 1e6

func hdr() library {
	return library{
		name: "HDR 2 digits", bounded: true,
		make: func() any { return hdrhistogram.New(1, 1e12, 2) },
		add: func(s any, xs []float64) {
			h := s.(*hdrhistogram.Histogram)
			for _, x := range xs {
				check(h.RecordValue(int64(x * hdrUnit)))
			}
		},
		merge: func(into, from any) { into.(*hdrhistogram.Histogram).Merge(from.(*hdrhistogram.Histogram)) },
		quantiles: func(s any, qs []float64) []float64 {
			values := make([]float64, len(qs))
			for i, q := range qs {
				values[i] = 100 * q
			}
			for i, v := range s.(*hdrhistogram.Histogram).ValueAtPercentilesSlice(values) {
				values[i] = float64(v) / hdrUnit
			}
			return values
		},
		encode: func(s any) []byte {
			return must(s.(*hdrhistogram.Histogram).Encode(hdrhistogram.V2CompressedEncodingCookieBase))
		},
		note: "whole numbers only: a value is multiplied by 10^6 and cut off, which is part of its insert",
	}
}

func tDigest() library {
	return library{
		name: "t-digest δ=100",
		make: func() any { return must(tdigest.New(tdigest.Compression(100))) },
		add: func(s any, xs []float64) {
			t := s.(*tdigest.TDigest)
			for _, x := range xs {
				check(t.Add(x))
			}
		},
		merge: func(into, from any) { check(into.(*tdigest.TDigest).Merge(from.(*tdigest.TDigest))) },
		quantiles: func(s any, qs []float64) []float64 {
			values := make([]float64, len(qs))
			for i, q := range qs {
				values[i] = s.(*tdigest.TDigest).Quantile(q)
			}
			return values
		},
		encode: func(s any) []byte { return s.(*tdigest.TDigest).ToBytes(nil) },
	}
}

func prometheusNative() library {
	message := func(s any) *dto.Histogram {
		var m dto.Metric
		check(s.(prometheus.Histogram).Write(&m))
		m.Histogram.CreatedTimestamp = nil // it would say more than the others do
		return m.Histogram
	}
	return library{
		name: "Prometheus native scale 5", bounded: true,
		make: func() any {
			return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Help: "x", NativeHistogramBucketFactor: 1.0219})
		},
		add: func(s any, xs []float64) {
			h := s.(prometheus.Histogram)
			for _, x := range xs {
				h.Observe(x)
			}
		},
		read: func(s any, qs []float64) []float64 {
			h := message(s)
			b := sketch.NewBinned(must(sketch.NewExponential(int(h.GetSchema()))))
			check(b.AddN(0, h.GetZeroCount()))
			spans(b, 1, h.GetPositiveSpan(), h.GetPositiveDelta())
			spans(b, -1, h.GetNegativeSpan(), h.GetNegativeDelta())
			return must(b.Quantiles(qs))
		},
		encode: func(s any) []byte { return must(proto.Marshal(message(s))) },
		note:   "safe for many goroutines; keeps a sum too; answers are read from its buckets by this library",
	}
}

// spans adds the buckets of a native histogram.
func spans(b *sketch.Binned, sign int, spans []*dto.BucketSpan, deltas []int64) {
	k, n := 0, int64(0)
	for _, s := range spans {
		k += int(s.GetOffset())
		for range s.GetLength() {
			n, deltas = n+deltas[0], deltas[1:]
			i, ok := b.Grid().PowerIndex(sign, k-1) // Prometheus counts from the upper boundary
			if !ok {
				panic("a bucket beyond float64")
			}
			check(b.AddBucket(i, uint64(n)))
			k++
		}
	}
}

// An otel is a histogram of OpenTelemetry's SDK, which is reached through its instruments only.
type otel struct {
	reader *sdk.ManualReader
	record otelmetric.Float64Histogram
}

func (o *otel) point() metricdata.ExponentialHistogramDataPoint[float64] {
	var all metricdata.ResourceMetrics
	check(o.reader.Collect(context.Background(), &all))
	return all.ScopeMetrics[0].Metrics[0].Data.(metricdata.ExponentialHistogram[float64]).DataPoints[0]
}

func openTelemetry() library {
	return library{
		name: "OpenTelemetry scale 5", bounded: true,
		make: func() any {
			o := &otel{reader: sdk.NewManualReader()}
			provider := sdk.NewMeterProvider(sdk.WithReader(o.reader), sdk.WithView(sdk.NewView(
				sdk.Instrument{Name: "x"},
				sdk.Stream{Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: 4096, MaxScale: 5, NoMinMax: true}},
			)))
			o.record = must(provider.Meter("bench").Float64Histogram("x"))
			return o
		},
		add: func(s any, xs []float64) {
			o, ctx := s.(*otel), context.Background()
			for _, x := range xs {
				o.record.Record(ctx, x)
			}
		},
		read: func(s any, qs []float64) []float64 {
			p := s.(*otel).point()
			b := sketch.NewBinned(must(sketch.NewExponential(int(p.Scale))))
			check(b.AddN(0, p.ZeroCount))
			for i, n := range p.PositiveBucket.Counts {
				at, ok := b.Grid().PowerIndex(1, int(p.PositiveBucket.Offset)+i)
				if !ok {
					panic("a bucket beyond float64")
				}
				check(b.AddBucket(at, n))
			}
			return must(b.Quantiles(qs))
		},
		encode: func(s any) []byte {
			p := s.(*otel).point()
			return must(proto.Marshal(&metricsv1.ExponentialHistogramDataPoint{
				Count: p.Count, Sum: &p.Sum, Scale: p.Scale, ZeroCount: p.ZeroCount,
				Positive: &metricsv1.ExponentialHistogramDataPoint_Buckets{Offset: p.PositiveBucket.Offset, BucketCounts: p.PositiveBucket.Counts},
				Negative: &metricsv1.ExponentialHistogramDataPoint_Buckets{Offset: p.NegativeBucket.Offset, BucketCounts: p.NegativeBucket.Counts},
			}))
		},
		note: "through the SDK's instrument, as applications use it; keeps a sum too; answers are read from its buckets by this library",
	}
}

func circonus() library {
	return library{
		name: "circonusllhist", bounded: true,
		make: func() any { return circonusllhist.New(circonusllhist.NoLocks()) },
		add: func(s any, xs []float64) {
			h := s.(*circonusllhist.Histogram)
			for _, x := range xs {
				check(h.RecordValue(x))
			}
		},
		merge:     func(into, from any) { into.(*circonusllhist.Histogram).Merge(from.(*circonusllhist.Histogram)) },
		quantiles: func(s any, qs []float64) []float64 { return must(s.(*circonusllhist.Histogram).ApproxQuantile(qs)) },
		encode: func(s any) []byte {
			var b bytes.Buffer
			check(s.(*circonusllhist.Histogram).Serialize(&b))
			return b.Bytes()
		},
	}
}

func victoriaMetrics() library {
	return library{
		name: "VictoriaMetrics", bounded: true,
		make: func() any { return new(metrics.Histogram) },
		add: func(s any, xs []float64) {
			h := s.(*metrics.Histogram)
			for _, x := range xs {
				h.Update(x)
			}
		},
		merge: func(into, from any) { into.(*metrics.Histogram).Merge(from.(*metrics.Histogram)) },
		read: func(s any, qs []float64) []float64 {
			type bucket struct {
				lower, upper float64
				n            uint64
			}
			var all []bucket
			total := uint64(0)
			s.(*metrics.Histogram).VisitNonZeroBuckets(func(r string, n uint64) {
				low, high, _ := strings.Cut(r, "...")
				b := bucket{n: n}
				b.lower, _ = strconv.ParseFloat(low, 64)
				b.upper, _ = strconv.ParseFloat(high, 64)
				all, total = append(all, b), total+n
			})
			values := make([]float64, len(qs))
			for i, q := range qs {
				rank, before := max(math.Ceil(q*float64(total)), 1), 0.0
				for _, b := range all {
					if before+float64(b.n) >= rank {
						values[i] = b.lower + (b.upper-b.lower)*(rank-before-0.5)/float64(b.n)
						break
					}
					before += float64(b.n)
				}
			}
			return values
		},
		encode: func(s any) []byte {
			var b bytes.Buffer
			s.(*metrics.Histogram).VisitNonZeroBuckets(func(r string, n uint64) {
				b.WriteString(`x_bucket{vmrange="` + r + `"} ` + strconv.FormatUint(n, 10) + "\n")
			})
			return b.Bytes()
		},
		note: "its form is the text that it exposes; answers are interpolated in its buckets; safe for many goroutines",
	}
}
