package histogram

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

func TestEveryExportedFunctionHasAnExample(t *testing.T) {
	for _, dir := range []string{".", "histplot"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		declared, examples := []string{}, map[string]bool{}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), dir+"/"+e.Name(), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				switch {
				case !ok:
				case strings.HasPrefix(f.Name.Name, "Example"):
					examples[f.Name.Name] = true
				case strings.HasSuffix(e.Name(), "_test.go") || !f.Name.IsExported():
				case f.Recv == nil:
					declared = append(declared, "Example"+f.Name.Name)
				case ast.IsExported(receiver(f)):
					declared = append(declared, "Example"+receiver(f)+"_"+f.Name.Name)
				}
			}
		}
		if len(declared) < 10 {
			t.Errorf("%s: only %v are declared", dir, declared)
		}
		for _, name := range declared {
			if !examples[name] {
				t.Errorf("%s: there is no %s", dir, name)
			}
		}
	}
}

// receiver returns the name of the type of a method's receiver.
func receiver(f *ast.FuncDecl) string {
	kind := f.Recv.List[0].Type
	if pointer, ok := kind.(*ast.StarExpr); ok {
		kind = pointer.X
	}
	if name, ok := kind.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}
