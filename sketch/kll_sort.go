package sketch

import (
	"math"
	"slices"
)

// The kernels below have no branch that depends on keys, which a processor could not predict.

// mergeKeys merges two ascending runs into to, which is as long as both. b may overlap to, if it does not end before it.
func mergeKeys(to, a, b []int64) {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		x, y := a[i], b[j]
		least, second := x, 0
		if y < x {
			least, second = y, 1
		}
		to[i+j] = least
		j += second
		i += 1 - second
	}
	n := i + j
	n += copy(to[n:], a[i:])
	copy(to[n:], b[j:])
}

// mergeWeighted merges ascending keys, that have weights, with an ascending run of keys that all have one weight.
func mergeWeighted(to []int64, toWeights []uint64, a []int64, weights []uint64, b []int64, weight uint64) {
	i, j := 0, 0
	to, toWeights, weights = to[:len(a)+len(b)], toWeights[:len(a)+len(b)], weights[:len(a)]
	for i < len(a) && j < len(b) {
		x, y, w := a[i], b[j], weights[i]
		least, second := x, 0
		if y < x {
			least, second = y, 1
		}
		if y < x {
			w = weight
		}
		to[i+j], toWeights[i+j] = least, w
		j += second
		i += 1 - second
	}
	copy(toWeights[i+j:], weights[i:])
	copy(to[i+j:], a[i:])
	for ; j < len(b); j++ {
		to[i+j], toWeights[i+j] = b[j], weight
	}
}

// mergeDown merges a into to, whose end is the other ascending run; the rest of to, as long as a, is free.
func mergeDown(to, a []int64) {
	b := to[len(a):]
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		x, y := a[i], b[j]
		least, second := x, 0
		if y < x {
			least, second = y, 1
		}
		to[i+j] = least
		j += second
		i += 1 - second
	}
	// If a has ended, the rest of b is in its place.
	if i < len(a) {
		copy(to[i+j:], a[i:])
	}
}

// sortKeys sorts keys, none of which is the largest int64. Runs of eight are sorted by a network, and then merged.
func sortKeys(keys []int64) {
	n := len(keys)
	switch {
	case n == 8:
		sort8((*[8]int64)(keys))
	case n <= 16:
		var from, to [16]int64
		fill(from[copy(from[:], keys):])
		sort8((*[8]int64)(from[:8]))
		sort8((*[8]int64)(from[8:]))
		mergeEqual(to[:], from[:])
		copy(keys, to[:n])
	case n <= 32:
		var from, to [32]int64
		fill(from[copy(from[:], keys):])
		for i := 0; i < 32; i += 8 {
			sort8((*[8]int64)(from[i:]))
		}
		mergeEqual(to[:16], from[:16])
		mergeEqual(to[16:], from[16:])
		mergeEqual(from[:], to[:])
		copy(keys, from[:n])
	default:
		slices.Sort(keys)
	}
}

// fill fills keys with one that is more than every other.
func fill(keys []int64) {
	for i := range keys {
		keys[i] = math.MaxInt64
	}
}

// mergeEqual merges the two ascending halves of from into to, from both ends at once: neither half can end before half of
// the keys are merged.
func mergeEqual(to, from []int64) {
	n := len(from) / 2
	a, b := from[:n], from[n:]
	b = b[:len(a)]
	to = to[:2*n]
	i, k, l := 0, n-1, n-1
	for m := range n {
		x, y := a[i], b[m-i]
		least, second := x, 1
		if y < x {
			least, second = y, 0
		}
		to[m] = least
		i += second

		x, y = a[k], b[l]
		most, first := y, 0
		if y < x {
			most, first = x, 1
		}
		to[2*n-1-m] = most
		k -= first
		l -= 1 - first
	}
}

// sort8 is a sorting network with 19 comparators, the fewest possible (Knuth, volume 3, section 5.3.4).
func sort8(p *[8]int64) {
	a, b, c, d, e, f, g, h := p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
	a, c = min(a, c), max(a, c)
	b, d = min(b, d), max(b, d)
	e, g = min(e, g), max(e, g)
	f, h = min(f, h), max(f, h)

	a, e = min(a, e), max(a, e)
	b, f = min(b, f), max(b, f)
	c, g = min(c, g), max(c, g)
	d, h = min(d, h), max(d, h)

	a, b = min(a, b), max(a, b)
	c, d = min(c, d), max(c, d)
	e, f = min(e, f), max(e, f)
	g, h = min(g, h), max(g, h)

	c, e = min(c, e), max(c, e)
	d, f = min(d, f), max(d, f)

	b, e = min(b, e), max(b, e)
	d, g = min(d, g), max(d, g)

	b, c = min(b, c), max(b, c)
	d, e = min(d, e), max(d, e)
	f, g = min(f, g), max(f, g)
	p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7] = a, b, c, d, e, f, g, h
}
