// Package bookmarks is the rooms that a user keeps: up to where they have read in
// each, and what has been said there since. It knows neither the wire, nor who may
// be in which room, nor where bookmarks are kept.
package bookmarks

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A Bookmark is a room of a user's list, as its log stands now.
type Bookmark struct {
	Room chat.RoomID
	// Read is the marker: up to there the user has read. The zero Position stands
	// before everything.
	Read chat.Position
	// Last is the room's last publication, and At its time; zero when there is no
	// log, because nothing was said, or nothing for long.
	Last chat.Position
	At   time.Time
	// Unread is how many messages stand behind the marker, without those that only
	// change or describe others.
	Unread int
	// AtMost says that Unread may be too high: the log no longer has the marker's
	// place, or has gone on in another epoch since, so that all it has was counted.
	AtMost bool
	// Description is what the room's last description says, a JSON object; empty if
	// there is none.
	Description string
}

var (
	// ErrFull says that a user's list has no place for another room.
	ErrFull = errors.New("the list of rooms is full")
	// ErrAhead says that a room has nothing at a position yet.
	ErrAhead = errors.New("the position is ahead of the log")
)

// A Store keeps the list of every user, until a room is forgotten. Its methods may be
// called concurrently; each is one question to wherever the lists are. Errors that
// are not named wrap chat.ErrUnavailable, and what failed may have been done.
type Store interface {
	// Mark moves a user's marker in a room, and puts the room on a list that has
	// fewer than most. A marker does not go back, unless it stands ahead of a log
	// that has lost its tail. Mark returns where it stands, and whether it has been
	// moved there. Errors are ErrFull and ErrAhead.
	Mark(ctx context.Context, user chat.UserID, room chat.RoomID, pos chat.Position, most int) (at chat.Position, moved bool, err error)

	// Add puts a room on the lists of users, each with a marker. Where it is on the
	// list, a marker that stands at before moves there, and others stay. A list that
	// has as many as most does not take it.
	Add(ctx context.Context, room chat.RoomID, before chat.Position, read map[chat.UserID]chat.Position, most int) error

	// List returns the user's list, in no particular order.
	List(ctx context.Context, user chat.UserID) ([]Bookmark, error)

	// Forget takes rooms off a user's list, if they are on it.
	Forget(ctx context.Context, user chat.UserID, rooms ...chat.RoomID) error

	// Keepers returns those of the users who have a room on their lists, in the
	// order asked.
	Keepers(ctx context.Context, room chat.RoomID, users []chat.UserID) ([]chat.UserID, error)
}

// Marked is where a marker stands that is moved to pos, in a log that ends at last.
// The error is ErrAhead.
func Marked(marker, pos, last chat.Position) (chat.Position, error) {
	switch {
	case last.Before(pos):
		return marker, ErrAhead
	case pos.Before(marker) && !last.Before(marker):
		return marker, nil
	}
	return pos, nil
}

// A Cursor stands between two bookmarks of a list that is ordered by activity. The
// zero Cursor stands before the first.
type Cursor struct {
	at   int64 // milliseconds since 1970
	room chat.RoomID
}

// ErrCursor is the error of ParseCursor.
var ErrCursor = errors.New("not a cursor")

// ParseCursor reads what String prints.
func ParseCursor(s string) (Cursor, error) {
	at, name, _ := strings.Cut(s, "-")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return Cursor{}, ErrCursor
	}
	room, err := chat.ParseAddress(name)
	if err != nil {
		return Cursor{}, ErrCursor
	}
	return Cursor{ms, room}, nil
}

func (c Cursor) String() string { return strconv.FormatInt(c.at, 10) + "-" + string(c.room) }

// Cursor stands behind the bookmark.
func (b Bookmark) Cursor() Cursor {
	if b.At.IsZero() {
		return Cursor{0, b.Room}
	}
	return Cursor{b.At.UnixMilli(), b.Room}
}

// compare orders the room that was last spoken in first.
func (c Cursor) compare(d Cursor) int {
	return cmp.Or(cmp.Compare(d.at, c.at), cmp.Compare(c.room, d.room))
}

// Page sorts a list by activity, newest first, and returns what follows a cursor, at
// most limit bookmarks, and where the next page begins; the zero Cursor if there is
// none. A room in which something was said since the page before stands before the
// cursor, and is not seen on those that follow.
func Page(list []Bookmark, after Cursor, limit int) (page []Bookmark, next Cursor) {
	slices.SortFunc(list, func(a, b Bookmark) int { return a.Cursor().compare(b.Cursor()) })
	if after != (Cursor{}) {
		begin, found := slices.BinarySearchFunc(list, after, func(b Bookmark, c Cursor) int { return b.Cursor().compare(c) })
		if found {
			begin++
		}
		list = list[begin:]
	}
	if len(list) <= limit {
		return list, Cursor{}
	}
	return list[:limit], list[limit-1].Cursor()
}
