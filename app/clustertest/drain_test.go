package clustertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A node is told to stop in the middle of a conversation: HAProxy sends it
// nobody any more, its members are told and closed with 1012, and nothing is
// lost. scripts/up --node waits for its end and brings it back, as the runbook of
// a rolling restart has it.
func TestDrain(t *testing.T) {
	c := Start(t, 4)
	room := c.RoomOn(2)
	member := c.Dial(c.Front(), "/ws/chat/"+room+"?user=alice")
	wait := c.replay(t, "-rate", "250")
	c.waitAppended(200)
	c.Signal("ws2", syscall.SIGTERM)
	member.Wait("drain", func(f Frame) bool { return f.Push == "drain" })
	if back := c.Dial(c.Front(), "/ws/chat/"+room+"?user=alice"); back.Shard == "2222" {
		t.Errorf("came back to the node that drains")
	}
	draining := c.PID("ws2")
	c.script("scripts/up", "--node", "2")
	if got := member.Code(); got != 1012 {
		t.Errorf("closed with %d, want 1012", got)
	}
	if !strings.Contains(c.Log("ws2"), `"msg":"stopped"`) {
		t.Error("the drain was cut short")
	}
	if got := c.PID("ws2"); got == draining || !alive(got) {
		t.Errorf("process %d of ws2 drained, and process %d came back: want another one that runs", draining, got)
	}
	if back := c.Dial(c.Front(), "/ws/chat/"+room+"?user=alice"); back.Shard != "2222" {
		t.Errorf("the room is on %s, want its home again", back.Shard)
	}
	wait()
	c.noRaces()
}

// A fan is a member that comes back, as docs/protocol.md says, and notes what it
// hears. One fan of each room speaks.
type fan struct {
	crowd *crowd
	room  string
	name  string

	// Guarded by mu.
	mu    sync.Mutex
	conn  *websocket.Conn // nil while it is away
	shard string          // where it is, or was
	since string
	keys  []string // of the messages, in the order heard
	holes int      // joins that recovered nothing
}

// A crowd is the fans of some rooms. Its lock comes before theirs.
type crowd struct {
	c    *Cluster
	fans []*fan
	work sync.WaitGroup
	hush chan struct{} // closed when speakers are to end

	// Guarded by mu.
	mu   sync.Mutex
	back []time.Time // when somebody came back
	said map[string]int
}

// crowd lets fans into rooms. They stay until the test ends.
func (c *Cluster) crowd(fansOf map[string]int) *crowd {
	c.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cr := &crowd{c: c, hush: make(chan struct{}), said: map[string]int{}}
	for room, n := range fansOf {
		for i := range n {
			f := &fan{crowd: cr, room: room, name: fmt.Sprintf("u%d", i)}
			cr.fans = append(cr.fans, f)
			cr.work.Go(func() { f.run(ctx) })
			if i == 0 {
				cr.work.Go(func() { f.speak(ctx) })
			}
		}
	}
	c.t.Cleanup(func() {
		stop()
		cr.work.Wait()
	})
	eventually(c.t, "all are in", func() bool { return cr.count(func(f *fan) bool { return f.conn != nil }) == len(cr.fans) })
	return cr
}

func (cr *crowd) count(is func(*fan) bool) (n int) {
	for _, f := range cr.fans {
		f.mu.Lock()
		if is(f) {
			n++
		}
		f.mu.Unlock()
	}
	return n
}

