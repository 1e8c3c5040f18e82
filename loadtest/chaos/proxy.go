package main

import (
	"bytes"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A proxy forwards TCP connections to one address, and does to them what a bad
// network does: it delays, slices, cuts, and swallows bytes while TCP stays up.
// It can also lose the answer to a request that was carried out. All methods may
// be called concurrently.
type proxy struct {
	addr string // host:port that it listens on

	target   string
	listener net.Listener
	running  sync.WaitGroup

	// Guarded by mu.
	mu       sync.Mutex
	closed   bool
	links    map[*link]bool
	low      time.Duration // each chunk is delayed by low to high
	high     time.Duration
	slice    int // bytes written at once; 0: all
	swallow  func(h heading, said []byte) bool
	word     string // the answer to each lose-th request that contains it is lost
	lose     int
	requests int // of those that contain word
	lost     int // answers, so far
}

// heading is the way that bytes go: to the server or to the client.
type heading bool

const (
	toServer heading = false
	toClient heading = true
)

// A link is one forwarded connection. Its fields are guarded by the proxy's mu.
type link struct {
	client, server net.Conn
	said           []byte           // the beginning of what the client said
	hole           map[heading]bool // where bytes were swallowed: nothing can follow them
	unheard        bool             // loses what the server says next, and ends
}

func newProxy(target string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{addr: l.Addr().String(), target: target, listener: l, links: make(map[*link]bool)}
	p.running.Go(p.accept)
	return p, nil
}

// everything matches all bytes, bridges those of connections on which a client
// has subscribed.
func everything(heading, []byte) bool { return true }

func bridges(_ heading, said []byte) bool {
	return bytes.Contains(bytes.ToLower(said), []byte("subscribe"))
}

// answers matches what comes from the server.
func answers(h heading, _ []byte) bool { return h == toClient }

// delays makes each chunk late by low to high.
func (p *proxy) delays(low, high time.Duration) { p.set(func() { p.low, p.high = low, high }) }

// slices writes n bytes at a time.
func (p *proxy) slices(n int) { p.set(func() { p.slice = n }) }

// swallows loses bytes that match, of present and later connections, which stay
// open. A connection that has lost a byte stays deaf that way when it is over: as
// behind a firewall that has forgotten it.
func (p *proxy) swallows(match func(h heading, said []byte) bool) {
	p.set(func() { p.swallow = match })
}

// loses drops the answer to every n-th request that contains word, after the
// server has carried it out, and ends that connection.
func (p *proxy) loses(word string, n int) { p.set(func() { p.word, p.lose = word, n }) }

// heal ends all of it.
func (p *proxy) heal() {
	p.set(func() { p.low, p.high, p.slice, p.swallow, p.lose = 0, 0, 0, nil, 0 })
}

func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// lostAnswers is how many answers were dropped.
func (p *proxy) lostAnswers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// cut breaks a share of the connections, without a goodbye, and says how many.
func (p *proxy) cut(share float64) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if rand.Float64() < share {
			for _, c := range []net.Conn{l.client, l.server} {
				if tcp, ok := c.(*net.TCPConn); ok {
					tcp.SetLinger(0) //nolint:errcheck // the connection may have ended
				}
			}
			l.end()
			n++
		}
	}
	return n
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() {
			server, err := net.DialTimeout("tcp", p.target, 2*time.Second)
			if err != nil {
				client.Close()
				return
			}
			p.forward(&link{client: client, server: server, hole: make(map[heading]bool)})
		})
	}
}

func (p *proxy) forward(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		l.end()
		return
	}
	p.links[l] = true
	p.running.Go(func() { p.pump(l, toServer) })
	p.running.Go(func() { p.pump(l, toClient) })
}

func (l *link) end() {
	l.client.Close()
	l.server.Close()
}

// pump copies one way what the network lets pass.
func (p *proxy) pump(l *link, h heading) {
	defer func() {
		l.end()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	from, to := l.client, l.server
	if h == toClient {
		from, to = to, from
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		late, size, pass := p.fate(l, h, buf[:n])
		if !pass {
			continue
		}
		time.Sleep(late)
		for b := buf[:n]; len(b) > 0; {
			k := min(len(b), size)
			if _, err := to.Write(b[:k]); err != nil {
				return
			}
			if b = b[k:]; len(b) > 0 {
				time.Sleep(sliceGap)
			}
		}
	}
}

// sliceGap lies between two slices, so that they are packets of their own.
const sliceGap = 200 * time.Microsecond

// saidMost is how much of what a client says is remembered: its first commands.
const saidMost = 512

// fate is what happens to a chunk: how late it is, how many bytes of it are
// written at a time, and whether it arrives at all.
func (p *proxy) fate(l *link, h heading, b []byte) (late time.Duration, size int, pass bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h == toServer {
		l.said = append(l.said, b[:min(len(b), saidMost-len(l.said))]...)
		if p.lose > 0 && bytes.Contains(b, []byte(p.word)) {
			p.requests++
			l.unheard = l.unheard || p.requests%p.lose == 0
		}
	} else if l.unheard {
		p.lost++
		l.end()
		return 0, 0, false
	}
	if p.swallow != nil && p.swallow(h, l.said) {
		l.hole[h] = true
	}
	if l.hole[h] {
		return 0, 0, false
	}
	late = p.low
	if p.high > p.low {
		late += rand.N(p.high - p.low)
	}
	size = p.slice
	if size == 0 {
		size = len(b)
	}
	return late, size, true
}

// close ends the proxy with all its connections.
func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.listener.Close()
	for l := range p.links {
		l.end()
	}
	p.mu.Unlock()
	p.running.Wait()
}
