package chattest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
)

// TestBookmarks tells every story of a bookmarks.Store, each on one of its own and
// with a broker whose logs are those that the store knows.
func TestBookmarks(t *testing.T, open func(t *testing.T) (bookmarks.Store, chat.Broker)) {
	for _, s := range bookmarkStories {
		t.Run(s.name, func(t *testing.T) {
			store, log := open(t)
			RunBroker(t, log, NewRecorder())
			s.tell(t, shelf{store, log})
		})
	}
}

var bookmarkStories = []struct {
	name string
	tell func(*testing.T, shelf)
}{
	{"a marker goes forward", markerGoesForward},
	{"a marker ahead of the log is refused", markerAheadIsRefused},
	{"a full list takes no other room", fullListTakesNoOther},
	{"what stands behind the marker is unread", behindTheMarkerIsUnread},
	{"a room in which nothing was read", nothingRead},
	{"what changes others is no message", changesAreNoMessages},
	{"a room that is described", describedRoom},
	{"another epoch counts at most", anotherEpochCountsAtMost},
	{"a room without a log", roomWithoutLog},
	{"lists are their users' own", listsAreTheirUsersOwn},
	{"what is added keeps its marker", addedKeepsItsMarker},
	{"who keeps a room", whoKeepsARoom},
	{"a list that has no time left is unavailable", endedListIsUnavailable},
}

// A shelf is a store of bookmarks and the logs that they are in.
type shelf struct {
	bookmarks.Store
	log chat.Broker
}

const plenty = 100

// mark moves alice's marker, which must be taken, and returns where it stands.
func (s shelf) mark(t *testing.T, room chat.RoomID, pos chat.Position) (at chat.Position, moved bool) {
	t.Helper()
	at, moved, err := s.Mark(t.Context(), "alice", room, pos, plenty)
	if err != nil {
		t.Fatalf("Mark(%s, %s) = %v", room, pos, err)
	}
	return at, moved
}

// list returns the list of a user by room, without the times.
func (s shelf) list(t *testing.T, user chat.UserID) map[chat.RoomID]bookmarks.Bookmark {
	t.Helper()
	all, err := s.List(t.Context(), user)
	if err != nil {
		t.Fatalf("List(%s) = %v", user, err)
	}
	rooms := make(map[chat.RoomID]bookmarks.Bookmark)
	for _, b := range all {
		if b.At.IsZero() != b.Last.IsZero() {
			t.Errorf("%s ends at %s, at the time %v", b.Room, b.Last, b.At)
		}
		rooms[b.Room] = b
	}
	if len(rooms) != len(all) {
		t.Errorf("%v has a room twice", all)
	}
	return rooms
}

// want compares what a list says of a room; the time is the broker's.
func (s shelf) want(t *testing.T, want bookmarks.Bookmark) {
	t.Helper()
	got := s.list(t, "alice")[want.Room]
	want.At = got.At
	if got != want {
		t.Errorf("the list says\n%+v, want\n%+v", got, want)
	}
}

func markerGoesForward(t *testing.T, s shelf) {
	said := sayN(t, s.log, "lobby", 3)
	for _, c := range []struct {
		to, want chat.Position
		moved    bool
	}{
		{said[1].Position, said[1].Position, true},
		{said[1].Position, said[1].Position, false},
		{said[0].Position, said[1].Position, false},
		{chat.Position{}, said[1].Position, false},
		{chat.Position{Epoch: said[0].Epoch - 1, Offset: 9}, said[1].Position, false},
		{said[2].Position, said[2].Position, true},
	} {
		if at, moved := s.mark(t, "lobby", c.to); at != c.want || moved != c.moved {
			t.Errorf("marked %s, it stands at %s, moved: %v; want %s, %v", c.to, at, moved, c.want, c.moved)
		}
	}
}

func markerAheadIsRefused(t *testing.T, s shelf) {
	said := sayN(t, s.log, "lobby", 2)
	last := said[1].Position
	for _, ahead := range []chat.Position{
		{Epoch: last.Epoch, Offset: last.Offset + 1},
		{Epoch: last.Epoch + 1},
		{Epoch: 1<<64 - 1, Offset: 1<<64 - 1},
	} {
		if _, _, err := s.Mark(t.Context(), "alice", "lobby", ahead, plenty); !errors.Is(err, bookmarks.ErrAhead) {
			t.Errorf("Mark(%s) = %v, want ErrAhead: the log ends at %s", ahead, err, last)
		}
	}
	if list := s.list(t, "alice"); len(list) != 0 {
		t.Errorf("the list has %v, want nothing", list)
	}
}

