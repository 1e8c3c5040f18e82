package redisstore

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/redisconn"
)

var (
	//go:embed queue_take.lua
	queueTakeSource string
	//go:embed queue_aside.lua
	queueAsideSource string
	//go:embed queue_add.lua
	queueAddSource string
	//go:embed queue_tidy.lua
	queueTidySource string

	queueTakeScript  = newScript(queueTakeSource)
	queueAsideScript = newScript(queueAsideSource)
	queueAddScript   = newScript(queueAddSource)
	queueTidyScript  = newScript(queueTidySource)
)

// ErrQueueFull says that too many entries wait in a queue for another one.
var ErrQueueFull = errors.New("too many entries wait in the queue")

// queueGroup is the one consumer group of each queue: all nodes are in it.
const queueGroup = "nodes"

// Bounds of an entry that is handed to a handler, beside QueueOptions.Longest.
const (
	maxEntryFields = 200 // names and values
	maxWhy         = 300 // bytes of a reason
)

// maxTaken is how many entries are handed over in one run of a script, which takes
// Redis for about a millisecond.
const maxTaken = 128

// Pauses of the reader when there is nothing to read, and of a handler before it
// tries again.
const (
	minIdle, maxIdle   = 5 * time.Millisecond, 50 * time.Millisecond
	minRetry, maxRetry = 50 * time.Millisecond, 2 * time.Second
)

// QueueOptions are what a Queue is built from. Zero fields take their defaults.
type QueueOptions struct {
	// Name is the queue's: its stream is chatring:<name>.
	Name string
	// Node is the node's APPID. Each Queue is a consumer of its own.
	Node string
	// Handle handles an entry, and ends when ctx does. An entry that it returns
	// an error for comes again: without end when the error is
	// chat.ErrUnavailable, never when it is Poison, else until it has failed
	// Attempts times. It may get an entry twice.
	Handle func(ctx context.Context, id string, fields map[string]string) error
	// Poison is the error of an entry that can never be handled.
	Poison error
	// Lanes names what an entry must stay in order with: of the entries that
	// share a lane each is handled after the one before it. Nil: no order.
	Lanes func(fields map[string]string) []string

	// InFlight is how many entries this node has at most that are not handled
	// yet, and InFlightBytes how long they are together, roughly. Defaults 128
	// and 8 MiB.
	InFlight, InFlightBytes int
	// AtOnce is how many entries Handle has at once; the others in flight wait for
	// those of their lanes, for another try, or for their turn. Default InFlight.
	AtOnce int
	// Longest is how long an entry may be, in bytes; a longer one is set aside
	// unseen. Default 256 KiB.
	Longest int
	// Attempts is after how many failures an entry is set aside. The death of a
	// node that had it is one. Default 5.
	Attempts int
	// Lease is for how long a node that gives no sign of life stays the reader.
	// Half of it is the time that Handle has. Default 5 s.
	Lease time.Duration
	// Limit is how many entries may wait before Add refuses more. Default
	// 1,000,000.
	Limit int
	// Kept is how many of the entries that were set aside are kept. Default 1,000.
	Kept int

	// Log hears of entries that are set aside and of outages. Default
	// slog.Default().
	Log *slog.Logger
}

func (o *QueueOptions) setDefaults() {
	o.InFlight = cmp.Or(o.InFlight, 128)
	o.InFlightBytes = cmp.Or(o.InFlightBytes, 8<<20)
	o.AtOnce = cmp.Or(o.AtOnce, o.InFlight)
	o.Longest = cmp.Or(o.Longest, 256<<10)
	o.Attempts = cmp.Or(o.Attempts, 5)
	o.Lease = cmp.Or(o.Lease, 5*time.Second)
	o.Limit = cmp.Or(o.Limit, 1_000_000)
	o.Kept = cmp.Or(o.Kept, 1_000)
	o.Log = cmp.Or(o.Log, slog.Default())
}

