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
	q := &quietilev1.ReleaseRequest{Metric: "m", Quantiles: []float64{0.9, 0.5, 0.9}, NanoEpsilon: 5e8, WindowTimeUnixNano: proto.Int64(day.UnixNano() + 1), Prior: "uniform"}
	o, learner, err := optionsOf(q, &quietilev1.Metric{})
	if err != nil || learner != "" {
		t.Fatal(learner, err)
	}
	o.Records = 5000 // as the metric declares
	want := &quietilev1.ReleaseRequest{
		Metric: "m", Quantiles: []float64{0.5, 0.9}, NanoEpsilon: 5e8, WindowTimeUnixNano: proto.Int64(day.UnixNano()), Estimator: "recursive", Prior: "uniform",
	}
	got := canonical(q, o, learner, day.UnixNano())
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
		o, learner, err := optionsOf(q, &quietilev1.Metric{})
		if err != nil {
			t.Fatal(err)
		}
		o.Records = 5000
		if got := canonical(q, o, learner, day.UnixNano()).GetRecords(); got != want {
			t.Errorf("%s: %d records in the question, want %d", estimator, got, want)
		}
	}
	f("auto", 5000)
	f("density", 5000)
	f("adaptive", 5000)
	f("adaptive:rounds=3", 5000)
	f("adaptive:rounds=3,bins=16", 0)
	f("slice", 5000)
	f("slice:width=100", 5000)
	f("tree", 0)
	f("joint", 0)
	f("recursive", 0)
}

// A question without a prior is the metric's, and is answered for nothing by what the uniform prior has bought: the answers of before there was anything else.
func TestAQuestionWithoutAPriorIsTheMetrics(t *testing.T) {
	plain := &quietilev1.ReleaseRequest{Metric: "m", Quantiles: []float64{0.5}, NanoEpsilon: 5e8}
	f := func(prior string, m *quietilev1.Metric, want string) {
		t.Helper()
		q := proto.CloneOf(plain)
		q.Prior = prior
		o, learner, err := optionsOf(q, m)
		if err != nil {
			t.Fatal(err)
		}
		if got := canonical(q, o, learner, 0).GetPrior(); got != want {
			t.Errorf("prior %q is %q, want %q", prior, got, want)
		}
	}
	f("", &quietilev1.Metric{}, "proxy")
	f("previous", &quietilev1.Metric{}, "previous")
	f("", &quietilev1.Metric{Release: &quietilev1.ReleasePolicy{Prior: "uniform"}}, "uniform")
	f("cauchy:scale=1,location=0", &quietilev1.Metric{}, "cauchy:location=0,scale=1")

	l := &Ledger{answers: map[string]*quietilev1.ReleaseResult{"a": {ReleaseId: "a"}}, questions: map[string][]string{}}
	old := &quietilev1.LedgerEntry{Request: proto.CloneOf(plain)}
	old.Request.Prior = "uniform"
	l.questions[questionKey(old)] = []string{"a"}
	asked := &question{entry: &quietilev1.LedgerEntry{Request: proto.CloneOf(plain)}, plain: true}
	asked.entry.Request.Prior = "proxy"
	if l.bought(asked).GetReleaseId() != "a" {
		t.Error("an answer with the uniform prior is not found")
	}
	if asked.plain = false; l.bought(asked) != nil {
		t.Error("it is found by who asked for a prior")
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
