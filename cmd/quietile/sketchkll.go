package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/quietile/quietile/sketch"
)

// formatDataSketches is the format of a KLL sketch, unless another is asked for.
const formatDataSketches = "datasketches"

// kllConfidence is the probability with which limits of what a KLL sketch answers hold the exact answer.
const kllConfidence = 0.99

// kll is a KLL sketch as the commands see it.
type kll struct{ *sketch.KLL }

// RankBounds returns limits that hold the exact share of values that are at most x with kllConfidence.
func (s kll) RankBounds(x float64) (lower, upper float64, err error) {
	rank, err := s.Rank(x)
	if err != nil {
		return 0, 0, err
	}
	return max(rank-s.RankError(), 0), min(rank+s.RankError(), 1), nil
}

// ofKLL makes an encode of a function for KLL sketches.
func ofKLL(encode func(*sketch.KLL) ([]byte, error)) func(summary) ([]byte, error) {
	return func(s summary) ([]byte, error) {
		if k, ok := s.(kll); ok {
			return encode(k.KLL)
		}
		return nil, usagef("this format holds KLL sketches, and not %s", describe(s))
	}
}

func decodeKLL(data []byte) (summary, error) {
	k := new(sketch.KLL)
	return kll{k}, k.UnmarshalBinary(data)
}

const (
	// kllPreamble is how many bytes [beginsKLL] needs.
	kllPreamble = 8
	// kllStart is how many bytes [beginsKLLMessage] needs at most.
	kllStart = 1 + binary.MaxVarintLen64 + kllPreamble
)

// beginsKLL says whether b is the beginning of a KLL sketch in the format of Apache DataSketches: the length of the preamble in words of four bytes, the version,
// the number of the family, flags, k in two bytes, and the least capacity of a level, even and at most 8. The first two are control characters, so no text begins
// like this; and the second would be the tag of a field 0 in the first record of a dump, where there is none.
func beginsKLL(b []byte) bool {
	const family = 15
	return len(b) >= kllPreamble && (b[0] == 2 || b[0] == 5) && b[1] >= 1 && b[1] <= 3 && b[2] == family && b[6] >= 2 && b[6] <= 8 && b[6]%2 == 0
}

// beginsKLLMessage says whether b is the beginning of a quietile.v1.KLL, which is such a sketch in its first field. No other message here has this there: as a grid
// or a mapping it would begin with a field 0.
func beginsKLLMessage(b []byte) bool {
	const datasketches = 1
	field, kind, tag := protowire.ConsumeTag(b)
	if tag < 0 || field != datasketches || kind != protowire.BytesType {
		return false
	}
	_, size := protowire.ConsumeVarint(b[tag:])
	return size > 0 && beginsKLL(b[tag+size:])
}

// refuseKLL returns a usage error if the input is a KLL sketch, by its bytes or by its name, otherwise a reader of all that r holds.
func refuseKLL(r io.Reader, name string) (all io.Reader, err error) {
	buffered := bufio.NewReaderSize(r, readAheadSize)
	start, err := buffered.Peek(kllStart)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !beginsKLL(start) && !beginsKLLMessage(start) && !strings.HasSuffix(strings.TrimSuffix(name, ".gz"), ".kll") {
		return buffered, nil
	}
	return nil, usagef("a KLL sketch cannot be released with differential privacy: which values it retains depends on the data, and one record more can change many of them, " +
		"so its sensitivity is not 1. Count the data in a sketch on a public grid instead: " +
		"quietile sketch build FILE --grid linear:lower=0,upper=128,bins=8192 --to dump -o FILE.qtd, " +
		"and release that: quietile release FILE.qtd --dump --public-grid -q LIST --epsilon E")
}
