package auth_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatring/chatring/app/auth"
)

// What strangers may send: every token but the good ones is refused, no file
// and no address is touched for it, and nothing of it is said to the client.
func TestHostileTokens(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a token made the node ask for %s", r.URL)
	}))
	defer silent.Close()
	ps := pairs()
	rsaPair, edPair := ps["RS256"], ps["EdDSA"]
	o := options()
	o.SecretFile, o.KeyFile = file(t, " "+secret+"\n"), file(t, rsaPair.pem(t)+edPair.pem(t))
	o.Issuer, o.Audience = "https://login.example.com", "chat"
	j := newJWT(t, o)

	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	full := func(change jwt.MapClaims) jwt.MapClaims {
		c := claims(jwt.MapClaims{"iss": o.Issuer, "aud": o.Audience})
		for name, value := range change {
			c[name] = value
			if value == nil {
				delete(c, name)
			}
		}
		return c
	}
	with := func(change jwt.MapClaims, header ...any) string { return hmac.sign(t, full(change), header...) }
	raw := func(payload string) string { // for what no map can hold
		text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
		sig, err := jwt.SigningMethodHS256.Sign(text, []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	good := with(nil)
	parts := strings.Split(good, ".")
	forged := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "."
	}
	// The public key as a secret, in every form in which one may have it.
	der, err := x509.MarshalPKIXPublicKey(rsaPair.public())
	if err != nil {
		t.Fatal(err)
	}
	rsaPublic := rsaPair.public().(*rsa.PublicKey)
	asSecret := func(key []byte) string { return pair{method: jwt.SigningMethodHS256, private: key}.sign(t, full(nil)) }
	stranger := newPair(t, "stranger")

	for _, c := range []struct {
		name, token string
		ok          bool
	}{
		{"a good one", good, true},
		{"RS256", rsaPair.sign(t, full(nil)), true},
		{"expired, within the leeway", with(jwt.MapClaims{"exp": in(-20 * time.Second)}), true},
		{"not yet valid, within the leeway", with(jwt.MapClaims{"nbf": in(20 * time.Second)}), true},
		{"issued in the future, within the leeway", with(jwt.MapClaims{"iat": in(20 * time.Second)}), true},
		{"without iat", with(jwt.MapClaims{"iat": nil}), true},
		{"claims that nobody knows", with(jwt.MapClaims{"roles": []string{"x"}}), true},
		{"an audience among others", with(jwt.MapClaims{"aud": []string{"mail", "chat"}}), true},
		{"for as long as may be", with(jwt.MapClaims{"exp": in(30 * 24 * time.Hour)}), true},
		{"8 KiB", with(jwt.MapClaims{"x": strings.Repeat("x", 5900)}), true},

		{"none at all", "", false},
		{"something else", "hello", false},
		{"T01 alg none", pair{method: jwt.SigningMethodNone, private: jwt.UnsafeAllowNoneSignatureType}.sign(t, full(nil)), false},
		{"T01 alg None", forged(`{"alg":"None","typ":"JWT"}`), false},
		{"T01 alg nOnE", forged(`{"alg":"nOnE","typ":"JWT"}`), false},
		{"T01 alg NONE", forged(`{"alg":"NONE","typ":"JWT"}`), false},
		{"T01 no alg", forged(`{"typ":"JWT"}`), false},
		{"T01 an empty alg", forged(`{"alg":""}`), false},
		{"T01 a number for alg", forged(`{"alg":256}`), false},
		{"T01 none, with the signature of HS256", forged(`{"alg":"none"}`) + parts[2], false},
		{"T01 HS256, unsigned", forged(`{"alg":"HS256"}`), false},
		{"T02 the public key for a secret, PEM", asSecret([]byte(rsaPair.pem(t))), false},
		{"T02 the same without its last line break", asSecret([]byte(strings.TrimSpace(rsaPair.pem(t)))), false},
		{"T02 the same in DER", asSecret(der), false},
		{"T02 the same in PKCS #1", asSecret(x509.MarshalPKCS1PublicKey(rsaPublic)), false},
		{"T02 the same as a PEM of PKCS #1", asSecret(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(rsaPublic)})), false},
		{"HS512 with the right secret", pair{method: jwt.SigningMethodHS512, private: []byte(secret)}.sign(t, full(nil)), false},
		{"RS512 with the right key", pair{method: jwt.SigningMethodRS512, private: rsaPair.private}.sign(t, full(nil)), false},
		{"PS256 with the right key", pair{method: jwt.SigningMethodPS256, private: rsaPair.private}.sign(t, full(nil)), false},
		{"ES256 without such a key", ps["ES256"].sign(t, full(nil)), false},
		{"another secret", pair{method: jwt.SigningMethodHS256, private: []byte(secret + "x")}.sign(t, full(nil)), false},
		{"an empty secret", pair{method: jwt.SigningMethodHS256, private: []byte{}}.sign(t, full(nil)), false},
		{"the secret with its white space", pair{method: jwt.SigningMethodHS256, private: []byte(" " + secret + "\n")}.sign(t, full(nil)), false},
		{"other claims under the signature", parts[0] + "." + strings.Split(with(jwt.MapClaims{"sub": "eve"}), ".")[1] + "." + parts[2], false},
		{"T03 expired", with(jwt.MapClaims{"exp": in(-40 * time.Second)}), false},
		{"T03 not yet valid", with(jwt.MapClaims{"nbf": in(40 * time.Second)}), false},
		{"T03 issued in the future", with(jwt.MapClaims{"iat": in(40 * time.Second)}), false},
		{"T03 nbf is text", with(jwt.MapClaims{"nbf": "now"}), false},
		{"T03 iat is text", with(jwt.MapClaims{"iat": "now"}), false},
		{"T04 no exp", with(jwt.MapClaims{"exp": nil}), false},
		{"T04 exp is null", raw(`{"sub":"alice","exp":null,"iss":"https://login.example.com","aud":"chat"}`), false},
		{"T04 exp is text", with(jwt.MapClaims{"exp": "tomorrow"}), false},
		{"T04 exp is 0", with(jwt.MapClaims{"exp": 0}), false},
		{"T04 exp is beyond all numbers", raw(`{"sub":"alice","exp":1e400,"iss":"https://login.example.com","aud":"chat"}`), false},
		{"T04 exp is beyond all times", raw(`{"sub":"alice","exp":1e18,"iss":"https://login.example.com","aud":"chat"}`), false},
		{"T04 exp in capitals", raw(`{"sub":"alice","EXP":9999999999,"iss":"https://login.example.com","aud":"chat"}`), false},
		{"valid for longer than may be", with(jwt.MapClaims{"exp": in(31 * 24 * time.Hour)}), false},
		{"the same without iat", with(jwt.MapClaims{"iat": nil, "exp": in(31 * 24 * time.Hour)}), false},
		{"T05 another audience", with(jwt.MapClaims{"aud": "mail"}), false},
		{"T05 other audiences", with(jwt.MapClaims{"aud": []string{"mail", "chat2"}}), false},
		{"T05 no audience", with(jwt.MapClaims{"aud": nil}), false},
		{"T05 an empty list of audiences", with(jwt.MapClaims{"aud": []string{}}), false},
		{"T05 a number for an audience", with(jwt.MapClaims{"aud": 7}), false},
		{"T06 another issuer", with(jwt.MapClaims{"iss": "https://login.example.com.evil.org"}), false},
		{"T06 no issuer", with(jwt.MapClaims{"iss": nil}), false},
		{"T06 a list of issuers", with(jwt.MapClaims{"iss": []string{"https://login.example.com"}}), false},
		{"T07 a long kid", with(nil, "kid", strings.Repeat("k", 300)), false},
		{"T07 a kid of 1 MiB", with(nil, "kid", strings.Repeat("k", 1<<20)), false},
		{"T07 a number for a kid", with(nil, "kid", 7), false},
		{"T07 a kid that is a path, of a stranger", stranger.sign(t, full(nil), "kid", "../../etc/passwd"), false},
		{"T07 a kid that is an address, of a stranger", stranger.sign(t, full(nil), "kid", silent.URL+"/kid"), false},
		{"T07 a kid that is SQL, of a stranger", stranger.sign(t, full(nil), "kid", "' OR 1=1 --"), false},
		{"T08 jku", stranger.sign(t, full(nil), "jku", silent.URL+"/jku"), false},
		{"T08 x5u", stranger.sign(t, full(nil), "x5u", silent.URL+"/x5u"), false},
		{"T08 jwk", stranger.sign(t, full(nil), "jwk", stranger.jwk()), false},
		{"T08 x5c", stranger.sign(t, full(nil), "x5c", []string{base64.StdEncoding.EncodeToString(der)}), false},
		{"T08 a critical header", with(nil, "crit", []string{"b64"}, "b64", false), false},
		{"T11 no sub", with(jwt.MapClaims{"sub": nil}), false},
		{"T11 an empty sub", with(jwt.MapClaims{"sub": ""}), false},
		{"T11 a sub of 10 KiB", with(jwt.MapClaims{"sub": strings.Repeat("a", 10<<10)}), false},
		{"T11 a sub of 129 bytes", with(jwt.MapClaims{"sub": strings.Repeat("a", 129)}), false},
		{"T11 a sub with a line break", with(jwt.MapClaims{"sub": "a\nb"}), false},
		{"T11 a sub with a space", with(jwt.MapClaims{"sub": "a b"}), false},
		{"T11 a sub with NUL", with(jwt.MapClaims{"sub": "a\x00"}), false},
		{"T11 a number for a sub", with(jwt.MapClaims{"sub": 7}), false},
		{"T11 SUB for sub", with(jwt.MapClaims{"sub": nil, "SUB": "alice"}), false},
		{"T13 more than 8 KiB", with(jwt.MapClaims{"x": strings.Repeat("x", 6200)}), false},
		{"T14 text behind it", good + "x", false},
		{"T14 a line break behind it", good + "\n", false},
		{"T14 a fourth part", good + ".x", false},
		{"T14 three dots", "...", false},
		{"T14 two dots", "..", false},
		{"T14 white space around it", " " + good, false},
		{"T14 padding", parts[0] + "." + parts[1] + "." + parts[2] + "=", false},
		{"T14 another last letter for the same bytes", sameBytes(t, good), false},
		{"T14 a line break inside", parts[0] + "." + parts[1] + "." + parts[2][:9] + "\n" + parts[2][9:], false},
		{"T14 a signature cut short", good[:len(good)-4], false},
		{"T14 claims that are a list", raw(`[]`), false},
		{"T14 claims that are null", raw(`null`), false},
		{"T14 two claims", raw(`{}{}`), false},
		{"T14 deep claims", raw(strings.Repeat("[", 4000)), false},
	} {
		id, err := j.Authenticate(auth.Credentials{Token: c.token, User: "eve"})
		if c.ok {
			if err != nil || id.User != "alice" {
				t.Errorf("%s: %v, %v, want accepted", c.name, id, err)
			}
			continue
		}
		if !errors.Is(err, auth.ErrRefused) || id != (auth.Identity{}) {
			t.Errorf("%s: %v, %v, want refused", c.name, id, err)
			continue
		}
		switch err.Error() {
		case "not authenticated: the token has expired", "not authenticated: the token is not valid", "not authenticated: a token is needed":
		default:
			t.Errorf("%s: %q tells too much", c.name, err)
		}
	}
}

