package learn

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/prior"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// rate is the step of [FTRL] for gradients of length 1, divided by the root of their number.
const rate = 1.0

// ftrl is what the learner [FTRL] knows: parameters and the noisy sums of the tree that is being filled. Everything follows from released sums.
type ftrl struct {
	tree   uint64 // number of the tree, 0 before the first
	last   string // the last release that it learned from
	number uint64 // releases in it
	period int64  // the budget period that the tree belongs to
	window int64  // the last window it learned from
	sum    dp.GradientEstimate
	known  []dp.GradientSum // of the runs that the tree is made of so far
	qs     []float64        // the quantiles of the tree
	base   []parameter      // their parameters when it began
	now    map[float64]parameter
}

// parameter is a forecast, location θ·f/φ, in units from an origin.
type parameter struct {
	theta        []float64
	phi          float64
	origin, unit float64
}

func newFTRL() *ftrl { return &ftrl{now: map[float64]parameter{}} }

// forecast returns location and scale of a quantile.
func (l *ftrl) forecast(k *quantile, f []float64) (location, scale float64) {
	p, ok := l.now[k.q]
	if !ok {
		return k.last, k.scale
	}
	theta := 0.0
	for i := range f {
		theta += p.theta[i] * f[i]
	}
	return p.origin + p.unit*theta/p.phi, p.unit / p.phi
}

// Learning returns what a release of these quantiles of a window, which lies in the budget period that begins at a moment, must measure for [FTRL] to learn of it: nil if it has nothing to learn, since the quantiles are new, the
// window is not later than those learned from, or its features are wrong. windows is how many windows of a period hold records of one unit at most, capacity how many windows a period has. A tree of sums ends with its period and when other quantiles are asked for.
func (s *State) Learning(w Window, quantiles []float64, windows, capacity int, share float64) *dp.Learning {
	f, _, err := s.config.features(w, s.magnitude)
	if s.ftrl == nil || err != nil {
		return nil
	}
	l := s.ftrl
	if l.tree > 0 && w.Start.UnixNano() <= l.window {
		return nil
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(quantiles)))
	number := l.number + 1
	if l.tree == 0 || w.Period.UnixNano() != l.period || !slices.Equal(sorted, l.qs) {
		number = 1
	}
	levels := 1
	for 1<<levels <= capacity {
		levels++
	}
	if number >= 1<<levels {
		return nil
	}
	g := &dp.Learning{Share: share, Features: f, Levels: levels, Number: number, Windows: uint64(max(windows, 1))}
	for _, q := range sorted {
		k := s.find(q)
		if k == nil {
			return nil
		}
		p := l.parameter(s, k, len(f))
		g.Parameters = append(g.Parameters, dp.Parameter{Q: q, Theta: slices.Clone(p.theta), Phi: p.phi, Origin: p.origin, Unit: p.unit})
	}
	return g
}

// Leader returns the name of the last release whose gradient was taken in, "" before the first: the one whose [dp.Carry] the next one takes.
func (s *State) Leader() string {
	if s.ftrl == nil {
		return ""
	}
	return s.ftrl.last
}

// parameter returns that of a quantile, the first one around its latest answer.
func (l *ftrl) parameter(s *State, k *quantile, features int) parameter {
	if p, ok := l.now[k.q]; ok {
		return p
	}
	unit := max(firstScale, float64(s.grid.Len())/256)
	return parameter{theta: make([]float64, features), phi: 1, origin: k.last, unit: unit}
}

// observe takes in the sums of a release, which were measured as [State.Learning] said before it.
func (l *ftrl) observe(s *State, w Window, r *dp.Result, before map[float64]parameter) {
	for _, x := range r.Learned {
		if len(x.Values) != len(before)*(2+len(s.config.names())) {
			return // of another state
		}
	}
	number := r.Learned[0].Last
	if number != 1 && number != l.number+1 {
		return // of a tree whose beginning is not known
	}
	if number == 1 {
		l.tree++
		l.sum, l.known, l.qs, l.base, l.period = dp.GradientEstimate{}, nil, nil, nil, w.Period.UnixNano()
		for _, a := range r.Quantiles {
			l.qs = append(l.qs, a.Q)
		}
		slices.Sort(l.qs)
		l.qs = slices.Compact(l.qs)
		for _, q := range l.qs {
			l.base = append(l.base, before[q])
		}
	}
	l.number, l.window, l.last = number, w.Start.UnixNano(), s.releaseID
	l.sum.Add(number, r.Learned, len(before)*(2+len(s.config.names())))
	highest := slices.MaxFunc(r.Learned, func(a, b dp.GradientSum) int { return cmp.Compare(a.Level, b.Level) })
	l.known = append(slices.DeleteFunc(l.known, func(x dp.GradientSum) bool { return x.Level <= highest.Level }), highest)
	l.follow(s)
}

// follow computes the parameters from the noisy sums: the regularised leader, x = base − rate/√number · Σ gradients.
func (l *ftrl) follow(s *State) {
	d := 1 + len(s.config.names())
	estimate := l.sum.Sum(len(l.qs) * (d + 1))
	const unit = 2.0 / 1024 // of the sums, in the units of the loss
	step := rate / math.Sqrt(float64(max(l.number, 1))) * unit
	for j, q := range l.qs {
		p := l.base[j]
		p.theta = slices.Clone(p.theta)
		for i := range d {
			p.theta[i] -= step * estimate[j*(d+1)+i]
		}
		p.phi = min(max(p.phi-step*estimate[j*(d+1)+d], leastPhi), mostPhi)
		l.now[q] = p
	}
}

// sums returns the state as messages: the tree's sums, and parameters as sums of no level.
func (l *ftrl) sums() []*quietilev1.GradientSum {
	var all []*quietilev1.GradientSum
	for _, x := range l.known {
		all = append(all, &quietilev1.GradientSum{Level: uint32(x.Level), Last: x.Last, Values: slices.Clone(x.Values), Tree: l.tree})
	}
	return all
}

// restore cannot make the parameters of earlier trees from the sums of the last: a state of this learner is made of the answers again.
func (l *ftrl) restore(s *State, _ []*quietilev1.GradientSum) error {
	if s.releases > 0 {
		return fmt.Errorf("%w: a state of %s is made of the answers", prior.ErrPrior, FTRL)
	}
	return nil
}
