package session

import (
	"slices"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
)

// MayJoin returns nil, or what to tell somebody who may not be in a room, as a
// member or as a watcher.
func MayJoin(user chat.UserID, rights chat.Rights, room chat.RoomID, watch bool) *protocol.Error {
	switch access := chat.AccessOf(user, rights, room); {
	case access >= chat.Read, watch && access >= chat.Watch:
		return nil
	case access == chat.Watch:
		return forbidden("the token allows to watch this room only: connect to /ws/watch")
	}
	return forbidden("the token does not allow this room")
}

func forbidden(message string) *protocol.Error {
	return &protocol.Error{Code: protocol.Forbidden, Message: message}
}

// permit returns nil, or what to tell somebody who may not give a command in a
// room that the session has joined.
func (s *Session) permit(c protocol.Command) error {
	access := chat.AccessOf(s.user, s.rights, c.Room)
	switch c.Body.(type) {
	case protocol.Publish, protocol.Signal:
		if access < chat.Write {
			return forbidden("the token does not allow to write in this room")
		}
	case protocol.History, protocol.Presence:
		if access < chat.Read {
			return forbidden("the token allows to watch this room only")
		}
	}
	return nil
}

// runAuth lets the session live on by a fresh token, whose rights hold at once.
func (s *Session) runAuth(c protocol.Command, a protocol.Auth) (protocol.Frame, error) {
	rights, left, bad := s.conn.Renew(a.Token)
	if bad != nil {
		if !bad.Temporary {
			s.badTokens++
		}
		return protocol.Frame{}, bad
	}
	s.rights, s.badTokens = rights, 0
	s.rooms = slices.DeleteFunc(s.rooms, func(m *hub.Member) bool {
		bad := MayJoin(s.user, rights, m.Room(), s.watch)
		if bad != nil {
			s.leave(m)
			s.Send(protocol.Left{Room: m.Room(), Code: bad.Code}.Frame().Batch())
		} else if chat.AccessOf(s.user, rights, m.Room()) < chat.Read {
			m.HideMembers()
		}
		return bad != nil
	})
	return protocol.OkAuth(c.ID, left.Milliseconds()), nil
}
