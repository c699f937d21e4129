package audit

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/adaptive"
	noisytree "github.com/quietile/quietile/dp/internal/tree"
)

// The theorem cannot be improved: the loss is ε to the last digit. The bins of a round differ with what the one before it showed, or this would be no test of them.
func TestAdaptiveHistogramsLoseAllOfTheirEpsilon(t *testing.T) {
	for _, c := range adaptiveCases() {
		row, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s %s: %v of %v", row.Mechanism, row.Setting, row.Worst, row.Epsilon)
		exactly := math.Abs(row.Worst-row.Epsilon) <= 1e-14*row.Epsilon
		if !row.OK || !exactly && row.Mechanism == "adaptive" {
			t.Errorf("%s: loss %v where %v was claimed, on %s", row.Setting, row.Worst, row.Epsilon, row.Data)
		}
	}
	f := func(p adaptive.Problem, least int) {
		t.Helper()
		p.Bins, p.Epsilon, p.Contributions = 2, noisytree.Unit, 1
		second := map[string]bool{}
		if _, err := Enumerate(func(s exact.Sampler) []uint64 {
			rounds := adaptive.Measure(&p, windowOf(s, 0, 2, map[noisyCount][]*big.Float{}))
			second[fmt.Sprint(rounds[1].Edges)] = true
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(second) < least {
			t.Errorf("second rounds have the bins %v only", second)
		}
	}
	f(adaptive.Problem{Weights: []uint64{1, 1, 1, 1}, Rounds: 2}, 3)
	f(adaptive.Problem{Weights: []uint64{1, 2, 1, 1}, Rounds: 1, SpikeBins: 3}, 2)
}

// again is a sampler whose noise of each round is that of the first.
type again struct {
	exact.NoiseSampler
	bins, draws int
	noise       []int64
}

func (a *again) Noisy(count uint64, noise exact.Noise) int64 {
	if a.draws < a.bins {
		a.noise = append(a.noise, a.NoiseSampler.Noisy(0, noise))
	}
	a.draws++
	return int64(count) + a.noise[(a.draws-1)%a.bins]
}

func TestWrongAdaptiveHistogramsAreRefused(t *testing.T) {
	f := func(name string, p adaptive.Problem, contributions int, want float64, measure func(*adaptive.Problem, exact.NoiseSampler) []adaptive.Round) {
		t.Helper()
		c := adaptiveCase(p, 1, contributions, 2)
		p.Epsilon, p.Contributions = noisytree.Unit, uint64(contributions)
		c.Answer = adaptiveAnswer(p, measure)
		row, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: loss %.3f where 1 was claimed, on %s", name, row.Worst, row.Data)
		if row.OK || math.Abs(row.Worst-want) > 1e-9 {
			t.Errorf("%s: loss %v of 1, want %v; OK %v", name, row.Worst, want, row.OK)
		}
	}
	p := adaptive.Problem{Weights: []uint64{1, 1, 1, 1}, Bins: 2, Rounds: 2}
	f("all of ε for each round", p, 1, 2, func(p *adaptive.Problem, s exact.NoiseSampler) []adaptive.Round {
		p.Epsilon *= int64(p.Rounds)
		return adaptive.Measure(p, s)
	})
	f("contributions forgotten", p, 2, 2, func(p *adaptive.Problem, s exact.NoiseSampler) []adaptive.Round {
		p.Contributions = 1
		return adaptive.Measure(p, s)
	})
	exactly := func(p *adaptive.Problem, s exact.NoiseSampler) []adaptive.Round {
		follow := *p
		follow.Weights = []uint64{1, 1, 1, 1}
		for _, c := range p.Counts {
			follow.Weights[c.Bucket] += 100 * c.Records
		}
		rounds := adaptive.Measure(&follow, s)
		for i := range rounds { // whoever sees the answer sees the bins
			for _, e := range rounds[i].Edges {
				rounds[i].Counts = append(rounds[i].Counts, int64(e))
			}
		}
		return rounds
	}
	f("bins made of exact counts", p, 1, math.Inf(1), exactly)
	f("spikes not paid for", p, 1, 1.25, func(p *adaptive.Problem, s exact.NoiseSampler) []adaptive.Round {
		free := *p // a round of all buckets, with a quarter of ε beside all of it
		free.Bins, free.Rounds, free.Epsilon = len(p.Weights), 1, p.Epsilon/4
		return append(adaptive.Measure(p, s), adaptive.Measure(&free, s)...)
	})
	f("spikes in bins made of exact counts", adaptive.Problem{Weights: []uint64{1, 1, 1, 1}, Bins: 2, Rounds: 1}, 1, math.Inf(1), func(p *adaptive.Problem, s exact.NoiseSampler) []adaptive.Round {
		p.Epsilon /= 2
		spikes := *p
		spikes.Bins = 3
		return append(adaptive.Measure(p, s), exactly(&spikes, s)...)
	})
	f("noise used twice", adaptive.Problem{Weights: []uint64{1, 1}, Bins: 2, Rounds: 2}, 1, math.Inf(1), func(p *adaptive.Problem, s exact.NoiseSampler) []adaptive.Round {
		w := s.(*window)
		wide := &window{w.enumerator, -3, 5, map[noisyCount][]*big.Float{}}
		return adaptive.Measure(p, &again{NoiseSampler: wide, bins: 2})
	})
}

// Rényi divergences of neighbours stay below α·ρ and come close to it; with all of ρ for each round they do not.
func TestGaussianAdaptiveHistogramsKeepTheirConcentratedPromise(t *testing.T) {
	f := func(p adaptive.Problem, claimed float64, x, y []uint64, keeps bool) {
		t.Helper()
		p.Noise, p.Weights, p.Bins, p.Rounds = noisytree.Gaussian, []uint64{1, 2}, 2, 2-p.SpikeBins/2
		known := map[noisyCount][]*big.Float{}
		law := func(records []uint64) Law {
			l, err := Enumerate(func(s exact.Sampler) []uint64 {
				p := p
				p.Counts = countsOf(records)
				var answer []uint64
				for _, r := range adaptive.Measure(&p, windowOf(s, -5, 7, known)) {
					for _, y := range r.Counts {
						answer = append(answer, uint64(y+5))
					}
				}
				return answer
			})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		a, b := law(x), law(y)
		for _, alpha := range []float64{1.5, 2, 8} {
			d := max(divergence(alpha, a, b), divergence(alpha, b, a))
			if (d <= alpha*claimed*(1+1e-9)) != keeps || alpha == 2 && keeps && d < 0.98*alpha*claimed {
				t.Errorf("%v against %v: divergence of order %g is %g, claimed %g", x, y, alpha, d, alpha*claimed)
			}
			if alpha == 2 {
				t.Logf("c %d: ρ %.6f measured at order 2, %.6f claimed", p.Contributions, d/2, claimed)
			}
		}
	}
	const u = noisytree.Unit
	f(adaptive.Problem{Rho: u, Contributions: 1}, 1, []uint64{0, 1}, []uint64{1, 1}, true)
	f(adaptive.Problem{Rho: u, Contributions: 1, Shares: []uint64{1, 3}}, 1, []uint64{0, 0}, []uint64{0, 1}, true)
	f(adaptive.Problem{Rho: u, Contributions: 1, Shares: []uint64{4, 1}, SpikeBins: 2}, 1, []uint64{1, 0}, []uint64{1, 1}, true)
	f(adaptive.Problem{Rho: 2 * u, Contributions: 1}, 1, []uint64{0, 1}, []uint64{1, 1}, false)
	f(adaptive.Problem{Rho: u, Contributions: 1}, 1, []uint64{0, 1}, []uint64{2, 1}, false)
}
