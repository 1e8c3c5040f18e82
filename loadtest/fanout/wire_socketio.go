package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// socketio is Socket.IO 4 (https://socket.io/docs/v4/socket-io-protocol) over
// WebSocket alone, with a server that answers the event "join" by "joined",
// acknowledges "publish", and passes it on to the room as "message".
type socketio struct{}

func (socketio) traits() traits { return traits{opcode: opText, acks: true} }

func (socketio) request(_, _ string) (target, subprotocol string) {
	return "/socket.io/?EIO=4&transport=websocket", ""
}

// greet connects to the namespace; only then may the room be joined.
func (socketio) greet(string) []byte { return []byte("40") }

func (socketio) publish(b []byte, id uint64, room string, data []byte) []byte {
	b = strconv.AppendUint(append(b, "42"...), id, 10)
	b = append(append(b, `["publish","`...), room...)
	b = append(append(b, `",`...), data...)
	return append(b, ']')
}

// read goes by the packet's types: the first digit is Engine.IO's (2 is a ping,
// 4 a message), the second Socket.IO's (0 connect, 1 disconnect, 2 event, 3
// acknowledgement, 4 connect error).
func (socketio) read(b []byte, room string, n *note) ([]byte, bool) {
	*n = note{text: b}
	switch {
	case bytes.HasPrefix(b, []byte(`42["message",`)):
		n.kind = message
		n.data = b[len(`42["message",`) : len(b)-1]
	case bytes.HasPrefix(b, []byte("43")):
		n.kind = reply
		n.id, _ = leadingNumber(b[2:])
	case bytes.HasPrefix(b, []byte("2")):
		n.answer = []byte("3")
	case bytes.HasPrefix(b, []byte("40")):
		n.answer = fmt.Appendf(nil, `42["join","%s"]`, room)
	case bytes.HasPrefix(b, []byte(`42["joined"`)):
		n.kind = joined
	case bytes.HasPrefix(b, []byte("41")), bytes.HasPrefix(b, []byte("44")):
		n.kind = refused
	}
	return nil, true
}
