package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// table is the rows for a terminal.
func table(rows []row) string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "fault\tacked\tlost\tdoubled\tdisorder\tholes\tdeclared\tnoticed s\trepaired s\tsilence s\tpeak MiB\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%.1f\t%.0f\t%s\n", r.Fault, r.Acknowledged, r.Lost, r.Doubled, r.Disordered,
			r.Holes, r.Declared, seconds(r.Notice), seconds(r.Repair), r.Silence, r.Peak, verdict(r))
	}
	_ = t.Flush() // into memory
	for _, r := range rows {
		if len(r.Notes) > 0 {
			fmt.Fprintf(&b, "%s: %s\n", r.Fault, strings.Join(r.Notes, "; "))
		}
	}
	for _, r := range rows {
		for _, broken := range r.Broken {
			fmt.Fprintf(&b, "BROKEN  %s: %s\n", r.Fault, broken)
		}
		if !r.ok() {
			for _, e := range r.Examples {
				fmt.Fprintf(&b, "        %s\n", e)
			}
		}
	}
	return b.String()
}

// seconds writes a time that may be unknown.
func seconds(s float64) string {
	if s < 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", s)
}

func writeJSON(file string, rows []row) error {
	b, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// The table in docs/guarantees.md stands between these lines.
const (
	tableBegins = "<!-- chaos: scripts/chaos --write writes what follows -->\n"
	tableEnds   = "<!-- chaos: end -->\n"
)

// writeGuarantees puts the rows into docs/guarantees.md.
func writeGuarantees(root string, rows []row) error {
	file := root + "/docs/guarantees.md"
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := between(string(b), markdown(rows, time.Now(), runtime.NumCPU()))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// between replaces what stands between the two lines.
func between(text, table string) (string, error) {
	head, rest, ok := strings.Cut(text, tableBegins)
	_, end, ok2 := strings.Cut(rest, tableEnds)
	if !ok || !ok2 {
		return "", fmt.Errorf("the lines %q and %q are missing", strings.TrimSpace(tableBegins), strings.TrimSpace(tableEnds))
	}
	return head + tableBegins + table + tableEnds + end, nil
}

// markdown is the rows for docs/guarantees.md.
func markdown(rows []row, at time.Time, cpus int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, %d CPUs for everything; %d faults, %d of them broke a promise.\n\n", at.Format("2 January 2006"), cpus, len(rows), countBroken(rows))
	fmt.Fprintln(&b, "| fault | what it proves | acknowledged | lost | doubled | out of order | holes | declared | noticed s | repaired s | silence s | peak MiB | |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		remarks := append([]string{}, r.Notes...)
		for _, broken := range r.Broken {
			remarks = append(remarks, "**broken**: "+strings.Join(strings.Fields(broken), " "))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %d | %d | %d | %d | %d | %d | %s | %s | %.1f | %.0f | %s |\n", r.Fault, r.Promise, r.Acknowledged,
			r.Lost, r.Doubled, r.Disordered, r.Holes, r.Declared, seconds(r.Notice), seconds(r.Repair), r.Silence, r.Peak, strings.Join(remarks, "; "))
	}
	fmt.Fprintln(&b)
	return b.String()
}
