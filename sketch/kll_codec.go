package sketch

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// The form of Apache DataSketches' KLL sketch of doubles, all little-endian, as its Java, C++ and Go libraries have it:
//
//	byte 0   length of the preamble in 4-byte words: 2 if there is at most one value, else 5
//	byte 1   serial version: 1, or 2 for a single value; 3 is the updatable form of Java, which is not read
//	byte 2   family: 15
//	byte 3   flags: 1 empty, 2 level 0 is in order, 4 a single value
//	byte 4   k, 2 bytes
//	byte 6   m, the least capacity of a level: 8
//	byte 7   not used
//	byte 8   a single value, 8 bytes; or the count, 8 bytes, and then:
//	byte 16  the smallest k that was merged, 2 bytes
//	byte 18  the number of levels
//	byte 19  not used
//	byte 20  for each level, 4 bytes: where it begins, if the last one ends at the sum of the capacities
//	         the smallest and the largest value; the items of all levels
const (
	imageFamily = 15

	imageShort   = 2
	imageFull    = 5
	imageVersion = 1
	imageSingle  = 2

	flagEmpty  = 1
	flagSorted = 2
	flagSingle = 4

	imageLevels = 20 // where the levels begin
)

// AppendBinary appends the sketch to dst as Apache DataSketches' KLL sketch of doubles, in the compact form. That
// has no place for NaN, which is left out, nor for the coins. Version 0.2.0 of its Go library cannot read sketches of more
// than 58 levels, which takes weights beyond 2^58, nor lossy ones with k above 32767: it computes both in too few
// bits. AppendBinary returns ErrOverflow if calls of Add have brought the total beyond 2^63−1.
func (s *KLL) AppendBinary(dst []byte) ([]byte, error) {
	n := s.Count()
	if n > maxCount {
		return dst, ErrOverflow
	}
	head := [8]byte{imageShort, imageVersion, imageFamily, flagEmpty, byte(s.k), byte(s.k >> 8), leastCapacity}
	switch n {
	case 0:
		return append(dst, head[:]...), nil
	case 1:
		head[1], head[3] = imageSingle, flagSingle
		dst = append(dst, head[:]...)
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(value(s.items[s.levels[0]]))), nil
	}
	head[0], head[3] = imageFull, 0
	dst = slices.Grow(dst, imageLevels+4*s.height+16+8*s.Retained())
	dst = append(dst, head[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, n)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(s.minK))
	dst = append(dst, byte(s.height), 0)
	for _, start := range s.levels[:s.height] {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(int(start)-len(s.items)+s.capacity))
	}
	low, high := s.extremes()
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(value(low)))
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(value(high)))
	for _, key := range s.items[s.levels[0]:] {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(value(key)))
	}
	return dst, nil
}

// MarshalBinary returns what AppendBinary appends.
func (s *KLL) MarshalBinary() ([]byte, error) { return s.AppendBinary(nil) }

// UnmarshalBinary makes the sketch what AppendBinary wrote, or Apache DataSketches. The bytes may come from anywhere. It
// takes less than 2 KiB, and for the items no more than there are bytes. The NaN count is then 0, and the seed of the
// coins is a hash of the bytes. If it returns an error, which wraps ErrEncoding, the sketch is as before.
func (s *KLL) UnmarshalBinary(data []byte) error {
	read, err := readKLL(data)
	if err != nil {
		return err
	}
	// The last word may overlap the one before it.
	var hash coins
	for i := 0; i < len(data); i += 8 {
		hash.state ^= binary.LittleEndian.Uint64(data[min(i, len(data)-8):])
		hash.state = hash.next()
	}
	read.coins = coins{state: hash.state}
	s.become(read)
	return nil
}

// become makes the sketch another one, which is then no longer used.
func (s *KLL) become(o *KLL) {
	s.items, s.floor, s.levels = o.items, o.floor, o.levels
	s.height, s.capacities, s.capacity = o.height, o.capacities, o.capacity
	s.k, s.minK, s.above, s.nan = o.k, o.minK, o.above, o.nan
	s.min, s.max, s.coins = o.min, o.max, o.coins
	s.changes++
}

