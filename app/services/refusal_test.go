package services_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/services"
)

// endpoints are requests that are right, one for each route.
var endpoints = []struct{ method, path, body, scope string }{
	{"POST", "/api/rooms/lobby/messages", `{"data":1}`, "publish"},
	{"GET", "/api/rooms/lobby/messages", "", "read"},
	{"GET", "/api/rooms/lobby/presence", "", "read"},
	{"GET", "/api/rooms/lobby", "", "read"},
	{"POST", "/api/messages", `{"messages":[{"room":"lobby","data":1}]}`, ""},
	{"POST", "/api/users/alice/notifications", `{"data":1}`, "notify"},
	{"POST", "/api/notifications", `{"users":["alice"],"data":1}`, "notify"},
	{"POST", "/api/announcements", `{"data":1}`, "admin"},
	{"GET", "/api/users/alice", "", "read"},
	{"POST", "/api/users/alice/disconnect", `{"reconnect":true}`, "admin"},
	{"POST", "/api/users/alice/logout", `{"before":1}`, "admin"},
}

// Every address wants a token, of a service, that has its scope.
func TestWhoMayCall(t *testing.T) {
	s := play(t)
	for _, e := range endpoints {
		for _, token := range []string{"Authorization: ", "Authorization: Basic " + everything, "Authorization: Bearer"} {
			a := s.ask(e.method, e.path, e.body, token).refused(http.StatusUnauthorized, "unauthorized")
			if a.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s %s: %v", e.method, e.path, a.Header())
			}
		}
		s.ask(e.method, e.path, e.body, "Authorization: Bearer alice").refused(http.StatusForbidden, "forbidden")
		s.ask(e.method, e.path, e.body, "Authorization: Bearer keys are missing").refused(http.StatusServiceUnavailable, "unavailable")
		for _, scope := range []string{"publish", "notify", "read", "admin"} {
			a := s.ask(e.method, e.path, e.body, "Authorization: Bearer billing "+scope)
			switch {
			case e.scope == "" && a.Code != http.StatusOK:
				t.Errorf("%s %s with %s: %d %s", e.method, e.path, scope, a.Code, a.Body)
			case e.scope == scope:
				a.says(`{}`)
			case e.scope != "":
				a.refused(http.StatusForbidden, "forbidden")
			}
		}
		s.ask(e.method, e.path, e.body, "Authorization: bearer  "+everything+" ").says(`{}`)
	}
	a := s.ask("POST", "/api/messages", `{"messages":[{"room":"lobby","data":1},{"user":"alice","data":1}]}`, "Authorization: Bearer billing notify").says(`{"sent":1,"failed":1}`)
	if results := compact(a.said["results"]); !strings.Contains(results, `"code":"forbidden"`) {
		t.Errorf("%s, want forbidden for the room", results)
	}
}

// A token is for the rooms of its grants, and for the users whose inboxes they fit.
func TestGrants(t *testing.T) {
	s := play(t)
	const grants = "Authorization: Bearer billing publish,notify,read,admin team-* @a*"
	for _, e := range endpoints {
		switch e.path {
		case "/api/announcements":
			continue
		case "/api/messages":
			a := s.ask(e.method, e.path, `{"messages":[{"room":"lobby","data":1},{"room":"team-1","data":1},{"user":"bob","data":1},{"user":"alice","data":1}]}`, grants)
			a.says(`{"sent":2,"failed":2}`)
		case "/api/notifications":
			s.ask(e.method, e.path, `{"users":["alice","bob"],"data":1}`, grants).says(`{"sent":1,"failed":1}`)
		default:
			own, foreign := strings.Replace(e.path, "lobby", "team-1", 1), strings.Replace(e.path, "alice", "bob", 1)
			s.ask(e.method, own, e.body, grants).says(`{}`)
			s.ask(e.method, foreign, e.body, grants).refused(http.StatusForbidden, "forbidden")
		}
	}
	if got := s.kept("lobby"); len(got) != 0 {
		t.Errorf("the room has %q", got)
	}
	if got := s.kept(chat.Inbox("bob")); len(got) != 0 {
		t.Errorf("bob's inbox has %q", got)
	}
}

// loggedOut says that a service's tokens are worthless.
type loggedOut struct{ known bool }

func (l *loggedOut) Known() bool                                { return l.known }
func (l *loggedOut) Revoked(user chat.UserID, _ time.Time) bool { return user == "service:billing" }

// A service whose tokens were revoked is out, and a node that does not know yet who
// is answers nobody.
func TestRevoked(t *testing.T) {
	l := &loggedOut{}
	s := play(t, func(s *scene) { s.revoked = l })
	s.ask("GET", "/api/users/alice", "", "Authorization: Bearer shop read").refused(http.StatusServiceUnavailable, "unavailable")
	l.known = true
	s.ask("GET", "/api/users/alice", "", "Authorization: Bearer shop read").says(`{}`)
	s.ask("GET", "/api/users/alice", "").refused(http.StatusUnauthorized, "unauthorized")
}

