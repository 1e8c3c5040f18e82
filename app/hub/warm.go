package hub

import "github.com/chatring/chatring/app/chat"

// warmQueue is how many rooms may wait to be opened before none is opened that
// nobody waits for.
const warmQueue = 256

// Warm opens a room whose members are on their way here, so that they do not
// wait for it. It lingers like any room that nobody is in. Warm never blocks,
// and does nothing where memory or places are short, or much is being opened:
// then the first member opens the room.
func (h *Hub) Warm(id chat.RoomID) {
	if !h.mayWarm(id) {
		return
	}
	if _, err := h.room(id); err == nil {
		h.count.Warmed.Inc()
	}
}

func (h *Hub) mayWarm(id chat.RoomID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[id] == nil && !h.isFull() && len(h.queue) < warmQueue && h.windowBytes.Load() < h.opts.WindowBudget
}
