package main

import (
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/dp"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

// budgetView is the budget of a source in a period as it is printed.
type budgetView struct {
	Source  string       `json:"source"`
	Unit    string       `json:"unit"`
	Period  windowView   `json:"period"`
	Budget  json.Number  `json:"epsilon"`
	Spent   json.Number  `json:"spent"`
	Left    json.Number  `json:"left"`
	Charges []chargeView `json:"charges"`
}

type chargeView struct {
	Metric    string      `json:"metric"`
	Window    time.Time   `json:"window"`
	Epsilon   json.Number `json:"epsilon"`
	ReleaseID string      `json:"release_id"`
}

func newBudgetCommand() *cobra.Command {
	var charges bool
	cmd := &cobra.Command{
		Use:     "budget [METRIC]",
		GroupID: groupDaemon,
		Short:   "Show what was spent of the privacy budgets, on what, and what is left",
		Long: `Budget shows the privacy budgets of all sources, or of the source of a metric: for each period that was
charged, and for the current one, what was spent and what is left. What is spent is the most that one unit can
have lost: for users the sum over a metric's k most charged windows, since a user has samples in at most k of
them; for events the most charged window.`,
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
		columns := []tableColumn{word("source"), word("unit"), word("period"), number("budget"), number("spent"), number("left")}
		var rows [][]string
		for _, v := range views {
			rows = append(rows, []string{v.Source, v.Unit, v.Period.Start.Format(time.RFC3339), v.Budget.String(), v.Spent.String(), v.Left.String()})
		}
		if charges {
			columns = []tableColumn{word("source"), word("period"), word("metric"), word("window"), number("epsilon"), word("release")}
			rows = nil
			for _, v := range views {
				for _, c := range v.Charges {
					rows = append(rows, []string{v.Source, v.Period.Start.Format(time.RFC3339), c.Metric, c.Window.Format(time.RFC3339), c.Epsilon.String(), c.ReleaseID})
				}
			}
		}
		return printRows(cmd.OutOrStdout(), format.value, columns, rows, views)
	}
	return cmd
}

func budgetViews(r *quietilev1.BudgetReport) []budgetView {
	views := []budgetView{}
	for _, b := range r.GetBudgets() {
		v := budgetView{
			Source:  b.GetSource(),
			Unit:    unitName(b.GetUnit()),
			Period:  windowView{utc(b.GetPeriodStartUnixNano()), utc(b.GetPeriodEndUnixNano())},
			Budget:  epsilonNumber(dp.Epsilon(b.GetBudgetNanoEpsilon())),
			Spent:   epsilonNumber(dp.Epsilon(b.GetSpentNanoEpsilon())),
			Left:    epsilonNumber(dp.Epsilon(max(0, b.GetBudgetNanoEpsilon()-b.GetSpentNanoEpsilon()))),
			Charges: []chargeView{},
		}
		for _, c := range b.GetCharges() {
			v.Charges = append(v.Charges, chargeView{c.GetMetric(), utc(c.GetWindowStartUnixNano()), epsilonNumber(dp.Epsilon(c.GetNanoEpsilon())), c.GetReleaseId()})
		}
		views = append(views, v)
	}
	return views
}

func unitName(u quietilev1.Unit) string {
	if u == quietilev1.Unit_UNIT_USER {
		return "user"
	}
	return "event"
}
