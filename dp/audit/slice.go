package audit

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/slice"
	noisytree "github.com/quietile/quietile/dp/internal/tree"
)

// sliceCases are the slice estimator with slices that stay apart and that meet, in both of the ways that its proof tells apart.
func sliceCases() []Case {
	const u = slice.Unit
	pair := func(c Case, x, y []uint64) Case {
		c.Pairs = append(c.Pairs, [2][]uint64{x, y})
		return c
	}
	return []Case{
		sliceCase(slice.Problem{Weights: []uint64{1, 1, 1}, Quantiles: []int64{u / 2}, Width: 1}, 4, 1, 5),
		sliceCase(slice.Problem{Weights: []uint64{1, 1, 1}, Quantiles: []int64{u / 4}, Width: 2, Shares: [3]uint64{1, 1, 2}}, 4, 1, 5),
		sliceCase(slice.Problem{Weights: []uint64{1, 3, 2}, Quantiles: []int64{u / 4, 3 * u / 4}, Width: 1}, 6, 1, 3),
		sliceCase(slice.Problem{Weights: []uint64{1, 1, 1}, Quantiles: []int64{u / 4, u / 2}, Width: 2, Shares: [3]uint64{1, 4, 4}}, 6, 1, 3),
		sliceCase(slice.Problem{Weights: []uint64{1, 1}, Quantiles: []int64{u / 4, u / 2, 3 * u / 4}, Width: 1, Branching: 2, Height: 2, Shares: [3]uint64{1, 8, 3}}, 12, 1, 1),
		sliceCase(slice.Problem{Weights: []uint64{1, 2}, Quantiles: []int64{u / 2}, Width: 2, Levels: 1}, 4, 1, 4),
		sliceCase(slice.Problem{Weights: []uint64{1, 1}, Quantiles: []int64{u / 4, u / 2}, Width: 1, Levels: 1, Shares: [3]uint64{1, 4, 4}}, 6, 1, 1),
		sliceCase(slice.Problem{Weights: []uint64{1, 1, 1}, Quantiles: []int64{u / 2}, Width: 2}, 8, 2, 4),
		sliceCase(slice.Problem{Weights: []uint64{1, 1}, Quantiles: []int64{u / 2, 3 * u / 4}, Width: 1}, 12, 2, 2),
		pair(sliceCase(slice.Problem{Weights: []uint64{1, 1, 1}, Quantiles: []int64{u / 2}, Width: 10, Shares: [3]uint64{1, 1, 6}}, 4, 1, -1),
			[]uint64{10, 0, 10}, []uint64{10, 1, 10}),
		pair(sliceCase(slice.Problem{Weights: []uint64{1, 1, 1}, Quantiles: []int64{u / 4, 3 * u / 4}, Width: 4, Shares: [3]uint64{1, 3, 4}}, 8, 1, -1),
			[]uint64{4, 0, 4}, []uint64{4, 1, 4}),
		measuredSliceCase(slice.Problem{Weights: []uint64{1, 1}, Quantiles: []int64{u / 2}, Width: 1}, 4, 1, 1, 2),
		measuredSliceCase(slice.Problem{Weights: []uint64{1, 1}, Quantiles: []int64{u / 2}, Width: 1}, 8, 2, 2, 1),
	}
}

// measuredSliceCase is slices whose answers' rank errors are measured with an epsilon of its own.
func measuredSliceCase(p slice.Problem, epsilon, measured int64, contributions, records int) Case {
	c := sliceCase(p, epsilon, contributions, records)
	ruler := noisytree.Problem{Buckets: len(p.Quantiles) + 1, Branching: 2, Unrooted: true, Epsilon: measured * slice.Unit, Contributions: uint64(contributions)}
	measure := noisyTreeAnswer(ruler, noisytree.Measure, 0, 2)
	c.Mechanism, c.Epsilon = "rank error", float64(epsilon+measured)
	c.Setting = "slices, " + c.Setting
	p.Epsilon, p.Contributions, p.Shares = epsilon*slice.Unit, uint64(contributions), [3]uint64{1, 2, 3}
	var between []uint64
	cuts := sliceAnswer(p, slicer{count: slice.Records, ranks: slice.Ranks, answer: func(p *slice.Problem, ranks []int64, s exact.Sampler) (cuts []uint64) {
		cuts, between = slice.AnswerAndCount(p, ranks, s)
		return cuts
	}})
	c.Answer = func(records []uint64, s exact.Sampler) []uint64 {
		answer := cuts(records, s)
		return append(answer, measure(between, s)...)
	}
	return c
}

