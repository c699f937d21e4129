package audit

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
)

func TestJointDrawsLoseAtMostTheirEpsilon(t *testing.T) {
	for _, c := range jointCases() {
		row, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: loss %.4f of %v, on %s", row.Setting, row.Worst, row.Epsilon, row.Data)
		if !row.OK {
			t.Errorf("%s: loss %v where %v was claimed, on %s", row.Setting, row.Worst, row.Epsilon, row.Data)
		}
	}
}

// A jointDraft draws cuts of quantiles at once in the plainest way, by choosing among all vectors, with one cell a bucket and equal weights, and with flaws.
type jointDraft struct {
	trueN   bool // gaps are compared with shares of the true number of records, as if that cost nothing
	whole   bool // η = ε, as if the sum of all weights did not depend on the data
	forgets bool // takes c for 1
	squares bool // the score is the sum of squares of what gaps are off
}

func (d jointDraft) answer(shares []*big.Rat, epsilon, contributions int64) func([]uint64, exact.Sampler) []uint64 {
	return func(records []uint64, s exact.Sampler) []uint64 {
		n := int64(0)
		for _, k := range records {
			n += int64(k)
		}
		den := int64(1)
		for _, p := range shares {
			den *= p.Denom().Int64()
		}
		score := func(zs []int) uint64 { // in 1/den
			least := int64(-1)
			for records2 := range 2*n + 1 {
				if d.trueN {
					records2 = n
				}
				sum, from := int64(0), 0
				for j, to := range append(slices.Clone(zs), len(records)) {
					off := new(big.Rat).Mul(shares[j], big.NewRat(-records2, 1))
					for _, k := range records[from:to] {
						off.Add(off, new(big.Rat).SetInt64(int64(k)))
					}
					from = to
					if off.Abs(off); d.squares {
						off.Mul(off, off)
					}
					sum += new(big.Int).Quo(new(big.Int).Mul(off.Num(), big.NewInt(den*den)), off.Denom()).Int64()
				}
				if least < 0 || sum < least {
					least = sum
				}
			}
			return uint64(least)
		}
		rate := big.NewRat(epsilon, 2*contributions*den*den)
		if d.whole {
			rate.Mul(rate, big.NewRat(2, 1))
		}
		if d.forgets {
			rate.Mul(rate, big.NewRat(contributions, 1))
		}
		r, err := exact.NewRate(rate)
		if err != nil {
			panic(err)
		}
		var items []exact.Item
		var vectors [][]int
		var all func(zs []int)
		all = func(zs []int) {
			if len(zs) < len(shares)-1 {
				for z := range len(records) + 1 {
					all(append(slices.Clone(zs), z))
				}
				return
			}
			slices.Sort(zs)
			items, vectors = append(items, exact.Item{Mass: exact.From64(1), Score: exact.From64(score(zs))}), append(vectors, zs)
		}
		all(nil)
		var answer []uint64
		for _, z := range vectors[s.Chooser(r, items).Choose()] {
			answer = append(answer, uint64(z))
		}
		return answer
	}
}

func TestAFlawlessJointDraftHasTheLawOfTheEstimator(t *testing.T) {
	shares := []*big.Rat{big.NewRat(1, 4), big.NewRat(1, 4), big.NewRat(1, 2)}
	draft := jointDraft{}.answer(shares, 2, 1)
	release := treeCase("", tree{joint: true, arity: 3}, 0, []int64{recursive.Unit / 4, recursive.Unit / 2}, 2, 1, []uint64{1, 1}, 0).Answer
	for _, x := range multisets(2, 0, 4) {
		want, err := Enumerate(func(s exact.Sampler) []uint64 { return draft(x, s) })
		if err != nil {
			t.Fatal(err)
		}
		got, err := Enumerate(func(s exact.Sampler) []uint64 { return release(x, s) })
		if err != nil {
			t.Fatal(err)
		}
		equalLaws(t, fmt.Sprint(x), got, want)
	}
}

