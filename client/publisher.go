package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/subject"
)

// ErrUncertain says that a batch was sent, was not acknowledged, and can no longer be sent again
// without the risk that it is counted twice.
var ErrUncertain = errors.New("a batch may or may not have been counted")

const (
	maxRows  = 8192
	maxBytes = 256 << 10
	senders  = 8
	// A batch is sent again only while the stream still knows its id, which it does for 30 s.
	certain  = 25 * time.Second
	ackWait  = 5 * time.Second
	tryAgain = 50 * time.Millisecond
)

// Sample is one measurement.
type Sample struct {
	Metric string
	Value  float64
	// Unit is whose sample it is, for a metric whose unit is "user"; empty otherwise.
	Unit string
	// Time at which it was measured. Zero: when the stream stores it.
	Time time.Time
	// Weight is how many times the value was seen. 0 means once.
	Weight uint64
}

// Publisher sends samples in packed batches, each until the engine's log has it. A batch has an id of its
// own, so that sending it again does not count it again. It is not safe for concurrent use.
type Publisher struct {
	client     *Client
	partitions int
	open       []*builder // per partition
	next       int        // partition of the next batch of samples without a unit
	rows       int        // of a full batch
	nonce      string
	batches    int

	queue   chan *nats.Msg
	pending sync.WaitGroup
	workers sync.WaitGroup
	cancel  context.CancelCauseFunc
	ctx     context.Context
}

// builder is a batch in the making.
type builder struct {
	batch   *quietilev1.SampleBatch
	columns map[columnKey]*columnBuilder
	rows    int
	bytes   int
}

// columnKey separates samples with a time of their own from those without: a column has either.
type columnKey struct {
	metric string
	timed  bool
}

type columnBuilder struct {
	column *quietilev1.SampleColumn
	units  map[string]uint32
	last   int64
}

// PublisherOption configures NewPublisher.
type PublisherOption func(*Publisher)

// BatchRows sets how many samples fill a batch, 1 to 8192, the default. A batch is sent when it is full
// or flushed.
func BatchRows(n int) PublisherOption { return func(p *Publisher) { p.rows = min(max(n, 1), maxRows) } }

// NewPublisher returns a publisher. ctx bounds its whole life.
func (c *Client) NewPublisher(ctx context.Context, opts ...PublisherOption) (*Publisher, error) {
	info, err := c.Info(ctx)
	if err != nil {
		return nil, err
	}
	var nonce [16]byte
	rand.Read(nonce[:]) // never returns an error: it ends the program instead
	ctx, cancel := context.WithCancelCause(ctx)
	p := &Publisher{
		client: c, partitions: int(info.GetPartitions()), nonce: hex.EncodeToString(nonce[:]),
		queue: make(chan *nats.Msg), ctx: ctx, cancel: cancel, rows: maxRows,
	}
	for _, o := range opts {
		o(p)
	}
	p.open = make([]*builder, p.partitions)
	for range senders {
		p.workers.Go(p.send)
	}
	return p, nil
}

// ErrSample is wrapped by the errors of [Publisher.Add] about a sample that cannot be sent. The publisher goes on.
var ErrSample = errors.New("not a sample")

// Add adds a sample to a batch, and waits while too much is under way. An error of an earlier batch
// ends the publisher: every later call returns it.
func (p *Publisher) Add(s Sample) error {
	if !utf8.ValidString(s.Metric) || !utf8.ValidString(s.Unit) {
		return fmt.Errorf("%w: metric %q or unit %q is not UTF-8", ErrSample, s.Metric, s.Unit)
	}
	if len(s.Unit) > subject.MaxUnit || len(s.Metric) > subject.MaxUnit {
		return fmt.Errorf("%w: metric %.40q or unit %.40q is longer than %d bytes", ErrSample, s.Metric, s.Unit, subject.MaxUnit)
	}
	if y := s.Time.Year(); !s.Time.IsZero() && (y < 1678 || y > 2261) {
		return fmt.Errorf("%w: time %v is outside the years 1678 to 2261", ErrSample, s.Time)
	}
	partition := p.next
	if s.Unit != "" {
		partition = subject.Partition(s.Unit, p.partitions)
	}
	b := p.open[partition]
	if b == nil {
		b = &builder{batch: new(quietilev1.SampleBatch), columns: map[columnKey]*columnBuilder{}}
		p.open[partition] = b
	}
	b.add(s)
	if b.rows < p.rows && b.bytes < maxBytes {
		return nil
	}
	if s.Unit == "" {
		p.next = (p.next + 1) % p.partitions
	}
	return p.ship(partition)
}

