package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	"github.com/quietile/quietile/sketch"
)

// The values of --format that most commands have.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatCSV   = "csv"
)

// choice is the value of a flag that takes one of a few words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("%q is not one of %s", s, strings.Join(c.allowed, ", "))
	}
	c.value = s
	return nil
}

// addChoice adds a flag that takes one of the allowed words. initial may be another, such as none at all.
func addChoice(cmd *cobra.Command, name, usage, initial string, allowed ...string) *choice {
	c := &choice{value: initial, allowed: allowed}
	cmd.Flags().Var(c, name, usage)
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return c
}

// addFormat adds --format table|json|csv.
func addFormat(cmd *cobra.Command) *choice {
	return addChoice(cmd, "format", "how to print", formatTable, formatTable, formatJSON, formatCSV)
}

// quantileList is the value of -q: decimals in (0, 1), separated by commas. A flag given again adds to the list.
type quantileList struct {
	values []float64
	given  bool
}

func (l *quantileList) String() string {
	var texts []string
	for _, q := range l.values {
		texts = append(texts, formatNumber(q))
	}
	return strings.Join(texts, ",")
}

func (l *quantileList) Type() string { return "list" }

func (l *quantileList) Set(s string) error {
	var parsed []float64
	for text := range strings.SplitSeq(s, ",") {
		text = strings.TrimSpace(text)
		if strings.Trim(text, "0123456789.") != "" {
			return fmt.Errorf("quantile %q is not a decimal number such as 0.95", text)
		}
		q, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("quantile %q is not a decimal number such as 0.95", text)
		}
		if !(q > 0 && q < 1) {
			return fmt.Errorf("quantile %s is not between 0 and 1", text)
		}
		parsed = append(parsed, q)
	}
	if !l.given {
		l.values, l.given = nil, true
	}
	l.values = append(l.values, parsed...)
	return nil
}

// addQuantiles adds -q. The values given replace the initial ones.
func addQuantiles(cmd *cobra.Command, usage string, initial ...float64) *quantileList {
	l := &quantileList{values: initial}
	cmd.Flags().VarP(l, "quantiles", "q", usage)
	return l
}

// epsilonValue is the value of --epsilon.
type epsilonValue struct{ dp.Epsilon }

func (e *epsilonValue) Type() string { return "decimal" }

func (e *epsilonValue) String() string {
	if e.Epsilon == 0 {
		return ""
	}
	return e.Epsilon.String()
}

func (e *epsilonValue) Set(s string) (err error) {
	e.Epsilon, err = dp.ParseEpsilon(s)
	return err
}

// deltaValue is δ of a flag; 0 if it was not given.
type deltaValue struct{ budget.Delta }

// Type names the flag's value in the help.
func (d *deltaValue) Type() string { return "number" }

func (d *deltaValue) String() string {
	if d.Delta == 0 {
		return ""
	}
	return d.Delta.String()
}

// Set reads δ.
func (d *deltaValue) Set(s string) (err error) {
	d.Delta, err = budget.ParseDelta(s)
	return err
}

// float64 returns the number nearest to δ.
func (d *deltaValue) float64() float64 {
	f, _ := d.Rat().Float64()
	return f
}

func addDelta(cmd *cobra.Command, usage string) *deltaValue {
	var d deltaValue
	cmd.Flags().Var(&d, "delta", usage)
	return &d
}

// addEpsilon adds --epsilon, without a default: how much privacy to lose is the asker's to say.
func addEpsilon(cmd *cobra.Command, usage string) *epsilonValue {
	e := new(epsilonValue)
	cmd.Flags().Var(e, "epsilon", usage)
	return e
}

// gridValue is the value of --grid.
type gridValue struct{ grid *sketch.Grid }

func (g *gridValue) Type() string { return "spec" }

func (g *gridValue) String() string {
	if g.grid == nil {
		return ""
	}
	return g.grid.String()
}

func (g *gridValue) Set(s string) (err error) {
	g.grid, err = sketch.ParseGrid(s)
	return err
}

// addGrid adds --grid.
func addGrid(cmd *cobra.Command, usage string, initial *sketch.Grid) *gridValue {
	g := &gridValue{grid: initial}
	cmd.Flags().Var(g, "grid", usage)
	return g
}

// delimiterValue is the value of --delimiter: one ASCII character, or \t or tab.
type delimiterValue byte

func (d *delimiterValue) Type() string   { return "char" }
func (d *delimiterValue) String() string { return string(rune(*d)) }

func (d *delimiterValue) Set(s string) error {
	if s == `\t` || s == "tab" {
		s = "\t"
	}
	if len(s) != 1 || s[0] >= 0x80 || strings.ContainsAny(s, "\"\r\n") {
		return fmt.Errorf("delimiter %q is not one ASCII character other than a quote and a line end", s)
	}
	*d = delimiterValue(s[0])
	return nil
}

// addDelimiter adds --delimiter, a comma by default.
func addDelimiter(cmd *cobra.Command) *delimiterValue {
	d := new(delimiterValue)
	*d = ','
	cmd.Flags().Var(d, "delimiter", `what separates columns; \t or tab for a tab`)
	return d
}
