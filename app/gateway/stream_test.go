package gateway_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// An event is a server-sent event, as a browser sees it.
type event struct {
	name, id, data string
	retry          string
	comment        bool // a heartbeat, which browsers do not see
}

// A hearing is a stream as its client has it.
type hearing struct {
	*peer
	response *http.Response
	lines    *bufio.Reader
}

// hears opens a stream; header is lines such as "Last-Event-ID: 1-2\r\n".
func (n *node) hears(t *testing.T, path, header string) *hearing {
	t.Helper()
	h := &hearing{peer: n.connect(t)}
	h.send(fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: node\r\n%s\r\n", path, header))
	resp, err := http.ReadResponse(h.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s %s", path, resp.Status, body)
	}
	h.response, h.lines = resp, bufio.NewReader(resp.Body)
	return h
}

// next returns the next event, comment or time to come back.
func (h *hearing) next() (e event, err error) {
	for {
		line, err := h.lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return e, nil
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "":
			e.comment = true
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data += value
		case "retry":
			e.retry = value
		default:
			return e, fmt.Errorf("field %q", line)
		}
	}
}

// until returns the next event that has a word in its data.
func (h *hearing) until(word string) event {
	h.t.Helper()
	for {
		e, err := h.next()
		if err != nil {
			h.t.Fatalf("waiting for %q: %v", word, err)
		}
		if strings.Contains(e.data, word) {
			return e
		}
	}
}

// ends returns the code of the event "close", behind which the stream ends.
func (h *hearing) ends() (code int) {
	h.t.Helper()
	for {
		e, err := h.next()
		if err != nil {
			h.t.Fatalf("waiting for the end: %v", err)
		}
		if e.name != "close" {
			continue
		}
		var last struct{ Code int }
		if err := json.Unmarshal([]byte(e.data), &last); err != nil {
			h.t.Fatal(err)
		}
		if e, err := h.next(); !errors.Is(err, io.EOF) {
			h.t.Errorf("behind the event close comes %v, %v", e, err)
		}
		return last.Code
	}
}

// post sends commands to a stream, and returns the answer.
func (n *node) post(t *testing.T, path, header, body string) (int, string) {
	t.Helper()
	resp, text := n.connect(t).request(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: node\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", path, header, len(body), body))
	return resp.StatusCode, text
}

const (
	aliceStream = "/sse/chat/lobby?user=alice&stream=alice-0000000000"
	bobStream   = "/sse/chat/lobby?user=bob&stream=bob-000000000000"
)

// A stream says what a socket says: hello, joined, and each message, whose position is
// the event's id, since a browser asks for what follows that.
func TestStream(t *testing.T) {
	n := serve(t)
	h := n.hears(t, aliceStream, "")
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"} {
		if got := h.response.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if e, _ := h.next(); e.retry == "" || e.data != "" {
		t.Errorf("the first thing said is %+v, want when to come back", e)
	}
	if e, _ := h.next(); e.name != "hello" || e.id != "" || !strings.Contains(e.data, `"user":"alice"`) {
		t.Errorf("the first event is %+v, want hello", e)
	}
	if e, _ := h.next(); e.name != "joined" || e.id != "0-0" {
		t.Errorf("the second event is %+v, want joined, at 0-0", e)
	}
	bob := n.join(t, "/ws/chat/lobby?user=bob")
	var ok struct{ Pos string }
	if err := json.Unmarshal(bob.ask(`{"cmd":"publish","room":"lobby","data":{"text":"hi"}}`).Ok, &ok); err != nil {
		t.Fatal(err)
	}
	if e := h.until(`"hi"`); e.name != "" || e.id != ok.Pos || !strings.HasPrefix(e.data, `{"push":"message","room":"lobby","pos":"`+ok.Pos+`","from":"bob"`) {
		t.Errorf("the message comes as %+v, want the default event with the id %s", e, ok.Pos)
	}
}

// Commands come by POST, and their replies go back in order, whatever becomes of each;
// what they bring about is heard on the stream.
func TestStreamCommands(t *testing.T) {
	n := serve(t)
	h := n.hears(t, aliceStream, "")
	status, body := n.post(t, aliceStream, "", `{"id":1,"cmd":"publish","room":"lobby","key":"k1","data":1}
{"id":2,"cmd":"publish","room":"elsewhere","data":2}

{"id":3,"cmd":"publish","room":"lobby","key":"k3","data":3}`)
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	if status != 200 || len(lines) != 3 {
		t.Fatalf("answer %d %q, want three replies", status, body)
	}
	for i, want := range []string{`{"id":1,"ok":{"pos":"`, `{"id":2,"error":{"code":"not_joined"`, `{"id":3,"ok":{"pos":"`} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("reply %d is %s, want %s…", i+1, lines[i], want)
		}
	}
	h.until(`"key":"k1"`)
	h.until(`"key":"k3"`)

	n.post(t, aliceStream, "", `{"id":4,"cmd":"join","room":"another"}`)
	if e := h.until(`"joined","room":"another"`); e.id != "" {
		t.Errorf("another room's position is the event's id: %+v", e)
	}
	n.post(t, aliceStream, "", `{"id":5,"cmd":"publish","room":"another","data":5}`)
	if e := h.until(`"room":"another","pos"`); e.name != "" || e.id != "" {
		t.Errorf("another room's message comes as %+v, want the default event without an id", e)
	}
}

