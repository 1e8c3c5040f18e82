package protocol

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/chatring/chatring/app/chat"
)

// Message is the push of a publication, encoded by hand because every
// publication passes here once per node.
func Message(p chat.Publication) Frame {
	size := maxHeader + 112 + len(p.Room) + len(p.From) + len(p.Key) + len(p.Body)
	if p.About != "" {
		size += len(`,"about":`) + len(p.About)
	}
	b := appendHead(make([]byte, maxHeader, size), p)
	if p.About != "" {
		b = append(b, `,"about":`...)
		b = append(b, p.About...)
	}
	return appendData(b, p.Body)
}

// Changed is the push of a publication in its latest state: a message with what
// it says since its last edit; what was deleted, and the edits of it, with
// nothing.
func Changed(p chat.Publication, c chat.Change) Frame {
	b := appendHead(make([]byte, maxHeader, maxHeader+256+len(p.Room)+len(p.From)+len(p.Key)+len(p.About)+len(c.Body)), p)
	about, err := chat.ParseAbout(p.About)
	if p.About != "" && (err != nil || !c.Deleted || !about.IsMessage()) { // whom a message answered and named is gone with it
		b = append(b, `,"about":`...)
		b = append(b, p.About...)
	}
	if c.Deleted {
		b = append(b, `,"deleted":{"pos":"`...)
	} else {
		b = append(b, `,"edited":{"pos":"`...)
	}
	b = c.Position.Append(b)
	b = append(b, `","ts":`...)
	b = strconv.AppendInt(b, c.At.UnixMilli(), 10)
	if !c.Deleted {
		return appendData(append(b, '}'), c.Body)
	}
	b = append(b, `,"by":`...)
	b = appendString(b, string(c.By))
	return appendData(append(b, '}'), []byte("null"))
}

func appendHead(b []byte, p chat.Publication) []byte {
	b = append(b, `{"push":"message","room":"`...)
	b = append(b, p.Room...)
	b = append(b, `","pos":"`...)
	b = p.Position.Append(b)
	b = append(b, `","from":`...)
	b = appendString(b, string(p.From))
	b = append(b, `,"key":`...)
	b = appendString(b, p.Key)
	b = append(b, `,"ts":`...)
	return strconv.AppendInt(b, p.At.UnixMilli(), 10)
}

func appendData(b, data []byte) Frame {
	b = append(b, `,"data":`...)
	b = append(b, data...)
	return newFrame(append(b, '}'))
}

// ParseMessage reads the publication back from its push, in which it stands as
// it was said.
func ParseMessage(f Frame) (chat.Publication, error) {
	var m struct {
		Room  chat.RoomID     `json:"room"`
		Pos   string          `json:"pos"`
		From  chat.UserID     `json:"from"`
		Key   string          `json:"key"`
		TS    int64           `json:"ts"`
		About json.RawMessage `json:"about"`
		Data  json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(f.JSON(), &m); err != nil {
		return chat.Publication{}, fmt.Errorf("message push: %w", err)
	}
	pos, err := chat.ParsePosition(m.Pos)
	if err != nil {
		return chat.Publication{}, fmt.Errorf("message push: %w", err)
	}
	return chat.Publication{
		Draft:    chat.Draft{Room: m.Room, From: m.From, Key: m.Key, Body: m.Data, About: string(m.About)},
		Position: pos,
		At:       time.UnixMilli(m.TS),
	}, nil
}

// SignalPush is the push of a signal.
func SignalPush(room chat.RoomID, from chat.UserID, body []byte) Frame {
	b := make([]byte, maxHeader, maxHeader+64+len(room)+len(from)+len(body))
	b = append(b, `{"push":"signal","room":"`...)
	b = append(b, room...)
	b = append(b, `","from":`...)
	b = appendString(b, string(from))
	b = append(b, `,"data":`...)
	b = append(b, body...)
	b = append(b, '}')
	return newFrame(b)
}

// appendString appends s as a JSON string. User ids and keys are printable, so
// only quotes, backslashes and invalid bytes need care.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		case r == utf8.RuneError && n == 1:
			b = append(b, "\uFFFD"...)
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return append(b, '"')
}

