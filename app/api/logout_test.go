package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/api"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
)

// An operator logs a user out until now, or until the second that the body
// says. What is no such request is refused, and so is a page in the operator's
// browser; nobody is logged out by it.
func TestLogout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const kind = "application/json"
		before := func(n int64) string { return fmt.Sprintf(`{"before":%d}`, n) }
		for _, c := range []struct {
			method, path, body, kind, origin string
			status                           int
			code                             string
			user                             chat.UserID
			until                            time.Time
		}{
			{"POST", "/users/alice/logout", "", "", "", 200, "", "alice", time.Now()},
			{"POST", "/users/auth0%7C5f%2Fa/logout", "{}", kind, "", 200, "", "auth0|5f/a", time.Now()},
			{"POST", "/users/alice/logout", `{"before":946684000}`, kind + "; charset=utf-8", "", 200, "", "alice", time.Unix(946684000, 0)},
			{"POST", "/users/alice/logout", `{"before":946684000}`, "text/plain", "", 400, "bad_request", "", time.Time{}},
			{"POST", "/users/alice/logout", `{"befor":1763776000}`, kind, "", 400, "bad_request", "", time.Time{}},
			{"POST", "/users/alice/logout", `{"before":"now"}`, kind, "", 400, "bad_request", "", time.Time{}},
			{"POST", "/users/alice/logout", `{"before":1}}`, kind, "", 400, "bad_request", "", time.Time{}},
			{"POST", "/users/alice/logout", strings.Repeat(" ", 2000) + "{}", kind, "", 400, "bad_request", "", time.Time{}},
			{"POST", "/users/a%20b/logout", "", "", "", 400, "bad_user", "", time.Time{}},
			{"POST", "/users/alice/logout", "", "", "http://evil.example", 403, "forbidden", "", time.Time{}},
			{"POST", "/users/alice/logout", "", "", "null", 403, "forbidden", "", time.Time{}},
			{"POST", "/users/alice/logout", "", "", "http://example.com", 403, "forbidden", "", time.Time{}}, // the Host of the request
			{"GET", "/users/alice/logout", "", "", "", 405, "", "", time.Time{}},
			{"POST", "/users/alice/logout", before(0), kind, "", 400, "bad_request", "", time.Time{}},
			{"POST", "/users/alice/logout", before(math.MinInt64), kind, "", 400, "bad_request", "", time.Time{}},
			{"POST", "/users/alice/logout", before(math.MaxInt64), kind, "", 400, "bad_request", "", time.Time{}},
			{"POST", "/users/alice/logout", before(time.Now().UnixMilli()), kind, "", 400, "bad_request", "", time.Time{}},
			{"POST", "/users/alice/logout", before(time.Now().Unix() + 301), kind, "", 400, "bad_request", "", time.Time{}},
			{"POST", "/users/alice/logout", before(time.Now().Unix() + 300), kind, "", 200, "", "alice", time.Now().Add(5 * time.Minute)}, // a clock that is ahead
		} {
			var user chat.UserID
			var until time.Time
			h := api.Operators(api.NewHealth(works), metrics.New("1111", "test"), func(_ context.Context, u chat.UserID, t time.Time) error {
				user, until = u, t
				return nil
			})
			r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader(c.body))
			for name, value := range map[string]string{"Content-Type": c.kind, "Origin": c.origin} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			var answer struct {
				User   chat.UserID
				Before int64
				Error  struct{ Code, Message string }
			}
			_ = json.Unmarshal(w.Body.Bytes(), &answer) // 405 has no JSON
			if w.Code != c.status || answer.Error.Code != c.code || user != c.user || !until.Equal(c.until) {
				t.Errorf("%+v: %d %s, logged out: %q until %v", c, w.Code, w.Body, user, until)
			}
			if c.status == http.StatusOK && (answer.User != c.user || answer.Before != c.until.Unix()) {
				t.Errorf("%+v: %s", c, w.Body)
			}
		}
	})
}

// Nodes that cannot be told are no success, and the operator may try again.
func TestLogoutNotTold(t *testing.T) {
	h := api.Operators(api.NewHealth(works), metrics.New("1111", "test"), func(context.Context, chat.UserID, time.Time) error {
		return errors.New("dial tcp 10.0.0.7:6379: refused")
	})
	w := ask(h, http.MethodPost, "/users/alice/logout")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "10.0.0.7") {
		t.Errorf("%d %v %s, want 503 with Retry-After and nothing of internals", w.Code, w.Header(), w.Body)
	}
}
