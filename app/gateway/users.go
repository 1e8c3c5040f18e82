package gateway

import (
	"slices"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A user is somebody who has sockets on this node, or asks for one.
type user struct {
	// Static after construction.
	id chat.UserID

	// Guarded by Gateway.mu.
	places int // sockets, and requests that may become one
	conns  []*conn
}

// enter takes a place for a socket of a user, or returns nil when the user has
// as many on this node as one may.
func (g *Gateway) enter(id chat.UserID) *user {
	g.mu.Lock()
	defer g.mu.Unlock()
	u := g.users[id]
	if u == nil {
		u = &user{id: id}
		g.users[id] = u
	}
	if most := g.opts.SocketsPerUser; most > 0 && u.places >= most {
		return nil
	}
	u.places++
	return u
}

// leaveLocked gives a user's place back.
func (g *Gateway) leaveLocked(u *user) {
	if u.places--; u.places == 0 {
		delete(g.users, u.id)
	}
}

// CloseUser closes those sockets of a user on this node whose token was issued
// before a moment, or nobody knows when.
func (g *Gateway) CloseUser(id chat.UserID, before time.Time, code protocol.CloseCode) {
	g.mu.Lock()
	var conns []*conn
	if u := g.users[id]; u != nil {
		conns = slices.Clone(u.conns)
	}
	g.mu.Unlock()
	for _, c := range conns {
		if c.issuedBefore(before) {
			c.session.Close(code)
		}
	}
}
