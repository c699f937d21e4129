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

// A hint that decides what is drawn makes another question.
func TestHintsThatDecideArePartOfTheQuestion(t *testing.T) {
	f := func(estimator string, want uint64) {
		t.Helper()
		q := &quietilev1.ReleaseRequest{Metric: "m", Quantiles: []float64{0.5}, NanoEpsilon: 5e8, Estimator: estimator}
		o, err := optionsOf(q)
		if err != nil {
			t.Fatal(err)
		}
		o.Records = 5000
		if got := canonical(q, o, day.UnixNano()).GetRecords(); got != want {
			t.Errorf("%s: %d records in the question, want %d", estimator, got, want)
		}
	}
	f("auto", 5000)
	f("density", 5000)
	f("slice", 5000)
	f("slice:width=100", 5000)
	f("tree", 0)
	f("joint", 0)
	f("recursive", 0)
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
