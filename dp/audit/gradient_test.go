package audit

import (
	"math"
	"math/big"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/gradient"
)

// A gradientDraft runs two releases of a tree of gradients, the second at a point that the first one's noisy sum decides, with flaws. Records lie in the first or the second bucket of a window: the gradient is then as long as the clip, one way or the other.
type gradientDraft struct {
	windows   uint64  // that a unit may have, as the noise is told
	feature   float64 // the length of the gradient before it is clipped, in halves of the clip
	unclipped bool
	reused    bool // takes the noise of the first node for the node above it
	level     bool // leaves the levels out of the noise
	richer    bool // the second release pays four times as much
	last      bool // gives a node the noise that its last release needs, whatever the others paid
}

const gradientReach = 12 // noise beyond is moved to the window's ends

// answer returns the three noisy sums of the θ of one quantile.
func (d gradientDraft) answer(laws map[noisyCount][]*big.Float) func([]uint64, exact.Sampler) []uint64 {
	return func(records []uint64, s exact.Sampler) []uint64 {
		sampler := &firstOfTwo{NoiseSampler: windowOf(s, 1<<61-gradientReach, 1<<61+gradientReach, laws)}
		var answer []uint64
		var open []gradient.Node
		theta := 0.0
		for number := uint64(1); number <= 2; number++ {
			p := &gradient.Problem{
				Quantiles: []gradient.Quantile{{Q: 5e8, Theta: []float64{theta}, Phi: 1e6, Origin: 1, Unit: 1e9}},
				Features:  []float64{d.feature}, Levels: 2, Number: number, Windows: d.windows, Rho: 1e9, Lattice: 1, Open: open,
			}
			if d.level {
				p.Rho *= 2
			}
			if d.unclipped { // the lattice is finer, and the noise is not told
				p.Lattice, p.Rho = 3, 9e9
			}
			if d.richer && number == 2 {
				p.Rho *= 4
			}
			for i := range open {
				if d.last {
					open[i].Variance = 0
				}
			}
			for b, n := range records[2*(number-1) : 2*number] {
				if n > 0 {
					p.Counts = append(p.Counts, gradient.Count{Bucket: b, Records: n})
				}
			}
			sampler.reused = d.reused
			var sums []gradient.Sum
			sums, open = gradient.Measure(p, sampler)
			for _, x := range sums {
				answer = append(answer, uint64(x.Values[0]+gradientReach))
			}
			theta = 1e-3 * float64(sums[0].Values[0]) // close to the middle between the buckets: the gradient may turn
		}
		return answer
	}
}

// firstOfTwo draws noise for every other number, those of θ; that of φ, which is independent and near 0 on all data here, is left out.
type firstOfTwo struct {
	exact.NoiseSampler
	drawn  int
	reused bool
	noise  int64
}

func (f *firstOfTwo) Noisy(count uint64, noise exact.Noise) int64 {
	f.drawn++
	if f.drawn%2 == 0 {
		return 1 << 61
	}
	if f.reused && f.drawn == 5 { // the node of both, after those of either
		return int64(count) + f.noise
	}
	y := f.NoiseSampler.Noisy(count, noise)
	f.noise = y - int64(count)
	return y
}

// measured returns the largest divergence, either way, divided by its order.
func (d gradientDraft) measured(t *testing.T, x, y []uint64) (rho float64) {
	t.Helper()
	answer := d.answer(map[noisyCount][]*big.Float{})
	law := func(records []uint64) Law {
		l, err := Enumerate(func(s exact.Sampler) []uint64 { return answer(records, s) })
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a, b := law(x), law(y)
	for answer := range a {
		if b[answer] == nil {
			return math.Inf(1)
		}
	}
	if len(a) != len(b) {
		return math.Inf(1)
	}
	for _, alpha := range []float64{1.5, 2, 4} {
		rho = max(rho, divergence(alpha, a, b)/alpha, divergence(alpha, b, a)/alpha)
	}
	return rho
}

// A unit in one window pays ρ for both levels of the tree, and in two windows twice ρ, wherever the second gradient is taken.
func TestGradientsKeepTheirConcentratedPromise(t *testing.T) {
	f := func(name string, d gradientDraft, claimed, least float64, x, y []uint64, keeps bool) {
		t.Helper()
		rho := d.measured(t, x, y)
		t.Logf("%s, %v against %v: ρ %.4f of %v", name, x, y, rho, claimed)
		if rho < least || (rho <= claimed*(1+1e-9)) != keeps {
			t.Errorf("%s, %v against %v: ρ %v measured, %v claimed", name, x, y, rho, claimed)
		}
	}
	right := gradientDraft{windows: 1, feature: 4}
	f("in the first window", right, 1, 0.9, []uint64{0, 0, 1, 0}, []uint64{0, 1, 1, 0}, true)
	f("in the second window", right, 1, 0.8, []uint64{0, 1, 0, 0}, []uint64{0, 1, 0, 1}, true)
	two := right
	two.windows = 2
	f("in both windows", two, 2, 0.95, []uint64{0, 0, 0, 0}, []uint64{0, 1, 0, 1}, true)
	f("windows forgotten", right, 2, 2.2, []uint64{0, 0, 0, 0}, []uint64{0, 1, 0, 1}, false)
	flawed := right
	flawed.level = true
	f("levels forgotten", flawed, 1, 1.8, []uint64{0, 0, 1, 0}, []uint64{0, 1, 1, 0}, false)
	flawed = right
	flawed.unclipped = true
	f("no clipping", flawed, 1, 2, []uint64{0, 0, 1, 0}, []uint64{0, 1, 1, 0}, false)
	flawed = right
	flawed.reused = true
	f("noise of the tree reused", flawed, 1, math.Inf(1), []uint64{0, 0, 1, 0}, []uint64{0, 1, 1, 0}, false)
	// Who pays more gets less noise only where all pay as much.
	richer := right
	richer.richer = true
	f("in the first window, whose release pays less", richer, 1, 0.9, []uint64{0, 0, 1, 0}, []uint64{0, 1, 1, 0}, true)
	f("in the second window, whose release pays more", richer, 4, 1, []uint64{0, 1, 0, 0}, []uint64{0, 1, 0, 1}, true)
	flawed = richer
	flawed.last = true
	f("noise as the last release pays", flawed, 1, 2.3, []uint64{0, 0, 1, 0}, []uint64{0, 1, 1, 0}, false)
}
