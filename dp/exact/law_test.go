package exact

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

// The tests of this file compute laws instead of sampling from them. A draw is a function of a uniform number in [0, 1), whose bits a script supplies, so that the probability of
// an outcome is the length of the interval of numbers that lead to it. Its ends are compared with a reference in floating point of many bits, from code of its own.

// A tape is a random source that plays the bits of a point of [0, 1), and then, lest the point be the end of an interval, others than zeros.
type tape struct {
	words []uint64
	at    int
}

// Read implements [io.Reader].
func (s *tape) Read(p []byte) (int, error) {
	for i := 0; i+8 <= len(p); i += 8 {
		w := uint64(0xb504f333f9de6484)
		if s.at < len(s.words) {
			w = s.words[s.at]
		}
		s.at++
		binary.LittleEndian.PutUint64(p[i:], w)
	}
	return len(p), nil
}

// play makes point the next number that g draws bit by bit.
func (s *tape) play(g *Generator, point *big.Float) {
	const zeros = 4 // words of them follow, so that what comes then adds next to nothing
	more := max((int(point.MinPrec())-point.MantExp(nil)-int(g.width)+63)/64, 0) + zeros
	bits, _ := new(big.Float).SetMantExp(point, int(g.width)+64*more).Int(nil)
	first := new(big.Int).Rsh(bits, uint(64*more)).Uint64()
	if g.width >= 32 { // the source gives the first bits of a word if they are many, the last if they are few
		first <<= 64 - g.width
	}
	s.words, s.at = append(s.words[:0], first), 0
	for i := more - 1; i >= 0; i-- {
		s.words = append(s.words, new(big.Int).And(new(big.Int).Rsh(bits, uint(64*i)), new(big.Int).SetUint64(1<<64-1)).Uint64())
	}
	g.src.next, g.src.spare = sourceBytes, 0
}

// scriptedGenerators are the production generator and clumsy ones, and their tape.
func scriptedGenerators() (map[string]*Generator, *tape) {
	s := new(tape)
	return map[string]*Generator{
		"production":      NewFrom(s),
		"poor bounds":     clumsy(s, 64, 2, 8),
		"32 random bits":  clumsy(s, 32, 58, 64),
		"few random bits": clumsy(s, 3, 58, 16),
		"both":            clumsy(s, 5, 4, 4),
	}, s
}

func floating(prec uint) *big.Float { return new(big.Float).SetPrec(prec) }

// A partition holds the ends of the intervals of [0, 1) that lead to outcomes 0, 1, …: the sums of their probabilities.
type partition []*big.Float

// partitionOf divides [0, 1) among items by the definition of their law.
func partitionOf(r *Rate, items []Item, prec uint) partition {
	least := items[0].Score
	for _, item := range items {
		if item.Score.Less(least) {
			least = item.Score
		}
	}
	p, sum := make(partition, len(items)), floating(prec)
	powers := map[Uint128]*big.Float{}
	for i, item := range items {
		gap := item.Score.Sub(least)
		if powers[gap] == nil {
			powers[gap] = referenceExpTo(new(big.Rat).Mul(r.Rat(), new(big.Rat).SetInt(gap.Big())), prec)
		}
		sum.Add(sum, floating(prec).Mul(powers[gap], floating(prec).SetInt(item.Mass.Big())))
		p[i] = floating(prec).Set(sum)
	}
	for _, end := range p {
		end.Quo(end, sum)
	}
	return p
}

// of returns the outcome of a point.
func (p partition) of(point *big.Float) int {
	return sort.Search(len(p)-1, func(i int) bool { return point.Cmp(p[i]) < 0 })
}

// start returns where the interval of outcome i begins.
func (p partition) start(i int) *big.Float {
	if i == 0 {
		return new(big.Float)
	}
	return p[i-1]
}

// A drawing is a draw under a script, and the partition that it should realise.
type drawing struct {
	t    *testing.T
	name string
	g    *Generator
	s    *tape
	draw func() int
	want partition
}

// at checks the outcome of a point.
func (d drawing) at(point *big.Float) {
	d.t.Helper()
	if point.Sign() < 0 || point.Cmp(big.NewFloat(1)) >= 0 {
		return
	}
	d.s.play(d.g, point)
	if got, want := d.draw(), d.want.of(point); got != want {
		d.t.Fatalf("%s: outcome %d of %d at %.40g, want %d, which ends at %.40g", d.name, got, len(d.want), point, want, d.want[want])
	}
}

