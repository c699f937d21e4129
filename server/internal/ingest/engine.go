// Package ingest turns the ingest log into sketches.
//
// Engine is the state machine: what it holds after a message is a function of the partition's log
// up to that message and of nothing else, no clock and no chance. Worker feeds it from NATS.
package ingest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/server/internal/keys"
	"github.com/quietile/quietile/server/internal/store"
	"github.com/quietile/quietile/server/policy"
	"github.com/quietile/quietile/server/subject"
	"github.com/quietile/quietile/sketch"
)

// maxSkew is how far a sample's own time may lie ahead of the time at which the stream stored it.
const maxSkew = int64(time.Minute)

// Message is one message of the ingest log.
type Message struct {
	Sequence  uint64
	Time      int64 // when the stream stored it, nanoseconds since the Unix epoch
	Subject   string
	Signature string // of an engine's control message
	Data      []byte
}

// DeadLetter is a sample, or several of one batch, that was not counted.
type DeadLetter struct {
	ID      string // the same each time the log is replayed
	Metric  string // "_" when it is not known
	Reason  string
	Subject string
	Message uint64 // sequence of the message that it came in
	Data    []byte
}

// Engine folds the messages of all partitions into a store. It is not safe for concurrent use.
type Engine struct {
	store      *store.Store
	keys       *keys.Ring
	partitions []*partition
	dead       func(DeadLetter)
	last       uint64 // sequence of the last message applied
	lastTime   int64  // and when the stream stored it
	scratch    batch
	rejects    rejects
}

// partition is the state of one partition that is not yet, or not only, in the store.
type partition struct {
	id      int
	cursor  store.Cursor
	metrics map[string]*metric
	dirty   bool
}

// metric is what a partition knows of one metric.
type metric struct {
	name     string
	versions []*version // ascending
	sealed   int64      // manual clock: everything that ends at or before it is sealed
	windows  map[windowID]*window
	periods  map[int64]*period
	stats    store.Stats

	newVersions []*quietilev1.Metric // since the last flush
	newSeal     bool
	dirtyStats  bool
}

type version struct {
	*quietilev1.Metric
	grid *sketch.Grid
}

// windowID names a window. Samples of one window follow one version of the metric; should a version
// reach a partition only after its first windows have begun, which takes a crash while it was being
// declared, the samples before it are kept apart.
type windowID struct {
	start   int64
	version uint32
}

// window is an open window. Its samples since the last flush are in delta, the earlier ones in the
// store.
type window struct {
	start   int64
	version *version
	delta   *sketch.Binned
	kept    map[keys.UnitID]uint32 // user metrics: samples kept of each unit
	dirty   map[keys.UnitID]struct{}
}

// period is an open budget period of a user metric whose units may not fill all its windows.
type period struct {
	windows map[keys.UnitID][]int64
	dirty   map[keys.UnitID]struct{}
}

// NewEngine loads the state of n partitions. The engine calls dead with every sample it cannot
// count; those letters must be safe before Flush is called.
func NewEngine(s *store.Store, ring *keys.Ring, n int, dead func(DeadLetter)) (*Engine, error) {
	e := &Engine{store: s, keys: ring, dead: dead}
	for id := range n {
		p := &partition{id: id, metrics: map[string]*metric{}}
		var err error
		if p.cursor, err = s.Cursor(id); err != nil {
			return nil, err
		}
		if p.cursor.Sequence >= e.last {
			e.last, e.lastTime = p.cursor.Sequence, p.cursor.Time
		}
		all, err := s.Versions(id)
		if err != nil {
			return nil, err
		}
		for name, versions := range all {
			m := newMetric(name)
			for _, v := range versions {
				if err := m.add(v); err != nil {
					return nil, err
				}
			}
			if through, ok, err := s.SealedThrough(name, id); err != nil {
				return nil, err
			} else if ok {
				m.sealed = through
			}
			if m.stats, err = s.Stats(name, id); err != nil {
				return nil, err
			}
			if err := e.loadUnits(p, m); err != nil {
				return nil, err
			}
			p.metrics[name] = m
		}
		e.partitions = append(e.partitions, p)
	}
	return e, nil
}

