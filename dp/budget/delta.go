package budget

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Delta is the probability δ of approximate differential privacy, in units of 10⁻¹⁸: Delta(1_000_000_000_000) is δ = 10⁻⁶. It is exact, so that sums of charges are
// too.
type Delta int64

const (
	// deltaUnit is δ = 1.
	deltaUnit = 1_000_000_000_000_000_000
	// deltaDecimals is how many decimals a Delta has.
	deltaDecimals = 18
)

// ParseDelta reads a number such as "1e-6" or "0.000001": more than 0, less than 1, with at most 18 decimals. The error names the text.
func ParseDelta(s string) (Delta, error) {
	d, places, err := parseDelta(s)
	switch {
	case err != nil:
		return 0, err
	case d.Sign() == 0:
		return 0, fmt.Errorf("delta %q is not more than 0", s)
	case places > 0:
		return 0, fmt.Errorf("delta %q has more than %d decimals", s, deltaDecimals)
	case d.Cmp(big.NewInt(deltaUnit)) >= 0:
		return 0, fmt.Errorf("delta %q is not less than 1", s)
	}
	return Delta(d.Int64()), nil
}

// parseDelta reads a decimal number: it is d·10^(−18−places), with the least places ≥ 0 for which d is whole.
func parseDelta(s string) (d *big.Int, places int, err error) {
	bad := fmt.Errorf("delta %q is not a number such as 1e-6", s)
	mantissa, power, hasPower := strings.Cut(strings.ToLower(s), "e")
	exponent := 0
	if hasPower {
		if len(power) > 4 {
			return nil, 0, bad
		}
		if exponent, err = strconv.Atoi(power); err != nil {
			return nil, 0, bad
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	if digits == "" || len(digits) > 100 || strings.Trim(digits, "0123456789") != "" {
		return nil, 0, bad
	}
	d, _ = new(big.Int).SetString(digits, 10)
	places = len(fraction) - exponent - deltaDecimals
	ten := big.NewInt(10)
	if places < 0 {
		return d.Mul(d, new(big.Int).Exp(ten, big.NewInt(int64(-places)), nil)), 0, nil
	}
	for ; places > 0; places-- {
		q, r := new(big.Int).QuoRem(d, ten, new(big.Int))
		if r.Sign() != 0 {
			break
		}
		d = q
	}
	return d, places, nil
}

// deltaOf reads δ between 0 and 1 as its shortest decimal, rounded up to 18 decimals.
func deltaOf(f float64) Delta {
	d, places, err := parseDelta(strconv.FormatFloat(f, 'e', -1, 64))
	if err != nil { // never: a float64 between 0 and 1 is such a number
		return deltaUnit
	}
	for ; places > 0; places-- {
		d = quo(d, big.NewInt(10), true)
	}
	return Delta(d.Int64())
}

// Rat returns δ as a rational.
func (d Delta) Rat() *big.Rat { return big.NewRat(int64(d), deltaUnit) }

// Below returns the largest float64 that is at most δ: what to give to a mechanism that computes in floating point.
func (d Delta) Below() float64 {
	f, exact := d.Rat().Float64()
	if !exact && new(big.Rat).SetFloat64(f).Cmp(d.Rat()) > 0 {
		f = before(f)
	}
	return f
}

// String returns δ as a decimal that [ParseDelta] reads back, such as "1e-06".
func (d Delta) String() string {
	digits := strings.TrimRight(strconv.FormatInt(int64(d), 10), "0")
	if d >= deltaUnit/10_000 || d <= 0 {
		return strings.TrimSuffix(strings.TrimRight(d.Rat().FloatString(deltaDecimals), "0"), ".")
	}
	exponent := deltaDecimals + 1 - len(strconv.FormatInt(int64(d), 10))
	if len(digits) > 1 {
		digits = digits[:1] + "." + digits[1:]
	}
	return fmt.Sprintf("%se-%02d", digits, exponent)
}

func (d Delta) plus(other Delta) Delta { return saturated(d, other) }
