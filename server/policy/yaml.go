package policy

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

const (
	defaultWindow   = time.Hour
	defaultLateness = time.Minute
)

// ParseFile reads a policy file as [Parse] does, and the dumps of public records that it names, which are beside it. Errors name the file.
func ParseFile(path string) (*quietilev1.Policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := decode(data)
	if err == nil {
		err = readPublic(p, filepath.Dir(path))
	}
	if err == nil {
		err = Validate(p)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// Parse reads a policy in YAML and validates it. A field that is unknown, given twice, missing or of
// another type is an error of one line that names the field and its line; what [Validate] refuses is one
// that names the source or metric, the field and the value. Anchors, aliases, tags, merges and further
// documents are refused. An empty file is an empty policy. Metrics get no version: see [Change]. A prior made of a file is refused: see [ParseFile].
func Parse(data []byte) (*quietilev1.Policy, error) {
	p, err := decode(data)
	if err != nil {
		return nil, err
	}
	if err := Validate(p); err != nil {
		return nil, err
	}
	return p, nil
}

// decode reads a policy without validating it.
func decode(data []byte) (*quietilev1.Policy, error) {
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, oneLine(err)
	}
	var bodies []ast.Node
	for _, d := range f.Docs {
		if d.Body != nil && d.Body.Type() != ast.CommentType {
			bodies = append(bodies, d.Body)
		}
	}
	p := new(quietilev1.Policy)
	switch len(bodies) {
	case 0:
		return p, nil
	case 1:
	default:
		return nil, fmt.Errorf("line %d: a second document begins, and a policy is one", line(bodies[1]))
	}
	d := new(decoder)
	fields := d.fields(field{value: bodies[0], line: line(bodies[0])}, "sources", "metrics")
	for _, s := range d.items(fields["sources"]) {
		p.Sources = append(p.Sources, d.source(s))
	}
	for _, m := range d.items(fields["metrics"]) {
		p.Metrics = append(p.Metrics, d.metric(m, p.Sources))
	}
	if d.err != nil {
		return nil, d.err
	}
	return p, nil
}

// oneLine reduces an error of the YAML library, which draws the place in the file, to one line.
func oneLine(err error) error {
	message := err.Error()
	var y yaml.Error
	if errors.As(err, &y) {
		message = y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			message = fmt.Sprintf("line %d: %s", t.Position.Line, message)
		}
	}
	return errors.New(strings.Join(strings.Fields(message), " "))
}

// field is a place in a policy file.
type field struct {
	path  string   // such as metrics[0].grid, empty for the whole file
	value ast.Node // nil if the field is not given
	line  int      // of the field's name, or of the mapping that lacks it
}

func (f field) given() bool { return f.value != nil }

// inner returns the place of a field inside f.
func (f field) inner(name string) field {
	if f.path != "" {
		name = f.path + "." + name
	}
	return field{path: name, line: f.line}
}

// line returns the line on which a node begins, from 1.
func line(n ast.Node) int {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

// decoder reads fields and keeps the first error, which makes whatever was read meaningless.
type decoder struct{ err error }

func (d *decoder) refuse(f field, format string, args ...any) {
	if d.err != nil {
		return
	}
	path := f.path
	if path == "" {
		path = "the file"
	}
	d.err = fmt.Errorf("line %d: %s %s", f.line, path, fmt.Sprintf(format, args...))
}

// fields reads a mapping that may have the fields of known names and no other. A name that is not given
// has no value.
func (d *decoder) fields(f field, known ...string) map[string]field {
	all := map[string]field{}
	for _, name := range known {
		all[name] = f.inner(name)
	}
	if !f.given() {
		d.refuse(f, "is missing")
		return all
	}
	var values []*ast.MappingValueNode
	switch m := f.value.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		d.refuse(f, "is %s, not a mapping with %s", kind(f.value), strings.Join(known, ", "))
		return all
	}
	for _, v := range values {
		name := v.Key.GetToken().Value
		inner := f.inner(name)
		inner.line = line(v.Key)
		switch {
		case !slices.Contains(known, name):
			escaped := strconv.Quote(name)
			inner.path = f.inner(escaped[1 : len(escaped)-1]).path
			d.refuse(inner, "is unknown: the fields are %s", strings.Join(known, ", "))
		case all[name].given():
			d.refuse(inner, "is given twice")
		}
		inner.value = v.Value
		all[name] = inner
	}
	return all
}

// items reads a sequence, which may be missing.
func (d *decoder) items(f field) []field {
	if !f.given() {
		return nil
	}
	sequence, ok := f.value.(*ast.SequenceNode)
	if !ok {
		d.refuse(f, "is %s, not a list", kind(f.value))
		return nil
	}
	items := make([]field, 0, len(sequence.Values))
	for i, v := range sequence.Values {
		items = append(items, field{path: fmt.Sprintf("%s[%d]", f.path, i), value: v, line: line(v)})
	}
	return items
}

