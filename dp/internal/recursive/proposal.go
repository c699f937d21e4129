package recursive

import (
	"cmp"
	"iter"
	"math"
	"math/big"
	"slices"
	"sort"

	"github.com/quietile/quietile/dp/exact"
)

// What a proposal is made of: constants of its speed, which do not matter to the law of the cuts.
const (
	fineReach  = 5.      // deviations of a cut's rank, of 0.7·√(m+1)/η
	fineLoss   = 2.5     // of the exponent, for all slacks together
	coarseness = 1.      // farther off than the fine reach, a run has at most this part of its distance, for each cut, as records
	cellLoss   = 4.      // of the exponent, for the width of a cell
	cellGrowth = 3.      // farther off, a cell is as wide as this part of its distance
	steepest   = 1 << 54 // the largest exponent for the length of a run or the width of a cell: those of all cuts add up in an int64
	smallBlock = 16      // a block of so few cells is split to single ones before the trials, so that an audit sees all splits there
)

// mostKept is how many sums of cells are kept, of 32 bytes each, and not made anew when a cell is drawn from: with many quantiles next to one another they would fill the memory.
var mostKept = 1 << 22

// Integers that proposals are drawn by are parts of 2^oddsBits. Computed ones are this much smaller, so that they never add up to more.
const (
	oddsBits = 62
	oddsPart = (1 - 0x1p-20) * (1 << oddsBits)
)

// A proposal is a law of cuts near that of a joint, which can be drawn from: cells of N and runs of cuts in their place, with a bound of the score that is a sum over neighbouring cuts. How it is computed
// decides nothing but how many trials there are.
type proposal struct {
	*joint
	eta     float64
	finer   float64
	all     exact.Uint128   // W of all cuts
	unit    uint            // masses are in units of 2^unit
	targets []uint64        // nominal ranks, rounded down, with 0 and n
	ranks   []exact.Uint128 // den times them, not rounded
	grain   float64         // records of a run near its target
	fine    float64
	spread  float64 // the logarithm of how much more all cuts weigh than those near a target, at most
	crowd   float64 // pieces of runs between records
	heavy   bool    // a cut may gain more by the prior's weight elsewhere than it loses by the score, or no cut has a target's rank
	layers  []layer // of each cut
	cells   []cell
	odds    []uint64      // of the cells, of the outside, and last, if there are such, of the buckets that have the targets deep inside, and of their bonus
	far     exact.Uint128 // scores from here on are the outside's
	total   wide
}

// A run is neighbouring cuts. So many records are before the first of them, and at most so many more before the others.
type run struct{ start, end, before, records uint64 }

// A layer is the runs where a cut may be. A bucket with many records that may be divided in any way is there several times: for its least and its greatest number of records before the cut, and for runs of those between.
type layer struct {
	places []place
	middle []float64    // the middle of its numbers of records before a cut, less the target
	weight []wide       // mass·exp(η·slack)
	fall   []wide       // exp(−η·(the next middle less this one)); 1 for the last
	ends   [][2]float64 // its least and its greatest number, less the target
	latest []int        // how many places of the layer before may have a cut that is not greater
}

// A place is a run of a layer, with den times the least and the greatest number of records before the cut: a bucket's records may be divided within a record too.
type place struct {
	run
	side      side
	low, high exact.Uint128
}

// A side says for which number of records before the last cut, and those of the gap, the run is what follows.
type side uint8

const (
	around side = iota // for every one
	below              // for those up to its own
	inside             // for those that it has: the gap is then as wanted
	above              // for those greater than its own
)

// above returns by how many records one number is above another, both times den.
func (p *proposal) above(x, y exact.Uint128) float64 {
	off := distance(x, y)
	f := (math.Ldexp(float64(off.Hi), 64) + float64(off.Lo)) / float64(p.den)
	if x.Less(y) {
		return -f
	}
	return f
}

// A cell is the proposal for N from first to last. A tail ignores gaps with too many records for a greater N, or with too few for a smaller one.
type cell struct {
	first, last uint64
	few, many   bool // whether gaps with too few or too many records count
	// Of each layer, the sum over ways to a run, and it with the run's weight; nil if they are not kept.
	ways, messages [][]wide
	total          wide
}

