package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/subject"
)

// LossError says that the stream no longer holds messages that the store has not seen.
type LossError struct {
	First, Last uint64 // sequences
}

func (e *LossError) Error() string {
	return fmt.Sprintf("stream %s lost messages %d to %d before they were counted", subject.IngestStream, e.First, e.Last)
}

// Repair compares the store with the stream before anybody may publish.
//
// A power cut can take the stream's last second while the store kept what it had read of it. The
// sequences would be given out again and the new samples skipped as old, so the stream is moved to
// one past the cursor. A stream that starts after the cursor lost samples: that is a *LossError.
func Repair(ctx context.Context, js jetstream.JetStream, s *store.Store, partitions int, logger *slog.Logger) error {
	var cursor store.Cursor
	for p := range partitions {
		c, err := s.Cursor(p)
		if err != nil {
			return err
		}
		if c.Sequence >= cursor.Sequence {
			cursor = c
		}
	}
	if cursor.Sequence == 0 {
		return nil
	}
	stream, err := js.Stream(ctx, subject.IngestStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("the store has read %s up to message %d, but the stream is gone", subject.IngestStream, cursor.Sequence)
	}
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	state := info.State
	switch {
	case state.LastSeq < cursor.Sequence:
		if err := stream.Purge(ctx, jetstream.WithPurgeSequence(cursor.Sequence+1)); err != nil {
			return fmt.Errorf("move stream %s past message %d: %w", subject.IngestStream, cursor.Sequence, err)
		}
		logger.Warn("the stream lost its tail, which the store had counted: moved past it",
			"first", state.LastSeq+1, "last", cursor.Sequence)
		return nil
	case state.FirstSeq > cursor.Sequence+1:
		return &LossError{cursor.Sequence + 1, state.FirstSeq - 1}
	case state.FirstSeq > cursor.Sequence:
		return nil
	}
	m, err := stream.GetMsg(ctx, cursor.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		// The stream's index survived, and messages did not.
		next, err := stream.GetMsg(ctx, cursor.Sequence, jetstream.WithGetMsgSubject(">"))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			logger.Warn("the stream lost its tail: moved past it", "first", cursor.Sequence, "last", state.LastSeq)
			return stream.Purge(ctx, jetstream.WithPurgeSequence(state.LastSeq+1))
		case err != nil:
			return err
		case next.Sequence > cursor.Sequence+1:
			return &LossError{cursor.Sequence + 1, next.Sequence - 1}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("message %d of %s: %w", cursor.Sequence, subject.IngestStream, err)
	}
	if m.Time.UnixNano() != cursor.Time {
		return fmt.Errorf("message %d of %s is not the one that the store has read: this is another stream", cursor.Sequence, subject.IngestStream)
	}
	return nil
}
