package main

// plain is the least that a server of rooms can do: GET /ROOM joins, which it
// says by the text "joined"; what a client sends comes to all members of the
// room as it is, to the sender too. Nothing is acknowledged.
type plain struct{}

func (plain) traits() traits { return traits{opcode: opText} }

func (plain) request(room, _ string) (target, subprotocol string) { return "/" + room, "" }

func (plain) greet(string) []byte { return nil }

func (plain) publish(b []byte, _ uint64, _ string, data []byte) []byte { return append(b, data...) }

func (plain) read(b []byte, _ string, n *note) ([]byte, bool) {
	*n = note{kind: message, text: b, data: b}
	if string(b) == "joined" {
		n.kind = joined
	}
	return nil, true
}
