package services_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/services"
)

// A service reads what was said in a room, forth and back, as members hear it.
func TestHistory(t *testing.T) {
	s := play(t)
	var pos []string
	for i := range 5 {
		pos = append(pos, s.ask("POST", "/api/rooms/lobby/messages", fmt.Sprintf(`{"key":"k%d","data":%d}`, i, i)).says(`{"pos":"*"}`).field("pos"))
	}
	for _, c := range []struct {
		query string
		want  []string
		more  bool
	}{
		{"", pos, false},
		{"?limit=2", pos[3:], true},
		{"?limit=256", pos, false},
		{"?before=" + pos[3] + "&limit=2", pos[1:3], true},
		{"?before=" + pos[2], pos[:2], false},
		{"?after=" + pos[2], pos[3:], false},
		{"?after=0-0&limit=2", pos[:2], true},
		{"?after=" + pos[4], nil, false},
	} {
		a := s.ask("GET", "/api/rooms/lobby/messages"+c.query, "").says(fmt.Sprintf(`{"messages":"*","more":%v}`, c.more))
		messages, _ := a.said["messages"].([]any)
		var got []string
		for _, m := range messages {
			message, _ := m.(map[string]any)
			if message["push"] != "message" || message["from"] != "service:billing" {
				t.Errorf("%s: %v", c.query, message)
			}
			got = append(got, fmt.Sprint(message["pos"]))
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.query, got, c.want)
		}
	}
	s.ask("GET", "/api/rooms/silent/messages", "").says(`{"messages":[],"more":false}`)
	for query, code := range map[string]string{
		"?before=1":             "bad_position",
		"?after=$":              "bad_position",
		"?after=":               "bad_position",
		"?before=1-1&after=1-1": "bad_request",
		"?limit=0":              "bad_request",
		"?limit=257":            "bad_request",
		"?limit=1e3":            "bad_request",
		"?befor=1-1":            "bad_request",
		"?limit=1&limit=2":      "bad_request",
		"?%zz":                  "bad_request",
	} {
		s.ask("GET", "/api/rooms/lobby/messages"+query, "").refused(http.StatusBadRequest, code)
	}
}

// A message that answers another one refers to it by position, and by what stays when
// positions change. What the room does not keep cannot be answered.
func TestReply(t *testing.T) {
	s := play(t)
	h := &recording{Hub: s.hub}
	s.handler = services.New(h, s.nodes, tokens{}, nil, s.opts, &s.count.Services).Handler()
	s.ask("POST", "/api/rooms/lobby/messages", `{"data":0}`).says(`{"pos":"*"}`)
	pos := s.ask("POST", "/api/rooms/lobby/messages", `{"key":"k1","data":1}`).says(`{"pos":"*"}`).field("pos")
	s.ask("POST", "/api/rooms/lobby/messages", `{"key":"k2","data":2,"reply_to":"`+pos+`"}`).says(`{"pos":"*"}`)
	about, err := chat.ParseAbout(h.posted[2].About)
	if err != nil || about.ReplyTo == nil || about.ReplyTo.Position.String() != pos || about.ReplyTo.From != "service:billing" || about.ReplyTo.Key != "k1" || about.ReplyTo.At == 0 {
		t.Errorf("it is about %s, %v, want an answer to k1", h.posted[2].About, err)
	}
	edit, err := s.hub.Post(t.Context(), chat.Draft{Room: "lobby", From: "service:billing", Body: []byte("3"), About: chat.About{Edits: about.ReplyTo}.String()})
	if err != nil {
		t.Fatal(err)
	}
	s.ask("POST", "/api/rooms/lobby/messages", `{"data":4,"reply_to":"`+edit.Position.String()+`"}`).refused(http.StatusBadRequest, "not_found") // an edit says nothing itself
	s.ask("POST", "/api/rooms/lobby/messages", `{"data":4,"reply_to":"`+pos+`"}`).says(`{"pos":"*"}`)                                            // what was edited does
	for bad, code := range map[string]string{"1-1": "not_found", "0-0": "not_found", "18446744073709551615-18446744073709551615": "not_found", "x": "bad_position", "": "bad_position"} {
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":2,"reply_to":"`+bad+`"}`).refused(http.StatusBadRequest, code)
	}
	s.ask("POST", "/api/rooms/team/messages", `{"data":2,"reply_to":"`+pos+`"}`).refused(http.StatusBadRequest, "not_found")
}

// Who is in a room is asked of all nodes, and so is how many sessions hear it.
func TestRoom(t *testing.T) {
	s := play(t)
	s.ask("GET", "/api/rooms/lobby", "").says(`{"room":"lobby","pos":"0-0","users":0,"members":0,"watchers":0,"shards":[],"complete":true}`)
	s.joins(s.hub, "alice", "lobby", false)
	s.joins(s.other, "alice", "lobby", false)
	s.joins(s.other, "bob", "lobby", false)
	s.joins(s.other, "carol", "lobby", true)
	pos := s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`).says(`{"sessions":4}`).field("pos")
	a := s.ask("GET", "/api/rooms/lobby", "").says(`{"room":"lobby","pos":"` + pos + `","ts":"*","users":2,"members":3,"watchers":1,"shards":["1111","2222"],"complete":true}`)
	if ts, _ := a.said["ts"].(float64); time.Since(time.UnixMilli(int64(ts))).Abs() > time.Minute {
		t.Errorf("ts is %v", a.said["ts"])
	}
	s.ask("GET", "/api/rooms/lobby/presence", "").says(`{"users":[{"user":"alice","sessions":2},{"user":"bob","sessions":1}],"total":2,"watchers":1,"complete":true}`)
	s.ask("GET", "/api/rooms/lobby/presence?x=1", "").refused(http.StatusBadRequest, "bad_request")
	s.ask("GET", "/api/rooms/lobby?x=1", "").refused(http.StatusBadRequest, "bad_request")
}

// A user is online who has a session that hears the inbox, wherever it is.
func TestUser(t *testing.T) {
	s := play(t)
	s.ask("GET", "/api/users/alice", "").says(`{"user":"alice","online":false,"sessions":0,"shards":[],"complete":true}`)
	s.online(s.hub, "alice")
	s.online(s.other, "alice")
	s.online(s.other, "alice")
	s.joins(s.hub, "bob", "lobby", false)
	s.ask("GET", "/api/users/alice", "").says(`{"user":"alice","online":true,"sessions":3,"shards":["1111","2222"],"complete":true}`)
	s.ask("GET", "/api/users/bob", "").says(`{"online":false}`)
	s.ask("GET", "/api/users/alice?x=1", "").refused(http.StatusBadRequest, "bad_request")
}

// A recording hub notes what is posted.
type recording struct {
	services.Hub
	posted []chat.Draft
}

func (h *recording) Post(ctx context.Context, d chat.Draft) (chat.Publication, error) {
	h.posted = append(h.posted, d)
	return h.Hub.Post(ctx, d)
}