func (b *builder) add(s Sample) {
	key := columnKey{s.Metric, !s.Time.IsZero()}
	c := b.columns[key]
	if c == nil {
		c = &columnBuilder{column: &quietilev1.SampleColumn{Metric: s.Metric}, units: map[string]uint32{}}
		if key.timed {
			c.last = s.Time.UnixNano()
			c.column.BaseTimeUnixNano = proto.Int64(c.last)
		}
		b.columns[key] = c
		b.batch.Columns = append(b.batch.Columns, c.column)
	}
	b.rows++
	b.bytes += 8
	column := c.column
	column.Values = append(column.Values, s.Value)
	if key.timed {
		t := s.Time.UnixNano()
		column.TimeDeltas = append(column.TimeDeltas, t-c.last)
		c.last = t
		b.bytes += 6
	}
	if s.Unit != "" || len(column.Units) > 0 {
		i, ok := c.units[s.Unit]
		if !ok {
			i = uint32(len(column.Units))
			c.units[s.Unit] = i
			column.Units = append(column.Units, s.Unit)
			b.bytes += len(s.Unit) + 2
		}
		// Rows before the first one with a unit had none.
		for len(column.UnitIndex) < len(column.Values)-1 {
			none, ok := c.units[""]
			if !ok {
				none = uint32(len(column.Units))
				c.units[""] = none
				column.Units = append(column.Units, "")
			}
			column.UnitIndex = append(column.UnitIndex, none)
		}
		column.UnitIndex = append(column.UnitIndex, i)
		b.bytes += 3
	}
	if s.Weight > 1 || len(column.Weights) > 0 {
		for len(column.Weights) < len(column.Values)-1 {
			column.Weights = append(column.Weights, 1)
		}
		column.Weights = append(column.Weights, max(s.Weight, 1))
		b.bytes += 2
	}
}

// ship hands the open batch of a partition to the senders.
func (p *Publisher) ship(partition int) error {
	b := p.open[partition]
	if b == nil {
		return nil
	}
	p.open[partition] = nil
	m := nats.NewMsg(subject.Batch(partition))
	var err error
	if m.Data, err = proto.Marshal(b.batch); err != nil {
		err = fmt.Errorf("batch for partition %d: %w", partition, err)
		p.cancel(err)
		return err
	}
	p.batches++
	m.Header.Set(jetstream.MsgIDHeader, p.nonce+"-"+strconv.Itoa(p.batches))
	p.pending.Add(1)
	select {
	case p.queue <- m:
		return nil
	case <-p.ctx.Done():
		p.pending.Done()
		return context.Cause(p.ctx)
	}
}

// Flush returns when the engine's log has every sample added so far.
func (p *Publisher) Flush() error {
	for partition := range p.open {
		if err := p.ship(partition); err != nil {
			return err
		}
	}
	p.pending.Wait()
	return context.Cause(p.ctx)
}

// Close flushes and ends the publisher.
func (p *Publisher) Close() error {
	err := p.Flush()
	p.cancel(errors.New("the publisher is closed"))
	p.workers.Wait()
	return err
}

func (p *Publisher) send() {
	for {
		select {
		case m := <-p.queue:
			if err := p.deliver(m); err != nil {
				p.cancel(err)
			}
			p.pending.Done()
		case <-p.ctx.Done():
			return
		}
	}
}

// deliver sends a batch until the stream has it.
func (p *Publisher) deliver(m *nats.Msg) error {
	var sent time.Time // first attempt of which nobody knows how it ended
	for {
		attempt := time.Now()
		ctx, cancel := p.client.whileConnected(p.ctx, ackWait)
		_, err := p.client.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			return nil
		}
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		var refused *jetstream.APIError
		switch {
		case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrConnectionClosed):
			return err
		case errors.As(err, &refused), errors.Is(err, nats.ErrReconnectBufExceeded),
			errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
			// It certainly is not in the stream because of this attempt.
		case sent.IsZero():
			sent = attempt
		}
		if !sent.IsZero() && time.Since(sent) > certain {
			return fmt.Errorf("%w: not acknowledged for %s: %w", ErrUncertain, time.Since(sent).Round(time.Second), err)
		}
		select {
		case <-time.After(tryAgain):
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
}
