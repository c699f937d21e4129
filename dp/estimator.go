package dp

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/quietile/quietile/dp/internal/adaptive"
	"github.com/quietile/quietile/dp/internal/recursive"
)

// An Estimator is a way to answer quantiles, with its parameters, which are public. The zero value is "recursive".
type Estimator struct {
	kind      kind
	arity     int     // of recursive, where 0 means 2, and of joint, where it means as few levels as there can be
	draws     int     // of joint; 0 means all
	edges     bool    // of recursive
	spikes    bool    // of adaptive
	smooth    bool    // of tree
	sharp     bool    // of joint
	branching int     // of tree; 0 means defaultBranching
	height    int     // of tree; 0 means all levels
	power     float64 // of recursive, joint, tree and adaptive
	width     int     // of slice; 0 means as wide as there is room for
	bins      int     // of tree, density and adaptive; 0 means a bin for each bucket, or for density and adaptive what theory gives
	rounds    int     // of adaptive; 0 means as many as find single buckets
}

type kind int

const (
	recursiveKind kind = iota
	jointKind
	independentKind
	treeKind
	densityKind
	adaptiveKind
	sliceKind
	autoKind
)

// The branching and the power of a tree with the least error of those that were tried, on 128 and 8192 buckets.
const (
	defaultBranching = 16
	defaultPower     = 0.5
)

// A parameter of an estimator.
type parameter struct {
	name  string
	least int // of a whole number
	most  int
	whole func(e *Estimator) *int  // where the number is, nil if it is none
	flag  func(e *Estimator) *bool // where it is noted that the name stands there, nil if it has a value
}

var (
	arity     = parameter{"arity", 2, 64, func(e *Estimator) *int { return &e.arity }, nil}
	jointly   = parameter{"arity", 2, recursive.MaxJoint + 1, func(e *Estimator) *int { return &e.arity }, nil}
	draws     = parameter{"draws", 2, 1024, func(e *Estimator) *int { return &e.draws }, nil}
	branching = parameter{"branching", 2, 1024, func(e *Estimator) *int { return &e.branching }, nil}
	height    = parameter{"height", 2, 24, func(e *Estimator) *int { return &e.height }, nil}
	bins      = parameter{"bins", 2, 1 << 20, func(e *Estimator) *int { return &e.bins }, nil}
	few       = parameter{"bins", 2, adaptive.MaxBins, func(e *Estimator) *int { return &e.bins }, nil}
	rounds    = parameter{"rounds", 1, adaptive.MaxRounds, func(e *Estimator) *int { return &e.rounds }, nil}
	width     = parameter{"width", 1, 1 << 40, func(e *Estimator) *int { return &e.width }, nil}
	power     = parameter{name: "power"}
	edges     = parameter{name: "edges", flag: func(e *Estimator) *bool { return &e.edges }}
	spikes    = parameter{name: "spikes", flag: func(e *Estimator) *bool { return &e.spikes }}
	smooth    = parameter{name: "smooth", flag: func(e *Estimator) *bool { return &e.smooth }}
	sharp     = parameter{name: "sharp", flag: func(e *Estimator) *bool { return &e.sharp }}
)

// estimators are the kinds with their names and parameters, in the order in which they print.
var estimators = []struct {
	kind       kind
	name       string
	parameters []parameter
}{
	{recursiveKind, "recursive", []parameter{arity, power, edges}},
	{jointKind, "joint", []parameter{jointly, power, draws, sharp}},
	{independentKind, "independent", nil},
	{treeKind, "tree", []parameter{branching, height, power, bins, smooth}},
	{densityKind, "density", []parameter{bins}},
	{adaptiveKind, "adaptive", []parameter{rounds, few, power, spikes}},
	{sliceKind, "slice", []parameter{width}},
	{autoKind, "auto", nil},
}

