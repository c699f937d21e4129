package dump_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

// small returns a dump of two sketches.
func small(t testing.TB) []byte {
	t.Helper()
	g, err := sketch.NewLinear(0, 10, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	w, err := dump.NewWriter(&file, &quietilev1.DumpHeader{Producer: "test", Metric: "m", WindowStartUnixNano: proto.Int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b"} {
		s := sketch.NewBinned(g)
		s.AddBatch([]float64{1, 2, 2, 9})
		if err := w.Write(key, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func keysOf(records []dump.Record) string {
	var keys []string
	for _, r := range records {
		keys = append(keys, r.Header.GetMetric()+"/"+r.Key)
	}
	return strings.Join(keys, " ")
}

func TestAConcatenationOfDumpsIsADump(t *testing.T) {
	one := small(t)
	records, err := dump.ReadAll(bytes.NewReader(append(bytes.Clone(one), one...)))
	if err != nil || keysOf(records) != "m/a m/b m/a m/b" || records[3].Sketch.Count() != 4 {
		t.Errorf("%s, %v", keysOf(records), err)
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	whole := small(t)
	for i := range whole {
		for bit := range 8 {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1 << bit
			if _, err := dump.ReadAll(bytes.NewReader(damaged)); err == nil {
				t.Errorf("with bit %d of byte %d flipped, of %d, it is read", bit, i, len(whole))
			}
		}
	}
}

func TestEveryTruncationIsNoticedAndSaysWhere(t *testing.T) {
	whole := small(t)
	for n := range whole {
		records, err := dump.ReadAll(bytes.NewReader(whole[:n]))
		if !errors.Is(err, dump.ErrDamaged) || !strings.Contains(err.Error(), "byte") {
			t.Errorf("cut at byte %d of %d: %v", n, len(whole), err)
		}
		if len(records) > 2 {
			t.Errorf("cut at byte %d there are %d sketches", n, len(records))
		}
	}
}

func TestALengthTakesNoMemoryThatTheFileDoesNotFill(t *testing.T) {
	if _, err := dump.ReadAll(bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})); !errors.Is(err, dump.ErrDamaged) {
		t.Errorf("a record of 4 GiB: %v", err)
	}
	_, err := dump.NewReader(io.MultiReader(bytes.NewReader([]byte{0x80, 0x80, 0x80, 0x10}))).Next() // 32 MiB that are not there
	if !errors.Is(err, dump.ErrDamaged) {
		t.Errorf("a record that is cut off: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	whole := small(f)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := dump.ReadAll(bytes.NewReader(data))
		if err != nil {
			return
		}
		// What is read can be written and read again.
		var file bytes.Buffer
		w, err := dump.NewWriter(&file, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if err := w.Write(r.Key, r.Sketch); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := dump.ReadAll(&file)
		if err != nil || len(again) != len(records) {
			t.Fatalf("%d sketches come back as %d: %v", len(records), len(again), err)
		}
		for i, r := range again {
			if r.Key != records[i].Key || !r.Sketch.Equal(records[i].Sketch) {
				t.Errorf("sketch %d comes back as %v under %q", i, r.Sketch, r.Key)
			}
		}
	})
}
