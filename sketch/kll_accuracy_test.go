package sketch

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// errorsOf returns the mean and the largest error of rank, over many points, of a sketch of the values 1 to n.
func errorsOf(n int, rank func(x float64) float64) (mean, most float64) {
	const points = 512
	for i := 1; i < points; i++ {
		x := math.Floor(float64(n) * float64(i) / points)
		e := math.Abs(rank(x) - x/float64(n))
		mean += e / (points - 1)
		most = max(most, e)
	}
	return mean, most
}

// The limits are at least four standard deviations above the ratios that are expected: some 0.87 for the mean in random order,
// and 1 if the values come in order, where there is nothing to be gained from opposite coins.
func TestRankErrorsAreNoMoreThanThoseOfDataSketches(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 2))
	f := func(k, n, trials int, limit float64, values func() []int) {
		t.Helper()
		var mean, most, peerMean, peerMost, kept, peerKept float64
		for range trials {
			ours, theirs := newKLL(t, k, r.Uint64()), newPeer(t, k)
			for _, v := range values() {
				ours.Add(float64(v + 1))
				theirs.Update(float64(v + 1))
			}
			a, b := errorsOf(n, func(x float64) float64 { v, _ := ours.Rank(x); return v })
			mean, most, kept = mean+a, most+b, kept+float64(ours.Retained())
			a, b = errorsOf(n, func(x float64) float64 { v, _ := theirs.GetRank(x, true); return v })
			peerMean, peerMost, peerKept = peerMean+a, peerMost+b, peerKept+float64(theirs.GetNumRetained())
		}
		t.Logf("k %d, n %d: mean error %.4f %%, that of DataSketches %.4f %%, ratio %.3f; largest %.4f %%, %.4f %%, ratio %.3f; %.1f values kept, %.1f",
			k, n, 100*mean/float64(trials), 100*peerMean/float64(trials), mean/peerMean,
			100*most/float64(trials), 100*peerMost/float64(trials), most/peerMost, kept/float64(trials), peerKept/float64(trials))
		if mean > limit*peerMean || most > limit*peerMost || kept > peerKept {
			t.Errorf("seed %d, k %d, n %d: ratio of means %v, of largest %v; %v values kept, %v", seed, k, n, mean/peerMean, most/peerMost, kept, peerKept)
		}
	}
	f(200, 3000, 1000, 1.05, func() []int { return r.Perm(3000) })
	f(200, 30000, 250, 1.05, func() []int { return r.Perm(30000) })
	f(200, 100000, 100, 1.05, func() []int { return r.Perm(100000) })
	f(8, 10000, 500, 1.05, func() []int { return r.Perm(10000) })
	ascending := make([]int, 10000)
	for i := range ascending {
		ascending[i] = i
	}
	f(200, len(ascending), 600, 1.1, func() []int { return ascending })
}

// shareOf returns the share of the sorted values that are less than or equal to x.
func shareOf(sorted []float64, x float64) float64 {
	n, _ := slices.BinarySearchFunc(sorted, x, func(v, x float64) int {
		if v <= x {
			return -1
		}
		return 1
	})
	return float64(n) / float64(len(sorted))
}

// streams are values of several kinds, in several orders.
func streams(r *rand.Rand, n int) map[string][]float64 {
	all := map[string][]float64{}
	for name, f := range map[string]func() float64{
		"log-normal": func() float64 { return math.Exp(2 * r.NormFloat64()) },
		"uniform":    r.Float64,
		"ties":       func() float64 { return math.Floor(r.ExpFloat64() * 3) },
		"two values": func() float64 { return float64(r.IntN(2)) },
	} {
		xs := make([]float64, n)
		for i := range xs {
			xs[i] = f()
		}
		all[name] = xs
	}
	up := slices.Clone(all["log-normal"])
	slices.Sort(up)
	down := slices.Clone(up)
	slices.Reverse(down)
	all["ascending"], all["descending"] = up, down
	return all
}

