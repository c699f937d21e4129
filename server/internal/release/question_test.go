package release

import (
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
)

// Entries of questions that name nothing new are found by what was stored of them before there was anything new.
func TestTheKeysOfPlainQuestionsStay(t *testing.T) {
	q := &quietilev1.ReleaseRequest{Metric: "m", Quantiles: []float64{0.9, 0.5, 0.9}, NanoEpsilon: 5e8, WindowTimeUnixNano: proto.Int64(day.UnixNano() + 1)}
	o, err := optionsOf(q)
	if err != nil {
		t.Fatal(err)
	}
	o.Records = 5000 // as the metric declares
	want := &quietilev1.ReleaseRequest{
		Metric: "m", Quantiles: []float64{0.5, 0.9}, NanoEpsilon: 5e8, WindowTimeUnixNano: proto.Int64(day.UnixNano()), Estimator: "recursive", Prior: "uniform",
	}
	got := canonical(q, o, day.UnixNano())
	if !proto.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if a, b := questionKey(&quietilev1.LedgerEntry{Request: got, Estimator: "recursive"}), questionKey(&quietilev1.LedgerEntry{Request: want}); a != b {
		t.Errorf("key %q, want %q", a, b)
	}
}

func TestNamedDefaultsAreTheDefaults(t *testing.T) {
	grid, err := sketch.NewLinear(0, 100, 1000)
	if err != nil {
		t.Fatal(err)
	}
	choose := func(records uint64) []dp.Prediction {
		t.Helper()
		all, err := dp.Options{Quantiles: []float64{0.5}, Epsilon: 1e8, Records: records}.Choose(grid)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if !reflect.DeepEqual(choose(defaultRecords), choose(0)) || reflect.DeepEqual(choose(2*defaultRecords), choose(0)) {
		t.Errorf("a hint of %d records is not what none is taken for", defaultRecords)
	}
	rho := func(share float64) int64 {
		_, rho := dp.Cost(dp.Options{Quantiles: []float64{0.5}, Epsilon: 1e9, Confidence: 0.9, ConfidenceShare: share})
		return rho
	}
	if rho(defaultShare) != rho(0) || rho(0.2) == rho(0) {
		t.Errorf("a share of %v is not what none is taken for", defaultShare)
	}
}
