package sketch

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// MaxBuckets is the largest number of buckets of a grid.
const MaxBuckets = 1 << 21

// ErrGrid is wrapped by every error about the description of a grid; the text names the field and
// its value.
var ErrGrid = errors.New("grid")

type kind uint8

const (
	exponential kind = iota
	linear
	explicit
)

// Grid is an ordered list of buckets that covers the real line. The first and the last reach to
// infinity. It is immutable and safe for concurrent use.
type Grid struct {
	kind kind
	len  int

	// Linear and explicit: bucket i is [breaks[i-1], breaks[i]).
	breaks []float64
	// Linear: buckets per unit of the value, and what is known of the estimate ⌊(x − min)·perUnit⌋ of the bucket
	// of each x from min to below max.
	perUnit  float64
	estimate estimate
	// Linear: the values are taken to be integers, one to a bucket.
	integers bool

	// Exponential. A bucket of the unbounded grid has a number as in index; here it is base less.
	scale    int
	base     int
	roots    *roots
	bounded  bool
	min, max float64
}

// NewExponential returns the grid of a scale from -4 to 8 over all of float64. Its boundaries are
// exactly ±2^(k/2^scale) for integers k. A bucket holds its boundary that is further from zero, as in
// OpenTelemetry's exponential and Prometheus' native histograms of that scale. Zero has a bucket of
// its own, and so has each infinity.
func NewExponential(scale int) (*Grid, error) {
	r, err := rootsOf(scale)
	if err != nil {
		return nil, err
	}
	return &Grid{kind: exponential, len: r.unbounded(), scale: scale, roots: r}, nil
}

// NewBoundedExponential returns the run of buckets of [NewExponential] from the one that holds min to
// the one that holds max, with a bucket for everything below and one for everything above. min and
// max are finite, and min < max.
func NewBoundedExponential(scale int, min, max float64) (*Grid, error) {
	r, err := rootsOf(scale)
	if err != nil {
		return nil, err
	}
	if err := checkRange("exponential", "min", "max", min, max); err != nil {
		return nil, err
	}
	first, last := r.index(min), r.index(max)
	return &Grid{
		kind: exponential, len: last - first + 3, scale: scale, roots: r,
		base: first - 1, bounded: true, min: min + 0, max: max + 0, // -0 is 0
	}, nil
}

// NewLinear returns a grid with bins buckets of equal width between lower and upper, one for what is
// below lower and one for what is at or above upper. A bucket holds its lower boundary. Boundary i is
// the float64 nearest to lower + i·(upper−lower)/bins. lower and upper are finite, lower < upper, and bins is from
// 1 to MaxBuckets−2. A range is refused if its width is more than the largest float64, if bins/width is, or if two
// boundaries would be the same float64.
func NewLinear(lower, upper float64, bins int) (*Grid, error) {
	if err := checkRange("linear", "lower", "upper", lower, upper); err != nil {
		return nil, err
	}
	if bins < 1 || bins > MaxBuckets-2 {
		return nil, fmt.Errorf("linear %w: bins %d is outside 1 to %d", ErrGrid, bins, MaxBuckets-2)
	}
	perUnit := float64(bins) / (upper - lower)
	if math.IsInf(upper-lower, 0) {
		return nil, fmt.Errorf("linear %w: the range from lower %v to upper %v is too wide", ErrGrid, lower, upper)
	}
	if math.IsInf(perUnit, 0) {
		return nil, fmt.Errorf("linear %w: the range from lower %v to upper %v is too narrow for bins %d", ErrGrid, lower, upper, bins)
	}
	breaks := linearBreaks(lower, upper, bins)
	for i := range bins {
		if !(breaks[i] < breaks[i+1]) {
			return nil, fmt.Errorf("linear %w: bins %d are more than float64 can tell apart between %v and %v", ErrGrid, bins, lower, upper)
		}
	}
	g := &Grid{
		kind: linear, len: bins + 2, breaks: breaks,
		perUnit: perUnit, min: breaks[0], max: breaks[bins],
		integers: upper-lower == float64(bins) && lower == math.Trunc(lower) && breaks[bins]-breaks[bins-1] == 1,
	}
	g.judge()
	return g, nil
}

// estimate says how near to the bucket of a value its estimate is.
type estimate uint8

