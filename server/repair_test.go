package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/quietile/quietile/client"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server"
	"github.com/quietile/quietile/server/subject"
)

// copies returns n samples of one value.
func copies(n int, value float64) []client.Sample {
	samples := make([]client.Sample, n)
	for i := range samples {
		samples[i] = client.Sample{Metric: "load", Value: value, Time: day}
	}
	return samples
}

func TestAStreamThatLostItsTailIsMovedPastTheCursor(t *testing.T) {
	dir, before := t.TempDir(), t.TempDir()
	streams := filepath.Join(dir, "jetstream")
	s, c := engine(t, dir)
	publish(t, c, copies(100, 1)...)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 100})
	s.Close()
	if err := os.CopyFS(before, os.DirFS(streams)); err != nil {
		t.Fatal(err)
	}

	s, c = engine(t, dir)
	publish(t, c, copies(50, 2)...)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 150})
	if err := c.Seal(t.Context(), "live2", day); err == nil {
		t.Error("an unknown metric was sealed")
	}
	if err := c.Seal(t.Context(), "latency", day); err != nil {
		t.Fatal(err)
	}
	ask := question("latency", day.Add(-1), 1e9, 0.5)
	bought, err := c.Query(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()

	// The power cut: the streams are as they were, the store is ahead of them.
	if err := os.RemoveAll(streams); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(streams, os.DirFS(before)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second start finds the stream behind the first one's seam
		s, c = engine(t, dir)
		publish(t, c, copies(70, 3)...)
		again, err := c.Query(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		if again.GetReleaseId() != bought.GetReleaseId() {
			t.Errorf("the answer was bought a second time: %v, then %v", bought, again)
		}
		s.Close()
	}
	_, c = engine(t, dir)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 290})
	b := sketchOf(t, c, "load", day)
	for value, want := range map[float64]uint64{1: 100, 2: 50, 3: 140} {
		if got := b.Bucket(b.Grid().Index(value)); got != want {
			t.Errorf("%d samples of value %v, want %d", got, value, want)
		}
	}
}

func TestAStreamThatLostUncountedSamplesIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, c := engine(t, dir)
	publish(t, c, copies(10, 1)...)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 10})
	js, err := jetstream.New(s.EngineConn())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), subject.IngestStream)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody purges far beyond what was read.
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(10_000)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err = server.Start(t.Context(), server.Options{DataDir: dir, Port: -1})
	var loss *server.LossError
	if !errors.As(err, &loss) || loss.Last != 9_999 {
		t.Fatalf("started with %v, want a LossError up to 9999", err)
	}
	s, err = server.Start(t.Context(), server.Options{DataDir: dir, Port: -1, AcceptLoss: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c = admin(t, s, dir)
	publish(t, c, copies(5, 1)...)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 15})
}

func TestAStreamWhoseIndexOutlivedItsMessagesIsRepaired(t *testing.T) {
	dir := t.TempDir()
	s, c := engine(t, dir)
	publish(t, c, copies(100, 1)...)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 100})
	s.Close()
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "*", "streams", subject.IngestStream, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		blocks, err = filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", subject.IngestStream, "msgs", "*.blk"))
	}
	if err != nil || len(blocks) != 1 {
		entries, _ := filepath.Glob(filepath.Join(dir, "jetstream", "*", "*", "*"))
		t.Fatalf("blocks %v, %v, among %v", blocks, err, entries)
	}
	info, err := os.Stat(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blocks[0], info.Size()-700); err != nil {
		t.Fatal(err)
	}
	_, c = engine(t, dir)
	publish(t, c, copies(70, 2)...)
	settle(t, c, &quietilev1.MetricStatus{Metric: "load", Accepted: 170})
}
