package session

import (
	"context"
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
func (s *Session) permit(ctx context.Context, c protocol.Command) error {
	access := chat.AccessOf(s.user, s.rights, c.Room)
	switch c.Body.(type) {
	case protocol.Publish, protocol.Edit, protocol.Delete, protocol.Signal:
		if access < chat.Write {
			return forbidden("the token does not allow to write in this room")
		}
	case protocol.Describe:
		if access < chat.Manage {
			return forbidden("the token does not allow to manage this room")
		}
	case protocol.History, protocol.Presence:
		if access < chat.Read {
			return forbidden("the token allows to watch this room only")
		}
	}
	switch c.Body.(type) {
	case protocol.Publish, protocol.Edit, protocol.Signal, protocol.Presence:
		return s.mayReach(ctx, c.Room)
	}
	return nil
}

// manages says whether the user may change what others have said in a room.
func (s *Session) manages(room chat.RoomID) bool {
	return chat.AccessOf(s.user, s.rights, room) >= chat.Manage
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

// An Authorizer has the last word on what tokens allow. Its errors are of type
// *protocol.Error. Its methods may be called concurrently.
type Authorizer interface {
	// AuthorizeJoin says whether a user may join a room. Session is empty when the
	// room is that of a socket's address.
	AuthorizeJoin(ctx context.Context, user chat.UserID, session string, room chat.RoomID, watch bool) error
	// AuthorizePublish says whether a draft may be published, and returns the body
	// to publish.
	AuthorizePublish(ctx context.Context, d chat.Draft, session string) (body []byte, err error)
}

// mayJoin returns nil, or why the application does not let the session join a
// room. An inbox is its owner's, whatever the application says.
func (s *Session) mayJoin(ctx context.Context, room chat.RoomID) error {
	app := s.limits.Authorizer
	if app == nil {
		return nil
	}
	if _, inbox := room.Owner(); inbox {
		return nil
	}
	return app.AuthorizeJoin(ctx, s.user, s.id, room, s.watch)
}

// authorized returns what the application lets the session say in a room in the
// place of body, or why it may not. A watcher is refused without asking.
func (s *Session) authorized(ctx context.Context, room chat.RoomID, key string, body []byte) ([]byte, error) {
	app := s.limits.Authorizer
	if app == nil || s.watch {
		return body, nil
	}
	return app.AuthorizePublish(ctx, chat.Draft{Room: room, From: s.user, Key: key, Body: body}, s.id)
}
