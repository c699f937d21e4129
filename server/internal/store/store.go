// Package store keeps the engine's state in Pebble.
//
// One Batch holds everything that a run of the log changed together with the cursor up to which
// it was read, so that after any crash the state is that of some prefix of the log.
package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/sketch"
)

// Store is an open store. It is safe for concurrent use.
type Store struct {
	db *pebble.DB
}

// Cursor says up to where a partition was read.
type Cursor struct {
	// Sequence of the last message of the stream that the state covers; 0 when none.
	Sequence uint64
	// Time at which the stream stored that message, nanoseconds since the Unix epoch.
	Time int64
	// Watermark is the stream time of the latest tick, nanoseconds since the Unix epoch.
	Watermark int64
}

// Stats are an operator's counters of a metric in a partition. They are computed from raw data and
// never reach an analyst.
type Stats struct {
	Accepted uint64 // samples counted, by weight
	Late     uint64 // samples whose window was sealed
	Excess   uint64 // samples beyond their unit's contribution bound, by weight
	Dead     uint64 // samples dead-lettered
}

// Open opens the store in a directory, or makes one there. A nil fs is the operating system's.
func Open(dir string, fs vfs.FS, logger *slog.Logger) (*Store, error) {
	if fs == nil {
		fs = vfs.Default
	}
	db, err := pebble.Open(dir, &pebble.Options{
		FS:                 fs,
		Merger:             countsMerger,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLogger{logger},
	})
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return &Store{db: db}, nil
}

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

// Meta returns a named value, or "" when it was never set.
func (s *Store) Meta(name string) (string, error) {
	b, err := s.get(metaKey(name))
	return string(b), err
}

// SetMeta sets a named value durably.
func (s *Store) SetMeta(name, value string) error {
	return s.db.Set(metaKey(name), []byte(value), pebble.Sync)
}

// get returns a copy of a value, nil when there is none.
func (s *Store) get(key []byte) ([]byte, error) { return get(s.db, key) }

func get(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := append([]byte{}, v...)
	return b, closer.Close()
}

// scan calls f with what follows the prefix in each key, and the value, in order of the keys.
// Neither may be kept.
func scan(r pebble.Reader, prefix []byte, f func(rest, value []byte) error) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: successor(prefix)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := f(it.Key()[len(prefix):], v); err != nil {
			return err
		}
	}
	return it.Error()
}

// Cursor returns the cursor of a partition.
func (s *Store) Cursor(p int) (Cursor, error) { return cursor(s.db, p) }

func cursor(r pebble.Reader, p int) (c Cursor, err error) {
	b, err := get(r, cursorKey(p))
	if err != nil || b == nil {
		return c, err
	}
	if len(b) != 24 {
		return c, fmt.Errorf("cursor of partition %d has %d bytes instead of 24", p, len(b))
	}
	return Cursor{
		Sequence:  binary.BigEndian.Uint64(b),
		Time:      int64(binary.BigEndian.Uint64(b[8:])),
		Watermark: int64(binary.BigEndian.Uint64(b[16:])),
	}, nil
}

// Versions returns the declarations of metrics that are in force in a partition, by metric and
// ascending version.
func (s *Store) Versions(p int) (map[string][]*quietilev1.Metric, error) {
	all := map[string][]*quietilev1.Metric{}
	err := scan(s.db, []byte{spaceVersion}, func(rest, value []byte) error {
		name, at, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(at) != 6 {
			return fmt.Errorf("a key of a metric's version is damaged: %q", rest)
		}
		if int(binary.BigEndian.Uint16(at)) != p {
			return nil
		}
		m := new(quietilev1.Metric)
		if err := proto.Unmarshal(value, m); err != nil {
			return fmt.Errorf("declaration of %s: %w", name, err)
		}
		all[string(name)] = append(all[string(name)], m)
		return nil
	})
	return all, err
}

// SealedThrough returns the moment through which an operator sealed a metric in a partition, and
// whether that has happened at all.
func (s *Store) SealedThrough(metric string, p int) (int64, bool, error) {
	return sealedThrough(s.db, metric, p)
}

func sealedThrough(r pebble.Reader, metric string, p int) (int64, bool, error) {
	b, err := get(r, metricKey(spaceSeal, metric, p))
	if err != nil || b == nil {
		return 0, false, err
	}
	if len(b) != 8 {
		return 0, false, fmt.Errorf("seal of %s in partition %d has %d bytes instead of 8", metric, p, len(b))
	}
	return timeAt(b), true, nil
}

