package hub_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/protocol"
)

// A clocked receiver notes when batches come, and how many messages are in each.
type clocked struct {
	began time.Time

	mu      sync.Mutex
	batches []arrival
}

type arrival struct {
	after    time.Duration
	messages int
}

func (c *clocked) Send(b protocol.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := arrival{after: time.Since(c.began)}
	for f := range b.Frames() {
		if bytes.HasPrefix(f.JSON(), []byte(`{"push":"message"`)) {
			a.messages++
		}
	}
	if a.messages > 0 {
		c.batches = append(c.batches, a)
	}
}

func (c *clocked) Recover([]protocol.Batch) {}

// A room rests after it has told its members something, the longer the more
// they are: what is said meanwhile comes in one piece when the rest is over, and
// what is said later comes at once. Small rooms never rest.
func TestLargeRoomGathers(t *testing.T) {
	for _, test := range []struct {
		name    string
		members int
		gather  time.Duration
		every   time.Duration
		want    []arrival // of six messages
	}{
		{"loud", 1000, time.Second, 4 * time.Millisecond, []arrival{{0, 1}, {15 * time.Millisecond, 3}, {30 * time.Millisecond, 2}}},
		{"half as many", 500, time.Second, 4 * time.Millisecond, []arrival{{0, 1}, {7500 * time.Microsecond, 1}, {15 * time.Millisecond, 2}, {22500 * time.Microsecond, 2}}},
		{"quiet", 1000, time.Second, 15 * time.Millisecond, []arrival{{0, 1}, {15 * time.Millisecond, 1}, {30 * time.Millisecond, 1}, {45 * time.Millisecond, 1}, {60 * time.Millisecond, 1}, {75 * time.Millisecond, 1}}},
		{"bounded", 1000, 10 * time.Millisecond, 3 * time.Millisecond, []arrival{{0, 1}, {10 * time.Millisecond, 3}, {20 * time.Millisecond, 2}}},
		{"never", 1000, 0, time.Millisecond, []arrival{{0, 1}, {1 * time.Millisecond, 1}, {2 * time.Millisecond, 1}, {3 * time.Millisecond, 1}, {4 * time.Millisecond, 1}, {5 * time.Millisecond, 1}}},
		{"small", 32, time.Second, 100 * time.Microsecond, []arrival{{0, 1}, {100 * time.Microsecond, 1}, {200 * time.Microsecond, 1}, {300 * time.Microsecond, 1}, {400 * time.Microsecond, 1}, {500 * time.Microsecond, 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := options
				o.Gather = test.gather
				h, _ := start(t, membroker.New(), "1111", o)
				speaker := join(t, h, "lobby", "alice", &listener{}, nil)
				ears := make([]*clocked, test.members-1)
				for i := range ears {
					ears[i] = &clocked{began: time.Now()}
					if _, err := h.Join(t.Context(), "lobby", hub.Join{User: "bob", Receiver: ears[i]}); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 6 {
					say(t, speaker, fmt.Sprint(i))
					time.Sleep(test.every)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				for i, e := range ears {
					if !slices.Equal(e.batches, test.want) {
						t.Fatalf("member %d heard %v, want %v", i, e.batches, test.want)
					}
				}
			})
		})
	}
}

// Who joins while a room rests hears what is said from then on, once; who leaves
// hears nothing any more; who does not hear itself hears the others.
func TestJoinWhileRoomRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options
		o.Gather = time.Second
		h, _ := start(t, membroker.New(), "1111", o)
		for range 998 {
			if _, err := h.Join(t.Context(), "lobby", hub.Join{User: "crowd", Receiver: deaf{}}); err != nil {
				t.Fatal(err)
			}
		}
		var speaking, muted, leaving, late listener
		speaker := join(t, h, "lobby", "alice", &speaking, nil)
		quiet, err := h.Join(t.Context(), "lobby", hub.Join{User: "dora", Receiver: &muted, Options: mute})
		if err != nil {
			t.Fatal(err)
		}
		leaver := join(t, h, "lobby", "bob", &leaving, nil)
		a := say(t, speaker, "a").String()
		synctest.Wait() // the room rests
		b := say(t, speaker, "b").String()
		say(t, quiet, "mine")
		join(t, h, "lobby", "carol", &late, nil)
		leaver.Leave()
		c := say(t, speaker, "c").String()
		time.Sleep(time.Second)
		synctest.Wait()
		for _, who := range []struct {
			name string
			ear  *listener
			want []string
		}{
			{"the speaker", &speaking, []string{a, b, positionAfter(t, b), c}},
			{"who does not hear itself", &muted, []string{a, b, c}},
			{"who left", &leaving, []string{a}},
			{"who came", &late, []string{c}},
		} {
			if got := who.ear.messages(); !slices.Equal(got, who.want) {
				t.Errorf("%s heard %v, want %v", who.name, got, who.want)
			}
		}
	})
}

// A counting receiver notes how many pushes are in each batch.
type counting struct {
	mu     sync.Mutex
	pushes []int
}

func (c *counting) Send(b protocol.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for range b.Frames() {
		n++
	}
	c.pushes = append(c.pushes, n)
}

