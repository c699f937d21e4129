package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/subject"
)

// Duplicates is how long the ingest stream remembers message ids.
const Duplicates = 30 * time.Second

const (
	flushEvery = 250 * time.Millisecond
	tickEvery  = time.Second
	purgeEvery = 10 * time.Second
	// A message is purged only when its id is long forgotten: the server rebuilds its table of ids
	// from what the stream holds, so purging a younger one would let a publisher's retry after a
	// crash be counted twice.
	purgeAge = 2 * Duplicates
	// Letters are published when so many wait, or at the next flush.
	maxLetters     = 4096
	maxLetterBytes = 16 << 20
	// How long to wait for a letter's acknowledgement before it is sent again.
	letterWait = 10 * time.Second
	// How far the consumer reads ahead. The bytes stay well below what a subscription holds before it
	// drops messages.
	readAhead      = 20_000
	readAheadBytes = 24 << 20
)

// Config is what a Worker needs.
type Config struct {
	Conn       *nats.Conn // the engine's own
	Store      *store.Store
	Keys       *keys.Ring
	Partitions int
	Logger     *slog.Logger
}

// Worker reads the ingest log of all partitions into a store until it is stopped.
type Worker struct {
	config Config
	js     jetstream.JetStream
	stream jetstream.Stream

	mu      sync.Mutex // guards what follows
	engine  *Engine
	letters []DeadLetter
	bytes   int
	flushed uint64        // sequence that the store covers
	wanted  uint64        // highest sequence that Wait waits for
	moved   chan struct{} // closed and replaced whenever flushed grows
	seen    uint64        // last sequence handled since the start
	broken  error         // why the engine's state can no longer be trusted
	err     error         // why the worker stopped
	marks   []mark
}

// mark remembers when the store covered which message durably.
type mark struct {
	time     time.Time
	sequence uint64
}

// NewWorker makes a worker over the ingest stream, which must exist. It does not read yet.
func NewWorker(ctx context.Context, c Config) (*Worker, error) {
	js, err := jetstream.New(c.Conn, jetstream.WithPublishAsyncMaxPending(maxLetters), jetstream.WithPublishAsyncTimeout(letterWait))
	if err != nil {
		return nil, err
	}
	w := &Worker{config: c, js: js, moved: make(chan struct{})}
	if w.stream, err = js.Stream(ctx, subject.IngestStream); err != nil {
		return nil, fmt.Errorf("stream %s: %w", subject.IngestStream, err)
	}
	w.engine, err = NewEngine(c.Store, c.Keys, c.Partitions, func(l DeadLetter) {
		w.letters = append(w.letters, l)
		w.bytes += len(l.Data)
	})
	if err != nil {
		return nil, err
	}
	w.flushed = w.engine.Last()
	return w, nil
}

