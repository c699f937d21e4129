package store

import "encoding/binary"

// Key spaces. Integers are big-endian; times are nanoseconds since the Unix epoch with the sign
// bit flipped, so that keys sort by time. A metric's name is followed by a zero byte.
const (
	spaceMeta    = 'i' // name → value
	spaceCursor  = 'c' // partition → cursor and watermark
	spaceCounts  = 's' // metric, window, version, partition → counts, merged by addition
	spaceUnit    = 'u' // metric, partition, window, unit → samples kept
	spacePeriod  = 'k' // metric, partition, period, unit → windows kept
	spaceStats   = 'x' // metric, partition → operator's counters
	spaceVersion = 'm' // metric, partition, version → declaration in force
	spaceSeal    = 'z' // metric, partition → sealed through (manual clock)
	spaceLedger  = 'l' // release id → ledger entry
	spaceAnswer  = 'a' // release id → answer
	spacePrior   = 'p' // metric, version, learner → what was learned
	spaceCarry   = 'y' // metric, version → sums of gradients that are not released yet
)

func appendTime(b []byte, t int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t)^(1<<63))
}

func timeAt(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ (1 << 63)) }

func appendMetric(space byte, metric string) []byte {
	return append(append([]byte{space}, metric...), 0)
}

func metaKey(name string) []byte { return append([]byte{spaceMeta}, name...) }

func cursorKey(p int) []byte {
	return binary.BigEndian.AppendUint16([]byte{spaceCursor}, uint16(p))
}

// countsKey is the prefix of the keys of a window's counts in all partitions.
func countsKey(metric string, window int64, version uint32) []byte {
	return binary.BigEndian.AppendUint32(appendTime(appendMetric(spaceCounts, metric), window), version)
}

// windowUnitsKey is the prefix of the keys of all units of a window under a version of the metric.
func windowUnitsKey(metric string, p int, start int64, version uint32) []byte {
	return binary.BigEndian.AppendUint32(unitsKey(spaceUnit, metric, p, start), version)
}

// unitsKey is the prefix of the keys of all units of a window or period.
func unitsKey(space byte, metric string, p int, start int64) []byte {
	return appendTime(metricKey(space, metric, p), start)
}

func metricKey(space byte, metric string, p int) []byte {
	return binary.BigEndian.AppendUint16(appendMetric(space, metric), uint16(p))
}

func versionKey(metric string, p int, version uint32) []byte {
	return binary.BigEndian.AppendUint32(metricKey(spaceVersion, metric, p), version)
}

// successor is the smallest key that is greater than every key with this prefix.
func successor(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// priorKey is the key of what a learner learned of a version of a metric.
func priorKey(metric string, version uint32, learner string) []byte {
	return append(binary.BigEndian.AppendUint32(appendMetric(spacePrior, metric), version), learner...)
}

func carryKey(metric string, version uint32) []byte {
	return binary.BigEndian.AppendUint32(appendMetric(spaceCarry, metric), version)
}
