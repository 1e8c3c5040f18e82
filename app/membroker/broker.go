package membroker

import (
	"context"
	"fmt"

	"github.com/chatring/chatring/app/chat"
)

// A Broker is one node's way into the cluster. It implements chat.Broker.
type Broker struct {
	cluster *Cluster
	wake    chan struct{} // holds one token while the queue may have something; never closed

	// Guarded by cluster.mu.
	open    map[chat.RoomID]bool
	running bool
	cut     bool
	drop    int           // bridge messages yet to be lost
	up      chan struct{} // closed while the bridge is connected
	queue   []func(chat.Sink)
}

var _ chat.Broker = (*Broker)(nil)

// reach returns nil when a call can reach the log. Called with mu held.
func (c *Cluster) reach(ctx context.Context) error {
	if c.down {
		return chat.ErrUnavailable
	}
	return ended(ctx)
}

func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", chat.ErrUnavailable, context.Cause(ctx))
	}
	return nil
}

// Append implements chat.Broker.
func (b *Broker) Append(ctx context.Context, d chat.Draft, seen chat.Position) (chat.Publication, error) {
	return b.append(ctx, chat.Publication{Draft: d}, seen, false)
}

// Restore implements chat.Broker.
func (b *Broker) Restore(ctx context.Context, p chat.Publication, seen chat.Position) (chat.Publication, error) {
	return b.append(ctx, p, seen, true)
}

func (b *Broker) append(ctx context.Context, d chat.Publication, seen chat.Position, restoring bool) (chat.Publication, error) {
	c := b.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.reach(ctx); err != nil {
		return chat.Publication{}, fmt.Errorf("append to %s: %w", d.Room, err)
	}
	p, err := c.append(c.log(d.Room), d, seen, restoring)
	if err != nil {
		return chat.Publication{}, fmt.Errorf("append to %s: %w", d.Room, err)
	}
	b.publish(p) // again, if it is known: its first telling may have been lost
	return p, nil
}

// publish bridges a publication when another node than b hears its room; b
// then hears it too, as a subscriber of Redis does. Called with mu held.
func (b *Broker) publish(p chat.Publication) {
	heard := b.cluster.listeners(p.Room)
	if len(heard) == 0 || len(heard) == 1 && heard[0] == b {
		return
	}
	b.cluster.bridged++
	for _, node := range heard {
		node.hear(hearing(p))
	}
}

func hearing(p chat.Publication) func(chat.Sink) {
	return func(s chat.Sink) { s.Publication(p) }
}

// ReadAfter implements chat.Broker.
func (b *Broker) ReadAfter(ctx context.Context, room chat.RoomID, after chat.Position, limit int) ([]chat.Publication, error) {
	return b.read(ctx, room, func(l *roomLog) []chat.Publication { return l.after(after, limit) })
}

// ReadBefore implements chat.Broker.
func (b *Broker) ReadBefore(ctx context.Context, room chat.RoomID, before chat.Position, limit int) ([]chat.Publication, error) {
	return b.read(ctx, room, func(l *roomLog) []chat.Publication { return l.before(before, limit) })
}

func (b *Broker) read(ctx context.Context, room chat.RoomID, part func(*roomLog) []chat.Publication) ([]chat.Publication, error) {
	c := b.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.reach(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", room, err)
	}
	if l := c.logs[room]; l != nil {
		return part(l), nil
	}
	return nil, nil
}

// Changes implements chat.Broker.
func (b *Broker) Changes(ctx context.Context, room chat.RoomID, of []chat.Publication) ([]chat.Change, error) {
	c := b.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.reach(ctx); err != nil {
		return nil, fmt.Errorf("changes in %s: %w", room, err)
	}
	if l := c.logs[room]; l != nil {
		return l.changesOf(of), nil
	}
	return make([]chat.Change, len(of)), nil
}

// Description implements chat.Broker.
func (b *Broker) Description(ctx context.Context, room chat.RoomID) (chat.Change, error) {
	c := b.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.reach(ctx); err != nil {
		return chat.Change{}, fmt.Errorf("description of %s: %w", room, err)
	}
	if l := c.logs[room]; l != nil {
		return l.description, nil
	}
	return chat.Change{}, nil
}

// Tails implements chat.Broker.
func (b *Broker) Tails(ctx context.Context, rooms []chat.RoomID) ([]chat.Publication, error) {
	c := b.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.reach(ctx); err != nil {
		return nil, fmt.Errorf("read %d tails: %w", len(rooms), err)
	}
	tails := make([]chat.Publication, len(rooms))
	for i, room := range rooms {
		if l := c.logs[room]; l != nil && len(l.entries) > 0 {
			tails[i] = l.entries[len(l.entries)-1]
		}
	}
	return tails, nil
}

// Check implements chat.Broker.
func (b *Broker) Check(ctx context.Context) error {
	b.cluster.mu.Lock()
	defer b.cluster.mu.Unlock()
	return b.cluster.reach(ctx)
}
