// Package gateway is the sockets, and the streams of server-sent events: it decides in
// net/http who may have one, lets gws read sockets, and gives each a session.
// Everything that gws does otherwise than this project needs is mended here. Of rooms
// it knows names, of Redis nothing.
package gateway

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
	"golang.org/x/time/rate"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// Options are the gateway's knobs.
type Options struct {
	Shard string // APPID of this node
	// MaxConnections is how many sockets the node accepts; each takes a file
	// descriptor.
	MaxConnections int64
	// SocketsPerUser is how many of them one user may have; 0: no limit.
	SocketsPerUser int
	// Handshakes is how many requests for a socket are looked at each second,
	// and HandshakeBurst how many of them at once; 0: no limit. As many are looked at
	// that want a ticket or have commands. What it costs to check a token is then
	// bounded.
	Handshakes, HandshakeBurst int
	// MaxMessage is how many bytes one message of a client may have.
	MaxMessage int
	// ReadBuffer is the size of each socket's read buffer, in bytes.
	ReadBuffer int
	// Ping is how often the server pings. It must be well below HAProxy's
	// timeout tunnel.
	Ping time.Duration
	// PongTimeout is how long after a ping a socket may stay silent.
	PongTimeout time.Duration
	// WriteTimeout is how long a socket's peer may take nothing of what is
	// written to it. One that goes on taking some is never too slow for it.
	WriteTimeout time.Duration
	// Origins are the pages, beside those of the own host, that may connect:
	// "https://chat.example.com", exactly.
	Origins []string
	// UserRates are what all sessions of a user on this node may send together.
	UserRates session.Rates
	Session   session.Limits
	// Friends says whether the friend list has an address of its own.
	Friends bool
	// Authorizer is asked before a socket is opened, beside what Session has it
	// asked for; nil: the token's word is enough.
	Authorizer Authorizer
	// Tickets let browsers open streams; nil: there are none.
	Tickets Tickets
}

// A Gateway accepts sockets and serves them until Close.
type Gateway struct {
	// Static after construction.
	opts     Options
	hub      *hub.Hub
	auth     auth.Authenticator
	logouts  Logouts // nil: no token outlives its user's log-out
	count    *metrics.Set
	shakes   *rate.Limiter // looks at the tokens of those who want to connect
	posts    *rate.Limiter // looks at those of others: they take none from the former
	upgrader *gws.Upgrader // for clients that offer our subprotocol
	plain    *gws.Upgrader // for those that offer none

	serving sync.WaitGroup // one for each place taken
	streams streams
	short   atomic.Bool // there is no descriptor for another socket

	// Guarded by mu.
	mu       sync.Mutex
	draining bool
	places   int64 // sockets, and requests that may become one
	conns    map[*conn]struct{}
	users    map[chat.UserID]*user
}

// New builds a gateway. Its Handler serves sockets; nothing runs until then.
// Logouts may be nil, where nobody has tokens.
func New(h *hub.Hub, a auth.Authenticator, logouts Logouts, opts Options, count *metrics.Set) *Gateway {
	g := &Gateway{
		opts: opts, hub: h, auth: a, logouts: logouts, count: count, shakes: looks(opts), posts: looks(opts),
		conns: make(map[*conn]struct{}), users: make(map[chat.UserID]*user),
	}
	g.upgrader = gws.NewUpgrader(events{}, gwsOptions(opts, []string{protocol.Subprotocol}))
	g.plain = gws.NewUpgrader(events{}, gwsOptions(opts, nil))
	return g
}

// looks is how many tokens may be looked at.
func looks(opts Options) *rate.Limiter {
	if opts.Handshakes == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(opts.Handshakes), opts.HandshakeBurst)
}

func gwsOptions(opts Options, subprotocols []string) *gws.ServerOption {
	return &gws.ServerOption{
		ReadMaxPayloadSize: opts.MaxMessage, // allocated at a frame's header
		ReadBufferSize:     opts.ReadBuffer,
		CheckUtf8Enabled:   true,
		ParallelEnabled:    false, // a sender's messages stay in order
		ParallelGolimit:    1,
		SubProtocols:       subprotocols,
		HandshakeTimeout:   5 * time.Second,
		Logger:             silent{},
		NewSession:         func() gws.SessionStorage { return nil },
	}
}

// silent keeps gws from logging: what happens to a socket is counted here.
type silent struct{}

func (silent) Error(...any) {}

// A door is what an address opens.
type door int

const (
	member    door = iota // of a room
	watcher               // of a room
	inboxOnly             // the user's own room, and no other at first
)

