// Package auth says who a client is. It does not know sockets or rooms.
package auth

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatring/chatring/app/chat"
)

// Credentials are what a client shows; each may be empty.
type Credentials struct {
	Token string // a JWT
	User  string // a bare name, believed in dev mode only
}

// An Identity is who a client is, and until when that holds.
type Identity struct {
	User    chat.UserID
	Issued  time.Time // zero: nobody knows
	Expires time.Time // leeway included; zero: does not expire
	Rights  chat.Rights
}

// ErrRefused is wrapped by every refusal; the text around it may be shown to
// the client.
var ErrRefused = errors.New("not authenticated")

// An Authenticator tells who shows credentials, or refuses with ErrRefused. It
// may be called concurrently.
type Authenticator interface {
	Authenticate(Credentials) (Identity, error)
}

// Dev believes every name. It is for development only.
type Dev struct{}

// Authenticate returns the user that the client says it is.
func (Dev) Authenticate(c Credentials) (Identity, error) {
	if c.User == "" {
		return Identity{}, fmt.Errorf("%w: say who you are with ?user=alice (auth.mode is dev)", ErrRefused)
	}
	user, err := chat.ParseUser(c.User)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return Identity{User: user, Rights: chat.AllRights{}}, nil
}

// minSecret is the shortest secret for HS256, in bytes (RFC 7518 §3.2: as long
// as the hash).
const minSecret = 32

// leeway is how far the clocks of the issuer and of this node may differ.
const leeway = 30 * time.Second

// JWT trusts tokens that are signed by HS256 with a shared secret, and carry
// "sub" (the user) and "exp" (RFC 7519).
type JWT struct {
	secret []byte
	parser *jwt.Parser
}

// NewJWT reads the secret from a file; white space around it is not part of it.
func NewJWT(secretFile string) (*JWT, error) {
	b, err := os.ReadFile(secretFile)
	if err != nil {
		return nil, fmt.Errorf("auth secret: %w", err)
	}
	secret := strings.TrimSpace(string(b))
	if len(secret) < minSecret {
		return nil, fmt.Errorf("auth secret %s: %d bytes, want at least %d (try: openssl rand -hex 32)", secretFile, len(secret), minSecret)
	}
	return &JWT{
		secret: []byte(secret),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(),
			jwt.WithLeeway(leeway),
			jwt.WithStrictDecoding(),
		),
	}, nil
}

// Authenticate checks a token and returns its subject. What is wrong with a
// token is not told beyond whether it has expired.
func (j *JWT) Authenticate(c Credentials) (Identity, error) {
	if c.Token == "" {
		return Identity{}, fmt.Errorf("%w: a token is needed", ErrRefused)
	}
	var claims jwt.RegisteredClaims
	_, err := j.parser.ParseWithClaims(c.Token, &claims, func(*jwt.Token) (any, error) { return j.secret, nil })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, fmt.Errorf("%w: the token has expired", ErrRefused)
	case err != nil:
		return Identity{}, fmt.Errorf("%w: the token is not valid", ErrRefused)
	}
	user, err := chat.ParseUser(claims.Subject)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: the token's sub is no user id", ErrRefused)
	}
	return Identity{User: user, Expires: claims.ExpiresAt.Add(leeway), Rights: chat.AllRights{}}, nil
}
