package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// request is a handshake with lines taken out (those that begin with a word of
// without) and added.
func request(path string, without []string, lines ...string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(fmt.Sprintf(handshake, path), "\r\n") {
		keep := line != ""
		for _, w := range without {
			keep = keep && !strings.HasPrefix(line, w)
		}
		if keep {
			b.WriteString(line + "\r\n")
		}
	}
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	return b.String() + "\r\n"
}

// What cannot become a socket is answered in plain HTTP, with a status, the
// headers that go with it, and a body for programs.
func TestRefusals(t *testing.T) {
	n := serve(t, func(s *setup) { s.gateway.Origins = []string{"https://good.example"} })
	const lobby = "/ws/chat/lobby?user=alice"
	for _, c := range []struct {
		name    string
		request string
		status  int
		code    string
		header  string
	}{
		{"a GET that is no handshake", request(lobby, []string{"Connection", "Upgrade"}), 426, "bad_request", "Upgrade: websocket"},
		{"an upgrade to something else", request(lobby, []string{"Upgrade"}, "Upgrade: h2c"), 426, "bad_request", "Upgrade: websocket"},
		{"version 8", request(lobby, []string{"Sec-WebSocket-Version"}, "Sec-WebSocket-Version: 8"), 426, "bad_request", "Sec-Websocket-Version: 13"},
		{"no version", request(lobby, []string{"Sec-WebSocket-Version"}), 426, "bad_request", "Sec-Websocket-Version: 13"},
		{"POST", strings.Replace(request(lobby, nil), "GET", "POST", 1), 405, "bad_request", "Allow: GET"},
		{"HTTP/1.0", strings.Replace(request(lobby, nil), "HTTP/1.1", "HTTP/1.0", 1), 400, "bad_request", ""},
		{"no key", request(lobby, []string{"Sec-WebSocket-Key"}), 400, "bad_request", ""},
		{"a key that is no base64", request(lobby, []string{"Sec-WebSocket-Key"}, "Sec-WebSocket-Key: bad"), 400, "bad_request", ""},
		{"a key of 15 bytes", request(lobby, []string{"Sec-WebSocket-Key"}, "Sec-WebSocket-Key: YWFhYWFhYWFhYWFhYWFh"), 400, "bad_request", ""},
		{"two keys", request(lobby, nil, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, "bad_request", ""},
		{"a body", request(lobby, nil, "Content-Length: 4") + "{}{}", 400, "bad_request", ""},
		{"a chunked body", request(lobby, nil, "Transfer-Encoding: chunked") + "0\r\n\r\n", 400, "bad_request", ""},
		{"two lengths of a body", request(lobby, nil, "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400, "bad_request", ""},
		{"another subprotocol only", request(lobby, nil, "Sec-WebSocket-Protocol: soap"), 400, "bad_request", ""},
		{"another version's subprotocol", request(lobby, nil, "Sec-WebSocket-Protocol: chatring.v2, bearer.x"), 400, "bad_request", ""},
		{"nobody", request("/ws/chat/lobby", nil), 401, "unauthorized", "Www-Authenticate: Bearer"},
		{"a user with a space", request("/ws/chat/lobby?user=a%20b", nil), 401, "unauthorized", "Www-Authenticate: Bearer"},
		{"a foreign page", request(lobby, nil, "Origin: https://evil.example"), 403, "forbidden", ""},
		{"a room with a line break", request("/ws/chat/a%0d%0aSet-Cookie:x?user=alice", nil), 400, "bad_room", ""},
		{"a room with a slash", request("/ws/chat/..%2fadmin?user=alice", nil), 400, "bad_room", ""},
		{"a room of braces", request("/ws/chat/%7Ba%7D?user=alice", nil), 400, "bad_room", ""},
		{"a room of 65 letters", request("/ws/chat/"+strings.Repeat("a", 65)+"?user=alice", nil), 400, "bad_room", ""},
		{"a room that is no UTF-8", request("/ws/chat/%ff?user=alice", nil), 400, "bad_room", ""},
		{"since something", request(lobby+"&since=yesterday", nil), 400, "bad_position", ""},
		{"echo perhaps", request(lobby+"&echo=perhaps", nil), 400, "bad_request", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := n.connect(t).request(c.request)
			var answer struct {
				Error struct{ Code, Message string } `json:"error"`
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Errorf("body %q: %v", body, err)
			}
			if resp.StatusCode != c.status || answer.Error.Code != c.code || answer.Error.Message == "" {
				t.Errorf("%d %s, want %d with code %s and a message", resp.StatusCode, body, c.status, c.code)
			}
			if name, value, ok := strings.Cut(c.header, ": "); ok && resp.Header.Get(name) != value {
				t.Errorf("%s: %q, want %q", name, resp.Header.Get(name), value)
			}
			if got := resp.Header.Get("Set-Cookie"); got != "" {
				t.Errorf("Set-Cookie: %s", got)
			}
			if got := resp.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type: %s", got)
			}
		})
	}
	if got := n.counted(t, "chatring_connections", ""); got != 0 {
		t.Errorf("%v connections", got)
	}
}

// What follows a handshake with a body is not read as another request: where the
// body ends is doubtful.
func TestBodyEndsConnection(t *testing.T) {
	p := serve(t).connect(t)
	resp, body := p.request(request("/ws/chat/lobby?user=alice", nil, "Content-Length: 64", "Transfer-Encoding: chunked") + "0\r\n\r\n" + request("/ws/chat/lobby?user=mallory", nil))
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("%s %s, want 400", resp.Status, body)
	}
	if rest, err := io.ReadAll(p.r); len(rest) > 0 {
		t.Errorf("behind the answer come %q, %v", rest, err)
	}
}

