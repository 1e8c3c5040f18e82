package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A hall is a small server of rooms that speaks one of the wires. Another
// implementation reads the frames of this program, and refuses wrong ones.
type hall struct {
	speak func(h *hall, ctx context.Context, g *guest, said []byte) // what a guest said
	greet func(h *hall, ctx context.Context, g *guest)
	opts  websocket.AcceptOptions

	// refuse says who may not come in, by how many asked before.
	refuse func(n int) bool
	// deliver says what a guest hears, instead of one message.
	deliver func(g *guest, frame []byte) [][]byte

	mu      sync.Mutex
	rooms   map[string][]*guest
	logs    map[string][][]byte // chatring: frames
	headers []http.Header
	queries []string
	joins   map[string]int // chatring: by command, by room
	open    int            // sockets
	most    int            // of them at a time
}

type guest struct {
	*websocket.Conn
	events net.Conn // instead: the guest hears server-sent events
	user   string
	room   string
	heard  int // owned by the hall's lock
	typ    websocket.MessageType
	carry  []byte
}

// start opens a hall, which ends with the test, and returns its address.
func (h *hall) start(t *testing.T) string {
	t.Helper()
	h.rooms, h.logs, h.joins = map[string][]*guest{}, map[string][][]byte{}, map[string]int{}
	s := httptest.NewUnstartedServer(h)
	s.Listener = shredder{s.Listener}
	s.Start()
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func (h *hall) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	refused := h.refuse != nil && h.refuse(len(h.queries))
	h.headers = append(h.headers, r.Header)
	h.queries = append(h.queries, r.URL.RequestURI())
	h.mu.Unlock()
	if refused {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/sse/") {
		h.stream(w, r)
		return
	}
	conn, err := websocket.Accept(w, r, &h.opts)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	h.count(1)
	defer h.count(-1)
	g := &guest{Conn: conn, user: r.URL.Query().Get("user"), room: filepath.Base(r.URL.Path), typ: websocket.MessageText}
	h.greet(h, r.Context(), g)
	for {
		_, said, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		h.speak(h, r.Context(), g, said)
	}
}

// stream serves a guest who only listens.
func (h *hall) stream(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 1000\n\n"))
	g := &guest{events: conn, user: r.URL.Query().Get("user"), room: filepath.Base(r.URL.Path)}
	h.greet(h, r.Context(), g)
	_, _ = buffered.Peek(1) // until it goes
}

// Write says a message as the guest hears it.
func (g *guest) Write(ctx context.Context, typ websocket.MessageType, said []byte) error {
	if g.events == nil {
		return g.Conn.Write(ctx, typ, said)
	}
	_, err := fmt.Fprintf(g.events, ":\n\nid: 1-2\ndata: %s\n\n", said)
	return err
}

func (h *hall) count(sockets int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open += sockets
	h.most = max(h.most, h.open)
}

func (g *guest) say(ctx context.Context, format string, args ...any) {
	_ = g.Write(ctx, g.typ, fmt.Appendf(nil, format, args...))
}

// enter lets a guest into a room.
func (h *hall) enter(g *guest, room string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rooms[room] = append(h.rooms[room], g)
}

// pass makes a message of the room's next number and gives it to all.
func (h *hall) pass(ctx context.Context, room string, frame func(n int) []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := frame(len(h.logs[room]))
	h.logs[room] = append(h.logs[room], f)
	for _, g := range h.rooms[room] {
		frames := [][]byte{f}
		if h.deliver != nil {
			frames = h.deliver(g, f)
		}
		g.heard++
		for _, f := range frames {
			_ = g.Write(ctx, g.typ, f)
		}
	}
}

// A shredder cuts what a server writes into pieces of at most 7 bytes.
type shredder struct{ net.Listener }

type shredded struct{ net.Conn }

func (s shredder) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return shredded{c}, nil
}

func (s shredded) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		n, err := s.Conn.Write(b[done:min(done+7, len(b))])
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(b), nil
}

func plainHall() *hall {
	return &hall{
		greet: func(h *hall, ctx context.Context, g *guest) {
			h.enter(g, g.room)
			g.say(ctx, "joined")
		},
		speak: func(h *hall, ctx context.Context, g *guest, said []byte) {
			h.pass(ctx, g.room, func(int) []byte { return said })
		},
	}
}

