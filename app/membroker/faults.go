package membroker

import "github.com/chatring/chatring/app/chat"

// The methods of this file are faults for tests to play with. Nothing in a
// server calls them.

// Interrupt cuts a node's bridge: until Restore it hears nothing, what others
// say meanwhile is lost to it, and its Open waits. Its appends and reads work.
func (c *Cluster) Interrupt(appid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.nodes[appid]
	b.cut = true
	b.queue = nil
	b.changed()
}

// Restore mends the bridge of a node; its sink hears Resumed.
func (c *Cluster) Restore(appid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.nodes[appid]
	b.cut = false
	b.resume()
}

// resume tells the sink of an interruption that is over. Called with mu held.
func (b *Broker) resume() {
	b.changed()
	if b.connected() {
		b.drop = 0
		b.hear(chat.Sink.Resumed)
	}
}

// Drop loses the next n bridge messages to a node without anybody noticing.
func (c *Cluster) Drop(appid string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[appid].drop = n
}

// Rewind forgets the last n publications of a room and the keys that came with
// them, as a Redis does that was restored from an older snapshot.
func (c *Cluster) Rewind(room chat.RoomID, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.logs[room]; l != nil {
		l.rewind(n)
	}
}

// SetDown stops the log and the bridge of all nodes: every call answers
// chat.ErrUnavailable. When they come back every sink hears Resumed.
func (c *Cluster) SetDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.down
	c.down = down
	for _, b := range c.nodes {
		if down {
			b.queue = nil
			b.changed()
		} else if was {
			b.resume()
		}
	}
}
