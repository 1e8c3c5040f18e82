package gateway

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"

	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// A conn is one socket. One goroutine reads it for as long as it lives; the
// session's writer goroutine, which comes and goes, is the only one that
// writes to it.
type conn struct {
	// Static after begin.
	gateway *Gateway
	raw     net.Conn
	session *session.Session
	socket  *gws.Conn
	expires time.Time

	// Owned by the reading goroutine.
	reading wire
	calling bool // our own code runs, not gws

	heard    atomic.Int64 // when the peer was last heard, in nanoseconds since 1970
	controls atomic.Int32 // pings and pongs since the last beat
	hurried  atomic.Bool

	// Guarded by mu.
	mu       sync.Mutex
	beat     *time.Timer
	readDone bool
	finished bool
}

const (
	// maxControls is how many pings and pongs a socket may send between two
	// beats.
	maxControls = 256
	// hurry is how long a socket that is being closed may take for what is
	// still to be written, and then for its own close frame.
	hurry = 2 * time.Second
)

func newConn(g *Gateway, raw net.Conn, early []byte) *conn {
	c := &conn{gateway: g, raw: raw}
	c.reading = wire{Conn: raw, conn: c, early: early, limit: g.opts.MaxMessage + floodAllowance}
	return c
}

func (c *conn) wire() *wire { return &c.reading }

// begin serves the socket in a goroutine of its own, so that what the HTTP
// request took is given back.
func (c *conn) begin(a admission, socket *gws.Conn) {
	g := c.gateway
	c.socket, c.expires = socket, a.identity.Expires
	c.session = session.New(g.hub, a.identity.User, c, &g.opts.Session, &g.count.Sessions)
	c.reading.upgraded = true
	if !g.add(c) {
		c.session.Close(protocol.CloseDrain)
		c.end()
		return
	}
	c.heard.Store(time.Now().UnixNano())
	c.mu.Lock()
	c.beat = time.AfterFunc(c.nextBeat(), c.onBeat)
	c.mu.Unlock()
	go c.serve(a)
}

// serve runs the socket to its end. Gws panics on some frames (a 64-bit length
// with its top bit set), and not under its own Recovery: here that costs the
// one socket.
func (c *conn) serve(a admission) {
	defer c.gateway.remove(c)
	defer c.end()
	defer func() {
		v := recover()
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
	}()
	c.calling = true
	hello := protocol.Hello{Shard: c.gateway.opts.Shard, PingS: int(c.gateway.opts.Ping / time.Second)}
	c.session.Start(hello, a.room, a.join)
	c.calling = false
	c.socket.ReadLoop()
}

// end is what follows when nothing more can be read.
func (c *conn) end() {
	closing := c.session.End()
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

// Write implements session.Conn.
func (c *conn) Write(frames []protocol.Frame) (bool, protocol.CloseCode) {
	timeout := c.gateway.opts.WriteTimeout
	if c.hurried.Load() {
		timeout = hurry
	}
	_ = c.raw.SetWriteDeadline(time.Now().Add(timeout)) // fails when closed: so will the write
	err := writeAll(c.raw, frames)
	switch {
	case err == nil:
		return true, 0
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, protocol.CloseSlowConsumer
	}
	return false, protocol.CloseGone
}

// Hurry implements session.Conn.
func (c *conn) Hurry() {
	c.hurried.Store(true)
	_ = c.raw.SetWriteDeadline(time.Now().Add(hurry))
}

// Finish implements session.Conn: it sends the close frame and gives the peer
// a moment to answer, since closing at once could reset the connection and
// take the frame with it.
func (c *conn) Finish(code protocol.CloseCode) {
	if code != protocol.CloseGone {
		_ = c.raw.SetWriteDeadline(time.Now().Add(hurry))
		_, _ = c.raw.Write(protocol.Close(code).WebSocket())
	}
	c.countClose(code)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = true
	if c.readDone || code == protocol.CloseGone {
		_ = c.raw.Close()
		return
	}
	if half, ok := c.raw.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.raw.SetReadDeadline(time.Now().Add(hurry))
}

// countClose counts a close. Codes that a client has made up are one label:
// their number must not grow the metrics.
func (c *conn) countClose(code protocol.CloseCode) {
	label := "client"
	if code.Reason() != "" || code < 1016 {
		label = strconv.Itoa(int(code))
	}
	c.gateway.count.Gateway.Closed.WithLabelValues(label).Inc()
}

// nextBeat is when to look at the socket again: a ping interval, jittered so
// that the beats of many sockets spread out, or the token's end.
func (c *conn) nextBeat() time.Duration {
	ping := c.gateway.opts.Ping
	next := ping - rand.N(ping/8+1)
	if !c.expires.IsZero() {
		next = min(next, max(time.Until(c.expires), time.Millisecond))
	}
	return next
}

// onBeat pings the peer, and closes a socket that was silent for too long or
// whose token has expired.
func (c *conn) onBeat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readDone || c.finished {
		return
	}
	silent := time.Since(time.Unix(0, c.heard.Load()))
	switch {
	case !c.expires.IsZero() && !time.Now().Before(c.expires):
		c.session.Close(protocol.CloseTokenExpired)
	case silent > c.gateway.opts.Ping+c.gateway.opts.PongTimeout:
		c.session.Close(protocol.CloseIdle)
	default:
		c.controls.Store(0)
		c.session.Send(ping)
		c.beat.Reset(c.nextBeat())
	}
}

var ping = protocol.Ping(nil)
