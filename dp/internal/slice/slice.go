// Package slice draws the cuts of the slice estimator from any sampler, so that a release and the audit run the same code.
//
// The mechanism, its theorem and the proof are in docs/proofs/slice.md. [Records], [Ranks] and [Answer] are its three parts, [Solve] is all of it.
package slice

import (
	"errors"
	"fmt"
	"math"
	"math/big"

	"github.com/quietile/quietile/dp/exact"
)

// Unit is the denominator of quantiles and of ε: both are integers in billionths.
const Unit = 1_000_000_000

// Bounds of a [Problem]. Ranks and numbers of records are kept to ±maxRank, which changes nothing for data that a sketch can hold (slice.md, "What is left out").
const (
	maxLevels    = 40
	maxEpsilon   = 1000 * Unit
	maxShareSum  = 1 << 32
	maxBranching = 64
	maxQuantiles = 1 << 20
	maxWidth     = 1 << 40
	maxScale     = 1 << 30
	maxUnit      = 1 << 28 // contributions: times 10⁹ and the height of a tree they are below 2⁶³
	maxRecords   = 1 << 61 // of the guess
	maxRank      = 1<<63 - 1 - 4*maxWidth
)

// failure is the probability, over all neighbours together, with which noise may take more of the room between two slices than the gap condition leaves it; and the one with which an
// answer may leave its slice on the worst of data.
const failure = 1. / 20

var (
	// ErrProblem is wrapped by the errors of [Problem.Check].
	ErrProblem = errors.New("slices out of range")
	// ErrGap is wrapped, besides [ErrProblem], by those about quantiles that are too close for slices.
	ErrGap = errors.New("quantiles too close")
)

// A Count is the number of records in one bucket.
type Count struct {
	Bucket  int
	Records uint64
}

// A Problem is one release. All but Counts is public.
type Problem struct {
	Levels        uint      // a bucket has 2^Levels cells; at most 40
	Weights       []uint64  // prior weight of each bucket; positive, summing to less than 2⁶³
	Counts        []Count   // buckets ascending, with at least one record each; buckets left out are empty; records sum to less than 2⁶²
	Quantiles     []int64   // in billionths, strictly ascending, within (0, Unit); between 1 and 2²⁰ of them
	Epsilon       int64     // of the whole release, in billionths, positive and at most 1000·Unit
	Shares        [3]uint64 // of Epsilon, for the number of records, the ranks and the answers: positive, with a sum below 2³²; all 0 means 1, 4 and 3
	Contributions uint64    // records that one privacy unit contributes at most, from 1 to 2²⁸
	Records       uint64    // a public guess of the number of records, for the gap condition only; below 2⁶¹
	Width         uint64    // records of a slice on either side of its rank, at most 2⁴⁰; 0 means as many as the gap condition leaves room for
	Branching     int       // of the tree of noise, from 2 to 64; 0 means what makes the ranks most accurate
	Height        int       // of the tree of noise in levels, at most 21 and so that 2^(Height−1) is at most the number of quantiles; 0 means likewise
}

