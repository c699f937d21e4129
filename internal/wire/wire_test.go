package wire

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

var errDamage = errors.New("not what it should be")

// one returns the only field of a message.
func one(t *testing.T, message []byte) Field {
	t.Helper()
	var found []Field
	for f, err := range Fields(message, errDamage) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, f)
	}
	if len(found) != 1 {
		t.Fatalf("%d fields in %x", len(found), message)
	}
	return found[0]
}

func TestFieldsAreReadInOrderWithTheirPositions(t *testing.T) {
	message := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 300)
	message = protowire.AppendFixed32(protowire.AppendTag(message, 2, protowire.Fixed32Type), 7)
	message = protowire.AppendTag(message, 3, protowire.StartGroupType)
	message = protowire.AppendTag(message, 3, protowire.EndGroupType)
	inner := protowire.AppendFixed64(protowire.AppendTag(nil, 5, protowire.Fixed64Type), math.Float64bits(1.5))
	message = protowire.AppendBytes(protowire.AppendTag(message, 4, protowire.BytesType), inner)
	var numbers, at []int
	for f, err := range Fields(message, errDamage) {
		if err != nil {
			t.Fatal(err)
		}
		numbers, at = append(numbers, int(f.Number)), append(at, f.At)
		if f.Number != 4 {
			continue
		}
		for f, err := range f.Message() {
			if err != nil {
				t.Fatal(err)
			}
			x, err := f.Double()
			if f.Number != 5 || f.At != 12 || x != 1.5 || err != nil {
				t.Errorf("field %d at %d is %v, error %v", f.Number, f.At, x, err)
			}
		}
	}
	if !slices.Equal(numbers, []int{1, 2, 3, 4}) || !slices.Equal(at, []int{0, 3, 8, 10}) {
		t.Errorf("fields %v at %v", numbers, at)
	}
}

func TestIntegersLoseTheBitsBeyondTheirType(t *testing.T) {
	f := one(t, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1<<32|5))
	if v, err := f.Uint32(); v != 5 || err != nil {
		t.Errorf("%d, error %v", v, err)
	}
	if v, err := f.Sint32(); v != -3 || err != nil {
		t.Errorf("%d, error %v", v, err)
	}
	if v, err := f.Uint64(); v != 1<<32|5 || err != nil {
		t.Errorf("%d, error %v", v, err)
	}
}

func TestRepeatedValuesAreReadPackedOrNot(t *testing.T) {
	packed := one(t, []byte{0x0a, 3, 1, 0x80, 1})
	single := one(t, []byte{0x08, 3})
	got, err := packed.AppendUints(nil)
	if err == nil {
		got, err = single.AppendUints(got)
	}
	if !slices.Equal(got, []uint64{1, 128, 3}) || err != nil {
		t.Errorf("%v, error %v", got, err)
	}
	signed, err := packed.AppendSints(nil)
	if !slices.Equal(signed, []int64{-1, 64}) || err != nil {
		t.Errorf("%v, error %v", signed, err)
	}
	eight := protowire.AppendFixed64(nil, math.Float64bits(2.5))
	doubles, err := one(t, append([]byte{0x0a, 8}, eight...)).AppendDoubles(nil)
	if err == nil {
		doubles, err = one(t, append([]byte{0x09}, eight...)).AppendDoubles(doubles)
	}
	if !slices.Equal(doubles, []float64{2.5, 2.5}) || err != nil {
		t.Errorf("%v, error %v", doubles, err)
	}
}

func TestTextsAreCopied(t *testing.T) {
	message := []byte{0x0a, 2, 0xc2, 0xb5}
	got, err := one(t, message).Bytes()
	message[2] = 0
	if string(got) != "µ" || err != nil {
		t.Errorf("%q, error %v", got, err)
	}
}

func TestDamageIsAnErrorThatSaysWhere(t *testing.T) {
	f := func(message []byte, want string) {
		t.Helper()
		var last error
		for _, last = range Fields(message, errDamage) {
		}
		if !errors.Is(last, errDamage) || !strings.Contains(last.Error(), want) {
			t.Errorf("%x: the error is %v, want one with %q", message, last, want)
		}
	}
	f([]byte{0x08, 1, 0x80}, "the tag at byte 2")
	f([]byte{0x08, 1, 0x00}, "the tag at byte 2") // number 0
	f([]byte{0x08, 1, 0x0f}, "field 1 at byte 2") // wire type 7
	f([]byte{0x08, 0xff}, "field 1 at byte 0")
	f([]byte{0x0d, 1, 2, 3}, "field 1 at byte 0")
	f([]byte{0x0b, 0x08}, "field 1 at byte 0")
	f([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, "field 1 at byte 0")
	for _, read := range []func(Field) error{
		func(f Field) error { _, err := f.Uint64(); return err },
		func(f Field) error { _, err := f.Uint32(); return err },
		func(f Field) error { _, err := f.Sint32(); return err },
		func(f Field) error { _, err := f.Double(); return err },
		func(f Field) error { _, err := f.Fixed64(); return err },
		func(f Field) error { _, err := f.Bytes(); return err },
		func(f Field) error { _, err := f.AppendUints(nil); return err },
		func(f Field) error { _, err := f.AppendSints(nil); return err },
		func(f Field) error { _, err := f.AppendDoubles(nil); return err },
		func(f Field) (err error) {
			for _, err = range f.Message() {
			}
			return err
		},
	} {
		if err := read(one(t, []byte{0x0d, 1, 2, 3, 4})); !errors.Is(err, errDamage) || !strings.Contains(err.Error(), "field 1 at byte 0 has the wire type 5") {
			t.Errorf("the error is %v", err)
		}
	}
}