// A Queue is a stream of entries that whoever may write to it adds, and the
// nodes handle: each entry by one node, at least once.
//
// One node reads at a time, the reader, so that order has a meaning: it proves
// in each turn that it lives, in the step that hands it entries (queue_take.lua).
// What a dead reader had not settled is pending in the stream's consumer group;
// the next reader takes it over before it reads on, so that lanes stay in
// order. A reader that cannot prove itself stops what it does before another can
// begin.
//
// What a node has of the queue is bounded in entries and bytes. What cannot be
// handled for the moment stays in Redis.
//
// All methods may be called concurrently; Run is called once.
type Queue struct {
	// Static after construction.
	store   *Store
	options QueueOptions
	key     string
	me      string        // the consumer
	wake    chan struct{} // holds a token when something was handled; never closed
	turns   chan struct{} // holds a token for each entry that Handle has; never closed

	// Owned by Run.
	complained time.Time
	reported   time.Time

	// Guarded by mu.
	mu      sync.Mutex
	until   time.Time // when another may read, if no turn comes before
	entries int       // taken from Redis, and neither settled nor let go
	bytes   int
	handled []*entry // to be settled
	spoilt  []*entry // to be set aside
	lanes   map[string]chan struct{}
	stats   QueueStats
}

// QueueStats is what a node has counted of a queue, and what it knows of it.
type QueueStats struct {
	Handled, Retried, TakenOver, SetAside uint64
	Waiting, Pending                      int
	Reading                               bool
}

// An entry is one that this node has taken.
type entry struct {
	id        string
	given     int  // how often somebody was given it
	takenOver bool // it was another's
	size      int
	fields    map[string]string
	lanes     []string
	before    []<-chan struct{} // those of its lanes that come before it
	done      chan struct{}     // closed when it is handled or let go
	why       string            // it is set aside
}

// Queue returns a queue of this store. It reads nothing until Run.
func (s *Store) Queue(o QueueOptions) *Queue {
	o.setDefaults()
	return &Queue{
		store: s, options: o, key: redisconn.Prefix + o.Name, me: o.Node + ":" + rand.Text()[:10],
		wake: make(chan struct{}, 1), turns: make(chan struct{}, o.AtOnce), lanes: make(map[string]chan struct{}),
	}
}

// deadKey is where entries go that are set aside.
func (q *Queue) deadKey() string { return q.key + ":dead" }

// readerKey says who reads.
func (q *Queue) readerKey() string { return q.key + ":reader" }

// Stats returns what the node has counted.
func (q *Queue) Stats() QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Reading = time.Now().Before(q.until)
	return s
}

// Add adds an entry and returns its ID. The error is ErrQueueFull, or what
// happened to Redis: then the entry may be there, or not.
func (q *Queue) Add(ctx context.Context, fields map[string]string) (id string, err error) {
	args := append(make([]any, 0, 1+2*len(fields)), q.options.Limit)
	for name, value := range fields {
		args = append(args, name, value)
	}
	reply, err := q.store.run(ctx, queueAddScript, []string{q.key}, args...)
	switch {
	case redis.HasErrorPrefix(err, "FULL"):
		return "", ErrQueueFull
	case err != nil:
		return "", fmt.Errorf("add to %s: %w", q.key, err)
	}
	id, _ = reply.(string)
	return id, nil
}

// Run reads and handles entries until ctx ends. It returns nil.
func (q *Queue) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		q.read(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := q.settle(last); err == nil {
		q.tidy(last, "leave")
	}
	return nil
}

// read is this node's time as the reader, or a moment in which it is not.
func (q *Queue) read(ctx context.Context) {
	reading, end := context.WithCancel(ctx)
	var handlers sync.WaitGroup
	defer func() {
		end()
		handlers.Wait()
		q.readUntil(time.Time{})
	}()
	renewal := q.options.Lease / 5
	// At first comes what is pending, from the oldest on.
	after, astray, idle := "-", false, minIdle
	for ctx.Err() == nil {
		t, err := q.turn(reading, after, !astray)
		if err == nil && t.reads == 0 || err != nil && time.Now().After(q.readsUntil()) {
			q.complain(ctx, "a queue cannot be read", err)
			q.rest(ctx, renewal)
			return
		}
		if err != nil {
			q.complain(ctx, "a queue cannot be read", err)
			q.rest(ctx, renewal/2)
			continue
		}
		for _, e := range t.entries {
			q.begin(e)
			handlers.Go(func() { q.handle(reading, e) })
		}
		if after != "" && t.after == "" {
			q.tidy(ctx, "")
		}
		after = t.after
		taken := q.taken()
		// More is pending than this node knows of: an answer was lost on its way.
		// When what it knows of is settled, what is pending is read again.
		astray = astray || after == "" && t.pending > taken
		switch {
		case astray && taken == 0:
			after, astray = "-", false
		case len(t.entries) > 0:
			idle = minIdle
		case astray || taken >= q.options.InFlight:
			q.rest(ctx, renewal)
		default:
			q.rest(ctx, idle)
			idle = min(2*idle, maxIdle)
		}
	}
}

