// Package exact samples from the distributions of differential privacy without rounding: every answer has exactly the stated probability, given a source
// of fair bits.
//
// Each sampler compares a lazily drawn uniform number with certified integer bounds of the probability. When the bounds cannot decide, which happens
// less than once in 2⁴⁰ draws, more bits are drawn and the bounds are computed more precisely until they do. No floating-point number takes part.
// The error bounds are derived in docs/proofs/exact-sampling.md. The time of a draw depends on its inputs.
package exact

import (
	"crypto/rand"
	"io"
	"iter"
	"math/big"
	"math/bits"
)

// A Sampler is the randomness of a mechanism. Mechanisms take it as an interface so that an audit can run them under a sampler that enumerates every branch.
// Not safe for concurrent use.
type Sampler interface {
	// Coin is true with probability ½.
	Coin() bool
	// Uniform returns each integer in [0, n) with equal probability. n must not be 0.
	Uniform(n Uint128) Uint128
	// Binomial returns the number of heads in n tosses of a fair coin.
	Binomial(n uint64) uint64
	// Accept is true with probability exp(−rate·k).
	Accept(rate *Rate, k Uint128) bool
	// Chooser returns a chooser among items, of which there is at least one. It owns items until the next call of Chooser, which ends its own life.
	Chooser(rate *Rate, items []Item) Chooser
	// Pick returns the index of a weight, each with probability weight/total, and how many there are with what is left. Weights sum to at most total, which is positive, and are the same
	// whenever they are asked for: it panics where it sees that they do not.
	Pick(total uint64, weights iter.Seq[uint64]) int
	// AcceptRatio is true with probability num/den·exp(−rate·k), or with num/den·exp(rate·k) if grows is set, which is at most 1: it panics where it sees that it is not. num and den are
	// positive, and are not changed.
	AcceptRatio(rate *Rate, k Uint128, grows bool, num, den *big.Int) bool
	// AcceptSum is true with probability Σ num/den·exp(−rate·k) over the terms k and num, or 1 if that is less. num and den are positive. Terms are the same whenever they are asked for, and are asked for as far as need be.
	AcceptSum(rate *Rate, terms iter.Seq2[Uint128, *big.Int], den *big.Int) bool
	// Repeat calls trial until it returns true. A trial that does not must leave nothing behind that changes the law of the next.
	Repeat(trial func() bool)
}

// A Generator is the production [Sampler]. Not safe for concurrent use; making one is cheap.
type Generator struct {
	src     source
	chooser chooser
	// How the fast paths work; tests lower them so that the slow paths run all the time. The law does not depend on them.
	width uint // random bits of a fast draw, at most 64
	loss  uint // fast bounds are taken to be no better than 2^−loss, at most 58
	start uint // first precision of a slow path in bits
}

// New returns a generator that draws from the operating system's secure source (crypto/rand).
func New() *Generator { return NewFrom(rand.Reader) }

// NewFrom returns a generator that draws its bits from r. It is meant for reproducible tests: a release whose bits anyone can predict is not private.
// A read error panics.
func NewFrom(r io.Reader) *Generator {
	g := &Generator{width: 64, loss: 58, start: 256}
	g.src.r, g.src.next = r, sourceBytes
	return g
}

// extend appends 64 random bits to u.
func (g *Generator) extend(u *big.Int) *big.Int {
	u.Lsh(u, 64)
	return u.Or(u, new(big.Int).SetUint64(g.src.uint64()))
}

// Coin implements [Sampler].
func (g *Generator) Coin() bool { return g.src.bits(1) == 1 }

// Uniform implements [Sampler]. It draws integers of n's bit length until one is below n: fewer than two on average.
func (g *Generator) Uniform(n Uint128) Uint128 {
	if n.IsZero() {
		panic("exact: uniform below 0")
	}
	top := n.Sub(From64(1))
	length := uint(top.BitLen())
	for {
		var x Uint128
		if length > 64 {
			x.Hi = g.src.bits(length - 64)
			x.Lo = g.src.uint64()
		} else if length > 0 {
			x.Lo = g.src.bits(length)
		}
		if x.Less(n) {
			return x
		}
	}
}

// Accept implements [Sampler]. k = 0 draws nothing.
func (g *Generator) Accept(rate *Rate, k Uint128) bool {
	if k.IsZero() {
		return true
	}
	whole, t := rate.power(k)
	t >>= whole
	// 2⁶⁴·exp(−rate·k) lies in [t, t+err]: expLoss, and 1 for the bits shifted out.
	err := uint64(expLoss + 1)
	if g.loss < 58 {
		err += 1 << (64 - g.loss)
	}
	u := g.src.bits(g.width) << (64 - g.width)
	if u < t {
		if t-u >= 1<<(64-g.width) {
			return true
		}
	} else if u-t >= err {
		return false
	}
	return g.resolveAccept(rate, k, u>>(64-g.width))
}

