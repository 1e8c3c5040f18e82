package gateway_test

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
)

// readable stands for tokens that are read as they are: the user, the seconds
// since the beginning at which the token was issued and expires, and what it
// allows in each room (all, if it names none): "alice,iat=10,exp=60,lobby=1".
type readable struct{ began time.Time }

type grants map[chat.RoomID]chat.Access

func (g grants) Access(room chat.RoomID) chat.Access { return g[room] }

func (a readable) Authenticate(c auth.Credentials) (auth.Identity, error) {
	token := c.Token
	if token == "" {
		token = c.User
	}
	user, rest, _ := strings.Cut(token, ",")
	id, err := auth.Dev{}.Authenticate(auth.Credentials{User: user})
	if err != nil {
		return id, err
	}
	rooms := grants{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(field, "=")
		n, err := strconv.Atoi(value)
		if err != nil {
			return id, fmt.Errorf("%w: %w", auth.ErrRefused, err)
		}
		switch at := a.began.Add(time.Duration(n) * time.Second); name {
		case "iat":
			id.Issued = at
		case "exp":
			id.Expires = at
		default:
			rooms[chat.RoomID(name)] = chat.Access(n)
		}
	}
	if len(rooms) > 0 {
		id.Rights = maps.Clone(rooms)
	}
	if !id.Expires.IsZero() && !time.Now().Before(id.Expires) {
		return auth.Identity{}, fmt.Errorf("%w: the token has expired", auth.ErrRefused)
	}
	return id, nil
}

func readableTokens(s *setup) { s.auth = readable{time.Now()} }

// A token that does not allow the room of the address is no way in, and one
// that allows to watch it opens the door for watchers only.
func TestRoomOfTheAddress(t *testing.T) {
	n := serve(t, readableTokens)
	for _, c := range []struct {
		path    string
		access  chat.Access
		allowed bool
	}{
		{"/ws/chat/lobby", chat.NoAccess, false},
		{"/ws/chat/lobby", chat.Watch, false},
		{"/ws/chat/lobby", chat.Read, true},
		{"/ws/chat/lobby", chat.Write, true},
		{"/ws/watch/lobby", chat.NoAccess, false},
		{"/ws/watch/lobby", chat.Watch, true},
		{"/ws/watch/lobby", chat.Write, true},
	} {
		path := fmt.Sprintf("%s?user=alice,team=3,lobby=%d", c.path, c.access)
		if c.allowed {
			n.upgraded(t, path, "").hear("joined")
		} else {
			n.refused(t, path, http.StatusForbidden, "forbidden")
		}
	}
	m := n.join(t, "/ws/chat/team?user=alice,team=3,lobby=2,cellar=0")
	for _, c := range []struct{ command, code string }{
		{`{"cmd":"join","room":"cellar"}`, "forbidden"},
		{`{"cmd":"publish","room":"cellar","data":1}`, "not_joined"},
		{`{"cmd":"join","room":"lobby"}`, ""},
		{`{"cmd":"publish","room":"lobby","data":1}`, "forbidden"},
		{`{"cmd":"publish","room":"team","data":1}`, ""},
	} {
		f := m.ask(c.command)
		if code := f.Error; (code == nil) != (c.code == "") || code != nil && code.Code != c.code {
			t.Errorf("%s: %+v, want code %q", c.command, f.Error, c.code)
		}
	}
}

