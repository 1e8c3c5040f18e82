package redisbroker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
)

// Pauses between attempts to connect the bridge.
const (
	minConnectPause = 50 * time.Millisecond
	maxConnectPause = time.Second
)

// A bridge keeps this node subscribed to its open rooms, on one connection at
// a time: run owns it, and makes the next when it fails. Open and Close only
// change what is wanted of a room; the connection brings Redis in line with
// it, with one command for a room at a time, so that they take effect in
// order.
type bridge struct {
	// Static after construction.
	broker  *Broker
	options redis.Options
	wake    chan struct{} // holds one token while changed may have rooms; never closed

	// Owned by run.
	connections uint64 // how many there were

	// Owned by the probe of the connection.
	pulse pulse // what the last beat found

	// Guarded by mu.
	mu        sync.Mutex
	lines     map[chat.RoomID]*line
	changed   map[chat.RoomID]bool // rooms that may need a command
	channel   string               // the node's channel on this connection; "" between connections
	connected chan struct{}        // closed while this connection has all rooms and the node's channel
}

// A line is what the bridge knows of one room. It exists while the room is
// wanted, or claimed, or Redis may count us among its subscribers.
type line struct {
	wanted  bool
	state   lineState
	claims  int             // calls in flight that say we hear the room
	waiting []chan struct{} // closed when Redis has confirmed
}

type lineState int

const (
	unheard lineState = iota // no subscription
	asked                    // subscribing
	heard                    // subscribed
	leaving                  // unsubscribing
)

func newBridge(b *Broker, o redis.Options) *bridge {
	return &bridge{
		broker:  b,
		options: o,
		wake:    make(chan struct{}, 1),
		lines:   make(map[chat.RoomID]*line),
		changed: make(map[chat.RoomID]bool),

		connected: make(chan struct{}),
	}
}

// Open implements chat.Broker. An Open that fails leaves the room closed, unless
// another one still waits for it, or ctx had ended before: then it changes
// nothing.
func (b *Broker) Open(ctx context.Context, room chat.RoomID) error {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	if ctx.Err() == nil {
		confirmed := b.bridge.want(room)
		select {
		case <-confirmed:
			return nil
		case <-ctx.Done():
		}
		if !b.bridge.giveUp(room, confirmed) {
			return nil
		}
	}
	return fmt.Errorf("open %s: %w", room, unavailable(context.Cause(ctx)))
}

// Close implements chat.Broker.
func (b *Broker) Close(room chat.RoomID) {
	b.bridge.mu.Lock()
	defer b.bridge.mu.Unlock()
	if l := b.bridge.lines[room]; l != nil {
		l.wanted = false
		b.bridge.touch(room, l)
	}
}

// want opens a room and returns a channel that is closed when Redis has
// confirmed it.
func (b *bridge) want(room chat.RoomID) chan struct{} {
	confirmed := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[room]
	if l == nil {
		l = new(line)
		b.lines[room] = l
	}
	l.wanted = true
	if l.state == heard {
		close(confirmed)
		return confirmed
	}
	l.waiting = append(l.waiting, confirmed)
	b.touch(room, l)
	return confirmed
}

// giveUp takes a want back, unless it has just been confirmed.
func (b *bridge) giveUp(room chat.RoomID, confirmed chan struct{}) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-confirmed:
		return false
	default:
	}
	if l := b.lines[room]; l != nil {
		l.waiting = slices.DeleteFunc(l.waiting, func(w chan struct{}) bool { return w == confirmed })
		l.wanted = l.wanted && len(l.waiting) > 0
		b.touch(room, l)
	}
	return true
}

