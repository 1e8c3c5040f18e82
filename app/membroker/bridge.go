package membroker

import (
	"context"
	"fmt"

	"github.com/chatring/chatring/app/chat"
)

// Run implements chat.Broker.
func (b *Broker) Run(ctx context.Context, sink chat.Sink) error {
	b.cluster.mu.Lock()
	b.running = true
	b.changed()
	b.cluster.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			b.cluster.mu.Lock()
			b.stop()
			b.cluster.mu.Unlock()
			return nil
		case <-b.wake:
		}
		for _, tell := range b.take() {
			tell(sink)
		}
	}
}

// stop makes the node leave the bridge with all its rooms, as a connection
// that ends does. Called with mu held.
func (b *Broker) stop() {
	b.running = false
	b.open = make(map[chat.RoomID]bool)
	b.queue = nil
	b.changed()
}

// connected says whether the bridge reaches this node. Called with mu held.
func (b *Broker) connected() bool { return b.running && !b.cut && !b.cluster.down }

// changed brings up in line with connected. Called with mu held.
func (b *Broker) changed() {
	select {
	case <-b.up:
		if !b.connected() {
			b.up = make(chan struct{})
		}
	default:
		if b.connected() {
			close(b.up)
		}
	}
}

// hear queues something for the sink. Called with mu held.
func (b *Broker) hear(tell func(chat.Sink)) {
	switch {
	case b.drop > 0:
		b.drop--
		return
	case len(b.queue) >= maxQueue:
		b.queue = []func(chat.Sink){chat.Sink.Resumed}
	default:
		b.queue = append(b.queue, tell)
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Broker) take() []func(chat.Sink) {
	b.cluster.mu.Lock()
	defer b.cluster.mu.Unlock()
	queue := b.queue
	b.queue = nil
	return queue
}

// Open implements chat.Broker.
func (b *Broker) Open(ctx context.Context, room chat.RoomID) error {
	if err := b.await(ctx); err != nil {
		return fmt.Errorf("open %s: %w", room, err)
	}
	b.cluster.mu.Lock()
	defer b.cluster.mu.Unlock()
	b.open[room] = true
	return nil
}

// await returns when the bridge reaches this node. A bridge that is cut right
// after that is one that is cut right after the call.
func (b *Broker) await(ctx context.Context) error {
	b.cluster.mu.Lock()
	up := b.up
	b.cluster.mu.Unlock()
	select {
	case <-up:
	case <-ctx.Done():
	}
	return ended(ctx)
}

// Close implements chat.Broker.
func (b *Broker) Close(room chat.RoomID) {
	b.cluster.mu.Lock()
	defer b.cluster.mu.Unlock()
	delete(b.open, room)
}

// Signal implements chat.Broker.
func (b *Broker) Signal(ctx context.Context, room chat.RoomID, body []byte) error {
	c := b.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.reach(ctx); err != nil {
		return fmt.Errorf("signal %s: %w", room, err)
	}
	others := b.others(room)
	if len(others) > 0 {
		c.bridged++
	}
	for _, node := range others {
		node.hear(func(s chat.Sink) { s.Signal(room, body) })
	}
	return nil
}

// Ask implements chat.Broker.
func (b *Broker) Ask(ctx context.Context, room chat.RoomID, question []byte) (answers [][]byte, complete bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	if err := b.await(ctx); err != nil {
		return nil, false, fmt.Errorf("ask in %s: %w", room, err)
	}
	heard, err := b.ask(ctx, room, question)
	if err != nil {
		return nil, false, fmt.Errorf("ask in %s: %w", room, err)
	}
	for range cap(heard) {
		select {
		case a := <-heard:
			answers = append(answers, a)
		case <-ctx.Done():
			return answers, false, nil
		}
	}
	return answers, true, nil
}

// ask puts the question to the other nodes; each has a place for its answer in
// the channel.
func (b *Broker) ask(ctx context.Context, room chat.RoomID, question []byte) (chan []byte, error) {
	c := b.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.reach(ctx); err != nil {
		return nil, err
	}
	others := b.others(room)
	heard := make(chan []byte, len(others))
	for _, node := range others {
		node.hear(func(s chat.Sink) { heard <- s.Answer(room, question) })
	}
	return heard, nil
}

// others returns the other nodes whose bridge hears a room. Called with mu
// held.
func (b *Broker) others(room chat.RoomID) []*Broker {
	var others []*Broker
	for _, node := range b.cluster.listeners(room) {
		if node != b {
			others = append(others, node)
		}
	}
	return others
}
