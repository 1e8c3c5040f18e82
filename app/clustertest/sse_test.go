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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"
)

// A listening is what an EventSource hears: when its stream ends it opens another one,
// and says by which event it knows where it stands.
type listening struct {
	t      *testing.T
	url    string
	frames chan Frame
	shards chan string // of each stream that was opened
	opened atomic.Int32
}

// Listen opens streams at an address until the test ends.
func (c *Cluster) Listen(pathAndQuery string) *listening {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &listening{t: c.t, url: "http://" + c.Front() + pathAndQuery, frames: make(chan Frame, 10_000), shards: make(chan string, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for last := ""; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) { // as a browser waits
			last = l.hear(ctx, last)
		}
	}()
	c.t.Cleanup(func() {
		cancel()
		<-done
	})
	l.wait("joined", func(f Frame) bool { return f.Push == "joined" })
	return l
}

// hear reads one stream to its end, and returns the id by which to go on.
func (l *listening) hear(ctx context.Context, last string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		return last
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return last
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return last
	}
	l.shards <- resp.Header.Get("X-Shard")
	l.opened.Add(1)
	for e, err := range sse.Read(resp.Body, nil) {
		if err != nil {
			break
		}
		if e.LastEventID != "" {
			last = e.LastEventID
		}
		var f Frame
		if json.Unmarshal([]byte(e.Data), &f) == nil && e.Type != "close" {
			l.frames <- f
		}
	}
	return last
}

func (l *listening) wait(what string, is func(Frame) bool) Frame {
	l.t.Helper()
	late := time.After(patience)
	for {
		select {
		case f := <-l.frames:
			if is(f) {
				return f
			}
		case <-late:
			l.t.Fatalf("a stream waited in vain for %s", what)
		}
	}
}

func (l *listening) message(key string) Frame {
	l.t.Helper()
	return l.wait("message "+key, func(f Frame) bool { return f.Push == "message" && f.Key == key })
}

// post sends commands for a stream through HAProxy, and returns the node's answer; status
// 0 says that there was none, since the node is dead.
func (c *Cluster) post(pathAndQuery, commands string) (status int, shard, body string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.Front()+pathAndQuery, strings.NewReader(commands))
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", err.Error()
	}
	return resp.StatusCode, resp.Header.Get("X-Shard"), string(b)
}

// A stream of a room is where the room's sockets are, and commands by POST come to the
// node of their stream, whatever it is a stream of.
func TestStreamsOnTheRing(t *testing.T) {
	c := Start(t, 3)
	room := c.RoomOn(2)
	bob := c.Dial(c.Front(), "/ws/chat/"+room+"?user=bob")
	path := "/sse/chat/" + room + "?user=alice&stream=alice-0000000000"
	alice := c.Listen(path)
	if shard := <-alice.shards; shard != bob.Shard {
		t.Errorf("the stream is on %s, the socket on %s", shard, bob.Shard)
	}
	status, shard, body := c.post(path, fmt.Sprintf(`{"id":1,"cmd":"publish","room":%q,"key":"by-post","data":1}`, room))
	if status != 200 || shard != bob.Shard || !strings.Contains(body, `"ok":{"pos"`) {
		t.Errorf("publish by POST: %d on %s: %s", status, shard, body)
	}
	bob.Message("by-post")
	alice.message("by-post")
	bob.Send(`{"id":1,"cmd":"publish","room":%q,"key":"by-socket","data":1}`, room)
	alice.message("by-socket")

	used := make(map[string]bool)
	for i := range 12 {
		path := fmt.Sprintf("/sse/watch/%s?user=w%d&stream=watcher-00000000%02d", room, i, i)
		if i%2 == 1 {
			path = fmt.Sprintf("/sse/inbox?user=w%d&stream=watcher-00000000%02d", i, i)
		}
		shard := <-c.Listen(path).shards
		status, to, body := c.post(path, `{"id":1,"cmd":"rooms"}`)
		if status != 200 || to != shard || !strings.Contains(body, `"ok"`) {
			t.Errorf("%s is on %s, its command on %s: %d %s", path, shard, to, status, body)
		}
		used[shard] = true
	}
	if len(used) < 2 {
		t.Errorf("the streams of 12 names are all on %v", used)
	}
	c.Listen("/sse/watch/" + room + "?user=carol") // without a name: wherever
}

