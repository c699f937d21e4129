package audit

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"strings"

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
// A trial that fails within [exact.Sampler.Repeat] ends its sequence; the others of the same trial have the more probability for it, as if it had been repeated for ever.
// The error says that the probabilities do not add up to 1.
func Enumerate(mechanism func(exact.Sampler) []uint64) (Law, error) {
	e := &enumerator{powers: map[string]*big.Float{}, failed: map[string]*big.Float{}}
	// By the trials on the way to an answer, as the outcomes before each.
	laws, trials := map[string]Law{}, map[string][]string{}
	for {
		e.depth, e.trials = 0, nil
		if answer, ok := e.run(mechanism); ok {
			way := strings.Join(e.trials, " ")
			if laws[way] == nil {
				laws[way], trials[way] = Law{}, e.trials
			}
			laws[way].add(key(answer), e.reached())
		}
		if !e.advance() {
			break
		}
	}
	law := Law{}
	for way, l := range laws {
		times := float().SetInt64(1)
		for _, trial := range trials[way] {
			if p := e.failed[trial]; p != nil {
				times.Quo(times, float().Sub(float().SetInt64(1), p))
			}
		}
		for k, p := range l {
			law.add(k, p.Mul(p, times))
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

// add adds to the probability of an answer.
func (l Law) add(key string, p *big.Float) {
	if l[key] == nil {
		l[key] = float()
	}
	l[key].Add(l[key], p)
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
	trials []string              // of the run: the outcomes before each
	failed map[string]*big.Float // of each trial, the probability to fail
}

// errFailed ends a run whose trial failed.
var errFailed = errors.New("trial failed")

// run runs a mechanism along the path and tells whether no trial failed.
func (e *enumerator) run(mechanism func(exact.Sampler) []uint64) (answer []uint64, ok bool) {
	defer func() {
		if r := recover(); r != nil && r != errFailed { //nolint:errorlint // the very value
			panic(r)
		}
	}()
	return mechanism(e), true
}

// Repeat implements [exact.Sampler].
func (e *enumerator) Repeat(trial func() bool) {
	before := make([]byte, 0, 4*e.depth)
	for _, d := range e.path[:e.depth] {
		before = binary.BigEndian.AppendUint32(before, uint32(d.outcome))
	}
	name, reached := hex.EncodeToString(before), e.reached()
	if trial() {
		e.trials = append(e.trials, name)
		return
	}
	if e.failed[name] == nil {
		e.failed[name] = float()
	}
	e.failed[name].Add(e.failed[name], float().Quo(e.reached(), reached))
	panic(errFailed)
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

// AcceptRatio implements [exact.Sampler].
func (e *enumerator) AcceptRatio(rate *exact.Rate, k exact.Uint128, grows bool, num, den *big.Int) bool {
	return e.draw(func() []*big.Float {
		p := float().Quo(float().SetInt(num), float().SetInt(den))
		if power := e.power(rate, k); grows {
			p.Quo(p, power)
		} else {
			p.Mul(p, power)
		}
		no := float().Sub(float().SetInt64(1), p)
		if no.Sign() < 0 {
			panic("a probability above 1")
		}
		return []*big.Float{no, p}
	}) == 1
}

// AcceptSum implements [exact.Sampler].
func (e *enumerator) AcceptSum(rate *exact.Rate, terms iter.Seq2[exact.Uint128, *big.Int], den *big.Int) bool {
	return e.draw(func() []*big.Float {
		one, p := float().SetInt64(1), float()
		for k, num := range terms {
			term := float().Mul(e.power(rate, k), float().SetInt(num))
			p.Add(p, term.Quo(term, float().SetInt(den)))
		}
		if p.Cmp(one) > 0 {
			p.Set(one)
		}
		return []*big.Float{one.Sub(one, p), p}
	}) == 1
}

// Pick implements [exact.Sampler].
func (e *enumerator) Pick(total uint64, weights iter.Seq[uint64]) int {
	return e.draw(func() []*big.Float {
		var chances []*big.Float
		left := new(big.Int).SetUint64(total)
		for w := range weights {
			left.Sub(left, new(big.Int).SetUint64(w))
			chances = append(chances, float().Quo(float().SetUint64(w), float().SetUint64(total)))
		}
		if left.Sign() < 0 {
			panic("weights above their total")
		}
		return append(chances, float().Quo(float().SetInt(left), float().SetUint64(total)))
	})
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
