package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"
)

// input is a file named on the command line, or standard input, unzipped if it is gzip.
type input struct {
	io.Reader
	name  string
	close func()
}

// openInput opens a file, or standard input for "-". A file that cannot be opened is a usage error. Reading stops with the error of the command's context when
// that ends, even while standard input stays silent. The bar of progress shows the bytes read.
func openInput(cmd *cobra.Command, name string) (*input, error) {
	var (
		source   = cmd.InOrStdin()
		total    = int64(unknownTotal)
		closeRaw = func() error { return nil }
	)
	if name == "-" {
		name = "standard input"
	} else {
		file, info, err := openFile(name)
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			total = info.Size()
		}
		source, closeRaw = file, file.Close
	}
	bar := newByteProgress(cmd.ErrOrStderr(), total, "reading "+name)
	ahead := newReadAhead(cmd.Context(), source, bar)
	in := &input{name: name}
	in.close = sync.OnceFunc(func() {
		ahead.stop()
		bar.Finish()
		_ = closeRaw() // it was only read
	})
	unzipped, err := unzip(ahead)
	if err != nil {
		in.close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	in.Reader = unzipped
	return in, nil
}

// openFile opens a file that was named on the command line. It is a usage error if that cannot be read.
func openFile(name string) (*os.File, os.FileInfo, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, nil, asUsage(err)
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", name)
	}
	if err != nil {
		_ = file.Close() // the other error says more
		return nil, nil, asUsage(err)
	}
	return file, info, nil
}

// inputNames returns the inputs that the arguments name, standard input if there are none. It is a usage error if one of them cannot be read: better told before
// the first is worked on than after.
func inputNames(args []string) ([]string, error) {
	if len(args) == 0 {
		return []string{"-"}, nil
	}
	for _, name := range args {
		if name == "-" {
			continue
		}
		if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
			continue // opening a pipe would take from it
		}
		file, _, err := openFile(name)
		if err != nil {
			return nil, err
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// Close stops reading. It may be called again.
func (in *input) Close() { in.close() }

// unzip returns what r holds, uncompressed if it begins as gzip does.
func unzip(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(r, readAheadSize)
	magic, err := buffered.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return buffered, nil
	}
	return gzip.NewReader(buffered)
}

const readAheadSize = 256 << 10

// readAhead reads from a source in a goroutine of its own, so that waiting for the source can be interrupted.
type readAhead struct {
	ctx    context.Context
	full   chan []byte
	free   chan []byte
	done   chan struct{}
	err    error // of the source; set before full is closed
	chunk  []byte
	unread []byte
}

func newReadAhead(ctx context.Context, source io.Reader, bar *progress) *readAhead {
	r := &readAhead{ctx: ctx, full: make(chan []byte, 2), free: make(chan []byte, 2), done: make(chan struct{})}
	for range cap(r.free) {
		r.free <- make([]byte, readAheadSize)
	}
	go r.fill(source, bar)
	return r
}

// fill hands chunks over until the source ends or stop is called. It ends when a Read of the source under way returns, which on a silent terminal may be never.
func (r *readAhead) fill(source io.Reader, bar *progress) {
	defer close(r.full)
	for {
		var chunk []byte
		select {
		case chunk = <-r.free:
		case <-r.done:
			return
		}
		n, err := source.Read(chunk)
		bar.Add(n)
		select {
		case r.full <- chunk[:n]:
		case <-r.done:
			return
		}
		if err != nil {
			r.err = err
			return
		}
	}
}

func (r *readAhead) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	for len(r.unread) == 0 {
		if r.chunk != nil {
			r.free <- r.chunk[:cap(r.chunk)]
			r.chunk = nil
		}
		select {
		case chunk, ok := <-r.full:
			if !ok {
				return 0, r.err
			}
			r.chunk, r.unread = chunk, chunk
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
	n := copy(p, r.unread)
	r.unread = r.unread[n:]
	return n, nil
}

// stop ends the goroutine.
func (r *readAhead) stop() { close(r.done) }
