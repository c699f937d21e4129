package recursive

import (
	"fmt"
	"math"
	"testing"

	"github.com/quietile/quietile/dp/exact"
)

func BenchmarkJoint(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000_000} {
		for _, m := range []int{3, 9, 29} {
			for _, buckets := range []bool{false, true} {
				p := &Problem{Levels: 40, Weights: ones(8192), Epsilon: Unit, Contributions: 1, Joint: true, Buckets: buckets, Arity: m + 1}
				for b := range 8192 {
					below := func(b int) uint64 {
						return uint64(math.Round(float64(n) * math.Erfc((20-float64(b)*40/8192)/math.Sqrt2) / 2))
					}
					if k := below(b+1) - below(b); k > 0 {
						p.Counts = append(p.Counts, Count{b, k})
					}
				}
				for i := int64(1); i <= int64(m); i++ {
					p.Quantiles = append(p.Quantiles, i*Unit/int64(m+1))
				}
				b.Run(fmt.Sprintf("records=%.0e/quantiles=%d/buckets=%v", float64(n), m, buckets), func(b *testing.B) {
					for b.Loop() {
						Solve(p, exact.New())
					}
				})
			}
		}
	}
}
