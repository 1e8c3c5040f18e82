package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/memstore"
)

// looking counts how often a token is looked at.
type looking struct {
	auth.Authenticator
	mu sync.Mutex
	n  int
}

func (c *looking) Authenticate(shown auth.Credentials) (auth.Identity, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.Authenticator.Authenticate(shown)
}

func (c *looking) since(before int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n - before
}

func withTickets(s *setup) { s.gateway.Tickets = memstore.NewTickets() }

// ticket asks for one.
func (n *node) ticket(t *testing.T, header string) string {
	t.Helper()
	status, body := n.post(t, "/sse/ticket", header, "")
	var got struct {
		Ticket      string
		ExpiresInMS int `json:"expires_in_ms"`
	}
	if err := json.Unmarshal([]byte(body), &got); status != 200 || err != nil || got.ExpiresInMS != 30_000 {
		t.Fatalf("a ticket: %d %s", status, body)
	}
	return got.Ticket
}

// cookieOf is the header by which a browser shows the cookie that it got with a stream.
func cookieOf(t *testing.T, h *hearing) string {
	t.Helper()
	all := h.response.Cookies()
	if len(all) == 0 {
		return ""
	}
	c := all[0]
	if len(all) > 1 || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/sse/" || c.Domain != "" || c.MaxAge != 0 {
		t.Errorf("cookies %v", all)
	}
	return fmt.Sprintf("Cookie: %s=%s\r\n", c.Name, c.Value)
}

