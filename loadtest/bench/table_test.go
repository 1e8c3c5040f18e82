package main

import (
	"slices"
	"strings"
	"testing"
)

// Ensure that the median of an even number of values is between the middle two.
func TestSpreadOf(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   spread
		ok     bool
	}{
		{nil, spread{}, false},
		{[]float64{7}, spread{7, 7, 7}, true},
		{[]float64{9, 1, 2}, spread{2, 1, 9}, true},
		{[]float64{4, 1, 3, 9}, spread{3.5, 1, 9}, true},
	} {
		if got, ok := spreadOf(tt.values); got != tt.want || ok != tt.ok {
			t.Errorf("%v: %+v, %v", tt.values, got, ok)
		}
	}
}

// Ensure that numbers have the digits that count, and no others.
func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 12.4: "12", 999.6: "1,000", 15_649: "15,600", 490_000: "490,000", 1_866_432: "1,866,000", 12_345_678: "12,346,000"} {
		if got := count(v); got != want {
			t.Errorf("count(%v) = %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0.00", 0.846: "0.85", 9.87: "9.87", 45.04: "45.0", 433.6: "434", 12_345: "12345"} {
		if got := small(v); got != want {
			t.Errorf("small(%v) = %s, want %s", v, got, want)
		}
	}
}

// compared is a row of three servers, of which chatring makes 200, the floor 400, and
// Broadcaster 100 deliveries, and each takes as many milliseconds.
func compared(earlier ...earlier) (row, measurement) {
	r := row{contender: "server", metrics: []metric{perCPU, p99}, ratios: []ratio{better, ofFloor}, earlier: earlier}
	m := measurement{}
	for name, v := range map[string]float64{titles["floor"]: 400, ours: 200, yardstick: 100} {
		for i, spread := range []float64{-5, 0, 7} {
			m.Runs = append(m.Runs, run{Line: name, Round: i + 1, Figures: figures{perCPU.key: v + spread, p99.key: v}})
		}
	}
	for _, name := range []string{titles["floor"], ours, yardstick, "NATS"} { // the last did not run
		r.lines = append(r.lines, line{name: name, system: name})
	}
	return r, m
}

// Ensure that a table has medians with what lies around them, and ratios of medians.
func TestSheet(t *testing.T) {
	r, m := compared()
	m.Runs = append(m.Runs, run{Line: yardstick, Round: 4, Wrong: "3 missing"})
	r.remark = "How."
	s := sheetOf(r, m)
	want := [][]string{
		{"floor", "400 (395–407)", "400 (400–400)", "× 0.50", ""},
		{"chatring", "200 (195–207)", "200 (200–200)", "", "50 %"},
		{"gws Broadcaster", "100 (95–107)", "100 (100–100)", "× 2.00", "25 %"},
	}
	if !slices.EqualFunc(s.body, want, slices.Equal) {
		t.Errorf("the table is\n%q\nwant\n%q", s.body, want)
	}
	if len(s.notes) != 2 || s.notes[0] != "How." || s.notes[1] != "gws Broadcaster, run 4: 3 missing." {
		t.Errorf("the notes are %q", s.notes)
	}
	r.metrics = []metric{p99}
	if got := sheetOf(r, m).body[2][2]; got != "× 0.50" {
		t.Errorf("where less is better, twice as much is %s", got)
	}
}

// Ensure that figures of another machine stand apart from those of the run, and are
// compared by what Broadcaster had on both, or not scaled, and that it is said which.
func TestEarlierFigures(t *testing.T) {
	r, m := compared(
		earlier{"scaled", figures{perCPU.key: 100}, 200},
		earlier{name: "unscaled", figures: figures{perCPU.key: 100}},
	)
	s := sheetOf(r, m)
	for i, want := range []string{"× 4.00, scaled", "× 2.00, not scaled"} {
		cells := s.body[3+i]
		if !strings.HasSuffix(cells[0], " (earlier, elsewhere)") || cells[1] != "100" || cells[2] != "–" || cells[3] != want || cells[4] != "" {
			t.Errorf("the line is %q, want %q", cells, want)
		}
	}
	if len(s.notes) != 2 || !strings.Contains(s.notes[0], "there") || !strings.Contains(s.notes[1], "equally fast") {
		t.Errorf("the notes are %q", s.notes)
	}
	m.Runs = slices.DeleteFunc(m.Runs, func(of run) bool { return of.Line == yardstick })
	if got := sheetOf(r, m).body[2][3]; got != "" {
		t.Errorf("without the yardstick the ratio is %q", got)
	}
}

// Ensure that the same table can be read on a terminal and in Markdown.
func TestWriting(t *testing.T) {
	s := sheet{head: []string{"a", "long"}, body: [][]string{{"longer", "1"}}, notes: []string{"two\nlines | 1"}}
	if got, want := s.markdown(), "| a | long |\n|---|---|\n| longer | 1 |\n\n- two lines / 1\n"; got != want {
		t.Errorf("Markdown:\n%s", got)
	}
	if got, want := s.String(), "a       long\nlonger  1\n  two\nlines | 1\n"; got != want {
		t.Errorf("terminal:\n%q, want\n%q", got, want)
	}
}