// loadUnits brings back the contribution counters of the windows and periods that are open.
func (e *Engine) loadUnits(p *partition, m *metric) error {
	err := e.store.Units(m.name, p.id, func(start int64, number uint32, u keys.UnitID, n uint32) {
		for _, v := range m.versions {
			if v.GetVersion() == number {
				m.window(start, v).kept[u] = n
			}
		}
	})
	if err != nil {
		return err
	}
	return e.store.UnitWindows(m.name, p.id, func(start int64, u keys.UnitID, windows []int64) {
		m.period(start).windows[u] = windows
	})
}

func newWindow(start int64, v *version) *window {
	w := &window{start: start, version: v, delta: sketch.NewBinned(v.grid)}
	if v.GetUnit() == quietilev1.Unit_UNIT_USER {
		w.kept, w.dirty = map[keys.UnitID]uint32{}, map[keys.UnitID]struct{}{}
	}
	return w
}

// window returns the window that starts at start.
func (m *metric) window(start int64, v *version) *window {
	id := windowID{start, v.GetVersion()}
	w := m.windows[id]
	if w == nil {
		w = newWindow(start, v)
		m.windows[id] = w
	}
	return w
}

// period returns the contribution table of the budget period that starts at start.
func (m *metric) period(start int64) *period {
	pd := m.periods[start]
	if pd == nil {
		pd = &period{windows: map[keys.UnitID][]int64{}, dirty: map[keys.UnitID]struct{}{}}
		m.periods[start] = pd
	}
	return pd
}

func newMetric(name string) *metric {
	return &metric{
		name:    name,
		sealed:  math.MinInt64,
		windows: map[windowID]*window{},
		periods: map[int64]*period{},
	}
}

func (m *metric) add(v *quietilev1.Metric) error {
	grid, err := sketch.GridFromProto(v.GetGrid())
	if err != nil {
		return fmt.Errorf("metric %s version %d: %w", v.GetName(), v.GetVersion(), err)
	}
	m.versions = append(m.versions, &version{v, grid})
	return nil
}

// at returns the version that a moment follows, nil when there is none.
func (m *metric) at(t int64) *version {
	for i := len(m.versions) - 1; i >= 0; i-- {
		if m.versions[i].GetEffectiveFromUnixNano() <= t {
			return m.versions[i]
		}
	}
	return nil
}

// Next is the sequence of the first message that the engine still needs.
func (e *Engine) Next() uint64 {
	next := uint64(math.MaxUint64)
	for _, p := range e.partitions {
		next = min(next, p.cursor.Sequence+1)
	}
	return next
}

// Last is the sequence of the last message that any partition has seen.
func (e *Engine) Last() uint64 { return e.last }

// Cursor returns the highest cursor of all partitions.
func (e *Engine) Cursor() store.Cursor {
	var c store.Cursor
	for _, p := range e.partitions {
		if p.cursor.Sequence >= c.Sequence {
			c = p.cursor
		}
	}
	return c
}

// Apply folds the next message in. Messages must come in the order of the log; one that the state
// already covers is passed over. An error means that the state can no longer be trusted, and that the
// engine must be made anew from the store.
func (e *Engine) Apply(m Message) error {
	kind, id, name, key := subject.Parse(m.Subject)
	e.last, e.lastTime = m.Sequence, m.Time
	if id >= len(e.partitions) || kind == subject.KindOther {
		// No partition owns such a message: the first one answers for it.
		if m.Sequence > e.partitions[0].cursor.Sequence {
			reason := "the subject is neither a sample's nor a batch's"
			if kind != subject.KindOther {
				reason = fmt.Sprintf("wrong partition: %d is not one of the %d", id, len(e.partitions))
			}
			e.letter(m, name, reason, "")
		}
		return nil
	}
	p := e.partitions[id]
	if m.Sequence <= p.cursor.Sequence {
		return nil
	}
	p.cursor.Sequence, p.cursor.Time, p.dirty = m.Sequence, m.Time, true
	switch kind {
	case subject.KindSample:
		return e.applySample(p, m, name, key)
	case subject.KindBatch:
		return e.applyBatch(p, m)
	case subject.KindTick:
		return e.applyTick(p, m.Time)
	default:
		return e.applyControl(p, m)
	}
}

