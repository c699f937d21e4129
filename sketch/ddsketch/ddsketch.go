// Package ddsketch converts sketches to and from DataDog's DDSketch, in its protobuf form.
//
// A DDSketch of base γ numbers its buckets by powers of γ, so that for γ = 2^(2^-s) and a whole index offset they are
// those of an exponential grid of scale s. Theirs hold the lower boundary in magnitude, and are found by logarithms in
// float64; ours hold the upper one. So counts go over bucket by bucket, and:
//
//   - Scales −4 to 8, the grids of [sketch.NewExponential]: no count changes, both ways. A value within 3·10⁻¹⁰ of a
//     boundary, relative to it, may be in the bucket on the other side of the boundary than if it had been added
//     afterwards.
//   - Every other γ, index offset and interpolation is read into an explicit grid with the boundaries of that mapping, and no count
//     changes. A value within 10⁻¹² of a boundary may be in the bucket on the other side, by rounding.
//   - What a DDSketch counts as zero is read as zero: values up to γ·2^-1022 from it.
//   - [sketch.NewBoundedExponential]: as the unbounded grid, except that what is outside of its limits is written to the
//     buckets next to the outermost ones. Reading gives an unbounded grid.
//   - Infinities are written to the first bucket beyond float64's range, and read back from there. DDSketch itself does
//     not count them.
//
// Sketches that were read from equal mappings have equal grids, and so merge, if γ is at least 1.00136 (which is a relative
// accuracy of 0.07 %). With finer ones the grid is of the buckets that hold anything. Boundaries that take a logarithm may
// differ in their last bit between processor architectures; [sketch.Binned.Rebin] brings such sketches together.
package ddsketch

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/quietile/quietile/internal/wire"
	"github.com/quietile/quietile/sketch"
)

var (
	// ErrNaN says that a sketch has NaN, which a DDSketch does not count.
	ErrNaN = errors.New("a DDSketch has no place for NaN")
	// ErrCount says that a count has no equal as a float64, which the counts of a DDSketch are, or as a whole number, which ours are.
	ErrCount = errors.New("a count that has no equal")
)

const (
	coarsestScale = -4
	finestScale   = 8
)

// The numbers of the fields of the messages DDSketch, IndexMapping and Store, and of the entries of a Store's map.
const (
	fieldMapping   = 1
	fieldPositive  = 2
	fieldNegative  = 3
	fieldZeroCount = 4

	fieldGamma         = 1
	fieldIndexOffset   = 2
	fieldInterpolation = 3

	fieldSparse     = 1
	fieldContiguous = 2
	fieldFirst      = 3

	fieldKey   = 1
	fieldValue = 2
)

// Marshal returns the bytes of the message DDSketch with the counts of a sketch on an exponential grid. Its mapping is
// logarithmic with γ = 2^(2^-scale) and index offset 0. Equal sketches give equal bytes.
//
// It returns an error that wraps [sketch.ErrGrid], and names the grid, for any other; for such call
// [sketch.Binned.Rebin] with an exponential grid, which moves each value by a bucket's width at most. It returns [ErrNaN] if the sketch
// has NaN, [ErrCount] for a count above 2^53 that is not a float64, and [sketch.ErrOverflow] for more than 2^63−1 values.
func Marshal(b *sketch.Binned) ([]byte, error) {
	scale, ok := b.Grid().Scale()
	if !ok {
		return nil, fmt.Errorf("%w %v is not exponential, as that of a DDSketch is: Rebin the sketch onto a grid that is", sketch.ErrGrid, b.Grid())
	}
	if n := b.NaNCount(); n > 0 {
		return nil, fmt.Errorf("%w: there are %d", ErrNaN, n)
	}
	if b.Count() > math.MaxInt64 {
		return nil, sketch.ErrOverflow
	}
	var zero float64
	var positive, negative []bin
	for i, n := range b.All() {
		count := float64(n)
		if uint64(count) != n {
			lower, upper := b.Grid().Bounds(i)
			return nil, fmt.Errorf("%w: %d from %v to %v is not a float64", ErrCount, n, lower, upper)
		}
		switch sign, k := b.Grid().Power(i); sign {
		case 0:
			zero = count
		case 1:
			positive = append(positive, bin{k, count})
		default:
			negative = append(negative, bin{k, count})
		}
	}
	slices.Reverse(negative)
	mapping := appendDouble(nil, fieldGamma, gammaOf(scale))
	out := protowire.AppendBytes(protowire.AppendTag(nil, fieldMapping, protowire.BytesType), mapping)
	out = appendStore(out, fieldPositive, positive)
	out = appendStore(out, fieldNegative, negative)
	return appendDouble(out, fieldZeroCount, zero), nil
}

