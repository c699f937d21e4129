package policy

import (
	"math"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// WindowOf returns the window of a valid metric that holds t: start ≤ t < end. Times are nanoseconds
// since the Unix epoch, to which windows are aligned. A bound beyond what int64 holds is its smallest or
// largest value; then the window also holds an end of math.MaxInt64.
func WindowOf(m *quietilev1.Metric, t int64) (start, end int64) {
	return PeriodStart(m.GetWindowNanos(), t), periodEnd(m.GetWindowNanos(), t)
}

// PeriodOf returns the start of the budget period of a valid metric that holds t, as [PeriodStart].
func PeriodOf(m *quietilev1.Metric, t int64) int64 { return PeriodStart(m.GetPeriodNanos(), t) }

// PeriodStart returns the largest multiple of period, which is more than 0, that is at most t, and
// math.MinInt64 where int64 does not hold it. Times are nanoseconds since the Unix epoch.
func PeriodStart(period, t int64) int64 {
	rest := since(period, t)
	if t < math.MinInt64+rest {
		return math.MinInt64
	}
	return t - rest
}

// periodEnd returns the smallest multiple of period that is more than t, and math.MaxInt64 where int64
// does not hold it.
func periodEnd(period, t int64) int64 {
	rest := period - since(period, t)
	if t > math.MaxInt64-rest {
		return math.MaxInt64
	}
	return t + rest
}

// since returns how long before t the period began that holds it: from 0 to period-1.
func since(period, t int64) int64 {
	rest := t % period
	if rest < 0 {
		rest += period
	}
	return rest
}
