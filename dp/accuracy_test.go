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

// Ties never hurt: where one value has nearly half of all records, answers have the law that theory gives them, in which the bucket of that value has the weight of the positions within it, as if
// its records were spread over it.
func TestTiesNeverHurt(t *testing.T) {
	values := column(t, "hours")
	tied := sketch.NewBinned(linear(t, 0, 128, 128))
	tied.AddBatch(values)
	n := float64(len(values))
	most := uint64(0)
	for _, c := range tied.All() {
		most = max(most, c)
	}
	if float64(most) < 0.4*n {
		t.Fatalf("the most frequent value has %d of %.0f records", most, n)
	}
	before := make([]float64, tied.Grid().Len()+1)
	for b, c := range tied.All() {
		before[b+1] = float64(c)
	}
	for b := range tied.Grid().Len() {
		before[b+1] += before[b]
	}
	const releases = 4000
	for _, q := range []float64{0.25, 0.5, 0.9} {
		const e = 0.002
		// ∫ exp(−η·|rank − q·n|) over each bucket.
		eta := e / 2 / max(q, 1-q)
		law, total := make([]float64, len(before)-1), 0.0
		for b := range law {
			const steps = 2000
			for i := range steps {
				rank := before[b] + (before[b+1]-before[b])*(float64(i)+0.5)/steps
				law[b] += math.Exp(-eta*math.Abs(rank-q*n)) / steps
			}
			total += law[b]
		}
		counts := make([]float64, len(law))
		for range releases {
			r, err := Release(tied, Options{Quantiles: []float64{q}, Epsilon: Epsilon(e * epsilonUnit)})
			if err != nil {
				t.Fatal(err)
			}
			counts[bucketOf(tied.Grid(), r.Quantiles[0])]++
		}
		square, cells := 0.0, 0
		rest, restCount := 0.0, 0.0
		for b, p := range law {
			if expected := p / total * releases; expected > 20 {
				square += (counts[b] - expected) * (counts[b] - expected) / expected
				cells++
			} else {
				rest, restCount = rest+expected, restCount+counts[b]
			}
		}
		if rest > 20 {
			square += (restCount - rest) * (restCount - rest) / rest
			cells++
		}
		t.Logf("quantile %v: chi-square %.1f over %d buckets", q, square, cells)
		// Five standard deviations.
		if limit := float64(cells) + 5*math.Sqrt(2*float64(cells)); square > limit {
			t.Errorf("quantile %v: chi-square %.1f over %d buckets", q, square, cells)
		}
	}
}

// bucketOf returns the bucket of an answer.
func bucketOf(g *sketch.Grid, a Quantile) int {
	switch {
	case math.IsInf(a.Lower, -1):
		return 0
	case math.IsInf(a.Upper, 1):
		return g.Len() - 1
	}
	return g.Index(a.Lower)
}
