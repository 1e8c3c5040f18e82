package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatring/chatring/app/auth"
)

const secret = "0123456789abcdef0123456789abcdef"

func secretFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

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

func sign(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims, header ...string) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	for i := 0; i+1 < len(header); i += 2 {
		token.Header[header[i]] = header[i+1]
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// claims are those of a good token, but for what change says; a nil value
// takes a claim out.
func claims(change jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range change {
		c[name] = value
		if value == nil {
			delete(c, name)
		}
	}
	return c
}

// A token is trusted when it is signed with the secret by HS256, names a user
// and is valid now, give or take half a minute.
func TestJWT(t *testing.T) {
	j, err := auth.NewJWT(secretFile(t, " "+secret+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(change jwt.MapClaims, header ...string) string {
		return sign(t, jwt.SigningMethodHS256, []byte(secret), claims(change), header...)
	}
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	good := hs256(nil)
	parts := strings.Split(good, ".")
	forged := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "."
	}
	for _, c := range []struct {
		name, token string
		ok          bool
	}{
		{"a good one", good, true},
		{"expired, within the leeway", hs256(jwt.MapClaims{"exp": in(-20 * time.Second)}), true},
		{"not yet valid, within the leeway", hs256(jwt.MapClaims{"nbf": in(20 * time.Second)}), true},
		{"sub of Auth0", hs256(jwt.MapClaims{"sub": "auth0|5f"}), true},
		{"claims that nobody knows", hs256(jwt.MapClaims{"roles": []string{"x"}}), true},
		{"kid is not looked at", hs256(nil, "kid", "../../etc/passwd"), true},
		{"none at all", "", false},
		{"something else", "hello", false},
		{"alg none", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil)), false},
		{"alg None", forged(`{"alg":"None","typ":"JWT"}`), false},
		{"alg nOnE", forged(`{"alg":"nOnE","typ":"JWT"}`), false},
		{"no alg", forged(`{"typ":"JWT"}`), false},
		{"HS256, unsigned", forged(`{"alg":"HS256"}`), false},
		{"HS512 with the right secret", sign(t, jwt.SigningMethodHS512, []byte(secret), claims(nil)), false},
		{"RS256", sign(t, jwt.SigningMethodRS256, rsaKey, claims(nil)), false},
		{"another secret", sign(t, jwt.SigningMethodHS256, []byte(secret+"x"), claims(nil)), false},
		{"an empty secret", sign(t, jwt.SigningMethodHS256, []byte{}, claims(nil)), false},
		{"other claims under the signature", parts[0] + "." + strings.Split(hs256(jwt.MapClaims{"sub": "eve"}), ".")[1] + "." + parts[2], false},
		{"no exp", hs256(jwt.MapClaims{"exp": nil}), false},
		{"exp is null", sign(t, jwt.SigningMethodHS256, []byte(secret), jwt.MapClaims{"sub": "alice", "exp": nil}), false},
		{"exp is text", hs256(jwt.MapClaims{"exp": "tomorrow"}), false},
		{"expired", hs256(jwt.MapClaims{"exp": in(-40 * time.Second)}), false},
		{"not yet valid", hs256(jwt.MapClaims{"nbf": in(40 * time.Second)}), false},
		{"issued in the future", hs256(jwt.MapClaims{"iat": in(40 * time.Second)}), false},
		{"no sub", hs256(jwt.MapClaims{"sub": nil}), false},
		{"an empty sub", hs256(jwt.MapClaims{"sub": ""}), false},
		{"a sub with a line break", hs256(jwt.MapClaims{"sub": "a\nb"}), false},
		{"a sub with a space", hs256(jwt.MapClaims{"sub": "a b"}), false},
		{"a sub of 10 KiB", hs256(jwt.MapClaims{"sub": strings.Repeat("a", 10<<10)}), false},
		{"a number for a sub", hs256(jwt.MapClaims{"sub": 7}), false},
		{"text behind it", good + "x", false},
		{"a fourth part", good + ".x", false},
		{"white space around it", " " + good, false},
		{"padding", parts[0] + "." + parts[1] + "." + parts[2] + "=", false},
		{"a signature cut short", good[:len(good)-4], false},
	} {
		id, err := j.Authenticate(auth.Credentials{Token: c.token, User: "eve"})
		if c.ok {
			if err != nil || id.User == "eve" || id.User == "" {
				t.Errorf("%s: %v, %v, want accepted", c.name, id, err)
			}
			continue
		}
		if !errors.Is(err, auth.ErrRefused) || id != (auth.Identity{}) {
			t.Errorf("%s: %v, %v, want refused", c.name, id, err)
			continue
		}
		if strings.Contains(err.Error(), secret) || c.token != "" && strings.Contains(err.Error(), c.token) {
			t.Errorf("%s: %q tells too much", c.name, err)
		}
	}
}

// Whoever is let in by the leeway is not thrown out at once for the same
// reason: an identity holds as long as its token would be taken.
func TestJWTExpires(t *testing.T) {
	j, err := auth.NewJWT(secretFile(t, secret))
	if err != nil {
		t.Fatal(err)
	}
	exp := time.Now().Add(-10 * time.Second).Truncate(time.Second)
	token := sign(t, jwt.SigningMethodHS256, []byte(secret), jwt.MapClaims{"sub": "alice", "exp": exp.Unix()})
	id, err := j.Authenticate(auth.Credentials{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	if want := exp.Add(30 * time.Second); !id.Expires.Equal(want) {
		t.Errorf("Expires = %v, want %v", id.Expires, want)
	}
}

// A client may hear that its token has expired, since it can do something
// about that; what else is wrong with one it does not hear.
func TestJWTMessages(t *testing.T) {
	j, err := auth.NewJWT(secretFile(t, secret))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, token, want string }{
		{"expired", sign(t, jwt.SigningMethodHS256, []byte(secret), jwt.MapClaims{"sub": "alice", "exp": 1}), "not authenticated: the token has expired"},
		{"expired and forged", sign(t, jwt.SigningMethodHS256, []byte("x"), jwt.MapClaims{"sub": "alice", "exp": 1}), "not authenticated: the token is not valid"},
		{"not signed", "a.b.c", "not authenticated: the token is not valid"},
	} {
		if _, err := j.Authenticate(auth.Credentials{Token: c.token}); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

// A secret that is too short, or not there, is refused when the node starts,
// and is not shown.
func TestNewJWT(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"short", secret[1:], "31 bytes, want at least 32"},
		{"short but for white space", secret[1:] + "  \n", "31 bytes"},
		{"empty", "\n", "0 bytes"},
	} {
		_, err := auth.NewJWT(secretFile(t, c.content))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret[1:]) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if _, err := auth.NewJWT(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}
