package services

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
)

// readable is the room of an address, if the token may read it.
func (c *call) readable() (chat.RoomID, *refusal) {
	room, f := parseRoom(c.r.PathValue("room"))
	if f == nil {
		f = c.mayRead(room)
	}
	return room, f
}

// history answers GET /api/rooms/{room}/messages.
func (a *API) history(c *call) (any, *refusal) {
	room, f := c.readable()
	if f != nil {
		return nil, f
	}
	g, f := c.historyRange()
	if f != nil {
		return nil, f
	}
	found, more, err := a.hub.History(c.ctx, room, g)
	if err != nil {
		return nil, noLog("history", err)
	}
	page := struct {
		Messages []json.RawMessage `json:"messages"`
		More     bool              `json:"more"`
	}{make([]json.RawMessage, len(found)), more}
	for i, frame := range found {
		page.Messages[i] = frame.JSON()
	}
	return page, nil
}

func (c *call) historyRange() (hub.Range, *refusal) {
	g := hub.Range{Limit: protocol.DefaultHistory}
	q, f := c.query("before", "after", "limit")
	if f != nil {
		return g, f
	}
	before, f := position(q, "before")
	if f != nil {
		return g, f
	}
	if before != nil {
		g.Before = *before
	}
	if g.After, f = position(q, "after"); f != nil {
		return g, f
	}
	if g.After != nil && before != nil {
		return g, badRequest(`"before" and "after" exclude each other`)
	}
	if q.Has("limit") {
		n, err := strconv.Atoi(q.Get("limit"))
		if err != nil || n < 1 || n > protocol.MaxHistory {
			return g, badRequest(`"limit" is a number from 1 to ` + strconv.Itoa(protocol.MaxHistory))
		}
		g.Limit = n
	}
	return g, nil
}

// presence answers GET /api/rooms/{room}/presence.
func (a *API) presence(c *call) (any, *refusal) {
	room, f := c.readable()
	if f == nil {
		_, f = c.query()
	}
	if f != nil {
		return nil, f
	}
	present, err := a.hub.Presence(c.ctx, room)
	if err != nil {
		return nil, noLog("presence", err)
	}
	return present, nil
}

// room answers GET /api/rooms/{room}.
func (a *API) room(c *call) (any, *refusal) {
	room, f := c.readable()
	if f == nil {
		_, f = c.query()
	}
	if f != nil {
		return nil, f
	}
	newest, _, err := a.hub.History(c.ctx, room, hub.Range{Limit: 1})
	if err != nil {
		return nil, noLog("the end of a room", err)
	}
	present, err := a.hub.Presence(c.ctx, room)
	if err != nil {
		return nil, noLog("presence", err)
	}
	heard := a.hub.Reach(c.ctx, []chat.RoomID{room})[0]
	state := struct {
		Room     chat.RoomID `json:"room"`
		Pos      string      `json:"pos"`
		TS       int64       `json:"ts,omitempty"`
		Users    int         `json:"users"`
		Members  int         `json:"members"` // sessions of users, without watchers
		Watchers int         `json:"watchers"`
		Shards   []string    `json:"shards"`
		Complete bool        `json:"complete"`
	}{
		Room: room, Pos: chat.Position{}.String(),
		Users: present.Total, Members: max(0, heard.Sessions-present.Watchers), Watchers: present.Watchers,
		Shards: append([]string{}, heard.Nodes...), Complete: present.Complete && heard.Complete,
	}
	if len(newest) > 0 {
		last, err := protocol.ParseMessage(newest[0])
		if err != nil {
			return nil, refuse(http.StatusInternalServerError, protocol.Internal, "a fault of the server")
		}
		state.Pos, state.TS = last.Position.String(), last.At.UnixMilli()
	}
	return state, nil
}