// sliceCase audits the slice estimator with an epsilon in whole numbers. The gap condition does not matter to privacy and is left alone: slices meet.
func sliceCase(p slice.Problem, epsilon int64, contributions, records int) Case {
	p.Epsilon, p.Contributions = epsilon*slice.Unit, uint64(contributions)
	if p.Shares == [3]uint64{} {
		p.Shares = [3]uint64{1, 2, 3}
	}
	setting := fmt.Sprintf("%d cells a bucket, width %d, shares %v, q", 1<<p.Levels, p.Width, p.Shares)
	for _, q := range p.Quantiles {
		setting += " " + big.NewRat(q, slice.Unit).RatString()
	}
	return Case{
		Mechanism:     "slice",
		Setting:       fmt.Sprintf("%s, c %d", setting, contributions),
		Epsilon:       float64(epsilon),
		Contributions: contributions,
		Buckets:       len(p.Weights),
		Records:       records,
		Answer:        sliceAnswer(p, slicer{count: slice.Records, ranks: slice.Ranks, answer: slice.Answer}),
	}
}

// A slicer is the slice estimator in its three parts.
type slicer struct {
	count  func(p *slice.Problem, s exact.NoiseSampler) int64
	ranks  func(p *slice.Problem, records int64, s exact.NoiseSampler) []int64
	answer func(p *slice.Problem, ranks []int64, s exact.Sampler) []uint64
}

// nodeTail is the probability, as a power of ½, that the noise of a node is moved to the end of the window it is enumerated in.
const nodeTail = 64

// A ranksLaw is a law of vectors of ranks.
type ranksLaw struct {
	all     [][]int64
	chances []*big.Float
}

// newRanksLaw moves the ranks of a law, encoded as an answer, into low … high.
func newRanksLaw(l Law, low, high int64) ranksLaw {
	near := Law{}
	for k, p := range l {
		ranks := answerOf(k)
		for j, r := range ranks {
			ranks[j] = uint64(min(max(int64(r), low), high))
		}
		k = key(ranks)
		if near[k] == nil {
			near[k] = float()
		}
		near[k].Add(near[k], p)
	}
	var law ranksLaw
	for k, p := range near {
		var ranks []int64
		for _, r := range answerOf(k) {
			ranks = append(ranks, int64(r))
		}
		law.all, law.chances = append(law.all, ranks), append(law.chances, p)
	}
	return law
}

// sliceAnswer returns the cuts and the noisy number of records, moved into a window of two numbers, of a problem with few records. The noise of the nodes has infinitely many values, and is not part of the
// answer; but given the noisy number of records the ranks do not see the data, and ranks beyond the slices that have records give all the same answers (slice.md, lemma 5). So their law is computed once, and
// then the answers of those that differ.
func sliceAnswer(p slice.Problem, parts slicer) func([]uint64, exact.Sampler) []uint64 {
	const low, high = 3, 4
	counts, nodes := map[noisyCount][]*big.Float{}, map[noisyCount][]*big.Float{}
	wide := map[int64]Law{}         // by the noisy number of records
	near := map[[2]int64]ranksLaw{} // by that and the true one
	return func(records []uint64, s exact.Sampler) []uint64 {
		p, n := p, int64(0)
		p.Counts = nil
		for b, k := range records {
			if n += int64(k); k > 0 {
				p.Counts = append(p.Counts, slice.Count{Bucket: b, Records: k})
			}
		}
		noisy := parts.count(&p, windowOf(s, low, high, counts))
		if wide[noisy] == nil {
			law, err := Enumerate(func(s exact.Sampler) []uint64 {
				var ranks []uint64
				for _, r := range parts.ranks(&p, noisy, &nodeWindow{s.(*enumerator), nodes}) {
					ranks = append(ranks, uint64(r))
				}
				return ranks
			})
			if err != nil {
				panic(err)
			}
			wide[noisy] = law
		}
		law, ok := near[[2]int64{noisy, n}]
		if !ok {
			law = newRanksLaw(wide[noisy], -int64(p.Width), n+int64(p.Width))
			near[[2]int64{noisy, n}] = law
		}
		ranks := law.all[s.(*enumerator).draw(func() []*big.Float { return law.chances })]
		cuts := parts.answer(&p, slices.Clone(ranks), s)
		return append(cuts, uint64(noisy))
	}
}

// A nodeWindow is an [enumerator] that adds Laplace noise from a window around the count, as wide as nodeTail says.
type nodeWindow struct {
	*enumerator
	laws map[noisyCount][]*big.Float
}

// Noisy implements [exact.NoiseSampler].
func (w *nodeWindow) Noisy(count uint64, noise exact.Noise) int64 {
	reach := new(big.Rat).Mul(noise.(*exact.Laplace).Scale(), big.NewRat(nodeTail*7, 10)) // ln 2 < 7/10
	half := new(big.Int).Quo(reach.Num(), reach.Denom()).Int64() + 1
	return (&window{w.enumerator, int64(count) - half, int64(count) + half, w.laws}).Noisy(count, noise)
}
