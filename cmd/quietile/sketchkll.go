package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// kllPreamble is how many bytes [beginsKLL] needs.
const kllPreamble = 8

// beginsKLL says whether b is the beginning of a KLL sketch in the format of Apache DataSketches: the length of the preamble in words of four bytes, the version,
// the number of the family, flags, k in two bytes, and the least capacity of a level, even and at most 8. The first two are control characters, so no text begins
// like this; and the second would be the tag of a field 0 in the first record of a dump, where there is none.
func beginsKLL(b []byte) bool {
	const family = 15
	return len(b) >= kllPreamble && (b[0] == 2 || b[0] == 5) && b[1] >= 1 && b[1] <= 3 && b[2] == family && b[6] >= 2 && b[6] <= 8 && b[6]%2 == 0
}

// refuseKLL returns a usage error if the input is a KLL sketch, by its bytes or by its name, otherwise a reader of all that r holds.
func refuseKLL(r io.Reader, name string) (all io.Reader, err error) {
	buffered := bufio.NewReaderSize(r, readAheadSize)
	start, err := buffered.Peek(kllPreamble)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !beginsKLL(start) && !strings.HasSuffix(strings.TrimSuffix(name, ".gz"), ".kll") {
		return buffered, nil
	}
	return nil, usagef("a KLL sketch cannot be released with differential privacy: which values it retains depends on the data, and one record more can change many of them, " +
		"so its sensitivity is not 1. Count the data in a sketch on a public grid instead: " +
		"quietile sketch build FILE --grid linear:lower=0,upper=128,bins=8192 --to dump -o FILE.qtd, " +
		"and release that: quietile release FILE.qtd --dump --public-grid -q LIST --epsilon E")
}
