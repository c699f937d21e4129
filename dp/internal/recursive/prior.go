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
	whole := float64(p.Total)
	if p.Total == 0 {
		whole = maxRange
	}
	share := func(i int) float64 {
		if i == first || i == last-1 {
			return part(i)
		}
		return 1
	}
	near, nearby := p.near(first, last, a, b, levels)
	own, robust := 0.0, 0.0
	for i := first; i < last; i++ {
		own += share(i) * float64(p.Weights[i])
		robust += share(i) * float64(p.Robust[i])
	}
	nearShare := 0.0
	if nearby > 0 {
		nearShare = p.Share * p.Near
	}
	perOwn, perRobust, perNear := (1-p.Share)/own, (p.Share-nearShare)/robust, nearShare/nearby
	mixed := func(i int) float64 {
		x := perOwn*float64(p.Weights[i]) + perRobust*float64(p.Robust[i])
		if nearShare > 0 {
			x += perNear * near[i-first] / share(i)
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

// near returns, by bucket, the mass that goes to the neighbourhood of the drawn ends of a range, and its sum, which is 0 if none was drawn: the integral of 1/(1+distance), distance in buckets.
func (p Prior) near(first, last int, a, b uint64, levels uint) (mass []float64, sum float64) {
	top, unit := uint64(len(p.Weights))<<levels, float64(uint64(1)<<levels)
	if p.Near == 0 || a == 0 && b >= top-1 {
		return nil, 0
	}
	mass = make([]float64, last-first)
	fromA, fromB := 0.0, math.Log1p(float64(b-max(uint64(first)<<levels, a))/unit)
	for i := range mass {
		to := max(min(uint64(first+i+1)<<levels, b), a)
		nextA, nextB := math.Log1p(float64(to-a)/unit), math.Log1p(float64(b-to)/unit)
		if a > 0 {
			mass[i] += nextA - fromA
		}
		if b < top-1 {
			mass[i] += fromB - nextB
		}
		mass[i] = max(mass[i], 0)
		sum += mass[i]
		fromA, fromB = nextA, nextB
	}
	return mass, sum
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