// outside counts how often an estimate is further off than the bound of 99 % confidence, and fails if that is more than
// chance allows: with 99 % of n it has five standard deviations.
type outside struct{ asked, missed int }

func (o *outside) count(missed bool) {
	o.asked++
	if missed {
		o.missed++
	}
}

func (o *outside) check(t *testing.T, seed uint64, name string) {
	t.Helper()
	expected := float64(o.asked) / 100
	if float64(o.missed) > expected+5*math.Sqrt(expected)+1 {
		t.Errorf("seed %d, %s: %d of %d are beyond the bound of 99 %%", seed, name, o.missed, o.asked)
	}
}

func TestRanksAndQuantilesAreWithinTheBound(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 3))
	counts := map[string]*[4]outside{}
	for range 120 {
		for name, xs := range streams(r, 5000) {
			if counts[name] == nil {
				counts[name] = new([4]outside)
			}
			c := counts[name]
			s := newKLL(t, 60, r.Uint64())
			for _, x := range xs {
				s.Add(x)
			}
			sorted := slices.Clone(xs)
			slices.Sort(sorted)
			e := s.RankError()
			// One question each, which is what the bound is about, of the median, as the variance is the largest there.
			at := sorted[len(sorted)/2]
			got, err := s.Rank(at)
			if err != nil {
				t.Fatal(err)
			}
			c[0].count(math.Abs(got-shareOf(sorted, at)) > e)
			q := r.Float64()
			lower, upper, err := s.QuantileBounds(q)
			if err != nil {
				t.Fatal(err)
			}
			exact := sorted[rank(q, uint64(len(xs)))-1]
			c[1].count(exact < lower || exact > upper)
			v, err := s.Quantile(q)
			if err != nil {
				t.Fatal(err)
			}
			below := shareOf(sorted, math.Nextafter(v, math.Inf(-1)))
			c[2].count(below > q+e || shareOf(sorted, v) < q-e)
			splits := []float64{}
			for i := 1; i < 16; i++ {
				if x := sorted[i*len(sorted)/16]; len(splits) == 0 || x > splits[len(splits)-1] {
					splits = append(splits, x)
				}
			}
			shares, err := s.PMF(splits)
			if err != nil {
				t.Fatal(err)
			}
			worst, before, sum := 0.0, 0.0, 0.0
			for i, share := range shares {
				end := 1.0
				if i < len(splits) {
					end = shareOf(sorted, splits[i])
				}
				worst = max(worst, math.Abs(share-(end-before)))
				before = end
				sum += share
			}
			if math.Abs(sum-1) > 1e-12 {
				t.Fatalf("seed %d, %s: the shares sum up to %v", seed, name, sum)
			}
			c[3].count(worst > s.RankErrorPMF())
		}
	}
	for name, c := range counts {
		for i, what := range []string{"rank", "bounds", "quantile", "shares"} {
			c[i].check(t, seed, name+", "+what)
		}
	}
}

func TestRankOfAQuantileIsTheQuantile(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 4))
	for name, xs := range streams(r, 20000) {
		s := newKLL(t, 100, r.Uint64())
		s.AddBatch(xs)
		// An item is at most this share of all values, without ties.
		step := float64(uint64(1)<<(s.height-1)) / float64(len(xs))
		before := math.Inf(-1)
		for i := 0; i <= 1000; i++ {
			q := float64(i) / 1000
			v, err := s.Quantile(q)
			if err != nil || v < before {
				t.Fatalf("seed %d, %s: quantile %v is %v after %v: %v", seed, name, q, v, before, err)
			}
			before = v
			above, _ := s.Rank(v)
			below, _ := s.Rank(math.Nextafter(v, math.Inf(-1)))
			if above < q-1e-12 || below > q+step {
				t.Fatalf("seed %d, %s: the rank of quantile %v, %v, is from %v to %v", seed, name, q, v, below, above)
			}
		}
	}
}

