package gateway_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/membroker"
)

// An idle session takes one goroutine.
func TestGoroutines(t *testing.T) {
	const sessions = 200
	n := serve(t)
	n.upgraded(t, "/ws/chat/lobby?user=first", "").hear("joined")
	before := runtime.NumGoroutine()
	for i := range sessions {
		n.upgraded(t, fmt.Sprintf("/ws/chat/lobby?user=u%d", i), "").hear("joined")
	}
	// Writers end when nothing waits; a second goroutine for each would stay.
	eventually(t, "one goroutine for each session", func() bool {
		return runtime.NumGoroutine()-before < sessions+sessions/10
	})
}

// An idle session takes a stack that has never grown, and not much beside it,
// however long its request was; one that has given a command keeps no more of the
// stack that this took than it needs to wait. The race detector doubles stacks, so
// that scripts/test runs this without it, too.
func TestIdleMemory(t *testing.T) {
	const sessions = 500
	n := serve(t)
	var conns []net.Conn
	join := func(path string) {
		c := n.bare(t, path)
		t.Cleanup(func() { _ = c.Close() })
		conns = append(conns, c)
	}
	join("/ws/chat/lobby?user=first")
	heapBefore, stacksBefore := held()
	most := func(what string, mostHeap, mostStack int64) {
		t.Helper()
		if hasRaceDetector() {
			mostStack *= 2
		}
		heap, stacks := held()
		if got := (heap - heapBefore) / sessions; got > mostHeap { // both ends of the connection
			t.Errorf("an idle session%s holds %d bytes of the heap, want at most %d", what, got, mostHeap)
		}
		if got := (stacks - stacksBefore) / sessions; got > mostStack {
			t.Errorf("an idle session%s holds %d bytes of stacks, want at most %d", what, got, mostStack)
		}
	}
	for i := range sessions {
		join(fmt.Sprintf("/ws/chat/room%d?user=u%d&pad=%s", i/10, i, strings.Repeat("x", 8<<10)))
	}
	most("", 5<<10, 3<<10)
	for _, c := range conns {
		if _, err := c.Write(masked(fin|text, `{"id":1,"cmd":"join","room":"another"}`)); err != nil {
			t.Fatal(err)
		}
		hearOn(t, c, `"id":1`)
	}
	most(" that has given a command", 6<<10, 5<<10)
}

func hasRaceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// held is how many bytes are in use, of the heap and of stacks.
func held() (heap, stacks int64) {
	runtime.GC()
	runtime.GC() // what pools hold survives the first
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64()), int64(s[1].Value.Uint64()) // #nosec G115 -- far from it
}

// bare opens a socket that has joined. Nothing holds it but what is returned.
func (n *node) bare(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := n.dial()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request(path, nil)); err != nil {
		t.Fatal(err)
	}
	hearOn(t, c, `"joined"`)
	return c
}

// hearOn reads from a socket until what has come.
func hearOn(t *testing.T, c net.Conn, what string) {
	t.Helper()
	heard := make([]byte, 0, 4<<10)
	for !strings.Contains(string(heard), what) {
		some, err := c.Read(heard[len(heard):cap(heard)])
		if heard = heard[:len(heard)+some]; err != nil {
			t.Fatalf("%v after %q", err, heard)
		}
	}
}

// A socket that is gone leaves nothing behind, though its user has another one
// that stays.
func TestGoneSocketsLeaveNothing(t *testing.T) {
	const sockets = 1000
	n := serve(t)
	n.upgraded(t, "/ws/chat/lobby?user=alice", "").hear("joined")
	use := func() { _ = n.bare(t, "/ws/chat/lobby?user=alice").Close() }
	gone := func() bool { return n.counted(t, "chatring_connections", "") == 1 }
	use()
	eventually(t, "the first socket to be gone", gone)
	before := heap()
	for range sockets {
		use()
	}
	eventually(t, "all sockets to be gone", gone)
	if grown := heap() - before; grown > sockets<<10 {
		t.Errorf("%d bytes more are held after %d sockets", grown, sockets)
	}
}

// A reader that stops reading in a loud room is cut off once its outbox is
// full; the others hear everything, and the node holds no more than the
// outbox and the window.
func TestSlowConsumer(t *testing.T) {
	const messages = 500
	n := serve(t, func(s *setup) {
		s.window, s.broker = 8, membroker.New(membroker.Retention(8)).Node("1111")
		s.gateway.WriteTimeout = time.Hour // whoever waited for the slow one would wait in vain
	})
	slow := n.upgraded(t, "/ws/chat/lobby?user=slow", "")
	_ = slow.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	bob := n.join(t, "/ws/chat/lobby?user=bob")
	alice := n.upgraded(t, "/ws/chat/lobby?user=alice&echo=false", "")
	body := strings.Repeat("x", 15<<10)

	before, most := heap(), int64(0)
	for i := range messages {
		alice.send(masked(fin|text, fmt.Sprintf(`{"id":%d,"cmd":"publish","room":"lobby","data":"%d %s"}`, i+1, i, body)))
		f := bob.hear("message")
		if want := fmt.Sprintf(`"%d `, i); !strings.HasPrefix(string(f.Data), want) {
			t.Fatalf("bob hears %.20s, want %s", f.Data, want)
		}
		if i%50 == 49 {
			most = max(most, heap()-before)
		}
	}
	if most > 4<<20 {
		t.Errorf("%d bytes more were held at times, want at most 4 MiB", most)
	}
	eventually(t, "the slow consumer to be cut off", func() bool {
		return n.counted(t, "chatring_slow_consumers_total", "") == 1 && n.counted(t, "chatring_connections", "") == 2
	})
	// It reads again: the connection is over, with 4008 or without a word, and
	// never with half a message that looks whole.
	for {
		opcode, payload, err := slow.read()
		if err != nil {
			return
		}
		if opcode == text && payload[len(payload)-1] != '}' {
			t.Fatalf("half a message: %.40s", payload)
		}
	}
}

// A reader that reads late, while its outbox has place, hears everything once and
// in order: what the kernel took at once, what it took in part, and what waited.
func TestLateReader(t *testing.T) {
	const messages = 600
	n := serve(t, func(s *setup) {
		s.gateway.Session.Outbox = 64 << 20
		s.gateway.WriteTimeout = time.Hour
		s.window, s.broker = 8, membroker.New(membroker.Retention(8)).Node("1111")
	})
	late := n.upgraded(t, "/ws/chat/lobby?user=late", "")
	late.hear("joined")
	alice := n.join(t, "/ws/chat/lobby?user=alice")
	body := strings.Repeat("x", 15<<10)
	before := n.counted(t, "chatring_writes_total", "")
	for i := range messages {
		alice.ask(fmt.Sprintf(`{"cmd":"publish","room":"lobby","data":"%d %s"}`, i, body))
	}
	// Alice took two writes for each message, the late one none for most of them.
	if writes := n.counted(t, "chatring_writes_total", "") - before; writes > 2.6*messages {
		t.Errorf("%v writes: the late one has read, and tries nothing", writes)
	}
	for i := range messages {
		want := fmt.Sprintf(`"data":"%d %s"}`, i, body)
		if f := late.hear("message"); !strings.HasSuffix(f, want) {
			t.Fatalf("the late one hears %.150s…, want message %d", f, i)
		}
	}
	alice.ask(`{"cmd":"publish","room":"lobby","data":"again"}`)
	if f := late.hear("message"); !strings.HasSuffix(f, `"again"}`) {
		t.Errorf("the late one hears %.150s…", f)
	}
}
