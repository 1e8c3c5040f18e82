package gateway

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// A conn is what a socket and a stream have in common: all but how what is said
// stands on the connection. One goroutine reads it for as long as it lives. Whoever
// sends to the session writes to it, without waiting, and, where that did not
// suffice, the session's writer goroutine: one at a time, as the session sees to.
type conn struct {
	// Static after begin.
	framing  framing // the socket or the stream that the conn is part of
	gateway  *Gateway
	raw      net.Conn
	direct   syscall.RawConn // of raw; nil if it has none
	opened   time.Time
	user     *user
	session  *session.Session
	room     chat.RoomID   // that it was opened for; none for a watcher's and an inbox's: any node will do
	patience time.Duration // how long the peer may be silent; 0: nothing is expected of it

	// Owned by the reading goroutine.
	calling bool // our own code runs, not gws; of a stream, owned by whoever has the turn

	// Owned by whoever writes for the session.
	torn bool // a frame may have been written in part: nothing can follow it

	heard    atomic.Int64              // when the peer was last heard, in nanoseconds since opened
	controls atomic.Int32              // pings and pongs since the server's last ping
	hurried  atomic.Pointer[time.Time] // when writing ends, whatever is left; nil until Hurry
	left     atomic.Bool               // the peer has ended it: the node closes because of that

	// Guarded by mu.
	mu       sync.Mutex
	beat     *time.Timer
	nextPing time.Time
	issued   time.Time // when the token was; zero: nobody knows
	expires  time.Time // zero: never
	readDone bool
	finished bool
}

const (
	// maxControls is how many pings and pongs a socket may send between two
	// pings of the server.
	maxControls = 256
	// hurry is how long a socket that is being closed may take for what is
	// still to be written, and then for its own close frame.
	hurry = 2 * time.Second
)

// A framing is how a conn speaks with its peer: a socket by WebSocket, a stream by
// server-sent events. Each has the conn as a part.
type framing interface {
	session.Conn
	// ready is called when there is a session, before anything is sent.
	ready()
	// read hears the peer until it has gone, or nothing counts that it may still send.
	read()
	// gone is called when the peer is read no more, or never was.
	gone()
	// farewell is how the peer is told why nothing follows.
	farewell(protocol.CloseCode) []byte
}

// begin serves the peer in a goroutine of its own, so that what the HTTP request
// took is given back.
func (c *conn) begin(a admission) {
	g := c.gateway
	c.user = a.user
	c.issued, c.expires = a.identity.Issued, a.identity.Expires
	room := chat.RoomID(strings.Clone(string(a.rooms[0].Room))) // else it would hold the request's first line
	a.rooms[0].Room = room
	if _, inbox := room.Owner(); !a.watch && !inbox {
		c.room = room
	}
	who := session.Who{User: a.user.id, Rights: a.identity.Rights, Allowance: &a.user.allowance}
	c.session = session.New(g.hub, who, c.framing, &g.opts.Session, &g.count.Sessions)
	c.framing.ready()
	hello := protocol.Hello{Shard: g.opts.Shard, PingS: int(g.opts.Ping / time.Second)}
	if !c.expires.IsZero() {
		hello.ExpiresInMS = time.Until(c.expires).Milliseconds()
	}
	c.session.Greet(hello)
	if ok, code := g.add(c); !ok {
		c.session.Close(code)
		c.end()
		g.remove(c)
		return
	}
	c.hear()
	c.mu.Lock()
	c.duePing()
	c.beat = time.AfterFunc(c.nextBeat(), c.onBeat)
	c.mu.Unlock()
	go c.serve(a)
}

// serve joins the first room and has the peer read. The reader is a goroutine of
// its own, with as little on its stack as can be: the garbage collector halves only
// a stack of which less than a quarter is in use.
func (c *conn) serve(a admission) {
	c.join(a)
	go func() {
		defer c.over()
		c.framing.read()
	}()
}

func (c *conn) join(a admission) {
	defer func() { c.survive(recover()) }()
	c.calling = true
	c.session.Start(a.watch, a.rooms...)
	c.calling = false
}

// over is what follows when the peer is read no more.
func (c *conn) over() {
	c.survive(recover())
	c.end()
	c.gateway.remove(c)
}

// survive makes a panic cost the one socket, if v is one. Gws panics on some
// frames (a 64-bit length with its top bit set), and not under its own Recovery.
func (c *conn) survive(v any) {
	if v == nil {
		return
	}
	c.gateway.count.Gateway.Panics.Inc()
	if !c.calling {
		slog.Warn("frame that gws cannot read", "session", c.session.ID(), "panic", v)
		c.session.Close(protocol.CloseProtocolError)
		return
	}
	slog.Error("panic in a session", "session", c.session.ID(), "panic", v, "stack", string(debug.Stack()))
	c.session.Close(protocol.CloseInternal)
}

