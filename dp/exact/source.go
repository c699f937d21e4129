package exact

import (
	"encoding/binary"
	"io"
)

// sourceBytes is how much is read from the random source at a time.
const sourceBytes = 4096

// A source hands out the bits of a reader, each once. Not safe for concurrent use.
type source struct {
	r     io.Reader
	buf   [sourceBytes]byte
	next  int // bytes of buf already used
	word  uint64
	spare uint // bits of word not yet used
}

func (s *source) uint64() uint64 {
	if s.next == len(s.buf) {
		// A mechanism that went on without randomness would publish its data.
		if _, err := io.ReadFull(s.r, s.buf[:]); err != nil {
			panic("exact: random source: " + err.Error())
		}
		s.next = 0
	}
	at := s.buf[s.next : s.next+8]
	x := binary.LittleEndian.Uint64(at)
	clear(at)
	s.next += 8
	return x
}

// bits returns n ≤ 64 random bits as an integer.
func (s *source) bits(n uint) uint64 {
	if n >= 32 {
		return s.uint64() >> (64 - n)
	}
	if s.spare < n {
		s.word, s.spare = s.uint64(), 64
	}
	x := s.word & (1<<n - 1)
	s.word >>= n
	s.spare -= n
	return x
}
