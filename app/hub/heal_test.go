package hub_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
)

// However often the log comes back older, in the middle of whatever goes on,
// everything that was acknowledged is in it in the end, once, and every member
// has heard all of it, and everything after its last reset in order and without
// a hole. Two hundred random histories.
func TestNothingIsLostWhenTheLogGoesBack(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playRewinds(t, rand.New(rand.NewPCG(seed, 2))) })
		})
	}
}

func playRewinds(t *testing.T, random *rand.Rand) {
	cluster := membroker.New()
	o := options
	o.Window = 256 // all that is said
	var listeners []*listener
	var members []*hub.Member
	appids := []string{"1111", "2222", "3333"}
	for _, appid := range appids {
		h, _ := start(t, cluster, appid, o)
		for range 2 {
			l := &listener{}
			members = append(members, join(t, h, "lobby", chat.UserID(fmt.Sprint("u", len(members))), l, nil))
			listeners = append(listeners, l)
		}
	}
	say(t, members[0], "first")
	synctest.Wait()
	var mu sync.Mutex
	var acknowledged []string
	for step := range 40 {
		var talk sync.WaitGroup
		for i, m := range members {
			if random.IntN(3) > 0 {
				continue
			}
			key := fmt.Sprintf("%d-%d", step, i)
			talk.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				defer cancel()
				if _, err := m.Publish(ctx, key, []byte("1")); err != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				acknowledged = append(acknowledged, key)
			})
		}
		time.Sleep(time.Millisecond) // an epoch is as old as that when it is lost
		switch random.IntN(8) {
		case 0: // FLUSHALL, or a rewind that no bridge notices
			cluster.Rewind("lobby", 1+random.IntN(8))
		case 1: // Redis restarts on an older snapshot
			cluster.SetDown(true)
			cluster.Rewind("lobby", 1+random.IntN(8))
			cluster.SetDown(false)
		case 2:
			cluster.Drop(appids[random.IntN(3)], 1+random.IntN(3))
		case 3: // the same restart, and one bridge comes back later than the others
			cluster.SetDown(true)
			cluster.Rewind("lobby", 1+random.IntN(3))
			cluster.Interrupt(appids[random.IntN(3)])
			cluster.SetDown(false)
		case 4:
			cluster.Interrupt(appids[random.IntN(3)])
		case 5:
			cluster.Restore(appids[random.IntN(3)])
		}
		talk.Wait()
		if random.IntN(4) == 0 {
			time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond) // the bubble's clock
		}
	}
	for _, appid := range appids {
		cluster.Restore(appid)
	}
	time.Sleep(30 * time.Second)
	synctest.Wait()

	log, err := cluster.Node("reader").ReadAfter(t.Context(), "lobby", chat.Position{}, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, p := range log {
		kept = append(kept, p.Key)
	}
	once := slices.Compact(slices.Sorted(slices.Values(kept)))
	if len(once) != len(kept) {
		t.Errorf("%d publications stand in the log twice", len(kept)-len(once))
	}
	for _, key := range acknowledged {
		if !slices.Contains(kept, key) {
			t.Errorf("%s was acknowledged and is not in the log", key)
		}
		for i, l := range listeners {
			if !slices.ContainsFunc(l.heard, func(h heard) bool { return h.Key == key }) {
				t.Errorf("member %d has not heard %s", i, key)
			}
		}
	}
	for i, l := range listeners {
		checkOrder(t, i, l.heard)
		if got, want := l.last(), log[len(log)-1].String(); got != want {
			t.Errorf("member %d ends at %s, the log at %s", i, got, want)
		}
	}
	for _, m := range members {
		m.Leave()
	}
}

// checkOrder holds what a member heard against the promise: positions follow
// each other, unless a gap or a reset says otherwise.
func checkOrder(t *testing.T, member int, all []heard) {
	t.Helper()
	var last chat.Position
	declared := true
	for _, h := range all {
		switch h.Push {
		case "gap", "reset":
			declared = true
		case "message":
			p, _ := chat.ParsePosition(h.Pos)
			if !declared && !p.Follows(last) {
				t.Errorf("member %d: %s follows %s", member, p, last)
			}
			last, declared = p, false
		}
	}
}

// pushes are the kinds and positions of what a listener heard from n on.
func (l *listener) pushes(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, h := range l.heard[n:] {
		all = append(all, h.Push+" "+h.Key)
	}
	return all
}

func (l *listener) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.heard)
}

