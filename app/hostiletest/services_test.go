package hostiletest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
)

// services are what strangers, and services themselves, may ask of the HTTP API.
var services = []hostile{
	{id: "S01", sent: "`Last-Event-ID` with a line break, no position, 1 MiB", answer: "400; 431 by the node for the last", run: oddEventIDs},
	{
		id: "S02", sent: "a request by a page of another site; a body that is a form, plain text, of no type",
		answer: "403 `bad_origin`, and no header of CORS, whatever is asked; 415", run: foreignPages,
	},
	{
		id: "S03", sent: "100 streams of one user; a reader of a byte a second", answer: "429 `too_many_sockets` with `Retry-After` after 50, while others are let in; closed with 4008, and the node keeps no more for it than an outbox",
		alone: true, run: manyStreams,
	},
	{
		id: "S04", sent: "a gzip bomb as a request, said to be one or not; a body of 10 MiB, of a length that is said or not", answer: "415 or 400; 413", run: bombs, alone: true,
	},
	{
		id: "S05", sent: "to the HTTP API: no token, a user's, one of another scope, of other rooms, with a `service` that is no list of known words; a service's token for a socket; a user whose `sub` begins with `service:`",
		answer: "401; 403 `forbidden`; 401", run: othersTokens,
	},
	{
		id: "S06", sent: "rooms and users in the address with CR and LF, NUL, slashes, dots, 65 letters, those of inboxes and of the nodes; paths that leave theirs; a command of another method",
		answer: "`bad_room`, `bad_user` or `bad_path`, and by the node 307 to the plain path where only dots or slashes are wrong; 404; 405 with `Allow`", run: addressesOfTheAPI,
	},
	{
		id: "S07", sent: "bodies with 2,000 users, none, nesting of 33 and of 20,000, a bare NUL, bytes that are not UTF-8, two objects, fields that there are not, such as `from`",
		answer: "400 each; a user who is named 1,000 times gets one notification", run: bodiesOfTheAPI,
	},
	{
		id: "S08", sent: "1,000 requests by one service at once", answer: "429 `rate_limited` with `Retry-After`, after what may come at once; others are answered, and members hear each other", run: floodOfRequests, alone: true,
	},
	{
		id: "S09", sent: "commands for another's stream, for one at another address, 65 of them, 64 KiB, a gzip bomb, by the page of another site; a ticket again, and one that is none",
		answer: "404 `no_stream`; 413; three that are none end the stream with 1008; 403; 401", run: strangeCommands,
	},
}

// request is a request of the HTTP API, with a body of JSON unless a header says
// otherwise.
func request(method, path, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, Host)
	typed := method == http.MethodGet
	for _, h := range headers {
		typed = typed || strings.HasPrefix(h, "Content-Type:")
		b.WriteString(h + "\r\n")
	}
	if !typed {
		b.WriteString("Content-Type: application/json\r\n")
	}
	if !strings.Contains(b.String(), "chunked") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

const say = `{"data":1}`

// messages is where the case's room is talked to, by a service of dev mode.
func (s *scene) messages() string { return "/api/rooms/" + s.room + "/messages?service=" + s.user }

func (s *scene) refusesEverywhere(name, request string, want answer) {
	s.Helper()
	for door, address := range s.doors() {
		s.refuses(address, name+" "+door, request, want)
	}
}

func foreignPages(s *scene) {
	for _, origin := range []string{"https://evil.example", "https://" + Host + ".evil.example", "http://" + Host + ":8443", "null"} {
		for _, r := range []string{request("POST", s.messages(), say, "Origin: "+origin), request("GET", s.messages(), "", "Origin: "+origin)} {
			s.refusesEverywhere(origin, r, answer{403, "bad_origin"})
		}
		for _, address := range s.doors() {
			p := Connect(s.T, s.from, address)
			p.Send([]byte(request("OPTIONS", s.messages(), "", "Origin: "+origin, "Access-Control-Request-Method: POST")))
			resp, _, err := p.Answer()
			if err != nil || resp.StatusCode < 400 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
				s.Errorf("a preflight of %s: %v %v", origin, resp, err)
			}
		}
	}
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "application/jsonp", ""} {
		s.refusesEverywhere("of type "+kind, request("POST", s.messages(), say, "Content-Type: "+kind), answer{415, "unsupported_media_type"})
	}
}

