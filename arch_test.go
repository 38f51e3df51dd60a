package clusterkit_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/skshohagmiah/clusterkit"

// rooms lists, for every package, the packages of this module that it may
// import. An arrow that is not here is a mistake, or a decision to be made in
// ARCHITECTURE.md first.
var rooms = map[string][]string{
	"":                    {"topology", "ring", "gossip", "peer", "raftstore", "rebalance", "hooks", "lease", "http", "internal/certs"},
	"topology":            {},
	"ring":                {},
	"rebalance/placement": {"ring"},
	"rebalance":           {"topology", "ring", "rebalance/placement"},
	"gossip":              {"topology", "ring"},
	"peer":                {"topology", "ring"},
	"raftstore":           {"topology", "ring"},
	"hooks":               {"topology", "ring"},
	"lease":               {"topology", "ring"},
	"http":                {"topology", "ring"},
	"fence":               {},
	"client":              {"topology", "ring", "internal/certs"},
	"cmd/clusterkit":      {"topology", "raftstore", "internal/certs"},
	"internal/wakeup":     {},
	"internal/boltfile":   {},
	"internal/bubble":     {},
	"internal/certs":      {},
	"internal/fuzz":       {},
	"internal/simnet":     {},
	"internal/netlab":     {},
	"internal/procs":      {"topology"},
	"internal/demo":       {"topology", "internal/procs"},
	"internal/sim":        {"", "topology", "ring", "internal/simnet"},
}

// leaves import nothing of this module, and every room may import them, but
// for the pure ones.
var leaves = []string{"internal/wakeup", "internal/boltfile"}

// pure lists packages that decide and must not touch the world.
var pure = []string{"topology", "ring", "rebalance/placement"}

// worldly are the imports that no pure package may have. Of package time it
// may have durations, which are numbers, and nothing that reads a clock.
var worldly = []string{"net", "net/http", "os", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "context", "sync"}

type goPackage struct {
	ImportPath string
	Imports    []string
	Dir        string
	GoFiles    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Dir,GoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func room(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
}

// TestArrows holds the imports between the rooms of the house against the plan.
func TestArrows(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name := room(p.ImportPath)
		allowed, known := rooms[name]
		if !known {
			t.Errorf("package %q is in no room: add it to the plan", name)
			continue
		}
		for _, imp := range p.Imports {
			if imp != module && !strings.HasPrefix(imp, module+"/") {
				continue
			}
			if slices.Contains(leaves, room(imp)) && !slices.Contains(pure, name) {
				continue
			}
			if !slices.Contains(allowed, room(imp)) {
				t.Errorf("%q imports %q: no such arrow in the plan", name, room(imp))
			}
		}
		if slices.Contains(pure, name) {
			for _, imp := range p.Imports {
				if slices.Contains(worldly, imp) {
					t.Errorf("pure package %q imports %s", name, imp)
				}
			}
			for _, file := range p.GoFiles {
				checkDurationsOnly(t, filepath.Join(p.Dir, file))
			}
		}
	}
}

// checkDurationsOnly finds uses of package time other than durations.
func checkDurationsOnly(t *testing.T, path string) {
	t.Helper()
	durations := []string{"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, imp := range f.Imports {
		if imp.Path.Value == `"time"` && imp.Name != nil {
			t.Errorf("%s: package time under another name", fset.Position(imp.Pos()))
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && !slices.Contains(durations, sel.Sel.Name) {
			t.Errorf("%s: a pure package uses time.%s", fset.Position(sel.Pos()), sel.Sel.Name)
		}
		return true
	})
}

// TestOneImporter holds libraries to the one room that wraps them.
func TestOneImporter(t *testing.T) {
	t.Parallel()
	only := map[string][]string{
		"github.com/buraksezer/consistent":               {"ring"},
		"github.com/hashicorp/raft":                      {"raftstore"},
		"github.com/hashicorp/raft-boltdb/v2":            {"raftstore"},
		"github.com/hashicorp/memberlist":                {"gossip"},
		"github.com/prometheus/client_golang/prometheus": {"http"},
	}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if owners, ok := only[imp]; ok && !slices.Contains(owners, room(p.ImportPath)) {
				t.Errorf("%q imports %s, which belongs to %v", room(p.ImportPath), imp, owners)
			}
		}
	}
}

// TestGoroutinesHaveOwners finds `go` statements outside the root package:
// packages offer Run and use sync.WaitGroup.Go, so that whoever starts a
// goroutine waits for it.
func TestGoroutinesHaveOwners(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if room(p.ImportPath) == "" {
			continue
		}
		for _, file := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if g, ok := n.(*ast.GoStmt); ok {
					t.Errorf("%s: a go statement outside the root: use sync.WaitGroup.Go", fset.Position(g.Pos()))
				}
				return true
			})
		}
	}
}

// TestBubblesRunAlone finds bubbles that are not begun by package bubble: the
// race detector cannot bear their timers on two processors.
func TestBubblesRunAlone(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path == filepath.Join("internal", "sim", "replay") {
			return fs.SkipDir // stand-ins for libraries, which cannot import it
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || filepath.Dir(path) == filepath.Join("internal", "bubble") {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "synctest" && sel.Sel.Name == "Test" {
				t.Errorf("%s: synctest.Test: use bubble.Test", fset.Position(sel.Pos()))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSizes keeps files below 500 lines and functions below 70: what is
// larger holds more than one idea.
func TestSizes(t *testing.T) {
	t.Parallel()
	const maxFile, maxFunction = 500, 70
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if lines := fset.File(f.Pos()).LineCount(); lines > maxFile {
			t.Errorf("%s has %d lines, at most %d", path, lines, maxFile)
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; lines > maxFunction {
				t.Errorf("%s: %s has %d lines, at most %d", fset.Position(fn.Pos()), fn.Name.Name, lines, maxFunction)
			}
			if exportedWithoutDoc(fn) {
				t.Errorf("%s: exported %s has no doc comment", fset.Position(fn.Pos()), fn.Name.Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// exportedWithoutDoc reports whether a function is part of an API and says
// nothing of itself. Methods that only satisfy an interface of the standard
// library explain themselves.
func exportedWithoutDoc(fn *ast.FuncDecl) bool {
	if !fn.Name.IsExported() || fn.Doc != nil {
		return false
	}
	if fn.Recv == nil {
		return true
	}
	recv := fn.Recv.List[0].Type
	if star, ok := recv.(*ast.StarExpr); ok {
		recv = star.X
	}
	id, ok := recv.(*ast.Ident)
	return ok && id.IsExported() && !slices.Contains([]string{"Error", "Unwrap", "Is", "String", "ServeHTTP"}, fn.Name.Name)
}

// TestNothingIsServedBehindTheBack: net/http/pprof puts profiles on the mux that
// every program shares, and what is registered there is served by whoever
// serves it.
func TestNothingIsServedBehindTheBack(t *testing.T) {
	t.Parallel()
	shared := []string{"Handle", "HandleFunc", "DefaultServeMux", "ListenAndServe", "ListenAndServeTLS", "Serve"}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if imp == "net/http/pprof" || imp == "expvar" {
				t.Errorf("%q imports %s", room(p.ImportPath), imp)
			}
		}
		for _, file := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "http" && slices.Contains(shared, sel.Sel.Name) {
					t.Errorf("%s: http.%s uses the mux, or a server, without limits that every program shares", fset.Position(sel.Pos()), sel.Sel.Name)
				}
				return true
			})
		}
	}
}
