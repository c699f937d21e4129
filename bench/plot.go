package main

import (
	"image/color"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

var (
	ownColor  = color.RGBA{R: 0x1b, G: 0x6c, B: 0xa8, A: 0xff}
	peerColor = color.RGBA{R: 0xc0, G: 0x56, B: 0x21, A: 0xff}
)

// plots writes the pictures of the report.
func (r *run) plots(dir string) {
	main := r.results[0]
	dots(filepath.Join(dir, "insert.svg"), "Insert, log-normal values", "ns a value", main, func(f *figures) float64 { return median(f.single) })
	dots(filepath.Join(dir, "rank.svg"), "Largest rank error, log-normal values", "% of the values", main, func(f *figures) float64 { return 100 * f.maxRank })
	p := plot.New()
	p.Title.Text = "Bytes of a sketch of log-normal values"
	p.X.Label.Text, p.Y.Label.Text = "worst relative error, %", "bytes"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	var labelled plotter.XYs
	for _, f := range main.figures {
		if !f.library.bounded {
			continue
		}
		at := plotter.XYs{{X: 100 * f.worst, Y: float64(f.bytes)}}
		s := must(plotter.NewScatter(at))
		s.Shape, s.Color, s.Radius = draw.CircleGlyph{}, colorOf(f), vg.Points(4)
		names := must(plotter.NewLabels(plotter.XYLabels{XYs: at, Labels: []string{f.library.name}}))
		names.Offset.X, names.Offset.Y = vg.Points(6), vg.Points(-3)
		names.TextStyle[0].Font.Size = vg.Points(9)
		for _, other := range labelled {
			if math.Abs(math.Log(at[0].X/other.X)) < 0.02 && math.Abs(math.Log(at[0].Y/other.Y)) < 0.02 {
				names.Offset.Y -= vg.Points(11) // below the other's name
			}
		}
		labelled = append(labelled, at[0])
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

// dots draws one dot for each library, on a logarithmic axis.
func dots(name, title, unit string, r *results, of func(*figures) float64) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, unit
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	names := make([]string, len(r.figures))
	for i, f := range r.figures {
		at := len(r.figures) - 1 - i // the first at the top
		names[at] = f.library.name
		s := must(plotter.NewScatter(plotter.XYs{{X: of(f), Y: float64(at)}}))
		s.Shape, s.Color, s.Radius = draw.CircleGlyph{}, colorOf(f), vg.Points(4)
		p.Add(s)
	}
	p.NominalY(names...)
	// Whatever font the viewer has, names end before the axis.
	p.Y.Tick.Label.Font.Size, p.Y.Padding = vg.Points(9), vg.Points(24)
	p.X.Min, p.X.Max = p.X.Min/1.3, p.X.Max*1.3
	p.Y.Min, p.Y.Max = -0.7, float64(len(names))-0.3
	check(p.Save(20*vg.Centimeter, 13*vg.Centimeter, name))
}
