package services

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// How many announcements this node takes each second, over time, and for how long
// those that it was not asked for add up: each costs every node a push to every
// session.
const (
	announcementsEach  = 1
	announcementsBurst = 10 * time.Second
)

// announce answers POST /api/announcements.
func (a *API) announce(c *call) (any, *refusal) {
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
	if key == "" {
		key = newKey()
	}
	data, f := a.parseData(m.Data)
	if f != nil {
		return nil, f
	}
	if f := a.spend(c, 1); f != nil {
		return nil, f
	}
	if wait := a.loud.take(1); wait > 0 {
		a.count.RateLimited.WithLabelValues("announcements").Inc()
		return nil, later(http.StatusTooManyRequests, protocol.RateLimited, "more announcements than this node takes: wait, and send it again with the same key", wait)
	}
	err := a.nodes.Announce(c.ctx, chat.Draft{From: c.who.User, Key: key, Body: data})
	switch {
	case errors.Is(err, chat.ErrConflict):
		return nil, refuse(http.StatusConflict, protocol.Conflict, "this key stands for another announcement already")
	case err != nil:
		return nil, notTold("an announcement", err)
	}
	a.count.Messages.WithLabelValues("everybody").Inc()
	return struct {
		Key string `json:"key"`
	}{key}, nil
}
