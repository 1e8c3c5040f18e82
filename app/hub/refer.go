package hub

import (
	"context"
	"errors"
	"fmt"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

var (
	// ErrNotFound says that no message stands where a draft says one does. It
	// never did, or was trimmed, or deleted: nobody is told which.
	ErrNotFound = errors.New("there is no such message")
	// ErrForeign says that only a message's author may change it, and who manages
	// the room.
	ErrForeign = errors.New("the message is somebody else's")
)

// PublishTo is Publish of a message that answers another one, or names users.
// The error is ErrNotFound when no message stands where replyTo says.
func (m *Member) PublishTo(ctx context.Context, key string, body []byte, replyTo *chat.Position, mentions []chat.UserID) (chat.Publication, error) {
	about := chat.About{Mentions: mentions}
	if replyTo != nil {
		t, err := m.target(ctx, *replyTo)
		if err != nil {
			return chat.Publication{}, err
		}
		about.ReplyTo = &t
	}
	return m.publish(ctx, key, body, about.String())
}

// Edit publishes that the message at a position says something else from now on.
// Errors are those of Publish, ErrNotFound, and ErrForeign unless the member
// manages the room.
func (m *Member) Edit(ctx context.Context, key string, pos chat.Position, body []byte, manages bool) (chat.Publication, error) {
	t, err := m.mine(ctx, pos, manages)
	if err != nil {
		return chat.Publication{}, err
	}
	return m.publish(ctx, key, body, chat.About{Edits: &t}.String())
}

// Delete publishes that the message at a position says nothing any more. Errors
// are those of Edit.
func (m *Member) Delete(ctx context.Context, key string, pos chat.Position, manages bool) (chat.Publication, error) {
	t, err := m.mine(ctx, pos, manages)
	if err != nil {
		return chat.Publication{}, err
	}
	return m.publish(ctx, key, []byte("null"), chat.About{Deletes: &t}.String())
}

// Describe publishes what the room is about.
func (m *Member) Describe(ctx context.Context, key string, body []byte) (chat.Publication, error) {
	return m.publish(ctx, key, body, chat.About{Describes: true}.String())
}

// mine returns the message at a position, if the member may change it.
func (m *Member) mine(ctx context.Context, pos chat.Position, manages bool) (chat.Target, error) {
	t, err := m.target(ctx, pos)
	if err == nil && t.From != m.user && !manages {
		err = ErrForeign
	}
	return t, err
}

// target returns the message at a position, which may be deleted since. Watchers
// are told nothing of what they may not read.
func (m *Member) target(ctx context.Context, pos chat.Position) (chat.Target, error) {
	if m.watch {
		return chat.Target{}, ErrWatcher
	}
	p, err := m.room.find(ctx, pos)
	if err != nil {
		return chat.Target{}, fmt.Errorf("%s in %s: %w", pos, m.room.id, err)
	}
	if about, err := chat.ParseAbout(p.About); err != nil || !about.IsMessage() {
		return chat.Target{}, ErrNotFound
	}
	return p.Target(), nil
}

// find returns what stands at a position, from the window, or else from the log.
func (r *room) find(ctx context.Context, pos chat.Position) (chat.Publication, error) {
	r.mu.Lock()
	e, ok := r.window.at(pos)
	r.mu.Unlock()
	if ok {
		return protocol.ParseMessage(e.frame)
	}
	found, err := r.hub.broker.ReadAfter(ctx, r.id, pos.Prev(), 1)
	switch {
	case err != nil:
		return chat.Publication{}, err
	case len(found) == 0 || found[0].Position != pos:
		return chat.Publication{}, ErrNotFound
	}
	return found[0], nil
}

// refer takes in what the publication that has just been kept says about others,
// and returns by how many bytes the window grew. The lock is held.
func (r *room) refer(p chat.Publication) (grown int64) {
	about, err := chat.ParseAbout(p.About)
	switch {
	case err != nil: // somebody has written it into the log by hand
		return 0
	case about.Describes:
		r.about = protocol.ParseDescription(p.Body)
		return 0
	}
	return r.window.refer(p, about)
}
