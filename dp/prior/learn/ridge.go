package learn

import "math"

// What [Ridge] was tuned to on streams with a season, a drift and shifts (docs/priors.md).
const (
	firstScale = 8    // buckets: what a first answer is off by, or a 64th of the grid if that is less
	leastScale = 0.5  // buckets
	seasonal   = 4.   // deviation of the other weights before anything is known, in scales
	forgetting = 0.97 // of what is known, with each release
	unknown    = 1000 // the most variance of a weight, in scales squared
	clipped    = 3    // an error moves a forecast by what so many deviations would at most
	surprising = 8    // scales: an answer that is farther off is a surprise
	scaleRate  = 0.25 // of the logarithm of the scale
	scaleClip  = 2    // an error counts as at most so many scales for that
	surprised  = 0.15 // what a surprise adds to it
	begun      = 1.2  // what the scale is multiplied with where a forecast begins anew
	missing    = 0.1  // of the answers are surprises though the forecast is right
	distrusted = 0.5  // a forecast with odds below that gives way to an answer that is far from it
	mostTrust  = 100
)

// usual is the mean of min(|error|/scale, scaleClip) of a Laplace distribution: 1 − e^−scaleClip.
var usual = -math.Expm1(-scaleClip)

// ridge returns the forecast for features f. Weights w have the covariance scale²·P; memory is P.
func (k *quantile) ridge(f []float64) (location, scale float64) {
	location, _, spread := k.gain(f)
	return location, k.scale * math.Sqrt(spread)
}

// gain returns w·f, P·f and 1 + f·P·f.
func (k *quantile) gain(f []float64) (location float64, g []float64, spread float64) {
	d := len(f)
	g, spread = make([]float64, d), 1
	for i := range f {
		location += k.weights[i] * f[i]
		for j := range f {
			g[i] += k.memory[i*d+j] * f[j]
		}
		spread += f[i] * g[i]
	}
	return location, g, max(spread, 1)
}

// track moves the scale, the usual |error|, by a gradient step on the loss |error|/scale + ln scale in ln scale, with clipped errors. spread is the part of the error's variance that is not the scale's.
func (k *quantile) track(off, spread float64) {
	if k.releases == 0 {
		k.scale = firstScale
		return
	}
	z := off / k.scale / math.Sqrt(spread)
	step := scaleRate * (min(z, scaleClip) - usual)
	if z > surprising { // perhaps no error of the forecast but a release that missed
		step = surprised
	}
	k.scale = max(k.scale*math.Exp(step), leastScale)
}

// learnRidge takes in an answer at position x. One that is far off does not move a forecast that was right before, since a release may miss the quantile; two in a row that agree do so at once: then the quantile has moved. A forecast that is not trusted gives way to the first.
func (k *quantile) learnRidge(f []float64, x, robust, buckets float64) {
	d := len(f)
	if k.releases == 0 {
		k.weights, k.memory, k.scale = make([]float64, d), make([]float64, d*d), min(firstScale, buckets/64)
		k.begin(d, x)
		return
	}
	location, g, spread := k.gain(f)
	off, far := x-location, surprising*k.scale*math.Sqrt(spread)
	if 2*surprising*k.scale > buckets { // the forecast says nothing
		k.scale = min(firstScale, buckets/64)
		k.begin(d, off)
		return
	}
	k.judge(math.Abs(off) <= far, robust, 2*far/buckets)
	if math.Abs(off) > far {
		again := k.surprises > 0 && math.Abs(x-k.surprise) < far
		k.surprises, k.surprise = k.surprises+1, x
		if again || k.trust < distrusted {
			k.scale *= begun
			k.begin(d, off)
			return
		}
		k.track(math.Abs(off), spread)
		return
	}
	k.surprises = 0
	deviation := k.scale * math.Sqrt(spread)
	step := min(max(off, -clipped*deviation), clipped*deviation)
	for i := range f {
		k.weights[i] += g[i] / spread * step
		for j := range f {
			k.memory[i*d+j] = (k.memory[i*d+j] - g[i]*g[j]/spread) / forgetting
		}
	}
	// What no window tells for long must not grow without bound: a smaller multiple of a covariance is one.
	largest := 0.0
	for i := range f {
		largest = max(largest, k.memory[i*d+i])
	}
	if largest > unknown {
		for i := range k.memory {
			k.memory[i] *= unknown / largest
		}
	}
	k.track(math.Abs(off), spread)
}

// believed returns the probability that the forecast is near the quantile.
func (k *quantile) believed() float64 { return k.trust / (1 + k.trust) }

// judge changes the odds that the forecast is near the quantile by an answer that was near the forecast or not. A release that misses the quantile answers what its prior believes: a forecast made of such answers seems to be right
// as often as the prior has it, about by its own part, and by the part of the grid that counts as near. What is more often right than that is trusted.
func (k *quantile) judge(near bool, robust, part float64) {
	own := (1 - robust) * min(k.believed(), alone)
	chance := own + (1-own)*min(part, 1)
	if near {
		k.trust *= max((1-missing)/chance, 1)
	} else {
		k.trust *= min(missing/(1-chance), 1)
	}
	k.trust = min(k.trust, mostTrust)
}

// begin moves the forecast, and forgets how well its d weights are known and whether it was right.
func (k *quantile) begin(d int, off float64) {
	k.weights[0] += off
	k.surprises, k.trust = 0, 1
	clear(k.memory)
	for i := range d {
		k.memory[i*d+i] = seasonal * seasonal
	}
	k.memory[0] = 4
}
