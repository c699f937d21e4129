package otlp_test

import (
	"fmt"
	"log"

	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/otlp"
)

// A data point that a collector sent becomes a sketch, which answers quantiles.
func ExampleFromDataPoint() {
	point := &metricsv1.ExponentialHistogramDataPoint{
		Scale: 0, Count: 10, ZeroCount: 1,
		Positive: &metricsv1.ExponentialHistogramDataPoint_Buckets{Offset: 2, BucketCounts: []uint64{5, 3, 1}},
	}
	s, err := otlp.FromDataPoint(point)
	if err != nil {
		log.Fatal(err)
	}
	lower, upper, err := s.QuantileBounds(0.9)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d values, the 0.9 quantile is from %v to %v\n", s.Count(), lower, upper)
	// Output: 10 values, the 0.9 quantile is from 8 to 16
}

// A sketch on any grid becomes a data point, after Rebin if its grid is not exponential.
func ExampleDataPoint() {
	linear, err := sketch.NewLinear(0, 100, 1000)
	if err != nil {
		log.Fatal(err)
	}
	s := sketch.NewBinned(linear)
	s.AddBatch([]float64{5.5, 6.25, 33})
	grid, err := otlp.Grid(0)
	if err != nil {
		log.Fatal(err)
	}
	point, err := otlp.DataPoint(s.Rebin(grid))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(point.GetCount(), point.GetPositive().GetOffset(), point.GetPositive().GetBucketCounts())
	// Output: 3 2 [2 0 0 1]
}
