package clustertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// withTokens starts a cluster that knows users by their tokens.
func withTokens(t *testing.T, shards int, settings ...string) *Cluster {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s3cret", 6)), 0o600); err != nil {
		t.Fatal(err)
	}
	return Start(t, shards, append(settings, "CHATRING_AUTH_MODE=jwt", "CHATRING_AUTH_SECRET_FILE="+secret)...)
}

// verb runs a verb of the node's program, which must succeed, and returns what
// it printed.
func (c *Cluster) verb(args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), nodeBinary, args...)
	cmd.Env = append(os.Environ(), c.env...)
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("chatring %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// token makes a user's token, as a subprotocol.
func (c *Cluster) token(user string, grants ...string) string {
	args := []string{"token", "--user", user}
	for _, g := range grants {
		args = append(args, "--grant", g)
	}
	return "bearer." + c.verb(args...)
}

// status is what an address answers to a plain GET for a socket in the lobby:
// 426 when nothing but the handshake is missing.
func (c *Cluster) status(address, token string) int {
	resp, _ := c.get("http://"+address+"/ws/chat/lobby", http.Header{"Sec-Websocket-Protocol": {"chatring.v1, " + token}})
	return resp.StatusCode
}

// Who logs out everywhere is closed with 4502 on every node, wherever the nodes
// were told, and no token from before opens a socket again: not through HAProxy,
// not on a node that starts later. A fresh token does, and others do not notice.
func TestLogoutEverywhere(t *testing.T) {
	c := withTokens(t, 2)
	alice, bob := c.token("alice"), c.token("bob")
	here, there := c.Dial(c.Node(1), "/ws/chat/lobby", alice), c.Dial(c.Node(2), "/ws/chat/team", alice)
	home := c.RoomOn(1)
	other := c.Dial(c.Front(), "/ws/chat/"+home, bob)
	if got := c.status(c.Front(), alice); got != http.StatusUpgradeRequired {
		t.Fatalf("before the log-out: %d, want 426", got)
	}
	began := time.Now()
	c.verb("logout", "alice", "--ops", fmt.Sprintf("http://127.0.0.1:%d", c.port+102))
	for _, cl := range []*Client{here, there} {
		if code := cl.Code(); code != 4502 {
			t.Errorf("closed with %d, want 4502", code)
		}
	}
	t.Logf("both sockets were closed within %v", time.Since(began))
	for _, address := range []string{c.Front(), c.Node(1), c.Node(2)} {
		if got := c.status(address, alice); got != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", address, got)
		}
	}
	fresh := c.token("alice")
	for late := time.Now().Add(patience); c.status(c.Front(), fresh) != http.StatusUpgradeRequired; fresh = c.token("alice") {
		if time.Now().After(late) { // a token of the log-out's own second is refused, too
			t.Fatal("no fresh token is good")
		}
	}
	back := c.Dial(c.Front(), "/ws/chat/"+home, fresh)

	c.Signal("ws2", syscall.SIGTERM)
	c.script("scripts/up", "--node", "2")
	got := c.status(c.Node(2), alice)
	for late := time.Now().Add(patience); got == http.StatusServiceUnavailable; got = c.status(c.Node(2), alice) {
		if time.Now().After(late) {
			t.Fatal("the node never learns who has logged out")
		}
	}
	if got != http.StatusUnauthorized {
		t.Errorf("a node that started later: %d, want 401", got)
	}
	if got := c.status(c.Node(2), fresh); got != http.StatusUpgradeRequired {
		t.Errorf("a node that started later: %d for a fresh token, want 426", got)
	}
	for i, cl := range []*Client{other, back} {
		cl.Send(`{"id":1,"cmd":"publish","room":%q,"key":"k%d","data":1}`, home, i)
		if f := cl.Reply(1); f.Error != nil {
			t.Errorf("%+v", f.Error)
		}
	}
	c.noRaces()
}

