package main

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	glyph "gonum.org/v1/plot/vg/draw"
)

var (
	ownColor = color.RGBA{R: 0x1b, G: 0x6c, B: 0xa8, A: 0xff}
	palette  = []color.Color{
		color.RGBA{R: 0xc0, G: 0x56, B: 0x21, A: 0xff},
		color.RGBA{R: 0x2e, G: 0x7d, B: 0x32, A: 0xff},
		color.RGBA{R: 0x7b, G: 0x1f, B: 0xa2, A: 0xff},
		color.RGBA{R: 0xf9, G: 0xa8, B: 0x25, A: 0xff},
		color.RGBA{R: 0x00, G: 0x83, B: 0x8f, A: 0xff},
		color.RGBA{R: 0x79, G: 0x55, B: 0x48, A: 0xff},
		color.RGBA{R: 0x54, G: 0x6e, B: 0x7a, A: 0xff},
		color.RGBA{R: 0xd8, G: 0x1b, B: 0x60, A: 0xff},
	}
)

// plots writes the pictures of the report.
func (r *run) plots(dir string) {
	p := plot.New()
	p.Title.Text = "Mean rank error, geometric mean over data, n and ε"
	p.X.Label.Text, p.Y.Label.Text = "quantiles", "1 + error, records"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.Y.Tick.Marker = plot.LogTicks{Prec: -1}
	var ms []int
	for _, c := range r.cells {
		if !slices.Contains(ms, c.m) {
			ms = append(ms, c.m)
		}
	}
	var ticks []plot.Tick
	for _, m := range ms {
		ticks = append(ticks, plot.Tick{Value: float64(m), Label: fmt.Sprint(m)})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	p.Add(plotter.NewGrid())
	peers := 0
	for _, e := range r.entrants {
		if e.ours && e.name != "auto" {
			continue
		}
		var points plotter.XYs
		for _, m := range ms {
			sum, cells, missing := 0.0, 0.0, false
			for _, c := range r.cells {
				if c.m != m {
					continue
				}
				x := c.results[e.name]
				if x == nil {
					missing = true
					break
				}
				mean, _ := average(x.mean)
				sum += math.Log1p(mean)
				cells++
			}
			if !missing {
				points = append(points, plotter.XY{X: float64(m), Y: math.Exp(sum / cells)})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		check(err)
		line.Color, line.Width = ownColor, vg.Points(2.5)
		if !e.ours {
			line.Color, line.Width = palette[peers%len(palette)], vg.Points(1.2)
			peers++
		}
		dots.Shape, dots.Color, dots.Radius = glyph.CircleGlyph{}, line.Color, vg.Points(2.5)
		p.Add(line, dots)
		p.Legend.Add(e.name, line, dots)
	}
	legend(p)
	p.X.Min, p.X.Max = 0.9, 1.15*float64(slices.Max(ms))
	p.Y.Max *= 20
	check(p.Save(20*vg.Centimeter, 14*vg.Centimeter, filepath.Join(dir, "accuracy-m.svg")))

	p = plot.New()
	p.Title.Text = "auto against the best peer, chosen for each cell"
	p.X.Label.Text, p.Y.Label.Text = "cells, from best to worst", "ratio of 1 + mean error"
	p.Y.Scale = plot.LogScale{}
	var marks []plot.Tick
	for _, x := range []float64{0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10} {
		marks = append(marks, plot.Tick{Value: x, Label: fmt.Sprint(x)})
	}
	p.Y.Tick.Marker = plot.ConstantTicks(marks)
	p.Add(plotter.NewGrid())
	var ratios []float64
	for _, c := range r.cells {
		own, _ := average(c.results["auto"].mean)
		best := math.Inf(1)
		for _, e := range r.entrants {
			if x := c.results[e.name]; x != nil && !e.ours {
				mean, _ := average(x.mean)
				best = min(best, mean)
			}
		}
		ratios = append(ratios, (1+own)/(1+best))
	}
	slices.Sort(ratios)
	var points plotter.XYs
	for i, x := range ratios {
		points = append(points, plotter.XY{X: float64(i + 1), Y: x})
	}
	line := must(plotter.NewLine(points))
	line.Color, line.Width = ownColor, vg.Points(2)
	limit := must(plotter.NewLine(plotter.XYs{{X: 1, Y: 1.1}, {X: float64(len(ratios)), Y: 1.1}}))
	limit.Color, limit.Dashes = palette[0], []vg.Length{vg.Points(4), vg.Points(3)}
	p.Add(line, limit)
	p.Legend.Add("auto / best peer", line)
	p.Legend.Add("a tenth behind", limit)
	legend(p)
	p.Y.Min, p.Y.Max = min(p.Y.Min, 0.5), max(p.Y.Max*1.2, 2)
	check(p.Save(20*vg.Centimeter, 11*vg.Centimeter, filepath.Join(dir, "accuracy-cells.svg")))
}

// legend puts the legend where no line is.
func legend(p *plot.Plot) {
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.Legend.Padding = vg.Points(2)
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(8), vg.Points(-4)
}
