package histplot

import (
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
)

// roundTicks are some six ticks at round numbers.
type roundTicks struct{}

// Ticks returns ticks at multiples of 1, 2 or 5 times a power of ten, labelled with the prefixes k, M, G, T of 1000 and more.
func (roundTicks) Ticks(least, most float64) []plot.Tick {
	width := (most - least) / 6
	if !(width > 0) || math.IsInf(width, 0) {
		return []plot.Tick{{Value: least, Label: shortNumber(least)}}
	}
	unit := math.Pow(10, math.Floor(math.Log10(width)))
	switch times := width / unit; {
	case times > 5:
		unit *= 10
	case times > 2:
		unit *= 5
	case times > 1:
		unit *= 2
	}
	var ticks []plot.Tick
	for k := math.Ceil(least/unit - 1e-9); k*unit <= most+1e-9*unit; k++ {
		value := k * unit
		if per := math.Round(1 / unit); unit < 1 && per < 1<<53 {
			value = k / per
		}
		ticks = append(ticks, plot.Tick{Value: value, Label: shortNumber(value)})
	}
	return ticks
}

// shortNumber returns a number as it is written beside an axis.
func shortNumber(x float64) string {
	abs := math.Abs(x)
	for _, p := range []struct {
		size   float64
		prefix string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		size := p.size
		if p.prefix == "k" {
			size = 1e3 // but 1000 to 9999 are as short without
		}
		if abs >= p.size && abs < 1e15 {
			return plain(x/size) + p.prefix
		}
	}
	return plain(x)
}

// plain returns a number with at most six digits.
func plain(x float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 6, 64), 64)
	if err != nil {
		return strconv.FormatFloat(x, 'g', 6, 64)
	}
	text := strconv.FormatFloat(rounded, 'g', -1, 64)
	if abs := math.Abs(rounded); abs >= 1e-4 && abs < 1e6 || abs == 0 {
		text = strconv.FormatFloat(rounded+0, 'f', -1, 64) // -0 is 0
	}
	return text
}

// byteTicks returns ticks at powers of two, of which some are labelled, such as 4 KiB.
func byteTicks(least, most float64) []plot.Tick {
	units := []string{" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"}
	const rounding = 1e-9
	first, last := max(0, math.Ceil(math.Log2(least)-rounding)), math.Floor(math.Log2(most)+rounding)
	step := 10
	for _, s := range []int{5, 2, 1} {
		if last-first < float64(9*s) {
			step = s
		}
	}
	var ticks []plot.Tick
	for k := int(first); k <= int(last); k++ {
		t := plot.Tick{Value: math.Ldexp(1, k)}
		if k%step == 0 && k/10 < len(units) {
			t.Label = strconv.Itoa(1<<(k%10)) + units[k/10]
		}
		ticks = append(ticks, t)
	}
	return ticks
}

// The lengths of time that durationTicks names, in seconds. A year is 365.25 days.
const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
	year   = 365.25 * day
)

// mark is a place on an axis with its name. Names of units are more important than those of several.
type mark struct {
	value float64
	name  string
	unit  bool
}

// durationMarks returns lengths of time that have names, in seconds, from 1 ns to 1000 years.
func durationMarks() []mark {
	var marks []mark
	for i, unit := range []string{" ns", " µs", " ms"} {
		for k, name := range []string{"1", "10", "100"} {
			marks = append(marks, mark{math.Pow(10, float64(3*i+k-9)), name + unit, k == 0})
		}
	}
	return append(marks,
		mark{1, "1 s", true}, mark{10, "10 s", false}, mark{minute, "1 min", true}, mark{10 * minute, "10 min", false}, mark{hour, "1 h", true}, mark{6 * hour, "6 h", false},
		mark{day, "1 d", true}, mark{7 * day, "7 d", false}, mark{30 * day, "30 d", false}, mark{year, "1 y", true}, mark{10 * year, "10 y", false}, mark{100 * year, "100 y", false}, mark{1000 * year, "1000 y", false})
}

// durationTicks returns ticks at the marks, labelled where there is room: units first.
func durationTicks(least, most float64) []plot.Tick {
	const rounding = 1e-9
	room := math.Log(most/least) / 12
	var (
		ticks    []plot.Tick
		marks    []mark
		labelled []float64
	)
	for _, m := range durationMarks() {
		if m.value >= least*(1-rounding) && m.value <= most*(1+rounding) {
			marks, ticks = append(marks, m), append(ticks, plot.Tick{Value: m.value})
		}
	}
	for _, units := range []bool{true, false} {
		for i, m := range marks {
			crowded := slices.ContainsFunc(labelled, func(x float64) bool { return math.Abs(math.Log(x/m.value)) < room })
			if m.unit == units && !crowded {
				ticks[i].Label = m.name
				labelled = append(labelled, m.value)
			}
		}
	}
	return ticks
}