func socketioHall() *hall {
	return &hall{
		greet: func(_ *hall, ctx context.Context, g *guest) {
			g.say(ctx, `0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`)
			g.say(ctx, "2")
		},
		speak: func(h *hall, ctx context.Context, g *guest, said []byte) {
			id, list := leadingNumber(bytes.TrimPrefix(said, []byte("42")))
			var event []json.RawMessage
			switch {
			case string(said) == "40":
				g.say(ctx, `40{"sid":"b"}`)
			case json.Unmarshal(list, &event) == nil && string(event[0]) == `"join"`:
				h.enter(g, strings.Trim(string(event[1]), `"`))
				g.say(ctx, `42["joined"]`)
			case len(event) == 3 && string(event[0]) == `"publish"`:
				h.pass(ctx, strings.Trim(string(event[1]), `"`), func(int) []byte { return fmt.Appendf(nil, `42["message",%s]`, event[2]) })
				g.say(ctx, "43%d[]", id)
			case string(said) == "3":
				h.mu.Lock()
				h.queries = append(h.queries, "pong")
				h.mu.Unlock()
			}
		},
	}
}

// natsHall says its messages in frames that begin and end anywhere.
func natsHall() *hall {
	return &hall{
		greet: func(_ *hall, ctx context.Context, g *guest) {
			g.typ = websocket.MessageBinary
			g.say(ctx, "INFO {\"server_id\":\"a\"}\r")
			g.say(ctx, "\nPI")
			g.say(ctx, "NG\r\n")
		},
		deliver: func(_ *guest, f []byte) [][]byte { return [][]byte{f[:20], f[20:60], f[60:]} },
		speak: func(h *hall, ctx context.Context, g *guest, said []byte) {
			g.carry = append(g.carry, said...)
			for {
				line, rest, ok := bytes.Cut(g.carry, []byte("\r\n"))
				if !ok {
					return
				}
				words := strings.Fields(string(line))
				switch words[0] {
				case "SUB":
					h.enter(g, words[1])
				case "PING":
					g.say(ctx, "PONG\r\n")
				case "PONG":
					h.mu.Lock()
					h.queries = append(h.queries, "pong")
					h.mu.Unlock()
				case "PUB":
					size, err := strconv.Atoi(words[2])
					if err != nil || len(rest) < size+2 {
						return
					}
					data := bytes.Clone(rest[:size])
					h.pass(ctx, words[1], func(int) []byte { return fmt.Appendf(nil, "MSG %s 1 %d\r\n%s\r\n", words[1], size, data) })
					rest = rest[size+2:]
				}
				g.carry = bytes.Clone(rest)
			}
		},
	}
}

// chatringHall knows publish, leave, join by position, and history.
func chatringHall() *hall {
	return &hall{
		opts: websocket.AcceptOptions{Subprotocols: []string{"chatring.v1"}},
		greet: func(h *hall, ctx context.Context, g *guest) {
			h.enter(g, g.room)
			g.say(ctx, `{"push":"hello","user":"%s","session":"a","shard":"1111","ping_s":25}`, g.user)
			g.say(ctx, `{"push":"joined","room":"%s","pos":"0-0","recovered":false,"missed":0}`, g.room)
		},
		speak: func(h *hall, ctx context.Context, g *guest, said []byte) {
			var c struct {
				ID               uint64
				Cmd, Room, Since string
				Limit            int
				Data             json.RawMessage
			}
			if err := json.Unmarshal(said, &c); err != nil {
				g.say(ctx, `{"error":{"code":"bad_request","message":"a command is one JSON object"}}`)
				return
			}
			h.mu.Lock()
			log := h.logs[c.Room]
			if c.Cmd == "join" {
				h.joins[c.Room]++
			}
			h.mu.Unlock()
			switch c.Cmd {
			case "publish":
				h.pass(ctx, c.Room, func(n int) []byte {
					return fmt.Appendf(nil, `{"push":"message","room":"%s","pos":"1763776000000-%d","from":"%s","key":"k","ts":1763776000456,"data":%s}`, c.Room, n, g.user, c.Data)
				})
			case "join":
				var offset int
				if _, err := fmt.Sscanf(c.Since, "1763776000000-%d", &offset); err != nil {
					g.say(ctx, `{"push":"joined","room":"%s","pos":"0-0","recovered":false,"missed":0}`, c.Room)
					break
				}
				g.say(ctx, `{"push":"joined","room":"%s","pos":"1763776000000-%d","recovered":true,"missed":%d}`, c.Room, len(log)-1, len(log)-1-offset)
				for _, f := range log[offset+1:] {
					_ = g.Write(ctx, g.typ, f)
				}
			case "history":
				g.say(ctx, `{"id":%d,"ok":{"messages":[%s],"more":true}}`, c.ID, bytes.Join(log[len(log)-c.Limit:], []byte(",")))
				return
			}
			g.say(ctx, `{"id":%d,"ok":{}}`, c.ID)
		},
	}
}

// fanout runs the program, and reads the figures that it writes, if any.
func fanout(t *testing.T, figures any, args ...string) (code int, out, errs string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "figures.json")
	if figures != nil {
		args = append(args, "-json", file)
	}
	var o, e bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = run(ctx, args, &o, &e)
	if b, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(b, figures); err != nil {
			t.Fatal(err)
		}
	}
	return code, o.String(), e.String()
}
