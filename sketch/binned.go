package sketch

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"
)

var (
	// ErrEmpty says that a sketch without values was asked about its values.
	ErrEmpty = errors.New("the sketch is empty")
	// ErrGridMismatch says that two sketches have different grids. The text names both.
	ErrGridMismatch = errors.New("the grids differ")
	// ErrOverflow says that a count would exceed 2^63−1.
	ErrOverflow = errors.New("the count exceeds 2^63-1")
	// ErrNotThere says that something was to be subtracted that had never been added.
	ErrNotThere = errors.New("more is subtracted than is there")
)

// maxCount is the largest total count of a sketch.
const maxCount = math.MaxInt64

// Binned is an exact count of values for each bucket of a grid. It takes memory for the buckets that hold anything
// and for some near them. NaN is counted apart and is in no bucket. It is not safe for concurrent use; a [Recorder] is.
type Binned struct {
	// What Add needs of the grid. Exponential: table, and how a place follows from the exponent.
	table    *[slots]uint64
	up, down uint
	// Linear: what is below min, or NaN, is not in the window. breaks is nil if the estimate is exact.
	min, perUnit float64
	breaks       []float64

	sides [2]side
	count uint64
	zero  uint64 // the bucket of zero of an exponential grid
	nan   uint64
	grid  *Grid
}

// NewBinned returns an empty sketch on a grid.
func NewBinned(g *Grid) *Binned {
	b := &Binned{grid: g, min: math.NaN()}
	for i := range b.sides {
		b.sides[i].patience = maxWindow
	}
	switch g.kind {
	case exponential:
		b.table, b.up, b.down = &g.roots.table, g.roots.up, g.roots.down
		// Where Add finds the place: not for subnormal values, nor for infinities and NaN.
		low, high := 1<<b.up+1, 0x7ff<<b.up
		if b.down > 0 {
			low, high = 1, 0x7ff>>b.down
		}
		b.sides[1].shift = (0x800 << b.up) >> b.down // the sign bit
		for i := range b.sides {
			b.sides[i].low, b.sides[i].high = low, high
		}
		if g.bounded {
			// The outer buckets have the places of the buckets that would be next.
			zero := g.zero()
			b.sides[0].clip(g, max(zero+1, 1), g.len-2)
			b.sides[1].clip(g, 1, min(zero-1, g.len-2))
		}
	case linear:
		b.sides[0].low, b.sides[0].high = 1, g.len-1
		b.sides[0].shift = -1
		if g.estimate != rough {
			b.min, b.perUnit = g.min, g.perUnit
		}
		if g.estimate == close1 {
			b.breaks = g.breaks
		}
	default:
		b.sides[0].high = g.len
	}
	for i := range b.sides {
		b.sides[i].base = uint(b.sides[i].shift)
	}
	return b
}

// Grid returns the sketch's grid.
func (b *Binned) Grid() *Grid { return b.grid }

// Count returns how many values were added, without NaN.
func (b *Binned) Count() uint64 { return b.count }

// NaNCount returns how many of the values offered were NaN.
func (b *Binned) NaNCount() uint64 { return b.nan }

// Bucket returns the count of a bucket, 0 ≤ i < Grid().Len().
func (b *Binned) Bucket(i int) uint64 {
	if i < 0 || i >= b.grid.len {
		panic(fmt.Sprintf("sketch: bucket %d of a grid with %d", i, b.grid.len))
	}
	s, place := b.grid.place(i)
	if s < 0 {
		return b.zero
	}
	return b.sides[s].load(place)
}

// at returns where the count of a bucket is kept, for adding to it.
func (b *Binned) at(i int) *uint64 {
	if i < 0 || i >= b.grid.len {
		panic(fmt.Sprintf("sketch: bucket %d of a grid with %d", i, b.grid.len))
	}
	s, place := b.grid.place(i)
	if s < 0 {
		return &b.zero
	}
	return b.sides[s].at(place)
}