// A turn is what Redis answers the reader.
type turn struct {
	reads            time.Duration // from now on; 0: another node does
	waiting, pending int
	after            string
	entries          []*entry
}

// turn settles what has been handled, and takes more, if there is more to take.
func (q *Queue) turn(ctx context.Context, after string, more bool) (t turn, err error) {
	if err := q.settle(ctx); err != nil {
		return t, err
	}
	o := &q.options
	q.mu.Lock()
	known, count, bytes := q.entries, o.InFlight-q.entries, o.InFlightBytes-q.bytes
	q.mu.Unlock()
	if !more || bytes <= 0 {
		count = 0
	}
	count = min(count, maxTaken)
	asked := time.Now()
	reply, err := q.store.run(ctx, queueTakeScript, []string{q.key, q.readerKey()},
		queueGroup, q.me, o.Lease.Milliseconds(), count, bytes, o.Longest, maxEntryFields, after, known)
	if err != nil {
		return t, err
	}
	if t, err = parseTurn(reply); err != nil {
		return t, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.Waiting, q.stats.Pending = t.waiting, t.pending
	if t.reads > 0 {
		q.until = asked.Add(t.reads - o.Lease/20) // no two clocks run alike
	}
	return t, nil
}

// parseTurn reads what queue_take.lua answers.
func parseTurn(reply any) (t turn, err error) {
	malformed := fmt.Errorf("queue_take.lua answered %v", reply)
	f, ok := reply.([]any)
	if !ok || len(f) != 5 {
		return t, malformed
	}
	reads, _ := f[0].(int64)
	waiting, _ := f[1].(int64)
	pending, _ := f[2].(int64)
	entries, _ := f[4].([]any)
	t = turn{reads: time.Duration(reads) * time.Millisecond, waiting: int(waiting), pending: int(pending)}
	t.after, _ = f[3].(string)
	for _, e := range entries {
		g, ok := e.([]any)
		if !ok || len(g) != 5 {
			return t, malformed
		}
		t.entries = append(t.entries, parseEntry(g))
	}
	return t, nil
}

func parseEntry(f []any) *entry {
	e := &entry{done: make(chan struct{}), fields: make(map[string]string)}
	e.id, _ = f[0].(string)
	given, _ := f[1].(int64)
	other, _ := f[2].(int64)
	size, _ := f[3].(int64)
	e.given, e.takenOver, e.size = int(given), other == 1, int(size)
	words, _ := f[4].([]any)
	for i := 0; i+1 < len(words); i += 2 {
		name, _ := words[i].(string)
		e.fields[name], _ = words[i+1].(string)
	}
	switch {
	case len(words) == 0:
		e.why = fmt.Sprintf("it is too long: %d bytes", size)
		e.size = 0
	case 2*len(e.fields) != len(words):
		e.why = "a field stands in it twice"
	}
	return e
}

// begin counts an entry as taken, and puts it behind those that it must stay in
// order with.
func (q *Queue) begin(e *entry) {
	if e.why == "" && q.options.Lanes != nil {
		e.lanes = q.options.Lanes(e.fields)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries++
	q.bytes += e.size
	if e.takenOver {
		q.stats.TakenOver++
	}
	for _, lane := range e.lanes {
		if before := q.lanes[lane]; before != nil && before != e.done {
			e.before = append(e.before, before)
		}
		q.lanes[lane] = e.done
	}
}

// handle handles an entry in its turn, or lets go of it when ctx ends.
func (q *Queue) handle(ctx context.Context, e *entry) {
	for _, before := range e.before {
		select {
		case <-ctx.Done():
		case <-before:
		}
	}
	settled := e.why != "" || q.keepTrying(ctx, e)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, lane := range e.lanes {
		if q.lanes[lane] == e.done {
			delete(q.lanes, lane)
		}
	}
	close(e.done)
	switch {
	case !settled:
		q.forget(e)
		return
	case e.why != "":
		q.spoilt = append(q.spoilt, e)
	default:
		q.handled = append(q.handled, e)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// forget ends what is known of an entry. The caller holds mu.
func (q *Queue) forget(e *entry) {
	q.entries--
	q.bytes -= e.size
}

// keepTrying has an entry handled, and says whether that came to an end before
// ctx did. The entry's why says if the end is a bad one.
func (q *Queue) keepTrying(ctx context.Context, e *entry) (settled bool) {
	var last error
	for failures, pause := e.given-1, minRetry; ; pause = min(2*pause, maxRetry) {
		if failures >= q.options.Attempts {
			e.why = fmt.Sprintf("it failed %d times, each by the death of a node", failures)
			if last != nil {
				e.why = fmt.Sprintf("it failed %d times: %v", failures, last)
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		select {
		case q.turns <- struct{}{}:
		case <-ctx.Done():
			return false
		}
		err, fair := q.try(ctx, e)
		<-q.turns
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, q.options.Poison):
			e.why = err.Error()
			return true
		case fair && !errors.Is(err, chat.ErrUnavailable):
			failures++
			last = err
		}
		q.mu.Lock()
		q.stats.Retried++
		q.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// try has an entry handled once, before another node could read it. It was not
// fair when that left it too little time.
func (q *Queue) try(ctx context.Context, e *entry) (err error, fair bool) { //nolint:revive // the error is not ours
	end, until := time.Now().Add(q.options.Lease/2), q.readsUntil()
	if fair = end.Before(until); !fair {
		end = until
	}
	if time.Until(end) <= 0 {
		return context.DeadlineExceeded, false
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return q.options.Handle(ctx, e.id, e.fields), fair
}

// settle takes from the queue what has been handled, and sets aside what never
// will be. What it does twice has no further effect.
func (q *Queue) settle(ctx context.Context) error {
	q.mu.Lock()
	handled, spoilt := q.handled, q.spoilt
	q.handled, q.spoilt = nil, nil
	q.mu.Unlock()
	if err := q.remove(ctx, handled); err != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.handled = append(q.handled, handled...)
		q.spoilt = append(q.spoilt, spoilt...)
		return err
	}
	for i, e := range spoilt {
		if err := q.setAside(ctx, e); err != nil {
			q.complain(ctx, "an entry of a queue cannot be set aside", err)
			q.mu.Lock()
			defer q.mu.Unlock()
			q.spoilt = append(q.spoilt, spoilt[i:]...)
			return nil // the others are handled all the same
		}
	}
	return nil
}

func (q *Queue) remove(ctx context.Context, handled []*entry) error {
	if len(handled) == 0 {
		return nil
	}
	ids := make([]string, len(handled))
	for i, e := range handled {
		ids[i] = e.id
	}
	_, err := q.store.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.XAck(ctx, q.key, queueGroup, ids...)
		pipe.XDel(ctx, q.key, ids...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range handled {
		q.forget(e)
	}
	q.stats.Handled += uint64(len(handled))
	return nil
}

func (q *Queue) setAside(ctx context.Context, e *entry) error {
	o := &q.options
	why := strings.ToValidUTF8(e.why[:min(len(e.why), maxWhy)], "")
	reply, err := q.store.run(ctx, queueAsideScript, []string{q.key, q.deadKey()},
		queueGroup, q.me, e.id, why, o.Kept, o.Longest, maxEntryFields)
	if err != nil {
		return err
	}
	q.mu.Lock()
	q.forget(e)
	if reply == int64(1) {
		q.stats.SetAside++
	}
	q.mu.Unlock()
	if reply == int64(1) && time.Since(q.reported) >= time.Second { // they may come in thousands
		q.reported = time.Now()
		o.Log.Warn("an entry of a queue was set aside", "queue", o.Name, "id", e.id, "why", why)
	}
	return nil
}

// tidy removes consumers that are over; with "leave", this one as well.
func (q *Queue) tidy(ctx context.Context, leave string) {
	if _, err := q.store.run(ctx, queueTidyScript, []string{q.key, q.readerKey()}, queueGroup, q.me, leave); err != nil {
		q.complain(ctx, "a queue cannot be tidied", err)
	}
}

func (q *Queue) taken() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.entries
}

func (q *Queue) readUntil(t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.until = t
}

func (q *Queue) readsUntil() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.until
}

// complain logs what happened to Redis, once a second at most.
func (q *Queue) complain(ctx context.Context, message string, err error) {
	if err == nil || ctx.Err() != nil || time.Since(q.complained) < time.Second {
		return
	}
	q.complained = time.Now()
	q.options.Log.Warn(message, "queue", q.options.Name, "error", err)
}

// rest waits until something was handled, but no longer than a while.
func (q *Queue) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-q.wake:
	case <-time.After(d):
	}
}
