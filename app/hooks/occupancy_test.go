package hooks_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hooks"
)

// A notebook notes what a directory is told, and can be out of order.
type notebook struct {
	hooks.Here

	mu     sync.Mutex
	broken bool
	slow   time.Duration
	calls  []string
	events []string
}

func (n *notebook) note(what string, rooms []chat.RoomID) error {
	n.mu.Lock()
	slow := n.slow
	n.mu.Unlock()
	time.Sleep(slow)
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(rooms)
	if len(rooms) > 5 {
		what, rooms = fmt.Sprintf("%s %d:", what, len(rooms)), rooms[:1]
	}
	n.calls = append(n.calls, fmt.Sprint(what, rooms))
	if n.broken {
		return errors.New("out of order")
	}
	return nil
}

func (n *notebook) Occupied(ctx context.Context, rooms []chat.RoomID) error {
	if err := n.note("occupied", rooms); err != nil {
		return err
	}
	return n.Here.Occupied(ctx, rooms)
}

func (n *notebook) Left(ctx context.Context, rooms []chat.RoomID) error {
	if err := n.note("left", rooms); err != nil {
		return err
	}
	return n.Here.Left(ctx, rooms)
}

// change changes how the directory is.
func (n *notebook) change(how func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	how()
}

// taken returns what was noted since the last time.
func (n *notebook) taken() (calls, events []string) {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	calls, events = n.calls, n.events
	n.calls, n.events = nil, nil
	return calls, events
}

// occupying runs a story of an occupancy with a grace of two seconds.
func occupying(t *testing.T, rooms, users bool, tell func(t *testing.T, o *hooks.Occupancy, n *notebook)) {
	synctest.Test(t, func(t *testing.T) {
		n := &notebook{}
		n.Tell = func(event map[string]string) { n.events = append(n.events, event["type"]+" "+event["room"]) }
		o := hooks.NewOccupancy(n, rooms, users, 2*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }()
		tell(t, o, n)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Who comes is told at once, who leaves after the grace, and who is back within
// it never. What it means depends on the kind of the room.
func TestOccupancy(t *testing.T) {
	occupying(t, true, true, func(t *testing.T, o *hooks.Occupancy, n *notebook) {
		for _, room := range []chat.RoomID{"lobby", "@alice", "@alice+bob", "!nodes"} {
			o.Occupied(room, true)
		}
		_, events := n.taken()
		slices.Sort(events)
		if got, want := fmt.Sprint(events), "[room_occupied lobby user_online @alice]"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		o.Occupied("@alice", false)
		time.Sleep(1900 * time.Millisecond)
		o.Occupied("@alice", true)
		o.Occupied("lobby", false)
		time.Sleep(1900 * time.Millisecond)
		if calls, _ := n.taken(); len(calls) > 0 {
			t.Errorf("told %v within the grace", calls)
		}
		time.Sleep(101 * time.Millisecond)
		if _, events := n.taken(); fmt.Sprint(events) != "[room_vacated lobby]" {
			t.Errorf("told %v, want that the lobby is vacated", events)
		}
		o.Occupied("@alice", false)
		time.Sleep(2 * time.Second)
		if _, events := n.taken(); fmt.Sprint(events) != "[user_offline @alice]" {
			t.Errorf("told %v, want that alice has gone", events)
		}
	})
}

// Nobody is told of what nobody wants to know.
func TestOccupancyOfOneKind(t *testing.T) {
	for _, rooms := range []bool{true, false} {
		occupying(t, rooms, !rooms, func(t *testing.T, o *hooks.Occupancy, n *notebook) {
			o.Occupied("lobby", true)
			o.Occupied("@alice", true)
			want := "[user_online @alice]"
			if rooms {
				want = "[room_occupied lobby]"
			}
			if _, events := n.taken(); fmt.Sprint(events) != want {
				t.Errorf("told %v, want %s", events, want)
			}
		})
	}
}

// While the directory is out of order what changes back is forgotten, and what
// has changed is told when it is in order again, tried once a second.
func TestDirectoryOutOfOrder(t *testing.T) {
	occupying(t, true, true, func(t *testing.T, o *hooks.Occupancy, n *notebook) {
		n.change(func() { n.broken = true })
		o.Occupied("lobby", true)
		for range 20 {
			o.Occupied("team", true)
			o.Occupied("team", false)
			time.Sleep(time.Second)
		}
		if calls, _ := n.taken(); len(calls) < 15 || len(calls) > 21 {
			t.Errorf("%d calls in twenty seconds, want one each second", len(calls))
		}
		n.change(func() { n.broken = false })
		time.Sleep(time.Second)
		if _, events := n.taken(); fmt.Sprint(events) != "[room_occupied lobby]" {
			t.Errorf("told %v, want the lobby alone", events)
		}
	})
}

// What changes while it is being told is told as well.
func TestChangeMeanwhile(t *testing.T) {
	occupying(t, true, true, func(t *testing.T, o *hooks.Occupancy, n *notebook) {
		n.change(func() { n.slow = time.Second })
		o.Occupied("lobby", true)
		time.Sleep(500 * time.Millisecond)
		o.Occupied("lobby", false)
		time.Sleep(10 * time.Second)
		if _, events := n.taken(); fmt.Sprint(events) != "[room_occupied lobby room_vacated lobby]" {
			t.Errorf("told %v, want both", events)
		}
	})
}

// A directory that forgets hears again of every room within half a minute, some
// hundred at a time.
func TestRounds(t *testing.T) {
	occupying(t, true, true, func(t *testing.T, o *hooks.Occupancy, n *notebook) {
		var rooms []chat.RoomID
		for i := range 1200 {
			rooms = append(rooms, chat.RoomID(fmt.Sprintf("room-%04d", i)))
			o.Occupied(rooms[i], true)
		}
		if calls, events := n.taken(); len(events) != 1200 || len(calls) > 100 {
			t.Errorf("%d events in %v, want 1200 in few calls", len(events), calls)
		}
		if err := n.Here.Left(t.Context(), rooms); err != nil { // it forgets them
			t.Fatal(err)
		}
		n.taken()
		time.Sleep(30 * time.Second)
		if calls, events := n.taken(); len(events) != 1200 || len(calls) != 3 {
			t.Errorf("%d events in %v, want 1200 in three calls", len(events), calls)
		}
	})
}
