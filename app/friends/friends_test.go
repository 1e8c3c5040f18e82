package friends_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/friends"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/memstore"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A conn is a transport that takes everything at once.
type conn struct {
	mu     sync.Mutex
	frames []string
}

func (c *conn) TryWrite(b protocol.Batch) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f := range b.Frames() {
		c.frames = append(c.frames, string(f.JSON()))
	}
	return len(b)
}

func (c *conn) Write([]protocol.Batch) (bool, protocol.CloseCode) { return true, 0 }
func (c *conn) Finish(protocol.CloseCode)                         {}
func (c *conn) Hurry()                                            {}
func (c *conn) Renew(string) (chat.Rights, time.Duration, *protocol.Error) {
	return nil, 0, &protocol.Error{Code: protocol.BadToken}
}

// heard returns what was written since it was asked last.
func (c *conn) heard() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames := c.frames
	c.frames = nil
	return frames
}

// alone is a node that has no others.
type alone struct{}

func (alone) Channel() string        { return "alone" }
func (alone) Hears(chat.RoomID) bool { return false }

// A node serves the module to sessions, over one hub.
type node struct {
	t       *testing.T
	hub     *hub.Hub
	friends *friends.Friends
	limits  session.Limits
}

var options = friends.Options{Limits: friends.Limits{Max: 3, Pending: 2}, Grace: 500 * time.Millisecond}

// inNode runs a story on one node, in a bubble.
func inNode(t *testing.T, o friends.Options, tell func(t *testing.T, n *node)) {
	synctest.Test(t, func(t *testing.T) {
		count := metrics.New("1111", "test")
		n := &node{t: t}
		n.hub = hub.New(membroker.New().Node("1111"), hub.Options{
			Window: 16, WindowBudget: 1 << 20, Linger: time.Second, OpenTimeout: time.Second,
			Occupied: func(room chat.RoomID, occupied bool) { n.friends.Occupied(room, occupied) },
		}, &count.Hub)
		store := memstore.NewFriends(
			func(inbox chat.RoomID) int {
				return len(n.hub.Reach(context.Background(), []chat.RoomID{inbox})[0].Nodes)
			},
			n.hub.Whisper)
		n.friends = friends.New(store, n.hub, alone{}, o, &count.Friends)
		n.limits = session.Limits{
			Outbox: 1 << 20, Rooms: 4, CommandTimeout: time.Second, Strikes: 3,
			Modules: map[string]session.Module{friends.Name: n.friends},
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = n.hub.Run(ctx) })
		running.Go(func() { _ = n.friends.Run(ctx) })
		tell(t, n)
		stop()
		running.Wait()
	})
}

// A person is a user with one session.
type person struct {
	*session.Session
	t    *testing.T
	conn *conn
}

// enter lets a user in, to hear its inbox.
func (n *node) enter(u chat.UserID) person {
	n.t.Helper()
	p := n.connect(u)
	p.Start(false, session.First{Room: chat.Inbox(u)})
	time.Sleep(100 * time.Millisecond)
	p.conn.heard()
	return p
}

// connect lets a user in who hears nothing.
func (n *node) connect(u chat.UserID) person {
	c := new(conn)
	who := session.Who{User: u, Rights: chat.AllRights{}, Allowance: &session.Allowance{Rates: &session.Rates{}}}
	return person{session.New(n.hub, who, c, &n.limits, &metrics.New("1111", "test").Sessions), n.t, c}
}

func (p person) leave() {
	p.End()
	time.Sleep(time.Second)
}

// does gives a command and returns what is heard then: the answer, and what else
// comes, in any order.
func (p person) does(command string, args ...any) (answer string) {
	p.t.Helper()
	p.Handle(fmt.Appendf(nil, `{"id":1,"cmd":"friends.%s}`, fmt.Sprintf(command, args...)))
	time.Sleep(100 * time.Millisecond)
	var rest []string
	for _, f := range p.conn.heard() {
		if strings.HasPrefix(f, `{"id":`) {
			answer = f
		} else {
			rest = append(rest, f)
		}
	}
	p.conn.mu.Lock()
	p.conn.frames = rest
	p.conn.mu.Unlock()
	var reply struct {
		Ok    json.RawMessage
		Error struct{ Code string }
	}
	if err := json.Unmarshal([]byte(answer), &reply); err != nil {
		p.t.Fatalf("%s: %q: %v", command, answer, err)
	}
	if reply.Error.Code != "" {
		return reply.Error.Code
	}
	return string(reply.Ok)
}

func (p person) answered(t *testing.T, want, command string, args ...any) {
	t.Helper()
	if got := p.does(command, args...); got != want {
		t.Errorf("%s = %s, want %s", fmt.Sprintf(command, args...), got, want)
	}
}

