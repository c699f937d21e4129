package histogramtools_test

import (
	"fmt"
	"log"
	"os"

	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/histogramtools"
)

// A histogram that R made with hist(), whose buckets hold their upper breaks, becomes a sketch.
func ExampleUnmarshalRightClosed() {
	data, err := os.ReadFile("testdata/default.pb")
	if err != nil {
		log.Fatal(err)
	}
	s, err := histogramtools.UnmarshalRightClosed(data)
	if err != nil {
		log.Fatal(err)
	}
	lower, upper, err := s.QuantileBounds(0.5)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d values, the median is from %.4g to %.4g\n", s.Count(), lower, upper)
	// Output: 9 values, the median is from 0 to 10
}

// A sketch on a linear or explicit grid becomes a histogram that R reads with as.histogram().
func ExampleMarshal() {
	grid, err := sketch.NewLinear(0, 100, 4)
	if err != nil {
		log.Fatal(err)
	}
	s := sketch.NewBinned(grid)
	s.AddBatch([]float64{5.5, 33, 40})
	data, err := histogramtools.Marshal(s)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(data), "bytes")
	// Output: 53 bytes
}

// A sketch becomes a histogram that package histogram plots, re-bins and compares.
func ExampleToHistogram() {
	grid, err := sketch.NewExponential(0)
	if err != nil {
		log.Fatal(err)
	}
	s := sketch.NewBinned(grid)
	s.AddBatch([]float64{1.5, 3, 20, 30})
	h, err := histogramtools.ToHistogram(s)
	fmt.Println(h, err)
	// Output: [1, 2] 1, (2, 4] 1, (4, 16] 0, (16, 32] 2 <nil>
}