// A proposed is what a proposal came to.
type proposed struct {
	cuts   []uint64
	inside *cell // nil for the outside, and if deep
	deep   bool
	bonus  bool // the deep vector for what it weighs more
	path   []place
	odds   []uint64 // by which it was drawn
	// The score of cuts in these runs with N in the cell is at least gaps less slack, in units of 1/(2·den).
	gaps, slack exact.Uint128
}

// propose makes a proposal, finer by the factor 2^finer than what suits most data.
func (g *joint) propose(finer int) *proposal {
	m := len(g.parts) - 1
	eta, _ := g.rate.Rat().Float64()
	p := &proposal{joint: g, eta: eta * 2 * float64(g.den), finer: math.Ldexp(1, min(finer, 20)), targets: []uint64{0}, ranks: make([]exact.Uint128, 1)}
	p.all = g.weightBefore(g.b + 1).Sub(g.weightBefore(g.a))
	p.unit = uint(p.all.BitLen())
	p.grain, p.fine = fineLoss/(float64(m)*p.eta*p.finer), fineReach*0.7*math.Sqrt(float64(m+1))/p.eta*p.finer
	upTo := uint64(0)
	for _, part := range g.parts {
		upTo += part
		rank := exact.Product(upTo, g.n)
		target, _ := rank.QuoRem64(g.den)
		p.targets, p.ranks = append(p.targets, target.Lo), append(p.ranks, rank)
	}
	runs := p.runs()
	reach := p.reach(runs)
	if p.heavy {
		runs = p.runs()
	}
	for {
		p.far = farOf(reach * 2 * float64(g.den))
		p.crowd = p.crowded(runs)
		p.layers, p.cells = nil, nil
		for j := range m {
			p.layers = append(p.layers, p.layer(runs, j, reach))
			p.connect(j)
		}
		p.putCells(reach)
		outside, inside := p.putOdds(reach)
		// The best cuts of all may have a score beyond the reach, since gaps are whole numbers.
		if off := outside.log() - inside.log(); inside.m == 0 || off > -2 {
			if inside.m == 0 {
				off = 0
			}
			reach += (off + 10) / p.eta
			continue
		}
		break
	}
	return p
}

// farOf returns a whole number of at least x, as far as there are such.
func farOf(x float64) exact.Uint128 {
	if x >= 0x1p126 {
		return exact.Uint128{Hi: 1 << 62}
	}
	whole, _ := new(big.Float).SetFloat64(math.Ceil(x)).Int(nil)
	return uint128(whole)
}

// runs returns runs of all cuts, which are as short as a draw near the targets needs: buckets, or what their records divide them into.
func (p *proposal) runs() []run {
	var runs []run
	if p.whole {
		p.tileBuckets(p.a, p.b)
		for _, x := range p.blocks {
			runs = append(runs, run{x.start, x.end, x.before, x.records})
		}
		return runs
	}
	// One record is set apart from the cuts on its sides until cuts among its cells are rare.
	rare := 1 / (float64(len(p.layers)+len(p.parts)-1) * math.Expm1(min(2*p.eta, 700)))
	var typical float64 // cells between neighbouring records of the bucket
	var refine func(x block)
	refine = func(x block) {
		cells := x.end - x.start
		if x.records == 0 || cells == 1 {
			r := run{x.start, x.end, x.before, 0}
			if last := len(runs) - 1; last >= 0 && runs[last].records == 0 && runs[last].before == r.before {
				runs[last].end = r.end
			} else {
				runs = append(runs, r)
			}
			return
		}
		if cells > smallBlock {
			least := p.allowed(p.off(x.before, x.before+x.records))
			if float64(x.records) <= least || x.records == 1 && float64(cells) <= rare*typical {
				runs = append(runs, run{x.start, x.end, x.before, x.records})
				return
			}
		}
		left, right := p.divide(&x)
		refine(left)
		refine(right)
	}
	p.tile(p.a, p.b)
	for _, x := range slices.Clone(p.blocks) {
		if x.records > 0 {
			bucket := x.start >> p.Levels
			i := sort.Search(len(p.Counts), func(i int) bool { return uint64(p.Counts[i].Bucket) >= bucket })
			typical = math.Ldexp(1, int(p.Levels)) / (float64(p.Counts[i].Records) + 1)
		}
		refine(x)
	}
	return runs
}

