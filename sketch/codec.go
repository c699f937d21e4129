package sketch

import (
	"encoding/binary"
	"errors"
	"fmt"

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

// The compact form of counts: a version byte, the NaN count, and for each bucket that holds anything
// the number of empty ones before it and its count, all but the version as varints.
const countsVersion = 1

// AppendCounts appends the counts, without the grid, to dst in a compact form. Equal sketches give
// equal bytes.
func (b *Binned) AppendCounts(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, countsVersion), b.nan)
	next := 0
	for i, n := range b.All() {
		dst = binary.AppendUvarint(dst, uint64(i-next))
		dst = binary.AppendUvarint(dst, n)
		next = i + 1
	}
	return dst
}

// AddCounts adds counts that AppendCounts wrote for a sketch on an equal grid. The bytes may come from
// anywhere; if it returns an error the sketch is as before.
func (b *Binned) AddCounts(data []byte) error {
	r, err := readCounts(data)
	if err != nil {
		return err
	}
	add := NewBinned(b.grid)
	add.nan = r.nan
	next := uint64(0)
	for {
		gap, n, ok, err := r.next()
		if err != nil {
			return err
		}
		if !ok {
			return b.Merge(add)
		}
		if next, err = add.addGap(next, gap, n); err != nil {
			return fmt.Errorf("at byte %d: %w", r.at, err)
		}
	}
}

// countsReader reads the compact form.
type countsReader struct {
	data []byte
	at   int
	nan  uint64
}

func readCounts(data []byte) (*countsReader, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: no bytes", ErrEncoding)
	}
	if data[0] != countsVersion {
		return nil, fmt.Errorf("%w: version %d at byte 0, where only %d is known", ErrEncoding, data[0], countsVersion)
	}
	r := &countsReader{data: data, at: 1}
	var err error
	if r.nan, err = r.uvarint(); err == nil && r.nan > maxCount {
		err = fmt.Errorf("NaN count %d at byte 1: %w", r.nan, ErrOverflow)
	}
	return r, err
}

func (r *countsReader) uvarint() (uint64, error) {
	v, n := binary.Uvarint(r.data[r.at:])
	if n <= 0 {
		return 0, fmt.Errorf("%w: the number at byte %d is damaged or cut off", ErrEncoding, r.at)
	}
	r.at += n
	return v, nil
}

// next returns the next gap and count; ok is false at the end.
func (r *countsReader) next() (gap, n uint64, ok bool, err error) {
	if r.at == len(r.data) {
		return 0, 0, false, nil
	}
	if gap, err = r.uvarint(); err != nil {
		return 0, 0, false, err
	}
	if gap >= MaxBuckets {
		return 0, 0, false, fmt.Errorf("%w: a gap of %d buckets before byte %d", ErrEncoding, gap, r.at)
	}
	if n, err = r.uvarint(); err == nil && n == 0 {
		err = fmt.Errorf("%w: the count before byte %d is 0", ErrEncoding, r.at)
	}
	return gap, n, err == nil, err
}

// MergeCounts adds counts that AppendCounts wrote for sketches on equal grids, without knowing the
// grid: the result is what AppendCounts writes for the merged sketch. It returns ErrEncoding for bytes that
// are counts on no grid, and ErrOverflow if the total would exceed 2^63−1.
func MergeCounts(all ...[]byte) ([]byte, error) {
	var total, nan uint64
	var sum []bucketCount
	for _, data := range all {
		r, err := readCounts(data)
		if err != nil {
			return nil, err
		}
		if err := grow(&nan, r.nan); err != nil {
			return nil, fmt.Errorf("NaN count %d: %w", r.nan, err)
		}
		if sum, err = mergeCounts(sum, r, &total); err != nil {
			return nil, err
		}
	}
	out := binary.AppendUvarint([]byte{countsVersion}, nan)
	next := uint64(0)
	for _, c := range sum {
		out = binary.AppendUvarint(out, c.bucket-next)
		out = binary.AppendUvarint(out, c.n)
		next = c.bucket + 1
	}
	return out, nil
}

type bucketCount struct{ bucket, n uint64 }

// mergeCounts adds what is left in r to counts in ascending order, and to their total.
func mergeCounts(a []bucketCount, r *countsReader, total *uint64) ([]bucketCount, error) {
	sum := make([]bucketCount, 0, len(a)+(len(r.data)-r.at)/2)
	next := uint64(0)
	for {
		gap, n, ok, err := r.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return append(sum, a...), nil
		}
		bucket := next + gap
		if bucket >= MaxBuckets {
			return nil, fmt.Errorf("%w: bucket %d before byte %d, where no grid has more than %d", ErrEncoding, bucket, r.at, MaxBuckets)
		}
		next = bucket + 1
		if err := grow(total, n); err != nil {
			return nil, fmt.Errorf("count before byte %d: %w", r.at, err)
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
}
