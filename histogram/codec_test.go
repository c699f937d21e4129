package histogram

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// anyHistogram returns a histogram with all that a file may hold.
func anyHistogram(rng *rand.Rand) *Histogram {
	h := randomHistogram(rng)
	h.Name = []string{"", "a", "µs, \"quoted\"\nlines", "x,y"}[rng.IntN(4)]
	switch rng.IntN(6) {
	case 0:
		for i := range h.Breaks {
			h.Breaks[i] = float64(i) * 0.1
		}
	case 1:
		for i := range h.Breaks {
			h.Breaks[i] = math.Ldexp(1, i-5)
		}
	case 2:
		h.Breaks[0] = math.Inf(-1)
		h.Breaks[h.Len()] = math.Inf(1)
	case 3:
		for i := range h.Breaks {
			h.Breaks[i] *= rng.NormFloat64() * 1e9
		}
		slices.Sort(h.Breaks)
		h.Breaks = slices.Compact(h.Breaks)
		h.Counts = h.Counts[:len(h.Breaks)-1]
		if len(h.Counts) == 0 {
			return anyHistogram(rng)
		}
	case 4:
		h.Breaks[0], h.Breaks[h.Len()] = -math.MaxFloat64, math.MaxFloat64
	}
	if rng.IntN(3) == 0 {
		for i := range h.Counts {
			h.Counts[i] *= 0.1
		}
	}
	return h
}

func TestReadingUndoesWriting(t *testing.T) {
	rng := random(t)
	for range 5 * trials {
		h := anyHistogram(rng)
		var fromJSON, fromBinary Histogram
		if err := json.Unmarshal(must[[]byte](t)(json.Marshal(h)), &fromJSON); err != nil || !fromJSON.Equal(h) {
			t.Errorf("JSON: %v, want %v, error %v", &fromJSON, h, err)
		}
		if err := fromBinary.UnmarshalBinary(must[[]byte](t)(h.MarshalBinary())); err != nil || !fromBinary.Equal(h) {
			t.Errorf("compact: %v, want %v, error %v", &fromBinary, h, err)
		}
		var table bytes.Buffer
		if err := WriteCSV(&table, h, h); err != nil {
			t.Fatal(err)
		}
		if got := must[[]*Histogram](t)(ReadCSV(&table)); len(got) != 2 || !got[0].Equal(h) || !got[1].Equal(h) {
			t.Errorf("CSV: %v, want %v twice", got, h)
		}
		for i, c := range h.Counts {
			h.Counts[i] = math.Round(c * 1e3)
		}
		if got := must[*Histogram](t)(UnmarshalProto(must[[]byte](t)(h.MarshalProto()))); !got.Equal(h) {
			t.Errorf("protobuf: %v, want %v", got, h)
		}
	}
}

func TestTheCompactFormIsSmall(t *testing.T) {
	f := func(most int, h *Histogram) {
		t.Helper()
		data := must[[]byte](t)(h.MarshalBinary())
		var back Histogram
		if err := back.UnmarshalBinary(data); err != nil || !back.Equal(h) {
			t.Fatalf("%v, error %v", &back, err)
		}
		if len(data) > most {
			t.Errorf("%d bytes, want at most %d", len(data), most)
		}
	}
	linear, powers, zeros := new(Histogram), new(Histogram), new(Histogram)
	for i := range 1001 {
		linear.Breaks = append(linear.Breaks, -5+float64(i)*0.01)
		powers.Breaks = append(powers.Breaks, math.Ldexp(1, i-500))
	}
	zeros.Breaks = linear.Breaks
	for i := range 1000 {
		linear.Counts = append(linear.Counts, float64(100+i%7))
		powers.Counts = append(powers.Counts, 0.5)
		zeros.Counts = append(zeros.Counts, float64(i/999*12))
	}
	f(1030, linear) // a byte for each count
	f(40, powers)
	f(30, zeros)
	answers := golden(t).Cases
	f(200, answers["uniform100"].Histogram)
	f(40, answers["ties"].Histogram)
}

