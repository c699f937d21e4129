package sketch

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

func TestARecorderLosesNothing(t *testing.T) {
	g, err := NewExponential(5)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	const workers, each = 8, 20000
	r, want := NewRecorder(g), NewBinned(g)
	parts := make([][]float64, workers)
	for i := range parts {
		parts[i] = values(rand.New(rand.NewPCG(seed, uint64(i))), each)
		want.AddBatch(parts[i])
	}
	var adding sync.WaitGroup
	for _, xs := range parts {
		adding.Go(func() {
			for i, x := range xs {
				switch {
				case i%100 == 0:
					r.AddBatch(xs[i : i+50])
				case i%100 < 50:
				case i%2 == 0:
					if err := r.AddN(x, 1); err != nil {
						t.Error(err)
					}
				default:
					r.Add(x)
				}
			}
		})
	}
	done := make(chan struct{})
	sum := NewBinned(g)
	var draining sync.WaitGroup
	draining.Go(func() {
		for last := false; !last; {
			select {
			case <-done:
				last = true
			default:
			}
			b, err := r.Drain()
			if err == nil {
				err = sum.Merge(b)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	adding.Wait()
	close(done)
	draining.Wait()
	if !sum.Equal(want) || sum.NaNCount() != want.NaNCount() {
		t.Errorf("seed %d: drained %v, want %v", seed, sum, want)
	}
	if b, err := r.Snapshot(); err != nil || b.Count() != 0 {
		t.Errorf("after the last Drain there is %v, %v", b, err)
	}
}

// A goroutine adds ascending values: a snapshot with one of them has all before it.
func TestASnapshotIsOfOneMoment(t *testing.T) {
	g, err := NewLinear(0, 5000, 5000)
	if err != nil {
		t.Fatal(err)
	}
	r := NewRecorder(g)
	var adding sync.WaitGroup
	for range 4 {
		adding.Go(func() {
			for i := range 5000 {
				r.Add(float64(i))
			}
		})
	}
	done := make(chan struct{})
	go func() { adding.Wait(); close(done) }()
	for last := false; !last; {
		select {
		case <-done:
			last = true
		default:
		}
		b, err := r.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		before := uint64(4)
		for i := 1; i <= 5000; i++ {
			if n := b.Bucket(i); n > before {
				t.Fatalf("%d values are %d, and %d are %d", n, i-1, before, i-2)
			} else {
				before = n
			}
		}
		if last && b.Count() != 4*5000 {
			t.Errorf("%d values are counted", b.Count())
		}
	}
}

func TestARecorderReportsOverflow(t *testing.T) {
	g, err := NewExponential(0)
	if err != nil {
		t.Fatal(err)
	}
	r := NewRecorder(g)
	if err := r.AddN(1, math.MaxUint64); !errors.Is(err, ErrOverflow) {
		t.Errorf("AddN: %v", err)
	}
	for i := range r.shards {
		if err := r.shards[i].b.AddN(1, maxCount); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Drain(); !errors.Is(err, ErrOverflow) {
		t.Errorf("Drain: %v", err)
	}
	if r.shards[0].b.Count() != maxCount {
		t.Error("a Drain that failed has emptied the recorder")
	}
}

func BenchmarkRecorder(b *testing.B) {
	g, err := NewExponential(5)
	if err != nil {
		b.Fatal(err)
	}
	xs := benchmarkValues()
	b.Run("one", func(b *testing.B) {
		r := NewRecorder(g)
		for i := 0; b.Loop(); i++ {
			r.Add(xs[i%len(xs)])
		}
	})
	b.Run("parallel", func(b *testing.B) {
		r := NewRecorder(g)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				r.Add(xs[i%len(xs)])
			}
		})
	})
}
