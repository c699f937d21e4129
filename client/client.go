// Package client publishes samples to a Quietile engine and asks it for private quantiles.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp/budget"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/subject"
)

var (
	// ErrInvalid says that a request is wrong whatever the engine holds.
	ErrInvalid = errors.New("invalid request")
	// ErrUnknownMetric says that no policy declares the metric.
	ErrUnknownMetric = errors.New("unknown metric")
	// ErrNotSealed says that samples may still enter the window.
	ErrNotSealed = errors.New("the window is not sealed")
	// ErrNoEngine says that nobody answers at the server's address.
	ErrNoEngine = errors.New("no quietile engine answers")
)

// Error is a request that the engine refused. It wraps [ErrInvalid], [ErrUnknownMetric], [ErrNotSealed]
// or [budget.ErrExceeded] where one of them is the reason.
type Error struct {
	Code    string // 400, 402, 404, 409 or 500
	Message string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the sentinel of the error's code.
func (e *Error) Unwrap() error {
	switch e.Code {
	case "400":
		return ErrInvalid
	case "402":
		return budget.ErrExceeded
	case "404":
		return ErrUnknownMetric
	case "409":
		return ErrNotSealed
	}
	return nil
}

// Client is a connection to an engine. It is safe for concurrent use.
type Client struct {
	conn *nats.Conn
	js   jetstream.JetStream

	mu   sync.Mutex
	lost chan struct{} // closed and replaced whenever the connection breaks
}

type config struct{ nats []nats.Option }

// Option configures Connect.
type Option func(*config)

// WithAdmin connects as the embedded server's admin, whose secret is in the data directory.
func WithAdmin(secret string) Option {
	return func(c *config) {
		c.nats = append(c.nats, nats.UserInfo("admin", secret), nats.CustomInboxPrefix("_INBOX_ADMIN"))
	}
}

// WithNATS passes options, such as credentials, to the NATS client.
func WithNATS(opts ...nats.Option) Option {
	return func(c *config) { c.nats = append(c.nats, opts...) }
}

// Connect connects to the NATS server of an engine.
func Connect(url string, opts ...Option) (*Client, error) {
	client := &Client{lost: make(chan struct{})}
	c := config{nats: []nats.Option{
		nats.DisconnectErrHandler(func(*nats.Conn, error) { client.disconnected() }),
		nats.Name("quietile client"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		// Never hold messages back for a reconnect: a Publisher must know what was sent.
		nats.ReconnectBufSize(-1),
	}}
	for _, o := range opts {
		o(&c)
	}
	conn, err := nats.Connect(url, c.nats...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	client.conn = conn
	if client.js, err = jetstream.New(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return client, nil
}

func (c *Client) disconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.lost)
	c.lost = make(chan struct{})
}

// whileConnected returns a context that also ends when the connection breaks, after which no reply to
// what was sent before will come.
func (c *Client) whileConnected(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	c.mu.Lock()
	lost := c.lost
	c.mu.Unlock()
	go func() {
		select {
		case <-lost:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Close closes the connection.
func (c *Client) Close() { c.conn.Close() }

// Info returns what is public about the engine: its partitions and its policy.
func (c *Client) Info(ctx context.Context) (*quietilev1.Info, error) {
	a := new(quietilev1.Info)
	return a, c.request(ctx, subject.API+"info", &quietilev1.BudgetRequest{}, a)
}

// Query asks for private quantiles of a sealed window.
func (c *Client) Query(ctx context.Context, q *quietilev1.ReleaseRequest) (*quietilev1.ReleaseResult, error) {
	a := new(quietilev1.ReleaseResult)
	return a, c.request(ctx, subject.API+"query", q, a)
}

// Budget returns the budgets of a metric's source, or of all sources when metric is empty.
func (c *Client) Budget(ctx context.Context, metric string) (*quietilev1.BudgetReport, error) {
	a := new(quietilev1.BudgetReport)
	return a, c.request(ctx, subject.API+"budget", &quietilev1.BudgetRequest{Metric: metric}, a)
}

// Prior returns what is believed of a metric's quantiles, from released answers only.
func (c *Client) Prior(ctx context.Context, q *quietilev1.PriorRequest) (*quietilev1.PriorReport, error) {
	a := new(quietilev1.PriorReport)
	return a, c.request(ctx, subject.API+"prior", q, a)
}

// Apply declares a policy and returns the versions of metrics that this made. For admins.
func (c *Client) Apply(ctx context.Context, p *quietilev1.Policy) ([]*quietilev1.Metric, error) {
	a := new(quietilev1.Done)
	err := c.request(ctx, subject.Admin+"apply", p, a)
	return a.GetMetrics(), err
}

// Seal seals every window of a manual metric that ends at or before a moment. For admins.
func (c *Client) Seal(ctx context.Context, metric string, through time.Time) error {
	return c.request(ctx, subject.Admin+"seal", &quietilev1.SealRequest{Metric: metric, ThroughUnixNano: through.UnixNano()}, new(quietilev1.Done))
}

// Status returns an operator's counters. For admins.
func (c *Client) Status(ctx context.Context) (*quietilev1.Status, error) {
	a := new(quietilev1.Status)
	return a, c.request(ctx, subject.Admin+"status", &quietilev1.BudgetRequest{}, a)
}

// Windows returns the starts of the windows of a metric that hold anything. For admins.
func (c *Client) Windows(ctx context.Context, metric string) ([]time.Time, error) {
	a := new(quietilev1.Windows)
	err := c.request(ctx, subject.Admin+"windows", &quietilev1.DumpRequest{Metric: metric}, a)
	var starts []time.Time
	for _, t := range a.GetStartUnixNano() {
		starts = append(starts, time.Unix(0, t).UTC())
	}
	return starts, err
}

// Dump returns the raw sketch of the window that holds a moment. For admins.
func (c *Client) Dump(ctx context.Context, metric string, at time.Time) (*quietilev1.WindowSketch, error) {
	a := new(quietilev1.WindowSketch)
	return a, c.request(ctx, subject.Admin+"dump", &quietilev1.DumpRequest{Metric: metric, WindowTimeUnixNano: proto.Int64(at.UnixNano())}, a)
}

// Load adds a dumped sketch to a window that is not sealed. For admins. Loading twice counts twice.
func (c *Client) Load(ctx context.Context, w *quietilev1.WindowSketch) error {
	return c.request(ctx, subject.Admin+"load", w, new(quietilev1.Done))
}

func (c *Client) request(ctx context.Context, on string, q, a proto.Message) error {
	data, err := proto.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	m, err := c.conn.RequestWithContext(ctx, on, data)
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w at %s", ErrNoEngine, c.conn.ConnectedUrlRedacted())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", on, err)
	}
	if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
		return &Error{Code: code, Message: m.Header.Get(micro.ErrorHeader)}
	}
	return proto.Unmarshal(m.Data, a)
}
