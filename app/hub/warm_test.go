package hub_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/membroker"
)

// A warm room is open before anybody comes: who then comes needs nothing of the
// log, and misses nothing. When nobody comes, it goes like any empty room.
func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		there, _ := start(t, cluster, "1111", options)
		here, count := start(t, cluster, "2222", options)
		alice := join(t, there, "lobby", "alice", &listener{}, nil)
		first := say(t, alice, "first")
		here.Warm("lobby")
		here.Warm("lobby") // once is enough
		here.Warm("empty")
		synctest.Wait()
		last := say(t, alice, "last")
		synctest.Wait()
		cluster.SetDown(true)
		l := &listener{}
		join(t, here, "lobby", "alice", l, &first)
		if got := l.messages(); len(got) != 1 || got[0] != last.String() {
			t.Errorf("alice, who comes back, hears %v, want %v", got, last)
		}
		if got := value(t, count.Warmed); got != 2 {
			t.Errorf("%v rooms warmed, want 2", got)
		}
		cluster.SetDown(false)
		time.Sleep(options.Linger)
		synctest.Wait()
		if got := value(t, count.Rooms); got != 1 {
			t.Errorf("%v rooms are open, want the one that has a member", got)
		}
	})
}

// A room that is open already is not opened again.
func TestWarmOpenRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, count := start(t, membroker.New(), "1111", options)
		join(t, h, "lobby", "alice", &listener{}, nil)
		h.Warm("lobby")
		if got := value(t, count.Warmed); got != 0 {
			t.Errorf("%v rooms warmed, want 0", got)
		}
	})
}

// stuck is a broker that opens nothing.
type stuck struct{ chat.Broker }

func (stuck) Open(ctx context.Context, _ chat.RoomID) error {
	<-ctx.Done()
	return fmt.Errorf("%w: stuck", chat.ErrUnavailable)
}

// However many rooms others announce, no more than a bounded number waits to be
// opened before those that somebody has come for.
func TestWarmIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, count := startOn(t, stuck{membroker.New().Node("1111")}, options)
		for i := range 1000 {
			h.Warm(chat.RoomID(fmt.Sprint("room-", i)))
			synctest.Wait()
		}
		if got := value(t, count.Rooms); got != 64+256 { // those being opened, and those that wait
			t.Errorf("%v rooms are opening, want 320", got)
		}
	})
}

// Where all places are taken, nothing is opened ahead, and no empty room goes
// for it: somebody may be on the way to that one, too.
func TestWarmIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := options
		full.Rooms = 2
		h, count := start(t, membroker.New(), "1111", full)
		for _, room := range []chat.RoomID{"a", "b", "c"} {
			h.Warm(room)
			synctest.Wait()
		}
		if got := value(t, count.Warmed); got != 2 {
			t.Errorf("%v rooms warmed, want 2", got)
		}
		if got := value(t, count.RoomsRefused); got != 0 {
			t.Errorf("%v joins are said to be refused", got)
		}
	})
}

// Where windows take all of the memory that they may, nothing is opened ahead.
func TestWarmIsTight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tight := options
		tight.WindowBudget = 0
		h, count := start(t, membroker.New(), "1111", tight)
		h.Warm("lobby")
		if got := value(t, count.Warmed); got != 0 {
			t.Errorf("%v rooms warmed, want 0", got)
		}
	})
}