func bombs(s *scene) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(bytes.Repeat([]byte(" "), 64<<20))
	_ = w.Close()
	for _, encoding := range []string{"gzip", "deflate", "br", "gzip, gzip", "x"} {
		s.refusesEverywhere("a bomb", request("POST", s.messages(), zipped.String(), "Content-Encoding: "+encoding), answer{415, "unsupported_media_type"})
	}
	s.refusesEverywhere("a bomb that does not say so", request("POST", s.messages(), zipped.String()), answer{400, "bad_request"})
	long := `{"data":"` + strings.Repeat("x", 10<<20) + `"}`
	s.refusesEverywhere("10 MiB", request("POST", s.messages(), long), answer{413, "too_large"})
	chunk := strings.Repeat("x", 64<<10)
	chunks := strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", len(chunk), chunk), 160) + "0\r\n\r\n"
	s.refusesEverywhere("10 MiB in chunks", request("POST", s.messages(), chunks, "Transfer-Encoding: chunked"), answer{413, "too_large"})
	for _, length := range []string{"1099511627776", "9223372036854775807"} { // promised, and not brought
		r := strings.Replace(request("POST", s.messages(), say), fmt.Sprintf("Content-Length: %d", len(say)), "Content-Length: "+length, 1)
		s.refuses(s.cluster.Node(1), "a promise of "+length, r, answer{413, "too_large"})
	}
}

func othersTokens(s *scene) {
	ask := func(name, method, path, body string, changes object, want answer) {
		s.Helper()
		bearer := "Authorization: Bearer " + token(hs256, claims(changes), secret)
		s.refuses(s.strict, name, request(method, path, body, bearer), want)
	}
	path := "/api/rooms/" + s.room + "/messages"
	forbidden, unauthorized := answer{403, "forbidden"}, answer{401, "unauthorized"}
	publish := object{"sub": "billing", "service": []string{"publish"}}
	s.refuses(s.strict, "no token", request("POST", path, say), unauthorized)
	s.refuses(s.strict, "a name instead", request("POST", path+"?service=billing", say), unauthorized)
	ask("a user's token", "POST", path, say, nil, forbidden)
	ask("of another scope", "GET", path, "", publish, forbidden)
	ask("of another scope", "POST", "/api/users/alice/notifications", say, publish, forbidden)
	ask("of another scope", "POST", "/api/users/alice/logout", "", publish, forbidden)
	ask("of another scope", "POST", "/api/announcements", say, publish, forbidden)
	ask("to speak for a user", "POST", path, `{"data":1,"as":"alice"}`, publish, forbidden)
	ask("to speak for another service", "POST", path, `{"data":1,"as":"service:shop"}`, object{"service": []string{"publish", "admin"}}, answer{400, "bad_user"})
	ask("of other rooms", "POST", path, say, object{"service": []string{"publish"}, "grants": []object{{"rooms": "other-*", "may": "write"}}}, forbidden)
	ask("to read only", "POST", path, say, object{"service": []string{"publish"}, "grants": []object{{"rooms": "*", "may": "read"}}}, forbidden)
	ask("of other users", "POST", "/api/users/alice/notifications", say, object{"service": []string{"notify"}, "grants": []object{{"rooms": "@b*", "may": "write"}}}, forbidden)
	for name, claim := range map[string]any{"text": "publish", "an unknown word": []string{"root"}, "nothing": []string{}, "true": true, "numbers": []int{1}, "an object": object{"publish": true}} {
		ask("a service that is "+name, "POST", path, say, object{"service": claim}, unauthorized)
	}
	ask("expired", "POST", path, say, object{"service": []string{"publish"}, "exp": in(-leeway - 5e9)}, unauthorized)
	ask("a user with a service's name", "POST", path, say, object{"sub": "service:billing"}, unauthorized)
	bearer := "Authorization: Bearer " + token(hs256, claims(publish), secret)
	s.refuses(s.strict, "a service's token for a socket", Handshake("/ws/chat/"+s.room, nil, bearer), unauthorized)
	s.refuses(s.strict, "a service's name for a socket", Handshake("/ws/chat/"+s.room, nil, "Authorization: Bearer "+token(hs256, claims(object{"sub": "service:billing"}), secret)), unauthorized)
	s.refuses(s.cluster.Node(1), "a service's name for a socket", Handshake("/ws/chat/"+s.room+"?user=service:billing", nil), unauthorized)
}

