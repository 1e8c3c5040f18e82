package main

import (
	"testing"
	"time"
)

// Ensure that a room belongs to the shard with most of its sockets, that a
// split room is told, and that sockets that have left do not count as open.
func TestPlacement(t *testing.T) {
	p := newPlacement()
	for _, s := range []struct{ room, shard string }{
		{"a", "1111"}, {"a", "1111"}, {"a", "1111"}, {"a", "2222"}, {"b", "2222"}, {"c", "2222"}, {"d", "1111"},
	} {
		p.entered(s.room, s.shard)
	}
	p.left("a", "2222")
	p.left("d", "1111")
	p.left("d", "") // no hello was heard
	run, open := p.over()
	if run.Rooms["1111"] != 2 || run.Rooms["2222"] != 2 || run.Split != 1 || run.MainMin != 0.75 || run.MainMean != 3.75/4 {
		t.Errorf("over the run: %+v", run)
	}
	if open.Rooms["1111"] != 1 || open.Rooms["2222"] != 2 || open.Split != 0 || open.MainMin != 1 {
		t.Errorf("at the end: %+v", open)
	}
	if _, sockets := p.away(); sockets != 5 || p.most != 7 {
		t.Errorf("%d sockets, %d at most; want 5 and 7", sockets, p.most)
	}
}

// Ensure that an outage lasts from the first reader's loss until the last is back.
func TestOutage(t *testing.T) {
	p := newPlacement()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	p.readerDown(at(10))
	p.readerDown(at(11))
	p.readerBack(at(12))
	p.readerBack(at(15))
	p.readerDown(at(20))
	p.readerBack(at(21))
	if len(p.outages) != 2 || p.outages[0].Seconds != 5 || p.outages[0].Readers != 2 || p.outages[1].Seconds != 1 {
		t.Errorf("outages = %+v, want 5 s with 2 readers and 1 s with 1", p.outages)
	}
}