func TestWrongJointDrawsAreCaught(t *testing.T) {
	f := func(d jointDraft, contributions int64, least, most float64, shares ...*big.Rat) {
		t.Helper()
		const epsilon = 1
		c := Case{Epsilon: epsilon, Contributions: int(contributions), Buckets: 3, Records: -1, Answer: d.answer(shares, epsilon, contributions)}
		for _, at := range box(3, 15, 16) {
			for b := range at {
				var x []uint64
				for _, n := range at {
					x = append(x, uint64(n*contributions))
				}
				y := slices.Clone(x)
				y[b] += uint64(contributions)
				c.Pairs = append(c.Pairs, [2][]uint64{x, y})
			}
		}
		row, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v: loss %.4f of %v on %s", d, row.Worst, row.Epsilon, row.Data)
		if row.Worst < least || row.Worst > most || row.OK != (most <= epsilon) {
			t.Errorf("%+v: loss %v of %v, on %s", d, row.Worst, row.Epsilon, row.Data)
		}
	}
	third := big.NewRat(1, 3)
	f(jointDraft{}, 1, 0.9, 1, third, third, third)
	f(jointDraft{}, 2, 0.9, 1, third, third, third)
	f(jointDraft{trueN: true}, 1, 1.3, 4./3, third, third, third)
	f(jointDraft{whole: true}, 1, 1.8, 2, third, third, third)
	f(jointDraft{forgets: true}, 2, 1.8, 2, third, third, third)
	f(jointDraft{squares: true}, 1, 2.5, 1000, third, third, third)
}

// A bucketsDraft draws the buckets of quantiles at once, or one after the other, in the plainest way, with equal weights and flaws.
type bucketsDraft struct {
	unsorted bool // any vector of buckets is drawn, not only sorted ones, and answered as it is
	half     bool // how deep they are is in units of half a record, as if one changed no target's rank by more
	each     bool // how deep they are is added up for all quantiles
	shared   bool // the quantiles beside the middle one are drawn from the buckets on its sides with that of the middle one among them on both, and half of ε each time
}

func (d bucketsDraft) answer(shares []int64, epsilon int64) func([]uint64, exact.Sampler) []uint64 {
	return func(records []uint64, s exact.Sampler) []uint64 {
		before := []int64{0}
		for i, k := range records {
			before = append(before, before[i]+int64(k))
		}
		den := int64(0)
		for _, p := range shares {
			den += p
		}
		// The least over N, in 1/den, each cut having as many records before it as the gap before it wants, or as many as are nearest.
		score := func(vector []int, from, to int, shares []int64) int64 {
			first, n := before[from], before[to]-before[from]
			sum := int64(0)
			for _, p := range shares {
				sum += p
			}
			least := int64(-1)
			for records := range 2*n + 1 {
				cost, at := int64(0), int64(0)
				for j, p := range shares {
					low, high := n, n
					if j < len(vector) {
						low, high = before[vector[j]]-first, before[vector[j]+1]-first
					}
					at += p * records
					next := min(max(at, low*sum), high*sum)
					cost, at = cost+max(next-at, at-next), next
				}
				if least < 0 || cost < least {
					least = cost
				}
			}
			return least
		}
		// How many records the buckets have between their targets and their ends, in units of what one changes that by.
		depth := func(vector []int, from, to int, shares []int64) int64 {
			first, n := before[from], before[to]-before[from]
			den, at := int64(0), int64(0)
			for _, p := range shares {
				den += p
			}
			least, sum := int64(math.MaxInt64), int64(0)
			for j, b := range vector {
				at += shares[j]
				low, high := at*n-(before[b]-first)*den, (before[b+1]-first)*den-at*n
				most := max(at, den-at)
				if d.half {
					low, high, most = 2*low, 2*high, den
				}
				inside := min(low, high)
				if inside < 0 {
					return 0
				}
				least, sum = min(least, inside/most), sum+inside/most
			}
			if d.each {
				return sum
			}
			return least
		}
		draw := func(from, to int, shares []int64, epsilon *big.Rat) []int {
			sum := int64(0)
			for _, p := range shares {
				sum += p
			}
			rate, err := exact.NewRate(new(big.Rat).Quo(epsilon, big.NewRat(2*sum, 1)))
			if err != nil {
				panic(err)
			}
			var items []exact.Item
			var vectors [][]int
			var all func(vector []int)
			all = func(vector []int) {
				if len(vector) == len(shares)-1 {
					const most = 1000 // which is the same for all
					s := score(vector, from, to, shares) + (most-depth(vector, from, to, shares))*sum
					items = append(items, exact.Item{Mass: exact.From64(1), Score: exact.From64(uint64(s))})
					vectors = append(vectors, vector)
					return
				}
				start := from
				if len(vector) > 0 && !d.unsorted {
					start = vector[len(vector)-1]
				}
				for b := start; b < to; b++ {
					all(append(slices.Clone(vector), b))
				}
			}
			all(nil)
			return vectors[s.Chooser(rate, items).Choose()]
		}
		var drawn []int
		if d.shared {
			half := big.NewRat(epsilon, 2)
			middle := draw(0, len(records), []int64{1, 1}, half)[0]
			drawn = append(draw(0, middle+1, []int64{1, 1}, half), middle, draw(middle, len(records), []int64{1, 1}, half)[0])
		} else {
			drawn = draw(0, len(records), shares, big.NewRat(epsilon, 1))
		}
		var answer []uint64
		for _, b := range drawn {
			answer = append(answer, uint64(b))
		}
		return answer
	}
}

