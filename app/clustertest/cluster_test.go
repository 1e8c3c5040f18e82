package clustertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "clustertest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	nodeBinary, replayBinary = filepath.Join(dir, "chatring"), filepath.Join(dir, "replay")
	for _, build := range [][]string{
		{"build", "-race", "-o", nodeBinary, ".."},
		{"build", "-o", replayBinary, "../../loadtest/replay"},
	} {
		if out, err := exec.Command("go", build...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go %v: %v\n%s", build, err, out)
			return 1
		}
	}
	return m.Run()
}

// noRaces fails the test when a node has seen a data race or a panic.
func (c *Cluster) noRaces() {
	c.t.Helper()
	logs, _ := filepath.Glob(filepath.Join(c.state, "ws*.log"))
	for _, name := range logs {
		b, err := os.ReadFile(name)
		if err != nil {
			c.t.Fatal(err)
		}
		if bytes.Contains(b, []byte("DATA RACE")) || bytes.Contains(b, []byte("panic")) {
			c.t.Errorf("%s tells of a race or a panic:\n%s", filepath.Base(name), b)
		}
	}
}

// The four nodes behind HAProxy are one chat server.
func TestCluster(t *testing.T) {
	c := Start(t, 4)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *Cluster)
	}{
		{"the ring is the one that is written down", ringIsGolden},
		{"nodes have their timer slack", nodesSlacken},
		{"a room's members share a node", membersShareNode},
		{"a direct room has a home", directRoomHasHome},
		{"rooms on one node cause no pub/sub", oneNodeNoPubSub},
		{"a room on two nodes has one order", twoNodesOneOrder},
		{"a log that comes back older is healed", olderLogIsHealed},
		{"presence is right after a death", presenceAfterDeath},
		{"watchers are spread, and only listen", watchersListen},
		{"bad input gets a clear error", badInput},
		{"only the door is open", onlyTheDoor},
		{"Redis asks who comes", redisAsks},
		{"Redis' passwords change", passwordsChange},
		{"a second up says so", secondUp},
	} {
		t.Run(test.name, func(t *testing.T) {
			sub := *c
			sub.t = t
			test.run(t, &sub)
			sub.noRaces()
		})
	}
}

func ringIsGolden(t *testing.T, c *Cluster) {
	b, err := os.ReadFile(filepath.Join(c.root, "haproxy", "ring.golden"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		room, want, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		n++
		if got := c.Shard(room); got != want {
			t.Errorf("%s is on %s, want %s: this HAProxy has another ring", room, got, want)
		}
	}
	if n != 50 {
		t.Errorf("haproxy/ring.golden has %d rooms, want 50", n)
	}
}

// A node with its timer slack has executed itself once more, and says so in its
// environment.
func nodesSlacken(t *testing.T, c *Cluster) {
	for _, part := range []string{"ws1", "ws2", "ws3", "ws4"} {
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.PID(part)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(environment), "TIMER_SLACK_SET=1") {
			t.Errorf("%s has not set its timer slack", part)
		}
	}
}

func membersShareNode(t *testing.T, c *Cluster) {
	used := map[string]bool{}
	for r := range 12 {
		room := fmt.Sprintf("shared-%d", r)
		home := c.Shard(room)
		used[home] = true
		for m := range 4 {
			if cl := c.Dial(c.Front(), fmt.Sprintf("/ws/chat/%s?user=u%d", room, m)); cl.Shard != home {
				t.Errorf("member %d of %s is on %s, home is %s", m, room, cl.Shard, home)
			}
		}
	}
	if len(used) < 3 {
		t.Errorf("12 rooms are on %d nodes", len(used))
	}
}