// Check returns an error that wraps [ErrProblem] and names the field and the value unless every public field is in range and the gap condition holds: neighbouring slices must not meet, but
// for the noise of their ranks with a probability of 1/20, if the number of records is the guess. That error wraps [ErrGap] too, and holds the two quantiles, how far apart they are and how far they must be. Check does
// not look at the counts, and privacy does not depend on the guess.
func (p *Problem) Check() error {
	switch {
	case p.Levels > maxLevels:
		return fmt.Errorf("%w: levels %d are more than %d", ErrProblem, p.Levels, maxLevels)
	case len(p.Weights) == 0:
		return fmt.Errorf("%w: no weights", ErrProblem)
	case len(p.Quantiles) == 0 || len(p.Quantiles) > maxQuantiles:
		return fmt.Errorf("%w: %d quantiles is not in [1, %d]", ErrProblem, len(p.Quantiles), maxQuantiles)
	case p.Epsilon < 1 || p.Epsilon > maxEpsilon:
		return fmt.Errorf("%w: epsilon of %d billionths is not in [1, %d]", ErrProblem, p.Epsilon, int64(maxEpsilon))
	case p.Contributions == 0 || p.Contributions > maxUnit:
		return fmt.Errorf("%w: contributions %d is not in [1, %d]", ErrProblem, p.Contributions, maxUnit)
	case p.Records >= maxRecords:
		return fmt.Errorf("%w: records %d are not below 2^61", ErrProblem, p.Records)
	case p.Width > maxWidth:
		return fmt.Errorf("%w: width %d is more than 2^40", ErrProblem, p.Width)
	case p.Height < 0 || p.Height > 21 || p.Height > 0 && 1<<(p.Height-1) > len(p.Quantiles):
		return fmt.Errorf("%w: height %d is not that of a tree of noise over %d quantiles", ErrProblem, p.Height, len(p.Quantiles))
	case p.Branching != 0 && (p.Branching < 2 || p.Branching > maxBranching):
		return fmt.Errorf("%w: branching %d is not in [2, %d]", ErrProblem, p.Branching, maxBranching)
	}
	total := uint64(0)
	for _, w := range p.Weights {
		if w == 0 || w >= 1<<63-total {
			return fmt.Errorf("%w: weight %d is 0 or makes the sum reach 2^63", ErrProblem, w)
		}
		total += w
	}
	for j, q := range p.Quantiles {
		if q < 1 || q >= Unit || j > 0 && q <= p.Quantiles[j-1] {
			return fmt.Errorf("%w: quantile of %d billionths is not in (0, %d) or not above the one before", ErrProblem, q, Unit)
		}
	}
	sum := uint64(0)
	for _, s := range p.shares() {
		if s == 0 || s >= maxShareSum-sum {
			return fmt.Errorf("%w: share %d is 0 or makes the sum reach 2^32", ErrProblem, s)
		}
		sum += s
	}
	for i, part := range []string{"the number of records", "ranks", "answers"} {
		if p.budgets()[i] == 0 {
			return fmt.Errorf("%w: share %d leaves nothing of epsilon for %s", ErrProblem, p.shares()[i], part)
		}
	}
	for _, scale := range []*big.Rat{p.countScale(), p.rankScale()} {
		if scale.Cmp(big.NewRat(maxScale, 1)) > 0 {
			return fmt.Errorf("%w: epsilon of %d billionths and contributions %d make noise of a scale above 2^30", ErrProblem, p.Epsilon, p.Contributions)
		}
	}
	if err := p.checkGaps(); err != nil {
		return err
	}
	if p.rate(p.width()).Sign() <= 0 {
		return fmt.Errorf("%w: width %d leaves nothing of epsilon for answers", ErrProblem, p.width())
	}
	return nil
}

// checkGaps returns an error unless a slice of least width has room between the ranks of any two neighbouring quantiles.
func (p *Problem) checkGaps() error {
	width := p.Width
	if width == 0 {
		width = p.leastWidth()
	}
	for i, slack := range p.slacks() {
		from, to := p.Quantiles[i], p.Quantiles[i+1]
		need := math.Ceil(2*float64(width) + slack)
		if have := p.apart(i); have < need {
			return fmt.Errorf("%w: %w: %v and %v are %.6g of %d records apart, and slices need %.6g: a spacing of %.3g, or %.6g records",
				ErrProblem, ErrGap, float64(from)/Unit, float64(to)/Unit, have, p.Records, need, need/float64(p.Records), math.Ceil(need/float64(to-from)*Unit))
		}
	}
	return nil
}

// apart returns how many records are between quantiles i and i+1 if there are as many as guessed.
func (p *Problem) apart(i int) float64 {
	return float64(p.Quantiles[i+1]-p.Quantiles[i]) / Unit * float64(p.Records)
}

// slacks returns bounds of how much closer noise brings the ranks of each two neighbouring quantiles, which all keep but with probability failure: a sum of k draws of Laplace noise of scale λ
// is beyond 2λ√(kL) + λL with a probability of at most e^−L (discrete-noise.md, lemma 5, and Boucheron, Lugosi, Massart, "Concentration inequalities", theorem 2.3).
func (p *Problem) slacks() []float64 {
	scale, _ := p.rankScale().Float64()
	l := math.Log(float64(len(p.Quantiles)) / failure)
	slacks := make([]float64, len(p.Quantiles)-1)
	branching, height := p.shape()
	for i := range slacks {
		apart := map[node]int64{} // the nodes of the difference of the two ranks
		eachNode(i+1, len(p.Quantiles), branching, height, func(v node, sign int64) { apart[v] -= sign })
		eachNode(i+2, len(p.Quantiles), branching, height, func(v node, sign int64) { apart[v] += sign })
		k := 0. // all signs differ by at most 1
		for _, sign := range apart {
			k += float64(sign * sign)
		}
		slacks[i] = scale * (2*math.Sqrt(k*l) + l)
	}
	return slacks
}

