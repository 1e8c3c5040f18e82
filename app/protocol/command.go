package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/chatring/chatring/app/chat"
)

// A Command is what a client asks, decoded and checked: a Body of one of the
// types below, under the number that its reply will carry.
type Command struct {
	ID   uint64
	Room chat.RoomID // empty for Auth, Call, Rooms, a Forget of what is hidden and a Join of a user
	Body Body
}

// A Body is one of Publish, Edit, Delete, Describe, Join, Leave, History,
// Presence, Signal, Read, Rooms, Forget, Auth, Call.
type Body interface{ body() }

// Publish says something in a room.
type Publish struct {
	Key  string // empty when the client chose none
	Data []byte // one JSON value without line breaks
	// ReplyTo is where the message stands that this one answers; nil: none.
	ReplyTo *chat.Position
	// Mentions are users that it names, each once; at most MaxMentions.
	Mentions []chat.UserID
}

// Edit says what a message says from now on.
type Edit struct {
	Key  string
	Pos  chat.Position
	Data []byte
}

// Delete says that a message says nothing any more.
type Delete struct {
	Key string
	Pos chat.Position
}

// Describe says what a room is about.
type Describe struct {
	Key  string
	Data []byte // an object with "title" and "topic", as far as they are not empty
}

// Join enters a further room.
type Join struct {
	Options
	User chat.UserID // whose direct room with the sender it is; empty: Command.Room says which
}

// Options of a join, by command or by the address of the socket.
type Options struct {
	// Since is the last position that the client has seen; nil when it has
	// seen none, and wants none of what was said before.
	Since *chat.Position
	// Mute keeps the session's own messages from coming back to it.
	Mute bool
	// Members asks for member pushes.
	Members bool
}

// Leave leaves a room.
type Leave struct{}

// History asks for kept messages. At most one of the positions is set; none
// means the newest.
type History struct {
	Before, After *chat.Position
	Limit         int // 1 to MaxHistory
}

// Presence asks who is in a room.
type Presence struct{}

// Signal lets the members hear something that is kept nowhere.
type Signal struct{ Data []byte }

// Read moves the user's marker in a room.
type Read struct{ Pos chat.Position }

// Rooms asks for a page of the user's rooms.
type Rooms struct {
	Limit int    // 1 to MaxRooms
	After string // what the page before said of the next one; empty: the first page
}

// Forget takes a room off the user's list.
type Forget struct {
	Hidden bool // all rooms that the token does not allow; Command.Room is empty
}

// Auth shows a fresh token, before the one expires by which the session lives.
type Auth struct{ Token string }

// Call asks a module something. Its command is "<module>.<verb>".
type Call struct {
	Module, Verb string
	// Args is the whole command; the module knows its fields. It is the frame's
	// memory, and good for as long as the command runs.
	Args []byte
}

func (Call) body()     {}
func (Publish) body()  {}
func (Edit) body()     {}
func (Delete) body()   {}
func (Describe) body() {}
func (Join) body()     {}
func (Leave) body()    {}
func (History) body()  {}
func (Presence) body() {}
func (Signal) body()   {}
func (Read) body()     {}
func (Rooms) body()    {}
func (Forget) body()   {}
func (Auth) body()     {}

// History limits, in messages.
const (
	MaxHistory     = 256
	DefaultHistory = 50
)

// Limits of a page of rooms.
const (
	MaxRooms     = 200
	DefaultRooms = 50
)

// MaxMentions is how many users a message may name.
const MaxMentions = 16

// Longest descriptions of a room, in bytes.
const (
	MaxTitle = 128
	MaxTopic = 1024
)

// An Error is what a client hears instead of an answer.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Temporary says that the same command may succeed later.
	Temporary    bool  `json:"temporary,omitempty"`
	RetryAfterMS int64 `json:"retry_after_ms,omitempty"`
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

