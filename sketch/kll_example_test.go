package sketch_test

import (
	"fmt"
	"log"

	"github.com/quietile/quietile/sketch"
)

// A KLL needs no grid, and no idea of what the values are like.
func ExampleKLL() {
	s, err := sketch.NewKLL(sketch.DefaultK, 1)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 1_000_000 {
		s.Add(float64(i*7919%1_000_000) / 1000) // 0 to 999.999, in no order
	}
	lower, upper, err := s.QuantileBounds(0.5)
	if err != nil {
		log.Fatal(err)
	}
	low, _ := s.Min()
	high, _ := s.Max()
	fmt.Println(s.Count(), "values from", low, "to", high)
	fmt.Printf("the error of a rank is at most %.2f %%\n", 100*s.RankError())
	fmt.Println("the bounds hold the median:", lower <= 500 && 500 <= upper)
	// Output:
	// 1000000 values from 0 to 999.999
	// the error of a rank is at most 1.33 %
	// the bounds hold the median: true
}

// Sketches of different sizes merge. Each should have its own seed.
func ExampleKLL_Merge() {
	all, err := sketch.NewKLL(200, 1)
	if err != nil {
		log.Fatal(err)
	}
	for part := range 10 {
		s, err := sketch.NewKLL(400, uint64(2+part))
		if err != nil {
			log.Fatal(err)
		}
		for i := range 20 {
			s.Add(float64(20*part + i + 1))
		}
		if err := all.Merge(s); err != nil {
			log.Fatal(err)
		}
	}
	values, err := all.Quantiles([]float64{0.25, 0.5, 0.99})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(values, all.RankError()) // 200 values are still kept one by one
	// Output: [50 100 198] 0
}

// A value may come with a weight.
func ExampleKLL_AddN() {
	s, err := sketch.NewKLL(200, 1)
	if err != nil {
		log.Fatal(err)
	}
	for value, weight := range map[float64]uint64{1: 900, 10: 90, 100: 10} {
		if err := s.AddN(value, weight); err != nil {
			log.Fatal(err)
		}
	}
	ranks, err := s.CDF([]float64{1, 10, 100})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Count(), ranks)
	// Output: 1000 [0.9 0.99 1]
}

// The bytes are those of Apache DataSketches: its Java, C++ and Go libraries read them as a KLL sketch of doubles.
func ExampleKLL_MarshalBinary() {
	s, err := sketch.NewKLL(200, 1)
	if err != nil {
		log.Fatal(err)
	}
	s.AddBatch([]float64{3, 1, 2})
	data, err := s.MarshalBinary()
	if err != nil {
		log.Fatal(err)
	}
	var again sketch.KLL
	if err := again.UnmarshalBinary(data); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(data), "bytes;", &again)
	// Output: 64 bytes; kll(200): 3 values, 3 kept, height 1, 0 NaN
}
