package sketch

import (
	"iter"
	"math"
	"slices"
)

// The counts of a sketch are in one or two sides: an exponential grid has one for the positive and one for the negative
// values, any other grid has but the first. On a side each bucket has a place, such that the place of a value
// is found from its bits by a few instructions:
//
//   - Exponential: for a value of exponent bits E and mantissa bits m, with j of the boundaries b below m, the place is
//     (E·N + j) >> down, as in roots. This is its k plus a constant, if the value is normal.
//   - Linear and explicit: the number of the bucket.
//
// A side keeps a run of places in a window, one uint64 for each, and any others in blocks of 64 places. The window
// grows to where values are, a block at a time, and moves if they turn out to be mostly elsewhere.

const (
	blockSize = 64
	// maxWindow is the largest number of places in a window: 64 KiB.
	maxWindow = 1 << 13
	// gap is how many places a window may grow by at the first miss. Each further miss adds a block, which would be
	// taken outside of the window otherwise.
	gap = 4 * blockSize
)

// side keeps counts by place.
type side struct {
	window []uint64 // of the places from first on
	// base is what a place as Add finds it is above its index in the window.
	base  uint
	first int
	far   []block // ascending; what is in the window counts zero here
	// low and high bound the places that a window may have: of those all values, and no others, have the place that
	// Add finds.
	low, high int
	shift     int // base − first
	misses    int // additions outside of the window
	patience  int // the misses after which a full window may move
}

// block is the counts of places from a multiple of blockSize on.
type block struct {
	first  int
	counts *[blockSize]uint64
}

// at returns where the count of a place is kept, for adding to it.
func (s *side) at(place int) *uint64 {
	if i := uint(place - s.first); i < uint(len(s.window)) {
		return &s.window[i]
	}
	s.misses++
	if place >= s.low && place < s.high && s.reach(place) {
		return &s.window[place-s.first]
	}
	return s.stray(place)
}

// stray returns where the count of a place outside of the window is kept.
func (s *side) stray(place int) *uint64 {
	first := place &^ (blockSize - 1)
	i, found := s.find(first)
	if !found {
		s.far = slices.Insert(s.far, i, block{first, new([blockSize]uint64)})
	}
	return &s.far[i].counts[place-first]
}

func (s *side) find(first int) (int, bool) {
	return slices.BinarySearchFunc(s.far, first, func(b block, first int) int { return b.first - first })
}

// load returns the count of a place.
func (s *side) load(place int) uint64 {
	if i := uint(place - s.first); i < uint(len(s.window)) {
		return s.window[i]
	}
	first := place &^ (blockSize - 1)
	if i, found := s.find(first); found {
		return s.far[i].counts[place-first]
	}
	return 0
}

// clip leaves to the window no places but those of the buckets from first to last.
func (s *side) clip(g *Grid, first, last int) {
	if first > last {
		s.high = s.low
		return
	}
	_, p := g.place(first)
	_, q := g.place(last)
	s.low, s.high = max(s.low, min(p, q)), min(s.high, max(p, q)+1)
}

// reach makes the window hold a place it may hold, if the values warrant that.
func (s *side) reach(place int) bool {
	first, end := s.union(place, place+1)
	if end-first <= maxWindow {
		if end-first-len(s.window) > gap+blockSize*s.misses {
			return false
		}
		s.move(first, end)
		return true
	}
	if s.misses < s.patience {
		return false
	}
	s.misses, s.patience = 0, 2*s.patience
	if first, end = s.densest(); first != s.first {
		s.move(first, end)
	}
	return uint(place-s.first) < uint(len(s.window))
}

// cover makes the window hold all places from first to below end, if it may.
func (s *side) cover(first, end int) bool {
	if first < s.low || end > s.high {
		return false
	}
	if first >= s.first && end <= s.first+len(s.window) {
		return true
	}
	if first, end = s.union(first, end); end-first > maxWindow {
		return false
	}
	s.move(first, end)
	return true
}

// union returns the places of the window and those given, in whole blocks but for the ends of the side.
func (s *side) union(first, end int) (int, int) {
	if len(s.window) > 0 {
		first, end = min(first, s.first), max(end, s.first+len(s.window))
	}
	return max(first&^(blockSize-1), s.low), min((end+blockSize-1)&^(blockSize-1), s.high)
}

