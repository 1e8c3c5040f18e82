package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// fake is a cluster in one process that speaks the wire as far as replay does,
// and misbehaves as a test asks it to.
type fake struct {
	url string

	// Static after start.
	window     int                              // how many messages a join recovers from; beyond: history
	cutEvery   int                              // breaks all sockets of a room after so many messages
	muteEvery  int                              // appends, then breaks the connection instead of answering
	busyEvery  int                              // answers so many publishes with "unavailable"
	forgetSeen bool                             // no idempotence
	tamper     func(n int, m message) []message // what one socket hears instead of m
	refuseAll  bool

	mu       sync.Mutex
	rooms    map[string]*fakeRoom
	sessions int
}

type message struct {
	Push string          `json:"push"`
	Room string          `json:"room"`
	Pos  string          `json:"pos"`
	From string          `json:"from"`
	Key  string          `json:"key"`
	Data json.RawMessage `json:"data"`
}

type fakeRoom struct {
	mu      sync.Mutex
	log     []message
	seen    map[string]int
	members map[*member]bool
	asked   int
}

type member struct {
	ws  *websocket.Conn
	out chan any
	cut context.CancelFunc
}

func (f *fake) start(t *testing.T) {
	f.rooms = make(map[string]*fakeRoom)
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.url = "ws" + strings.TrimPrefix(s.URL, "http")
}

func (f *fake) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name := strings.TrimPrefix(req.URL.Path, "/ws/chat/")
	user := req.URL.Query().Get("user")
	ws, err := websocket.Accept(w, req, &websocket.AcceptOptions{Subprotocols: []string{"chatring.v1"}})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	f.mu.Lock()
	r := f.rooms[name]
	if r == nil {
		r = &fakeRoom{seen: make(map[string]int), members: make(map[*member]bool)}
		f.rooms[name] = r
	}
	f.sessions++
	f.mu.Unlock()

	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	m := &member{ws: ws, out: make(chan any, 10000), cut: cancel}
	go m.write(ctx)
	r.join(m, name, user, req.URL.Query().Get("since"), f.window)
	defer r.leave(m)
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return
		}
		var c command
		if err := json.Unmarshal(b, &c); err != nil {
			return
		}
		switch c.Cmd {
		case "publish":
			if !f.publish(r, m, name, user, c) {
				return
			}
		case "history":
			m.out <- map[string]any{"id": c.ID, "ok": r.history(c.After)}
		}
	}
}

func (m *member) write(ctx context.Context) {
	for {
		select {
		case v := <-m.out:
			b, _ := encode(v)
			if m.ws.Write(ctx, websocket.MessageText, b) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (r *fakeRoom) tail() string {
	if len(r.log) == 0 {
		return "0-0"
	}
	return r.log[len(r.log)-1].Pos
}

func (r *fakeRoom) after(pos string) []message {
	p, _ := parsePosition(pos)
	for i, m := range r.log {
		if q, _ := parsePosition(m.Pos); p.before(q) {
			return r.log[i:]
		}
	}
	return nil
}

func (r *fakeRoom) join(m *member, name, user, since string, window int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.out <- map[string]any{"push": "hello", "user": user, "shard": "1111", "ping_s": 25}
	missed := r.after(since)
	recovered := since != "" && len(missed) <= window
	if !recovered {
		missed = nil
	}
	m.out <- map[string]any{"push": "joined", "room": name, "pos": r.tail(), "recovered": recovered, "missed": len(missed)}
	for _, p := range missed {
		m.out <- p
	}
	r.members[m] = true
}

func (r *fakeRoom) leave(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, m)
}

func (r *fakeRoom) history(after string) any {
	r.mu.Lock()
	defer r.mu.Unlock()
	page := r.after(after)
	more := len(page) > 3
	return map[string]any{"messages": page[:min(3, len(page))], "more": more}
}

// publish appends and tells all members; it is false when the connection is to break.
func (f *fake) publish(r *fakeRoom, m *member, name, user string, c command) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if f.refuseAll || f.busyEvery > 0 && r.asked%f.busyEvery == 0 {
		m.out <- map[string]any{"id": c.ID, "error": map[string]any{"code": "unavailable", "temporary": true, "retry_after_ms": 5}}
		return true
	}
	at, again := r.seen[c.Key]
	if !again || f.forgetSeen {
		at = len(r.log)
		r.seen[c.Key] = at
		p := message{"message", name, fmt.Sprintf("7-%d", at), user, c.Key, c.Data}
		r.log = append(r.log, p)
		n := 0
		for m := range r.members {
			heard := []message{p}
			if f.tamper != nil {
				heard = f.tamper(n, p)
			}
			for _, p := range heard {
				m.out <- p
			}
			n++
		}
	}
	if f.muteEvery > 0 && !again && at%f.muteEvery == 0 {
		return false
	}
	m.out <- map[string]any{"id": c.ID, "ok": map[string]any{"pos": fmt.Sprintf("7-%d", at)}}
	if f.cutEvery > 0 && !again && at%f.cutEvery == f.cutEvery-1 {
		for m := range r.members {
			m.cut()
		}
	}
	return true
}
