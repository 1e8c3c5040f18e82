package main

// A wire is how one kind of server is spoken to. It makes what is sent and
// reads what comes; it has no state, and knows neither sockets nor frames.
type wire interface {
	// traits are what is the same for all its messages.
	traits() traits
	// request is what the handshake asks for. A token goes into a header of its
	// own.
	request(room, user string) (target, subprotocol string)
	// greet is what a member says first, nil when the handshake is enough.
	greet(room string) []byte
	// publish appends a message of the room; id comes back with what
	// acknowledges it.
	publish(b []byte, id uint64, room string, data []byte) []byte
	// read says in n what the first message in b is, and returns what is behind
	// it. It is not ok when b holds no whole message, which is only so for a
	// stream. What n holds is a part of b.
	read(b []byte, room string, n *note) (rest []byte, ok bool)
}

// traits are what the core needs to know of a wire.
type traits struct {
	opcode byte // of what clients send
	acks   bool // whether publishes are acknowledged, one by one
	stream bool // whether messages and frames have nothing to do with each other
}

// A kind is what a server may say.
type kind int

const (
	other   kind = iota
	joined       // the member is in its room
	message      // somebody said something
	reply        // a command was carried out, or refused
	refused      // the server takes something amiss, but no command
)

// A note is what one message of a server says.
type note struct {
	kind   kind
	text   []byte // all of it
	data   []byte // message: what a publisher said
	id     uint64 // reply: of the command
	failed bool   // reply: it was refused
	answer []byte // what must be answered at once, if anything

	// message and joined, where the wire has positions; else 0.
	epoch, offset uint64
}

// wires make all that this program speaks, by name; size is that of the data of
// all messages.
var wires = map[string]func(size int) wire{
	"chatring": func(size int) wire { return chatring{size} },
	"socketio": func(int) wire { return socketio{} },
	"nats":     func(int) wire { return nats{} },
	"plain":    func(int) wire { return plain{} },
}
