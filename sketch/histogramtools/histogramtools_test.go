package histogramtools

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/quietile/quietile/histogram"
	"github.com/quietile/quietile/sketch"
)

// random returns a generator, whose seed it prints.
func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func explicit(t *testing.T, breaks ...float64) *sketch.Grid {
	t.Helper()
	g, err := sketch.NewExplicit(breaks)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func counted(g *sketch.Grid, xs ...float64) *sketch.Binned {
	b := sketch.NewBinned(g)
	b.AddBatch(xs)
	return b
}

// state is the bytes of a message.
func state(breaks []float64, counts ...int64) []byte {
	var data []byte
	for _, x := range breaks {
		data = protowire.AppendFixed64(protowire.AppendTag(data, 1, protowire.Fixed64Type), math.Float64bits(x))
	}
	for _, n := range counts {
		data = protowire.AppendVarint(protowire.AppendTag(data, 2, protowire.VarintType), uint64(n))
	}
	return data
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// same checks that two sketches have equal grids and equal counts in every bucket.
func same(t *testing.T, got, want *sketch.Binned) {
	t.Helper()
	if !got.Grid().Equal(want.Grid()) {
		t.Fatalf("the grid is %v, want %v", got.Grid(), want.Grid())
	}
	for i := range want.Grid().Len() {
		if got.Bucket(i) != want.Bucket(i) {
			lower, upper := want.Grid().Bounds(i)
			t.Errorf("bucket %d, from %v to %v: %d, want %d", i, lower, upper, got.Bucket(i), want.Bucket(i))
		}
	}
	if got.Count() != want.Count() || got.NaNCount() != want.NaNCount() {
		t.Errorf("%v, want %v", got, want)
	}
}

// integers are the values of right.pb and left.pb.
var integers = []float64{0, 1, 1, 2, 3, 3, 3, 4}

func next(x float64) float64 { return math.Nextafter(x, math.Inf(1)) }

func TestRightClosedHistogramsOfRReadAsTheirValuesWouldCount(t *testing.T) {
	f := func(name string, breaks []float64, xs ...float64) {
		t.Helper()
		got, err := UnmarshalRightClosed(file(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for i := range breaks {
			if i > 0 || math.IsInf(breaks[0], -1) {
				breaks[i] = next(breaks[i])
			}
		}
		same(t, got, counted(explicit(t, breaks...), xs...))
	}
	f("default.pb", []float64{0, 10, 20, 30, 40, 50}, 1, 2, 4, 43, 20, 33, 1, 1, 3)
	f("right.pb", []float64{0, 1, 2, 3, 4}, integers...)
	f("uneven.pb", []float64{-3, -1, 0, 0.5, 8}, -2.5, -1, 0, 0.25, 7)
	got, err := UnmarshalRightClosed(file(t, "infinite.pb"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, counted(explicit(t, next(-1), next(0)), -2.5, -1, 0, 0.25, 7))
}

func TestLeftClosedHistogramsOfRReadAsTheirValuesWouldCount(t *testing.T) {
	got, err := Unmarshal(file(t, "left.pb"))
	if err != nil {
		t.Fatal(err)
	}
	// R's last bucket holds its upper break.
	xs := slices.Clone(integers)
	xs[slices.Index(xs, 4)] = 3.5
	same(t, got, counted(explicit(t, 0, 1, 2, 3, 4), xs...))
}

func TestBoundsHoldThoughTheSideOfTheBreaksIsUnknown(t *testing.T) {
	xs := slices.Sorted(slices.Values(integers))
	for _, name := range []string{"left.pb", "right.pb"} {
		b, err := Unmarshal(file(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range xs {
			lower, upper, err := b.QuantileBounds((float64(i) + 0.5) / float64(len(xs)))
			if err != nil {
				t.Fatal(err)
			}
			if x < lower || x > upper {
				t.Errorf("%s: value %d, %v, is not from %v to %v", name, i, x, lower, upper)
			}
		}
	}
}

func TestBytesAreThoseOfR(t *testing.T) {
	withoutName := func(data []byte) []byte {
		for at := 0; at < len(data); {
			number, kind, tag := protowire.ConsumeTag(data[at:])
			value := protowire.ConsumeFieldValue(number, kind, data[at+tag:])
			if tag < 0 || value < 0 {
				t.Fatal("the file is damaged")
			}
			if number == 3 {
				return slices.Delete(slices.Clone(data), at, at+tag+value)
			}
			at += tag + value
		}
		return data
	}
	// R writes fields in the order of their numbers.
	f := func(name string, read func([]byte) (*sketch.Binned, error), write func(*sketch.Binned) ([]byte, error)) {
		t.Helper()
		data := file(t, name)
		b, err := read(data)
		if err != nil {
			t.Fatal(err)
		}
		got, err := write(b)
		if err != nil {
			t.Fatal(err)
		}
		if want := withoutName(data); !slices.Equal(got, want) {
			t.Errorf("%s: %x, want %x", name, got, want)
		}
	}
	for _, name := range []string{"default.pb", "right.pb", "left.pb", "uneven.pb", "infinite.pb"} {
		f(name, Unmarshal, Marshal)
		f(name, UnmarshalRightClosed, MarshalRightClosed)
	}
}

func TestReadingUndoesWriting(t *testing.T) {
	rng := random(t)
	f := func(g *sketch.Grid, spread float64) {
		t.Helper()
		b := sketch.NewBinned(g)
		for range 300 {
			b.Add(spread * rng.NormFloat64())
		}
		b.AddBatch(g.Breaks())
		for _, way := range []struct {
			write func(*sketch.Binned) ([]byte, error)
			read  func([]byte) (*sketch.Binned, error)
		}{{Marshal, Unmarshal}, {MarshalRightClosed, UnmarshalRightClosed}} {
			data, err := way.write(b)
			if err != nil {
				t.Fatal(err)
			}
			got, err := way.read(data)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, b.Rebin(explicit(t, g.Breaks()...)))
		}
	}
	linear, err := sketch.NewLinear(-10, 10, 40)
	if err != nil {
		t.Fatal(err)
	}
	for _, spread := range []float64{1, 100} { // without and with outer buckets
		f(linear, spread)
		f(explicit(t, 0, 1, 3), spread)
		f(explicit(t, -1e300, -2, 0, 1e-300, 1e300), spread)
	}
	f(explicit(t, 0), 1)
}

func TestPackedAndUnpackedValuesAreTheSame(t *testing.T) {
	packed := []byte{0x0a, 24}
	for _, x := range []float64{0, 1, 2} {
		packed = protowire.AppendFixed64(packed, math.Float64bits(x))
	}
	packed = append(packed, 0x12, 2, 5, 6, 0x1a, 1, 'x')
	got, err := Unmarshal(packed)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Unmarshal(state([]float64{0, 1, 2}, 5, 6))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
	if got.Count() != 11 {
		t.Errorf("%v", got)
	}
}

func TestWhatAHistogramDoesNotHoldIsRefused(t *testing.T) {
	f := func(b *sketch.Binned, sentinel error, want string) {
		t.Helper()
		if _, err := Marshal(b); !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	e, err := sketch.NewExponential(3)
	if err != nil {
		t.Fatal(err)
	}
	f(sketch.NewBinned(e), sketch.ErrGrid, "exponential:scale=3 is exponential")
	f(counted(explicit(t, 1)), sketch.ErrGrid, "explicit:1 has one break")
	f(counted(explicit(t, 1, 2), math.NaN()), ErrNaN, "there are 1")
	b := counted(explicit(t, 1, 2))
	if err := b.AddN(1.5, 1<<31); err != nil {
		t.Fatal(err)
	}
	f(b, ErrCount, "2147483648 from 1 to 2")
	if _, err := MarshalRightClosed(counted(explicit(t, 0, 5e-324))); !errors.Is(err, sketch.ErrGrid) || !strings.Contains(err.Error(), "nothing between") {
		t.Errorf("the error is %v", err)
	}
}

func TestUnsoundHistogramsAreRefused(t *testing.T) {
	f := func(data []byte, sentinel error, want string) {
		t.Helper()
		for _, read := range []func([]byte) (*sketch.Binned, error){Unmarshal, UnmarshalRightClosed} {
			if _, err := read(data); !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v, want one with %q", err, want)
			}
		}
	}
	f(nil, sketch.ErrEncoding, "0 breaks for 0 counts")
	f(state([]float64{1, 2}), sketch.ErrEncoding, "2 breaks for 0 counts")
	f(state([]float64{1, 2}, 1, 2), sketch.ErrEncoding, "2 breaks for 2 counts")
	f(state([]float64{2, 1}, 1), sketch.ErrGrid, "break 1, 1")
	f(state([]float64{0, math.NaN()}, 1), sketch.ErrGrid, "break 1 is NaN")
	f(state([]float64{0, math.Inf(1), math.Inf(1)}, 1, 1), sketch.ErrGrid, "break 2, +Inf, is the one before again")
	f(state([]float64{math.Inf(-1), math.Inf(1)}, 1), sketch.ErrGrid, "0 breaks")
	f(state([]float64{1}), sketch.ErrEncoding, "1 breaks for 0 counts")
	f(state([]float64{0, 1}, -3), ErrCount, "count 0 is -3")
	f(state([]float64{0, 1}, 1<<31), ErrCount, "count 0 is 2147483648")
	f([]byte{0x09, 1}, sketch.ErrEncoding, "field 1 at byte 0 is damaged or cut off")
	f([]byte{0x0a, 1, 1}, sketch.ErrEncoding, "field 1 at byte 0 has 1 bytes of float64")
	f([]byte{0x12, 1, 0x80}, sketch.ErrEncoding, "the number at byte 2, in field 2")
	f([]byte{0x15, 1, 2, 3, 4}, sketch.ErrEncoding, "field 2 at byte 0 has the wire type 5")
	whole := file(t, "right.pb")
	for n := range len(whole) - 27 { // as far as the name
		if _, err := Unmarshal(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes are no error", n, len(whole))
		}
	}
}

// TotalAlloc counts what was freed meanwhile too.
func TestMemoryIsInProportionToTheBytes(t *testing.T) {
	f := func(data []byte) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Unmarshal(data)
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(200*len(data)+1<<20); got > limit {
			t.Errorf("%d bytes took %d, more than %d (%v)", len(data), got, limit, err)
		}
	}
	breaks := make([]float64, 200_001)
	counts := make([]int64, 200_000)
	for i := range breaks {
		breaks[i] = float64(i)
	}
	for i := range counts {
		counts[i] = 1
	}
	f(state(breaks, counts...))
	f(state(breaks))
	f(state(nil, counts...))
}

func TestEverySketchIsAHistogramWhoseBucketsHoldItsValues(t *testing.T) {
	rng := random(t)
	grids := []string{"exponential:scale=3", "exponential:scale=2,min=0.01,max=100", "exponential:scale=8", "linear:lower=-10,upper=10,bins=40", "explicit:-3,0,0.5,8"}
	for _, text := range grids {
		g, err := sketch.ParseGrid(text)
		if err != nil {
			t.Fatal(err)
		}
		for trial := range 60 {
			b := sketch.NewBinned(g)
			var xs []float64
			for range 1 + rng.IntN(30) {
				x := 3 * rng.NormFloat64()
				switch {
				case trial%3 == 0:
					x = math.Abs(x)
				case trial%6 == 1:
					x = -math.Abs(x)
				}
				if rng.IntN(4) == 0 || trial == 2 {
					x = 0
				}
				if rng.IntN(9) == 0 && trial != 2 {
					x = math.Copysign([]float64{5e-324, 1e300, 1, 2}[rng.IntN(4)], x)
				}
				xs = append(xs, x)
			}
			b.AddBatch(xs)
			h, err := ToHistogram(b)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Validate(); err != nil || h.Count() != float64(len(xs)) {
				t.Fatalf("%v of %v, error %v", h, b, err)
			}
			e, err := h.ECDF(histogram.Linear())
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(xs)
			for i, x := range xs {
				if i+1 < len(xs) && xs[i+1] == x {
					continue
				}
				share := float64(i+1) / float64(len(xs))
				low, high := e.Bounds(x)
				if before, _ := e.Bounds(math.Nextafter(x, math.Inf(-1))); high < share || min(low, before) > share {
					t.Errorf("%s: %v of the values are at most %v, and not from %v to %v: %v", text, share, x, low, high, h)
				}
			}
		}
	}
	g, err := sketch.ParseGrid("exponential:scale=0")
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string, xs ...float64) {
		t.Helper()
		h, err := ToHistogram(counted(g, xs...))
		if err != nil || h.String() != want {
			t.Errorf("%v, want %s, error %v", h, want, err)
		}
	}
	f("[1, 2] 1, (2, 16] 0, (16, 32] 2", 2, 20, 30)
	f("[0, 1] 2, (1, 2] 1", 0, 0, 1.5)
	f("[-2, -1] 1, (-1, 0] 2", 0, 0, -1.5)
	f("[-2, -1] 1, (-1, 0] 0, (0, 1] 2, (1, 2] 1", 0, 0, -1.5, 1.5)
	f("[0, 1] 2", 0, 0)
	f("[2, 4] 1, (4, 1.7976931348623157e+308] 0, (1.7976931348623157e+308, +Inf) 1", 3, math.Inf(1))
	refused := func(b *sketch.Binned, sentinel error, want string) {
		t.Helper()
		if _, err := ToHistogram(b); !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	refused(counted(g, 1, math.NaN()), ErrNaN, "there are 1")
	refused(counted(g), histogram.ErrEmpty, "exponential:scale=0")
	b := counted(g)
	if err := b.AddN(3, 1<<53+1); err != nil {
		t.Fatal(err)
	}
	refused(b, ErrCount, "9007199254740993 from 2 to 4")
}

func FuzzUnmarshal(f *testing.F) {
	for _, name := range []string{"default.pb", "right.pb", "uneven.pb", "infinite.pb"} {
		data := file(f, name)
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte{})
	f.Add(state([]float64{0, 5e-324, math.MaxFloat64}, 1, 2))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, way := range []struct {
			read  func([]byte) (*sketch.Binned, error)
			write func(*sketch.Binned) ([]byte, error)
		}{{Unmarshal, Marshal}, {UnmarshalRightClosed, MarshalRightClosed}} {
			read, err := way.read(data)
			if err != nil {
				continue
			}
			again, err := way.write(read)
			if errors.Is(err, sketch.ErrGrid) { // buckets without a value, or without an end
				continue
			}
			if err != nil {
				t.Fatalf("%v was read, but is not written: %v", read, err)
			}
			back, err := way.read(again)
			if err != nil {
				t.Fatalf("%v was written, but is not read: %v", read, err)
			}
			if !back.Equal(read) {
				t.Fatalf("%v came back as %v", read, back)
			}
		}
	})
}
