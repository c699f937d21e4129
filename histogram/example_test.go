package histogram_test

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/quietile/quietile/histogram"
)

// must returns a result that has no error.
func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// latency is a histogram of seconds.
func latency() *histogram.Histogram {
	return must(histogram.New([]float64{0, 1, 2, 4, 8}, []float64{0, 6, 3, 1}, "latency"))
}

func ExampleNew() {
	h, err := histogram.New([]float64{0, 1, 2}, []float64{5, 3}, "requests")
	fmt.Println(h, err)
	_, err = histogram.New([]float64{0, 2, 1}, []float64{5, 3}, "")
	fmt.Println(err)
	// Output:
	// requests: [0, 1] 5, (1, 2] 3 <nil>
	// unsound breaks: break 2, 1, is less than the one before, 2
}

func ExampleHistogram_Validate() {
	h := histogram.Histogram{Breaks: []float64{0, 1, 2}, Counts: []float64{5, -3}}
	fmt.Println(h.Validate())
	// Output: unsound counts: count 1 is -3
}

func ExampleHistogram_Clone() {
	h := latency()
	other := h.Clone()
	other.Counts[0] = 99
	fmt.Println(h.Counts[0])
	// Output: 0
}

func ExampleHistogram_Equal() {
	h := latency()
	fmt.Println(h.Equal(latency()), h.Equal(must(h.Scale(2))))
	// Output: true false
}

func ExampleHistogram_Len() {
	fmt.Println(latency().Len())
	// Output: 4
}

func ExampleHistogram_Bounds() {
	fmt.Println(latency().Bounds(2))
	// Output: 2 4
}

func ExampleHistogram_Midpoint() {
	fmt.Println(latency().Midpoint(2))
	// Output: 3
}

func ExampleHistogram_String() {
	fmt.Println(latency())
	// Output: latency: [0, 1] 0, (1, 2] 6, (2, 4] 3, (4, 8] 1
}

func ExampleHistogram_Count() {
	fmt.Println(latency().Count())
	// Output: 10
}

func ExampleAdd() {
	other := must(histogram.New([]float64{0, 1, 2, 4, 8}, []float64{1, 1, 1, 1}, "more"))
	fmt.Println(must(histogram.Add(latency(), other)))
	// Output: Merge of latency and more: [0, 1] 1, (1, 2] 7, (2, 4] 4, (4, 8] 2
}

func ExampleHistogram_Scale() {
	fmt.Println(must(latency().Scale(0.5)))
	// Output: latency: [0, 1] 0, (1, 2] 3, (2, 4] 1.5, (4, 8] 0.5
}

func ExampleHistogram_Normalize() {
	fmt.Println(must(latency().Normalize()))
	// Output: latency: [0, 1] 0, (1, 2] 0.6, (2, 4] 0.3, (4, 8] 0.1
}

func ExampleIntersect() {
	other := must(histogram.New([]float64{0, 1, 2, 4, 8}, []float64{2, 2, 2, 2}, "more"))
	fmt.Println(must(histogram.Intersect(latency(), other)))
	// Output: [0, 1] 0, (1, 2] 2, (2, 4] 2, (4, 8] 1
}

func ExampleHistogram_Trim() {
	fmt.Println(must(latency().Trim()))
	// Output: latency: [1, 2] 6, (2, 4] 3, (4, 8] 1
}

func ExampleHistogram_TrimLeft() {
	fmt.Println(must(latency().TrimLeft()))
	// Output: latency: [1, 2] 6, (2, 4] 3, (4, 8] 1
}

func ExampleHistogram_TrimRight() {
	fmt.Println(must(latency().TrimRight()))
	// Output: latency: [0, 1] 0, (1, 2] 6, (2, 4] 3, (4, 8] 1
}

func ExampleHistogram_Subset() {
	fmt.Println(must(latency().Subset(1, 4)))
	// Output: latency: [1, 2] 6, (2, 4] 3
}

func ExampleHistogram_MergeBuckets() {
	fmt.Println(must(latency().MergeBuckets(2)))
	// Output: latency: [0, 2] 6, (2, 8] 4
}

