package policy

import (
	"math"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// WindowOf returns the bounds of the window of m that holds t. Times are nanoseconds since the Unix
// epoch, to which windows are aligned. Within one window of either end of what int64 can hold, bounds
// stop at that end.
func WindowOf(m *quietilev1.Metric, t int64) (start, end int64) {
	start = PeriodStart(m.GetWindowNanos(), t)
	if start > math.MaxInt64-m.GetWindowNanos() {
		return start, math.MaxInt64
	}
	return start, start + m.GetWindowNanos()
}

// PeriodOf returns the start of the budget period of m that holds t.
func PeriodOf(m *quietilev1.Metric, t int64) int64 { return PeriodStart(m.GetPeriodNanos(), t) }

// PeriodStart returns the largest multiple of period that is at most t.
func PeriodStart(period, t int64) int64 {
	rest := t % period
	if rest < 0 {
		rest += period
	}
	if t < math.MinInt64+rest {
		return math.MinInt64
	}
	return t - rest
}
