// Package redisbroker is chat.Broker on Redis 7.0 or later: a room's log is a
// stream whose IDs are the positions, one script gives the positions, and
// pub/sub is the bridge between nodes. It knows nothing of members, windows
// and sockets.
//
// Two rules make the bridge cheap and honest:
//
//   - Redis' subscriber table says who listens. A script that appends asks it,
//     and publishes only when another node would hear. The appender discounts
//     its own subscription by naming the connection that holds it, so a
//     connection that is gone is never discounted.
//   - Nothing is believed about a connection: it proves itself by an echo, and
//     whatever happened to it, the sink hears Resumed when its successor has
//     all rooms again.
//
// Locks: bridge.mu, committer.mu and questions.mu are each held for a few
// lines, never across I/O, and never two at once.
package redisbroker

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/redisconn"
)

// Options are what a Broker is built from. Zero fields take their defaults.
type Options struct {
	// URL says where Redis is: redis://[user:password@]host[:port][/db], or
	// rediss:// for TLS. It is never logged.
	URL string
	// User and PasswordFile say who the node is to Redis, unless URL does. The
	// file is read for each connection, so that a new password needs no restart.
	// No file: the node does not say.
	User, PasswordFile string
	// AppID is the node's APPID, for the name of its channel.
	AppID string

	// Retention is how many publications of a room are kept at least; Redis
	// trims by whole stream nodes, so up to a hundred more may stay. Default
	// 10,000. Raise it where members page far back and memory is plenty.
	Retention int
	// RetentionAge is how long a room's log outlives its last publication.
	// Default seven days.
	RetentionAge time.Duration
	// KeyWindow is how long a sender's key is remembered at least: a retry
	// within that time is harmless. Default five minutes. Raise it when
	// clients retry across longer outages; it costs about 150 bytes of Redis
	// memory for each publication in it.
	KeyWindow time.Duration

	// Vital is a room that is appended to also when Redis is full. It must not
	// be one that clients write in.
	Vital chat.RoomID

	// Tells says in which rooms the application is told of what is said; nil: in
	// none. The events are in the stream chatring:webhooks, Backlog of them, roughly.
	Tells   func(chat.RoomID) bool
	Backlog int

	// Fsync makes an append wait until Redis has it on disk, whatever its
	// appendfsync; needs Redis 7.2. Replicas is how many replicas must have it,
	// too. Turn them up where the loss of Redis' machine must lose nothing.
	Fsync    bool
	Replicas int
	// AckTimeout is how long that may take before the append is answered with
	// chat.ErrUnavailable, though it has a position, which its key finds out.
	// Default 2 s.
	AckTimeout time.Duration

	// Patience ends a call whose context has no deadline. Default 3 s.
	Patience time.Duration
	// QueueBytes bounds what waits for Redis on this node; what does not fit
	// is refused with chat.ErrUnavailable. Default 16 MiB.
	QueueBytes int

	// ProbeEvery is how often the bridge is tried, and ProbeTimeout how long
	// its echo may take: a bridge that swallows everything is noticed within
	// the sum of both. Defaults 1 s and 1.5 s, so that it takes less than 3 s
	// until the bridge is rebuilt. Raise the timeout where Redis is known to
	// stall longer than that.
	ProbeEvery, ProbeTimeout time.Duration

	// Bridged hears that the bridge has all rooms (nil), or what has ended a bridge that
	// had them: it wraps ErrLoss when data was lost. It must not block. Nil: nobody minds.
	Bridged func(broken error)

	// Log hears of interruptions and of entries that cannot be read. Default
	// slog.Default().
	Log *slog.Logger
}

