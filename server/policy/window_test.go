package policy

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

func TestWindowsAndPeriodsAreAlignedToTheEpoch(t *testing.T) {
	m := &quietilev1.Metric{WindowNanos: 10, PeriodNanos: 30}
	f := func(at, start, end, period int64) {
		t.Helper()
		gotStart, gotEnd := WindowOf(m, at)
		if gotStart != start || gotEnd != end || PeriodOf(m, at) != period {
			t.Errorf("%d: window %d to %d in period %d, want %d to %d in %d", at, gotStart, gotEnd, PeriodOf(m, at), start, end, period)
		}
	}
	f(0, 0, 10, 0)
	f(9, 0, 10, 0)
	f(10, 10, 20, 0)
	f(29, 20, 30, 0)
	f(30, 30, 40, 30)
	f(-1, -10, 0, -30)
	f(-10, -10, 0, -30)
	f(-11, -20, -10, -30)
	f(-30, -30, -20, -30)
	f(-31, -40, -30, -60)
	f(math.MaxInt64, math.MaxInt64-7, math.MaxInt64, math.MaxInt64-7)
	f(math.MinInt64, math.MinInt64, math.MinInt64+8, math.MinInt64)
	f(math.MinInt64+7, math.MinInt64, math.MinInt64+8, math.MinInt64)
	f(math.MinInt64+8, math.MinInt64+8, math.MinInt64+18, math.MinInt64+8)
}

func TestWindowsAgreeWithUnboundedArithmetic(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	clamp := func(x *big.Int) int64 {
		switch {
		case x.IsInt64():
			return x.Int64()
		case x.Sign() < 0:
			return math.MinInt64
		default:
			return math.MaxInt64
		}
	}
	for range 100_000 {
		window := 1 + r.Int64N(math.MaxInt64)>>r.IntN(63)
		at := int64(r.Uint64()) >> r.IntN(64)
		switch r.IntN(4) {
		case 0:
			at = math.MaxInt64 - r.Int64N(window)
		case 1:
			at = math.MinInt64 + r.Int64N(window)
		}
		w := big.NewInt(window)
		start := new(big.Int).Div(big.NewInt(at), w) // rounds down, as window is more than 0
		start.Mul(start, w)
		end := new(big.Int).Add(start, w)
		m := &quietilev1.Metric{WindowNanos: window, PeriodNanos: window}
		gotStart, gotEnd := WindowOf(m, at)
		if gotStart != clamp(start) || gotEnd != clamp(end) || PeriodOf(m, at) != gotStart {
			t.Fatalf("window %v at %d: %d to %d, want %v to %v", time.Duration(window), at, gotStart, gotEnd, start, end)
		}
	}
}

func TestAWindowLiesInOnePeriod(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100_000 {
		window := 1 + r.Int64N(1<<40)
		m := &quietilev1.Metric{WindowNanos: window, PeriodNanos: window * (1 + r.Int64N(1000))}
		at := int64(r.Uint64())
		start, end := WindowOf(m, at)
		if p := PeriodOf(m, at); p != PeriodOf(m, start) || p != PeriodOf(m, end-1) {
			t.Fatalf("window %d of period %d at %d: %d to %d", window, m.PeriodNanos, at, start, end)
		}
	}
}
