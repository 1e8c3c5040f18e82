package ring

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
)

// texts are what a node has to tell, oldest first.
func texts(events []Event) (texts []string) {
	for _, e := range events {
		texts = append(texts, e.Text)
	}
	return texts
}

// inBubble runs a node's knowledge of itself in a bubble.
func inBubble(t *testing.T, o Options, tell func(s *Self)) {
	synctest.Test(t, func(t *testing.T) {
		o.AppID = "1111"
		if o.Figures == nil {
			o.Figures = func() metrics.Figures { return metrics.Figures{} }
		}
		o.Draining = func() bool { return false }
		s := NewSelf(o)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		tell(s)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A node's rates are those of the last two seconds, its quantiles those of the last ten,
// and its history ten minutes.
func TestSamples(t *testing.T) {
	buckets := func(n uint64) []metrics.Bucket {
		return []metrics.Bucket{{Seconds: 0.001}, {Seconds: 0.002, Count: n}, {Seconds: math.Inf(1), Count: n}}
	}
	var figures atomic.Pointer[metrics.Figures]
	figures.Store(&metrics.Figures{Append: buckets(0)})
	inBubble(t, Options{Figures: func() metrics.Figures { return *figures.Load() }}, func(s *Self) {
		figures.Store(&metrics.Figures{
			Connections: 3, Streams: 2, Rooms: 2, Members: 5, OutboxBytes: 700, Away: 1, Publications: 100, Deliveries: 1000, Append: buckets(100),
		})
		after := func(d time.Duration) *Node {
			time.Sleep(d)
			synctest.Wait()
			return s.Report()
		}
		n := after(sampleEvery)
		if n.Messages != 50 || n.Deliveries != 500 || n.Connections != 3 || n.Streams != 2 || n.Rooms != 2 || n.Members != 5 || n.Outbox != 700 || n.Away != 1 {
			t.Errorf("sample = %+v", n.Sample)
		}
		if n.P50 == nil || *n.P50 != 1.5 || *n.P99 != 1.99 {
			t.Errorf("quantiles = %v, %v; want 1.5 and 1.99", n.P50, n.P99)
		}
		if n.Redis != nil {
			t.Errorf("Redis = %+v of a node without", n.Redis)
		}
		if n = after(2 * sampleEvery); n.Messages != 0 || n.P99 == nil {
			t.Errorf("after four seconds %v messages a second, p99 %v", n.Messages, n.P99)
		}
		if n = after(10 * time.Second); n.P50 != nil || n.P99 != nil {
			t.Errorf("quantiles of nothing are %v and %v", n.P50, n.P99)
		}
		after(time.Hour)
		if h := s.History(); len(h) != 300 || h[299].At-h[0].At != 598_000 {
			t.Errorf("%d samples over %d ms", len(h), h[len(h)-1].At-h[0].At)
		}
	})
}

// A measurement beyond the last bucket counts as that; histograms that do not fit give
// nothing.
func TestQuantile(t *testing.T) {
	none := []metrics.Bucket{{Seconds: 0.1}, {Seconds: math.Inf(1)}}
	beyond := []metrics.Bucket{{Seconds: 0.1}, {Seconds: math.Inf(1), Count: 4}}
	if q := quantile(0.5, none, beyond); q == nil || *q != 100 {
		t.Errorf("quantile beyond all buckets = %v, want 100", q)
	}
	for _, before := range [][]metrics.Bucket{nil, beyond, none[:1]} {
		if q := quantile(0.5, before, beyond); q != nil {
			t.Errorf("quantile since %v = %v, want none", before, *q)
		}
	}
}

// Redis is there when it is heard and answers; the feed tells when it is lost and for how
// long it was, and nothing of the first connection.
func TestRedis(t *testing.T) {
	var fails atomic.Bool
	o := Options{Check: func(context.Context) error {
		if fails.Load() {
			return errors.New("i/o timeout")
		}
		return nil
	}}
	inBubble(t, o, func(s *Self) {
		ok := func(want bool) {
			t.Helper()
			synctest.Wait()
			if r := s.Report().Redis; r.OK != want || (r.Why == "") != want {
				t.Errorf("Redis = %+v, want %v", r, want)
			}
		}
		ok(false)
		s.Hears("")
		ok(true)
		s.Hears("the connection broke")
		ok(false)
		time.Sleep(1500 * time.Millisecond)
		s.Hears("")
		ok(true)
		fails.Store(true)
		time.Sleep(sampleEvery)
		ok(false)
		s.Hears("the connection broke")
		s.Hears("")
		ok(false)
		fails.Store(false)
		time.Sleep(sampleEvery)
		ok(true)
		want := []string{"started", "has lost Redis: the connection broke", "has Redis again, after 1.5s", "has lost Redis: it does not answer", "has Redis again, after 2s"}
		if got := texts(s.Report().Events); !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// What befalls many rooms at once is one event; the last 200 are kept.
func TestEvents(t *testing.T) {
	inBubble(t, Options{}, func(s *Self) {
		for i := range 1000 {
			s.Note(Event{Kind: Healed, Room: chat.RoomID(fmt.Sprint("r", i)), Rooms: 1, Count: 2})
			s.Note(Event{Kind: Split, Room: chat.RoomID(fmt.Sprint("s", i)), Rooms: 1, Why: fmt.Sprint(i % 2)})
		}
		time.Sleep(together)
		s.Note(Event{Kind: Healed, Room: "late", Rooms: 1, Count: 1})
		want := []string{
			"started",
			"healed the log of 1000 rooms (r0 among them) that had lost its tail: 2000 messages restored",
			"has members of 500 rooms (s0 among them), which are at home on 0",
			"has members of 500 rooms (s1 among them), which are at home on 1",
			"healed the log of late that had lost its tail: 1 message restored",
		}
		if got := texts(s.Report().Events); !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		for range 1000 {
			s.Note(Event{Kind: Draining})
		}
		events := s.Report().Events
		if len(events) != maxEvents || events[maxEvents-1].Seq != 1005 || events[0].Seq != 806 || events[0].Node != "1111" || events[0].By != "1111" {
			t.Errorf("%d events, from %+v to %+v", len(events), events[0], events[len(events)-1])
		}
	})
}
