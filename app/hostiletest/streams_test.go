package hostiletest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

func (s *scene) streamPath() string { return "/sse/chat/" + s.room + "?user=" + s.user }

// stream opens a stream, whose lines its body has.
func (s *scene) stream(door, path string, headers ...string) (*http.Response, *bufio.Reader) {
	s.Helper()
	p := Connect(s.T, s.from, door)
	p.Send([]byte(request("GET", path, "", headers...)))
	resp, err := http.ReadResponse(p.r, nil)
	if err != nil {
		s.Fatal(err)
	}
	return resp, bufio.NewReader(resp.Body)
}

// hearLine reads lines until one has a word.
func (s *scene) hearLine(lines *bufio.Reader, word string) {
	s.Helper()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			s.Fatalf("waiting for %s: %v", word, err)
		}
		if strings.Contains(line, word) {
			return
		}
	}
}

func oddEventIDs(s *scene) {
	for _, odd := range []string{"yesterday", "-1-1", "1", "18446744073709551616-0", "1-1, 2-2", "01-1", "1-1\x7f", "$", "%0a1-1"} {
		want := answer{400, "bad_position"}
		if strings.Contains(odd, "\x7f") {
			want.code = "" // neither reads it as a header
		}
		s.refusesEverywhere(odd, request("GET", s.streamPath(), "", "Last-Event-ID: "+odd), want)
	}
	for _, broken := range []string{"1-1\nevil", "\n evil: yes\r\nevil", "\x00"} {
		s.refusesEverywhere("a line break", request("GET", s.streamPath(), "", "Last-Event-ID: "+broken), answer{400, ""})
	}
	long := request("GET", s.streamPath(), "", "Last-Event-ID: "+strings.Repeat("1", 1<<20))
	s.refuses(s.cluster.Front(), "1 MiB", long, answer{400, ""})
	s.refuses(s.cluster.Node(1), "1 MiB", long, answer{431, ""})
}

func manyStreams(s *scene) {
	in := 0
	for range 100 {
		resp, lines := s.stream(s.cluster.Node(1), "/sse/chat/"+s.room+"-many?user="+s.user) // where nothing is said
		if resp.StatusCode == http.StatusOK {
			in++
			continue
		}
		body, _ := io.ReadAll(lines)
		if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), `"code":"too_many_sockets"`) {
			s.Errorf("a stream too many is answered with %s %v %s", resp.Status, resp.Header, body)
		}
	}
	if in != socketsPerUser {
		s.Errorf("one user got %d streams, want %d", in, socketsPerUser)
	}
	conn := s.narrow(request("GET", "/sse/chat/"+s.room+"?user=another", ""))
	go func() {
		for b := make([]byte, 1); ; {
			select {
			case <-s.Context().Done():
				return
			case <-time.After(time.Second):
				if _, err := conn.Read(b); err != nil {
					return
				}
			}
		}
	}()
	s.untilSlow()
}

func strangeCommands(s *scene) {
	const name = "&stream=0123456789abcdef"
	path, foreign := s.streamPath()+name, strings.Replace(s.streamPath(), s.user, "bystander", 1)+name
	_, lines := s.stream(s.cluster.Front(), foreign)
	s.hearLine(lines, `"push":"joined"`)
	for _, c := range []struct {
		what, path, body, header string
		want                     answer
	}{
		{"another's stream", path, `{"id":1,"cmd":"leave","room":"` + s.room + `"}`, "", answer{404, "no_stream"}},
		{"another address", strings.Replace(foreign, "/sse/chat/", "/sse/watch/", 1), "", "", answer{404, "no_stream"}},
		{"a stream without a name", s.streamPath(), "", "", answer{400, "bad_request"}},
		{"a name that is none", s.streamPath() + "&stream=%0d%0aSet-Cookie:%20a=b", "", "", answer{400, "bad_request"}},
		{"65 commands", foreign, strings.Repeat("{}\n", 65), "", answer{413, "too_large"}},
		{"more than 64 KiB", foreign, strings.Repeat(" ", 64<<10+1), "", answer{413, "too_large"}},
		{"a message beyond 16 KiB", foreign, strings.Repeat("x", 17<<10), "", answer{413, "too_large"}},
		{"the page of another site, at a node", foreign, "", "Origin: https://evil.example", answer{403, "forbidden"}},
	} {
		door := s.cluster.Front()
		if c.header != "" || strings.Contains(c.path, "/sse/watch/") {
			door = s.cluster.Node(1)
		}
		s.refuses(door, c.what, request("POST", c.path, c.body, append([]string{"X-Nothing: 1"}, c.header)[:1+min(1, len(c.header))]...), c.want)
	}
	s.refuses(s.cluster.Front(), "the page of another site", request("POST", foreign, "", "Origin: https://evil.example"), answer{403, "bad_origin"})
	p := Connect(s.T, s.from, s.cluster.Front())
	p.Send([]byte(request("POST", foreign, "\x1f\x8b\x08\nno\nno\n{}\n", "Content-Encoding: gzip")))
	if resp, body, err := p.Answer(); err != nil || resp.StatusCode != http.StatusOK || strings.Count(body, "bad_request") != 3 || strings.Count(body, "\n") != 3 {
		s.Errorf("three frames that are no commands: %v %q, %v", resp, body, err)
	}
	s.hearLine(lines, `{"code":1008,`)

	p = Connect(s.T, s.from, s.cluster.Front())
	p.Send([]byte(request("POST", "/sse/ticket?user="+s.user, "")))
	_, body, err := p.Answer()
	var given struct{ Ticket string }
	if err != nil || json.Unmarshal([]byte(body), &given) != nil || given.Ticket == "" {
		s.Fatalf("a ticket: %q, %v", body, err)
	}
	show := fmt.Sprintf("/sse/chat/%s?ticket=", s.room)
	_, lines = s.stream(s.cluster.Front(), show+given.Ticket)
	s.hearLine(lines, `"push":"joined"`)
	for what, shown := range map[string]string{
		"a ticket again": given.Ticket, "none": strings.Repeat("A", 26), "a long one": strings.Repeat("A", 1000), "odd bytes": "%00%0d%0a", "a token": "eyJhbGciOiJub25lIn0.e30.",
	} {
		s.refusesEverywhere(what, request("GET", show+shown, ""), answer{401, "unauthorized"})
		s.refusesEverywhere(what, request("GET", show+shown, "", "Cookie: chatring-ticket=x; chatring-ticket=y"), answer{401, "unauthorized"})
	}
}
