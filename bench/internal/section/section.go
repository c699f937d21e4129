// Package section lets several programs write one file, each its own part of it.
package section

import (
	"fmt"
	"os"
	"strings"
)

// Replace sets the part of a Markdown file that stands between the comments <!-- name --> and <!-- end of name -->, which it adds at the end of a file that has none.
func Replace(file, name, text string) error {
	old, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	from, to := fmt.Sprintf("<!-- %s -->\n", name), fmt.Sprintf("<!-- end of %s -->\n", name)
	before, rest, ok := strings.Cut(string(old), from)
	after := ""
	if ok {
		if _, after, ok = strings.Cut(rest, to); !ok {
			return fmt.Errorf("%s: %q has no %q after it", file, strings.TrimSpace(from), strings.TrimSpace(to))
		}
	} else if before != "" {
		before = strings.TrimRight(before, "\n") + "\n\n"
	}
	return os.WriteFile(file, []byte(before+from+strings.TrimRight(text, "\n")+"\n"+to+after), 0o644)
}