func TestWrongDrawsOfBucketsAreCaught(t *testing.T) {
	f := func(d bucketsDraft, least, most float64, shares ...int64) {
		t.Helper()
		c := Case{Epsilon: 1, Contributions: 1, Records: -1, Answer: d.answer(shares, 1)}
		sizes := []uint64{0, 19, 20, 40}
		if d.shared { // a record in the middle bucket, which is at an end of those on either side
			x := make([]uint64, 45)
			x[0], x[21], x[23], x[44] = 100, 100, 100, 100
			y := slices.Clone(x)
			y[22]++
			c.Pairs, sizes = append(c.Pairs, [2][]uint64{x, y}), nil
		}
		for i := range len(sizes) * len(sizes) * len(sizes) * len(sizes) {
			var x []uint64
			for range 4 {
				x = append(x, sizes[i%len(sizes)])
				i /= len(sizes)
			}
			for b := range x {
				y := slices.Clone(x)
				y[b]++
				c.Pairs = append(c.Pairs, [2][]uint64{x, y})
			}
		}
		row, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v: loss %.4f of %v on %s", d, row.Worst, row.Epsilon, row.Data)
		if row.Worst < least || row.Worst > most || row.OK != (most <= 1) {
			t.Errorf("%+v: loss %v of %v, on %s", d, row.Worst, row.Epsilon, row.Data)
		}
	}
	f(bucketsDraft{}, 0.7, 1, 1, 1, 1)
	f(bucketsDraft{unsorted: true}, 1.1, 2, 1, 1, 1)
	f(bucketsDraft{shared: true}, 1.1, 1.5, 1, 1, 1, 1)
	f(bucketsDraft{half: true}, 1.1, 1.5, 1, 1, 1)
	f(bucketsDraft{each: true}, 1.1, 20, 1, 1, 1)
}

// A sharpDraft draws buckets as a sharp joint draw does, in the plainest way, in floating point, with flaws.
type sharpDraft struct {
	always bool // the bonus is there however much other vectors weigh
	hasty  bool // the depth is the next best score, as if numbers N were real
	heavy  bool // the bonus is measured by the heaviest of the vectors beside
	twice  bool // the bonus is there twice
}

