package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/histogram"
)

func newHistAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add FILE…",
		Short: "Add histograms up",
		Long: `Add the counts of all histograms of all files. Breaks must be equal, unless --breaks says onto which ones to add:

  common   those that cut no bucket of any histogram: every count stays whole, and buckets become coarser
  union    all breaks of all: a count whose bucket is cut is spread evenly over the parts
  LIST     these, such as 0,1,2.5: spread as well

Then the loss is said too: any values that were counted, and any that the sum may be taken to count, have distribution
functions at most KSDCC apart, with an area of at most EMDCC between them, where 1 is the whole width. "of breaks" is the part that
comes from different breaks. It is a line on standard error where the output is no table and no JSON.`,
		Example: `  quietile hist add monday.pb tuesday.pb -o both.pb
  quietile hist add coarse.pb fine.pb --breaks common
  quietile hist add coarse.pb fine.pb --breaks union --format json`,
		Args: cobra.ArbitraryArgs,
	}
	input, output := addHistInput(cmd), addHistOutput(cmd)
	breaks := addBreaks(cmd, "breaks", "breaks of the sum, if those of the histograms differ", breaksCommon, breaksUnion)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.check(cmd); err != nil {
			return err
		}
		all, err := input.read(cmd, args)
		if err != nil {
			return err
		}
		hs := make([]*histogram.Histogram, len(all))
		for i, n := range all {
			hs[i] = n.histogram
		}
		if !breaks.given() {
			sum, err := histogram.Add(hs...)
			if err != nil {
				return histsProblem(all, err)
			}
			return output.write(cmd, []named{{all[0].file, sum}})
		}
		on, err := breaks.shared(hs)
		if err != nil {
			return histsProblem(all, err)
		}
		sum, loss, err := histogram.AddOnto(on, hs...)
		if err != nil {
			return histsProblem(all, err)
		}
		return writeSum(cmd, output, named{all[0].file, sum}, newSumLossView(loss))
	}
	return cmd
}

// histsProblem names the file of each histogram that the error may mean by its index.
func histsProblem(all []named, err error) error {
	err = histProblem(err)
	if len(all) < 2 {
		return fmt.Errorf("%s: %w", all[0].label(), err)
	}
	const most = 3
	files := ""
	for i, n := range all[:min(len(all), most)] {
		if i > 0 {
			files += ", "
		}
		files += n.label()
	}
	if len(all) > most {
		files += ", …"
	}
	return fmt.Errorf("%s: %w", files, err)
}

// sumLossView is what a sum on other breaks loses. The names of its JSON fields do not change.
type sumLossView struct {
	KSDCC      float64 `json:"ksdcc"`
	EMDCC      float64 `json:"emdcc"`
	AddedKSDCC float64 `json:"added_ksdcc"`
	AddedEMDCC float64 `json:"added_emdcc"`
}

func newSumLossView(l histogram.Loss) sumLossView {
	return sumLossView{l.KSDCC, l.EMDCC, l.AddedKSDCC, l.AddedEMDCC}
}

func (l sumLossView) String() string {
	return fmt.Sprintf("loss: KSDCC %s, of which %s of breaks; EMDCC %s, of which %s of breaks",
		compactNumber(l.KSDCC), compactNumber(l.AddedKSDCC), compactNumber(l.EMDCC), compactNumber(l.AddedEMDCC))
}

// writeSum writes a sum with its loss.
func writeSum(cmd *cobra.Command, output *histOutput, sum named, loss sumLossView) error {
	switch output.format() {
	case formatJSON:
		return writeOutput(cmd, output.name, func(w io.Writer) error {
			return json.NewEncoder(w).Encode(struct {
				histState
				Loss sumLossView `json:"loss"`
			}{histStateOf(sum.histogram), loss})
		})
	case formatTable:
		if err := output.write(cmd, []named{sum}); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "\n%s\n", loss)
		return err
	}
	if err := output.write(cmd, []named{sum}); err != nil {
		return err
	}
	_, err := fmt.Fprintln(cmd.ErrOrStderr(), loss)
	return err
}

func newHistIntersectCommand() *cobra.Command {
	return newHistCommandOf(&cobra.Command{
		Use:   "intersect FILE…",
		Short: "Take the smaller count of each bucket of two histograms",
		Long:  "Take the smaller of the two counts of each bucket. There must be two histograms, in one file or two, with equal breaks.",
		Example: `  quietile hist intersect monday.pb tuesday.pb
  quietile hist intersect reads.dtrace --name sh --name make --format json`,
	}).apply(func(all []named) ([]named, error) {
		a, b, err := pairOf(all)
		if err != nil {
			return nil, err
		}
		both, err := histogram.Intersect(a, b)
		if err != nil {
			return nil, histsProblem(all, err)
		}
		return []named{{all[0].file, both}}, nil
	})
}

// pairOf returns two histograms if these are all.
func pairOf(all []named) (a, b *histogram.Histogram, err error) {
	if len(all) != 2 {
		return nil, nil, usagef("two histograms are compared, and there are %d: name two files, or pick two with --name; %s", len(all), namesOf(all))
	}
	return all[0].histogram, all[1].histogram, nil
}

