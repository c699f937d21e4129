package main

import (
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/sketch"
)

// printRows prints rows as a table or CSV, or view as JSON.
func printRows(w io.Writer, format string, columns []tableColumn, rows [][]string, view any) error {
	switch format {
	case formatJSON:
		return printJSON(w, view)
	case formatCSV:
		header := make([]string, len(columns))
		for i, c := range columns {
			header[i] = c.name
		}
		return printCSV(w, header, rows)
	}
	return printTable(w, columns, rows)
}

func newMetricCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "metric",
		GroupID: groupDaemon,
		Short:   "Declare and show metrics",
		Long: `Metrics exist by declaration only. A policy file names sources of data, each with a privacy budget, and the
metrics on them with their grids, windows and contribution bounds.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args: positional(cobra.NoArgs),
	}
	cmd.AddCommand(newMetricApplyCommand(), newMetricListCommand(), newMetricShowCommand())
	return cmd
}

func newMetricApplyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Declare the sources and metrics of a policy file (for admins)",
		Long: `Apply declares what a policy file names. What is declared already and not named stays as it is. A changed
metric gets a new version, which is in force from the start of its next budget period.`,
		Example: "  quietile metric apply metrics.yaml",
		Args:    positional(cobra.ExactArgs(1)),
	}
	where := addConnection(cmd)
	format := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := policy.ParseFile(args[0])
		if err != nil {
			return asUsage(err)
		}
		c, err := where.dialAdmin()
		if err != nil {
			return err
		}
		defer c.Close()
		changed, err := c.Apply(cmd.Context(), p)
		if err != nil {
			return refusal(err)
		}
		return printMetrics(cmd.OutOrStdout(), format.value, changed, nil)
	}
	return cmd
}

func newMetricListCommand() *cobra.Command {
	var counters bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what is declared",
		Long: `List shows each metric in its latest version. With --counters an admin also sees how many samples were
counted, came late, exceeded a contribution bound or are in the dead letters. These counters are exact and
outside the privacy guarantee.`,
		Example: "  quietile metric list --counters",
		Args:    positional(cobra.NoArgs),
	}
	where := addConnection(cmd)
	format := addFormat(cmd)
	cmd.Flags().BoolVar(&counters, "counters", false, "add the operator's counters (for admins)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dial := where.dial
		if counters {
			dial = where.dialAdmin
		}
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.Close()
		info, err := c.Info(cmd.Context())
		if err != nil {
			return err
		}
		var status *quietilev1.Status
		if counters {
			if status, err = c.Status(cmd.Context()); err != nil {
				return err
			}
		}
		return printMetrics(cmd.OutOrStdout(), format.value, info.GetPolicy().GetMetrics(), status)
	}
	return cmd
}

func newMetricShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show METRIC",
		Short:   "Print the declaration of a metric and its source as a policy file",
		Long:    `Show prints the latest version of a metric and the source whose budget it spends, in the form that apply reads.`,
		Example: "  quietile metric show checkout-latency > metric.yaml",
		Args:    positional(cobra.ExactArgs(1)),
	}
	where := addConnection(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := where.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		info, err := c.Info(cmd.Context())
		if err != nil {
			return err
		}
		one := new(quietilev1.Policy)
		for _, m := range info.GetPolicy().GetMetrics() {
			if m.GetName() == args[0] {
				one.Metrics = append(one.Metrics, m)
			}
		}
		if len(one.Metrics) == 0 {
			return usagef("unknown metric %q", args[0])
		}
		for _, s := range info.GetPolicy().GetSources() {
			if s.GetName() == one.Metrics[0].GetSource() {
				one.Sources = append(one.Sources, s)
			}
		}
		text, err := policy.Format(one)
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	return cmd
}

// metricView is a metric as it is printed.
type metricView struct {
	Metric        string        `json:"metric"`
	Version       uint32        `json:"version"`
	Source        string        `json:"source"`
	Unit          string        `json:"unit"`
	Grid          string        `json:"grid"`
	Clock         string        `json:"clock"`
	WindowSeconds float64       `json:"window_seconds"`
	Counters      *countersView `json:"counters,omitempty"`
}

type countersView struct {
	Accepted uint64 `json:"accepted"`
	Late     uint64 `json:"late"`
	Excess   uint64 `json:"excess"`
	Dead     uint64 `json:"dead"`
}

func printMetrics(w io.Writer, format string, metrics []*quietilev1.Metric, status *quietilev1.Status) error {
	columns := []tableColumn{word("metric"), number("version"), word("source"), word("unit"), word("clock"), number("window"), word("grid")}
	if status != nil {
		columns = append(columns, number("accepted"), number("late"), number("excess"), number("dead"))
	}
	counters := map[string]*countersView{}
	for _, s := range status.GetMetrics() {
		counters[s.GetMetric()] = &countersView{s.GetAccepted(), s.GetLate(), s.GetExcess(), s.GetDead()}
	}
	views := []metricView{}
	var rows [][]string
	for _, m := range metrics {
		g, err := sketch.GridFromProto(m.GetGrid())
		if err != nil {
			return err
		}
		window := time.Duration(m.GetWindowNanos())
		v := metricView{
			Metric: m.GetName(), Version: m.GetVersion(), Source: m.GetSource(), Unit: unitName(m.GetUnit()),
			Grid: g.String(), Clock: "stream", WindowSeconds: window.Seconds(), Counters: counters[m.GetName()],
		}
		if m.GetClock() == quietilev1.Clock_CLOCK_MANUAL {
			v.Clock = "manual"
		}
		row := []string{v.Metric, strconv.Itoa(int(v.Version)), v.Source, v.Unit, v.Clock, window.String(), v.Grid}
		if c := v.Counters; c != nil {
			for _, n := range []uint64{c.Accepted, c.Late, c.Excess, c.Dead} {
				row = append(row, strconv.FormatUint(n, 10))
			}
		}
		views, rows = append(views, v), append(rows, row)
	}
	return printRows(w, format, columns, rows, views)
}

func newSealCommand() *cobra.Command {
	var through timeFlag
	cmd := &cobra.Command{
		Use:     "seal METRIC --through TIME",
		GroupID: groupDaemon,
		Short:   "Seal the windows of a metric with clock manual (for admins)",
		Long: `Seal closes every window of the metric that ends at or before a time. Only sealed windows are released. What
comes later for them is late: it is dropped and counted for operators. Metrics with the stream's clock seal
their windows by themselves.`,
		Example: "  quietile seal adult-age --through 2026-03-02T00:00:00Z",
		Args:    positional(cobra.ExactArgs(1)),
	}
	where := addConnection(cmd)
	cmd.Flags().Var(&through, "through", "seal what ends at or before this time")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := requireFlags(cmd, "through"); err != nil {
			return err
		}
		c, err := where.dialAdmin()
		if err != nil {
			return err
		}
		defer c.Close()
		return refusal(c.Seal(cmd.Context(), args[0], through.Time))
	}
	return cmd
}
