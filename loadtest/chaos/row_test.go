package main

import (
	"strings"
	"testing"
	"time"
)

// Ensure that every violation and every bound makes a row fail, and that a row that
// keeps all promises does not.
func TestJudge(t *testing.T) {
	within := bounds{notice: 3 * time.Second, repair: 5 * time.Second, silence: time.Second}
	good := row{Acknowledged: 1, Notice: 2.9, Repair: 0, Silence: 0.9}
	for _, tt := range []struct {
		name  string
		spoil func(*row)
		want  string
	}{
		{"a good row", func(*row) {}, ""},
		{"lost", func(r *row) { r.Lost = 1 }, "1 lost"},
		{"doubled", func(r *row) { r.Doubled = 2 }, "2 doubled"},
		{"disordered", func(r *row) { r.Disordered = 1 }, "1 out of order"},
		{"holes", func(r *row) { r.Holes = 1 }, "1 undeclared holes"},
		{"not acknowledged", func(r *row) { r.Unanswered = 1 }, "1 not acknowledged"},
		{"vacuous", func(r *row) { r.Acknowledged = 0 }, "nothing was acknowledged"},
		{"noticed late", func(r *row) { r.Notice = 3.1 }, "noticed 3.1 s, more than 3.0 s"},
		{"never noticed", func(r *row) { r.Notice = -1 }, "never noticed"},
		{"repaired late", func(r *row) { r.Repair = 6 }, "repaired 6.0 s"},
		{"never repaired", func(r *row) { r.Repair = -1 }, "never repaired"},
		{"silent", func(r *row) { r.Silence = 1.2 }, "silent for 1.2 s"},
	} {
		r := good
		tt.spoil(&r)
		r.judge(within, 1)
		if got := strings.Join(r.Broken, "; "); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: broken = %q, want %q", tt.name, got, tt.want)
		}
	}
	late := good
	late.Notice = 3.1
	if late.judge(within, 4); !late.ok() {
		t.Errorf("with slack: %v", late.Broken)
	}
}

// Ensure that what the checker has found comes into the row, whatever it is called.
func TestTook(t *testing.T) {
	var found report
	found.Found.Trimmed, found.Found.NotKept, found.Found.Lost = 1, 2, 4
	found.Found.Disordered, found.Found.Diverged, found.Found.Reordered, found.Found.Altered = 1, 2, 4, 8
	found.Found.Unanswered, found.Found.Refused = 1, 2
	found.Found.Gaps, found.Found.Resets = 1, 2
	var r row
	r.took(found)
	if r.Lost != 7 || r.Disordered != 15 || r.Unanswered != 3 || r.Declared != 3 {
		t.Errorf("row = %+v", r)
	}
}

// Ensure that the time to repair ends with the last trouble, and that a trouble that
// does not end is none that was repaired.
func TestRepairedAfter(t *testing.T) {
	began := time.Now()
	at := func(s, waiting, gone float64) beat {
		return beat{At: began.Add(time.Duration(s * float64(time.Second))), Waiting: waiting, Gone: gone}
	}
	healed := began.Add(2 * time.Second)
	for _, tt := range []struct {
		name  string
		beats []beat
		want  float64
	}{
		{"nobody felt anything", []beat{at(-1, 9, 9), at(1, 0, 0), at(3, 0.1, 0)}, 0},
		{"over before the end", []beat{at(1, 1, 0), at(1.5, 0, 0), at(3, 0, 0)}, 0},
		{"calm, and then not", []beat{at(1, 0, 0), at(3, 0, 0), at(4, 0, 1), at(4.5, 0, 0), at(5, 0, 0)}, 2.5},
		{"someone waits", []beat{at(1, 0, 0), at(3, 0.7, 0), at(5, 0, 0)}, 3},
		{"never", []beat{at(1, 0, 0), at(3, 0, 0), at(4, 9, 0)}, -1},
	} {
		if got := repairedAfter(tt.beats, began, healed); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Ensure that a fault that outlives the conversation is told from one in its middle.
func TestAcknowledgedAfter(t *testing.T) {
	begun := time.Now()
	beats := []beat{{At: begun, Acknowledged: 5}, {At: begun.Add(time.Second), Acknowledged: 8}, {At: begun.Add(2 * time.Second), Acknowledged: 8}}
	for after, want := range map[time.Duration]int{-time.Second: 3, 500 * time.Millisecond: 0, 3 * time.Second: 0} {
		if got := acknowledgedAfter(beats, begun.Add(after)); got != want {
			t.Errorf("after %v: %d, want %d", after, got, want)
		}
	}
}

// Ensure that only members count as untouched that sit on another node than the one
// that restarts, and have sat there since before.
func TestUntouched(t *testing.T) {
	began := time.Now()
	phases := []phase{{"1111", began.Add(time.Second), began.Add(5 * time.Second)}}
	beats := []beat{
		{At: began.Add(-time.Second), Heard: []delivery{{MS: 1, Shard: "1111", Sits: 9}}},
		{At: began.Add(500 * time.Millisecond), Heard: []delivery{{MS: 2, Shard: "2222", Sits: 9}}}, // between
		{At: began.Add(3 * time.Second), Heard: []delivery{
			{MS: 3, Shard: "2222", Sits: 9},
			{MS: 4, Shard: "1111", Sits: 9}, // on the node itself
			{MS: 5, Shard: "2222", Sits: 1}, // came from there
			{MS: 7, Shard: "2222", Sits: 9, Again: true},
		}},
		{At: began.Add(6 * time.Second), Heard: []delivery{{MS: 6, Shard: "2222", Sits: 9}}},
	}
	quiet, during := untouched(beats, began, phases)
	if len(quiet) != 1 || quiet[0] != 1 || len(during) != 1 || during[0] != 3 {
		t.Errorf("quiet = %v, during = %v, want [1] and [3]", quiet, during)
	}
}

// Ensure that the rate of joins is that of the worst second, wherever it begins.
func TestMostPerSecond(t *testing.T) {
	base := time.Now()
	var at []time.Time
	for _, ms := range []int{0, 900, 1100, 1200, 1899, 1900, 3000} {
		at = append(at, base.Add(time.Duration(ms)*time.Millisecond))
	}
	if got := mostPerSecond(at); got != 4 {
		t.Errorf("most = %d, want 4", got)
	}
	if got := mostPerSecond(nil); got != 0 {
		t.Errorf("most of none = %d", got)
	}
}

// Ensure that what readers lack, have twice or too late is found, and nothing else.
func TestMissing(t *testing.T) {
	for keys, want := range map[string]string{
		"n0 n1 n2":      "",
		"x n0 n1 n2 n3": "",
		"n0 n2":         "it lacks n1",
		"n0 n2 n1":      "it has n2 too late",
		"n0 n1 n1 n2":   "it has n1 twice",
	} {
		if got := strings.Join(missing("it", strings.Fields(keys), noticeKey, 3), ","); got != want {
			t.Errorf("%s: %q, want %q", keys, got, want)
		}
	}
}