const (
	// maxLetter is how much of a message a dead letter keeps: with its headers it must be a message, too.
	maxLetter = 4 << 20
	// maxReason bounds what a reason quotes of a message.
	maxReason = 300
)

// letter dead-letters a whole message.
func (e *Engine) letter(m Message, metric, reason, suffix string) {
	if !subject.ValidMetric(metric) {
		metric = "_"
	}
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "…"
	}
	if len(m.Data) > maxLetter {
		reason = fmt.Sprintf("%s; cut to %d bytes", reason, maxLetter)
		m.Data = m.Data[:maxLetter]
	}
	e.dead(DeadLetter{
		ID:      fmt.Sprintf("%d-%d%s", m.Sequence, m.Time, suffix),
		Metric:  metric,
		Reason:  reason,
		Subject: m.Subject,
		Message: m.Sequence,
		Data:    m.Data,
	})
}

func (e *Engine) applySample(p *partition, m Message, name, key string) error {
	reject := func(reason string) error {
		e.letter(m, name, reason, "")
		if mt := p.metrics[name]; mt != nil {
			mt.stats.Dead++
			mt.dirtyStats = true
		}
		return nil
	}
	if len(m.Data) > subject.MaxPayload {
		return reject(fmt.Sprintf("the payload has %d bytes: at most %d are taken", len(m.Data), subject.MaxPayload))
	}
	mt := p.metrics[name]
	if mt == nil {
		return reject(fmt.Sprintf("unknown metric %.100q", name))
	}
	if want := subject.Partition(key, len(e.partitions)); want != p.id {
		return reject(fmt.Sprintf("wrong partition: key %q belongs to partition %d", key, want))
	}
	s, err := decodeSample(m.Data, m.Time)
	if err != nil {
		return reject(err.Error())
	}
	v := mt.at(s.time)
	if v != nil && v.GetUnit() == quietilev1.Unit_UNIT_USER {
		if s.unit != "" && s.unit != key {
			return reject(fmt.Sprintf("the unit %q in the payload is not the key %q", s.unit, key))
		}
		s.unit = key
	}
	reason, err := e.count(p, mt, s, m.Time)
	if err != nil {
		return err
	}
	if reason != "" {
		return reject(reason)
	}
	return nil
}

// rejects collects the rows of a batch that cannot be counted, by reason.
type rejects struct {
	reasons []string
	index   map[string]int // of each reason
	rows    []*quietilev1.SampleBatch
	last    []int64             // time of the last row of each
	units   []map[string]uint32 // of the last column of each
}

func (r *rejects) add(reason, metric string, s sample) {
	i, known := r.index[reason]
	if !known {
		i = len(r.reasons)
		r.index[reason] = i
		r.reasons = append(r.reasons, reason)
		r.rows = append(r.rows, &quietilev1.SampleBatch{})
		r.last = append(r.last, 0)
		r.units = append(r.units, nil)
	}
	b := r.rows[i]
	n := len(b.Columns)
	if n == 0 || b.Columns[n-1].Metric != metric {
		b.Columns = append(b.Columns, &quietilev1.SampleColumn{Metric: metric, BaseTimeUnixNano: proto.Int64(s.time)})
		r.last[i], r.units[i] = s.time, map[string]uint32{}
		n++
	}
	c := b.Columns[n-1]
	c.Values = append(c.Values, s.value)
	c.TimeDeltas = append(c.TimeDeltas, s.time-r.last[i])
	r.last[i] = s.time
	c.Weights = append(c.Weights, s.weight)
	unit, seen := r.units[i][s.unit]
	if !seen {
		unit = uint32(len(c.Units))
		r.units[i][s.unit] = unit
		c.Units = append(c.Units, strings.ToValidUTF8(s.unit, "\uFFFD")) // the message holds nothing else
	}
	c.UnitIndex = append(c.UnitIndex, unit)
}

