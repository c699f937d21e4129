package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// maxRow is the largest row of a table in bytes, so that a quote that is never closed does not swallow a whole file.
const maxRow = 1 << 20

// A rowError says what is wrong with a row, which a reader may pass over.
type rowError struct {
	line int
	text string
}

func (e *rowError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.text) }

// isRowError says whether reading can go on with the next row after err.
func isRowError(err error) bool {
	var bad *rowError
	return err != nil && errors.As(err, &bad)
}

// columnReader reads some columns of a text table (RFC 4180 with any delimiter), or whole lines.
type columnReader struct {
	lines     *lineReader
	delimiter byte
	// columns are the positions of those asked for, from 0. None: the whole line.
	columns []int
	// names are the columns' names, or what was given instead.
	names []string
	// first is a first row that was read to check the columns and is still to be returned.
	first  bool
	quoted []byte
	cells  [][]byte
	asked  [][]byte
}

// checkColumns makes the checks of the columns asked for that need no table: each is a name or a number from 1, and without a header a number. flags name them.
func checkColumns(header bool, flags, columns []string) error {
	for i, c := range columns {
		n, err := strconv.Atoi(c)
		switch {
		case c == "":
			return usagef("--%s is empty", flags[i])
		case err == nil && n < 1:
			return usagef("--%s %s: columns are counted from 1", flags[i], c)
		case err != nil && !header:
			return usagef("--%s %q is not a number, which it must be with --no-header", flags[i], c)
		}
	}
	return nil
}

// newColumnReader reads the columns, each a name or a number from 1, as [checkColumns] allows them. A column that the first row does not have is a usage error.
// Without columns each line is one cell.
func newColumnReader(r io.Reader, delimiter byte, header bool, columns []string) (*columnReader, error) {
	c := &columnReader{lines: newLineReader(r, maxRow), delimiter: delimiter, names: append([]string(nil), columns...)}
	if mark, err := c.lines.r.Peek(3); err == nil && string(mark) == "\uFEFF" {
		_, _ = c.lines.r.Discard(len(mark)) // it was peeked
	}
	if len(columns) == 0 {
		return c, nil
	}
	row, err := c.row()
	if errors.Is(err, io.EOF) {
		if header {
			return nil, usagef("column %q: there is no header line, the input is empty", columns[0])
		}
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	for i, name := range columns {
		at := -1
		if header {
			at = position(row, name)
		}
		if at < 0 {
			n, err := strconv.Atoi(name)
			if err != nil {
				return nil, usagef("column %q is not in the header: %s", name, list(row))
			}
			if n > len(row) {
				return nil, usagef("column %d is missing: the first line has %d", n, len(row))
			}
			at = n - 1
		}
		if header {
			c.names[i] = string(row[at])
		}
		c.columns = append(c.columns, at)
	}
	c.asked = make([][]byte, len(c.columns))
	c.first = !header
	return c, nil
}

// position returns where a cell is equal to name but for surrounding space, or -1.
func position(row [][]byte, name string) int {
	for i, cell := range row {
		if string(bytes.TrimSpace(cell)) == strings.TrimSpace(name) {
			return i
		}
	}
	return -1
}

// list returns the beginning of a row for people.
func list(row [][]byte) string {
	const most = 12
	var names []string
	for _, cell := range row[:min(len(row), most)] {
		names = append(names, shorten(cell))
	}
	if len(row) > most {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// line returns the number of the line that the row last read ends at.
func (c *columnReader) line() int { return c.lines.line }

// read returns the cells asked for in the next row, valid until the next call, or io.EOF. After a [*rowError] the next row can be read.
func (c *columnReader) read() ([][]byte, error) {
	row := c.cells
	if !c.first {
		var err error
		if row, err = c.row(); err != nil {
			return nil, err
		}
	}
	c.first = false
	if len(c.columns) == 0 {
		return row, nil
	}
	for i, at := range c.columns {
		if at >= len(row) {
			return nil, &rowError{c.line(), fmt.Sprintf("column %s is missing", c.names[i])}
		}
		c.asked[i] = row[at]
	}
	return c.asked, nil
}

// row reads all cells of the next row.
func (c *columnReader) row() ([][]byte, error) {
	line, err := c.lines.read()
	if err != nil {
		return nil, err
	}
	c.cells = c.cells[:0]
	if len(c.names) == 0 {
		c.cells = append(c.cells, line)
		return c.cells, nil
	}
	if bytes.IndexByte(line, '"') >= 0 {
		return c.quotedRow(line)
	}
	for {
		cell, rest, more := bytes.Cut(line, []byte{c.delimiter})
		c.cells = append(c.cells, cell)
		if !more {
			return c.cells, nil
		}
		line = rest
	}
}

// quotedRow reads a row that begins with line and has a quote in it. A quoted cell may go on in the following lines.
func (c *columnReader) quotedRow(line []byte) ([][]byte, error) {
	begin := c.line()
	c.quoted = append(c.quoted[:0], line...)
	for quotes := bytes.Count(line, []byte{'"'}); quotes%2 != 0; quotes += bytes.Count(line, []byte{'"'}) {
		var err error
		line, err = c.lines.read()
		if errors.Is(err, io.EOF) {
			return nil, &rowError{begin, "a quote is not closed"}
		}
		if err != nil {
			return nil, err
		}
		if c.quoted = append(append(c.quoted, '\n'), line...); len(c.quoted) > maxRow {
			return nil, fmt.Errorf("line %d: a quote is not closed within %d bytes", begin, maxRow)
		}
	}
	for rest := c.quoted; ; {
		cell, after, ok := quotedCell(rest, c.delimiter)
		if !ok {
			return nil, &rowError{begin, fmt.Sprintf("a stray quote in cell %d", len(c.cells)+1)}
		}
		c.cells = append(c.cells, cell)
		if len(after) == 0 {
			return c.cells, nil
		}
		rest = after[1:]
	}
}

// quotedCell returns the first cell of a row, and what follows it from the delimiter on. It unquotes in place.
func quotedCell(row []byte, delimiter byte) (cell, after []byte, ok bool) {
	if len(row) == 0 || row[0] != '"' {
		end := bytes.IndexByte(row, delimiter)
		if end < 0 {
			end = len(row)
		}
		return row[:end], row[end:], bytes.IndexByte(row[:end], '"') < 0
	}
	n := 0
	for i := 1; i < len(row); i++ {
		if row[i] == '"' {
			if i++; i == len(row) || row[i] != '"' {
				return row[:n], row[i:], i == len(row) || row[i] == delimiter
			}
		}
		row[n] = row[i]
		n++
	}
	return nil, nil, false
}

// shorten returns a cell for an error text.
func shorten(cell []byte) string {
	const most = 40
	if len(cell) > most {
		return strconv.Quote(string(cell[:most])) + "…"
	}
	return strconv.Quote(string(cell))
}

// parseValue reads a number, which may have space around it and may be infinite or NaN. Beyond the range of float64 it is infinite.
func parseValue(cell []byte) (float64, bool) {
	x, err := strconv.ParseFloat(string(bytes.TrimSpace(cell)), 64)
	return x, err == nil || errors.Is(err, strconv.ErrRange) && math.IsInf(x, 0)
}
