package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

// visits are 3000 visitors of a park and of a museum, and one of a label that nobody else has. Visitor i comes i%5+1 times, for i%60 minutes.
func visits() string {
	var b strings.Builder
	b.WriteString("visitor,place,town,minutes\n")
	for i := range 3000 {
		for visit := range i%5 + 1 {
			place := "park"
			if visit%2 == 1 {
				place = "museum"
			}
			fmt.Fprintf(&b, "v%d,%s,\"Bern, CH\",%d\n", i, place, i%60)
		}
	}
	return b.String() + "v0,secret garden,Bern,7\n"
}

type groupsPrinted struct {
	Epsilon float64
	Delta   float64
	Unit    string
	Groups  []struct {
		Labels    []string
		Count     *int64
		Quantiles []struct{ Value float64 }
	}
}

func groupsOf(t *testing.T, args ...string) groupsPrinted {
	t.Helper()
	var r groupsPrinted
	out := succeed(t, visits(), append([]string{"release", "-", "--column", "minutes", "-q", "0.5", "--min", "0", "--max", "60", "--format", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGroupsAppearIfEnoughUnitsHaveTheirLabels(t *testing.T) {
	r := groupsOf(t, "--by", "place,town", "--unit-column", "visitor", "--contributions", "2", "--epsilon", "30", "--delta", "1e-9")
	if r.Epsilon != 30 || r.Delta != 1e-9 || r.Unit != "user" || len(r.Groups) != 2 {
		t.Fatalf("%+v", r)
	}
	// Of each visitor the first two visits are taken: 3000 to the park, 2400 to the museum.
	for i, want := range []struct {
		place string
		n     int64
	}{{"museum", 2400}, {"park", 3000}} {
		g := r.Groups[i]
		if g.Labels[0] != want.place || g.Labels[1] != "Bern, CH" || math.Abs(float64(*g.Count-want.n)) > 40 || math.Abs(g.Quantiles[0].Value-30) > 2 {
			t.Errorf("group %d is %+v with %d, want %+v", i, g, *g.Count, want)
		}
	}
}

func TestAUnitsGroupsAreBounded(t *testing.T) {
	r := groupsOf(t, "--by", "place", "--unit-column", "visitor", "--contributions", "5", "--groups-per-unit", "1", "--epsilon", "100", "--delta", "1e-9")
	// Everybody comes to the park first: one visit of 3000, two of the 1800 who come three times, three of 600.
	if len(r.Groups) != 1 || r.Groups[0].Labels[0] != "park" || math.Abs(float64(*r.Groups[0].Count)-5400) > 40 {
		t.Errorf("%+v", r.Groups)
	}
}

// Without groups the unit column bounds what is taken of a unit.
func TestTheUnitColumnBoundsContributions(t *testing.T) {
	in := "who,x\n" + strings.Repeat("a,1\n", 1000) + strings.Repeat("b,9\nc,9\nd,9\ne,9\n", 3)
	var r struct {
		Unit      string
		Quantiles []struct{ Value float64 }
	}
	args := []string{"release", "-", "--column", "x", "-q", "0.5", "--epsilon", "900", "--min", "0", "--max", "10", "--format", "json", "--unit-column", "who"}
	if err := json.Unmarshal([]byte(succeed(t, in, args...)), &r); err != nil {
		t.Fatal(err)
	}
	if r.Unit != "user" || math.Floor(r.Quantiles[0].Value) != 9 {
		t.Errorf("%+v", r)
	}
}

func TestWrongGroupFlagsAreNamed(t *testing.T) {
	f := func(args []string, texts ...string) {
		t.Helper()
		fail(t, exitUsage, "a,b\n1,2\n", append([]string{"release", "-", "-q", "0.5", "--epsilon", "1", "--min", "0", "--max", "9"}, args...), texts...)
	}
	f([]string{"--by", "a"}, "--by", "--column")
	f([]string{"--column", "b", "--by", "a"}, "delta 0")
	f([]string{"--column", "b", "--by", "a", "--delta", "2"}, "--delta", `delta "2"`)
	f([]string{"--column", "b", "--by", "a", "--delta", "0.1", "--contributions", "2"}, "--by", "--unit-column")
	f([]string{"--column", "b", "--by", "c", "--delta", "0.1"}, `"c"`)
	f([]string{"--column", "b", "--by", "a", "--delta", "0.1", "--selection-share", "1"}, "--selection-share 1")
	f([]string{"--column", "b", "--by", "a", "--delta", "0.1", "--selection-share", "0.5", "--count-share", "0.6"}, "epsilon")
	f([]string{"--column", "b", "--by", "a", "--delta", "0.1", "--selection-share", "0"}, "selection 0")
	f([]string{"--column", "b", "--by", "a", "--delta", "0.1", "--groups-per-unit", "2"}, "groups per unit 2")
}

func TestLabelsAreNotMixedUp(t *testing.T) {
	in := "a,b,x\n" + strings.Repeat("1,2:3,5\n1:2,3,5\n,,5\n", 500)
	var r groupsPrinted
	out := succeed(t, in, "release", "-", "--column", "x", "--by", "a,b", "-q", "0.5", "--epsilon", "20", "--delta", "1e-6", "--count-share", "0", "--format", "json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range r.Groups {
		got = append(got, strings.Join(g.Labels, "|"))
		if g.Count != nil {
			t.Errorf("a size is released: %d", *g.Count)
		}
	}
	if strings.Join(got, " ") != "| 1|2:3 1:2|3" {
		t.Errorf("groups %q", got)
	}
}

func TestUnitsAreWhoTheyAreWhateverTheSpaceAround(t *testing.T) {
	in := "who,x\n" + strings.Repeat("ann,1\n ann,1\nann  ,1\n", 300) + "b,9\nc,9\nd,9\ne,9\n"
	args := []string{"release", "-", "--column", "x", "-q", "0.5", "--epsilon", "900", "--min", "0", "--max", "10", "--unit-column", "who"}
	if got := succeed(t, in, append(args, "--format", "csv")...); !strings.Contains(got, ",0.5,9") {
		t.Errorf("ann is not one:\n%s", got)
	}
	fail(t, exitFailed, "who,x\na,1\n ,2\n", args, "line 3", "unit is empty")
}
