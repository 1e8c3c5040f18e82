package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/gateway"
)

// Pipes is a listener without a network, so that a whole node fits into a
// bubble, where time is fake.
type pipes struct {
	conns  chan net.Conn // never closed
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// bubble runs a test against a node whose time is fake.
func bubble(t *testing.T, test func(t *testing.T, n *node), change ...func(*setup)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		change = append(change, func(s *setup) {
			fresh := options() // what belongs to a bubble is made in it
			s.broker, s.listener = fresh.broker, newPipes()
		})
		test(t, serve(t, change...))
	})
}

// A listener is a peer that reads on and notes what it hears, and when.
type listener struct {
	*peer
	began time.Time

	// Guarded by mu.
	mu     sync.Mutex
	frames []heardFrame
	gone   time.Duration // when the connection ended; zero while it lives
}

type heardFrame struct {
	opcode  byte
	payload []byte
	at      time.Duration
}

func (n *node) listen(t *testing.T, path string, answerPings bool) *listener {
	t.Helper()
	l := &listener{peer: n.upgraded(t, path, ""), began: time.Now()}
	_ = l.SetDeadline(time.Time{})
	go func() {
		for {
			opcode, payload, err := l.read()
			l.mu.Lock()
			if err != nil {
				l.gone = time.Since(l.began)
				l.mu.Unlock()
				return
			}
			l.frames = append(l.frames, heardFrame{opcode, payload, time.Since(l.began)})
			l.mu.Unlock()
			if opcode == pinged && answerPings {
				_, _ = l.Write(masked(fin|ponged, string(payload)))
			}
			if opcode == closed {
				_ = l.Close()
			}
		}
	}()
	synctest.Wait()
	return l
}

// end returns the close code (0: none was heard) and when the connection
// ended.
func (l *listener) end() (code int, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.frames {
		if f.opcode == closed && len(f.payload) >= 2 {
			code = int(f.payload[0])<<8 | int(f.payload[1])
		}
	}
	return code, l.gone
}

// heard counts the text frames that contain what.
func (l *listener) heard(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, f := range l.frames {
		if f.opcode == text && bytes.Contains(f.payload, []byte(what)) {
			n++
		}
	}
	return n
}

// A socket from which nothing is heard is closed with 4408 as soon as a pong
// is overdue, whatever it is sent meanwhile.
func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		silent := n.listen(t, "/ws/chat/lobby?user=silent", false)
		talker := n.listen(t, "/ws/chat/lobby?user=talker", true)
		for i := range 40 {
			time.Sleep(time.Second)
			talker.send(masked(fin|text, fmt.Sprintf(`{"id":%d,"cmd":"publish","room":"lobby","data":1}`, i+1)))
		}
		synctest.Wait()
		if code, at := silent.end(); code != 4408 || at != 35*time.Second {
			t.Errorf("silent socket closed with %d after %v, want 4408 after 35s", code, at)
		}
		if code, at := talker.end(); at != 0 {
			t.Errorf("talker closed with %d after %v", code, at)
		}
	})
}

// A socket that answers pings lives, and is pinged about every ping interval.
func TestPong(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		l := n.listen(t, "/ws/chat/lobby?user=alice", true)
		time.Sleep(time.Hour)
		synctest.Wait()
		if code, at := l.end(); at != 0 {
			t.Fatalf("closed with %d after %v", code, at)
		}
		pings := 0
		for _, f := range l.frames {
			if f.opcode == pinged {
				pings++
			}
		}
		if pings < 3600/25 || pings > 3600/21 {
			t.Errorf("%d pings in an hour, want one every 21 to 25 s", pings)
		}
	})
}

// Bytes that never become a message keep no socket alive: a message of which a
// byte comes each second, fragments without end, a header and then nothing.
func TestSlowloris(t *testing.T) {
	for _, c := range []struct {
		name string
		drip []byte
	}{
		{"a byte of a message a second", []byte{0}},
		{"an empty fragment a second", masked(0, "")},
		{"nothing", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *node) {
				l := n.listen(t, "/ws/chat/lobby?user=mallory", false)
				begin := masked(text, "")
				if c.drip == nil || len(c.drip) == 1 {
					begin = masked(fin|text, string(make([]byte, 16<<10)))[:8]
				}
				l.send(begin)
				for range 60 {
					time.Sleep(time.Second)
					if _, err := l.Write(c.drip); err != nil {
						break
					}
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if code, at := l.end(); code != 4408 || at != 35*time.Second {
					t.Errorf("closed with %d after %v, want 4408 after 35s", code, at)
				}
			})
		})
	}
}

// expiring stands for tokens that hold a minute.
type expiring struct{}

func (expiring) Authenticate(c auth.Credentials) (auth.Identity, error) {
	id, err := auth.Dev{}.Authenticate(c)
	id.Expires = time.Now().Add(time.Minute)
	return id, err
}

// A socket is closed with 4501 at the moment that its token expires.
func TestTokenExpires(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		l := n.listen(t, "/ws/chat/lobby?user=alice", true)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if code, at := l.end(); at != 0 {
			t.Fatalf("closed with %d after %v", code, at)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if code, at := l.end(); code != 4501 || at != time.Minute {
			t.Errorf("closed with %d after %v, want 4501 after 1m", code, at)
		}
	}, func(s *setup) { s.auth = expiring{} })
}

