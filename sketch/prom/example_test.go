package prom_test

import (
	"fmt"
	"log"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/prom"
)

// A histogram of Prometheus' client becomes a sketch, which answers quantiles.
func ExampleFromHistogram() {
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "latency", NativeHistogramBucketFactor: 1.1})
	for i := range 100 {
		latency.Observe(float64(i))
	}
	var m dto.Metric
	if err := latency.Write(&m); err != nil {
		log.Fatal(err)
	}
	s, err := prom.FromHistogram(m.GetHistogram())
	if err != nil {
		log.Fatal(err)
	}
	lower, upper, err := s.QuantileBounds(0.5)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v\nthe median is from %.1f to %.1f\n", s, lower, upper)
	// Output:
	// exponential:scale=3: 100 values in 38 of 33573 buckets, 0 NaN
	// the median is from 45.3 to 49.4
}

// A sketch on a linear or explicit grid becomes a classic histogram.
func ExampleHistogram() {
	grid, err := sketch.NewExplicit([]float64{0.1, 1})
	if err != nil {
		log.Fatal(err)
	}
	s := sketch.NewBinned(grid)
	s.AddBatch([]float64{0.05, 0.5, 0.7, 3})
	h, err := prom.Histogram(s)
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range h.GetBucket() {
		fmt.Printf("le=%.3g %d\n", b.GetUpperBound(), b.GetCumulativeCount())
	}
	// Output:
	// le=0.1 1
	// le=1 3
	// le=+Inf 4
}
