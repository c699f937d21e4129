package main

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/sketch"
)

// column reads the numbers of a column of a table; nil if there is no such file.
func column(dir, file, name string) []float64 {
	f, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		fmt.Fprintf(os.Stderr, "without %s: %v\n", file, err)
		return nil
	}
	defer f.Close()
	rows := must(csv.NewReader(must(gzip.NewReader(f))).ReadAll())
	var values []float64
	for i, header := range rows[0] {
		if header != name {
			continue
		}
		for _, row := range rows[1:] {
			if x, err := strconv.ParseFloat(row[i], 64); err == nil {
				values = append(values, x)
			}
		}
	}
	return values
}

func grid(text string) *sketch.Grid { return must(sketch.ParseGrid(text)) }

func sketchOf(g *sketch.Grid, values []float64) *sketch.Binned {
	s := sketch.NewBinned(g)
	s.AddBatch(values)
	return s
}

// even returns m quantiles with equal distances, to nine decimals.
func even(m int) []float64 {
	qs := make([]float64, m)
	for i := range qs {
		qs[i] = math.Round(float64(i+1)/float64(m+1)*1e9) / 1e9
	}
	return qs
}

// A gap is what a release was off by: the mean over its quantiles, and the largest, of the rank errors in records, and the mean of −ln of the mass that the prior gave to the bucket of the true quantile; square is that of the mean.
type gap struct{ mean, most, surprise, square float64 }

func (g *gap) add(x gap, part float64) {
	g.mean += x.mean * part
	g.most += x.most * part
	g.surprise += x.surprise * part
	g.square += x.square * part
}

// deviation returns the standard error of a mean over so many runs.
func (g gap) deviation(runs int) float64 {
	return math.Sqrt(max(g.square-g.mean*g.mean, 0) / float64(runs))
}

// gapOf measures a release with a prior, nil for the uniform one. A rank error is how far the ranks of an answer's bucket are from the quantile's.
func gapOf(s *sketch.Binned, r *dp.Result, p prior.Prior) gap {
	g := s.Grid()
	before := make([]uint64, g.Len()+1)
	counts := make([]uint64, g.Len())
	for i, n := range s.All() {
		counts[i] = n
	}
	for i, n := range counts {
		before[i+1] = before[i] + n
	}
	var x gap
	for _, a := range r.Quantiles {
		i := bucketOf(g, a)
		target := a.Q * float64(s.Count())
		off := max(0, float64(before[i])-target, target-float64(before[i+1]))
		x.mean += off / float64(len(r.Quantiles))
		x.most = max(x.most, off)
		truth := 0
		for truth < g.Len()-1 && float64(before[truth+1]) < target {
			truth++
		}
		surprise := math.Log(float64(g.Len()))
		if p != nil {
			own := p
			if q, ok := p.(prior.ByQuantile); ok {
				own = q.At(a.Q)
			}
			surprise = prior.Surprise(own, g, truth)
		}
		x.surprise += surprise / float64(len(r.Quantiles))
	}
	x.square = x.mean * x.mean
	return x
}

// bucketOf returns the bucket of an answer.
func bucketOf(g *sketch.Grid, a dp.Quantile) int {
	switch {
	case math.IsInf(a.Lower, -1):
		return 0
	case math.IsInf(a.Upper, 1):
		return g.Len() - 1
	}
	return g.Index(a.Lower + (a.Upper-a.Lower)/2)
}

// nano returns ε in billionths.
func nano(epsilon float64) dp.Epsilon { return dp.Epsilon(math.Round(epsilon * 1e9)) }
