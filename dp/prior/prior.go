// Package prior says, before any data is seen, how likely each bucket of a grid is to hold a quantile.
package prior

import (
	"fmt"
	"math/bits"

	"github.com/quietile/quietile/sketch"
)

// MaxTotal is the largest sum of a prior's weights on a grid.
const MaxTotal = 1<<62 - 1

// A Prior weighs the buckets of a grid. It must depend on public information only: on the policy, on earlier releases, never on the data being released.
// Inside a bucket the weight spreads evenly: each half of a dyadic block weighs half of it. Implementations are immutable and safe for concurrent use.
type Prior interface {
	// Name identifies the family and its parameters in results and reports, such as "uniform".
	Name() string
	// Weights returns one positive weight for each bucket of the grid, underflow and overflow included. Their sum is at most [MaxTotal].
	// It is an error if the prior does not fit the grid.
	Weights(g *sketch.Grid) ([]uint64, error)
}

// Uniform returns the prior that gives every bucket of the grid, underflow and overflow included, the same weight: uniform in the value on a linear grid,
// in the logarithm of its magnitude on an exponential grid, in the bucket's number on an explicit one.
func Uniform() Prior { return uniform{} }

type uniform struct{}

func (uniform) Name() string { return "uniform" }

func (uniform) Weights(g *sketch.Grid) ([]uint64, error) {
	w := make([]uint64, g.Len())
	for i := range w {
		w[i] = 1
	}
	return w, nil
}

// Check reports the first way in which weights break the contract of [Prior.Weights] for a grid of the given number of buckets.
func Check(weights []uint64, buckets int) error {
	if len(weights) != buckets {
		return fmt.Errorf("%d prior weights for %d buckets", len(weights), buckets)
	}
	total := uint64(0)
	for i, w := range weights {
		if w == 0 {
			return fmt.Errorf("prior weight of bucket %d is 0, which makes it an impossible answer", i)
		}
		var carry uint64
		if total, carry = bits.Add64(total, w, 0); carry != 0 || total > MaxTotal {
			return fmt.Errorf("prior weights up to bucket %d sum to more than %d", i, uint64(MaxTotal))
		}
	}
	return nil
}