// bin is a bucket of a DDSketch.
type bin struct {
	number int
	count  float64
}

func appendDouble(dst []byte, field protowire.Number, x float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(dst, field, protowire.Fixed64Type), math.Float64bits(x))
}

// sparseBytes is about what a bin takes in the sparse form.
const sparseBytes = 14

// appendStore appends bins, which ascend, in the form that takes fewer bytes.
func appendStore(dst []byte, field protowire.Number, bins []bin) []byte {
	if len(bins) == 0 {
		return dst
	}
	var store []byte
	first, last := bins[0].number, bins[len(bins)-1].number
	if 8*(last-first+1) <= sparseBytes*len(bins) {
		store = protowire.AppendTag(store, fieldContiguous, protowire.BytesType)
		store = protowire.AppendVarint(store, uint64(8*(last-first+1)))
		next := first
		for _, b := range bins {
			for ; next < b.number; next++ {
				store = protowire.AppendFixed64(store, 0)
			}
			store = protowire.AppendFixed64(store, math.Float64bits(b.count))
			next++
		}
		store = protowire.AppendTag(store, fieldFirst, protowire.VarintType)
		store = protowire.AppendVarint(store, protowire.EncodeZigZag(int64(first)))
	} else {
		for _, b := range bins {
			entry := protowire.AppendTag(nil, fieldKey, protowire.VarintType)
			entry = protowire.AppendVarint(entry, protowire.EncodeZigZag(int64(b.number)))
			entry = appendDouble(entry, fieldValue, b.count)
			store = protowire.AppendBytes(protowire.AppendTag(store, fieldSparse, protowire.BytesType), entry)
		}
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), store)
}