// What Redis publishes beside the nodes' probes is what rooms on several nodes
// cause. Rooms on one node cause none.
func oneNodeNoPubSub(t *testing.T, c *Cluster) {
	published := func() float64 {
		n := float64(c.Calls("publish"))
		for i := range 4 {
			n -= c.Metric(i+1, "chatring_bridge_probes_total")
		}
		return n
	}
	talk := func(room string, listener, speaker *Client) {
		for i := range 50 {
			speaker.Send(`{"id":%d,"cmd":"publish","room":%q,"key":"%s-%d","data":%d}`, i+1, room, t.Name()[:4], i, i)
			speaker.Reply(i + 1)
			listener.Message(fmt.Sprintf("%s-%d", t.Name()[:4], i))
		}
	}
	home := []*Client{}
	for r := range 4 {
		room := fmt.Sprintf("quiet-%d", r)
		home = append(home, c.Dial(c.Front(), "/ws/chat/"+room+"?user=a"), c.Dial(c.Front(), "/ws/chat/"+room+"?user=b"))
	}
	before, appended := published(), c.Calls("xadd")
	for r := range 4 {
		talk(fmt.Sprintf("quiet-%d", r), home[2*r], home[2*r+1])
	}
	if n := c.Calls("xadd") - appended; n != 200 {
		t.Errorf("Redis appended %d messages, want 200", n)
	}
	// A probe may be under way on each of the four nodes: counted by Redis and
	// not by the node yet, or at one reading and not at the other.
	if n := published() - before; n > 4 || n < -4 {
		t.Errorf("200 messages in rooms on one node caused %v PUBLISH", n)
	}
	t.Logf("200 messages in 4 rooms on one node each: %v PUBLISH beside the probes", published()-before)

	before = published()
	talk("noisy", c.Dial(c.Node(1), "/ws/chat/noisy?user=a"), c.Dial(c.Node(2), "/ws/chat/noisy?user=b"))
	if n := published() - before; n < 45 {
		t.Errorf("50 messages in a room on two nodes caused %v PUBLISH: the count above proves nothing", n)
	}
}

func twoNodesOneOrder(t *testing.T, c *Cluster) {
	report := c.replay(t, "-direct", "ws://"+c.Node(1)+",ws://"+c.Node(2), "-messages", "80", "-suffix", ".two")()
	if report.Placement.Split == 0 {
		t.Errorf("no room was on two nodes: %+v", report)
	}
}

// A room's log comes back older, and a node that knows nothing of it speaks
// first. All that was acknowledged is in the log in the end, once, and everybody
// has heard it.
func olderLogIsHealed(t *testing.T, c *Cluster) {
	log, keys := "chatring:{older}:log", "chatring:{older}:keys"
	alice, ann := c.Dial(c.Node(1), "/ws/chat/older?user=alice"), c.Dial(c.Node(1), "/ws/chat/older?user=ann")
	said := 0
	say := func(cl *Client, n int) {
		for range n {
			said++
			cl.Send(`{"id":%d,"cmd":"publish","room":"older","key":"k%d","data":%d}`, said, said, said)
			if r := cl.Reply(said); r.Error != nil {
				t.Fatalf("k%d: %+v", said, r.Error)
			}
		}
	}
	say(alice, 3)
	c.Redis("copy", log, log+".old")
	c.Redis("copy", keys, keys+".old")
	say(alice, 3)
	c.Redis("copy", log+".old", log, "replace")
	c.Redis("copy", keys+".old", keys, "replace")
	bob, ben := c.Dial(c.Node(2), "/ws/chat/older?user=bob"), c.Dial(c.Node(2), "/ws/chat/older?user=ben&since=0-0")
	say(bob, 2) // at positions that alice's node has let through
	say(alice, 1)

	want := []string{"k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9"}
	var kept []string
	fields := strings.Fields(c.Redis("xrange", log, "-", "+"))
	for i, f := range fields {
		if f == "key" {
			kept = append(kept, fields[i+1])
		}
	}
	// Bob speaks while the log is being healed: only the end is certain.
	if !slices.Equal(slices.Sorted(slices.Values(kept)), want) || kept[len(kept)-1] != "k9" {
		t.Errorf("the log has %v, want %v, the last one at the end", kept, want)
	}
	for name, cl := range map[string]*Client{"ann": ann, "ben": ben} {
		missing := map[string]bool{}
		for _, key := range want {
			missing[key] = true
		}
		reset := false
		cl.Wait(name+" hears everything", func(f Frame) bool {
			reset = reset || f.Push == "reset"
			if f.Push == "message" {
				delete(missing, f.Key)
			}
			return reset && len(missing) == 0
		})
	}
	if n := c.Metric(1, "chatring_restored_total"); n != 3 {
		t.Errorf("node 1 restored %v publications, want 3", n)
	}
}

