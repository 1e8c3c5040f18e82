package services_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/chatring/chatring/app/chat"
)

// A service's message reaches the members of a room on every node, in the service's
// name, and the answer says how many sessions heard it. The node that is asked need
// not serve the room.
func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t)
		alice, bob := s.joins(s.other, "alice", "lobby", false), s.joins(s.other, "bob", "lobby", true)
		first := s.ask("POST", "/api/rooms/lobby/messages", `{"key":"k1","data":{"text": "hi"}}`).
			says(`{"room":"lobby","key":"k1","pos":"*","sessions":2,"nodes":1}`)
		carol := s.joins(s.hub, "carol", "lobby", false)
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`).says(`{"room":"lobby","key":"*","pos":"*","sessions":3,"nodes":2}`)
		synctest.Wait()
		for name, l := range map[string]*listener{"alice": alice, "bob": bob} {
			heard := l.heard(t)
			if len(heard) != 2 || heard[0].From != "service:billing" || heard[0].Key != "k1" || string(heard[0].Body) != `{"text":"hi"}` || heard[0].Position.String() != first.field("pos") {
				t.Errorf("%s heard %v", name, heard)
			}
		}
		if heard := carol.heard(t); len(heard) != 1 {
			t.Errorf("carol heard %v, want the second", heard)
		}
		s.ask("POST", "/api/rooms/empty/messages", `{"data":null}`).says(`{"pos":"*","sessions":0,"nodes":0}`)
	})
}

// The same under the same key is said once, over whichever node, whether the key
// stands in the body or in a header; something else under it is a conflict.
func TestSameKey(t *testing.T) {
	s := play(t)
	first := s.ask("POST", "/api/rooms/lobby/messages", `{"key":"k1","data":1}`).says(`{"key":"k1"}`).field("pos")
	for _, again := range []answer{
		s.ask("POST", "/api/rooms/lobby/messages", `{"data": 1,"key":"k1"}`),
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`, `Idempotency-Key: "k1"`),
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`, `Idempotency-Key: k1`),
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":1,"key":"k1"}`, `Idempotency-Key: "k1"`),
	} {
		if got := again.says(`{"key":"k1"}`).field("pos"); got != first {
			t.Errorf("again at %s, want %s", got, first)
		}
	}
	s.ask("POST", "/api/rooms/lobby/messages", `{"key":"k1","data":2}`).refused(http.StatusConflict, "conflict")
	s.ask("POST", "/api/rooms/lobby/messages", `{"key":"k1","data":1}`, `Authorization: Bearer shop publish`).says(`{"key":"k1"}`) // another sender's
	s.ask("POST", "/api/rooms/team/messages", `{"key":"k1","data":2}`).says(`{"key":"k1"}`)
	if got, want := s.kept("lobby"), []string{"service:billing k1 1", "service:shop k1 1"}; !slices.Equal(got, want) {
		t.Errorf("the room has %q, want %q", got, want)
	}
	s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`, `Idempotency-Key: "a\"b\\"`).says(`{"key":"a\"b\\"}`)
	for _, c := range []struct{ body, header string }{
		{`{"key":"k1","data":1}`, `"k2"`},
		{`{"data":1}`, `"k1`},
		{`{"data":1}`, `""`},
		{`{"data":1}`, `a b`},
		{`{"data":1}`, strings.Repeat("k", 65)},
		{`{"key":"","data":1}`, `k1`},
		{`{"key":"a b","data":1}`, ``},
	} {
		s.ask("POST", "/api/rooms/lobby/messages", c.body, "Idempotency-Key: "+c.header).refused(http.StatusBadRequest, "bad_key")
	}
}

// With the scope admin, a service speaks for a user; nobody else does.
func TestAs(t *testing.T) {
	s := play(t)
	s.ask("POST", "/api/rooms/lobby/messages", `{"key":"k1","data":1,"as":"alice"}`).says(`{"key":"k1"}`)
	s.ask("POST", "/api/rooms/lobby/messages", `{"data":1,"as":"alice"}`, "Authorization: Bearer bot publish").refused(http.StatusForbidden, "forbidden")
	s.ask("POST", "/api/rooms/lobby/messages", `{"data":1,"as":"a b"}`).refused(http.StatusBadRequest, "bad_user")
	s.ask("POST", "/api/rooms/lobby/messages", `{"data":1,"as":"service:shop"}`).refused(http.StatusBadRequest, "bad_user")
	if got, want := s.kept("lobby"), []string{"alice k1 1"}; !slices.Equal(got, want) {
		t.Errorf("the room has %q, want %q", got, want)
	}
}

