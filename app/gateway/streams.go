package gateway

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// streams are those that commands may come for. The zero value has none.
type streams struct {
	// Guarded by mu.
	mu    sync.Mutex
	named map[ownName]*stream
	shown map[shownName]*stream
}

// An ownName is what a user calls a stream.
type ownName struct {
	user chat.UserID
	name string
}

// A shownName finds a stream without another look at the token: a hash of the name and
// of what the client has shown last. How long it takes to find one tells nobody what
// others show, since nobody can choose the hash.
type shownName [sha256.Size]byte

func nameShown(name string, c auth.Credentials) shownName {
	return sha256.Sum256([]byte(name + "\x00" + c.Token + "\x00" + c.User))
}

// add makes a stream be found, if it has a name, and returns the one that it replaces.
func (all *streams) add(s *stream) (before *stream) {
	if s.name == "" {
		return nil
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.named == nil {
		all.named, all.shown = make(map[ownName]*stream), make(map[shownName]*stream)
	}
	own := ownName{s.user.id, s.name}
	before = all.named[own]
	all.named[own] = s
	all.showLocked(s, nameShown(s.name, s.opening))
	return before
}

// show has a stream be found by what its client shows from now on.
func (all *streams) show(s *stream, c auth.Credentials) {
	if s.name == "" {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.named[ownName{s.user.id, s.name}] == s {
		all.hideLocked(s)
		all.showLocked(s, nameShown(s.name, c))
	}
}

func (all *streams) showLocked(s *stream, by shownName) {
	s.shown = by
	all.shown[by] = s
}

func (all *streams) hideLocked(s *stream) {
	if all.shown[s.shown] == s {
		delete(all.shown, s.shown)
	}
}

func (all *streams) remove(s *stream) {
	if s.name == "" {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if own := (ownName{s.user.id, s.name}); all.named[own] == s {
		delete(all.named, own)
	}
	all.hideLocked(s)
}

// byShown returns the stream of a name that was opened, or renewed, by showing the same; or nil.
func (all *streams) byShown(name string, c auth.Credentials) *stream {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.shown[nameShown(name, c)]
}

// of returns the stream that a user calls so, or nil.
func (all *streams) of(user chat.UserID, name string) *stream {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.named[ownName{user, name}]
}

// serveStream answers what is asked of the address of streams: GET opens one, POST has
// commands for one.
func (g *Gateway) serveStream(w http.ResponseWriter, r *http.Request, opens door) {
	g.letRead(w, r)
	switch r.Method {
	case http.MethodGet:
		g.serve(w, r, opens, eventStreams{g})
	case http.MethodPost:
		g.serveCommands(w, r)
	case http.MethodOptions:
		g.servePreflight(w, r, "GET, POST")
	default:
		g.refuse(w, notAllowed("GET, POST, OPTIONS"))
	}
}

func notAllowed(allow string) *refusal {
	return &refusal{status: 405, code: string(protocol.BadRequest), message: "use one of " + allow, header: [2]string{"Allow", allow}}
}

// eventStreams is the transport of streams.
type eventStreams struct{ gateway *Gateway }

// query implements transport. A browser that comes back by itself asks for the same
// address, and says where it stands in a header.
func (eventStreams) query(r *http.Request) url.Values {
	q := r.URL.Query()
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		q.Set("since", last)
	}
	return q
}

// credentials implements transport.
func (t eventStreams) credentials(r *http.Request, a *admission) (auth.Credentials, *refusal) {
	var f *refusal
	if a.stream, f = streamName(r); f != nil {
		return auth.Credentials{}, f
	}
	c, text := shown(r), r.URL.Query().Get("ticket")
	if c.Token == "" && text != "" {
		a.ticket, c, f = t.gateway.look(r, text)
	}
	return c, f
}

// agree implements transport. A ticket is used when nothing else can be refused.
func (t eventStreams) agree(w http.ResponseWriter, r *http.Request, a *admission) *refusal {
	if r.ContentLength != 0 { // -1: chunked
		return &refusal{status: 400, code: string(protocol.BadRequest), message: "a GET has no body", header: [2]string{"Connection", "close"}}
	}
	if a.ticket != nil {
		return t.gateway.redeem(w, r, a.ticket, a.identity)
	}
	return nil
}

// open implements transport. The answer has no length: it ends with the connection.
func (t eventStreams) open(w http.ResponseWriter, r *http.Request, a *admission) (*conn, error) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // for proxies that wait for more
	h.Set("Connection", "close")
	head := bytes.NewBufferString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(head) // into memory
	head.WriteString("\r\n")
	raw, _, err := takeOver(w)
	if err != nil {
		return nil, err
	}
	s := newStream(t.gateway, raw, a.rooms[0].Room, head.Bytes())
	s.name, s.address, s.opening = strings.Clone(a.stream), strings.Clone(r.URL.Path), a.credentials
	return &s.conn, nil
}

var validStream = regexp.MustCompile(`^[A-Za-z0-9_-]{16,64}$`)

// streamName reads what the client calls the stream; empty: nothing.
func streamName(r *http.Request) (string, *refusal) {
	name := r.URL.Query().Get("stream")
	if name != "" && !validStream.MatchString(name) {
		return "", &refusal{status: 400, code: string(protocol.BadRequest), message: "stream is 16 to 64 of A-Z a-z 0-9 _ -"}
	}
	return name, nil
}