// aroundEnd checks the points at a distance of 2^−bits on both sides of the end of outcome i.
func (d drawing) aroundEnd(i, bits int) {
	d.t.Helper()
	end := d.want[i]
	step := floating(end.Prec()).SetMantExp(big.NewFloat(1), -bits)
	d.at(floating(end.Prec()).Sub(end, step))
	d.at(floating(end.Prec()).Add(end, step))
}

// nearness is how close the draws must come to each end, in bits after the point.
const nearness = 120

// ends checks the ends of about so many outcomes, near and far, and random points, and returns the number of ends. A draw that is a monotone function of its point then has the
// law, but for 2·2^−nearness an outcome; that it is monotone is what the other points test.
func (d drawing) ends(random *rand.Rand, most int) int {
	d.t.Helper()
	checked := 0
	step := max((len(d.want)-1+most-1)/most, 1)
	for i := 0; i < len(d.want)-1; i++ {
		if i%step != 0 && i != len(d.want)-2 {
			continue
		}
		d.aroundEnd(i, nearness)
		d.aroundEnd(i, 55+random.IntN(12))
		d.aroundEnd(i, 1+random.IntN(nearness))
		checked++
	}
	for range most {
		d.at(floating(64).SetMantExp(floating(64).SetUint64(random.Uint64()), -64))
		d.at(floating(64).SetMantExp(floating(64).SetUint64(random.Uint64()), -64-random.IntN(64)))
	}
	return checked
}

// bisect returns the end of outcome i as the draw has it, by halving, to so many bits.
func (d drawing) bisect(i int, bits uint) *big.Float {
	end, step := floating(bits+64), floating(bits+64).SetInt64(1)
	for range bits {
		step.SetMantExp(step, -1)
		middle := floating(bits+64).Add(end, step)
		d.s.play(d.g, middle)
		if d.draw() <= i {
			end = middle
		}
	}
	return end
}

// nearWhole returns gaps k at which rate·k/ln 2 is very near a multiple of 2^−bits, and the integers beside them. They are the denominators of its continued fraction.
func nearWhole(r *Rate, bits uint) []Uint128 {
	num := new(big.Int).Lsh(new(big.Int).Mul(r.num, r.c.log2e), bits)
	den := new(big.Int).Lsh(r.den, constantBits)
	num.Mod(num, den)
	before, q := big.NewInt(0), big.NewInt(1)
	var ks []Uint128
	for q.BitLen() < 100 && num.Sign() > 0 {
		for _, off := range []int64{-1, 0, 1} {
			k := new(big.Int).Add(q, big.NewInt(off))
			ks = append(ks, Uint128{new(big.Int).Rsh(k, 64).Uint64(), new(big.Int).And(k, new(big.Int).SetUint64(1<<64-1)).Uint64()})
		}
		whole, rest := new(big.Int).QuoRem(den, num, new(big.Int))
		num, den = rest, num
		before, q = q, new(big.Int).Add(new(big.Int).Mul(whole, q), before)
	}
	return ks
}

// power2 returns 2^n.
func power2(n uint) Uint128 { return From64(1).Shl(n) }

// balanced gives each score gap the mass that keeps its weight between 1 and 2, and leaves out gaps that take a mass of more than 2¹¹⁸.
func balanced(r *Rate, gaps []Uint128) []Item {
	var items []Item
	for _, gap := range gaps {
		bits := new(big.Int).Mul(new(big.Int).Mul(r.num, r.c.log2e), gap.Big())
		bits.Rsh(bits.Quo(bits, r.den), constantBits)
		if bits.BitLen() < 8 && bits.Int64() < 118 {
			items = append(items, Item{power2(uint(bits.Int64()) + 1), gap})
		}
	}
	return items
}

func same(item Item, n int) []Item {
	items := make([]Item, n)
	for i := range items {
		items[i] = item
	}
	return items
}

