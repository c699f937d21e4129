package main

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"
)

func fakeResult() resultView {
	return resultView{
		Metric:        "latency",
		Window:        &windowView{time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)},
		Estimator:     "recursive",
		Epsilon:       "0.123456789",
		Neighbours:    "add-remove",
		Unit:          "user",
		Contributions: 3,
		Prior:         "uniform",
		ReleaseID:     "r1",
		Quantiles: []quantileView{
			{Q: 0.05, Value: -2, Lower: edge(math.Inf(-1)), Upper: -2},
			{Q: 0.5, Value: 0.1, Lower: 0.1, Upper: 12345678.25},
			{Q: 0.999, Value: 1e21, Lower: 1e21, Upper: edge(math.Inf(1))},
		},
	}
}

func printed(t *testing.T, format string, r resultView) string {
	t.Helper()
	var b bytes.Buffer
	if err := printResult(&b, format, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestResultsPrintAsTables(t *testing.T) {
	want := `latency: recursive, ε = 0.123456789, uniform prior, window 2026-01-02T03:00:00Z to 2026-01-02T04:00:00Z
unit user of at most 3 records, add-remove neighbours
release r1
    q  value  lower     upper
 0.05     -2   -inf        -2
  0.5    0.1    0.1  12345678
0.999  1e+21  1e+21      +inf
`
	if got := printed(t, formatTable, fakeResult()); got != want {
		t.Errorf("table:\n%s\nwant:\n%s", got, want)
	}
}

func TestTablesRoundNumbersButNotTheirWholePart(t *testing.T) {
	f := func(x float64, want string) {
		t.Helper()
		if got := compactNumber(x); got != want {
			t.Errorf("compactNumber(%v) = %s, want %s", x, got, want)
		}
	}
	f(0, "0")
	f(-0.5, "-0.5")
	f(28.015625, "28.015625")
	f(0.1+0.2, "0.3")
	f(115.17933276955618, "115.17933")
	f(-65.40141751386346, "-65.401418")
	f(99999999.6, "100000000")
	f(12345678901.5, "12345678902")
	f(123456789012345678, "123456789012345680")
	f(1.23456789012e-9, "1.2345679e-09")
	f(math.MaxFloat64, "1.7976931e+308")
	f(math.SmallestNonzeroFloat64, "5e-324")
}

func TestResultsPrintAsCSV(t *testing.T) {
	const all = "recursive,0.123456789,0,,0,add-remove,user,3,uniform,r1\n"
	const window = "latency,2026-01-02T03:00:00Z,2026-01-02T04:00:00Z,"
	want := "metric,window_start,window_end,q,value,lower,upper,rank_error_low,rank_error_high,estimator,epsilon,delta,rho,confidence,neighbours,unit,contributions,prior,release_id\n" +
		window + "0.05,-2,-inf,-2,,," + all +
		window + "0.5,0.1,0.1,12345678.25,,," + all +
		window + "0.999,1e+21,1e+21,+inf,,," + all
	if got := printed(t, formatCSV, fakeResult()); got != want {
		t.Errorf("CSV:\n%s\nwant:\n%s", got, want)
	}
}

func TestResultsPrintAsJSON(t *testing.T) {
	const want = `{"metric":"latency","window":{"start":"2026-01-02T03:00:00Z","end":"2026-01-02T04:00:00Z"},"estimator":"recursive",
		"epsilon":0.123456789,"delta":0,"neighbours":"add-remove","unit":"user","contributions":3,"prior":"uniform","release_id":"r1","quantiles":[
		{"q":0.05,"value":-2,"lower":null,"upper":-2,"rank_error":null},
		{"q":0.5,"value":0.1,"lower":0.1,"upper":12345678.25,"rank_error":null},
		{"q":0.999,"value":1e+21,"lower":1e+21,"upper":null,"rank_error":null}]}`
	f := func(got, want string) {
		t.Helper()
		var g, w any
		if err := json.Unmarshal([]byte(got), &g); err != nil {
			t.Fatalf("%v in %s", err, got)
		}
		if err := json.Unmarshal([]byte(want), &w); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(g, w) {
			t.Errorf("JSON:\n%s\nwant:\n%s", got, want)
		}
	}
	f(printed(t, formatJSON, fakeResult()), want)
	f(printed(t, formatJSON, resultView{Epsilon: "1", Quantiles: []quantileView{}}),
		`{"metric":"","window":null,"estimator":"","epsilon":1,"delta":0,"neighbours":"","unit":"","contributions":0,"prior":"","quantiles":[]}`)
}

func TestRankErrorsAreShownWhereKnown(t *testing.T) {
	r := resultView{
		Estimator: "tree", Epsilon: "1", Delta: 1e-9, Rho: "0.0117", Prior: "uniform", Unit: "event", Contributions: 1, Neighbours: "add-remove", Confidence: 0.95,
		Quantiles: []quantileView{{Q: 0.5, RankError: &intervalView{-2.25, 7.5}}, {Q: 0.6}},
	}
	want := `tree, ε = 1, δ = 1e-09, ρ = 0.0117, uniform prior
unit event of at most 1 record, add-remove neighbours
  q  value  lower  upper  rank error (95 %)
0.5      0      0      0           -3 to +8
0.6      0      0      0
`
	if got := printed(t, formatTable, r); got != want {
		t.Errorf("table:\n%s\nwant:\n%s", got, want)
	}
}

func TestTextOfOthersCannotSteerTheTerminal(t *testing.T) {
	if got := printable("a\x1b[2J"); got != `"a\x1b[2J"` {
		t.Errorf("printable = %s", got)
	}
}
