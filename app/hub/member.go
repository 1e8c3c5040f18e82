package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A Member is a session's place in a room. Its methods belong to the
// session's reading goroutine.
type Member struct {
	// Static after construction.
	room     *room
	to       Receiver
	user     chat.UserID
	joinedAt chat.Position
	mute     bool // does not hear its own publications
	events   bool // hears who comes and goes
	watch    bool

	// Guarded by room.mu.
	at  int    // index among the room's members; -1 once it has left
	own string // key of its last publication
}

// Room returns the room's name.
func (m *Member) Room() chat.RoomID { return m.room.id }

// JoinedAt returns the room's last position when the member joined.
func (m *Member) JoinedAt() chat.Position { return m.joinedAt }

// Leave takes the member out of its room, once.
func (m *Member) Leave() { m.room.leave(m) }

// Publish appends to the room's log and passes the publication on. An empty
// key stands for one that is made here. Errors are ErrWatcher,
// chat.ErrConflict, or wrap chat.ErrUnavailable: then it may or may not have
// been appended, and the same key finds out.
func (m *Member) Publish(ctx context.Context, key string, body []byte) (chat.Publication, error) {
	if m.watch {
		return chat.Publication{}, ErrWatcher
	}
	if key == "" {
		key = newKey()
	}
	r := m.room
	r.mu.Lock()
	m.own = key
	seen := r.gate.heard
	r.inflight++
	r.mu.Unlock()

	begun := time.Now()
	p, err := r.hub.broker.Append(ctx, chat.Draft{Room: r.id, From: m.user, Key: key, Body: body}, seen)
	r.hub.count.Append.Observe(time.Since(begun).Seconds())

	r.mu.Lock()
	defer r.mu.Unlock()
	r.inflight--
	if err != nil {
		if !errors.Is(err, chat.ErrConflict) {
			r.watchTail() //nolint:contextcheck // it outlives the command
		}
		return chat.Publication{}, err
	}
	r.hear(p)
	return p, nil
}

// newKey returns a key for a draft that has none: 80 random bits.
func newKey() string { return strings.ToLower(rand.Text()[:16]) }

// Signal lets the other members hear body now. It is kept nowhere, and may be
// lost on its way to other nodes.
func (m *Member) Signal(body []byte) error {
	if m.watch {
		return ErrWatcher
	}
	f := protocol.SignalPush(m.room.id, m.user, body)
	r := m.room
	r.mu.Lock()
	for _, o := range r.members {
		if o != m {
			o.to.Send(f)
		}
	}
	r.mu.Unlock()
	r.hub.signal(r.id, kindSignal, f)
	return nil
}
