package audit

import (
	"fmt"
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
