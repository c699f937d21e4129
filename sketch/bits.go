package sketch

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Counts are written as a stream of bits, the low bit of a byte first. Each bucket that holds something adds the number
// of empty buckets before it and the difference of its count to that of the one before it, folded to be
// non-negative: a step up by d is 2d, a step down by d is 2d−1. The first is in Elias' gamma code of itself plus
// one: a single bit where there is no gap. The second is in a Rice code (Rice, "Some practical universal noiseless
// coding techniques", 1979) whose parameter follows the mean of the differences so far, as counts of neighbouring buckets
// differ by about the root of the count, whatever it is. The last byte is filled with zeros.

// escape is how many ones of a Rice code say that the number itself follows, behind its length in six bits.
const escape = 24

// differences is what the writer and the reader of counts know of those before.
type differences struct {
	last uint64
	mean uint64 // four times the decaying mean of the folded differences
}

// parameter returns how many low bits of the next folded difference are written as they are.
func (d *differences) parameter() uint { return uint(bits.Len64(d.mean >> 3)) }

// saw takes note of a count and of its folded difference.
func (d *differences) saw(n, folded uint64) {
	if d.last == 0 {
		// The first difference is the count itself: the next ones will be more like its root.
		d.mean = 8 << (bits.Len64(n) / 2)
	} else {
		d.mean += min(folded, 1<<60) - d.mean>>2
	}
	d.last = n
}

// fold returns 2d for d = n − last ≥ 0 and −2d − 1 otherwise; both are from 0 to 2^63−1.
func fold(n, last uint64) uint64 {
	d := n - last
	return d<<1 ^ uint64(int64(d)>>63)
}

// unfold undoes fold.
func unfold(folded, last uint64) uint64 { return last + (folded>>1 ^ -(folded & 1)) }

// bitWriter appends bits to dst.
type bitWriter struct {
	dst  []byte
	bits uint64 // the last bits written, fewer than 8
	n    uint   // how many
}

// write appends the low n bits of v, n ≤ 56; the others are zero.
func (w *bitWriter) write(v uint64, n uint) {
	w.bits |= v << w.n
	w.n += n
	for w.n >= 8 {
		w.dst = append(w.dst, byte(w.bits))
		w.bits >>= 8
		w.n -= 8
	}
}

// long appends the low n bits of v, n ≤ 64; the others are zero.
func (w *bitWriter) long(v uint64, n uint) {
	if n > 32 {
		w.write(v&(1<<32-1), 32)
		v >>= 32
		n -= 32
	}
	w.write(v, n)
}

// finish returns the bytes.
func (w *bitWriter) finish() []byte {
	if w.n > 0 {
		return append(w.dst, byte(w.bits))
	}
	return w.dst
}

// count appends one bucket: the number of empty ones before it, and its count.
func (w *bitWriter) count(d *differences, gap, n uint64) {
	if gap == 0 {
		w.write(1, 1)
	} else {
		// As many zeros as there are bits behind the leading one, then that one, then they.
		long := uint(bits.Len64(gap+1)) - 1
		w.write(1<<long, long+1)
		w.write((gap+1)&(1<<long-1), long)
	}
	folded := fold(n, d.last)
	k := d.parameter()
	if q := folded >> k; q < escape {
		w.write(1<<q-1, uint(q)+1)
		w.long(folded&(1<<k-1), k)
	} else {
		w.write(1<<escape-1, escape)
		long := uint(bits.Len64(folded))
		w.write(uint64(long-1), 6)
		w.long(folded, long)
	}
	d.saw(n, folded)
}

// bitReader reads what a bitWriter wrote.
type bitReader struct {
	data []byte
	at   int    // of the next byte
	bits uint64 // read but not taken yet
	n    uint   // how many
}

