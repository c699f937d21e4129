package sketch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// ErrEncoding is wrapped by every error about bytes or messages that are no sketch; the text says what
// is wrong and where.
var ErrEncoding = errors.New("not a sketch")

// Proto returns the sketch as a message. Equal sketches give equal messages.
func (b *Binned) Proto() *quietilev1.Sketch {
	p := &quietilev1.Sketch{Grid: b.grid.Proto(), NanCount: b.nan}
	next := 0
	for i, n := range b.All() {
		p.Gaps = append(p.Gaps, uint32(i-next))
		p.Counts = append(p.Counts, n)
		next = i + 1
	}
	return p
}

// FromProto makes a sketch from a message, which may come from anywhere. It takes memory for the
// grid and for as many pages of buckets as the message has counts, no more.
func FromProto(p *quietilev1.Sketch) (*Binned, error) {
	if p == nil {
		return nil, fmt.Errorf("%w: the message is missing", ErrEncoding)
	}
	g, err := GridFromProto(p.GetGrid())
	if err != nil {
		return nil, err
	}
	if len(p.GetGaps()) != len(p.GetCounts()) {
		return nil, fmt.Errorf("%w: %d gaps for %d counts", ErrEncoding, len(p.GetGaps()), len(p.GetCounts()))
	}
	b := NewBinned(g)
	if err := grow(&b.nan, p.GetNanCount()); err != nil {
		return nil, fmt.Errorf("nan_count %d: %w", p.GetNanCount(), err)
	}
	next := uint64(0)
	for i, gap := range p.GetGaps() {
		if next, err = b.addGap(next, uint64(gap), p.GetCounts()[i]); err != nil {
			return nil, fmt.Errorf("count %d: %w", i, err)
		}
	}
	return b, nil
}

// addGap adds n to the bucket that is gap after next, and returns the number of the one after it.
func (b *Binned) addGap(next, gap, n uint64) (uint64, error) {
	if gap >= uint64(b.grid.len)-next {
		return 0, fmt.Errorf("%w: a gap of %d buckets after bucket %d leaves a grid with %d", ErrEncoding, gap, next, b.grid.len)
	}
	if n == 0 {
		return 0, fmt.Errorf("%w: bucket %d has the count 0", ErrEncoding, next+gap)
	}
	return next + gap + 1, b.AddBucket(int(next+gap), n)
}

// AppendProto appends to dst the bytes of the message that Proto returns, as the deterministic marshaller writes them,
// without making the message.
func (b *Binned) AppendProto(dst []byte) []byte {
	gaps, counts, next := 0, 0, 0
	for i, n := range b.All() {
		gaps += protowire.SizeVarint(uint64(i - next))
		counts += protowire.SizeVarint(n)
		next = i + 1
	}
	grid := b.grid.appendProto(nil)
	dst = protowire.AppendBytes(protowire.AppendTag(dst, 1, protowire.BytesType), grid)
	if gaps > 0 {
		dst = slices.Grow(dst, gaps+counts+32)
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 2, protowire.BytesType), uint64(gaps))
		next = 0
		for i := range b.All() {
			dst = protowire.AppendVarint(dst, uint64(i-next))
			next = i + 1
		}
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 3, protowire.BytesType), uint64(counts))
		for _, n := range b.All() {
			dst = protowire.AppendVarint(dst, n)
		}
	}
	if b.nan > 0 {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 4, protowire.VarintType), b.nan)
	}
	return dst
}

