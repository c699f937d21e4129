package histplot_test

import (
	"bytes"
	"fmt"
	"log"

	"gonum.org/v1/plot"

	"github.com/quietile/quietile/histogram"
	"github.com/quietile/quietile/histogram/histplot"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// latency is a histogram of seconds.
func latency() *histogram.Histogram {
	return must(histogram.New([]float64{0, 1, 2, 3, 4}, []float64{2, 6, 3, 1}, "latency"))
}

// say prints what a plot is of.
func say(p *plot.Plot) {
	fmt.Printf("%s: %s, %s\n", p.Title.Text, p.X.Label.Text, p.Y.Label.Text)
}

func ExampleHistogram() {
	say(must(histplot.Histogram(latency())))
	// Output: latency: value, count
}

func ExampleRelativeFrequency() {
	say(must(histplot.RelativeFrequency(latency())))
	// Output: latency: value, share of values
}

func ExampleECDF() {
	say(must(histplot.ECDF(latency())))
	// Output: latency: value, share of values up to x
}

func ExampleKSDCC() {
	say(must(histplot.KSDCC(latency())))
	// Output: latency: value, share of values up to x
}

func ExampleEMDCC() {
	say(must(histplot.EMDCC(latency())))
	// Output: latency: value, share of values up to x
}

func ExampleLog2ByteECDF() {
	sizes := must(histogram.New([]float64{1, 1024, 1 << 20}, []float64{30, 4}, "read sizes"))
	say(must(histplot.Log2ByteECDF(sizes)))
	// Output: read sizes: size, share of values up to x
}

func ExampleLogTimeECDF() {
	uptimes := must(histogram.New([]float64{1, 3600, 86400, 3e7}, []float64{1, 5, 20}, "uptimes"))
	say(must(histplot.LogTimeECDF(uptimes)))
	// Output: uptimes: duration, share of values up to x
}

func ExampleAverageShifted() {
	p := must(histplot.AverageShifted(latency(), 3, histogram.Kernel{}))
	p.X.Label.Text = "seconds"
	say(p)
	// Output: latency: seconds, density
}

func ExampleCompare() {
	other := must(histogram.New([]float64{0, 1, 2, 3, 4}, []float64{1, 1, 4, 6}, "yesterday"))
	say(must(histplot.Compare(latency(), other)))
	// Output: latency and yesterday: value, share of values
}

func ExampleWriteSVG() {
	var picture bytes.Buffer
	if err := histplot.WriteSVG(&picture, must(histplot.KSDCC(latency())), 600, 400); err != nil {
		log.Fatal(err)
	}
	fmt.Println(bytes.Contains(picture.Bytes(), []byte("KSDCC = 0.5")))
	// Output: true
}

func ExampleWritePNG() {
	var picture bytes.Buffer
	if err := histplot.WritePNG(&picture, must(histplot.Histogram(latency())), 600, 400); err != nil {
		log.Fatal(err)
	}
	fmt.Println(bytes.HasPrefix(picture.Bytes(), []byte("\x89PNG")))
	// Output: true
}
