package server

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/broker"
	"github.com/quietile/quietile/server/internal/control"
	"github.com/quietile/quietile/server/internal/ingest"
	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/server/subject"
)

// BenchmarkIngest measures the way from a stream that is full to a store that is on disk. It reports
// samples/s.
func BenchmarkIngest(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	values := make([]float64, 8192)
	for i := range values {
		values[i] = random.ExpFloat64()
	}
	packed := func(units int) func(i int) (string, []byte) {
		c := &quietilev1.SampleColumn{Metric: "size", Values: values}
		if units > 0 {
			c.Metric = "age"
		}
		return func(i int) (string, []byte) {
			partition := i % subject.DefaultPartitions
			if units > 0 {
				c.Units, c.UnitIndex = c.Units[:0], c.UnitIndex[:0]
				for n := random.IntN(units); len(c.Units) < len(values); n++ {
					unit := "user-" + strconv.Itoa(n%units)
					if subject.Partition(unit, subject.DefaultPartitions) == partition {
						c.UnitIndex = append(c.UnitIndex, uint32(len(c.Units)))
						c.Units = append(c.Units, unit)
					}
				}
			}
			data, err := proto.Marshal(&quietilev1.SampleBatch{Columns: []*quietilev1.SampleColumn{c}})
			if err != nil {
				b.Fatal(err)
			}
			return subject.Batch(partition), data
		}
	}
	b.Run("packed/event", func(b *testing.B) { benchmarkIngest(b, 2000, len(values), packed(0)) })
	b.Run("packed/user", func(b *testing.B) { benchmarkIngest(b, 200, len(values), packed(1_000_000)) })
	b.Run("single/event", func(b *testing.B) {
		benchmarkIngest(b, 500_000, 1, func(i int) (string, []byte) {
			key := "host-" + strconv.Itoa(i%100)
			return subject.Sample(subject.Partition(key, subject.DefaultPartitions), "size", key), []byte("12.5")
		})
	})
}

func benchmarkIngest(b *testing.B, messages, samples int, message func(int) (string, []byte)) {
	ctx := b.Context()
	dir := b.TempDir()
	logger := slog.New(slog.DiscardHandler)
	srv, err := broker.Start(broker.Config{DataDir: dir, Host: "127.0.0.1", Port: -1, Logger: logger})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Stop()
	conn, err := srv.Connect()
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(256))
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range streams(Options{Partitions: subject.DefaultPartitions, MaxStreamBytes: 4 << 30}) {
		if _, err := js.CreateStream(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
	ring, err := keys.Open(dir, true)
	if err != nil {
		b.Fatal(err)
	}
	catalog, err := control.Open(ctx, js, ring, subject.DefaultPartitions, func(int) (map[string][]*quietilev1.Metric, error) {
		return nil, nil
	}, logger)
	if err != nil {
		b.Fatal(err)
	}
	p, err := policy.Parse([]byte(crashPolicy))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := catalog.Apply(ctx, p, time.Now(), nobody{}); err != nil {
		b.Fatal(err)
	}
	for i := range messages {
		on, data := message(i)
		if _, err := js.PublishAsync(on, data); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	stream, err := js.Stream(ctx, subject.IngestStream)
	if err != nil {
		b.Fatal(err)
	}
	last := stream.CachedInfo().State.LastSeq
	for b.Loop() {
		b.StopTimer()
		s, err := store.Open(b.TempDir(), nil, logger)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		w, err := ingest.NewWorker(ctx, ingest.Config{Conn: conn, Store: s, Keys: ring, Partitions: subject.DefaultPartitions, Logger: logger})
		if err != nil {
			b.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- w.Run(running) }()
		if err := w.Wait(ctx, last); err != nil {
			b.Fatal(err)
		}
		if err := s.Sync(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		stop()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(messages*samples)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}

// nobody follows nothing: the log is read later.
type nobody struct{}

func (nobody) Wait(context.Context, uint64) error { return nil }
