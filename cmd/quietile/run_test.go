package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/dp/budget"
)

// outcome is what a command line did.
type outcome struct {
	code           int
	stdout, stderr string
}

// execute runs a command line on an input.
func execute(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// succeed runs a command line that must not fail, and returns what it prints.
func succeed(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	o := execute(t, stdin, args...)
	if o.code != exitOK || o.stderr != "" {
		t.Fatalf("quietile %q: exit code %d, standard error %q", args, o.code, o.stderr)
	}
	return o.stdout
}

// fail runs a command line that must print one line on standard error that holds every one of the texts, and nothing on standard output.
func fail(t *testing.T, code int, stdin string, args []string, texts ...string) {
	t.Helper()
	o := execute(t, stdin, args...)
	if o.code != code {
		t.Errorf("quietile %q: exit code %d, want %d; standard error %q", args, o.code, code, o.stderr)
	}
	if o.stdout != "" {
		t.Errorf("quietile %q: standard output %q", args, o.stdout)
	}
	if !strings.HasPrefix(o.stderr, "quietile: ") || strings.Count(o.stderr, "\n") != 1 || !strings.HasSuffix(o.stderr, "\n") {
		t.Errorf("quietile %q: standard error %q is not one line of quietile", args, o.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("quietile %q: standard error %q does not say %q", args, o.stderr, text)
		}
	}
}

// write makes a file and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// zip returns what gzip makes of a text.
func zip(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHelpDocumentsExitCodes(t *testing.T) {
	help := succeed(t, "", "--help")
	for _, text := range []string{"Exit codes:", "0  done", "1  failed", "2  wrong usage", "3  refused by the privacy budget", "Examples:"} {
		if !strings.Contains(help, text) {
			t.Errorf("help does not say %q:\n%s", text, help)
		}
	}
	if got := succeed(t, ""); got != help {
		t.Errorf("without arguments: %q, want the help", got)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.HasSubCommands() {
			for _, sub := range cmd.Commands() {
				walk(sub)
			}
			return
		}
		if cmd.Long == "" || cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s lacks a short text, a long text or an example", cmd.CommandPath())
		}
	}
	walk(newRoot())
}

func TestErrorsHaveTheirExitCodes(t *testing.T) {
	f := func(want int, err error) {
		t.Helper()
		if got := exitCode(err); got != want {
			t.Errorf("exit code of %v is %d, want %d", err, got, want)
		}
	}
	f(0, nil)
	f(1, errors.New("lost"))
	f(1, context.Canceled)
	f(2, usagef("wrong"))
	f(2, fmt.Errorf("in.csv: %w", usagef("wrong")))
	f(3, fmt.Errorf("query: %w", budget.ErrExceeded))
	f(3, asUsage(budget.ErrExceeded))
}

func TestErrorsAreOneLine(t *testing.T) {
	if got := explain(errors.New("a\nb  c\r\n")); got != "a b  c" {
		t.Errorf("explain = %q", got)
	}
}

func TestUnknownCommandsAndFlagsAreNamed(t *testing.T) {
	fail(t, exitUsage, "", []string{"relase"}, `"relase"`, "release")
	fail(t, exitUsage, "", []string{"zzz"}, `"zzz"`)
	fail(t, exitUsage, "", []string{"--zzz"}, "--zzz")
	fail(t, exitUsage, "", []string{"map", "--zzz"}, "--zzz")
	fail(t, exitUsage, "", []string{"release"}, "quietile release FILE")
}

func TestAnInterruptEndsWaitingForInput(t *testing.T) {
	for _, args := range [][]string{
		{"release", "-", "-q", "0.5", "--epsilon", "1", "--min", "0", "--max", "1"},
		{"map"},
		{"reduce"},
	} {
		silent, hold := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var stdout, stderr bytes.Buffer
		if code := run(ctx, args, silent, &stdout, &stderr); code != exitFailed || stderr.String() != "quietile: interrupted\n" || stdout.Len() > 0 {
			t.Errorf("%v: exit code %d, standard error %q, standard output %q", args, code, stderr.String(), stdout.String())
		}
		hold.Close()
	}
}
