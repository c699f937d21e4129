// Command priors measures what priors are worth: static ones, public ones, and those that releases learn from each other, by the code that releases.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/quietile/quietile/bench/internal/section"
)

// settings are how much is run.
type settings struct {
	data string
	reps int // of a static cell; sequences have a part of them
	seed uint64
}

func main() {
	var s settings
	flag.StringVar(&s.data, "data", defaultData(), "folder with adult.csv.gz and books.csv.gz")
	flag.IntVar(&s.reps, "reps", 200, "repetitions of a cell")
	flag.Uint64Var(&s.seed, "seed", 1, "seed of the data; the releases draw from the secure source")
	only := flag.String("only", "", "parts to run, such as static,shift; empty for all")
	out := flag.String("out", "../docs", "folder of priors.md and of the pictures; empty for none")
	flag.Parse()
	fmt.Fprintf(os.Stderr, "seed %d\n", s.seed)
	pictures := ""
	if *out != "" {
		pictures = filepath.Join(*out, "priors")
		check(os.MkdirAll(pictures, 0o755))
	}
	for _, part := range []struct {
		name string
		run  func(s settings, w *bytes.Buffer, pictures string)
	}{
		{"static", static}, {"public", publicToPrivate}, {"season", season}, {"records", records}, {"shift", shift}, {"covariates", covariates}, {"real", realStreams}, {"leader", leader}, {"counts", combinedCounts},
	} {
		if *only != "" && !strings.Contains(","+*only+",", ","+part.name+",") {
			continue
		}
		start := time.Now()
		var report bytes.Buffer
		part.run(s, &report, pictures)
		fmt.Fprintf(&report, "\n`cd bench && go run ./priors -only %s -reps %d -seed %d`: %s with %s on %d cores, %s.\n", part.name, s.reps, s.seed, time.Now().UTC().Format("2006-01-02"), runtime.Version(), runtime.NumCPU(), time.Since(start).Round(time.Second))
		os.Stdout.Write(report.Bytes())
		fmt.Fprintf(os.Stderr, "%s: %s\n", part.name, time.Since(start).Round(time.Second))
		if *out != "" {
			check(section.Replace(filepath.Join(*out, "priors.md"), part.name, report.String()))
		}
	}
}

func defaultData() string {
	if dir := os.Getenv("QUIETILE_DATA"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "shared", "data")
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](x T, err error) T {
	check(err)
	return x
}

// parallel calls f for 0 … n−1, on all cores.
func parallel(n int, f func(i int)) {
	var cores sync.WaitGroup
	next := make(chan int)
	for range runtime.NumCPU() {
		cores.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	cores.Wait()
}
