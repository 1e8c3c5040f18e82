package hub

import (
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A Glance is what this node has of a room.
type Glance struct {
	Members, Watchers int // watchers are members, too
	Last              chat.Position
	Used              time.Time // when somebody last joined or was told something
}

// Look returns what this node has of a room; ok is false when it does not serve it.
func (h *Hub) Look(id chat.RoomID) (g Glance, ok bool) {
	r := h.lookup(id)
	if r == nil {
		return g, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return Glance{Members: len(r.members), Watchers: r.watchers, Last: r.gate.last, Used: r.used}, !r.gone
}