func presenceAfterDeath(t *testing.T, c *Cluster) {
	alice := c.Dial(c.Node(1), "/ws/chat/people?user=alice")
	c.Dial(c.Node(2), "/ws/chat/people?user=bob")
	c.Dial(c.Node(3), "/ws/chat/people?user=carol")
	ask := func(id int) string {
		alice.Send(`{"id":%d,"cmd":"presence","room":"people"}`, id)
		return string(alice.Reply(id).OK)
	}
	const all = `{"users":[{"user":"alice","sessions":1},{"user":"bob","sessions":1},{"user":"carol","sessions":1}],"total":3,"watchers":0,"complete":true}`
	if got := ask(1); got != all {
		t.Errorf("presence = %s\nwant %s", got, all)
	}
	c.Signal("ws3", syscall.SIGKILL)
	const left = `{"users":[{"user":"alice","sessions":1},{"user":"bob","sessions":1}],"total":2,"watchers":0,"complete":true}`
	id := 2
	eventually(t, "carol is gone", func() bool { id++; return ask(id) == left })
	c.script("scripts/up", "--node", "3")
	c.waitUp(3)
}

func watchersListen(t *testing.T, c *Cluster) {
	speaker := c.Dial(c.Front(), "/ws/chat/arena?user=player")
	nodes := map[string]bool{}
	var watchers []*Client
	for i := range 8 {
		w := c.Dial(c.Front(), fmt.Sprintf("/ws/watch/arena?user=w%d", i))
		nodes[w.Shard] = true
		watchers = append(watchers, w)
	}
	if len(nodes) < 3 {
		t.Errorf("8 watchers are on %d nodes", len(nodes))
	}
	speaker.Send(`{"id":1,"cmd":"publish","room":"arena","key":"goal","data":1}`)
	for _, w := range watchers {
		w.Message("goal")
	}
	watchers[0].Send(`{"id":1,"cmd":"publish","room":"arena","data":1}`)
	if f := watchers[0].Reply(1); f.Error == nil || f.Error.Code != "forbidden" {
		t.Errorf("a watcher's publish: %+v", f)
	}
	speaker.Send(`{"id":2,"cmd":"presence","room":"arena"}`)
	if got, want := string(speaker.Reply(2).OK), `{"users":[{"user":"player","sessions":1}],"total":1,"watchers":8,"complete":true}`; got != want {
		t.Errorf("presence = %s, want %s", got, want)
	}
}

func badInput(t *testing.T, c *Cluster) {
	control := c.Dial(c.Front(), "/ws/chat/control?user=control")
	for _, test := range []struct {
		path   string
		header http.Header
		status int
		code   string
	}{
		{"/ws/chat/a%20b?user=x", upgrade(), 400, "bad_room"},
		{"/ws/chat/" + strings.Repeat("a", 65) + "?user=x", upgrade(), 400, "bad_room"},
		{"/ws/chat/lobby", upgrade(), 401, "unauthorized"},
		{"/ws/chat/lobby?user=a%20b", upgrade(), 401, "unauthorized"},
		{"/ws/chat/lobby?user=x&since=then", upgrade(), 400, "bad_position"},
		{"/ws/chat/lobby?user=x", http.Header{}, 426, "bad_request"},
		{"/ws/chat/lobby?user=x", with(upgrade(), "Origin", "https://evil.example"), 403, "bad_origin"},
		{"/ws/chat/lobby?user=x", with(upgrade(), "Sec-Websocket-Version", "8"), 426, "bad_request"},
		{"/ws/chat/lobby?user=x", with(upgrade(), "Sec-Websocket-Protocol", "mqtt"), 400, "bad_request"},
		{"/ws/nope", http.Header{}, 404, "not_found"},
	} {
		c.refused(test.path, test.header, test.status, test.code)
	}
	for name, test := range map[string]struct {
		kind websocket.MessageType
		data string
		want websocket.StatusCode
	}{
		"17 KiB":        {websocket.MessageText, `{"id":1,"cmd":"publish","room":"lobby","data":"` + strings.Repeat("x", 17<<10) + `"}`, 1009},
		"not UTF-8":     {websocket.MessageText, "\xff\xfe", 1007},
		"a binary":      {websocket.MessageBinary, "{}", 1003},
		"three strikes": {websocket.MessageText, "", 0},
	} {
		bad := c.Dial(c.Front(), "/ws/chat/lobby?user=bad")
		if test.want == 0 {
			for range 3 {
				bad.Send("nonsense")
			}
			test.want = 1008
		} else {
			// The node may close before it has read everything.
			_ = bad.conn.Write(t.Context(), test.kind, []byte(test.data))
		}
		if got := bad.Code(); got != test.want {
			t.Errorf("%s: closed with %d, want %d", name, got, test.want)
		}
	}
	control.Send(`{"id":1,"cmd":"publish","room":"control","key":"alive","data":1}`)
	control.Message("alive")
}

