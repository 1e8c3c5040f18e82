package redisbroker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
)

func newCall(ctx context.Context, key string) *call {
	c := appendCallOf(key)
	c.ctx, c.done = ctx, make(chan struct{})
	return c
}

func appendCallOf(key string) *call {
	b := &Broker{options: Options{Retention: 100, RetentionAge: time.Hour, KeyWindow: time.Minute}}
	return b.appendCall(chat.Draft{Room: "lobby", From: "alice", Key: key, Body: []byte(`1`)}, chat.Position{})
}

// A draft that was given up is not appended, whatever the node took Redis' clock
// for before: a clock that is wrong is mended by what Redis answers, and drafts
// that are not given up are appended all the same.
func TestClockIsMended(t *testing.T) {
	t.Parallel()
	b, err := New(Options{URL: chattest.StartRedis(t).URL(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = b.commits.client.Close(), b.reads.Close() })
	ctx := t.Context()
	b.commits.load(ctx)
	live, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	over, cancel := context.WithDeadline(ctx, time.Now())
	defer cancel()

	// appended commits a call as often as a clock may have to be read.
	appended := func(c *call) bool {
		t.Helper()
		for range 2 {
			again, rest := b.commits.commit(ctx, []*call{c})
			if rest {
				t.Fatal("Redis needs a rest")
			}
			if len(again) == 0 {
				return c.err == nil
			}
		}
		return false
	}
	clocks := map[string]clock{
		"unread":       {},
		"an hour slow": {theirs: time.Now().Add(-time.Hour), ours: time.Now()},
		"an hour fast": {theirs: time.Now().Add(time.Hour), ours: time.Now()},
	}
	for name, wrong := range clocks {
		b.commits.clock = wrong
		if c := newCall(live, name); !appended(c) {
			t.Errorf("%s: a draft was refused: %v", name, c.err)
		}
		if appended(newCall(over, "late "+name)) {
			t.Errorf("%s: a draft that was given up was appended", name)
		}
		if c := newCall(over, name); !appended(c) {
			t.Errorf("%s: a key that is in the log was refused: %v", name, c.err)
		}
	}
	b.commits.clock = clock{theirs: time.Now().Add(time.Hour), ours: time.Now().Add(-2 * maxClockAge)}
	if appended(newCall(over, "stale")) {
		t.Error("a reading that is too old was believed")
	}
	b.commits.clock = clocks["an hour slow"]
	if c := newCall(ctx, "without end"); !appended(c) {
		t.Errorf("a draft without a deadline was refused: %v", c.err)
	}
	log, err := b.ReadAfter(ctx, "lobby", chat.Position{}, 100)
	if got, want := len(log), len(clocks)+1; got != want || err != nil {
		t.Errorf("the log has %d publications, %v, want %d", got, err, want)
	}
}
