package audit

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
	noisytree "github.com/quietile/quietile/dp/internal/tree"
)

// generator returns the production sampler on bits that can be drawn again.
func generator(t *testing.T) *exact.Generator {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return exact.NewFrom(rand.NewChaCha8(key))
}

func run(t *testing.T, trial Trial, s exact.NoiseSampler) Row {
	t.Helper()
	row, err := trial.Run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, %s: at least %.3f of %.3f, on %s", row.Mechanism, row.Setting, row.Worst, row.Epsilon, row.Data)
	return row
}

func TestLargeReleasesLoseNoMoreThanTheyClaim(t *testing.T) {
	s := generator(t)
	most := 0.0
	for _, trial := range Trials() {
		row := run(t, trial, s)
		if !row.OK {
			t.Errorf("%s, %s: loses at least %v, and claims %v", row.Mechanism, row.Setting, row.Worst, row.Epsilon)
		}
		most = max(most, row.Worst/row.Epsilon)
	}
	if most < 0.5 {
		t.Errorf("the trials find only %v of what may be lost", most)
	}
}

// wholeDataTrial is the recursive estimator for buckets of one cell that scores a range against all the data and the quantile asked for.
func wholeDataTrial(p recursive.Problem, pair neighbourhood, runs int) Trial {
	t := recursiveTrial(p, pair, runs)
	depth := int64(recursive.Depth(len(p.Quantiles), 2))
	var rates []*exact.Rate // of each quantile, for scores in billionths of a record
	for _, q := range p.Quantiles {
		spread := new(big.Rat).SetInt64(2 * depth * int64(pair.add) * max(q, recursive.Unit-q))
		r, err := exact.NewRate(new(big.Rat).Quo(big.NewRat(p.Epsilon, recursive.Unit), spread))
		if err != nil {
			panic(err)
		}
		rates = append(rates, r)
	}
	for side, counts := range pair.sides() {
		below := []int64{0}
		for b, n := range counts {
			below = append(below, below[b]+int64(n))
		}
		n := below[len(counts)]
		t.Answers[side] = func(s exact.NoiseSampler) []int64 {
			answer := make([]int64, len(p.Quantiles))
			var solve func(a, b, from, to int)
			solve = func(a, b, from, to int) {
				if from == to {
					return
				}
				j := (from + to) / 2
				var items []exact.Item
				for z := a; z <= b; z++ {
					off := below[z]*recursive.Unit - p.Quantiles[j]*n
					items = append(items, exact.Item{Mass: exact.From64(1), Score: exact.From64(uint64(max(off, -off)))})
				}
				z := a + s.Chooser(rates[j], items).Choose()
				answer[j] = int64(z)
				solve(a, z, from, j)
				solve(z, b, j+1, to)
			}
			solve(0, len(counts), 0, len(p.Quantiles))
			return answer
		}
	}
	return t
}

func TestLargeReleasesThatAreBrokenLoseMore(t *testing.T) {
	s := generator(t)
	caught := func(what string, claimed float64, trial Trial) {
		t.Helper()
		trial.Setting += ", " + what
		trial.Epsilon = claimed
		if row := run(t, trial, s); row.OK {
			t.Errorf("%s: nothing was found", what)
		}
	}
	median, top := []int64{u / 2}, []int64{99 * u / 100}
	// The median's sensitivity of ½ is 50/99 of the right one.
	caught("Δ too small", 1, recursiveTrial(recursive.Problem{Levels: 40, Quantiles: top, Epsilon: u * 99 / 50}, missed(256, 10_000, top, 2), 40_000))
	between, many := halfway(255)
	caught("scored against all data", 2, wholeDataTrial(recursive.Problem{Quantiles: many, Epsilon: 2 * u}, between, 10_000))
	// What spends four times ε on units of four records spends ε on units of one.
	caught("c forgotten", 1, recursiveTrial(recursive.Problem{Levels: 40, Quantiles: median, Epsilon: 4 * u}, missed(256, 10_000, median, 4), 12_000))
	caught("c forgotten", 1, noisyTreeTrial(noisytree.Problem{Branching: 16, Epsilon: 4 * u}, missed(256, 10_000, median, 4), 6_000))
	caught("h forgotten", 1, noisyTreeTrial(noisytree.Problem{Branching: 16, Epsilon: 3 * u}, missed(256, 10_000, median, 1), 6_000))
}

// The limit of Clopper and Pearson is checked against the sum that defines it.
func TestLimitsOfProbabilitiesHold(t *testing.T) {
	for _, n := range []int{1, 2, 10, 300} {
		for _, k := range []int{0, 1, n / 3, n - 1} {
			if k >= n {
				continue
			}
			p := atMost(k, n)
			tail := 0.0
			for i := range k + 1 {
				c, _ := new(big.Float).SetInt(new(big.Int).Binomial(int64(n), int64(i))).Float64()
				tail += c * math.Pow(p, float64(i)) * math.Pow(1-p, float64(n-i))
			}
			if math.Abs(tail-doubt/2) > 1e-6*doubt {
				t.Errorf("%d of %d: with the limit %v so few have a chance of %v", k, n, p, tail)
			}
		}
		if p := atMost(n, n); p != 1 {
			t.Errorf("%d of %d: the limit is %v", n, n, p)
		}
	}
}

// A coin whose loss is known: the bound stays below it and comes close.
func TestTheLossOfACoinIsFound(t *testing.T) {
	s := generator(t)
	coin := func(heads uint64) func(exact.NoiseSampler) []int64 {
		return func(s exact.NoiseSampler) []int64 {
			if s.Uniform(exact.From64(100)).Less(exact.From64(heads)) {
				return []int64{1}
			}
			return []int64{0}
		}
	}
	f := func(a, b uint64, delta, loss float64) {
		t.Helper()
		for _, heads := range [][2]uint64{{a, b}, {b, a}} {
			row := run(t, Trial{Mechanism: "coin", Epsilon: loss, Delta: delta, Runs: 40_000, Answers: [2]func(exact.NoiseSampler) []int64{coin(heads[0]), coin(heads[1])}}, s)
			if !row.OK || row.Worst < min(0.7*loss, 6) {
				t.Errorf("%d and %d of 100: found %v of %v", a, b, row.Worst, loss)
			}
		}
	}
	f(60, 20, 0, math.Log(3))
	f(60, 20, 0.2, math.Log(2))
	f(30, 30, 0, 0)
	f(100, 50, 0, math.Inf(1))
}
