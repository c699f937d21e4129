package tree

import (
	"math"
	"slices"
)

// MaxSmooth is how many buckets a tree may have whose counts are smoothed: the time grows with them.
const MaxSmooth = 1 << 13

// What is tried for how the records of buckets differ, in variances of a leaf's noise where as many records are as on average: the steps of a walk that all follow, and the roughness by which each is off it.
var (
	steps       = []float64{0.01, 0.1, 1, 10, 100}
	roughnesses = []float64{0, 0.1, 1, 10, 100, 1000, 1e5}
)

// surprise is by how many deviations the count of a bucket may be off what the counts before it let expect. Of Laplace noise alone one in five thousand is; so one that is farther off tells of records that are not as the walk has them.
const surprise = 6

// plenty is how many deviations of a leaf's noise all records may be: where they are more, noise is next to nothing beside them, and float64 has too few digits for both.
const plenty = 1 << 20

// unlikely is the share of the largest likelihood below which others are left out.
const unlikely = 0.01

// recordsOf returns what the counts of the leaves add up to.
func recordsOf(leaves []int64) float64 {
	all := 0.0
	for _, y := range leaves {
		all += float64(y)
	}
	return all
}

// smoothed returns the records to be expected in each node, by level, given all noisy counts: if the records of buckets are what a walk with normal steps from one to the next has there, and a normal deviation of each bucket's own. Of the variances that are tried each has the weight
// of its likelihood, but those under which a count is a surprise have none. Sizes say how many records buckets have, about: steps are in proportion to them, and deviations to their roots.
func smoothed(p *Problem, noisy [][]int64, variance, sizes []float64) [][]float64 {
	leaf := len(noisy) - 1
	var filters []*filter
	best := math.Inf(-1)
	for _, step := range steps {
		for _, roughness := range roughnesses {
			f := newFilter(p, noisy, variance, step*variance[leaf], roughness*variance[leaf], sizes)
			f.forward(nil)
			if f.surprise <= surprise || roughness == roughnesses[len(roughnesses)-1] {
				filters = append(filters, f)
				best = max(best, f.logLikelihood)
			}
		}
	}
	expected := make([][]float64, len(noisy))
	for level, nodes := range p.sizes() {
		expected[level] = make([]float64, nodes)
	}
	total := 0.0
	for _, f := range filters {
		weight := math.Exp(f.logLikelihood - best)
		if weight < unlikely {
			continue
		}
		total += weight
		for b, x := range f.expected() {
			expected[leaf][b] += weight * x
		}
	}
	for b := range expected[leaf] {
		expected[leaf][b] /= total
	}
	for level := leaf; level > 0; level-- {
		for i, x := range expected[level] {
			expected[level-1][p.parent(level, i)] += x
		}
	}
	return expected
}

// Smoothing returns a bound of the steps, some 50 ns each, that smoothing takes.
func (p *Problem) Smoothing() uint64 {
	if !p.Smooth || p.Buckets > MaxSmooth {
		return 0
	}
	// Up to a filter and a half for each pair of variances visits all places of all pairs of places, once for each count.
	places := uint64(p.levels() + 1)
	return 4 * places * places * uint64(p.Buckets)
}

// A filter is Kalman's, over the buckets from the first to the last. Its state is where the walk is, the records of the bucket, and for each level released above the leaves, the lowest first, the records so far of the node that the bucket is in.
type filter struct {
	p               *Problem
	noisy           [][]int64
	variance        []float64 // of the noise, by level
	step, roughness float64   // variances in a bucket of size 1
	sizes           []float64 // of buckets
	spans           []int     // buckets of a node, by place in the state; 1 of those that are no node's

	mean          []float64
	covariance    [][]float64
	gain          []float64 // by the last count, for a record that it was off
	logLikelihood float64   // of the counts, but for a constant
	surprise      float64
}

// The first places in a state.
const (
	walk = iota
	records
	nodes
)

// A history is what it takes to go back.
type history struct {
	states []state // by bucket
	counts []count // in the order in which they were seen
}

// A state is what counts before a bucket let expect of its records: their mean, and their covariances with all of the state.
type state struct {
	mean       float64
	covariance []float64
	counts     int // that had been seen
}

// A count tells how one was off, in units of its variance, and by how much it moves the state.
type count struct {
	place int
	off   float64
	gain  []float64
}

func newFilter(p *Problem, noisy [][]int64, variance []float64, step, roughness float64, sizes []float64) *filter {
	leaf := len(noisy) - 1
	f := &filter{p: p, noisy: noisy, variance: variance, step: step, roughness: roughness, sizes: sizes, spans: []int{1, 1}}
	for level := leaf - 1; level >= p.first(); level-- {
		span := p.Buckets
		if level > 0 {
			span = f.spans[len(f.spans)-1] * p.Branching
		}
		f.spans = append(f.spans, span)
	}
	f.start()
	return f
}

