package ingest

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
)

func TestPayloadsAreToldApart(t *testing.T) {
	message, err := proto.Marshal(&quietilev1.Sample{Value: proto.Float64(2.5), Unit: "ann", Weight: proto.Uint64(3)})
	if err != nil {
		t.Fatal(err)
	}
	f := func(payload string, want sample) {
		t.Helper()
		s, err := decodeSample([]byte(payload), 7)
		if err != nil || s != want {
			t.Errorf("%q is %+v, %v; want %+v", payload, s, err, want)
		}
	}
	f("12.5", sample{12.5, 7, "", 1})
	f(" -1e3\n", sample{-1000, 7, "", 1})
	f("\t12345.67", sample{12345.67, 7, "", 1})
	f("1e999", sample{math.Inf(1), 7, "", 1})
	f(string(message), sample{2.5, 7, "ann", 3})
	f(`{"value": 1, "unit": "bob", "time": "1970-01-01T00:00:00.000000009Z", "weight": 2}`, sample{1, 9, "bob", 2})
	for _, payload := range []string{"", "x", "1 2", "{}", `{"value": 1, "vlaue": 2}`, `{"value": 1}{}`, `{"value": 1, "weight": 0}`, `{"value": 1, "time": "now"}`, "\t1234567x\xff"} {
		if s, err := decodeSample([]byte(payload), 7); err == nil {
			t.Errorf("%q is taken for %+v", payload, s)
		}
	}
}