// A ticket opens streams for the first browser that uses it, as often as that comes back,
// and for nobody else.
func TestTicket(t *testing.T) {
	looks := &looking{}
	n := serve(t, withTickets, readableTokens, func(s *setup) {
		looks.Authenticator = s.auth
		s.auth = looks
	})
	const alice = "Authorization: Bearer alice,iat=0,exp=3600\r\n"
	refused := func(what, path, header string) {
		t.Helper()
		if status, body := n.get(t, path, header); status != 401 || !strings.Contains(body, `"unauthorized"`) {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	path := "/sse/chat/lobby?stream=alice-0000000000&ticket=" + n.ticket(t, alice)
	h := n.hears(t, path, "")
	if e := h.until("hello"); !strings.Contains(e.data, `"user":"alice"`) {
		t.Errorf("hello is %s", e.data)
	}
	cookie := cookieOf(t, h)
	if cookie == "" {
		t.Fatal("the browser got no cookie")
	}
	refused("somebody who has seen the address", path, "")
	refused("another browser", path, "Cookie: chatring-ticket=another\r\n")
	again := n.hears(t, path, cookie)
	again.until("joined")
	if got := cookieOf(t, again); got != "" {
		t.Errorf("a browser that comes back is given %q", got)
	}
	refused("the cookie by itself", "/sse/chat/lobby", cookie)
	refused("another ticket of the same length", "/sse/chat/lobby?ticket=ABCDEFGHIJKLMNOPQRSTUVWXYZ", cookie)
	refused("something", "/sse/chat/lobby?ticket=x", cookie)

	before := looks.since(0)
	if status, body := n.post(t, "/sse/chat/lobby?stream=alice-0000000000", alice, `{"id":1,"cmd":"history","room":"lobby"}`); status != 200 || looks.since(before) != 0 {
		t.Errorf("commands by the token behind the ticket: %d %s, looked at %d times", status, body, looks.since(before))
	}
	other := "Authorization: Bearer alice,iat=1,exp=3600\r\n"
	if status, body := n.post(t, "/sse/chat/lobby?stream=alice-0000000000", other, `{"id":1,"cmd":"history","room":"lobby"}`); status != 200 || looks.since(before) != 1 {
		t.Errorf("commands by another token: %d %s, looked at %d times", status, body, looks.since(before))
	}

	second := n.hears(t, "/sse/inbox?ticket="+n.ticket(t, alice), cookie)
	second.until("joined")
	if got := cookieOf(t, second); got != "" {
		t.Errorf("a browser that has a cookie gets %q for its second ticket", got)
	}
	n.hears(t, path, cookie).until("joined")
	if status, body := n.post(t, "/sse/ticket", "", ""); status != 401 {
		t.Errorf("a ticket for nobody: %d %s", status, body)
	}
	for outcome, want := range map[string]float64{"given": 2, "used": 2, "used_again": 2, "refused": 4} {
		if got := n.counted(t, "chatring_tickets_total", outcome); got != want {
			t.Errorf("%v tickets counted as %s, want %v", got, outcome, want)
		}
	}
}

// A ticket that nobody uses is over after half a minute, and one that was used with the
// token that it stands for.
func TestTicketExpires(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		const alice = "Authorization: Bearer alice,iat=0,exp=90\r\n"
		unused, used := "/sse/chat/lobby?ticket="+n.ticket(t, alice), "/sse/chat/lobby?ticket="+n.ticket(t, alice)
		const cookie = "Cookie: chatring-ticket=mine\r\n"
		time.Sleep(29 * time.Second)
		a := n.attend(t, used, cookie)
		time.Sleep(2 * time.Second)
		if status, _ := n.get(t, unused, ""); status != 401 {
			t.Errorf("an old ticket: %d", status)
		}
		_ = a.Close()
		time.Sleep(50 * time.Second)
		b := n.attend(t, used, cookie)
		if len(b.heard(func(e heardEvent) bool { return e.name == "joined" })) != 1 {
			t.Error("the browser cannot come back")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if code, _ := b.end(); code != 4501 {
			t.Errorf("closed with %d, want 4501", code)
		}
		if status, _ := n.get(t, used, cookie); status != 401 {
			t.Errorf("back after the token: %d", status)
		}
	}, withTickets, readableTokens)
}

// broken is a store that cannot be asked; but for looking, once it is half.
type broken struct {
	*memstore.Tickets
	half bool
}

var errBroken = errors.New("dial tcp 10.0.0.7: refused")

func (b *broken) KeepTicket(ctx context.Context, id string, sealed []byte, life time.Duration) error {
	if b.half {
		return b.Tickets.KeepTicket(ctx, id, sealed, life)
	}
	return errBroken
}

func (b *broken) LookTicket(ctx context.Context, id string) ([]byte, string, error) {
	if b.half {
		return b.Tickets.LookTicket(ctx, id)
	}
	return nil, "", errBroken
}

func (*broken) UseTicket(context.Context, string, string, time.Duration) (bool, error) {
	return false, errBroken
}

// While the store does not answer, tickets are unavailable, which another node may not
// find.
func TestTicketsUnavailable(t *testing.T) {
	store := &broken{Tickets: memstore.NewTickets()}
	n := serve(t, func(s *setup) { s.gateway.Tickets = store })
	unavailable := func(what string, status int, body string) {
		t.Helper()
		if status != 503 || !strings.Contains(body, `"unavailable"`) || strings.Contains(body, "10.0.0.7") {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	status, body := n.post(t, "/sse/ticket?user=alice", "", "")
	unavailable("asking for a ticket", status, body)
	status, body = n.get(t, "/sse/chat/lobby?ticket=ABCDEFGHIJKLMNOPQRSTUVWXYZ", "")
	unavailable("showing one", status, body)
	store.half = true
	_, body = n.post(t, "/sse/ticket?user=alice", "", "")
	_, ticket, _ := strings.Cut(body, `"ticket":"`)
	status, body = n.get(t, "/sse/chat/lobby?ticket="+ticket[:26], "")
	unavailable("using one", status, body)
}

// What the store has opens nothing: neither the ticket, nor the token, nor the cookie
// stand there.
func TestTicketsAreSealed(t *testing.T) {
	store := &spied{Tickets: memstore.NewTickets()}
	n := serve(t, readableTokens, func(s *setup) { s.gateway.Tickets = store })
	ticket := n.ticket(t, "Authorization: Bearer alice,iat=0,exp=3600\r\n")
	cookie := cookieOf(t, n.hears(t, "/sse/chat/lobby?ticket="+ticket, ""))
	value := strings.TrimSuffix(strings.TrimPrefix(cookie, "Cookie: chatring-ticket="), "\r\n")
	if len(value) < 26 {
		t.Errorf("the cookie is %q", value)
	}
	for _, secret := range []string{ticket, "alice", value} {
		if strings.Contains(store.said, secret) {
			t.Errorf("the store was told %q", secret)
		}
	}
	if store.said == "" {
		t.Error("the store was told nothing")
	}
	if store.life <= 59*time.Minute || store.life > time.Hour {
		t.Errorf("the store keeps it for %v, want as long as the token is good, an hour", store.life)
	}
}

// Of two browsers that use a ticket at the same moment, the store says which was first.
func TestTicketUsedMeanwhile(t *testing.T) {
	store := &spied{Tickets: memstore.NewTickets(), late: true}
	n := serve(t, func(s *setup) { s.gateway.Tickets = store })
	_, body := n.post(t, "/sse/ticket?user=alice", "", "")
	_, ticket, _ := strings.Cut(body, `"ticket":"`)
	if status, body := n.get(t, "/sse/chat/lobby?ticket="+ticket[:26], ""); status != 401 {
		t.Errorf("the second: %d %s", status, body)
	}
}

type spied struct {
	*memstore.Tickets
	said string
	life time.Duration
	late bool // somebody else is always quicker
}

func (s *spied) KeepTicket(ctx context.Context, id string, sealed []byte, life time.Duration) error {
	s.said += id + string(sealed)
	return s.Tickets.KeepTicket(ctx, id, sealed, life)
}

func (s *spied) UseTicket(ctx context.Context, id, user string, life time.Duration) (bool, error) {
	s.said += id + user
	s.life = life
	if s.late {
		_, _ = s.Tickets.UseTicket(ctx, id, "somebody", life)
	}
	return s.Tickets.UseTicket(ctx, id, user, life)
}

// A page of an origin that may connect may read everything, of another site nothing.
func TestStreamsForOtherSites(t *testing.T) {
	n := serve(t, withTickets, func(s *setup) { s.gateway.Origins = []string{"https://app.example"} })
	for _, c := range []struct {
		method, path, origin string
		status               int
		allowed              bool
	}{
		{"OPTIONS", aliceStream, "https://app.example", 204, true},
		{"OPTIONS", "/sse/ticket", "https://app.example", 204, true},
		{"OPTIONS", aliceStream, "https://evil.example", 403, false},
		{"OPTIONS", "/sse/ticket", "null", 403, false},
		{"POST", "/sse/ticket?user=alice", "https://app.example", 200, true},
		{"POST", "/sse/ticket?user=alice", "https://evil.example", 403, false},
		{"POST", "/sse/ticket?user=alice", "http://node", 200, true},
		{"POST", aliceStream, "https://app.example", 404, true},
		{"POST", aliceStream, "https://app.example.evil.example", 403, false},
		{"GET", aliceStream + "&since=x", "https://app.example", 400, true},
		{"GET", aliceStream, "https://evil.example", 403, false},
		{"GET", "/sse/ticket?user=alice", "https://app.example", 405, true},
	} {
		resp, body := n.connect(t).request(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: node\r\nOrigin: %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", c.method, c.path, c.origin))
		allowed := resp.Header.Get("Access-Control-Allow-Origin")
		if want := map[bool]string{true: c.origin}[c.allowed]; resp.StatusCode != c.status || allowed != want {
			t.Errorf("%s %s from %s: %d, for %q, want %d, for %q: %s", c.method, c.path, c.origin, resp.StatusCode, allowed, c.status, want, body)
		}
		if resp.Header.Get("Vary") != "Origin" || c.allowed && resp.Header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("%s %s from %s: %v", c.method, c.path, c.origin, resp.Header)
		}
		if methods := resp.Header.Get("Access-Control-Allow-Methods"); (methods != "") != (c.status == 204) {
			t.Errorf("%s %s from %s: methods %q", c.method, c.path, c.origin, methods)
		}
	}
	h := n.hears(t, aliceStream, "Origin: https://app.example\r\n")
	if got := h.response.Header.Get("Access-Control-Allow-Origin"); got != "https://app.example" {
		t.Errorf("a stream is for %q", got)
	}
}