const (
	rough  estimate = iota // within rounding
	close1                 // the bucket or the one before it
	exact                  // the bucket
)

// judge finds out how good the estimates of a linear grid are. An estimate ascends with the value, so that those at the
// ends of a bucket bound all within. If some are too high, the factor is lowered by a few units in the last place.
func (g *Grid) judge() {
	for range 3 {
		g.estimate = exact
		for i, b := range g.breaks[:len(g.breaks)-1] {
			first := int((b - g.min) * g.perUnit)
			last := int((math.Nextafter(g.breaks[i+1], math.Inf(-1)) - g.min) * g.perUnit)
			if first < i-1 || last > i {
				g.estimate = rough
				break
			}
			if first < i {
				g.estimate = close1
			}
		}
		if g.estimate != rough {
			return
		}
		g.perUnit -= g.perUnit * 0x1p-51
	}
}

// linearBreaks returns the float64 nearest to each lower + i·(upper−lower)/bins.
func linearBreaks(lower, upper float64, bins int) []float64 {
	breaks := make([]float64, bins+1)
	// Where the width is a float64 itself, a fused multiplication rounds once, which is all it takes. The
	// difference is exact if the error term of the two-sum is zero, the quotient if the residual is.
	width := upper - lower
	back := width - upper
	rest := (upper - (width - back)) + (-lower - back)
	step := width / float64(bins)
	if rest == 0 && math.FMA(step, float64(bins), -width) == 0 {
		for i := range breaks {
			breaks[i] = math.FMA(float64(i), step, lower) + 0 // -0 is 0
		}
		return breaks
	}
	// Otherwise in integers: lower = a·2^e and upper = b·2^e, so that break i is (a·bins + i·(b−a))/bins·2^e.
	// The extra bits leave a quotient that is not zero 64 of its own, so that its last bit, set when there
	// is a remainder, never decides more than on which side of the middle between two float64 it lies.
	const extra = 64 + 22
	a, e := integer(lower)
	b, eb := integer(upper)
	if e > eb {
		a.Lsh(a, uint(e-eb))
		e = eb
	} else {
		b.Lsh(b, uint(eb-e))
	}
	delta := b.Sub(b, a)
	delta.Lsh(delta, extra)
	divisor := big.NewInt(int64(bins))
	numerator := a.Lsh(a.Mul(a, divisor), extra)
	quotient, remainder := new(big.Int), new(big.Int)
	value := new(big.Float).SetPrec(4096) // more than the span of float64: never rounds
	for i := range breaks {
		quotient.QuoRem(numerator, divisor, remainder)
		if remainder.Sign() != 0 {
			quotient.SetBit(quotient, 0, 1)
		}
		value.SetInt(quotient)
		breaks[i], _ = value.SetMantExp(value, e-extra).Float64()
		numerator.Add(numerator, delta)
	}
	return breaks
}

// integer returns m and e with x = m·2^e.
func integer(x float64) (m *big.Int, e int) {
	fraction, e := math.Frexp(x)
	return big.NewInt(int64(math.Ldexp(fraction, mantissaBits+1))), e - mantissaBits - 1
}

// NewExplicit returns a grid with a bucket between each two neighbours of breaks, one below the first
// and one above the last. A bucket holds its lower boundary. Breaks are finite and ascend.
func NewExplicit(breaks []float64) (*Grid, error) {
	if len(breaks) < 1 || len(breaks) > MaxBuckets-1 {
		return nil, fmt.Errorf("explicit %w: %d breaks is outside 1 to %d", ErrGrid, len(breaks), MaxBuckets-1)
	}
	own := slices.Clone(breaks)
	for i, b := range own {
		if math.IsNaN(b) || math.IsInf(b, 0) {
			return nil, fmt.Errorf("explicit %w: break %d is %v", ErrGrid, i, b)
		}
		if i > 0 && !(b > own[i-1]) {
			return nil, fmt.Errorf("explicit %w: break %d, %v, is not more than the one before, %v", ErrGrid, i, b, own[i-1])
		}
		own[i] = b + 0 // -0 is 0
	}
	return &Grid{kind: explicit, len: len(own) + 1, breaks: own}, nil
}