// adversarial calls f with items that are hard to choose among.
func adversarial(t *testing.T, random *rand.Rand, f func(name string, r *Rate, items []Item)) {
	t.Helper()
	one := From64(1)
	for _, q := range []*big.Rat{
		big.NewRat(1, 7), big.NewRat(355, 113), big.NewRat(1<<32, 1), big.NewRat(1_000_000_007, 1<<60), new(big.Rat).SetFrac(big.NewInt(3), new(big.Int).Lsh(big.NewInt(1), 92)),
	} {
		r, err := NewRate(q)
		if err != nil {
			t.Fatal(err)
		}
		on := func(name string, items []Item) {
			t.Helper()
			f(fmt.Sprintf("rate %s, %s", q.RatString(), name), r, items)
		}
		on("one item", []Item{{From64(5), power2(90)}})
		on("a pair of equals", same(Item{From64(1), power2(90)}, 2))
		on("equals around another", []Item{{one, From64(5)}, {one, one}, {one, From64(5)}})
		on("powers near powers of two", balanced(r, nearWhole(r, 0)))
		on("powers near table entries", balanced(r, nearWhole(r, 8)))
		on("powers near finer table entries", balanced(r, nearWhole(r, 16)))
		on("scores one apart in 2^90", []Item{{one, power2(90)}, {one, power2(90).Add(one)}, {one, power2(90).Sub(one)}, {one, power2(90).Add(From64(2))}})
		on("gaps up to 2^100", []Item{{one, power2(100)}, {one, one}, {one, power2(92)}, {power2(110), power2(98)}, {one, power2(64)}, {power2(120), power2(100)}})
		on("masses 1 and 2^120", []Item{{one, one}, {power2(120), one}, {one, one}, {power2(120).Sub(one), From64(2)}, {one, Uint128{}}})
	}
	r := rate(t, 1, 7)
	for _, n := range []int{127, 128, 129, 1000} {
		f(fmt.Sprintf("%d items", n), r, randomItems(random, n, false))
		f(fmt.Sprintf("%d equal items", n), r, same(Item{From64(3), From64(9)}, n))
	}
}

func TestChoicesHaveTheirLawWhateverTheScores(t *testing.T) {
	random, _ := seeded(t)
	generators, s := scriptedGenerators()
	lists, thresholds := 0, 0
	adversarial(t, random, func(name string, r *Rate, items []Item) {
		t.Helper()
		want := partitionOf(r, items, referenceBits)
		lists++
		for by, g := range generators {
			most := 40
			switch production := by == "production"; {
			case len(items) > 200 && !production:
				continue
			case len(items) > 200, len(items) > 20 && !production:
				most = 3
			case len(items) > 100:
				most = 20
			}
			c := g.Chooser(r, append([]Item(nil), items...))
			d := drawing{t, by + ", " + name, g, s, c.Choose, want}
			thresholds += d.ends(random, most)
			if len(items) > blockItems {
				d.aroundEnd(blockItems-1, nearness)
			}
		}
	})
	t.Logf("%d ends of intervals in %d lists of items are within 2^-%d", thresholds, lists, nearness)
}

// Whatever was replaced and appended, whether or not the weights were computed anew, the law is that of the items.
func TestChoicesHaveTheirLawAfterChanges(t *testing.T) {
	random, _ := seeded(t)
	generators, s := scriptedGenerators()
	stale, fresh := 0, 0
	for by, g := range generators {
		for range 10 {
			r := rate(t, 1+random.Int64N(50), 1+random.Int64N(300))
			n := 1 + random.IntN(20)
			if by == "production" {
				n += random.IntN(120)
			}
			items := randomItems(random, n, true)
			c := g.Chooser(r, append([]Item(nil), items...)).(*chooser)
			for range 3 {
				for range 1 + random.IntN(4) {
					item := Item{Mass: From64(1 + random.Uint64()>>random.UintN(64)), Score: items[random.IntN(len(items))].Score}
					switch random.IntN(6) {
					case 0: // a new least score
						item.Score = c.ref.Sub(From64(random.Uint64N(1000)))
					case 1: // a weight out of proportion
						item.Mass = power2(60 + random.UintN(55))
					case 2: // next to nothing, in the place of the heaviest
						heaviest := 0
						for i := range c.weight {
							if c.weight[heaviest].Less(c.weight[i]) {
								heaviest = i
							}
						}
						item.Score = item.Score.Add(power2(20 + random.UintN(60)))
						items[heaviest] = item
						c.Replace(heaviest, item)
						continue
					}
					if random.IntN(2) == 0 {
						i := random.IntN(len(items))
						items[i] = item
						c.Replace(i, item)
					} else {
						items = append(items, item)
						c.Append(item)
					}
				}
				if c.stale {
					stale++
				} else {
					fresh++
				}
				drawing{t, by, g, s, c.Choose, partitionOf(r, items, referenceBits)}.ends(random, 4)
			}
		}
	}
	t.Logf("%d sequences of changes asked for new weights, %d did not", stale, fresh)
	if stale == 0 || fresh == 0 {
		t.Error("one way was not tested")
	}
}