// allowed returns how many records a run may have that far from its target. Many cuts may be off at once, so that their slacks add up: what they have more than at the target is little beside what makes
// such cuts rare.
func (p *proposal) allowed(off float64) float64 {
	deviations := min(off*p.eta/(0.7*math.Sqrt(float64(len(p.parts)))), fineReach)
	least := p.grain * max(1, deviations*deviations/8)
	if off <= p.fine {
		return least
	}
	part := coarseness * p.finer * float64(len(p.parts))
	if p.heavy {
		part *= 2
	}
	return max(least, min(off/part, steepest/p.eta))
}

// off returns the distance of the nearest target from ranks.
func (p *proposal) off(from, to uint64) float64 {
	i := sort.Search(len(p.targets), func(i int) bool { return p.targets[i] >= from })
	least := math.Inf(1)
	if i < len(p.targets) {
		least = offOf(p.targets[i], from, to)
	}
	if i > 0 {
		least = min(least, offOf(p.targets[i-1], from, to))
	}
	return least
}

func offOf(target, from, to uint64) float64 {
	switch {
	case target < from:
		return float64(from - target)
	case target > to:
		return float64(target - to)
	}
	return 0
}

// float returns a mass in the unit of masses.
func (p *proposal) float(mass exact.Uint128) float64 {
	return math.Ldexp(math.Ldexp(float64(mass.Hi), 64)+float64(mass.Lo), -int(p.unit))
}

// reach returns a score, in records, so large that all cuts with a larger one together weigh little beside those near their targets. It also finds whether cuts may be elsewhere than there, and how far off.
func (p *proposal) reach(runs []run) float64 {
	m := len(p.parts) - 1
	exponent, off, wander := 40+2*float64(m), 0., 0.
	all, masses := p.float(p.all), make([]float64, len(runs))
	for i := range runs {
		masses[i] = p.float(p.massOf(&runs[i]))
	}
	for _, t := range p.targets[1 : m+1] {
		offOf := func(i int) float64 { return offOf(t, runs[i].before, runs[i].before+runs[i].records) }
		nearest := sort.Search(len(runs), func(i int) bool { return runs[i].before > t }) - 1
		if next := nearest + 1; next < len(runs) && offOf(next) < offOf(nearest) {
			nearest = next
		}
		// Ranks that no cut has are off by so much at best, on both sides of a cut.
		least := offOf(nearest)
		off += 2 * least
		mass := 0.
		for i := nearest; i >= 0 && (offOf(i)-least)*p.eta <= 1; i-- {
			mass += masses[i]
		}
		for i := nearest + 1; i < len(runs) && (offOf(i)-least)*p.eta <= 1; i++ {
			mass += masses[i]
		}
		exponent += math.Log(all / mass)
		p.spread = max(p.spread, math.Log(all/mass))
		if least*p.eta > 1 || p.eta*float64(p.n)/float64(m+1)*0.75 < math.Log(all/mass)+3 {
			p.heavy = true
		}
		for i := range runs { // a score is at least what one cut is off
			if more := offOf(i) - least; more > wander && masses[i] > mass && math.Log(masses[i]/mass) > p.eta*more {
				wander = more
			}
		}
	}
	reach := off + max(exponent-p.orders(), 40)/p.eta
	if wander += off; wander > p.fine {
		p.heavy, p.fine = true, min(1.5*wander, reach)
	}
	return reach
}

// orders returns the logarithm of how many orders of cuts are one sorted vector: for buckets only one counts.
func (p *proposal) orders() float64 {
	if p.whole {
		return 0
	}
	orders, _ := math.Lgamma(float64(len(p.parts)))
	return orders
}

// crowded returns into how many pieces runs are cut because several cuts lie between two neighbouring records: where there are few records for a cut.
func (p *proposal) crowded(runs []run) float64 {
	m, gaps := float64(len(p.parts)-1), 0.
	for _, r := range runs {
		if p.wide(r) {
			gaps++
		}
	}
	together := min(m, 1+m/gaps+(m+1)/(p.eta*float64(max(p.n, 1))))
	if together < 1.5 {
		return 1
	}
	return math.Ceil(min(together*together, 1+3*m*m/gaps))
}

// A crowd is targets close to one another, whose cuts may lie in the same runs.
type crowd struct {
	targets, reach float64
	mass           float64 // of the runs within reach of the target
}