type wireCommand struct {
	ID       *uint64         `json:"id"`
	Cmd      string          `json:"cmd"`
	Room     string          `json:"room"`
	Key      *string         `json:"key"`
	Data     json.RawMessage `json:"data"`
	Since    *string         `json:"since"`
	Before   *string         `json:"before"`
	After    *string         `json:"after"`
	Limit    *int            `json:"limit"`
	Echo     *bool           `json:"echo"`
	Members  *bool           `json:"members"`
	Pos      *string         `json:"pos"`
	User     *string         `json:"user"`
	Hidden   *bool           `json:"hidden"`
	Token    string          `json:"token"`
	ReplyTo  *string         `json:"reply_to"`
	Mentions []string        `json:"mentions"`
	Title    *string         `json:"title"`
	Topic    *string         `json:"topic"`
}

// ParseCommand decodes one text frame. On an *Error the command's ID is set
// when the frame had one, so that the reply can name it. Fields that the
// command does not have are ignored.
func ParseCommand(frame []byte) (Command, *Error) {
	var w wireCommand
	if err := json.Unmarshal(frame, &w); err != nil {
		return Command{ID: w.readID()}, badJSON(err)
	}
	if w.ID == nil || *w.ID == 0 {
		return Command{}, &Error{Code: BadRequest, Message: `"id" must be a number from 1`}
	}
	c := Command{ID: *w.ID}
	if module, verb, dotted := strings.Cut(w.Cmd, "."); dotted {
		c.Body = Call{module, verb, frame}
		return c, nil
	}
	var err *Error
	if c.Body, err = w.parseBody(); err != nil {
		return c, err
	}
	if roomless(c.Body) {
		return c, nil
	}
	room, bad := chat.ParseAddress(w.Room)
	if bad != nil {
		return c, &Error{Code: BadRoom, Message: bad.Error()}
	}
	c.Room = room
	return c, nil
}

// roomless says whether a command names no room.
func roomless(b Body) bool {
	switch b := b.(type) {
	case Auth, Rooms:
		return true
	case Join:
		return b.User != ""
	case Forget:
		return b.Hidden
	}
	return false
}

// readID returns the id as far as it could be read: a field of another type
// does not keep it from being known.
func (w *wireCommand) readID() uint64 {
	if w.ID == nil {
		return 0
	}
	return *w.ID
}

func (w *wireCommand) parseBody() (Body, *Error) {
	switch w.Cmd {
	case "publish":
		return w.parsePublish()
	case "edit":
		return w.parseEdit()
	case "delete":
		return w.parseDelete()
	case "describe":
		return w.parseDescribe()
	case "join":
		return w.parseJoin()
	case "leave":
		return Leave{}, nil
	case "history":
		return w.parseHistory()
	case "presence":
		return Presence{}, nil
	case "signal":
		body, err := w.parseData()
		return Signal{Data: body}, err
	case "read":
		return w.parseRead()
	case "rooms":
		return w.parseRooms()
	case "forget":
		return w.parseForget()
	case "auth":
		if w.Token == "" {
			return nil, &Error{Code: BadRequest, Message: `"token" is missing`}
		}
		return Auth{w.Token}, nil
	case "":
		return nil, &Error{Code: BadRequest, Message: `"cmd" is missing`}
	}
	return nil, &Error{Code: UnknownCommand, Message: "commands are publish, edit, delete, describe, join, leave, history, presence, signal, read, rooms, forget and auth"}
}

func (w *wireCommand) parsePublish() (Body, *Error) {
	var p Publish
	var err *Error
	if p.Data, err = w.parseData(); err != nil {
		return nil, err
	}
	if p.Key, err = w.parseKey(); err != nil {
		return nil, err
	}
	if p.ReplyTo, err = parsePosition("reply_to", w.ReplyTo); err != nil {
		return nil, err
	}
	if p.Mentions, err = w.parseMentions(); err != nil {
		return nil, err
	}
	return p, nil
}

