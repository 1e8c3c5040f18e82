package hub

import (
	"context"
	"log/slog"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// What a signal between nodes carries, in its first byte; the rest is the push
// as members receive it.
const (
	kindSignal = 's'
	kindMember = 'm'
)

// maxAnnounced is up to how many members on a node a room tells them who comes
// and goes. In a larger room nobody could read it, and it would cost a push
// per member and join.
const maxAnnounced = 256

// announce tells who has come or gone, unless another session of the same user
// is here. The room's lock is held.
func (r *room) announce(m *Member, event string) {
	if m.watch || len(r.members)-r.watchers > maxAnnounced || r.hasOther(m) {
		return
	}
	f := protocol.Member{Room: r.id, User: m.user, Event: event}.Frame()
	for _, o := range r.members {
		if o.events && o != m {
			o.to.Send(f)
		}
	}
	r.hub.signal(r.id, kindMember, f)
}

// relay passes on what another node signalled.
func (r *room) relay(body []byte) {
	if len(body) < 2 {
		return
	}
	f := protocol.Relay(body[1:])
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		if body[0] == kindSignal || m.events {
			m.to.Send(f)
		}
	}
}

// signal queues a push for the other nodes that serve a room; when the queue
// is full it is dropped, as signals may be.
func (h *Hub) signal(id chat.RoomID, kind byte, f protocol.Frame) {
	select {
	case h.signals <- signal{id, append([]byte{kind}, f.JSON()...)}:
	default:
	}
}

func (h *Hub) signalLoop() {
	for {
		select {
		case s := <-h.signals:
			ctx, cancel := context.WithTimeout(h.life, time.Second)
			if err := h.broker.Signal(ctx, s.room, s.body); err != nil {
				slog.Debug("signal not bridged", "room", s.room, "err", err)
			}
			cancel()
		case <-h.life.Done():
			return
		}
	}
}
