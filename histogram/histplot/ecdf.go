package histplot

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"github.com/quietile/quietile/histogram"
)

// cumulative is the distribution function of a histogram that can be drawn.
type cumulative struct {
	h      *histogram.Histogram
	shares []float64 // up to each break
}

func cumulativeOf(h *histogram.Histogram) (*cumulative, error) {
	h, err := drawable(h)
	if err != nil {
		return nil, err
	}
	e, err := h.ECDF(histogram.Linear())
	if err != nil {
		return nil, err
	}
	_, shares := e.Knots()
	return &cumulative{h, shares}, nil
}

// plot returns an empty plot for the function.
func (c *cumulative) plot(x string) *plot.Plot {
	p := newPlot(c.h.Name, x, "share of values up to x")
	return p
}

// fit sets the ranges.
func (c *cumulative) fit(p *plot.Plot) {
	fit(p, c.h, 1)
	p.Y.Max = 1.02
}

// band returns the boxes between the lower and the upper bound.
func (c *cumulative) band() *boxes {
	return &boxes{xs: c.h.Breaks, tops: c.shares[1:], bottoms: c.shares[:len(c.shares)-1], fill: lightest, line: light}
}

// steps returns the upper bound, or the lower one.
func (c *cumulative) steps(upper bool) plotter.XYs {
	var points plotter.XYs
	for i := range c.h.Counts {
		lower, to := c.h.Bounds(i)
		y := c.shares[i]
		if upper {
			y = c.shares[i+1]
		}
		points = append(points, plotter.XY{X: lower, Y: y}, plotter.XY{X: to, Y: y})
	}
	if upper {
		points = append(plotter.XYs{{X: c.h.Breaks[0], Y: 0}}, points...)
	} else {
		points = append(points, plotter.XY{X: c.h.Breaks[c.h.Len()], Y: 1})
	}
	return points
}

// few is up to how many breaks have dots.
const few = 40

// ECDF returns the cumulative distribution function: a straight line from break to break, R's plot of HistToEcdf, over the boxes between the bounds. The error is that
// of [histogram.Histogram.ECDF].
func ECDF(h *histogram.Histogram) (*plot.Plot, error) {
	c, err := cumulativeOf(h)
	if err != nil {
		return nil, err
	}
	p := c.plot("value")
	curve := &path{points: pointsOf(c.h.Breaks, c.shares), style: line(blue, 1.75), dots: c.h.Len() < few}
	p.Add(c.band(), curve)
	c.fit(p)
	return p, nil
}

// KSDCC returns both bounds of the distribution function, and an arrow where they are farthest apart, which is how far [histogram.Histogram.KSDCC] says: R's PlotKSDCC. The error is that of
// KSDCC.
func KSDCC(h *histogram.Histogram) (*plot.Plot, error) {
	c, err := cumulativeOf(h)
	if err != nil {
		return nil, err
	}
	bucket, share, err := c.h.FullestBucket()
	if err != nil {
		return nil, err
	}
	p := c.plot("value")
	upper, lower := &path{points: c.steps(true), style: line(blue, 1.5)}, &path{points: c.steps(false), style: line(grey, 1.5)}
	from, to := c.h.Bounds(bucket)
	p.Add(lower, upper, &arrow{from, to, c.shares[bucket], c.shares[bucket+1], fmt.Sprintf("KSDCC = %.3g", share), orange},
		&key{entries: []entry{{"upper bound", upper}, {"lower bound", lower}}})
	c.fit(p)
	return p, nil
}

// EMDCC returns the boxes between both bounds of the distribution function, whose area is what [histogram.Histogram.EMDCC] says as a share of the whole: R's PlotEMDCC. The
// error is that of EMDCC.
func EMDCC(h *histogram.Histogram) (*plot.Plot, error) {
	c, err := cumulativeOf(h)
	if err != nil {
		return nil, err
	}
	emdcc, err := c.h.EMDCC()
	if err != nil {
		return nil, err
	}
	p := c.plot("value")
	between := c.band()
	between.fill, between.line = glow, orange
	upper, lower := &path{points: c.steps(true), style: line(blue, 1.5)}, &path{points: c.steps(false), style: line(grey, 1.5)}
	p.Add(between, lower, upper, &key{entries: []entry{{"upper bound", upper}, {"lower bound", lower}, {fmt.Sprintf("EMDCC = %.3g", emdcc), between}}})
	c.fit(p)
	return p, nil
}

// Log2ByteECDF returns the distribution function of sizes in bytes on a logarithmic axis with ticks such as 4 KiB: R's PlotLog2ByteEcdf. What is below 1 byte is at the left edge. The
// error is that of [histogram.Histogram.ECDF], or wraps [histogram.ErrArgument] if no break is above 1.
func Log2ByteECDF(h *histogram.Histogram) (*plot.Plot, error) {
	return logarithmic(h, "size", 1, byteTicks)
}

// LogTimeECDF returns the distribution function of durations in seconds on a logarithmic axis with ticks such as 1 s, 10 min and 10 y: R's PlotLogTimeDurationEcdf. What is below 1 ns, or
// below the first break that is not, is at the left edge. The error is that of [histogram.Histogram.ECDF], or wraps [histogram.ErrArgument] if no break is above 1 ns.
func LogTimeECDF(h *histogram.Histogram) (*plot.Plot, error) {
	return logarithmic(h, "duration", 1e-9, durationTicks)
}

// logarithmic returns the distribution function from the last break that is at most least, or else from the first, on. Buckets that zero or less begins are cut there.
func logarithmic(h *histogram.Histogram, name string, least float64, ticks func(least, most float64) []plot.Tick) (*plot.Plot, error) {
	c, err := cumulativeOf(h)
	if err != nil {
		return nil, err
	}
	e, err := c.h.ECDF(histogram.Linear())
	if err != nil {
		return nil, err
	}
	most := c.h.Breaks[c.h.Len()]
	if most <= least {
		return nil, fmt.Errorf("%w: the last break, %v, is not more than %v, where the axis begins", histogram.ErrArgument, most, least)
	}
	first := c.h.Breaks[0]
	if first < least { // the axis begins at the first break that is not less, or at least where none is
		first = least
		for _, b := range c.h.Breaks {
			if b >= least && b < most {
				first = b
				break
			}
		}
	}
	// Between breaks the function is a line in values, and so bent on this axis.
	var points plotter.XYs
	at := func(x float64) { points = append(points, plotter.XY{X: x, Y: e.At(x)}) }
	at(first)
	for i, upper := range c.h.Breaks {
		if upper <= first {
			continue
		}
		const pieces = 16
		lower := max(first, c.h.Breaks[i-1])
		for k := 1; k < pieces && c.h.Counts[i-1] > 0; k++ {
			at(lower * math.Pow(upper/lower, float64(k)/pieces))
		}
		at(upper)
	}
	p := c.plot(name)
	p.Add(&path{points: points, style: line(blue, 1.75)})
	if c.h.Len() < few {
		var knots plotter.XYs
		for i, b := range c.h.Breaks {
			if b >= first {
				knots = append(knots, plotter.XY{X: b, Y: c.shares[i]})
			}
		}
		p.Add(&path{points: knots, style: line(blue, 0), dots: true})
	}
	p.X.Scale = plot.LogScale{}
	c.fit(p)
	p.X.Min, p.X.Max = first, most
	p.X.Tick.Marker = plot.TickerFunc(ticks)
	return p, nil
}
