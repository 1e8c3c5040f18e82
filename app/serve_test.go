package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/go-jose/go-jose/v4"
	"github.com/spf13/pflag"

	"github.com/chatring/chatring/app/config"
)

// pipes is a listener without a network, so that a whole node fits into a
// bubble, where time is fake.
type pipes struct {
	conns  chan net.Conn // never closed
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// client speaks to the node; each request has a connection of its own.
func (p *pipes) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			select {
			case p.conns <- there:
				return here, nil
			case <-p.closed:
				return nil, net.ErrClosed
			}
		},
	}}
}

// status is what the node answers to a GET; 0: nothing.
func status(t *testing.T, c *http.Client, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://node"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// A node that is told to stop leaves the ring first and goes on serving for
// the notice; then its members are told to come back and are closed with 1012,
// and it ends.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := config.Load(pflag.NewFlagSet("", pflag.ContinueOnError), "")
		if err != nil {
			t.Fatal(err)
		}
		c.Ops.Listen = ""
		n, err := build(c)
		if err != nil {
			t.Fatal(err)
		}
		n.config.Broker = "redis" // one that stands alone does not wait
		ln := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		told, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.run(told, ln, nil) }()
		client := ln.client()
		socket, resp, err := websocket.Dial(t.Context(), "ws://node/ws/chat/lobby?user=alice", &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body != nil {
			_ = resp.Body.Close()
		}
		defer func() { _ = socket.CloseNow() }()
		heard := make(chan string, 8)
		go func() {
			defer close(heard)
			for {
				_, frame, err := socket.Read(t.Context())
				if err != nil {
					heard <- fmt.Sprint("closed with ", int(websocket.CloseStatus(err)))
					return
				}
				heard <- string(frame)
			}
		}()
		synctest.Wait()
		if got := status(t, client, "/healthz"); got != http.StatusOK {
			t.Errorf("/healthz = %d, want 200", got)
		}
		next := func() string {
			select {
			case f := <-heard:
				return f
			case <-time.After(time.Minute):
				return "nothing"
			}
		}
		for range 2 {
			next() // hello, joined
		}

		stop()
		synctest.Wait()
		if got := status(t, client, "/healthz"); got != http.StatusNotFound {
			t.Errorf("/healthz of a node that was told to stop = %d, want 404", got)
		}
		time.Sleep(c.Drain.Notice - time.Millisecond)
		if err := socket.Write(t.Context(), websocket.MessageText, []byte(`{"id":1,"cmd":"signal","room":"lobby","data":1}`)); err != nil {
			t.Error(err)
		}
		for _, want := range []string{`{"id":1,"ok":{}}`, `{"push":"drain","reconnect_ms":[0,100]}`, "closed with 1012"} {
			if got := next(); got != want {
				t.Errorf("alice hears %s, want %s", got, want)
			}
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A secret that cannot be used is a wrong setting, for whoever looks at the
// settings as for whoever serves.
func TestSecretIsASetting(t *testing.T) {
	none, short := filepath.Join(t.TempDir(), "none"), writeFile(t, []byte("short"))
	for _, verb := range []string{"config", "serve"} {
		for _, setting := range []string{"--auth-secret-file=" + none, "--auth-key-file=" + none, "--auth-secret-file=" + short} {
			if got := run([]string{verb, "--listen=127.0.0.1:0", "--ops-listen=", "--auth-mode=jwt", setting}); got != exitUsage {
				t.Errorf("%s %s exits with %d, want %d", verb, setting, got, exitUsage)
			}
		}
	}
}

// built returns the node that flags ask for.
func built(t *testing.T, flags ...string) *node {
	t.Helper()
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.AddFlags(fs)
	if err := fs.Parse(flags); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(fs, "")
	if err != nil {
		t.Fatal(err)
	}
	n, err := build(c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Profiles are to be had on the operators' port alone.
func TestProfilesAreForOperators(t *testing.T) {
	n := built(t)
	for server, want := range map[*http.Server]int{n.ops: http.StatusOK, n.serving: http.StatusNotFound} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap"} {
			w := httptest.NewRecorder()
			server.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			if w.Code != want {
				t.Errorf("%s: %d, want %d", path, w.Code, want)
			}
		}
	}
}

// A node that is told where its issuer's keys are fetches them by itself, and
// takes its tokens.
func TestNodeFetchesKeys(t *testing.T) {
	private, public := keyPair(t)
	block, _ := pem.Decode([]byte(readDoc(t, public)))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "k1"}}})
	}))
	defer issuer.Close()
	n := built(t, "--ops-listen=", "--auth-jwks-url="+issuer.URL)
	ln := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	told, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.run(told, ln, nil) }()
	token, errs, code := chatring(t, "", "token", "--user=alice", "--private-key", private)
	if code != exitOK {
		t.Fatal(errs)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		socket, resp, err := websocket.Dial(ctx, "ws://node/ws/chat/lobby", &websocket.DialOptions{
			HTTPClient: ln.client(), HTTPHeader: http.Header{"Authorization": {"Bearer " + strings.TrimSpace(token)}},
		})
		if resp != nil && resp.Body != nil {
			_ = resp.Body.Close()
		}
		if err == nil {
			_ = socket.CloseNow()
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the token is not taken: %v", err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