// Items of like weights in several blocks, whose sums must follow what is replaced.
func TestSumsOfBlocksFollowChanges(t *testing.T) {
	random, _ := seeded(t)
	s := new(tape)
	g := NewFrom(s)
	r := rate(t, 1, 9)
	item := func() Item { return Item{From64(100 + random.Uint64N(100)), From64(random.Uint64N(8))} }
	items := []Item{{From64(1), Uint128{}}}
	for len(items) < 2*blockItems {
		items = append(items, item())
	}
	c := g.Chooser(r, append([]Item(nil), items...)).(*chooser)
	for range 60 {
		i, changed := 1+random.IntN(len(items)-1), item()
		items[i] = changed
		c.Replace(i, changed)
		if random.IntN(3) == 0 {
			items = append(items, item())
			c.Append(items[len(items)-1])
		}
	}
	if c.stale {
		t.Fatal("the weights would be computed anew")
	}
	d := drawing{t, "production", g, s, c.Choose, partitionOf(r, items, referenceBits)}
	d.ends(random, 10)
	d.aroundEnd(blockItems-1, nearness)
	d.aroundEnd(2*blockItems-1, nearness)
}

// Found by halving, with no idea of where they should be.
func TestEndsFoundByHalvingAreTheDefined(t *testing.T) {
	const bits = 200
	s := new(tape)
	g := NewFrom(s)
	worst := -1 << 30
	f := func(r *Rate, items ...Item) {
		t.Helper()
		want := partitionOf(r, items, referenceBits)
		c := g.Chooser(r, append([]Item(nil), items...))
		d := drawing{t, "production", g, s, c.Choose, want}
		for i := range len(items) - 1 {
			off := floating(referenceBits).Sub(d.bisect(i, bits), want[i])
			if off.Sign() != 0 {
				worst = max(worst, off.MantExp(nil))
			}
		}
	}
	one := From64(1)
	f(rate(t, 1, 7), Item{one, one}, Item{one, From64(2)}, Item{From64(9), From64(20)}, Item{power2(120), From64(600)}, Item{one, From64(300)}, Item{one, one})
	f(rate(t, 1_000_000_007, 1<<60), Item{one, power2(30)}, Item{power2(50), power2(35)}, Item{From64(3), power2(30).Add(one)})
	f(rate(t, 1<<32, 1), Item{power2(80), one}, Item{From64(12345), one}, Item{power2(120), From64(2)})
	if worst > -bits+1 {
		t.Errorf("an end is 2^%d off", worst)
	}
	t.Logf("all ends are within 2^%d", worst)
}

// A few bits lead to few outcomes: here each of their values is tried, at both ends of what it stands for.
func TestEveryFirstBitsDecideRightly(t *testing.T) {
	random, _ := seeded(t)
	s := new(tape)
	const width = 9
	edge := floating(width+nearness).SetMantExp(big.NewFloat(1), -width-nearness)
	for _, n := range []int{2, 3, 30, 300} {
		r, items := rate(t, 1, 30), randomItems(random, n, false)
		for i := range items {
			items[i].Mass = From64(1 + random.Uint64N(1000))
		}
		g := clumsy(s, width, 58, 128)
		c := g.Chooser(r, append([]Item(nil), items...))
		d := drawing{t, fmt.Sprintf("%d items", n), g, s, c.Choose, partitionOf(r, items, referenceBits)}
		for u := range uint64(1 << width) {
			point := floating(64).SetMantExp(floating(64).SetUint64(u), -width)
			d.at(point)
			d.at(floating(width+nearness).Sub(point, edge))
		}
	}
}

