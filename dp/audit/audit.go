// Package audit measures the privacy loss of mechanisms by exact enumeration: it computes the law of the answer on every small data set, and compares every pair of
// neighbours. What runs is the code of a release, under a sampler that follows every outcome of every draw instead of drawing.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
	noisytree "github.com/quietile/quietile/dp/internal/tree"
)

// A Case is a mechanism and the small data sets to audit it on: all those with at most Records records in Buckets buckets, and their neighbours.
type Case struct {
	Mechanism     string  // such as "recursive"
	Setting       string  // what else tells the case apart, such as "q=1/4,1/2,3/4"
	Epsilon       float64 // claimed
	Contributions int     // a neighbour has 1 to Contributions records more
	Buckets       int
	Records       int // −1 for none but Pairs
	// Pairs are further neighbours to compare: the second has 1 to Contributions records more.
	Pairs [][2][]uint64
	// Answer runs the mechanism on the number of records in each bucket.
	Answer func(records []uint64, s exact.Sampler) []uint64
}

// A Row is the outcome of a [Case].
type Row struct {
	Mechanism string  `json:"mechanism"`
	Setting   string  `json:"setting"`
	Method    string  `json:"method"`  // "enumeration", or "drawing": then Worst is a lower bound, which errs with a chance of at most one in a million
	Pairs     int     `json:"pairs"`   // of neighbours compared
	Epsilon   float64 `json:"epsilon"` // claimed
	Worst     float64 `json:"worst"`   // the largest loss measured; +Inf if one of two neighbours can give an answer that the other cannot
	OK        bool    `json:"ok"`      // whether no ratio of probabilities exceeds e^ε, to 150 bits
	Data      string  `json:"data"`    // the pair with the largest loss
}

// MarshalJSON writes an infinite loss, which JSON has no number for, as the string "infinite".
func (r Row) MarshalJSON() ([]byte, error) {
	type plain Row
	if !math.IsInf(r.Worst, 0) {
		return json.Marshal(plain(r))
	}
	row := struct {
		plain
		Worst string `json:"worst"` // hides the field of the same name
	}{plain(r), "infinite"}
	return json.Marshal(row)
}