func TestDamagedCompactBytesAreRefusedWithTheirPosition(t *testing.T) {
	h := &Histogram{[]float64{0, 1, 2, 3}, []float64{5, 0, 0}, "n"}
	whole := must[[]byte](t)(h.MarshalBinary())
	f := func(data []byte, sentinel error, want string) {
		t.Helper()
		got := *h
		refused(t, got.UnmarshalBinary(data), sentinel, want)
		if !got.Equal(h) {
			t.Errorf("an error changed the histogram to %v", &got)
		}
	}
	for n := range whole {
		if err := new(Histogram).UnmarshalBinary(whole[:n]); !errors.Is(err, ErrEncoding) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	f(append(slices.Clone(whole), 0), ErrEncoding, "byte 25: the histogram ends before the bytes do")
	f([]byte{'H', 2, 0}, ErrEncoding, "do not begin with 'H' and the version 1")
	f([]byte{'H', 1, 0x03, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2}, ErrEncoding, "byte 14: the form of counts 3 is none")
	f([]byte{'H', 1, 0x30, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2}, ErrEncoding, "byte 13: the form of breaks 3 is none")
	f([]byte{'H', 1, 0, 200, 1}, ErrEncoding, "byte 5: the name, 200, is more than 5")
	f([]byte{'H', 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 1}, ErrEncoding, "the number of buckets, 536870911, is more than 1048576")
	f([]byte{'H', 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 2}, ErrEncoding, "byte 15: a run of 2 goes beyond the last bucket")
	f([]byte{'H', 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}, ErrBreaks, "break 1, 0, is the one before again")
	f([]byte{'H', 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2}, ErrCounts, "count 0 is -1")
}

func TestUnsoundJSONIsRefusedWithTheIndexAndTheValue(t *testing.T) {
	f := func(text string, sentinel error, want string) {
		t.Helper()
		h := &Histogram{Name: "kept"}
		refused(t, h.UnmarshalJSON([]byte(text)), sentinel, want)
		if h.Name != "kept" {
			t.Errorf("an error changed the histogram to %v", h)
		}
	}
	f(`[]`, ErrEncoding, "array")
	f(`{"breaks": [0, 1]`, ErrEncoding, "unexpected end")
	f(`{"breaks": [0, "one"], "counts": [1]}`, ErrEncoding, `break 1, "\"one\"", is no number`)
	f(`{"breaks": [0, 1], "counts": [null]}`, ErrEncoding, `count 0, "null", is no number`)
	f(`{"breaks": [0, 1e999], "counts": [1]}`, ErrEncoding, `break 1, "1e999", is no number`)
	f(`{"breaks": [0, 1]}`, ErrCounts, "0 of them for 2 breaks")
	f(`{}`, ErrBreaks, "there are 0")
	f(`{"breaks": [1, 0], "counts": [1]}`, ErrBreaks, "break 1, 0, is less than the one before, 1")
	f(`{"breaks": [0, 1], "counts": [-1]}`, ErrCounts, "count 0 is -1")
	h := new(Histogram)
	if err := h.UnmarshalJSON([]byte(`{"breaks": [ "-Infinity", 1, "Infinity" ], "counts": [1, 2], "unit": "s"}`)); err != nil || !math.IsInf(h.Breaks[2], 1) {
		t.Errorf("%v, error %v", h, err)
	}
	_, err := new(Histogram).MarshalJSON()
	refused(t, err, ErrBreaks, "there are 0")
}

func TestUnsoundTablesAreRefusedWithTheLineAndTheValue(t *testing.T) {
	f := func(text string, sentinel error, want string) {
		t.Helper()
		_, err := ReadCSV(strings.NewReader(text))
		refused(t, err, ErrEncoding, want)
		refused(t, err, sentinel, want)
	}
	f("", ErrEncoding, "there is no header line")
	f("lower,upper\n", ErrEncoding, `line 1 has no column "count" among "lower,upper"`)
	f("lower,upper,count\n", ErrEncoding, "no rows below the header")
	f("lower,upper,count\n0,1,x\n", ErrEncoding, `line 2: count "x" is no number`)
	f("lower,upper,count\n0,1\n", ErrEncoding, "line 2: wrong number of fields")
	f("lower,upper,count\n0,1,2\n1,1,2\n", ErrBreaks, "line 3: unsound breaks: lower 1 is not less than upper 1")
	f("lower,upper,count\n0,1,2\n2,3,2\n", ErrBreaks, "line 3: unsound breaks: lower 2 is not the upper of the row before, 1")
	f("lower,upper,count\n0,1,2\n0.5,3,2\n", ErrBreaks, "line 3: unsound breaks: lower 0.5 is not the upper")
	f("lower,upper,count\n0,1,-2\n", ErrCounts, "line 2: unsound counts: count -2 is not finite and at least 0")
	f("lower,upper,count\nNaN,1,2\n", ErrBreaks, "lower NaN is not less than upper 1")
	got := must[[]*Histogram](t)(ReadCSV(strings.NewReader("\uFEFFcount, name ,note,lower,upper\n1,a,,0,1\n2,a,,1,+Inf\n3,b,,0,1\n4,b,,0,2\n")))
	want := []*Histogram{{[]float64{0, 1, math.Inf(1)}, []float64{1, 2}, "a"}, {[]float64{0, 1}, []float64{3}, "b"}, {[]float64{0, 2}, []float64{4}, "b"}}
	if !slices.EqualFunc(got, want, (*Histogram).Equal) {
		t.Errorf("%v, want %v", got, want)
	}
	refused(t, WriteCSV(new(bytes.Buffer), of([]float64{0, 1}, 1), of([]float64{2, 3}, 1)), ErrArgument, `histogram 1 begins at 2, above the one before, and has the same name, ""`)
}

func TestUnsoundMessagesAreRefusedWithTheIndexAndTheValue(t *testing.T) {
	f := func(data []byte, sentinel error, want string) {
		t.Helper()
		_, err := UnmarshalProto(data)
		refused(t, err, sentinel, want)
	}
	sound := must[[]byte](t)((&Histogram{[]float64{0, 1}, []float64{3}, "n"}).MarshalProto())
	f(nil, ErrEncoding, "0 breaks for 0 counts")
	f(sound[:9], ErrEncoding, "1 breaks for 0 counts")
	f(sound[:5], ErrEncoding, "field 1 at byte 0 is damaged or cut off")
	f(append(slices.Clone(sound[:18]), 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), ErrCounts, "count 0 is -1")
	f(append(slices.Clone(sound[:18]), 0x10, 0x80, 0x80, 0x80, 0x80, 8), ErrCounts, "count 0 is 2147483648, which is no int32")
	if !IsProto(sound) || IsProto(append(slices.Clone(sound), 0x20, 1)) || IsProto(sound[1:]) {
		t.Error("messages are not told from others")
	}
	if h, err := UnmarshalProto(append(slices.Clone(sound), 0x20, 1)); err != nil || h.Name != "n" {
		t.Errorf("%v, error %v: a field that it does not have is passed over", h, err)
	}
	if h, err := UnmarshalProto(append(slices.Clone(sound[:len(sound)-1]), 0xfc)); err != nil || h.Name != "\uFFFD" {
		t.Errorf("%v, error %v: a name that is not UTF-8 is read as far as it is", h, err)
	}
	for want, h := range map[string]*Histogram{
		"count 0, 0.5, is not whole":               of([]float64{0, 1}, 0.5),
		"count 0, 2.147483648e+09, is more than":   of([]float64{0, 1}, 1<<31),
		`name "\xff" is not UTF-8`:                 {[]float64{0, 1}, []float64{1}, "\xff"},
		"unsound breaks: break 1, 0, is less than": of([]float64{1, 0}, 1),
	} {
		if _, err := h.MarshalProto(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
}

// seeds returns histograms for fuzz targets.
func seeds() []*Histogram {
	return []*Histogram{
		{[]float64{0, 1, 2, 4}, []float64{3, 0, 0}, "name"},
		of([]float64{math.Inf(-1), 0, math.Inf(1)}, 0.25, 7),
		of([]float64{-1e300, 5e-324, 1, 2, 3}, 1, 1, 1, 1),
		of([]float64{0, 0.1, 0.2, 0.30000000000000004}, 1e6, 1e6, 1e6+1),
	}
}

func FuzzUnmarshalBinary(f *testing.F) {
	for _, h := range seeds() {
		data, err := h.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h := new(Histogram)
		if h.UnmarshalBinary(data) != nil {
			return
		}
		again, err := h.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		back := new(Histogram)
		if err := back.UnmarshalBinary(again); err != nil || !back.Equal(h) {
			t.Fatalf("%v came back as %v, error %v", h, back, err)
		}
	})
}

func FuzzUnmarshalProto(f *testing.F) {
	files, err := filepath.Glob("../sketch/histogramtools/testdata/*.pb")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := UnmarshalProto(data)
		if err != nil {
			return
		}
		again, err := h.MarshalProto()
		if err != nil {
			t.Fatal(err)
		}
		back, err := UnmarshalProto(again)
		if err != nil || !back.Equal(h) || !IsProto(again) {
			t.Fatalf("%v came back as %v, error %v", h, back, err)
		}
	})
}

