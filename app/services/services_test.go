package services_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/services"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tokens are read as they are: a name, scopes, and patterns of the rooms that may
// be written (all, if there are none), such as "billing publish,notify team-* @*".
// One without scopes is a user's.
type tokens struct{}

type patterns []string

func (p patterns) Access(room chat.RoomID) chat.Access {
	for _, pattern := range p {
		if ok, _ := path.Match(pattern, string(room)); ok {
			return chat.Write
		}
	}
	return chat.NoAccess
}

func (tokens) Authenticate(c auth.Credentials) (auth.Identity, error) {
	words := strings.Fields(c.Token)
	switch {
	case c.Token == "keys are missing":
		return auth.Identity{}, auth.ErrUnavailable
	case len(words) == 0:
		return auth.Identity{}, fmt.Errorf("%w: a token is needed", auth.ErrRefused)
	case len(words) == 1:
		return auth.Dev{}.Authenticate(auth.Credentials{User: words[0]})
	}
	id, err := auth.Dev{}.Authenticate(auth.Credentials{Service: words[0]})
	if err != nil {
		return id, err
	}
	if id.Service, err = auth.ParseScopes(strings.Split(words[1], ",")); err != nil {
		return id, fmt.Errorf("%w: %w", auth.ErrRefused, err)
	}
	if len(words) > 2 {
		id.Rights = patterns(words[2:])
	}
	return id, nil
}

// everything is a token of a service that may do everything.
const everything = "billing publish,notify,read,admin"

// nodes hear what is told to all of them.
type nodes struct {
	mu   sync.Mutex
	told []string
	err  error
}

func (n *nodes) tell(format string, args ...any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err == nil {
		n.told = append(n.told, fmt.Sprintf(format, args...))
	}
	return n.err
}

func (n *nodes) Announce(_ context.Context, d chat.Draft) error {
	return n.tell("announce %s %s %s", d.From, d.Key, d.Body)
}

func (n *nodes) Disconnect(_ context.Context, user chat.UserID, code protocol.CloseCode) error {
	return n.tell("disconnect %s %d", user, code)
}

func (n *nodes) LogOut(_ context.Context, user chat.UserID, until time.Time) error {
	return n.tell("log out %s %d", user, until.Unix())
}

// A scene is two nodes, one of which is asked.
type scene struct {
	*testing.T
	brokers *membroker.Cluster
	hub     *hub.Hub // of the node that is asked
	other   *hub.Hub
	nodes   *nodes
	revoked services.Revoked
	opts    services.Options
	count   *metrics.Set
	handler http.Handler
}

// play builds a scene, as changes want it, and runs it until the test ends.
func play(t *testing.T, changes ...func(*scene)) *scene {
	t.Helper()
	s := &scene{T: t, brokers: membroker.New(), nodes: &nodes{}, count: metrics.New("1111", "test"), opts: services.Options{
		InFlight: 8, MaxData: 1024, QueueBytes: 1 << 20, Timeout: 4 * time.Second,
	}}
	s.hub, s.other = s.node("1111"), s.node("2222")
	for _, change := range changes {
		change(s)
	}
	s.handler = services.New(s.hub, s.nodes, tokens{}, s.revoked, s.opts, &s.count.Services).Handler()
	return s
}

func (s *scene) node(appid string) *hub.Hub {
	h := hub.New(s.brokers.Node(appid), hub.Options{
		Window: 16, WindowBudget: 1 << 20, Linger: time.Minute, RetentionAge: time.Hour,
		OpenTimeout: time.Second, FillGrace: 10 * time.Millisecond, Node: appid,
	}, &metrics.New(appid, "test").Hub)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := h.Run(ctx); err != nil {
			s.Errorf("Run = %v", err)
		}
	})
	s.Cleanup(func() {
		stop()
		running.Wait()
	})
	return h
}

// A listener is a session that hears a room.
type listener struct {
	mu     sync.Mutex
	frames []string
}

