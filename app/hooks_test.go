package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const hookSecret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// receiver runs the receiver of docs/hooks.md until the test ends, and returns its
// address and the lines that it prints.
func receiver(t *testing.T) (address string, printed <-chan string) {
	t.Helper()
	_, block, ok := strings.Cut(readDoc(t, "../docs/hooks.md"), "```go\n")
	if !ok {
		t.Fatal("docs/hooks.md has no receiver")
	}
	source, _, _ := strings.Cut(block, "```")
	if lines := strings.Count(source, "\n"); lines > 40 {
		t.Errorf("the receiver has %d lines: it is to be short", lines)
	}
	binary := filepath.Join(t.TempDir(), "receiver")
	if err := os.WriteFile(binary+".go", []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, binary+".go").CombinedOutput(); err != nil {
		t.Fatalf("the receiver cannot be built: %v\n%s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = ln.Addr().String()
	_ = ln.Close()
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = []string{"LISTEN=" + address, "SECRET=" + hookSecret}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() { _ = cmd.Wait() })
	for late := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return address, lines
		}
		if time.Now().After(late) {
			t.Fatal("the receiver does not listen")
		}
	}
}

// The receiver of docs/hooks.md decides who may do what on a node, and is told of
// what happens there.
func TestReceiverOfTheDocument(t *testing.T) {
	address, printed := receiver(t)
	url := "http://" + address
	s := serveTokens(t, "--hooks-secret-file="+writeFile(t, []byte(hookSecret)),
		"--hooks-connect-url="+url+"/asked", "--hooks-join-url="+url+"/asked", "--hooks-publish-url="+url+"/asked",
		"--hooks-webhook-url="+url+"/told", "--hooks-events=user_online,user_offline,room_occupied,message_published", "--hooks-rooms=lobby")
	heard := s.connect("/ws/chat/lobby?inbox=true", "alice")
	s.awaits(heard, `"push":"joined","room":"@alice"`)

	if status, body := s.handshake("/ws/chat/lobby", "spammer"); status != 403 || !strings.Contains(body, `"message":"no spam, please"`) {
		t.Errorf("a spammer's handshake is answered with %d %s", status, body)
	}
	bob := s.dial("/ws/chat/lobby", "bob")
	for command, want := range map[string]string{
		`{"id":1,"cmd":"join","room":"spam"}`:                         `{"id":1,"error":{"code":"forbidden","message":"no spam, please"}}`,
		`{"id":2,"cmd":"publish","room":"lobby","data":"spam"}`:       `{"id":2,"error":{"code":"forbidden","message":"no spam, please"}}`,
		`{"id":3,"cmd":"join","room":"team"}`:                         `{"id":3,"ok":{`,
		`{"id":4,"cmd":"publish","room":"lobby","key":"k","data":42}`: `{"id":4,"ok":{`,
	} {
		if got := bob.ask(command); !strings.HasPrefix(got, want) {
			t.Errorf("%s is answered with %s, want %s", command, got, want)
		}
	}
	bob.ask(`{"id":5,"cmd":"publish","room":"team","data":"not told"}`)

	want := []string{`user_online alice`, `room_occupied lobby`, `room_occupied team`, `message_published lobby bob k 42`}
	late := time.After(time.Minute)
	for len(want) > 0 {
		select {
		case line := <-printed:
			event := short(t, line)
			i := slices.Index(want, event)
			if i < 0 {
				t.Fatalf("told %s, want one of %q", line, want)
			}
			want = slices.Delete(want, i, i+1)
		case <-late:
			t.Fatalf("not told: %q", want)
		}
	}
}

// short is an event without its time and position.
func short(t *testing.T, line string) string {
	t.Helper()
	var e struct {
		Type string
		Data struct {
			Room, User, From, Key string
			Data                  json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return strings.Join(strings.Fields(fmt.Sprint(e.Type, " ", e.Data.User, " ", e.Data.Room, " ", e.Data.From, " ", e.Data.Key, " ", string(e.Data.Data))), " ")
}

// handshake asks for a socket by plain HTTP and returns the refusal.
func (s *served) handshake(path, user string) (status int, body string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "http://"+s.address+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token("--user="+user))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// A talker is a socket that gives commands.
type talker struct {
	s      *served
	socket *websocket.Conn
}

func (s *served) dial(path, user string) *talker {
	s.Helper()
	socket, _, err := websocket.Dial(s.Context(), "ws://"+s.address+path, &websocket.DialOptions{Subprotocols: []string{"chatring.v1", "bearer." + s.token("--user="+user)}}) //nolint:bodyclose // a socket has none
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = socket.CloseNow() })
	return &talker{s, socket}
}

// ask gives a command and returns its reply.
func (t *talker) ask(command string) string {
	t.s.Helper()
	ctx, cancel := context.WithTimeout(t.s.Context(), 30*time.Second)
	defer cancel()
	if err := t.socket.Write(ctx, websocket.MessageText, []byte(command)); err != nil {
		t.s.Fatal(err)
	}
	for {
		_, frame, err := t.socket.Read(ctx)
		if err != nil {
			t.s.Fatalf("%s: %v", command, err)
		}
		if strings.HasPrefix(string(frame), `{"id":`) {
			return string(frame)
		}
	}
}