func (d sharpDraft) answer(quantiles []float64, weights []float64, epsilon float64) func([]uint64, exact.Sampler) []uint64 {
	eta := epsilon / 2
	return func(records []uint64, s exact.Sampler) []uint64 {
		ends := [][2]float64{} // records before a part, and with its own
		n := 0.
		for _, k := range records {
			ends = append(ends, [2]float64{n, n + float64(k)})
			n += float64(k)
		}
		ends, weights := append(ends, [2]float64{n, n}), append(slices.Clone(weights), weights[len(weights)-1])
		score := func(vector []int) float64 {
			least := math.Inf(1)
			for records := 0.; records <= 2*n; records++ {
				cost, at, last := 0., 0., 0.
				for j := range len(vector) + 1 {
					to, part := 1., [2]float64{n, n}
					if j < len(vector) {
						to, part = quantiles[j], ends[vector[j]]
					}
					at += (to - last) * records
					next := min(max(at, part[0]), part[1])
					cost, at, last = cost+math.Abs(next-at), next, to
				}
				least = min(least, cost)
			}
			return least
		}
		away := func(vector []int) float64 {
			most := math.Inf(-1)
			for j, i := range vector {
				q := quantiles[j]
				most = max(most, max(ends[i][0]-q*n, q*n-ends[i][1])/max(q, 1-q))
			}
			return most
		}
		weight := func(vector []int) float64 {
			w := 1.
			for _, i := range vector {
				w *= weights[i]
			}
			return w
		}
		var sorted, all [][]int
		var list func(vector []int)
		list = func(vector []int) {
			if len(vector) < len(quantiles) {
				for i := range ends {
					list(append(slices.Clone(vector), i))
				}
				return
			}
			all = append(all, vector)
			if slices.IsSorted(vector) {
				sorted = append(sorted, vector)
			}
		}
		list(nil)
		var weighs []float64
		for _, vector := range sorted {
			w := weight(vector) * math.Exp(-eta*score(vector))
			if away(vector) < -1e-9 {
				next, nearest, measure := math.Inf(1), math.Inf(1), weight(vector)
				for j, i := range vector {
					for _, step := range []int{-1, 1} {
						if i+step < 0 {
							continue
						}
						beside := slices.Clone(vector)
						for k := range vector {
							if vector[k] == i && (k-j)*step >= 0 {
								beside[k] += step
							}
						}
						next, nearest = min(next, score(beside)), min(nearest, away(beside))
						if d.heavy {
							measure = max(measure, weight(beside))
						} else {
							measure = min(measure, weight(beside))
						}
					}
				}
				record := 1.
				if d.hasty {
					record = 0
				}
				halves := func(off float64) float64 { return math.Floor(2*off+1e-9) / 2 }
				others := -math.Exp(-eta * halves(nearest))
				for _, other := range all {
					if !slices.Equal(other, vector) {
						others += weight(other) / measure * math.Exp(-eta*halves(away(other)))
					}
				}
				if depth := next - record; depth > 0 {
					x := math.Exp(eta * depth)
					share := max(0, 1-x*others)
					if d.always {
						share = 1
					}
					if d.twice {
						share *= 2
					}
					w = weight(vector)*x + measure*math.Exp(-eta*record)*share*(x-1/x)
				}
			}
			weighs = append(weighs, w)
		}
		total := 0.
		for _, w := range weighs {
			total += w
		}
		left := uint64(1 << 60)
		odds := make([]uint64, len(weighs))
		for i, w := range weighs[1:] {
			odds[i+1] = uint64(w / total * (1 << 60))
			left -= odds[i+1]
		}
		odds[0] = left
		var answer []uint64
		for _, i := range sorted[s.Pick(1<<60, slices.Values(odds))] {
			answer = append(answer, uint64(i))
		}
		return answer
	}
}

func TestWrongSharpDrawsAreCaught(t *testing.T) {
	f := func(d sharpDraft, least, most float64, weights []float64, quantiles []float64, pairs ...[2][]uint64) {
		t.Helper()
		c := Case{Epsilon: 1, Contributions: 1, Records: -1, Pairs: pairs, Answer: d.answer(quantiles, weights, 1)}
		row, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v: loss %.4f of %v on %s", d, row.Worst, row.Epsilon, row.Data)
		if row.Worst < least || row.Worst > most || most > 1.01 && row.OK {
			t.Errorf("%+v: loss %v of %v, on %s", d, row.Worst, row.Epsilon, row.Data)
		}
	}
	even, odd, median, two := []float64{1, 1, 1, 1}, []float64{3, 1, 1, 1}, []float64{0.5}, []float64{0.25, 0.5}
	one := [2][]uint64{{24, 17, 10, 0}, {24, 18, 10, 0}}
	f(sharpDraft{}, 0.999, 1.000001, even, median, one)
	f(sharpDraft{}, 0.5, 1.000001, odd[:3], two, [2][]uint64{{0, 8, 7}, {0, 9, 7}}, [2][]uint64{{8, 25, 0}, {9, 25, 0}})
	f(sharpDraft{always: true}, 1.1, 1.2, []float64{1, 1, 3}, two, [2][]uint64{{2, 0, 1}, {3, 0, 1}})
	f(sharpDraft{hasty: true}, 1.3, 1.4, odd[:3], two, [2][]uint64{{8, 25, 0}, {9, 25, 0}})
	f(sharpDraft{heavy: true}, 2, 2.5, odd[:3], two, [2][]uint64{{0, 8, 7}, {0, 9, 7}})
	f(sharpDraft{twice: true}, 1.1, 1.3, even[:3], median, [2][]uint64{{13, 13, 1}, {13, 13, 2}})
}
