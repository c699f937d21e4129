package exact

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// seeded returns a random stream for a test and prints how to repeat it.
func seeded(t testing.TB) (*rand.Rand, io.Reader) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return seededBy(seed)
}

func seededBy(seed uint64) (*rand.Rand, io.Reader) {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.New(rand.NewPCG(seed, 1)), rand.NewChaCha8(key)
}

// clumsy returns a generator whose fast bounds are poor, so that slow paths run all the time.
func clumsy(r io.Reader, width, loss, start uint) *Generator {
	g := NewFrom(r)
	g.width, g.loss, g.start = width, loss, start
	return g
}

func rate(t testing.TB, num, den int64) *Rate {
	t.Helper()
	r, err := NewRate(big.NewRat(num, den))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const referenceBits = 400

// referenceExp returns e^−x by its series in floating point: code of its own, to check the integer code against.
func referenceExp(x *big.Rat) *big.Float { return referenceExpTo(x, referenceBits) }

// referenceExpTo does so with about prec bits, or returns 0 for what is smaller than a [big.Float] can be.
func referenceExpTo(x *big.Rat, prec uint) *big.Float {
	halvings := max(new(big.Float).SetRat(x).MantExp(nil)+10, 0)
	f := func() *big.Float { return new(big.Float).SetPrec(prec + uint(halvings)) }
	y := f().SetRat(x)
	y.SetMantExp(y, -halvings)
	sum, term := f().SetInt64(1), f().SetInt64(1)
	for k := int64(1); term.Sign() > 0 && term.MantExp(nil) > -int(prec)-halvings; k++ {
		term.Mul(term, y).Quo(term, f().SetInt64(k))
		sum.Add(sum, term)
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return f().Quo(f().SetInt64(1), sum)
}

func inUnits(x *big.Float, bits int) *big.Float {
	return new(big.Float).SetPrec(referenceBits).SetMantExp(x, bits)
}

func TestHalfPowerIsALowerBoundWithin12Units(t *testing.T) {
	random, _ := seeded(t)
	c := loadConstants()
	// 2^(−2^−i) for i = 1 … 64 by repeated square roots.
	roots := make([]*big.Float, 65)
	roots[0] = new(big.Float).SetPrec(referenceBits).SetFloat64(0.5)
	for i := 1; i <= 64; i++ {
		roots[i] = new(big.Float).SetPrec(referenceBits).Sqrt(roots[i-1])
	}
	worst := 0.0
	check := func(f uint64) {
		t.Helper()
		want := new(big.Float).SetPrec(referenceBits).SetInt64(1)
		for i := 1; i <= 64; i++ {
			if f>>(64-i)&1 == 1 {
				want.Mul(want, roots[i])
			}
		}
		want = inUnits(want, 64)
		off, _ := want.Sub(want, new(big.Float).SetUint64(c.halfPower(f))).Float64()
		worst = max(worst, off)
		if off < 0 || off >= 12 {
			t.Fatalf("halfPower(%#x) is %g units below the power", f, off)
		}
	}
	for _, f := range []uint64{0, 1, 2, 3, 1<<48 - 1, 1 << 48, 1<<56 - 1, 1 << 56, 1 << 63, 1<<64 - 1, 1<<64 - 1<<48} {
		check(f)
	}
	for range 3000 {
		check(random.Uint64())
		check(random.Uint64() >> random.UintN(63))
		check(random.Uint64() | (1<<48 - 1))
	}
	t.Logf("largest error %g units", worst)
}

func TestConstantsAreRoundedDown(t *testing.T) {
	c := loadConstants()
	const p = 700
	lo, hi := lnTwo(p)
	one := new(big.Int).Lsh(big.NewInt(1), p+constantBits)
	least, most := new(big.Int).Quo(one, hi), new(big.Int).Quo(one, lo)
	if off := new(big.Int).Sub(most, c.log2e); least.Cmp(c.log2e) < 0 || off.Cmp(big.NewInt(1)) > 0 {
		t.Errorf("log2e %v, want %v", c.log2e, least)
	}
	if want := new(big.Int).Rsh(lo, p-64).Uint64(); c.ln2 != want {
		t.Errorf("ln2 %#x, want %#x", c.ln2, want)
	}
}

func TestBigExponentialIsBracketed(t *testing.T) {
	random, _ := seeded(t)
	for range 300 {
		x := big.NewRat(random.Int64N(1<<40), 1+random.Int64N(1<<uint(1+random.IntN(45))))
		if x.Cmp(big.NewRat(5000, 1)) > 0 {
			continue
		}
		prec := uint(1 + random.IntN(250))
		lo, hi := expNeg(x.Num(), x.Denom(), prec)
		want := inUnits(referenceExp(x), int(prec))
		if want.Cmp(new(big.Float).SetInt(lo)) < 0 || want.Cmp(new(big.Float).SetInt(hi)) > 0 {
			t.Fatalf("e^-%s at %d bits: [%v, %v] does not hold %g", x.RatString(), prec, lo, hi, want)
		}
		if width := new(big.Int).Sub(hi, lo); width.Cmp(big.NewInt(4)) > 0 {
			t.Fatalf("e^-%s at %d bits: bracket is %v wide", x.RatString(), prec, width)
		}
	}
}

func TestFastPowersBracketTheBigOnes(t *testing.T) {
	random, _ := seeded(t)
	check := func(r *Rate, k Uint128) {
		t.Helper()
		whole, power := r.power(k)
		exact := new(big.Rat).Mul(r.Rat(), new(big.Rat).SetInt(k.Big()))
		if whole == farExponent && power == 0 {
			// ln 2 < 7/10, so 7/10·farExponent would do.
			if exact.Cmp(big.NewRat(farExponent*69314, 100000)) < 0 {
				t.Fatalf("rate %s k %v is not far", r.Rat().RatString(), k.Big())
			}
			return
		}
		want := inUnits(referenceExp(exact), 64+int(whole))
		off, _ := want.Sub(want, new(big.Float).SetUint64(power)).Float64()
		if off < 0 || off > expLoss {
			t.Fatalf("rate %s k %v: power is %g units below", r.Rat().RatString(), k.Big(), off)
		}
	}
	for range 2000 {
		bitsNum, bitsDen := 1+random.IntN(62), 1+random.IntN(62)
		q := big.NewRat(1+random.Int64N(1<<bitsNum), 1+random.Int64N(1<<bitsDen))
		r, err := NewRate(q)
		if err != nil {
			continue
		}
		check(r, Uint128{})
		check(r, From64(1))
		k := Uint128{random.Uint64(), random.Uint64()}.Shr(1 + random.UintN(127))
		check(r, k)
		check(r, r.far.Sub(From64(1)))
		check(r, r.far)
		check(r, r.far.Shr(1+random.UintN(20)))
	}
}

func TestRatesOutOfRangeAreRefused(t *testing.T) {
	for _, r := range []*big.Rat{new(big.Rat), big.NewRat(-1, 2), big.NewRat(1<<32+1, 1), new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 300))} {
		if _, err := NewRate(r); err == nil {
			t.Errorf("rate %s was taken", r.RatString())
		}
	}
}

