package dp

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/quietile/quietile/dp/internal/recursive"
)

// An Estimator is a way to answer quantiles, with its parameters, which are public. The zero value is "recursive".
type Estimator struct {
	auto        bool
	independent bool
	branching   int // of the tree of noisy counts; 0 means another estimator
	arity       int // 0 means 2
	power       float64
	edges       bool
}

// estimatorHelp is what a wrong description is told.
const estimatorHelp = "there are auto, independent, recursive, with arity=2 to 64, power=-4 to 4 and edges, such as recursive:arity=3,power=0.5,edges, and tree, with branching=2 to 1024"

// defaultBranching is the one with the least error of those that were tried on 8192 buckets.
const defaultBranching = 8

// ParseEstimator reads the description of an estimator:
//
//	recursive                     a tree of quantiles, each answered on the records inside its range (docs/proofs/recursive.md)
//	recursive:arity=4             three quantiles at each node of the tree
//	recursive:power=0.5           level i of the tree, from 1, has a share of ε in proportion to i^0.5; 0, the default, makes them equal
//	recursive:edges               the prior's weight outside of a range goes to its ends
//	auto                          the one of the others that is expected to err least (see Options.Choose)
//	tree                          noisy counts of a tree over the buckets, from which all quantiles are read (docs/proofs/tree.md)
//	tree:branching=16             with 16 children to a node instead of 8
//	independent                   each of m quantiles on all records with ε/m; at most 100 quantiles
//
// Parameters go together, separated by commas. Errors wrap [ErrOptions]. Nothing is "recursive".
func ParseEstimator(s string) (Estimator, error) {
	var e Estimator
	name, rest, more := strings.Cut(s, ":")
	switch {
	case name == "recursive" || s == "":
	case name == "auto" && !more:
		e.auto = true
		return e, nil
	case name == "tree":
		e.branching = defaultBranching
		if !more {
			return e, nil
		}
		key, value, _ := strings.Cut(rest, "=")
		if key != "branching" {
			return e, fmt.Errorf("%w: estimator %q: %s", ErrOptions, s, estimatorHelp)
		}
		var err error
		if e.branching, err = strconv.Atoi(value); err != nil || e.branching < 2 || e.branching > 1024 {
			return e, fmt.Errorf("%w: estimator %q: branching %q is not a whole number from 2 to 1024", ErrOptions, s, value)
		}
		return e, nil
	case name == "independent" && !more:
		e.independent = true
		return e, nil
	default:
		return e, fmt.Errorf("%w: estimator %q: %s", ErrOptions, s, estimatorHelp)
	}
	if !more {
		return e, nil
	}
	seen := map[string]bool{}
	for field := range strings.SplitSeq(rest, ",") {
		key, value, hasValue := strings.Cut(field, "=")
		if seen[key] {
			return e, fmt.Errorf("%w: estimator %q: %s stands twice", ErrOptions, s, key)
		}
		seen[key] = true
		var err error
		switch {
		case key == "arity":
			e.arity, err = strconv.Atoi(value)
			if err != nil || e.arity < 2 || e.arity > 64 {
				return e, fmt.Errorf("%w: estimator %q: arity %q is not a whole number from 2 to 64", ErrOptions, s, value)
			}
			if e.arity == 2 {
				e.arity = 0
			}
		case key == "power":
			e.power, err = strconv.ParseFloat(value, 64)
			if err != nil || !(e.power >= -4 && e.power <= 4) {
				return e, fmt.Errorf("%w: estimator %q: power %q is not a number from -4 to 4", ErrOptions, s, value)
			}
		case key == "edges" && !hasValue:
			e.edges = true
		default:
			return e, fmt.Errorf("%w: estimator %q: %s", ErrOptions, s, estimatorHelp)
		}
	}
	return e, nil
}

// String returns the description that [ParseEstimator] reads. Estimators that do the same print alike.
func (e Estimator) String() string {
	if e.auto {
		return "auto"
	}
	if e.independent {
		return "independent"
	}
	if e.branching > 0 {
		if e.branching == defaultBranching {
			return "tree"
		}
		return fmt.Sprintf("tree:branching=%d", e.branching)
	}
	var fields []string
	if e.arity > 2 {
		fields = append(fields, fmt.Sprintf("arity=%d", e.arity))
	}
	if e.power != 0 {
		fields = append(fields, "power="+strconv.FormatFloat(e.power, 'g', -1, 64))
	}
	if e.edges {
		fields = append(fields, "edges")
	}
	if fields == nil {
		return "recursive"
	}
	return "recursive:" + strings.Join(fields, ",")
}

// tree returns the arity and the shares of the levels of the tree of m different quantiles.
func (e Estimator) tree(m int) (arity int, shares []uint64) {
	if e.independent { // one node draws them all
		return m + 1, nil
	}
	arity = max(e.arity, 2)
	if e.power != 0 {
		// Whole numbers, so that the shares are what the proof takes them to be; at most 14 of them, none above 1024·14^4.
		for level := range recursive.Depth(m, arity) {
			shares = append(shares, uint64(max(1, math.Round(1024*math.Pow(float64(level+1), e.power)))))
		}
	}
	return arity, shares
}
