package services

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
)

// maxBatch is how many messages, or users, one request may name.
const maxBatch = 1000

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

// A summary is how it went with many messages.
type summary struct {
	Messages int `json:"messages"` // that were to be sent
	Sent     int `json:"sent"`
	Failed   int `json:"failed"`
	Online   int `json:"online"`   // of the rooms and users, those that somebody heard
	Sessions int `json:"sessions"` // that heard, in all
	Nodes    int `json:"nodes"`    // that they are on
	// Results are in the order asked.
	Results []*delivery `json:"results"`
}

// notifyAll answers POST /api/notifications.
func (a *API) notifyAll(c *call) (any, *refusal) {
	var m struct {
		Users []string        `json:"users"`
		Key   *string         `json:"key"`
		Data  json.RawMessage `json:"data"`
	}
	if f := c.read(&m, false); f != nil {
		return nil, f
	}
	if f := countOf("users", len(m.Users)); f != nil {
		return nil, f
	}
	key, f := c.key(m.Key)
	if f != nil {
		return nil, f
	}
	if key == "" {
		key = newKey() // one for all, so that the same can be sent again
	}
	body, f := a.notification(m.Data)
	if f != nil {
		return nil, f
	}
	named := make(map[string]bool, len(m.Users))
	var all []*delivery
	for _, name := range m.Users {
		if named[name] { // once is enough
			continue
		}
		named[name] = true
		d := &delivery{}
		if user, f := parseUser(name); f != nil {
			d.User = chat.UserID(strings.ToValidUTF8(name[:min(len(name), chat.MaxUser)], ""))
			d.fail(f)
		} else if f := c.toInbox(d, user, key, body); f != nil {
			d.fail(f)
		}
		all = append(all, d)
	}
	return a.sendAll(c, all)
}

// publishAll answers POST /api/messages.
func (a *API) publishAll(c *call) (any, *refusal) {
	var batch struct {
		Messages []struct {
			Room *string `json:"room"`
			User *string `json:"user"`
			message
		} `json:"messages"`
	}
	if f := c.read(&batch, false); f != nil {
		return nil, f
	}
	if f := countOf("messages", len(batch.Messages)); f != nil {
		return nil, f
	}
	header, f := c.idempotencyKey()
	if f != nil {
		return nil, f
	}
	all := make([]*delivery, len(batch.Messages))
	for i, m := range batch.Messages {
		d := &delivery{}
		all[i] = d
		key, f := keyInBatch(m.Key, header, i)
		switch {
		case f != nil:
		case (m.Room == nil) == (m.User == nil):
			f = badRequest(`say "room" or "user"`)
		case m.Room != nil:
			var room chat.RoomID
			if room, f = parseRoom(*m.Room); f == nil {
				f = a.toRoom(c, d, room, key, m.message)
			}
		case m.ReplyTo != nil || m.As != nil:
			f = badRequest(`"reply_to" and "as" are for rooms`)
		default:
			f = a.toUser(c, d, *m.User, key, m.Data)
		}
		if f != nil {
			d.fail(f)
		}
	}
	return a.sendAll(c, all)
}

// keyInBatch is the key of the i-th message: its own, or, if the request has one,
// that with the message's number, so that the whole may be sent again.
func keyInBatch(said *string, header string, i int) (string, *refusal) {
	switch {
	case said != nil:
	case header == "":
		return "", nil
	default:
		numbered := header + "." + strconv.Itoa(i)
		said = &numbered
	}
	key, err := chat.ParseKey(*said)
	if err != nil {
		return "", refuse(http.StatusBadRequest, protocol.BadKey, err.Error())
	}
	return key, nil
}

func countOf(field string, n int) *refusal {
	switch {
	case n == 0:
		return badRequest(fmt.Sprintf("%q is missing or empty", field))
	case n > maxBatch:
		return badRequest(fmt.Sprintf("%q has %d entries, and may have %d: send the rest by itself", field, n, maxBatch))
	}
	return nil
}

// sendAll sends those of many that can be, and adds up.
func (a *API) sendAll(c *call, all []*delivery) (any, *refusal) {
	var good []*delivery
	for _, d := range all {
		if d.Error == nil {
			good = append(good, d)
		}
	}
	if f := a.spend(c, len(good)); f != nil {
		return nil, f
	}
	a.send(c.ctx, good)
	s := summary{Messages: len(all), Results: all}
	nodes := map[string]bool{}
	reached := map[chat.RoomID]bool{}
	lost := 0
	for _, d := range all {
		switch {
		case d.Error == nil:
			s.Sent++
		case d.Error.Code == protocol.Unavailable:
			lost++
		}
		if d.Sessions == nil || *d.Sessions == 0 {
			continue
		}
		s.Sessions += *d.Sessions
		reached[d.draft.Room] = true
		for _, node := range d.on {
			nodes[node] = true
		}
	}
	if s.Failed = len(all) - s.Sent; lost == len(all) {
		return nil, noLog("a batch", errors.New("none of the messages was taken"))
	}
	s.Online, s.Nodes = len(reached), len(nodes)
	return s, nil
}

