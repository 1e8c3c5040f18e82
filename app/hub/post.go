package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// Post appends to a room's log without being in the room, which this node need not
// serve. An empty key stands for one that is made here. Errors are those of
// Member.Publish.
func (h *Hub) Post(ctx context.Context, d chat.Draft) (chat.Publication, error) {
	if d.Key == "" {
		d.Key = newKey()
	}
	begun := time.Now()
	var p chat.Publication
	var err error
	r := h.lookup(d.Room)
	if r != nil {
		p, err = r.append(ctx, d)
	} else {
		p, err = h.broker.Append(ctx, d, chat.Position{})
	}
	if err != nil {
		return p, err
	}
	// A room that was opened meanwhile is not told by the log, which takes this node
	// for one that knows.
	if opened := h.lookup(d.Room); opened != nil && opened != r {
		opened.mu.Lock()
		opened.hear(p)
		opened.mu.Unlock()
	}
	h.count.Append.Observe(time.Since(begun).Seconds())
	return p, nil
}

// Whisper lets the members of a room on all nodes hear a push now. It is kept
// nowhere, and may be lost on its way to other nodes.
func (h *Hub) Whisper(id chat.RoomID, push protocol.Frame) {
	if r := h.lookup(id); r != nil {
		r.mu.Lock()
		r.tell(item{frame: push})
		r.mu.Unlock()
	}
	h.signal(id, kindSignal, push)
}

// A Reach is how far something goes that is said in a room now.
type Reach struct {
	Sessions int      // members and watchers
	Nodes    []string // APPIDs of the nodes that they are on
	Complete bool     // every node that serves the room has answered
}

// reachQuestions is how many questions Reach has out at once.
const reachQuestions = 256

// Reach says of each room who would hear what is said there now, in the order
// asked. It asks the nodes that serve the room, and counts this one.
func (h *Hub) Reach(ctx context.Context, rooms []chat.RoomID) []Reach {
	found := make([]Reach, len(rooms))
	var asking sync.WaitGroup
	free := make(chan struct{}, reachQuestions)
	for i, id := range rooms {
		free <- struct{}{}
		asking.Go(func() {
			defer func() { <-free }()
			found[i] = h.reach(ctx, id)
		})
	}
	asking.Wait()
	return found
}

func (h *Hub) reach(ctx context.Context, id chat.RoomID) (all Reach) {
	if r := h.lookup(id); r != nil {
		all.add(h.listeners(r))
	}
	answers, complete, err := h.broker.Ask(ctx, id, []byte(questionReach))
	all.Complete = complete && err == nil
	for _, a := range answers {
		var l listeners
		if err := json.Unmarshal(a, &l); err != nil {
			all.Complete = false
			continue
		}
		all.add(l)
	}
	return all
}

func (r *Reach) add(l listeners) {
	if l.Sessions > 0 {
		r.Sessions += l.Sessions
		r.Nodes = append(r.Nodes, l.Node)
	}
}

// Listeners are the sessions that hear a room on one node, as nodes tell each
// other.
type listeners struct {
	Node     string `json:"node"`
	Sessions int    `json:"sessions"`
}

func (h *Hub) listeners(r *room) listeners {
	r.mu.Lock()
	defer r.mu.Unlock()
	return listeners{h.opts.Node, len(r.members)}
}

// What nodes ask each other about a room.
const (
	questionPresence = "presence"
	questionReach    = "reach"
)

// answer answers another node's question about a room.
func (h *Hub) answer(id chat.RoomID, question string) []byte {
	r := h.lookup(id)
	var said any = census{}
	switch {
	case question == questionReach && r != nil:
		said = h.listeners(r)
	case question == questionReach:
		said = listeners{Node: h.opts.Node}
	case r != nil:
		said = r.census()
	}
	b, err := json.Marshal(said)
	if err != nil {
		panic(fmt.Sprintf("hub: %v", err)) // plain structs
	}
	return b
}
