package chattest

import (
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/chatring/chatring/app/chat"
)

// changes are the stories about publications that refer to others.
var changes = []BrokerStory{
	{"what a publication is about survives", aboutSurvives},
	{"a key about something else conflicts", keyAboutConflicts},
	{"a message has its last edit", messageHasLastEdit},
	{"a deletion is for good", deletionIsForGood},
	{"a change knows its message over a reset", changeKnowsItsMessage},
	{"a room has its last description", roomHasLastDescription},
}

// about is a draft that refers to something.
func about(room chat.RoomID, from chat.UserID, key, body string, a chat.About) chat.Draft {
	d := draft(room, from, key, body)
	d.About = a.String()
	return d
}

func edit(p chat.Publication, from chat.UserID, key, body string) chat.Draft {
	t := p.Target()
	return about(p.Room, from, key, body, chat.About{Edits: &t})
}

func deletion(p chat.Publication, from chat.UserID, key string) chat.Draft {
	t := p.Target()
	return about(p.Room, from, key, "null", chat.About{Deletes: &t})
}

// sameChanges compares what has become of publications: "" for nothing, "deleted by
// bob", or a body.
func sameChanges(t *testing.T, b chat.Broker, of []chat.Publication, want ...string) {
	t.Helper()
	changes, err := b.Changes(t.Context(), "lobby", of)
	if err != nil {
		t.Fatalf("Changes = %v", err)
	}
	got := make([]string, len(changes))
	for i, c := range changes {
		if got[i] = string(c.Body); c.Deleted {
			got[i] = "deleted by " + string(c.By) + string(c.Body)
		}
		if c.IsZero() != (got[i] == "") {
			t.Errorf("change %d is %+v", i, c)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the changes are %q, want %q", got, want)
	}
}

// What a publication is about is in the log, and comes over the bridge, when it is
// told again, too; it says nothing about those without.
func aboutSurvives(t *testing.T, c Cluster) {
	one, two := c.start(t, "1111"), c.start(t, "2222")
	open(t, "lobby", one, two)
	first := say(t, one, draft("lobby", "alice", "1", `"r p a"`), chat.Position{})
	target := first.Target()
	target.From, target.Key = `auth0|"é<&`, `\"{}`
	reply := about("lobby", "bob", "1", `"a b  c"`, chat.About{ReplyTo: &target, Mentions: []chat.UserID{"alice", "🦆"}})
	said := []chat.Publication{first, say(t, one, reply, first.Position)}
	said = append(said, say(t, one, edit(first, "alice", "2", `" "`), first.Position), say(t, one, reply, first.Position))
	said[3].Linked, said[3].Prev = false, 0
	said = append(said, say(t, one, draft("lobby", "alice", "3", `0`), first.Position))
	two.heard.Wait(t, "all publications", func() bool { return len(two.heard.Publications("lobby")) == len(said) })
	samePublications(t, two.heard.Publications("lobby"), said)
	samePublications(t, readAll(t, two, "lobby"), append(said[:3:3], said[4]))
}

// The same key about something else, or about nothing, is a conflict. Another
// position of the same message is none: a reset may have given it since.
func keyAboutConflicts(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	said := sayN(t, n, "lobby", 2)
	first := say(t, n, edit(said[0], "alice", "k", `1`), chat.Position{})
	moved := said[0]
	moved.Position = chat.Position{Epoch: 7, Offset: 7}
	if p := say(t, n, edit(moved, "alice", "k", `1`), chat.Position{}); p.Position != first.Position {
		t.Errorf("again by its new position: %s, want %s", p.Position, first.Position)
	}
	for _, d := range []chat.Draft{edit(said[1], "alice", "k", `1`), draft("lobby", "alice", "k", `1`), edit(said[0], "alice", "k", `2`), edit(said[0], "alice", "1", `"1"`)} {
		if _, err := n.Append(t.Context(), d, chat.Position{}); !errors.Is(err, chat.ErrConflict) {
			t.Errorf("%s about %s: %v, want ErrConflict", d.Key, d.About, err)
		}
	}
}

// The last edit of a message counts, whoever made it; edits themselves stay as they
// were said, and messages with the same key by others, or of another time, too.
func messageHasLastEdit(t *testing.T, c Cluster) {
	one, two := c.start(t, "1111"), c.start(t, "2222")
	first := say(t, one, draft("lobby", "alice", "k", `1`), chat.Position{})
	other := say(t, one, draft("lobby", "bob", "k", `1`), chat.Position{})
	sameChanges(t, one, []chat.Publication{first, other}, "", "")
	e1 := say(t, one, edit(first, "alice", "e1", `"a b"`), chat.Position{})
	e2 := say(t, two, edit(first, "bob", "e2", `"c  d"`), chat.Position{})
	later := first
	later.At = first.At.Add(1e9)
	sameChanges(t, two, []chat.Publication{first, e2, other, e1, later}, `"c  d"`, "", "", "", "")
	sameChanges(t, two, nil)
	found, err := one.Changes(t.Context(), "lobby", []chat.Publication{first})
	if err != nil || found[0].Position != e2.Position || !found[0].At.Equal(e2.At) {
		t.Errorf("Changes = %+v, %v, want position and time of %+v", found, err, e2)
	}
	if found, err := one.Changes(t.Context(), "silent", []chat.Publication{first}); err != nil || !found[0].IsZero() {
		t.Errorf("Changes of an unknown room = %+v, %v", found, err)
	}
}

// What was deleted is neither edited nor deleted again, and says nothing; its edits
// say nothing either. A retry of what came before is answered. What is restored
// behind a deletion is in the log, and changes nothing.
func deletionIsForGood(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	said := sayN(t, n, "lobby", 2)
	first := said[0]
	e1 := say(t, n, edit(first, "alice", "e1", `"new"`), chat.Position{})
	gone := say(t, n, deletion(first, "bob", "d1"), chat.Position{})
	sameChanges(t, n, []chat.Publication{first, said[1], e1, gone}, "deleted by bob", "", "deleted by bob", "")
	for _, d := range []chat.Draft{edit(first, "alice", "e2", `2`), deletion(first, "alice", "d2")} {
		if _, err := n.Append(t.Context(), d, gone.Position); !errors.Is(err, chat.ErrDeleted) || errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrDeleted", d.Key, err)
		}
	}
	if p := say(t, n, edit(first, "alice", "e1", `"new"`), gone.Position); p.Position != e1.Position {
		t.Errorf("the edit again: %s, want %s", p.Position, e1.Position)
	}
	late := restore(t, n, edit(first, "alice", "e3", `3`), gone.Position)
	sameChanges(t, n, []chat.Publication{first, late}, "deleted by bob", "deleted by bob")
	if all := readAll(t, n, "lobby"); len(all) != 5 {
		t.Errorf("the log has %d entries, want 5", len(all))
	}
}

