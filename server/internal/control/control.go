// Package control holds what operators declare, and puts it into force.
//
// The control stream keeps every version of every declaration. A partition follows a version from
// the moment at which the version stands in the partition's own log, so that the partition's state
// stays a function of that log.
package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/journal"
	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/server/subject"
)

var (
	// ErrUnknownMetric says that no policy declares a metric.
	ErrUnknownMetric = errors.New("unknown metric")
	// ErrInvalid says that a request is wrong whatever the data.
	ErrInvalid = errors.New("invalid request")
)

// Follower reads the ingest log.
type Follower interface {
	// Wait returns when the store covers a message of the log.
	Wait(ctx context.Context, sequence uint64) error
}

// Follows returns the versions that a partition follows, by metric, as far as the store knows.
type Follows func(partition int) (map[string][]*quietilev1.Metric, error)

// Catalog is everything declared. It is safe for concurrent use.
type Catalog struct {
	follows    Follows
	js         jetstream.JetStream
	keys       *keys.Ring
	partitions int

	mu      sync.Mutex
	journal *journal.Journal
	sources map[string]*quietilev1.Source
	metrics map[string][]*quietilev1.Metric // ascending versions
}

// Open reads the control stream, which must exist.
func Open(ctx context.Context, js jetstream.JetStream, ring *keys.Ring, partitions int, follows Follows, logger *slog.Logger) (*Catalog, error) {
	j, err := journal.Open(ctx, js, subject.ControlStream, ring, logger)
	if err != nil {
		return nil, err
	}
	c := &Catalog{
		js: js, keys: ring, partitions: partitions, follows: follows, journal: j,
		sources: map[string]*quietilev1.Source{},
		metrics: map[string][]*quietilev1.Metric{},
	}
	return c, c.read(ctx)
}

func (c *Catalog) read(ctx context.Context) error {
	return c.journal.Read(ctx, func(_ string, data []byte) error {
		p := new(quietilev1.Policy)
		if err := proto.Unmarshal(data, p); err != nil {
			return err
		}
		c.take(p)
		return nil
	})
}

func (c *Catalog) take(p *quietilev1.Policy) {
	for _, s := range p.GetSources() {
		c.sources[s.GetName()] = s
	}
	for _, m := range p.GetMetrics() {
		versions := append(c.metrics[m.GetName()], m)
		slices.SortFunc(versions, func(a, b *quietilev1.Metric) int { return cmp.Compare(a.GetVersion(), b.GetVersion()) })
		c.metrics[m.GetName()] = versions
	}
}

// Versions returns the versions of a metric, ascending.
func (c *Catalog) Versions(name string) ([]*quietilev1.Metric, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	versions := c.metrics[name]
	if len(versions) == 0 {
		return nil, fmt.Errorf("%w %q", ErrUnknownMetric, name)
	}
	return versions, nil
}

// At returns the version of a metric that a moment follows.
func (c *Catalog) At(name string, t int64) (*quietilev1.Metric, error) {
	versions, err := c.Versions(name)
	if err != nil {
		return nil, err
	}
	for i := len(versions) - 1; i >= 0; i-- {
		if versions[i].GetEffectiveFromUnixNano() <= t {
			return versions[i], nil
		}
	}
	return nil, fmt.Errorf("metric %s: no version is in force at %s", name, time.Unix(0, t).UTC().Format(time.RFC3339))
}

// Source returns a source.
func (c *Catalog) Source(name string) (*quietilev1.Source, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sources[name]
	return s, ok
}

// Policy returns every source, and every metric in its latest version, by name.
func (c *Catalog) Policy() *quietilev1.Policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policy()
}

func (c *Catalog) policy() *quietilev1.Policy {
	p := new(quietilev1.Policy)
	for _, s := range c.sources {
		p.Sources = append(p.Sources, s)
	}
	for _, versions := range c.metrics {
		p.Metrics = append(p.Metrics, versions[len(versions)-1])
	}
	sort.Slice(p.Sources, func(i, j int) bool { return p.Sources[i].Name < p.Sources[j].Name })
	sort.Slice(p.Metrics, func(i, j int) bool { return p.Metrics[i].Name < p.Metrics[j].Name })
	return p
}

// Apply declares what is new or changed in a policy. It returns the versions that this makes, none
// when nothing changed, after every partition follows them. What the policy does not name stays.
func (c *Catalog) Apply(ctx context.Context, p *quietilev1.Policy, now time.Time, follower Follower) ([]*quietilev1.Metric, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		// What an earlier attempt did not finish comes first.
		if err := c.reinforce(ctx, follower); err != nil {
			return nil, err
		}
		change, err := policy.Change(c.policy(), p, now)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if len(change.GetSources()) == 0 && len(change.GetMetrics()) == 0 {
			return nil, nil
		}
		data, err := proto.Marshal(change)
		if err != nil {
			return nil, err
		}
		switch err := c.journal.Append(ctx, subject.Control+"policy", data); {
		case errors.Is(err, journal.ErrConflict):
			if err := c.read(ctx); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, fmt.Errorf("store the policy: %w", err)
		}
		c.take(change)
		return change.GetMetrics(), c.declare(ctx, change.GetMetrics(), follower)
	}
}