// Handshakes that are right in an unusual way are accepted.
func TestUnusualHandshakes(t *testing.T) {
	n := serve(t)
	const lobby = "/ws/chat/lobby?user=alice"
	for _, c := range []struct{ name, request string }{
		{"Connection in two lines", request(lobby, []string{"Connection"}, "Connection: keep-alive", "Connection: upgrade")},
		{"Connection as a list", request(lobby, []string{"Connection"}, "Connection: keep-alive, Upgrade")},
		{"Upgrade in capitals", request(lobby, []string{"Upgrade"}, "Upgrade: WebSocket")},
		{"Upgrade as a list", request(lobby, []string{"Upgrade"}, "Upgrade: h2c, websocket")},
		{"subprotocols in two lines", request(lobby, nil, "Sec-WebSocket-Protocol: bearer.x", "Sec-WebSocket-Protocol: chatring.v1")},
		{"compression is offered", request(lobby, nil, "Sec-WebSocket-Extensions: permessage-deflate")},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := n.connect(t)
			resp, body := p.request(c.request)
			if resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%s %s", resp.Status, body)
			}
			if got := resp.Header.Get("Sec-Websocket-Extensions"); got != "" {
				t.Errorf("Sec-WebSocket-Extensions: %s", got)
			}
			if got, want := resp.Header.Get("Sec-Websocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; got != want {
				t.Errorf("Sec-WebSocket-Accept: %s, want %s (RFC 6455 §1.3)", got, want)
			}
			p.hear("joined")
		})
	}
}

// witness accepts everybody and notes what was shown.
type witness struct {
	mu   sync.Mutex
	seen auth.Credentials
}

func (w *witness) Authenticate(c auth.Credentials) (auth.Identity, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = c
	return auth.Identity{User: "alice", Rights: chat.AllRights{}}, nil
}

