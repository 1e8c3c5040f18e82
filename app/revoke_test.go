package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// The verb asks the port that it is told, says what it is answered, and its
// exit code says whether the nodes are told.
func TestLogoutVerb(t *testing.T) {
	status, asked := http.StatusOK, ""
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 100)
		n, _ := r.Body.Read(body)
		asked = r.Method + " " + r.RequestURI + " " + string(body[:n])
		w.WriteHeader(status)
	}))
	defer ops.Close()
	port := ops.Listener.Addr().String()
	for _, c := range []struct {
		args   string
		status int
		exit   int
		asked  string
	}{
		{"alice --ops " + ops.URL, 200, exitOK, "POST /users/alice/logout "},
		{"auth0|5f/a --ops " + ops.URL + "/", 200, exitOK, "POST /users/auth0%7C5f%2Fa/logout "},
		{".. --ops " + ops.URL, 200, exitOK, "POST /users/%2E%2E/logout "},
		{"alice --before 1763776000 --ops " + ops.URL, 200, exitOK, `POST /users/alice/logout {"before":1763776000}`},
		{"alice --ops-listen " + port, 200, exitOK, "POST /users/alice/logout "},
		{"alice --ops " + ops.URL, 503, exitFailed, "POST /users/alice/logout "},
		{"alice --ops http://127.0.0.1:1", 200, exitFailed, ""},
		{"alice --ops-listen=", 200, exitUsage, ""},
		{"alice --ops ://", 200, exitUsage, ""},
		{"a\tb --ops " + ops.URL, 200, exitUsage, ""},
		{"", 200, exitUsage, ""},
		{"alice bob --ops " + ops.URL, 200, exitUsage, ""},
	} {
		asked, status = "", c.status
		var args []string
		if c.args != "" {
			args = strings.Split(c.args, " ")
		}
		out, errs, got := chatring(t, "", append([]string{"logout"}, args...)...)
		if got != c.exit || asked != c.asked {
			t.Errorf("logout %s: exit %d after %q, want %d after %q", c.args, got, asked, c.exit, c.asked)
		}
		if done := strings.HasSuffix(out, "is logged out everywhere\n"); done != (got == exitOK) {
			t.Errorf("logout %s: exit %d, and it says %q %q", c.args, got, out, errs)
		}
	}
}

// A log-out that the nodes are told closes the user's sockets with 4502, and
// nobody else's.
func TestLogoutClosesSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := built(t)
		ln := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		opsLn := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		told, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.run(told, ln, opsLn) }()
		ends := make(chan string, 3)
		for _, path := range []string{"/ws/chat/lobby?user=alice", "/ws/watch/team?user=alice", "/ws/chat/lobby?user=bob"} {
			socket, resp, err := websocket.Dial(t.Context(), "ws://node"+path, &websocket.DialOptions{HTTPClient: ln.client()})
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body != nil {
				_ = resp.Body.Close()
			}
			defer func() { _ = socket.CloseNow() }()
			go func() {
				for {
					if _, _, err := socket.Read(t.Context()); err != nil {
						ends <- path + ": " + websocket.CloseStatus(err).String()
						return
					}
				}
			}()
		}
		synctest.Wait()
		time.Sleep(time.Second) // the nodes' room is open
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://node/users/alice/logout", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := opsLn.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("the operator is answered with %s", resp.Status)
		}
		synctest.Wait()
		if got := len(ends); got != 2 {
			t.Errorf("%d sockets have ended, want alice's two", got)
		}
		for range len(ends) {
			if got := <-ends; !strings.Contains(got, "alice") || !strings.Contains(got, "4502") {
				t.Errorf("%s, want alice's, with 4502", got)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A node that takes tokens lets nobody in until it has heard who has logged out
// before it started.
func TestUnknownLogouts(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		n := built(t, "--auth-secret-file="+secret)
		ask := func() (int, string) {
			w := httptest.NewRecorder()
			n.gateway.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ws/chat/lobby", nil))
			return w.Code, w.Body.String()
		}
		if got, body := ask(); got != http.StatusServiceUnavailable || !strings.Contains(body, "who has logged out") {
			t.Errorf("before it has heard: %d %s, want 503", got, body)
		}
		ctx, stop := context.WithCancel(t.Context())
		var parts sync.WaitGroup
		for _, run := range []func(context.Context) error{n.hub.Run, n.cluster.Run} {
			parts.Go(func() { _ = run(ctx) })
		}
		time.Sleep(time.Second)
		if got, body := ask(); got != http.StatusUnauthorized {
			t.Errorf("after that: %d %s, want 401", got, body)
		}
		stop()
		parts.Wait()
	})
}
