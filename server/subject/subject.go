// Package subject names the NATS subjects and streams of the engine.
//
// A sample of a metric travels on
//
//	quietile.publish.<metric>.<key>               from anybody; the stream maps it to
//	quietile.ingest.<partition>.<metric>.<key>    where the key's hash picks the partition
//	quietile.ingest.<partition>._batch            for packed batches
//
// and the engine writes quietile.ingest.<partition>._tick and ._control into the same log.
package subject

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
)

// Streams of the engine.
const (
	IngestStream  = "QUIETILE_INGEST" // samples, batches, ticks and control messages: the log
	DeadStream    = "QUIETILE_DEAD"   // samples that could not be counted, with the reason
	ControlStream = "QUIETILE_CTL"    // policies
	LedgerStream  = "QUIETILE_LEDGER" // charges and answers
)

// Subject spaces, each without its final ">".
const (
	Publish = "quietile.publish."
	Ingest  = "quietile.ingest."
	Dead    = "quietile.dead."
	Control = "quietile.ctl."
	Ledger  = "quietile.ledger."
	API     = "quietile.api."
	Admin   = "quietile.admin."
)

// Reserved last tokens on quietile.ingest.<partition>.
const (
	BatchToken   = "_batch"
	TickToken    = "_tick"
	ControlToken = "_control"
)

// Headers of a dead letter.
const (
	ReasonHeader   = "Quietile-Reason"
	SubjectHeader  = "Quietile-Subject"
	SequenceHeader = "Quietile-Sequence"
)

// DefaultPartitions is P for a new stream. P never changes in a stream's life.
const DefaultPartitions = 16

// MaxPayload is the largest sample or batch, in bytes, that is counted. A larger one that the
// server lets through is dead-lettered.
const MaxPayload = 1 << 20

// MaxLoad is the largest number of values of a sketch that is loaded: so few that no window's count ever reaches its limit, which would make an error of a release
// depend on the data.
const MaxLoad = 1 << 48

// MaxUnit is the longest name of a unit, in bytes. Names are UTF-8.
const MaxUnit = 1024

// Partition is the partition of a key among n: FNV-1a-32 of its bytes modulo n, which is what the
// server's partition() mapping computes.
func Partition(key string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}

// Transform returns the source and destination of the stream's subject transform for n partitions.
func Transform(n int) (source, destination string) {
	return Publish + "*.*", fmt.Sprintf("%s{{partition(%d,2)}}.{{wildcard(1)}}.{{wildcard(2)}}", Ingest, n)
}

// PublishSample is the subject on which a publisher who knows nothing of partitions sends.
func PublishSample(metric, key string) string { return Publish + metric + "." + key }

// Sample is the subject of a single sample in the log.
func Sample(partition int, metric, key string) string {
	return Ingest + strconv.Itoa(partition) + "." + metric + "." + key
}

// Batch is the subject of packed batches of a partition.
func Batch(partition int) string { return Ingest + strconv.Itoa(partition) + "." + BatchToken }

// Tick is the subject of a partition's ticks.
func Tick(partition int) string { return Ingest + strconv.Itoa(partition) + "." + TickToken }

// ControlOf is the subject of a partition's control messages.
func ControlOf(partition int) string {
	return Ingest + strconv.Itoa(partition) + "." + ControlToken
}

var metricName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

// ValidMetric says whether s may name a metric: one token of lower-case letters, digits, "_" and
// "-", not starting with "_" or "-", of at most 64 bytes.
func ValidMetric(s string) bool { return len(s) <= 64 && metricName.MatchString(s) }

// ValidKey says whether s can be the key token of a subject as it is.
func ValidKey(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '.' || r == '*' || r == '>' || r == 0x7f
	})
}

// A Kind is what a message of the ingest log is.
type Kind int

// The kinds of message in the ingest log.
const (
	KindOther   Kind = iota // a subject of no known shape
	KindSample              // a single sample
	KindBatch               // a packed batch
	KindTick                // a tick
	KindControl             // a control message
)

// Parse takes a subject of the ingest log apart. For KindOther the partition is 0.
func Parse(s string) (kind Kind, partition int, metric, key string) {
	rest, ok := strings.CutPrefix(s, Ingest)
	if !ok {
		return KindOther, 0, "", ""
	}
	token, rest, ok := strings.Cut(rest, ".")
	if !ok {
		return KindOther, 0, "", ""
	}
	p, err := strconv.Atoi(token)
	if err != nil || p < 0 {
		return KindOther, 0, "", ""
	}
	metric, key, ok = strings.Cut(rest, ".")
	if ok {
		if strings.Contains(key, ".") || strings.HasPrefix(metric, "_") {
			return KindOther, 0, "", ""
		}
		return KindSample, p, metric, key
	}
	switch rest {
	case BatchToken:
		return KindBatch, p, "", ""
	case TickToken:
		return KindTick, p, "", ""
	case ControlToken:
		return KindControl, p, "", ""
	}
	return KindOther, 0, "", ""
}