// The subprotocol is answered when it is offered; a token comes in a header or
// as a second subprotocol, which is never answered.
func TestSubprotocol(t *testing.T) {
	w := &witness{}
	n := serve(t, func(s *setup) { s.auth = w })
	for _, c := range []struct{ name, header, answer, token string }{
		{"none", "X: x", "", ""},
		{"ours", "Sec-WebSocket-Protocol: chatring.v1", "chatring.v1", ""},
		{"ours after another", "Sec-WebSocket-Protocol: soap, chatring.v1", "chatring.v1", ""},
		{"ours and a token", "Sec-WebSocket-Protocol: chatring.v1, bearer.a.b.c", "chatring.v1", "a.b.c"},
		{"a token first", "Sec-WebSocket-Protocol: bearer.a.b.c,chatring.v1", "chatring.v1", "a.b.c"},
		{"a token in a header", "Authorization: Bearer a.b.c", "", "a.b.c"},
		{"a token in a header, scheme in small letters", "authorization: bearer a.b.c", "", "a.b.c"},
		{"another scheme", "Authorization: Basic a.b.c", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := n.connect(t)
			resp, body := p.request(request("/ws/chat/lobby", nil, c.header))
			if resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%s %s", resp.Status, body)
			}
			if got := resp.Header.Get("Sec-Websocket-Protocol"); got != c.answer {
				t.Errorf("Sec-WebSocket-Protocol: %q, want %q", got, c.answer)
			}
			if w.seen.Token != c.token {
				t.Errorf("token %q, want %q", w.seen.Token, c.token)
			}
		})
	}
}

// A page may connect when it is the host's own, or is named exactly.
func TestOrigin(t *testing.T) {
	n := serve(t, func(s *setup) { s.gateway.Origins = []string{"https://good.example"} })
	for _, c := range []struct {
		headers []string
		want    int
	}{
		{nil, 101},
		{[]string{"Origin: https://good.example"}, 101},
		{[]string{"Origin: http://node"}, 101},
		{[]string{"Origin: https://node"}, 101},
		{[]string{"Origin: http://NODE"}, 101},
		{[]string{"Origin: https://evil.example"}, 403},
		{[]string{"Origin: http://good.example"}, 403},
		{[]string{"Origin: https://good.example:8443"}, 403},
		{[]string{"Origin: https://good.example."}, 403},
		{[]string{"Origin: https://good.example.evil.com"}, 403},
		{[]string{"Origin: https://goodexample.com"}, 403},
		{[]string{"Origin: https://evil.example/https://good.example"}, 403},
		{[]string{"Origin: http://node.evil.com"}, 403},
		{[]string{"Origin: http://node:80"}, 403},
		{[]string{"Origin: file://node"}, 403},
		{[]string{"Origin: null"}, 403},
		{[]string{"Origin:"}, 403},
		{[]string{"Origin: https://good.example", "Origin: https://evil.example"}, 403},
	} {
		resp, _ := n.connect(t).request(request("/ws/chat/lobby?user=alice", nil, c.headers...))
		if resp.StatusCode != c.want {
			t.Errorf("%q: %d, want %d", c.headers, resp.StatusCode, c.want)
		}
	}
}

// The address says how its room is joined.
func TestJoinByAddress(t *testing.T) {
	n := serve(t)
	alice := n.join(t, "/ws/chat/lobby?user=alice")
	var ok struct{ Pos string }
	if err := json.Unmarshal(alice.ask(`{"cmd":"publish","room":"lobby","data":1}`).Ok, &ok); err != nil {
		t.Fatal(err)
	}
	alice.ask(`{"cmd":"publish","room":"lobby","data":2}`)

	p := n.upgraded(t, "/ws/chat/lobby?user=bob&echo=false&members=true&since="+ok.Pos, "")
	if got := p.hear("joined"); !strings.Contains(got, `"recovered":true,"missed":1`) {
		t.Errorf("heard %s, want one missed message", got)
	}
	p.hear(`"data":2}`)
	n.join(t, "/ws/chat/lobby?user=carol")
	p.hear(`{"push":"member","room":"lobby","user":"carol","event":"join"}`)
	p.send(masked(fin|text, `{"id":1,"cmd":"publish","room":"lobby","data":"mine"}`))
	for {
		if b := string(p.until(text)); strings.Contains(b, `"id":1`) {
			break
		} else if strings.Contains(b, "mine") {
			t.Errorf("echo=false, and heard %s", b)
		}
	}
}

