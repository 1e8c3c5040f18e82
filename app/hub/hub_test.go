package hub_test

import (
	"context"
	"encoding/json"
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
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// mute is how one joins who does not want to hear itself.
var mute = protocol.Options{Mute: true}

var options = hub.Options{
	RetentionAge: 24 * time.Hour,
	Window:       16, WindowBudget: 1 << 20, Linger: 30 * time.Second,
	OpenTimeout: 3 * time.Second, FillGrace: 10 * time.Millisecond,
	Rest: 15 * time.Microsecond, // and Gather is 0
}

// start runs a hub on a node of the cluster until the test ends.
func start(t *testing.T, cluster *membroker.Cluster, appid string, o hub.Options) (*hub.Hub, *metrics.Hub) {
	t.Helper()
	return startOn(t, cluster.Node(appid), o)
}

// startOn runs a hub on a broker until the test ends.
func startOn(t testing.TB, b chat.Broker, o hub.Options) (*hub.Hub, *metrics.Hub) {
	t.Helper()
	count := &metrics.New("1111", "test").Hub
	h := hub.New(b, o, count)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return h, count
}

// A listener is a hub.Receiver that keeps what it hears.
type listener struct {
	mu     sync.Mutex
	heard  []heard
	frames int
}

type heard struct {
	Push, Pos, Key string
	Lost           string
	Missed         int
	Recovered      bool
}

func (l *listener) Recover(batches []protocol.Batch) {
	for _, b := range batches {
		l.Send(b)
	}
}

func (l *listener) Send(b protocol.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range b.Frames() {
		var h heard
		if err := json.Unmarshal(f.JSON(), &h); err != nil {
			panic(err)
		}
		l.heard = append(l.heard, h)
		l.frames++
	}
}

// messages are the positions heard, in the order heard.
func (l *listener) messages() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var positions []string
	for _, h := range l.heard {
		if h.Push == "message" {
			positions = append(positions, h.Pos)
		}
	}
	return positions
}

func (l *listener) last() string {
	positions := l.messages()
	if len(positions) == 0 {
		return "0-0"
	}
	return positions[len(positions)-1]
}

func join(t *testing.T, h *hub.Hub, room chat.RoomID, user chat.UserID, l *listener, since *chat.Position) *hub.Member {
	t.Helper()
	m, err := h.Join(t.Context(), room, hub.Join{User: user, Receiver: l, Options: protocol.Options{Since: since}})
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	return m
}

func say(t *testing.T, m *hub.Member, key string) chat.Position {
	t.Helper()
	p, err := m.Publish(t.Context(), key, []byte(`"`+key+`"`))
	if err != nil {
		t.Fatalf("publish %s: %v", key, err)
	}
	return p.Position
}

