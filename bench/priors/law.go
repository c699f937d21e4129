package main

import (
	"math"

	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// A law is that of the one draw which answers a quantile, without the weights of a prior and computed in float64, its records evenly placed in their buckets: for each bucket the factor by which the records change its weight, and by how many ranks it is off.
// What it says of errors on average would take thousands of releases to measure.
type law struct{ factor, off []float64 }

func lawOf(s *sketch.Binned, q, epsilon float64) law {
	n := s.Grid().Len()
	l := law{make([]float64, n), make([]float64, n)}
	counts := make([]float64, n)
	for i, c := range s.All() {
		counts[i] = float64(c)
	}
	target, before := q*float64(s.Count()), 0.0
	rate := epsilon / (2 * max(q, 1-q))
	for i, c := range counts {
		for k := 0.0; k <= c; k++ {
			l.factor[i] += math.Exp(-rate*math.Abs(before+k-target)) / (c + 1)
		}
		l.off[i] = max(0, before-target, target-before-c)
		before += c
	}
	return l
}

// mean returns what the draw is off by on average with a prior's weights.
func (l law) mean(weights []float64) float64 {
	sum, total := 0.0, 0.0
	for i, w := range weights {
		x := w * l.factor[i]
		sum += x * l.off[i]
		total += x
	}
	return sum / total
}

// weightsOf returns a prior's weights as numbers.
func weightsOf(p prior.Prior, g *sketch.Grid) []float64 {
	all := make([]float64, g.Len())
	for i, w := range must(p.Weights(g)) {
		all[i] = float64(w)
	}
	return all
}

// meanOf returns the mean over several laws.
func meanOf(laws []law, weights []float64) (mean float64) {
	for _, l := range laws {
		mean += l.mean(weights) / float64(len(laws))
	}
	return mean
}

// best returns weights, made of others by descent, which no small change makes better for the mean over several laws: about the best prior that there could be, for who knows how the records are distributed.
func best(laws []law, weights []float64, steps int) []float64 {
	rate, last := 1.0, meanOf(laws, weights)
	for range steps {
		slope := make([]float64, len(weights)) // of the mean, in the logarithm of each weight
		for _, l := range laws {
			total, mean := 0.0, l.mean(weights)
			for i, w := range weights {
				total += w * l.factor[i]
			}
			for i, w := range weights {
				slope[i] += w * l.factor[i] * (l.off[i] - mean) / total
			}
		}
		steepest := 0.0
		for _, x := range slope {
			steepest = max(steepest, math.Abs(x))
		}
		next := make([]float64, len(weights))
		for i, w := range weights {
			next[i] = w * math.Exp(-rate*slope[i]/steepest)
		}
		if x := meanOf(laws, next); x < last {
			weights, last, rate = next, x, rate*1.3
		} else {
			rate /= 3
		}
	}
	return weights
}
