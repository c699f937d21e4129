package histogram

import (
	"math"
	"slices"
	"sort"
	"testing"
)

const trials = 300

func TestMergingBucketsNeverLowersKSDCCOrEMDCC(t *testing.T) {
	rng := random(t)
	for range trials {
		h := randomHistogram(rng)
		ks, emd := must[float64](t)(h.KSDCC()), must[float64](t)(h.EMDCC())
		merged := []*Histogram{
			must[*Histogram](t)(h.MergeBuckets(1 + rng.IntN(4))),
			must[*Histogram](t)(h.MergeBucketsTo(1 + rng.IntN(6))),
			must[*Histogram](t)(h.Rebin(1 + rng.IntN(h.Len()))),
			must[*Histogram](t)(h.RebinLeastSquares(1 + rng.IntN(h.Len()))),
		}
		breaks := h.Breaks[:1:1]
		for _, b := range h.Breaks[1:h.Len()] {
			if rng.IntN(2) == 0 {
				breaks = append(breaks, b)
			}
		}
		merged = append(merged, must[*Histogram](t)(h.MergeBucketsAt(append(breaks, h.Breaks[h.Len()]))))
		for _, m := range merged {
			if m.Count() != h.Count() {
				t.Errorf("%v merged to %v", h, m)
			}
			if got := must[float64](t)(m.KSDCC()); got < ks {
				t.Errorf("KSDCC %v of %v is less than %v of %v", got, m, ks, h)
			}
			if got := must[float64](t)(m.EMDCC()); got < emd-1e-15 {
				t.Errorf("EMDCC %v of %v is less than %v of %v", got, m, emd, h)
			}
		}
	}
}

// share returns which share of sorted values is at most x.
func share(sorted []float64, x float64) float64 {
	return float64(sort.Search(len(sorted), func(i int) bool { return sorted[i] > x })) / float64(len(sorted))
}

// asked returns breaks, values, and what is between and beyond.
func asked(h *Histogram, sorted []float64) []float64 {
	xs := append(slices.Clone(h.Breaks), sorted...)
	for i := range h.Counts {
		xs = append(xs, h.Midpoint(i))
	}
	for _, x := range slices.Clone(xs) {
		xs = append(xs, math.Nextafter(x, math.Inf(1)), math.Nextafter(x, math.Inf(-1)))
	}
	return append(xs, math.Inf(-1), math.Inf(1))
}

func TestBoundsContainTheShareOfTheValuesThatWereCounted(t *testing.T) {
	rng := random(t)
	for range trials {
		values := randomValues(rng, randomHistogram(rng))
		breaks := randomBreaks(rng, 1+rng.IntN(9))
		breaks = append([]float64{min(breaks[0], slices.Min(values)) - 1}, breaks...)
		breaks = append(breaks, max(breaks[len(breaks)-1], slices.Max(values))+1)
		h := must[*Histogram](t)(FromValues(values, breaks, ""))
		// Buckets with their lower break count the mirrored values as those with the upper one do.
		mirrored := &Histogram{Breaks: slices.Clone(breaks), Counts: make([]float64, h.Len())}
		for _, x := range values {
			at, found := slices.BinarySearch(breaks, x)
			if !found {
				at--
			}
			mirrored.Counts[min(at, h.Len()-1)]++
		}
		slices.Sort(values)
		for _, h := range []*Histogram{h, mirrored} {
			e := must[*ECDF](t)(h.ECDF(Linear()))
			low, high := must[*ECDF](t)(h.ECDF(Constant(0))), must[*ECDF](t)(h.ECDF(Constant(1)))
			for _, x := range asked(h, values) {
				truth := share(values, x)
				if l, u := e.Bounds(x); l > truth || u < truth {
					t.Errorf("at %v: %v to %v, and the values have %v; %v", x, l, u, truth, h)
				}
				if slices.Contains(h.Breaks, x) {
					continue // there all agree, and count as buckets with their upper breaks do
				}
				if low.At(x) > truth || high.At(x) < truth || e.At(x) < low.At(x) || e.At(x) > high.At(x) {
					t.Errorf("at %v: %v, %v and %v, and the values have %v", x, low.At(x), e.At(x), high.At(x), truth)
				}
			}
		}
		e := must[*ECDF](t)(h.ECDF(Linear()))
		for _, b := range h.Breaks[1:] {
			if got := e.At(b); got != share(values, b) {
				t.Errorf("at break %v: %v, and the values have %v", b, got, share(values, b))
			}
		}
	}
}

