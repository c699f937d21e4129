package budget

import (
	"math/big"

	"github.com/quietile/quietile/dp"
)

// GroupEpsilon returns what k ≥ 0 units together lose by what loses a unit ε: k·ε (Dwork, Roth 2014, theorem 2.2). For replacing one unit by another k is 2.
func GroupEpsilon(e dp.Epsilon, k int) dp.Epsilon { return dp.Epsilon(times(int64(e), k, 1)) }

// GroupRho returns what k ≥ 0 units together lose by what loses a unit ρ: k²·ρ (Bun, Steinke 2016, proposition 1.9). For replacing one unit by another k is 2.
func GroupRho(r Rho, k int) Rho { return Rho(times(int64(r), k, 2)) }

// times returns n·k^power.
func times(n int64, k, power int) int64 {
	product := big.NewInt(n)
	for range power {
		product.Mul(product, big.NewInt(int64(k)))
	}
	if n == Unlimited && k > 0 {
		return Unlimited
	}
	return clamped(product)
}
