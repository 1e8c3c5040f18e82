package friends_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/friends"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/redisbroker"
	"github.com/chatring/chatring/app/redisconn"
	"github.com/chatring/chatring/app/redisstore"
	"github.com/chatring/chatring/app/session"
)

// A clusterNode is the parts of a node that friends need, on a real Redis.
type clusterNode struct {
	*friends.Friends
	t     *testing.T
	hub   *hub.Hub
	count *metrics.Set
	die   func() // ends everything at once, and tells nobody
}

func startNode(t *testing.T, r *chattest.Redis, appid string, grace time.Duration) *clusterNode {
	t.Helper()
	o, err := redisconn.Options(r.URL(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	broker, err := redisbroker.New(redisbroker.Options{URL: r.URL(), AppID: appid, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	n := &clusterNode{t: t, count: metrics.New(appid, "test")}
	n.hub = hub.New(broker, hub.Options{
		Window: 16, WindowBudget: 1 << 20, Linger: time.Second, OpenTimeout: 3 * time.Second, FillGrace: 10 * time.Millisecond,
		Occupied: func(room chat.RoomID, occupied bool) { n.Occupied(room, occupied) },
	}, &n.count.Hub)
	store := redisstore.New(o)
	limits := friends.Limits{Max: 500, Pending: 200}
	n.Friends = friends.New(redisstore.Friends{Store: store}, n.hub, broker, friends.Options{Limits: limits, Grace: grace}, &n.count.Friends)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = n.hub.Run(ctx) })
	running.Go(func() { _ = n.Run(ctx) })
	n.die = sync.OnceFunc(func() {
		stop()
		running.Wait()
		_ = store.Close()
	})
	t.Cleanup(n.die)
	return n
}

// Graces: short enough to wait for, and long enough for what must be over before.
const (
	short = 100 * time.Millisecond
	long  = 2 * time.Second
)

// An ear is a member of an inbox.
type ear struct {
	mu    sync.Mutex
	heard []string
}

func (e *ear) Send(b protocol.Batch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for f := range b.Frames() {
		e.heard = append(e.heard, string(f.JSON()))
	}
}

func (e *ear) Recover(batches []protocol.Batch) {
	for _, b := range batches {
		e.Send(b)
	}
}

// has says how many pushes have some text in them.
func (e *ear) has(text string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.heard {
		if strings.Contains(f, text) {
			n++
		}
	}
	return n
}

// hears makes a user hear its inbox here.
func (n *clusterNode) hears(u chat.UserID) (*ear, *hub.Member) {
	n.t.Helper()
	e := new(ear)
	m, err := n.hub.Join(n.t.Context(), chat.Inbox(u), hub.Join{User: u, Receiver: e})
	if err != nil {
		n.t.Fatal(err)
	}
	return e, m
}

func (n *clusterNode) does(by, verb, other string) {
	n.t.Helper()
	caller := session.Caller{User: chat.UserID(by), Rights: chat.AllRights{}}
	if _, err := n.Do(n.t.Context(), caller, verb, fmt.Appendf(nil, `{"user":%q}`, other)); err != nil {
		n.t.Fatalf("%s %s %s: %v", by, verb, other, err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// Friends on two nodes see each other, until one node dies: those of its users who
// are nowhere else are offline, and the others never were.
func TestDeathOfANode(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	one, two, three := startNode(t, r, "1111", short), startNode(t, r, "2222", short), startNode(t, r, "3333", short)
	alice, _ := one.hears("alice")
	const users, elsewhere = 40, 10
	for i := range users {
		u := fmt.Sprint("user", i)
		two.hears(chat.UserID(u))
		one.does("alice", "request", u)
		two.does(u, "accept", "alice")
		if i < elsewhere {
			three.hears(chat.UserID(u))
		}
	}
	eventually(t, "the news of friends", func() bool {
		seen := 0
		for i := range users {
			seen += min(alice.has(fmt.Sprintf(`"user":"user%d","state":"friend","status":"online"`, i)), 1)
		}
		return seen == users
	})
	eventually(t, "the notices", func() bool { return alice.has(`"type":"friend_accepted"`) == users })
	eventually(t, "all to be noted", func() bool {
		return onRedis(t, r, "SCARD", "chatring:friends:"+strings.TrimPrefix(channelOf(t, r, "2222"), "chatring:")) == users
	})

	two.die()
	eventually(t, "the news of the death", func() bool { return alice.has(`"status":"offline"`) == users-elsewhere })
	eventually(t, "the dead node to be forgotten", func() bool { return onRedis(t, r, "SCARD", "chatring:friends:nodes") == 2 })
	for i := range users {
		offline := alice.has(fmt.Sprintf(`"user":"user%d","state":"friend","status":"offline","last_seen":`, i))
		if want := min(i/elsewhere, 1); offline != want {
			t.Errorf("user%d was told to be offline %d times, want %d", i, offline, want)
		}
	}
	deaths := testutil.ToFloat64(one.count.Friends.Deaths) + testutil.ToFloat64(three.count.Friends.Deaths)
	if deaths < 1 || deaths > 2 {
		t.Errorf("%v nodes have seen to it, want one or both", deaths)
	}
}

// A node that loses its connection, and is back, has its users noted under its next
// name, and friends are told nothing.
func TestConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	one := startNode(t, r, "1111", long)
	alice, _ := one.hears("alice")
	_, bob := one.hears("bob")
	one.does("alice", "request", "bob")
	one.does("bob", "accept", "alice")
	noted := func() int {
		return onRedis(t, r, "SCARD", "chatring:friends:"+strings.TrimPrefix(channelOf(t, r, "1111"), "chatring:"))
	}
	eventually(t, "both to be noted", func() bool { return noted() == 2 })
	before := channelOf(t, r, "1111")

	onRedis(t, r, "CLIENT", "KILL", "TYPE", "pubsub")
	eventually(t, "both to be noted anew", func() bool { return channelOf(t, r, "1111") != before && noted() == 2 })
	eventually(t, "the name before to be forgotten", func() bool { return onRedis(t, r, "SCARD", "chatring:friends:nodes") == 1 })
	if n := alice.has(`"status":"offline"`); n != 0 {
		t.Errorf("alice heard %d times that bob is offline", n)
	}
	bob.Leave()
	eventually(t, "bob to be offline", func() bool { return alice.has(`"status":"offline"`) == 1 })
}

// Whoever goes from one node and comes to another within the grace was never gone.
func TestMoveIsSilent(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	one, two := startNode(t, r, "1111", long), startNode(t, r, "2222", long)
	alice, _ := one.hears("alice")
	one.does("alice", "request", "bob")
	one.does("bob", "accept", "alice")
	at := []*clusterNode{one, two}
	_, bob := one.hears("bob")
	eventually(t, "bob to be online", func() bool { return alice.has(`"status":"online"`) == 1 })
	for i := range 6 {
		bob.Leave()
		_, bob = at[(i+1)%2].hears("bob")
	}
	bob.Leave()
	eventually(t, "bob to be offline", func() bool { return alice.has(`"status":"offline","last_seen"`) > 0 })
	if on, off := alice.has(`"status":"online"`), alice.has(`"status":"offline","last_seen"`); on != 1 || off != 1 {
		t.Errorf("alice heard %d times that bob is online and %d times that he is offline, want once each", on, off)
	}
}

// channelOf returns the name of a node's connection.
func channelOf(t *testing.T, r *chattest.Redis, appid string) string {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Addr})
	defer c.Close()
	for _, name := range c.PubSubChannels(t.Context(), "chatring:node:"+appid+":*").Val() {
		return name
	}
	return ""
}

// onRedis does what an operator does by hand.
func onRedis(t *testing.T, r *chattest.Redis, command ...any) int {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Addr})
	defer c.Close()
	n, err := c.Do(t.Context(), command...).Int()
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return n
}