// Pages of other hosts call nothing, and are not told that they may: there is no
// CORS. One of the own host needs a token like everybody.
func TestOrigins(t *testing.T) {
	s := play(t)
	for origin, status := range map[string]int{
		"http://example.com": 200, "https://EXAMPLE.com": 200, // the host of these requests
		"https://evil.example": 403, "https://example.com.evil.example": 403, "http://example.com:8080": 403, "null": 403, "http://": 403, "example.com": 403, "ftp://example.com": 403,
	} {
		for _, e := range endpoints[:2] {
			a := s.ask(e.method, e.path, e.body, "Origin: "+origin)
			if status == http.StatusOK {
				a.says(`{}`)
			} else {
				a.refused(status, "bad_origin")
			}
			for name := range a.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s: the answer has %s", origin, name)
				}
			}
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/users/alice", nil)
	r.Header = http.Header{"Authorization": {"Bearer " + everything}, "Origin": {"http://example.com", "http://example.com"}}
	s.send(r).refused(http.StatusForbidden, "bad_origin")
	s.ask("OPTIONS", "/api/rooms/lobby/messages", "", "Origin: https://evil.example", "Access-Control-Request-Method: POST").refused(http.StatusMethodNotAllowed, "method_not_allowed")
}

// There are no other addresses and methods than the documented ones.
func TestAddresses(t *testing.T) {
	s := play(t)
	for _, path := range []string{
		"/api/", "/api/rooms", "/api/rooms/", "/api/rooms/lobby/", "/api/rooms/lobby/members",
		"/api/rooms/lobby/messages/", "/api/Rooms/lobby", "/api/admin", "/api/openapi.yaml",
	} {
		a := s.ask("GET", path, "").refused(http.StatusNotFound, "not_found")
		if a.Header().Get("Location") != "" {
			t.Errorf("%s leads to %s", path, a.Header().Get("Location"))
		}
	}
	for path, allow := range map[string]string{"/api/rooms/lobby/messages": "GET, POST", "/api/rooms/lobby": "GET", "/api/notifications": "POST", "/api/users/alice/logout": "POST"} {
		for _, method := range []string{"DELETE", "PUT", "PATCH", "OPTIONS", "BREW"} {
			if a := s.ask(method, path, ""); a.refused(http.StatusMethodNotAllowed, "method_not_allowed").Header().Get("Allow") != allow {
				t.Errorf("%s %s: Allow %q, want %q", method, path, a.Header().Get("Allow"), allow)
			}
		}
	}
	for _, room := range []string{"a%20b", "a%0d%0aX:y", "a%2fb", "..%2f..%2fetc", "-a", "%00", "a%00", "@alice", "@alice+bob", "!nodes", "%2e%2e", strings.Repeat("a", 65), "%F0%9F%98%80"} {
		s.ask("POST", "/api/rooms/"+room+"/messages", `{"data":1}`).refused(http.StatusBadRequest, "bad_room")
		s.ask("GET", "/api/rooms/"+room, "").refused(http.StatusBadRequest, "bad_room")
	}
	for _, user := range []string{"a%20b", "%00", "a%0d%0aX:y", "%ff", "a%E2%80%AEb", strings.Repeat("a", 129)} {
		s.ask("POST", "/api/users/"+user+"/notifications", `{"data":1}`).refused(http.StatusBadRequest, "bad_user")
		s.ask("GET", "/api/users/"+user, "").refused(http.StatusBadRequest, "bad_user")
		s.ask("POST", "/api/users/"+user+"/logout", "").refused(http.StatusBadRequest, "bad_user")
	}
	s.ask("GET", "/api/users/%2e%2e", "").says(`{"user":".."}`) // an id like others
}

