package ingress

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/chatring/chatring/app/chat"
)

// Whatever an entry says, it is refused or can be said as it stands.
func FuzzEntry(f *testing.F) {
	f.Add("room", "lobby", `{"text":"hi"}`, "k", "billing")
	f.Add("user", "auth0|5f", "1", "", "")
	f.Add("users", `["a","b"]`, " [1,\n2]", "k", "a b")
	f.Add("users", `["\ud800"]`, "\"\u2028\"", "k", "\xff")
	f.Fuzz(func(t *testing.T, to, where, data, key, from string) {
		fields := map[string]string{to: where, "data": data}
		if key != "" {
			fields["key"] = key
		}
		if from != "" {
			fields["from"] = from
		}
		m, err := parse(id, fields, 1000)
		if err != nil {
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 400 {
				t.Errorf("the reason is %q", err)
			}
			return
		}
		if !json.Valid(m.body) || !utf8.Valid(m.body) || strings.ContainsAny(string(m.body), "\n\r") {
			t.Errorf("the body is %q", m.body)
		}
		if _, err := chat.ParseKey(m.key); err != nil {
			t.Errorf("the key is %q", m.key)
		}
		if u, err := chat.ParseUser(string(m.from)); err != nil || !strings.HasPrefix(string(u), "service:") {
			t.Errorf("it is from %q", m.from)
		}
		if len(m.rooms) == 0 || len(m.rooms) > MaxUsers {
			t.Errorf("it goes to %d rooms", len(m.rooms))
		}
		for _, room := range m.rooms {
			if _, err := chat.ParseAddress(string(room)); err != nil {
				t.Errorf("it goes to %q", room)
			}
			if _, inbox := room.Owner(); inbox != (to != "room") {
				t.Errorf("it goes to %q", room)
			}
		}
	})
}
