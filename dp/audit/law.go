package audit

import (
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/quietile/quietile/dp/exact"
)

// precision is the number of bits of every probability; law sums are checked to lawTolerance.
const (
	precision    = 256
	lawTolerance = -200 // 2^−200
)

// A Law maps each possible answer, a vector of cuts, to its probability.
type Law map[string]*big.Float

// key encodes an answer as a key of a [Law].
func key(answer []uint64) string {
	b := make([]byte, 0, 8*len(answer))
	for _, x := range answer {
		b = binary.BigEndian.AppendUint64(b, x)
	}
	return string(b)
}

// answerOf decodes a key of a [Law].
func answerOf(key string) []uint64 {
	var answer []uint64
	for b := []byte(key); len(b) > 0; b = b[8:] {
		answer = append(answer, binary.BigEndian.Uint64(b))
	}
	return answer
}

func float() *big.Float { return new(big.Float).SetPrec(precision) }

// Enumerate returns the exact law of a mechanism's answer: it runs the mechanism once for every sequence of outcomes of its random draws, and adds up their
// probabilities. The mechanism must be a function of its sampler and end on every sequence, and the number of sequences must be small.
// The error says that the probabilities do not add up to 1.
func Enumerate(mechanism func(exact.Sampler) []uint64) (Law, error) {
	e := &enumerator{powers: map[string]*big.Float{}}
	law := Law{}
	for {
		e.depth = 0
		k := key(mechanism(e))
		p, ok := law[k]
		if !ok {
			p = float()
			law[k] = p
		}
		p.Add(p, e.reached())
		if !e.advance() {
			break
		}
	}
	sum := float().SetInt64(-1)
	for _, p := range law {
		sum.Add(sum, p)
	}
	if sum.Sign() != 0 && sum.MantExp(nil) > lawTolerance {
		return nil, fmt.Errorf("probabilities add up to 1 + %.3g", sum)
	}
	return law, nil
}

// A draw is a point on the path of choices being run.
type draw struct {
	chances []*big.Float // of each outcome
	outcome int
	reached *big.Float // probability of the path up to and with this outcome
}

// An enumerator is a sampler that follows a path of outcomes, and takes the first possible outcome of every draw beyond its end.
type enumerator struct {
	path   []draw
	depth  int
	powers map[string]*big.Float
}

func (e *enumerator) reached() *big.Float {
	if e.depth == 0 {
		return float().SetInt64(1)
	}
	return e.path[e.depth-1].reached
}

// draw returns the outcome of the next draw, whose chances are only computed when the path ends here.
func (e *enumerator) draw(chances func() []*big.Float) int {
	if e.depth == len(e.path) {
		d := draw{chances: chances(), outcome: -1}
		e.path = append(e.path, d)
		e.step()
	}
	e.depth++
	return e.path[e.depth-1].outcome
}

// step moves the last draw of the path to its next possible outcome and reports whether there is one.
func (e *enumerator) step() bool {
	last := len(e.path) - 1
	d := &e.path[last]
	for d.outcome++; d.outcome < len(d.chances); d.outcome++ {
		if p := d.chances[d.outcome]; p.Sign() > 0 {
			before := float().SetInt64(1)
			if last > 0 {
				before = e.path[last-1].reached
			}
			d.reached = float().Mul(before, p)
			return true
		}
	}
	return false
}

// advance moves to the next path and reports whether there is one.
func (e *enumerator) advance() bool {
	for len(e.path) > 0 {
		if e.step() {
			return true
		}
		e.path = e.path[:len(e.path)-1]
	}
	return false
}

// power returns exp(−rate·k).
func (e *enumerator) power(rate *exact.Rate, k exact.Uint128) *big.Float {
	x := rate.Rat()
	x.Mul(x, new(big.Rat).SetInt(k.Big()))
	name := x.RatString()
	p, ok := e.powers[name]
	if !ok {
		p = expNeg(x)
		e.powers[name] = p
	}
	return p
}

// expNeg returns e^−x for x ≥ 0, to nearly all of its precision: code apart from the one under audit.
func expNeg(x *big.Rat) *big.Float {
	f := func() *big.Float { return new(big.Float).SetPrec(precision + 64) }
	y := f().SetRat(x)
	halvings := max(y.MantExp(nil)+8, 0)
	y.SetMantExp(y, -halvings)
	sum, term := f().SetInt64(1), f().SetInt64(1)
	for k := int64(1); term.Sign() > 0 && term.MantExp(nil) > -precision-64; k++ {
		term.Mul(term, y)
		term.Quo(term, f().SetInt64(k))
		sum.Add(sum, term)
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return float().Quo(f().SetInt64(1), sum)
}

// Coin implements [exact.Sampler].
func (e *enumerator) Coin() bool {
	return e.draw(func() []*big.Float { return []*big.Float{float().SetFloat64(0.5), float().SetFloat64(0.5)} }) == 1
}

// Uniform implements [exact.Sampler] for n below 2⁶⁴.
func (e *enumerator) Uniform(n exact.Uint128) exact.Uint128 {
	return exact.From64(uint64(e.draw(func() []*big.Float {
		chances := make([]*big.Float, n.Lo)
		for i := range chances {
			chances[i] = float().Quo(float().SetInt64(1), float().SetInt(n.Big()))
		}
		return chances
	})))
}

// Binomial implements [exact.Sampler].
func (e *enumerator) Binomial(n uint64) uint64 {
	return uint64(e.draw(func() []*big.Float {
		chances := make([]*big.Float, n+1)
		for k := range chances {
			c := float().SetInt(new(big.Int).Binomial(int64(n), int64(k)))
			chances[k] = c.SetMantExp(c, -int(n))
		}
		return chances
	}))
}

// Accept implements [exact.Sampler].
func (e *enumerator) Accept(rate *exact.Rate, k exact.Uint128) bool {
	return e.draw(func() []*big.Float {
		p := e.power(rate, k)
		return []*big.Float{float().Sub(float().SetInt64(1), p), p}
	}) == 1
}

// Chooser implements [exact.Sampler].
func (e *enumerator) Chooser(rate *exact.Rate, items []exact.Item) exact.Chooser {
	return &chooser{e, rate, items}
}

type chooser struct {
	e     *enumerator
	rate  *exact.Rate
	items []exact.Item
}

func (c *chooser) Replace(i int, item exact.Item) { c.items[i] = item }
func (c *chooser) Append(item exact.Item)         { c.items = append(c.items, item) }

func (c *chooser) Choose() int {
	return c.e.draw(func() []*big.Float {
		chances, sum := make([]*big.Float, len(c.items)), float()
		for i, item := range c.items {
			chances[i] = float().Mul(c.e.power(c.rate, item.Score), float().SetInt(item.Mass.Big()))
			sum.Add(sum, chances[i])
		}
		for _, p := range chances {
			p.Quo(p, sum)
		}
		return chances
	})
}
