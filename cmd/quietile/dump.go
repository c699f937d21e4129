package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

func newDumpCommand() *cobra.Command {
	var window, output string
	cmd := &cobra.Command{
		Use:     "dump METRIC",
		GroupID: groupDaemon,
		Short:   "Write the raw sketches of a metric's windows to a file (for admins)",
		Long: `Dump writes one segment for each window that holds anything, or for one window. The sketches are raw: they
are for those who may see the data, and load puts them into another store. The budget that was spent does not
travel with them.`,
		Example: `  quietile dump checkout-latency -o latency.qtd
  quietile dump checkout-latency --window 2026-03-01T06:00:00Z > one.qtd`,
		Args: positional(cobra.ExactArgs(1)),
	}
	where := addConnection(cmd)
	cmd.Flags().StringVar(&window, "window", "all", "all, or a time inside the window")
	cmd.Flags().StringVarP(&output, "output", "o", "-", "file to write")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		var at timeFlag
		if window != "all" {
			if err := at.Set(window); err != nil {
				return usagef("--window: %w", err)
			}
		}
		c, err := where.dialAdmin()
		if err != nil {
			return err
		}
		defer c.Close()
		starts, err := c.Windows(cmd.Context(), args[0])
		if err != nil {
			return refusal(err)
		}
		if window != "all" {
			starts = append(starts[:0], at.Time)
		}
		return writeOutput(cmd, output, func(w io.Writer) error {
			if len(starts) == 0 {
				// A dump without sketches is a dump, too.
				d, err := dump.NewWriter(w, &quietilev1.DumpHeader{Producer: "quietile dump", Metric: args[0]})
				if err != nil {
					return err
				}
				return d.Close()
			}
			for _, start := range starts {
				raw, err := c.Dump(cmd.Context(), args[0], start)
				if err != nil {
					return refusal(err)
				}
				s, err := sketch.FromProto(raw.GetSketch())
				if err != nil {
					return err
				}
				d, err := dump.NewWriter(w, &quietilev1.DumpHeader{
					Producer: "quietile dump", Metric: args[0],
					WindowStartUnixNano: proto.Int64(raw.GetWindowStartUnixNano()),
					WindowEndUnixNano:   proto.Int64(raw.GetWindowEndUnixNano()),
				})
				if err != nil {
					return err
				}
				if err := errors.Join(d.Write(args[0], s), d.Close()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

// writeOutput writes to standard output for "-", or to a file that appears only when all is written.
func writeOutput(cmd *cobra.Command, name string, write func(io.Writer) error) error {
	if name == "-" {
		w := bufio.NewWriter(cmd.OutOrStdout())
		if err := write(w); err != nil {
			return err
		}
		return w.Flush()
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".quietile-*")
	if err != nil {
		return asUsage(err)
	}
	w := bufio.NewWriter(f)
	if err := errors.Join(write(w), w.Flush(), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), name)
}

func newLoadCommand() *cobra.Command {
	var metric string
	cmd := &cobra.Command{
		Use:     "load FILE|-",
		GroupID: groupDaemon,
		Short:   "Add dumped sketches to the windows they came from (for admins)",
		Long: `Load adds every sketch of a dump to its window of a metric that is declared here with the same grid and
window. The whole file is checked before anything is added. Windows must not be sealed. Loading a file twice
counts it twice.`,
		Example: "  quietile load latency.qtd",
		Args:    positional(cobra.ExactArgs(1)),
	}
	where := addConnection(cmd)
	cmd.Flags().StringVar(&metric, "metric", "", "metric to load into (default the one that was dumped)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, err := openInput(cmd, args[0])
		if err != nil {
			return err
		}
		defer in.Close()
		records, err := dump.ReadAll(in)
		if err != nil {
			return fmt.Errorf("%s: %w; nothing was loaded", in.name, err)
		}
		c, err := where.dialAdmin()
		if err != nil {
			return err
		}
		defer c.Close()
		var count uint64
		for i, r := range records {
			w := &quietilev1.WindowSketch{
				Metric:              r.Header.GetMetric(),
				WindowStartUnixNano: r.Header.GetWindowStartUnixNano(),
				WindowEndUnixNano:   r.Header.GetWindowEndUnixNano(),
				Sketch:              r.Sketch.Proto(),
			}
			if metric != "" {
				w.Metric = metric
			}
			if r.Header.WindowStartUnixNano == nil || w.Metric == "" {
				return fmt.Errorf("%s: sketch %d of %d: the dump names no window of a metric", in.name, i+1, len(records))
			}
			if err := c.Load(cmd.Context(), w); err != nil {
				return fmt.Errorf("%s: sketch %d of %d, those before it are loaded: %w", in.name, i+1, len(records), refusal(err))
			}
			count += r.Sketch.Count()
		}
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "loaded %d sketches with %d samples\n", len(records), count)
		return err
	}
	return cmd
}