// A notification goes to all sessions of a user, wherever they are, and waits in
// the inbox when there is none.
func TestNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t)
		const user = "auth0|5f/7" // needs escapes in an address
		phone, laptop := s.online(s.hub, user), s.online(s.other, user)
		bob := s.online(s.hub, "bob")
		s.ask("POST", "/api/users/auth0%7C5f%2F7/notifications", `{"key":"k1","data":{"order":7}}`).
			says(`{"user":"auth0|5f/7","key":"k1","pos":"*","sessions":2,"nodes":2}`)
		s.ask("POST", "/api/users/away/notifications", `{"key":"k1","data":1}`).says(`{"user":"away","pos":"*","sessions":0,"nodes":0}`)
		synctest.Wait()
		for name, l := range map[string]*listener{"the phone": phone, "the laptop": laptop} {
			if heard := l.heard(t); len(heard) != 1 || heard[0].From != "service:billing" || string(heard[0].Body) != `{"type":"notification","data":{"order":7}}` {
				t.Errorf("%s heard %v", name, heard)
			}
		}
		if heard := bob.heard(t); len(heard) != 0 {
			t.Errorf("bob heard %v", heard)
		}
		if got, want := s.kept(chat.Inbox("away")), []string{`service:billing k1 {"type":"notification","data":1}`}; !slices.Equal(got, want) {
			t.Errorf("in the inbox waits %q, want %q", got, want)
		}
		s.ask("POST", "/api/users/away/notifications", `{"data":1,"as":"alice"}`).refused(http.StatusBadRequest, "bad_request")
	})
}

// A thousand users are notified by one request, which says of each how many
// sessions heard it, and of all together. Who is named twice is told once. The same
// again, under the same key, does nothing.
func TestNotifyMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t)
		var users []string
		var sessions []*listener
		for i := range 1000 {
			user := fmt.Sprintf("user-%d", i)
			users = append(users, user)
			if i%5 == 0 {
				sessions = append(sessions, s.online(s.other, chat.UserID(user)))
			}
		}
		sessions = append(sessions, s.online(s.hub, "user-0"))
		body := func(more ...string) string {
			b, _ := json.Marshal(map[string]any{"users": append(slices.Clone(users[:1000-len(more)]), more...), "key": "k1", "data": "hi"})
			return string(b)
		}
		a := s.ask("POST", "/api/notifications", body()).says(`{"messages":1000,"sent":1000,"failed":0,"online":200,"sessions":201,"nodes":2,"results":"*"}`)
		results, _ := a.said["results"].([]any)
		for i, want := range map[int]string{0: `"sessions":2`, 1: `"sessions":0`, 5: `"sessions":1`} {
			if got := compact(results[i]); !strings.Contains(got, want) || !strings.Contains(got, fmt.Sprintf(`"user":"user-%d"`, i)) || !strings.Contains(got, `"pos":"`) {
				t.Errorf("result %d is %s, want %s", i, got, want)
			}
		}
		s.ask("POST", "/api/notifications", body("user-0", "user-0", "a b")).says(`{"messages":998,"sent":997,"failed":1}`)
		synctest.Wait()
		for i, l := range sessions {
			if heard := l.heard(t); len(heard) != 1 {
				t.Errorf("session %d heard %v, want one notification", i, heard)
			}
		}
		if got := s.kept(chat.Inbox("user-1")); len(got) != 1 {
			t.Errorf("in an inbox waits %q, want one notification", got)
		}
	})
}

