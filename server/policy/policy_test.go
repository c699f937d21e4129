package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

const shop = `# what the shop declares
sources:
  - name: shop
    unit: user
    epsilon: 4
    period: 24h
  - name: hosts
    unit: event
    epsilon: 0.000000001
    period: 1w
metrics:
  - name: checkout-latency
    source: shop
    grid: {exponential: {scale: 5, min: 0.001, max: 1000}}
    contributions: {per_window: 3, windows: 24}
  - name: load
    source: hosts
    grid: {linear: {lower: 0, upper: 128, bins: 8192}}
    representative: within
    clock: manual
    window: 1d
  - name: errors
    source: hosts
    grid:
      explicit:
        - 0
        - 1
        - 5
    lateness: 90s
`

func parse(t *testing.T, text string) *quietilev1.Policy {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseReadsWhatIsDeclaredAndFillsInDefaults(t *testing.T) {
	day := int64(24 * time.Hour)
	want := &quietilev1.Policy{
		Sources: []*quietilev1.Source{
			{Name: "shop", Unit: quietilev1.Unit_UNIT_USER, BudgetNanoEpsilon: 4_000_000_000, PeriodNanos: day},
			{Name: "hosts", Unit: quietilev1.Unit_UNIT_EVENT, BudgetNanoEpsilon: 1, PeriodNanos: 7 * day},
		},
		Metrics: []*quietilev1.Metric{
			{
				Name: "checkout-latency", Source: "shop", Unit: quietilev1.Unit_UNIT_USER, PeriodNanos: day,
				Grid: &quietilev1.Grid{Kind: &quietilev1.Grid_Exponential{Exponential: &quietilev1.ExponentialGrid{
					Scale: 5, Min: proto.Float64(0.001), Max: proto.Float64(1000),
				}}},
				Representative: quietilev1.Representative_REPRESENTATIVE_WITHIN,
				Clock:          quietilev1.Clock_CLOCK_STREAM,
				WindowNanos:    int64(time.Hour), LatenessNanos: int64(time.Minute),
				MaxPerWindow: 3, MaxWindows: 24,
			},
			{
				Name: "load", Source: "hosts", Unit: quietilev1.Unit_UNIT_EVENT, PeriodNanos: 7 * day,
				Grid: &quietilev1.Grid{Kind: &quietilev1.Grid_Linear{Linear: &quietilev1.LinearGrid{
					Upper: 128, Bins: 8192,
				}}},
				Representative: quietilev1.Representative_REPRESENTATIVE_WITHIN,
				Clock:          quietilev1.Clock_CLOCK_MANUAL,
				WindowNanos:    day,
			},
			{
				Name: "errors", Source: "hosts", Unit: quietilev1.Unit_UNIT_EVENT, PeriodNanos: 7 * day,
				Grid: &quietilev1.Grid{Kind: &quietilev1.Grid_Explicit{Explicit: &quietilev1.ExplicitGrid{
					Breaks: []float64{0, 1, 5},
				}}},
				Representative: quietilev1.Representative_REPRESENTATIVE_LOWER,
				Clock:          quietilev1.Clock_CLOCK_STREAM,
				WindowNanos:    int64(time.Hour), LatenessNanos: int64(90 * time.Second),
			},
		},
	}
	if got := parse(t, shop); !proto.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
}

func TestAnEmptyFileIsAnEmptyPolicy(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing yet\n", "---\n"} {
		if p := parse(t, text); !proto.Equal(p, &quietilev1.Policy{}) {
			t.Errorf("%q: %v", text, p)
		}
	}
}

func TestParseFileNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if _, err := ParseFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want fs.ErrNotExist", err)
	}
	if err := os.WriteFile(path, []byte(shop), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := ParseFile(path); err != nil || !proto.Equal(p, parse(t, shop)) {
		t.Errorf("%v, %v", p, err)
	}
	if err := os.WriteFile(path, []byte("sauces: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseFile(path); err == nil || err.Error() != path+": line 1: sauces is unknown: the fields are sources, metrics" {
		t.Error(err)
	}
}

func TestAWrongFileIsRefusedInOneLineThatNamesFieldAndLine(t *testing.T) {
	f := func(old, spoiled, want string) {
		t.Helper()
		if !strings.Contains(shop, old) {
			t.Fatalf("the policy has no %q", old)
		}
		_, err := Parse([]byte(strings.Replace(shop, old, spoiled, 1)))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v\nwant %s", spoiled, err, want)
		}
	}
	f("sources:", "sauces:", "line 2: sauces is unknown: the fields are sources, metrics")
	f("per_window: 3", "per_windw: 3", "line 15: metrics[0].contributions.per_windw is unknown")
	f("bins: 8192", `"bi\nns": 8192`, `line 18: metrics[1].grid.linear.bi\nns is unknown`)
	f("unit: event", "unit: event\n    unit: user", `line 9: mapping key "unit" already defined`)
	f("    period: 24h\n", "", "line 3: sources[0].period is missing")
	f("    epsilon: 4\n", "", "line 3: sources[0].epsilon is missing")
	f(", bins: 8192", "", "line 18: metrics[1].grid.linear.bins is missing")
	f(", windows: 24", "", "line 15: metrics[0].contributions.windows is missing")
	f("name: load", "name: 17", "line 16: metrics[1].name is the number 17, not a text: quote it")
	f("name: load", "name: [load]", "line 16: metrics[1].name is a list, not a text")
	f("name: load", "name: true", `line 16: metrics[1].name is "true", not a text`)
	f("name: load", "name:", "line 16: metrics[1].name is null, not a text")
	f("unit: event", "unit: row", `line 8: sources[1].unit is "row", neither event nor user`)
	f("clock: manual", "clock: wall", `line 20: metrics[1].clock is "wall", neither stream nor manual`)
	f("representative: within", "representative: upper", `line 19: metrics[1].representative is "upper", neither lower nor within`)
	f("epsilon: 4", "epsilon: 4e0", `line 5: sources[0].epsilon is refused: epsilon "4e0" is not a decimal`)
	f("epsilon: 4", "epsilon: 0.0000000001", "line 5: sources[0].epsilon is refused: epsilon \"0.0000000001\" has more than nine decimals")
	f("epsilon: 4", "epsilon: {a: 1}", "line 5: sources[0].epsilon is a mapping, not a decimal number")
	f("period: 24h", "period: 5", `line 6: sources[0].period is refused: "5" is not a duration such as`)
	f("period: 24h", "period: [1h]", "line 6: sources[0].period is a list, not a duration")
	f("window: 1d", "window: 1m30", `line 21: metrics[1].window is refused: "1m30" is not a duration`)
	f("bins: 8192", "bins: 64.5", `metrics[1].grid.linear.bins is "64.5", not a whole number`)
	f("bins: 8192", "bins: 010", `metrics[1].grid.linear.bins is "010", not a whole number`)
	f("bins: 8192", `bins: "64"`, `metrics[1].grid.linear.bins is "64", not a whole number`)
	f("bins: 8192", "bins: -1", "metrics[1].grid.linear.bins is -1, outside 1 to 4294967295")
	f("bins: 8192", "bins: 99999999999999999999", "metrics[1].grid.linear.bins is 99999999999999999999, outside")
	f("upper: 128", "upper: .inf", `line 18: metrics[1].grid.linear.upper is ".inf", not a finite number`)
	f("upper: 128", "upper: 1e999", `metrics[1].grid.linear.upper is "1e999", not a finite number`)
	f("upper: 128", "upper: 0x80", `metrics[1].grid.linear.upper is "0x80", not a finite number`)
	f("- 5", "- five", `line 28: metrics[2].grid.explicit[2] is "five", not a finite number`)
	f("{exponential: {", "{linear: {lower: 0, upper: 1, bins: 2}, exponential: {", "line 14: metrics[0].grid has 2 kinds, and takes one of")
	f("{exponential: {scale: 5, min: 0.001, max: 1000}}", "{}", "line 14: metrics[0].grid has 0 kinds")
	f("{per_window: 3, windows: 24}", "3", `line 15: metrics[0].contributions is "3", not a mapping with per_window, windows`)
	f("clock: manual", "clock: manual\n    lateness: 0s", "line 21: metrics[1].lateness is given with clock manual")
	f("lateness: 90s", "contributions: {per_window: 1, windows: 1}", `line 29: metrics[2].contributions are given, and source "hosts" is of events`)
	f("unit: user", "unit: &u user", "line 4: sources[0].unit is an anchor, alias or tag, not a text")
	f("unit: user", "unit: !!str user", "line 4: sources[0].unit is an anchor, alias or tag, not a text")
	f("unit: user", "<<: {unit: user}", "line 4: sources[0].<< is unknown")
	f("metrics:", "---\nmetrics:", "line 12: a second document begins")
	f("metrics:", "metrics: none\nmore:", `line 12: more is unknown`)
	f("unit: user", "\tunit: user", "line 4: ")
	f("metrics:", "metrics", "line 11: ")
	f(shop, `sources: [{name: "a\nb", unit: event, epsilon: 1, period: 1d}]
metrics: [{name: m, source: "a\nb", grid: {explicit: [0, 1]}, contributions: {per_window: 1, windows: 1}}]`,
		`line 2: metrics[0].contributions are given, and source "a\nb" is of events`)
	f(shop, "[]", "line 1: the file is a list, not a mapping with sources, metrics")
	f(shop, "sources: {}", "line 1: sources is a mapping, not a list")
	f(shop, "sources: [shop]", `line 1: sources[0] is "shop", not a mapping with name, unit, epsilon, delta, period`)
	f("epsilon: 4", "epsilon: 4\n    delta: 1", `line 6: sources[0].delta is refused: delta "1" is not less than 1`)
	f("epsilon: 4", "epsilon: 4\n    delta: 0", `line 6: sources[0].delta is refused: delta "0" is not more than 0`)
	f("epsilon: 4", "epsilon: 4\n    delta: 1e-19", `line 6: sources[0].delta is refused: delta "1e-19" has more than 18 decimals`)
	f("epsilon: 4", "epsilon: 4\n    delta: [1e-6]", "line 6: sources[0].delta is a list, not a number such as 1e-6")
	f("clock: manual", "budget: 1", `line 20: metrics[1].budget is "1", not a mapping with epsilon, delta`)
	f("clock: manual", "budget: {delta: 1e-6}", "line 20: metrics[1].budget.epsilon is missing")
	f("clock: manual", "budget: {epsilon: 0}", `line 20: metrics[1].budget.epsilon is refused: epsilon "0" is not more than 0`)
	f("clock: manual", "budget: {epsilon: 2}", `metric "load": budget.epsilon 2 is more than its source's, 0.000000001`)
	f("clock: manual", "budget: {epsilon: 0.000000001, delta: 1e-6}", `metric "load": budget.delta 1e-06 is more than its source's, 0`)
	f("clock: manual", "records: 0", "line 20: metrics[1].records is 0, outside 1 to 1099511627776")
	f("clock: manual", "records: 1e6", `line 20: metrics[1].records is "1e6", not a whole number`)
}

