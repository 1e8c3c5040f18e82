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

func (s sink) Answer(id chat.RoomID, question []byte) []byte {
	return s.hub.answer(id, string(question))
}

func (s sink) Resumed() { notify(s.hub.resumed) }

// tailsBatch is how many rooms one question for tails names.
const tailsBatch = 256

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
	seen := make([]chat.Position, len(rooms)) // before asking
	for i, r := range rooms {
		ids[i] = r.id
		r.mu.Lock()
		seen[i] = r.gate.last
		r.mu.Unlock()
	}
	for {
		ctx, cancel := context.WithTimeout(h.life, h.opts.OpenTimeout)
		tails, err := h.broker.Tails(ctx, ids)
		cancel()
		if err == nil {
			for i, r := range rooms {
				r.hearTail(seen[i], tails[i])
			}
			return
		}
		slog.Debug("tails not read yet", "rooms", len(rooms), "err", err)
		if !pause(h.life, 200*time.Millisecond) {
			return
		}
	}
}

// hearTail learns with what a room's log ends, now that this node has seen it
// up to a position.
func (r *room) hearTail(seen chat.Position, tail chat.Publication) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &r.gate
	g.hears(tail.Position)
	switch mine, ok := r.window.at(seen); {
	case r.gone:
	case !g.open: // what it is opened with may have been read before that
		g.recheck = true
	case tail.Position.Before(seen), tail.Position == seen && ok && mine.mark != tail.Mark():
		r.beginHeal()
	case g.last.Before(g.heard):
		r.fillAfter(0)
	}
}

// lateLooks is when a room's tail is looked at after an append whose answer did
// not come.
var lateLooks = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second}

// watchTail looks at the room's tail again and again for a while: an append
// that was given up may still land, and then nobody tells this node, whose own
// answer it would have been. The lock is held.
func (r *room) watchTail() {
	if r.watching {
		return
	}
	r.watching = true
	r.hub.work.Go(func() {
		for _, wait := range lateLooks {
			if !pause(r.hub.life, wait) {
				break
			}
			r.hub.recheck([]*room{r})
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.watching = false
	})
}
