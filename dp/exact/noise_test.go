package exact

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
)

// noiseWeight is the weight of k by the definition.
func noiseWeight(noise Noise, k int64) *big.Float {
	x := new(big.Rat).SetInt64(max(k, -k))
	switch n := noise.(type) {
	case *Laplace:
		x.Quo(x, n.Scale())
	case *Gaussian:
		x.Mul(x, x).Quo(x, new(big.Rat).Mul(n.Variance(), big.NewRat(2, 1)))
	}
	return referenceExp(x)
}

func laplace(t testing.TB, num, den int64) *Laplace {
	t.Helper()
	l, err := NewLaplace(big.NewRat(num, den))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func gaussian(t testing.TB, num, den int64) *Gaussian {
	t.Helper()
	g, err := NewGaussian(big.NewRat(num, den))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestNoiseHasItsLaw(t *testing.T) {
	_, r := seeded(t)
	check := func(g *Generator, name string, noise Noise, draws int) {
		t.Helper()
		reach := int64(12*noise.Deviation() + 12)
		chance, sum := map[int64]float64{}, 0.0
		for k := -reach; k <= reach; k++ {
			chance[k], _ = noiseWeight(noise, k).Float64()
			sum += chance[k]
		}
		counts := map[int64]float64{}
		for range draws {
			counts[g.Noisy(1000, noise)-1000]++
		}
		// Pearson's statistic over the likely values, the others in one cell; within seven standard deviations of its mean.
		x, cells, rest, expected := 0.0, 0.0, float64(draws), float64(draws)
		for k, p := range chance {
			want := p / sum * float64(draws)
			if want < 8 {
				continue
			}
			x += (counts[k] - want) * (counts[k] - want) / want
			cells++
			rest, expected = rest-counts[k], expected-want
		}
		if math.Abs(rest-expected) > 8*math.Sqrt(expected)+8 {
			t.Errorf("%s: %g rare values, expected %g", name, rest, expected)
		}
		if free := max(cells-1, 1); x > free+7*math.Sqrt(2*free)+15 {
			t.Errorf("%s: chi-square %.1f with %g degrees of freedom", name, x, free)
		}
	}
	for _, p := range [][2]int64{{1, 1}, {1, 10}, {5, 1}, {7, 3}, {100, 1}, {1_000_000_000, 333_333_333}, {2, 3}} {
		l, g := laplace(t, p[0], p[1]), gaussian(t, p[0], p[1])
		check(NewFrom(r), "Laplace "+l.Scale().RatString(), l, 40_000)
		check(NewFrom(r), "Gaussian "+g.Variance().RatString(), g, 40_000)
		check(clumsy(r, 3, 2, 8), "Laplace "+l.Scale().RatString()+", slow paths", l, 2_000)
		check(clumsy(r, 3, 2, 8), "Gaussian "+g.Variance().RatString()+", slow paths", g, 2_000)
	}
}

func TestNoiseOfExtremeScaleHasItsDeviation(t *testing.T) {
	_, r := seeded(t)
	g := NewFrom(r)
	check := func(noise Noise, want float64) {
		t.Helper()
		const draws = 4000
		sum := 0.0
		for range draws {
			x := float64(g.Noisy(0, noise))
			sum += x * x
		}
		// The fourth moment of Laplace noise is six times the square of its variance.
		if got := math.Sqrt(sum / draws); math.Abs(got-want) > 0.15*want {
			t.Errorf("deviation %g, want %g", got, want)
		}
	}
	check(laplace(t, 1<<40, 1), math.Sqrt2*(1<<40))
	check(laplace(t, 1<<62-1, 1<<12), math.Sqrt2*(1<<50))
	check(gaussian(t, 1<<60, 1), 1<<30)
	check(gaussian(t, 1<<60, 1<<20-1), 1<<20)
	check(laplace(t, 1, 1<<62), 0)
	check(gaussian(t, 1, 1<<60), 0)
	check(gaussian(t, 1<<60-1, 1<<60), 1)
}

func TestNoisyCountsSaturate(t *testing.T) {
	f := func(count uint64, magnitude Uint128, negative bool, want int64) {
		t.Helper()
		if got := saturated(count, magnitude, negative); got != want {
			t.Errorf("%d, %v, %v: %d, want %d", count, magnitude, negative, got, want)
		}
	}
	one := Uint128{Lo: 1}
	f(5, one, true, 4)
	f(0, one, true, -1)
	f(5, one, false, 6)
	f(math.MaxInt64-1, one, false, math.MaxInt64)
	f(math.MaxInt64, one, false, math.MaxInt64)
	f(math.MaxUint64, Uint128{}, false, math.MaxInt64)
	f(math.MaxUint64, one, false, math.MaxInt64)
	f(math.MaxUint64, Uint128{Lo: math.MaxUint64}, true, 0)
	f(0, Uint128{Lo: 1 << 63}, true, math.MinInt64)
	f(0, Uint128{Lo: 1<<63 - 1}, true, -math.MaxInt64)
	f(0, Uint128{Lo: 1<<63 + 1}, true, math.MinInt64)
	f(7, Uint128{Hi: 1}, true, math.MinInt64)
	f(7, Uint128{Hi: 1 << 62}, false, math.MaxInt64)
}

// A scripted sampler records what it is asked and answers true a number of times.
type scripted struct {
	Sampler
	asked []Uint128
	yes   int
}

func (s *scripted) Accept(_ *Rate, k Uint128) bool {
	s.asked = append(s.asked, k)
	return len(s.asked) <= s.yes
}

func TestAcceptanceOfWideExponentsIsSplit(t *testing.T) {
	f := func(k *big.Int, yes, calls int) {
		t.Helper()
		s := &scripted{yes: yes}
		got := acceptBig(s, unitRate, new(big.Int).Set(k))
		sum := new(big.Int)
		for _, part := range s.asked {
			sum.Add(sum, part.Big())
		}
		if len(s.asked) != calls || got != (yes >= calls) || got && sum.Cmp(k) != 0 {
			t.Errorf("k %v: %v after %d calls that add up to %v", k, got, len(s.asked), sum)
		}
	}
	wide := new(big.Int).Lsh(big.NewInt(3), 127)
	f(wide, 9, 2)
	f(wide, 1, 2)
	f(wide, 0, 1)
	f(new(big.Int), 1, 1)
	f(big.NewInt(77), 1, 1)
	f(new(big.Int).Lsh(big.NewInt(1), 128), 5, 2)
	f(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1)), 5, 1)
}