// randomItems returns items whose scores lie close enough together to matter.
func randomItems(random *rand.Rand, n int, far bool) []Item {
	base := Uint128{random.Uint64() >> 40, random.Uint64()}
	items := make([]Item, n)
	for i := range items {
		mass := Uint128{random.Uint64() >> 26, random.Uint64()}.Shr(random.UintN(102))
		if mass.IsZero() {
			mass.Lo = 1
		}
		gap := random.Uint64N(200)
		if far && random.IntN(4) == 0 {
			gap = random.Uint64N(1 << 40)
		}
		items[i] = Item{mass, base.Add(From64(gap))}
	}
	return items
}

func TestWeightsAreBracketed(t *testing.T) {
	random, stream := seeded(t)
	for range 60 {
		r := rate(t, 1+random.Int64N(50), 1+random.Int64N(1000))
		g := NewFrom(stream)
		c := g.Chooser(r, randomItems(random, 1+random.IntN(300), true)).(*chooser)
		for range random.IntN(200) {
			item := randomItems(random, 1, false)[0]
			item.Score = c.items[random.IntN(len(c.items))].Score.Add(From64(random.Uint64N(100)))
			if random.IntN(2) == 0 {
				c.Replace(random.IntN(len(c.items)), item)
			} else {
				c.Append(item)
			}
		}
		c.Choose()
		// scale, from the definition: unit = 2^(scale−64) masses at ref.
		var total, block Uint128
		const prec = 300
		for i, item := range c.items {
			lo, hi := r.expNeg(item.Score.Sub(c.ref), prec)
			// weight·2^(scale−64)·2^prec ≤ mass·e ≤ (weight+1)·(1+2^−58)·2^(scale−64)·2^prec
			scaled := func(x *big.Int) *big.Float {
				return inUnits(new(big.Float).SetPrec(referenceBits).SetInt(x), 64-c.scale-prec)
			}
			lowest := scaled(new(big.Int).Mul(lo, item.Mass.Big()))
			highest := scaled(new(big.Int).Mul(hi, item.Mass.Big()))
			w := new(big.Float).SetPrec(referenceBits).SetInt(c.weight[i].Big())
			bound := new(big.Float).SetPrec(referenceBits).Add(w, big.NewFloat(1))
			bound.Add(bound, inUnits(bound, -58))
			if w.Cmp(highest) > 0 || bound.Cmp(lowest) < 0 {
				t.Fatalf("item %d: weight %g, true between %g and %g", i, w, lowest, highest)
			}
			total, block = total.Add(c.weight[i]), block.Add(c.weight[i])
			if i%blockItems == blockItems-1 || i == len(c.items)-1 {
				if block != c.block[i/blockItems] {
					t.Fatalf("block %d sums to %v, kept %v", i/blockItems, block, c.block[i/blockItems])
				}
				block = Uint128{}
			}
		}
		if total != c.total {
			t.Fatalf("total %v, kept %v", total, c.total)
		}
	}
}

