package learn

import (
	"math"

	"github.com/quietile/quietile/dp/internal/surrogate"
)

// The memory of a quantile that is learned by the surrogate loss: origin and unit of its positions, and φ; then, for [COCOB], four numbers for each of the d weights θ and φ; for [SGD], the number of steps.
const (
	atOrigin = iota
	atUnit
	atPhi
	atRest
)

// Bounds of φ, the inverse of the scale in units.
const (
	leastPhi = 1e-3
	mostPhi  = 1e6
)

// memoryOf returns the length of that memory.
func memoryOf(optimiser string, d int) int {
	if optimiser == COCOB {
		return atRest + 4*(d+1)
	}
	return atRest + 1
}

// surrogate returns the forecast for features f: location θ·f/φ and scale 1/φ, in units from the origin.
func (k *quantile) surrogate(f []float64) (location, scale float64) {
	theta := 0.0
	for i := range f {
		theta += k.weights[i] * f[i]
	}
	phi, unit := k.memory[atPhi], k.memory[atUnit]
	return k.memory[atOrigin] + unit*theta/phi, unit / phi
}

// learnSurrogate takes in an answer's bucket, as if the quantile lay there, by a step on the surrogate loss.
func (k *quantile) learnSurrogate(optimiser string, f []float64, bucket int, reach float64) {
	d := len(f)
	if k.releases == 0 {
		k.weights, k.memory = make([]float64, d), make([]float64, memoryOf(optimiser, d))
		k.memory[atOrigin], k.memory[atUnit], k.memory[atPhi] = float64(bucket)+0.5, max(firstScale, reach/256), 1
		k.scale = k.memory[atUnit]
		return
	}
	theta := 0.0
	for i := range f {
		theta += k.weights[i] * f[i]
	}
	origin, unit := k.memory[atOrigin], k.memory[atUnit]
	_, dTheta, dPhi := surrogate.Loss(theta, k.memory[atPhi], (float64(bucket)-origin)/unit, (float64(bucket+1)-origin)/unit)
	gradient := make([]float64, d+1)
	for i := range f {
		gradient[i] = dTheta * f[i]
	}
	gradient[d] = dPhi
	if optimiser == COCOB {
		for i, g := range gradient {
			at := k.memory[atRest+4*i : atRest+4*i+4]
			if i < d {
				k.weights[i] = bet(at, k.weights[i], 0, g)
			} else {
				k.memory[atPhi] = bet(at, k.memory[atPhi], 1, g)
			}
		}
	} else {
		k.memory[atRest]++
		rate := 1 / math.Sqrt(k.memory[atRest])
		for i := range f {
			k.weights[i] -= rate * gradient[i]
		}
		k.memory[atPhi] -= rate * gradient[d]
	}
	k.memory[atPhi] = min(max(k.memory[atPhi], leastPhi), mostPhi)
	k.scale = unit / k.memory[atPhi]
}

// bet returns the next value of a parameter that began at first, after a gradient: COCOB-Backprop. at holds the largest gradient, the sum of their sizes, what was won, and minus their sum.
func bet(at []float64, x, first, gradient float64) float64 {
	const patience = 100
	largest := max(at[0], math.Abs(gradient))
	if largest == 0 {
		return x
	}
	at[0] = largest
	at[1] += math.Abs(gradient)
	at[2] = max(at[2]-gradient*(x-first), 0)
	at[3] -= gradient
	return first + at[3]/(largest*max(at[1]+largest, patience*largest))*(largest+at[2])
}