func TestDataSetsOfOneHistogramAreWithinItsKSDCCAndEMDCC(t *testing.T) {
	rng := random(t)
	for range trials {
		h := randomHistogram(rng)
		a, b := randomValues(rng, h), randomValues(rng, h)
		if rng.IntN(3) == 0 { // as far apart as they can be: at the lower ends, or next to them
			a, b = nil, nil
			for i, c := range h.Counts {
				for range int(c) {
					a, b = append(a, math.Nextafter(h.Breaks[i], math.Inf(1))), append(b, h.Breaks[i+1])
				}
			}
		}
		ks, emd := distancesOf(a, b)
		if most := must[float64](t)(h.KSDCC()); ks > most+1e-12 {
			t.Errorf("values are %v apart, more than %v: %v", ks, most, h)
		}
		width := h.Breaks[h.Len()] - h.Breaks[0]
		if most := must[float64](t)(h.EMDCC()); emd/width > most+1e-12 {
			t.Errorf("values are %v apart, more than %v: %v", emd/width, most, h)
		}
	}
}

// distancesOf returns the largest difference of the distribution functions of values, and the area between them.
func distancesOf(a, b []float64) (most, area float64) {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	xs := slices.Sorted(slices.Values(append(slices.Clone(a), b...)))
	for i, x := range xs {
		d := math.Abs(share(a, x) - share(b, x))
		most = max(most, d)
		if i+1 < len(xs) {
			area += d * (xs[i+1] - x)
		}
	}
	return most, area
}

// A distance claims to be symmetric, and a metric, or not.
type distance struct {
	of                func(a, b *Histogram) (float64, error)
	symmetric, metric bool
	most              float64
}

var distances = map[string]distance{
	"intersection":          {Intersection, false, false, 1},
	"Kullback–Leibler":      {KullbackLeibler, false, false, math.Inf(1)},
	"Jeffrey":               {Jeffrey, true, false, 2 * math.Ln2},
	"total variation":       {TotalVariation, true, true, 1},
	"Hellinger":             {Hellinger, true, true, 1},
	"Kolmogorov–Smirnov":    {KolmogorovSmirnov, true, true, 1},
	"Wasserstein":           {Wasserstein, true, true, math.Inf(1)},
	"Manhattan":             {minkowski(1), true, true, math.Inf(1)},
	"Euclidean":             {minkowski(2), true, true, math.Inf(1)},
	"Minkowski 3.5":         {minkowski(3.5), true, true, math.Inf(1)},
	"largest difference":    {minkowski(math.Inf(1)), true, true, math.Inf(1)},
	"the root of Jeffrey's": {rootOfJeffrey, true, true, math.Sqrt(2 * math.Ln2)},
	"Minkowski 1/2":         {minkowski(0.5), true, false, math.Inf(1)},
}

func minkowski(p float64) func(a, b *Histogram) (float64, error) {
	return func(a, b *Histogram) (float64, error) { return Minkowski(a, b, p) }
}

func rootOfJeffrey(a, b *Histogram) (float64, error) {
	d, err := Jeffrey(a, b)
	return math.Sqrt(d), err
}