// refused asks for what must be refused, in the form of every error, and
// returns the answer.
func (c *Cluster) refused(path string, header http.Header, status int, code string) *http.Response {
	c.t.Helper()
	resp, body := c.get("http://"+c.Front()+path, header)
	var answer struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		c.t.Errorf("%s: %s %q: %v", path, resp.Status, body, err)
	} else if resp.StatusCode != status || answer.Error.Code != code || answer.Error.Message == "" {
		c.t.Errorf("%s: %d %+v, want %d %s", path, resp.StatusCode, answer.Error, status, code)
	}
	return resp
}

func upgrade() http.Header {
	return http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
}

func with(h http.Header, name, value string) http.Header {
	h.Set(name, value)
	return h
}

// Operators' pages are not to be had through HAProxy, however they are spelt, and
// HAProxy itself is not to be had from other machines.
func onlyTheDoor(t *testing.T, c *Cluster) {
	for _, path := range []string{"/metrics", "//metrics", "/%6detrics", "/livez", "/readyz", "/debug/pprof/", "/ring/", "/ring/state", "/stats", "/internal"} {
		if resp, body := c.get("http://"+c.Front()+path, nil); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s %.80s", path, resp.Status, body)
		}
	}
	if resp, body := c.get("http://"+c.Front()+"/", nil); resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("<html")) {
		t.Errorf("the page: %s %.80s", resp.Status, body)
	}
	// Also this machine's, and open to whoever listens on all addresses.
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.2:%d", c.port)); err == nil {
		_ = conn.Close()
		t.Error("scripts/up without --public listens on more than 127.0.0.1")
	}
}

// Redis does nothing for strangers, and for the nodes no more than they need. The
// passwords are for the cluster's owner, and nowhere but in their files.
func redisAsks(t *testing.T, c *Cluster) {
	for _, test := range []struct{ say, want string }{
		{"FLUSHALL\r\n", "-NOAUTH "},
		{"AUTH chatring wrong\r\n", "-WRONGPASS "},
		{"AUTH chatring " + c.password("nodes") + "\r\nFLUSHALL\r\n", "+OK\r\n-NOPERM "},
	} {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.port+90))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = conn.Write([]byte(test.say))
		answer := make([]byte, len(test.want))
		if _, err := io.ReadFull(conn, answer); string(answer) != test.want {
			t.Errorf("Redis answers %q, %v, want %q", answer, err, test.want)
		}
		_ = conn.Close()
	}
	shown, _ := filepath.Glob(filepath.Join(c.state, "*.*"))
	for _, part := range []string{"redis", "ws1", "ws4"} {
		for _, file := range []string{"cmdline", "environ"} {
			shown = append(shown, fmt.Sprintf("/proc/%d/%s", c.PID(part), file))
		}
	}
	for _, user := range []string{"nodes", "operator"} {
		secret := []byte(c.password(user))
		for _, name := range shown {
			if b, _ := os.ReadFile(name); bytes.Contains(b, secret) {
				t.Errorf("the password of %s is in %s", user, name)
			}
		}
	}
}

