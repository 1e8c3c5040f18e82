package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A socket hears its user's inbox where it asks for it: as the only room, or
// beside the one of its address, a watcher's among them.
func TestInboxOfASocket(t *testing.T) {
	n := serve(t, func(s *setup) { s.gateway.Friends = true })
	for _, path := range []string{
		"/ws/inbox?user=alice", "/ws/friends?user=alice", "/ws/chat/@alice?user=alice", "/ws/chat/@alice?user=alice&inbox=true",
		"/ws/inbox?user=alice&inbox=true",
	} {
		p := n.upgraded(t, path, "")
		if got := p.hear("joined"); !strings.Contains(got, `"room":"@alice"`) {
			t.Errorf("%s: %s, want the inbox", path, got)
		}
		p.send(masked(fin|text, `{"id":1,"cmd":"leave","room":"@alice"}`))
		p.hear(`{"id":1,"ok":{}}`) // it was there once
	}
	for _, path := range []string{"/ws/chat/lobby?user=alice&inbox=true", "/ws/watch/lobby?user=alice&inbox=0-0"} {
		p := n.upgraded(t, path, "")
		if got := p.hear("joined"); !strings.Contains(got, `"room":"lobby"`) {
			t.Errorf("%s: %s, want the room of the address first", path, got)
		}
		if got := p.hear("joined"); !strings.Contains(got, `"room":"@alice"`) {
			t.Errorf("%s: %s, want the inbox", path, got)
		}
	}
	p := n.upgraded(t, "/ws/inbox?user=alice&since=0-0", "")
	if got := p.hear("joined"); !strings.Contains(got, `"recovered":true`) {
		t.Errorf("%s, want it to be recovered", got)
	}
	for path, want := range map[string]int{
		"/ws/chat/@alice?user=bob":          http.StatusForbidden,
		"/ws/watch/@alice?user=bob":         http.StatusForbidden,
		"/ws/chat/@alice+carol?user=bob":    http.StatusForbidden,
		"/ws/chat/@bob+alice?user=bob":      http.StatusBadRequest,
		"/ws/chat/lobby?user=bob&inbox=yes": http.StatusBadRequest,
		"/ws/inbox":                         http.StatusUnauthorized,
		"/ws/chat/!nodes?user=bob":          http.StatusBadRequest,
		"/ws/inbox?user=alice&since=1":      http.StatusBadRequest,
		"/ws/chat/@alice+bob?user=bob":      http.StatusSwitchingProtocols,
	} {
		if resp, body := n.connect(t).request(request(path, nil)); resp.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", path, resp.StatusCode, body, want)
		}
	}
}

// A token that allows few rooms opens its user's inbox all the same, and a direct
// room only if it allows that.
func TestInboxByToken(t *testing.T) {
	n := serve(t, readableTokens)
	n.upgraded(t, "/ws/inbox?user=alice,lobby=0", "").hear("joined")
	n.upgraded(t, "/ws/watch/lobby?user=alice,lobby=1&inbox=true", "").hear(`"room":"@alice"`)
	n.refused(t, "/ws/chat/@alice+bob?user=bob,lobby=3", http.StatusForbidden, "forbidden")
}

// Sockets that are there for an inbox are at home on any node: nobody leads them
// anywhere, and all leave when the node does.
func TestInboxHasNoHome(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.crowd(t, 1, "/ws/inbox", "/ws/chat/a")
		if got := n.Rooms(time.Time{}, time.Now()); len(got) != 1 || got[0] != chat.RoomID("a") {
			t.Errorf("rooms that have homes: %v, want a", got)
		}
	})
}

// A node that serves no chat has no door for it, and no other way to it.
func TestInboxOnly(t *testing.T) {
	n := serve(t, func(s *setup) { s.gateway.Session.InboxOnly = true })
	for _, path := range []string{"/ws/chat/lobby?user=alice", "/ws/watch/lobby?user=alice", "/ws/friends?user=alice"} {
		if resp, _ := n.connect(t).request(request(path, nil)); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, resp.StatusCode)
		}
	}
	alice := n.join(t, "/ws/inbox?user=alice")
	for _, room := range []string{"lobby", "@alice+bob", "@bob"} {
		if f := alice.ask(`{"cmd":"join","room":"` + room + `"}`); f.Error == nil || f.Error.Code != "forbidden" {
			t.Errorf("join of %s: %+v, want forbidden", room, f)
		}
	}
	if f := alice.ask(`{"cmd":"join","room":"@alice"}`); f.Error == nil || f.Error.Code != "already_joined" {
		t.Errorf("join of the inbox: %+v, want already_joined", f)
	}
}
