package main

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"
)

// Ensure that a beat says who waits, what is late, and for how long a reader has
// been where it heard something.
func TestBeat(t *testing.T) {
	base := time.Now()
	at := func(s int) time.Time { return base.Add(time.Duration(s) * time.Second) }
	l := newLedger("room")
	l.tracing = true
	a, b := l.reader("a"), l.reader("b")
	for _, h := range []*hearing{a, b} {
		h.join(position{}, false)
		h.met("1111", at(0))
	}
	look := func(s int) beat {
		var got beat
		l.beat(&got, at(s))
		return got
	}

	l.turn(at(1))
	if got := look(3); got.Waiting != 2 || got.Late != 0 {
		t.Errorf("while the connection is opened: %+v", got)
	}
	l.say("k", "nick", `{}`, at(3))
	if got := look(4); got.Waiting != 3 {
		t.Errorf("not answered: %+v", got)
	}
	l.ack("k", position{7, 0}, at(4))
	a.message(position{7, 0}, "k", "nick", `{}`, at(5))
	got := look(6)
	if got.Waiting != 0 || got.Late != 3 || got.Acknowledged != 1 {
		t.Errorf("b has not heard it: %+v", got)
	}
	if len(got.Heard) != 1 || got.Heard[0] != (delivery{MS: 2000, Shard: "1111", Sits: 5}) {
		t.Errorf("heard = %+v", got.Heard)
	}
	b.left(at(6))
	if got := look(8); got.Gone != 2 {
		t.Errorf("b is away: %+v", got)
	}
	b.join(position{7, 0}, true)
	b.reset(position{8, 0})
	l.sayAgain("k")
	b.message(position{8, 0}, "k", "nick", `{}`, at(6))
	if got := look(7); got.Late != 0 || got.Gone != 0 || got.Declared != 1 || len(got.Heard) != 1 || !got.Heard[0].Again {
		t.Errorf("all have heard it: %+v", got)
	}
}

// Ensure that a run writes beats to its end, and every delivery in one of them.
func TestTrace(t *testing.T) {
	f := &fake{window: 100, cutEvery: 20}
	f.start(t)
	var trace bytes.Buffer
	play(context.Background(), options{
		bases: []string{f.url}, readers: 3, speakers: 4, dials: 16, settle: 5 * time.Second, timeout: time.Minute, rate: 200, beats: &trace,
	}, conversation(3, 40))
	var last beat
	n, heard := 0, 0
	for d := json.NewDecoder(&trace); d.More(); n++ {
		last = beat{}
		if err := d.Decode(&last); err != nil {
			t.Fatal(err)
		}
		heard += len(last.Heard)
	}
	if n < 4 || last.Acknowledged != 120 || last.Ended == 0 || heard != 360 {
		t.Errorf("%d beats, %d deliveries in them; the last one: %+v", n, heard, last)
	}
}
