package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const planSources = `sources:
  - {name: shop, unit: user, epsilon: 1, delta: 1e-6, approximate: 1e-7, period: 24h}
  - {name: visits, unit: event, epsilon: 1, period: 24h}
metrics:
  - {name: latency, source: shop, window: 1h, contributions: {windows: 3}}
  - {name: size, source: visits}
releases:
`

const planFits = planSources + `  - {name: hourly, metric: latency, quantiles: [0.5, 0.9, 0.99], epsilon: 0.1}
  - {name: noise, metric: latency, rho: 0.001, every: 6h}
  - {name: labels, metric: latency, epsilon: 0.01, delta: 1e-8, every: 12h}
  - {name: sizes, metric: size, epsilon: 0.5, span: 4h}
`

func TestPlanPrintsWhatAPeriodCosts(t *testing.T) {
	want := `release  metric   source  in       per window  windows  per period       budget         left  fits
hourly   latency  shop    rho        0.000625       24    0.001875  0.024129622  0.022254622  yes
noise    latency  shop    rho           0.001        4       0.003  0.024129622  0.019254622  yes
labels   latency  shop    rho         0.00005        2      0.0001  0.024129622  0.019154622  yes
sizes    size     visits  epsilon         0.5       24         0.5            1          0.5  yes

source  unit   period  epsilon  delta         loss  fits
shop    user   24h           1  1e-06  0.429248079  yes
visits  event  24h           1      0          0.5  yes
`
	if got := succeed(t, planFits, "plan", "-"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	csv := succeed(t, "", "plan", write(t, "schedule.yaml", planFits), "--format", "csv")
	if want := "sizes,size,visits,epsilon,0.5,24,0.5,1,0.5,yes\n"; strings.Count(csv, "\n") != 5 || !strings.HasSuffix(csv, want) {
		t.Errorf("%s does not end with %s", csv, want)
	}
	var view planView
	if err := json.Unmarshal([]byte(succeed(t, planFits, "plan", "-", "--format", "json")), &view); err != nil {
		t.Fatal(err)
	}
	labels := view.Releases[2]
	if labels.PerWindow.Epsilon != nil || *labels.Total.Rho != "0.004975" || labels.PerPeriod.Delta != "2e-08" || labels.Releases != 2 || !labels.Fits {
		t.Errorf("%+v", labels)
	}
	if s := view.Sources[0]; s.Rho != "0.024129622" || *s.Loss != "0.429248079" || s.Approximate != "1e-07" || s.Period != 86400 {
		t.Errorf("%+v", s)
	}
}

func TestAPlanThatDoesNotFitIsRefused(t *testing.T) {
	f := func(release, row, message string) {
		t.Helper()
		o := execute(t, planFits+"  - "+release+"\n", "plan", "-")
		if o.code != exitRefused || !strings.Contains(o.stdout, row) || o.stderr != "quietile: privacy budget exceeded: with release \"more\" a unit of source "+message+"\n" {
			t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
		}
	}
	f(`{name: more, metric: size, epsilon: 0.25, span: 2h, every: 1h, times: 2}`,
		"more     size     visits  epsilon        0.25       24           1            1         -0.5  no\n", `"visits" loses epsilon 1.5 of 1`)
	f(`{name: more, metric: latency, rho: 0.02, span: 24h}`,
		"0.020000001", `"shop" loses rho 0.024975001 of 0.024129622 and delta 2e-08 of 1e-07`)
}

func TestPlanReadsThePolicyBesideIt(t *testing.T) {
	path := write(t, "metrics.yaml", `sources:
  - {name: shop, unit: user, epsilon: 0.5, period: 24h}
metrics:
  - {name: latency, source: shop, grid: {linear: {lower: 0, upper: 8, bins: 8}}, window: 2h, contributions: {per_window: 3, windows: 4}}
`)
	schedule := filepath.Join(filepath.Dir(path), "schedule.yaml")
	f := func(more, want string) {
		t.Helper()
		text := "policy: metrics.yaml\n" + more + "releases:\n  - {name: day, metric: latency, epsilon: 0.4, span: 24h}\n"
		if err := os.WriteFile(schedule, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := succeed(t, "", "plan", schedule); !strings.Contains(got, want) {
			t.Errorf("%s does not hold %s", got, want)
		}
	}
	f("", "day      latency  shop    epsilon         0.1       12         0.4     0.5   0.1  yes\n")
	f("sources: [{name: shop, unit: user, epsilon: 4, period: 1d}]\n",
		"day      latency  shop    epsilon         0.1       12         0.4       4   3.6  yes\n")
}

func TestAPlanKnowsTheDeltaAndTheMetricsBudgetsOfThePolicy(t *testing.T) {
	path := write(t, "metrics.yaml", `sources:
  - {name: shop, unit: event, epsilon: 1, delta: 1e-6, period: 24h}
metrics:
  - {name: latency, source: shop, grid: {linear: {lower: 0, upper: 8, bins: 8}}, window: 24h, budget: {epsilon: 0.2}}
  - {name: size, source: shop, grid: {linear: {lower: 0, upper: 8, bins: 8}}, window: 24h}
`)
	plan := "policy: " + path + `
releases:
  - {name: first, metric: latency, epsilon: 0.1}
  - {name: second, metric: latency, epsilon: 0.1}
  - {name: sizes, metric: size, rho: 0.001}
`
	want := `source  metric   unit   period  epsilon  delta         loss  fits
shop             event  24h           1  1e-06  0.654078949  yes
shop    latency  event  24h         0.2      0          0.2  yes
`
	if got := succeed(t, plan, "plan", "-"); !strings.HasSuffix(got, want) {
		t.Errorf("%s\ndoes not end with\n%s", got, want)
	}
	o := execute(t, plan+"  - {name: more, metric: latency, epsilon: 0.000000001}\n", "plan", "-")
	if message := "with release \"more\" a unit of metric \"latency\" loses epsilon 0.200000001 of 0.2\n"; o.code != exitRefused || !strings.HasSuffix(o.stderr, message) {
		t.Errorf("exit code %d, %q, want %q", o.code, o.stderr, message)
	}
	if !strings.Contains(o.stdout, "0.2      0  0.200000001  no") || strings.Count(o.stdout, "no\n") != 2 {
		t.Errorf("the plan is %s", o.stdout)
	}
}

func TestWhatIsWrongInAScheduleIsToldWithItsLine(t *testing.T) {
	f := func(schedule string, texts ...string) {
		t.Helper()
		fail(t, exitUsage, schedule, []string{"plan", "-"}, append(texts, "standard input: ")...)
	}
	f("", "releases is missing")
	f("releases: []", "releases is missing")
	f("releases: [", "line 1: ")
	f("rleases: []", `line 1: unknown field "rleases"`)
	f("releases: 3", "line 1: ")
	f("releases:\n  - name: [a]\n", "line 2: ", "is not a text or a number")
	f("releases: [{name: a}]\n---\na: 1\n", "more than one document")
	f("releases: [{name: a, name: b}]", "line 1: ", `"name"`)
	f("policy: /nowhere/metrics.yaml\nreleases: [{name: a}]", "line 1: policy is refused: ", "/nowhere/metrics.yaml")
	release := func(fields string, texts ...string) {
		t.Helper()
		f(planSources+"  - {"+fields+"}\n", texts...)
	}
	release("name: a", "line 8: releases[0].metric is missing")
	release("metric: size", "releases[0].name is missing")
	release("name: a, metric: b", `line 8: releases[0].metric "b" is not declared`)
	release("name: a, metric: size, eps: 1", `line 8: unknown field "eps"`)
	release("name: a, metric: size", "line 8: releases[0] takes one of epsilon and rho")
	release("name: a, metric: size, epsilon: 1, rho: 1", "takes one of epsilon and rho")
	release("name: a, metric: size, epsilon: 1e-3", `line 8: releases[0].epsilon is refused: epsilon "1e-3" is not a decimal number`)
	release("name: a, metric: size, rho: -1", `line 8: releases[0].rho is refused: rho "-1" is not a decimal number`)
	release("name: a, metric: size, rho: 1, delta: 1", `line 8: releases[0].delta is refused: delta "1" is not less than 1`)
	release("name: a, metric: size, rho: 1, quantiles: [0.5]", "releases[0].rho is given with quantiles")
	release("name: a, metric: size, epsilon: 1, delta: 1e-6, quantiles: [0.5]", "releases[0].delta is given with quantiles")
	release("name: a, metric: size, epsilon: 1, quantiles: [0.5, 1]", "line 8: releases[0].quantiles[1] is refused: quantile 1 is not between 0 and 1")
	release("name: a, metric: size, epsilon: 1, quantiles: [0.5], estimator: magic", "line 8: releases[0].estimator is refused: ")
	release("name: a, metric: size, epsilon: 1, quantiles: [0.1234567891]", "line 8: releases[0] is refused: ", "more than nine decimals")
	release("name: a, metric: size, epsilon: 1, estimator: recursive", "releases[0].estimator is given without quantiles")
	release("name: a, metric: size, epsilon: 1, span: 90m", "line 8: releases[0].span 1h30m is not a number of windows of 1h within the period of 24h")
	release("name: a, metric: size, epsilon: 1, span: 48h", "line 8: releases[0].span 2d is not a number of windows")
	release("name: a, metric: size, epsilon: 1, span: 0h", "line 8: releases[0].span 0s is not a number of windows")
	release("name: a, metric: size, epsilon: 1, every: 90m", "line 8: releases[0].every 1h30m is not a number of windows of 1h")
	release("name: a, metric: size, epsilon: 1, every: 1x", "line 8: releases[0].every is refused: ")
	release("name: a, metric: size, epsilon: 1, times: 0", `line 8: releases[0].times is refused: "0" is not a whole number`)
	release("name: a, metric: latency, epsilon: 1, delta: 1e-9, span: 2h", `release "a": delta 1e-09 with span 2`)
	release("name: a, metric: size, epsilon: 1}\n  - {name: a, metric: size, epsilon: 1", `release "a" stands twice`)
	change := func(old, replacement string, texts ...string) {
		t.Helper()
		f(strings.Replace(planFits, old, replacement, 1), texts...)
	}
	change("name: visits", "name: shop", `line 3: sources[1].name "shop" stands twice`)
	change("unit: event", "unit: box", `line 3: sources[1].unit is "box", neither event nor user`)
	change("unit: event, ", "", `line 3: sources[1].unit is missing`)
	change("delta: 1e-6", "delta: 1e-8", "approximate 1e-07 is not from 0 to less than delta 1e-08")
	change("name: size", "name: latency", `line 6: metrics[1].name "latency" stands twice`)
	change("source: visits", "source: none", `line 6: metrics[1].source "none" is not declared`)
	change("source: visits", "source: visits, contributions: {windows: 2}", `line 6: metrics[1].contributions are given, and source "visits" is of events`)
	change(", contributions: {windows: 3}", "", "line 5: metrics[0] has no contributions.windows")
	change("window: 1h", "window: 0h", `windows of 0s`)
	f(strings.Replace(planSources, "1h", "5h", 1)+"  - {name: a, metric: latency, epsilon: 1}\n", `release "a": window 5h0m0s does not divide period`)
}

func TestASchedulePeriodMustBeThePolicys(t *testing.T) {
	path := write(t, "metrics.yaml", "sources: [{name: shop, unit: user, epsilon: 0.5, period: 24h}]\n")
	fail(t, exitUsage, "policy: "+path+"\nsources: [{name: shop, unit: user, epsilon: 4, period: 12h}]\nreleases: [{name: a, metric: b, epsilon: 1}]\n", []string{"plan", "-"},
		"line 2: sources[0] has unit user and period 12h, and user and 24h in the policy")
	fail(t, exitUsage, "", []string{"plan", "/nowhere/schedule.yaml"}, "/nowhere/schedule.yaml")
	fail(t, exitUsage, "", []string{"plan"}, "plan FILE|-")
}
