package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quietile/quietile/client"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/policy"
)

// start starts a server on a directory.
func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{DataDir: dir, Port: -1, AnswerSlot: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// impatient never waits long enough.
type impatient struct{}

var errImpatient = errors.New("no patience")

func (impatient) Wait(context.Context, uint64) error { return errImpatient }

func TestApplyingAgainFinishesWhatWasInterrupted(t *testing.T) {
	dir, before := t.TempDir(), t.TempDir()
	s := start(t, dir)
	p, err := policy.Parse([]byte(crashPolicy))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.cat.Apply(t.Context(), p, time.Now(), impatient{}); !errors.Is(err, errImpatient) {
		t.Fatalf("an interrupted declaration: %v", err)
	}
	if _, err := s.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	follows := func(s *Server) {
		t.Helper()
		for partition := range s.opts.Partitions {
			have, err := s.store.Versions(partition)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range p.GetMetrics() {
				if v := have[m.GetName()]; len(v) != 1 || v[0].GetVersion() != 1 {
					t.Errorf("partition %d follows %v of %s, want version 1", partition, v, m.GetName())
				}
			}
		}
	}
	follows(s)
	s.Close()

	// A power cut takes the declarations; the partitions follow them all the same.
	streams := filepath.Join(dir, "jetstream")
	other := start(t, before)
	other.Close()
	if err := errors.Join(os.RemoveAll(streams), os.CopyFS(streams, os.DirFS(filepath.Join(before, "jetstream")))); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	follows(s)
	wider := []byte(crashPolicy)
	p2, err := policy.Parse(wider)
	if err != nil {
		t.Fatal(err)
	}
	p2.GetMetrics()[1].Grid.GetLinear().Upper = 256
	changed, err := s.Apply(t.Context(), p2)
	if err != nil || len(changed) != 1 || changed[0].GetVersion() != 2 {
		t.Errorf("a changed grid is declared as %v, %v; want version 2", changed, err)
	}
}

func TestAPublisherRefusesTheOneSampleThatCannotBeSent(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
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
	defer c.Close()
	publisher, err := c.NewPublisher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	add := func(sample client.Sample, ok bool) {
		t.Helper()
		if err := publisher.Add(sample); (err == nil) != ok {
			t.Errorf("%+v: %v", sample, err)
		}
	}
	add(client.Sample{Metric: "size", Value: 1}, true)
	add(client.Sample{Metric: "\xff", Value: 1}, false)
	add(client.Sample{Metric: "age", Unit: "\xff", Value: 1}, false)
	add(client.Sample{Metric: "size", Value: 1, Time: time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)}, false)
	if err := publisher.Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var size *quietilev1.MetricStatus
		for _, m := range st.GetMetrics() {
			if m.GetMetric() == "size" {
				size = m
			}
		}
		if size.GetAccepted() == 1 && size.GetDead() == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("counters %v, want one accepted", size)
		}
		<-time.After(20 * time.Millisecond)
	}
}
