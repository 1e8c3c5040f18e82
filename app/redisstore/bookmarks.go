package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/redisconn"
)

var (
	//go:embed bookmarks_mark.lua
	markSource string
	//go:embed bookmarks_add.lua
	addSource string
	//go:embed bookmarks_list.lua
	roomsSource string
	//go:embed bookmarks_keepers.lua
	keepersSource string

	markScript    = newScript(markSource)
	addScript     = newScript(addSource)
	roomsScript   = newScript(roomsSource)
	keepersScript = newScript(keepersSource)
)

// Bookmarks are the lists of all users, each a hash of its own: room → marker. It
// implements bookmarks.Store.
type Bookmarks struct{ *Store }

var _ bookmarks.Store = Bookmarks{}

func listKey(u chat.UserID) string { return userKey("rooms", u) }

func logKey(r chat.RoomID) string { return redisconn.Prefix + "{" + string(r) + "}:log" }

// Mark implements bookmarks.Store.
func (b Bookmarks) Mark(ctx context.Context, user chat.UserID, room chat.RoomID, pos chat.Position, most int) (at chat.Position, moved bool, err error) {
	reply, err := b.run(ctx, markScript, []string{listKey(user), logKey(room)}, string(room), pos.String(), most)
	switch {
	case redis.HasErrorPrefix(err, "AHEAD"):
		return at, false, bookmarks.ErrAhead
	case redis.HasErrorPrefix(err, "FULL"):
		return at, false, bookmarks.ErrFull
	case err != nil:
		return at, false, fmt.Errorf("mark %s: %w", room, err)
	}
	f := fields(reply)
	if at, err = f.position(0); err != nil {
		return at, false, fmt.Errorf("mark %s: %w", room, err)
	}
	return at, f.number(1) == 1, nil
}

// Add implements bookmarks.Store.
func (b Bookmarks) Add(ctx context.Context, room chat.RoomID, before chat.Position, read map[chat.UserID]chat.Position, most int) error {
	keys := make([]string, 0, len(read))
	args := append(make([]any, 0, 3+len(read)), string(room), most, before.String())
	for user, pos := range read {
		keys = append(keys, listKey(user))
		args = append(args, pos.String())
	}
	if _, err := b.run(ctx, addScript, keys, args...); err != nil {
		return fmt.Errorf("add %s: %w", room, err)
	}
	return nil
}

// List implements bookmarks.Store.
func (b Bookmarks) List(ctx context.Context, user chat.UserID) ([]bookmarks.Bookmark, error) {
	reply, err := b.run(ctx, roomsScript, []string{listKey(user)})
	if err != nil {
		return nil, fmt.Errorf("list the rooms of a user: %w", err)
	}
	rows, _ := reply.([]any)
	list := make([]bookmarks.Bookmark, len(rows))
	for i, row := range rows {
		if list[i], err = parseBookmark(fields(row)); err != nil {
			return nil, fmt.Errorf("list the rooms of a user: %w", err)
		}
	}
	return list, nil
}

// parseBookmark reads what bookmarks_list.lua says of one room.
func parseBookmark(f reply) (b bookmarks.Bookmark, err error) {
	b = bookmarks.Bookmark{
		Room: chat.RoomID(f.text(0)), Unread: int(f.number(4)), AtMost: f.number(5) == 1,
		Description: f.text(6),
	}
	if b.Read, err = f.position(1); err != nil {
		return b, err
	}
	if b.Last, err = f.position(2); err != nil {
		return b, err
	}
	if ms, err := strconv.ParseInt(f.text(3), 10, 64); err == nil {
		b.At = time.UnixMilli(ms)
	}
	return b, nil
}

// Forget implements bookmarks.Store.
func (b Bookmarks) Forget(ctx context.Context, user chat.UserID, rooms ...chat.RoomID) error {
	if len(rooms) == 0 {
		return nil
	}
	names := make([]string, len(rooms))
	for i, room := range rooms {
		names[i] = string(room)
	}
	if err := b.client.HDel(ctx, listKey(user), names...).Err(); err != nil {
		return fmt.Errorf("forget %d rooms: %w: %w", len(rooms), chat.ErrUnavailable, err)
	}
	return nil
}

// Keepers implements bookmarks.Store.
func (b Bookmarks) Keepers(ctx context.Context, room chat.RoomID, users []chat.UserID) (keepers []chat.UserID, err error) {
	keys := make([]string, len(users))
	for i, user := range users {
		keys[i] = listKey(user)
	}
	answer, err := b.run(ctx, keepersScript, keys, string(room))
	if err != nil {
		return nil, fmt.Errorf("who keeps %s: %w", room, err)
	}
	f := fields(answer)
	for i, user := range users {
		if f.number(i) == 1 {
			keepers = append(keepers, user)
		}
	}
	return keepers, nil
}

// A reply is what a script answers, field by field.
type reply []any

func fields(v any) reply {
	f, _ := v.([]any)
	return f
}

var errReply = errors.New("a script answered otherwise than it should")

func (f reply) text(i int) string {
	if i >= len(f) {
		return ""
	}
	s, _ := f[i].(string)
	return s
}

func (f reply) number(i int) int64 {
	if i >= len(f) {
		return 0
	}
	n, _ := f[i].(int64)
	return n
}

func (f reply) position(i int) (chat.Position, error) {
	p, err := chat.ParsePosition(f.text(i))
	if err != nil {
		return p, fmt.Errorf("%w: %w", chat.ErrUnavailable, errReply)
	}
	return p, nil
}
