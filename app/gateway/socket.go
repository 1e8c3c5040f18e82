package gateway

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/lxzan/gws"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/protocol"
)

// webSockets is the transport of sockets.
type webSockets struct{ gateway *Gateway }

// query implements transport.
func (webSockets) query(r *http.Request) url.Values { return r.URL.Query() }

// credentials implements transport: a token may be an entry of the subprotocols, too.
func (webSockets) credentials(r *http.Request, a *admission) (auth.Credentials, *refusal) {
	c := shown(r)
	offers, token, f := subprotocols(r)
	a.subprotocol, c.Token = offers, cmp.Or(c.Token, token)
	return c, f
}

// agree implements transport.
func (webSockets) agree(_ http.ResponseWriter, r *http.Request, _ *admission) *refusal {
	return checkHandshake(r)
}

// open implements transport: it answers the handshake.
func (t webSockets) open(w http.ResponseWriter, r *http.Request, a *admission) (*conn, error) {
	g := t.gateway
	raw, buffered, err := takeOver(w)
	if err != nil {
		return nil, err
	}
	s := newSocket(g, raw, early(buffered.Reader))
	up := g.plain
	if a.subprotocol {
		up = g.upgrader
	}
	normalise(r.Header)
	s.gws, err = up.UpgradeFromConn(&s.reading, bufio.NewReaderSize(&s.reading, g.opts.ReadBuffer), r)
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	return &s.conn, nil
}

// normalise reduces an admitted handshake to what gws needs: gws reads only the
// first line of each header and would refuse valid ones.
func normalise(h http.Header) {
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-WebSocket-Protocol", protocol.Subprotocol)
}

// early returns what the client has sent behind its request already.
func early(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered())
	return append([]byte(nil), b...)
}

// A socket is a conn over a WebSocket. What the session sends is written as it is.
type socket struct {
	conn
	gws *gws.Conn // static after begin

	// Owned by the reading goroutine.
	reading wire
}

func newSocket(g *Gateway, raw net.Conn, early []byte) *socket {
	s := &socket{conn: conn{gateway: g, raw: raw, direct: direct(raw), opened: time.Now()}}
	s.framing, s.patience = s, g.opts.Ping+g.opts.PongTimeout
	s.reading = wire{Conn: receiving(raw, s.direct), socket: s, early: early, limit: g.opts.MaxMessage + floodAllowance}
	return s
}

// ready implements framing.
func (s *socket) ready() { s.reading.upgraded = true }

// gone implements framing.
func (s *socket) gone() {}

// read implements framing.
func (s *socket) read() { s.gws.ReadLoop() }

// farewell implements framing.
func (s *socket) farewell(code protocol.CloseCode) []byte { return protocol.Close(code).WebSocket() }

// TryWrite implements session.Conn.
func (s *socket) TryWrite(b protocol.Batch) int {
	n := s.tryWrite(b)
	s.torn = 0 < n && n < len(b)
	return n
}

// Write implements session.Conn.
func (s *socket) Write(batches []protocol.Batch) (bool, protocol.CloseCode) {
	return s.written(writeAll(s.write, batches))
}

// writeChunk is how many bytes are gathered for one write.
const writeChunk = 32 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, writeChunk); return &b }}

// writeAll writes batches in as few calls as possible.
func writeAll(write func([]byte) error, batches []protocol.Batch) error {
	if len(batches) == 1 {
		return write(batches[0])
	}
	chunk := chunks.Get().(*[]byte)
	defer chunks.Put(chunk)
	b := (*chunk)[:0]
	for _, next := range batches {
		if len(b) > 0 && len(b)+len(next) > writeChunk {
			if err := write(b); err != nil {
				return err
			}
			b = b[:0]
		}
		if len(next) > writeChunk {
			if err := write(next); err != nil {
				return err
			}
			continue
		}
		b = append(b, next...)
	}
	if len(b) == 0 {
		return nil
	}
	return write(b)
}
