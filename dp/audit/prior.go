package audit

import (
	"fmt"
	"time"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/internal/recursive"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/dp/prior/learn"
	"github.com/quietile/quietile/sketch"
)

// familyTotal is about the sum of the weights of the families' priors here: so few that every draw among them can be followed.
const familyTotal = 24

// familyCases are the recursive estimator with a prior of each family, and of each learner after three releases, on three buckets.
func familyCases() []Case {
	g, err := sketch.NewExplicit([]float64{1, 2})
	if err != nil {
		panic(err) // it is a grid
	}
	known := sketch.NewBinned(g)
	known.AddBatch([]float64{0, 1.5, 1.5, 3})
	public, err := prior.Public("known", known, 10, prior.DefaultRobust)
	if err != nil {
		panic(err)
	}
	all := []prior.Prior{public}
	for _, text := range []string{
		"uniform:near=0.5", "cauchy:location=1.5,scale=1", "half-cauchy:location=0,scale=1", "laplace:location=2,scale=0.5", "gaussian:location=0,scale=1,robust=0.3", "log-uniform:min=0.5,max=4",
		"forecast:location=1.5,scale=0.5,last=0.5,reach=3", "weights:0,5,1", "release:0.25=0.5,0.75=3", "each:0.25=laplace:location=0,scale=1;0.75=weights:1,1,8",
	} {
		p, err := prior.Parse(text)
		if err != nil {
			panic(err)
		}
		all = append(all, p)
	}
	for _, c := range []learn.Config{{Learner: learn.Previous}, {}, {Optimiser: learn.COCOB}, {Optimiser: learn.SGD}, {Learner: learn.FTRL}} {
		s, err := learn.New(c, g)
		if err != nil {
			panic(err)
		}
		window := learn.Window{Start: time.Unix(0, 0)}
		for i, x := range []float64{1.5, 3, 1.5} {
			window.Start = time.Unix(int64(i)*3600, 0)
			lower, upper := g.Bounds(g.Index(x))
			r := &dp.Result{}
			for _, q := range []float64{0.25, 0.75} {
				r.Quantiles = append(r.Quantiles, dp.Quantile{Q: q, Value: x, Lower: lower, Upper: upper})
			}
			if err := s.Observe("", window, r); err != nil {
				panic(err)
			}
		}
		p, err := s.Prior(window, []float64{0.25, 0.75})
		if err != nil {
			panic(err)
		}
		all = append(all, p)
	}
	quantiles := []int64{recursive.Unit / 4, 3 * recursive.Unit / 4}
	var cases []Case
	for _, p := range all {
		var t tree
		for _, q := range quantiles {
			own := p
			if by, ok := p.(prior.ByQuantile); ok {
				own = by.At(float64(q) / recursive.Unit)
			}
			x := recursive.Prior{Total: familyTotal}
			m, ok := own.(prior.Mixture)
			if !ok {
				panic("audit: a family without a robust part")
			}
			var err error
			if x.Weights, x.Robust, x.Share, err = m.Mixed(g); err != nil {
				panic(err)
			}
			if n, ok := m.(prior.Nearby); ok {
				x.Near = n.Near()
			}
			t.priors = append(t.priors, x)
		}
		c := treeCase("", t, 0, quantiles, 2, 1, []uint64{1, 1, 1}, 4)
		c.Setting = fmt.Sprintf("prior %s, three buckets, q 1/4 3/4, c 1", p.Name())
		cases = append(cases, c)
	}
	return cases
}

// priorCases are the recursive estimator with a prior for each quantile, some of them mixed with a robust one inside each range.
func priorCases() []Case {
	const u = recursive.Unit
	var (
		even  = []uint64{1, 1, 1}
		left  = recursive.Prior{Weights: []uint64{9, 1, 1}}
		right = recursive.Prior{Weights: []uint64{1, 2, 7}}
		mixed = recursive.Prior{Weights: []uint64{1, 9, 1}, Robust: even, Share: 0.25, Total: 16}
		wrong = recursive.Prior{Weights: []uint64{20, 1, 1}, Robust: even, Share: 0.1, Total: 24}
	)
	near := recursive.Prior{Weights: []uint64{2, 5, 1}, Robust: even, Share: 0.75, Near: 0.5, Total: 16}
	priors := func(p ...recursive.Prior) tree { return tree{priors: p} }
	edges, wide, concentrated := priors(left, mixed, right), priors(left, mixed, wrong), priors(left, mixed, right)
	edges.edges, wide.arity, concentrated.rho = true, 4, u/4
	pair := treeCase("one cell a bucket, targets just missed", priors(left, mixed, right), 0, []int64{u / 4, u / 2, 3 * u / 4}, 2, 2, even, -1)
	pair.Pairs = [][2][]uint64{{{39, 40, 41}, {40, 41, 41}}, {{60, 40, 20}, {62, 40, 20}}}
	return []Case{
		treeCase("one cell a bucket", priors(mixed), 0, []int64{u / 2}, 1, 1, even, 8),
		treeCase("one cell a bucket", priors(left, mixed, right), 0, []int64{u / 4, u / 2, 3 * u / 4}, 1, 1, even, 5),
		treeCase("two cells a bucket", priors(wrong, mixed), 1, []int64{u / 4, 3 * u / 4}, 2, 1, even, 2),
		treeCase("one cell a bucket", priors(near, near, near), 0, []int64{u / 4, u / 2, 3 * u / 4}, 1, 1, even, 4),
		treeCase("two cells a bucket", priors(near, near), 1, []int64{u / 4, 3 * u / 4}, 2, 1, even, 1),
		treeCase("one cell a bucket", edges, 0, []int64{u / 4, u / 2, 3 * u / 4}, 2, 1, even, 4),
		treeCase("one cell a bucket", wide, 0, []int64{u / 4, u / 2, 3 * u / 4}, 2, 1, even, 4),
		treeCase("one cell a bucket", concentrated, 0, []int64{u / 4, u / 2, 3 * u / 4}, 0, 1, even, 4),
		pair,
	}
}
