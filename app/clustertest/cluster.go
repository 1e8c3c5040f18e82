// Package clustertest runs the real cluster (HAProxy, Redis and several nodes,
// started by scripts/up) and holds it to its promises from outside: through
// sockets, HTTP, redis-cli and signals. It knows nothing of the packages that
// the nodes are made of.
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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// patience is how long something that must happen may take. It is long because
// a slow machine is no fault; what never happens is.
const patience = 20 * time.Second

// What is run: a node with the race detector, and loadtest/replay, the checker
// that knows nothing of the nodes. The tests build both.
var nodeBinary, replayBinary string

// UseNode says which node other packages' tests have built.
func UseNode(binary string) { nodeBinary = binary }

// A Cluster is one that scripts/up has started.
type Cluster struct {
	t     *testing.T
	root  string // of the repository
	state string
	port  int
	env   []string // of the scripts, beside the test's own; "NAME=value"
	from  net.IP   // whence sockets come; nil: whence they like
}

// Start starts a cluster on free ports, with settings ("NAME=value"), and stops it with
// the test. Such tests run beside each other, since most of their time they wait.
func Start(t *testing.T, shards int, settings ...string) *Cluster {
	t.Helper()
	t.Parallel()
	c := &Cluster{t: t, root: repository(t), state: t.TempDir(), port: freePorts(t), env: settings}
	t.Cleanup(func() {
		if t.Failed() {
			c.showLogs()
		}
		c.script("scripts/down")
	})
	c.script("scripts/up", "-d", "--port", strconv.Itoa(c.port), "--shards", strconv.Itoa(shards))
	return c
}

// For is the cluster as another test sees it, whose sockets come from an
// address of this machine (nil: from any). HAProxy counts per address.
func (c *Cluster) For(t *testing.T, from net.IP) *Cluster {
	other := *c
	other.t, other.from = t, from
	return &other
}

// repository returns the folder that go.mod is in.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// given is the first port that no cluster of this process has been given.
var given = struct {
	sync.Mutex
	port int
}{port: 21000 + 200*(os.Getpid()%20)}

// freePorts returns a port such that scripts/up finds all of its ports free.
func freePorts(t *testing.T) int {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	for base := given.port; base < 32000; base += 200 {
		free := true
		for _, offset := range []int{0, 1, 2, 3, 4, 21, 22, 90, 98, 99, 101, 102, 103, 104, 121, 122} {
			ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+offset))
			if err != nil {
				free = false
				break
			}
			_ = ln.Close()
		}
		if free {
			given.port = base + 200
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// script runs one of the repository's scripts, which must succeed, and returns
// what it printed.
func (c *Cluster) script(name string, args ...string) string {
	c.t.Helper()
	out, err := c.try(name, args...)
	if err != nil {
		c.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// try runs one of the repository's scripts.
func (c *Cluster) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, name), args...)
	cmd.Env = append(append(os.Environ(), "CHATRING_STATE="+c.state, "CHATRING_BIN="+nodeBinary), c.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *Cluster) showLogs() {
	logs, _ := filepath.Glob(filepath.Join(c.state, "*.log"))
	for _, name := range logs {
		b, _ := os.ReadFile(name)
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		c.t.Logf("the end of %s:\n%s", filepath.Base(name), strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
}

// Front is the address of HAProxy, without a scheme.
func (c *Cluster) Front() string { return fmt.Sprintf("127.0.0.1:%d", c.port) }

// Node is the serving address of node i, counted from 1, without a scheme.
func (c *Cluster) Node(i int) string { return fmt.Sprintf("127.0.0.1:%d", c.port+i) }

// Ops is the operators' address of node i, counted from 1, without a scheme.
func (c *Cluster) Ops(i int) string { return fmt.Sprintf("127.0.0.1:%d", c.port+100+i) }

// HAProxyOps is HAProxy's operators' address, without a scheme.
func (c *Cluster) HAProxyOps() string { return fmt.Sprintf("127.0.0.1:%d", c.port+99) }

// RedisAddress is where the log is.
func (c *Cluster) RedisAddress() string { return fmt.Sprintf("127.0.0.1:%d", c.port+90) }

// NodeSettings join a node that scripts/up does not know of to the cluster.
func (c *Cluster) NodeSettings() []string {
	return []string{
		"CHATRING_BROKER=redis", "CHATRING_REDIS_URL=redis://" + c.RedisAddress() + "/0",
		"CHATRING_REDIS_PASSWORD_FILE=" + filepath.Join(c.state, "redis-auth", "nodes"),
	}
}

// PID is the process of a part: redis, ws1, …, haproxy.
func (c *Cluster) PID(part string) int {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.state, part+".pid"))
	if err != nil {
		c.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		c.t.Fatal(err)
	}
	return pid
}

// Signal sends a signal to a part.
func (c *Cluster) Signal(part string, s syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(c.PID(part), s); err != nil {
		c.t.Fatalf("%v to %s: %v", s, part, err)
	}
}

// Log is what a part has written.
func (c *Cluster) Log(part string) string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.state, part+".log"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// Redis runs redis-cli as the operator and returns what it printed.
func (c *Cluster) Redis(args ...string) string {
	c.t.Helper()
	return c.script("scripts/redis", append([]string{"cli"}, args...)...)
}

// Calls is how often Redis has run a command.
func (c *Cluster) Calls(command string) int {
	c.t.Helper()
	for line := range strings.Lines(c.Redis("info", "commandstats")) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			n, _, _ := strings.Cut(rest, ",")
			calls, err := strconv.Atoi(n)
			if err != nil {
				c.t.Fatal(err)
			}
			return calls
		}
	}
	return 0
}