// claim returns the channel of the connection on which this node hears a room,
// or "" if it does not or is about to leave it. A claimed room stays
// subscribed until its release.
//
// A claim holds while the answer is awaited. If that is lost, the script may
// still run until its call's deadline, and discount a subscription that is gone
// by then. Nobody is told of such a publication, unless the call or its key is
// sent again (append.lua); the others miss it when they hear the next one.
func (b *bridge) claim(room chat.RoomID) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[room]
	if l == nil || !l.wanted || l.state != heard {
		return ""
	}
	l.claims++
	return b.channel
}

func (b *bridge) release(rooms []chat.RoomID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, room := range rooms {
		l := b.lines[room]
		l.claims--
		if l.claims == 0 && !l.wanted {
			b.touch(room, l)
		}
	}
}

// touch drops the line of a room that nothing needs any more, and has the
// connection look at every other. Called with mu held.
func (b *bridge) touch(room chat.RoomID, l *line) {
	if !l.wanted && l.state == unheard && l.claims == 0 {
		delete(b.lines, room)
		delete(b.changed, room)
		return
	}
	b.changed[room] = true
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// due returns the rooms that Redis must be told of, and marks them as told.
func (b *bridge) due() (subscribe, unsubscribe []chat.RoomID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for room := range b.changed {
		l := b.lines[room]
		switch {
		case l.wanted && l.state == unheard:
			l.state = asked
			subscribe = append(subscribe, room)
		case !l.wanted && l.state == heard && l.claims == 0:
			l.state = leaving
			unsubscribe = append(unsubscribe, room)
		}
	}
	clear(b.changed)
	return subscribe, unsubscribe
}

// begin starts a connection and returns the rooms that it needs.
func (b *bridge) begin(channel string) (subscribe []chat.RoomID) {
	b.mu.Lock()
	b.channel = channel
	b.mu.Unlock()
	subscribe, _ = b.due()
	return subscribe
}

// lose ends a connection: Redis counts us nowhere. It says whether the
// connection had been complete.
func (b *bridge) lose() (connected bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.connected:
		connected = true
		b.connected = make(chan struct{})
	default:
	}
	b.channel = ""
	for room, l := range b.lines {
		l.state = unheard
		b.touch(room, l)
	}
	return connected
}

// subscribed notes that Redis has confirmed a room.
func (b *bridge) subscribed(room chat.RoomID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[room]
	l.state = heard
	for _, w := range l.waiting {
		close(w)
	}
	l.waiting = nil
	b.touch(room, l)
}

// unsubscribed notes that Redis does not count us in a room any more.
func (b *bridge) unsubscribed(room chat.RoomID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[room]
	l.state = unheard
	b.touch(room, l)
}

// tell tells whoever minds that the bridge works, or what has broken it.
func (b *bridge) tell(broken error) {
	if hear := b.broker.options.Bridged; hear != nil {
		hear(broken)
	}
}

// complete notes that the connection has all rooms and the node's channel.
func (b *bridge) complete() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.connected)
}

// await returns the node's channel, on which answers arrive, as soon as the
// bridge is connected.
func (b *bridge) await(ctx context.Context) (channel string, err error) {
	for ctx.Err() == nil {
		b.mu.Lock()
		channel, connected := b.channel, b.connected
		b.mu.Unlock()
		select {
		case <-connected:
			if channel != "" {
				return channel, nil
			}
		case <-ctx.Done():
		}
	}
	return "", unavailable(context.Cause(ctx))
}

// run keeps the bridge connected until ctx ends.
func (b *bridge) run(ctx context.Context, sink chat.Sink) {
	log := b.broker.options.Log
	pause := minConnectPause
	for first := true; ; first = false {
		err := b.serve(ctx, sink)
		interrupted := b.lose()
		switch {
		case ctx.Err() != nil:
			return
		case interrupted:
			log.Warn("bridge interrupted", "error", err)
			b.broker.counters.interrupted(err)
			b.tell(err)
			pause = minConnectPause
		case first:
			log.Warn("bridge cannot connect and keeps trying", "error", err)
		default:
			log.Debug("bridge cannot connect", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxConnectPause)
	}
}
