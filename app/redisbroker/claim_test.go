package redisbroker

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
)

// A room is not unsubscribed while a call in flight says that it is heard, and
// a room that is about to be left is not claimed any more.
func TestClaimHoldsSubscription(t *testing.T) {
	b, err := New(Options{URL: "redis://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	const room = chat.RoomID("lobby")
	due := func(subscribe, unsubscribe int) {
		t.Helper()
		s, u := b.bridge.due()
		if len(s) != subscribe || len(u) != unsubscribe {
			t.Fatalf("due = %v, %v, want %d and %d rooms", s, u, subscribe, unsubscribe)
		}
	}
	claim := func(want string) {
		t.Helper()
		if got := b.bridge.claim(room); got != want {
			t.Fatalf("claim = %q, want %q", got, want)
		}
	}

	b.bridge.begin("node-1")
	claim("")
	b.bridge.want(room)
	due(1, 0)
	claim("") // Redis has not confirmed it
	b.bridge.subscribed(room)
	claim("node-1")
	claim("node-1")
	b.Close(room)
	claim("")
	due(0, 0)
	b.bridge.release([]chat.RoomID{room})
	due(0, 0)
	b.bridge.want(room) // and it is heard all the while
	b.Close(room)
	due(0, 0)
	b.bridge.release([]chat.RoomID{room})
	due(0, 1)
	b.bridge.want(room) // waits for the confirmation
	due(0, 0)
	b.bridge.unsubscribed(room)
	due(1, 0)

	// The connection is lost with a claim on it; the claim names that
	// connection, and its release finds the line.
	b.bridge.subscribed(room)
	claim("node-1")
	b.bridge.lose()
	claim("")
	if got := b.bridge.begin("node-2"); !slices.Equal(got, []chat.RoomID{room}) {
		t.Fatalf("begin = %v, want %s", got, room)
	}
	b.bridge.subscribed(room)
	b.Close(room)
	due(0, 0)
	b.bridge.release([]chat.RoomID{room})
	due(0, 1)
	b.bridge.unsubscribed(room)
	if len(b.bridge.lines) != 0 || len(b.bridge.changed) != 0 {
		t.Errorf("%d lines and %d changes are left, want none", len(b.bridge.lines), len(b.bridge.changed))
	}
}

// The scripts publish if and only if a node other than the caller's listens. The
// caller's is discounted while the connection that it names lives, and at no
// other time.
func TestScriptsDiscountLivingCaller(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: chattest.StartRedis(t).Addr})
	t.Cleanup(func() { _ = client.Close() })
	subscribe := func(channels ...string) {
		t.Helper()
		s := client.Subscribe(t.Context(), channels...)
		t.Cleanup(func() { _ = s.Close() })
		for range channels {
			if _, err := s.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	subscribe("self", roomChannel("mine"), roomChannel("shared"))
	subscribe("other", roomChannel("theirs"), roomChannel("shared"))

	b, err := New(Options{URL: "redis://127.0.0.1:1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	run := func(c *call, own string) any {
		t.Helper()
		c.ctx, c.own = t.Context(), own
		args := c.command(clock{})
		args[0], args[1] = "eval", c.script.source
		reply, err := client.Do(t.Context(), args...).Result()
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	for _, test := range []struct {
		room   chat.RoomID
		own    string
		others int64
	}{
		{"mine", "self", 0},
		{"mine", "", 1},     // closed a moment ago: heard needlessly, never missed
		{"mine", "gone", 1}, // the claimed connection has died, another one hears
		{"shared", "self", 1},
		{"shared", "gone", 2},
		{"theirs", "", 1},
		{"theirs", "gone", 1},
		{"nobody's", "", 0},
		{"nobody's", "gone", 0},
	} {
		d := chat.Draft{Room: test.room, From: "alice", Key: test.own + ".", Body: []byte(`1`)}
		for _, try := range []string{"the first time", "again"} {
			reply := run(b.appendCall(chat.Publication{Draft: d}, chat.Position{}, false), test.own)
			if _, _, others, err := parseAppended(reply); err != nil || others != test.others {
				t.Errorf("in %s as %q %s: %d others, %v, want %d", test.room, test.own, try, others, err, test.others)
			}
		}
		if got := run(tellCall(test.room, []byte("s x y")), test.own); got != test.others {
			t.Errorf("a signal in %s as %q: %v others, want %d", test.room, test.own, got, test.others)
		}
	}
}
