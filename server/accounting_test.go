package server_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/client"
	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/server/subject"
)

const accountingPolicy = `
sources:
  - {name: pure, unit: event, epsilon: 1, period: 24h}
  - {name: mixed, unit: event, epsilon: 1, delta: 1e-6, period: 24h}
  - {name: rich, unit: event, epsilon: 1000, delta: 1e-6, period: 24h}
metrics:
  - {name: capped, source: pure, grid: {linear: {lower: 0, upper: 100, bins: 100}}, clock: manual, window: 24h, budget: {epsilon: 0.5}}
  - {name: other, source: pure, grid: {linear: {lower: 0, upper: 100, bins: 100}}, clock: manual, window: 24h}
  - {name: sum, source: mixed, grid: {linear: {lower: 0, upper: 100, bins: 100}}, clock: manual, window: 24h}
  - {name: part, source: mixed, grid: {linear: {lower: 0, upper: 100, bins: 100}}, clock: manual, window: 24h, budget: {epsilon: 0.5, delta: 1e-7}}
  - {name: strict, source: mixed, grid: {linear: {lower: 0, upper: 100, bins: 100}}, clock: manual, window: 24h, budget: {epsilon: 0.5}}
  - {name: any, source: rich, grid: {linear: {lower: 0, upper: 100, bins: 100}}, clock: manual, window: 24h, records: 5000}
`

// declare applies a policy.
func declare(t *testing.T, c *client.Client, text string) {
	t.Helper()
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// accounting starts a server on which two days of every metric of accountingPolicy are sealed, with nothing in them.
func accounting(t *testing.T) *client.Client {
	t.Helper()
	_, c := accountingServer(t)
	return c
}

func accountingServer(t *testing.T) (*server.Server, *client.Client) {
	t.Helper()
	s, c := engine(t, t.TempDir())
	declare(t, c, accountingPolicy)
	for _, metric := range []string{"capped", "other", "sum", "part", "strict", "any"} {
		if err := c.Seal(t.Context(), metric, day.AddDate(0, 0, 2)); err != nil {
			t.Fatal(err)
		}
	}
	return s, c
}

// refused asks what the budgets do not cover.
func refused(t *testing.T, c *client.Client, q *quietilev1.ReleaseRequest, texts ...string) {
	t.Helper()
	_, err := c.Query(t.Context(), q)
	if !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("%v: %v, want budget.ErrExceeded", q, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v: refused by %q, want %q", q, err, text)
		}
	}
}

func answered(t *testing.T, c *client.Client, q *quietilev1.ReleaseRequest) *quietilev1.ReleaseResult {
	t.Helper()
	r, err := c.Query(t.Context(), q)
	if err != nil {
		t.Fatalf("%v: %v", q, err)
	}
	return r
}

