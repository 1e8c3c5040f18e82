package ring

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A Kind is what sort of thing has happened.
type Kind string

// What a node tells of itself.
const (
	Started   Kind = "started"
	Draining  Kind = "draining"
	RedisLost Kind = "redis_lost"
	RedisBack Kind = "redis_back"
	Healed    Kind = "healed" // the logs of Rooms: Count messages restored
	Split     Kind = "split"  // Rooms have members here, and their home is elsewhere
	LedHome   Kind = "led_home"
)

// What the node that is asked for the state of the ring notices of others.
const (
	OffRing     Kind = "off_ring"
	OnRing      Kind = "on_ring"
	Silent      Kind = "silent"
	Answers     Kind = "answers"
	HAProxyLost Kind = "haproxy_lost"
	HAProxyBack Kind = "haproxy_back"
)

// An Event is something that has happened.
type Event struct {
	At    int64       `json:"at"` // Unix milliseconds
	Seq   uint64      `json:"seq"`
	By    string      `json:"by"`   // who tells it; Seq counts its events
	Node  string      `json:"node"` // of which node, by its APPID; "" of HAProxy
	Kind  Kind        `json:"kind"`
	Room  chat.RoomID `json:"room,omitempty"`  // one of them
	Rooms int         `json:"rooms,omitempty"` // how many
	Count int         `json:"count,omitempty"`
	Why   string      `json:"why,omitempty"`
	Text  string      `json:"text"` // all of it, as a sentence about Node
}

const (
	// maxEvents is how many events are kept.
	maxEvents = 200
	// together is how soon an event must follow one of the same kind to be told with it:
	// what befalls one room often befalls thousands.
	together = 3 * time.Second
)

// A diary keeps the last events. All methods may be called concurrently.
type diary struct {
	by string // who writes it

	// Guarded by mu.
	mu     sync.Mutex
	events []Event // oldest first
	seq    uint64
}

// note takes an event down that happens now, unless it says when it did.
func (d *diary) note(e Event) {
	now := time.Now()
	if e.At == 0 {
		e.At = now.UnixMilli()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.events {
		if last := &d.events[i]; e.Rooms > 0 && last.Kind == e.Kind && last.Why == e.Why && e.At-last.At < together.Milliseconds() {
			last.Rooms += e.Rooms
			last.Count += e.Count
			last.Text = last.sentence()
			return
		}
	}
	d.seq++
	e.Seq, e.By = d.seq, d.by
	e.Text = e.sentence()
	if len(d.events) == maxEvents {
		d.events = slices.Delete(d.events, 0, 1)
	}
	d.events = append(d.events, e)
}

// all returns the events, oldest first.
func (d *diary) all() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events)
}

// sentence says what has happened to or on the node.
func (e *Event) sentence() string {
	switch e.Kind {
	case Started:
		return "started"
	case Draining:
		return "drains: it takes nobody more, and sends its members elsewhere"
	case RedisLost:
		return "has lost Redis: " + e.Why
	case RedisBack:
		return "has Redis again, after " + e.Why
	case Healed:
		return fmt.Sprintf("healed the log of %s that had lost its tail: %s restored", e.rooms(), plural(e.Count, "message"))
	case Split:
		if e.Rooms == 1 {
			return fmt.Sprintf("has members of %s, which is at home on %s", e.Room, e.Why)
		}
		return fmt.Sprintf("has members of %s, which are at home on %s", e.rooms(), e.Why)
	case LedHome:
		return fmt.Sprintf("led %s of %s home", plural(e.Count, "member"), e.rooms())
	case OffRing:
		return "is off the ring: " + e.Why
	case OnRing:
		return "is on the ring"
	case Silent:
		return "does not answer: " + e.Why
	case Answers:
		return "answers again"
	case HAProxyLost:
		return "does not answer: " + e.Why
	case HAProxyBack:
		return "answers again"
	}
	return string(e.Kind)
}

// rooms names one room, or says how many there are.
func (e *Event) rooms() string {
	switch {
	case e.Rooms == 1 && e.Room != "":
		return string(e.Room)
	case e.Room != "":
		return fmt.Sprintf("%s (%s among them)", plural(e.Rooms, "room"), e.Room)
	}
	return plural(e.Rooms, "room")
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