func (w *wireCommand) parseKey() (string, *Error) {
	if w.Key == nil {
		return "", nil
	}
	key, bad := chat.ParseKey(*w.Key)
	if bad != nil {
		return "", &Error{Code: BadKey, Message: bad.Error()}
	}
	return key, nil
}

func (w *wireCommand) parseMentions() ([]chat.UserID, *Error) {
	if len(w.Mentions) > MaxMentions {
		return nil, &Error{Code: BadRequest, Message: fmt.Sprintf(`"mentions" names more than %d users`, MaxMentions)}
	}
	var users []chat.UserID
	for _, m := range w.Mentions {
		user, bad := chat.ParseUser(m)
		if bad != nil {
			return nil, &Error{Code: BadRequest, Message: `"mentions": ` + bad.Error()}
		}
		if slices.Contains(users, user) {
			return nil, &Error{Code: BadRequest, Message: `"mentions" names a user twice`}
		}
		users = append(users, user)
	}
	return users, nil
}

func (w *wireCommand) parseEdit() (Body, *Error) {
	d, err := w.parseTarget()
	if err != nil {
		return nil, err
	}
	data, err := w.parseData()
	if err != nil {
		return nil, err
	}
	return Edit{Key: d.Key, Pos: d.Pos, Data: data}, nil
}

func (w *wireCommand) parseDelete() (Body, *Error) {
	d, err := w.parseTarget()
	if err != nil {
		return nil, err
	}
	return d, nil
}

// parseTarget reads what edit and delete have in common.
func (w *wireCommand) parseTarget() (d Delete, err *Error) {
	if d.Pos, err = w.parsePos(); err != nil {
		return d, err
	}
	d.Key, err = w.parseKey()
	return d, err
}

func (w *wireCommand) parsePos() (chat.Position, *Error) {
	if w.Pos == nil {
		return chat.Position{}, &Error{Code: BadRequest, Message: `"pos" is missing`}
	}
	pos, err := parsePosition("pos", w.Pos)
	if err != nil {
		return chat.Position{}, err
	}
	return *pos, nil
}

func (w *wireCommand) parseDescribe() (Body, *Error) {
	if w.Title == nil && w.Topic == nil {
		return nil, &Error{Code: BadRequest, Message: `"title" and "topic" are missing`}
	}
	var about Description
	for _, f := range []struct {
		name string
		from *string
		most int
		to   *string
	}{{"title", w.Title, MaxTitle, &about.Title}, {"topic", w.Topic, MaxTopic, &about.Topic}} {
		if f.from == nil {
			continue
		}
		if len(*f.from) > f.most {
			return nil, &Error{Code: BadRequest, Message: fmt.Sprintf("%q is longer than %d bytes", f.name, f.most)}
		}
		*f.to = *f.from
	}
	key, err := w.parseKey()
	if err != nil {
		return nil, err
	}
	data, bad := json.Marshal(about)
	if bad != nil {
		panic("protocol: " + bad.Error()) // two texts
	}
	return Describe{Key: key, Data: data}, nil
}

// A Description is what a publication says that describes its room.
type Description struct {
	Title string `json:"title,omitempty"`
	Topic string `json:"topic,omitempty"`
}

// ParseDescription reads what describe has put into the log.
func ParseDescription(data []byte) (d Description) {
	_ = json.Unmarshal(data, &d) // what is written by hand may say anything, or nothing
	return d
}

func (w *wireCommand) parseJoin() (Body, *Error) {
	since, err := parsePosition("since", w.Since)
	if err != nil {
		return nil, err
	}
	j := Join{Options: Options{
		Since:   since,
		Mute:    w.Echo != nil && !*w.Echo,
		Members: w.Members != nil && *w.Members,
	}}
	if w.User == nil {
		return j, nil
	}
	if w.Room != "" {
		return nil, &Error{Code: BadRequest, Message: `"room" and "user" exclude each other`}
	}
	user, bad := chat.ParseUser(*w.User)
	if bad != nil {
		return nil, &Error{Code: BadRoom, Message: `"user": ` + bad.Error()}
	}
	j.User = user
	return j, nil
}

