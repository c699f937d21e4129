package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/client"
	"github.com/quietile/quietile/server"
)

// groupDaemon is the group of the commands that talk to a running daemon, or are one.
const groupDaemon = "daemon"

// connection holds the flags that say where the daemon is.
type connection struct {
	server, data, creds, ca, cert, key string
}

// addConnection adds the flags of a command that talks to the daemon.
func addConnection(cmd *cobra.Command) *connection {
	c := new(connection)
	f := cmd.Flags()
	f.StringVar(&c.server, "server", os.Getenv("QUIETILE_SERVER"), "NATS address of the daemon (default $QUIETILE_SERVER, or what the daemon wrote into its data directory)")
	addData(cmd, &c.data)
	f.StringVar(&c.creds, "creds", "", "NATS credentials file")
	f.StringVar(&c.ca, "tlsca", "", "file with the certificate authority to trust")
	f.StringVar(&c.cert, "tlscert", "", "file with the client's certificate")
	f.StringVar(&c.key, "tlskey", "", "file with the client's key")
	return c
}

// addData adds --data.
func addData(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "data", defaultData(), "the daemon's data directory")
}

// defaultData is where the daemon keeps its data unless told otherwise: $QUIETILE_DATA, or the user's
// directory for data of programs.
func defaultData() string {
	if dir := os.Getenv("QUIETILE_DATA"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "quietile")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "quietile")
	}
	return "quietile-data"
}

// dial connects as anybody may.
func (c *connection) dial() (*client.Client, error) { return c.connect() }

// dialAdmin connects as the daemon's admin, whose secret only those who may read the data directory
// know.
func (c *connection) dialAdmin() (*client.Client, error) {
	if c.creds != "" {
		return c.connect()
	}
	secret, err := server.AdminSecret(c.data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this command is for admins, and %s is no daemon's data directory: name it with --data", c.data)
	}
	if err != nil {
		return nil, err
	}
	return c.connect(client.WithAdmin(secret))
}

func (c *connection) connect(opts ...client.Option) (*client.Client, error) {
	url := c.server
	if url == "" {
		var err error
		if url, err = server.ReadURL(c.data); err != nil {
			url = nats.DefaultURL
		}
	}
	if c.creds != "" {
		opts = append(opts, client.WithNATS(nats.UserCredentials(c.creds)))
	}
	if c.ca != "" {
		opts = append(opts, client.WithNATS(nats.RootCAs(c.ca)))
	}
	if c.cert != "" || c.key != "" {
		opts = append(opts, client.WithNATS(nats.ClientCert(c.cert, c.key)))
	}
	cl, err := client.Connect(url, opts...)
	if errors.Is(err, nats.ErrNoServers) {
		return nil, fmt.Errorf("no daemon answers at %s: is quietile serve running?", url)
	}
	return cl, err
}

// timeLayouts are the forms of a time on the command line and in files.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"}

// windowTime reads the flag that names a window by a time in it.
func windowTime(s string) (*int64, error) {
	t, err := parseTime(s)
	if err != nil {
		return nil, usagef("--window: %w", err)
	}
	return proto.Int64(t.UnixNano()), nil
}

// parseTime reads a time: RFC 3339 or a part of it, in UTC unless it says otherwise, or seconds since the
// Unix epoch.
func parseTime(s string) (time.Time, error) {
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			if y := t.Year(); y < 1678 || y > 2261 {
				return time.Time{}, fmt.Errorf("time %q is outside the years 1678 to 2261", s)
			}
			return t.UTC(), nil
		}
	}
	if seconds, err := strconv.ParseFloat(s, 64); err == nil && seconds > -9e9 && seconds < 9e9 {
		return time.Unix(0, int64(seconds*1e9)).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("time %q is neither like 2026-01-02T15:04:05Z nor seconds since 1970", s)
}

// timeFlag is the value of a flag that takes a time.
type timeFlag struct{ time.Time }

func (t *timeFlag) Type() string { return "time" }

func (t *timeFlag) String() string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func (t *timeFlag) Set(s string) (err error) {
	t.Time, err = parseTime(s)
	return err
}
