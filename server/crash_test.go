package server

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/client"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/sketch"
)

// The test binary serves when the first of these is set, so that tests have a process to kill.
const (
	serveDir  = "QUIETILE_TEST_SERVE_DIR"
	servePort = "QUIETILE_TEST_SERVE_PORT"
	dieAt     = "QUIETILE_TEST_DIE_AT" // "charged": when a charge is durable and no data was read
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveDir); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func serve(dir string) error {
	port, err := strconv.Atoi(os.Getenv(servePort))
	if err != nil {
		return err
	}
	opts := Options{
		DataDir: dir, Port: port, AnswerSlot: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if os.Getenv(dieAt) == "charged" {
		opts.charged = func() {
			self, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = self.Kill()
			}
			panic(fmt.Sprint("still alive: ", err))
		}
	}
	s, err := Start(context.Background(), opts)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return s.Wait(context.Background())
}

// process is a server that can be killed.
type process struct {
	t    *testing.T
	dir  string
	port int
	cmd  *exec.Cmd
}

func newProcess(t *testing.T) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return &process{t: t, dir: t.TempDir(), port: l.Addr().(*net.TCPAddr).Port}
}

// start starts the server and returns when it is ready.
func (p *process) start(env ...string) {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(append(os.Environ(), serveDir+"="+p.dir, servePort+"="+strconv.Itoa(p.port)), env...)
	p.cmd.Stderr = p.t.Output()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		p.t.Fatalf("the server said %q: %v", line, err)
	}
}

// kill ends the server as kill -9 does.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.cmd = nil
}

func (p *process) admin() *client.Client {
	p.t.Helper()
	secret, err := AdminSecret(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := client.Connect(fmt.Sprintf("nats://127.0.0.1:%d", p.port), client.WithAdmin(secret))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	return c
}

const crashPolicy = `
sources:
  - {name: events, unit: event, epsilon: 1, period: 24h}
  - {name: users, unit: user, epsilon: 1, period: 24h}
metrics:
  - name: size
    source: events
    grid: {exponential: {scale: 4}}
    clock: manual
    window: 24h
  - name: age
    source: users
    grid: {linear: {lower: 0, upper: 128, bins: 128}}
    clock: manual
    window: 24h
    contributions: {per_window: 2, windows: 1}
`

func apply(t *testing.T, c *client.Client) {
	t.Helper()
	p, err := policy.Parse([]byte(crashPolicy))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func TestKillingTheServerLosesNothingAndCountsNothingTwice(t *testing.T) {
	const (
		kills  = 20
		events = 1_000_000
		units  = 40_000 // with four samples each, of which two are kept
	)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

	p := newProcess(t)
	p.start()
	c := p.admin()
	apply(t, c)

	sizes, err := sketch.NewExponential(4)
	if err != nil {
		t.Fatal(err)
	}
	ages, err := sketch.NewLinear(0, 128, 128)
	if err != nil {
		t.Fatal(err)
	}
	wantSizes, wantAges := sketch.NewBinned(sizes), sketch.NewBinned(ages)
	var samples []client.Sample
	for range events {
		x := random.NormFloat64() * 1000
		wantSizes.Add(x)
		samples = append(samples, client.Sample{Metric: "size", Value: x, Time: day})
	}
	for i := range units {
		age := float64(i % 100)
		if err := wantAges.AddN(age, 2); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			samples = append(samples, client.Sample{Metric: "age", Value: age, Unit: "user " + strconv.Itoa(i), Time: day})
		}
	}
	random.Shuffle(len(samples), func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })

	// Each round publishes its share, at a pace that lasts about as long as the server lives, so that
	// batches are under way when it is killed.
	rounds := make(chan struct{})
	published := make(chan error, 1)
	go func() {
		publisher, err := c.NewPublisher(t.Context(), client.BatchRows(400))
		if err != nil {
			published <- err
			return
		}
		for i, s := range samples {
			if i%(len(samples)/(kills+1)) == 0 {
				<-rounds
			}
			if i%400 == 0 {
				time.Sleep(time.Millisecond)
			}
			if err := publisher.Add(s); err != nil {
				published <- err
				return
			}
		}
		published <- publisher.Close()
	}()
	for range kills {
		rounds <- struct{}{}
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
		p.kill()
		p.start()
	}
	close(rounds)
	if err := <-published; err != nil {
		t.Fatal(err)
	}

	check := func(metric string, want *sketch.Binned, excess uint64) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for {
			w, err := c.Dump(t.Context(), metric, day)
			if err != nil {
				t.Fatal(err)
			}
			got, err := sketch.FromProto(w.GetSketch())
			if err != nil {
				t.Fatal(err)
			}
			if got.Equal(want) {
				break
			}
			if time.Now().After(deadline) || got.Count() > want.Count() {
				t.Fatalf("%s: %v, want %v", metric, got, want)
			}
			<-time.After(50 * time.Millisecond)
		}
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range st.GetMetrics() {
			full := &quietilev1.MetricStatus{Metric: metric, Accepted: want.Count(), Excess: excess}
			if m.GetMetric() == metric && !proto.Equal(m, full) {
				t.Errorf("counters %v, want %v", m, full)
			}
		}
	}
	check("size", wantSizes, 0)
	check("age", wantAges, 2*units)
}

func TestACrashBetweenChargeAndAnswerCostsBudgetAndNeverPrivacy(t *testing.T) {
	p := newProcess(t)
	p.start()
	c := p.admin()
	apply(t, c)
	if err := c.Seal(t.Context(), "size", time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	p.kill()

	ask := &quietilev1.ReleaseRequest{Metric: "size", Quantiles: []float64{0.5}, NanoEpsilon: 3e8}
	query := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := c.Query(ctx, ask)
		return err
	}
	spent := func(want int64) {
		t.Helper()
		r, err := c.Budget(t.Context(), "size")
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range r.GetBudgets() {
			if len(b.GetCharges()) > 0 {
				if b.GetSpentNanoEpsilon() != want {
					t.Errorf("spent %d, want %d", b.GetSpentNanoEpsilon(), want)
				}
				return
			}
		}
		t.Errorf("nothing was spent, want %d", want)
	}
	// What is not answered is not learned from, and what is answered is, also after a kill.
	learned := func(want uint64) {
		t.Helper()
		r, err := c.Prior(t.Context(), &quietilev1.PriorRequest{Metric: "size"})
		if err != nil || r.GetState().GetReleases() != want {
			t.Errorf("learned from %d releases, want %d; error %v", r.GetState().GetReleases(), want, err)
		}
	}
	for i := range 2 {
		p.start(dieAt + "=charged")
		c = p.admin()
		if err := query(); err == nil {
			t.Fatal("the server answered instead of dying")
		}
		p.kill()
		p.start()
		c = p.admin()
		spent(int64(i+1) * 3e8)
		learned(0)
		p.kill()
	}
	p.start()
	c = p.admin()
	if err := query(); err != nil {
		t.Errorf("a retry is a new charge that the budget still covers: %v", err)
	}
	spent(9e8)
	p.kill()
	p.start()
	c = p.admin()
	if err := query(); err != nil {
		t.Errorf("the answer was stored, and asking again is free: %v", err)
	}
	spent(9e8)
	learned(1)
	ask.Quantiles = []float64{0.9}
	if err := query(); err == nil || !strings.Contains(err.Error(), "0.1 is left") {
		t.Errorf("a question beyond the budget answered %v", err)
	}
}
