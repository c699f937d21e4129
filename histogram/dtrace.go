package histogram

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// maxDTraceLine is the longest line of DTrace's output that is read, in bytes.
const maxDTraceLine = 1 << 20

// ParseDTrace returns the histograms that quantize(), lquantize() and llquantize() of DTrace print, in their order: R's ReadHistogramsFromDtraceOutputFile.
// A histogram is a line that begins with "value", has "Distribution" and ends with "count", and below it a row "value |@@@ count" for each bucket. Its name is the text of the lines directly
// above, the keys, without the space around it. Other text is passed over, but for what stands between rows.
//
// The value of a row is the break where its bucket begins, and that of the next row where it ends. So the last row, which DTrace prints with a count of 0, makes no
// bucket; with another count its bucket ends at +Inf. A first row "< v" begins at -Inf, and a last row ">= v" ends at +Inf; if either counts nothing it makes no bucket.
//
// quantize() mirrors its negative rows: −4 counts values from −7 to −4. So rows that begin −2ᵏ, …, −4, −2, −1 count in the bucket that ends at their value. R has it begin there, which for
// integers is the same if no row below −1 counts anything. R also loses the last row of a file, and with it the last bucket of the last histogram; here it counts.
//
// The error wraps [ErrEncoding] and names the line, from 1, and what stands there: a row that is none, a value or a count that is no number, a count below 0, values that do not
// ascend, fewer than two rows; or it says that there is no histogram. It is that of reading, with the line, if that fails. It costs O(n) for n bytes.
//
// Source: "Aggregations" in the Dynamic Tracing Guide of illumos.
func ParseDTrace(r io.Reader) ([]*Histogram, error) {
	var (
		lines    = bufio.NewScanner(r)
		found    []*Histogram
		above    []string // the lines above a header, without an empty one between
		open     *dtraceTable
		at       int
		complete = func() error {
			if open == nil {
				return nil
			}
			h, err := open.histogram()
			if err != nil {
				return err
			}
			found, open = append(found, h), nil
			return nil
		}
	)
	lines.Buffer(nil, maxDTraceLine)
	for lines.Scan() {
		at++
		line := strings.TrimSpace(lines.Text())
		switch {
		case isDTraceHeader(line):
			if err := complete(); err != nil {
				return nil, err
			}
			open, above = &dtraceTable{line: at, name: strings.Join(above, " ")}, nil
		case line == "":
			above = nil
			if open != nil && len(open.values) > 0 {
				if err := complete(); err != nil {
					return nil, err
				}
			}
		case open != nil:
			if err := open.add(at, line); err != nil {
				return nil, err
			}
		default:
			above = append(above, line)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("%w: line %d is longer than %d bytes", ErrEncoding, at+1, maxDTraceLine)
	} else if err != nil {
		return nil, fmt.Errorf("line %d: %w", at+1, err)
	}
	if err := complete(); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: there is no line \"value ------------- Distribution ------------- count\" among %d", ErrEncoding, at)
	}
	return found, nil
}

// isDTraceHeader says whether a line is the one above a table.
func isDTraceHeader(line string) bool {
	words := strings.Fields(line)
	return len(words) >= 3 && words[0] == "value" && words[len(words)-1] == "count" && slices.Contains(words, "Distribution")
}

// dtraceTable is a histogram as it is printed.
type dtraceTable struct {
	line           int // of the header
	name           string
	values, counts []float64
	// below is the count of the row "< v", and above says that the last row was ">= v".
	below float64
	above bool
}

// add reads a row.
func (t *dtraceTable) add(at int, line string) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: line %d: %s", ErrEncoding, at, fmt.Sprintf(format, args...))
	}
	left, right, found := strings.Cut(line, "|")
	if !found {
		return wrong("%s is no row of a distribution: it has no \"|\"", quote(line))
	}
	last := ""
	if words := strings.Fields(right); len(words) > 0 {
		last = words[len(words)-1]
	}
	count, err := strconv.ParseInt(last, 10, 64)
	switch {
	case err != nil:
		return wrong("count %s is no whole number", quote(last))
	case count < 0:
		return wrong("count %d is less than 0", count)
	}
	text := strings.TrimSpace(left)
	bare, under := strings.CutPrefix(text, "<")
	bare, over := strings.CutPrefix(bare, ">=")
	value, err := strconv.ParseInt(strings.TrimSpace(bare), 10, 64)
	switch {
	case err != nil || under && over:
		return wrong("value %s is no whole number", quote(text))
	case t.above:
		return wrong("value %s follows a row that reaches to infinity", quote(text))
	case under && len(t.values) > 0:
		return wrong("value %s is not in the first row", quote(text))
	}
	if under {
		t.values, t.counts = append(t.values, math.Inf(-1)), append(t.counts, float64(count))
		t.below = float64(value) // where the next row is to begin
		return nil
	}
	x := float64(value)
	switch n := len(t.values); {
	case n == 1 && math.IsInf(t.values[0], -1) && x != t.below:
		return wrong("value %s is not %v, where the row before ends", quote(text), t.below)
	case n > 0 && x <= t.values[n-1]:
		return wrong("value %s is not more than that of the row before, %v", quote(text), t.values[n-1])
	}
	t.values, t.counts, t.above = append(t.values, x), append(t.counts, float64(count)), over
	return nil
}

// histogram returns what the rows say.
func (t *dtraceTable) histogram() (*Histogram, error) {
	breaks, counts := t.values, t.counts
	n := len(counts)
	if n < 2 {
		return nil, fmt.Errorf("%w: line %d: the distribution has %d rows, and a bucket needs 2", ErrEncoding, t.line, n)
	}
	if counts[n-1] > 0 {
		breaks = append(breaks, math.Inf(1))
	} else {
		counts = counts[:n-1]
	}
	if len(counts) > 1 && math.IsInf(breaks[0], -1) && counts[0] == 0 {
		breaks, counts = breaks[1:], counts[1:]
	}
	if mirrored(breaks) {
		// A row counts in the bucket before the one that begins there, down to the first, which has none before it.
		if counts[0] > 0 {
			breaks = slices.Insert(breaks, 0, 2*breaks[0])
			counts = slices.Insert(counts, 0, 0)
		}
		for i := 1; i < len(counts) && breaks[i] < 0; i++ {
			counts[i-1], counts[i] = counts[i], 0
		}
		if last := len(counts) - 1; math.IsInf(breaks[last+1], 1) && counts[last] == 0 {
			breaks, counts = breaks[:last+1], counts[:last]
		}
	}
	h := &Histogram{breaks, counts, t.name}
	if err := h.Validate(); err != nil {
		return nil, fmt.Errorf("%w: line %d: %w", ErrEncoding, t.line, err)
	}
	return h, nil
}

// mirrored says whether rows begin as those of quantize() do where something below −1 is counted: with −4, −2, −1 or more such.
func mirrored(values []float64) bool {
	at := slices.Index(values, -1)
	if at < 2 {
		return false
	}
	for i := range at {
		if values[i] != -math.Ldexp(1, at-i) {
			return false
		}
	}
	return true
}

// quote returns the beginning of a text for an error.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
