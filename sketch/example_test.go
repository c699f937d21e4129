package sketch_test

import (
	"fmt"
	"sync"

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

// The scale follows from the error that a quantile may have.
func ExampleRelativeError() {
	scale, err := sketch.RelativeError(0.01)
	if err != nil {
		panic(err)
	}
	grid, err := sketch.NewExponential(scale)
	if err != nil {
		panic(err)
	}
	bytes := sketch.NewBinned(grid)
	for i := range 100_000 {
		bytes.Add(float64(i) * 1e6)
	}
	p99, err := bytes.Quantile(0.99)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%v: within 1 %%: %v\n", grid, 0.99*98999e6 < p99 && p99 < 1.01*98999e6)
	// Output: exponential:scale=6: within 1 %: true
}

// Sketches travel as bytes. Equal ones give equal bytes, in whatever order they were merged.
func ExampleBinned_MarshalBinary() {
	grid, err := sketch.NewExponential(6)
	if err != nil {
		panic(err)
	}
	here := sketch.NewBinned(grid)
	for i := range 10_000 {
		here.Add(float64(i%1000) / 10)
	}
	data, err := here.MarshalBinary()
	if err != nil {
		panic(err)
	}
	var there sketch.Binned
	if err := there.UnmarshalBinary(data); err != nil {
		panic(err)
	}
	fmt.Println(len(data) < 600, there.Equal(here), &there)
	// Output: true true exponential:scale=6: 10000 values in 314 of 268549 buckets, 0 NaN
}

// A Recorder counts from many goroutines. Each value is in exactly one of the sketches that Drain returns.
func ExampleRecorder() {
	grid, err := sketch.NewLinear(0, 60, 60)
	if err != nil {
		panic(err)
	}
	seconds := sketch.NewRecorder(grid)
	var requests sync.WaitGroup
	for i := range 100 {
		requests.Go(func() { seconds.Add(float64(i % 10)) })
	}
	requests.Wait()
	all, err := seconds.Drain()
	if err != nil {
		panic(err)
	}
	median, err := all.Quantile(0.5)
	if err != nil {
		panic(err)
	}
	fmt.Println(all.Count(), "requests, median", median)
	// Output: 100 requests, median 4
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