func TestNoiseOutOfRangeIsRefused(t *testing.T) {
	f := func(err error, value string) {
		t.Helper()
		if !errors.Is(err, ErrNoise) || !strings.Contains(err.Error(), value) {
			t.Errorf("error %v does not name %s", err, value)
		}
	}
	wide := new(big.Int).Lsh(big.NewInt(1), 63)
	for _, r := range []*big.Rat{new(big.Rat), big.NewRat(-1, 2), new(big.Rat).SetInt(wide), new(big.Rat).SetFrac(big.NewInt(1), wide)} {
		_, err := NewLaplace(r)
		f(err, r.RatString())
		_, err = NewGaussian(r)
		f(err, r.RatString())
	}
	_, err := NewGaussian(big.NewRat(1<<60+1, 2))
	f(err, "/2")
}

func BenchmarkNoise(b *testing.B) {
	for _, n := range []struct {
		name  string
		noise Noise
	}{
		{"Laplace/scale=14", laplace(b, 14, 1)},
		{"Laplace/scale=1e9÷71428571", laplace(b, 1_000_000_000, 71_428_571)},
		{"Gaussian/variance=700", gaussian(b, 700, 1)},
		{"Gaussian/variance=5e8÷71428571", gaussian(b, 500_000_000, 71_428_571)},
	} {
		b.Run(n.name, func(b *testing.B) {
			g := New()
			for b.Loop() {
				g.Noisy(1000, n.noise)
			}
		})
	}
}
