package gateway

import (
	"encoding/binary"
	"errors"
	"net"

	"github.com/chatring/chatring/app/protocol"
)

// A wire is the net.Conn that gws sees. It lets gws read, counts what it
// reads, and turns what gws writes after the handshake, which is only ever a
// close frame, into a close of the session: then what waits in the outbox
// goes first, no reason names internals, and nobody writes to the socket but for
// the session.
type wire struct {
	net.Conn
	socket   *socket
	early    []byte // read with the request already
	upgraded bool
	unread   int // bytes read since the last whole message, or ping answered
	limit    int // of unread
}

// floodAllowance is how many bytes beyond the longest message may be read
// before one is complete: headers, fragments, a full read buffer.
const floodAllowance = 16 << 10

var errFlood = errors.New("fragments without end")

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(b, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	if w.upgraded && w.unread > w.limit {
		w.socket.session.Close(protocol.ClosePolicy)
		return 0, errFlood
	}
	n, err := w.Conn.Read(b)
	w.unread += n
	return n, err
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	if !w.upgraded {
		return w.Conn.Write(b)
	}
	code, answer := translate(b)
	if answer && w.socket.hurried.Load() == nil { // else the node closed first
		w.socket.left.Store(true)
	}
	w.socket.session.Close(code)
	return len(b), nil
}

// Close implements net.Conn. After the handshake the session decides when the
// socket is closed.
func (w *wire) Close() error {
	if !w.upgraded {
		return w.Conn.Close()
	}
	return nil
}

// translate reads the code of a close frame of gws (two bytes of header, then
// the payload). Gws answers a client's close with a bare code; where it closes
// by itself there is a text behind the code, and 1000 stands for any failure
// to read.
func translate(frame []byte) (code protocol.CloseCode, answer bool) {
	if len(frame) < 4 {
		return protocol.CloseNoStatus, true
	}
	code = protocol.CloseCode(binary.BigEndian.Uint16(frame[2:]))
	if code == 1000 && len(frame) > 4 {
		return protocol.CloseGone, false
	}
	return code, len(frame) == 4
}