// A peer that takes nothing costs its own connection, after the write timeout,
// and delays nobody else.
func TestStuckPeer(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		stuck := n.upgraded(t, "/ws/chat/lobby?user=stuck", "") // nobody reads it from here on
		l := n.listen(t, "/ws/chat/lobby?user=alice", true)
		for i := range 20 {
			l.send(masked(fin|text, fmt.Sprintf(`{"id":%d,"cmd":"publish","room":"lobby","data":"x"}`, i+1)))
			synctest.Wait()
			if got := l.heard(`"push":"message"`); got != i+1 {
				t.Fatalf("after %d publishes alice has heard %d messages at once", i+1, got)
			}
		}
		if at := time.Since(l.began); at != 0 {
			t.Errorf("alice was delayed by %v", at)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := n.counted(t, "chatring_connections", ""); got != 1 {
			t.Errorf("%v connections, want 1", got)
		}
		if got := n.counted(t, "chatring_closed_total", "4008"); got != 1 {
			t.Errorf("%v connections closed with 4008, want 1", got)
		}
		_ = stuck.Close()
	})
}

// pacedRead reads a KiB each second, until there are n of them or no more come.
func (p *peer) pacedRead(n int) error {
	_ = p.SetDeadline(time.Time{})
	for range n {
		time.Sleep(time.Second)
		if _, err := io.CopyN(io.Discard, p.r, 1<<10); err != nil {
			return err
		}
	}
	return nil
}

// A peer that goes on taking bytes is served, however long a write to it takes;
// once it takes nothing, it is cut off.
func TestSlowPeer(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		slow := n.upgraded(t, "/ws/chat/lobby?user=slow", "")
		slow.hear("joined")
		l := n.listen(t, "/ws/chat/lobby?user=alice", true)
		for i := range 4 {
			l.send(masked(fin|text, fmt.Sprintf(`{"id":%d,"cmd":"publish","room":"lobby","data":%q}`, i+1, strings.Repeat("x", 15<<10))))
		}
		if err := slow.pacedRead(30); err != nil {
			t.Fatalf("a peer that takes 1 KiB each second is cut off: %v", err)
		}
		slow.send(masked(fin|ponged, ""))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := n.counted(t, "chatring_closed_total", "4008"); got != 1 {
			t.Errorf("%v connections closed with 4008, want 1", got)
		}
		_ = slow.Close()
	})
}

// A stuck peer holds Close up for moments only.
func TestCloseStuckPeer(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		stuck := n.upgraded(t, "/ws/chat/lobby?user=stuck", "")
		synctest.Wait()
		began := time.Now()
		n.Close(gateway.Departure{})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Close took %v, want at most 5s", took)
		}
		_ = stuck.Close()
	})
}

// A peer that is slow holds Close up for moments only, though it goes on taking
// bytes.
func TestCloseSlowPeer(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		slow := n.upgraded(t, "/ws/chat/lobby?user=slow", "")
		slow.hear("joined")
		l := n.listen(t, "/ws/chat/lobby?user=alice", true)
		for i := range 4 {
			l.send(masked(fin|text, fmt.Sprintf(`{"id":%d,"cmd":"publish","room":"lobby","data":%q}`, i+1, strings.Repeat("x", 15<<10))))
		}
		cut := make(chan error)
		go func() { cut <- slow.pacedRead(60) }()
		synctest.Wait()
		began := time.Now()
		n.Close(gateway.Departure{})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Close took %v, want at most 5s", took)
		}
		if err := <-cut; err == nil {
			t.Error("the slow peer was not cut off")
		}
	})
}

// While a gateway closes, it refuses new sockets.
func TestCloseRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.listen(t, "/ws/chat/lobby?user=alice", true)
		done := make(chan struct{})
		go func() { defer close(done); n.Close(gateway.Departure{Rate: 1, Within: 10 * time.Second}) }()
		synctest.Wait()
		resp, body := n.connect(t).request(request("/ws/chat/lobby?user=bob", nil))
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s %s, want 503", resp.Status, body)
		}
		<-done
	})
}

// A peer that takes the close frame and then neither answers nor leaves holds
// Close up for moments only.
func TestCloseDeafPeer(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		p := n.upgraded(t, "/ws/chat/lobby?user=deaf", "")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				if _, _, err := p.read(); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		began := time.Now()
		n.Close(gateway.Departure{})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Close took %v, want at most 5s", took)
		}
		<-ended
	})
}

// What was queued before Close arrives before the close frame, though the peer
// was busy elsewhere when it was sent.
func TestCloseComesLast(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		late := n.upgraded(t, "/ws/chat/lobby?user=late", "")
		l := n.listen(t, "/ws/chat/lobby?user=alice", true)
		for i := range 100 {
			l.send(masked(fin|text, fmt.Sprintf(`{"id":%d,"cmd":"publish","room":"lobby","data":"x"}`, i+1)))
		}
		synctest.Wait()
		done := make(chan struct{})
		go func() { defer close(done); n.Close(gateway.Departure{}) }()
		synctest.Wait()
		messages := 0
		for {
			opcode, payload, err := late.read()
			if err != nil {
				t.Fatal(err)
			}
			if opcode == text && bytes.Contains(payload, []byte(`"push":"message"`)) {
				messages++
			}
			if opcode == closed {
				break
			}
		}
		if messages != 100 {
			t.Errorf("heard %d messages before the close frame, want 100", messages)
		}
		_ = late.Close()
		<-done
	})
}
