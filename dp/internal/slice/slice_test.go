package slice

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/quietile/quietile/dp/exact"
)

func ones(n int) []uint64 {
	w := make([]uint64, n)
	for i := range w {
		w[i] = 1
	}
	return w
}

// even returns the quantiles 1/(m+1), 2/(m+1) … in billionths.
func even(m int) []int64 {
	q := make([]int64, m)
	for i := range q {
		q[i] = int64(i+1) * Unit / int64(m+1)
	}
	return q
}

// rankError is how far a quantile q is from the records before the cut's bucket and those up to its end, ties free.
func rankError(p *Problem, cut uint64, q int64) float64 {
	before, inside, n := 0.0, 0.0, 0.0
	for _, c := range p.Counts {
		n += float64(c.Records)
		switch b := int(cut >> p.Levels); {
		case c.Bucket < b:
			before += float64(c.Records)
		case c.Bucket == b:
			inside = float64(c.Records)
		}
	}
	target := float64(q) / Unit * n
	return max(0, target-before-inside, before-target)
}

func TestCutsAreSortedAndClose(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := &Problem{Levels: 40, Weights: ones(2048), Quantiles: even(99), Epsilon: Unit, Contributions: 1, Records: 1_000_000}
	for b := range 2048 {
		if n := random.Uint64N(1000); n > 0 && b%3 > 0 {
			p.Counts = append(p.Counts, Count{b, n})
		}
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		cuts := Solve(p, exact.New())
		if !slices.IsSorted(cuts) {
			t.Fatalf("cuts %v fall", cuts)
		}
		for j, z := range cuts {
			if e := rankError(p, z, p.Quantiles[j]); e > 1000 {
				t.Errorf("quantile %d is off by %g records", p.Quantiles[j], e)
			}
		}
	}
}