// Stats returns an operator's counters of a metric in a partition.
func (s *Store) Stats(metric string, p int) (st Stats, err error) {
	b, err := s.get(metricKey(spaceStats, metric, p))
	if err != nil || b == nil {
		return st, err
	}
	if len(b) != 32 {
		return st, fmt.Errorf("counters of %s in partition %d have %d bytes instead of 32", metric, p, len(b))
	}
	return Stats{
		Accepted: binary.BigEndian.Uint64(b),
		Late:     binary.BigEndian.Uint64(b[8:]),
		Excess:   binary.BigEndian.Uint64(b[16:]),
		Dead:     binary.BigEndian.Uint64(b[24:]),
	}, nil
}

// Units calls f with every unit that has samples in an unsealed window of a metric in a partition:
// the window's start and how many samples were kept.
func (s *Store) Units(metric string, p int, f func(window int64, version uint32, unit keys.UnitID, kept uint32)) error {
	return scan(s.db, metricKey(spaceUnit, metric, p), func(rest, value []byte) error {
		if len(rest) != 8+4+16 || len(value) != 4 {
			return fmt.Errorf("a unit's counter of %s in partition %d has %d and %d bytes instead of 28 and 4", metric, p, len(rest), len(value))
		}
		f(timeAt(rest), binary.BigEndian.Uint32(rest[8:]), keys.UnitID(rest[12:]), binary.BigEndian.Uint32(value))
		return nil
	})
}

// UnitWindows calls f with every unit that has samples in an open budget period of a metric in a
// partition: the period's start and the starts of the windows that were kept.
func (s *Store) UnitWindows(metric string, p int, f func(period int64, unit keys.UnitID, windows []int64)) error {
	return s.units(spacePeriod, metric, p, func(start int64, unit keys.UnitID, value []byte) error {
		if len(value)%8 != 0 {
			return fmt.Errorf("a unit's windows of %s in partition %d have %d bytes", metric, p, len(value))
		}
		windows := make([]int64, 0, len(value)/8)
		for ; len(value) > 0; value = value[8:] {
			windows = append(windows, timeAt(value))
		}
		f(start, unit, windows)
		return nil
	})
}

func (s *Store) units(space byte, metric string, p int, f func(int64, keys.UnitID, []byte) error) error {
	return scan(s.db, metricKey(space, metric, p), func(rest, value []byte) error {
		if len(rest) != 8+16 {
			return fmt.Errorf("a unit's key of %s in partition %d has %d bytes", metric, p, len(rest))
		}
		return f(timeAt(rest), keys.UnitID(rest[8:]), value)
	})
}

// Window returns the sketch of a window under a version of the metric, whose grid is grid: the sum over
// all partitions.
func (s *Store) Window(metric string, window int64, version uint32, grid *sketch.Grid) (*sketch.Binned, error) {
	sum := sketch.NewBinned(grid)
	err := scan(s.db, countsKey(metric, window, version), func(rest, value []byte) error {
		if err := sum.AddCounts(value); err != nil {
			return fmt.Errorf("counts of %s in partition %d: %w", metric, binary.BigEndian.Uint16(rest), err)
		}
		return nil
	})
	return sum, err
}

// Windows returns the starts of the windows of a metric that hold any samples, ascending.
// They are raw data.
func (s *Store) Windows(metric string) ([]int64, error) {
	var starts []int64
	err := scan(s.db, appendMetric(spaceCounts, metric), func(rest, _ []byte) error {
		if start := timeAt(rest); len(starts) == 0 || starts[len(starts)-1] != start {
			starts = append(starts, start)
		}
		return nil
	})
	return starts, err
}

