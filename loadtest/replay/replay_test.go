package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func conversation(rooms, lines int) []recording {
	var all []recording
	for r := range rooms {
		rec := recording{room: fmt.Sprintf("room%d", r)}
		for i := range lines {
			rec.lines = append(rec.lines, utterance{fmt.Sprintf("[nick|%d]", i%7), fmt.Sprintf("<%d> & \"€\"", i)})
		}
		all = append(all, rec)
	}
	return all
}

func replayOn(t *testing.T, f *fake, timeout time.Duration) *report {
	t.Helper()
	f.start(t)
	return play(context.Background(), options{
		bases: []string{f.url}, readers: 3, speakers: 4, dials: 16, settle: 5 * time.Second, timeout: timeout,
	}, conversation(3, 60))
}

// Ensure that a conversation is played to its end through everything that a
// cluster may do to a client: break sockets, lose answers, be unavailable,
// recover by itself or leave it to history.
func TestPlay(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fake  *fake
		again bool // readers have to come back
	}{
		{"a good day", &fake{window: 100}, false},
		{"sockets break, and joins recover", &fake{window: 100, cutEvery: 20}, true},
		{"sockets break, and history is to be paged", &fake{window: 0, cutEvery: 20}, true},
		{"answers are lost", &fake{window: 100, muteEvery: 10}, false},
		{"the log is unavailable now and then", &fake{window: 100, busyEvery: 9}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := replayOn(t, tt.fake, time.Minute)
			if !r.OK || r.Acknowledged != 180 || r.Delivered != 540 {
				t.Errorf("not well:\n%v", r)
			}
			if again := r.Reconnects > 0; again != tt.again {
				t.Errorf("readers came back %d times, want some: %v", r.Reconnects, tt.again)
			}
			if r.Run.Rooms["1111"] != 3 || r.Run.Split != 0 {
				t.Errorf("placement = %+v, want 3 rooms on 1111", r.Run)
			}
		})
	}
}

// Ensure that a cluster that breaks a promise is found out from outside.
func TestPlayFindsViolations(t *testing.T) {
	isAt := func(m message, offset string) bool { return strings.HasSuffix(m.Pos, "-"+offset) }
	for _, tt := range []struct {
		name string
		fake *fake
		want func(f findings) bool
	}{
		{"one delivery is left out", &fake{tamper: func(n int, m message) []message {
			if n == 0 && isAt(m, "30") {
				return nil
			}
			return []message{m}
		}}, nil},
		{"everybody misses a message", &fake{tamper: func(_ int, m message) []message {
			if isAt(m, "30") {
				return nil
			}
			return []message{m}
		}}, func(f findings) bool { return f.Lost == 9 && f.Holes == 9 }},
		{"everybody misses the last message", &fake{tamper: func(_ int, m message) []message {
			if isAt(m, "59") {
				return nil
			}
			return []message{m}
		}}, func(f findings) bool { return f.Lost == 9 && f.Holes == 0 }},
		{"everybody hears a message twice", &fake{tamper: func(_ int, m message) []message {
			if isAt(m, "30") {
				return []message{m, m}
			}
			return []message{m}
		}}, func(f findings) bool { return f.Doubled == 9 && f.Lost == 0 }},
		{
			"a retry is taken for another message", &fake{muteEvery: 20, forgetSeen: true},
			func(f findings) bool { return f.Doubled > 0 },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := tt.fake
			if tt.want == nil { // who is left out is chance: a speaker may be
				f.start(t)
				r := play(context.Background(), options{bases: []string{f.url}, readers: 3, speakers: 4, dials: 16, settle: time.Second, timeout: time.Minute}, conversation(20, 40))
				if r.OK || r.Found.Lost == 0 || r.Found.Lost != r.Found.Holes {
					t.Errorf("not found:\n%v", r)
				}
				return
			}
			f.start(t)
			r := play(context.Background(), options{bases: []string{f.url}, readers: 3, speakers: 4, dials: 16, settle: time.Second, timeout: time.Minute}, conversation(3, 60))
			if r.OK || !tt.want(r.Found) {
				t.Errorf("not found:\n%v", r)
			}
		})
	}
}

// Ensure that a run in which nothing was acknowledged is a failure, and that
// it ends in time: with a cluster that always refuses, and with none at all.
func TestPlayVacuous(t *testing.T) {
	t.Run("unavailable", func(t *testing.T) {
		t.Parallel()
		r := replayOn(t, &fake{refuseAll: true}, 2*time.Second)
		if r.OK || r.Acknowledged != 0 || r.Found.Unanswered != 180 {
			t.Errorf("taken for well:\n%v", r)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		r := play(context.Background(), options{
			bases: []string{"ws://127.0.0.1:1"}, readers: 1, speakers: 1, dials: 4, settle: time.Second, timeout: 2 * time.Second,
		}, conversation(1, 1))
		if r.OK {
			t.Errorf("taken for well:\n%v", r)
		}
	})
	t.Run("an empty recording", func(t *testing.T) {
		t.Parallel()
		f := &fake{}
		f.start(t)
		r := play(context.Background(), options{bases: []string{f.url}, readers: 1, speakers: 1, dials: 4, settle: time.Second, timeout: 2 * time.Second}, nil)
		if r.OK {
			t.Errorf("taken for well:\n%v", r)
		}
	})
}

// Ensure that a recording is read room by room, without what nobody said, and
// that nicks become possible users.
func TestParseRecording(t *testing.T) {
	const file = `{"room":"a","t":1,"kind":"join","nick":"x","text":""}
{"room":"a","t":1,"kind":"message","nick":"[D-Tail] ","text":"one"}
{"room":"b","t":1,"kind":"message","nick":"J^3","text":"two"}
{"room":"a","t":2,"kind":"message","nick":"bur[n] er","text":"three"}
{"room":"c","t":2,"kind":"message","nick":"x","text":"four"}
`
	got, err := parseRecording(strings.NewReader(file), limits{rooms: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(got), "[{a [{[D-Tail] one} {bur[n]er three}]} {b [{J^3 two}]}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got, _ = parseRecording(strings.NewReader(file), limits{lines: 1})
	if countLines(got) != 3 {
		t.Errorf("%d lines, want one of each of 3 rooms", countLines(got))
	}
}

// Ensure that the checked-in excerpt can be played.
func TestExcerpt(t *testing.T) {
	rooms, err := readRecording("../data/ubuntu-excerpt.jsonl", limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(rooms) != 12 || countLines(rooms) < 2000 {
		t.Errorf("%d rooms with %d messages, want 12 with more than 2000", len(rooms), countLines(rooms))
	}
}
