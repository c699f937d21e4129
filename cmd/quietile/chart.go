package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// chart is a picture of series over one pair of axes.
type chart struct {
	title, x, y string
	series      []series
}

// series is a line or a row of dots; one without a name has the color of the one before.
type series struct {
	name   string
	dots   bool
	points []point
}

type point struct{ x, y float64 }

var chartColors = []string{"#1b6ca8", "#c05621", "#2e7d32", "#7b1fa2", "#f9a825", "#00838f", "#795548", "#d81b60"}

// write writes the picture as SVG. Points that are not finite are left out.
func (c chart) write(w io.Writer) error {
	const width, height, left, right, top, bottom = 800., 420., 70., 110., 40., 45.
	low, high := point{math.Inf(1), math.Inf(1)}, point{math.Inf(-1), math.Inf(-1)}
	finite := func(p point) bool { return !math.IsNaN(p.x+p.y) && !math.IsInf(p.x+p.y, 0) }
	for _, s := range c.series {
		for _, p := range s.points {
			if finite(p) {
				low, high = point{min(low.x, p.x), min(low.y, p.y)}, point{max(high.x, p.x), max(high.y, p.y)}
			}
		}
	}
	if low.x > high.x {
		low, high = point{}, point{1, 1}
	}
	if low.x == high.x {
		high.x++
	}
	if low.y == high.y {
		high.y++
	}
	at := func(p point) (x, y float64) {
		return left + (p.x-low.x)/(high.x-low.x)*(width-left-right), height - bottom - (p.y-low.y)/(high.y-low.y)*(height-top-bottom)
	}
	text := func(s string) string {
		var b strings.Builder
		_ = xml.EscapeText(&b, []byte(s)) // writing to a builder does not fail
		return b.String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%g" height="%g" fill="white"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="%g" y="22" font-size="15">%s</text>`+"\n", left, text(c.title))
	for i := range 5 {
		part := float64(i) / 4
		v := point{low.x + part*(high.x-low.x), low.y + part*(high.y-low.y)}
		x, y := at(v)
		fmt.Fprintf(&b, `<path d="M%.1f %.1fH%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="end">%.4g</text>`+"\n", left, y, width-right, left-6, y+4, v.y)
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%.4g</text>`+"\n", x, height-bottom+16, v.x)
	}
	fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", (left+width-right)/2, height-8, text(c.x))
	fmt.Fprintf(&b, `<text x="14" y="%.1f" text-anchor="middle" transform="rotate(-90 14 %.1f)">%s</text>`+"\n", (top+height-bottom)/2, (top+height-bottom)/2, text(c.y))
	color, named := "", 0
	for _, s := range c.series {
		if s.name != "" || color == "" {
			color = chartColors[named%len(chartColors)]
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="14" height="3" fill="%s"/><text x="%.1f" y="%.1f">%s</text>`+"\n", width-right+10, top+18*float64(named), color, width-right+30, top+18*float64(named)+6, text(s.name))
			named++
		}
		var path strings.Builder
		for _, p := range s.points {
			if !finite(p) {
				continue
			}
			x, y := at(p)
			switch {
			case s.dots:
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>`+"\n", x, y, color)
			case path.Len() == 0:
				fmt.Fprintf(&path, "M%.1f %.1f", x, y)
			default:
				fmt.Fprintf(&path, "L%.1f %.1f", x, y)
			}
		}
		if path.Len() > 0 {
			fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", path.String(), color)
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
