package histplot

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// boxes are rectangles between neighbouring xs, from bottoms to tops.
type boxes struct {
	xs []float64
	// bottoms are 0 if nil.
	tops, bottoms []float64
	fill, line    color.Color
	// outline draws one line along all tops instead of one around each box.
	outline bool
}

func (b *boxes) bottom(i int) float64 {
	if b.bottoms == nil {
		return 0
	}
	return b.bottoms[i]
}

// Plot draws the rectangles. Lines around those that are narrow would hide them, and are left out.
func (b *boxes) Plot(c draw.Canvas, p *plot.Plot) {
	if b.outline {
		b.plotOutline(c, p)
		return
	}
	x, y := p.Transforms(&c)
	const narrow = vg.Length(3)
	for i, top := range b.tops {
		bottom := b.bottom(i)
		if top == bottom {
			continue
		}
		corners := []vg.Point{{X: x(b.xs[i]), Y: y(bottom)}, {X: x(b.xs[i]), Y: y(top)}, {X: x(b.xs[i+1]), Y: y(top)}, {X: x(b.xs[i+1]), Y: y(bottom)}}
		c.FillPolygon(b.fill, c.ClipPolygonXY(corners))
		if corners[2].X-corners[1].X > narrow {
			c.StrokeLines(draw.LineStyle{Color: b.line, Width: vg.Points(0.75)}, c.ClipLinesXY(append(corners, corners[0]))...)
		}
	}
}

// plotOutline draws all boxes as one shape.
func (b *boxes) plotOutline(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	along := []vg.Point{{X: x(b.xs[0]), Y: y(0)}}
	for i, top := range b.tops {
		along = append(along, vg.Point{X: x(b.xs[i]), Y: y(top)}, vg.Point{X: x(b.xs[i+1]), Y: y(top)})
	}
	along = append(along, vg.Point{X: x(b.xs[len(b.xs)-1]), Y: y(0)})
	c.FillPolygon(b.fill, c.ClipPolygonXY(along))
	c.StrokeLines(draw.LineStyle{Color: b.line, Width: vg.Points(1.25)}, c.ClipLinesXY(along)...)
}

// DataRange returns the smallest range that holds all.
func (b *boxes) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax = b.xs[0], b.xs[len(b.xs)-1]
	for i, top := range b.tops {
		ymin, ymax = min(ymin, b.bottom(i)), max(ymax, top)
	}
	return xmin, xmax, ymin, ymax
}

// Thumbnail draws a small box into a legend.
func (b *boxes) Thumbnail(c *draw.Canvas) {
	corners := []vg.Point{{X: c.Min.X, Y: c.Min.Y}, {X: c.Min.X, Y: c.Max.Y}, {X: c.Max.X, Y: c.Max.Y}, {X: c.Max.X, Y: c.Min.Y}}
	c.FillPolygon(b.fill, corners)
	c.StrokeLines(draw.LineStyle{Color: b.line, Width: vg.Points(0.75)}, append(corners, corners[0]))
}

// path is a line through points.
type path struct {
	points plotter.XYs
	style  draw.LineStyle
	// dots are drawn at the points.
	dots bool
}

func line(c color.Color, width float64) draw.LineStyle {
	return draw.LineStyle{Color: c, Width: vg.Points(width)}
}

func pointsOf(xs, ys []float64) plotter.XYs {
	points := make(plotter.XYs, len(xs))
	for i := range xs {
		points[i] = plotter.XY{X: xs[i], Y: ys[i]}
	}
	return points
}

// Plot draws the line.
func (l *path) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	along := make([]vg.Point, len(l.points))
	for i, at := range l.points {
		along[i] = vg.Point{X: x(at.X), Y: y(at.Y)}
	}
	c.StrokeLines(l.style, c.ClipLinesXY(along)...)
	if !l.dots {
		return
	}
	for _, at := range along {
		if c.Contains(at) {
			c.DrawGlyphNoClip(draw.GlyphStyle{Color: l.style.Color, Radius: vg.Points(2), Shape: draw.CircleGlyph{}}, at)
		}
	}
}

