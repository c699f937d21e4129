// Package journal appends signed records to a stream, one writer at a time.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/quietile/quietile/server/internal/keys"
)

// ErrConflict says that somebody else appended first: read, decide anew, append again.
var ErrConflict = errors.New("another writer appended to the journal first")

// Journal is one stream of records. It is not safe for concurrent use.
type Journal struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	keys   *keys.Ring
	logger *slog.Logger
	last   uint64 // sequence of the last message read or appended
}

// Open opens the journal in a stream that exists, before its first record.
func Open(ctx context.Context, js jetstream.JetStream, name string, ring *keys.Ring, logger *slog.Logger) (*Journal, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return &Journal{js: js, stream: stream, keys: ring, logger: logger}, nil
}

// Read calls f with every record after the last one read or appended. Messages that the engine did
// not sign are no records.
func (j *Journal) Read(ctx context.Context, f func(subject string, data []byte) error) error {
	info, err := j.stream.Info(ctx)
	if err != nil {
		return err
	}
	name := info.Config.Name
	if info.State.LastSeq < j.last {
		// A power cut took the end of it; what was lost is kept elsewhere.
		j.last = info.State.LastSeq
	}
	if info.State.Msgs == 0 || j.last >= info.State.LastSeq {
		j.last = info.State.LastSeq
		return nil
	}
	consumer, err := j.js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   j.last + 1,
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	defer messages.Stop()
	for j.last < info.State.LastSeq {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read %s after %d: %w", name, j.last, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if h := m.Headers(); h == nil || !j.keys.Verify(m.Subject(), m.Data(), h.Get(keys.SignatureHeader)) {
			j.logger.Warn("a message that the engine did not sign was passed over", "stream", name, "sequence", meta.Sequence.Stream)
		} else if err := f(m.Subject(), m.Data()); err != nil {
			return fmt.Errorf("%s, message %d: %w", name, meta.Sequence.Stream, err)
		}
		j.last = meta.Sequence.Stream
	}
	return nil
}

// Append appends a record if nobody else has since the last Read or Append; otherwise it returns
// ErrConflict. After any other error the record may or may not be there: Read tells.
func (j *Journal) Append(ctx context.Context, subject string, data []byte) error {
	m := nats.NewMsg(subject)
	m.Data = data
	m.Header.Set(keys.SignatureHeader, j.keys.Signature(subject, data))
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ack, err := j.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequence(j.last))
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == wrongLastSequenceConstant) {
		return ErrConflict
	}
	if err != nil {
		return err
	}
	j.last = ack.Sequence
	return nil
}

// wrongLastSequenceConstant is the code of a wrong last sequence in newer servers.
const wrongLastSequenceConstant = 10164
