package dp

import "fmt"

// A budget is what a mechanism may spend: ε or ρ, the other being 0.
type budget struct {
	epsilon Epsilon
	nanoRho int64
}

func (b budget) none() bool { return b.epsilon <= 0 && b.nanoRho <= 0 }

func (b budget) String() string {
	if b.nanoRho > 0 {
		return fmt.Sprintf("rho %v", Epsilon(b.nanoRho))
	}
	return fmt.Sprintf("epsilon %v", b.epsilon)
}

// factor returns what the ε of a mechanism against neighbours of the kind add-remove is multiplied by against others. Whoever replaces a unit's records removes them and adds
// others: two steps of such neighbours, and twice the loss (docs/proofs/README.md).
func (n Neighbours) factor() int64 {
	if n == ReplaceOne {
		return 2
	}
	return 1
}

// squared returns the same for ρ.
func (n Neighbours) squared() int64 { return n.factor() * n.factor() }

// measures tells whether a part of the budget goes to the measurement of rank errors.
func (o Options) measures() bool { return o.Confidence != 0 && !o.Estimator.counts() }

// share returns the share of the budget that measures rank errors.
func (o Options) share() float64 {
	if o.ConfidenceShare != 0 {
		return o.ConfidenceShare
	}
	return defaultShare
}

// partOf returns no more than a share, in billionths, of a loss.
func partOf(loss, share int64) int64 {
	return loss/epsilonUnit*share + loss%epsilonUnit*share/epsilonUnit
}

// budgets returns what the answers and the measurement of their rank errors may spend against neighbours of the kind add-remove: together, and with what learning takes, at most what Options says.
func (o Options) budgets() (answers, intervals budget) {
	answers = budget{o.Epsilon / Epsilon(o.Neighbours.factor()), o.NanoRho/o.Neighbours.squared() - o.learning()}
	if !o.measures() {
		return answers, budget{}
	}
	share := int64(o.share() * epsilonUnit)
	intervals = budget{Epsilon(partOf(int64(answers.epsilon), share)), partOf(answers.nanoRho, share)}
	return budget{answers.epsilon - intervals.epsilon, answers.nanoRho - intervals.nanoRho}, intervals
}
