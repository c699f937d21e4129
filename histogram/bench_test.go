package histogram

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// wide returns a histogram of n buckets.
func wide(n int, count func(x float64) float64) *Histogram {
	h := of(make([]float64, n+1), make([]float64, n)...)
	for i := range h.Breaks {
		h.Breaks[i] = float64(i)
	}
	for i := range h.Counts {
		h.Counts[i] = count((float64(i) + 0.5) / float64(n))
	}
	return h
}

func BenchmarkRebin(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func(x float64) float64{
		"noise":  func(float64) float64 { return float64(rng.IntN(1000)) },
		"normal": func(x float64) float64 { return math.Round(1e5*math.Exp(-50*(x-0.5)*(x-0.5)) + 50*rng.Float64()) },
		"smooth": func(x float64) float64 { return 1e6 * math.Exp(-50*(x-0.5)*(x-0.5)) },
		"sparse": func(float64) float64 { return float64(max(0, rng.IntN(1000)-970)) },
	}
	for _, name := range []string{"noise", "normal", "smooth", "sparse"} {
		h := wide(10_000, shapes[name])
		b.Run(fmt.Sprintf("EMDCC/%s/10000to100", name), func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Rebin(100); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("squares/%s/10000to100", name), func(b *testing.B) {
			for b.Loop() {
				if _, err := h.RebinLeastSquares(100); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 3))
	hs := make([]*Histogram, 10_000)
	for i := range hs {
		hs[i] = wide(1000, func(float64) float64 { return float64(rng.IntN(100)) })
	}
	b.Run("10000of1000", func(b *testing.B) {
		for b.Loop() {
			if _, err := Add(hs...); err != nil {
				b.Fatal(err)
			}
		}
	})
}
