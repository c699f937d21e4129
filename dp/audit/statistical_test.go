package audit

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
)

// The sampler of a release draws from the law that the audit enumerates.
func TestReleasesFollowTheEnumeratedLaw(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var bytes [32]byte
	binary.LittleEndian.PutUint64(bytes[:], seed)
	g := exact.NewFrom(rand.NewChaCha8(bytes))
	f := func(levels uint, weights, records []uint64, quantiles ...int64) {
		t.Helper()
		c := recursiveCase("", levels, quantiles, 2, 1, weights, 0)
		law, err := Enumerate(func(s exact.Sampler) []uint64 { return c.Answer(records, s) })
		if err != nil {
			t.Fatal(err)
		}
		const draws = 30_000
		counts := map[string]float64{}
		for range draws {
			answer := key(c.Answer(records, g))
			if law[answer] == nil {
				t.Fatalf("%v is impossible", answerOf(answer))
			}
			counts[answer]++
		}
		// Pearson's statistic, rare answers in one cell; it must lie within seven standard deviations of its mean.
		x, cells, rest, expected := 0.0, 0.0, 0.0, 0.0
		for answer, p := range law {
			want, _ := p.Float64()
			want *= draws
			if want < 10 {
				rest, expected = rest+counts[answer], expected+want
				continue
			}
			x += (counts[answer] - want) * (counts[answer] - want) / want
			cells++
		}
		if math.Abs(rest-expected) > 10*math.Sqrt(expected)+10 {
			t.Errorf("records %v, q %v: %g rare answers, expected %g", records, quantiles, rest, expected)
		}
		if free := cells - 1; x > free+7*math.Sqrt(2*free)+15 {
			t.Errorf("records %v, q %v: chi-square %.1f with %g degrees of freedom", records, quantiles, x, free)
		}
	}
	const u = recursive.Unit
	f(0, []uint64{1, 1, 1}, []uint64{3, 0, 2}, u/4, u/2, 3*u/4)
	f(1, []uint64{3, 1}, []uint64{4, 3}, u/10, u/2)
	f(1, []uint64{1, 2, 1}, []uint64{0, 6, 1}, u/2)
	f(3, []uint64{1}, []uint64{3}, u/3)
	f(2, []uint64{1, 1}, []uint64{0, 0}, u/2, 9*u/10)
}
