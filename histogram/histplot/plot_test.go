package histplot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"

	"github.com/quietile/quietile/histogram"
)

// all are the kinds of pictures of one histogram.
var all = map[string]func(*histogram.Histogram) (*plot.Plot, error){
	"histogram": Histogram, "relative frequency": RelativeFrequency, "ECDF": ECDF, "KSDCC": KSDCC, "EMDCC": EMDCC, "bytes": Log2ByteECDF, "time": LogTimeECDF,
	"average shifted": func(h *histogram.Histogram) (*plot.Plot, error) { return AverageShifted(h, 3, histogram.Kernel{}) },
	"compare":         func(h *histogram.Histogram) (*plot.Plot, error) { return Compare(h, h) },
}

func of(breaks []float64, counts ...float64) *histogram.Histogram {
	return &histogram.Histogram{Breaks: breaks, Counts: counts, Name: "what was counted"}
}

// texts are those of an SVG picture, which must be well-formed.
func texts(t *testing.T, p *plot.Plot) []string {
	t.Helper()
	var picture bytes.Buffer
	if err := WriteSVG(&picture, p, 600, 400); err != nil {
		t.Fatal(err)
	}
	var found []string
	inText := false
	d := xml.NewDecoder(&picture)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.CharData:
			if inText && strings.TrimSpace(string(token)) != "" {
				found = append(found, string(token))
			}
		case xml.EndElement:
			inText = false
		}
	}
}

func TestEveryPictureHasATitleAndLabelledAxes(t *testing.T) {
	h := of([]float64{0, 1, 2, 3, 4}, 5, 9, 3, 1)
	for name, draw := range all {
		t.Run(name, func(t *testing.T) {
			p, err := draw(h)
			if err != nil {
				t.Fatal(err)
			}
			said := strings.Join(texts(t, p), "|")
			for _, text := range []string{p.X.Label.Text, p.Y.Label.Text, "what was counted"} {
				if text == "" || !strings.Contains(said, text) {
					t.Errorf("%q is not in %s", text, said)
				}
			}
			var picture bytes.Buffer
			if err := WritePNG(&picture, p, 600, 400); err != nil {
				t.Fatal(err)
			}
			image, err := png.Decode(&picture)
			if err != nil {
				t.Fatal(err)
			}
			if size := image.Bounds().Size(); size.X != 600 || size.Y != 400 {
				t.Errorf("the picture has %v pixels", size)
			}
			// Nothing reaches the edges.
			white := image.At(0, 0)
			for x := range 600 {
				for _, y := range []int{0, 2, 397, 399} {
					if image.At(x, y) != white {
						t.Fatalf("pixel %d, %d is drawn", x, y)
					}
				}
			}
			for y := range 400 {
				for _, x := range []int{0, 2, 597, 599} {
					if image.At(x, y) != white {
						t.Fatalf("pixel %d, %d is drawn", x, y)
					}
				}
			}
		})
	}
}

func TestPicturesSayWhatTheyShow(t *testing.T) {
	f := func(p *plot.Plot, err error) func(want ...string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		said := texts(t, p)
		return func(want ...string) {
			t.Helper()
			for _, w := range want {
				found := false
				for _, s := range said {
					found = found || s == w
				}
				if !found {
					t.Errorf("%q is not in %q", w, said)
				}
			}
		}
	}
	h := of([]float64{0, 1, 2, 3, 4, 8, 16, 32}, 630, 231, 86, 36, 17, 0, 0)
	f(KSDCC(h))("KSDCC = 0.63", "upper bound", "lower bound")
	f(EMDCC(h))("EMDCC = 0.0328", "upper bound", "lower bound")
	f(Histogram(h))("density")
	f(RelativeFrequency(h))("share of values")
	even := of([]float64{0, 1, 2, 3}, 1, 2, 3)
	f(Histogram(even))("count")
	f(AverageShifted(even, 3, histogram.Kernel{}))("average of 3 shifted")
	f(Compare(even, even))("share of values")
	f(Compare(even, h))("density")
	powers := of([]float64{0}, nil...)
	for k := range 36 {
		powers.Breaks, powers.Counts = append(powers.Breaks, math.Ldexp(1, k)), append(powers.Counts, 1)
	}
	f(Log2ByteECDF(powers))("1 B", "1 KiB", "1 MiB", "1 GiB")
	f(LogTimeECDF(of([]float64{1, 60, 86400, 20 * year}, 1, 1, 1)))("1 s", "10 s", "1 min", "10 min", "1 h", "1 d", "7 d", "1 y", "10 y")
	f(LogTimeECDF(of([]float64{0, 1e-6, 0.5}, 1, 1)))("1 µs", "10 µs", "1 ms", "100 ms")
	long := even.Clone()
	long.Name = strings.Repeat("long ", 30)
	f(Histogram(long))(strings.Repeat("long ", 12) + "lon…")
}

