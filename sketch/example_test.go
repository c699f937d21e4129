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
	// Output: 1000 values, median 499, p99 988
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

// A grid for private release is chosen before any data is seen: from what the values can be, not from what they
// are. What lies outside is counted too, in the first and the last bucket.
func ExampleNewLinear() {
	grid, err := sketch.NewLinear(0, 120, 120)
	if err != nil {
		panic(err)
	}
	ages := sketch.NewBinned(grid)
	ages.AddBatch([]float64{-1, 0, 17, 17, 64, 120, 300})
	for i, n := range ages.All() {
		lower, upper := grid.Bounds(i)
		fmt.Printf("%d from %g to below %g\n", n, lower, upper)
	}
	fmt.Println(grid)
	// Output:
	// 1 from -Inf to below 0
	// 1 from 0 to below 1
	// 2 from 17 to below 18
	// 1 from 64 to below 65
	// 2 from 120 to below +Inf
	// linear:lower=0,upper=120,bins=120
}

func ExampleParseGrid() {
	for _, s := range []string{"exponential:scale=5,min=0.001,max=1000", "explicit:0,1,5,10", "linear:lower=0,upper=1"} {
		grid, err := sketch.ParseGrid(s)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(grid, "has", grid.Len(), "buckets")
	}
	// Output:
	// exponential:scale=5,min=0.001,max=1000 has 640 buckets
	// explicit:0,1,5,10 has 5 buckets
	// linear grid: bins is missing
}
