package hooks

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A Memory keeps events of one process until they are handled, in one order. It
// forgets the oldest beyond its bound, and all when the process ends. Add may be
// called concurrently.
type Memory struct {
	most int
	wake chan struct{} // holds a token when there is something; never closed

	// Guarded by mu.
	mu     sync.Mutex
	last   int // number of the last event
	events []waiting
}

type waiting struct {
	id    string
	event map[string]string
}

// NewMemory makes a Memory for so many events.
func NewMemory(most int) *Memory {
	return &Memory{most: most, wake: make(chan struct{}, 1)}
}

// Add keeps an event. It never blocks.
func (m *Memory) Add(event map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.events) >= m.most {
		m.events = m.events[1:]
	}
	m.last++
	id := strconv.FormatInt(time.Now().UnixMilli(), 10) + "-" + strconv.Itoa(m.last)
	m.events = append(m.events, waiting{id, maps.Clone(event)})
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Backlog is how many events wait.
func (m *Memory) Backlog() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.events)
}

// memoryPause is how long an event waits that was not handled.
const memoryPause = time.Second

// Run has events handled, one at a time, until ctx ends.
func (m *Memory) Run(ctx context.Context, handle func(ctx context.Context, id string, event map[string]string) error) error {
	for {
		next, ok := m.first()
		pause := m.wake
		var again <-chan time.Time
		if ok {
			pause = nil
			err := handle(ctx, next.id, next.event)
			if err == nil || errors.Is(err, ErrHopeless) {
				m.forget(next.id)
			}
			switch {
			case err == nil:
				continue
			case errors.Is(err, ErrHopeless):
				slog.Warn("an event was not delivered", "id", next.id, "type", next.event["type"], "err", err)
				continue
			}
			again = time.After(memoryPause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-pause:
		case <-again:
		}
	}
}

func (m *Memory) first() (waiting, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.events) == 0 {
		return waiting{}, false
	}
	return m.events[0], true
}

// forget takes the first event away, unless it went before.
func (m *Memory) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.events) > 0 && m.events[0].id == id {
		m.events = m.events[1:]
	}
}

// Here is the Directory of one process: what is so on this node is so everywhere.
type Here struct {
	Tell func(event map[string]string)

	mu       sync.Mutex
	occupied map[chat.RoomID]bool
}

var _ Directory = (*Here)(nil)

// Occupied implements Directory.
func (h *Here) Occupied(_ context.Context, rooms []chat.RoomID) error {
	h.change(rooms, true)
	return nil
}

// Left implements Directory.
func (h *Here) Left(_ context.Context, rooms []chat.RoomID) error {
	h.change(rooms, false)
	return nil
}

func (h *Here) change(rooms []chat.RoomID, occupied bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.occupied == nil {
		h.occupied = make(map[chat.RoomID]bool)
	}
	for _, room := range rooms {
		if h.occupied[room] != occupied {
			set(h.occupied, room, occupied)
			h.Tell(map[string]string{"type": EventOf(room, occupied), "room": string(room)})
		}
	}
}

// Sweep implements Directory.
func (*Here) Sweep(context.Context) (more bool, err error) { return false, nil }