// budgetOf returns the budget of a source, or a metric's own one, in the period of a day that was charged.
func budgetOf(t *testing.T, c *client.Client, source, metric string, start time.Time) *quietilev1.SourceBudget {
	t.Helper()
	r, err := c.Budget(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range r.GetBudgets() {
		if b.GetSource() == source && b.GetMetric() == metric && b.GetPeriodStartUnixNano() == start.UnixNano() {
			return b
		}
	}
	return nil
}

func TestTheBudgetsOfMetricAndSourceMustBothAdmit(t *testing.T) {
	c := accounting(t)
	answered(t, c, question("capped", day, 4e8, 0.5))
	const own = "the release would add epsilon 0.2 to what metric capped lost in the period from 2026-03-01T00:00:00Z, and 0.1 is left of the metric's own budget"
	refused(t, c, question("capped", day, 2e8, 0.5), own)
	answered(t, c, question("other", day, 55e7, 0.5))
	refused(t, c, question("capped", day, 1e8, 0.5), "source pure", "0.05 is left")
	answered(t, c, question("capped", day, 5e7, 0.5))

	if b := budgetOf(t, c, "pure", "", day); b.GetSpentNanoEpsilon() != 1e9 || b.GetLeftNanoEpsilon() != 0 || len(b.GetCharges()) != 3 {
		t.Errorf("the source's budget is %v", b)
	}
	if b := budgetOf(t, c, "pure", "capped", day); b.GetBudgetNanoEpsilon() != 5e8 || b.GetSpentNanoEpsilon() != 45e7 || b.GetLeftNanoEpsilon() != 5e7 || len(b.GetCharges()) != 2 {
		t.Errorf("the metric's budget is %v", b)
	}
	r, err := c.Budget(t.Context(), "capped")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range r.GetBudgets() {
		if b.GetSource() != "pure" || b.GetMetric() != "" && b.GetMetric() != "capped" {
			t.Errorf("asked for capped, the report has %v", b)
		}
	}

	// A source's budget changes at once, a metric's from the next period on.
	more := strings.NewReplacer("name: pure, unit: event, epsilon: 1,", "name: pure, unit: event, epsilon: 2,", "budget: {epsilon: 0.5}", "budget: {epsilon: 2}", "source: mixed", "source: pure").
		Replace(accountingPolicy[:strings.Index(accountingPolicy, "  - {name: other")])
	declare(t, c, more)
	refused(t, c, question("capped", day, 2e8, 0.5), "metric capped", "0.05 is left of the metric's own budget")
	answered(t, c, question("other", day, 5e8, 0.5))
	if b := budgetOf(t, c, "pure", "capped", day); b.GetBudgetNanoEpsilon() != 5e8 {
		t.Errorf("a change for later periods is in force before: %v", b)
	}
}

func TestWhatAMetricSpentIsKnownAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s, c := engine(t, dir)
	declare(t, c, accountingPolicy)
	if err := c.Seal(t.Context(), "capped", day.AddDate(0, 0, 2)); err != nil {
		t.Fatal(err)
	}
	answered(t, c, question("capped", day, 4e8, 0.5))
	s.Close()
	_, c = engine(t, dir)
	refused(t, c, question("capped", day, 2e8, 0.5), "metric capped", "0.1 is left")
}

func TestAPeriodBeginsWithItsWholeBudgetAndNoMore(t *testing.T) {
	c := accounting(t)
	next := day.AddDate(0, 0, 1)
	answered(t, c, question("other", day, 25e7, 0.5))
	refused(t, c, question("other", next, 1e9+1, 0.5), "source pure", "1 is left")
	refused(t, c, question("capped", next, 5e8+1, 0.5), "metric capped", "0.5 is left")
	answered(t, c, question("capped", next, 5e8, 0.5))
	refused(t, c, question("capped", next, 1, 0.5), "metric capped", "0 is left")
	answered(t, c, question("other", next, 5e8, 0.5))
	refused(t, c, question("other", next, 1, 0.5), "source pure", "0 is left")
	refused(t, c, question("other", day, 75e7+1, 0.5), "0.75 is left")
}

