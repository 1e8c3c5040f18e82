package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// invented is a measurement of every row, with values that differ by line, metric and
// round.
func invented() results {
	all := results{}
	for _, r := range allRows() {
		m := measurement{
			At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Commit: "abc1234", Command: "scripts/bench --write",
			Machine: machine{Processor: "A CPU", CPUs: 2, MemoryGiB: 24, System: "Debian", Kernel: "6", Versions: map[string]string{"Go": "1.26.0"}},
		}
		for round := range 3 {
			for i, l := range r.lines {
				f := figures{}
				for j, c := range r.metrics {
					f[c.key] = float64(100*(i+1)+10*j+round) * map[bool]float64{true: 0.11, false: 1100}[c.less]
				}
				m.Runs = append(m.Runs, run{Line: l.name, Round: round + 1, At: m.At, Figures: f})
			}
		}
		all[r.name] = m
	}
	return all
}

// Ensure that what a document says of a row comes from the data alone, and that what
// stands around it is kept.
func TestDocument(t *testing.T) {
	var before strings.Builder
	names := []string{"machine"}
	for _, r := range allRows() {
		names = append(names, r.name)
	}
	for _, name := range names {
		before.WriteString("About " + name + ".\n<!-- bench " + name + ": scripts/bench --write writes what follows -->\nedited by hand\n<!-- bench " + name + ": end -->\n")
	}
	after, err := document(before.String(), invented())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(after, "edited by hand") || strings.Contains(after, "Not measured") {
		t.Errorf("the document is\n%s", after)
	}
	for _, want := range []string{
		"About closed.\n<!-- bench closed", "| chatring | 221,000 (220,000–222,000) |", "![Deliveries", "bench/deliveries.svg",
		"Medians of 3 runs in turns", "commit abc1234, 2 January 2026. `scripts/bench scale` repeats it.", "- 2 CPUs (A CPU), 24 GiB, Debian, Linux 6; Go 1.26.0: `closed`",
	} {
		if !strings.Contains(after, want) {
			t.Errorf("the document lacks %q", want)
		}
	}
	if again, err := document(after, invented()); err != nil || again != after {
		t.Errorf("written twice, the document is another: %v", err)
	}
	if _, err := document("nothing", invented()); err == nil || !strings.Contains(err.Error(), "<!-- bench machine") {
		t.Errorf("without the lines: %v", err)
	}
}

// Ensure that every plot is drawn, in the same way each time, on white, and only when
// there is something to draw.
func TestPlots(t *testing.T) {
	measured := invented()
	for _, f := range plots {
		svg, err := f.svg(measured)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		again, _ := f.svg(measured)
		if !bytes.HasPrefix(svg, []byte("<?xml")) || !bytes.Equal(svg, again) {
			t.Errorf("%s: %d bytes, and then %d", f.name, len(svg), len(again))
		}
		for _, want := range []string{panelTitles[f.rows[0]], "Arial", "#FFFFFF"} {
			if !bytes.Contains(svg, []byte(want)) {
				t.Errorf("%s lacks %q", f.name, want)
			}
		}
		last := f.rows[len(f.rows)-1]
		if one, err := f.svg(results{last: measured[last]}); !bytes.Contains(one, []byte(panelTitles[last])) || err != nil {
			t.Errorf("%s of one row: %d bytes, %v", f.name, len(one), err)
		}
		if none, err := f.svg(results{}); none != nil || err != nil {
			t.Errorf("%s of nothing: %d bytes, %v", f.name, len(none), err)
		}
	}
}

// The tables and plots in docs/ are what docs/bench/results.json says: no figure can
// be edited by hand. "scripts/bench --redraw" mends what this finds.
func TestBenchmarksSayWhatWasMeasured(t *testing.T) {
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	measured, err := readResults(filepath.Join(root, resultsFile))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, docFile))
	if err != nil {
		t.Fatal(err)
	}
	want, err := document(string(text), measured)
	if err != nil {
		t.Fatal(err)
	}
	if want != string(text) {
		t.Errorf("%s is not what %s says; scripts/bench --redraw writes it anew", docFile, resultsFile)
	}
	for _, f := range plots {
		want, err := f.svg(measured)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(root, plotsDir, f.name+".svg"))
		if want == nil != (err != nil) || !bytes.Equal(got, want) {
			t.Errorf("%s.svg is not what %s says; scripts/bench --redraw writes it anew", f.name, resultsFile)
		}
	}
}
