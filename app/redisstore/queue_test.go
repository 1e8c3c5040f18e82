package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/ingress"
	"github.com/chatring/chatring/app/redisbroker"
	"github.com/chatring/chatring/app/redisconn"
	"github.com/chatring/chatring/app/redisstore"
)

// lease is short, so that a dead node's is over soon, and long enough for a busy
// machine.
const lease = time.Second

var errPoison = errors.New("poison")

// A queueTest is a queue in a Redis, and what was handled of it by anybody.
type queueTest struct {
	*redis.Client // an operator's, for what is done by hand
	t             testing.TB
	url           string // for nodes
	nodes         int

	mu      sync.Mutex
	handled []string // "<number>", in order
}

func newQueueTest(t testing.TB, r *chattest.Redis) *queueTest {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Addr})
	t.Cleanup(func() { _ = c.Close() })
	return &queueTest{Client: c, t: t, url: asNode(r)}
}

// queue returns a node's queue. Where the options have no Handle, it notes what
// it is handed.
func (q *queueTest) queue(o redisstore.QueueOptions) *redisstore.Queue {
	q.t.Helper()
	return q.queueAt(q.url, o)
}

func (q *queueTest) queueAt(url string, o redisstore.QueueOptions) *redisstore.Queue {
	q.t.Helper()
	at, err := redisconn.Options(url, "", "")
	if err != nil {
		q.t.Fatal(err)
	}
	return q.over(at, o)
}

func (q *queueTest) over(at redis.Options, o redisstore.QueueOptions) *redisstore.Queue {
	q.t.Helper()
	store := redisstore.New(at)
	q.t.Cleanup(func() { _ = store.Close() })
	q.nodes++
	o.Name, o.Node, o.Poison = "ingress", strconv.Itoa(q.nodes), errPoison
	if o.Lease == 0 {
		o.Lease = lease
	}
	if o.Handle == nil {
		o.Handle = q.note
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(q.t.Output(), nil))
	}
	return store.Queue(o)
}

func (q *queueTest) note(_ context.Context, _ string, fields map[string]string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.handled = append(q.handled, fields["n"])
	return nil
}

func (q *queueTest) noted() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]string(nil), q.handled...)
}

// run runs a queue until stop is called, or the test ends.
func run(t testing.TB, q *redisstore.Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := q.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	}()
	stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// add adds entries as any backend can, numbered from..to, in the lanes 0 to 4.
func (q *queueTest) add(from, to int) {
	q.t.Helper()
	pipe := q.Pipeline()
	for n := from; n <= to; n++ {
		pipe.XAdd(q.t.Context(), &redis.XAddArgs{Stream: "chatring:ingress", Values: []any{"n", n, "lane", n % 5}})
	}
	if _, err := pipe.Exec(q.t.Context()); err != nil {
		q.t.Fatal(err)
	}
}

func lanes(fields map[string]string) []string { return []string{fields["lane"]} }

