package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/client"
)

// The values of publish's --input.
const (
	inputAuto    = "auto"
	inputCSV     = "csv"
	inputJSON    = "jsonl"
	inputNumbers = "numbers"
)

// publishFlags are the flags of publish that say how to read the input.
type publishFlags struct {
	input             *choice
	delimiter         *delimiterValue
	noHeader          bool
	value, unit, time string
	at                timeFlag
	skipInvalid       bool
}

func newPublishCommand() *cobra.Command {
	flags := new(publishFlags)
	cmd := &cobra.Command{
		Use:     "publish METRIC [FILE|-]",
		GroupID: groupDaemon,
		Short:   "Publish samples from CSV, JSON lines or numbers to the daemon",
		Long: `Publish sends every sample of a file, or of standard input, to the daemon in packed batches, and returns when
the daemon's log has all of them. A batch that is not acknowledged is sent again, and counted once.

CSV has a header line unless --no-header is given; columns are named, or numbered from 1. JSON lines are
objects with value and optionally time, unit and weight. Otherwise each line is a number. Gzip is recognised.
A row without a value that is a number ends the command, unless --skip-invalid is given.

The time of a sample is its column's, or --time for all of them, or else when the daemon stores it. A metric
whose unit is user needs the unit of each sample, which says whose it is.`,
		Example: `  quietile publish checkout-latency orders.csv --value-column seconds --unit-column customer --time-column at
  zcat adult.csv.gz | quietile publish adult-age - --value-column age --time 2026-03-01
  seq 1 1000 | quietile publish load`,
		Args: positional(cobra.RangeArgs(1, 2)),
	}
	where := addConnection(cmd)
	flags.input = addChoice(cmd, "input", "form of the input; auto tells JSON lines by their first brace, and CSV by a column flag", inputAuto, inputAuto, inputCSV, inputJSON, inputNumbers)
	flags.delimiter = addDelimiter(cmd)
	f := cmd.Flags()
	f.BoolVar(&flags.noHeader, "no-header", false, "the first line of CSV is data")
	f.StringVar(&flags.value, "value-column", "", "CSV column with the values")
	f.StringVar(&flags.unit, "unit-column", "", "CSV column with the privacy unit, for a metric whose unit is user")
	f.StringVar(&flags.time, "time-column", "", "CSV column with the time: RFC 3339, or seconds since 1970")
	f.Var(&flags.at, "time", "time of every sample")
	f.BoolVar(&flags.skipInvalid, "skip-invalid", false, "leave rows out that are no samples")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := flags.check(cmd); err != nil {
			return err
		}
		file := "-"
		if len(args) > 1 {
			file = args[1]
		}
		in, err := openInput(cmd, file)
		if err != nil {
			return err
		}
		defer in.Close()
		samples, err := flags.reader(in)
		if err != nil {
			return err
		}
		c, err := where.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		if err := checkMetric(cmd, c, args[0], flags); err != nil {
			return err
		}
		return publishAll(cmd, c, args[0], samples, flags.skipInvalid)
	}
	return cmd
}

func (p *publishFlags) check(cmd *cobra.Command) error {
	columns := p.value != "" || p.unit != "" || p.time != ""
	switch {
	case p.input.value == inputAuto && columns:
		p.input.value = inputCSV
	case columns && p.input.value != inputCSV:
		return usagef("--input %s has no columns", p.input.value)
	}
	if p.input.value == inputCSV && p.value == "" {
		return usagef("--value-column is required for CSV")
	}
	if err := excludeFlags(cmd, "time", "time-column"); err != nil {
		return err
	}
	names, columnsGiven := p.columns()
	return checkColumns(!p.noHeader, names, columnsGiven)
}

// columns returns the column flags that are given, and their values.
func (p *publishFlags) columns() (names, values []string) {
	for _, f := range []struct{ name, value string }{{"value-column", p.value}, {"unit-column", p.unit}, {"time-column", p.time}} {
		if f.value != "" {
			names, values = append(names, f.name), append(values, f.value)
		}
	}
	return names, values
}

// sampleReader returns the next sample, io.EOF at the end, or a *rowError after which the next can be read.
type sampleReader func() (client.Sample, error)