func TestBudgetsAreReadExactly(t *testing.T) {
	p := parse(t, strings.NewReplacer("epsilon: 4", "epsilon: 4\n    delta: 0.000001000000000001",
		"contributions:", "budget: {epsilon: 0.3, delta: 1e-18}\n    records: 20000\n    contributions:").Replace(shop))
	if s := p.Sources[0]; s.BudgetNanoEpsilon != 4_000_000_000 || s.BudgetAttoDelta != 1_000_000_000_001 {
		t.Errorf("the source has %v", s)
	}
	if m := p.Metrics[0]; m.BudgetNanoEpsilon != 300_000_000 || m.BudgetAttoDelta != 1 || m.Records != 20000 {
		t.Errorf("the metric has %v", m)
	}
	if s, m := p.Sources[1], p.Metrics[1]; s.BudgetAttoDelta != 0 || m.BudgetNanoEpsilon != 0 || m.BudgetAttoDelta != 0 || m.Records != 0 {
		t.Errorf("what is not given is %v, %v", s, m)
	}
}

func TestValidateNamesWhatItRefuses(t *testing.T) {
	f := func(want string, spoil func(source *quietilev1.Source, user, manual *quietilev1.Metric)) {
		t.Helper()
		p := parse(t, shop)
		spoil(p.Sources[0], p.Metrics[0], p.Metrics[1])
		err := Validate(p)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v\nwant %s", err, want)
		}
		if _, err := Format(p); err == nil {
			t.Errorf("%s: formatted", want)
		}
	}
	type source = *quietilev1.Source
	type metric = *quietilev1.Metric
	f(`source "Shop": name "Shop" is not`, func(s source, _, _ metric) { s.Name = "Shop" })
	f(`source "hosts" stands twice`, func(s source, _, _ metric) { s.Name = "hosts" })
	f(`source "shop": unit UNIT_UNSPECIFIED`, func(s source, _, _ metric) { s.Unit = 0 })
	f(`source "shop": epsilon 0 is not more than 0`, func(s source, _, _ metric) { s.BudgetNanoEpsilon = 0 })
	f(`source "shop": epsilon 1000.000000001 is more than 1000`, func(s source, _, _ metric) { s.BudgetNanoEpsilon = 1000_000_000_001 })
	f(`source "shop": delta -0.000000000000000001 is negative`, func(s source, _, _ metric) { s.BudgetAttoDelta = -1 })
	f(`source "shop": delta 1 is not less than 1`, func(s source, _, _ metric) { s.BudgetAttoDelta = int64(one) })
	f(`metric "checkout-latency": budget.epsilon -0.000000001 is not more than 0`, func(_ source, m, _ metric) { m.BudgetNanoEpsilon = -1 })
	f(`metric "checkout-latency": budget.epsilon 0 is not more than 0`, func(_ source, m, _ metric) { m.BudgetAttoDelta = 1 })
	f(`metric "checkout-latency": budget.delta 1e-18 is more than its source's, 0`, func(_ source, m, _ metric) { m.BudgetNanoEpsilon, m.BudgetAttoDelta = 1, 1 })
	f(`metric "checkout-latency": budget.epsilon 4.000000001 is more than its source's, 4`, func(_ source, m, _ metric) { m.BudgetNanoEpsilon = 4_000_000_001 })
	f(`metric "checkout-latency": records 1099511627777 is more than 1099511627776`, func(_ source, m, _ metric) { m.Records = 1<<40 + 1 })
	f(`source "shop": period 0s is less than 1s`, func(s source, _, _ metric) { s.PeriodNanos = 0 })
	f(`metric "a.b": name "a.b" is not`, func(_ source, m, _ metric) { m.Name = "a.b" })
	f(`metric "load" stands twice`, func(_ source, m, _ metric) { m.Name = "load" })
	f(`metric "checkout-latency": source "census" is not declared`, func(_ source, m, _ metric) { m.Source = "census" })
	f(`metric "checkout-latency": unit UNIT_EVENT is not its source's, UNIT_USER`, func(_ source, m, _ metric) { m.Unit = quietilev1.Unit_UNIT_EVENT })
	f(`metric "checkout-latency": period 48h0m0s is not its source's, 24h0m0s`, func(_ source, m, _ metric) { m.PeriodNanos *= 2 })
	f(`metric "checkout-latency": window 0s is less than 1s`, func(_ source, m, _ metric) { m.WindowNanos = 0 })
	f(`metric "checkout-latency": window -1h0m0s is less than 1s`, func(_ source, m, _ metric) { m.WindowNanos *= -1 })
	f(`metric "checkout-latency": window 7h0m0s does not divide its source's period 24h0m0s`, func(_ source, m, _ metric) { m.WindowNanos *= 7 })
	f(`metric "checkout-latency": window 48h0m0s does not divide`, func(_ source, m, _ metric) { m.WindowNanos *= 48 })
	f(`metric "checkout-latency": clock 7 is neither`, func(_ source, m, _ metric) { m.Clock = 7 })
	f(`metric "checkout-latency": lateness -1ns is outside`, func(_ source, m, _ metric) { m.LatenessNanos = -1 })
	f(`metric "checkout-latency": lateness 8760h0m0.000000001s is outside`, func(_ source, m, _ metric) { m.LatenessNanos = int64(maxLateness) + 1 })
	f(`metric "load": lateness 1ns with clock manual`, func(_ source, _, m metric) { m.LatenessNanos = 1 })
	f(`metric "load": representative REPRESENTATIVE_UNSPECIFIED is neither`, func(_ source, _, m metric) { m.Representative = 0 })
	f(`metric "checkout-latency": contributions.per_window 0 is outside 1 to 1000000`, func(_ source, m, _ metric) { m.MaxPerWindow = 0 })
	f(`metric "checkout-latency": contributions.per_window 1000001 is outside`, func(_ source, m, _ metric) { m.MaxPerWindow = 1_000_001 })
	f(`metric "checkout-latency": contributions.windows 0 is outside`, func(_ source, m, _ metric) { m.MaxWindows = 0 })
	f(`metric "checkout-latency": contributions.windows 25 is outside 1 to the 24 windows`, func(_ source, m, _ metric) { m.MaxWindows = 25 })
	f(`metric "load": contributions.per_window 1 and contributions.windows 0 are for metrics whose unit is user`, func(_ source, _, m metric) { m.MaxPerWindow = 1 })
	f(`metric "load": grid`, func(_ source, _, m metric) { m.Grid = nil })
	f(`metric "load": linear grid: `, func(_ source, _, m metric) { m.Grid.GetLinear().Upper = math.NaN() })
	f(`metric "load": grid has 1048577 buckets, and at most 1048576`, func(_ source, _, m metric) { m.Grid.GetLinear().Bins = 1<<20 - 1 })
	f(`metric "checkout-latency": exponential`, func(_ source, m, _ metric) { m.Grid.GetExponential().Min = nil })
}

