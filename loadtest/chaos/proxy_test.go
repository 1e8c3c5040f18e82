package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long something that must happen may take.
const patience = 10 * time.Second

// An echo answers each line with itself, and counts them.
type echo struct {
	addr  string
	lines atomic.Int64
}

func startEcho(t *testing.T) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	e := &echo{addr: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					e.lines.Add(1)
					fmt.Fprintln(c, lines.Text())
				}
			}()
		}
	}()
	return e
}

func throughProxy(t *testing.T, e *echo) *proxy {
	t.Helper()
	p, err := newProxy(e.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// A line is a connection through a proxy.
type line struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dialLine(t *testing.T, p *proxy) *line {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &line{t, c, bufio.NewReader(c)}
}

func (l *line) say(text string) {
	l.t.Helper()
	if _, err := fmt.Fprintln(l, text); err != nil {
		l.t.Fatal(err)
	}
}

// hear wants an answer.
func (l *line) hear(want string) {
	l.t.Helper()
	l.SetReadDeadline(time.Now().Add(patience))
	if got, err := l.in.ReadString('\n'); got != want+"\n" {
		l.t.Errorf("heard %q (%v), want %q", got, err, want)
	}
}

// deaf wants no answer, and a connection that stays up.
func (l *line) deaf() {
	l.t.Helper()
	l.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	b, err := l.in.ReadByte()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Errorf("heard %q, %v, want nothing on a connection that stays up", b, err)
	}
}

// ends wants the end of the connection.
func (l *line) ends() {
	l.t.Helper()
	l.SetReadDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(l.in); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Errorf("heard %q, %v, want the end of the connection", b, err)
	}
}

// Ensure that a proxy without a fault is not there, and that slices and delays
// change no byte.
func TestProxyForwards(t *testing.T) {
	p := throughProxy(t, startEcho(t))
	l := dialLine(t, p)
	l.say("hello")
	l.hear("hello")

	p.slices(3)
	p.delays(30*time.Millisecond, 50*time.Millisecond)
	begun := time.Now()
	long := strings.Repeat("0123456789", 20)
	l.say(long)
	l.hear(long)
	if took := time.Since(begun); took < 60*time.Millisecond {
		t.Errorf("there and back took %v, want 60 ms at least", took)
	}
}

// Ensure that a black hole takes what it is told to take, keeps TCP up, takes later
// connections too, and does not give back what it took.
func TestProxySwallows(t *testing.T) {
	p := throughProxy(t, startEcho(t))
	bridge, other := dialLine(t, p), dialLine(t, p)
	for _, l := range []*line{bridge, other} {
		l.say("hello")
		l.hear("hello")
	}
	bridge.say("SUBSCRIBE room")
	bridge.hear("SUBSCRIBE room")

	p.swallows(bridges)
	bridge.say("ping")
	bridge.deaf()
	other.say("get")
	other.hear("get")
	later := dialLine(t, p)
	later.say("subscribe room")
	later.deaf()

	p.swallows(everything)
	other.say("get")
	other.deaf()

	p.heal()
	bridge.say("ping")
	bridge.deaf()
	fresh := dialLine(t, p)
	fresh.say("subscribe room")
	fresh.hear("subscribe room")
}

// Ensure that one direction can be swallowed alone.
func TestProxySwallowsAnswers(t *testing.T) {
	e := startEcho(t)
	p := throughProxy(t, e)
	p.swallows(answers)
	l := dialLine(t, p)
	l.say("incr")
	l.deaf()
	if e.lines.Load() != 1 {
		t.Errorf("the server heard %d lines, want 1", e.lines.Load())
	}
}

// Ensure that the answer to each second request is lost after the server has carried
// it out, that its connection ends, and that other requests do not count.
func TestProxyLosesAnswers(t *testing.T) {
	e := startEcho(t)
	p := throughProxy(t, e)
	p.loses("evalsha", 2)
	l := dialLine(t, p)
	l.say("evalsha 1")
	l.hear("evalsha 1")
	l.say("get")
	l.hear("get")
	l.say("evalsha 2")
	l.ends()
	if e.lines.Load() != 3 || p.lostAnswers() != 1 {
		t.Errorf("the server heard %d lines, and %d answers were lost; want 3 and 1", e.lines.Load(), p.lostAnswers())
	}
}

// Ensure that a cut ends all connections at once, and no later one.
func TestProxyCuts(t *testing.T) {
	p := throughProxy(t, startEcho(t))
	l := dialLine(t, p)
	l.say("hello")
	l.hear("hello")
	if n := p.cut(1); n != 1 {
		t.Errorf("%d connections cut, want 1", n)
	}
	l.ends()
	l = dialLine(t, p)
	l.say("hello")
	l.hear("hello")
}
