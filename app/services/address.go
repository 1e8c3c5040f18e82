package services

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
)

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