func readKLL(data []byte) (*KLL, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("%w: %d bytes, of at least 8", ErrEncoding, len(data))
	}
	words, version, flags := data[0], data[1], data[3]
	if data[2] != imageFamily {
		return nil, fmt.Errorf("%w: family %d at byte 2, where KLL has %d", ErrEncoding, data[2], imageFamily)
	}
	if version != imageVersion && version != imageSingle {
		return nil, fmt.Errorf("%w: serial version %d at byte 1, where only %d and %d are known", ErrEncoding, version, imageVersion, imageSingle)
	}
	if flags&^(flagEmpty|flagSorted|flagSingle) != 0 {
		return nil, fmt.Errorf("%w: unknown flags %#x at byte 3", ErrEncoding, flags)
	}
	k := int(binary.LittleEndian.Uint16(data[4:]))
	if data[6] != leastCapacity {
		return nil, fmt.Errorf("%w: m %d at byte 6, not %d", ErrEncoding, data[6], leastCapacity)
	}
	s, err := NewKLL(k, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w at byte 4", ErrEncoding, err)
	}
	form := [3]byte{words, version, flags &^ flagSorted}
	switch form {
	case [3]byte{imageShort, imageVersion, flagEmpty}:
		if len(data) > 8 {
			return nil, fmt.Errorf("%w: %d bytes, where an empty sketch has 8", ErrEncoding, len(data))
		}
		return s, nil
	case [3]byte{imageShort, imageSingle, flagSingle}:
		if len(data) != 16 {
			return nil, fmt.Errorf("%w: %d bytes, where a sketch of one value has 16", ErrEncoding, len(data))
		}
		s.Add(math.Float64frombits(binary.LittleEndian.Uint64(data[8:])))
		if s.nan > 0 {
			return nil, fmt.Errorf("%w: the value at byte 8 is NaN", ErrEncoding)
		}
		return s, nil
	case [3]byte{imageFull, imageVersion, 0}:
		return s, s.read(data)
	}
	return nil, fmt.Errorf("%w: preamble of %d words, version %d and flags %#x at bytes 0, 1 and 3 do not fit together", ErrEncoding, words, version, flags)
}