func TestWeightedValuesAreWithinTheBoundOfRepeatedOnes(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 5))
	var c [2]outside
	for range 300 {
		weighted, repeated := newKLL(t, 40, r.Uint64()), newKLL(t, 40, r.Uint64())
		const n = 1000
		var below, total uint64
		at := r.Float64()
		for range n {
			x, w := r.Float64(), uint64(r.IntN(1+r.IntN(100)))
			if err := weighted.AddN(x, w); err != nil {
				t.Fatal(err)
			}
			for range w {
				repeated.Add(x)
			}
			total += w
			if x <= at {
				below += w
			}
		}
		checkKLL(t, weighted)
		if weighted.Count() != total || repeated.Count() != total {
			t.Fatalf("seed %d: %v and %v, of %d", seed, weighted, repeated, total)
		}
		exact := float64(below) / float64(total)
		for i, s := range []*KLL{weighted, repeated} {
			got, err := s.Rank(at)
			if err != nil {
				t.Fatal(err)
			}
			c[i].count(math.Abs(got-exact) > s.RankError())
		}
	}
	c[0].check(t, seed, "weighted")
	c[1].check(t, seed, "repeated")
}

func TestHeavyAndLightWeightsTogetherAreWithinTheBound(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 6))
	var c outside
	for range 300 {
		s := newKLL(t, 40, r.Uint64())
		var below, total float64
		at := r.Float64()
		for range 2000 {
			x, w := r.Float64(), uint64(1)<<r.IntN(40)>>r.IntN(20)
			if err := s.AddN(x, w); err != nil {
				t.Fatal(err)
			}
			total += float64(w)
			if x <= at {
				below += float64(w)
			}
		}
		got, err := s.Rank(at)
		if err != nil {
			t.Fatal(err)
		}
		c.count(math.Abs(got-below/total) > s.RankError())
	}
	c.check(t, seed, "weights up to 2^39")
}

func TestAThousandMergedSketchesAreWithinTheBound(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 7))
	const parts, each = 1000, 1000
	values := r.Perm(parts * each)
	one := newKLL(t, DefaultK, r.Uint64())
	pairs := make([]*KLL, parts)
	theirs := newPeer(t, DefaultK)
	for i := range pairs {
		pairs[i] = newKLL(t, DefaultK, r.Uint64())
		part := newPeer(t, DefaultK)
		for _, v := range values[i*each : (i+1)*each] {
			pairs[i].Add(float64(v + 1))
			part.Update(float64(v + 1))
		}
		theirs.Merge(part)
	}
	if err := one.Merge(pairs...); err != nil {
		t.Fatal(err)
	}
	for n := parts; n > 1; n = (n + 1) / 2 {
		for i := range n / 2 {
			if err := pairs[i].Merge(pairs[n-1-i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	peerMean, peerMost := errorsOf(len(values), func(x float64) float64 { v, _ := theirs.GetRank(x, true); return v })
	for name, s := range map[string]*KLL{"in turn": one, "in pairs": pairs[0]} {
		checkKLL(t, s)
		mean, most := errorsOf(len(values), func(x float64) float64 { v, _ := s.Rank(x); return v })
		t.Logf("%s: %v: mean error %.4f %%, largest %.4f %%; DataSketches %.4f %%, %.4f %%", name, s, 100*mean, 100*most, 100*peerMean, 100*peerMost)
		if s.Count() != parts*each || most > 2*s.RankErrorPMF() || mean > s.RankError() {
			t.Errorf("seed %d, %s: %v: mean error %v, largest %v", seed, name, s, mean, most)
		}
		low, _ := s.Min()
		high, _ := s.Max()
		if low != 1 || high != parts*each {
			t.Errorf("seed %d, %s: from %v to %v", seed, name, low, high)
		}
	}
}
