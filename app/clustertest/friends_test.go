package clustertest

import (
	"syscall"
	"testing"
	"time"
)

// Two friends on two nodes find each other, and see each other come and go; when a
// node is killed, its user is offline as soon as another node sees it.
func TestFriends(t *testing.T) {
	c := Start(t, 2)
	alice := c.Dial(c.Node(1), "/ws/friends?user=alice")
	bob := c.Dial(c.Node(2), "/ws/friends?user=bob")
	alice.Send(`{"id":1,"cmd":"friends.request","user":"bob"}`)
	bob.friend("alice", "asked", "")
	bob.Wait("the notice", func(f Frame) bool { return f.Push == "message" && f.Key == "friend_request" && f.From == "alice" })

	begun := time.Now()
	bob.Send(`{"id":1,"cmd":"friends.accept","user":"alice"}`)
	alice.friend("bob", "friend", "online")
	bob.friend("alice", "friend", "online")
	took(t, "to see each other", begun)

	begun = time.Now()
	bob.Send(`{"id":2,"cmd":"friends.status","status":"away"}`)
	alice.friend("bob", "friend", "away")
	took(t, "to see somebody away", begun)

	begun = time.Now()
	_ = bob.conn.CloseNow()
	if seen := alice.friend("bob", "friend", "offline").LastSeen; seen < begun.Add(-time.Second).UnixMilli() {
		t.Errorf("bob was last seen at %d, before he went at %d", seen, begun.UnixMilli())
	}
	took(t, "to see somebody go", begun)

	c.Dial(c.Node(2), "/ws/chat/lobby?user=bob&inbox=true")
	alice.friend("bob", "friend", "online")
	begun = time.Now()
	c.Signal("ws2", syscall.SIGKILL)
	alice.friend("bob", "friend", "offline")
	took(t, "to see a node's death", begun)
	if got := c.Metric(1, "chatring_friends_deaths_total"); got != 1 {
		t.Errorf("%v deaths were seen to, want 1", got)
	}

	bob = c.Dial(c.Node(1), "/ws/friends?user=bob")
	bob.Send(`{"id":1,"cmd":"friends.list"}`)
	want := `{"friends":[{"user":"alice","state":"friend","status":"online"}],"status":"online"}`
	if got := string(bob.Reply(1).OK); got != want {
		t.Errorf("the list is %s, want %s", got, want)
	}
	c.noRaces()
}

// friend hears frames until one says how another user stands.
func (cl *Client) friend(user, state, status string) Frame {
	cl.t.Helper()
	return cl.Wait(user+" "+state+" "+status, func(f Frame) bool {
		return f.Push == "friend" && f.User == user && f.State == state && f.Status == status
	})
}

// took notes how long something took. It is no reason to fail: the machine may be busy.
func took(t *testing.T, what string, begun time.Time) {
	t.Helper()
	t.Logf("%s: %v", what, time.Since(begun).Round(time.Millisecond))
}