func checkRange(grid, low, high string, min, max float64) error {
	for _, f := range []struct {
		name  string
		value float64
	}{{low, min}, {high, max}} {
		if math.IsNaN(f.value) || math.IsInf(f.value, 0) {
			return fmt.Errorf("%s %w: %s is %v", grid, ErrGrid, f.name, f.value)
		}
	}
	if !(min < max) {
		return fmt.Errorf("%s %w: %s %v is not less than %s %v", grid, ErrGrid, low, min, high, max)
	}
	return nil
}

// Len returns the number of buckets, the outer ones included.
func (g *Grid) Len() int { return g.len }

// Index returns the number of the bucket that holds x, from 0 to Len()−1 along the real line. x must
// not be NaN.
func (g *Grid) Index(x float64) int {
	switch g.kind {
	case exponential:
		return max(0, min(g.roots.index(x)-g.base, g.len-1))
	case linear:
		return g.linearIndex(x)
	default:
		i, found := slices.BinarySearch(g.breaks, x)
		if found {
			i++
		}
		return i
	}
}

func (g *Grid) linearIndex(x float64) int {
	if !(x >= g.min) {
		return 0
	}
	if x >= g.max {
		return g.len - 1
	}
	return int(g.inner(x))
}

// inner returns the number of the bucket of a value from min to below max in a linear grid.
func (g *Grid) inner(x float64) uint {
	// The estimate is off by rounding only, and at most the number of the last boundary.
	i := uint(int((x - g.min) * g.perUnit))
	for x < g.breaks[i] {
		i--
	}
	for x >= g.breaks[i+1] {
		i++
	}
	return i + 1
}

// Bounds returns the boundaries of a bucket: the float64 nearest to each, infinite where the bucket
// reaches to infinity, and twice zero for the bucket of zero. The largest finite bucket of an
// unbounded exponential grid ends at the largest float64.
func (g *Grid) Bounds(i int) (lower, upper float64) {
	if i < 0 || i >= g.len {
		panic(fmt.Sprintf("sketch: bucket %d of a grid with %d", i, g.len))
	}
	lower, upper = math.Inf(-1), math.Inf(1)
	if g.kind != exponential {
		if i > 0 {
			lower = g.breaks[i-1]
		}
		if i < g.len-1 {
			upper = g.breaks[i]
		}
		return lower, upper
	}
	if i > 0 {
		lower, _ = g.roots.bounds(i + g.base)
		if i == g.len-1 {
			_, lower = g.roots.bounds(i - 1 + g.base)
		}
	}
	if i < g.len-1 {
		_, upper = g.roots.bounds(i + g.base)
		if i == 0 {
			upper, _ = g.roots.bounds(1 + g.base)
		}
	}
	return lower, upper
}

// Equal says whether two grids have the same buckets by the same description: whether they print alike.
func (g *Grid) Equal(o *Grid) bool {
	if g == o {
		return true
	}
	// The other fields follow from these.
	return g.kind == o.kind && g.len == o.len && g.scale == o.scale && g.bounded == o.bounded &&
		g.min == o.min && g.max == o.max && (g.kind != explicit || slices.Equal(g.breaks, o.breaks))
}

// String returns the description that [ParseGrid] reads.
func (g *Grid) String() string {
	f := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	switch {
	case g.kind == exponential && g.bounded:
		return fmt.Sprintf("exponential:scale=%d,min=%s,max=%s", g.scale, f(g.min), f(g.max))
	case g.kind == exponential:
		return fmt.Sprintf("exponential:scale=%d", g.scale)
	case g.kind == linear:
		return fmt.Sprintf("linear:lower=%s,upper=%s,bins=%d", f(g.min), f(g.max), g.len-2)
	}
	breaks := make([]string, len(g.breaks))
	for i, b := range g.breaks {
		breaks[i] = f(b)
	}
	return "explicit:" + strings.Join(breaks, ",")
}

