package release

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/broker"
	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/subject"
)

var (
	day    = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	source = budget.Source{Name: "s", Unit: budget.Event, Budget: dp.Epsilon(1e9), Period: 24 * time.Hour}
)

// stream runs a server with an empty ledger stream and returns a function that opens a ledger over it
// with a store of its own, as another releaser has.
func stream(t *testing.T) (open func(*store.Store) *Ledger, js jetstream.JetStream) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	b, err := broker.Start(broker.Config{DataDir: t.TempDir(), Host: "127.0.0.1", Private: true, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	nc, err := b.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: subject.LedgerStream, Subjects: []string{subject.Ledger + ">"}}); err != nil {
		t.Fatal(err)
	}
	ring, err := keys.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return func(s *store.Store) *Ledger {
		t.Helper()
		l, err := OpenLedger(t.Context(), js, s, ring, logger)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}, js
}

func memory(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open("store", vfs.NewMem(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// charge tries to spend ε on a question.
func charge(t *testing.T, l *Ledger, id string, epsilon dp.Epsilon) error {
	t.Helper()
	e := &quietilev1.LedgerEntry{
		ReleaseId: id, Source: source.Name, Request: &quietilev1.ReleaseRequest{Metric: "m", NanoEpsilon: int64(epsilon)},
		WindowStartUnixNano: day.UnixNano(), PeriodStartUnixNano: day.UnixNano(), NanoEpsilon: int64(epsilon), Windows: 1,
	}
	return l.append(t.Context(), &quietilev1.LedgerRecord{Kind: &quietilev1.LedgerRecord_Entry{Entry: e}}, func() error {
		return l.account.Check(source, chargeOf(e))
	})
}

func spent(l *Ledger) dp.Epsilon { return l.account.Spent(source.Name, day) }

func TestTwoReleasersCannotDoubleSpend(t *testing.T) {
	open, _ := stream(t)
	a, b := open(memory(t)), open(memory(t))
	if err := charge(t, a, "1", 6e8); err != nil {
		t.Fatal(err)
	}
	// b has not heard of it, and learns of it when its own charge meets a's.
	if err := charge(t, b, "2", 6e8); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("the second releaser's charge: %v, want ErrExceeded", err)
	}
	if err := charge(t, b, "3", 4e8); err != nil {
		t.Errorf("what is left cannot be spent: %v", err)
	}
	if err := charge(t, a, "4", 1); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("the first releaser spends what the second has spent: %v", err)
	}
	if spent(a) != 1e9 || spent(b) != 1e9 {
		t.Errorf("spent %v and %v, want 1 for both", spent(a), spent(b))
	}
}

func TestWhatEitherTheStreamOrTheStoreHasCountsAsSpent(t *testing.T) {
	open, js := stream(t)
	first, second := memory(t), memory(t)
	for i, s := range []*store.Store{first, second} {
		if err := charge(t, open(s), fmt.Sprint(i), 2e8); err != nil {
			t.Fatal(err)
		}
	}
	ledger, err := js.Stream(t.Context(), subject.LedgerStream)
	if err != nil {
		t.Fatal(err)
	}
	// A power cut takes the stream; the first store had only its own charge, which it puts back.
	if err := ledger.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := spent(open(first)); got != 2e8 {
		t.Errorf("the store's own charge: spent %v, want 0.2", got)
	}
	for range 2 {
		if got := spent(open(second)); got != 4e8 {
			t.Errorf("the second store's charges: spent %v, want 0.4", got)
		}
	}
	if got := spent(open(memory(t))); got != 4e8 {
		t.Errorf("a new store reads %v from the stream, want 0.4", got)
	}
}

func TestRecordsThatTheEngineDidNotSignAreNone(t *testing.T) {
	open, js := stream(t)
	l := open(memory(t))
	if err := charge(t, l, "1", 5e8); err != nil {
		t.Fatal(err)
	}
	for _, junk := range []string{"", `{"stream":"QUIETILE_INGEST","seq":1}`} {
		if _, err := js.Publish(t.Context(), subject.Ledger+"record", []byte(junk)); err != nil {
			t.Fatal(err)
		}
	}
	if err := charge(t, l, "2", 5e8); err != nil {
		t.Errorf("after junk: %v", err)
	}
	if again := open(memory(t)); spent(again) != 1e9 {
		t.Errorf("read again it is %v, want 1", spent(again))
	}
}