// hears says whether a session has heard some pushes since it was asked last, each
// given by what it has in it, and no other.
func (p person) hears(t *testing.T, want ...string) {
	t.Helper()
	heard := p.conn.heard()
	ok := len(heard) == len(want)
	for _, w := range want {
		found := false
		for _, f := range heard {
			found = found || strings.Contains(f, w)
		}
		ok = ok && found
	}
	if !ok {
		t.Errorf("heard %s, want %s", strings.Join(heard, "\n"), strings.Join(want, "\n"))
	}
}

// Two become friends, see each other come, go and be away, and part.
func TestFriendship(t *testing.T) {
	inNode(t, options, func(t *testing.T, n *node) {
		alice, bob := n.enter("alice"), n.enter("bob")
		phone := n.enter("alice")
		alice.answered(t, `{"user":"bob","state":"requested"}`, `request","user":"bob"`)
		alice.hears(t, `{"push":"friend","user":"bob","state":"requested"}`)
		phone.hears(t, `{"push":"friend","user":"bob","state":"requested"}`)
		bob.hears(t, `{"push":"friend","user":"alice","state":"asked"}`, `"data":{"type":"friend_request","from":"alice"}`)
		bob.answered(t, `{"friends":[{"user":"alice","state":"asked"}],"status":"online"}`, `list"`)

		bob.answered(t, `{"user":"alice","state":"friend"}`, `accept","user":"alice"`)
		bob.hears(t, `{"push":"friend","user":"alice","state":"friend","status":"online"}`)
		alice.hears(t, `{"push":"friend","user":"bob","state":"friend","status":"online"}`, `"data":{"type":"friend_accepted","from":"bob"}`)
		phone.hears(t, `{"push":"friend","user":"bob"`, `"type":"friend_accepted"`)
		bob.answered(t, `{"friends":[{"user":"alice","state":"friend","status":"online"}],"status":"online"}`, `list"`)

		alice.answered(t, `{"status":"away"}`, `status","status":"away"`)
		bob.hears(t, `{"push":"friend","user":"alice","state":"friend","status":"away"}`)
		alice.leave()
		bob.hears(t) // she is there with her phone
		phone.leave()
		bob.hears(t, `{"push":"friend","user":"alice","state":"friend","status":"offline","last_seen":`)
		alice = n.enter("alice")
		bob.hears(t, `{"push":"friend","user":"alice","state":"friend","status":"online"}`)

		alice.answered(t, `{"user":"bob","state":"none"}`, `remove","user":"bob"`)
		bob.hears(t, `{"push":"friend","user":"alice","state":"none"}`)
		alice.leave()
		bob.hears(t)
		bob.leave()
	})
}

// Mistakes are answered, and change nothing.
func TestMistakes(t *testing.T) {
	inNode(t, options, func(t *testing.T, n *node) {
		alice := n.enter("alice")
		for _, m := range []struct{ command, code string }{
			{`request"`, "bad_request"},
			{`request","user":""`, "bad_request"},
			{`request","user":7`, "bad_request"},
			{`request","user":"a b"`, "bad_request"},
			{`request","user":"alice"`, "bad_request"},
			{`block","user":"alice"`, "bad_request"},
			{`accept","user":"bob"`, "no_request"},
			{`status"`, "bad_request"},
			{`status","status":"offline"`, "bad_request"},
			{`list","state":"none"`, "bad_request"},
			{`befriend","user":"bob"`, "unknown_command"},
			{`","user":"bob"`, "unknown_command"},
		} {
			alice.answered(t, m.code, "%s", m.command)
		}
		alice.answered(t, `{"friends":[],"status":"online"}`, `list"`)
		alice.hears(t)

		deaf := n.connect("carol")
		deaf.answered(t, "not_joined", `status","status":"away"`)
		deaf.leave()
		alice.leave()
	})
}

// Lists are bounded, each in its way, and what is done already is no addition.
func TestFullLists(t *testing.T) {
	inNode(t, options, func(t *testing.T, n *node) {
		alice := n.enter("alice")
		for i := range options.Pending {
			alice.answered(t, fmt.Sprintf(`{"user":"u%d","state":"requested"}`, i), `request","user":"u%d"`, i)
		}
		alice.answered(t, "list_full", `request","user":"more"`)
		alice.answered(t, `{"user":"u0","state":"requested"}`, `request","user":"u0"`)
		for i := range options.Max {
			alice.answered(t, fmt.Sprintf(`{"user":"b%d","state":"blocked"}`, i), `block","user":"b%d"`, i)
		}
		alice.answered(t, "list_full", `block","user":"more"`)
		alice.answered(t, `{"user":"b0","state":"blocked"}`, `block","user":"b0"`)
		alice.answered(t, `{"friends":[{"user":"u0","state":"requested"},{"user":"u1","state":"requested"}],"status":"online"}`, `list"`)
		alice.answered(t, `{"friends":[{"user":"b0","state":"blocked"},{"user":"b1","state":"blocked"},{"user":"b2","state":"blocked"}],"status":"online"}`, `list","state":"blocked"`)
		alice.leave()
	})
}