// Add counts a value. It does not look for overflow, which would take 2^62 calls more than AddN and Merge allow.
//
//go:nosplit
func (b *Binned) Add(x float64) {
	if t := b.table; t != nil {
		v := math.Float64bits(x)
		s := &b.sides[v>>63]
		j := (v&mantissaMask + t[v>>slotShift%slots]) >> mantissaBits
		i := (uint(v>>mantissaBits<<(b.up&63))+uint(j))>>(b.down&63) - s.base
		if i < uint(len(s.window)) {
			s.window[i]++
			b.count++
			return
		}
	} else if x >= b.min {
		i := uint(int((x - b.min) * b.perUnit))
		if breaks := b.breaks; breaks != nil && i+1 < uint(len(breaks)) && x >= breaks[i+1] {
			i++
		}
		s := &b.sides[0]
		i -= s.base
		if i < uint(len(s.window)) {
			s.window[i]++
			b.count++
			return
		}
	}
	b.add(x)
}

// add is Add for every case.
//
//go:noinline
func (b *Binned) add(x float64) {
	if x != x {
		b.nan++
		return
	}
	*b.at(b.grid.Index(x))++
	b.count++
}

// AddN counts a value n times. It returns ErrOverflow, and counts nothing, if the total would exceed
// 2^63−1.
func (b *Binned) AddN(x float64, n uint64) error {
	if x != x {
		return grow(&b.nan, n)
	}
	return b.AddBucket(b.grid.Index(x), n)
}

// AddBucket adds n to the count of a bucket, 0 ≤ i < Grid().Len(). It returns ErrOverflow, and counts
// nothing, if the total would exceed 2^63−1.
func (b *Binned) AddBucket(i int, n uint64) error {
	if err := grow(&b.count, n); err != nil {
		return err
	}
	if n > 0 {
		*b.at(i) += n
	}
	return nil
}

func grow(count *uint64, n uint64) error {
	sum, carry := bits.Add64(*count, n, 0)
	if carry != 0 || sum > maxCount {
		return ErrOverflow
	}
	*count = sum
	return nil
}

// AddNaN counts n values more that were NaN. It returns ErrOverflow, and counts nothing, if there would be more than
// 2^63−1.
func (b *Binned) AddNaN(n uint64) error { return grow(&b.nan, n) }

// AddBatch counts each of the values, as Add does.
func (b *Binned) AddBatch(xs []float64) {
	switch {
	case b.table != nil && b.down == 0:
		xs = b.addExponential(xs)
	case b.table == nil && b.breaks == nil && b.min == b.min:
		xs = b.addLinear(xs)
	case b.table == nil && b.breaks != nil:
		xs = b.addNearly(xs)
	}
	for _, x := range xs {
		b.Add(x)
	}
}

// addExponential counts values four at a time, which leaves the processor something to do while it waits for
// memory, and returns the few that are left. Four of which one is not in the window, or has another sign, go one by one.
func (b *Binned) addExponential(xs []float64) []float64 {
	t, up := b.table, b.up&63
	s := &b.sides[0]
	window, base := s.window, s.base
	for ; len(xs) >= 4; xs = xs[4:] {
		v0, v1, v2, v3 := math.Float64bits(xs[0]), math.Float64bits(xs[1]), math.Float64bits(xs[2]), math.Float64bits(xs[3])
		i0 := uint(v0>>mantissaBits<<up) + uint((v0&mantissaMask+t[v0>>slotShift%slots])>>mantissaBits) - base
		i1 := uint(v1>>mantissaBits<<up) + uint((v1&mantissaMask+t[v1>>slotShift%slots])>>mantissaBits) - base
		i2 := uint(v2>>mantissaBits<<up) + uint((v2&mantissaMask+t[v2>>slotShift%slots])>>mantissaBits) - base
		i3 := uint(v3>>mantissaBits<<up) + uint((v3&mantissaMask+t[v3>>slotShift%slots])>>mantissaBits) - base
		if n := uint(len(window)); i0 < n && i1 < n && i2 < n && i3 < n {
			window[i0]++
			window[i1]++
			window[i2]++
			window[i3]++
			b.count += 4
			continue
		}
		for _, x := range xs[:4] {
			b.Add(x)
		}
		s = &b.sides[v3>>63]
		window, base = s.window, s.base
	}
	return xs
}

