package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/quietile/quietile/client"
	"github.com/quietile/quietile/dp"
	"github.com/quietile/quietile/dp/budget"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server"
	"github.com/quietile/quietile/server/policy"
)

//go:embed demo.yaml
var demoPolicy []byte

const (
	demoUsers   = 20_000
	demoWindows = 4
	demoFridges = 40
)

// demoQuestions are what the demonstration asks of each window of each metric.
var demoQuestions = []struct {
	metric  string
	epsilon dp.Epsilon
	q       []float64
}{
	{"checkout-seconds", 1e9, []float64{0.5, 0.9, 0.99}},
	{"basket-euros", 5e8, []float64{0.25, 0.5, 0.75}},
	{"fridge-celsius", 5e8, []float64{0.05, 0.5, 0.95}},
}

// demoView is what the demonstration prints.
type demoView struct {
	Samples  int                `json:"samples"`
	Users    int                `json:"users"`
	Releases []demoRelease      `json:"releases"`
	Repeated demoRepeated       `json:"repeated"`
	Refused  demoRefused        `json:"refused"`
	Budgets  []budgetView       `json:"budgets"`
	Seconds  map[string]float64 `json:"seconds"`
}

// demoRelease is a release beside the truth, which only a demonstration knows.
type demoRelease struct {
	resultView
	Samples int         `json:"samples"`
	Truth   []demoTruth `json:"truth"`
}

type demoTruth struct {
	Q     float64 `json:"q"`
	Value float64 `json:"value"`
	// RankError is by how many samples the released value misses the quantile, ties counted in its favour.
	RankError float64 `json:"rank_error"`
	// RankErrorShare is RankError as a share of the window's samples.
	RankErrorShare float64 `json:"rank_error_share"`
}

type demoRepeated struct {
	Metric string      `json:"metric"`
	Same   bool        `json:"same_answer"`
	Cost   json.Number `json:"cost"`
}

type demoRefused struct {
	Metric  string      `json:"metric"`
	Epsilon json.Number `json:"epsilon"`
	Refused bool        `json:"refused"`
	Error   string      `json:"error"`
}

func newDemoCommand() *cobra.Command {
	var (
		seed uint64
		keep string
		days int
	)
	cmd := &cobra.Command{
		Use:     "demo",
		GroupID: groupDaemon,
		Short:   "Show the whole path on an embedded daemon with generated traffic",
		Long: `Demo starts a daemon in a temporary directory, declares three metrics of a shop, publishes a day of traffic of
20,000 customers, seals the day's four windows and asks for private percentiles of each. Beside them it prints
the true ones, which it knows because it generated the traffic. Then it asks one question again, which costs
nothing, and one that the budget does not cover, which is refused.

With --days it publishes so many days of a queue's waiting times instead, and asks for the median of each window: with
what the releases before it have taught, and with the uniform prior. The error falls window by window.`,
		Example: `  quietile demo
  quietile demo --days 40
  quietile demo --format json`,
		Args: positional(cobra.NoArgs),
	}
	format := addChoice(cmd, "format", "how to print", formatTable, formatTable, formatJSON)
	cmd.Flags().Uint64Var(&seed, "seed", 0, "seed of the generated traffic (default the time); the privacy noise has none")
	cmd.Flags().StringVar(&keep, "data", "", "keep the daemon's data in this new directory")
	cmd.Flags().IntVar(&days, "days", 0, "show how releases learn from each other, over so many days")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if days < 0 || days > maxDays {
			return usagef("--days %d is not between 1 and %d", days, maxDays)
		}
		dir := keep
		if dir == "" {
			if dir, err = os.MkdirTemp("", "quietile-demo-"); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		}
		if seed == 0 {
			seed = uint64(time.Now().UnixNano())
		}
		var view any
		if talk := format.value == formatTable; days > 0 {
			view, err = runDays(cmd, dir, seed, days, talk)
		} else {
			view, err = runDemo(cmd, dir, seed, talk)
		}
		if err != nil {
			return err
		}
		if format.value == formatJSON {
			return printJSON(cmd.OutOrStdout(), view)
		}
		return nil
	}
	return cmd
}

// demo is the demonstration under way.
type demo struct {
	out    io.Writer
	client *client.Client
	day    time.Time
	values map[string][][]float64 // by metric and window, sorted once published
	view   *demoView
}

