// Package histplot draws histograms and what they say as pictures, SVG or PNG.
//
// Each function of a kind of picture returns a plot of gonum.org/v1/plot, whose title, labels and ranges may be changed before
// [WriteSVG] or [WritePNG] writes it. A histogram with a bucket that reaches to infinity is drawn without that if it counts nothing;
// otherwise it cannot be drawn, and the error wraps [histogram.ErrInfinite]. Titles are the names of histograms.
package histplot

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/quietile/quietile/histogram"
)

// pixel is what stands for one of a screen's: 96 of them are an inch.
const pixel = vg.Inch / 96

// WriteSVG writes a plot as an SVG picture of so many pixels. The error is that of writing, or wraps [histogram.ErrArgument] for a size that is not from 100 to
// 10,000 pixels.
func WriteSVG(w io.Writer, p *plot.Plot, width, height int) error {
	if err := checkSize(width, height); err != nil {
		return err
	}
	c := vgsvg.New(vg.Length(width)*pixel, vg.Length(height)*pixel)
	p.Draw(inside(draw.New(c)))
	var picture bytes.Buffer
	if _, err := c.WriteTo(&picture); err != nil {
		return err
	}
	// Not every viewer has the font.
	_, err := w.Write(bytes.ReplaceAll(picture.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")))
	return err
}

// WritePNG writes a plot as a PNG picture of so many pixels. The error is that of [WriteSVG].
func WritePNG(w io.Writer, p *plot.Plot, width, height int) error {
	if err := checkSize(width, height); err != nil {
		return err
	}
	c := vgimg.NewWith(vgimg.UseWH(vg.Length(width)*pixel, vg.Length(height)*pixel), vgimg.UseDPI(96))
	p.Draw(inside(draw.New(c)))
	_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(w)
	return err
}

// inside returns the canvas without a margin on each side, which holds what labels need more in another font.
func inside(c draw.Canvas) draw.Canvas {
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	return draw.Crop(c, 6*pixel, -14*pixel, 6*pixel, -10*pixel)
}

func checkSize(width, height int) error {
	const least, most = 100, 10_000
	for _, f := range []struct {
		name  string
		value int
	}{{"width", width}, {"height", height}} {
		if f.value < least || f.value > most {
			return fmt.Errorf("%w: %s %d is not from %d to %d pixels", histogram.ErrArgument, f.name, f.value, least, most)
		}
	}
	return nil
}

var (
	blue     = color.NRGBA{R: 0x1b, G: 0x6c, B: 0xa8, A: 0xff}
	lightest = color.NRGBA{R: 0x1b, G: 0x6c, B: 0xa8, A: 0x40}
	light    = color.NRGBA{R: 0x1b, G: 0x6c, B: 0xa8, A: 0x90}
	orange   = color.NRGBA{R: 0xc0, G: 0x56, B: 0x21, A: 0xff}
	glow     = color.NRGBA{R: 0xc0, G: 0x56, B: 0x21, A: 0x70}
	grey     = color.NRGBA{R: 0x55, G: 0x55, B: 0x55, A: 0xff}
	pale     = color.NRGBA{R: 0xe4, G: 0xe4, B: 0xe4, A: 0xff}
)

// newPlot returns an empty plot with labelled axes.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = shortTitle(title), x, y
	p.Title.Padding = vg.Points(6)
	for _, f := range []struct {
		font *font.Font
		size vg.Length
	}{
		{&p.Title.TextStyle.Font, 12},
		{&p.X.Label.TextStyle.Font, 11},
		{&p.Y.Label.TextStyle.Font, 11},
		{&p.X.Tick.Label.Font, 9.5},
		{&p.Y.Tick.Label.Font, 9.5},
		{&p.Legend.TextStyle.Font, 9.5},
	} {
		f.font.Variant, f.font.Size = "Sans", vg.Points(float64(f.size))
	}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Tick.Marker = roundTicks{}
		a.LineStyle.Color, a.Tick.LineStyle.Color = grey, grey
		a.Label.Padding = vg.Points(3)
	}
	p.X.Padding, p.Y.Padding = 0, 0
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = pale, pale
	p.Add(grid)
	return p
}

