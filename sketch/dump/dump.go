// Package dump reads and writes files of sketches.
//
// A file is one or more segments, so that a concatenation of dumps is a dump. A segment is a run of
// DumpRecord messages, each behind its length as a varint: a header, any number of sketches, and a
// trailer with their number and a CRC-32C of all bytes of the segment before the trailer's length.
package dump

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
)

const (
	// Version of the format.
	Version = 1
	// MaxRecord is the largest record in bytes. Longer ones are refused before memory is taken.
	MaxRecord = 64 << 20
)

// ErrDamaged is wrapped by every error about a dump that is cut off, damaged or none at all; the text
// says what is wrong and at which byte.
var ErrDamaged = errors.New("damaged dump")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Writer writes one segment.
type Writer struct {
	w       io.Writer
	crc     uint32
	records uint64
	buf     []byte
	err     error
}

// NewWriter writes the header of a segment; its version is filled in.
func NewWriter(w io.Writer, header *quietilev1.DumpHeader) (*Writer, error) {
	h := proto.CloneOf(header)
	if h == nil {
		h = new(quietilev1.DumpHeader)
	}
	h.Version = Version
	d := &Writer{w: w}
	return d, d.write(&quietilev1.DumpRecord{Kind: &quietilev1.DumpRecord_Header{Header: h}})
}

// Write writes a sketch under a key, which is UTF-8. Keys may repeat. A record that is longer than MaxRecord, or
// whose key is not UTF-8, is refused and leaves the segment as it was. Once the underlying writer has returned an
// error, so do all further calls.
func (d *Writer) Write(key string, s *sketch.Binned) error {
	if err := d.write(&quietilev1.DumpRecord{Kind: &quietilev1.DumpRecord_Sketch{
		Sketch: &quietilev1.SketchRecord{Key: key, Sketch: s.Proto()},
	}}); err != nil {
		return fmt.Errorf("sketch %d of the segment, key %.100q: %w", d.records, key, err)
	}
	d.records++
	return nil
}

// Close writes the trailer. A segment that was not closed is no dump.
func (d *Writer) Close() error {
	return d.write(&quietilev1.DumpRecord{Kind: &quietilev1.DumpRecord_Trailer{
		Trailer: &quietilev1.DumpTrailer{Records: d.records, Crc32C: d.crc},
	}})
}

func (d *Writer) write(r *quietilev1.DumpRecord) error {
	if d.err != nil {
		return d.err
	}
	options := proto.MarshalOptions{Deterministic: true}
	size := options.Size(r)
	if size > MaxRecord {
		return fmt.Errorf("a record of %d bytes: at most %d are allowed", size, MaxRecord)
	}
	record, err := options.MarshalAppend(binary.AppendUvarint(d.buf[:0], uint64(size)), r)
	if err != nil {
		return err // nothing was written
	}
	d.buf = record
	d.crc = crc32.Update(d.crc, castagnoli, d.buf)
	_, d.err = d.w.Write(d.buf)
	return d.err
}

// Record is one sketch of a dump.
type Record struct {
	// Header of the segment.
	Header *quietilev1.DumpHeader
	Key    string
	Sketch *sketch.Binned
}

// Reader reads a dump record by record. What it has returned is sure only once Next has returned
// io.EOF: the checksum comes last.
type Reader struct {
	r       *bufio.Reader
	at      int64 // bytes read
	start   int64 // where the segment starts
	crc     uint32
	header  *quietilev1.DumpHeader // of the open segment
	records uint64
	err     error // what Next returned first
}

// NewReader returns a reader of a dump.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReader(r)} }

// Next returns the next sketch, or io.EOF at the end of a dump that is whole. Any other error names the byte; after
// an error every call returns the same one.
func (d *Reader) Next() (Record, error) {
	if d.err != nil {
		return Record{}, d.err
	}
	record, err := d.next()
	d.err = err
	return record, err
}