// Whatever the bridge loses, doubles and interrupts, and however members move
// between three nodes, every member hears every position of the log after its
// join, once and in order. Two hundred random histories.
func TestEveryMemberHearsTheLog(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playHistory(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func playHistory(t *testing.T, random *rand.Rand) {
	cluster := membroker.New()
	appids := []string{"1111", "2222", "3333"}
	var hubs []*hub.Hub
	for _, appid := range appids {
		h, _ := start(t, cluster, appid, options)
		hubs = append(hubs, h)
	}
	type person struct {
		*listener
		member *hub.Member
		from   string // position before the first message that is due
	}
	var people []*person
	cut := map[string]bool{}
	// Opening a room waits for the node's bridge, so who joins goes elsewhere.
	reachable := func() *hub.Hub {
		for {
			if i := random.IntN(3); !cut[appids[i]] {
				return hubs[i]
			}
		}
	}
	enter := func() {
		p := &person{listener: &listener{}}
		p.member = join(t, reachable(), "lobby", chat.UserID(fmt.Sprint("u", len(people))), p.listener, nil)
		p.from = p.member.JoinedAt().String()
		people = append(people, p)
	}
	enter()
	for step := range 120 {
		node := appids[random.IntN(3)]
		switch n := random.IntN(20); {
		case n < 11:
			p := people[random.IntN(len(people))]
			// Several at once: answers and the bridge race.
			var wait sync.WaitGroup
			for i := range 1 + random.IntN(3) {
				wait.Go(func() { _, _ = p.member.Publish(t.Context(), fmt.Sprintf("k%d-%d", step, i), []byte("1")) })
			}
			wait.Wait()
		case n < 13 && len(people) < 8:
			enter()
		case n < 15: // moves to another node, by position
			p := people[random.IntN(len(people))]
			p.member.Leave()
			synctest.Wait()
			since, _ := chat.ParsePosition(p.last())
			if since.IsZero() {
				since, _ = chat.ParsePosition(p.from)
			}
			h := reachable()
			p.mu.Lock()
			before := len(p.heard)
			p.mu.Unlock()
			p.member = join(t, h, "lobby", chat.UserID("mover"), p.listener, &since)
			p.page(t, h, before, since)
		case n < 16:
			cluster.Drop(node, 1+random.IntN(4))
		case n < 18 && !cut[node]:
			cluster.Interrupt(node)
			cut[node] = true
		case cut[node]:
			cluster.Restore(node)
			cut[node] = false
		}
		if random.IntN(4) == 0 {
			time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond) // the bubble's clock
		}
		if cut["1111"] && cut["2222"] && cut["3333"] {
			cluster.Restore(node)
			cut[node] = false
		}
	}
	for _, appid := range appids {
		cluster.Drop(appid, 0)
		cluster.Interrupt(appid)
		cluster.Restore(appid)
	}
	time.Sleep(time.Second)
	synctest.Wait()
	log, err := cluster.Node("reader").ReadAfter(t.Context(), "lobby", chat.Position{}, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range people {
		var want []string
		from, _ := chat.ParsePosition(p.from)
		for _, pub := range log {
			if from.Before(pub.Position) {
				want = append(want, pub.Position.String())
			}
		}
		if got := p.messages(); !slices.Equal(got, want) {
			t.Errorf("person %d heard %d messages, want the %d after %s\n got %v\nwant %v", i, len(got), len(want), p.from, got, want)
		}
		p.member.Leave()
	}
}

// page does what a client does that was not recovered: it asks for what it
// missed, and puts it before what it has heard since it joined again.
func (l *listener) page(t *testing.T, h *hub.Hub, before int, since chat.Position) {
	t.Helper()
	l.mu.Lock()
	again := slices.Clone(l.heard[before:])
	l.mu.Unlock()
	if len(again) == 0 || again[0].Push != "joined" || again[0].Recovered {
		return
	}
	until := again[0].Pos
	var missed []heard
	for {
		frames, more, err := h.History(t.Context(), "lobby", hub.Range{After: &since, Limit: 5})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			var m heard
			if err := json.Unmarshal(f.JSON(), &m); err != nil {
				t.Fatal(err)
			}
			p, _ := chat.ParsePosition(m.Pos)
			if end, _ := chat.ParsePosition(until); !end.Before(p) {
				missed = append(missed, m)
			}
			since = p
		}
		if !more {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = slices.Insert(l.heard, before, missed...)
}

// Ten thousand members that come back ask the log for their room once.
func TestRecoveryComesFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		counting := &countingBroker{Broker: cluster.Node("1111")}
		h := hub.New(counting, options, &metrics.New("1111", "test").Hub)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		first := &listener{}
		m := join(t, h, "lobby", "alice", first, nil)
		since := say(t, m, "k0")
		for i := range 10 {
			say(t, m, fmt.Sprint("k", i+1))
		}
		counting.reset()
		var wait sync.WaitGroup
		for i := range 10_000 {
			wait.Go(func() {
				l := &listener{}
				m := join(t, h, "lobby", chat.UserID(fmt.Sprint("u", i)), l, &since)
				if got := len(l.messages()); got != 10 {
					t.Errorf("recovered %d messages, want 10", got)
				}
				m.Leave()
			})
		}
		wait.Wait()
		if n := counting.reads(); n != 0 {
			t.Errorf("the log was read %d times", n)
		}
		m.Leave()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type countingBroker struct {
	chat.Broker
	mu sync.Mutex
	n  int
}

func (b *countingBroker) count() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
}

func (b *countingBroker) reads() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

func (b *countingBroker) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n = 0
}

func (b *countingBroker) ReadAfter(ctx context.Context, r chat.RoomID, after chat.Position, limit int) ([]chat.Publication, error) {
	b.count()
	return b.Broker.ReadAfter(ctx, r, after, limit)
}

func (b *countingBroker) ReadBefore(ctx context.Context, r chat.RoomID, before chat.Position, limit int) ([]chat.Publication, error) {
	b.count()
	return b.Broker.ReadBefore(ctx, r, before, limit)
}

// An empty room stays open for its linger, and is then closed; who comes back
// opens it again and finds what was said.
func TestEmptyRoomLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, count := start(t, membroker.New(), "1111", options)
		m := join(t, h, "lobby", "alice", &listener{}, nil)
		since := say(t, m, "k0")
		say(t, m, "k1")
		m.Leave()
		for _, step := range []struct {
			wait  time.Duration
			rooms float64
		}{{29 * time.Second, 1}, {2 * time.Second, 0}} {
			time.Sleep(step.wait)
			synctest.Wait()
			if got := value(t, count.Rooms); got != step.rooms {
				t.Errorf("%v rooms, want %v", got, step.rooms)
			}
		}
		if got := value(t, count.WindowBytes); got != 0 {
			t.Errorf("windows hold %v bytes", got)
		}
		l := &listener{}
		join(t, h, "lobby", "alice", l, &since).Leave()
		if got := len(l.messages()); got != 1 {
			t.Errorf("recovered %d messages, want 1", got)
		}
		time.Sleep(time.Minute)
	})
}

