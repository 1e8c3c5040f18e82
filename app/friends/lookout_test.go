package friends

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
)

// A fakeStore notes what a lookout tells it.
type fakeStore struct {
	Store
	takes time.Duration // that a look takes

	mu      sync.Mutex
	down    bool
	under   map[string]map[chat.UserID]bool // who is noted, by node
	looked  []int                           // users of each look
	looking int                             // looks under way
	dead    map[string]int                  // nodes, with how many users
	taken   []time.Time
}

func (s *fakeStore) Look(_ context.Context, node string, at []Sight) ([]News, error) {
	s.mu.Lock()
	s.looking++
	if s.looking > 1 {
		panic("two looks at once")
	}
	s.mu.Unlock()
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looking--
	if s.down {
		return nil, errors.New("down")
	}
	s.looked = append(s.looked, len(at))
	for _, u := range at {
		if s.under[node] == nil {
			s.under[node] = make(map[chat.UserID]bool)
		}
		set(s.under[node], u.User, u.Here)
	}
	return make([]News, len(at)), nil
}

func (s *fakeStore) Dead(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.dead)), nil
}

func (s *fakeStore) TakeOver(_ context.Context, node string) ([]News, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = append(s.taken, time.Now())
	n := min(s.dead[node], 16)
	s.dead[node] -= n
	if s.dead[node] == 0 {
		delete(s.dead, node)
	}
	return slices.Repeat([]News{{Changed: true, Told: 2}}, n), s.dead[node] > 0, nil
}

func (s *fakeStore) noted(node string) (users []chat.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.under[node]))
}

func (s *fakeStore) turns() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

func (s *fakeStore) looks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.looked)
}

// A fakeBridge has a name, and hears what it is said to hear.
type fakeBridge struct {
	mu    sync.Mutex
	name  string
	hears bool
}

func (b *fakeBridge) Channel() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.name
}

func (b *fakeBridge) Hears(chat.RoomID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hears
}

func (b *fakeBridge) become(name string, hears bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.name, b.hears = name, hears
}

// A scene is a lookout that runs, with half a second of grace.
type scene struct {
	*lookout
	store  *fakeStore
	bridge *fakeBridge
	count  *metrics.Friends
}

func inScene(t *testing.T, tell func(t *testing.T, s scene)) {
	synctest.Test(t, func(t *testing.T) {
		s := scene{
			store:  &fakeStore{under: make(map[string]map[chat.UserID]bool), dead: make(map[string]int)},
			bridge: &fakeBridge{name: "a"}, count: &metrics.New("1111", "test").Friends,
		}
		s.lookout = newLookout(s.store, s.bridge, 500*time.Millisecond, s.count)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.run(ctx)
		}()
		tell(t, s)
		stop()
		<-done
	})
}

func (s scene) isNoted(t *testing.T, node string, want ...chat.UserID) {
	t.Helper()
	synctest.Wait()
	if got := s.store.noted(node); !slices.Equal(got, want) {
		t.Errorf("noted for %s: %v, want %v", node, got, want)
	}
}

// Who comes is noted at once, and who goes when the grace is over.
func TestComeAndGo(t *testing.T) {
	inScene(t, func(t *testing.T, s scene) {
		s.saw("alice", true)
		s.isNoted(t, "a", "alice")
		s.saw("alice", false)
		time.Sleep(499 * time.Millisecond)
		s.isNoted(t, "a", "alice")
		time.Sleep(52 * time.Millisecond)
		s.isNoted(t, "a")
	})
}

// A page that is loaded anew within the grace is not looked at.
func TestReloadIsSilent(t *testing.T) {
	inScene(t, func(t *testing.T, s scene) {
		s.saw("alice", true)
		synctest.Wait()
		for range 10 {
			s.saw("alice", false)
			time.Sleep(499 * time.Millisecond)
			s.saw("alice", true)
			time.Sleep(time.Minute)
		}
		s.isNoted(t, "a", "alice")
		if n := s.store.looks(); n != 1 {
			t.Errorf("%d looks, want 1", n)
		}
	})
}