// estimatorHelp is what a wrong description is told.
const estimatorHelp = "there are auto, independent, recursive, with arity=2 to 64, power=-4 to 4 and edges, such as recursive:arity=3,power=0.5,edges, joint, with arity=2 to 33, power, draws=2 to 1024 and sharp, " +
	"tree, with branching=2 to 1024, height=2 to 24, power=-4 to 4, bins=2 to 1048576 and smooth, density, with bins, adaptive, with rounds=1 to 16, bins=2 to 1024, power and spikes, and slice, with width=1 to 1099511627776"

// ParseEstimator reads the description of an estimator:
//
//	recursive                     a tree of quantiles, each answered on the records inside its range (docs/proofs/recursive.md)
//	recursive:arity=4             three quantiles at each node of the tree
//	recursive:power=0.5           level i of the tree, from 1, has a share of the budget in proportion to i^0.5; 0, the default, makes them equal
//	recursive:edges               the prior's weight outside of a range goes to its ends
//	joint                         as many quantiles at once as can be, up to 32, and the others between them likewise (docs/proofs/joint.md)
//	joint:arity=10                nine quantiles at each node
//	joint:draws=19                so many quantiles at most, and what is between them by straight lines over the prior's weight
//	joint:sharp                   of buckets that have their targets inside by all that a pure ε allows: fewer errors where two values compete, for four times the ρ of joint
//	tree                          noisy counts of a tree over the buckets, from which all quantiles are read (docs/proofs/tree.md)
//	tree:branching=8              with 8 children to a node instead of 16
//	tree:height=3                 with so many levels at most, the leaves and the root, which is not released, among them
//	tree:power=0                  with shares of the levels as above; the default is 0.5, or with smooth 0
//	tree:bins=512                 over so many runs of buckets that weigh the same in the prior, instead of the buckets
//	tree:smooth                   records of neighbouring buckets, up to 8,192, being taken to differ little where the noisy counts do not say otherwise
//	density:bins=64               noisy counts of so many such runs alone; without bins, of as many as suit a smooth density and Options.Records
//	adaptive                      noisy counts of a few bins, then of others where those showed records, and so on (docs/proofs/adaptive.md)
//	adaptive:rounds=3,bins=16     three times of at most so many; without numbers, as many as suit Options.Records and find single buckets
//	adaptive:power=0              with shares of the rounds as above; the default is 1
//	adaptive:spikes               and at last of every bucket, for a fifth of the budget, to find those with many more records than their neighbours
//	slice                         each quantile in a slice of the records around a noisy rank, for quantiles that are far apart (docs/proofs/slice.md)
//	slice:width=500               of so many records on either side
//	independent                   each of m quantiles on all records with ε/m; at most 100 quantiles
//	auto                          the one of the others that is expected to err least (see Options.Choose)
//
// Parameters go together, separated by commas. Errors wrap [ErrOptions]. Nothing is "recursive".
func ParseEstimator(s string) (Estimator, error) {
	name, rest, more := strings.Cut(s, ":")
	if s == "" {
		name = "recursive"
	}
	for _, known := range estimators {
		if known.name != name {
			continue
		}
		e := Estimator{kind: known.kind}
		e.power = e.usualPower()
		if !more {
			return e, nil
		}
		seen := map[string]bool{}
	fields:
		for field := range strings.SplitSeq(rest, ",") {
			key, text, hasValue := strings.Cut(field, "=")
			if seen[key] {
				return e, fmt.Errorf("%w: estimator %q: %s stands twice", ErrOptions, s, key)
			}
			seen[key] = true
			for _, p := range known.parameters {
				if p.name == key && hasValue == (p.flag == nil) {
					if err := p.set(&e, text); err != nil {
						return e, fmt.Errorf("%w: estimator %q: %w", ErrOptions, s, err)
					}
					continue fields
				}
			}
			if known.parameters != nil && hasParameter(known.parameters, key) && !hasValue {
				return e, fmt.Errorf("%w: estimator %q: %s has no value", ErrOptions, s, key)
			}
			return e, fmt.Errorf("%w: estimator %q: %s", ErrOptions, s, estimatorHelp)
		}
		if !seen[power.name] {
			e.power = e.usualPower()
		}
		return e.normal(), nil
	}
	return Estimator{}, fmt.Errorf("%w: estimator %q: %s", ErrOptions, s, estimatorHelp)
}