// Run audits the mechanisms of package dp. Each case takes at most some seconds; ctx stops between data sets.
func Run(ctx context.Context) ([]Row, error) {
	var rows []Row
	for _, c := range Cases() {
		row, err := c.Run(ctx)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// Cases returns what [Run] audits: small data sets of every shape, and larger pairs on which wrong estimators lose most.
func Cases() []Case {
	const u = recursive.Unit
	pair := func(c Case, x, y []uint64) Case {
		c.Pairs = append(c.Pairs, [2][]uint64{x, y})
		return c
	}
	return append([]Case{
		recursiveCase("one cell a bucket", 0, []int64{u / 2}, 1, 1, []uint64{1, 1, 1}, 8),
		recursiveCase("one cell a bucket, prior 1:3:2", 0, []int64{u / 10}, 1, 1, []uint64{1, 3, 2}, 8),
		recursiveCase("one cell a bucket", 0, []int64{u / 10, 9 * u / 10}, 1, 1, []uint64{1, 1, 1}, 6),
		recursiveCase("one cell a bucket", 0, []int64{u / 4, u / 2, 3 * u / 4}, 1, 1, []uint64{1, 1, 1, 1}, 5),
		recursiveCase("one cell a bucket, prior 5:1:1:9", 0, []int64{u / 4, u / 2, 3 * u / 4}, 2, 2, []uint64{5, 1, 1, 9}, 4),
		recursiveCase("one cell a bucket", 0, []int64{u / 10, u / 4, u / 2, 9 * u / 10}, 2, 1, []uint64{1, 1, 1, 1}, 4),
		recursiveCase("one cell a bucket", 0, []int64{u / 10, u / 4, u / 2, 9 * u / 10}, 1, 2, []uint64{1, 1, 1}, 4),
		recursiveCase("two cells a bucket", 1, []int64{u / 2}, 1, 1, []uint64{1, 1}, 10),
		recursiveCase("two cells a bucket", 1, []int64{u / 2}, 3, 1, []uint64{1, 1, 1}, 5),
		recursiveCase("two cells a bucket, prior 1:2:1", 1, []int64{u / 4}, 1, 1, []uint64{1, 2, 1}, 5),
		recursiveCase("two cells a bucket", 1, []int64{9 * u / 10}, 2, 2, []uint64{1, 1, 1}, 5),
		recursiveCase("two cells a bucket", 1, []int64{u / 4, 3 * u / 4}, 1, 1, []uint64{1, 1}, 6),
		recursiveCase("two cells a bucket", 1, []int64{u / 10, u / 2}, 1, 2, []uint64{1, 2}, 3),
		recursiveCase("two cells a bucket", 1, []int64{u / 4, u / 2, 3 * u / 4}, 2, 2, []uint64{1, 1}, 2),
		recursiveCase("two cells a bucket", 1, []int64{u / 10, u / 4, u / 2, 9 * u / 10}, 3, 1, []uint64{1, 1}, 2),
		recursiveCase("two cells in one bucket", 1, []int64{u / 4, u / 2, 3 * u / 4}, 2, 1, []uint64{1}, 4),
		pair(recursiveCase("one cell a bucket, targets just missed", 0, []int64{u / 4, u / 2, 3 * u / 4}, 1, 1, []uint64{1, 1, 1, 1}, 0),
			[]uint64{29, 30, 30, 31}, []uint64{30, 30, 30, 31}),
		pair(recursiveCase("one cell a bucket, targets just missed", 0, []int64{49 * u / 100, u / 2, 51 * u / 100}, 1, 1, []uint64{1, 1, 1, 1}, 0),
			[]uint64{1469, 30, 30, 1471}, []uint64{1470, 30, 30, 1471}),
		pair(recursiveCase("one cell a bucket, targets just missed", 0, []int64{u / 4, u / 2, 3 * u / 4}, 1, 2, []uint64{1, 1, 1, 1}, 0),
			[]uint64{58, 60, 60, 62}, []uint64{60, 60, 60, 62}),
		pair(recursiveCase("two cells a bucket, target between atoms", 1, []int64{u / 2}, 1, 1, []uint64{1, 1}, 0),
			[]uint64{12, 12}, []uint64{12, 13}),
		recursiveCase("four cells in one bucket", 2, []int64{u / 2}, 1, 1, []uint64{1}, 6),
		recursiveCase("four cells in one bucket", 2, []int64{u / 4, u / 2}, 1, 1, []uint64{1}, 2),
		treeCase("one cell a bucket", tree{shares: []uint64{1, 3}}, 0, []int64{u / 4, u / 2, 3 * u / 4}, 1, 1, []uint64{1, 1, 1}, 5),
		treeCase("one cell a bucket", tree{arity: 3}, 0, []int64{u / 4, u / 2, 3 * u / 4}, 1, 1, []uint64{1, 1, 1}, 5),
		pair(treeCase("one cell a bucket, targets just missed", tree{arity: 3}, 0, []int64{u / 4, 2 * u / 4, 3 * u / 4}, 1, 2, []uint64{1, 1, 1, 1}, 0),
			[]uint64{58, 60, 60, 62}, []uint64{60, 60, 60, 62}),
		treeCase("two cells a bucket", tree{arity: 4, shares: []uint64{1}}, 1, []int64{u / 4, u / 2, 3 * u / 4}, 2, 2, []uint64{1, 1}, 1),
		treeCase("one cell a bucket, prior 5:1:1:9", tree{edges: true}, 0, []int64{u / 4, u / 2, 3 * u / 4}, 2, 2, []uint64{5, 1, 1, 9}, 4),
		treeCase("two cells a bucket", tree{edges: true}, 1, []int64{u / 4, 3 * u / 4}, 1, 1, []uint64{1, 1}, 5),
		replaceCase(recursiveCase("one cell a bucket", 0, []int64{u / 2}, 1, 1, []uint64{1, 1, 1}, 0), 7),
		replaceCase(recursiveCase("two cells a bucket", 1, []int64{u / 4, 3 * u / 4}, 1, 1, []uint64{1, 2}, 0), 4),
		treeCase("one cell a bucket", tree{rho: u / 4}, 0, []int64{u / 4, u / 2, 3 * u / 4}, 0, 1, []uint64{1, 1, 1}, 5),
		treeCase("two cells a bucket", tree{rho: u / 2, arity: 3, shares: []uint64{1, 3}}, 1, []int64{u / 4, u / 2, 3 * u / 4}, 0, 2, []uint64{1, 1}, 2),
		measuredCase(0, []int64{u / 2}, 100, 1, 1, []uint64{1, 1, 1}, noisytree.Problem{Branching: 2, Levels: 2, Unrooted: true}, 4),
		measuredCase(1, []int64{u / 4, u / 2}, 500, 2, 1, []uint64{1, 2}, noisytree.Problem{Branching: 3, Levels: 2, Unrooted: true}, 2),
		measuredCase(1, []int64{u / 2}, 300, 1, 2, []uint64{1, 1}, noisytree.Problem{Branching: 2}, 2),
		groupsCase([]int64{u / 2}, 1, 2, []uint64{1, 1}, 6),
		groupsCase([]int64{u / 4, u / 2}, 2, 2, []uint64{1, 2}, 3),
	}, slices.Concat(jointCases(), priorCases(), familyCases(), noisyTreeCases(), adaptiveCases(), sliceCases())...)
}

// jointCases are draws of several cuts at once.
func jointCases() []Case {
	const u = recursive.Unit
	pair := func(c Case, x, y []uint64) Case {
		c.Pairs = append(c.Pairs, [2][]uint64{x, y})
		return c
	}
	return []Case{
		treeCase("one cell a bucket", tree{joint: true, arity: 2}, 0, []int64{u / 2}, 1, 1, []uint64{1, 1, 1}, 6),
		treeCase("one cell a bucket, prior 1:3:2", tree{joint: true, arity: 3}, 0, []int64{u / 4, u / 2}, 1, 1, []uint64{1, 3, 2}, 4),
		treeCase("one cell a bucket", tree{joint: true, arity: 4}, 0, []int64{u / 4, u / 2, 3 * u / 4}, 2, 1, []uint64{1, 1, 1}, 3),
		treeCase("one cell a bucket", tree{joint: true, arity: 3}, 0, []int64{u / 10, 9 * u / 10}, 2, 2, []uint64{1, 1, 1}, 3),
		treeCase("two cells a bucket", tree{joint: true, arity: 3}, 1, []int64{u / 4, 3 * u / 4}, 1, 1, []uint64{1, 1}, 2),
		treeCase("two cells a bucket", tree{joint: true, arity: 2}, 1, []int64{u / 3}, 1, 2, []uint64{1, 2}, 3),
		treeCase("one cell a bucket", tree{joint: true, arity: 2, shares: []uint64{1, 3}}, 0, []int64{u / 4, u / 2}, 2, 1, []uint64{1, 1, 1}, 3),
		treeCase("one cell a bucket", tree{joint: true, arity: 3, rho: u / 4}, 0, []int64{u / 4, u / 2}, 0, 1, []uint64{1, 1, 1}, 3),
		treeCase("two cells a bucket", tree{joint: true, arity: 3, draws: 2}, 1, []int64{u / 4, u / 2, 3 * u / 4}, 1, 1, []uint64{1, 1}, 2),
		pair(treeCase("one cell a bucket, targets just missed", tree{joint: true, arity: 3}, 0, []int64{u / 4, u / 2}, 1, 1, []uint64{1, 1, 1}, -1),
			[]uint64{9, 10, 21}, []uint64{10, 10, 21}),
		pair(treeCase("one cell a bucket, targets just missed", tree{joint: true, arity: 3}, 0, []int64{u / 4, u / 2}, 1, 2, []uint64{1, 1, 1}, -1),
			[]uint64{18, 20, 42}, []uint64{20, 20, 42}),
		treeCase("one cell a bucket", tree{joint: true, buckets: true, arity: 2}, 0, []int64{u / 2}, 1, 1, []uint64{1, 1, 1}, 7),
		treeCase("one cell a bucket, prior 1:3:2", tree{joint: true, buckets: true, arity: 3}, 0, []int64{u / 4, u / 2}, 1, 1, []uint64{1, 3, 2}, 5),
		treeCase("one cell a bucket", tree{joint: true, buckets: true, arity: 4}, 0, []int64{u / 4, u / 2, 3 * u / 4}, 2, 1, []uint64{1, 1, 1}, 4),
		treeCase("one cell a bucket", tree{joint: true, buckets: true, arity: 3}, 0, []int64{u / 10, 9 * u / 10}, 2, 2, []uint64{1, 1, 1}, 3),
		treeCase("two cells a bucket", tree{joint: true, buckets: true, arity: 3}, 1, []int64{u / 4, 3 * u / 4}, 1, 1, []uint64{1, 1}, 3),
		treeCase("two cells a bucket", tree{joint: true, buckets: true, arity: 2, shares: []uint64{1, 3}}, 1, []int64{u / 4, u / 2}, 2, 1, []uint64{1, 1}, 3),
		treeCase("one cell a bucket", tree{joint: true, buckets: true, arity: 3, rho: u / 4}, 0, []int64{u / 4, u / 2}, 0, 1, []uint64{1, 1, 1}, 3),
		pair(treeCase("one cell a bucket, targets just missed", tree{joint: true, buckets: true, arity: 3}, 0, []int64{u / 4, u / 2}, 1, 1, []uint64{1, 1, 1, 1}, -1),
			[]uint64{19, 0, 20, 41}, []uint64{20, 0, 20, 41}),
		pair(treeCase("one cell a bucket, targets just missed", tree{joint: true, buckets: true, arity: 3}, 0, []int64{u / 4, u / 2}, 1, 2, []uint64{1, 1, 1, 1}, -1),
			[]uint64{38, 0, 40, 82}, []uint64{40, 0, 40, 82}),
		treeCase("one cell a bucket", tree{joint: true, buckets: true, sharp: true, arity: 2}, 0, []int64{u / 2}, 2, 1, []uint64{1, 1, 1}, 7),
		treeCase("one cell a bucket, prior 1:3:2", tree{joint: true, buckets: true, sharp: true, arity: 3}, 0, []int64{u / 4, u / 2}, 6, 1, []uint64{1, 3, 2}, 3),
		treeCase("one cell a bucket", tree{joint: true, buckets: true, sharp: true, arity: 3}, 0, []int64{u / 10, 9 * u / 10}, 8, 2, []uint64{1, 1, 1}, 2),
		treeCase("two cells a bucket", tree{joint: true, buckets: true, sharp: true, arity: 3}, 1, []int64{u / 4, 3 * u / 4}, 5, 1, []uint64{1, 1}, 3),
		treeCase("two cells a bucket", tree{joint: true, buckets: true, sharp: true, arity: 2, shares: []uint64{1, 3}}, 1, []int64{u / 4, u / 2}, 4, 1, []uint64{1, 1}, 2),
		pair(pair(pair(treeCase("one cell a bucket, next best moves", tree{joint: true, buckets: true, sharp: true, arity: 2}, 0, []int64{u / 2}, 1, 1, []uint64{1, 1, 1, 1}, -1),
			[]uint64{24, 17, 10, 0}, []uint64{24, 18, 10, 0}), []uint64{13, 13, 1, 0}, []uint64{13, 13, 2, 0}), []uint64{20, 3, 25, 0}, []uint64{20, 3, 26, 0}),
		pair(pair(treeCase("one cell a bucket, prior 3:1:1, next best moves", tree{joint: true, buckets: true, sharp: true, arity: 3}, 0, []int64{u / 4, u / 2}, 1, 1, []uint64{3, 1, 1}, -1),
			[]uint64{0, 8, 7}, []uint64{0, 9, 7}), []uint64{8, 25, 0}, []uint64{9, 25, 0}),
		pair(treeCase("one cell a bucket, prior 1:1:3, others weigh much", tree{joint: true, buckets: true, sharp: true, arity: 3}, 0, []int64{u / 4, u / 2}, 1, 1, []uint64{1, 1, 3}, -1),
			[]uint64{2, 0, 1}, []uint64{3, 0, 1}),
		pair(treeCase("one cell a bucket, next best moves", tree{joint: true, buckets: true, sharp: true, arity: 2}, 0, []int64{u / 2}, 1, 2, []uint64{1, 1, 1, 1}, -1),
			[]uint64{48, 34, 20, 0}, []uint64{48, 36, 20, 0}),
	}
}

// groupsCase is the recursive estimator on two groups of records, with the same buckets each, whose answers are released together (docs/proofs/labels.md). A unit's
// records may be in both.
func groupsCase(quantiles []int64, epsilon int64, contributions int, weights []uint64, records int) Case {
	c := recursiveCase("", 0, quantiles, epsilon, contributions, weights, records)
	one := c.Answer
	c.Mechanism, c.Setting, c.Buckets = "labels", "two groups"+c.Setting, 2*len(weights)
	c.Answer = func(records []uint64, s exact.Sampler) []uint64 {
		return append(one(records[:len(weights)], s), one(records[len(weights):], s)...)
	}
	return c
}

// replaceCase is a mechanism with half of its ε, for neighbours of which one record is another.
func replaceCase(c Case, records int) Case {
	c.Setting, c.Epsilon, c.Records = "replace-one, "+c.Setting, 2*c.Epsilon, -1
	for _, x := range multisets(c.Buckets, 1, records) {
		for from := range x {
			for to := range x {
				if x[from] > 0 && from != to {
					y := slices.Clone(x)
					y[from]--
					y[to]++
					c.Pairs = append(c.Pairs, [2][]uint64{x, y})
				}
			}
		}
	}
	return c
}

// A tree says how the recursive estimator divides its quantiles, its ε and its prior; the fields are those of [recursive.Problem].
type tree struct {
	arity  int
	shares []uint64
	edges  bool
	joint  bool
	// buckets is whether nodes without children draw these.
	buckets bool
	sharp   bool
	draws   int
	priors  []recursive.Prior
	rho     int64 // what the release spends instead of ε, which is then what the draws of the dearest path add up to
}

func (t tree) String() string {
	var s string
	if t.arity > 0 {
		s += fmt.Sprintf(", arity %d", t.arity)
	}
	if t.shares != nil {
		s += fmt.Sprintf(", shares %v", t.shares)
	}
	if t.edges {
		s += ", edges"
	}
	if t.joint {
		s += ", joint"
	}
	if t.buckets {
		s += ", buckets"
	}
	if t.sharp {
		s += ", sharp"
	}
	if t.draws > 0 {
		s += fmt.Sprintf(", draws %d", t.draws)
	}
	if t.priors != nil {
		s += ", priors"
		for _, p := range t.priors {
			s += fmt.Sprintf(" %v", p.Weights)
			if p.Robust != nil {
				s += fmt.Sprintf("+%g·%v", p.Share, p.Robust)
			}
			if p.Near > 0 {
				s += fmt.Sprintf(", %g of it near", p.Near)
			}
		}
	}
	if t.rho > 0 {
		s += ", ρ " + big.NewRat(t.rho, recursive.Unit).RatString()
	}
	return s
}

// recursiveCase is the binary estimator with equal shares on buckets of the given weights and 2^levels cells each.
func recursiveCase(name string, levels uint, quantiles []int64, epsilon int64, contributions int, weights []uint64, records int) Case {
	return treeCase(name, tree{}, levels, quantiles, epsilon, contributions, weights, records)
}

func treeCase(name string, tree tree, levels uint, quantiles []int64, epsilon int64, contributions int, weights []uint64, records int) Case {
	setting := name + tree.String() + ", q"
	for _, q := range quantiles {
		setting += " " + big.NewRat(q, recursive.Unit).RatString()
	}
	claimed := float64(epsilon)
	if tree.rho > 0 {
		claimed = float64(recursive.Pure(len(quantiles), tree.arity, tree.shares, tree.joint, tree.rho)) / recursive.Unit
	}
	mechanism := "recursive"
	if tree.joint {
		mechanism = "joint"
	}
	return Case{
		Mechanism:     mechanism,
		Setting:       fmt.Sprintf("%s, c %d", setting, contributions),
		Epsilon:       claimed,
		Contributions: contributions,
		Buckets:       len(weights),
		Records:       records,
		Answer: func(records []uint64, s exact.Sampler) []uint64 {
			p := &recursive.Problem{
				Levels:        levels,
				Weights:       weights,
				Quantiles:     quantiles,
				Epsilon:       epsilon * recursive.Unit,
				Rho:           tree.rho,
				Contributions: uint64(contributions),
				Arity:         tree.arity,
				Shares:        tree.shares,
				Edges:         tree.edges,
				Joint:         tree.joint,
				Buckets:       tree.buckets,
				Sharp:         tree.sharp,
				Draws:         tree.draws,
				Priors:        tree.priors,
			}
			for b, n := range records {
				if n > 0 {
					p.Counts = append(p.Counts, recursive.Count{Bucket: b, Records: n})
				}
			}
			return recursive.Solve(p, s)
		},
	}
}

// Run computes every law and compares every pair of neighbours.
func (c Case) Run(ctx context.Context) (Row, error) {
	row := Row{Mechanism: c.Mechanism, Setting: c.Setting, Method: "enumeration", Epsilon: c.Epsilon, OK: true, Worst: -1}
	laws := map[string]Law{}
	law := func(records []uint64) (Law, error) {
		name := key(records)
		if l, ok := laws[name]; ok {
			return l, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l, err := Enumerate(func(s exact.Sampler) []uint64 { return c.Answer(records, s) })
		if err != nil {
			return nil, fmt.Errorf("audit of %s, %s, on %v: %w", c.Mechanism, c.Setting, records, err)
		}
		laws[name] = l
		return l, nil
	}
	limit := float().Quo(float().SetInt64(1), expNeg(new(big.Rat).SetFloat64(c.Epsilon)))
	limit.Add(limit, new(big.Float).SetMantExp(limit, -150))
	pairs := c.Pairs
	for _, x := range multisets(c.Buckets, 0, c.Records) {
		for _, extra := range multisets(c.Buckets, 1, c.Contributions) {
			y := make([]uint64, c.Buckets)
			for b := range y {
				y[b] = x[b] + extra[b]
			}
			pairs = append(pairs, [2][]uint64{x, y})
		}
	}
	for _, pair := range pairs {
		x, err := law(pair[0])
		if err != nil {
			return Row{}, err
		}
		y, err := law(pair[1])
		if err != nil {
			return Row{}, err
		}
		row.Pairs++
		loss, within := compare(x, y, limit)
		row.OK = row.OK && within
		if loss > row.Worst {
			row.Worst, row.Data = loss, fmt.Sprintf("%v against %v", pair[0], pair[1])
		}
	}
	return row, nil
}

// compare returns the largest |ln(p/q)| over all answers, and whether each ratio is at most limit.
func compare(x, y Law, limit *big.Float) (loss float64, within bool) {
	if len(x) != len(y) {
		return math.Inf(1), false
	}
	within = true
	for answer, p := range x {
		q, ok := y[answer]
		if !ok {
			return math.Inf(1), false
		}
		ratio := float().Quo(p, q)
		if ratio.Cmp(float().SetInt64(1)) < 0 {
			ratio.Quo(q, p)
		}
		within = within && ratio.Cmp(limit) <= 0
		f, _ := ratio.Float64()
		loss = max(loss, math.Log(f))
	}
	return loss, within
}

// multisets returns every way to have between least and most records in the buckets.
func multisets(buckets, least, most int) [][]uint64 {
	var all [][]uint64
	current := make([]uint64, buckets)
	var fill func(b, left int)
	fill = func(b, left int) {
		if b == buckets {
			if most-left >= least {
				all = append(all, append([]uint64(nil), current...))
			}
			return
		}
		for n := 0; n <= left; n++ {
			current[b] = uint64(n)
			fill(b+1, left-n)
		}
		current[b] = 0
	}
	fill(0, most)
	return all
}
