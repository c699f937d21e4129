package gradient

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quietile/quietile/dp/exact"
)

// silent adds no noise.
type silent struct{ exact.NoiseSampler }

func (silent) Noisy(count uint64, _ exact.Noise) int64 { return int64(count) }

func problem(random *rand.Rand) *Problem {
	p := &Problem{Features: []float64{1, random.NormFloat64()}, Levels: 5, Number: 1, Windows: 1, Rho: 1e7}
	for q := range int64(1 + random.IntN(3)) {
		p.Quantiles = append(p.Quantiles, Quantile{
			Q: (q + 1) * 2e8, Theta: []float64{random.NormFloat64(), 1e3 * random.NormFloat64()}, Phi: math.Exp(10 * random.NormFloat64()), Origin: 100 * random.Float64(), Unit: 1 + random.Float64(),
		})
	}
	for b := range 100 {
		if n := random.Uint64N(3); n > 0 {
			p.Counts = append(p.Counts, Count{b, n})
		}
	}
	return p
}

// Whatever the data and the parameters: what privacy rests on is the length in whole numbers.
func TestGradientsAreNeverLongerThanTheClip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	longest := int64(0)
	for range 20_000 {
		p := problem(random)
		if random.IntN(10) == 0 {
			p.Counts = nil
		}
		g := p.Gradient()
		if len(g) != p.Size() || squared(g) > Lattice*Lattice {
			t.Fatalf("%+v: gradient %v has squared length %d", p, g, squared(g))
		}
		longest = max(longest, squared(g))
	}
	if longest < Lattice*Lattice*9/10 {
		t.Errorf("the longest of them has %v of the clip", math.Sqrt(float64(longest))/Lattice)
	}
	for _, g := range [][]float64{{math.NaN(), 1}, {math.Inf(1), 1}, {1e308, 1e308}, {0, 0}} {
		if v := clip(g, Lattice); squared(v) > Lattice*Lattice {
			t.Errorf("%v is clipped to %v", g, v)
		}
	}
	if v := clip([]float64{30, -40}, Lattice); !slices.Equal(v, []int64{614, -819}) { // not the zero that is left of what is too long
		t.Errorf("a long gradient is clipped to %v", v)
	}
	const fine = 1 << 31 // so fine that what is added against rounding errors is more than a step
	if v := clip([]float64{1.2, 1.6}, fine); squared(v) > fine*fine {
		t.Errorf("a gradient as long as the clip becomes %v", v)
	}
}

// Noise is never less than what the charge covers, not by a fraction of a step.
func TestVariancesAreRoundedUp(t *testing.T) {
	p := problem(rand.New(rand.NewPCG(7, 7)))
	for _, rho := range []int64{1, 3, 7e5 + 1, 1e9, 999_999_999_937} {
		p.Rho, p.Windows = rho, 5
		v, err := p.variance()
		need := new(big.Int).Mul(big.NewInt(2*5*Lattice*Lattice*int64(p.Levels)), big.NewInt(1e9))
		have := new(big.Int).Mul(big.NewInt(v), big.NewInt(rho))
		if over := new(big.Int).Sub(have, need); err != nil || over.Sign() < 0 || over.Cmp(big.NewInt(rho)) >= 0 {
			t.Errorf("rho %d: variance %d, error %v", rho, v, err)
		}
	}
}

// Without noise each sum is that of the gradients of its run, and the estimate is the sum of all.
func TestSumsAreThoseOfTheirRuns(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	first := problem(random)
	var all [][]int64
	var sums []Sum
	var estimate Estimate
	var open []Node
	for number := uint64(1); number < 1<<5; number++ {
		p := problem(random)
		p.Quantiles, p.Number, p.Open = first.Quantiles, number, open
		all = append(all, p.Gradient())
		var more []Sum
		before := make([][]int64, len(open))
		for i, n := range open {
			before[i] = slices.Clone(n.Values)
		}
		more, p.Open = Measure(p, silent{})
		for i, n := range open {
			if !slices.Equal(n.Values, before[i]) {
				t.Fatalf("at %d the node of level %d that was handed in is changed", number, i)
			}
		}
		open = p.Open
		for level, n := range open {
			if (n.Values != nil) != (number>>level&1 == 1) {
				t.Fatalf("after %d the node of level %d is %v", number, level, n)
			}
		}
		sums = append(sums, more...)
		for _, s := range more {
			want := make([]int64, p.Size())
			for _, g := range all[s.Last-1<<s.Level : s.Last] {
				for i, x := range g {
					want[i] += x
				}
			}
			if !slices.Equal(s.Values, want) {
				t.Fatalf("the sum of level %d at %d is %v, want %v", s.Level, s.Last, s.Values, want)
			}
		}
		total := make([]float64, p.Size())
		for _, g := range all {
			for i, x := range g {
				total[i] += float64(x)
			}
		}
		estimate.Add(number, more, p.Size())
		for i, x := range estimate.Sum(p.Size()) {
			if math.Abs(x-total[i]) > 1e-6 {
				t.Fatalf("after %d the estimate is off by %v", number, x-total[i])
			}
		}
	}
	if len(sums) != 31+15+7+3+1 {
		t.Errorf("%d sums", len(sums))
	}
}