func (w *wireCommand) parseRead() (Body, *Error) {
	pos, err := w.parsePos()
	if err != nil {
		return nil, err
	}
	return Read{pos}, nil
}

func (w *wireCommand) parseRooms() (Body, *Error) {
	limit, err := w.parseLimit(DefaultRooms, MaxRooms)
	if err != nil {
		return nil, err
	}
	r := Rooms{Limit: limit}
	if w.After != nil {
		r.After = *w.After
	}
	return r, nil
}

func (w *wireCommand) parseForget() (Body, *Error) {
	f := Forget{Hidden: w.Hidden != nil && *w.Hidden}
	if f.Hidden && w.Room != "" {
		return nil, &Error{Code: BadRequest, Message: `"room" and "hidden" exclude each other`}
	}
	return f, nil
}

func (w *wireCommand) parseHistory() (Body, *Error) {
	var h History
	var err *Error
	if h.Limit, err = w.parseLimit(DefaultHistory, MaxHistory); err != nil {
		return nil, err
	}
	if h.Before, err = parsePosition("before", w.Before); err != nil {
		return nil, err
	}
	if h.After, err = parsePosition("after", w.After); err != nil {
		return nil, err
	}
	if h.Before != nil && h.After != nil {
		return nil, &Error{Code: BadRequest, Message: `"before" and "after" exclude each other`}
	}
	return h, nil
}

func (w *wireCommand) parseLimit(unsaid, most int) (int, *Error) {
	if w.Limit == nil {
		return unsaid, nil
	}
	if *w.Limit < 1 {
		return 0, &Error{Code: BadRequest, Message: `"limit" must be a number from 1`}
	}
	return min(*w.Limit, most), nil
}

func (w *wireCommand) parseData() ([]byte, *Error) { return ParseData(w.Data) }

// ParseData checks valid JSON that is to be said, and puts it on one line, which
// is what SSE and a log need.
func ParseData(data json.RawMessage) ([]byte, *Error) {
	if len(data) == 0 {
		return nil, &Error{Code: BadRequest, Message: `"data" is missing`}
	}
	deepest, spaced := scan(data)
	if deepest > maxDepth {
		return nil, &Error{Code: BadRequest, Message: fmt.Sprintf(`"data" is nested deeper than %d`, maxDepth)}
	}
	if !spaced {
		return data, nil
	}
	var b bytes.Buffer
	b.Grow(len(data))
	if err := json.Compact(&b, data); err != nil {
		return nil, badJSON(err)
	}
	return b.Bytes(), nil
}

// maxDepth is how deep arrays and objects in "data" may be nested: other
// clients' parsers give up at some depth.
const maxDepth = 32

// scan returns how deep valid JSON is nested, and whether there is white space
// between its tokens.
func scan(j []byte) (deepest int, spaced bool) {
	now, quoted := 0, false
	for i := 0; i < len(j); i++ {
		switch c := j[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		case c <= ' ':
			spaced = true
		}
	}
	return deepest, spaced
}

func parsePosition(field string, s *string) (*chat.Position, *Error) {
	if s == nil {
		return nil, nil
	}
	p, err := chat.ParsePosition(*s)
	if err != nil {
		return nil, &Error{Code: BadPosition, Message: fmt.Sprintf("%q: %v", field, err)}
	}
	return &p, nil
}

func badJSON(err error) *Error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) && t.Field != "" {
		return &Error{Code: BadRequest, Message: fmt.Sprintf("%q must not be a %s", t.Field, t.Value)}
	}
	return &Error{Code: BadRequest, Message: "a command is one JSON object"}
}
