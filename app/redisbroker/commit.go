package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
)

// Bounds of one round trip: large enough to keep Redis busy, small enough to
// be answered well within the read timeout.
const (
	maxBatchCalls = 512
	maxBatchBytes = 1 << 20
	// callOverhead is what a call costs beside its payload, roughly.
	callOverhead = 512
)

// Pauses before the same calls are sent again.
const (
	minRetryPause = 20 * time.Millisecond
	maxRetryPause = 250 * time.Millisecond
)

// A call is one run of a script.
type call struct {
	// Static after construction.
	script  *script
	keys    []any
	room    chat.RoomID // the room that the call tells others about; may be ""
	channel string      // where it tells them
	args    []any       // what follows own and channel
	more    []any       // what ends the command
	size    int         // of the payload, in bytes
	again   bool        // a lost answer may be asked for again, until a time that follows args

	// Owned by the committer until done is closed.
	ctx   context.Context
	own   string // the claimed connection's channel, or ""
	reply any
	err   error
	done  chan struct{}
}

func (c *call) cost() int { return c.size + callOverhead }

// command is what Redis is sent.
func (c *call) command(clock clock) []any {
	args := make([]any, 0, 6+len(c.keys)+len(c.args)+len(c.more))
	args = append(args, "evalsha", &c.script.sha, len(c.keys))
	args = append(args, c.keys...)
	args = append(args, &c.own, &c.channel)
	args = append(args, c.args...)
	if c.again {
		args = append(args, clock.end(c.ctx))
	}
	return append(args, c.more...)
}

// A committer runs scripts in groups: what arrives while a round trip is out
// goes with the next. Its queue is bounded in bytes; a call that does not fit
// is refused at once. All methods may be called concurrently, except run.
type committer struct {
	// Static after construction.
	client   *redis.Client
	bridge   *bridge
	counters *counters
	keep     keep
	scripts  []*script
	limit    int // bytes
	log      *slog.Logger
	wake     chan struct{} // holds one token while the queue may have something; never closed

	// Owned by run.
	clock      clock
	complained time.Time

	// Guarded by mu.
	mu     sync.Mutex
	queue  []*call
	bytes  int
	closed bool
}

func newCommitter(client *redis.Client, b *bridge, n *counters, k keep, o Options) *committer {
	scripts := []*script{appendScript, vitalScript, signalScript}
	if o.Tells != nil {
		scripts = append(scripts, tellingScript(o.Backlog))
	}
	return &committer{
		client: client, bridge: b, counters: n, keep: k, scripts: scripts, limit: o.QueueBytes, log: o.Log, wake: make(chan struct{}, 1),
	}
}

// do runs a call and returns the script's reply, or an error that wraps
// chat.ErrUnavailable, or chat.ErrConflict, ErrDeleted or ErrRewound.
func (c *committer) do(ctx context.Context, call *call) (any, error) {
	if err := c.submit(ctx, call); err != nil {
		return nil, err
	}
	select {
	case <-call.done:
		return call.reply, call.err
	case <-ctx.Done():
		return nil, unavailable(context.Cause(ctx))
	}
}

// submit queues a call and does not wait. The call is dropped if ctx ends
// before it is sent.
func (c *committer) submit(ctx context.Context, call *call) error {
	if ctx.Err() != nil {
		return unavailable(context.Cause(ctx))
	}
	call.ctx = ctx
	call.done = make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("%w: the node is stopping", chat.ErrUnavailable)
	}
	if c.bytes+call.cost() > c.limit {
		c.counters.refused.Add(1)
		return fmt.Errorf("%w: too much waits for Redis", chat.ErrUnavailable)
	}
	c.queue = append(c.queue, call)
	c.bytes += call.cost()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// run sends batches until ctx ends; what waits then is answered with an error.
func (c *committer) run(ctx context.Context) {
	defer c.close()
	c.load(ctx)
	pause := minRetryPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		for batch := c.next(); len(batch) > 0 && ctx.Err() == nil; batch = c.next() {
			again, rest := c.commit(ctx, batch)
			c.putBack(again)
			if !rest {
				pause = minRetryPause
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, maxRetryPause)
		}
	}
}

// next takes the next batch from the queue.
func (c *committer) next() []*call {
	c.mu.Lock()
	defer c.mu.Unlock()
	var batch []*call
	size, taken := 0, 0
	for _, call := range c.queue {
		if len(batch) == maxBatchCalls || len(batch) > 0 && size+call.cost() > maxBatchBytes {
			break
		}
		taken++
		c.bytes -= call.cost()
		if call.ctx.Err() != nil { // nobody waits for it
			finish(call, nil, unavailable(context.Cause(call.ctx)))
			continue
		}
		size += call.cost()
		batch = append(batch, call)
	}
	clear(c.queue[:taken])
	c.queue = c.queue[taken:]
	return batch
}

// putBack makes calls the first of the queue.
func (c *committer) putBack(calls []*call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range calls {
		c.bytes += call.cost()
	}
	c.queue = append(calls, c.queue...)
}

