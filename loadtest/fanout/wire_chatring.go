package main

import (
	"bytes"
	"net/url"
	"strconv"
)

// chatring is the wire of docs/protocol.md.
type chatring struct{ size int }

func (chatring) traits() traits { return traits{opcode: opText, acks: true} }

func (chatring) request(room, user string) (target, subprotocol string) {
	target = "/ws/chat/" + room
	if user != "" {
		target += "?user=" + url.QueryEscape(user)
	}
	return target, "chatring.v1"
}

func (chatring) greet(string) []byte { return nil }

func (chatring) publish(b []byte, id uint64, room string, data []byte) []byte {
	b = strconv.AppendUint(append(b, `{"id":`...), id, 10)
	b = append(append(b, `,"cmd":"publish","room":"`...), room...)
	b = append(append(b, `","data":`...), data...)
	return append(b, '}')
}

const (
	messageHead = `{"push":"message","room":"`
	posHead     = `","pos":"`
)

// read finds in a message what is ours by where it stands: the position behind
// the room, the data at the end. Searching for it would cost as much as all else
// that this program does with a delivery.
func (c chatring) read(b []byte, room string, n *note) ([]byte, bool) {
	*n = note{text: b}
	switch {
	case bytes.HasPrefix(b, []byte(messageHead)):
		n.kind = message
		pos := len(messageHead) + len(room) + len(posHead)
		if data := len(b) - len("}") - c.size; data > pos {
			n.epoch, n.offset = position(b[pos:])
			n.data = b[data : len(b)-len("}")]
		}
	case bytes.HasPrefix(b, []byte(`{"id":`)):
		n.kind = reply
		n.id, _ = leadingNumber(b[len(`{"id":`):])
		n.failed = bytes.Contains(b, []byte(`"error":`))
	case bytes.HasPrefix(b, []byte(`{"push":"joined"`)):
		n.kind = joined
		_, pos, _ := bytes.Cut(b, []byte(`"pos":"`))
		n.epoch, n.offset = position(pos)
	case bytes.HasPrefix(b, []byte(`{"error":`)):
		n.kind = refused
	}
	return nil, true
}

// position reads the position that b begins with.
func position(b []byte) (epoch, offset uint64) {
	epoch, b = leadingNumber(b)
	if len(b) > 0 && b[0] == '-' {
		offset, _ = leadingNumber(b[1:])
	}
	return epoch, offset
}

// leadingNumber reads the decimal number that b begins with.
func leadingNumber(b []byte) (n uint64, rest []byte) {
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + uint64(b[i]-'0')
	}
	return n, b[i:]
}