func ExampleHistogram_MergeBucketsTo() {
	fmt.Println(must(latency().MergeBucketsTo(3))) // two become one, and two are left
	// Output: latency: [0, 2] 6, (2, 8] 4
}

func ExampleHistogram_MergeBucketsAt() {
	fmt.Println(must(latency().MergeBucketsAt([]float64{0, 1, 8})))
	// Output: latency: [0, 1] 0, (1, 8] 10
}

func ExampleHistogram_Mean() {
	fmt.Println(must(latency().Mean()))
	// Output: 2.4
}

func ExampleHistogram_Quantile() {
	fmt.Println(must(latency().Quantile(0.5)))
	// Output: 1.5
}

func ExampleHistogram_Quantiles() {
	fmt.Println(must(latency().Quantiles([]float64{0.5, 0.75, 1})))
	// Output: [1.5 3 6]
}

func ExampleHistogram_ECDF() {
	e := must(latency().ECDF(histogram.Linear()))
	fmt.Println(e.At(2), e.At(3))
	// Output: 0.6 0.75
}

func ExampleLinear() {
	e := must(latency().ECDF(histogram.Linear()))
	fmt.Println(e.At(1.5))
	// Output: 0.3
}

func ExampleConstant() {
	for _, f := range []float64{0, 0.5, 1} { // the lower bound, the middle, the upper bound
		e := must(latency().ECDF(histogram.Constant(f)))
		fmt.Println(e.At(1.5))
	}
	// Output:
	// 0
	// 0.3
	// 0.6
}

func ExampleECDF_At() {
	e := must(latency().ECDF(histogram.Linear()))
	fmt.Println(e.At(-5), e.At(2), e.At(100))
	// Output: 0 0.6 1
}

func ExampleECDF_Bounds() {
	e := must(latency().ECDF(histogram.Linear()))
	low, high := e.Bounds(3)
	fmt.Printf("from %v to %v of the values are at most 3\n", low, high)
	// Output: from 0.6 to 0.9 of the values are at most 3
}

func ExampleECDF_Inverse() {
	e := must(latency().ECDF(histogram.Linear()))
	fmt.Println(must(e.Inverse(0.75)))
	// Output: 3
}

func ExampleECDF_Knots() {
	breaks, shares := must(latency().ECDF(histogram.Linear())).Knots()
	fmt.Println(breaks, shares)
	// Output: [0 1 2 4 8] [0 0 0.6 0.9 1]
}

func ExampleHistogram_KSDCC() {
	fmt.Println(must(latency().KSDCC()))
	// Output: 0.6
}

func ExampleHistogram_FullestBucket() {
	bucket, share, err := latency().FullestBucket()
	fmt.Println(bucket, share, err)
	// Output: 1 0.6 <nil>
}

func ExampleHistogram_EMDCC() {
	fmt.Printf("%.3f\n", must(latency().EMDCC())) // (0.6·1 + 0.3·2 + 0.1·4) / 8
	// Output: 0.200
}

// pair returns two histograms with equal breaks.
func pair() (a, b *histogram.Histogram) {
	breaks := []float64{0, 1, 2}
	return must(histogram.New(breaks, []float64{1, 3}, "a")), must(histogram.New(breaks, []float64{3, 1}, "b"))
}

func ExampleMinkowski() {
	a, b := pair()
	fmt.Printf("%.3f\n", must(histogram.Minkowski(a, b, 2)))
	// Output: 2.828
}

func ExampleIntersection() {
	a, b := pair()
	fmt.Println(must(histogram.Intersection(a, b)))
	// Output: 0.5
}

func ExampleKullbackLeibler() {
	a, b := pair()
	fmt.Printf("%.4f\n", must(histogram.KullbackLeibler(a, b)))
	nothing := must(histogram.New([]float64{0, 1, 2}, []float64{4, 0}, "")) // where a counts something
	fmt.Println(must(histogram.KullbackLeibler(a, nothing)))
	// Output:
	// 0.5493
	// +Inf
}