// A body is JSON, as it says, not longer than 1 MiB, and has the fields that there
// are.
func TestBodies(t *testing.T) {
	s := play(t)
	const path = "/api/rooms/lobby/messages"
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	_, _ = io.CopyN(zip, zeros{}, 8<<20)
	_ = zip.Close()
	long := strings.Repeat("x", 1024)
	for name, c := range map[string]struct {
		body   string
		header string
		status int
		code   string
	}{
		"no JSON":                 {"hello", "", 400, "bad_request"},
		"nothing":                 {"", "Content-Type: application/json", 400, "bad_request"},
		"a list":                  {`[{"data":1}]`, "", 400, "bad_request"},
		"null":                    {`null`, "", 400, "bad_request"},
		"two objects":             {`{"data":1}{"data":2}`, "", 400, "bad_request"},
		"cut off":                 {`{"data":1`, "", 400, "bad_request"},
		"no data":                 {`{"key":"k1"}`, "", 400, "bad_request"},
		"an unknown field":        {`{"data":1,"dat":2}`, "", 400, "bad_request"},
		"a server's field":        {`{"data":1,"from":"alice"}`, "", 400, "bad_request"},
		"a field of another type": {`{"data":1,"key":5}`, "", 400, "bad_request"},
		"nested 33 deep":          {`{"data":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`, "", 400, "bad_request"},
		"nested 20,000 deep":      {`{"data":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "", 400, "bad_request"},
		"too long data":           {`{"data":"` + long + `"}`, "", 413, "too_large"},
		"not UTF-8":               {"{\"data\":\"\xff\"}", "", 400, "bad_request"},
		"a bare NUL":              {"{\"data\":\"\x00\"}", "", 400, "bad_request"},
		"a NUL in the key":        {`{"data":1,"key":"a\u0000"}`, "", 400, "bad_key"},
		"text":                    {`{"data":1}`, "Content-Type: text/plain", 415, "unsupported_media_type"},
		"a form":                  {`{"data":1}`, "Content-Type: application/x-www-form-urlencoded", 415, "unsupported_media_type"},
		"of no type":              {`{"data":1}`, "Content-Type: ", 415, "unsupported_media_type"},
		"a gzip bomb":             {bomb.String(), "Content-Encoding: gzip", 415, "unsupported_media_type"},
		"a bomb that hides":       {bomb.String(), "", 400, "bad_request"},
		"10 MiB":                  {`{"data":"` + strings.Repeat("x", 10<<20) + `"}`, "", 413, "too_large"},
		"2 MiB of spaces":         {`{"data":1` + strings.Repeat(" ", 2<<20) + `}`, "", 413, "too_large"},
		"as many, unsaid":         {`{"data":1` + strings.Repeat(" ", 2<<20) + `}`, "Content-Length: unsaid", 413, "too_large"},
		"10 MiB of unsaid length": {`{"data":"` + strings.Repeat("x", 10<<20) + `"}`, "Content-Length: unsaid", 413, "too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(c.body))
			r.Header = http.Header{"Authorization": {"Bearer " + everything}, "Content-Type": {"application/json; charset=utf-8"}}
			switch header, value, _ := strings.Cut(c.header, ": "); {
			case header == "Content-Length":
				r.ContentLength = -1
			case header != "":
				r.Header.Set(header, value)
			}
			a := s.send(r).refused(c.status, c.code)
			for _, internal := range []string{"json:", "Go ", "struct", "unmarshal", "services.", "MaxBytes"} {
				if strings.Contains(a.Body.String(), internal) {
					t.Errorf("%s names internals", a.Body)
				}
			}
		})
	}
	if a := s.ask("POST", path, `{"data":1,"dat":2}`); !strings.Contains(a.Body.String(), `\"dat\"`) {
		t.Errorf("%s does not name the field", a.Body)
	}
	s.ask("POST", path, `{"data":`+strings.Repeat("[", 32)+strings.Repeat("]", 32)+`}`).says(`{}`)
	s.ask("POST", path, `{"data":"\u0000"}`).says(`{}`) // data like other data
	s.ask("POST", path, `{"data":1}`, "Content-Encoding: identity").says(`{}`)
	if got := s.kept("lobby"); len(got) != 3 {
		t.Errorf("the room has %d messages, want 3", len(got))
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// One request names a thousand at the most, and one at least.
func TestTooMany(t *testing.T) {
	s := play(t)
	users := func(n int) string { return `{"data":1,"users":["a` + strings.Repeat(`","a`, n-1) + `"]}` }
	messages := func(n int) string {
		return `{"messages":[` + strings.Join(slices.Repeat([]string{`{"room":"lobby","key":"k","data":1}`}, n), ",") + `]}`
	}
	s.ask("POST", "/api/notifications", users(2000)).refused(http.StatusBadRequest, "bad_request")
	s.ask("POST", "/api/notifications", users(1001)).refused(http.StatusBadRequest, "bad_request")
	s.ask("POST", "/api/notifications", users(1000)).says(`{"messages":1,"sent":1}`)
	s.ask("POST", "/api/messages", messages(1001)).refused(http.StatusBadRequest, "bad_request")
	s.ask("POST", "/api/messages", messages(1000)).says(`{"messages":1000,"sent":1000}`)
	for _, nobody := range []string{`{"data":1}`, `{"data":1,"users":[]}`, `{"data":1,"users":null}`, `{"data":1,"users":"alice"}`, `{"data":1,"users":[1]}`} {
		s.ask("POST", "/api/notifications", nobody).refused(http.StatusBadRequest, "bad_request")
	}
	s.ask("POST", "/api/messages", `{"messages":[]}`).refused(http.StatusBadRequest, "bad_request")
}

// A panic costs the one request.
func TestPanic(t *testing.T) {
	s := play(t)
	s.handler = services.New(broken{}, s.nodes, tokens{}, nil, s.opts, &s.count.Services).Handler()
	for range s.opts.InFlight + 1 {
		s.ask("GET", "/api/rooms/lobby", "").refused(http.StatusInternalServerError, "internal")
	}
}

type broken struct{ services.Hub }

func (broken) History(context.Context, chat.RoomID, hub.Range) ([]protocol.Frame, bool, error) {
	panic("broken")
}