func FuzzUnmarshalJSON(f *testing.F) {
	for _, h := range seeds() {
		data, err := h.MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(`{"breaks": [0, 1e400], "counts": [null]}`)
	f.Fuzz(func(t *testing.T, text string) {
		h := new(Histogram)
		if h.UnmarshalJSON([]byte(text)) != nil {
			return
		}
		data, err := h.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		back := new(Histogram)
		if err := back.UnmarshalJSON(data); err != nil || !back.Equal(h) {
			t.Fatalf("%v came back as %v, error %v", h, back, err)
		}
	})
}

func FuzzReadCSV(f *testing.F) {
	for _, h := range seeds() {
		var table bytes.Buffer
		if err := WriteCSV(&table, h); err != nil {
			f.Fatal(err)
		}
		f.Add(table.String())
	}
	f.Add("upper,count,lower\n1,2,0\n")
	f.Add("lower,upper,count,name\n0,1,1,\"a\"\"\n\r\r\n\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		hs, err := ReadCSV(strings.NewReader(text))
		if err != nil {
			return
		}
		var table bytes.Buffer
		if err := WriteCSV(&table, hs...); err != nil {
			t.Fatal(err)
		}
		back, err := ReadCSV(&table)
		if err != nil || !slices.EqualFunc(back, hs, (*Histogram).Equal) {
			t.Fatalf("%v came back as %v, error %v", hs, back, err)
		}
	})
}
