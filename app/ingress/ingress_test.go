package ingress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/chatring/chatring/app/chat"
)

// A log notes what is posted, as "<room> <from> <key> <body>", once for each key.
type log struct {
	mu   sync.Mutex
	said map[string]string
	fail map[chat.RoomID]error
}

func (l *log) Post(_ context.Context, d chat.Draft) (p chat.Publication, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fail[d.Room]; err != nil {
		return p, err
	}
	if l.said == nil {
		l.said = make(map[string]string)
	}
	at := fmt.Sprintf("%s %s %s", d.Room, d.From, d.Key)
	if body, known := l.said[at]; known && body != string(d.Body) {
		return p, chat.ErrConflict
	}
	l.said[at] = string(d.Body)
	return p, nil
}

func (l *log) lines() (lines []string) {
	for at, body := range l.said {
		lines = append(lines, at+" "+body)
	}
	slices.Sort(lines)
	return lines
}

const id = "1763776000000-7"

// Entries are said where they name, once however often they come, by a service
// and under the key that they have or that their ID gives them.
func TestHandle(t *testing.T) {
	for _, c := range []struct {
		fields map[string]string
		want   []string
	}{
		{
			map[string]string{"room": "lobby", "data": `{"text": "hi"}`},
			[]string{`lobby service:ingress entry:1763776000000-7 {"text":"hi"}`},
		},
		{
			map[string]string{"room": "lobby", "data": `1`, "key": "k1", "from": "billing"},
			[]string{`lobby service:billing k1 1`},
		},
		{
			map[string]string{"user": "auth0|5f", "data": `{"order":7}`},
			[]string{`@auth0=7C5f service:ingress entry:1763776000000-7 {"type":"notification","data":{"order":7}}`},
		},
		{
			map[string]string{"users": `["bob", "alice", "bob"]`, "data": `null`, "key": "k"},
			[]string{`@alice service:ingress k {"type":"notification","data":null}`, `@bob service:ingress k {"type":"notification","data":null}`},
		},
	} {
		l := new(log)
		in := New(l, 100)
		for range 2 {
			if err := in.Handle(t.Context(), id, c.fields); err != nil {
				t.Errorf("%v: %v", c.fields, err)
			}
		}
		if got := l.lines(); !slices.Equal(got, c.want) {
			t.Errorf("%v said\n%v, want\n%v", c.fields, got, c.want)
		}
	}
}

// What cannot be said is refused with a reason that helps whoever wrote it, and
// nothing of it is said.
func TestPoison(t *testing.T) {
	for _, c := range []struct {
		fields map[string]string
		why    string
	}{
		{map[string]string{}, "one field of room, user and users"},
		{map[string]string{"room": "a", "user": "b", "data": "1"}, "one field of room, user and users"},
		{map[string]string{"user": "b", "users": `["c"]`, "data": "1"}, "one field of room, user and users"},
		{map[string]string{"room": "@alice", "data": "1"}, "room: a room name is"},
		{map[string]string{"room": "", "data": "1"}, "room: a room name is"},
		{map[string]string{"user": "a b", "data": "1"}, "user: a user id is"},
		{map[string]string{"users": `"alice"`, "data": "1"}, "users is no JSON list"},
		{map[string]string{"users": `null`, "data": "1"}, "users names 0"},
		{map[string]string{"users": `["a",""]`, "data": "1"}, "users, number 2: a user id is"},
		{map[string]string{"users": `["\ud800"]`, "data": "1"}, "users, number 1: a user id is"},
		{map[string]string{"users": "[" + strings.Repeat(`"a",`, 1000) + `"b"]`, "data": "1"}, "users names 1001"},
		{map[string]string{"room": "a"}, "data is no JSON value"},
		{map[string]string{"room": "a", "data": "hi"}, "data is no JSON value"},
		{map[string]string{"room": "a", "data": "{} {}"}, "data is no JSON value"},
		{map[string]string{"room": "a", "data": "\"\xff\""}, "data is not UTF-8"},
		{map[string]string{"room": "a", "data": `"` + strings.Repeat("x", 100) + `"`}, "data has 102 bytes, and may have 100"},
		{map[string]string{"room": "a", "data": strings.Repeat("[", 40) + strings.Repeat("]", 40)}, "nested deeper"},
		{map[string]string{"room": "a", "data": "1", "key": ""}, "key: a key is"},
		{map[string]string{"room": "a", "data": "1", "key": "a b"}, "key: a key is"},
		{map[string]string{"room": "a", "data": "1", "from": ""}, "from: a user id is"},
		{map[string]string{"room": "a", "data": "1", "from": strings.Repeat("x", 125)}, "from, with service: before it"},
		{map[string]string{"room": "a", "data": "1", "Key": "k"}, `there is no field "Key"`},
		{map[string]string{"room": "a", "data": "1", strings.Repeat("\xff", 1000): ""}, "there is no field"},
	} {
		l := new(log)
		err := New(l, 100).Handle(t.Context(), id, c.fields)
		if !errors.Is(err, ErrPoison) || !strings.Contains(err.Error(), c.why) || len(err.Error()) > 250 || !utf8.ValidString(err.Error()) {
			t.Errorf("%.80v: %v, want ErrPoison: %s", c.fields, err, c.why)
		}
		if len(l.said) > 0 {
			t.Errorf("%.80v said %v", c.fields, l.said)
		}
	}
}

// A key that was used for something else is poison, but not before the others
// have been told: what is unavailable comes again.
func TestHandleFails(t *testing.T) {
	l := &log{fail: map[chat.RoomID]error{"@bob": chat.ErrConflict, "@carol": fmt.Errorf("append: %w", chat.ErrUnavailable)}}
	in := New(l, 100)
	fields := map[string]string{"users": `["alice","bob","carol"]`, "data": "1"}
	if err := in.Handle(t.Context(), id, fields); !errors.Is(err, chat.ErrUnavailable) || errors.Is(err, ErrPoison) {
		t.Errorf("Handle = %v, want ErrUnavailable", err)
	}
	delete(l.fail, "@carol")
	if err := in.Handle(t.Context(), id, fields); !errors.Is(err, ErrPoison) || !strings.Contains(err.Error(), "@bob") {
		t.Errorf("Handle = %v, want ErrPoison for @bob", err)
	}
	if len(l.said) != 2 {
		t.Errorf("said %v, want alice and carol", l.said)
	}
}

// What is said in a room that two entries share stays in order.
func TestLanes(t *testing.T) {
	in := New(nil, 100)
	for _, c := range []struct {
		fields map[string]string
		want   []string
	}{
		{map[string]string{"room": "lobby"}, []string{"lobby"}},
		{map[string]string{"user": "bob"}, []string{"@bob"}},
		{map[string]string{"users": `["bob","c"]`}, []string{"@bob", "@c"}},
		{map[string]string{"room": "!"}, nil},
	} {
		if got := in.Lanes(c.fields); !slices.Equal(got, c.want) {
			t.Errorf("Lanes(%v) = %v, want %v", c.fields, got, c.want)
		}
	}
}