func (g *Grid) appendProto(dst []byte) []byte {
	double := func(dst []byte, field protowire.Number, x float64) []byte {
		return protowire.AppendFixed64(protowire.AppendTag(dst, field, protowire.Fixed64Type), math.Float64bits(x))
	}
	var field protowire.Number
	var in []byte
	switch g.kind {
	case exponential:
		field = 1
		if g.scale != 0 {
			in = protowire.AppendVarint(protowire.AppendTag(in, 1, protowire.VarintType), protowire.EncodeZigZag(int64(g.scale)))
		}
		if g.bounded {
			in = double(double(in, 2, g.min), 3, g.max)
		}
	case linear:
		field = 2
		if g.min != 0 {
			in = double(in, 1, g.min)
		}
		if g.max != 0 {
			in = double(in, 2, g.max)
		}
		in = protowire.AppendVarint(protowire.AppendTag(in, 3, protowire.VarintType), uint64(g.len-2))
	default:
		field = 3
		in = protowire.AppendVarint(protowire.AppendTag(in, 1, protowire.BytesType), uint64(8*len(g.breaks)))
		for _, x := range g.breaks {
			in = protowire.AppendFixed64(in, math.Float64bits(x))
		}
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), in)
}

// The compact form of a sketch: the byte Q, a version byte, the grid and the counts. The grid is a byte for its kind and
//
//	0, unbounded exponential:  scale, zigzag
//	1, bounded exponential:    scale, zigzag; min; max
//	2, linear:                 lower; upper; bins
//	3, explicit:               the number of breaks; each break
//
// with integers as varints and float64 as eight bytes, the low one first. The counts are the NaN count and the
// number of buckets that hold anything, as varints, and the bits that bits.go describes.
const (
	binaryMagic   = 'Q'
	binaryVersion = 1
	// countsVersion is the first byte of counts on their own.
	countsVersion = 1
)

// AppendBinary appends the sketch to dst in a compact form. Equal sketches give equal bytes. It returns ErrOverflow if
// calls of Add have brought the total beyond 2^63−1, which no reader would take.
func (b *Binned) AppendBinary(dst []byte) ([]byte, error) {
	if b.count > maxCount || b.nan > maxCount {
		return dst, ErrOverflow
	}
	dst = append(dst, binaryMagic, binaryVersion)
	double := func(x float64) { dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(x)) }
	g := b.grid
	switch {
	case g.kind == exponential && !g.bounded:
		dst = binary.AppendVarint(append(dst, 0), int64(g.scale))
	case g.kind == exponential:
		dst = binary.AppendVarint(append(dst, 1), int64(g.scale))
		double(g.min)
		double(g.max)
	case g.kind == linear:
		dst = append(dst, 2)
		double(g.min)
		double(g.max)
		dst = binary.AppendUvarint(dst, uint64(g.len-2))
	default:
		dst = binary.AppendUvarint(append(dst, 3), uint64(len(g.breaks)))
		for _, x := range g.breaks {
			double(x)
		}
	}
	return b.appendCounts(dst), nil
}

// MarshalBinary returns what AppendBinary appends.
func (b *Binned) MarshalBinary() ([]byte, error) { return b.AppendBinary(nil) }

// UnmarshalBinary makes the sketch what AppendBinary wrote. The bytes may come from anywhere. It takes memory for the
// grid, which is at most 16 MiB, and at most 600 bytes for each byte. If it returns an error, which wraps
// ErrEncoding or ErrGrid, the sketch is as before.
func (b *Binned) UnmarshalBinary(data []byte) error {
	if len(data) < 3 {
		return fmt.Errorf("%w: %d bytes", ErrEncoding, len(data))
	}
	if data[0] != binaryMagic {
		return fmt.Errorf("%w: the byte 0 is %#x, not %#x", ErrEncoding, data[0], binaryMagic)
	}
	if data[1] != binaryVersion {
		return fmt.Errorf("%w: version %d at byte 1, where only %d is known", ErrEncoding, data[1], binaryVersion)
	}
	r := &byteReader{data: data, at: 2}
	g, err := r.grid()
	if err != nil {
		return err
	}
	read := NewBinned(g)
	if err := read.readCounts(r); err != nil {
		return err
	}
	*b = *read
	return nil
}

