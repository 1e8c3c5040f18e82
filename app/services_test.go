package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hooks"
)

// A served node takes tokens and listens on a port of this machine, until the test
// ends.
type served struct {
	*testing.T
	address, secret string
}

func serveTokens(t *testing.T, flags ...string) *served {
	t.Helper()
	s := &served{t, "", "--auth-secret-file=" + writeFile(t, bytes.Repeat([]byte("s"), 32))}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = ln.Addr().String()
	n := built(t, append(flags, s.secret, "--ops-listen=")...)
	told, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.run(told, ln, nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *served) token(args ...string) string {
	s.Helper()
	token, errs, code := chatring(s.T, "", append([]string{"token", s.secret}, args...)...)
	if code != exitOK {
		s.Fatalf("no token: %s", errs)
	}
	return strings.TrimSpace(token)
}

// connect opens a socket that hears a room and the inbox, and returns what it hears;
// the last is the error that it ends with.
func (s *served) connect(path, user string) <-chan string {
	s.Helper()
	var socket *websocket.Conn
	deadline := time.Now().Add(30 * time.Second)
	for {
		var err error
		socket, _, err = websocket.Dial(s.Context(), "ws://"+s.address+path, &websocket.DialOptions{Subprotocols: []string{"chatring.v1", "bearer." + s.token("--user="+user)}}) //nolint:bodyclose // a socket has none
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			s.Fatal(err)
		}
	}
	heard := make(chan string, 64)
	go func() {
		for {
			_, frame, err := socket.Read(context.Background())
			if err != nil {
				heard <- err.Error()
				return
			}
			heard <- string(frame)
		}
	}()
	s.Cleanup(func() { _ = socket.CloseNow() })
	return heard
}

// awaits fails unless something like this is heard.
func (s *served) awaits(heard <-chan string, want string) {
	s.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case got := <-heard:
			if strings.Contains(got, want) {
				return
			}
		case <-late:
			s.Fatalf("%s is not heard", want)
		}
	}
}

// The commands of docs/services.md do what it says, with answers of the form that
// stands there, and whoever is connected hears what they say.
func TestServicesDocument(t *testing.T) {
	s := serveTokens(t)
	alice := s.connect("/ws/chat/lobby?inbox=true", "alice")
	s.awaits(alice, `"push":"joined","room":"lobby"`)
	s.awaits(alice, `"push":"joined","room":"@alice"`)
	token := s.token("--user=billing", "--service=publish,notify,read,admin")
	commands := 0
	blocks := strings.Split(readDoc(t, "../docs/services.md"), "\n```")
	for i, block := range blocks {
		script, ok := strings.CutPrefix(block, "sh\n")
		if !ok {
			continue
		}
		if i+2 >= len(blocks) || !strings.HasPrefix(blocks[i+2], "json\n") {
			t.Fatalf("behind %s stands no answer", script)
		}
		want := strings.TrimPrefix(blocks[i+2], "json\n")
		var out, errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", strings.ReplaceAll(script, "localhost:8080", s.address))
		cmd.Env = append(os.Environ(), "TOKEN="+token)
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v %s", script, err, &errs)
		}
		if got, want := forms(t, out.String()), forms(t, want); !slices.Equal(got, want) {
			t.Errorf("%s answers\n%s\nnot of the form\n%s", script, out.String(), strings.Join(want, "\n"))
		}
		commands++
	}
	if commands < 7 {
		t.Errorf("%d commands were run: this test looks in the wrong place", commands)
	}
	for _, want := range []string{
		`"from":"service:billing","key":"order-7"`, `"room":"@alice"`, `{"push":"announcement","from":"service:billing","ts":`, "4510",
	} {
		s.awaits(alice, want)
	}
}

// forms are the lines of a text without what differs from time to time.
func forms(t *testing.T, text string) (lines []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		lines = append(lines, fmt.Sprint(form(v)))
	}
	return lines
}

// form takes positions and times out of a value.
func form(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = form(v[i])
		}
	case map[string]any:
		for name := range v {
			if name == "pos" || name == "ts" || name == "before" {
				v[name] = "…"
				continue
			}
			v[name] = form(v[name])
		}
	}
	return v
}

// A service's token opens no socket, and a user's is none here.
func TestTokensOfServicesAndUsers(t *testing.T) {
	s := serveTokens(t)
	_, resp, err := websocket.Dial(t.Context(), "ws://"+s.address+"/ws/chat/lobby", &websocket.DialOptions{Subprotocols: []string{"chatring.v1", "bearer." + s.token("--user=billing", "--service=publish")}}) //nolint:bodyclose // Dial closes it
	if err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%v %v, want 401", resp, err)
	}
	out, err := exec.CommandContext(t.Context(), "curl", "-s", "http://"+s.address+"/api/users/alice", "-H", "Authorization: Bearer "+s.token("--user=alice")).Output()
	if err != nil || !strings.Contains(string(out), `"code":"forbidden"`) {
		t.Errorf("%s %v, want forbidden", out, err)
	}
}

// A node that does not serve the module api has no such address. One that does
// answers, though it does not know yet whose tokens were revoked.
func TestModuleAPI(t *testing.T) {
	for modules, want := range map[string]int{"chat": http.StatusNotFound, "chat,api": http.StatusServiceUnavailable} {
		n := built(t, "--auth-secret-file="+writeFile(t, bytes.Repeat([]byte("s"), 32)), "--modules="+modules)
		w := httptest.NewRecorder()
		n.serving.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/users/alice", nil))
		if w.Code != want {
			t.Errorf("modules %s: %d %s, want %d", modules, w.Code, w.Body, want)
		}
	}
}

// What nodes tell each other, for services too, is no message that the application
// is told of.
func TestBroadcastsAreNoMessages(t *testing.T) {
	c := built(t).config
	c.Hooks.WebhookURL, c.Hooks.Events, c.Hooks.Rooms = "http://127.0.0.1:1", []string{hooks.MessagePublished}, []string{"*"}
	tells, err := published(c)
	if err != nil {
		t.Fatal(err)
	}
	for room, want := range map[chat.RoomID]bool{"lobby": true, "@alice+bob": true, "@alice": false, "!nodes": false, "!everybody": false} {
		if tells(room) != want {
			t.Errorf("%s: %v, want %v", room, !want, want)
		}
	}
}
