package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A member is a raw WebSocket in one room. listen is its only reader; write may
// be called from anywhere.
type member struct {
	conn net.Conn

	// Owned by listen.
	buf        []byte // buf[from:to] is not scanned yet
	from, to   int
	epoch      uint64
	offset     uint64 // of the last position
	begun      bool   // a position was heard
	sample     bool   // this one times deliveries
	times      []time.Duration
	ackTimes   []time.Duration
	disordered int
	errors     int // error replies

	heard  atomic.Int64 // messages
	joined chan struct{}

	writing sync.Mutex
	sent    sync.Map // id → time.Time, of publishes that are not answered
	shared  *shared
}

// shared is what all members of a run know.
type shared struct {
	measuring atomic.Bool // whether times are kept
}

// dial joins a room.
func dial(ctx context.Context, base, room, user string, sh *shared) (*member, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "ws" {
		return nil, fmt.Errorf("%q is no ws:// address", base)
	}
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	m := &member{conn: conn, buf: make([]byte, 2048), joined: make(chan struct{}), shared: sh}
	if err := m.shake(u.Host, room, user); err != nil {
		conn.Close()
		return nil, fmt.Errorf("join %s: %w", room, err)
	}
	return m, nil
}

// shake does the handshake. The accept key is not checked: this program measures.
func (m *member) shake(host, room, user string) error {
	m.conn.SetDeadline(time.Now().Add(10 * time.Second))
	defer m.conn.SetDeadline(time.Time{})
	_, err := fmt.Fprintf(m.conn, "GET /ws/chat/%s?user=%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chatring.v1\r\n\r\n",
		room, url.QueryEscape(user), host)
	if err != nil {
		return err
	}
	for {
		n, err := m.conn.Read(m.buf[m.to:])
		if err != nil {
			return err
		}
		m.to += n
		if head, _, ok := bytes.Cut(m.buf[:m.to], []byte("\r\n\r\n")); ok {
			status, _, _ := strings.Cut(string(head), "\r\n")
			if !strings.Contains(status, " 101 ") {
				return errors.New(status)
			}
			m.from = len(head) + 4
			return nil
		}
		if m.to == len(m.buf) {
			return errors.New("no end of the answer")
		}
	}
}

// listen scans frames until the connection ends. A connection that this
// program closes ends without an error.
func (m *member) listen() error {
	for {
		for {
			opcode, payload, ok := m.frame()
			if !ok {
				break
			}
			switch opcode {
			case 1:
				m.text(payload)
			case 8:
				code := 0
				if len(payload) >= 2 {
					code = int(binary.BigEndian.Uint16(payload))
				}
				return fmt.Errorf("closed with %d", code)
			case 9:
				if err := m.write(10, payload); err != nil {
					return err
				}
			}
		}
		m.makeRoom()
		n, err := m.conn.Read(m.buf[m.to:])
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		m.to += n
	}
}

// makeRoom moves what is left to the front, and grows the buffer when a busy
// reader fills it.
func (m *member) makeRoom() {
	left := m.to - m.from
	if left == 0 {
		m.from, m.to = 0, 0
	}
	if m.to < len(m.buf) {
		return
	}
	next := m.buf
	if len(m.buf) < 64<<10 || left == len(m.buf) {
		next = make([]byte, 4*len(m.buf))
	}
	copy(next, m.buf[m.from:m.to])
	m.buf, m.from, m.to = next, 0, left
}

// frame takes one whole frame out of the buffer.
func (m *member) frame() (opcode byte, payload []byte, ok bool) {
	b := m.buf[m.from:m.to]
	if len(b) < 2 {
		return 0, nil, false
	}
	size, head := int(b[1]&0x7f), 2
	switch size {
	case 126:
		if len(b) < 4 {
			return 0, nil, false
		}
		size, head = int(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return 0, nil, false
		}
		size, head = int(binary.BigEndian.Uint64(b[2:])), 10
	}
	if len(b) < head+size {
		return 0, nil, false
	}
	m.from += head + size
	return b[0] & 0x0f, b[head : head+size], true
}

