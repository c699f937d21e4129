package section

import (
	"os"
	"path/filepath"
	"testing"
)

func TestEachProgramKeepsItsSection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.md")
	f := func(name, text, want string) {
		t.Helper()
		if err := Replace(file, name, text); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	f("a", "one\n\n", "<!-- a -->\none\n<!-- end of a -->\n")
	f("b", "two", "<!-- a -->\none\n<!-- end of a -->\n\n<!-- b -->\ntwo\n<!-- end of b -->\n")
	f("a", "three", "<!-- a -->\nthree\n<!-- end of a -->\n\n<!-- b -->\ntwo\n<!-- end of b -->\n")
	if err := os.WriteFile(file, []byte("<!-- a -->\nthree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Replace(file, "a", "four"); err == nil {
		t.Error("a section without an end was replaced")
	}
}
