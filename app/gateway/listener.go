package gateway

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Listener keeps some descriptors in reserve. When there are no others left, it
// answers connections with these: HAProxy's question how the node is, without whose
// answer the node would be taken for dead and its sockets be cut, and requests for a
// socket, which the gateway then refuses, so that HAProxy asks the next node. What
// else of the node opens files may take what is free for a moment. When the reserve
// is used up, net/http pauses between its attempts: longer each time, up to a second.
type Listener struct {
	net.Listener
	gateway *Gateway
	said    time.Time // owned by the accepting goroutine

	// Guarded by mu.
	mu      sync.Mutex
	reserve []*os.File // at most reserved
	lent    int        // to connections
}

const (
	// sayAgain is how long after a warning the next one may follow.
	sayAgain = 10 * time.Second
	// lastTime is how long the connection may take that has the last descriptor.
	lastTime = time.Second
	// reserved is how many descriptors are kept in reserve.
	reserved = 8
)

// NewListener accepts connections for the server that has g's Handler.
func NewListener(ln net.Listener, g *Gateway) *Listener {
	l := &Listener{Listener: ln, gateway: g}
	l.hold()
	return l
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.gateway.short.Store(!l.hold())
		return conn, nil
	}
	if errors.Is(err, net.ErrClosed) {
		return nil, err
	}
	l.gateway.count.Gateway.AcceptWaits.Inc()
	short := errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
	if time.Since(l.said) > sayAgain {
		l.said = time.Now()
		slog.Warn("no connection can be accepted", "err", err, "descriptors", short)
	}
	if !short {
		return nil, err
	}
	l.gateway.short.Store(true)
	return l.acceptLast(err)
}

// acceptLast accepts a connection with a descriptor of the reserve.
func (l *Listener) acceptLast(short error) (net.Conn, error) {
	if !l.lend() {
		return nil, short
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		l.takeBack()
		return nil, err
	}
	last := &lastConn{Conn: conn, back: sync.OnceFunc(l.takeBack)}
	time.AfterFunc(lastTime, func() { _ = last.Close() })
	return last, nil
}

// hold fills the reserve up, and says whether it is full.
func (l *Listener) hold() (full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.lent+len(l.reserve) < reserved {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		l.reserve = append(l.reserve, f)
	}
	return len(l.reserve) == reserved
}

func (l *Listener) lend() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.reserve) - 1
	if last < 0 {
		return false
	}
	_ = l.reserve[last].Close()
	l.reserve = l.reserve[:last]
	l.lent++
	return true
}

func (l *Listener) takeBack() {
	l.mu.Lock()
	l.lent--
	l.mu.Unlock()
	l.hold()
}

// A lastConn gives its descriptor back to the reserve when it is closed. It never becomes
// a socket: the gateway refuses for as long as one is open.
type lastConn struct {
	net.Conn
	back func()
}

// Close implements net.Conn.
func (c *lastConn) Close() error {
	err := c.Conn.Close()
	c.back()
	return err
}
