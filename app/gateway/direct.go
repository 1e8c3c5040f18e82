//go:build unix

package gateway

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// direct is how a connection is read and written past package net; nil if it is no
// socket.
func direct(c net.Conn) syscall.RawConn {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	d, err := s.SyscallConn()
	if err != nil { // it is closed: so all else fails as well
		return nil
	}
	return d
}

// A receiver reads from a socket, and waits with less on the stack than
// net.Conn.Read does: together with what gws has there it fits into the 2 KiB with
// which every goroutine begins, so that a socket from which nothing comes takes no
// more. Read belongs to one goroutine.
type receiver struct {
	net.Conn
	direct syscall.RawConn
	do     func(fd uintptr) (done bool) // receive; each binding of it is an allocation

	// Of the read that is under way.
	b   []byte
	n   int
	err error
}

// receiving returns a receiver from c; or c itself, if it is no socket.
func receiving(c net.Conn, direct syscall.RawConn) net.Conn {
	if direct == nil {
		return c
	}
	r := &receiver{Conn: c, direct: direct}
	r.do = r.receive
	return r
}

// Read implements net.Conn.
func (r *receiver) Read(b []byte) (int, error) {
	r.b = b
	if err := r.direct.Read(r.do); err != nil {
		return 0, err
	}
	return r.n, r.err
}

// receive reads what there is. When there is nothing it is called again, as soon
// as there may be something.
func (r *receiver) receive(fd uintptr) (done bool) {
	n, err := syscall.Read(int(fd), r.b) // #nosec G115 -- a descriptor
	for err == syscall.EINTR {           //nolint:errorlint // an errno, as it comes from the kernel
		n, err = syscall.Read(int(fd), r.b) // #nosec G115 -- a descriptor
	}
	switch {
	case err == syscall.EAGAIN: //nolint:errorlint // the same
		return false
	case err != nil:
		n = 0 // it is -1
	case n == 0 && len(r.b) > 0:
		err = io.EOF
	}
	r.n, r.err = n, err
	return true
}

// An attempt is a write that does not wait.
type attempt struct {
	b  []byte
	n  int
	do func(fd uintptr) (done bool) // for syscall.RawConn
}

var attempts = sync.Pool{New: func() any {
	a := &attempt{}
	a.do = func(fd uintptr) bool {
		for {
			n, err := syscall.Write(int(fd), a.b) // #nosec G115 -- a descriptor
			if err != syscall.EINTR {             //nolint:errorlint // an errno, as it comes from the kernel
				a.n = max(n, 0) // an error is found again by the write that waits
				return true
			}
		}
	}
	return a
}}

// tryWrite writes what the kernel takes at once, and returns how many bytes.
func tryWrite(to syscall.RawConn, b []byte) int {
	a := attempts.Get().(*attempt)
	defer attempts.Put(a)
	a.b, a.n = b, 0
	_ = to.Write(a.do) // fails when closed
	a.b = nil
	return a.n
}
