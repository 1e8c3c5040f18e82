package redisbroker_test

import (
	"testing"

	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// A node's channel has a subscriber while its connection lives, and another
// connection has another channel.
func TestChannel(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	by := operator(t, r)
	if name := newBroker(t, redisbroker.Options{URL: r.URL()}).Channel(); name != "" {
		t.Errorf("Channel before Run = %q", name)
	}
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	listens := func(channel string) bool {
		return channel != "" && by.PubSubNumSub(t.Context(), channel).Val()[channel] == 1
	}
	eventually(t, "a channel with a subscriber", func() bool { return listens(b.Channel()) })

	first := b.Channel()
	do(t, by, "CLIENT KILL TYPE pubsub")
	eventually(t, "another channel", func() bool { return b.Channel() != first && listens(b.Channel()) })
	if listens(first) {
		t.Errorf("%s is heard after the end of its connection", first)
	}
}

// A node hears a room until Redis does not count it any more.
func TestHears(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	by := operator(t, r)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	if b.Hears("lobby") {
		t.Error("it hears a room that nobody has opened")
	}
	for range 50 {
		open(t, b, "lobby")
		if !b.Hears("lobby") {
			t.Fatal("it does not hear an open room")
		}
		b.Close("lobby")
		eventually(t, "the end of hearing", func() bool { return !b.Hears("lobby") })
		if n := by.PubSubNumSub(t.Context(), "chatring:{lobby}").Val()["chatring:{lobby}"]; n != 0 {
			t.Fatalf("Redis counts %d who hear the room, want 0", n)
		}
	}
}
