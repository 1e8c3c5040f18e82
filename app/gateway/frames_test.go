package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/membroker"
)

// A frame with a length below zero, at which gws panics, costs one connection:
// it is closed as a protocol error, the panic is counted, and the others in
// the room go on.
func TestFrameThatPanics(t *testing.T) {
	n := serve(t)
	bob := n.join(t, "/ws/chat/lobby?user=bob")
	for i, b := range [][]byte{
		{0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0},
		{0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
	} {
		p := n.upgraded(t, "/ws/chat/lobby?user=mallory", "")
		p.send(b)
		p.closedWith(1002)
		if got, want := n.counted(t, "chatring_panics_total", ""), float64(i+1); got != want {
			t.Errorf("%v panics counted, want %v", got, want)
		}
		bob.echoes(fmt.Sprint("after frame ", i))
	}
	eventually(t, "only bob to be left", func() bool {
		return n.counted(t, "chatring_connections", "") == 1 && n.counted(t, "chatring_members", "") == 1
	})
}

// What RFC 6455 forbids, and what this server takes as a flood, ends with the
// right code and costs nobody else anything.
func TestHostileFrames(t *testing.T) {
	n := serve(t)
	bob := n.join(t, "/ws/chat/lobby?user=bob")
	for _, c := range []struct {
		name string
		send []byte
		code int
	}{
		{"length 2^40, nothing behind it", []byte{0x81, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1009},
		{"length 2^63-1", []byte{0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4}, 1009},
		{"a byte too long", masked(fin|text, strings.Repeat("x", 16<<10+1)), 1009},
		{"too long in fragments", join(masked(text, strings.Repeat("x", 8<<10)), masked(0, strings.Repeat("x", 8<<10)), masked(0, "x")), 1009},
		{"invalid UTF-8", masked(fin|text, "\xff"), 1007},
		{"overlong UTF-8", masked(fin|text, "\xc0\x80"), 1007},
		{"a surrogate", masked(fin|text, "\xed\xa0\x80"), 1007},
		{"invalid UTF-8 over two fragments", join(masked(text, "a\xe2\x82"), masked(fin, "(")), 1007},
		{"binary", masked(fin|octets, "{}"), 1003},
		{"unmasked", []byte{fin | text, 2, '{', '}'}, 1002},
		{"RSV1", masked(fin|0x40|text, "{}"), 1002},
		{"RSV2", masked(fin|0x20|text, "{}"), 1002},
		{"RSV3", masked(fin|0x10|text, "{}"), 1002},
		{"RSV1 on a ping", masked(fin|0x40|pinged, ""), 1002},
		{"opcode 3", masked(fin|0x3, ""), 1002},
		{"opcode 11", masked(fin|0xB, ""), 1002},
		{"a fragmented ping", masked(pinged, ""), 1002},
		{"a ping of 126 bytes", masked(fin|pinged, strings.Repeat("x", 126)), 1002},
		{"a continuation of nothing", masked(fin, "x"), 1002},
		{"a message inside another", join(masked(text, "x"), masked(fin|text, "x")), 1002},
		{"empty fragments without end", join(masked(text, ""), repeat(masked(0, ""), 10_000)), 1008},
		{"empty fragments without end, and pings between them", join(masked(text, ""), repeat(join(repeat(masked(0, ""), 100), masked(fin|pinged, "")), 200)), 1008},
		{"pings without end", repeat(masked(fin|pinged, "x"), 300), 1008},
		{"pongs without end", repeat(masked(fin|ponged, ""), 300), 1008},
		{"three frames that are no commands", repeat(masked(fin|text, "hello"), 3), 1008},
		{"a close of one byte", masked(fin|closed, "\x03"), 1002},
		{"close 999", masked(fin|closed, "\x03\xe7"), 1002},
		{"close 1005", masked(fin|closed, "\x03\xed"), 1002},
		{"close 1006", masked(fin|closed, "\x03\xee"), 1002},
		{"close 1015", masked(fin|closed, "\x03\xf7"), 1002},
		{"close 2000", masked(fin|closed, "\x07\xd0"), 1002},
		{"close 5000", masked(fin|closed, "\x13\x88"), 1002},
		{"close with a reason that is not UTF-8", masked(fin|closed, "\x0f\xa1\xff"), 1007},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := n.upgraded(t, "/ws/chat/lobby?user=mallory", "")
			go func() { _, _ = p.Write(c.send) }() // more than the node may want to read
			p.closedWith(c.code)
			bob.echoes(c.name)
		})
	}
	if got := n.counted(t, "chatring_panics_total", ""); got != 0 {
		t.Errorf("%v panics", got)
	}
	eventually(t, "only bob to be left", func() bool { return n.counted(t, "chatring_connections", "") == 1 })
}

