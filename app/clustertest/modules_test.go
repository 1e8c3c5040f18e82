package clustertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Friends move to two nodes of their own and back while people chat, as the
// runbook has it: nodes that serve nothing else, an edit of haproxy.cfg, a reload.
// No socket is dropped, but for those of nodes that are taken away.
func TestFriendsMove(t *testing.T) {
	cfg := copyOfConfig(t)
	c := Start(t, 2, "HAPROXY_CFG="+cfg)
	chat := []string{"1111", "2222"}
	alice := c.Dial(c.Front(), "/ws/friends?user=alice")
	if !slices.Contains(chat, alice.Shard) {
		t.Fatalf("alice's friends are on %s, want a node of the rooms", alice.Shard)
	}
	lobby := c.Dial(c.Front(), "/ws/chat/lobby?user=bob")
	wait := c.replay(t, "-rate", "250")
	c.waitAppended(200)

	c.script("scripts/up", "--friends", "2")
	own := []string{"10001", "10002"}
	edit(t, cfg, "#setenv FRIENDS1_ADDR chatring-friends-1:8080", fmt.Sprintf("setenv FRIENDS1_ADDR 127.0.0.1:%d", c.port+21))
	edit(t, cfg, "#setenv FRIENDS2_ADDR chatring-friends-2:8080", fmt.Sprintf("setenv FRIENDS2_ADDR 127.0.0.1:%d", c.port+22))
	c.reload(cfg)
	c.waitFriends(own)
	moved := map[string]*Client{}
	for i := range 4 {
		carol := c.Dial(c.Front(), fmt.Sprintf("/ws/%s?user=carol", []string{"friends", "inbox"}[i%2]))
		moved[carol.Shard] = carol
	}
	for _, appid := range own {
		if moved[appid] == nil {
			t.Errorf("none of four sockets is on %s", appid)
		}
	}
	stream := "/sse/inbox?user=dave&stream=dave-00000000000"
	if shard := <-c.Listen(stream).shards; !slices.Contains(own, shard) {
		t.Errorf("the stream of an inbox is on %s, want a node of friends", shard)
	}
	if status, shard, body := c.post(stream, `{"id":1,"cmd":"friends.list"}`); status != 200 || !slices.Contains(own, shard) {
		t.Errorf("a command for that stream is answered on %s: %d %s", shard, status, body)
	}
	lobby.Send(`{"id":1,"cmd":"friends.request","user":"carol"}`)
	if f := lobby.Reply(1); f.Error != nil {
		t.Errorf("bob asks carol on a node of the rooms: %+v", f.Error)
	}
	for _, carol := range moved {
		carol.Wait("bob's request", func(f Frame) bool { return f.Room == "@carol" && strings.Contains(string(f.Data), "friend_request") })
	}
	if room := c.Dial(c.Front(), "/ws/chat/lobby?user=carol"); room.Shard != lobby.Shard {
		t.Errorf("the lobby is on %s for those who come now, and was on %s", room.Shard, lobby.Shard)
	}
	for path, want := range map[string]int{
		"/healthz": 200, "/ws/friends": 401, "/ws/inbox": 401, "/sse/inbox": 401,
		"/ws/chat/lobby": 404, "/ws/watch/lobby": 404, "/sse/chat/lobby": 404, "/shard/lobby": 404, "/api/rooms/lobby": 404, "/": 404,
	} {
		if resp, _ := c.get(fmt.Sprintf("http://127.0.0.1:%d%s", c.port+21, path), nil); resp.StatusCode != want {
			t.Errorf("a node for friends alone answers %s with %s, want %d", path, resp.Status, want)
		}
	}

	edit(t, cfg, "\n    setenv FRIENDS1_ADDR", "\n    unsetenv FRIENDS1_ADDR #")
	edit(t, cfg, "\n    setenv FRIENDS2_ADDR", "\n    #setenv FRIENDS2_ADDR")
	c.reload(cfg)
	c.waitFriends(chat)
	for appid, carol := range moved {
		carol.Send(`{"id":1,"cmd":"history","room":"@carol"}`)
		if f := carol.Reply(1); f.Error != nil {
			t.Errorf("the socket on %s was answered %+v after the reload", appid, f.Error)
		}
	}
	c.script("scripts/up", "--friends", "0")
	for appid, carol := range moved {
		if code := carol.Code(); code != 1012 {
			t.Errorf("the socket on %s was closed with %d, want 1012", appid, code)
		}
	}
	if back := c.Dial(c.Front(), "/ws/friends?user=carol"); !slices.Contains(chat, back.Shard) {
		t.Errorf("carol came back to %s, want a node of the rooms", back.Shard)
	}

	for name, cl := range map[string]*Client{"alice": alice, "lobby": lobby} { // open since before
		room := map[string]string{"alice": "@alice", "lobby": "lobby"}[name]
		cl.Send(`{"id":2,"cmd":"history","room":%q}`, room)
		if f := cl.Reply(2); f.Error != nil {
			t.Errorf("%s: %+v", name, f.Error)
		}
	}
	if r := wait(); len(r.Closings) != 0 {
		t.Errorf("sockets of the conversation were closed: %v", r.Closings)
	}
	c.noRaces()
}

// A direct room is at home where HAProxy says, for those who come and for nodes
// that ask.
func directRoomHasHome(t *testing.T, c *Cluster) {
	for n := range 5 {
		room := fmt.Sprintf("@alice+u=7C%d=40x.org", n)
		home := c.Shard(room)
		for _, user := range []string{"alice", fmt.Sprintf("u%%7C%d%%40x.org", n)} {
			if cl := c.Dial(c.Front(), "/ws/chat/"+room+"?user="+user); cl.Shard != home {
				t.Errorf("%s: %s is on %s, and its home is %s", room, user, cl.Shard, home)
			}
		}
		if _, body := c.get(fmt.Sprintf("http://127.0.0.1:%d/shard/%s", c.port+98, room), nil); !strings.Contains(string(body), `"shard":"`+home+`"`) {
			t.Errorf("%s: nodes are told %s, and its home is %s", room, body, home)
		}
	}
}

// copyOfConfig is a haproxy.cfg to edit.
func copyOfConfig(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository(t), "haproxy", "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// edit replaces the one place of a file that has a text.
func edit(t *testing.T, file, before, after string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), before); n != 1 {
		t.Fatalf("%s has %q %d times", file, before, n)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), before, after, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload checks HAProxy's file and makes it take that up.
func (c *Cluster) reload(cfg string) {
	c.t.Helper()
	if out, err := exec.CommandContext(c.t.Context(), "haproxy", "-c", "-f", cfg).CombinedOutput(); err != nil {
		c.t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	says := func(what string) func() bool {
		before := strings.Count(c.Log("haproxy"), what)
		return func() bool { return strings.Count(c.Log("haproxy"), what) > before }
	}
	begun, done := says("Reloading HAProxy"), says("Loading success")
	var again time.Time
	eventually(c.t, "HAProxy reloads", func() bool {
		// A signal that comes soon after a reload may be lost (HAProxy 2.6).
		if time.Now().After(again) && !begun() {
			c.Signal("haproxy", syscall.SIGUSR2)
			again = time.Now().Add(3 * time.Second)
		}
		return begun()
	})
	eventually(c.t, "HAProxy has reloaded", done)
}

// waitFriends waits until a socket for friends is on one of some nodes.
func (c *Cluster) waitFriends(nodes []string) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("friends are on one of %v", nodes), func() bool {
		return slices.Contains(nodes, c.Dial(c.Front(), "/ws/friends?user=probe").Shard)
	})
}
