package prior

import (
	"strings"
	"testing"

	"github.com/quietile/quietile/sketch"
)

func TestUniformWeighsEveryBucketAlike(t *testing.T) {
	for _, text := range []string{"linear:lower=0,upper=1,bins=3", "exponential:scale=0", "explicit:1,2"} {
		g, err := sketch.ParseGrid(text)
		if err != nil {
			t.Fatal(err)
		}
		w, err := Uniform().Weights(g)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(w, g.Len()); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		for i, x := range w {
			if x != w[0] {
				t.Errorf("%s: bucket %d weighs %d, the first %d", text, i, x, w[0])
			}
		}
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	f := func(word string, weights ...uint64) {
		t.Helper()
		if err := Check(weights, 3); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%d: %v", weights, err)
		}
	}
	f("2 prior weights for 3 buckets", 1, 1)
	f("bucket 1 is 0", 1, 0, 1)
	f("up to bucket 2", MaxTotal-1, 1, 1)
	f("up to bucket 0", 1<<63, 1<<63, 1)
	if err := Check([]uint64{MaxTotal - 2, 1, 1}, 3); err != nil {
		t.Errorf("the largest sum: %v", err)
	}
}
