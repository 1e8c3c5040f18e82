package services

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// maxBatch is how many messages, or users, one request may name.
const maxBatch = 1000

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
