package dp

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Epsilon is a privacy loss in billionths: Epsilon(500_000_000) is ε = 0.5. It is exact, so that sums of charges are too.
type Epsilon int64

const (
	// epsilonUnit is ε = 1.
	epsilonUnit = 1_000_000_000
	// maxEpsilon is the largest ε of a release; far smaller ones already protect nobody.
	maxEpsilon = 1000 * epsilonUnit
)

// ParseEpsilon reads a decimal such as "0.5": digits with at most one point and at most nine decimals, more than 0 and at most 1000. The error names the text.
func ParseEpsilon(s string) (Epsilon, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	for _, c := range whole + fraction {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("epsilon %q is not a decimal number such as 0.5", s)
		}
	}
	if whole+fraction == "" {
		return 0, fmt.Errorf("epsilon %q is not a decimal number such as 0.5", s)
	}
	if len(fraction) > 9 {
		return 0, fmt.Errorf("epsilon %q has more than nine decimals", s)
	}
	digits := strings.TrimLeft(whole+fraction+strings.Repeat("0", 9-len(fraction)), "0")
	n, err := strconv.ParseInt("0"+digits, 10, 64)
	if err != nil || n > maxEpsilon {
		return 0, fmt.Errorf("epsilon %q is more than 1000", s)
	}
	if n == 0 {
		return 0, fmt.Errorf("epsilon %q is not more than 0", s)
	}
	return Epsilon(n), nil
}

// Rat returns ε as a rational.
func (e Epsilon) Rat() *big.Rat { return big.NewRat(int64(e), epsilonUnit) }

// String returns ε as the shortest decimal that [ParseEpsilon] reads back, such as "0.5".
func (e Epsilon) String() string {
	sign, n := "", uint64(e)
	if e < 0 {
		sign, n = "-", -n
	}
	s := sign + strconv.FormatUint(n/epsilonUnit, 10)
	if fraction := strings.TrimRight(fmt.Sprintf("%09d", n%epsilonUnit), "0"); fraction != "" {
		s += "." + fraction
	}
	return s
}
