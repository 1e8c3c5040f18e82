package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Ensure that each fault says what it proves, in one sentence, and that there are
// quick ones.
func TestFaults(t *testing.T) {
	seen, quick := map[string]bool{}, 0
	for _, f := range faults() {
		if seen[f.name] || f.name == "" {
			t.Errorf("two faults are called %q", f.name)
		}
		seen[f.name] = true
		if !strings.HasSuffix(f.promise, ".") || strings.Count(f.promise, ". ") > 0 {
			t.Errorf("%s: %q is not one sentence", f.name, f.promise)
		}
		if f.inject == nil {
			t.Errorf("%s injects nothing", f.name)
		}
		if f.within.notice > 0 && f.noticed == nil {
			t.Errorf("%s bounds a notice that nothing looks for", f.name)
		}
		if f.quick {
			quick++
		}
	}
	if len(seen) < 20 || quick < 4 {
		t.Errorf("%d faults, %d of them quick", len(seen), quick)
	}
}

// Ensure that names are found, and that a wrong one is told.
func TestPick(t *testing.T) {
	if picked, err := pick([]string{"drain"}, false); err != nil || len(picked) != 1 || picked[0].name != "drain" {
		t.Errorf("drain: %v, %v", picked, err)
	}
	if _, err := pick([]string{"drian"}, false); err == nil {
		t.Error("a fault that there is not was picked")
	}
	all, _ := pick(nil, false)
	quick, _ := pick(nil, true)
	if len(all) != len(faults()) || len(quick) == 0 || len(quick) >= len(all) {
		t.Errorf("%d faults, %d quick ones", len(all), len(quick))
	}
}

// Ensure that a node's metrics are read, with their labels and summed.
func TestParseMetrics(t *testing.T) {
	s := parseMetrics(strings.NewReader("# HELP chatring_x x\nchatring_x 7\nchatring_errors_total{code=\"unavailable\"} 2\nchatring_errors_total{code=\"conflict\"} 1\ngo_goroutines 5\n"))
	for name, want := range map[string]float64{
		"chatring_x": 7, "chatring_errors_total": 3, `chatring_errors_total{code="unavailable"}`: 2, "go_goroutines": 0,
	} {
		if s[name] != want {
			t.Errorf("%s = %v, want %v", name, s[name], want)
		}
	}
}

// Ensure that evidence is told from its absence, also across the restart of a node,
// whose counters begin anew.
func TestEvidence(t *testing.T) {
	quiet := reading{nodes: map[int]sample{1: {"chatring_bridge_connected": 1, "chatring_bridge_interruptions_total": 3}, 2: {"chatring_bridge_connected": 1}}}
	broken := reading{nodes: map[int]sample{1: {"chatring_bridge_connected": 0, "chatring_bridge_interruptions_total": 3}}}
	counted := reading{nodes: map[int]sample{1: {"chatring_bridge_connected": 1, "chatring_bridge_interruptions_total": 4}}}
	restarted := reading{nodes: map[int]sample{1: {"chatring_bridge_connected": 1, "chatring_bridge_interruptions_total": 0}}}
	for _, tt := range []struct {
		name string
		now  reading
		want bool
	}{{"quiet", quiet, false}, {"broken", broken, true}, {"counted", counted, true}, {"restarted", restarted, false}} {
		if got := interrupted(quiet, tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Ensure that Redis' counts of calls are added up.
func TestCountCalls(t *testing.T) {
	const stats = "# Commandstats\r\ncmdstat_xrange:calls=12,usec=1\r\ncmdstat_xrevrange:calls=30,usec=2\r\ncmdstat_get:calls=5,usec=1\r\n"
	if n := countCalls(stats, "xrange", "xrevrange", "xread"); n != 42 {
		t.Errorf("%d calls, want 42", n)
	}
}

// Ensure that the table replaces what stands between its lines, and nothing else.
func TestTableIsWritten(t *testing.T) {
	rows := []row{
		{Fault: "kill", Promise: "It lives.", Acknowledged: 7, Notice: -1, Repair: 0.25},
		{Fault: "drain", Promise: "It goes.", Broken: []string{"3 lost\nand more"}},
	}
	text, err := between("head\n"+tableBegins+"old\n"+tableEnds+"tail\n", markdown(rows, time.Now(), 2))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"head\n" + tableBegins, tableEnds + "tail\n", "2 faults, 1 of them broke a promise",
		"| `kill` | It lives. | 7 | 0 | 0 | 0 | 0 | 0 | – | 0.2 |", "**broken**: 3 lost and more |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "old") {
		t.Error("what was there before still is")
	}
	if _, err := between("nothing", "table"); err == nil {
		t.Error("a table was written nowhere")
	}
}

// Ensure that a server can be left out of HAProxy's file, in all backends.
func TestWithoutServer(t *testing.T) {
	b, err := os.ReadFile("../../haproxy/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	without := withoutServer(b, "ws2")
	if n := bytes.Count(b, []byte("server ws2 ")) - bytes.Count(without, []byte("server ws2 ")); n < 3 {
		t.Errorf("%d lines left out, want one in each backend", n)
	}
	if bytes.Count(without, []byte("server ws")) == 0 {
		t.Error("all servers are left out")
	}
}

// Ensure that the standard library of this Go still has the place at which a clock
// can be set off.
func TestShiftable(t *testing.T) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "src", "time", "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shiftable(string(b)); err != nil {
		t.Error(err)
	}
}

var faultName = regexp.MustCompile("`([a-z][a-z-]*)`")

// Ensure that docs/guarantees.md names every fault beside a promise, and none that
// there is not.
func TestGuarantees(t *testing.T) {
	b, err := os.ReadFile("../../docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, f := range faults() {
		missing[f.name] = true
	}
	_, promises, _ := strings.Cut(string(b), "\n## Promises\n")
	promises, _, _ = strings.Cut(promises, "\n## ")
	for line := range strings.Lines(promises) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		for _, m := range faultName.FindAllStringSubmatch(cells[3], -1) {
			if _, err := pick([]string{m[1]}, false); err != nil {
				t.Error(err)
			}
			delete(missing, m[1])
		}
	}
	for name := range missing {
		t.Errorf("docs/guarantees.md has no promise that %s proves", name)
	}
	if _, err := between(string(b), ""); err != nil {
		t.Error(err)
	}
}
