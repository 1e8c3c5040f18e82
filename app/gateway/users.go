package gateway

import "github.com/chatring/chatring/app/chat"

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
