package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

// A text record is a line: a key, a tab, and the sketch's deterministic protobuf encoding in base64. Keys hold no control characters: then lines ordered by
// LC_ALL=C sort are ordered by key too, since no byte of a key is less than the tab that ends it.

// maxTextRecord is the longest text record in bytes: base64 of the longest record of a dump file, and its key.
const maxTextRecord = dump.MaxRecord/3*4 + maxRow

// checkKey says what is wrong with the key of a text record.
func checkKey(key []byte) error {
	if len(key) == 0 {
		return errors.New("the key is empty")
	}
	if i := bytes.IndexFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return fmt.Errorf("key %s has the control character %q", shorten(key), key[i])
	}
	return nil
}

// recordWriter writes text records.
type recordWriter struct {
	w       io.Writer
	message []byte
	line    []byte
}

func (w *recordWriter) write(key string, s *sketch.Binned) (err error) {
	if w.message, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(w.message[:0], s.Proto()); err != nil {
		return err
	}
	w.line = append(append(w.line[:0], key...), '\t')
	w.line = append(base64.StdEncoding.AppendEncode(w.line, w.message), '\n')
	_, err = w.w.Write(w.line)
	return err
}

// parseRecord reads a text record. The key is part of the line.
func parseRecord(line []byte) (key []byte, s *sketch.Binned, err error) {
	key, text, ok := bytes.Cut(line, []byte{'\t'})
	if !ok {
		return nil, nil, errors.New("there is no tab between a key and a sketch")
	}
	if err := checkKey(key); err != nil {
		return nil, nil, err
	}
	encoded, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return nil, nil, fmt.Errorf("key %s: %w", shorten(key), err)
	}
	message := new(quietilev1.Sketch)
	if err := proto.Unmarshal(encoded, message); err != nil {
		return nil, nil, fmt.Errorf("key %s: %w", shorten(key), err)
	}
	if s, err = sketch.FromProto(message); err != nil {
		return nil, nil, fmt.Errorf("key %s: %w", shorten(key), err)
	}
	return key, s, nil
}
