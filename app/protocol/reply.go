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
func OkPresent(id uint64, p Present) Frame {
	j, err := json.Marshal(p)
	if err != nil {
		panic("protocol: " + err.Error())
	}
	return newFrame(append(append(beginOk(id, len(j)), j...), '}'))
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