// Run reads until ctx ends, and returns nil then; any other end is an error, after which the store
// holds the state of a prefix of the log, as after a crash.
func (w *Worker) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fail := func(err error) {
		if err != nil {
			cancel(err)
		}
	}
	consumer, err := w.js.OrderedConsumer(ctx, subject.IngestStream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   w.engine.Next(),
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", subject.IngestStream, err)
	}
	reading, err := consumer.Consume(func(m jetstream.Msg) { fail(w.handle(ctx, m)) },
		jetstream.PullMaxMessagesWithBytesLimit(readAhead, readAheadBytes),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if ctx.Err() == nil && !errors.Is(err, jetstream.ErrNoHeartbeat) {
				w.config.Logger.Warn("ingest consumer", "error", err)
			}
		}))
	if err != nil {
		return fmt.Errorf("read %s: %w", subject.IngestStream, err)
	}
	var running sync.WaitGroup
	every := func(d time.Duration, f func(context.Context) error) {
		running.Go(func() {
			t := time.NewTicker(d)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-t.C:
					fail(f(ctx))
				}
			}
		})
	}
	every(flushEvery, w.flush)
	every(tickEvery, w.tick)
	every(tickEvery, w.sync)
	every(purgeEvery, w.purge)
	<-ctx.Done()
	reading.Stop()
	running.Wait()
	<-reading.Closed()
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(cause, context.Canceled) {
		cause = nil
		// What was applied is worth keeping, but nothing depends on it.
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer stop()
		if err := w.flush(last); err != nil {
			w.config.Logger.Warn("last flush", "error", err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = cause
	if w.err == nil {
		w.err = errors.New("the worker has stopped")
	}
	close(w.moved)
	w.moved = nil
	return cause
}

// handle applies one message.
func (w *Worker) handle(ctx context.Context, m jetstream.Msg) error {
	if ctx.Err() != nil {
		return nil
	}
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("message on %s: %w", m.Subject(), err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	sequence := meta.Sequence.Stream
	// After a reset the consumer may call before an earlier call has ended: the log must be applied in
	// order, and whatever is not is read again after a restart from the cursor.
	switch {
	case w.seen > 0 && sequence <= w.seen:
		return nil
	case w.seen > 0 && sequence > w.seen+1:
		w.broken = fmt.Errorf("messages %d to %d did not come", w.seen+1, sequence-1)
		return w.broken
	case w.seen == 0 && w.engine.Last() > 0 && sequence > w.engine.Next():
		w.config.Logger.Error("messages are missing from the stream", "first", w.engine.Next(), "last", sequence-1)
	}
	w.seen = sequence
	if err := w.engine.Apply(Message{
		Sequence:  sequence,
		Time:      meta.Timestamp.UnixNano(),
		Subject:   m.Subject(),
		Signature: signature(m),
		Data:      m.Data(),
	}); err != nil {
		w.broken = fmt.Errorf("message %d: %w", sequence, err)
		return w.broken
	}
	switch {
	case sequence >= w.wanted && w.wanted > w.flushed:
		return w.flushLocked(ctx)
	case len(w.letters) >= maxLetters || w.bytes >= maxLetterBytes:
		return w.send(ctx)
	}
	return nil
}

func signature(m jetstream.Msg) string {
	if h := m.Headers(); h != nil {
		return h.Get(keys.SignatureHeader)
	}
	return ""
}

// send publishes the waiting dead letters and returns when the stream has them. It holds mu.
func (w *Worker) send(ctx context.Context) error {
	for len(w.letters) > 0 {
		var again []DeadLetter
		futures := make([]jetstream.PubAckFuture, 0, len(w.letters))
		for i, l := range w.letters {
			m := nats.NewMsg(subject.Dead + l.Metric)
			m.Data = l.Data
			m.Header.Set(jetstream.MsgIDHeader, l.ID)
			m.Header.Set(subject.ReasonHeader, l.Reason)
			m.Header.Set(subject.SubjectHeader, l.Subject)
			m.Header.Set(subject.SequenceHeader, strconv.FormatUint(l.Message, 10))
			f, err := w.js.PublishMsgAsync(m)
			if err != nil {
				w.config.Logger.Warn("dead letters not sent, trying again", "message", l.Message, "error", err)
				again = append(again, w.letters[i:]...)
				break
			}
			futures = append(futures, f)
		}
		for i, f := range futures {
			select {
			case <-f.Ok():
			case err := <-f.Err():
				w.config.Logger.Warn("dead letter not stored, trying again", "message", w.letters[i].Message, "error", err)
				again = append(again, w.letters[i])
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		w.letters = again
		if len(again) > 0 {
			select {
			case <-time.After(tickEvery):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	w.letters, w.bytes = nil, 0
	return nil
}

// flush brings the store up to the last message applied.
func (w *Worker) flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flushLocked(ctx)
}

func (w *Worker) flushLocked(ctx context.Context) error {
	if w.broken != nil {
		return w.broken // what is half applied or half flushed must never be committed
	}
	if w.engine.Last() == w.flushed {
		return nil
	}
	if err := w.send(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := w.engine.Flush(); err != nil {
		w.broken = err
		return err
	}
	w.flushed = w.engine.Last()
	close(w.moved)
	w.moved = make(chan struct{})
	return nil
}

// tick writes a tick into every partition. A lost or doubled one does no harm.
func (w *Worker) tick(context.Context) error {
	for p := range w.config.Partitions {
		if err := w.config.Conn.Publish(subject.Tick(p), nil); err != nil {
			w.config.Logger.Warn("tick", "partition", p, "error", err)
		}
	}
	return nil
}

// sync puts what was flushed on disk, and remembers when.
func (w *Worker) sync(context.Context) error {
	w.mu.Lock()
	sequence := w.flushed
	w.mu.Unlock()
	if err := w.config.Store.Sync(); err != nil {
		return fmt.Errorf("sync the store: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marks = append(w.marks, mark{time.Now(), sequence})
	return nil
}

// purge drops from the stream what has been on disk for purgeAge.
func (w *Worker) purge(ctx context.Context) error {
	w.mu.Lock()
	var sequence uint64
	for len(w.marks) > 0 && time.Since(w.marks[0].time) > purgeAge {
		sequence = w.marks[0].sequence
		w.marks = w.marks[1:]
	}
	w.mu.Unlock()
	if sequence == 0 {
		return nil
	}
	// The message at the cursor stays, so that a restart can compare its time.
	if err := w.stream.Purge(ctx, jetstream.WithPurgeSequence(sequence)); err != nil && ctx.Err() == nil {
		w.config.Logger.Warn("purge", "below", sequence, "error", err)
	}
	return nil
}

// Wait returns when the store covers a message of the log, which is flushed as soon as it is applied.
func (w *Worker) Wait(ctx context.Context, sequence uint64) error {
	for {
		w.mu.Lock()
		w.wanted = max(w.wanted, sequence)
		flushed, moved, err := w.flushed, w.moved, w.err
		w.mu.Unlock()
		switch {
		case flushed >= sequence:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