func TestDistancesAreMetricsWhereTheyClaimToBe(t *testing.T) {
	for name, d := range distances {
		t.Run(name, func(t *testing.T) {
			rng := random(t)
			broken := false // some triangle
			for range trials {
				breaks := randomBreaks(rng, 1+rng.IntN(6))
				a, b, c := randomOn(rng, breaks), randomOn(rng, breaks), randomOn(rng, breaks)
				of := func(a, b *Histogram) float64 { return must[float64](t)(d.of(a, b)) }
				ab, bc, ac := of(a, b), of(b, c), of(a, c)
				tolerance := 1e-12 * (ab + bc)
				if got := of(a, a); math.Abs(got) > 1e-7 { // a root of what is rounded
					t.Errorf("%v of a histogram from itself: %v", got, a)
				}
				if ab < 0 || ab > d.most+tolerance || math.IsNaN(ab) {
					t.Errorf("%v between %v and %v", ab, a, b)
				}
				if d.symmetric && math.Abs(ab-of(b, a)) > tolerance {
					t.Errorf("%v and %v between %v and %v", ab, of(b, a), a, b)
				}
				p, q, err := pairOfShares(a, b)
				if err != nil {
					t.Fatal(err)
				}
				if apart, _ := distanceOfShares(p, q); d.metric && apart > 1e-9 && !(ab > 0) {
					t.Errorf("%v between %v and %v, which differ", ab, a, b)
				}
				if d.metric && ac > ab+bc+tolerance {
					t.Errorf("%v is more than %v and %v: %v, %v, %v", ac, ab, bc, a, b, c)
				}
				broken = broken || ac > ab+bc+tolerance
			}
			if broken == d.metric {
				t.Errorf("that a triangle is broken is %v, and that it is a metric %v", broken, d.metric)
			}
		})
	}
}

func distanceOfShares(p, q []float64) (most float64, at int) {
	for i := range p {
		if d := math.Abs(p[i] - q[i]); d > most {
			most, at = d, i
		}
	}
	return most, at
}

