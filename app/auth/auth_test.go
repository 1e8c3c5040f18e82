package auth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/auth"
)

// In dev mode everybody is who they say they are, as far as it is a name.
func TestDev(t *testing.T) {
	for _, c := range []struct {
		user    string
		refused bool
	}{
		{"alice", false},
		{"auth0|5f", false},
		{"[D-Tail]", false},
		{"Zoë", false},
		{"", true},
		{"a b", true},
		{"a\nb", true},
		{"a\x00", true},
		{"a\u00adb", true},                // a soft hyphen: nobody can see it
		{"a\u202eb", true},                // turns the text that follows around
		{"\xff", true},                    // not UTF-8
		{strings.Repeat("a", 128), false}, // the longest
		{strings.Repeat("a", 129), true},
	} {
		id, err := auth.Dev{}.Authenticate(auth.Credentials{User: c.user, Token: "not looked at"})
		if c.refused {
			if !errors.Is(err, auth.ErrRefused) || id != (auth.Identity{}) {
				t.Errorf("%q: %v, %v, want refused", c.user, id, err)
			}
			continue
		}
		if err != nil || string(id.User) != c.user || !id.Expires.IsZero() {
			t.Errorf("%q: %v, %v", c.user, id, err)
		}
	}
}
