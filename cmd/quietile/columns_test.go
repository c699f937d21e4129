package main

import (
	"encoding/csv"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/quietile/quietile/sketch"
)

// columnReader reads what encoding/csv reads in the same way, but for empty lines, which it does not pass over.
func FuzzColumnReader(f *testing.F) {
	f.Add("a,b\n1,2\n", byte(','))
	f.Add("\"a\",\"b\"\"c\"\n\"x\ny\",\r\n", byte(','))
	f.Add("a;\"b;\"\n;;\n\n\"", byte(';'))
	f.Add("a\"b,c\n\"a\"b,c\n\"\",\"\"\n", byte(','))
	f.Add("\xef\xbb\xbfa,b", byte(','))
	f.Fuzz(func(t *testing.T, text string, delimiter byte) {
		if delimiter == '"' || delimiter == '\r' || delimiter == '\n' || delimiter == 0 || delimiter >= 0x80 || len(text) > maxRow {
			return
		}
		var got, want [][]string
		rows, err := newColumnReader(strings.NewReader(text), delimiter, false, []string{"1"})
		for err == nil {
			if _, err = rows.read(); err == nil {
				var row []string
				for _, cell := range rows.cells {
					row = append(row, string(cell))
				}
				got = append(got, row)
			}
		}
		reference := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\uFEFF")))
		reference.Comma = rune(delimiter)
		reference.FieldsPerRecord = -1
		row, wantErr := reference.Read()
		for ; wantErr == nil; row, wantErr = reference.Read() {
			want = append(want, row)
		}
		if errors.Is(err, io.EOF) != errors.Is(wantErr, io.EOF) {
			t.Fatalf("%q with %q ends with %v, in encoding/csv with %v", text, delimiter, err, wantErr)
		}
		empty := func(row []string) bool { return len(row) == 1 && row[0] == "" }
		if got, want = slices.DeleteFunc(got, empty), slices.DeleteFunc(want, empty); !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("%q with %q: %q where encoding/csv reads %q", text, delimiter, got, want)
		}
	})
}

// A text record that is read is written again as a record of an equal sketch, and from then on as the same bytes.
func FuzzTextRecord(f *testing.F) {
	for _, spec := range []string{"linear:lower=0,upper=8,bins=8", "exponential:scale=5", "explicit:0,1,5"} {
		grid, err := sketch.ParseGrid(spec)
		if err != nil {
			f.Fatal(err)
		}
		s := sketch.NewBinned(grid)
		s.AddBatch([]float64{1, 2.5, math.Inf(1), math.NaN()})
		var b strings.Builder
		w := recordWriter{w: &b}
		if err := w.write("key", s); err != nil {
			f.Fatal(err)
		}
		f.Add(strings.TrimSuffix(b.String(), "\n"))
	}
	f.Add("key\tAA==")
	f.Add("key")
	f.Fuzz(func(t *testing.T, line string) {
		key, s, err := parseRecord([]byte(line))
		if err != nil {
			return
		}
		var b strings.Builder
		w := recordWriter{w: &b}
		if err := w.write(string(key), s); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		once := b.String()
		againKey, again, err := parseRecord([]byte(strings.TrimSuffix(once, "\n")))
		if err != nil || string(againKey) != string(key) || !again.Equal(s) {
			t.Fatalf("%q is written as %q, which reads as %q, %v, %v", line, once, againKey, again, err)
		}
		b.Reset()
		if err := w.write(string(againKey), again); err != nil || b.String() != once {
			t.Fatalf("%q is written as %q and then as %q, %v", line, once, b.String(), err)
		}
	})
}