// addLinear is addExponential for linear grids with exact estimates.
func (b *Binned) addLinear(xs []float64) []float64 {
	s := &b.sides[0]
	window, base, low, perUnit := s.window, s.base, b.min, b.perUnit
	for ; len(xs) >= 4; xs = xs[4:] {
		x0, x1, x2, x3 := xs[0], xs[1], xs[2], xs[3]
		if x0 >= low && x1 >= low && x2 >= low && x3 >= low {
			i0 := uint(int((x0-low)*perUnit)) - base
			i1 := uint(int((x1-low)*perUnit)) - base
			i2 := uint(int((x2-low)*perUnit)) - base
			i3 := uint(int((x3-low)*perUnit)) - base
			if n := uint(len(window)); i0 < n && i1 < n && i2 < n && i3 < n {
				window[i0]++
				window[i1]++
				window[i2]++
				window[i3]++
				b.count += 4
				continue
			}
		}
		for _, x := range xs[:4] {
			b.Add(x)
		}
		window, base = s.window, s.base
	}
	return xs
}

// addNearly is addExponential for linear grids where the bucket is the estimated one or the next.
func (b *Binned) addNearly(xs []float64) []float64 {
	s := &b.sides[0]
	window, base, low, perUnit, breaks := s.window, s.base, b.min, b.perUnit, b.breaks
	for ; len(xs) >= 4; xs = xs[4:] {
		x0, x1, x2, x3 := xs[0], xs[1], xs[2], xs[3]
		if x0 >= low && x1 >= low && x2 >= low && x3 >= low {
			i0 := uint(int((x0 - low) * perUnit))
			i1 := uint(int((x1 - low) * perUnit))
			i2 := uint(int((x2 - low) * perUnit))
			i3 := uint(int((x3 - low) * perUnit))
			if n := uint(len(breaks)); i0+1 < n && i1+1 < n && i2+1 < n && i3+1 < n {
				if x0 >= breaks[i0+1] {
					i0++
				}
				if x1 >= breaks[i1+1] {
					i1++
				}
				if x2 >= breaks[i2+1] {
					i2++
				}
				if x3 >= breaks[i3+1] {
					i3++
				}
				i0, i1, i2, i3 = i0-base, i1-base, i2-base, i3-base
				if n := uint(len(window)); i0 < n && i1 < n && i2 < n && i3 < n {
					window[i0]++
					window[i1]++
					window[i2]++
					window[i3]++
					b.count += 4
					continue
				}
			}
		}
		for _, x := range xs[:4] {
			b.Add(x)
		}
		window, base = s.window, s.base
	}
	return xs
}

// All returns the buckets that hold anything and their counts, ascending.
func (b *Binned) All() iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		for place, n := range b.sides[1].descending() {
			if !yield(b.grid.bucketAt(1, place), n) {
				return
			}
		}
		if b.zero > 0 && !yield(b.grid.bucketAt(-1, 0), b.zero) {
			return
		}
		for place, n := range b.sides[0].ascending() {
			if !yield(b.grid.bucketAt(0, place), n) {
				return
			}
		}
	}
}

// Merge adds the counts of others, which stay as they are. Unbounded exponential grids may be of different scales:
// the sketch takes the coarsest of all, and the counts of the others are added as if they had been of it. It returns
// ErrGridMismatch, which names both grids, or ErrOverflow, and then changes nothing.
func (b *Binned) Merge(others ...*Binned) error {
	count, nan, scale := b.count, b.nan, b.grid.scale
	for _, o := range others {
		if !b.grid.Equal(o.grid) {
			if !b.grid.Unbounded() || !o.grid.Unbounded() {
				return fmt.Errorf("%w: %v and %v", ErrGridMismatch, b.grid, o.grid)
			}
			scale = min(scale, o.grid.scale)
		}
		if grow(&count, o.count) != nil || grow(&nan, o.nan) != nil {
			return ErrOverflow
		}
	}
	if slices.Contains(others, b) {
		before := b.Clone()
		others = slices.Clone(others)
		for i, o := range others {
			if o == b {
				others[i] = before
			}
		}
	}
	if scale < b.grid.scale {
		if err := b.Downscale(scale); err != nil {
			return err
		}
	}
	for _, o := range others {
		b.merge(o)
	}
	return nil
}

