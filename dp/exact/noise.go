package exact

import (
	"errors"
	"fmt"
	"math"
	"math/big"
)

// ErrNoise is wrapped by the errors of [NewLaplace] and [NewGaussian].
var ErrNoise = errors.New("noise out of range")

// A NoiseSampler is the randomness of a mechanism that adds noise to counts. Not safe for concurrent use.
type NoiseSampler interface {
	Sampler
	// Noisy returns count plus a draw of the noise, independent of every other draw; a sum beyond int64 is its nearest end.
	Noisy(count uint64, noise Noise) int64
}

// A Noise is a symmetric law of integers: a [Laplace] or a [Gaussian]. It is immutable and safe for concurrent use.
type Noise interface {
	// Trial makes one trial by the sampler's draws. If ok, (−1)^negative·magnitude has the law, and otherwise another trial is due; ok has the same positive probability
	// each time. 0 is never negative if ok.
	Trial(s Sampler) (magnitude Uint128, negative, ok bool)
	// Deviation returns a bound of the law's standard deviation, close to it where it is large: a number for errors and displays, that decides no probability.
	Deviation() float64
}

// maxLaplace keeps the terms of a Laplace scale, and maxGaussian those of a Gaussian variance, to where sums and squares fit 128 bits (discrete-noise.md, lemma 3).
const (
	maxLaplace  = 1 << 63
	maxGaussian = 1 << 60
)

// unitRate is the rate 1.
var unitRate = mustRate(big.NewRat(1, 1))

func mustRate(r *big.Rat) *Rate {
	rate, err := NewRate(r)
	if err != nil {
		panic(err) // a caller's bounds keep it within range
	}
	return rate
}

// Laplace is the discrete Laplace law: P(k) ∝ exp(−|k|/scale) for all integers k.
type Laplace struct {
	num, den uint64 // scale = num/den in lowest terms
	inverse  *Rate  // 1/num
}

// NewLaplace returns the law with a positive scale whose numerator and denominator, in lowest terms, are below 2⁶³. The error wraps [ErrNoise] and holds the value.
func NewLaplace(scale *big.Rat) (*Laplace, error) {
	if scale.Sign() <= 0 || !scale.Num().IsUint64() || scale.Num().Uint64() >= maxLaplace || !scale.Denom().IsUint64() || scale.Denom().Uint64() >= maxLaplace {
		return nil, fmt.Errorf("%w: scale %s of Laplace noise is not a positive ratio of integers below 2^63", ErrNoise, scale.RatString())
	}
	num := scale.Num().Uint64()
	return &Laplace{num, scale.Denom().Uint64(), mustRate(new(big.Rat).SetFrac(big.NewInt(1), scale.Num()))}, nil
}

// Scale returns the scale.
func (l *Laplace) Scale() *big.Rat {
	return new(big.Rat).SetFrac(new(big.Int).SetUint64(l.num), new(big.Int).SetUint64(l.den))
}

// Deviation implements [Noise]: √2·scale, that of the continuous law.
func (l *Laplace) Deviation() float64 { return math.Sqrt2 * float64(l.num) / float64(l.den) }

// Trial implements [Noise] by algorithm 2 of Canonne, Kamath, Steinke, "The discrete Gaussian for differential privacy" (NeurIPS 2020), with some four calls of
// [Sampler.Accept] on average.
func (l *Laplace) Trial(s Sampler) (magnitude Uint128, negative, ok bool) {
	// u + num·v is geometric with ratio exp(−1/num): u is its remainder by num, v its quotient.
	var u Uint128
	if l.num > 1 {
		u = s.Uniform(From64(l.num))
	}
	if !s.Accept(l.inverse, u) {
		return Uint128{}, false, false
	}
	v := uint64(0) // a loop cannot reach 2⁶⁴
	for s.Accept(unitRate, From64(1)) {
		v++
	}
	magnitude = Product(l.num, v).Add(u)
	if l.den > 1 {
		magnitude, _ = magnitude.QuoRem64(l.den)
	}
	if s.Coin() {
		return magnitude, true, !magnitude.IsZero()
	}
	return magnitude, false, true
}

// Gaussian is the discrete Gaussian law: P(k) ∝ exp(−k²/(2·variance)) for all integers k.
type Gaussian struct {
	num, den uint64 // variance = num/den in lowest terms
	proposal *Laplace
	step     Uint128 // t·den, t being the proposal's scale
	rate     *Rate   // 1/(2·num·den·t²)
}

