package recursive

import "math"

// A Prior weighs the cuts for one quantile. All of it is public.
type Prior struct {
	Weights []uint64 // of each bucket; as those of a [Problem]
	// Robust are the weights of a second prior that is mixed in, nil for none: within each range, which both are restricted to first, it has the share Share of the weight,
	// a number in (0, 1], and Weights have the rest. With [Problem].Edges they are mixed on the whole grid.
	Robust []uint64
	Share  float64
	// Near is the part, in [0, 1], of the robust share that goes to the cuts near the ends of the range that ancestors have drawn: as much from any distance to its double. At the root and with [Problem.Edges] there are none.
	Near  float64
	Total uint64 // about the sum of mixed weights, at most 2⁶⁰; 0 means that
}

// maxRange is the largest Total of a [Prior].
const maxRange = 1 << 60

// Within returns the weight of each bucket from first up to but not including last for a draw from the cuts a to b, which lie in buckets first … last−1 of 2^levels cells or at the end of the last one, appended to weights.
// It depends on the prior and the range alone. They are positive, and mixed ones sum to at most 2⁶¹: they are computed in float64, and it is the integers that decide.
func (p Prior) Within(first, last int, a, b uint64, levels uint, weights []uint64) []uint64 {
	if p.Robust == nil {
		return append(weights, p.Weights[first:last]...)
	}
	// How much of each prior is in the range; of the buckets at its ends only a part is.
	part := func(i int) float64 {
		start, end := max(uint64(i)<<levels, a), min(uint64(i+1)<<levels, b+1)
		return float64(end-start) / float64(uint64(1)<<levels)
	}
	own, robust, near := 0.0, 0.0, 0.0
	top := uint64(len(p.Weights)) << levels
	whole := float64(p.Total)
	if p.Total == 0 {
		whole = maxRange
	}
	// closeness is the mass of a part of the axis by its distance from the drawn ends, on which distances of less than a bucket are all alike.
	closeness := func(i int) (c float64) {
		at, unit := max(uint64(i)<<levels, a), float64(uint64(1)<<levels)
		to := min(uint64(i+1)<<levels, b)
		if p.Near == 0 || to <= at {
			return 0
		}
		if a > 0 {
			c += math.Log1p(float64(to-a)/unit) - math.Log1p(float64(at-a)/unit)
		}
		if b < top-1 {
			c += math.Log1p(float64(b-at)/unit) - math.Log1p(float64(b-to)/unit)
		}
		return c
	}
	for i := first; i < last; i++ {
		share := 1.0
		if i == first || i == last-1 {
			share = part(i)
		}
		own += share * float64(p.Weights[i])
		robust += share * float64(p.Robust[i])
		near += closeness(i)
	}
	nearShare := p.Share * p.Near
	if near == 0 {
		nearShare = 0
	}
	mixed := func(i int) float64 {
		x := (1-p.Share)*(float64(p.Weights[i])/own) + (p.Share-nearShare)*(float64(p.Robust[i])/robust)
		if nearShare > 0 {
			x += nearShare * closeness(i) / near / part(i)
		}
		return x
	}
	total := 0.0
	for i := first; i < last; i++ {
		total += mixed(i)
	}
	for i := first; i < last; i++ {
		weights = append(weights, 1+uint64(whole*(mixed(i)/total)))
	}
	return weights
}

// A weighing holds the weights of the draw that is being made.
type weighing struct {
	top     uint64   // N, the number of cells
	weights []uint64 // of each bucket that has cuts of the range
	prefix  []uint64 // weight before each of them, from first to last
	first   int      // the buckets with cuts of the range are first … last−1
	last    int
	scratch []uint64
}

// start sets the weights of all draws of a problem without Priors.
func (v *solver) start() {
	n := len(v.Weights)
	if v.Priors != nil {
		n = len(v.Priors[0].Weights)
		v.weights, v.scratch = make([]uint64, n), make([]uint64, 0, n)
	} else {
		v.weights = v.Weights
	}
	v.top, v.prefix, v.last = uint64(n)<<v.Levels, make([]uint64, n+1), n
	v.add()
}

// add sums up the weights of the range.
func (v *solver) add() {
	v.prefix[v.first] = 0
	for i := v.first; i < v.last; i++ {
		v.prefix[i+1] = v.prefix[i] + v.weights[i]
	}
}

// weigh sets the weights of a draw for quantile j from the cuts a to b: a function of the range and of what is public.
func (v *solver) weigh(j int, a, b uint64) {
	if v.Priors == nil {
		return
	}
	n := len(v.weights)
	if v.Edges { // whose weights reach beyond the range
		a, b = 0, v.top-1
	}
	v.first, v.last = int(min(a, v.top-1)>>v.Levels), int(min(b, v.top-1)>>v.Levels)+1
	v.scratch = v.Priors[j].Within(v.first, v.last, a, b, v.Levels, v.scratch[:0])
	copy(v.weights[v.first:n], v.scratch)
	v.add()
}