func ExampleJeffrey() {
	a, b := pair()
	fmt.Printf("%.4f\n", must(histogram.Jeffrey(a, b)))
	// Output: 0.2616
}

func ExampleTotalVariation() {
	a, b := pair()
	fmt.Println(must(histogram.TotalVariation(a, b)))
	// Output: 0.5
}

func ExampleHellinger() {
	a, b := pair()
	fmt.Printf("%.4f\n", must(histogram.Hellinger(a, b)))
	// Output: 0.3660
}

func ExampleKolmogorovSmirnov() {
	a, b := pair()
	fmt.Println(must(histogram.KolmogorovSmirnov(a, b)))
	// Output: 0.5
}

func ExampleWasserstein() {
	a, b := pair()
	fmt.Println(must(histogram.Wasserstein(a, b)))
	// Output: 0.5
}

// seconds and minutes have different breaks.
func seconds() *histogram.Histogram {
	return must(histogram.New([]float64{0, 1, 2, 4}, []float64{4, 4, 2}, "a"))
}

func minutes() *histogram.Histogram {
	return must(histogram.New([]float64{0, 2, 3, 4}, []float64{6, 3, 1}, "b"))
}

func ExampleUnionBreaks() {
	fmt.Println(must(histogram.UnionBreaks(seconds(), minutes())))
	// Output: [0 1 2 3 4]
}

func ExampleCommonBreaks() {
	fmt.Println(must(histogram.CommonBreaks(seconds(), minutes())))
	// Output: [0 2 4]
}

func ExampleHistogram_Onto() {
	fmt.Println(must(seconds().Onto([]float64{0, 3, 4})))
	// Output: a: [0, 3] 9, (3, 4] 1
}

func ExampleAddOnto() {
	a, b := seconds(), minutes()
	common := must(histogram.CommonBreaks(a, b))
	sum, loss, err := histogram.AddOnto(common, a, b)
	fmt.Println(sum, err)
	fmt.Printf("KSDCC %.2f, of which the breaks cost %.2f\n", loss.KSDCC, loss.AddedKSDCC)
	fmt.Printf("EMDCC %.2f, of which the breaks cost %.2f\n", loss.EMDCC, loss.AddedEMDCC)
	// Output:
	// Merge of a and b: [0, 2] 14, (2, 4] 6 <nil>
	// KSDCC 0.70, of which the breaks cost 0.20
	// EMDCC 0.50, of which the breaks cost 0.15
}

func ExampleHistogram_Rebin() {
	h := must(histogram.New([]float64{0, 1, 2, 3, 4, 5, 6}, []float64{1, 1, 40, 2, 2, 2}, ""))
	fmt.Println(must(h.Rebin(3)))
	// Output: [0, 2] 2, (2, 3] 40, (3, 6] 6
}

func ExampleHistogram_RebinLeastSquares() {
	h := must(histogram.New([]float64{0, 1, 2, 3, 4, 5, 6}, []float64{1, 1, 40, 41, 2, 2}, ""))
	fmt.Println(must(h.RebinLeastSquares(3)))
	// Output: [0, 2] 2, (2, 4] 81, (4, 6] 4
}

func ExampleHistogram_AverageShifted() {
	h := must(histogram.New([]float64{0, 1, 2, 3, 4, 5}, []float64{0, 0, 8, 0, 0}, ""))
	d := must(h.AverageShifted(3, histogram.Kernel{A: 2, B: 2}))
	for i, x := range d.X {
		fmt.Printf("%.1f %.3f\n", x, d.Y[i])
	}
	// Output:
	// 0.5 0.097
	// 1.5 0.247
	// 2.5 0.313
	// 3.5 0.247
	// 4.5 0.097
}

func ExampleFromValues() {
	values := []float64{0, 0.5, 1, 1.5}
	fmt.Println(must(histogram.FromValues(values, []float64{0, 1, 2}, "latency")))
	// Output: latency: [0, 1] 3, (1, 2] 1
}