// resolveAccept decides an acceptance whose first bits are given.
func (g *Generator) resolveAccept(rate *Rate, k Uint128, first uint64) bool {
	u, width := new(big.Int).SetUint64(first), g.width
	for prec := g.start; ; prec *= 2 {
		for width < prec {
			u, width = g.extend(u), width+64
		}
		lo, hi := rate.expNeg(k, width)
		if u.Cmp(lo) < 0 {
			return true // u+1 ≤ lo
		}
		if u.Cmp(hi) >= 0 {
			return false
		}
	}
}

// AcceptRatio implements [Sampler], by big integers.
func (g *Generator) AcceptRatio(rate *Rate, k Uint128, grows bool, num, den *big.Int) bool {
	// exp(±rate·k) is at most den/num: with as many bits more as that has, the bounds below have the width asked for, or the probability is 0 to it.
	spare := uint(max(num.BitLen(), den.BitLen())-min(num.BitLen(), den.BitLen())) + 64
	u, width := new(big.Int).SetUint64(g.src.bits(g.width)), g.width
	for prec := g.start; ; prec *= 2 {
		for width < prec {
			u, width = g.extend(u), width+64
		}
		from, to := ratioTimesExp(rate, k, grows, num, den, width, width+spare)
		if from.BitLen() > int(width)+1 || from.BitLen() == int(width)+1 && from.TrailingZeroBits() < width {
			panic("exact: a probability above 1")
		}
		if u.Cmp(from) < 0 {
			return true // u+1 ≤ from
		}
		if u.Cmp(to) >= 0 {
			return false
		}
	}
}

// ratioTimesExp returns from ≤ 2^width·num/den·exp(∓rate·k) ≤ to, by an exponential of prec bits.
func ratioTimesExp(rate *Rate, k Uint128, grows bool, num, den *big.Int, width, prec uint) (from, to *big.Int) {
	lo, hi := rate.expNeg(k, prec)
	from, to = new(big.Int).Lsh(num, width), new(big.Int).Lsh(num, width)
	below, above := new(big.Int).Set(den), new(big.Int).Set(den)
	if grows {
		from.Lsh(from, prec)
		to.Lsh(to, prec)
		below.Mul(below, hi)
		above.Mul(above, lo)
		if above.Sign() == 0 { // the exponential is beyond this precision
			above.SetInt64(1)
			to.Lsh(to, prec)
		}
	} else {
		from.Mul(from, lo)
		to.Mul(to, hi)
		below.Lsh(below, prec)
		above.Set(below)
	}
	from.Quo(from, below)
	return from, to.Quo(to, above).Add(to, big.NewInt(1))
}

// AcceptSum implements [Sampler], by big integers.
func (g *Generator) AcceptSum(rate *Rate, terms iter.Seq2[Uint128, *big.Int], den *big.Int) bool {
	u, width := new(big.Int).SetUint64(g.src.bits(g.width)), g.width
	for prec := g.start; ; prec *= 2 {
		for width < prec {
			u, width = g.extend(u), width+64
		}
		// 2^prec·den times the sum is at least lo, and at most hi once all terms are added.
		full := new(big.Int).Lsh(den, prec)
		lo, hi := new(big.Int), new(big.Int)
		for k, num := range terms {
			below, above := rate.expNeg(k, prec)
			if lo.Add(lo, below.Mul(below, num)).Cmp(full) >= 0 {
				return true
			}
			hi.Add(hi, above.Mul(above, num))
		}
		from := lo.Quo(lo.Lsh(lo, width), full)
		if u.Cmp(from) < 0 {
			return true // u+1 ≤ from
		}
		if to := hi.Quo(hi.Lsh(hi, width), full); u.Cmp(to) > 0 {
			return false
		}
	}
}

// Pick implements [Sampler]. It asks for weights up to the one that it picks.
func (g *Generator) Pick(total uint64, weights iter.Seq[uint64]) int {
	x, i := g.Uniform(From64(total)).Lo, 0
	for w := range weights {
		if total < w {
			panic("exact: weights above their total")
		}
		if x < w {
			return i
		}
		x, total = x-w, total-w
		i++
	}
	return i
}

// Repeat implements [Sampler].
func (g *Generator) Repeat(trial func() bool) {
	for !trial() {
	}
}

// Chooser implements [Sampler]. A draw takes at most n/128 + 128 steps for n items; Replace and Append take O(1).
func (g *Generator) Chooser(rate *Rate, items []Item) Chooser {
	g.chooser.reset(g, rate, items)
	return &g.chooser
}

// Binomial implements [Sampler]. It takes O(log n) time, tens of nanoseconds for each bit of n below 2³⁰, and some twenty microseconds above, whatever n; the first draws
// of a size build a table for the whole process.
func (g *Generator) Binomial(n uint64) uint64 {
	k := uint64(0)
	if n >= 1<<minLarge {
		if n&1 == 1 && g.Coin() {
			k++
		}
		return k + g.binomialLarge(n/2)
	}
	for low := uint(n % (1 << minTable)); low > 0; {
		take := min(low, 64)
		k += uint64(bits.OnesCount64(g.src.bits(take)))
		low -= take
	}
	for j := uint(minTable); j < maxTable; j++ {
		if n>>j&1 == 1 {
			k += g.binomialPower(j)
		}
	}
	for range n >> maxTable {
		k += g.binomialPower(maxTable)
	}
	return k
}