func (d *Reader) next() (Record, error) {
	for {
		recordAt, crc := d.at, d.crc
		r, err := d.read()
		if err == io.EOF && d.header == nil && recordAt > 0 {
			return Record{}, io.EOF
		}
		if err == io.EOF {
			return Record{}, fmt.Errorf("%w: it ends at byte %d, in the segment that starts at byte %d", ErrDamaged, recordAt, d.start)
		}
		if err != nil {
			return Record{}, err
		}
		damaged := func(format string, args ...any) (Record, error) {
			return Record{}, fmt.Errorf("%w: record at byte %d: %s", ErrDamaged, recordAt, fmt.Sprintf(format, args...))
		}
		switch k := r.GetKind().(type) {
		case *quietilev1.DumpRecord_Header:
			if d.header != nil {
				return damaged("a header inside the segment that starts at byte %d", d.start)
			}
			if v := k.Header.GetVersion(); v != Version {
				return Record{}, fmt.Errorf("dump version %d at byte %d: only %d is known", v, recordAt, Version)
			}
			d.header, d.start = k.Header, recordAt
		case *quietilev1.DumpRecord_Sketch:
			if d.header == nil {
				return damaged("a sketch before any header")
			}
			s, err := sketch.FromProto(k.Sketch.GetSketch())
			if err != nil {
				return damaged("key %q: %v", k.Sketch.GetKey(), err)
			}
			d.records++
			return Record{d.header, k.Sketch.GetKey(), s}, nil
		case *quietilev1.DumpRecord_Trailer:
			switch t := k.Trailer; {
			case d.header == nil:
				return damaged("a trailer before any header")
			case t.GetRecords() != d.records:
				return damaged("the trailer counts %d sketches, the segment has %d", t.GetRecords(), d.records)
			case t.GetCrc32C() != crc:
				return damaged("the checksum of the segment that starts at byte %d is %08x, the trailer says %08x", d.start, crc, t.GetCrc32C())
			}
			d.header, d.records, d.crc = nil, 0, 0
		default:
			return damaged("neither a header nor a sketch nor a trailer")
		}
	}
}

// read reads one record. It returns io.EOF if there is not a single byte more.
func (d *Reader) read() (*quietilev1.DumpRecord, error) {
	at := d.at
	var prefix []byte
	for {
		c, err := d.r.ReadByte()
		if err == io.EOF && len(prefix) == 0 {
			return nil, io.EOF
		}
		if err == io.EOF {
			return nil, fmt.Errorf("%w: it ends at byte %d, inside the length of a record", ErrDamaged, d.at)
		}
		if err != nil {
			return nil, fmt.Errorf("read at byte %d: %w", d.at, err)
		}
		d.at++
		prefix = append(prefix, c)
		if c < 0x80 {
			break
		}
		if len(prefix) == binary.MaxVarintLen64 {
			return nil, fmt.Errorf("%w: the length of the record at byte %d is no varint", ErrDamaged, at)
		}
	}
	size, n := binary.Uvarint(prefix)
	if n <= 0 || size > MaxRecord || len(binary.AppendUvarint(nil, size)) != n {
		return nil, fmt.Errorf("%w: the record at byte %d has a length of %d bytes, where at most %d are allowed", ErrDamaged, at, size, MaxRecord)
	}
	// A length is no reason to take memory that the file does not fill.
	data, err := io.ReadAll(io.LimitReader(d.r, int64(size)))
	d.at += int64(len(data))
	if err != nil {
		return nil, fmt.Errorf("read at byte %d: %w", d.at, err)
	}
	if uint64(len(data)) < size {
		return nil, fmt.Errorf("%w: it ends at byte %d, inside the record at byte %d", ErrDamaged, d.at, at)
	}
	d.crc = crc32.Update(crc32.Update(d.crc, castagnoli, prefix), castagnoli, data)
	r := new(quietilev1.DumpRecord)
	if err := proto.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%w: the record at byte %d is no DumpRecord", ErrDamaged, at)
	}
	// The trailer is outside its own checksum, so it must be exactly what a Writer writes.
	if r.GetTrailer() != nil {
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil || string(again) != string(data) || len(r.GetTrailer().ProtoReflect().GetUnknown()) > 0 {
			return nil, fmt.Errorf("%w: the trailer at byte %d is not as written", ErrDamaged, at)
		}
	}
	return r, nil
}

// ReadAll returns every record of a dump, or an error and whatever preceded the damage.
func ReadAll(r io.Reader) ([]Record, error) {
	var all []Record
	d := NewReader(r)
	for {
		record, err := d.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, record)
	}
}
