// Package membroker is chat.Broker in memory: the logs of all rooms and the
// bridge between nodes, in one process and without Redis. It serves the
// embedded default, and it is the cluster that tests build their stories on:
// it has no I/O, its only clock is time.Now, and its goroutines end with Run,
// so it works inside a testing/synctest bubble.
package membroker

import (
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// Bounds that no option changes.
const (
	// maxRooms is how many logs are kept. The longest silent room that no
	// node has open is forgotten first.
	maxRooms = 10_000
	// maxQueue is how many bridge messages may wait for one node's sink. A
	// fuller queue is dropped, and the sink hears Resumed instead.
	maxQueue = 4096
	// askPatience ends an Ask whose context has no earlier deadline.
	askPatience = 3 * time.Second
)

// A Cluster is what the nodes of one process share: a log for each room, and
// the bridge. All methods may be called concurrently.
type Cluster struct {
	// Static after construction.
	retention int
	keyWindow time.Duration

	// Guarded by mu, and so is every field of every Broker and roomLog that
	// does not say otherwise.
	mu      sync.Mutex
	logs    map[chat.RoomID]*roomLog
	nodes   map[string]*Broker
	down    bool
	bridged uint64
}

// An Option changes a bound of a new Cluster.
type Option func(*Cluster)

// Retention keeps the last n publications of each room, 10,000 if unset. Lower
// it where memory is short: members who were away longer page what is left.
func Retention(n int) Option {
	return func(c *Cluster) { c.retention = max(n, 1) }
}

// KeyWindow keeps senders' keys for at least d, five minutes if unset: a retry
// within that time is harmless.
func KeyWindow(d time.Duration) Option {
	return func(c *Cluster) { c.keyWindow = d }
}

// New returns a cluster without nodes and without rooms.
func New(options ...Option) *Cluster {
	c := &Cluster{
		retention: 10_000,
		keyWindow: 5 * time.Minute,
		logs:      make(map[chat.RoomID]*roomLog),
		nodes:     make(map[string]*Broker),
	}
	for _, o := range options {
		o(c)
	}
	return c
}

// Node returns the broker of the node with this APPID. A second call stands
// for a restart of the node: the broker before it hears nothing any more.
func (c *Cluster) Node(appid string) *Broker {
	b := &Broker{
		cluster: c,
		open:    make(map[chat.RoomID]bool),
		wake:    make(chan struct{}, 1),
		up:      make(chan struct{}),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if before := c.nodes[appid]; before != nil {
		before.stop()
	}
	c.nodes[appid] = b
	return b
}

// Bridged counts the publications and signals that went over the bridge,
// however many nodes heard each. A room that is open on one node adds nothing.
func (c *Cluster) Bridged() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bridged
}

// log returns the log of a room, and makes room for it. Called with mu held.
func (c *Cluster) log(room chat.RoomID) *roomLog {
	l := c.logs[room]
	if l == nil {
		if len(c.logs) >= maxRooms {
			c.forgetOne()
		}
		l = &roomLog{keys: make(map[senderKey]kept), changes: make(map[chat.Identity]chat.Change)}
		c.logs[room] = l
	}
	return l
}

// forgetOne drops the log of the longest silent room that no node has open.
// Called with mu held.
func (c *Cluster) forgetOne() {
	var quietest chat.RoomID
	var since time.Time
	for room, l := range c.logs {
		if (quietest == "" || l.touched.Before(since)) && len(c.listeners(room)) == 0 {
			quietest, since = room, l.touched
		}
	}
	delete(c.logs, quietest)
}

// listeners returns the nodes whose bridge hears a room. Called with mu held.
func (c *Cluster) listeners(room chat.RoomID) []*Broker {
	var heard []*Broker
	for _, b := range c.nodes {
		if b.open[room] && b.connected() {
			heard = append(heard, b)
		}
	}
	return heard
}
