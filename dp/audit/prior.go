package audit

import "github.com/quietile/quietile/dp/internal/recursive"

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
