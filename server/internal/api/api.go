// Package api answers the engine's NATS requests.
//
// Analysts may ask quietile.api.*, and learn only what is public or released. The rest,
// quietile.admin.*, is for admins: the server's permissions keep others out, and replies go only to
// inboxes that others cannot listen on.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp/budget"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/control"
	"github.com/quietile/quietile/server/internal/ingest"
	"github.com/quietile/quietile/server/internal/release"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/server/subject"
	"github.com/quietile/quietile/sketch"
)

// Codes of refused requests, in the header Nats-Service-Error-Code.
const (
	codeInvalid   = "400"
	codeBudget    = "402"
	codeNotFound  = "404"
	codeNotSealed = "409"
	codeInternal  = "500"
)

// Config is what the service needs.
type Config struct {
	Conn       *nats.Conn // the engine's own
	Catalog    *control.Catalog
	Release    *release.Service
	Store      *store.Store
	Worker     *ingest.Worker
	Partitions int
	Logger     *slog.Logger
}

// requestTimeout bounds a request. It is long: whoever waits for others' answers must not be refused for how long those take.
const requestTimeout = 10 * time.Minute

// Service is the running service.
type Service struct {
	Config
	ctx    context.Context
	cancel context.CancelFunc
	subs   []*nats.Subscription

	mu      sync.Mutex // guards stopped, and that nothing is added to running after it
	stopped bool
	running sync.WaitGroup
}

// Start answers requests until Stop.
func Start(c Config) (*Service, error) {
	s := &Service{Config: c}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	open := []string{"_INBOX."}
	admin := []string{"_INBOX_ADMIN."}
	return s, errors.Join(
		add(s, subject.API+"info", open, func(context.Context, *quietilev1.BudgetRequest) (*quietilev1.Info, error) {
			return &quietilev1.Info{
				Partitions: uint32(c.Partitions),
				MaxPayload: subject.MaxPayload,
				Policy:     c.Catalog.Policy(),
			}, nil
		}),
		add(s, subject.API+"query", open, s.query),
		add(s, subject.API+"budget", open, func(_ context.Context, q *quietilev1.BudgetRequest) (*quietilev1.BudgetReport, error) {
			return c.Release.Budget(q.GetMetric())
		}),
		add(s, subject.API+"prior", open, func(_ context.Context, q *quietilev1.PriorRequest) (*quietilev1.PriorReport, error) {
			return c.Release.Prior(q)
		}),
		add(s, subject.Admin+"apply", admin, func(ctx context.Context, p *quietilev1.Policy) (*quietilev1.Done, error) {
			if err := policy.Validate(p); err != nil {
				return nil, fmt.Errorf("%w: %w", control.ErrInvalid, err)
			}
			metrics, err := c.Catalog.Apply(ctx, p, time.Now(), c.Worker)
			return &quietilev1.Done{Metrics: metrics}, err
		}),
		add(s, subject.Admin+"seal", admin, func(ctx context.Context, q *quietilev1.SealRequest) (*quietilev1.Done, error) {
			return &quietilev1.Done{}, c.Catalog.Seal(ctx, q.GetMetric(), q.GetThroughUnixNano(), c.Worker)
		}),
		add(s, subject.Admin+"load", admin, s.load),
		add(s, subject.Admin+"dump", admin, s.dump),
		add(s, subject.Admin+"windows", admin, func(_ context.Context, q *quietilev1.DumpRequest) (*quietilev1.Windows, error) {
			if _, err := c.Catalog.Versions(q.GetMetric()); err != nil {
				return nil, err
			}
			starts, err := c.Store.Windows(q.GetMetric())
			return &quietilev1.Windows{StartUnixNano: starts}, err
		}),
		add(s, subject.Admin+"status", admin, s.status),
	)
}

// Stop stops answering, and returns when no request is under way any more.
func (s *Service) Stop() error {
	var err error
	for _, sub := range s.subs {
		err = errors.Join(err, sub.Unsubscribe())
	}
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
	return err
}

// message is a pointer to a protobuf message type.
type message[T any] interface {
	*T
	proto.Message
}

