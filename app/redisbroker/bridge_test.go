package redisbroker_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// A follower is the least that a node must do to miss nothing of one room: it
// takes what it hears or was answered, reads what is missing before it, and
// reads all there is when the bridge was interrupted.
type follower struct {
	*chattest.Recorder
	broker *redisbroker.Broker
	wake   chan struct{}

	mu   sync.Mutex
	read bool // there may be more in the log
	last chat.Position
}

func startFollower(t *testing.T, o redisbroker.Options, room chat.RoomID) *follower {
	t.Helper()
	f := &follower{Recorder: chattest.NewRecorder(), broker: newBroker(t, o), wake: make(chan struct{}, 1)}
	chattest.RunBroker(t, f.broker, f)
	open(t, f.broker, room)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		f.follow(ctx, room)
	}()
	return f
}

func (f *follower) Publication(p chat.Publication) {
	f.take(p)
	f.Recorder.Publication(p)
}

func (f *follower) Resumed() {
	f.mu.Lock()
	f.read = true
	f.mu.Unlock()
	f.stir()
	f.Recorder.Resumed()
}

func (f *follower) take(p chat.Publication) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.Follows(f.last) {
		f.last = p.Position
	} else if f.last.Before(p.Position) {
		f.read = true
		f.stir()
	}
}

func (f *follower) stir() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// follow reads while there is something to read.
func (f *follower) follow(ctx context.Context, room chat.RoomID) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		f.mu.Lock()
		last := f.last
		f.read = false
		f.mu.Unlock()
		more, err := f.broker.ReadAfter(ctx, room, last, 10_000)
		if err != nil {
			f.stir()
			continue
		}
		for _, p := range more {
			f.take(p)
		}
		f.change()
	}
}

// change makes Wait look again.
func (f *follower) change() { f.Recorder.Signal("follower", nil) }

func (f *follower) at() chat.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Redis cuts the bridges again and again while two nodes append. Each time both
// nodes come to know everything, without a timer and without anything else
// being said: no publication was withheld from a node that was not told to
// read.
func TestKilledBridges(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	by := operator(t, r)
	var nodes []*follower
	for i := range 2 {
		nodes = append(nodes, startFollower(t, redisbroker.Options{URL: r.URL(), AppID: strconv.Itoa(i)}, "lobby"))
	}
	const rounds, writers, each = 8, 4, 10
	for round := range rounds {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var tail chat.Position
		for w := range writers {
			node := nodes[w%len(nodes)]
			wg.Go(func() {
				for i := range each {
					p := say(t, node.broker, "lobby", fmt.Sprintf("%d.%d.%d", round, w, i))
					node.take(p)
					mu.Lock()
					if tail.Before(p.Position) {
						tail = p.Position
					}
					mu.Unlock()
				}
			})
		}
		wg.Go(func() {
			for range 3 {
				do(t, by, "CLIENT KILL TYPE pubsub")
			}
		})
		wg.Wait()
		for i, n := range nodes {
			n.change()
			n.Wait(t, fmt.Sprintf("node %d to reach %s in round %d", i, tail, round), func() bool { return n.at() == tail })
		}
	}
	onceEach(t, read(t, nodes[0].broker, "lobby"), rounds*writers*each)
	for i, n := range nodes {
		if n.Resumptions() == 0 {
			t.Errorf("node %d was never interrupted", i)
		}
	}
}

// A bridge whose bytes vanish while TCP looks well is noticed and rebuilt, with
// probes twice as often as by default so that a slow machine has time left.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	proxy := chattest.StartProxy(t, r.Addr)
	one, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	told := make(chan error, 10)
	two, heard := start(t, redisbroker.Options{
		URL: proxy.URL(), AppID: "2222", ProbeEvery: 500 * time.Millisecond, ProbeTimeout: time.Second,
		Bridged: func(broken error) { told <- broken },
	})
	open(t, two, "lobby")
	say(t, one, "lobby", "heard")
	heard.Wait(t, "the first publication", func() bool { return len(heard.Publications("lobby")) == 1 })

	swallowed := time.Now()
	if n := proxy.Swallow("subscribe"); n != 1 {
		t.Fatalf("%d connections are black holes, want the bridge", n)
	}
	say(t, one, "lobby", "lost")
	heard.Wait(t, "the bridge to resume", func() bool { return heard.Resumptions() == 1 })
	if took := time.Since(swallowed); took > 3*time.Second {
		t.Errorf("noticed after %s, want 3 s at most", took)
	}
	onceEach(t, read(t, two, "lobby"), 2)
	say(t, one, "lobby", "heard again")
	heard.Wait(t, "the last publication", func() bool { return len(heard.Publications("lobby")) == 2 })
	if s := two.Stats(); s.ProbeTimeouts != 1 || s.Interruptions != 1 {
		t.Errorf("Stats = %+v, want one probe timeout", s)
	}
	if begun, broken, back := <-told, <-told, <-told; begun != nil || broken == nil || errors.Is(broken, redisbroker.ErrLoss) || back != nil {
		t.Errorf("told %v, %v and %v, want that it works, was broken, and works again", begun, broken, back)
	}
}

