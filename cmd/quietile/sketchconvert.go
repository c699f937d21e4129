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
				cut += astray(b, grid.grid)
				l.sketch = b.Rebin(grid.grid)
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

// astray returns for how many values it is not sure in which bucket of another grid they are.
func astray(b *sketch.Binned, g *sketch.Grid) uint64 {
	from, n := b.Grid(), uint64(0)
	for i, count := range b.All() {
		// The least and the greatest value of the bucket: it may hold its bounds or not.
		first, last := from.Bounds(i)
		if from.Index(first) != i {
			first = math.Nextafter(first, math.Inf(1))
		}
		if from.Index(last) != i {
			last = math.Nextafter(last, math.Inf(-1))
		}
		if g.Index(first) != g.Index(last) {
			n += count
		}
	}
	return n
}