// The same bits must give the same answer, whichever path decides.
func TestSlowPathsAgreeWithFastOnes(t *testing.T) {
	random, _ := seeded(t)
	bits := make([]byte, 2*sourceBytes)
	for range 300 {
		_, stream := seededBy(random.Uint64())
		if _, err := io.ReadFull(stream, bits); err != nil {
			t.Fatal(err)
		}
		fast, slow := NewFrom(bytes.NewReader(bits)), clumsy(bytes.NewReader(bits), 64, 1, 8)
		r := rate(t, 1+random.Int64N(50), 1+random.Int64N(3000))
		items := randomItems(random, 1+random.IntN(20), true)
		a := fast.Chooser(r, append([]Item(nil), items...)).Choose()
		if b := slow.Chooser(r, items).Choose(); a != b {
			t.Fatalf("items %v rate %s: %d fast, %d slow", items, r.Rat().RatString(), a, b)
		}
		fast, slow = NewFrom(bytes.NewReader(bits)), clumsy(bytes.NewReader(bits), 64, 1, 8)
		k := From64(random.Uint64N(200))
		if a, b := fast.Accept(r, k), slow.Accept(r, k); a != b {
			t.Fatalf("rate %s k %d: %t fast, %t slow", r.Rat().RatString(), k.Lo, a, b)
		}
		fast, slow = NewFrom(bytes.NewReader(bits)), clumsy(bytes.NewReader(bits), 64, 1, 8)
		j := uint(minTable + random.IntN(5))
		n, m := fast.binomialPower(j), slow.binomialPower(j)
		half := uint64(1) << (j - 1)
		distance := func(x uint64) uint64 { return max(x, half) - min(x, half) }
		if distance(n) != distance(m) { // the side is decided by later bits, which the slow path may have used
			t.Fatalf("Binomial(2^%d): %d fast, %d slow", j, n, m)
		}
	}
}

// fits checks counts against probabilities: the statistic of Pearson's test must lie within seven standard deviations of its mean.
func fits(t *testing.T, name string, counts []int, p []float64) {
	t.Helper()
	n := 0
	for _, c := range counts {
		n += c
	}
	x, cells, rest, restP := 0.0, 0, 0.0, 0.0
	for i, c := range counts {
		want := p[i] * float64(n)
		if want < 10 {
			rest, restP = rest+float64(c), restP+want
			continue
		}
		x += (float64(c) - want) * (float64(c) - want) / want
		cells++
	}
	if restP >= 10 {
		x += (rest - restP) * (rest - restP) / restP
		cells++
	} else if rest > restP+10*math.Sqrt(restP)+10 {
		t.Errorf("%s: %g answers where %g were expected", name, rest, restP)
	}
	free := float64(cells - 1)
	if free > 0 && x > free+7*math.Sqrt(2*free)+15 {
		t.Errorf("%s: chi-square %.1f with %g degrees of freedom", name, x, free)
	}
}

// generators are the production one and clumsy ones.
func generators(stream io.Reader) map[string]*Generator {
	return map[string]*Generator{
		"production":      NewFrom(stream),
		"poor bounds":     clumsy(stream, 64, 2, 8),
		"few random bits": clumsy(stream, 3, 58, 16),
		"both":            clumsy(stream, 5, 4, 4),
	}
}