// scalar returns the characters of a single value as they stand in the file, without quotes. A quoted
// one is taken only where quoted says so.
func (d *decoder) scalar(f field, want string, quoted bool) (string, bool) {
	if !f.given() {
		d.refuse(f, "is missing")
		return "", false
	}
	switch f.value.Type() {
	case ast.StringType, ast.IntegerType, ast.FloatType:
		t := f.value.GetToken()
		if quoted || t.Type != token.SingleQuoteType && t.Type != token.DoubleQuoteType {
			return t.Value, true
		}
	}
	d.refuse(f, "is %s, not %s", kind(f.value), want)
	return "", false
}

// kind says what a node is, for a single value by its characters.
func kind(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NullNode:
		return "null"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "an anchor, alias or tag"
	default:
		return strconv.Quote(n.GetToken().Value)
	}
}

func (d *decoder) text(f field) string {
	s, ok := d.scalar(f, "a text", true)
	if ok && f.value.Type() != ast.StringType {
		d.refuse(f, "is the number %s, not a text: quote it", s)
	}
	return s
}

// choice reads one of two texts.
func (d *decoder) choice(f field, first, second string) string {
	s := d.text(f)
	if s != first && s != second {
		d.refuse(f, "is %q, neither %s nor %s", s, first, second)
	}
	return s
}

func (d *decoder) epsilon(f field) dp.Epsilon {
	s, ok := d.scalar(f, "a decimal number such as 0.5", true)
	if !ok {
		return 0
	}
	e, err := dp.ParseEpsilon(s)
	if err != nil {
		d.refuse(f, "is refused: %v", err)
	}
	return e
}

func (d *decoder) delta(f field) budget.Delta {
	s, ok := d.scalar(f, "a number such as 1e-6", true)
	if !ok {
		return 0
	}
	v, err := budget.ParseDelta(s)
	if err != nil {
		d.refuse(f, "is refused: %v", err)
	}
	return v
}

func (d *decoder) duration(f field) time.Duration {
	s, ok := d.scalar(f, "a duration such as 90s, 1h30m, 7d or 2w", true)
	if !ok {
		return 0
	}
	v, err := ParseDuration(s)
	if err != nil {
		d.refuse(f, "is refused: %v", err)
	}
	return v
}

func (d *decoder) integer(f field, low, high int64) int64 {
	const want = "a whole number"
	s, ok := d.scalar(f, want, false)
	if !ok {
		return 0
	}
	digits := strings.TrimPrefix(s, "-")
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case strings.Trim(digits, "0123456789") != "" || digits == "" || len(digits) > 1 && digits[0] == '0':
		d.refuse(f, "is %q, not %s", s, want)
	case err != nil || v < low || v > high:
		d.refuse(f, "is %s, outside %d to %d", s, low, high)
	}
	return v
}