// merge adds the counts of a sketch that is not on a coarser grid.
func (b *Binned) merge(o *Binned) {
	b.count += o.count
	b.nan += o.nan
	b.zero += o.zero
	halvings := o.grid.scale - b.grid.scale
	for i := range o.sides {
		from, to := &o.sides[i], &b.sides[i]
		if halvings > 0 {
			for place, n := range from.ascending() {
				*to.at(b.grid.coarser(o.grid, place)) += n
			}
			continue
		}
		to.add(from)
	}
}

// Downscale moves the counts to the exponential grid of a coarser scale, which holds each of them in the bucket that
// their values have there. It returns the errors of [Grid.Downscale], and then changes nothing.
func (b *Binned) Downscale(scale int) error {
	g, err := b.grid.Downscale(scale)
	if err != nil || g == b.grid {
		return err
	}
	coarse := NewBinned(g)
	coarse.merge(b)
	*b = *coarse
	return nil
}

// Rebin returns the counts on another grid: those of a bucket go to the bucket of g that holds the middle of its finite
// values, or its finite end. Where each bucket lies within one of g the result is what adding the values to it
// would have made. Otherwise a value may be counted in a bucket of g that does not hold it, but that is no further
// from it than its own bucket is wide.
func (b *Binned) Rebin(g *Grid) *Binned {
	to := NewBinned(g)
	to.count, to.nan = b.count, b.nan
	for i, n := range b.All() {
		*to.at(g.Index(b.grid.middle(i))) += n
	}
	return to
}

// Subtract takes the counts of o away, which undoes a merge. It returns ErrGridMismatch, or ErrNotThere
// if a count would fall below zero, and then changes nothing.
func (b *Binned) Subtract(o *Binned) error {
	if !b.grid.Equal(o.grid) {
		return fmt.Errorf("%w: %v and %v", ErrGridMismatch, b.grid, o.grid)
	}
	for i, n := range o.All() {
		if have := b.Bucket(i); have < n {
			lower, upper := b.grid.Bounds(i)
			return fmt.Errorf("%w: %d of %d in bucket %d, from %v to %v", ErrNotThere, n, have, i, lower, upper)
		}
	}
	if b.nan < o.nan {
		return fmt.Errorf("%w: %d of %d NaN", ErrNotThere, o.nan, b.nan)
	}
	if b == o {
		b.Reset()
		return nil
	}
	for i, n := range o.All() {
		*b.at(i) -= n
	}
	b.count -= o.count
	b.nan -= o.nan
	return nil
}

// Clone returns a copy that shares nothing but the grid.
func (b *Binned) Clone() *Binned {
	c := *b
	for i := range c.sides {
		s := &c.sides[i]
		s.window = slices.Clone(s.window)
		s.far = slices.Clone(s.far)
		for j, from := range s.far {
			own := *from.counts
			s.far[j].counts = &own
		}
	}
	return &c
}

// Reset empties the sketch, which keeps its memory.
func (b *Binned) Reset() {
	for i := range b.sides {
		clear(b.sides[i].window)
		for _, f := range b.sides[i].far {
			clear(f.counts[:])
		}
	}
	b.count, b.zero, b.nan = 0, 0, 0
}

// Equal says whether two sketches have equal grids and equal counts.
func (b *Binned) Equal(o *Binned) bool {
	if b.count != o.count || b.nan != o.nan || !b.grid.Equal(o.grid) {
		return false
	}
	for i, n := range b.All() {
		if o.Bucket(i) != n {
			return false
		}
	}
	return true // the totals are equal too
}

// String returns the grid and the total counts.
func (b *Binned) String() string {
	filled := 0
	for range b.All() {
		filled++
	}
	return fmt.Sprintf("%v: %d values in %d of %d buckets, %d NaN", b.grid, b.count, filled, b.grid.len, b.nan)
}
