package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/quietile/quietile/dp"
)

// resultView is a release as it is printed. The names of its JSON fields do not change.
type resultView struct {
	Metric string `json:"metric"`
	// Window is nil for what is no window of a stream.
	Window    *windowView `json:"window"`
	Estimator string      `json:"estimator"`
	// Epsilon is the exact decimal, a number in JSON.
	Epsilon json.Number `json:"epsilon"`
	Delta   float64     `json:"delta"`
	// Rho is the zero-concentrated loss, absent where nothing says it.
	Rho json.Number `json:"rho,omitempty"`
	// Confidence is that of the rank errors, absent if there are none, and ConfidenceShare the share of the loss that was spent on them.
	Confidence      float64 `json:"confidence,omitempty"`
	ConfidenceShare float64 `json:"confidence_share,omitempty"`
	Neighbours      string  `json:"neighbours"`
	Unit            string  `json:"unit"`
	Contributions   int     `json:"contributions"`
	Prior           string  `json:"prior"`
	// PriorReleases is how many releases the prior was learned from, and PriorFallback why its robust part was used alone, absent if it was not. LearnedRho is the part of Rho that was spent on learning.
	PriorReleases uint64      `json:"prior_releases,omitempty"`
	PriorFallback string      `json:"prior_fallback,omitempty"`
	LearnedRho    json.Number `json:"learned_rho,omitempty"`
	// Predicted is what made "auto" choose the estimator.
	Predicted *predictionView `json:"predicted,omitempty"`
	ReleaseID string          `json:"release_id,omitempty"`
	Quantiles []quantileView  `json:"quantiles"`
}

// windowView is a window of event time, [Start, End).
type windowView struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// quantileView is the answer to one q.
type quantileView struct {
	Q     float64 `json:"q"`
	Value float64 `json:"value"`
	// Lower and Upper bound the bucket that holds the answer.
	Lower edge `json:"lower"`
	Upper edge `json:"upper"`
	// RankError is nil when the release says nothing of it.
	RankError *intervalView `json:"rank_error"`
}

// intervalView is what the rank of an answer, less that of its quantile, lies in, in records.
type intervalView struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// edge is an end of a bucket, null in JSON when the bucket reaches to infinity.
type edge float64

// MarshalJSON writes a number or null.
func (e edge) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(e), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(e))
}

func (e edge) String() string { return e.format(formatNumber) }

// compact returns the edge for a table.
func (e edge) compact() string { return e.format(compactNumber) }

// format returns the edge with what finite returns of a finite one.
func (e edge) format(finite func(float64) string) string {
	switch {
	case math.IsInf(float64(e), -1):
		return "-inf"
	case math.IsInf(float64(e), 1):
		return "+inf"
	}
	return finite(float64(e))
}

// formatNumber returns the shortest decimal that reads back as x.
func formatNumber(x float64) string {
	format := byte('f')
	if abs := math.Abs(x); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e' // as encoding/json does
	}
	return strconv.FormatFloat(x, format, -1, 64)
}

// compactNumber returns x for a table: rounded to eight significant digits, but never in the digits before the point.
func compactNumber(x float64) string {
	const digits = 8
	if abs := math.Abs(x); abs >= 1e8 && abs < 1e21 {
		x = math.RoundToEven(x)
	} else if rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'e', digits-1, 64), 64); err == nil {
		x = rounded
	}
	return formatNumber(x)
}

// epsilonNumber returns ε as a JSON number.
func epsilonNumber(e dp.Epsilon) json.Number { return json.Number(e.String()) }

// printResult prints a release in one of the formats table, json and csv.
func printResult(w io.Writer, format string, r resultView) error {
	switch format {
	case formatJSON:
		return printJSON(w, r)
	case formatCSV:
		return printResultCSV(w, r)
	}
	return printResultTable(w, r)
}

