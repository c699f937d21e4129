package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const daemonPolicy = `
sources:
  - {name: census, unit: event, epsilon: 3, period: 24h}
  - {name: people, unit: user, epsilon: 1, period: 24h}
  - {name: register, unit: event, epsilon: 2, delta: 1e-6, period: 24h}
metrics:
  - {name: age, source: census, grid: {linear: {lower: 0, upper: 128, bins: 8192}}, clock: manual, window: 24h}
  - name: visits
    source: people
    grid: {linear: {lower: 0, upper: 10, bins: 10}}
    clock: manual
    window: 24h
    contributions: {per_window: 1, windows: 1}
  - name: height
    source: register
    grid: {linear: {lower: 0, upper: 256, bins: 256}}
    clock: manual
    window: 24h
    budget: {epsilon: 1, delta: 1e-7}
    records: 5000
`

// daemon runs quietile serve on a new data directory until the test ends, and returns the directory.
func daemon(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	policyFile := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policyFile, []byte(daemonPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	log, writer := io.Pipe()
	go func() {
		ended <- run(ctx, []string{"serve", "--data", data, "--port", "-1", "--policy", policyFile, "--answer-slot", "1ms"}, nil, io.Discard, writer)
		writer.Close()
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitOK {
			t.Errorf("serve ended with exit code %d", code)
		}
	})
	ready := make(chan bool, 1)
	go func() {
		var seen bytes.Buffer
		chunk := make([]byte, 4096)
		for {
			n, err := log.Read(chunk)
			seen.Write(chunk[:n])
			if strings.Contains(seen.String(), "msg=serving") {
				ready <- true
				io.Copy(io.Discard, log)
				return
			}
			if err != nil {
				t.Logf("serve said %s", seen.String())
				ready <- false
				return
			}
		}
	}()
	if !<-ready {
		t.Fatal("the daemon did not start")
	}
	return data
}

// say runs a command line against a daemon that must not fail, and returns what it prints.
func say(t *testing.T, data, stdin string, args ...string) string {
	t.Helper()
	o := execute(t, stdin, append(args, "--data", data)...)
	if o.code != exitOK {
		t.Fatalf("quietile %q: exit code %d, standard error %q", args, o.code, o.stderr)
	}
	return o.stdout
}

