package sketch_test

import (
	"fmt"

	"github.com/quietile/quietile/sketch"
)

func ExampleBinned() {
	grid, err := sketch.NewExponential(5)
	if err != nil {
		panic(err)
	}
	latency := sketch.NewBinned(grid)
	for ms := range 1000 {
		latency.Add(float64(ms))
	}
	values, err := latency.Quantiles([]float64{0.5, 0.99})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d values, median %.0f, p99 %.0f\n", latency.Count(), values[0], values[1])
	// Output: 1000 values, median 499, p99 989
}

func ExampleBinned_Merge() {
	grid, err := sketch.NewLinear(0, 100, 100)
	if err != nil {
		panic(err)
	}
	monday, tuesday := sketch.NewBinned(grid), sketch.NewBinned(grid)
	monday.AddBatch([]float64{1, 2, 3})
	tuesday.AddBatch([]float64{3, 4})
	if err := monday.Merge(tuesday); err != nil {
		panic(err)
	}
	fmt.Println(monday.Count(), monday.Bucket(grid.Index(3)))
	// Output: 5 2
}