func newHistScaleCommand() *cobra.Command {
	var factor float64
	c := newHistCommandOf(&cobra.Command{
		Use:     "scale [FILE…|-]",
		Short:   "Multiply counts, or turn them into shares",
		Long:    "Multiply all counts by a factor. Without --factor they are divided by their sum, and become shares.",
		Example: "  quietile hist scale latency.pb\n  quietile hist scale sample.pb --factor 100 --format json",
	})
	c.cmd.Flags().Float64Var(&factor, "factor", 1, "what to multiply with, at least 0 (default: 1 over the sum)")
	return c.apply(mapHists(func(h *histogram.Histogram) (*histogram.Histogram, error) {
		if c.cmd.Flags().Changed("factor") {
			return h.Scale(factor)
		}
		return h.Normalize()
	}))
}

func newHistTrimCommand() *cobra.Command {
	var left, right bool
	c := newHistCommandOf(&cobra.Command{
		Use:     "trim [FILE…|-]",
		Short:   "Drop empty buckets at the ends",
		Long:    "Drop the empty buckets at both ends, or with --left or --right at one. A histogram of nothing is an error.",
		Example: "  quietile hist trim latency.pb -o short.pb\n  quietile hist trim reads.dtrace --name make --left",
	})
	c.cmd.Flags().BoolVar(&left, "left", false, "at the lower end only")
	c.cmd.Flags().BoolVar(&right, "right", false, "at the upper end only")
	return c.apply(mapHists(func(h *histogram.Histogram) (*histogram.Histogram, error) {
		switch {
		case left && !right:
			return h.TrimLeft()
		case right && !left:
			return h.TrimRight()
		}
		return h.Trim()
	}))
}

func newHistSubsetCommand() *cobra.Command {
	lower, upper := math.Inf(-1), math.Inf(1)
	c := newHistCommandOf(&cobra.Command{
		Use:     "subset [FILE…|-]",
		Short:   "Take the buckets between two breaks",
		Long:    "Take the buckets from the break --min to the break --max. Both must be breaks of the histogram; without one of them it goes to the end.",
		Example: "  quietile hist subset latency.pb --min 1 --max 8 --format csv",
	})
	c.cmd.Flags().Float64Var(&lower, "min", lower, "the break to begin at")
	c.cmd.Flags().Float64Var(&upper, "max", upper, "the break to end at")
	return c.apply(mapHists(func(h *histogram.Histogram) (*histogram.Histogram, error) { return h.Subset(lower, upper) }))
}

func newHistMergeCommand() *cobra.Command {
	var adjacent, number int
	c := newHistCommandOf(&cobra.Command{
		Use:   "merge [FILE…|-]",
		Short: "Merge neighbouring buckets",
		Long: `Merge neighbouring buckets, by one of

  --adjacent K   each K become one; the last may be of fewer
  --number N     equally many each, so that at most N are left
  --breaks LIST  those between the breaks of the list, which are some of the histogram's, both ends among them

Files are added up with "quietile hist add". "quietile hist rebin" chooses buckets that lose least.`,
		Example: "  quietile hist merge latency.pb --adjacent 2\n  quietile hist merge latency.pb --number 10 -o ten.pb\n  quietile hist merge latency.pb --breaks 0,1,8 --format json",
	})
	c.cmd.Flags().IntVar(&adjacent, "adjacent", 0, "how many become one")
	c.cmd.Flags().IntVar(&number, "number", 0, "how many to leave at most")
	breaks := addBreaks(c.cmd, "breaks", "breaks to leave")
	c.cmd.MarkFlagsMutuallyExclusive("adjacent", "number", "breaks")
	c.cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		given := 0
		for _, name := range []string{"adjacent", "number", "breaks"} {
			if cmd.Flags().Changed(name) {
				given++
			}
		}
		if given != 1 {
			return usagef("one of --adjacent, --number and --breaks is required")
		}
		return nil
	}
	return c.apply(mapHists(func(h *histogram.Histogram) (*histogram.Histogram, error) {
		switch {
		case breaks.given():
			return h.MergeBucketsAt(breaks.breaks)
		case c.cmd.Flags().Changed("number"):
			return h.MergeBucketsTo(number)
		}
		return h.MergeBuckets(adjacent)
	}))
}

// The criteria of --by.
const (
	byEMDCC   = "emdcc"
	bySquares = "squares"
)

func newHistRebinCommand() *cobra.Command {
	var k int
	c := newHistCommandOf(&cobra.Command{
		Use:   "rebin [FILE…|-] -k N",
		Short: "Merge buckets such that least is lost",
		Long: `Merge neighbouring buckets into exactly N, such that no other choice of N buckets loses less: by the EMDCC, the width of a
value's bucket on average, or by the squared error of the density.`,
		Example: "  quietile hist rebin latency.pb -k 20 -o twenty.pb\n  quietile hist rebin latency.pb -k 20 --by squares --format json",
	})
	c.cmd.Flags().IntVarP(&k, "number", "k", 0, "how many buckets to leave")
	by := addChoice(c.cmd, "by", "what is to be least", byEMDCC, byEMDCC, bySquares)
	c.cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return requireFlags(cmd, "number") }
	return c.apply(mapHists(func(h *histogram.Histogram) (*histogram.Histogram, error) {
		if by.value == bySquares {
			return h.RebinLeastSquares(k)
		}
		return h.Rebin(k)
	}))
}
