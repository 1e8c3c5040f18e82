package hostiletest

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatring/chatring/app/clustertest"
)

// A hostile is one bad thing that strangers might send.
type hostile struct {
	id     string // as in docs/hostile.md
	sent   string // what is sent, for people
	answer string // what must come back
	// run sends it and compares. Nil when another test does, or none can yet:
	// then elsewhere says which, or why.
	run       func(*scene)
	elsewhere string
	// alone keeps other cases away: memory is measured, or all are flooded.
	alone bool
}

// corpus is every case, in the order of docs/hostile.md.
func corpus() []hostile {
	return slices.Concat(handshakes, tokens, frames, messages, services, operations)
}

// A scene is where one case runs: a room, and an address to come from, of its
// own.
type scene struct {
	*testing.T
	cluster *clustertest.Cluster
	strict  string // a node beside the cluster that wants tokens
	limited string // one with all limits, which scripts/up lifts
	room    string
	user    string // the attacker
	from    net.IP
}

const nodes = 2

// nodeBinary is the node that is run, with the race detector.
var nodeBinary string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "hostiletest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	nodeBinary = filepath.Join(dir, "chatring")
	clustertest.UseNode(nodeBinary)
	if out, err := exec.Command("go", "build", "-race", "-o", nodeBinary, "..").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	// Most cases wait for the node, which waits by design.
	if err := flag.Set("test.parallel", "24"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Each case gets its exact answer, and costs the cluster nothing: no process
// ends, no log tells of a race or a panic, and the members of the room that it
// was aimed at hear each other.
func TestHostile(t *testing.T) {
	// Shorter than the defaults, so that nobody waits half a minute to see a
	// silent socket closed.
	settings := []string{
		"CHATRING_GATEWAY_PING=" + ping.String(), "CHATRING_GATEWAY_PONG_TIMEOUT=" + pongTimeout.String(),
		fmt.Sprint("CHATRING_GATEWAY_SOCKETS_PER_USER=", socketsPerUser),
	}
	c := clustertest.Start(t, nodes, append(settings, fmt.Sprint("WS_RATE_PER_IP=", socketRate), "WS_CONN_PER_IP=200", "WEB_RATE_PER_IP=500")...)
	strict := startNode(t, c, slices.Concat(settings, strictSettings(t), []string{"APPID=8888"})...)
	limited := startNode(t, c, append(settings, "APPID=9999", "CHATRING_AUTH_MODE=dev", "CHATRING_SERVICE_REQUESTS=20")...)
	lives := []string{"http://" + strict + "/healthz", "http://" + limited + "/healthz"}
	for i := range nodes {
		lives = append(lives, "http://"+c.Ops(i+1)+"/livez")
	}

	var ran, passed atomic.Int32
	play := func(t *testing.T, n int, h hostile) {
		ran.Add(1)
		s := &scene{T: t, strict: strict, limited: limited, room: "hostile-" + strings.ToLower(h.id), user: "mallory-" + h.id, from: address(n)}
		s.cluster = c.For(t, s.from)
		listener, speaker := s.control("listener", s.cluster.Front()), s.control("speaker", s.cluster.Node(2))
		defer func() { // also when the case gave up
			if n := dead(t, lives); n > 0 {
				t.Errorf("%d processes of nodes have ended", n)
			}
			if !t.Failed() {
				passed.Add(1)
			}
		}()
		h.run(s)
		speaker.Send(`{"id":9,"cmd":"publish","room":%q,"key":"after","data":1}`, s.room)
		listener.Message("after")
		speaker.Message("after")
	}
	t.Run("alone", func(t *testing.T) {
		for n, h := range corpus() {
			if h.run != nil && h.alone {
				t.Run(h.id, func(t *testing.T) { play(t, n, h) })
			}
		}
	})
	t.Run("together", func(t *testing.T) {
		for n, h := range corpus() {
			if h.run != nil && !h.alone {
				t.Run(h.id, func(t *testing.T) {
					t.Parallel()
					play(t, n, h)
				})
			}
		}
	})
	checkLogs(t, c)
	fmt.Printf("hostile corpus: %d cases, %d passed, %d failed, %d process deaths\n",
		ran.Load(), passed.Load(), ran.Load()-passed.Load(), dead(t, lives))
}

const (
	ping, pongTimeout = 4 * time.Second, 4 * time.Second
	socketRate        = 50 // sockets in 10 s that HAProxy lets one address open
	socketsPerUser    = 50 // of one user on one node
)

// address is one of this machine's that only case n uses.
func address(n int) net.IP { return net.IPv4(127, 66, 0, byte(n+1)) }

// dead counts the nodes that answer no more: nobody starts a node again. After a
// failure it asks for some time, since a process that panics takes a moment.
func dead(t *testing.T, lives []string) (n int) {
	for late := time.Now().Add(2 * time.Second); ; time.Sleep(50 * time.Millisecond) { // between two questions
		for _, url := range lives {
			resp, err := http.Get(url)
			if err != nil || resp.StatusCode != http.StatusOK {
				n++
			}
			if err == nil {
				_ = resp.Body.Close()
			}
		}
		if n > 0 || !t.Failed() || time.Now().After(late) {
			return n
		}
	}
}

// control is a member of the case's room that does nothing wrong.
func (s *scene) control(user, door string) *clustertest.Client {
	s.Helper()
	return s.cluster.Dial(door, "/ws/chat/"+s.room+"?user="+user)
}

// doors are the two ways in: HAProxy, and a node itself.
func (s *scene) doors() map[string]string {
	return map[string]string{"through HAProxy": s.cluster.Front(), "at the node": s.cluster.Node(1)}
}

// path is how the attacker comes to the case's room.
func (s *scene) path() string { return "/ws/chat/" + s.room + "?user=" + s.user }

// upgraded opens a socket of the attacker, who is in the room then.
func (s *scene) upgraded(door string) *Peer {
	s.Helper()
	p := Connect(s.T, s.from, door).Upgrade(Handshake(s.path(), nil), nil)
	p.Joined()
	return p
}

// checkLogs finds what no log may tell of.
func checkLogs(t *testing.T, c *clustertest.Cluster) {
	contained := 0
	for i := range nodes {
		for line := range strings.Lines(c.Log(fmt.Sprintf("ws%d", i+1))) {
			var entry struct{ Level, Msg string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Errorf("the log of node %d has a line that is no JSON: %q", i+1, line)
				break // of a panic there are many
			}
			switch {
			case entry.Msg == "frame that gws cannot read":
				contained++
			case entry.Level == "ERROR" || strings.Contains(line, "panic"):
				t.Errorf("the log of node %d says: %s", i+1, line)
			}
		}
	}
	if want := int(unreadable.Load()); contained != want {
		t.Errorf("the logs tell of %d frames that gws cannot read, want %d", contained, want)
	}
	for line := range strings.Lines(c.Log("haproxy")) {
		if at := strings.Index(line, "hostile-"); at >= 0 && !json.Valid([]byte(line)) {
			t.Errorf("HAProxy's log has a line that is no JSON: %q", line)
		}
	}
}

// startNode runs a node beside the cluster, on its Redis, with settings of its
// own, and returns its address.
func startNode(t *testing.T, c *clustertest.Cluster, settings ...string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().String()
	_ = ln.Close()
	cmd := exec.CommandContext(t.Context(), nodeBinary, "serve")
	cmd.Env = slices.Concat(os.Environ(), c.NodeSettings(), []string{"CHATRING_LISTEN=" + at, "CHATRING_OPS_LISTEN="}, settings)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("the node beside the cluster has ended by itself: %v", err)
		}
		if t.Failed() || strings.Contains(log.String(), "panic") || strings.Contains(log.String(), "DATA RACE") {
			t.Errorf("the log of the node beside the cluster:\n%s", log.String())
		}
	})
	for late := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) { // between two attempts
		if conn, err := net.Dial("tcp", at); err == nil {
			_ = conn.Close()
			return at
		}
		if time.Now().After(late) {
			t.Fatal("the node beside the cluster does not come up")
		}
	}
}
