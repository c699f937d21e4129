// Command bench measures the sketches of this library beside their peers, on the same data in one run.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/quietile/quietile/bench/internal/section"
)

// A run is all that was measured, and where.
type run struct {
	date, goVersion, cpu string
	cores, n, rounds     int
	seed                 uint64
	trials               int
	results              []*results
	ownKLL, peerKLL      struct{ mean, max float64 }
	contention           []*contention
	modules              []string
}

func main() {
	n := flag.Int("n", 1_000_000, "values in a dataset, at least 1000")
	rounds := flag.Int("rounds", 9, "rounds of all libraries on a dataset")
	seed := flag.Uint64("seed", 1, "seed of the values and of the order in a round")
	out := flag.String("out", "../docs", "folder of benchmarks.md and of the pictures; empty for none")
	quick := flag.Bool("quick", false, "a tenth of the values and three rounds, for a look")
	flag.Parse()
	if *quick {
		*n, *rounds = *n/10, 3
	}
	if *n < 1000 || *rounds < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: -n is at least 1000, -rounds at least 1, and there are no arguments")
		os.Exit(2)
	}
	var progress io.Writer = io.Discard
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		progress = os.Stderr
	}
	r := measureAll(*n, *rounds, *seed, progress)
	r.write(os.Stdout)
	if *out == "" {
		return
	}
	pictures := filepath.Join(*out, "benchmarks")
	check(os.MkdirAll(pictures, 0o755))
	var report bytes.Buffer
	r.write(&report)
	check(section.Replace(filepath.Join(*out, "benchmarks.md"), "sketches", report.String()))
	r.plots(pictures)
}

func measureAll(n, rounds int, seed uint64, progress io.Writer) *run {
	r := &run{
		date: time.Now().UTC().Format("2006-01-02"), goVersion: runtime.Version(), cpu: cpu(), cores: runtime.NumCPU(),
		n: n, rounds: rounds, seed: seed, trials: min(100, n/1000), modules: modules(),
	}
	random := rand.New(rand.NewPCG(seed, 1))
	sets := datasets(n, seed)
	for _, d := range sets {
		r.results = append(r.results, measure(d, libraries(), rounds, random, progress))
	}
	r.ownKLL, r.peerKLL = trial(r.trials, max(n/10, 1000), seed)
	r.contention = contend(sets[0].values, rounds)
	return r
}

// cpu returns what the processor calls itself.
func cpu() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// modules returns the peers and their versions.
func modules() []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var all []string
	for _, m := range info.Deps {
		for _, peer := range []string{"sketches-go", "hdrhistogram-go", "metrics", "datasketches-go", "go-tdigest", "circonusllhist", "client_golang", "otel/sdk/metric"} {
			if strings.Contains(m.Path, peer) {
				all = append(all, m.Path+" "+m.Version)
				break
			}
		}
	}
	return all
}
