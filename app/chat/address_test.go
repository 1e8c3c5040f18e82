package chat_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/chat"
)

// Inboxes and direct rooms have one name each, which says whose they are.
func TestAddresses(t *testing.T) {
	direct := func(a, b chat.UserID) chat.RoomID {
		room, err := chat.Direct(a, b)
		if err != nil {
			t.Fatal(err)
		}
		return room
	}
	for _, c := range []struct {
		room        chat.RoomID
		want        string
		owner, a, b chat.UserID
	}{
		{chat.Inbox("alice"), "@alice", "alice", "", ""},
		{chat.Inbox("auth0|5f/é"), "@auth0=7C5f=2F=C3=A9", "auth0|5f/é", "", ""},
		{chat.Inbox("a+b"), "@a=2Bb", "a+b", "", ""},
		{chat.Inbox("[D-Tail]"), "@=5BD-Tail=5D", "[D-Tail]", "", ""},
		{direct("bob", "alice"), "@alice+bob", "", "alice", "bob"},
		{direct("alice", "bob"), "@alice+bob", "", "alice", "bob"},
		{direct("a", "A+B"), "@A=2BB+a", "", "A+B", "a"},
		{direct("é", "z"), "@z+=C3=A9", "", "z", "é"},
	} {
		owner, inbox := c.room.Owner()
		a, b, pair := c.room.Pair()
		if string(c.room) != c.want || owner != c.owner || inbox != (c.owner != "") || a != c.a || b != c.b || pair != (c.a != "") {
			t.Errorf("%s, want %s: owner %q %v, pair %q %q %v", c.room, c.want, owner, inbox, a, b, pair)
		}
		if got, err := chat.ParseAddress(c.want); err != nil || got != c.room {
			t.Errorf("ParseAddress(%s) = %q, %v", c.want, got, err)
		}
	}
	for _, s := range []string{"lobby", "Team_1.2-3"} {
		got, err := chat.ParseAddress(s)
		_, inbox := got.Owner()
		_, _, pair := got.Pair()
		if err != nil || string(got) != s || inbox || pair {
			t.Errorf("ParseAddress(%s) = %q, %v, inbox %v, direct %v", s, got, err, inbox, pair)
		}
	}
	for _, s := range []string{
		"", "@", "@+", "@alice+", "@+bob", "@bob+alice", "@alice+alice", "@a+b+c", "@=61lice", "@a=2", "@a=", "@a=2b", "@a=GG", "@a b", "@a|b", "@a=20b", "@a=0A", "@=FF",
		"@@", "!nodes", "@a{b}", "@a:b", "@a\n", "@" + strings.Repeat("a", 129), "@" + strings.Repeat("=C3", 400),
	} {
		if got, err := chat.ParseAddress(s); !errors.Is(err, chat.ErrAddress) || got != "" {
			t.Errorf("ParseAddress(%q) = %q, %v, want an error", s, got, err)
		}
	}
	if _, err := chat.Direct("alice", "alice"); !errors.Is(err, chat.ErrAddress) {
		t.Errorf("a direct room with oneself: %v", err)
	}
}

// Whatever its kind, a room is open to those whose it is, and no rights make it
// somebody else's.
func TestAccessOf(t *testing.T) {
	manage, write, none := level(chat.Manage), level(chat.Write), level(chat.NoAccess)
	for _, c := range []struct {
		user   chat.UserID
		rights chat.Rights
		room   chat.RoomID
		want   chat.Access
	}{
		{"alice", none, "@alice", chat.Read},
		{"alice", manage, "@alice", chat.Read},
		{"bob", manage, "@alice", chat.NoAccess},
		{"alice", write, "@alice+bob", chat.Write},
		{"bob", manage, "@alice+bob", chat.Write},
		{"alice", none, "@alice+bob", chat.NoAccess},
		{"carol", manage, "@alice+bob", chat.NoAccess},
		{"alice", manage, "lobby", chat.Manage},
		{"alice", none, "lobby", chat.NoAccess},
		{"alice", manage, "!nodes", chat.Manage}, // which no client can name
	} {
		if got := chat.AccessOf(c.user, c.rights, c.room); got != c.want {
			t.Errorf("%s in %s: %d, want %d", c.user, c.room, got, c.want)
		}
	}
}

type level chat.Access

func (l level) Access(chat.RoomID) chat.Access { return chat.Access(l) }
