package chattest

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// A Proxy forwards TCP connections to one address and can lose bytes on
// purpose. All methods may be called concurrently.
type Proxy struct {
	Addr string // host:port that it listens on

	target   string
	listener net.Listener
	running  sync.WaitGroup

	// Guarded by mu.
	mu      sync.Mutex
	closed  bool
	links   map[*link]bool
	unheard string        // the reply to the request that contains it is lost
	dropped chan struct{} // closed when it was
}

// A link is one forwarded connection. Its fields are guarded by the proxy's mu.
type link struct {
	client, server net.Conn
	said           []byte // the first bytes of each request
	hole           bool   // loses everything, both ways
	lastReply      bool   // loses what the server says next, and ends
}

// StartProxy starts a proxy before an address; it ends with the test.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, listener: l, links: make(map[*link]bool)}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// URL returns the address as redis://…
func (p *Proxy) URL() string { return "redis://" + p.Addr }

// Swallow makes a black hole of each connection on which a client has said
// something that contains word: its bytes are lost in both directions, and its
// TCP connection stays up. It returns how many there are; later connections
// work.
func (p *Proxy) Swallow(word string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if bytes.Contains(l.said, []byte(word)) {
			l.hole = true
			n++
		}
	}
	return n
}

// DropReply lets the next request that contains word reach the server, loses
// the server's reply, and ends the connection. The channel is closed when that
// has happened.
func (p *Proxy) DropReply(word string) (dropped <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unheard, p.dropped = word, make(chan struct{})
	return p.dropped
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.forward(&link{client: client, server: server})
	}
}

func (p *Proxy) forward(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		l.end()
		return
	}
	p.links[l] = true
	p.running.Go(func() { p.pump(l, l.client, l.server, p.request) })
	p.running.Go(func() { p.pump(l, l.server, l.client, p.reply) })
}

func (l *link) end() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// pump copies from one side to the other what pass lets pass.
func (p *Proxy) pump(l *link, from, to net.Conn, pass func(*link, []byte) bool) {
	defer func() {
		l.end()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if !pass(l, buf[:n]) {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *Proxy) request(l *link, b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.said = append(l.said, b[:min(len(b), 256)]...)
	if p.unheard != "" && bytes.Contains(b, []byte(p.unheard)) {
		p.unheard = ""
		l.lastReply = true
	}
	return !l.hole
}

func (p *Proxy) reply(l *link, _ []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.lastReply {
		close(p.dropped)
		l.end()
		return false
	}
	return !l.hole
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	_ = p.listener.Close()
	for l := range p.links {
		l.end()
	}
	p.mu.Unlock()
	p.running.Wait()
}
