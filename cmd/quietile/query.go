package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/client"
	"github.com/quietile/quietile/dp"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

func newQueryCommand() *cobra.Command {
	var (
		window, estimator, prior string
		records                  uint64
		confidence, share        float64
		wait                     time.Duration
	)
	cmd := &cobra.Command{
		Use:     "query METRIC",
		GroupID: groupDaemon,
		Short:   "Ask the daemon for private percentiles of a metric's window",
		Long: `Query asks the daemon for quantiles of one sealed window of a metric. The answer is differentially private,
and its epsilon is charged to the budget of the metric's source before any data is read. The same question
about the same window is answered from the ledger and costs nothing again. A question that the budget does
not cover is refused with exit code 3.

--delta asks for an (ε, δ) guarantee instead of a pure one, for which the budget must have a delta. It costs the rho that
gives: many such questions cost less together than as many pure ones. --confidence adds, for each answer, an interval for
how far its rank is from the quantile's.`,
		Example: `  quietile query checkout-latency -q 0.5,0.9,0.99 --epsilon 0.5
  quietile query checkout-latency -q 0.5,0.9,0.99 --epsilon 0.5 --delta 1e-7 --estimator auto --confidence 0.95
  quietile query checkout-latency -q 0.5 --epsilon 0.1 --window 2026-03-01T06:00:00Z --format json`,
		Args: positional(cobra.ExactArgs(1)),
	}
	where := addConnection(cmd)
	q := addQuantiles(cmd, "quantiles to release, such as 0.5,0.9,0.99")
	epsilon := addEpsilon(cmd, "privacy loss of all answers together")
	delta := addDelta(cmd, "make the guarantee (ε, δ), such as 1e-7, by zero-concentrated differential privacy")
	neighbours := addChoice(cmd, "neighbours", "what --epsilon protects: that a unit is there, or which records it has", dp.AddRemove.String(), dp.AddRemove.String(), dp.ReplaceOne.String())
	format := addFormat(cmd)
	covariates := addCovariates(cmd)
	f := cmd.Flags()
	f.Uint64Var(&records, "n-hint", 0, "about how many records the window has, if that is public: helps auto to choose, and says how wide slices are (default: what the metric's declaration says, or 10000)")
	f.Float64Var(&confidence, "confidence", 0, "give an interval for the rank error of each answer; all hold with this probability, such as 0.95")
	f.Float64Var(&share, "confidence-share", 0, "with --confidence: the share of --epsilon that measures rank errors; tree and density need none (default 0.1)")
	f.StringVar(&window, "window", "latest", "latest, or a time inside the window")
	f.StringVar(&estimator, "estimator", "", "auto, recursive, recursive:arity=4,power=0.5,edges, tree:branching=8,bins=512, density:bins=64, adaptive:rounds=3,bins=16,spikes, independent (default recursive)")
	f.StringVar(&prior, "prior", "", "uniform, cauchy:location=0,scale=1 and others, previous, proxy, dp-ftrl, curve (for tree and density) or public (default what the metric's declaration says, or proxy)")
	f.DurationVar(&wait, "wait", 0, "how long to wait for the window to be sealed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := requireFlags(cmd, "quantiles", "epsilon"); err != nil {
			return err
		}
		ask := &quietilev1.ReleaseRequest{
			Metric: args[0], Quantiles: q.values, NanoEpsilon: int64(epsilon.Epsilon), Estimator: estimator, Prior: prior,
			AttoDelta: int64(delta.Delta), Records: records, Confidence: confidence, ConfidenceShare: share, Neighbours: neighbours.value,
			Covariates: covariates,
		}
		if window != "latest" {
			var err error
			if ask.WindowTimeUnixNano, err = windowTime(window); err != nil {
				return err
			}
		}
		c, err := where.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		r, err := queryWhenSealed(cmd.Context(), c, ask, wait)
		if err != nil {
			return refusal(err)
		}
		return printResult(cmd.OutOrStdout(), format.value, viewOf(r))
	}
	return cmd
}

// queryWhenSealed asks again until the window is sealed or wait is over.
func queryWhenSealed(ctx context.Context, c *client.Client, ask *quietilev1.ReleaseRequest, wait time.Duration) (*quietilev1.ReleaseResult, error) {
	deadline := time.Now().Add(wait)
	for {
		r, err := c.Query(ctx, ask)
		if !errors.Is(err, client.ErrNotSealed) || !time.Now().Before(deadline) {
			return r, err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// refusal makes a usage error of what the daemon says is a wrong request.
func refusal(err error) error {
	if errors.Is(err, client.ErrInvalid) || errors.Is(err, client.ErrUnknownMetric) {
		return asUsage(err)
	}
	return err
}

// viewOf returns an answer of the daemon as it is printed.
func viewOf(r *quietilev1.ReleaseResult) resultView {
	v := resultView{
		Metric:          r.GetMetric(),
		Window:          &windowView{utc(r.GetWindowStartUnixNano()), utc(r.GetWindowEndUnixNano())},
		Estimator:       r.GetEstimator(),
		Epsilon:         epsilonNumber(dp.Epsilon(r.GetNanoEpsilon())),
		Delta:           r.GetDelta(),
		Confidence:      r.GetConfidence(),
		ConfidenceShare: r.GetConfidenceShare(),
		Neighbours:      r.GetNeighbours(),
		Unit:            r.GetUnit(),
		Contributions:   int(r.GetContributions()),
		Prior:           r.GetPrior(),
		PriorReleases:   r.GetPriorReleases(),
		PriorFallback:   r.GetPriorFallback(),
		ReleaseID:       r.GetReleaseId(),
	}
	if rho := r.GetNanoRho(); rho > 0 {
		v.Rho = rhoNumber(rho)
	}
	if rho := r.GetLearnedNanoRho(); rho > 0 {
		v.LearnedRho = rhoNumber(rho)
	}
	if p := r.GetPredicted(); p != nil {
		v.Predicted = &predictionView{p.GetEstimator(), p.GetMean(), p.GetMax()}
	}
	for _, q := range r.GetQuantiles() {
		a := quantileView{Q: q.GetQ(), Value: q.GetValue(), Lower: edge(q.GetLower()), Upper: edge(q.GetUpper())}
		if e := q.GetRankError(); e != nil {
			a.RankError = &intervalView{e.GetLow(), e.GetHigh()}
		}
		v.Quantiles = append(v.Quantiles, a)
	}
	return v
}

// utc returns the time of nanoseconds since the Unix epoch.
func utc(nanos int64) time.Time { return time.Unix(0, nanos).UTC() }
