package learn

import "math"

// What [Ridge] was tuned to on streams with a season, a drift and shifts (docs/priors.md).
const (
	firstScale = 8    // buckets: what a first answer is off by
	leastScale = 0.5  // buckets
	seasonal   = 10.  // deviation of the other weights before anything is known, in scales
	forgetting = 0.97 // of what is known, with each release
	unknown    = 1000 // the most variance of a weight, in scales squared
	clipped    = 3    // an error moves a forecast by what so many deviations would at most
	surprising = 8    // scales: an answer that is farther off is a surprise
	scaleRate  = 0.25 // of the logarithm of the scale
	scaleClip  = 2    // an error counts as at most so many scales for that
	surprised  = 0.15 // what a surprise adds to it
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

// learnRidge takes in an answer at position x. One that is far off does not move the forecast, since a release may miss the quantile; two in a row that agree do so at once: then the quantile has moved.
func (k *quantile) learnRidge(f []float64, x float64) {
	d := len(f)
	if k.releases == 0 {
		k.weights, k.memory, k.scale = make([]float64, d), make([]float64, d*d), firstScale
		k.weights[0] = x
		k.loosen(d)
		return
	}
	location, g, spread := k.gain(f)
	off := x - location
	if math.Abs(off) > surprising*k.scale*math.Sqrt(spread) {
		again := k.surprises > 0 && math.Abs(x-k.surprise) < surprising*k.scale*math.Sqrt(spread)
		k.surprises, k.surprise = k.surprises+1, x
		if again {
			k.weights[0] += off
			k.scale *= 2
			k.loosen(d)
			k.surprises = 0
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

// loosen forgets how well the weights are known.
func (k *quantile) loosen(d int) {
	clear(k.memory)
	for i := range d {
		k.memory[i*d+i] = seasonal * seasonal
	}
	k.memory[0] = 4
}
