package audit

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/quietile/quietile/dp/exact"
	"github.com/quietile/quietile/dp/internal/recursive"
)

// flaws are errors found in published code or in drafts of the recursive estimator.
type flaws struct {
	wholeData     bool // scores a range against all the data and the quantile asked for
	emptyShortcut bool // answers a range without records by its left end
	halfDelta     bool // takes every quantile's sensitivity for the median's
	rootOnly      bool // multiplies by the contributions at the root alone
	apart         bool // draws the two halves of a block independently
	targetOnly    bool // refines the block that holds the target, and answers any other as a whole
}

// A draft is the recursive estimator written a second time, in the plainest way, with flaws.
type draft struct {
	flaws
	cells         []int // of each bucket, powers of two
	quantiles     []int64
	epsilon       int64
	contributions int64
}

type span struct{ start, end int }

type draftRun struct {
	draft
	s       exact.Sampler
	buckets []span
	counts  map[span]uint64
	answers []uint64
}

func (d draft) answer(records []uint64, s exact.Sampler) []uint64 {
	r := &draftRun{draft: d, s: s, counts: map[span]uint64{}, answers: make([]uint64, len(d.quantiles))}
	top := 0
	for b, n := range records {
		v := span{top, top + d.cells[b]}
		r.buckets, r.counts[v], top = append(r.buckets, v), n, v.end
	}
	r.solve(0, top, 0, len(d.quantiles), 0, recursive.Unit, true)
	return r.answers
}

func (r *draftRun) solve(a, b, from, to int, lo, hi int64, root bool) {
	if from == to {
		return
	}
	j := from + (to-from)/2
	if a == b {
		for i := from; i < to; i++ {
			r.answers[i] = uint64(a)
		}
		return
	}
	q := r.quantiles[j]
	z := r.sample(a, b, big.NewRat(q-lo, hi-lo), q, root)
	r.answers[j] = uint64(z)
	r.solve(a, z, from, j, lo, q, false)
	r.solve(z, b, j+1, to, q, hi, false)
}

// blocks returns the maximal known blocks that tile [a, b).
func (r *draftRun) blocks(a, b int) []span {
	var all []span
	var walk func(v span)
	walk = func(v span) {
		switch mid := (v.start + v.end) / 2; {
		case v.end <= a || b <= v.start:
		case a <= v.start && v.end <= b:
			all = append(all, v)
		default:
			r.split(v)
			walk(span{v.start, mid})
			walk(span{mid, v.end})
		}
	}
	for _, v := range r.buckets {
		walk(v)
	}
	return all
}

func (r *draftRun) split(v span) (left, right span) {
	left, right = span{v.start, (v.start + v.end) / 2}, span{(v.start + v.end) / 2, v.end}
	if _, ok := r.counts[left]; !ok {
		n := r.counts[v]
		r.counts[left] = r.s.Binomial(n)
		r.counts[right] = n - r.counts[left]
		if r.apart {
			r.counts[right] = r.s.Binomial(n)
		}
	}
	return left, right
}

