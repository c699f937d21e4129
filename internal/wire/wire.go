// Package wire reads protobuf messages of others field by field, such that an error says at which byte it is.
package wire

import (
	"fmt"
	"iter"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field is one field of a message: a number, and a value that shares memory with the message.
type Field struct {
	Number protowire.Number
	// At is the position of the field in the outermost message.
	At int

	damage error // that errors wrap
	kind   protowire.Type
	scalar uint64
	bytes  []byte
	start  int // of bytes
}

// Fields returns the fields of a message, in the order they are in. The first error, which wraps damage, the sentinel of the
// caller's package, is the last of the sequence. So do the errors of the fields' methods.
func Fields(message []byte, damage error) iter.Seq2[Field, error] { return fields(message, 0, damage) }

func fields(message []byte, start int, damage error) iter.Seq2[Field, error] {
	return func(yield func(Field, error) bool) {
		for rest := message; len(rest) > 0; {
			f := Field{At: start + len(message) - len(rest), damage: damage}
			number, kind, n := protowire.ConsumeTag(rest)
			if n < 0 {
				yield(f, fmt.Errorf("%w: the tag at byte %d is damaged or cut off", damage, f.At))
				return
			}
			f.Number, f.kind = number, kind
			rest = rest[n:]
			f.start = f.At + n
			switch kind {
			case protowire.VarintType:
				f.scalar, n = protowire.ConsumeVarint(rest)
			case protowire.Fixed64Type:
				f.scalar, n = protowire.ConsumeFixed64(rest)
			case protowire.BytesType:
				f.bytes, n = protowire.ConsumeBytes(rest)
				f.start += n - len(f.bytes)
			default:
				n = protowire.ConsumeFieldValue(number, kind, rest)
			}
			if n < 0 {
				yield(f, fmt.Errorf("%w: the value of field %d at byte %d is damaged or cut off", damage, number, f.At))
				return
			}
			rest = rest[n:]
			if !yield(f, nil) {
				return
			}
		}
	}
}

// typed returns an error for a value that is not of the kind.
func (f Field) typed(kind protowire.Type, name string) error {
	if f.kind == kind {
		return nil
	}
	return fmt.Errorf("%w: field %d at byte %d has the wire type %d, which is no %s", f.damage, f.Number, f.At, f.kind, name)
}

// Uint64 returns the value of a uint64.
func (f Field) Uint64() (uint64, error) { return f.scalar, f.typed(protowire.VarintType, "varint") }

// Uint32 returns the value of a uint32, of which a reader drops the bits beyond 32.
func (f Field) Uint32() (uint32, error) {
	return uint32(f.scalar), f.typed(protowire.VarintType, "varint")
}

// Sint32 returns the value of a sint32, of which a reader drops the bits beyond 32.
func (f Field) Sint32() (int32, error) {
	return int32(protowire.DecodeZigZag(f.scalar & math.MaxUint32)), f.typed(protowire.VarintType, "varint")
}

// Fixed64 returns the value of a fixed64.
func (f Field) Fixed64() (uint64, error) { return f.scalar, f.typed(protowire.Fixed64Type, "fixed64") }

// Double returns the value of a double.
func (f Field) Double() (float64, error) {
	return math.Float64frombits(f.scalar), f.typed(protowire.Fixed64Type, "double")
}

// Bytes returns a copy of the value of a string or of bytes.
func (f Field) Bytes() ([]byte, error) {
	return slices.Clone(f.bytes), f.typed(protowire.BytesType, "text")
}

// Message returns the fields of a value that is a message.
func (f Field) Message() iter.Seq2[Field, error] {
	if err := f.typed(protowire.BytesType, "message"); err != nil {
		return func(yield func(Field, error) bool) { yield(f, err) }
	}
	return fields(f.bytes, f.start, f.damage)
}

// AppendDoubles appends the values of a repeated double, packed or not.
func (f Field) AppendDoubles(dst []float64) ([]float64, error) {
	if f.kind != protowire.BytesType {
		x, err := f.Double()
		return append(dst, x), err
	}
	if len(f.bytes)%8 != 0 {
		return dst, fmt.Errorf("%w: field %d at byte %d has %d bytes of float64", f.damage, f.Number, f.At, len(f.bytes))
	}
	dst = slices.Grow(dst, len(f.bytes)/8)
	for b := f.bytes; len(b) > 0; b = b[8:] {
		v, _ := protowire.ConsumeFixed64(b)
		dst = append(dst, math.Float64frombits(v))
	}
	return dst, nil
}

// AppendUints appends the values of a repeated uint64, or of another integer before it is decoded, packed or not.
func (f Field) AppendUints(dst []uint64) ([]uint64, error) {
	return appendVarints(f, dst, func(v uint64) uint64 { return v })
}

// AppendSints appends the values of a repeated sint64, packed or not.
func (f Field) AppendSints(dst []int64) ([]int64, error) {
	return appendVarints(f, dst, protowire.DecodeZigZag)
}

func appendVarints[T any](f Field, dst []T, decode func(uint64) T) ([]T, error) {
	if f.kind != protowire.BytesType {
		v, err := f.Uint64()
		return append(dst, decode(v)), err
	}
	ends := 0
	for _, c := range f.bytes {
		if c < 0x80 {
			ends++
		}
	}
	dst = slices.Grow(dst, ends)
	for b := f.bytes; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return dst, fmt.Errorf("%w: the number at byte %d, in field %d, is damaged or cut off",
				f.damage, f.start+len(f.bytes)-len(b), f.Number)
		}
		dst = append(dst, decode(v))
		b = b[n:]
	}
	return dst, nil
}