func TestTheEndsOfEveryRangeAreValid(t *testing.T) {
	f := func(name string, change func(source *quietilev1.Source, user, event *quietilev1.Metric)) {
		t.Helper()
		p := parse(t, shop)
		p.Metrics = []*quietilev1.Metric{p.Metrics[0], p.Metrics[2]}
		change(p.Sources[0], p.Metrics[0], p.Metrics[1])
		if err := Validate(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	type source = *quietilev1.Source
	type metric = *quietilev1.Metric
	f("the largest budget", func(s source, _, _ metric) { s.BudgetNanoEpsilon = int64(maxBudget) })
	f("a window and a period of a second", func(s source, m, _ metric) {
		s.PeriodNanos, m.PeriodNanos, m.WindowNanos = int64(time.Second), int64(time.Second), int64(time.Second)
		m.MaxWindows = 1
	})
	f("no lateness", func(_ source, _, m metric) { m.LatenessNanos = 0 })
	f("the longest lateness", func(_ source, _, m metric) { m.LatenessNanos = int64(maxLateness) })
	f("the most samples", func(_ source, m, _ metric) { m.MaxPerWindow = maxPerWindow })
	f("every window", func(_ source, m, _ metric) { m.MaxWindows = 24 })
	f("the largest grid", func(_ source, _, m metric) {
		m.Grid = &quietilev1.Grid{Kind: &quietilev1.Grid_Linear{Linear: &quietilev1.LinearGrid{Upper: 1, Bins: maxBuckets - 2}}}
	})
	f("the largest delta and the most records", func(s source, m, _ metric) {
		s.BudgetAttoDelta, m.BudgetAttoDelta, m.BudgetNanoEpsilon, m.Records = int64(one)-1, int64(one)-1, s.BudgetNanoEpsilon, maxRecords
	})
	f("a name of 64", func(_ source, m, _ metric) { m.Name = strings.Repeat("a", 64) })
}

func TestFormatIsReadBackToAnEqualPolicy(t *testing.T) {
	f := func(p *quietilev1.Policy) {
		t.Helper()
		text, err := Format(p)
		if err != nil {
			t.Fatalf("%v: %v", p, err)
		}
		got, err := Parse(text)
		if err != nil || !proto.Equal(got, p) {
			t.Fatalf("%v\n%v\nwant %v\n%s", err, got, p, text)
		}
	}
	f(&quietilev1.Policy{})
	f(parse(t, shop))
	for _, name := range []string{"null", "true", "yes", "no", "on", "off", "y", "inf", "nan", "e3", "0", "017", "0x1f", "1e3", "12-3", "1_000", "2024-05-17", "b-", strings.Repeat("a", 64)} {
		p := parse(t, shop)
		p.Sources[0].Name, p.Metrics[0].Source, p.Metrics[0].Name = name, name, name
		f(p)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		f(anyPolicy(r))
	}
}

// anyPolicy returns a valid policy.
func anyPolicy(r *rand.Rand) *quietilev1.Policy {
	p := new(quietilev1.Policy)
	for i := range r.IntN(3) {
		window := int64(time.Second) + r.Int64N(int64(3*time.Hour))
		if r.IntN(2) == 0 {
			window = window / int64(time.Minute+1) * int64(time.Minute)
			window = max(window, int64(time.Minute))
		}
		windows := 1 + r.Int64N(40)
		s := &quietilev1.Source{
			Name: fmt.Sprint("source-", i), Unit: quietilev1.Unit(1 + r.IntN(2)),
			BudgetNanoEpsilon: 1 + r.Int64N(1000_000_000_000), PeriodNanos: window * windows,
		}
		if r.IntN(2) == 0 {
			s.BudgetAttoDelta = r.Int64N(int64(math.Pow(10, float64(r.IntN(19)))))
		}
		p.Sources = append(p.Sources, s)
		for j := range r.IntN(3) {
			m := &quietilev1.Metric{
				Name: fmt.Sprint("metric-", i, "-", j), Source: s.Name, Unit: s.Unit, PeriodNanos: s.PeriodNanos,
				Grid:           anyGrid(r),
				Representative: quietilev1.Representative(1 + r.IntN(2)),
				Clock:          quietilev1.Clock(1 + r.IntN(2)),
				WindowNanos:    window,
			}
			if m.Clock == quietilev1.Clock_CLOCK_STREAM {
				m.LatenessNanos = r.Int64N(int64(maxLateness))
			}
			if r.IntN(2) == 0 {
				m.BudgetNanoEpsilon, m.BudgetAttoDelta = 1+r.Int64N(s.BudgetNanoEpsilon), r.Int64N(s.BudgetAttoDelta+1)
				m.Records = r.Uint64N(maxRecords + 1)
			}
			if s.Unit == quietilev1.Unit_UNIT_USER {
				m.MaxPerWindow, m.MaxWindows = 1+r.Uint32N(maxPerWindow), 1+r.Uint32N(uint32(windows))
			}
			p.Metrics = append(p.Metrics, m)
		}
	}
	return p
}

func anyGrid(r *rand.Rand) *quietilev1.Grid {
	low := (r.Float64() - 0.5) * math.Pow(10, float64(r.IntN(40)-20))
	high := low + math.Abs(low)*(1+r.Float64())
	switch r.IntN(4) {
	case 0:
		return &quietilev1.Grid{Kind: &quietilev1.Grid_Linear{Linear: &quietilev1.LinearGrid{Lower: low, Upper: high, Bins: 1 + r.Uint32N(50)}}}
	case 1:
		return &quietilev1.Grid{Kind: &quietilev1.Grid_Explicit{Explicit: &quietilev1.ExplicitGrid{Breaks: []float64{-math.MaxFloat64, low, high, math.MaxFloat64}}}}
	case 2:
		return &quietilev1.Grid{Kind: &quietilev1.Grid_Exponential{Exponential: &quietilev1.ExponentialGrid{Scale: int32(r.IntN(4))}}}
	default:
		return &quietilev1.Grid{Kind: &quietilev1.Grid_Exponential{Exponential: &quietilev1.ExponentialGrid{Scale: int32(r.IntN(4)), Min: &low, Max: &high}}}
	}
}

func TestDurationsHaveDaysAndWeeks(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	const day = 24 * time.Hour
	f("0", 0)
	f("90s", 90*time.Second)
	f("1h30m", 90*time.Minute)
	f("1.5h", 90*time.Minute)
	f("-1h", -time.Hour)
	f("7d", 7*day)
	f("2w", 14*day)
	f("2w1d", 15*day)
	f("1d12h", 36*time.Hour)
	f("0d", 0)
	f("15250w1d23h47m16.854775807s", math.MaxInt64)
	for _, text := range []string{"", "5", "d", "w", "-1d", "+1d", "1d-1h", "1d+1h", "1d1w", "1d1d", "1.5d", "1e3d", "d1h", " 1d", "1D", "15251w", "106752d", "15250w1d23h47m16.854775808s"} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestDurationsAreWrittenShortAndReadBack(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := FormatDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	f(0, "0s")
	f(time.Minute, "1m")
	f(10*time.Minute, "10m")
	f(24*time.Hour, "24h")
	f(10*time.Hour, "10h")
	f(25*time.Hour, "25h")
	f(48*time.Hour, "2d")
	f(14*24*time.Hour, "2w")
	f(time.Hour+30*time.Second, "1h0m30s")
	f(90*time.Minute, "1h30m")
	f(1, "1ns")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	units := []time.Duration{1, time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour}
	for range 10000 {
		d := time.Duration(r.Int64N(5000)) * units[r.IntN(len(units))]
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%v became %v: %v", d, got, err)
		}
	}
}

var now = time.Date(2024, 5, 17, 13, 0, 0, 0, time.UTC)

func change(t *testing.T, current, wanted *quietilev1.Policy) *quietilev1.Policy {
	t.Helper()
	currentBefore, wantedBefore := proto.CloneOf(current), proto.CloneOf(wanted)
	p, err := Change(current, wanted, now)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(current, currentBefore) || !proto.Equal(wanted, wantedBefore) {
		t.Error("a policy was changed by comparing it")
	}
	return p
}

func TestWhatIsNewIsInForceForAllTime(t *testing.T) {
	p := change(t, &quietilev1.Policy{}, parse(t, shop))
	if len(p.Sources) != 2 || len(p.Metrics) != 3 {
		t.Fatalf("%v", p)
	}
	for _, m := range p.Metrics {
		if m.Version != 1 || m.EffectiveFromUnixNano != math.MinInt64 {
			t.Errorf("%s: version %d from %d", m.Name, m.Version, m.EffectiveFromUnixNano)
		}
	}
}

func TestApplyingAPolicyAgainChangesNothing(t *testing.T) {
	current := change(t, &quietilev1.Policy{}, parse(t, shop))
	for _, m := range current.Metrics {
		m.Version, m.EffectiveFromUnixNano = 7, 42
	}
	if p := change(t, current, parse(t, shop)); len(p.Sources)+len(p.Metrics) != 0 {
		t.Errorf("%v", p)
	}
}

func TestWhatIsNotNamedStays(t *testing.T) {
	current := change(t, &quietilev1.Policy{}, parse(t, shop))
	if p := change(t, current, &quietilev1.Policy{}); len(p.Sources)+len(p.Metrics) != 0 {
		t.Errorf("%v", p)
	}
}

func TestAChangedMetricIsInForceFromTheNextBudgetPeriod(t *testing.T) {
	f := func(old, changed string) {
		t.Helper()
		current := change(t, &quietilev1.Policy{}, parse(t, shop))
		p := change(t, current, parse(t, strings.Replace(shop, old, changed, 1)))
		if len(p.Sources) != 0 || len(p.Metrics) != 1 {
			t.Fatalf("%v", p)
		}
		want := time.Date(2024, 5, 18, 0, 0, 0, 0, time.UTC).UnixNano()
		if m := p.Metrics[0]; m.Name != "checkout-latency" || m.Version != 2 || m.EffectiveFromUnixNano != want {
			t.Errorf("%v", m)
		}
	}
	f("scale: 5", "scale: 4")
	f("per_window: 3", "per_window: 4")
	f("windows: 24", "windows: 1")
	f("contributions", "representative: lower\n    contributions")
	f("contributions", "budget: {epsilon: 1}\n    contributions")
	f("contributions", "records: 1000\n    contributions")
	f("contributions", "lateness: 2m\n    contributions")
	f("contributions", "clock: manual\n    contributions")
	f("contributions: {per_window: 3, windows: 24}", "window: 30m\n    contributions: {per_window: 3, windows: 24}")
}

func TestAChangeAtTheStartOfAPeriodWaitsForTheNext(t *testing.T) {
	current := change(t, &quietilev1.Policy{}, parse(t, shop))
	midnight := time.Date(2024, 5, 18, 0, 0, 0, 0, time.UTC)
	p, err := Change(current, parse(t, strings.Replace(shop, "scale: 5", "scale: 4", 1)), midnight)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Metrics[0].EffectiveFromUnixNano; got != midnight.AddDate(0, 0, 1).UnixNano() {
		t.Errorf("in force from %v", time.Unix(0, got).UTC())
	}
}

func TestAVersionIsNotInForceBeforeTheOneItFollows(t *testing.T) {
	current := change(t, &quietilev1.Policy{}, parse(t, shop))
	later := now.AddDate(1, 0, 0).UnixNano()
	current.Metrics[0].EffectiveFromUnixNano = later
	p := change(t, current, parse(t, strings.Replace(shop, "scale: 5", "scale: 4", 1)))
	if got := p.Metrics[0].EffectiveFromUnixNano; got != later {
		t.Errorf("in force from %v", time.Unix(0, got).UTC())
	}
}

func TestABudgetMayChangeAndItsMetricsStay(t *testing.T) {
	current := change(t, &quietilev1.Policy{}, parse(t, shop))
	p := change(t, current, parse(t, strings.Replace(shop, "epsilon: 4", "epsilon: 5", 1)))
	if len(p.Sources) != 1 || p.Sources[0].BudgetNanoEpsilon != 5_000_000_000 || len(p.Metrics) != 0 {
		t.Errorf("%v", p)
	}
	p = change(t, current, parse(t, strings.Replace(shop, "epsilon: 4", "epsilon: 4\n    delta: 1e-6", 1)))
	if len(p.Sources) != 1 || p.Sources[0].BudgetAttoDelta != 1_000_000_000_000 || len(p.Metrics) != 0 {
		t.Errorf("%v", p)
	}
}

func TestABudgetDoesNotFallBelowThatOfAMetricThatStays(t *testing.T) {
	text := strings.Replace(strings.Replace(shop, "epsilon: 4", "epsilon: 4\n    delta: 1e-6", 1), "contributions", "budget: {epsilon: 3, delta: 1e-7}\n    contributions", 1)
	current := change(t, &quietilev1.Policy{}, parse(t, text))
	f := func(source, want string) {
		t.Helper()
		_, err := Change(current, parse(t, "sources: [{name: shop, unit: user, "+source+", period: 24h}]"), now)
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%s: %v\nwant %s", source, err, want)
		}
	}
	f("epsilon: 3, delta: 1e-7", "<nil>")
	f("epsilon: 2.9, delta: 1e-7", `metric "checkout-latency", which stays: budget.epsilon 3 is more than its source's, 2.9`)
	f("epsilon: 3", `metric "checkout-latency", which stays: budget.delta 1e-07 is more than its source's, 0`)
	both := strings.NewReplacer("epsilon: 4", "epsilon: 2", "budget: {epsilon: 3", "budget: {epsilon: 2").Replace(text)
	if p := change(t, current, parse(t, both)); len(p.Sources) != 1 || len(p.Metrics) != 1 {
		t.Errorf("lowered together: %v", p)
	}
}

func TestUnitPeriodAndSourceNeverChange(t *testing.T) {
	f := func(wanted, want string) {
		t.Helper()
		current := change(t, &quietilev1.Policy{}, parse(t, shop))
		_, err := Change(current, parse(t, wanted), now)
		if err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	f("sources: [{name: shop, unit: event, epsilon: 4, period: 24h}]", `source "shop": unit user cannot become event`)
	f("sources: [{name: shop, unit: user, epsilon: 4, period: 12h}]", `source "shop": period 24h cannot become 12h`)
	f("sources: [{name: new, unit: event, epsilon: 4, period: 1w}]\nmetrics: [{name: errors, source: new, grid: {explicit: [0, 1, 5]}, lateness: 90s}]",
		`metric "errors": source "hosts" cannot become "new"`)
}

func TestNextCountsVersionsOfOneMetric(t *testing.T) {
	first := parse(t, shop).Metrics[0]
	v1, err := Next(nil, first, now)
	if err != nil || v1.Version != 1 || v1.EffectiveFromUnixNano != math.MinInt64 {
		t.Fatalf("%v, %v", v1, err)
	}
	if same, err := Next(v1, first, now); err != nil || !proto.Equal(same, v1) {
		t.Errorf("declared again: %v, %v", same, err)
	}
	changed := proto.CloneOf(first)
	changed.MaxPerWindow++
	v2, err := Next(v1, changed, now)
	if err != nil || v2.Version != 2 || v2.EffectiveFromUnixNano != time.Date(2024, 5, 18, 0, 0, 0, 0, time.UTC).UnixNano() {
		t.Errorf("%v, %v", v2, err)
	}
	f := func(want string, spoil func(*quietilev1.Metric)) {
		t.Helper()
		m := proto.CloneOf(first)
		spoil(m)
		if _, err := Next(v1, m, now); err == nil || err.Error() != `metric "checkout-latency": `+want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	f(`name cannot become "load"`, func(m *quietilev1.Metric) { m.Name = "load" })
	f(`source "shop" cannot become "hosts"`, func(m *quietilev1.Metric) { m.Source = "hosts" })
	f("unit user cannot become event", func(m *quietilev1.Metric) { m.Unit = quietilev1.Unit_UNIT_EVENT })
	f("period 24h cannot become 2d", func(m *quietilev1.Metric) { m.PeriodNanos *= 2 })
}

func FuzzParseRefusesInOneLineOrReadsWhatFormatWrites(f *testing.F) {
	f.Add([]byte(shop))
	f.Add([]byte("sources: [{name: a, unit: user, epsilon: 1, period: 1d}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		text, err := Format(p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(text); err != nil || !proto.Equal(got, p) {
			t.Fatalf("%v\n%v\nwant %v", err, got, p)
		}
	})
}

func TestAChangeAtTheLastMinuteWaitsForAnotherPeriod(t *testing.T) {
	parse := func(bins int) *quietilev1.Policy {
		t.Helper()
		p, err := Parse(fmt.Appendf(nil, `
sources: [{name: s, unit: event, epsilon: 1, period: 24h}]
metrics: [{name: m, source: s, grid: {linear: {lower: 0, upper: 1, bins: %d}}}]`, bins))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	current, err := Change(&quietilev1.Policy{}, parse(10), day)
	if err != nil {
		t.Fatal(err)
	}
	f := func(now time.Time, want time.Time) {
		t.Helper()
		change, err := Change(current, parse(20), now)
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Unix(0, change.GetMetrics()[0].GetEffectiveFromUnixNano()).UTC(); !got.Equal(want) {
			t.Errorf("declared at %v it is in force from %v, want %v", now, got, want)
		}
	}
	f(day.Add(23*time.Hour), day.Add(24*time.Hour))
	f(day.Add(24*time.Hour-notice-1), day.Add(24*time.Hour))
	f(day.Add(24*time.Hour-notice), day.Add(48*time.Hour))
}
