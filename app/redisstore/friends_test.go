package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/friends"
	"github.com/chatring/chatring/app/friendstest"
	"github.com/chatring/chatring/app/redisstore"
)

// A world is a store on a Redis of its own. Whoever is there has a subscriber, as a
// node would be one.
type world struct {
	redisstore.Friends
	t  *testing.T
	by *redis.Client

	subscribers map[chat.UserID]*subscriber
}

type subscriber struct {
	pubsub *redis.PubSub
	mu     sync.Mutex
	heard  []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	r := startGuarded(t)
	w := &world{t: t, by: redis.NewClient(&redis.Options{Addr: r.Addr}), subscribers: map[chat.UserID]*subscriber{}}
	w.Friends = redisstore.Friends{Store: newStore(t, r)}
	t.Cleanup(func() {
		for u := range w.subscribers {
			w.Go(u)
		}
		_ = w.by.Close()
	})
	return w
}

func channelOf(u chat.UserID) string { return "chatring:{" + string(chat.Inbox(u)) + "}" }

func (w *world) Come(u chat.UserID) {
	w.t.Helper()
	s := &subscriber{pubsub: w.by.Subscribe(context.Background(), channelOf(u))}
	if _, err := s.pubsub.Receive(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.subscribers[u] = s
	messages := s.pubsub.Channel()
	go func() {
		for m := range messages {
			s.mu.Lock()
			s.heard = append(s.heard, m.Payload)
			s.mu.Unlock()
		}
	}()
}

func (w *world) Go(u chat.UserID) {
	w.t.Helper()
	_ = w.subscribers[u].pubsub.Close()
	delete(w.subscribers, u)
	w.eventually("the end of a subscription", func() bool {
		channel := channelOf(u)
		return w.by.PubSubNumSub(context.Background(), channel).Val()[channel] == 0
	})
}

// Heard waits for a message of its own, behind which there is nothing else.
func (w *world) Heard(u chat.UserID) (pushes []string) {
	w.t.Helper()
	s := w.subscribers[u]
	if s == nil {
		return nil
	}
	end := fmt.Sprint("end ", time.Now().UnixNano())
	w.by.Publish(w.t.Context(), channelOf(u), end)
	w.eventually("the last message", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.heard) > 0 && s.heard[len(s.heard)-1] == end
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.heard[:len(s.heard)-1] {
		push, ok := strings.CutPrefix(m, "s friends s") // a signal of no node
		if !ok {
			w.t.Errorf("heard %q, which is no signal", m)
		}
		pushes = append(pushes, push)
	}
	s.heard = nil
	return pushes
}

func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// calls returns how often Redis has carried out a command.
func (w *world) calls(command string) (n int) {
	w.t.Helper()
	stats := w.by.InfoMap(w.t.Context(), "commandstats").Item("Commandstats", "cmdstat_"+command)
	_, _ = fmt.Sscanf(stats, "calls=%d,", &n)
	return n
}

// The store on Redis does what every store must do.
func TestFriends(t *testing.T) {
	friendstest.Test(t, func(t *testing.T) friendstest.World {
		t.Parallel()
		return newWorld(t)
	})
}

func befriend(t *testing.T, w *world, a, b chat.UserID) {
	t.Helper()
	none, both := friends.Pair{Mine: friends.None, Theirs: friends.None}, friends.Pair{Mine: friends.Friend, Theirs: friends.Friend}
	if _, err := w.Swap(t.Context(), friends.Change{User: a, Other: b, From: none, To: both, Limits: friends.Limits{Max: 10_000}}); err != nil {
		t.Fatal(err)
	}
}

func see(t *testing.T, w *world, node string, here bool, users ...chat.UserID) []friends.News {
	t.Helper()
	at := make([]friends.Sight, len(users))
	for i, u := range users {
		at[i] = friends.Sight{User: u, Here: here}
	}
	found, err := w.Look(t.Context(), node, at)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A list of 500 friends is one question to Redis, and a change of status one message
// for each friend who is there: none for those who are not.
func TestWhatFriendsCost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const all, there = 500, 20
	for i := range all {
		befriend(t, w, "alice", chat.UserID(fmt.Sprint("user", i)))
	}
	if got := w.calls("publish"); got != 0 {
		t.Errorf("%d messages when nobody is there, want none", got)
	}
	for i := range there {
		w.Come(chat.UserID(fmt.Sprint("user", i)))
	}
	w.Come("alice")

	published := w.calls("publish")
	see(t, w, "chatring:node:1", true, "alice")
	if got := w.calls("publish") - published; got != there {
		t.Errorf("%d friends of %d are there: %d messages, want %d", there, all, got, there)
	}
	if _, _, err := w.List(t.Context(), "alice"); err != nil { // the script is there
		t.Fatal(err)
	}
	asked := w.calls("evalsha")
	list, _, err := w.List(t.Context(), "alice")
	if err != nil || len(list) != all {
		t.Errorf("List = %d friends, %v, want %d", len(list), err, all)
	}
	if got := w.calls("evalsha") - asked; got != 1 {
		t.Errorf("the list took %d questions, want 1", got)
	}
}

// The users of a dead node are taken over, each by one node, and friends hear of
// those who are nowhere else. Nothing is left of the node.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dead := w.by.Subscribe(t.Context(), "chatring:node:1111:x:1")
	alive := w.by.Subscribe(t.Context(), "chatring:node:2222:x:1")
	t.Cleanup(func() { _ = alive.Close() })
	for _, s := range []*redis.PubSub{dead, alive} {
		if _, err := s.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.Come("bob")
	const users, elsewhere = 100, 30
	var names []chat.UserID
	for i := range users {
		names = append(names, chat.UserID(fmt.Sprint("user", i)))
		befriend(t, w, "bob", names[i])
		w.Come(names[i])
	}
	see(t, w, "chatring:node:1111:x:1", true, names...)
	see(t, w, "chatring:node:2222:x:1", true, "bob")
	w.Heard("bob")
	if nodes, err := w.Dead(t.Context()); len(nodes) != 0 || err != nil {
		t.Errorf("Dead = %v, %v, want none", nodes, err)
	}
	if found, more, err := w.TakeOver(t.Context(), "chatring:node:1111:x:1"); len(found) != 0 || more || err != nil {
		t.Errorf("TakeOver of a node that lives = %v, %v, %v", found, more, err)
	}

	_ = dead.Close()
	for _, u := range names[elsewhere:] {
		w.Go(u)
	}
	w.eventually("the node's death", func() bool {
		nodes, err := w.Dead(t.Context())
		return err == nil && len(nodes) == 1 && nodes[0] == "chatring:node:1111:x:1"
	})
	var taking sync.WaitGroup
	found := make(chan friends.News, 2*users)
	for range 4 {
		taking.Go(func() {
			for more := true; more; {
				var some []friends.News
				var err error
				if some, more, err = w.TakeOver(context.Background(), "chatring:node:1111:x:1"); err != nil {
					t.Error(err)
					return
				}
				for _, n := range some {
					found <- n
				}
			}
		})
	}
	taking.Wait()
	close(found)
	changed, told := 0, 0
	for n := range found {
		told += n.Told
		if n.Changed {
			changed++
		}
	}
	if want := users - elsewhere; changed != want || told != want {
		t.Errorf("%d users changed and %d friends were told, want %d each", changed, told, want)
	}
	if heard := w.Heard("bob"); len(heard) != users-elsewhere || !strings.Contains(heard[0], `"status":"offline","last_seen":`) {
		t.Errorf("bob heard %d: %q", len(heard), heard)
	}
	if nodes, err := w.Dead(t.Context()); len(nodes) != 0 || err != nil {
		t.Errorf("Dead = %v, %v, want none", nodes, err)
	}
	if n := w.by.Exists(t.Context(), "chatring:friends:node:1111:x:1").Val(); n != 0 {
		t.Error("the dead node's users are still noted")
	}
}

// Of users who have nobody and are nowhere, nothing is kept.
func TestNothingIsKeptOfNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	none, both := friends.Pair{Mine: friends.None, Theirs: friends.None}, friends.Pair{Mine: friends.Friend, Theirs: friends.Friend}
	w.Come("alice")
	see(t, w, "chatring:node:1", true, "alice")
	befriend(t, w, "alice", "bob")
	w.Go("alice")
	see(t, w, "chatring:node:1", false, "alice")
	if _, err := w.Swap(t.Context(), friends.Change{User: "bob", Other: "alice", From: both, To: none}); err != nil {
		t.Fatal(err)
	}
	if keys, want := w.by.Keys(t.Context(), "*").Val(), "chatring:friends:nodes"; len(keys) != 1 || keys[0] != want {
		t.Errorf("Redis keeps %q, want only %q", keys, want)
	}
}
