package sketch

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Recorder counts values that come from many goroutines at once, exactly. Each processor mostly has a sketch to itself
// behind a lock that nobody else wants, so that adding does not slow down as goroutines are added. A snapshot takes all
// locks: it holds every value whose Add returned before Snapshot was called, and of those that were
// being added meanwhile either a value or not, never a later one of a goroutine without its earlier ones.
type Recorder struct {
	grid   *Grid
	shards []shard
	next   atomic.Uint32
	near   sync.Pool // of *shard: a processor's own
}

type shard struct {
	mu sync.Mutex
	b  *Binned
	_  [64]byte // no other shard's lock on the same cache line
}

// NewRecorder returns an empty recorder on a grid.
func NewRecorder(g *Grid) *Recorder {
	r := &Recorder{grid: g, shards: make([]shard, 2*runtime.GOMAXPROCS(0))}
	for i := range r.shards {
		r.shards[i].b = NewBinned(g)
	}
	r.near.New = func() any {
		return &r.shards[int(r.next.Add(1)-1)%len(r.shards)]
	}
	return r
}

// Grid returns the recorder's grid.
func (r *Recorder) Grid() *Grid { return r.grid }

// Add counts a value.
func (r *Recorder) Add(x float64) {
	s := r.lock()
	s.b.Add(x)
	r.unlock(s)
}

// AddBatch counts each of the values, all at once as far as a snapshot can tell.
func (r *Recorder) AddBatch(xs []float64) {
	s := r.lock()
	s.b.AddBatch(xs)
	r.unlock(s)
}

// AddN counts a value n times. It returns ErrOverflow, and counts nothing, if n exceeds 2^63−1 less what the same
// processor counted before; whether the total does is found by Snapshot.
func (r *Recorder) AddN(x float64, n uint64) error {
	s := r.lock()
	err := s.b.AddN(x, n)
	r.unlock(s)
	return err
}

// lock returns a locked shard.
func (r *Recorder) lock() *shard {
	s := r.near.Get().(*shard)
	if s.mu.TryLock() {
		return s
	}
	// A goroutine was stopped while it held the lock, or there are more processors than there were.
	for i := range r.shards {
		if other := &r.shards[i]; other.mu.TryLock() {
			r.near.Put(s)
			return other
		}
	}
	s.mu.Lock()
	return s
}

func (r *Recorder) unlock(s *shard) {
	s.mu.Unlock()
	r.near.Put(s)
}

// Snapshot returns the counts so far. The recorder goes on. It returns ErrOverflow if the total exceeds 2^63−1.
func (r *Recorder) Snapshot() (*Binned, error) { return r.collect(false) }

// Drain returns the counts so far and leaves the recorder empty: each value is in exactly one of the sketches that
// Drain returns. It returns ErrOverflow if the total exceeds 2^63−1, and then changes nothing.
func (r *Recorder) Drain() (*Binned, error) { return r.collect(true) }

func (r *Recorder) collect(empty bool) (*Binned, error) {
	all := make([]*Binned, len(r.shards))
	for i := range r.shards {
		r.shards[i].mu.Lock()
		defer r.shards[i].mu.Unlock()
		all[i] = r.shards[i].b
	}
	sum := NewBinned(r.grid)
	if err := sum.Merge(all...); err != nil {
		return nil, err
	}
	if empty {
		for _, b := range all {
			b.Reset()
		}
	}
	return sum, nil
}
