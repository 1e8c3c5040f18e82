package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
)

// The story of a social platform, on three nodes. Alice and bob are friends, on
// different nodes. Alice has three devices; she goes away, and what waited is there
// when she is back. She blocks bob. A service tells a thousand users something, of
// whom two hundred are there, and a node dies in the middle of more.
func TestPeople(t *testing.T) {
	c := Start(t, 3)
	bob := c.Dial(c.Node(2), "/ws/inbox?user=bob")
	devices := make([]*Client, 3)
	for i := range devices {
		devices[i] = c.Dial(c.Node(i+1), "/ws/inbox?user=alice")
	}
	alice := devices[0]
	alice.do(`"cmd":"friends.request","user":"bob"`)
	bob.friend("alice", "asked", "")
	bob.do(`"cmd":"friends.accept","user":"alice"`)
	bob.friend("alice", "friend", "online")
	for i, device := range devices {
		device.friend("bob", "friend", "online")
		device.Wait(fmt.Sprintf("the acceptance on device %d", i+1), inInbox("friend_accepted", "bob"))
	}

	// One device after the other goes: she is there until the last one has gone.
	last := c.notify(t, "alice", "n0", 3)
	for _, device := range devices {
		device.Message("n0")
	}
	for _, device := range devices[:2] {
		_ = device.conn.CloseNow()
	}
	if got := c.whereIs(t, "alice"); got.Sessions > 1 { // the others may not be missed yet
		t.Logf("alice has %d sessions still", got.Sessions)
	}
	_ = devices[2].conn.CloseNow()
	bob.friend("alice", "friend", "offline")
	if got := c.whereIs(t, "alice"); got.Online {
		t.Errorf("alice is told to be offline, and is %+v", got)
	}

	// What comes while she is away waits: a notification, and what bob writes.
	c.notify(t, "alice", "n1", 0)
	direct := bob.do(`"cmd":"join","user":"alice"`).Room
	said := bob.do(fmt.Sprintf(`"cmd":"publish","room":%q,"key":"d1","data":"are you there?"`, direct))
	alice = c.Dial(c.Node(1), "/ws/inbox?user=alice&since="+last)
	alice.Message("n1")
	alice.Wait("word of bob's message", inInbox("direct", "bob"))
	bob.friend("alice", "friend", "online")
	if rooms := alice.do(`"cmd":"rooms"`).Rooms; len(rooms) != 1 || rooms[0].Room != direct || rooms[0].Unread != 1 {
		t.Errorf("alice's rooms are %+v, want %s with one unread message", rooms, direct)
	}
	alice.do(fmt.Sprintf(`"cmd":"join","room":%q,"since":"0-0"`, direct))
	alice.do(fmt.Sprintf(`"cmd":"read","room":%q,"pos":%q`, direct, said.Pos))
	if rooms := alice.do(`"cmd":"rooms"`).Rooms; len(rooms) != 1 || rooms[0].Unread != 0 {
		t.Errorf("alice's rooms are %+v, want nothing unread", rooms)
	}

	// She blocks him. He learns nothing of it, sees her no more, and may not write.
	alice.do(`"cmd":"friends.block","user":"bob"`)
	bob.friend("alice", "none", "")
	stranger := bob.do(`"cmd":"join","user":"nobody-at-all"`).Room
	for _, room := range []string{direct, stranger} {
		if code := bob.fail(fmt.Sprintf(`"cmd":"publish","room":%q,"key":"d2","data":"hello?"`, room)); code != "forbidden" {
			t.Errorf("in %s after the block: %s, want forbidden", room, code)
		}
	}
	bob.do(`"cmd":"friends.request","user":"alice"`)
	if got := string(bob.do(`"cmd":"friends.list"`).raw); got != `{"friends":[{"user":"alice","state":"requested"}],"status":"online"}` {
		t.Errorf("bob's list is %s, want a request that is open for ever", got)
	}

	c.thousand(t)
	c.noRaces()
}

