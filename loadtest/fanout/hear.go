package main

import (
	"bytes"
	"errors"
	"fmt"
)

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

// streamed hears whole server-sent events, and returns what is behind them.
func (l *loop) streamed(m *member, b []byte) ([]byte, error) {
	for m.fd >= 0 {
		event, rest, whole := bytes.Cut(b, []byte("\n\n"))
		if !whole {
			return b, nil
		}
		b = rest
		head, data, _ := bytes.Cut(event, []byte("data: "))
		if bytes.HasPrefix(head, []byte("event: close")) {
			return nil, fmt.Errorf("closed with %s", data)
		}
		if len(data) > 0 {
			l.hear(m, data)
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
