package dp

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Nothing that sees records may draw bits that are not the system's: only the rehearsals of "auto", on records that are made up, have others, so that a choice is the same each time. Tests are free to.
func TestOnlyRehearsalsDrawOtherBits(t *testing.T) {
	files, seen := 0, map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		if d.IsDir() && (path == "../bench" || path != ".." && strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		files++
		for _, i := range f.Imports {
			if strings.HasPrefix(strings.Trim(i.Path.Value, `"`), "math/rand") && strings.HasPrefix(path, "../dp/") {
				seen[path] = true
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name == "NewFrom" && path != "../dp/exact/generator.go" {
				seen[path] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 || len(seen) != 1 || !seen["../dp/auto.go"] {
		t.Errorf("of %d files, those that may draw other bits are %v, want ../dp/auto.go alone", files, seen)
	}
}
