package audit

import (
	"math/big"

	"github.com/quietile/quietile/dp/exact"
)

// A window is an [enumerator] that adds noise: a noisy count below low counts as low and one above high as high, which is post-processing and leaves finitely many.
// The probabilities come from the definition of the noise; that the draws of package exact have them is checked apart from it (docs/proofs/discrete-noise.md).
type window struct {
	*enumerator
	low, high int64
	laws      map[noisyCount][]*big.Float
}

// A noisyCount is all that the law of a noisy count depends on.
type noisyCount struct {
	noise string // its name and parameter
	count uint64
}

// windowOf returns a sampler with noise of a sampler of [Enumerate].
func windowOf(s exact.Sampler, low, high int64, laws map[noisyCount][]*big.Float) exact.NoiseSampler {
	return &window{s.(*enumerator), low, high, laws}
}

// Noisy implements [exact.NoiseSampler].
func (w *window) Noisy(count uint64, noise exact.Noise) int64 {
	return w.low + int64(w.draw(func() []*big.Float {
		key := noisyCount{nameOf(noise), count}
		if w.laws[key] == nil {
			w.laws[key] = noisyLaw(noise, int64(count), w.low, w.high)
		}
		return w.laws[key]
	}))
}

// nameOf tells laws of noise apart: mechanisms may make the same law many times.
func nameOf(noise exact.Noise) string {
	switch n := noise.(type) {
	case *exact.Laplace:
		return "Laplace " + n.Scale().RatString()
	case *exact.Gaussian:
		return "Gaussian " + n.Variance().RatString()
	}
	panic("audit: noise without a name")
}

// noisyLaw returns the probabilities that count plus noise, moved to the nearest end of [low, high] if beyond it, is low, low+1 … high.
func noisyLaw(noise exact.Noise, count, low, high int64) []*big.Float {
	at, above := noiseLaw(noise, max(high-count, count-low, 0)+1)
	magnitude := func(k int64) int64 { return max(k, -k) }
	// P(noise ≥ k); for k ≤ 0 it is 1 less P(noise ≥ 1−k), by symmetry.
	atLeast := func(k int64) *big.Float {
		if k > 0 {
			return above(k)
		}
		return float().Sub(float().SetInt64(1), above(1-k))
	}
	law := make([]*big.Float, high-low+1)
	for i := range law {
		k := low + int64(i) - count
		switch i {
		case 0: // P(noise ≤ k) = P(noise ≥ −k)
			law[i] = atLeast(-k)
		case len(law) - 1:
			law[i] = atLeast(k)
		default:
			law[i] = at(magnitude(k))
		}
	}
	return law
}

// noiseLaw returns functions that give P(noise = k) for 0 ≤ k, and P(noise ≥ k) for 0 < k ≤ reach, by the definitions of the laws.
func noiseLaw(noise exact.Noise, reach int64) (at, atLeast func(k int64) *big.Float) {
	one := float().SetInt64(1)
	switch n := noise.(type) {
	case *exact.Laplace:
		inverse := new(big.Rat).Inv(n.Scale())
		power := func(k int64) *big.Float { return expNeg(new(big.Rat).Mul(inverse, new(big.Rat).SetInt64(k))) }
		ratio := power(1)
		whole := float().Add(one, ratio) // Σ r^|k| = (1+r)/(1−r), and Σ over k' ≥ k is r^k/(1−r)
		return func(k int64) *big.Float { p := power(k); return p.Quo(p.Mul(p, float().Sub(one, ratio)), whole) },
			func(k int64) *big.Float { p := power(k); return p.Quo(p, whole) }
	case *exact.Gaussian:
		twice := new(big.Rat).Mul(n.Variance(), big.NewRat(2, 1))
		weight := func(k int64) *big.Float {
			x := new(big.Rat).SetInt64(k)
			return expNeg(x.Mul(x, x).Quo(x, twice))
		}
		// tails[k] = Σ of the weights from k on; what is beyond the last is less than 2^−2·precision of them.
		var weights []*big.Float
		for k := int64(0); k <= reach || weights[k-1].MantExp(nil) > -2*precision; k++ {
			weights = append(weights, weight(k))
		}
		tails := make([]*big.Float, len(weights)+1)
		tails[len(weights)] = float()
		for k := len(weights) - 1; k >= 0; k-- {
			tails[k] = float().Add(tails[k+1], weights[k])
		}
		whole := float().Add(tails[0], tails[1])
		return func(k int64) *big.Float { return float().Quo(weights[k], whole) },
			func(k int64) *big.Float { return float().Quo(tails[k], whole) }
	}
	panic("audit: a law of noise that has no definition here")
}
