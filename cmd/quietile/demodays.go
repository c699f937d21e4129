package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/client"
	"github.com/quietile/quietile/dp"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server"
	"github.com/quietile/quietile/server/policy"
)

//go:embed demodays.yaml
var demoDaysPolicy []byte

const (
	daysMetric  = "queue-seconds"
	daysVisits  = 200 // in a window
	daysWindow  = 6 * time.Hour
	daysEpsilon = dp.Epsilon(1e8)
	maxDays     = 365
	// daysSlot is shorter than a daemon's: the demonstration asks hundreds of questions, and nobody watches its clock.
	daysSlot = 10 * time.Millisecond
)

// daysView is what the demonstration of many days prints.
type daysView struct {
	Metric  string      `json:"metric"`
	Epsilon string      `json:"epsilon"`
	Windows []dayView   `json:"windows"`
	Days    []dayView   `json:"days"`
	Belief  *beliefView `json:"belief"`
}

// dayView is the rank error of a window, or the mean of a day's four, with what was learned and with the uniform prior.
type dayView struct {
	Day     int     `json:"day"`
	Hour    int     `json:"hour"`
	Learned float64 `json:"learned_rank_error"`
	Uniform float64 `json:"uniform_rank_error"`
}

// runDays shows, through a daemon, how the error of a metric's median falls with what earlier releases have taught.
func runDays(cmd *cobra.Command, dir string, seed uint64, days int, talk bool) (view *daysView, err error) {
	ctx, out := cmd.Context(), io.Discard
	if talk {
		out = cmd.OutOrStdout()
	}
	s, err := server.Start(ctx, server.Options{
		DataDir: dir, Port: -1, AnswerSlot: daysSlot,
		Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	p, err := policy.Parse(demoDaysPolicy)
	if err != nil {
		return nil, err
	}
	if _, err := s.Apply(ctx, p); err != nil {
		return nil, err
	}
	secret, err := server.AdminSecret(dir)
	if err != nil {
		return nil, err
	}
	c, err := client.Connect(s.URL(), client.WithAdmin(secret))
	if err != nil {
		return nil, err
	}
	defer c.Close()

	start := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -days)
	values, err := publishDays(ctx, c, start, days, rand.New(rand.NewPCG(seed, 2)))
	if err != nil {
		return nil, err
	}
	if err := c.Seal(ctx, daysMetric, start.AddDate(0, 0, days)); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%d days of %s, %d visits in each of four windows, are published and sealed (seed %d). The median of each window is asked for twice, with ε = %v:\nwith what the releases before it have taught, and with the uniform prior, on a grid of all numbers.\n\n",
		days, daysMetric, daysVisits, seed, daysEpsilon)
	view = &daysView{Metric: daysMetric, Epsilon: daysEpsilon.String()}
	bar := newCountProgress(cmd.ErrOrStderr(), int64(len(values)), "asking", "windows")
	for window, truth := range values {
		if window%4 == 0 {
			view.Days = append(view.Days, dayView{Day: window/4 + 1})
		}
		day, one := &view.Days[len(view.Days)-1], dayView{Day: window/4 + 1, Hour: window % 4 * 6}
		for _, ask := range []struct {
			prior string
			off   *float64
			sum   *float64
		}{{"", &one.Learned, &day.Learned}, {"uniform", &one.Uniform, &day.Uniform}} {
			a, err := c.Query(ctx, &quietilev1.ReleaseRequest{
				Metric: daysMetric, Quantiles: []float64{0.5}, NanoEpsilon: int64(daysEpsilon), Prior: ask.prior,
				WindowTimeUnixNano: proto.Int64(start.Add(time.Duration(window) * daysWindow).UnixNano()),
			})
			if err != nil {
				return nil, err
			}
			*ask.off = truthOf(truth, 0.5, a.GetQuantiles()[0].GetValue()).RankError
			*ask.sum += *ask.off / 4
		}
		view.Windows = append(view.Windows, one)
		bar.Add(1)
	}
	bar.Finish()
	if err := printDays(out, view); err != nil {
		return nil, err
	}
	r, err := c.Prior(ctx, &quietilev1.PriorRequest{Metric: daysMetric})
	if err != nil {
		return nil, err
	}
	belief, err := viewBelief(r)
	if err != nil {
		return nil, err
	}
	view.Belief = &belief
	return view, belief.print(out, formatTable)
}

// publishDays publishes a queue's waiting times: a season of the day, a level that drifts, and people who wait a part longer or shorter. It returns the windows' values, sorted.
func publishDays(ctx context.Context, c *client.Client, start time.Time, days int, random *rand.Rand) ([][]float64, error) {
	p, err := c.NewPublisher(ctx)
	if err != nil {
		return nil, err
	}
	var all [][]float64
	level := math.Log(20)
	for window := range 4 * days {
		level += 0.02 * random.NormFloat64()
		typical := level + 0.7*math.Cos(math.Pi/2*float64(window%4)+1)
		values := make([]float64, daysVisits)
		for i := range values {
			values[i] = math.Exp(typical + 0.4*random.NormFloat64())
			if err := p.Add(client.Sample{Metric: daysMetric, Value: values[i], Time: start.Add(time.Duration(window)*daysWindow + time.Minute)}); err != nil {
				return nil, err
			}
		}
		slices.Sort(values)
		all = append(all, values)
	}
	return all, p.Close()
}

// printDays prints errors as numbers and bars: of the first two days each window, then of days their means, all up to the tenth and every fifth from there.
func printDays(w io.Writer, v *daysView) error {
	const most, first = 40, 8
	largest := 1.0
	for _, d := range v.Windows {
		largest = max(largest, d.Learned, d.Uniform)
	}
	columns := []tableColumn{number("day"), word("window"), number("learned"), number("uniform"), word("rank error: learned █, uniform ░")}
	var rows [][]string
	row := func(d dayView, window string) {
		bar := func(x float64) int { return int(math.Round(x / largest * most)) }
		learned, uniform := bar(d.Learned), bar(d.Uniform)
		rows = append(rows, []string{
			fmt.Sprint(d.Day), window, fmt.Sprintf("%.1f", d.Learned), fmt.Sprintf("%.1f", d.Uniform), strings.Repeat("█", learned) + strings.Repeat("░", max(uniform-learned, 0)),
		})
	}
	for _, d := range v.Windows[:min(len(v.Windows), first)] {
		row(d, fmt.Sprintf("%02d:00", d.Hour))
	}
	for _, d := range v.Days[min(len(v.Days), first/4):] {
		if d.Day <= 10 || d.Day%5 == 0 || d.Day == len(v.Days) {
			row(d, "mean of 4")
		}
	}
	if err := printTable(w, columns, rows); err != nil {
		return err
	}
	var learned, uniform float64
	half := v.Days[len(v.Days)/2:]
	for _, d := range half {
		learned += d.Learned / float64(len(half))
		uniform += d.Uniform / float64(len(half))
	}
	_, err := fmt.Fprintf(w, "\nOver the second half of the days the mean rank error is %.1f, and %.1f with the uniform prior.\n\n", learned, uniform)
	return err
}
