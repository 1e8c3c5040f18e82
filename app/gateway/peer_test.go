package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/gateway"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/session"
)

// A node is a gateway under a real HTTP server, over a hub and a broker in
// memory.
type node struct {
	*gateway.Gateway
	count *metrics.Set
	dial  func() (net.Conn, error)
}

// setup is what a test may have otherwise than options says.
type setup struct {
	gateway  gateway.Options
	auth     auth.Authenticator
	logouts  gateway.Logouts
	broker   chat.Broker
	window   int
	rooms    int          // 0: no bound
	listener net.Listener // nil: loopback
}

func options() setup {
	return setup{
		auth:   auth.Dev{},
		broker: membroker.New().Node("1111"),
		window: 256,
		gateway: gateway.Options{
			Shard: "1111", MaxConnections: 1000, MaxMessage: 16 << 10, ReadBuffer: 256,
			Ping: 25 * time.Second, PongTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
			Session: session.Limits{Outbox: 256 << 10, Rooms: 16, CommandTimeout: 4 * time.Second, Strikes: 3},
		},
	}
}

// serve runs a node until the test ends.
func serve(t testing.TB, change ...func(*setup)) *node {
	t.Helper()
	s := options()
	for _, c := range change {
		c(&s)
	}
	n := &node{count: metrics.New("1111", "test")}
	h := hub.New(s.broker, hub.Options{
		Rooms: s.rooms, Window: s.window, WindowBudget: 64 << 20, Linger: time.Minute,
		OpenTimeout: 3 * time.Second, FillGrace: 10 * time.Millisecond,
	}, &n.count.Hub)
	n.Gateway = gateway.New(h, s.auth, s.logouts, s.gateway, n.count)
	if s.listener == nil {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.listener = ln
		n.dial = dialer(t, ln.Addr().String())
	} else {
		n.dial = s.listener.(*pipes).dial
	}
	server := &http.Server{Handler: n.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- h.Run(ctx) }()
	go func() {
		_ = server.Serve(gateway.NewListener(s.listener, n.Gateway))
		done <- nil
	}()
	t.Cleanup(func() {
		n.Close(gateway.Departure{})
		_ = server.Close()
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("Run = %v", err)
			}
		}
	})
	return n
}

// dialer connects to an address for as long as the test runs.
func dialer(t testing.TB, address string) func() (net.Conn, error) {
	return func() (net.Conn, error) { return (&net.Dialer{}).DialContext(t.Context(), "tcp", address) }
}

// counted returns a counter's or a gauge's value; label is empty or that of
// its only label.
func (n *node) counted(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := n.count.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name || label != "" && m.GetLabel()[0].GetValue() != label {
				continue
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return 0
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for late := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A member is a client that behaves.
type member struct {
	t      *testing.T
	socket *websocket.Conn
	last   int // id of the last command
}

// join connects a member and hears its greeting.
func (n *node) join(t *testing.T, path string) *member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	socket, resp, err := websocket.Dial(ctx, "ws://node"+path, &websocket.DialOptions{
		Subprotocols: []string{"chatring.v1"},
		HTTPClient: &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return n.dial() },
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	m := &member{t: t, socket: socket}
	t.Cleanup(func() { _ = socket.CloseNow() })
	m.hear("hello")
	m.hear("joined")
	return m
}

// frame is a server's text frame as a client sees it.
type frame struct {
	Push  string          `json:"push"`
	ID    int             `json:"id"`
	From  string          `json:"from"`
	Ok    json.RawMessage `json:"ok"`
	Data  json.RawMessage `json:"data"`
	Error *struct {
		Code         string `json:"code"`
		RetryAfterMS int    `json:"retry_after_ms"`
	} `json:"error"`
}

func (m *member) next() (frame, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
	defer cancel()
	_, text, err := m.socket.Read(ctx)
	if err != nil {
		return frame{}, err
	}
	var f frame
	return f, json.Unmarshal(text, &f)
}

// hear returns the next push of a kind.
func (m *member) hear(push string) frame {
	m.t.Helper()
	return m.until(func(f frame) bool { return f.Push == push })
}

func (m *member) until(want func(frame) bool) frame {
	m.t.Helper()
	for {
		f, err := m.next()
		if err != nil {
			m.t.Fatalf("member hears %v", err)
		}
		if want(f) {
			return f
		}
	}
}

// ask sends a command without its id and returns the reply.
func (m *member) ask(command string) frame {
	m.t.Helper()
	m.last++
	m.say(fmt.Sprintf(`{"id":%d,%s`, m.last, command[1:]))
	return m.until(func(f frame) bool { return f.ID == m.last })
}

func (m *member) say(text string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Second)
	defer cancel()
	if err := m.socket.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		m.t.Fatal(err)
	}
}

