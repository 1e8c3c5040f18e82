package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A metric is a column of a row's table. Its title has the unit.
type metric struct {
	key      string
	title    string
	less     bool // is better
	optional bool // not all lines have it
	write    func(float64) string
}

// A ratio is a column that compares the first metric of a line with that of another.
type ratio struct {
	title string
	base  string // the other line
	write func(metric, float64, float64) string
}

// times says how many times better the base is.
func times(m metric, value, base float64) string {
	if m.less {
		value, base = base, value
	}
	return "× " + small(base/value)
}

// share is what a line reaches of the base.
func share(_ metric, value, base float64) string {
	return fmt.Sprintf("%.0f %%", 100*value/base)
}

// multiple is how many times the base's value a line has.
func multiple(_ metric, value, base float64) string { return "× " + small(value/base) }

// A sheet is a row's table as text: a head, a line for each contender, and what is to
// be said of them.
type sheet struct {
	head  []string
	body  [][]string
	notes []string
}

// sheetOf makes the table of a row that was measured.
func sheetOf(r row, m measurement) sheet {
	s := sheet{head: []string{r.contender}}
	for _, c := range r.metrics {
		s.head = append(s.head, c.title)
	}
	for _, c := range r.ratios {
		s.head = append(s.head, c.title)
	}
	first := r.metrics[0]
	for _, l := range r.lines {
		if !slices.ContainsFunc(m.Runs, func(of run) bool { return of.Line == l.name }) {
			continue // --only
		}
		cells := []string{l.name}
		for _, c := range r.metrics {
			cells = append(cells, cell(c, m.of(l.name, c.key)))
		}
		for _, c := range r.ratios {
			value, ok1 := spreadOf(m.of(l.name, first.key))
			base, ok2 := spreadOf(m.of(c.base, first.key))
			if ok1 && ok2 && l.name != c.base {
				cells = append(cells, c.write(first, value.median, base.median))
			} else {
				cells = append(cells, "")
			}
		}
		s.body = append(s.body, cells)
	}
	for _, e := range r.earlier {
		s.addEarlier(r, m, e)
	}
	if r.remark != "" {
		s.notes = append(s.notes, r.remark)
	}
	for _, of := range m.Runs {
		if of.Wrong != "" {
			s.notes = append(s.notes, fmt.Sprintf("%s, run %d: %s.", of.Line, of.Round, of.Wrong))
		}
	}
	return s
}

// cell is the median, and the least and the most of several runs beside it.
func cell(c metric, values []float64) string {
	s, ok := spreadOf(values)
	switch {
	case !ok:
		return "–"
	case len(values) == 1:
		return c.write(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", c.write(s.median), c.write(s.least), c.write(s.most))
}

// An earlier figure was measured before, elsewhere, by others.
type earlier struct {
	name    string
	figures figures
	// What the line "Broadcaster" had of the first metric in that same run: the
	// yardstick by which the two machines are compared. 0: it did not run.
	yardstick float64
}

// yardstick is the line whose figures of both runs tell one machine's speed from the
// other's.
const yardstick = "gws Broadcaster"

// addEarlier adds a line of figures that are not this run's, and says so.
func (s *sheet) addEarlier(r row, m measurement, e earlier) {
	cells := []string{e.name + " (earlier, elsewhere)"}
	for _, c := range r.metrics {
		if v, ok := e.figures[c.key]; ok {
			cells = append(cells, c.write(v))
		} else {
			cells = append(cells, "–")
		}
	}
	first := r.metrics[0]
	theirs := e.figures[first.key]
	for _, c := range r.ratios {
		base, ok1 := spreadOf(m.of(c.base, first.key))
		here, ok2 := spreadOf(m.of(yardstick, first.key))
		switch {
		case c.base != ours || !ok1:
			cells = append(cells, "")
		case e.yardstick == 0:
			cells = append(cells, c.write(first, theirs, base.median)+", not scaled")
			s.notes = append(s.notes, fmt.Sprintf("%s: measured earlier on another machine of this kind, under the same load; the ratio takes the two machines for equally fast.", e.name))
		case ok2:
			cells = append(cells, c.write(first, theirs/e.yardstick, base.median/here.median)+", scaled")
			s.notes = append(s.notes, fmt.Sprintf("%s: measured earlier on another machine of this kind, under the same load, where %s had %s; the ratio is scaled by that: (%s ÷ %s here) ÷ (%s ÷ %s there).",
				e.name, yardstick, first.write(e.yardstick), ours, yardstick, e.name, yardstick))
		default:
			cells = append(cells, "")
		}
	}
	s.body = append(s.body, cells)
}

// String is the table for a terminal.
func (s sheet) String() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, cells := range append([][]string{s.head}, s.body...) {
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	_ = t.Flush() // into memory
	for _, n := range s.notes {
		fmt.Fprintln(&b, "  "+n)
	}
	return b.String()
}

// markdown is the table for docs/benchmarks.md.
func (s sheet) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(s.head, " | "), strings.Repeat("---|", len(s.head)))
	for _, cells := range s.body {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	if len(s.notes) > 0 {
		fmt.Fprintln(&b)
	}
	for _, n := range s.notes {
		fmt.Fprintln(&b, "- "+strings.Join(strings.Fields(strings.ReplaceAll(n, "|", "/")), " "))
	}
	return b.String()
}

// count writes a large number to three digits, or to thousands.
func count(v float64) string {
	unit := 1.0
	for v/unit >= 1000 && unit < 1000 {
		unit *= 10
	}
	s := strconv.FormatInt(int64(math.Round(v/unit)*unit), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// small writes a time or a size to three digits.
func small(v float64) string { return digits(v, 3) }

// percent writes a share.
func percent(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }

// digits writes a number with so many digits that count, and none less before the
// point.
func digits(v float64, n int) string {
	before := 1
	for limit := 10.0; math.Abs(v) >= limit && before < n; limit *= 10 {
		before++
	}
	return strconv.FormatFloat(v, 'f', n-before, 64)
}
