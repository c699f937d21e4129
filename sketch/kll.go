package sketch

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
)

// DefaultK is the usual size of a [KLL]: a rank error of 1.33 % with 99 % confidence, in some 5 KiB.
const DefaultK = 200

const (
	minK = 8
	maxK = 1<<16 - 1
	// leastCapacity is the capacity of the lowest levels. DataSketches calls it m.
	leastCapacity = 8
	// maxLevels is enough for a total weight of 2^63−1: level 62 holds items of weight 2^62, too few to be halved.
	maxLevels = 63
)

// KLL is a sketch of values that needs no grid: it keeps some of the values, each for 2^level of them, and answers
// quantiles with a bounded error of rank. It is the sketch of Karnin, Lang and Liberty, "Optimal quantile approximation
// in streams" (FOCS 2016), section 4, with the level capacities of Apache DataSketches, whose bytes it reads and writes.
// It keeps at most about 3·k values, and 8 more for each doubling of their number. NaN is counted apart; infinities are
// values like others; zeros of both signs are the same value.
//
// When there is no more room, the lowest level that is full is sorted, and every second of its items goes one level up;
// a coin decides which half goes. The coins follow from a seed: equal calls give equal sketches. Two
// halvings of a level that follow each other take opposite halves, which keeps each of them fair and halves
// the variance of the error (Ivkin et al., "Streaming quantiles algorithms with small space and update time", 2019). The seed
// is no secret. Sketches that will be merged should have different seeds.
//
// Which values are kept depends on the data, so that nothing private can be released from a KLL.
//
// It is not safe for concurrent use, except that any number of goroutines may ask at once while none changes it. It comes from
// [NewKLL] or [KLLFromProto], or from UnmarshalBinary of the zero value, which is of no other use.
type KLL struct {
	// items holds, from levels[0] on, the level 0, which is in no order, and then the other levels, in ascending order
	// each: level h is items[levels[h]:levels[h+1]], and the last level ends where items does. The items are the order
	// keys of the values.
	items  []int64
	floor  int32 // what levels[0] must not fall below, or there are more than capacity items
	levels [maxLevels + 1]int32

	height     int     // how many levels there are, at least one
	capacities []int32 // of each level
	capacity   int     // of all levels

	k, minK int    // minK is the smallest k of what was merged
	above   uint64 // the total weight of the levels above 0
	nan     uint64
	min     int64 // of all values that are not in level 0; more than max if there are none
	max     int64
	coins   coins
	changes uint64 // how often anything but level 0 changed
	cached  atomic.Pointer[view]
}

// NewKLL returns an empty sketch of size k, from 8 to 65535. The error is about proportional to 1/k, the memory to k, which
// it takes as the values come.
func NewKLL(k int, seed uint64) (*KLL, error) {
	if k < minK || k > maxK {
		return nil, fmt.Errorf("k %d is outside %d to %d", k, minK, maxK)
	}
	s := &KLL{k: k}
	s.reset()
	s.coins = coins{state: seed}
	return s, nil
}

// reset empties the sketch, apart from its coins.
func (s *KLL) reset() {
	s.minK, s.above, s.nan = s.k, 0, 0
	s.min, s.max = math.MaxInt64, math.MinInt64
	s.height = 0
	s.levels[0] = int32(len(s.items))
	s.raise(1)
	s.changes++
}

// raise adds empty levels at the top until there are so many.
func (s *KLL) raise(height int) {
	for i := s.height; i < height; i++ {
		s.levels[i+1] = int32(len(s.items))
	}
	s.height, s.capacity = height, 0
	s.capacities = slices.Grow(s.capacities[:0], height)[:height]
	// The level that is d below the top holds k·(2/3)^d items, rounded.
	power := uint64(1)
	for d := range height {
		c := leastCapacity
		if d <= 30 {
			c = max(c, int((uint64(2*s.k)<<d/power+1)/2))
			power *= 3
		}
		s.capacities[height-1-d] = int32(c)
		s.capacity += c
	}
	s.floor = int32(max(0, len(s.items)-s.capacity))
}

// order returns the key of a value: keys have the order of values.
func order(x float64) int64 {
	b := int64(math.Float64bits(x))
	return b ^ int64(uint64(b>>63)>>1)
}

// value is the inverse of order.
func value(key int64) float64 { return math.Float64frombits(uint64(key ^ int64(uint64(key>>63)>>1))) }

// K returns the size that the sketch was made with.
func (s *KLL) K() int { return s.k }

// Count returns how many values were added, without NaN: the total weight.
func (s *KLL) Count() uint64 { return s.above + uint64(s.levels[1]-s.levels[0]) }

// NaNCount returns how many of the values offered were NaN.
func (s *KLL) NaNCount() uint64 { return s.nan }

// Retained returns how many values the sketch keeps.
func (s *KLL) Retained() int { return len(s.items) - int(s.levels[0]) }

