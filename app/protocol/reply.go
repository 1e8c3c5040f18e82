package protocol

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/chatring/chatring/app/chat"
)

// Ok answers the commands that have nothing else to say.
func Ok(id uint64) Frame { return newFrame(append(beginOk(id, 0), "{}}"...)) }

// OkAt answers publish and join with a position.
func OkAt(id uint64, pos chat.Position) Frame {
	b := append(beginOk(id, 64), `{"pos":"`...)
	b = pos.Append(b)
	return newFrame(append(b, `"}}`...))
}

// OkJoined answers the join of a user's direct room: its name, and its last
// position.
func OkJoined(id uint64, room chat.RoomID, pos chat.Position) Frame {
	b := append(beginOk(id, 80+len(room)), `{"room":"`...)
	b = append(b, room...)
	b = append(b, `","pos":"`...)
	b = pos.Append(b)
	return newFrame(append(b, `"}}`...))
}

// RoomPage is the answer to rooms.
type RoomPage struct {
	// Rooms are those that the user keeps, the one that was last spoken in first.
	Rooms []RoomRow `json:"rooms"`
	// Next is where the next page begins, for Rooms.After; empty: there is none.
	Next string `json:"next,omitempty"`
	// Hidden counts those that the token does not allow; they are on no page.
	Hidden int `json:"hidden,omitempty"`
}

// RoomRow is a room that a user keeps.
type RoomRow struct {
	Room chat.RoomID `json:"room"`
	// Unread counts the messages behind Read; AtMost says that there may be fewer.
	Unread int  `json:"unread"`
	AtMost bool `json:"at_most,omitempty"`
	// Read is the user's marker, Pos the room's last position, TS the time of what
	// stands there, in milliseconds.
	Read string `json:"read"`
	Pos  string `json:"pos"`
	TS   int64  `json:"ts,omitempty"`
	Description
}

// Size is what the row takes on the wire, in bytes.
func (r RoomRow) Size() int { return len(marshal(r)) }

// OkAuth answers auth: so many milliseconds the connection may live on.
func OkAuth(id uint64, expiresInMS int64) Frame {
	b := append(beginOk(id, 40), `{"expires_in_ms":`...)
	b = strconv.AppendInt(b, expiresInMS, 10)
	return newFrame(append(b, "}}"...))
}

// OkHistory answers history: the message pushes themselves, oldest first, and
// whether there are more beyond the limit in the direction asked. The answer
// stands in page, which grows as it has to.
func OkHistory(page *[]byte, id uint64, messages []Frame, more bool) Frame {
	size := maxHeader + 100
	for _, m := range messages {
		size += m.Size() + 1
	}
	b := appendOk(slices.Grow((*page)[:0], size)[:maxHeader], id)
	b = append(b, `{"messages":[`...)
	for i, m := range messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, m.JSON()...)
	}
	b = append(b, `],"more":`...)
	b = strconv.AppendBool(b, more)
	b = append(b, "}}"...)
	*page = b
	return newFrame(b)
}

// Present is the answer to presence.
type Present struct {
	// Users are the members, each once, in the order of their ids; at most
	// MaxPresent of them.
	Users []PresentUser `json:"users"`
	// Total counts the users, also those that Users has no place for.
	Total int `json:"total"`
	// Watchers counts the read-only sessions.
	Watchers int `json:"watchers"`
	// Complete is false when a node that serves the room did not answer.
	Complete bool `json:"complete"`
}

// PresentUser is one user of a room.
type PresentUser struct {
	User     chat.UserID `json:"user"`
	Sessions int         `json:"sessions"`
}

// MaxPresent is how many users an answer to presence names.
const MaxPresent = 1000

// OkPresent answers presence.
func OkPresent(id uint64, p Present) Frame { return okStruct(id, p) }

// OkRooms answers rooms.
func OkRooms(id uint64, p RoomPage) Frame { return okStruct(id, p) }

func okStruct(id uint64, v any) Frame { return OkJSON(id, marshal(v)) }

func marshal(v any) []byte {
	j, err := json.Marshal(v)
	if err != nil {
		panic("protocol: " + err.Error()) // only our own plain structs come here
	}
	return j
}

// OkJSON answers what a module was asked; answer is one JSON value.
func OkJSON(id uint64, answer []byte) Frame {
	return newFrame(append(append(beginOk(id, len(answer)), answer...), '}'))
}

func beginOk(id uint64, size int) []byte {
	return appendOk(make([]byte, maxHeader, maxHeader+size+40), id)
}

func appendOk(b []byte, id uint64) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendUint(b, id, 10)
	return append(b, `,"ok":`...)
}

// Fail answers a command that failed. An id of 0 is left out: the command had
// none that could be read.
func Fail(id uint64, e *Error) Frame {
	j, err := json.Marshal(struct {
		ID    uint64 `json:"id,omitempty"`
		Error *Error `json:"error"`
	}{id, e})
	if err != nil {
		panic("protocol: " + err.Error())
	}
	return newFrame(append(make([]byte, maxHeader, maxHeader+len(j)), j...))
}
