package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// A dataset is values to be counted.
type dataset struct {
	name   string
	values []float64
	// parts is how many sketches the values are divided among before they are merged; 1 means none.
	parts int
}

// datasets returns n values of each kind.
func datasets(n int, seed uint64) []dataset {
	random := rand.New(rand.NewPCG(seed, 0))
	draw := func(f func() float64) []float64 {
		xs := make([]float64, n)
		for i := range xs {
			xs[i] = f()
		}
		return xs
	}
	logNormal := draw(func() float64 { return math.Exp(random.NormFloat64()) })
	up := slices.Sorted(slices.Values(logNormal))
	down := slices.Clone(up)
	slices.Reverse(down)
	// Whole numbers from 1 to 100 with probabilities proportional to 1/i.
	zipf := make([]float64, 100)
	sum := 0.0
	for i := range zipf {
		sum += 1 / float64(i+1)
		zipf[i] = sum
	}
	return []dataset{
		{"log-normal", logNormal, 1},
		{"Pareto", draw(func() float64 { return math.Pow(1-random.Float64(), -1/1.5) }), 1},
		{"uniform", draw(func() float64 { return 100 * random.Float64() }), 1},
		{"sorted up", up, 1},
		{"sorted down", down, 1},
		{"heavy ties", draw(func() float64 {
			i, _ := slices.BinarySearch(zipf, random.Float64()*sum)
			return float64(i + 1)
		}), 1},
		{"merged 1000×1000", logNormal, 1000},
	}
}