func TestQuestionsWithADeltaAddUpAsRho(t *testing.T) {
	c := accounting(t)
	ask := func(metric string, nanoEpsilon, attoDelta int64, q ...float64) *quietilev1.ReleaseRequest {
		a := question(metric, day, nanoEpsilon, q...)
		a.AttoDelta, a.Estimator = attoDelta, "tree"
		return a
	}
	rho := budget.RhoWithin(2e8, 1e12)
	r := answered(t, c, ask("sum", 2e8, 1e12, 0.5))
	if r.GetNanoEpsilon() != 2e8 || r.GetDelta() != 1e-6 || r.GetNanoRho() != int64(rho) || r.GetPrior() != "none" {
		t.Errorf("released %v, want epsilon 0.2, delta 1e-6 and rho %v", r, rho)
	}
	all := budget.Source{Name: "mixed", Budget: 1e9, Delta: 1e12, Period: 24 * time.Hour}.Rho()
	b := budgetOf(t, c, "mixed", "", day)
	if b.GetBudgetAttoDelta() != 1e12 || b.GetBudgetNanoRho() != int64(all) || b.GetSpentNanoRho() != int64(rho) || b.GetSpentNanoEpsilon() != budget.Unlimited || b.GetLeftNanoEpsilon() <= 0 ||
		len(b.GetCharges()) != 1 || b.GetCharges()[0].GetNanoEpsilon() != 0 || b.GetCharges()[0].GetNanoRho() != int64(rho) {
		t.Errorf("the budget is %v, want %v of rho %v", b, rho, all)
	}
	// As many as fit: more than the five of 0.2 that a pure budget would admit.
	fit := int(all / rho)
	if fit <= 5 {
		t.Fatalf("rho %v is only %d times %v", all, fit, rho)
	}
	for i := 1; i < fit; i++ {
		answered(t, c, ask("sum", 2e8, 1e12, float64(i)/1000))
	}
	left := fmt.Sprintf("rho %v and delta 0 are left", all-rho*budget.Rho(fit))
	refused(t, c, ask("sum", 2e8, 1e12, 0.9), "rho "+rho.String(), "source mixed", left)

	// Metrics have budgets in rho too.
	refused(t, c, ask("part", 5e8, 1e12, 0.5), "source mixed")
	next := ask("part", 5e8, 2e11, 0.5)
	next.WindowTimeUnixNano = proto.Int64(day.AddDate(0, 0, 1).UnixNano())
	refused(t, c, next, "metric part", "left of the metric's own budget", "and rho "+budget.RhoWithin(5e8, 1e11).String())
	next.AttoDelta = 1e11
	answered(t, c, next)
}

func TestABudgetInEpsilonAloneRefusesQuestionsWithADelta(t *testing.T) {
	c := accounting(t)
	f := func(metric, estimator, want string) {
		t.Helper()
		q := question(metric, day, 1e8, 0.5)
		q.AttoDelta, q.Estimator = 1e12, estimator
		refused(t, c, q, "not pure", "delta 1e-06", want)
	}
	for _, estimator := range []string{"", "auto", "tree"} {
		f("other", estimator, "the budget of source pure is in epsilon alone")
		f("strict", estimator, "the budget of metric strict is in epsilon alone")
	}
	for _, source := range []string{"pure", "mixed"} {
		if b := budgetOf(t, c, source, "", day); b != nil {
			t.Errorf("%s was charged: %v", source, b)
		}
	}
}

func TestWhatIsStoredIsAnsweredWithoutLookingAtTheBudgetOrRehearsing(t *testing.T) {
	c := accounting(t)
	ask := question("any", day, 1e8, 0.5)
	ask.AttoDelta, ask.Estimator = 1e12, "auto"
	first := answered(t, c, ask)
	// From now on the step that rehearses would refuse this question.
	declare(t, c, `sources: [{name: rich, unit: event, epsilon: 1, period: 24h}]`)
	if again := answered(t, c, ask); !proto.Equal(again, first) {
		t.Errorf("asked again it is %v, before it was %v", again, first)
	}
	ask.Quantiles = []float64{0.6}
	refused(t, c, ask, "source rich is in epsilon alone")
}

