package ddsketch_test

import (
	"fmt"
	"log"

	datadog "github.com/DataDog/sketches-go/ddsketch"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/ddsketch"
)

// A DDSketch of DataDog's library becomes a sketch with the same buckets.
func ExampleUnmarshal() {
	latency, err := datadog.NewDefaultDDSketch(0.01)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 1000 {
		if err := latency.Add(float64(i)); err != nil {
			log.Fatal(err)
		}
	}
	data, err := proto.Marshal(latency.ToProto())
	if err != nil {
		log.Fatal(err)
	}
	s, err := ddsketch.Unmarshal(data)
	if err != nil {
		log.Fatal(err)
	}
	lower, upper, err := s.QuantileBounds(0.99)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d values, the 0.99 quantile is from %.1f to %.1f\n", s.Count(), lower, upper)
	// Output: 1000 values, the 0.99 quantile is from 972.8 to 992.5
}

// A sketch on any grid becomes a DDSketch, after Rebin if its grid is not exponential.
func ExampleMarshal() {
	grid, err := sketch.NewExponential(5)
	if err != nil {
		log.Fatal(err)
	}
	linear, err := sketch.NewLinear(0, 100, 1000)
	if err != nil {
		log.Fatal(err)
	}
	s := sketch.NewBinned(linear)
	s.AddBatch([]float64{5.5, 6.25, 33})
	data, err := ddsketch.Marshal(s.Rebin(grid))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(data), "bytes")
	// Output: 64 bytes
}
