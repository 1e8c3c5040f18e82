package gateway

import (
	"github.com/lxzan/gws"

	"github.com/chatring/chatring/app/protocol"
)

// events is what gws calls from a socket's reading goroutine.
type events struct{}

func socketOf(c *gws.Conn) *socket { return c.NetConn().(*wire).socket }

func (events) OnOpen(*gws.Conn)         {}
func (events) OnClose(*gws.Conn, error) {}

// OnPing answers with the ping's own payload (RFC 6455 §5.5.3).
func (events) OnPing(c *gws.Conn, payload []byte) {
	if s := socketOf(c); s.hearControl() {
		s.session.Send(protocol.Pong(payload).Batch())
	}
}

func (events) OnPong(c *gws.Conn, _ []byte) { socketOf(c).hearControl() }

// hearControl notes a ping or a pong. An endless fragmented message must not
// reset its own limit by pings in between: only the first control frame after a
// ping of the server does.
func (s *socket) hearControl() bool {
	n := s.controls.Add(1)
	if n > maxControls {
		s.session.Close(protocol.ClosePolicy)
		return false
	}
	if n == 1 {
		s.reading.unread = 0
	}
	s.hear()
	return true
}

// OnMessage runs one command. The message's buffer goes back to gws' pool, so
// the session keeps nothing of it.
func (events) OnMessage(c *gws.Conn, message *gws.Message) {
	defer message.Close()
	s := socketOf(c)
	s.reading.unread = 0
	s.hear()
	if message.Opcode != gws.OpcodeText {
		s.session.Close(protocol.CloseNotText)
		return
	}
	s.calling = true
	s.session.Handle(message.Bytes())
	s.calling = false
}
