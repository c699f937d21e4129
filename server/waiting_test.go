package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/client"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/policy"
)

// sealed starts a server with the windows of size sealed through the first of March.
func sealed(t *testing.T, slot time.Duration, charged func()) *client.Client {
	t.Helper()
	dir := t.TempDir()
	s, err := Start(t.Context(), Options{DataDir: dir, Port: -1, AnswerSlot: slot, charged: charged})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p, err := policy.Parse([]byte(crashPolicy))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	secret, err := AdminSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Connect(s.URL(), client.WithAdmin(secret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Seal(t.Context(), "size", time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	return c
}

// How long a release takes depends on the data. Budgets and answers that are stored do not wait for one, and a release whose asker has
// gone is finished and stored all the same.
func TestNothingElseWaitsForARelease(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	c := sealed(t, time.Millisecond, func() {
		reached <- struct{}{}
		release <- struct{}{}
	})
	ask := func(ctx context.Context, q float64) (*quietilev1.ReleaseResult, error) {
		return c.Query(ctx, &quietilev1.ReleaseRequest{
			Metric: "size", Quantiles: []float64{q}, NanoEpsilon: 1e8,
			WindowTimeUnixNano: proto.Int64(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixNano()),
		})
	}
	first := make(chan error, 1)
	go func() { _, err := ask(t.Context(), 0.5); first <- err }()
	<-reached
	<-release // the first one ends, and is stored
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	stored, err := ask(t.Context(), 0.5)
	if err != nil {
		t.Fatal(err)
	}

	gone, leave := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() { _, err := ask(gone, 0.9); second <- err }()
	<-reached
	if _, err := c.Budget(t.Context(), "size"); err != nil {
		t.Errorf("a budget while a release is made: %v", err)
	}
	again, err := ask(t.Context(), 0.5)
	if err != nil || again.GetReleaseId() != stored.GetReleaseId() {
		t.Errorf("a stored answer while another release is made: %v, %v", again, err)
	}
	leave()
	if err := <-second; err == nil {
		t.Error("who has gone gets an answer")
	}
	<-release
	// A release more would wait for this test for ever.
	if r, err := ask(t.Context(), 0.9); err != nil || r.GetReleaseId() == stored.GetReleaseId() {
		t.Errorf("the answer that nobody waited for: %v, %v", r, err)
	}
}

// Who waits for another's release learns no more from when it ends than who made it: not by the same question, nor by one that is refused.
func TestWaitersAreAnsweredAtTheSlotToo(t *testing.T) {
	const slot = 400 * time.Millisecond
	charged := make(chan time.Time, 10)
	c := sealed(t, slot, func() { charged <- time.Now() })
	ask := func(nanoEpsilon int64) error {
		_, err := c.Query(t.Context(), &quietilev1.ReleaseRequest{
			Metric: "size", Quantiles: []float64{0.5}, NanoEpsilon: nanoEpsilon,
			WindowTimeUnixNano: proto.Int64(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixNano()),
		})
		return err
	}
	first := make(chan error, 1)
	go func() { first <- ask(1e8) }()
	start := <-charged
	again, beyond := make(chan error, 1), make(chan error, 1)
	go func() { again <- ask(1e8) }()
	go func() { beyond <- ask(1e12) }()
	for name, done := range map[string]chan error{"the first": first, "the same question": again, "a question beyond the budget": beyond} {
		if err := <-done; (err != nil) != (done == beyond) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took < slot-10*time.Millisecond {
			t.Errorf("%s is answered %v after the charge, within the slot of %v", name, took, slot)
		}
	}
	if len(charged) > 0 {
		t.Error("there was another charge")
	}
}

func TestAPublisherRefusesLongNames(t *testing.T) {
	s := start(t, t.TempDir())
	c, err := client.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	publisher, err := c.NewPublisher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := publisher.Add(client.Sample{Metric: "age", Unit: strings.Repeat("x", 1025), Value: 1}); err == nil || !strings.Contains(err.Error(), "1024 bytes") {
		t.Errorf("a unit with a name of 1025 bytes: %v", err)
	}
	if err := publisher.Close(); err != nil {
		t.Error(err)
	}
}
