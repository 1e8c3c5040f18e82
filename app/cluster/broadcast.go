package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
)

// broadcastRoom is where the nodes hear what is for the sockets that they have now.
// It is a room of its own, since much of it must not push out what Room keeps.
const broadcastRoom chat.RoomID = "!everybody"

// A Broadcast is heard once by every node that runs now: neither again after an
// interruption, nor by nodes that start later. Tell may be called concurrently.
type Broadcast struct {
	// Static once Run has begun.
	hub   *hub.Hub
	node  chat.UserID
	hears map[string]func(context.Context, Word)
	ready chan struct{} // closed when the room is open

	inbox inbox

	// Owned by Run.
	newest chat.Publication
}

// A Word is what was said in a broadcast.
type Word struct {
	From chat.UserID
	At   time.Time
	Body json.RawMessage
}

// NewBroadcast builds the place of the node with an APPID. It is deaf until Run.
func NewBroadcast(h *hub.Hub, appid string) *Broadcast {
	return &Broadcast{
		hub: h, node: chat.UserID("node:" + appid),
		hears: make(map[string]func(context.Context, Word)),
		ready: make(chan struct{}),
		inbox: inbox{wake: make(chan struct{}, 1)},
	}
}

// On says who hears words of a kind, one at a time, and until ctx ends at the
// longest. It is called before Run.
func (b *Broadcast) On(kind string, hear func(ctx context.Context, w Word)) { b.hears[kind] = hear }

// Ready is closed once this node hears.
func (b *Broadcast) Ready() <-chan struct{} { return b.ready }

// Tell says something in somebody's name. The same under the same key again has no
// effect; something else is chat.ErrConflict. An empty key is made. Other errors
// wrap chat.ErrUnavailable: it may have been said all the same.
func (b *Broadcast) Tell(ctx context.Context, from chat.UserID, key, kind string, body any) error {
	said, err := json.Marshal(body)
	if err == nil {
		said, err = json.Marshal(word{kind, said})
	}
	if err == nil {
		_, err = b.hub.Post(ctx, chat.Draft{Room: broadcastRoom, From: from, Key: key, Body: said})
	}
	if err != nil {
		return fmt.Errorf("tell everybody %s: %w", kind, err)
	}
	return nil
}

// Run joins the room and hears what is said there until ctx ends. It returns
// nil.
func (b *Broadcast) Run(ctx context.Context) error {
	var m *hub.Member
	joined := keepTrying(ctx, "the room of broadcasts cannot be opened yet", func() (err error) {
		m, err = b.hub.Join(ctx, broadcastRoom, hub.Join{User: b.node, Receiver: &b.inbox})
		return err
	})
	if !joined {
		return nil
	}
	defer m.Leave()
	b.begin(ctx)
	close(b.ready)
	for {
		select {
		case <-b.inbox.wake:
		case <-ctx.Done():
			return nil
		}
		frames, whole := b.inbox.take()
		if !whole {
			slog.Warn("broadcasts were dropped, because more came than this node could pass on")
		}
		for _, f := range frames {
			if err := b.hear(ctx, f); err != nil {
				slog.Warn("a broadcast cannot be read", "err", err)
			}
		}
	}
}

// begin notes what was said before.
func (b *Broadcast) begin(ctx context.Context) {
	kept, _, err := b.hub.History(ctx, broadcastRoom, hub.Range{Limit: 1})
	if err == nil && len(kept) > 0 {
		b.newest, err = protocol.ParseMessage(kept[0])
	}
	if err != nil {
		slog.Debug("it is not known which broadcasts are old", "err", err)
	}
}

// hear passes on what a push says, unless it was heard before: a log that has lost
// its tail gets it again, in a new epoch and with the times that it had.
func (b *Broadcast) hear(ctx context.Context, f protocol.Frame) error {
	var push struct {
		Push string `json:"push"`
	}
	if err := json.Unmarshal(f.JSON(), &push); err != nil || push.Push != "message" {
		return err
	}
	p, err := protocol.ParseMessage(f)
	if err != nil {
		return err
	}
	if p.Epoch != b.newest.Epoch && !p.At.After(b.newest.At) {
		return nil
	}
	b.newest = p
	var said word
	if err := json.Unmarshal(p.Body, &said); err != nil {
		return err
	}
	hear := b.hears[said.Kind]
	if hear == nil {
		return errors.New("nobody hears " + said.Kind) // a node of another version may say more
	}
	hear(ctx, Word{From: p.From, At: p.At, Body: said.Body})
	return nil
}
