package policy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp/prior/learn"
)

// priorPolicy declares a metric with something about its priors.
func priorPolicy(release string) string {
	return `
sources: [{name: s, unit: event, epsilon: 1, period: 24h}]
metrics:
  - {name: m, source: s, grid: {linear: {lower: 0, upper: 10, bins: 8}}, window: 6h` + release + "}\n"
}

func TestPriorsAreReadAndWrittenBack(t *testing.T) {
	f := func(release, prior string, config learn.Config) {
		t.Helper()
		p := parse(t, priorPolicy(release))
		m := p.GetMetrics()[0]
		if Prior(m) != prior {
			t.Errorf("%q: prior %q, want %q", release, Prior(m), prior)
		}
		got := Learner(m, learn.Proxy)
		if got.Optimiser != config.Optimiser || got.Robust != config.Robust || !slices.Equal(got.Features, config.Features) || !slices.Equal(got.Covariates, config.Covariates) {
			t.Errorf("%q: %+v, want %+v", release, got, config)
		}
		text, err := Format(p)
		if err != nil {
			t.Fatal(err)
		}
		if again := parse(t, string(text)); !proto.Equal(again, p) {
			t.Errorf("%q: read back it is %v", release, again)
		}
	}
	hour := []string{learn.Hour}
	f("", "proxy", learn.Config{Robust: 0.1, Features: hour})
	f(", release: {prior: uniform}", "uniform", learn.Config{Robust: 0.1, Features: hour})
	f(`, release: {prior: "cauchy:location=5,scale=1", robust: 0.5}`, "cauchy:location=5,scale=1", learn.Config{Robust: 0.5, Features: hour})
	f(", release: {prior: proxy, optimiser: sgd, features: [weekday], covariates: [rain, \"a b\"]}", "proxy", learn.Config{Robust: 0.1, Optimiser: "sgd", Features: []string{"weekday"}, Covariates: []string{"rain", "a b"}})
	f(", release: {prior: curve}", "curve", learn.Config{Robust: 0.1, Features: hour})
	f(", release: {prior: dp-ftrl, features: [none], share: 0.25}", "dp-ftrl", learn.Config{Robust: 0.1})
}

func TestWrongPriorsNameTheFieldAndTheValue(t *testing.T) {
	f := func(release, want string) {
		t.Helper()
		if _, err := Parse([]byte(priorPolicy(", release: " + release))); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", release, err, want)
		}
	}
	f("{prior: oracle}", `release.prior "oracle"`)
	f(`{prior: "weights:1,2"}`, "2 weights, and grid linear:lower=0,upper=10,bins=8 has 10 buckets")
	f(`{prior: "weights:1,-2"}`, "weight -2 of bucket 1")
	f("{robust: 0}", "robust is 0, not in (0, 1]")
	f("{robust: 2}", "robust is 2, not in (0, 1]")
	f("{optimiser: adam}", `release.optimiser "adam"`)
	f("{features: [month]}", `feature "month"`)
	f("{covariates: [a, a]}", `covariate "a"`)
	f("{share: 1}", "share is 1, not in (0, 1)")
	f("{prior: public}", "without a file")
	f("{prior: public:people.qtd}", "release.prior public:people.qtd")
	f("{color: red}", "color is unknown")
}

func TestAPublicFileThatIsMissingOrNoDumpIsNamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(path, []byte(priorPolicy(", release: {prior: public:people.qtd}")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseFile(path); err == nil || !strings.Contains(err.Error(), `metric "m": release.prior public:people.qtd`) {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "people.qtd"), []byte("no dump"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseFile(path); err == nil || !strings.Contains(err.Error(), "damaged dump") {
		t.Errorf("no dump: %v", err)
	}
}