// Add counts a value. It takes constant time when averaged over many calls, and allocates only while the sketch grows. It
// does not look for overflow.
func (s *KLL) Add(x float64) {
	if x != x {
		s.nan++
		return
	}
	at := s.levels[0]
	if at <= s.floor {
		at = s.room()
	}
	at--
	s.items[at] = order(x)
	s.levels[0] = at
}

// AddBatch counts each of the values, as Add does.
func (s *KLL) AddBatch(xs []float64) {
	for len(xs) > 0 {
		at := s.levels[0]
		if at <= s.floor {
			at = s.room()
		}
		items := s.items[s.floor:at]
		n := len(items)
		some := xs[:min(len(xs), n)]
		for _, x := range some {
			if x != x {
				s.nan++
				continue
			}
			n--
			items[n] = order(x)
		}
		s.levels[0] = s.floor + int32(n)
		xs = xs[len(some):]
	}
}

// AddN counts a value n times: one item for each digit 1 of the binary n, in the level of that digit, so that it
// is exact as long as the sketch is not full. It returns ErrOverflow, and counts nothing, if the total would exceed 2^63−1. It
// takes the time to move the items of the lower levels, for each of the at most 63 digits.
func (s *KLL) AddN(x float64, n uint64) error {
	if x != x {
		return grow(&s.nan, n)
	}
	if total := s.Count(); grow(&total, n) != nil {
		return ErrOverflow
	}
	key := order(x)
	for ; n != 0; n &= n - 1 {
		s.insert(key, bits.TrailingZeros64(n))
	}
	return nil
}

// insert adds an item to a level.
func (s *KLL) insert(key int64, level int) {
	if level >= s.height {
		s.raise(level + 1)
	}
	if s.levels[0] <= s.floor {
		s.room()
	}
	at := s.levels[level]
	if level > 0 {
		s.above += 1 << level
		s.min, s.max = min(s.min, key), max(s.max, key)
		n, _ := slices.BinarySearch(s.items[at:s.levels[level+1]], key)
		at += int32(n)
		s.changes++
	}
	copy(s.items[s.levels[0]-1:], s.items[s.levels[0]:at])
	s.items[at-1] = key
	for i := range level + 1 {
		s.levels[i]--
	}
}

// room makes room for at least one item, by taking more memory as long as there may be more items, and then by halving a
// level. It returns levels[0].
//
//go:noinline
func (s *KLL) room() int32 {
	if have := len(s.items); have < s.capacity {
		s.resize(min(s.capacity, max(2*have, 2*leastCapacity)))
	} else {
		s.compact()
	}
	return s.levels[0]
}

// resize moves the items to memory for n of them.
func (s *KLL) resize(n int) {
	items := make([]int64, n)
	more := int32(n - len(s.items))
	copy(items[s.levels[0]+more:], s.items[s.levels[0]:])
	s.items = items
	for i := range s.height + 1 {
		s.levels[i] += more
	}
	s.floor = int32(max(0, n-s.capacity))
}

// compact halves the lowest level that is full. There is one if there are as many items as may be.
func (s *KLL) compact() {
	level := 0
	for s.levels[level+1]-s.levels[level] < s.capacities[level] {
		level++
	}
	if level == s.height-1 {
		s.raise(s.height + 1)
	}
	s.halve(level)
}

// halve moves every second item of a level, which has at least two, one level up. With an odd number, the first item
// stays; in level 0 it is the latest.
func (s *KLL) halve(level int) {
	s.changes++
	items := s.items
	low, high := s.levels[level], s.levels[level+1]
	odd := (high - low) & 1
	if level == 0 {
		sortKeys(items[low+odd : high])
		s.min, s.max = min(s.min, items[low+odd]), max(s.max, items[high-1])
		s.above += uint64(high - low - odd)
	}
	low += odd
	half := (high - low) / 2
	coin := int32(s.coins.flip(level))
	from := items[low+coin:]
	to := items[low : low+half]
	for i := range to {
		to[i] = from[2*i]
	}
	// The halved run is now at low, free space follows, and then the level above.
	mergeDown(items[low+half:s.levels[level+2]], to)
	// What stays moves up.
	copy(items[s.levels[0]+half:], items[s.levels[0]:low])
	for i := range level + 1 {
		s.levels[i] += half
	}
	s.levels[level+1] = high - half
}

// Merge adds the values of others, which stay as they are. The sketch keeps its k; as in DataSketches, the
// error is then that of the smallest k of all that no longer hold every value. It returns ErrOverflow, and then
// changes nothing, if a count would exceed 2^63−1. It allocates only while the sketch grows, which may be to twice the usual
// memory.
func (s *KLL) Merge(others ...*KLL) error {
	count, nan := s.Count(), s.nan
	for _, o := range others {
		if grow(&count, o.Count()) != nil || grow(&nan, o.nan) != nil {
			return ErrOverflow
		}
	}
	if slices.Contains(others, s) {
		before := s.Clone()
		others = slices.Clone(others)
		for i, o := range others {
			if o == s {
				others[i] = before
			}
		}
	}
	for _, o := range others {
		s.merge(o)
	}
	return nil
}

