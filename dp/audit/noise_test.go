package audit

import (
	"fmt"
	"math/big"
	"testing"

	"github.com/quietile/quietile/dp/exact"
)

// An impatient sampler ends the loop of a trial, which can take any number of rounds, after some of them.
type impatient struct {
	exact.Sampler
	rounds int
}

func (s *impatient) Accept(rate *exact.Rate, k exact.Uint128) bool {
	if k == exact.From64(1) && rate.Rat().Cmp(big.NewRat(1, 1)) == 0 {
		if s.rounds--; s.rounds < 0 {
			return false
		}
	}
	return s.Sampler.Accept(rate, k)
}

// A trial, run by its code under the enumerating sampler, has the law of the definition: trials are independent and repeated until one succeeds, so a draw has the law of
// a trial given that it succeeds.
func TestTrialsOfNoiseHaveTheLawOfTheDefinition(t *testing.T) {
	const rounds = 64 // e^−64 < 2^−92
	f := func(noise exact.Noise, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		const failed = 1 << 20
		law, err := Enumerate(func(s exact.Sampler) []uint64 {
			magnitude, negative, ok := noise.Trial(&impatient{s, rounds})
			switch {
			case !ok:
				return []uint64{failed}
			case negative:
				return []uint64{-magnitude.Lo}
			}
			return []uint64{magnitude.Lo}
		})
		if err != nil {
			t.Fatal(err)
		}
		one := float().SetInt64(1)
		success := float().Sub(one, law[key([]uint64{failed})])
		const reach = 12
		at, _ := noiseLaw(noise, reach)
		for k := int64(-reach); k <= reach; k++ {
			p, want := law[key([]uint64{uint64(k)})], at(max(k, -k))
			if p == nil {
				t.Fatalf("%s: %d is impossible", nameOf(noise), k)
			}
			// Ratios of values that the limit does not touch are right to nearly all bits, and probabilities to those that the limit leaves.
			ratio := float().Quo(float().Mul(p, at(0)), float().Mul(want, law[key([]uint64{0})]))
			if off := ratio.Sub(ratio, one); off.Sign() != 0 && off.MantExp(nil) > -190 {
				t.Errorf("%s: P(%d)/P(0) is off by a factor of 1 + %.3g", nameOf(noise), k, off)
			}
			share := float().Quo(p, success)
			if off := share.Sub(share, want); off.Sign() != 0 && off.MantExp(nil) > -90 {
				t.Errorf("%s: P(%d) is off by %.3g", nameOf(noise), k, off)
			}
		}
		chance, _ := success.Float64()
		t.Logf("%s: a trial succeeds with probability %.3f", nameOf(noise), chance)
		if chance < 0.25 {
			t.Errorf("%s: a trial succeeds with probability %.3f", nameOf(noise), chance)
		}
	}
	for _, r := range []*big.Rat{
		big.NewRat(1, 1), big.NewRat(2, 1), big.NewRat(9, 1), big.NewRat(7, 3), big.NewRat(5, 4), big.NewRat(2, 3), big.NewRat(20, 3),
	} {
		laplace, err := exact.NewLaplace(r)
		f(laplace, err)
		gaussian, err := exact.NewGaussian(r)
		f(gaussian, err)
	}
	gaussian, err := exact.NewGaussian(big.NewRat(1000, 7))
	f(gaussian, err)
}

// The law of a noisy count in a window adds up to 1, and is that of the code when the window is the draw's own.
func TestWindowsKeepTheLaw(t *testing.T) {
	f := func(noise exact.Noise, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, window := range [][3]int64{{3, 0, 2}, {0, 0, 2}, {5, 4, 20}, {1, -30, 30}, {40, 0, 1}} {
			sum := float().SetInt64(-1)
			for _, p := range noisyLaw(noise, window[0], window[1], window[2]) {
				if p.Sign() <= 0 {
					t.Errorf("%s: probability %g in %v", nameOf(noise), p, window)
				}
				sum.Add(sum, p)
			}
			if sum.Sign() != 0 && sum.MantExp(nil) > -240 {
				t.Errorf("%s: probabilities in %v add up to 1 + %.3g", nameOf(noise), window, sum)
			}
		}
	}
	for _, r := range []*big.Rat{big.NewRat(2, 1), big.NewRat(7, 3), big.NewRat(50, 1)} {
		laplace, err := exact.NewLaplace(r)
		f(laplace, err)
		gaussian, err := exact.NewGaussian(r)
		f(gaussian, err)
	}
}

// The loss of one noisy count is 1/scale per record and 1/(2·variance) in concentrated terms.
func TestNoiseCostsWhatItIsSaidTo(t *testing.T) {
	f := func(noise exact.Noise, by int64, most float64) {
		t.Helper()
		law := func(count int64) Law {
			l := Law{}
			for i, p := range noisyLaw(noise, count, -60, 60) {
				l[fmt.Sprint(i)] = p
			}
			return l
		}
		x, y := law(0), law(by)
		for _, alpha := range []float64{1.01, 1.5, 2, 4, 16} {
			there, back := divergence(alpha, x, y), divergence(alpha, y, x)
			if d := max(there, back); d > alpha*most*(1+1e-9) || alpha == 2 && d < alpha*most*0.999 {
				t.Errorf("%s moved by %d: divergence of order %g is %g of %g", nameOf(noise), by, alpha, d, alpha*most)
			}
		}
	}
	for _, variance := range []int64{1, 3, 20} {
		g, err := exact.NewGaussian(big.NewRat(variance, 1))
		if err != nil {
			t.Fatal(err)
		}
		f(g, 1, 0.5/float64(variance))
		f(g, 2, 2/float64(variance))
	}
}