// end leaves the rooms and closes the socket. Where the peer is being told
// why, what it still sends is thrown away until it is gone or has had its
// moment: to close a socket with unread bytes resets it, and the close frame
// would go with it.
func (c *conn) end() {
	c.framing.gone()
	closing := c.session.End()
	if closing {
		_, _ = io.Copy(io.Discard, c.raw)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.beat != nil {
		c.beat.Stop()
	}
	c.readDone = true
	if !closing || c.finished {
		_ = c.raw.Close()
	}
	if !closing {
		c.countClose(protocol.CloseGone)
	}
}

// Renew implements session.Conn.
func (c *conn) Renew(token string) (chat.Rights, time.Duration, *protocol.Error) {
	c.mu.Lock()
	endless := c.expires.IsZero()
	c.mu.Unlock()
	if endless {
		return nil, 0, &protocol.Error{Code: protocol.BadRequest, Message: "this connection does not expire: there is no token to renew"}
	}
	id, err := c.gateway.authenticate(auth.Credentials{Token: token})
	switch {
	case errors.Is(err, auth.ErrRefused):
		return nil, 0, &protocol.Error{Code: protocol.BadToken, Message: err.Error()}
	case err != nil:
		return nil, 0, &protocol.Error{Code: protocol.Unavailable, Message: "the token cannot be checked for the moment", Temporary: true, RetryAfterMS: 1000}
	case id.User != c.user.id:
		return nil, 0, &protocol.Error{Code: protocol.Forbidden, Message: "the token is another user's: open another connection for it"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gateway.revoked(id.User, id.Issued) { // by now: LogOut has looked at the old token
		return nil, 0, &protocol.Error{Code: protocol.BadToken, Message: errLoggedOut.Error()}
	}
	c.issued, c.expires = id.Issued, id.Expires
	c.beat.Reset(c.nextBeat())
	return id.Rights, time.Until(id.Expires), nil
}

// tryWrite writes what the kernel takes at once, and returns how many bytes.
func (c *conn) tryWrite(b []byte) int {
	if c.direct == nil {
		return 0
	}
	c.gateway.count.Gateway.Writes.Inc()
	return tryWrite(c.direct, b)
}

// written returns what Write returns after its last write.
func (c *conn) written(err error) (bool, protocol.CloseCode) {
	c.torn = err != nil
	if err == nil {
		if c.hurried.Load() == nil {
			_ = c.raw.SetWriteDeadline(time.Time{}) // else TryWrite would fail after it
		}
		return true, 0
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, protocol.CloseSlowConsumer
	}
	return false, protocol.CloseGone
}

// write writes b for as long as the peer goes on taking some of it: the deadline
// is for progress.
func (c *conn) write(b []byte) error {
	for {
		_ = c.raw.SetWriteDeadline(time.Now().Add(c.gateway.opts.WriteTimeout)) // fails when closed: so will the write
		if end := c.hurried.Load(); end != nil {
			_ = c.raw.SetWriteDeadline(*end) // Hurry may have set its own before ours
		}
		c.gateway.count.Gateway.Writes.Inc()
		n, err := c.raw.Write(b)
		if b = b[n:]; n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// Hurry implements session.Conn.
func (c *conn) Hurry() {
	end := time.Now().Add(hurry)
	c.hurried.Store(&end)
	_ = c.raw.SetWriteDeadline(end)
}

// Finish implements session.Conn: it tells the peer why, and gives it a moment
// to go. A peer that took no more is cut off, together with what
// the kernel holds for it.
func (c *conn) Finish(code protocol.CloseCode) {
	if code != protocol.CloseGone && !c.torn {
		_ = c.raw.SetWriteDeadline(time.Now().Add(hurry))
		_, err := c.raw.Write(c.framing.farewell(code))
		c.torn = err != nil
	}
	c.countClose(code)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = true
	if c.torn {
		if s, ok := c.raw.(interface{ SetLinger(sec int) error }); ok {
			_ = s.SetLinger(0)
		}
	}
	if c.readDone || c.torn || code == protocol.CloseGone {
		_ = c.raw.Close()
		return
	}
	if half, ok := c.raw.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.raw.SetReadDeadline(time.Now().Add(hurry))
}

// countClose counts a close. Those that a client began are one label, whatever
// code it has made up.
func (c *conn) countClose(code protocol.CloseCode) {
	label := strconv.Itoa(int(code))
	if c.left.Load() {
		label = "client"
	}
	c.gateway.count.Gateway.Closed.WithLabelValues(label).Inc()
}

// hear notes that the peer is alive.
func (c *conn) hear() { c.heard.Store(int64(time.Since(c.opened))) }

// duePing sets when the next ping is due: after an interval, jittered so that
// the pings of many sockets spread out. The lock is held.
func (c *conn) duePing() {
	interval := c.gateway.opts.Ping
	c.nextPing = time.Now().Add(interval - rand.N(interval/8+1)) // #nosec G404 -- it spreads pings, and keeps nothing secret
}

// silentUntil is when the peer will have been silent for too long.
func (c *conn) silentUntil() time.Time {
	return c.opened.Add(time.Duration(c.heard.Load()) + c.patience)
}

// nextBeat is when to look at the socket again: at the next ping, the end of
// the peer's silence, or the token's. The lock is held.
func (c *conn) nextBeat() time.Duration {
	next := time.Until(c.nextPing)
	if c.patience > 0 {
		next = min(next, time.Until(c.silentUntil()))
	}
	if !c.expires.IsZero() {
		next = min(next, time.Until(c.expires))
	}
	return max(next, time.Millisecond)
}

// onBeat pings the peer, and closes a conn whose peer was silent for too long or
// whose token has expired.
func (c *conn) onBeat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readDone || c.finished {
		return
	}
	now := time.Now()
	switch {
	case !c.expires.IsZero() && !now.Before(c.expires):
		c.session.Close(protocol.CloseTokenExpired)
		return
	case c.patience > 0 && !now.Before(c.silentUntil()):
		c.session.Close(protocol.CloseIdle)
		return
	case !now.Before(c.nextPing):
		c.controls.Store(0)
		c.session.Send(ping)
		c.duePing()
	}
	c.beat.Reset(c.nextBeat())
}

var ping = protocol.Ping(nil).Batch()
