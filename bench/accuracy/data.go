package main

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/quietile/quietile/sketch"
)

// A source draws records. Its grid is public: round numbers, and whole ones where the values are.
type source struct {
	name   string
	grid   string
	within bool // the values are no whole numbers
	draw   func(r *rand.Rand) float64
}

// sources returns what can be drawn from; the real data only if their folder is there.
func sources(dir string) []source {
	all := []source{
		{"Gaussian", "linear:lower=-20,upper=20,bins=8192", true, func(r *rand.Rand) float64 { return r.NormFloat64() }},
		{"log-normal", "linear:lower=0,upper=100,bins=8192", true, func(r *rand.Rand) float64 { return math.Exp(r.NormFloat64()) }},
	}
	for _, real := range []struct{ name, file, column, grid string }{
		{"Adult age", "adult.csv.gz", "age", "linear:lower=0,upper=128,bins=128"},
		{"Adult hours", "adult.csv.gz", "hours", "linear:lower=0,upper=128,bins=128"},
		{"book pages", "books.csv.gz", "pages", "linear:lower=0,upper=8192,bins=8192"},
		{"book ratings", "books.csv.gz", "ratings_count", "linear:lower=0,upper=1048576,bins=8192"},
	} {
		values, err := column(filepath.Join(dir, real.file), real.column)
		if err != nil {
			fmt.Fprintf(os.Stderr, "without %s: %v\n", real.name, err)
			continue
		}
		all = append(all, source{real.name, real.grid, false, func(r *rand.Rand) float64 { return values[r.IntN(len(values))] }})
	}
	return all
}

// column reads the numbers of a column of a table.
func column(file, name string) ([]float64, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		return nil, err
	}
	for i, header := range rows[0] {
		if header != name {
			continue
		}
		var values []float64
		for _, row := range rows[1:] {
			if x, err := strconv.ParseFloat(row[i], 64); err == nil {
				values = append(values, x)
			}
		}
		return values, nil
	}
	return nil, fmt.Errorf("%s has no column %s", file, name)
}

// A dataset is records on a grid.
type dataset struct {
	source source
	n      int
	grid   *sketch.Grid
	sketch *sketch.Binned
	before []float64 // records before each bucket, and all
	points []float64 // the records' positions in buckets, spread evenly within each, ascending; only of few records
}

// maxPoints is how many records a dataset keeps one by one, for peers that need them.
const maxPoints = 10_000

func newDataset(s source, n int, r *rand.Rand) *dataset {
	grid := must(sketch.ParseGrid(s.grid))
	d := &dataset{source: s, n: n, grid: grid, sketch: sketch.NewBinned(grid)}
	for range n {
		d.sketch.Add(s.draw(r))
	}
	d.index()
	return d
}

func (d *dataset) index() {
	d.before = make([]float64, d.grid.Len()+1)
	counts := make([]uint64, d.grid.Len())
	for i, n := range d.sketch.All() {
		counts[i] = n
	}
	for i, n := range counts {
		d.before[i+1] = d.before[i] + float64(n)
		if d.n > maxPoints {
			continue
		}
		for k := range n {
			d.points = append(d.points, float64(i)+(float64(k)+0.5)/float64(n))
		}
	}
}

// rank returns the records before a position in buckets, those of a bucket being spread evenly over it.
func (d *dataset) rank(at float64) float64 {
	i := min(int(at), len(d.before)-2)
	return d.before[i] + (at-float64(i))*(d.before[i+1]-d.before[i])
}

// errors returns the mean and the largest rank error of answers, each a position in buckets: how far the ranks of its bucket are from that of the quantile.
func (d *dataset) errors(quantiles, answers []float64) (mean, most float64) {
	for j, at := range answers {
		i := min(max(int(at), 0), len(d.before)-2)
		target := quantiles[j] * float64(d.n)
		off := max(0, d.before[i]-target, target-d.before[i+1])
		mean += off / float64(len(answers))
		most = max(most, off)
	}
	return mean, most
}

// even returns m quantiles with equal distances, to nine decimals.
func even(m int) []float64 {
	qs := make([]float64, m)
	for i := range qs {
		qs[i] = math.Round(float64(i+1)/float64(m+1)*1e9) / 1e9
	}
	return qs
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
