package sketch

import (
	"math"
	"math/rand/v2"
	"testing"
)

func BenchmarkKLLAdd(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	xs := make([]float64, 1<<16)
	for i := range xs {
		xs[i] = math.Exp(r.NormFloat64())
	}
	b.Run("single", func(b *testing.B) {
		s, _ := NewKLL(DefaultK, 1)
		for i := range 1 << 20 {
			s.Add(xs[i%len(xs)])
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			s.Add(xs[i%len(xs)])
		}
	})
	b.Run("batch", func(b *testing.B) {
		s, _ := NewKLL(DefaultK, 1)
		for range 16 {
			s.AddBatch(xs)
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i += 1024 {
			s.AddBatch(xs[i%len(xs):][:1024])
		}
	})
}
