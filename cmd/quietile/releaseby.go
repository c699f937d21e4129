package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/labels"
	"github.com/quietile/quietile/sketch"
)

// groupFlags are the flags of a release that knows units or groups.
type groupFlags struct {
	unitColumn     string
	by             []string
	groupsPerUnit  int
	selectionShare float64
	countShare     float64
}

func addGroupFlags(cmd *cobra.Command) *groupFlags {
	var g groupFlags
	flags := cmd.Flags()
	flags.StringVar(&g.unitColumn, "unit-column", "", "column that names the unit of a row: of each the first --contributions rows are taken")
	flags.StringSliceVar(&g.by, "by", nil, "columns of labels: a release for each group of rows with the same labels")
	flags.IntVar(&g.groupsPerUnit, "groups-per-unit", 0, "with --by: groups in which the rows of one unit are taken (default: --contributions)")
	flags.Float64Var(&g.selectionShare, "selection-share", 0.2, "with --by: the share of --epsilon for deciding which labels appear")
	flags.Float64Var(&g.countShare, "count-share", 0.1, "with --by: the share of --epsilon for the groups' sizes; 0 for none")
	return &g
}

// check makes the checks that need no input.
func (g *groupFlags) check(cmd *cobra.Command, f *releaseFlags) error {
	given := cmd.Flags().Changed
	if len(g.by) == 0 {
		for _, flag := range []string{"groups-per-unit", "selection-share", "count-share"} {
			if given(flag) {
				return usagef("--%s needs --by", flag)
			}
		}
	}
	if len(g.by) == 0 && g.unitColumn == "" {
		return nil
	}
	if !given("column") {
		return usagef("--by and --unit-column need --column: they are for tables")
	}
	names, flags := g.by, make([]string, len(g.by))
	for i := range flags {
		flags[i] = "by"
	}
	if g.unitColumn != "" {
		names, flags = append(names, g.unitColumn), append(flags, "unit-column")
	}
	if err := checkColumns(!f.noHeader, flags, names); err != nil {
		return err
	}
	if len(g.by) == 0 {
		return nil
	}
	if f.contributions > 1 && g.unitColumn == "" {
		return usagef("--by with --contributions %d needs --unit-column: how many units have a label decides whether it appears", f.contributions)
	}
	for _, share := range []struct {
		flag  string
		value float64
	}{{"selection-share", g.selectionShare}, {"count-share", g.countShare}} {
		if !(share.value >= 0 && share.value < 1) {
			return usagef("--%s %s is not in [0, 1)", share.flag, formatNumber(share.value))
		}
	}
	return nil
}

// divide returns the options of a release of groups, which divide the ε of options.
func (g *groupFlags) divide(options dp.Options, grid *sketch.Grid, delta float64) (labels.Options, error) {
	share := func(x float64) dp.Epsilon {
		part := new(big.Rat).SetFloat64(x)
		part.Mul(part, new(big.Rat).SetInt64(int64(options.Epsilon)))
		return dp.Epsilon(new(big.Int).Quo(part.Num(), part.Denom()).Int64())
	}
	o := labels.Options{
		Options: options, Grid: grid, Selection: share(g.selectionShare), Count: share(g.countShare), Delta: delta, GroupsPerUnit: g.groupsPerUnit,
	}
	o.Epsilon -= o.Selection + o.Count
	return o, asUsage(o.Validate())
}

// A rowTaker takes at most so many rows of a unit, in at most so many groups. What it takes of a unit depends on the rows of that unit alone.
type rowTaker struct {
	rows, groups int
	units        map[string]*taken
}

// taken is what was taken of a unit.
type taken struct {
	rows   int
	groups []*labels.Group
}

// take says whether a row of a unit is taken, and whether it is the unit's first in the group.
func (t *rowTaker) take(unit []byte, group *labels.Group) (ok, first bool) {
	u := t.units[string(unit)]
	if u == nil {
		u = &taken{}
		t.units[string(unit)] = u
	}
	if u.rows == t.rows {
		return false, false
	}
	first = true
	for _, g := range u.groups {
		first = first && g != group
	}
	if first {
		if len(u.groups) == t.groups {
			return false, false
		}
		u.groups = append(u.groups, group)
	}
	u.rows++
	return true, first
}

// readGroups counts the values of a table by group: one group with an empty label without --by.
func (f *releaseFlags) readGroups(in io.Reader, grid *sketch.Grid) (metric string, groups []labels.Group, err error) {
	g := f.groups
	columns := append([]string{f.column}, g.by...)
	if g.unitColumn != "" {
		columns = append(columns, g.unitColumn)
	}
	rows, err := newColumnReader(in, byte(*f.delimiter), !f.noHeader, columns)
	if err != nil {
		return "", nil, err
	}
	found := map[string]*labels.Group{}
	if len(g.by) == 0 {
		found[""] = &labels.Group{Sketch: sketch.NewBinned(grid)}
	}
	taker := rowTaker{rows: f.contributions, groups: g.groupsPerUnit, units: map[string]*taken{}}
	if taker.groups == 0 {
		taker.groups = f.contributions
	}
	var label []byte
	for {
		cells, err := rows.read()
		switch {
		case errors.Is(err, io.EOF):
			for _, group := range found {
				groups = append(groups, *group)
			}
			return rows.names[0], groups, nil
		case f.skipInvalid && isRowError(err):
			continue
		case err != nil:
			return "", nil, err
		}
		x, ok := parseValue(cells[0])
		if !ok || math.IsNaN(x) {
			if f.skipInvalid {
				continue
			}
			return "", nil, &rowError{rows.line(), shorten(cells[0]) + " is not a number"}
		}
		var unit []byte
		if g.unitColumn != "" {
			if unit = bytes.TrimSpace(cells[len(cells)-1]); len(unit) == 0 {
				if f.skipInvalid {
					continue
				}
				return "", nil, &rowError{rows.line(), "the unit is empty"}
			}
		}
		label = label[:0]
		for i := range g.by {
			cell := bytes.TrimSpace(cells[1+i])
			label = strconv.AppendInt(label, int64(len(cell)), 10) // so that no two lists of labels look alike
			label = append(append(label, ':'), cell...)
		}
		group := found[string(label)]
		if group == nil {
			group = &labels.Group{Label: string(label), Sketch: sketch.NewBinned(grid)}
			found[group.Label] = group
		}
		first := true
		if g.unitColumn != "" {
			if ok, first = taker.take(unit, group); !ok {
				continue
			}
		}
		if first {
			group.Units++
		}
		group.Sketch.Add(x)
	}
}

