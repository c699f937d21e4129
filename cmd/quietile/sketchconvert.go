package main

import (
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/quietile/quietile/sketch"
)

const sketchConvertLong = `Write sketches in another format, or put them on another grid.

FILE is standard input for "-" or none. Converting without --grid keeps every count, or is an error: a format
that cannot hold a sketch says why. With --grid the count of each bucket goes to the bucket of the new grid
that holds its middle. That is exact where each bucket lies within one of the new ones, such as on an
exponential grid of a lower scale; for how many values it is not, standard error says.

Of a dump with several sketches --key picks one; --to dump takes them all. The result holds exact counts and is
not private.`

func newSketchConvertCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "convert [FILE|-] --to FORMAT",
		Short: "Write a sketch in another format or on another grid",
		Long:  sketchConvertLong,
		Example: `  quietile sketch convert latency.sketch --to json
  quietile sketch convert hosts.qtd --key web-1 --to proto -o web-1.sketch
  quietile sketch convert latency.sketch --grid exponential:scale=3 --to dump -o coarse.qtd`,
		Args: positional(cobra.MaximumNArgs(1)),
	}
	input := addSketchInput(cmd)
	grid := addGrid(cmd, "grid to put the sketch on", nil)
	output := addSketchOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := requireFlags(cmd, "to"); err != nil {
			return err
		}
		if err := output.check(cmd); err != nil {
			return err
		}
		var (
			all []labelled
			cut uint64
		)
		err := input.each(cmd, args, func(l labelled) error {
			if grid.grid != nil {
				b, ok := l.sketch.(*sketch.Binned)
				if !ok {
					return fmt.Errorf("%s: %w", l.file, usagef("--grid is for sketches on grids, and this is %s", describe(l.sketch)))
				}
				moved, n := rebin(b, grid.grid)
				l.sketch = moved
				cut += n
			}
			all = append(all, l)
			return nil
		})
		if err != nil {
			return err
		}
		if err := output.write(cmd, "quietile sketch convert", all); err != nil {
			return err
		}
		if cut > 0 {
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%d values lay in buckets that reach over several of the new grid, and were counted where the middles of those are\n", cut)
		}
		return err
	}
	return cmd
}

// rebin puts a sketch on another grid. Of the values that cut counts it is not sure that they went to their bucket.
func rebin(b *sketch.Binned, g *sketch.Grid) (moved *sketch.Binned, cut uint64) {
	moved = sketch.NewBinned(g)
	from := b.Grid()
	for i, n := range b.All() {
		first, last := ends(from, i)
		if g.Index(first) != g.Index(last) {
			cut += n
		}
		middle := first + (last-first)/2
		switch {
		case math.IsInf(first, 0):
			middle = first
		case math.IsInf(last, 0):
			middle = last
		case math.IsInf(last-first, 0):
			middle = first/2 + last/2
		}
		_ = moved.AddBucket(g.Index(middle), n) // the total is that of b
	}
	_ = moved.AddN(math.NaN(), b.NaNCount())
	return moved, cut
}

// ends returns the least and the greatest value of a bucket.
func ends(g *sketch.Grid, i int) (first, last float64) {
	first, last = g.Bounds(i)
	if g.Index(first) != i {
		first = math.Nextafter(first, math.Inf(1))
	}
	if g.Index(last) != i {
		last = math.Nextafter(last, math.Inf(-1))
	}
	return first, last
}
