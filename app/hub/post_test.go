package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/protocol"
)

// What is posted comes to all sessions of a user, on whichever nodes they are,
// and costs a node that has none of them nothing. What comes while nobody is
// there waits.
func TestPostToInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		here, _ := start(t, cluster, "1111", options)
		there, _ := start(t, cluster, "2222", options)
		service, count := start(t, cluster, "3333", options)
		post := func(key string, bridged uint64) chat.Publication {
			t.Helper()
			before := cluster.Bridged()
			p, err := service.Post(t.Context(), chat.Draft{Room: "@alice", From: "service:mail", Key: key, Body: []byte("1")})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := cluster.Bridged() - before; got != bridged {
				t.Errorf("%s went over the bridge %d times, want %d", key, got, bridged)
			}
			return p
		}
		first := post("k1", 0)
		phone, laptop := &listener{}, &listener{}
		since := chat.Position{}
		a := join(t, here, "@alice", "alice", phone, &since)
		b := join(t, there, "@alice", "alice", laptop, &first.Position)
		second := post("k2", 1)
		if again := post("k2", 1); again.Position != second.Position { // told again, since its first telling may have been lost
			t.Errorf("the same key has position %v, and then %v", second.Position, again.Position)
		}
		if got, want := phone.messages(), []string{first.Position.String(), second.Position.String()}; !slices.Equal(got, want) {
			t.Errorf("the phone heard %v, want %v", got, want)
		}
		if got, want := laptop.messages(), []string{second.Position.String()}; !slices.Equal(got, want) {
			t.Errorf("the laptop heard %v, want %v", got, want)
		}
		if got := value(t, count.Rooms); got != 0 {
			t.Errorf("the node that posts has %v rooms open, want none", got)
		}
		a.Leave()
		b.Leave()
		synctest.Wait()
		post("k3", 0) // at once: an inbox does not linger
	})
}

// A room that this node serves hears at once what is posted there, in its order.
func TestPostHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := start(t, membroker.New(), "1111", options)
		l := &listener{}
		m := join(t, h, "lobby", "alice", l, nil)
		p, err := h.Post(t.Context(), chat.Draft{Room: "lobby", From: "service:bot", Body: []byte("1")})
		if err != nil || p.Key == "" {
			t.Fatalf("posted %+v, %v, want a key", p, err)
		}
		last := say(t, m, "k1")
		if got, want := l.messages(), []string{p.Position.String(), last.String()}; !slices.Equal(got, want) {
			t.Errorf("heard %v, want %v", got, want)
		}
		d := chat.Draft{Room: "lobby", From: "service:bot", Key: p.Key, Body: []byte("2")}
		if _, err := h.Post(t.Context(), d); !errors.Is(err, chat.ErrConflict) {
			t.Errorf("the same key with another body: %v, want ErrConflict", err)
		}
	})
}

// An inbox stays for who waits for it, however long it takes: here for a read of the
// log, since the client has seen more than the node. Meanwhile the other session
// leaves.
func TestInboxIsOpenedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSlowBroker(membroker.New().Node("1111"), time.Second)
		h, _ := startOn(t, b, options)
		first := join(t, h, "@alice", "alice", &listener{}, nil)
		time.AfterFunc(500*time.Millisecond, first.Leave)
		join(t, h, "@alice", "alice", &listener{}, &chat.Position{Epoch: 7})
		if all, _ := b.count(); all != 2 {
			t.Errorf("it was read %d times, want twice: to open it, and to catch up", all)
		}
	})
}

// A client that gives up while its inbox is being opened does not make its user
// look present.
func TestInboxOfWhoGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		h, _ := startOn(t, newSlowBroker(cluster.Node("1111"), time.Second), options)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := h.Join(ctx, "@alice", hub.Join{User: "alice", Receiver: &listener{}}); !errors.Is(err, chat.ErrUnavailable) {
			t.Fatalf("join: %v, want ErrUnavailable", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := reach(t, cluster, "@alice"); got != 0 {
			t.Errorf("%d nodes hear the inbox, want none", got)
		}
	})
}

// So it is when the opening has not begun yet, because many others are opened before;
// and what is read then takes nothing of the windows' budget.
func TestInboxOfWhoGaveUpEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		h, count := startOn(t, newSlowBroker(cluster.Node("1111"), time.Second), options)
		if _, err := h.Post(t.Context(), chat.Draft{Room: "@alice", From: "bob", Body: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		for n := range 100 {
			go func() {
				_, _ = h.Join(t.Context(), chat.RoomID(fmt.Sprint("room-", n)), hub.Join{User: "bob", Receiver: &listener{}})
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := h.Join(ctx, "@alice", hub.Join{User: "alice", Receiver: &listener{}}); !errors.Is(err, chat.ErrUnavailable) {
			t.Fatalf("join: %v, want ErrUnavailable", err)
		}
		time.Sleep(time.Minute / 2)
		synctest.Wait()
		if got := reach(t, cluster, "@alice"); got != 0 {
			t.Errorf("%d nodes hear the inbox, want none", got)
		}
		if got := value(t, count.WindowBytes); got != 0 {
			t.Errorf("the windows have %v bytes, want none", got)
		}
	})
}

// A silentBroker has no description of any room.
type silentBroker struct{ chat.Broker }

func (silentBroker) Description(context.Context, chat.RoomID) (chat.Change, error) {
	return chat.Change{}, errFault
}

// An inbox is opened without a question for what nobody says of it.
func TestInboxHasNoDescription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := startOn(t, silentBroker{membroker.New().Node("1111")}, options)
		if _, err := h.Post(t.Context(), chat.Draft{Room: "@alice", From: "bob", Body: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		join(t, h, "@alice", "alice", &listener{}, nil)
	})
}