// A node that opens and closes a room all the time while it appends there
// withholds nothing from another node: a subscription is not given up while an
// append in flight counts on it.
func TestClosingWithholdsNothing(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	one, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	two, heard := start(t, redisbroker.Options{URL: r.URL(), AppID: "2222"})
	open(t, two, "lobby")
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			open(t, one, "lobby")
			one.Close("lobby")
		}
	})
	const writers, each = 4, 150
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				say(t, one, "lobby", fmt.Sprintf("%d.%d", w, i))
			}
		})
	}
	writing.Wait()
	close(done)
	wg.Wait()
	heard.Wait(t, "all publications", func() bool { return len(heard.Publications("lobby")) == writers*each })
	onceEach(t, heard.Publications("lobby"), writers*each)
	if n := heard.Resumptions(); n != 0 {
		t.Errorf("the bridge was interrupted %d times, want never", n)
	}
}

// A bridge with more rooms than one command names comes back with all of them,
// and with none that was closed meanwhile.
func TestManyRoomsComeBack(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, heard := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	const rooms = 2500
	var wg sync.WaitGroup
	for i := range rooms {
		wg.Go(func() { open(t, b, chat.RoomID(fmt.Sprintf("room%d", i))) })
	}
	wg.Wait()
	by := operator(t, r)
	do(t, by, "CLIENT KILL TYPE pubsub")
	b.Close("room0")
	heard.Wait(t, "the bridge to resume", func() bool { return heard.Resumptions() == 1 })
	open(t, b, "fence")
	if n := len(do(t, by, "PUBSUB CHANNELS chatring:{*").([]any)); n != rooms {
		t.Errorf("%d rooms are subscribed, want %d", n, rooms)
	}
	if n := b.Stats().Rooms; n != rooms {
		t.Errorf("Stats has %d rooms, want %d", n, rooms)
	}
}

// Nonsense on a room's channel is left out.
func TestMalformedMessages(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	one, heard := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	two, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "2222"})
	open(t, one, "lobby")
	by := operator(t, r)
	nonsense := []string{"", "x", "p", "p 1-0", "p 1-0 2 a k", "p 1 2 a k b", "p 1-0 z a k b", "s", "s node", "q node channel id", "a 1 node b"}
	for _, m := range nonsense {
		if err := by.Publish(t.Context(), "chatring:{lobby}", m).Err(); err != nil {
			t.Fatal(err)
		}
	}
	say(t, two, "lobby", "k")
	heard.Wait(t, "the publication", func() bool { return len(heard.Publications("lobby")) > 0 })
	if n := len(heard.Publications("lobby")); n != 1 {
		t.Errorf("heard %d publications, want 1", n)
	}
	if got, want := one.Stats().Malformed, uint64(len(nonsense)); got != want {
		t.Errorf("%d messages are malformed, want %d", got, want)
	}
}

// While Redis stands still every call ends in time and says why; when it runs
// on, so does the node.
func TestPause(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111", QueueBytes: 1 << 20})
	open(t, b, "lobby")
	say(t, b, "lobby", "before")
	r.Pause()
	began := time.Now()
	calls := map[string]func(context.Context) error{
		"Append": func(ctx context.Context) error {
			_, err := b.Append(ctx, draft("lobby", "k"), chat.Position{})
			return err
		},
		"ReadAfter": func(ctx context.Context) error {
			_, err := b.ReadAfter(ctx, "lobby", chat.Position{}, 1)
			return err
		},
		"Signal": func(ctx context.Context) error { return b.Signal(ctx, "lobby", nil) },
		"Open":   func(ctx context.Context) error { return b.Open(ctx, "team") },
		"Check":  b.Check,
	}
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			if err := call(within(t, 300*time.Millisecond)); !errors.Is(err, chat.ErrUnavailable) {
				t.Errorf("%s = %v, want ErrUnavailable", name, err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("%s took %s, want 300 ms", name, took)
			}
		})
	}
	wg.Wait()

	// What does not fit into the queue is refused at once.
	large := draft("lobby", "large")
	large.Body = make([]byte, 1<<20)
	began = time.Now()
	if _, err := b.Append(t.Context(), large, chat.Position{}); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("Append = %v, want ErrUnavailable", err)
	}
	if took := time.Since(began); took > time.Second || b.Stats().Refused != 1 {
		t.Errorf("refused %d calls after %s, want 1 at once", b.Stats().Refused, took)
	}

	r.Resume()
	say(t, b, "lobby", "k")
	say(t, b, "lobby", "after")
	open(t, b, "team")
	onceEach(t, read(t, b, "lobby"), 3)
}

// A node that starts before Redis works as soon as Redis does.
func TestRedisComesLater(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	r.Kill()
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	if err := b.Check(t.Context()); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("Check = %v, want ErrUnavailable", err)
	}
	if err := b.Open(within(t, 100*time.Millisecond), "lobby"); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("Open = %v, want ErrUnavailable", err)
	}
	r.Start()
	open(t, b, "lobby")
	say(t, b, "lobby", "k")
	if err := b.Check(t.Context()); err != nil {
		t.Errorf("Check = %v", err)
	}
	if n := b.Stats().Rooms; n != 1 {
		t.Errorf("Stats has %d rooms, want 1", n)
	}
}