// What is taken is spelled in the one way in which its bytes can be, and signed
// with the secret.
func FuzzTokens(f *testing.F) {
	o := options()
	o.SecretFile = file(f, secret)
	j := newJWT(f, o)
	f.Add(hmac.sign(f, claims(nil)))
	f.Add(hmac.sign(f, claims(nil), "kid", "k") + "\n")
	f.Add(pairs()["EdDSA"].named(f, claims(nil)))
	f.Fuzz(func(t *testing.T, token string) {
		id, err := j.Authenticate(auth.Credentials{Token: token})
		if err != nil {
			return
		}
		text := token[:strings.LastIndex(token, ".")]
		for part := range strings.SplitSeq(text, ".") {
			if b, err := base64.RawURLEncoding.DecodeString(part); err != nil || base64.RawURLEncoding.EncodeToString(b) != part {
				t.Errorf("%q makes %v", token, id)
			}
		}
		signature, err := jwt.SigningMethodHS256.Sign(text, []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		if token != text+"."+base64.RawURLEncoding.EncodeToString(signature) {
			t.Errorf("%q makes %v", token, id)
		}
	})
}

// sameBytes is the token with another last letter, whose additional bits are
// not of the signature, and so must be zero.
func sameBytes(t *testing.T, token string) string {
	t.Helper()
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(letters, token[len(token)-1])
	other := token[:len(token)-1] + string(letters[last+1])
	was, err := base64.RawURLEncoding.DecodeString(token[strings.LastIndex(token, ".")+1:])
	if err != nil {
		t.Fatal(err)
	}
	if is, err := base64.RawURLEncoding.DecodeString(other[strings.LastIndex(other, ".")+1:]); err != nil || !bytes.Equal(is, was) {
		t.Fatalf("%s does not say the same", other)
	}
	return other
}

// A sub may look as issuers make them.
func TestSubjects(t *testing.T) {
	o := options()
	o.SecretFile = file(t, secret)
	j := newJWT(t, o)
	for _, sub := range []string{"auth0|5f", "user@example.com", "[D-Tail]", "urn:user:7", "a:b"} {
		id, err := j.Authenticate(auth.Credentials{Token: hmac.sign(t, claims(jwt.MapClaims{"sub": sub}))})
		if err != nil || string(id.User) != sub {
			t.Errorf("%s: %v, %v", sub, id, err)
		}
	}
}

// Whoever is let in by the leeway is not thrown out at once for the same
// reason: an identity holds as long as its token would be taken. It says when
// its token was issued, if the token does.
func TestTimesOfAnIdentity(t *testing.T) {
	o := options()
	o.SecretFile, o.Leeway = file(t, secret), 20*time.Second
	j := newJWT(t, o)
	exp := time.Now().Add(-10 * time.Second).Truncate(time.Second)
	issued := exp.Add(-time.Hour)
	id, err := j.Authenticate(auth.Credentials{Token: hmac.sign(t, claims(jwt.MapClaims{"exp": exp.Unix(), "iat": issued.Unix()}))})
	if err != nil {
		t.Fatal(err)
	}
	if want := exp.Add(20 * time.Second); !id.Expires.Equal(want) {
		t.Errorf("Expires = %v, want %v", id.Expires, want)
	}
	if !id.Issued.Equal(issued) {
		t.Errorf("Issued = %v, want %v", id.Issued, issued)
	}
	id, err = j.Authenticate(auth.Credentials{Token: hmac.sign(t, claims(jwt.MapClaims{"iat": nil}))})
	if err != nil || !id.Issued.IsZero() {
		t.Errorf("Issued = %v, %v, want none", id.Issued, err)
	}
	o.Leeway = 5 * time.Second
	if taken(t, newJWT(t, o), hmac.sign(t, claims(jwt.MapClaims{"exp": exp.Unix()}))) {
		t.Error("a token that expired ten seconds ago is taken with a leeway of five")
	}
}

// A client may hear that its token has expired, since it can do something
// about that; what else is wrong with one only the log hears, without the
// token.
func TestWhatIsSaid(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer slog.SetDefault(before)
	o := options()
	o.SecretFile, o.Issuer = file(t, secret), "me"
	j := newJWT(t, o)
	wrong := pair{method: jwt.SigningMethodHS256, private: []byte("x")}
	for _, c := range []struct{ name, token, want, log string }{
		{"expired", hmac.sign(t, claims(jwt.MapClaims{"exp": 1, "iss": "me"})), "the token has expired", "token is expired"},
		{"expired and forged", wrong.sign(t, claims(jwt.MapClaims{"exp": 1})), "the token is not valid", "signature is invalid"},
		{"another issuer", hmac.sign(t, claims(jwt.MapClaims{"iss": "you"})), "the token is not valid", "invalid issuer"},
		{"an impossible user", hmac.sign(t, claims(jwt.MapClaims{"iss": "me", "sub": "a b"})), "the token is not valid", "user id"},
		{"no key", pairs()["RS256"].sign(t, claims(nil)), "the token is not valid", "no key for alg RS256"},
		{"no token", "a.b.c", "the token is not valid", "malformed"},
	} {
		log.Reset()
		_, err := j.Authenticate(auth.Credentials{Token: c.token})
		if err == nil || err.Error() != "not authenticated: "+c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		if said := log.String(); !strings.Contains(said, c.log) || !strings.Contains(said, "level=DEBUG") || strings.Contains(said, c.token) {
			t.Errorf("%s: the log says %q, want %s, and not the token", c.name, said, c.log)
		}
	}
}