// Handler serves the sockets: /ws/chat/{room} and /ws/watch/{room}, /ws/inbox, and
// /ws/friends, which is the same socket at the address of the module; and the streams,
// under /sse/.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	sockets := func(path string, opens door) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, opens, webSockets{g}) })
	}
	streams := func(path string, opens door) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { g.serveStream(w, r, opens) })
	}
	if !g.opts.Session.InboxOnly {
		sockets("/ws/chat/{room}", member)
		sockets("/ws/watch/{room}", watcher)
		streams("/sse/chat/{room}", member)
		streams("/sse/watch/{room}", watcher)
	}
	if g.opts.Tickets != nil {
		mux.HandleFunc("/sse/ticket", g.serveTicket)
	}
	sockets("/ws/inbox", inboxOnly)
	streams("/sse/inbox", inboxOnly)
	if g.opts.Friends {
		sockets("/ws/friends", inboxOnly)
	}
	return mux
}

// A transport is a way to connect.
type transport interface {
	// query is what a request says of how to join.
	query(r *http.Request) url.Values
	// credentials are what the client shows.
	credentials(r *http.Request, a *admission) (auth.Credentials, *refusal)
	// agree checks last what only this transport needs.
	agree(w http.ResponseWriter, r *http.Request, a *admission) *refusal
	// open takes the connection over from net/http.
	open(w http.ResponseWriter, r *http.Request, a *admission) (*conn, error)
}

// serve answers a request for a socket or a stream. Everything that can be refused
// is refused while it is still plain HTTP.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, opens door, by transport) {
	if why := g.reserve(); why != "" {
		g.refuse(w, unavailable(why, "this node takes no more connections: try again"))
		return
	}
	var a admission
	begun := false
	defer func() {
		if !begun { // refused, or a panic
			g.release(a.user)
		}
	}()
	a, refusal := g.admit(w, r, opens, by)
	if refusal != nil {
		g.refuse(w, refusal)
		return
	}
	c, err := by.open(w, r, &a)
	if err != nil {
		slog.Debug("connection not opened", "err", err)
		return
	}
	begun = true
	c.begin(a)
}

func (g *Gateway) refuse(w http.ResponseWriter, f *refusal) {
	if g.short.Load() {
		w.Header().Set("Connection", "close") // its descriptor may be the last
	}
	g.count.Gateway.Refused.WithLabelValues(f.reason()).Inc()
	f.write(w)
}

// takeOver takes the connection over from net/http.
func takeOver(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return nil, nil, fmt.Errorf("take the connection over: %w", err)
	}
	return raw, buffered, nil
}

// reserve takes a place for a socket, or says why there is none.
func (g *Gateway) reserve() (why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.draining:
		return "draining"
	case g.short.Load():
		return "descriptors"
	case g.places >= g.opts.MaxConnections:
		return "full"
	}
	g.places++
	g.serving.Add(1)
	return ""
}

// release gives a place back, and the user's; nil: there is no user yet.
func (g *Gateway) release(u *user) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.releaseLocked(u)
}

func (g *Gateway) releaseLocked(u *user) {
	if u != nil {
		g.leaveLocked(u)
	}
	g.places--
	g.serving.Done()
}

// add registers a socket that has a place, or returns the code to close it
// with: the gateway may have begun to close meanwhile, and the user logged out.
func (g *Gateway) add(c *conn) (ok bool, code protocol.CloseCode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.draining:
		return false, protocol.CloseDrain
	case g.revoked(c.user.id, c.issued):
		return false, protocol.CloseLoggedOut
	}
	g.conns[c] = struct{}{}
	c.user.conns = append(c.user.conns, c)
	g.count.Gateway.Connections.Inc()
	return true, 0
}

// remove forgets a socket and gives its place back. Whoever sees that the socket is
// counted no more finds its place free.
func (g *Gateway) remove(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.releaseLocked(c.user)
	if _, added := g.conns[c]; added {
		delete(g.conns, c)
		c.user.conns = slices.DeleteFunc(c.user.conns, func(x *conn) bool { return x == c })
		g.count.Gateway.Connections.Dec()
	}
}

// admission is what a request for a socket or a stream is granted.
type admission struct {
	identity    auth.Identity
	credentials auth.Credentials
	user        *user           // holds a place; nil until there is one
	rooms       []session.First // the one of the address comes first
	watch       bool
	subprotocol bool        // the client offered ours
	stream      string      // what the client calls it; empty: nothing
	ticket      *redemption // nil: none was shown
}
