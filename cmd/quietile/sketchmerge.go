package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/sketch"
)

const sketchMergeLong = `Merge sketches to the sketch of all their values.

The inputs may be in different formats. Sketches of equal keys are merged, and those without a key with each
other; with --ignore-keys all are. The output has one sketch for each key, and is a dump if there are keys.

Sketches on equal grids merge exactly, and so do exponential grids of different scales, to the coarsest of
them. Others cannot be merged: "quietile sketch convert --grid" puts a sketch on another grid. The order of the
inputs makes no difference. KLL sketches merge with each other within their error bound; they have no grid, so
they never merge with the others. The result is not private.`

// sketchMergeFlags are the flags of the sketch merge command.
type sketchMergeFlags struct {
	input      *sketchInput
	ignoreKeys bool
	output     *sketchOutput
}

func newSketchMergeCommand() *cobra.Command {
	var f sketchMergeFlags
	cmd := &cobra.Command{
		Use:   "merge [FILE…|-]",
		Short: "Merge sketches",
		Long:  sketchMergeLong,
		Example: `  quietile sketch merge monday.sketch tuesday.sketch -o days.sketch
  cat hosts-*.qtd | quietile sketch merge --ignore-keys --to proto -o all.sketch
  quietile sketch merge hosts-*.qtd --key web-1 -o web-1.qtd`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return runSketchMerge(cmd, args, &f) },
	}
	f.input = addSketchInput(cmd)
	cmd.Flags().BoolVar(&f.ignoreKeys, "ignore-keys", false, "merge sketches of different keys, too")
	f.output = addSketchOutput(cmd)
	return cmd
}

func runSketchMerge(cmd *cobra.Command, names []string, f *sketchMergeFlags) error {
	if err := f.output.check(cmd); err != nil {
		return err
	}
	sums := make(map[string]*labelled)
	err := f.input.each(cmd, names, func(l labelled) error {
		if f.ignoreKeys {
			l.key = ""
		}
		l.header = nil // a sum is of no single window
		sum := sums[l.key]
		if sum == nil {
			sums[l.key] = &l
			return nil
		}
		if err := merge(sum.sketch, l.sketch); err != nil {
			place := ""
			if l.key != "" {
				place = ": key " + shorten([]byte(l.key))
			}
			return fmt.Errorf("%s and %s%s: %w", sum.file, l.file, place, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var all []labelled
	for _, key := range slices.Sorted(maps.Keys(sums)) {
		all = append(all, *sums[key])
	}
	return f.output.write(cmd, "quietile sketch merge", all)
}

// merge adds b to a.
func merge(a, b summary) error {
	switch x := a.(type) {
	case *sketch.Binned:
		if y, ok := b.(*sketch.Binned); ok {
			return x.Merge(y)
		}
	case kll:
		if y, ok := b.(kll); ok {
			return x.Merge(y.KLL)
		}
	}
	return fmt.Errorf("sketches of different kinds: %s, and %s", describe(a), describe(b))
}