func TestChoicesFollowTheWeights(t *testing.T) {
	_, stream := seeded(t)
	for name, g := range generators(stream) {
		r := rate(t, 1, 7)
		items := []Item{
			{From64(1), From64(1000)}, {From64(3), From64(1003)}, {From64(9), From64(1014)}, {From64(1 << 50), From64(1300)}, {From64(2), From64(1000)}, {From64(5), From64(1001)},
		}
		law := func(items []Item) []float64 {
			w, sum := make([]float64, len(items)), 0.0
			for i, it := range items {
				w[i] = float64(it.Mass.Lo) * math.Exp(-float64(it.Score.Lo-1000)/7)
				sum += w[i]
			}
			for i := range w {
				w[i] /= sum
			}
			return w
		}
		draws := 20000
		if g.width < 64 || g.loss < 58 {
			draws = 5000
		}
		c := g.Chooser(r, append([]Item(nil), items...))
		counts := make([]int, len(items))
		for range draws {
			counts[c.Choose()]++
		}
		fits(t, name, counts, law(items))
		items[3].Score = From64(1250)
		items = append(items, Item{From64(40), From64(1020)})
		c.Replace(3, items[3])
		c.Append(items[6])
		counts = make([]int, len(items))
		for range draws {
			counts[c.Choose()]++
		}
		fits(t, name+" after changes", counts, law(items))
	}
}

func TestAcceptanceIsExponential(t *testing.T) {
	_, stream := seeded(t)
	for name, g := range generators(stream) {
		for _, k := range []uint64{0, 1, 5, 20, 60} {
			r := rate(t, 2, 23)
			counts := make([]int, 2)
			for range 20000 {
				if g.Accept(r, From64(k)) {
					counts[1]++
				} else {
					counts[0]++
				}
			}
			p := math.Exp(-2 * float64(k) / 23)
			fits(t, name, counts, []float64{1 - p, p})
			if k == 0 && counts[0] > 0 {
				t.Errorf("%s: exp(0) was refused", name)
			}
		}
	}
}

func TestUniformAndCoinAreFair(t *testing.T) {
	_, stream := seeded(t)
	g := NewFrom(stream)
	counts, even := make([]int, 11), make([]float64, 11)
	coins := make([]int, 2)
	for range 22000 {
		counts[g.Uniform(From64(11)).Lo]++
		if g.Coin() {
			coins[1]++
		} else {
			coins[0]++
		}
	}
	for i := range even {
		even[i] = 1. / 11
	}
	fits(t, "uniform below 11", counts, even)
	fits(t, "coin", coins, []float64{.5, .5})
	thirds := make([]int, 3)
	n := Uint128{3 << 20, 0}
	for range 3000 {
		x := g.Uniform(n)
		if !x.Less(n) {
			t.Fatalf("%v is not below %v", x, n)
		}
		thirds[x.Hi>>20]++
	}
	fits(t, "uniform below 3·2^84", thirds, []float64{1. / 3, 1. / 3, 1. / 3})
	if x := g.Uniform(From64(1)); !x.IsZero() {
		t.Errorf("uniform below 1 is %v", x)
	}
}

func TestBinomialTablesBracketTheTrueLaw(t *testing.T) {
	for _, j := range []uint{7, 8, 11} {
		n := int64(1) << j
		table := loadBinomialTable(j)
		// P(M ≤ i) = Σ C(n, n/2±k)/2ⁿ, exactly.
		sum := new(big.Int)
		for i := range table.cdf {
			c := new(big.Int).Binomial(n, n/2+int64(i))
			if i > 0 {
				c.Lsh(c, 1)
			}
			sum.Add(sum, c)
			lo := new(big.Int).Lsh(new(big.Int).SetUint64(table.cdf[i]), uint(n))
			hi := new(big.Int).Lsh(new(big.Int).SetUint64(table.cdf[i]), uint(n))
			hi.Add(hi, new(big.Int).Lsh(big.NewInt(2), uint(n)))
			if x := new(big.Int).Lsh(sum, 64); x.Cmp(lo) < 0 || x.Cmp(hi) > 0 {
				t.Fatalf("2^%d: bound %d does not hold", j, i)
			}
		}
	}
}

func TestBinomialFollowsItsLaw(t *testing.T) {
	_, stream := seeded(t)
	for name, g := range generators(stream) {
		for _, n := range []uint64{0, 1, 2, 63, 64, 65, 200, 300} {
			counts, p := make([]int, n+1), make([]float64, n+1)
			for k := range p {
				c := new(big.Float).SetInt(new(big.Int).Binomial(int64(n), int64(k)))
				p[k], _ = c.SetMantExp(c, -int(n)).Float64()
			}
			for range 10000 {
				counts[g.Binomial(n)]++
			}
			fits(t, name, counts, p)
		}
	}
}