// A watcher hears the room, says nothing, and is not present.
func TestWatch(t *testing.T) {
	n := serve(t)
	w := n.join(t, "/ws/watch/lobby?user=watcher")
	for _, command := range []string{
		`{"cmd":"publish","room":"lobby","data":1}`,
		`{"cmd":"signal","room":"lobby","data":1}`,
	} {
		if f := w.ask(command); f.Error == nil || f.Error.Code != string(protocol.Forbidden) {
			t.Errorf("%s: %+v, want %s", command, f, protocol.Forbidden)
		}
	}
	alice := n.join(t, "/ws/chat/lobby?user=alice")
	if got, want := string(alice.ask(`{"cmd":"presence","room":"lobby"}`).Ok), `{"users":[{"user":"alice","sessions":1}],"total":1,"watchers":1,"complete":true}`; got != want {
		t.Errorf("presence = %s, want %s", got, want)
	}
	alice.ask(`{"cmd":"publish","room":"lobby","data":"hi"}`)
	if f := w.hear("message"); f.From != "alice" {
		t.Errorf("watcher heard %+v", f)
	}
}

// However many knock at once, no more get in than there are places, and a
// place that is given up is given away again.
func TestMaxConnections(t *testing.T) {
	const places = 5
	n := serve(t, func(s *setup) { s.gateway.MaxConnections = places })
	var mu sync.Mutex
	var in []*peer
	var out int
	var knocking sync.WaitGroup
	for i := range 4 * places {
		p := n.connect(t)
		knocking.Go(func() {
			resp, _ := p.request(request(fmt.Sprintf("/ws/chat/lobby?user=u%d", i), nil))
			mu.Lock()
			defer mu.Unlock()
			switch resp.StatusCode {
			case http.StatusSwitchingProtocols:
				in = append(in, p)
			case http.StatusServiceUnavailable:
				if resp.Header.Get("Retry-After") != "" {
					out++
				}
			}
		})
	}
	knocking.Wait()
	if len(in) != places || out != 3*places {
		t.Fatalf("%d got in and %d were told to come back, want %d and %d", len(in), out, places, 3*places)
	}
	_ = in[0].Close()
	eventually(t, "the place of the one who left", func() bool {
		resp, _ := n.connect(t).request(request("/ws/chat/lobby?user=late", nil))
		return resp.StatusCode == http.StatusSwitchingProtocols
	})
}

// A gateway that refuses goes on serving those it has.
func TestRefuse(t *testing.T) {
	n := serve(t)
	alice := n.join(t, "/ws/chat/lobby?user=alice")
	n.Refuse()
	resp, body := n.connect(t).request(request("/ws/chat/lobby?user=bob", nil))
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s, want 503 with Retry-After", resp.Status, body)
	}
	alice.echoes("served")
}

// leaving is a node that is told to go away while it asks who a client is.
type leaving struct{ node *node }

func (l *leaving) Authenticate(c auth.Credentials) (auth.Identity, error) {
	l.node.Refuse()
	return auth.Dev{}.Authenticate(c)
}

// Hello is the first push even of a connection that comes too late to be
// served: it stands in the outbox before a drain can find the connection.
func TestHelloIsFirst(t *testing.T) {
	var l leaving
	l.node = serve(t, func(s *setup) { s.auth = &l })
	p := l.node.upgraded(t, "/ws/chat/lobby?user=alice", "")
	if got, want := string(p.until(text)), `{"push":"hello","user":"alice",`; !strings.HasPrefix(got, want) {
		t.Errorf("first push = %s, want %s…", got, want)
	}
	p.closedWith(1012)
}

// panicking is an authenticator with a bug for mallory.
type panicking struct{}

func (panicking) Authenticate(c auth.Credentials) (auth.Identity, error) {
	if c.User == "mallory" {
		panic("a bug")
	}
	return auth.Dev{}.Authenticate(c)
}

// A request that ends in a panic gives its place back.
func TestPanicGivesPlaceBack(t *testing.T) {
	n := serve(t, func(s *setup) { s.auth, s.gateway.MaxConnections = panicking{}, 1 })
	for range 3 {
		p := n.connect(t)
		p.send([]byte(request("/ws/chat/lobby?user=mallory", nil)))
		if _, err := p.r.ReadByte(); err == nil {
			t.Error("answered")
		}
	}
	n.join(t, "/ws/chat/lobby?user=alice").echoes("served")
}
