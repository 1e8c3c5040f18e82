package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// An application lets nobody in called mallory or into the cellar, and does not
// answer about trent.
type application struct {
	mu    sync.Mutex
	asked []string
}

func (a *application) note(asked string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, asked)
}

func (a *application) heard() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked)
}

func (a *application) AuthorizeConnect(_ context.Context, user chat.UserID, room chat.RoomID, watch bool, address string) error {
	a.note(fmt.Sprintf("connect %s %s %v %s", user, room, watch, address))
	switch user {
	case "mallory":
		return &protocol.Error{Code: protocol.Forbidden, Message: "you have been banned"}
	case "trent":
		return &protocol.Error{Code: protocol.Unavailable, Message: "10.0.0.7 refuses", Temporary: true}
	}
	return nil
}

func (a *application) AuthorizeJoin(_ context.Context, user chat.UserID, session string, room chat.RoomID, watch bool) error {
	a.note(fmt.Sprintf("join %s %q %s %v", user, session, room, watch))
	if room == "cellar" {
		return &protocol.Error{Code: protocol.Forbidden, Message: "the cellar is closed"}
	}
	return nil
}

func (*application) AuthorizePublish(_ context.Context, d chat.Draft, _ string) ([]byte, error) {
	return d.Body, nil
}

// The application is asked after the token and before the socket: whom it forbids
// is told so in plain HTTP, and its place is free again.
func TestApplicationOpensTheDoor(t *testing.T) {
	app := &application{}
	n := serve(t, readableTokens, func(s *setup) {
		s.gateway.Authorizer, s.gateway.Session.Authorizer = app, app
		s.gateway.MaxConnections = 1
	})
	n.refused(t, "/ws/chat/lobby?user=alice,lobby=0", http.StatusForbidden, "forbidden") // by the token
	if asked := app.heard(); len(asked) > 0 {
		t.Errorf("asked %v about somebody whose token does not allow it", asked)
	}
	for _, c := range []struct {
		path   string
		status int
		code   string
		asked  []string
	}{
		{"/ws/chat/lobby?user=mallory,iat=0", 403, "forbidden", []string{"connect mallory lobby false 127.0.0.1"}},
		{"/ws/chat/lobby?user=trent,iat=0", 503, "unavailable", []string{"connect trent lobby false 127.0.0.1"}},
		{"/ws/watch/cellar?user=bob,iat=0", 403, "forbidden", []string{"connect bob cellar true 127.0.0.1", `join bob "" cellar true`}},
		{"/ws/chat/lobby?user=bob,iat=0", 0, "", []string{"connect bob lobby false 127.0.0.1", `join bob "" lobby false`}},
		{"/ws/inbox?user=bob,iat=0", 0, "", []string{"connect bob @bob false 127.0.0.1"}},
	} {
		before := len(app.heard())
		if c.status == 0 {
			p := n.upgraded(t, c.path, "")
			p.hear("joined")
			_ = p.Close()
		} else {
			n.refused(t, c.path, c.status, c.code)
		}
		if got := app.heard()[before:]; !slices.Equal(got, c.asked) {
			t.Errorf("%s: asked %q, want %q", c.path, got, c.asked)
		}
		eventually(t, "the place", func() bool { return n.counted(t, "chatring_connections", "") == 0 })
	}
	if got := n.counted(t, "chatring_refused_total", "hooks"); got != 1 {
		t.Errorf("%v refused because the application did not answer, want 1", got)
	}
}

// What is said about where the client is comes from HAProxy, which replaces what
// others have said.
func TestClientAddress(t *testing.T) {
	app := &application{}
	n := serve(t, func(s *setup) { s.gateway.Authorizer = app })
	for said, want := range map[string]string{
		"":                          "127.0.0.1",
		"203.0.113.9":               "203.0.113.9",
		"198.51.100.1, 203.0.113.9": "203.0.113.9",
		"2001:db8::7":               "2001:db8::7",
		"nonsense":                  "127.0.0.1",
	} {
		before := len(app.heard())
		header := ""
		if said != "" {
			header = "X-Forwarded-For: " + said + "\r\n"
		}
		n.connect(t).request("GET /ws/chat/lobby?user=alice HTTP/1.1\r\nHost: node\r\n" + header + "\r\n")
		if got := app.heard()[before:]; len(got) != 1 || got[0] != "connect alice lobby false "+want {
			t.Errorf("%q: asked %q, want %s", said, got, want)
		}
	}
}
