package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A room is its members, the first of which also speak.
type room struct {
	name    string
	members []*member
}

// A member is one WebSocket in one room, or one stream of server-sent events. All of it
// belongs to its loop.
type member struct {
	// Static.
	room   *room
	place  int // among the room's members
	user   string
	sample bool // it times its deliveries
	stream bool // it listens to server-sent events, and says nothing

	// The socket.
	fd       int    // negative: there is none
	number   int    // by which epoll knows it
	epoll    int    // which has it
	watched  bool   // epoll tells when it takes more
	open     bool   // the handshake is done
	carry    []byte // of a frame or an event that is cut
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
