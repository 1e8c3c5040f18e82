package redisstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/hooks"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/redisstore"
)

// A place is a directory on a Redis of its own, with subscribers as nodes would be.
type place struct {
	redisstore.Hooks
	t   *testing.T
	by  *redis.Client
	was string // ID of the last event that was looked at
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p, _ := newPlaceAt(t)
	return p
}

func newPlaceAt(t *testing.T) (*place, *chattest.Redis) {
	t.Helper()
	r := startGuarded(t)
	p := &place{t: t, by: redis.NewClient(&redis.Options{Addr: r.Addr}), was: "0-0"}
	p.Hooks = redisstore.Hooks{Store: newStore(t, r), Backlog: 1000, Grace: 2500 * time.Millisecond}
	t.Cleanup(func() { _ = p.by.Close() })
	return p, r
}

// serve subscribes rooms as a node does that serves them, until the node dies.
func (p *place) serve(rooms ...chat.RoomID) (die func()) {
	p.t.Helper()
	var channels []string
	for _, room := range rooms {
		channels = append(channels, "chatring:{"+string(room)+"}")
	}
	s := p.by.Subscribe(context.Background(), channels...)
	p.t.Cleanup(func() { _ = s.Close() })
	for range channels {
		if _, err := s.Receive(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
	}
	hear := func() map[string]int64 { return p.by.PubSubNumSub(p.t.Context(), channels...).Val() }
	return func() {
		before := hear()
		_ = s.Close()
		p.eventually("the subscriptions to end", func() bool { return hear()[channels[0]] < before[channels[0]] })
	}
}

func (p *place) eventually(what string, cond func() bool) {
	p.t.Helper()
	for late := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			p.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// told returns the events since the last time, sorted.
func (p *place) told() string {
	p.t.Helper()
	entries, err := p.by.XRange(p.t.Context(), "chatring:webhooks", "("+p.was, "+").Result()
	if err != nil {
		p.t.Fatal(err)
	}
	var events []string
	for _, e := range entries {
		p.was = e.ID
		events = append(events, fmt.Sprint(e.Values["type"], " ", e.Values["room"]))
	}
	slices.Sort(events)
	return strings.Join(events, ", ")
}

func (p *place) want(want string) {
	p.t.Helper()
	if got := p.told(); got != want {
		p.t.Errorf("told %q, want %q", got, want)
	}
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// However many nodes somebody is on, and however often they say so, that there is
// somebody is told once, and that there is nobody when the last node says so.
func TestOccupiedIsToldOnce(t *testing.T) {
	p := newPlace(t)
	first, second := p.serve("lobby", "@alice"), p.serve("lobby", "@alice")
	for range 3 {
		p.must(p.Occupied(t.Context(), []chat.RoomID{"lobby", "@alice"}))
	}
	p.want("room_occupied lobby, user_online @alice")
	first()
	p.must(p.Left(t.Context(), []chat.RoomID{"@alice", "@nobody"}))
	p.want("")
	second()
	for range 3 {
		p.must(p.Left(t.Context(), []chat.RoomID{"@alice"}))
	}
	p.want("user_offline @alice")
	p.serve("@alice")
	p.must(p.Occupied(t.Context(), []chat.RoomID{"@alice"}))
	p.want("user_online @alice")
}

// A node that dies says nothing: whoever sweeps finds its rooms, once, when nobody
// has heard them for a while. A connection that comes back in time changes nothing.
func TestDeadNodesRoomsAreSwept(t *testing.T) {
	p := newPlace(t)
	other := p.Hooks // of another node
	dead, back := p.serve("lobby", "@alice"), p.serve("team", "@bob")
	p.must(p.Occupied(t.Context(), []chat.RoomID{"lobby", "@alice", "team", "@bob"}))
	p.want("room_occupied lobby, room_occupied team, user_online @alice, user_online @bob")
	sweep := func() {
		for _, s := range []redisstore.Hooks{p.Hooks, other} {
			_, err := s.Sweep(t.Context())
			p.must(err)
		}
	}
	sweep()
	dead()
	back()
	// Both are missed once, at least.
	p.eventually("a sweep that misses them", func() bool {
		sweep()
		since := p.by.HMGet(t.Context(), "chatring:webhooks:occupied", "lobby", "@bob").Val()
		return since[0] != "" && since[1] != ""
	})
	missed := p.by.HGet(t.Context(), "chatring:webhooks:occupied", "lobby").Val()
	p.serve("team", "@bob")
	var got []string
	p.eventually("the rooms of the dead node", func() bool {
		sweep()
		if events := p.told(); events != "" {
			got = append(got, events)
		}
		return len(got) > 0
	})
	p.eventually("the others to be found again", func() bool {
		sweep()
		since := p.by.HMGet(t.Context(), "chatring:webhooks:occupied", "team", "@bob").Val()
		return since[0] == "" && since[1] == ""
	})
	if events := p.told(); events != "" {
		got = append(got, events)
	}
	told, _, _ := strings.Cut(p.was, "-")
	if after := number(t, told) - number(t, missed); after < 2500 {
		t.Errorf("vacated %d ms after nobody heard it, want the grace of 2500", after)
	}
	if want := "room_vacated lobby, user_offline @alice"; strings.Join(got, "; ") != want {
		t.Errorf("told %q, want %s once", got, want)
	}
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A sweep goes through many rooms in pieces, each node going on where the last one
// stopped, and begins again only after a second.
func TestSweepInPieces(t *testing.T) {
	p := newPlace(t)
	var rooms []chat.RoomID
	for i := range 20_000 {
		rooms = append(rooms, chat.RoomID(fmt.Sprintf("room-%d", i)))
	}
	p.Backlog = 100_000
	for some := range slices.Chunk(rooms, 500) {
		p.must(p.Occupied(t.Context(), some))
	}
	begun, pieces := time.Now(), 1
	for more := true; more; pieces++ {
		var err error
		more, err = p.Sweep(t.Context())
		p.must(err)
	}
	if pieces < 10 || pieces > 25 {
		t.Errorf("20,000 rooms in %d pieces, want about twenty", pieces)
	}
	began := p.by.HGet(t.Context(), "chatring:webhooks:sweep", "began").Val()
	missed := 0
	for _, since := range p.by.HVals(t.Context(), "chatring:webhooks:occupied").Val() {
		if since != "" {
			missed++
		}
	}
	if missed != len(rooms) {
		t.Errorf("%d rooms were looked at, want all", missed)
	}
	more, err := p.Sweep(t.Context())
	p.must(err)
	if again := p.by.HGet(t.Context(), "chatring:webhooks:sweep", "began").Val(); time.Since(begun) < time.Second && (more || again != began) {
		t.Error("the next sweep has begun at once")
	}
}

// So many events may wait, roughly, and the oldest go.
func TestBacklogIsBounded(t *testing.T) {
	p := newPlace(t)
	for i := range 3000 {
		p.must(p.Occupied(t.Context(), []chat.RoomID{chat.RoomID(fmt.Sprintf("room-%d", i))}))
	}
	if n := p.by.XLen(t.Context(), "chatring:webhooks").Val(); n < 1000 || n > 1200 {
		t.Errorf("%d events wait, want about 1000", n)
	}
}

// A shop is an application that notes what it is told, and takes what it wants to.
type shop struct {
	mu    sync.Mutex
	heard []string // the webhook-id and the number of each event
	takes func(number string) bool
}

func (s *shop) RoundTrip(r *http.Request) (*http.Response, error) {
	var event struct{ Data struct{ Data int } }
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
		return nil, err
	}
	number := strconv.Itoa(event.Data.Data)
	s.mu.Lock()
	s.heard = append(s.heard, r.Header.Get("webhook-id")+" "+number)
	takes := s.takes(number)
	s.mu.Unlock()
	if !takes {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

func (s *shop) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.heard)
}

// node has events delivered to an application as a node does, until it stops.
func (p *place) node(r *chattest.Redis, name string, app http.RoundTripper) (store *redisstore.Store, stop func()) {
	p.t.Helper()
	secret := filepath.Join(p.t.TempDir(), "secret")
	p.must(os.WriteFile(secret, []byte("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="), 0o600))
	w, err := hooks.NewWebhooks(hooks.WebhookOptions{
		URL: "http://app.example/", SecretFile: secret, Concurrency: 8, Events: []string{hooks.MessagePublished}, Transport: app,
	}, &metrics.New("1111", "test").Hooks)
	p.must(err)
	store = newStore(p.t, r)
	q := store.Queue(redisstore.QueueOptions{Name: redisstore.WebhooksName, Node: name, Handle: w.Handle, Lanes: hooks.Lanes, Poison: hooks.ErrHopeless, Lease: 500 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	return store, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Error(err)
		}
	})
}

// A node that dies with events under way takes none with it: another one delivers
// them, under the ids that they had, in the order of their room.
func TestWebhooksOutliveANode(t *testing.T) {
	p, r := newPlaceAt(t)
	first := &shop{takes: func(number string) bool { return number < "3" }}
	second := &shop{takes: func(string) bool { return true }}
	dying, stop := p.node(r, "1111", first)
	defer stop()
	for i := range 9 {
		p.must(p.by.XAdd(t.Context(), &redis.XAddArgs{Stream: "chatring:webhooks", Values: []string{
			"type", "message_published", "room", "lobby", "pos", fmt.Sprintf("7-%d", i), "from", "alice", "key", fmt.Sprint(i), "body", fmt.Sprint(i),
		}}).Err())
	}
	p.eventually("the fourth event to be under way", func() bool { return len(first.told()) == 4 })
	_ = dying.Close() // its connections break, and it says nothing any more
	_, stopOther := p.node(r, "2222", second)
	defer stopOther()
	p.eventually("the backlog to be delivered", func() bool {
		n, err := p.by.XLen(t.Context(), "chatring:webhooks").Result()
		return err == nil && n == 0
	})
	told := second.told()
	if begun := first.told()[3]; !slices.Contains(told, begun) {
		t.Errorf("the event that was under way, %s, is not among %v", begun, told)
	}
	var numbers []string
	for _, event := range told {
		_, number, _ := strings.Cut(event, " ")
		numbers = append(numbers, number)
	}
	if got := strings.Join(numbers, ""); !strings.HasSuffix("012345678", got) || !strings.Contains(got, "345678") {
		t.Errorf("the other node delivers %s, want all from 3 on, in order", got)
	}
}
