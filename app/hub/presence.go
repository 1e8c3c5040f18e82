package hub

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A census is who is in a room on one node, as nodes tell each other.
type census struct {
	Users    map[chat.UserID]int `json:"users,omitempty"` // sessions of each; at most MaxPresent users
	Total    int                 `json:"total"`
	Watchers int                 `json:"watchers,omitempty"`
}

func (r *room) census() census {
	r.mu.Lock()
	defer r.mu.Unlock()
	users := r.users()
	c := census{Users: users, Total: len(users), Watchers: r.watchers}
	for user := range users {
		if len(users) <= protocol.MaxPresent {
			break
		}
		delete(users, user)
	}
	return c
}

// Presence asks every node that serves the room who is in it, now. What is on
// a node that died is not counted: it does not answer, and is not waited for.
func (h *Hub) Presence(ctx context.Context, id chat.RoomID) (protocol.Present, error) {
	var all []census
	if r := h.lookup(id); r != nil {
		all = append(all, r.census())
	}
	answers, complete, err := h.broker.Ask(ctx, id, []byte(questionPresence))
	if err != nil {
		// What this node knows is worth more than an error.
		slog.Debug("presence asked of this node only", "room", id, "err", err)
		complete = false
	}
	for _, a := range answers {
		var c census
		if err := json.Unmarshal(a, &c); err != nil {
			complete = false
			continue
		}
		all = append(all, c)
	}
	p := add(all)
	p.Complete = complete
	return p, nil
}

// add puts the nodes' counts together. A user with sessions on two nodes is
// one user, as far as both nodes named it.
func add(all []census) protocol.Present {
	users := make(map[chat.UserID]int)
	var p protocol.Present
	for _, c := range all {
		p.Watchers += c.Watchers
		p.Total += c.Total - len(c.Users) // those without a name
		for user, n := range c.Users {
			users[user] += n
		}
	}
	p.Total += len(users)
	p.Users = make([]protocol.PresentUser, 0, min(len(users), protocol.MaxPresent))
	for _, user := range slices.Sorted(maps.Keys(users)) {
		if len(p.Users) == protocol.MaxPresent {
			break
		}
		p.Users = append(p.Users, protocol.PresentUser{User: user, Sessions: users[user]})
	}
	return p
}
