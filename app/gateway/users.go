package gateway

import (
	"strings"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/session"
)

// A user is somebody who has sockets on this node, or asks for one.
type user struct {
	// Static after construction.
	id chat.UserID

	// Safe for concurrent use.
	allowance session.Allowance

	// Guarded by Gateway.mu.
	places int // sockets, and requests that may become one
	conns  []*conn
	gone   *time.Timer // forgets the user, once the last socket has gone; nil until then
}

// enter takes a place for a socket of a user, or returns nil when the user has
// as many on this node as one may.
func (g *Gateway) enter(id chat.UserID) *user {
	g.mu.Lock()
	defer g.mu.Unlock()
	u := g.users[id]
	if u == nil {
		id = chat.UserID(strings.Clone(string(id))) // else it may hold the request's first line
		u = &user{id: id, allowance: session.Allowance{Rates: &g.opts.UserRates}}
		g.users[id] = u
	}
	if most := g.opts.SocketsPerUser; most > 0 && u.places >= most {
		return nil
	}
	u.places++
	if u.gone != nil {
		u.gone.Stop()
	}
	return u
}

// leaveLocked gives a user's place back. Who has gone is remembered until the
// allowance is what a fresh one is: to come back at once gains nothing.
func (g *Gateway) leaveLocked(u *user) {
	if u.places--; u.places > 0 {
		return
	}
	if !u.allowance.Used() {
		delete(g.users, u.id)
		return
	}
	u.gone = time.AfterFunc(g.opts.UserRates.Burst, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if u.places == 0 && g.users[u.id] == u {
			delete(g.users, u.id)
		}
	})
}