func join(frames ...[]byte) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, f...)
	}
	return b
}

func repeat(frame []byte, n int) []byte { return []byte(strings.Repeat(string(frame), n)) }

// The close frame reaches a client that is still in the middle of a message
// far beyond the limit: it is not lost in a reset.
func TestTooLongMessageIsAnswered(t *testing.T) {
	n := serve(t)
	p := n.upgraded(t, "/ws/chat/lobby?user=mallory", "")
	go func() { _, _ = p.Write(masked(fin|text, strings.Repeat("x", 4<<20))) }()
	p.closedWith(1009)
}

// A close is answered: with its own code where applications may choose it,
// without one where there is none, and what follows it is ignored.
func TestCloseHandshake(t *testing.T) {
	n := serve(t)
	for _, c := range []struct {
		name string
		send []byte
		code int
	}{
		{"4001", masked(fin|closed, "\x0f\xa1"), 4001},
		{"4001 with a reason", masked(fin|closed, "\x0f\xa1bye"), 4001},
		{"3000", masked(fin|closed, "\x0b\xb8"), 3000},
		{"4008, which is the node's own", masked(fin|closed, "\x0f\xa8"), 4008},
		{"empty", masked(fin|closed, ""), 0},
		{"1000", masked(fin|closed, "\x03\xe8"), 1000},
		{"1001", masked(fin|closed, "\x03\xe9"), 1000},
		{"with a message behind it", join(masked(fin|closed, "\x0f\xa1"), masked(fin|text, `{"id":1,"cmd":"publish","room":"lobby","data":"late"}`)), 4001},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := n.upgraded(t, "/ws/chat/lobby?user=alice", "")
			p.hear("joined")
			p.send(c.send)
			p.closedWith(c.code)
		})
	}
	if got := n.counted(t, "chatring_publications_total", ""); got != 0 {
		t.Errorf("%v publications came after a close", got)
	}
	if got := n.counted(t, "chatring_closed_total", "client"); got != 8 {
		t.Errorf("%v closes counted as the client's, want 8", got)
	}
}

// A connection that ends without a close frame has broken: it is not answered
// with one, least of all with 1000, and is counted as what it is.
func TestBrokenConnection(t *testing.T) {
	n := serve(t)
	for i, c := range []struct {
		name string
		end  func(p *peer)
	}{
		{"no more bytes", func(p *peer) { _ = p.Conn.(*net.TCPConn).CloseWrite() }},
		{"no more bytes within a frame", func(p *peer) {
			p.send(masked(fin|text, "{}")[:3])
			_ = p.Conn.(*net.TCPConn).CloseWrite()
		}},
		{"reset", func(p *peer) {
			_ = p.Conn.(*net.TCPConn).SetLinger(0)
			_ = p.Close()
		}},
	} {
		p := n.upgraded(t, "/ws/chat/lobby?user=alice", "")
		p.hear("joined")
		c.end(p)
		if c.name != "reset" {
			if rest, err := io.ReadAll(p.r); err != nil || len(rest) > 0 {
				t.Errorf("%s: answered with % x, %v", c.name, rest, err)
			}
		}
		eventually(t, c.name, func() bool { return n.counted(t, "chatring_closed_total", "1006") == float64(i+1) })
	}
	eventually(t, "nobody to be left", func() bool {
		return n.counted(t, "chatring_members", "") == 0 && n.counted(t, "chatring_connections", "") == 0
	})
}

