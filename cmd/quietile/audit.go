package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/dp/audit"
	"github.com/quietile/quietile/dp/exact"
)

func newAuditCommand() *cobra.Command {
	var mechanism string
	cmd := &cobra.Command{
		Use:     "audit",
		GroupID: groupFiles,
		Short:   "Measure the privacy loss of every mechanism",
		Long: `Audit runs the code of a release on small data sets under a sampler that follows every outcome of every draw,
computes the law of the answers, and compares it between all neighbours. On neighbours of up to 100,000 records, too
many to enumerate, it draws thousands of answers and bounds the loss from below. For each case it prints the largest
loss it found beside the one that is claimed. It ends with exit code 1 if any loss exceeds its claim. It needs no data
and takes a minute or so.`,
		Example: `  quietile audit
  quietile audit --mechanism recursive --format json`,
		Args: positional(cobra.NoArgs),
	}
	format := addFormat(cmd)
	cmd.Flags().StringVar(&mechanism, "mechanism", "", "audit this mechanism only")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var names []string
		var cases []func() (audit.Row, error)
		add := func(name string, run func() (audit.Row, error)) {
			names = append(names, name)
			if mechanism == "" || name == mechanism {
				cases = append(cases, run)
			}
		}
		for _, t := range audit.Trials() { // the longest first
			add(t.Mechanism, func() (audit.Row, error) { return t.Run(cmd.Context(), exact.New()) })
		}
		for _, c := range audit.Cases() {
			add(c.Mechanism, func() (audit.Row, error) { return c.Run(cmd.Context()) })
		}
		if cases == nil {
			slices.Sort(names)
			return usagef("--mechanism %q: there are %s", mechanism, strings.Join(slices.Compact(names), ", "))
		}
		bar := newCountProgress(cmd.ErrOrStderr(), int64(len(cases)), "audit", "cases")
		defer bar.Finish()
		all := make([]audit.Row, len(cases))
		errs := make([]error, len(cases))
		var cores sync.WaitGroup
		next := make(chan int)
		for range runtime.GOMAXPROCS(0) {
			cores.Go(func() {
				for i := range next {
					all[i], errs[i] = cases[i]()
					bar.Add(1)
				}
			})
		}
		for i := range cases {
			next <- i
		}
		close(next)
		cores.Wait()
		bar.Finish()
		var rows [][]string
		failed := 0
		for i, r := range all {
			if errs[i] != nil {
				return errs[i]
			}
			verdict := "holds"
			if !r.OK {
				verdict = "VIOLATED"
				failed++
			}
			measured := formatLoss(r.Worst)
			if r.Method == "drawing" {
				measured = "≥ " + measured
			}
			rows = append(rows, []string{r.Mechanism, r.Setting, strconv.Itoa(r.Pairs), formatNumber(r.Epsilon), measured, verdict, r.Data})
		}
		columns := []tableColumn{
			word("mechanism"), word("setting"), number("pairs"), number("claimed"), number("measured"), word("verdict"), word("worst pair"),
		}
		if err := printRows(cmd.OutOrStdout(), format.value, columns, rows, all); err != nil {
			return err
		}
		if failed > 0 {
			return fmt.Errorf("%d of %d cases lose more than is claimed", failed, len(all))
		}
		return nil
	}
	return cmd
}

// formatLoss prints a loss, rounded up so that none looks smaller than it is.
func formatLoss(x float64) string {
	if math.IsInf(x, 1) {
		return "infinite"
	}
	return strconv.FormatFloat(math.Ceil(x*1e6)/1e6, 'f', 6, 64)
}