func addressesOfTheAPI(s *scene) {
	service := "?service=" + s.user
	for _, room := range []string{"a%20b", "a%0d%0aX:y", "%00", "-a", "a%2fb", "@alice", "!nodes", "!everybody", strings.Repeat("a", 65), "%F0%9F%98%80"} {
		front, node := answer{400, "bad_room"}, answer{400, "bad_room"}
		s.refuses(s.cluster.Front(), room, request("POST", "/api/rooms/"+room+"/messages"+service, say), front)
		s.refuses(s.cluster.Node(1), room, request("POST", "/api/rooms/"+room+"/messages"+service, say), node)
	}
	for _, user := range []string{"a%20b", "a%0d%0aX:y", "%00", "%ff", "a%E2%80%AEb", strings.Repeat("a", 129)} {
		s.refusesEverywhere(user, request("GET", "/api/users/"+user+service, ""), answer{400, "bad_user"})
	}
	for path, code := range map[string]string{"/api//users/alice": "bad_path", "/api/./users/alice": "bad_path", "/api/rooms/../users/alice": "bad_room", "/api/users/alice/../bob": "bad_path"} {
		s.refuses(s.cluster.Front(), path, request("GET", path+service, ""), answer{400, code})
		s.refuses(s.cluster.Node(1), path, request("GET", path+service, ""), answer{status: 307})
	}
	for _, path := range []string{"/api/", "/api/admin", "/api/users", "/api/rooms/" + s.room + "/members", "/api/openapi.yaml"} {
		s.refusesEverywhere(path, request("GET", path+service, ""), answer{404, "not_found"})
	}
	for _, method := range []string{"DELETE", "PUT", "PATCH", "TRACE", "BREW"} {
		s.refusesEverywhere(method, request(method, s.messages(), ""), answer{405, "method_not_allowed"})
	}
}

func bodiesOfTheAPI(s *scene) {
	bad := answer{400, "bad_request"}
	many := "/api/notifications?service=" + s.user
	named := func(n int) string {
		return `{"data":1,"key":"k","users":["` + s.user + strings.Repeat(`","`+s.user, n-1) + `"]}`
	}
	s.refusesEverywhere("2,000 users", request("POST", many, named(2000)), bad)
	s.refusesEverywhere("no users", request("POST", many, `{"data":1,"users":[]}`), bad)
	s.refusesEverywhere("2,000 messages", request("POST", "/api/messages?service="+s.user, `{"messages":[`+strings.Repeat(`{},`, 1999)+`{}]}`), bad)
	for name, body := range map[string]string{
		"nested 33 deep":     `{"data":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`,
		"nested 20,000 deep": `{"data":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
		"a bare NUL":         "{\"data\":\"\x00\"}",
		"not UTF-8":          "{\"data\":\"\xff\"}",
		"two objects":        say + say,
		"null":               "null",
		"a list":             "[" + say + "]",
		"nothing":            "",
		"from":               `{"data":1,"from":"alice"}`,
		"pos":                `{"data":1,"pos":"1-1"}`,
		"a number as a key":  `{"data":1,"key":1}`,
		"no data":            `{}`,
	} {
		s.refusesEverywhere(name, request("POST", s.messages(), body), bad)
	}
	s.refusesEverywhere("too long", request("POST", s.messages(), `{"data":"`+strings.Repeat("x", 16384)+`"}`), answer{413, "too_large"})
	inbox := s.cluster.Dial(s.cluster.Node(2), "/ws/inbox?user="+s.user)
	for _, address := range s.doors() {
		p := Connect(s.T, s.from, address)
		p.Send([]byte(request("POST", many, named(1000))))
		if resp, body, err := p.Answer(); err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(body, `"messages":1,"sent":1,"failed":0,"online":1`) {
			s.Errorf("1,000 times the same user: %v %s %v", resp, body, err)
		}
	}
	inbox.Message("k") // once, although it was sent by two doors
	p := Connect(s.T, s.from, s.cluster.Front())
	p.Send([]byte(request("POST", "/api/users/"+s.user+"/notifications?service="+s.user, `{"key":"after","data":1}`)))
	if _, body, err := p.Answer(); err != nil {
		s.Fatalf("%s %v", body, err)
	}
	if f := inbox.Message("after"); !strings.HasSuffix(f.Pos, "-1") {
		s.Errorf("the next notification is at %s, want the second position", f.Pos)
	}
}

func floodOfRequests(s *scene) {
	const requests = 1000
	refused := 0
	p := Connect(s.T, s.from, s.limited)
	path := "/api/users/alice?service=" + s.user
	p.Push([]byte(strings.Repeat(request("GET", path, ""), requests)))
	for i := range requests {
		resp, body, err := p.Answer()
		if err != nil {
			s.Fatalf("request %d: %v", i, err)
		}
		if resp.StatusCode == http.StatusTooManyRequests && strings.Contains(body, "rate_limited") && resp.Header.Get("Retry-After") == "1" {
			refused++
		} else if resp.StatusCode != http.StatusOK {
			s.Fatalf("request %d: %d %s", i, resp.StatusCode, body)
		}
	}
	if refused == 0 {
		s.Errorf("of %d requests none was refused", requests)
	}
	other := Connect(s.T, s.from, s.limited)
	other.Send([]byte(request("GET", "/api/users/alice?service=other-"+s.user, "")))
	if resp, body, err := other.Answer(); err != nil || resp.StatusCode != http.StatusOK {
		s.Errorf("another service: %v %s %v", resp, body, err)
	}
}
