package services_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// What is done to a user's sockets, all nodes are told.
func TestTellTheNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t)
		now := time.Now().Unix()
		s.ask("POST", "/api/users/alice/disconnect", "").says(`{"user":"alice","reconnect":true,"code":4410}`)
		s.ask("POST", "/api/users/alice/disconnect", `{"reconnect":true}`).says(`{"reconnect":true,"code":4410}`)
		s.ask("POST", "/api/users/auth0%7C5f/disconnect", `{"reconnect":false}`).says(`{"user":"auth0|5f","reconnect":false,"code":4510}`)
		s.ask("POST", "/api/users/alice/logout", "").says(fmt.Sprintf(`{"user":"alice","before":%d}`, now))
		s.ask("POST", "/api/users/alice/logout", `{}`).says(fmt.Sprintf(`{"before":%d}`, now))
		s.ask("POST", "/api/users/service:shop/logout", `{"before":1000}`).says(`{"user":"service:shop","before":1000}`)
		for _, before := range []int64{0, -1, now + 301, 1000 * now} {
			s.ask("POST", "/api/users/alice/logout", fmt.Sprintf(`{"before":%d}`, before)).refused(http.StatusBadRequest, "bad_request")
		}
		s.ask("POST", "/api/users/alice/logout", `{"after":1}`).refused(http.StatusBadRequest, "bad_request")
		s.ask("POST", "/api/announcements", `{"key":"k1","data":{"text": "hi"}}`).says(`{"key":"k1"}`)
		key := s.ask("POST", "/api/announcements", `{"data":2}`).says(`{"key":"*"}`).field("key")
		want := []string{
			"disconnect alice 4410", "disconnect alice 4410", "disconnect auth0|5f 4510",
			fmt.Sprintf("log out alice %d", now), fmt.Sprintf("log out alice %d", now), "log out service:shop 1000",
			`announce service:billing k1 {"text":"hi"}`, "announce service:billing " + key + " 2",
		}
		if !slices.Equal(s.nodes.told, want) {
			t.Errorf("told %q, want %q", s.nodes.told, want)
		}
	})
}

// When the nodes cannot be told, the same is to be asked again.
func TestNodesCannotBeTold(t *testing.T) {
	s := play(t)
	s.nodes.err = fmt.Errorf("tell: %w", chat.ErrUnavailable)
	s.ask("POST", "/api/users/alice/disconnect", "").refused(http.StatusServiceUnavailable, "unavailable")
	s.ask("POST", "/api/users/alice/logout", "").refused(http.StatusServiceUnavailable, "unavailable")
	s.ask("POST", "/api/announcements", `{"data":1}`).refused(http.StatusServiceUnavailable, "unavailable")
	s.nodes.err = fmt.Errorf("tell: %w", chat.ErrConflict)
	s.ask("POST", "/api/announcements", `{"key":"k1","data":1}`).refused(http.StatusConflict, "conflict")
}

// A node takes one announcement a second, over time: they go to everybody.
func TestAnnouncementsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t)
		for range 10 {
			s.ask("POST", "/api/announcements", `{"data":1}`).says(`{"key":"*"}`)
		}
		s.ask("POST", "/api/announcements", `{"data":1}`).refused(http.StatusTooManyRequests, "rate_limited")
		time.Sleep(time.Second)
		s.ask("POST", "/api/announcements", `{"data":1}`).says(`{"key":"*"}`)
		if len(s.nodes.told) != 11 {
			t.Errorf("told %d, want 11", len(s.nodes.told))
		}
	})
}
