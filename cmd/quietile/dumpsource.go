package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

// dumpStart is how many bytes [beginsDump] needs at most: the length of a record, the tag and the length of a header, and the tag of its version.
const dumpStart = 10 + 1 + 10 + 1

// sniffDump says whether r begins as a dump file does, and returns a reader of all that r holds.
func sniffDump(r io.Reader) (is bool, all io.Reader, err error) {
	buffered := bufio.NewReaderSize(r, readAheadSize)
	start, err := buffered.Peek(dumpStart)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, nil, err
	}
	return beginsDump(start), buffered, nil
}

// beginsDump says whether b is the beginning of a dump as package dump writes it: a record that is a header from its first byte to its last, the version first. The
// tag of the version is a backspace, so no table of numbers begins like this.
func beginsDump(b []byte) bool {
	const header, version = 1, 1 // the fields of DumpRecord and DumpHeader
	size, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return false
	}
	b = b[n:]
	field, kind, tag := protowire.ConsumeTag(b)
	if tag < 0 || field != header || kind != protowire.BytesType {
		return false
	}
	length, n := protowire.ConsumeVarint(b[tag:])
	if n < 0 || length > dump.MaxRecord || size != uint64(tag+n)+length {
		return false
	}
	field, kind, n = protowire.ConsumeTag(b[tag+n:])
	return n > 0 && field == version && kind == protowire.VarintType
}

// readDump adds up the sketches of a dump on the grid, which is that of the first of them if nil. A sketch on another grid is an error: a private answer's grid is
// never taken from data (PRIVACY P1). It holds one sketch at a time, and returns their sum only if the whole dump is undamaged.
func readDump(r io.Reader, grid *sketch.Grid) (*sketch.Binned, error) {
	var (
		sum     *sketch.Binned
		problem error // of the first sketch that cannot be added; damage, found later, would explain it
	)
	if grid != nil {
		sum = sketch.NewBinned(grid)
	}
	records := dump.NewReader(r)
	for n := 1; ; n++ {
		record, err := records.Next()
		switch {
		case errors.Is(err, io.EOF) && problem != nil:
			return nil, problem
		case errors.Is(err, io.EOF) && sum == nil:
			return nil, errors.New("the dump has no sketch, and so no grid: describe one with --grid")
		case errors.Is(err, io.EOF):
			return sum, nil
		case err != nil:
			return nil, err
		case problem != nil:
		case sum == nil:
			sum = record.Sketch
		case !sum.Grid().Equal(record.Sketch.Grid()):
			// Different scales would merge, but a private release needs the one grid that is public.
			problem = fmt.Errorf("sketch %d, key %s: %w: %v and %v", n, printable(record.Key), sketch.ErrGridMismatch, sum.Grid(), record.Sketch.Grid())
		default:
			if err := sum.Merge(record.Sketch); err != nil {
				problem = fmt.Errorf("sketch %d, key %s: %w", n, printable(record.Key), err)
			}
		}
	}
}
