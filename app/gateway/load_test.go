package gateway_test

import (
	"fmt"
	"net"
	"runtime"
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
	settled := func() int {
		before := -1
		for now := runtime.NumGoroutine(); now != before; now = runtime.NumGoroutine() {
			before = now
			time.Sleep(20 * time.Millisecond)
		}
		return before
	}
	before := settled()
	for i := range sessions {
		n.upgraded(t, fmt.Sprintf("/ws/chat/lobby?user=u%d", i), "").hear("joined")
	}
	if got := settled() - before; got != sessions {
		t.Errorf("%d sessions take %d goroutines, want one each", sessions, got)
	}
}

// A reader that stops reading in a loud room is cut off once its outbox is
// full; the others hear everything, and the node holds no more than the
// outbox and the window.
func TestSlowConsumer(t *testing.T) {
	const messages = 500
	n := serve(t, func(s *setup) {
		s.window, s.broker = 8, membroker.New(membroker.Retention(8)).Node("1111")
	})
	slow := n.upgraded(t, "/ws/chat/lobby?user=slow", "")
	_ = slow.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	bob := n.join(t, "/ws/chat/lobby?user=bob")
	alice := n.upgraded(t, "/ws/chat/lobby?user=alice&echo=false", "")
	body := strings.Repeat("x", 15<<10)

	before, most := heap(), int64(0)
	began := time.Now()
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
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("bob heard it all after %v", took)
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
