package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryKindIsDrawnAsPictureAsTextAndAsNumbers(t *testing.T) {
	for _, kind := range histKinds {
		t.Run(kind.name, func(t *testing.T) {
			args := []string{"hist", "plot", "--kind", kind.name}
			input := asJSON(t, []float64{0, 1, 2, 3, 4}, []float64{2, 6, 3, 1}, "latency")
			if kind.name == kindCompare {
				args = append(args, write(t, "other.json", asJSON(t, []float64{0, 1, 2, 3, 4}, []float64{1, 1, 1, 1}, "other")), "-")
			}
			dir := t.TempDir()
			for _, name := range []string{"p.svg", "p.PNG", "p.txt", "p.json"} {
				if got := succeed(t, input, append(args, "-o", filepath.Join(dir, name))...); got != "" {
					t.Errorf("%s: standard output %q", name, got)
				}
			}
			read := func(name string) []byte {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				return data
			}
			d := xml.NewDecoder(bytes.NewReader(read("p.svg")))
			for {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			image, err := png.Decode(bytes.NewReader(read("p.PNG")))
			if err != nil || image.Bounds().Dx() != 600 {
				t.Errorf("PNG: %v, error %v", image, err)
			}
			text := succeed(t, input, args...)
			if text != string(read("p.txt")) || strings.Count(text, "│") < 4 || !strings.Contains(text, "latency") {
				t.Errorf("%s", text)
			}
			var numbers struct {
				Kind string
				Rows []map[string]float64
			}
			if err := json.Unmarshal(read("p.json"), &numbers); err != nil || numbers.Kind != kind.name || len(numbers.Rows) != 4 || numbers.Rows[3]["upper"] != 4 {
				t.Errorf("%+v, error %v", numbers, err)
			}
		})
	}
}

func TestBarsAreAsLongAsTheirNumbers(t *testing.T) {
	h := asJSON(t, []float64{0, 1, 2, 3, 4}, []float64{2, 4, 0, 1}, "")
	want := "0 to 1 │" + strings.Repeat("█", 25) + strings.Repeat(" ", 25) + " 2\n" +
		"1 to 2 │" + strings.Repeat("█", 50) + " 4\n" +
		"2 to 3 │" + strings.Repeat(" ", 50) + " 0\n" +
		"3 to 4 │" + strings.Repeat("█", 13) + strings.Repeat(" ", 37) + " 1\n"
	if got := succeed(t, h, "hist", "plot"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	got := succeed(t, h, "hist", "plot", "--kind", "ksdcc")
	if !strings.Contains(got, "1 to 2 │"+strings.Repeat("█", 14)+strings.Repeat("░", 29)+strings.Repeat(" ", 7)+" 0.2857 to 0.8571\n") || !strings.HasSuffix(got, "KSDCC = 0.57142857, from 1 to 2\n") {
		t.Errorf("%s", got)
	}
	wide := succeed(t, lines(numbersTo(1000)...), "hist", "build", "--breaks", list1000())
	if got := succeed(t, succeed(t, lines(numbersTo(1000)...), "hist", "build", "--breaks", list1000(), "--format", "csv"), "hist", "plot"); strings.Count(got, "│") != 40 || !strings.HasSuffix(got, "1000 buckets, of which 40 lines are shown\n") {
		t.Errorf("%s of %s", got, wide)
	}
}

// numbersTo returns 1, 2, … n.
func numbersTo(n int) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = float64(i + 1)
	}
	return xs
}

// list1000 is 0,1,…,1000.
func list1000() string {
	var l numberList
	l.values = append([]float64{0}, numbersTo(1000)...)
	return l.String()
}

func TestSizesAndDurationsHaveTheirUnits(t *testing.T) {
	f := func(of func(float64) string, x float64, want string) {
		t.Helper()
		if got := of(x); got != want {
			t.Errorf("%v is %q, want %q", x, got, want)
		}
	}
	f(bytesText, 0, "0 B")
	f(bytesText, 1023, "1023 B")
	f(bytesText, 1536, "1.5 KiB")
	f(bytesText, 1<<62, "4 EiB")
	f(durationText, 0, "0 s")
	f(durationText, 0.0025, "2.5 ms")
	f(durationText, 90, "1.5 min")
	f(durationText, 86400*3, "3 d")
	f(durationText, 365.25*86400*10, "10 y")
}

func TestWhatCannotBeDrawnIsRefused(t *testing.T) {
	h := asJSON(t, []float64{0, 1, 3}, []float64{2, 6}, "latency")
	f := func(code int, input string, args []string, texts ...string) {
		t.Helper()
		fail(t, code, input, append([]string{"hist", "plot"}, args...), texts...)
	}
	f(exitUsage, dtraceSample, nil, "--kind histogram draws 1, and there are 2 histograms", `"reader", "writer"`)
	f(exitUsage, h, []string{"--kind", "compare"}, "--kind compare draws 2, and there are 1")
	f(exitUsage, h, []string{"-o", "picture.gif"}, "picture.gif", ".svg, .png, .txt or .json")
	f(exitUsage, h, []string{"--format", "svg", "--width", "5"}, "width 5 is not from 100 to 10000 pixels")
	f(exitUsage, h, []string{"--kind", "pie"}, `"pie"`, "histogram, frequency")
	f(exitFailed, h, []string{"--kind", "shifted"}, "latency", "bucket 0, from 0 to 1, is 1 wide")
	f(exitFailed, asJSON(t, []float64{0, 1}, []float64{0}, ""), []string{"--kind", "ecdf"}, "counts nothing")
	if got := succeed(t, h, "hist", "plot", "--format", "svg", "--title", "Time & more", "--x-label", "seconds"); !strings.Contains(got, ">Time &amp; more<") || !strings.Contains(got, ">seconds<") {
		t.Errorf("%s", got)
	}
}