func hasParameter(all []parameter, name string) bool {
	for _, p := range all {
		if p.name == name {
			return true
		}
	}
	return false
}

// set reads a parameter's value.
func (p parameter) set(e *Estimator, text string) error {
	switch {
	case p.whole != nil:
		n, err := strconv.Atoi(text)
		if err != nil || n < p.least || n > p.most {
			return fmt.Errorf("%s %q is not a whole number from %d to %d", p.name, text, p.least, p.most)
		}
		*p.whole(e) = n
	case p.flag != nil:
		*p.flag(e) = true
	default: // power
		var err error
		if e.power, err = strconv.ParseFloat(text, 64); err != nil || !(e.power >= -4 && e.power <= 4) {
			return fmt.Errorf("power %q is not a number from -4 to 4", text)
		}
	}
	return nil
}

// normal returns the estimator with defaults as zeros, so that those that do the same are equal.
func (e Estimator) normal() Estimator {
	if e.arity == 2 && e.kind == recursiveKind {
		e.arity = 0
	}
	if e.branching == defaultBranching {
		e.branching = 0
	}
	e.power += 0 // -0 is 0
	return e
}

// String returns the description that [ParseEstimator] reads. Estimators that do the same print alike.
func (e Estimator) String() string {
	for _, known := range estimators {
		if known.kind != e.kind {
			continue
		}
		var fields []string
		for _, p := range known.parameters {
			switch {
			case p.whole != nil && *p.whole(&e) != 0:
				fields = append(fields, fmt.Sprintf("%s=%d", p.name, *p.whole(&e)))
			case p.name == power.name && e.power != e.usualPower():
				fields = append(fields, "power="+strconv.FormatFloat(e.power, 'g', -1, 64))
			case p.flag != nil && *p.flag(&e):
				fields = append(fields, p.name)
			}
		}
		if fields == nil {
			return known.name
		}
		return known.name + ":" + strings.Join(fields, ",")
	}
	panic("dp: an estimator of no kind")
}

// usualPower returns the power of an estimator that says none.
func (e Estimator) usualPower() float64 {
	switch e.kind {
	case treeKind:
		if e.smooth {
			return 0
		}
		return defaultPower
	case adaptiveKind:
		return 1
	}
	return 0
}

// counts tells whether the estimator reads its answers from noisy counts of what it knows beforehand, and so knows how far they may be off.
func (e Estimator) counts() bool { return e.kind == treeKind || e.kind == densityKind }

// additive tells whether all that the answers draw is noise which is added to counts.
func (e Estimator) additive() bool { return e.counts() || e.kind == adaptiveKind }

// tree returns the arity and the shares of the levels of the tree of m different quantiles.
func (e Estimator) tree(m int) (arity int, shares []uint64) {
	if e.kind == independentKind { // one node draws them all
		return m + 1, nil
	}
	m = e.drawn(m)
	arity = max(e.arity, 2)
	if e.kind == jointKind && e.arity == 0 {
		levels := recursive.Depth(m, recursive.MaxJoint+1)
		for recursive.Depth(m, arity) > levels {
			arity++
		}
	}
	return arity, e.shares(recursive.Depth(m, arity))
}

// drawn returns how many of m different quantiles are drawn.
func (e Estimator) drawn(m int) int {
	if e.draws > 0 {
		return min(m, e.draws)
	}
	return m
}

// joint tells whether the quantiles of a node are drawn together.
func (e Estimator) joint() bool { return e.kind == jointKind }

// shares returns the shares of so many levels, nil for equal ones: whole numbers, so that they are what the proofs take them to be, at most 1024·24^4.
func (e Estimator) shares(levels int) []uint64 {
	if e.power == 0 {
		return nil
	}
	var shares []uint64
	for level := range levels {
		shares = append(shares, uint64(max(1, math.Round(1024*math.Pow(float64(level+1), e.power)))))
	}
	return shares
}