func (o *Options) setDefaults() {
	o.Retention = cmp.Or(o.Retention, 10_000)
	o.RetentionAge = cmp.Or(o.RetentionAge, 7*24*time.Hour)
	o.KeyWindow = cmp.Or(o.KeyWindow, 5*time.Minute)
	o.AckTimeout = cmp.Or(o.AckTimeout, 2*time.Second)
	o.Patience = cmp.Or(o.Patience, 3*time.Second)
	o.QueueBytes = cmp.Or(o.QueueBytes, 16<<20)
	o.ProbeEvery = cmp.Or(o.ProbeEvery, time.Second)
	o.ProbeTimeout = cmp.Or(o.ProbeTimeout, 1500*time.Millisecond)
	o.Log = cmp.Or(o.Log, slog.Default())
}

// A Broker is one node's way to the rooms in Redis. It implements chat.Broker.
type Broker struct {
	options Options
	node    nodeID
	telling *script // for rooms of Options.Tells

	reads     *redis.Client // reads, checks and probes: may be retried
	commits   *committer
	signals   *committer // another than commits when those wait to be kept
	bridge    *bridge
	questions *questions
	counters  *counters
}

var _ chat.Broker = (*Broker)(nil)

// New returns a Broker that connects when it runs. The error never contains
// the URL.
func New(o Options) (*Broker, error) {
	connection, err := redisconn.Options(o.URL, o.User, o.PasswordFile)
	if err != nil {
		return nil, err
	}
	o.setDefaults()
	b := &Broker{
		options:   o,
		node:      newNodeID(o.AppID),
		telling:   tellingScript(o.Backlog),
		reads:     readClient(connection),
		questions: newQuestions(),
		counters:  new(counters),
	}
	b.bridge = newBridge(b, connection)
	b.commits = newCommitter(commitClient(connection, o.keep()), b.bridge, b.counters, o.keep(), o)
	b.signals = b.commits
	if o.keep().waits() {
		b.signals = newCommitter(commitClient(connection, keep{}), b.bridge, b.counters, keep{}, o)
	}
	return b, nil
}

func readClient(o redis.Options) *redis.Client {
	o.MaxRetries = 1
	o.PoolSize = 8
	o.MaxActiveConns = 8
	o.PoolTimeout = 10 * time.Second // who waits has a deadline, but for a probe
	return redis.NewClient(&o)
}

// commitClient returns the client of the committer, which has one round trip
// out at a time and does its retries itself, because only it knows which are
// harmless.
func commitClient(o redis.Options, k keep) *redis.Client {
	if k.waits() {
		o.ReadTimeout += k.timeout
	}
	o.MaxRetries = -1
	o.PoolSize = 1
	o.MaxActiveConns = 1
	o.ReadBufferSize = 64 << 10
	o.WriteBufferSize = 64 << 10
	return redis.NewClient(&o)
}

// committers are those that run, each once.
func (b *Broker) committers() []*committer {
	if b.signals == b.commits {
		return []*committer{b.commits}
	}
	return []*committer{b.commits, b.signals}
}

// Run implements chat.Broker.
func (b *Broker) Run(ctx context.Context, sink chat.Sink) error {
	var committing sync.WaitGroup
	for _, c := range b.committers() {
		committing.Go(func() {
			c.run(ctx)
			_ = c.client.Close()
		})
	}
	b.bridge.run(ctx, sink)
	committing.Wait()
	_ = b.reads.Close()
	return nil
}

// Check implements chat.Broker.
func (b *Broker) Check(ctx context.Context) error {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	if err := b.reads.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("check: %w", unavailable(err))
	}
	return nil
}

// deadline gives a context its end when it has none.
func (b *Broker) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, b.options.Patience)
}

// unavailable makes err what a caller of the Broker switches on.
func unavailable(err error) error {
	if errors.Is(err, chat.ErrUnavailable) || errors.Is(err, chat.ErrConflict) {
		return err
	}
	return fmt.Errorf("%w: %w", chat.ErrUnavailable, err)
}

// A nodeID names one run of a node: "<APPID>:<random>". It has no spaces.
type nodeID string

func newNodeID(appid string) nodeID { return nodeID(appid + ":" + rand.Text()[:10]) }
