package sketch

import "slices"

// The kernels below have no branch that depends on keys, which a processor could not predict.

// mergeKeys merges two ascending runs into to, which is as long as both. b may be the end of to.
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

// mergeDown merges a with the run that begins gap after the beginning of to and ends with it.
func mergeDown(to, a []int64, gap int) { mergeKeys(to, a, to[gap:]) }

// sortKeys sorts.
func sortKeys(keys []int64) {
	if len(keys) == 8 {
		sort8((*[8]int64)(keys))
		return
	}
	slices.Sort(keys)
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
