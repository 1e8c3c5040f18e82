// Package auth says who a client is, and what it may do in which rooms. It does
// not know sockets, sessions or the members of a room.
package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// Credentials are what a client shows; each may be empty.
type Credentials struct {
	Token   string // a JWT
	User    string // a bare name, believed in dev mode only
	Service string // the same, of a service
}

// An Identity is who a client is, and until when that holds.
type Identity struct {
	User    chat.UserID
	Service Scopes    // none: it is a user, and no service
	Issued  time.Time // zero: nobody knows
	Expires time.Time // leeway included; zero: does not expire
	Rights  chat.Rights
}

// ErrRefused is wrapped by every refusal; the text around it may be shown to
// the client.
var ErrRefused = errors.New("not authenticated")

// ErrUnavailable says that the keys of the tokens could not be fetched yet, so
// that nobody can tell a good token from a bad one: the client should come back
// in some seconds.
var ErrUnavailable = errors.New("the keys of the tokens are not here yet")

// An Authenticator tells who shows credentials, or refuses with ErrRefused, or
// cannot tell for the moment: ErrUnavailable. It may be called concurrently,
// and may take two seconds while keys are fetched.
type Authenticator interface {
	Authenticate(Credentials) (Identity, error)
}

// Dev believes every name. It is for development only.
type Dev struct{}

// Authenticate returns the user or the service that the client says it is.
func (Dev) Authenticate(c Credentials) (Identity, error) {
	id := Identity{Issued: time.Now(), Rights: chat.AllRights{}}
	var err error
	switch {
	case c.User != "":
		id.User, err = ParseUser(c.User)
	case c.Service != "":
		id.Service = Publish | Notify | Read | Admin
		id.User, err = ServiceUser(c.Service)
	default:
		err = errors.New("say who you are with ?user=alice, or ?service=billing for the HTTP API (auth.mode is dev)")
	}
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return id, nil
}