// Every score is moved by as much as a neighbour can move it, in every direction: no item becomes impossible, and no probability changes by more than the mechanism promises.
// The ends of the intervals hold to a small part of the shorter interval beside them, however short it is.
func TestNeighboursHaveTheSameSupport(t *testing.T) {
	const prec, relative = 900, 60
	generators, s := scriptedGenerators()
	rarest := 0
	f := func(name string, r *Rate, move uint64, items ...Item) {
		t.Helper()
		patterns := 1
		for range items {
			patterns *= 3
		}
		limit := referenceExpTo(new(big.Rat).Mul(r.Rat(), new(big.Rat).SetInt64(2*int64(move))), prec) // of a ratio of probabilities
		// The reference, and the relative error to which its intervals are realised, lose less than this.
		limit.Mul(limit, floating(prec).Sub(big.NewFloat(1), floating(prec).SetMantExp(big.NewFloat(1), 3-relative)))
		base := partitionOf(r, items, prec)
		for pattern := range patterns {
			moved := append([]Item(nil), items...)
			for i, p := 0, pattern; i < len(moved); i, p = i+1, p/3 {
				moved[i].Score = moved[i].Score.Add(From64(uint64(p%3) * move)).Sub(From64(move))
			}
			law := partitionOf(r, moved, prec)
			for by, g := range generators {
				if pattern%5 != 0 && by != "production" {
					continue
				}
				c := g.Chooser(r, append([]Item(nil), moved...))
				d := drawing{t, fmt.Sprintf("%s, %s, pattern %d", by, name, pattern), g, s, c.Choose, law}
				for i := range moved {
					length := floating(prec).Sub(law[i], law.start(i))
					before := floating(prec).Sub(base[i], base.start(i))
					if length.Sign() <= 0 || length.MantExp(nil) < 200-prec {
						t.Fatalf("%s: the reference cannot tell the length of item %d", d.name, i)
					}
					rarest = min(rarest, length.MantExp(nil))
					for _, ratio := range []*big.Float{floating(prec).Quo(length, before), floating(prec).Quo(before, length)} {
						if ratio.Cmp(limit) < 0 {
							t.Fatalf("%s: item %d has %.3g against %.3g", d.name, i, length, before)
						}
					}
					d.at(floating(prec).Add(law.start(i), floating(prec).SetMantExp(length, -1)))
					margin := floating(prec).SetMantExp(length, -relative)
					d.at(floating(prec).Add(law.start(i), margin))
					d.at(floating(prec).Sub(law[i], margin))
				}
			}
		}
	}
	one := From64(1)
	at := func(score uint64) Uint128 { return power2(40).Add(From64(score)) }
	f("ties", rate(t, 1, 3), 1, Item{one, at(0)}, Item{one, at(0)}, Item{one, at(1)}, Item{one, at(5)})
	f("rare items", rate(t, 1, 3), 2, Item{one, at(0)}, Item{one, at(166)}, Item{power2(80), at(0)})
	f("very rare items", rate(t, 5, 3), 3, Item{one, at(100)}, Item{power2(100), at(0)}, Item{one, at(200)}, Item{one, at(0)})
	f("a strong rate", rate(t, 20, 1), 1, Item{one, at(10)}, Item{one, at(0)}, Item{power2(120), at(3)})
	f("a weak rate", rate(t, 1_000_000_007, 1<<62), 1<<35, Item{one, at(0)}, Item{one, at(1 << 39)}, Item{one, at(1)})
	t.Logf("the rarest item has a probability of about 2^%d, and is drawn", rarest)
}