func (r *draftRun) sample(a, b int, p *big.Rat, q int64, root bool) int {
	domain := r.blocks(a, b)
	whole := slices.Clone(domain)
	if r.wholeData {
		whole, p = r.blocks(0, r.buckets[len(r.buckets)-1].end), big.NewRat(q, recursive.Unit)
	}
	if r.emptyShortcut && r.records(domain) == 0 {
		return a
	}
	num, den := p.Num().Int64(), p.Denom().Int64()
	spread := big.NewRat(max(num, den-num), 1)
	if r.halfDelta {
		spread = big.NewRat(den, 2)
	}
	if !r.rootOnly || root {
		spread.Mul(spread, big.NewRat(r.contributions, 1))
	}
	spread.Mul(spread, big.NewRat(2*formula{}.depth(len(r.quantiles)), 1))
	rate, err := exact.NewRate(new(big.Rat).Quo(big.NewRat(r.epsilon, 1), spread))
	if err != nil {
		panic(err)
	}
	domain = append(domain, span{b, b + 1})
	score := func(v span) int64 {
		below, n := int64(0), int64(0)
		for _, w := range whole {
			n += int64(r.counts[w])
			if w.end <= v.start {
				below += int64(r.counts[w])
			}
		}
		// A block cut out of one of whole: count what of it lies before v.
		for _, w := range whole {
			for w.start < v.start && v.start < w.end {
				left, right := r.split(w)
				if right.start <= v.start {
					below += int64(r.counts[left])
					w = right
				} else {
					w = left
				}
			}
		}
		e := int64(0)
		if v.end-v.start > 1 {
			e = int64(r.counts[v])
		}
		return max(0, num*n-den*(below+e), den*below-num*n)
	}
	item := func(v span) exact.Item {
		return exact.Item{Mass: exact.From64(uint64(v.end - v.start)), Score: exact.From64(uint64(score(v)))}
	}
	if r.targetOnly {
		for i := 0; i < len(domain); i++ {
			if v := domain[i]; v.end-v.start > 1 && score(v) == 0 {
				left, right := r.split(v)
				domain[i] = left
				domain = append(domain, right)
				i--
			}
		}
	}
	var items []exact.Item
	for _, v := range domain {
		items = append(items, item(v))
	}
	chooser := r.s.Chooser(rate, items)
	for {
		i := chooser.Choose()
		accepted := true
		for accepted {
			v := domain[i]
			if v.end-v.start == 1 {
				return v.start
			}
			if r.targetOnly {
				return v.start + int(r.s.Uniform(exact.From64(uint64(v.end-v.start))).Lo)
			}
			left, right := r.split(v)
			domain[i] = left
			domain = append(domain, right)
			before := score(v)
			chooser.Replace(i, item(left))
			chooser.Append(item(right))
			if r.s.Coin() {
				i = len(domain) - 1
			}
			accepted = r.s.Accept(rate, exact.From64(uint64(score(domain[i])-before)))
		}
	}
}

func (r *draftRun) records(blocks []span) uint64 {
	n := uint64(0)
	for _, v := range blocks {
		n += r.counts[v]
	}
	return n
}

// measure audits the draft on all data sets with at most so many records, and on one further pair of neighbours if x is given.
func (d draft) measure(t *testing.T, records int, x, y []uint64) Row {
	t.Helper()
	c := Case{
		Mechanism: "draft", Setting: fmt.Sprintf("%+v, q %v", d.flaws, d.quantiles), Epsilon: float64(d.epsilon), Contributions: int(d.contributions),
		Buckets: len(d.cells), Records: records, Answer: d.answer,
	}
	if x != nil {
		c.Pairs = append(c.Pairs, [2][]uint64{x, y})
	}
	row, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v: loss %.4f of %v, on %s", d.flaws, row.Worst, row.Epsilon, row.Data)
	return row
}

// mustCatch fails the test unless the audit refuses a draft with its flaws, with at least the given loss, and passes it without.
func mustCatch(t *testing.T, d draft, least float64, records int, x, y []uint64) {
	t.Helper()
	if row := d.measure(t, records, x, y); row.OK || row.Worst < least {
		t.Errorf("the audit measured %v of %v on %s, expected at least %v", row.Worst, row.Epsilon, row.Data, least)
	}
	d.flaws = flaws{}
	if row := d.measure(t, records, x, y); !row.OK {
		t.Errorf("without its flaw: %v of %v on %s", row.Worst, row.Epsilon, row.Data)
	}
}

const u = recursive.Unit

func TestAFlawlessDraftHasTheLawOfTheRelease(t *testing.T) {
	for _, quantiles := range [][]int64{{u / 2}, {u / 10}, {u / 4, 3 * u / 4}} {
		for _, x := range [][]uint64{{0, 0}, {1, 0}, {2, 1}, {0, 3}} {
			d := draft{cells: []int{2, 2}, quantiles: quantiles, epsilon: 2, contributions: 2}
			got, err := Enumerate(func(s exact.Sampler) []uint64 { return d.answer(x, s) })
			if err != nil {
				t.Fatal(err)
			}
			c := recursiveCase("", 1, quantiles, 2, 2, []uint64{1, 1}, 3)
			want, err := Enumerate(func(s exact.Sampler) []uint64 { return c.Answer(x, s) })
			if err != nil {
				t.Fatal(err)
			}
			equalLaws(t, fmt.Sprintf("q %v, records %v", quantiles, x), got, want)
		}
	}
}

// The quantiles are 0.49, 0.5 and 0.51, of nearly the same sensitivity. Each of the three nodes, which spend ε/2, sees the added record: at each the likely cut,
// just below the target, gets likelier, and the next one above less likely.
func TestWholeDataScoringIsCaught(t *testing.T) {
	d := draft{flaws: flaws{wholeData: true}, cells: []int{1, 1, 1, 1}, quantiles: []int64{49 * u / 100, u / 2, 51 * u / 100}, epsilon: 1, contributions: 1}
	mustCatch(t, d, 1.48, 3, []uint64{1469, 30, 30, 1471}, []uint64{1470, 30, 30, 1471})
}