// A ping's own payload comes back (RFC 6455 §5.5.3), whatever stands between.
func TestPingIsEchoed(t *testing.T) {
	n := serve(t)
	p := n.upgraded(t, "/ws/chat/lobby?user=alice", "")
	for _, payload := range []string{"", "x", "\x00\xff binary", strings.Repeat("y", 125)} {
		p.send(masked(fin|pinged, payload))
		if got := string(p.until(ponged)); got != payload {
			t.Errorf("ping %q is answered with %q", payload, got)
		}
	}
	p.send(join(masked(text, `{"id":1,"cmd":"signal",`), masked(fin|pinged, "between"), masked(fin, `"room":"lobby","data":"é"}`)))
	if got := string(p.until(ponged)); got != "between" {
		t.Errorf("ping between fragments is answered with %q", got)
	}
	p.hear(`{"id":1,"ok":{}}`)
}

// A message whose fragments cut a character in two is whole.
func TestFragments(t *testing.T) {
	n := serve(t)
	p := n.upgraded(t, "/ws/chat/lobby?user=alice", "")
	p.send(masked(text, `{"id":1,"cmd":"publish","room":"lobby","data":"`+"\xe2\x82"))
	p.send(masked(0, ""))
	p.send(masked(fin, "\xac"+`"}`))
	p.hear(`"data":"€"}`)
}

// A message of exactly the longest length is served.
func TestLongestMessage(t *testing.T) {
	n := serve(t)
	p := n.upgraded(t, "/ws/chat/lobby?user=alice", "")
	begin, end := `{"id":1,"cmd":"publish","room":"lobby","data":"`, `"}`
	data := strings.Repeat("x", 16<<10-len(begin)-len(end))
	p.send(masked(fin|text, begin+data+end))
	p.hear(`"data":"` + data)
}

// What a client sends in one segment with its request is not lost.
func TestEarlyFrame(t *testing.T) {
	n := serve(t)
	p := n.upgraded(t, "/ws/chat/lobby?user=alice", string(masked(fin|text, `{"id":7,"cmd":"publish","room":"lobby","data":1}`)))
	p.hear(`{"id":7,"ok":`)
}

// Frames that promise the longest message and do not bring it make the node
// hold that much for each, and no more.
func TestPromisedBytes(t *testing.T) {
	const sockets, limit = 200, 16 << 10
	n := serve(t)
	before := heap()
	for range sockets {
		p := n.upgraded(t, "/ws/chat/lobby?user=mallory", "")
		p.hear("joined")
		p.send(masked(fin|text, strings.Repeat("x", limit))[:8])
	}
	n.join(t, "/ws/chat/lobby?user=bob").echoes("alive")
	if grown, most := heap()-before, int64(sockets*(limit+24<<10)); grown > most {
		t.Errorf("%d sockets take %d bytes, want at most %d", sockets, grown, most)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// faulty is a broker with a bug.
type faulty struct{ *membroker.Broker }

func (faulty) ReadAfter(context.Context, chat.RoomID, chat.Position, int) ([]chat.Publication, error) {
	panic("a bug")
}

// A panic in our own code costs one connection, which is told 1011.
func TestPanicInSession(t *testing.T) {
	n := serve(t, func(s *setup) { s.broker = faulty{membroker.New().Node("1111")} })
	bob := n.join(t, "/ws/chat/lobby?user=bob")
	p := n.upgraded(t, "/ws/chat/lobby?user=alice", "")
	p.send(masked(fin|text, `{"id":1,"cmd":"history","room":"lobby","after":"5-5"}`))
	p.closedWith(1011)
	bob.echoes("alive")
	if got := n.counted(t, "chatring_panics_total", ""); got != 1 {
		t.Errorf("%v panics counted, want 1", got)
	}
}
