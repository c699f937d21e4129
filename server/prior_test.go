package server_test

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/client"
	"github.com/quietile/quietile/dp/prior"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/server/subject"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

const priorPolicy = `
sources:
  - {name: stream, unit: event, epsilon: 10, delta: 1e-6, period: 24h}
metrics:
  - {name: seen, source: stream, grid: {linear: {lower: 0, upper: 1000, bins: 1000}}, clock: manual, window: 6h}
  - {name: rainy, source: stream, grid: {linear: {lower: 0, upper: 1000, bins: 1000}}, clock: manual, window: 6h, release: {covariates: [rain], features: [none]}}
  - {name: leader, source: stream, grid: {linear: {lower: 0, upper: 1000, bins: 1000}}, clock: manual, window: 6h, release: {prior: dp-ftrl, share: 0.25}}
`

// week declares metrics with windows that hold 200 values each, around 500, all sealed.
func week(t *testing.T, dir string) (*server.Server, *client.Client) {
	t.Helper()
	s, c := engine(t, dir)
	declare(t, c, priorPolicy)
	var samples []client.Sample
	for window := range 28 {
		at := day.Add(time.Duration(window)*6*time.Hour + time.Hour)
		for i := range 200 {
			for _, metric := range []string{"seen", "rainy", "leader"} {
				samples = append(samples, client.Sample{Metric: metric, Value: 500 + float64(i)/10 + 20*float64(window%4), Time: at})
			}
		}
	}
	publish(t, c, samples...)
	for _, metric := range []string{"seen", "rainy", "leader"} {
		if err := c.Seal(t.Context(), metric, day.AddDate(0, 0, 7)); err != nil {
			t.Fatal(err)
		}
	}
	return s, c
}

func sixth(window int) time.Time { return day.Add(time.Duration(window) * 6 * time.Hour) }

