package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/histogram"
)

const histDistanceLong = `Print how far apart two histograms are.

There must be two, in one file or two, with equal breaks. --breaks common or union or LIST puts both on shared breaks
before: common ones cut no bucket, otherwise counts are spread evenly.

Of counts:   minkowski1, minkowski2 …   (Σ|a−b|^p)^(1/p), for each p of -p
             intersection               1 − Σmin(a, b)/Σb, not symmetric
Of shares:   kullback_leibler           of the first from the second, in nats; infinite where only the second is empty
             jeffrey                    of both from their mean, in nats
             total_variation            the largest difference of the shares in any buckets
             hellinger                  √(½·Σ(√a−√b)²)
             kolmogorov_smirnov         the largest difference of shares up to a break
             wasserstein                how far values must move on average, in the unit of the breaks

What is infinite is null in JSON. "-" is what has no answer, such as the Wasserstein distance where a bucket reaches to infinity.`

// histDistances are the distances but for those of Minkowski, by their JSON names.
var histDistances = []struct {
	name string
	of   func(a, b *histogram.Histogram) (float64, error)
}{
	{"intersection", histogram.Intersection},
	{"kullback_leibler", histogram.KullbackLeibler},
	{"jeffrey", histogram.Jeffrey},
	{"total_variation", histogram.TotalVariation},
	{"hellinger", histogram.Hellinger},
	{"kolmogorov_smirnov", histogram.KolmogorovSmirnov},
	{"wasserstein", histogram.Wasserstein},
}

// histDistance is a distance by its name; nil if there is none.
type histDistance struct {
	name  string
	value *edge
}

func newHistDistanceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "distance FILE…",
		Short: "Print how far apart two histograms are",
		Long:  histDistanceLong,
		Example: `  quietile hist distance monday.pb tuesday.pb
  quietile hist distance reads.dtrace --name sh --name make --breaks union --format json`,
		Args: cobra.ArbitraryArgs,
	}
	input := addHistInput(cmd)
	orders := &numberList{values: []float64{1, 2, 3}, least: 0, most: math.Inf(1)}
	cmd.Flags().VarP(orders, "orders", "p", "orders of Minkowski distances, such as 1,2,inf")
	breaks := addBreaks(cmd, "breaks", "breaks to put both on before", breaksCommon, breaksUnion)
	format := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, err := input.read(cmd, args)
		if err != nil {
			return err
		}
		a, b, err := pairOf(all)
		if err != nil {
			return err
		}
		if breaks.given() {
			if a, b, err = ontoShared(a, b, breaks); err != nil {
				return histsProblem(all, err)
			}
		}
		distances, err := distancesOf(a, b, orders.values)
		if err != nil {
			err = histsProblem(all, err)
			if !breaks.given() {
				err = fmt.Errorf("%w; --breaks common puts both on shared ones", err)
			}
			return err
		}
		return printDistances(cmd, format.value, all, distances)
	}
	return cmd
}

// ontoShared returns both histograms on shared breaks.
func ontoShared(a, b *histogram.Histogram, breaks *breaksValue) (onA, onB *histogram.Histogram, err error) {
	on, err := breaks.shared([]*histogram.Histogram{a, b})
	if err != nil {
		return nil, nil, err
	}
	if onA, err = a.Onto(on); err == nil {
		onB, err = b.Onto(on)
	}
	return onA, onB, err
}

// distancesOf returns all distances.
func distancesOf(a, b *histogram.Histogram, orders []float64) ([]histDistance, error) {
	var distances []histDistance
	for _, p := range orders {
		d, err := histogram.Minkowski(a, b, p)
		if err != nil {
			return nil, err
		}
		name := "minkowski" + formatNumber(p)
		if math.IsInf(p, 1) {
			name = "minkowski_inf"
		}
		distances = append(distances, histDistance{name, edgeOf(d)})
	}
	for _, d := range histDistances {
		distances = append(distances, histDistance{d.name, optional(d.of(a, b))})
	}
	return distances, nil
}

