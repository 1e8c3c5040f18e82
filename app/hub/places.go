package hub

import (
	"container/list"
	"fmt"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// ErrFull says that the node has as many rooms open as it may, and somebody is
// in each. It is an ErrUnavailable.
var ErrFull = fmt.Errorf("%w: the node has no place for another room", chat.ErrUnavailable)

// openers is how many rooms are opened at once. Each is a subscription and a
// read; the broker reads over a few connections, and who waits for one of them
// loses time that the opening has.
const openers = 64

// room returns the room that this node serves under id. When there is none, it
// begins to open it, in place of the room that is empty longest if need be. The
// error is ErrFull.
func (h *Hub) room(id chat.RoomID) (*room, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.rooms[id]; r != nil {
		return r, nil
	}
	if h.isFull() && !h.closeEmpty(time.Now().Add(h.opts.Linger)) {
		h.count.RoomsRefused.Inc()
		return nil, ErrFull
	}
	r := newRoom(h, id)
	h.rooms[id] = r
	h.count.Rooms.Inc()
	h.queue = append(h.queue, r)
	if h.opening < openers {
		h.opening++
		h.work.Go(h.openQueued)
	}
	return r, nil
}

func (h *Hub) isFull() bool { return h.opts.Rooms > 0 && len(h.rooms) >= h.opts.Rooms }

// Full says whether a join of a room would be refused with ErrFull.
func (h *Hub) Full(id chat.RoomID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[id] == nil && h.isFull() && h.lingering.none()
}

// openQueued opens rooms, in the order in which they were asked for, until
// none waits. A session waits for one at a time, so that nobody has more than
// one place before the others for each connection.
func (h *Hub) openQueued() {
	for r := h.nextQueued(); r != nil; r = h.nextQueued() {
		r.open()
	}
}

func (h *Hub) nextQueued() *room {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		h.queue = nil
		h.opening--
		return nil
	}
	r := h.queue[0]
	h.queue[0] = nil
	h.queue = h.queue[1:]
	return r
}

// lingerLoop closes rooms that have been empty for long enough.
func (h *Hub) lingerLoop() {
	for {
		next, some := h.lingering.first()
		if !some {
			select {
			case <-h.lingering.begun:
				continue
			case <-h.life.Done():
				return
			}
		}
		due := time.NewTimer(time.Until(next))
		select {
		case <-due.C:
		case <-h.lingering.begun:
			due.Stop()
			continue
		case <-h.life.Done():
			due.Stop()
			return
		}
		h.mu.Lock()
		h.closeEmpty(time.Now())
		h.mu.Unlock()
	}
}

// closeEmpty closes the room that is empty longest, if it was to linger until
// by at the most, and says whether it did. The lock is held.
func (h *Hub) closeEmpty(by time.Time) bool {
	for r := h.lingering.take(by); r != nil; r = h.lingering.take(by) {
		if h.drop(r, r.wanted) {
			return true
		}
	}
	return false
}

// A lingering is the rooms that nobody is in, the longest empty one first.
type lingering struct {
	begun chan struct{} // there is another first one; capacity 1, never closed

	// Guarded by mu.
	mu    sync.Mutex
	rooms list.List // of lingerer, in the order of their ends
}

type lingerer struct {
	room  *room
	until time.Time
}

func (l *lingering) add(r *room, until time.Time) *list.Element {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rooms.Len() == 0 {
		notify(l.begun)
	}
	return l.rooms.PushBack(lingerer{r, until})
}

// addFirst adds a room that does not linger.
func (l *lingering) addFirst(r *room) *list.Element {
	l.mu.Lock()
	defer l.mu.Unlock()
	notify(l.begun)
	return l.rooms.PushFront(lingerer{room: r})
}

// remove takes a room out, if it is in still.
func (l *lingering) remove(e *list.Element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rooms.Remove(e)
}

func (l *lingering) none() bool {
	_, some := l.first()
	return !some
}

// first says when the first room's time is over.
func (l *lingering) first() (until time.Time, some bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.rooms.Front(); e != nil {
		return e.Value.(lingerer).until, true
	}
	return time.Time{}, false
}

// take takes the first room out, if its time is over by then, or returns nil.
func (l *lingering) take(by time.Time) *room {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.rooms.Front()
	if e == nil || e.Value.(lingerer).until.After(by) {
		return nil
	}
	return l.rooms.Remove(e).(lingerer).room
}