// A message that a reset has given another position still has its edits, and new
// ones go by its old name.
func changeKnowsItsMessage(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	lost := chat.Publication{Draft: draft("lobby", "alice", "1", `1`), At: restoredAt, Position: chat.Position{Epoch: 1000, Offset: 5}}
	first := restore(t, n, lost.Draft, lost.Position)
	if first.Position == lost.Position {
		t.Fatalf("restored at %s", first.Position)
	}
	restore(t, n, edit(lost, "alice", "e1", `2`), lost.Position)
	sameChanges(t, n, []chat.Publication{first}, `2`)
	say(t, n, deletion(first, "alice", "d1"), first.Position)
	sameChanges(t, n, []chat.Publication{lost}, "deleted by alice")
}

// The last description counts, and changes no message.
func roomHasLastDescription(t *testing.T, c Cluster) {
	one, two := c.start(t, "1111"), c.start(t, "2222")
	if d, err := one.Description(t.Context(), "lobby"); err != nil || !d.IsZero() {
		t.Errorf("Description of an unknown room = %+v, %v", d, err)
	}
	var last chat.Publication
	for i := range 3 {
		last = say(t, one, about("lobby", "alice", strconv.Itoa(i), `{"title":"a  b `+strconv.Itoa(i)+`"}`, chat.About{Describes: true}), chat.Position{})
	}
	say(t, one, draft("lobby", "alice", "k", `1`), chat.Position{})
	sameChanges(t, one, []chat.Publication{last}, "")
	if d, err := two.Description(t.Context(), "lobby"); err != nil || d.Position != last.Position || string(d.Body) != string(last.Body) {
		t.Errorf("Description = %+v, %v, want that of %+v", d, err, last)
	}
}
