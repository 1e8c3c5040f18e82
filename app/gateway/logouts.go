package gateway

import (
	"fmt"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// Logouts know which tokens were issued before their user logged out
// everywhere. They may be asked concurrently, and do not block.
type Logouts interface {
	// Known says whether everything has been heard that was said before this
	// node started.
	Known() bool
	// Revoked says whether a user's token that was issued then is worthless.
	Revoked(user chat.UserID, issued time.Time) bool
}

// errLoggedOut is shown to clients.
var errLoggedOut = fmt.Errorf("%w: the user has logged out since the token was issued", auth.ErrRefused)

// errService is shown to clients: what a service may do is said for the HTTP API.
var errService = fmt.Errorf("%w: the token is a service's, which is for /api/ only", auth.ErrRefused)

// authenticate says who shows credentials, and refuses services and who has
// logged out.
func (g *Gateway) authenticate(c auth.Credentials) (auth.Identity, error) {
	id, err := g.auth.Authenticate(c)
	switch {
	case err != nil:
		return id, err
	case id.Service != 0:
		return id, errService
	case g.revoked(id.User, id.Issued):
		return id, errLoggedOut
	}
	return id, nil
}

func (g *Gateway) revoked(user chat.UserID, issued time.Time) bool {
	return g.logouts != nil && g.logouts.Revoked(user, issued)
}

// LogOut closes those sockets of a user on this node whose token was issued at a
// moment or before, or nobody knows when. Logouts know of it already: a socket
// that is being opened meanwhile asks them last.
func (g *Gateway) LogOut(id chat.UserID, until time.Time) {
	for _, c := range g.socketsOf(id) {
		if c.issuedUntil(until) {
			c.session.Close(protocol.CloseLoggedOut)
		}
	}
}

// issuedUntil says whether the token that the socket lives by was issued at a
// moment or before, or nobody knows when.
func (c *conn) issuedUntil(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.issued.After(t)
}
