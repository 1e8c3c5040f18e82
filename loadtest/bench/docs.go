package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	docFile  = "docs/benchmarks.md"
	plotsDir = "docs/bench"
)

// writeDocs writes the tables and the plots of what was measured.
func writeDocs(root string, measured results) error {
	file := filepath.Join(root, docFile)
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := document(string(b), measured)
	if err != nil {
		return fmt.Errorf("%s: %w", docFile, err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	for _, p := range plots {
		svg, err := p.svg(measured)
		if err != nil {
			return fmt.Errorf("plot %s: %w", p.name, err)
		}
		if svg == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, plotsDir, p.name+".svg"), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// document puts what was measured into the text of docs/benchmarks.md.
func document(text string, measured results) (string, error) {
	text, err := between(text, "machine", machines(measured))
	for _, r := range allRows() {
		if err == nil {
			text, err = between(text, r.name, block(r, measured))
		}
	}
	return text, err
}

// between replaces what stands between the two lines of a block.
func between(text, name, block string) (string, error) {
	begins := "<!-- bench " + name + ": scripts/bench --write writes what follows -->\n"
	ends := "<!-- bench " + name + ": end -->\n"
	head, rest, ok := strings.Cut(text, begins)
	_, end, ok2 := strings.Cut(rest, ends)
	if !ok || !ok2 {
		return "", fmt.Errorf("the lines %q and %q are missing", strings.TrimSpace(begins), strings.TrimSpace(ends))
	}
	return head + begins + "\n" + block + "\n" + ends + end, nil
}

// block is what stands in the document of a row.
func block(r row, measured results) string {
	m, ok := measured[r.name]
	if !ok {
		return "Not measured yet.\n"
	}
	var b strings.Builder
	b.WriteString(sheetOf(r, m).markdown())
	runs := "One run each"
	if n := m.rounds(); n > 1 {
		runs = fmt.Sprintf("Medians of %d runs in turns, the least and the most in parentheses", n)
	}
	fmt.Fprintf(&b, "\n%s; commit %s, %s. `scripts/bench %s` repeats it.\n", runs, m.Commit, m.At.Format("2 January 2006"), r.name)
	for _, p := range plots {
		if p.rows[len(p.rows)-1] == r.name {
			fmt.Fprintf(&b, "\n![%s](bench/%s.svg)\n", p.title, p.name)
		}
	}
	return b.String()
}

// machines says what was measured on what.
func machines(measured results) string {
	rows := map[string][]string{}
	for _, r := range allRows() {
		if m, ok := measured[r.name]; ok {
			is := m.Machine.String()
			rows[is] = append(rows[is], "`"+r.name+"`")
		}
	}
	if len(rows) == 0 {
		return "Nothing was measured yet.\n"
	}
	var b strings.Builder
	for _, is := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(&b, "- %s: %s\n", is, strings.Join(rows[is], ", "))
	}
	return b.String()
}

func (m machine) String() string {
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(m.Versions)) {
		versions = append(versions, name+" "+m.Versions[name])
	}
	return fmt.Sprintf("%d CPUs (%s), %d GiB, %s, Linux %s; %s", m.CPUs, m.Processor, m.MemoryGiB, m.System, m.Kernel, strings.Join(versions, ", "))
}