// densest returns the run of maxWindow places that holds the most values.
func (s *side) densest() (first, end int) {
	type entry struct {
		place int
		n     uint64
	}
	var all []entry
	for place, n := range s.ascending() {
		if place >= s.low && place < s.high {
			all = append(all, entry{place, n})
		}
	}
	var most, sum uint64
	tail := 0
	for _, e := range all {
		sum += e.n
		for e.place-all[tail].place >= maxWindow-blockSize { // a start in whole blocks
			sum -= all[tail].n
			tail++
		}
		if sum > most {
			most, first = sum, all[tail].place
		}
	}
	first = max(first&^(blockSize-1), s.low)
	return first, min(first+maxWindow, s.high)
}

// move makes the window be the places from first to below end.
func (s *side) move(first, end int) {
	old, from := s.window, s.first
	s.window, s.first, s.base = make([]uint64, end-first), first, uint(first+s.shift)
	for i, n := range old {
		if n == 0 {
			continue
		}
		if at := uint(from + i - first); at < uint(len(s.window)) {
			s.window[at] = n
		} else {
			*s.stray(from + i) = n
		}
	}
	// What was far is in the window now, or stays.
	s.far = slices.DeleteFunc(s.far, func(b block) bool {
		left := false
		for i, n := range b.counts {
			if at := uint(b.first + i - first); at < uint(len(s.window)) {
				s.window[at] += n
				b.counts[i] = 0
			} else if n > 0 {
				left = true
			}
		}
		return !left
	})
}

// ascending yields the places that hold anything, and their counts.
func (s *side) ascending() iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		i := 0
		for ; i < len(s.far) && s.far[i].first < s.first+len(s.window); i++ {
			if !s.far[i].ascend(math.MinInt, s.first, yield) {
				return
			}
		}
		for j, n := range s.window {
			if n > 0 && !yield(s.first+j, n) {
				return
			}
		}
		for i = max(i-1, 0); i < len(s.far); i++ {
			if !s.far[i].ascend(s.first+len(s.window), math.MaxInt, yield) {
				return
			}
		}
	}
}

// ascend yields what a block holds from one place to below another.
func (b *block) ascend(from, to int, yield func(int, uint64) bool) bool {
	for j, n := range b.counts {
		if place := b.first + j; n > 0 && place >= from && place < to && !yield(place, n) {
			return false
		}
	}
	return true
}

// descending yields what ascending does, from the last place to the first.
func (s *side) descending() iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		i := len(s.far) - 1
		for ; i >= 0 && s.far[i].first+blockSize > s.first+len(s.window); i-- {
			if !s.far[i].descend(s.first+len(s.window), math.MaxInt, yield) {
				return
			}
		}
		for j, n := range slices.Backward(s.window) {
			if n > 0 && !yield(s.first+j, n) {
				return
			}
		}
		for i = min(i+1, len(s.far)-1); i >= 0; i-- {
			if !s.far[i].descend(math.MinInt, s.first, yield) {
				return
			}
		}
	}
}

func (b *block) descend(from, to int, yield func(int, uint64) bool) bool {
	for j, n := range slices.Backward(b.counts[:]) {
		if place := b.first + j; n > 0 && place >= from && place < to && !yield(place, n) {
			return false
		}
	}
	return true
}

// add adds the counts of another side of the same grid.
func (s *side) add(o *side) {
	if len(o.window) > 0 {
		s.addWindow(o)
	}
	for _, f := range o.far {
		for i, n := range f.counts {
			if n > 0 {
				*s.at(f.first + i) += n
			}
		}
	}
}

// addWindow adds the window of another side.
func (s *side) addWindow(o *side) {
	window, first := o.window, o.first
	if at := first - s.first; at < 0 || at+len(window) > len(s.window) {
		// What is empty at the ends need not be covered.
		for len(window) > 0 && window[0] == 0 {
			window = window[1:]
			first++
		}
		for len(window) > 0 && window[len(window)-1] == 0 {
			window = window[:len(window)-1]
		}
		if !s.cover(first, first+len(window)) {
			for i, n := range window {
				if n > 0 {
					*s.at(first + i) += n
				}
			}
			return
		}
	}
	to := s.window[first-s.first:][:len(window)]
	for len(window) >= 4 && len(to) >= 4 {
		to[0] += window[0]
		to[1] += window[1]
		to[2] += window[2]
		to[3] += window[3]
		to, window = to[4:], window[4:]
	}
	for i, n := range window {
		to[i] += n
	}
}
