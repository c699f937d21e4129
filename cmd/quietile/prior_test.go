package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Through the daemon: with what was learned the mean error falls to a third of the uniform prior's, or less. (It is between a tenth and a fifth in twelve runs of twelve; errors are drawn from the secure source.)
func TestTheDemoOfManyDaysShowsTheErrorFalling(t *testing.T) {
	var v daysView
	if err := json.Unmarshal([]byte(succeed(t, "", "demo", "--days", "10", "--seed", "1", "--format", "json")), &v); err != nil {
		t.Fatal(err)
	}
	var learned, uniform float64
	late := v.Windows[min(12, len(v.Windows)):]
	for _, d := range late {
		learned += d.Learned / float64(len(late))
		uniform += d.Uniform / float64(len(late))
	}
	t.Logf("mean rank error from the fourth day on: %.1f, with the uniform prior %.1f", learned, uniform)
	if len(v.Windows) != 40 || len(v.Days) != 10 || learned > uniform/3 {
		t.Errorf("%d windows of %d days", len(v.Windows), len(v.Days))
	}
	if v.Belief == nil || len(v.Belief.Quantiles) != 1 || v.Belief.Quantiles[0].Releases != 40 || !(v.Belief.Quantiles[0].Surprise < v.Belief.Quantiles[0].Uniform) {
		t.Errorf("what is believed is %+v", v.Belief)
	}
}

func TestBeliefsAreShown(t *testing.T) {
	data := daemon(t)
	text := say(t, data, "", "prior", "show", "age")
	if !strings.Contains(text, "age: proxy, 0 releases taken in") {
		t.Errorf("before anything was released: %s", text)
	}
	say(t, data, "30\n40\n50\n", "publish", "age", "--time", "2026-03-01T00:00:00Z")
	say(t, data, "", "seal", "age", "--through", "2026-03-04T00:00:00Z")
	for _, day := range []string{"01", "02", "03"} {
		say(t, data, "", "query", "age", "-q", "0.5", "--epsilon", "0.5", "--window", "2026-03-"+day+"T00:00:00Z")
	}
	picture := filepath.Join(t.TempDir(), "beliefs.svg")
	text = say(t, data, "", "prior", "show", "age", "-o", picture)
	if !strings.Contains(text, "age: proxy, 3 releases taken in, window 2026-03-04T00:00:00Z to 2026-03-05T00:00:00Z") || !strings.Contains(text, "forecast") {
		t.Errorf("after three releases: %s", text)
	}
	wellFormed(t, picture)
	var v beliefView
	if err := json.Unmarshal([]byte(say(t, data, "", "prior", "show", "age", "--format", "json")), &v); err != nil || len(v.Quantiles) != 1 || len(v.Quantiles[0].Forecasts) != 2 {
		t.Errorf("%+v, error %v", v, err)
	}
	// The answer names the prior, and says when it could not be used.
	text = say(t, data, "", "query", "age", "-q", "0.25", "--epsilon", "0.1", "--window", "2026-03-03T00:00:00Z")
	if !strings.Contains(text, "proxy prior of 3 releases") {
		t.Errorf("the answer is %s", text)
	}
	text = say(t, data, "", "query", "age", "-q", "0.25", "--epsilon", "0.1", "--window", "2026-03-02T00:00:00Z", "--covariate", "rain=1")
	if !strings.Contains(text, `the prior's robust part alone: prior: covariate "rain" is not declared`) {
		t.Errorf("the answer is %s", text)
	}
	text = say(t, data, "", "query", "age", "-q", "0.25", "--epsilon", "0.1", "--window", "2026-03-02T00:00:00Z", "--estimator", "tree", "--prior", "curve")
	if !strings.Contains(text, "tree") || !strings.Contains(text, "curve prior of 5 releases") {
		t.Errorf("the answer is %s", text)
	}
	text = say(t, data, "", "query", "age", "-q", "0.25", "--epsilon", "0.1", "--window", "2026-03-02T00:00:00Z", "--prior", "curve")
	if !strings.Contains(text, "a forecast is combined with noisy counts, which estimator recursive does not read") {
		t.Errorf("the answer is %s", text)
	}
}

func wellFormed(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
}

func TestPublicRecordsMakeAPrior(t *testing.T) {
	values := strings.Repeat("37\n38\n39\n", 300)
	out := filepath.Join(t.TempDir(), "public.qtd")
	grid := "linear:lower=0,upper=128,bins=128"
	text := succeed(t, values, "prior", "learn", "--public", "-", "--grid", grid, "-o", out, "-q", "0.5")
	if !strings.Contains(text, "900 public records on "+grid) || !strings.Contains(text, "0.5") {
		t.Errorf("learn says %s", text)
	}
	// Of next to no records at next to no epsilon, the answer is what the prior says.
	text = succeed(t, "38\n", "release", "-", "-q", "0.5", "--epsilon", "0.001", "--grid", grid, "--prior", "public:"+out, "--format", "json")
	if !strings.Contains(text, `"prior": "public:`) {
		t.Errorf("the answer is %s", text)
	}
	fail(t, exitUsage, "38\n", []string{"release", "-", "-q", "0.5", "--epsilon", "1", "--grid", "linear:lower=0,upper=1,bins=2", "--prior", "public:" + out}, "public.qtd", "linear:lower=0,upper=128,bins=128")
	fail(t, exitUsage, "", []string{"prior", "learn", "--public", "-", "-o", out}, "grid")
	fail(t, exitUsage, "", []string{"demo", "--days", "1000"}, "--days 1000")
}
