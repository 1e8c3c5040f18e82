package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A room is its members, the first of which also speak.
type room struct {
	name    string
	members []*member
}

// A member is one WebSocket in one room. All of it belongs to its loop.
type member struct {
	// Static.
	room   *room
	place  int // among the room's members
	user   string
	sample bool // it times its deliveries

	// The socket.
	fd       int    // negative: there is none
	number   int    // by which epoll knows it
	epoll    int    // which has it
	watched  bool   // epoll tells when it takes more
	open     bool   // the handshake is done
	carry    []byte // of a frame that is cut
	part     []byte // of a message that a stream has not finished
	out      []byte // what it has not taken yet
	flushing bool   // it stands in loop.unsent
	dialed   due

	// What was said.
	said          uint64 // messages of its own
	heard         int64  // messages of all
	order         order
	epoch, offset uint64 // the last position; epoch 0: none is known
	commands      int    // of which the verb keeps count
	owed          int    // how much the server must still say to them
}

// An ear is what a verb does about what members hear. The loop calls it, and it
// may send and close, but dial only between turns.
type ear interface {
	joined(m *member, n *note)
	message(m *member, n *note)
	reply(m *member, n *note)
	// lost says that a connection ended, or did not come about, and not by us.
	// The socket is closed already.
	lost(m *member, err error)
}

// A loop is all sockets of one thread. One epoll instance tells which have
// something to read; one buffer, shared by all, takes as much of it as it can
// hold in one system call; a frame that is cut waits in its member. So a message
// that is heard costs no allocation, no lock and no change of goroutine. A loop
// has whole rooms, so that no two have anything to do with each other.
//
// Members that nobody times can be set aside: their sockets have an epoll
// instance of their own, on which the loop never sleeps, and are looked at every
// beat. Over the loopback the sender does the receiver's part too, and to wake
// somebody for each delivery would cost the server as much again as the delivery.
//
// Only the goroutine that calls turn may call the rest, but for deliveries.
type loop struct {
	// Static.
	address unix.Sockaddr
	host    string
	wire    wire
	traits  traits
	tokens  []string

	epoll   int
	aside   int   // the epoll of members that are set aside
	timers  []int // file descriptors
	beats   int   // the one of them that says when to look at those set aside
	behind  bool  // there is more to read of those set aside
	events  [128]unix.EpollEvent
	members []*member // by number; nil: free
	free    []int
	buf     []byte
	data    []byte // of the message that is being said
	said    []byte // and all of it
	unsent  []*member
	note    note
	ear     ear
	dials   int

	heard      int64 // messages of all members
	deliveries atomic.Int64
}

// mostUnsent is how much may wait for a socket that takes nothing.
const mostUnsent = 4 << 20

func newLoop(base string, w wire, tokens []string) (*loop, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "ws" {
		return nil, fmt.Errorf("%q is no ws:// address", base)
	}
	a, err := net.ResolveTCPAddr("tcp4", u.Host)
	if err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	aside, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	return &loop{
		address: &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}, host: u.Host,
		wire: w, traits: w.traits(), tokens: tokens, epoll: epoll, aside: aside, buf: make([]byte, 128<<10),
	}, nil
}

// dial begins a connection; the ear hears of its end: joined, or lost.
func (l *loop) dial(m *member) {
	m.open, m.dialed = false, now()
	m.carry, m.part, m.out = m.carry[:0], m.part[:0], l.appendRequest(m.out[:0], m)
	if err := l.connect(m); err != nil {
		m.fd = -1
		l.ear.lost(m, err)
	}
}

func (l *loop) connect(m *member) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil {
		err = unix.Connect(fd, l.address)
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return fmt.Errorf("connect: %w", err)
	}
	m.fd, m.number = fd, len(l.members)
	if n := len(l.free); n > 0 {
		m.number = l.free[n-1]
		l.free = l.free[:n-1]
		l.members[m.number] = m
	} else {
		l.members = append(l.members, m)
	}
	m.epoll, m.watched = l.epoll, false
	l.unflushed(m)
	return l.watch(unix.EPOLL_CTL_ADD, m)
}

