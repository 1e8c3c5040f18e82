package session

import (
	"context"
	"slices"
	"sync"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
)

// pages are for answers to history, which are long.
var pages = sync.Pool{New: func() any { return new([]byte) }}

// reply hands on what answers a command. Its page is free at once if the transport has
// taken it at once, as it mostly does.
func (s *Session) reply(f protocol.Frame) {
	taken := true
	if s.answer != nil {
		s.answer(f)
	} else {
		taken = s.send(f.Batch())
	}
	if taken && s.page != nil {
		pages.Put(s.page)
	}
	s.page = nil
}

// run carries out a command and returns its reply.
func (s *Session) run(ctx context.Context, c protocol.Command) (protocol.Frame, error) {
	switch b := c.Body.(type) {
	case protocol.Join:
		return s.runJoin(ctx, c, b)
	case protocol.Auth:
		return s.runAuth(c, b)
	case protocol.Call:
		return s.runCall(ctx, c, b)
	case protocol.Read:
		return s.runRead(ctx, c, b)
	case protocol.Rooms:
		return s.runRooms(ctx, c, b)
	case protocol.Forget:
		return s.runForget(ctx, c, b)
	}
	m := s.member(c.Room)
	if m == nil {
		return protocol.Frame{}, &protocol.Error{Code: protocol.NotJoined, Message: "join the room first"}
	}
	if err := s.permit(ctx, c); err != nil {
		return protocol.Frame{}, err
	}
	switch b := c.Body.(type) {
	case protocol.Publish, protocol.Edit, protocol.Delete, protocol.Describe:
		p, err := s.publish(ctx, m, b)
		return protocol.OkAt(c.ID, p.Position), err
	case protocol.Signal:
		return protocol.Ok(c.ID), m.Signal(b.Data)
	case protocol.History:
		messages, more, err := s.hub.History(ctx, c.Room, historyRange(b))
		s.page = pages.Get().(*[]byte)
		return protocol.OkHistory(s.page, c.ID, messages, more), err
	case protocol.Presence:
		present, err := s.hub.Presence(ctx, c.Room)
		return protocol.OkPresent(c.ID, present), err
	case protocol.Leave:
		s.leave(m)
		s.rooms = slices.DeleteFunc(s.rooms, func(x *hub.Member) bool { return x == m })
	}
	return protocol.Ok(c.ID), nil
}

// publish carries out a command that appends to the log of a room.
func (s *Session) publish(ctx context.Context, m *hub.Member, command protocol.Body) (chat.Publication, error) {
	switch b := command.(type) {
	case protocol.Edit:
		body, err := s.authorized(ctx, m.Room(), b.Key, b.Data)
		if err != nil {
			return chat.Publication{}, err
		}
		return m.Edit(ctx, b.Key, b.Pos, body, s.manages(m.Room()))
	case protocol.Delete:
		return m.Delete(ctx, b.Key, b.Pos, s.manages(m.Room()))
	case protocol.Describe:
		return m.Describe(ctx, b.Key, b.Data)
	}
	return s.say(ctx, m, command.(protocol.Publish))
}

// say publishes a message, and tells those whom it concerns.
func (s *Session) say(ctx context.Context, m *hub.Member, b protocol.Publish) (p chat.Publication, err error) {
	body, err := s.authorized(ctx, m.Room(), b.Key, b.Data)
	switch {
	case err != nil:
		return p, err
	case b.ReplyTo == nil && len(b.Mentions) == 0:
		p, err = m.Publish(ctx, b.Key, body)
	default:
		p, err = m.PublishTo(ctx, b.Key, body, b.ReplyTo, b.Mentions)
	}
	if err != nil {
		return p, err
	}
	return p, s.tell(ctx, p, b.Mentions)
}

func (s *Session) runJoin(ctx context.Context, c protocol.Command, j protocol.Join) (protocol.Frame, error) {
	if j.User != "" {
		room, err := chat.Direct(s.user, j.User)
		if err != nil {
			return protocol.Frame{}, &protocol.Error{Code: protocol.BadRoom, Message: `"user" must be somebody else`}
		}
		c.Room = room
	}
	if err := s.mayEnter(c.Room); err != nil {
		return protocol.Frame{}, err
	}
	if err := s.mayJoin(ctx, c.Room); err != nil {
		return protocol.Frame{}, err
	}
	if err := s.join(ctx, c.Room, j.Options); err != nil {
		return protocol.Frame{}, err
	}
	at := s.rooms[len(s.rooms)-1].JoinedAt()
	if _, direct := c.Room.Peer(s.user); direct && j.Since == nil { // else it is not the first time
		s.listDirect(ctx, c.Room, at)
	}
	if j.User != "" {
		return protocol.OkJoined(c.ID, c.Room, at), nil
	}
	return protocol.OkAt(c.ID, at), nil
}

// mayEnter returns nil, or what to tell a session that may not join a room, or no
// further one.
func (s *Session) mayEnter(room chat.RoomID) error {
	if s.member(room) != nil {
		return &protocol.Error{Code: protocol.AlreadyJoined, Message: "the session is in this room"}
	}
	if err := s.serves(room); err != nil {
		return err
	}
	if bad := MayJoin(s.user, s.rights, room, s.watch); bad != nil {
		return bad
	}
	if len(s.rooms) >= s.limits.Rooms {
		return &protocol.Error{Code: protocol.TooManyRooms, Message: "leave a room first"}
	}
	if most := s.limits.UserRooms; most > 0 && int(s.shared.rooms.Load()) >= most {
		return &protocol.Error{Code: protocol.TooManyRooms, Message: "leave a room first, by this connection or another of yours"}
	}
	return nil
}

// serves returns nil, or what to tell whoever asks for a room that this node does
// not serve.
func (s *Session) serves(room chat.RoomID) error {
	if s.limits.InboxOnly && room != chat.Inbox(s.user) {
		return forbidden("rooms are not served at this address: connect to /ws/chat")
	}
	return nil
}

func (s *Session) join(ctx context.Context, room chat.RoomID, o protocol.Options) error {
	_, inbox := room.Owner()
	j := hub.Join{
		Options: o, User: s.user, Receiver: s, SignalEvery: s.limits.SignalEvery,
		Watch: s.watch && !inbox, // a watcher's inbox is as much the user's as any
	}
	j.Unseen = s.mayReach(ctx, room) != nil
	j.Members = j.Members && chat.AccessOf(s.user, s.rights, room) >= chat.Read && !j.Unseen
	if !s.mayRecover() {
		j.Since = nil
	}
	m, err := s.hub.Join(ctx, room, j)
	if err != nil {
		return err
	}
	s.rooms = append(s.rooms, m)
	s.shared.rooms.Add(1)
	return nil
}

func (s *Session) leave(m *hub.Member) {
	m.Leave()
	s.shared.rooms.Add(-1)
}

func historyRange(h protocol.History) hub.Range {
	switch {
	case h.After != nil:
		return hub.Range{After: h.After, Limit: h.Limit}
	case h.Before != nil:
		return hub.Range{Before: *h.Before, Limit: h.Limit}
	}
	return hub.Range{Limit: h.Limit}
}
