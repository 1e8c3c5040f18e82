package peers_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// patience is far more than anything here takes on a busy machine.
const patience = 30 * time.Second

// A member is in a room, and hears what is said there.
type member struct {
	t     *testing.T
	name  string
	conn  *websocket.Conn
	wire  wire
	room  string
	heard chan string // closed when the socket ends
	ended error       // why, after that
	acked chan struct{}
}

// A wire is how a peer is spoken to.
type wire struct {
	target string // a room is added to it, where it ends in /
	kind   websocket.MessageType
	// say is a command that says data in the room.
	say func(room, data string) string
	// listen joins the room, then hears until the socket ends.
	listen func(m *member, in *bufio.Reader, joined func()) error
}

// enter opens a socket, and waits until it has joined the room.
func enter(t *testing.T, w wire, address, room, name string) *member {
	t.Helper()
	target := "ws://" + address + w.target
	if strings.HasSuffix(target, "/") {
		target += room
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, target, nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(-1)
	m := &member{t: t, name: name, conn: conn, wire: w, room: room, heard: make(chan string, 1000), acked: make(chan struct{}, 1000)}
	joined := make(chan struct{})
	go func() {
		m.ended = w.listen(m, bufio.NewReader(&messages{conn: conn}), func() { close(joined) })
		close(m.heard)
	}()
	select {
	case <-joined:
	case <-time.After(patience):
		t.Fatalf("%s: not joined", name)
	}
	return m
}

// messages are a conn's, one after the other; each text ends in a line's end,
// which none of them has in it.
type messages struct {
	conn *websocket.Conn
	rest []byte
}

func (r *messages) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		kind, data, err := r.conn.Read(context.Background())
		if err != nil {
			return 0, err
		}
		if kind == websocket.MessageText {
			data = append(data, '\n')
		}
		r.rest = data
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (m *member) write(text string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.conn.Write(ctx, m.wire.kind, []byte(text)); err != nil {
		m.t.Errorf("%s: %v", m.name, err)
	}
}

func (m *member) say(data string) { m.write(m.wire.say(m.room, data)) }

// next is what the member hears next.
func (m *member) next() string {
	m.t.Helper()
	select {
	case data, ok := <-m.heard:
		if !ok {
			m.t.Fatalf("%s: the socket has ended: %v", m.name, m.ended)
		}
		return data
	case <-time.After(patience):
		m.t.Fatalf("%s: nothing is heard", m.name)
	}
	return ""
}

// acknowledged waits for n acknowledgements.
func (m *member) acknowledged(n int) {
	m.t.Helper()
	for i := range n {
		select {
		case <-m.acked:
		case <-time.After(patience):
			m.t.Fatalf("%s: %d acknowledgements, want %d", m.name, i, n)
		}
	}
}

// plain is the wire of floor and broadcast.
var plain = wire{
	target: "/",
	kind:   websocket.MessageText,
	say:    func(_, data string) string { return data },
	listen: func(m *member, in *bufio.Reader, joined func()) error {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return err
			}
			if line = strings.TrimSuffix(line, "\n"); line == "joined" {
				joined()
			} else {
				m.heard <- line
			}
		}
	},
}

// nats is https://docs.nats.io/reference/reference-protocols/nats-protocol in
// binary messages, which need not end where a command ends.
var nats = wire{
	target: "",
	kind:   websocket.MessageBinary,
	say:    func(room, data string) string { return fmt.Sprintf("PUB %s %d\r\n%s\r\n", room, len(data), data) },
	listen: func(m *member, in *bufio.Reader, joined func()) error {
		m.write("CONNECT {\"verbose\":false}\r\nSUB " + m.room + " 1\r\nPING\r\n")
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return err
			}
			var n int
			switch {
			case strings.HasPrefix(line, "PING"):
				m.write("PONG\r\n")
			case strings.HasPrefix(line, "PONG"):
				joined()
			case strings.HasPrefix(line, "-ERR"):
				return fmt.Errorf("refused: %s", line)
			case strings.HasPrefix(line, "MSG "):
				if _, err := fmt.Sscanf(line, "MSG "+m.room+" 1 %d", &n); err != nil {
					return err
				}
				data := make([]byte, n+2)
				if _, err := io.ReadFull(in, data); err != nil {
					return err
				}
				m.heard <- string(data[:n])
			}
		}
	},
}

// socketio is https://socket.io/docs/v4/socket-io-protocol/ over WebSocket.
var socketio = wire{
	target: "/socket.io/?EIO=4&transport=websocket",
	kind:   websocket.MessageText,
	say:    func(room, data string) string { return fmt.Sprintf(`427["publish",%q,%q]`, room, data) },
	listen: func(m *member, in *bufio.Reader, joined func()) error {
		m.write("40")
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return err
			}
			line = strings.TrimSuffix(line, "\n")
			var event []string
			switch {
			case line == "2":
				m.write("3")
			case strings.HasPrefix(line, "40"):
				m.write(fmt.Sprintf(`42["join",%q]`, m.room))
			case line == "437[]":
				m.acked <- struct{}{}
			case strings.HasPrefix(line, "42"):
				if err := json.Unmarshal([]byte(line[2:]), &event); err != nil {
					return err
				}
				if event[0] == "joined" {
					joined()
				} else {
					m.heard <- event[1]
				}
			}
		}
	},
}

// freeAddress is where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