// shortTitle returns a title that fits above a picture of 600 pixels.
func shortTitle(s string) string {
	const most = 64
	s = strings.TrimSpace(s)
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// drawable returns the histogram without buckets that reach to infinity, or an error if they count something.
func drawable(h *histogram.Histogram) (*histogram.Histogram, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	first, last := 0, h.Len()
	for _, i := range []int{0, h.Len() - 1} {
		lower, upper := h.Bounds(i)
		if !math.IsInf(lower, -1) && !math.IsInf(upper, 1) {
			continue
		}
		if h.Counts[i] > 0 || h.Len() == 1 {
			return nil, fmt.Errorf("%w: bucket %d, from %v to %v, counts %v, and has no place in a picture: take a subset without it", histogram.ErrInfinite, i, lower, upper, h.Counts[i])
		}
		if i == 0 {
			first = 1
		} else {
			last = i
		}
	}
	if first >= last {
		return nil, fmt.Errorf("%w: there is no bucket with two ends to draw", histogram.ErrInfinite)
	}
	return h.Subset(h.Breaks[first], h.Breaks[last])
}

// sameWidths says whether all buckets are as wide, but for rounding.
func sameWidths(h *histogram.Histogram) bool {
	width := (h.Breaks[h.Len()] - h.Breaks[0]) / float64(h.Len())
	for i := range h.Counts {
		lower, upper := h.Bounds(i)
		if math.Abs(upper-lower-width) > 1e-6*width {
			return false
		}
	}
	return true
}

// heights returns what bars of a histogram are high, and what that is called: counts, or shares, or their densities where buckets differ in width.
func heights(h *histogram.Histogram, shares bool) ([]float64, string, error) {
	heights, name := append([]float64(nil), h.Counts...), "count"
	if shares || !sameWidths(h) {
		normal, err := h.Normalize()
		if err != nil {
			return nil, "", err
		}
		heights, name = normal.Counts, "share of values"
	}
	if !shares && !sameWidths(h) {
		for i := range heights {
			lower, upper := h.Bounds(i)
			heights[i] /= upper - lower
		}
		name = "density"
	}
	return heights, name, nil
}

// Histogram returns the bars of a histogram, as R's hist() draws them: counts if all buckets are as wide, otherwise densities, so that areas are shares. The error is that of
// [histogram.Histogram.Validate], or wraps [histogram.ErrEmpty] for buckets of unlike widths that count nothing.
func Histogram(h *histogram.Histogram) (*plot.Plot, error) {
	h, err := drawable(h)
	if err != nil {
		return nil, err
	}
	ys, name, err := heights(h, false)
	if err != nil {
		return nil, err
	}
	return bars(h, ys, name), nil
}

// RelativeFrequency returns bars that are as high as the shares of values in the buckets, R's PlotRelativeFrequency. The error is that of
// [histogram.Histogram.Normalize].
func RelativeFrequency(h *histogram.Histogram) (*plot.Plot, error) {
	h, err := drawable(h)
	if err != nil {
		return nil, err
	}
	ys, name, err := heights(h, true)
	if err != nil {
		return nil, err
	}
	return bars(h, ys, name), nil
}

func bars(h *histogram.Histogram, ys []float64, name string) *plot.Plot {
	p := newPlot(h.Name, "value", name)
	p.Add(&boxes{xs: h.Breaks, tops: ys, fill: light, line: blue})
	fit(p, h, maxOf(ys))
	return p
}

// maxOf returns the largest of numbers, 0 of none.
func maxOf(ys []float64) float64 {
	most := 0.0
	for _, y := range ys {
		most = max(most, y)
	}
	return most
}

// fit sets ranges so that the histogram fills the width, and something that high fits in.
func fit(p *plot.Plot, h *histogram.Histogram, most float64) {
	p.X.Min, p.X.Max = h.Breaks[0], h.Breaks[h.Len()]
	p.Y.Min, p.Y.Max = 0, most*1.05
	if most == 0 {
		p.Y.Max = 1
	}
}

// AverageShifted returns the average shifted histogram as a curve over the bars of the densities, R's plot of HistToASH. The error is that of
// [histogram.Histogram.AverageShifted].
func AverageShifted(h *histogram.Histogram, m int, k histogram.Kernel) (*plot.Plot, error) {
	h, err := drawable(h)
	if err != nil {
		return nil, err
	}
	d, err := h.AverageShifted(m, k)
	if err != nil {
		return nil, err
	}
	ys, _, err := heights(h, true)
	if err != nil {
		return nil, err
	}
	for i := range ys {
		lower, upper := h.Bounds(i)
		ys[i] /= upper - lower
	}
	p := newPlot(h.Name, "value", "density")
	histogramBars := &boxes{xs: h.Breaks, tops: ys, fill: lightest, line: light}
	curve := &path{points: pointsOf(d.X, d.Y), style: line(orange, 2)}
	p.Add(histogramBars, curve, &key{top: true, entries: []entry{{"histogram", histogramBars}, {fmt.Sprintf("average of %d shifted", m), curve}}})
	fit(p, h, max(maxOf(ys), maxOf(d.Y))*1.15) // room for the legend
	return p, nil
}

// Compare returns the bars of two histograms over each other: shares if all buckets are as wide, otherwise densities. Their breaks need not be equal. The error names
// the histogram that is unsound or counts nothing.
func Compare(a, b *histogram.Histogram) (*plot.Plot, error) {
	pair, names := []*histogram.Histogram{a, b}, []string{"first", "second"}
	even := true
	for i, h := range pair {
		d, err := drawable(h)
		if err == nil {
			_, err = d.Normalize()
		}
		if err != nil {
			return nil, fmt.Errorf("%s histogram: %w", names[i], err)
		}
		pair[i] = d
		even = even && sameWidths(d)
		if d.Name != "" {
			names[i] = d.Name
		}
	}
	width := func(h *histogram.Histogram) float64 { return h.Breaks[1] - h.Breaks[0] }
	even = even && math.Abs(width(pair[0])-width(pair[1])) <= 1e-6*width(pair[0])
	p := newPlot(shortTitle(names[0])+" and "+shortTitle(names[1]), "value", "density")
	p.Title.Text = shortTitle(p.Title.Text)
	if even {
		p.Y.Label.Text = "share of values"
	}
	legend := &key{top: true}
	most := 0.0
	for i, h := range pair {
		ys, _, err := heights(h, true)
		if err != nil {
			return nil, err
		}
		for j := range ys {
			if !even {
				lower, upper := h.Bounds(j)
				ys[j] /= upper - lower
			}
		}
		most = max(most, maxOf(ys))
		drawn := &boxes{xs: h.Breaks, tops: ys, fill: []color.Color{lightest, glow}[i], line: []color.Color{blue, orange}[i], outline: true}
		p.Add(drawn)
		legend.entries = append(legend.entries, entry{shortName(names[i]), drawn})
	}
	p.Add(legend)
	fit(p, pair[0], most*1.2) // room for the legend
	p.X.Min, p.X.Max = min(p.X.Min, pair[1].Breaks[0]), max(p.X.Max, pair[1].Breaks[pair[1].Len()])
	return p, nil
}

// shortName returns a name that fits into a legend.
func shortName(s string) string {
	const most = 24
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}
