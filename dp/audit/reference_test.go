package audit

import (
	"fmt"
	"math/big"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
)

// A formula computes the law of the recursive estimator from its definition: it places the records in cells in every possible way, and multiplies the
// probabilities of the exponential mechanism. It shares no code with the estimator, which splits, refines and rejects.
type formula struct {
	levels        uint
	weights       []uint64
	quantiles     []*big.Rat
	epsilon       *big.Rat
	contributions int64
}

func (f formula) law(records []uint64) Law {
	law := Law{}
	cells := make([]int64, len(records)<<f.levels)
	var place func(bucket, cell int, left uint64, p *big.Rat)
	place = func(bucket, cell int, left uint64, p *big.Rat) {
		if bucket == len(records) {
			for answer, q := range f.solve(cells, 0, len(cells), f.quantiles, new(big.Rat), big.NewRat(1, 1)) {
				if law[answer] == nil {
					law[answer] = float()
				}
				law[answer].Add(law[answer], q.Mul(q, float().SetRat(p)))
			}
			return
		}
		size := 1 << f.levels
		if cell == size-1 {
			cells[bucket*size+cell] = int64(left)
			next := uint64(0)
			if bucket+1 < len(records) {
				next = records[bucket+1]
			}
			place(bucket+1, 0, next, p)
			return
		}
		for k := uint64(0); k <= left; k++ {
			cells[bucket*size+cell] = int64(k)
			// Each of the left records falls into this cell, of the size−cell that remain, with equal probability.
			in := big.NewRat(1, int64(size-cell))
			out := new(big.Rat).Sub(big.NewRat(1, 1), in)
			share := new(big.Rat).SetInt(new(big.Int).Binomial(int64(left), int64(k)))
			for i := uint64(0); i < left; i++ {
				if i < k {
					share.Mul(share, in)
				} else {
					share.Mul(share, out)
				}
			}
			place(bucket, cell+1, left-k, share.Mul(share, p))
		}
	}
	place(0, 0, records[0], big.NewRat(1, 1))
	return law
}

// depth is the number of quantiles on the longest path, by walking the tree.
func depth(m int) int64 {
	if m == 0 {
		return 0
	}
	return 1 + max(depth(m/2), depth(m-1-m/2))
}

func (f formula) solve(cells []int64, a, b int, quantiles []*big.Rat, lo, hi *big.Rat) Law {
	if len(quantiles) == 0 {
		return Law{"": float().SetInt64(1)}
	}
	if a == b {
		same := make([]uint64, len(quantiles))
		for i := range same {
			same[i] = uint64(a)
		}
		return Law{key(same): float().SetInt64(1)}
	}
	j := len(quantiles) / 2
	one := big.NewRat(1, 1)
	p := new(big.Rat).Quo(new(big.Rat).Sub(quantiles[j], lo), new(big.Rat).Sub(hi, lo))
	spread := new(big.Rat).Sub(one, p)
	if spread.Cmp(p) < 0 {
		spread.Set(p)
	}
	rate := new(big.Rat).Quo(f.epsilon, new(big.Rat).SetInt64(2*f.contributions*depth(len(f.quantiles))))
	rate.Quo(rate, spread)
	n := int64(0)
	for _, c := range cells[a:b] {
		n += c
	}
	weights, sum, below := make([]*big.Float, b-a+1), float(), int64(0)
	for z := a; z <= b; z++ {
		score := new(big.Rat).Mul(p, new(big.Rat).SetInt64(n))
		score.Sub(score, new(big.Rat).SetInt64(below)).Abs(score)
		weights[z-a] = expNeg(score.Mul(score, rate))
		weights[z-a].Mul(weights[z-a], float().SetInt64(int64(f.weights[min(z>>f.levels, len(f.weights)-1)])))
		sum.Add(sum, weights[z-a])
		if z < b {
			below += cells[z]
		}
	}
	law := Law{}
	for z := a; z <= b; z++ {
		at := float().Quo(weights[z-a], sum)
		for left, p := range f.solve(cells, a, z, quantiles[:j], lo, quantiles[j]) {
			for right, q := range f.solve(cells, z, b, quantiles[j+1:], quantiles[j], hi) {
				answer := left + key([]uint64{uint64(z)}) + right
				if law[answer] == nil {
					law[answer] = float()
				}
				law[answer].Add(law[answer], float().Mul(at, float().Mul(p, q)))
			}
		}
	}
	return law
}

// equalLaws fails the test unless the laws agree to 2^−190 of each probability.
func equalLaws(t *testing.T, name string, got, want Law) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d possible answers, want %d", name, len(got), len(want))
	}
	for answer, p := range want {
		q := got[answer]
		if q == nil {
			t.Fatalf("%s: %v is impossible, want probability %.6g", name, answerOf(answer), p)
		}
		if off := float().Sub(q, p); off.Sign() != 0 && off.MantExp(nil) > p.MantExp(nil)-190 {
			t.Fatalf("%s: %v has probability %.40g, want %.40g", name, answerOf(answer), q, p)
		}
	}
}

func TestRefinementAndRejectionGiveTheLawOfTheDefinition(t *testing.T) {
	check := func(levels uint, weights []uint64, epsilon int64, contributions, records int, nano ...int64) {
		t.Helper()
		f := formula{levels: levels, weights: weights, epsilon: big.NewRat(epsilon, 1), contributions: int64(contributions)}
		for _, q := range nano {
			f.quantiles = append(f.quantiles, big.NewRat(q, recursive.Unit))
		}
		c := recursiveCase("", levels, nano, epsilon, contributions, weights, records)
		for _, x := range multisets(len(weights), 0, records) {
			got, err := Enumerate(func(s exact.Sampler) []uint64 { return c.Answer(x, s) })
			if err != nil {
				t.Fatal(err)
			}
			equalLaws(t, fmt.Sprintf("%d cells a bucket, weights %v, q %v, records %v", 1<<levels, weights, nano, x), got, f.law(x))
		}
	}
	const u = recursive.Unit
	check(0, []uint64{1, 1, 1}, 1, 1, 5, u/2)
	check(0, []uint64{1, 4, 1, 2}, 3, 2, 3, u/10, u/2, 9*u/10)
	check(1, []uint64{1, 1}, 1, 1, 5, u/2)
	check(1, []uint64{3, 1, 2}, 4, 1, 4, u/10)
	check(1, []uint64{1, 2}, 2, 1, 3, u/4, 3*u/4)
	check(1, []uint64{2, 1}, 2, 2, 2, u/4, u/2, 3*u/4)
	check(2, []uint64{1}, 5, 1, 4, 9*u/10)
	check(2, []uint64{1, 1}, 2, 1, 2, u/4, u/2)
	check(3, []uint64{1}, 5, 1, 2, u/3)
}