// Unmarshal returns the sketch of the bytes of a message DDSketch, which may come from anywhere, as the package's
// comment says. It returns an error that wraps [sketch.ErrEncoding], and says where, for damaged bytes, a mapping that is none
// and a bucket that holds no float64; [ErrCount] for a count that is not whole; [sketch.ErrOverflow] for a total beyond 2^63−1;
// and [sketch.ErrGrid] for a γ so near to 1 that neighbouring boundaries are one float64.
//
// It takes memory for at most 200 bytes for each byte, and 64 MiB, which is for the explicit grids of fine mappings.
func Unmarshal(data []byte) (*sketch.Binned, error) {
	var m mapping
	var positive, negative store
	zero := 0.0
	for f, err := range wire.Fields(data, sketch.ErrEncoding) {
		if err != nil {
			return nil, err
		}
		switch f.Number {
		case fieldMapping:
			m.seen = true
			err = m.read(f)
		case fieldPositive:
			err = positive.read(f)
		case fieldNegative:
			err = negative.read(f)
		case fieldZeroCount:
			zero, err = f.Double()
		}
		if err != nil {
			return nil, err
		}
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	var filled []int
	for _, side := range []*store{&positive, &negative} {
		side.finish()
		for _, b := range side.bins {
			filled = append(filled, b.number)
		}
	}
	grid, bucket, err := m.grid(filled)
	if err != nil {
		return nil, err
	}
	to := sketch.NewBinned(grid)
	add := func(name string, i int, count float64) error {
		if !(count >= 0) || count != math.Trunc(count) || count >= 1<<63 {
			return fmt.Errorf("%w: %s has %v, where only whole numbers from 0 to below 2^63 are counts", ErrCount, name, count)
		}
		if err := to.AddBucket(i, uint64(count)); err != nil {
			return fmt.Errorf("%s with the count %v: %w", name, count, err)
		}
		return nil
	}
	if err := add("zeroCount", grid.Index(0), zero); err != nil {
		return nil, err
	}
	for _, side := range []struct {
		name string
		sign int
		bins []bin
	}{{"positiveValues", 1, positive.bins}, {"negativeValues", -1, negative.bins}} {
		for _, b := range side.bins {
			name := fmt.Sprintf("%s bin %d", side.name, b.number)
			i, ok := bucket(side.sign, b.number)
			if !ok {
				return nil, fmt.Errorf("%w: %s with the count %v holds no float64", sketch.ErrEncoding, name, b.count)
			}
			if err := add(name, i, b.count); err != nil {
				return nil, err
			}
		}
	}
	return to, nil
}

// grid returns a grid with the buckets of the mapping, and where they are in it. filled are the buckets with counts.
func (m *mapping) grid(filled []int) (*sketch.Grid, func(sign, number int) (int, bool), error) {
	if scale, shift, ok := m.scale(); ok {
		g, err := sketch.NewExponential(scale)
		if err != nil {
			return nil, nil, err
		}
		return g, func(sign, number int) (int, bool) { return g.PowerIndex(sign, number-shift) }, nil
	}
	first, last := m.ends()
	for _, i := range filled {
		if float64(i) < first || float64(i) > last {
			return nil, nil, fmt.Errorf("%w: bin %d holds no float64 that is not subnormal, with gamma %v and indexOffset %v",
				sketch.ErrEncoding, i, m.gamma, m.offset)
		}
	}
	b, err := m.boundaries(filled)
	if err != nil {
		return nil, nil, err
	}
	return b.grid, b.bucket, nil
}

func (m *mapping) read(message wire.Field) error {
	for f, err := range message.Message() {
		if err != nil {
			return err
		}
		switch f.Number {
		case fieldGamma:
			m.gamma, err = f.Double()
		case fieldIndexOffset:
			m.offset, err = f.Double()
		case fieldInterpolation:
			m.interpolation, err = f.Uint64()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// store is the counts of one sign.
type store struct {
	bins       []bin // without empty ones
	contiguous []float64
	first      int
}

func (s *store) read(message wire.Field) error {
	for f, err := range message.Message() {
		if err != nil {
			return err
		}
		switch f.Number {
		case fieldSparse:
			err = s.readEntry(f)
		case fieldContiguous:
			s.contiguous, err = f.AppendDoubles(s.contiguous)
		case fieldFirst:
			var first int32
			first, err = f.Sint32()
			s.first = int(first)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *store) readEntry(message wire.Field) error {
	var number int32
	var count float64
	for f, err := range message.Message() {
		if err != nil {
			return err
		}
		switch f.Number {
		case fieldKey:
			number, err = f.Sint32()
		case fieldValue:
			count, err = f.Double()
		}
		if err != nil {
			return err
		}
	}
	if count != 0 {
		s.bins = append(s.bins, bin{int(number), count})
	}
	return nil
}

// finish moves the contiguous counts to the others. A bin in both forms has both counts.
func (s *store) finish() {
	filled := 0
	for _, count := range s.contiguous {
		if count != 0 {
			filled++
		}
	}
	s.bins = slices.Grow(s.bins, filled)
	for i, count := range s.contiguous {
		if count != 0 {
			s.bins = append(s.bins, bin{s.first + i, count})
		}
	}
	s.contiguous = nil
}
