package main

import (
	"strings"
	"testing"
	"time"
)

// Ensure that flags and rows that make no sense are refused, and say why.
func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string // of the error
	}{
		{"", ""},
		{"--write closed", ""},
		{"--only chatring,floor closed", ""},
		{"--write --quick", "whole rows"},
		{"--write --only chatring", "whole rows"},
		{"--redraw closed", "measures nothing"},
		{"--redraw --write", "measures nothing"},
		{"--runs 0", "more than 0"},
		{"--only chatring,socket.io", `no system "socket.io"`},
		{"closed --only chatring scale --runs 0", "more than 0"},
		{"--only nats publish", "no line"},
		{"closd", `no row "closd"`},
	} {
		o, err := parse(strings.Fields(tt.args))
		if err == nil {
			_, err = pick(o)
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.args, err, tt.want)
		}
	}
}

// Ensure that what was typed is remembered, but not what the script adds.
func TestCommand(t *testing.T) {
	o, err := parse([]string{"-work", "/tmp/x", "closed", "--runs", "5"})
	if err != nil || o.command != "scripts/bench closed --runs 5" || o.work != "/tmp/x" {
		t.Errorf("%+v, %v", o, err)
	}
}

// Ensure that a hurried run has one round, a short one, a cluster among its rows, and
// nothing that must be downloaded.
func TestQuick(t *testing.T) {
	o, err := parse([]string{"--quick"})
	if err != nil {
		t.Fatal(err)
	}
	picked, err := pick(o)
	if err != nil {
		t.Fatal(err)
	}
	if o.rounds != 1 || o.duration != time.Second {
		t.Errorf("%d runs of %v", o.rounds, o.duration)
	}
	names := map[string]bool{}
	for _, r := range picked {
		names[r.name] = true
		for _, l := range r.lines {
			if l.system == "socketio" || l.system == "nats" {
				t.Errorf("%s has %s", r.name, l.system)
			}
		}
	}
	if !names["closed"] || !names["cluster-small"] || names["cluster-large"] {
		t.Errorf("the rows are %v", names)
	}
	l := load{500, 1000, 50}
	if got := l.in(o); got.rooms*got.members > 1000 || got.rate != 50 {
		t.Errorf("the load is %+v", got)
	}
	if got := l.in(options{}); got != l {
		t.Errorf("without hurry the load is %+v", got)
	}
}

// Ensure that every row can be told from the others, and compares with a line that it
// has.
func TestRows(t *testing.T) {
	names := map[string]bool{"machine": true}
	for _, r := range allRows() {
		if names[r.name] || r.asks == "" || len(r.metrics) == 0 || len(r.lines) == 0 || r.beside == 0 {
			t.Errorf("row %+v", r)
		}
		names[r.name] = true
		lines := map[string]bool{}
		for _, l := range r.lines {
			if lines[l.name] {
				t.Errorf("%s has two lines %q", r.name, l.name)
			}
			lines[l.name] = true
		}
		for _, c := range r.ratios {
			if !lines[c.base] && c.title != ofFloor.title {
				t.Errorf("%s compares with %q, which it lacks", r.name, c.base)
			}
		}
	}
	for _, f := range plots {
		for _, name := range f.rows {
			if !names[name] || panelTitles[name] == "" {
				t.Errorf("%s wants a row %q", f.name, name)
			}
		}
	}
}
