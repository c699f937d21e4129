package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/client"
	"github.com/quietile/quietile/dp/budget"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/server/subject"
	"github.com/quietile/quietile/sketch"
)

const testPolicy = `
sources:
  - {name: people, unit: user, epsilon: 2, period: 24h}
  - {name: machines, unit: event, epsilon: 1, period: 24h}
metrics:
  - name: latency
    source: people
    grid: {linear: {lower: 0, upper: 100, bins: 1000}}
    clock: manual
    window: 6h
    contributions: {per_window: 2, windows: 2}
  - name: load
    source: machines
    grid: {exponential: {scale: 3, min: 0.001, max: 1000}}
    clock: manual
    window: 6h
  - name: live
    source: machines
    grid: {linear: {lower: 0, upper: 10, bins: 10}}
    window: 1s
    lateness: 0s
`

// day is the start of a budget period.
var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// engine starts a server on a directory and returns it with an admin's client.
func engine(t *testing.T, dir string) (*server.Server, *client.Client) {
	t.Helper()
	s, err := server.Start(t.Context(), server.Options{
		DataDir: dir, Port: -1, AnswerSlot: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p, err := policy.Parse([]byte(testPolicy))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return s, admin(t, s, dir)
}

func admin(t *testing.T, s *server.Server, dir string) *client.Client {
	t.Helper()
	secret, err := server.AdminSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Connect(s.URL(), client.WithAdmin(secret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// publish sends samples through a Publisher.
func publish(t *testing.T, c *client.Client, samples ...client.Sample) {
	t.Helper()
	p, err := c.NewPublisher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		if err := p.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// settle waits until a metric's counters are as wanted.
func settle(t *testing.T, c *client.Client, want *quietilev1.MetricStatus) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range st.GetMetrics() {
			if proto.Equal(m, want) {
				return
			}
			if m.GetMetric() == want.GetMetric() && time.Now().After(deadline) {
				t.Fatalf("counters are %v, want %v", m, want)
			}
		}
		<-time.After(20 * time.Millisecond)
	}
}

func sketchOf(t *testing.T, c *client.Client, metric string, at time.Time) *sketch.Binned {
	t.Helper()
	w, err := c.Dump(t.Context(), metric, at)
	if err != nil {
		t.Fatal(err)
	}
	b, err := sketch.FromProto(w.GetSketch())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func question(metric string, at time.Time, nanoEpsilon int64, q ...float64) *quietilev1.ReleaseRequest {
	return &quietilev1.ReleaseRequest{
		Metric: metric, Quantiles: q, NanoEpsilon: nanoEpsilon,
		WindowTimeUnixNano: proto.Int64(at.UnixNano()),
	}
}

func TestSamplesBecomePrivateQuantilesThatAreBoughtOnce(t *testing.T) {
	s, c := engine(t, t.TempDir())
	var samples []client.Sample
	for i := range 10_000 {
		samples = append(samples, client.Sample{Metric: "load", Value: float64(i%1000) + 0.5, Time: day.Add(time.Duration(i) * time.Millisecond)})
	}
	publish(t, c, samples...)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 10_000})

	analyst, err := client.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer analyst.Close()
	ask := question("load", day.Add(time.Hour), 5e8, 0.9, 0.5)
	if _, err := analyst.Query(t.Context(), ask); !errors.Is(err, client.ErrNotSealed) {
		t.Fatalf("an open window answered %v, want ErrNotSealed", err)
	}
	if err := c.Seal(t.Context(), "load", day.Add(6*time.Hour)); err != nil {
		t.Fatal(err)
	}
	first, err := analyst.Query(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	if q := first.GetQuantiles(); len(q) != 2 || q[0].GetQ() != 0.9 || math.Abs(q[0].GetValue()-900) > 100 || math.Abs(q[1].GetValue()-500) > 60 {
		t.Errorf("released %v, want about 900 and 500", q)
	}
	again, err := analyst.Query(t.Context(), question("load", day, 5e8, 0.5, 0.9))
	if err != nil {
		t.Fatal(err)
	}
	if again.GetReleaseId() != first.GetReleaseId() || again.GetQuantiles()[0].GetValue() != first.GetQuantiles()[1].GetValue() {
		t.Errorf("the same question bought another answer: %v, then %v", first, again)
	}
	spent := func(want int64) {
		t.Helper()
		r, err := analyst.Budget(t.Context(), "load")
		if err != nil {
			t.Fatal(err)
		}
		if got := r.GetBudgets()[0].GetSpentNanoEpsilon(); got != want {
			t.Errorf("spent %d, want %d", got, want)
		}
	}
	spent(5e8)
	if _, err := analyst.Query(t.Context(), question("load", day, 6e8, 0.5)); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("overspending answered %v, want budget.ErrExceeded", err)
	}
	spent(5e8)
	// Events of another window are other events.
	if _, err := analyst.Query(t.Context(), question("load", day.Add(-6*time.Hour), 6e8, 0.5)); err != nil {
		t.Errorf("a window that nobody wrote to: %v", err)
	}
}

func TestContributionsOfAUserAreBoundedAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	s, c := engine(t, dir)
	at := func(window int) time.Time { return day.Add(time.Duration(window) * 6 * time.Hour) }
	publish(t, c,
		client.Sample{Metric: "latency", Value: 1, Unit: "ann", Time: at(0)},
		client.Sample{Metric: "latency", Value: 2, Unit: "ann", Time: at(1)},
		client.Sample{Metric: "latency", Value: 3, Unit: "bob", Time: at(0), Weight: 5})
	settle(t, c, &quietilev1.MetricStatus{Metric: "latency", Accepted: 4, Excess: 3})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, c = engine(t, dir)
	publish(t, c,
		client.Sample{Metric: "latency", Value: 4, Unit: "ann", Time: at(0)}, // her second of two
		client.Sample{Metric: "latency", Value: 5, Unit: "ann", Time: at(0)}, // one too many
		client.Sample{Metric: "latency", Value: 6, Unit: "ann", Time: at(2)}, // a third window of two
		client.Sample{Metric: "latency", Value: 7, Unit: "cid", Time: at(2)})
	settle(t, c, &quietilev1.MetricStatus{Metric: "latency", Accepted: 6, Excess: 5})
	if b := sketchOf(t, c, "latency", at(0)); b.Count() != 4 || b.Bucket(b.Grid().Index(3)) != 2 || b.Bucket(b.Grid().Index(5)) != 0 {
		t.Errorf("the first window holds %v", b)
	}
	if b := sketchOf(t, c, "latency", at(2)); b.Count() != 1 {
		t.Errorf("the third window holds %v, want only cid's", b)
	}
}

func TestTicksSealWindowsByTheStreamsTime(t *testing.T) {
	_, c := engine(t, t.TempDir())
	publish(t, c, client.Sample{Metric: "live", Value: 3})
	ask := &quietilev1.ReleaseRequest{Metric: "live", Quantiles: []float64{0.5}, NanoEpsilon: 1}
	deadline := time.Now().Add(20 * time.Second)
	for {
		r, err := c.Query(t.Context(), ask)
		if err == nil {
			if length := r.GetWindowEndUnixNano() - r.GetWindowStartUnixNano(); length != int64(time.Second) {
				t.Errorf("the window lasts %v", time.Duration(length))
			}
			break
		}
		if !errors.Is(err, client.ErrNotSealed) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(50 * time.Millisecond)
	}
	// What comes for a sealed window is late, and lost to nobody but itself.
	publish(t, c, client.Sample{Metric: "live", Value: 3, Time: day})
	settle(t, c, &quietilev1.MetricStatus{Metric: "live", Accepted: 1, Late: 1})
}

func TestPlainPublishersAreCountedAndBadInputIsDeadLettered(t *testing.T) {
	s, c := engine(t, t.TempDir())
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	send := func(on string, data []byte) {
		t.Helper()
		if _, err := nc.Request(on, data, 5*time.Second); err != nil {
			t.Fatalf("%s: %v", on, err)
		}
	}
	sample, err := proto.Marshal(&quietilev1.Sample{Value: proto.Float64(12.5), TimeUnixNano: proto.Int64(day.UnixNano())})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	send(subject.PublishSample("load", "host-1"), []byte("12.5"))
	send(subject.PublishSample("load", "-"), []byte(`{"value": 12.5, "time": "2026-03-01T01:00:00Z"}`))
	send(subject.PublishSample("latency", "ann"), []byte("7\n"))
	send(subject.PublishSample("load", "host-2"), sample)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 3})
	settle(t, c, &quietilev1.MetricStatus{Metric: "latency", Accepted: 1})
	if b := sketchOf(t, c, "load", day); b.Count() != 2 || b.Bucket(b.Grid().Index(12.5)) != 2 {
		t.Errorf("the historic window holds %v, want the JSON and the protobuf sample", b)
	}
	if b := sketchOf(t, c, "load", now); b.Count() != 1 {
		t.Errorf("the present window holds %v, want the bare number", b)
	}

	wrong := (subject.Partition("host-1", subject.DefaultPartitions) + 1) % subject.DefaultPartitions
	bad, err := proto.Marshal(&quietilev1.SampleBatch{Columns: []*quietilev1.SampleColumn{
		{Metric: "load", Values: []float64{1, math.NaN(), 2}},
		{Metric: "nothing", Values: []float64{1}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	send(subject.PublishSample("load", "host-1"), []byte("garbage"))
	send(subject.PublishSample("load", "host-1"), []byte("NaN"))
	send(subject.PublishSample("nothing", "host-1"), []byte("1"))
	send(subject.PublishSample("load", "host-1"), []byte(strings.Repeat("1", 2<<20)))
	send(subject.Sample(wrong, "load", "host-1"), []byte("1"))
	send(subject.Sample(4711, "load", "host-1"), []byte("1"))
	send(subject.Publish+"load", []byte("1"))
	send(subject.Publish+"a.b.c.d", []byte("1"))
	send(subject.Batch(3), []byte("garbage"))
	send(subject.Batch(3), bad)
	send(subject.PublishSample("load", "host-1"), []byte(fmt.Sprintf(`{"value": 1, "time": %q}`, time.Now().Add(time.Hour).Format(time.RFC3339))))
	// What is as large as the server lets through must still fit into a dead letter.
	long, err := proto.Marshal(&quietilev1.SampleBatch{Columns: []*quietilev1.SampleColumn{{
		Metric: strings.Repeat("x", 100_000), Values: make([]float64, 20_000), Units: []string{strings.Repeat("u", 500_000)},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	// Protobuf strings are UTF-8, and no library writes such a batch; anybody can.
	poison, err := proto.Marshal(&quietilev1.SampleBatch{Columns: []*quietilev1.SampleColumn{{Metric: "XX", Values: []float64{1}, Units: []string{"YY"}}}})
	if err != nil {
		t.Fatal(err)
	}
	send(subject.Batch(3), bytes.ReplaceAll(poison, []byte("XX"), []byte("\xff\xfe")))
	send(subject.Batch(3), bytes.ReplaceAll(poison, []byte("YY"), []byte("\xff\xfe")))
	send(subject.PublishSample("load", "host-1"), make([]byte, 8<<20))
	send(subject.Batch(3), long)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 5, Dead: 7})

	js, err := jetstream.New(s.EngineConn())
	if err != nil {
		t.Fatal(err)
	}
	letters, err := js.OrderedConsumer(t.Context(), subject.DeadStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dead.load: the payload is not a number, a JSON object or a protobuf Sample",
		"dead.load: the value is NaN",
		`dead.nothing: unknown metric "nothing"`,
		"dead.load: the payload has 2097152 bytes: at most 1048576 are taken",
		`dead.load: wrong partition: key "host-1" belongs to partition`,
		"dead.load: wrong partition: 4711 is not one of the 16",
		"dead._: the subject is neither a sample's nor a batch's",
		"dead._: the subject is neither a sample's nor a batch's",
		"dead._: the payload is not a protobuf SampleBatch",
		"dead.load: the value is NaN",
		`dead.nothing: unknown metric "nothing"`,
		"dead.load: the time",
		"dead._: the payload is not a protobuf SampleBatch",
		`dead._: unknown metric "XX"`, // the unit's name is not what is wrong first
		"dead.load: the payload has 8388608 bytes: at most 1048576 are taken; cut to 4194304 bytes",
		`dead._: unknown metric "xxx`,
	}
	for _, w := range want {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		m, err := letters.Next(jetstream.FetchContext(ctx))
		cancel()
		if err != nil {
			t.Fatalf("waiting for %q: %v", w, err)
		}
		got := strings.TrimPrefix(m.Subject(), "quietile.") + ": " + m.Headers().Get(subject.ReasonHeader)
		if !strings.HasPrefix(got, w) {
			t.Errorf("dead letter %q, want %q", got, w)
		}
	}
}

func TestAnonymousClientsCanOnlyPublishAndAsk(t *testing.T) {
	s, c := engine(t, t.TempDir())
	denied := make(chan error, 10)
	nc, err := nats.Connect(s.URL(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	refused := func(do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-denied:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("it was allowed")
		}
	}
	for _, on := range []string{
		subject.Tick(3), subject.ControlOf(3), subject.Ledger + "record", subject.Control + "policy",
		subject.Dead + "load", subject.Admin + "seal", "$JS.API.STREAM.DELETE." + subject.IngestStream,
	} {
		refused(func() error { return nc.Publish(on, nil) })
	}
	for _, on := range []string{">", subject.Ingest + ">", "_INBOX_ENGINE.>", "_INBOX_ADMIN.>", subject.API + "query"} {
		refused(func() error { _, err := nc.SubscribeSync(on); return err })
	}
	// A reply subject is no way round: neither the engine's replies nor the stream's acknowledgements
	// may act as control messages.
	if err := nc.PublishRequest(subject.API+"info", subject.ControlOf(0), nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest(subject.PublishSample("load", "x"), subject.ControlOf(0), []byte("1")); err != nil {
		t.Fatal(err)
	}
	publish(t, c, client.Sample{Metric: "load", Value: 1})
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 2})
}

func TestThePublisherGivesEachBatchAnIDOfItsOwn(t *testing.T) {
	s, c := engine(t, t.TempDir())
	var samples []client.Sample
	for i := range 30_000 {
		samples = append(samples, client.Sample{Metric: "load", Value: float64(i)})
	}
	publish(t, c, samples...)
	publish(t, c, samples...)
	js, err := jetstream.New(s.EngineConn())
	if err != nil {
		t.Fatal(err)
	}
	batches, err := js.OrderedConsumer(t.Context(), subject.IngestStream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject.Ingest + "*." + subject.BatchToken},
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for len(seen) < 8 {
		m, err := batches.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			t.Fatalf("after %d batches: %v", len(seen), err)
		}
		id := m.Headers().Get(jetstream.MsgIDHeader)
		if id == "" || seen[id] {
			t.Fatalf("id %q of a batch is empty or was there before", id)
		}
		seen[id] = true
	}
}

func TestABatchSentAgainAfterARestartIsCountedOnce(t *testing.T) {
	dir := t.TempDir()
	data, err := proto.Marshal(&quietilev1.SampleBatch{Columns: []*quietilev1.SampleColumn{{Metric: "load", Values: []float64{1, 2, 3}}}})
	if err != nil {
		t.Fatal(err)
	}
	send := func(s *server.Server) {
		t.Helper()
		nc, err := nats.Connect(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		m := nats.NewMsg(subject.Batch(5))
		m.Data = data
		m.Header.Set(jetstream.MsgIDHeader, "publisher-1")
		if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	s, c := engine(t, dir)
	send(s)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 3})
	s.Close()
	s, c = engine(t, dir)
	send(s)
	publish(t, c, client.Sample{Metric: "load", Value: 9})
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 4})
}

func TestASecondServerOnTheSameDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	engine(t, dir)
	_, err := server.Start(t.Context(), server.Options{DataDir: dir, Port: -1})
	if !errors.Is(err, server.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want ErrLocked with the directory's name", err)
	}
}

func TestPartitionsNeverChange(t *testing.T) {
	dir := t.TempDir()
	s, err := server.Start(t.Context(), server.Options{DataDir: dir, Port: -1, Partitions: 3})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err = server.Start(t.Context(), server.Options{DataDir: dir, Port: -1, Partitions: 4})
	if err == nil || !strings.Contains(err.Error(), "4 is not what") || !strings.Contains(err.Error(), "3, and") {
		t.Errorf("started with other partitions: %v", err)
	}
	s, c := engine(t, dir)
	defer s.Close()
	info, err := c.Info(t.Context())
	if err != nil || info.GetPartitions() != 3 {
		t.Errorf("%v, %v, want the 3 partitions of the directory", info, err)
	}
}

func TestADumpLoadedElsewhereAnswersTheSame(t *testing.T) {
	_, from := engine(t, t.TempDir())
	publish(t, from, client.Sample{Metric: "load", Value: 1, Time: day}, client.Sample{Metric: "load", Value: 90, Time: day, Weight: 41})
	settle(t, from, &quietilev1.MetricStatus{Metric: "load", Accepted: 42})
	w, err := from.Dump(t.Context(), "load", day)
	if err != nil {
		t.Fatal(err)
	}
	_, to := engine(t, t.TempDir())
	if err := to.Load(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if a, b := sketchOf(t, from, "load", day), sketchOf(t, to, "load", day); !a.Equal(b) {
		t.Errorf("dumped %v, loaded %v", a, b)
	}
	if err := to.Seal(t.Context(), "load", day.Add(6*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := to.Load(t.Context(), w); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("loading into a sealed window answered %v", err)
	}
}

// A sketch does not tell whose samples it counts, nor may it bring a window near the limit of its counts.
func TestLoadsThatNothingWouldBoundAreRefused(t *testing.T) {
	_, c := engine(t, t.TempDir())
	refused := func(metric, grid, want string, n uint64) {
		t.Helper()
		g, err := sketch.ParseGrid(grid)
		if err != nil {
			t.Fatal(err)
		}
		b := sketch.NewBinned(g)
		if err := b.AddN(1, n); err != nil {
			t.Fatal(err)
		}
		err = c.Load(t.Context(), &quietilev1.WindowSketch{
			Metric: metric, WindowStartUnixNano: day.UnixNano(), WindowEndUnixNano: day.Add(6 * time.Hour).UnixNano(), Sketch: b.Proto(),
		})
		if !errors.Is(err, client.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("loading %d values into %s: %v, want %q", n, metric, err, want)
		}
	}
	refused("latency", "linear:lower=0,upper=100,bins=1000", "unit user", 1)
	refused("load", "exponential:scale=3,min=0.001,max=1000", "at most 281474976710656", 1<<48+1)
}