// Metric is the value of a metric of node i.
func (c *Cluster) Metric(i int, name string) float64 {
	c.t.Helper()
	_, body := c.get("http://"+c.Ops(i)+"/metrics", nil)
	scan := bufio.NewScanner(bytes.NewReader(body))
	for scan.Scan() {
		if value, ok := strings.CutPrefix(scan.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return f
		}
	}
	c.t.Fatalf("node %d has no metric %s", i, name)
	return 0
}

// get asks over HTTP.
func (c *Cluster) get(url string, header http.Header) (*http.Response, []byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, body
}

// Shard is the APPID to which HAProxy sends a room.
func (c *Cluster) Shard(room string) string {
	c.t.Helper()
	resp, body := c.get("http://"+c.Front()+"/shard/"+room, nil)
	var answer struct{ Room, Shard string }
	if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode != http.StatusOK || answer.Room != room {
		c.t.Fatalf("/shard/%s: %s %s", room, resp.Status, body)
	}
	return answer.Shard
}

// NodeOf is the number, from 1, of the node with an APPID.
func NodeOf(appid string) int {
	n, _ := strconv.Atoi(appid)
	return n / 1111
}

// RoomOn returns a room that HAProxy sends to node i.
func (c *Cluster) RoomOn(i int) string {
	c.t.Helper()
	for n := range 1000 {
		if room := fmt.Sprintf("%s-%d", c.t.Name()[:min(20, len(c.t.Name()))], n); NodeOf(c.Shard(clean(room))) == i {
			return clean(room)
		}
	}
	c.t.Fatalf("no room on node %d", i)
	return ""
}

func clean(room string) string { return strings.NewReplacer("/", "-", " ", "-").Replace(room) }

// A Client is one WebSocket.
type Client struct {
	t      *testing.T
	conn   *websocket.Conn
	frames chan Frame // closed when the socket ends
	end    error      // why; set before frames is closed
	early  []Frame    // pushes that came before a reply, oldest first: to be heard yet
	asked  int        // commands given by do and fail
	Shard  string
}