// thousand has a service tell a thousand users something, of whom two hundred are
// there, and then more while a node dies.
func (c *Cluster) thousand(t *testing.T) {
	t.Helper()
	users := make([]string, 1000)
	for i := range users {
		users[i] = fmt.Sprintf("user-%d", i)
	}
	online := make([]*Client, 200)
	for i := range online {
		online[i] = c.Dial(c.Node(1+i%3), "/ws/inbox?user="+users[i])
	}
	before := c.bridgeMessages()
	answer := c.notifyAll(t, users, "all-1")
	if answer.Sent != 1000 || answer.Online != 200 || answer.Sessions != 200 || answer.Nodes != 3 {
		t.Errorf("sent %d, online %d, sessions %d, nodes %d, want 1000, 200, 200, 3", answer.Sent, answer.Online, answer.Sessions, answer.Nodes)
	}
	for _, client := range online {
		client.Message("all-1")
	}
	// A message goes to the node of its user, if that is another one than the node that
	// answered, and a question and its answer as well; to those who are away, nothing.
	if got := c.bridgeMessages() - before; got > 3*200 {
		t.Errorf("%v messages came to the nodes over Redis, want 600 at the most", got)
	}
	if got := c.Redis("XLEN", "chatring:{@user-999}:log"); got != "1\n" {
		t.Errorf("the inbox of somebody who is away holds %q, want one", got)
	}
	c.Dial(c.Node(2), "/ws/inbox?user=user-999&since=0-0").Message("all-1")

	// A node dies while the service goes on. Each request is sent again until it is
	// answered, under its key.
	var sending sync.WaitGroup
	sending.Go(func() {
		for n := range 5 {
			c.notifyAll(t, users, fmt.Sprintf("more-%d", n))
		}
	})
	online[0].Message("more-0")
	c.Signal("ws3", syscall.SIGKILL)
	sending.Wait()
	for i, client := range online {
		if i%3 == 2 {
			client = c.Dial(c.Node(1), "/ws/inbox?since=0-0&user="+users[i])
		}
		client.Message("more-4")
	}
	for _, user := range []string{"user-0", "user-2", "user-500", "user-999"} {
		if got := c.Redis("XLEN", "chatring:{@"+user+"}:log"); got != "6\n" {
			t.Errorf("the inbox of %s holds %q, want six", user, got)
		}
	}
}

// bridgeMessages is what has come to the nodes over Redis.
func (c *Cluster) bridgeMessages() (n float64) {
	c.t.Helper()
	for i := range 3 {
		n += c.Metric(i+1, "chatring_bridge_heard_total")
	}
	return n
}

// An answer is what a command is answered with.
type answer struct {
	Room, Pos string
	Rooms     []struct {
		Room   string
		Unread int
	}
	raw json.RawMessage
}

// do gives a command, which must succeed.
func (cl *Client) do(fields string) (a answer) {
	cl.t.Helper()
	f := cl.command(fields)
	if f.Error != nil {
		cl.t.Fatalf("%s: %+v", fields, f.Error)
	}
	if err := json.Unmarshal(f.OK, &a); err != nil {
		cl.t.Fatal(err)
	}
	a.raw = f.OK
	return a
}

// fail gives a command, which must not succeed, and returns the code.
func (cl *Client) fail(fields string) (code string) {
	cl.t.Helper()
	f := cl.command(fields)
	if f.Error == nil {
		cl.t.Fatalf("%s: %s, want an error", fields, f.OK)
	}
	return f.Error.Code
}

func (cl *Client) command(fields string) Frame {
	cl.t.Helper()
	cl.asked++
	cl.Send(`{"id":%d,%s}`, 1000+cl.asked, fields)
	return cl.Reply(1000 + cl.asked)
}

// inInbox is a message of a type about a user.
func inInbox(kind, user string) func(Frame) bool {
	return func(f Frame) bool {
		var data struct{ Type, User, From string }
		return f.Push == "message" && json.Unmarshal(f.Data, &data) == nil && data.Type == kind && (f.From == user || data.User == user || data.From == user)
	}
}

// notify tells a user something, and returns its position. So many sessions hear it.
func (c *Cluster) notify(t *testing.T, user, key string, sessions int) (pos string) {
	t.Helper()
	var a struct {
		Pos      string
		Sessions int
	}
	c.call(t, "POST", "/api/users/"+user+"/notifications", map[string]any{"key": key, "data": map[string]string{"type": "notification"}}, &a)
	if a.Sessions != sessions {
		t.Errorf("%d sessions of %s heard %s, want %d", a.Sessions, user, key, sessions)
	}
	return a.Pos
}

type sent struct{ Sent, Failed, Online, Sessions, Nodes int }

// notifyAll tells many users something.
func (c *Cluster) notifyAll(t *testing.T, users []string, key string) (a sent) {
	t.Helper()
	body := map[string]any{"users": users, "key": key, "data": map[string]string{"type": "notification"}}
	for a.Sent = -1; a.Sent != len(users); {
		c.call(t, "POST", "/api/notifications", body, &a)
	}
	return a
}

type place struct {
	Online   bool
	Sessions int
}

func (c *Cluster) whereIs(t *testing.T, user string) (p place) {
	t.Helper()
	c.call(t, "GET", "/api/users/"+user, nil, &p)
	return p
}

// call asks the HTTP API as the service "mail", again while it is told to.
func (c *Cluster) call(t *testing.T, method, path string, body, into any) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Front()+path+"?service=mail", bytes.NewReader(b))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil && ctx.Err() == nil { // the node has died meanwhile
			continue
		} else if err != nil {
			t.Errorf("%s %s: %v", method, path, err)
			return
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		switch {
		case err == nil && resp.StatusCode == http.StatusOK:
			if err := json.Unmarshal(answer, into); err != nil {
				t.Errorf("%s %s: %v", method, path, err)
			}
			return
		case resp.StatusCode < 500 || ctx.Err() != nil:
			t.Errorf("%s %s: %s %s (%v)", method, path, resp.Status, answer, err)
			return
		}
	}
}
