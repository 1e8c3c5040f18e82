package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/gateway"
)

// A leave is how a member was sent away.
type leave struct {
	at       time.Duration // since the departure began
	from, to time.Duration // when it comes back, since then
}

// crowd connects n members of each room, in the order of the rooms.
func (n *node) crowd(t *testing.T, each int, paths ...string) []*listener {
	t.Helper()
	var all []*listener
	for _, path := range paths {
		for i := range each {
			all = append(all, n.listen(t, fmt.Sprintf("%s?user=u%d", path, i), true))
		}
	}
	return all
}

// left returns how a listener was sent away, if it was. Began is when the
// departure did.
func (l *listener) left(t *testing.T, began time.Time) (leave, bool) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.frames {
		var drain struct {
			Push        string   `json:"push"`
			ReconnectMS [2]int64 `json:"reconnect_ms"`
		}
		if f.opcode != text || json.Unmarshal(f.payload, &drain) != nil || drain.Push != "drain" {
			continue
		}
		if i+1 >= len(l.frames) || l.frames[i+1].opcode != closed || l.frames[i+1].at != f.at {
			t.Error("what follows the drain push is not the close frame, at once")
		}
		at := f.at - began.Sub(l.began)
		return leave{at, at + time.Duration(drain.ReconnectMS[0])*time.Millisecond, at + time.Duration(drain.ReconnectMS[1])*time.Millisecond}, true
	}
	return leave{}, false
}

// sentAway returns how all were sent away, in the order of their going.
func sentAway(t *testing.T, all []*listener, began time.Time) []leave {
	t.Helper()
	synctest.Wait()
	var leaves []leave
	for i, l := range all {
		left, ok := l.left(t, began)
		if !ok {
			t.Fatalf("member %d was not told to come back", i)
		}
		if code, _ := l.end(); code != 1012 {
			t.Errorf("member %d closed with %d, want 1012", i, code)
		}
		leaves = append(leaves, left)
	}
	slices.SortFunc(leaves, func(a, b leave) int { return int(a.at - b.at) })
	return leaves
}

// keepsRate fails when more could come back than the rate allows: counting as
// back whoever may be back at a time, no more than what it gives until then and
// one group.
func keepsRate(t *testing.T, leaves []leave, rate float64, group int) {
	t.Helper()
	var from []time.Duration
	for _, l := range leaves {
		from = append(from, l.from)
	}
	slices.Sort(from)
	for i, at := range from {
		if most := at.Seconds()*rate + float64(group); float64(i+1) > most+0.01 {
			t.Fatalf("%d members may be back after %v, want at most %.1f", i+1, at, most)
		}
	}
}

// Members leave a few at a time, as fast as the rate says, and come back at
// once: none is without a connection for long, and the others have time.
func TestPace(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		all := n.crowd(t, 20, "/ws/chat/a", "/ws/chat/b", "/ws/watch/a")
		began := time.Now()
		n.Close(gateway.Departure{Rate: 20, Within: time.Minute})
		leaves := sentAway(t, all, began)
		keepsRate(t, leaves, 20, 2)
		for _, l := range leaves {
			if l.from != l.at || l.to-l.at != 100*time.Millisecond {
				t.Fatalf("a member that leaves at %v comes back from %v to %v, want within 100ms", l.at, l.from, l.to)
			}
		}
		if last := leaves[len(leaves)-1].at; last != 3*time.Second {
			t.Errorf("the last of 60 left after %v, want 3s", last)
		}
		for room, ones := range [][]*listener{all[40:], all[:20], all[20:40]} { // watchers, a, b
			for _, l := range ones {
				if at, _ := l.left(t, began); at.at <= time.Duration(room)*time.Second || at.at > time.Duration(room+1)*time.Second {
					t.Fatalf("a member of room %d left after %v: want watchers first, and then room by room", room, at.at)
				}
			}
		}
	})
}

// Where there is no time to wait for all at that rate, all leave in time, and
// come back at the rate all the same.
func TestPaceInAHurry(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		all := n.crowd(t, 60, "/ws/chat/a")
		began := time.Now()
		n.Close(gateway.Departure{Rate: 20, Within: time.Second})
		leaves := sentAway(t, all, began)
		keepsRate(t, leaves, 20, 2)
		last := leaves[len(leaves)-1]
		if last.at > 1010*time.Millisecond || last.at < 900*time.Millisecond {
			t.Errorf("the last of 60 left after %v, want 1s", last.at)
		}
		if last.to < 2900*time.Millisecond || last.to > 3100*time.Millisecond {
			t.Errorf("the last of 60 is back after %v, want 3s", last.to)
		}
	})
}

// A departure without a rate and a time closes everybody at once.
func TestCloseAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		all := n.crowd(t, 10, "/ws/chat/a")
		began := time.Now()
		n.Close(gateway.Departure{})
		if last := sentAway(t, all, began)[9].at; last != 0 {
			t.Errorf("the last one left after %v", last)
		}
	})
}

// asked notes when Ahead was asked for which rooms.
type asked struct {
	began time.Time
	mu    sync.Mutex
	at    map[chat.RoomID]time.Duration // the first time
}

