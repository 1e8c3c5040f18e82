package hooks

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A Directory knows which rooms of the whole cluster somebody is in, and adds an
// event to the queue whenever that changes. Inboxes say whether their owner is
// online. It may be told things twice.
type Directory interface {
	// Occupied hears that somebody is in rooms on this node.
	Occupied(ctx context.Context, rooms []chat.RoomID) error
	// Left hears that nobody is in rooms on this node, and looks whether anybody is
	// elsewhere.
	Left(ctx context.Context, rooms []chat.RoomID) error
	// Sweep looks whether anybody is in some of the rooms that it knows as occupied,
	// others each time, and says whether there are more to look at.
	Sweep(ctx context.Context) (more bool, err error)
}

const (
	// together is how many rooms are told in one call.
	together = 500
	// wholeRound is after what time the directory hears again of every room that is
	// occupied here: what it has lost is mended by then.
	wholeRound = 30 * time.Second
	// betweenSweeps is how long the directory is not swept, when it has been swept
	// through.
	betweenSweeps = time.Second
	// afterError is how long an error keeps from trying again.
	afterError = time.Second
	// directoryTimeout is how long a call may take.
	directoryTimeout = 3 * time.Second
)

// Occupancy tells a directory in which rooms somebody is on this node. What it
// hears are no events that could pile up, but how things are: it works off the
// difference to what it has told. Who is back within the grace has not left.
type Occupancy struct {
	// Static after construction.
	directory    Directory
	rooms, users bool // which kinds are told
	grace        time.Duration
	wake         chan struct{} // holds a token when there may be something to tell; never closed

	// Guarded by mu.
	mu    sync.Mutex
	here  map[chat.RoomID]bool      // somebody is in them
	told  map[chat.RoomID]bool      // somebody was when the directory was told
	due   map[chat.RoomID]time.Time // in which of both they differ, and from when on to tell it
	round []chat.RoomID             // to be told again
}

// NewOccupancy builds an occupancy that tells of named rooms, of users, or both.
func NewOccupancy(d Directory, rooms, users bool, grace time.Duration) *Occupancy {
	return &Occupancy{
		directory: d, rooms: rooms, users: users, grace: grace, wake: make(chan struct{}, 1),
		here: make(map[chat.RoomID]bool), told: make(map[chat.RoomID]bool), due: make(map[chat.RoomID]time.Time),
	}
}

// Occupied hears that somebody is in a room on this node, or nobody any more. It
// does not block. Direct rooms and the nodes' own are nobody's business.
func (o *Occupancy) Occupied(room chat.RoomID, occupied bool) {
	switch {
	case strings.HasPrefix(string(room), "!"), strings.Contains(string(room), "+"):
		return
	case strings.HasPrefix(string(room), "@"):
		if !o.users {
			return
		}
	case !o.rooms:
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	set(o.here, room, occupied)
	switch {
	case occupied == o.told[room]:
		delete(o.due, room)
		return
	case occupied:
		o.due[room] = time.Time{}
	default:
		o.due[room] = time.Now().Add(o.grace)
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func set(of map[chat.RoomID]bool, room chat.RoomID, yes bool) {
	if yes {
		of[room] = true
	} else {
		delete(of, room)
	}
}

// Run tells the directory until ctx ends.
func (o *Occupancy) Run(ctx context.Context) error {
	var work sync.WaitGroup
	work.Go(func() { o.tell(ctx) })
	work.Go(func() { o.sweep(ctx) })
	work.Wait()
	return nil
}

// tell works off what is due, and goes the rounds.
func (o *Occupancy) tell(ctx context.Context) {
	rounds := time.NewTicker(wholeRound)
	defer rounds.Stop()
	for ctx.Err() == nil {
		occupied, left, next := o.next(time.Now())
		err := o.say(ctx, occupied, left)
		if err != nil {
			complain(ctx, err)
			next = time.Now().Add(afterError)
		}
		var again <-chan time.Time
		wake := o.wake
		if !next.IsZero() {
			again = time.After(time.Until(next))
		}
		if err != nil {
			wake = nil
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-again:
		case <-rounds.C:
			o.begin()
		}
	}
}

// begin begins a round.
func (o *Occupancy) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.round = o.round[:0]
	for room := range o.told {
		o.round = append(o.round, room)
	}
}

// next returns rooms to tell of, and when there are more; the zero time: when
// something changes.
func (o *Occupancy) next(now time.Time) (occupied, left []chat.RoomID, more time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for room, at := range o.due {
		switch {
		case len(occupied)+len(left) == together:
			return occupied, left, now
		case at.After(now):
			if more.IsZero() || at.Before(more) {
				more = at
			}
		case o.here[room]:
			occupied = append(occupied, room)
		default:
			left = append(left, room)
		}
	}
	for len(o.round) > 0 {
		if len(occupied) == together {
			return occupied, left, now
		}
		room := o.round[len(o.round)-1]
		o.round = o.round[:len(o.round)-1]
		if o.here[room] {
			occupied = append(occupied, room)
		}
	}
	return occupied, left, more
}

// say tells the directory, and notes that.
func (o *Occupancy) say(ctx context.Context, occupied, left []chat.RoomID) error {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	if len(occupied) > 0 {
		if err := o.directory.Occupied(ctx, occupied); err != nil {
			return err
		}
		o.note(occupied, true)
	}
	if len(left) > 0 {
		if err := o.directory.Left(ctx, left); err != nil {
			return err
		}
		o.note(left, false)
	}
	return nil
}

func (o *Occupancy) note(rooms []chat.RoomID, occupied bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, room := range rooms {
		set(o.told, room, occupied)
		if o.here[room] == occupied {
			delete(o.due, room)
		} else { // it has changed meanwhile
			o.due[room] = time.Now().Add(o.grace)
		}
	}
}

// sweep has the directory look after rooms whose nodes say nothing any more.
func (o *Occupancy) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		pause := betweenSweeps
		more, err := o.sweepSome(ctx)
		switch {
		case err != nil:
			complain(ctx, err)
			pause = afterError
		case more:
			pause = betweenSweeps / 50 // Redis has others to serve
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (o *Occupancy) sweepSome(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	return o.directory.Sweep(ctx)
}

func complain(ctx context.Context, err error) {
	if ctx.Err() == nil {
		slog.Warn("who is where cannot be told to the application for the moment", "err", err)
	}
}
