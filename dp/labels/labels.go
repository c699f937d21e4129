// Package labels releases quantiles of groups of records whose labels are user data themselves, such as a customer's city: which labels appear is decided
// with differential privacy too.
//
// The theorem and its proof are in docs/proofs/labels.md.
package labels

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/google/differential-privacy/go/v3/dpagg"
	"github.com/google/differential-privacy/go/v3/noise"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/sketch"
)

// A Group is the records with one label.
type Group struct {
	// Label is the label, or the labels, of the group; no two groups have the same.
	Label string
	// Units is how many privacy units have records in the group.
	Units int64
	// Sketch counts the records, on the grid of the options.
	Sketch *sketch.Binned
}

// Options are the question of a [Release]. They must not depend on the data.
type Options struct {
	// Options are those of the quantiles of each group. Its Contributions are a unit's records in all groups together. Its Epsilon is what the quantiles of all groups
	// cost together, since a unit's records are divided among the groups.
	dp.Options
	// Grid is that of all groups.
	Grid *sketch.Grid
	// Selection and Delta are the loss (ε, δ) of deciding which labels appear. Delta lies in (0, 1).
	Selection dp.Epsilon
	Delta     float64
	// Count is the loss ε of the groups' sizes. 0 releases none.
	Count dp.Epsilon
	// GroupsPerUnit is in how many groups a unit has records at most. 0 means as many as Contributions.
	GroupsPerUnit int
}

// A Result is one group of a [Release]. All of it may be shown to anyone.
type Result struct {
	Label string
	// Count is the number of records with noise, and nil if none was asked for. It is not negative.
	Count *int64
	*dp.Result
}

// Cost returns the loss (ε, δ) of a release of all groups.
func (o Options) Cost() (epsilon dp.Epsilon, delta float64) {
	return o.Epsilon + o.Selection + o.Count, o.Delta
}

// maxLibrary is the most ε of selection and counts: far beyond what protects anybody, and far below where the library never ends.
const maxLibrary = 100_000_000_000

// Validate makes the checks of [Release] that need no data. Its errors wrap [dp.ErrOptions].
func (o Options) Validate() error {
	if o.Grid == nil {
		return fmt.Errorf("%w: the grid is missing", dp.ErrOptions)
	}
	if err := o.Options.ValidateOn(o.Grid); err != nil {
		return err
	}
	if o.Neighbours != dp.AddRemove {
		return fmt.Errorf("%w: neighbours %v: groups are released for %v only", dp.ErrOptions, o.Neighbours, dp.AddRemove)
	}
	if o.NanoRho != 0 {
		return fmt.Errorf("%w: rho %v: groups are released with an epsilon only", dp.ErrOptions, dp.Epsilon(o.NanoRho))
	}
	if o.Selection <= 0 || o.Selection > maxLibrary {
		return fmt.Errorf("%w: epsilon of the selection %v is not in (0, %v]", dp.ErrOptions, o.Selection, dp.Epsilon(maxLibrary))
	}
	if o.Count < 0 || o.Count > maxLibrary {
		return fmt.Errorf("%w: epsilon of the counts %v is not in [0, %v]", dp.ErrOptions, o.Count, dp.Epsilon(maxLibrary))
	}
	if !(o.Delta > 0 && o.Delta < 1) {
		return fmt.Errorf("%w: delta %v is not in (0, 1)", dp.ErrOptions, o.Delta)
	}
	if o.GroupsPerUnit < 0 || o.GroupsPerUnit > max(o.Contributions, 1) {
		return fmt.Errorf("%w: groups per unit %d is not from 1 to the %d contributions", dp.ErrOptions, o.GroupsPerUnit, max(o.Contributions, 1))
	}
	// What the library cannot do it must refuse whether there are groups or not.
	o = o.withDefaults()
	nobody := Group{Units: 1, Sketch: sketch.NewBinned(o.Grid)}
	if _, err := o.keep(nobody); err != nil {
		return fmt.Errorf("%w: epsilon %v and delta %v: %w", dp.ErrOptions, o.Selection, o.Delta, err)
	}
	if o.Count > 0 {
		if _, err := o.size(nobody); err != nil {
			return fmt.Errorf("%w: epsilon %v: %w", dp.ErrOptions, o.Count, err)
		}
	}
	return nil
}