// A Frame is anything that a client hears.
type Frame struct {
	Push, Room, Pos, From, Key, Session, Shard, User, Event, Code, State, Status string
	ID                                                                           int
	LastSeen                                                                     int64 `json:"last_seen"`
	Recovered                                                                    bool
	Missed                                                                       int
	Data                                                                         json.RawMessage
	OK                                                                           json.RawMessage `json:"ok"`
	Error                                                                        *struct {
		Code, Message string
		Temporary     bool
		RetryAfterMS  int `json:"retry_after_ms"`
	}
}

// Dial opens a socket, which must succeed, and joins its room. A token is one
// more subprotocol, "bearer." and the token.
func (c *Cluster) Dial(address, pathAndQuery string, token ...string) *Client {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	dialer := net.Dialer{}
	if c.from != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: c.from}
	}
	conn, resp, err := websocket.Dial(ctx, "ws://"+address+pathAndQuery, &websocket.DialOptions{
		Subprotocols: append([]string{"chatring.v1"}, token...),
		HTTPClient:   &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}},
	})
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		c.t.Fatalf("dial %s: %v", pathAndQuery, err)
	}
	conn.SetReadLimit(1 << 20)
	cl := &Client{t: c.t, conn: conn, frames: make(chan Frame, 10_000)}
	go cl.read()
	c.t.Cleanup(func() { _ = conn.CloseNow() })
	cl.Shard = cl.Wait("hello", func(f Frame) bool { return f.Push == "hello" }).Shard
	cl.Wait("joined", func(f Frame) bool { return f.Push == "joined" })
	return cl
}

func (cl *Client) read() {
	defer close(cl.frames)
	for {
		_, b, err := cl.conn.Read(context.Background())
		if err != nil {
			cl.end = err
			return
		}
		var f Frame
		if cl.end = json.Unmarshal(b, &f); cl.end != nil {
			return
		}
		cl.frames <- f
	}
}

// Send sends a command.
func (cl *Client) Send(format string, args ...any) {
	cl.t.Helper()
	ctx, cancel := context.WithTimeout(cl.t.Context(), patience)
	defer cancel()
	if err := cl.conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		cl.t.Fatalf("send: %v", err)
	}
}

// Wait hears frames until one is what is waited for, and returns it.
func (cl *Client) Wait(what string, is func(Frame) bool) Frame {
	cl.t.Helper()
	for len(cl.early) > 0 {
		f := cl.early[0]
		if cl.early = cl.early[1:]; is(f) {
			return f
		}
	}
	return cl.next(what, is)
}

// next is Wait for what has not come yet.
func (cl *Client) next(what string, is func(Frame) bool) Frame {
	cl.t.Helper()
	late := time.After(patience)
	for {
		select {
		case f, ok := <-cl.frames:
			if !ok {
				cl.t.Fatalf("waited for %s, and the socket ended: %v", what, cl.end)
			}
			if is(f) {
				return f
			}
		case <-late:
			cl.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Reply waits for the reply to command id. Pushes may come before it or behind it: those
// before are left for Wait.
func (cl *Client) Reply(id int) Frame {
	cl.t.Helper()
	return cl.next(fmt.Sprintf("the reply to command %d", id), func(f Frame) bool {
		if f.ID != id {
			cl.early = append(cl.early, f)
		}
		return f.ID == id
	})
}

// Message hears frames until a message with a key.
func (cl *Client) Message(key string) Frame {
	cl.t.Helper()
	return cl.Wait("message "+key, func(f Frame) bool { return f.Push == "message" && f.Key == key })
}

// Code hears frames until the socket ends, and returns the close code (-1:
// none).
func (cl *Client) Code() websocket.StatusCode {
	cl.t.Helper()
	late := time.After(patience)
	for {
		select {
		case _, ok := <-cl.frames:
			if !ok {
				return websocket.CloseStatus(cl.end)
			}
		case <-late:
			cl.t.Fatal("waited in vain for the end of the socket")
		}
	}
}