// echoes says whether what the member publishes comes back to it: the node
// and the room live.
func (m *member) echoes(data string) {
	m.t.Helper()
	m.last++
	m.say(fmt.Sprintf(`{"id":%d,"cmd":"publish","room":"lobby","data":%q}`, m.last, data))
	m.until(func(f frame) bool { return f.Push == "message" && string(f.Data) == fmt.Sprintf("%q", data) })
}

// A peer is a connection on which anything may be sent.
type peer struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

const handshake = "GET %s HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func (n *node) connect(t *testing.T) *peer {
	t.Helper()
	c, err := n.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute)) // what never comes ends the test
	return &peer{Conn: c, t: t, r: bufio.NewReader(c)}
}

// request sends a request as it is and returns the answer.
func (p *peer) request(text string) (*http.Response, string) {
	p.t.Helper()
	p.send([]byte(text))
	resp, err := http.ReadResponse(p.r, nil)
	if err != nil {
		p.t.Fatalf("answer to %q: %v", text, err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		p.t.Fatal(err)
	}
	return resp, string(body)
}

// upgraded opens a socket; early is sent in one segment with the request.
func (n *node) upgraded(t *testing.T, path, early string) *peer {
	t.Helper()
	p := n.connect(t)
	resp, body := p.request(fmt.Sprintf(handshake, path) + "\r\n" + early)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s: %s %s", path, resp.Status, body)
	}
	return p
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// Opcodes, and the bit of a frame that is the last of its message.
const (
	fin    = 0x80
	text   = 0x1
	octets = 0x2
	closed = 0x8
	pinged = 0x9
	ponged = 0xA
)

// masked is a client's frame.
func masked(first byte, payload string) []byte {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// read returns the next frame of the server.
func (p *peer) read() (opcode byte, payload []byte, err error) {
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
		return 0, nil, fmt.Errorf("frame with header % x", h)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(p.r, payload)
	return h[0] & 0xF, payload, err
}

// until returns the payload of the next frame with an opcode.
func (p *peer) until(want byte) []byte {
	p.t.Helper()
	for {
		opcode, payload, err := p.read()
		if err != nil {
			p.t.Fatalf("waiting for a frame of opcode %x: %v", want, err)
		}
		if opcode == want {
			return payload
		}
	}
}

// hear returns the next text frame that contains what.
func (p *peer) hear(what string) string {
	p.t.Helper()
	for {
		if b := p.until(text); bytes.Contains(b, []byte(what)) {
			return string(b)
		}
	}
}

// ends reads to the close frame, sees to it that nothing but the connection's
// orderly end follows, and returns code and reason.
func (p *peer) ends() (code int, reason string) {
	p.t.Helper()
	b := p.until(closed)
	if extra, err := io.ReadAll(p.r); err != nil || len(extra) > 0 {
		p.t.Errorf("after the close frame come %d bytes, %v", len(extra), err)
	}
	_ = p.Close()
	if len(b) == 0 {
		return 0, ""
	}
	return int(binary.BigEndian.Uint16(b)), string(b[2:])
}

// telling words stand in an error of the system, and never in a reason.
var telling = []string{"tcp", "127.0.0.1", "gws", "runtime", "panic", "i/o", "EOF", ":8"}

func (p *peer) closedWith(want int) {
	p.t.Helper()
	code, reason := p.ends()
	if code != want {
		p.t.Errorf("closed with %d %q, want %d", code, reason, want)
	}
	for _, w := range telling {
		if strings.Contains(reason, w) {
			p.t.Errorf("reason %q names internals", reason)
		}
	}
}