// crowdAt returns the targets whose cuts may be where that of a target is.
func (p *proposal) crowdAt(runs []run, target uint64) crowd {
	c := crowd{reach: 3/p.eta + 1}
	for _, t := range p.targets[1 : len(p.targets)-1] {
		if offOf(t, target, target) <= 2*c.reach {
			c.targets++
		}
	}
	for i := range runs {
		if offOf(target, runs[i].before, runs[i].before+runs[i].records) <= c.reach {
			c.mass += p.float(p.massOf(&runs[i]))
		}
	}
	return c
}

// pieces returns into how many pieces a run is cut, so that two cuts seldom share one: several lie between two records where there are few for a cut, where quantiles are close, or in what weighs much for its
// records.
func (p *proposal) pieces(r run, target uint64, c crowd) int {
	m, pieces, mass := float64(len(p.parts)-1), 1., p.float(p.massOf(&r))
	if p.wide(r) {
		pieces = p.crowd
	}
	if c.targets > 1 && offOf(target, r.before, r.before+r.records) <= c.reach {
		pieces = max(pieces, c.targets*c.targets*mass/c.mass)
	}
	if share := mass / p.float(p.all); p.heavy {
		pieces = max(pieces, m*m*share)
	} else {
		pieces = max(pieces, m*m*share/2)
	}
	return int(math.Ceil(min(pieces*p.finer, 1<<20)))
}

// wide tells whether a run is not just a record set apart.
func (p *proposal) wide(r run) bool { return r.records == 0 || float64(r.records) <= p.grain }

// layer returns the runs for a cut with a target: only those within the reach, longer ones farther off.
func (p *proposal) layer(all []run, j int, reach float64) layer {
	var l layer
	target := p.targets[j+1]
	at, c := exact.Product(target, p.den), p.crowdAt(all, target)
	put := func(r run, s side, low, high exact.Uint128) {
		from, to := p.above(low, at), p.above(high, at)
		slack := to - from
		if s == inside {
			slack = 0 // what the gap is off is known when it is drawn
		}
		l.places, l.middle, l.ends = append(l.places, place{r, s, low, high}), append(l.middle, (from+to)/2), append(l.ends, [2]float64{from, to})
		l.weight = append(l.weight, wideOf(p.float(p.massOf(&r))).times(wideExp(p.eta*slack)))
	}
	var last run
	open := false
	flush := func() {
		if open {
			low, high := exact.Product(last.before, p.den), exact.Product(last.before+last.records, p.den)
			for _, r := range p.cutUp(last, p.pieces(last, target, c)) {
				put(r, around, low, high)
			}
		}
		open = false
	}
	for _, r := range all {
		to := r.before + r.records
		off := offOf(target, r.before, to)
		if off > reach+2 { // joint.md, lemma 3
			continue
		}
		if open && float64(to-last.before) <= p.allowed(offOf(target, last.before, to)) {
			last.end, last.records = r.end, to-last.before
			continue
		}
		flush()
		if !p.whole || float64(r.records) <= p.allowed(off) {
			last, open = r, true
			continue
		}
		low, high := exact.Product(r.before, p.den), exact.Product(to, p.den)
		put(r, below, low, low)
		for low.Less(high) {
			next := low.Add(p.step(p.above(low, p.ranks[j+1])))
			if high.Less(next) {
				next = high
			}
			put(r, inside, low, next)
			low = next
		}
		put(r, above, high, high)
	}
	flush()
	for i := range l.middle {
		next := l.middle[min(i+1, len(l.middle)-1)]
		l.fall = append(l.fall, wideExp(-p.eta*max(next-l.middle[i], 0)))
	}
	return l
}

// step returns den times the length of a place in a bucket that begins so many records above its target.
func (p *proposal) step(from float64) exact.Uint128 {
	off := math.Abs(from)
	if from < -p.fine { // what is nearer is shorter
		off = max(off-p.allowed(off), p.fine)
	}
	return farOf(max(p.allowed(off)*float64(p.den), 1))
}

// cutUp divides a run into pieces of about equal mass, and of whole buckets if these are drawn.
func (p *proposal) cutUp(r run, pieces int) []run {
	if pieces <= 1 || r.end-r.start < 2 {
		return []run{r}
	}
	before, mass := p.weightBefore(r.start), p.massOf(&r)
	step, rest := mass.QuoRem64(uint64(pieces))
	var all []run
	from, at, over := r.start, before, uint64(0)
	for range pieces - 1 {
		at = at.Add(step)
		if over += rest; over >= uint64(pieces) { // weights are whole
			at, over = at.Add(exact.From64(1)), over-uint64(pieces)
		}
		to := p.cutAt(at)
		if p.whole {
			to = to >> p.Levels << p.Levels
		}
		if to > from && to < r.end {
			all = append(all, run{from, to, r.before, r.records})
			from = to
		}
	}
	return append(all, run{from, r.end, r.before, r.records})
}

