// Package hub is this node's rooms: their members, the window of the log that
// is kept in memory, and the gate that lets each position through once, in
// order. It knows neither sockets nor Redis: members are Receivers, the log
// and the other nodes are a chat.Broker.
//
// Lock order: Hub.mu before room.mu before lingering.mu and whatever a Receiver
// locks. No lock is held across a call to the Broker, but for Close, which never
// blocks.
package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// ErrWatcher says that a read-only member tried to speak.
var ErrWatcher = errors.New("watchers only listen")

// Options are the hub's knobs.
type Options struct {
	// Rooms is how many rooms are open at once; zero: as many as are asked
	// for. Beyond it the longest empty one makes place, and when somebody is
	// in each, ErrFull is the answer.
	Rooms int
	// Window is how many publications of each room are kept in memory. Joins,
	// recoveries and history pages within it ask nothing of the log.
	Window int
	// WindowBudget is how many bytes all windows of the node may take
	// together; beyond it the least used shrink first.
	WindowBudget int64
	// Linger is how long an empty room stays open, in case somebody returns. An
	// inbox does not linger: that a node hears it says that its owner is there.
	Linger time.Duration
	// RetentionAge is how long the log keeps a silent room. What is older is
	// not restored to a log that has lost it.
	RetentionAge time.Duration
	// OpenTimeout is how long the opening of a room may take.
	OpenTimeout time.Duration
	// Rest is how long a room rests for each member once it has begun to tell them
	// something, and gathers what is said meanwhile; see fanout. Sending to a
	// member takes 3 to 4 µs, so with 15 µs a room takes a fifth of a processor at
	// most, unless Gather cuts its rest short. 0: it does not rest.
	Rest time.Duration
	// Gather is the longest rest. 0: no room rests.
	Gather time.Duration
	// FillGrace is how long a hole may wait for the publication that fills
	// it, which is often on its way, before the log is read.
	FillGrace time.Duration
	// Node names this node in what others are told of it: its APPID.
	Node string
	// Occupied hears that somebody is in a room on this node, or nobody any more.
	// It is called under the room's lock, in the order of what happens, and must not
	// block. Nil: nobody minds.
	Occupied func(room chat.RoomID, occupied bool)
	// Healed hears that the log of a room had lost its tail and is healed, and how many
	// publications were restored. It must not block. Nil: nobody minds.
	Healed func(room chat.RoomID, restored int)
}

// A Hub holds the rooms that this node serves. All methods may be called
// concurrently.
type Hub struct {
	// Static after construction.
	broker  chat.Broker
	opts    Options
	count   *metrics.Hub
	life    context.Context // ends with Run; what runs in the background ends with it
	end     context.CancelFunc
	resumed chan struct{} // the bridge was away; capacity 1, never closed
	tight   chan struct{} // the windows exceed their budget; capacity 1, never closed
	signals chan signal   // to other nodes; bounded, never closed
	healing chan struct{} // holds a token for each try to heal a log; never closed

	windowBytes atomic.Int64
	work        sync.WaitGroup // opens, fills
	lingering   lingering

	// Guarded by mu.
	mu      sync.Mutex
	rooms   map[chat.RoomID]*room
	queue   []*room // to be opened, in this order; each is among rooms
	opening int     // goroutines that open rooms; at most openers
}

type signal struct {
	room chat.RoomID
	body []byte
}

// signalQueue is how many signals may wait for the bridge; more are dropped,
// as signals may be.
const signalQueue = 1024

// New builds a hub over a broker. It does nothing until Run.
func New(b chat.Broker, opts Options, count *metrics.Hub) *Hub {
	life, end := context.WithCancel(context.Background())
	return &Hub{
		broker: b, opts: opts, count: count, life: life, end: end,
		resumed: make(chan struct{}, 1),
		tight:   make(chan struct{}, 1),
		signals: make(chan signal, signalQueue),
		healing: make(chan struct{}, healers),
		rooms:   make(map[chat.RoomID]*room),

		lingering: lingering{begun: make(chan struct{}, 1)},
	}
}

// Run serves the rooms until ctx ends, then waits for what it has started.
func (h *Hub) Run(ctx context.Context) error {
	defer h.work.Wait()
	defer h.end()
	h.work.Go(h.recheckLoop)
	h.work.Go(h.shrinkLoop)
	h.work.Go(h.signalLoop)
	h.work.Go(h.lingerLoop)
	if err := h.broker.Run(ctx, sink{h}); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	return nil
}

// A Receiver is what a member hears through. Its methods never block, and may
// be called by anyone.
type Receiver interface {
	Send(protocol.Batch)
	// Recover sends what a member has missed, and keeps the slice. The frames in
	// it are the window's own, shared by all who come back, so they do not count
	// against what may wait for the receiver.
	Recover([]protocol.Batch)
}

// Join says who joins a room, and how.
type Join struct {
	protocol.Options
	User     chat.UserID
	Receiver Receiver
	// Watch makes a read-only member that does not count as present.
	Watch bool
	// Unseen keeps from the others that this one comes and goes.
	Unseen bool
	// SignalEvery is how often the member may signal; of those in between only
	// the last is passed on. 0: each is.
	SignalEvery time.Duration
}

// Join makes a member of a room, opening the room first when this node does
// not serve it. The receiver hears the joined push, what it missed, and from
// then on every publication, before Join returns. Errors wrap
// chat.ErrUnavailable when the room cannot be opened; ErrFull is one.
func (h *Hub) Join(ctx context.Context, id chat.RoomID, j Join) (*Member, error) {
	for {
		r, err := h.room(id)
		if err != nil {
			return nil, fmt.Errorf("join %s: %w", id, err)
		}
		m, err := r.admit(ctx, j)
		if err != nil {
			return nil, fmt.Errorf("join %s: %w", id, err)
		}
		if m != nil {
			return m, nil
		}
		// The room was closed in between: open it again.
	}
}

// lookup returns a room that this node serves, or nil.
func (h *Hub) lookup(id chat.RoomID) *room {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[id]
}

// drop takes a room out of service, unless keep says, under the room's lock,
// that it is wanted, and says whether it did. The lock is held.
func (h *Hub) drop(r *room, keep func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone || keep() {
		return false
	}
	r.gone = true
	r.stopLinger()
	h.windowBytes.Add(-r.window.clear())
	h.count.WindowBytes.Set(float64(h.windowBytes.Load()))
	delete(h.rooms, r.id)
	h.count.Rooms.Dec()
	h.broker.Close(r.id) // under mu, so that a later Open comes after it
	return true
}

// served returns the rooms that this node serves now.
func (h *Hub) served() []*room {
	h.mu.Lock()
	defer h.mu.Unlock()
	rooms := make([]*room, 0, len(h.rooms))
	for _, r := range h.rooms {
		rooms = append(rooms, r)
	}
	return rooms
}
