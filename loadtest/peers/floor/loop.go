package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// maxBacklog is how many bytes may wait for a member that does not read. Who
// has more is cut off.
const maxBacklog = 32 << 20

// A loop is all sockets and rooms. One goroutine owns it.
type loop struct {
	epoll    int
	ln       net.Listener
	listener int // its descriptor
	gather   time.Duration
	pad      []byte

	conns map[int]*conn // by descriptor
	rooms map[string]*room
	loud  []*room   // those with something to write
	due   time.Time // when it is written
	read  [64 << 10]byte
}

// A conn is one socket, and a member of its room after the handshake.
type conn struct {
	fd   int
	name string // of its room
	room *room
	in   []byte // read, and not a whole request or frame yet
	out  []byte // not taken by the kernel yet
}

// A room is its members, and what they are to hear.
type room struct {
	members []*conn
	out     []byte
}

// newLoop listens.
func newLoop(listen string, gather time.Duration, pad int) (*loop, error) {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", listen, err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &loop{
		epoll: epoll, ln: ln, gather: gather, pad: bytes.Repeat([]byte(" "), pad),
		conns: map[int]*conn{}, rooms: map[string]*room{},
	}
	if err := raw.Control(func(fd uintptr) { l.listener = int(fd) }); err != nil {
		return nil, fmt.Errorf("listen %s: %w", listen, err)
	}
	return l, l.watch(unix.EPOLL_CTL_ADD, l.listener, unix.EPOLLIN)
}

func (l *loop) watch(op, fd int, events uint32) error {
	return unix.EpollCtl(l.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// run serves until epoll fails.
func (l *loop) run() error {
	events := make([]unix.EpollEvent, 1024)
	for {
		n, err := unix.EpollWait(l.epoll, events, l.patience())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) == l.listener {
				l.accept()
				continue
			}
			c := l.conns[int(e.Fd)]
			if c != nil && e.Events&unix.EPOLLOUT != 0 {
				l.drain(c)
			}
			if c != nil && e.Events&^unix.EPOLLOUT != 0 {
				l.receive(c)
			}
		}
		if len(l.loud) > 0 && !time.Now().Before(l.due) {
			l.spread()
		}
	}
}

// patience is how long to wait for sockets, in milliseconds.
func (l *loop) patience() int {
	if len(l.loud) == 0 {
		return -1
	}
	return int(max(0, time.Until(l.due)+time.Millisecond-1) / time.Millisecond)
}

func (l *loop) accept() {
	fd, _, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return // gone again, or no descriptor is free: epoll tells again
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN) != nil {
		unix.Close(fd)
		return
	}
	l.conns[fd] = &conn{fd: fd}
}

// receive reads once, and passes on each whole frame.
func (l *loop) receive(c *conn) {
	n, err := unix.Read(c.fd, l.read[:])
	if errors.Is(err, unix.EAGAIN) {
		return
	}
	if n <= 0 {
		l.leave(c)
		return
	}
	data := l.read[:n]
	if len(c.in) > 0 {
		data = append(c.in, data...)
	}
	rest, err := l.take(c, data)
	if err != nil {
		l.leave(c)
		return
	}
	c.in = append(c.in[:0], rest...)
	if len(rest) == 0 {
		c.in = nil
	}
}

// take acts on what is whole in data, and returns the rest.
func (l *loop) take(c *conn, data []byte) (rest []byte, err error) {
	if c.room == nil {
		answer, name, rest, err := shake(data)
		if answer == nil || err != nil {
			return data, err
		}
		data = rest
		l.join(c, name)
		l.send(c, appendFrame(answer, []byte("joined"), nil))
	}
	for {
		payload, rest, err := cut(data)
		if payload == nil || err != nil {
			return data, err
		}
		data = rest
		l.say(c.room, payload)
	}
}

func (l *loop) join(c *conn, name string) {
	if l.rooms[name] == nil {
		l.rooms[name] = &room{}
	}
	c.name, c.room = name, l.rooms[name]
	c.room.members = append(c.room.members, c)
}

func (l *loop) leave(c *conn) {
	if r := c.room; r != nil {
		i := slices.Index(r.members, c)
		r.members = slices.Delete(r.members, i, i+1)
		if len(r.members) == 0 {
			delete(l.rooms, c.name)
		}
	}
	delete(l.conns, c.fd)
	unix.Close(c.fd)
}

// say has payload written to the members of r when it is due.
func (l *loop) say(r *room, payload []byte) {
	if len(l.loud) == 0 {
		l.due = time.Now().Add(l.gather)
	}
	if len(r.out) == 0 {
		l.loud = append(l.loud, r)
	}
	r.out = appendFrame(r.out, payload, l.pad)
}

// spread writes what rooms have to say: one write per member.
func (l *loop) spread() {
	for _, r := range l.loud {
		for _, c := range r.members {
			l.send(c, r.out)
		}
		r.out = r.out[:0]
	}
	l.loud = l.loud[:0]
}

// send writes b, and keeps what the kernel does not take. A socket that is
// broken is left to epoll, which reports it.
func (l *loop) send(c *conn, b []byte) {
	if len(c.out) == 0 {
		n, err := unix.Write(c.fd, b)
		if n == len(b) || err != nil && !errors.Is(err, unix.EAGAIN) {
			return
		}
		b = b[max(n, 0):]
		_ = l.watch(unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLIN|unix.EPOLLOUT)
	}
	if len(c.out)+len(b) > maxBacklog {
		_ = unix.Shutdown(c.fd, unix.SHUT_RDWR)
		return
	}
	c.out = append(c.out, b...)
}

// drain writes what has waited for the kernel.
func (l *loop) drain(c *conn) {
	n, _ := unix.Write(c.fd, c.out)
	c.out = c.out[max(n, 0):]
	if len(c.out) == 0 {
		c.out = nil
		_ = l.watch(unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLIN)
	}
}