// watch tells epoll what to tell of a member's socket.
func (l *loop) watch(op int, m *member) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(m.number)}
	if m.watched {
		event.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(m.epoll, op, m.fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// appendRequest is the handshake's. Tokens are used in turn; with one, the
// server goes by it, and not by a user that is named.
func (l *loop) appendRequest(b []byte, m *member) []byte {
	user, token := m.user, ""
	if len(l.tokens) > 0 {
		user, token = "", l.tokens[l.dials%len(l.tokens)]
	}
	l.dials++
	target, subprotocol := l.wire.request(m.room.name, user)
	b = fmt.Appendf(b, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", target, l.host)
	if subprotocol != "" {
		b = fmt.Appendf(b, "Sec-WebSocket-Protocol: %s\r\n", subprotocol)
	}
	if token != "" {
		b = fmt.Appendf(b, "Authorization: Bearer %s\r\n", token)
	}
	return append(b, "\r\n"...)
}

// close ends a connection.
func (l *loop) close(m *member) {
	if m.fd < 0 {
		return
	}
	unix.Close(m.fd) // which takes it out of epoll
	l.members[m.number] = nil
	l.free = append(l.free, m.number)
	m.fd = -1
}

// tick makes turns end at least as often as this. It returns the timer.
func (l *loop) tick(every time.Duration) (int, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return 0, fmt.Errorf("timerfd_create: %w", err)
	}
	l.timers = append(l.timers, fd)
	beat := unix.NsecToTimespec(every.Nanoseconds())
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: beat, Value: beat}, nil); err != nil {
		return 0, fmt.Errorf("timerfd_settime: %w", err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(^fd)} // numbers of members are not negative
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return 0, fmt.Errorf("epoll_ctl: %w", err)
	}
	return fd, nil
}

// setAside sets members aside from here on, to be looked at every beat.
func (l *loop) setAside(members []*member, beat time.Duration) error {
	for _, m := range members {
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, m.fd, nil); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
		m.epoll = l.aside
		if err := l.watch(unix.EPOLL_CTL_ADD, m); err != nil {
			return err
		}
	}
	if len(members) == 0 {
		return nil
	}
	timer, err := l.tick(beat)
	l.beats = timer
	return err
}

// end closes everything.
func (l *loop) end() {
	for _, m := range l.members {
		if m != nil {
			l.close(m)
		}
	}
	for _, fd := range append(l.timers, l.epoll, l.aside) {
		unix.Close(fd)
	}
}

// turn waits for what sockets have to say, for a while at most, and lets the
// ear hear it. It returns after a bounded part of it, so that a verb can do what
// is due meanwhile.
func (l *loop) turn(wait time.Duration) error {
	l.flush()
	if l.behind {
		wait = 0
	}
	if err := l.wait(l.epoll, wait); err != nil {
		return err
	}
	if l.behind {
		if err := l.wait(l.aside, 0); err != nil {
			return err
		}
	}
	l.flush()
	l.deliveries.Store(l.heard)
	return nil
}

// wait serves the sockets of which an epoll instance has something to tell.
func (l *loop) wait(epoll int, wait time.Duration) error {
	n, err := unix.EpollWait(epoll, l.events[:], int(wait.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("epoll_wait: %w", err)
	}
	if epoll == l.aside {
		l.behind = n == len(l.events)
	}
	for _, e := range l.events[:max(n, 0)] {
		if timer := ^int(e.Fd); timer >= 0 {
			_, _ = unix.Read(timer, l.buf[:8]) // which winds it up again
			l.behind = l.behind || timer == l.beats
			continue
		}
		m := l.members[e.Fd]
		if m == nil { // closed in this turn
			continue
		}
		if e.Events&unix.EPOLLOUT != 0 {
			l.write(m)
		}
		if e.Events&^unix.EPOLLOUT != 0 {
			l.read(m)
		}
	}
	return nil
}

// drop closes a connection that is of no more use, and says so.
func (l *loop) drop(m *member, err error) {
	if m.fd >= 0 {
		l.close(m)
		l.ear.lost(m, err)
	}
}

// read takes what a socket has, as far as the buffer holds it: epoll tells
// again of the rest.
func (l *loop) read(m *member) {
	if m.fd < 0 {
		return
	}
	kept := copy(l.buf, m.carry)
	n, err := unix.Read(m.fd, l.buf[kept:])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil:
		l.drop(m, fmt.Errorf("read: %w", err))
		return
	case n == 0:
		l.drop(m, errors.New("closed without a close frame"))
		return
	}
	b := l.buf[:kept+n]
	if !m.open {
		if b, err = l.shake(m, b); err != nil {
			l.drop(m, err)
			return
		}
	}
	if m.open {
		if b, err = l.frames(m, b); err != nil {
			l.drop(m, err)
			return
		}
	}
	m.carry = append(m.carry[:0], b...)
	if len(b) == len(l.buf) {
		l.buf = make([]byte, 2*len(l.buf))
	}
}

