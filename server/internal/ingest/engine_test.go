package ingest

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/server/subject"
	"github.com/quietile/quietile/sketch"
)

const (
	partitions = 4
	hour       = int64(time.Hour)
	minute     = int64(time.Minute)
)

// origin is the stream time at which logs begin: the start of a budget period.
var origin = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixNano()

const enginePolicy = `
sources:
  - {name: people, unit: user, epsilon: 1, period: 24h}
  - {name: machines, unit: event, epsilon: 1, period: 24h}
metrics:
  - name: age
    source: people
    grid: {linear: {lower: 0, upper: 100, bins: 100}}
    window: 1h
    lateness: 10m
    contributions: {per_window: 3, windows: 2}
  - name: size
    source: machines
    grid: {exponential: {scale: 2}}
    window: 1h
    lateness: 10m
  - name: past
    source: people
    grid: {explicit: [0, 1, 10, 100]}
    clock: manual
    window: 1h
    contributions: {per_window: 1, windows: 1}
`

func ring(t testing.TB) *keys.Ring {
	t.Helper()
	r, err := keys.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// journey builds a log.
type journey struct {
	t    testing.TB
	keys *keys.Ring
	log  []Message
	now  int64
}

func newJourney(t testing.TB) *journey {
	t.Helper()
	j := &journey{t: t, keys: ring(t), now: origin}
	p, err := policy.Parse([]byte(enginePolicy))
	if err != nil {
		t.Fatal(err)
	}
	change, err := policy.Change(&quietilev1.Policy{}, p, time.Unix(0, origin))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range change.GetMetrics() {
		j.everywhere(&quietilev1.Control{Kind: &quietilev1.Control_Metric{Metric: m}})
	}
	return j
}

func (j *journey) add(on string, data []byte) {
	j.log = append(j.log, Message{Sequence: uint64(len(j.log) + 1), Time: j.now, Subject: on, Data: data})
}

func (j *journey) control(p int, c *quietilev1.Control) {
	j.t.Helper()
	data, err := proto.Marshal(c)
	if err != nil {
		j.t.Fatal(err)
	}
	j.add(subject.ControlOf(p), data)
	last := &j.log[len(j.log)-1]
	last.Signature = j.keys.Signature(last.Subject, data)
}

func (j *journey) everywhere(c *quietilev1.Control) {
	for p := range partitions {
		j.control(p, c)
	}
}

func (j *journey) tick() {
	for p := range partitions {
		j.add(subject.Tick(p), nil)
	}
}

func (j *journey) seal(metric string, through int64) {
	j.everywhere(&quietilev1.Control{Kind: &quietilev1.Control_Seal{Seal: &quietilev1.Seal{Metric: metric, ThroughUnixNano: through}}})
}

func (j *journey) sample(metric, key string, value float64, at int64) {
	j.add(subject.Sample(subject.Partition(key, partitions), metric, key),
		[]byte(fmt.Sprintf(`{"value": %v, "time": %q}`, value, time.Unix(0, at).UTC().Format(time.RFC3339Nano))))
}

func (j *journey) batch(p int, columns ...*quietilev1.SampleColumn) {
	j.t.Helper()
	data, err := proto.Marshal(&quietilev1.SampleBatch{Columns: columns})
	if err != nil {
		j.t.Fatal(err)
	}
	j.add(subject.Batch(p), data)
}

// outcome is everything that a log leads to.
type outcome struct {
	Counts  map[string]string // by metric and window
	Stats   map[string]store.Stats
	Units   map[string]uint32
	Windows map[string]string
	Sealed  map[string]int64
	Cursors []store.Cursor
	Letters map[string]string // reason by id
}

func outcomeOf(t testing.TB, s *store.Store, letters map[string]string) outcome {
	t.Helper()
	o := outcome{
		Counts: map[string]string{}, Stats: map[string]store.Stats{}, Units: map[string]uint32{},
		Windows: map[string]string{}, Sealed: map[string]int64{}, Letters: letters,
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	versions, err := s.Versions(0)
	must(err)
	for name, all := range versions {
		grid, err := sketch.GridFromProto(all[0].GetGrid())
		must(err)
		starts, err := s.Windows(name)
		must(err)
		for _, start := range starts {
			b, err := s.Window(name, start, 1, grid)
			must(err)
			o.Counts[fmt.Sprint(name, " ", (start-origin)/hour)] = fmt.Sprintf("%x", b.AppendCounts(nil))
		}
		for p := range partitions {
			key := fmt.Sprint(name, " ", p)
			o.Stats[key], err = s.Stats(name, p)
			must(err)
			o.Sealed[key], _, err = s.SealedThrough(name, p)
			must(err)
			must(s.Units(name, p, func(window int64, _ uint32, u keys.UnitID, n uint32) {
				o.Units[fmt.Sprintf("%s %d %x", key, (window-origin)/hour, u)] = n
			}))
			must(s.UnitWindows(name, p, func(period int64, u keys.UnitID, windows []int64) {
				o.Windows[fmt.Sprintf("%s %x", key, u)] = fmt.Sprint(windows)
			}))
		}
	}
	for p := range partitions {
		c, err := s.Cursor(p)
		must(err)
		o.Cursors = append(o.Cursors, c)
	}
	return o
}

func open(t testing.TB, fs vfs.FS) *store.Store {
	t.Helper()
	s, err := store.Open("store", fs, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run applies a log to a store and flushes at the end.
func run(t testing.TB, log []Message) (*store.Store, map[string]string) {
	t.Helper()
	s := open(t, vfs.NewMem())
	t.Cleanup(func() { s.Close() })
	letters := map[string]string{}
	e, err := NewEngine(s, ring(t), partitions, func(l DeadLetter) { letters[l.ID] = l.Reason })
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range log {
		if err := e.Apply(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	return s, letters
}

// randomLog is a log of everything that can be in one.
func randomLog(t testing.TB, random *rand.Rand, n int) []Message {
	j := newJourney(t)
	user := func() string { return "user-" + strconv.Itoa(random.IntN(12)) }
	for range n {
		j.now += random.Int64N(2 * minute)
		at := j.now - random.Int64N(90*minute) + 2*minute
		switch random.IntN(12) {
		case 0:
			j.tick()
		case 1:
			j.seal("past", origin+random.Int64N(40)*hour)
		case 2, 3:
			j.sample("age", user(), float64(random.IntN(120)-10), at)
		case 4:
			j.sample("past", user(), random.Float64()*200, at)
		case 5, 6:
			j.sample("size", user(), random.NormFloat64(), at)
		case 7, 8:
			p := random.IntN(partitions)
			c := &quietilev1.SampleColumn{Metric: []string{"age", "past", "nothing"}[random.IntN(3)], BaseTimeUnixNano: proto.Int64(at)}
			for range random.IntN(20) {
				c.Values = append(c.Values, []float64{1, 20, math.NaN(), math.Inf(1)}[random.IntN(4)])
				c.TimeDeltas = append(c.TimeDeltas, random.Int64N(2*minute)-minute)
				c.UnitIndex = append(c.UnitIndex, uint32(len(c.Units)))
				c.Units = append(c.Units, user())
				c.Weights = append(c.Weights, uint64(random.IntN(4)))
			}
			j.batch(p, c, &quietilev1.SampleColumn{Metric: "size", Values: []float64{1, 2, 3}})
		case 9:
			j.batch(random.IntN(partitions), &quietilev1.SampleColumn{Metric: "size", Values: []float64{random.Float64(), 5}, BaseTimeUnixNano: proto.Int64(at)})
		case 10:
			j.add(subject.Ingest+"1."+[]string{"size.x", "_batch", "_control", "a.b.c"}[random.IntN(4)], []byte("garbage"))
		case 11:
			j.add(subject.Publish+"odd", nil)
		}
	}
	return j.log
}

func TestStateIsAFunctionOfTheLogWhateverCrashes(t *testing.T) {
	for range 30 {
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		log := randomLog(t, random, 400)
		s, letters := run(t, log)
		want := outcomeOf(t, s, letters)

		fs := vfs.NewCrashableMem()
		got := map[string]string{}
		var last *store.Store
		for done := false; !done; {
			last = open(t, fs)
			var waiting []DeadLetter
			e, err := NewEngine(last, ring(t), partitions, func(l DeadLetter) { waiting = append(waiting, l) })
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			flush := func() {
				for _, l := range waiting {
					got[l.ID] = l.Reason // safe before the cursor passes them
				}
				waiting = nil
				if err := e.Flush(); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			done = true
			for _, m := range log[e.Next()-1:] {
				if err := e.Apply(m); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if random.IntN(20) == 0 {
					flush()
				}
				if random.IntN(40) == 0 {
					if err := last.Sync(); err != nil {
						t.Fatal(err)
					}
				}
				if random.IntN(60) == 0 {
					done = false
					break
				}
			}
			if done {
				flush()
				break
			}
			after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
			last.Close()
			fs = after
		}
		if have := outcomeOf(t, last, got); fmt.Sprint(have) != fmt.Sprint(want) {
			t.Fatalf("seed %d: after crashes\n%v\nwithout\n%v", seed, have, want)
		}
		last.Close()
	}
}

func TestOneUnitNeverChangesWhatHappensToAnothersSamples(t *testing.T) {
	for range 30 {
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		log := randomLog(t, random, 300)
		const victim = "user-3"
		without := slices.Clone(log)
		for i, m := range without {
			_, _, _, key := subject.Parse(m.Subject)
			if key == victim {
				// Nothing else moves: the sequence stays and the message counts nothing.
				without[i].Subject, without[i].Data = subject.Tick(0)+"x", nil
			}
			if kind, _, _, _ := subject.Parse(m.Subject); kind == subject.KindBatch && string(m.Data) != "garbage" {
				without[i].Data = withoutUnit(t, m.Data, victim)
			}
		}
		a, _ := run(t, log)
		b, _ := run(t, without)
		with, rest := outcomeOf(t, a, nil), outcomeOf(t, b, nil)
		id := fmt.Sprintf("%x", ring(t).Unit(victim))
		for key, n := range with.Units {
			if got := rest.Units[key]; got != n && key[len(key)-len(id):] != id {
				t.Errorf("seed %d: %s has %d samples with %s, %d without", seed, key, n, victim, got)
			}
		}
		// Every bucket of a user metric changes by at most what the unit may contribute.
		for key, limit := range map[string]uint64{"age": 3, "past": 1} {
			grid := gridOf(t, a, key)
			starts, err := a.Windows(key)
			if err != nil {
				t.Fatal(err)
			}
			changed := 0
			for _, start := range starts {
				x, err := a.Window(key, start, 1, grid)
				if err != nil {
					t.Fatal(err)
				}
				y, err := b.Window(key, start, 1, grid)
				if err != nil {
					t.Fatal(err)
				}
				if err := x.Subtract(y); err != nil {
					t.Fatalf("seed %d: %s: removing a unit added something: %v", seed, key, err)
				}
				if x.Count() > limit {
					t.Errorf("seed %d: %s: a unit has %d samples in a window, at most %d are allowed", seed, key, x.Count(), limit)
				}
				if x.Count() > 0 {
					changed++
				}
			}
			if windows := map[string]int{"age": 2, "past": 1}[key]; changed > windows*2 { // the log crosses one period's end
				t.Errorf("seed %d: %s: a unit has samples in %d windows", seed, key, changed)
			}
		}
	}
}

func gridOf(t testing.TB, s *store.Store, metric string) *sketch.Grid {
	t.Helper()
	versions, err := s.Versions(0)
	if err != nil {
		t.Fatal(err)
	}
	g, err := sketch.GridFromProto(versions[metric][0].GetGrid())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// withoutUnit removes a unit's rows from a batch.
func withoutUnit(t testing.TB, data []byte, unit string) []byte {
	t.Helper()
	b := new(quietilev1.SampleBatch)
	if err := proto.Unmarshal(data, b); err != nil {
		t.Fatal(err)
	}
	for _, c := range b.GetColumns() {
		if len(c.GetUnitIndex()) == 0 {
			continue
		}
		kept := &quietilev1.SampleColumn{Metric: c.GetMetric(), BaseTimeUnixNano: c.BaseTimeUnixNano}
		at, last := c.GetBaseTimeUnixNano(), c.GetBaseTimeUnixNano()
		for i := range c.GetValues() {
			at += c.GetTimeDeltas()[i]
			if c.GetUnits()[c.GetUnitIndex()[i]] == unit {
				continue
			}
			kept.Values = append(kept.Values, c.GetValues()[i])
			kept.TimeDeltas = append(kept.TimeDeltas, at-last)
			kept.Weights = append(kept.Weights, c.GetWeights()[i])
			kept.UnitIndex = append(kept.UnitIndex, uint32(len(kept.Units)))
			kept.Units = append(kept.Units, c.GetUnits()[c.GetUnitIndex()[i]])
			last = at
		}
		c.Reset()
		proto.Merge(c, kept)
	}
	out, err := proto.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOnlyTicksAndTheSamplesOwnTimeMakeItLate(t *testing.T) {
	j := newJourney(t)
	late := func(want uint64) {
		t.Helper()
		s, letters := run(t, j.log)
		var got uint64
		for p := range partitions {
			st, err := s.Stats("size", p)
			if err != nil {
				t.Fatal(err)
			}
			got += st.Late
		}
		if got != want || len(letters) > 0 {
			t.Errorf("%d samples are late, want %d; dead letters: %v", got, want, letters)
		}
	}
	j.now = origin + hour + 5*minute
	j.sample("size", "a", 1, origin) // within the lateness
	late(0)
	j.now = origin + 30*hour
	j.sample("size", "a", 1, origin+30*hour) // another one, far ahead
	j.now = origin + hour + 10*minute - 1    // a clock that stepped back
	j.sample("size", "a", 1, j.now+minute)   // and one as far ahead as is allowed
	j.sample("size", "a", 1, origin)
	late(0)
	j.now = origin + hour + 10*minute
	j.sample("size", "a", 1, origin) // its own stream time is past the lateness
	late(1)
	j.tick()
	j.now = origin + hour
	j.sample("size", "a", 1, origin) // a tick has sealed the window
	late(2)
	j.sample("size", "a", 1, origin+hour)
	late(2)
}

func TestAControlMessageThatTheEngineDidNotSignDoesNothing(t *testing.T) {
	j := newJourney(t)
	j.control(0, &quietilev1.Control{Kind: &quietilev1.Control_Seal{Seal: &quietilev1.Seal{Metric: "past", ThroughUnixNano: origin + hour}}})
	forged := &j.log[len(j.log)-1]
	forged.Signature = j.keys.Signature(subject.ControlOf(1), forged.Data) // of another partition
	s, letters := run(t, j.log)
	if _, sealed, err := s.SealedThrough("past", 0); sealed || err != nil || len(letters) != 1 {
		t.Errorf("sealed %v, %v, dead letters %v", sealed, err, letters)
	}
}

func FuzzDecode(f *testing.F) {
	sample, err := proto.Marshal(&quietilev1.Sample{Value: proto.Float64(1), Unit: "u", Weight: proto.Uint64(2)})
	if err != nil {
		f.Fatal(err)
	}
	batch1, err := proto.Marshal(&quietilev1.SampleBatch{Columns: []*quietilev1.SampleColumn{
		{Metric: "m", Values: []float64{1, 2}, Units: []string{"a", "b"}, UnitIndex: []uint32{0, 1}, BaseTimeUnixNano: proto.Int64(1), TimeDeltas: []int64{1, 2}, Weights: []uint64{1, 2}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{sample, batch1, []byte("12.5"), []byte(`{"value": 1}`), []byte("NaN"), {}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := decodeSample(data, 0); err == nil && (s.weight == 0 || s.weight > maxWeight) {
			t.Errorf("weight %d was taken", s.weight)
		}
		var b batch
		reference := new(quietilev1.SampleBatch)
		if err := b.decode(data); err != nil {
			return
		}
		// What is taken is what the protobuf library reads, where that reads it at all: it also looks at
		// what UTF-8 strings hold.
		if proto.Unmarshal(data, reference) != nil {
			return
		}
		if b.used != len(reference.GetColumns()) {
			t.Fatalf("%d columns, want %d", b.used, len(reference.GetColumns()))
		}
		for i, want := range reference.GetColumns() {
			c := &b.columns[i]
			if string(c.metric) != want.GetMetric() || len(c.values) != len(want.GetValues()) || !slices.Equal(c.deltas, want.GetTimeDeltas()) ||
				!slices.Equal(c.units, want.GetUnits()) || !slices.Equal(c.index, want.GetUnitIndex()) || !slices.Equal(c.weights, want.GetWeights()) {
				t.Errorf("column %d is %+v, want %v", i, c, want)
			}
		}
	})
}

// What is wrong with a unit's name is that unit's affair: its rows are dead letters, and the others of the batch count.
func TestABadNameOfAUnitRejectsItsRowsAlone(t *testing.T) {
	j := newJourney(t)
	j.now = origin + minute
	p := subject.Partition("ann", partitions)
	data, err := proto.Marshal(&quietilev1.SampleBatch{Columns: []*quietilev1.SampleColumn{{
		Metric: "age", Values: []float64{1, 2, 3, 4}, Units: []string{"ann", "bad?", strings.Repeat("x", subject.MaxUnit+1)}, UnitIndex: []uint32{0, 1, 2, 0},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	j.add(subject.Batch(p), bytes.Replace(data, []byte("bad?"), []byte("bad\xff"), 1))
	s, letters := run(t, j.log)
	st, err := s.Stats("age", p)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for _, r := range letters {
		reasons = append(reasons, r)
	}
	slices.Sort(reasons)
	if st.Accepted != 2 || st.Dead != 2 || len(reasons) != 2 || !strings.Contains(reasons[0], "1024 bytes") || !strings.Contains(reasons[1], "UTF-8") {
		t.Errorf("%+v, dead letters %q", st, reasons)
	}
}

func TestCountsOfTwoVersionsOfAMetricStayApart(t *testing.T) {
	j := newJourney(t)
	j.now = origin + 30*minute
	j.sample("size", "a", 1, origin+30*minute)
	p, err := policy.Parse([]byte(enginePolicy))
	if err != nil {
		t.Fatal(err)
	}
	next := proto.CloneOf(p.GetMetrics()[1])
	next.Version, next.EffectiveFromUnixNano = 2, origin // later than its first window began
	next.Grid.GetExponential().Scale = 3
	j.everywhere(&quietilev1.Control{Kind: &quietilev1.Control_Metric{Metric: next}})
	j.sample("size", "a", 1, origin+30*minute)
	s, _ := run(t, j.log)
	for version, m := range []*quietilev1.Metric{p.GetMetrics()[1], next} {
		grid, err := sketch.GridFromProto(m.GetGrid())
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Window("size", origin, uint32(version+1), grid)
		if err != nil {
			t.Fatal(err)
		}
		if b.Count() != 1 || b.Bucket(grid.Index(1)) != 1 {
			t.Errorf("version %d holds %v, want one sample", version+1, b)
		}
	}
}

// A version that reaches a partition late counts a unit's samples by itself: three are kept of each, also over restarts.
func TestAUnitsCountersOfTwoVersionsStayApart(t *testing.T) {
	p, err := policy.Parse([]byte(enginePolicy))
	if err != nil {
		t.Fatal(err)
	}
	next := proto.CloneOf(p.GetMetrics()[0])
	next.Version, next.EffectiveFromUnixNano = 2, origin // later than its first window began
	part := subject.Partition("ann", partitions)
	for range 5 { // counters are written in no order
		j := newJourney(t)
		j.now = origin + minute
		j.sample("age", "ann", 10, j.now)
		j.everywhere(&quietilev1.Control{Kind: &quietilev1.Control_Metric{Metric: next}})
		for range 5 {
			j.sample("age", "ann", 20, j.now)
		}
		s := open(t, vfs.NewMem())
		for part := range 2 { // with a restart between
			e, err := NewEngine(s, ring(t), partitions, func(DeadLetter) {})
			if err != nil {
				t.Fatal(err)
			}
			if part == 1 {
				for range 5 {
					j.sample("age", "ann", 30, j.now)
				}
			}
			for _, m := range j.log {
				if m.Sequence >= e.Next() {
					if err := e.Apply(m); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		kept := map[uint32]uint32{}
		if err := s.Units("age", part, func(_ int64, version uint32, _ keys.UnitID, n uint32) { kept[version] = n }); err != nil {
			t.Fatal(err)
		}
		grid, err := sketch.GridFromProto(next.GetGrid())
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Window("age", origin, 2, grid)
		if err != nil {
			t.Fatal(err)
		}
		if kept[1] != 1 || kept[2] != 3 || b.Count() != 3 {
			t.Errorf("of ann are kept %v, and version 2 holds %d", kept, b.Count())
		}
		s.Close()
	}
}

func TestAnEarlierVersionThatComesLaterIsTaken(t *testing.T) {
	j := newJourney(t)
	var both []*quietilev1.Metric
	p, err := policy.Parse([]byte(enginePolicy))
	if err != nil {
		t.Fatal(err)
	}
	for version := range uint32(2) {
		m := proto.CloneOf(p.GetMetrics()[1])
		m.Name, m.Version, m.EffectiveFromUnixNano = "new", version+1, math.MinInt64
		if version == 1 {
			m.EffectiveFromUnixNano = origin + 24*hour
		}
		both = append(both, m)
	}
	j.everywhere(&quietilev1.Control{Kind: &quietilev1.Control_Metric{Metric: both[1]}})
	j.everywhere(&quietilev1.Control{Kind: &quietilev1.Control_Metric{Metric: both[0]}})
	j.sample("new", "a", 1, origin)
	j.now = origin + 25*hour
	j.sample("new", "a", 1, j.now)
	s, letters := run(t, j.log)
	var accepted uint64
	for p := range partitions {
		st, err := s.Stats("new", p)
		if err != nil {
			t.Fatal(err)
		}
		accepted += st.Accepted
	}
	if accepted != 2 || len(letters) > 0 {
		t.Errorf("%d samples are counted, want 2; dead letters %v", accepted, letters)
	}
}
