// Package cluster is what the nodes tell each other, in rooms of their own. A
// Cluster's has a log and an order like every room: a node that was away, or starts
// later, hears what it has missed. A Broadcast is for the nodes that run now. The
// package does not know what nodes have to say.
package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
)

// Room is the nodes' own. No client can name it: chat.ParseAddress refuses it.
const Room chat.RoomID = "!nodes"

// Rooms are those of the nodes, in which each node is a member.
func Rooms() []chat.RoomID { return []chat.RoomID{Room, broadcastRoom} }

// Owns says whether a room is the nodes', and none that people are in.
func Owns(room chat.RoomID) bool { return strings.HasPrefix(string(room), "!") }

// A Cluster is this node's place among the nodes. All methods may be called
// concurrently, except On and OnForgotten.
type Cluster struct {
	// Static once Run has begun.
	hub     *hub.Hub
	node    chat.UserID
	hears   map[string]func(json.RawMessage)
	forgets func(before time.Time) // nil: nobody minds
	ready   chan struct{}          // closed when everything kept has been heard

	inbox inbox

	// Guarded by mu.
	mu     sync.Mutex
	member *hub.Member // nil until the room is open
}

// A word is what is said in the room.
type word struct {
	Kind string          `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// New builds the place of the node with an APPID. It is deaf until Run.
func New(h *hub.Hub, appid string) *Cluster {
	return &Cluster{
		hub: h, node: chat.UserID("node:" + appid),
		hears: make(map[string]func(json.RawMessage)),
		ready: make(chan struct{}),
		inbox: inbox{wake: make(chan struct{}, 1)},
	}
}

// On says who hears words of a kind. They come one at a time and may come
// again, so hear must be quick, and harmless when repeated. On is called before
// Run.
func (c *Cluster) On(kind string, hear func(body json.RawMessage)) { c.hears[kind] = hear }

// OnForgotten says who hears that the log has let go of what was said until a
// moment, so that this node may not have heard it. It is called before Run.
func (c *Cluster) OnForgotten(hear func(before time.Time)) { c.forgets = hear }

// Ready is closed once this node has heard everything that is kept.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// Tell says something that is kept: every node hears it, this one and those that
// start later among them. The error wraps chat.ErrUnavailable; it may have been
// said all the same.
func (c *Cluster) Tell(ctx context.Context, kind string, body any) error {
	m, b, err := c.say(kind, body)
	if err == nil {
		_, err = m.Publish(ctx, "", b)
	}
	if err != nil {
		return fmt.Errorf("tell the nodes %s: %w", kind, err)
	}
	return nil
}

// Call says something that the other nodes hear now. It is kept nowhere, and may
// be lost.
func (c *Cluster) Call(kind string, body any) error {
	m, b, err := c.say(kind, body)
	if err == nil {
		err = m.Signal(b)
	}
	if err != nil {
		return fmt.Errorf("call the nodes %s: %w", kind, err)
	}
	return nil
}

func (c *Cluster) say(kind string, body any) (*hub.Member, []byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, nil, err
	}
	if b, err = json.Marshal(word{kind, b}); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.member == nil {
		return nil, nil, fmt.Errorf("%w: the nodes' room is not open yet", chat.ErrUnavailable)
	}
	return c.member, b, nil
}

// Run joins the room and hears what is said there until ctx ends. It returns
// nil.
func (c *Cluster) Run(ctx context.Context) error {
	m := c.join(ctx)
	if m == nil {
		return nil
	}
	defer m.Leave()
	c.mu.Lock()
	c.member = m
	c.mu.Unlock()
	for known := false; ; {
		if !known {
			if known = c.recall(ctx); !known {
				return nil
			}
			select {
			case <-c.ready:
			default:
				close(c.ready)
			}
		}
		select {
		case <-c.inbox.wake:
		case <-ctx.Done():
			return nil
		}
		frames, whole := c.inbox.take()
		for _, f := range frames {
			whole = c.hear(f) && whole
		}
		known = whole
	}
}

// join returns when the room is open, or nil when ctx has ended.
func (c *Cluster) join(ctx context.Context) (m *hub.Member) {
	keepTrying(ctx, "the nodes' room cannot be opened yet", func() (err error) {
		m, err = c.hub.Join(ctx, Room, hub.Join{User: c.node, Receiver: &c.inbox})
		return err
	})
	return m
}

// recall hears everything that is kept, from the beginning, and says whether it
// could before ctx ended.
func (c *Cluster) recall(ctx context.Context) bool {
	var after chat.Position
	for more := true; more; {
		ok := keepTrying(ctx, "the nodes' room cannot be read yet", func() error {
			kept, further, err := c.hub.History(ctx, Room, hub.Range{After: &after, Limit: protocol.MaxHistory})
			if err != nil {
				return err
			}
			if after.IsZero() && len(kept) > 0 {
				if err := c.begin(kept[0]); err != nil {
					return err
				}
			}
			for _, f := range kept {
				c.hear(f)
			}
			if more = further && len(kept) > 0; more {
				last, err := protocol.ParseMessage(kept[len(kept)-1])
				if err != nil {
					return err
				}
				after = last.Position
			}
			return nil
		})
		if !ok {
			return false
		}
	}
	return true
}

// begin tells whoever minds when something stood before the first word that is
// kept: offsets count from 0.
func (c *Cluster) begin(first protocol.Frame) error {
	p, err := protocol.ParseMessage(first)
	if err == nil && p.Offset > 0 && c.forgets != nil {
		c.forgets(p.At)
	}
	return err
}

// keepTrying does something until it succeeds, and says whether it did before
// ctx ended.
func keepTrying(ctx context.Context, complaint string, do func() error) bool {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := do()
		if err == nil {
			return true
		}
		slog.Debug(complaint, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// hear passes on what a push says, and says whether nothing is missing before
// it.
func (c *Cluster) hear(f protocol.Frame) (whole bool) {
	var push struct {
		Push string `json:"push"`
		Data word   `json:"data"`
	}
	if err := json.Unmarshal(f.JSON(), &push); err != nil {
		slog.Warn("a word of the nodes cannot be read", "err", err)
		return true
	}
	switch push.Push {
	case "message", "signal":
		if hear := c.hears[push.Data.Kind]; hear != nil { // a node of another version may say more
			hear(push.Data.Body)
		}
	case "gap":
		return false
	}
	return true
}

// An inbox is where the room's pushes wait. What would be more than maxInbox is
// dropped, and the log read instead.
type inbox struct {
	wake chan struct{} // holds a token while something may wait; never closed

	// Guarded by mu.
	mu     sync.Mutex
	frames []protocol.Frame
	missed bool
}

// maxInbox is how many pushes may wait.
const maxInbox = 4096

// Send implements hub.Receiver.
func (i *inbox) Send(b protocol.Batch) { i.Recover([]protocol.Batch{b}) }

// Recover implements hub.Receiver.
func (i *inbox) Recover(batches []protocol.Batch) {
	var frames []protocol.Frame
	for _, b := range batches {
		frames = slices.AppendSeq(frames, b.Frames())
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.missed = i.missed || len(i.frames)+len(frames) > maxInbox; !i.missed {
		i.frames = append(i.frames, frames...)
	}
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// take empties the inbox, and says whether nothing was dropped.
func (i *inbox) take() (frames []protocol.Frame, whole bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	frames, whole = i.frames, !i.missed
	i.frames, i.missed = nil, false
	return frames, whole
}