// ErrGroups is wrapped by errors about groups that [Release] cannot take, which are mistakes of the caller.
var ErrGroups = errors.New("groups")

// Release decides which of the labels appear, and releases the quantiles and the size of those groups, sorted by label. A label appears with a probability that grows
// with its number of units: with one it is at most δ. Partition selection is that of Desfontaines, Voss, Gipson, Mandayam, "Differentially private partition
// selection" (PETS 2022), by Google's library, and the counts are that library's; their noise is not exact in the sense of package exact.
func Release(groups []Group, o Options) ([]Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	groups = slices.Clone(groups)
	slices.SortFunc(groups, func(a, b Group) int { return strings.Compare(a.Label, b.Label) })
	for i, g := range groups {
		switch {
		case i > 0 && g.Label == groups[i-1].Label:
			return nil, fmt.Errorf("%w: label %q stands twice", ErrGroups, g.Label)
		case !g.Sketch.Grid().Equal(o.Grid):
			return nil, fmt.Errorf("%w: the grid of %q is %v, and not %v", ErrGroups, g.Label, g.Sketch.Grid(), o.Grid)
		}
	}
	var err error
	if o.Options, _, err = o.Chosen(o.Grid); err != nil {
		return nil, err
	}
	var results []Result
	for _, g := range groups {
		keep, err := o.keep(g)
		if err != nil {
			return nil, err
		}
		if !keep {
			continue
		}
		r := Result{Label: g.Label}
		if r.Result, err = dp.Release(g.Sketch, o.Options); err != nil {
			return nil, err
		}
		if o.Count > 0 {
			n, err := o.size(g)
			if err != nil {
				return nil, err
			}
			r.Count = &n
		}
		results = append(results, r)
	}
	return results, nil
}

func (o Options) withDefaults() Options {
	o.Contributions = max(o.Contributions, 1)
	if o.GroupsPerUnit == 0 {
		o.GroupsPerUnit = o.Contributions
	}
	return o
}

func (o Options) keep(g Group) (bool, error) {
	s, err := dpagg.NewPreAggSelectPartition(&dpagg.PreAggSelectPartitionOptions{
		Epsilon:                  below(o.Selection),
		Delta:                    o.Delta,
		MaxPartitionsContributed: int64(o.GroupsPerUnit),
	})
	if err == nil {
		err = s.IncrementBy(g.Units)
	}
	keep := false
	if err == nil {
		keep, err = s.ShouldKeepPartition()
	}
	if err != nil {
		return false, fmt.Errorf("selection of labels: %w", err)
	}
	return keep, nil
}

// size returns the number of records with Laplace noise. A unit has at most Contributions records in all groups together, so that is the sensitivity of all sizes in
// the sum of absolute differences; the library takes it as so many in one group.
func (o Options) size(g Group) (int64, error) {
	c, err := dpagg.NewCount(&dpagg.CountOptions{
		Epsilon:                  below(o.Count),
		MaxPartitionsContributed: int64(o.Contributions),
		Noise:                    noise.Laplace(),
	})
	if err == nil {
		err = c.IncrementBy(int64(g.Sketch.Count()))
	}
	if err != nil {
		return 0, fmt.Errorf("count of a label: %w", err)
	}
	n, err := c.Result()
	return max(n, 0), err
}

// below returns the largest float64 that is not more than ε.
func below(e dp.Epsilon) float64 {
	f := new(big.Float).SetPrec(53).SetMode(big.ToNegativeInf)
	x, _ := f.SetRat(big.NewRat(int64(e), 1_000_000_000)).Float64()
	return x
}