// Without a key one is made for all, and said, so that the same can be asked again.
func TestNotifyManyWithoutKey(t *testing.T) {
	s := play(t)
	a := s.ask("POST", "/api/notifications", `{"users":["alice","bob"],"data":1}`).says(`{"sent":2}`)
	var said struct{ Results []struct{ User, Key string } }
	if err := json.Unmarshal(a.Body.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	if key := said.Results[0].Key; key == "" || said.Results[1].Key != key {
		t.Errorf("the keys are %+v, want one for both", said.Results)
	}
}

// Each message of a batch has its own answer; one that cannot be sent keeps back
// no other. Those of one room are appended in their order.
func TestBatch(t *testing.T) {
	s := play(t)
	s.online(s.hub, "alice")
	a := s.ask("POST", "/api/messages", `{"messages":[
		{"room":"lobby","key":"k1","data":1},
		{"user":"alice","key":"k1","data":2},
		{"room":"a b","data":3},
		{"room":"lobby","key":"k2","data":4,"as":"bob"},
		{"room":"lobby","user":"alice","data":5},
		{"data":6},
		{"room":"lobby"},
		{"room":"lobby","key":"k1","data":7},
		{"user":"alice","data":8,"as":"bob"},
		{"room":"lobby","key":"k3","data":9},
		{"room":"lobby","key":"","data":10},
		{"user":"a b","data":11},
		{"room":"lobby","data":"`+strings.Repeat("x", 1023)+`"}
	]}`).says(`{"messages":13,"sent":4,"failed":9,"online":1,"sessions":1,"nodes":1,"results":"*"}`)
	var said struct {
		Results []struct {
			Pos   string
			Error *struct{ Code, Message string }
		}
	}
	if err := json.Unmarshal(a.Body.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	for i, code := range []string{"", "", "bad_room", "", "bad_request", "bad_request", "bad_request", "conflict", "bad_request", "", "bad_key", "bad_user", "too_large"} {
		r := said.Results[i]
		if (code == "") != (r.Pos != "" && r.Error == nil) || code != "" && (r.Error == nil || r.Error.Code != code || r.Pos != "") {
			t.Errorf("result %d is %+v, want %q", i, r, code)
		}
	}
	if got, want := s.kept("lobby"), []string{"service:billing k1 1", "bob k2 4", "service:billing k3 9"}; !slices.Equal(got, want) {
		t.Errorf("the room has %q, want %q", got, want)
	}
}

// A batch without keys is made repeatable by a header: each message gets its own.
func TestBatchUnderOneKey(t *testing.T) {
	s := play(t)
	for range 2 {
		s.ask("POST", "/api/messages", `{"messages":[{"room":"lobby","data":1},{"room":"lobby","data":2},{"room":"lobby","key":"own","data":3}]}`,
			`Idempotency-Key: "7f3"`).says(`{"sent":3}`)
	}
	if got, want := s.kept("lobby"), []string{"service:billing 7f3.0 1", "service:billing 7f3.1 2", "service:billing own 3"}; !slices.Equal(got, want) {
		t.Errorf("the room has %q, want %q", got, want)
	}
	s.ask("POST", "/api/messages", `{"messages":[{"room":"lobby","data":1}]}`, "Idempotency-Key: "+strings.Repeat("k", 63)).says(`{"failed":1}`)
}

// A room's messages keep their order, however many go at once.
func TestBatchKeepsOrder(t *testing.T) {
	s := play(t)
	var messages, want []string
	for i := range 100 {
		messages = append(messages, fmt.Sprintf(`{"room":"room-%d","key":"k%d","data":%d}`, i%2, i, i))
		want = append(want, fmt.Sprintf("service:billing k%d %d", i, i))
	}
	s.ask("POST", "/api/messages", `{"messages":[`+strings.Join(messages, ",")+`]}`).says(`{"sent":100}`)
	for room := range 2 {
		got := s.kept(chat.RoomID(fmt.Sprintf("room-%d", room)))
		for i := range got {
			if got[i] != want[2*i+room] {
				t.Fatalf("room %d has %q at %d, want %q", room, got[i], i, want[2*i+room])
			}
		}
	}
}

// No log, no message: the same is to be sent again, under the same key. What was
// appended and cannot be counted is sent all the same.
func TestLogIsDown(t *testing.T) {
	s := play(t)
	s.brokers.SetDown(true)
	for _, c := range []struct{ path, body string }{
		{"/api/rooms/lobby/messages", `{"key":"k1","data":1}`},
		{"/api/users/alice/notifications", `{"key":"k1","data":1}`},
		{"/api/notifications", `{"users":["alice","bob"],"key":"k1","data":1}`},
		{"/api/messages", `{"messages":[{"room":"lobby","key":"k1","data":1}]}`},
	} {
		s.ask("POST", c.path, c.body).refused(http.StatusServiceUnavailable, "unavailable")
	}
	s.ask("GET", "/api/rooms/lobby/messages", "").refused(http.StatusServiceUnavailable, "unavailable")
	s.ask("GET", "/api/rooms/lobby", "").refused(http.StatusServiceUnavailable, "unavailable")
	s.ask("POST", "/api/messages", `{"messages":[{"room":"lobby","key":"k1","data":1},{"room":"a b","data":1}]}`).says(`{"sent":0,"failed":2}`)
	s.brokers.SetDown(false)
	s.brokers.Interrupt("1111")
	a := s.ask("POST", "/api/rooms/lobby/messages", `{"key":"k1","data":1}`).says(`{"pos":"*"}`)
	if _, counted := a.said["sessions"]; counted {
		t.Errorf("%s: the other nodes cannot be asked", a.Body)
	}
}