func TestEqualQuestionsAreBoughtOnce(t *testing.T) {
	c := accounting(t)
	type request = *quietilev1.ReleaseRequest
	bought := map[string]string{} // what was asked, by release
	ask := func(change func(request)) string {
		t.Helper()
		q := question("any", day, 1e9, 0.25, 0.5)
		change(q)
		return answered(t, c, q).GetReleaseId()
	}
	same := func(name string, changes ...func(request)) {
		t.Helper()
		id := ask(changes[0])
		if other, ok := bought[id]; ok {
			t.Errorf("%s was answered as %s", name, other)
		}
		bought[id] = name
		for i, change := range changes[1:] {
			if ask(change) != id {
				t.Errorf("%s: variant %d was bought once more", name, i+1)
			}
		}
	}
	same("the default", func(request) {},
		func(q request) { q.Estimator = "recursive:arity=2" },
		func(q request) { q.Prior = "proxy" },
		func(q request) { q.Neighbours = "add-remove" },
		func(q request) { q.Records = 7 }, // of no use to this estimator
		func(q request) { q.Quantiles = []float64{0.5, 0.25, 0.5} })
	same("uniform", func(q request) { q.Prior = "uniform" })
	same("with delta", func(q request) { q.AttoDelta = 1e12 })
	same("with another delta", func(q request) { q.AttoDelta = 1e11 })
	same("replace-one", func(q request) { q.Neighbours = "replace-one" })
	same("confidence", func(q request) { q.Confidence = 0.95 }, func(q request) { q.Confidence, q.ConfidenceShare = 0.95, 0.1 })
	same("another confidence", func(q request) { q.Confidence = 0.9 })
	same("another share", func(q request) { q.Confidence, q.ConfidenceShare = 0.95, 0.2 })
	same("tree", func(q request) { q.Estimator, q.Confidence = "tree", 0.95 },
		func(q request) { q.Estimator, q.Confidence, q.ConfidenceShare = "tree", 0.95, 0.2 })
	same("auto", func(q request) { q.Estimator = "auto" }, func(q request) { q.Estimator, q.Records = "auto", 5000 })
	same("auto with another hint", func(q request) { q.Estimator, q.Records = "auto", 50 })
	same("auto with the default hint", func(q request) { q.Estimator, q.Records = "auto", 10_000 })
	same("density", func(q request) { q.Estimator = "density" }, func(q request) { q.Estimator, q.Records = "density", 5000 })
	same("density with another hint", func(q request) { q.Estimator, q.Records = "density", 50 })
	same("adaptive", func(q request) { q.Estimator = "adaptive:rounds=2" }, func(q request) { q.Estimator, q.Records = "adaptive:rounds=2", 5000 })
	same("adaptive with another hint", func(q request) { q.Estimator, q.Records = "adaptive:rounds=2", 50 })
	same("adaptive with bins", func(q request) { q.Estimator = "adaptive:bins=8" }, func(q request) { q.Estimator, q.Records = "adaptive:bins=8", 50 })
	same("density with bins", func(q request) { q.Estimator = "density:bins=8" }, func(q request) { q.Estimator, q.Records = "density:bins=8", 50 })
}

func TestAnswersTellTheirErrorsAndWhyTheyAreMadeSo(t *testing.T) {
	c := accounting(t)
	q := question("any", day, 1e9, 0.75, 0.25)
	q.Estimator, q.Confidence, q.ConfidenceShare, q.Neighbours, q.Prior = "auto", 0.95, 0.25, "replace-one", "uniform"
	r := answered(t, c, q)
	if r.GetConfidence() != 0.95 || r.GetNeighbours() != "replace-one" || r.GetDelta() != 0 || r.GetNanoEpsilon() != 1e9 || r.GetNanoRho() <= 0 {
		t.Errorf("released %v", r)
	}
	for _, a := range r.GetQuantiles() {
		// The window is empty, so that the rank error is 0.
		if e := a.GetRankError(); e == nil || e.GetLow() > e.GetHigh() || e.GetHigh()-e.GetLow() > 1000 {
			t.Errorf("q %v has the rank error %v", a.GetQ(), e)
		}
	}
	p := r.GetPredicted()
	if p == nil || p.GetEstimator() != r.GetEstimator() || r.GetEstimator() == "auto" || !(p.GetMean() > 0 && p.GetMax() >= p.GetMean()) {
		t.Errorf("chose %s for %v", r.GetEstimator(), p)
	}
	want, err := dp.Options{
		Quantiles: []float64{0.25, 0.75}, Epsilon: 1e9, Neighbours: dp.ReplaceOne, Confidence: 0.95, ConfidenceShare: 0.25, Records: 5000,
	}.Choose(sketchOf(t, c, "any", day).Grid())
	if err != nil {
		t.Fatal(err)
	}
	if p.GetEstimator() != want[0].Estimator.String() || p.GetMean() != want[0].Mean || p.GetMax() != want[0].Max {
		t.Errorf("the prediction is %v, want %v", p, want[0])
	}
	q.Estimator, q.Confidence, q.ConfidenceShare = "recursive", 0, 0
	if r := answered(t, c, q); r.GetPredicted() != nil || r.GetConfidence() != 0 || r.GetQuantiles()[0].GetRankError() != nil {
		t.Errorf("what was not asked for is in %v", r)
	}
}

