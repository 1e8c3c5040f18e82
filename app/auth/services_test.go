package auth_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatring/chatring/app/auth"
)

// The claim "service" makes a token a service's, with the scopes that it names.
// Whatever is not understood of it makes the token worthless.
func TestServiceTokens(t *testing.T) {
	o := options()
	o.SecretFile = file(t, secret)
	j := newJWT(t, o)
	for _, c := range []struct {
		claim any
		want  string // "": refused
	}{
		{[]string{"publish"}, "publish"},
		{[]string{"notify", "publish"}, "publish notify"},
		{[]string{"admin", "read", "notify", "publish", "read"}, "publish notify read admin"},
		{[]string{}, ""},
		{[]string{"Publish"}, ""},
		{[]string{"publish", "delete"}, ""},
		{[]any{"publish", 1}, ""},
		{"publish", ""},
		{nil, ""},
		{true, ""},
		{map[string]any{"publish": true}, ""},
	} {
		all := claims(jwt.MapClaims{"sub": "billing"})
		all["service"] = c.claim
		id, err := j.Authenticate(auth.Credentials{Token: hmac.sign(t, all)})
		if c.want == "" {
			if !errors.Is(err, auth.ErrRefused) || id != (auth.Identity{}) {
				t.Errorf("%v: %v, %v, want refused", c.claim, id, err)
			}
			continue
		}
		if err != nil || id.Service.String() != c.want || id.User != "service:billing" {
			t.Errorf("%v: %v may %q, %v, want service:billing with %q", c.claim, id.User, id.Service, err, c.want)
		}
	}
}

// No user has the id that stands for a service, whoever says so, and a service
// has a name that fits a user's id.
func TestServicesAreNoUsers(t *testing.T) {
	o := options()
	o.SecretFile = file(t, secret)
	j := newJWT(t, o)
	service := []string{"admin"}
	for _, c := range []struct {
		name  string
		sub   any
		scope []string
	}{
		{"a user with a service's id", "service:billing", nil},
		{"a user with the beginning of one", "service:", nil},
		{"no name", "", service},
		{"no text", 5, service},
		{"a space", "bil ling", service},
		{"too long a name", strings.Repeat("a", 121), service},
	} {
		all := claims(jwt.MapClaims{"sub": c.sub})
		if c.scope != nil {
			all["service"] = c.scope
		}
		if id, err := j.Authenticate(auth.Credentials{Token: hmac.sign(t, all)}); !errors.Is(err, auth.ErrRefused) {
			t.Errorf("%s: %v, %v, want refused", c.name, id, err)
		}
	}
	if id, err := j.Authenticate(auth.Credentials{Token: hmac.sign(t, claims(jwt.MapClaims{"sub": "alice"}))}); err != nil || id.Service != 0 {
		t.Errorf("a user's token has the scopes %q, %v", id.Service, err)
	}
}

// In dev mode a name stands for a service that may do everything; a user's stands
// for a user, even beside it.
func TestDevServices(t *testing.T) {
	id, err := auth.Dev{}.Authenticate(auth.Credentials{Service: "billing"})
	if err != nil || id.User != "service:billing" || id.Service.String() != "publish notify read admin" || time.Since(id.Issued) > time.Minute {
		t.Errorf("%+v, %v", id, err)
	}
	if id, err := (auth.Dev{}).Authenticate(auth.Credentials{Service: "billing", User: "alice"}); err != nil || id.User != "alice" || id.Service != 0 {
		t.Errorf("%+v, %v, want alice", id, err)
	}
	for _, c := range []auth.Credentials{{User: "service:billing"}, {Service: "a b"}, {Service: strings.Repeat("a", 121)}} {
		if id, err := (auth.Dev{}).Authenticate(c); !errors.Is(err, auth.ErrRefused) {
			t.Errorf("%+v: %+v, %v, want refused", c, id, err)
		}
	}
}