func (c *counting) Recover([]protocol.Batch) {}

// A member may not be told everything that a room has gathered: not who came, not
// what it said itself, not what was said before it joined. What it is told comes in
// one piece.
func TestOnePieceForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options
		o.Gather = time.Second
		h, _ := start(t, membroker.New(), "1111", o)
		for range 1000 {
			if _, err := h.Join(t.Context(), "lobby", hub.Join{User: "crowd", Receiver: deaf{}, Watch: true}); err != nil {
				t.Fatal(err)
			}
		}
		enter := func(j hub.Join) (*hub.Member, *counting) {
			ear := &counting{}
			j.Receiver = ear
			m, err := h.Join(t.Context(), "lobby", j)
			if err != nil {
				t.Fatal(err)
			}
			return m, ear
		}
		curious := protocol.Options{Members: true}
		_, watching := enter(hub.Join{User: "walter", Watch: true})
		bob, speaking := enter(hub.Join{User: "bob"})
		alice, muted := enter(hub.Join{User: "alice", Options: mute})
		_, asking := enter(hub.Join{User: "carol", Options: curious})
		time.Sleep(time.Second)
		say(t, bob, "the room rests after this")
		synctest.Wait()
		say(t, alice, "1")
		say(t, bob, "2")
		_, coming := enter(hub.Join{User: "dora", Options: curious})
		say(t, bob, "3")
		say(t, alice, "4")
		time.Sleep(time.Second)
		synctest.Wait()
		for _, who := range []struct {
			name string
			ear  *counting
			want []int // behind joined
		}{
			{"a watcher", watching, []int{1, 4}},
			{"who hears itself", speaking, []int{1, 4}},
			{"who does not", muted, []int{1, 2}},
			{"who wants to know who comes", asking, []int{1, 5}},
			{"who came", coming, []int{2}},
		} {
			if got := who.ear.pushes[1:]; !slices.Equal(got, who.want) {
				t.Errorf("%s was sent batches of %v pushes, want %v", who.name, got, who.want)
			}
		}
	})
}

// What the members of a room have missed comes in one piece, however few they are,
// and so does what a healed log has.
func TestFillComesInOnePiece(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		ear := &counting{}
		m, err := s.hub.Join(s.Context(), "lobby", hub.Join{User: "carol", Receiver: ear})
		if err != nil {
			s.Fatal(err)
		}
		defer m.Leave()
		s.cluster.Drop("1111", 4)
		s.elsewhere("b1", "b2", "b3", "b4", "b5") // b5 is heard behind a hole
		s.settle()
		s.rewind(3)
		s.look()
		s.settle() // b3, b4 and b5 come again, behind a reset
		if got, want := ear.pushes, []int{1, 5, 4}; !slices.Equal(got, want) {
			s.Errorf("batches of %v pushes came, want %v", got, want)
		}
	})
}

func positionAfter(t *testing.T, s string) string {
	t.Helper()
	p, err := chat.ParsePosition(s)
	if err != nil {
		t.Fatal(err)
	}
	p.Offset++
	return p.String()
}

// A guest counts the batches with messages that all guests have got.
type guest struct {
	listener
	got *atomic.Int64
}

func (g *guest) Send(b protocol.Batch) {
	g.listener.Send(b)
	if bytes.Contains(b, []byte(`"push":"message"`)) {
		g.got.Add(1)
	}
}

// However many come and go while a large room is told what is said, each hears
// everything behind its join, once and in order, until it leaves.
func TestCrowdComesAndGoes(t *testing.T) {
	h, _ := start(t, membroker.New(), "1111", options)
	speaker := join(t, h, "lobby", "alice", &listener{}, nil)
	talking, hush := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	var came, got atomic.Int64
	ears := make([][]*guest, 8)
	for i := range ears {
		crowd.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			var here []*hub.Member
			for talking.Err() == nil {
				if len(here) < 20 && random.IntN(2) == 0 {
					l := &guest{got: &got}
					m, err := h.Join(context.Background(), "lobby", hub.Join{User: "guest", Receiver: l})
					if err != nil {
						t.Error(err)
						return
					}
					here, ears[i] = append(here, m), append(ears[i], l)
					came.Add(1)
				} else if len(here) > 0 {
					at := random.IntN(len(here))
					here[at].Leave()
					here = slices.Delete(here, at, at+1)
				}
			}
			for _, m := range here {
				m.Leave()
			}
		})
	}
	for i := 0; i < 500 || came.Load() < 100 || got.Load() < 1000; i++ { // else it told nothing
		say(t, speaker, fmt.Sprint(i))
	}
	hush()
	crowd.Wait()
	for _, l := range slices.Concat(ears...) {
		l.mu.Lock()
		at, err := chat.ParsePosition(l.heard[0].Pos) // joined
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range l.heard[1:] {
			if x.Push != "message" {
				continue
			}
			if want := positionAfter(t, at.String()); x.Pos != want && !at.IsZero() {
				t.Fatalf("heard %s behind %s", x.Pos, at)
			}
			at, _ = chat.ParsePosition(x.Pos)
		}
		l.mu.Unlock()
	}
}