// AppendCounts appends the counts, without the grid, to dst in a compact form. Equal sketches give
// equal bytes.
func (b *Binned) AppendCounts(dst []byte) []byte { return b.appendCounts(append(dst, countsVersion)) }

func (b *Binned) appendCounts(dst []byte) []byte {
	filled := uint64(0)
	for range b.All() {
		filled++
	}
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, b.nan), filled)
	w := bitWriter{dst: dst}
	var d differences
	next := 0
	for i, n := range b.All() {
		w.count(&d, uint64(i-next), n)
		next = i + 1
	}
	return w.finish()
}

// AddCounts adds counts that AppendCounts wrote for a sketch on an equal grid. The bytes may come from
// anywhere; if it returns an error the sketch is as before.
func (b *Binned) AddCounts(data []byte) error {
	r, err := counts(data)
	if err != nil {
		return err
	}
	add := NewBinned(b.grid)
	if err := add.readCounts(r); err != nil {
		return err
	}
	return b.Merge(add)
}

// readCounts adds counts to an empty sketch.
func (b *Binned) readCounts(r *byteReader) error {
	var filled uint64
	var err error
	if b.nan, filled, err = r.head(); err != nil {
		return err
	}
	in := bitReader{data: r.data, at: r.at}
	var d differences
	next := uint64(0)
	for range filled {
		gap, n, err := in.count(&d)
		if err != nil {
			return err
		}
		if next, err = b.addGap(next, gap, n); err != nil {
			return fmt.Errorf("before byte %d: %w", in.where()+1, err)
		}
	}
	return in.end()
}

// byteReader reads the compact form as far as it is bytes.
type byteReader struct {
	data []byte
	at   int
}

// counts returns a reader behind the version byte of counts on their own.
func counts(data []byte) (*byteReader, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: no bytes", ErrEncoding)
	}
	if data[0] != countsVersion {
		return nil, fmt.Errorf("%w: version %d at byte 0, where only %d is known", ErrEncoding, data[0], countsVersion)
	}
	return &byteReader{data: data, at: 1}, nil
}

// head returns the NaN count, and how many buckets hold anything.
func (r *byteReader) head() (nan, filled uint64, err error) {
	at := r.at
	if nan, err = r.uvarint(); err != nil {
		return 0, 0, err
	}
	if nan > maxCount {
		return 0, 0, fmt.Errorf("NaN count %d at byte %d: %w", nan, at, ErrOverflow)
	}
	at = r.at
	if filled, err = r.uvarint(); err != nil {
		return 0, 0, err
	}
	if left := uint64(len(r.data) - r.at); filled > 4*left { // a bucket takes two bits at least
		return 0, 0, fmt.Errorf("%w: %d buckets at byte %d in %d bytes", ErrEncoding, filled, at, left)
	}
	return nan, filled, nil
}

func (r *byteReader) uvarint() (uint64, error) {
	v, n := binary.Uvarint(r.data[r.at:])
	if n <= 0 || n > 1 && r.data[r.at+n-1] == 0 {
		return 0, fmt.Errorf("%w: the number at byte %d is damaged or cut off", ErrEncoding, r.at)
	}
	r.at += n
	return v, nil
}

func (r *byteReader) double() (float64, error) {
	if len(r.data)-r.at < 8 {
		return 0, fmt.Errorf("%w: the float64 at byte %d is cut off", ErrEncoding, r.at)
	}
	x := math.Float64frombits(binary.LittleEndian.Uint64(r.data[r.at:]))
	if x == 0 && math.Signbit(x) {
		return 0, fmt.Errorf("%w: the float64 at byte %d is -0", ErrEncoding, r.at)
	}
	r.at += 8
	return x, nil
}

// pair returns two float64.
func (r *byteReader) pair() (x, y float64, err error) {
	if x, err = r.double(); err != nil {
		return 0, 0, err
	}
	y, err = r.double()
	return x, y, err
}

