package histogram

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The columns of the CSV form.
const (
	columnName  = "name"
	columnLower = "lower"
	columnUpper = "upper"
	columnCount = "count"
)

// WriteCSV writes histograms as a table with the columns name, lower, upper and count: a header, and a row for each bucket. Numbers are the shortest that
// read back as the same float64, infinite breaks are -Inf and +Inf, and carriage returns of names are left out. The error is that of writing or of [Histogram.Validate], or
// wraps [ErrArgument] for a histogram that begins above the one before and has the same name: [ReadCSV] would take it for more of that. It costs O(n).
func WriteCSV(w io.Writer, hs ...*Histogram) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{columnName, columnLower, columnUpper, columnCount}); err != nil {
		return err
	}
	for j, h := range hs {
		if err := h.Validate(); err != nil {
			return fmt.Errorf("histogram %d: %w", j, err)
		}
		if j > 0 && hs[j-1].Name == h.Name && hs[j-1].Breaks[0] < h.Breaks[0] {
			return fmt.Errorf("%w: histogram %d begins at %v, above the one before, and has the same name, %q", ErrArgument, j, h.Breaks[0], h.Name)
		}
		name := strings.ReplaceAll(h.Name, "\r", "")
		for i, c := range h.Counts {
			if err := out.Write([]string{name, number(h.Breaks[i]), number(h.Breaks[i+1]), number(c)}); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// ReadCSV returns the histograms of a table as [WriteCSV] writes it. The header names the columns, in any order and among others; name may be missing. A row with another
// name than the row before, or that begins where that row's histogram begins or below, begins a new histogram. Any other is the next bucket, and begins where the row before ends.
//
// The error wraps [ErrEncoding] and names the line for a cell that is no number and for a column that is missing; for breaks and counts that are unsound it wraps
// [ErrBreaks] or [ErrCounts] too, and names the line. It costs O(n).
func ReadCSV(r io.Reader) ([]*Histogram, error) {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: there is no header line", ErrEncoding)
	}
	if err != nil {
		return nil, wrapCSV(err)
	}
	header = slices.Clone(header)
	for i := range header {
		header[i] = strings.TrimSpace(strings.TrimPrefix(header[i], "\uFEFF"))
	}
	columns := make(map[string]int)
	for _, name := range []string{columnName, columnLower, columnUpper, columnCount} {
		columns[name] = slices.Index(header, name)
		if columns[name] < 0 && name != columnName {
			return nil, fmt.Errorf("%w: line 1 has no column %q among %s", ErrEncoding, name, quote(strings.Join(header, ",")))
		}
	}
	var all []*Histogram
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, wrapCSV(err)
		}
		line, _ := in.FieldPos(0)
		var bucket [3]float64
		for i, column := range []string{columnLower, columnUpper, columnCount} {
			cell := strings.TrimSpace(row[columns[column]])
			if bucket[i], err = strconv.ParseFloat(cell, 64); err != nil {
				return nil, fmt.Errorf("%w: line %d: %s %s is no number", ErrEncoding, line, column, quote(cell))
			}
		}
		name := ""
		if at := columns[columnName]; at >= 0 {
			name = strings.ReplaceAll(strings.Clone(row[at]), "\r", "")
		}
		all, err = appendBucket(all, name, bucket[0], bucket[1], bucket[2])
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrEncoding, line, err)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: there are no rows below the header", ErrEncoding)
	}
	return all, nil
}

// appendBucket adds a bucket to the last histogram or to a new one.
func appendBucket(all []*Histogram, name string, lower, upper, count float64) ([]*Histogram, error) {
	if !(lower < upper) {
		return nil, fmt.Errorf("%w: lower %v is not less than upper %v", ErrBreaks, lower, upper)
	}
	if !(count >= 0) || math.IsInf(count, 1) {
		return nil, fmt.Errorf("%w: count %v is not finite and at least 0", ErrCounts, count)
	}
	if n := len(all); n > 0 && all[n-1].Name == name && lower > all[n-1].Breaks[0] {
		h := all[n-1]
		if last := h.Breaks[len(h.Breaks)-1]; lower != last {
			return nil, fmt.Errorf("%w: lower %v is not the upper of the row before, %v", ErrBreaks, lower, last)
		}
		h.Breaks, h.Counts = append(h.Breaks, upper), append(h.Counts, count)
		return all, nil
	}
	return append(all, &Histogram{[]float64{lower, upper}, []float64{count}, name}), nil
}

// wrapCSV makes an error of the table one of this package.
func wrapCSV(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("%w: line %d: %w", ErrEncoding, parse.Line, parse.Err)
	}
	return err
}