func printResultTable(w io.Writer, r resultView) error {
	name := r.Metric
	if name != "" {
		name = printable(name) + ": "
	}
	window := ""
	if r.Window != nil {
		window = fmt.Sprintf(", window %s to %s", r.Window.Start.UTC().Format(time.RFC3339), r.Window.End.UTC().Format(time.RFC3339))
	}
	loss := "ε = " + r.Epsilon.String()
	if r.Delta > 0 {
		loss += ", δ = " + formatNumber(r.Delta)
	}
	if r.Delta > 0 && r.Rho != "" { // what it costs
		loss += ", ρ = " + r.Rho.String()
	}
	records := "records"
	if r.Contributions == 1 {
		records = "record"
	}
	prior := r.Prior + " prior"
	if r.Prior == "none" {
		prior = "no prior"
	}
	if r.PriorReleases > 0 {
		prior += fmt.Sprintf(" of %d %s", r.PriorReleases, plural(int(r.PriorReleases), "release"))
	}
	if _, err := fmt.Fprintf(w, "%s%s, %s, %s%s\nunit %s of at most %d %s, %s neighbours\n",
		name, r.Estimator, loss, prior, window, r.Unit, r.Contributions, records, r.Neighbours); err != nil {
		return err
	}
	if r.Predicted != nil {
		if _, err := fmt.Fprintf(w, "chosen for an expected rank error of %.1f on average and %.1f at most\n", r.Predicted.Mean, r.Predicted.Max); err != nil {
			return err
		}
	}
	if r.PriorFallback != "" {
		if _, err := fmt.Fprintf(w, "the prior's robust part alone: %s\n", printable(r.PriorFallback)); err != nil {
			return err
		}
	}
	if r.ReleaseID != "" {
		if _, err := fmt.Fprintf(w, "release %s\n", r.ReleaseID); err != nil {
			return err
		}
	}
	columns := []tableColumn{number("q"), number("value"), number("lower"), number("upper")}
	rankErrors := false
	for _, q := range r.Quantiles {
		rankErrors = rankErrors || q.RankError != nil
	}
	if rankErrors {
		columns = append(columns, rankErrorColumn(r.Confidence))
	}
	var rows [][]string
	for _, q := range r.Quantiles {
		row := []string{formatNumber(q.Q), compactNumber(q.Value), q.Lower.compact(), q.Upper.compact()}
		if rankErrors {
			row = append(row, q.RankError.String())
		}
		rows = append(rows, row)
	}
	return printTable(w, columns, rows)
}

// rankErrorColumn is the column of rank errors with a confidence.
func rankErrorColumn(confidence float64) tableColumn {
	return number(fmt.Sprintf("rank error (%s %%)", formatNumber(math.Round(confidence*1e7)/1e5)))
}

// String returns the interval for a table, rounded outwards to whole records, or nothing where there is none.
func (i *intervalView) String() string {
	if i == nil {
		return ""
	}
	low, high := math.Floor(i.Low), math.Ceil(i.High)
	if low == 0 && high == 0 {
		return "0"
	}
	return fmt.Sprintf("%+.0f to %+.0f", low, high)
}

// cells returns the ends of the interval for CSV, empty where there is none.
func (i *intervalView) cells() (low, high string) {
	if i == nil {
		return "", ""
	}
	return formatNumber(i.Low), formatNumber(i.High)
}

// printResultCSV prints a row for each quantile, with all that holds for the whole release repeated.
func printResultCSV(w io.Writer, r resultView) error {
	start, end := "", ""
	if r.Window != nil {
		start, end = r.Window.Start.UTC().Format(time.RFC3339Nano), r.Window.End.UTC().Format(time.RFC3339Nano)
	}
	header := []string{
		"metric", "window_start", "window_end", "q", "value", "lower", "upper", "rank_error_low", "rank_error_high",
		"estimator", "epsilon", "delta", "rho", "confidence", "neighbours", "unit", "contributions", "prior", "release_id",
	}
	var rows [][]string
	for _, q := range r.Quantiles {
		low, high := q.RankError.cells()
		rows = append(rows, []string{
			r.Metric, start, end, formatNumber(q.Q), formatNumber(q.Value), q.Lower.String(), q.Upper.String(), low, high,
			r.Estimator, r.Epsilon.String(), formatNumber(r.Delta), r.Rho.String(), formatNumber(r.Confidence), r.Neighbours, r.Unit, strconv.Itoa(r.Contributions), r.Prior, r.ReleaseID,
		})
	}
	return printCSV(w, header, rows)
}

// viewQuantiles returns answers as they are printed.
func viewQuantiles(answers []dp.Quantile) []quantileView {
	views := make([]quantileView, len(answers))
	for i, a := range answers {
		views[i] = quantileView{Q: a.Q, Value: a.Value, Lower: edge(a.Lower), Upper: edge(a.Upper)}
		if a.RankError != nil {
			views[i].RankError = &intervalView{a.RankError.Low, a.RankError.High}
		}
	}
	return views
}
