package dump_test

import (
	"bytes"
	"fmt"
	"io"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

func Example() {
	grid, err := sketch.NewLinear(0, 100, 100)
	if err != nil {
		panic(err)
	}
	var file bytes.Buffer
	w, err := dump.NewWriter(&file, &quietilev1.DumpHeader{Producer: "example", Metric: "latency"})
	if err != nil {
		panic(err)
	}
	for i, key := range []string{"eu", "us"} {
		s := sketch.NewBinned(grid)
		s.AddBatch([]float64{10, 20, 30}[:i+2])
		if err := w.Write(key, s); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil { // without it the file is no dump
		panic(err)
	}

	r := dump.NewReader(&file)
	for {
		record, err := r.Next()
		if err == io.EOF {
			break // whole, and the checksum is right
		}
		if err != nil {
			panic(err)
		}
		fmt.Println(record.Header.GetMetric(), record.Key, record.Sketch.Count())
	}
	// Output:
	// latency eu 2
	// latency us 3
}
