// Package server runs the engine: an embedded NATS server, the ingest worker, the store and the
// release service, in one process over one data directory.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/api"
	"github.com/quietile/quietile/server/internal/broker"
	"github.com/quietile/quietile/server/internal/control"
	"github.com/quietile/quietile/server/internal/ingest"
	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/server/internal/release"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/subject"
)

// LossError says that the ingest stream no longer holds messages that were not counted yet.
type LossError = ingest.LossError

// ErrLocked says that another server runs on the data directory.
var ErrLocked = errors.New("the data directory is in use by another server")

// Options configure a server. The zero value of each field means its default.
type Options struct {
	// DataDir holds everything: streams, store, key, ledger. It is made when it does not exist.
	// Required.
	DataDir string
	// Host to listen on. Default 127.0.0.1; only loopback addresses are allowed.
	Host string
	// Port to listen on. Default: 4222, or the next free one. -1: any free port.
	Port int
	// Partitions of the ingest stream, 1 to 1024. They never change: the default is what the data
	// directory has, or 16 for a new one.
	Partitions int
	// MaxStreamBytes limits the ingest stream: when it is full, publishers are refused until the
	// worker has caught up. Default 4 GiB.
	MaxStreamBytes int64
	// AnswerSlot is the raster of the times at which fresh answers are stored and sent, one after the other. Default 100 ms.
	AnswerSlot time.Duration
	// AcceptLoss starts although the ingest stream lost samples before they were counted.
	AcceptLoss bool
	// Logger for operators. Default: discard.
	Logger *slog.Logger

	// charged runs between a charge and the reading of data. Set by tests only.
	charged func()
}

// Server is a started server.
type Server struct {
	opts   Options
	lock   *pebble.Lock
	broker *broker.Broker
	conn   *nats.Conn
	store  *store.Store
	worker *ingest.Worker
	api    *api.Service
	cat    *control.Catalog

	cancel context.CancelFunc
	done   chan struct{}
	err    error // of the worker, once done is closed

	closing sync.Once
	closed  error
}

const (
	// urlFile holds the address at which the server listens, inside the data directory.
	urlFile = "url"
	// deadDuplicates is how long a replay of the log may come after the dead letters it repeats.
	deadDuplicates = 2 * time.Hour
	deadAge        = 7 * 24 * time.Hour
	deadBytes      = 1 << 30
)