// connect finds, for each run of a layer, those of the layer before that may have a smaller cut or the same.
func (p *proposal) connect(j int) {
	l := &p.layers[j]
	if j == 0 {
		return
	}
	i, from := 0, p.layers[j-1].places
	for _, r := range l.places {
		for i < len(from) && from[i].start < r.end {
			i++
		}
		l.latest = append(l.latest, i)
	}
}

// putCells divides the numbers N around n into cells, the wider the farther off, as far as scores are not the outside's, and puts a tail on either side. Where cuts may be elsewhere than at their targets, and
// their N elsewhere than at n, more of them are narrow.
func (p *proposal) putCells(reach float64) {
	whole := func(x float64) uint64 { return uint64(max(1, min(math.Ceil(x), 1<<60))) }
	width := func(n uint64) uint64 {
		off := offOf(p.n, n, n)
		if p.heavy || p.finer > 1 {
			off -= 2 * p.fine
		}
		return whole(max(cellLoss/(p.eta*p.finer), min(off/(cellGrowth*p.finer), steepest/p.eta)))
	}
	// A tail bounds a score by how far off it begins alone, which is enough where that outweighs what cuts may gain by the prior's weight.
	limit := whole(reach)
	if !p.heavy {
		limit = whole(min(reach, (40+2*p.spread)/p.eta*p.finer))
	}
	first, next := p.n, p.n
	for first > 0 && p.n-first < limit {
		step := min(width(first), first)
		p.cells = append(p.cells, cell{first: first - step, last: first - 1, few: true, many: true})
		first -= step
	}
	if first > 0 {
		p.cells = append(p.cells, cell{first: 0, last: first - 1, many: true})
	}
	for next-p.n < limit {
		step := width(next)
		p.cells = append(p.cells, cell{first: next, last: next + step - 1, few: true, many: true})
		next += step
	}
	p.cells = append(p.cells, cell{first: next, last: math.MaxUint64, few: true})
	slices.SortFunc(p.cells, func(x, y cell) int { return cmp.Compare(x.first, y.first) })
	kept := 0
	for i := range p.cells {
		c := &p.cells[i]
		p.fill(c)
		for _, l := range p.layers {
			kept += len(l.places)
		}
		if kept > mostKept {
			c.ways, c.messages = nil, nil
		}
	}
}

// cellOf returns the index of the cell with a number N.
func (p *proposal) cellOf(n uint64) int {
	return sort.Search(len(p.cells), func(i int) bool { return p.cells[i].first > n }) - 1
}

// twice returns twice the N that gaps are compared with, as a sum.
func (c *cell) twice() (x, y uint64) {
	switch {
	case !c.few:
		return c.last, c.last
	case !c.many:
		return c.first, c.first
	}
	return c.first, c.last
}

// width returns last − first for a cell that is compared with its middle, and 0 for a tail.
func (c *cell) width() uint64 {
	if c.few && c.many {
		return c.last - c.first
	}
	return 0
}

// excess returns how many records more a cell's N wants in gap j than are between its targets.
func (p *proposal) excess(c *cell, j int) float64 {
	x, y := c.twice()
	want := exact.Product(p.parts[j], x).Add(exact.Product(p.parts[j], y))
	have := exact.Product(p.targets[j+1]-p.targets[j], p.den).Shl(1)
	diff := distance(want, have)
	f := (math.Ldexp(float64(diff.Hi), 64) + float64(diff.Lo)) / (2 * float64(p.den))
	if want.Less(have) {
		return -f
	}
	return f
}

// cost returns the exponent of a gap that has so many records more than wanted.
func (c *cell) cost(eta, more float64) float64 {
	if more > 0 && c.many || more < 0 && c.few {
		return -eta * math.Abs(more)
	}
	return 0
}