// shake reads the server's answer to the handshake, and returns what is behind
// it. The accept key is not checked: this program measures.
func (l *loop) shake(m *member, b []byte) ([]byte, error) {
	head, rest, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return b, nil
	}
	status, _, _ := strings.Cut(string(head), "\r\n")
	if !strings.Contains(status, " 101 ") {
		return nil, errors.New(status)
	}
	m.open = true
	if hello := l.wire.greet(m.room.name); hello != nil {
		l.send(m, hello)
	}
	return rest, nil
}

// frames hears whole frames, and returns what is behind them.
func (l *loop) frames(m *member, b []byte) ([]byte, error) {
	for m.fd >= 0 {
		f, size, err := cutFrame(b)
		if size == 0 || err != nil {
			return b, err
		}
		b = b[size:]
		switch f.opcode {
		case opClose:
			if len(f.payload) < 2 {
				return nil, errors.New("closed without a code")
			}
			return nil, fmt.Errorf("closed with %d", int(f.payload[0])<<8|int(f.payload[1]))
		case opPing:
			m.out = appendFrame(m.out, opPong, f.payload)
			l.unflushed(m)
		case opPong:
		default:
			if !l.traits.stream && (f.opcode == opContinue || !f.last) {
				return nil, errors.New("a message in more than one frame")
			}
			l.hear(m, f.payload)
		}
	}
	return nil, nil
}

// hear reads the messages of a frame, or of a stream so far.
func (l *loop) hear(m *member, b []byte) {
	if len(m.part) > 0 {
		m.part = append(m.part, b...)
		b = m.part
	}
	for ok := true; ok && len(b) > 0 && m.fd >= 0; {
		if b, ok = l.wire.read(b, m.room.name, &l.note); ok {
			l.act(m, &l.note)
		}
	}
	m.part = append(m.part[:0], b...)
}

// act does what a message asks for.
func (l *loop) act(m *member, n *note) {
	if n.answer != nil {
		l.send(m, n.answer)
	}
	switch n.kind {
	case message:
		publisher, count, ok := originIn(n.data)
		if !ok {
			l.drop(m, fmt.Errorf("a message that is not ours: %.200q", n.text))
			return
		}
		l.heard++
		m.heard++
		m.order.hear(publisher, count)
		l.ear.message(m, n)
	case reply:
		l.ear.reply(m, n)
	case joined:
		l.ear.joined(m, n)
	case refused:
		l.drop(m, fmt.Errorf("the server says %.200q", n.text))
	}
}

// publish says the next message of a member.
func (l *loop) publish(m *member, id uint64, at due, size int) {
	l.data = appendData(l.data[:0], at, m.place, m.said, size)
	m.said++
	l.said = l.wire.publish(l.said[:0], id, m.room.name, l.data)
	l.send(m, l.said)
}

// send sends a message, at the end of the turn at the latest.
func (l *loop) send(m *member, payload []byte) {
	m.out = appendFrame(m.out, l.traits.opcode, payload)
	l.unflushed(m)
}

func (l *loop) unflushed(m *member) {
	if !m.flushing {
		m.flushing = true
		l.unsent = append(l.unsent, m)
	}
}

// flush writes what members have to say, each in one system call.
func (l *loop) flush() {
	for i := 0; i < len(l.unsent); i++ { // an ear may add some
		m := l.unsent[i]
		m.flushing = false
		if !m.watched {
			l.write(m)
		}
	}
	l.unsent = l.unsent[:0]
}

// write gives a socket what it takes. Of the rest epoll tells when it takes
// more.
func (l *loop) write(m *member) {
	if m.fd < 0 {
		return
	}
	n, err := unix.Write(m.fd, m.out)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		n = 0
	case err != nil:
		l.drop(m, fmt.Errorf("write: %w", err))
		return
	}
	left := copy(m.out, m.out[n:])
	m.out = m.out[:left]
	if left > mostUnsent {
		l.drop(m, errors.New("the server takes no more"))
		return
	}
	if m.watched != (left > 0) {
		m.watched = left > 0
		if err := l.watch(unix.EPOLL_CTL_MOD, m); err != nil {
			l.drop(m, err)
		}
	}
}