func (e *Engine) applyBatch(p *partition, m Message) error {
	if len(m.Data) > subject.MaxPayload {
		e.letter(m, "_", fmt.Sprintf("the payload has %d bytes: at most %d are taken", len(m.Data), subject.MaxPayload), "")
		return nil
	}
	if err := e.scratch.decode(m.Data); err != nil {
		e.letter(m, "_", err.Error(), "")
		return nil
	}
	e.rejects = rejects{index: map[string]int{}}
	for i := range e.scratch.columns[:e.scratch.used] {
		if err := e.applyColumn(p, m, &e.scratch.columns[i]); err != nil {
			return err
		}
	}
	for i, reason := range e.rejects.reasons {
		rows := e.rejects.rows[i]
		dead := m
		if data, err := proto.Marshal(rows); err == nil {
			dead.Data = data
		} // otherwise the whole batch: nothing that a client writes may stop the engine
		e.letter(dead, rows.Columns[0].Metric, reason, "-"+strconv.Itoa(i))
	}
	return nil
}

func (e *Engine) applyColumn(p *partition, m Message, c *column) error {
	name := string(c.metric)
	mt := p.metrics[name]
	t := m.Time
	if c.hasBase {
		t = c.base
	}
	if mt != nil && len(c.deltas) == 0 && len(c.weights) == 0 {
		if v := mt.at(t); v != nil && v.GetUnit() == quietilev1.Unit_UNIT_EVENT && len(c.units) == 0 && !hasNaN(c.values) {
			if w := mt.windowFor(v, t, max(m.Time, p.cursor.Watermark)); w != nil && t <= m.Time+maxSkew {
				w.delta.AddBatch(c.values)
				mt.stats.Accepted += uint64(len(c.values))
				mt.dirtyStats = true
				return nil
			}
		}
	}
	unknown := ""
	if mt == nil {
		unknown = fmt.Sprintf("unknown metric %.100q", name)
	}
	for i := range c.values {
		s := c.row(i, t)
		t = s.time
		reason := unknown
		if mt != nil {
			reason = e.checkRow(p, mt, s)
		}
		if reason == "" {
			var err error
			if reason, err = e.count(p, mt, s, m.Time); err != nil {
				return err
			}
		}
		if reason != "" {
			e.rejects.add(reason, name, s)
			if mt != nil {
				mt.stats.Dead++
				mt.dirtyStats = true
			}
		}
	}
	return nil
}

// checkRow says why a row of a batch cannot be counted, or "". Rows go to the dead letters by reason, so
// that a reason must not quote what may differ from row to row.
func (e *Engine) checkRow(p *partition, mt *metric, s sample) string {
	if reason := checkUnit(s.unit); reason != "" {
		return reason
	}
	if checkWeight(s.weight) != nil {
		return fmt.Sprintf("the weight is outside 1 to %d", uint64(maxWeight))
	}
	if v := mt.at(s.time); v != nil && v.GetUnit() == quietilev1.Unit_UNIT_USER && s.unit != "" {
		if want := subject.Partition(s.unit, len(e.partitions)); want != p.id {
			return fmt.Sprintf("wrong partition: unit belongs to partition %d", want)
		}
	}
	return ""
}

// checkUnit says why a name is not that of a unit, or "". One unit's name must not keep the samples of others from being counted, so it is
// checked row by row.
func checkUnit(unit string) string {
	switch {
	case len(unit) > subject.MaxUnit:
		return fmt.Sprintf("the unit's name is longer than %d bytes", subject.MaxUnit)
	case !utf8.ValidString(unit):
		return "the unit's name is not UTF-8"
	}
	return ""
}

func hasNaN(values []float64) bool {
	for _, v := range values {
		if v != v {
			return true
		}
	}
	return false
}

// count counts a sample, or returns the reason why it is not one. Late samples and those beyond
// their unit's bound are samples: they are dropped and counted for operators. What happens to a
// sample depends on its own unit's samples and on ticks and seals, never on other units.
func (e *Engine) count(p *partition, mt *metric, s sample, streamTime int64) (reason string, err error) {
	if s.value != s.value {
		return "the value is NaN", nil
	}
	if s.time > streamTime+maxSkew {
		return fmt.Sprintf("the time is more than %s ahead of the stream's", time.Duration(maxSkew)), nil
	}
	v := mt.at(s.time)
	if v == nil {
		return "no version of the metric is in force at the sample's time", nil
	}
	user := v.GetUnit() == quietilev1.Unit_UNIT_USER
	if user && s.unit == "" {
		return "the metric's unit is user, and the sample has none", nil
	}
	mt.dirtyStats = true
	w := mt.windowFor(v, s.time, max(streamTime, p.cursor.Watermark))
	if w == nil {
		mt.stats.Late++
		return "", nil
	}
	n := s.weight
	if user {
		n = mt.bound(w, e.keys.Unit(s.unit), s.weight)
		mt.stats.Excess += s.weight - n
	}
	if n == 0 {
		return "", nil
	}
	mt.stats.Accepted += n
	return "", w.delta.AddN(s.value, n)
}

