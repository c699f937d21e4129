package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server"
	"github.com/quietile/quietile/server/policy"
)

func newServeCommand() *cobra.Command {
	var (
		opts  server.Options
		file  string
		level slog.Level
	)
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: groupDaemon,
		Short:   "Run the daemon: NATS server, ingest, store and release service in one process",
		Long: `Serve runs everything in one process: an embedded NATS server with JetStream on a loopback address, the
worker that counts samples, the store and the release service. All data lies in one directory, which one
daemon at a time may use; the address at which it listens is in the file url there.

Anybody on the machine may publish samples and ask for releases. Admins, who may read the data directory,
may also declare metrics, seal windows and dump raw sketches.

It runs until it is interrupted. Killing it loses nothing that a publisher was told is stored.`,
		Example: `  quietile serve --policy metrics.yaml
  quietile serve --data /var/lib/quietile --port 4222`,
		Args: positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var p *quietilev1.Policy
			if file != "" {
				var err error
				if p, err = policy.ParseFile(file); err != nil {
					return asUsage(err)
				}
			}
			opts.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			s, err := server.Start(cmd.Context(), opts)
			if loss := (*server.LossError)(nil); errors.As(err, &loss) {
				return fmt.Errorf("%w: --accept-loss starts all the same", err)
			}
			if err != nil {
				return err
			}
			if p != nil {
				changed, err := s.Apply(cmd.Context(), p)
				if err != nil {
					return errors.Join(asUsage(err), s.Close())
				}
				for _, m := range changed {
					opts.Logger.Info("metric declared", "metric", m.GetName(), "version", m.GetVersion())
				}
			}
			opts.Logger.Info("serving", "url", s.URL(), "data", opts.DataDir)
			err = s.Wait(cmd.Context())
			return errors.Join(err, s.Close())
		},
	}
	f := cmd.Flags()
	addData(cmd, &opts.DataDir)
	f.StringVar(&file, "policy", "", "YAML file with the sources and metrics to declare")
	f.StringVar(&opts.Host, "host", "127.0.0.1", "loopback address to listen on")
	f.IntVar(&opts.Port, "port", 0, "port to listen on (default 4222 or the next free one)")
	f.IntVar(&opts.Partitions, "partitions", 0, "partitions of a new data directory, which never change (default 16)")
	f.Int64Var(&opts.MaxStreamBytes, "max-stream-bytes", 4<<30, "limit of the stream of samples; publishers wait when it is full")
	f.DurationVar(&opts.AnswerSlot, "answer-slot", 100*time.Millisecond, "raster of the times at which fresh answers are sent")
	f.BoolVar(&opts.AcceptLoss, "accept-loss", false, "start although the stream lost samples before they were counted")
	f.TextVar(&level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	return cmd
}
