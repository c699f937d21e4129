package main

import (
	"fmt"

	"github.com/quietile/quietile/sketch"
)

// ours are the sketches of this library.
func ours() []library {
	all := []library{}
	for scale := 2; scale <= 8; scale++ {
		grid := must(sketch.NewExponential(scale))
		all = append(all, binned(fmt.Sprintf("Quietile scale %d", scale), grid, true))
	}
	all = append(all, binned("Quietile linear 8192", must(sketch.NewLinear(0, 128, 8192)), false))
	return append(all, library{
		name: "Quietile KLL k=200", ours: true,
		make: func() any { return must(sketch.NewKLL(200, 1)) },
		add: func(s any, xs []float64) {
			b := s.(*sketch.KLL)
			for _, x := range xs {
				b.Add(x)
			}
		},
		batch:     func(s any, xs []float64) { s.(*sketch.KLL).AddBatch(xs) },
		merge:     func(into, from any) { check(into.(*sketch.KLL).Merge(from.(*sketch.KLL))) },
		quantiles: func(s any, qs []float64) []float64 { return must(s.(*sketch.KLL).Quantiles(qs)) },
		encode:    func(s any) []byte { return must(s.(*sketch.KLL).MarshalBinary()) },
	})
}

func binned(name string, grid *sketch.Grid, bounded bool) library {
	return library{
		name: name, ours: true, bounded: bounded,
		make: func() any { return sketch.NewBinned(grid) },
		add: func(s any, xs []float64) {
			b := s.(*sketch.Binned)
			for _, x := range xs {
				b.Add(x)
			}
		},
		batch:     func(s any, xs []float64) { s.(*sketch.Binned).AddBatch(xs) },
		merge:     func(into, from any) { check(into.(*sketch.Binned).Merge(from.(*sketch.Binned))) },
		quantiles: func(s any, qs []float64) []float64 { return must(s.(*sketch.Binned).Quantiles(qs)) },
		encode:    func(s any) []byte { return must(s.(*sketch.Binned).MarshalBinary()) },
	}
}
