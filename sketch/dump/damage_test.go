package dump_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

// grids returns grids of every kind.
func grids(t testing.TB) []*sketch.Grid {
	t.Helper()
	var all []*sketch.Grid
	for _, s := range []string{
		"exponential:scale=8", "exponential:scale=5,min=0.001,max=1000", "linear:lower=0.1,upper=0.7,bins=30", "explicit:-1,0,5",
	} {
		g, err := sketch.ParseGrid(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	return all
}

// segment returns records framed and closed by a trailer with the right count and checksum, whatever they hold.
func segment(t testing.TB, records ...*quietilev1.DumpRecord) []byte {
	t.Helper()
	var file []byte
	sketches := uint64(0)
	frame := func(r *quietilev1.DumpRecord) {
		data, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		file = append(binary.AppendUvarint(file, uint64(len(data))), data...)
	}
	for _, r := range records {
		if r.GetSketch() != nil {
			sketches++
		}
		frame(r)
	}
	crc := crc32.Checksum(file, crc32.MakeTable(crc32.Castagnoli))
	frame(&quietilev1.DumpRecord{Kind: &quietilev1.DumpRecord_Trailer{Trailer: &quietilev1.DumpTrailer{Records: sketches, Crc32C: crc}}})
	return file
}

func header(version uint32) *quietilev1.DumpRecord {
	return &quietilev1.DumpRecord{Kind: &quietilev1.DumpRecord_Header{Header: &quietilev1.DumpHeader{Version: version}}}
}

func record(key string, s *quietilev1.Sketch) *quietilev1.DumpRecord {
	return &quietilev1.DumpRecord{Kind: &quietilev1.DumpRecord_Sketch{Sketch: &quietilev1.SketchRecord{Key: key, Sketch: s}}}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	var file bytes.Buffer
	var want []*sketch.Binned
	var keys []string
	for n := range 3 { // the segments have no, one and two sketches of each grid
		w, err := dump.NewWriter(&file, &quietilev1.DumpHeader{Producer: "test", Metric: fmt.Sprint(n)})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range grids(t) {
			for range n {
				s := sketch.NewBinned(g)
				for range random.IntN(500) {
					s.Add(random.NormFloat64() * 10)
				}
				key := fmt.Sprintf("ключ %d\n\x00", random.IntN(5))
				if err := w.Write(key, s); err != nil {
					t.Fatal(err)
				}
				want, keys = append(want, s), append(keys, key)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Readers that return a byte at a time, and data along with the end, read the same.
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(file.Bytes()), "bytes": iotest.OneByteReader(bytes.NewReader(file.Bytes())),
		"halves": iotest.HalfReader(bytes.NewReader(file.Bytes())), "end": iotest.DataErrReader(bytes.NewReader(file.Bytes())),
	} {
		records, err := dump.ReadAll(r)
		if err != nil || len(records) != len(want) {
			t.Fatalf("seed %d: %s: %d sketches of %d, %v", seed, name, len(records), len(want), err)
		}
		for i, got := range records {
			if got.Key != keys[i] || !got.Sketch.Equal(want[i]) || got.Header.GetVersion() != dump.Version {
				t.Errorf("seed %d: %s: sketch %d under %q comes back as %v under %q", seed, name, i, keys[i], got.Sketch, got.Key)
			}
		}
	}
}

func TestEveryFlippedBitOfEveryGridIsNoticed(t *testing.T) {
	var file bytes.Buffer
	for _, g := range grids(t) {
		w, err := dump.NewWriter(&file, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := sketch.NewBinned(g)
		s.AddBatch([]float64{0.2, 0.3, 0.3})
		if err := w.Write("k", s); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	whole := file.Bytes() // four segments, so that a flip may also move their limits
	if _, err := dump.ReadAll(bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	where := regexp.MustCompile(`byte \d+`)
	for i := range whole {
		for bit := range 8 {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1 << bit
			if _, err := dump.ReadAll(bytes.NewReader(damaged)); err == nil || !where.MatchString(err.Error()) {
				t.Errorf("with bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
}

func TestEveryTruncationButBetweenSegmentsIsNoticed(t *testing.T) {
	one := small(t)
	whole := append(bytes.Clone(one), one...)
	for n := range whole {
		_, err := dump.ReadAll(bytes.NewReader(whole[:n]))
		if n == len(one) {
			if err != nil {
				t.Errorf("the first segment alone: %v", err)
			}
			continue
		}
		// Nothing is read beyond the cut, and the place that is named is not beyond it either.
		var at int
		if !errors.Is(err, dump.ErrDamaged) {
			t.Errorf("cut at byte %d: %v", n, err)
		} else if _, scan := fmt.Sscanf(err.Error()[strings.Index(err.Error(), "byte "):], "byte %d", &at); scan != nil || at > n {
			t.Errorf("cut at byte %d, which the error does not name: %v", n, err)
		}
	}
}

func TestTheErrorNamesTheRecord(t *testing.T) {
	s := sketch.NewBinned(grids(t)[2])
	s.Add(0.2)
	good := s.Proto()
	bad := proto.CloneOf(good)
	bad.Counts[0] = 0
	f := func(file []byte, want ...string) {
		t.Helper()
		records, err := dump.ReadAll(bytes.NewReader(file))
		if err == nil {
			t.Fatalf("%d sketches are read, want an error with %q", len(records), want)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v, want an error with %q", err, w)
			}
		}
	}
	first := len(segment(t, header(1), record("a", good)))
	f(nil, "byte 0")
	f(segment(t), "byte 0", "a trailer before any header")
	f(segment(t, record("a", good)), "byte 0", "a sketch before any header")
	f(segment(t, header(1), header(1)), "byte 5", "a header inside the segment that starts at byte 0")
	f(segment(t, header(0)), "version 0", "byte 0")
	f(segment(t, header(2)), "version 2", "byte 0")
	f(segment(t, header(1), &quietilev1.DumpRecord{}), "byte 5", "neither")
	f(segment(t, header(1), record("a", bad)), "byte 5", `key "a"`, "has the count 0")
	f(segment(t, header(1), record("a", nil)), "byte 5", `key "a"`)
	f(append(segment(t, header(1), record("a", good)), segment(t, header(1), record("b", bad))...), fmt.Sprintf("byte %d", first+5), `key "b"`)
	f(append(segment(t, header(1)), 0), "neither")
	f([]byte{0x80}, "byte 1", "inside the length")
	f([]byte{0x85, 0}, "byte 0", "length") // 5, but not in its shortest form
	f(bytes.Repeat([]byte{0xff}, 20), "byte 0", "no varint")
	f([]byte{0x81, 0x80, 0x80, 0x20}, "byte 0", "67108865") // a byte more than a record may have
	f([]byte{3, 0xff, 0xff, 0xff}, "byte 0", "no DumpRecord")
	f([]byte{5, 0x0a, 2, 8}, "byte 4", "inside the record at ")

	// A trailer whose sketches or checksum are others.
	whole := segment(t, header(1), record("a", good))
	trailer := func(tr *quietilev1.DumpTrailer) []byte {
		data, err := proto.Marshal(&quietilev1.DumpRecord{Kind: &quietilev1.DumpRecord_Trailer{Trailer: tr}})
		if err != nil {
			t.Fatal(err)
		}
		before := whole[:len(whole)-10] // length, tag, length, 2 and 5 bytes
		return append(append(bytes.Clone(before), byte(len(data))), data...)
	}
	crc := binary.LittleEndian.Uint32(whole[len(whole)-4:])
	if _, err := dump.ReadAll(bytes.NewReader(trailer(&quietilev1.DumpTrailer{Records: 1, Crc32C: crc}))); err != nil {
		t.Fatal(err)
	}
	f(trailer(&quietilev1.DumpTrailer{Records: 2, Crc32C: crc}), "the trailer counts 2 sketches, the segment has 1")
	f(trailer(&quietilev1.DumpTrailer{Records: 1, Crc32C: crc + 1}), "the checksum of the segment that starts at byte 0")
	f(trailer(&quietilev1.DumpTrailer{}), "the trailer counts 0")
}

func TestAnErrorStays(t *testing.T) {
	whole := small(t)
	d := dump.NewReader(bytes.NewReader(append([]byte{0}, whole...)))
	_, first := d.Next()
	if !errors.Is(first, dump.ErrDamaged) {
		t.Fatal(first)
	}
	for range 3 {
		if r, err := d.Next(); err != first {
			t.Errorf("after %v there are %q and %v", first, r.Key, err)
		}
	}
	d = dump.NewReader(bytes.NewReader(whole))
	for range 2 {
		if _, err := d.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if _, err := d.Next(); err != io.EOF {
			t.Errorf("at the end there is %v", err)
		}
	}
}

func TestWhatTheFileSaysIsKept(t *testing.T) {
	broken := errors.New("the disk is gone")
	whole := small(t)
	for n := range whole {
		_, err := dump.ReadAll(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) || errors.Is(err, dump.ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("byte %d", n)) {
			t.Errorf("at byte %d: %v", n, err)
		}
	}
}

// limited takes some bytes, and then none.
type limited struct {
	bytes.Buffer
	left int
}

var errFull = errors.New("the disk is full")

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errFull
	}
	return l.Buffer.Write(p)
}

func TestAWriterThatCannotWriteNeverCloses(t *testing.T) {
	s := sketch.NewBinned(grids(t)[2])
	s.Add(0.2)
	for left := range 200 {
		l := &limited{left: left}
		w, err := dump.NewWriter(l, nil)
		if err == nil {
			for _, key := range []string{"a", "b", "c"} {
				err = errors.Join(err, w.Write(key, s))
			}
			closed := w.Close()
			if err != nil && !errors.Is(closed, errFull) {
				t.Fatalf("with %d bytes: Write says %v, Close says %v", left, err, closed)
			}
			err = errors.Join(err, closed)
		}
		records, readErr := dump.ReadAll(&l.Buffer)
		if (err == nil) != (readErr == nil) || err != nil && !errors.Is(err, errFull) || err == nil && len(records) != 3 {
			t.Fatalf("with %d bytes: %v when writing, %v when reading", left, err, readErr)
		}
	}
}

func TestARefusedSketchLeavesTheSegmentWhole(t *testing.T) {
	s := sketch.NewBinned(grids(t)[2])
	s.Add(0.2)
	var file bytes.Buffer
	w, err := dump.NewWriter(&file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write("a", s); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(strings.Repeat("x", dump.MaxRecord), s); err == nil || !strings.Contains(err.Error(), "67108864 are allowed") || len(err.Error()) > 1000 {
		t.Errorf("a key of 64 MiB: %.200v", err)
	}
	if err := w.Write("\xff", s); err == nil || !strings.Contains(err.Error(), `\xff`) {
		t.Errorf("a key that is not UTF-8: %v", err)
	}
	if err := errors.Join(w.Write("b", s), w.Close()); err != nil {
		t.Fatal(err)
	}
	if records, err := dump.ReadAll(&file); err != nil || keysOf(records) != "/a /b" {
		t.Errorf("%s, %v", keysOf(records), err)
	}
}

func TestALongLengthTakesMemoryAsTheFileGoesOn(t *testing.T) {
	file := append(binary.AppendUvarint(nil, dump.MaxRecord), make([]byte, 1000)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := dump.ReadAll(bytes.NewReader(file))
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, dump.ErrDamaged) || n > 1<<17 {
		t.Errorf("a file of %d bytes takes %d bytes of memory, %v", len(file), n, err)
	}
}

// FuzzDump reads a record of any bytes between a right header and a right trailer, which random bytes would hardly
// ever be.
func FuzzDump(f *testing.F) {
	for _, g := range grids(f) {
		s := sketch.NewBinned(g)
		s.AddBatch([]float64{0.2, 0.3, 0.3})
		data, err := proto.Marshal(record("k", s.Proto()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{})
	start := segment(f, header(1))
	start = start[:5] // without the trailer
	f.Fuzz(func(t *testing.T, data []byte) {
		file := append(binary.AppendUvarint(bytes.Clone(start), uint64(len(data))), data...)
		crc := crc32.Checksum(file, crc32.MakeTable(crc32.Castagnoli))
		trailer, err := proto.Marshal(&quietilev1.DumpRecord{Kind: &quietilev1.DumpRecord_Trailer{Trailer: &quietilev1.DumpTrailer{Records: 1, Crc32C: crc}}})
		if err != nil {
			t.Fatal(err)
		}
		file = append(append(file, byte(len(trailer))), trailer...)
		records, err := dump.ReadAll(bytes.NewReader(file))
		if err != nil {
			if !strings.Contains(err.Error(), "byte ") {
				t.Errorf("the error names no byte: %v", err)
			}
			return
		}
		if len(records) != 1 {
			t.Fatalf("%d sketches", len(records))
		}
		var again bytes.Buffer
		w, err := dump.NewWriter(&again, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Write(records[0].Key, records[0].Sketch), w.Close()); err != nil {
			t.Fatal(err)
		}
		back, err := dump.ReadAll(&again)
		if err != nil || len(back) != 1 || back[0].Key != records[0].Key || !back[0].Sketch.Equal(records[0].Sketch) {
			t.Errorf("it comes back as %v, %v", back, err)
		}
	})
}
