package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// Contacts say who may write to whom. Both methods return nil for yes. A
// *protocol.Error says no, and what to tell who asks: the same, whatever the reason.
// Other errors say that nobody knows for the moment.
type Contacts interface {
	// MayWrite says whether a user may write to another one's direct room.
	MayWrite(ctx context.Context, from, to chat.UserID) error
	// MayName says whether a user may call another one's attention to a room that
	// both are in.
	MayName(ctx context.Context, from, to chat.UserID) error
}

// mayReach returns nil, or what to tell somebody in a direct room who may not write
// to its other member, nor learn where they are.
func (s *Session) mayReach(ctx context.Context, room chat.RoomID) error {
	if peer, direct := room.Peer(s.user); direct && s.limits.Contacts != nil {
		return s.limits.Contacts.MayWrite(ctx, s.user, peer)
	}
	return nil
}

// listDirect puts a direct room on the list of the member who joins it. If that
// fails, the first message does it.
func (s *Session) listDirect(ctx context.Context, room chat.RoomID, at chat.Position) {
	read := map[chat.UserID]chat.Position{s.user: at}
	if err := s.limits.Bookmarks.Add(ctx, room, at, read, s.limits.RoomList); err != nil {
		slog.Debug("direct room not listed", "session", s.id, "err", err)
	}
}

// tell puts what was said into the inboxes of those whom it concerns. The publish
// is answered after that: so an acknowledged one waits for them, and one of which
// an inbox was not told is sent again under its key, and told then. What an inbox
// has already is not doubled, because its key there says so.
func (s *Session) tell(ctx context.Context, p chat.Publication, mentions []chat.UserID) error {
	peer, direct := p.Room.Peer(s.user)
	switch {
	case direct:
		return s.tellPeer(ctx, p, peer)
	case len(mentions) > 0:
		return s.tellNamed(ctx, p, mentions)
	}
	return nil
}

// tellPeer lets the other one of a direct room know.
func (s *Session) tellPeer(ctx context.Context, p chat.Publication, peer chat.UserID) error {
	return together(
		func() error { return s.listBoth(ctx, p, peer) },
		func() error { return s.notify(ctx, protocol.NoticeDirect, p, peer) },
	)
}

// tellNamed tells those of the users who are named in a room that keep it.
func (s *Session) tellNamed(ctx context.Context, p chat.Publication, mentions []chat.UserID) error {
	named, err := s.limits.Bookmarks.Keepers(ctx, p.Room, mentions)
	if err != nil {
		return err
	}
	var tasks []func() error
	for _, user := range named {
		if user != s.user {
			tasks = append(tasks, func() error { return s.mention(ctx, p, user) })
		}
	}
	return together(tasks...)
}

// listBoth puts a direct room on the lists of its members. For the one who has not
// written the message is unread; the other one has read it, if they have read what
// stands before it.
func (s *Session) listBoth(ctx context.Context, p chat.Publication, peer chat.UserID) error {
	var before chat.Position
	if p.Offset > 0 {
		before = p.Position.Prev()
	}
	read := map[chat.UserID]chat.Position{s.user: p.Position, peer: before}
	return s.limits.Bookmarks.Add(ctx, p.Room, before, read, s.limits.RoomList)
}

// mention tells a user who is named, unless the sender may not name them, which the
// sender does not learn.
func (s *Session) mention(ctx context.Context, p chat.Publication, user chat.UserID) error {
	if s.limits.Contacts != nil {
		err := s.limits.Contacts.MayName(ctx, s.user, user)
		var no *protocol.Error
		if errors.As(err, &no) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return s.notify(ctx, protocol.NoticeMention, p, user)
}

// notify appends a notice to an inbox.
func (s *Session) notify(ctx context.Context, why protocol.NoticeType, p chat.Publication, to chat.UserID) error {
	n := protocol.Notice{Type: why, Room: p.Room, Pos: p.Position.String(), From: s.user}
	_, err := s.hub.Post(ctx, chat.Draft{Room: chat.Inbox(to), From: s.user, Key: noticeKey(n), Body: n.Data()})
	if err == nil {
		s.count.Notices.WithLabelValues(string(why)).Inc()
	}
	return err
}

// noticeKey is the same for each try to tell of one message. It fits into a key,
// however long the room's name is.
func noticeKey(n protocol.Notice) string {
	room := sha256.Sum256([]byte(n.Room))
	return n.Pos + "/" + hex.EncodeToString(room[:8])
}

// together runs tasks at the same time, and returns all their errors.
func together(tasks ...func() error) error {
	errs := make([]error, len(tasks))
	var running sync.WaitGroup
	for i, task := range tasks {
		running.Go(func() { errs[i] = task() })
	}
	running.Wait()
	return errors.Join(errs...)
}
