package hostiletest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// An ask is a request that must not become a socket.
type ask struct {
	name        string
	request     string
	front, node answer // status 0: not asked there
}

// An answer is a status and the code in its body; no code stands for a body
// that is not ours.
type answer struct {
	status int
	code   string
}

// both is an ask that HAProxy and the node answer alike.
func both(name, request string, status int, code string) ask {
	return ask{name, request, answer{status, code}, answer{status, code}}
}

// refused sends each request at both doors.
func refused(asks func(path string) []ask) func(*scene) {
	return func(s *scene) {
		for _, a := range asks(s.path()) {
			for door, want := range map[string]answer{s.cluster.Front(): a.front, s.cluster.Node(1): a.node} {
				if want.status != 0 {
					s.refuses(door, a.name, a.request, want)
				}
			}
		}
	}
}

// oneOfHeaders are those that belong to a status (RFC 9110 §15.5, RFC 6585 §4).
var oneOfHeaders = map[int][]string{
	401: {"Www-Authenticate"}, 405: {"Allow"}, 426: {"Upgrade", "Sec-Websocket-Version"},
	429: {"Retry-After"}, 503: {"Retry-After"},
}

// refuses sends a request and compares the answer.
func (s *scene) refuses(door, name, request string, want answer) *Peer {
	s.Helper()
	p := Connect(s.T, s.from, door)
	p.Push([]byte(request))
	resp, body, err := p.Answer()
	if err != nil {
		s.Errorf("%s at %s: %v", name, door, err)
		return p
	}
	var got struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil && want.code != "" {
		s.Errorf("%s at %s: the body %q: %v", name, door, body, err)
	}
	if resp.StatusCode != want.status || got.Error.Code != want.code || want.code != "" && got.Error.Message == "" {
		s.Errorf("%s at %s: %d %q, want %v", name, door, resp.StatusCode, body, want)
	}
	if w := Telling(body); w != "" {
		s.Errorf("%s at %s: %q names internals", name, door, body)
	}
	if headers := oneOfHeaders[want.status]; headers != nil && !slices.ContainsFunc(headers, func(h string) bool { return resp.Header.Get(h) != "" }) {
		s.Errorf("%s at %s: the answer %d has none of the headers %v", name, door, resp.StatusCode, headers)
	}
	if at := resp.Header.Get("Location"); at != "" && (at[0] != '/' || len(at) > 1 && strings.ContainsRune(`/\`, rune(at[1]))) {
		s.Errorf("%s at %s: sends the client to %s", name, door, at)
	}
	for _, h := range []string{"Set-Cookie", "Access-Control-Allow-Origin", "X-Powered-By"} {
		if resp.Header.Get(h) != "" {
			s.Errorf("%s at %s: the answer has the header %s: %s", name, door, h, resp.Header.Get(h))
		}
	}
	return p
}

// origin asks from a page.
func origin(path string, lines ...string) ask {
	return ask{strings.Join(lines, " and "), Handshake(path, nil, lines...), answer{403, "bad_origin"}, answer{403, "forbidden"}}
}

var handshakes = []hostile{
	{
		id: "H01", sent: "no token, and in dev mode no user", answer: "401 `unauthorized` with `WWW-Authenticate`",
		run: refused(func(path string) []ask {
			room, _, _ := strings.Cut(path, "?")
			return []ask{
				both("nobody", Handshake(room, nil), 401, "unauthorized"),
				both("an impossible user", Handshake(room+"?user=a%20b", nil), 401, "unauthorized"),
			}
		}),
	},
	{
		id: "H02", sent: "the page of another site, with a user's cookie and token", answer: "403 `bad_origin` by HAProxy, `forbidden` by the node",
		run: refused(func(path string) []ask {
			return []ask{origin(path, "Origin: https://evil.example", "Cookie: session=x", "Authorization: Bearer a.b.c")}
		}),
	},
	{
		id: "H03", sent: "origins that look like the own host: `chat.example.evil.com`, `xchat.example`, another port, another scheme, `null`, none behind the colon",
		answer: "403 each",
		run: refused(func(path string) []ask {
			return []ask{
				origin(path, "Origin: https://"+Host+".evil.com"), origin(path, "Origin: https://x"+Host), origin(path, "Origin: http://"+Host+":81"),
				origin(path, "Origin: https://evil.example/"+Host), origin(path, "Origin: https://evil.example?https://"+Host),
				origin(path, "Origin: https://"+Host+"@evil.example"), origin(path, "Origin: file://"+Host), origin(path, "Origin: null"),
				both("an empty one", Handshake(path, nil, "Origin:"), 403, "forbidden"), // HAProxy overlooks it
			}
		}),
	},
	{
		id: "H04", sent: "two origins, in two headers or in one; a host with a dot at its end; header names in small letters", answer: "403 each",
		run: refused(func(path string) []ask {
			good, evil := "Origin: https://"+Host, "Origin: https://evil.example"
			goodLast := origin(path, evil, good)
			goodLast.front.code = "forbidden" // HAProxy looks at the last, the node at both
			return []ask{
				origin(path, good, evil), goodLast, origin(path, "Origin: https://"+Host+", https://evil.example"),
				origin(path, "Origin: https://"+Host+"."), origin(path, "origin: https://evil.example"),
			}
		}),
	},
	{
		id: "H05", sent: "WebSocket version 8, 12, none, two versions", answer: "426 `bad_request` with `Sec-WebSocket-Version: 13`",
		run: refused(func(path string) []ask {
			version := func(lines ...string) ask {
				return both(fmt.Sprint("versions ", lines), Handshake(path, []string{"Sec-WebSocket-Version"}, lines...), 426, "bad_request")
			}
			return []ask{version("sec-websocket-version: 8"), version("sec-websocket-version: 12"), version(), version("sec-websocket-version: 13", "sec-websocket-version: 8")}
		}),
	},
	{
		id: "H06", sent: "a handshake key that is missing, no base64, of 15 or 17 bytes, or there twice", answer: "400",
		run: refused(func(path string) []ask {
			key := func(lines ...string) ask {
				return both(fmt.Sprint("keys ", lines), Handshake(path, []string{"Sec-WebSocket-Key"}, lines...), 400, "bad_request")
			}
			length := func(line string) ask { // HAProxy looks at the length, and answers by itself
				a := key(line)
				a.front.code = ""
				return a
			}
			return []ask{
				length("X: no key at all"), length("sec-websocket-key: bad"), length("sec-websocket-key: YWFhYWFhYWFhYWFhYWFh"), key("sec-websocket-key: !!!hIHNhbXBsZSBub25jZQ=="),
				key("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="),
			}
		}),
	},
	{
		id: "H07", sent: "a handshake by POST; by HTTP/1.0; an upgrade to `h2c`", answer: "405 with `Allow`; 400; 426 with `Upgrade`",
		run: refused(func(path string) []ask {
			return []ask{
				both("POST", strings.Replace(Handshake(path, nil), "GET", "POST", 1), 405, "bad_request"),
				both("HTTP/1.0", strings.Replace(Handshake(path, nil), "HTTP/1.1", "HTTP/1.0", 1), 400, "bad_request"),
				both("h2c", Handshake(path, []string{"Upgrade"}, "upgrade: h2c"), 426, "bad_request"),
			}
		}),
	},
	{
		id: "H08", sent: "subprotocols without ours", answer: "400 `bad_request`",
		run: refused(func(path string) []ask {
			return []ask{
				both("soap", Handshake(path, nil, "Sec-WebSocket-Protocol: soap"), 400, "bad_request"),
				both("another version", Handshake(path, nil, "Sec-WebSocket-Protocol: chatring.v2, bearer.x"), 400, "bad_request"),
			}
		}),
	},
	{
		id: "H09", sent: "a header of 64 KiB; 1,000 headers", answer: "400 by HAProxy, which calls both unreadable; 431 by the node, to which 1,000 short ones are harmless",
		run: refused(func(path string) []ask {
			long := "X: " + strings.Repeat("x", 64<<10)
			return []ask{
				{"64 KiB", Handshake(path, nil, long), answer{status: 400}, answer{status: 431}},
				{"1,000 headers", Handshake(path, nil, slices.Repeat([]string{"X: x"}, 1000)...), answer{status: 400}, answer{}},
				{"1,000 headers of 64 bytes", Handshake(path, nil, slices.Repeat([]string{"X: " + strings.Repeat("x", 61)}, 1000)...), answer{status: 400}, answer{status: 431}},
			}
		}),
	},
	{
		id: "H10", sent: "`X-Forwarded-For`, `X-Real-IP` and `Forwarded` from outside, another in each request of a flood", answer: "429: HAProxy counts the real address, and logs it",
		run: spoofed,
	},
	{
		id: "H11", sent: "CR and LF in the room, the user, the position and the query", answer: "400 or 401, and no header of theirs in the answer",
		run: refused(func(path string) []ask {
			room, _, _ := strings.Cut(path, "?")
			return []ask{
				both("in the room", Handshake("/ws/chat/a%0d%0aSet-Cookie:x?user=a", nil), 400, "bad_room"),
				both("in the user", Handshake(room+"?user=a%0d%0aSet-Cookie:x=1", nil), 401, "unauthorized"),
				both("in the position", Handshake(path+"&since=%0d%0aSet-Cookie:x=1", nil), 400, "bad_position"),
				both("in an option", Handshake(path+"&echo=%0d%0aSet-Cookie:x=1", nil), 400, "bad_request"),
				{"as they are, in the query", Handshake(path+"&x=\nSet-Cookie:x=1", nil), answer{status: 400}, answer{status: 400}},
				{"NUL in the query", Handshake(path+"&x=\x00", nil), answer{status: 400}, answer{status: 400}},
			}
		}),
	},
	{id: "H12", sent: "the handshake and the first frame in one segment", answer: "101, and the frame is answered: nothing is lost", run: early},
	{id: "H13", sent: "slowloris: a byte of the header each half second", answer: "after 5 s, 408 by HAProxy, 400 by the node", run: slowHeader},
	{id: "H14", sent: "as many handshakes as fit, from one address", answer: "429 `rate_limited` with `Retry-After`; another address is let in", run: flooded},
	{
		id: "H15", sent: "request smuggling: `Content-Length` and `Transfer-Encoding`, two of either, odd spellings, two `Host`s, another host in the first line", answer: "400 each, and one answer for one request",
		run: smuggled,
	},
	{
		id: "H16", sent: "paths that leave theirs: `//ws`, `/ws/../admin`, escapes, `/metrics`", answer: "404 or 400 by HAProxy; where only dots or slashes are wrong, 307 to the plain path, never to another host; the operators' pages are not on this port at all",
		run: strayed,
	},
	{
		id: "H17", sent: "direct rooms in odd spellings: `@a%2Bb`, `@A+@B`, `@b+a`, `@a+a`, `@=61+b`, `@a=2bb+c`, `@a=0D=0Ab+c`, ids of 129 bytes; an inbox; the room of two others", answer: "400 `bad_room`, by HAProxy where the spelling alone shows it, else by the node; 403 `forbidden` for the last",
		run: directSpelled,
	},
	{
		id: "H18", sent: "paths of the API: `/api//rooms/x`, `/api/%2e%2e/metrics`, `/%61pi/…`, `/API/…`, `/api/rooms/a%2Fb/messages`; the API from the page of another site", answer: "400 `bad_path` or `bad_room`, 404; 403 `bad_origin`; all by HAProxy, before a node is asked",
		run: apiStrayed,
	},
}

// spoofed floods under a new name each time.
func spoofed(s *scene) {
	refused := 0
	for n := range socketRate + 20 {
		p := Connect(s.T, s.from, s.cluster.Front())
		fake := fmt.Sprintf("10.1.2.%d", n)
		p.Send([]byte(Handshake(s.path(), nil, "X-Forwarded-For: "+fake, "X-Real-IP: "+fake, "Forwarded: for="+fake)))
		if resp, _, err := p.Answer(); err != nil {
			s.Fatal(err)
		} else if resp.StatusCode == http.StatusTooManyRequests {
			refused++
		}
		_ = p.Close()
	}
	if refused < 15 {
		s.Errorf("%d of %d sockets of one address were refused, want 15 or more", refused, socketRate+20)
	}
	eventually(s, "HAProxy has logged the real address", func() bool {
		return strings.Contains(s.cluster.Log("haproxy"), fmt.Sprintf(`"src":"%s"`, s.from))
	})
	if strings.Contains(s.cluster.Log("haproxy"), `"src":"10.1.2.`) {
		s.Error("HAProxy has believed the client's own word")
	}
}

func early(s *scene) {
	for _, door := range s.doors() {
		p := Connect(s.T, s.from, door).Upgrade(Handshake(s.path(), nil), Masked(fin|text, fmt.Sprintf(`{"id":7,"cmd":"publish","room":%q,"data":1}`, s.room)))
		if f := p.Reply(7); f.Error != nil {
			s.Errorf("the early frame was answered with %+v", f.Error)
		}
	}
}

func slowHeader(s *scene) {
	var all sync.WaitGroup
	for door, want := range map[string]int{s.cluster.Front(): http.StatusRequestTimeout, s.cluster.Node(1): http.StatusBadRequest} {
		p := Connect(s.T, s.from, door)
		began := time.Now()
		all.Go(func() {
			for _, c := range []byte(Handshake(s.path(), nil)) {
				if _, err := p.Write([]byte{c}); err != nil {
					return
				}
				time.Sleep(500 * time.Millisecond) // what is tried is a slow sender
			}
		})
		all.Go(func() {
			defer func() { _ = p.Close() }()
			resp, _, err := p.Answer()
			if err != nil || resp.StatusCode != want {
				s.Errorf("%s: %v %v, want %d", door, resp, err, want)
			}
			// It is 5 s on both doors; the whole header would take a minute and a half.
			if took := time.Since(began); took < 4*time.Second || took > 45*time.Second {
				s.Errorf("%s: ended after %v", door, took)
			}
		})
	}
	all.Wait()
}

func flooded(s *scene) {
	statuses := map[int]int{}
	for range 4 * socketRate {
		p := Connect(s.T, s.from, s.cluster.Front())
		p.Send([]byte(Handshake(s.path(), nil)))
		resp, body, err := p.Answer()
		if err != nil {
			s.Fatal(err)
		}
		statuses[resp.StatusCode]++
		if resp.StatusCode == http.StatusTooManyRequests && (resp.Header.Get("Retry-After") == "" || !strings.Contains(body, `"code":"rate_limited"`)) {
			s.Errorf("429 with %v %s", resp.Header, body)
		}
		_ = p.Close()
	}
	if statuses[http.StatusTooManyRequests] < 2*socketRate || len(statuses) != 2 || statuses[http.StatusSwitchingProtocols] == 0 {
		s.Errorf("%d handshakes were answered with %v: want some 101, then 429", 4*socketRate, statuses)
	}
	Connect(s.T, address(200), s.cluster.Front()).Upgrade(Handshake(s.path(), nil), nil).Joined()
}

// smuggled sends requests of which two readers could see different ends, with
// another request in what only one of them takes for a body.
func smuggled(s *scene) {
	const hidden = "GET /shard/smuggled HTTP/1.1\r\nHost: " + Host + "\r\n\r\n"
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
	length := fmt.Sprint("Content-Length: ", len(hidden))
	plain, odd := answer{400, "bad_request"}, answer{status: 400} // odd: not readable as HTTP
	for _, a := range []ask{
		{"both lengths", Handshake(s.path(), nil, "Content-Length: 4", "Transfer-Encoding: chunked") + chunked, plain, plain},
		{"both lengths, the other way", Handshake(s.path(), nil, "Transfer-Encoding: chunked", fmt.Sprint("Content-Length: ", len(hidden)+5)) + "0\r\n\r\n" + hidden, plain, plain},
		{"a body", Handshake(s.path(), nil, length) + hidden, plain, plain},
		{"a chunked body", Handshake(s.path(), nil, "Transfer-Encoding: chunked") + chunked, plain, plain},
		{"a folded header", Handshake(s.path(), nil, "Transfer-Encoding:\r\n chunked") + chunked, plain, plain},
		{"two lengths", Handshake(s.path(), nil, "Content-Length: 0", length) + hidden, odd, odd},
		{"a list of lengths", Handshake(s.path(), nil, "Content-Length: 0, "+length[len("Content-Length: "):]) + hidden, odd, odd},
		{"a length with a sign", Handshake(s.path(), nil, fmt.Sprint("Content-Length: +", len(hidden))) + hidden, odd, odd},
		{"a space before the colon", Handshake(s.path(), nil, "Transfer-Encoding : chunked") + chunked, odd, odd},
		{"an unknown encoding", Handshake(s.path(), nil, "Transfer-Encoding: xchunked") + chunked, odd, answer{status: 501}},
		{"two encodings", Handshake(s.path(), nil, "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + chunked, odd, answer{status: 501}},
		{"two hosts", Handshake(s.path(), nil, "Host: evil.example") + hidden, odd, odd},
		{"another host in the line", strings.Replace(Handshake(s.path(), nil), "GET ", "GET http://evil.example", 1) + hidden, odd, answer{}},
	} {
		for door, want := range map[string]answer{s.cluster.Front(): a.front, s.cluster.Node(1): a.node} {
			if want.status == 0 {
				continue
			}
			p := s.refuses(door, a.name, a.request, want)
			_ = p.Conn.(*net.TCPConn).CloseWrite() // whoever waits for more learns that none comes
			if second, body, err := p.Answer(); err == nil && second.StatusCode == http.StatusOK {
				s.Errorf("%s at %s: what it hides is answered with %s %q", a.name, door, second.Status, body)
			}
		}
	}
}

// strayed asks for what is not to be had by either door.
func strayed(s *scene) {
	ours := func(path string, front answer, node int) ask {
		return ask{path, Handshake(path+"?user=mallory", nil), front, answer{status: node}}
	}
	none, bare := answer{404, "not_found"}, answer{status: 404}
	badRoom, badPath := answer{400, "bad_room"}, answer{400, "bad_path"}
	for _, a := range []ask{
		ours("/ws", answer{status: 307}, 307), ours("/ws/", none, 404), ours("/ws/chat", none, 404), ours("/ws/chat/x/y", bare, 404),
		ours("//ws/chat/x", badPath, 307), ours("/ws//chat/x", none, 307), ours("/ws/chat//x", badRoom, 307),
		ours("/%77s/chat/x", badPath, 101), ours("/ws%2fchat%2fx", badPath, 404),
		ours("/ws/../admin", none, 307), ours("/ws/chat/../../metrics", badRoom, 307),
		ours("/ws/chat/%2e%2e/%2e%2e/metrics", badRoom, 404), both("dots in the room", Handshake("/ws/chat/..%2f..%2fmetrics?user=mallory", nil), 400, "bad_room"),
		ours("/static/../../etc/passwd", answer{status: 307}, 307), ours("/static/..%2f..%2fetc%2fpasswd", bare, 404),
		ours("/x/..//evil.example", answer{status: 307}, 307), ours("//evil.example/..", answer{status: 307}, 307),
		ours("/admin", bare, 404), ours("/stats", bare, 404), ours("/metrics", none, 404), ours("/metrics/", none, 404),
		ours("//metrics", none, 307), ours("/%6detrics", none, 404), ours("/x/../metrics", answer{status: 307}, 307),
		ours("/livez", none, 404), ours("/readyz", none, 404), ours("/debug/pprof/heap", none, 404), ours("/internal", none, 404),
	} {
		s.refuses(s.cluster.Front(), a.name, a.request, a.front)
		s.refuses(s.cluster.Node(1), a.name, a.request, a.node)
	}
}

func eventually(s *scene, what string, is func() bool) {
	s.Helper()
	for late := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) { // between two questions
		if time.Now().After(late) {
			s.Fatalf("waited in vain until %s", what)
		}
	}
}
