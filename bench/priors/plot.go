package main

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

var palette = []color.Color{
	color.RGBA{R: 0x54, G: 0x6e, B: 0x7a, A: 0xff},
	color.RGBA{R: 0xc0, G: 0x56, B: 0x21, A: 0xff},
	color.RGBA{R: 0x1b, G: 0x6c, B: 0xa8, A: 0xff},
	color.RGBA{R: 0x2e, G: 0x7d, B: 0x32, A: 0xff},
	color.RGBA{R: 0x7b, G: 0x1f, B: 0xa2, A: 0xff},
}

// picture draws mean rank errors by window.
func picture(path, title string, learners []learner, gaps [][]gap) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, "window", "mean rank error, records"
	p.Y.Min = 0
	p.Add(plotter.NewGrid())
	for k, l := range learners {
		var points plotter.XYs
		for t, g := range gaps[k] {
			points = append(points, plotter.XY{X: float64(t), Y: g.mean})
		}
		line, err := plotter.NewLine(points)
		check(err)
		line.Color, line.Width = palette[k%len(palette)], vg.Points(1.5)
		if l.name == "proxy" {
			line.Color, line.Width = palette[2], vg.Points(2.5)
		}
		p.Add(line)
		p.Legend.Add(l.name, line)
	}
	p.Legend.Top = true
	p.Y.Max *= 1.25
	check(p.Save(20*vg.Centimeter, 11*vg.Centimeter, path))
}
