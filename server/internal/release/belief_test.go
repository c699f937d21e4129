package release

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp/prior/learn"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/control"
	"github.com/quietile/quietile/server/internal/journal"
	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/server/subject"
	"github.com/quietile/quietile/sketch"
)

const leaderPolicy = `
sources:
  - {name: s, unit: event, epsilon: 900, delta: 1e-6, period: 24h}
  - {name: users, unit: user, epsilon: 900, delta: 1e-6, period: 24h}
metrics:
  - {name: m, source: s, grid: {linear: {lower: 0, upper: 1000, bins: 1000}}, clock: manual, window: 3h, release: {prior: dp-ftrl, share: 0.5, features: [none]}}
  - {name: u, source: users, grid: {linear: {lower: 0, upper: 1000, bins: 1000}}, clock: manual, window: 3h, contributions: {per_window: 2, windows: 5}, release: {prior: dp-ftrl}}
  - {name: c, source: s, grid: {linear: {lower: 0, upper: 1000, bins: 1000}}, clock: manual, window: 3h, release: {prior: curve}}
`

// releasers returns a function that starts a releaser over one ledger, with a store in which all windows are sealed and hold nothing.
func releasers(t *testing.T) (start func(*store.Store) *Service) {
	start, _ = releasersOf(t)
	return start
}

func releasersOf(t *testing.T) (start func(*store.Store) *Service, js jetstream.JetStream) {
	t.Helper()
	open, js := stream(t)
	ring, err := keys.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: subject.ControlStream, Subjects: []string{subject.Control + ">"}}); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(t.Context(), js, subject.ControlStream, ring, logger)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse([]byte(leaderPolicy))
	if err != nil {
		t.Fatal(err)
	}
	for version := range uint32(2) { // the second from the third day on
		for _, m := range p.GetMetrics() {
			m.Version, m.EffectiveFromUnixNano = version+1, day.Add(time.Duration(version)*48*time.Hour).UnixNano()
		}
		data, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Append(t.Context(), subject.Control+"policy", data); err != nil {
			t.Fatal(err)
		}
	}
	return func(s *store.Store) *Service {
		t.Helper()
		b := s.NewBatch()
		if err := errors.Join(b.SetSealedThrough("m", 0, math.MaxInt64), b.SetSealedThrough("u", 0, math.MaxInt64), b.SetSealedThrough("c", 0, math.MaxInt64), b.Commit()); err != nil {
			t.Fatal(err)
		}
		c, err := control.Open(t.Context(), js, ring, 1, s.Versions, logger)
		if err != nil {
			t.Fatal(err)
		}
		return New(s, c, open(s), 1, time.Millisecond, nil)
	}, js
}

