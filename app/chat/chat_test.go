package chat_test

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/chatring/chatring/app/chat"
)

const top = 1<<64 - 1

// A position prints as it is read, and has one spelling.
func TestParsePosition(t *testing.T) {
	for _, c := range []struct {
		s    string
		want chat.Position
	}{
		{"0-0", chat.Position{}},
		{"0-1", chat.Position{Offset: 1}},
		{"1763776000000-42", chat.Position{Epoch: 1763776000000, Offset: 42}},
		{"18446744073709551615-18446744073709551615", chat.Position{Epoch: top, Offset: top}},
	} {
		got, err := chat.ParsePosition(c.s)
		if err != nil || got != c.want || got.String() != c.s {
			t.Errorf("ParsePosition(%s) = %v, %v", c.s, got, err)
		}
	}
	for _, s := range []string{
		"", "-", "0", "1-", "-1", "1-1-1", "-1-0", "1--1", "+1-0", "1-+0", "01-0", "1-00", " 1-0", "1-0 ", "1 -0", "1-0\n", "1_0-0", "0x1-0",
		"1e3-0", "1.0-0", "18446744073709551616-0", "0-18446744073709551616", "１-0", "$", "+", "*", "1-*", "1–0",
	} {
		if p, err := chat.ParsePosition(s); !errors.Is(err, chat.ErrPosition) || !p.IsZero() {
			t.Errorf("ParsePosition(%q) = %v, %v, want an error", s, p, err)
		}
	}
}

// Positions are ordered by epoch, then by offset, as numbers.
func TestPositionOrder(t *testing.T) {
	ordered := []chat.Position{{}, {Offset: 1}, {Epoch: 9, Offset: 9}, {Epoch: 9, Offset: 10}, {Epoch: 10}, {Epoch: 10, Offset: top}, {Epoch: top}}
	for i, p := range ordered {
		for j, q := range ordered {
			if got, want := p.Before(q), i < j; got != want {
				t.Errorf("%v.Before(%v) = %v", p, q, got)
			}
			if got, want := p.Compare(q), -q.Compare(p); got != want {
				t.Errorf("%v.Compare(%v) = %d, the other way round %d", p, q, got, -want)
			}
		}
	}
	if !slices.IsSortedFunc(ordered, chat.Position.Compare) {
		t.Error("Compare does not sort")
	}
}

// Only the next offset of an epoch follows a position; a room's first follows
// nothing.
func TestFollows(t *testing.T) {
	for _, c := range []struct {
		p, q chat.Position
		want bool
	}{
		{chat.Position{Epoch: 5}, chat.Position{}, true},
		{chat.Position{Epoch: 5, Offset: 1}, chat.Position{}, false},
		{chat.Position{}, chat.Position{}, false},
		{chat.Position{Epoch: 5, Offset: 1}, chat.Position{Epoch: 5}, true},
		{chat.Position{Epoch: 5, Offset: 2}, chat.Position{Epoch: 5}, false},
		{chat.Position{Epoch: 5}, chat.Position{Epoch: 5}, false},
		{chat.Position{Epoch: 6}, chat.Position{Epoch: 5, Offset: 9}, false},
		{chat.Position{Epoch: 6, Offset: 10}, chat.Position{Epoch: 5, Offset: 9}, false},
	} {
		if got := c.p.Follows(c.q); got != c.want {
			t.Errorf("%v.Follows(%v) = %v, want %v", c.p, c.q, got, c.want)
		}
	}
}

// Room names are those of the pattern that HAProxy has, too.
func TestParseRoom(t *testing.T) {
	for _, s := range []string{"a", "0", "lobby", "Team_1.2-3", strings.Repeat("a", 64)} {
		if got, err := chat.ParseRoom(s); err != nil || string(got) != s {
			t.Errorf("ParseRoom(%q) = %q, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", ".", "-a", "_a", ".a", "a b", "a\n", "a\x00", "a/b", "a%20", "a:b", "{a}", "a*", "@alice", "é", "ａ", "😀", "a\u202e", "\xff", strings.Repeat("a", 65),
	} {
		if got, err := chat.ParseRoom(s); !errors.Is(err, chat.ErrRoomName) || got != "" {
			t.Errorf("ParseRoom(%q) = %q, %v, want an error", s, got, err)
		}
	}
}

// Keys are printable ASCII.
func TestParseKey(t *testing.T) {
	for s, ok := range map[string]bool{
		"k": true, "01JD0Z": true, `"\{}:*~!`: true, strings.Repeat("k", 64): true,
		"": false, " ": false, "a b": false, "a\n": false, "\x7f": false, "é": false, "\xff": false, strings.Repeat("k", 65): false,
	} {
		if got, err := chat.ParseKey(s); (err == nil) != ok || ok && got != s {
			t.Errorf("ParseKey(%q) = %q, %v", s, got, err)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"0-0", "1763776000000-42", "18446744073709551615-18446744073709551615", "01-0", "+1-1", "1-", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := chat.ParsePosition(s); err == nil && p.String() != s {
			t.Errorf("%q prints as %s", s, p)
		}
	})
}

func FuzzParseRoom(f *testing.F) {
	for _, s := range []string{"lobby", "a.b-c_D9", "", "-", "a b", "é", strings.Repeat("a", 65)} {
		f.Add(s)
	}
	pattern := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		room, err := chat.ParseRoom(s)
		if (err == nil) != pattern.MatchString(s) || err == nil && string(room) != s {
			t.Errorf("ParseRoom(%q) = %q, %v", s, room, err)
		}
	})
}

func FuzzParseUser(f *testing.F) {
	for _, s := range []string{"alice", "auth0|5f", "[D-Tail]", "Zoë", "a b", "a\n", "\u00a0", "\u202e", "\xff", strings.Repeat("é", 65)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		user, err := chat.ParseUser(s)
		if err != nil {
			if user != "" {
				t.Errorf("ParseUser(%q) = %q beside an error", s, user)
			}
			return
		}
		if string(user) != s || s == "" || len(s) > chat.MaxUser || !utf8.ValidString(s) {
			t.Errorf("ParseUser(%q) = %q", s, user)
		}
		for _, r := range s {
			if unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Errorf("ParseUser accepts %q with %U", s, r)
			}
		}
	})
}