// windowFor returns the window of a moment, nil when it is sealed at the stream time now.
func (mt *metric) windowFor(v *version, t, now int64) *window {
	start, end := policy.WindowOf(v.Metric, t)
	if mt.isSealed(v.Metric, end, now) {
		return nil
	}
	return mt.window(start, v)
}

// isSealed says whether a window that ends at end is sealed at a stream time, which is a tick's or
// the sample's own.
func (mt *metric) isSealed(v *quietilev1.Metric, end, now int64) bool {
	if v.GetClock() == quietilev1.Clock_CLOCK_MANUAL {
		return end <= mt.sealed
	}
	return end+v.GetLatenessNanos() <= now
}

// bound returns how many of n samples of a unit are kept in a window: the unit's first
// max_per_window ones, in its first max_windows windows of the budget period.
func (mt *metric) bound(w *window, unit keys.UnitID, n uint64) uint64 {
	v := w.version
	kept, known := w.kept[unit]
	if !known && int64(v.GetMaxWindows()) < v.GetPeriodNanos()/v.GetWindowNanos() && !mt.admit(w, unit) {
		return 0
	}
	n = min(n, uint64(v.GetMaxPerWindow()-min(kept, v.GetMaxPerWindow())))
	if n > 0 {
		w.kept[unit] = kept + uint32(n)
		w.dirty[unit] = struct{}{}
	}
	return n
}

// admit says whether a window is among the first max_windows of a unit in the budget period, and
// remembers it.
func (mt *metric) admit(w *window, unit keys.UnitID) bool {
	pd := mt.period(policy.PeriodOf(w.version.Metric, w.start))
	windows := pd.windows[unit]
	if slices.Contains(windows, w.start) {
		return true
	}
	if len(windows) >= int(w.version.GetMaxWindows()) {
		return false
	}
	pd.windows[unit] = append(windows, w.start)
	pd.dirty[unit] = struct{}{}
	return true
}

// applyTick moves a partition's watermark. The tick says nothing: its time in the stream does.
func (e *Engine) applyTick(p *partition, t int64) error {
	p.cursor.Watermark = max(p.cursor.Watermark, t)
	return nil
}

func (e *Engine) applyControl(p *partition, m Message) error {
	if !e.keys.Verify(m.Subject, m.Data, m.Signature) {
		e.letter(m, "_", "a control message that is not the engine's", "")
		return nil
	}
	c := new(quietilev1.Control)
	if err := proto.Unmarshal(m.Data, c); err != nil {
		return fmt.Errorf("control message %d: %w", m.Sequence, err)
	}
	switch k := c.GetKind().(type) {
	case *quietilev1.Control_Metric:
		return e.declare(p, k.Metric)
	case *quietilev1.Control_Seal:
		mt := p.metrics[k.Seal.GetMetric()]
		if mt == nil {
			return nil
		}
		if through := k.Seal.GetThroughUnixNano(); through > mt.sealed {
			mt.sealed, mt.newSeal = through, true
		}
		return nil
	case *quietilev1.Control_Load:
		return e.load(p, m, k.Load)
	default:
		return fmt.Errorf("control message %d is of a kind that this version does not know", m.Sequence)
	}
}

func (e *Engine) declare(p *partition, v *quietilev1.Metric) error {
	mt := p.metrics[v.GetName()]
	if mt == nil {
		mt = newMetric(v.GetName())
		p.metrics[v.GetName()] = mt
	}
	if slices.ContainsFunc(mt.versions, func(have *version) bool { return have.GetVersion() == v.GetVersion() }) {
		return nil // said again
	}
	if err := mt.add(v); err != nil {
		return err
	}
	// An earlier version may come later, after a crash while it was being declared.
	slices.SortFunc(mt.versions, func(a, b *version) int { return cmp.Compare(a.GetVersion(), b.GetVersion()) })
	mt.newVersions = append(mt.newVersions, v)
	return nil
}

