package main

import (
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// budgetView is the budget of a source in a period, or of a metric, as it is printed.
type budgetView struct {
	Source string `json:"source"`
	// Metric is the one whose own budget this is, absent for the budget of the whole source.
	Metric string      `json:"metric,omitempty"`
	Unit   string      `json:"unit"`
	Period windowView  `json:"period"`
	Budget json.Number `json:"epsilon"`
	// Spent is absent if not every release was pure.
	Spent json.Number `json:"spent,omitempty"`
	Left  json.Number `json:"left"`
	// Delta, Rho, which epsilon and delta allow, and what is spent and left of it are absent for a budget in epsilon alone.
	Delta    json.Number  `json:"delta,omitempty"`
	Rho      json.Number  `json:"rho,omitempty"`
	SpentRho json.Number  `json:"spent_rho,omitempty"`
	LeftRho  json.Number  `json:"left_rho,omitempty"`
	Charges  []chargeView `json:"charges"`
}

type chargeView struct {
	Metric string    `json:"metric"`
	Window time.Time `json:"window"`
	// Epsilon is absent if the release is not pure.
	Epsilon   json.Number `json:"epsilon,omitempty"`
	Rho       json.Number `json:"rho"`
	ReleaseID string      `json:"release_id"`
}

func newBudgetCommand() *cobra.Command {
	var charges bool
	cmd := &cobra.Command{
		Use:     "budget [METRIC]",
		GroupID: groupDaemon,
		Short:   "Show what was spent of the privacy budgets, on what, and what is left",
		Long: `Budget shows the privacy budgets of all sources and metrics, or of a metric and its source: for each period that was
charged, and for the current one, what was spent and what is left. What is spent is the most that one unit can
have lost: for users the sum over a metric's k most charged windows, since a user has samples in at most k of
them; for events the most charged window. What a period leaves is not carried over.

A budget with a delta also has a rho, and admits what fits either: the sum of the releases' epsilons, or that of their
rhos. What is spent in epsilon is empty once a release was not pure; what is left in epsilon is what a pure release may
cost in any case.`,
		Example: `  quietile budget
  quietile budget checkout-latency --charges`,
		Args: positional(cobra.MaximumNArgs(1)),
	}
	where := addConnection(cmd)
	format := addFormat(cmd)
	cmd.Flags().BoolVar(&charges, "charges", false, "list every charge (always in JSON)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		metric := ""
		if len(args) > 0 {
			metric = args[0]
		}
		c, err := where.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		r, err := c.Budget(cmd.Context(), metric)
		if err != nil {
			return refusal(err)
		}
		views := budgetViews(r)
		columns, rows := budgetRows(views)
		if charges {
			columns, rows = chargeRows(views)
		}
		if format.value == formatTable {
			columns, rows = withoutEmpty(columns, rows)
		}
		return printRows(cmd.OutOrStdout(), format.value, columns, rows, views)
	}
	return cmd
}

func budgetRows(views []budgetView) (columns []tableColumn, rows [][]string) {
	columns = []tableColumn{
		word("source"), word("metric"), word("unit"), word("period"), number("budget"), number("delta"),
		number("spent"), number("left"), number("rho"), number("spent_rho"), number("left_rho"),
	}
	for _, v := range views {
		rows = append(rows, []string{
			v.Source, v.Metric, v.Unit, v.Period.Start.Format(time.RFC3339), v.Budget.String(), v.Delta.String(),
			v.Spent.String(), v.Left.String(), v.Rho.String(), v.SpentRho.String(), v.LeftRho.String(),
		})
	}
	return columns, rows
}

// chargeRows lists each charge once, with its source.
func chargeRows(views []budgetView) (columns []tableColumn, rows [][]string) {
	columns = []tableColumn{word("source"), word("period"), word("metric"), word("window"), number("epsilon"), number("rho"), word("release")}
	for _, v := range views {
		if v.Metric != "" {
			continue
		}
		for _, c := range v.Charges {
			rows = append(rows, []string{v.Source, v.Period.Start.Format(time.RFC3339), c.Metric, c.Window.Format(time.RFC3339), c.Epsilon.String(), c.Rho.String(), c.ReleaseID})
		}
	}
	return columns, rows
}

// withoutEmpty returns a table without the columns that are empty in all its rows.
func withoutEmpty(columns []tableColumn, rows [][]string) ([]tableColumn, [][]string) {
	filled := make([]bool, len(columns))
	for _, row := range rows {
		for i, cell := range row {
			filled[i] = filled[i] || cell != ""
		}
	}
	if len(rows) == 0 {
		return columns, rows
	}
	var kept []tableColumn
	short := make([][]string, len(rows))
	for i, c := range columns {
		if !filled[i] {
			continue
		}
		kept = append(kept, c)
		for j, row := range rows {
			short[j] = append(short[j], row[i])
		}
	}
	return kept, short
}

func budgetViews(r *quietilev1.BudgetReport) []budgetView {
	views := []budgetView{}
	for _, b := range r.GetBudgets() {
		v := budgetView{
			Source:  b.GetSource(),
			Metric:  b.GetMetric(),
			Unit:    unitName(b.GetUnit()),
			Period:  windowView{utc(b.GetPeriodStartUnixNano()), utc(b.GetPeriodEndUnixNano())},
			Budget:  epsilonNumber(dp.Epsilon(b.GetBudgetNanoEpsilon())),
			Left:    epsilonNumber(dp.Epsilon(b.GetLeftNanoEpsilon())),
			Charges: []chargeView{},
		}
		if spent := b.GetSpentNanoEpsilon(); spent != budget.Unlimited {
			v.Spent = epsilonNumber(dp.Epsilon(spent))
		}
		if delta := budget.Delta(b.GetBudgetAttoDelta()); delta > 0 {
			v.Delta = json.Number(delta.String())
			v.Rho, v.SpentRho = rhoNumber(b.GetBudgetNanoRho()), rhoNumber(b.GetSpentNanoRho())
			v.LeftRho = rhoNumber(max(0, b.GetBudgetNanoRho()-b.GetSpentNanoRho()))
		}
		for _, c := range b.GetCharges() {
			charge := chargeView{Metric: c.GetMetric(), Window: utc(c.GetWindowStartUnixNano()), Rho: rhoNumber(c.GetNanoRho()), ReleaseID: c.GetReleaseId()}
			if epsilon := dp.Epsilon(c.GetNanoEpsilon()); epsilon > 0 {
				charge.Epsilon = epsilonNumber(epsilon)
			}
			v.Charges = append(v.Charges, charge)
		}
		views = append(views, v)
	}
	return views
}

// rhoNumber returns billionths of ρ as a JSON number.
func rhoNumber(nano int64) json.Number { return json.Number(budget.Rho(nano).String()) }

func unitName(u quietilev1.Unit) string {
	if u == quietilev1.Unit_UNIT_USER {
		return "user"
	}
	return "event"
}