// A node says which room's log it has healed, and with how much, and what it has of a room.
func TestHealIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		o := options
		var told []string
		o.Healed = func(room chat.RoomID, restored int) { told = append(told, fmt.Sprint(room, " ", restored)) }
		h, _ := start(t, cluster, "1111", o)
		alice := join(t, h, "lobby", "alice", &listener{}, nil)
		for i := range 5 {
			say(t, alice, fmt.Sprint("k", i))
		}
		cluster.Rewind("lobby", 2)
		last := say(t, alice, "after")
		synctest.Wait()
		if want := []string{"lobby 2"}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
		g, ok := h.Look("lobby")
		if want := (hub.Glance{Members: 1, Last: last, Used: time.Now()}); !ok || g != want {
			t.Errorf("the room is %+v (%v), want %+v", g, ok, want)
		}
		if g, ok := h.Look("elsewhere"); ok {
			t.Errorf("a room that is not served is %+v", g)
		}
		alice.Leave()
		time.Sleep(time.Minute)
	})
}

// What a node has only heard of, behind a hole, proves a loss as well as what
// it has let through.
func TestWhatWasHeardOfIsWitness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		one, _ := start(t, cluster, "1111", options)
		two, _ := start(t, cluster, "2222", options)
		alice := join(t, one, "lobby", "alice", &listener{}, nil)
		bob := join(t, two, "lobby", "bob", &listener{}, nil)
		say(t, alice, "k0")
		synctest.Wait()
		cluster.Drop("2222", 1)
		say(t, alice, "k1")
		ahead := say(t, alice, "k2")
		synctest.Wait() // bob's node holds k2 behind the hole, and waits a grace
		alice.Leave()
		cluster.Interrupt("1111") // it cannot heal
		cluster.Rewind("lobby", 2)
		time.Sleep(time.Second) // bob's node has found nothing to fill the hole with
		if p := say(t, bob, "b"); p.Epoch == ahead.Epoch {
			t.Errorf("published at %s, although %s has been given before", p, ahead)
		}
		bob.Leave()
		time.Sleep(time.Minute)
	})
}

// A log that forgot a room because it was silent for so long has not lost it.
func TestWhatIsTooOldIsNotRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		h, count := start(t, cluster, "1111", options)
		l := &listener{}
		m := join(t, h, "lobby", "alice", l, nil)
		say(t, m, "k0")
		time.Sleep(options.RetentionAge + time.Second)
		cluster.Rewind("lobby", 1)
		n := l.len()
		if p := say(t, m, "k1"); p.Offset != 0 {
			t.Errorf("published at %s, want the first of an epoch", p)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if got, want := l.pushes(n), []string{"reset ", "message k1"}; !slices.Equal(got, want) {
			t.Errorf("heard %q, want %q", got, want)
		}
		if got := value(t, count.Restored); got != 0 {
			t.Errorf("%v publications restored", got)
		}
		m.Leave()
		time.Sleep(time.Minute)
	})
}

// A log that has gone back beyond the window, and went on without this node,
// may have something that members have not seen: that is said.
func TestLossBeyondTheWindowIsDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		h, count := start(t, cluster, "1111", options)
		l := &listener{}
		m := join(t, h, "lobby", "alice", l, nil)
		for k := range 40 { // the window has the last 16
			say(t, m, fmt.Sprint("k", k))
		}
		cluster.Interrupt("1111")
		cluster.Rewind("lobby", 30)
		other := cluster.Node("2222")
		for k := range 5 {
			d := chat.Draft{Room: "lobby", From: "bob", Key: fmt.Sprint("b", k), Body: []byte("1")}
			if _, err := other.Append(t.Context(), d, chat.Position{}); err != nil {
				t.Fatal(err)
			}
		}
		n := l.len()
		cluster.Restore("1111")
		time.Sleep(time.Second)
		synctest.Wait()
		want := []string{"reset ", "gap "}
		for k := 24; k < 40; k++ {
			want = append(want, fmt.Sprint("message k", k))
		}
		if got := l.pushes(n); !slices.Equal(got, want) {
			t.Errorf("heard\n%q, want\n%q", got, want)
		}
		if got := value(t, count.Restored); got != 16 {
			t.Errorf("%v publications restored, want the window's 16", got)
		}
		m.Leave()
		time.Sleep(time.Minute)
	})
}

// Who does not want to hear itself does not, behind a hole either.
func TestOwnMessagesStayBackBehindAHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		one, _ := start(t, cluster, "1111", options)
		two, _ := start(t, cluster, "2222", options)
		l := &listener{}
		alice, err := one.Join(t.Context(), "lobby", hub.Join{User: "alice", Receiver: l, Options: mute})
		if err != nil {
			t.Fatal(err)
		}
		bob := join(t, two, "lobby", "bob", &listener{}, nil)
		cluster.Drop("1111", 1)
		say(t, bob, "b0") // lost on its way
		say(t, alice, "a1")
		say(t, alice, "a2")
		time.Sleep(time.Second)
		if got, want := l.messages(), 1; len(got) != want {
			t.Errorf("heard %v, want bob's message alone", got)
		}
		alice.Leave()
		bob.Leave()
		time.Sleep(time.Minute)
	})
}

// has says whether the listener has heard a message under this key.
func (l *listener) has(key string) bool { return slices.Contains(l.pushes(0), "message "+key) }