// DataRange returns the smallest range that holds all points.
func (l *path) DataRange() (xmin, xmax, ymin, ymax float64) { return plotter.XYRange(l.points) }

// Thumbnail draws a piece of the line into a legend.
func (l *path) Thumbnail(c *draw.Canvas) {
	c.StrokeLine2(l.style, c.Min.X, c.Center().Y, c.Max.X, c.Center().Y)
}

// arrow points from one y to another and back, in the middle between two xs, with a text beside these.
type arrow struct {
	left, right, low, high float64
	text                   string
	color                  color.Color
}

// Plot draws the arrow and, on the side where there is more room, its text.
func (a *arrow) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	left, right, low, high := x(a.left), x(a.right), y(a.low), y(a.high)
	at := (left + right) / 2
	c.StrokeLine2(draw.LineStyle{Color: a.color, Width: vg.Points(1.75)}, at, low, at, high)
	head := min(vg.Points(6), (high-low)/2)
	for _, tip := range []struct{ y, back vg.Length }{{low, head}, {high, -head}} {
		c.FillPolygon(a.color, []vg.Point{{X: at, Y: tip.y}, {X: at - head/2, Y: tip.y + tip.back}, {X: at + head/2, Y: tip.y + tip.back}})
	}
	beside, toRight := right, c.Max.X-right > left-c.Min.X
	if !toRight {
		beside = left
	}
	note{text: a.text, color: a.color}.draw(c, p, beside, (low+high)/2, toRight)
}

// note is a text on white beside a point.
type note struct {
	text  string
	color color.Color
}

// draw draws the text to the right of a point, or to the left.
func (n note) draw(c draw.Canvas, p *plot.Plot, x, y vg.Length, right bool) {
	style := p.Legend.TextStyle
	style.Color = n.color
	style.XAlign, style.YAlign = text.XLeft, text.YCenter
	const gap, margin = vg.Length(8), vg.Length(2)
	width, height := style.Width(n.text), style.Height(n.text)
	left := x + gap
	if !right {
		left = x - gap - width
	}
	left = max(c.Min.X+margin, min(left, c.Max.X-margin-width))
	box := []vg.Point{
		{X: left - margin, Y: y - height/2 - margin},
		{X: left - margin, Y: y + height/2 + margin},
		{X: left + width + margin, Y: y + height/2 + margin},
		{X: left + width + margin, Y: y - height/2 - margin},
	}
	c.FillPolygon(color.NRGBA{R: 0xff, G: 0xff, B: 0xff, A: 0xd8}, box)
	c.FillText(style, vg.Point{X: left, Y: y}, n.text)
}

// key says at the right, at the top or else at the bottom, what is drawn.
type key struct {
	entries []entry
	top     bool
}

// entry is a name and what draws a sample.
type entry struct {
	name   string
	sample plot.Thumbnailer
}

// Plot draws samples with their names to the right of them, where a font that is wider than the one that was measured has room.
func (k *key) Plot(c draw.Canvas, p *plot.Plot) {
	const margin, sample, gap, wider = vg.Length(6), vg.Length(16), vg.Length(5), 1.15
	style := p.Legend.TextStyle
	style.XAlign, style.YAlign = text.XLeft, text.YCenter
	width, height := vg.Length(0), vg.Length(0)
	for _, e := range k.entries {
		width, height = max(width, style.Width(e.name)), max(height, style.Height(e.name))
	}
	height *= 1.25
	left := c.Max.X - margin - width*wider - gap - sample
	y := c.Max.Y - margin - height/2
	if !k.top {
		y = c.Min.Y + margin + height*(vg.Length(len(k.entries))-0.5)
	}
	for _, e := range k.entries {
		box := draw.Crop(c, left-c.Min.X, left+sample-c.Max.X, y-height*0.4-c.Min.Y, y+height*0.4-c.Max.Y)
		e.sample.Thumbnail(&box)
		c.FillText(style, vg.Point{X: left + sample + gap, Y: y}, e.name)
		y -= height
	}
}