// counted waits until a metric's counters show that n samples were accepted.
func counted(t *testing.T, data, metric string, n uint64) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		var views []metricView
		if err := json.Unmarshal([]byte(say(t, data, "", "metric", "list", "--counters", "--format", "json")), &views); err != nil {
			t.Fatal(err)
		}
		for _, v := range views {
			if v.Metric == metric && v.Counters.Accepted == n {
				return
			}
			if v.Metric == metric && time.Now().After(deadline) {
				t.Fatalf("%s: %+v, want %d accepted", metric, v.Counters, n)
			}
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestPublishedSamplesAreAskedFor(t *testing.T) {
	data := daemon(t)
	var csv, lines strings.Builder
	csv.WriteString("id,age\n")
	for i := range 5000 {
		csv.WriteString(strconv.Itoa(i) + "," + strconv.Itoa(20+i%50) + "\n")
		lines.WriteString(`{"value": ` + strconv.Itoa(i%10) + `, "unit": "p` + strconv.Itoa(i/2) + `", "time": "2026-03-01T12:00:00Z"}` + "\n")
	}
	say(t, data, csv.String(), "publish", "age", "--value-column", "age", "--time", "2026-03-01")
	say(t, data, lines.String(), "publish", "visits")
	counted(t, data, "age", 5000)
	counted(t, data, "visits", 2500) // each of 2,500 people is counted once

	ask := []string{"query", "age", "-q", "0.5,0.1", "--epsilon", "1", "--data", data, "--format"}
	fail(t, exitFailed, "", append(ask, "json"), "not sealed")
	say(t, data, "", "seal", "age", "--through", "2026-03-02")
	say(t, data, "", "seal", "visits", "--through", "2026-03-02")
	var r resultView
	text := succeed(t, "", append(ask, "json")...)
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	if r.Metric != "age" || r.Epsilon != "1" || r.Unit != "event" || r.ReleaseID == "" || r.Window.Start.Format(time.DateOnly) != "2026-03-01" ||
		len(r.Quantiles) != 2 || r.Quantiles[0].Q != 0.5 || r.Quantiles[0].Value < 43 || r.Quantiles[0].Value > 46 {
		t.Errorf("released %s", text)
	}
	if again := succeed(t, "", append(ask, "json")...); again != text {
		t.Errorf("asked again it is %s, before it was %s", again, text)
	}
	if out := succeed(t, "", append(ask, "csv")...); strings.Count(out, "\n") != 3 {
		t.Errorf("CSV is %s", out)
	}
	fail(t, exitRefused, "", []string{"query", "age", "-q", "0.5", "--epsilon", "2.5", "--data", data}, "privacy budget exceeded", "2 is left")
	if out := say(t, data, "", "budget", "age", "--format", "csv"); !strings.Contains(out, "census,,event,2026-03-01T00:00:00Z,3,,1,2,,,\n") {
		t.Errorf("the budget is %s", out)
	}
	if out := say(t, data, "", "metric", "show", "visits"); !strings.Contains(out, "per_window: 1") || strings.Contains(out, "age") {
		t.Errorf("visits is declared as %s", out)
	}
}

func TestAnswersAndBudgetsWithADeltaAreShown(t *testing.T) {
	data := daemon(t)
	var lines strings.Builder
	for i := range 5000 {
		lines.WriteString(strconv.Itoa(150+i%50) + "\n")
	}
	say(t, data, lines.String(), "publish", "height", "--time", "2026-03-01")
	counted(t, data, "height", 5000)
	say(t, data, "", "seal", "height", "--through", "2026-03-02")

	ask := func(format string, flags ...string) string {
		t.Helper()
		return say(t, data, "", append([]string{"query", "height", "-q", "0.25,0.75", "--epsilon", "0.5", "--delta", "1e-7", "--format", format}, flags...)...)
	}
	all := []string{"--estimator", "auto", "--n-hint", "4000", "--confidence", "0.95", "--confidence-share", "0.2", "--neighbours", "replace-one"}
	var r resultView
	text := ask("json", all...)
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	if r.Epsilon != "0.5" || r.Delta != 1e-7 || r.Rho == "" || r.Neighbours != "replace-one" || r.Confidence != 0.95 ||
		r.Predicted == nil || r.Predicted.Estimator != r.Estimator || r.Predicted.Max < r.Predicted.Mean || r.Quantiles[1].Value < 180 || r.Quantiles[1].Value > 195 {
		t.Errorf("released %s", text)
	}
	for _, q := range r.Quantiles {
		if q.RankError == nil || q.RankError.Low > q.RankError.High {
			t.Errorf("rank error %v in %s", q.RankError, text)
		}
	}
	for _, name := range []string{`"rank_error"`, `"low"`, `"high"`, `"predicted"`, `"mean_rank_error"`, `"max_rank_error"`, `"confidence"`, `"rho"`} {
		if !strings.Contains(text, name) {
			t.Errorf("%s has no field %s", text, name)
		}
	}
	table := ask("table", all...)
	for _, part := range []string{"ε = 0.5, δ = 1e-07, ρ = " + r.Rho.String() + ",", "replace-one neighbours", "chosen for an expected rank error of", "rank error (95 %)", "release " + r.ReleaseID} {
		if !strings.Contains(table, part) {
			t.Errorf("%q is not in %s", part, table)
		}
	}
	if out := ask("csv", all...); !strings.Contains(out, ",0.5,1e-07,"+r.Rho.String()+",0.95,replace-one,") {
		t.Errorf("CSV is %s", out)
	}
	say(t, data, "", "query", "height", "-q", "0.5", "--epsilon", "0.125", "--estimator", "tree", "--format", "json")

	var budgets []budgetView
	if err := json.Unmarshal([]byte(say(t, data, "", "budget", "height", "--format", "json")), &budgets); err != nil {
		t.Fatal(err)
	}
	spent := 0
	for _, b := range budgets {
		if len(b.Charges) == 0 {
			continue // of today
		}
		spent++
		wantEpsilon, wantDelta := "2", "1e-06"
		if b.Metric != "" {
			wantEpsilon, wantDelta = "1", "1e-07"
		}
		if b.Budget.String() != wantEpsilon || b.Delta.String() != wantDelta || b.Spent != "" || b.SpentRho == "" || b.LeftRho == "" || b.Rho == "" || b.Left == "" || len(b.Charges) != 2 {
			t.Errorf("the budget is %+v", b)
		}
	}
	if spent != 2 {
		t.Errorf("%d budgets are charged, want the source's and the metric's: %+v", spent, budgets)
	}
	if out := say(t, data, "", "budget"); !strings.Contains(out, "left_rho") || !strings.Contains(out, "height") {
		t.Errorf("the budgets are %s", out)
	}
	if out := say(t, data, "", "budget", "age"); strings.Contains(out, "rho") || strings.Contains(out, "metric") {
		t.Errorf("a budget in epsilon alone is shown as %s", out)
	}
	if out := say(t, data, "", "budget", "--charges", "--format", "csv"); strings.Count(out, "\n") != 3 || !strings.Contains(out, ",,"+r.Rho.String()+","+r.ReleaseID) {
		t.Errorf("the charges are %s", out)
	}
	fail(t, exitRefused, "", []string{"query", "height", "-q", "0.5", "--epsilon", "1", "--delta", "1e-7", "--data", data}, "metric height", "left of the metric's own budget")
	say(t, data, "", "seal", "age", "--through", "2026-03-02")
	fail(t, exitRefused, "", []string{"query", "age", "-q", "0.5", "--epsilon", "1", "--delta", "1e-7", "--data", data}, "source census is in epsilon alone")
	if out := say(t, data, "", "metric", "show", "height"); !strings.Contains(out, "delta: 1e-06") || !strings.Contains(out, "budget: {epsilon: 1, delta: 1e-07}") || !strings.Contains(out, "records: 5000") {
		t.Errorf("height is declared as %s", out)
	}
}

func TestADumpTravelsWholeOrNotAtAll(t *testing.T) {
	from, to := daemon(t), daemon(t)
	say(t, from, strings.Repeat("30\n40\n40\n", 100), "publish", "age", "--time", "2026-03-01")
	counted(t, from, "age", 300)
	file := filepath.Join(t.TempDir(), "age.qtd")
	if out := succeed(t, say(t, from, "", "dump", "visits"), "release", "-", "--dump", "--grid", "linear:lower=0,upper=10,bins=10", "-q", "0.5", "--epsilon", "1", "--format", "csv"); strings.Count(out, "\n") != 2 {
		t.Errorf("a dump without samples releases %q", out)
	}
	say(t, from, "", "dump", "age", "-o", file)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if o := execute(t, "", "load", file, "--data", to); o.code != exitFailed {
			t.Errorf("with byte %d flipped, load ended with %d", i, o.code)
		}
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	say(t, to, "", "load", file)
	counted(t, to, "age", 300)
	say(t, to, "", "dump", "age", "-o", file+"2")
	again, err := os.ReadFile(file + "2")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(whole, again) {
		t.Error("the dump of the loaded window is not the one that was loaded")
	}
	if out := succeed(t, "", "release", file, "--dump", "--public-grid", "-q", "0.1,0.9", "--epsilon", "10", "--format", "csv"); !strings.Contains(out, ",0.1,30,") || !strings.Contains(out, ",0.9,40,") {
		t.Errorf("the dump releases %s", out)
	}
	fail(t, exitFailed, "", []string{"release", file, "--dump", "--grid", "linear:lower=0,upper=1,bins=2", "-q", "0.5", "--epsilon", "1"}, "the grids differ", "bins=8192")
}

func TestWrongUseOfTheDaemonChangesNothing(t *testing.T) {
	data := daemon(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f := func(args []string, texts ...string) {
		t.Helper()
		fail(t, exitUsage, "a,b\n1,2\n", append(args, "--data", data), texts...)
	}
	f([]string{"query", "age", "-q", "1.5", "--epsilon", "1"}, "1.5")
	f([]string{"query", "age", "-q", "0", "--epsilon", "1"}, "quantile 0")
	f([]string{"query", "age", "-q", "0.5", "--epsilon", "0"}, "epsilon", `"0"`)
	f([]string{"query", "age", "-q", "0.5", "--epsilon", "-1"}, "epsilon", `"-1"`)
	f([]string{"query", "age", "-q", "0.5"}, "--epsilon")
	f([]string{"query", "age", "--epsilon", "1"}, "-q")
	f([]string{"query", "nothing", "-q", "0.5", "--epsilon", "1"}, `unknown metric "nothing"`)
	f([]string{"query", "age", "-q", "0.5", "--epsilon", "1", "--window", "yesterday"}, "--window", "yesterday")
	f([]string{"query", "age", "-q", "0.5", "--epsilon", "1", "--estimator", "magic"}, `"magic"`)
	f([]string{"query", "age", "-q", "0.5", "--epsilon", "1", "--prior", "magic"}, `"magic"`)
	f([]string{"query", "age", "-q", "0.5", "--epsilon", "1", "--delta", "1"}, "--delta", `"1"`)
	f([]string{"query", "age", "-q", "0.5", "--epsilon", "1", "--n-hint", "-1"}, "--n-hint", "-1")
	f([]string{"query", "age", "-q", "0.5", "--epsilon", "1", "--neighbours", "all"}, "--neighbours", `"all"`)
	f([]string{"publish", "age", "--value-column", "c"}, `"c"`)
	f([]string{"publish", "age", filepath.Join(dir, "missing.csv")}, "missing.csv")
	f([]string{"publish", "nothing", "--value-column", "a"}, `unknown metric "nothing"`)
	f([]string{"publish", "visits", "--value-column", "a"}, "--unit-column")
	f([]string{"publish", "age", "--value-column", "a", "--unit-column", "b"}, "--unit-column")
	f([]string{"publish", "age", "--value-column", "a", "--time", "1", "--time-column", "b"}, "--time")
	f([]string{"seal", "age"}, "--through")
	f([]string{"seal", "age", "--through", "soon"}, "soon")
	f([]string{"metric", "show", "nothing"}, `"nothing"`)
	f([]string{"budget", "nothing"}, `"nothing"`)
	f([]string{"metric", "apply", write("field.yaml", "sources:\n  - {name: x, unit: event, epsilon: 1, period: 1h, colour: red}\n")}, "colour", "line 2")
	f([]string{"metric", "apply", write("unit.yaml", "sources:\n  - {name: census, unit: user, epsilon: 1, period: 24h}\n")}, "census", "unit")
	f([]string{"serve", "--policy", write("grid.yaml", "sources:\n  - {name: s, unit: event, epsilon: 1, period: 1h}\nmetrics:\n  - {name: m, source: s, grid: {linear: {lower: 5, upper: 1, bins: 3}}}\n")}, "lower 5")
	fail(t, exitFailed, "1\nx\n", []string{"publish", "age", "--data", data}, "line 2", `"x"`, "1 samples before it")
	fail(t, exitFailed, "", []string{"serve", "--data", data, "--port", "-1"}, "in use", data)
	fail(t, exitFailed, "", []string{"metric", "list", "--counters", "--data", dir}, dir, "--data")
	counted(t, data, "age", 1)
	counted(t, data, "visits", 0)
	if out := say(t, data, "", "budget", "--format", "csv"); strings.Contains(out, "2026-03-01") {
		t.Errorf("something was charged: %s", out)
	}
}

func TestTheDemoShowsTheWholePath(t *testing.T) {
	var v demoView
	text := succeed(t, "", "demo", "--format", "json", "--seed", "1")
	d := json.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if v.Samples < 200_000 || v.Users != demoUsers || len(v.Releases) != demoWindows*len(demoQuestions) {
		t.Errorf("%d samples, %d users, %d releases", v.Samples, v.Users, len(v.Releases))
	}
	for _, r := range v.Releases {
		for _, q := range r.Truth {
			if q.RankErrorShare > 0.02 {
				t.Errorf("%s %v: q %v misses by %.2f %%", r.Metric, r.Window.Start, q.Q, 100*q.RankErrorShare)
			}
		}
	}
	if !v.Repeated.Same || v.Repeated.Cost != "0" {
		t.Errorf("the repeated question: %+v", v.Repeated)
	}
	if !v.Refused.Refused || !strings.Contains(v.Refused.Error, "2 is left") {
		t.Errorf("the overspending question: %+v", v.Refused)
	}
	if len(v.Budgets) != 2 || v.Budgets[0].Spent != "6" || v.Budgets[1].Spent != "0.5" {
		t.Errorf("the budgets: %+v", v.Budgets)
	}
}