// reader opens the samples of an input. The metric of each is left empty.
func (p *publishFlags) reader(in io.Reader) (sampleReader, error) {
	if p.input.value == inputCSV {
		return p.csv(in)
	}
	lines := newLineReader(in, maxRow)
	form := p.input.value
	return func() (client.Sample, error) {
		for {
			line, err := lines.read()
			if err != nil {
				return client.Sample{}, err
			}
			line = bytes.TrimSpace(line)
			if len(line) == 0 {
				continue
			}
			if form == inputAuto {
				if form = inputNumbers; line[0] == '{' {
					form = inputJSON
				}
			}
			s := client.Sample{Time: p.at.Time}
			if form == inputJSON {
				err = decodeLine(line, &s)
			} else {
				err = setValue(line, &s)
			}
			if err != nil {
				return s, &rowError{lines.line, err.Error()}
			}
			return s, nil
		}
	}, nil
}

func (p *publishFlags) csv(in io.Reader) (sampleReader, error) {
	_, wanted := p.columns()
	columns, err := newColumnReader(in, byte(*p.delimiter), !p.noHeader, wanted)
	if err != nil {
		return nil, err
	}
	return func() (client.Sample, error) {
		s := client.Sample{Time: p.at.Time}
		cells, err := columns.read()
		if err != nil {
			return s, err
		}
		if err := setValue(cells[0], &s); err != nil {
			return s, &rowError{columns.line(), err.Error()}
		}
		next := 1
		if p.unit != "" {
			s.Unit = string(bytes.TrimSpace(cells[next]))
			next++
		}
		if p.time != "" {
			if s.Time, err = parseTime(string(bytes.TrimSpace(cells[next]))); err != nil {
				return s, &rowError{columns.line(), err.Error()}
			}
		}
		return s, nil
	}, nil
}

func setValue(cell []byte, s *client.Sample) error {
	v, ok := parseValue(cell)
	if !ok || v != v {
		return fmt.Errorf("value %s is not a number", shorten(cell))
	}
	s.Value = v
	return nil
}

// decodeLine reads a JSON object {"value", "time", "unit", "weight"}.
func decodeLine(line []byte, s *client.Sample) error {
	var m struct {
		Value  *float64 `json:"value"`
		Time   *string  `json:"time"`
		Unit   string   `json:"unit"`
		Weight *uint64  `json:"weight"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return fmt.Errorf("%s is not a JSON sample: %w", shorten(line), err)
	}
	switch {
	case m.Value == nil:
		return fmt.Errorf("%s has no value", shorten(line))
	case m.Weight != nil && *m.Weight == 0:
		return errors.New("weight 0 is not at least 1")
	}
	s.Value, s.Unit = *m.Value, m.Unit
	if m.Weight != nil {
		s.Weight = *m.Weight
	}
	if m.Time != nil {
		var err error
		s.Time, err = parseTime(*m.Time)
		return err
	}
	return nil
}

// checkMetric finds out before anything is sent what would be dead-lettered for every sample alike.
func checkMetric(cmd *cobra.Command, c *client.Client, metric string, p *publishFlags) error {
	info, err := c.Info(cmd.Context())
	if err != nil {
		return err
	}
	for _, m := range info.GetPolicy().GetMetrics() {
		if m.GetName() != metric {
			continue
		}
		if unit := unitName(m.GetUnit()); unit == "user" && p.unit == "" && p.input.value != inputJSON && p.input.value != inputAuto {
			return usagef("metric %s has the unit user: name the column of each sample's unit with --unit-column", metric)
		} else if unit == "event" && p.unit != "" {
			return usagef("metric %s has the unit event: --unit-column is of no use to it", metric)
		}
		return nil
	}
	return usagef("unknown metric %q", metric)
}

func publishAll(cmd *cobra.Command, c *client.Client, metric string, next sampleReader, skipInvalid bool) error {
	p, err := c.NewPublisher(cmd.Context())
	if err != nil {
		return err
	}
	start := time.Now()
	sent, skipped := 0, 0
	for {
		s, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		var row *rowError
		if errors.As(err, &row) && skipInvalid {
			skipped++
			continue
		}
		if err != nil {
			return errors.Join(fmt.Errorf("%w; the %d samples before it are published", err, sent), p.Close())
		}
		s.Metric = metric
		err = p.Add(s)
		if errors.Is(err, client.ErrSample) && skipInvalid {
			skipped++
			continue
		}
		if err != nil {
			return errors.Join(fmt.Errorf("%w; the %d samples before it are published", err, sent), p.Close())
		}
		sent++
	}
	if err := p.Close(); err != nil {
		return err
	}
	note := ""
	if skipped > 0 {
		note = ", " + strconv.Itoa(skipped) + " rows skipped"
	}
	_, err = fmt.Fprintf(cmd.ErrOrStderr(), "published %d samples to %s in %s%s\n", sent, metric, time.Since(start).Round(time.Millisecond), note)
	return err
}
