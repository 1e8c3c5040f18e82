package hub_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/protocol"
)

// A slowBroker takes its time to open and to read a room, and counts.
type slowBroker struct {
	chat.Broker
	takes time.Duration

	mu     sync.Mutex
	reads  map[chat.RoomID]int
	now    int // rooms being read
	atOnce int // at the most
}

func newSlowBroker(b chat.Broker, takes time.Duration) *slowBroker {
	return &slowBroker{Broker: b, takes: takes, reads: make(map[chat.RoomID]int)}
}

func (b *slowBroker) read(ctx context.Context, id chat.RoomID) error {
	b.mu.Lock()
	b.reads[id]++
	b.now++
	b.atOnce = max(b.atOnce, b.now)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now--
	}()
	select {
	case <-time.After(b.takes):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", chat.ErrUnavailable, ctx.Err())
	}
}

func (b *slowBroker) ReadAfter(ctx context.Context, id chat.RoomID, after chat.Position, limit int) ([]chat.Publication, error) {
	if err := b.read(ctx, id); err != nil {
		return nil, err
	}
	return b.Broker.ReadAfter(ctx, id, after, limit)
}

func (b *slowBroker) ReadBefore(ctx context.Context, id chat.RoomID, before chat.Position, limit int) ([]chat.Publication, error) {
	if err := b.read(ctx, id); err != nil {
		return nil, err
	}
	return b.Broker.ReadBefore(ctx, id, before, limit)
}

// count returns how often the log was read, in all and of the room that was
// read most, and forgets it.
func (b *slowBroker) count() (all, most int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.reads {
		all += n
		most = max(most, n)
	}
	clear(b.reads)
	return all, most
}

// joinWithin joins as a session does, which waits for so long.
func joinWithin(t *testing.T, h *hub.Hub, wait time.Duration, id chat.RoomID, l *listener, since *chat.Position) (*hub.Member, error) {
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	return h.Join(ctx, id, hub.Join{User: "alice", Receiver: l, Options: protocol.Options{Since: since}})
}

// A node that has as many rooms open as it may closes the one that is empty
// longest for another. When somebody is in each it refuses, and says so before.
func TestRoomsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := newSlowBroker(membroker.New().Node("1111"), time.Millisecond)
		o := options
		o.Rooms = 3
		h, count := startOn(t, broker, o)
		open := map[chat.RoomID]*hub.Member{}
		for _, id := range []chat.RoomID{"a", "b", "c"} {
			open[id] = join(t, h, id, "alice", &listener{}, nil)
		}
		if !h.Full("d") || h.Full("a") {
			t.Errorf("full for d: %v, for a, which is open: %v", h.Full("d"), h.Full("a"))
		}
		_, err := joinWithin(t, h, time.Second, "d", &listener{}, nil)
		if !errors.Is(err, hub.ErrFull) || !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("join d: %v, want ErrFull", err)
		}
		if got := value(t, count.RoomsRefused); got != 1 {
			t.Errorf("%v joins refused, want 1", got)
		}
		for _, id := range []chat.RoomID{"b", "a"} {
			open[id].Leave()
			time.Sleep(time.Second)
		}
		if h.Full("d") {
			t.Error("full, though two rooms are empty")
		}
		open["d"] = join(t, h, "d", "alice", &listener{}, nil)
		if got := value(t, count.Rooms); got != 3 {
			t.Errorf("%v rooms, want 3", got)
		}
		broker.count()
		open["a"] = join(t, h, "a", "alice", &listener{}, nil)
		if n, _ := broker.count(); n != 0 {
			t.Errorf("a, which was empty for less long than b, was closed")
		}
		if !h.Full("b") {
			t.Error("b is open still")
		}
		for _, id := range []chat.RoomID{"a", "c", "d"} {
			open[id].Leave()
		}
		time.Sleep(time.Minute)
		if got := value(t, count.Rooms); got != 0 {
			t.Errorf("%v rooms linger on", got)
		}
	})
}

// An empty room whose log is being healed is not closed for another one, and
// is as soon as it is healed.
func TestHealingRoomKeepsItsPlace(t *testing.T) {
	o := options
	o.Rooms = 1
	inLobby(t, o, func(s *scene) {
		s.say("k0", "k1")
		s.rewind(1)
		s.broker.at(beforeRestore, func() error { return errFault })
		s.look()
		time.Sleep(time.Second)
		if got := value(s.T, s.count.Healing); got != 1 {
			s.Errorf("%v logs are being healed, want 1", got)
		}
		s.alice.Leave()
		if _, err := joinWithin(s.T, s.hub, time.Second, "den", &listener{}, nil); !errors.Is(err, hub.ErrFull) {
			s.Errorf("join another room: %v, want ErrFull", err)
		}
		time.Sleep(time.Minute)
		s.broker.at(beforeRestore, nil)
		time.Sleep(2 * time.Second)
		s.wantLog("k0", "k1")
		if got := value(s.T, s.count.Healing); got != 0 {
			s.Errorf("%v logs are being healed, want none", got)
		}
		join(s.T, s.hub, "den", "bob", &listener{}, nil).Leave()
	})
}