func printDistances(cmd *cobra.Command, format string, all []named, distances []histDistance) error {
	out := cmd.OutOrStdout()
	type side struct {
		File string `json:"file"`
		Name string `json:"name"`
	}
	first, second := side{all[0].file, all[0].histogram.Name}, side{all[1].file, all[1].histogram.Name}
	switch format {
	case formatJSON:
		var b bytes.Buffer
		b.WriteString(`{"first": `)
		if err := json.NewEncoder(&b).Encode(first); err != nil {
			return err
		}
		b.WriteString(`, "second": `)
		if err := json.NewEncoder(&b).Encode(second); err != nil {
			return err
		}
		for _, d := range distances {
			value, err := json.Marshal(d.value)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, ", %q: %s", d.name, value)
		}
		b.WriteString("}")
		return printJSON(out, json.RawMessage(b.Bytes()))
	case formatCSV:
		var rows [][]string
		for _, d := range distances {
			rows = append(rows, []string{first.File, first.Name, second.File, second.Name, d.name, exactCell(d.value)})
		}
		return printCSV(out, []string{"first_file", "first_name", "second_file", "second_name", "distance", "value"}, rows)
	}
	var rows [][]string
	for _, d := range distances {
		rows = append(rows, []string{d.name, cellOf(d.value)})
	}
	return printTable(out, []tableColumn{word("distance"), number("value")}, rows)
}

// lossOfView is what a histogram leaves open. The names of its JSON fields do not change.
type lossOfView struct {
	File string `json:"file"`
	Name string `json:"name"`
	// KSDCC and EMDCC are from 0 to 1; EMDCC is nil where a bucket reaches to infinity.
	KSDCC edge  `json:"ksdcc"`
	EMDCC *edge `json:"emdcc"`
	// Lower and Upper bound the fullest bucket, which KSDCC comes from.
	Lower edge `json:"lower"`
	Upper edge `json:"upper"`
}

func newHistLossCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "loss [FILE…|-]",
		Short: "Print how much a histogram leaves open",
		Long: `Print how much a histogram leaves open about the values that it counts. Two data sets that have the same histogram have
distribution functions at most KSDCC apart, and the area between these is at most EMDCC, where 1 is the width of the whole
histogram. KSDCC is the share of the fullest bucket, which "lower" and "upper" bound; EMDCC the width of a value's bucket on
average. EMDCC is "-", and null in JSON, where a bucket reaches to infinity.`,
		Example: "  quietile hist loss latency.pb\n  quietile hist loss reads.dtrace --format json",
		Args:    cobra.ArbitraryArgs,
	}
	input := addHistInput(cmd)
	format := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, err := input.read(cmd, args)
		if err != nil {
			return err
		}
		views := make([]lossOfView, len(all))
		for i, n := range all {
			bucket, share, err := n.histogram.FullestBucket()
			if err != nil {
				return fmt.Errorf("%s: %w", n.label(), err)
			}
			lower, upper := n.histogram.Bounds(bucket)
			views[i] = lossOfView{n.file, n.histogram.Name, edge(share), optional(n.histogram.EMDCC()), edge(lower), edge(upper)}
		}
		return printLosses(cmd, format.value, all, views)
	}
	return cmd
}

func printLosses(cmd *cobra.Command, format string, all []named, views []lossOfView) error {
	out := cmd.OutOrStdout()
	switch format {
	case formatJSON:
		return printJSON(out, oneOrAll(views))
	case formatCSV:
		var rows [][]string
		for _, v := range views {
			rows = append(rows, []string{v.File, v.Name, v.KSDCC.String(), exactCell(v.EMDCC), v.Lower.String(), v.Upper.String()})
		}
		return printCSV(out, []string{"file", "name", "ksdcc", "emdcc", "lower", "upper"}, rows)
	}
	labels := histLabelsOf(all)
	var rows [][]string
	for i, v := range views {
		rows = append(rows, append(labels.cells(all[i]), v.KSDCC.compact(), cellOf(v.EMDCC), v.Lower.compact(), v.Upper.compact()))
	}
	return printTable(out, append(labels.columns(), number("KSDCC"), number("EMDCC"), number("lower"), number("upper")), rows)
}