// fill computes a cell's sums.
func (p *proposal) fill(c *cell) {
	m := len(p.layers)
	c.ways, c.messages = make([][]wide, m), make([][]wide, m)
	for j := range p.layers {
		l, excess := &p.layers[j], p.excess(c, j)
		if j == 0 {
			c.ways[0] = make([]wide, len(l.places))
			for i := range l.places {
				if w := l.window(i, excess); w.has(0) {
					c.ways[0][i] = wideExp(w.cost(p.eta, c, 0))
				}
			}
		} else {
			c.ways[j] = p.convolve(j, c.messages[j-1], excess, c)
		}
		c.messages[j] = make([]wide, len(l.places))
		for i, x := range c.ways[j] {
			c.messages[j][i] = x.times(l.weight[i])
		}
	}
	excess := p.excess(c, m)
	for i, x := range p.layers[m-1].middle {
		c.total = c.total.plus(c.messages[m-1][i].times(wideExp(c.cost(p.eta, -x-excess))))
	}
}

// A window is where the cut before one may be: middles of runs, and what the gap between costs.
type window struct {
	side      side
	x         float64 // the middle that the gap wants
	low, high float64 // of a run inside a bucket
}

// window returns the window of a place, for gaps that want so many records more than are between the targets.
func (l *layer) window(i int, excess float64) window {
	return window{l.places[i].side, l.middle[i] - excess, l.ends[i][0] - excess, l.ends[i][1] - excess}
}

// has tells whether a middle is in the window.
func (w *window) has(middle float64) bool {
	switch w.side {
	case below:
		return middle <= w.x
	case above:
		return middle > w.x
	case inside:
		return middle > w.low && middle <= w.high
	}
	return true
}

// cost returns the exponent of the gap from a middle in the window.
func (w *window) cost(eta float64, c *cell, middle float64) float64 {
	if w.side == inside { // the gap may be as wanted, and the bound is less by what it is off
		return eta * math.Abs(w.x-middle)
	}
	return c.cost(eta, w.x-middle)
}

// among returns which of the first so many sorted middles are in the window: from … to−1.
func (w *window) among(middle []float64, limit int) (from, to int) {
	after := func(x float64) int { return sort.Search(limit, func(i int) bool { return middle[i] > x }) }
	switch w.side {
	case below:
		return 0, after(w.x)
	case above:
		return after(w.x), limit
	case inside:
		return after(w.low), after(w.high)
	}
	return 0, limit
}

// all ways of a cell, with what its width may add.
func (p *proposal) weightOf(c *cell) wide {
	return c.total.times(wideExp(p.eta * float64(c.width()) / 2))
}

// convolve returns, for each run of layer j, the sum over the runs u of the layer before, as far as they may come before it and are in its window, of messages[u]·exp(−η·|middle − middle_u − excess|), where a tail has
// exponent 0 on one side, or for a run inside a bucket of messages[u]·exp(η·|middle − middle_u − excess|). It is linear in the number of runs: those u whose gap is too large are a sum that falls from run to run; the others are a queue.
func (p *proposal) convolve(j int, messages []wide, excess float64, c *cell) []wide {
	from, to := &p.layers[j-1], &p.layers[j]
	out := make([]wide, len(to.places))
	one := wide{m: 1}
	fall := func(on bool, i int) wide {
		if on {
			return from.fall[i]
		}
		return one
	}
	var many wide // of the first runs, as seen from the last of them
	next := 0     // how many they are
	within := 0   // how many runs are before those that a run inside a bucket follows
	// The queue of the others: front holds, for each run from its start to mid, the sum from it to mid as seen from it; back that of the runs from mid on as seen from mid.
	front, far := make([]wide, len(from.places)), make([]wide, len(from.places))
	var back, reach wide
	start, mid, end := 0, 0, 0
	for v := range out {
		w, limit := to.window(v, excess), to.latest[v]
		if w.side == inside {
			for within < limit && from.middle[within] <= w.low {
				within++
			}
			for ; within < limit && from.middle[within] <= w.high; within++ {
				out[v] = out[v].plus(messages[within].times(wideExp(w.cost(p.eta, c, from.middle[within]))))
			}
			continue
		}
		x := w.x
		for next < limit && from.middle[next] <= x {
			if next > 0 {
				many = many.times(fall(c.many, next-1))
			}
			many = many.plus(messages[next])
			next++
		}
		sum := wide{}
		if next > 0 && w.side != above {
			sum = many
			if c.many {
				sum = sum.times(wideExp(-p.eta * max(x-from.middle[next-1], 0)))
			}
		}
		if start = next; end <= start {
			end, mid, back = start, start, wide{}
		}
		for ; end < limit; end++ {
			if end == mid {
				reach = one
			} else {
				reach = reach.times(fall(c.few, end-1))
			}
			back = back.plus(messages[end].times(reach))
		}
		if mid <= start && start < end { // turn over: all of the queue to the front
			mid, back = end, wide{}
			for i := end - 1; i >= start; i-- {
				front[i], far[i] = messages[i], fall(c.few, i)
				if i < end-1 {
					front[i] = front[i].plus(front[i+1].times(far[i]))
					far[i] = far[i].times(far[i+1])
				}
			}
		}
		if start < end && w.side != below {
			queue := front[start].plus(back.times(far[start]))
			if c.few {
				queue = queue.times(wideExp(-p.eta * max(from.middle[start]-x, 0)))
			}
			sum = sum.plus(queue)
		}
		out[v] = sum
	}
	return out
}

