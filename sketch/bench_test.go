package sketch

import (
	"math/rand/v2"
	"testing"
)

func BenchmarkMerge(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, s := range []string{"linear:lower=0,upper=128,bins=8192", "exponential:scale=3", "exponential:scale=5,min=0.001,max=1000"} {
		g, err := ParseGrid(s)
		if err != nil {
			b.Fatal(err)
		}
		again, err := ParseGrid(s) // an equal grid, not the same one
		if err != nil {
			b.Fatal(err)
		}
		from, apart := NewBinned(g), NewBinned(again)
		for _, x := range benchmarkValues() {
			from.Add(x)
			apart.Add(x * random.Float64())
		}
		b.Run(s, func(b *testing.B) {
			to := from.Clone()
			for b.Loop() {
				if err := to.Merge(apart); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("counts/"+s, func(b *testing.B) {
			one, two := from.AppendCounts(nil), apart.AppendCounts(nil)
			for b.Loop() {
				if _, err := MergeCounts(one, two); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(one)), "bytes")
		})
	}
}

func BenchmarkQuantiles(b *testing.B) {
	g, err := NewExponential(5)
	if err != nil {
		b.Fatal(err)
	}
	s := NewBinned(g)
	s.AddBatch(benchmarkValues())
	qs := []float64{0.5, 0.9, 0.95, 0.99, 0.999}
	for b.Loop() {
		if _, err := s.Quantiles(qs); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewLinear(b *testing.B) {
	for name, bins := range map[string]int{"exact": 8192, "inexact": 8191} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := NewLinear(0, 128, bins); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
