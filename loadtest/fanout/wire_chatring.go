package main

import (
	"bytes"
	"net/url"
	"strconv"
)

// chatring is the wire of docs/protocol.md.
type chatring struct{}

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

func (chatring) read(b []byte, _ string, n *note) ([]byte, bool) {
	*n = note{text: b}
	switch {
	case bytes.HasPrefix(b, []byte(`{"push":"message"`)):
		n.kind = message
		n.epoch, n.offset = positionIn(b)
		if _, data, ok := bytes.Cut(b, []byte(`"data":`)); ok {
			n.data = data[:len(data)-1]
		}
	case bytes.HasPrefix(b, []byte(`{"id":`)):
		n.kind = reply
		n.id, _ = leadingNumber(b[len(`{"id":`):])
		n.failed = bytes.Contains(b, []byte(`"error":`))
	case bytes.HasPrefix(b, []byte(`{"push":"joined"`)):
		n.kind = joined
		n.epoch, n.offset = positionIn(b)
	case bytes.HasPrefix(b, []byte(`{"error":`)):
		n.kind = refused
	}
	return nil, true
}

// positionIn reads the position of a push.
func positionIn(b []byte) (epoch, offset uint64) {
	_, b, _ = bytes.Cut(b, []byte(`"pos":"`))
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