// splitLabel returns the labels that readGroups joined.
func splitLabel(s string) []string {
	var parts []string
	for s != "" {
		size, rest, _ := strings.Cut(s, ":")
		n, err := strconv.Atoi(size)
		if err != nil || n > len(rest) {
			return append(parts, s) // not reached: readGroups wrote it
		}
		parts, s = append(parts, rest[:n]), rest[n:]
	}
	return parts
}

// groupsView is a release of groups as it is printed.
type groupsView struct {
	Metric        string      `json:"metric"`
	By            []string    `json:"by"`
	Estimator     string      `json:"estimator"`
	Epsilon       json.Number `json:"epsilon"`
	Delta         float64     `json:"delta"`
	Neighbours    string      `json:"neighbours"`
	Unit          string      `json:"unit"`
	Contributions int         `json:"contributions"`
	Prior         string      `json:"prior"`
	// Confidence is that of the rank errors of each group, absent if there are none.
	Confidence float64     `json:"confidence,omitempty"`
	Groups     []groupView `json:"groups"`
}

// groupView is one group.
type groupView struct {
	Labels    []string       `json:"labels"`
	Count     *int64         `json:"count"`
	Quantiles []quantileView `json:"quantiles"`
}

// runGroups releases a table by groups.
func (f *releaseFlags) runGroups(cmd *cobra.Command, in io.Reader, grid *sketch.Grid, options dp.Options) error {
	o, err := f.groups.divide(options, grid, f.delta.float64())
	if err != nil {
		return err
	}
	chosen, _, err := o.Chosen(grid)
	if err != nil {
		return err
	}
	o.Options = chosen
	metric, groups, err := f.readGroups(in, grid)
	if err != nil {
		return err
	}
	results, err := labels.Release(groups, o)
	if err != nil {
		return err
	}
	epsilon, delta := o.Cost()
	view := groupsView{
		Metric: metric, By: f.groups.by, Estimator: o.Estimator.String(), Epsilon: epsilonNumber(epsilon), Delta: delta, Neighbours: "add-remove",
		Unit: f.unit(), Contributions: f.contributions, Prior: o.PriorName(), Confidence: o.Confidence, Groups: []groupView{},
	}
	// By the labels themselves; their order tells nothing.
	slices.SortFunc(results, func(a, b labels.Result) int { return slices.Compare(splitLabel(a.Label), splitLabel(b.Label)) })
	var rows [][]string
	for _, r := range results {
		g := groupView{Labels: splitLabel(r.Label), Count: r.Count, Quantiles: viewQuantiles(r.Quantiles)}
		view.Groups = append(view.Groups, g)
		count := ""
		if r.Count != nil {
			count = strconv.FormatInt(*r.Count, 10)
		}
		for _, q := range g.Quantiles {
			row := make([]string, 0, len(g.Labels)+5)
			for _, l := range g.Labels {
				row = append(row, printable(l))
			}
			row = append(row, count, formatNumber(q.Q), compactNumber(q.Value), q.Lower.compact(), q.Upper.compact())
			if o.Confidence > 0 {
				row = append(row, q.RankError.String())
			}
			rows = append(rows, row)
		}
	}
	var columns []tableColumn
	for _, name := range f.groups.by {
		columns = append(columns, word(printable(name)))
	}
	columns = append(columns, number("count"), number("q"), number("value"), number("lower"), number("upper"))
	if o.Confidence > 0 {
		columns = append(columns, rankErrorColumn(o.Confidence))
	}
	out := cmd.OutOrStdout()
	if f.format.value == formatTable {
		if _, err := fmt.Fprintf(out, "%s: %s, ε = %s, δ = %s, %s prior\nunit %s of at most %d %s, %s neighbours\n", printable(metric), view.Estimator, view.Epsilon,
			formatNumber(delta), view.Prior, view.Unit, view.Contributions, plural(view.Contributions, "record"), view.Neighbours); err != nil {
			return err
		}
		if len(rows) == 0 {
			_, err := fmt.Fprintln(out, "no label has enough units to appear")
			return err
		}
	}
	return printRows(out, f.format.value, columns, rows, view)
}

// unit is the unit of the release.
func (f *releaseFlags) unit() string {
	if f.contributions > 1 || f.groups.unitColumn != "" {
		return "user"
	}
	return "event"
}

// plural returns the word for so many things.
func plural(n int, thing string) string {
	if n == 1 {
		return thing
	}
	return thing + "s"
}
