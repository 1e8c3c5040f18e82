package hub

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// sink is the hub's ear on the bridge.
type sink struct{ hub *Hub }

func (s sink) Publication(p chat.Publication) {
	if r := s.hub.lookup(p.Room); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hear(p)
	}
}

func (s sink) Signal(id chat.RoomID, body []byte) {
	if r := s.hub.lookup(id); r != nil {
		r.relay(body)
	}
}

func (s sink) Answer(id chat.RoomID, _ []byte) []byte {
	if r := s.hub.lookup(id); r != nil {
		return r.census().encode()
	}
	return census{}.encode()
}

func (s sink) Resumed() { notify(s.hub.resumed) }

// tailsBatch is how many rooms one question for tails names.
const tailsBatch = 512

// recheckLoop compares every room with its log each time that the bridge has
// been away.
func (h *Hub) recheckLoop() {
	for {
		select {
		case <-h.resumed:
		case <-h.life.Done():
			return
		}
		begun := time.Now()
		rooms := h.served()
		for batch := range slices.Chunk(rooms, tailsBatch) {
			h.recheck(batch)
		}
		slog.Info("rooms checked after an interruption of the bridge", "rooms", len(rooms), "took", time.Since(begun))
	}
}

// recheck asks for the tails until it has them, and fills what was missed.
func (h *Hub) recheck(rooms []*room) {
	ids := make([]chat.RoomID, len(rooms))
	for i, r := range rooms {
		ids[i] = r.id
	}
	for {
		ctx, cancel := context.WithTimeout(h.life, h.opts.OpenTimeout)
		tails, err := h.broker.Tails(ctx, ids)
		cancel()
		if err == nil {
			for i, r := range rooms {
				r.hearTail(tails[i])
			}
			return
		}
		slog.Warn("tails not read yet", "rooms", len(rooms), "err", err)
		if !pause(h.life, 200*time.Millisecond) {
			return
		}
	}
}

// hearTail learns how far a room's log goes.
func (r *room) hearTail(tail chat.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gate.heard.Before(tail) {
		r.gate.heard = tail
	}
	if r.gate.open && r.gate.last.Before(r.gate.heard) {
		r.fillAfter(0)
	}
}
