package main

import (
	"image/color"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

var (
	ownColor  = color.RGBA{R: 0x1b, G: 0x6c, B: 0xa8, A: 0xff}
	peerColor = color.RGBA{R: 0xc0, G: 0x56, B: 0x21, A: 0xff}
)

// plots writes the pictures of the report.
func (r *run) plots(dir string) {
	main := r.results[0]
	bars(filepath.Join(dir, "insert.svg"), "Insert, log-normal values", "ns a value", main, func(f *figures) float64 { return median(f.single) })
	bars(filepath.Join(dir, "rank.svg"), "Largest rank error, log-normal values", "% of the values", main, func(f *figures) float64 { return 100 * f.maxRank })
	p := plot.New()
	p.Title.Text = "Bytes of a sketch of log-normal values"
	p.X.Label.Text, p.Y.Label.Text = "worst relative error, %", "bytes"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	for _, f := range main.figures {
		if !f.library.bounded {
			continue
		}
		at := plotter.XYs{{X: 100 * f.worst, Y: float64(f.bytes)}}
		s := must(plotter.NewScatter(at))
		s.Color, s.Radius = colorOf(f), vg.Points(4)
		names := must(plotter.NewLabels(plotter.XYLabels{XYs: at, Labels: []string{f.library.name}}))
		names.Offset.X, names.Offset.Y = vg.Points(6), vg.Points(-3)
		p.Add(s, names)
	}
	p.X.Min, p.X.Max = p.X.Min/1.5, p.X.Max*4
	p.Y.Min, p.Y.Max = p.Y.Min/1.5, p.Y.Max*1.5
	check(p.Save(20*vg.Centimeter, 13*vg.Centimeter, filepath.Join(dir, "size.svg")))
}

func colorOf(f *figures) color.Color {
	if f.library.ours {
		return ownColor
	}
	return peerColor
}

// bars draws one bar for each library.
func bars(name, title, unit string, r *results, of func(*figures) float64) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, unit
	names := make([]string, len(r.figures))
	for i, f := range r.figures {
		at := len(r.figures) - 1 - i // the first at the top
		names[at] = f.library.name
		b := must(plotter.NewBarChart(plotter.Values{of(f)}, vg.Points(9)))
		b.Horizontal, b.XMin, b.Color = true, float64(at), colorOf(f)
		b.LineStyle.Width = 0
		p.Add(b)
	}
	p.NominalY(names...)
	check(p.Save(20*vg.Centimeter, 13*vg.Centimeter, name))
}