func (s *KLL) merge(o *KLL) {
	s.nan += o.nan
	if o.Retained() == 0 {
		return
	}
	if o.height > 1 {
		s.minK = min(s.minK, o.minK)
	}
	s.above += o.above
	s.min, s.max = min(s.min, o.min), max(s.max, o.max)
	if s.height < o.height {
		s.raise(o.height)
	}
	all := s.Retained() + o.Retained()
	if all > len(s.items) {
		s.resize(all)
	}
	// Each level moves down to where there will be as many items below as both have. What is written is never beyond
	// what is still to be read.
	at := len(s.items) - all
	for h := range s.height {
		own := s.items[s.levels[h]:s.levels[h+1]]
		var other []int64
		if h < o.height {
			other = o.items[o.levels[h]:o.levels[h+1]]
		}
		s.levels[h] = int32(at)
		to := s.items[at : at+len(own)+len(other)]
		if h == 0 {
			copy(to[copy(to, own):], other)
		} else {
			mergeKeys(to, other, own)
		}
		at += len(to)
	}
	s.changes++
	for s.Retained() > s.capacity {
		s.compact()
	}
}

// Clone returns a copy that shares nothing. Both go on with the same coins.
func (s *KLL) Clone() *KLL {
	c := &KLL{
		items: slices.Clone(s.items[s.levels[0]:]), levels: s.levels, height: s.height, capacities: slices.Clone(s.capacities),
		capacity: s.capacity, k: s.k, minK: s.minK, above: s.above, nan: s.nan, min: s.min, max: s.max, coins: s.coins,
	}
	for i := range c.height + 1 {
		c.levels[i] -= s.levels[0]
	}
	return c
}

// Reset empties the sketch, which keeps its memory, and goes on with its coins.
func (s *KLL) Reset() { s.reset() }

// Equal says whether two sketches hold the same: k, counts, smallest and largest value, and the same items in each
// level. Their coins may differ.
func (s *KLL) Equal(o *KLL) bool {
	if s.k != o.k || s.minK != o.minK || s.nan != o.nan || s.above != o.above || s.height != o.height || s.Retained() != o.Retained() {
		return false
	}
	if s.Retained() == 0 {
		return true
	}
	low, high := s.extremes()
	otherLow, otherHigh := o.extremes()
	if low != otherLow || high != otherHigh {
		return false
	}
	a, b := s.lowest(), o.lowest()
	if !slices.Equal(a, b) || s.levels[1]-s.levels[0] != o.levels[1]-o.levels[0] {
		return false
	}
	for h := 1; h < s.height; h++ {
		if !slices.Equal(s.items[s.levels[h]:s.levels[h+1]], o.items[o.levels[h]:o.levels[h+1]]) {
			return false
		}
	}
	return true
}

// lowest returns a sorted copy of level 0.
func (s *KLL) lowest() []int64 {
	keys := slices.Clone(s.items[s.levels[0]:s.levels[1]])
	slices.Sort(keys)
	return keys
}

// extremes returns the smallest and largest key of all values, of which there is at least one.
func (s *KLL) extremes() (low, high int64) {
	low, high = s.min, s.max
	for _, key := range s.items[s.levels[0]:s.levels[1]] {
		low, high = min(low, key), max(high, key)
	}
	return low, high
}

// String returns k, the counts, how many values are kept, and in how many levels.
func (s *KLL) String() string {
	return fmt.Sprintf("kll(%d): %d values, %d kept, height %d, %d NaN", s.k, s.Count(), s.Retained(), s.height, s.nan)
}

// coins are fair coins: SplitMix64 (Steele, Lea and Flood, 2014), a bit for each. Two coins of a level that follow each
// other are opposite.
type coins struct {
	state uint64
	bits  uint64 // the bits that are left, below the highest one; 0 or 1 if none
	owed  uint64 // for each level, whether the next coin is the opposite of the last
	last  uint64 // for each level, the last coin; 0 unless owed
}

func (c *coins) flip(level int) uint64 {
	if c.owed>>level&1 != 0 {
		last := c.last >> level & 1
		c.owed &^= 1 << level
		c.last &^= 1 << level
		return last ^ 1
	}
	if c.bits <= 1 {
		c.bits = c.next() | 1<<63
	}
	coin := c.bits & 1
	c.bits >>= 1
	c.owed |= 1 << level
	c.last |= coin << level
	return coin
}

func (c *coins) next() uint64 {
	c.state += 0x9e3779b97f4a7c15
	z := c.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
