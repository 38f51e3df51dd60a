package main

import (
	"strings"
	"testing"
)

// TestMerge: a run replaces its own rows and keeps all others.
func TestMerge(t *testing.T) {
	t.Parallel()
	doc := "# Head\n" + tableStart + tableEnd + "tail\n"
	first, err := merge(doc, map[string]row{"b": {"b", "p", "c", "1 ms", "r1"}, "a": {"a", "p", "c", "2 ms", "r1"}}, []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := merge(first, map[string]row{"b": {"b", "p", "c", "3 ms", "r2"}}, []string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	want := "# Head\n" + tableStart + tableHead + "| a | p | c | 2 ms | r1 |\n| b | p | c | 3 ms | r2 |\n" + tableEnd + "tail\n"
	if second != want {
		t.Errorf("got\n%s\nwant\n%s", second, want)
	}
	if gone, err := merge(second, nil, []string{"b"}); err != nil || strings.Contains(gone, "| a |") {
		t.Errorf("a scenario that is gone keeps its row: %v\n%s", err, gone)
	}
	if _, err := merge("nothing", nil, nil); err == nil {
		t.Error("a document without a table was accepted")
	}
}

// TestRow: what failed is said, and nothing breaks the table.
func TestRow(t *testing.T) {
	t.Parallel()
	r := rowOf(result{scenario: scenario{name: "n", promise: "2|3"}, problems: []string{"agree: never\never"}}, "now")
	if len(parseRows(r.String())) != 1 || !strings.Contains(r.figures, "FAILED: agree: never ever") {
		t.Errorf("got %s", r)
	}
}

// TestScenarios: names are unique, everything is said, and mutants name a check.
func TestScenarios(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, s := range all() {
		if seen[s.name] || s.name == "" || s.promise == "" || s.check == "" || s.run == nil || s.epochs == 0 {
			t.Errorf("%q: a second one of its name, or something is missing", s.name)
		}
		seen[s.name] = true
	}
	if _, err := choose("no-such-fault", false); err == nil || !strings.Contains(err.Error(), "no-such-fault") {
		t.Errorf("an unknown name: %v", err)
	}
	if s, err := choose("kill-leader", false); err != nil || len(s) != 1 {
		t.Errorf("one name: %v, %v", s, err)
	}
	quick, err := choose("", false)
	if err != nil || len(quick) == 0 || len(quick) > len(all()) {
		t.Errorf("the selection: %d, %v", len(quick), err)
	}
}

// TestMutants: a verdict counts only if the check that was named made it.
func TestMutants(t *testing.T) {
	t.Parallel()
	m := scenario{mutant: "history"}
	if p := m.expected([]string{"agree: no", "history: lost"}); p != nil {
		t.Errorf("caught, and reported as %q", p)
	}
	if p := m.expected([]string{"agree: no"}); len(p) != 2 {
		t.Errorf("not caught: %q", p)
	}
	if p := (scenario{}).expected([]string{"agree: no"}); len(p) != 1 {
		t.Errorf("no mutant: %q", p)
	}
}