// A queuedBroker appends when it is told to.
type queuedBroker struct {
	chat.Broker
	let chan struct{}
}

func (b *queuedBroker) Append(ctx context.Context, d chat.Draft, seen chat.Position) (chat.Publication, error) {
	<-b.let
	return b.Broker.Append(ctx, d, seen)
}

// What waits for the log when its room is opened, or opened again, on this node is
// heard there, though the log takes this node for one that knows.
func TestPostToARoomThatOpens(t *testing.T) {
	for _, open := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := &queuedBroker{membroker.New().Node("1111"), make(chan struct{})}
			h, _ := startOn(t, b, options)
			var first *hub.Member
			if open {
				first = join(t, h, "@alice", "alice", &listener{}, nil)
			}
			posted := make(chan error)
			go func() {
				_, err := h.Post(t.Context(), chat.Draft{Room: "@alice", From: "bob", Key: "k", Body: []byte("1")})
				posted <- err
			}()
			synctest.Wait()
			if open {
				first.Leave()
				time.Sleep(time.Second)
			}
			l := &listener{}
			join(t, h, "@alice", "alice", l, nil)
			close(b.let)
			if err := <-posted; err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := len(l.messages()); got != 1 {
				t.Errorf("open before: %v: heard %d messages, want one", open, got)
			}
		})
	}
}

// reach is how many nodes would answer for a room.
func reach(t *testing.T, cluster *membroker.Cluster, room chat.RoomID) int {
	t.Helper()
	before := cluster.Bridged()
	if err := cluster.Node("asker").Signal(t.Context(), room, []byte("s{}")); err != nil {
		t.Fatal(err)
	}
	return int(cluster.Bridged() - before)
}

// Whoever minds hears when a room on this node begins and ends to be occupied.
func TestOccupied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		o := options
		o.Occupied = func(room chat.RoomID, yes bool) { said = append(said, fmt.Sprint(room, yes)) }
		h, _ := start(t, membroker.New(), "1111", o)
		a := join(t, h, "lobby", "alice", &listener{}, nil)
		b := join(t, h, "lobby", "bob", &listener{}, nil)
		a.Leave()
		b.Leave()
		join(t, h, "@alice", "alice", &listener{}, nil).Leave()
		if want := []string{"lobbytrue", "lobbyfalse", "@alicetrue", "@alicefalse"}; !slices.Equal(said, want) {
			t.Errorf("heard %v, want %v", said, want)
		}
	})
}

// Reach counts the sessions that would hear something, on all nodes. A node that
// does not answer is not left out without a word.
func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		named := func(node string) *hub.Hub {
			o := options
			o.Node = node
			h, _ := start(t, cluster, node, o)
			return h
		}
		here, there := named("1111"), named("2222")
		named("3333")
		join(t, here, "lobby", "alice", &listener{}, nil)
		join(t, here, "lobby", "alice", &listener{}, nil)
		join(t, there, "lobby", "bob", &listener{}, nil)
		join(t, there, "@bob", "bob", &listener{}, nil)
		rooms := []chat.RoomID{"lobby", "@alice", "@bob"}
		for asker, h := range map[string]*hub.Hub{"1111": here, "2222": there} {
			got := h.Reach(t.Context(), rooms)
			for i := range got {
				slices.Sort(got[i].Nodes)
			}
			want := []hub.Reach{{3, []string{"1111", "2222"}, true}, {0, nil, true}, {1, []string{"2222"}, true}}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("asked by %s: %v, want %v", asker, got, want)
			}
		}
		cluster.SetDown(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := here.Reach(ctx, rooms[:1]); got[0].Complete || got[0].Sessions != 2 {
			t.Errorf("without the bridge: %+v, want the two here, and that it is not all", got)
		}
		cluster.SetDown(false)
	})
}

// A whisper is heard by all members now, and by nobody later.
func TestWhisper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		here, _ := start(t, cluster, "1111", options)
		there, _ := start(t, cluster, "2222", options)
		phone, laptop := &listener{}, &listener{}
		join(t, here, "@alice", "alice", phone, nil)
		join(t, there, "@alice", "alice", laptop, nil)
		here.Whisper("@alice", protocol.SignalPush("@alice", "bob", []byte("1")))
		synctest.Wait()
		late := &listener{}
		since := chat.Position{}
		join(t, there, "@alice", "alice", late, &since)
		for name, l := range map[string]*listener{"phone": phone, "laptop": laptop, "late": late} {
			heard := slices.ContainsFunc(l.heard, func(h heard) bool { return h.Push == "signal" })
			if want := name != "late"; heard != want {
				t.Errorf("%s heard the whisper: %v, want %v", name, heard, want)
			}
		}
	})
}