// leastWidth returns a width for which an answer leaves its slice with a probability of about failure at most if all records, as many as guessed, are evenly in the bucket with the least weight.
func (p *Problem) leastWidth() uint64 {
	total, least := 0., math.Inf(1)
	for _, w := range p.Weights {
		total += float64(w)
		least = min(least, float64(w))
	}
	// A cut outside of the slice has score w and the weight of all, one inside it score 0 and the weight between two records.
	l := math.Log(total / least * float64(p.Records+1) / failure)
	rate := float64(p.budgets()[2]) / Unit / float64(p.Contributions) / 2
	return uint64(min(math.Ceil((l+1)/rate), maxWidth)) // more than l/η: η is less than rate by at most 1/(2w)
}

// width returns Width, or the widest that the gap condition leaves room for.
func (p *Problem) width() uint64 {
	if p.Width > 0 {
		return p.Width
	}
	width := float64(maxWidth)
	for i, slack := range p.slacks() {
		width = min(width, (p.apart(i)-slack)/2)
	}
	return max(uint64(max(width, 0)), p.leastWidth())
}

func (p *Problem) shares() [3]uint64 {
	if p.Shares == [3]uint64{} {
		return [3]uint64{1, 4, 3}
	}
	return p.Shares
}

// budgets divides ε by the shares, in billionths that add up to all of it.
func (p *Problem) budgets() (parts [3]int64) {
	sum, before, spent := uint64(0), uint64(0), int64(0)
	for _, s := range p.shares() {
		sum += s
	}
	for i, s := range p.shares() {
		before += s
		to, _ := exact.Product(uint64(p.Epsilon), before).QuoRem64(sum) // at most Epsilon
		parts[i], spent = int64(to.Lo)-spent, int64(to.Lo)
	}
	return parts
}

// countScale returns the scale of the noise on the number of records, which one unit changes by at most c.
func (p *Problem) countScale() *big.Rat { return p.scale(1, p.budgets()[0]) }

// rankScale returns the scale of the noise of a node: the neighbours' ranks are the same when a node of each level that holds one quantile is moved, by c records in all.
func (p *Problem) rankScale() *big.Rat {
	_, height := p.shape()
	return p.scale(height, p.budgets()[1])
}

// scale returns times·c/ε for ε in billionths.
func (p *Problem) scale(times int, epsilon int64) *big.Rat {
	scale := new(big.Rat).SetInt(new(big.Int).SetUint64(p.Contributions))
	return scale.Mul(scale, new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(int64(times)), big.NewInt(Unit)), big.NewInt(epsilon)))
}

// rate returns the η of the answers: 2η and a bound of ln(1 + 1/w) are their ε divided by c (slice.md, theorem).
func (p *Problem) rate(width uint64) *big.Rat {
	rate := big.NewRat(p.budgets()[2], Unit)
	rate.Quo(rate, new(big.Rat).SetInt(new(big.Int).SetUint64(p.Contributions)))
	rate.Sub(rate, logarithm(width))
	return rate.Quo(rate, big.NewRat(2, 1))
}

// logarithm returns (1/w + 1/(w+1))/2 ≥ ln(1 + 1/w): the trapezoid over the convex 1/x from w to w+1.
func logarithm(width uint64) *big.Rat {
	w := int64(width)
	sum := new(big.Rat).Add(big.NewRat(1, w), big.NewRat(1, w+1))
	return sum.Quo(sum, big.NewRat(2, 1))
}

// Solve returns a cut for each quantile, ascending: cut b·2^Levels + k is the left edge of cell k of bucket b, and cut len(Weights)·2^Levels is the top.
// It panics if [Problem.Check] returns an error.
func Solve(p *Problem, s exact.NoiseSampler) []uint64 {
	return Answer(p, Ranks(p, Records(p, s), s), s)
}

// SolveAndCount solves as [Solve] does, and counts as [AnswerAndCount] does.
func SolveAndCount(p *Problem, s exact.NoiseSampler) (cuts, between []uint64) {
	return AnswerAndCount(p, Ranks(p, Records(p, s), s), s)
}

// Records returns a noisy number of records, at least 0.
func Records(p *Problem, s exact.NoiseSampler) int64 {
	n := uint64(0)
	for _, c := range p.Counts {
		n += c.Records
	}
	return max(s.Noisy(n, laplace(p.countScale())), 0)
}

func laplace(scale *big.Rat) *exact.Laplace {
	noise, err := exact.NewLaplace(scale)
	if err != nil {
		panic("slice: " + err.Error()) // the bounds of a Problem's fields keep it within range
	}
	return noise
}