func fullListTakesNoOther(t *testing.T, s shelf) {
	mark := func(room chat.RoomID, pos chat.Position) error {
		_, _, err := s.Mark(t.Context(), "alice", room, pos, 2)
		return err
	}
	said := sayN(t, s.log, "lobby", 1)
	if err := errors.Join(mark("lobby", chat.Position{}), mark("team", chat.Position{})); err != nil {
		t.Fatal(err)
	}
	if err := mark("third", chat.Position{}); !errors.Is(err, bookmarks.ErrFull) {
		t.Errorf("Mark of a third room = %v, want ErrFull", err)
	}
	if err := s.Add(t.Context(), "third", chat.Position{}, map[chat.UserID]chat.Position{"alice": {}}, 2); err != nil {
		t.Errorf("Add of a third room = %v", err)
	}
	if err := mark("lobby", said[0].Position); err != nil {
		t.Errorf("Mark of a room on the full list = %v", err)
	}
	if list := s.list(t, "alice"); len(list) != 2 || list["lobby"].Read != said[0].Position {
		t.Errorf("the list has %v", list)
	}
	if err := s.Forget(t.Context(), "alice", "team", "never"); err != nil {
		t.Errorf("Forget = %v", err)
	}
	if err := s.Forget(t.Context(), "alice"); err != nil {
		t.Errorf("Forget of nothing = %v", err)
	}
	if err := mark("third", chat.Position{}); err != nil {
		t.Errorf("Mark of a third room after one was forgotten = %v", err)
	}
}

func behindTheMarkerIsUnread(t *testing.T, s shelf) {
	said := sayN(t, s.log, "lobby", 5)
	last := said[4].Position
	for n, p := range said {
		s.mark(t, "lobby", p.Position)
		s.want(t, bookmarks.Bookmark{Room: "lobby", Read: p.Position, Last: last, Unread: 4 - n})
	}
	more := say(t, s.log, draft("lobby", "bob", "more", "1"), last)
	s.want(t, bookmarks.Bookmark{Room: "lobby", Read: last, Last: more.Position, Unread: 1})
	if got := s.list(t, "alice")["lobby"].At; !got.Equal(more.At) {
		t.Errorf("the last message is of %v, want %v", got, more.At)
	}
}

func nothingRead(t *testing.T, s shelf) {
	s.mark(t, "lobby", chat.Position{})
	said := sayN(t, s.log, "lobby", 3)
	s.want(t, bookmarks.Bookmark{Room: "lobby", Last: said[2].Position, Unread: 3})
}

func changesAreNoMessages(t *testing.T, s shelf) {
	said := sayN(t, s.log, "lobby", 2)
	s.mark(t, "lobby", said[0].Position)
	s.mark(t, "team", chat.Position{})
	change := func(room chat.RoomID, key string, about chat.About) chat.Position {
		t.Helper()
		d := draft(room, "alice", key, `{}`)
		d.About = about.String()
		return say(t, s.log, d, chat.Position{}).Position
	}
	target := said[0].Target()
	change("lobby", "edit", chat.About{Edits: &target})
	change("lobby", "describe", chat.About{Describes: true})
	change("lobby", "reply", chat.About{ReplyTo: &target, Mentions: []chat.UserID{"alice"}})
	last := change("lobby", "delete", chat.About{Deletes: &target})
	s.want(t, bookmarks.Bookmark{Room: "lobby", Read: said[0].Position, Last: last, Unread: 2, Description: `{}`})
	s.mark(t, "lobby", chat.Position{Epoch: last.Epoch, Offset: last.Offset - 1})
	s.want(t, bookmarks.Bookmark{Room: "lobby", Read: chat.Position{Epoch: last.Epoch, Offset: last.Offset - 1}, Last: last, Description: `{}`})

	first := say(t, s.log, draft("team", "bob", "1", "1"), chat.Position{}).Target()
	last = change("team", "edit", chat.About{Edits: &first})
	s.want(t, bookmarks.Bookmark{Room: "team", Last: last, Unread: 1})

	// In another epoch, what is changed there does not count, either.
	restore(t, s.log, draft("team", "bob", "lost", "1"), chat.Position{Epoch: last.Epoch, Offset: last.Offset + 1})
	last = change("team", "again", chat.About{Edits: &first})
	s.mark(t, "team", first.Position)
	for _, b := range s.list(t, "alice") {
		if b.Room == "team" && (b.Unread < 1 || b.Unread > 2 || !b.AtMost || b.Last != last) {
			t.Errorf("the list says %+v, want one restored message, and at most one change", b)
		}
	}
}

func describedRoom(t *testing.T, s shelf) {
	const about = `{"title":"The lobby","topic":"all and nothing"}`
	d := draft("lobby", "alice", "k", about)
	d.About = chat.About{Describes: true}.String()
	last := say(t, s.log, d, chat.Position{}).Position
	s.mark(t, "lobby", last)
	s.want(t, bookmarks.Bookmark{Room: "lobby", Read: last, Last: last, Description: about})
}

