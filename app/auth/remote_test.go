package auth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/auth"
)

// An issuer publishes keys, without a network, so that time can be fake.
type issuer struct {
	mu     sync.Mutex
	body   string
	status int
	err    error         // instead of an answer
	takes  time.Duration // before it answers
	asked  int
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.asked++
	body, status, err, takes := i.body, i.status, i.err, i.takes
	i.mu.Unlock()
	if r.URL.String() != "https://login.example.com/jwks.json" {
		return nil, fmt.Errorf("asked for %s", r.URL)
	}
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(takes):
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{"Location": {"https://evil.example.com"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *issuer) requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

// withIssuer runs a story of a node that fetches its keys, until it is over.
func withIssuer(t *testing.T, i *issuer, story func(t *testing.T, j *auth.JWT)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.JWKSURL = "https://login.example.com/jwks.json"
		j := newJWT(t, o)
		j.SetTransport(i)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- j.Run(ctx) }()
		synctest.Wait()
		story(t, j)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// Keys that an issuer publishes verify its tokens. When it adds a key, the
// first token that names it makes the node fetch; when it takes one away,
// tokens of it are refused some minutes later, and until then taken.
func TestRemoteKeysAreRotated(t *testing.T) {
	one, two := newPair(t, "one"), newPair(t, "two")
	i := &issuer{body: jwks(t, one), status: 200}
	withIssuer(t, i, func(t *testing.T, j *auth.JWT) {
		if !taken(t, j, one.named(t, claims(nil))) {
			t.Error("a token of a published key is refused")
		}
		time.Sleep(auth.RefreshLeast) // an issuer that has just started
		i.set(func() { i.body = jwks(t, one, two) })
		if !taken(t, j, two.named(t, claims(nil))) {
			t.Error("the first token of a new key is refused")
		}
		if !taken(t, j, one.named(t, claims(nil))) {
			t.Error("a token of the old key is refused, which is still published")
		}
		i.set(func() { i.body = jwks(t, two) })
		if !taken(t, j, one.named(t, claims(nil))) {
			t.Error("the old key is gone before anybody has looked")
		}
		time.Sleep(auth.RefreshEvery)
		synctest.Wait()
		if taken(t, j, one.named(t, claims(nil))) {
			t.Error("a token of a key that was taken back is taken")
		}
		if !taken(t, j, two.named(t, claims(nil))) {
			t.Error("a token of the new key is refused")
		}
	})
}

// Whatever strangers name, the issuer is asked at most once a minute.
func TestUnknownKeysAskSeldom(t *testing.T) {
	one, stranger := newPair(t, "one"), newPair(t, "stranger")
	i := &issuer{body: jwks(t, one), status: 200}
	withIssuer(t, i, func(t *testing.T, j *auth.JWT) {
		const minutes = 3
		_, rest, _ := strings.Cut(stranger.sign(t, claims(nil)), ".")
		for n := range 10_000 {
			header := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"EdDSA","kid":"k%d"}`, n))
			if taken(t, j, header+"."+rest) {
				t.Fatal("a token of an unknown key is taken")
			}
			time.Sleep(minutes * time.Minute / 10_000)
		}
		if got := i.requests(); got < 3 || got > 1+minutes {
			t.Errorf("the issuer was asked %d times in %d minutes, want 3 or 4", got, minutes)
		}
		if !taken(t, j, one.named(t, claims(nil))) {
			t.Error("a good token is refused afterwards")
		}
	})
	// Nor do tokens of the shared secret's algorithm make it ask.
	withIssuer(t, i, func(t *testing.T, j *auth.JWT) {
		before := i.requests()
		time.Sleep(2 * auth.RefreshLeast)
		if taken(t, j, hmac.sign(t, claims(nil), "kid", "k")) {
			t.Error("a token of a secret is taken, and there is none")
		}
		if got := i.requests() - before; got != 0 {
			t.Errorf("the issuer was asked %d times", got)
		}
	})
}

// A token that asks in the moment in which the node would fetch anyway does not
// make it fetch twice.
func TestAskedInTime(t *testing.T) {
	one, stranger := newPair(t, "one"), newPair(t, "stranger")
	i := &issuer{body: jwks(t, one), status: 200}
	withIssuer(t, i, func(t *testing.T, j *auth.JWT) {
		const times = 200
		for range times {
			time.Sleep(auth.RefreshEvery)
			taken(t, j, stranger.named(t, claims(nil)))
			synctest.Wait()
		}
		if got := i.requests(); got != 1+times {
			t.Errorf("the issuer was asked %d times, want %d", got, 1+times)
		}
	})
}

// A node starts without its issuer and keeps trying: until then it cannot tell
// good tokens from bad ones, and says so, rather than that they are bad.
func TestIssuerComesLate(t *testing.T) {
	one := newPair(t, "one")
	i := &issuer{err: errors.New("connection refused")}
	withIssuer(t, i, func(t *testing.T, j *auth.JWT) {
		token := one.named(t, claims(nil))
		id, err := j.Authenticate(auth.Credentials{Token: token})
		if !errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrRefused) || id != (auth.Identity{}) {
			t.Errorf("without any key: %v, %v, want ErrUnavailable", id, err)
		}
		if taken(t, j, "a.b.c") {
			t.Error("nonsense is taken")
		}
		time.Sleep(time.Hour)
		if got := i.requests(); got < 60 || got > 70 {
			t.Errorf("the issuer was asked %d times in an hour, want about once a minute", got)
		}
		i.set(func() { i.body, i.status, i.err = jwks(t, one), 200, nil })
		time.Sleep(auth.RefreshLeast)
		synctest.Wait()
		if !taken(t, j, one.named(t, claims(nil))) {
			t.Error("a good token is refused although the issuer is back")
		}
	})
}

// Whatever goes wrong at the issuer, what was fetched before stays.
func TestIssuerFails(t *testing.T) {
	one := newPair(t, "one")
	for name, change := range map[string]func(i *issuer){
		"down":       func(i *issuer) { i.err = errors.New("connection refused") },
		"500":        func(i *issuer) { i.status = 500 },
		"redirects":  func(i *issuer) { i.status = 302 },
		"garbage":    func(i *issuer) { i.body = "<html>" },
		"no keys":    func(i *issuer) { i.body = `{"keys":[]}` },
		"other keys": func(i *issuer) { i.body = `{"keys":[{"kty":"oct","k":"AAAA","kid":"one"}]}` },
		"huge":       func(i *issuer) { i.body = strings.Repeat(" ", auth.MaxJWKS) + i.body },
		"slow":       func(i *issuer) { i.takes = time.Hour },
	} {
		i := &issuer{body: jwks(t, one), status: 200}
		withIssuer(t, i, func(t *testing.T, j *auth.JWT) {
			i.set(func() { change(i) })
			before := i.requests()
			time.Sleep(3 * auth.RefreshEvery)
			synctest.Wait()
			if got := i.requests() - before; got < 3 {
				t.Errorf("%s: the issuer was asked %d times: this shows nothing", name, got)
			}
			if !taken(t, j, one.named(t, claims(nil))) {
				t.Errorf("%s: a good token is refused", name)
			}
		})
	}
}

// A token that names an unknown key waits for the issuer, but not long, and
// those of known keys do not wait at all.
func TestSlowIssuerHoldsNobody(t *testing.T) {
	one, two := newPair(t, "one"), newPair(t, "two")
	i := &issuer{body: jwks(t, one), status: 200}
	withIssuer(t, i, func(t *testing.T, j *auth.JWT) {
		time.Sleep(auth.RefreshLeast)
		i.set(func() { i.takes, i.body = 3*time.Second, jwks(t, one, two) })
		took := func(p pair, want bool) time.Duration {
			t.Helper()
			begun := time.Now()
			if got := taken(t, j, p.named(t, claims(nil))); got != want {
				t.Errorf("%s: taken %v, want %v", p.kid, got, want)
			}
			return time.Since(begun)
		}
		if got := took(two, false); got != 2*time.Second {
			t.Errorf("an unknown key's token waited %v, want 2s", got)
		}
		if got := took(one, true); got != 0 {
			t.Errorf("a known key's token waited %v", got)
		}
		if got := took(two, true); got != time.Second {
			t.Errorf("the second time it waited %v, want 1s, until the keys were there", got)
		}
		if got := i.requests(); got != 2 {
			t.Errorf("the issuer was asked %d times, want 2", got)
		}
	})
}

// Over a real connection: the address alone is asked, redirects are not
// followed, what is too long is not read, and keys that cannot be used are left out.
func TestFetch(t *testing.T) {
	one := newPair(t, "one")
	body := fmt.Sprintf(`{"keys":[{"kty":"oct","k":"AAAA","kid":"s"},{"kty":"new"},7,%s]}`, strings.TrimSuffix(strings.TrimPrefix(jwks(t, one), `{"keys":[`), `]}`))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/jwks.json":
			_, _ = io.WriteString(w, body)
		case "/elsewhere":
			http.Redirect(w, r, "/jwks.json", http.StatusFound)
		case "/huge":
			_, _ = io.WriteString(w, body+strings.Repeat(" ", auth.MaxJWKS))
		}
	}))
	defer server.Close()
	o := options()
	o.JWKSURL = server.URL + "/jwks.json"
	j := newJWT(t, o)
	if err := j.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !taken(t, j, one.named(t, claims(nil))) {
		t.Error("a good token is refused")
	}
	if taken(t, j, hmac.sign(t, claims(nil), "kid", "s")) {
		t.Error("a secret that is published is used")
	}
	for path, want := range map[string]string{"/elsewhere": "it answers 302", "/huge": "more than 1048576 bytes"} {
		o.JWKSURL = server.URL + path
		j := newJWT(t, o)
		if err := j.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}
