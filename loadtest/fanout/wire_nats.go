package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// nats is the NATS client protocol
// (https://docs.nats.io/reference/reference-protocols/nats-protocol) inside
// binary frames, which may hold several messages, and cut them anywhere. A room
// is a subject.
type nats struct{}

func (nats) traits() traits { return traits{opcode: opBinary, stream: true} }

func (nats) request(_, _ string) (target, subprotocol string) { return "/", "" }

// greet subscribes. The server carries out what a client says in order, so that
// the answer to the ping says that the room is joined.
func (nats) greet(room string) []byte {
	return fmt.Appendf(nil, "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"lang\":\"go\",\"version\":\"1\"}\r\n"+
		"SUB %s 1\r\nPING\r\n", room)
}

func (nats) publish(b []byte, _ uint64, room string, data []byte) []byte {
	b = append(append(b, "PUB "...), room...)
	b = strconv.AppendInt(append(b, ' '), int64(len(data)), 10)
	b = append(append(b, "\r\n"...), data...)
	return append(b, "\r\n"...)
}

func (nats) read(b []byte, _ string, n *note) ([]byte, bool) {
	*n = note{}
	end := bytes.IndexByte(b, '\n') + 1
	if end == 0 {
		return b, false
	}
	switch {
	case bytes.HasPrefix(b, []byte("MSG ")):
		line := bytes.TrimRight(b[:end], "\r\n")
		size, _ := leadingNumber(line[bytes.LastIndexByte(line, ' ')+1:])
		if uint64(len(b)-end) < size+2 { // and its line's end
			return b, false
		}
		n.kind = message
		n.data = b[end : end+int(size)]
		end += int(size) + 2
	case bytes.HasPrefix(b, []byte("PING")):
		n.answer = []byte("PONG\r\n")
	case bytes.HasPrefix(b, []byte("PONG")):
		n.kind = joined
	case bytes.HasPrefix(b, []byte("-ERR")):
		n.kind = refused
	}
	n.text = b[:end]
	return b[end:], true
}