// ages are some values.
var ages = []float64{22, 25, 31, 34, 34, 37, 40, 41, 58}

func ExampleSturgesBreaks() {
	fmt.Println(must(histogram.SturgesBreaks(ages)))
	// Output: [20 30 40 50 60]
}

func ExampleScottBreaks() {
	fmt.Println(must(histogram.ScottBreaks(ages)))
	// Output: [20 30 40 50 60]
}

func ExampleFreedmanDiaconisBreaks() {
	fmt.Println(must(histogram.FreedmanDiaconisBreaks(ages)))
	// Output: [20 30 40 50 60]
}

func ExampleLogBreaks() {
	fmt.Println(must(histogram.LogBreaks([]float64{0.02, 3, 150}, 1)))
	// Output: [0.01 0.1 1 10 100 1000]
}

func ExampleParseDTrace() {
	output := `
  nightly-backup
           value  ------------- Distribution ------------- count
             256 |                                         0
             512 |@@@@@@@@@@                               3
            1024 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@           9
            2048 |                                         0
`
	for _, h := range must(histogram.ParseDTrace(strings.NewReader(output))) {
		fmt.Println(h)
	}
	// Output: nightly-backup: [256, 512] 0, (512, 1024] 3, (1024, 2048] 9
}

func ExampleHistogram_MarshalProto() {
	fmt.Println(len(must(latency().MarshalProto())), "bytes")
	// Output: 62 bytes
}

func ExampleUnmarshalProto() {
	data := must(latency().MarshalProto())
	fmt.Println(must(histogram.UnmarshalProto(data)))
	// Output: latency: [0, 1] 0, (1, 2] 6, (2, 4] 3, (4, 8] 1
}

func ExampleIsProto() {
	fmt.Println(histogram.IsProto(must(latency().MarshalProto())), histogram.IsProto([]byte("lower,upper,count")))
	// Output: true false
}

func ExampleHistogram_MarshalJSON() {
	fmt.Printf("%s\n", must(json.Marshal(latency())))
	// Output: {"name":"latency","breaks":[0,1,2,4,8],"counts":[0,6,3,1]}
}

func ExampleHistogram_UnmarshalJSON() {
	var h histogram.Histogram
	err := json.Unmarshal([]byte(`{"breaks": [0, 1, "Infinity"], "counts": [3, 1]}`), &h)
	fmt.Println(&h, err)
	// Output: [0, 1] 3, (1, +Inf) 1 <nil>
}

func ExampleWriteCSV() {
	if err := histogram.WriteCSV(os.Stdout, latency()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// name,lower,upper,count
	// latency,0,1,0
	// latency,1,2,6
	// latency,2,4,3
	// latency,4,8,1
}

func ExampleReadCSV() {
	table := "lower,upper,count\n0,1,3\n1,2,1\n"
	for _, h := range must(histogram.ReadCSV(strings.NewReader(table))) {
		fmt.Println(h)
	}
	// Output: [0, 1] 3, (1, 2] 1
}

func ExampleHistogram_MarshalBinary() {
	h := new(histogram.Histogram)
	for i := range 1001 {
		h.Breaks = append(h.Breaks, float64(i))
	}
	h.Counts = make([]float64, 1000)
	h.Counts[500] = 7
	fmt.Println(len(must(h.MarshalBinary())), "bytes for", h.Len(), "buckets")
	// Output: 29 bytes for 1000 buckets
}

func ExampleHistogram_AppendBinary() {
	data := must(latency().AppendBinary([]byte("header")))
	fmt.Println(string(data[:6]), len(data)-6, "bytes")
	// Output: header 42 bytes
}

func ExampleHistogram_UnmarshalBinary() {
	data := must(latency().MarshalBinary())
	var h histogram.Histogram
	fmt.Println(h.UnmarshalBinary(data), &h)
	// Output: <nil> latency: [0, 1] 0, (1, 2] 6, (2, 4] 3, (4, 8] 1
}

func ExampleIsBinary() {
	fmt.Println(histogram.IsBinary(must(latency().MarshalBinary())))
	// Output: true
}