// Hello is the first push of every connection.
type Hello struct {
	User    chat.UserID `json:"user"`
	Session string      `json:"session"`
	Shard   string      `json:"shard"`  // APPID of the node
	PingS   int         `json:"ping_s"` // seconds between the server's pings
	// ExpiresInMS is when the connection ends unless a fresh token is shown; 0:
	// never.
	ExpiresInMS int64 `json:"expires_in_ms,omitempty"`
	// Inbox is the user's own room.
	Inbox chat.RoomID `json:"inbox"`
}

// Joined says where in the room's log the session stands from now on.
type Joined struct {
	Room chat.RoomID `json:"room"`
	// Pos is the room's last position. What follows it comes as message
	// pushes; what the session missed comes as Missed of them, first.
	Pos string `json:"pos"`
	// Recovered says that nothing is missing after the position that the join
	// gave as since. It is false when it gave none.
	Recovered bool `json:"recovered"`
	Missed    int  `json:"missed"`
	// What the room is about, as far as somebody has said it.
	Title string `json:"title,omitempty"`
	Topic string `json:"topic,omitempty"`
}

// Left says that the session is in a room no longer, and why.
type Left struct {
	Room chat.RoomID `json:"room"`
	Code Code        `json:"code"`
}

// Gap says that the messages between two positions are not kept any more.
type Gap struct {
	Room   chat.RoomID `json:"room"`
	After  string      `json:"after"`
	Before string      `json:"before"`
}

// Reset says that the log has lost its tail and goes on in another epoch.
// Positions up to Lost mean nothing any more.
type Reset struct {
	Room chat.RoomID `json:"room"`
	// Lost is the last position that this node had seen.
	Lost string `json:"lost"`
	// Pos is the first position of the epoch that begins.
	Pos string `json:"pos"`
}

// Member says that somebody came or went.
type Member struct {
	Room  chat.RoomID `json:"room"`
	User  chat.UserID `json:"user"`
	Event string      `json:"event"` // MemberJoin or MemberLeave
}

// Events of a Member push.
const (
	MemberJoin  = "join"
	MemberLeave = "leave"
)

// ReadUpTo says that the user has read a room up to a position, by another session
// perhaps.
type ReadUpTo struct {
	Room chat.RoomID `json:"room"`
	Pos  string      `json:"pos"`
}

// Announcement is what a service tells everybody who is connected.
type Announcement struct {
	From chat.UserID     `json:"from"`
	TS   int64           `json:"ts"` // milliseconds of the log's clock
	Data json.RawMessage `json:"data"`
}

// Drain says that this node is about to close the connection with 1012, and
// within which span of time, drawn at random, to come back.
type Drain struct {
	ReconnectMS [2]int64 `json:"reconnect_ms"`
}

// Friend says how another user stands to the one who hears it. It is a push, and an
// entry of the answer to friends.list.
type Friend struct {
	User chat.UserID `json:"user"`
	// State is friend, requested, asked, blocked or none.
	State string `json:"state"`
	// Status is that of a friend: online, away or offline.
	Status string `json:"status,omitempty"`
	// LastSeen is when a friend who is offline went, in milliseconds since 1970; 0: it
	// is not known.
	LastSeen int64 `json:"last_seen,omitempty"`
}

// push names a struct type on the wire.
func push(name string, v any) Frame {
	j, err := json.Marshal(v)
	if err != nil {
		panic("protocol: " + err.Error()) // only our own plain structs come here
	}
	b := make([]byte, maxHeader, maxHeader+len(j)+len(name)+12)
	b = append(b, `{"push":"`...)
	b = append(b, name...)
	b = append(b, `",`...)
	b = append(b, j[1:]...)
	return newFrame(b)
}

func (p Hello) Frame() Frame        { return push("hello", p) }
func (p Joined) Frame() Frame       { return push("joined", p) }
func (p Left) Frame() Frame         { return push("left", p) }
func (p Gap) Frame() Frame          { return push("gap", p) }
func (p Reset) Frame() Frame        { return push("reset", p) }
func (p Member) Frame() Frame       { return push("member", p) }
func (p Drain) Frame() Frame        { return push("drain", p) }
func (p Announcement) Frame() Frame { return push("announcement", p) }
func (p Friend) Frame() Frame       { return push("friend", p) }

// Frame is the push "read".
func (p ReadUpTo) Frame() Frame { return push("read", p) }

// Relay makes a frame of a push that another node has encoded.
func Relay(text []byte) Frame {
	return newFrame(append(make([]byte, maxHeader, maxHeader+len(text)), text...))
}