var (
	messagePrefix = []byte(`{"push":"message"`)
	joinedPrefix  = []byte(`{"push":"joined"`)
	replyPrefix   = []byte(`{"id":`)
	errorPart     = []byte(`"error":`)
	posPart       = []byte(`"pos":"`)
)

func (m *member) text(b []byte) {
	switch {
	case bytes.HasPrefix(b, messagePrefix):
		m.heard.Add(1)
		epoch, offset := positionIn(b)
		if m.begun && (epoch != m.epoch || offset != m.offset+1) {
			m.disordered++
		}
		m.epoch, m.offset, m.begun = epoch, offset, true
		if m.sample && m.shared.measuring.Load() {
			if at, ok := stampIn(b); ok {
				m.times = append(m.times, time.Since(start)-at)
			}
		}
	case bytes.HasPrefix(b, replyPrefix):
		m.reply(b)
	case bytes.HasPrefix(b, joinedPrefix):
		m.epoch, m.offset = positionIn(b)
		m.begun = m.epoch != 0
		close(m.joined)
	}
}

func (m *member) reply(b []byte) {
	id, i := uint64(0), len(replyPrefix)
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		id = id*10 + uint64(b[i]-'0')
	}
	if bytes.Contains(b, errorPart) {
		m.errors++
	}
	if at, ok := m.sent.LoadAndDelete(id); ok && m.shared.measuring.Load() {
		m.ackTimes = append(m.ackTimes, time.Since(at.(time.Time)))
	}
}

// positionIn reads the position of a push, which stands near its beginning.
func positionIn(b []byte) (epoch, offset uint64) {
	i := bytes.Index(b, posPart)
	if i < 0 {
		return 0, 0
	}
	for i += len(posPart); i < len(b) && b[i] != '-'; i++ {
		epoch = epoch*10 + uint64(b[i]-'0')
	}
	for i++; i < len(b) && b[i] != '"'; i++ {
		offset = offset*10 + uint64(b[i]-'0')
	}
	return epoch, offset
}

// start is what stamps in messages count from.
var start = time.Now()

// stampPart begins a message's data, with the nanoseconds since start.
const stampPart = `"data":{"t":"`

// data makes a message's data: a stamp of 19 digits, filled up to size bytes.
func data(size int) string {
	s := fmt.Sprintf(`{"t":"%019d","p":"`, time.Since(start).Nanoseconds())
	return s + strings.Repeat("x", max(size-len(s)-2, 0)) + `"}`
}

func stampIn(b []byte) (time.Duration, bool) {
	i := bytes.LastIndex(b, []byte(stampPart))
	if i < 0 || len(b) < i+len(stampPart)+19 {
		return 0, false
	}
	n := int64(0)
	for _, c := range b[i+len(stampPart) : i+len(stampPart)+19] {
		n = n*10 + int64(c-'0')
	}
	return time.Duration(n), true
}

// publish says a message of size bytes without waiting for the answer.
func (m *member) publish(id uint64, room string, size int) error {
	m.sent.Store(id, time.Now())
	return m.write(1, fmt.Appendf(nil, `{"id":%d,"cmd":"publish","room":"%s","data":%s}`, id, room, data(size)))
}

// write sends one frame, masked with zeros (RFC 6455 §5.3 asks for a mask from
// clients; zeros leave the payload as it is).
func (m *member) write(opcode byte, payload []byte) error {
	b := make([]byte, 0, len(payload)+8)
	b = append(b, 0x80|opcode)
	if len(payload) < 126 {
		b = append(b, 0x80|byte(len(payload)))
	} else {
		b = append(b, 0x80|126, byte(len(payload)>>8), byte(len(payload)))
	}
	b = append(b, 0, 0, 0, 0)
	b = append(b, payload...)
	m.writing.Lock()
	defer m.writing.Unlock()
	m.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := m.conn.Write(b)
	return err
}