func (c *committer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, call := range c.queue {
		finish(call, nil, fmt.Errorf("%w: the node is stopping", chat.ErrUnavailable))
	}
	c.queue, c.bytes = nil, 0
}

func finish(call *call, reply any, err error) {
	call.reply, call.err = reply, err
	close(call.done)
}

// commit sends a batch, hands out the answers, and returns the calls to be
// sent again, and whether Redis needs a rest before.
//
// Each batch ends with the wait, if there is one. The answers to appends are readings of Redis' clock. A call that
// Redis refuses as too late though its context lives has shown that the clock was misread, and goes again with
// another reading.
//
// A call says which connection hears its room. That is claimed here and
// released when the answer is in; the bridge does not unsubscribe a room while
// it is claimed, so an answered script has never discounted a subscription
// that was gone.
func (c *committer) commit(ctx context.Context, batch []*call) (again []*call, rest bool) {
	if time.Since(c.clock.ours) > maxClockAge {
		c.clock = clock{}
		c.load(ctx)
	}
	pipe := c.client.Pipeline()
	cmds := make([]*redis.Cmd, len(batch))
	var claimed []chat.RoomID
	for i, call := range batch {
		call.own = c.bridge.claim(call.room)
		if call.own != "" {
			claimed = append(claimed, call.room)
		}
		cmds[i] = pipe.Do(ctx, call.command(c.clock)...)
	}
	wait := c.keep.wait(ctx, pipe)
	c.counters.batches.Add(1)
	_, _ = pipe.Exec(ctx) // each command has its own error
	heard := time.Now()
	c.bridge.release(claimed)
	unkept := c.keep.check(wait)

	unloaded := false
	for i, call := range batch {
		reply, err := cmds[i].Result()
		if err == nil {
			err = unkept
		}
		if theirs, ok := parseClock(reply); ok {
			c.clock = clock{theirs, heard}
		}
		switch {
		case err == nil:
			finish(call, reply, nil)
		case errors.Is(err, errNotKept):
			c.counters.unkept.Add(1)
			c.complain("appended, but not acknowledged", "error", err)
			finish(call, nil, unavailable(err))
		case redis.HasErrorPrefix(err, "NOSCRIPT"):
			unloaded, rest = true, true
			again = append(again, call)
		case call.again && lost(err):
			c.counters.retries.Add(1)
			rest = true
			again = append(again, call)
		case redis.HasErrorPrefix(err, "EXPIRED"):
			c.clock = clock{}
			again = append(again, call) // and is dropped if its context has ended
		case redis.HasErrorPrefix(err, "CONFLICT"):
			finish(call, nil, chat.ErrConflict)
		case redis.HasErrorPrefix(err, "DELETED"):
			finish(call, nil, chat.ErrDeleted)
		case redis.HasErrorPrefix(err, "REWOUND"):
			finish(call, nil, chat.ErrRewound)
		default:
			c.refused(err)
			finish(call, nil, unavailable(err))
		}
	}
	if unloaded {
		c.load(ctx)
	}
	return again, rest
}

// refused logs what Redis answers instead of running a script: callers only
// learn that the log is unavailable.
func (c *committer) refused(err error) {
	if !lost(err) {
		c.complain("Redis refuses to append", "error", err)
	}
}

// complain logs once a second at most: calls that fail come in thousands.
func (c *committer) complain(message string, facts ...any) {
	if time.Since(c.complained) >= time.Second {
		c.complained = time.Now()
		c.log.Warn(message, facts...)
	}
}

// lost says whether it is unknown if a command ran, or Redis was still loading
// its data: both are worth another try.
func lost(err error) bool {
	var answered redis.Error
	return !errors.As(err, &answered) || redis.HasErrorPrefix(err, "LOADING")
}

// load gives Redis the scripts, and looks at its version and its clock. It need
// not succeed: the calls that miss the scripts come again.
func (c *committer) load(ctx context.Context) {
	pipe := c.client.Pipeline()
	server := pipe.InfoMap(ctx, "server")
	var loads []*redis.StringCmd
	for _, s := range c.scripts {
		loads = append(loads, pipe.ScriptLoad(ctx, s.source))
	}
	now := pipe.Time(ctx)
	_, _ = pipe.Exec(ctx)
	if theirs, err := now.Result(); err == nil {
		c.clock = clock{theirs, time.Now()}
	}
	switch v := server.Item("Server", "redis_version"); {
	case olderThan(v, 7, 0):
		c.complain("Redis is too old: 7.0 or later is needed", "version", v)
	case c.keep.fsync && olderThan(v, 7, 2):
		c.complain("Redis is too old for redis.ack=fsync: 7.2 or later is needed, and nothing is acknowledged", "version", v)
	}
	for _, l := range loads {
		if err := l.Err(); err != nil {
			c.refused(err)
		}
	}
}

// olderThan says whether a version of Redis is known and below another.
func olderThan(version string, major, minor int) bool {
	var theirs [2]int
	n, _ := fmt.Sscanf(version, "%d.%d", &theirs[0], &theirs[1])
	return n == 2 && slices.Compare(theirs[:], []int{major, minor}) < 0
}
