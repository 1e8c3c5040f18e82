// Package ingress is what backends say over a stream: it reads their entries
// strictly, and says each in a room or in the inboxes of users. It knows neither
// Redis nor sockets.
package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// ErrPoison says that an entry can never be handled.
var ErrPoison = errors.New("it can never be said")

// MaxUsers is how many users one entry may name.
const MaxUsers = 1000

// posts is how many appends of one entry are out at once.
const posts = 64

// Poster appends to a room that this node need not serve. Its errors wrap those
// of package chat.
type Poster interface {
	Post(ctx context.Context, d chat.Draft) (chat.Publication, error)
}

// Ingress handles entries. Its methods may be called concurrently.
type Ingress struct {
	poster  Poster
	maxData int // bytes
}

// New builds an Ingress for data up to a length in bytes.
func New(p Poster, maxData int) *Ingress { return &Ingress{p, maxData} }

// A message is what an entry says, and where.
type message struct {
	rooms []chat.RoomID
	from  chat.UserID
	key   string
	body  []byte
}

// Lanes names the rooms of an entry: what is said in one room stays in order.
func (in *Ingress) Lanes(fields map[string]string) []string {
	rooms, err := parseRooms(fields)
	if err != nil {
		return nil // Handle says why
	}
	lanes := make([]string, len(rooms))
	for i, room := range rooms {
		lanes[i] = string(room)
	}
	return lanes
}

// Handle says what an entry has to say. The error is ErrPoison, with the
// reason, when that can never be; chat.ErrUnavailable when it cannot be for the
// moment. An entry that is handled twice is said once, as long as its rooms
// remember its key.
func (in *Ingress) Handle(ctx context.Context, id string, fields map[string]string) error {
	m, err := parse(id, fields, in.maxData)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPoison, err)
	}
	errs := make([]error, len(m.rooms))
	var posting sync.WaitGroup
	free := make(chan struct{}, posts)
	for i, room := range m.rooms {
		free <- struct{}{}
		posting.Go(func() {
			defer func() { <-free }()
			errs[i] = in.post(ctx, chat.Draft{Room: room, From: m.from, Key: m.key, Body: m.body})
		})
	}
	posting.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, ErrPoison) {
			return err // what can still be said comes first
		}
	}
	return errors.Join(errs...)
}

func (in *Ingress) post(ctx context.Context, d chat.Draft) error {
	_, err := in.poster.Post(ctx, d)
	switch {
	case errors.Is(err, chat.ErrConflict):
		return fmt.Errorf("%w: %w in %s", ErrPoison, chat.ErrConflict, d.Room)
	case err != nil:
		return fmt.Errorf("post to %s: %w", d.Room, err)
	}
	return nil
}

// parse reads an entry. Its errors are for those who wrote it.
func parse(id string, fields map[string]string, maxData int) (m message, err error) {
	for name, value := range fields {
		switch name {
		case "room", "user", "users", "data", "key", "from":
		default:
			return m, fmt.Errorf("there is no field %q", clip(name))
		}
		if !utf8.ValidString(value) {
			return m, fmt.Errorf("%s is not UTF-8", name)
		}
	}
	if m.rooms, err = parseRooms(fields); err != nil {
		return m, err
	}
	from, named := fields["from"]
	if !named {
		from = "ingress"
	}
	if _, err := chat.ParseUser(from); err != nil {
		return m, fmt.Errorf("from: %w", err)
	}
	if m.from, err = chat.ParseUser("service:" + from); err != nil {
		return m, fmt.Errorf("from, with service: before it: %w", err)
	}
	key, keyed := fields["key"]
	if !keyed {
		key = "entry:" + id
	}
	if m.key, err = chat.ParseKey(key); err != nil {
		return m, fmt.Errorf("key: %w", err)
	}
	m.body, err = parseData(fields, maxData)
	return m, err
}

// parseRooms says where an entry is to be said: exactly one of its fields does.
func parseRooms(fields map[string]string) ([]chat.RoomID, error) {
	room, toRoom := fields["room"]
	user, toUser := fields["user"]
	users, toUsers := fields["users"]
	switch {
	case toRoom && !toUser && !toUsers:
		r, err := chat.ParseRoom(room)
		if err != nil {
			return nil, fmt.Errorf("room: %w", err)
		}
		return []chat.RoomID{r}, nil
	case toUser && !toRoom && !toUsers:
		u, err := parseUser(user)
		if err != nil {
			return nil, fmt.Errorf("user: %w", err)
		}
		return []chat.RoomID{chat.Inbox(u)}, nil
	case toUsers && !toRoom && !toUser:
		return parseUsers(users)
	}
	return nil, errors.New("it needs one field of room, user and users, and no more")
}

func parseUsers(list string) ([]chat.RoomID, error) {
	var names []string
	if err := json.Unmarshal([]byte(list), &names); err != nil {
		return nil, errors.New(`users is no JSON list of names, such as ["alice","bob"]`)
	}
	if len(names) == 0 || len(names) > MaxUsers {
		return nil, fmt.Errorf("users names %d, and may name 1 to %d", len(names), MaxUsers)
	}
	inboxes := make([]chat.RoomID, len(names))
	for i, name := range names {
		u, err := parseUser(name)
		if err != nil {
			return nil, fmt.Errorf("users, number %d: %w", i+1, err)
		}
		inboxes[i] = chat.Inbox(u)
	}
	return inboxes, nil
}

// parseUser also refuses what stands for bytes that could not be read.
func parseUser(name string) (chat.UserID, error) {
	if strings.ContainsRune(name, utf8.RuneError) {
		return "", chat.ErrUserName
	}
	return chat.ParseUser(name)
}

func parseData(fields map[string]string, maxData int) ([]byte, error) {
	data := []byte(fields["data"])
	if len(data) > maxData {
		return nil, fmt.Errorf("data has %d bytes, and may have %d", len(data), maxData)
	}
	if !json.Valid(data) {
		return nil, errors.New("data is no JSON value")
	}
	body, err := protocol.ParseData(data)
	if err != nil {
		return nil, errors.New(err.Message)
	}
	if _, toRoom := fields["room"]; toRoom {
		return body, nil
	}
	return append(append([]byte(`{"type":"notification","data":`), body...), '}'), nil
}

// clip shortens what a stranger wrote.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 64)], "?") }