// All windows together stay within the budget; the least used shrink first.
func TestWindowsStayWithinBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options
		o.WindowBudget = 20_000
		h, count := start(t, membroker.New(), "1111", o)
		var members []*hub.Member
		for i := range 20 {
			m := join(t, h, chat.RoomID(fmt.Sprintf("r%d", i)), "alice", &listener{}, nil)
			members = append(members, m)
			for k := range 16 {
				say(t, m, fmt.Sprint("k", k))
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got := value(t, count.WindowBytes); got > float64(o.WindowBudget) {
				t.Errorf("after %d rooms: windows hold %v bytes, budget %d", i+1, got, o.WindowBudget)
			}
		}
		// The last room still has its whole window, the first does not.
		for i, want := range map[int]bool{0: false, 19: true} {
			l := &listener{}
			zero := chat.Position{}
			join(t, h, chat.RoomID(fmt.Sprintf("r%d", i)), "bob", l, &zero).Leave()
			if got := l.heard[0].Recovered; got != want {
				t.Errorf("room %d recovered from its beginning: %v, want %v", i, got, want)
			}
		}
		for _, m := range members {
			m.Leave()
		}
		time.Sleep(time.Minute)
	})
}

// An append that was given up lands all the same: the members hear it soon,
// though nobody tells this node of it.
func TestGivenUpAppendIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		h := hub.New(lateBroker{cluster.Node("1111")}, options, &metrics.New("1111", "test").Hub)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		l := &listener{}
		m := join(t, h, "lobby", "alice", l, nil)
		if _, err := m.Publish(t.Context(), "k", []byte("1")); err == nil {
			t.Fatal("the append was not given up")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := len(l.messages()); got != 1 {
			t.Errorf("heard %d messages, want the one that landed", got)
		}
		m.Leave()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A lateBroker appends, and its answer does not come.
type lateBroker struct{ chat.Broker }

func (b lateBroker) Append(ctx context.Context, d chat.Draft, seen chat.Position) (chat.Publication, error) {
	_, _ = b.Broker.Append(ctx, d, seen)
	return chat.Publication{}, chat.ErrUnavailable
}