// Start starts a server and returns when it takes samples and questions. ctx bounds the start only.
func Start(ctx context.Context, opts Options) (_ *Server, err error) {
	if opts.DataDir == "" {
		return nil, errors.New("the data directory is not named")
	}
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	if opts.Partitions < 0 || opts.Partitions > 1024 {
		return nil, fmt.Errorf("partitions: %d is outside 1 to 1024", opts.Partitions)
	}
	if opts.MaxStreamBytes == 0 {
		opts.MaxStreamBytes = 4 << 30
	}
	if opts.AnswerSlot == 0 {
		opts.AnswerSlot = 100 * time.Millisecond
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: opts, done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	if err := os.MkdirAll(opts.DataDir, 0o700); err != nil {
		return nil, err
	}
	if s.lock, err = pebble.LockDirectory(opts.DataDir, vfs.Default); err != nil {
		s.lock = nil
		return nil, fmt.Errorf("%w: %s", ErrLocked, opts.DataDir)
	}
	if s.store, err = store.Open(filepath.Join(opts.DataDir, "store"), nil, opts.Logger); err != nil {
		return nil, err
	}
	ring, err := s.identity()
	if err != nil {
		return nil, err
	}
	if err := s.startBroker(ctx); err != nil {
		return nil, err
	}
	js, err := jetstream.New(s.conn)
	if err != nil {
		return nil, err
	}
	for _, c := range streams(s.opts) {
		if _, err := js.CreateOrUpdateStream(ctx, c); err != nil {
			return nil, fmt.Errorf("stream %s: %w", c.Name, err)
		}
	}
	s.worker, err = ingest.NewWorker(ctx, ingest.Config{
		Conn: s.conn, Store: s.store, Keys: ring, Partitions: s.opts.Partitions, Logger: opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	if s.cat, err = control.Open(ctx, js, ring, s.opts.Partitions, s.store.Versions, opts.Logger); err != nil {
		return nil, err
	}
	ledger, err := release.OpenLedger(ctx, js, s.store, ring, opts.Logger)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.done)
		s.err = s.worker.Run(running)
	}()
	if err := s.cat.Reinforce(ctx, s.worker); err != nil {
		return nil, err
	}
	s.api, err = api.Start(api.Config{
		Conn: s.conn, Catalog: s.cat, Store: s.store, Worker: s.worker, Partitions: s.opts.Partitions,
		Release: release.New(s.store, s.cat, ledger, s.opts.Partitions, opts.AnswerSlot, opts.charged),
		Logger:  opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	if err := s.conn.FlushTimeout(5 * time.Second); err != nil {
		return nil, err
	}
	return s, os.WriteFile(filepath.Join(opts.DataDir, urlFile), []byte(s.URL()+"\n"), 0o600)
}

// identity checks that the directory is opened with the key and the partitions it was made with, and
// takes the partitions from it.
func (s *Server) identity() (*keys.Ring, error) {
	fingerprint, err := s.store.Meta("key")
	if err != nil {
		return nil, err
	}
	ring, err := keys.Open(s.opts.DataDir, fingerprint == "")
	if err != nil {
		return nil, err
	}
	if fingerprint == "" {
		if s.opts.Partitions == 0 {
			s.opts.Partitions = subject.DefaultPartitions
		}
		if err := s.store.SetMeta("partitions", strconv.Itoa(s.opts.Partitions)); err != nil {
			return nil, err
		}
		return ring, s.store.SetMeta("key", ring.Fingerprint())
	}
	if fingerprint != ring.Fingerprint() {
		return nil, fmt.Errorf("%s in %s is not the key that the data was written with", keys.File, s.opts.DataDir)
	}
	text, err := s.store.Meta("partitions")
	if err != nil {
		return nil, err
	}
	have, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("partitions of the store: %w", err)
	}
	if asked := s.opts.Partitions; asked != 0 && asked != have {
		return nil, fmt.Errorf("partitions: %d is not what %s has, %d, and they never change", asked, s.opts.DataDir, have)
	}
	s.opts.Partitions = have
	return ring, nil
}

// startBroker starts the embedded server, after the stream was compared with the store where nobody
// could publish.
func (s *Server) startBroker(ctx context.Context) (err error) {
	c := broker.Config{DataDir: s.opts.DataDir, Host: s.opts.Host, Port: s.opts.Port, Logger: s.opts.Logger}
	cursor, err := s.store.Cursor(0)
	if err != nil {
		return err
	}
	if cursor.Sequence > 0 {
		if err := s.repair(ctx, c); err != nil {
			return err
		}
	}
	if s.broker, err = broker.Start(c); err != nil {
		return err
	}
	s.conn, err = s.broker.Connect()
	return err
}

func (s *Server) repair(ctx context.Context, c broker.Config) error {
	c.Private = true
	b, err := broker.Start(c)
	if err != nil {
		return err
	}
	defer b.Stop()
	conn, err := b.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	err = ingest.Repair(ctx, js, s.store, s.opts.Partitions, s.opts.Logger)
	if loss := (*LossError)(nil); errors.As(err, &loss) && s.opts.AcceptLoss {
		s.opts.Logger.Warn("samples are lost", "error", err)
		return nil
	}
	return err
}

func streams(opts Options) []jetstream.StreamConfig {
	from, to := subject.Transform(opts.Partitions)
	return []jetstream.StreamConfig{{
		Name:             subject.IngestStream,
		Subjects:         []string{subject.Ingest + ">", subject.Publish + ">"},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: from, Destination: to},
		Discard:          jetstream.DiscardNew,
		MaxBytes:         opts.MaxStreamBytes,
		Duplicates:       ingest.Duplicates,
	}, {
		Name:       subject.DeadStream,
		Subjects:   []string{subject.Dead + ">"},
		MaxAge:     deadAge,
		MaxBytes:   deadBytes,
		Duplicates: deadDuplicates,
	}, {
		Name:       subject.ControlStream,
		Subjects:   []string{subject.Control + ">"},
		DenyDelete: true,
		DenyPurge:  true,
	}, {
		Name:       subject.LedgerStream,
		Subjects:   []string{subject.Ledger + ">"},
		DenyDelete: true,
		DenyPurge:  true,
	}}
}

// URL is where clients connect.
func (s *Server) URL() string { return s.broker.URL() }

// Apply declares sources and metrics, as an admin's request does.
func (s *Server) Apply(ctx context.Context, p *quietilev1.Policy) ([]*quietilev1.Metric, error) {
	return s.cat.Apply(ctx, p, time.Now(), s.worker)
}

// Wait returns when ctx ends or the server can no longer count samples, with the reason for the
// latter.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.done:
		return s.err
	}
}

// Close stops the server. Everything it counted is in the data directory when Close returns. Closing
// again does nothing.
func (s *Server) Close() error {
	s.closing.Do(func() { s.closed = s.release() })
	return s.closed
}

func (s *Server) release() (err error) {
	if s.cancel != nil { // first, for requests may be waiting for the worker
		s.cancel()
		<-s.done
	}
	if s.api != nil {
		err = errors.Join(err, s.api.Stop())
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.broker != nil {
		s.broker.Stop()
	}
	if s.store != nil {
		err = errors.Join(err, s.store.Sync(), s.store.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// AdminSecret reads the admin's password from a data directory.
func AdminSecret(dataDir string) (string, error) { return broker.ReadAdminSecret(dataDir) }

// ReadURL reads the address at which the server on a data directory listens.
func ReadURL(dataDir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dataDir, urlFile))
	return strings.TrimSpace(string(b)), err
}