func TestAcceptanceHasItsProbability(t *testing.T) {
	generators, s := scriptedGenerators()
	answers := 0
	for _, q := range []*big.Rat{big.NewRat(1, 7), big.NewRat(355, 113), big.NewRat(1<<32, 1), big.NewRat(1, 1<<60), new(big.Rat).SetFrac(big.NewInt(3), new(big.Int).Lsh(big.NewInt(1), 92))} {
		r, err := NewRate(q)
		if err != nil {
			t.Fatal(err)
		}
		ks := []Uint128{From64(1), From64(2), r.far.Sub(From64(1)), r.far, r.far.Add(From64(1))}
		for _, bits := range []uint{0, 8, 16} {
			ks = append(ks, nearWhole(r, bits)...)
		}
		for _, k := range ks {
			x := new(big.Rat).Mul(q, new(big.Rat).SetInt(k.Big()))
			if k.IsZero() || x.Cmp(big.NewRat(2*farExponent, 1)) > 0 {
				continue
			}
			p := referenceExpTo(x, referenceBits)
			for by, g := range generators {
				for _, bits := range []int{nearness, 60} { // relative to p
					step := floating(referenceBits).SetMantExp(p, -bits)
					for _, point := range []*big.Float{floating(referenceBits).Sub(p, step), floating(referenceBits).Add(p, step)} {
						if point.Cmp(big.NewFloat(1)) >= 0 {
							continue
						}
						s.play(g, point)
						if got, want := g.Accept(r, k), point.Cmp(p) < 0; got != want {
							t.Fatalf("%s: rate %s, k %v: %t at %.40g, and the probability is %.40g", by, q.RatString(), k.Big(), got, point, p)
						}
						answers++
					}
				}
			}
		}
		for by, g := range generators {
			s.play(g, new(big.Float))
			if !g.Accept(r, Uint128{}) || s.at != 0 {
				t.Errorf("%s: exp(0) was drawn for", by)
			}
		}
	}
	t.Logf("%d decisions are right", answers)
}

// referenceDistances divides [0, 1) among the distances of Binomial(2^j, ½) from its mean, and leaves out those with less than 2^−(prec/2).
func referenceDistances(j, prec uint) partition {
	h := int64(1) << (j - 1)
	r, sum := floating(prec).SetInt64(1), floating(prec).SetInt64(1)
	p := partition{floating(prec).SetInt64(1)}
	for i := int64(0); i < h && r.MantExp(nil) > -int(prec); i++ {
		r.Mul(r, floating(prec).SetInt64(h-i)).Quo(r, floating(prec).SetInt64(h+i+1))
		sum.Add(sum, floating(prec).SetMantExp(r, 1))
		p = append(p, floating(prec).Set(sum))
	}
	for i := range p {
		p[i].Quo(p[i], sum)
		if off := floating(prec).Sub(big.NewFloat(1), p[i]); off.Sign() == 0 || off.MantExp(nil) < -int(prec)/2 {
			return p[:i+1]
		}
	}
	return p
}

func TestBinomialTablesHaveTheirLaw(t *testing.T) {
	random, _ := seeded(t)
	generators, s := scriptedGenerators()
	f := func(j uint, most int) {
		t.Helper()
		want := referenceDistances(j, referenceBits)
		for by, g := range generators {
			if j > 20 && by != "production" {
				continue
			}
			half := int64(1) << (j - 1)
			distance := func() int {
				off := int64(g.binomialPower(j)) - half
				return int(max(off, -off))
			}
			drawing{t, fmt.Sprintf("%s, Binomial(2^%d, 1/2)", by, j), g, s, distance, want}.ends(random, most)
		}
	}
	f(7, 64)
	f(8, 64)
	f(11, 30)
	f(16, 4)
	f(24, 2)
}

// The probability of keeping a proposal of the rejection is checked against the product of ratios.
func TestRejectionKeepsWithItsProbability(t *testing.T) {
	generators, s := scriptedGenerators()
	f := func(h, i uint64) {
		t.Helper()
		p := floating(referenceBits).SetInt64(1)
		for n := range i {
			p.Mul(p, floating(referenceBits).SetUint64(h-n)).Quo(p, floating(referenceBits).SetUint64(h+n+1))
		}
		k := uint(i >> blockBits(h))
		p.SetMantExp(p, int(k))
		for by, g := range generators {
			g := *g
			g.width = 64 // the acceptance draws nothing but words
			for _, bits := range []int{nearness, 64, 30, 3} {
				step := floating(referenceBits).SetMantExp(p, -bits)
				for _, point := range []*big.Float{floating(referenceBits).Sub(p, step), floating(referenceBits).Add(p, step)} {
					if point.Cmp(big.NewFloat(1)) >= 0 {
						continue
					}
					s.play(&g, point)
					if got, want := g.acceptRatio(h, i, k), point.Cmp(p) < 0; got != want {
						t.Fatalf("%s: half %d, %d from the middle: %t at %.40g, and the probability is %.40g", by, h, i, got, point, p)
					}
				}
			}
		}
	}
	for _, i := range []uint64{1, 2, 63, 64, 200, 400} {
		f(1<<11, i)
		f(3001, i)
	}
	for _, i := range []uint64{1, 1000, 1 << 15, 100_000} {
		f(1<<(minLarge-1), i)
		f(999_999_999, i)
	}
	for _, i := range []uint64{1, 77, 50_000} {
		f(1<<62, i)
		f(1<<63-1, i)
	}
}

