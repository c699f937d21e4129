// Package keys holds the one secret that workers and releasers of an engine share.
package keys

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// File is the name of the key file inside a data directory.
const File = "engine.key"

// UnitID stands for a privacy unit everywhere outside the ingest and dead-letter streams: the
// first 128 bits of HMAC-SHA-256 of its name.
type UnitID [16]byte

// Ring derives keys for different uses from the one secret. It is safe for concurrent use.
type Ring struct {
	secret  []byte
	units   sync.Pool // of hash.Hash
	message []byte
}

// New returns a ring over a secret of at least 32 bytes.
func New(secret []byte) (*Ring, error) {
	if len(secret) < 32 {
		return nil, fmt.Errorf("the engine's key has %d bytes: at least 32 are needed", len(secret))
	}
	r := &Ring{secret: secret, message: derive(secret, "message")}
	unit := derive(secret, "unit")
	r.units.New = func() any { return hmac.New(sha256.New, unit) }
	return r, nil
}

// WriteSecret writes a line that only the owner may read. It is on disk, whole, when WriteSecret returns:
// a store that refers to it must never outlive it.
func WriteSecret(path, secret string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(secret + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func derive(secret []byte, use string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("quietile/" + use))
	return h.Sum(nil)
}

// Open reads the key file of a data directory, or makes one when mayCreate is set and there is none.
// Losing the key would make every unit look new, so a directory that has data must have it.
func Open(dir string, mayCreate bool) (*Ring, error) {
	path := filepath.Join(dir, File)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && mayCreate {
		var secret [32]byte
		rand.Read(secret[:]) // never returns an error: it ends the program instead
		if err := WriteSecret(path, hex.EncodeToString(secret[:])); err != nil {
			return nil, err
		}
		return New(secret[:])
	}
	if err != nil {
		return nil, fmt.Errorf("the engine's key: %w", err)
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("the engine's key %s is not hexadecimal", path)
	}
	return New(secret)
}

// Fingerprint identifies the key without telling it, so that a store can check that it is opened
// with the key that it was written with.
func (r *Ring) Fingerprint() string {
	return hex.EncodeToString(derive(r.secret, "fingerprint")[:8])
}

// Unit returns the id of a unit.
func (r *Ring) Unit(name string) (id UnitID) {
	h := r.units.Get().(hash.Hash)
	h.Reset()
	h.Write([]byte(name))
	var sum [sha256.Size]byte
	copy(id[:], h.Sum(sum[:0]))
	r.units.Put(h)
	return id
}

// Signature authenticates a message of the engine on a subject. NATS lets any client name the
// subject on which a reply to it is published, so a subject alone does not prove who wrote to it.
func (r *Ring) Signature(subject string, data []byte) string {
	h := hmac.New(sha256.New, r.message)
	h.Write([]byte(subject))
	h.Write([]byte{0})
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Verify says whether signature is the one of data on subject.
func (r *Ring) Verify(subject string, data []byte, signature string) bool {
	return hmac.Equal([]byte(signature), []byte(r.Signature(subject, data)))
}

// SignatureHeader carries the Signature of a message of the engine.
const SignatureHeader = "Quietile-Signature"