// Reinforce finishes what was interrupted: it writes versions that some partition does not follow into the
// log once more, and puts versions that partitions follow back into the control stream, whose end a
// power cut may have taken.
func (c *Catalog) Reinforce(ctx context.Context, follower Follower) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reinforce(ctx, follower)
}

func (c *Catalog) reinforce(ctx context.Context, follower Follower) error {
	has := func(versions []*quietilev1.Metric, v uint32) bool {
		return slices.ContainsFunc(versions, func(m *quietilev1.Metric) bool { return m.GetVersion() == v })
	}
	follow := make([]map[string][]*quietilev1.Metric, c.partitions)
	lost := new(quietilev1.Policy)
	for p := range c.partitions {
		var err error
		if follow[p], err = c.follows(p); err != nil {
			return err
		}
		for name, versions := range follow[p] {
			for _, m := range versions {
				if !has(c.metrics[name], m.GetVersion()) {
					lost.Metrics = append(lost.Metrics, m)
					c.take(&quietilev1.Policy{Metrics: []*quietilev1.Metric{m}})
				}
			}
		}
	}
	if len(lost.GetMetrics()) > 0 {
		data, err := proto.Marshal(lost)
		if err != nil {
			return err
		}
		if err := c.journal.Append(ctx, subject.Control+"policy", data); err != nil {
			return fmt.Errorf("put versions back into the control stream: %w", err)
		}
	}
	var missing []*quietilev1.Metric
	for name, versions := range c.metrics {
		for _, m := range versions {
			if slices.ContainsFunc(follow, func(have map[string][]*quietilev1.Metric) bool { return !has(have[name], m.GetVersion()) }) {
				missing = append(missing, m)
			}
		}
	}
	return c.declare(ctx, missing, follower)
}

// declare writes versions into every partition, and waits until the store covers them.
func (c *Catalog) declare(ctx context.Context, versions []*quietilev1.Metric, follower Follower) error {
	var last uint64
	for _, m := range versions {
		for p := range c.partitions {
			sequence, err := c.write(ctx, p, &quietilev1.Control{Kind: &quietilev1.Control_Metric{Metric: m}})
			if err != nil {
				return err
			}
			last = max(last, sequence)
		}
	}
	if last == 0 {
		return nil
	}
	return follower.Wait(ctx, last)
}

// Seal seals every window of a manual metric that ends at or before a moment, and returns when the
// store knows it.
func (c *Catalog) Seal(ctx context.Context, metric string, through int64, follower Follower) error {
	versions, err := c.Versions(metric)
	if err != nil {
		return err
	}
	manual := func(m *quietilev1.Metric) bool { return m.GetClock() == quietilev1.Clock_CLOCK_MANUAL }
	if !slices.ContainsFunc(versions, manual) {
		return fmt.Errorf("%w: metric %s has the stream's clock, which seals its windows by itself: only a metric with clock manual can be sealed", ErrInvalid, metric)
	}
	return c.everywhere(ctx, &quietilev1.Control{Kind: &quietilev1.Control_Seal{Seal: &quietilev1.Seal{
		Metric: metric, ThroughUnixNano: through,
	}}}, follower)
}

// Load adds a sketch to an open window, through partition 0.
func (c *Catalog) Load(ctx context.Context, l *quietilev1.Load, follower Follower) error {
	sequence, err := c.write(ctx, 0, &quietilev1.Control{Kind: &quietilev1.Control_Load{Load: l}})
	if err != nil {
		return err
	}
	return follower.Wait(ctx, sequence)
}

// everywhere writes a control message into every partition and waits until the store covers it.
func (c *Catalog) everywhere(ctx context.Context, m *quietilev1.Control, follower Follower) error {
	var last uint64
	for p := range c.partitions {
		sequence, err := c.write(ctx, p, m)
		if err != nil {
			return err
		}
		last = max(last, sequence)
	}
	return follower.Wait(ctx, last)
}

func (c *Catalog) write(ctx context.Context, p int, control *quietilev1.Control) (uint64, error) {
	data, err := proto.Marshal(control)
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg(subject.ControlOf(p))
	m.Data = data
	m.Header.Set(keys.SignatureHeader, c.keys.Signature(m.Subject, data))
	ack, err := c.js.PublishMsg(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("control message of partition %d: %w", p, err)
	}
	return ack.Sequence, nil
}
