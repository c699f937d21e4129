package dp

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/quietile/quietile/sketch"
)

// column reads a column of the census data that accompany the project, and skips the test where they are absent.
func column(t *testing.T, name string) []float64 {
	t.Helper()
	file, err := os.Open("../../shared/data/adult.csv.gz")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no census data in ../shared/data")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(text).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.Index(rows[0], name)
	var values []float64
	for _, row := range rows[1:] {
		x, err := strconv.ParseFloat(row[at], 64)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, x)
	}
	return values
}

// With ε = 1, half of 20 releases have a rank error of at most the given share of the records, at each quantile, ties counting in the answer's favour.
func TestCensusQuantilesAreAccurate(t *testing.T) {
	f := func(name string, share float64, qs ...float64) {
		t.Helper()
		values := column(t, name)
		s := sketch.NewBinned(linear(t, 0, 128, 8192))
		s.AddBatch(values)
		slices.Sort(values)
		n := float64(len(values))
		errs := make([][]float64, len(qs))
		for range 20 {
			r, err := Release(s, Options{Quantiles: qs, Epsilon: epsilonUnit})
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range r.Quantiles {
				below, _ := slices.BinarySearch(values, a.Value)
				through, _ := slices.BinarySearch(values, math.Nextafter(a.Value, math.Inf(1)))
				errs[i] = append(errs[i], max(0, a.Q*n-float64(through), float64(below)-a.Q*n)/n)
			}
		}
		for i, e := range errs {
			slices.Sort(e)
			median := (e[9] + e[10]) / 2
			t.Logf("%s: median rank error of quantile %g is %.4f %% of n, the largest %.4f %%", name, qs[i], 100*median, 100*e[19])
			if median > share {
				t.Errorf("%s: median rank error of quantile %g is %g of n, more than %g", name, qs[i], median, share)
			}
		}
	}
	f("age", 0.002, 0.25, 0.5, 0.75)
	f("hours", 0.005, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
}