func (l *listener) Send(b protocol.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range b.Frames() {
		l.frames = append(l.frames, string(f.JSON()))
	}
}

func (l *listener) Recover(batches []protocol.Batch) {
	for _, b := range batches {
		l.Send(b)
	}
}

// joins makes a user a member of a room on a node.
func (s *scene) joins(h *hub.Hub, user chat.UserID, room chat.RoomID, watch bool) *listener {
	s.Helper()
	l := &listener{}
	m, err := h.Join(s.Context(), room, hub.Join{User: user, Receiver: l, Watch: watch})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(m.Leave)
	return l
}

// online makes a user hear the inbox on a node.
func (s *scene) online(h *hub.Hub, user chat.UserID) *listener {
	s.Helper()
	return s.joins(h, user, chat.Inbox(user), false)
}

// An answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t    *testing.T
	said map[string]any
}

// ask sends a request with a token that may do everything, and headers as
// "Name: value", of which an empty value takes one out.
func (s *scene) ask(method, address, body string, headers ...string) answer {
	s.Helper()
	r := httptest.NewRequestWithContext(s.Context(), method, address, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+everything)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Del(name)
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	return s.send(r)
}

func (s *scene) send(r *http.Request) answer {
	s.Helper()
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	a := answer{w, s.T, nil}
	if err := json.Unmarshal(w.Body.Bytes(), &a.said); err != nil {
		s.Errorf("%s %s: %d %q is no JSON", r.Method, r.URL, w.Code, w.Body)
	}
	if kind := w.Header().Get("Content-Type"); kind != "application/json" {
		s.Errorf("%s %s: Content-Type %q", r.Method, r.URL, kind)
	}
	conforms(s.T, r, w)
	return a
}

// refused expects a status and an error's code.
func (a answer) refused(status int, code string) answer {
	a.t.Helper()
	e, _ := a.said["error"].(map[string]any)
	if message, _ := e["message"].(string); a.Code != status || e["code"] != code || message == "" || len(a.said) != 1 {
		a.t.Errorf("%d %.300s, want %d %s", a.Code, a.Body, status, code)
	}
	temporary := status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
	after, wait := a.Header().Get("Retry-After"), e["retry_after_ms"] != nil
	if e["temporary"] == true != temporary || wait != temporary || (after != "") != temporary {
		a.t.Errorf("%d %s with Retry-After %q, want temporary and when to try again: %v", a.Code, a.Body, after, temporary)
	}
	return a
}

// says expects 200 and an answer with these fields, and perhaps others: those whose
// value is "*" need only be there.
func (a answer) says(want string) answer {
	a.t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(want), &fields); err != nil {
		a.t.Fatalf("%s: %v", want, err)
	}
	if a.Code != http.StatusOK {
		a.t.Fatalf("%d %.300s, want %s", a.Code, a.Body, want)
	}
	for name, value := range fields {
		got, there := a.said[name]
		if !there || value != "*" && compact(got) != compact(value) {
			a.t.Errorf("%s is %s, want %s: %.600s", name, compact(got), compact(value), a.Body)
		}
	}
	return a
}

func (a answer) field(name string) string {
	s, _ := a.said[name].(string)
	return s
}

func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// heard returns the messages that a listener has heard, as they were said.
func (l *listener) heard(t *testing.T) (all []chat.Publication) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.frames {
		if !strings.Contains(f, `"push":"message"`) {
			continue
		}
		p, err := protocol.ParseMessage(protocol.Relay([]byte(f)))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// kept returns what the log of a room has.
func (s *scene) kept(room chat.RoomID) []string {
	s.Helper()
	frames, _, err := s.hub.History(s.Context(), room, hub.Range{Limit: protocol.MaxHistory})
	if err != nil {
		s.Fatal(err)
	}
	var all []string
	for _, f := range frames {
		p, err := protocol.ParseMessage(f)
		if err != nil {
			s.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %s %s", p.From, p.Key, bytes.TrimSpace(p.Body)))
	}
	return all
}
