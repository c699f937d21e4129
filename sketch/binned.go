package sketch

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
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

const (
	pageBits = 8
	pageSize = 1 << pageBits
	pageMask = pageSize - 1
)

type page [pageSize]uint64

// Binned is an exact count of values for each bucket of a grid. It takes memory for the pages of 256
// buckets that hold anything. NaN is counted apart and is in no bucket. It is not safe for concurrent
// use.
type Binned struct {
	grid  *Grid
	pages []*page // nil where nothing was ever counted
	count uint64
	nan   uint64
}

// NewBinned returns an empty sketch on a grid.
func NewBinned(g *Grid) *Binned {
	return &Binned{grid: g, pages: make([]*page, (g.len+pageMask)>>pageBits)}
}

// Grid returns the sketch's grid.
func (b *Binned) Grid() *Grid { return b.grid }

// Count returns how many values were added, without NaN.
func (b *Binned) Count() uint64 { return b.count }

// NaNCount returns how many of the values offered were NaN.
func (b *Binned) NaNCount() uint64 { return b.nan }

// Bucket returns the count of a bucket, 0 ≤ i < Grid().Len().
func (b *Binned) Bucket(i int) uint64 {
	if p := b.pages[i>>pageBits]; p != nil {
		return p[i&pageMask]
	}
	return 0
}

// at returns where the count of a bucket is kept.
func (b *Binned) at(i int) *uint64 {
	p := b.pages[uint(i)>>pageBits]
	if p == nil {
		p = b.page(uint(i))
	}
	return &p[i&pageMask]
}

// page makes the page of a bucket that has none.
//
//go:noinline
func (b *Binned) page(i uint) *page {
	p := new(page)
	b.pages[i>>pageBits] = p
	return p
}

// Add counts a value.
func (b *Binned) Add(x float64) {
	g := b.grid
	i := uint(math.MaxUint)
	switch {
	case g.kind == exponential:
		i = uint(g.roots.quick(math.Float64bits(x)) - g.base)
	case g.kind == linear && x >= g.min && x < g.max:
		i = g.inner(x)
	}
	if i < uint(g.len) {
		if p := b.pages[i>>pageBits]; p != nil {
			p[i&pageMask]++
			b.count++
			return
		}
	}
	b.add(x)
}

// add is Add for every case.
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

// AddBatch counts each of the values.
func (b *Binned) AddBatch(xs []float64) {
	// Where the values go is found a block at a time, and counted thereafter: two loops whose variables all
	// fit into registers.
	var at [block]uint32
	for len(xs) > 0 {
		some := xs[:min(block, len(xs))]
		xs = xs[len(some):]
		switch b.grid.kind {
		case exponential:
			b.grid.locateExponential(&at, some)
		case linear:
			b.grid.locateLinear(&at, some)
		default:
			for _, x := range some {
				b.add(x)
			}
			continue
		}
		b.addLocated(&at, some)
	}
}

// block is how many values AddBatch looks up at a time.
const block = 256

// addLocated counts xs at the buckets found for them. Those that lie in no bucket and those that are the first
// of their page go the long way.
func (b *Binned) addLocated(at *[block]uint32, xs []float64) {
	pages, n := b.pages, uint32(b.grid.len)
	counted := uint64(0)
	for j, i := range at[:len(xs)] {
		if i < n {
			if p := pages[i>>pageBits]; p != nil {
				p[i&pageMask]++
				counted++
				continue
			}
		}
		b.add(xs[j])
	}
	b.count += counted
}

// locateExponential finds the buckets of values in an exponential grid as far as quick does, before clamping.
func (g *Grid) locateExponential(at *[block]uint32, xs []float64) {
	table, octaves, base := &g.roots.table, &g.roots.octaves, g.base
	for j, x := range xs[:min(block, len(xs))] {
		// As in quick.
		v := math.Float64bits(x)
		k := (v&mantissaMask + table[v>>slotShift%slots]) >> mantissaBits
		at[j] = uint32(int(octaves[v>>mantissaBits]) + (int(k) ^ int(int64(v)>>63)) - base)
	}
}

// locateLinear finds the buckets of values within a linear grid.
func (g *Grid) locateLinear(at *[block]uint32, xs []float64) {
	low, high, perUnit, breaks := g.min, g.max, g.perUnit, g.breaks
	for j, x := range xs[:min(block, len(xs))] {
		i := uint(nowhere)
		if x >= low && x < high {
			// As in inner.
			i = uint(int((x - low) * perUnit))
			for x < breaks[i] {
				i--
			}
			for x >= breaks[i+1] {
				i++
			}
			i++
		}
		at[j] = uint32(i)
	}
}

// All returns the buckets that hold anything and their counts, ascending.
func (b *Binned) All() iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		for at, p := range b.pages {
			if p == nil {
				continue
			}
			for j, n := range p {
				if n > 0 && !yield(at<<pageBits+j, n) {
					return
				}
			}
		}
	}
}

// check returns an error unless the sketches have equal grids.
func (b *Binned) check(o *Binned) error {
	if !b.grid.Equal(o.grid) {
		return fmt.Errorf("%w: %v and %v", ErrGridMismatch, b.grid, o.grid)
	}
	return nil
}

// Merge adds the counts of o, which stays as it is. It returns ErrGridMismatch or ErrOverflow, and
// then changes nothing.
func (b *Binned) Merge(o *Binned) error {
	if err := b.check(o); err != nil {
		return err
	}
	count, nan := b.count, b.nan
	if err := errors.Join(grow(&count, o.count), grow(&nan, o.nan)); err != nil {
		return ErrOverflow
	}
	b.count, b.nan = count, nan
	for at, from := range o.pages {
		if from == nil {
			continue
		}
		to := b.pages[at]
		if to == nil {
			to = new(page)
			b.pages[at] = to
		}
		for j, n := range from {
			to[j] += n
		}
	}
	return nil
}

// Subtract takes the counts of o away, which undoes a merge. It returns ErrGridMismatch, or ErrNotThere
// if a count would fall below zero, and then changes nothing.
func (b *Binned) Subtract(o *Binned) error {
	if err := b.check(o); err != nil {
		return err
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
	for i, n := range o.All() {
		*b.at(i) -= n
	}
	b.count -= o.count
	b.nan -= o.nan
	return nil
}

// Clone returns a copy that shares nothing but the grid.
func (b *Binned) Clone() *Binned {
	c := NewBinned(b.grid)
	c.count, c.nan = b.count, b.nan
	for at, p := range b.pages {
		if p != nil {
			own := *p
			c.pages[at] = &own
		}
	}
	return c
}

// Reset empties the sketch, which keeps its memory.
func (b *Binned) Reset() {
	for _, p := range b.pages {
		if p != nil {
			*p = page{}
		}
	}
	b.count, b.nan = 0, 0
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