// Each sequence of bits is as likely as any other: counting them gives the law.
func TestCoinsAndIntegersHaveTheirLaw(t *testing.T) {
	s := new(tape)
	g := NewFrom(s)
	word := func(words ...uint64) {
		s.words, s.at = words, 0
		g.src.next, g.src.spare = sourceBytes, 0
	}
	for n := uint64(0); n <= 12; n++ {
		counts := make([]int64, n+1)
		for bits := range uint64(1) << n {
			word(bits)
			counts[g.Binomial(n)]++
		}
		for k, count := range counts {
			if want := new(big.Int).Binomial(int64(n), int64(k)); want.Int64() != count {
				t.Errorf("Binomial(%d, 1/2) is %d for %d of its sequences, want %v", n, k, count, want)
			}
		}
	}
	for n := uint64(1); n <= 70; n++ {
		length := uint(From64(n - 1).BitLen())
		for x := range uint64(1) << length {
			// A first try that is too large gives way to the next bits.
			const next = 0
			word(x | next<<length)
			want := x
			if x >= n {
				want = next
			}
			if got := g.Uniform(From64(n)); got != From64(want) {
				t.Errorf("uniform below %d: bits %#x give %v", n, x, got)
			}
		}
	}
	random, _ := seeded(t)
	for range 2000 {
		n := Uint128{1<<63 | random.Uint64(), random.Uint64()}.Shr(random.UintN(63)) // more than 64 bits
		length := uint(n.Sub(From64(1)).BitLen()) - 64
		x := Uint128{random.Uint64() >> (64 - length), random.Uint64()}
		hi := x.Hi
		if length >= 32 {
			hi <<= 64 - length
		}
		word(hi, x.Lo, 0, 0)
		want := x
		if !x.Less(n) {
			want = Uint128{}
		}
		if length < 32 && !x.Less(n) {
			continue // the next bits come from the first word
		}
		if got := g.Uniform(n); got != want {
			t.Errorf("uniform below %v: bits %v give %v", n, x, got)
		}
	}
}

func TestRatiosAreAcceptedWithTheirProbability(t *testing.T) {
	generators, s := scriptedGenerators()
	answers := 0
	const shift = 4000
	for _, q := range []*big.Rat{big.NewRat(1, 7), big.NewRat(355, 113), new(big.Rat).SetFrac(big.NewInt(3), new(big.Int).Lsh(big.NewInt(1), 92))} {
		r, err := NewRate(q)
		if err != nil {
			t.Fatal(err)
		}
		ks := []Uint128{{}, From64(1), From64(2)}
		for _, bits := range []uint{0, 8} {
			ks = append(ks, nearWhole(r, bits)...)
		}
		for _, k := range ks {
			x := new(big.Rat).Mul(q, new(big.Rat).SetInt(k.Big()))
			if x.Cmp(big.NewRat(900, 1)) > 0 {
				continue
			}
			power := referenceExpTo(x, referenceBits)
			for _, part := range []float64{1 - 0x1p-10, 0.3, 1e-9} {
				for _, grows := range []bool{false, true} {
					// num/2^shift is so large a part of 1/power, or of power, rounded down.
					ratio := floating(referenceBits + shift).SetFloat64(part)
					if ratio.SetMantExp(ratio, shift); grows {
						ratio.Mul(ratio, power)
					} else {
						ratio.Quo(ratio, power)
					}
					num, _ := ratio.Int(nil)
					den := new(big.Int).Lsh(big.NewInt(1), shift)
					p := floating(referenceBits).SetInt(num)
					if p.SetMantExp(p, -shift); grows {
						p.Quo(p, power)
					} else {
						p.Mul(p, power)
					}
					for by, g := range generators {
						step := floating(referenceBits).SetMantExp(p, -nearness)
						for _, point := range []*big.Float{floating(referenceBits).Sub(p, step), floating(referenceBits).Add(p, step)} {
							s.play(g, point)
							if got, want := g.AcceptRatio(r, k, grows, num, den), point.Cmp(p) < 0; got != want {
								t.Fatalf("%s: rate %s, k %v, grows %t: %t at %.40g, and the probability is %.40g", by, q.RatString(), k.Big(), grows, got, point, p)
							}
							answers++
						}
					}
				}
			}
		}
	}
	t.Logf("%d decisions are right", answers)
}