func TestEmptyShortcutIsCaught(t *testing.T) {
	d := draft{flaws: flaws{emptyShortcut: true}, cells: []int{1, 1, 1}, quantiles: []int64{u / 2}, epsilon: 1, contributions: 1}
	mustCatch(t, d, math.Inf(1), 2, nil, nil)
}

func TestTooSmallSensitivityIsCaught(t *testing.T) {
	d := draft{flaws: flaws{halfDelta: true}, cells: []int{1, 1, 1}, quantiles: []int64{9 * u / 10}, epsilon: 2, contributions: 1}
	mustCatch(t, d, 3.2, 10, nil, nil)
}

func TestContributionsAtTheRootAloneAreCaught(t *testing.T) {
	d := draft{flaws: flaws{rootOnly: true}, cells: []int{1, 1, 1, 1}, quantiles: []int64{u / 4, u / 2, 3 * u / 4}, epsilon: 2, contributions: 2}
	mustCatch(t, d, 2.7, 6, nil, nil)
}

// One record more in the middle bucket, whose halves end up in different ranges. Drawn apart, both halves may get it, and then two nodes of either side see it:
// four shares of a third of ε, where a path has three.
func TestIndependentHalvesAreCaught(t *testing.T) {
	d := draft{
		flaws: flaws{apart: true}, cells: []int{1, 1, 1, 1, 2, 1, 1, 1, 1},
		quantiles: []int64{u / 8, 2 * u / 8, 3 * u / 8, 4 * u / 8, 5 * u / 8, 6 * u / 8}, epsilon: 9, contributions: 1,
	}
	mustCatch(t, d, 10.6, -1, []uint64{10, 4, 3, 4, 0, 4, 3, 4, 10}, []uint64{10, 4, 3, 4, 1, 4, 3, 4, 10})
}

// The record moves the target from one atom to the other, and with it the refinement.
func TestRefiningTheTargetBlockAloneIsCaught(t *testing.T) {
	d := draft{flaws: flaws{targetOnly: true}, cells: []int{2, 2}, quantiles: []int64{u / 2}, epsilon: 1, contributions: 1}
	mustCatch(t, d, 7, 2, []uint64{12, 12}, []uint64{12, 13})
}

// Three draws on the same records, each with all of ε: they add up.
func TestUndividedDrawsAreCaught(t *testing.T) {
	c := treeCase("", tree{arity: 4}, 0, []int64{49 * u / 100, u / 2, 51 * u / 100}, 3, 1, []uint64{1, 1, 1, 1}, 0)
	c.Epsilon = 1
	c.Pairs = [][2][]uint64{{[]uint64{1469, 30, 30, 1471}, []uint64{1470, 30, 30, 1471}}}
	row, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("loss %.4f of %v, on %s", row.Worst, row.Epsilon, row.Data)
	if row.OK || row.Worst < 2.5 {
		t.Errorf("the audit measured %v of %v on %s", row.Worst, row.Epsilon, row.Data)
	}
}

// A prior that looks at the records it weighs: here it believes in the fullest bucket.
func TestAPriorThatSeesTheDataIsCaught(t *testing.T) {
	c := recursiveCase("", 0, []int64{u / 2}, 1, 1, []uint64{1, 1, 1}, 5)
	c.Answer = func(records []uint64, s exact.Sampler) []uint64 {
		fullest := slices.Index(records, slices.Max(records))
		p := &recursive.Problem{Quantiles: []int64{u / 2}, Epsilon: u, Contributions: 1, Priors: []recursive.Prior{{Weights: []uint64{1, 1, 1}}}}
		p.Priors[0].Weights[fullest] = 9
		for b, n := range records {
			if n > 0 {
				p.Counts = append(p.Counts, recursive.Count{Bucket: b, Records: n})
			}
		}
		return recursive.Solve(p, s)
	}
	row, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("loss %.4f of %v, on %s", row.Worst, row.Epsilon, row.Data)
	if row.OK || row.Worst < 2 {
		t.Errorf("the audit measured %v of %v on %s", row.Worst, row.Epsilon, row.Data)
	}
}
