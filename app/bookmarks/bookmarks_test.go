package bookmarks_test

import (
	"testing"
	"time"

	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
)

func at(room chat.RoomID, ms int64) bookmarks.Bookmark {
	return bookmarks.Bookmark{Room: room, At: time.UnixMilli(ms)}
}

// Pages together have every room once, the room that was last spoken in first, and
// silent ones last, in the order of their names.
func TestPages(t *testing.T) {
	list := func() []bookmarks.Bookmark {
		return []bookmarks.Bookmark{
			{Room: "silent-b"}, at("old", 1), at("new", 9), {Room: "silent-a"}, at("same-b", 5), at("@alice+bob", 5), at("same-a", 5),
		}
	}
	want := []chat.RoomID{"new", "@alice+bob", "same-a", "same-b", "old", "silent-a", "silent-b"}
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []chat.RoomID
		var after bookmarks.Cursor
		for pages := 0; ; pages++ {
			page, next := bookmarks.Page(list(), after, limit)
			for _, b := range page {
				got = append(got, b.Room)
			}
			if next == (bookmarks.Cursor{}) {
				break
			}
			if len(page) != limit || pages > len(want) {
				t.Fatalf("limit %d: page %d has %d rooms", limit, pages, len(page))
			}
			parsed, err := bookmarks.ParseCursor(next.String())
			if err != nil || parsed != next {
				t.Fatalf("%q is read as %v, %v", next, parsed, err)
			}
			after = parsed
		}
		for i, room := range want {
			if len(got) != len(want) || got[i] != room {
				t.Fatalf("limit %d: %v, want %v", limit, got, want)
			}
		}
	}
}

// A room that was spoken in since the page before, or forgotten, changes nothing of
// what follows.
func TestPageOfAnotherList(t *testing.T) {
	_, next := bookmarks.Page([]bookmarks.Bookmark{at("a", 9), at("b", 8), at("c", 7), at("d", 6)}, bookmarks.Cursor{}, 2)
	for _, list := range [][]bookmarks.Bookmark{
		{at("d", 10), at("a", 9), at("b", 8), at("c", 7)},
		{at("a", 9), at("b", 11), at("c", 7)},
		{at("a", 9), at("c", 7)},
	} {
		page, _ := bookmarks.Page(list, next, 2)
		if len(page) != 1 || page[0].Room != "c" {
			t.Errorf("the page has %+v, want c", page)
		}
	}
}

// What no page has answered is no cursor.
func TestParseCursor(t *testing.T) {
	for _, s := range []string{"", "-", "1", "lobby", "1-", "x-lobby", "1-a b", "1-@alice+alice", "9223372036854775808-lobby", "1763776000000-42-\x00"} {
		if c, err := bookmarks.ParseCursor(s); err == nil {
			t.Errorf("%q is read as %v", s, c)
		}
	}
}
