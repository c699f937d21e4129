package exact

import (
	"math/big"
	"sort"
	"sync"
)

// Sizes 2^j for which Binomial(2^j, ½) is drawn from a table; fewer coins are tossed, more are drawn in parts.
const (
	minTable = 7
	maxTable = 24
)

// A binomialTable brackets the distribution of the distance M of Binomial(2^j, ½) from its mean: 2⁶⁴·P(M ≤ i) lies in [cdf[i], cdf[i]+2].
// It ends where the bounds no longer tell M apart.
type binomialTable struct {
	cdf   []uint64
	guide [257]uint32 // guide[b] is the first i with cdf[i] > b·2⁵⁶
}

var binomialTables [maxTable + 1]struct {
	once  sync.Once
	table *binomialTable
}

func loadBinomialTable(j uint) *binomialTable {
	t := &binomialTables[j]
	t.once.Do(func() { t.table = newBinomialTable(j) })
	return t.table
}

func newBinomialTable(j uint) *binomialTable {
	t := new(binomialTable)
	d := newDistances(j, 160)
	top := new(big.Int)
	for _, s := range d.sums {
		top.Lsh(s, 64)
		top.Quo(top, d.totalHi)
		t.cdf = append(t.cdf, top.Uint64())
		if top.Uint64() >= 1<<64-4 {
			break
		}
	}
	for b := range t.guide {
		t.guide[b] = uint32(len(t.cdf))
		if b < 256 {
			t.guide[b] = uint32(sort.Search(len(t.cdf), func(i int) bool { return t.cdf[i] > uint64(b)<<56 }))
		}
	}
	return t
}

// distances holds bounds of P(M ≤ i): it lies in [sums[i]/totalHi, (sums[i]+i(i+1))/totalLo].
type distances struct {
	sums             []*big.Int
	totalLo, totalHi *big.Int
}

// newDistances sums P(M = i)/P(M = 0) to prec fractional bits, by the ratio C(2h, h+i+1)/C(2h, h+i) = (h−i)/(h+i+1) with 2h = 2^j; see exact-sampling.md, lemma 5.
func newDistances(j, prec uint) *distances {
	h := int64(1) << (j - 1)
	r := new(big.Int).Lsh(big.NewInt(1), prec)
	sum := new(big.Int).Set(r)
	d := &distances{sums: []*big.Int{new(big.Int).Set(sum)}}
	factor := new(big.Int)
	i := int64(0)
	for i < h {
		r.Mul(r, factor.SetInt64(h-i))
		r.Quo(r, factor.SetInt64(h+i+1))
		i++
		if r.Sign() == 0 {
			break
		}
		sum.Add(sum, factor.Lsh(r, 1))
		d.sums = append(d.sums, new(big.Int).Set(sum))
	}
	d.totalLo = new(big.Int).Set(sum)
	// Each ratio is short by at most its index; beyond i the ratios fall at least geometrically, and add at most h+i+1 units on both sides together.
	slack := new(big.Int).Mul(big.NewInt(i), big.NewInt(i+1))
	slack.Add(slack, big.NewInt(h+i+1))
	d.totalHi = new(big.Int).Add(sum, slack)
	return d
}

// binomialPower draws Binomial(2^j, ½) for minTable ≤ j ≤ maxTable: the distance from the mean by inversion, then the side.
func (g *Generator) binomialPower(j uint) uint64 {
	t := loadBinomialTable(j)
	width := g.width
	u := g.src.bits(width) << (64 - width)
	lo, hi := int(t.guide[u>>56]), int(t.guide[u>>56+1])
	for lo < hi { // the first i with u < cdf[i]
		mid := int(uint(lo+hi) / 2)
		if u < t.cdf[mid] {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	err := uint64(2)
	if g.loss < 58 {
		err += 1 << (64 - g.loss)
	}
	m := uint64(lo)
	// The lazily drawn uniform lies in [u, u+2^(64−width)).
	sure := lo < len(t.cdf) && t.cdf[lo]-u >= 1<<(64-width) && (lo == 0 || u-t.cdf[lo-1] >= err)
	if !sure {
		m = g.resolveDistance(j, u>>(64-width))
	}
	half := uint64(1) << (j - 1)
	if g.Coin() {
		return half + m
	}
	return half - m
}

// resolveDistance decides a distance whose first bits are given.
func (g *Generator) resolveDistance(j uint, first uint64) uint64 {
	u, width := new(big.Int).SetUint64(first), g.width
	for prec := g.start; ; prec *= 2 {
		for width < prec {
			u, width = g.extend(u), width+64
		}
		d := newDistances(j, prec)
		// u/2^width against P(M ≤ i) ≥ sums[i]/totalHi, and the next one up against P(M ≤ i−1) ≤ (sums[i−1]+i(i−1))/totalLo.
		next := new(big.Int).Add(u, big.NewInt(1))
		next.Mul(next, d.totalHi)
		i := sort.Search(len(d.sums), func(i int) bool {
			return next.Cmp(new(big.Int).Lsh(d.sums[i], width)) <= 0
		})
		if i == len(d.sums) {
			continue
		}
		if i == 0 {
			return 0
		}
		before := big.NewInt(int64(i) * int64(i-1))
		before.Add(before, d.sums[i-1])
		if new(big.Int).Mul(u, d.totalLo).Cmp(before.Lsh(before, width)) >= 0 {
			return uint64(i)
		}
	}
}