func (d *decoder) number(f field) float64 {
	const want = "a finite number"
	s, ok := d.scalar(f, want, false)
	if !ok {
		return 0
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.Trim(s, "0123456789+-.eE") != "" {
		d.refuse(f, "is %q, not %s", s, want)
	}
	return v
}

func (d *decoder) source(f field) *quietilev1.Source {
	fields := d.fields(f, "name", "unit", "epsilon", "delta", "period")
	s := &quietilev1.Source{
		Name:              d.text(fields["name"]),
		Unit:              quietilev1.Unit_UNIT_EVENT,
		BudgetNanoEpsilon: int64(d.epsilon(fields["epsilon"])),
		PeriodNanos:       int64(d.duration(fields["period"])),
	}
	if d.choice(fields["unit"], "event", "user") == "user" {
		s.Unit = quietilev1.Unit_UNIT_USER
	}
	if delta := fields["delta"]; delta.given() {
		s.BudgetAttoDelta = int64(d.delta(delta))
	}
	return s
}

func (d *decoder) metric(f field, sources []*quietilev1.Source) *quietilev1.Metric {
	fields := d.fields(f, "name", "source", "grid", "representative", "clock", "window", "lateness", "contributions", "budget", "records", "release")
	m := &quietilev1.Metric{
		Name:           d.text(fields["name"]),
		Source:         d.text(fields["source"]),
		Grid:           d.grid(fields["grid"]),
		Representative: quietilev1.Representative_REPRESENTATIVE_LOWER,
		Clock:          quietilev1.Clock_CLOCK_STREAM,
		WindowNanos:    int64(defaultWindow),
		LatenessNanos:  int64(defaultLateness),
	}
	for _, s := range sources {
		if s.GetName() == m.GetSource() {
			m.Unit, m.PeriodNanos = s.GetUnit(), s.GetPeriodNanos()
		}
	}
	within := m.GetGrid().GetExponential() != nil
	if r := fields["representative"]; r.given() {
		within = d.choice(r, "lower", "within") == "within"
	}
	if within {
		m.Representative = quietilev1.Representative_REPRESENTATIVE_WITHIN
	}
	if w := fields["window"]; w.given() {
		m.WindowNanos = int64(d.duration(w))
	}
	lateness := fields["lateness"]
	if lateness.given() {
		m.LatenessNanos = int64(d.duration(lateness))
	}
	if c := fields["clock"]; c.given() && d.choice(c, "stream", "manual") == "manual" {
		m.Clock, m.LatenessNanos = quietilev1.Clock_CLOCK_MANUAL, 0
		if lateness.given() {
			d.refuse(lateness, "is given with clock manual, whose windows are sealed by command")
		}
	}
	if c := fields["contributions"]; c.given() {
		if m.GetUnit() == quietilev1.Unit_UNIT_EVENT {
			d.refuse(c, "are given, and source %q is of events", m.GetSource())
		}
		limits := d.fields(c, "per_window", "windows")
		m.MaxPerWindow = uint32(d.integer(limits["per_window"], 1, maxPerWindow))
		m.MaxWindows = uint32(d.integer(limits["windows"], 1, math.MaxUint32))
	}
	if b := fields["budget"]; b.given() {
		own := d.fields(b, "epsilon", "delta")
		m.BudgetNanoEpsilon = int64(d.epsilon(own["epsilon"]))
		if delta := own["delta"]; delta.given() {
			m.BudgetAttoDelta = int64(d.delta(delta))
		}
	}
	if r := fields["records"]; r.given() {
		m.Records = uint64(d.integer(r, 1, maxRecords))
	}
	if r := fields["release"]; r.given() {
		m.Release = d.release(r)
	}
	return m
}

func (d *decoder) grid(f field) *quietilev1.Grid {
	kinds := d.fields(f, "exponential", "linear", "explicit")
	given := 0
	for _, k := range kinds {
		if k.given() {
			given++
		}
	}
	if given != 1 {
		d.refuse(f, "has %d kinds, and takes one of exponential, linear, explicit", given)
	}
	if d.err != nil {
		return nil
	}
	g := new(quietilev1.Grid)
	switch {
	case kinds["exponential"].given():
		fields := d.fields(kinds["exponential"], "scale", "min", "max")
		e := &quietilev1.ExponentialGrid{Scale: int32(d.integer(fields["scale"], math.MinInt32, math.MaxInt32))}
		if low := fields["min"]; low.given() {
			e.Min = proto.Float64(d.number(low))
		}
		if high := fields["max"]; high.given() {
			e.Max = proto.Float64(d.number(high))
		}
		g.Kind = &quietilev1.Grid_Exponential{Exponential: e}
	case kinds["linear"].given():
		fields := d.fields(kinds["linear"], "lower", "upper", "bins")
		g.Kind = &quietilev1.Grid_Linear{Linear: &quietilev1.LinearGrid{
			Lower: d.number(fields["lower"]),
			Upper: d.number(fields["upper"]),
			Bins:  uint32(d.integer(fields["bins"], 1, math.MaxUint32)),
		}}
	default:
		var breaks []float64
		for _, b := range d.items(kinds["explicit"]) {
			breaks = append(breaks, d.number(b))
		}
		g.Kind = &quietilev1.Grid_Explicit{Explicit: &quietilev1.ExplicitGrid{Breaks: breaks}}
	}
	return g
}

// ParseDuration reads a duration as [time.ParseDuration] does, or one that begins with weeks of 7 days
// and days of 24 hours, whole numbers both: 2w, 7d, 1d12h. The error names the text.
func ParseDuration(s string) (time.Duration, error) {
	refused := fmt.Errorf("%q is not a duration such as 90s, 1h30m, 7d or 2w", s)
	rest := s
	var sum time.Duration
	for _, unit := range []struct {
		name   string
		length time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		digits, after, found := strings.Cut(rest, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || time.Duration(n) > (math.MaxInt64-sum)/unit.length {
			return 0, refused
		}
		sum, rest = sum+time.Duration(n)*unit.length, after
	}
	if rest == "" && s != "" {
		return sum, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || rest != s && (d < 0 || rest[0] == '+' || rest[0] == '-' || d > math.MaxInt64-sum) {
		return 0, refused
	}
	return sum + d, nil
}

// FormatDuration returns the text of a duration that [ParseDuration] reads back, without parts that are
// nothing: 24h, 1m, 1h30m. A whole number of weeks or days above one day is written as such.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d > day && d%(7*day) == 0:
		return fmt.Sprintf("%dw", d/(7*day))
	case d > day && d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Format writes a policy as YAML that [Parse] reads back to an equal one. Versions are not written, nor
// from when on they hold. A policy that [Validate] refuses is an error.
func Format(p *quietilev1.Policy) ([]byte, error) {
	if err := Validate(p); err != nil {
		return nil, err
	}
	b := new(bytes.Buffer)
	if len(p.GetSources()) > 0 {
		b.WriteString("sources:\n")
	}
	for _, s := range p.GetSources() {
		fmt.Fprintf(b, "  - name: %s\n", quoted(s.GetName()))
		fmt.Fprintf(b, "    unit: %s\n", unitName(s.GetUnit()))
		fmt.Fprintf(b, "    epsilon: %v\n", dp.Epsilon(s.GetBudgetNanoEpsilon()))
		if delta := budget.Delta(s.GetBudgetAttoDelta()); delta > 0 {
			fmt.Fprintf(b, "    delta: %v\n", delta)
		}
		fmt.Fprintf(b, "    period: %s\n", FormatDuration(time.Duration(s.GetPeriodNanos())))
	}
	if len(p.GetMetrics()) > 0 {
		b.WriteString("metrics:\n")
	}
	for _, m := range p.GetMetrics() {
		fmt.Fprintf(b, "  - name: %s\n", quoted(m.GetName()))
		fmt.Fprintf(b, "    source: %s\n", quoted(m.GetSource()))
		fmt.Fprintf(b, "    grid: %s\n", formatGrid(m.GetGrid()))
		if m.GetRepresentative() == quietilev1.Representative_REPRESENTATIVE_WITHIN {
			b.WriteString("    representative: within\n")
		} else {
			b.WriteString("    representative: lower\n")
		}
		if m.GetClock() == quietilev1.Clock_CLOCK_MANUAL {
			b.WriteString("    clock: manual\n")
		} else {
			b.WriteString("    clock: stream\n")
			fmt.Fprintf(b, "    lateness: %s\n", FormatDuration(time.Duration(m.GetLatenessNanos())))
		}
		fmt.Fprintf(b, "    window: %s\n", FormatDuration(time.Duration(m.GetWindowNanos())))
		if m.GetUnit() == quietilev1.Unit_UNIT_USER {
			fmt.Fprintf(b, "    contributions: {per_window: %d, windows: %d}\n", m.GetMaxPerWindow(), m.GetMaxWindows())
		}
		if e, delta := dp.Epsilon(m.GetBudgetNanoEpsilon()), budget.Delta(m.GetBudgetAttoDelta()); delta > 0 {
			fmt.Fprintf(b, "    budget: {epsilon: %v, delta: %v}\n", e, delta)
		} else if e > 0 {
			fmt.Fprintf(b, "    budget: {epsilon: %v}\n", e)
		}
		if m.GetRecords() > 0 {
			fmt.Fprintf(b, "    records: %d\n", m.GetRecords())
		}
		if r := m.GetRelease(); r != nil {
			fmt.Fprintf(b, "    release: %s\n", formatRelease(r))
		}
	}
	return b.Bytes(), nil
}

// quoted returns a valid name as YAML text. One that could be read as a number or a constant is quoted.
func quoted(name string) string {
	switch name {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return `"` + name + `"`
	}
	if name[0] < 'a' {
		return `"` + name + `"`
	}
	return name
}

func formatGrid(g *quietilev1.Grid) string {
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	switch k := g.GetKind().(type) {
	case *quietilev1.Grid_Exponential:
		e := k.Exponential
		if e.Min == nil {
			return fmt.Sprintf("{exponential: {scale: %d}}", e.GetScale())
		}
		return fmt.Sprintf("{exponential: {scale: %d, min: %s, max: %s}}", e.GetScale(), number(e.GetMin()), number(e.GetMax()))
	case *quietilev1.Grid_Linear:
		l := k.Linear
		return fmt.Sprintf("{linear: {lower: %s, upper: %s, bins: %d}}", number(l.GetLower()), number(l.GetUpper()), l.GetBins())
	default:
		var breaks []string
		for _, x := range g.GetExplicit().GetBreaks() {
			breaks = append(breaks, number(x))
		}
		return "{explicit: [" + strings.Join(breaks, ", ") + "]}"
	}
}

func unitName(u quietilev1.Unit) string {
	if u == quietilev1.Unit_UNIT_USER {
		return "user"
	}
	return "event"
}