// The members of a thousand rooms come to a node that has none of them open,
// all at once. Each room is read twice at the most, whether the log still has
// what they have seen or not, few are read at a time, and nobody is refused.
func TestStorm(t *testing.T) {
	const rooms, members = 1000, 10
	for name, lost := range map[string]int{"the logs are whole": 0, "the logs have lost their tails": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := membroker.New()
				before := cluster.Node("2222")
				since := make([]chat.Position, rooms)
				for i := range rooms {
					for k := range 2 {
						d := chat.Draft{Room: stormRoom(i), From: "bob", Key: fmt.Sprint("k", k), Body: []byte("1")}
						p, err := before.Append(t.Context(), d, chat.Position{})
						if err != nil {
							t.Fatal(err)
						}
						since[i] = p.Position
					}
					cluster.Rewind(stormRoom(i), lost)
				}
				broker := newSlowBroker(cluster.Node("1111"), 100*time.Millisecond)
				h, count := startOn(t, broker, options)
				var wait sync.WaitGroup
				for i := range rooms * members {
					wait.Go(func() {
						l := &listener{}
						m, err := joinWithin(t, h, 4*time.Second, stormRoom(i%rooms), l, &since[i%rooms])
						if err != nil {
							t.Errorf("refused: %v", err)
							return
						}
						if got, want := l.heard[0].Recovered, lost == 0; got != want {
							t.Errorf("recovered: %v, want %v", got, want)
						}
						m.Leave()
					})
				}
				wait.Wait()
				if all, most := broker.count(); all < rooms || most > 2 {
					t.Errorf("%d reads of %d rooms, up to %d of one: want 2 at the most", all, rooms, most)
				}
				if broker.atOnce > 64 && lost == 0 {
					t.Errorf("%d rooms were opened at once", broker.atOnce)
				}
				if got := value(t, count.Rooms); got != rooms {
					t.Errorf("%v rooms are open, want %d", got, rooms)
				}
			})
		})
	}
}

func stormRoom(i int) chat.RoomID { return chat.RoomID(fmt.Sprint("storm-", i)) }

// A log that answers slowly leaves some waiting for longer than they may. Their
// rooms are opened all the same, in turn, and are there when they come back.
func TestRoomsOpenForThoseWhoComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rooms = 300
		broker := newSlowBroker(membroker.New().Node("1111"), 2*time.Second)
		h, _ := startOn(t, broker, options)
		enter := func() (refused int) {
			var mu sync.Mutex
			var wait sync.WaitGroup
			for i := range rooms {
				wait.Go(func() {
					m, err := joinWithin(t, h, 4*time.Second, stormRoom(i), &listener{}, nil)
					switch {
					case err == nil:
						m.Leave()
					case errors.Is(err, chat.ErrUnavailable):
						mu.Lock()
						refused++
						mu.Unlock()
					default:
						t.Errorf("join: %v", err)
					}
				})
			}
			wait.Wait()
			return refused
		}
		if enter() == 0 {
			t.Error("nobody had to wait too long: this shows nothing")
		}
		time.Sleep(10 * time.Second)
		if n := enter(); n != 0 {
			t.Errorf("%d were refused again", n)
		}
		if all, _ := broker.count(); all != rooms {
			t.Errorf("%d reads of %d rooms", all, rooms)
		}
	})
}

// Who has seen more than the read that is under way can know waits for the next.
func TestLateComerIsRecovered(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.cluster.Interrupt("1111")
		s.elsewhere("k0")
		seen := s.end()
		later := &listener{}
		var wait sync.WaitGroup
		s.broker.once(afterRead, func() error {
			s.elsewhere("k1")
			newest := s.end()
			wait.Go(func() { join(s.T, s.hub, "lobby", "carol", later, &newest).Leave() })
			time.Sleep(time.Second)
			return nil
		})
		join(s.T, s.hub, "lobby", "bob", &listener{}, &seen).Leave()
		wait.Wait()
		if len(later.heard) == 0 || !later.heard[0].Recovered {
			s.Error("not recovered from a position that the log has")
		}
		s.cluster.Restore("1111")
	})
}