// fill makes at least 32 bits available, with zeros beyond the end.
func (r *bitReader) fill() {
	if r.n >= 32 {
		return
	}
	if r.at+4 <= len(r.data) {
		r.bits |= uint64(binary.LittleEndian.Uint32(r.data[r.at:])) << r.n
		r.at += 4
		r.n += 32
		return
	}
	for r.n < 32 {
		if r.at < len(r.data) {
			r.bits |= uint64(r.data[r.at]) << r.n
		}
		r.at++
		r.n += 8
	}
}

// take returns the next n bits, n ≤ 32, of those that fill made available.
func (r *bitReader) take(n uint) uint64 {
	v := r.bits & (1<<n - 1)
	r.bits >>= n
	r.n -= n
	return v
}

// long returns the next n bits, n ≤ 64.
func (r *bitReader) long(n uint) uint64 {
	low := uint64(0)
	shift := uint(0)
	if n > 32 {
		r.fill()
		low, shift = r.take(32), 32
	}
	r.fill()
	return low | r.take(n-shift)<<shift
}

// where returns the number of the byte that holds the next bit.
func (r *bitReader) where() int { return r.at - int(r.n+7)/8 }

// end returns an error unless nothing but zeros to fill the last byte is left, and nothing beyond was read.
func (r *bitReader) end() error {
	switch left := len(r.data) - r.where(); {
	case left < 0 || left == 0 && r.n%8 != 0:
		return fmt.Errorf("%w: the counts are cut off at byte %d", ErrEncoding, len(r.data))
	case left > 0 && r.n%8 == 0 || left > 1:
		return fmt.Errorf("%w: the counts end at byte %d of %d", ErrEncoding, r.where(), len(r.data))
	case r.n%8 != 0 && r.bits&(1<<(r.n%8)-1) != 0:
		return fmt.Errorf("%w: the last byte, %d, is not filled with zeros", ErrEncoding, r.where())
	}
	return nil
}

// count returns the next bucket: the number of empty ones before it, and its count.
func (r *bitReader) count(d *differences) (gap, n uint64, err error) {
	at := r.where()
	if at >= len(r.data) {
		return 0, 0, fmt.Errorf("%w: the counts are cut off at byte %d", ErrEncoding, len(r.data))
	}
	r.fill()
	if r.bits&1 != 0 {
		r.take(1)
	} else {
		zeros := uint(bits.TrailingZeros64(r.bits | 1<<32))
		if zeros > 21 && r.at > len(r.data) {
			return 0, 0, fmt.Errorf("%w: the counts are cut off at byte %d", ErrEncoding, len(r.data))
		}
		if zeros > 21 { // MaxBuckets is 2^21
			return 0, 0, fmt.Errorf("%w: a gap of 2^%d buckets or more at byte %d", ErrEncoding, zeros, at)
		}
		r.take(zeros + 1)
		r.fill()
		gap = 1<<zeros | r.take(zeros) - 1
	}
	r.fill()
	k := d.parameter()
	folded := uint64(0)
	if ones := uint(bits.TrailingZeros64(^r.bits)); ones < escape {
		r.take(ones + 1)
		if k+ones > 64 { // more than 64 bits: no difference is as long
			return 0, 0, fmt.Errorf("%w: the count at byte %d is damaged", ErrEncoding, at)
		}
		folded = uint64(ones)<<k | r.long(k)
		if folded>>k != uint64(ones) {
			return 0, 0, fmt.Errorf("%w: the count at byte %d is damaged", ErrEncoding, at)
		}
	} else {
		r.take(escape)
		r.fill()
		long := uint(r.take(6)) + 1
		folded = r.long(long)
		if folded>>k < escape || uint(bits.Len64(folded)) != long {
			return 0, 0, fmt.Errorf("%w: the count at byte %d is longer than it need be", ErrEncoding, at)
		}
	}
	n = unfold(folded, d.last)
	if n == 0 || n > maxCount {
		return 0, 0, fmt.Errorf("%w: the count at byte %d is %d", ErrEncoding, at, n)
	}
	d.saw(n, folded)
	return gap, n, nil
}