// putOdds computes the integers that cells and the outside are drawn by, and returns what the outside and the cells weigh.
func (p *proposal) putOdds(reach float64) (outside, inside wide) {
	outside = wideExp(float64(len(p.layers))*math.Log(p.float(p.all)) - p.orders() - p.eta*reach)
	for i := range p.cells {
		inside = inside.plus(p.weightOf(&p.cells[i]))
	}
	weigh := func(runs []run, records float64) wide {
		x := wideExp(p.eta * records)
		for i := range runs {
			x = x.times(wideOf(p.float(p.massOf(&runs[i]))))
		}
		return x
	}
	var deep []wide
	if depth := p.above(p.depth, exact.Uint128{}) / 2; p.deep != nil {
		if deep = append(deep, weigh(p.deep, depth)); p.bonus != nil {
			deep = append(deep, weigh(p.bonus.path, depth-1))
		}
	}
	p.total = inside.plus(outside)
	for _, x := range deep {
		p.total = p.total.plus(x)
	}
	p.odds = nil
	for i := range p.cells {
		p.odds = append(p.odds, oddsOf(p.weightOf(&p.cells[i]).over(p.total)))
	}
	p.odds = append(p.odds, oddsOf(outside.over(p.total)))
	for _, x := range deep {
		p.odds = append(p.odds, oddsOf(x.over(p.total)))
	}
	return outside, inside
}

// oddsOf returns an integer that is more than so large a part of all odds.
func oddsOf(part float64) uint64 { return 1 + uint64(part*oddsPart) }

// draw draws cuts, or nothing.
func (p *proposal) draw() (d proposed, ok bool) {
	m := len(p.layers)
	i := p.sampler.Pick(1<<oddsBits, slices.Values(p.odds))
	if i == len(p.odds) {
		return d, false
	}
	d.odds = append(make([]uint64, 0, m+1), p.odds[i])
	d.cuts = make([]uint64, m)
	if i > len(p.cells) {
		path := p.joint.deep
		if d.deep, d.bonus = true, i > len(p.cells)+1; d.bonus {
			path = p.joint.bonus.path
		}
		for j, r := range p.joint.deep {
			d.path = append(d.path, place{run: path[j]})
			d.cuts[j] = p.within(&block{start: r.start, end: r.end})
		}
		return d, true
	}
	if i == len(p.cells) {
		all := block{start: p.a, end: p.b + 1}
		for j := range d.cuts {
			d.cuts[j] = p.within(&all)
		}
		slices.Sort(d.cuts)
		return d, true
	}
	c := &p.cells[i]
	if c.ways == nil { // found once and not kept: they are the same again
		c = &cell{first: c.first, last: c.last, few: c.few, many: c.many}
		p.fill(c)
	}
	d.inside, d.path = c, make([]place, m)
	// From the last cut to the first, each given the one after it.
	w, limit, ways := window{x: -p.excess(c, m)}, len(p.layers[m-1].places), c.total
	for j := m - 1; j >= 0; j-- {
		l := &p.layers[j]
		order := newOutward(l.middle, w, limit)
		k := p.sampler.Pick(1<<oddsBits, p.oddsOfRuns(l, c, j, order, w, ways))
		if k == order.len() {
			return d, false
		}
		u := order.at(k)
		d.path[j] = l.places[u]
		d.odds = append(d.odds, p.oddsOfRun(c, j, u, l.middle[u], w, ways))
		if j > 0 {
			w, limit, ways = l.window(u, p.excess(c, j)), l.latest[u], c.ways[j][u]
		}
	}
	for j, r := range d.path {
		d.cuts[j] = p.within(&block{start: r.start, end: r.end})
	}
	d.gaps, d.slack = p.bound(c, d.path)
	return d, true
}

