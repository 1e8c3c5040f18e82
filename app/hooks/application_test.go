package hooks_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/chatring/chatring/app/hooks"
	"github.com/chatring/chatring/app/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Secrets of the tests.
var (
	secret1 = "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("1", 32)))
	secret2 = "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("2", 32)))
)

// secretFile writes secrets, one a line.
func secretFile(t testing.TB, secrets ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(path, []byte(strings.Join(secrets, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An application answers hooks and webhooks, and notes what it was sent.
// Requests without a good signature by its secret are none of its business.
type application struct {
	secret string
	answer http.HandlerFunc

	mu    sync.Mutex
	asked []map[string]any
	ids   []string // the webhook-id of each request
	bad   []error
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = verify(a.secret, body, r.Header)
	}
	var asked map[string]any
	if err == nil {
		err = json.Unmarshal(body, &asked)
	}
	a.mu.Lock()
	if err != nil {
		a.bad = append(a.bad, err)
	}
	a.asked, a.ids = append(a.asked, asked), append(a.ids, r.Header.Get(webhooks.HeaderWebhookID))
	a.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	a.answer(w, r)
}

func verify(secret string, body []byte, h http.Header) error {
	key, err := webhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	return key.Verify(body, h)
}

// heard returns what the application was sent, all of it signed.
func (a *application) heard(t *testing.T) []map[string]any {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, err := range a.bad {
		t.Errorf("a request was not signed: %v", err)
	}
	return append([]map[string]any(nil), a.asked...)
}

// serve runs an application on TCP.
func serve(t *testing.T, answer http.HandlerFunc) (*application, string) {
	t.Helper()
	a := &application{secret: secret1, answer: answer}
	s := httptest.NewServer(a)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return a, s.URL
}

// says answers with a status and a body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// A direct transport calls a handler without a network, so that it can be used
// with fake time. A handler that has not answered when the request's context
// ends has not answered.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.ServeHTTP(w, r)
	}()
	select {
	case <-done:
		return w.Result(), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// asking builds an authorizer that asks one address for everything.
func asking(t *testing.T, url string, change func(*hooks.AuthorizerOptions)) (*hooks.Authorizer, *metrics.Set) {
	t.Helper()
	count := metrics.New("1111", "test")
	o := hooks.AuthorizerOptions{
		ConnectURL: url, JoinURL: url, PublishURL: url, Timeout: 5 * time.Second, Concurrency: 4, SecretFile: secretFile(t, secret1), MaxData: 1000,
	}
	if change != nil {
		change(&o)
	}
	a, err := hooks.NewAuthorizer(o, &count.Hooks)
	if err != nil {
		t.Fatal(err)
	}
	return a, count
}

// quiet is the log of servers of which trouble is expected.
var quiet = log.New(io.Discard, "", 0)

// countNew counts connections as they are opened.
func countNew(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}