func anotherEpochCountsAtMost(t *testing.T, s shelf) {
	said := sayN(t, s.log, "lobby", 3)
	s.mark(t, "lobby", said[1].Position)
	s.mark(t, "team", chat.Position{})
	lost := chat.Position{Epoch: said[2].Epoch, Offset: said[2].Offset + 4}
	restore(t, s.log, draft("lobby", "bob", "lost", "1"), lost)
	last := say(t, s.log, draft("lobby", "bob", "new", "1"), chat.Position{}).Position
	if last.Epoch == lost.Epoch {
		t.Fatalf("%s is in the epoch before", last)
	}
	s.want(t, bookmarks.Bookmark{Room: "lobby", Read: said[1].Position, Last: last, Unread: 3, AtMost: true})
	if at, moved := s.mark(t, "lobby", last); at != last || !moved {
		t.Errorf("the marker stands at %s, moved: %v; want it at %s", at, moved, last)
	}
	s.want(t, bookmarks.Bookmark{Room: "lobby", Read: last, Last: last})
}

func roomWithoutLog(t *testing.T, s shelf) {
	if at, moved := s.mark(t, "silent", chat.Position{}); !at.IsZero() || !moved {
		t.Errorf("the marker stands at %s, moved: %v; want it at 0-0 for the first time", at, moved)
	}
	if _, _, err := s.Mark(t.Context(), "alice", "silent", chat.Position{Epoch: 1}, plenty); !errors.Is(err, bookmarks.ErrAhead) {
		t.Errorf("Mark = %v, want ErrAhead", err)
	}
	s.want(t, bookmarks.Bookmark{Room: "silent"})
}

func listsAreTheirUsersOwn(t *testing.T, s shelf) {
	users := []chat.UserID{"alice", "Alice", "auth0|5f", "user@example.com", "[D-Tail]", "{alice}", "ålice", "alice:log", "=61lice"}
	for n, user := range users {
		room := chat.RoomID("room-" + strconv.Itoa(n))
		if _, _, err := s.Mark(t.Context(), user, room, chat.Position{}, plenty); err != nil {
			t.Fatalf("Mark of %s = %v", user, err)
		}
	}
	for n, user := range users {
		list := s.list(t, user)
		if _, ok := list[chat.RoomID("room-"+strconv.Itoa(n))]; !ok || len(list) != 1 {
			t.Errorf("%s has the list %v", user, list)
		}
	}
	if list := s.list(t, "nobody"); len(list) != 0 {
		t.Errorf("nobody has the list %v", list)
	}
}

func addedKeepsItsMarker(t *testing.T, s shelf) {
	room, err := chat.Direct("alice", "bob")
	if err != nil {
		t.Fatal(err)
	}
	said := sayN(t, s.log, room, 3)
	for _, c := range []struct {
		before, alice, bob chat.Position
		aliceHas, bobHas   int
	}{
		{chat.Position{}, said[0].Position, chat.Position{}, 2, 3},   // it is on neither list
		{said[1].Position, said[2].Position, said[1].Position, 2, 3}, // somebody has not read what is before
		{said[0].Position, said[1].Position, said[0].Position, 1, 3}, // alice has
		{said[1].Position, said[2].Position, said[1].Position, 0, 3}, // and again
		{chat.Position{}, chat.Position{}, said[0].Position, 0, 2},   // bob has
	} {
		if err := s.Add(t.Context(), room, c.before, map[chat.UserID]chat.Position{"alice": c.alice, "bob": c.bob}, plenty); err != nil {
			t.Fatalf("Add = %v", err)
		}
		for user, unread := range map[chat.UserID]int{"alice": c.aliceHas, "bob": c.bobHas} {
			if got := s.list(t, user)[room]; got.Unread != unread || got.AtMost {
				t.Errorf("after %+v %s has %+v, want %d unread", c, user, got, unread)
			}
		}
	}
}

func whoKeepsARoom(t *testing.T, s shelf) {
	var users, want []chat.UserID
	for n := range 16 {
		user := chat.UserID(fmt.Sprintf("user|%d", n))
		users = append(users, user)
		if n%3 == 0 {
			want = append(want, user)
			if _, _, err := s.Mark(t.Context(), user, "lobby", chat.Position{}, plenty); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := s.Keepers(t.Context(), "lobby", users); err != nil || !slices.Equal(got, want) {
		t.Errorf("Keepers = %v, %v; want %v", got, err, want)
	}
	if got, err := s.Keepers(t.Context(), "team", users); err != nil || len(got) != 0 {
		t.Errorf("Keepers of another room = %v, %v; want nobody", got, err)
	}
}

func endedListIsUnavailable(t *testing.T, s shelf) {
	s.mark(t, "lobby", chat.Position{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.List(ctx, "alice"); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("List = %v, want ErrUnavailable", err)
	}
	if _, _, err := s.Mark(ctx, "alice", "lobby", chat.Position{}, plenty); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("Mark = %v, want ErrUnavailable", err)
	}
}
