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

// A turn is the time after a member's signal, in which only the last of those
// that follow is kept. There is at most one timer for each member.
type turn struct {
	end  *time.Timer
	next protocol.Frame // goes when the turn ends; empty: nothing waits
}

// Signal lets the other members hear body: now, or, if the member's last signal
// was less than SignalEvery ago, when that time is up, unless another one takes
// its place until then. It is kept nowhere, and may be lost on its way to other
// nodes.
func (m *Member) Signal(body []byte) error {
	if m.watch {
		return ErrWatcher
	}
	f := protocol.SignalPush(m.room.id, m.user, body)
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	if m.turn != nil {
		m.turn.next = f
		return nil
	}
	m.tellOthers(f)
	if m.every > 0 {
		m.turn = &turn{end: time.AfterFunc(m.every, m.endTurn)}
	}
	return nil
}

// endTurn passes on what waits, and begins another turn; if nothing does, or the
// member has left, there is none.
func (m *Member) endTurn() {
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	if m.at < 0 || m.turn.next.Size() == 0 {
		m.turn = nil
		return
	}
	m.tellOthers(m.turn.next)
	m.turn.next = protocol.Frame{}
	m.turn.end.Reset(m.every)
}

// tellOthers lets the other members hear a signal, here and on other nodes. The
// room's lock is held.
func (m *Member) tellOthers(f protocol.Frame) {
	m.room.tell(item{frame: f, not: []*Member{m}})
	m.room.hub.signal(m.room.id, kindSignal, f)
}

// announce tells who has come or gone, unless another session of the same user
// is here, as it is in an inbox. The room's lock is held.
func (r *room) announce(m *Member, event string) {
	if m.watch || m.unseen || r.inbox || len(r.members)-r.watchers > maxAnnounced || r.hasOther(m) {
		return
	}
	f := protocol.Member{Room: r.id, User: m.user, Event: event}.Frame()
	r.tell(item{frame: f, events: true, not: []*Member{m}})
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
	r.tell(item{frame: f, events: body[0] == kindMember})
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