// ParseGrid reads a description of a grid:
//
//	exponential:scale=5
//	exponential:scale=5,min=0.001,max=1000
//	linear:lower=0,upper=128,bins=8192
//	explicit:0,1,5,10
func ParseGrid(s string) (*Grid, error) {
	name, rest, ok := strings.Cut(s, ":")
	if !ok {
		return nil, fmt.Errorf("%w %q is not of the form kind:fields, such as linear:lower=0,upper=128,bins=8192", ErrGrid, s)
	}
	if name == "explicit" {
		var breaks []float64
		for field := range strings.SplitSeq(rest, ",") {
			b, err := strconv.ParseFloat(strings.TrimSpace(field), 64)
			if err != nil {
				return nil, fmt.Errorf("explicit %w: break %q is not a number", ErrGrid, field)
			}
			breaks = append(breaks, b)
		}
		return NewExplicit(breaks)
	}
	allowed := map[string][]string{
		"exponential": {"scale", "min", "max"},
		"linear":      {"lower", "upper", "bins"},
	}[name]
	if allowed == nil {
		return nil, fmt.Errorf("%w %q: unknown kind %q: there are exponential, linear and explicit", ErrGrid, s, name)
	}
	values := map[string]float64{}
	for field := range strings.SplitSeq(rest, ",") {
		key, text, _ := strings.Cut(strings.TrimSpace(field), "=")
		if !slices.Contains(allowed, key) {
			return nil, fmt.Errorf("%s %w: unknown field %q: there are %s", name, ErrGrid, key, strings.Join(allowed, ", "))
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("%s %w: field %s stands twice", name, ErrGrid, key)
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%s %w: %s %q is not a number", name, ErrGrid, key, text)
		}
		if (key == "scale" || key == "bins") && (v != math.Trunc(v) || math.Abs(v) > MaxBuckets) {
			return nil, fmt.Errorf("%s %w: %s %q is not a whole number in range", name, ErrGrid, key, text)
		}
		values[key] = v
	}
	required := allowed
	_, hasMin := values["min"]
	_, hasMax := values["max"]
	if name == "exponential" && !hasMin && !hasMax {
		required = allowed[:1]
	}
	for _, key := range required {
		if _, ok := values[key]; !ok {
			return nil, fmt.Errorf("%s %w: %s is missing", name, ErrGrid, key)
		}
	}
	switch {
	case name == "linear":
		return NewLinear(values["lower"], values["upper"], int(values["bins"]))
	case hasMin:
		return NewBoundedExponential(int(values["scale"]), values["min"], values["max"])
	default:
		return NewExponential(int(values["scale"]))
	}
}

// Proto returns the grid as a message.
func (g *Grid) Proto() *quietilev1.Grid {
	switch g.kind {
	case exponential:
		e := &quietilev1.ExponentialGrid{Scale: int32(g.scale)}
		if g.bounded {
			e.Min, e.Max = &g.min, &g.max
		}
		return &quietilev1.Grid{Kind: &quietilev1.Grid_Exponential{Exponential: e}}
	case linear:
		return &quietilev1.Grid{Kind: &quietilev1.Grid_Linear{Linear: &quietilev1.LinearGrid{
			Lower: g.min, Upper: g.max, Bins: uint32(g.len - 2),
		}}}
	default:
		return &quietilev1.Grid{Kind: &quietilev1.Grid_Explicit{Explicit: &quietilev1.ExplicitGrid{
			Breaks: slices.Clone(g.breaks),
		}}}
	}
}

// GridFromProto makes a grid from a message, which may come from anywhere.
func GridFromProto(p *quietilev1.Grid) (*Grid, error) {
	switch k := p.GetKind().(type) {
	case *quietilev1.Grid_Exponential:
		e := k.Exponential
		if e.GetScale() < minScale || e.GetScale() > maxScale {
			return nil, scaleError(int(e.GetScale()))
		}
		if e.Min == nil && e.Max == nil {
			return NewExponential(int(e.GetScale()))
		}
		if e.Min == nil || e.Max == nil {
			return nil, fmt.Errorf("exponential %w: min and max go together", ErrGrid)
		}
		return NewBoundedExponential(int(e.GetScale()), e.GetMin(), e.GetMax())
	case *quietilev1.Grid_Linear:
		l := k.Linear
		if l.GetBins() > MaxBuckets { // an int of 32 bits might not hold it
			return nil, fmt.Errorf("linear %w: bins %d is outside 1 to %d", ErrGrid, l.GetBins(), MaxBuckets-2)
		}
		return NewLinear(l.GetLower(), l.GetUpper(), int(l.GetBins()))
	case *quietilev1.Grid_Explicit:
		return NewExplicit(k.Explicit.GetBreaks())
	default:
		return nil, fmt.Errorf("%w: its kind is missing", ErrGrid)
	}
}
