package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// row is a line of docs/faults.md.
type row struct{ name, promise, check, figures, run string }

const (
	tableHead = "| fault | what must hold, besides what always must | how it is seen | measured | run |\n|---|---|---|---|---|\n"
	// tableStart and tableEnd enclose what is written by a run.
	tableStart = "<!-- rows: written by the run; do not edit -->\n"
	tableEnd   = "<!-- end of rows -->\n"
)

func (r row) String() string {
	return "| " + strings.Join([]string{r.name, r.promise, r.check, r.figures, r.run}, " | ") + " |\n"
}

// parseRows returns the rows of a table by name.
func parseRows(table string) map[string]row {
	rows := make(map[string]row)
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 5 || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| fault |") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows[cells[0]] = row{cells[0], cells[1], cells[2], cells[3], cells[4]}
	}
	return rows
}

// merge returns the document with the rows of this run in place of older ones
// of the same name, and with all others as they were. Rows come in the order of
// the names; a row of a scenario that is not there any more is dropped.
func merge(doc string, fresh map[string]row, names []string) (string, error) {
	before, rest, ok := strings.Cut(doc, tableStart)
	table, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("the lines %q and %q are not there", strings.TrimSpace(tableStart), strings.TrimSpace(tableEnd))
	}
	rows := parseRows(table)
	var b strings.Builder
	b.WriteString(before + tableStart + tableHead)
	for _, name := range names {
		if r, ok := fresh[name]; ok {
			b.WriteString(r.String())
		} else if r, ok := rows[name]; ok {
			b.WriteString(r.String())
		}
	}
	b.WriteString(tableEnd + after)
	return b.String(), nil
}

// rowOf is what a run writes of a scenario. when says the rest.
func rowOf(r result, when string) row {
	cell := func(s string) string { return strings.NewReplacer("|", "\\", "\n", " ").Replace(s) }
	figures := strings.Join(r.figures, "; ")
	switch {
	case len(r.problems) > 0:
		figures = "FAILED: " + strings.Join(r.problems, "; ")
	case r.mutant != "":
		figures = "caught by the check \"" + r.mutant + "\""
	}
	return row{r.name, cell(r.promise), cell(r.check), cell(figures), cell(when)}
}

// writeTable brings the rows of results into the file.
func writeTable(path string, results []result, when string) error {
	doc, err := os.ReadFile(path) //#nosec G304 -- the harness reads and writes below directories that its caller names
	if err != nil {
		return fmt.Errorf("-table: %w", err)
	}
	fresh := make(map[string]row)
	for _, r := range results {
		fresh[r.name] = rowOf(r, when)
	}
	var names []string
	for _, s := range all() {
		names = append(names, s.name)
	}
	names = append(names, soakName)
	out, err := merge(string(doc), fresh, names)
	if err != nil {
		return fmt.Errorf("-table %s: %w", path, err)
	}
	if bytes.Equal(doc, []byte(out)) {
		return nil
	}
	return os.WriteFile(path, []byte(out), 0o644) //#nosec G306 -- a report, for everybody to read
}
