package gateway

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// An encoder turns frames into server-sent events (HTML, "Server-sent events"). The
// same frame becomes the same bytes each time.
type encoder struct {
	// Static after construction.
	room    chat.RoomID // whose positions are the events' ids
	message []byte      // how a message of the room begins, up to its position
	draw    float64     // where in each span of time the client is to come back, from 0 to 1
}

func newEncoder(room chat.RoomID, draw float64) encoder {
	return encoder{room: room, message: []byte(`{"push":"message","room":"` + string(room) + `","pos":"`), draw: draw}
}

// heartbeat is a comment, which clients read over.
const heartbeat = ":\n\n"

// append appends the event of a frame. A push "message" is the default event, so that a
// page hears it by onmessage; any other has its name.
func (e *encoder) append(b []byte, f protocol.Frame) []byte {
	if f.IsControl() {
		return append(b, heartbeat...)
	}
	text := f.JSON()
	if after, ok := bytes.CutPrefix(text, e.message); ok {
		pos, _, _ := bytes.Cut(after, []byte{'"'})
		return appendData(appendField(b, "id", pos), text)
	}
	name, _ := bytes.CutPrefix(text, []byte(`{"push":"`))
	name, _, _ = bytes.Cut(name, []byte{'"'})
	if string(name) == "message" { // of another room
		return appendData(b, text)
	}
	switch string(name) {
	case "joined", "reset":
		if pos, ok := e.position(text); ok {
			b = appendField(b, "id", pos.Append(nil))
		}
	case "drain":
		b = appendRetry(b, e.comeBack(text))
	}
	return appendData(appendField(b, "event", name), text)
}

// position is where a client stands after a join, or right before what comes behind a
// reset; false: it is of another room, or what was missed is still to come.
func (e *encoder) position(push []byte) (pos chat.Position, ok bool) {
	var p struct {
		Push   string
		Room   chat.RoomID
		Pos    string
		Missed int
	}
	if json.Unmarshal(push, &p) != nil || p.Room != e.room || p.Missed > 0 {
		return pos, false
	}
	pos, err := chat.ParsePosition(p.Pos)
	if p.Push == "reset" {
		pos = pos.Prev()
	}
	return pos, err == nil
}

// comeBack draws when to come back after a drain, in milliseconds.
func (e *encoder) comeBack(push []byte) int64 {
	var d protocol.Drain
	_ = json.Unmarshal(push, &d) // our own
	from, to := d.ReconnectMS[0], d.ReconnectMS[1]
	return from + int64(e.draw*float64(to-from))
}

func appendRetry(b []byte, ms int64) []byte {
	return appendField(b, "retry", strconv.AppendInt(nil, ms, 10))
}

func appendField(b []byte, name string, value []byte) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), '\n')
}

// appendData ends an event. A line break would end the field; in a JSON text it can
// only stand for a space.
func appendData(b, text []byte) []byte {
	b = append(b, "data: "...)
	from := len(b)
	b = append(b, text...)
	if bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		for i, c := range b[from:] {
			if c == '\n' || c == '\r' {
				b[from+i] = ' '
			}
		}
	}
	return append(b, "\n\n"...)
}

// closeEvent is the last event of a stream.
func closeEvent(code protocol.CloseCode) []byte {
	text, _ := json.Marshal(struct {
		Code   protocol.CloseCode `json:"code"`
		Reason string             `json:"reason"`
	}{code, code.Reason()}) // a plain struct
	return appendData(appendField(nil, "event", []byte("close")), text)
}
