// Package hostiletest sends the real cluster what strangers might send it, and
// holds it to the exact answer. The cases stand in corpus_test.go and in
// docs/hostile.md. It speaks through sockets of its own, since no library
// would send such things, and knows nothing of the packages that a node is
// made of.
package hostiletest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// patience is how long something that must happen may take. It is long because
// a slow machine is no fault; what never happens is.
const patience = 30 * time.Second

// A Peer is a connection on which anything may be sent.
type Peer struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

// Connect opens a connection from an address of this machine.
func Connect(t *testing.T, from net.IP, to string) *Peer {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: patience}
	c, err := dialer.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &Peer{Conn: c, t: t, r: bufio.NewReader(c)}
}

// Handshake is a right handshake for a path, with lines taken out (those that
// begin with a word of without) and added.
func Handshake(path string, without []string, lines ...string) string {
	var b strings.Builder
	for _, line := range append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + Host, "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, lines...) {
		keep := true
		for _, w := range without {
			keep = keep && !strings.HasPrefix(line, w)
		}
		if keep {
			b.WriteString(line + "\r\n")
		}
	}
	return b.String() + "\r\n"
}

// Host is the name under which the cluster is asked.
const Host = "chat.example"

// Send sends bytes as they are.
func (p *Peer) Send(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// Push sends what the node may not want to read to its end.
func (p *Peer) Push(b []byte) { go func() { _, _ = p.Write(b) }() }

// Answer returns the answer to a request that was sent, and its body.
func (p *Peer) Answer() (*http.Response, string, error) {
	resp, err := http.ReadResponse(p.r, nil)
	if err != nil {
		return nil, "", err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, "", nil
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return resp, string(body), err
}

// Upgrade opens a socket; early is sent in one segment with the request.
func (p *Peer) Upgrade(request string, early []byte) *Peer {
	p.t.Helper()
	p.Send(append([]byte(request), early...))
	resp, body, err := p.Answer()
	if err != nil {
		p.t.Fatalf("handshake: %v", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		p.t.Fatalf("handshake: %s %s", resp.Status, body)
	}
	return p
}

// Opcodes, and the bits of a frame's first byte (RFC 6455 §5.2).
const (
	fin, rsv1, rsv2, rsv3 = 0x80, 0x40, 0x20, 0x10

	more   = 0x0
	text   = 0x1
	octets = 0x2
	closed = 0x8
	pinged = 0x9
	ponged = 0xA
)

// Masked is a client's frame.
func Masked(first byte, payload string) []byte {
	return append(Header(first, uint64(len(payload))), payload...)
}

// Header is the header of a client's frame that promises n bytes. Its mask is
// zero, so that the payload follows as it is.
func Header(first byte, n uint64) []byte {
	b := []byte{first}
	switch {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), n)
	}
	return append(b, 0, 0, 0, 0)
}

// read returns the next frame of the server.
func (p *Peer) read() (opcode byte, payload []byte, err error) {
	var h [2]byte
	if _, err := io.ReadFull(p.r, h[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(h[1])
	switch h[1] {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(p.r, b[:])
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(p.r, b[:])
		n = binary.BigEndian.Uint64(b[:])
	}
	if err != nil {
		return 0, nil, err
	}
	if h[0]&0xF0 != fin || n > 1<<20 {
		return 0, nil, fmt.Errorf("a frame with the header % x", h)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(p.r, payload)
	return h[0] & 0xF, payload, err
}

// until returns the payload of the next frame with an opcode, and answers
// pings meanwhile.
func (p *Peer) until(want byte) []byte {
	p.t.Helper()
	for {
		opcode, payload, err := p.read()
		if err != nil {
			p.t.Fatalf("waiting for a frame of opcode %x: %v", want, err)
		}
		if opcode == want {
			return payload
		}
		if opcode == pinged {
			_, _ = p.Write(Masked(fin|ponged, string(payload)))
		}
	}
}

// A Frame is anything that a client hears as text.
type Frame struct {
	Push, Room, Pos, From, Key string
	ID                         int
	Recovered                  bool
	Missed                     int
	TS                         int64
	Data                       json.RawMessage
	OK                         json.RawMessage `json:"ok"`
	Error                      *struct {
		Code, Message string
		Temporary     bool
		RetryAfterMS  int `json:"retry_after_ms"`
	}
}

// Hear returns the next text frame that is what is waited for.
func (p *Peer) Hear(what string, is func(Frame) bool) Frame {
	p.t.Helper()
	for {
		b := p.until(text)
		var f Frame
		if err := json.Unmarshal(b, &f); err != nil {
			p.t.Fatalf("waiting for %s: heard %q: %v", what, b, err)
		}
		if is(f) {
			return f
		}
	}
}

// Joined hears the push that says that the first room is joined.
func (p *Peer) Joined() Frame {
	p.t.Helper()
	return p.Hear("joined", func(f Frame) bool { return f.Push == "joined" })
}

// Reply hears the reply to a command; 0 stands for one that names none.
func (p *Peer) Reply(id int) Frame {
	p.t.Helper()
	return p.Hear(fmt.Sprintf("the reply to command %d", id), func(f Frame) bool { return f.Push == "" && f.ID == id })
}

// Ask sends a command and hears its reply.
func (p *Peer) Ask(id int, format string, args ...any) Frame {
	p.t.Helper()
	p.Send(Masked(fin|text, fmt.Sprintf(`{"id":%d,%s`, id, fmt.Sprintf(format, args...)[1:])))
	return p.Reply(id)
}

// telling words stand in an error of the system, and never in an answer.
var telling = []string{"tcp", "127.", "gws", "flate", "runtime", "panic", "i/o", "EOF", "redis", "goroutine", ".go:"}

// Telling says which word of a text names internals, if any does.
func Telling(s string) string {
	for _, w := range telling {
		if strings.Contains(s, w) {
			return w
		}
	}
	return ""
}

// Ends reads to the close frame, sees to it that nothing but the connection's
// orderly end follows, and returns the code (0: none).
func (p *Peer) Ends() (code int) {
	p.t.Helper()
	b := p.until(closed)
	if extra, err := io.ReadAll(p.r); err != nil || len(extra) > 0 {
		p.t.Errorf("after the close frame come %d bytes, %v", len(extra), err)
	}
	_ = p.Close()
	if len(b) < 2 {
		return 0
	}
	reason := b[2:]
	if w := Telling(string(reason)); w != "" || len(reason) > 123 || bytes.ContainsAny(reason, "\r\n") {
		p.t.Errorf("the reason %q names internals (%s), or is too long", reason, w)
	}
	return int(binary.BigEndian.Uint16(b))
}
