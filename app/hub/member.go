package hub

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/chatring/chatring/app/chat"
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
	watch    bool
	unseen   bool          // the others are not told that it comes and goes
	every    time.Duration // between two signals

	// Guarded by room.mu.
	heard  uint64   // how many of the room's items it has heard, or does not hear
	at     int      // index among the room's members; -1 once it has left
	events bool     // hears who comes and goes
	turn   *turn    // nil: the next signal goes at once
	own    []string // keys of what it has published and not heard of yet; at most maxOwn, and only if mute
}

// Room returns the room's name.
func (m *Member) Room() chat.RoomID { return m.room.id }

// JoinedAt returns the room's last position when the member joined.
func (m *Member) JoinedAt() chat.Position { return m.joinedAt }

// Leave takes the member out of its room, once.
func (m *Member) Leave() { m.room.leave(m) }

// HideMembers keeps from the member who comes and goes.
func (m *Member) HideMembers() {
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	m.events = false
}

// Publish appends to the room's log and passes the publication on. An empty
// key stands for one that is made here. Errors are ErrWatcher,
// chat.ErrConflict, or wrap chat.ErrUnavailable: then it may or may not have
// been appended, and the same key finds out.
func (m *Member) Publish(ctx context.Context, key string, body []byte) (chat.Publication, error) {
	return m.publish(ctx, key, body, "")
}

func (m *Member) publish(ctx context.Context, key string, body []byte, about string) (chat.Publication, error) {
	if m.watch {
		return chat.Publication{}, ErrWatcher
	}
	if key == "" {
		key = newKey()
	}
	r := m.room
	r.mu.Lock()
	m.mind(key)
	r.mu.Unlock()

	begun := time.Now()
	p, err := r.append(ctx, chat.Draft{Room: r.id, From: m.user, Key: key, Body: body, About: about})
	if err == nil {
		r.hub.count.Append.Observe(time.Since(begun).Seconds())
	}
	return p, err
}

// maxOwn bounds the publications of one member that wait behind a hole.
const maxOwn = 16

// mind notes the key of what the member is about to publish. The lock is held.
func (m *Member) mind(key string) {
	if !m.mute {
		return
	}
	if len(m.own) == maxOwn {
		m.own = slices.Delete(m.own, 0, 1)
	}
	m.own = append(m.own, key)
}

// skips says whether p is what the member, who is mute, said itself, and forgets
// about it. The lock is held.
func (m *Member) skips(p chat.Publication) bool {
	if m.user != p.From {
		return false
	}
	i := slices.Index(m.own, p.Key)
	if i < 0 {
		return false
	}
	m.own = slices.Delete(m.own, i, i+1)
	return true
}

// newKey returns a key for a draft that has none: 80 random bits.
func newKey() string { return strings.ToLower(rand.Text()[:16]) }