// Ledger calls f with every stored entry and answer.
func (s *Store) Ledger(f func(*quietilev1.LedgerRecord)) error {
	for _, space := range []byte{spaceLedger, spaceAnswer} {
		err := scan(s.db, []byte{space}, func(rest, value []byte) error {
			r := new(quietilev1.LedgerRecord)
			if err := proto.Unmarshal(value, r); err != nil {
				return fmt.Errorf("ledger record %s: %w", rest, err)
			}
			f(r)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// AppendLedger stores an entry or an answer. It is on disk when AppendLedger returns.
func (s *Store) AppendLedger(r *quietilev1.LedgerRecord) error {
	space, id := byte(spaceLedger), r.GetEntry().GetReleaseId()
	if r.GetAnswer() != nil {
		space, id = spaceAnswer, r.GetAnswer().GetReleaseId()
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return err
	}
	return s.db.Set(append([]byte{space}, id...), value, pebble.Sync)
}

// Prior returns what a learner has learned of a version of a metric, as it was stored, nil for nothing. It is made of released answers.
func (s *Store) Prior(metric string, version uint32, learner string) ([]byte, error) {
	return s.get(priorKey(metric, version, learner))
}

// SetPrior stores what a learner has learned. It is made of answers that the ledger has, so that nothing is lost with it.
func (s *Store) SetPrior(metric string, version uint32, learner string, state []byte) error {
	return s.db.Set(priorKey(metric, version, learner), state, pebble.NoSync)
}

// TakeCarry returns the exact sums of gradients that the last release of a version of a metric left, nil for none, and forgets them: nobody gets them twice. They are raw data.
func (s *Store) TakeCarry(metric string, version uint32) ([]byte, error) {
	key := carryKey(metric, version)
	carry, err := s.get(key)
	if err != nil || carry == nil {
		return nil, err
	}
	return carry, s.db.Delete(key, pebble.Sync)
}

// SetCarry stores them.
func (s *Store) SetCarry(metric string, version uint32, carry []byte) error {
	return s.db.Set(carryKey(metric, version), carry, pebble.Sync)
}

// Sync returns when everything committed so far is on disk.
func (s *Store) Sync() error { return s.db.LogData(nil, pebble.Sync) }

// Batch collects changes that take effect together.
type Batch struct {
	b *pebble.Batch
}

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return &Batch{s.db.NewBatch()} }

// Commit applies the batch. It survives the process's end; it survives the machine's only once Sync
// has returned.
func (b *Batch) Commit() error { return b.b.Commit(pebble.NoSync) }

// SetCursor moves a partition's cursor.
func (b *Batch) SetCursor(p int, c Cursor) error {
	v := binary.BigEndian.AppendUint64(nil, c.Sequence)
	v = binary.BigEndian.AppendUint64(v, uint64(c.Time))
	v = binary.BigEndian.AppendUint64(v, uint64(c.Watermark))
	return b.b.Set(cursorKey(p), v, nil)
}

// AddCounts adds the counts of a sketch to a window under a version of the metric.
func (b *Batch) AddCounts(metric string, window int64, version uint32, p int, s *sketch.Binned) error {
	key := binary.BigEndian.AppendUint16(countsKey(metric, window, version), uint16(p))
	return b.b.Merge(key, s.AppendCounts(nil), nil)
}

// SetUnit sets how many samples of a unit a window keeps under a version of the metric.
func (b *Batch) SetUnit(metric string, window int64, version uint32, p int, unit keys.UnitID, kept uint32) error {
	return b.b.Set(append(windowUnitsKey(metric, p, window, version), unit[:]...), binary.BigEndian.AppendUint32(nil, kept), nil)
}

// SetUnitWindows sets which windows of a budget period keep samples of a unit.
func (b *Batch) SetUnitWindows(metric string, period int64, p int, unit keys.UnitID, windows []int64) error {
	var v []byte
	for _, w := range windows {
		v = appendTime(v, w)
	}
	return b.b.Set(append(unitsKey(spacePeriod, metric, p, period), unit[:]...), v, nil)
}

// DropUnits forgets the units of a window that is sealed, under a version of the metric.
func (b *Batch) DropUnits(metric string, window int64, version uint32, p int) error {
	prefix := windowUnitsKey(metric, p, window, version)
	return b.b.DeleteRange(prefix, successor(prefix), nil)
}

// DropUnitWindows forgets the units of a budget period whose windows are all sealed.
func (b *Batch) DropUnitWindows(metric string, period int64, p int) error {
	prefix := unitsKey(spacePeriod, metric, p, period)
	return b.b.DeleteRange(prefix, successor(prefix), nil)
}

// SetStats sets an operator's counters.
func (b *Batch) SetStats(metric string, p int, st Stats) error {
	v := binary.BigEndian.AppendUint64(nil, st.Accepted)
	v = binary.BigEndian.AppendUint64(v, st.Late)
	v = binary.BigEndian.AppendUint64(v, st.Excess)
	v = binary.BigEndian.AppendUint64(v, st.Dead)
	return b.b.Set(metricKey(spaceStats, metric, p), v, nil)
}

// SetVersion puts a declaration into force in a partition.
func (b *Batch) SetVersion(p int, m *quietilev1.Metric) error {
	v, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err
	}
	return b.b.Set(versionKey(m.GetName(), p, m.GetVersion()), v, nil)
}

// SetSealedThrough seals a manual metric's windows in a partition.
func (b *Batch) SetSealedThrough(metric string, p int, through int64) error {
	return b.b.Set(metricKey(spaceSeal, metric, p), appendTime(nil, through), nil)
}

// pebbleLogger passes Pebble's errors on and keeps its routine to the debug level.
type pebbleLogger struct{ l *slog.Logger }

func (p pebbleLogger) Infof(format string, args ...any) {
	p.l.Debug(fmt.Sprintf(format, args...), "from", "pebble")
}

func (p pebbleLogger) Errorf(format string, args ...any) {
	p.l.Error(fmt.Sprintf(format, args...), "from", "pebble")
}

func (p pebbleLogger) Fatalf(format string, args ...any) {
	p.l.Error(fmt.Sprintf(format, args...), "from", "pebble")
	panic(fmt.Sprintf(format, args...))
}