// NewGaussian returns the law with a positive variance parameter, σ² in the formula, whose numerator and denominator, in lowest terms, are at most 2⁶⁰. The error
// wraps [ErrNoise] and holds the value.
func NewGaussian(variance *big.Rat) (*Gaussian, error) {
	if variance.Sign() <= 0 || !variance.Num().IsUint64() || variance.Num().Uint64() > maxGaussian || !variance.Denom().IsUint64() || variance.Denom().Uint64() > maxGaussian {
		return nil, fmt.Errorf("%w: variance %s of Gaussian noise is not a positive ratio of integers up to 2^60", ErrNoise, variance.RatString())
	}
	t := new(big.Int).Quo(variance.Num(), variance.Denom())
	t.Sqrt(t).Add(t, big.NewInt(1)) // ⌊σ⌋ + 1
	proposal, err := NewLaplace(new(big.Rat).SetInt(t))
	if err != nil {
		panic(err) // t ≤ 2³⁰ + 1
	}
	step := Product(t.Uint64(), variance.Denom().Uint64())
	den := t.Mul(t, t)
	den.Lsh(den, 1)
	den.Mul(den, variance.Num()).Mul(den, variance.Denom())
	return &Gaussian{
		num:      variance.Num().Uint64(),
		den:      variance.Denom().Uint64(),
		proposal: proposal,
		step:     step,
		rate:     mustRate(new(big.Rat).SetFrac(big.NewInt(1), den)),
	}, nil
}

// Variance returns the variance parameter.
func (g *Gaussian) Variance() *big.Rat {
	return new(big.Rat).SetFrac(new(big.Int).SetUint64(g.num), new(big.Int).SetUint64(g.den))
}

// Deviation implements [Noise]: the root of the variance parameter, which the law's own is at most.
func (g *Gaussian) Deviation() float64 { return math.Sqrt(float64(g.num) / float64(g.den)) }

// Trial implements [Noise] by algorithm 3 of Canonne, Kamath, Steinke (2020): a proposal y of discrete Laplace noise of scale t = ⌊σ⌋ + 1 is kept with probability
// exp(−(|y| − σ²/t)²/(2σ²)).
func (g *Gaussian) Trial(s Sampler) (magnitude Uint128, negative, ok bool) {
	magnitude, negative, ok = g.proposal.Trial(s)
	if !ok {
		return magnitude, negative, false
	}
	// (|y| − σ²/t)²/(2σ²) = (|y|·t·den − num)²/(2·num·den·t²)
	if magnitude.Hi == 0 && g.step.Hi == 0 {
		off, num := Product(magnitude.Lo, g.step.Lo), From64(g.num)
		if off.Less(num) {
			off = num.Sub(off)
		} else {
			off = off.Sub(num)
		}
		if off.Hi == 0 {
			return magnitude, negative, s.Accept(g.rate, Product(off.Lo, off.Lo))
		}
	}
	off := new(big.Int).Mul(magnitude.Big(), g.step.Big())
	off.Sub(off, new(big.Int).SetUint64(g.num))
	return magnitude, negative, acceptBig(s, g.rate, off.Mul(off, off))
}

// acceptBig is [Sampler.Accept] for any k ≥ 0: exp(−rate·k) is the product of the probabilities for parts of k.
func acceptBig(s Sampler, rate *Rate, k *big.Int) bool {
	most := Uint128{1<<64 - 1, 1<<64 - 1}
	part := most.Big()
	for k.Cmp(part) > 0 {
		if !s.Accept(rate, most) {
			return false
		}
		k.Sub(k, part)
	}
	low := new(big.Int).And(k, big.NewInt(0).SetUint64(1<<64-1))
	return s.Accept(rate, Uint128{new(big.Int).Rsh(k, 64).Uint64(), low.Uint64()})
}

// Noisy implements [NoiseSampler]. It takes some 0.2 microseconds for Laplace noise and 0.5 for Gaussian, whatever the scale.
func (g *Generator) Noisy(count uint64, noise Noise) int64 {
	for {
		if magnitude, negative, ok := noise.Trial(g); ok {
			return saturated(count, magnitude, negative)
		}
	}
}

// saturated returns count ± magnitude, or the end of int64 that is nearest to it.
func saturated(count uint64, magnitude Uint128, negative bool) int64 {
	x := From64(count)
	switch {
	case !negative:
		x = x.Add(magnitude) // a magnitude is below 2¹²⁷, as no loop reaches 2⁶⁴
	case !x.Less(magnitude):
		x = x.Sub(magnitude)
	default:
		x = magnitude.Sub(x)
		if x.Hi > 0 || x.Lo > 1<<63 {
			return math.MinInt64
		}
		return -int64(x.Lo) // −2⁶³ is its own negative
	}
	if x.Hi > 0 || x.Lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(x.Lo)
}
