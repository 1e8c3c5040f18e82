package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/chatring/chatring/app/chat"
)

const (
	// maxChannels is how many channels one command names.
	maxChannels = 1000
	// maxSettle is how long a new connection may take until it has all rooms.
	maxSettle = 5 * time.Second
)

// A connection is one pub/sub connection to Redis. It is never mended: a
// client of go-redis that dials once serves it, so that nothing reconnects and
// resubscribes behind our back.
type connection struct {
	// Static after construction.
	bridge  *bridge
	number  uint64 // 1 is the bridge's first
	channel string // the node's channel, subscribed here and nowhere else
	client  *redis.Client
	pubsub  *redis.PubSub
	settled chan struct{} // closed when the connection has all rooms
	echoes  chan string   // probes that came back; holds the last one

	// Guarded by mu.
	mu     sync.Mutex
	socket net.Conn
}

var (
	errDialedOnce = errors.New("the connection has ended")
	errUnsettled  = errors.New("the rooms are not confirmed")
)

// serve makes a connection and runs it until it fails or ctx ends.
func (b *bridge) serve(ctx context.Context, sink chat.Sink) error {
	b.connections++
	c := &connection{
		bridge:  b,
		number:  b.connections,
		channel: nodeChannel(b.broker.node, b.connections),
		settled: make(chan struct{}),
		echoes:  make(chan string, 1),
	}
	o := b.options
	o.MaxRetries = -1
	o.Dialer = c.dialOnce(redis.NewDialer(&o))
	c.client = redis.NewClient(&o)
	defer c.client.Close()
	c.pubsub = c.client.Subscribe(ctx)
	defer c.pubsub.Close()
	// The node's channel comes last: its confirmation is that of all rooms.
	rooms := channelsOf(b.begin(c.channel))
	if err := inChunks(ctx, append(rooms, c.channel), c.pubsub.Subscribe); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}

	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return c.receive(ctx, sink) })
	tasks.Go(func() error { return c.follow(ctx) })
	tasks.Go(func() error { return c.probe(ctx) })
	tasks.Go(func() error {
		<-ctx.Done()
		c.hangUp() // ends a read or a write that would wait on
		return ctx.Err()
	})
	return tasks.Wait()
}

func (c *connection) dialOnce(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	var dialed bool
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if dialed {
			return nil, errDialedOnce
		}
		dialed = true
		socket, err := dial(ctx, network, address)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.socket = socket
		return socket, err
	}
}

func (c *connection) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socket != nil {
		_ = c.socket.Close()
	}
}

func channelsOf(rooms []chat.RoomID) []string {
	channels := make([]string, 0, len(rooms)+1)
	for _, room := range rooms {
		channels = append(channels, roomChannel(room))
	}
	return channels
}

// inChunks sends a command for channels, a chunk at a time. For none it sends
// nothing: to Redis, UNSUBSCRIBE without channels means all of them.
func inChunks(ctx context.Context, channels []string, send func(context.Context, ...string) error) error {
	for chunk := range slices.Chunk(channels, maxChannels) {
		if err := send(ctx, chunk...); err != nil {
			return err
		}
	}
	return nil
}

// follow brings Redis in line with what is wanted, as that changes.
func (c *connection) follow(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.bridge.wake:
		}
		subscribe, unsubscribe := c.bridge.due()
		if err := inChunks(ctx, channelsOf(unsubscribe), c.pubsub.Unsubscribe); err != nil {
			return fmt.Errorf("unsubscribe: %w", err)
		}
		if err := inChunks(ctx, channelsOf(subscribe), c.pubsub.Subscribe); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
	}
}

// receive hears what comes in, and is the only caller of the sink. It holds
// nothing back: if the sink is slow, Redis' output buffer fills, and Redis
// ends the connection.
func (c *connection) receive(ctx context.Context, sink chat.Sink) error {
	for {
		heard, err := c.pubsub.Receive(ctx)
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		switch heard := heard.(type) {
		case *redis.Subscription:
			c.confirmed(heard, sink)
		case *redis.Message:
			if heard.Channel == c.channel {
				c.hearNode(heard.Payload)
			} else if room, ok := roomOf(heard.Channel); ok {
				c.bridge.broker.counters.heard.Add(1)
				c.bridge.broker.hearRoom(ctx, room, heard.Payload, sink)
			}
		}
	}
}

// confirmed hears that Redis has done what follow or serve asked for.
func (c *connection) confirmed(s *redis.Subscription, sink chat.Sink) {
	room, ok := roomOf(s.Channel)
	switch {
	case !ok:
		c.bridge.complete()
		close(c.settled)
		c.bridge.tell(nil)
		c.bridge.broker.options.Log.Info("bridge connected", "connection", c.number)
		if c.number > 1 {
			sink.Resumed()
		}
	case s.Kind == "subscribe":
		c.bridge.subscribed(room)
	default:
		c.bridge.unsubscribed(room)
	}
}

// hearNode hears what was said to this node alone.
func (c *connection) hearNode(message string) {
	kind, rest, _ := strings.Cut(message, " ")
	switch kind {
	case kindProbe:
		select {
		case <-c.echoes:
		default:
		}
		c.echoes <- rest
	case kindAnswer:
		c.bridge.broker.counters.heard.Add(1)
		c.bridge.broker.hearAnswer(rest)
	}
}
