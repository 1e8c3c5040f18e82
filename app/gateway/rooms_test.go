package gateway_test

import (
	"net/http"
	"strings"
	"testing"
)

// A node that has no place for another room says so before it opens a socket,
// and to those that are in one on the same socket; a room that is open takes
// whoever comes.
func TestNoPlaceForAnotherRoom(t *testing.T) {
	n := serve(t, func(s *setup) { s.rooms = 1 })
	alice := n.join(t, "/ws/chat/lobby?user=alice")
	resp, body := n.connect(t).request(request("/ws/chat/den?user=bob", nil))
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" || !strings.Contains(body, `"temporary":true,"retry_after_ms":1000`) {
		t.Errorf("%s %s, want 503 with Retry-After, in the body too", resp.Status, body)
	}
	if f := alice.ask(`{"cmd":"join","room":"den"}`); f.Error == nil || f.Error.Code != "unavailable" || f.Error.RetryAfterMS != 10_000 {
		t.Errorf("join of another room: %+v, want unavailable with a retry hint", f)
	}
	n.join(t, "/ws/chat/lobby?user=bob")
	alice.echoes("served")
}
