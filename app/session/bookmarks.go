package session

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
)

// mayRead says whether the user may read a room.
func (s *Session) mayRead(room chat.RoomID) bool {
	return chat.AccessOf(s.user, s.rights, room) >= chat.Read
}

// runRead moves the user's marker in a room, which need not be joined.
func (s *Session) runRead(ctx context.Context, c protocol.Command, r protocol.Read) (protocol.Frame, error) {
	if err := s.serves(c.Room); err != nil {
		return protocol.Frame{}, err
	}
	if !s.mayRead(c.Room) {
		return protocol.Frame{}, forbidden("the token does not allow to read this room")
	}
	if s.member(c.Room) == nil {
		if err := s.mayJoin(ctx, c.Room); err != nil {
			return protocol.Frame{}, err
		}
	}
	at, moved, err := s.limits.Bookmarks.Mark(ctx, s.user, c.Room, r.Pos, s.limits.RoomList)
	if err != nil {
		return protocol.Frame{}, err
	}
	if moved {
		s.count.MarkersMoved.Inc()
		if s.markers == nil {
			s.markers = &markers{hub: s.hub, inbox: chat.Inbox(s.user), every: s.limits.SignalEvery}
		}
		s.markers.moved(c.Room, at)
	}
	return protocol.OkAt(c.ID, at), nil
}

// maxRoomPage is how many bytes of rooms an answer has: topics may be long, and an
// answer has to fit into an outbox in which something waits.
const maxRoomPage = 128 << 10

// runRooms answers a page of the rooms that the user keeps and may read.
func (s *Session) runRooms(ctx context.Context, c protocol.Command, r protocol.Rooms) (protocol.Frame, error) {
	var after bookmarks.Cursor
	if r.After != "" {
		var bad error
		if after, bad = bookmarks.ParseCursor(r.After); bad != nil {
			return protocol.Frame{}, &protocol.Error{Code: protocol.BadRequest, Message: `"after" must be the "next" of the page before`}
		}
	}
	begun := time.Now()
	list, err := s.limits.Bookmarks.List(ctx, s.user)
	if err != nil {
		return protocol.Frame{}, err
	}
	s.count.RoomLists.Observe(time.Since(begun).Seconds())
	kept := len(list)
	list = slices.DeleteFunc(list, func(b bookmarks.Bookmark) bool { return !s.mayRead(b.Room) })
	page, next := bookmarks.Page(list, after, r.Limit)
	answer := protocol.RoomPage{Rooms: make([]protocol.RoomRow, 0, len(page)), Hidden: kept - len(list)}
	size := 0
	for i, b := range page {
		row := roomRow(b)
		if size += row.Size(); size > maxRoomPage && i > 0 {
			next = page[i-1].Cursor()
			break
		}
		answer.Rooms = append(answer.Rooms, row)
	}
	if next != (bookmarks.Cursor{}) {
		answer.Next = next.String()
	}
	return protocol.OkRooms(c.ID, answer), nil
}

func roomRow(b bookmarks.Bookmark) protocol.RoomRow {
	row := protocol.RoomRow{Room: b.Room, Unread: b.Unread, AtMost: b.AtMost, Read: b.Read.String(), Pos: b.Last.String()}
	if b.Description != "" {
		row.Description = protocol.ParseDescription([]byte(b.Description))
	}
	if !b.At.IsZero() {
		row.TS = b.At.UnixMilli()
	}
	return row
}

// runForget takes rooms off the user's list, whatever the token allows: a list that
// is full of rooms that nobody may see has to be emptied somehow.
func (s *Session) runForget(ctx context.Context, c protocol.Command, f protocol.Forget) (protocol.Frame, error) {
	rooms := []chat.RoomID{c.Room}
	if f.Hidden {
		list, err := s.limits.Bookmarks.List(ctx, s.user)
		if err != nil {
			return protocol.Frame{}, err
		}
		rooms = rooms[:0]
		for _, b := range list {
			if !s.mayRead(b.Room) {
				rooms = append(rooms, b.Room)
			}
		}
	}
	return protocol.Ok(c.ID), s.limits.Bookmarks.Forget(ctx, s.user, rooms...)
}

// markers tell the sessions of a user how far this one has read: at once, and then,
// as long as markers move, every while the last place of each. A client that marks
// whatever it shows would be heard by all others at each message else.
type markers struct {
	// Static after construction.
	hub   *hub.Hub
	inbox chat.RoomID
	every time.Duration

	// Guarded by mu.
	mu      sync.Mutex
	told    map[chat.RoomID]chat.Position // to be told; as many as commands move in a while
	resting bool                          // a timer will tell
}

// moved belongs to the reading goroutine.
func (m *markers) moved(room chat.RoomID, at chat.Position) {
	m.mu.Lock()
	if m.told == nil {
		m.told = make(map[chat.RoomID]chat.Position)
	}
	m.told[room] = at
	resting := m.resting
	m.mu.Unlock()
	if !resting {
		m.tell()
	}
}

// tell tells what has moved.
func (m *markers) tell() {
	m.mu.Lock()
	told := m.told
	m.told, m.resting = nil, len(told) > 0 && m.every > 0
	again := m.resting
	m.mu.Unlock()
	for room, at := range told {
		m.hub.Whisper(m.inbox, protocol.ReadUpTo{Room: room, Pos: at.String()}.Frame())
	}
	if again {
		time.AfterFunc(m.every, m.tell)
	}
}
