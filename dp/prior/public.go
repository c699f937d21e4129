package prior

import (
	"fmt"
	"math"

	"github.com/quietile/quietile/sketch"
)

// public is a prior made of records that are public.
type public struct {
	name    string
	grid    *sketch.Grid
	before  []float64 // share of the public records before each bucket, and of all
	total   float64
	records float64
	robust  float64
}

// defaultRecords is how many records a release is taken to have if nobody says.
const defaultRecords = 10_000

// Public returns the prior of a public data set, which must really be public: it is read as it is, without noise or charge. A quantile q is believed to be where the data set has a rank near q: half by a Laplace and half by a Cauchy
// distribution of ranks around q, whose scale is the deviation of the rank of q's quantile among the records to be released, about so many (0 stands for 10,000), and among the public ones, if both are drawn from one
// distribution: √(q(1−q)·(1/records + 1/public)). All ranks of a bucket have the density of the nearest to q: a bucket's weight is spread evenly over its records, however many there are, and the draw pays for each.
// The uniform prior has the share robust in (0, 1]. The name stands for the data set in results. Errors wrap [ErrPrior].
func Public(name string, s *sketch.Binned, records uint64, robust float64) (ByQuantile, error) {
	switch {
	case s.Count() == 0:
		return nil, fmt.Errorf("public %w %s: there are no records", ErrPrior, name)
	case !(robust > 0 && robust <= 1):
		return nil, fmt.Errorf("public %w %s: robust %v is not in (0, 1]", ErrPrior, name, robust)
	}
	if records == 0 {
		records = defaultRecords
	}
	p := &public{name: name, grid: s.Grid(), before: make([]float64, s.Grid().Len()+1), total: float64(s.Count()), records: float64(records), robust: robust}
	counts := make([]uint64, s.Grid().Len())
	for i, n := range s.All() {
		counts[i] = n
	}
	sum := uint64(0)
	for i, n := range counts {
		sum += n
		p.before[i+1] = float64(sum) / p.total
	}
	return p, nil
}

// Name implements [Prior]: "public:" and the name. [Parse] does not read it.
func (p *public) Name() string { return "public:" + p.name }

func (p *public) share() float64 { return p.robust }

// masses are those of the public records themselves.
func (p *public) masses(g *sketch.Grid) ([]float64, error) { return p.around(g, math.NaN()) }

func (p *public) around(g *sketch.Grid, q float64) ([]float64, error) {
	if !g.Equal(p.grid) {
		return nil, fmt.Errorf("public %w %s is on grid %v, and not on %v", ErrPrior, p.name, p.grid, g)
	}
	scale := math.Sqrt(q * (1 - q) * (1/p.records + 1/p.total))
	m := make([]float64, g.Len())
	for i := range m {
		low, high := p.before[i], p.before[i+1]
		if m[i] = high - low; !math.IsNaN(q) {
			z := (min(max(q, low), high) - q) / scale
			m[i] *= math.Exp(-math.Sqrt2*math.Abs(z))/math.Sqrt2 + 1/(math.Pi*(1+z*z))
		}
	}
	return m, normal(m)
}

// Weights implements [Prior]: those of the public records. It is an error if the grid is another one than theirs.
func (p *public) Weights(g *sketch.Grid) ([]uint64, error) { return mix(p, g) }

// Mixed implements [Mixture].
func (p *public) Mixed(g *sketch.Grid) (own, robust []uint64, share float64, err error) {
	return parts(p, g)
}

// At implements [ByQuantile].
func (p *public) At(q float64) Prior { return ranked{p, q} }

// ranked is a public data set's prior of one quantile.
type ranked struct {
	p *public
	q float64
}

// Name implements [Prior]; [Parse] does not read it.
func (r ranked) Name() string { return fmt.Sprintf("%s at %v", r.p.Name(), r.q) }

func (r ranked) share() float64 { return r.p.robust }

func (r ranked) masses(g *sketch.Grid) ([]float64, error) { return r.p.around(g, r.q) }

// Weights implements [Prior].
func (r ranked) Weights(g *sketch.Grid) ([]uint64, error) { return mix(r, g) }

// Mixed implements [Mixture].
func (r ranked) Mixed(g *sketch.Grid) (own, robust []uint64, share float64, err error) {
	return parts(r, g)
}