// asked returns the answer about a window, in eighths of a day, for an ε.
func asked(t *testing.T, s *Service, window int, nanoEpsilon int64) *quietilev1.ReleaseResult {
	t.Helper()
	a, _, err := s.Release(t.Context(), &quietilev1.ReleaseRequest{
		Metric: "m", Quantiles: []float64{0.5}, NanoEpsilon: nanoEpsilon, AttoDelta: 1e11, WindowTimeUnixNano: proto.Int64(day.Add(time.Duration(window) * 3 * time.Hour).UnixNano()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// learnedAs fails unless an answer is that of a release of the number in its tree, and tells whether its last sum has those that [marked] put there.
func learnedAs(t *testing.T, a *quietilev1.ReleaseResult, number uint64) (marked bool) {
	t.Helper()
	if len(a.GetLearned()) == 0 || a.GetLearned()[0].GetLast() != number {
		t.Fatalf("learned %v, want number %d", a.GetLearned(), number)
	}
	return a.GetLearned()[len(a.GetLearned())-1].GetValues()[0] > mark/2
}

// mark is a sum that no gradients and no noise here make.
const mark = 1 << 29

// marked replaces the sums of the stored carry, and returns it.
func marked(t *testing.T, s *store.Store, version uint32) []byte {
	t.Helper()
	carry, err := s.TakeCarry("m", version)
	if err != nil || len(carry) < 32 {
		t.Fatalf("the carry is %v, error %v", carry, err)
	}
	rest := carry[32:]
	next := func() uint64 {
		x, n := binary.Uvarint(rest)
		rest = rest[n:]
		return x
	}
	levels, number := next(), next()
	b := binary.AppendUvarint(binary.AppendUvarint(slices.Clone(carry[:32]), levels), number)
	for range levels {
		n := next()
		if b = binary.AppendUvarint(b, n); n == 0 {
			continue
		}
		b = binary.AppendUvarint(b, next())
		for range n {
			next()
			b = binary.AppendVarint(b, mark)
		}
	}
	put(t, s, version, b)
	return b
}

func put(t *testing.T, s *store.Store, version uint32, carry []byte) {
	t.Helper()
	if err := s.SetCarry("m", version, carry); err != nil {
		t.Fatal(err)
	}
}

func believed(t *testing.T, s *Service) *quietilev1.PriorReport {
	t.Helper()
	r, err := s.Prior(&quietilev1.PriorRequest{Metric: "m"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Each releaser sees what the other released before it prices, and both believe the same.
func TestAReleaserGoesOnWhereAnotherOneStopped(t *testing.T) {
	start := releasers(t)
	a, b := start(memory(t)), start(memory(t))
	asked(t, b, 0, 1e9) // both have a state
	believed(t, a)
	for window, by := range []*Service{nil, a, a, b, a, b, b} {
		if by != nil {
			learnedAs(t, asked(t, by, window, 1e9), uint64(window))
		}
	}
	// The same window is asked of the other, which answers what was bought, and learns no more.
	if x, y := asked(t, a, 6, 1e9), asked(t, b, 6, 1e9); x.GetReleaseId() != y.GetReleaseId() {
		t.Error("a question was answered twice")
	}
	if x := asked(t, a, 6, 2e9); len(x.GetLearned()) != 0 {
		t.Errorf("a window was learned from twice: %v", x.GetLearned())
	}
	asked(t, b, 7, 1e9)
	learnedAs(t, asked(t, a, 8, 1e9), 1)  // of the next period: a tree of its own
	learnedAs(t, asked(t, a, 16, 1e9), 1) // of the next version
	asked(t, b, 17, 1e9)
	asked(t, a, 17, 1e9) // which is bought already
	x, y, anew := believed(t, a), believed(t, b), believed(t, start(memory(t)))
	if !proto.Equal(x, y) || !proto.Equal(x, anew) {
		t.Errorf("one believes %v, another %v, one that starts %v", x, y, anew)
	}
}

// Where a releaser hands its store on, the other has the sums of its tree; nobody has them twice.
func TestSumsOfATreeAreHandedOnOnce(t *testing.T) {
	start := releasers(t)
	s := memory(t)
	a, b := start(s), start(s)
	asked(t, a, 0, 1e9)
	learnedAs(t, asked(t, a, 1, 1e9), 1)
	first := marked(t, s, 1)
	if !learnedAs(t, asked(t, b, 2, 1e9), 2) {
		t.Error("the other releaser did not go on with the sums")
	}
	if learnedAs(t, asked(t, b, 3, 1e9), 3) || !learnedAs(t, asked(t, a, 4, 1e9), 4) {
		t.Error("the first one did not go on with the other's")
	}
	// A carry of the day before, as of a copy of the store, is none of this day's tree, though it is of the number before.
	learnedAs(t, asked(t, a, 8, 1e9), 1)
	put(t, s, 1, first)
	if learnedAs(t, asked(t, a, 9, 1e9), 2) {
		t.Error("sums of another tree were published again")
	}
}

// An answer can be stored without its releaser knowing, and before what it left is. It counts all the same.
func TestAnAnswerThatNobodySawIsNotReleasedAgain(t *testing.T) {
	start := releasers(t)
	s := memory(t)
	a := start(s)
	for window := range 4 {
		asked(t, a, window, 1e9)
	}
	carry := marked(t, s, 1)
	if !learnedAs(t, asked(t, start(s), 4, 1e9), 4) {
		t.Error("the sums were not published")
	}
	put(t, s, 1, carry)
	if learnedAs(t, asked(t, a, 5, 1e9), 5) || learnedAs(t, asked(t, a, 6, 1e9), 6) {
		t.Error("sums were published again")
	}
}

// What was drawn may be known, whether or not it is stored.
func TestABurnedReleaseTakesTheSumsWithIt(t *testing.T) {
	start := releasers(t)
	s := memory(t)
	a := start(s)
	asked(t, a, 0, 1e9)
	learnedAs(t, asked(t, a, 1, 1e9), 1)
	marked(t, s, 1)
	ask, err := a.resolve(&quietilev1.ReleaseRequest{
		Metric: "m", Quantiles: []float64{0.5}, NanoEpsilon: 1e9, AttoDelta: 1e11, WindowTimeUnixNano: proto.Int64(day.Add(6 * time.Hour).UnixNano()),
	})
	if err == nil {
		err = a.price(ask)
	}
	if err == nil {
		err = a.append(t.Context(), &quietilev1.LedgerRecord{Kind: &quietilev1.LedgerRecord_Entry{Entry: ask.entry}}, func() error { return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	before := believed(t, a)
	if r, _, err := a.draw(ask); err != nil || r.Learned[1].Values[0] < mark/2 {
		t.Fatalf("drawn %v, error %v", r, err)
	}
	if !proto.Equal(before, believed(t, a)) || !proto.Equal(before, believed(t, start(memory(t)))) {
		t.Error("something was learned from a release without an answer")
	}
	if learnedAs(t, asked(t, a, 2, 1e9), 2) {
		t.Error("sums were published again")
	}
}

// A version learns from all answers about its metric, also from those about windows of another version that come later.
func TestOtherVersionsAnswersAreSeen(t *testing.T) {
	start := releasers(t)
	s := memory(t)
	a := start(s)
	asked(t, a, 16, 1e9)
	asked(t, a, 0, 1e9) // of the version before
	asked(t, a, 17, 1e9)
	if x, anew := believed(t, a), believed(t, start(memory(t))); !proto.Equal(x, anew) || x.GetState().GetReleases() != 3 {
		t.Errorf("one believes %v, one that starts %v", x, anew)
	}
}

// What is learned is a function of the ledger even if clocks go back.
func TestTheOrderOfLearningIsTheLedgers(t *testing.T) {
	start := releasers(t)
	a := start(memory(t))
	asked(t, a, 0, 1e9)
	asked(t, a, 1, 1e9)
	a.now = func() time.Time { return time.Now().Add(-time.Hour) }
	asked(t, a, 2, 1e9)
	asked(t, a, 3, 1e9)
	a.now = time.Now
	asked(t, a, 4, 1e9)
	if x, anew := believed(t, a), believed(t, start(memory(t))); !proto.Equal(x, anew) {
		t.Errorf("one believes %v, one that starts %v", x, anew)
	}
}

// A unit may have records in several windows of a tree: their charges cover noise for so many.
func TestNoiseOfATreeIsForAllWindowsOfAUser(t *testing.T) {
	a := releasers(t)(memory(t))
	for window, want := range []uint64{0, 5} {
		q := &quietilev1.ReleaseRequest{
			Metric: "u", Quantiles: []float64{0.5}, NanoEpsilon: 1e9, AttoDelta: 1e11, WindowTimeUnixNano: proto.Int64(day.Add(time.Duration(window) * 3 * time.Hour).UnixNano()),
		}
		ask, err := a.resolve(q)
		if err == nil {
			err = a.price(ask)
		}
		if err != nil {
			t.Fatal(err)
		}
		if l := ask.opts.Learn; (l != nil) != (want > 0) || l != nil && (l.Windows != want || ask.entry.GetWindows() != 5) {
			t.Errorf("window %d: learning %+v, entry %v", window, l, ask.entry)
		}
		if _, _, err := a.Release(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
}

// An answer that is not durable is not learned from, and what it would have left is not kept.
func TestNothingIsLearnedBeforeItIsDurable(t *testing.T) {
	start, js := releasersOf(t)
	s := memory(t)
	a := start(s)
	asked(t, a, 0, 1e9)
	asked(t, a, 1, 1e9)
	a.charged = func() {
		if err := js.DeleteStream(t.Context(), subject.LedgerStream); err != nil {
			t.Error(err)
		}
	}
	state := a.believers["m/1/dp-ftrl"].state.Proto()
	stored, err := s.Prior("m", 1, "dp-ftrl")
	if err != nil || len(stored) == 0 {
		t.Fatalf("stored %v, error %v", stored, err)
	}
	if r, _, err := a.Release(t.Context(), &quietilev1.ReleaseRequest{
		Metric: "m", Quantiles: []float64{0.5}, NanoEpsilon: 1e9, AttoDelta: 1e11, WindowTimeUnixNano: proto.Int64(day.Add(6 * time.Hour).UnixNano()),
	}); err == nil {
		t.Fatalf("answered %v without a ledger", r)
	}
	again, err := s.Prior("m", 1, "dp-ftrl")
	if err != nil || !slices.Equal(again, stored) || !proto.Equal(a.believers["m/1/dp-ftrl"].state.Proto(), state) {
		t.Errorf("learned from an answer that is not durable: %v, error %v", a.believers["m/1/dp-ftrl"].state.Proto(), err)
	}
	if carry, err := s.TakeCarry("m", 1); err != nil || carry != nil {
		t.Errorf("the carry is %v, error %v", carry, err)
	}
}

// A record that the stream has twice counts once: learners have seen as many answers as there are.
func TestARecordCountsOnce(t *testing.T) {
	a := releasers(t)(memory(t))
	asked(t, a, 0, 1e9)
	asked(t, a, 1, 1e9)
	for id, e := range a.ledger.entries {
		for range 2 {
			if err := errors.Join(
				a.ledger.take(&quietilev1.LedgerRecord{Kind: &quietilev1.LedgerRecord_Entry{Entry: e}}),
				a.ledger.take(&quietilev1.LedgerRecord{Kind: &quietilev1.LedgerRecord_Answer{Answer: a.ledger.answers[id]}}),
			); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := a.ledger.answered["m"]; n != 2 || len(a.ledger.answered) != 1 {
		t.Fatalf("%d answers", n)
	}
	learnedAs(t, asked(t, a, 2, 1e9), 2)
}

// Curves go from answer to answer through the ledger: a releaser that starts anew expects the same, to the number. Estimators that do not count answer without a forecast, and say so.
func TestCurvesAreHandedOn(t *testing.T) {
	start := releasers(t)
	st := memory(t)
	a, b := start(st), start(memory(t))
	ask := func(s *Service, window int, estimator string) *quietilev1.ReleaseResult {
		t.Helper()
		r, _, err := s.Release(t.Context(), &quietilev1.ReleaseRequest{
			Metric: "c", Quantiles: []float64{0.25, 0.5}, NanoEpsilon: 1e9, Estimator: estimator, WindowTimeUnixNano: proto.Int64(day.Add(time.Duration(window) * 3 * time.Hour).UnixNano()),
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	believed := func(s *Service) *quietilev1.PriorReport {
		t.Helper()
		r, err := s.Prior(&quietilev1.PriorRequest{Metric: "c"})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for window := range 5 {
		r := ask(a, window, []string{"tree", "density:bins=20"}[window%2])
		if len(r.GetCurve().GetAt()) == 0 || !(r.GetCurve().GetVariance() > 0) || r.GetPrior() != "curve" || r.GetPriorReleases() != uint64(window) || r.GetPriorFallback() != "" {
			t.Errorf("window %d: prior %s of %d releases, %q, curve %v", window, r.GetPrior(), r.GetPriorReleases(), r.GetPriorFallback(), r.GetCurve())
		}
		// What is expected is in the entry, which is durable before data is read; of two curves the first forecast is made, for the third window.
		if f := a.ledger.entries[r.GetReleaseId()].GetForecast(); f == nil || (len(f.GetAt()) > 0) != (window > 1) {
			t.Errorf("window %d: the entry's forecast is %v", window, f)
		}
	}
	for window, estimator := range []string{5: "recursive", 6: "auto"} {
		if estimator == "" {
			continue
		}
		r := ask(a, window, estimator)
		if r.GetCurve() != nil || a.ledger.entries[r.GetReleaseId()].GetForecast() != nil || !strings.Contains(r.GetPriorFallback(), "noisy counts, which estimator "+r.GetEstimator()) {
			t.Errorf("%s: %s has the curve %v, and says %q", estimator, r.GetEstimator(), r.GetCurve(), r.GetPriorFallback())
		}
	}
	ask(b, 6, "auto") // which is bought already: it reads what the other released
	x := believed(a)
	if n := len(x.GetState().GetCurves().GetMeans()); n == 0 || x.GetState().GetReleases() != 7 || len(x.GetPriors()) != 2 {
		t.Errorf("%d means, state %v", n, x)
	}
	for name, s := range map[string]*Service{"the other": b, "one that starts": start(memory(t)), "one with the store": start(st)} {
		if y := believed(s); !proto.Equal(x, y) {
			t.Errorf("one believes %v, %s %v", x, name, y)
		}
	}
	if data, err := st.Prior("c", 1, "curve"); err != nil || len(data) == 0 {
		t.Errorf("the state is not stored: %v", err)
	}
}

// A curve is about the buckets of its version's grid: those of another grid are left out.
func TestCurvesOfOtherGridsAreLeftOut(t *testing.T) {
	g, err := sketch.NewLinear(0, 10, 10)
	if err != nil {
		t.Fatal(err)
	}
	finer, err := sketch.NewLinear(0, 10, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []*sketch.Grid{g, finer} {
		s, err := learn.New(learn.Config{Learner: learn.Curve}, g)
		if err != nil {
			t.Fatal(err)
		}
		grid, err := proto.Marshal(of.Proto())
		if err != nil {
			t.Fatal(err)
		}
		b := &believer{state: s, grid: g}
		b.take(&quietilev1.LedgerEntry{Grid: grid}, &quietilev1.ReleaseResult{Curve: &quietilev1.ReleasedCurve{At: []float64{3, 4}, Variance: 0.1}})
		if n := len(s.Proto().GetCurves().GetMeans()); (n > 0) != (of == g) {
			t.Errorf("of a curve on %v there are %d means on %v", of, n, g)
		}
	}
}