func (a *asked) ahead(_ context.Context, rooms []chat.RoomID) []chat.RoomID {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, room := range rooms {
		if _, ok := a.at[room]; !ok {
			a.at[room] = time.Since(a.began)
		}
	}
	return nil
}

// Every room is asked for before its first member leaves, and not long before:
// what is opened elsewhere is soon used. Watchers go anywhere.
func TestAhead(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		rooms := []string{"/ws/watch/a", "/ws/chat/a", "/ws/chat/b", "/ws/chat/c", "/ws/chat/d"}
		all := n.crowd(t, 10, rooms...)
		a := &asked{began: time.Now(), at: map[chat.RoomID]time.Duration{}}
		n.Close(gateway.Departure{Rate: 10, Within: time.Minute, Patience: time.Second, Ahead: a.ahead})
		sentAway(t, all, a.began)
		if len(a.at) != 4 {
			t.Errorf("asked for %v, want the rooms a to d", a.at)
		}
		for i, room := range []chat.RoomID{"a", "b", "c", "d"} {
			left, _ := all[10*(i+1)].left(t, a.began)
			for _, l := range all[10*(i+1) : 10*(i+2)] {
				if at, _ := l.left(t, a.began); at.at < left.at {
					left = at
				}
			}
			if at := a.at[room]; left.at-at < 500*time.Millisecond || left.at-at > time.Second {
				t.Errorf("room %s: asked after %v, left after %v, want some half a second later", room, at, left.at)
			}
		}
	})
}

// Who does not answer ahead of time, or slowly, does not hold a drain up for
// longer than its patience, in all, and does not let members leave faster.
func TestAheadIsDeaf(t *testing.T) {
	for name, ahead := range map[string]func(context.Context){
		"deaf": func(ctx context.Context) { <-ctx.Done() },
		"slow": func(ctx context.Context) {
			select {
			case <-time.After(400 * time.Millisecond):
			case <-ctx.Done():
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *node) {
				all := n.crowd(t, 10, "/ws/chat/a", "/ws/chat/b", "/ws/chat/c")
				began := time.Now()
				n.Close(gateway.Departure{
					Rate: 10, Within: time.Minute, Patience: 2 * time.Second,
					Ahead: func(ctx context.Context, _ []chat.RoomID) []chat.RoomID {
						ahead(ctx)
						return nil
					},
				})
				leaves := sentAway(t, all, began)
				if last := leaves[len(leaves)-1].at; last < 3*time.Second || last > 5100*time.Millisecond {
					t.Errorf("the last of 30 left after %v, want 3s and 2s of patience at most", last)
				}
				for i := range leaves[2:] { // a turn may have waited, one and no more
					if d := leaves[i+2].at - leaves[i].at; d < 100*time.Millisecond {
						t.Errorf("three members left within %v", d)
					}
				}
			})
		})
	}
}

// Only those leave who are to, and of these not those of whose rooms it turns
// out in time that they should stay.
func TestSendAway(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		old := n.crowd(t, 2, "/ws/chat/away", "/ws/chat/stays", "/ws/chat/home", "/ws/watch/away")
		came := time.Now()
		if got := n.Rooms(time.Time{}, came); len(got) != 3 || slices.Contains(got, "") {
			t.Errorf("Rooms = %v, want those of chat sockets, once each", got)
		}
		time.Sleep(20 * time.Second)
		began := time.Now()
		young := n.crowd(t, 2, "/ws/chat/away")
		if got := n.Rooms(came, began); len(got) != 1 || got[0] != "away" {
			t.Errorf("Rooms = %v, want the one for which somebody has come since", got)
		}
		if got := n.Rooms(came, came); len(got) != 0 {
			t.Errorf("Rooms = %v, want none", got)
		}
		sent := n.SendAway(t.Context(), gateway.Departure{
			Leaves: func(room chat.RoomID, opened time.Time) bool {
				return (room == "away" || room == "stays") && opened.Before(began)
			},
			Rate: 10, Within: math.MaxInt64, Patience: math.MaxInt64,
			Ahead: func(_ context.Context, rooms []chat.RoomID) []chat.RoomID {
				time.Sleep(time.Minute) // no patience is too long
				return slices.DeleteFunc(slices.Clone(rooms), func(r chat.RoomID) bool { return r != "stays" })
			},
		})
		if sent != 2 {
			t.Errorf("SendAway = %d, want 2", sent)
		}
		sentAway(t, old[:2], began)
		for i, l := range append(old[2:], young...) {
			if code, at := l.end(); at != 0 {
				t.Errorf("member %d, who stays, was closed with %d", i, code)
			}
		}
	})
}

// What was begun ends with its context, and nobody leaves unasked.
func TestSendAwayIsStopped(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		all := n.crowd(t, 10, "/ws/chat/a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		sent := n.SendAway(ctx, gateway.Departure{
			Rate: 10, Within: math.MaxInt64, Patience: math.MaxInt64,
			Ahead: func(ctx context.Context, _ []chat.RoomID) []chat.RoomID {
				<-ctx.Done()
				return nil
			},
		})
		synctest.Wait()
		for _, l := range all {
			if code, at := l.end(); at != 0 {
				t.Errorf("closed with %d", code)
			}
		}
		if sent != 0 {
			t.Errorf("SendAway = %d, want 0", sent)
		}
	})
}
