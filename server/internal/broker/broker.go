// Package broker runs the embedded NATS server.
package broker

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/server/subject"
)

// Users of the embedded server. An unauthenticated connection is the anonymous user.
const (
	anonymousUser = "anonymous"
	AdminUser     = "admin"
	engineUser    = "engine"
)

// Inbox prefixes. Replies to the engine carry raw samples and replies to an admin may carry raw
// sketches, so neither goes to the inboxes that an anonymous client may listen on.
const (
	AdminInbox  = "_INBOX_ADMIN"
	engineInbox = "_INBOX_ENGINE"
)

// maxPayload is larger than subject.MaxPayload, so that a sample that is too large reaches the log
// and can be dead-lettered with its reason instead of failing where nobody looks.
const maxPayload = 8 << 20

// adminFile holds the admin's password inside the data directory.
const adminFile = "admin.secret"

// Broker is a running embedded server.
type Broker struct {
	server  *server.Server
	secret  string
	private bool
}

// Config says where the server keeps its streams and listens.
type Config struct {
	DataDir string
	Host    string
	Port    int // 0: the first free port from 4222; -1: any free port
	// Private: no network at all, connections from this process only.
	Private bool
	Logger  *slog.Logger
}

// Start starts a server and returns when it accepts connections.
func Start(c Config) (*Broker, error) {
	ip := net.ParseIP(c.Host)
	if c.Host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("host %q is not a loopback address, and listening beyond loopback needs authentication: run a NATS server of your own", c.Host)
	}
	admin, err := adminSecret(c.DataDir)
	if err != nil {
		return nil, err
	}
	engine := newSecret()
	port, err := freePort(c.Host, c.Port)
	if err != nil {
		return nil, err
	}
	opts := &server.Options{
		ServerName: "quietile",
		Host:       c.Host,
		Port:       port,
		NoSigs:     true,
		DontListen: c.Private,
		JetStream:  true,
		StoreDir:   filepath.Join(c.DataDir, "jetstream"),
		MaxPayload: maxPayload,
		// What the kernel has survives kill -9; this bounds what a power cut takes.
		SyncInterval: time.Second,
		NoAuthUser:   anonymousUser,
		Users: []*server.User{
			{Username: engineUser, Password: engine},
			{Username: AdminUser, Password: admin, Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{
					Allow: []string{subject.Publish + ">", subject.Ingest + ">", subject.API + ">", subject.Admin + ">"},
					Deny:  engineOnly,
				},
				Subscribe: &server.SubjectPermission{Allow: []string{AdminInbox + ".>"}},
			}},
			{Username: anonymousUser, Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{
					Allow: []string{subject.Publish + ">", subject.Ingest + ">", subject.API + ">"},
					Deny:  engineOnly,
				},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		},
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	s.SetLoggerV2(&natsLogger{c.Logger}, false, false, false)
	go s.Start()
	b := &Broker{server: s, secret: engine, private: c.Private}
	if !s.ReadyForConnections(10 * time.Second) {
		b.Stop()
		return nil, errors.New("embedded NATS server: not ready for connections after 10s")
	}
	// JetStream may still have refused to start: a round trip proves that it answers.
	nc, err := b.Connect()
	if err != nil {
		b.Stop()
		return nil, err
	}
	defer nc.Close()
	if _, err := nc.Request("$JS.API.INFO", nil, 5*time.Second); err != nil {
		b.Stop()
		return nil, fmt.Errorf("embedded NATS server: JetStream does not answer: %w", err)
	}
	return b, nil
}

// engineOnly are the subjects under quietile.ingest that only the engine may write: they seal
// windows and change policy.
var engineOnly = []string{
	subject.Ingest + "*." + subject.TickToken,
	subject.Ingest + "*." + subject.ControlToken,
}

// URL is where clients connect.
func (b *Broker) URL() string { return b.server.ClientURL() }

// Connect returns a connection with the engine's own credentials.
func (b *Broker) Connect(opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{
		nats.Name("quietile engine"),
		nats.UserInfo(engineUser, b.secret),
		nats.CustomInboxPrefix(engineInbox),
		nats.MaxReconnects(-1),
	}, opts...)
	if b.private {
		opts = append(opts, nats.InProcessServer(b.server))
	}
	nc, err := nats.Connect(b.server.ClientURL(), opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	return nc, nil
}

// Stop stops the server and waits until it has.
func (b *Broker) Stop() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

// freePort returns want, or when it is 0 the first free port from 4222 on.
func freePort(host string, want int) (int, error) {
	if want != 0 {
		return want, nil
	}
	for port := server.DEFAULT_PORT; port < server.DEFAULT_PORT+1000; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port on %s from %d to %d", host, server.DEFAULT_PORT, server.DEFAULT_PORT+999)
}

func newSecret() string {
	var b [24]byte
	rand.Read(b[:]) // never returns an error: it ends the program instead
	return hex.EncodeToString(b[:])
}

// adminSecret reads the admin's password, or makes one at the first start.
func adminSecret(dir string) (string, error) {
	s, err := ReadAdminSecret(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	s = newSecret()
	return s, keys.WriteSecret(filepath.Join(dir, adminFile), s)
}

// ReadAdminSecret reads the admin's password from a data directory.
func ReadAdminSecret(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, adminFile))
	if err != nil {
		return "", err
	}
	s := strings.TrimSpace(string(b))
	if s == "" {
		return "", fmt.Errorf("%s in %s is empty", adminFile, dir)
	}
	return s, nil
}

// natsLogger passes the server's warnings and errors on; the rest is the server talking to itself.
type natsLogger struct{ l *slog.Logger }

func (n *natsLogger) Noticef(format string, v ...any) {
	n.l.Debug(fmt.Sprintf(format, v...), "from", "nats")
}
func (n *natsLogger) Debugf(string, ...any) {}
func (n *natsLogger) Tracef(string, ...any) {}
func (n *natsLogger) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords") {
		return // they are random, and in the memory of this process only
	}
	n.l.Warn(fmt.Sprintf(format, v...), "from", "nats")
}

func (n *natsLogger) Errorf(format string, v ...any) {
	n.l.Error(fmt.Sprintf(format, v...), "from", "nats")
}

func (n *natsLogger) Fatalf(format string, v ...any) {
	n.l.Error(fmt.Sprintf(format, v...), "from", "nats")
}