func TestLargeBinomialsHaveTheirMeanAndVariance(t *testing.T) {
	_, stream := seeded(t)
	g := NewFrom(stream)
	for n, draws := range map[uint64]int{1_000_000: 4000, 123_456_789: 4000, 1_000_000_000_000: 300, 1<<63 + 5: 500, 1<<64 - 1: 50} {
		mean, square := 0.0, 0.0
		for range draws {
			x := float64(int64(g.Binomial(n)-n/2)) / (math.Sqrt(float64(n)) / 2)
			mean += x
			square += x * x
		}
		d := float64(draws)
		if off := mean / math.Sqrt(d); math.Abs(off) > 7 {
			t.Errorf("Binomial(%d): mean is %g deviations off", n, off)
		}
		if off := (square - d) / math.Sqrt(2*d); math.Abs(off) > 7 {
			t.Errorf("Binomial(%d): variance is %g deviations off", n, off)
		}
	}
}

func TestStirlingBracketsTheProductOfRatios(t *testing.T) {
	random, _ := seeded(t)
	for range 60 {
		j := 12 + random.UintN(52)
		h := uint64(1) << (j - 1)
		if random.IntN(2) == 0 {
			h += random.Uint64N(h)
		}
		i := random.Uint64N(min(h/2, 20_000) + 1)
		prec := 1 + random.UintN(17*(j-2)-17)
		lo, hi := centralRatio(h, i, prec)
		least, most := centralRatioByProduct(h, i, prec+40)
		if least.Cmp(new(big.Int).Lsh(hi, 40)) > 0 || most.Cmp(new(big.Int).Lsh(lo, 40)) < 0 {
			t.Fatalf("half %d, %d from the middle, %d bits: [%v, %v] does not hold 2^-40·[%v, %v]", h, i, prec, lo, hi, least, most)
		}
		if width := new(big.Int).Sub(hi, lo); width.Cmp(big.NewInt(8)) > 0 {
			t.Fatalf("half %d, %d from the middle, %d bits: bracket is %v wide", h, i, prec, width)
		}
	}
}

func TestRejectionDrawsTheBinomial(t *testing.T) {
	_, stream := seeded(t)
	for _, n := range []int{4096, 5222} {
		p, c := make([]float64, n+1), big.NewInt(1)
		for k := range p {
			f := new(big.Float).SetInt(c)
			p[k], _ = f.SetMantExp(f, -n).Float64()
			c.Mul(c, big.NewInt(int64(n-k))).Quo(c, big.NewInt(int64(k+1)))
		}
		for _, start := range []uint{4, 16, 64} {
			g := clumsy(stream, 64, 58, start)
			counts := make([]int, n+1)
			for range 2500 {
				counts[g.binomialLarge(uint64(n)/2)]++
			}
			fits(t, fmt.Sprintf("Binomial(%d) by rejection", n), counts, p)
		}
	}
}

func BenchmarkBinomial(b *testing.B) {
	for _, n := range []uint64{100, 12_000, 1_000_000, 100_000_000, 1_000_000_000_000, 1<<63 - 1} {
		b.Run(strconv.FormatUint(n, 10), func(b *testing.B) {
			g := New()
			g.Binomial(n)
			for b.Loop() {
				g.Binomial(n)
			}
		})
	}
}

func BenchmarkAccept(b *testing.B) {
	g, r := New(), rate(b, 1, 1_000_000)
	k := From64(345_678)
	for b.Loop() {
		g.Accept(r, k)
	}
}

func BenchmarkChooser(b *testing.B) {
	random, _ := seeded(b)
	r := rate(b, 1, 1_000_000_000)
	items, again := make([]Item, 8192), make([]Item, 8192)
	for i := range items {
		items[i] = Item{From64(1 << 40), From64(random.Uint64N(1 << 40))}
	}
	g := New()
	b.Run("reset 8192", func(b *testing.B) {
		for b.Loop() {
			copy(again, items)
			g.Chooser(r, again)
		}
	})
	b.Run("replace", func(b *testing.B) {
		c := g.Chooser(r, again)
		for i := 0; b.Loop(); i++ {
			c.Replace(i&8191, again[i&8191])
		}
	})
	b.Run("choose", func(b *testing.B) {
		c := g.Chooser(r, again)
		for b.Loop() {
			c.Choose()
		}
	})
}