// ratio returns a constant, nearly 1/total, times the masses over the odds by which something was drawn, as num/den.
func (p *proposal) ratio(d *proposed) (num, den *big.Int) {
	m := uint(len(p.layers))
	num, den = big.NewInt(1<<10-1), new(big.Int).SetUint64(uint64(p.total.m*0x1p52)) // m has 52 bits behind its point
	if shift := p.total.e - 52 + 10; shift >= 0 {
		den.Lsh(den, uint(shift))
	} else {
		num.Lsh(num, uint(-shift))
	}
	if d.inside == nil && !d.deep { // m cuts of all, in any order
		for k := range m {
			num.Mul(num, p.all.Big())
			den.Mul(den, big.NewInt(int64(k+1)))
		}
	}
	for i := range d.path {
		num.Mul(num, p.massOf(&d.path[i].run).Big())
	}
	den.Lsh(den, p.unit*m)
	for _, odds := range d.odds {
		den.Mul(den, new(big.Int).SetUint64(odds))
	}
	return num.Lsh(num, oddsBits*uint(len(d.odds))), den
}

// oddsOfRun returns the integer by which a run of a layer is drawn, given the one after it, w being its window and ways the sum over all runs: 0 if there is no way to it.
func (p *proposal) oddsOfRun(c *cell, j, u int, middle float64, w window, ways wide) uint64 {
	if c.messages[j][u].m == 0 {
		return 0
	}
	return oddsOf(c.messages[j][u].times(wideExp(w.cost(p.eta, c, middle))).over(ways))
}

func (p *proposal) oddsOfRuns(l *layer, c *cell, j int, order outward, w window, ways wide) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for k := range order.len() {
			u := order.at(k)
			if !yield(p.oddsOfRun(c, j, u, l.middle[u], w, ways)) {
				return
			}
		}
	}
}

// An outward is an order of the indices of sorted numbers in a window, by turns from the left and the right of the place that it wants.
type outward struct{ start, left, right int }

func newOutward(sorted []float64, w window, limit int) outward {
	from, to := w.among(sorted, limit)
	i := from + sort.Search(to-from, func(i int) bool { return sorted[from+i] > w.x })
	return outward{from, i - from, to - i}
}

func (o outward) len() int { return o.left + o.right }

// at returns the k-th index in the order.
func (o outward) at(k int) int {
	both, i := min(o.left, o.right), 0
	switch {
	case k < 2*both && k%2 == 0:
		i = o.left - 1 - k/2
	case k < 2*both:
		i = o.left + k/2
	case o.left > o.right:
		i = o.left - 1 - (k - both)
	default:
		i = o.left + (k - both)
	}
	return o.start + i
}

// bound returns a lower bound of the score of cuts in these runs if N is in the cell, in units of 1/(2·den): what the middles of the gaps are off, less what records and numbers N may be off the middles.
func (p *proposal) bound(c *cell, path []place) (gaps, slack exact.Uint128) {
	slack = exact.Product(c.width(), p.den)
	x, y := c.twice()
	var last exact.Uint128 // den times twice the middle of a place's numbers of records before a cut
	for j, part := range p.parts {
		all := exact.Product(p.n, p.den)
		to := place{low: all, high: all}
		if j < len(path) {
			to = path[j]
		}
		have, want := to.low.Add(to.high), last.Add(exact.Product(part, x)).Add(exact.Product(part, y)) // the gap is have − last
		off := distance(have, want)
		switch {
		case to.side == inside: // the gap may be as wanted
			slack = slack.Add(off)
		case to.side == below && have.Less(want), to.side == above && want.Less(have): // by the rounding of float64 alone
			slack = slack.Add(off)
		case want.Less(have) && c.many, have.Less(want) && c.few:
			gaps = gaps.Add(off)
		}
		if to.side == around {
			slack = slack.Add(to.high.Sub(to.low).Shl(1))
		}
		last = have
	}
	return gaps, slack
}