func TestTheLedgerFixesWhatAutoChose(t *testing.T) {
	s, c := accountingServer(t)
	q := question("any", day, 1e9, 0.75, 0.25)
	q.Estimator = "auto"
	r := answered(t, c, q)
	js, err := jetstream.New(s.EngineConn())
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := js.Stream(t.Context(), subject.LedgerStream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ledger.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	record := new(quietilev1.LedgerRecord)
	if err := proto.Unmarshal(m.Data, record); err != nil {
		t.Fatal(err)
	}
	if e := record.GetEntry(); e.GetReleaseId() != r.GetReleaseId() || e.GetRequest().GetEstimator() != "auto" || e.GetEstimator() != r.GetEstimator() || e.GetNanoRho() != r.GetNanoRho() {
		t.Errorf("the first record is %v, the answer %v", record, r)
	}
}

func TestWrongQuestionsNameTheFieldAndCostNothing(t *testing.T) {
	c := accounting(t)
	f := func(want string, spoil func(*quietilev1.ReleaseRequest)) {
		t.Helper()
		q := question("any", day, 1e9, 0.5)
		spoil(q)
		_, err := c.Query(t.Context(), q)
		if !errors.Is(err, client.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", q, err, want)
		}
	}
	type request = *quietilev1.ReleaseRequest
	f("quantile 1.5", func(q request) { q.Quantiles = []float64{1.5} })
	f("0 quantiles", func(q request) { q.Quantiles = nil })
	f("epsilon 0 ", func(q request) { q.NanoEpsilon = 0 })
	f("epsilon -1 is not in (0, 1000]", func(q request) { q.NanoEpsilon, q.AttoDelta = -1e9, 1e12 })
	f("epsilon 1000.000000001 is not in (0, 1000]", func(q request) { q.NanoEpsilon, q.AttoDelta = 1000_000_000_001, 1e12 })
	f("delta -0.000000000000000001 is not in (0, 1)", func(q request) { q.AttoDelta = -1 })
	f("delta 1 is not in (0, 1)", func(q request) { q.AttoDelta = 1e18 })
	f("epsilon 0.000000001 with delta 1e-18 is too little", func(q request) { q.NanoEpsilon, q.AttoDelta = 1, 1 })
	f("records 1099511627777", func(q request) { q.Records = 1<<40 + 1 })
	f("confidence 1 ", func(q request) { q.Confidence = 1 })
	f("confidence -0.5", func(q request) { q.Confidence = -0.5 })
	f("confidence share 1 ", func(q request) { q.Confidence, q.ConfidenceShare = 0.9, 1 })
	f("confidence share 7 ", func(q request) { q.Confidence, q.ConfidenceShare, q.Estimator = 0.9, 7, "tree" })
	f("confidence share 0.5 without a confidence", func(q request) { q.ConfidenceShare = 0.5 })
	f(`neighbours "replace" are neither add-remove nor replace-one`, func(q request) { q.Neighbours = "replace" })
	f(`estimator "magic"`, func(q request) { q.Estimator = "magic" })
	f(`"magic"`, func(q request) { q.Prior = "magic" })
	if b := budgetOf(t, c, "rich", "", day); b != nil {
		t.Errorf("something was charged: %v", b)
	}
}
