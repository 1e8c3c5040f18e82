package hub_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// The names of what a real Redis keeps of the lobby.
const (
	lobbyLog     = "chatring:{lobby}:log"
	lobbyKeys    = "chatring:{lobby}:keys"
	lobbyOldKeys = "chatring:{lobby}:keys:old"
)

// redisNode returns a node's way to a real Redis.
func redisNode(t testing.TB, r *chattest.Redis, appid string) *redisbroker.Broker {
	t.Helper()
	b, err := redisbroker.New(redisbroker.Options{URL: r.URL(), AppID: appid})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hand returns a client that changes the log behind the nodes' backs.
func hand(t *testing.T, r *chattest.Redis) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually waits until a real Redis has made something true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// A log in a real Redis comes back without its last entry, and another node is
// given the position again, before this one says the next: that is noticed.
func TestRedisDoesNotHideALoss(t *testing.T) {
	r := chattest.StartRedis(t)
	broker := redisNode(t, r, "1111")
	one, _ := startOn(t, broker, options)
	two, _ := startOn(t, redisNode(t, r, "2222"), options)
	l := &listener{}
	alice := join(t, one, "lobby", "alice", l, nil)
	first := say(t, alice, "k0")
	lost := say(t, alice, "lost")
	c := hand(t, r)
	c.XDel(t.Context(), lobbyLog, lost.String())
	c.Do(t.Context(), "XSETID", lobbyLog, first.String())
	c.Del(t.Context(), lobbyKeys, lobbyOldKeys)
	bob := join(t, two, "lobby", "bob", &listener{}, nil)
	c.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub")
	say(t, bob, "b")
	say(t, alice, "a")
	eventually(t, "the log has what was lost, and alice has heard b", func() bool {
		log, err := broker.ReadAfter(t.Context(), "lobby", chat.Position{}, 100)
		return err == nil && l.has("b") && slices.ContainsFunc(log, func(p chat.Publication) bool { return p.Key == "lost" })
	})
}

// Somebody takes the last message out of a real Redis by hand, while its key is
// known: the room goes on without it.
func TestMessageTakenOutByHandStaysOut(t *testing.T) {
	r := chattest.StartRedis(t)
	broker := redisNode(t, r, "1111")
	h, _ := startOn(t, broker, options)
	alice := join(t, h, "lobby", "alice", &listener{}, nil)
	say(t, alice, "k0")
	bad := say(t, alice, "bad")
	hand(t, r).XDel(t.Context(), lobbyLog, bad.String())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := alice.Publish(ctx, "k2", []byte("1")); err != nil {
		t.Fatalf("publish: %v", err)
	}
	log, err := broker.ReadAfter(t.Context(), "lobby", chat.Position{}, 100)
	if err != nil || len(log) != 2 || log[1].Key != "k2" {
		t.Errorf("the log has %v, %v, want k0 and k2", log, err)
	}
}

// FLUSHALL takes everything from a real Redis and breaks no connection: rooms in
// which nobody says anything are written back as well.
func TestEmptiedRedisIsFilledAgain(t *testing.T) {
	r := chattest.StartRedis(t)
	broker := redisNode(t, r, "1111")
	h, _ := startOn(t, broker, options)
	rooms := []chat.RoomID{"lobby", "library", "cellar"}
	for _, room := range rooms {
		say(t, join(t, h, room, "alice", &listener{}, nil), "kept")
	}
	probes := broker.Stats().Probes
	eventually(t, "the node has seen Redis as it is", func() bool { return broker.Stats().Probes > probes+1 })
	hand(t, r).FlushAll(t.Context())
	for _, room := range rooms {
		eventually(t, "what was said is in the log again", func() bool {
			log, err := broker.ReadAfter(t.Context(), room, chat.Position{}, 100)
			return err == nil && len(log) == 1 && log[0].Key == "kept"
		})
	}
}

// Somebody writes something else by hand where a room's log was: after FLUSHALL
// the node looks at all its rooms, and writes the others back all the same.
func TestSpoiltKeyHarmsOneRoom(t *testing.T) {
	r := chattest.StartRedis(t)
	broker := redisNode(t, r, "1111")
	h, _ := startOn(t, broker, options)
	for _, room := range []chat.RoomID{"lobby", "library"} {
		say(t, join(t, h, room, "alice", &listener{}, nil), "kept")
	}
	probes := broker.Stats().Probes
	eventually(t, "the node has seen Redis as it is", func() bool { return broker.Stats().Probes > probes+1 })
	c := hand(t, r)
	if _, err := c.TxPipelined(t.Context(), func(both redis.Pipeliner) error {
		both.FlushAll(t.Context())
		both.Set(t.Context(), lobbyLog, "no log", 0)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what was said in the library is in its log again", func() bool {
		log, err := broker.ReadAfter(t.Context(), "library", chat.Position{}, 100)
		return err == nil && len(log) == 1 && log[0].Key == "kept"
	})
}
