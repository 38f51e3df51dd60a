package clusterkit_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A time.Time has the wall clock's reading and the monotonic clock's, and what
// compares two of one process goes by the latter. So the wall clock gets into a
// decision only where a time loses its monotonic reading, is made of a date, or
// was written down by another process; there are no more such places than
// these, by file.
var (
	wallReadings = map[string]string{
		"propose.go":             "UnixMilli", // Entry.At, for people
		"rebalance/loop.go":      "UnixMilli", // the same
		"peer/port.go":           "time.Unix", // a deadline that is over, whatever the time is
		"http/status.go":         "UTC",       // says it to people
		"raftstore/backup.go":    "UTC",       // names a directory
		"internal/certs/make.go": "UTC",       // when a certificate ends, in an error; crypto/tls checks that, by the wall clock
	}
	// wallFields are the committed wall times, and wallReaders who reads them.
	wallFields  = []string{"At", "Since", "Began", "Ended"}
	wallReaders = map[string]string{
		"topology/apply.go":         "At",                // into the draft
		"propose.go":                "At",                // is written
		"topology/codec.go":         "At",                // to and from bytes
		"topology/apply_node.go":    "Since",             // from one record to the next
		"topology/apply_operate.go": "Began Ended",       // are written
		"hooks/events.go":           "Since Began Ended", // how long somebody was away, for people
		"http/operated.go":          "Since Began Ended", // the same
		"rebalance/household.go":    "Since",             // a new leader's view of losses before its time
	}
	// notWall are the packages that have fields of these names which are no wall times.
	notWall = []string{"lease", "gossip", "raftstore", "client", "http/events.go", "http/feed.go", "rebalance/plan.go", "rebalance/loop.go", "rebalance/input.go", "leases.go"}
)

// strips are the methods by which a time.Time loses its monotonic reading, and
// makes the functions of package time that make one without.
var (
	strips = []string{"Unix", "UnixMilli", "UnixMicro", "UnixNano", "AddDate", "UTC", "Local", "YearDay", "Weekday"}
	makes  = []string{"Unix", "UnixMilli", "UnixMicro", "Date", "Parse", "ParseInLocation"}
)

// TestWallClock: no decision of a node goes by the wall clock, but for the one
// that wallReaders names.
func TestWallClock(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	found, read := make(map[string][]string), make(map[string][]string)
	for _, p := range packages(t) {
		if name := room(p.ImportPath); strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "internal/") && name != "internal/certs" {
			continue // no node runs them
		}
		for _, file := range p.GoFiles {
			path := filepath.Join(p.Dir, file)
			rel, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if s, ok := n.Fun.(*ast.SelectorExpr); ok {
						if of, ok := s.X.(*ast.Ident); ok && of.Name == "time" {
							if slices.Contains(makes, s.Sel.Name) {
								found[rel] = append(found[rel], "time."+s.Sel.Name)
							}
						} else if slices.Contains(strips, s.Sel.Name) {
							found[rel] = append(found[rel], s.Sel.Name)
						}
						return true
					}
				case *ast.SelectorExpr:
					if of, ok := n.X.(*ast.Ident); (!ok || of.Name != "time") && slices.Contains(wallFields, n.Sel.Name) {
						read[rel] = append(read[rel], n.Sel.Name)
					}
				}
				return true
			})
		}
	}
	for _, rel := range slices.Sorted(maps.Keys(found)) {
		for _, what := range found[rel] {
			if wallReadings[rel] != what {
				t.Errorf("%s: %s reads the wall clock: nodes' and lives' differ, and it jumps", rel, what)
			}
		}
	}
	for _, rel := range slices.Sorted(maps.Keys(read)) {
		if slices.ContainsFunc(notWall, func(p string) bool { return rel == p || strings.HasPrefix(rel, p+"/") }) {
			continue
		}
		for _, what := range read[rel] {
			if !strings.Contains(wallReaders[rel], what) {
				t.Errorf("%s reads %s, which is a committed wall time: for people only", rel, what)
			}
		}
	}
	if len(found) == 0 || len(read) == 0 {
		t.Error(fmt.Sprint("nothing was found: the test is blind: ", found, read))
	}
}