// A node dies in the middle of a conversation. Its streams go on at another one where
// they left off: nothing that was acknowledged is lost, nothing comes twice. Whoever
// spoke through it opens a stream again, and gives its commands again.
func TestStreamOutlivesItsNode(t *testing.T) {
	const messages = 150
	c := Start(t, 3)
	room := c.RoomOn(2)
	heard, spoken := c.Listen("/sse/chat/"+room+"?user=alice"), "/sse/chat/"+room+"?user=bob&stream=bob-000000000000"
	bob := c.Listen(spoken)
	watcher := c.Listen("/sse/watch/" + room + "?user=carol")
	var sent []string
	retried := 0
	for i := range messages {
		if i == messages/3 {
			c.Signal("ws2", syscall.SIGKILL)
		}
		key := fmt.Sprintf("m%d", i)
		eventually(t, key+" to be taken", func() bool {
			status, _, body := c.post(spoken, fmt.Sprintf(`{"id":1,"cmd":"publish","room":%q,"key":%q,"data":%d}`, room, key, i))
			if status == 200 && strings.Contains(body, `"ok":{"pos"`) {
				return true
			}
			if !slices.Contains([]int{0, 200, 404, 502, 503}, status) {
				t.Errorf("a POST while a node dies: %d %s", status, body)
			}
			retried++
			return false
		})
		sent = append(sent, key)
	}
	if retried == 0 {
		t.Error("no POST was lost: the node did not die in the middle")
	}
	for name, l := range map[string]*listening{"a member": heard, "the speaker": bob, "a watcher": watcher} {
		var got []string
		for len(got) == 0 || got[len(got)-1] != sent[messages-1] {
			got = append(got, l.wait(fmt.Sprintf("what comes behind %d messages", len(got)), func(f Frame) bool { return f.Push == "message" }).Key)
		}
		if !slices.Equal(got, sent) {
			t.Errorf("%s heard %v, want each of %d messages once and in order", name, got, messages)
		}
	}
	if heard.opened.Load() < 2 {
		t.Error("the stream was never opened again")
	}
}

// A node that drains sends its streams elsewhere, which miss nothing.
func TestStreamsDrain(t *testing.T) {
	c := Start(t, 2)
	room := c.RoomOn(2)
	alice := c.Listen("/sse/chat/" + room + "?user=alice")
	bob := c.Dial(c.Node(1), "/ws/chat/"+room+"?user=bob")
	c.Signal("ws2", syscall.SIGTERM)
	for i := range 100 {
		bob.Send(`{"id":%d,"cmd":"publish","room":%q,"key":"d%d","data":1}`, i+1, room, i)
		bob.Reply(i + 1)
		if i == 50 {
			alice.wait("drain", func(f Frame) bool { return f.Push == "drain" })
			alice.wait("joined", func(f Frame) bool { return f.Push == "joined" && f.Recovered })
		}
	}
	alice.message("d99")
	<-alice.shards
	if shard := <-alice.shards; shard != "1111" {
		t.Errorf("the stream goes on at %s, want 1111", shard)
	}
}