// returns forgets who came back so far, and says how many there were, and the
// most in one second.
func (cr *crowd) returns() (all, most int) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	slices.SortFunc(cr.back, time.Time.Compare)
	for i, first := 0, 0; i < len(cr.back); i++ {
		for cr.back[i].Sub(cr.back[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	all, cr.back = len(cr.back), nil
	return all, most
}

func (f *fan) run(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		span, err := f.visit(ctx, first)
		if err != nil && span == [2]int64{} {
			span = [2]int64{100, 500} // it broke, or was refused
		}
		select {
		case <-time.After(time.Duration(span[0]+rand.Int64N(span[1]-span[0]+1)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// visit is one connection. It returns the span in which to come back, if the
// node has said one.
func (f *fan) visit(ctx context.Context, first bool) (span [2]int64, err error) {
	dialing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	path := fmt.Sprintf("ws://%s/ws/chat/%s?user=%s&since=%s", f.crowd.c.Front(), f.room, f.name, f.since)
	conn, resp, err := websocket.Dial(dialing, path, nil)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		return span, err
	}
	defer func() { _ = conn.CloseNow() }()
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.conn = nil
			return span, err
		}
		var frame struct {
			Frame
			ReconnectMS [2]int64 `json:"reconnect_ms"`
		}
		if err := json.Unmarshal(b, &frame); err != nil {
			return span, err
		}
		f.mu.Lock()
		switch frame.Push {
		case "hello":
			f.shard = frame.Shard
		case "joined":
			f.conn = conn
			if !first && !frame.Recovered {
				f.holes++
			}
			if f.since == "" {
				f.since = frame.Pos
			}
		case "message":
			f.since = frame.Pos
			f.keys = append(f.keys, frame.Key)
		case "drain":
			span = frame.ReconnectMS
		}
		f.mu.Unlock()
		if frame.Push == "joined" && !first {
			f.crowd.mu.Lock()
			f.crowd.back = append(f.crowd.back, time.Now())
			f.crowd.mu.Unlock()
		}
	}
}

// speak says one number after the other, each until the room has heard it.
func (f *fan) speak(ctx context.Context) {
	for n := 0; ; n++ {
		key := strconv.Itoa(n)
		for heard := false; !heard; {
			f.mu.Lock()
			conn := f.conn
			f.mu.Unlock()
			if conn != nil {
				_ = conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"id":%d,"cmd":"publish","room":%q,"key":%q,"data":%d}`, n+1, f.room, key, n))
			}
			for range 20 {
				time.Sleep(20 * time.Millisecond) // between two messages
				f.mu.Lock()
				heard = len(f.keys) > 0 && f.keys[len(f.keys)-1] == key
				f.mu.Unlock()
				if heard {
					break
				}
			}
			if ctx.Err() != nil {
				return
			}
		}
		f.crowd.mu.Lock()
		f.crowd.said[f.room] = n + 1
		f.crowd.mu.Unlock()
		select {
		case <-f.crowd.hush:
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// settle ends the talking and fails the test when somebody has not heard
// everything that was said since it came, once and in order.
func (cr *crowd) settle() {
	t := cr.c.t
	t.Helper()
	close(cr.hush)
	eventually(t, "all have heard everything", func() bool {
		cr.mu.Lock()
		defer cr.mu.Unlock()
		return cr.count(func(f *fan) bool { return len(f.keys) > 0 && f.keys[len(f.keys)-1] == strconv.Itoa(cr.said[f.room]-1) }) == len(cr.fans)
	})
	for _, f := range cr.fans {
		f.mu.Lock()
		begin, _ := strconv.Atoi(f.keys[0])
		for i, key := range f.keys {
			if key != strconv.Itoa(begin+i) {
				t.Errorf("%s in %s hears %v", f.name, f.room, f.keys)
				break
			}
		}
		if f.holes > 0 {
			t.Errorf("%s in %s came back %d times and recovered nothing", f.name, f.room, f.holes)
		}
		f.mu.Unlock()
	}
}

// sum adds a metric of several nodes up.
func (c *Cluster) sum(name string, nodes ...int) (sum float64) {
	c.t.Helper()
	for _, i := range nodes {
		sum += c.Metric(i, name)
	}
	return sum
}

// at2 starts a cluster whose node 2 has 300 members, half of them in one room of
// 31.
func at2(t *testing.T) (*Cluster, *crowd) {
	t.Helper()
	c := Start(t, 4, "CHATRING_DRAIN_RATE=100", "CHATRING_HOME_RATE=100")
	rooms := c.roomsOn(2, 31)
	fansOf := map[string]int{rooms[30]: 150}
	for _, room := range rooms[:30] {
		fansOf[room] = 5
	}
	cr := c.crowd(fansOf)
	if !cr.all("2222", true)() {
		t.Fatal("members are not at home")
	}
	return c, cr
}

// all says whether all are in, and on the node with an APPID, or all on others.
func (cr *crowd) all(appid string, there bool) func() bool {
	return func() bool {
		return cr.count(func(f *fan) bool { return f.conn != nil && (f.shard == appid) == there }) == len(cr.fans)
	}
}

// A node that stops sends its members away at a bounded rate, and their rooms
// are open elsewhere before they come. Nobody misses anything.
func TestDrainOpensAhead(t *testing.T) {
	c, cr := at2(t)
	c.Signal("ws2", syscall.SIGTERM)
	eventually(t, "all are elsewhere", cr.all("2222", false))
	all, most := cr.returns()
	t.Logf("%d came back, at most %d in a second; the rate is 100", all, most)
	// A busy machine may let a member overtake the word that opens its room.
	if got := c.sum("chatring_rooms_warmed_total", 1, 3, 4); got < 25 || got > 31 {
		t.Errorf("%v rooms were opened before their members came, want 31", got)
	}
	cr.settle()
	c.noRaces()
}

// After a node has died and is back, all members of its rooms come to be there
// again. Nobody misses anything.
func TestSplitRoomsHeal(t *testing.T) {
	c, cr := at2(t)
	c.Signal("ws2", syscall.SIGKILL)
	eventually(t, "all are elsewhere", cr.all("2222", false))
	c.script("scripts/up", "--node", "2")
	cr.returns()
	began := time.Now()
	for home := cr.all("2222", true); !home(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > 90*time.Second {
			t.Fatalf("%d of %d are at home", cr.count(func(f *fan) bool { return f.shard == "2222" }), len(cr.fans))
		}
	}
	all, most := cr.returns()
	t.Logf("%d came home within %v, at most %d in a second; the rate is 100 of each of three nodes", all, time.Since(began).Round(time.Second), most)
	if led := c.sum("chatring_led_home_total", 1, 3, 4); led < 300 || led > 330 {
		t.Errorf("%v members were led home, want 300, each once", led)
	}
	cr.settle()
	c.noRaces()
}

// Two nodes that stop at once while HAProxy is reloaded, whose new process takes
// them for up at first, and then the last two, which have nowhere to send their
// members: all end in order. Nobody misses anything.
func TestDrainsAtOnce(t *testing.T) {
	c, cr := at2(t)
	c.Signal("ws1", syscall.SIGTERM)
	c.Signal("ws2", syscall.SIGTERM)
	eventually(t, "the drain has begun", func() bool { return cr.count(func(f *fan) bool { return f.shard != "2222" }) > 20 })
	c.Signal("haproxy", syscall.SIGUSR2)
	stopped := func(parts ...string) {
		eventually(t, fmt.Sprint(parts, " have stopped"), func() bool {
			return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(c.Log(part), `"msg":"stopped"`) })
		})
	}
	stopped("ws1", "ws2")
	eventually(t, "all are on the other two", func() bool {
		return cr.count(func(f *fan) bool { return f.conn != nil && f.shard > "2222" }) == len(cr.fans)
	})
	c.Signal("ws3", syscall.SIGTERM)
	c.Signal("ws4", syscall.SIGTERM)
	stopped("ws3", "ws4")
	for _, i := range []string{"1", "2", "3", "4"} {
		c.script("scripts/up", "--node", i)
	}
	eventually(t, "all are in", func() bool { return cr.count(func(f *fan) bool { return f.conn != nil }) == len(cr.fans) })
	cr.settle()
	c.noRaces()
}

// A process is a node without a cluster around it.
type process struct {
	*exec.Cmd
	address string
	out     *lines
	ended   chan error // holds what Wait returned
}

// lines is what a process has written.
type lines struct {
	mu sync.Mutex
	b  []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, b...)
	return len(b), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// node starts a node with settings. It is killed with the test.
func node(t *testing.T, settings ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(nodeBinary), address: unused(t), out: &lines{}, ended: make(chan error, 1)}
	p.Env = append([]string{"APPID=1111", "CHATRING_LISTEN=" + p.address, "CHATRING_OPS_LISTEN=", "CHATRING_BROKER=redis", "CHATRING_AUTH_MODE=dev"}, settings...)
	p.Stdout, p.Stderr = p.out, p.out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

// unused is an address of this machine at which nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// hole is an address that takes connections and answers nothing.
func hole(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

// ends waits until the process has ended by itself.
func (p *process) ends(t *testing.T, within time.Duration) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(within):
		t.Fatalf("still there %v after it was told to stop:\n%s", within, p.out)
		return nil
	}
}

// A node with a member in the middle of a command stops well inside its grace,
// and with 0, whatever does not answer.
func TestStopsInTime(t *testing.T) {
	for name, settings := range map[string]func(t *testing.T) []string{
		"Redis is gone":             func(t *testing.T) []string { return []string{"CHATRING_REDIS_URL=redis://" + unused(t)} },
		"Redis swallows everything": func(t *testing.T) []string { return []string{"CHATRING_REDIS_URL=redis://" + hole(t)} },
		"HAProxy is gone, too": func(t *testing.T) []string {
			return []string{"CHATRING_REDIS_URL=redis://" + unused(t), "CHATRING_HOME_URL=http://" + unused(t)}
		},
		"and HAProxy swallows the rest": func(t *testing.T) []string {
			return []string{"CHATRING_REDIS_URL=redis://" + hole(t), "CHATRING_HOME_URL=http://" + hole(t)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := node(t, append(settings(t), "CHATRING_DRAIN_NOTICE=500ms", "CHATRING_ROOM_OPEN_TIMEOUT=20s")...)
			var conn *websocket.Conn
			eventually(t, "the node takes a member", func() bool {
				var err error
				conn, _, err = websocket.Dial(t.Context(), "ws://"+p.address+"/ws/chat/lobby?user=alice", nil) //nolint:bodyclose // there is none after 101
				return err == nil
			})
			defer func() { _ = conn.CloseNow() }()
			if _, hello, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(hello), "hello") {
				t.Fatalf("%s, %v", hello, err)
			}
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := p.ends(t, 30*time.Second); err != nil {
				t.Errorf("ended with %v, want 0\n%s", err, p.out)
			}
			if !strings.Contains(p.out.String(), `"msg":"stopped"`) || strings.Contains(p.out.String(), "DATA RACE") {
				t.Errorf("it says\n%s", p.out)
			}
		})
	}
}

// A second SIGTERM ends the process at once, whatever the first has begun.
func TestToldTwice(t *testing.T) {
	p := node(t, "CHATRING_REDIS_URL=redis://"+unused(t), "CHATRING_DRAIN_NOTICE=10m", "CHATRING_DRAIN_GRACE=20m")
	for _, says := range []string{`"msg":"serving"`, `"msg":"draining"`} {
		eventually(t, "it says "+says, func() bool { return strings.Contains(p.out.String(), says) })
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	var exit *exec.ExitError
	if err := p.ends(t, patience); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v, want by the signal", err)
	}
}

// A node that is told to stop while it starts, at whatever moment, ends: by the
// signal before it serves, else with 0.
func TestToldWhileStarting(t *testing.T) {
	for i := range 8 {
		p := node(t, "CHATRING_REDIS_URL=redis://"+unused(t), "CHATRING_DRAIN_NOTICE=100ms")
		time.Sleep(time.Duration(i*i) * 4 * time.Millisecond)
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		err := p.ends(t, 30*time.Second)
		if err != nil && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM || strings.Contains(p.out.String(), `"msg":"serving"`)) {
			t.Errorf("after %d ms it ended with %v\n%s", i*i*4, err, p.out)
		}
	}
}
