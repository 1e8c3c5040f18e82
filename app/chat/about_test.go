package chat_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/chat"
)

// What a publication refers to is written without spaces and read back,
// whatever names stand in it.
func TestAbout(t *testing.T) {
	target := &chat.Target{
		Position: chat.Position{Epoch: 1763776000000, Offset: 42},
		Identity: chat.Identity{From: `auth0|5f"<&é`, Key: `k"\{}`, At: 1763776000123},
	}
	const at = `{"pos":"1763776000000-42","from":"auth0|5f\"<&é","key":"k\"\\{}","ts":1763776000123}`
	for _, c := range []struct {
		about   chat.About
		want    string
		message bool
	}{
		{chat.About{}, "", true},
		{chat.About{Edits: target}, `{"edits":` + at + `}`, false},
		{chat.About{Deletes: target}, `{"deletes":` + at + `}`, false},
		{chat.About{Describes: true}, `{"describes":true}`, false},
		{chat.About{ReplyTo: target, Mentions: []chat.UserID{"bob", "carol"}}, `{"reply_to":` + at + `,"mentions":["bob","carol"]}`, true},
	} {
		if got := c.about.String(); got != c.want || strings.Contains(got, " ") {
			t.Errorf("%+v is written as %s, want %s", c.about, got, c.want)
		}
		if got, err := chat.ParseAbout(c.want); err != nil || !reflect.DeepEqual(got, c.about) {
			t.Errorf("%s is read as %+v, %v", c.want, got, err)
		}
		if got := c.about.IsMessage(); got != c.message {
			t.Errorf("%s is a message: %t", c.want, got)
		}
	}
}

// What stays the same over a reset names no position.
func TestAboutLasts(t *testing.T) {
	about := func(offset uint64, key string) string {
		return chat.About{Edits: &chat.Target{Position: chat.Position{Epoch: 1, Offset: offset}, Identity: chat.Identity{From: "alice", Key: key}}}.Lasting()
	}
	if about(1, "k") != about(2, "k") || about(1, "k") == about(1, "l") {
		t.Errorf("%s, %s and %s", about(1, "k"), about(2, "k"), about(1, "l"))
	}
}