// load adds a sketch that an operator restores. Its contribution bounds were kept where it was made.
func (e *Engine) load(p *partition, m Message, l *quietilev1.Load) error {
	mt := p.metrics[l.GetMetric()]
	if mt == nil {
		e.letter(m, l.GetMetric(), "a load into a metric that is not in force", "")
		return nil
	}
	v := mt.at(l.GetWindowStartUnixNano())
	s, err := sketch.FromProto(l.GetSketch())
	if v == nil || err != nil || !s.Grid().Equal(v.grid) || s.Count() > subject.MaxLoad || v.GetUnit() == quietilev1.Unit_UNIT_USER {
		e.letter(m, l.GetMetric(), "a load that does not fit the metric's declaration", "")
		return nil
	}
	w := mt.windowFor(v, l.GetWindowStartUnixNano(), max(m.Time, p.cursor.Watermark))
	mt.dirtyStats = true
	if w == nil {
		mt.stats.Late += s.Count()
		return nil
	}
	if err := w.delta.Merge(s); err != nil {
		e.letter(m, l.GetMetric(), "a load that cannot be added: "+err.Error(), "")
		return nil
	}
	mt.stats.Accepted += s.Count()
	return nil
}

// Flush writes everything since the last flush, with the cursors that it brings the store to, in
// one batch. The batch survives the end of the process; Store.Sync makes it survive the machine's.
func (e *Engine) Flush() error {
	b := e.store.NewBatch()
	for _, p := range e.partitions {
		if e.last > p.cursor.Sequence {
			// Messages of other partitions need not be read again for this one.
			p.cursor.Sequence, p.cursor.Time, p.dirty = e.last, e.lastTime, true
		}
		if !p.dirty {
			continue
		}
		for _, mt := range p.metrics {
			if err := e.flushMetric(b, p, mt); err != nil {
				return fmt.Errorf("flush %s in partition %d: %w", mt.name, p.id, err)
			}
		}
		if err := b.SetCursor(p.id, p.cursor); err != nil {
			return err
		}
		p.dirty = false
	}
	if err := b.Commit(); err != nil {
		return fmt.Errorf("commit up to message %d: %w", e.last, err)
	}
	return nil
}

func (e *Engine) flushMetric(b *store.Batch, p *partition, mt *metric) error {
	for _, v := range mt.newVersions {
		if err := b.SetVersion(p.id, v); err != nil {
			return err
		}
	}
	mt.newVersions = nil
	if mt.newSeal {
		if err := b.SetSealedThrough(mt.name, p.id, mt.sealed); err != nil {
			return err
		}
		mt.newSeal = false
	}
	if mt.dirtyStats {
		if err := b.SetStats(mt.name, p.id, mt.stats); err != nil {
			return err
		}
		mt.dirtyStats = false
	}
	for id, w := range mt.windows {
		start := id.start
		if w.kept == nil && w.delta.Count() == 0 {
			delete(mt.windows, id) // idle, and it has nothing that the store does not have
			continue
		}
		if w.delta.Count() > 0 {
			if err := b.AddCounts(mt.name, start, id.version, p.id, w.delta); err != nil {
				return err
			}
			w.delta.Reset()
		}
		for unit := range w.dirty {
			if err := b.SetUnit(mt.name, start, id.version, p.id, unit, w.kept[unit]); err != nil {
				return err
			}
		}
		clear(w.dirty)
		if end := start + w.version.GetWindowNanos(); mt.isSealed(w.version.Metric, end, p.cursor.Watermark) {
			if w.kept != nil {
				if err := b.DropUnits(mt.name, start, id.version, p.id); err != nil {
					return err
				}
			}
			delete(mt.windows, id)
		}
	}
	for start, pd := range mt.periods {
		for unit := range pd.dirty {
			if err := b.SetUnitWindows(mt.name, start, p.id, unit, pd.windows[unit]); err != nil {
				return err
			}
		}
		clear(pd.dirty)
		v := mt.at(start)
		if v != nil && mt.isSealed(v.Metric, start+v.GetPeriodNanos(), p.cursor.Watermark) {
			if err := b.DropUnitWindows(mt.name, start, p.id); err != nil {
				return err
			}
			delete(mt.periods, start)
		}
	}
	return nil
}