func TestSumsAreAcceptedWithTheirProbability(t *testing.T) {
	generators, s := scriptedGenerators()
	type term struct {
		k   uint64
		num int64
	}
	answers := 0
	for _, q := range []*big.Rat{big.NewRat(1, 7), big.NewRat(355, 113), new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 40))} {
		r, err := NewRate(q)
		if err != nil {
			t.Fatal(err)
		}
		for _, terms := range [][]term{nil, {{1, 3}}, {{0, 5}, {3, 1}}, {{1, 1}, {2, 2}, {70, 1 << 40}, {900, 1}}, {{250, 9}}} {
			den := big.NewInt(1 << 41)
			sum := floating(referenceBits)
			for _, x := range terms {
				power := referenceExpTo(new(big.Rat).Mul(q, new(big.Rat).SetInt(new(big.Int).SetUint64(x.k))), referenceBits)
				sum.Add(sum, power.Mul(power, floating(referenceBits).SetInt64(x.num)))
			}
			sum.Quo(sum, floating(referenceBits).SetInt(den))
			all := func(yield func(Uint128, *big.Int) bool) {
				for _, x := range terms {
					if !yield(From64(x.k), big.NewInt(x.num)) {
						return
					}
				}
			}
			if sum.Sign() == 0 {
				if New().AcceptSum(r, all, den) {
					t.Errorf("rate %s: a sum of nothing is accepted", q.RatString())
				}
				continue
			}
			for by, g := range generators {
				step := floating(referenceBits).SetMantExp(sum, -nearness)
				for _, point := range []*big.Float{floating(referenceBits).Sub(sum, step), floating(referenceBits).Add(sum, step)} {
					if point.Cmp(big.NewFloat(1)) >= 0 {
						t.Fatalf("a sum of %.10g", sum)
					}
					s.play(g, point)
					if got, want := g.AcceptSum(r, all, den), point.Cmp(sum) < 0; got != want {
						t.Fatalf("%s: rate %s, terms %v: %t at %.40g, and the probability is %.40g", by, q.RatString(), terms, got, point, sum)
					}
					answers++
				}
			}
			asked := 0
			above := func(yield func(Uint128, *big.Int) bool) { // more than 1 with the first terms
				for range 5 {
					if asked++; !yield(Uint128{}, big.NewInt(1<<40+1)) {
						return
					}
				}
			}
			if !New().AcceptSum(r, above, den) || asked != 2 {
				t.Errorf("rate %s: a sum above 1 is refused, or %d of its terms are asked for", q.RatString(), asked)
			}
		}
	}
	t.Logf("%d decisions are right", answers)
}

func TestRatiosAboveOnePanic(t *testing.T) {
	r, err := NewRate(big.NewRat(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a probability of 1.01 was drawn with")
		}
	}()
	New().AcceptRatio(r, Uint128{}, false, big.NewInt(101), big.NewInt(100))
}

// words is a source of one word for ever.
type words uint64

func (w words) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(w >> (i % 8 * 8))
	}
	return len(p), nil
}

func TestPicksAreTheShareOfTheirWeights(t *testing.T) {
	weights := []uint64{3, 0, 5, 1}
	counts := make([]int, len(weights)+1)
	for word := range words(16) {
		counts[NewFrom(word).Pick(16, slices.Values(weights))]++
	}
	if !slices.Equal(counts, []int{3, 0, 5, 1, 7}) {
		t.Errorf("picked %v of 16", counts)
	}
}