func runDemo(cmd *cobra.Command, dir string, seed uint64, talk bool) (view *demoView, err error) {
	ctx := cmd.Context()
	d := &demo{out: io.Discard, values: map[string][][]float64{}, view: &demoView{Users: demoUsers, Seconds: map[string]float64{}}}
	if talk {
		d.out = cmd.OutOrStdout()
	}
	// Yesterday is over, so that its windows can be sealed.
	d.day = time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	lap := d.stopwatch()

	s, err := server.Start(ctx, server.Options{
		DataDir: dir, Port: -1,
		Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	p, err := policy.Parse(demoPolicy)
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
	if d.client, err = client.Connect(s.URL(), client.WithAdmin(secret)); err != nil {
		return nil, err
	}
	defer d.client.Close()
	fmt.Fprintf(d.out, "A daemon with an embedded NATS server runs at %s (%s).\n", s.URL(), lap("start"))

	if err := d.publish(ctx, cmd.ErrOrStderr(), rand.New(rand.NewPCG(seed, 1))); err != nil {
		return nil, err
	}
	fmt.Fprintf(d.out, "%d samples of %d users in %d windows are published (%s, seed %d).\n", d.view.Samples, demoUsers, demoWindows, lap("publish"), seed)
	for _, q := range demoQuestions {
		if err := d.client.Seal(ctx, q.metric, d.day.Add(24*time.Hour)); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(d.out, "All windows of %s are sealed (%s).\n", d.day.Format(time.DateOnly), lap("seal"))
	if err := d.ask(ctx); err != nil {
		return nil, err
	}
	fmt.Fprintf(d.out, "\n%d releases took %s; fresh answers leave at fixed times.\n", len(d.view.Releases), lap("release"))
	if err := d.askAgain(ctx); err != nil {
		return nil, err
	}
	if err := d.overspend(ctx); err != nil {
		return nil, err
	}
	return d.view, d.budgets(ctx)
}

// stopwatch returns a function that returns the time since its last call and notes it under a name.
func (d *demo) stopwatch() func(string) time.Duration {
	last := time.Now()
	return func(name string) time.Duration {
		lap := time.Since(last)
		last = time.Now()
		d.view.Seconds[name] = lap.Seconds()
		return lap.Round(time.Millisecond)
	}
}

// publish generates a day of traffic and publishes it. Checkouts are slow when the shop is busy, baskets
// are round prices, and a refrigerator reports about a hundred times an hour.
func (d *demo) publish(ctx context.Context, stderr io.Writer, random *rand.Rand) error {
	p, err := d.client.NewPublisher(ctx)
	if err != nil {
		return err
	}
	for _, q := range demoQuestions {
		d.values[q.metric] = make([][]float64, demoWindows)
	}
	bar := newCountProgress(stderr, unknownTotal, "publishing", "samples")
	defer bar.Finish()
	send := func(metric, unit string, window int, value float64) error {
		at := d.day.Add(time.Duration(window)*6*time.Hour + time.Duration(random.Int64N(int64(6*time.Hour))))
		d.values[metric][window] = append(d.values[metric][window], value)
		d.view.Samples++
		bar.Add(1)
		return p.Add(client.Sample{Metric: metric, Value: value, Unit: unit, Time: at})
	}
	for window := range demoWindows {
		busy := []float64{0.6, 1, 1.4, 1.2}[window]
		for user := range demoUsers {
			unit := "customer-" + strconv.Itoa(user)
			for range random.IntN(3) {
				if err := send("checkout-seconds", unit, window, busy*math.Exp(0.4+0.9*random.NormFloat64())); err != nil {
					return err
				}
			}
			for range random.IntN(3) {
				price := math.Exp(3.2+0.8*random.NormFloat64()) * busy
				if random.IntN(3) == 0 {
					price = math.Round(price/5)*5 + 4.99 // prices that many baskets share
				}
				if err := send("basket-euros", unit, window, math.Round(price*100)/100); err != nil {
					return err
				}
			}
		}
		for fridge := range demoFridges {
			for range 600 {
				warm := 4 + float64(fridge%5) + random.NormFloat64()
				if fridge == 0 {
					warm -= 22 // a freezer
				}
				if err := send("fridge-celsius", "", window, math.Round(warm*10)/10); err != nil {
					return err
				}
			}
		}
	}
	if err := p.Close(); err != nil {
		return err
	}
	for _, windows := range d.values {
		for _, values := range windows {
			slices.Sort(values)
		}
	}
	return nil
}

func (d *demo) question(metric string, window int, epsilon dp.Epsilon, q []float64) *quietilev1.ReleaseRequest {
	return &quietilev1.ReleaseRequest{
		Metric: metric, Quantiles: q, NanoEpsilon: int64(epsilon),
		WindowTimeUnixNano: proto.Int64(d.day.Add(time.Duration(window) * 6 * time.Hour).UnixNano()),
	}
}

// ask asks for private percentiles of every window and prints them beside the true ones.
func (d *demo) ask(ctx context.Context) error {
	for _, q := range demoQuestions {
		columns := []tableColumn{word("window"), number("samples"), number("q"), number("private"), number("true"), number("rank error"), number("of n")}
		var rows [][]string
		for window := range demoWindows {
			r, err := d.client.Query(ctx, d.question(q.metric, window, q.epsilon, q.q))
			if err != nil {
				return err
			}
			values := d.values[q.metric][window]
			release := demoRelease{resultView: viewOf(r), Samples: len(values)}
			for _, a := range r.GetQuantiles() {
				t := truthOf(values, a.GetQ(), a.GetValue())
				release.Truth = append(release.Truth, t)
				rows = append(rows, []string{
					d.day.Add(time.Duration(window) * 6 * time.Hour).Format("15:04"), strconv.Itoa(len(values)), formatNumber(a.GetQ()),
					fmt.Sprintf("%.2f", a.GetValue()), fmt.Sprintf("%.2f", t.Value),
					fmt.Sprintf("%.0f", t.RankError), fmt.Sprintf("%.2f %%", 100*t.RankErrorShare),
				})
			}
			d.view.Releases = append(d.view.Releases, release)
		}
		last := d.view.Releases[len(d.view.Releases)-1]
		fmt.Fprintf(d.out, "\n%s: %s estimator, ε = %v for each window, %d per %s at most\n\n", q.metric, last.Estimator, q.epsilon, last.Contributions, last.Unit)
		if err := printTable(d.out, columns, rows); err != nil {
			return err
		}
	}
	return nil
}

// truthOf returns the true quantile of sorted values, and by how many of them a released value misses it.
func truthOf(values []float64, q, released float64) demoTruth {
	n := float64(len(values))
	target := q * n
	below, _ := slices.BinarySearch(values, released)
	upTo, _ := slices.BinarySearch(values, math.Nextafter(released, math.Inf(1)))
	miss := max(0, target-float64(upTo), float64(below)-target)
	at := min(max(int(math.Ceil(target))-1, 0), len(values)-1)
	return demoTruth{Q: q, Value: values[at], RankError: miss, RankErrorShare: miss / n}
}

// askAgain repeats the first question.
func (d *demo) askAgain(ctx context.Context) error {
	first := demoQuestions[0]
	before, err := d.spent(ctx, first.metric)
	if err != nil {
		return err
	}
	again, err := d.client.Query(ctx, d.question(first.metric, 0, first.epsilon, first.q))
	if err != nil {
		return err
	}
	after, err := d.spent(ctx, first.metric)
	if err != nil {
		return err
	}
	same := slices.EqualFunc(viewOf(again).Quantiles, d.view.Releases[0].Quantiles, func(a, b quantileView) bool { return a.Value == b.Value })
	d.view.Repeated = demoRepeated{first.metric, same, epsilonNumber(after - before)}
	answer := "the same answer"
	if !same {
		answer = "another answer"
	}
	_, err = fmt.Fprintf(d.out, "Asking the first question again brings %s and costs %v.\n", answer, after-before)
	return err
}

// overspend asks for more than is left.
func (d *demo) overspend(ctx context.Context) error {
	first := demoQuestions[0]
	const epsilon = dp.Epsilon(3e9)
	_, err := d.client.Query(ctx, d.question(first.metric, 0, epsilon, []float64{0.5}))
	d.view.Refused = demoRefused{Metric: first.metric, Epsilon: epsilonNumber(epsilon), Refused: errors.Is(err, budget.ErrExceeded)}
	if err == nil {
		return fmt.Errorf("a question that costs %v was answered beyond the budget", epsilon)
	}
	if !d.view.Refused.Refused {
		return err
	}
	d.view.Refused.Error = err.Error()
	_, err = fmt.Fprintf(d.out, "Asking for ε = %v more is refused: %v.\n\n", epsilon, err)
	return err
}

func (d *demo) spent(ctx context.Context, metric string) (dp.Epsilon, error) {
	r, err := d.client.Budget(ctx, metric)
	if err != nil {
		return 0, err
	}
	var sum dp.Epsilon
	for _, b := range r.GetBudgets() {
		sum += dp.Epsilon(b.GetSpentNanoEpsilon())
	}
	return sum, nil
}

func (d *demo) budgets(ctx context.Context) error {
	r, err := d.client.Budget(ctx, "")
	if err != nil {
		return err
	}
	columns := []tableColumn{word("source"), word("unit"), word("period"), number("budget"), number("spent"), number("left")}
	var rows [][]string
	for _, v := range budgetViews(r) {
		if len(v.Charges) == 0 {
			continue // today, of which nothing was asked
		}
		d.view.Budgets = append(d.view.Budgets, v)
		rows = append(rows, []string{v.Source, v.Unit, v.Period.Start.Format(time.DateOnly), v.Budget.String(), v.Spent.String(), v.Left.String()})
	}
	return printTable(d.out, columns, rows)
}