// read reads the full form into an empty sketch.
func (s *KLL) read(data []byte) error {
	if len(data) < imageLevels {
		return fmt.Errorf("%w: %d bytes, of at least %d", ErrEncoding, len(data), imageLevels)
	}
	count := binary.LittleEndian.Uint64(data[8:])
	if count == 0 || count > maxCount {
		return fmt.Errorf("%w: count %d at byte 8 is outside 1 to 2^63-1", ErrEncoding, count)
	}
	s.minK = int(binary.LittleEndian.Uint16(data[16:]))
	if s.minK < minK || s.minK > s.k {
		return fmt.Errorf("%w: smallest k %d at byte 16 is outside %d to k, %d", ErrEncoding, s.minK, minK, s.k)
	}
	height := int(data[18])
	if height < 1 || height > maxLevels {
		return fmt.Errorf("%w: %d levels at byte 18, which is outside 1 to %d", ErrEncoding, height, maxLevels)
	}
	s.raise(height)
	extremes := imageLevels + 4*height
	start := extremes + 16
	if len(data) < start {
		return fmt.Errorf("%w: %d bytes, where the items begin at byte %d", ErrEncoding, len(data), start)
	}
	// Where the levels begin, as the offset of the first item.
	first := int(binary.LittleEndian.Uint32(data[imageLevels:]))
	n := s.capacity - first
	if first > s.capacity {
		return fmt.Errorf("%w: level 0 begins at item %d of %d, at byte %d", ErrEncoding, first, s.capacity, imageLevels)
	}
	if have := len(data) - start; have != 8*n {
		return fmt.Errorf("%w: %d bytes of items from byte %d, where %d items have %d", ErrEncoding, have, start, n, 8*n)
	}
	weight := uint64(0)
	for h := range height {
		at := imageLevels + 4*h
		begin, end := int(binary.LittleEndian.Uint32(data[at:]))-first, n
		if h+1 < height {
			end = int(binary.LittleEndian.Uint32(data[at+4:])) - first
		}
		if begin < 0 || end < begin || end > n {
			return fmt.Errorf("%w: level %d is from item %d to %d of %d, at byte %d", ErrEncoding, h, begin, end, n, at)
		}
		s.levels[h], s.levels[h+1] = int32(begin), int32(end)
		size := uint64(end - begin)
		if size > (count-weight)>>h {
			return fmt.Errorf("%w: the %d items of level %d weigh more than is left of the count %d, at byte %d", ErrEncoding, size, h, count, at)
		}
		weight += size << h
	}
	if weight != count {
		return fmt.Errorf("%w: the items weigh %d, where the count at byte 8 is %d", ErrEncoding, weight, count)
	}
	s.above = count - uint64(s.levels[1])
	low, high := readDouble(data, extremes), readDouble(data, extremes+8)
	if !(low <= high) {
		return fmt.Errorf("%w: smallest value %v at byte %d and largest value %v at byte %d", ErrEncoding, low, extremes, high, extremes+8)
	}
	s.min, s.max = order(low), order(high)
	s.items = make([]int64, n)
	for i := range s.items {
		x := readDouble(data, start+8*i)
		if !(x >= low && x <= high) {
			return fmt.Errorf("%w: value %v at byte %d is outside the range %v to %v", ErrEncoding, x, start+8*i, low, high)
		}
		s.items[i] = order(x)
		// Zeros are equal, whatever their signs, and may come in any order.
		if s.min > s.items[i] {
			s.min = s.items[i]
		}
		if s.max < s.items[i] {
			s.max = s.items[i]
		}
	}
	for h := 1; h < height; h++ {
		for i := int(s.levels[h]) + 1; i < int(s.levels[h+1]); i++ {
			if x, before := value(s.items[i]), value(s.items[i-1]); x < before {
				return fmt.Errorf("%w: value %v at byte %d of level %d follows %v", ErrEncoding, x, start+8*i, h, before)
			}
		}
		if level := s.items[s.levels[h]:s.levels[h+1]]; !slices.IsSorted(level) {
			slices.Sort(level)
		}
	}
	return nil
}

func readDouble(data []byte, at int) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(data[at:]))
}

// Proto returns the sketch as a message, with all that it takes to go on: what KLLFromProto makes of it answers, and
// will answer, as the sketch itself. A sketch whose count is beyond 2^63−1 by calls of Add has a message
// that KLLFromProto refuses.
func (s *KLL) Proto() *quietilev1.KLL {
	data, _ := s.AppendBinary(nil)
	return &quietilev1.KLL{
		Datasketches: data,
		NanCount:     s.nan,
		Coins:        &quietilev1.KLLCoins{State: s.coins.state, Bits: s.coins.bits, Owed: s.coins.owed, Last: s.coins.last},
	}
}

// KLLFromProto makes a sketch from a message, which may come from anywhere, with the memory that UnmarshalBinary takes. If the
// message is without coins, their seed is a hash of the bytes. The error wraps ErrEncoding or ErrOverflow.
func KLLFromProto(p *quietilev1.KLL) (*KLL, error) {
	if p == nil {
		return nil, fmt.Errorf("%w: the message is missing", ErrEncoding)
	}
	s := new(KLL)
	if err := s.UnmarshalBinary(p.GetDatasketches()); err != nil {
		return nil, fmt.Errorf("datasketches: %w", err)
	}
	if err := grow(&s.nan, p.GetNanCount()); err != nil {
		return nil, fmt.Errorf("nan_count %d: %w", p.GetNanCount(), err)
	}
	if c := p.GetCoins(); c != nil {
		if c.GetLast()&^c.GetOwed() != 0 {
			return nil, fmt.Errorf("%w: coins: last %#x has levels that owed %#x has not", ErrEncoding, c.GetLast(), c.GetOwed())
		}
		s.coins = coins{state: c.GetState(), bits: c.GetBits(), owed: c.GetOwed(), last: c.GetLast()}
	}
	return s, nil
}