// start goes back to before the first bucket. Of where the walk begins next to nothing is known.
func (f *filter) start() {
	f.mean, f.gain, f.covariance = make([]float64, len(f.spans)), make([]float64, len(f.spans)), nil
	for range f.mean {
		f.covariance = append(f.covariance, make([]float64, len(f.mean)))
	}
	leaf := len(f.noisy) - 1
	all := recordsOf(f.noisy[leaf])
	f.covariance[walk][walk] = all*all + 1e4*f.variance[leaf]
	f.logLikelihood, f.surprise = 0, 0
}

// forward takes in all counts, and keeps their history if there is where to.
func (f *filter) forward(h *history) {
	leaf := len(f.noisy) - 1
	for b := range f.p.Buckets {
		f.advance(b)
		if h != nil {
			h.states = append(h.states, state{f.mean[records], slices.Clone(f.covariance[records]), len(h.counts)})
		}
		f.surprise = max(f.surprise, f.see(records, leaf, b, h))
		for place := nodes; place < len(f.spans); place++ {
			if end := b + 1; end%f.spans[place] == 0 || end == f.p.Buckets {
				f.see(place, leaf-1-(place-nodes), b/f.spans[place], h)
			}
		}
	}
}

// advance goes on to a bucket.
func (f *filter) advance(b int) {
	p := f.covariance
	p[walk][walk] += f.step * f.sizes[b] * f.sizes[b]
	f.mean[records] = f.mean[walk]
	for place := range p {
		p[records][place], p[place][records] = p[walk][place], p[walk][place]
	}
	p[records][records] = p[walk][walk] + f.roughness*f.sizes[b]
	for place := nodes; place < len(p); place++ {
		if b%f.spans[place] == 0 { // a node begins
			f.mean[place] = 0
			for other := range p {
				p[place][other], p[other][place] = 0, 0
			}
		}
		f.mean[place] += f.mean[records]
		for other := range p {
			p[place][other] += p[records][other]
		}
		for other := range p {
			p[other][place] += p[other][records]
		}
	}
}

// see takes in a node's count, and returns by how many deviations it is off what was expected.
func (f *filter) see(place, level, node int, h *history) float64 {
	off, variance := float64(f.noisy[level][node])-f.mean[place], f.covariance[place][place]+f.variance[level]
	for i, row := range f.covariance {
		f.gain[i] = row[place] / variance
	}
	for i, row := range f.covariance {
		f.mean[i] += f.gain[i] * off
		for j, gain := range f.gain {
			row[j] -= f.gain[i] * gain * variance
		}
	}
	f.logLikelihood -= (math.Log(variance) + off*off/variance) / 2
	if h != nil {
		h.counts = append(h.counts, count{place, off / variance, slices.Clone(f.gain)})
	}
	return math.Abs(off) / math.Sqrt(variance)
}

// expected returns what all counts together let expect of each bucket's records: by the recursion of de Jong, which divides by no covariance.
func (f *filter) expected() []float64 {
	f.start()
	var h history
	f.forward(&h)
	means := make([]float64, len(h.states))
	weights := make([]float64, len(f.mean)) // of covariances with the state: what the counts from there on say of it
	seen := len(h.counts)
	for b := len(h.states) - 1; b >= 0; b-- {
		s := h.states[b]
		for ; seen > s.counts; seen-- {
			c := h.counts[seen-1]
			w := c.off
			for i, gain := range c.gain {
				w -= gain * weights[i]
			}
			weights[c.place] += w
		}
		means[b] = s.mean
		for i, c := range s.covariance {
			means[b] += c * weights[i]
		}
		// Back to the bucket before, from whose walk this one's records and nodes have theirs.
		for place := records; place < len(weights); place++ {
			weights[walk] += weights[place]
			if place == records || b%f.spans[place] == 0 {
				weights[place] = 0
			}
		}
	}
	return means
}

// sizesOf returns how many records buckets have for the numbers of their parents, as if all those of a node had as many, and those two deviations more: 1 on average.
func (t *Tree) sizesOf(parents []float64) []float64 {
	leaf := len(t.variance) - 1
	buckets := make([]float64, len(parents))
	for b := range t.problem.Buckets {
		buckets[t.problem.parent(leaf, b)]++
	}
	sizes, sum := make([]float64, t.problem.Buckets), 0.0
	for b := range sizes {
		node := t.problem.parent(leaf, b)
		sizes[b] = (parents[node] + 2*math.Sqrt(t.variance[leaf-1][node])) / buckets[node]
		sum += sizes[b]
	}
	for b := range sizes {
		sizes[b] *= float64(len(sizes)) / sum
	}
	return sizes
}