// Commands that are for no stream, or not for this one, are told so.
func TestStreamCommandsRefused(t *testing.T) {
	n := serve(t)
	n.hears(t, aliceStream, "").until("joined")
	many := strings.Repeat(`{"id":1,"cmd":"history","room":"lobby","limit":1}`+"\n", 65)
	for _, c := range []struct {
		what, path, header, body string
		status                   int
		code                     string
	}{
		{"no name", "/sse/chat/lobby?user=alice", "", "", 400, "bad_request"},
		{"an impossible name", "/sse/chat/lobby?user=alice&stream=short", "", "", 400, "bad_request"},
		{"nobody", "/sse/chat/lobby?stream=alice-0000000000", "", "", 401, "unauthorized"},
		{"another user", "/sse/chat/lobby?user=mallory&stream=alice-0000000000", "", "", 404, "no_stream"},
		{"another name", "/sse/chat/lobby?user=alice&stream=alice-0000000001", "", "", 404, "no_stream"},
		{"another address", "/sse/chat/another?user=alice&stream=alice-0000000000", "", "", 404, "no_stream"},
		{"a foreign page", aliceStream, "Origin: https://evil.example\r\n", "", 403, "forbidden"},
		{"too much", aliceStream, "", strings.Repeat(" ", 64<<10+1), 413, "too_large"},
		{"too long a command", aliceStream, "", `{"id":1,"cmd":"publish","room":"lobby","data":"` + strings.Repeat("x", 16<<10) + `"}`, 413, "too_large"},
		{"too many", aliceStream, "", many, 413, "too_large"},
	} {
		status, body := n.post(t, c.path, c.header, c.body)
		if status != c.status || !strings.Contains(body, `"code":"`+c.code+`"`) {
			t.Errorf("%s: %d %s, want %d %s", c.what, status, body, c.status, c.code)
		}
	}
	if status, body := n.post(t, aliceStream, "", strings.Join(strings.SplitAfter(many, "\n")[:64], "")); status != 200 || strings.Count(body, "\n") != 64 {
		t.Errorf("64 commands: %d, %d replies", status, strings.Count(body, "\n"))
	}
	for _, method := range []string{"PUT", "DELETE"} {
		resp, _ := n.connect(t).request(method + " /sse/chat/lobby?user=alice HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
		if resp.StatusCode != 405 || resp.Header.Get("Allow") == "" {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
}

// Who comes back by Last-Event-ID hears what was said meanwhile, each message once, and
// nothing from before.
func TestStreamResumes(t *testing.T) {
	n := serve(t)
	h := n.hears(t, aliceStream, "")
	h.until("joined")
	bob := n.join(t, "/ws/chat/lobby?user=bob")
	bob.echoes("m0")
	last := h.until("m0").id
	for i := range 3 {
		_ = h.Close()
		bob.echoes(fmt.Sprintf("away%d", i))
		bob.echoes(fmt.Sprintf("gone%d", i))
		h = n.hears(t, aliceStream+"&since=0-0", "Last-Event-ID: "+last+"\r\n")
		if e := h.until("joined"); !strings.Contains(e.data, `"recovered":true,"missed":2`) || e.id != "" {
			t.Errorf("joined as %+v, want two messages missed, and none passed over", e)
		}
		for _, want := range []string{"away", "gone"} {
			e, err := h.next()
			if err != nil || !strings.Contains(e.data, fmt.Sprint(want, i)) {
				t.Fatalf("heard %+v, want %s%d", e, want, i)
			}
			last = e.id
		}
	}
	status, body := n.get(t, aliceStream, "Last-Event-ID: yesterday\r\n")
	if status != 400 || !strings.Contains(body, `"code":"bad_position"`) {
		t.Errorf("Last-Event-ID that is no position: %d %s", status, body)
	}
}

// get asks for what is refused.
func (n *node) get(t *testing.T, path, header string) (int, string) {
	t.Helper()
	resp, body := n.connect(t).request("GET " + path + " HTTP/1.1\r\nHost: node\r\nConnection: close\r\n" + header + "\r\n")
	return resp.StatusCode, body
}

// A stream that goes is left at once: its member leaves, its place is free, commands
// find it no more.
func TestStreamGoes(t *testing.T) {
	n := serve(t)
	h := n.hears(t, aliceStream, "")
	h.until("joined")
	bob := n.join(t, "/ws/chat/lobby?user=bob&members=true")
	_ = h.Close()
	if f := bob.hear("member"); f.Push != "member" {
		t.Errorf("heard %+v", f)
	}
	eventually(t, "the stream's place to be free", func() bool { return n.counted(t, "chatring_connections", "") == 1 })
	if status, body := n.post(t, aliceStream, "", `{"id":1,"cmd":"history","room":"lobby"}`); status != 404 {
		t.Errorf("commands for a stream that has gone: %d %s", status, body)
	}
	if got := n.counted(t, "chatring_closed_total", "client"); got != 1 {
		t.Errorf("%v closed by clients, want 1", got)
	}
}

// A stream of the same name takes the place of the one before, which is told not to
// come back.
func TestStreamReplaced(t *testing.T) {
	n := serve(t)
	before := n.hears(t, aliceStream, "")
	before.until("joined")
	other := n.hears(t, bobStream, "") // of the same name, if it were not another user's
	after := n.hears(t, aliceStream, "")
	after.until("joined")
	if code := before.ends(); code != 1008 {
		t.Errorf("the stream before was closed with %d, want 1008", code)
	}
	if status, body := n.post(t, aliceStream, "", `{"id":1,"cmd":"publish","room":"lobby","data":"x"}`); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	after.until(`"x"`)
	other.until(`"x"`)
}
