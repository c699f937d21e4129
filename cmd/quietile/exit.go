package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/dp/budget"
)

// The exit codes, as the help of the root command documents them.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
)

// A usageError says that the command line, or a file it names, is not as it must be. Nothing was changed.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef makes a usageError with the text that [fmt.Errorf] makes.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// asUsage makes a usageError of err, and nil of nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// exitCode returns the exit code that an error stands for.
func exitCode(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, budget.ErrExceeded):
		return exitRefused
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitFailed
}

// explain returns what is printed about an error, on one line.
func explain(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}

// positional makes usage errors of what check finds wrong with the arguments.
func positional(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w: %s", err, cmd.UseLine())
		}
		return nil
	}
}

// requireFlags returns a usage error that names the first of the flags that was not given.
func requireFlags(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if flag := cmd.Flags().Lookup(name); !flag.Changed {
			if flag.Shorthand != "" {
				return usagef("-%s is required", flag.Shorthand)
			}
			return usagef("--%s is required", name)
		}
	}
	return nil
}

// excludeFlags returns a usage error if name was given together with one of the others.
func excludeFlags(cmd *cobra.Command, name string, others ...string) error {
	if !cmd.Flags().Changed(name) {
		return nil
	}
	for _, other := range others {
		if cmd.Flags().Changed(other) {
			return usagef("--%s and --%s exclude each other", name, other)
		}
	}
	return nil
}