func TestDistancesAreKnownForSmallHistograms(t *testing.T) {
	a, b := of([]float64{0, 1, 3}, 1, 3), of([]float64{0, 1, 3}, 3, 1)
	f := func(name string, want float64) {
		t.Helper()
		if got := must[float64](t)(distances[name].of(a, b)); !near(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	f("total variation", 0.5)
	f("Kolmogorov–Smirnov", 0.5)
	f("Wasserstein", 0.5*3/2) // a triangle of height 0.5 over 3
	f("Hellinger", math.Sqrt(0.5*2*math.Pow(math.Sqrt(0.75)-0.5, 2)))
	f("intersection", 0.5)
	f("Kullback–Leibler", 0.5*math.Log(3))
	f("Euclidean", math.Sqrt(8))
	f("largest difference", 2)
	// The functions cross in the second bucket: 0.25 ahead at 1, 0.25 behind at 2.
	a, b = of([]float64{0, 1, 2, 3}, 2, 0, 2), of([]float64{0, 1, 2, 3}, 1, 2, 1)
	f("Wasserstein", 0.125+0.125+0.125)
	a, b = of([]float64{0, 1, 2}, 0, 1), of([]float64{0, 1, 2}, 1, 0)
	f("Kullback–Leibler", math.Inf(1))
	f("Jeffrey", 2*math.Ln2)
	f("Hellinger", 1)
}

func TestRebinningIsAsGoodAsTheBestOfAllChoices(t *testing.T) {
	rng := random(t)
	for range trials {
		h := randomHistogram(rng)
		n, k := h.Len(), 1+rng.IntN(h.Len())
		leastEMD, leastSquares := math.Inf(1), math.Inf(1)
		for choice := range 1 << (n - 1) {
			var ends []int
			for i := range n - 1 {
				if choice>>i&1 != 0 {
					ends = append(ends, i+1)
				}
			}
			if ends = append(ends, n); len(ends) == k {
				m := h.merge(ends)
				leastEMD = min(leastEMD, must[float64](t)(m.EMDCC()))
				leastSquares = min(leastSquares, squaredError(h, m))
			}
		}
		emd, squares := must[*Histogram](t)(h.Rebin(k)), must[*Histogram](t)(h.RebinLeastSquares(k))
		if got := must[float64](t)(emd.EMDCC()); emd.Len() != k || got > leastEMD+1e-12 {
			t.Errorf("%v, of %v: EMDCC %v, and %v is possible", emd, h, got, leastEMD)
		}
		if got := squaredError(h, squares); squares.Len() != k || got > leastSquares+1e-12 {
			t.Errorf("%v, of %v: squared error %v, and %v is possible", squares, h, got, leastSquares)
		}
	}
}

// squaredError returns the integral of the squared difference of the densities of a histogram and of one that it was merged to.
func squaredError(h, merged *Histogram) float64 {
	sum, at := 0.0, 0
	total := h.Count()
	for i, c := range h.Counts {
		lower, upper := h.Bounds(i)
		for merged.Breaks[at+1] < upper {
			at++
		}
		d := c/(upper-lower)/total - merged.Counts[at]/(merged.Breaks[at+1]-merged.Breaks[at])/total
		sum += d * d * (upper - lower)
	}
	return sum
}

func TestRebinningWithoutATableFindsTheSame(t *testing.T) {
	rng := random(t)
	for range trials {
		h := randomOn(rng, randomBreaks(rng, 2+rng.IntN(60)))
		k := 1 + rng.IntN(h.Len())
		l := newSquaresLayer(h)
		tabled := h.merge(partitioner{l.cost, l.solve, tableSize}.split(0, h.Len(), k, nil))
		halved := h.merge(partitioner{l.cost, l.solve, 8}.split(0, h.Len(), k, nil))
		if a, b := squaredError(h, tabled), squaredError(h, halved); halved.Len() != k || math.Abs(a-b) > 1e-12 {
			t.Errorf("squared errors %v and %v in %d buckets of %v", a, b, k, h)
		}
	}
}

func TestBeginningsThatAreDroppedNeverBecomeBest(t *testing.T) {
	rng := random(t)
	shapes := []func(x float64) float64{
		func(float64) float64 { return float64(rng.IntN(50)) },
		func(x float64) float64 { return math.Round(1000 * x) },
		func(x float64) float64 { return math.Round(1000 * math.Exp(-5*x)) },
		func(x float64) float64 { return math.Round(500 * (1 + math.Sin(9*x) + 0.1*rng.Float64())) },
	}
	for trial := range 40 {
		n := 20 + rng.IntN(60)
		k := 2 + rng.IntN(12)
		h := randomOn(rng, randomBreaks(rng, n))
		for i := range h.Counts {
			h.Counts[i] = shapes[trial%len(shapes)](float64(i) / float64(n))
		}
		h.Counts[0]++
		l := newSquaresLayer(h)
		least := make([]float64, n+1) // for each end, with one bucket more in each round
		for j := range least {
			least[j] = math.Inf(1)
		}
		least[0] = 0
		for range k {
			next := make([]float64, n+1)
			for j := range next {
				next[j] = math.Inf(1)
				for i := range j {
					next[j] = min(next[j], least[i]+l.cost(i, j))
				}
			}
			least = next
		}
		for _, table := range []int{tableSize, 8} {
			cost, from := 0.0, 0
			for _, end := range (partitioner{l.cost, l.solve, table}).split(0, n, k, nil) {
				cost += l.cost(from, end)
				from = end
			}
			if cost > least[n]+1e-12 {
				t.Errorf("%d buckets cost %v, and %v is possible: %v", k, cost, least[n], h)
			}
		}
		whole, total := h.Breaks[n]-h.Breaks[0], h.Count()
		got := must[*Histogram](t)(h.RebinLeastSquares(k))
		if cost := squaredError(h, got) * whole; got.Len() != k || cost > least[n]+1e-9*l.cost(0, n) {
			t.Errorf("%d buckets cost %v, and %d may cost %v, of %v values: %v", got.Len(), cost, k, least[n], total, h)
		}
	}
}

func TestBucketsWithoutAPriceAreFoundByAllLayers(t *testing.T) {
	rng := random(t)
	priced, unpriced := 0, 0
	for range trials {
		h := randomHistogram(rng)
		k := 1 + rng.IntN(h.Len())
		l := newSquaresLayer(h)
		layered := h.merge(partitioner{l.cost, l.solve, tableSize}.split(0, h.Len(), k, nil))
		if ends, _ := l.splitByPrice(k); ends == nil {
			unpriced++
		} else if m := h.merge(ends); m.Len() != k || squaredError(h, m) > squaredError(h, layered)+1e-12 {
			t.Errorf("%v by price, and %v is possible: %v", m, layered, h)
		} else {
			priced++
		}
	}
	if priced < 20 || unpriced < 20 {
		t.Errorf("%d choices had a price and %d had none", priced, unpriced)
	}
}

func TestAddingOntoOtherBreaksLosesNoMoreThanItSays(t *testing.T) {
	rng := random(t)
	added := false
	for range trials {
		var hs []*Histogram
		var values []float64
		for range 1 + rng.IntN(4) {
			h := randomHistogram(rng)
			hs = append(hs, h)
			values = append(values, randomValues(rng, h)...)
		}
		union, common := must[[]float64](t)(UnionBreaks(hs...)), must[[]float64](t)(CommonBreaks(hs...))
		other := append([]float64{union[0]}, union[len(union)-1])
		for range rng.IntN(5) {
			other = append(other, union[0]+rng.Float64()*(union[len(union)-1]-union[0]))
		}
		slices.Sort(other)
		for i, breaks := range [][]float64{union, common, slices.Compact(other)} {
			sum, loss, err := AddOnto(breaks, hs...)
			if err != nil {
				t.Fatal(err)
			}
			total := 0.0
			for _, h := range hs {
				total += h.Count()
			}
			if !near(sum.Count(), total) {
				t.Errorf("%v counts %v, want %v", sum, sum.Count(), total)
			}
			if i == 1 && slices.ContainsFunc(sum.Counts, func(c float64) bool { return c != math.Trunc(c) }) {
				t.Errorf("%v on common breaks has parts of counts", sum)
			}
			// Values as the sum counts them: the share of each bucket anywhere in it, here at one end.
			for _, upper := range []bool{false, true} {
				ks, emd := 0.0, 0.0
				xs := slices.Sorted(slices.Values(append(append(slices.Clone(values), sum.Breaks...), union...)))
				sorted := slices.Sorted(slices.Values(values))
				for j, x := range xs[:len(xs)-1] {
					if x == xs[j+1] {
						continue
					}
					counted := 0.0
					for k, c := range sum.Counts {
						if upper && sum.Breaks[k+1] <= x || !upper && sum.Breaks[k] <= x {
							counted += c
						}
					}
					d := math.Abs(counted/total - share(sorted, x))
					ks = max(ks, d)
					emd += d * (xs[j+1] - x) / (union[len(union)-1] - union[0])
				}
				if ks > loss.KSDCC+1e-9 || emd > loss.EMDCC+1e-9 {
					t.Errorf("values are %v and %v apart, more than %+v says: %v of %v", ks, emd, loss, sum, hs)
				}
			}
			if loss.AddedKSDCC < 0 || loss.AddedKSDCC > loss.KSDCC || loss.AddedEMDCC < 0 || loss.AddedEMDCC > loss.EMDCC {
				t.Errorf("%+v", loss)
			}
			added = added || loss.AddedKSDCC > 0 && loss.AddedEMDCC > 0
		}
	}
	if !added {
		t.Error("other breaks never cost anything")
	}
}

func TestAddingOntoEqualBreaksLosesWhatTheSumDoes(t *testing.T) {
	rng := random(t)
	for range trials {
		breaks := randomBreaks(rng, 1+rng.IntN(9))
		a, b := randomOn(rng, breaks), randomOn(rng, breaks)
		sum, loss, err := AddOnto(breaks, a, b)
		if err != nil {
			t.Fatal(err)
		}
		if want := must[*Histogram](t)(Add(a, b)); !sum.Equal(want) {
			t.Errorf("%v, want %v", sum, want)
		}
		if ks := must[float64](t)(sum.KSDCC()); !near(loss.KSDCC, ks) || loss.AddedKSDCC != 0 {
			t.Errorf("%+v, want %v", loss, ks)
		}
		if emd := must[float64](t)(sum.EMDCC()); math.Abs(loss.EMDCC-emd) > 1e-12 || loss.AddedEMDCC != 0 {
			t.Errorf("%+v, want %v", loss, emd)
		}
	}
}

func TestCommonBreaksAreThoseThatCutNothing(t *testing.T) {
	f := func(want []float64, breaks ...[]float64) {
		t.Helper()
		var hs []*Histogram
		for _, b := range breaks {
			hs = append(hs, of(b, make([]float64, len(b)-1)...))
		}
		if got := must[[]float64](t)(CommonBreaks(hs...)); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	f([]float64{0, 1, 2}, []float64{0, 1, 2})
	f([]float64{0, 2, 4}, []float64{0, 1, 2, 4}, []float64{0, 2, 3, 4})
	f([]float64{0, 1, 2, 3}, []float64{0, 1}, []float64{2, 3})
	f([]float64{0, 1, 4, 5}, []float64{0, 1, 3}, []float64{2, 4, 5})
	f([]float64{0, 3}, []float64{0, 1, 3}, []float64{0, 2, 3})
	f([]float64{math.Inf(-1), 0, math.Inf(1)}, []float64{math.Inf(-1), 0, 1}, []float64{0, math.Inf(1)})
}

func TestTheInverseUndoesTheDistributionFunction(t *testing.T) {
	rng := random(t)
	for range trials {
		h := randomHistogram(rng)
		e := must[*ECDF](t)(h.ECDF(Linear()))
		for range 20 {
			p := rng.Float64()
			x := must[float64](t)(e.Inverse(p))
			if got := e.At(x); math.Abs(got-p) > 1e-12 {
				t.Errorf("share up to the inverse %v of %v is %v: %v", x, p, got, h)
			}
			low, high := must[*ECDF](t)(h.ECDF(Constant(0))), must[*ECDF](t)(h.ECDF(Constant(1)))
			if a, b := must[float64](t)(low.Inverse(p)), must[float64](t)(high.Inverse(p)); !(a <= x && x <= b && a < b) || !slices.Contains(h.Breaks, a) || !slices.Contains(h.Breaks, b) {
				t.Errorf("the inverse %v of %v is not within %v and %v", x, p, a, b)
			}
		}
	}
}

func TestTheShiftedHistogramIsADensityUnlessItIsCut(t *testing.T) {
	rng := random(t)
	for range trials {
		n, m := 1+rng.IntN(30), 1+rng.IntN(9)
		h := of(make([]float64, n+1), make([]float64, n)...)
		for i := range h.Breaks {
			h.Breaks[i] = 0.5 * float64(i)
		}
		for range 5 {
			h.Counts[rng.IntN(n)]++
		}
		inside := true
		for i, c := range h.Counts {
			inside = inside && (c == 0 || i >= m-1 && i+m-1 < n)
		}
		d := must[*Density](t)(h.AverageShifted(m, Kernel{}))
		area := 0.0
		for _, y := range d.Y {
			area += 0.5 * y
		}
		if d.Cut == inside || inside && math.Abs(area-1) > 1e-6 || !inside && !(area < 1) {
			t.Errorf("the area with m = %d is %v, cut %v: %v", m, area, d.Cut, h)
		}
	}
}