// toRoom addresses a message to a named room.
func (a *API) toRoom(c *call, d *delivery, room chat.RoomID, key string, m message) *refusal {
	d.Room, d.Key = room, key
	if !c.who.Service.Has(auth.Publish) {
		return forbidden(`this needs a token with "publish" in its claim "service"`)
	}
	if f := c.mayWrite(room); f != nil {
		return f
	}
	d.draft = chat.Draft{Room: room, From: c.who.User, Key: key}
	if m.As != nil {
		if !c.who.Service.Has(auth.Admin) {
			return forbidden(`to speak for a user ("as") needs a token with "admin" in its claim "service"`)
		}
		user, err := auth.ParseUser(*m.As)
		if err != nil {
			return refuse(http.StatusBadRequest, badUser, `"as": `+err.Error())
		}
		d.draft.From = user
	}
	var f *refusal
	if d.draft.Body, f = a.parseData(m.Data); f != nil || m.ReplyTo == nil {
		return f
	}
	d.draft.About, f = a.replyTo(c.ctx, room, *m.ReplyTo)
	return f
}

// toUser addresses one of a batch to a user.
func (a *API) toUser(c *call, d *delivery, name, key string, data json.RawMessage) *refusal {
	user, f := parseUser(name)
	if f != nil {
		return f
	}
	body, f := a.notification(data)
	if f != nil {
		return f
	}
	return c.toInbox(d, user, key, body)
}

// notification is what a user's inbox says of a service's data.
func (a *API) notification(raw json.RawMessage) ([]byte, *refusal) {
	data, f := a.parseData(raw)
	if f != nil {
		return nil, f
	}
	return append(append([]byte(`{"type":"notification","data":`), data...), '}'), nil
}

// toInbox addresses a notification to a user.
func (c *call) toInbox(d *delivery, user chat.UserID, key string, body []byte) *refusal {
	d.User, d.Key = user, key
	if !c.who.Service.Has(auth.Notify) {
		return forbidden(`this needs a token with "notify" in its claim "service"`)
	}
	inbox := chat.Inbox(user)
	d.draft = chat.Draft{Room: inbox, From: c.who.User, Key: key, Body: body}
	return c.mayWrite(inbox)
}

func (a *API) parseData(raw json.RawMessage) ([]byte, *refusal) {
	if len(raw) > a.opts.MaxData {
		return nil, refuse(http.StatusRequestEntityTooLarge, tooLarge, fmt.Sprintf(`"data" has more than %d bytes`, a.opts.MaxData))
	}
	data, bad := protocol.ParseData(raw)
	if bad != nil {
		return nil, asRefusal(bad)
	}
	return data, nil
}

// replyTo refers to a message of the room.
func (a *API) replyTo(ctx context.Context, room chat.RoomID, pos string) (string, *refusal) {
	at, err := chat.ParsePosition(pos)
	if err != nil {
		return "", refuse(http.StatusBadRequest, protocol.BadPosition, fmt.Sprintf(`"reply_to": %v`, err))
	}
	before := at.Prev()
	found, _, err := a.hub.History(ctx, room, hub.Range{After: &before, Limit: 1})
	if err != nil {
		return "", noLog("the message that is answered", err)
	}
	for _, frame := range found {
		p, err := protocol.ParseMessage(frame)
		if err != nil || p.Position != at {
			continue
		}
		if about, err := chat.ParseAbout(p.About); err == nil && about.IsMessage() {
			target := p.Target()
			return chat.About{ReplyTo: &target}.String(), nil
		}
	}
	return "", refuse(http.StatusBadRequest, protocol.NotFound, `"reply_to": no message of the room stands at this position`)
}

func (c *call) mayWrite(room chat.RoomID) *refusal { return c.may(room, chat.Write) }
func (c *call) mayRead(room chat.RoomID) *refusal  { return c.may(room, chat.Read) }

// may says whether the token's grants fit a room, an inbox being one.
func (c *call) may(room chat.RoomID, access chat.Access) *refusal {
	if c.who.Rights.Access(room) >= access {
		return nil
	}
	return forbidden(fmt.Sprintf("the grants of this token do not allow to %s %s", auth.AccessWord(access), room))
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
