package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// dial begins a connection; the ear hears of its end: joined, or lost.
func (l *loop) dial(m *member) {
	m.fd, m.open, m.dialed = -1, false, now()
	m.carry, m.part, m.out = m.carry[:0], m.part[:0], l.appendRequest(m.out[:0], m)
	if err := l.connect(m); err != nil {
		l.close(m)
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
	if m.stream {
		b = fmt.Appendf(b, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n", strings.Replace(target, "/ws/", "/sse/", 1), l.host)
		subprotocol = ""
	} else {
		b = fmt.Appendf(b, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", target, l.host)
	}
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
		hear := l.frames
		if m.stream {
			hear = l.streamed
		}
		if b, err = hear(m, b); err != nil {
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
	want := " 101 "
	if m.stream {
		want = " 200 "
	}
	if !strings.Contains(status, want) {
		return nil, errors.New(status)
	}
	m.open = true
	if hello := l.wire.greet(m.room.name); hello != nil && !m.stream {
		l.send(m, hello)
	}
	return rest, nil
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