func (r *byteReader) grid() (*Grid, error) {
	at := r.at
	kind := r.data[at]
	r.at++
	switch kind {
	case 0, 1:
		v, err := r.uvarint()
		if err != nil {
			return nil, err
		}
		scale := protowire.DecodeZigZag(v)
		if scale < minScale || scale > maxScale {
			return nil, scaleError(int(scale))
		}
		if kind == 0 {
			return NewExponential(int(scale))
		}
		low, high, err := r.pair()
		if err != nil {
			return nil, err
		}
		return NewBoundedExponential(int(scale), low, high)
	case 2:
		lower, upper, err := r.pair()
		if err != nil {
			return nil, err
		}
		bins, err := r.uvarint()
		if err != nil {
			return nil, err
		}
		return NewLinear(lower, upper, int(min(bins, MaxBuckets)))
	case 3:
		n, err := r.uvarint()
		if err != nil {
			return nil, err
		}
		if left := len(r.data) - r.at; n > uint64(left)/8 {
			return nil, fmt.Errorf("%w: %d breaks at byte %d in %d bytes", ErrEncoding, n, at+1, left)
		}
		breaks := make([]float64, n)
		for i := range breaks {
			if breaks[i], err = r.double(); err != nil {
				return nil, err
			}
		}
		return NewExplicit(breaks)
	}
	return nil, fmt.Errorf("%w: kind of grid %d at byte %d, where 0 to 3 are known", ErrEncoding, kind, at)
}

// MergeCounts adds counts that AppendCounts wrote for sketches on equal grids, without knowing the
// grid: the result is what AppendCounts writes for the merged sketch. It returns ErrEncoding for bytes that
// are counts on no grid, and ErrOverflow if the total would exceed 2^63−1.
func MergeCounts(all ...[]byte) ([]byte, error) {
	var total, nan uint64
	var sum, spare []bucketCount
	for _, data := range all {
		r, err := counts(data)
		if err != nil {
			return nil, err
		}
		more, filled, err := r.head()
		if err != nil {
			return nil, err
		}
		if err := grow(&nan, more); err != nil {
			return nil, fmt.Errorf("NaN count %d: %w", more, err)
		}
		in := bitReader{data: data, at: r.at}
		if spare, err = mergeCounts(spare[:0], sum, &in, filled, &total); err != nil {
			return nil, err
		}
		sum, spare = spare, sum
	}
	out := binary.AppendUvarint(binary.AppendUvarint([]byte{countsVersion}, nan), uint64(len(sum)))
	w := bitWriter{dst: out}
	var d differences
	next := uint64(0)
	for _, c := range sum {
		w.count(&d, c.bucket-next, c.n)
		next = c.bucket + 1
	}
	return w.finish(), nil
}

type bucketCount struct{ bucket, n uint64 }

// mergeCounts appends to sum the counts of a, which ascend, and those of in, and adds the latter to the total.
func mergeCounts(sum, a []bucketCount, in *bitReader, filled uint64, total *uint64) ([]bucketCount, error) {
	sum = slices.Grow(sum, len(a)+int(filled))
	var d differences
	next := uint64(0)
	for range filled {
		gap, n, err := in.count(&d)
		if err != nil {
			return nil, err
		}
		bucket := next + gap
		if bucket >= MaxBuckets {
			return nil, fmt.Errorf("%w: bucket %d before byte %d, where no grid has more than %d", ErrEncoding, bucket, in.where()+1, MaxBuckets)
		}
		next = bucket + 1
		if err := grow(total, n); err != nil {
			return nil, fmt.Errorf("count before byte %d: %w", in.where()+1, err)
		}
		for len(a) > 0 && a[0].bucket < bucket {
			sum, a = append(sum, a[0]), a[1:]
		}
		if len(a) > 0 && a[0].bucket == bucket {
			n += a[0].n
			a = a[1:]
		}
		sum = append(sum, bucketCount{bucket, n})
	}
	return append(sum, a...), in.end()
}
