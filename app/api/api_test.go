package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/api"
	"github.com/chatring/chatring/app/metrics"
)

func ask(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func works(context.Context) error { return nil }

// HAProxy hears 200, and 404 from a node that drains; the log does not matter.
func TestHealthz(t *testing.T) {
	health := api.NewHealth(func(context.Context) error { return errors.New("no log") })
	h := api.Serving("1111", health)
	if w := ask(h, http.MethodGet, "/healthz"); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
		t.Errorf("%d %q, want 200 ok", w.Code, w.Body)
	}
	health.Drain()
	if w := ask(h, http.MethodGet, "/healthz"); w.Code != http.StatusNotFound || w.Body.String() != "draining\n" {
		t.Errorf("%d %q, want 404 draining", w.Code, w.Body)
	}
}

// Whoever asks where a room is hears the node that the ring has sent it to,
// in the body and in a header; a name that is none is refused and not repeated.
func TestShard(t *testing.T) {
	h := api.Serving("1111", api.NewHealth(works))
	w := ask(h, http.MethodGet, "/shard/lobby")
	if w.Code != http.StatusOK || w.Header().Get("X-Shard-Appid") != "1111" || strings.TrimSpace(w.Body.String()) != `{"room":"lobby","shard":"1111"}` {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
	for _, path := range []string{"/shard/a%20b", "/shard/a%0d%0aX:y", "/shard/a%2fb", "/shard/..%2f..%2fetc", "/shard/-a", "/shard/" + strings.Repeat("a", 65)} {
		w := ask(h, http.MethodGet, path)
		var answer struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusBadRequest || answer.Error.Code != "bad_room" {
			t.Errorf("%s: %d %q, want 400 bad_room", path, w.Code, w.Body)
		}
		if len(w.Header()) != 2 {
			t.Errorf("%s: header %v", path, w.Header())
		}
	}
	if w := ask(h, http.MethodPost, "/shard/lobby"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d, want 405", w.Code)
	}
}

// The serving port tells nothing that is for operators.
func TestServingHidesOperators(t *testing.T) {
	h := api.Serving("1111", api.NewHealth(works))
	for _, path := range []string{"/metrics", "/livez", "/readyz", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile", "/admin", "/shard/../metrics"} {
		if w := ask(h, http.MethodGet, path); w.Code == http.StatusOK {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
}

// A node is ready while it serves, degraded without its log, and not ready
// once it drains.
func TestReadyz(t *testing.T) {
	var broken error
	health := api.NewHealth(func(context.Context) error { return broken })
	h := api.Operators(health, metrics.New("1111", "test"), nil)
	expect := func(code int, status, log string) {
		t.Helper()
		w := ask(h, http.MethodGet, "/readyz")
		var got struct{ Status, Log string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if w.Code != code || got.Status != status || got.Log != log {
			t.Errorf("%d %+v, want %d %s %s", w.Code, got, code, status, log)
		}
	}
	expect(200, "ready", "ok")
	broken = errors.New("dial tcp 10.0.0.7:6379: refused")
	expect(200, "degraded", "unavailable")
	if w := ask(h, http.MethodGet, "/readyz"); strings.Contains(w.Body.String(), "10.0.0.7") {
		t.Errorf("%q names internals", w.Body)
	}
	health.Drain()
	expect(503, "draining", "unavailable")
	broken = nil
	expect(503, "draining", "ok")
}

// A log that swallows everything makes /readyz wait for a second only.
func TestReadyzIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		health := api.NewHealth(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		began := time.Now()
		w := ask(api.Operators(health, metrics.New("1111", "test"), nil), http.MethodGet, "/readyz")
		if took := time.Since(began); took != time.Second || !strings.Contains(w.Body.String(), "degraded") {
			t.Errorf("%q after %v, want degraded after 1s", w.Body, took)
		}
	})
}

// Operators hear that the process lives, and its numbers.
func TestOperators(t *testing.T) {
	count := metrics.New("1111", "v1.2.3")
	count.Gateway.Connections.Set(3)
	h := api.Operators(api.NewHealth(works), count, nil)
	if w := ask(h, http.MethodGet, "/livez"); w.Code != http.StatusOK {
		t.Errorf("/livez: %d", w.Code)
	}
	w := ask(h, http.MethodGet, "/metrics")
	for _, want := range []string{`chatring_build_info{appid="1111",version="v1.2.3"} 1`, "chatring_connections 3", "go_goroutines "} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
}

// Operators take profiles, of whatever is asked for; the command line, which may
// hold a password, is not among them.
func TestProfiles(t *testing.T) {
	h := api.Operators(api.NewHealth(works), metrics.New("1111", "test"), nil)
	ended, end := context.WithCancel(t.Context())
	end() // whoever asks has gone: a profile of seconds takes none
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/goroutine": 200, "/debug/pprof/profile": 200,
		"/debug/pprof/trace": 200, "/debug/pprof/cmdline": 404,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ended, http.MethodGet, path, nil))
		if w.Code != want || w.Body.Len() == 0 {
			t.Errorf("%s: %d with %d bytes, want %d", path, w.Code, w.Body.Len(), want)
		}
	}
}

// A page that an operator has open elsewhere takes no profiles; the operator does.
func TestPagesTakeNoProfiles(t *testing.T) {
	h := api.Operators(api.NewHealth(works), metrics.New("1111", "test"), nil)
	for site, want := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200, "": 200} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/pprof/heap", nil)
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", site, w.Code, want)
		}
	}
}
