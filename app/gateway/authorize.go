package gateway

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// An Authorizer has the last word on who may open a socket. Its errors are of
// type *protocol.Error.
type Authorizer interface {
	// AuthorizeConnect says whether a user may open a socket. Room is that of its
	// address, and address where the client is.
	AuthorizeConnect(ctx context.Context, user chat.UserID, room chat.RoomID, watch bool, address string) error
}

// authorize asks the application about the socket and about its room, if it wants
// to be asked. An inbox is its owner's, whatever the application says.
func (g *Gateway) authorize(r *http.Request, a admission) *refusal {
	user, room := a.identity.User, a.rooms[0].Room
	var err error
	if app := g.opts.Authorizer; app != nil {
		err = app.AuthorizeConnect(r.Context(), user, room, a.watch, clientAddress(r))
	}
	if app := g.opts.Session.Authorizer; app != nil && err == nil {
		if _, inbox := room.Owner(); !inbox {
			err = app.AuthorizeJoin(r.Context(), user, "", room, a.watch)
		}
	}
	var bad *protocol.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad) && !bad.Temporary:
		return &refusal{status: 403, code: string(bad.Code), message: bad.Message}
	}
	return unavailable("hooks", "the application does not answer: try again")
}

// clientAddress is where a client is: HAProxy says so, who lets nobody else say
// it, or nobody stands in between.
func clientAddress(r *http.Request) string {
	said := r.Header.Values("X-Forwarded-For")
	last := said[max(0, len(said)-1):]
	if len(last) == 1 {
		text := last[0][strings.LastIndexByte(last[0], ',')+1:]
		if ip, err := netip.ParseAddr(strings.TrimSpace(text)); err == nil {
			return ip.String()
		}
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return cmp.Or(host, r.RemoteAddr)
}
