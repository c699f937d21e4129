package main

import (
	"math"
	"testing"
)

func TestAnUnknownMechanismIsRefused(t *testing.T) {
	fail(t, exitUsage, "", []string{"audit", "--mechanism", "magic"}, `--mechanism "magic": there are`, "recursive", "labels")
}

func TestLossesAreRoundedUp(t *testing.T) {
	f := func(x float64, want string) {
		t.Helper()
		if got := formatLoss(x); got != want {
			t.Errorf("%v is printed as %s, want %s", x, got, want)
		}
	}
	f(0.9999990001, "1.000000")
	f(1, "1.000000")
	f(math.Inf(1), "infinite")
}