// What happens while the store is asked is not lost.
func TestLateNews(t *testing.T) {
	inScene(t, func(t *testing.T, s scene) {
		s.store.takes = 100 * time.Millisecond
		s.saw("alice", true)
		synctest.Wait() // the look is under way
		s.saw("alice", false)
		time.Sleep(time.Second)
		s.isNoted(t, "a")

		s.saw("bob", true)
		time.Sleep(time.Second)
		s.saw("bob", false)
		time.Sleep(560 * time.Millisecond) // the look at its going is under way
		s.saw("bob", true)
		time.Sleep(time.Second)
		s.isNoted(t, "a", "bob")
	})
}

// Nobody is noted as gone while Redis may still count this node.
func TestGoneWhenRedisKnows(t *testing.T) {
	inScene(t, func(t *testing.T, s scene) {
		s.saw("alice", true)
		synctest.Wait()
		s.bridge.become("a", true)
		s.saw("alice", false)
		time.Sleep(time.Minute)
		s.isNoted(t, "a", "alice")
		s.bridge.become("a", false)
		time.Sleep(100 * time.Millisecond)
		s.isNoted(t, "a")
	})
}

// A node that is connected anew notes its users under its next name, and none
// while it is not connected.
func TestAnotherName(t *testing.T) {
	inScene(t, func(t *testing.T, s scene) {
		s.saw("alice", true)
		s.saw("bob", true)
		s.isNoted(t, "a", "alice", "bob")
		s.bridge.become("", false)
		s.saw("bob", false)
		s.saw("carol", true)
		time.Sleep(time.Minute)
		s.isNoted(t, "a", "alice", "bob")
		s.bridge.become("b", false)
		time.Sleep(1100 * time.Millisecond)
		s.isNoted(t, "b", "alice", "carol")
	})
}

// What could not be told is told when the store is back: who is there then.
func TestStoreIsDown(t *testing.T) {
	inScene(t, func(t *testing.T, s scene) {
		s.store.down = true
		for i := range 1000 {
			u := chat.UserID(fmt.Sprint("user", i))
			s.saw(u, true)
			if i > 0 {
				s.saw(u, false)
			}
		}
		time.Sleep(time.Minute)
		s.mu.Lock()
		if n := len(s.due) + len(s.noted) + len(s.here); n != 2 {
			t.Errorf("the lookout keeps %d entries, want 2 of the one who is here", n)
		}
		s.mu.Unlock()
		s.store.mu.Lock()
		s.store.down = false
		s.store.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
		s.isNoted(t, "a", "user0")
	})
}

// Ten thousand users who come at once are noted in batches, one after the other.
func TestStormOfLogins(t *testing.T) {
	inScene(t, func(t *testing.T, s scene) {
		s.store.takes = 10 * time.Millisecond
		const users = 10_000
		for i := range users {
			s.saw(chat.UserID(fmt.Sprint("user", i)), true)
		}
		if got := testutil.ToFloat64(s.count.Online); got != users {
			t.Errorf("%v users are online, want %d", got, users)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(s.store.noted("a")); n != users {
			t.Errorf("%d users are noted, want %d", n, users)
		}
		if n := s.store.looks(); n > users/looks+2 {
			t.Errorf("%d round trips, want %d", n, users/looks+1)
		}
		if most := slices.Max(s.store.looked); most > looks {
			t.Errorf("a round trip had %d users, want %d at the most", most, looks)
		}
	})
}

// A dead node's users are looked after a grace after its death was seen, all of
// them, and once.
func TestMourning(t *testing.T) {
	inScene(t, func(t *testing.T, s scene) {
		s.store.mu.Lock()
		s.store.dead["z"] = 40
		s.store.mu.Unlock()
		died := time.Now()
		time.Sleep(1499 * time.Millisecond)
		synctest.Wait()
		if n := len(s.store.turns()); n != 0 {
			t.Errorf("%d were taken before the grace was over", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if turns := s.store.turns(); len(turns) != 3 || turns[2].Sub(died) != 1500*time.Millisecond {
			t.Errorf("taken at %v, want 3 turns after 1.5 s", turns)
		}
		if got := testutil.ToFloat64(s.count.Deaths); got != 1 {
			t.Errorf("%v deaths, want 1", got)
		}
		if got := testutil.ToFloat64(s.count.Announced); got != 80 {
			t.Errorf("%v were told, want 80", got)
		}
	})
}