// Redis ends before it has told node 2222 of alice's second message, and comes
// back without it. Bob, who has not seen it, is given its position; alice's
// node, whose bridge needs a moment longer, has seen that position before.
func positionGivenTwice(t *testing.T, story func(t *testing.T, cluster *membroker.Cluster, alice, bob *hub.Member)) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		one, _ := start(t, cluster, "1111", options)
		two, _ := start(t, cluster, "2222", options)
		la, lb := &listener{}, &listener{}
		alice, bob := join(t, one, "lobby", "alice", la, nil), join(t, two, "lobby", "bob", lb, nil)
		say(t, alice, "k0")
		synctest.Wait()
		cluster.Drop("2222", 1)
		say(t, alice, "lost")
		cluster.SetDown(true)
		cluster.Rewind("lobby", 1)
		cluster.Interrupt("1111")
		cluster.SetDown(false)
		synctest.Wait()
		say(t, bob, "b")
		story(t, cluster, alice, bob)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := logKeys(t, cluster); !slices.Contains(got, "lost") {
			t.Errorf("the log has %q, and not what was acknowledged", got)
		}
		if !la.has("b") || !lb.has("lost") {
			t.Errorf("alice heard %q, bob %q", la.pushes(0), lb.pushes(0))
		}
		alice.Leave()
		bob.Leave()
		time.Sleep(time.Minute)
	})
}

// A node's own append follows what another one has put into the place of what
// was lost: it does not hide the loss.
func TestOwnAppendDoesNotHideALoss(t *testing.T) {
	positionGivenTwice(t, func(t *testing.T, cluster *membroker.Cluster, alice, _ *hub.Member) {
		say(t, alice, "a")
		cluster.Restore("1111")
	})
}

// Neither does what the bridge brings before the tails have been asked for.
func TestBridgeDoesNotHideALoss(t *testing.T) {
	positionGivenTwice(t, func(t *testing.T, cluster *membroker.Cluster, _, bob *hub.Member) {
		cluster.Restore("1111")
		say(t, bob, "b2")
	})
}

// A room in which somebody speaks now and then keeps its old messages too: each
// message renews the life of the whole log.
func TestOldMessagesOfALivingRoomAreRestored(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		for k := range 5 {
			s.say(fmt.Sprint("k", k))
			time.Sleep(options.RetentionAge / 2)
		}
		s.rewind(5)
		s.say("new")
		s.wantLog("k0", "k1", "k2", "k3", "k4", "new")
	})
}

// A log that was trimmed of a whole epoch while a node was deaf has lost
// nothing, whether or not it still knows the keys.
func TestTrimmedEpochIsNoLoss(t *testing.T) {
	for name, later := range map[string]time.Duration{"keys known": 0, "keys forgotten": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := membroker.New(membroker.Retention(40))
				one, count := start(t, cluster, "1111", options)
				two, _ := start(t, cluster, "2222", options)
				lb := &listener{}
				alice, bob := join(t, one, "lobby", "alice", &listener{}, nil), join(t, two, "lobby", "bob", lb, nil)
				say(t, alice, "a0")
				say(t, alice, "a1")
				synctest.Wait()
				cluster.Interrupt("1111")
				cluster.Rewind("lobby", 1) // 2222 heals: a new epoch
				for k := range 80 {
					say(t, bob, fmt.Sprint("b", k))
					synctest.Wait()
				}
				time.Sleep(later)
				n := lb.len()
				cluster.Restore("1111")
				time.Sleep(time.Second)
				synctest.Wait()
				if got := value(t, count.Restored); got != 0 {
					t.Errorf("%v publications restored to a log that had only been trimmed", got)
				}
				if got := lb.pushes(n); len(got) > 0 {
					t.Errorf("bob hears again, without a reset: %q", got)
				}
				alice.Leave()
				bob.Leave()
				time.Sleep(time.Minute)
			})
		})
	}
}

// A key may be used again after its window: a log that has its first use has
// lost the second.
func TestKeyUsedAgainLaterIsRestored(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0", "again")
		time.Sleep(time.Hour)
		s.say("again")
		s.rewind(1)
		s.say("new")
		s.wantLog("k0", "again", "again", "new")
	})
}

// A position of a lost tail recovers nobody, though the log has gone on beyond
// it and members have been told.
func TestLostPositionDoesNotRecover(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		since := s.say("k0", "k1", "k2", "k3", "k4")
		time.Sleep(options.RetentionAge + time.Second) // too old to be restored
		s.rewind(2)
		s.look()
		time.Sleep(time.Second)
		s.elsewhere("b0", "b1", "b2")
		s.settle()
		s.wantLog("k0", "k1", "k2", "b0", "b1", "b2")
		l := &listener{}
		carol := join(s.T, s.hub, "lobby", "carol", l, &since)
		if l.heard[0].Recovered {
			s.Errorf("recovered from %s, and heard %q", since, l.pushes(1))
		}
		carol.Leave()
	})
}
