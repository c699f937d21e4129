package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/quietile/quietile/histogram"
)

// barWidth is how many characters the longest bar has.
const barWidth = 50

// printBars prints a picture as text: a line for each bucket, with a bar and its numbers.
func printBars(w io.Writer, kind string, hs []*histogram.Histogram, rows []plotRow, note string) error {
	var b strings.Builder
	if name := hs[0].Name; name != "" && kind != kindCompare {
		b.WriteString(printable(name) + "\n")
	}
	most, between := 0.0, false
	for _, r := range rows {
		most, between = max(most, r.Low, r.High), between || r.Low != r.High
	}
	lowers, uppers := make([]string, len(rows)), make([]string, len(rows))
	widest, widestUpper := 0, 0
	format := edge.compact
	switch kind {
	case kindBytes:
		format = func(e edge) string { return e.format(bytesText) }
	case kindTime:
		format = func(e edge) string { return e.format(durationText) }
	}
	for i, r := range rows {
		lowers[i], uppers[i] = format(r.Lower), format(r.Upper)
		widest, widestUpper = max(widest, len([]rune(lowers[i]))), max(widestUpper, len([]rune(uppers[i])))
	}
	for i, r := range rows {
		bar, values := plainBar(r, most), brief(r.High)
		if between {
			values = brief(r.Low) + " to " + brief(r.High)
		}
		head := fmt.Sprintf("%s to %s", pad(lowers[i], widest), pad(uppers[i], widestUpper))
		if kind == kindCompare {
			fmt.Fprintf(&b, "%s  %s\n", strings.TrimRight(head+" │"+strings.Repeat("█", cells(r.Low, most)), " "), brief(r.Low))
			fmt.Fprintf(&b, "%s │%s  %s\n", strings.Repeat(" ", len([]rune(head))), strings.Repeat("░", cells(r.High, most)), brief(r.High))
			continue
		}
		fmt.Fprintf(&b, "%s │%s %s\n", head, bar, values)
	}
	for _, line := range legendOf(kind, hs, note) {
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// legendOf returns what stands below the bars.
func legendOf(kind string, hs []*histogram.Histogram, note string) []string {
	var lines []string
	switch kind {
	case kindCompare:
		lines = append(lines, fmt.Sprintf("█ %s   ░ %s   (shares of values)", nameOr(hs[0], "first"), nameOr(hs[1], "second")))
	case kindKSDCC:
		if bucket, share, err := hs[0].FullestBucket(); err == nil {
			lower, upper := hs[0].Bounds(bucket)
			lines = append(lines, fmt.Sprintf("░ what is open; most, KSDCC = %s, from %s to %s", compactNumber(share), edge(lower).compact(), edge(upper).compact()))
		}
	case "emdcc":
		if emdcc, err := hs[0].EMDCC(); err == nil {
			lines = append(lines, "░ what is open; on average, EMDCC = "+compactNumber(emdcc))
		}
	case "ecdf", kindBytes, kindTime:
		lines = append(lines, "█ share of values up to the lower break   ░ up to the upper")
	}
	if note != "" {
		lines = append(lines, note)
	}
	return lines
}

func nameOr(h *histogram.Histogram, name string) string {
	if h.Name == "" {
		return name
	}
	return printable(h.Name)
}

// cells returns how many characters stand for a value, at least one for any that is not 0.
func cells(x, most float64) int {
	if x <= 0 || most <= 0 {
		return 0
	}
	return max(1, int(math.Round(x/most*barWidth)))
}

// plainBar returns a bar that is padded to the width.
func plainBar(r plotRow, most float64) string {
	dark := cells(r.Low, most)
	lightUpTo := max(dark, cells(r.High, most))
	return strings.Repeat("█", dark) + strings.Repeat("░", lightUpTo-dark) + strings.Repeat(" ", barWidth-lightUpTo)
}

// pad aligns a text right.
func pad(s string, width int) string {
	return strings.Repeat(" ", max(0, width-len([]rune(s)))) + s
}

// brief returns a number beside a bar: whole ones as they are, others with four digits.
func brief(x float64) string {
	if x == math.Trunc(x) {
		return compactNumber(x)
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

// bytesText returns a size, such as 4 KiB.
func bytesText(x float64) string {
	units := []string{" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"}
	i := 0
	for math.Abs(x) >= 1024 && i+1 < len(units) {
		x /= 1024
		i++
	}
	return short(x) + units[i]
}

// durationText returns a duration of seconds, such as 2 min.
func durationText(x float64) string {
	units := []struct {
		seconds float64
		name    string
	}{{365.25 * 86400, " y"}, {86400, " d"}, {3600, " h"}, {60, " min"}, {1, " s"}, {1e-3, " ms"}, {1e-6, " µs"}, {1e-9, " ns"}}
	for _, u := range units {
		if math.Abs(x) >= u.seconds {
			return short(x/u.seconds) + u.name
		}
	}
	return short(x) + " s"
}

// short returns a number with three digits or its whole part.
func short(x float64) string {
	if math.Abs(x) >= 100 {
		return strconv.FormatFloat(math.Round(x), 'f', 0, 64)
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64)
	if err != nil {
		return formatNumber(x)
	}
	return formatNumber(rounded)
}