// HAProxy lets through what is a stream, counts it as a socket and its commands by
// themselves, and gives commands to no second node.
func TestStreamsAtTheDoor(t *testing.T) {
	ask := func(d *door, method, path string, header ...string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+d.address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	t.Run("paths", func(t *testing.T) {
		d := openDoor(t, "WS_RATE_PER_IP=1000")
		for path, want := range map[string]int{
			"/sse/chat/lobby": 200, "/sse/chat/@a+b": 200, "/sse/watch/lobby": 200, "/sse/inbox": 200, "/sse/ticket": 200,
			"/sse/chat/@a": 400, "/sse/chat/a%2Db": 400, "/sse/watch/a%2Db": 400, "/sse/chat/": 400, "/sse/watch/": 400,
			"/sse//chat/lobby": 404, "//sse/chat/lobby": 400, "/%73se/chat/lobby": 400, "/sse/friends": 404, "/sse/": 404, "/sse/chat": 404, "/sse/inbox/x": 404,
		} {
			if got := ask(d, http.MethodGet, path); got != want {
				t.Errorf("%s: %d, want %d", path, got, want)
			}
		}
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			for origin, want := range map[string]int{"https://evil.example": 403, "http://" + d.address: 200} {
				if got := ask(d, method, "/sse/chat/lobby", "Origin", origin); got != want {
					t.Errorf("%s from %s: %d, want %d", method, origin, got, want)
				}
			}
		}
	})
	t.Run("limits", func(t *testing.T) {
		d := openDoor(t, "WS_RATE_PER_IP=5", "SSE_RATE_PER_IP=10", "WEB_RATE_PER_IP=3")
		for i := range 10 {
			if got, want := ask(d, http.MethodGet, "/sse/inbox"), map[bool]int{true: 200, false: 429}[i < 5]; got != want {
				t.Errorf("stream %d: %d, want %d", i+1, got, want)
			}
		}
		if got := ask(d, http.MethodPost, "/sse/ticket"); got != 429 {
			t.Errorf("a ticket for one more: %d", got)
		}
		for i := range 15 {
			if got, want := ask(d, http.MethodPost, "/sse/inbox"), map[bool]int{true: 200, false: 429}[i < 9]; got != want {
				t.Errorf("POST %d: %d, want %d", i+1, got, want)
			}
		}
	})
	t.Run("places", func(t *testing.T) {
		c := openCrush(t, "SOCKETS_MAX=2")
		c.hold(1, "/sse/chat/lobby", nil)
		c.hold(1, "/sse/watch/lobby", nil)
		c.asks("/sse/chat/lobby", nil, 503)
		c.asks("/sse/inbox", nil, 503)
		c.asks("/ws/chat/lobby", upgrade(), 503)
		if got := ask(c.door, http.MethodPost, "/sse/chat/lobby"); got != 200 {
			t.Errorf("commands when no further stream may open: %d", got)
		}
	})
	t.Run("again", func(t *testing.T) {
		d := openDoor(t)
		for method, want := range map[string]int{http.MethodGet: 4, http.MethodPost: 1} {
			got := ask(d, method, "/sse/chat/full")
			if n := len(d.asked); got != 503 || n != want {
				t.Errorf("%s: %d after %d requests, want 503 after %d", method, got, n, want)
			}
			for len(d.asked) > 0 {
				<-d.asked
			}
		}
	})
}

// A stream outlives HAProxy's patience with requests when only heartbeats come.
func TestHeartbeatsKeepStreams(t *testing.T) {
	cfg, err := os.ReadFile(filepath.Join(repository(t), "haproxy", "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, timeout := range []string{"client", "server"} {
		cfg = bytes.Replace(cfg, fmt.Appendf(nil, "timeout %-16s60s\n", timeout), fmt.Appendf(nil, "timeout %s 1s\n", timeout), 1)
	}
	if !bytes.Contains(cfg, []byte("timeout client 1s\n")) || !bytes.Contains(cfg, []byte("timeout server 1s\n")) {
		t.Fatal("the two timeouts are written otherwise")
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, cfg, 0o600); err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), nodeBinary)
	address := freeAddress(t)
	node.Env = append(os.Environ(), "APPID=1111", "CHATRING_LISTEN="+address, "CHATRING_OPS_LISTEN=", "CHATRING_GATEWAY_PING=2s")
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = node.Process.Kill()
		_ = node.Wait() // says that it was killed
	})
	d := openDoorOf(t, file, "WS1_ADDR="+address)
	conn, err := net.Dial("tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET /sse/chat/lobby?user=alice HTTP/1.1\r\nHost: %s\r\n\r\n", d.address)
	lines := bufio.NewScanner(conn)
	for beats := 0; beats < 4; {
		if !lines.Scan() {
			t.Fatalf("the stream ends after %d heartbeats: %v", beats, lines.Err())
		}
		if lines.Text() == ":" {
			beats++
		}
	}
}