func TestLabelsOfAxesDoNotOverlap(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	const width = 500 * pixel // of an axis in a picture of 600 pixels
	f := func(p *plot.Plot, ticks []plot.Tick, at func(float64) float64) {
		t.Helper()
		labels, end := 0, vg.Length(math.Inf(-1))
		for _, tick := range ticks {
			if tick.Label == "" {
				continue
			}
			labels++
			middle, half := vg.Length(at(tick.Value))*width, p.X.Tick.Label.Width(tick.Label)/2
			const gap = 3 * pixel
			if middle-half < end+gap {
				t.Errorf("%q begins before the label before ends: %v", tick.Label, ticks)
			}
			end = middle + half
		}
		if labels < 2 || labels > 14 {
			t.Errorf("there are %d labels: %v", labels, ticks)
		}
	}
	p := newPlot("", "x", "y")
	for range 2000 {
		least := rng.NormFloat64() * math.Pow(10, float64(rng.IntN(12)-4))
		most := least + (0.01+rng.Float64())*math.Pow(10, float64(rng.IntN(12)-4))
		if most-least < 1e-3*math.Abs(least) {
			continue // as many digits as would be needed do not fit
		}
		f(p, roundTicks{}.Ticks(least, most), func(x float64) float64 { return (x - least) / (most - least) })
		from := math.Pow(2, 20*rng.Float64())
		to := from * math.Pow(2, 2+38*rng.Float64())
		f(p, byteTicks(from, to), func(x float64) float64 { return math.Log(x/from) / math.Log(to/from) })
		from = math.Pow(10, 10*rng.Float64()-9)
		to = from * math.Pow(10, 2.7+14*rng.Float64())
		f(p, durationTicks(from, to), func(x float64) float64 { return math.Log(x/from) / math.Log(to/from) })
	}
}

func TestWhatHasNoPictureIsRefused(t *testing.T) {
	inf := math.Inf(1)
	f := func(h *histogram.Histogram, sentinel error, want string, kinds ...string) {
		t.Helper()
		for name, draw := range all {
			if len(kinds) > 0 && !strings.Contains(strings.Join(kinds, "|"), name) {
				continue
			}
			if _, err := draw(h); !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error is %v, want one with %q", name, err, want)
			}
		}
	}
	f(of([]float64{1, 0}, 1), histogram.ErrBreaks, "break 1, 0")
	f(of([]float64{0, 1, inf}, 1, 2), histogram.ErrInfinite, "bucket 1, from 1 to +Inf, counts 2, and has no place in a picture")
	f(of([]float64{-inf, inf}, 0), histogram.ErrInfinite, "bucket 0")
	f(of([]float64{-inf, 0, inf}, 0, 0), histogram.ErrInfinite, "no bucket with two ends")
	f(of([]float64{0, 1, 2}, 0, 0), histogram.ErrEmpty, "", "relative frequency", "ECDF", "KSDCC", "EMDCC", "average shifted", "compare")
	f(of([]float64{-2, -1}, 1), histogram.ErrArgument, "the last break, -1, is not more than", "bytes", "time")
	f(of([]float64{0, 1, 3}, 1, 1), histogram.ErrBreaks, "bucket 0, from 0 to 1, is 1 wide", "average shifted")
	for name, draw := range all {
		if _, err := draw(of([]float64{-inf, 1, 2, 3, inf}, 0, 1, 2, 0)); err != nil {
			t.Errorf("%s: %v: buckets to infinity that count nothing do not matter", name, err)
		}
	}
	p, err := Histogram(of([]float64{0, 1, 2}, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteSVG(io.Discard, p, 99, 400); !errors.Is(err, histogram.ErrArgument) || !strings.Contains(err.Error(), "width 99 is not from 100 to 10000 pixels") {
		t.Errorf("the error is %v", err)
	}
	if err := WritePNG(io.Discard, p, 600, 20_000); !errors.Is(err, histogram.ErrArgument) || !strings.Contains(err.Error(), "height 20000") {
		t.Errorf("the error is %v", err)
	}
}

func TestAnyHistogramHasPictures(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	for range 20 {
		h := of([]float64{rng.NormFloat64() * 100}, nil...)
		step := rng.ExpFloat64() * math.Pow(10, float64(rng.IntN(9)-3))
		for i := range 1 + rng.IntN(3000) {
			h.Breaks = append(h.Breaks, h.Breaks[0]+float64(i+1)*step)
			h.Counts = append(h.Counts, math.Floor(100*rng.Float64()))
		}
		h.Counts[0]++
		for name, draw := range all {
			p, err := draw(h)
			if errors.Is(err, histogram.ErrArgument) && (name == "bytes" || name == "time") {
				continue // all is below the axis
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if said := strings.Join(texts(t, p), "|"); strings.Contains(said, "NaN") || strings.Contains(said, "Inf") {
				t.Errorf("%s: %s", name, said)
			}
		}
	}
}
