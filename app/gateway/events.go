package gateway

import (
	"github.com/lxzan/gws"

	"github.com/chatring/chatring/app/protocol"
)

// events is what gws calls from a socket's reading goroutine.
type events struct{}

func connOf(socket *gws.Conn) *conn { return socket.NetConn().(*wire).conn }

func (events) OnOpen(*gws.Conn)         {}
func (events) OnClose(*gws.Conn, error) {}

// OnPing answers with the ping's own payload (RFC 6455 §5.5.3).
func (events) OnPing(socket *gws.Conn, payload []byte) {
	if c := connOf(socket); c.hearControl() {
		c.session.Send(protocol.Pong(payload).Batch())
	}
}

func (events) OnPong(socket *gws.Conn, _ []byte) { connOf(socket).hearControl() }

// hearControl notes a ping or a pong. An endless fragmented message must not
// reset its own limit by pings in between: only the first control frame after a
// ping of the server does.
func (c *conn) hearControl() bool {
	n := c.controls.Add(1)
	if n > maxControls {
		c.session.Close(protocol.ClosePolicy)
		return false
	}
	if n == 1 {
		c.reading.unread = 0
	}
	c.hear()
	return true
}

// OnMessage runs one command. The message's buffer goes back to gws' pool, so
// the session keeps nothing of it.
func (events) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	c := connOf(socket)
	c.reading.unread = 0
	c.hear()
	if message.Opcode != gws.OpcodeText {
		c.session.Close(protocol.CloseNotText)
		return
	}
	c.calling = true
	c.session.Handle(message.Bytes())
	c.calling = false
}
