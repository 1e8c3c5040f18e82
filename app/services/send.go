package services

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A message is what a service wants said, as it comes.
type message struct {
	Key     *string         `json:"key"`
	Data    json.RawMessage `json:"data"`
	ReplyTo *string         `json:"reply_to"`
	As      *string         `json:"as"`
}

// A delivery is a message on its way, and the answer for it.
type delivery struct {
	Room chat.RoomID `json:"room,omitempty"`
	User chat.UserID `json:"user,omitempty"`
	Key  string      `json:"key,omitempty"`
	Pos  string      `json:"pos,omitempty"`
	// Sessions and Nodes are how many heard it; nil: nobody could say.
	Sessions *int            `json:"sessions,omitempty"`
	Nodes    *int            `json:"nodes,omitempty"`
	Error    *protocol.Error `json:"error,omitempty"`

	draft  chat.Draft
	on     []string // the nodes
	status int      // of the error
}

func (d *delivery) fail(f *refusal) { d.Error, d.status = &f.Error, f.status }

// publish answers POST /api/rooms/{room}/messages.
func (a *API) publish(c *call) (any, *refusal) {
	room, f := parseRoom(c.r.PathValue("room"))
	if f != nil {
		return nil, f
	}
	var m message
	if f := c.read(&m, false); f != nil {
		return nil, f
	}
	key, f := c.key(m.Key)
	if f != nil {
		return nil, f
	}
	return a.sendOne(c, func(d *delivery) *refusal { return a.toRoom(c, d, room, key, m) })
}

// notify answers POST /api/users/{user}/notifications.
func (a *API) notify(c *call) (any, *refusal) {
	user, f := parseUser(c.r.PathValue("user"))
	if f != nil {
		return nil, f
	}
	var m struct {
		Key  *string         `json:"key"`
		Data json.RawMessage `json:"data"`
	}
	if f := c.read(&m, false); f != nil {
		return nil, f
	}
	key, f := c.key(m.Key)
	if f != nil {
		return nil, f
	}
	body, f := a.notification(m.Data)
	if f != nil {
		return nil, f
	}
	return a.sendOne(c, func(d *delivery) *refusal { return c.toInbox(d, user, key, body) })
}

func (a *API) sendOne(c *call, address func(*delivery) *refusal) (any, *refusal) {
	var d delivery
	if f := address(&d); f != nil {
		return nil, f
	}
	if f := a.spend(c, 1); f != nil {
		return nil, f
	}
	a.send(c.ctx, []*delivery{&d})
	if d.Error != nil {
		return nil, &refusal{d.status, *d.Error}
	}
	return d, nil
}

// spend takes messages from what the service may send.
func (a *API) spend(c *call, n int) *refusal {
	if wait := c.caller.messages.take(n); wait > 0 {
		a.count.RateLimited.WithLabelValues("messages").Inc()
		return later(http.StatusTooManyRequests, protocol.RateLimited, "more messages than this service may send: wait, and send it again with the same key", wait)
	}
	return nil
}

// send appends drafts, and asks how many sessions hear them. Those of one room go
// one after the other, in order, and none after one that got lost; those of
// different rooms go together, and share round trips to the log.
func (a *API) send(ctx context.Context, all []*delivery) {
	rooms := make(map[chat.RoomID][]*delivery)
	var order []chat.RoomID
	for _, d := range all {
		if rooms[d.draft.Room] == nil {
			order = append(order, d.draft.Room)
		}
		rooms[d.draft.Room] = append(rooms[d.draft.Room], d)
	}
	var work sync.WaitGroup
	for _, room := range order {
		queue := rooms[room]
		cost := a.cost(queue)
		if err := a.appends.Acquire(ctx, cost); err != nil {
			failAll(queue, noLog("what others send", err))
			continue
		}
		work.Go(func() {
			defer a.appends.Release(cost)
			a.append(ctx, queue)
		})
	}
	work.Wait()
	a.reach(ctx, order, rooms)
}

// overhead is what a message takes beside its data while it waits for the log.
const overhead = 4 << 10

// cost is what messages, sent one after the other, may take of what waits for the
// log.
func (a *API) cost(queue []*delivery) int64 {
	longest := 0
	for _, d := range queue {
		longest = max(longest, len(d.draft.Body))
	}
	return int64(min(longest+overhead, a.opts.QueueBytes))
}

// append appends to one room.
func (a *API) append(ctx context.Context, queue []*delivery) {
	for i, d := range queue {
		p, err := a.hub.Post(ctx, d.draft)
		switch {
		case err == nil:
			d.Pos, d.Key = p.Position.String(), p.Key
			a.count.Messages.WithLabelValues(d.kind()).Inc()
		case errors.Is(err, chat.ErrConflict):
			d.fail(refuse(http.StatusConflict, protocol.Conflict, "this key stands for another message already"))
		default:
			failAll(queue[i:], noLog("a message", err))
			return
		}
	}
}

func (d *delivery) kind() string {
	if d.User != "" {
		return "user"
	}
	return "room"
}

func failAll(queue []*delivery, f *refusal) {
	for _, d := range queue {
		d.fail(f)
	}
}

// reachTimeout is how long the nodes may take to say how many sessions hear a
// message, which is sent by then.
const reachTimeout = time.Second

// reach asks how many sessions hear the rooms to which something was appended.
func (a *API) reach(ctx context.Context, order []chat.RoomID, rooms map[chat.RoomID][]*delivery) {
	asked := slices.DeleteFunc(order, func(room chat.RoomID) bool {
		return !slices.ContainsFunc(rooms[room], func(d *delivery) bool { return d.Pos != "" })
	})
	if len(asked) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	for i, heard := range a.hub.Reach(ctx, asked) {
		for _, d := range rooms[asked[i]] {
			if d.Pos != "" && heard.Complete {
				nodes := len(heard.Nodes)
				d.Sessions, d.Nodes, d.on = &heard.Sessions, &nodes, heard.Nodes
			}
		}
	}
}