// wait waits until something is so, for long: a busy machine is no fault.
func wait(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// isEmpty says whether the queue has nothing left, not even something pending.
func (q *queueTest) isEmpty() bool {
	q.t.Helper()
	n, err := q.XLen(q.t.Context(), "chatring:ingress").Result()
	if err != nil {
		return false
	}
	p, err := q.XPending(q.t.Context(), "chatring:ingress", "nodes").Result()
	return err == nil && n == 0 && p.Count == 0
}

// dead returns the entries that were set aside.
func (q *queueTest) dead() []redis.XMessage {
	q.t.Helper()
	dead, err := q.XRange(q.t.Context(), "chatring:ingress:dead", "-", "+").Result()
	if err != nil {
		q.t.Fatal(err)
	}
	return dead
}

// onceInOrder says whether 1..n were handled once each, and each lane in order.
func (q *queueTest) onceInOrder(n int) {
	q.t.Helper()
	times, last := make(map[int]int), make(map[int]int)
	for _, word := range q.noted() {
		i, err := strconv.Atoi(word)
		if err != nil {
			q.t.Fatal(err)
		}
		times[i]++
		if lane := i % 5; last[lane] > i {
			q.t.Errorf("%d was handled after %d", i, last[lane])
		} else {
			last[lane] = i
		}
	}
	for i := 1; i <= n; i++ {
		if times[i] != 1 {
			q.t.Errorf("%d was handled %d times, want once", i, times[i])
		}
	}
}

// Three nodes share a queue: each entry is handled once, each lane in order, and
// nothing is left. When the reader stops, another one goes on at once.
func TestQueue(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	q.add(1, 100) // before there is a group
	var nodes []*redisstore.Queue
	var stops []func()
	for range 3 {
		nodes = append(nodes, q.queue(redisstore.QueueOptions{Lanes: lanes, InFlight: 16, Lease: 5 * lease}))
		stops = append(stops, run(t, nodes[len(nodes)-1]))
	}
	wait(t, "the first hundred", q.isEmpty)
	reader := -1
	for i, n := range nodes {
		if n.Stats().Reading {
			if reader >= 0 {
				t.Errorf("nodes %d and %d both read", reader, i)
			}
			reader = i
		}
	}
	if reader < 0 {
		t.Fatal("nobody reads")
	}
	q.add(101, 200)
	stops[reader]()
	q.add(201, 300)
	// The others look every fifth of a lease.
	wait(t, "the others", q.isEmpty)
	q.onceInOrder(300)
	handled := func() (all uint64) {
		for _, n := range nodes {
			all += n.Stats().Handled
		}
		return all
	}
	wait(t, "all to be counted", func() bool { return handled() >= 300 }) // Redis knows of the last ones first
	if handled() != 300 {
		t.Errorf("%d are counted as handled, want 300", handled())
	}
	if names := q.consumers(); len(names) > 1 {
		t.Errorf("there are still the consumers %v", names)
	}
}

func (q *queueTest) consumers() (names []string) {
	q.t.Helper()
	all, err := q.XInfoConsumers(q.t.Context(), "chatring:ingress", "nodes").Result()
	if err != nil {
		q.t.Fatal(err)
	}
	for _, c := range all {
		names = append(names, c.Name)
	}
	return names
}

// A reader is killed in the middle of entries. The next one takes over what it
// had, before anything newer.
func TestQueueKilledReader(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	cmd := exec.Command(os.Args[0], "-test.run", "^TestQueueVictim$", "-test.timeout", "60s")
	cmd.Env = append(os.Environ(), "QUEUE_VICTIM="+q.Options().Addr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	q.add(1, 20)
	pending := func() int64 {
		p, err := q.XPending(t.Context(), "chatring:ingress", "nodes").Result()
		if err != nil {
			return 0
		}
		return p.Count
	}
	wait(t, "the victim to take all", func() bool { return pending() == 20 })
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // says that it was killed
	q.add(21, 40)
	next := q.queue(redisstore.QueueOptions{Lanes: lanes})
	run(t, next)
	wait(t, "the next", q.isEmpty)
	q.onceInOrder(40)
	wait(t, "the next to count that", func() bool { return next.Stats().Handled >= 40 })
	if s := next.Stats(); s.TakenOver != 20 || s.Handled != 40 || s.SetAside != 0 {
		t.Errorf("the next one counts %+v", s)
	}
	if names := q.consumers(); len(names) != 1 {
		t.Errorf("the dead consumer is still there: %v", names)
	}
}

// The node that TestQueueKilledReader kills: it begins with each entry, and ends
// with none.
func TestQueueVictim(t *testing.T) {
	addr := os.Getenv("QUEUE_VICTIM")
	if addr == "" {
		t.Skip("it is a process of TestQueueKilledReader")
	}
	q := newQueueTest(t, &chattest.Redis{Addr: addr})
	n := q.queue(redisstore.QueueOptions{Handle: func(ctx context.Context, _ string, _ map[string]string) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	_ = n.Run(t.Context())
}

// A reader that cannot reach Redis any more has stopped what it did before
// another one begins with it, and is heard no more.
func TestQueueCutOff(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	var wire cable
	at, err := redisconn.Options(q.url, "", "")
	if err != nil {
		t.Fatal(err)
	}
	at.Dialer = wire.dial
	begun, ended := make(chan struct{}, 100), make(chan time.Time, 100)
	first := q.over(at, redisstore.QueueOptions{Handle: func(ctx context.Context, _ string, _ map[string]string) error {
		begun <- struct{}{}
		<-ctx.Done()
		end, _ := ctx.Deadline() // what comes to Redis later is refused
		ended <- end
		return fmt.Errorf("%w: it was cut off", chat.ErrUnavailable)
	}})
	run(t, first)
	q.add(1, 1)
	<-begun
	again := make(chan time.Time, 1)
	run(t, q.queue(redisstore.QueueOptions{Handle: func(context.Context, string, map[string]string) error {
		again <- time.Now()
		return nil
	}}))
	wire.cut()
	late := <-again
	wait(t, "the first to have ended", func() bool { return len(ended) == len(begun)+1 })
	tries := len(ended)
	for range tries {
		if at := <-ended; at.After(late) {
			t.Errorf("the first was at it for %v after the second had begun", at.Sub(late))
		}
	}
	wait(t, "the entry to be settled", q.isEmpty)
	wire.mend()
	q.add(2, 2)
	<-again
	wait(t, "the next entry to be settled", q.isEmpty)
	if len(begun) >= tries {
		t.Error("the first has begun with something again")
	}
}

// A cable can be cut.
type cable struct {
	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

func (c *cable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isCut {
		return nil, errors.New("the cable is cut")
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = false
}

// What can never be handled is set aside with why, when and by whom, and what
// follows it in its lane is handled.
func TestQueuePoison(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	tried := make(chan string, 100)
	n := q.queue(redisstore.QueueOptions{
		Lanes: func(map[string]string) []string { return []string{"one"} }, Attempts: 3, Longest: 1000,
		Handle: func(ctx context.Context, id string, fields map[string]string) error {
			switch fields["n"] {
			case "2":
				return fmt.Errorf("%w: two is bad", errPoison)
			case "3":
				tried <- id
				return errors.New("three has no luck")
			case "4":
				panic("four")
			}
			return q.note(ctx, id, fields)
		},
	})
	q.add(1, 4)
	for _, values := range [][]any{
		{"n", "5", "data", strings.Repeat("x", 100_000)},
		append([]any{"n", "6"}, slices.Repeat([]any{"f", ""}, 500)...),
		{"n", "7", "n", "8"},
	} {
		if err := q.XAdd(t.Context(), &redis.XAddArgs{Stream: "chatring:ingress", Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	q.add(9, 9)
	run(t, n)
	wait(t, "all", q.isEmpty)
	if got := q.noted(); !slices.Equal(got, []string{"1", "9"}) {
		t.Errorf("handled %v, want 1 and 9", got)
	}
	if len(tried) != 3 {
		t.Errorf("three was tried %d times, want 3", len(tried))
	}
	dead := q.dead()
	why := []string{"poison: two is bad", "it failed 3 times: three has no luck", "it failed 3 times: panic: four", "it is too long", "it is too long", "a field stands in it twice"}
	if len(dead) != len(why) {
		t.Fatalf("%d were set aside, want %d: %v", len(dead), len(why), dead)
	}
	for _, d := range dead {
		if d.Values["id"] == "" || !strings.HasPrefix(d.Values["by"].(string), "1:") {
			t.Errorf("set aside: %v", d.Values)
		}
		i := slices.IndexFunc(why, func(w string) bool { return strings.HasPrefix(d.Values["why"].(string), w) })
		if i < 0 {
			t.Errorf("set aside because %q", d.Values["why"])
			continue
		}
		why = slices.Delete(why, i, i+1)
	}
	raw, err := q.Do(t.Context(), "XRANGE", "chatring:ingress:dead", "-", "+").Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range raw {
		words := d.([]any)[1].([]any)
		if size := len(fmt.Sprint(words)); len(words) > 28 || size > 1000 {
			t.Errorf("what was set aside has %d names and values, and takes %d bytes", len(words), size)
		}
	}
	if s := n.Stats(); s.SetAside != 6 || s.Handled != 2 || s.Waiting != 0 || s.Pending != 0 {
		t.Errorf("Stats = %+v", s)
	}
}

// An entry that has been with several nodes, each of which died with it, is set
// aside without another try. An orderly end is no death, however often it comes.
func TestQueueDeaths(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	q.add(1, 1)
	begun := make(chan struct{}, 100)
	for range 5 {
		stop := run(t, q.queue(redisstore.QueueOptions{Attempts: 3, Handle: func(ctx context.Context, _ string, _ map[string]string) error {
			begun <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}}))
		<-begun
		stop()
	}
	all, err := q.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: "chatring:ingress", Group: "nodes", Start: "-", End: "+", Count: 10}).Result()
	if err != nil || len(all) != 1 || all[0].RetryCount > 1 {
		t.Fatalf("pending after five orderly ends: %v, %v", all, err)
	}
	given := func(times int) { // to one who died then
		if err := q.Do(t.Context(), "XCLAIM", "chatring:ingress", "nodes", "dead", 0, all[0].ID, "RETRYCOUNT", times).Err(); err != nil {
			t.Fatal(err)
		}
	}
	given(2)
	stop := run(t, q.queue(redisstore.QueueOptions{Attempts: 3, Handle: func(ctx context.Context, _ string, _ map[string]string) error {
		<-ctx.Done()
		return ctx.Err()
	}}))
	wait(t, "another to be given it", func() bool {
		all, err := q.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: "chatring:ingress", Group: "nodes", Start: "-", End: "+", Count: 10}).Result()
		return err == nil && len(all) == 1 && all[0].RetryCount == 3
	})
	stop()
	given(3)
	q.add(2, 2)
	run(t, q.queue(redisstore.QueueOptions{Attempts: 3}))
	wait(t, "the end", q.isEmpty)
	if got := q.noted(); !slices.Equal(got, []string{"2"}) {
		t.Errorf("handled %v, want 2 alone", got)
	}
	if dead := q.dead(); len(dead) != 1 || !strings.Contains(dead[0].Values["why"].(string), "death of a node") {
		t.Errorf("set aside: %v", dead)
	}
}

// While what handling needs is unavailable entries wait, are tried again, and
// none is set aside; then they are handled in order.
func TestQueueOutage(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	var out atomic.Bool
	out.Store(true)
	n := q.queue(redisstore.QueueOptions{
		Lanes: lanes, InFlight: 8, Attempts: 2,
		Handle: func(ctx context.Context, id string, fields map[string]string) error {
			if out.Load() {
				return fmt.Errorf("append: %w", chat.ErrUnavailable)
			}
			return q.note(ctx, id, fields)
		},
	})
	run(t, n)
	q.add(1, 50)
	wait(t, "many tries", func() bool { return n.Stats().Retried > 20 })
	if s := n.Stats(); s.Pending != 8 || s.Waiting != 42 || s.SetAside != 0 {
		t.Errorf("during the outage: %+v, want 8 pending and 42 that wait", s)
	}
	out.Store(false)
	wait(t, "its end", q.isEmpty)
	q.onceInOrder(50)
}

// Redis loses everything, the group and the reader among it, and the queue goes
// on.
func TestQueueAfterFlush(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	for range 2 {
		run(t, q.queue(redisstore.QueueOptions{Lanes: lanes}))
	}
	q.add(1, 10)
	wait(t, "the first ten", q.isEmpty)
	if err := q.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	q.add(11, 20)
	wait(t, "the next ten", q.isEmpty)
	q.onceInOrder(20)
}

// Redis dies and comes back on its disk, and the scripts have to be loaded again.
func TestQueueRedisRestarts(t *testing.T) {
	t.Parallel()
	r := startGuarded(t, "--appendonly", "yes", "--appendfsync", "always")
	q := newQueueTest(t, r)
	handle := make(chan struct{})
	n := q.queue(redisstore.QueueOptions{Lanes: lanes, InFlight: 4, Handle: func(ctx context.Context, id string, fields map[string]string) error {
		select {
		case <-handle:
			return q.note(ctx, id, fields)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", chat.ErrUnavailable, ctx.Err())
		}
	}})
	run(t, n)
	q.add(1, 30)
	wait(t, "the first to be taken", func() bool { return n.Stats().Pending == 4 })
	r.Kill()
	wait(t, "the node to know", func() bool { return !n.Stats().Reading })
	r.Start()
	close(handle)
	wait(t, "all", q.isEmpty)
	q.onceInOrder(30)
	if n.Stats().SetAside > 0 {
		t.Errorf("set aside: %v", q.dead())
	}
}

// Entries that somebody has trimmed away are forgotten, whoever had them.
func TestQueueTrimmed(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	q.add(1, 5)
	if err := q.XGroupCreate(t.Context(), "chatring:ingress", "nodes", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := q.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "nodes", Consumer: "dead", Streams: []string{"chatring:ingress", ">"}}).Err(); err != nil {
		t.Fatal(err)
	}
	trim := func(keep int64) {
		if err := q.XTrimMaxLen(t.Context(), "chatring:ingress", keep).Err(); err != nil {
			t.Fatal(err)
		}
	}
	trim(2)
	handle := make(chan struct{})
	n := q.queue(redisstore.QueueOptions{Lanes: lanes, Handle: func(ctx context.Context, id string, fields map[string]string) error {
		<-handle
		return q.note(ctx, id, fields)
	}})
	run(t, n)
	wait(t, "what is left to be taken over", func() bool { return n.Stats().TakenOver == 2 })
	trim(0)
	q.add(6, 6)
	wait(t, "the next entry to be taken", func() bool { return n.Stats().Pending == 3 })
	if s := n.Stats(); s.Waiting != 0 {
		t.Errorf("%d wait, want none", s.Waiting)
	}
	close(handle)
	wait(t, "the end", q.isEmpty)
	got := q.noted()
	slices.Sort(got)
	if want := []string{"4", "5", "6"}; !slices.Equal(got, want) {
		t.Errorf("handled %v, want %v", got, want)
	}
}

// A full Redis gives its entries away all the same. What is to be set aside waits
// until there is place for it.
func TestQueueFullRedis(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	q.add(1, 10)
	if err := q.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	n := q.queue(redisstore.QueueOptions{Handle: func(ctx context.Context, id string, fields map[string]string) error {
		if fields["n"] == "3" {
			return errPoison
		}
		return q.note(ctx, id, fields)
	}})
	run(t, n)
	wait(t, "nine to be handled", func() bool { return n.Stats().Handled == 9 })
	if s := n.Stats(); !s.Reading || s.SetAside > 0 {
		t.Errorf("with a full Redis: %+v", s)
	}
	if err := q.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the last to be set aside", func() bool { return n.Stats().SetAside == 1 && q.isEmpty() })
}

// A handler that takes too long is told to end, and tried again; meanwhile the
// node stays the reader, and others get nothing.
func TestQueueSlowHandler(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	begun := make(chan time.Time, 100)
	n := q.queue(redisstore.QueueOptions{Attempts: 4, Handle: func(ctx context.Context, _ string, _ map[string]string) error {
		begun <- time.Now()
		<-ctx.Done()
		return ctx.Err()
	}})
	run(t, n)
	q.add(1, 1)
	first := <-begun
	run(t, q.queue(redisstore.QueueOptions{}))
	second := <-begun
	if took := second.Sub(first); took < lease/2 || took > 20*lease {
		t.Errorf("the second try came after %v, want half the lease", took)
	}
	wait(t, "the end", q.isEmpty)
	if got := q.noted(); len(got) > 0 || n.Stats().SetAside != 1 || n.Stats().TakenOver != 0 {
		t.Errorf("others handled %v, want the first to set it aside: %+v", got, n.Stats())
	}
}

// Entries in an answer that is lost on its way are handled all the same, by the
// same node, before others of their lanes that come later.
func TestQueueLostAnswer(t *testing.T) {
	t.Parallel()
	r := startGuarded(t)
	q := newQueueTest(t, r)
	proxy := chattest.StartProxy(t, r.Addr)
	n := q.queueAt(asNode(&chattest.Redis{Addr: proxy.Addr}), redisstore.QueueOptions{Lanes: lanes, InFlight: 10, Lease: time.Minute})
	run(t, n)
	for i := range 20 {
		// Sometimes the answer that is lost has entries, sometimes none.
		dropped := proxy.DropReply("evalsha")
		q.add(10*i+1, 10*i+10)
		<-dropped
		wait(t, "all that was added", q.isEmpty)
	}
	q.onceInOrder(200)
}

// So they are when more waits than a node takes at once.
func TestQueueLostAnswerOfMany(t *testing.T) {
	t.Parallel()
	r := startGuarded(t)
	q := newQueueTest(t, r)
	proxy := chattest.StartProxy(t, r.Addr)
	n := q.queueAt(asNode(&chattest.Redis{Addr: proxy.Addr}), redisstore.QueueOptions{Lanes: lanes, InFlight: 10, Lease: time.Minute})
	run(t, n)
	for i := range 5 {
		q.add(100*i+1, 100*i+100)
		<-proxy.DropReply("evalsha")
		wait(t, "all that was added", q.isEmpty)
	}
	q.onceInOrder(500)
}

// Entries that wait for one of their lane, or for another try, keep no others from
// being handled, and no more are handled at once than may be.
func TestQueueAtOnce(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	var released atomic.Bool
	var now, most atomic.Int64
	n := q.queue(redisstore.QueueOptions{Lanes: lanes, InFlight: 50, AtOnce: 2, Handle: func(ctx context.Context, id string, fields map[string]string) error {
		n := now.Add(1)
		defer now.Add(-1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		time.Sleep(2 * time.Millisecond) // long enough for a third to be handled at once, if it could
		if fields["lane"] < "3" && !released.Load() {
			return chat.ErrUnavailable
		}
		return q.note(ctx, id, fields)
	}})
	run(t, n)
	q.add(1, 50)
	wait(t, "the lanes 3 and 4", func() bool { return len(q.noted()) == 20 })
	released.Store(true)
	wait(t, "the others", q.isEmpty)
	q.onceInOrder(50)
	if most.Load() > 2 {
		t.Errorf("%d were handled at once, want 2 at the most", most.Load())
	}
}

// A queue in which nothing happens is looked at without writing to the disk.
func TestQueueIdle(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	for range 2 {
		run(t, q.queue(redisstore.QueueOptions{Lease: time.Minute}))
	}
	q.add(1, 10)
	wait(t, "what was added", q.isEmpty)
	number := func(section, name string) (n int) {
		_, rest, _ := strings.Cut(q.Info(t.Context(), section).Val(), name)
		_, _ = fmt.Sscan(rest, &n)
		return n
	}
	turns, written := number("commandstats", "cmdstat_evalsha:calls="), number("persistence", "rdb_changes_since_last_save:")
	wait(t, "many turns", func() bool { return number("commandstats", "cmdstat_evalsha:calls=") > turns+50 })
	if n := number("persistence", "rdb_changes_since_last_save:") - written; written == 0 || n > 0 {
		t.Errorf("%d writes in fifty turns, and %d before", n, written)
	}
}

// A node may add entries, as many as there is place for.
func TestQueueAdd(t *testing.T) {
	t.Parallel()
	q := newQueueTest(t, startGuarded(t))
	n := q.queue(redisstore.QueueOptions{Limit: 2})
	for i := range 2 {
		if id, err := n.Add(t.Context(), map[string]string{"n": strconv.Itoa(i), "lane": "0"}); id == "" || err != nil {
			t.Errorf("Add = %q, %v", id, err)
		}
	}
	if _, err := n.Add(t.Context(), map[string]string{"n": "2"}); !errors.Is(err, redisstore.ErrQueueFull) {
		t.Errorf("Add to a full queue = %v, want ErrQueueFull", err)
	}
	run(t, n)
	wait(t, "what was added", q.isEmpty)
	if got := q.noted(); len(got) != 2 {
		t.Errorf("handled %v", got)
	}
	if _, err := n.Add(t.Context(), map[string]string{"n": "2"}); err != nil {
		t.Errorf("Add = %v", err)
	}
}

// The queue when every entry is handled at once: what Redis and the reader can do.
func BenchmarkQueue(b *testing.B) {
	q := newQueueTest(b, startGuarded(b))
	var n atomic.Int64
	all := make(chan struct{}, 1)
	node := q.queue(redisstore.QueueOptions{Handle: func(context.Context, string, map[string]string) error {
		if n.Add(1) == int64(b.N) {
			all <- struct{}{}
		}
		return nil
	}})
	for from := 1; from <= b.N; from += 1000 {
		q.add(from, min(from+999, b.N))
	}
	b.ResetTimer()
	run(b, node)
	<-all
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// A backend may write into the ingress, and do nothing else there.
func TestIngressUser(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t, append([]string{"--user", "ingress", "on", ">" + password}, rulesOf(t, "ingress")...)...)
	c := redis.NewClient(&redis.Options{Addr: r.Addr, Username: "ingress", Password: password, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	for _, command := range []string{"PING", "XADD chatring:ingress * room lobby data 1"} {
		if err := c.Do(t.Context(), words(command)...).Err(); err != nil {
			t.Errorf("%s = %v", command, err)
		}
	}
	for _, command := range []string{
		"XADD chatring:{lobby}:log * a b", "XADD chatring:ingress:dead * a b", "XADD chatring:webhooks * a b",
		"XRANGE chatring:ingress - +", "XREAD STREAMS chatring:ingress 0", "XLEN chatring:ingress", "XDEL chatring:ingress 1-1",
		"DEL chatring:ingress", "PUBLISH chatring:{lobby} x", "SUBSCRIBE chatring:{lobby}", "GET chatring:ingress:reader",
		"FLUSHALL", "CONFIG GET dir", "ACL LIST", "KEYS *", "EVAL return{} 0", "XGROUP DESTROY chatring:ingress nodes",
	} {
		if err := c.Do(t.Context(), words(command)...).Err(); !redis.HasErrorPrefix(err, "NOPERM") {
			t.Errorf("%s = %v, want NOPERM", command, err)
		}
	}
}

func words(command string) (all []any) {
	for _, word := range strings.Fields(command) {
		all = append(all, word)
	}
	return all
}

// The ingress with its appends, to fifty rooms.
func BenchmarkIngress(b *testing.B) {
	r := startGuarded(b)
	log, err := redisbroker.New(redisbroker.Options{URL: asNode(r), AppID: "1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	chattest.RunBroker(b, log, chattest.NewRecorder())
	q := newQueueTest(b, r)
	in := ingress.New(poster{log}, 1000)
	node := q.queue(redisstore.QueueOptions{Handle: in.Handle, Lanes: in.Lanes})
	pipe := q.Pipeline()
	for n := range b.N {
		pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: "chatring:ingress", Values: []any{"room", fmt.Sprintf("r%d", n%50), "data", n}})
		if n%1000 == 999 || n == b.N-1 {
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ResetTimer()
	run(b, node)
	wait(b, "all", func() bool { return node.Stats().Handled == uint64(b.N) })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	if s := node.Stats(); s.SetAside > 0 {
		b.Error(q.dead())
	}
}

// A poster says things in rooms that nobody is in.
type poster struct{ *redisbroker.Broker }

func (p poster) Post(ctx context.Context, d chat.Draft) (chat.Publication, error) {
	return p.Append(ctx, d, chat.Position{})
}
