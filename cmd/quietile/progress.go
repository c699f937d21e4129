package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// unknownTotal is the total of work whose length nobody knows.
const unknownTotal = -1

// progress is a bar on a terminal, and nothing anywhere else. It may be used by several goroutines.
type progress struct{ bar *progressbar.ProgressBar }

// newByteProgress shows work that is counted in bytes.
func newByteProgress(stderr io.Writer, total int64, what string) *progress {
	return newProgress(stderr, total, what, progressbar.OptionShowBytes(true))
}

// newCountProgress shows work that is counted in things of a kind, such as "samples".
func newCountProgress(stderr io.Writer, total int64, what, things string) *progress {
	return newProgress(stderr, total, what, progressbar.OptionShowIts(), progressbar.OptionSetItsString(things), progressbar.OptionShowCount())
}

func newProgress(stderr io.Writer, total int64, what string, options ...progressbar.Option) *progress {
	file, ok := stderr.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(total, append(options,
		progressbar.OptionSetWriter(file),
		progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(total != unknownTotal),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine that outlives the work
		progressbar.OptionClearOnFinish(),
	)...)}
}

// Add says that n more are done.
func (p *progress) Add(n int) {
	if p.bar != nil {
		_ = p.bar.Add(n) // a bar that cannot be drawn stops nothing
	}
}

// Finish removes the bar.
func (p *progress) Finish() {
	if p.bar != nil {
		_ = p.bar.Exit() // what is added from now on draws nothing
		_ = p.bar.Clear()
	}
}