func TestWrongProblemsNameTheField(t *testing.T) {
	f := func(want string, change func(p *Problem)) {
		t.Helper()
		p := &Problem{Levels: 40, Weights: ones(4), Quantiles: even(3), Epsilon: Unit, Contributions: 1, Records: 10_000}
		change(p)
		if err := p.Check(); want == "" && err != nil || want != "" && (!errors.Is(err, ErrProblem) || !strings.Contains(err.Error(), want)) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	f("", func(*Problem) {})
	f("levels 41", func(p *Problem) { p.Levels = 41 })
	f("no weights", func(p *Problem) { p.Weights = nil })
	f("weight 0", func(p *Problem) { p.Weights[2] = 0 })
	f("2^63", func(p *Problem) { p.Weights[2] = 1 << 63 })
	f("0 quantiles", func(p *Problem) { p.Quantiles = nil })
	f("quantile of 0", func(p *Problem) { p.Quantiles[0] = 0 })
	f("quantile of 1000000000", func(p *Problem) { p.Quantiles[2] = Unit })
	f("not above the one before", func(p *Problem) { p.Quantiles[1] = p.Quantiles[0] })
	f("epsilon of 0", func(p *Problem) { p.Epsilon = 0 })
	f("leaves nothing of epsilon for the number of records", func(p *Problem) { p.Epsilon = 2 })
	f("scale above 2^30", func(p *Problem) { p.Epsilon, p.Contributions = 8, 2 })
	f("share 0", func(p *Problem) { p.Shares = [3]uint64{1, 0, 1} })
	f("contributions 0", func(p *Problem) { p.Contributions = 0 })
	f("contributions 268435457", func(p *Problem) { p.Contributions = 1<<28 + 1 })
	f("records 2305843009213693952", func(p *Problem) { p.Records = 1 << 61 })
	f("width 1099511627777", func(p *Problem) { p.Width = 1<<40 + 1 })
	f("width 1 leaves nothing of epsilon", func(p *Problem) { p.Width = 1 })
	f("branching 1", func(p *Problem) { p.Branching = 1 })
	f("branching 65", func(p *Problem) { p.Branching = 65 })
	f("height 3", func(p *Problem) { p.Height = 3 })
	f("", func(p *Problem) { p.Branching, p.Height = 2, 2 })
}

// The error says what would do, and it does.
func TestQuantilesTooCloseAreRefusedByName(t *testing.T) {
	p := &Problem{Weights: ones(4), Quantiles: []int64{Unit / 10, Unit / 2, Unit/2 + Unit/100}, Epsilon: Unit, Contributions: 1, Records: 10_000}
	err := p.Check()
	if !errors.Is(err, ErrGap) || !errors.Is(err, ErrProblem) || !strings.Contains(err.Error(), "0.5 and 0.51 are 100 of 10000 records apart") {
		t.Fatalf("error %v", err)
	}
	var need, spacing, records float64
	_, text, _ := strings.Cut(err.Error(), "slices need ")
	if _, err := fmt.Sscanf(text, "%g: a spacing of %g, or %g records", &need, &spacing, &records); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	p.Width = uint64(need / 4) // fixed, with room for noise
	p.Records = uint64(records)
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	p.Records = 10_000
	p.Quantiles[2] = p.Quantiles[1] + int64(math.Ceil(spacing*1.01*Unit))
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

// Slices that have room stay within it as often as the gap condition says, and answer within them.
func TestSlicesKeepApart(t *testing.T) {
	p := &Problem{Levels: 40, Weights: ones(64), Quantiles: even(19), Epsilon: Unit, Contributions: 1, Records: 10_000}
	for b := range 64 {
		p.Counts = append(p.Counts, Count{b, 156})
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	width, met, left := int64(p.width()), 0, 0
	const runs = 500
	for range runs {
		s := exact.New()
		ranks := Ranks(p, 64*156, s)
		cuts, before := answer(p, ranks, s)
		meet := false
		for j, x := range cut(ranks, width) {
			meet = meet || x.to-x.from != 2*width
			if int64(before[j]) < x.from || int64(before[j]) > x.to {
				left++
			}
		}
		if meet {
			met++
		}
		if !slices.IsSorted(cuts) {
			t.Fatalf("cuts %v fall", cuts)
		}
	}
	t.Logf("%d of %d releases had slices that met, %d answers left theirs", met, runs, left)
	if met > runs/10 || left > runs/10 {
		t.Errorf("%d of %d releases had slices that met, %d answers left theirs", met, runs, left)
	}
}

// What is signed and added up covers just the first quantiles, and no quantile is in two nodes of a level.
func TestNodesCoverPrefixes(t *testing.T) {
	for m := 1; m <= 40; m++ {
		for b := 2; b <= 7; b++ {
			for h := 1; 1<<(h-1) <= m; h++ {
				for prefix := 1; prefix <= m; prefix++ {
					covered := make([]int64, m)
					eachNode(prefix, m, b, h, func(v node, sign int64) {
						size := 1
						for range v.level {
							size *= b
						}
						for j := v.index * size; j < min((v.index+1)*size, m); j++ {
							covered[j] += sign
						}
						if v.index*size >= m {
							t.Errorf("m %d, branching %d, height %d, prefix %d: node %+v has no quantile", m, b, h, prefix, v)
						}
						if v.level >= h {
							t.Errorf("a node of level %d in a tree of height %d", v.level, h)
						}
					})
					for j, times := range covered {
						if times != 1 && j < prefix || times != 0 && j >= prefix {
							t.Fatalf("m %d, branching %d, height %d, prefix %d: covered %v times", m, b, h, prefix, covered)
						}
					}
				}
			}
		}
	}
}

func BenchmarkSolve(b *testing.B) {
	p := &Problem{Levels: 40, Weights: ones(8192), Quantiles: even(99), Epsilon: Unit, Contributions: 1, Records: 1_000_000}
	for i := range 8192 {
		p.Counts = append(p.Counts, Count{i, 122})
	}
	if err := p.Check(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		Solve(p, exact.New())
	}
}

// What the noise and the answers spend, for one record and for several of a unit.
func TestScalesAndRatesAreThoseOfTheirShares(t *testing.T) {
	for _, c := range []uint64{1, 2, 3} {
		p := &Problem{Levels: 40, Weights: ones(4), Quantiles: even(3), Epsilon: 12 * Unit, Contributions: c, Shares: [3]uint64{1, 2, 3}, Width: 1, Branching: 2, Height: 2}
		f := func(name string, got, want *big.Rat) {
			t.Helper()
			if got.Cmp(want) != 0 {
				t.Errorf("c %d: %s %s, want %s", c, name, got.RatString(), want.RatString())
			}
		}
		n := int64(c)
		f("count scale", p.countScale(), big.NewRat(n, 2))
		f("rank scale", p.rankScale(), big.NewRat(2*n, 4))
		eta := big.NewRat(6, n)
		eta.Sub(eta, big.NewRat(3, 4)).Quo(eta, big.NewRat(2, 1)) // (1/1 + 1/2)/2 for ln 2
		f("rate", p.rate(1), eta)
	}
}

// No public number depends on the records.
func TestTheWidthDoesNotDependOnRecords(t *testing.T) {
	p := &Problem{Levels: 40, Weights: ones(64), Quantiles: even(9), Epsilon: Unit, Contributions: 1, Records: 10_000}
	width := p.width()
	for _, records := range []uint64{1, 1000, 1 << 50} {
		p.Counts = []Count{{3, records}, {5, records}}
		if err := p.Check(); err != nil || p.width() != width {
			t.Errorf("%d records: width %d and error %v, without records %d", records, p.width(), err, width)
		}
	}
}
