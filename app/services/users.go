package services

import (
	"log/slog"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// user answers GET /api/users/{user}.
func (a *API) user(c *call) (any, *refusal) {
	user, f := parseUser(c.r.PathValue("user"))
	if f != nil {
		return nil, f
	}
	inbox := chat.Inbox(user)
	if f := c.mayRead(inbox); f != nil {
		return nil, f
	}
	if _, f := c.query(); f != nil {
		return nil, f
	}
	heard := a.hub.Reach(c.ctx, []chat.RoomID{inbox})[0]
	return struct {
		User     chat.UserID `json:"user"`
		Online   bool        `json:"online"`
		Sessions int         `json:"sessions"`
		Shards   []string    `json:"shards"`
		Complete bool        `json:"complete"`
	}{user, heard.Sessions > 0, heard.Sessions, append([]string{}, heard.Nodes...), heard.Complete}, nil
}

// subject is the user of an address to whom something is done.
func (c *call) subject() (chat.UserID, *refusal) {
	user, f := parseUser(c.r.PathValue("user"))
	if f == nil {
		f = c.mayWrite(chat.Inbox(user))
	}
	return user, f
}

// disconnect answers POST /api/users/{user}/disconnect.
func (a *API) disconnect(c *call) (any, *refusal) {
	user, f := c.subject()
	if f != nil {
		return nil, f
	}
	var body struct {
		Reconnect *bool `json:"reconnect"`
	}
	if f := c.read(&body, true); f != nil {
		return nil, f
	}
	comesBack := body.Reconnect == nil || *body.Reconnect
	code := protocol.CloseDismissed
	if comesBack {
		code = protocol.CloseReconnect
	}
	if err := a.nodes.Disconnect(c.ctx, user, code); err != nil {
		return nil, notTold("a disconnect", err)
	}
	slog.Info("sockets of a user closed for a service", "user", user, "service", c.who.User, "code", int(code))
	return struct {
		User      chat.UserID        `json:"user"`
		Reconnect bool               `json:"reconnect"`
		Code      protocol.CloseCode `json:"code"`
	}{user, comesBack, code}, nil
}

// maxAhead is by how much clocks may differ.
const maxAhead = 5 * time.Minute

// logout answers POST /api/users/{user}/logout.
func (a *API) logout(c *call) (any, *refusal) {
	user, f := c.subject()
	if f != nil {
		return nil, f
	}
	var body struct {
		Before *int64 `json:"before"`
	}
	if f := c.read(&body, true); f != nil {
		return nil, f
	}
	until := time.Now()
	if body.Before != nil {
		if *body.Before < 1 || *body.Before > until.Add(maxAhead).Unix() { // milliseconds, most likely
			return nil, badRequest(`"before" is a second until now, in Unix time`)
		}
		until = time.Unix(*body.Before, 0)
	}
	if err := a.nodes.LogOut(c.ctx, user, until); err != nil {
		return nil, notTold("a log-out", err)
	}
	slog.Info("user logged out everywhere for a service", "user", user, "service", c.who.User, "before", until.Unix())
	return struct {
		User   chat.UserID `json:"user"`
		Before int64       `json:"before"`
	}{user, until.Unix()}, nil
}

// notTold is what a service hears when the nodes could not be told.
func notTold(what string, err error) *refusal {
	slog.Warn("the nodes could not be told for a service", "what", what, "err", err)
	return unavailable("the nodes could not be told: try again")
}
