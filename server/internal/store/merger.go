package store

import (
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/quietile/quietile/sketch"
)

// countsMerger adds counts. Addition commutes, so neither the order of the operands nor how they are
// grouped matters. Its name is part of the store's format.
var countsMerger = &pebble.Merger{
	Name: "quietile.counts.v1",
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		m := &counts{}
		return m, m.add(value)
	},
}

type counts struct {
	operands [][]byte
}

func (c *counts) add(value []byte) error {
	c.operands = append(c.operands, append([]byte(nil), value...))
	return nil
}

func (c *counts) MergeNewer(value []byte) error { return c.add(value) }
func (c *counts) MergeOlder(value []byte) error { return c.add(value) }

func (c *counts) Finish(bool) ([]byte, io.Closer, error) {
	if len(c.operands) == 1 {
		return c.operands[0], nil, nil
	}
	sum, err := sketch.MergeCounts(c.operands...)
	return sum, nil, err
}
