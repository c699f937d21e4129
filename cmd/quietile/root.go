package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

const rootLong = `Quietile counts values into mergeable sketches and answers quantiles of them with differential privacy.

Exit codes:
  0  done
  1  failed
  2  wrong usage: a flag, a missing column, a file that cannot be read, a bad policy; nothing was changed
  3  refused by the privacy budget; nothing was released

An error is one line on standard error that begins with "quietile:".`

// groupFiles is the group of the commands that need no daemon.
const groupFiles = "files"

// newRoot returns the command with all its subcommands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "quietile",
		Short:         "Streaming quantile sketches and private percentiles",
		Long:          rootLong,
		SilenceUsage:  true,
		SilenceErrors: true,
		Example: `  quietile demo
  zcat adult.csv.gz | quietile release - --column age -q 0.25,0.5,0.75 --epsilon 1 --min 0 --max 128
  cat part-*.csv | quietile map --no-header | LC_ALL=C sort | quietile reduce --format table`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return usagef("unknown command %q; did you mean %s?", args[0], near[0])
			}
			return usagef("unknown command %q; quietile --help lists the commands", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return asUsage(err) })
	root.AddGroup(
		&cobra.Group{ID: groupDaemon, Title: "The daemon and its metrics:"},
		&cobra.Group{ID: groupFiles, Title: "Work on files:"},
	)
	root.AddCommand(newDemoCommand(), newServeCommand(), newMetricCommand(), newPublishCommand(), newSealCommand(),
		newQueryCommand(), newBudgetCommand(), newPriorCommand(), newDumpCommand(), newLoadCommand())
	root.AddCommand(newPlanCommand())
	root.AddCommand(newReleaseCommand(), newMapCommand(), newReduceCommand(), newSketchCommand(), newHistCommand(), newAuditCommand())
	return root
}

// run executes a command line, without the program's name, and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(append([]string{}, args...))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "quietile: %s\n", explain(err))
	}
	return exitCode(err)
}
