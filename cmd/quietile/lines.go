package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lineReader reads lines and counts them. Its errors name the line.
type lineReader struct {
	r     *bufio.Reader
	limit int
	// line is the number of the line last read, from 1.
	line int
	long []byte
}

// newLineReader reads lines of at most limit bytes.
func newLineReader(r io.Reader, limit int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, readAheadSize), limit: limit}
}

// read returns the next line without its end, valid until the next call, or io.EOF. The last line need not end.
func (l *lineReader) read() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	l.line++
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = l.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) && len(l.long)+len(line) <= l.limit {
			l.long = append(l.long, line...)
			line, err = l.r.ReadSlice('\n')
		}
		l.long = append(l.long, line...)
		line = l.long
	}
	switch {
	case len(line) > l.limit:
		return nil, fmt.Errorf("line %d is longer than %d bytes", l.line, l.limit)
	case errors.Is(err, io.EOF) && len(line) > 0:
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, fmt.Errorf("line %d: %w", l.line, err)
	}
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), nil
}