// When there were more log-outs than the log has place for, a node that starts
// later does not know of the first, and lets nobody in by a token that is as old.
func TestLogoutsForgotten(t *testing.T) {
	c := withTokens(t, 1, "CHATRING_RETENTION_MESSAGES=257")
	alice := c.token("alice")
	logout := func(user string) {
		resp, err := http.Post(fmt.Sprintf("http://%s/users/%s/logout", c.Ops(1), user), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("log %s out: %s", user, resp.Status)
		}
	}
	logout("alice")
	for i := range 400 {
		logout(fmt.Sprint("other", i))
	}
	if log := c.Redis("XRANGE", "chatring:{!nodes}:log", "-", "+"); strings.Contains(log, "alice") {
		t.Fatal("the log still has the first log-out")
	}
	c.Signal("ws1", syscall.SIGTERM)
	c.script("scripts/up", "--node", "1")
	got := c.status(c.Node(1), alice)
	for late := time.Now().Add(patience); got == http.StatusServiceUnavailable && time.Now().Before(late); {
		got = c.status(c.Node(1), alice)
	}
	if got != http.StatusUnauthorized {
		t.Errorf("a token from before the log-out: %d, want 401", got)
	}
	c.noRaces()
}

// A token allows what it grants, in the room of the address and by command, and
// one that is shown over the socket changes that at once.
func TestGrants(t *testing.T) {
	c := withTokens(t, 2)
	token := c.token("alice", "lobby=write", "news=watch", "team-*=read")
	for path, status := range map[string]int{"/ws/chat/cellar": 403, "/ws/chat/news": 403, "/ws/watch/news": 426, "/ws/chat/team-1": 426} {
		resp, body := c.get("http://"+c.Front()+path, http.Header{"Sec-Websocket-Protocol": {"chatring.v1, " + token}})
		if resp.StatusCode != status {
			t.Errorf("%s: %s %s, want %d", path, resp.Status, body, status)
		}
	}
	cl := c.Dial(c.Front(), "/ws/chat/lobby", token)
	id := 0
	ask := func(command, code string) {
		t.Helper()
		id++
		cl.Send(`{"id":%d,%s}`, id, command)
		f := cl.Reply(id)
		if got, _ := json.Marshal(f.Error); code == "" && f.Error != nil || code != "" && (f.Error == nil || f.Error.Code != code) {
			t.Errorf("%s: %s, want code %q", command, got, code)
		}
	}
	ask(`"cmd":"publish","room":"lobby","data":1`, "")
	ask(`"cmd":"join","room":"cellar"`, "forbidden")
	ask(`"cmd":"join","room":"team-1"`, "")
	ask(`"cmd":"publish","room":"team-1","data":1`, "forbidden")
	ask(`"cmd":"history","room":"team-1"`, "")
	ask(fmt.Sprintf(`"cmd":"auth","token":%q`, strings.TrimPrefix(c.token("bob"), "bearer.")), "forbidden")
	ask(`"cmd":"auth","token":"nonsense"`, "bad_token")
	id++
	cl.Send(`{"id":%d,"cmd":"auth","token":%q}`, id, strings.TrimPrefix(c.token("alice", "team-*=write"), "bearer."))
	left := cl.Wait("the room to be left", func(f Frame) bool { return f.Push == "left" })
	if left.Room != "lobby" || left.Code != "forbidden" {
		t.Errorf("%+v, want the lobby left: forbidden", left)
	}
	var ok struct {
		ExpiresInMS int `json:"expires_in_ms"`
	}
	if err := json.Unmarshal(cl.Reply(id).OK, &ok); err != nil || ok.ExpiresInMS < 59*60*1000 {
		t.Errorf("%+v, %v, want about an hour", ok, err)
	}
	ask(`"cmd":"publish","room":"lobby","data":1`, "not_joined")
	ask(`"cmd":"publish","room":"team-1","data":1`, "")
	c.noRaces()
}