// New passwords for Redis, while people talk: the old ones are worth nothing, and
// nobody is sent away.
func passwordsChange(t *testing.T, c *Cluster) {
	cl := c.Dial(c.Front(), "/ws/chat/rotated?user=alice")
	old := c.password("nodes")
	c.script("scripts/redis", "rotate")
	if c.password("nodes") == old {
		t.Error("the nodes' password is the old one")
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.port+90))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = conn.Write([]byte("AUTH chatring " + old + "\r\n"))
	if answer, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(answer, "-WRONGPASS") {
		t.Errorf("Redis answers %q, %v to the old password, want WRONGPASS", answer, err)
	}
	for id := 1; ; id++ {
		cl.Send(`{"id":%d,"cmd":"publish","room":"rotated","key":"k","data":1}`, id)
		r := cl.Reply(id)
		if r.Error == nil {
			return
		}
		if !r.Error.Temporary || id > 100 {
			t.Fatalf("publish: %+v", r.Error)
		}
	}
}

// password reads a password of Redis, which nobody else may.
func (c *Cluster) password(user string) string {
	c.t.Helper()
	name := filepath.Join(c.state, "redis-auth", user)
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		c.t.Fatalf("%s: %v, %v, want a file for its owner alone", name, info, err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

func secondUp(t *testing.T, c *Cluster) {
	out, err := c.try("scripts/up", "-d", "--port", fmt.Sprint(c.port))
	if err == nil || !strings.Contains(out, "scripts/down") {
		t.Errorf("a second up: %v\n%s", err, out)
	}
}

// A node is killed in the middle of a conversation, and started again: nothing
// that was acknowledged is lost, doubled or out of order.
func TestNodeKilled(t *testing.T) {
	c := Start(t, 4)
	wait := c.replay(t, "-rate", "250")
	c.waitAppended(300)
	c.Signal("ws2", syscall.SIGKILL)
	c.waitAppended(900)
	c.script("scripts/up", "--node", "2")
	if r := wait(); r.Reconnects == 0 {
		t.Errorf("no reader had to come back: %+v", r)
	}
	c.noRaces()
}

// Redis is killed in the middle of a conversation, and started again on its
// AOF: nothing that was acknowledged is lost, doubled or out of order.
func TestRedisKilled(t *testing.T) {
	c := Start(t, 4)
	lobby := c.Dial(c.Front(), "/ws/chat/lobby?user=alice")
	bob := c.Dial(c.Front(), "/ws/chat/lobby?user=bob")
	wait := c.replay(t, "-rate", "250")
	c.waitAppended(300)
	c.Signal("redis", syscall.SIGKILL)

	// While it is gone a publish is answered with a way out, signals are
	// heard, and no node leaves the ring.
	lobby.Send(`{"id":1,"cmd":"publish","room":"lobby","key":"k","data":1}`)
	f := lobby.Reply(1)
	if f.Error == nil || f.Error.Code != "unavailable" || !f.Error.Temporary || f.Error.RetryAfterMS == 0 {
		t.Errorf("publish without Redis: %+v", f)
	}
	lobby.Send(`{"id":2,"cmd":"signal","room":"lobby","data":"still here"}`)
	bob.Wait("a signal", func(f Frame) bool { return f.Push == "signal" })
	if resp, _ := c.get("http://"+c.Front()+"/shard/lobby", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("/shard without Redis: %s", resp.Status)
	}

	c.script("scripts/up", "--redis")
	wait()
	// The same sockets go on, and the same key finds out what became of it.
	eventually(t, "a publish is acknowledged", func() bool {
		lobby.Send(`{"id":3,"cmd":"publish","room":"lobby","key":"k","data":1}`)
		return lobby.Reply(3).Error == nil
	})
	bob.Message("k")
	c.noRaces()
}

// Without any node HAProxy answers by itself, in the form of the nodes' errors.
func TestNoNode(t *testing.T) {
	c := Start(t, 1)
	c.Signal("ws1", syscall.SIGKILL)
	if resp := c.refused("/ws/chat/lobby?user=a", upgrade(), 503, "unavailable"); resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// down stops everything that up has started, and up starts again on what Redis
// has kept.
func TestDownAndUp(t *testing.T) {
	c := Start(t, 2)
	alice := c.Dial(c.Front(), "/ws/chat/lobby?user=alice")
	alice.Send(`{"id":1,"cmd":"publish","room":"lobby","key":"kept","data":1}`)
	alice.Reply(1)
	parts := []string{"redis", "ws1", "ws2", "haproxy"}
	pids := map[string]int{}
	for _, part := range parts {
		pids[part] = c.PID(part)
	}
	c.script("scripts/down")
	for part, pid := range pids {
		if alive(pid) {
			t.Errorf("%s (%d) is still there", part, pid)
		}
	}
	c.script("scripts/up", "-d", "--port", fmt.Sprint(c.port), "--shards", "2")
	again := c.Dial(c.Front(), "/ws/chat/lobby?user=alice")
	again.Send(`{"id":1,"cmd":"history","room":"lobby"}`)
	if f := again.Reply(1); !bytes.Contains(f.OK, []byte(`"key":"kept"`)) {
		t.Errorf("history after down and up: %s", f.OK)
	}
}

// A cluster that strangers can reach keeps HAProxy's limits per address, which up
// lifts on a machine's own.
func TestPublicKeepsTheLimits(t *testing.T) {
	c := Start(t, 1)
	tooMany := func() bool {
		for range 60 { // more than 50 in ten seconds
			if resp, _ := c.get("http://"+c.Front()+"/ws/chat/lobby", upgrade()); resp.StatusCode == http.StatusTooManyRequests {
				return true
			}
		}
		return false
	}
	if tooMany() {
		t.Error("without --public one address is refused")
	}
	c.script("scripts/down")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env = []string{"CHATRING_AUTH_MODE=jwt", "CHATRING_AUTH_SECRET_FILE=" + secret}
	c.script("scripts/up", "-d", "--public", "--port", fmt.Sprint(c.port), "--shards", "1")
	if !tooMany() {
		t.Error("with --public nobody is refused")
	}
}

// alive says whether a process runs; one that only waits to be reaped does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(b, []byte(") Z "))
}

// A report is what loadtest/replay says of a run, as far as its exit code does
// not say it.
type report struct {
	Acknowledged int            `json:"acknowledged"`
	Reconnects   int            `json:"reader_reconnects"`
	Closings     map[string]int // of all sessions, by the close code or "broken"
	Placement    struct {
		Split int `json:"split"` // rooms on more than one node
	} `json:"placement_run"`
}

// replay plays the excerpt of a real conversation through the cluster; the
// function that it returns waits for its end, and fails the test when the
// checker found anything wrong.
func (c *Cluster) replay(t *testing.T, args ...string) func() report {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	args = append([]string{"-url", "ws://" + c.Front(), "-json", file, "-progress", "0", "-timeout", "2m"}, args...)
	cmd := exec.CommandContext(ctx, replayBinary, append(args, filepath.Join(c.root, "loadtest", "data", "ubuntu-excerpt.jsonl"))...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait := sync.OnceValue(cmd.Wait)
	t.Cleanup(func() {
		cancel()
		_ = wait()
	})
	return func() report {
		t.Helper()
		if err := wait(); err != nil {
			t.Fatalf("replay: %v\n%s", err, out.String())
		}
		t.Logf("replay:\n%s", out.String())
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r report
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// waitAppended waits until the replay is so far.
func (c *Cluster) waitAppended(n int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d messages are in the log", n), func() bool { return c.Calls("xadd") >= n })
}

// waitUp waits until HAProxy sends rooms to node i again.
func (c *Cluster) waitUp(i int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("node %d is on the ring", i), func() bool {
		for r := range 20 {
			if NodeOf(c.Shard(fmt.Sprintf("room-%d", r))) == i {
				return true
			}
		}
		return false
	})
}

// eventually asks again and again, with a short pause, until it is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(50 * time.Millisecond) // between two questions
	}
}