// add serves a subject. The reply goes only to an inbox with one of the prefixes: NATS lets a client
// name any subject for it, and the engine may write where the client may not.
func add[Q, A any, PQ message[Q], PA message[A]](s *Service, on string, inboxes []string, f func(context.Context, PQ) (PA, error)) error {
	sub, err := s.Conn.QueueSubscribe(on, "quietile", func(m *nats.Msg) {
		if !hasPrefix(m.Reply, append([]string{"_INBOX_ADMIN."}, inboxes...)) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.stopped {
			return
		}
		s.running.Go(func() {
			ctx, cancel := context.WithTimeout(s.ctx, requestTimeout)
			defer cancel()
			q := PQ(new(Q))
			a, err := PA(nil), error(nil)
			if proto.Unmarshal(m.Data, q) == nil {
				a, err = f(ctx, q)
			} else {
				err = fmt.Errorf("%w: the payload is not a protobuf %s", control.ErrInvalid, q.ProtoReflect().Descriptor().Name())
			}
			reply := s.refusal(on, err)
			if err == nil {
				if reply.Data, err = proto.Marshal(a); err != nil {
					reply = s.refusal(on, err)
				}
			}
			if err := m.RespondMsg(reply); err != nil {
				s.Logger.Warn("reply", "subject", on, "error", err)
			}
		})
	})
	s.subs = append(s.subs, sub)
	return err
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// refusal returns the reply that says err, an empty one for none. Its text never depends on samples.
func (s *Service) refusal(on string, err error) *nats.Msg {
	reply := nats.NewMsg("")
	if err == nil {
		return reply
	}
	code, text := codeInternal, err.Error()
	switch {
	case errors.Is(err, control.ErrInvalid):
		code = codeInvalid
	case errors.Is(err, budget.ErrExceeded):
		code = codeBudget
	case errors.Is(err, control.ErrUnknownMetric):
		code = codeNotFound
	case errors.Is(err, release.ErrNotSealed):
		code = codeNotSealed
	default:
		s.Logger.Error("request", "subject", on, "error", err)
		text = "the daemon failed to answer, and its log says why"
	}
	reply.Header.Set(micro.ErrorCodeHeader, code)
	reply.Header.Set(micro.ErrorHeader, strings.ReplaceAll(text, "\n", "; "))
	return reply
}

// query answers a question.
func (s *Service) query(ctx context.Context, q *quietilev1.ReleaseRequest) (*quietilev1.ReleaseResult, error) {
	r, _, err := s.Release.Release(ctx, q)
	return r, err
}

func (s *Service) load(ctx context.Context, l *quietilev1.WindowSketch) (*quietilev1.Done, error) {
	m, err := s.Catalog.At(l.GetMetric(), l.GetWindowStartUnixNano())
	if err != nil {
		return nil, err
	}
	b, err := sketch.FromProto(l.GetSketch())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", control.ErrInvalid, err)
	}
	grid, err := sketch.GridFromProto(m.GetGrid())
	if err != nil {
		return nil, err
	}
	if !b.Grid().Equal(grid) {
		return nil, fmt.Errorf("%w: the sketch has grid %v, metric %s has %v", control.ErrInvalid, b.Grid(), m.GetName(), grid)
	}
	if m.GetUnit() == quietilev1.Unit_UNIT_USER {
		return nil, fmt.Errorf("%w: metric %s has the unit user: a sketch does not tell whose samples it counts, so that nothing would bound a user's contributions", control.ErrInvalid, m.GetName())
	}
	if b.Count() > subject.MaxLoad {
		return nil, fmt.Errorf("%w: the sketch has %d values: at most %d are loaded at once", control.ErrInvalid, b.Count(), uint64(subject.MaxLoad))
	}
	start, end := policy.WindowOf(m, l.GetWindowStartUnixNano())
	if start != l.GetWindowStartUnixNano() || end != l.GetWindowEndUnixNano() {
		return nil, fmt.Errorf("%w: %s to %s is no window of metric %s, whose windows last %s", control.ErrInvalid,
			time.Unix(0, l.GetWindowStartUnixNano()).UTC(), time.Unix(0, l.GetWindowEndUnixNano()).UTC(), m.GetName(), time.Duration(m.GetWindowNanos()))
	}
	sealed, err := s.Release.Sealed(m, end)
	if err != nil {
		return nil, err
	}
	if sealed {
		return nil, fmt.Errorf("%w: window %s of metric %s is sealed: nothing can be added to it", control.ErrInvalid, time.Unix(0, start).UTC().Format(time.RFC3339), m.GetName())
	}
	return &quietilev1.Done{}, s.Catalog.Load(ctx, &quietilev1.Load{
		Metric:              l.GetMetric(),
		WindowStartUnixNano: start,
		Sketch:              l.GetSketch(),
	}, s.Worker)
}

func (s *Service) dump(_ context.Context, q *quietilev1.DumpRequest) (*quietilev1.WindowSketch, error) {
	if q.WindowTimeUnixNano == nil {
		return nil, fmt.Errorf("%w: window_time_unix_nano is missing", control.ErrInvalid)
	}
	m, err := s.Catalog.At(q.GetMetric(), q.GetWindowTimeUnixNano())
	if err != nil {
		return nil, err
	}
	grid, err := sketch.GridFromProto(m.GetGrid())
	if err != nil {
		return nil, err
	}
	start, end := policy.WindowOf(m, q.GetWindowTimeUnixNano())
	b, err := s.Store.Window(m.GetName(), start, m.GetVersion(), grid)
	if err != nil {
		return nil, err
	}
	return &quietilev1.WindowSketch{
		Metric: m.GetName(), WindowStartUnixNano: start, WindowEndUnixNano: end, Sketch: b.Proto(),
	}, nil
}

// status reports what is in the store; what came since the last flush is not in it yet.
func (s *Service) status(context.Context, *quietilev1.BudgetRequest) (*quietilev1.Status, error) {
	st := new(quietilev1.Status)
	for _, m := range s.Catalog.Policy().GetMetrics() {
		sum := &quietilev1.MetricStatus{Metric: m.GetName()}
		for p := range s.Partitions {
			one, err := s.Store.Stats(m.GetName(), p)
			if err != nil {
				return nil, err
			}
			sum.Accepted += one.Accepted
			sum.Late += one.Late
			sum.Excess += one.Excess
			sum.Dead += one.Dead
		}
		st.Metrics = append(st.Metrics, sum)
	}
	for p := range s.Partitions {
		c, err := s.Store.Cursor(p)
		if err != nil {
			return nil, err
		}
		st.Sequence = max(st.Sequence, c.Sequence)
	}
	return st, nil
}