// The variance of the estimate of 16 gradients: one node's would be 1, and halves make it less.
func TestEstimatesUseWhatHalvesSay(t *testing.T) {
	p := problem(rand.New(rand.NewPCG(3, 3)))
	p.Counts, p.Features = nil, []float64{1, 0}
	sampler, variance := exact.New(), 0.0
	const runs = 400
	for range runs {
		var estimate Estimate
		p.Open = nil
		exactly := 0.0
		for p.Number = 1; p.Number <= 16; p.Number++ {
			var sums []Sum
			sums, p.Open = Measure(p, sampler)
			estimate.Add(p.Number, sums, p.Size())
			exactly += float64(p.Gradient()[0])
		}
		off := estimate.Sum(p.Size())[0] - exactly
		variance += off * off / runs / p.Variance()
	}
	want := 1.0
	for range 4 {
		want = 1 / (1 + 1/(2*want))
	}
	if variance < want*0.75 || variance > want*1.3 {
		t.Errorf("variance %v of a node's, want %v", variance, want)
	}
}

// tape notes the variances of noise.
type tape struct {
	exact.NoiseSampler
	variances []int64
}

func (v *tape) Noisy(count uint64, noise exact.Noise) int64 {
	v.variances = append(v.variances, noise.(*exact.Gaussian).Variance().Num().Int64())
	return int64(count)
}

// The charge of a release covers every sum with its gradient, whatever the releases pay that complete them.
func TestANodeHasTheNoiseOfTheReleaseThatPaysLeast(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	paid := []int64{1e7, 3e6, 1e9, 1e8, 2e8, 5e6, 1e9, 1e7}
	var open []Node
	for number := uint64(1); number <= 8; number++ {
		p := problem(random)
		p.Quantiles, p.Number, p.Open = p.Quantiles[:1], number, open
		p.Rho = paid[number-1]
		s := &tape{}
		var sums []Sum
		sums, open = Measure(p, s)
		for i, x := range sums {
			p.Rho = slices.Min(paid[x.Last-1<<x.Level : x.Last])
			want := p.Variance()
			for _, v := range s.variances[i*p.Size() : (i+1)*p.Size()] {
				if float64(v) != want {
					t.Errorf("the sum of level %d at %d has noise of variance %d, want %v", x.Level, x.Last, v, want)
				}
			}
		}
	}
}

func TestALostSumCountsAsNothing(t *testing.T) {
	p := problem(rand.New(rand.NewPCG(4, 4)))
	p.Number = 4
	sums, open := Measure(p, silent{})
	if len(sums) != 3 || !slices.Equal(sums[2].Values, p.Gradient()) || open[2].Values == nil {
		t.Errorf("sums %v, open %v", sums, open)
	}
}

func TestWrongProblemsAreRefused(t *testing.T) {
	f := func(change func(*Problem)) {
		t.Helper()
		p := problem(rand.New(rand.NewPCG(5, 5)))
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		change(p)
		if err := p.Check(); !errors.Is(err, ErrProblem) && !errors.Is(err, exact.ErrNoise) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	f(func(p *Problem) { p.Levels = 0 })
	f(func(p *Problem) { p.Levels = 21 })
	f(func(p *Problem) { p.Number = 0 })
	f(func(p *Problem) { p.Number = 32 })
	f(func(p *Problem) { p.Windows = 0 })
	f(func(p *Problem) { p.Rho = 0 })
	f(func(p *Problem) { p.Rho, p.Windows, p.Levels = 1, 4096, 20 })
	f(func(p *Problem) { p.Quantiles = nil })
	f(func(p *Problem) { p.Features = nil })
	f(func(p *Problem) { p.Quantiles[0].Phi = math.NaN() })
}

// What Check lets through has a gradient of at most the clip, whatever numbers there are and on whatever records.
func FuzzGradient(f *testing.F) {
	f.Add(0.0, 1.0, 0.0, 8.0, 1.0, int64(5e8), uint64(3), uint64(0))
	f.Add(math.MaxFloat64, math.SmallestNonzeroFloat64, -1e300, 1e-300, 1e308, int64(999_999_999), uint64(math.MaxUint64), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, theta, phi, origin, unit, feature float64, q int64, low, high uint64) {
		p := &Problem{
			Features: []float64{1, feature}, Levels: 3, Number: 1, Windows: 1, Rho: 1e7,
			Quantiles: []Quantile{{Q: 5e8, Theta: []float64{theta, 0}, Phi: phi, Origin: origin, Unit: unit}, {Q: 1 + (q&math.MaxInt64)%999_999_999, Theta: []float64{0, theta}, Phi: 1, Unit: 1}},
			Counts:    []Count{{3, low}, {60_000, high}},
		}
		if p.Check() != nil {
			return
		}
		if g := p.Gradient(); len(g) != p.Size() || squared(g) > Lattice*Lattice {
			t.Errorf("%+v has the gradient %v", p, g)
		}
	})
}