func report(t *testing.T, c *client.Client, q *quietilev1.PriorRequest) *quietilev1.PriorReport {
	t.Helper()
	r, err := c.Prior(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// entryOf returns the ledger's entry of a release, as it stands in the stream.
func entryOf(t *testing.T, s *server.Server, id string) *quietilev1.LedgerEntry {
	t.Helper()
	js, err := jetstream.New(s.EngineConn())
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := js.Stream(t.Context(), subject.LedgerStream)
	if err != nil {
		t.Fatal(err)
	}
	for sequence := uint64(1); ; sequence++ {
		m, err := ledger.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		r := new(quietilev1.LedgerRecord)
		if err := proto.Unmarshal(m.Data, r); err != nil {
			t.Fatal(err)
		}
		if r.GetEntry().GetReleaseId() == id {
			return r.GetEntry()
		}
	}
}

// Each release is believed from those before it; the entry fixes exactly what, and the answer names it.
func TestReleasesAreBelievedFromEarlierOnes(t *testing.T) {
	dir := t.TempDir()
	s, c := week(t, dir)
	for window := range 12 {
		a := answered(t, c, question("seen", sixth(window), 5e8, 0.5, 0.9))
		if a.GetPrior() != "proxy" || a.GetPriorReleases() != uint64(window) || a.GetPriorFallback() != "" {
			t.Fatalf("window %d: prior %s of %d releases, fallback %q", window, a.GetPrior(), a.GetPriorReleases(), a.GetPriorFallback())
		}
		e := entryOf(t, s, a.GetReleaseId())
		want := "forecast:"
		if window == 0 {
			want = "uniform:near=0.5"
		}
		if len(e.GetPriors()) != 2 || e.GetPriors()[1].GetQ() != 0.9 || !strings.HasPrefix(e.GetPriors()[1].GetPrior(), want) || e.GetPriorReleases() != uint64(window) || e.GetRequest().GetPrior() != "proxy" {
			t.Fatalf("window %d: the entry is %v", window, e)
		}
		for _, p := range e.GetPriors() {
			if _, err := prior.Parse(p.GetPrior()); err != nil {
				t.Errorf("window %d: %v", window, err)
			}
		}
	}
	// Asked again, with all that was learned since, it is the same answer.
	if a := answered(t, c, question("seen", sixth(3), 5e8, 0.5, 0.9)); a.GetPriorReleases() != 3 {
		t.Errorf("asked again the answer has a prior of %d releases", a.GetPriorReleases())
	}
	r := report(t, c, &quietilev1.PriorRequest{Metric: "seen"})
	if r.GetPrior() != "proxy" || r.GetState().GetReleases() != 12 || len(r.GetPriors()) != 2 || r.GetWindowStartUnixNano() != sixth(12).UnixNano() || len(r.GetState().GetQuantiles()[0].GetForecasts()) != 11 {
		t.Errorf("the report is %v", r)
	}
}

// What was learned is a function of the ledger: after a restart it is what it was, whether the store has it, has something else, or nothing.
func TestWhatWasLearnedIsReplayedFromTheLedger(t *testing.T) {
	dir := t.TempDir()
	s, c := week(t, dir)
	for window := range 8 {
		answered(t, c, question("seen", sixth(7-window), 5e8, 0.5)) // in whatever order
		answered(t, c, question("rainy", sixth(window), 5e8, 0.5))  // without covariates: nothing is learned
	}
	want := report(t, c, &quietilev1.PriorRequest{Metric: "seen"})
	if want.GetState().GetReleases() != 8 {
		t.Fatalf("learned from %d releases", want.GetState().GetReleases())
	}
	f := func(name string, change func(*store.Store) error) {
		t.Helper()
		s.Close()
		st, err := store.Open(filepath.Join(dir, "store"), nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if data, err := st.Prior("seen", 1, "proxy"); err != nil || len(data) == 0 {
			t.Fatalf("%s: the store has %d bytes, error %v", name, len(data), err)
		}
		if err := change(st); err != nil {
			t.Fatal(err)
		}
		if err := st.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		s, c = engine(t, dir)
		if got := report(t, c, &quietilev1.PriorRequest{Metric: "seen"}); !proto.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		// One more answer, so that it is stored again.
		answered(t, c, question("seen", sixth(int(want.GetState().GetReleases())), 5e8, 0.5))
		want = report(t, c, &quietilev1.PriorRequest{Metric: "seen"})
	}
	f("as it was stored", func(*store.Store) error { return nil })
	f("garbage", func(st *store.Store) error { return st.SetPrior("seen", 1, "proxy", []byte("garbage")) })
	f("an older state", func(st *store.Store) error {
		p := proto.CloneOf(want.GetState())
		p.Releases, p.ReleaseId = 3, "x"
		data, err := proto.Marshal(p)
		if err != nil {
			return err
		}
		return st.SetPrior("seen", 1, "proxy", data)
	})
	f("another's state of as many releases", func(st *store.Store) error {
		p := proto.CloneOf(want.GetState())
		p.ReleaseId, p.Quantiles[0].Last = "x", 1
		data, err := proto.Marshal(p)
		if err != nil {
			return err
		}
		return st.SetPrior("seen", 1, "proxy", data)
	})
	f("nothing", func(st *store.Store) error { return st.SetPrior("seen", 1, "proxy", nil) })
}

func TestAPriorThatCannotBeUsedLeavesItsRobustPart(t *testing.T) {
	s, c := week(t, t.TempDir())
	f := func(q *quietilev1.ReleaseRequest, want string) {
		t.Helper()
		a := answered(t, c, q)
		if !strings.Contains(a.GetPriorFallback(), want) || (want == "") != (a.GetPriorFallback() == "") {
			t.Errorf("%v: fallback %q, want %q", q, a.GetPriorFallback(), want)
		}
		if e := entryOf(t, s, a.GetReleaseId()); e.GetPriorFallback() != a.GetPriorFallback() {
			t.Errorf("%v: the entry says %q", q, e.GetPriorFallback())
		}
	}
	rain := func(window int, covariates map[string]float64) *quietilev1.ReleaseRequest {
		q := question("rainy", sixth(window), 2e8, 0.5)
		q.Covariates = covariates
		return q
	}
	f(rain(0, map[string]float64{"rain": 1}), "")
	f(rain(1, nil), `covariate "rain" is missing`)
	f(rain(2, map[string]float64{"rain": 1, "snow": 2}), `covariate "snow" is not declared: there are 1`)
	f(rain(3, map[string]float64{"rain": math.NaN()}), `covariate "rain" is NaN`)
	f(rain(4, map[string]float64{"rain": 0}), "")
	q := question("seen", sixth(0), 2e8, 0.5)
	q.Prior = "weights:1,2,3"
	f(q, "3 weights, and grid linear")
	// What no grid makes right is refused before it is paid for.
	q.Prior = "weights:1,-2"
	if _, err := c.Query(t.Context(), q); err == nil || !strings.Contains(err.Error(), "weight -2 of bucket 1") {
		t.Errorf("a negative weight: %v", err)
	}
}

// The gradient's part is in the entry and in the answer, within what the question costs; the tree goes on after a restart.
func TestALeaderPaysForItsGradients(t *testing.T) {
	dir := t.TempDir()
	s, c := week(t, dir)
	ask := func(window int) *quietilev1.ReleaseResult {
		t.Helper()
		q := question("leader", sixth(window), 1e9, 0.5)
		q.AttoDelta = 1e11
		return answered(t, c, q)
	}
	rho := ask(0).GetNanoRho()
	// Of the first answer there is nothing to learn: where the quantile is, is not known before it. The second day has a tree of its own.
	numbers := []uint64{0, 1, 2, 3, 1, 2, 3, 4}
	for window := 1; window < 8; window++ {
		a := ask(window)
		e := entryOf(t, s, a.GetReleaseId())
		if e.GetLearningNanoRho() != a.GetLearnedNanoRho() || a.GetLearnedNanoRho() != rho/4 || e.GetNanoRho() != rho || a.GetNanoRho() != rho {
			t.Errorf("window %d: the entry charges %d of %d, the answer says %d of %d", window, e.GetLearningNanoRho(), e.GetNanoRho(), a.GetLearnedNanoRho(), a.GetNanoRho())
		}
		if len(a.GetLearned()) == 0 || a.GetLearned()[0].GetLast() != numbers[window] || len(a.GetLearned()[0].GetValues()) != 6 {
			t.Errorf("window %d: learned %v, want number %d", window, a.GetLearned(), numbers[window])
		}
		if window == 2 || window == 5 {
			want := report(t, c, &quietilev1.PriorRequest{Metric: "leader"})
			s.Close()
			s, c = engine(t, dir)
			if got := report(t, c, &quietilev1.PriorRequest{Metric: "leader"}); !proto.Equal(got, want) {
				t.Errorf("after a restart: %v, want %v", got, want)
			}
		}
	}
	// A window that was learned from is not learned from again, and a pure question pays for nothing.
	q := question("leader", sixth(6), 9e8, 0.5)
	q.AttoDelta = 1e11
	if a := answered(t, c, q); len(a.GetLearned()) != 0 || a.GetLearnedNanoRho() != 0 {
		t.Errorf("learned from window 6 again: %v", a.GetLearned())
	}
	if a := answered(t, c, question("leader", sixth(9), 1e8, 0.5)); len(a.GetLearned()) != 0 || a.GetLearnedNanoRho() != 0 || a.GetPrior() != "dp-ftrl" {
		t.Errorf("a pure question learned %v", a)
	}
}

func TestPublicRecordsAreReadWithThePolicy(t *testing.T) {
	dir := t.TempDir()
	g, err := sketch.ParseGrid("linear:lower=0,upper=1000,bins=1000")
	if err != nil {
		t.Fatal(err)
	}
	known := sketch.NewBinned(g)
	for i := range 1000 {
		known.Add(500 + float64(i)/50)
	}
	file, err := os.Create(filepath.Join(dir, "known.qtd"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := dump.NewWriter(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write("", known); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	text := strings.Replace(priorPolicy, "window: 6h}", "window: 6h, release: {prior: public:known.qtd, robust: 0.05}}", 1)
	path := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, c := engine(t, t.TempDir())
	if _, err := c.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := c.Seal(t.Context(), "seen", day.AddDate(0, 0, 1)); err != nil {
		t.Fatal(err)
	}
	a := answered(t, c, question("seen", sixth(0), 1e8, 0.5)) // of no samples: it is drawn from the prior
	if a.GetPrior() != "public" || a.GetPriorFallback() != "" {
		t.Errorf("prior %q, fallback %q", a.GetPrior(), a.GetPriorFallback())
	}
	if r := report(t, c, &quietilev1.PriorRequest{Metric: "seen"}); r.GetPrior() != "public:known.qtd" {
		t.Errorf("the report is %v", r)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(text, "bins: 1000}}, clock: manual, window: 6h, release: {prior", "bins: 500}}, clock: manual, window: 6h, release: {prior", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.ParseFile(path); err == nil || !strings.Contains(err.Error(), "is on grid linear:lower=0,upper=1000,bins=1000, and not on the metric's") {
		t.Errorf("a public file on another grid: %v", err)
	}
}