// Whatever alice tries with one who has blocked her, with one who has declined, with
// one whose list is full, and with nobody: what she is answered and hears is the same.
func TestPrivacy(t *testing.T) {
	inNode(t, options, func(t *testing.T, n *node) {
		blocker, decliner, full := n.enter("blocker"), n.enter("decliner"), n.enter("full")
		blocker.answered(t, `{"user":"alice","state":"blocked"}`, `block","user":"alice"`)
		for i := range options.Pending {
			n.connect(chat.UserID(fmt.Sprint("u", i))).does(`request","user":"full"`)
		}
		for _, p := range []person{blocker, full} {
			p.conn.heard()
		}
		stories := make(map[string]string) // by user, what was seen with that user
		for _, other := range []string{"nobody", "blocker", "decliner", "full"} {
			alice := n.enter("alice")
			var seen strings.Builder
			for _, command := range []string{
				`request","user":"%s"`, `request","user":"%s"`, `list"`, `remove","user":"%s"`, `request","user":"%s"`,
				`accept","user":"%s"`, `decline","user":"%s"`, `list"`, `remove","user":"%s"`, `list"`, `block","user":"%s"`, `unblock","user":"%s"`,
			} {
				if strings.Contains(command, "%s") {
					command = fmt.Sprintf(command, other)
				}
				fmt.Fprintln(&seen, alice.does("%s", command), alice.conn.heard())
				if other == "decliner" {
					decliner.does(`decline","user":"alice"`)
				}
			}
			stories[other] = strings.ReplaceAll(seen.String(), `"`+other+`"`, `"X"`)
			alice.leave()
		}
		for other, story := range stories {
			if story != stories["nobody"] {
				t.Errorf("with %s alice sees\n%s\nand with nobody\n%s", other, story, stories["nobody"])
			}
		}
		blocker.hears(t)
		full.hears(t)
		for _, p := range []person{blocker, decliner, full} {
			p.leave()
		}
	})
}

// A request that is made again and again is one notice.
func TestNoticesDoNotPileUp(t *testing.T) {
	inNode(t, options, func(t *testing.T, n *node) {
		alice, bob := n.enter("alice"), n.enter("bob")
		for range 5 {
			alice.does(`request","user":"bob"`)
			alice.does(`remove","user":"bob"`)
		}
		notices := 0
		for _, f := range bob.conn.heard() {
			if strings.Contains(f, `"friend_request"`) {
				notices++
			}
		}
		if notices != 1 {
			t.Errorf("bob got %d notices, want 1", notices)
		}
		alice.leave()
		bob.leave()
	})
}

// Friends may write to each other; all others are refused alike, unless anyone may
// who is not blocked. Whoever is not blocked may be named.
func TestMayWrite(t *testing.T) {
	for _, strangers := range []bool{false, true} {
		o := options
		o.Strangers = strangers
		inNode(t, o, func(t *testing.T, n *node) {
			alice, friend, blocker := n.connect("alice"), n.connect("friend"), n.connect("blocker")
			alice.does(`request","user":"friend"`)
			friend.does(`accept","user":"alice"`)
			alice.does(`request","user":"asked"`)
			alice.does(`block","user":"blocked"`)
			blocker.does(`block","user":"alice"`)
			for to, may := range map[chat.UserID]bool{"friend": true, "asked": strangers, "nobody": strangers, "blocked": false, "blocker": false} {
				err := n.friends.MayWrite(t.Context(), "alice", to)
				if (err == nil) != may {
					t.Errorf("strangers %v: alice may write to %s: %v, want %v", strangers, to, err, may)
				}
				named := n.friends.MayName(t.Context(), "alice", to)
				if may := to != "blocked" && to != "blocker"; (named == nil) != may {
					t.Errorf("alice may name %s: %v, want %v", to, named, may)
				}
				if err != nil && err.Error() != "forbidden: you may not write to this user" {
					t.Errorf("alice to %s: %v", to, err)
				}
			}
			for _, p := range []person{alice, friend, blocker} {
				p.leave()
			}
		})
	}
}