// A connection that shows a fresh token in time lives until that one ends, and
// is told so. A token that is refused changes nothing.
func TestRenew(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		l := n.listen(t, "/ws/chat/lobby?user=alice,exp=60", true)
		if l.heard(`"expires_in_ms":60000,`) != 1 {
			t.Error("hello does not say when the connection expires")
		}
		left := n.listen(t, "/ws/chat/lobby?user=alice,exp=60", true)
		time.Sleep(50 * time.Second)
		show := func(l *listener, id int, token, answer string) {
			t.Helper()
			l.send(masked(fin|text, fmt.Sprintf(`{"id":%d,"cmd":"auth","token":%q}`, id, token)))
			synctest.Wait()
			if want := fmt.Sprintf(`{"id":%d,%s`, id, answer); l.heard(want) != 1 {
				t.Errorf("token %s is not answered with %s", token, want)
			}
		}
		show(left, 1, "alice,exp=40", `"error":{"code":"bad_token","message":"not authenticated: the token has expired"}}`)
		show(left, 2, "bob,exp=100", `"error":{"code":"forbidden"`)
		show(l, 1, "alice,exp=100", `"ok":{"expires_in_ms":50000}}`)
		time.Sleep(49 * time.Second)
		synctest.Wait()
		if code, at := left.end(); code != 4501 || at != time.Minute {
			t.Errorf("the connection with bad tokens closed with %d after %v, want 4501 after 1m", code, at)
		}
		show(l, 2, "alice,exp=700", `"ok":{"expires_in_ms":601000}}`)
		time.Sleep(2 * time.Second)
		show(l, 3, "alice,exp=103", `"ok":{"expires_in_ms":2000}}`) // sooner than the last one
		time.Sleep(time.Minute)
		synctest.Wait()
		if code, at := l.end(); code != 4501 || at != 103*time.Second {
			t.Errorf("closed with %d after %v, want 4501 after 1m43s", code, at)
		}
	}, readableTokens)
}

// Where connections do not expire, a token is answered with what that means.
func TestNothingToRenew(t *testing.T) {
	n := serve(t)
	p := n.upgraded(t, "/ws/chat/lobby?user=alice", "")
	if hello := p.hear("hello"); strings.Contains(hello, "expires") {
		t.Errorf("%s, want nothing of an end", hello)
	}
	p.send(masked(fin|text, `{"id":1,"cmd":"auth","token":"x"}`))
	p.hear(`{"id":1,"error":{"code":"bad_request","message":"this connection does not expire: there is no token to renew"}}`)
}

// Who may only watch is not told who comes and goes, nor any more when a fresh
// token takes the right to read away.
func TestWatchersSeeNobody(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		for _, c := range []struct {
			first, then chat.Access
			sees        int
		}{{chat.Watch, chat.Read, 0}, {chat.Read, chat.Watch, 0}, {chat.Read, chat.Read, 1}} {
			l := n.listen(t, fmt.Sprintf("/ws/watch/lobby?user=alice,exp=60,lobby=%d&members=true", c.first), true)
			l.send(masked(fin|text, fmt.Sprintf(`{"id":1,"cmd":"auth","token":"alice,exp=70,lobby=%d"}`, c.then)))
			synctest.Wait()
			n.listen(t, fmt.Sprintf("/ws/chat/lobby?user=bob%d%d,exp=60,lobby=3", c.first, c.then), true)
			synctest.Wait()
			if l.heard(`{"id":1,"ok"`) != 1 || l.heard(`"push":"member"`) != c.sees {
				t.Errorf("access %d, then %d: heard %d member pushes, want %d", c.first, c.then, l.heard(`"push":"member"`), c.sees)
			}
		}
	}, readableTokens)
}

// A service's token is for the HTTP API: it opens no socket, and renews none.
func TestServicesOpenNoSockets(t *testing.T) {
	n := serve(t, func(s *setup) { s.auth = services{readable{time.Now()}} })
	n.refused(t, "/ws/chat/lobby?user=billing", http.StatusUnauthorized, "unauthorized")
	p := n.upgraded(t, "/ws/chat/lobby?user=alice,exp=60", "")
	p.hear("joined")
	p.send(masked(fin|text, `{"id":1,"cmd":"auth","token":"billing"}`))
	p.hear(`{"id":1,"error":{"code":"bad_token"`)
}

// services are readable tokens, in which billing is a service.
type services struct{ readable }

func (a services) Authenticate(c auth.Credentials) (auth.Identity, error) {
	if c.User == "billing" || c.Token == "billing" {
		return auth.Dev{}.Authenticate(auth.Credentials{Service: "billing"})
	}
	return a.readable.Authenticate(c)
}
